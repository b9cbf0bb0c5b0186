"""A rehearsal: market, clock, faults and server together, and everything an operator can do to them.

`Session.run` moves the market as the clock says and carries out what the fault script says. Stepped (speed
0) it goes on when every socket was sent what it is due, and waits while no client is connected. All of it
runs on one event loop, so what a method does is done in one piece between two events.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from catalog.instruments import Market
from live.rehearsal.book import Depth, MarketEvent, MarkPrice, Quote
from live.rehearsal.clock import ReplayClock, shift_to_now, wall_ms
from live.rehearsal.dialects import dialect_of
from live.rehearsal.faults.box import Action, ScriptedFaults
from live.rehearsal.faults.script import (
    AnyKind,
    ChangeFilters,
    CloseSockets,
    Deleverage,
    ExpireListenKey,
    FaultScript,
    HaltSymbol,
    JumpPrice,
    MoveMark,
    RestartVenue,
    SkewClock,
    SliceFills,
)
from live.rehearsal.futures.venue import Venue
from live.rehearsal.market.feeds import Feed
from live.rehearsal.market.replay import MarketSettings, ReplayMarket, closed_klines
from live.rehearsal.serving.auth import ApiKey
from live.rehearsal.serving.desk import ListenKeys
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.server import RehearsalServer
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.venue import SpotVenue

__all__ = ["Plan", "Session"]

_LONGEST_WAIT_SECS = 0.05
_EVENTS_A_TURN = 20
_DRAIN_SECS = 5.0
_DOWN_STATUS = "BREAK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to rehearse.

    `speed` is market seconds a wall second, zero for stepped. With `now` the replay is shifted to begin in
    the minute under way. `history` minutes of klines before the start are there over REST. `balances` are
    the account's, by asset. `market_kind` is "um" (USD-M futures) or "spot"; feeds and specs must be of that
    market, and on spot there is no leverage. `fee_rates` are maker and taker, None for the market's usual
    ones.
    """

    feeds: Sequence[Feed]
    specs: Sequence[SymbolSpec]
    keys: Sequence[ApiKey]
    market: MarketSettings = field(default_factory=MarketSettings)
    script: FaultScript = field(default_factory=FaultScript)
    speed: float = 1.0
    now: bool = False
    history: int = 1_500
    balances: Mapping[str, Decimal] = field(default_factory=lambda: {"USDT": Decimal(10_000)})
    leverage: int = 20
    market_kind: Market = "um"
    fee_rates: tuple[Decimal, Decimal] | None = None
    limits: Limits | None = None
    strict: bool = True


class Session:
    """One rehearsal; `server` is the venue's server, `faults` its fault box, `clock` its clock."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        start_ms = min(feed.start_ms for feed in plan.feeds)
        shift_ms = shift_to_now(start_ms, wall_ms()) if plan.now else 0
        self.market = ReplayMarket(plan.feeds, plan.market, shift_ms=shift_ms)
        self.clock = ReplayClock(self.market.start_ms, plan.speed)
        self.market_ms = self.market.start_ms
        self.exchange = _exchange(plan, self.market_ms)
        self.faults = ScriptedFaults(
            plan.script,
            now_ms=lambda: max(self.market_ms, self.clock.now_ms()),
            start_ms=self.market_ms,
            ticks={spec.symbol: spec.tick for spec in plan.specs},
            weight_limit=(plan.limits or dialect_of(self.exchange).limits).weight_a_minute,
        )
        self.server: RehearsalServer[Any] = RehearsalServer(
            self.exchange,
            plan.keys,
            faults=self.faults,
            clock=self.clock,
            limits=plan.limits,
            strict=plan.strict,
        )
        for feed in plan.feeds:
            self.server.load(closed_klines(feed, plan.market, plan.history, shift_ms=shift_ms))
        self.events = 0
        self.restarts = 0
        self._blank = self.exchange.snapshot()
        self._original = {spec.symbol: spec for spec in plan.specs}
        self._books: dict[str, Quote | Depth] = {}
        self._marks: dict[str, MarkPrice] = {}
        self._moving = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._returning: asyncio.Task[None] | None = None

    @property
    def venue(self) -> Venue:
        """The futures venue; TypeError when spot is rehearsed."""
        if not isinstance(self.exchange, Venue):
            raise TypeError("this rehearsal is of the spot market: use Session.spot")
        return self.exchange

    @property
    def spot(self) -> SpotVenue:
        """The spot venue; TypeError when futures are rehearsed."""
        if not isinstance(self.exchange, SpotVenue):
            raise TypeError("this rehearsal is of the futures market: use Session.venue")
        return self.exchange

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Open the server; the market stands still until `run`."""
        await self.server.start(host, port)

    async def run(self) -> None:
        """Move the market until its end or `stop`."""
        self.clock.run()
        if self.plan.now and not self.clock.stepped:
            self.clock.advance(wall_ms())
        while not self._stopped.is_set() and not self.ended:
            if self._standing:
                await self._rest(_LONGEST_WAIT_SECS)
                continue
            next_ms = self.next_ms
            assert next_ms is not None
            await self._move(next_ms if self.clock.stepped else self.clock.now_ms())
            if self.clock.stepped:
                await self.server.hub.followed(_DRAIN_SECS)
                await asyncio.sleep(0)
            else:
                await self._rest(self.clock.secs_until(self.next_ms or 0))
        await self.server.hub.followed(_DRAIN_SECS)

    def stop(self) -> None:
        """Let `run` end."""
        self._stopped.set()

    async def close(self) -> None:
        """Close every socket and the server."""
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)
        await self.server.stop()

    @property
    def ended(self) -> bool:
        """Whether the replay is over."""
        return self.market.next_ms is None

    @property
    def next_ms(self) -> int | None:
        """When the next event or fault is due; None at the end of the replay."""
        event_ms, fault_ms = self.market.next_ms, self.faults.next_ms
        if event_ms is None or fault_ms is None:
            return event_ms
        return min(event_ms, fault_ms)

    @property
    def lag_ms(self) -> int:
        """How far the market is behind the clock; zero when it stands still or is stepped."""
        next_ms = self.next_ms
        return 0 if next_ms is None or self.clock.stepped else max(0, self.clock.now_ms() - next_ms)

    # -- what an operator does ------------------------------------------------------------------------------

    def pause(self) -> None:
        """Let the market stand still."""
        self.clock.pause()

    def resume(self) -> None:
        """Let it go on."""
        self.clock.run()

    def set_speed(self, speed: float) -> None:
        """Change the speed; ConfigError for one that is none."""
        self.clock.set_speed(speed)

    async def step(self, secs: float) -> None:
        """Pause, and move the market on by so many of its seconds at once; until everybody was told."""
        self.clock.pause()
        target = self.market_ms + round(secs * 1000)
        await self._move(target)
        self.market_ms = max(self.market_ms, target)
        self.clock.advance(target)
        await self.server.hub.followed(_DRAIN_SECS)

    async def inject(self, fault: AnyKind) -> None:
        """Add a fault; what it does by itself at once is done at once."""
        await self._move(max(self.market_ms, self.clock.now_ms()))  # what comes before it, as it was
        self.faults.inject(fault)
        async with self._moving:  # after the replay's end nothing moves
            await self._carry_out(self.faults.due(max(self.market_ms, self.clock.now_ms())))

    async def clear(self, name: str | None = None) -> None:
        """Take faults back by name or kind, or all of them."""
        async with self._moving:
            await self._carry_out(self.faults.clear(name))
        self._repeat_market()

    def deleverage(self, symbol: str, percent: Decimal, price: Decimal | None = None) -> None:
        """Take away so much of every account's positions in a symbol, at a price or at the mark."""
        for account in sorted({key.account for key in self.plan.keys}):
            self.venue.deleverage(account, symbol, percent, price)
        self.server.flush()

    async def restart(self, *, memory: bool, down_secs: float = 0.0) -> None:
        """Take the venue down and up again; without `memory` accounts, orders and listen keys are gone."""
        self.restarts += 1
        await self.server.set_down(True)
        self._apply_lasting(down=True)
        known = self.exchange.snapshot()
        # numbers go on in any case: no venue gives one out twice
        self.exchange.restore(known if memory else {**self._blank, "counters": known["counters"]})
        if not memory:
            self.server.desk.listen_keys = ListenKeys()
            self.server.desk.countdowns.clear()
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        if down_secs > 0:
            self._returning = asyncio.create_task(self._return(down_secs))
        else:
            await self._up()

    # -- inside ---------------------------------------------------------------------------------------------

    @property
    def _standing(self) -> bool:
        """Whether nothing moves: paused, or stepped without anybody to see it."""
        return self.clock.paused or (self.clock.stepped and not self.server.hub.sockets)

    async def _rest(self, secs: float | None) -> None:
        wait = _LONGEST_WAIT_SECS if secs is None else min(secs, _LONGEST_WAIT_SECS)
        try:
            await asyncio.wait_for(self._stopped.wait(), max(wait, 0.001))
        except TimeoutError:
            return

    async def _move(self, until_ms: int) -> None:
        """Events and faults up to `until_ms`, in order of time, a fault before an event of its time."""
        async with self._moving:
            done = 0
            while (next_ms := self.next_ms) is not None and next_ms <= until_ms:
                if self._stopped.is_set():
                    return
                self.market_ms = max(self.market_ms, next_ms)
                if self.clock.stepped:
                    self.clock.advance(next_ms)
                fault_ms = self.faults.next_ms
                if fault_ms is not None and fault_ms <= next_ms:
                    await self._carry_out(self.faults.due(next_ms))
                else:
                    self._feed(next(self.market))
                done += 1
                if done % _EVENTS_A_TURN == 0:
                    await asyncio.sleep(0)

    def _feed(self, event: MarketEvent) -> None:
        if isinstance(event, Quote | Depth):
            self._books[event.symbol] = event
        elif isinstance(event, MarkPrice):
            self._marks[event.symbol] = event
        self.events += 1
        self._tell(event)

    def _tell(self, event: MarketEvent) -> None:
        altered = self.faults.on_market(event)
        if altered is not None:
            self.server.feed(altered)

    def _repeat_market(self) -> None:
        """The latest book and mark price once more, as the faults now leave them."""
        for event in (*self._books.values(), *self._marks.values()):
            self._tell(event._replace(ts_ms=self.market_ms))

    async def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action.fault:
                case CloseSockets() as fault:
                    for kind in fault.sockets:
                        await self.server.close_sockets(kind, code=fault.code, abrupt=not fault.frame)
                case ExpireListenKey() as fault:
                    for account in sorted({key.account for key in self.plan.keys}):
                        self.server.expire_listen_key(account, notify=fault.told)
                case RestartVenue() as fault:
                    await self.restart(memory=fault.memory, down_secs=fault.down_secs)
                case Deleverage() as fault:
                    self.deleverage(fault.symbol, Decimal(str(fault.percent)))
                case JumpPrice() | MoveMark():
                    self._repeat_market()
                case _:
                    self._apply_lasting(down=self._returning is not None)

    def _apply_lasting(self, *, down: bool) -> None:
        """Rules, fills and clock as all lasting faults together leave them."""
        specs, slices, skew_ms = dict(self._original), 1, 0
        for fault in self.faults.lasting:
            match fault:
                case HaltSymbol() if fault.symbol in specs:
                    specs[fault.symbol] = replace(specs[fault.symbol], status=fault.status)
                case ChangeFilters() if fault.symbol in specs:
                    specs[fault.symbol] = replace(specs[fault.symbol], **_changes(fault))
                case SliceFills():
                    slices = max(slices, fault.slices)
                case SkewClock():
                    skew_ms += fault.skew_ms
        for spec in specs.values():
            self.exchange.replace_spec(replace(spec, status=_DOWN_STATUS) if down else spec)
        self.exchange.set_fill_slices(slices)
        self.clock.skew_ms = skew_ms

    async def _return(self, down_secs: float) -> None:
        await asyncio.sleep(down_secs)
        self._returning = None
        await self._up()

    async def _up(self) -> None:
        self._apply_lasting(down=False)
        await self.server.set_down(False)


def _exchange(plan: Plan, now_ms: int) -> Venue | SpotVenue:
    shared: dict[str, Any] = {"balances": plan.balances, "seed": plan.market.seed, "now_ms": now_ms}
    if plan.fee_rates is not None:
        shared |= {"maker_rate": plan.fee_rates[0], "taker_rate": plan.fee_rates[1]}
    if plan.market_kind == "spot":
        return SpotVenue(plan.specs, **shared)
    return Venue(plan.specs, leverage=plan.leverage, **shared)


def _changes(fault: ChangeFilters) -> dict[str, Any]:
    """The changed fields of a symbol's rules: a coarser tick or step is that of market orders, too."""
    changes: dict[str, Any] = dict(fault.changes)
    if "step" in changes:
        changes["market_step"] = changes["step"]
    if "min_quantity" in changes:
        changes["market_min_quantity"] = changes["min_quantity"]
    if "max_quantity" in changes:
        changes["market_max_quantity"] = changes["max_quantity"]
    return changes
