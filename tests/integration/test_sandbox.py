"""What paper differs in is what the engine's sandbox does: each claim tried on a rehearsal's market."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from live.paper import DIFFERENCES
from tests.live_nodes import ROOT, SHORT_SECS, Rehearsal, rehearsal, until

pytestmark = pytest.mark.slow


def move(venue: Rehearsal, what: str) -> bool:
    """Do to the market what the probe asks for; False for what is no such thing."""
    if what == "mark -6":
        venue.fault("move_mark", percent=-6)
    elif what == "jump -40":
        venue.jump(-40)
    elif what == "funding":
        venue.clear()
        settled = len(venue.ledger()["fundings"])
        venue.control("POST", "speed", speed=4000)
        until(lambda: len(venue.ledger()["fundings"]) > settled, "a funding")
        venue.control("POST", "speed", speed=100)
    else:
        return False
    return True


def test_paper_differs_from_the_venue_as_it_says(tmp_path: Path) -> None:
    with rehearsal(speed=100) as venue:
        addresses = (venue.facts["http"], venue.facts["ws"])
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox_probe", *addresses, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        found = {}
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    found = json.loads(line)
                elif move(venue, line.strip()):
                    process.stdin.write("done\n")
                    process.stdin.flush()
            assert process.wait(SHORT_SECS) == 0
        finally:
            process.kill()
            process.stdin.close()
            process.stdout.close()
    (first, price, _), (second, worse, side) = found["large_market"]
    assert float(first) + float(second) == 6.0  # without end, however little is quoted
    assert (float(worse) - float(price), side) == (pytest.approx(0.1), "TAKER")
    assert found["stop_resized_to"] == "7.000"
    assert found["held_with_the_mark_below_the_stop"] == 7.0  # triggered by quotes alone
    assert not found["paid_funding"]  # though the venue has settled one meanwhile
    assert found["refused"] == []  # a bracket list, and a limit 100 % away
    assert found["held_after_minus_40_pct"] > 7.0  # no liquidation
    assert found["equity_after_minus_40_pct"] < 0.0
    assert found["margin"] == "0.1"
    assert len(DIFFERENCES) == 5
