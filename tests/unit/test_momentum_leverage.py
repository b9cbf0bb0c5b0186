import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from strategies.momentum_leverage import Params, decide, inputs
from strategies.values import View

PARAMS = Params(min_strength=1.0, full_strength=2.0, min_volatility_ratio=0.5, max_volatility_ratio=2.0)
# With a volatility of 1 % a bar the returns are 1.2, 1.5 and 1.8 standard deviations of their horizons:
# the strength is 1.5, three quarters of full_strength.
UP = {
    "return_3": 1.2 * 0.01 * math.sqrt(3),
    "return_7": 1.5 * 0.01 * math.sqrt(7),
    "return_20": 1.8 * 0.01 * math.sqrt(20),
    "breakout_20": 0.002,
    "realized_volatility_20": 0.01,
    "volatility_ratio_20_240": 1.0,
}
SIGNED = ("return_3", "return_7", "return_20", "breakout_20")
DOWN = UP | {name: -UP[name] for name in SIGNED}


def view(features, *, side=0, allow_short=True):
    return View(0, 100.0, math.nan, side, allow_short, features=features)


@pytest.mark.parametrize(("features", "side", "code"), [(UP, 1, "momentum_up"), (DOWN, -1, "momentum_down")])
def test_a_move_that_all_horizons_agree_on_is_joined_by_its_strength(features, side, code):
    intent = decide(view(features), PARAMS)
    assert (intent.side, intent.reasons) == (side, (code,))
    assert intent.confidence == pytest.approx(0.75)


def test_it_asks_for_exactly_what_it_looks_at():
    assert set(inputs(PARAMS).features) == set(UP)


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("value", [0.0, -0.001])
def test_one_horizon_or_the_breakout_against_it_is_enough_to_stay_out(name, value):
    assert decide(view(UP | {name: value}), PARAMS) is None


def test_the_breakout_may_be_waived():
    waived = PARAMS.model_copy(update={"require_breakout": False})
    assert decide(view(UP | {"breakout_20": 0.0}), waived).side == 1


@pytest.mark.parametrize(("ratio", "acts"), [(0.49, False), (0.5, True), (2.0, True), (2.01, False)])
def test_volatility_must_lie_within_its_limits_both_included(ratio, acts):
    assert (decide(view(UP | {"volatility_ratio_20_240": ratio}), PARAMS) is not None) is acts


@pytest.mark.parametrize(
    ("volatility", "confidence"),
    [
        (0.015, 0.5),  # 1.5 / 1.5 = 1 standard deviation, the least
        (0.0075, 1.0),  # 1.5 / 0.75 = 2, full
        (0.001, 1.0),  # 15, and no more than full
    ],
)
def test_strength_counts_in_units_of_volatility(volatility, confidence):
    # a hair below: the quotient of rounded numbers must not decide about the boundary
    intent = decide(view(UP | {"realized_volatility_20": volatility * (1 - 1e-12)}), PARAMS)
    assert intent.confidence == pytest.approx(confidence)


def test_a_move_within_the_noise_is_left_alone():
    assert decide(view(UP | {"realized_volatility_20": 0.0151}), PARAMS) is None


@pytest.mark.parametrize("name", sorted(UP))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_while_any_value_is_missing_it_does_nothing(name, value):
    assert decide(view(UP | {name: value}), PARAMS) is None
    assert decide(view({other: UP[other] for other in UP if other != name}), PARAMS) is None


def test_a_market_that_does_not_move_has_no_momentum():
    assert decide(view(UP | {"realized_volatility_20": 0.0}), PARAMS) is None


def test_without_shorting_a_fall_only_closes_a_long():
    assert decide(view(DOWN, allow_short=False), PARAMS) is None
    assert decide(view(DOWN, side=1, allow_short=False), PARAMS).side == -1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_strength": 2.0, "full_strength": 2.0}, "must lie above min_strength"),
        ({"min_volatility_ratio": 2.5, "max_volatility_ratio": 2.5}, "must lie above min_volatility_ratio"),
    ],
)
def test_limits_must_be_in_order(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Params(**wrong)


@given(st.lists(st.floats(-0.2, 0.2), min_size=4, max_size=4), st.floats(1e-4, 0.1), st.floats(0.01, 100.0))
def test_it_treats_up_and_down_alike_and_knows_no_scale(moves, volatility, scale):
    features = UP | dict(zip(SIGNED, moves, strict=True)) | {"realized_volatility_20": volatility}
    mirrored = features | {name: -features[name] for name in SIGNED}
    scaled = features | {name: features[name] * scale for name in (*SIGNED, "realized_volatility_20")}
    first, second, third = (decide(view(each), PARAMS) for each in (features, mirrored, scaled))
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert (first.side, first.confidence) == (-second.side, second.confidence)
    if first is not None and third is not None:
        assert (first.side, first.confidence) == (third.side, pytest.approx(third.confidence))
