import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from strategies.meta_label import Params, decide, inputs
from strategies.primary import Breakout, EmaCross, MeanReversion, primary_features, primary_side
from strategies.values import View

# The averages' gap in units of ATR: 0.003 / 0.5 % = 0.6
CROSS = {"ema_cross_12_50": 0.003, "atr_pct_14": 0.5, "return_7": 0.004}
CROSSED_DOWN = CROSS | {"ema_cross_12_50": -0.003, "return_7": -0.004}
PARAMS = Params(primary=EmaCross(), min_probability=0.52, full_probability=0.60)


def view(probability, features=CROSS, *, side=0, allow_short=True):
    return View(0, 100.0, probability, side, allow_short, features=features)


# --- the primary rules -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap_atr", "recent", "side"),
    [
        (0.6, 0.004, 1),
        (-0.6, -0.004, -1),
        (0.125, 0.004, 1),  # exactly min_gap_atr
        (0.12, 0.004, 0),
        (1.0, 0.004, 1),  # exactly max_gap_atr
        (1.01, 0.004, 0),  # an old crossing
        (0.6, -0.004, 0),  # the averages are coming back
        (0.6, 0.0, 0),
        (0.0, 0.004, 0),
    ],
)
def test_a_fresh_crossing_of_averages_is_followed(gap_atr, recent, side):
    # an ATR of 100 % makes the gap in ATRs the gap itself, without rounding
    features = {"ema_cross_12_50": gap_atr, "atr_pct_14": 100.0, "return_7": recent}
    assert primary_side(EmaCross(min_gap_atr=0.125, max_gap_atr=1.0), features) == side


@pytest.mark.parametrize(
    ("breakout", "efficiency", "side"),
    [
        (0.001, 0.5, 1),
        (-0.001, -0.5, -1),
        (0.001, 0.25, 1),
        (0.001, 0.24, 0),
        (0.001, -0.9, 0),
        (0.0, 0.9, 0),
    ],
)
def test_a_breakout_without_detours_is_followed(breakout, efficiency, side):
    features = {"breakout_20": breakout, "efficiency_20": efficiency}
    assert primary_side(Breakout(min_efficiency=0.25), features) == side


@pytest.mark.parametrize(
    ("zscore", "adx", "side"),
    [(2.0, 20.0, -1), (-2.0, 20.0, 1), (1.99, 20.0, 0), (-3.0, 24.9, 1), (-3.0, 25.0, 0), (0.0, 5.0, 0)],
)
def test_a_stretch_without_a_trend_is_stood_against(zscore, adx, side):
    assert (
        primary_side(MeanReversion(entry_zscore=2.0, max_adx=25.0), {"zscore_60": zscore, "adx_14": adx})
        == side
    )


@pytest.mark.parametrize("rule", [EmaCross(), Breakout(), MeanReversion()], ids=lambda rule: rule.rule)
@given(data=st.data())
def test_a_rule_mirrors_itself_and_needs_every_value(rule, data):
    names = primary_features(rule)
    unsigned = {"atr_pct_14", "adx_14"}
    features = {name: data.draw(st.floats(0, 60) if name in unsigned else st.floats(-5, 5)) for name in names}
    mirrored = {name: value if name in unsigned else -value for name, value in features.items()}
    assert primary_side(rule, mirrored) == -primary_side(rule, features)
    for name in names:
        for missing in (math.nan, math.inf, -math.inf):
            assert primary_side(rule, features | {name: missing}) == 0
    assert primary_side(rule, {}) == 0


def test_the_average_crossing_needs_a_gap_range():
    with pytest.raises(ValidationError, match="must lie above min_gap_atr"):
        EmaCross(min_gap_atr=1.0, max_gap_atr=1.0)


# --- the model's word on them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probability", "features", "side", "right", "confidence"),
    [
        (0.55, CROSS, 1, 0.55, 0.5),  # 0.05 of the 0.10 up to full_probability
        (0.45, CROSSED_DOWN, -1, 0.55, 0.5),  # a short is right when the lower barrier comes first
        (0.80, CROSS, 1, 0.80, 1.0),
        (0.20, CROSSED_DOWN, -1, 0.80, 1.0),
    ],
)
def test_the_rule_gives_the_side_and_the_model_the_size(probability, features, side, right, confidence):
    intent = decide(view(probability, features), PARAMS)
    assert intent.side == side
    assert intent.probability == pytest.approx(right)
    assert intent.confidence == pytest.approx(confidence)
    assert intent.reasons == ("ema_cross", "model_agrees")


@pytest.mark.parametrize(
    ("probability", "features"),
    [(0.51, CROSS), (0.30, CROSS), (0.49, CROSSED_DOWN), (0.70, CROSSED_DOWN), (math.nan, CROSS)],
)
def test_a_trade_that_the_model_finds_unlikely_is_not_taken(probability, features):
    assert decide(view(probability, features), PARAMS) is None


def test_the_least_probability_is_enough_on_either_side():
    params = Params(min_probability=0.75, full_probability=1.0)
    assert decide(view(0.75), params).confidence == 0.5
    assert decide(view(0.25, CROSSED_DOWN), params).confidence == 0.5
    assert decide(view(0.7499), params) is None


def test_where_less_than_one_half_is_enough_the_confidence_is_nothing_and_never_negative():
    intent = decide(view(0.45), Params(min_probability=0.4))
    assert (intent.confidence, intent.probability) == (0.0, 0.45)


@pytest.mark.parametrize("probability", [0.9, 0.1])
def test_without_the_rule_the_model_alone_does_nothing(probability):
    assert decide(view(probability, CROSS | {"ema_cross_12_50": 0.0}), PARAMS) is None
    assert decide(view(probability, dict.fromkeys(CROSS, math.nan)), PARAMS) is None


def test_without_shorting_a_short_only_closes_a_long():
    assert decide(view(0.2, CROSSED_DOWN, allow_short=False), PARAMS) is None
    assert decide(view(0.2, CROSSED_DOWN, side=1, allow_short=False), PARAMS).side == -1


def test_it_looks_at_what_its_rule_reads():
    assert inputs(PARAMS).features == ("ema_cross_12_50", "atr_pct_14", "return_7")
    assert inputs(Params(primary=Breakout())).features == ("breakout_20", "efficiency_20")


def test_the_run_file_names_the_rule_and_its_own_settings_only():
    params = Params.model_validate({"primary": {"rule": "mean_reversion", "entry_zscore": 2.5}})
    assert params.primary == MeanReversion(entry_zscore=2.5)
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        Params.model_validate({"primary": {"rule": "astrology"}})
    with pytest.raises(ValidationError, match="max_adx"):
        Params.model_validate({"primary": {"rule": "breakout", "max_adx": 20}})


def test_full_probability_must_lie_above_the_least():
    with pytest.raises(ValidationError, match="must lie above min_probability"):
        Params(min_probability=0.6, full_probability=0.6)
