"""Whole rehearsals for the tests, and a client that signs its requests and listens to its sockets."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp

from catalog.instruments import find_spec
from live.rehearsal.control import Control
from live.rehearsal.faults.script import FaultScript, parse_fault
from live.rehearsal.market.feeds import Feed, SyntheticFeed
from live.rehearsal.market.replay import MarketSettings
from live.rehearsal.serving.demo_keys import demo_keys
from live.rehearsal.session import Plan, Session
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "CUT",
    "KEYS",
    "START_MS",
    "WAIT_SECS",
    "Client",
    "Ear",
    "feeds",
    "one",
    "plan",
    "play",
    "rehearsing",
    "settled",
    "until",
    "updates",
]

START_MS = 1_735_689_600_000  # 2025-01-01
WAIT_SECS = 10.0
MINUTE_MS = 60_000
KEYS = demo_keys(7)
CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)
_FEEDS: dict[tuple[str, int], SyntheticFeed] = {}


def feeds(*symbols: str, minutes: int = 60) -> list[Feed]:
    """Synthetic feeds of some minutes; made once a symbol."""
    found: list[Feed] = []
    for symbol in symbols or ("BTCUSDT",):
        if (symbol, minutes) not in _FEEDS:
            feed = SyntheticFeed(symbol, START_MS, 1, 7)
            feed.end_ms = START_MS + minutes * MINUTE_MS
            _FEEDS[symbol, minutes] = feed
        found.append(_FEEDS[symbol, minutes])
    return found


def plan(
    *faults: dict[str, Any], symbols: tuple[str, ...] = ("BTCUSDT",), minutes: int = 60, **more: Any
) -> Plan:
    """A rehearsal of the synthetic market, stepped unless `speed` says otherwise."""
    more.setdefault("speed", 0.0)
    more.setdefault("history", 10)
    return Plan(
        feeds=feeds(*symbols, minutes=minutes),
        specs=[SymbolSpec.from_catalog(find_spec(symbol, "um")) for symbol in symbols],
        keys=KEYS.ring,
        market=more.pop("market", MarketSettings()),
        script=FaultScript(faults=tuple(parse_fault(fault) for fault in faults)),
        **more,
    )


class Ear:
    """A socket and what it heard; `closed` is the close code once it is closed."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.heard: list[Any] = []
        self.closed: int | None = None
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for message in self.ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.heard.append(json.loads(message.data))
        self.closed = self.ws.close_code

    def events(self, kind: str) -> list[Any]:
        """The messages of an event type, in the order of their arrival."""
        return [m for m in self.heard if isinstance(m, dict) and m.get("e") == kind]

    async def shut(self) -> None:
        await self.ws.close()
        await asyncio.gather(self._task, return_exceptions=True)


class Client:
    """A trading client on the session's server; every request has a connection of its own."""

    def __init__(self, session: Session, control: Control) -> None:
        self.session = session
        self.control = control
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(WAIT_SECS)
        )
        self._ears: list[Ear] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for ear in self._ears:
            await ear.shut()
        await self._http.close()

    async def send(self, method: str, path: str, **params: Any) -> tuple[int, Any, Any]:
        """Status, decoded body (text where it is no JSON) and headers of a signed request."""
        values = {**params, "timestamp": params.get("timestamp", time.time_ns() // 1_000_000)}
        query = urlencode(values)
        sign = hmac.new(KEYS.hmac_secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.session.server.http_url}{path}?{query}&signature={sign}"
        async with self._http.request(method, url, headers={"X-MBX-APIKEY": KEYS.hmac_key}) as answer:
            text = await answer.text()
            body = json.loads(text) if "json" in answer.headers["Content-Type"] else text
            return answer.status, body, answer.headers

    async def ask(self, method: str, path: str, **params: Any) -> Any:
        """The body of a request that must go well."""
        status, body, _ = await self.send(method, path, **params)
        assert status == 200, body
        return body

    async def get(self, path: str, **params: Any) -> Any:
        """The body of a public request that must go well."""
        async with self._http.get(f"{self.session.server.http_url}{path}", params=params) as answer:
            assert answer.status == 200
            return await answer.json()

    async def order(
        self, type_: str = "MARKET", side: str = "BUY", quantity: str = "0.01", **more: Any
    ) -> Any:
        """Status and body of a new BTCUSDT order."""
        values = {"symbol": "BTCUSDT", "side": side, "type": type_, "quantity": quantity} | more
        status, body, _ = await self.send("POST", "/fapi/v1/order", **values)
        return status, body

    async def limit(self, away: str = "-0.02", **more: Any) -> Any:
        """The body of a resting BTCUSDT bid, so far (as a share) from the last price."""
        last = float(self.session.venue.market("BTCUSDT").contract or 0)
        price = f"{last * (1 + float(away)):.1f}"
        status, body = await self.order("LIMIT", price=price, timeInForce="GTC", **more)
        assert status == 200, body
        return body

    async def steer(self, method: str, path: str, *, code: int = 200, **values: Any) -> Any:
        """The control endpoint's answer."""
        async with self._http.request(method, f"{self.control.url}/{path}", json=values) as answer:
            body = await answer.json()
            assert answer.status == code, body
            return body

    async def hear(self, *streams: str, base: str = "ws") -> Ear:
        """A socket with these raw streams."""
        url = f"{self.session.server.ws_url.removesuffix('/ws')}/{base}/{'/'.join(streams)}"
        return await self._ear(url)

    async def hear_user(self) -> Ear:
        """A socket with the user-data stream."""
        key = (await self.ask("POST", "/fapi/v1/listenKey"))["listenKey"]
        return await self._ear(f"{self.session.server.ws_url}/{key}")

    async def trading(self) -> Ear:
        """A socket of the WebSocket API."""
        return await self._ear(self.session.server.ws_api_url)

    async def _ear(self, url: str) -> Ear:
        ear = Ear(await self._http.ws_connect(url))
        self._ears.append(ear)
        return ear


async def until(fits: Callable[[], object], what: str = "it") -> None:
    """Poll until something is so."""
    deadline = time.monotonic() + WAIT_SECS
    while not fits():
        assert time.monotonic() < deadline, f"{what} did not come about"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def rehearsing(plan_: Plan, *, run: bool = False) -> AsyncIterator[Client]:
    """A started session with a client; its market moves by `session.step`, or by itself with `run`."""
    session = Session(plan_)
    control = Control(session)
    await session.start()
    await control.start()
    running = asyncio.create_task(session.run()) if run else None
    try:
        async with Client(session, control) as client:
            if not run:
                await session.step(5)
            yield client
    finally:
        session.stop()
        if running is not None:
            await asyncio.wait_for(running, WAIT_SECS)
        await control.stop()
        await session.close()


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run an asynchronous test."""

    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 60)

    asyncio.run(bounded())


def one(kind: str, **more: Any) -> Plan:
    """A rehearsal with one fault."""
    return plan({"kind": kind, **more})


def updates(ear: Ear) -> list[str]:
    """The executions that orders were told of."""
    return [message["o"]["x"] for message in ear.events("ORDER_TRADE_UPDATE")]


async def settled(client: Client) -> None:
    """Every message that is under way to the client has arrived (sockets keep their order)."""
    await client.session.server.drained(WAIT_SECS)
    await asyncio.sleep(0.02)
