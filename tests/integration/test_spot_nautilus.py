"""Nautilus's LiveNode trades on the spot rehearsal venue through its Binance adapter, only its URLs changed.

The node runs in a process of its own: whatever becomes of it, the other tests go on.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from live.rehearsal.book import Quote, Trade
from live.rehearsal.serving.server import ServerThread
from tests.node_process import START_SECS, Mover, Node, moving, node_on
from tests.rehearsal_server import ED_KEY, D, ed25519_pair, until
from tests.spot_server import ask, make_spot_server

pytestmark = pytest.mark.slow  # processes and sockets against the clock

SCRIPT = "tests.nautilus_spot_node"


def trade_beside(at_ms: int, bid: Decimal) -> Trade:
    return Trade(at_ms, "BTCUSDT", bid, D("0.5"), buyer_maker=True)


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread(make_spot_server()) as server:
        yield server


@pytest.fixture
def mover(thread: ServerThread) -> Iterator[Mover]:
    with moving(thread, trade_beside) as mover:
        yield mover


def protected(node: Node) -> Decimal:
    """Wait until the node has bought and its OCO list is at the venue; the entry's price."""
    node.expect("started", within=START_SECS)
    assert node.expect("quote")["bid_size"] == "5.00000"
    filled = node.expect("filled", role="entry")
    assert (filled["quantity"], filled["fee"]) == ("0.01000", "0.00001000 BTC")
    for role in ("stop", "target"):
        node.expect("accepted", role=role)
    return Decimal(filled["price"])


def balances(thread: ServerThread) -> dict[str, Any]:
    venue = thread.server.venue
    return {each.asset: (each.free, each.locked) for each in thread.call(lambda: venue.balances("main"))}


def test_a_node_buys_protects_what_it_received_and_takes_its_profit(
    thread: ServerThread, mover: Mover, tmp_path: Path
) -> None:
    with node_on(thread, tmp_path, ED_KEY, ed25519_pair()[0], script=SCRIPT) as node:
        entry = protected(node)
        until(lambda: {"trade", "bar"} <= {line.split('"')[3] for line in node.lines if line.startswith("@")})
        assert balances(thread)["BTC"] == (0, D("0.00999"))
        venue = thread.server.venue
        orders = {o.type: o for o in thread.call(lambda: venue.open_orders("main"))}
        assert orders["LIMIT_MAKER"].price == entry + 300
        assert orders["STOP_LOSS"].stop_price == entry - 500
        mover.bid = Decimal(60_400)
        node.expect("expired", role="stop")
        target = node.expect("filled", role="target")
        assert (target["price"], target["quantity"]) == (f"{entry + 300:.2f}", "0.00999")
        node.expect("closed")
        assert node.end() == 0
        ended = node.expect("stopped")
    received = D("0.00999") * (entry + 300)
    fee = (received / 1000).quantize(D("1e-8"), rounding="ROUND_DOWN")
    money = D("10000") - D("0.01") * entry + received - fee
    assert balances(thread) == {"BTC": (0, 0), "USDT": (money, 0)}
    assert f"total={money:.8f} USDT" in ended["balances"]["USDT"]
    told = "".join(node.lines)
    assert '"close": "60010.00", "volume": "2.00000"' in told
    assert "ERROR" not in told


def test_a_nodes_stop_sells_at_the_market(thread: ServerThread, mover: Mover, tmp_path: Path) -> None:
    with node_on(thread, tmp_path, ED_KEY, ed25519_pair()[0], script=SCRIPT) as node:
        entry = protected(node)
        mover.bid = Decimal(59_400)
        node.expect("expired", role="target")
        stopped = node.expect("filled", role="stop")
        assert Decimal(stopped["price"]) < entry - 500
        assert node.end() == 0
    assert balances(thread)["BTC"] == (0, 0)


def test_a_node_finds_orders_that_were_there(thread: ServerThread, mover: Mover, tmp_path: Path) -> None:
    assert mover.bid == 60_000
    venue = thread.server.venue

    def prepare() -> None:
        venue.transfer("main", "BTC", D("0.5"))
        venue.apply(Quote(0, "BTCUSDT", D("60000"), D(5), D("60000.1"), D(5)))
        venue.apply(Trade(0, "BTCUSDT", D("60000"), D(1), buyer_maker=True))
        venue.place("main", ask("BUY", "LIMIT", "0.02", price="50000"))
        venue.place_oco(
            "main",
            ask("SELL", "LIMIT_MAKER", "0.5", price="70000"),
            ask("SELL", "STOP_LOSS", "0.5", stop_price="50000"),
        )
        thread.server.flush()

    thread.call(prepare)
    with node_on(thread, tmp_path, ED_KEY, ed25519_pair()[0], "watch", script=SCRIPT) as node:
        node.expect("started", within=START_SECS)
        found = node.expect("found")
        assert sorted(found["orders"]) == [
            ["LIMIT", "0.02000"],
            ["LIMIT", "0.50000"],
            ["STOP_MARKET", "0.50000"],
        ]
        # A signal that comes while the node still starts ends the process at once.
        node.expect("quote")
        assert node.end() == 0
