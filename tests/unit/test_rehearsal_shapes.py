"""What the venue sends has the keys and types of the recordings, but for the differences listed with reasons.

Compared are recorded answers and stream messages (gocryptotrader, hftbacktest) and the documented
examples that Nautilus keeps (nautilus). Skipped where the recordings are not there.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import websocket

from live.rehearsal.book import Funding
from live.rehearsal.ports import Delivery, NoFaults
from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import (
    START_MS,
    D,
    Rest,
    kline,
    make_server,
    mark,
    quote,
    running,
    trade,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
FIXTURES = DATA / "fixtures"
RUST = FIXTURES / "nautilus_trader/crates/adapters/binance/test_data/futures"
ANSWERS = FIXTURES / "nautilus_trader/tests/integration_tests/adapters/binance/resources/http_responses"
RECORDED = FIXTURES / "gocryptotrader/exchanges/binance/testdata/http.headers_and_signatures_removed.json"
TICKS = DATA / "ticks/hftbacktest/usdm/btcusdt_20240808.gz"

pytestmark = pytest.mark.skipif(not FIXTURES.exists(), reason="the recordings are not here")

STP = "documented since 2023, younger than the example"
WIRE_ONLY = "documented in 2026 as st and ps, in no recording"
# (what, path) -> why; a leading + is sent but not in the example, - is in the example but not sent.
ALLOWED = {
    ("openOrders", "+[].priceMatch"): STP,
    ("openOrders", "+[].selfTradePreventionMode"): STP,
    ("openOrders", "+[].goodTillDate"): STP,
    ("openOrders", "-[].activatePrice"): "only of trailing orders",
    ("openOrders", "-[].priceRate"): "only of trailing orders",
    ("openAlgoOrders", "-[].type"): "an abridged example; the documented name is orderType",
    **{
        ("openAlgoOrders", f"+[].{name}"): "an abridged example; as in the documented answer"
        for name in (
            "orderType",
            "actualOrderId",
            "actualPrice",
            "price",
            "icebergQuantity",
            "tpTriggerPrice",
            "tpPrice",
            "slTriggerPrice",
            "slPrice",
            "tpOrderType",
            "selfTradePreventionMode",
            "priceMatch",
            "closePosition",
            "priceProtect",
            "triggerTime",
            "goodTillDate",
        )
    },
    ("account", "+.positions[].breakEvenPrice"): "recorded since 2023, younger than the example",
    ("account", "+.positions[].notional"): "recorded, not in the example",
    ("account", "+.positions[].isolatedWallet"): "recorded, not in the example",
    ("fundingRate", "+[].markPrice"): "documented since November 2023, younger than the recording",
    ("bookTicker", "+.lastUpdateId"): "documented since 2024, younger than the recording",
    ("markPriceUpdate", "-.st"): WIRE_ONLY,
    ("ticker", "-.st"): WIRE_ONLY,
    ("algo new", "-.o.rm"): "only of refused orders",
    ("account update", "+.a.P[].ma"): "documented since 2024, younger than the example",
    ("order new", "-.o.N"): "only with a commission, as documented",
    ("order new", "-.o.n"): "only with a commission, as documented",
    ("order new", "-.o.AP"): "only of trailing orders, as documented",
    ("order new", "-.o.cr"): "only of trailing orders, as documented",
    ("order new", "+.o.pm"): STP,
    ("order new", "+.o.gtd"): STP,
    ("order trade", "-.o.AP"): "only of trailing orders, as documented",
    ("order trade", "-.o.cr"): "only of trailing orders, as documented",
    ("order trade", "+.o.pm"): STP,
    ("order trade", "+.o.gtd"): STP,
}


def differences(sent: Any, example: Any, path: str = "") -> Iterator[str]:
    """Keys that only one side has, and types that differ, of nested objects and first list elements."""
    if isinstance(sent, dict) and isinstance(example, dict):
        yield from (f"+{path}.{name}" for name in sent.keys() - example.keys())
        yield from (f"-{path}.{name}" for name in example.keys() - sent.keys())
        for name in sent.keys() & example.keys():
            yield from differences(sent[name], example[name], f"{path}.{name}")
    elif isinstance(sent, list) and isinstance(example, list):
        yield from _rows(sent, example, path)
    elif type(sent) is not type(example):
        yield f"!{path}: {type(sent).__name__}, not {type(example).__name__}"


def _rows(sent: list[Any], example: list[Any], path: str) -> Iterator[str]:
    if sent and example and isinstance(sent[0], dict | list):
        yield from differences(sent[0], example[0], f"{path}[]")
    elif [type(v) for v in sent] != [type(v) for v in example] and sent and example:
        yield f"!{path}: {sent} against {example}"


def check(what: str, sent: Any, example: Any) -> None:
    """Nothing differs but what is allowed."""
    found = {d for d in differences(sent, example) if (what, d) not in ALLOWED}
    assert found == set()


@cache
def recorded(path: str, method: str = "GET") -> list[Any]:
    """The answers recorded for a path, those that are not errors."""
    routes = json.loads(RECORDED.read_text())["routes"][path][method]
    return [r["data"] for r in routes if r["data"] and "code" not in r["data"]]


def example(path: Path) -> Any:
    """A documented example."""
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def traded() -> Iterator[tuple[Rest, dict[str, list[dict[str, Any]]]]]:
    """A venue on which something of everything happened, and every message that it sent, by event."""
    sent: dict[str, list[dict[str, Any]]] = {}

    class Listening(NoFaults):
        def on_message(self, stream: str, event: Any) -> list[Delivery]:
            sent.setdefault(event["e"], []).append(event)
            return [Delivery(event)]

    with running(make_server(faults=Listening())) as thread, Rest(thread.server.http_url) as rest:
        with listening_to_all(thread, rest):
            trade_a_little(thread, rest)
        yield rest, sent


@contextmanager
def listening_to_all(thread: ServerThread, rest: Rest) -> Iterator[None]:
    names = "btcusdt@aggTrade/btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms/btcusdt@kline_1m"
    key = rest.ask("POST", "/fapi/v1/listenKey")["listenKey"]
    base = thread.server.ws_url.removesuffix("/ws")
    socket = websocket.create_connection(
        f"{base}/stream?streams={names}/btcusdt@markPrice/btcusdt@ticker/{key}", timeout=10
    )
    try:
        yield
    finally:
        socket.shutdown()


def trade_a_little(thread: ServerThread, rest: Rest) -> None:
    thread.feed([kline(0), quote("60010.0", "60010.1"), trade("60010.1"), mark("60010"), kline(1)])
    order = {"symbol": "BTCUSDT", "side": "BUY"}
    rest.ask("POST", "/fapi/v1/order", **order, type="MARKET", quantity="0.1")
    limit = {"type": "LIMIT", "timeInForce": "GTC"}
    rest.ask("POST", "/fapi/v1/order", **order, **limit, quantity="0.1", price="59000")
    stop = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "algoType": "CONDITIONAL"}
    rest.ask("POST", "/fapi/v1/algoOrder", **stop, triggerPrice="59000", closePosition="true")
    thread.feed([Funding(START_MS + 200_000, "BTCUSDT", D("0.0001"))])
    rest.ask("POST", "/fapi/v1/algoOrder", **stop, triggerPrice="59900", quantity="0.01", reduceOnly="true")
    thread.feed([quote("59900.0", "59900.1"), trade("59900.0")])
    rest.ask("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=19)


Traded = tuple[Rest, dict[str, list[dict[str, Any]]]]


@pytest.mark.parametrize(
    ("what", "path", "params"),
    [
        ("time", "/fapi/v1/time", {}),
        ("klines", "/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m"}),
        ("depth", "/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 5}),
        ("trades", "/fapi/v1/trades", {"symbol": "BTCUSDT"}),
        ("aggTrades", "/fapi/v1/aggTrades", {"symbol": "BTCUSDT"}),
        ("price", "/fapi/v1/ticker/price", {"symbol": "BTCUSDT"}),
        ("day", "/fapi/v1/ticker/24hr", {"symbol": "BTCUSDT"}),
        ("premiumIndex", "/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"}),
        ("fundingRate", "/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}),
        ("openInterest", "/fapi/v1/openInterest", {"symbol": "BTCUSDT"}),
    ],
)
def test_market_data_has_the_recorded_shape(
    traded: Traded, what: str, path: str, params: Mapping[str, Any]
) -> None:
    sent = traded[0].get(path, **params)
    one = next(e for e in recorded(path) if isinstance(e, type(sent)))
    check(what, sent, one)


def test_book_ticker_has_the_recorded_shape(traded: Traded) -> None:
    one = next(e for e in recorded("/fapi/v1/ticker/bookTicker") if isinstance(e, list))[0]
    check("bookTicker", traded[0].get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT"), one)


def test_exchange_info_has_the_shape_recorded_in_august_2025(traded: Traded) -> None:
    sent, (one,) = traded[0].get("/fapi/v1/exchangeInfo"), recorded("/fapi/v1/exchangeInfo")
    bitcoin = next(s for s in one["symbols"] if s["symbol"] == "BTCUSDT")
    check("exchangeInfo", sent, one | {"symbols": [bitcoin]})
    ours = {f["filterType"]: f for f in sent["symbols"][0]["filters"]}
    theirs = {f["filterType"]: f for f in bitcoin["filters"]}
    assert ours.keys() == theirs.keys()
    for name, filter_ in ours.items():
        check(f"filter {name}", filter_, theirs[name])
    assert sent["symbols"][0]["orderTypes"] == bitcoin["orderTypes"]
    assert [f["tickSize"] for f in ours.values() if "tickSize" in f] == ["0.10"]
    assert (ours["PERCENT_PRICE"], ours["LOT_SIZE"]["stepSize"]) == (theirs["PERCENT_PRICE"], "0.001")


@pytest.mark.parametrize(
    ("what", "path", "file"),
    [
        ("account", "/fapi/v2/account", RUST / "http_json/account_info_v2.json"),
        ("balance", "/fapi/v2/balance", RUST / "http_json/balance.json"),
        ("positionRisk", "/fapi/v2/positionRisk", RUST / "http_json/position_risk.json"),
        ("openAlgoOrders", "/fapi/v1/openAlgoOrders", RUST / "http_json/open_algo_orders.json"),
        ("dual", "/fapi/v1/positionSide/dual", ANSWERS / "http_futures_account_position_side_dual.json"),
        ("symbolConfig", "/fapi/v1/symbolConfig", ANSWERS / "http_futures_account_symbol_config.json"),
        ("openOrders", "/fapi/v1/openOrders", ANSWERS / "http_futures_account_orders.json"),
    ],
)  # fmt: skip
def test_the_account_has_the_documented_shape(traded: Traded, what: str, path: str, file: Path) -> None:
    sent, documented = traded[0].ask("GET", path), example(file)
    check(what, sent, documented)


def test_an_order_has_the_documented_shape(traded: Traded) -> None:
    sent = traded[0].ask("GET", "/fapi/v1/openOrders", symbol="BTCUSDT")[0]
    check("order", sent, example(RUST / "http_json/order_response.json"))
    assert (sent["price"], sent["origQty"], sent["cumQuote"]) == ("59000.00", "0.100", "0.00000")


def test_trades_and_rates_have_the_documented_shape(traded: Traded) -> None:
    trades = traded[0].ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
    check("userTrades", trades, example(ANSWERS / "http_futures_account_trades.json"))
    rate = traded[0].ask("GET", "/fapi/v1/commissionRate", symbol="BTCUSDT")
    assert rate == example(ANSWERS / "http_futures_wallet_commission_rate_btcusdt.json")


@cache
def recorded_message(name: str) -> Any:
    """The first recorded message of a stream."""
    with gzip.open(TICKS, "rt") as lines:
        for line in lines:
            message = json.loads(line.split(" ", 1)[1])
            if message["stream"].endswith(name):
                return message["data"]
    raise AssertionError(f"no {name} was recorded")


@pytest.mark.parametrize(
    ("event", "stream"),
    [("bookTicker", "bookTicker"), ("trade", "trade"), ("depthUpdate", "depth@0ms")],
)
def test_stream_messages_are_as_recorded_from_the_exchange(traded: Traded, event: str, stream: str) -> None:
    check(event, traded[1][event][0], recorded_message(stream))


@pytest.mark.parametrize(
    ("event", "file"),
    [
        ("kline", "kline_stream_closed"),
        ("markPriceUpdate", "mark_price_stream"),
        ("24hrTicker", "ticker_stream"),
    ],
)
def test_stream_messages_are_as_documented(traded: Traded, event: str, file: str) -> None:
    what = "ticker" if event == "24hrTicker" else event
    check(what, traded[1][event][0], example(RUST / f"market_data_json/{file}.json"))


def test_aggregate_trades_are_as_documented_but_for_the_newest_field(traded: Traded) -> None:
    documented = example(RUST / "market_data_json/agg_trade_stream.json")
    del documented["st"]
    check("aggTrade", traded[1]["aggTrade"][0], documented)


@pytest.mark.parametrize(
    ("what", "event", "file"),
    [
        ("order new", "ORDER_TRADE_UPDATE", "order_update_new"),
        ("order trade", "ORDER_TRADE_UPDATE", "order_update_trade"),
        ("lite", "TRADE_LITE", "trade_lite"),
        ("account update", "ACCOUNT_UPDATE", "account_update"),
        ("algo new", "ALGO_UPDATE", "algo_update_new"),
    ],
)
def test_user_events_are_as_documented(traded: Traded, what: str, event: str, file: str) -> None:
    documented = example(RUST / f"user_data_json/{file}.json")
    kind = documented.get("o", {}).get("x")
    sent = next(m for m in traded[1][event] if kind is None or m["o"].get("x") == kind)
    check(what, sent, documented)


@pytest.mark.parametrize("status", ["TRIGGERING", "TRIGGERED", "FINISHED"])
def test_a_stop_on_its_way_is_told_as_recorded(traded: Traded, status: str) -> None:
    one = example(ANSWERS.parent / f"ws_messages/ws_futures_algo_update_{status.lower()}.json")["data"]
    sent = next(m for m in traded[1]["ALGO_UPDATE"] if m["o"]["X"] == status)
    check(status, sent, one)
    assert sent["o"].get("act") == one["o"].get("act")


def test_a_change_of_leverage_is_told_as_documented(traded: Traded) -> None:
    (sent,) = traded[1]["ACCOUNT_CONFIG_UPDATE"]
    assert sent["ac"] == {"s": "BTCUSDT", "l": 19}
    assert sent.keys() == {"e", "E", "T", "ac"}


def test_every_allowed_difference_is_still_one(traded: Traded) -> None:
    # An entry that no longer differs would hide the next difference of that name.
    rest, sent = traded
    market, user = RUST / "market_data_json", RUST / "user_data_json"
    book, funding = "/fapi/v1/ticker/bookTicker", "/fapi/v1/fundingRate"
    orders = sent["ORDER_TRADE_UPDATE"]
    pairs = {
        "openOrders": (asked(rest, "openOrders"), ANSWERS / "http_futures_account_orders.json"),
        "openAlgoOrders": (asked(rest, "openAlgoOrders"), RUST / "http_json/open_algo_orders.json"),
        "account": (rest.ask("GET", "/fapi/v2/account"), RUST / "http_json/account_info_v2.json"),
        "fundingRate": (rest.get(funding, symbol="BTCUSDT"), recorded(funding)[0]),
        "bookTicker": (rest.get(book, symbol="BTCUSDT"), recorded(book)[0]),
        "markPriceUpdate": (sent["markPriceUpdate"][0], market / "mark_price_stream.json"),
        "ticker": (sent["24hrTicker"][0], market / "ticker_stream.json"),
        "algo new": (sent["ALGO_UPDATE"][0], user / "algo_update_new.json"),
        "account update": (sent["ACCOUNT_UPDATE"][0], user / "account_update.json"),
        "order new": (orders[0], user / "order_update_new.json"),
        "order trade": (orders[1], user / "order_update_trade.json"),
    }
    stale = {(what, where) for what, where in ALLOWED if where not in set(differences(*_alike(*pairs[what])))}
    assert stale == set()


def asked(rest: Rest, name: str) -> Any:
    return rest.ask("GET", f"/fapi/v1/{name}")


def _alike(sent: Any, documented: Any) -> tuple[Any, Any]:
    """One of each when only the example is a list; the example read when it is a file."""
    known = example(documented) if isinstance(documented, Path) else documented
    return sent, known[0] if isinstance(known, list) and not isinstance(sent, list) else known
