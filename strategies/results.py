"""What a trade has earned, by the venue's own fills where the engine had to guess.

A fill whose message was lost is inferred by the engine from the order or the position: it carries no fee. Of
a position that was there at the start the engine knows neither fees nor what was closed before, and what the
insurance fund takes for a liquidation is in no fill at all. Then the venue is asked for what it has booked,
and the result is told once that adds up, to the guard and the record.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import msgspec

from configs.errors import RunFailedError
from strategies.forced import LIQUIDATED, forced_kind

__all__ = [
    "PATIENCE_NS",
    "Cleared",
    "Closed",
    "FetchFills",
    "FillSource",
    "Result",
    "Results",
    "Statement",
    "VenueFill",
    "engine_result",
    "last_trip",
]

_SECOND_NS = 1_000_000_000
PATIENCE_NS = 10 * _SECOND_NS
_MARGIN_NS = 60 * _SECOND_NS
_ZERO = Decimal(0)


class VenueFill(NamedTuple):
    """A fill as the venue has it: `signed` is negative for a sale, `pnl` before the fee; quote currency.

    `number` is the venue's own of the trade, ascending in time, and `ts` in ns UTC. `order` is the venue's
    number of its order, `forced` why the venue made that order (see `strategies.forced`), and `clearing` the
    most that the insurance fund takes for it.
    """

    number: int
    signed: Decimal
    pnl: Decimal
    fee: Decimal
    ts: int
    order: int = 0
    forced: str = ""
    clearing: Decimal = _ZERO


class Cleared(NamedTuple):
    """What the insurance fund has booked on a liquidated position: negative where it took; `ts` in ns UTC."""

    amount: Decimal
    ts: int


class Statement(NamedTuple):
    """What the venue has of an instrument: fills, oldest first, and what it took for liquidations in them."""

    fills: Sequence[VenueFill]
    cleared: Sequence[Cleared] = ()


type FetchFills = Callable[[int, int], Future[Statement]]


class FillSource(NamedTuple):
    """Whom to ask for fills: `fetch(instrument, after, since)`, which does not block, and what had been
    `executed` when the node was prepared, by instrument (none of one for which the venue did not answer) and
    client order id."""

    fetch: Callable[[str, int, int], Future[Statement]]
    executed: Mapping[str, Mapping[str, float]]

    def asker(self, instrument: str) -> FetchFills:
        """Asks for the fills of one instrument."""
        return partial(self.fetch, instrument)


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A trade that is over and whose result is not told yet.

    `since` is when it had not begun yet (ns UTC, 0: not known), `after` the newest fill of trades before it
    (-1: not known), `reckoned` what the engine makes of it (None: it ended while no node was alive), `ended`
    when it was seen to be over (ns UTC). `is_doubtful`: its entry may not have filled at all.
    """

    side: int
    risk: float
    reason: str
    since: int
    after: int = -1
    reckoned: float | None = None
    ended: int = 0
    is_doubtful: bool = False


class Result(NamedTuple):
    """What a trade has earned net of fees, the fees, and when it ended (ns UTC); `last` is its newest fill.

    `is_confirmed`: by fills of the venue that add up. `cleared` is what the insurance fund has taken of it
    (negative), or given, and `forced` why the venue closed of it (see `strategies.forced`).
    """

    pnl: float
    fee: float
    ended: int
    last: int
    is_confirmed: bool
    cleared: float = 0.0
    forced: str = ""


def last_trip(fills: Sequence[VenueFill], side: int) -> tuple[VenueFill, ...]:
    """The fills of the newest position of a side, from flat to flat; none where the newest do not add up."""
    left = _ZERO
    for index in range(len(fills) - 1, -1, -1):
        left += fills[index].signed
        if left == 0:
            return tuple(fills[index:]) if fills[index].signed * side > 0 else ()
    return ()


def engine_result(events: Iterable[Any], pnl: float) -> Result | None:
    """The engine's own result of a position that is over; None when it had to guess any of its fills, or the
    venue has closed of it: what else that costs is in no fill."""
    fee, last, ended = _ZERO, -1, 0
    for event in events:
        if forced_kind(str(event.client_order_id)):
            return None
        number, commission = str(event.trade_id), event.commission
        is_known = number.isdigit() and commission is not None and commission.currency == event.currency
        if event.reconciliation or not is_known:
            return None
        fee += commission.as_decimal()
        last, ended = max(last, int(number)), max(ended, int(event.ts_event))
    return Result(pnl, float(fee), ended, last, True) if last >= 0 else None


class Results:
    """Finds the result of one closed trade after another. `fetch(after, since)` asks the venue elsewhere for
    the fills after a number, or since a time where the number is -1; it must not block."""

    def __init__(self, fetch: FetchFills) -> None:
        self._fetch = fetch
        self._asked: Future[Statement] | None = None
        self._again = 0
        self._first = 0
        self._booked: Sequence[Cleared] = ()

    def look(self, closed: Closed, now: int) -> Result | None:
        """The result, once it is known; call it again and again with the time (ns UTC)."""
        if self._asked is None:
            if now >= self._again:
                self._asked = self._fetch(closed.after, max(0, closed.since - _MARGIN_NS))
            return None
        if not self._asked.done():
            return None
        asked, self._asked, self._again = self._asked, None, now + _SECOND_NS
        if isinstance(asked.exception(), RunFailedError):  # the venue does not answer: no entry until it does
            return None
        return self._judge(closed, asked.result(), now)

    def told(self) -> None:
        """The result is told, wherever it came from: nothing that was heard of this trade is of the next."""
        self._asked, self._booked = None, ()
        self._again = self._first = 0

    def _judge(self, closed: Closed, told: Statement, now: int) -> Result | None:
        begun = closed.since if closed.is_doubtful else 0  # what is older is no fill of that entry
        fills = [fill for fill in told.fills if fill.number > closed.after and fill.ts >= begun]
        trip = _since_the_last(fills, closed) or last_trip(fills, closed.side)
        cleared = _cleared(trip or fills, told.cleared)
        if trip and self._is_cleared(trip, cleared):
            return _result(trip, cleared, is_confirmed=True)
        self._first = self._first or now
        if now - self._first < PATIENCE_NS:
            return None
        found = _result(trip or fills, cleared, is_confirmed=False)
        if closed.reckoned is not None:  # of two that disagree the worse
            found = found._replace(pnl=min(found.pnl, closed.reckoned) if fills else closed.reckoned)
        return found

    def _is_cleared(self, trip: Sequence[VenueFill], cleared: Sequence[Cleared]) -> bool:
        """Whether the venue has booked what it took for each liquidation: nothing more came with this answer.

        A booking comes after the fills; of an empty wallet less is taken than is due, so no sum can be waited
        for.
        """
        orders = {fill.order for fill in trip if fill.forced == LIQUIDATED}
        before, self._booked = self._booked, cleared
        return not orders or (len(cleared) >= len(orders) and cleared == before)


def _cleared(fills: Sequence[VenueFill], booked: Sequence[Cleared]) -> Sequence[Cleared]:
    """What was booked since the first liquidation among some fills: those of trades before are older."""
    first = min((fill.ts for fill in fills if fill.forced == LIQUIDATED), default=None)
    if first is None:
        return []
    begin = first - first % _SECOND_NS  # the venue books in whole seconds
    return [entry for entry in booked if entry.ts >= begin]


def _since_the_last(fills: Sequence[VenueFill], closed: Closed) -> Sequence[VenueFill]:
    """All fills since the trade before, where they end flat: a fill that was lost can hide that the venue was
    flat in between, and what was added then belongs to the same trade."""
    is_known = closed.after >= 0 and bool(fills) and fills[0].signed * closed.side > 0
    return fills if is_known and sum((fill.signed for fill in fills), _ZERO) == 0 else ()


def _result(fills: Sequence[VenueFill], booked: Sequence[Cleared], *, is_confirmed: bool) -> Result:
    fee = sum((fill.fee for fill in fills), _ZERO)
    cleared = sum((entry.amount for entry in booked), _ZERO)
    if not is_confirmed:  # what is not booked yet is taken for the most that it can be
        cleared = min(cleared, -sum((fill.clearing for fill in fills), _ZERO))
    pnl = sum((fill.pnl for fill in fills), _ZERO) - fee + cleared
    ended, last = max((f.ts for f in fills), default=0), max((f.number for f in fills), default=-1)
    forced = next((fill.forced for fill in reversed(fills) if fill.forced), "")
    return Result(float(pnl), float(fee), ended, last, is_confirmed, float(cleared), forced)
