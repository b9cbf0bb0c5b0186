"""The journal of a recording put into the catalog's Parquet files, kind by kind."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.columns import MINUTE_NS, PRICE_FIELDS, BarColumns, FundingColumns, interval_ns
from catalog.known import KnownColumns, append_known
from catalog.store import Catalog
from catalog.tick_store import append_ticks, remove_ticks
from catalog.ticks import QuoteColumns, TradeColumns
from configs.errors import DataError
from live.record.rows import read_rows

__all__ = ["fold_journal", "forget", "journal_file", "journal_files", "sweep"]

_DAY_NS = 86_400_000_000_000
_QUOTE_VALUES = ("bid_price", "ask_price", "bid_size", "ask_size")

type _Fold = Callable[[Catalog, str, str, NDArray[Any]], int]


def journal_file(folder: Path, name: str, stem: str, begun_ns: int) -> Path:
    """Where rows of one series wait in a catalog; `stem` is their kind, and of bars their length."""
    return _journal(folder) / name / f"{stem}-{begun_ns}.rows"


def journal_files(folder: Path) -> list[Path]:
    """What a catalog's journal has now, the oldest of each series first."""
    return sorted(_journal(folder).glob("*/*.rows"))


def fold_journal(catalog: Catalog, files: Iterable[Path] | None = None) -> list[str]:
    """Put every row of `files` (None: of the whole journal) into the catalog's Parquet files and remove them.

    No writer may be at work on them, and none may be older than what is left of its series. Returns what an
    operator should know: files that could not be taken up (renamed to .refused, they are left alone from then
    on), rows that were left out.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in journal_files(catalog.path) if files is None else files:
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


def forget(catalog: Catalog, name: str, interval: str, keep_days: int) -> None:
    """Remove what is older than so many days before the newest: bars by the day, ticks by the file.

    Funding, its mark prices and indices stay: they are small, and what looks back on them does so for weeks.
    """
    keep_ns, series = keep_days * _DAY_NS, catalog.bar_series(name, interval)
    times = series.times()
    if len(times) and times[0] < times[-1] - keep_ns - _DAY_NS:  # each trim writes the series anew
        series.trim(int(times[-1]) - keep_ns)
    for kind in ("quotes", "trades"):
        remove_ticks(catalog, kind, name, keep_ns)


def sweep(folder: Path) -> None:
    """Remove what a session that was killed had not renamed into place; no other may be writing there."""
    for path in list(folder.rglob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _journal(folder: Path) -> Path:
    return folder / "journal"


def _fold_series(catalog: Catalog, name: str, stem: str, paths: list[Path]) -> int:
    """How many rows were left out."""
    parts = [rows for rows in map(read_rows, paths) if len(rows)]
    if not parts:
        return 0
    kind, _, interval = stem.partition("-")
    return _FOLDS[kind](catalog, name, interval, np.concatenate(parts))


def _fold_bars(catalog: Catalog, name: str, interval: str, rows: NDArray[Any]) -> int:
    new = _new(rows, catalog.bar_series(name, interval).times())
    if len(new):
        columns = BarColumns(new["ts_event"], *(new[field] for field in (*PRICE_FIELDS, "volume")))
        # between ticks the place of a bar decides what was known at it; longer ones meet no ticks
        heard = _received(new) if interval_ns(interval) < MINUTE_NS else None
        catalog.write_bars(name, interval, columns, received=heard)
    return 0


def _fold_quotes(catalog: Catalog, name: str, _: str, rows: NDArray[Any]) -> int:
    is_market = (rows["bid_price"] < rows["ask_price"]) & (rows["bid_size"] > 0) & (rows["ask_size"] > 0)
    kept = rows[is_market]
    values = (kept[field] for field in _QUOTE_VALUES)
    columns = QuoteColumns(kept["ts_event"], _received(kept), *values)
    return len(rows) - append_ticks(catalog, name, columns)


def _fold_trades(catalog: Catalog, name: str, _: str, rows: NDArray[Any]) -> int:
    kept = rows[(rows["price"] > 0) & (rows["size"] > 0) & (rows["side"] != 0)]
    side = kept["side"].astype(np.int8)
    columns = TradeColumns(
        kept["ts_event"], _received(kept), kept["price"], kept["size"], side, kept["trade_id"]
    )
    return len(rows) - append_ticks(catalog, name, columns)


def _fold_known(catalog: Catalog, name: str, _: str, rows: NDArray[Any]) -> int:
    """A node that starts learns much again that is stored: that is no row left out."""
    append_known(catalog, name, KnownColumns(rows["ts_event"], rows["published_at"], rows["value"]))
    return 0


def _fold_funding(catalog: Catalog, name: str, _: str, rows: NDArray[Any]) -> int:
    new = _new(rows, catalog.funding_series(name).times())
    if len(new):
        catalog.write_funding(name, FundingColumns(new["ts_event"], new["rate"]))
    return 0


def _fold_mark(catalog: Catalog, name: str, _: str, rows: NDArray[Any]) -> int:
    """The mark price of a settlement is stored as the minute that ends with it."""
    new = _new(rows, catalog.mark_series(name, "1m").times())
    if len(new):
        price = new["price"]
        minutes = BarColumns(new["ts_event"], price, price, price, price, np.zeros(len(new)))
        catalog.write_mark(name, "1m", minutes)
    return 0


def _new(rows: NDArray[Any], stored: NDArray[np.int64]) -> NDArray[Any]:
    """Of rows with one time the first, in order, and none whose time is stored."""
    times, first = np.unique(rows["ts_event"], return_index=True)
    return rows[first[~np.isin(times, stored)]]


def _received(rows: NDArray[Any]) -> NDArray[np.int64]:
    held: NDArray[np.int64] = np.maximum.accumulate(rows["ts_init"])
    return held


_FOLDS: dict[str, _Fold] = {
    "bars": _fold_bars,
    "quotes": _fold_quotes,
    "trades": _fold_trades,
    "known": _fold_known,
    "funding": _fold_funding,
    "mark": _fold_mark,
}
