"""kill -9 at every step of an operator's command on spot: one owner of the coins, their list, one result."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.live_nodes import Node, Rehearsal, until
from tests.operating import HANDING_OVER, DyingNode, ask, members, run_of
from tests.spot_nodes import (
    Looks,
    assert_listed,
    assert_money,
    assets,
    enter,
    eth_file,
    open_orders,
    spot_rehearsal,
    spot_run_file,
    trades_told,
    until_over,
)

pytestmark = pytest.mark.slow  # processes and sockets against the clock

# the first trade is the only one, and nothing but a test ends it
FAR: dict[str, Any] = {"stop": {"pct": 10.0}, "targets": {"pct": 30.0}, "time": {"cool_off_bars": 5000}}


def _coins(venue: Rehearsal) -> Decimal:
    return sum(assets(venue)["BTC"])


def _until_listed(venue: Rehearsal) -> None:
    """A start sends the list anew: the engine may count what an adopted one sells twice."""
    until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the list at the venue")
    assert_listed(venue)


def _until_adopted(node: Node, venue: Rehearsal, owner: str, step: str) -> None:
    """The newest start goes on as it was when the one before was killed."""
    known = len(node.actions("cover"))
    assert until(lambda: node.actions("adopt"), f"{step}: adoption")[-1]["plan"] == "remembered", step
    node.until_trading()
    until(lambda: [c for c in node.actions("cover")[known:] if c["step"] == "Pair"], f"{step}: the list")
    _until_listed(venue)
    assert list(members(node.state)) == [owner], step


def _books(state: Path) -> list[str]:
    return sorted(path.name for path in state.glob("coins-*.json"))


@pytest.mark.timeout(900)
def test_a_swap_with_the_coins_survives_a_kill_at_every_step(tmp_path: Path) -> None:
    run, state = spot_run_file(tmp_path, **FAR), tmp_path / "state"
    files = {"momentum": run, "other": spot_run_file(tmp_path, file="other.yaml", name="other", **FAR)}
    owner, coins, before = "momentum", None, ""
    with spot_rehearsal() as venue:
        for step, expected in HANDING_OVER.items():
            with DyingNode(run, state, venue, step) as node:
                if coins is None:
                    enter(node, venue)
                    _until_listed(venue)
                    coins = _coins(venue)
                else:
                    _until_adopted(node, venue, owner, before)
                heir = "other" if owner == "momentum" else "momentum"
                with Looks(venue) as looks:
                    node.until_dead("swap", owner, run=run_of(files[heir]), positions="handover")
            assert (looks.bare, len(looks.names), _coins(venue)) == (0, 1, coins), step
            owner, before = heir if expected == "new" else owner, f"{step}: {node.lines[-1]}"
        with Node(run, state, venue) as node:
            _until_adopted(node, venue, owner, before)
            assert _coins(venue) == coins
            assert _books(state) == [f"coins-{owner}.json"]
            venue.jump(-12)
            until_over(node, venue)
            assert [trade["exit_reason"] for trade in trades_told(node)] == ["stop"]
            assert_money(node, venue)
            assert node.end() == 0, "".join(node.lines)


@pytest.mark.parametrize("step", ["closing", "told_to_close", "old_removed"])
def test_a_swap_that_closes_first_survives_a_kill(tmp_path: Path, step: str) -> None:
    run, state = spot_run_file(tmp_path, **FAR), tmp_path / "state"
    heir = spot_run_file(tmp_path, file="heir.yaml", name="heir", **FAR)
    with spot_rehearsal() as venue:
        with DyingNode(run, state, venue, step) as node:
            enter(node, venue)
            node.until_dead("swap", "momentum", run=run_of(heir), positions="close")
        is_begun = step != "old_removed"
        with Node(run, state, venue) as node:
            node.until_trading()
            owner = "momentum" if is_begun else "heir"
            assert list(members(state)) == [owner]
            if step == "closing":  # it was to be closed and is not: it looks after it until it is
                _until_listed(venue)
                assert members(state)[owner]["is_covered"]
                ask(state, "flatten")
            if is_begun:
                assert members(state)[owner]["paused"] == "operator:swap"
            until_over(node, venue)
            assert len(trades_told(node)) == 1
            assert_money(node, venue)
            assert node.end() == 0, "".join(node.lines)


@pytest.mark.parametrize("step", ["roster_unwritten", "roster_written", "joined"])
def test_an_addition_survives_a_kill(tmp_path: Path, step: str) -> None:
    run, eth, state = spot_run_file(tmp_path, **FAR), eth_file(tmp_path, **FAR), tmp_path / "state"
    with spot_rehearsal("--symbols", "BTCUSDT,ETHUSDT") as venue:
        with DyingNode(run, state, venue, step) as node:
            enter(node, venue)
            coins = _coins(venue)
            with Looks(venue) as looks:
                node.until_dead("add", None, run=run_of(eth))
        assert looks.bare == 0
        is_there = step != "roster_unwritten"
        with Node(run, state, venue) as node:
            node.until_trading()
            assert list(members(state)) == (["momentum", "eth"] if is_there else ["momentum"])
            if not is_there:
                ask(state, "add", run=run_of(eth))
            until(lambda: members(state)["eth"]["bars"] >= 1, "its bars")
            until(lambda: members(state)["momentum"]["is_covered"], "covered again")
            assert _coins(venue) == coins
            assert _books(state) == ["coins-eth.json", "coins-momentum.json"]
            assert node.end() == 0, "".join(node.lines)


@pytest.mark.parametrize(
    "step", ["roster_unwritten", "roster_written", "told_to_close", "dismissing", "dismissed"]
)
def test_a_removal_survives_a_kill(tmp_path: Path, step: str) -> None:
    run, eth, state = spot_run_file(tmp_path, **FAR), eth_file(tmp_path, **FAR), tmp_path / "state"
    with spot_rehearsal("--symbols", "BTCUSDT,ETHUSDT") as venue:
        with DyingNode(run, state, venue, step) as node:
            enter(node, venue)
            ask(state, "add", run=run_of(eth))
            node.until_dead("remove", "momentum", positions="close")
        with Node(run, state, venue) as node:
            node.until_trading()
            if step == "roster_unwritten":
                assert not members(state)["momentum"]["leaves_when_flat"]
                ask(state, "remove", "momentum", positions="close")
            elif step == "roster_written":  # it was to be closed and is not: it looks after it until it is
                assert members(state)["momentum"]["leaves_when_flat"]
                until(lambda: members(state)["momentum"]["is_covered"], "covered again")
                ask(state, "remove", "momentum", positions="close")
            until(lambda: list(members(state)) == ["eth"], "it has gone")
            told = [record for record in node.audit() if record["kind"] == "trade"]
            told = [t["detail"] for t in told if t["instrument"] == "BTCUSDT.BINANCE"]
            assert [t["exit_reason"] for t in told if t["what"] == "closed"] == ["operator"]
            assert not [o for o in venue.ledger()["open_orders"] if o["symbol"] == "BTCUSDT"]
            assert node.end() == 0, "".join(node.lines)
