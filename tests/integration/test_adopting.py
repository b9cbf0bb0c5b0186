"""A position that the state folder cannot explain, taken over with --adopt."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.test_sweeper import _client
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _left_held(run: Path, state: Path, venue: Rehearsal) -> Decimal:
    """Kill a node with its position covered; what it holds."""
    with Node(run, state, venue) as node:
        node.until_trading()
        venue.jump(1.0)
        until(lambda: venue.position() != 0.0, "an entry")
        until(venue.stops, "its stop")
        until(lambda: node.actions("covered"), "told")
        node.kill()
    return Decimal(str(venue.position()))


def test_a_position_against_the_one_remembered_is_covered_and_closed_and_both_are_told(
    tmp_path: Path,
) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, _client(venue) as client:
        held = _left_held(run, state, venue)
        client.cancel_all("BTCUSDT")
        for stop in client.open_algo_orders("BTCUSDT"):
            client.cancel_algo("BTCUSDT", stop.algo_id)
        turn = {"symbol": "BTCUSDT", "side": "SELL" if held > 0 else "BUY", "type": "MARKET"}
        client.http.act("POST", "/fapi/v1/order", turn | {"quantity": 2 * abs(held)})
        assert Decimal(str(venue.position())) == -held
        with Node(run, state, venue, "--adopt") as node:
            until(lambda: len(_closed(node)) == 2, "both results")
            assert _closed(node) == ["stray", "while_away"]
            assert node.actions("unexpected_position")[0]["quantity"] == -float(held)
            covered = until(lambda: node.actions("covered")[1:], "its stop")
            assert covered[0]["quantity"] == -float(held)
            assert node.end() == 0, "".join(node.lines)


def _closed(node: Node) -> list[str]:
    return [r["detail"]["exit_reason"] for r in node.audit() if r["detail"].get("what") == "closed"]
