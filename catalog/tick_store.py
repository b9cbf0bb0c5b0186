"""Quotes and trades in the catalog, in Nautilus's own layout, and recordings on their way in.

    data/quotes/<instrument id>/<first>_<last>.parquet     read by Nautilus itself
    data/trades/<instrument id>/<first>_<last>.parquet     read by Nautilus itself
    data/bars/<instrument id>-1-SECOND-.../...             bars of one second, made of the trades

One file is one recording; files of a series do not overlap. Periods are half-open [start, end) on the receipt
(`ts_init`), which is the order and the clock of a replay.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from nautilus_trader.model import CurrencyPair, QuoteTick, TradeTick
from nautilus_trader.persistence import ParquetDataCatalog
from numpy.typing import NDArray

from catalog.arrow import TIME_TYPE, decimal_column, float_column, times_of
from catalog.columns import BarColumns, Grid, round_to_grid, to_grid, utc_text
from catalog.instruments import build_instrument, find_spec, instrument_name
from catalog.series import WriteResult, publish, span_name
from catalog.store import Catalog, grids
from catalog.ticks import (
    QuoteColumns,
    Recording,
    TradeColumns,
    join_recordings,
    read_stream,
    second_bars,
)
from configs.errors import DataError

__all__ = [
    "StreamResult",
    "append_ticks",
    "engine_ticks",
    "ingest_streams",
    "read_quotes",
    "read_trades",
    "remove_ticks",
    "require_ticks",
    "ticks_hash",
    "write_recording",
]

_QUOTE_VALUES = ("bid_price", "ask_price", "bid_size", "ask_size")
_TRADE_VALUES = ("price", "size")
_SIDES = {1: "BUY", -1: "SELL"}
_ROW_GROUP = 131_072
_SECOND = "1s"


@dataclass(frozen=True, slots=True)
class StreamResult:
    """One symbol's recording that is in the catalog now, received from `start` to `end` (ns UTC)."""

    paths: tuple[Path, ...]
    instrument_id: str
    status: str
    quotes: int
    trades: int
    bars: int
    start: int
    end: int
    clock_shift_ms: float
    sizes_rounded: int
    left_out: dict[str, int]


def ingest_streams(
    paths: Iterable[Path], *, catalog: Catalog, exchange_info: Path | None = None, replace: bool = False
) -> list[StreamResult]:
    """Store recordings of WebSocket streams (`catalog.ticks`): quotes, trades and bars of one second.

    `paths` are files, or folders searched for .gz. Files of one symbol that follow each other are stored as
    one recording. Symbol and market are told by the messages, the filters by the stored instrument,
    `exchange_info` or the shipped table. DataError names the file and what is wrong; nothing of that symbol
    is stored then.
    """
    groups: dict[str, list[tuple[Path, Recording]]] = {}
    for path in (file for given in paths for file in _recordings_in(given)):
        for recording in read_stream(path):
            name = instrument_name(recording.symbol, recording.market)
            groups.setdefault(name, []).append((path, recording))
    results = []
    for name, group in groups.items():
        joined = join_recordings([recording for _, recording in group])
        if exchange_info is not None or name not in catalog.instrument_ids():
            spec = find_spec(joined.symbol, joined.market, exchange_info)
            catalog.write_instrument(build_instrument(spec), replace=replace)
        stored = write_recording(catalog, name, joined, replace=replace)
        results.append(_result(tuple(path for path, _ in group), name, joined, stored))
    return results


def write_recording(
    catalog: Catalog, instrument_id: str, recording: Recording, *, replace: bool = False
) -> tuple[WriteResult, BarColumns]:
    """Store a recording's quotes, trades and one-second bars; the instrument must be stored already.

    Returns the status of the trades' write (`rounded` counts sizes of both) and the bars. A recording that is
    stored already stays; one that overlaps another is refused, unless `replace`: then it takes the others'
    place as a whole. DataError, too, when a price is off the tick or a perpetual's size off the lot step, and
    when no whole second with a trade is in it. Sizes on spot are rounded to the lot step, one at least.
    """
    instrument = catalog.instrument(instrument_id)
    bars = second_bars(recording)
    if not len(bars):
        raise DataError(f"the recording of {instrument_id} is too short for a bar of one second")
    price, size = grids(instrument)
    loose = isinstance(instrument, CurrencyPair)
    quotes, rounded_quotes = _quotes_table(recording.quotes, instrument_id, price, size, loose=loose)
    trades, rounded_trades = _trades_table(recording.trades, instrument_id, price, size, loose=loose)
    results = [
        _write(_folder(catalog, kind, instrument_id), table, f"{kind} of {instrument_id}", replace=replace)
        for kind, table in (("quotes", quotes), ("trades", trades))
        if table.num_rows
    ]
    catalog.write_bars(instrument_id, _SECOND, bars, replace=replace)
    return WriteResult(results[-1].status, results[-1].rows, 0, rounded_quotes + rounded_trades), bars


def append_ticks(catalog: Catalog, instrument_id: str, ticks: QuoteColumns | TradeColumns) -> int:
    """Store quotes or trades received after all stored ones of their kind as a file of their own.

    The instrument must be stored already. Returns how many that were: ticks not received after the newest
    stored file's last are left out, they are stored already, or came while the clock was behind. DataError as
    `write_recording`.
    """
    instrument = catalog.instrument(instrument_id)
    kind = "quotes" if isinstance(ticks, QuoteColumns) else "trades"
    folder = _folder(catalog, kind, instrument_id)
    files = _files(folder)
    if files:
        ticks = ticks.between(_span(files[-1])[1] + 1, np.iinfo(np.int64).max)
    if not len(ticks):
        return 0
    price, size = grids(instrument)
    loose = isinstance(instrument, CurrencyPair)
    if isinstance(ticks, QuoteColumns):
        table, _ = _quotes_table(ticks, instrument_id, price, size, loose=loose)
    else:
        table, _ = _trades_table(ticks, instrument_id, price, size, loose=loose)
    _publish(folder, table, [])
    return len(ticks)


def remove_ticks(catalog: Catalog, kind: str, instrument_id: str, keep_ns: int) -> int:
    """Remove files of quotes or trades (`kind`) that all came over `keep_ns` before the newest; how many."""
    files = _files(_folder(catalog, kind, instrument_id))
    if not files:
        return 0
    oldest = _span(files[-1])[1] - keep_ns
    gone = 0
    for path in files[:-1]:
        if _span(path)[1] >= oldest:
            break
        path.unlink()
        gone += 1
    return gone


def read_quotes(catalog: Catalog, instrument_id: str, start: int, end: int) -> QuoteColumns:
    """Quotes received in [start, end) ns, values equal to parsing the stored decimals; empty if none."""
    table = _read(_folder(catalog, "quotes", instrument_id), start, end)
    if table is None:
        return QuoteColumns(*_no_times(), *(np.empty(0) for _ in _QUOTE_VALUES))
    price, size = _precisions(table)
    bid, ask = (float_column(table[name], price) for name in _QUOTE_VALUES[:2])
    bid_size, ask_size = (float_column(table[name], size) for name in _QUOTE_VALUES[2:])
    return QuoteColumns(times_of(table), _received(table), bid, ask, bid_size, ask_size)


def read_trades(catalog: Catalog, instrument_id: str, start: int, end: int) -> TradeColumns:
    """Trades received in [start, end) ns, as `read_quotes`."""
    table = _read(_folder(catalog, "trades", instrument_id), start, end)
    if table is None:
        none = np.empty(0)
        return TradeColumns(*_no_times(), none, none, none.astype(np.int8), none.astype(np.int64))
    price, size = _precisions(table)
    bought = pc.equal(table["aggressor_side"].cast(pa.string()), _SIDES[1]).to_numpy()
    return TradeColumns(
        times_of(table),
        _received(table),
        float_column(table["price"], price),
        float_column(table["size"], size),
        np.where(bought, 1, -1).astype(np.int8),
        table["trade_id"].cast(pa.int64()).to_numpy(),
    )


def engine_ticks(
    catalog: Catalog, instrument_id: str, start: int, end: int
) -> tuple[list[QuoteTick], list[TradeTick]]:
    """Quotes and trades received in [start, end) ns as Nautilus's own objects, read by Nautilus."""
    reader = ParquetDataCatalog(str(catalog.path))
    stored = {kind: _files(_folder(catalog, kind, instrument_id)) for kind in ("quotes", "trades")}
    names, last = [instrument_id], end - 1
    quotes = reader.query_quote_ticks(names, start=start, end=last) if stored["quotes"] else []
    trades = reader.query_trade_ticks(names, start=start, end=last) if stored["trades"] else []
    return quotes, trades


def require_ticks(catalog: Catalog, instrument_id: str, start: int, end: int) -> None:
    """DataError when no quote or no trade of the instrument is stored in [start, end)."""
    for kind in ("quotes", "trades"):
        spans = [_span(path) for path in _files(_folder(catalog, kind, instrument_id))]
        if not any(first < end and last >= start for first, last in spans):
            stored = "; ".join(f"{utc_text(a)} to {utc_text(b)}" for a, b in spans) or "none"
            raise DataError(
                f"no {kind} of {instrument_id} from {utc_text(start)} to {utc_text(end)} (stored: {stored}); "
                "record its streams and ingest them with --format stream, or choose another period"
            )


def ticks_hash(quotes: QuoteColumns, trades: TradeColumns) -> str:
    """sha256 over every value, little endian: it depends on the data alone."""
    digest = hashlib.sha256(f"ticks/1|{len(quotes)}|{len(trades)}".encode())
    for values in (*quotes.columns(), *trades.columns()):
        digest.update(values.astype("<f8" if values.dtype.kind == "f" else "<i8").tobytes())
    return digest.hexdigest()


def _recordings_in(path: Path) -> list[Path]:
    found = sorted(path.rglob("*.gz")) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise DataError(f"{path} {'has no .gz files' if path.is_dir() else 'is not there'}")
    return found


def _result(
    paths: tuple[Path, ...], name: str, recording: Recording, stored: tuple[WriteResult, BarColumns]
) -> StreamResult:
    write, bars = stored
    return StreamResult(
        paths=paths,
        instrument_id=name,
        status=write.status,
        quotes=len(recording.quotes),
        trades=len(recording.trades),
        bars=len(bars),
        start=recording.span[0],
        end=recording.span[1],
        clock_shift_ms=recording.clock_shift_ns / 1e6,
        sizes_rounded=write.rounded,
        left_out=dict(recording.left_out),
    )


def _quotes_table(
    quotes: QuoteColumns, name: str, price: Grid, size: Grid, *, loose: bool
) -> tuple[pa.Table, int]:
    values = {column: getattr(quotes, column) for column in _QUOTE_VALUES}
    arrays, rounded = _decimals(values, f"quotes of {name}", price, size, loose=loose)
    return _table(arrays, quotes.ts_event, quotes.ts_init, _metadata("QuoteTick", name, price, size)), rounded


def _trades_table(
    trades: TradeColumns, name: str, price: Grid, size: Grid, *, loose: bool
) -> tuple[pa.Table, int]:
    values = {column: getattr(trades, column) for column in _TRADE_VALUES}
    arrays, rounded = _decimals(values, f"trades of {name}", price, size, loose=loose)
    codes = pa.array(np.where(trades.side > 0, 0, 1).astype(np.int8))
    arrays["aggressor_side"] = pa.DictionaryArray.from_arrays(codes, list(_SIDES.values()))
    arrays["trade_id"] = pa.array(trades.trade_id).cast(pa.string())
    return _table(arrays, trades.ts_event, trades.ts_init, _metadata("TradeTick", name, price, size)), rounded


def _decimals(
    values: dict[str, NDArray[np.float64]], label: str, price: Grid, size: Grid, *, loose: bool
) -> tuple[dict[str, Any], int]:
    """The columns as decimals, and how many sizes were rounded (only if `loose`)."""
    arrays, rounded = {}, 0
    for name, column in values.items():
        grid = size if name.endswith("size") else price
        if loose and grid is size:
            rounded += len(to_grid(column, grid)[1])
            column = np.maximum(round_to_grid(column, grid)[0], float(grid.step))  # noqa: PLW2901
        units, off = to_grid(column, grid)
        if len(off):
            raise DataError(
                f"{label}: {name} {float(column[off[0]])!r} is no multiple of the instrument's step "
                f"{grid.step:f} ({len(off)} such values); give filters that cover it with --exchange-info"
            )
        arrays[name] = decimal_column(units, grid.precision)
    return arrays, rounded


def _metadata(kind: str, name: str, price: Grid, size: Grid) -> dict[str, str]:
    return {
        "instrument_id": name,
        "price_precision": str(price.precision),
        "size_precision": str(size.precision),
        "type_name": kind,
    }


def _table(
    arrays: dict[str, Any], ts_event: NDArray[np.int64], ts_init: NDArray[np.int64], metadata: dict[str, str]
) -> pa.Table:
    arrays |= {"ts_event": pa.array(ts_event, type=TIME_TYPE), "ts_init": pa.array(ts_init, type=TIME_TYPE)}
    fields = [pa.field(name, array.type, nullable=False) for name, array in arrays.items()]
    return pa.table(list(arrays.values()), schema=pa.schema(fields, metadata=metadata))


def _folder(catalog: Catalog, kind: str, instrument_id: str) -> Path:
    return catalog.path / "data" / kind / instrument_id


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _write(folder: Path, table: pa.Table, label: str, *, replace: bool) -> WriteResult:
    received = _received(table)
    first, last = int(received[0]), int(received[-1])
    others = [(path, _span(path)) for path in _files(folder)]
    same = [(path, span) for path, span in others if span[0] <= last and span[1] >= first]
    if len(same) == 1 and same[0][1] == (first, last) and _load(same[0][0]).equals(table):
        return WriteResult("identical", 0)
    if same and not replace:
        begin, until = same[0][1]
        raise DataError(
            f"{same[0][0]} already holds {label} from {utc_text(begin)} to {utc_text(until)}; nothing was "
            "written; use --replace to put the new recording in its place"
        )
    _publish(folder, table, [path for path, _ in same])
    return WriteResult("replaced" if same else "written", table.num_rows)


def _publish(folder: Path, table: pa.Table, old_files: list[Path]) -> None:
    received = _received(table)
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / span_name(int(received[0]), int(received[-1]))
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROW_GROUP)
        publish(temporary, final, old_files)
    finally:
        temporary.unlink(missing_ok=True)


def _read(folder: Path, start: int, end: int) -> pa.Table | None:
    """The ticks received in [start, end), or None when there are none."""
    files = [path for path, (first, last) in _spans(_files(folder)) if first < end and last >= start]
    if not files:
        return None
    table = pa.concat_tables([_load(path) for path in files])
    low, high = np.searchsorted(_received(table), [start, end])
    return table.slice(low, high - low) if high > low else None


def _spans(files: Sequence[Path]) -> list[tuple[Path, tuple[int, int]]]:
    return sorted(((path, _span(path)) for path in files), key=lambda item: item[1])


def _span(path: Path) -> tuple[int, int]:
    """Receipt of a file's first and last tick: from its statistics, which need no reading."""
    told = _told_span(path)
    if told is not None:
        return told
    received = _received(_load(path, ["ts_init"]))
    return int(received[0]), int(received[-1])


def _told_span(path: Path) -> tuple[int, int] | None:
    try:
        metadata = pq.read_metadata(path)
    except pa.ArrowInvalid:
        return None
    if "ts_init" not in metadata.schema.names:
        return None
    index = metadata.schema.names.index("ts_init")
    groups = range(metadata.num_row_groups)
    told = [metadata.row_group(group).column(index).statistics for group in groups]
    if not told or any(statistics is None or not statistics.has_min_max for statistics in told):
        return None
    return min(int(s.min_raw) for s in told), max(int(s.max_raw) for s in told)


def _load(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=columns).replace_schema_metadata(file.schema_arrow.metadata)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no readable Parquet file ({error}); delete it, ingest again") from error


def _received(table: pa.Table) -> NDArray[np.int64]:
    times: NDArray[np.int64] = table["ts_init"].cast(pa.int64()).to_numpy()
    return times


def _no_times() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.empty(0, np.int64), np.empty(0, np.int64)


def _precisions(table: pa.Table) -> tuple[int, int]:
    metadata = table.schema.metadata or {}
    return int(metadata[b"price_precision"]), int(metadata[b"size_precision"])
