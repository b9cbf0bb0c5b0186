"""The audit file: every line in order, readable after a kill in the middle of one."""

import json
from pathlib import Path

from live.recorder import AuditFile


def _lines(folder: Path) -> list[bytes]:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl"))).splitlines()


def test_lines_are_numbered_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    file = AuditFile(tmp_path)
    for number in range(500):
        file.put({"detail": {"number": number, "path": tmp_path, "nothing": float("nan")}})
    file.close()
    told = [json.loads(line) for line in _lines(tmp_path)]
    assert [line["seq"] for line in told] == list(range(500))
    assert [line["detail"]["number"] for line in told] == list(range(500))
    assert told[0]["detail"] == {"number": 0, "path": str(tmp_path), "nothing": None}
    assert file.error is None


def test_a_line_that_a_kill_cut_off_spoils_no_other(tmp_path: Path) -> None:
    first = AuditFile(tmp_path)
    first.put({"detail": 1})
    first.close()
    (path,) = tmp_path.glob("*.jsonl")
    with path.open("ab") as cut:
        cut.write(b'{"session": "x", "se')
    second = AuditFile(tmp_path)
    second.put({"detail": 2})
    second.close()
    lines = _lines(tmp_path)
    assert len(lines) == 3
    assert [json.loads(lines[place])["detail"] for place in (0, 2)] == [1, 2]


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit")
    (tmp_path / "audit").rmdir()
    file.put({"detail": 1})
    file.close()
    assert isinstance(file.error, OSError)
