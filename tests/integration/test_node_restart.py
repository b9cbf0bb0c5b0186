"""A node that is killed in a position and started again: one position, one stop, nothing twice."""

from pathlib import Path
from typing import Any

import pytest

from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _names(orders: list[Any], key: str) -> list[str]:
    return sorted(order[key] for order in orders)


def _protected(venue: Rehearsal) -> bool:
    ledger = venue.ledger()
    return len(ledger["open_algo_orders"]) == 1 and len(ledger["open_orders"]) == 2


def test_a_killed_node_takes_its_position_and_orders_up_again(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            with_lock = Node(run, state, venue)
            with with_lock as second:
                assert second.process.wait(30) == 2
                assert "belongs to a node that runs" in "".join(second.lines)
            venue.jump(1.0)
            until(lambda: _protected(venue), "protection")
            held, before = venue.position(), venue.ledger()
            node.kill()
        with Node(run, state, venue) as node:
            adopted = until(lambda: node.actions("adopt"), "adoption")[0]
            assert adopted["plan"] == "remembered"
            assert sorted(adopted["orders"].values()) == ["stop", "target", "target"]
            node.until_trading()
            node.until_bars(3)
            after = venue.ledger()
            assert venue.position() == held
            assert len(after["fills"]) == len(before["fills"])
            for kind, key in (("open_orders", "client_order_id"), ("open_algo_orders", "client_algo_id")):
                assert _names(after[kind], key) == _names(before[kind], key)
            assert node.end() == 0, "".join(node.lines)
            assert "stopped: protected" in "".join(node.lines)
            assert _protected(venue)


def test_a_node_that_was_killed_before_its_stop_was_there_places_it(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        venue.fault("drop_request", match={"path": "*algoOrder*", "method": "POST"}, hang=True)
        with Node(run, state, venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: venue.position() != 0.0, "an entry")
            held = venue.position()
            node.kill()
        assert venue.stops() == []
        venue.clear()
        with Node(run, state, venue) as node:
            until(lambda: len(venue.stops()) == 1, "the stop")
            assert venue.position() == held
            assert venue.stops()[0]["close_position"]
            until(lambda: _protected(venue), "targets")
            # "made" of the remembered entry where the kill came before the node had heard of its fill
            assert until(lambda: node.actions("adopt"), "adoption")[0]["plan"] in ("remembered", "made")
            assert node.end() == 0, "".join(node.lines)


def test_a_position_that_was_closed_while_the_node_was_dead_leaves_no_orders(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: _protected(venue), "protection")
            node.kill()
        venue.jump(-3.0)
        until(lambda: venue.position() == 0.0, "the stop fires at the venue")
        venue.control("POST", "pause")
        with Node(run, state, venue) as node:
            closed = until(lambda: node.actions("closed_while_away"), "the start")[0]
            ledger = venue.ledger()
            wallet = float(ledger["assets"][0]["wallet"])
            assert closed["pnl"] == pytest.approx(wallet - 100_000.0, abs=0.01)
            assert ledger["open_orders"] == ledger["open_algo_orders"] == []
            assert venue.position() == 0.0


def test_what_an_open_position_has_won_is_not_taken_for_lost_at_a_start(tmp_path: Path) -> None:
    """Before a quote the engine's equity is the wallet alone: a loss of the day, or a peak, that was none."""
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal(speed=10) as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: len(venue.stops()) == 1, "the stop")
            node.kill()
            known = len(node.audit())
        venue.jump(3.0)
        wallet = float(venue.ledger()["assets"][0]["wallet"])
        with Node(run, state, venue) as node:
            marked = until(
                lambda: [
                    r["detail"]["equity"]
                    for r in node.audit()[known:]
                    if r["kind"] == "risk" and r["detail"].get("equity") is not None
                ],
                "the equity",
            )
            assert min(marked) > wallet + 100.0  # 3 % of a position of 15,000
            assert node.end() == 0
