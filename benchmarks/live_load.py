"""A live node under load on the rehearsal venue: `python -m benchmarks.live_load [--symbols 20 --rate 200]`.

    python -m benchmarks.live_load                      20 symbols, 200 quotes a second each, 10 minutes
    python -m benchmarks.live_load --symbols 1 --rate 0.4 --speed 600 --minutes 17      seven days of market
    python -m benchmarks.live_load --spread 1           the closes of the symbols told over a second

The venue runs in this process, the node in its own. Every symbol trades in and out with one-minute momentum,
so each close brings decisions and orders. Told: memory, CPU, how far the node and the venue fall behind, and
the time from a bar to its order, in the node and as the venue sees it: over all symbols, and by the place in
the queue of one close. All symbols close in one instant and are worked off one after the other, unless
`--spread` has the venue tell each symbol's klines a little later than the one before. It is looked at once
venue and node have caught up with the clock and the first close is over. Nothing here is asserted.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.live_figures import Samples, Venue, closes_of, figures, table
from catalog.columns import utc_ns
from catalog.instruments import find_spec, instrument_name, shipped_specs
from configs.console import out
from live.rehearsal.book import Kline, MarketEvent
from live.rehearsal.market.feeds import SyntheticFeed
from live.rehearsal.market.replay import MarketSettings
from live.rehearsal.serving.demo_keys import demo_keys
from live.rehearsal.session import Plan, Session
from live.rehearsal.specs import SymbolSpec
from live.venues import REHEARSAL_SEED

ROOT = Path(__file__).parents[1]
HISTORY_MINUTES = 1_500
LOOK_SECS = 2.0
START_SECS = 180.0
BEHIND_SECS = 0.5  # nearer to its clock than that the venue has caught up
QUOTES_A_TRADE = 20
BEGIN_MS = utc_ns(datetime(2025, 1, 1, tzinfo=UTC)) // 1_000_000


@dataclass
class Stopwatch:
    """Hears the venue: when each symbol's bar closed, and how long after that its next order came.

    `late` has when (ns) each first order after a close came, and how late in ms.
    """

    closed_ns: dict[str, int] = field(default_factory=dict)
    late: list[tuple[int, float]] = field(default_factory=list)
    orders: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def on_feed(self, event: MarketEvent) -> None:
        if isinstance(event, Kline) and event.closed:
            self.closed_ns[event.symbol] = time.perf_counter_ns()

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> None:
        is_order = path in ("order.place", "/fapi/v1/order") and method in ("WS", "POST")
        if not is_order or params.get("type") != "MARKET":
            return
        self.orders += 1
        closed = self.closed_ns.pop(str(params["symbol"]), None)  # only the first order after a close
        if closed is not None:
            now = time.perf_counter_ns()
            self.late.append((now, (now - closed) / 1e6))

    def on_answer(
        self, method: str, path: str, params: Mapping[str, str], status: int, body: Any, *, faulted: bool
    ) -> None:
        del method, params, faulted
        if status >= 400:
            self.refused[f"{path} {body.get('code')}"] += 1

    def on_event(self, event: Any) -> None:
        """User events are counted by nobody here."""


def strategy(name: str, symbol: str) -> dict[str, Any]:
    """Momentum without thresholds, out after two bars."""
    return {
        "use": "momentum_leverage",
        "name": name,
        "instrument": instrument_name(symbol, "um"),
        "signal": {
            "min_strength": 0.01,
            "full_strength": 2.0,
            "min_volatility_ratio": 0.01,
            "max_volatility_ratio": 10.0,
            "require_breakout": False,
        },
        "sizing": {"risk_per_trade_pct": 0.05, "confidence_weighted": False, "max_position_pct": 2.0},
        "stop": {"pct": 2.0},
        "targets": {"pct": 5.0},
        "time": {"max_bars": 2},
    }


def run_file(folder: Path, symbols: Sequence[str]) -> Path:
    """A strategy on every symbol, with the limits out of the way."""
    run = {
        "name": "live_load",
        "data": {
            "catalog": str(folder / "none"),
            "bar": "1m",
            "start": "2025-01-01T00:00:00Z",
            "test_start": "2025-02-01T00:00:00Z",
            "end": "2025-03-01T00:00:00Z",
        },
        "strategies": [strategy(f"m{number}", symbol) for number, symbol in enumerate(symbols)],
        "risk": {
            "position": {"max_positions": 100, "max_open_orders": 500},
            "day": {"loss_streak": None, "max_loss_pct": None},
            "portfolio": {"max_cluster_risk_pct": 100.0},
            "performance": {"min_trades": 100_000, "window": 100_000},
            "kill_switch": {"stale_data_pause_secs": None, "max_rejections": None},
        },
        "venue": {"starting_balance": 1_000_000.0, "leverage": 5.0},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def make_session(symbols: Sequence[str], rate: float, speed: float, minutes: float) -> Session:
    """A venue of seeded synthetic markets that sends `rate` quotes a second of its market time a symbol."""
    days = 2 + int(minutes * speed / 1440)
    feeds = [SyntheticFeed(symbol, BEGIN_MS, days, REHEARSAL_SEED) for symbol in symbols]
    quotes = max(1, min(QUOTES_A_TRADE, round(rate * 60)))
    settings = MarketSettings(
        trades_a_minute=max(1, round(rate * 60 / quotes)),
        quotes_a_trade=quotes,
        depth_quote=1_000_000.0,
        levels=1,
    )
    plan = Plan(
        feeds=feeds,
        specs=[SymbolSpec.from_catalog(find_spec(symbol, "um")) for symbol in symbols],
        keys=demo_keys(REHEARSAL_SEED).ring,
        market=settings,
        speed=speed,
        now=True,
        history=HISTORY_MINUTES,
        balances={"USDT": Decimal(1_000_000)},
    )
    return Session(plan)


async def node_process(session: Session, run: Path, state: Path, log: Path) -> asyncio.subprocess.Process:
    """The node, pointed at the venue."""
    server = session.server
    settings = {
        "base_url_http": server.http_url,
        "base_url_ws": server.ws_url,
        "base_url_ws_trading": server.ws_api_url,
    }
    options = [text for name, value in settings.items() for text in ("--set", f"live.{name}={value}")]
    with log.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "live" / "node.py"),
            str(run),
            "--state",
            str(state),
            *options,
            stdout=file,
            stderr=file,
            cwd=ROOT,
        )


async def sample(session: Session, pid: int, secs: float, watch: Stopwatch) -> Samples:
    """Look every few seconds until the time is over or the node is gone."""
    rows, began = Samples(time.time_ns()), time.monotonic()
    node, venue = psutil.Process(pid), psutil.Process()
    watch.late.clear()
    while (now := time.monotonic() - began) < secs and node.is_running():
        times, own = node.cpu_times(), venue.cpu_times()
        rows.secs.append(now)
        rows.rss_mib.append(node.memory_info().rss / 2**20)
        rows.cpu_secs.append(times.user + times.system)
        rows.venue_cpu_secs.append(own.user + own.system)
        rows.venue_lag_ms.append(session.lag_ms)
        rows.unsent.append(sum(not socket.idle for socket in session.server.hub.sockets))
        await asyncio.sleep(LOOK_SECS)
    return rows


async def caught_up(session: Session) -> None:
    """Wait until the market, which was made before it begins to move, is where its clock is."""
    deadline = time.monotonic() + START_SECS
    while True:
        await asyncio.sleep(LOOK_SECS)
        if session.lag_ms <= BEHIND_SECS * 1e3 * session.plan.speed:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"the venue is {session.lag_ms / 1e3:.0f} s behind: use a lower --rate")


async def trading(state: Path, process: asyncio.subprocess.Process) -> None:
    """Wait until the node hears bars."""
    deadline = time.monotonic() + START_SECS
    while not any(b'"kind":"bar"' in path.read_bytes() for path in state.glob("audit/*.jsonl")):
        if process.returncode is not None or time.monotonic() > deadline:
            raise SystemExit("the node did not start; see its log above")
        await asyncio.sleep(0.5)


def told_late(
    session: Session, symbols: Sequence[str], secs: float, tell: Callable[[MarketEvent], None]
) -> Callable[[MarketEvent], None]:
    """A feed whose klines come over so many seconds, each symbol's a little after those of the one before."""
    delays = {symbol: secs * place / len(symbols) for place, symbol in enumerate(symbols)}
    loop = asyncio.get_running_loop()

    def feed(event: MarketEvent) -> None:
        if isinstance(event, Kline) and delays[event.symbol]:
            loop.call_later(delays[event.symbol], lambda: tell(event._replace(ts_ms=session.market_ms)))
        else:
            tell(event)

    return feed


async def play(arguments: argparse.Namespace, folder: Path) -> None:
    """Start both, look, end both, and tell."""
    symbols = list(shipped_specs("um"))[: arguments.symbols]
    session, watch = make_session(symbols, arguments.rate, arguments.speed, arguments.minutes), Stopwatch()
    feed = session.server.feed

    def timed(event: MarketEvent) -> None:
        watch.on_feed(event)
        feed(event)

    session.server.feed = told_late(session, symbols, arguments.spread, timed)  # type: ignore[method-assign]
    session.server.watch(watch)
    await session.start()
    moving = asyncio.create_task(session.run())
    await caught_up(session)
    state, log = folder / "state", folder / "node.log"
    process = await node_process(session, run_file(folder, symbols), state, log)
    try:
        await trading(state, process)
        await caught_up(session)
        events = session.events
        rows = await sample(session, process.pid, 60.0 * arguments.minutes, watch)
        told = session.events - events
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60.0)
        session.stop()
        await moving
        await session.close()
        sys.stdout.write(log.read_text()[-2_000:])
    seen = Venue(told, watch.orders, watch.refused, closes_of(watch.late))
    title = f"{arguments.symbols} symbols, {arguments.rate:g} quotes/s each, speed {arguments.speed:g}"
    title += f", closes told over {arguments.spread:g} s"
    out.print(table(title, figures(rows, seen, state, arguments.speed, is_one=not arguments.spread)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument(
        "--rate", type=float, default=200.0, help="quotes per second of market time and symbol"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of wall time")
    parser.add_argument("--speed", type=float, default=1.0, help="market seconds a second")
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which the closes are told")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sextant-load-") as folder:
        asyncio.run(play(arguments, Path(folder)))


if __name__ == "__main__":
    main()
