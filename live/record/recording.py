"""What a node has seen, as a catalog: `catalog.store` opens it and a backtest replays it.

    catalog/data/...                                       the catalog's own layout
    catalog/journal/<instrument>/<kind>-<begun>.rows       what is in no Parquet file yet (`live.record.rows`)

The node's thread only puts ticks into a queue; a thread of its own appends them to the journal within a
twentieth of a second, and folds the journal into Parquet every `rotate_minutes`, at the end, and when the
next session begins. So a kill loses what was in the queue, whatever it interrupts: a journal file goes only
after its rows are in a Parquet file, and rows that are stored already are not stored again.

Bars are stamped at their close, on the grid of their length; of a bar that came twice the first counts. Of a
quote `ts_event` is the venue's time and `ts_init` its receipt, held so that no quote comes before it was sent
nor before the one ahead of it; a quote that is no market (bid not below ask, nothing offered) is left out.
"""

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from nautilus_trader.model import Bar, QuoteTick
from numpy.typing import NDArray

from actors.bar_time import closed_at
from catalog.columns import PRICE_FIELDS, BarColumns, interval_ns
from catalog.store import Catalog, Instrument
from catalog.tick_store import append_quotes, remove_quotes
from catalog.ticks import QuoteColumns
from configs.errors import DataError
from configs.schema import RecordConfig
from live.record.rows import RowFile, RowKind, read_rows

__all__ = ["MarketWriter", "fold_journal"]

_LOOK_SECS = 0.05
_SYNC_SECS = 1.0
_RETRY_SECS = 60.0
_END_SECS = 30.0
_CAPACITY = 200_000
_SLICE = 250
_YIELD_SECS = 0.0005
_DAY_NS = 86_400_000_000_000
_SIZES = ("bid_size", "ask_size")

type _Key = tuple[str, RowKind]


class MarketWriter:
    """Bars and quotes into the catalog at `folder`, made when it is not there.

    `instruments` by id are those of the ticks, `interval` the length of the bars. `drops` counts ticks that
    found the queue full, `problems` are lines for an operator, which whoever alarms takes out.
    """

    def __init__(
        self,
        folder: Path,
        instruments: Mapping[str, Instrument],
        interval: str,
        config: RecordConfig,
        *,
        capacity: int = _CAPACITY,
    ) -> None:
        self.drops = 0
        self.problems: deque[str] = deque(maxlen=100)
        self._folder = folder
        self._instruments = dict(instruments)
        self._interval = interval
        self._bar_ns = interval_ns(interval)
        self._config = config
        self._capacity = capacity
        self._queue: deque[Bar | QuoteTick | tuple[str, BarColumns]] = deque()
        self._waiting: dict[_Key, list[tuple[Any, ...]]] = {}
        self._files: dict[_Key, RowFile] = {}
        self._names: dict[Any, str] = {}
        self._stored: set[str] = set()
        self._is_begun = False
        self._synced = 0.0
        self._not_before = 0.0
        self._rotates_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catalog", daemon=True)
        self._thread.start()

    # -- the node's thread ---------------------------------------------------------------------------------

    def add(self, instrument: Instrument) -> None:
        """One more instrument whose ticks will come."""
        # a new one: the writer may be going through the old one
        self._instruments = {**self._instruments, str(instrument.id): instrument}

    def put(self, tick: Bar | QuoteTick) -> None:
        """Take a tick of one of the instruments; never waits."""
        if len(self._queue) >= self._capacity:
            self.drops += 1
        else:
            self._queue.append(tick)

    def keep(self, instrument_id: str, bars: BarColumns) -> None:
        """Take bars that came otherwise: the history of the warm-up, a gap that was filled."""
        self._queue.append((instrument_id, bars))

    @property
    def depth(self) -> int:
        """Ticks that wait to be written."""
        return len(self._queue)

    def close(self) -> None:
        """Write and fold what is left, and end the thread."""
        self._ended.set()
        self._thread.join(_END_SECS)

    # -- the writer's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            is_last = self._ended.is_set()
            now = time.monotonic()
            if is_last or now >= self._not_before:
                if self._attempt(self._write) and self._queue:
                    time.sleep(_YIELD_SECS)
                    continue
                if is_last or now >= self._rotates_at:
                    self._attempt(self._fold)
            if is_last:
                return
            self._ended.wait(_LOOK_SECS)

    def _attempt(self, work: Callable[[], None]) -> bool:
        """What the disk refuses is tried again later: meanwhile the queue fills, and then drops."""
        try:
            work()
            return True
        except (OSError, DataError) as error:
            self._not_before = time.monotonic() + _RETRY_SECS
            self._close_files()
            self.problems.append(f"the recording waits {_RETRY_SECS:.0f} s: {error}")
            return False

    def _write(self) -> None:
        if not self._is_begun:
            self._begin()
        while self._stored != self._instruments.keys():
            self._store_instruments()
        self._drain()
        for key, rows in self._waiting.items():
            if rows:
                self._file(key).append(rows)
                rows.clear()
        if time.monotonic() - self._synced > _SYNC_SECS:
            self._synced = time.monotonic()
            for file in self._files.values():
                file.sync()

    def _begin(self) -> None:
        """Fold what another session left."""
        catalog = Catalog.create(self._folder)
        _sweep(self._folder)
        self.problems.extend(fold_journal(catalog))
        self._is_begun = True
        self._rotates_at = time.monotonic() + 60.0 * self._config.rotate_minutes

    def _store_instruments(self) -> None:
        """As they are now. With other decimals the recording begins anew: what was stored stays as it is."""
        catalog, missing = Catalog.create(self._folder), self._instruments.keys() - self._stored
        try:
            for name in missing:
                catalog.write_instrument(self._instruments[name], replace=True)
        except DataError as error:
            self._close_files()
            self.problems.extend(fold_journal(catalog))
            aside = self._folder.with_name(f"{self._folder.name}-until-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
            self._folder.rename(aside)
            self._stored.clear()
            self.problems.append(f"{error}: the recording begins anew, the old one is {aside}")
        else:
            self._stored |= missing

    def _drain(self) -> None:
        """A slice: the interpreter's lock is the node's as well."""
        waiting = sum(len(rows) for rows in self._waiting.values())
        for _ in range(min(len(self._queue), self._capacity - waiting, _SLICE)):
            tick = self._queue.popleft()
            if isinstance(tick, QuoteTick):
                self._rows_of(self._name(tick.instrument_id), "quotes").append(_quote_row(tick))
            elif isinstance(tick, Bar):
                row = _bar_row(tick, closed_at(tick.ts_event, self._bar_ns))
                self._rows_of(self._name(tick.bar_type.instrument_id), "bars").append(row)
            else:
                name, bars = tick
                columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
                rows = zip(bars.ts_event.tolist(), *(column.tolist() for column in columns), strict=True)
                self._rows_of(name, "bars").extend((ts, ts, *values) for ts, *values in rows)

    def _name(self, instrument_id: Any) -> str:
        name = self._names.get(instrument_id)
        if name is None:
            name = self._names[instrument_id] = str(instrument_id)
        return name

    def _rows_of(self, name: str, kind: RowKind) -> list[tuple[Any, ...]]:
        return self._waiting.setdefault((name, kind), [])

    def _file(self, key: _Key) -> RowFile:
        file = self._files.get(key)
        if file is None:
            name, kind = key
            begun = time.time_ns()
            stem = kind if kind == "quotes" else f"{kind}-{self._interval}"
            path = _journal(self._folder) / name / f"{stem}-{begun}.rows"
            file = self._files[key] = RowFile(path, kind)
        return file

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _fold(self) -> None:
        self._close_files()
        catalog = Catalog.open(self._folder)
        self.problems.extend(fold_journal(catalog))
        keep_ns = self._config.keep_days * _DAY_NS
        for name in self._instruments:
            _trim_bars(catalog, name, self._interval, keep_ns)
            remove_quotes(catalog, name, keep_ns)
        self._rotates_at = time.monotonic() + 60.0 * self._config.rotate_minutes


def fold_journal(catalog: Catalog) -> list[str]:
    """Put every row of the catalog's journal into its Parquet files and remove the journal.

    No writer may be at work on it. Returns what an operator should know: files that could not be taken up
    (renamed to .refused, they are left alone from then on), rows that were left out.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(_journal(catalog.path).glob("*/*.rows")):
        groups.setdefault((path.parent.name, path.name.rpartition("-")[0]), []).append(path)
    told = []
    for (name, stem), paths in groups.items():
        try:
            left_out = _fold_series(catalog, name, stem, paths)
        except DataError as error:
            for path in paths:
                path.rename(path.with_suffix(".refused"))
            told.append(f"recorded {stem} of {name} are kept as {paths[0].with_suffix('.refused')}: {error}")
            continue
        if left_out:
            told.append(
                f"{left_out} recorded {stem} of {name} were left out: no market, or not after the stored"
            )
        for path in paths:
            path.unlink()
    return told


def _fold_series(catalog: Catalog, name: str, stem: str, paths: list[Path]) -> int:
    """How many rows were left out."""
    parts = [rows for rows in map(read_rows, paths) if len(rows)]
    if not parts:
        return 0
    rows = np.concatenate(parts)
    if stem == "quotes":
        return _fold_quotes(catalog, name, rows)
    _fold_bars(catalog, name, stem.partition("-")[2], rows)
    return 0


def _fold_bars(catalog: Catalog, name: str, interval: str, rows: NDArray[Any]) -> None:
    times, first = np.unique(rows["ts_event"], return_index=True)
    is_new = ~np.isin(times, catalog.bar_series(name, interval).times())
    if is_new.any():
        new = rows[first[is_new]]
        columns = BarColumns(times[is_new], *(new[field] for field in (*PRICE_FIELDS, "volume")))
        catalog.write_bars(name, interval, columns)


def _fold_quotes(catalog: Catalog, name: str, rows: NDArray[Any]) -> int:
    is_market = rows["bid_price"] < rows["ask_price"]
    for size in _SIZES:
        is_market &= rows[size] > 0
    kept = rows[is_market]
    received = np.maximum.accumulate(np.maximum(kept["ts_init"], kept["ts_event"]))
    values = (kept[field] for field in ("bid_price", "ask_price", *_SIZES))
    return len(rows) - append_quotes(catalog, name, QuoteColumns(kept["ts_event"], received, *values))


def _trim_bars(catalog: Catalog, name: str, interval: str, keep_ns: int) -> None:
    """A day at a time: each trim writes the series anew."""
    series = catalog.bar_series(name, interval)
    times = series.times()
    if len(times) and times[0] < times[-1] - keep_ns - _DAY_NS:
        series.trim(int(times[-1]) - keep_ns)


def _quote_row(quote: QuoteTick) -> tuple[Any, ...]:
    return (
        quote.ts_event,
        quote.ts_init,
        quote.bid_price.as_double(),
        quote.ask_price.as_double(),
        quote.bid_size.as_double(),
        quote.ask_size.as_double(),
    )


def _bar_row(bar: Bar, closed: int) -> tuple[Any, ...]:
    values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    return (closed, bar.ts_init, *(value.as_double() for value in values))


def _journal(folder: Path) -> Path:
    return folder / "journal"


def _sweep(folder: Path) -> None:
    """Remove what a session that was killed had not renamed into place; no other writes here."""
    for path in list(folder.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
