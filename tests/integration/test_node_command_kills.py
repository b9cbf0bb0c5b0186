"""kill -9 at every step of an operator's command: one owner of the position, its stop, nothing done twice."""

from pathlib import Path
from typing import Any

import pytest

from live.command import send
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until
from tests.operating import (
    ETH,
    HANDING_OVER,
    PATIENCE,
    DyingNode,
    members,
    opened,
    run_of,
    sampled,
    stop_names,
)

pytestmark = pytest.mark.slow  # processes and sockets against the clock

TRANCHES = [{"pct": 20.0, "close_pct": 50.0}, {"pct": 30.0, "close_pct": 25.0}]
FAR: dict[str, Any] = {
    "stop": {"pct": 10.0},
    "targets": {"tranches": TRANCHES},
}


def _facts(venue: Rehearsal) -> tuple[Any, ...]:
    ledger = venue.ledger()
    targets = sorted(order["client_order_id"] for order in ledger["open_orders"])
    return venue.position(), stop_names(venue), targets, len(ledger["fills"])


def _on_btc(venue: Rehearsal) -> tuple[list[Any], ...]:
    ledger = venue.ledger()
    amounts = [p["amount"] for p in ledger["positions"] if p["symbol"] == "BTCUSDT"]
    return amounts, [o["client_algo_id"] for o in ledger["open_algo_orders"] if o["symbol"] == "BTCUSDT"]


@pytest.mark.timeout(900)
def test_a_swap_with_the_trade_survives_a_kill_at_every_step(tmp_path: Path) -> None:
    run, state = run_file(tmp_path, **FAR), tmp_path / "state"
    files = {"momentum": run, "other": run_file(tmp_path, file="other.yaml", name="other", **FAR)}
    owner, facts, before = "momentum", None, ""
    with rehearsal(speed=30) as venue:
        for step, expected in HANDING_OVER.items():
            with DyingNode(run, state, venue, step) as node:
                if facts is None:
                    opened(venue, node)
                    facts = _facts(venue)
                else:
                    _check_adopted(node, owner, before)
                heir = "other" if owner == "momentum" else "momentum"
                with sampled(venue) as samples:
                    values = {"run": run_of(files[heir]), "positions": "handover"}
                    node.until_dead("swap", owner, **values)
            assert (samples.naked, _facts(venue)) == ([], facts), step
            owner, before = heir if expected == "new" else owner, f"{step}: {node.lines[-1]}"
        with Node(run, state, venue) as node:
            _check_adopted(node, owner, before)
            node.until_bars(1)
            assert list(members(state)) == [owner]  # nothing is carried out a second time
            assert node.end() == 0, "".join(node.lines)
            assert _facts(venue) == facts


def _check_adopted(node: Node, owner: str, step: str) -> None:
    """The newest start goes on as it was when the one before was killed."""
    known = len(node.actions("adopt"))
    assert until(lambda: node.actions("adopt")[known:], f"{step}: adoption")[-1]["plan"] == "remembered", step
    node.until_trading()
    assert list(members(node.state)) == [owner], step


@pytest.mark.parametrize("step", ["closing", "told_to_close", "old_removed"])
def test_a_swap_that_closes_first_survives_a_kill(tmp_path: Path, step: str) -> None:
    run, state = run_file(tmp_path, **FAR), tmp_path / "state"
    heir = run_file(tmp_path, file="heir.yaml", name="heir", **FAR)
    with rehearsal() as venue:
        with DyingNode(run, state, venue, step) as node:
            opened(venue, node)
            with sampled(venue) as samples:
                node.until_dead("swap", "momentum", run=run_of(heir), positions="close")
        assert samples.naked == []
        is_begun = step in ("closing", "told_to_close")
        with Node(run, state, venue) as node:
            node.until_trading()
            assert list(members(state)) == ["momentum" if is_begun else "heir"]
            if step == "told_to_close":
                until(lambda: venue.position() == 0.0, "the close goes on")
            if is_begun:
                assert members(state)["momentum"]["paused"] == "operator:swap"
                assert _ask_done(state, "resume", "momentum")
            until(lambda: venue.position() == 0.0 or len(venue.stops()) == 1, "a stop")
            assert node.end() == 0, "".join(node.lines)


def _ask_done(state: Path, name: str, label: str | None = None, **values: str) -> bool:
    return bool(send(state, name, label, values, within_secs=PATIENCE)["done"])


@pytest.mark.parametrize("step", ["roster_unwritten", "roster_written", "joined"])
def test_an_addition_survives_a_kill(tmp_path: Path, step: str) -> None:
    run, state = run_file(tmp_path, **FAR), tmp_path / "state"
    eth = run_file(tmp_path, file="eth.yaml", name="eth", instrument=ETH, **FAR)
    with rehearsal(symbols="BTCUSDT,ETHUSDT") as venue:
        with DyingNode(run, state, venue, step) as node:
            opened(venue, node)
            facts = _on_btc(venue)
            node.until_dead("add", None, run=run_of(eth))
        is_there = step != "roster_unwritten"
        with Node(run, state, venue) as node:
            node.until_trading()
            assert list(members(state)) == (["momentum", "eth"] if is_there else ["momentum"])
            if not is_there:
                assert _ask_done(state, "add", run=run_of(eth))
            until(lambda: members(state)["eth"]["bars"] >= 1, "its bars")
            assert _on_btc(venue) == facts  # the newcomer may have entered by now
            assert node.end() == 0, "".join(node.lines)


@pytest.mark.parametrize(
    "step", ["roster_unwritten", "roster_written", "told_to_close", "dismissing", "dismissed"]
)
def test_a_removal_survives_a_kill(tmp_path: Path, step: str) -> None:
    run, state = run_file(tmp_path, **FAR), tmp_path / "state"
    eth = run_file(tmp_path, file="eth.yaml", name="eth", instrument=ETH, **FAR)
    with rehearsal(symbols="BTCUSDT,ETHUSDT") as venue:
        with DyingNode(run, state, venue, step) as node:
            opened(venue, node)
            assert _ask_done(state, "add", run=run_of(eth))
            with sampled(venue) as samples:
                node.until_dead("remove", "momentum", positions="close")
        assert samples.naked == []
        with Node(run, state, venue) as node:
            node.until_trading()
            if step == "roster_unwritten":
                assert not members(state)["momentum"]["leaves_when_flat"]
                assert members(state)["momentum"]["quantity"]
                assert _ask_done(state, "remove", "momentum", positions="close")
            elif step in ("roster_written", "told_to_close"):
                member = members(state).get("momentum")
                assert member is None or member["leaves_when_flat"]
            if step == "roster_written":  # it was to be closed and is not: it looks after it until it is
                assert members(state)["momentum"]["is_covered"]
                assert _ask_done(state, "remove", "momentum", positions="close")
            until(lambda: list(members(state)) == ["eth"], "it has gone")
            ledger = venue.ledger()
            assert [p for p in ledger["positions"] if p["symbol"] == "BTCUSDT" and float(p["amount"])] == []
            assert [o for o in ledger["open_algo_orders"] if o["symbol"] == "BTCUSDT"] == []
            assert node.end() == 0, "".join(node.lines)
