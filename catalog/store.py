"""The catalog on disk: bars and instruments in Nautilus's Parquet layout, funding and mark prices beside.

    data/bars/<bar type>/<first>_<last>.parquet            read by Nautilus itself
    data/crypto_perpetual|currency_pair/<id>/...           read by Nautilus itself
    sextant/funding/<id>/<first>_<last>.parquet            ts_event, rate
    sextant/mark/<id>-<interval>/<first>_<last>.parquet    ts_event, open, high, low, close
    sextant/sentiment/<name>/<first>_<last>.parquet        ts_event (the day's midnight), value
    sextant/known/<name>/<first>_<last>.parquet            see `catalog.known`

Funding and mark prices have tables of their own: Nautilus has no direct writer for funding rates, and mark
prices lie on no tick grid. Times are int64 ns UTC; periods are half-open [start, end) on the bar's open.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import numpy as np
from nautilus_trader.model import Bar, CryptoPerpetual, CurrencyPair
from nautilus_trader.persistence import ParquetDataCatalog
from numpy.typing import NDArray

from catalog.arrow import (
    bars_from_table,
    bars_to_table,
    funding_from_table,
    funding_to_table,
    mark_from_table,
    mark_to_table,
)
from catalog.columns import (
    INTERVAL_SECS,
    MINUTE_NS,
    SECOND_NS,
    BarColumns,
    FundingColumns,
    Grid,
    Problem,
    bar_type,
    find_bad_bar,
    find_bad_funding,
    interval_ns,
    round_to_grid,
    snap_funding,
    utc_text,
)
from catalog.sentiment import (
    SentimentColumns,
    find_bad_sentiment,
    sentiment_from_table,
    sentiment_to_table,
)
from catalog.series import Series, WriteResult, publish
from configs.errors import DataError

__all__ = [
    "BarColumns",
    "Catalog",
    "FundingColumns",
    "SentimentColumns",
    "WriteResult",
    "bar_type",
    "filters",
    "grids",
    "interval_ns",
    "strict_grids",
]

Instrument = CryptoPerpetual | CurrencyPair
_FOLDERS = {"CryptoPerpetual": "crypto_perpetual", "CurrencyPair": "currency_pair"}
_MOST_PIECES = 4
_LATEST_NS = 600 * SECOND_NS  # a node that hung for longer was not trading


@dataclass(frozen=True, slots=True)
class Catalog:
    """A catalog folder. Writing is atomic per series; a write that contradicts what is stored is refused."""

    path: Path

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """An existing catalog; DataError when the folder is not there."""
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(f"no catalog at {folder}; ingest or download data into it first")
        return cls(folder)

    @classmethod
    def create(cls, path: Path | str) -> Self:
        """A catalog that is made when it is not there yet."""
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder} is a file; a catalog is a folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"no catalog can be made at {folder}: {error.strerror}") from error
        return cls(folder)

    # instruments

    def write_instrument(self, instrument: Instrument, *, replace: bool = False) -> WriteResult:
        """Store an instrument; one with other filters is refused unless `replace`.

        A price or size precision that differs from that of stored bars is refused in any case.
        """
        name = str(instrument.id)
        folder = self.path / "data" / _FOLDERS[type(instrument).__name__] / name
        old_files = sorted(folder.glob("*.parquet"))
        if old_files:
            stored = self.instrument(name)
            changes = _changed_filters(stored, instrument)
            if not changes:
                return WriteResult("identical", 0)
            if not replace:
                raise DataError(
                    f"{name} is stored with other filters ({changes}); use --replace for the new ones"
                )
            if self.bar_intervals(name) and _precisions(stored) != _precisions(instrument):
                raise DataError(f"{name} has bars at another precision ({changes}); use a new catalog folder")
        with self._scratch() as scratch:
            ParquetDataCatalog(str(scratch)).write_instruments([instrument])
            (made,) = scratch.rglob("*.parquet")
            folder.mkdir(parents=True, exist_ok=True)
            publish(made, folder / made.name, old_files)
        return WriteResult("replaced" if old_files else "written", 1)

    def instrument(self, instrument_id: str) -> Instrument:
        """The stored instrument; DataError when there is none."""
        known = self.instrument_ids()
        if instrument_id not in known:
            names = ", ".join(known) or "none"
            raise DataError(f"no instrument {instrument_id} in catalog {self.path} (stored: {names})")
        try:
            found: list[Instrument] = ParquetDataCatalog(str(self.path)).instruments([instrument_id])
        except OSError as error:
            raise DataError(
                f"the file of instrument {instrument_id} in catalog {self.path} cannot be read ({error}); "
                f"delete {self.path}/data/*/{instrument_id} and ingest again"
            ) from error
        if not found:
            raise DataError(
                f"the file of instrument {instrument_id} in catalog {self.path} holds no instrument; "
                f"delete {self.path}/data/*/{instrument_id} and ingest again"
            )
        return found[-1]

    def instrument_ids(self) -> list[str]:
        """The ids of all stored instruments, sorted."""
        folders = (self.path / "data" / name for name in _FOLDERS.values())
        return sorted({entry.parent.name for folder in folders for entry in folder.glob("*/*.parquet")})

    # bars

    def write_bars(
        self,
        instrument_id: str,
        interval: str,
        columns: BarColumns,
        *,
        replace: bool = False,
        received: NDArray[np.int64] | None = None,
    ) -> WriteResult:
        """Store bars of an instrument that is stored already; `Series.write` says what happens on an overlap.

        `received` (ns UTC) is when a node had each bar of a second, by default at its close.
        DataError when a bar is out of order, unaligned, not finite, not positive or off the ticks. Only the
        volumes of spot bars are rounded, to the lot step, and counted in the result: real ones have smaller
        parts now and then, and the engine silently fills no order on a bar whose volume has more decimals
        than the instrument. A perpetual's volume off the step means wrong filters and is refused.
        """
        instrument = self.instrument(instrument_id)
        price, size = grids(instrument)
        label = f"{interval} bars of {instrument_id}"
        _refuse(find_bad_bar(columns, interval), len(columns), label)
        rounded = 0
        if isinstance(instrument, CurrencyPair):
            volume, rounded = round_to_grid(columns.volume, size)
            columns = replace_fields(columns, volume=volume)
        try:
            name = bar_type(instrument_id, interval)
            table = bars_to_table(columns, name, instrument_id, price, size, received)
        except DataError as error:
            raise DataError(f"{label}: {error}") from error
        result = self.bar_series(instrument_id, interval).write(table, replace=replace)
        return replace_fields(result, rounded=rounded)

    def bars(
        self, instrument_id: str, interval: str, start: int | None = None, end: int | None = None
    ) -> BarColumns:
        """Bars that open in [start, end), values equal to parsing the stored decimals; empty if none."""
        length = interval_ns(interval)
        first, last = _closes(start, end, length)
        table = self.bar_series(instrument_id, interval).read(first, last)
        return BarColumns.join([]) if table is None else bars_from_table(table)

    def engine_bars(self, instrument_id: str, interval: str, start: int, end: int) -> list[Bar]:
        """The same bars as Nautilus's own objects, read by Nautilus: in the order of receipt."""
        if not self.bar_series(instrument_id, interval).files():
            return []
        length = interval_ns(interval)
        first, last = start + length, end + length - 1
        name = bar_type(instrument_id, interval)
        late = _LATEST_NS if length < MINUTE_NS else 0  # Nautilus asks for receipts
        bars: list[Bar] = ParquetDataCatalog(str(self.path)).query_bars([name], start=first, end=last + late)
        if late:
            bars = [bar for bar in bars if first <= bar.ts_event <= last]
        strange = next((str(bar.bar_type) for bar in bars if str(bar.bar_type) != name), None)
        if strange is not None:
            raise DataError(
                f"catalog {self.path}: among the bars of {name} lie some of {strange}; delete "
                f"{self.path}/data/bars/{name} and ingest again"
            )
        return bars

    def bar_intervals(self, instrument_id: str) -> list[str]:
        """The intervals for which bars of the instrument are stored, shortest first."""
        return [name for name in INTERVAL_SECS if self.bar_series(instrument_id, name).files()]

    def intervals(self, instrument_id: str, interval: str) -> list[tuple[int, int]]:
        """The unbroken pieces of what is stored, each (open of its first bar, close of its last)."""
        times = self.bar_series(instrument_id, interval).times()
        return _pieces(times, interval_ns(interval))

    def require_bars(
        self, instrument_id: str, interval: str, start: int, end: int, *, max_gap_minutes: int
    ) -> None:
        """DataError when bars are missing in [start, end) for longer than `max_gap_minutes` at a stretch."""
        pieces = self.intervals(instrument_id, interval)
        inside = [(max(a, start), min(b, end)) for a, b in pieces if b > start and a < end]
        edges = [start, *(edge for piece in inside for edge in piece), end]
        for begin, until in zip(edges[::2], edges[1::2], strict=True):
            if until - begin > max_gap_minutes * MINUTE_NS or not inside:
                advice = _advice(begin, until, start, end)
                raise DataError(
                    f"no {interval} bars of {instrument_id} from {utc_text(begin)} to {utc_text(until)} "
                    f"(stored: {_pieces_text(pieces)}); ingest or download them, or {advice}"
                )

    def dataset_hash(self, instrument_id: str, interval: str, start: int, end: int) -> str:
        """sha256 over the instrument id, interval, precisions and every value of the bars in [start, end).

        It depends on the data alone: neither on files nor on the order of writing nor on the machine.
        """
        return self.bars_hash(instrument_id, interval, self.bars(instrument_id, interval, start, end))

    def bars_hash(self, instrument_id: str, interval: str, bars: BarColumns) -> str:
        """`dataset_hash` of bars that are in memory already."""
        price, size = _precisions(self.instrument(instrument_id))
        digest = hashlib.sha256(f"bars/1|{instrument_id}|{interval}|{price}|{size}|{len(bars)}".encode())
        digest.update(bars.ts_event.astype("<i8").tobytes())
        for name in ("open", "high", "low", "close", "volume"):
            digest.update(getattr(bars, name).astype("<f8").tobytes())
        return digest.hexdigest()

    # funding and mark prices

    def write_funding(
        self, instrument_id: str, columns: FundingColumns, *, replace: bool = False
    ) -> WriteResult:
        """Store funding settlements; their times are rounded to the minute (`snap_funding` says why)."""
        snapped = snap_funding(columns)
        _refuse(find_bad_funding(snapped), len(columns), f"funding rates of {instrument_id}")
        return self.funding_series(instrument_id).write(funding_to_table(snapped), replace=replace)

    def funding(self, instrument_id: str, start: int | None = None, end: int | None = None) -> FundingColumns:
        """Settlements in [start, end); empty if none."""
        table = self.funding_series(instrument_id).read(start, None if end is None else end - 1)
        if table is None:
            return FundingColumns(np.empty(0, np.int64), np.empty(0))
        return funding_from_table(table)

    def write_mark(
        self, instrument_id: str, interval: str, columns: BarColumns, *, replace: bool = False
    ) -> WriteResult:
        """Store mark-price bars; they have no volume and follow no tick."""
        problem = find_bad_bar(columns, interval, with_volume=False)
        _refuse(problem, len(columns), f"{interval} mark prices of {instrument_id}")
        return self.mark_series(instrument_id, interval).write(mark_to_table(columns), replace=replace)

    def mark(
        self, instrument_id: str, interval: str, start: int | None = None, end: int | None = None
    ) -> BarColumns:
        """Mark-price bars that open in [start, end), with zero volume; empty if none."""
        first, last = _closes(start, end, interval_ns(interval))
        table = self.mark_series(instrument_id, interval).read(first, last)
        return BarColumns.join([]) if table is None else mark_from_table(table)

    # sentiment

    def write_sentiment(self, name: str, columns: SentimentColumns, *, replace: bool = False) -> WriteResult:
        """Store values of a daily index; another value for a stored day is refused unless `replace`."""
        _refuse(find_bad_sentiment(columns), len(columns), f"{name} values")
        return self.sentiment_series(name).write(sentiment_to_table(columns), replace=replace)

    def sentiment(self, name: str, start: int | None = None, end: int | None = None) -> SentimentColumns:
        """Values of the days that begin in [start, end); empty if none."""
        table = self.sentiment_series(name).read(start, None if end is None else end - 1)
        if table is None:
            return SentimentColumns(np.empty(0, np.int64), np.empty(0))
        return sentiment_from_table(table)

    def sentiment_hash(self, name: str, start: int | None = None, end: int | None = None) -> str:
        """sha256 over the days that begin in [start, end) and their values, whatever the files."""
        columns = self.sentiment(name, start, end)
        digest = hashlib.sha256(f"sentiment/1|{name}|{len(columns)}".encode())
        digest.update(columns.date.astype("<i8").tobytes())
        digest.update(columns.value.astype("<f8").tobytes())
        return digest.hexdigest()

    def stored_bars(self) -> list[tuple[str, str]]:
        """(instrument id, interval) of every stored bar series, in order of name."""
        names = {bar_type("", interval): interval for interval in INTERVAL_SECS}
        folders = sorted(self.path.glob("data/bars/*"))
        return [
            (folder.name.removesuffix(suffix), interval)
            for folder in folders
            for suffix, interval in names.items()
            if folder.name.endswith(suffix) and any(folder.glob("*.parquet"))
        ]

    def bar_series(self, instrument_id: str, interval: str) -> Series:
        """The files of one bar series."""
        folder = self.path / "data" / "bars" / bar_type(instrument_id, interval)
        return Series(folder, f"{interval} bars of {instrument_id}", interval_ns(interval))

    def funding_series(self, instrument_id: str) -> Series:
        """The files of an instrument's funding rates."""
        return Series(self.path / "sextant" / "funding" / instrument_id, f"funding rates of {instrument_id}")

    def mark_series(self, instrument_id: str, interval: str) -> Series:
        """The files of one mark-price series."""
        folder = self.path / "sextant" / "mark" / f"{instrument_id}-{interval}"
        return Series(folder, f"{interval} mark prices of {instrument_id}", interval_ns(interval))

    def sentiment_series(self, name: str) -> Series:
        """The files of one sentiment index."""
        return Series(self.path / "sextant" / "sentiment" / name, f"{name} values")

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder inside the catalog (so that a rename is atomic) that no reader looks into."""
        self.path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", suffix=".tmp", dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def filters(instrument: Instrument) -> dict[str, Any]:
    """What the venue demands of orders in it (ticks, lots, minima, margins), without when it was recorded."""
    recorded = {"ts_event", "ts_init", "info"}
    return {key: value for key, value in instrument.to_dict().items() if key not in recorded}


def grids(instrument: Instrument) -> tuple[Grid, Grid]:
    """The grids of an instrument's prices and of its sizes."""
    tick, step = instrument.price_increment, instrument.size_increment
    return Grid.of(Decimal(str(tick))), Grid.of(Decimal(str(step)))


def strict_grids(instrument: Instrument) -> tuple[Grid, Grid | None]:
    """The grids that bars must fit as they come: on spot the prices' only (see `Catalog.write_bars`)."""
    price, size = grids(instrument)
    return price, size if isinstance(instrument, CryptoPerpetual) else None


def _refuse(problem: Problem | None, rows: int, label: str) -> None:
    if not rows:
        raise DataError(f"{label}: nothing to store, no rows given")
    if problem is not None:
        raise DataError(f"{label}: row {problem.row + 1}: {problem.text}")


def _closes(start: int | None, end: int | None, length: int) -> tuple[int | None, int | None]:
    """Bounds on the close, both included, for bars that open in [start, end)."""
    return None if start is None else start + length, None if end is None else end + length - 1


def _pieces(times: NDArray[np.int64], length: int) -> list[tuple[int, int]]:
    if not len(times):
        return []
    breaks = np.flatnonzero(np.diff(times) != length)
    firsts = times[np.concatenate([[0], breaks + 1])] - length
    lasts = times[np.concatenate([breaks, [len(times) - 1]])]
    return [(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True)]


def _pieces_text(pieces: list[tuple[int, int]]) -> str:
    if not pieces:
        return "none"
    shown = [f"{utc_text(a)} to {utc_text(b)}" for a, b in pieces[:_MOST_PIECES]]
    rest = len(pieces) - len(shown)
    if rest:
        shown.append(f"and {rest} more until {utc_text(pieces[-1][1])}")
    return "; ".join(shown)


def _advice(begin: int, until: int, start: int, end: int) -> str:
    if begin == start and until == end:
        return "choose another period"
    if until == end:
        return "shorten data.end"
    return "move data.start" if begin == start else "choose a period without the gap"


def _precisions(instrument: Instrument) -> tuple[int, int]:
    return instrument.price_precision, instrument.size_precision


def _changed_filters(stored: Instrument, given: Instrument) -> str:
    """What differs between two instruments of one id, apart from when and where they were recorded."""
    old, new = filters(stored), filters(given)
    keys = [key for key in new if _value(old.get(key)) != _value(new[key])]
    return ", ".join(f"{key} {old.get(key)} stored, {new[key]} given" for key in keys)


def _value(value: Any) -> Any:
    try:
        return Decimal(value) if isinstance(value, str) else value
    except ArithmeticError:
        return value
