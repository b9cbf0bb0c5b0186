"""Download market data from Binance's public archive into a catalog.

    python catalog/download.py --market um --symbols BTCUSDT ETHUSDT --interval 1m \
        --start 2024-01-01 --end 2024-06-30 --kinds klines,funding --catalog DIR

Days are UTC, and the day --end is included. Whole months come as monthly files, other days as daily ones,
each checked against its published sha256; what the archive does not have yet comes over REST, without the bar
that is still open. Funding comes in whole months. Verified files stay in the cache folder: a second run, also
after an interruption, fetches only what is missing.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from catalog.archive import ArchiveSeries, Period
from catalog.columns import INTERVAL_MINUTES
from catalog.fetch import Fetcher, Limits, RefusedError, StoppedError, UnreachableError
from catalog.gather import Gathered, Gathering
from catalog.ingest import IngestResult, ingest_paths, series_rows
from catalog.instruments import Market, instrument_name, read_exchange_info
from catalog.parse import Kind
from catalog.rest import REST_URLS, RestSource
from catalog.store import Catalog
from configs.console import command_app, emit_json, err, out, run_app
from configs.errors import ConfigError, DataError, InputError, RunFailedError, SextantError

__all__ = ["DownloadReport", "DownloadRequest", "download"]

ARCHIVE_URL = "https://data.binance.vision"
_KINDS: tuple[Kind, ...] = ("klines", "funding", "mark")
_SYMBOL = re.compile(r"[A-Z0-9]{3,20}")
_EARLIEST = date(2017, 1, 1)
_SETTLING = timedelta(hours=1)  # how long after midnight a day counts as running, whatever the clocks say


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """What to download, from where, to where. Days are UTC, both ends included."""

    market: Market
    symbols: tuple[str, ...]
    kinds: tuple[Kind, ...]
    interval: str
    period: Period
    catalog: Path
    cache: Path
    archive_url: str = ARCHIVE_URL
    rest_url: str | None = None
    jobs: int = 4
    limits: Limits = field(default_factory=Limits)
    exchange_info: Path | None = None
    replace: bool = False

    @property
    def series(self) -> list[ArchiveSeries]:
        """Every series asked for."""
        return [
            ArchiveSeries(market=self.market, symbol=symbol, kind=kind, interval=self.interval)
            for symbol in self.symbols
            for kind in self.kinds
        ]


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What is stored, what nobody had, what failed, and where the instruments' filters came from."""

    results: list[IngestResult]
    missing: list[str]
    failures: list[SextantError]
    filters: dict[str, str]


def download(
    request: DownloadRequest,
    *,
    report: Callable[[str], None] = lambda text: None,
    expect: Callable[[int], None] = lambda count: None,
) -> DownloadReport:
    """Fetch a request's files into its cache and store them in its catalog, series by series.

    Failures do not raise: what is whole is stored, and the report lists what is not. `report` hears a line
    for each file, `expect` how many more are to come; both may be called from other threads.
    """
    if request.catalog.is_file():
        raise ConfigError(f"{request.catalog} is a file; a catalog is a folder")
    rest_url = request.rest_url or REST_URLS[request.market]
    with Fetcher(request.limits) as archive, Fetcher(request.limits) as other:
        rest = RestSource(other, request.market, rest_url)
        gathered = Gathering(
            archive=archive,
            archive_url=request.archive_url,
            rest=rest,
            cache=request.cache,
            jobs=request.jobs,
            today=(datetime.now(UTC) - _SETTLING).date(),
            report=report,
            expect=expect,
        ).run(request.series, request.period)
        filters = _Filters(request, rest)
        results = _ingest(request, gathered, filters)
    missing = [f"{series.label} {period}" for series, period in gathered.missing]
    return DownloadReport(results, missing, gathered.failures, filters.sources)


class _Filters:
    """Where a new instrument's trading filters come from: a given file, the venue, or the shipped table."""

    def __init__(self, request: DownloadRequest, rest: RestSource) -> None:
        self.sources: dict[str, str] = {}
        self._request = request
        self._rest = rest
        self._known: dict[str, Any] | None = None
        self._why = ""

    def file_for(self, symbol: str, catalog: Catalog) -> Path | None:
        """The exchangeInfo file with the symbol; None for the stored instrument or the shipped table."""
        name = instrument_name(symbol, self._request.market)
        if self._request.exchange_info is not None:
            self.sources[name] = str(self._request.exchange_info)
            return self._request.exchange_info
        if name in catalog.instrument_ids():
            self.sources[name] = "as stored"
            return None
        saved = self._request.cache / f"exchangeInfo-{self._request.market}.json"
        if self._known is None:
            self._known = self._fetch(saved)
        if symbol in self._known:
            self.sources[name] = f"exchangeInfo of {self._rest.url}"
            return saved
        self.sources[name] = f"the shipped table ({self._why or f'{self._rest.url} does not list {symbol}'})"
        return None

    def _fetch(self, path: Path) -> dict[str, Any]:
        try:
            self._rest.save_exchange_info(path)
            return dict(read_exchange_info(path, self._request.market))
        except (UnreachableError, RefusedError, DataError) as error:
            self._why = str(error)
        except StoppedError:
            self._why = f"{self._rest.url} cannot be reached"
        return {}


def _ingest(request: DownloadRequest, gathered: Gathered, filters: _Filters) -> list[IngestResult]:
    results: list[IngestResult] = []
    for series, files in gathered.files.items():
        if not files:
            if not gathered.failures:
                gathered.failures.append(_nothing(request, series))
            continue
        catalog = Catalog.create(request.catalog)
        try:
            ingest_paths(
                sorted(files),
                catalog=catalog,
                symbol=series.symbol,
                market=series.market,
                interval=None if series.kind == "funding" else series.interval,
                kind=series.kind,
                exchange_info=filters.file_for(series.symbol, catalog) if series.kind == "klines" else None,
                replace=request.replace,
                report=results.append,
            )
        except InputError as error:
            gathered.failures.append(error)
    return results


def _nothing(request: DownloadRequest, series: ArchiveSeries) -> DataError:
    return DataError(
        f"neither the archive nor REST has {series.label} on market {series.market} for {request.period}; "
        f"check the symbol and the period"
    )


app = command_app("Download market data from Binance's public archive into a catalog.")


@app.command()
def main(
    symbols: Annotated[list[str], typer.Option(help="One or more, such as BTCUSDT ETHUSDT.")],
    start: Annotated[str, typer.Option(help="First day, such as 2024-01-01 (UTC).")],
    end: Annotated[str, typer.Option(help="Last day, included (UTC).")],
    catalog: Annotated[Path, typer.Option(help="The catalog's folder; made when it is not there.")],
    more_symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", hidden=True)] = None,
    market: Annotated[str, typer.Option(help="um (USD-M perpetuals) or spot.")] = "um",
    interval: Annotated[str, typer.Option(help="Length of a bar, such as 1m.")] = "1m",
    kinds: Annotated[str, typer.Option(help="klines, funding, mark; several with commas.")] = "klines",
    cache: Annotated[
        Path | None,
        typer.Option(help="Where fetched files stay; default: CATALOG-downloads beside the catalog."),
    ] = None,
    base_url: Annotated[str, typer.Option(help="The archive's address.")] = ARCHIVE_URL,
    rest_url: Annotated[
        str | None, typer.Option(help="The REST address; default: Binance's for the market.")
    ] = None,
    exchange_info: Annotated[
        Path | None, typer.Option(help="An exchangeInfo file to take trading filters from.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Files fetched at the same time.")] = 4,
    timeout: Annotated[
        float, typer.Option(min=0.05, max=600, help="Seconds without a byte before a retry.")
    ] = 20,
    tries: Annotated[int, typer.Option(min=1, max=20, help="Tries a request before giving up.")] = 5,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite stored rows that differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Download klines, funding rates and mark prices of a period into a catalog.

    Files are checked against their published sha256 and kept in the cache folder, so that a second run
    fetches only what is missing. Both --start and --end are included; days are UTC.
    """
    request = DownloadRequest(
        market=_market(market),
        symbols=_symbols([*symbols, *(more_symbols or [])]),
        kinds=_chosen_kinds(kinds, market),
        interval=_interval(interval),
        period=_period(start, end),
        catalog=catalog,
        cache=cache or catalog.absolute().parent / f"{catalog.absolute().name}-downloads",
        archive_url=_address(base_url, "--base-url"),
        rest_url=None if rest_url is None else _address(rest_url, "--rest-url"),
        jobs=jobs,
        limits=Limits(read_secs=timeout, connect_secs=min(timeout, 10.0), tries=tries),
        exchange_info=exchange_info,
        replace=replace,
    )
    if exchange_info is not None and not exchange_info.is_file():
        raise ConfigError(f"no exchangeInfo file at {exchange_info}")
    with _progress(quiet=as_json) as (report, expect):
        done = download(request, report=report, expect=expect)
    if as_json:
        emit_json(_payload(request, done))
    else:
        _print(done)
    _raise_failures(done)


def _market(text: str) -> Market:
    if text == "um":
        return "um"
    if text == "spot":
        return "spot"
    raise ConfigError(f"unknown market '{text}'; use um or spot")


def _symbols(texts: Sequence[str]) -> tuple[str, ...]:
    symbols = [part.strip().upper() for text in texts for part in text.split(",") if part.strip()]
    for symbol in symbols:
        if symbol.lower() in _KINDS:
            raise ConfigError(
                f"'{symbol.lower()}' is no symbol; join kinds with commas: --kinds klines,funding"
            )
        if not _SYMBOL.fullmatch(symbol):
            raise ConfigError(f"'{symbol}' is no symbol; write it as Binance does, such as BTCUSDT")
    if not symbols:
        raise ConfigError("no symbol given; use --symbols BTCUSDT")
    return tuple(dict.fromkeys(symbols))


def _chosen_kinds(text: str, market: str) -> tuple[Kind, ...]:
    names = {part.strip() for part in text.split(",") if part.strip()}
    unknown = sorted(names - set(_KINDS))
    if unknown or not names:
        raise ConfigError(f"unknown kind '{', '.join(unknown)}'; use {', '.join(_KINDS)}")
    if market == "spot" and names != {"klines"}:
        raise ConfigError("spot has klines only; funding and mark prices belong to market um")
    return tuple(kind for kind in _KINDS if kind in names)


def _interval(text: str) -> str:
    if text not in INTERVAL_MINUTES:
        raise ConfigError(f"unknown interval '{text}'; use one of {', '.join(INTERVAL_MINUTES)}")
    return text


def _period(start: str, end: str) -> Period:
    first, last = _day(start, "--start"), _day(end, "--end")
    today = datetime.now(UTC).date()
    if last < first:
        raise ConfigError(f"--end {last} lies before --start {first}")
    if first > today:
        raise ConfigError(f"--start {first} lies in the future (today is {today} UTC)")
    if first < _EARLIEST:
        raise ConfigError(f"--start {first} lies before {_EARLIEST}, when the exchange did not exist")
    return Period(first, min(last, today))


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} '{text}' is no day; write it like 2024-01-31") from error


def _address(text: str, option: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{option} '{text}' is no address ({error})") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError(f"{option} '{text}' is no address; it begins with http:// or https://")
    return text.rstrip("/")


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """A bar on a terminal, a line a file otherwise."""
    if quiet:
        yield (lambda text: None), (lambda count: None)
        return
    if not err.is_terminal:
        lock = threading.Lock()

        def line(text: str) -> None:
            with lock:
                err.print(text, markup=False, highlight=False)

        yield line, (lambda count: None)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=0)
        total = 0

        def expect(count: int) -> None:
            nonlocal total
            total += count
            progress.update(task, total=total)

        yield (lambda text: progress.update(task, advance=1, description=text)), expect


def _payload(request: DownloadRequest, done: DownloadReport) -> dict[str, Any]:
    return {
        "catalog": request.catalog,
        "cache": request.cache,
        "series": series_rows(done.results),
        "filters": done.filters,
        "missing": done.missing,
        "failures": [str(error) for error in done.failures],
    }


def _print(done: DownloadReport) -> None:
    for row in series_rows(done.results):
        name = " ".join(filter(None, (row["instrument"], row["interval"], row["kind"])))
        text = f"{row['rows']:,} rows of {row['files']} files, {row['start']} to {row['end']}"
        out.print(f"{name}: {text}, {row['status']} ({row['added']:,} new)", markup=False, highlight=False)
    for name, source in done.filters.items():
        out.print(f"{name}: trading filters: {source}", markup=False, highlight=False)
    for text in done.missing:
        err.print(f"not to be had: {text}", markup=False, highlight=False)


def _raise_failures(done: DownloadReport) -> None:
    if not done.failures:
        return
    for error in done.failures[1:]:
        err.print(f"also: {error}", markup=False, highlight=False)
    kind = InputError if all(isinstance(error, InputError) for error in done.failures) else RunFailedError
    stored = len({result.path for result in done.results})
    raise kind(f"{done.failures[0]} [{stored} whole files are stored]")


if __name__ == "__main__":
    run_app(app)
