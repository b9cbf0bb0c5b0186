"""A node with isolated margin: preflight sets it, the position has its own wallet, a restart agrees."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from live.rehearsal.serving.demo_keys import demo_keys
from live.venue.client import VenueClient
from live.venues import REHEARSAL_SEED
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock

OPTIONS = ("--set", "live.tolerances.margin_type=ISOLATED")


def _held(venue: Rehearsal) -> Any:
    (position,) = venue.ledger()["positions"]
    return position


def test_a_node_trades_isolated_margin_and_knows_its_position_again(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue, *OPTIONS) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: len(venue.stops()) == 1, "the stop")
            held, (asset,) = _held(venue), venue.ledger()["assets"]
            assert held["isolated"]
            # at 5x, of all fills at their prices
            margin = abs(float(held["amount"])) * float(held["entry_price"]) / 5
            assert float(held["isolated_wallet"]) == pytest.approx(margin, abs=0.01)
            assert float(asset["wallet"]) - float(asset["cross_wallet"]) == pytest.approx(margin, abs=0.01)
            node.until_bars(2)
            assert node.end() == 0, "".join(node.lines)
            assert "stopped: protected" in "".join(node.lines)
        with Node(run, state, venue, *OPTIONS, "--at-end", "flatten") as node:
            node.until_trading()
            assert _held(venue)["amount"] == held["amount"]
            assert node.end() == 0, "".join(node.lines)
            assert "stopped: flat" in "".join(node.lines)
        ledger = venue.ledger()
        assert ledger["positions"] == ledger["open_orders"] == ledger["open_algo_orders"] == []
        assert ledger["assets"][0]["wallet"] == ledger["assets"][0]["cross_wallet"]
        told = "".join(node.lines)
        assert "ERROR" not in told


def test_a_liquidation_costs_no_more_than_the_isolated_wallet_and_the_node_goes_on(tmp_path: Path) -> None:
    """At 75x the maintenance margin is reached before the stop, 2 % away.

    Preflight refuses such a leverage: somebody sets it at the venue, by hand, while the node runs.
    """
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue, *OPTIONS) as node:
        node.until_trading()
        _set_leverage(venue, 75)
        venue.jump(1.0)
        until(lambda: len(venue.stops()) == 1, "the stop")
        (before,), held = venue.ledger()["assets"], _held(venue)
        venue.jump_to_liquidation()
        income = until(lambda: _until_cleared(venue), "the liquidation")
        wallet = 100_000 + sum(float(entry["amount"]) for entry in income)
        least = float(before["cross_wallet"])
        assert least <= wallet < float(before["wallet"])
        assert float(before["wallet"]) - least == pytest.approx(float(held["isolated_wallet"]))
        (forced,) = [order for order in venue.ledger()["orders"] if order["forced"]]
        assert (forced["status"], forced["executed"]) == ("FILLED", held["amount"])
        (told,) = until(lambda: _told(node, "closed"), "the node's result")
        # what was lost, both commissions and what the insurance fund took: all that the wallet has paid
        assert told["pnl"] == pytest.approx(wallet - 100_000, abs=1e-8)
        assert told["exit_reason"] == "liquidation"
        alarms = [r["detail"]["text"] for r in node.audit() if r["kind"] == "alarm"]
        assert sum(text.startswith("liquidation: ") for text in alarms) == 1
        node.until_bars(2)
        assert node.end() == 0, "".join(node.lines)


def _set_leverage(venue: Rehearsal, leverage: int) -> None:
    keys = demo_keys(REHEARSAL_SEED)
    pair = SecretStr(keys.hmac_key), SecretStr(keys.hmac_secret)
    with VenueClient(venue.facts["http"], pair) as client:
        client.set_leverage("BTCUSDT", leverage)


def _until_cleared(venue: Rehearsal) -> list[Any]:
    """The income up to the liquidation's fee; nothing before that."""
    income: list[Any] = venue.ledger()["income"]
    kinds = [entry["kind"] for entry in income]
    return income[: kinds.index("INSURANCE_CLEAR") + 1] if "INSURANCE_CLEAR" in kinds else []


def _told(node: Node, what: str) -> list[Any]:
    return [r["detail"] for r in node.audit() if r["kind"] == "trade" and r["detail"]["what"] == what]
