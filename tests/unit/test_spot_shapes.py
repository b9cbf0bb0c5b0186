"""What the spot venue sends has the keys and types of the recordings, but for differences with reasons.

Compared are streams recorded from the exchange (hftbacktest, cryptofeed) and the documented examples that
Nautilus and Binance.Net keep. Skipped where the recordings are not there.
"""

import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from live.rehearsal.ports import Delivery, NoFaults
from live.rehearsal.serving.server import ServerThread
from live.rehearsal.spot.specs import spot_spec_of_entry
from tests.rehearsal_server import Rest, kline, socket
from tests.spot_server import API, ask, make_spot_server, quote, spot_running, spot_spec, trade
from tests.unit.test_rehearsal_shapes import DATA, FIXTURES, differences

EXAMPLES = FIXTURES / "nautilus_trader/crates/adapters/binance/test_data/spot"
JKORF = FIXTURES / "jkorf_Binance.Net/Endpoints/Spot"
STREAMS = DATA / "ticks/hftbacktest/spot/btcusdt_20240808.gz"
CRYPTOFEED = FIXTURES / "cryptofeed/BINANCE.ws.1.0"
NAMES = ("trade", "bookTicker", "depth", "kline_1m", "aggTrade", "ticker", "miniTicker")

pytestmark = pytest.mark.skipif(not FIXTURES.exists(), reason="the recordings are not here")

NEWER = "documented in 2026, younger than the example"
# (what, path) -> why; a leading + is sent but not in the example, - is in the example but not sent.
ALLOWED = {
    ("order list", "-.orderReports[].icebergQty"): "no icebergs here",
    ("order list", "+.orderReports[].origQuoteOrderQty"): NEWER,
    ("cancelled list", "+.orderReports[].origQuoteOrderQty"): NEWER,
    ("commission", "+.specialCommission"): NEWER,
}


class Ears(NoFaults):
    """Keeps every message that is sent."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Any]] = {}

    def on_message(self, stream: str, event: Any) -> list[Delivery]:
        name = stream.partition("@")[2] or event["e"]
        self.heard.setdefault(name, []).append(event)
        return [Delivery(event)]


@pytest.fixture(scope="module")
def traded() -> Iterator[tuple[Rest, Ears]]:
    """A server on which something of everything has happened, with what it sent."""
    ears = Ears()
    with spot_running(make_spot_server(faults=ears)) as thread, Rest(thread.server.http_url) as rest:
        names = "/".join(f"btcusdt@{name}" for name in (*NAMES, "depth5"))
        with socket(thread, f"/stream?streams={names}"):
            happen(thread, rest)
        yield rest, ears


def happen(thread: ServerThread, rest: Rest) -> None:
    venue = thread.server.venue

    def run() -> None:
        listener = next(iter(thread.server.hub.sockets))
        listener.accounts["main"] = "0"
        venue.place("main", ask("BUY", "MARKET", "0.1"))
        venue.place("main", ask("BUY", "LIMIT", "0.01", price="49000"))
        venue.place_oco(
            "main",
            ask("SELL", "LIMIT_MAKER", "0.0999", price="51000"),
            ask("SELL", "STOP_LOSS_LIMIT", "0.0999", stop_price="49000", price="48900"),
        )
        venue.transfer("main", "BTC", venue.balances("main")[0].locked)
        thread.server.flush()

    thread.call(run)
    thread.feed([quote("50001.00", "50001.01", at=5), trade("50001.00", at=6), kline(0)])
    assert rest.get(f"{API}ping") == {}


def check(what: str, sent: Any, documented: Any) -> None:
    found = set(differences(sent, documented))
    assert not {path for path in found if (what, path) not in ALLOWED}


@cache
def documented(name: str) -> Any:
    """A documented answer: Nautilus's by file name, else Binance.Net's, which stands under three lines."""
    file = EXAMPLES / name
    if file.exists():
        found = json.loads(file.read_text())
        return found.get("event", found) if isinstance(found, dict) else found
    text = (JKORF / name).read_text().split("\n", 3)[3]
    return json.loads(re.sub(r"\s//.*", "", text))


@cache
def recorded_stream(name: str) -> Any:
    """A message of a stream as it was recorded from the exchange."""
    with gzip.open(STREAMS, "rt") as lines:
        for line in lines:
            message = json.loads(line.split(" ", 1)[1])
            if message.get("stream", "").startswith(f"btcusdt@{name}"):
                return message["data"]
    for line in CRYPTOFEED.read_text().splitlines():
        text = line.partition(": ")[2]
        if f"@{name}" in text:
            return json.loads(text)["data"]
    raise AssertionError(f"no {name} was recorded")


@pytest.mark.parametrize("name", ["trade", "bookTicker", "depth", "kline_1m", "aggTrade"])
def test_streams_are_as_recorded(traded: tuple[Rest, Ears], name: str) -> None:
    check(f"{name} stream", traded[1].heard[name][0], recorded_stream(name))


@pytest.mark.parametrize(
    ("what", "event", "file"),
    [
        ("order report", "executionReport", "execution_report_wrapped.json"),
        ("order list report", "listStatus", "list_status_wrapped.json"),
        ("position", "outboundAccountPosition", "account_position_wrapped.json"),
        ("transfer", "balanceUpdate", "balance_update_wrapped.json"),
    ],
)
def test_account_events_are_as_documented(
    traded: tuple[Rest, Ears], what: str, event: str, file: str
) -> None:
    # The last report is an order's that waits: no fill, as in the example.
    check(what, traded[1].heard[event][-1], documented(f"user_data_json/{file}"))


@pytest.mark.parametrize(
    ("what", "path", "params", "file"),
    [
        ("depth", "depth", {"symbol": "BTCUSDT"}, "http_json/depth_response.json"),
        ("trades", "trades", {"symbol": "BTCUSDT"}, "http_json/trades_response.json"),
        (
            "klines",
            "klines",
            {"symbol": "BTCUSDT", "interval": "1m"},
            "http_json/klines_response.json",
        ),
        ("day", "ticker/24hr", {"symbol": "BTCUSDT"}, "http_json/ticker_24hr_response.json"),
        ("best", "ticker/bookTicker", {"symbol": "BTCUSDT"}, "http_json/book_ticker_response.json"),
        ("average", "avgPrice", {"symbol": "BTCUSDT"}, "http_json/avg_price_response.json"),
        ("aggregates", "aggTrades", {"symbol": "BTCUSDT"}, "ExchangeData/GetAggregatedTradeHistory.txt"),
    ],
)
def test_market_answers_are_as_documented(
    traded: tuple[Rest, Ears], what: str, path: str, params: dict[str, str], file: str
) -> None:
    check(what, traded[0].get(f"{API}{path}", **params), documented(file))


@pytest.mark.parametrize(
    ("what", "path", "params", "file"),
    [
        ("account", "account", {}, "http_json/account_response.json"),
        ("fills", "myTrades", {"symbol": "BTCUSDT"}, "http_json/account_trades_response.json"),
        ("commission", "account/commission", {"symbol": "BTCUSDT"}, "Account/GetCommissionRates.txt"),
        ("lists", "openOrderList", {}, "Trading/GetOpenOcoOrders.txt"),
        ("counts", "rateLimit/order", {}, "Account/GetOrderRateLimitStatus.txt"),
    ],
)
def test_account_answers_are_as_documented(
    traded: tuple[Rest, Ears], what: str, path: str, params: dict[str, str], file: str
) -> None:
    check(what, traded[0].ask("GET", f"{API}{path}", **params), documented(file))


def test_orders_are_as_documented(traded: tuple[Rest, Ears]) -> None:
    rest, _ = traded
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    placed = rest.ask("POST", f"{API}order", **order, quantity="0.01", price="50010")
    check("placed", placed, documented("http_json/new_order_full_response.json"))
    waiting = rest.ask("GET", f"{API}openOrders", symbol="BTCUSDT")[0]
    check("order", waiting, documented("http_json/order_response.json"))
    gone = rest.ask("DELETE", f"{API}order", symbol="BTCUSDT", orderId=waiting["orderId"])
    check("cancelled", gone, documented("http_json/cancel_order_response.json"))
    number = rest.ask("GET", f"{API}openOrderList")[0]["orderListId"]
    ended = rest.ask("DELETE", f"{API}orderList", symbol="BTCUSDT", orderListId=number)
    check("cancelled list", ended, documented("Trading/CancelOcoOrder.txt"))
    legs = {
        "abovePrice": "52000",
        "belowPrice": "48900",
        "belowStopPrice": "49000",
        "belowTimeInForce": "GTC",
    }
    types = {"aboveType": "LIMIT_MAKER", "belowType": "STOP_LOSS_LIMIT", "side": "SELL"}
    pair = rest.ask("POST", f"{API}orderList/oco", symbol="BTCUSDT", quantity="0.01", **types, **legs)
    check("order list", pair, documented("Trading/PlaceOcoOrderList.txt"))


def test_exchange_info_is_as_documented_and_read_back(traded: tuple[Rest, Ears]) -> None:
    rest, _ = traded
    info, example = rest.get(f"{API}exchangeInfo"), documented("http_json/exchange_info_response.json")
    assert info.keys() == example.keys() - {"sors"}  # no order routing here
    assert info["symbols"][0].keys() == example["symbols"][0].keys()
    assert spot_spec_of_entry(info["symbols"][0]) == spot_spec()
