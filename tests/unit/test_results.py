"""What a trade has earned by the venue's own fills: which are its, and what is told when they do not fit."""

from collections.abc import Sequence
from concurrent.futures import Future
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.model import Currency, Money

from configs.errors import RunFailedError
from strategies.forced import DELEVERAGED, LIQUIDATED
from strategies.results import (
    Cleared,
    Closed,
    Result,
    Results,
    Statement,
    VenueFill,
    engine_result,
    last_trip,
)

SECOND = 1_000_000_000
USDT = Currency.from_str("USDT")


def fill(number: int, signed: str, pnl: str = "0", fee: str = "1") -> VenueFill:
    return VenueFill(number, Decimal(signed), Decimal(pnl), Decimal(fee), number * SECOND)


LONG = [fill(1, "2"), fill(2, "-0.5", "10"), fill(3, "-1.5", "-4")]
LOST = Closed(side=1, risk=5.0, reason="stop", since=SECOND, reckoned=6.0)


class Venue:
    """Answers what it is given, one answer a question; `asked` are the questions."""

    def __init__(self, *answers: Sequence[VenueFill] | Statement | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int]] = []

    def __call__(self, after: int, since: int) -> Future[Statement]:
        self.asked.append((after, since))
        told: Future[Statement] = Future()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            told.set_exception(answer)
        else:
            told.set_result(answer if isinstance(answer, Statement) else Statement(answer))
        return told


def first(results: Results, closed: Closed, *, secs: int = 30) -> tuple[int, Result | None]:
    """The first result and the second at which it came, looking four times a second."""
    for step in range(4 * secs):
        result = results.look(closed, 100 * SECOND + step * SECOND // 4)
        if result is not None:
            return step // 4, result
    return secs, None


# -- whose fills -------------------------------------------------------------------------------------------


def test_the_newest_position_is_from_flat_to_flat() -> None:
    before = [fill(-3, "1"), fill(-2, "-1", "7")]
    assert last_trip([*before, *LONG], 1) == tuple(LONG)


@pytest.mark.parametrize(
    "fills",
    [
        [],
        LONG[:2],  # the last one is not listed yet
        LONG[1:],  # the first ones are not
        [fill(-3, "2"), fill(-2, "-2", "7"), LONG[0]],  # an older close and the newest entry cancel out
    ],
)
def test_fills_that_do_not_make_a_position_of_the_side_are_none(fills: list[VenueFill]) -> None:
    assert last_trip(fills, 1) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from([1, -1]), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_of_positions_one_after_the_other_the_newest_is_found_whole_or_not_at_all(
    trips: list[tuple[int, list[int]]], data: st.DataObject
) -> None:
    fills, begun = list[VenueFill](), 0
    for side, parts in trips:
        begun = len(fills)
        fills += [fill(len(fills) + k, str(side * part)) for k, part in enumerate(parts)]
        left = sum(parts)
        while left:
            gone = data.draw(st.integers(1, left))
            fills.append(fill(len(fills), str(-side * gone), "1"))
            left -= gone
    side = trips[-1][0]
    assert last_trip(fills, side) == tuple(fills[begun:])
    assert last_trip(fills, -side) == ()


# -- asking ------------------------------------------------------------------------------------------------


def test_what_the_engine_had_to_guess_is_told_by_the_venues_fills() -> None:
    venue = Venue(LONG)
    _, result = first(Results(venue), LOST)
    assert result == Result(3.0, 3.0, 3 * SECOND, 3, is_confirmed=True)
    assert venue.asked == [(-1, 0)]  # a minute earlier than it began, which is before all time


def test_fills_of_trades_that_were_told_before_are_not_counted_again() -> None:
    told = [fill(1, "1"), fill(2, "-1", "50")]
    venue = Venue(told, [*told, fill(3, "4"), fill(4, "-4", "-8")])
    closed = Closed(side=1, risk=5.0, reason="stop", since=SECOND, after=2, reckoned=0.0)
    secs, result = first(Results(venue), closed)
    assert result is not None
    assert (secs, result.pnl, result.last) == (1, -10.0, 4)
    assert venue.asked == [(2, 0)] * 2


def test_what_was_added_after_a_close_that_nobody_heard_of_belongs_to_the_same_trade() -> None:
    # flat at the venue after fill 4; the node, which had missed that, added two more
    fills = [fill(3, "-4"), fill(4, "4", "220"), fill(7, "-2"), fill(8, "2", "-0.5")]
    closed = Closed(side=-1, risk=5.0, reason="target", since=SECOND, after=2, reckoned=219.0)
    _, result = first(Results(Venue([fill(1, "1"), fill(2, "-1"), *fills])), closed)
    assert result is not None
    assert (result.pnl, result.fee, result.last, result.is_confirmed) == (215.5, 4.0, 8, True)
    unknown = msgspec.structs.replace(closed, after=-1)  # which fills are this trade's is not known then
    _, result = first(Results(Venue([fill(1, "1"), fill(2, "-1"), *fills])), unknown)
    assert result is not None
    assert (result.pnl, result.last) == (-2.5, 8)


def test_a_venue_that_does_not_answer_is_asked_until_it_does() -> None:
    failing = [RunFailedError("no answer")] * 20
    secs, result = first(Results(Venue(*failing, LONG)), LOST)
    assert result is not None
    assert result.is_confirmed
    assert secs >= 20


def test_the_patience_with_one_trade_is_not_spent_by_the_trade_before() -> None:
    older = [*LONG, fill(4, "2")]
    results = Results(Venue(LONG[:1], older, [*older, fill(5, "-2", "-500")]))
    closed = Closed(side=1, risk=5.0, reason="stop", since=SECOND)
    assert [results.look(closed, 100 * SECOND + step) for step in range(2)] == [None, None]
    results.told()  # the engine has heard all of it meanwhile
    closed = msgspec.structs.replace(closed, after=3)
    secs, result = first(results, closed)
    assert result is not None
    assert (secs, result.pnl, result.is_confirmed) == (1, -502.0, True)


def test_another_error_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        first(Results(Venue(ZeroDivisionError())), LOST)


@pytest.mark.parametrize(("reckoned", "told"), [(6.0, 6.0), (9.0, 8.0), (None, 8.0)])
def test_when_the_fills_do_not_add_up_the_worse_of_the_two_is_told(
    reckoned: float | None, told: float
) -> None:
    closed = Closed(side=1, risk=5.0, reason="stop", since=SECOND, reckoned=reckoned)
    secs, result = first(Results(Venue(LONG[:2])), closed)
    assert result is not None
    assert (result.pnl, result.is_confirmed) == (told, False)
    assert secs >= 10


def test_a_venue_that_has_forgotten_the_trade_leaves_what_the_engine_makes_of_it() -> None:
    _, result = first(Results(Venue([])), LOST)
    assert result == Result(6.0, 0.0, 0, -1, is_confirmed=False)


# -- what the venue closed ---------------------------------------------------------------------------------

# 2 bought; the venue sold them for 40 less at a fee of 1; clearing costs at most 1.25 % of 1,000
SOLD = VenueFill(
    3, Decimal(-2), Decimal(-40), Decimal(1), 3 * SECOND, 77, LIQUIDATED, clearing=Decimal("12.5")
)
LIQUIDATION = [fill(1, "2"), SOLD]
CLEARED = Cleared(Decimal("-12.5"), 3 * SECOND)


def test_the_insurance_funds_fee_belongs_to_the_result_of_a_liquidation() -> None:
    # -40 earned, 1 + 1 of fees, 12.5 to the fund; an entry of an earlier liquidation does not count again
    old = Cleared(Decimal(-99), 2 * SECOND)
    secs, result = first(Results(Venue(Statement(LIQUIDATION, [old, CLEARED]))), LOST)
    assert result == Result(-54.5, 2.0, 3 * SECOND, 3, True, -12.5, LIQUIDATED)
    assert secs == 1  # told when two answers agree


def test_a_fee_that_is_booked_later_is_waited_for() -> None:
    answers = [Statement(LIQUIDATION)] * 4
    secs, result = first(Results(Venue(*answers, Statement(LIQUIDATION, [CLEARED]))), LOST)
    assert result is not None
    assert (result.pnl, result.is_confirmed) == (-54.5, True)
    assert 4 <= secs < 10


def test_a_booking_is_known_though_the_venue_books_in_whole_seconds() -> None:
    late = [each._replace(ts=each.ts + 700_000_000) for each in LIQUIDATION]
    _, result = first(Results(Venue(Statement(late, [CLEARED]))), LOST)
    assert result is not None
    assert (result.pnl, result.is_confirmed) == (-54.5, True)


def test_a_fee_that_is_never_booked_counts_as_the_most_that_it_can_be() -> None:
    secs, result = first(Results(Venue(Statement(LIQUIDATION))), LOST)
    assert result == Result(-54.5, 2.0, 3 * SECOND, 3, False, -12.5, LIQUIDATED)
    assert secs >= 10


def test_an_empty_wallet_pays_what_is_left_of_it_and_the_fund_the_rest() -> None:
    paid = Cleared(Decimal("-4.25"), 3 * SECOND)
    _, result = first(Results(Venue(Statement(LIQUIDATION, [paid]))), LOST)
    assert result is not None
    assert (result.pnl, result.cleared, result.is_confirmed) == (-46.25, -4.25, True)
    given = Cleared(Decimal("30"), 3 * SECOND)  # a loss beyond the wallet is made good
    _, result = first(Results(Venue(Statement(LIQUIDATION, [given]))), LOST)
    assert result is not None
    assert (result.pnl, result.cleared, result.is_confirmed) == (-12.0, 30.0, True)


def test_each_of_several_forced_orders_has_its_booking() -> None:
    half = SOLD._replace(signed=Decimal(-1), pnl=Decimal(-20), clearing=Decimal("6.25"))
    rest = half._replace(number=4, order=78, ts=4 * SECOND)
    fills = [fill(1, "2"), half, rest]
    booked = [Cleared(Decimal("-6.25"), 3 * SECOND), Cleared(Decimal("-6.25"), 4 * SECOND)]
    answers = [Statement(fills, booked[:1])] * 3
    secs, result = first(Results(Venue(*answers, Statement(fills, booked))), LOST)
    assert result is not None
    # -40, three fees of 1, twice 6.25
    assert (result.pnl, result.is_confirmed) == (-55.5, True)
    assert secs >= 3
    _, result = first(Results(Venue(Statement(fills, booked[:1]))), LOST)
    assert result is not None
    assert (result.pnl, result.is_confirmed) == (-55.5, False)


def test_what_was_taken_away_by_deleveraging_costs_nothing_but_its_fill() -> None:
    taken = VenueFill(3, Decimal(-1), Decimal(30), Decimal("0.5"), 3 * SECOND, 77, DELEVERAGED)
    fills = [fill(1, "2"), taken, fill(4, "-1", "28")]
    _, result = first(Results(Venue(Statement(fills, [CLEARED]))), LOST)
    # 30 + 28 earned, 1 + 0.5 + 1 of fees
    assert result == Result(55.5, 2.5, 4 * SECOND, 4, True, 0.0, DELEVERAGED)


# -- what the engine knows ---------------------------------------------------------------------------------


def event(number: str, **other: Any) -> SimpleNamespace:
    known = {"commission": Money(0.5, USDT), "currency": USDT, "reconciliation": False, "ts_event": SECOND}
    return SimpleNamespace(trade_id=number, **{"client_order_id": "00-abc-1E0"} | known | other)


def test_the_engine_is_believed_where_it_has_heard_every_fill() -> None:
    events = [event("7"), event("9", ts_event=2 * SECOND)]
    assert engine_result(events, -4.0) == Result(-4.0, 1.0, 2 * SECOND, 9, is_confirmed=True)


@pytest.mark.parametrize(
    "guessed",
    [
        event("8", reconciliation=True),
        event("8", commission=None),
        event("8", commission=Money(0.001, Currency.from_str("BNB"))),
        event("426daf5d-4f98-524d-9cc7-692cd7113e09"),
        event("8", client_order_id="autoclose-1596107620040000020"),  # what it costs is in no fill
        event("8", client_order_id="adl_autoclose"),
    ],
)
def test_one_fill_that_was_guessed_is_enough_to_ask(guessed: SimpleNamespace) -> None:
    assert engine_result([event("7"), guessed], -4.0) is None
    assert engine_result([], 0.0) is None
