import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.regime import Regime
from strategies.ml_adaptive import Exits, Params, decide, inputs
from strategies.values import View

PARAMS = Params(
    with_trend_threshold=0.53,
    ranging_threshold=0.55,
    against_trend_threshold=0.62,
    full_confidence=0.70,
    high_volatility=Exits(stop_scale=1.5, target_scale=2.0, confidence=0.5),
    low_volatility=Exits(stop_scale=0.8, target_scale=0.9),
)
RANGING, UP, DOWN = Regime(False, 0, 0, 9), Regime(True, 1, 0, 9), Regime(True, -1, 0, 9)


def view(probability, regime, *, side=0, allow_short=True):
    return View(0, 100.0, probability, side, allow_short, regime=regime)


@pytest.mark.parametrize(
    ("regime", "probability", "side", "code"),
    [
        (UP, 0.54, 1, "with_trend"),
        (DOWN, 0.46, -1, "with_trend"),
        (RANGING, 0.56, 1, "ranging"),
        (RANGING, 0.44, -1, "ranging"),
        (Regime(False, 1, 0, 9), 0.56, 1, "ranging"),  # a slope without a trend is none
        (Regime(True, 0, 0, 9), 0.56, 1, "ranging"),  # a trend without a direction neither
        (DOWN, 0.63, 1, "against_trend"),
        (UP, 0.37, -1, "against_trend"),
    ],
)
def test_the_regime_sets_the_probability_that_is_asked_for(regime, probability, side, code):
    intent = decide(view(probability, regime), PARAMS)
    assert (intent.side, intent.reasons) == (
        side,
        ("probability_high" if side > 0 else "probability_low", code),
    )


@pytest.mark.parametrize(
    ("regime", "probability"),
    [(UP, 0.525), (RANGING, 0.54), (RANGING, 0.46), (DOWN, 0.61), (UP, 0.39), (UP, 0.5), (UP, math.nan)],
)
def test_short_of_it_or_without_a_forecast_it_does_nothing(regime, probability):
    assert decide(view(probability, regime), PARAMS) is None


def test_exactly_at_the_threshold_it_acts():
    # 0.75 and 0.25 are exact in binary, and so are their distances from one half
    params = Params(
        with_trend_threshold=0.5, ranging_threshold=0.75, against_trend_threshold=None, full_confidence=1.0
    )
    assert decide(view(0.75, RANGING), params).confidence == 0.5  # 0.25 of 0.5
    assert decide(view(0.25, RANGING), params).side == -1
    assert decide(view(0.7499, RANGING), params) is None


def test_until_the_regime_is_known_it_does_nothing():
    assert inputs(PARAMS).regime
    assert decide(view(0.9, None), PARAMS) is None


def test_against_the_trend_may_be_forbidden_altogether():
    never = Params(against_trend_threshold=None)
    assert decide(view(0.99, DOWN), never) is None
    assert decide(view(0.99, UP), never).side == 1


@pytest.mark.parametrize(
    ("volatility", "stop_scale", "target_scale", "confidence"),
    [(1, 1.5, 2.0, 0.25), (0, 1.0, 1.0, 0.5), (-1, 0.8, 0.9, 0.5)],
)
def test_volatility_stretches_the_exits_and_weighs_the_confidence(
    volatility, stop_scale, target_scale, confidence
):
    # 0.60 is half way from 0.50 to the 0.70 of full confidence
    intent = decide(view(0.60, Regime(True, 1, volatility, 9)), PARAMS)
    assert (intent.stop_scale, intent.target_scale) == (stop_scale, target_scale)
    assert intent.confidence == pytest.approx(confidence)


def test_beyond_full_confidence_there_is_no_more():
    assert decide(view(0.95, UP), PARAMS).confidence == 1.0
    assert decide(view(0.95, Regime(True, 1, 1, 9)), PARAMS).confidence == 0.5


def test_without_shorting_a_low_probability_only_closes_a_long():
    assert decide(view(0.3, DOWN, allow_short=False), PARAMS) is None
    assert decide(view(0.3, DOWN, side=1, allow_short=False), PARAMS).side == -1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"with_trend_threshold": 0.58}, "must not fall"),
        ({"against_trend_threshold": 0.54}, "must not fall"),
        ({"full_confidence": 0.62}, "must lie above every threshold"),
        ({"against_trend_threshold": None, "full_confidence": 0.55}, "must lie above every threshold"),
    ],
)
def test_thresholds_grow_from_with_to_against_the_trend(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Params(**wrong)


@given(st.floats(0, 1), st.sampled_from([RANGING, UP, DOWN]), st.sampled_from([-1, 0, 1]))
def test_it_treats_up_and_down_alike(probability, trend, volatility):
    regime = trend._replace(volatility=volatility)
    mirrored = regime._replace(direction=-regime.direction)
    up, down = decide(view(probability, regime), PARAMS), decide(view(1 - probability, mirrored), PARAMS)
    if up is None or down is None:
        edges = [0.0, 0.03, 0.05, 0.12]
        assert up is down or min(abs(abs(probability - 0.5) - edge) for edge in edges) < 1e-12
    else:
        assert (up.side, up.stop_scale) == (-down.side, down.stop_scale)
        assert up.confidence == pytest.approx(down.confidence)
