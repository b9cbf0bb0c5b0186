"""Finds orders whose news must have been lost, and says which of them to ask the venue about. Pure.

An order that the market has passed and that still rests has filled unheard, or soon will have. The engine's
own checks find that in many seconds; asked about the one order, the venue answers within a round trip.

The account's own stream can end without a word: its listen key expires, its connection is dead and not
closed. Then all news have to be asked for, and that is how it shows.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

__all__ = ["Hearing", "Market", "Resting", "Suspects"]

_PASSED_NS = 500_000_000
_LATE_NS = 1_500_000_000
_AGAIN_NS = 1_000_000_000
_LONGEST_NS = 8_000_000_000
_MOST = 3
_ONE_SILENCE_NS = 60_000_000_000
_PAUSE_SECS, _LONGEST_PAUSE_SECS = 60.0, 1_800.0


class Market(NamedTuple):
    """Where the market is, in price units; NaN for what is not known (it passes nothing)."""

    bid: float
    ask: float
    mark: float


class Resting(NamedTuple):
    """An order that is not closed. `since` is when it was last heard of (ns UTC).

    `kind`: "stop" waits for the mark price at `level`, "limit" for the other side's, "market" for nothing;
    "changing" is one whose sending, move or cancel has not been answered.
    """

    order_id: str
    kind: Literal["stop", "limit", "market", "changing"]
    is_buy: bool
    level: float
    since: int


class Suspects:
    """Which orders to ask about, at most `_MOST` a call and each ever more rarely, from 1 s to 8 s apart."""

    def __init__(self) -> None:
        self._over: dict[str, int] = {}
        self._passed: dict[str, int] = {}
        self._asked: dict[str, tuple[int, int]] = {}

    def look(
        self, orders: Iterable[Resting], market: Market, now: int, *, is_at_odds: bool = False
    ) -> list[str]:
        """The orders to ask about at `now` (ns UTC); `is_at_odds`: position and orders disagree, so all."""
        orders = tuple(orders)
        known = {order.order_id for order in orders}
        self._passed = {key: since for key, since in self._passed.items() if key in known}
        self._asked = {key: asked for key, asked in self._asked.items() if key in known}
        asked = [
            order.order_id
            for order in orders
            if (self._is_suspect(order, market, now) or is_at_odds) and self._is_due(order.order_id, now)
        ][:_MOST]
        for key in asked:
            times = self._asked.get(key, (0, 0))[1]
            self._asked[key] = (now + min(_AGAIN_NS << times, _LONGEST_NS), min(times + 1, 3))
        late = [key for key, at in self._over.items() if now - at >= _AGAIN_NS]
        for key in late:
            del self._over[key]
        return asked + late

    def over(self, order_id: str, now: int) -> None:
        """An order was closed with a part unfilled, and is asked about: once more a second later, since
        nothing shows that the answer has come."""
        self._over[order_id] = now

    def _is_suspect(self, order: Resting, market: Market, now: int) -> bool:
        if order.kind == "changing":
            return now - order.since > _LATE_NS
        if order.kind != "market" and not _is_passed(order, market):
            self._passed.pop(order.order_id, None)
            return False
        since = self._passed.setdefault(order.order_id, order.since if order.kind == "market" else now)
        return now - since >= _PASSED_NS

    def _is_due(self, order_id: str, now: int) -> bool:
        return now >= self._asked.get(order_id, (now, 0))[0]


class Hearing:
    """Whether the account's own stream speaks. What it tells says that it does; two things within a minute
    that had to be asked for, with nothing told in between, that it does not."""

    def __init__(self) -> None:
        self._unheard: dict[str, int] = {}
        self._times = 0
        self._until = 0

    def heard(self) -> bool:
        """The stream has told something; True when it was taken for dead."""
        was_dead, self._times, self._until = self._times > 0, 0, 0
        self._unheard.clear()
        return was_dead

    def asked(self, what: str, now: int) -> float | None:
        """Only asking has brought news of `what` (an order, the account); how many seconds to enter nothing.

        None: it may have been one message. In a row each time is twice as long, from a minute to half an
        hour: after a pause an entry tries whether the stream speaks again.
        """
        self._unheard = {key: at for key, at in self._unheard.items() if now - at < _ONE_SILENCE_NS}
        self._unheard[what] = now
        if len(self._unheard) < 2 or now < self._until:
            return None
        secs = min(_PAUSE_SECS * float(1 << self._times), _LONGEST_PAUSE_SECS)
        self._times = min(self._times + 1, 8)
        self._until = now + round(secs * 1e9)
        self._unheard.clear()
        return secs


def _is_passed(order: Resting, market: Market) -> bool:
    if order.kind == "stop":
        return market.mark >= order.level if order.is_buy else market.mark <= order.level
    return market.ask <= order.level if order.is_buy else market.bid >= order.level
