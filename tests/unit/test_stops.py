import math

import pytest

from configs.trading import StopConfig, TrailingConfig
from strategies.stops import stop_distance, stop_inputs
from strategies.values import Inputs

ATR_TRAIL = TrailingConfig(activation_pct=1, distance_atr=2)
PERCENT_TRAIL = TrailingConfig(activation_pct=1, distance_pct=2)


@pytest.mark.parametrize(
    ("method", "trailing", "names"),
    [
        ("percent", None, ()),
        ("percent", PERCENT_TRAIL, ()),
        ("percent", ATR_TRAIL, ("atr_pct_14",)),
        ("atr", ATR_TRAIL, ("atr_pct_14",)),
        ("structure", ATR_TRAIL, ("swing_low_20", "swing_high_20", "atr_pct_14")),
        ("volatility", PERCENT_TRAIL, ("realized_volatility_20",)),
    ],
)
def test_a_stop_names_the_features_it_needs_each_once(method, trailing, names):
    assert stop_inputs(StopConfig(method=method), trailing) == Inputs(names)


def test_a_fixed_percentage_needs_nothing_and_is_not_clamped():
    assert stop_distance(StopConfig(pct=0.05, min_pct=0.1), 1, {}) == 0.0005


def test_an_atr_stop_is_its_multiple_of_the_atr():
    # ATR 0.4 % of the close, twice that is 0.8 %
    config = StopConfig(method="atr", atr_multiple=2)
    assert stop_distance(config, 1, {"atr_pct_14": 0.4}) == pytest.approx(0.008)
    assert stop_distance(config, -1, {"atr_pct_14": 0.4}) == pytest.approx(0.008)


def test_a_structure_stop_stands_beyond_the_swing_by_the_buffer():
    # close 100, lowest low 96, highest high 103; 0.5 % beyond: 95.52 and 103.515
    features = {"swing_low_20": 100 / 96 - 1, "swing_high_20": 103 / 100 - 1}
    config = StopConfig(method="structure", buffer_pct=0.5)
    assert 100 * (1 - stop_distance(config, 1, features)) == pytest.approx(95.52)
    assert 100 * (1 + stop_distance(config, -1, features)) == pytest.approx(103.515)


def test_a_volatility_stop_grows_with_the_root_of_time():
    # 0.001 a bar over 100 bars is 0.01, times 3
    config = StopConfig(method="volatility", volatility_multiple=3, volatility_bars=100)
    assert stop_distance(config, 1, {"realized_volatility_20": 0.001}) == pytest.approx(0.03)


@pytest.mark.parametrize(("atr_pct", "distance"), [(0.001, 0.002), (40.0, 0.05), (0.0, 0.002)])
def test_a_distance_from_the_market_is_kept_within_its_bounds(atr_pct, distance):
    config = StopConfig(method="atr", min_pct=0.2, max_pct=5)
    assert stop_distance(config, 1, {"atr_pct_14": atr_pct}) == distance


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("method", ["atr", "structure", "volatility"])
@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_without_its_feature_there_is_no_distance(method, side, value):
    config = StopConfig(method=method)
    names = stop_inputs(config, None).features
    features = {} if value is None else dict.fromkeys(names, value)
    assert math.isnan(stop_distance(config, side, features))


def test_an_intents_stretch_stays_within_the_bounds_of_a_distance_from_the_market():
    wide = StopConfig(method="atr", atr_multiple=2.0, min_pct=0.5, max_pct=3.0)
    assert stop_distance(wide, 1, {"atr_pct_14": 1.2}, 1.2) == pytest.approx(0.0288)
    assert stop_distance(wide, 1, {"atr_pct_14": 1.2}, 1.5) == pytest.approx(0.03)  # 3.6 % asked for
    assert stop_distance(wide, 1, {"atr_pct_14": 0.3}, 0.5) == pytest.approx(0.005)
    assert stop_distance(StopConfig(pct=2.0), 1, {}, 1.5) == pytest.approx(0.03)
