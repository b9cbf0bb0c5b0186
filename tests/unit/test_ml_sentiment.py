import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.load import load_run
from strategies.ml_sentiment import Params, decide, inputs
from strategies.values import Inputs, View

PARAMS = Params(threshold=0.55, full_confidence=0.65, threshold_shift=0.02, extreme_greed=80, extreme_fear=20)


def view(probability, index, *, side=0, allow_short=True):
    features = {} if index is None else {"fear_greed": index}
    return View(0, 100.0, probability, side, allow_short, features=features)


def test_it_asks_for_the_index():
    assert inputs(PARAMS) == Inputs(("fear_greed",))


@pytest.mark.parametrize(
    ("probability", "index", "side"),
    [
        # neutral: 0.55 and 0.45 as they stand
        (0.551, 50, 1),
        (0.549, 50, None),
        (0.449, 50, -1),
        (0.451, 50, None),
        # 75 points: half of the shift: a long needs 0.56, a short 0.46 at most
        (0.561, 75, 1),
        (0.559, 75, None),
        (0.459, 75, -1),
        (0.461, 75, None),
        # 25 points, the other way round
        (0.541, 25, 1),
        (0.539, 25, None),
        (0.439, 25, -1),
        (0.441, 25, None),
    ],
)
def test_the_threshold_follows_the_crowd(probability, index, side):
    intent = decide(view(probability, index), PARAMS)
    assert (None if intent is None else intent.side) == side


@pytest.mark.parametrize(
    ("probability", "index", "opens"),
    [(0.9, 80, False), (0.9, 79.9, True), (0.1, 20, False), (0.1, 20.1, True)],
)
def test_at_an_extreme_no_position_is_opened_with_the_crowd(probability, index, opens):
    assert (decide(view(probability, index), PARAMS) is not None) == opens


def test_against_the_crowd_it_trades_at_an_extreme():
    assert decide(view(0.1, 95), PARAMS).side == -1
    assert decide(view(0.9, 5), PARAMS).side == 1


def test_an_opposite_position_may_be_left_at_an_extreme():
    assert decide(view(0.9, 95, side=-1), PARAMS).side == 1
    assert decide(view(0.1, 5, side=1), PARAMS).side == -1
    assert decide(view(0.9, 95, side=1), PARAMS) is None


@pytest.mark.parametrize("index", [math.nan, None])
def test_without_the_index_there_is_no_opinion_unless_it_is_not_required(index):
    assert decide(view(0.9, index), PARAMS) is None
    free = PARAMS.model_copy(update={"require_sentiment": False})
    intent = decide(view(0.551, index), free)
    assert (intent.side, intent.reasons) == (1, ("probability_high", "sentiment_unknown"))
    assert decide(view(0.549, index), free) is None


def test_confidence_grows_with_the_distance_from_one_half_and_kelly_hears_the_probability():
    up, down = decide(view(0.60, 40), PARAMS), decide(view(0.30, 60), PARAMS)
    assert up.confidence == pytest.approx(2 / 3)
    assert (up.probability, up.reasons) == (0.60, ("probability_high", "fear"))
    assert (down.confidence, down.probability) == (1.0, 0.70)
    assert down.reasons == ("probability_low", "greed")


def test_without_shorting_a_low_probability_only_closes_a_long():
    assert decide(view(0.3, 50, allow_short=False), PARAMS) is None
    assert decide(view(0.3, 50, side=1, allow_short=False), PARAMS).side == -1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 0.6, "full_confidence": 0.62, "threshold_shift": 0.02}, "must lie above threshold"),
        ({"threshold": 0.51, "threshold_shift": 0.02}, "must not lie below 0.5"),
        ({"extreme_greed": 40}, "greater than 50"),
        ({"extreme_fear": 60}, "less than 50"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Params(**changes)


@given(st.floats(0, 1), st.floats(0, 100))
def test_greed_for_longs_is_what_fear_is_for_shorts(probability, index):
    up, down = decide(view(probability, index), PARAMS), decide(view(1 - probability, 100 - index), PARAMS)
    shift = 0.02 * (index - 50) / 50
    edge = abs(abs(probability - 0.5) - (0.05 + (shift if probability > 0.5 else -shift)))
    if up is None or down is None:
        assert up is down or edge < 1e-9 or min(abs(index - 80), abs(index - 20)) < 1e-9
    else:
        assert up.side == -down.side
        assert up.confidence == pytest.approx(down.confidence)


@given(st.floats(0, 1), st.floats(0, 99), st.floats(0, 1))
def test_more_greed_never_makes_a_long_easier(probability, index, more):
    greedier = decide(view(probability, index + more), PARAMS)
    if greedier is not None and greedier.side > 0:
        assert decide(view(probability, index), PARAMS).side > 0


def test_its_run_file_learns_from_the_index_and_has_the_defaults_of_the_strategy():
    run = load_run(Path("configs/runs/btc_15m_ml_sentiment.yaml"))
    (strategy,) = run.strategies
    assert run.models[0].exogenous == ("fear_greed",)
    assert Params(**strategy.signal) == PARAMS
    assert (strategy.stop.pct, strategy.targets.pct, strategy.sizing.max_position_pct) == (2.0, 4.0, 10.0)
