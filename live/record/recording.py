"""What a node has seen, as a catalog: `catalog.store` opens it and a backtest replays it.

    catalog/data/...                                       the catalog's own layout
    catalog/journal/<instrument>/<kind>-<begun>.rows       what is in no Parquet file yet (`live.record.rows`)

The node's thread only puts what it hears into a queue; a thread of its own appends it to the journal within a
twentieth of a second. Another one folds what the journal had into Parquet every `rotate_minutes`, and when
the next session begins; what is heard meanwhile goes into new files of the journal. At the end all is folded.
So a kill loses what was in the queue, whatever it interrupts: a journal file goes only after its rows are in
a Parquet file, and rows that are stored already are not stored again.

Bars are stamped at their close, on the grid of their length; of a bar that came twice the first counts. Of a
tick `ts_event` is the venue's time and `ts_init` its receipt by this machine's clock. **Receipts of one
instrument rise strictly, over its quotes, trades and bars together, in the order in which the node heard
them**: a bar of a second is made some milliseconds after its second, of the trades that came until then, so
it is stored as the node saw it and with the place that it had among them. A replay in the order of receipt
then knows at each bar what the node knew. A quote that is no market (bid not below ask, nothing offered) and
a trade whose taker is not told are left out: the tape does not hear the latter either.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from nautilus_trader.model import AggressorSide, Bar, QuoteTick, TradeTick

from actors.bar_time import closed_at
from catalog.columns import BarColumns, interval_ns
from catalog.store import Catalog, Instrument
from configs.errors import DataError
from configs.schema import RecordConfig
from live.record.folding import fold_journal, forget, journal_file, journal_files, sweep
from live.record.rows import RowFile, RowKind
from live.record.settlements import settled_at
from live.venue.answers import FundingRate

__all__ = ["MarketWriter"]

_LOOK_SECS = 0.05
_SYNC_SECS = 1.0
_RETRY_SECS = 60.0
_END_SECS = 30.0
_CAPACITY = 200_000
_SLICE = 250
_YIELD_SECS = 0.0005
_SIDES = {AggressorSide.BUY: 1, AggressorSide.SELL: -1}

type _Key = tuple[str, RowKind]
type Tick = Bar | QuoteTick | TradeTick


class _History(NamedTuple):
    """Bars that did not come over the stream."""

    name: str
    bars: BarColumns


class _Told(NamedTuple):
    """A row as it will be written."""

    name: str
    kind: RowKind
    row: tuple[Any, ...]


class _Settled(NamedTuple):
    """An instrument's funding, oldest first."""

    name: str
    rates: Sequence[FundingRate]


class MarketWriter:
    """Bars, ticks, funding and indices into the catalog at `folder`, made when it is not there.

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
        self._queue: deque[Tick | _History | _Told | _Settled] = deque()
        self._waiting: dict[_Key, list[tuple[Any, ...]]] = {}
        self._files: dict[_Key, RowFile] = {}
        self._names: dict[Any, str] = {}
        self._heard: dict[str, int] = {}
        self._refused = ""
        self._fold_refused = ""
        self._stored: set[str] = set()
        self._folding: threading.Thread | None = None
        self._is_begun = False
        self._unsynced_since = math.inf
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

    def put(self, tick: Tick) -> None:
        """Take a tick of one of the instruments; never waits."""
        if len(self._queue) >= self._capacity:
            self.drops += 1
        else:
            self._queue.append(tick)

    def keep(self, instrument_id: str, bars: BarColumns) -> None:
        """Take bars that came otherwise: the history of the warm-up, a gap that was filled."""
        self._queue.append(_History(instrument_id, bars))

    def learn(self, index: str, known_at: int, value: float, published_at: int) -> None:
        """Take a value of an index that has come to count (times in ns UTC)."""
        self._queue.append(_Told(index, "known", (known_at, published_at, value)))

    def settle(self, instrument_id: str, rates: Sequence[FundingRate]) -> None:
        """Take funding that has been settled; what is stored already changes nothing."""
        self._queue.append(_Settled(instrument_id, rates))

    @property
    def depth(self) -> int:
        """Ticks that wait to be written."""
        return len(self._queue)

    def close(self) -> None:
        """Write and fold what is left, and end the thread."""
        self._ended.set()
        self._thread.join(_END_SECS)

    @property
    def lost(self) -> str:
        """Once it is closed: what it could not keep, where and why, in one line; empty when it has all."""
        left = sum(map(_rows_in, tuple(self._queue)))
        rows = self.drops + left + sum(len(rows) for rows in tuple(self._waiting.values()))
        refused = self._refused or self._fold_refused
        why = refused or ("the disk does not answer" if self._thread.is_alive() else "it found no room")
        if rows:
            return f"{rows} rows of the recorded market are not in {self._folder}: {why}"
        is_whole = not (refused or self._thread.is_alive())
        return "" if is_whole else f"the recorded market in {self._folder} waits in its journal: {why}"

    # -- the writer's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            is_last = self._ended.is_set()
            now = time.monotonic()
            if is_last or now >= self._not_before:
                if self._attempt(self._write) and self._queue:
                    time.sleep(_YIELD_SECS)
                    continue
                if is_last:
                    self._attempt(self._fold_all)
                elif now >= self._rotates_at:
                    self._attempt(self._rotate)
            if is_last:
                return
            self._ended.wait(_LOOK_SECS)

    def _attempt(self, work: Callable[[], None]) -> bool:
        """What the disk refuses is tried again later: meanwhile the queue fills, and then drops."""
        try:
            work()
            self._refused = ""
            return True
        except (OSError, DataError) as error:
            self._refused = str(error)
            self._not_before = time.monotonic() + _RETRY_SECS
            self._close_files()
            self.problems.append(f"the recording waits {_RETRY_SECS:.0f} s: {error}")
            return False

    def _write(self) -> None:
        if not self._is_begun:
            self._begin()
        self._store_instruments()
        self._append()

    def _append(self) -> None:
        """A slice of what waits, into the journal."""
        self._drain()
        for key, rows in self._waiting.items():
            if rows:
                self._file(key).append(rows)
                rows.clear()
                self._unsynced_since = min(self._unsynced_since, time.monotonic())
        # not at once: what is written at a bar's close is there while orders wait for the disk
        if time.monotonic() - self._unsynced_since > _SYNC_SECS:
            for file in self._files.values():
                file.sync()
            self._unsynced_since = math.inf

    def _begin(self) -> None:
        """Have what another session left folded: as it was recorded, so before the instruments are stored."""
        catalog = Catalog.create(self._folder)
        sweep(self._folder)
        if self._has_changed(catalog):
            self.problems.extend(fold_journal(catalog))
        self._store_instruments()
        self._is_begun = True
        self._rotate()

    def _has_changed(self, catalog: Catalog) -> bool:
        """Whether an instrument is stored in another form than it has now."""
        try:
            for instrument in self._instruments.values():
                catalog.write_instrument(instrument)
        except DataError:
            return True
        return False

    def _store_instruments(self) -> None:
        """As they are now. With other decimals the recording begins anew: what was stored stays as it is."""
        if self._stored == self._instruments.keys():
            return
        try:
            self._store_missing()
        except DataError as error:
            self._put_aside(str(error))
            self._store_missing()  # before anything else opens the folder

    def _store_missing(self) -> None:
        catalog, missing = Catalog.create(self._folder), self._instruments.keys() - self._stored
        for name in missing:
            catalog.write_instrument(self._instruments[name], replace=True)
        self._stored |= missing

    def _put_aside(self, why: str) -> None:
        self._wait_for_fold()
        self._close_files()
        self.problems.extend(fold_journal(Catalog.open(self._folder)))
        aside = self._folder.with_name(f"{self._folder.name}-until-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
        self._folder.rename(aside)
        self._stored.clear()
        self.problems.append(f"{why}: the recording begins anew, the old one is {aside}")

    def _drain(self) -> None:
        """A slice: the interpreter's lock is the node's as well."""
        waiting = sum(len(rows) for rows in self._waiting.values())
        for _ in range(min(len(self._queue), self._capacity - waiting, _SLICE)):
            item = self._queue.popleft()
            if isinstance(item, _Told):
                self._rows_of(item.name, item.kind).append(item.row)
            elif isinstance(item, _Settled):
                self._take_settled(*item)
            elif isinstance(item, _History):
                self._take_history(*item)
            else:
                self._take(item)

    def _take_settled(self, name: str, rates: Sequence[FundingRate]) -> None:
        for rate in rates:
            ts = settled_at(rate)
            self._rows_of(name, "funding").append((ts, float(rate.funding_rate)))
            if rate.mark_price:
                self._rows_of(name, "mark").append((ts, float(rate.mark_price)))

    def _take_history(self, name: str, bars: BarColumns) -> None:
        columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
        rows = zip(bars.ts_event.tolist(), *(column.tolist() for column in columns), strict=True)
        self._rows_of(name, "bars").extend((ts, ts, *values) for ts, *values in rows)

    def _take(self, tick: Tick) -> None:
        """A tick's row, received after the one before it."""
        name = self._name(tick.bar_type.instrument_id if isinstance(tick, Bar) else tick.instrument_id)
        received = max(tick.ts_init, self._heard.get(name, 0) + 1)
        if isinstance(tick, QuoteTick):
            self._rows_of(name, "quotes").append(_quote_row(tick, received))
        elif isinstance(tick, TradeTick):
            self._rows_of(name, "trades").append(_trade_row(tick, received))
        else:
            closed = closed_at(tick.ts_event, self._bar_ns)
            received = max(received, closed)
            self._rows_of(name, "bars").append(_bar_row(tick, closed, received))
        self._heard[name] = received

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
            stem = f"bars-{self._interval}" if kind == "bars" else kind
            file = self._files[key] = RowFile(journal_file(self._folder, name, stem, begun), kind)
        return file

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    # -- folding -------------------------------------------------------------------------------------------

    def _rotate(self) -> None:
        """Have all that is in the journal by now folded elsewhere: that takes long."""
        if self._folding is not None and self._folding.is_alive():
            return
        self._close_files()
        self._rotates_at = time.monotonic() + 60.0 * self._config.rotate_minutes
        files = journal_files(self._folder)
        self._folding = threading.Thread(target=self._fold, args=(files,), name="fold", daemon=True)
        self._folding.start()

    def _fold(self, files: list[Path]) -> None:
        """On a thread of its own; what the disk refuses stays in the journal and is tried again."""
        try:
            self._put_away(files)
            self._fold_refused = ""
        except (OSError, DataError) as error:
            self._fold_refused = str(error)
            self._rotates_at = time.monotonic() + _RETRY_SECS
            self.problems.append(f"the recording is folded in {_RETRY_SECS:.0f} s: {error}")

    def _fold_all(self) -> None:
        self._wait_for_fold()
        self._close_files()
        self._put_away(journal_files(self._folder))
        self._fold_refused = ""

    def _put_away(self, files: list[Path]) -> None:
        catalog = Catalog.open(self._folder)
        self.problems.extend(fold_journal(catalog, files))
        for name in self._instruments:
            forget(catalog, name, self._interval, self._config.keep_days)

    def _wait_for_fold(self) -> None:
        if self._folding is not None:
            self._folding.join()


def _rows_in(item: Tick | _History | _Told | _Settled) -> int:
    if isinstance(item, _History):
        return len(item.bars)
    return len(item.rates) if isinstance(item, _Settled) else 1


def _quote_row(quote: QuoteTick, received: int) -> tuple[Any, ...]:
    return (
        quote.ts_event,
        received,
        quote.bid_price.as_double(),
        quote.ask_price.as_double(),
        quote.bid_size.as_double(),
        quote.ask_size.as_double(),
    )


def _trade_row(trade: TradeTick, received: int) -> tuple[Any, ...]:
    number = str(trade.trade_id)
    return (
        trade.ts_event,
        received,
        trade.price.as_double(),
        trade.size.as_double(),
        _SIDES.get(trade.aggressor_side, 0),
        int(number) if number.isdecimal() else 0,
    )


def _bar_row(bar: Bar, closed: int, received: int) -> tuple[Any, ...]:
    values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
    return (closed, received, *(value.as_double() for value in values))
