"""The engine's own decoder reads the spot venue's SBE answers: a live node whose server has no others."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from live.rehearsal.serving.demo_keys import demo_keys
from live.rehearsal.spot import sbe

pytestmark = pytest.mark.slow

NODE, ROOT = "tests.spot_reader", Path(__file__).parents[2]
LONG_SECS = 60.0
NOW_MS = int(time.time() * 1_000)
FILTERS = [
    {
        "filterType": "PRICE_FILTER",
        "minPrice": "0.01000000",
        "maxPrice": "1000000.0",
        "tickSize": "0.01000000",
    },
    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    {"filterType": "ICEBERG_PARTS", "limit": 100},
    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.0", "maxQty": "100.50000000", "stepSize": "0.00000000"},
    {
        "filterType": "NOTIONAL",
        "minNotional": "5.00000000",
        "applyMinToMarket": True,
        "maxNotional": "9000000.00000000",
        "applyMaxToMarket": False,
        "avgPriceMins": 5,
    },
    {
        "filterType": "PERCENT_PRICE_BY_SIDE",
        "bidMultiplierUp": "5",
        "bidMultiplierDown": "0.2",
        "askMultiplierUp": "5",
        "askMultiplierDown": "0.2",
        "avgPriceMins": 5,
    },
    {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
]
SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "quoteAssetPrecision": 8,
    "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT"],
    "icebergAllowed": True,
    "ocoAllowed": True,
    "isSpotTradingAllowed": True,
    "isMarginTradingAllowed": False,
    "allowedSelfTradePreventionModes": ["EXPIRE_TAKER"],
    "filters": FILTERS,
    "permissionSets": [["SPOT", "MARGIN"]],
}
INFO = {
    "rateLimits": [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100}],
    "exchangeFilters": [],  # the engine reads these frames as text, which a number may not be
    "symbols": [SYMBOL],
}
ACCOUNT = {
    "commissionRates": {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.0", "seller": "0.0"},
    "canTrade": True,
    "canWithdraw": False,
    "canDeposit": True,
    "updateTime": NOW_MS,
    "balances": [
        {"asset": "BTC", "free": "1.50000000", "locked": "0.00400000"},
        {"asset": "USDT", "free": "1000.12345678", "locked": "0.00000000"},
    ],
    "permissions": ["SPOT"],
}
TRADE = {
    "symbol": "BTCUSDT",
    "id": 77,
    "orderId": 5,
    "orderListId": -1,
    "price": "70000.00000000",
    "qty": "0.00600000",
    "quoteQty": "420.00000000",
    "commission": "0.42000000",
    "commissionAsset": "USDT",
    "time": NOW_MS,
    "isBuyer": False,
    "isMaker": True,
    "isBestMatch": True,
}


def order(number: int, name: str, **changes: Any) -> dict[str, Any]:
    """An order as GET order tells it."""
    return {
        "symbol": "BTCUSDT",
        "orderId": number,
        "orderListId": -1,
        "clientOrderId": name,
        "price": "50000.00000000",
        "origQty": "0.01000000",
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": NOW_MS,
        "updateTime": NOW_MS,
        "isWorking": True,
        "workingTime": NOW_MS,
        "selfTradePreventionMode": "NONE",
    } | changes


HALF = order(
    5,
    "old-1",
    side="SELL",
    price="70000.00000000",
    executedQty="0.00600000",
    cummulativeQuoteQty="420.00000000",
    status="PARTIALLY_FILLED",
    type="LIMIT_MAKER",
)


class StandIn:
    """Answers of one account, all in SBE but for the two of the user-data connection."""

    def __init__(self, *, cancels: bool) -> None:
        self.cancels = cancels
        self.fixed: dict[tuple[str, str], Any] = {
            ("GET", "/api/v3/exchangeInfo"): INFO,
            ("GET", "/api/v3/account"): ACCOUNT,
            ("GET", "/api/v3/openOrders"): [HALF],
            ("GET", "/api/v3/allOrders"): [HALF],
            ("GET", "/api/v3/myTrades"): [TRADE],
            ("GET", "/api/v3/time"): {"serverTime": NOW_MS},
        }

    async def rest(self, request: web.Request) -> web.Response:
        """A frame, whatever is asked."""
        status, body = self.reply(request.method, request.path, dict(request.query))
        frame = sbe.answer(request.path, request.method, body, status)
        return web.Response(body=frame, status=status, content_type=sbe.CONTENT_TYPE)

    def reply(self, method: str, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if (method, path) in self.fixed:
            return 200, self.fixed[method, path]
        name = query.get("newClientOrderId") or query["origClientOrderId"]
        if method == "POST":
            return 200, order(6, name) | {"transactTime": NOW_MS, "fills": []}
        if method == "GET":
            return 200, order(6, name)
        if not self.cancels:
            return 400, {"code": -2011, "msg": "Unknown order sent."}
        changes = {"transactTime": NOW_MS, "origClientOrderId": name, "status": "CANCELED"}
        return 200, order(6, "cancel-1") | changes

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """Log-on and subscription, nothing else."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        results = {
            "session.logon": {
                "apiKey": "key",
                "authorizedSince": NOW_MS,
                "connectedSince": NOW_MS,
                "returnRateLimits": False,
                "serverTime": NOW_MS,
            },
            "userDataStream.subscribe": {"subscriptionId": 0},
        }
        async for message in socket:
            asked = json.loads(message.data)
            result = results.get(asked.get("method"))
            await socket.send_json({"id": asked["id"], "status": 200, "result": result, "rateLimits": []})
        return socket


@contextmanager
def served(stand_in: StandIn) -> Iterator[int]:
    """The port on loopback, from a loop on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = web.Application()
    app.router.add_get("/ws-api/v3", stand_in.socket)
    app.router.add_get("/ws-api/v3/stream", stand_in.socket)
    app.router.add_route("*", "/api/v3/{rest:.*}", stand_in.rest)
    runner = web.AppRunner(app, shutdown_timeout=1.0)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(LONG_SECS)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(LONG_SECS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LONG_SECS)
        loop.close()


def read_until(folder: Path, port: int, last: str) -> dict[str, dict[str, Any]]:
    """What the node told, by step, until the step `last`."""
    secret = folder / "secret.pem"
    secret.write_text(demo_keys(7).ed25519_private_pem)
    places = [f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/ws-api/v3", str(secret)]
    node = subprocess.Popen(
        [sys.executable, "-m", NODE, *places], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    killer = threading.Timer(LONG_SECS, node.kill)
    killer.start()
    told: dict[str, dict[str, Any]] = {}
    try:
        assert node.stdout is not None
        for line in node.stdout:
            if line.startswith("@"):
                step = json.loads(line[1:])
                told[step["step"]] = step
                if step["step"] == last:
                    os.kill(node.pid, signal.SIGTERM)
        assert node.wait(LONG_SECS) == 0
    finally:
        killer.cancel()
        node.kill()
        node.wait()
        assert node.stdout is not None
        node.stdout.close()
    return told


def test_a_node_reads_every_answer_of_the_start_and_of_an_orders_life(tmp_path: Path) -> None:
    with served(StandIn(cancels=True)) as port:
        told = read_until(tmp_path, port, "canceled")
    assert told["instrument"] == {
        "step": "instrument",
        "id": "BTCUSDT.BINANCE",
        "tick": "0.01",
        "lot": "0.00001",
        "least": "0.00001",
        "notional": "5.00000000 USDT",
    }
    assert told["account"]["balances"] == {
        "BTC": ["1.50000000 BTC", "0.00400000 BTC"],
        "USDT": ["1000.12345678 USDT", "0.00000000 USDT"],
    }
    found = told["found"]
    assert (found["id"], found["kind"], found["quantity"], found["filled"]) == (
        "old-1",
        "LIMIT",
        "0.01000",
        "0.00600",
    )
    assert (found["price"], found["average"]) == ("70000.00", "70000.00")
    assert (told["accepted"]["venue_id"], told["accepted"]["at"]) == ("6", NOW_MS * 1_000_000)
    assert told["canceled"]["id"] == told["accepted"]["id"]


def test_a_node_reads_an_error_with_its_code_and_text(tmp_path: Path) -> None:
    with served(StandIn(cancels=False)) as port:
        told = read_until(tmp_path, port, "cancel_rejected")
    assert "-2011" in told["cancel_rejected"]["reason"]
    assert "Unknown order sent." in told["cancel_rejected"]["reason"]
