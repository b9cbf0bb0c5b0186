"""A live node on the spot rehearsal: entry, one list for all coins, target or stop, kill -9, faults."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from live.command import send
from tests.live_nodes import Node, Rehearsal, until
from tests.operating import ask, members, run_of
from tests.spot_nodes import (
    DUST,
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

pytestmark = pytest.mark.slow


@pytest.fixture
def venue() -> Iterator[Rehearsal]:
    with spot_rehearsal() as place:
        yield place


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return spot_run_file(tmp_path)


@pytest.mark.parametrize(("percent", "reason"), [(8.0, "target"), (-4.0, "stop")])
def test_coins_are_covered_by_one_list_from_entry_to_exit(
    run: Path, venue: Rehearsal, tmp_path: Path, percent: float, reason: str
) -> None:
    with Node(run, tmp_path / "state", venue, "--set", "strategies.0.time.cool_off_bars=500") as node:
        enter(node, venue)
        assert_listed(venue)
        venue.jump(percent)
        until_over(node, venue)
        assert trades_told(node)[0]["exit_reason"] == reason
        assert_money(node, venue)
        assert node.end() == 0


def test_a_killed_node_takes_its_coins_up_again_and_sends_the_list_anew(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    quiet = ("--set", "strategies.0.time.cool_off_bars=500")
    with Node(run, tmp_path / "state", venue, *quiet) as node:
        enter(node, venue)
        before = assets(venue)["BTC"]
        node.kill()
    with Node(run, tmp_path / "state", venue, *quiet) as node:
        node.until_trading()
        until(lambda: node.actions("adopt"), "adoption")
        until(lambda: node.actions("cover")[-1]["step"] == "Pair", "the list")
        until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the list at the venue")
        assert_listed(venue)
        assert assets(venue)["BTC"] == before
        venue.jump(-4)
        until_over(node, venue)
        assert_money(node, venue)


def test_what_sold_while_the_node_was_dead_is_booked_at_the_start(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    quiet = ("--set", "strategies.0.time.cool_off_bars=500")
    with Node(run, tmp_path / "state", venue, *quiet) as node:
        enter(node, venue)
        node.kill()
    venue.jump(8)
    until(lambda: not open_orders(venue), "the target")
    with Node(run, tmp_path / "state", venue, *quiet) as node:
        node.until_trading()
        assert node.actions("adopt")[-1]["missed_fills"] == 1
        assert trades_told(node)[-1]["exit_reason"] == "while_away"
        assert_money(node, venue)
        assert node.end() == 0


def test_a_strategy_that_was_renamed_while_coins_are_held_is_refused_or_adopts(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    state, renamed = tmp_path / "state", spot_run_file(tmp_path, file="renamed.yaml", name="renamed")
    with Node(run, state, venue) as node:
        enter(node, venue)
        node.kill()
    offered = open_orders(venue)
    with Node(renamed, state, venue) as node:
        assert node.process.wait(60) == 2
        until(lambda: "held by 'momentum'" in " ".join(node.lines), "the reason")
    assert open_orders(venue) == offered
    with Node(renamed, state, venue, "--adopt", "--set", "strategies.0.time.cool_off_bars=500") as node:
        node.until_trading()
        until(lambda: sum(assets(venue)["BTC"]) < DUST and not open_orders(venue), "sold")
        assert node.end() == 0, "".join(node.lines)


def test_a_node_that_is_to_end_flat_takes_the_list_back_and_sells(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    with Node(run, tmp_path / "state", venue, "--at-end", "flatten") as node:
        enter(node, venue)
        assert node.end() == 0
        assert_money(node, venue)
        assert not open_orders(venue)


def test_a_killed_entry_is_found_and_covered(run: Path, venue: Rehearsal, tmp_path: Path) -> None:
    with Node(run, tmp_path / "state", venue) as node:
        node.until_trading()
        venue.jump(1)
        until(lambda: sum(assets(venue).get("BTC", (0, 0))) > 0, "an entry at the venue", within=30)
        node.kill()
    with Node(run, tmp_path / "state", venue) as node:
        node.until_trading()
        until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the list at the venue")
        assert_listed(venue)
        assert len(venue.ledger()["orders"]) <= 8


def test_a_refused_list_becomes_a_stop_alone(run: Path, venue: Rehearsal, tmp_path: Path) -> None:
    venue.fault(
        "error_answer",
        code=-2010,
        message="Stop price would trigger immediately.",
        match={"path": "/api/v3/orderList/oco"},
        when={"count": 1},
    )
    with Node(run, tmp_path / "state", venue) as node:
        enter(node, venue)
        assert set(open_orders(venue)) == {"STOP_LOSS"}


def test_coins_whose_list_never_arrived_are_covered_all_the_same(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    lists = {"path": "/api/v3/orderList/oco"}
    venue.fault("http_answer", status=502, match=lists, when={"count": 1})
    with Node(run, tmp_path / "state", venue, "--set", "strategies.0.time.cool_off_bars=500") as node:
        enter(node, venue)
        assert "STOP_LOSS" in open_orders(venue)


def test_lost_fills_are_asked_for_and_counted_once(run: Path, venue: Rehearsal, tmp_path: Path) -> None:
    quiet = ("--set", "strategies.0.time.cool_off_bars=500")
    filled = {"event": "executionReport", "status": "FILLED"}
    venue.fault("drop_message", match=filled, when={"count": 1})
    with Node(run, tmp_path / "state", venue, *quiet) as node:
        enter(node, venue)
        assert_listed(venue)
        node.kill()
    with Node(run, tmp_path / "state", venue, *quiet) as node:
        node.until_trading()
        assert node.actions("adopt")[-1]["missed_fills"] == 0
        until(lambda: node.actions("cover")[-1]["step"] == "Pair", "the list")
        until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the list at the venue")
        assert_listed(venue)
        venue.clear()
        venue.fault("drop_message", match=filled, when={"count": 1})
        venue.jump(8)
        until_over(node, venue)
        assert not open_orders(venue)
        assert_money(node, venue)


def test_fills_in_slices_end_in_one_list_for_all(run: Path, venue: Rehearsal, tmp_path: Path) -> None:
    venue.fault("slice_fills", slices=4)
    with Node(run, tmp_path / "state", venue, "--set", "strategies.0.time.cool_off_bars=500") as node:
        enter(node, venue)
        until(lambda: assets(venue)["BTC"][0] < Decimal("0.00002"), "all coins on offer")
        assert_listed(venue)
        venue.jump(8)
        until_over(node, venue)
        assert_money(node, venue)


# -- commands ----------------------------------------------------------------------------------------------


def heir_file(folder: Path, name: str = "heir") -> Path:
    return spot_run_file(folder, file=f"{name}.yaml", name=name)


def test_a_successor_takes_the_coins_their_list_and_their_plan(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    state, heir = tmp_path / "state", heir_file(tmp_path)
    with Node(run, state, venue) as node:
        enter(node, venue)
        old = members(state)["momentum"]
        with Looks(venue) as looks:
            ask(state, "swap", "momentum", run=run_of(heir), positions="handover")
            node.until_bars(2)
        assert (looks.bare, len(looks.names)) == (0, 1)
        assert looks.held > 5
        new = members(state)["heir"]
        kept = ("quantity", "stop", "targets", "is_covered")
        assert {key: new[key] for key in kept} == {key: old[key] for key in kept}
        assert not (state / "coins-momentum.json").exists()
        node.kill()
    with Node(heir, state, venue, "--set", "strategies.0.time.cool_off_bars=500", "--forget-roster") as node:
        node.until_trading()
        assert node.actions("adopt")[-1]["plan"] == "remembered"
        until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the list at the venue")
        venue.jump(-4)
        until_over(node, venue)
        assert_money(node, venue)


def test_a_successor_may_begin_flat(run: Path, venue: Rehearsal, tmp_path: Path) -> None:
    state, heir = tmp_path / "state", heir_file(tmp_path)
    with Node(run, state, venue) as node:
        enter(node, venue)
        ask(state, "swap", "momentum", run=run_of(heir), positions="close")
        assert list(members(state)) == ["heir"]
        assert trades_told(node)[0]["exit_reason"] == "operator"
        venue.jump(1)
        until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the heir's own list")
        assert_listed(venue)
        assert node.end() == 0, "".join(node.lines)


def test_a_successor_that_fails_leaves_everything_to_the_old_one(
    run: Path, venue: Rehearsal, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    ladder = {"tranches": [{"pct": 5.0, "close_pct": 50.0}, {"pct": 9.0, "close_pct": 25.0}]}
    tiered = spot_run_file(tmp_path, file="tiered.yaml", name="tiered")
    text = yaml.safe_load(tiered.read_text())
    text["strategies"][0]["targets"] = ladder
    tiered.write_text(yaml.safe_dump(text))
    with Node(run, state, venue) as node:
        enter(node, venue)
        with Looks(venue) as looks:
            values = {"run": run_of(tiered), "positions": "handover"}
            answer = send(state, "swap", "momentum", values, within_secs=60)
        assert not answer["done"]
        assert "one target" in answer["text"]
        assert (looks.bare, len(looks.names), list(members(state))) == (0, 1, ["momentum"])
        venue.jump(-4)
        until_over(node, venue)


def test_a_strategy_joins_and_leaves_beside_another(tmp_path: Path) -> None:
    state, run = tmp_path / "state", spot_run_file(tmp_path)
    eth = eth_file(tmp_path)

    def of_eth(venue: Rehearsal) -> set[str]:
        return {o["type"] for o in venue.ledger()["open_orders"] if o["symbol"] == "ETHUSDT"}

    with spot_rehearsal("--symbols", "BTCUSDT,ETHUSDT") as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            ask(state, "add", run=run_of(eth))
            until(lambda: members(state)["eth"]["bars"] >= 2, "its bars")
            venue.jump(1.0, "ETHUSDT")
            until(lambda: of_eth(venue) == {"LIMIT_MAKER", "STOP_LOSS"}, "its list")
            node.kill()
        with Node(run, state, venue) as node:
            node.until_trading()
            until(lambda: members(state)["eth"]["is_covered"], "covered again")
            ask(state, "remove", "momentum", positions="close")
            assert list(members(state)) == ["eth"]
            node.kill()
        with Node(run, state, venue) as node:  # its number is another one now
            node.until_trading()
            until(lambda: members(state)["eth"]["is_covered"], "covered again")
            venue.jump(-6.0, "ETHUSDT")
            until(lambda: not of_eth(venue), "stopped out")
            until(lambda: trades_told(node), "its result")
            assert node.end() == 0, "".join(node.lines)
