"""NORMAL -> REDUCED -> PAUSED -> probation, with numbers worked by hand."""

import math

import pytest

from actors.performance import Level, Measures, Performance, PerformanceMemory, measure
from configs.trading import PerformanceGuard

HOUR = 3_600_000_000_000
LOOSE = {"min_win_rate": 0.0, "min_expectancy_r": -99.0, "min_profit_factor": 0.0, "max_drawdown_r": 999.0}


def guard(**changes: object) -> Performance:
    """Window 4 from 4 trades on; reduced under an expectancy of 0.5 R, paused under -0.5 R."""
    settings = {
        "window": 4,
        "min_trades": 4,
        "reduced": LOOSE | {"min_expectancy_r": 0.5},
        "paused": LOOSE | {"min_expectancy_r": -0.5},
        "hysteresis": 0.2,
        "pause_hours": 2.0,
        "probation_trades": 2,
    }
    return Performance(PerformanceGuard(**(settings | changes)), PerformanceMemory())


def feed(performance: Performance, *multiples: float, start: int = 0) -> list[Level]:
    """One trade an hour with 100 at risk; the level after each."""
    levels = []
    for number, multiple in enumerate(multiples):
        performance.closed(start + number * HOUR, 100.0 * multiple, 100.0)
        levels.append(performance.memory.level)
    return levels


def test_measures_are_those_worked_by_hand() -> None:
    # +2, -1, -1, +0.5, -1 R of 100: 2 of 5 won; sum -0.5 R / 5; 250 won, 300 lost;
    # the running sum is 2, 1, 0, 0.5, -0.5: 2.5 R under its top
    trades = [(200.0, 2.0), (-100.0, -1.0), (-100.0, -1.0), (50.0, 0.5), (-100.0, -1.0)]
    assert measure(trades) == pytest.approx(Measures(0.4, -0.1, 250.0 / 300.0, 2.5))


def test_a_fall_from_the_start_counts_as_drawdown() -> None:
    assert measure([(-100.0, -1.0), (-50.0, -0.5), (20.0, 0.2)]).drawdown_r == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("trades", "factor"),
    [([(10.0, 0.1)], math.inf), ([(-10.0, -0.1)], 0.0), ([(0.0, 0.0)], math.nan), ([], math.nan)],
)
def test_profit_factor_without_losses_or_profits(trades: list[tuple[float, float]], factor: float) -> None:
    assert measure(trades).profit_factor == pytest.approx(factor, nan_ok=True)


def test_a_trade_without_known_risk_counts_for_win_rate_and_profit_factor_only() -> None:
    found = measure([(100.0, None), (-50.0, -0.5)])
    assert found == pytest.approx(Measures(0.5, -0.5, 2.0, 0.5))
    unknown = measure([(100.0, None)])
    assert math.isnan(unknown.expectancy_r)
    assert math.isnan(unknown.drawdown_r)


@pytest.mark.parametrize("risk", [0.0, -1.0, math.nan, math.inf])
def test_a_risk_that_is_no_positive_number_gives_no_multiple(risk: float) -> None:
    performance = guard()
    performance.closed(0, 5.0, risk)
    assert performance.memory.trades == [(5.0, None)]


def test_nothing_is_judged_before_the_minimum_sample() -> None:
    assert feed(guard(), -1, -1, -1) == [Level.NORMAL] * 3
    assert feed(guard(), -1, -1, -1, -1)[-1] is Level.PAUSED


def test_expectancy_under_the_threshold_reduces_and_at_the_threshold_does_not() -> None:
    assert feed(guard(), 0.5, 0.5, 0.5, 0.5)[-1] is Level.NORMAL  # 0.5 is not worse than 0.5
    assert feed(guard(), 0.5, 0.5, 0.5, 0.4)[-1] is Level.REDUCED  # 0.475


def test_the_window_rolls() -> None:
    # windows of four: (2,2,-1,-1) 0.5 NORMAL; (2,-1,-1,1) 0.25 REDUCED; (-1,-1,1,4) 0.75 clears 0.6
    assert feed(guard(), 2, 2, -1, -1, 1, 4)[3:] == [Level.NORMAL, Level.REDUCED, Level.NORMAL]


def test_reduced_is_left_only_beyond_the_hysteresis() -> None:
    # entered below 0.5, left from 0.6 on: means 0.45, then 0.55 stays, 0.6 leaves
    performance = guard()
    assert feed(performance, 0.5, 0.5, 0.5, 0.3)[-1] is Level.REDUCED
    assert feed(performance, 0.9, start=5 * HOUR)[-1] is Level.REDUCED  # (.5+.5+.3+.9)/4 = 0.55
    assert feed(performance, 0.7, start=6 * HOUR)[-1] is Level.NORMAL  # (.5+.3+.9+.7)/4 = 0.6


def test_a_mean_that_swings_around_the_threshold_does_not_flicker() -> None:
    # every window of four holds two 0.45 and two 0.54..0.56: mean 0.495 or 0.505
    multiples = [0.45, 0.54, 0.45, 0.54] + [0.45, 0.58, 0.45, 0.54] * 10
    levels = feed(guard(), *multiples)[3:]
    assert levels == [Level.REDUCED] * len(levels)
    straight = feed(guard(hysteresis=0.0), *multiples)[3:]
    assert set(straight) == {Level.NORMAL, Level.REDUCED}  # what it would be without


@pytest.mark.parametrize(
    ("name", "limit", "multiples"),
    [
        ("min_win_rate", 0.51, (1, -1, 1, -1)),  # 0.5
        ("min_expectancy_r", 0.01, (1, -1, 1, -1)),  # 0
        ("min_profit_factor", 1.01, (1, -1, 1, -1)),  # 1
        ("max_drawdown_r", 0.99, (1, -1, 1, -1)),  # 1
    ],
)
def test_any_one_measure_is_enough(name: str, limit: float, multiples: tuple[float, ...]) -> None:
    assert feed(guard(reduced=LOOSE), *multiples)[-1] is Level.NORMAL
    assert feed(guard(reduced=LOOSE | {name: limit}), *multiples)[-1] is Level.REDUCED


def test_hysteresis_of_a_least_measure_lies_above_it() -> None:
    # won of four: 1, then 2 (0.5 < 0.5 * 1.2), then 3, then 3
    levels = feed(guard(reduced=LOOSE | {"min_win_rate": 0.5}), -1, -1, 1, -1, 1, 1, 1)
    assert levels[3:] == [Level.REDUCED, Level.REDUCED, Level.NORMAL, Level.NORMAL]


def test_hysteresis_of_a_drawdown_lies_below_it() -> None:
    # falls within windows of four: 3 R, 2 R (above 2 * 0.8), 1 R, 0
    levels = feed(guard(reduced=LOOSE | {"max_drawdown_r": 2.0}), -1, -1, -1, 1, 1, 1, 1)
    assert levels[3:] == [Level.REDUCED, Level.REDUCED, Level.NORMAL, Level.NORMAL]


def test_a_win_rate_threshold_near_one_can_still_be_left() -> None:
    performance = guard(reduced=LOOSE | {"min_win_rate": 0.95})  # 0.95 * 1.2 would be above 1
    assert feed(performance, 1, 1, 1, -1, 1, 1, 1, 1)[3:] == [Level.REDUCED] * 4 + [Level.NORMAL]


def test_the_pause_lasts_its_hours_and_ends_in_probation_with_a_clean_record() -> None:
    performance = guard()
    feed(performance, -1, -1, -1, -1)  # the fourth at 3 h: paused until 5 h
    assert (performance.memory.level, performance.memory.until) == (Level.PAUSED, 5 * HOUR)
    performance.advance(5 * HOUR - 1)
    assert performance.memory.level is Level.PAUSED
    performance.advance(5 * HOUR)
    assert (performance.memory.level, performance.memory.trades) == (Level.PROBATION, [])
    assert performance.multiplier == 0.25


def test_trades_closed_during_the_pause_neither_end_nor_prolong_it() -> None:
    performance = guard()
    feed(performance, -1, -1, -1, -1)
    performance.closed(4 * HOUR, 900.0, 100.0)
    performance.closed(4 * HOUR + 1, -900.0, 100.0)
    assert (performance.memory.level, performance.memory.until) == (Level.PAUSED, 5 * HOUR)


@pytest.mark.parametrize(
    ("multiples", "after"),
    [
        ((1, 0.3), Level.NORMAL),  # 0.65 clears 0.6
        ((1, 0.0), Level.REDUCED),  # 0.5 is not worse than 0.5, and does not clear 0.6
        ((-1, 0.0), Level.REDUCED),  # -0.5 is not worse than -0.5
        ((-1, -0.1), Level.PAUSED),
    ],
)
def test_probation_is_judged_on_its_own_trades(multiples: tuple[float, ...], after: Level) -> None:
    performance = guard()
    feed(performance, -1, -1, -1, -1)
    levels = feed(performance, *multiples, start=6 * HOUR)
    assert levels == [Level.PROBATION, after]
    if after is Level.PAUSED:
        assert performance.memory.until == 7 * HOUR + 2 * HOUR


def test_after_probation_the_minimum_sample_counts_again() -> None:
    performance = guard()
    feed(performance, -1, -1, -1, -1)
    # NORMAL after two; a third loss is not judged (3 < 4), the fourth is: (1+1-3-3)/4 = -1
    assert feed(performance, 1, 1, -3, -3, start=6 * HOUR) == [
        Level.PROBATION,
        Level.NORMAL,
        Level.NORMAL,
        Level.PAUSED,
    ]


def test_multipliers_are_the_configured_ones() -> None:
    performance = guard(reduced_multiplier=0.7)
    assert performance.multiplier == 1.0
    feed(performance, 0, 0, 0, 0)
    assert (performance.memory.level, performance.multiplier) == (Level.REDUCED, 0.7)


def test_a_minimum_sample_above_the_window_widens_it() -> None:
    performance = guard(window=2, min_trades=3)
    assert feed(performance, -1, -1, -1)[-1] is Level.PAUSED
