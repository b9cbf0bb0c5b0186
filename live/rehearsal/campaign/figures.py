"""How long positions were without a stop, over many scenarios: quantiles by what was going on, as a table.

A sample is one time in which a position had no stop at the venue for all of it, from the fill that began it
until a stop worked or the position was gone. A fill that a working stop covers at once is no sample: the
quantiles are of exposed fills only.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from live.rehearsal.campaign.evidence import Bare

__all__ = [
    "FEWEST",
    "KILL",
    "NO_FAULT",
    "TARGET_SECS",
    "Row",
    "by_class",
    "cells",
    "quantile",
    "rows",
    "to_markdown",
]

TARGET_SECS = 0.25
NO_FAULT = "no fault"
KILL = "around a kill"
FEWEST = {0.5: 1, 0.95: 20, 0.99: 100}  # times below which a quantile would be the longest one again
_HEAD = ("class", "p50 ms", "p95 ms", "p99 ms", "longest ms (of n times)", "under 250 ms")


class Row(NamedTuple):
    """One class: how many times, quantiles and the longest in seconds, and the share below the target.

    `share` is in [0, 1]. Without a time all numbers but the count are NaN, as is a quantile of too few times
    (`FEWEST`).
    """

    name: str
    times: int
    p50: float
    p95: float
    p99: float
    longest: float
    share: float


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); NaN without values.

    >>> quantile([0.3, 0.1, 0.2, 0.4], 0.5)
    0.2
    """
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked) - 1e-9) - 1)]


def by_class(times: Iterable[Bare]) -> dict[str, list[float]]:
    """Seconds by class: no fault; around a kill; and each fault alone, or all that were at work together.

    A time around a kill counts there and nowhere else: it is as long as nobody starts the node again.
    """
    found: dict[str, list[float]] = {NO_FAULT: []}
    for bare in times:
        name = KILL if bare.had_kill else " + ".join(bare.fault_kinds) or NO_FAULT
        found.setdefault(name, []).append(bare.secs)
    return found


def rows(times: Iterable[Bare], *, most_kinds: int = 1) -> list[Row]:
    """The table: no fault, each fault class by name, combinations, kills, and everything.

    Combinations of more than `most_kinds` faults are one class, "several faults".
    """
    classes: dict[str, list[float]] = {}
    for name, secs in by_class(times).items():
        several = name.count(" + ") >= most_kinds
        classes.setdefault("several faults" if several else name, []).extend(secs)
    order = sorted(classes, key=lambda name: (name != NO_FAULT, name == KILL, name == "several faults", name))
    everything = [secs for values in classes.values() for secs in values]
    return [_row(name, classes[name]) for name in order] + [_row("all", everything)]


def to_markdown(table: Iterable[Row], totals: Mapping[str, object] | None = None) -> str:
    """The table for a document; `totals` are further lines, name and value, under it."""
    lines = [_line(_HEAD), _line(("---", *("---:",) * (len(_HEAD) - 1)))]
    lines += [_line(cells(row)) for row in table]
    lines += ["", *(f"- {name}: {value}" for name, value in totals.items())] if totals else []
    return "\n".join(lines) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """A row as text: name, p50, p95, p99, the longest with how many times there were, the share."""
    share = "-" if math.isnan(row.share) else f"{100.0 * row.share:.1f} %"
    quantiles = (_ms(secs) for secs in (row.p50, row.p95, row.p99))
    return (row.name, *quantiles, f"{_ms(row.longest)} ({row.times})", share)


def _row(name: str, secs: Sequence[float]) -> Row:
    share = sum(value < TARGET_SECS for value in secs) / len(secs) if secs else math.nan
    longest = max(secs, default=math.nan)
    p50, p95, p99 = (quantile(secs, q) if len(secs) >= n else math.nan for q, n in FEWEST.items())
    return Row(name, len(secs), p50, p95, p99, longest, share)


def _ms(secs: float) -> str:
    if math.isnan(secs):
        return "-"
    ms = 1000.0 * secs
    return f"{ms:.1f}" if ms < 100.0 else f"{ms:,.0f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
