"""An index as a node came to know it: each value with the moment from which it counted, and when it was due.

    sextant/known/<name>/<first>_<last>.parquet    ts_event (known from), published_at (due), value

A daily history (`catalog.sentiment`) says when a value is due at the earliest; this says when it really was
there, late, corrected, or not at all. Where a catalog has both, a backtest takes this one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.arrow import TIME_TYPE, times_of
from catalog.series import publish, span_name
from catalog.store import Catalog
from configs.errors import DataError

__all__ = ["KnownColumns", "append_known", "read_known"]

_SCHEMA = pa.schema(
    [
        pa.field("ts_event", TIME_TYPE, nullable=False),
        pa.field("published_at", TIME_TYPE, nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class KnownColumns:
    """Values in the order in which they became known, each column of length n.

    known_at, published_at: int64 ns UTC, neither ever going back. value: float64, finite.
    """

    known_at: NDArray[np.int64]
    published_at: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.known_at)


def read_known(catalog: Catalog, name: str) -> KnownColumns:
    """Every value of an index; empty if none."""
    parts = [_load(path) for path in _files(catalog, name)]
    if not parts:
        return KnownColumns(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    table = pa.concat_tables(parts)
    due = table["published_at"].cast(pa.int64()).to_numpy()
    return KnownColumns(times_of(table), due, table["value"].to_numpy())


def append_known(catalog: Catalog, name: str, columns: KnownColumns) -> int:
    """Add what is news: a value due later than the newest one, or another value for the newest.

    Returns how many that were. What a node learns again when it starts is known already and stays as it is.
    """
    stored = read_known(catalog, name)
    rows = list(zip(*(_lists(stored)), strict=True))
    count = len(rows)
    for known_at, due, value in zip(*_lists(columns), strict=True):
        last_known, last_due, last_value = rows[-1] if rows else (known_at, -1, 0.0)
        is_correction = due == last_due and value != last_value and known_at >= last_known
        if due > last_due or is_correction:
            rows.append((max(known_at, last_known), due, value))
    if len(rows) > count:
        times, dues, values = zip(*rows, strict=True)
        _put(catalog, name, pa.table([times, dues, values], schema=_SCHEMA))
    return len(rows) - count


def _lists(columns: KnownColumns) -> tuple[list[int], list[int], list[float]]:
    return columns.known_at.tolist(), columns.published_at.tolist(), columns.value.tolist()


def _files(catalog: Catalog, name: str) -> list[Path]:
    return sorted((catalog.path / "sextant" / "known" / name).glob("*.parquet"))


def _load(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, schema=_SCHEMA)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no readable Parquet file ({error}); delete it") from error


def _put(catalog: Catalog, name: str, table: pa.Table) -> None:
    old_files, times = _files(catalog, name), times_of(table)
    folder = catalog.path / "sextant" / "known" / name
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / span_name(int(times[0]), int(times[-1]))
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        pq.write_table(table, temporary, compression="zstd")
        publish(temporary, final, old_files)
    finally:
        temporary.unlink(missing_ok=True)
