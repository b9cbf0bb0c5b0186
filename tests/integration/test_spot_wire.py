"""The spot rehearsal server at the wire: REST in JSON and SBE, WebSocket API, streams, faults, control."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websocket

from catalog.instruments import find_spec
from live.rehearsal.faults.script import parse_fault
from live.rehearsal.market.feeds import SyntheticFeed
from live.rehearsal.ports import RequestFault
from live.rehearsal.serving.server import ServerThread
from live.rehearsal.spot.specs import spot_spec
from tests.rehearsal_runs import START_MS, WAIT_SECS, Client, play, rehearsing
from tests.rehearsal_runs import plan as futures_plan
from tests.rehearsal_server import (
    ED_KEY,
    READ_KEY,
    D,
    FixedClock,
    Rest,
    Script,
    heard,
    kline,
    sign_ed25519,
    socket,
)
from tests.spot_server import API, make_spot_server, quote, spot_running, trade

MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
LIMIT = MARKET | {"type": "LIMIT", "timeInForce": "GTC", "price": "49000"}
OCO = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "quantity": "0.00999",
    "aboveType": "LIMIT_MAKER",
    "abovePrice": "51000.00",
    "belowType": "STOP_LOSS",
    "belowStopPrice": "49000.00",
}
SBE = {"Accept": "application/sbe", "X-MBX-SBE": "3:5"}


@pytest.fixture
def thread(faults: Script) -> Iterator[ServerThread]:
    with spot_running(make_spot_server(faults=faults)) as server:
        yield server


def test_an_order_is_placed_asked_for_and_cancelled(rest: Rest) -> None:
    status, placed, headers = rest.signed("POST", f"{API}order", **LIMIT, newClientOrderId="mine")
    assert (status, placed["status"], placed["fills"]) == (200, "NEW", [])
    assert (headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1D"]) == ("1", "1")
    asked = rest.ask("GET", f"{API}order", symbol="BTCUSDT", origClientOrderId="mine")
    assert (asked["orderId"], asked["isWorking"]) == (placed["orderId"], True)
    gone = rest.ask("DELETE", f"{API}order", symbol="BTCUSDT", orderId=placed["orderId"])
    assert (gone["origClientOrderId"], gone["status"]) == ("mine", "CANCELED")
    assert gone["clientOrderId"] != "mine"
    assert rest.ask("DELETE", f"{API}order", symbol="BTCUSDT", orderId=placed["orderId"]) == {
        "code": -2011,
        "msg": "Unknown order sent.",
    }


def test_the_answer_is_as_long_as_asked(rest: Rest) -> None:
    ack = rest.ask("POST", f"{API}order", **LIMIT, newOrderRespType="ACK")
    assert set(ack) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    result = rest.ask("POST", f"{API}order", **LIMIT, newOrderRespType="RESULT")
    assert "fills" not in result
    maker = {name: value for name, value in LIMIT.items() if name != "timeInForce"}
    assert "status" not in rest.ask("POST", f"{API}order", **maker | {"type": "LIMIT_MAKER"})
    assert rest.ask("POST", f"{API}order/test", **LIMIT) == {}
    assert len(rest.ask("GET", f"{API}openOrders")) == 3


def test_a_list_is_placed_asked_for_and_cancelled(rest: Rest) -> None:
    rest.ask("POST", f"{API}order", **MARKET)
    pair = rest.ask("POST", f"{API}orderList/oco", **OCO, listClientOrderId="pair")
    assert [r["type"] for r in pair["orderReports"]] == ["STOP_LOSS", "LIMIT_MAKER"]
    assert rest.ask("GET", f"{API}orderList", origClientOrderId="pair")["orderListId"] == pair["orderListId"]
    assert [p["listClientOrderId"] for p in rest.ask("GET", f"{API}openOrderList")] == ["pair"]
    gone = rest.ask("DELETE", f"{API}orderList", symbol="BTCUSDT", listClientOrderId="pair")
    assert {r["status"] for r in gone["orderReports"]} == {"CANCELED"}
    assert (gone["listOrderStatus"], rest.ask("GET", f"{API}openOrderList")) == ("ALL_DONE", [])
    legacy = {
        "price": "51000",
        "stopPrice": "49000",
        "stopLimitPrice": "48900",
        "stopLimitTimeInForce": "GTC",
    }
    base = {name: OCO[name] for name in ("symbol", "side", "quantity")}
    older = rest.ask("POST", f"{API}order/oco", **base, **legacy)
    assert [r["type"] for r in older["orderReports"]] == ["STOP_LOSS_LIMIT", "LIMIT_MAKER"]


def test_cancel_and_replace_tells_how_both_went(rest: Rest) -> None:
    first = rest.ask("POST", f"{API}order", **LIMIT)
    ask = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": first["orderId"]}
    both = rest.ask("POST", f"{API}order/cancelReplace", **LIMIT | {"price": "48000"}, **ask)
    assert (both["cancelResult"], both["newOrderResponse"]["price"]) == ("SUCCESS", "48000.00000000")
    status, none, _ = rest.signed("POST", f"{API}order/cancelReplace", **LIMIT, **ask)
    assert (status, none["code"], none["data"]["newOrderResult"]) == (400, -2022, "NOT_ATTEMPTED")
    ask = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": both["newOrderResponse"]["orderId"]}
    dear = LIMIT | {"quantity": "1"}
    status, half, _ = rest.signed("POST", f"{API}order/cancelReplace", **dear, **ask)
    assert (status, half["code"], half["data"]["cancelResult"]) == (409, -2021, "SUCCESS")
    assert half["data"]["newOrderResponse"]["code"] == -2010
    assert rest.ask("GET", f"{API}openOrders") == []


def test_refusals_come_with_binances_codes(thread: ServerThread, rest: Rest) -> None:
    assert rest.ask("POST", f"{API}order", **LIMIT | {"side": "SELL"})["code"] == -2010
    assert rest.ask("POST", f"{API}order", **LIMIT | {"price": "49000.001"}) == {
        "code": -1013,
        "msg": "Filter failure: PRICE_FILTER",
    }
    assert rest.ask("POST", f"{API}order", **LIMIT, icebergQty="0.001")["code"] == -1014
    assert rest.ask("GET", f"{API}order", symbol="BTCUSDT", orderId=1)["code"] == -2013
    assert rest.ask("GET", f"{API}order", symbol="XYZUSDT", orderId=1)["code"] == -1121
    assert rest.send("POST", "/fapi/v1/order", "")[0] == 404
    with Rest(thread.server.http_url, READ_KEY) as reader:
        assert reader.ask("POST", f"{API}order", **LIMIT)["code"] == -2015


def test_the_account_and_its_fills(rest: Rest) -> None:
    rest.ask("POST", f"{API}order", **MARKET)
    account = rest.ask("GET", f"{API}account", omitZeroBalances="true")
    assert account["balances"] == [
        {"asset": "BTC", "free": "0.00999000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "9499.99990000", "locked": "0.00000000"},
    ]
    fills = rest.ask("GET", f"{API}myTrades", symbol="BTCUSDT")
    assert [(f["commission"], f["commissionAsset"], f["isMaker"]) for f in fills] == [
        ("0.00001000", "BTC", False)
    ]
    rates = rest.ask("GET", f"{API}account/commission", symbol="BTCUSDT")["standardCommission"]
    assert (rates["maker"], rates["taker"]) == ("0.00100000", "0.00100000")


def test_market_data(thread: ServerThread, rest: Rest) -> None:
    thread.feed([kline(0), kline(1, closed=False)])
    assert rest.get(f"{API}ping") == {}
    assert len(rest.get(f"{API}klines", symbol="BTCUSDT", interval="1m")) == 2
    assert rest.get(f"{API}ticker/price", symbol="BTCUSDT") == {
        "symbol": "BTCUSDT",
        "price": "50000.00000000",
    }
    assert rest.get(f"{API}ticker/bookTicker")[0]["askPrice"] == "50000.01000000"
    assert rest.get(f"{API}ticker/24hr", symbol="BTCUSDT", type="MINI")["openPrice"] == "60000.00000000"
    filters = {f["filterType"] for f in rest.get(f"{API}exchangeInfo")["symbols"][0]["filters"]}
    assert {"NOTIONAL", "PERCENT_PRICE_BY_SIDE", "MAX_NUM_ALGO_ORDERS"} < filters


def test_answers_come_in_sbe_when_asked_for(thread: ServerThread, rest: Rest) -> None:
    del rest
    url = f"{thread.server.http_url}{API}"
    with requests.get(f"{url}time", headers=SBE, timeout=WAIT_SECS) as answer:
        assert answer.headers["Content-Type"] == "application/sbe"
        # header: block length 8, template 102, schema 3; then the time in microseconds
        assert (int.from_bytes(answer.content[:2], "little"), answer.content[4]) == (8, 3)
        told_us = int.from_bytes(answer.content[8:16], "little")
    assert abs(told_us / 1e6 - time.time()) < WAIT_SECS
    with requests.get(f"{url}time", timeout=WAIT_SECS) as answer:
        assert "application/json" in answer.headers["Content-Type"]


def signed(**params: Any) -> dict[str, Any]:
    """Parameters of a WebSocket API request with key, time and Ed25519 signature."""
    values = {"apiKey": ED_KEY, "timestamp": time.time_ns() // 1_000_000} | params
    text = "&".join(f"{name}={value}" for name, value in sorted(values.items()))
    return values | {"signature": sign_ed25519(text)}


def asked(connected: websocket.WebSocket, method: str, **params: Any) -> dict[str, Any]:
    """The answer to a WebSocket API request; events before it are passed over."""
    connected.send(json.dumps({"id": 1, "method": method, "params": params}))
    while True:
        (message,) = heard(connected)
        if "id" in message:
            return dict(message)


def test_the_websocket_api_tells_the_accounts_events(thread: ServerThread) -> None:
    with socket(thread, "/ws-api/v3") as api:
        assert asked(api, "userDataStream.subscribe")["error"]["code"] == -1002
        logged_on = asked(api, "session.logon", **signed())["result"]
        assert (logged_on["apiKey"], logged_on["userDataStream"]) == (ED_KEY, False)
        assert asked(api, "userDataStream.subscribe")["result"] == {"subscriptionId": 0}
        assert asked(api, "userDataStream.subscribe")["error"]["code"] == -2035
        assert asked(api, "session.subscriptions")["result"] == [{"subscriptionId": 0}]
        now = {"timestamp": time.time_ns() // 1_000_000}
        api.send(json.dumps({"id": 2, "method": "order.place", "params": LIMIT | now}))
        report, position, answer = heard(api, 3)
        assert report["subscriptionId"] == 0
        assert (report["event"]["e"], report["event"]["x"]) == ("executionReport", "NEW")
        assert position["event"]["B"][1] == {"a": "USDT", "f": "9510.00000000", "l": "490.00000000"}
        assert answer["result"]["status"] == "NEW"
        assert len(asked(api, "openOrders.status", **now)["result"]) == 1
        assert asked(api, "userDataStream.unsubscribe")["result"] == {}
        assert (
            asked(api, "order.cancel", symbol="BTCUSDT", orderId=answer["result"]["orderId"], **now)[
                "result"
            ]["status"]
            == "CANCELED"
        )


def test_any_key_that_signs_may_subscribe(thread: ServerThread) -> None:
    with socket(thread, "/ws-api/v3") as api:
        assert asked(api, "userDataStream.subscribe.signature", **signed())["result"] == {"subscriptionId": 0}
        thread.call(lambda: thread.server.venue.transfer("main", "BTC", D("1.5")))
        thread.call(thread.server.flush)
        update, position = heard(api, 2)
        assert (update["event"]["e"], update["event"]["d"]) == ("balanceUpdate", "1.50000000")
        assert position["event"]["B"] == [{"a": "BTC", "f": "1.50000000", "l": "0.00000000"}]
        thread.call(thread.server.expire_listen_key)
        assert heard(api)[0]["event"]["e"] == "eventStreamTerminated"


def test_the_limits_are_those_of_spot(rest: Rest) -> None:
    stated = {
        (each["rateLimitType"], each["interval"], each["intervalNum"]): each["limit"]
        for each in rest.get(f"{API}exchangeInfo")["rateLimits"]
    }
    assert stated == {
        ("REQUEST_WEIGHT", "MINUTE", 1): 6_000,
        ("ORDERS", "SECOND", 10): 100,
        ("ORDERS", "DAY", 1): 200_000,
    }


def test_a_connection_to_the_websocket_api_weighs_two() -> None:
    with (
        spot_running(make_spot_server(clock=FixedClock())) as thread,
        socket(thread, "/ws-api/v3"),
        Rest(thread.server.http_url) as rest,
    ):
        assert rest.send("GET", f"{API}ping", "")[2]["X-MBX-USED-WEIGHT-1M"] == "3"


def test_sbe_is_refused_on_sockets(thread: ServerThread) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(f"{thread.server.ws_api_url}?responseFormat=sbe", timeout=WAIT_SECS)
    assert refused.value.status_code == 400


def test_streams_have_the_spot_shapes(thread: ServerThread) -> None:
    names = "/".join(
        f"btcusdt@{s}" for s in ("trade", "bookTicker", "depth5", "depth", "kline_1m", "aggTrade")
    )
    with socket(thread, f"/stream?streams={names}") as stream:
        thread.feed([quote("50001.00", "50001.01", at=9), trade("50001.00", at=10), kline(0)])
        told = {message["stream"].partition("@")[2]: message["data"] for message in heard(stream, 6)}
    assert set(told["bookTicker"]) == {"u", "s", "b", "B", "a", "A"}
    assert set(told["depth5"]) == {"lastUpdateId", "bids", "asks"}
    assert set(told["depth"]) == {"e", "E", "s", "U", "u", "b", "a"}
    assert set(told["trade"]) == {"e", "E", "s", "t", "p", "q", "T", "m", "M"}
    assert set(told["aggTrade"]) == {"e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"}
    assert told["kline_1m"]["k"]["c"] == "60010.00000000"


def test_a_lost_answer_leaves_the_order(thread: ServerThread, rest: Rest, faults: Script) -> None:
    faults.requests[f"{API}order"] = RequestFault("now", "drop")
    with pytest.raises(requests.exceptions.ConnectionError):
        rest.signed("POST", f"{API}order", **LIMIT)
    assert len(thread.call(lambda: thread.server.venue.open_orders("main"))) == 1


# -- whole sessions ------------------------------------------------------------------------------------------


def spot_plan(*faults: dict[str, Any], **more: Any) -> Any:
    """A stepped rehearsal of half an hour of the synthetic spot market."""
    feed = SyntheticFeed("BTCUSDT", START_MS, 1, 7, "spot")
    feed.end_ms = START_MS + 30 * 60_000
    base = futures_plan(*faults, **more)
    fields = {"feeds": [feed], "specs": [spot_spec(find_spec("BTCUSDT", "spot"))], "market_kind": "spot"}
    return base.__replace__(**fields)


async def buy(client: Client) -> Any:
    return await client.send("POST", f"{API}order", **MARKET)


def test_a_session_trades_spot_and_its_ledger_says_so() -> None:
    async def scenario() -> None:
        async with rehearsing(spot_plan()) as client:
            status, order, _ = await buy(client)
            assert (status, order["status"]) == (200, "FILLED")
            told = await client.steer("GET", "status")
            assert told["symbols"] == {"BTCUSDT": "TRADING"}
            await client.steer("POST", "transfer", asset="BTC", amount="0.5")
            ledger = (await client.steer("GET", "ledger"))["main"]
            found = {each["asset"]: D(each["free"]) for each in ledger["assets"]}
            assert found["BTC"] == D("0.50999")
            kinds = [entry["kind"] for entry in ledger["ledger"]]
            assert kinds == ["TRADE", "TRADE", "COMMISSION", "TRANSFER"]
            assert len(await client.get(f"{API}klines", symbol="BTCUSDT", interval="1m")) >= 10

    play(scenario)


def test_faults_reach_the_spot_venue() -> None:
    faults = (
        {"kind": "error_answer", "name": "no", "match": {"path": f"{API}order"}, "code": -1007},
        {"kind": "slice_fills", "slices": 3},
    )

    async def scenario() -> None:
        async with rehearsing(spot_plan()) as client:
            for fault in faults:
                await client.session.inject(parse_fault(fault))
            status, body, _ = await buy(client)
            assert (status, body["code"]) == (408, -1007)
            await client.steer("DELETE", "faults/no")
            await client.session.inject(parse_fault(faults[0] | {"name": "often", "code": -1003}))
            status, body, _ = await buy(client)
            assert status == 429
            assert "current limit is 6000 requests per minute" in body["msg"]
            await client.steer("DELETE", "faults/often")
            _, order, _ = await buy(client)
            assert len(order["fills"]) == 3
            await client.steer("POST", "halt", symbol="BTCUSDT")
            assert (await buy(client))[1]["msg"] == "Market is closed."
            await client.steer("POST", "unhalt", symbol="BTCUSDT")
            await client.steer("POST", "restart", memory=True)
            held = {b["asset"]: b["free"] for b in (await client.ask("GET", f"{API}account"))["balances"]}
            assert held["BTC"] == "0.00999000"
            await client.steer("POST", "restart", memory=False)
            held = {b["asset"]: b["free"] for b in (await client.ask("GET", f"{API}account"))["balances"]}
            assert held == {"BTC": "0.00000000", "USDT": "10000.00000000"}

    play(scenario)
