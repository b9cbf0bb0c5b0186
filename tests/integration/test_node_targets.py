"""Targets that a node finds at its start and wants larger: each closes its share and no more."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from live.rehearsal.serving.demo_keys import demo_keys
from live.venue.client import VenueClient
from live.venues import REHEARSAL_SEED
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _shrink(venue: Rehearsal, order: Any, quantity: Decimal) -> None:
    keys = demo_keys(REHEARSAL_SEED)
    secret = SecretStr(keys.hmac_secret)
    address = SimpleNamespace(http=venue.facts["http"], key=keys.hmac_key, secret=secret)
    values = {
        "symbol": "BTCUSDT",
        "side": order["side"],
        "type": "LIMIT",
        "timeInForce": "GTC",
        "reduceOnly": "true",
        "quantity": quantity,
        "price": order["price"],
        "newClientOrderId": order["client_order_id"],
    }
    with VenueClient.of(address) as client:
        client.cancel("BTCUSDT", order["order_id"])
        client.http.act("POST", "/fapi/v1/order", values)


def _targets(venue: Rehearsal) -> list[Any]:
    """The working targets, the nearest first."""
    return sorted(venue.ledger()["open_orders"], key=lambda order: order["client_order_id"][-2:])


def _closed(venue: Rehearsal, rung: str) -> Decimal:
    orders = venue.ledger()["orders"]
    return sum((Decimal(o["executed"]) for o in orders if o["client_order_id"].endswith(rung)), Decimal(0))


def test_a_target_found_too_small_that_fills_in_parts_closes_its_share_and_no_more(tmp_path: Path) -> None:
    """The node died while its entry was still filling: its targets are of the first part alone."""
    run, state = run_file(tmp_path, allow_short=False), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: len(_targets(venue)) == 2, "targets")
            held, (nearest, _) = Decimal(str(venue.position())), _targets(venue)
            share = Decimal(nearest["quantity"])
            node.kill()
        _shrink(venue, nearest, share / 5 // Decimal("0.001") * Decimal("0.001"))
        with Node(run, state, venue) as node:
            until(lambda: [Decimal(o["quantity"]) for o in _targets(venue)][:1] == [share], "its share")
            venue.fault("slice_fills", slices=3)
            venue.jump(6.0)
            until(lambda: _closed(venue, "T0") >= share, "the target")
            node.until_bars(3)
            assert _closed(venue, "T0") == share
            assert Decimal(str(venue.position())) == held - share
            assert node.end() == 0, "".join(node.lines)
