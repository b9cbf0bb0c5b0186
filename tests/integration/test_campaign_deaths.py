"""A campaign whose worker dies: what it leaves is kept, its scenario played again, no other one lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # processes that are killed

ROOT = Path(__file__).parents[2]


def _results(folder: Path, *ways: str) -> list[Any]:
    command = [sys.executable, "-m", "tests.dying_workers", str(folder), *ways]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    assert [result["seed"] for result in results] == list(range(6))
    assert not [r for r in results if r["violations"] and r["seed"] != 1]
    return results


@pytest.mark.parametrize(
    ("how", "told", "said"),
    [
        ("SIGKILL", "signal 9 (SIGKILL)", "seed 1 begins"),
        ("SIGSEGV", "signal 11 (SIGSEGV)", "Fatal Python error: Segmentation fault"),
        ("exit3", "exit code 3", "seed 1 begins"),
        ("raise", "exit code 70", "LookupError: a scenario that nobody can play"),
        ("silent", "signal 6 (SIGABRT)", "in _die"),
    ],
)
def test_a_death_is_told_and_its_scenario_played_again(
    tmp_path: Path, how: str, told: str, said: str
) -> None:
    ((invariant, text, _),) = _results(tmp_path, how, "clean")[1]["violations"]
    assert invariant == "harness"
    assert told in text
    assert "MiB at its peak" in text
    assert text.endswith("played again, it ended as it should")
    left = tmp_path / "failed" / "1-died"
    assert said in (left / "worker.log").read_text()
    assert (left / "scene-1" / "node.log").read_text() == "what the node said"


def test_a_death_that_comes_again_is_told_as_two(tmp_path: Path) -> None:
    ((_, text, _),) = _results(tmp_path, "SIGKILL", "exit3")[1]["violations"]
    first, again = text.split("; played again, ")
    assert "signal 9 (SIGKILL)" in first
    assert "exit code 3" in again


def test_nothing_is_told_of_workers_that_live(tmp_path: Path) -> None:
    assert _results(tmp_path, "clean")[1]["violations"] == []
    assert not (tmp_path / "failed").exists()
