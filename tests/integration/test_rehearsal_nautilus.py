"""Nautilus's LiveNode trades on the rehearsal venue through its Binance adapter, only its URLs changed.

The node runs in a process of its own: whatever becomes of it, the other tests go on.
"""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from live.rehearsal.book import MarkPrice, Quote
from live.rehearsal.futures.orders import OrderRequest
from live.rehearsal.serving.server import ServerThread
from tests.node_process import START_SECS, Mover, moving, node_on
from tests.rehearsal_server import (
    ED_KEY,
    HMAC_KEY,
    SECRET,
    D,
    ed25519_pair,
    make_server,
)

pytestmark = pytest.mark.slow  # processes and sockets against the clock

SCRIPT = "tests.nautilus_node"
EIGHT_HOURS_MS = 28_800_000


def mark_beside(at_ms: int, bid: Decimal) -> MarkPrice:
    funding_ms = at_ms // EIGHT_HOURS_MS * EIGHT_HOURS_MS + EIGHT_HOURS_MS
    return MarkPrice(at_ms, "BTCUSDT", bid, bid, D("0.0001"), funding_ms)


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread(make_server()) as server:
        yield server


@pytest.fixture
def mover(thread: ServerThread) -> Iterator[Mover]:
    with moving(thread, mark_beside) as mover:
        yield mover


@pytest.mark.parametrize(
    ("key", "secret"), [(HMAC_KEY, SECRET), (ED_KEY, ed25519_pair()[0])], ids=["hmac", "ed25519"]
)
def test_a_node_enters_protects_and_leaves(
    thread: ServerThread, mover: Mover, tmp_path: Path, key: str, secret: str
) -> None:
    with node_on(thread, tmp_path, key, secret, script=SCRIPT) as node:
        node.expect("started", within=START_SECS)
        assert node.expect("quote")["bid_size"] == "5.000"
        entry = Decimal(node.expect("filled")["price"])
        # target and stop go two ways, over the trading socket and over REST: either may be first
        assert {node.expect("accepted")["role"] for _ in range(2)} == {"stop", "target"}
        stops = thread.call(lambda: thread.server.venue.open_algo_orders("main"))
        assert [(s.close_position, s.working_type, s.trigger_price) for s in stops] == [
            (True, "MARK_PRICE", entry - 500)
        ]
        assert node.expect("bar")["volume"] == "2.000"
        mover.bid = Decimal(60_400)
        target = Decimal(node.expect("filled")["price"])
        assert target == entry + 300
        # 0.01 bought at the taker's 0.05 %, sold 300 higher at the maker's 0.02 %.
        fees = D("0.01") * (entry * D("0.0005") + target * D("0.0002"))
        assert node.expect("closed")["pnl"] == f"{3 - fees:.8f} USDT"
        node.expect("canceled", role="stop")
        assert node.end() == 0
        node.expect("stopped")
    venue = thread.server.venue
    assert venue.account_view("main").assets[0].wallet == D("10003") - fees
    assert not venue.open_orders("main")
    assert not venue.open_algo_orders("main")
    assert "ERROR" not in "".join(node.lines)


def test_a_node_finds_position_and_orders_that_were_there(
    thread: ServerThread, mover: Mover, tmp_path: Path
) -> None:
    assert mover.bid == 60_000
    venue = thread.server.venue

    def prepare() -> None:
        thread.server.feed(Quote(0, "BTCUSDT", D("60000"), D(5), D("60000.1"), D(5)))
        order = OrderRequest(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=D("0.02"))
        venue.place("main", order)
        leave = {"symbol": "BTCUSDT", "side": "SELL"}
        limit = OrderRequest(
            **leave, type="LIMIT", quantity=D("0.02"), price=D("61000"), time_in_force="GTC", reduce_only=True
        )
        venue.place("main", limit)
        stop = OrderRequest(
            **leave,
            type="STOP_MARKET",
            trigger_price=D("59000"),
            close_position=True,
            working_type="MARK_PRICE",
        )
        venue.place_algo("main", stop)
        trail = OrderRequest(
            **leave,
            type="TRAILING_STOP_MARKET",
            quantity=D("0.01"),
            callback_rate=D(1),
            reduce_only=True,
            activation_price=D("60500"),
        )
        venue.place_algo("main", trail)
        thread.server.flush()

    thread.call(prepare)
    with node_on(thread, tmp_path, HMAC_KEY, SECRET, "watch", script=SCRIPT) as node:
        node.expect("started", within=START_SECS)
        found = node.expect("found")
        assert Decimal(found["position"]) == D("0.02")
        assert sorted(found["orders"]) == [
            ["LIMIT", "0.020"],
            ["STOP_MARKET", "0.020"],
            ["TRAILING_STOP_MARKET", "0.010"],
        ]
        # A signal that comes while the node still starts ends the process at once.
        node.expect("quote")
        assert node.end() == 0
