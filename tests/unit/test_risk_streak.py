"""The streak of losses: trades count in the order in which they ended, however late they are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.risk_rules import DayMemory, DayRules
from configs.trading import DayLimits

MIN = 60_000_000_000


@pytest.mark.parametrize(
    ("told", "streak"),
    [
        ([(10, -1.0, 0), (11, 5.0, 9)], 1),  # the gain came first and is told after the loss
        ([(10, -1.0, 0), (11, 5.0, 0)], 0),
        ([(10, -1.0, 0), (11, -1.0, 0), (12, 5.0, 11)], 0),
        ([(10, -1.0, 0), (12, -1.0, 0), (13, 5.0, 11)], 1),
        ([(10, 5.0, 0), (11, -1.0, 9)], 0),
        ([(20, -1.0, 8), (20, 5.0, 7), (20, -1.0, 9)], 2),  # all of them while no node was alive
        ([(10, -1.0, 30), (11, 5.0, 0)], 0),  # a venue's clock that is ahead
    ],
)
def test_a_streak_follows_the_order_in_which_trades_ended(
    told: list[tuple[int, float, int]], streak: int
) -> None:
    rules = DayRules(DayLimits(loss_streak=5), DayMemory())
    for now, pnl, ended in told:
        rules.closed(now * MIN, pnl, ended * MIN)
    assert rules.memory.streak == streak


def test_what_ended_while_no_node_was_alive_comes_first_whatever_the_venues_clock_says() -> None:
    rules = DayRules(DayLimits(loss_streak=9), DayMemory(streak=4))
    rules.closed(11 * MIN, -1.0, 10 * MIN)
    rules.closed(12 * MIN, 5.0, 500 * MIN, away=True)
    rules.closed(12 * MIN, -1.0, 400 * MIN, away=True)
    rules.closed(13 * MIN, -1.0)
    assert rules.memory.streak == 2


def test_what_ended_under_the_node_before_comes_before_what_ended_while_none_was_alive() -> None:
    rules = DayRules(DayLimits(loss_streak=9), DayMemory())
    rules.advance(10 * MIN, 100.0)
    rules.closed(11 * MIN, 5.0, 2 * MIN, away=True)
    rules.closed(11 * MIN, -1.0, 9 * MIN)  # told later, ended before the kill
    assert rules.memory.streak == 0
    rules.closed(12 * MIN, -1.0)
    assert rules.memory.streak == 1


def test_a_gain_told_late_between_losses_takes_back_the_pause_that_they_made() -> None:
    rules = DayRules(DayLimits(loss_streak=2, loss_streak_pause_minutes=30), DayMemory())
    rules.closed(10 * MIN, -1.0)
    rules.closed(12 * MIN, -1.0)
    assert rules.memory.streak_until == 42 * MIN
    rules.closed(13 * MIN, 5.0, 11 * MIN)
    assert (rules.memory.streak, rules.memory.streak_until) == (1, 0)


@given(st.permutations(range(8)), st.lists(st.sampled_from([-1.0, 2.0, 0.0]), min_size=8, max_size=8))
def test_in_whatever_order_they_are_told_the_streak_is_that_of_the_order_of_their_ends(
    order: list[int], profits: list[float]
) -> None:
    rules, right = (DayRules(DayLimits(loss_streak=100), DayMemory()) for _ in range(2))
    for place in order:
        rules.closed(100 * MIN, profits[place], (place + 1) * MIN)
    for place, pnl in enumerate(profits):
        right.closed((place + 1) * MIN, pnl)
    assert rules.memory.streak == right.memory.streak
