"""The rehearsal server's sockets at the wire: streams, listen keys, the WebSocket API, faults."""

import json
from typing import Any

import pytest
import requests
import websocket

from live.rehearsal.ports import ConnectFault, Delivery, RequestFault
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import (
    API,
    ED_KEY,
    HMAC_KEY,
    LIMIT,
    MARKET,
    ORDER,
    READ_KEY,
    SECRET,
    START_MS,
    STOP,
    D,
    FixedClock,
    Rest,
    Script,
    Skewed,
    depth,
    heard,
    kline,
    make_server,
    mark,
    now_ms,
    orders_of,
    quote,
    running,
    sign_ed25519,
    sign_hmac,
    socket,
    trade,
    until,
)

# -- sockets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "combined"),
    [
        ("/ws/{key}", False),
        ("/ws?listenKey={key}", False),
        ("/private/ws?listenKey={key}", False),
        ("/private/ws/{key}", False),
        ("/stream?streams={key}", True),
    ],
)
def test_user_events_arrive_on_every_kind_of_address(
    thread: ServerThread, rest: Rest, path: str, combined: bool
) -> None:
    key = rest.ask("POST", f"{API}listenKey")["listenKey"]
    with socket(thread, path.format(key=key)) as user:
        rest.ask("POST", f"{API}order", **LIMIT)
        (message,) = heard(user)
        event = message["data"] if combined else message
        assert message.get("stream") == (key if combined else None)
        assert (event["e"], event["o"]["x"], event["o"]["p"]) == ("ORDER_TRADE_UPDATE", "NEW", "59000")


@pytest.mark.parametrize("prefix", ["", "/public", "/market"])
def test_market_streams_are_under_every_prefix(thread: ServerThread, prefix: str) -> None:
    with socket(thread, f"{prefix}/ws/btcusdt@bookTicker/btcusdt@trade") as market:
        thread.feed([quote("60001.0", "60001.1"), trade("60001.1")])
        assert [m["e"] for m in heard(market, 2)] == ["bookTicker", "trade"]


def test_depth_changes_chain_up_to_the_snapshot(thread: ServerThread, rest: Rest) -> None:
    with socket(thread, "/ws/btcusdt@depth@100ms") as market:
        snapshot = rest.get(f"{API}depth", symbol="BTCUSDT", limit=1000)
        thread.feed(
            [
                depth([("60000.0", "5"), ("59999.0", "2")], [("60000.1", "4"), ("60001.0", "3")]),
                depth([("59999.0", "1")], [("60000.1", "4"), ("60002.0", "3")]),
            ]
        )
        messages = heard(market, 2)
        book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
        previous = snapshot["lastUpdateId"]
        for message in messages:
            assert (message["pu"], message["U"]) == (previous, previous + 1)
            previous = message["u"]
            for side, name in (("bids", "b"), ("asks", "a")):
                book[side] |= dict(message[name])
        kept = {side: {p: q for p, q in levels.items() if D(q)} for side, levels in book.items()}
        final = rest.get(f"{API}depth", symbol="BTCUSDT", limit=1000)
        assert kept == {side: dict(final[side]) for side in ("bids", "asks")}
        assert final["lastUpdateId"] == previous


def test_what_a_taker_ate_is_gone_from_the_book_ticker(thread: ServerThread, rest: Rest) -> None:
    thread.feed([depth([("60000.0", "5")], [("60000.1", "0.01"), ("60000.5", "1")])])
    with socket(thread, "/ws/btcusdt@bookTicker") as market:
        rest.ask("POST", f"{API}order", **MARKET)
        (message,) = heard(market)
        assert (message["a"], message["A"]) == ("60000.50", "1.000")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ('{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 4}', {"result": None, "id": 4}),
        ('{"method": "LIST_SUBSCRIPTIONS", "id": 5}', {"result": [], "id": 5}),
        ('{"method": "GET_PROPERTY", "params": ["combined"], "id": 6}', {"result": False, "id": 6}),
        ('{"method": "DANCE", "id": 7}',
         {"error": {"code": 2, "msg": "Invalid request: unknown variant `DANCE`"}, "id": 7}),
        ("{", {"error": {"code": 3, "msg": "Invalid JSON: expected value"}}),
    ],
)  # fmt: skip
def test_stream_commands_are_answered(thread: ServerThread, command: str, answer: dict[str, Any]) -> None:
    with socket(thread, "/ws") as market:
        market.send(command)
        assert heard(market) == [answer]


def test_a_client_with_more_than_ten_commands_a_second_is_put_out(thread: ServerThread) -> None:
    with socket(thread, "/ws") as market:
        for number in range(500):  # a slow machine may not manage eleven in the first second
            market.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
            code, frame = market.recv_data_frame()
            if code == websocket.ABNF.OPCODE_CLOSE:
                break
        assert number >= 10
        assert (code, int.from_bytes(frame.data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1008)


def test_longer_klines_grow_with_the_minutes(thread: ServerThread) -> None:
    with socket(thread, "/ws/btcusdt@kline_5m") as market:
        # The start is 21:00 UTC, so the first five minutes are one kline; each has a volume of 2.
        grown = [kline(0), kline(1, closed=False), kline(1), kline(1), kline(2), kline(3), kline(4), kline(5)]
        thread.feed(grown)
        heard_klines = [m["k"] for m in heard(market, len(grown))]
        assert [k["v"] for k in heard_klines] == [f"{v}.000" for v in (2, 4, 4, 4, 6, 8, 10, 2)]
        assert [k["x"] for k in heard_klines] == [False] * 6 + [True, False]
        assert [k["t"] - START_MS for k in heard_klines] == [0] * 7 + [300_000]


def test_a_liquidation_is_told_to_the_account_and_to_the_market(thread: ServerThread, rest: Rest) -> None:
    key = rest.ask("POST", f"{API}listenKey")["listenKey"]
    # 3 BTC at 60000.1 cost 90.00015 in fees and need 0.5 % less 50 of their notional as maintenance: at a
    # mark of 57,000 it is 805 of 909.69985, at 56,900 803.5 of 609.69985.
    rest.ask("POST", f"{API}order", **ORDER, type="MARKET", quantity="3")
    with socket(thread, f"/ws/{key}/btcusdt@forceOrder") as both:
        thread.feed([quote("56900.0", "56900.1", "10"), mark("57000")])
        (call,) = heard(both)
        assert (call["e"], call["cw"], call["p"][0]["mm"]) == ("MARGIN_CALL", "9909.99985000", "805")
        thread.feed([mark("56900", at=1)])
        messages: list[Any] = []
        until(lambda: messages.extend(heard(both)) or messages[-1]["e"] == "forceOrder")
        told = {m["e"]: m for m in messages}
        sold = told["ORDER_TRADE_UPDATE"]["o"]
        assert sold["c"].startswith("autoclose-")
        assert (sold["x"], sold["S"], sold["z"], sold["X"]) == ("CALCULATED", "SELL", "3", "FILLED")
        assert (told["forceOrder"]["o"]["S"], told["forceOrder"]["o"]["z"]) == ("SELL", "3")
        assert told["ACCOUNT_UPDATE"]["a"]["P"][0]["pa"] == "0"


# -- listen keys ---------------------------------------------------------------------------------------------


def test_a_listen_key_lives_an_hour_from_its_last_renewal(
    thread: ServerThread, rest: Rest, clock: Skewed
) -> None:
    key = rest.ask("POST", f"{API}listenKey")["listenKey"]
    assert rest.ask("POST", f"{API}listenKey")["listenKey"] == key
    clock.skew_ms = 50 * 60_000
    stamp = {"timestamp": now_ms() + clock.skew_ms}
    assert rest.ask("PUT", f"{API}listenKey", **stamp)["listenKey"] == key
    with socket(thread, f"/ws/{key}") as user:
        until(lambda: bool(thread.server.hub.sockets))  # the handshake ends a little before
        clock.skew_ms = 120 * 60_000
        (message,) = heard(user)
        assert (message["e"], message["listenKey"]) == ("listenKeyExpired", key)
    stamp = {"timestamp": now_ms() + clock.skew_ms}
    assert rest.ask("PUT", f"{API}listenKey", **stamp)["code"] == -1125
    assert rest.ask("POST", f"{API}listenKey", **stamp)["listenKey"] != key


def test_a_listen_key_can_end_without_a_word(thread: ServerThread, rest: Rest) -> None:
    key = rest.ask("POST", f"{API}listenKey")["listenKey"]
    with socket(thread, f"/ws/{key}/btcusdt@trade") as user:
        thread.call(lambda: thread.server.expire_listen_key(notify=False))
        rest.ask("POST", f"{API}order", **MARKET)
        thread.feed([trade()])
        assert heard(user)[0]["e"] == "trade"


# -- the WebSocket API ---------------------------------------------------------------------------------------


def asked(api: websocket.WebSocket, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    api.send(json.dumps({"id": f"r-{method}", "method": method, "params": params or {}}))
    (answer,) = heard(api)
    assert answer["id"] == f"r-{method}"
    return answer


def signed(params: dict[str, Any], *, key: str = HMAC_KEY, secret: str = SECRET) -> dict[str, Any]:
    full = params | {"apiKey": key, "timestamp": now_ms()}
    text = "&".join(f"{n}={str(full[n]).lower() if full[n] is True else full[n]}" for n in sorted(full))
    return full | {"signature": sign_ed25519(text) if key == ED_KEY else sign_hmac(text, secret)}


def test_a_logged_on_session_trades_without_signatures(thread: ServerThread) -> None:
    with socket(thread, "/ws-fapi/v1") as api:
        logon = asked(api, "session.logon", signed({}, key=ED_KEY))
        assert (logon["status"], logon["result"]["apiKey"]) == (200, ED_KEY)
        stamp = {"timestamp": now_ms()}
        placed = asked(api, "order.place", LIMIT | {"reduceOnly": False} | stamp)
        assert (placed["status"], placed["result"]["status"]) == (200, "NEW")
        assert [(c["rateLimitType"], c["count"]) for c in placed["rateLimits"][:2]] == [("ORDERS", 1)] * 2
        number = {"symbol": "BTCUSDT", "orderId": placed["result"]["orderId"]}
        changed = asked(
            api, "order.modify", number | {"side": "BUY", "quantity": "0.02", "price": "59001"} | stamp
        )
        assert changed["result"]["price"] == "59001.00"
        assert asked(api, "order.status", number | stamp)["result"]["origQty"] == "0.020"
        assert asked(api, "order.cancel", number | stamp)["result"]["status"] == "CANCELED"
        again = asked(api, "order.cancel", number | stamp)
        assert (again["status"], again["error"]) == (400, {"code": -2011, "msg": "Unknown order sent."})
        assert asked(api, "session.status")["result"]["apiKey"] == ED_KEY
        assert asked(api, "session.logout")["result"]["apiKey"] is None
        assert asked(api, "order.status", number | stamp)["error"]["code"] == -2014


def test_each_request_can_carry_its_own_signature(thread: ServerThread) -> None:
    with socket(thread, "/ws-fapi/v1") as api:
        stop = STOP | {"triggerPrice": "59000", "quantity": "0.01", "reduceOnly": True, "clientAlgoId": "a-1"}
        asked(api, "order.place", signed(dict(MARKET)))
        placed = asked(api, "algoOrder.place", signed(stop))
        assert placed["result"]["algoStatus"] == "NEW"
        cancelled = asked(api, "algoOrder.cancel", signed({"clientAlgoId": "a-1"}))
        assert cancelled["result"]["algoStatus"] == "CANCELED"
        balance = asked(api, "v2/account.balance", signed({}))["result"][0]
        assert balance["balance"] == "9999.69999950"
        assert asked(api, "v2/account.position", signed({}))["result"][0]["positionAmt"] == "0.010"
        assert asked(api, "account.status", signed({}))["result"]["assets"][0]["asset"] == "USDT"
        forged = signed(dict(MARKET)) | {"quantity": "9"}
        assert asked(api, "order.place", forged)["error"]["code"] == -1022
        assert asked(api, "order.place", signed(dict(MARKET), key=READ_KEY))["error"]["code"] == -2015
        assert asked(api, "session.logon", signed({}))["error"]["code"] == -4056


def test_the_api_answers_what_needs_no_key_and_refuses_nonsense() -> None:
    with running(make_server(clock=FixedClock())) as thread, socket(thread, "/ws-fapi/v1") as api:
        assert asked(api, "ping")["result"] == {}
        assert asked(api, "ticker.book", {"symbol": "BTCUSDT"})["result"]["bidPrice"] == "60000.00"
        assert asked(api, "depth", {"symbol": "BTCUSDT", "limit": 5})["result"]["asks"][0][0] == "60000.10"
        assert asked(api, "no.such.method")["error"]["code"] == -1020
        key = asked(api, "userDataStream.start", {"apiKey": HMAC_KEY})["result"]["listenKey"]
        assert asked(api, "userDataStream.ping", {"apiKey": HMAC_KEY})["result"]["listenKey"] == key
        api.send("not json")
        assert heard(api)[0]["error"]["code"] == -1135
        used = asked(api, "time")["rateLimits"][0]
        # 5 to connect, 2 for a symbol's ticker and 2 for the book, 5 to start user data, 1 each for the rest.
        assert (used["rateLimitType"], used["count"]) == ("REQUEST_WEIGHT", 17)


def test_who_used_up_the_weight_gets_no_connection() -> None:
    limited = make_server(limits=Limits(weight_a_minute=9), clock=FixedClock())
    with running(limited) as thread, socket(thread, "/ws-fapi/v1") as api:
        # 5 to connect and 2 for each ticker.
        assert asked(api, "ticker.book", {"symbol": "BTCUSDT"})["status"] == 200
        assert asked(api, "ticker.book", {"symbol": "BTCUSDT"})["status"] == 200
        refused = asked(api, "ping")
        assert (refused["status"], refused["error"]["code"]) == (429, -1003)
        assert refused["error"]["data"]["retryAfter"] > refused["error"]["data"]["serverTime"]
        with (
            pytest.raises(websocket.WebSocketBadStatusException, match="429"),
            socket(thread, "/ws-fapi/v1"),
        ):
            pass


# -- faults --------------------------------------------------------------------------------------------------


def test_faults_reach_the_websocket_api(thread: ServerThread, faults: Script) -> None:
    with socket(thread, "/ws-fapi/v1") as api:
        faults.requests["order.place"] = RequestFault(
            effect="now", answer="canned", status=408, body='{"code": -1007, "msg": "Timeout"}'
        )
        answer = asked(api, "order.place", signed(dict(LIMIT)))
        assert (answer["status"], answer["error"]["code"]) == (408, -1007)
        assert orders_of(thread) == 1
        faults.requests["order.place"] = RequestFault(effect="now", answer="drop")
        api.send(json.dumps({"id": "1", "method": "order.place", "params": signed(dict(LIMIT))}))
        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            heard(api)
        assert orders_of(thread) == 2


def test_messages_are_dropped_doubled_and_put_out_of_order(thread: ServerThread, faults: Script) -> None:
    held: list[Any] = []

    def spoil(stream: str, event: Any) -> list[Delivery]:
        assert stream == "btcusdt@trade"
        number = event["t"] % 4
        if number == 1:
            return []
        if number == 2:
            return [Delivery(event), Delivery(event)]
        if number == 3:
            held.append(event)
            return []
        return [Delivery(event), *(Delivery(h) for h in held)]

    faults.message = spoil
    with socket(thread, "/ws/btcusdt@trade") as market:
        thread.feed([trade()._replace(trade_id=n) for n in (5, 6, 7, 8)])
        assert [m["t"] for m in heard(market, 4)] == [6, 6, 8, 7]


def test_a_delayed_message_is_overtaken(thread: ServerThread, faults: Script) -> None:
    faults.message = lambda _, event: [Delivery(event, 60 if event["t"] == 1 else 0)]
    with socket(thread, "/ws/btcusdt@trade") as market:
        thread.feed([trade()._replace(trade_id=n) for n in (1, 2)])
        assert [m["t"] for m in heard(market, 2)] == [2, 1]


def test_connections_are_refused(thread: ServerThread, faults: Script) -> None:
    faults.connection = ConnectFault("refuse", 503)
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"), socket(thread, "/ws"):
        pass


def test_sockets_are_closed_with_and_without_a_frame(thread: ServerThread, rest: Rest) -> None:
    key = rest.ask("POST", f"{API}listenKey")["listenKey"]
    with socket(thread, f"/ws/{key}") as user, socket(thread, "/ws/btcusdt@trade") as market:
        assert thread.wait(thread.server.close_sockets("user", abrupt=True)) == 1
        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            user.recv()
        thread.feed([trade()])
        assert heard(market)[0]["e"] == "trade"
        # The server waits for the client's close frame, which comes when the client reads on.
        closed = thread.server.close_sockets("market", code=1001)
        code, frame = (thread.submit(closed), market.recv_data_frame())[1]
        assert (code, int.from_bytes(frame.data[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1001)


def test_a_venue_that_is_down_cuts_everything_and_comes_back_with_its_memory(
    thread: ServerThread, rest: Rest
) -> None:
    rest.ask("POST", f"{API}order", **LIMIT)
    with socket(thread, "/ws/btcusdt@trade") as market:
        thread.wait(thread.server.set_down(True))
        with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
            market.recv()
        with pytest.raises(requests.ConnectionError):
            rest.get(f"{API}ping")
        with pytest.raises((ConnectionError, websocket.WebSocketException)), socket(thread, "/ws"):
            pass
        thread.wait(thread.server.set_down(False))
    assert len(rest.ask("GET", f"{API}openOrders")) == 1


def test_everything_sent_is_seen_to_leave(thread: ServerThread) -> None:
    with socket(thread, "/ws/btcusdt@trade") as market:
        thread.feed([trade()._replace(trade_id=n) for n in range(2, 502)])
        assert thread.wait(thread.server.drained(5.0))
        assert [m["t"] for m in heard(market, 500)] == list(range(2, 502))
