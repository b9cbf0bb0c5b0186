"""The campaign finds defects: every node that is broken on purpose is accused by what is there to find it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from live.rehearsal.campaign.mutants import MUTANTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

ROOT = Path(__file__).parents[2]


def test_every_mutant_is_accused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "live.rehearsal.campaign", "--mutants", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3_500, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    kills = json.loads(done.stdout)["mutants"]
    assert [kill["mutant"] for kill in kills] == list(MUTANTS)
    assert all(set(kill["accused_by"]) & set(kill["accusers"]) for kill in kills)
