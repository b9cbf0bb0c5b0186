"""An operator's commands to a paper node: the engine's sandbox instead of a venue's orders."""

from pathlib import Path

import pytest

from live.command import send
from tests.live_nodes import Node, rehearsal, run_file, until
from tests.operating import ETH, PATIENCE, ask, members, run_of

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _kept(state: Path, label: str) -> tuple[object, ...]:
    member = members(state)[label]
    return tuple(member[key] for key in ("quantity", "stop", "targets", "is_covered"))


def test_a_paper_node_changes_hands_grows_shrinks_and_closes(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    heir = run_file(
        tmp_path, file="heir.yaml", name="heir", trailing={"activation_pct": 1.2, "distance_pct": 0.8}
    )
    eth = run_file(tmp_path, file="eth.yaml", name="eth", instrument=ETH)
    with rehearsal(symbols="BTCUSDT,ETHUSDT") as venue:
        with Node(run, state, venue, "--venue", "paper") as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: len(members(state)["momentum"]["targets"]) == 2, "a protected trade")
            before = _kept(state, "momentum")
            assert before[0]
            assert before[3]
            ask(state, "swap", "momentum", run=run_of(heir), positions="handover")
            assert list(members(state)) == ["heir"]
            node.until_bars(1)
            assert _kept(state, "heir")[:1] == before[:1]
            moves = len(node.actions("move_stop"))
            venue.jump(2.5)
            until(lambda: len(node.actions("move_stop")) > moves, "the successor's own plan")
            ask(state, "pause", "heir", reason="news")
            ask(state, "flatten", "heir")
            assert members(state)["heir"]["quantity"] == 0.0
            assert members(state)["heir"]["targets"] == []
            assert members(state)["heir"]["stop"] is None
            ask(state, "add", run=run_of(eth))
            until(lambda: members(state)["eth"]["bars"] >= 2, "its bars")
            venue.jump(1.0, "ETHUSDT")
            until(lambda: members(state)["eth"]["is_covered"] and members(state)["eth"]["targets"], "a trade")
            assert members(state)["eth"]["quantity"]
            ask(state, "remove", "eth", positions="close")
            assert list(members(state)) == ["heir"]
            ask(state, "resume", "heir")
            ask(state, "stop", positions="flatten")
            assert node.process.wait(PATIENCE) == 0, "".join(node.lines)
            assert "stopped: flat" in "".join(node.lines)
        with Node(run, state, venue, "--venue", "paper") as node:
            node.until_trading()
            assert list(members(state)) == ["heir"]
            answer = send(state, "model", None, {"model": "none", "bundle": "latest"}, within_secs=PATIENCE)
            assert not answer["done"]
            assert node.end() == 0, "".join(node.lines)
        assert venue.ledger()["fills"] == []
