"""Orders of the node that wait at the venue while its engine does not know of them."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from live.rehearsal.serving.demo_keys import demo_keys
from live.venue.client import VenueClient
from live.venues import REHEARSAL_SEED
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _client(venue: Rehearsal) -> VenueClient:
    keys = demo_keys(REHEARSAL_SEED)
    secret = SecretStr(keys.hmac_secret)
    return VenueClient.of(SimpleNamespace(http=venue.facts["http"], key=keys.hmac_key, secret=secret))


def _stops(venue: Rehearsal) -> set[str]:
    return {order["client_algo_id"] for order in venue.stops()}


def test_a_closing_stop_that_outlived_its_position_goes(tmp_path: Path) -> None:
    """The engine is not told of a closing stop without a position: it can only be found by asking."""
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal(speed=5) as venue, _client(venue) as client:
        amount, level = Decimal("0.01"), client.mark_price("BTCUSDT") * Decimal("0.9") // 1
        values = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": amount}
        client.http.act("POST", "/fapi/v1/order", values)
        client.place_close_stop("BTCUSDT", "SELL", level, "00-mk3x1q2w-2S0")
        client.reduce_at_market("BTCUSDT", "SELL", amount, "00-mk3x1q2w-3X0")
        assert venue.position() == 0.0
        assert _stops(venue) == {"00-mk3x1q2w-2S0"}
        with Node(run, state, venue, "--adopt") as node:
            node.until_trading()
            until(lambda: not _stops(venue) & {"00-mk3x1q2w-2S0"}, "swept")
            alarms = until(lambda: [r for r in node.audit() if r["component"] == "sweeper"], "alarm")
            assert "00-mk3x1q2w-2S0" in alarms[0]["detail"]["text"]


def test_a_position_bare_at_a_quiet_market_is_closed_before_the_first_quote(tmp_path: Path) -> None:
    """The engine denies market orders until it knows a price, which is asked for at the start."""
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal(speed=0.2) as venue, _client(venue) as client:
        values = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": Decimal("0.01")}
        client.http.act("POST", "/fapi/v1/order", values)
        with Node(run, state, venue, "--adopt") as node:
            until(lambda: venue.position() == 0.0, "flat")
            until(lambda: node.actions("position_over"), "told")
            first, last = (
                next(r["wall"] for r in node.audit() if r["detail"].get("action") == name)
                for name in ("adopt", "position_over")
            )
            assert (last - first) / 1e9 < 1.5  # the first quote comes after five seconds
            assert node.end() == 0


@pytest.mark.parametrize("held", ["0.013", "0.015", "0.017"])
def test_what_no_step_reaches_gets_a_stop_and_is_closed(tmp_path: Path, held: str) -> None:
    """A step made coarser while a position is held: the engine counts in whole steps, a rest stays."""
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal(speed=5) as venue, _client(venue) as client:
        values = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": Decimal(held)}
        client.http.act("POST", "/fapi/v1/order", values)
        venue.fault("change_filters", symbol="BTCUSDT", step="0.01", min_quantity="0.01")
        with Node(run, state, venue, "--adopt") as node:
            until(lambda: venue.position() == 0.0, "closed to the last crumb")  # before the first bar enters
            assert node.end() == 0
            assert "stopped: flat\n" in node.lines
        assert not venue.stops()
