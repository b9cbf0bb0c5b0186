"""A file that grows by whole pieces waits for the disk only when something was written."""

import os
from pathlib import Path

import pytest

from live.record.append_file import AppendFile


def test_the_disk_is_waited_for_once_for_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(os, "fsync", waited.append)
    file = AppendFile(tmp_path / "lines")
    file.sync()  # what an earlier session has left may not be there yet
    for pieces in (1, 0, 2):
        for _ in range(pieces):
            file.append(b"piece")
        file.sync()
    file.close()
    assert len(waited) == 3
    assert (tmp_path / "lines").read_bytes() == 3 * b"piece"
