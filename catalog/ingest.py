"""Put market data and sentiment files that people already have into a catalog.

    python catalog/ingest.py PATH... --catalog DIR [--market um|spot] [--exchange-info FILE] [--replace]

Files of one series are read together, must not contradict each other, and are stored in one write. What
cannot be stored is left out, as a whole and with a line that says why: a file with a bad row, a series whose
instrument nobody knows. The exit code then is 1, or 2 when nothing was stored.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from catalog.columns import BarColumns, FundingColumns, find_off_grid, interval_ns, snap_funding, utc_text
from catalog.instruments import build_instrument, find_spec
from catalog.parse import Kind, locate, read_freqtrade, read_rest_json, read_vision_csv
from catalog.sentiment import SentimentColumns, missing_days, read_sentiment_csv
from catalog.sources import Hints, SeriesKey, Source, find_sources
from catalog.store import Catalog, Instrument, WriteResult, strict_grids
from catalog.tick_store import ingest_streams
from configs.console import command_app, emit_json, err, out, run_app, status
from configs.errors import DataError

__all__ = ["IngestResult", "Skipped", "ingest_paths", "read_vision_csv", "series_rows"]

Columns = BarColumns | FundingColumns | SentimentColumns
_READERS: dict[str, Callable[..., Columns]] = {
    "vision": read_vision_csv,
    "rest": read_rest_json,
    "freqtrade": read_freqtrade,
}
_MOST_LINES = 40
_FIGURES = ("files", "rows", "start", "end", "status", "added", "kept", "rounded")


@dataclass(frozen=True, slots=True)
class IngestResult:
    """One file whose rows are in the catalog now.

    `rows` are the file's, `start` and `end` (ns UTC) the open of its first bar and the close of its last one.
    `status`, `added`, `kept`, `rounded` are those of the one write of the whole series (see `WriteResult`).
    `notes` say in words what is odd about the file and was accepted.
    """

    path: Path
    instrument_id: str
    kind: Kind
    interval: str | None
    rows: int
    start: int
    end: int
    status: str
    added: int
    kept: int
    rounded: int
    filters_as_of: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is not in the catalog, and why: one file, or the `files` of a series."""

    files: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Job:
    """What holds for every file of one call."""

    catalog: Catalog
    exchange_info: Path | None
    replace: bool
    skip: Callable[[Skipped], None] | None

    def fail(self, error: DataError, files: int = 1, what: str = "") -> None:
        """Leave something out; where nobody is to hear of it, the error is raised."""
        if self.skip is None:
            raise error
        self.skip(Skipped(files, f"{what}{error}"))

    def instrument(self, key: SeriesKey) -> Instrument:
        """From the exchangeInfo file if one is given, else as stored, else from the shipped table."""
        if self.exchange_info is None and key.instrument_id in self.catalog.instrument_ids():
            return self.catalog.instrument(key.instrument_id)
        return build_instrument(find_spec(key.symbol, key.market, self.exchange_info))


def ingest_paths(
    paths: Iterable[str | Path],
    *,
    catalog: Catalog,
    fmt: str = "auto",
    symbol: str | None = None,
    market: str | None = None,
    interval: str | None = None,
    kind: Kind | None = None,
    exchange_info: Path | None = None,
    replace: bool = False,
    report: Callable[[IngestResult], None] | None = None,
    skip: Callable[[Skipped], None] | None = None,
) -> list[IngestResult]:
    """Store files, folders or patterns of files; one result a file, in the order of storing.

    `report` hears each result as soon as its series is stored. DataError names the file, the line and what is
    wrong, and says how many files are stored; those are whole. With `skip`, which hears of each, what cannot
    be stored is left out instead.
    """
    job = _Job(catalog, exchange_info, replace, skip)
    sources = find_sources(
        paths, fmt, Hints(symbol, market, interval, kind), None if skip is None else job.fail
    )
    groups: dict[SeriesKey, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.key, []).append(source)
    results: list[IngestResult] = []
    for key, group in groups.items():
        try:
            for result in _ingest_series(job, key, group):
                results.append(result)
                if report is not None:
                    report(result)
        except DataError as error:
            if len(sources) == 1:
                raise
            raise DataError(f"{error} [{len(results)} of {len(sources)} files are stored]") from error
    return results


def _ingest_series(job: _Job, key: SeriesKey, group: Sequence[Source]) -> Iterable[IngestResult]:
    """Read and store one series; a bad file is left out, or raises after the files before it are stored."""
    try:
        instrument = job.instrument(key) if key.kind == "klines" else None
    except DataError as error:
        job.fail(error, len(group), f"{key.label}: ")
        return
    parsed: list[tuple[Path, Columns]] = []
    notes: dict[Path, tuple[str, ...]] = {}
    failure: DataError | None = None
    for source in group:
        try:
            columns, notes[source.path] = _read(source)
            _check_ticks(source.path, columns, instrument)
            parsed.append((source.path, columns))
        except DataError as error:
            if job.skip is None:
                failure = error
                break
            job.fail(error)
    if parsed:
        yield from _keep(job, key, instrument, parsed, notes)
    if failure is not None:
        raise failure


def _keep(
    job: _Job,
    key: SeriesKey,
    instrument: Instrument | None,
    parsed: Sequence[tuple[Path, Columns]],
    notes: Mapping[Path, tuple[str, ...]],
) -> Iterable[IngestResult]:
    """Store the files of a series in one write, all of them or none."""
    try:
        stored = _store(job, key, instrument, _combine(key, parsed))
    except DataError as error:
        job.fail(error, len(parsed))
        return
    for path, columns in parsed:
        yield _result(key, path, columns, stored, instrument, notes[path])


def _read(source: Source) -> tuple[Columns, tuple[str, ...]]:
    """A file's columns and what is to be said about them."""
    key = source.key
    if key.kind == "sentiment":
        index, repeated = read_sentiment_csv(source.path)
        notes = [f"{repeated} repeated lines"] if repeated else []
        gaps = missing_days(index)
        return index, (*notes, *([f"days missing: {', '.join(gaps)}"] if gaps else []))
    columns = _READERS[source.format](source.path, interval=key.interval, kind=key.kind)
    if not len(columns):
        raise DataError(f"{source.path} has no bar that is closed yet")
    return snap_funding(columns) if isinstance(columns, FundingColumns) else columns, ()


def _check_ticks(path: Path, columns: Columns, instrument: Instrument | None) -> None:
    """DataError with file and line when a file's values do not fit the instrument's ticks."""
    if instrument is None or not isinstance(columns, BarColumns):
        return
    problem = find_off_grid(columns, *strict_grids(instrument))
    if problem is not None:
        known = f"{instrument.id} as of {_as_of(instrument)}"
        raise DataError(f"{locate(path, problem.row)}: {problem.text} (filters used: {known})")


def _combine(key: SeriesKey, parsed: Sequence[tuple[Path, Columns]]) -> Columns:
    """All files' rows in order, rows that several files share once; DataError when two files disagree."""
    ordered = sorted(parsed, key=lambda item: int(item[1].ts_event[0]))
    kind = type(ordered[0][1])
    names = kind.__slots__
    joined = [np.concatenate([getattr(columns, name) for _, columns in ordered]) for name in names]
    times = joined[0]
    if (np.diff(times) > 0).all():
        return kind(*joined)
    owner = np.repeat(np.arange(len(ordered)), [len(columns) for _, columns in ordered])
    order = np.argsort(times, kind="stable")
    joined, owner = [values[order] for values in joined], owner[order]
    twice = np.flatnonzero(joined[0][1:] == joined[0][:-1])
    for name, values in zip(names, joined, strict=True):
        differing = twice[values[twice] != values[twice + 1]]
        if len(differing):
            row = int(differing[0])
            first, second = (ordered[owner[at]][0] for at in (row, row + 1))
            raise DataError(
                f"{first} and {second} disagree about {key.label} at {utc_text(joined[0][row])}: {name} "
                f"{values[row]} and {values[row + 1]}; nothing of this series was stored"
            )
    single = np.ones(len(times), bool)
    single[twice + 1] = False
    return kind(*(values[single] for values in joined))


def _store(job: _Job, key: SeriesKey, instrument: Instrument | None, columns: Columns) -> WriteResult:
    name, catalog = key.instrument_id, job.catalog
    if isinstance(columns, FundingColumns):
        return catalog.write_funding(name, columns, replace=job.replace)
    if isinstance(columns, SentimentColumns):
        return catalog.write_sentiment(name, columns, replace=job.replace)
    interval = key.interval or ""
    if instrument is None:
        return catalog.write_mark(name, interval, columns, replace=job.replace)
    catalog.write_instrument(instrument, replace=job.replace)
    return catalog.write_bars(name, interval, columns, replace=job.replace)


def _result(
    key: SeriesKey,
    path: Path,
    columns: Columns,
    stored: WriteResult,
    instrument: Instrument | None,
    notes: tuple[str, ...],
) -> IngestResult:
    length = interval_ns(key.interval) if key.interval else 0
    return IngestResult(
        path=path,
        instrument_id=key.instrument_id,
        kind=key.kind,
        interval=key.interval,
        rows=len(columns),
        start=int(columns.ts_event[0]) - length,
        end=int(columns.ts_event[-1]),
        status=stored.status,
        added=stored.rows,
        kept=stored.kept,
        rounded=stored.rounded,
        filters_as_of=None if instrument is None else _as_of(instrument),
        notes=notes,
    )


def _as_of(instrument: Instrument) -> str:
    return str((instrument.info or {}).get("as_of", "an unknown day"))


app = command_app(
    "Put market data files (Binance archive, REST JSON, freqtrade, Fear & Greed CSV) into a catalog."
)


@app.command()
def main(
    paths: Annotated[list[str], typer.Argument(help="Files, folders (searched whole) or patterns.")],
    catalog: Annotated[Path, typer.Option(help="The catalog's folder; made when it is not there.")],
    file_format: Annotated[
        str, typer.Option("--format", help="auto (by suffix), vision, rest, freqtrade or stream.")
    ] = "auto",
    symbol: Annotated[str | None, typer.Option(help="Such as BTCUSDT, when the path does not say.")] = None,
    market: Annotated[str | None, typer.Option(help="um (USD-M perpetuals) or spot.")] = None,
    interval: Annotated[str | None, typer.Option(help="Such as 1m, when the path does not say.")] = None,
    kind: Annotated[str | None, typer.Option(help="klines, funding, mark or sentiment.")] = None,
    exchange_info: Annotated[
        Path | None, typer.Option(help="Binance's exchangeInfo JSON, instead of the shipped filters.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite stored rows that differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put market data files into a catalog: whole series, checked, each in one atomic write.

    Symbol, market, interval and kind are read from the path where it says them. Stored rows are kept
    unless the files have other values for them, which is an error without --replace. What cannot be stored
    is left out with its reason, and the exit code is 1 then (2 when nothing was stored). `--format stream`
    takes recorded WebSocket streams (quotes and trades); they say themselves what they are of.
    """
    if exchange_info is not None and not exchange_info.is_file():
        raise DataError(f"no exchangeInfo file at {exchange_info}")
    if file_format == "stream":
        _take_streams(paths, catalog, exchange_info, replace=replace, as_json=as_json)
        return
    lines, skipped = count(), list[Skipped]()

    def report(result: IngestResult) -> None:
        if not as_json and next(lines) < _MOST_LINES:
            _line(result)

    with status(f"reading into {catalog}", quiet=as_json):
        results = ingest_paths(
            paths,
            catalog=Catalog.create(catalog) if catalog.exists() else Catalog(catalog),
            fmt=file_format,
            symbol=symbol.upper() if symbol else None,
            market=_choice(market, "market", ("um", "spot")),
            interval=interval,
            kind=_choice(kind, "kind", ("klines", "funding", "mark", "sentiment")),
            exchange_info=exchange_info,
            replace=replace,
            report=report,
            skip=skipped.append,
        )
    if not results and len(skipped) == 1:
        raise DataError(skipped[0].reason)
    _print_all(catalog, results, skipped, as_json)
    if skipped:
        raise typer.Exit(1 if results else 2)


def _take_streams(
    paths: list[str], catalog: Path, exchange_info: Path | None, *, replace: bool, as_json: bool
) -> None:
    with status(f"reading into {catalog}", quiet=as_json):
        results = ingest_streams(
            [Path(path) for path in paths],
            catalog=Catalog.create(catalog) if catalog.exists() else Catalog(catalog),
            exchange_info=exchange_info,
            replace=replace,
        )
    if as_json:
        emit_json({"catalog": catalog, "recordings": [asdict(result) for result in results]})
        return
    for result in results:
        left_out = ", ".join(f"{count:,} {what}" for what, count in sorted(result.left_out.items()))
        out.print(
            f"{result.instrument_id}: {result.status}, {result.quotes:,} quotes, {result.trades:,} trades, "
            f"{result.bars:,} bars of 1s, {utc_text(result.start)} to {utc_text(result.end)}; receipt clock "
            f"moved by {result.clock_shift_ms:.3f} ms; left out: {left_out or 'nothing'}",
            markup=False,
            highlight=False,
        )


def _print_all(
    catalog: Path, results: Sequence[IngestResult], skipped: Sequence[Skipped], as_json: bool
) -> None:
    if as_json:
        files = [asdict(result) for result in results]
        left_out = [asdict(each) for each in skipped]
        emit_json({"catalog": catalog, "series": series_rows(results), "files": files, "skipped": left_out})
        return
    if len(results) > _MOST_LINES:
        out.print(f"... and {len(results) - _MOST_LINES} more files", highlight=False)
    _summary(series_rows(results))
    for each in skipped:
        many = f" ({each.files} files)" if each.files > 1 else ""
        err.print(f"skipped: {' '.join(each.reason.split())}{many}", markup=False, highlight=False)
    if skipped:
        number = sum(each.files for each in skipped)
        err.print(f"{len(results)} files are stored, {number} are not", highlight=False)


def _choice(value: str | None, name: str, allowed: tuple[str, ...]) -> Any:
    if value is not None and value not in allowed:
        raise DataError(f"unknown {name} '{value}'; use {' or '.join(allowed)}")
    return value


def _line(result: IngestResult) -> None:
    period = f"{utc_text(result.start)} to {utc_text(result.end)}"
    out.print(f"{result.path}: {result.rows:,} rows, {period}", markup=False, highlight=False)
    for note in result.notes:
        out.print(f"{result.path}: {note}", markup=False, highlight=False)


def series_rows(results: Sequence[IngestResult]) -> list[dict[str, Any]]:
    """One row a series, from the results of its files."""
    groups: dict[tuple[Any, ...], list[IngestResult]] = {}
    for result in results:
        groups.setdefault((result.instrument_id, result.kind, result.interval), []).append(result)
    return [
        {
            "instrument": instrument,
            "kind": kind,
            "interval": interval,
            "files": len(group),
            "rows": sum(r.rows for r in group),
            "start": utc_text(min(r.start for r in group)),
            "end": utc_text(max(r.end for r in group)),
            "status": group[0].status,
            "added": group[0].added,
            "kept": group[0].kept,
            "rounded": group[0].rounded,
            "filters_as_of": group[0].filters_as_of,
        }
        for (instrument, kind, interval), group in groups.items()
    ]


def _summary(rows: Sequence[dict[str, Any]]) -> None:
    headings = ("instrument", "kind", "interval", *_FIGURES)
    if not out.is_terminal:
        for row in rows:
            text = ", ".join(f"{name} {row[name]}" for name in _FIGURES)
            out.print(f"{row['instrument']} {row['interval'] or ''} {row['kind']}: {text}", highlight=False)
        return
    table = Table(*headings)
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in headings))
    out.print(table)


if __name__ == "__main__":
    run_app(app)
