"""A node that was killed between a fill and its stop: its next start covers the position before all else."""

from pathlib import Path
from typing import Any

import pytest

from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until
from tests.operating import ask

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _left_bare(run: Path, state: Path, venue: Rehearsal) -> float:
    """Kill a node whose stop never arrived; what it holds."""
    venue.fault("drop_request", match={"path": "*algoOrder*", "method": "POST"}, hang=True)
    with Node(run, state, venue) as node:
        node.until_trading()
        venue.jump(1.0)
        until(lambda: venue.position() != 0.0, "an entry")
        node.kill()
    venue.clear()
    assert venue.stops() == []
    return venue.position()


def _only_stop(venue: Rehearsal) -> Any:
    stops = venue.stops()
    assert len(stops) == 1
    return stops[0]


def test_a_bare_position_is_covered_before_the_start_goes_on_and_the_stop_is_the_strategys_own(
    tmp_path: Path,
) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        held = _left_bare(run, state, venue)
        with Node(run, state, venue) as node:
            until(venue.stops, "the stop")
            assert "trading BTCUSDT" not in "".join(node.lines)
            first = _only_stop(venue)
            assert first["close_position"]
            adopted = until(lambda: node.actions("adopt"), "adoption")[-1]
            assert adopted["plan"] in ("remembered", "made")
            assert [name for name in adopted["orders"] if name.endswith("-0S0")]
            node.until_trading()
            until(lambda: len(venue.ledger()["open_orders"]) == 2, "its targets")
            assert venue.position() == held
            assert len(venue.ledger()["fills"]) == 1
            if adopted["plan"] == "remembered":  # at the plan's level already: nothing is moved
                assert _only_stop(venue)["client_algo_id"] == first["client_algo_id"]
            assert "a stop placed at" in "".join(node.lines)
            told = node.actions("first_stop")
            assert [list(stop["orders"]) for stop in told] == [[n for n in adopted["orders"] if "-0S" in n]]
            ask(state, "flatten", "momentum")
            assert venue.position() == 0.0
            until(lambda: venue.stops() == [], "nothing is left of it")
            assert node.end() == 0, "".join(node.lines)


def test_the_first_stop_stays_when_the_start_is_refused(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        held = _left_bare(run, state, venue)
        with Node(run, state, venue, "--set", "venue.leverage=2.5") as node:
            assert node.process.wait(60) == 2
        assert "leverage" in "".join(node.lines)
        assert venue.position() == held
        assert _only_stop(venue)["close_position"]
        with Node(run, state, venue) as node:
            node.until_trading()
            assert len(venue.stops()) == 1
            assert venue.position() == held
            assert node.end() == 0, "".join(node.lines)
