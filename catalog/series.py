"""One time series in Parquet: merged on write, replaced as a whole, never half-written.

A series is one file `<first>_<last>.parquet` (Nautilus's naming, close times) in its own folder. A write
makes the merged file under a name that readers do not see and then renames it over the old one, so that a
reader, also after a kill or with a full disk, finds either the old series or the new one. Each write rewrites
the series' file: hand over as much at once as fits.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from catalog.arrow import times_of
from catalog.columns import utc_text
from configs.errors import DataError

__all__ = ["Series", "WriteResult", "publish", "span_name"]

_ROW_GROUP = 131_072
_STALE_SECS = 3600
_ATTEMPTS = 5
_TIMES = {"ts_event", "ts_init"}


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did.

    `rows` were added or changed; `kept` stored rows of the period were not in the given data; `rounded`
    volumes were no multiples of the lot step (see `Catalog.write_bars`).
    """

    status: Literal["written", "identical", "replaced"]
    rows: int
    kept: int = 0
    rounded: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """A folder with one series; `label` names it in messages; a row's time less `shift_ns` is its open."""

    folder: Path
    label: str
    shift_ns: int = 0

    def files(self) -> list[Path]:
        """The Parquet files, oldest first (one, unless another program wrote here)."""
        return sorted(self.folder.glob("*.parquet")) if self.folder.is_dir() else []

    def times(self) -> NDArray[np.int64]:
        """Every stored ts_event, int64 ns, in order."""
        table = self.read(columns=["ts_event"])
        return np.empty(0, np.int64) if table is None else times_of(table)

    def read(
        self, first: int | None = None, last: int | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table | None:
        """The rows with first <= ts_event <= last, or None when nothing is stored."""
        for _ in range(_ATTEMPTS):
            paths = self.files()
            if not paths:
                return None
            try:
                parts = [_read_file(path, first, last, columns) for path in paths]
            except FileNotFoundError:  # a writer has just renamed it
                continue
            return parts[0] if len(parts) == 1 else self._joined(parts)
        raise DataError(f"{self.folder} changes while it is read; try again")

    def parts(self) -> list[pa.Table]:
        """Every file as it is, for looking into what `read` would mend or refuse."""
        return [_read_file(path, None, None, None) for path in self.files()]

    def write(self, table: pa.Table, *, replace: bool = False) -> WriteResult:
        """Merge a table (at least one row, times increasing) into the series.

        Rows that are stored already with the same values stay; new ones are added. A row stored with other
        values is refused with DataError, unless `replace`: then the whole period is taken from the table.
        """
        old_files = self.files()
        before = _signature(old_files)
        old = self.read()
        if old is None:
            self._put(table, old_files, before)
            return WriteResult("written", table.num_rows)
        if not old.schema.equals(table.schema, check_metadata=True):
            raise DataError(f"{self.label} are stored with another precision; use a new catalog folder")
        old_times, new_times = times_of(old), times_of(table)
        low = int(np.searchsorted(old_times, new_times[0]))
        high = int(np.searchsorted(old_times, new_times[-1], side="right"))
        middle = old.slice(low, high - low)
        fresh, differing = _compare(middle, old_times[low:high], table, new_times)
        if len(differing) and not replace:
            raise DataError(self._conflict(old_files[0], middle, table, differing))
        added = int(fresh.sum())
        kept = middle.num_rows - (table.num_rows - added)
        changed = len(differing) > 0 or (replace and kept > 0)
        if not added and not changed:
            return WriteResult("identical", 0, kept)
        inside = table if replace or not middle.num_rows else _union(middle, table.filter(pa.array(fresh)))
        self._put(pa.concat_tables([old.slice(0, low), inside, old.slice(high)]), old_files, before)
        if changed:
            return WriteResult("replaced", added + len(differing))
        return WriteResult("written", added, kept)

    def trim(self, first: int) -> int:
        """Take out the rows with ts_event < first, but not the newest row; returns how many they were."""
        old_files = self.files()
        before = _signature(old_files)
        table = self.read()
        if table is None:
            return 0
        gone = min(int(np.searchsorted(times_of(table), first)), int(table.num_rows) - 1)
        if gone:
            self._put(table.slice(gone), old_files, before)
        return gone

    def _put(self, table: pa.Table, old_files: list[Path], before: list[tuple[int, ...]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _sweep(self.folder)
        times = table["ts_event"].cast(pa.int64())
        final = self.folder / span_name(times[0].as_py(), times[-1].as_py())
        temporary = self.folder / f".{final.name}.{os.getpid()}.tmp"
        try:
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                row_group_size=_ROW_GROUP,
                use_dictionary=False,
                column_encoding=dict.fromkeys(_TIMES & set(table.schema.names), "DELTA_BINARY_PACKED"),
            )
            if _signature(self.files()) != before:
                raise DataError(f"{self.label} were changed by another process meanwhile; run it again")
            publish(temporary, final, old_files)
        finally:
            temporary.unlink(missing_ok=True)

    def _joined(self, parts: list[pa.Table]) -> pa.Table:
        """Several files (another writer's) as one series: in order, and rows present twice once."""
        table = pa.concat_tables(parts)
        times = times_of(table)
        order = np.argsort(times, kind="stable")
        times = times[order]
        table = table.take(pa.array(order)).combine_chunks()
        twice = np.flatnonzero(times[1:] == times[:-1])
        if not len(twice):
            return table
        first, second = table.take(pa.array(twice)), table.take(pa.array(twice + 1))
        if _differences(first, second).any():
            raise DataError(
                f"{self.label} hold two different rows at {utc_text(times[twice[0]])}; "
                f"delete {self.folder} and ingest again"
            )
        single = np.ones(len(times), bool)
        single[twice + 1] = False
        return table.filter(pa.array(single))

    def _conflict(self, path: Path, old: pa.Table, new: pa.Table, differing: NDArray[np.int64]) -> str:
        times = times_of(new)
        row = int(differing[0])
        stored = old.slice(int(np.searchsorted(times_of(old), times[row])), 1).to_pylist()[0]
        given = new.slice(row, 1).to_pylist()[0]
        changes = [
            f"{key} {_plain(stored[key])} stored, {_plain(given[key])} given"
            for key in given
            if stored[key] != given[key]
        ]
        opened, last = utc_text(times[row] - self.shift_ns), utc_text(times[differing[-1]] - self.shift_ns)
        period = f"{utc_text(times[0] - self.shift_ns)} to {utc_text(times[-1])}"
        return (
            f"{path} already holds other values for {self.label} from {period}: first at {opened} "
            f"({', '.join(changes)}), {len(differing)} rows differ, last at {last}; nothing was written; "
            f"use --replace to overwrite the period"
        )


def span_name(first: int, last: int) -> str:
    """Nautilus's file name for rows from `first` to `last` (ns, both included)."""
    return f"{_stamp(first)}_{_stamp(last)}.parquet"


def publish(temporary: Path, final: Path, old_files: Sequence[Path]) -> None:
    """Put a finished file in the place of the old ones.

    The content changes in one rename, onto the old name; only then the file takes the name of its new period.
    So a kill between two steps leaves the whole new series under a name that says too little, never two files
    that overlap and never none. It is on the disk before it is renamed, for a crash of the machine.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    if not old_files:
        temporary.replace(final)
        return
    current, *others = old_files
    temporary.replace(current)
    for path in others:
        path.unlink()
    if current != final:
        current.replace(final)


def _stamp(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H-%M-%S}-{rest:09d}Z"


def _plain(value: object) -> str:
    text = f"{value:f}" if hasattr(value, "as_tuple") else str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _signature(paths: Iterable[Path]) -> list[tuple[int, ...]]:
    states = (path.stat() for path in paths)
    return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]


def _sweep(folder: Path) -> None:
    """Remove what a process killed long ago left behind."""
    for path in folder.glob(".*.tmp"):
        if time.time() - path.stat().st_mtime > _STALE_SECS:
            path.unlink(missing_ok=True)


def _read_file(path: Path, first: int | None, last: int | None, columns: Sequence[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            groups = _groups(file.metadata, first, last)
            table = file.read_row_groups(groups, columns=None if columns is None else list(columns))
            table = table.replace_schema_metadata(
                file.schema_arrow.metadata
            )  # not read along from every writer
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is no readable Parquet file ({error}); delete it, ingest again") from error
    if (first is None and last is None) or not table.num_rows:
        return table
    times = times_of(table)
    low = 0 if first is None else int(np.searchsorted(times, first))
    high = len(times) if last is None else int(np.searchsorted(times, last, side="right"))
    return table.slice(low, max(0, high - low))


def _groups(metadata: pq.FileMetaData, first: int | None, last: int | None) -> list[int]:
    """The row groups that may hold rows of the period, by their statistics."""
    everything = list(range(metadata.num_row_groups))
    if (first is None and last is None) or not everything:
        return everything
    index = metadata.schema.names.index("ts_event")
    chosen = []
    for group in everything:
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max:
            return everything
        early = last is None or statistics.min_raw <= last
        late = first is None or statistics.max_raw >= first
        if early and late:
            chosen.append(group)
    return chosen


def _compare(
    old: pa.Table, old_times: NDArray[np.int64], new: pa.Table, new_times: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which new rows are not stored yet (bool[n]), and the indices of those stored with other values."""
    fresh = np.ones(len(new_times), bool)
    if not len(old_times):
        return fresh, np.empty(0, np.int64)
    place = np.minimum(np.searchsorted(old_times, new_times), len(old_times) - 1)
    fresh = old_times[place] != new_times
    both = np.flatnonzero(~fresh)
    changed = _differences(old.take(pa.array(place[both])), new.take(pa.array(both)))
    return fresh, both[changed]


def _differences(left: pa.Table, right: pa.Table) -> NDArray[np.bool_]:
    """Row by row, whether any column differs."""
    result = np.zeros(left.num_rows, bool)
    for name in left.schema.names:
        result |= pc.not_equal(left[name], right[name]).to_numpy()
    return result


def _union(old: pa.Table, fresh: pa.Table) -> pa.Table:
    table = pa.concat_tables([old, fresh])
    return table.take(pa.array(np.argsort(times_of(table), kind="stable")))
