"""Every kind of fault, seen by a client through real sockets exactly as it was scripted."""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.rehearsal_runs import (
    CUT,
    one,
    plan,
    play,
    rehearsing,
    settled,
    until,
    updates,
)

pytestmark = pytest.mark.slow  # processes and sockets against the clock

ROOT = Path(__file__).parents[2]
ORDER = {"method": "POST", "path": "/fapi/v1/order"}


# -- requests ----------------------------------------------------------------------------------------------


def test_a_delayed_request_takes_effect_and_is_answered_late() -> None:
    async def scenario() -> None:
        fault = {"match": ORDER, "when": {"count": 1}, "delay_ms": 150, "answer_delay_ms": 150}
        async with rehearsing(one("delay_request", **fault)) as client:
            began = time.monotonic()
            asked = asyncio.create_task(client.order())
            await asyncio.sleep(0.05)
            assert client.session.venue.user_trades("main") == []
            await until(lambda: client.session.venue.user_trades("main"))
            assert not asked.done()
            assert (await asked)[0] == 200
            assert time.monotonic() - began >= 0.3
            assert (await client.order())[0] == 200

    play(scenario)


def test_a_dropped_request_never_happened() -> None:
    async def scenario() -> None:
        async with rehearsing(one("drop_request", match=ORDER, when={"count": 1})) as client:
            with pytest.raises(CUT):
                await client.order()
            assert client.session.venue.all_orders("main", "BTCUSDT") == []
            assert (await client.order())[0] == 200

    play(scenario)


def test_a_lost_answer_leaves_an_accepted_order() -> None:
    async def scenario() -> None:
        async with rehearsing(one("lose_answer", match=ORDER, when={"count": 1})) as client:
            user = await client.hear_user()
            with pytest.raises(CUT):
                await client.order(newClientOrderId="lost-1")
            found = await client.ask("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="lost-1")
            assert found["status"] == "FILLED"
            await until(lambda: updates(user) == ["NEW", "TRADE"])

    play(scenario)


def test_a_hanging_answer_is_the_clients_to_time_out() -> None:
    async def scenario() -> None:
        async with rehearsing(one("lose_answer", match=ORDER, hang=True)) as client:
            asked = asyncio.create_task(client.order(newClientOrderId="hung-1"))
            await until(lambda: client.session.venue.user_trades("main"))
            await asyncio.sleep(0.1)
            assert not asked.done()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked

    play(scenario)


def test_late_acceptance_comes_after_the_timeout_answer() -> None:
    async def scenario() -> None:
        fault = {"match": ORDER, "when": {"count": 1}, "later_ms": 200}
        async with rehearsing(one("late_acceptance", **fault)) as client:
            status, body = await client.order(newClientOrderId="late-1")
            assert (status, body["code"]) == (408, -1007)
            status, body, _ = await client.send(
                "GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="late-1"
            )
            assert (status, body["code"]) == (400, -2013)
            await until(lambda: client.session.venue.all_orders("main", "BTCUSDT"))
            found = await client.ask("GET", "/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="late-1")
            assert found["status"] == "FILLED"

    play(scenario)


@pytest.mark.parametrize(
    "code", [-1003, -1007, -1021, -1111, -2010, -2011, -2013, -2019, -2021, -2022, -4131, -4164]
)
def test_an_error_is_answered_instead(code: int) -> None:
    async def scenario() -> None:
        async with rehearsing(one("error_answer", match=ORDER, code=code)) as client:
            status, body = await client.order()
            assert (status >= 400, body["code"], client.session.venue.all_orders("main", "BTCUSDT")) == (
                True,
                code,
                [],
            )

    play(scenario)


def test_too_many_requests_and_bans_say_when_to_come_back() -> None:
    async def scenario() -> None:
        faults = [
            {"kind": "error_answer", "code": -1003, "retry_after_secs": 5, "when": {"count": 1}},
            {"kind": "error_answer", "code": -1003, "status": 418, "retry_after_secs": 120},
        ]
        async with rehearsing(plan(*faults)) as client:
            seen = [await client.send("GET", "/fapi/v2/account") for _ in range(2)]
            assert [(status, headers["Retry-After"]) for status, _, headers in seen] == [
                (429, "5"),
                (418, "120"),
            ]
            assert [body["code"] for _, body, _ in seen] == [-1003, -1003]

    play(scenario)


def test_a_gateway_answers_with_a_page() -> None:
    async def scenario() -> None:
        async with rehearsing(one("http_answer", status=502, match={"path": "/fapi/v2/*"})) as client:
            status, body, headers = await client.send("GET", "/fapi/v2/account")
            assert (status, headers["Content-Type"]) == (502, "text/html")
            assert "502 Bad Gateway" in body
            assert (await client.get("/fapi/v1/ping")) == {}

    play(scenario)


def test_a_stop_is_rejected_at_its_placement() -> None:
    async def scenario() -> None:
        match = {"path": "/fapi/v1/algoOrder", "order_type": "STOP_MARKET"}
        async with rehearsing(one("error_answer", match=match, code=-2021, when={"count": 1})) as client:
            stop = {"symbol": "BTCUSDT", "side": "SELL", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
            stop |= {"triggerPrice": "40000", "quantity": "0.01"}
            status, body, _ = await client.send("POST", "/fapi/v1/algoOrder", **stop)
            assert (status, body["code"]) == (400, -2021)
            assert (await client.ask("POST", "/fapi/v1/algoOrder", **stop))["algoStatus"] == "NEW"

    play(scenario)


def test_the_websocket_api_is_hit_by_its_methods_names() -> None:
    async def scenario() -> None:
        match = {"method": "WS", "path": "order.place"}
        async with rehearsing(one("error_answer", match=match, code=-2019)) as client:
            api = await client.trading()
            await api.ws.send_json({"id": 1, "method": "ping"})
            await api.ws.send_json({"id": 2, "method": "order.place", "params": {"symbol": "BTCUSDT"}})
            await until(lambda: len(api.heard) == 2)
            answers = {answer["id"]: answer for answer in api.heard}
            assert (answers[1]["status"], answers[2]["status"]) == (200, 400)
            assert answers[2]["error"]["code"] == -2019

    play(scenario)


# -- messages and connections ------------------------------------------------------------------------------


def test_a_lost_fill_is_not_told_and_found_by_asking() -> None:
    async def scenario() -> None:
        match = {"stream": "user", "event": "ORDER_TRADE_UPDATE", "status": "FILLED"}
        async with rehearsing(one("drop_message", match=match, when={"count": 1})) as client:
            user = await client.hear_user()
            await client.order()
            await client.order()
            await until(lambda: updates(user) == ["NEW", "NEW", "TRADE"])
            assert len(await client.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")) == 2

    play(scenario)


def test_messages_come_twice_late_and_out_of_order() -> None:
    async def scenario() -> None:
        user_orders = {"stream": "user", "event": "ORDER_TRADE_UPDATE"}
        async with rehearsing(plan()) as client:
            user = await client.hear_user()
            double: dict[str, Any] = {"kind": "duplicate_message", "match": user_orders, "when": {"count": 1}}
            await client.steer("POST", "faults", **double)
            await client.order()
            await until(lambda: updates(user) == ["NEW", "NEW", "TRADE"])
            await client.steer("DELETE", "faults")
            swap: dict[str, Any] = {"kind": "reorder_message", "match": user_orders, "when": {"count": 1}}
            await client.steer("POST", "faults", **swap)
            user.heard.clear()
            await client.order()
            await until(lambda: len(updates(user)) == 2)
            # NEW is held back until one later message of the user stream has passed: the TRADE_LITE
            # or ACCOUNT_UPDATE that follows it, or the TRADE
            kinds = [m["e"] if m["e"] != "ORDER_TRADE_UPDATE" else m["o"]["x"] for m in user.heard]
            assert kinds.index("NEW") == 1
            await client.steer("DELETE", "faults")
            late: dict[str, Any] = {"kind": "delay_message", "match": user_orders, "delay_ms": 150}
            await client.steer("POST", "faults", **late)
            user.heard.clear()
            began = time.monotonic()
            await client.order()
            await until(lambda: user.events("ACCOUNT_UPDATE"))
            assert updates(user) == []
            await until(lambda: updates(user) == ["NEW", "TRADE"])
            assert time.monotonic() - began >= 0.15

    play(scenario)


def test_market_messages_are_dropped_for_every_socket_alike() -> None:
    async def scenario() -> None:
        match = {"stream": "btcusdt@aggTrade"}
        async with rehearsing(one("drop_message", match=match, when={"every": 2})) as client:
            first, second = await client.hear("btcusdt@aggTrade"), await client.hear("btcusdt@aggTrade")
            await until(lambda: len(client.session.server.hub.sockets) == 2)
            await client.session.step(120)
            await settled(client)
            ids = [[message["a"] for message in ear.heard] for ear in (first, second)]
            assert ids[0] == ids[1]
            assert len(ids[0]) > 5
            assert {b - a for a, b in zip(ids[0], ids[0][1:], strict=False)} == {2}

    play(scenario)


def test_a_handshake_is_refused_then_taken() -> None:
    async def scenario() -> None:
        fault = {"match": {"sockets": ["market"]}, "when": {"count": 2}, "status": 502}
        async with rehearsing(one("refuse_connection", **fault)) as client:
            for _ in range(2):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await client.hear("btcusdt@trade")
                assert caught.value.status == 502
            await client.hear("btcusdt@trade")

    play(scenario)


def test_a_handshake_hangs() -> None:
    async def scenario() -> None:
        async with rehearsing(one("refuse_connection", hang=True)) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.hear("btcusdt@trade"), 0.2)

    play(scenario)


def test_sockets_are_closed_by_kind_with_and_without_a_frame() -> None:
    async def scenario() -> None:
        faults = [
            {"kind": "close_sockets", "sockets": ["user"], "frame": False, "timing": {"at_secs": 10}},
            {"kind": "close_sockets", "sockets": ["market"], "code": 1012, "timing": {"at_secs": 20}},
        ]
        async with rehearsing(plan(*faults)) as client:
            user, market, trading = (
                await client.hear_user(),
                await client.hear("btcusdt@trade"),
                await client.trading(),
            )
            await client.session.step(10)
            await until(lambda: user.closed is not None)
            assert user.closed == 1006
            assert (market.closed, trading.closed) == (None, None)
            await client.session.step(10)
            await until(lambda: market.closed is not None)
            assert (market.closed, trading.closed) == (1012, None)

    play(scenario)


@pytest.mark.parametrize("told", [True, False])
def test_a_listen_key_expires_with_and_without_notice(told: bool) -> None:
    async def scenario() -> None:
        async with rehearsing(one("expire_listen_key", told=told, timing={"at_secs": 10})) as client:
            user = await client.hear_user()
            await client.session.step(10)
            await client.order()
            await settled(client)
            assert [message["e"] for message in user.heard] == ["listenKeyExpired"] * told
            status, body, _ = await client.send("PUT", "/fapi/v1/listenKey")
            assert (status, body["code"]) == (400, -1125)
            again = await client.hear_user()
            await client.order()
            await until(lambda: updates(again) == ["NEW", "TRADE"])

    play(scenario)
