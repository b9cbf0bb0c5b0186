"""A short campaign: every kill step once, and faults of many classes, against the clock."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
_SECS = 800


def _campaign(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "live.rehearsal.campaign", "--json", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECS, check=False)


def test_a_short_campaign_finds_nothing(tmp_path: Path) -> None:
    done = _campaign("--first-seed", "4000", "--count", "44", "--jobs", "4", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4_000:]
    summary = json.loads(done.stdout)
    assert summary["scenarios"] == 44
    assert summary["failed"] == 0
    assert summary["positions"] > 44
    assert summary["kills"] > 20
    assert json.loads((tmp_path / "results.json").read_text())["summary"] == summary


def test_one_scenario_is_played_again_and_told_in_full(tmp_path: Path) -> None:
    done = _campaign("--seed", "60", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4_000:]
    result = json.loads(done.stdout)
    assert result["kill_step"] == "stop_received"
    assert "stop_received" in result["kills"]
    assert result["lives"] > 1
    evidence = json.loads((tmp_path / "60" / "evidence.json").read_text())
    assert evidence["lives"][0]["ended_by"] == "kill"
    assert evidence["scenario"]["seed"] == 60
