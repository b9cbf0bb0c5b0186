import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from models.regime import Regime
from strategies.discovery import strategy_and_params
from strategies.ensemble_weighted import Member, Params, decide, inputs, models_read
from strategies.values import Inputs, View

# Full votes at 0.60 and none within 0.02 of one half: 0.55 votes +0.5, 0.43 votes -0.7.
MODELS = Params(
    models={"h1": 1.0, "h5": 2.0, "h30": 1.0}, quorum=0.5, threshold=0.25, band=0.02, full_confidence=0.60
)
# ml_basic: long from 0.55 on, full confidence at 0.65; 0.62 is a vote of +0.8, 0.41 one of -0.6
BASIC = {"use": "ml_basic", "signal": {"threshold": 0.55, "full_confidence": 0.65}}


def view(probability=math.nan, *, side=0, allow_short=True, features=None, regime=None, **forecasts):
    return View(0, 100.0, probability, side, allow_short, forecasts, features or {}, regime)


# --- models alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forecasts", "side", "confidence", "reasons"),
    [
        # (0.5 + 2 x 0.5 + 0.5) / 4
        ({"h1": 0.55, "h5": 0.55, "h30": 0.55}, 1, 0.5, ("vote_long", "h1", "h5", "h30")),
        # (1 - 2 x 0.8 - 1) / 4: beyond 0.60 or 0.40 a vote is full and no more
        ({"h1": 0.90, "h5": 0.42, "h30": 0.10}, -1, 0.4, ("vote_short", "h5", "h30")),
        # h1 abstains, and its weight does not dilute: (2 x 0.9 + 0.3) / 3
        ({"h1": 0.51, "h5": 0.59, "h30": 0.53}, 1, 0.7, ("vote_long", "h5", "h30")),
        # h30 has no forecast: (1 + 2 x 1) / 3
        ({"h1": 0.60, "h5": 0.60}, 1, 1.0, ("vote_long", "h1", "h5")),
    ],
)
def test_forecasts_vote_by_weight_and_distance_from_one_half(forecasts, side, confidence, reasons):
    intent = decide(view(**forecasts), MODELS)
    assert (intent.side, intent.reasons) == (side, reasons)
    assert intent.confidence == pytest.approx(confidence)


@pytest.mark.parametrize(
    "forecasts",
    [
        {},
        {"h1": math.nan, "h5": math.nan, "h30": math.nan},
        {"h1": 0.52, "h5": 0.48, "h30": 0.5},  # everybody abstains
        {"h1": 0.9},  # a quarter of the weight is no quorum
        {"h1": 0.60, "h5": 0.45, "h30": 0.55},  # (1 - 2 x 0.5 + 0.5) / 4 = 0.125 is no clear outcome
        {"h1": 0.60, "h5": 0.40, "h30": 0.60},  # a tie
    ],
)
def test_without_a_quorum_or_a_clear_outcome_it_does_nothing(forecasts):
    assert decide(view(**forecasts), MODELS) is None


def test_quorum_and_threshold_are_enough_when_just_met():
    # 0.75 and 0.625 are exact in binary: votes of 1/2 and 1/4 with full confidence at 1
    params = Params(models={"a": 1, "b": 1}, quorum=0.5, threshold=0.5, band=0.0, full_confidence=1.0)
    assert decide(view(a=0.75), params).confidence == 0.5
    assert decide(view(a=0.75, b=0.625), params) is None  # 3/8
    assert decide(view(a=0.75), Params(**params.model_dump() | {"quorum": 0.51})) is None


# --- other strategies as members -------------------------------------------------------------------


def test_a_member_votes_with_its_own_parameters_and_its_side_times_confidence():
    params = Params(members=[BASIC | {"weight": 3}], models={"h1": 1.0}, threshold=0.25)
    intent = decide(view(0.62, h1=0.55), params)  # (3 x 0.8 + 0.5) / 4
    assert intent.confidence == pytest.approx(0.725)
    assert intent.reasons == ("vote_long", "ml_basic", "h1")
    assert decide(view(0.41, h1=0.55), params).side == -1  # (-3 x 0.6 + 0.5) / 4 = -0.325
    assert decide(view(0.54), params) is None  # the member abstains


def test_a_member_sees_the_model_it_names_and_else_the_ensembles_own():
    params = Params(members=[BASIC | {"model": "fast"}, BASIC], threshold=0.05)
    # votes +0.8 by fast's 0.62 and -0.6 by the own 0.41
    assert decide(view(0.41, fast=0.62), params).confidence == pytest.approx(0.1)
    assert models_read(params) == ("fast",)
    alone = Params(members=[BASIC | {"model": "fast"}])
    assert decide(view(0.9), alone) is None
    assert decide(view(math.nan, fast=0.9), alone).side == 1


def test_members_get_the_features_and_the_regime_they_ask_for():
    params = Params(members=[{"use": "ml_adaptive"}, {"use": "meta_label"}, BASIC])
    assert inputs(params) == Inputs(("ema_cross_12_50", "atr_pct_14", "return_7"), regime=True)
    cross = {"ema_cross_12_50": 0.003, "atr_pct_14": 0.5, "return_7": 0.004}
    # 0.62: ml_adaptive 0.12 / 0.15 = 0.8, meta_label full, ml_basic 0.8
    intent = decide(view(0.62, features=cross, regime=Regime(True, 1, 0, 5)), params)
    assert intent.confidence == pytest.approx((0.8 + 1.0 + 0.8) / 3)
    assert intent.reasons == ("vote_long", "ml_adaptive", "meta_label", "ml_basic")


def test_models_alone_want_no_inputs():
    assert inputs(MODELS) == Inputs()
    assert models_read(MODELS) == ("h1", "h5", "h30")


def test_bearish_members_count_against_longs_even_where_no_short_may_be_opened():
    params = Params(members=[BASIC, BASIC | {"model": "fast"}], threshold=0.3, quorum=0.5)
    # +0.8 and -0.6: the vote for a long alone would pass
    assert decide(view(0.62, fast=0.41, allow_short=False), params) is None
    assert decide(view(0.62, allow_short=False), params).side == 1
    assert decide(view(0.2, fast=0.2, allow_short=False), params) is None
    assert decide(view(0.2, fast=0.2, side=1, allow_short=False), params).side == -1


# --- what a run file may say -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (
            {"members": [{"use": "ml_basic"}, {"use": "ml_basik"}]},
            "strategies.0.signal.members.1: ml_basik.use: there is no strategy 'ml_basik'; "
            "did you mean 'ml_basic'?",
        ),
        (
            {"members": [{"use": "ml_basic", "signal": {"treshold": 0.6}}]},
            "strategies.0.signal.members.0: ml_basic.signal.treshold: unknown key; did you mean 'threshold'?",
        ),
        (
            {"members": [{"use": "ml_basic", "signal": {"threshold": 0.9}}]},
            "strategies.0.signal.members.0: ml_basic.signal: .*must lie above threshold",
        ),
        (
            {"members": [{"use": "ml_basic"}, {"use": "ensemble_weighted"}]},
            "strategies.0.signal.members.1: an ensemble cannot be a member of an ensemble",
        ),
        ({"members": [], "models": {}}, "an ensemble needs voters"),
        ({"models": {"h1": 0.0}}, "strategies.0.signal.models.h1: .*greater than 0"),
        ({"models": {"h1": 1.0}, "band": 0.1, "full_confidence": 0.6}, "must lie above one half"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(signal, message):
    with pytest.raises(ConfigError, match=message):
        strategy_and_params("ensemble_weighted", signal, "strategies.0")


def test_without_voters_it_asks_two_strategies_and_with_some_those_alone():
    assert [member.use for member in Params().members] == ["ml_basic", "momentum_leverage"]
    assert Params(models={"h1": 1.0}).members == ()


def test_equal_settings_make_equal_parameters():
    assert Params(members=[BASIC]) == Params(members=[Member(**BASIC)])
    assert Params(members=[BASIC]) != Params(members=[BASIC | {"signal": {"threshold": 0.56}}])


@given(
    st.dictionaries(st.sampled_from(["h1", "h5", "h30"]), st.floats(0, 1) | st.just(math.nan)),
    st.floats(0.5, 20.0),
)
def test_it_treats_up_and_down_alike_and_only_the_ratio_of_weights_counts(forecasts, scale):
    mirrored = {name: 1.0 - p for name, p in forecasts.items()}
    scaled = MODELS.model_copy(update={"models": {name: w * scale for name, w in MODELS.models.items()}})
    up, down = decide(view(**forecasts), MODELS), decide(view(**mirrored), MODELS)
    again = decide(view(**forecasts), scaled)
    for other, sign in ((down, -1), (again, 1)):
        if up is not None and other is not None:
            assert up.side == sign * other.side
            assert up.confidence == pytest.approx(other.confidence)
