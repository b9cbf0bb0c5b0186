import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from strategies.ml_basic import Params, decide
from strategies.values import View

PARAMS = Params(threshold=0.55, full_confidence=0.65)


def view(probability, *, side=0, allow_short=True):
    return View(0, 100.0, probability, side, allow_short)


@pytest.mark.parametrize(
    ("probability", "side", "confidence"),
    [(0.60, 1, 2 / 3), (0.40, -1, 2 / 3), (0.80, 1, 1.0), (0.20, -1, 1.0)],
)
def test_outside_the_band_it_takes_the_models_side(probability, side, confidence):
    intent = decide(view(probability), PARAMS)
    assert intent.side == side
    assert intent.confidence == pytest.approx(confidence)


@pytest.mark.parametrize("probability", [0.5, 0.549, 0.451, math.nan])
def test_inside_the_band_or_without_a_forecast_it_does_nothing(probability):
    assert decide(view(probability), PARAMS) is None


def test_without_shorting_a_low_probability_only_closes_a_long():
    assert decide(view(0.3, allow_short=False), PARAMS) is None
    assert decide(view(0.3, side=1, allow_short=False), PARAMS).side == -1


def test_full_confidence_must_lie_above_the_threshold():
    with pytest.raises(ValidationError, match="must lie above threshold"):
        Params(threshold=0.6, full_confidence=0.6)


@given(st.floats(0, 1))
def test_it_treats_up_and_down_alike(probability):
    up, down = decide(view(probability), PARAMS), decide(view(1 - probability), PARAMS)
    if up is None or down is None:
        assert up is down or abs(abs(probability - 0.5) - 0.05) < 1e-12
    else:
        assert up.side == -down.side
        assert up.confidence == pytest.approx(down.confidence)
