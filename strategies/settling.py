"""Tells what a live strategy's trades have earned: at once, or when the venue has said it.

Until a result is told no entry is sent: a loss that is not counted yet may be the one that ends the day. It
is kept in the strategy's memory, so a kill puts it off and does not lose it, and the guard knows one that it
has counted by its newest fill.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from nautilus_trader.trading import Strategy

from actors.alarms import alarm
from actors.messages import WHILE_AWAY
from strategies.forced import WORDS, forced_kind
from strategies.journal import Journal
from strategies.live_gate import LiveGate
from strategies.memory import TradeMemory
from strategies.order_views import only_closes
from strategies.results import Closed, FillSource, Result, Results, engine_result

__all__ = ["STRAY", "ResultSource", "Settling", "position_results"]

_PAUSE = "result"
STRAY = "stray"  # of a position that was no trade


class ResultSource(Protocol):
    """Where the results of one strategy's trades come from."""

    def known(self, position_id: Any, pnl: float) -> Result | None:
        """The result of a trade that is over, of which the engine makes `pnl`; None: the venue is asked."""

    def look(self, closed: Closed, now: int) -> Result | None:
        """The result that was asked for, once it is known; called again and again (time in ns UTC)."""

    def told(self) -> None:
        """The newest result is told."""


class PositionResults:
    """Of positions: the engine's own word where it has heard everything, else what the venue has booked."""

    def __init__(self, strategy: Strategy, results: Results) -> None:
        self._strategy = strategy
        self.look, self.told = results.look, results.told

    def known(self, position_id: Any, pnl: float) -> Result | None:
        """The engine's, if it had to guess nothing, and if the position is over for good.

        Where a closing order has filled more than the engine knew of, the next position has its id already.
        """
        position = self._strategy.cache.position(position_id)
        if position is None or not position.is_closed:
            return None
        return engine_result(position.events(), pnl)


def position_results(strategy: Strategy, fills: FillSource | None, instrument: str) -> PositionResults | None:
    """Those of a strategy's positions; None where nobody can be asked."""
    return None if fills is None else PositionResults(strategy, Results(fills.asker(instrument)))


class Settling:
    """One strategy's results. `newest` is that of the newest trade, where the venue was asked for it.

    Without a `source` (the sandbox has no fills to ask for) what the engine says is told.
    """

    def __init__(
        self,
        strategy: Strategy,
        source: ResultSource | None,
        journal: Journal,
        gate: LiveGate,
        instrument: str,
    ) -> None:
        self.newest: Result | None = None
        self._strategy = strategy
        self._results = source
        self._journal = journal
        self._gate = gate
        self._instrument = instrument
        self._quantity = 0.0
        self._is_told = False  # of the newest trade, before the engine has seen that it is over
        self._opened_by = ""  # the first fill of the newest trade that the engine has seen to be over
        self._told: Result | None = None  # the newest that was told, where it is confirmed
        self._named: set[str] = set()  # why the venue has closed of the open trade, as was alarmed

    def begin(self, memory: TradeMemory) -> None:
        """After a start: a result that was not told is waited for."""
        if self._results is None:
            memory.unsettled = None
        elif memory.unsettled is not None:
            self._gate.pause(_PAUSE)

    def closing(self, memory: TradeMemory, side: int, risk: float, reason: str) -> None:
        """A trade is over, and the engine has yet to say what it makes of it: it is remembered."""
        self._is_told = False
        if self._results is not None:
            memory.unsettled = _closed(memory, side, risk, reason)

    def away(
        self, memory: TradeMemory, side: int, risk: float, quantity: float, *, is_doubtful: bool = False
    ) -> None:
        """A trade over `quantity` ended while no node was alive: only the venue knows how.

        `is_doubtful`: only the venue knows whether its entry has filled at all, too.
        """
        self._quantity = quantity
        if self._results is None:
            self._journal.action("closed_while_away", quantity=quantity, pnl=None)
        elif memory.unsettled is None:
            closed = _closed(memory, side, risk, WHILE_AWAY)
            memory.unsettled = msgspec.structs.replace(closed, is_doubtful=is_doubtful)
            self._gate.pause(_PAUSE)

    def ended(
        self, memory: TradeMemory, position_id: Any, pnl: float, side: int, risk: float, reason: str
    ) -> None:
        """The engine makes `pnl` of a trade that is over; what the venue has said before that is final."""
        if reason == STRAY:
            if self._is_no_trade(memory, position_id, pnl):
                return
        else:
            self._opened_by = "" if self._results is None else self._opener(position_id)
            if self._is_told:
                self._is_told = False
                return
        waiting = memory.unsettled
        is_stray = reason == STRAY and waiting is not None and not waiting.is_doubtful
        known = None if self._results is None or is_stray else self._results.known(position_id, pnl)
        if self._results is not None and known is None and not is_stray:
            closed = waiting or _closed(memory, side, risk, reason)
            now = int(self._strategy.clock.timestamp_ns())
            memory.unsettled = msgspec.structs.replace(closed, reckoned=pnl, ended=now, is_doubtful=False)
            self._gate.pause(_PAUSE)
            return
        last = -1 if known is None else known.last
        self._journal.trade_closed(side, pnl if known is None else known.pnl, risk, reason, last_fill=last)
        if not is_stray:
            self.newest, self._told, memory.unsettled = None, known, None
            self._count(memory, last)

    def _is_no_trade(self, memory: TradeMemory, position_id: Any, pnl: float) -> bool:
        """Whether a position is one that only the engine had: part of the trade before, or that one again."""
        if self._is_phantom(position_id):
            self._belongs_to_the_trade(memory, pnl)
        elif self._is_again(memory, position_id):
            self._over_again(memory, pnl)
        else:
            return False
        self._journal.action("phantom_over", pnl=pnl)
        return True

    def _events(self, position_id: Any) -> Sequence[Any]:
        position = None if position_id is None else self._strategy.cache.position(position_id)  # None: coins
        events: Sequence[Any] = () if position is None else position.events()
        return events

    def _opener(self, position_id: Any) -> str:
        """The fill that a position began with; empty where that is not known."""
        events = self._events(position_id)
        return str(events[0].trade_id) if events else ""

    def _is_again(self, memory: TradeMemory, position_id: Any) -> bool:
        """Whether it is the newest trade once more: the engine has taken back fills that had closed it.

        It does that when a fill is heard of late for which it had inferred another. What has a newer fill
        than was told is no mistake of the engine's.
        """
        if not self._opened_by or self._opener(position_id) != self._opened_by:
            return False
        numbers = [
            int(n) for n in (str(event.trade_id) for event in self._events(position_id)) if n.isdigit()
        ]
        return memory.unsettled is not None or max(numbers, default=memory.last_fill + 1) <= memory.last_fill

    def _over_again(self, memory: TradeMemory, pnl: float) -> None:
        """The engine makes `pnl` of all of it now; the venue has one trade, which is told once."""
        closed = memory.unsettled
        if closed is None:
            self.newest = self._told  # better than what the engine has left of it
        elif closed.reckoned is not None:
            memory.unsettled = msgspec.structs.replace(closed, reckoned=pnl)

    def _is_phantom(self, position_id: Any) -> bool:
        """Whether a closing order has opened it: the venue never had it, the engine had missed a fill."""
        events = self._events(position_id)
        return bool(events) and only_closes(str(events[0].client_order_id))

    def _belongs_to_the_trade(self, memory: TradeMemory, pnl: float) -> None:
        """What the engine makes of a phantom it lacks in the trade before; the venue's fills have both."""
        closed = memory.unsettled
        if closed is not None and closed.reckoned is not None:
            memory.unsettled = msgspec.structs.replace(closed, reckoned=closed.reckoned + pnl)

    def look(self, memory: TradeMemory, now: int) -> None:
        """On the timer: ask, hear, tell. Nobody can let an entry in before."""
        closed = memory.unsettled
        if closed is None or self._results is None:
            return
        if closed.is_doubtful and memory.trade is not None:
            self._was_none(memory)  # its entry has filled just now: that trade has a result of its own
            return
        self._gate.pause(_PAUSE)
        result = self._results.look(closed, now)
        if result is not None and closed.is_doubtful and result.last < 0:
            self._was_none(memory)
        elif result is not None:
            self._tell(memory, closed, result)

    def _was_none(self, memory: TradeMemory) -> None:
        memory.unsettled = None
        self._count(memory, -1)

    def _tell(self, memory: TradeMemory, closed: Closed, result: Result) -> None:
        is_away = closed.reason == WHILE_AWAY
        self._is_told = closed.reckoned is None and not is_away
        ended = result.ended if is_away else closed.ended
        self._journal.trade_closed(closed.side, result.pnl, closed.risk, closed.reason, ended, result.last)
        if is_away:
            self._journal.action("closed_while_away", quantity=self._quantity, pnl=result.pnl)
        self._journal.action(
            "result",
            pnl=result.pnl,
            commission=result.fee,
            reckoned=closed.reckoned,
            is_confirmed=result.is_confirmed,
            cleared=result.cleared,
            forced=result.forced,
        )
        self._name(result.forced)
        if not result.is_confirmed:
            text = f"the venue's fills do not add up to the trade that is over: told is {result.pnl:.2f}"
            alarm(self._strategy, text, instrument=self._instrument, pnl=result.pnl)
        self.newest = self._told = result if result.is_confirmed else None
        memory.unsettled = None
        self._count(memory, result.last)

    def _count(self, memory: TradeMemory, last: int) -> None:
        memory.last_fill = memory.last_fill if last < 0 else last
        self._named.clear()
        self._gate.lift(_PAUSE)
        if self._results is not None:
            self._results.told()

    def filled(self, client_order_id: str) -> None:
        """A fill was heard of: one of the venue's own orders is no order of ours, and is alarmed."""
        self._name(forced_kind(client_order_id))

    def _name(self, forced: str) -> None:
        if forced and forced not in self._named:
            self._named.add(forced)
            alarm(self._strategy, WORDS[forced], instrument=self._instrument, forced=forced)


def _closed(memory: TradeMemory, side: int, risk: float, reason: str) -> Closed:
    since = min((ts for ts in (memory.since, memory.opened) if ts), default=0)
    return Closed(side=side, risk=risk, reason=reason, since=since, after=memory.last_fill)
