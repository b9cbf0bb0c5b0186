"""An operator's commands, from files to the bus: a small inbox, and the engine's controller that drains it.

    commands/<id>.json              a request, renamed in by who asks
    commands/done/<id>.json         the same, taken: moved there before anything is done about it
    commands/done/<id>.answer.json  what came of it

A request is carried out at most once, whenever the node is killed: what is in `done` is never looked at
again. What lies in the inbox as the node starts was meant for another one, and is refused.

The controller also adds and removes components while the node runs. The engine makes those itself, from
import paths; `shelved` is the path, and hands it what was put on the shelf a moment before.
"""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec
from nautilus_trader.common import DataActorConfig, ImportableActorConfig
from nautilus_trader.model import ActorId, Bar, BarType, StrategyId
from nautilus_trader.trading import Controller, ImportableControllerConfig, ImportableStrategyConfig

from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, COMMAND_TOPIC, RISK_MODE_TOPIC, AuditRecord, Command, RiskMode

__all__ = ["Answer", "Control", "Inbox", "Operator", "Request", "controller_config", "shelved"]

_LOOK_NS = 250_000_000
_KEPT_BARS = 600
_KEPT_ALARMS = 20
_KEPT_ANSWERS = 1_000
_LONGEST_REQUEST = 4_000_000
_NO_NODE = "given before the node was trading: refused, nothing was done"
_UNANSWERED = "the node ended before it had answered: look at its status before asking again"

_SHELF: list[Any] = []


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator asks for: a command's `name`, the `strategy` it is about, and the command's values."""

    id: str
    name: str
    strategy: str | None = None
    values: dict[str, str] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: whether it was done, one line, and for some commands what was asked about."""

    done: bool
    text: str
    detail: dict[str, Any] = {}


class Inbox:
    """The folder of commands; every call looks at a few small files.

    One process drains it. Requests are taken in the order of their ids, which begin with the time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done = folder / "done"
        self._decoder = msgspec.json.Decoder(Request, strict=True)
        self._done.mkdir(parents=True, exist_ok=True)

    def refuse_old(self) -> int:
        """Answer what was asked of a node that is gone, forget old answers; how many were refused."""
        refused = 0
        for name in self._names():
            if self._move(name):
                self.answer(name.removesuffix(".json"), Answer(done=False, text=_NO_NODE))
                refused += 1
        taken = sorted(p for p in self._done.glob("*.json") if not p.name.endswith(".answer.json"))
        for path in taken:
            if not self._answer_path(path.stem).exists():
                self.answer(path.stem, Answer(done=False, text=_UNANSWERED))
        for path in taken[:-_KEPT_ANSWERS]:
            self._answer_path(path.stem).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        return refused

    def take(self) -> Iterator[Request]:
        """The requests that have come; each is out of the inbox once it is handed out, not before: whatever
        becomes of one, those after it are not lost. What is none is answered."""
        for name in self._names():
            if not self._move(name):  # who asked has taken it back
                continue
            name_id = name.removesuffix(".json")
            request = self._read(name)
            if isinstance(request, Request) and request.id == name_id:
                yield request
            else:
                why = (
                    f"this is no request: {request}"
                    if isinstance(request, str)
                    else "its id and its name differ"
                )
                self.answer(name_id, Answer(done=False, text=why))

    def answer(self, request_id: str, answer: Answer) -> None:
        """Write the answer, in one step."""
        path = self._answer_path(request_id)
        fresh = path.with_name(f".{path.name}")
        fresh.write_bytes(msgspec.json.encode(answer, enc_hook=str))
        fresh.replace(path)

    def _names(self) -> list[str]:
        with os.scandir(self._folder) as entries:
            found = [e.name for e in entries if e.name.endswith(".json") and not e.name.startswith(".")]
        return sorted(found)

    def _move(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            (self._folder / name).rename(self._done / name)
            return True
        return False

    def _read(self, name: str) -> Request | str:
        path = self._done / name
        try:
            if not path.is_file():  # a pipe would keep the node waiting
                return "no file"
            if path.stat().st_size > _LONGEST_REQUEST:
                return "too long"
            return self._decoder.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            return str(error)

    def _answer_path(self, request_id: str) -> Path:
        return self._done / f"{request_id}.answer.json"


class Operator(Protocol):
    """Who carries the requests out, on the node's thread."""

    def started(self) -> None:
        """Everything has been started."""

    def take(self, request: Request) -> Answer | None:
        """Carry it out; None when that takes longer: `look` then answers."""

    def look(self) -> list[tuple[str, Answer]]:
        """Go on with what takes longer; the answers that are ready, by the request's id."""

    def ended(self) -> list[tuple[str, Answer]]:
        """The node stops: the answers to what is under way."""


class Nothing:
    """The engine makes a component's configuration from an import path: this one is empty."""

    def __init__(self, **_: Any) -> None:
        """Take whatever comes."""


def shelved(config: object = None) -> Any:
    """The component that was put on the shelf last; the engine calls this, by its import path."""
    del config
    return _SHELF.pop()


def controller_config(control: "Control") -> ImportableControllerConfig:
    """What the node's builder takes; the node must be built before another component is made this way."""
    _SHELF.append(control)
    return ImportableControllerConfig(f"{__name__}:shelved", f"{__name__}:Nothing", {})


@fail_loud
class Control(Controller):
    """Drains the inbox, adds and removes components; remembers what an operator asks about.

    `mode` is the guard's newest word, `alarms` the last ones; bars of instruments that are followed are kept,
    so that what is added late can be told of them.
    """

    component_name = "control"

    def __new__(cls, *_: object, **__: object) -> "Control":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("CONTROL-001")))

    def __init__(self, inbox: Inbox, bar_types: tuple[BarType, ...]) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("CONTROL-001")))
        self.failure: BaseException | None = None
        self.mode: RiskMode | None = None
        self.alarms: deque[dict[str, Any]] = deque(maxlen=_KEPT_ALARMS)
        self._inbox = inbox
        self._bars: dict[BarType, deque[Bar]] = {kind: deque(maxlen=_KEPT_BARS) for kind in bar_types}
        self._operator: Operator | None = None
        self._has_greeted = False

    def serve(self, operator: Operator) -> None:
        """Take who carries the requests out, before the run."""
        self._operator = operator

    # -- what it hears -------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Refuse what is old, then look for requests again and again."""
        self._inbox.refuse_old()
        for kind in self._bars:
            self.subscribe_bars(kind)
        self.subscribe_topic(RISK_MODE_TOPIC, self._on_mode)
        self.subscribe_topic(AUDIT_TOPIC, self._on_audit)
        self.clock.set_timer_ns("commands", _LOOK_NS, None, None, self._on_look)

    def on_stop(self) -> None:
        """Leave no request without an answer."""
        if self._operator is not None:
            for request_id, answer in self._operator.ended():
                self._answer(request_id, answer)

    def on_bar(self, bar: Bar) -> None:
        """Keep it."""
        kept = self._bars.get(bar.bar_type)
        if kept is not None:
            kept.append(bar)

    @guarded
    def _on_mode(self, message: object) -> None:
        if isinstance(message, RiskMode):
            self.mode = message

    @guarded
    def _on_audit(self, message: object) -> None:
        if isinstance(message, AuditRecord) and message.kind == "alarm":
            self.alarms.append({"ts": message.ts_event, "component": message.component, **message.detail})

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        operator = self._operator
        if operator is None:
            return
        if not self._has_greeted:  # a timer's first call comes when everything has been started
            self._has_greeted = True
            operator.started()
        for request_id, answer in operator.look():
            self._answer(request_id, answer)
        for request in self._inbox.take():
            self._audit("taken", id=request.id, command=request.name, strategy=request.strategy or "")
            answer_now = operator.take(request)
            if answer_now is not None:
                self._answer(request.id, answer_now)

    def _answer(self, request_id: str, answer: Answer) -> None:
        self._audit("answered", id=request_id, done=answer.done, text=answer.text)
        self._inbox.answer(request_id, answer)

    def _audit(self, what: str, **detail: Any) -> None:
        self.note(what=what, **detail)

    def note(self, **detail: Any) -> None:
        """Leave an audit record of what an operator has brought about."""
        now = self.clock.timestamp_ns()
        record = AuditRecord(
            ts_event=now, component=self.component_name, instrument="", kind="command", detail=detail
        )
        self.publish_message(AUDIT_TOPIC, record)

    # -- what it does --------------------------------------------------------------------------------------

    def tell_guard(self, name: Any, reason: str) -> None:
        """Publish a `Command`."""
        now = self.clock.timestamp_ns()
        self.publish_message(COMMAND_TOPIC, Command(ts_event=now, name=name, reason=reason))

    def now(self) -> int:
        """The node's time, ns UTC."""
        return int(self.clock.timestamp_ns())

    def bars(self, kind: BarType) -> tuple[Bar, ...]:
        """The bars seen lately, oldest first."""
        return tuple(self._bars.get(kind, ()))

    def follow(self, kind: BarType) -> None:
        """Keep the bars of another instrument as well."""
        if kind not in self._bars:
            self._bars[kind] = deque(maxlen=_KEPT_BARS)
            self.subscribe_bars(kind)

    def forget(self, kind: BarType) -> None:
        """The instrument is traded no more."""
        if self._bars.pop(kind, None) is not None:
            self.unsubscribe_bars(kind)

    def add_component(self, component: Any) -> None:
        """Register an actor with the running node and start it."""
        _SHELF.append(component)
        self.create_actor_from_config(
            ImportableActorConfig(f"{__name__}:shelved", f"{__name__}:Nothing", {}), True
        )

    def add_trader(self, strategy: Any) -> None:
        """Register a strategy with the running node and start it."""
        _SHELF.append(strategy)
        self.create_strategy_from_config(
            ImportableStrategyConfig(f"{__name__}:shelved", f"{__name__}:Nothing", {}), True
        )

    def take_component_out(self, component: Any) -> None:
        """Stop an actor and take it from the node."""
        actor_id: ActorId = component.actor_id
        self.stop_actor(actor_id)
        self.remove_actor(actor_id)

    def take_trader_out(self, strategy: Any) -> None:
        """Stop a strategy and take it from the node; its orders stay at the venue."""
        strategy_id: StrategyId = strategy.strategy_id
        self.stop_strategy(strategy_id)
        self.remove_strategy(strategy_id)
