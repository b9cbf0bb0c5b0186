"""A node that is asked to end while its venue does not answer: it waits for nobody."""

import time
from pathlib import Path

import pytest

from tests.live_nodes import Node, rehearsal, run_file
from tests.operating import opened

pytestmark = pytest.mark.slow  # processes and sockets against the clock

TARGETS = {"tranches": [{"pct": 20.0, "close_pct": 50.0}, {"pct": 30.0, "close_pct": 25.0}]}


def test_a_venue_that_hangs_keeps_no_node_from_ending(tmp_path: Path) -> None:
    """By default the engine waits ten seconds to disconnect, and Python for every request under way."""
    run = run_file(tmp_path, stop={"pct": 10.0}, targets=TARGETS)
    with rehearsal(speed=30) as venue, Node(run, tmp_path / "state", venue) as node:
        opened(venue, node)
        venue.fault("drop_request", hang=True)
        began = time.monotonic()
        assert node.end() == 1
        assert time.monotonic() - began < 14.0  # 8 s alone
        assert "did not answer at the end: look at what it holds" in node.lines[-1]
        records = [r["detail"] for r in node.audit() if r["kind"] == "node"]
        assert [r["outcome"] for r in records if r.get("what") == "stopped"] == ["protected"]
