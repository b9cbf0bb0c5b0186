"""kill -9 of a process that records: less than a second is lost, and nothing becomes unreadable."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from catalog.store import Catalog
from live.audit import check_lines, read_audit
from live.record.folding import fold_journal
from tests.catalogs import BTC, JUNE, MINUTE_NS
from tests.recording_child import PER_SESSION

pytestmark = pytest.mark.slow  # processes against the clock

ROOT = Path(__file__).parents[2]
SESSIONS = 6
MOST_SECS = 1.0


def _killed(folder: Path, session: int, after_secs: float) -> dict[int, int]:
    """When (ns) each number was handed over by a process that was killed so long after its first."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.recording_child", str(folder), str(session)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        deadline = time.monotonic() + after_secs
        while time.monotonic() < deadline:
            lines.append(child.stdout.readline())
        child.kill()
        lines += child.stdout.readlines()
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {int(number): int(wall) for number, wall in whole}


def _lost_secs(told: dict[int, int], found: set[int]) -> float:
    """How old the oldest of what is lost was at the kill; nothing before it may be missing."""
    lost = sorted(set(told) - found)
    assert lost == sorted(told)[len(told) - len(lost) :]  # only the end is lost, no hole
    return (max(told.values()) - told[lost[0]]) / 1e9 if lost else 0.0


def test_a_kill_loses_less_than_a_second_and_cuts_no_line_but_the_last(tmp_path: Path) -> None:
    chance = random.Random(7)
    sessions = [_killed(tmp_path, number, chance.uniform(0.2, 1.5)) for number in range(SESSIONS)]

    lines = list(read_audit(tmp_path))
    checked = check_lines(iter(lines))
    assert checked.is_whole, checked
    assert len(checked.sessions) == SESSIONS
    assert checked.cut <= SESSIONS
    in_audit = {line.detail["number"] for _, line in lines if line is not None}

    catalog = Catalog.open(tmp_path / "catalog")
    assert fold_journal(catalog) == []
    closes = catalog.bars(BTC, "1m").ts_event
    assert len(set(closes.tolist())) == len(closes)
    in_catalog = set(((closes - JUNE) // MINUTE_NS).tolist())

    for number, told in enumerate(sessions):
        assert min(told) == number * PER_SESSION
        assert _lost_secs(told, in_audit) < MOST_SECS
        assert _lost_secs(told, in_catalog) < MOST_SECS
