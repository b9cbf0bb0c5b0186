"""What a node says that its trades have earned is what the venue took and gave, whatever news were lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from actors.state_file import StateFile
from strategies.memory import TradeMemory
from strategies.results import Closed
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock

BALANCE = 100_000.0


def _told(node: Node) -> list[dict[str, Any]]:
    trades = [r["detail"] for r in node.audit() if r["kind"] == "trade"]
    return [detail for detail in trades if detail["what"] == "closed"]


def _earned(venue: Rehearsal) -> float:
    return float(venue.ledger()["assets"][0]["wallet"]) - BALANCE


def _stop_out(venue: Rehearsal) -> None:
    """Through the stop, and no further bar: no other trade begins."""
    venue.jump(-3.0)
    until(lambda: venue.position() == 0.0, "the stop fires")
    venue.control("POST", "pause")


def _guard(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((state / "guard.json").read_text())["state"]
    return found


def test_fees_of_fills_that_nobody_told_are_in_the_result_and_entries_wait(tmp_path: Path) -> None:
    """The user stream ends without a word: entry and exit are found by asking, without their fees."""
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue) as node:
        node.until_trading()
        venue.fault("expire_listen_key", told=False)
        venue.jump(1.0)
        until(lambda: node.actions("covered"), "a stop")
        _stop_out(venue)
        (told,) = until(lambda: _told(node), "a result")
        assert told["pnl"] == pytest.approx(_earned(venue), abs=0.01)
        (result,) = node.actions("result")
        assert result["is_confirmed"]
        assert result["commission"] > 5.0
        assert result["reckoned"] - result["pnl"] == pytest.approx(result["commission"], abs=0.01)
        assert "result" in [paused["reason"] for paused in node.actions("entries_paused")]
        alarms = [r["detail"]["text"] for r in node.audit() if r["kind"] == "alarm"]
        assert any("does not tell this account's news" in text for text in alarms)
        guard = until(lambda: _guard(state)["counted"], "the guard's count")
        assert guard == {"BTCUSDT-PERP.BINANCE": told["last_fill"]}
        assert node.end() == 0, "".join(node.lines)
        books = [r["detail"] for r in node.audit() if r["detail"].get("what") == "books"][-1]
        (realized,) = books["realized"]["BTCUSDT-PERP.BINANCE"]
        assert float(realized.split()[0]) == pytest.approx(_earned(venue), abs=0.01)


def test_a_result_told_just_before_a_kill_is_told_again_and_counted_once(
    tmp_path: Path,
) -> None:
    """The position that the second node finds carries no fee; the kill comes before the result is noted."""
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: node.actions("covered"), "a stop")
            node.kill()
        with Node(run, state, venue) as node:
            node.until_trading()
            _stop_out(venue)
            (told,) = until(lambda: _told(node), "a result")
            until(lambda: _guard(state)["counted"], "the guard's count")
            node.kill()
        assert told["pnl"] == pytest.approx(_earned(venue), abs=0.01)
        before = _guard(state)
        file = StateFile(state / "trade-momentum.json", TradeMemory)
        memory = file.read()
        assert memory is not None
        memory.unsettled = Closed(side=1, risk=told["risk"], reason=told["exit_reason"], since=memory.since)
        memory.last_fill = -1
        file.write(memory)
        with Node(run, state, venue) as node:
            again = until(lambda: _told(node)[1:], "the result once more")
            assert node.end() == 0
        assert [(t["pnl"], t["last_fill"]) for t in again] == [(told["pnl"], told["last_fill"])]
        after = _guard(state)
        assert after["counted"] == before["counted"] == {"BTCUSDT-PERP.BINANCE": told["last_fill"]}
        assert after["performance"]["trades"] == before["performance"]["trades"]
