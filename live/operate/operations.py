"""What each of an operator's commands does to a node that runs. The node's thread; long work is elsewhere.

A command that takes longer is a generator: it is asked to go on four times a second, and what it returns is
the answer. Only one command that changes who trades is under way at a time; all others are carried out at
once. Who trades is written down (`live.operate.roster`) before it is changed.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol, cast

from actors.control import Answer, Control, Request
from configs.errors import ConfigError, SextantError
from live.operate.changes import OPERATOR, Changes, Job, close, need_orders, until_flat
from live.operate.crew import Crew
from live.operate.roster import RosterBook
from live.operate.workshop import Workshop

__all__ = ["Operations"]

_LEAVING = "leaving"  # of the one job that nobody has asked for
_LEAVING_SECS = 5.0

type AtEnd = Literal["keep", "flatten"]


class Ender(Protocol):
    """Who ends the node."""

    def ask(self, reason: str, at_end: AtEnd | None = None) -> None:
        """End it."""


class Operations:
    """Carries requests out: `actors.control.Operator`."""

    def __init__(
        self,
        book: RosterBook,
        crew: Crew,
        control: Control,
        workshop: Workshop,
        ender: Ender,
        facts: dict[str, Any],
    ) -> None:
        self._book = book
        self._crew = crew
        self._control = control
        self._changes = Changes(book, crew, control, workshop)
        self._ender = ender
        self._facts = facts
        self._began = time.monotonic()
        self._jobs: dict[str, tuple[str, Job]] = {}
        self._changing: str | None = None
        self._look_again = 0.0
        self._at_once: dict[str, Callable[[Request], Answer]] = {
            "status": self._status,
            "pause": self._pause,
            "resume": self._resume,
            "reset": self._reset,
            "halt": self._halt,
            "stop": self._stop,
        }
        self._longer: dict[str, Callable[[Request], Job]] = {
            "flatten": self._flatten,
            "add": self._changes.add,
            "remove": self._changes.remove,
            "swap": self._changes.swap,
            "model": self._changes.model,
        }
        self._as_written()

    def _as_written(self) -> None:
        """Before the run: what commands have said of strategies still holds."""
        for label, reason in self._book.roster.paused.items():
            self._crew.members[label].trader.pause(f"{OPERATOR}:{reason}")
        for label in self._book.roster.leaving:
            self._crew.members[label].trader.stand_still("leaving")

    # -- asked by the control actor ------------------------------------------------------------------------

    def started(self) -> None:
        """Nothing is left to do."""

    def take(self, request: Request) -> Answer | None:
        """Carry it out, or begin with it."""
        if request.strategy is not None and request.strategy not in self._crew.members:
            known = ", ".join(self._crew.members)
            return _refused(f"no strategy '{request.strategy}' here; there are: {known}")
        if request.name in self._at_once:
            return self._safely(lambda: self._at_once[request.name](request))
        if request.name not in self._longer:
            return _refused(f"no command '{request.name}'")
        if request.name != "flatten":
            busy = self._changing or self._changes.lost
            if busy is not None:
                return _refused(f"busy with {busy}: one change of who trades at a time")
            self._changing = request.name
        self._jobs[request.id] = (request.name, self._longer[request.name](request))
        return None

    def look(self) -> list[tuple[str, Answer]]:
        """Go on with what takes longer, and let those go that were to leave."""
        answers = []
        for request_id, (name, job) in tuple(self._jobs.items()):
            answer = self._safely(lambda job=job: _step(job))  # type: ignore[misc]
            if answer is None:
                continue
            self._drop(request_id, name)
            if request_id == _LEAVING:
                self._look_again = time.monotonic() + _LEAVING_SECS
            else:
                answers.append((request_id, answer))
        if self._changing is None and time.monotonic() >= self._look_again:
            due = self._changes.due()
            if due is not None:
                self._changing = due[0]
                self._jobs[_LEAVING] = ("remove", due[1])
        return answers

    def ended(self) -> list[tuple[str, Answer]]:
        """The node stops."""
        answer = _refused("the node stopped meanwhile: look at what holds when it runs again")
        waiting = [request_id for request_id in self._jobs if request_id != _LEAVING]
        self._jobs.clear()
        return [(request_id, answer) for request_id in waiting]

    def _drop(self, request_id: str, name: str) -> None:
        del self._jobs[request_id]
        if name != "flatten":
            self._changing = None

    def _safely(self, work: Callable[[], Answer | None]) -> Answer | None:
        try:
            return work()
        except SextantError as error:
            return _refused(str(error))
        except OSError as error:
            return _refused(f"{error.filename or 'the disk'}: {error.strerror or error}")

    # -- at once -------------------------------------------------------------------------------------------

    def _status(self, request: Request) -> Answer:
        del request
        mode, roster = self._control.mode, self._book.roster
        now = self._control.now()
        members = []
        for label, member in self._crew.members.items():
            bars = self._control.bars(self._crew.kind(member.config.instrument))
            members.append(
                member.trader.standing
                | {
                    "use": member.config.use,
                    "leaves_when_flat": label in roster.leaving,
                    "models": member.hashes,
                    "bar_age_secs": None if not bars else (now - bars[-1].ts_init) / 1e9,
                }
            )
        detail = {
            **self._facts,
            "ts": now,
            "uptime_secs": time.monotonic() - self._began,
            "mode": None if mode is None else str(mode.mode),
            "multiplier": None if mode is None else mode.multiplier,
            "reasons": [] if mode is None else list(mode.reasons),
            "blocked": {} if mode is None else dict(mode.blocked),
            "busy_with": self._changing,
            "changed_by_commands": self._book.is_changed,
            "strategies": members,
            "alarms": list(self._control.alarms),
        }
        held = sum(1 for member in members if member["quantity"])
        return Answer(done=True, text=f"{detail['mode']}, {held} of {len(members)} hold", detail=detail)

    def _pause(self, request: Request) -> Answer:
        reason, label = _reason(request), request.strategy
        if label is None:
            self._control.tell_guard("pause", reason)
            return Answer(done=True, text=f"nothing is entered until resumed: {self._mode()}")
        self._book.keep(self._book.roster.pause(label, reason))
        trader = self._crew.members[label].trader
        trader.pause(f"{OPERATOR}:{reason}")
        trader.withdraw(OPERATOR)
        return Answer(done=True, text=f"{label} enters nothing until resumed")

    def _resume(self, request: Request) -> Answer:
        label = request.strategy
        if label is None:
            self._need_equity()
        self._book.keep(self._book.roster.resume(label))
        if label is not None:
            self._crew.members[label].trader.resume()
            return Answer(done=True, text=f"{label} may enter again")
        self._control.tell_guard("resume", _reason(request))
        return Answer(done=True, text=f"resumed: {self._mode()}")

    def _reset(self, request: Request) -> Answer:
        _whole(request)
        self._need_equity()
        self._book.keep(self._book.roster.resume())
        self._control.tell_guard("reset", _reason(request))
        return Answer(done=True, text=f"limits begin anew: {self._mode()}")

    def _need_equity(self) -> None:
        """The guard lifts nothing while it does not know what the account is worth."""
        mode = self._control.mode
        if mode is not None and "no_equity" in mode.reasons:
            raise ConfigError(f"the account's equity is not known yet, ask again in a moment: {self._mode()}")

    def _halt(self, request: Request) -> Answer:
        _whole(request)
        self._control.tell_guard("halt", _reason(request))
        return Answer(done=True, text=f"halted until resumed: {self._mode()}")

    def _stop(self, request: Request) -> Answer:
        _whole(request)
        at_end = request.values.get("positions")
        if at_end not in (None, "keep", "flatten"):
            raise ConfigError(f"stop: positions are kept or flattened, not '{at_end}'")
        self._ender.ask("command", cast("AtEnd | None", at_end))
        return Answer(done=True, text="stopping")

    def _mode(self) -> str:
        mode = self._control.mode
        return (
            "no word of the guard yet" if mode is None else f"{mode.mode} {', '.join(mode.reasons)}".strip()
        )

    # -- longer --------------------------------------------------------------------------------------------

    def _flatten(self, request: Request) -> Job:
        label = request.strategy
        if label is None:
            need_orders(self._crew.traders)
            self._control.tell_guard("flatten", _reason(request))
            traders = list(self._crew.traders)
        else:
            self._book.keep(self._book.roster.pause(label, _reason(request)))
            traders = [self._crew.members[label].trader]
            close(traders[0])
        yield
        yield from until_flat(traders)
        what = "everything" if label is None else label
        return Answer(done=True, text=f"{what} is flat; nothing is entered until resumed")


def _step(job: Job) -> Answer | None:
    try:
        next(job)
    except StopIteration as end:
        answer: Answer | None = end.value
        return answer or _refused("it failed: see the alarms")  # an exception has ended it before
    return None


def _refused(why: str) -> Answer:
    return Answer(done=False, text=why)


def _reason(request: Request) -> str:
    return request.values.get("reason", "") or "no reason given"


def _whole(request: Request) -> None:
    if request.strategy is not None:
        raise ConfigError(f"{request.name} is for the whole node: leave --strategy out")
