"""Bars that are heard late: entries are not made on them, told once, and a market that is replayed is not."""

import pytest

from strategies.bar_ages import BarAges
from strategies.values import Refused
from tests.desk_bench import Bench

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def heard(delays: list[float], *, replays: bool, speed: float = 1.0, past_secs: float = 0.0) -> list[bool]:
    """Whether bars of a minute are late that are heard so many seconds after their close, by the clock."""
    ages, late = BarAges(15.0, replays=replays), []
    for number, delay in enumerate(delays):
        closed = number * MINUTE
        now = round(closed / speed + (delay + past_secs) * SECOND)
        ages.hear(closed, now)
        late.append(ages.is_late)
    return late


def test_a_bar_is_late_beyond_the_limit_and_the_next_one_in_time_is_not() -> None:
    assert heard([0.1, 14.9, 90.0, 75.0, 0.1], replays=False) == [False, False, True, True, False]
    assert heard([90.0], replays=False) == [True]  # the first one as well


def test_without_a_limit_none_is_late() -> None:
    ages = BarAges(None)
    assert not ages.hear(0, 3600 * SECOND)
    assert not ages.is_late


@pytest.mark.parametrize("past_secs", [0.0, 30 * 86_400.0])
def test_a_replay_of_any_time_counts_from_its_least_lateness(past_secs: float) -> None:
    delays = [0.1, 0.2, 90.0, 0.1]
    assert heard(delays, replays=True, past_secs=past_secs) == [False, False, True, False]


@pytest.mark.parametrize("past_secs", [0.0, 86_400.0])
def test_a_replay_that_runs_ahead_of_the_clock_is_never_late(past_secs: float) -> None:
    assert not any(heard([0.1, 3.0, 0.2, 0.3], replays=True, speed=60.0, past_secs=past_secs))


def test_on_a_late_bar_nothing_is_entered_and_one_alarm_says_so() -> None:
    bench = Bench(held=0.0)
    gate = bench.start(stale_bar_secs=15.0).gate
    gate.bar_heard(bench.now - 200_000_000)
    assert gate.refuses() is None
    for age in (90, 75):
        gate.bar_heard(bench.now - age * SECOND)
        assert gate.refuses() == Refused("stale_bar", 15.0, float(age))
    assert ["90.0 s after its close" in text for text in bench.alarms()] == [True]
    gate.bar_heard(bench.now)
    assert gate.refuses() is None
    assert not gate.is_paused
