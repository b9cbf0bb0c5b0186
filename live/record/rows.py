"""Ticks on their way into Parquet: rows of one length, in files that are only ever appended to.

A file begins with a header that names its kind; then row follows row. Whatever a kill leaves of the last row
is no whole row and is not read; a session never goes on in a file of another one, so nothing follows it.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from live.record.append_file import AppendFile

__all__ = ["ROWS", "RowFile", "RowKind", "read_rows"]

type RowKind = Literal["bars", "quotes", "trades", "known", "funding", "mark"]


def _row(times: tuple[str, ...], values: tuple[str, ...], counts: tuple[str, ...] = ()) -> np.dtype[Any]:
    integers = [(name, "<i8") for name in times]
    return np.dtype([*integers, *((name, "<f8") for name in values), *((name, "<i8") for name in counts)])


_BOTH = ("ts_event", "ts_init")
ROWS: dict[RowKind, np.dtype[Any]] = {
    "bars": _row(_BOTH, ("open", "high", "low", "close", "volume")),
    "quotes": _row(_BOTH, ("bid_price", "ask_price", "bid_size", "ask_size")),
    "trades": _row(_BOTH, ("price", "size"), ("side", "trade_id")),
    "known": _row(("ts_event", "published_at"), ("value",)),
    "funding": _row(("ts_event",), ("rate",)),
    "mark": _row(("ts_event",), ("price",)),
}
_HEADERS: dict[RowKind, bytes] = {kind: f"sextant rows 1 {kind}\n".ljust(32).encode() for kind in ROWS}
_HEADER_BYTES = 32


class RowFile:
    """A new file of rows; what `append` has returned from survives a kill of the process."""

    def __init__(self, path: Path, kind: RowKind) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._row = ROWS[kind]
        self._file = AppendFile(path, is_new=True)
        self._file.append(_HEADERS[kind])
        self.sync, self.close = self._file.sync, self._file.close

    def append(self, rows: list[tuple[Any, ...]]) -> None:
        """Write rows, all or none; OSError when the disk refuses them."""
        self._file.append(np.array(rows, self._row).tobytes())


def read_rows(path: Path) -> NDArray[Any]:
    """All whole rows of a file, as `ROWS` has them; none of one that a kill has cut in its header.

    Where a crash of the machine has left zeros, the rows end. DataError when it is no file of rows.
    """
    data = path.read_bytes()
    header = data[:_HEADER_BYTES]
    kinds = [kind for kind, whole in _HEADERS.items() if whole.startswith(header)]
    if not kinds:
        raise DataError(f"{path} is no file of rows; move it away")
    row = ROWS[kinds[0]]
    count = max(0, len(data) - _HEADER_BYTES) // row.itemsize
    rows = np.frombuffer(data, row, count, _HEADER_BYTES if count else 0)
    empty = np.flatnonzero(rows["ts_event"] <= 0)
    return rows[: empty[0]] if len(empty) else rows
