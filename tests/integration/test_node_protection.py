"""A node keeps its position protected at the venue: from the first fill, while the stop moves, to the end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock

ALGO = {"path": "*algoOrder*", "method": "POST"}
MOST_SECS = 3.0  # 0.004 on an idle machine; the tests share theirs


def _unprotected(node: Node) -> list[float]:
    return [action["unprotected_secs"] for action in node.actions("covered")]


def _covered_from(orders: list[Any], begin_ms: int) -> int:
    """Until when the stops cover, one after another and overlapping, from the first one's acceptance on."""
    end_ms = begin_ms
    for order in sorted(orders, key=lambda order: order["created_ms"]):
        if order["created_ms"] > end_ms:
            break
        end_ms = max(end_ms, order["updated_ms"] if order["status"] != "NEW" else 2**62)
    return end_ms


def test_a_stop_works_within_a_round_trip_and_a_signal_keeps_it(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue) as node:
        node.until_trading()
        venue.jump(1.0)
        until(lambda: len(venue.stops()) == 1, "the stop")
        stop = venue.stops()[0]
        assert stop["close_position"]
        assert stop["working_type"] == "MARK_PRICE"
        until(lambda: _unprotected(node), "the measure")
        assert max(_unprotected(node)) < MOST_SECS
        node.process.send_signal(signal.SIGTERM)
        assert node.end(signal.SIGINT) == 0, "".join(node.lines)
        assert "stopped: protected" in "".join(node.lines)
        assert [s["client_algo_id"] for s in venue.stops()] == [stop["client_algo_id"]]


def test_at_the_end_the_position_can_be_closed(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue, "--at-end", "flatten") as node:
        node.until_trading()
        venue.jump(1.0)
        until(lambda: len(venue.stops()) == 1, "the stop")
        assert node.end() == 0, "".join(node.lines)
        assert "stopped: flat" in "".join(node.lines)
        ledger = venue.ledger()
        assert ledger["positions"] == ledger["open_orders"] == ledger["open_algo_orders"] == []


def test_a_stop_moves_without_a_moment_unprotected(tmp_path: Path) -> None:
    run = run_file(tmp_path, trailing={"activation_pct": 0.5, "distance_pct": 0.8})
    with rehearsal() as venue, Node(run, tmp_path / "state", venue) as node:
        node.until_trading()
        venue.jump(1.0)
        until(lambda: len(venue.stops()) == 1, "the stop")
        first = float(venue.stops()[0]["trigger_price"])
        for _ in range(2):
            moves = len(node.actions("move_stop"))
            venue.jump(0.9)
            until(lambda known=moves: len(node.actions("move_stop")) > known, "a move")  # type: ignore[misc]
        until(
            lambda: len(venue.stops()) == 1 and float(venue.stops()[0]["trigger_price"]) > first,
            "the new stop",
        )
        ledger = venue.ledger()
        orders = ledger["algo_orders"]
        assert len(orders) > 2
        assert _covered_from(orders, min(o["created_ms"] for o in orders)) == 2**62
        assert [s["close_position"] for s in venue.stops()] == [True]
        assert len(_unprotected(node)) == 1


@contextmanager
def _without_stops(folder: Path, *faults: dict[str, Any]) -> Iterator[tuple[Rehearsal, Node]]:
    """A venue that refuses every stop, set so before the node can enter."""
    with rehearsal() as venue:
        venue.fault("error_answer", code=-2021, match=ALGO)
        for fault in faults:
            venue.fault("error_answer", **fault)
        with Node(run_file(folder), folder / "state", venue) as node:
            node.until_trading()
            venue.jump(1.0)
            yield venue, node


def _is_flat(venue: Rehearsal) -> bool:
    ledger = venue.ledger()
    return not ledger["positions"] and not ledger["open_orders"]


def test_a_stop_that_the_venue_refuses_ends_the_position(tmp_path: Path) -> None:
    with _without_stops(tmp_path) as (venue, node):
        exit_ = until(lambda: node.actions("exit"), "an exit")[0]
        assert exit_["reason"] == "stop_refused"
        until(lambda: node.actions("position_over"), "told")
        until(lambda: _is_flat(venue), "flat")
        assert node.actions("position_over")[0]["unprotected_secs"] < 10.0


def test_a_position_is_closed_although_its_first_exits_are_refused(tmp_path: Path) -> None:
    exits = {"path": "order.place", "side": "SELL", "order_type": "MARKET"}
    refused = {"name": "exits", "code": -2019, "match": exits, "when": {"count": 2}}
    with _without_stops(tmp_path, refused) as (venue, node):
        until(lambda: node.actions("position_over"), "told")
        until(lambda: _is_flat(venue), "flat")
        assert len(node.actions("exit")) >= 3
