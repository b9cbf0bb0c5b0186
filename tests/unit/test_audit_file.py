"""The audit file: every line in order, readable after a kill in the middle of one, kept for a time."""

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest

from live.record.append_file import AppendFile
from live.record.audit_file import AuditFile, audit_files, tidy
from tests.live_nodes import until
from tests.unit.test_rows import file_size_limit


def _lines(folder: Path) -> list[bytes]:
    return b"".join(path.read_bytes() for path in audit_files(folder)).splitlines()


def _write(folder: Path, *values: dict[str, Any]) -> AuditFile:
    file = AuditFile(folder)
    for value in values:
        file.put(value)
    file.close()
    return file


def test_lines_are_numbered_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        *({"detail": {"number": n, "path": tmp_path, "nothing": float("nan")}} for n in range(500)),
    )
    told = [json.loads(line) for line in _lines(tmp_path)]
    assert [line["seq"] for line in told] == list(range(500))
    assert [line["detail"]["number"] for line in told] == list(range(500))
    assert told[0]["detail"] == {"number": 0, "path": str(tmp_path), "nothing": None}
    assert file.error is None


def test_a_line_that_a_kill_cut_off_spoils_no_other(tmp_path: Path) -> None:
    _write(tmp_path, {"detail": 1})
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("ab") as cut:
        cut.write(b'{"session": "x", "se')
    _write(tmp_path, {"detail": 2})
    lines = _lines(tmp_path)
    assert len(lines) == 3
    assert [json.loads(lines[place])["detail"] for place in (0, 2)] == [1, 2]


def test_the_disk_is_asked_to_keep_lines_a_while_after_they_came_and_without_another_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, kept = [], []
    sync = AppendFile.sync
    monkeypatch.setattr(AppendFile, "sync", lambda file: (kept.append(time.monotonic()), sync(file)))
    file = AuditFile(tmp_path)
    for number in range(2):
        put.append(time.monotonic())
        file.put({"detail": number})
        until(lambda: len(kept) == len(put), "the disk's turn")
    file.close()
    assert all(at - came > 0.4 for came, at in zip(put, kept, strict=False))


def test_a_disk_that_refuses_is_told_and_tried_again_and_nothing_is_lost(tmp_path: Path) -> None:
    file = AuditFile(tmp_path)
    file.put({"detail": "before"})
    until(lambda: _lines(tmp_path), "the first line")
    with file_size_limit(_lines(tmp_path)[0].__len__() + 10):
        file.put({"detail": "during"})
        until(lambda: file.error, "the refusal")
        assert isinstance(file.error, OSError)
    file.put({"detail": "after"})
    until(lambda: file.error is None, "the disk's return")
    file.close()
    assert [json.loads(line)["detail"] for line in _lines(tmp_path)] == ["before", "during", "after"]


def test_what_finds_no_room_is_counted_and_its_numbers_are_missing(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit", capacity=3)
    (tmp_path / "audit").rmdir()
    file.put({"detail": 0})
    until(lambda: file.error, "the refusal")
    for number in range(1, 6):
        file.put({"detail": number})
    (tmp_path / "audit").mkdir()
    until(lambda: file.error is None and file.depth == 0, "the disk's return")
    file.put({"detail": 6})
    file.close()
    assert file.drops == 2
    assert [json.loads(line)["seq"] for line in _lines(tmp_path / "audit")] == [0, 1, 2, 3, 6]


def test_a_file_that_grows_too_large_becomes_a_part_and_the_order_stays(tmp_path: Path) -> None:
    for number in range(4):
        file = AuditFile(tmp_path, most_bytes=100)
        file.put({"detail": number, "filler": "x" * 100})
        file.close()
    names = [path.name for path in audit_files(tmp_path)]
    day = names[-1].removeprefix("audit-")[:8]
    assert names == [f"audit-{day}-{n:03}.jsonl" for n in (1, 2, 3)] + [f"audit-{day}.jsonl"]
    assert [json.loads(line)["detail"] for line in _lines(tmp_path)] == [0, 1, 2, 3]


def test_old_days_are_compressed_and_older_ones_go(tmp_path: Path) -> None:
    days = ("20261018", "20261021", "20261119", "20261120", "20261121")
    for day in days:
        (tmp_path / f"audit-{day}.jsonl").write_text(f'{{"day": {day}}}\n')
    (tmp_path / "audit-20261101.jsonl.gz.tmp").write_bytes(b"half")
    tidy(tmp_path, "20261121", 31)
    assert [path.name for path in audit_files(tmp_path)] == [
        *(f"audit-{day}.jsonl.gz" for day in days[1:3]),
        *(f"audit-{day}.jsonl" for day in days[3:]),
    ]
    assert gzip.decompress((tmp_path / "audit-20261119.jsonl.gz").read_bytes()) == b'{"day": 20261119}\n'
    assert not list(tmp_path.glob("*.tmp"))


def test_a_file_that_a_kill_left_in_both_forms_counts_once(tmp_path: Path) -> None:
    (tmp_path / "audit-20261119.jsonl").write_text("{}\n")
    (tmp_path / "audit-20261119.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    assert [path.name for path in audit_files(tmp_path)] == ["audit-20261119.jsonl"]
    tidy(tmp_path, "20261121", None)
    assert [path.name for path in audit_files(tmp_path)] == ["audit-20261119.jsonl.gz"]
    assert not (tmp_path / "audit-20261119.jsonl").exists()


def test_what_is_in_no_file_at_the_end_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    file = AuditFile(folder, capacity=3)
    folder.rmdir()
    file.put({"detail": 0})
    until(lambda: file.error, "the refusal")
    for number in range(1, 6):
        file.put({"detail": number})
    file.close()
    assert file.lost.startswith(f"6 lines of the audit stream are not in {folder}: [Errno 2]")
    kept = AuditFile(tmp_path / "kept")
    kept.put({"detail": 0})
    kept.close()
    assert kept.lost == ""
