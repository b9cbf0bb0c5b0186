"""Faults of the market and of the venue itself, seen by a client; and all kinds on one rough day."""

import asyncio
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from live.rehearsal.book import Depth, MarketEvent, MarkPrice, Quote
from live.rehearsal.faults.script import KINDS, load_faults
from live.rehearsal.market.replay import MarketSettings
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


def test_a_halted_symbol_takes_no_orders_until_it_trades_again() -> None:
    async def scenario() -> None:
        fault = {"symbol": "BTCUSDT", "timing": {"at_secs": 30, "for_secs": 60}}
        async with rehearsing(one("halt_symbol", **fault)) as client:
            await client.session.step(30)
            info = await client.get("/fapi/v1/exchangeInfo")
            assert [symbol["status"] for symbol in info["symbols"]] == ["BREAK"]
            status, body = await client.order()
            assert status == 400
            assert body["code"] in {-4140, -4141}
            await client.session.step(60)
            assert (await client.order())[0] == 200

    play(scenario)


def test_rules_change_in_flight() -> None:
    async def scenario() -> None:
        async with rehearsing(
            one("change_filters", symbol="BTCUSDT", step=0.01, timing={"at_secs": 30})
        ) as client:
            assert (await client.order(quantity="0.015"))[0] == 200
            await client.session.step(30)
            (symbol,) = (await client.get("/fapi/v1/exchangeInfo"))["symbols"]
            steps = {f["filterType"]: f["stepSize"] for f in symbol["filters"] if "stepSize" in f}
            assert steps == {"LOT_SIZE": "0.01", "MARKET_LOT_SIZE": "0.01"}
            status, body = await client.order(quantity="0.015")
            assert (status, body["code"]) in {(400, -1111), (400, -4023)}
            assert (await client.order(quantity="0.02"))[0] == 200

    play(scenario)


def test_fills_come_in_slices() -> None:
    async def scenario() -> None:
        async with rehearsing(one("slice_fills", slices=3)) as client:
            user = await client.hear_user()
            await client.order(quantity="0.03")
            await until(lambda: updates(user) == ["NEW", "TRADE", "TRADE", "TRADE"])
            fills = [m["o"] for m in user.events("ORDER_TRADE_UPDATE")][1:]
            assert [(fill["l"], fill["z"], fill["X"]) for fill in fills] == [
                ("0.01", "0.01", "PARTIALLY_FILLED"),
                ("0.01", "0.02", "PARTIALLY_FILLED"),
                ("0.01", "0.03", "FILLED"),
            ]

    play(scenario)


def test_a_skewed_clock_refuses_signed_requests() -> None:
    async def scenario() -> None:
        async with rehearsing(
            one("skew_clock", skew_ms=-8_000, timing={"at_secs": 30, "for_secs": 30})
        ) as client:
            await client.session.step(30)
            served = (await client.get("/fapi/v1/time"))["serverTime"]
            assert -20_000 < served - time.time_ns() // 1_000_000 < -7_500
            status, body = await client.order()
            assert (status, body["code"]) == (400, -1021)
            await client.session.step(30)
            assert (await client.order())[0] == 200

    play(scenario)


def test_quotes_go_stale_while_trades_go_on() -> None:
    async def scenario() -> None:
        async with rehearsing(one("stale_quotes", when={"at_secs": 60, "for_secs": 60})) as client:
            book, tape = await client.hear("btcusdt@bookTicker"), await client.hear("btcusdt@aggTrade")
            await until(lambda: len(client.session.server.hub.sockets) == 2)
            await client.session.step(170)
            await settled(client)
            start = client.session.market.start_ms
            minutes = [{(m["E"] - start) // 60_000 for m in ear.heard} for ear in (book, tape)]
            assert minutes == [{0, 2}, {0, 1, 2}]

    play(scenario)


def test_quotes_cross() -> None:
    async def scenario() -> None:
        async with rehearsing(one("cross_quotes", bps=10, when={"at_secs": 60, "for_secs": 60})) as client:
            book = await client.hear("btcusdt@bookTicker")
            await until(lambda: client.session.server.hub.sockets)
            await client.session.step(170)
            await settled(client)
            start = client.session.market.start_ms
            crossed = {
                minute: {
                    float(m["b"]) > float(m["a"]) for m in book.heard if (m["E"] - start) // 60_000 == minute
                }
                for minute in range(3)
            }
            assert crossed == {0: {False}, 1: {True}, 2: {False}}

    play(scenario)


def test_the_mark_price_leaves_the_last_price_and_sets_off_a_stop() -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            await client.order()
            last = float(client.session.venue.market("BTCUSDT").contract or 0)
            stop = {"symbol": "BTCUSDT", "side": "SELL", "algoType": "CONDITIONAL", "type": "STOP_MARKET"}
            stop |= {
                "triggerPrice": f"{last * 0.95:.1f}",
                "closePosition": "true",
                "workingType": "MARK_PRICE",
            }
            await client.ask("POST", "/fapi/v1/algoOrder", **stop)
            marks, tape = await client.hear("btcusdt@markPrice@1s"), await client.hear("btcusdt@aggTrade")
            await until(lambda: len(client.session.server.hub.sockets) == 2)
            await client.steer("POST", "faults", kind="move_mark", percent=-10)
            assert client.session.venue.positions("main", "BTCUSDT")[0].amount == 0
            await client.session.step(60)
            await settled(client)
            assert float(marks.heard[-1]["p"]) < last * 0.92
            assert all(float(trade["p"]) > last * 0.97 for trade in tape.heard)

    play(scenario)


def test_a_price_jump_is_seen_at_once_and_stays() -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            before = float((await client.get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT"))["bidPrice"])
            await client.steer("POST", "jump", symbol="BTCUSDT", percent=-20)
            after = float((await client.get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT"))["bidPrice"])
            assert abs(after / before - 0.8) < 1e-4
            await client.session.step(60)
            last = float(client.session.venue.market("BTCUSDT").contract or 0)
            assert 0.78 < last / before < 0.82
            await client.steer("DELETE", "faults")
            back = float((await client.get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT"))["bidPrice"])
            assert 0.98 < back / before < 1.02

    play(scenario)


def test_a_stop_that_a_jump_goes_through_fills_beyond_the_jump() -> None:
    async def scenario() -> None:
        async with rehearsing(plan()) as client:
            await client.session.step(30)
            _, order = await client.order(newOrderRespType="RESULT")
            entry = float(order["avgPrice"])
            values = {"symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET", "workingType": "MARK_PRICE"}
            await client.ask(
                "POST",
                "/fapi/v1/algoOrder",
                algoType="CONDITIONAL",
                closePosition="true",
                triggerPrice=f"{entry * 0.98:.1f}",
                **values,
            )
            await client.steer("POST", "jump", symbol="BTCUSDT", percent=-10)
            trades = await client.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
            assert [trade["side"] for trade in trades] == ["BUY", "SELL"]
            assert float(trades[1]["price"]) == pytest.approx(entry * 0.9, rel=2e-3), "not at its trigger"

    play(scenario)


@pytest.mark.parametrize("way", ["script", "control"])
def test_a_jump_moves_the_book_before_the_mark_and_both_in_one_moment(way: str) -> None:
    """A stop on the mark price would else be filled at a book that is still where it was."""

    async def scenario() -> None:
        jump = {"percent": -10, "when": {"at_secs": 30.5, "for_secs": 20}}
        async with rehearsing(one("jump_price", **jump) if way == "script" else plan()) as client:
            venue = client.session.venue
            passed = client.session.market_ms - client.session.market.start_ms
            await client.session.step(30.4 - passed / 1000)
            before = client.session.market_ms
            told, apply = [], venue.apply

            def note(event: MarketEvent) -> None:
                told.append(event)
                apply(event)

            venue.apply = note  # type: ignore[method-assign]
            bid = float(venue.market("BTCUSDT").bids[0].price)
            if way == "script":
                await client.session.step(0.1)
            else:
                await client.steer("POST", "jump", symbol="BTCUSDT", percent=-10)
            moved = [event for event in told if isinstance(event, Quote | Depth | MarkPrice)][-2:]
            assert [type(event) for event in moved] == [type(moved[0]), MarkPrice]
            assert isinstance(moved[0], Quote | Depth)
            assert moved[0].ts_ms == moved[1].ts_ms == client.session.market_ms >= before
            market = venue.market("BTCUSDT")
            assert float(market.bids[0].price) == pytest.approx(bid * 0.9, rel=2e-3)
            assert float(market.mark or 0) == pytest.approx(bid * 0.9, rel=5e-3)
            if way == "script":  # and back in one moment, when its time is over
                await client.session.step(20)
                back = [event for event in told if isinstance(event, Quote | Depth | MarkPrice)][-2:]
                assert [type(event) for event in back] == [type(back[0]), MarkPrice]
                assert back[0].ts_ms == back[1].ts_ms
                assert float(market.mark or 0) == pytest.approx(bid, rel=5e-2)

    play(scenario)


@pytest.mark.parametrize("way", ["script", "control"])
def test_half_of_a_position_is_taken_away_at_the_mark(way: str) -> None:
    async def scenario() -> None:
        fault = {"symbol": "BTCUSDT", "percent": 50, "timing": {"at_secs": 30}}
        async with rehearsing(one("deleverage", **fault) if way == "script" else plan()) as client:
            user = await client.hear_user()
            await client.order(quantity="0.011")
            if way == "script":
                await client.session.step(30)
            else:
                await client.steer("POST", "deleverage", symbol="BTCUSDT", percent=50)
            await settled(client)
            assert client.session.venue.positions("main", "BTCUSDT")[0].amount == Decimal("0.005")
            told = [message["o"] for message in user.events("ORDER_TRADE_UPDATE")]
            forced = [order for order in told if order["c"] == "adl_autoclose"]
            assert [(o["x"], o["X"], o["o"], o["S"], o["l"]) for o in forced] == [
                ("NEW", "NEW", "LIMIT", "SELL", "0"),
                ("CALCULATED", "FILLED", "LIMIT", "SELL", "0.006"),
            ]
            for kind, count in (("ADL", 1), ("LIQUIDATION", 0)):
                rows = await client.ask("GET", "/fapi/v1/forceOrders", symbol="BTCUSDT", autoCloseType=kind)
                assert len(rows) == count

    play(scenario)


@pytest.mark.parametrize("memory", [True, False])
def test_a_restarted_venue_remembers_or_does_not(memory: bool) -> None:
    async def scenario() -> None:
        fault = {"memory": memory, "down_secs": 0.2, "timing": {"at_secs": 30}}
        async with rehearsing(one("restart_venue", **fault)) as client:
            user, market = await client.hear_user(), await client.hear("btcusdt@trade")
            await client.order()
            resting = await client.limit()
            await client.session.step(30)
            await until(lambda: user.closed is not None and market.closed is not None)
            with pytest.raises(CUT):
                await client.order()
            await until(lambda: client.session.venue.specs["BTCUSDT"].status == "TRADING")
            await asyncio.sleep(0)
            opened = await client.ask("GET", "/fapi/v1/openOrders")
            positions = await client.ask("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")
            held = [position["positionAmt"] for position in positions]
            if memory:
                assert [order["orderId"] for order in opened] == [resting["orderId"]]
                assert [float(amount) for amount in held] == [0.01]
            else:
                assert opened == []
                assert [float(amount) for amount in held] == [0]
                assert client.session.venue.account_view("main").assets[0].wallet == 10_000
            await client.hear_user()
            assert (await client.order())[0] == 200

    play(scenario)


# -- all together ------------------------------------------------------------------------------------------


def test_a_rough_day_is_lived_through_and_the_log_says_what_was_done() -> None:
    async def scenario() -> None:
        script = load_faults(ROOT / "configs" / "faults" / "rough_day.yaml")
        quick = MarketSettings(trades_a_minute=6, mark_ms=10_000)
        rough = replace(plan(minutes=32, market=quick), script=script)
        async with rehearsing(rough) as client:
            session = client.session
            user = await client.hear_user()
            await client.order()
            for _ in range(32):
                await session.step(60)
                await settled(client)
                if user.closed is not None:
                    try:
                        user = await client.hear_user()
                    except aiohttp.WSServerHandshakeError:
                        continue
            assert session.ended
            kinds = {entry.kind for entry in session.faults.log}
            timed = {"close_sockets", "deleverage", "expire_listen_key", "slice_fills"}
            market = {"stale_quotes", "cross_quotes", "move_mark", "jump_price"}
            assert timed | market | {"refuse_connection"} <= kinds <= set(KINDS)
            closes = [e.ts_ms for e in session.faults.log if e.kind == "close_sockets"]
            start = session.market.start_ms
            # at 120 and every 300 s (users), at 200 and every 900 s (market), until 1,920 s
            assert [(ts - start) // 1000 for ts in closes] == [
                120,
                200,
                420,
                720,
                1020,
                1100,
                1320,
                1620,
                1920,
            ][:-1]
            view = session.venue.account_view("main").assets[0]
            assert view.wallet == 10_000 + session.venue.income_totals("main")["USDT"]

    play(scenario)
