"""The fault script at work: it answers the server's questions, alters the market, and says what is due.

`ScriptedFaults` is the server's `FaultBox`. Requests, messages, connections and market events pass through
it; what happens by itself comes out of `due` as `Action`s, for the session to carry out. Everything that was
done is in `log`, in order, so a test can compare what a client saw with what was done to it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

from live.rehearsal.book import MarketEvent
from live.rehearsal.faults.effects import (
    FUTURES_WEIGHT_LIMIT,
    alter,
    combine,
    matches_message,
    matches_request,
    request_fault,
    touches,
)
from live.rehearsal.faults.gates import Gate, Turn, make_random, turns
from live.rehearsal.faults.script import (
    AnyKind,
    DelayMessage,
    DropMessage,
    DuplicateMessage,
    FaultScript,
    InstantKind,
    LastingKind,
    MarketKind,
    MessageKind,
    RefuseConnection,
    ReorderMessage,
    RequestKind,
    ShiftKind,
)
from live.rehearsal.ports import ConnectFault, Delivery, RequestFault

__all__ = ["Action", "Injection", "ScriptedFaults"]

_LOG_KEPT = 100_000


class Action(NamedTuple):
    """A fault that begins now, or ends (`begins` false; only those that last and those that shift prices)."""

    fault: InstantKind | LastingKind | ShiftKind
    begins: bool


class Injection(NamedTuple):
    """One thing that was done: when (market time), by which fault, of which kind, to what."""

    ts_ms: int
    name: str
    kind: str
    target: str


@dataclass(slots=True, eq=False)
class _Armed:
    """A fault of the script with what it has come to."""

    fault: AnyKind
    random: Random
    gate: Gate | None = None
    turns: Iterator[Turn] | None = None
    held: dict[str, tuple[Delivery, int]] = field(default_factory=dict)
    lasting: bool = False
    cleared: bool = False


class ScriptedFaults:
    """A script's faults, and those that are injected later.

    Args:
        script: what to do.
        now_ms: the market's time.
        start_ms: when the script's seconds begin; those of an injected fault begin at its injection.
        ticks: the price tick by symbol.
        weight_limit: the request weight a minute that the market allows.
    """

    def __init__(
        self,
        script: FaultScript,
        *,
        now_ms: Callable[[], int],
        start_ms: int,
        ticks: Mapping[str, Decimal] | None = None,
        weight_limit: int = FUTURES_WEIGHT_LIMIT,
    ) -> None:
        self.log: deque[Injection] = deque(maxlen=_LOG_KEPT)
        self._seed = script.seed
        self._now = now_ms
        self._ticks = dict(ticks or {})
        self._weight_limit = weight_limit
        self._armed: list[_Armed] = []
        self._groups: dict[Any, list[tuple[_Armed, Any]]] = {}
        self._due: list[tuple[int, int, _Armed, bool]] = []
        self._counter = 0
        self._last: tuple[str, Any, list[Delivery]] | None = None
        for fault in script.faults:
            self._arm(fault, start_ms)

    # -- the server's questions -----------------------------------------------------------------------------

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> RequestFault | None:
        """The fault of a request, several of them as one."""
        found: RequestFault | None = None
        for armed, fault in self._of(RequestKind):
            if matches_request(fault.match, method, path, params) and self._hits(armed):
                self._note(fault, f"{method} {path}")
                found = combine(found, request_fault(fault, self._weight_limit))
        return found

    def on_message(self, stream: str, event: Any) -> list[Delivery]:
        """What is sent in place of `event`. A message to several sockets in a row is decided on once."""
        if self._last is not None and self._last[0] == stream and self._last[1] is event:
            return list(self._last[2])
        deliveries = [Delivery(event)]
        faults = self._of(MessageKind)
        if not faults:
            return deliveries
        for armed, fault in faults:
            deliveries = self._passed_on(armed, fault, stream, deliveries)
        self._last = (stream, event, deliveries)
        return list(deliveries)

    def on_silence(self, stream: str) -> None:
        """Nobody hears a stream any more: what was held back of it is lost, as with the connection."""
        for armed in self._armed:
            armed.held.pop(stream, None)

    def on_connect(self, kind: str) -> ConnectFault | None:
        """The fault of a handshake: the first that matches."""
        for armed, fault in self._of(RefuseConnection):
            if kind in fault.match.sockets and self._hits(armed):
                self._note(fault, kind)
                return ConnectFault("hang" if fault.hang else "refuse", fault.status)
        return None

    # -- the market -----------------------------------------------------------------------------------------

    def on_market(self, event: MarketEvent) -> MarketEvent | None:
        """The event as the faults leave it; None when it does not happen."""
        current: MarketEvent | None = event
        for armed, fault in self._of(MarketKind):
            if current is None:
                break
            if touches(fault, current) and self._hits(armed, event.ts_ms):
                self._note(fault, f"{type(event).__name__} {event.symbol}", event.ts_ms)
                current = alter(fault, current, self._ticks.get(event.symbol, Decimal("1e-8")))
        return current

    # -- what happens by itself -----------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When something is due; None when nothing is."""
        self._forget_cleared()
        return self._due[0][0] if self._due else None

    def due(self, now_ms: int) -> list[Action]:
        """What begins or ends up to `now_ms`, in order."""
        actions = []
        while (at_ms := self.next_ms) is not None and at_ms <= now_ms:
            _, _, armed, begins = heappop(self._due)
            fault = armed.fault
            assert isinstance(fault, InstantKind | LastingKind | ShiftKind)
            actions.append(Action(fault, begins))
            if not isinstance(fault, ShiftKind):  # the events that it shifts are noted
                armed.lasting = begins and isinstance(fault, LastingKind)
                self._note(fault, "begin" if begins else "end", at_ms)
            if begins:
                self._schedule(armed)
        return actions

    @property
    def lasting(self) -> list[LastingKind]:
        """The timed faults that have begun and not ended, in the order of the script."""
        return [a.fault for a in self._armed if a.lasting and isinstance(a.fault, LastingKind)]

    # -- from outside ---------------------------------------------------------------------------------------

    def inject(self, fault: AnyKind) -> None:
        """Add a fault; its seconds begin now."""
        self._arm(fault, self._now())

    def clear(self, name: str | None = None) -> list[Action]:
        """Take faults back, by name (or kind) or all; what lasted ends, by the actions returned."""
        taken = [a for a in self._armed if name is None or name in (a.fault.label, a.fault.kind)]
        self._armed = [armed for armed in self._armed if armed not in taken]
        self._groups.clear()
        ends = []
        for armed in taken:
            armed.cleared = True
            if armed.lasting and isinstance(armed.fault, LastingKind):
                armed.lasting = False
                self._note(armed.fault, "end")
                ends.append(Action(armed.fault, begins=False))
        self._last = None
        return ends

    @property
    def faults(self) -> list[dict[str, Any]]:
        """Every fault that is there, with how often it matched and hit."""
        return [
            armed.fault.model_dump(mode="json", exclude_defaults=True)
            | {"kind": armed.fault.kind, "name": armed.fault.label, "lasting": armed.lasting}
            | ({} if armed.gate is None else {"matched": armed.gate.matched, "hit": armed.gate.passed})
            for armed in self._armed
        ]

    def _arm(self, fault: AnyKind, start_ms: int) -> None:
        random = make_random(self._seed, self._counter, fault.label)
        self._counter += 1
        armed = _Armed(fault, random)
        if isinstance(fault, InstantKind | LastingKind):
            armed.turns = turns(fault.timing, random, start_ms)
            self._schedule(armed)
        else:
            armed.gate = Gate(fault.when, random, start_ms)
            if isinstance(fault, ShiftKind):
                armed.turns = iter([Turn(armed.gate.first_ms, armed.gate.last_ms)])
                self._schedule(armed)
        self._armed.append(armed)
        self._groups.clear()

    def _schedule(self, armed: _Armed) -> None:
        """Put the next turn into the timetable, its end with it."""
        turn = None if armed.turns is None else next(armed.turns, None)
        if turn is None:
            return
        self._push(turn.begin_ms, armed, begins=True)
        if turn.end_ms is not None:
            self._push(turn.end_ms, armed, begins=False)

    def _push(self, at_ms: int, armed: _Armed, *, begins: bool) -> None:
        self._counter += 1
        heappush(self._due, (at_ms, self._counter, armed, begins))

    def _forget_cleared(self) -> None:
        while self._due and self._due[0][2].cleared:
            heappop(self._due)

    def _of(self, kind: Any) -> list[tuple[_Armed, Any]]:
        """The faults of a family, in the order of the script; looked up for every message, so kept."""
        found = self._groups.get(kind)
        if found is None:
            found = [(armed, armed.fault) for armed in self._armed if isinstance(armed.fault, kind)]
            self._groups[kind] = found
        return found

    def _hits(self, armed: _Armed, ts_ms: int | None = None) -> bool:
        return armed.gate is not None and armed.gate.passes(self._now() if ts_ms is None else ts_ms)

    def _note(self, fault: AnyKind, target: str, ts_ms: int | None = None) -> None:
        self.log.append(Injection(self._now() if ts_ms is None else ts_ms, fault.label, fault.kind, target))

    def _passed_on(
        self, armed: _Armed, fault: MessageKind, stream: str, deliveries: list[Delivery]
    ) -> list[Delivery]:
        """What one fault makes of what the ones before it left."""
        result: list[Delivery] = []
        for delivery in deliveries:
            # While a message is held back its stream's next ones pass: or none would ever overtake another.
            free = not armed.held.get(stream)
            hit = free and matches_message(fault.match, stream, delivery.event) and self._hits(armed)
            if hit:
                self._note(fault, f"{stream} {_event_name(delivery.event)}")
                result += self._sent(armed, fault, stream, delivery)
            else:
                result += [delivery, *_released(armed, stream)]
        return result

    def _sent(self, armed: _Armed, fault: MessageKind, stream: str, delivery: Delivery) -> list[Delivery]:
        match fault:
            case DropMessage():
                return []
            case DelayMessage():
                extra = armed.random.randint(0, fault.jitter_ms) if fault.jitter_ms else 0
                return [delivery._replace(delay_ms=delivery.delay_ms + fault.delay_ms + extra)]
            case DuplicateMessage():
                steps = range(fault.copies + 1)
                return [
                    delivery._replace(delay_ms=delivery.delay_ms + fault.delay_ms * step) for step in steps
                ]
            case ReorderMessage():
                armed.held[stream] = (delivery, fault.by)
                return []


def _released(armed: _Armed, stream: str) -> list[Delivery]:
    """What was held back and is now overtaken by enough later messages of its stream."""
    waiting = armed.held.get(stream)
    if waiting is None:
        return []
    delivery, by = waiting
    if by > 1:
        armed.held[stream] = (delivery, by - 1)
        return []
    del armed.held[stream]
    return [delivery]


def _event_name(event: Any) -> str:
    return str(event.get("e", "")) if isinstance(event, Mapping) else type(event).__name__
