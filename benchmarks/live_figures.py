"""What a live node under load has done, in figures: as the venue saw it, and by what the node wrote down."""

import json
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

__all__ = ["Closes", "Samples", "Venue", "closes_of", "figures", "node_closes", "table"]

PLACES = (1, 5, 10, 20)
ONE_CLOSE_NS = 1_000_000_000  # bars that close within it close together
CAUSED_ROLES = frozenset({"entry", "add", "exit"})

type Closes = list[list[float]]
type Rows = list[tuple[str, str]]


@dataclass
class Samples:
    """One row a look: seconds since the node trades, its memory and CPU, and how far anyone is behind.

    `began` is when that was (ns UTC).
    """

    began: int
    secs: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    cpu_secs: list[float] = field(default_factory=list)
    venue_cpu_secs: list[float] = field(default_factory=list)
    venue_lag_ms: list[float] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)


@dataclass
class Venue:
    """What the venue saw: its market events, market orders and refusals, and how late the orders were."""

    events: int
    orders: int
    refused: Counter[str]
    closes: Closes


# -- what the node wrote down --------------------------------------------------------------------------------


def _records(state: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(state.glob("audit/*.jsonl")):
        yield from map(json.loads, path.read_bytes().splitlines())


def node_closes(state: Path, began: int = 0) -> Closes:
    """Milliseconds from the receipt of a bar to the first order it caused: of each close, in their order.

    Of bars that were received from `began` (ns UTC) on: a start's first close has other work beside it.
    """
    received: dict[str, list[int]] = {}
    sent: dict[tuple[str, int], int] = {}
    orders = []
    for record in _records(state):
        detail, name = record["detail"], record["instrument"]
        if record["kind"] == "bar":
            received.setdefault(name, []).append(detail["received"])
        elif detail.get("event") == "OrderSubmitted" and detail["role"] in CAUSED_ROLES:
            orders.append((name, detail["ts_init"]))
    for name, at in orders:  # the bus tells who records of a bar before or after who trades on it
        bars = received.get(name, [])
        place = bisect_right(bars, at) - 1
        if place >= 0 and at - bars[place] < ONE_CLOSE_NS:
            sent.setdefault((name, bars[place]), at)
    return closes_of((at, (at - bar) / 1e6) for (_, bar), at in sent.items() if bar >= began)


def closes_of(sent: Iterable[tuple[int, float]]) -> Closes:
    """(When in ns, how late) of orders, by the close that brought them."""
    closes: Closes = []
    began = -ONE_CLOSE_NS
    for at, late in sorted(sent):
        if at - began >= ONE_CLOSE_NS:
            began = at
            closes.append([])
        closes[-1].append(late)
    return closes


def bar_delays_ms(state: Path, speed: float, began: int = 0) -> list[float]:
    """How long after a bar's end (market time is wall time at speed 1) the node had written it down."""
    if speed != 1.0:
        return []
    bars = (r for r in _records(state) if r["kind"] == "bar" and r["wall"] >= began)
    return [(r["wall"] - r["ts"]) / 1e6 for r in bars]


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


# -- the table -----------------------------------------------------------------------------------------------


def spread(late_ms: Sequence[float]) -> str:
    """Median, 99th percentile and the longest of some times."""
    if not late_ms:
        return "none"
    p50, p99 = np.percentile(late_ms, [50, 99])
    return f"{p50:.2f} / {p99:.2f} / {max(late_ms):.2f} ms of {len(late_ms)}"


def _queue(where: str, closes: Closes, *, is_one: bool) -> Rows:
    """All orders of all closes; where they close in one instant the first, the fifth ... of each as well."""
    told = [(f"{where}, all of a close", spread([late for close in closes for late in close]))]
    for place in PLACES if is_one else ():
        reached = [close[place - 1] for close in closes if len(close) >= place]
        if reached:
            told.append((f"  number {place} in the queue", spread(reached)))
    return told


def _machine(rows: Samples) -> Rows:
    secs = rows.secs[-1] - rows.secs[0]
    half = len(rows.secs) // 2
    slope = np.polyfit(rows.secs[half:], rows.rss_mib[half:], 1)[0] * 3600.0 if half > 2 else np.nan
    memory = " / ".join(f"{rows.rss_mib[i]:.0f}" for i in (0, half, -1))
    return [
        ("node memory, first / middle / last", f"{memory} MiB"),
        ("its growth over the second half", f"{slope:+.1f} MiB/h"),
        ("node CPU", f"{(rows.cpu_secs[-1] - rows.cpu_secs[0]) / secs:.0%} of a core"),
        ("venue CPU", f"{(rows.venue_cpu_secs[-1] - rows.venue_cpu_secs[0]) / secs:.0%} of a core"),
        ("venue behind its clock, p99", f"{np.percentile(rows.venue_lag_ms, 99):.0f} ms"),
        ("sockets with unsent messages, p99", f"{np.percentile(rows.unsent, 99):.0f}"),
    ]


def figures(rows: Samples, venue: Venue, state: Path, speed: float, *, is_one: bool = True) -> Rows:
    """What was measured and how much it was; latencies as p50 / p99 / max.

    `is_one`: all symbols close in one instant, so that there is a queue.
    """
    secs = rows.secs[-1] - rows.secs[0]
    return [
        ("seconds", f"{secs:.0f}"),
        ("market events", f"{venue.events:,} ({venue.events / secs:,.0f}/s)"),
        *_machine(rows),
        ("market orders", f"{venue.orders}; errors answered: {dict(venue.refused) or 'none'}"),
        *_queue("bar received to order sent, in the node", node_closes(state, rows.began), is_one=is_one),
        ("  by the node's own histogram, since its start", node_latency(state)),
        *_queue("bar closed to order, at the venue", venue.closes, is_one=is_one),
        ("bar's end to its record", spread(bar_delays_ms(state, speed, rows.began))),
        ("load of the machine", f"{os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"),
    ]


def table(title: str, told: Rows) -> Table:
    """What was measured, one row each."""
    made = Table(title=title)
    made.add_column("what")
    made.add_column("figure", justify="right")
    for row in told:
        made.add_row(*row)
    return made
