"""What every watchdog does, whatever is held: one look after another, what it remembers, how it acts.

Each look begins with what the venue says now, so every step may be repeated, and one whose outcome is not
known is found done or undone at the next look. Nothing is done for what was not seen for the grace time, nor
for symbols that are not the run's; of those there are alarms only.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol

from configs.errors import ConfigError
from live.heartbeat import has_ended
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError

__all__ = ["OWN_PREFIX", "Action", "Alarm", "Case", "Covered", "Look", "Looker", "WatchSettings"]

OWN_PREFIX = "watchdog-"
_LONGEST_PAUSE_SECS = 60.0
_MINUTE_SECS = 60.0
_NOT_THERE = {-2011, -2013, -2022, -4509}
_DONE_ALREADY = {-4116, -4130}
_Key = tuple[str, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """What is watched and what may be done; nothing is, unless it is allowed here.

    `symbols` are those that may be acted on. `heartbeat` is the file that the node touches,
    `flatten_after_secs` the age at which the node counts as dead (None: never). `looks_once`: there is no
    second look, so what is bad is told at once, and the heartbeat is as old as its file says.
    """

    symbols: frozenset[str]
    protect: bool = False
    stop_distance_pct: float = 3.0
    heartbeat: Path | None = None
    flatten_after_secs: float | None = None
    grace_secs: float = 5.0
    blind_after_secs: float = 10.0
    action_pause_secs: float = 1.0
    most_actions_a_minute: int = 30
    stop_tries: int = 3
    looks_once: bool = False

    def __post_init__(self) -> None:
        if self.flatten_after_secs is not None and self.heartbeat is None:
            raise ConfigError("--flatten-after needs --heartbeat, the file that the node keeps fresh")

    @property
    def acts(self) -> bool:
        """Whether anything may be done."""
        return self.protect or self.flatten_after_secs is not None


class Covered(Protocol):
    """Something held, and what of it is protected."""

    @property
    def key(self) -> _Key:
        """Which it is, from one look to the next."""

    @property
    def symbol(self) -> str:
        """Of what."""

    @property
    def side(self) -> str:
        """As the venue calls it."""

    @property
    def name(self) -> str:
        """How a person tells it from others."""

    @property
    def amount(self) -> Decimal:
        """How much, signed."""

    @property
    def covered(self) -> Decimal:
        """How much of it has a stop."""

    @property
    def is_whole(self) -> bool:
        """Whether every part of it has a stop."""

    @property
    def text(self) -> str:
        """All that in words."""


class Alarm(NamedTuple):
    """Something a person should know; `key` names it from one look to the next."""

    key: str
    text: str


class Action(NamedTuple):
    """What was done for a symbol, how long after its cause began, and why not ("" when the venue took it).

    The cause of a stop is a gap, from when it was first seen; of a close a dead node, from when it counted as
    dead.
    """

    what: str
    symbol: str
    after_secs: float
    problem: str = ""


class Look(NamedTuple):
    """One look: what is held with its cover (None: the venue could not be seen), alarms, deeds."""

    covers: tuple[Covered, ...] | None
    alarms: tuple[Alarm, ...]
    actions: tuple[Action, ...]
    node_silent_secs: float | None


@dataclass(slots=True)
class Case:
    """What is remembered of one position: when it was first seen, since when it is not covered, tries."""

    seen: float
    gap: float | None = None
    refusals: int = 0
    tries: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class _Beat:
    """The heartbeat file as last seen; its age is counted here, from the first look on, so that no clock that
    jumps or is another machine's, and no file of the day before, kills a node."""

    stamp: int | None = None
    since: float = 0.0


class Looker[V: VenueClient, C: Covered](ABC):
    """Looks at one account through `client`. `clock` is monotonic, in seconds."""

    def __init__(
        self, client: V, settings: WatchSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.client = client
        self.settings = settings
        self.unprotected_secs: dict[str, float] = {}
        self._clock = clock
        self._cases: dict[_Key, Case] = {}
        self._acted: deque[float] = deque()
        self._actions: list[Action] = []
        self._seen_venue = self._last_look = clock()
        self._beat = _Beat(since=clock())
        self._count = 0

    def look(self) -> Look:
        """Look once, do what is due, and tell. Never raises for what the venue does."""
        now, self._actions = self._clock(), []
        silent, covers = self._silence(now), None
        alarms = self._node_alarms(silent)
        try:
            covers = tuple(self._see(now, dead=self._dead_secs(silent) is not None))
        except VenueRequestError as error:
            alarms += self._blind(now, error)
        if covers is not None:
            self._act(now, covers, silent)
            alarms += self._gaps(now, covers) + self._notices()
        failed = [action for action in self._actions if action.problem]
        alarms += [Alarm(f"action {a.symbol}", f"{a.symbol}: {a.what} failed: {a.problem}") for a in failed]
        self._last_look = now
        return Look(covers, tuple(alarms), tuple(self._actions), silent)

    # -- of what is held ------------------------------------------------------------------------------------

    @abstractmethod
    def _see(self, now: float, *, dead: bool) -> Sequence[C]:
        """What the venue has now; own stops that are not needed go. `dead`: the node counts as dead."""

    @abstractmethod
    def _clear_book(self, now: float, symbol: str) -> None:
        """Entries of a dead node must not be filled, and its targets are not needed any more."""

    @abstractmethod
    def _place_stop(self, cover: C, *, closes: bool) -> None:
        """A stop for what is not covered; `closes`: for everything."""

    @abstractmethod
    def _sell_out(self, cover: C) -> None:
        """Close it at the market, in parts where it is larger than one order may be."""

    def _notices(self) -> list[Alarm]:
        """What else a person should know."""
        return []

    # -- the node -------------------------------------------------------------------------------------------

    def _silence(self, now: float) -> float | None:
        """Seconds since the heartbeat last changed; None when none is watched, or the node was ended."""
        path = self.settings.heartbeat
        if path is None:
            return None
        if has_ended(path):
            self._beat = _Beat(since=now)  # the silence after an end that was meant is none
            return None
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return now - self._beat.since
        if stamp != self._beat.stamp:
            age = max(0.0, time.time() - stamp / 1e9) if self.settings.looks_once else 0.0
            self._beat = _Beat(stamp, now - age)
        return now - self._beat.since

    def _dead_secs(self, silent: float | None) -> float | None:
        """For how long the node has counted as dead; None while it does not."""
        after = self.settings.flatten_after_secs
        return None if after is None or silent is None or silent < after else silent - after

    def _node_alarms(self, silent: float | None) -> list[Alarm]:
        if silent is None:
            return []
        after, blind = self.settings.flatten_after_secs, self.settings.blind_after_secs
        limit = blind if after is None else min(after, blind)
        return (
            [Alarm("node", f"the node has not been heard of for {silent:.0f} s")] if silent >= limit else []
        )

    # -- the venue ------------------------------------------------------------------------------------------

    def _blind(self, now: float, error: VenueRequestError) -> list[Alarm]:
        blind = now - self._seen_venue
        if error.kind == "account":
            return [Alarm("keys", f"the venue refuses the watchdog: {error}")]
        if blind < self.settings.blind_after_secs and not self.settings.looks_once:
            return []
        return [Alarm("venue", f"the venue has not been seen for {blind:.0f} s: {error}")]

    def _remember(self, now: float, covers: Sequence[C]) -> None:
        present = {cover.key for cover in covers}
        self._cases = {key: case for key, case in self._cases.items() if key in present}
        for cover in covers:
            case = self._cases.setdefault(cover.key, Case(seen=now))
            if cover.is_whole:
                self._cases[cover.key] = Case(seen=case.seen)
            elif case.gap is None:
                case.gap = now
            else:
                spent = self.unprotected_secs.get(cover.symbol, 0.0)
                self.unprotected_secs[cover.symbol] = spent + now - max(case.gap, self._last_look)

    def _gaps(self, now: float, covers: Sequence[C]) -> list[Alarm]:
        alarms = []
        for cover in covers:
            gap = self._cases[cover.key].gap
            if gap is not None and now - gap >= self.settings.grace_secs:
                text = f"{cover.name}: {cover.text}; seen for {now - gap:.1f} s"
                alarms.append(Alarm(f"unprotected {cover.name}", text))
        return alarms

    # -- what is done ---------------------------------------------------------------------------------------

    def _act(self, now: float, covers: Sequence[C], silent: float | None) -> None:
        settings, dead_secs = self.settings, self._dead_secs(silent)
        is_silent = silent is not None and silent >= settings.blind_after_secs
        if dead_secs is not None:
            for symbol in sorted(settings.symbols):
                self._clear_book(now, symbol)
        for cover in covers:
            case = self._cases[cover.key]
            is_young = now - case.seen < settings.grace_secs
            if cover.symbol not in settings.symbols or is_young:
                continue
            if dead_secs is not None:
                self._close(now, cover, case, cause=max(case.seen, now - dead_secs))
            elif settings.protect and case.gap is not None and now - case.gap >= settings.grace_secs:
                if case.refusals >= settings.stop_tries:
                    self._close(now, cover, case, cause=case.gap)
                else:
                    self._protect(now, cover, case, cause=case.gap, closes=is_silent)

    def _protect(self, now: float, cover: C, case: Case, *, cause: float, closes: bool) -> None:
        deed = "stop placed"
        case.refusals += self._try(
            now, deed, cover.symbol, case, cause, lambda: self._place_stop(cover, closes=closes)
        )
        if case.refusals >= self.settings.stop_tries:  # from here on it is closed, without delay
            case.tries, case.not_before = 0, now

    def _close(self, now: float, cover: C, case: Case, *, cause: float) -> None:
        self._try(now, "closed at the market", cover.symbol, case, cause, lambda: self._sell_out(cover))

    def _try(
        self, now: float, what: str, symbol: str, case: Case, cause: float, deed: Callable[[], None]
    ) -> bool:
        """Do it unless it was tried a moment ago; True when the venue refused it for good."""
        if now < case.not_before or not self._may_act(now):
            return False
        pause = min(self.settings.action_pause_secs * 2**case.tries, _LONGEST_PAUSE_SECS)
        case.tries += 1
        case.not_before = now + pause
        error = self._do(what, symbol, now - cause, deed)
        return error is not None and error.kind in {"logic", "account"} and error.code not in _NOT_THERE

    def _do(
        self, what: str, symbol: str, after_secs: float | None, deed: Callable[[], None]
    ) -> VenueRequestError | None:
        self._acted.append(self._clock())
        try:
            deed()
        except VenueRequestError as error:
            if error.code in _NOT_THERE | _DONE_ALREADY:
                return None
            self._actions.append(Action(what, symbol, after_secs or 0.0, str(error)))
            return error
        spent = self._clock() - self._acted[-1]
        self._actions.append(Action(what, symbol, 0.0 if after_secs is None else after_secs + spent))
        return None

    def _may_act(self, now: float) -> bool:
        while self._acted and now - self._acted[0] > _MINUTE_SECS:
            self._acted.popleft()
        return len(self._acted) < self.settings.most_actions_a_minute

    def _name(self) -> str:
        self._count += 1
        return f"{OWN_PREFIX}{time.time_ns() // 1_000_000}-{self._count}"
