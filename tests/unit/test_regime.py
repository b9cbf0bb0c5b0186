"""The regime on small windows, worked out by hand."""

import numpy as np
import pytest

from configs.errors import DataError
from configs.schema import RegimeConfig
from models.definitions import DEFINITIONS
from models.regime import REGIME_FEATURES, OnlineRegime, Regime, as_regime, regimes

NAN = float("nan")
TINY = {"volatility_window": 20, "min_bars": 1}


def config(**changes: float) -> RegimeConfig:
    return RegimeConfig.model_validate(TINY | changes)


def run(
    settings: RegimeConfig, adx: list[float], slope: list[float], volatility: list[float]
) -> list[Regime | None]:
    """The regime of each bar after a window of nineteen volatilities from 1 to 19 in a ranging market."""
    online = OnlineRegime(settings)
    for value in range(1, settings.volatility_window):
        assert online.update(10.0, 0.0, float(value)) is None
    return [online.update(*row) for row in zip(adx, slope, volatility, strict=True)]


def trends(adx: list[float], slope: list[float], **changes: float) -> list[int]:
    """Directions at volatilities of 10, the middle of the window."""
    found = run(config(**changes), adx, slope, [10.0] * len(adx))
    assert all(r is not None and r.trending == (r.direction != 0) for r in found)
    return [r.direction for r in found if r is not None]


def levels(volatility: list[float], **changes: float) -> list[int]:
    flat = [10.0] * len(volatility)
    return [r.volatility for r in run(config(**changes), flat, flat, volatility) if r is not None]


def test_the_inputs_are_columns_of_the_feature_table() -> None:
    assert set(REGIME_FEATURES) <= {d.name for d in DEFINITIONS.values() if not d.hidden}


def test_there_is_none_before_the_window_is_full() -> None:
    online = OnlineRegime(config())
    found = [online.update(30.0, 1.0, 1.0) for _ in range(21)]
    assert found[:19] == [None] * 19
    # All volatilities are equal: rank one half, normal.
    assert found[19:] == [Regime(True, 1, 0, 0), Regime(True, 1, 0, 1)]


def test_trending_begins_at_one_threshold_and_ends_under_the_other() -> None:
    adx = [24.9, 25.0, 21.0, 20.0, 19.9, 24.9, 25.1]
    assert trends(adx, [1.0] * 7) == [0, 1, 1, 1, 0, 0, 1]


def test_direction_is_the_sign_of_the_slope_while_trending() -> None:
    slope = [-0.1, -0.1, 0.2, 0.0, -0.3, 0.1]
    assert trends([10, 30, 30, 30, 30, 10], slope) == [0, -1, 1, 1, -1, 0]


def test_a_slope_of_zero_begins_no_trend() -> None:
    assert trends([30, 30, 30], [0.0, -0.0, 1e-300]) == [0, 0, 1]


def test_volatility_has_ranks_and_hysteresis() -> None:
    # The window holds twenty values. The first is ranked among 1..19 and itself: 17.5 lies over 17, itself
    # counts one half, so 17.5 / 20 = 0.875 > 0.8: high. Every later value drops the oldest (1, 2, ...).
    # 2nd: 16.2 over 2..16 (15 of them): 15.5 / 20 = 0.775: not over 0.8, not under 0.75: stays high.
    # 3rd: 15.2 over 3..15 (13): 13.5 / 20 = 0.675: normal.
    # 4th: 16.1 over 4..16 (13) and 15.2: 14.5 / 20 = 0.725: normal.
    # 5th: 5.5 over 5: 1.5 / 20 = 0.075: low.
    # 6th: 8.5 over 6, 7, 8 and 5.5: 4.5 / 20 = 0.225: not over 0.25: stays low.
    # 7th: 9.5 over 7, 8, 9, 5.5, 8.5: 5.5 / 20 = 0.275: normal.
    # 8th: 8.4 over 8 and 5.5: 2.5 / 20 = 0.125: low.
    values = [17.5, 16.2, 15.2, 16.1, 5.5, 8.5, 9.5, 8.4]
    assert levels(values) == [1, 1, 0, 0, -1, -1, 0, -1]


def test_without_hysteresis_every_crossing_counts() -> None:
    assert levels([17.5, 16.2, 15.2, 16.1], hysteresis=0.0) == [1, 0, 0, 0]


def test_equal_volatilities_count_one_half() -> None:
    # 1..19 and a second 16: fifteen lie below, two are equal: 16 / 20 = 0.8, which does not exceed 0.8.
    assert levels([16.0]) == [0]
    # 1..19 and 16.5: sixteen lie below, itself is equal: 16.5 / 20 = 0.825.
    assert levels([16.5]) == [1]


def test_a_label_stays_for_its_shortest_time_and_bars_count_from_the_last_change() -> None:
    adx = [30.0, 10.0, 10.0, 10.0, 30.0, 30.0, 30.0]
    found = run(config(min_bars=3), adx, [1.0] * 7, [10.0] * 7)
    assert found == [
        Regime(True, 1, 0, 0),
        Regime(True, 1, 0, 1),
        Regime(True, 1, 0, 2),
        Regime(False, 0, 0, 0),
        Regime(False, 0, 0, 1),
        Regime(False, 0, 0, 2),
        Regime(True, 1, 0, 0),
    ]


def test_a_turn_of_the_slope_waits_for_the_shortest_time_too() -> None:
    slope = [1.0, -1.0, 1.0, -1.0, -1.0, 1.0]
    assert trends([30.0] * 6, slope, min_bars=3) == [1, 1, 1, -1, -1, -1]


def test_the_two_labels_wait_each_for_itself() -> None:
    # The trend turns at the third bar; the volatility, high since the first, ends at the fourth.
    found = run(config(min_bars=3), [30, 30, 30, 10, 10], [1.0] * 5, [19.5, 1.0, 1.0, 1.0, 1.0])
    assert found == [
        Regime(True, 1, 1, 0),
        Regime(True, 1, 1, 1),
        Regime(True, 1, 1, 2),
        Regime(False, 0, -1, 0),
        Regime(False, 0, -1, 1),
    ]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_input_gives_none_and_the_state_outlives_it(missing: int) -> None:
    online = OnlineRegime(config(min_bars=3))
    for value in range(20):
        online.update(30.0, 1.0, float(value))
    row = [10.0, 1.0, 10.0]
    row[missing] = NAN
    for _ in range(5):
        assert online.update(*row) is None
    # High volatility and an up-trend since one bar: neither may end before two more bars.
    assert online.update(10.0, 1.0, 10.0) == Regime(True, 1, 1, 1)


def test_alternating_about_a_threshold_changes_nothing() -> None:
    adx = [26.0] + [24.9, 25.1] * 30
    assert set(trends(adx, [1.0] * 61)) == {1}
    ranging = [19.0] + [20.1, 19.9] * 30
    assert set(trends(ranging, [1.0] * 61)) == {0}


def test_arrays_give_what_single_bars_give() -> None:
    adx, slope, volatility = [30.0] * 25, [1.0] * 25, [float(i % 7) for i in range(25)]
    online = OnlineRegime(config())
    single = [online.update(*row) for row in zip(adx, slope, volatility, strict=True)]
    codes = regimes(config(), adx, slope, volatility)
    assert codes.shape == (25, 3)
    assert [as_regime(*row) for row in codes.tolist()] == single
    assert any(single)


def test_arrays_of_different_lengths_are_refused_and_none_are_fine() -> None:
    with pytest.raises(DataError, match="arrays of one length"):
        regimes(config(), [1.0, 2.0], [1.0], [1.0, 2.0])
    assert regimes(config(), [], [], []).shape == (0, 3)


def test_inputs_are_left_alone() -> None:
    inputs = [np.arange(30.0) for _ in range(3)]
    for array in inputs:
        array.flags.writeable = False
    regimes(config(), *inputs)
    assert all(np.array_equal(array, np.arange(30.0)) for array in inputs)
