"""A live node under load on the rehearsal venue: `python -m benchmarks.live_load [--symbols 20 --rate 200]`.

    python -m benchmarks.live_load                      20 symbols, 200 quotes a second each, 10 minutes
    python -m benchmarks.live_load --symbols 1 --rate 0.4 --speed 600 --minutes 17      seven days of market

The venue runs in this process, the node in its own. Every symbol trades in and out with one-minute momentum,
so each close brings decisions and orders. Told: memory, CPU, how far the node and the venue fall behind, and
the time from a bar's close leaving the venue to the order that answers it. Nothing here is asserted.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from rich.table import Table

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
QUOTES_A_TRADE = 20
ONE_CLOSE_NS = 1_000_000_000  # bars that close within it close together
BEGIN_MS = utc_ns(datetime(2025, 1, 1, tzinfo=UTC)) // 1_000_000


@dataclass
class Stopwatch:
    """Hears the venue: when each symbol's bar closed, and how long after that its next order came.

    `late_ms` has a list for each time at which bars closed, its orders in the order in which they came.
    """

    closed_ns: dict[str, int] = field(default_factory=dict)
    late_ms: list[list[float]] = field(default_factory=list)
    began_ns: int = 0
    orders: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def on_feed(self, event: MarketEvent) -> None:
        if isinstance(event, Kline) and event.closed:
            self.closed_ns[event.symbol] = now = time.perf_counter_ns()
            if not self.late_ms or now - self.began_ns > ONE_CLOSE_NS:
                self.began_ns = now
                self.late_ms.append([])

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> None:
        is_order = path in ("order.place", "/fapi/v1/order") and method in ("WS", "POST")
        if not is_order or params.get("type") != "MARKET":
            return
        self.orders += 1
        closed = self.closed_ns.pop(str(params["symbol"]), None)  # only the first order after a close
        if closed is not None and self.late_ms:
            self.late_ms[-1].append((time.perf_counter_ns() - closed) / 1e6)

    def on_answer(
        self, method: str, path: str, params: Mapping[str, str], status: int, body: Any, *, faulted: bool
    ) -> None:
        del method, params, faulted
        if status >= 400:
            self.refused[f"{path} {body.get('code')}"] += 1

    def on_event(self, event: Any) -> None:
        """User events are counted by nobody here."""


@dataclass
class Samples:
    """One row a look: seconds since the node trades, its memory and CPU, and how far anyone is behind."""

    secs: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    cpu_secs: list[float] = field(default_factory=list)
    venue_cpu_secs: list[float] = field(default_factory=list)
    venue_lag_ms: list[float] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)


def run_file(folder: Path, symbols: Sequence[str]) -> Path:
    """Momentum without thresholds on every symbol, out after two bars, limits out of the way."""
    strategies = [
        {
            "use": "momentum_leverage",
            "name": f"m{number}",
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
        for number, symbol in enumerate(symbols)
    ]
    run = {
        "name": "live_load",
        "data": {
            "catalog": str(folder / "none"),
            "bar": "1m",
            "start": "2025-01-01T00:00:00Z",
            "test_start": "2025-02-01T00:00:00Z",
            "end": "2025-03-01T00:00:00Z",
        },
        "strategies": strategies,
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
    rows, began, node, venue = Samples(), time.monotonic(), psutil.Process(pid), psutil.Process()
    watch.late_ms.clear()
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


def bar_delays_ms(state: Path, speed: float) -> list[float]:
    """How long after a bar's end (market time is wall time at speed 1) the node had written it down."""
    if speed != 1.0:
        return []
    lines = b"".join(path.read_bytes() for path in sorted(state.glob("audit/*.jsonl"))).splitlines()
    records = (json.loads(line) for line in lines)
    return [(r["wall"] - r["ts"]) / 1e6 for r in records if r["kind"] == "bar"]


def node_latency(state: Path) -> str:
    """The node's own histogram, receipt of a bar to the order's submission: bounds of p50 and p99."""
    values = json.loads((state / "metrics.json").read_text())["values"]
    name = 'sextant_tick_to_order_seconds_bucket{le="'
    buckets = sorted(
        (float(key.removeprefix(name).rstrip('"}')), count)
        for key, count in values.items()
        if key.startswith(name)
    )
    total = buckets[-1][1]
    if not total:
        return "no order"
    p50, p99 = (next(le for le, count in buckets if count >= share * total) * 1e3 for share in (0.5, 0.99))
    within = next(count for le, count in buckets if le >= 0.005) / total
    return f"p50 <= {p50:g} ms, p99 <= {p99:g} ms, {within:.1%} within 5 ms of {total:.0f}"


async def trading(state: Path, process: asyncio.subprocess.Process) -> None:
    """Wait until the node hears bars."""
    deadline = time.monotonic() + START_SECS
    while not any(b'"kind":"bar"' in path.read_bytes() for path in state.glob("audit/*.jsonl")):
        if process.returncode is not None or time.monotonic() > deadline:
            raise SystemExit("the node did not start; see its log above")
        await asyncio.sleep(0.5)


async def play(arguments: argparse.Namespace, folder: Path) -> None:
    """Start both, look, end both, and tell."""
    symbols = list(shipped_specs("um"))[: arguments.symbols]
    session, watch = make_session(symbols, arguments.rate, arguments.speed, arguments.minutes), Stopwatch()
    feed = session.server.feed

    def timed(event: MarketEvent) -> None:
        watch.on_feed(event)
        feed(event)

    session.server.feed = timed  # type: ignore[method-assign]
    session.server.watch(watch)
    await session.start()
    moving = asyncio.create_task(session.run())
    state, log = folder / "state", folder / "node.log"
    process = await node_process(session, run_file(folder, symbols), state, log)
    try:
        await trading(state, process)
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
    show(arguments, rows, watch, told, bar_delays_ms(state, arguments.speed), node_latency(state))


def spread(late_ms: Sequence[float]) -> str:
    """Median, 99th percentile and the longest of some times."""
    if not late_ms:
        return "none"
    p50, p99 = np.percentile(late_ms, [50, 99])
    return f"{p50:.2f} / {p99:.2f} / {max(late_ms):.2f} ms of {len(late_ms)}"


def show(
    arguments: argparse.Namespace,
    rows: Samples,
    watch: Stopwatch,
    told: int,
    delays: Sequence[float],
    latency: str,
) -> None:
    """The figures."""
    secs = rows.secs[-1] - rows.secs[0]
    table = Table(
        title=f"{arguments.symbols} symbols, {arguments.rate:g} quotes/s each, speed {arguments.speed:g}"
    )
    table.add_column("what")
    table.add_column("figure", justify="right")
    closes = [close for close in watch.late_ms if close]
    half = len(rows.secs) // 2
    slope = np.polyfit(rows.secs[half:], rows.rss_mib[half:], 1)[0] * 3600.0 if half > 2 else np.nan
    figures = {
        "seconds": f"{secs:.0f}",
        "market events": f"{told:,} ({told / secs:,.0f}/s)",
        "node memory, first / middle / last": " / ".join(f"{rows.rss_mib[i]:.0f}" for i in (0, half, -1))
        + " MiB",
        "its growth over the second half": f"{slope:+.1f} MiB/h",
        "node CPU": f"{(rows.cpu_secs[-1] - rows.cpu_secs[0]) / secs:.0%} of a core",
        "venue CPU": f"{(rows.venue_cpu_secs[-1] - rows.venue_cpu_secs[0]) / secs:.0%} of a core",
        "venue behind its clock, p99": f"{np.percentile(rows.venue_lag_ms, 99):.0f} ms",
        "sockets with unsent messages, p99": f"{np.percentile(rows.unsent, 99):.0f}",
        "market orders": f"{watch.orders}; errors answered: {dict(watch.refused) or 'none'}",
        "bar received to order sent, in the node": latency,
        "at the venue, p50 / p99 / max": spread([late for close in closes for late in close]),
        "the first order of a close": spread([close[0] for close in closes]),
        "the last one, after all before it": spread([close[-1] for close in closes]),
    }
    if delays:
        figures["bar's end to its record, p50 / p99"] = (
            f"{np.percentile(delays, 50):.0f} / {np.percentile(delays, 99):.0f} ms"
        )
    for name, figure in figures.items():
        table.add_row(name, figure)
    table.add_row("load of the machine", f"{os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    out.print(table)


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
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sextant-load-") as folder:
        asyncio.run(play(arguments, Path(folder)))


if __name__ == "__main__":
    main()
