"""Strategies and models change while the node runs: added, removed, swapped. The node's thread.

Each change is a generator that is asked to go on four times a second; long work is done in the workshop. Who
trades is written down (`live.operate.roster`) before it is changed, so that a start after a kill finds the
one or the other. Between the last look at what is under way and the change itself nothing else runs.
"""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

from pydantic import ValidationError

from actors.alarms import alarm
from actors.control import Answer, Control, Request
from catalog.instruments import symbol_of
from configs.errors import ConfigError, RunFailedError, SextantError
from configs.schema import ModelConfig, RunConfig, StrategyConfig
from live.operate.crew import Crew, Estate, Member
from live.operate.roster import Roster, RosterBook
from live.operate.workshop import Newcomer, Workshop
from models.correlation import CorrelationTracker
from strategies.base import TradingStrategy

__all__ = ["OPERATOR", "Changes", "Job", "close", "need_orders", "until_flat"]

OPERATOR = "operator"
_FLAT_SECS = 30.0
_SETTLE_SECS = 5.0
_HAND_OVER_BARS = 3

type Job = Generator[None, None, Answer]


class _Wish(NamedTuple):
    """Strategies of another run file, as a command brings them."""

    strategies: tuple[StrategyConfig, ...]
    models: tuple[ModelConfig, ...]
    bundles: Mapping[str, Mapping[str, str]]
    bar: str


def close(trader: TradingStrategy) -> None:
    """Let a strategy enter nothing until it is resumed, and leave; ConfigError where no order may be sent."""
    need_orders([trader])
    trader.pause(f"{OPERATOR}:flatten")
    trader.withdraw(OPERATOR)
    trader.leave(OPERATOR)
    if trader.care is not None:  # a start after a kill goes on closing
        trader.care.save()


def need_orders(traders: Iterable[TradingStrategy]) -> None:
    """ConfigError where no order may be sent."""
    if not all(trader.may_send for trader in traders):
        raise ConfigError("without --trade this node sends no order, so it closes nothing")


def until_flat(traders: list[TradingStrategy]) -> Generator[None]:
    """Until nothing is held and nothing is under way; RunFailedError when that takes too long."""
    deadline = time.monotonic() + _FLAT_SECS
    while any(trader.is_holding or not trader.is_quiet for trader in traders):
        if time.monotonic() > deadline:
            raise RunFailedError(f"not flat after {_FLAT_SECS:g} s; it goes on trying: see the alarms")
        yield


class _Lost(NamedTuple):
    """Who was replaced by an heir that did not start, and what it left to it."""

    member: Member
    estate: Estate
    heir: str


class Changes:
    """The commands that change who trades; one at a time."""

    def __init__(self, book: RosterBook, crew: Crew, control: Control, workshop: Workshop) -> None:
        self._book = book
        self._crew = crew
        self._control = control
        self._workshop = workshop
        self._lost: _Lost | None = None

    def remove(self, request: Request) -> Job:
        """Close first, or let it look after what is open and go when that is closed."""
        label, how = _named(request), _choice(request, "positions", "close", "keep")
        member = self._crew.members[label]
        if how == "close":
            need_orders([member.trader])
        self._book.keep(self._book.roster.leave(label))
        member.trader.stand_still("leaving")
        if how == "close":
            close(member.trader)
            yield from until_flat([member.trader])
        else:
            member.trader.withdraw(OPERATOR)
        yield
        return (yield from self._goes(label))

    def due(self) -> tuple[str, Job] | None:
        """One that is to come back, or was to leave and is flat: what that is, and how it goes."""
        if self._lost is not None:
            return f"the return of {self.lost}", self._comes_back(self._lost)
        for label in self._book.roster.leaving:
            trader = self._crew.members[label].trader
            if not trader.is_holding and trader.is_quiet:
                return f"{label}, which leaves", self._goes(label)
        return None

    def _goes(self, label: str) -> Job:
        trader = self._crew.members[label].trader
        if not trader.is_holding and trader.is_quiet:
            tracker = yield from self._in_workshop(lambda: self._workshop.tracker(self._run_without(label)))
            if not trader.is_holding and trader.is_quiet:  # a fill may have been heard of meanwhile
                self._dismiss(label, tracker)
                return Answer(done=True, text=f"{label} is gone")
        text = f"{label} enters nothing more, looks after what is open, and goes when it is closed"
        return Answer(done=True, text=text)

    def _run_without(self, label: str) -> RunConfig:
        return self._book.check(self._book.roster.remove(label))

    def _dismiss(self, label: str, tracker: CorrelationTracker | None) -> None:
        self._book.keep(self._book.roster.remove(label))
        self._crew.dismiss(label, tracker)
        self._control.note(what="dismissed", strategy=label)

    def add(self, request: Request) -> Job:
        """The strategies of a run file that are not here; they take up what one that leaves holds."""
        wish = yield from self._in_workshop(lambda: _wish(request))
        known, leaving = self._crew.members, self._book.roster.leaving
        chosen = tuple(s for s in wish.strategies if s.label not in known or s.label in leaving)
        if not chosen:
            raise ConfigError("the run file has no strategy that is not here already")
        for strategy in chosen:
            holder = self._crew.of_instrument(strategy.instrument)
            if holder is not None and holder.config.label not in leaving:
                raise ConfigError(
                    f"{strategy.instrument} is traded by {holder.config.label}: swap it, or remove it first"
                )
        news, tracker = yield from self._prepared(wish, chosen)
        added: list[str] = []
        for new in news:
            try:
                yield from self._join(wish, new, tracker)
            except SextantError as error:
                here = f"; added before that: {', '.join(added)}" if added else ""
                raise RunFailedError(f"{error}{here}") from error
            added.append(new.config.label)
        return Answer(done=True, text=f"added: {', '.join(added)}")

    def _join(self, wish: _Wish, new: Newcomer, tracker: CorrelationTracker | None) -> Generator[None]:
        label, holder = new.config.label, self._crew.of_instrument(new.config.instrument)
        if holder is not None:
            yield from self._until_ready(holder)
            self._take_over(wish, holder, new, takes_trade=True)
        else:
            try:
                with self._written(self._roster_with(wish, (new.config,))):
                    self._crew.join(new, tracker)
            except Exception as error:
                raise RunFailedError(f"{label} did not start ({error})") from error
        self._control.note(what="added", strategy=label, models=new.hashes)

    def swap(self, request: Request) -> Job:
        """Another strategy on the same instrument, with the trade or after it was closed."""
        label, how = _named(request), _choice(request, "positions", "handover", "close")
        wish = yield from self._in_workshop(lambda: _wish(request))
        old = self._crew.members[label]
        chosen = tuple(s for s in wish.strategies if s.instrument == old.config.instrument)
        if not chosen:
            raise ConfigError(f"the run file has no strategy on {old.config.instrument}, as {label} is")
        new_label = chosen[0].label
        if new_label != label and new_label in self._crew.members:
            raise ConfigError(f"'{new_label}' is a strategy here already: give it another name")
        news, _ = yield from self._prepared(wish, chosen)
        if how == "close":
            need_orders([old.trader])
            self._book.keep(self._book.roster.pause(label, "swap"))
            close(old.trader)
            yield from until_flat([old.trader])
        yield from self._until_ready(old)
        began = time.perf_counter()
        self._take_over(wish, old, news[0], takes_trade=how == "handover")
        took_ms = round((time.perf_counter() - began) * 1e3, 3)
        hashes = news[0].hashes
        self._control.note(
            what="swapped", old=label, strategy=new_label, positions=how, models=hashes, took_ms=took_ms
        )
        return Answer(done=True, text=f"{new_label} has taken the place of {label}")

    def _take_over(self, wish: _Wish, old: Member, new: Newcomer, *, takes_trade: bool) -> None:
        """Between two bars; the successor is told of the bars that have closed since it was prepared.

        Whatever fails, the old one goes on: a position without anybody who looks after it is worse.
        """
        label, heir = old.config.label, new.config.label
        self._catch_up(new)
        estate = self._crew.hand_on(label, heir, takes_trade=takes_trade)
        try:
            with self._written(self._roster_with(wish, (new.config,))):
                self._crew.replace(label, new)
        except Exception as error:
            self._lost = _Lost(old, estate, heir)
            self._bring_back(self._lost)
            how = "stays, and enters nothing until resumed" if self._is_paused(label) else "goes on"
            raise RunFailedError(f"{heir} did not start ({error}); {label} {how}") from error
        self._crew.forget_trade(label)

    @property
    def lost(self) -> str | None:
        """Who is to come back after a change that failed; its stop stays at the venue meanwhile."""
        return None if self._lost is None else self._lost.member.config.label

    def _bring_back(self, lost: _Lost) -> None:
        """Let the old one look after its position again; RunFailedError when it cannot: then it is `due`."""
        config = lost.member.config
        try:
            self._crew.bring_back(lost.member, lost.estate)
        except Exception as error:
            self._control.failure = self._control.failure or error  # the exit code tells of it
            what = f"{lost.heir} did not start, and {config.label} is not back ({error})"
            text = f"{what}: its position is left to its stop until that works; it is tried again"
            alarm(self._control, text, instrument=config.instrument)
            raise RunFailedError(text) from error
        self._lost = None
        self._crew.forget_trade(lost.heir)

    def _comes_back(self, lost: _Lost) -> Job:
        yield
        self._bring_back(lost)
        label = lost.member.config.label
        self._control.note(what="brought_back", strategy=label)
        return Answer(done=True, text=f"{label} is back")

    def _is_paused(self, label: str) -> bool:
        return label in self._book.roster.paused

    def model(self, request: Request) -> Job:
        """Another bundle for a model, from the next bar on."""
        name, wish = request.values.get("model", ""), request.values.get("bundle", "")
        users = self._users(name, request.strategy)
        if len(users) > 1 and wish != "latest":
            labels = ", ".join(member.config.label for member in users)
            raise ConfigError(f"a bundle is one instrument's; give --strategy, one of {labels}")
        for member in users:
            yield from self._change_model(member, name, wish)
        return Answer(done=True, text="; ".join(self._told(m.config.label, name) for m in users))

    def _users(self, model: str, label: str | None) -> list[Member]:
        found = [
            member
            for member in self._crew.members.values()
            if model in member.config.all_models and label in (None, member.config.label)
        ]
        if not found:
            raise ConfigError(f"no strategy {'here' if label is None else label} uses a model '{model}'")
        return found

    def _told(self, label: str, model: str) -> str:
        return f"{label}: {model} is {self._crew.members[label].hashes[model][:12]} from the next bar on"

    def _change_model(self, member: Member, model: str, wish: str) -> Generator[None]:
        label, run = member.config.label, self._book.run
        mine = {name: str(predictor.folder) for name, predictor in member.bundles.items()}

        def work() -> Newcomer:
            mine[model] = self._workshop.bundle(member.config.instrument, model, wish)
            return self._workshop.newcomers(run, (label,), {label: mine})[0]

        new = yield from self._in_workshop(work)
        yield from self._until_bar(member)
        self._catch_up(new)
        folder = str(new.bundles[model].folder.absolute())
        old_hash, new_hash = member.hashes[model], new.hashes[model]
        with self._written(self._book.roster.use_bundle(label, model, folder)):
            self._crew.change_models(label, new)
        self._control.note(what="model", strategy=label, model=model, old=old_hash, new=new_hash)

    # -- steps of them -------------------------------------------------------------------------------------

    def _prepared(
        self, wish: _Wish, chosen: tuple[StrategyConfig, ...]
    ) -> Generator[None, None, tuple[list[Newcomer], CorrelationTracker | None]]:
        """The strategies, warm, and the correlations with them; refused when a preflight would refuse."""
        run = self._book.run
        if wish.bar != run.data.bar:
            raise ConfigError(f"its bars are of {wish.bar}, this node's of {run.data.bar}")
        if run.data.ticks:
            raise ConfigError("on bars of a second strategies change with a new start")
        after = self._book.check(self._roster_with(wish, chosen))
        sides = {
            symbol_of(m.config.instrument): 1 if m.trader.standing["quantity"] > 0 else -1
            for m in self._crew.members.values()
            if m.trader.is_holding
        }
        labels = tuple(strategy.label for strategy in chosen)

        def work() -> tuple[list[Newcomer], CorrelationTracker | None]:
            news = self._workshop.newcomers(after, labels, wish.bundles)
            self._workshop.check(after, news, sides)
            return news, self._workshop.tracker(after)

        return (yield from self._in_workshop(work))

    @contextmanager
    def _written(self, roster: Roster) -> Iterator[None]:
        """Who trades, written down before it is so; as it was when it does not come to that."""
        before = self._book.roster
        self._book.keep(roster)
        self._crew.use(self._book.run)
        try:
            yield
        except Exception:
            self._book.keep(before)
            self._crew.use(self._book.run)
            raise

    def _roster_with(self, wish: _Wish, chosen: tuple[StrategyConfig, ...]) -> Roster:
        used = {name for strategy in chosen for name in strategy.all_models}
        models = [model for model in wish.models if model.name in used]
        bundles = {s.label: wish.bundles.get(s.label, {}) for s in chosen}
        return self._book.roster.add(chosen, models, bundles)

    def _in_workshop[R](self, work: Callable[[], R]) -> Generator[None, None, R]:
        future: Future[R] = self._workshop.submit(work)
        while not future.done():
            yield
        return future.result()

    def _until_bar(self, member: Member) -> Generator[None]:
        """Until the instrument's next bar has been dealt with by all."""
        kind = self._crew.kind(member.config.instrument)
        seen = self._control.bars(kind)[-1:]
        while self._control.bars(kind)[-1:] == seen:
            yield

    def _until_ready(self, member: Member) -> Generator[None]:
        """Until a bar has closed and nothing of the strategy's is under way."""
        for _ in range(_HAND_OVER_BARS):
            yield from self._until_bar(member)
            deadline = time.monotonic() + _SETTLE_SECS
            while time.monotonic() < deadline:
                if member.trader.is_ready_to_hand_over:
                    return
                member.trader.withdraw(OPERATOR)
                yield
        label = member.config.label
        raise RunFailedError(f"{label} had orders under way at {_HAND_OVER_BARS} bars: try again")

    def _catch_up(self, new: Newcomer) -> None:
        if new.source is not None:
            new.source.catch_up(self._control.bars(self._crew.kind(new.config.instrument)))


def _named(request: Request) -> str:
    if request.strategy is None:
        raise ConfigError(f"{request.name}: which strategy?")
    return request.strategy


def _choice(request: Request, name: str, *allowed: str) -> str:
    value = request.values.get(name, "")
    if value not in allowed:
        raise ConfigError(f"{request.name}: {name} are one of {', '.join(allowed)}, not '{value}'")
    return value


def _wish(request: Request) -> _Wish:
    try:
        run = RunConfig.model_validate_json(request.values.get("run", ""), strict=True)
        bundles = json.loads(request.values.get("bundles", "{}"))
    except (ValidationError, json.JSONDecodeError) as error:
        raise ConfigError(f"the run file in the command is none: {str(error).splitlines()[0]}") from None
    return _Wish(run.strategies, run.models, bundles, run.data.bar)
