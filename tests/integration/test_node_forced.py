"""A node whose positions the venue itself closes: what it makes of a liquidation and of deleveraging."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _told(node: Node) -> list[Any]:
    return [r["detail"] for r in node.audit() if r["kind"] == "trade" and r["detail"]["what"] == "closed"]


def _alarms(node: Node) -> list[str]:
    return [r["detail"]["text"] for r in node.audit() if r["kind"] == "alarm"]


def _earned(venue: Rehearsal) -> float:
    """All that has come in and gone out, to the last digit of the venue's own ledger."""
    return sum(float(entry["amount"]) for entry in venue.ledger()["income"])


def _holding(node: Node, venue: Rehearsal) -> float:
    """Bought, its stop and both targets at the venue."""
    node.until_trading()
    venue.jump(1.0)
    until(lambda: len(venue.stops()) == 1 and len(venue.ledger()["open_orders"]) == 2, "stop and targets")
    return venue.position()


def test_a_liquidation_of_crossed_margin_is_told_with_what_the_insurance_fund_took(tmp_path: Path) -> None:
    """Other money of the account is gone: the margin ends before the stop, 2 % away, is reached."""
    run = run_file(tmp_path)
    with rehearsal() as venue, Node(run, tmp_path / "state", venue, "--set", "venue.leverage=75") as node:
        held = _holding(node, venue)
        assert held > 0
        price = float(venue.ledger()["positions"][0]["entry_price"])
        needed = held * price / 75
        free = float(venue.ledger()["assets"][0]["available"])
        before = _earned(venue)
        venue.control("POST", "transfer", amount=f"{-(free - 0.1 * needed):.2f}")
        taken = _earned(venue) - before
        venue.jump_to_liquidation()
        until(lambda: venue.position() == 0, "the liquidation")
        (told,) = until(lambda: _told(node), "the node's result")
        kinds = [entry["kind"] for entry in venue.ledger()["income"]]
        assert "INSURANCE_CLEAR" in kinds
        assert told["pnl"] == pytest.approx(_earned(venue) - taken, abs=1e-8)
        assert told["exit_reason"] == "liquidation"
        assert any(text.startswith("liquidation: ") for text in _alarms(node))
        node.end()


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_position_that_is_taken_away_is_over_and_nothing_is_left_or_entered_for_it(
    tmp_path: Path, is_heard: bool
) -> None:
    run = run_file(tmp_path)
    with rehearsal() as venue, Node(run, tmp_path / "state", venue) as node:
        _holding(node, venue)
        if not is_heard:
            venue.fault("drop_message", match={"stream": "user", "event": "ORDER_TRADE_UPDATE"})
        venue.control("POST", "deleverage", symbol="BTCUSDT")
        until(lambda: not venue.stops() and not venue.ledger()["open_orders"], "everything withdrawn")
        (told,) = until(lambda: _told(node), "the node's result")
        assert told["pnl"] == pytest.approx(_earned(venue), abs=1e-8)
        venue.clear()
        node.until_bars(2)
        assert any(text.startswith("ADL: ") for text in _alarms(node))
        assert len(_told(node)) == 1
        if is_heard:
            assert told["exit_reason"] == "auto_deleveraging"
        assert node.end() == 0, "".join(node.lines)
        assert "ERROR" not in "".join(node.lines)


def test_what_is_left_of_a_position_keeps_its_stop_and_targets_that_fit(tmp_path: Path) -> None:
    """Twice: the second order of the venue has the client id of the first."""
    run = run_file(tmp_path)
    with rehearsal() as venue, Node(run, tmp_path / "state", venue) as node:
        held = _holding(node, venue)
        for times in (1, 2):
            venue.control("POST", "deleverage", symbol="BTCUSDT", percent=60)
            left = venue.position()
            assert 0 < left < held * 0.41**times
            until(lambda: _offered(venue) <= venue.position(), "targets that fit")
            assert len(venue.stops()) == 1
            until(lambda want=left: abs(_believed(node) - want) < 1e-9, "the node to know what is left")
        node.until_bars(1)
        assert len(venue.stops()) == 1
        assert venue.position() == left
        venue.jump(-3.0)
        until(lambda: venue.position() == 0, "the stop")
        (told,) = until(lambda: _told(node), "the node's result")
        assert told["pnl"] == pytest.approx(_earned(venue), abs=1e-8)
        assert sum(text.startswith("ADL: ") for text in _alarms(node)) == 1
        until(lambda: not venue.stops() and not venue.ledger()["open_orders"], "everything withdrawn")
        assert node.end() == 0, "".join(node.lines)


def _offered(venue: Rehearsal) -> float:
    return sum(float(o["quantity"]) - float(o["executed"]) for o in venue.ledger()["open_orders"])


def _believed(node: Node) -> float:
    """What the strategy has written down as held, in coins."""

    memory = json.loads(next(node.state.glob("trade-*.json")).read_text())["state"]
    return float(memory["held_lots"]) * float(memory["step_size"])
