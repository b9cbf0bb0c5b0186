"""Looks at everything that passes the venue: what positions have at every moment, and when to kill."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from live.rehearsal.campaign.evidence import FaultSpan, KillDone, Mark, Moment, Request
from live.rehearsal.campaign.scenario import Kill
from live.rehearsal.campaign.spot_evidence import spot_moment
from live.rehearsal.campaign.steps import LATER_SECS, Phase, answer_steps, event_steps, request_steps
from live.rehearsal.faults.box import Injection
from live.rehearsal.futures.events import PositionView
from live.rehearsal.futures.orders import AlgoOrder, Order
from live.rehearsal.session import Session
from live.rehearsal.spot.events import ExecutionReport

__all__ = ["MOVE", "StampedLog", "Watch", "covers"]

ACCOUNT = "main"
MOVE = "move"
ZERO = Decimal(0)
_SECRETS = ("signature", "timestamp", "recvWindow", "apiKey")
_LATER = {
    "entry_accepted": "entry_answered",
    "entry_filled": "entry_told",
    "list_accepted": "list_answered",
    "stop_accepted": "stop_answered",
}


class StampedLog(deque[Injection]):
    """A fault log that remembers the wall time of what it is given, but for the moves of the scenario."""

    def __init__(self) -> None:
        super().__init__()
        self._spans: dict[tuple[str, str], list[int]] = {}

    def append(self, injection: Injection, /) -> None:
        """Count it; the scenario's own moves are no faults."""
        if injection.name == MOVE:
            return
        now = time.time_ns()
        span = self._spans.setdefault((injection.kind, injection.name), [now, now, 0])
        span[1], span[2] = now, span[2] + 1

    @property
    def spans(self) -> tuple[FaultSpan, ...]:
        """One for each fault that did anything."""
        spans = self._spans.items()
        return tuple(FaultSpan(kind, a, b, hits, name) for (kind, name), (a, b, hits) in spans)


class Watch:
    """The observer of one session; at the armed kill point it kills the node at once."""

    def __init__(self, session: Session, symbols: Iterable[str]) -> None:
        self.moments: list[Moment] = []
        self.requests: list[Request] = []
        self.kills: list[KillDone] = []
        self.counts: Counter[str] = Counter()
        self.trade_walls: dict[int, int] = {}
        self.marks: list[Mark] = []
        self.changed_at = time.monotonic()
        self._session = session
        self._symbols = tuple(symbols)
        self._specs = {spec.symbol: spec for spec in session.plan.specs}
        self._last: dict[str, Moment] = {}
        self._asked: dict[int, int] = {}
        self._phase = Phase()
        self._lived: Counter[str] = Counter()
        self._kill: Kill | None = None
        self._strike: Callable[[], None] = _nothing

    # -- a life -------------------------------------------------------------------------------------------

    def begin_life(self, kill: Kill | None, strike: Callable[[], None]) -> None:
        """Count the steps of a new life, and strike at the one of `kill`."""
        self._phase, self._lived, self._kill, self._strike = Phase(), Counter(), kill, strike

    def strike(self, step: str) -> None:
        """Kill now."""
        self._kill = None
        self._strike()
        self.note_kill(step)

    def note_kill(self, step: str) -> None:
        """A node was killed at a step, now."""
        self.kills.append(KillDone(step, time.time_ns()))

    def disarm(self) -> None:
        """No kill point counts any more."""
        self._kill = None

    # -- the observer's -------------------------------------------------------------------------------------

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> None:
        """Note it; it may be a kill point."""
        self._asked[id(params)] = len(self.requests)
        shown = {name: value for name, value in params.items() if name not in _SECRETS}
        self.requests.append(Request(time.time_ns(), method, path, shown, None, None))
        self._pass(request_steps(self._phase, method, path, params))

    def on_answer(
        self, method: str, path: str, params: Mapping[str, str], status: int, body: Any, *, faulted: bool
    ) -> None:
        """Note what came of it; it may be a kill point."""
        code = body.get("code", 0) if status != 200 and isinstance(body, dict) else 0
        place = self._asked.pop(id(params), None)
        if place is not None:
            done = self.requests[place]
            message = str(body.get("msg", "")) if code else ""
            self.requests[place] = done._replace(status=status, code=code, faulted=faulted, message=message)
        if method != "GET":
            self._look(params.get("symbol"), f"{method} {path} {status}")
        self._pass(answer_steps(method, path, params, status))

    def on_event(self, event: Any) -> None:
        """Note what it leaves; it may be a kill point."""
        order = getattr(event, "order", None)
        if isinstance(event, ExecutionReport) and event.trade is not None:
            self.trade_walls[event.trade.trade_id] = time.time_ns()
        word = getattr(event, "execution", "") or getattr(order, "status", "") or getattr(event, "reason", "")
        self._look(None if order is None else order.symbol, f"{type(event).__name__} {word}")
        self._pass(event_steps(event))

    def look(self, what: str) -> None:
        """Note every symbol as it is."""
        self._look(None, what)

    def look_at_marks(self) -> None:
        """Note the mark prices that have changed."""
        session, newest = self._session, {mark.symbol: mark for mark in self.marks[-2 * len(self._symbols) :]}
        for symbol in self._symbols if session.plan.market_kind == "um" else ():
            price, before = session.venue.market(symbol).mark, newest.get(symbol)
            if price is not None and (before is None or before.price != price):
                self.marks.append(Mark(time.time_ns(), session.market_ms, symbol, price))

    # -- inside ---------------------------------------------------------------------------------------------

    def _pass(self, steps: tuple[str, ...]) -> None:
        for step in steps:
            self._count(step)
            later = _LATER.get(step)
            if later is not None:
                asyncio.get_running_loop().call_later(LATER_SECS, self._count, later)

    def _count(self, step: str) -> None:
        self.counts[step] += 1
        self._lived[step] += 1
        kill = self._kill
        if kill is not None and kill.step == step and self._lived[step] == kill.nth:
            self.strike(step)

    def _look(self, symbol: str | None, what: str) -> None:
        for each in self._symbols if symbol is None or symbol not in self._symbols else (symbol,):
            moment = self._moment(each, what)
            before = self._last.get(each)
            if before is None or _state(before) != _state(moment):
                self._last[each] = moment
                self.moments.append(moment)
                self.changed_at = time.monotonic()

    def _moment(self, symbol: str, what: str) -> Moment:
        session = self._session
        if session.plan.market_kind == "spot":
            return spot_moment(session, self._specs[symbol], ACCOUNT, time.time_ns(), what)
        venue = session.venue
        (position,) = venue.positions(ACCOUNT, symbol)
        orders, algos = venue.open_orders(ACCOUNT, symbol), venue.open_algo_orders(ACCOUNT, symbol)
        return Moment(
            wall_ns=time.time_ns(),
            market_ms=session.market_ms,
            what=what,
            symbol=symbol,
            position=position.amount,
            entry_orders_open=sum(not order.reduce_only for order in orders),
            stop_covers=covers(position, algos, orders),
            orders_open=len(orders) + len(algos),
            mark=venue.market(symbol).mark or ZERO,
            entry_price=position.entry_price,
            targets=sum((o.remaining for o in orders if o.reduce_only and o.type == "LIMIT"), ZERO),
            isolated=position.isolated,
        )

    @property
    def last(self) -> Mapping[str, Moment]:
        """Each symbol's newest moment."""
        return self._last


def covers(position: PositionView, algos: Iterable[AlgoOrder], orders: Iterable[Order]) -> bool:
    """Whether stops at the venue close the whole position; one that was set off and still fills counts."""
    held = abs(position.amount)
    if not held:
        return True
    side = "SELL" if position.amount > 0 else "BUY"
    stops = [a for a in algos if a.side == side and a.type in ("STOP_MARKET", "TRAILING_STOP_MARKET")]
    if any(stop.close_position for stop in stops):
        return True
    waiting = sum((stop.quantity for stop in stops if stop.reduce_only), ZERO)
    leaving = sum((o.remaining for o in orders if o.algo_id and o.side == side and o.type == "MARKET"), ZERO)
    return waiting + leaving >= held


def _state(moment: Moment) -> tuple[Any, ...]:
    return (
        moment.position,
        moment.entry_orders_open,
        moment.stop_covers,
        moment.orders_open,
        moment.targets,
    )


def _nothing() -> None:
    """Before the first life."""
