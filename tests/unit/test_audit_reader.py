"""The audit stream read back: what concerns money is shown, what is missing found, a kill forgiven."""

import json
from pathlib import Path
from typing import Any

import pytest

from configs.console import run_app
from live.audit import app, check_lines, read_audit

DAY = "audit-20261121.jsonl"


def line(seq: int, session: str = "one", kind: str = "order", **detail: Any) -> str:
    values = {"session": session, "seq": seq, "wall": 1_763_683_200_000_000_000 + seq * 10**9, "ts": 1}
    values |= {"component": "momentum", "instrument": "BTCUSDT-PERP.BINANCE", "kind": kind, "detail": detail}
    return json.dumps(values) + "\n"


def stream(folder: Path, *lines: str) -> Path:
    (folder / "audit").mkdir(exist_ok=True)
    (folder / "audit" / DAY).write_text("".join(lines))
    return folder


def ends_with(code: int, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run_app(app, list(arguments))
    assert ended.value.code == code


def test_a_whole_stream_is_shown_with_what_concerns_money(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stream(
        tmp_path,
        line(0, kind="node", what="started"),
        line(1, kind="bar", close="1.0"),
        line(2, event="OrderFilled", role="entry", last_px="100.5"),
        line(3, kind="node", what="recorder_stopped"),
    )
    ends_with(0, str(folder))
    told = capsys.readouterr().out.splitlines()
    assert [text.split()[2] for text in told[:3]] == ["node", "order", "node"]
    assert told[1].endswith("OrderFilled entry last_px=100.5")
    assert told[-1] == "session one: 4 lines, ended"
    ends_with(0, str(folder / "audit"), "--kind", "bar")
    assert "close=1.0" in capsys.readouterr().out


def test_the_choices_narrow_what_is_shown_and_json_is_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stream(tmp_path, *(line(seq) for seq in range(5)))
    ends_with(0, str(folder), "--json", "--since", "2025-11-21T00:00:03")
    told = json.loads(capsys.readouterr().out)
    assert [each["seq"] for each in told["lines"]] == [3, 4]
    assert told["is_whole"]
    assert told["kinds"] == {"order": 5}
    ends_with(0, str(folder), "--json", "--instrument", "ETHUSDT-PERP.BINANCE")
    assert json.loads(capsys.readouterr().out)["lines"] == []


def test_missing_numbers_are_lost_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stream(tmp_path, line(0), line(3), line(1, "two"), line(2, "two"))
    ends_with(1, str(folder))
    told = capsys.readouterr().out
    assert "session one: 2 lines, 2 LOST, killed, or still running" in told
    assert "session two: 2 lines, 1 LOST" in told


def test_what_a_kill_has_cut_is_no_fault_but_in_the_midst_of_a_session_it_is(tmp_path: Path) -> None:
    cut = line(9)[:20] + "\n"
    fine = check_lines(read_audit(stream(tmp_path, line(0), cut, line(0, "two"), cut[:-1])))
    assert (fine.is_whole, fine.cut) == (True, 2)
    bad = check_lines(read_audit(stream(tmp_path, line(0), cut, line(1))))
    assert (bad.is_whole, bad.unreadable) == (False, [f"{DAY}:2"])
    twice = check_lines(read_audit(stream(tmp_path, line(0), cut, cut, line(0, "two"))))
    assert (twice.is_whole, twice.unreadable, twice.cut) == (False, [f"{DAY}:2"], 1)


def test_an_old_session_whose_first_files_have_gone_is_whole(tmp_path: Path) -> None:
    assert check_lines(read_audit(stream(tmp_path, line(700), line(701)))).is_whole


def test_a_folder_without_a_stream_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends_with(2, str(tmp_path))
    assert "has no audit stream" in capsys.readouterr().err
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / f"{DAY}.gz").write_bytes(b"\x1f\x8bnothing")
    ends_with(2, str(tmp_path))
    assert "is damaged" in capsys.readouterr().err
