"""The rehearsal server's REST side at the wire: signatures, parameters, limits, faults."""

import time
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from live.rehearsal.ports import RequestFault
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
    STOP,
    FixedClock,
    Rest,
    Script,
    Skewed,
    make_server,
    now_ms,
    orders_of,
    running,
    sign_ed25519,
    sign_hmac,
    until,
)

# -- who asks ------------------------------------------------------------------------------------------------


def test_a_request_needs_key_timestamp_and_signature(thread: ServerThread, rest: Rest) -> None:
    stamped = f"timestamp={now_ms()}"
    assert rest.send("GET", f"{API}openOrders", "")[1]["code"] == -1102
    assert rest.send("GET", f"{API}openOrders", stamped)[1] == {
        "code": -1102,
        "msg": "Mandatory parameter 'signature' was not sent, was empty/null, or malformed.",
    }
    status, body, _ = rest.send("GET", f"{API}openOrders", f"{stamped}&signature={'0' * 64}")
    assert (status, body) == (400, {"code": -1022, "msg": "Signature for this request is not valid."})
    with Rest(thread.server.http_url, None) as nobody:
        assert nobody.signed("GET", f"{API}openOrders")[:2] == (
            401,
            {"code": -2014, "msg": "API-key format invalid."},
        )


def test_a_read_only_key_may_look_but_not_trade(thread: ServerThread) -> None:
    with Rest(thread.server.http_url, READ_KEY) as reader:
        assert reader.ask("GET", f"{API}openOrders") == []
        assert reader.signed("POST", f"{API}order", **LIMIT)[:2] == (
            401,
            {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."},
        )


def test_parameters_may_come_in_query_and_body_and_are_signed_as_sent(thread: ServerThread) -> None:
    query, body = (
        "symbol=BTCUSDT&side=BUY",
        urlencode(
            {
                "type": "LIMIT",
                "timeInForce": "GTC",
                "quantity": "0.01",
                "price": "59000",
                "timestamp": now_ms(),
            }
        ),
    )
    signed = f"{body}&signature={sign_hmac(query + body)}"
    with requests.post(
        f"{thread.server.http_url}{API}order?{query}",
        data=signed,
        headers={"X-MBX-APIKEY": HMAC_KEY, "Content-Type": "application/x-www-form-urlencoded"},
        timeout=10,
    ) as answer:
        assert answer.json()["status"] == "NEW"


def test_ed25519_signs_rest_requests_too(thread: ServerThread) -> None:
    with Rest(thread.server.http_url, ED_KEY) as client:
        query = f"timestamp={now_ms()}"
        signature = urlencode({"signature": sign_ed25519(query)})
        assert client.send("GET", f"{API}openOrders", f"{query}&{signature}")[:2] == (200, [])
        forged = urlencode({"signature": sign_ed25519(query + "0")})
        assert client.send("GET", f"{API}openOrders", f"{query}&{forged}")[1]["code"] == -1022


def test_the_servers_clock_decides_about_the_receive_window(clock: Skewed, rest: Rest) -> None:
    clock.skew_ms = 6_000
    late = rest.ask("GET", f"{API}openOrders")
    assert late == {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
    assert rest.ask("GET", f"{API}openOrders", recvWindow=10_000) == []
    clock.skew_ms = -60_000
    assert rest.ask("GET", f"{API}openOrders")["code"] == -1021
    before = now_ms()
    told = rest.get(f"{API}time")["serverTime"] + 60_000
    assert before <= told <= now_ms()


# -- what is asked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        (LIMIT | {"symbol": "NOPE"}, -1121, "Invalid symbol."),
        (LIMIT | {"extra": "1"}, -1104, "Not all sent parameters were read; read '8' parameter(s) but was "
         "sent '9'."),
        (MARKET | {"timeInForce": "GTC"}, -1106, "Parameter 'timeInForce' sent when not required."),
        (MARKET | {"price": "59000"}, -1106, "Parameter 'price' sent when not required."),
        (ORDER | {"type": "MARKET"}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or "
         "malformed."),
        (LIMIT | {"side": "HOLD"}, -1117, "Invalid side."),
        (LIMIT | {"type": "ICEBERG"}, -1116, "Invalid orderType."),
        (LIMIT | {"quantity": "1e-2"}, -1100, "Illegal characters found in parameter 'quantity'; legal range "
         "is '^([0-9]{1,20})(\\.[0-9]{1,20})?$'."),
        (LIMIT | {"price": "59000.001"}, -1111, "Precision is over the maximum defined for this asset."),
        (LIMIT | {"price": "59000.05"}, -4014, "Price not increased by tick size."),
        (LIMIT | {"newOrderRespType": "FULL"}, -1136, "Invalid newOrderRespType."),
        (ORDER | {"type": "STOP_MARKET", "stopPrice": "1"}, -4120, "Order type not supported for this "
         "endpoint. Please use the Algo Order API endpoints instead."),
        (LIMIT | {"quantity": ""}, -1105, "Parameter 'quantity' was empty."),
    ],
)  # fmt: skip
def test_orders_are_refused_with_the_exchanges_codes_and_texts(
    rest: Rest, params: dict[str, str], code: int, text: str
) -> None:
    status, body, _ = rest.signed("POST", f"{API}order", **params)
    assert (status, body) == (400, {"code": code, "msg": text})
    assert rest.ask("GET", f"{API}allOrders", symbol="BTCUSDT") == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (STOP | {"quantity": "0.01"}, -1102),
        (STOP | {"quantity": "0.01", "triggerPrice": "59000", "callbackRate": "1"}, -1106),
        (STOP | {"triggerPrice": "59000"}, -1102),
        (STOP | {"triggerPrice": "59000", "quantity": "0.01", "price": "58000"}, -1106),
        (STOP | {"triggerPrice": "59000", "closePosition": "perhaps"}, -1102),
        (STOP | {"triggerPrice": "61000", "quantity": "0.01"}, -2021),
        (STOP | {"triggerPrice": "59000", "quantity": "0.01", "workingType": "LAST"}, -4031),
        (STOP | {"triggerPrice": "59000", "quantity": "0.01", "algoType": "VP"}, -1130),
    ],
)
def test_conditional_orders_are_refused_likewise(rest: Rest, params: dict[str, str], code: int) -> None:
    assert rest.ask("POST", f"{API}algoOrder", **params)["code"] == code
    assert rest.ask("GET", f"{API}openAlgoOrders") == []


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": 2, "endTime": 1}, -1023),
        ("depth", {"symbol": "BTCUSDT", "limit": 3}, -4021),
        ("depth", {"symbol": "XRPUSDT"}, -1121),
        ("trades", {"symbol": "BTCUSDT", "limit": "many"}, -1102),
        ("nothing", {}, -5000),
    ],
)
def test_questions_about_the_market_are_checked(
    rest: Rest, path: str, params: dict[str, Any], code: int
) -> None:
    assert rest.get(f"{API}{path}", **params)["code"] == code


def test_a_lenient_server_overlooks_unknown_parameters() -> None:
    with running(make_server(strict=False)) as thread, Rest(thread.server.http_url) as rest:
        assert rest.ask("POST", f"{API}order", **LIMIT, extra="1")["status"] == "NEW"


# -- how often -----------------------------------------------------------------------------------------------


def test_too_many_requests_are_answered_429_then_418_with_retry_after() -> None:
    limited = make_server(limits=Limits(weight_a_minute=3), clock=FixedClock())
    with running(limited) as thread, Rest(thread.server.http_url) as rest:
        answers = [rest.send("GET", f"{API}ping", "") for _ in range(14)]
        assert [status for status, _, _ in answers] == [200] * 3 + [429] * 10 + [418]
        assert answers[3][1]["code"] == answers[13][1]["code"] == -1003
        assert 1 <= int(answers[3][2]["Retry-After"]) <= 60
        assert answers[13][2]["Retry-After"] == "120"


def test_too_many_orders_are_answered_429() -> None:
    limited = make_server(limits=Limits(orders_in_ten_seconds=2), clock=FixedClock())
    with running(limited) as thread, Rest(thread.server.http_url) as rest:
        answers = [rest.signed("POST", f"{API}order", **LIMIT) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert answers[2][1] == {
            "code": -1015,
            "msg": "Too many new orders; current limit is 2 orders per 10 SECOND.",
        }
        assert [headers["X-MBX-ORDER-COUNT-10S"] for _, _, headers in answers] == ["1", "2", "3"]
        assert len(rest.ask("GET", f"{API}openOrders")) == 2


# -- the dead man's switch -----------------------------------------------------------------------------------


def test_a_countdown_cancels_a_symbols_orders_unless_it_is_stopped(thread: ServerThread, rest: Rest) -> None:
    rest.ask("POST", f"{API}order", **LIMIT)
    symbol = {"symbol": "BTCUSDT"}
    answer = rest.ask("POST", f"{API}countdownCancelAll", **symbol, countdownTime=60_000)
    assert answer == {"symbol": "BTCUSDT", "countdownTime": "60000"}
    rest.ask("POST", f"{API}countdownCancelAll", **symbol, countdownTime=0)
    assert thread.call(lambda: dict(thread.server.desk.countdowns)) == {}
    assert len(rest.ask("GET", f"{API}openOrders")) == 1
    rest.ask("POST", f"{API}countdownCancelAll", **symbol, countdownTime=1)
    until(lambda: rest.ask("GET", f"{API}openOrders") == [])


# -- faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "kept"), [("never", 0), ("now", 1)])
def test_an_answer_is_lost_before_or_after_acceptance(
    thread: ServerThread, rest: Rest, faults: Script, effect: Any, kept: int
) -> None:
    faults.requests[f"{API}order"] = RequestFault(effect=effect, answer="drop")
    with pytest.raises(requests.ConnectionError):
        rest.signed("POST", f"{API}order", **LIMIT)
    assert orders_of(thread) == kept


def test_an_order_is_accepted_after_its_answer_was_lost(
    thread: ServerThread, rest: Rest, faults: Script
) -> None:
    faults.requests[f"{API}order"] = RequestFault(effect="later", answer="drop", later_ms=50)
    with pytest.raises(requests.ConnectionError):
        rest.signed("POST", f"{API}order", **LIMIT)
    until(lambda: orders_of(thread) == 1)


def test_a_canned_answer_replaces_the_real_one(thread: ServerThread, rest: Rest, faults: Script) -> None:
    faults.requests[f"{API}order"] = RequestFault(
        effect="never",
        answer="canned",
        status=503,
        body="<html>Service Unavailable</html>",
        headers={"Content-Type": "text/html", "Retry-After": "3"},
    )
    query = urlencode(LIMIT | {"timestamp": now_ms()})
    with rest.session.post(
        f"{rest.base}{API}order?{query}&signature={sign_hmac(query)}",
        headers={"X-MBX-APIKEY": HMAC_KEY},
        timeout=10,
    ) as answer:
        assert (answer.status_code, answer.text) == (503, "<html>Service Unavailable</html>")
        assert (answer.headers["Content-Type"], answer.headers["Retry-After"]) == ("text/html", "3")
    assert orders_of(thread) == 0


def test_a_delayed_answer_comes_late_and_a_hanging_one_never(rest: Rest, faults: Script) -> None:
    faults.requests[f"{API}ping"] = RequestFault(answer_delay_ms=120)
    began = time.monotonic()
    assert rest.get(f"{API}ping") == {}
    assert time.monotonic() - began >= 0.12
    faults.requests[f"{API}ping"] = RequestFault(answer="hang")
    with pytest.raises(requests.ReadTimeout):
        rest.session.get(f"{rest.base}{API}ping", timeout=0.2)
