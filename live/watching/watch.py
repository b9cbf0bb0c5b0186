"""One look after another at the venue: is every position covered, does the node live, and what is done.

Each look begins with what the venue says now, so every step may be repeated, and one whose outcome is not
known is found done or undone at the next look. Nothing is done to a position before it was seen for the
grace time, nor to symbols that are not the run's; of those there are alarms only.

- unprotected, and `protect`: a stop at the configured distance. While the node may live it is a reduce-only
  one of what is not covered, for the venue takes one closing stop only, and that one is the node's; once the
  node is silent it is a closing one. Refused `stop_tries` times: the position is closed at the market, for
  it can be neither held nor protected.
- the node's heartbeat is older than `flatten_after_secs`: orders in the book are cancelled, positions closed
  at the market, then the stops that are left are cancelled.
- a stop of the watchdog's steps back when another one covers the position, or when that is gone.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from configs.errors import ConfigError
from live.venue.answers import AlgoOrder, ExchangeInfo, SymbolRules
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from live.venue.stop_cover import Cover, cover_of, stop_price

__all__ = ["OWN_PREFIX", "Action", "Alarm", "Look", "WatchSettings", "Watchdog"]

OWN_PREFIX = "watchdog-"
_RULES_SECS = 3_600.0
_LONGEST_PAUSE_SECS = 60.0
_MINUTE_SECS = 60.0
_NOT_THERE = {-2011, -2013, -2022, -4509}
_DONE_ALREADY = {-4116, -4130}
_Key = tuple[str, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSettings:
    """What is watched and what may be done; nothing is, unless it is allowed here.

    `symbols` are those that may be acted on. `heartbeat` is the file that the node touches,
    `flatten_after_secs` the age at which the node counts as dead (None: never).
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

    def __post_init__(self) -> None:
        if self.flatten_after_secs is not None and self.heartbeat is None:
            raise ConfigError("--flatten-after needs --heartbeat, the file that the node keeps fresh")


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
    """One look: the positions with their cover (None: the venue could not be seen), alarms, deeds."""

    covers: tuple[Cover, ...] | None
    alarms: tuple[Alarm, ...]
    actions: tuple[Action, ...]
    node_silent_secs: float | None


@dataclass(slots=True)
class _Case:
    """What is remembered of one position: when it was first seen, since when it is not covered, tries."""

    seen: float
    gap: float | None = None
    refusals: int = 0
    tries: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class _Beat:
    """The heartbeat file as last seen; its age is counted here, so that no clock's jump kills the node."""

    stamp: int | None = None
    since: float = field(default=0.0)


class Watchdog:
    """Looks at one account through `client`. `clock` is monotonic, in seconds."""

    def __init__(
        self, client: VenueClient, settings: WatchSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.client = client
        self.settings = settings
        self.unprotected_secs: dict[str, float] = {}
        self._clock = clock
        self._cases: dict[_Key, _Case] = {}
        self._acted: deque[float] = deque()
        self._actions: list[Action] = []
        self._seen_venue = self._last_look = clock()
        self._rules: ExchangeInfo | None = None
        self._rules_at = 0.0
        self._own: set[str] | None = None  # symbols with a stop of ours; None: not asked yet
        self._beat = _Beat(since=clock())
        self._count = 0

    def look(self) -> Look:
        """Look once, do what is due, and tell. Never raises for what the venue does."""
        now, self._actions = self._clock(), []
        silent, covers = self._silence(now), None
        alarms = self._node_alarms(silent)
        try:
            covers = self._see(now, dead=self._dead_secs(silent) is not None)
        except VenueRequestError as error:
            alarms += self._blind(now, error)
        if covers is not None:
            self._act(now, covers, silent)
            alarms += self._gaps(now, covers)
        alarms += [
            Alarm(f"action {a.symbol}", f"{a.symbol}: {a.what} failed: {a.problem}") for a in self._failed
        ]
        self._last_look = now
        return Look(covers, tuple(alarms), tuple(self._actions), silent)

    # -- the node -------------------------------------------------------------------------------------------

    def _silence(self, now: float) -> float | None:
        """Seconds since the heartbeat last changed; None when none is watched."""
        path = self.settings.heartbeat
        if path is None:
            return None
        try:
            stamp = path.stat().st_mtime_ns
        except OSError:
            return now - self._beat.since
        if stamp != self._beat.stamp:
            first = self._beat.stamp is None
            age = max(0.0, time.time() - stamp / 1e9) if first else 0.0
            self._beat = _Beat(stamp, now - age)
        return now - self._beat.since

    def _dead_secs(self, silent: float | None) -> float | None:
        """For how long the node has counted as dead; None while it does not."""
        after = self.settings.flatten_after_secs
        return None if after is None or silent is None or silent < after else silent - after

    def _node_alarms(self, silent: float | None) -> list[Alarm]:
        if silent is None:
            return []
        after = self.settings.flatten_after_secs
        limit = (
            self.settings.blind_after_secs if after is None else min(after, self.settings.blind_after_secs)
        )
        return (
            [Alarm("node", f"the node has not been heard of for {silent:.0f} s")] if silent >= limit else []
        )

    # -- the venue ------------------------------------------------------------------------------------------

    def _see(self, now: float, *, dead: bool) -> tuple[Cover, ...]:
        positions = self.client.positions()
        held = {position.symbol for position in positions}
        if self._own is None:
            orders = self.client.open_algo_orders()
            self._own = {o.symbol for o in orders if o.client_algo_id.startswith(OWN_PREFIX)}
        asked = held | self._own | (self.settings.symbols if dead else frozenset())
        waiting = {symbol: self.client.open_algo_orders(symbol) for symbol in sorted(asked)}
        self._seen_venue = now
        self._load_rules(now)
        covers = tuple(cover_of(position, waiting[position.symbol]) for position in positions)
        self._remember(now, covers)
        self._step_back(covers, waiting, dead=dead)
        return covers

    def _blind(self, now: float, error: VenueRequestError) -> list[Alarm]:
        blind = now - self._seen_venue
        if error.kind == "account":
            return [Alarm("keys", f"the venue refuses the watchdog: {error}")]
        if blind < self.settings.blind_after_secs:
            return []
        return [Alarm("venue", f"the venue has not been seen for {blind:.0f} s: {error}")]

    def _remember(self, now: float, covers: Sequence[Cover]) -> None:
        present = {cover.key for cover in covers}
        self._cases = {key: case for key, case in self._cases.items() if key in present}
        for cover in covers:
            case = self._cases.setdefault(cover.key, _Case(seen=now))
            if cover.is_whole:
                self._cases[cover.key] = _Case(seen=case.seen)
            elif case.gap is None:
                case.gap = now
            else:
                symbol = cover.position.symbol
                spent = self.unprotected_secs.get(symbol, 0.0)
                self.unprotected_secs[symbol] = spent + now - max(case.gap, self._last_look)

    def _gaps(self, now: float, covers: Sequence[Cover]) -> list[Alarm]:
        alarms = []
        for cover in covers:
            gap = self._cases[cover.key].gap
            if gap is not None and now - gap >= self.settings.grace_secs:
                symbol, side, _ = cover.key
                where = symbol if side == "BOTH" else f"{symbol} {side}"
                alarms.append(
                    Alarm(f"unprotected {where}", f"{where}: {cover.text}; seen for {now - gap:.1f} s")
                )
        return alarms

    # -- what is done ---------------------------------------------------------------------------------------

    def _act(self, now: float, covers: Sequence[Cover], silent: float | None) -> None:
        settings, dead_secs = self.settings, self._dead_secs(silent)
        is_silent = silent is not None and silent >= settings.blind_after_secs
        if dead_secs is not None:
            for symbol in sorted(settings.symbols):
                self._clear_book(now, symbol)
        for cover in covers:
            case = self._cases[cover.key]
            is_young = now - case.seen < settings.grace_secs
            if cover.position.symbol not in settings.symbols or is_young:
                continue
            if dead_secs is not None:
                self._close(now, cover, case, cause=max(case.seen, now - dead_secs))
            elif settings.protect and case.gap is not None and now - case.gap >= settings.grace_secs:
                if case.refusals >= settings.stop_tries:
                    self._close(now, cover, case, cause=case.gap)
                else:
                    self._protect(now, cover, case, cause=case.gap, closes=is_silent)

    def _protect(self, now: float, cover: Cover, case: _Case, *, cause: float, closes: bool) -> None:
        """A stop for what is not covered, or a closing one."""
        position = cover.position

        def place() -> None:
            rules = self._rules_of(position.symbol)
            price = stop_price(position, self.settings.stop_distance_pct, rules.tick)
            symbol, side, lacking = position.symbol, position.exit_side, abs(position.amount) - cover.covered
            if not closes and lacking <= rules.market_max_quantity:
                self.client.place_reduce_stop(
                    symbol, side, lacking, price, self._name(), position_side=position.side
                )
                return
            self._clear_way(cover)
            self.client.place_close_stop(symbol, side, price, self._name(), position_side=position.side)

        if self._own is not None:
            self._own.add(position.symbol)
        case.refusals += self._try(now, "stop placed", position.symbol, case, cause, place)
        if case.refusals >= self.settings.stop_tries:  # from here on it is closed, without delay
            case.tries, case.not_before = 0, now

    def _clear_way(self, cover: Cover) -> None:
        """The venue takes one closing stop only: one that protects nothing has to go."""
        for order, _ in cover.useless:
            if order.close_position and order.side == cover.position.exit_side:
                self.client.cancel_algo(order.symbol, order.algo_id)

    def _close(self, now: float, cover: Cover, case: _Case, *, cause: float) -> None:
        """Close it at the market, in parts where it is larger than one order may be."""
        position = cover.position

        def close() -> None:
            rules = self._rules_of(position.symbol)
            quantity = min(abs(position.amount), rules.market_max_quantity)
            quantity = quantity // rules.market_step * rules.market_step
            self.client.reduce_at_market(
                position.symbol, position.exit_side, quantity, self._name(), position_side=position.side
            )

        self._try(now, "closed at the market", position.symbol, case, cause, close)

    def _try(
        self, now: float, what: str, symbol: str, case: _Case, cause: float, deed: Callable[[], None]
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

    @property
    def _failed(self) -> list[Action]:
        return [action for action in self._actions if action.problem]

    def _may_act(self, now: float) -> bool:
        while self._acted and now - self._acted[0] > _MINUTE_SECS:
            self._acted.popleft()
        return len(self._acted) < self.settings.most_actions_a_minute

    def _clear_book(self, now: float, symbol: str) -> None:
        """Entries of a dead node must not be filled, and its targets are not needed any more."""
        try:
            left = self.client.open_orders(symbol)
        except VenueRequestError:
            return  # the next look asks again
        if left and self._may_act(now):
            self._do("orders in the book cancelled", symbol, None, lambda: self.client.cancel_all(symbol))

    def _step_back(
        self, covers: Sequence[Cover], waiting: dict[str, tuple[AlgoOrder, ...]], *, dead: bool
    ) -> None:
        """Cancel what is not needed: own stops beside others or without a position, all of a dead node's."""
        by_symbol = {cover.position.symbol: cover for cover in covers}
        own_left: set[str] = set()
        for symbol, orders in waiting.items():
            cover = by_symbol.get(symbol)
            for order in orders:
                own = order.client_algo_id.startswith(OWN_PREFIX)
                if not self._is_left_over(order, cover, own=own, dead=dead):
                    own_left |= {symbol} if own else set()
                elif self._may_act(self._clock()):
                    self._do("left-over stop cancelled", symbol, None, self._canceller(order))
        self._own = own_left

    def _is_left_over(self, order: AlgoOrder, cover: Cover | None, *, own: bool, dead: bool) -> bool:
        if cover is None:
            return own or (dead and order.symbol in self.settings.symbols)
        others = [o for o in cover.stops if not o.client_algo_id.startswith(OWN_PREFIX)]
        return own and cover_of(cover.position, others).is_whole

    def _canceller(self, order: AlgoOrder) -> Callable[[], None]:
        return lambda: self.client.cancel_algo(order.symbol, order.algo_id)

    def _load_rules(self, now: float) -> None:
        """Have ticks and steps at hand before they are needed; old ones do where new ones cannot be had."""
        settings = self.settings
        acts = settings.protect or settings.flatten_after_secs is not None
        if not acts or (self._rules is not None and now - self._rules_at < _RULES_SECS):
            return
        self._rules_at = now
        with suppress(VenueRequestError):
            self._rules = self.client.exchange_info()

    def _rules_of(self, symbol: str) -> SymbolRules:
        if self._rules is None:
            self._rules = self.client.exchange_info()
        rules = self._rules.symbols.get(symbol)
        if rules is None:
            raise VenueRequestError("exchangeInfo", f"has no rules for {symbol}", code=-1121, http_status=400)
        return rules

    def _name(self) -> str:
        self._count += 1
        return f"{OWN_PREFIX}{time.time_ns() // 1_000_000}-{self._count}"
