"""What is wrong or odd in a catalog: gaps, duplicates, impossible bars, dead stretches, jumps.

    python catalog/quality.py --catalog DIR [--json]

Errors (exit code 1) are data that cannot be right: duplicates, times out of order or off the interval's
grid, a high below the body or a low above it, bars whose decimals differ from their instrument's. Notices
(exit code 0) are what real markets do have: gaps, runs without volume, jumps.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import typer
from numpy.typing import NDArray
from rich.table import Table

from catalog.arrow import bars_from_table, times_of
from catalog.columns import BarColumns, interval_ns, utc_text
from catalog.sentiment import find_bad_sentiment, missing_days, sentiment_from_table
from catalog.series import Series
from catalog.store import Catalog, grids
from configs.console import command_app, emit_json, out, run_app, status
from configs.errors import DataError

__all__ = ["Finding", "SeriesReport", "check_bar_columns", "check_catalog"]

_MAD_TO_SIGMA = 1.4826  # of a normal distribution
_WINDOW_BARS = 1000
_LEAST_BARS = 50
_MOST_PLACES = 100
_FUNDING_STEP_NS = 8 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of defect in one series: how many, and where (UTC) with what, the gravest first."""

    check: str
    severity: Literal["error", "notice"]
    count: int
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """One series, its extent and what was found; `dataset_hash` is None where there is no one data set."""

    instrument: str
    kind: str
    interval: str | None
    rows: int
    start: str
    end: str
    dataset_hash: str | None
    findings: tuple[Finding, ...]


def check_catalog(
    catalog: Catalog, *, zero_run_bars: int = 3, jump_sigmas: float = 20.0
) -> list[SeriesReport]:
    """Look through every series of a catalog; see `check_bar_columns` for the two limits.

    DataError when the catalog holds no series at all: more likely a wrong path than a clean bill.
    """
    limits = {"zero_run_bars": zero_run_bars, "jump_sigmas": jump_sigmas}
    reports = [_check_bars(catalog, name, interval, **limits) for name, interval in catalog.stored_bars()]
    for folder in sorted(catalog.path.glob("sextant/funding/*")):
        reports += _check_other(catalog.funding_series(folder.name), folder.name, "funding", None)
    for folder in sorted(catalog.path.glob("sextant/mark/*")):
        name, _, interval = folder.name.rpartition("-")
        reports += _check_other(catalog.mark_series(name, interval), name, "mark", interval)
    reports += [
        _check_sentiment(catalog, folder.name)
        for folder in sorted(catalog.path.glob("sextant/sentiment/*"))
        if catalog.sentiment_series(folder.name).files()
    ]
    if not reports:
        raise DataError(f"{catalog.path} holds no market data; ingest or download some, or correct --catalog")
    return reports


def check_bar_columns(
    bars: BarColumns, interval: str, *, zero_run_bars: int = 3, jump_sigmas: float = 20.0
) -> list[Finding]:
    """The findings for bars whose times increase.

    A run of at least `zero_run_bars` bars without volume is noticed. A jump is a close-to-close log
    return (not across a gap) beyond `jump_sigmas` robust sigmas: 1.4826 times the median absolute return
    of the 1,000 bars before it, and at least half of the whole series' value.
    """
    length = interval_ns(interval)
    found = [
        _finding("unaligned", "error", _times(bars.ts_event[bars.ts_event % length != 0] - length)),
        _finding("ohlc", "error", _impossible(bars, length)),
        _finding("gap", "notice", _gaps(bars.ts_event, length)),
        _finding("zero volume", "notice", _zero_runs(bars, length, zero_run_bars)),
        _finding("jump", "notice", _jumps(bars, length, jump_sigmas)),
    ]
    return [finding for finding in found if finding.count]


def _check_bars(catalog: Catalog, name: str, interval: str, **limits: Any) -> SeriesReport:
    length = interval_ns(interval)
    table, findings = _in_order(catalog.bar_series(name, interval), length)
    findings += _precision(catalog, name, table)
    bars = bars_from_table(table)
    findings += check_bar_columns(bars, interval, **limits)
    broken = any(finding.check in {"duplicate", "precision"} for finding in findings)
    first, last = int(bars.ts_event[0]) - length, int(bars.ts_event[-1])
    digest = None if broken else catalog.dataset_hash(name, interval, first, last)
    return SeriesReport(
        name, "klines", interval, len(bars), utc_text(first), utc_text(last), digest, tuple(findings)
    )


def _check_other(series: Series, name: str, kind: str, interval: str | None) -> Iterator[SeriesReport]:
    """Funding rates and mark prices: order and gaps."""
    if not series.files():
        return
    length = interval_ns(interval) if interval else 0
    table, findings = _in_order(series, length)
    times = times_of(table)
    gaps = _finding("gap", "notice", _gaps(times, length or _FUNDING_STEP_NS, exact=bool(length)))
    findings += [gaps] if gaps.count else []
    start, end = utc_text(times[0] - length), utc_text(times[-1])
    yield SeriesReport(name, kind, interval, len(times), start, end, None, tuple(findings))


def _check_sentiment(catalog: Catalog, name: str) -> SeriesReport:
    """A daily index: order, range and missing days."""
    table, findings = _in_order(catalog.sentiment_series(name), 0)
    columns = sentiment_from_table(table)
    problem = find_bad_sentiment(columns)
    found = [
        _finding("range", "error", [] if problem is None else [problem.text]),
        _finding("gap", "notice", missing_days(columns)),
    ]
    findings += [finding for finding in found if finding.count]
    broken = any(finding.severity == "error" for finding in findings)
    digest = None if broken else catalog.sentiment_hash(name)
    start, end = utc_text(columns.date[0]), utc_text(columns.date[-1])
    return SeriesReport(name, "sentiment", None, len(columns), start, end, digest, tuple(findings))


def _in_order(series: Series, length: int) -> tuple[pa.Table, list[Finding]]:
    """The series' rows in order with each time once, and what had to be mended for that."""
    parts = [part for part in series.parts() if part.num_rows]
    if not parts:
        raise DataError(f"{series.folder} holds a file without rows; delete it and ingest again")
    table = pa.concat_tables(parts, promote_options="none") if len(parts) > 1 else parts[0]
    times = times_of(table)
    back = np.flatnonzero(np.diff(times) < 0) + 1
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    again = np.concatenate([[False], ordered[1:] == ordered[:-1]])
    found = [
        _finding("order", "error", _times(times[back] - length)),
        _finding("duplicate", "error", _times(ordered[again] - length)),
    ]
    if len(back) or again.any():
        table = table.take(pa.array(order[~again]))
    return table, [finding for finding in found if finding.count]


def _precision(catalog: Catalog, name: str, table: pa.Table) -> list[Finding]:
    """Decimals of the bars and of the instrument must agree: else the engine fills no order, silently."""
    if name not in catalog.instrument_ids():
        return [Finding("precision", "error", 1, ("the catalog has no such instrument",))]
    metadata = table.schema.metadata or {}
    stored = tuple(int(metadata.get(key, b"-1")) for key in (b"price_precision", b"size_precision"))
    wanted = tuple(grid.precision for grid in grids(catalog.instrument(name)))
    if stored == wanted:
        return []
    return [
        Finding(
            "precision",
            "error",
            1,
            (f"price, size decimals {stored} in the bars, {wanted} in the instrument",),
        )
    ]


def _finding(check: str, severity: Literal["error", "notice"], places: list[str]) -> Finding:
    return Finding(check, severity, len(places), tuple(places[:_MOST_PLACES]))


def _times(times: NDArray[np.int64]) -> list[str]:
    return [utc_text(time) for time in times]


def _impossible(bars: BarColumns, length: int) -> list[str]:
    body_top, body_bottom = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    rows = np.flatnonzero((bars.high < body_top) | (bars.low > body_bottom))
    return [
        f"{utc_text(bars.ts_event[row] - length)}: open {bars.open[row]:g} high {bars.high[row]:g} "
        f"low {bars.low[row]:g} close {bars.close[row]:g}"
        for row in rows
    ]


def _gaps(times: NDArray[np.int64], length: int, *, exact: bool = True) -> list[str]:
    """Missing stretches, longest first; unless `exact`, only steps longer than `length` count."""
    steps = np.diff(times)
    rows = np.flatnonzero(steps > length)
    rows = rows[np.argsort(-steps[rows], kind="stable")]
    places = []
    for row in rows:
        begin, end = (times[row], times[row + 1] - length) if exact else (times[row], times[row + 1])
        missing = f" ({steps[row] // length - 1:,} bars)" if exact else ""
        places.append(f"{utc_text(begin)} to {utc_text(end)}{missing}")
    return places


def _zero_runs(bars: BarColumns, length: int, least: int) -> list[str]:
    """Runs of bars without volume, longest first; a gap ends a run."""
    zero = bars.volume == 0
    joined = np.concatenate([[False], np.diff(bars.ts_event) == length])
    starts = np.flatnonzero(zero & ~(np.concatenate([[False], zero[:-1]]) & joined))
    follows = np.concatenate([zero[1:] & joined[1:], [False]])
    ends = np.flatnonzero(zero & ~follows)
    sizes = ends - starts + 1
    order = np.argsort(-sizes, kind="stable")
    opens, closes = bars.ts_event[starts] - length, bars.ts_event[ends]
    return [
        f"{utc_text(opens[i])} to {utc_text(closes[i])} ({sizes[i]:,} bars)"
        for i in order
        if sizes[i] >= least
    ]


def _jumps(bars: BarColumns, length: int, limit: float) -> list[str]:
    returns = np.diff(np.log(bars.close))
    returns[np.diff(bars.ts_event) != length] = np.nan
    size = pd.Series(np.abs(returns))
    known = size.dropna()
    if len(known) < _LEAST_BARS:
        return []
    floor = _MAD_TO_SIGMA * float(known.median()) / 2 or float(known.std())
    sigma = _MAD_TO_SIGMA * size.rolling(_WINDOW_BARS, min_periods=_LEAST_BARS).median().shift(1)
    scores: NDArray[np.float64] = (size / np.maximum(sigma.fillna(2 * floor), floor)).to_numpy()
    rows = np.flatnonzero(scores > limit)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    opens = bars.ts_event[1:] - length
    return [
        f"{utc_text(opens[row])}: {np.expm1(returns[row]):+.2%} ({scores[row]:.0f} sigmas)" for row in rows
    ]


app = command_app("Check a catalog for gaps, duplicates, impossible bars, dead stretches and jumps.")


@app.command()
def main(
    catalog: Annotated[Path, typer.Option(help="The catalog's folder.")],
    zero_run: Annotated[int, typer.Option(min=1, help="Bars without volume in a row that are noticed.")] = 3,
    jump: Annotated[float, typer.Option(min=1, help="Robust sigmas from which a return is a jump.")] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Check every series of a catalog.

    Exit code 0: clean, or notices only. Exit code 1: errors, data that cannot be right.
    """
    with status(f"checking {catalog}", quiet=as_json):
        reports = check_catalog(Catalog.open(catalog), zero_run_bars=zero_run, jump_sigmas=jump)
    errors = sum(f.count for report in reports for f in report.findings if f.severity == "error")
    notices = sum(f.count for report in reports for f in report.findings if f.severity == "notice")
    if as_json:
        rows = [asdict(report) for report in reports]
        emit_json({"catalog": catalog, "errors": errors, "notices": notices, "series": rows})
    else:
        _show(reports)
        out.print(f"{len(reports)} series, {errors} errors, {notices} notices", highlight=False)
    return 1 if errors else 0


def _show(reports: list[SeriesReport]) -> None:
    table = Table("instrument", "series", "rows", "from", "to", "found", "count", "where (gravest first)")
    for report in reports:
        series = " ".join(filter(None, (report.interval, report.kind)))
        head = (report.instrument, series, f"{report.rows:,}", report.start, report.end)
        for row in _rows(report.findings):
            if out.is_terminal:
                table.add_row(*head, *row)
            else:
                out.print(" | ".join((*head, *row)), markup=False, highlight=False)
            head = ("", "", "", "", "") if out.is_terminal else head
    if out.is_terminal and reports:
        out.print(table)


def _rows(findings: tuple[Finding, ...]) -> list[tuple[Any, ...]]:
    if not findings:
        return [("clean", "", "")]
    return [(f"{f.severity}: {f.check}", f"{f.count:,}", "; ".join(f.places[:3])) for f in findings]


if __name__ == "__main__":
    run_app(app)
