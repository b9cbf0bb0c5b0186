"""Files of rows: whatever a kill leaves of the last one, all before it is read."""

import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import DataError
from live.record.rows import ROWS, RowFile, read_rows

HEADER = 32
times = st.integers(1, 2**62)
prices = st.floats(0.01, 1e6)
rows = st.tuples(times, times, prices, prices, prices, prices, prices)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The disk is full beyond `size` bytes a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _write(path: Path, batches: list[list[tuple[Any, ...]]]) -> None:
    file = RowFile(path, "bars")
    for batch in batches:
        file.append(batch)
    file.sync()
    file.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(rows, min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_a_file_cut_at_any_byte_gives_every_row_before_the_cut(
    batches: list[list[tuple[Any, ...]]], data: st.DataObject
) -> None:
    written = [row for batch in batches for row in batch]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.rows"
        _write(path, batches)
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        found = read_rows(path)
    expected = written[: max(0, cut - HEADER) // 56]  # two times and five values of eight bytes
    assert [tuple(row) for row in found.tolist()] == expected


def test_zeros_that_a_crash_of_the_machine_left_are_no_rows(tmp_path: Path) -> None:
    _write(tmp_path / "a.rows", [[(1, 2, 1.0, 1.0, 1.0, 1.0, 0.0)]])
    with (tmp_path / "a.rows").open("ab") as file:
        file.write(bytes(3 * ROWS["bars"].itemsize))
    assert len(read_rows(tmp_path / "a.rows")) == 1


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rows").write_bytes(b"session,seq\n" * 10)
    with pytest.raises(DataError, match=r"a\.rows is no file of rows"):
        read_rows(tmp_path / "a.rows")


def test_a_full_disk_leaves_no_part_of_a_row_and_later_rows_follow_whole(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "a.rows", "quotes")
    file.append([(1, 1, 1.0, 2.0, 1.0, 1.0)])
    with file_size_limit(HEADER + 48 + 20), pytest.raises(OSError, match="too large"):
        file.append([(2, 2, 1.0, 2.0, 1.0, 1.0)])
    file.append([(3, 3, 1.0, 2.0, 1.0, 1.0)])
    file.close()
    np.testing.assert_array_equal(read_rows(tmp_path / "a.rows")["ts_event"], [1, 3])
