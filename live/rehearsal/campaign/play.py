"""Plays one scenario: a venue in this event loop, nodes forked from the zygote, and what goes wrong.

The market goes at the scenario's start speed while a node starts, at its speed while one trades, and almost
stands still while what is left is settled, so that nothing new is decided.
"""

import asyncio
import signal
import time
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import yaml

from catalog.instruments import find_spec
from live.rehearsal.campaign.commanding import Operator
from live.rehearsal.campaign.evidence import Evidence, Life
from live.rehearsal.campaign.index import IndexService, sentiment_of
from live.rehearsal.campaign.market import WalkFeed
from live.rehearsal.campaign.model import HISTORY_MINUTES, offline_forecasts, with_bundle
from live.rehearsal.campaign.nodes import Node, Nodes
from live.rehearsal.campaign.record import is_believed, node_view, outcome_of, read_audit
from live.rehearsal.campaign.scenario import Fault, Kill, Move, Scenario
from live.rehearsal.campaign.spot_evidence import spot_ledger_of
from live.rehearsal.campaign.steps import in_node
from live.rehearsal.campaign.watch import MOVE, StampedLog, Watch
from live.rehearsal.control import ledger
from live.rehearsal.faults.script import parse_fault
from live.rehearsal.market.replay import MarketSettings
from live.rehearsal.serving.demo_keys import demo_keys
from live.rehearsal.session import Plan, Session
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.specs import spot_spec
from live.venues import REHEARSAL_SEED

__all__ = ["Played", "play"]

_START_MS = 1_735_689_600_000  # 2025-01-01, shifted to now
_HISTORY_MINUTES = 900
_SETTLE_SPEED = 5.0
_QUIET_SECS = 1.6
_SETTLE_SECS = 30.0
_READY_SECS = 80.0  # the engine gives up on a venue that cannot be reached after 60
_END_SECS = 30.0
_LOOK_SECS = 0.02
_MARK_SECS = 0.05
_MOST_LIVES = 8
_FAILED_STARTS = 3


class Played(NamedTuple):
    """What is left of a scenario, the CPU seconds of its nodes and of the venue, how often each step came."""

    evidence: Evidence
    node_cpu_secs: float
    venue_cpu_secs: float
    wall_secs: float
    steps: Counter[str]


async def play(scenario: Scenario, nodes: Nodes, folder: Path) -> Played:
    """Play a scenario in a fresh folder."""
    began, cpu = time.monotonic(), time.process_time()
    player = _Player(scenario, nodes, folder)
    try:
        await player.open()
        await player.trade()
        await player.end()
        evidence = player.evidence()
    finally:
        await player.close()
    return Played(
        evidence,
        player.cpu_secs,
        time.process_time() - cpu,
        time.monotonic() - began,
        player.watch.counts,
    )


def make_session(scenario: Scenario) -> Session:
    """The venue of a scenario."""
    market = scenario.market
    history = HISTORY_MINUTES if scenario.has_model else _HISTORY_MINUTES
    minutes = round(market.speed * (scenario.trading_secs + 120) / 60 + market.start_speed * 10 + 400)
    feeds = [
        WalkFeed(
            name,
            _START_MS,
            minutes,
            history,
            scenario.seed,
            market.minute_volatility_bps,
            scenario.kind,
        )
        for name in scenario.symbols
    ]
    rules_of = spot_spec if scenario.kind == "spot" else SymbolSpec.from_catalog
    settings = MarketSettings(
        seed=scenario.seed,
        spread_bps=market.spread_bps,
        depth_quote=market.depth_quote,
        trades_a_minute=market.trades_a_minute,
        kline_ms=10_000,
        mark_ms=3_000,
    )
    return Session(
        Plan(
            feeds=feeds,
            specs=[rules_of(find_spec(name, scenario.kind)) for name in scenario.symbols],
            keys=demo_keys(REHEARSAL_SEED).ring,
            market=settings,
            speed=market.start_speed,
            now=True,
            history=history,
            balances={"USDT": Decimal(scenario.balance)},
            leverage=scenario.leverage,
            market_kind=scenario.kind,
        )
    )


class _Player:
    def __init__(self, scenario: Scenario, nodes: Nodes, folder: Path) -> None:
        self.cpu_secs = 0.0
        self.session = make_session(scenario)
        self.watch = Watch(self.session, scenario.symbols)
        self._scenario = scenario
        self._nodes = nodes
        self._folder = folder
        self._log = self.session.faults.log = StampedLog()
        self._lives: list[Life] = []
        self._node: Node | None = None
        self._started_ns = 0
        self._ready_ns: int | None = None
        self._ended_by = "itself"
        self._traded_since: float | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._cleared_ns = 0
        self._settled = False
        self._forecasts: dict[str, dict[int, float]] = {}
        self._index: IndexService | None = None
        self._operator = Operator(folder / "state")

    # -- the venue ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """The venue, with the faults that are there before the node."""
        self.session.server.watch(self.watch)
        await self.session.start()
        self.watch.look("begin")
        for fault in self._scenario.faults:
            if fault.at_secs is None:
                await self._inject(fault)
        self._jobs.append(asyncio.create_task(self.session.run()))
        self._jobs.append(asyncio.create_task(self._watch_marks()))
        run = self._scenario.run | {
            "data": self._scenario.run["data"] | {"catalog": str(self._folder / "none")}
        }
        if self._scenario.has_model:
            (self._folder / "none").mkdir()
            run = with_bundle(run, self._nodes.models, self._scenario.symbols[0])
        if self._scenario.mood is not None:
            self._index = IndexService(self._scenario.mood, self.session.market_ms, self._scenario.seed)
            await self._index.open()
            run |= {"sentiment": sentiment_of(self._index)}
        (self._folder / "run.yaml").write_text(yaml.safe_dump(run))

    async def close(self) -> None:
        """Nothing of the scenario is left."""
        if self._node is not None:
            self._node.kill()
            await self._node.ended
        self.session.stop()
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        if self._index is not None:
            await self._index.close()
        await self.session.close()

    async def _watch_marks(self) -> None:
        while True:
            self.watch.look_at_marks()
            await asyncio.sleep(_MARK_SECS)

    async def _inject(self, fault: Fault) -> None:
        await self.session.inject(parse_fault(fault.values))

    # -- a life ---------------------------------------------------------------------------------------------

    async def _live(self, kill: Kill | None) -> None:
        """Start a node; returns when it trades or has ended."""
        self.session.set_speed(min(self._scenario.market.start_speed, self.session.clock.speed))
        before = None
        handed = None if kill is None else in_node(kill.step)
        if kill is not None and handed is not None:
            before = {"role": handed[0], "nth": kill.nth, "after": handed[1]}
        self._started_ns, self._ready_ns, self._ended_by = time.time_ns(), None, "itself"
        output = self._folder / f"node-{len(self._lives)}.log"
        node = self._node = await self._nodes.start(self._arguments(), output, before)
        self.watch.begin_life(kill, lambda: self._strike(node))
        node.ended.add_done_callback(lambda _: self._over(node))
        deadline = time.monotonic() + _READY_SECS
        while not self._is_trading():
            if node.ended.done() or time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_SECS)
        else:
            self._ready_ns = time.time_ns()
            return
        if not node.ended.done():
            self._ended_by = "harness"
            node.kill()
        await node.ended

    def _arguments(self) -> list[str]:
        server, scenario = self.session.server, self._scenario
        addresses = {
            "base_url_http": server.http_url,
            "base_url_ws": server.ws_url,
            "base_url_ws_trading": server.ws_api_url,
        }
        settings = [text for name, url in addresses.items() for text in ("--set", f"live.{name}={url}")]
        at_end = "flatten" if scenario.ending == "flatten" else "keep"
        state = str(self._folder / "state")
        return [str(self._folder / "run.yaml"), "--state", state, "--at-end", at_end, *settings]

    def _is_trading(self) -> bool:
        wanted = self.session.server.hub.wanted
        return all(wanted(f"{symbol.lower()}@kline_1m") for symbol in self._scenario.symbols)

    def _strike(self, node: Node) -> None:
        self._ended_by = "kill"
        node.kill()

    def _over(self, node: Node) -> None:
        end = node.ended.result()
        self.cpu_secs += end.cpu_secs
        if end.code == -signal.SIGKILL and self._ended_by in ("itself", "end"):
            self._ended_by = "kill"  # by its own hand
            step = next((k.step for k in self._scenario.kills if in_node(k.step)), "")
            self.watch.counts[step] += 1
            self.watch.note_kill(step)
        outcome = outcome_of(self._folder / f"node-{len(self._lives)}.log")
        self._lives.append(
            Life(
                started_ns=self._started_ns,
                ready_ns=self._ready_ns,
                ended_ns=time.time_ns(),
                ended_by=self._ended_by,
                exit_code=end.code,
                outcome=outcome,
            )
        )

    def _age(self) -> tuple[int, float] | None:
        """The number of the life that trades and how long it has done so (s); None while none does."""
        if self._ready_ns is None or not self._is_alive:
            return None
        return len(self._lives), (time.time_ns() - self._ready_ns) / 1e9

    @property
    def _is_alive(self) -> bool:
        return self._node is not None and not self._node.ended.done()

    # -- trading --------------------------------------------------------------------------------------------

    async def trade(self) -> None:
        """Lives one after the other, until the time for trading is over."""
        scenario, failed = self._scenario, 0
        for number in range(_MOST_LIVES):
            kill = scenario.kills[number] if number < len(scenario.kills) else None
            await self._live(None if kill is not None and kill.step == "shutdown" else kill)
            if self._ready_ns is None:
                failed += self._ended_by != "kill"
                if failed >= _FAILED_STARTS:
                    await self._clear()
            else:
                self._begin_script()
                self.session.set_speed(scenario.market.speed)
                await self._until_over(kill)
            if self._is_over:
                return
            await asyncio.sleep(0.05 if kill is None else kill.dead_secs)

    @property
    def _is_over(self) -> bool:
        since = self._traded_since
        return since is not None and time.monotonic() - since >= self._scenario.trading_secs

    async def _until_over(self, kill: Kill | None) -> None:
        """Until the node is dead or the time is over."""
        node, ready = self._node, time.monotonic()
        assert node is not None
        while not node.ended.done() and not self._is_over:
            if kill is not None and kill.step == "random" and time.monotonic() - ready >= kill.at_secs:
                self.watch.strike("random")
                await node.ended
                return
            await asyncio.sleep(_LOOK_SECS)

    def _begin_script(self) -> None:
        """Moves and faults, once, from the moment at which the first node trades."""
        if self._traded_since is None:
            self._traded_since = time.monotonic()
            self._jobs.append(asyncio.create_task(self._follow_script()))
            self._jobs.append(asyncio.create_task(self._operator.follow(self._scenario.commands, self._age)))

    async def _follow_script(self) -> None:
        faults = [(f.at_secs, f) for f in self._scenario.faults if f.at_secs is not None]
        script: list[tuple[float, Move | Fault]] = [*((m.at_secs, m) for m in self._scenario.moves), *faults]
        assert self._traded_since is not None
        for at_secs, what in sorted(script, key=lambda pair: pair[0]):
            await asyncio.sleep(max(0.0, self._traded_since + at_secs - time.monotonic()))
            if isinstance(what, Move):
                await self._move(what)
            else:
                await self._inject(what)

    async def _move(self, move: Move) -> None:
        held = self.watch.last[move.symbol].position
        sign = {"up": 1, "down": -1}.get(move.toward, 0)
        if not sign:
            sign = (-1 if held < 0 else 1) * (1 if move.toward == "gain" else -1)
        values = {
            "kind": "jump_price",
            "name": MOVE,
            "symbols": [move.symbol],
            "percent": sign * move.percent,
        }
        await self.session.inject(parse_fault(values))

    # -- the end --------------------------------------------------------------------------------------------

    async def end(self) -> None:
        """Faults away, everything settled, and the node stopped as the scenario says."""
        self.watch.disarm()
        for job in self._jobs[2:]:  # not the venue and the look at its marks
            job.cancel()
        await self._clear()
        self.session.set_speed(_SETTLE_SPEED)
        await self._settle()
        kill = next((kill for kill in self._scenario.kills if kill.step == "shutdown"), None)
        if kill is not None or self._scenario.ending == "kill":
            await self._kill_at_end(kill)
            await self._settle()
        await self._stop()
        if self._ended_by == "kill":  # on its way out, by its own hand
            await self._settle()
            await self._stop()
        if self._scenario.has_model:
            klines = {name: self.session.server.record.klines(name, "1m") for name in self._scenario.symbols}
            self._forecasts = await asyncio.to_thread(
                offline_forecasts, self._scenario, self._nodes.models, klines
            )

    async def _clear(self) -> None:
        for fault in self._scenario.faults:
            await self.session.clear(fault.values["name"])
        self._cleared_ns = time.time_ns()

    async def _settle(self) -> None:
        """A node alive that believes what is, and nothing changes any more that should not be as it is."""
        self._settled = False
        for _ in range(2):
            if not self._is_alive:
                await self._live(None)
        deadline = time.monotonic() + _SETTLE_SECS
        while self._is_alive and time.monotonic() < deadline:
            if self._is_at_rest():
                self._settled = True
                return
            await asyncio.sleep(_LOOK_SECS)

    def _is_at_rest(self) -> bool:
        if time.monotonic() - self.watch.changed_at < _QUIET_SECS:
            return False
        since_ns = max(self._ready_ns or time.time_ns(), self._cleared_ns)
        if (time.time_ns() - since_ns) / 1e9 < _QUIET_SECS:
            return False
        moments = self.watch.last.values()
        held = {m.symbol: m.position for m in moments if m.position}
        return all(
            moment.stop_covers if moment.position else moment.orders_open == moment.entry_orders_open
            for moment in moments
        ) and is_believed(self._folder / "state", held, self._scenario.kind)

    async def _kill_at_end(self, kill: Kill | None) -> None:
        node = self._node
        assert node is not None
        if kill is not None:
            node.send(signal.SIGTERM)
            await asyncio.sleep(kill.at_secs)
        if not node.ended.done():
            self._strike(node)
            self.watch.note_kill("random" if kill is None else "shutdown")
            self.watch.counts["random" if kill is None else "shutdown"] += 1
        await node.ended

    async def _stop(self) -> None:
        node = self._node
        if node is None or node.ended.done():
            return
        self._ended_by = "end"
        node.send(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(node.ended), _END_SECS)
        if not node.ended.done():
            self._ended_by = "harness"
            node.kill()
            await node.ended

    def evidence(self) -> Evidence:
        """What is left."""
        self.watch.look("end")
        audit, unreadable = read_audit(self._folder / "state")
        specs = {spec.symbol: spec for spec in self.session.plan.specs}
        own = ledger(self.session)["main"]
        return Evidence(
            scenario=self._scenario,
            specs=specs,
            lives=tuple(self._lives),
            kills=tuple(self.watch.kills),
            moments=tuple(self.watch.moments),
            faults=self._log.spans,
            faults_cleared_ns=self._cleared_ns,
            ended_ns=time.time_ns(),
            settled=self._settled,
            ledger=spot_ledger_of(own, specs) if self._scenario.kind == "spot" else own,
            requests=tuple(self.watch.requests),
            audit=audit,
            audit_unreadable=unreadable,
            node_view=node_view(self._folder / "state", audit),
            trade_walls=dict(self.watch.trade_walls),
            forecasts=self._forecasts,
            marks=tuple(self.watch.marks),
            told=() if self._index is None else tuple(self._index.told),
            mood_due_ms=0 if self._index is None else self._index.due_ms,
            commands=tuple(self._operator.commanded),
        )
