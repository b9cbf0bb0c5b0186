"""Binance's own Python connector trades on the rehearsal venue with only its base URLs changed."""

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from binance.error import ClientError
from binance.um_futures import UMFutures
from binance.websocket.um_futures.websocket_client import UMFuturesWebsocketClient

from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import (
    HMAC_KEY,
    SECRET,
    D,
    FixedClock,
    depth,
    kline,
    make_server,
    mark,
    quote,
    running,
    trade,
)

WAIT_SECS = 10.0
ALGO = "/fapi/v1/algoOrder"


class Messages:
    """What a connector's socket heard; `expect` waits for the first message that fits."""

    def __init__(self) -> None:
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue()
        self.closed = threading.Event()

    def on_message(self, _: object, text: str) -> None:
        self._queue.put(json.loads(text))

    def on_close(self, *_: object) -> None:
        self.closed.set()

    def expect(self, **fields: Any) -> dict[str, Any]:
        """The next message with these fields, `o_x` meaning field x of its order."""
        for _ in range(200):
            message = self._queue.get(timeout=WAIT_SECS)
            order = message.get("o", {})
            found = {n: order.get(n[2:]) if n.startswith("o_") else message.get(n) for n in fields}
            if found == fields:
                return message
        raise AssertionError(f"no message with {fields}")


@contextmanager
def listening(thread: ServerThread, **options: Any) -> Iterator[tuple[UMFuturesWebsocketClient, Messages]]:
    """The connector's websocket client, stopped at the end."""
    messages = Messages()
    client = UMFuturesWebsocketClient(
        stream_url=thread.server.ws_url.removesuffix("/ws"),
        on_message=messages.on_message,
        on_close=messages.on_close,
        on_error=messages.on_close,
        **options,
    )
    try:
        yield client, messages
    finally:
        client.stop()
        client.socket_manager.ws.shutdown()


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with running() as server:
        yield server


@pytest.fixture
def client(thread: ServerThread) -> Iterator[UMFutures]:
    connector = UMFutures(HMAC_KEY, SECRET, base_url=thread.server.http_url, timeout=10)
    try:
        yield connector
    finally:
        connector.session.close()


def test_market_data_reads_as_from_the_exchange(thread: ServerThread, client: UMFutures) -> None:
    thread.feed([kline(0), kline(1, "60015"), kline(2, "60005")])
    assert client.ping() == {}
    assert [s["symbol"] for s in client.exchange_info()["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert client.depth("BTCUSDT", limit=5)["bids"] == [["60000.00", "5.000"]]
    assert client.book_ticker("BTCUSDT")["askPrice"] == "60000.10"
    assert client.ticker_price("BTCUSDT")["price"] == "60000.00"
    assert client.trades("BTCUSDT")[0]["qty"] == "0.500"
    assert client.mark_price("BTCUSDT")["lastFundingRate"] == "0.00010000"
    minutes = client.klines("BTCUSDT", "1m")
    assert [k[4] for k in minutes] == ["60010.00", "60015.00", "60005.00"]
    # Three minutes of 2 BTC and 120,000 USDT each, from the first open to the last close.
    (joined,) = client.klines("BTCUSDT", "5m")
    assert joined[:6] == [minutes[0][0], "60000.00", "60020.00", "59990.00", "60005.00", "6.000"]
    assert joined[6:] == [minutes[0][0] + 299_999, "360000.00000", 30, "3.000", "180000.00000", "0"]


def test_it_trades_and_its_money_is_the_ledgers(thread: ServerThread, client: UMFutures) -> None:
    assert client.change_leverage("BTCUSDT", 10)["leverage"] == 10
    thread.feed([depth([("60000.0", "1")], [("60000.1", "0.02"), ("60000.5", "1")])])
    bought = client.new_order("BTCUSDT", "BUY", "MARKET", quantity="0.05", newOrderRespType="RESULT")
    # 0.02 at 60000.1 and 0.03 at 60000.5 are 3000.017 USDT, on average 60000.34.
    assert (bought["status"], bought["cumQuote"], bought["avgPrice"]) == (
        "FILLED",
        "3000.01700",
        "60000.34000",
    )
    sold = client.new_order("BTCUSDT", "SELL", "LIMIT", quantity="0.05", price="60100", timeInForce="GTC")
    assert sold["status"] == "NEW"
    thread.feed([quote("60100.0", "60100.1", "0.02")])
    partly = client.query_order("BTCUSDT", orderId=sold["orderId"])
    assert (partly["status"], partly["executedQty"]) == ("PARTIALLY_FILLED", "0.020")
    cancelled = client.cancel_order("BTCUSDT", orderId=sold["orderId"])
    assert (cancelled["status"], cancelled["executedQty"]) == ("CANCELED", "0.020")
    # Taker 0.05 % of 3000.017, maker 0.02 % of 1202; profit 0.02 * (60100 - 60000.34).
    wallet = D("10000") - D("1.5000085") - D("0.2404") + D("1.9932")
    assert D(client.balance()[0]["balance"]) == wallet
    income = sum(D(entry["income"]) for entry in client.get_income_history())
    assert D("10000") + income == wallet
    view = thread.call(lambda: thread.server.venue.account_view("main"))
    assert view.assets[0].wallet == wallet
    trades = client.get_account_trades("BTCUSDT")
    assert [t["maker"] for t in trades] == [False, False, True]
    assert D(client.get_position_risk(symbol="BTCUSDT")[0]["positionAmt"]) == D("0.030")
    assert D(client.account()["totalWalletBalance"]) == wallet


def test_a_stop_of_the_algo_service_closes_the_position(thread: ServerThread, client: UMFutures) -> None:
    key = client.new_listen_key()["listenKey"]
    with listening(thread) as (sockets, heard):
        sockets.user_data(listen_key=key, id=7)
        assert heard.expect(id=7)["result"] is None
        client.new_order("BTCUSDT", "BUY", "MARKET", quantity="0.01")
        assert heard.expect(e="ORDER_TRADE_UPDATE", o_x="NEW")["o"]["c"]
        lite = heard.expect(e="TRADE_LITE")
        filled = heard.expect(e="ORDER_TRADE_UPDATE", o_x="TRADE")["o"]
        assert (filled["X"], filled["L"], filled["n"]) == ("FILLED", "60000.1", "0.30000050")
        assert (lite["i"], lite["t"], lite["L"]) == (filled["i"], filled["t"], "60000.1")
        stop = client.sign_request(
            "POST",
            ALGO,
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "type": "STOP_MARKET",
                "algoType": "CONDITIONAL",
                "triggerPrice": "59900",
                "closePosition": "true",
                "workingType": "MARK_PRICE",
                "clientAlgoId": "my-stop",
            },
        )
        assert (stop["algoStatus"], stop["closePosition"]) == ("NEW", True)
        assert heard.expect(e="ALGO_UPDATE", o_X="NEW")["o"]["caid"] == "my-stop"
        thread.feed([quote("59890.0", "59890.1"), mark("59895")])
        heard.expect(e="ALGO_UPDATE", o_X="TRIGGERING")
        out = heard.expect(e="ORDER_TRADE_UPDATE", o_x="TRADE")["o"]
        assert (out["S"], out["l"], out["L"], out["ot"]) == ("SELL", "0.01", "59890", "STOP_MARKET")
        asked = client.sign_request("GET", ALGO, {"clientAlgoId": "my-stop"})
        assert (asked["algoStatus"], asked["actualQty"], asked["actualOrderId"]) == (
            "FINISHED",
            "0.010",
            str(out["i"]),
        )
    assert client.get_position_risk(symbol="BTCUSDT") == []
    assert client.sign_request("GET", "/fapi/v1/openAlgoOrders", {}) == []
    assert client.renew_listen_key(key) == {"listenKey": key}
    assert client.close_listen_key(key) == {}


def test_an_order_is_changed_in_its_place(client: UMFutures) -> None:
    order = client.new_order("BTCUSDT", "BUY", "LIMIT", quantity="0.01", price="59000", timeInForce="GTX")
    changed = client.modify_order("BTCUSDT", "BUY", quantity="0.02", price="59100", orderId=order["orderId"])
    assert (changed["orderId"], changed["price"], changed["origQty"]) == (
        order["orderId"],
        "59100.00",
        "0.020",
    )
    assert [o["price"] for o in client.get_orders(symbol="BTCUSDT")] == ["59100.00"]
    assert client.cancel_open_orders("BTCUSDT")["code"] == 200
    assert client.get_orders() == []


def test_a_batch_is_answered_one_by_one(client: UMFutures) -> None:
    good = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "quantity": "0.01",
        "price": "59000",
        "timeInForce": "GTC",
    }
    answers = client.new_batch_order([good, good | {"price": "59000.05"}])
    assert answers[0]["status"] == "NEW"
    assert answers[1] == {"code": -4014, "msg": "Price not increased by tick size."}
    ended = client.cancel_batch_order(
        "BTCUSDT", orderIdList=[answers[0]["orderId"]], origClientOrderIdList=[]
    )
    assert ended[0]["status"] == "CANCELED"


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"quantity": "0.0105", "price": "59000"}, -1111),
        ({"quantity": "0.01", "price": "59000.001"}, -1111),
        ({"quantity": "0.01"}, -1102),
        ({"quantity": "0.01", "price": "59000", "timeInForce": "XYZ"}, -1115),
        ({"quantity": "1", "price": "59000"}, -2019),
        ({"quantity": "0.0001", "price": "59000"}, -1111),
        ({"quantity": "0.01", "price": "60000.1", "timeInForce": "GTX"}, -5022),
        ({"quantity": "0.01", "price": "59000", "reduceOnly": "true"}, -2022),
    ],
)
def test_bad_orders_are_refused_as_by_the_exchange(
    client: UMFutures, order: dict[str, str], code: int
) -> None:
    client.change_leverage("BTCUSDT", 1)
    with pytest.raises(ClientError) as refused:
        client.new_order("BTCUSDT", "BUY", "LIMIT", **({"timeInForce": "GTC"} | order))
    assert refused.value.error_code == code


def test_a_wrong_secret_and_an_unknown_key_are_refused(thread: ServerThread) -> None:
    for key, secret, code in ((HMAC_KEY, "wrong", -1022), ("unknownKey12345", SECRET, -2015)):
        connector = UMFutures(key, secret, base_url=thread.server.http_url, timeout=10)
        with pytest.raises(ClientError) as refused:
            connector.account()
        assert refused.value.error_code == code
        connector.session.close()


def test_market_streams_arrive_raw_and_combined(thread: ServerThread) -> None:
    with listening(thread) as (raw, heard), listening(thread, is_combined=True) as (combined, bundled):
        raw.book_ticker(symbol="BTCUSDT", id=1)
        raw.agg_trade(symbol="BTCUSDT", id=2)
        heard.expect(id=1)
        heard.expect(id=2)
        combined.subscribe(["btcusdt@kline_1m", "btcusdt@markPrice@1s", "btcusdt@depth5@100ms"], id=3)
        bundled.expect(id=3)
        thread.feed([quote("60001.0", "60001.1", at=10), trade("60001.1", "0.3", at=20, buyer_maker=False)])
        thread.feed([mark("60001", at=30), kline(0)])
        book = heard.expect(e="bookTicker")
        assert (book["b"], book["B"], book["a"]) == ("60001.00", "5.000", "60001.10")
        dealt = heard.expect(e="aggTrade")
        assert (dealt["p"], dealt["q"], dealt["m"]) == ("60001.10", "0.300", False)
        partial = bundled.expect(stream="btcusdt@depth5@100ms")["data"]
        assert (partial["b"], partial["a"]) == ([["60001.00", "5.000"]], [["60001.10", "5.000"]])
        assert bundled.expect(stream="btcusdt@markPrice@1s")["data"]["p"] == "60001.00000000"
        minute = bundled.expect(stream="btcusdt@kline_1m")["data"]["k"]
        assert (minute["c"], minute["x"]) == ("60010.00", True)
        raw.list_subscribe(id=4)
        assert heard.expect(id=4)["result"] == ["btcusdt@bookTicker", "btcusdt@aggTrade"]
        raw.unsubscribe("btcusdt@aggTrade", id=5)
        heard.expect(id=5)
        raw.list_subscribe(id=6)
        assert heard.expect(id=6)["result"] == ["btcusdt@bookTicker"]


def test_weights_and_order_counts_are_told_in_headers() -> None:
    with running(make_server(clock=FixedClock())) as thread:
        connector = UMFutures(
            HMAC_KEY, SECRET, base_url=thread.server.http_url, timeout=10, show_limit_usage=True
        )
        # The time weighs 1, a book of 1000 levels 20, an order nothing.
        assert connector.time()["limit_usage"] == {"x-mbx-used-weight-1m": "1"}
        assert connector.depth("BTCUSDT", limit=1000)["limit_usage"] == {"x-mbx-used-weight-1m": "21"}
        order = connector.new_order(
            "BTCUSDT", "BUY", "LIMIT", quantity="0.01", price="59000", timeInForce="GTC"
        )
        assert order["limit_usage"] == {
            "x-mbx-used-weight-1m": "21",
            "x-mbx-order-count-10s": "1",
            "x-mbx-order-count-1m": "1",
        }
        connector.session.close()
