"""The parts of a live strategy's gate, pure: pauses, back-off, the budget of orders, suspected orders."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.backoff import Backoff
from strategies.lost_orders import Market, Resting, Suspects
from strategies.order_budget import OrderBudget
from strategies.pauses import Pauses

SECOND = 1_000_000_000
NOWHERE = Market(math.nan, math.nan, math.nan)

# -- pauses ------------------------------------------------------------------------------------------------


def test_a_pause_for_a_time_is_over_by_itself_and_one_without_is_not() -> None:
    pauses = Pauses()
    assert pauses.reason(0) is None
    assert pauses.add("network", 10)
    assert pauses.reason(9) == "network"
    assert pauses.reason(10) is None
    assert pauses.expire(10) == ("network",)
    assert pauses.add("keys")
    assert pauses.reason(2**62) == "keys"
    assert pauses.resume() == ("keys",)
    assert pauses.reason(0) is None


def test_a_pause_is_prolonged_never_shortened_and_only_grows_graver() -> None:
    pauses = Pauses()
    pauses.add("venue", 100)
    assert not pauses.add("venue", 50)
    assert pauses.reason(99) == "venue"
    pauses.add("venue")
    pauses.add("venue", 10)
    assert pauses.reason(1_000) == "venue"


def test_an_operator_lifts_everything_but_what_is_for_good() -> None:
    pauses = Pauses()
    pauses.stand_still("node_stopping")
    pauses.stand_still("later")
    pauses.add("failure:guard")
    pauses.resume()
    assert pauses.reason(0) == "node_stopping"


def test_a_reason_that_is_lifted_leaves_the_others() -> None:
    pauses = Pauses()
    pauses.add("stale_quotes")
    pauses.add("venue", 10)
    assert pauses.lift("stale_quotes")
    assert not pauses.lift("stale_quotes")
    assert pauses.reason(0) == "venue"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 100)), max_size=8),
    st.integers(0, 120),
)
def test_entries_are_paused_exactly_while_a_reason_is_in_force(
    given_: list[tuple[str, int | None]], now: int
) -> None:
    pauses = Pauses()
    for reason, until in given_:
        pauses.add(reason, until)
    assert (pauses.reason(now) is not None) == any(until is None or until > now for _, until in given_)


# -- back-off ----------------------------------------------------------------------------------------------


def test_the_wait_doubles_from_one_second_to_eight() -> None:
    waits, now = Backoff(), 0
    for secs in (1, 2, 4, 8, 8):
        waits.refused("exit", now)
        assert waits.is_waiting("exit", now + secs * SECOND - 1)
        now += secs * SECOND
        assert not waits.is_waiting("exit", now)
    assert not waits.is_waiting("stop0", now)
    waits.forget("exit")
    assert waits.count("exit") == 0


def test_what_is_urgent_waits_for_two_seconds_at_most() -> None:
    waits = Backoff()
    for secs in (1, 2, 2, 2):
        waits.refused("stop0", 0, is_urgent=True)
        assert waits.is_waiting("stop0", secs * SECOND - 1)
        assert not waits.is_waiting("stop0", secs * SECOND)


# -- budget ------------------------------------------------------------------------------------------------


def test_entries_stop_at_their_share_and_go_on_when_the_window_has_passed() -> None:
    budget = OrderBudget([(10 * SECOND, 10)], protection_pct=50.0)
    for index in range(5):
        assert budget.refuses(index) is None
        budget.note(index)
    refused = budget.refuses(5)
    assert refused is not None
    assert refused == ("order_budget", 5.0, 5.0)
    for index in range(100):  # protection never asks
        budget.note(10 + index)
    assert budget.refuses(10 * SECOND) is not None
    assert budget.refuses(11 * SECOND) is None


@given(st.lists(st.integers(0, 40 * SECOND), max_size=60), st.integers(0, 60 * SECOND))
def test_what_was_used_is_what_was_sent_in_the_window(times: list[int], later: int) -> None:
    budget = OrderBudget([(SECOND, 5), (10 * SECOND, 20)])
    for time in sorted(times):
        budget.note(time)
    now = max(times, default=0) + later
    for window in (SECOND, 10 * SECOND):
        assert budget.used(window, now) == sum(now - window < time <= now for time in times)


def test_in_one_second_only_so_many_orders_go_before_entries_wait() -> None:
    budget = OrderBudget([(10 * SECOND, 300)], per_sec=3)
    for index in range(3):
        assert budget.refuses(index) is None
        budget.note(index)
    assert budget.refuses(3) == ("order_budget", 3.0, 3.0)
    assert budget.refuses(SECOND + 2) is None


def test_without_limits_nothing_is_refused() -> None:
    budget = OrderBudget([])
    budget.note(1)
    assert budget.refuses(2) is None


# -- lost orders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "inside", "through"),
    [
        (Resting("a", "stop", False, 90.0, 0), Market(95, 96, 95), Market(89, 90, 90)),
        (Resting("a", "stop", True, 110.0, 0), Market(100, 101, 109), Market(109, 110, 110)),
        (Resting("a", "limit", False, 110.0, 0), Market(109, 110, 120), Market(110, 111, 100)),
        (Resting("a", "limit", True, 90.0, 0), Market(90, 91, 80), Market(89, 90, 100)),
    ],
)
def test_an_order_that_the_market_has_passed_for_half_a_second_is_asked_about(
    order: Resting, inside: Market, through: Market
) -> None:
    suspects = Suspects()
    assert suspects.look([order], inside, 10 * SECOND) == []
    assert suspects.look([order], through, 11 * SECOND) == []
    assert suspects.look([order], through, 11 * SECOND + SECOND // 4) == []
    assert suspects.look([order], inside, 11 * SECOND + SECOND // 2) == []  # it came back
    assert suspects.look([order], through, 12 * SECOND) == []
    assert suspects.look([order], through, 12 * SECOND + SECOND // 2) == ["a"]


def test_an_order_is_asked_about_ever_more_rarely() -> None:
    suspects, order = Suspects(), Resting("a", "market", True, math.nan, 0)
    asked = [k for k in range(200) if suspects.look([order], NOWHERE, k * SECOND // 4)]
    assert [(b - a) / 4 for a, b in pairwise(asked)][:5] == [1, 2, 4, 8, 8]
    assert asked[0] == 2  # half a second after it was sent


def test_a_cancel_without_an_answer_is_asked_about_and_nothing_known_of_the_market_passes_nothing() -> None:
    suspects = Suspects()
    cancel = Resting("c", "changing", True, 100.0, 0)
    assert suspects.look([cancel], NOWHERE, SECOND) == []
    assert suspects.look([cancel], NOWHERE, 2 * SECOND) == ["c"]
    stop = Resting("s", "stop", False, 90.0, 0)
    assert suspects.look([stop], NOWHERE, 3 * SECOND) == []
    assert suspects.look([stop], NOWHERE, 9 * SECOND) == []


def test_at_odds_everything_is_asked_about_three_at_a_time() -> None:
    suspects = Suspects()
    orders = [Resting(str(k), "limit", False, 110.0, 0) for k in range(5)]
    market = Market(100, 101, 100)
    assert suspects.look(orders, market, SECOND, is_at_odds=True) == ["0", "1", "2"]
    assert suspects.look(orders, market, SECOND + 1, is_at_odds=True) == ["3", "4"]
    assert suspects.look(orders, market, SECOND + 2, is_at_odds=True) == []
    assert suspects.look(orders, market, 3 * SECOND) == []
