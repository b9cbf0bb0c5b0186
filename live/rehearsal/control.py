"""The control endpoint of a rehearsal: an HTTP server of its own, which stays when the venue is down.

    GET    /control/status                                    time, speed, events, sockets, addresses
    GET    /control/ledger                                    the venue's truth: money, positions, orders
    GET    /control/faults                                    every fault with how often it matched and hit
    POST   /control/faults    {"kind": ..., ...}              inject one, as in a fault script
    DELETE /control/faults                                    clear all of them
    DELETE /control/faults/NAME                               clear those of a name or kind
    GET    /control/log                                       what the faults have done, in order
    POST   /control/speed     {"speed": 60}                   market seconds a second; 0 is stepped
    POST   /control/pause     and /control/resume
    POST   /control/step      {"secs": 60}                    pause, and move on by so much market time
    POST   /control/jump      {"symbol": "BTCUSDT", "percent": -5}
    POST   /control/deleverage {"symbol": "BTCUSDT"}          also {"percent": 50, "price": "64000"}
    POST   /control/halt      {"symbol": "BTCUSDT"}           also {"status": "SETTLING"}
    POST   /control/unhalt    {"symbol": "BTCUSDT"}
    POST   /control/restart   {"memory": true, "down_secs": 0}
    POST   /control/transfer  {"amount": "-100", "asset": "USDT"}    deposit, or withdraw below zero
    POST   /control/stop                                      end the rehearsal

Answers are JSON; a mistake is answered 400 with {"error": "..."}. Decimals are strings.
"""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from configs.errors import InputError
from live.rehearsal.errors import VenueError
from live.rehearsal.faults.script import parse_fault
from live.rehearsal.futures.ledger import futures_ledger
from live.rehearsal.session import Session
from live.rehearsal.spot.ledger import spot_ledger

__all__ = ["Control", "ledger", "status"]

_STOP_SECS = 1.0
Values = dict[str, Any]


class Control:
    """The endpoint of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._runner: web.AppRunner | None = None
        self._address = ("", 0)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/control/status", self._told(self._status)),
                web.get("/control/ledger", self._told(self._ledger)),
                web.get("/control/log", self._told(self._log)),
                web.get("/control/faults", self._told(self._faults)),
                web.delete("/control/faults", self._told(self._clear)),
                web.delete("/control/faults/{name}", self._told(self._clear)),
                *(web.post(f"/control/{name}", self._told(done)) for name, done in self._commands().items()),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECS)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self._address = (host, self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self._address[0]}:{self._address[1]}/control"

    def _commands(self) -> dict[str, Callable[[Values], Awaitable[Any]]]:
        return {
            "faults": self._inject,
            "speed": self._speed,
            "pause": self._pause,
            "resume": self._resume,
            "step": self._step,
            "jump": self._jump,
            "deleverage": self._deleverage,
            "halt": self._halt,
            "unhalt": self._unhalt,
            "restart": self._restart,
            "transfer": self._transfer,
            "stop": self._stop,
        }

    def _told(
        self, command: Callable[[Values], Awaitable[Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler that reads the JSON body and answers with JSON."""

        async def handle(request: web.Request) -> web.Response:
            try:
                values = {**request.match_info, **_object(await request.text())}
                return web.json_response(await command(values))
            except (InputError, VenueError, KeyError, TypeError, ValueError, InvalidOperation) as error:
                return web.json_response({"error": _line(error)}, status=400)

        return handle

    async def _status(self, values: Values) -> Any:
        _no_more(values)
        return status(self._session)

    async def _ledger(self, values: Values) -> Any:
        _no_more(values)
        return ledger(self._session)

    async def _log(self, values: Values) -> Any:
        _no_more(values)
        return [injection._asdict() for injection in self._session.faults.log]

    async def _faults(self, values: Values) -> Any:
        _no_more(values)
        return self._session.faults.faults

    async def _inject(self, values: Values) -> Any:
        await self._session.inject(parse_fault(values))
        return self._session.faults.faults

    async def _clear(self, values: Values) -> Any:
        await self._session.clear(values.pop("name", None))
        return await self._faults(values)

    async def _speed(self, values: Values) -> Any:
        self._session.set_speed(float(values.pop("speed")))
        return await self._status(values)

    async def _pause(self, values: Values) -> Any:
        self._session.pause()
        return await self._status(values)

    async def _resume(self, values: Values) -> Any:
        self._session.resume()
        return await self._status(values)

    async def _step(self, values: Values) -> Any:
        await self._session.step(float(values.pop("secs")))
        return await self._status(values)

    async def _jump(self, values: Values) -> Any:
        symbol = self._symbol(values)
        await self._session.inject(
            parse_fault({"kind": "jump_price", "symbols": [symbol], "percent": values.pop("percent")})
        )
        return await self._status(values)

    async def _deleverage(self, values: Values) -> Any:
        symbol, percent = self._symbol(values), Decimal(str(values.pop("percent", 100)))
        price = values.pop("price", None)
        if not 0 < percent <= 100:
            raise ValueError("percent must be above 0 and at most 100")
        self._session.deleverage(symbol, percent, None if price is None else Decimal(str(price)))
        return await self._ledger(values)

    async def _halt(self, values: Values) -> Any:
        symbol, halted = self._symbol(values), values.pop("status", "BREAK")
        await self._session.inject(
            parse_fault({"kind": "halt_symbol", "name": f"halt {symbol}", "symbol": symbol, "status": halted})
        )
        return await self._status(values)

    async def _unhalt(self, values: Values) -> Any:
        await self._session.clear(f"halt {self._symbol(values)}")
        return await self._status(values)

    async def _restart(self, values: Values) -> Any:
        memory, down_secs = bool(values.pop("memory", True)), float(values.pop("down_secs", 0))
        await self._session.restart(memory=memory, down_secs=down_secs)
        return await self._status(values)

    async def _transfer(self, values: Values) -> Any:
        account, asset = values.pop("account", "main"), values.pop("asset", "USDT")
        self._session.exchange.transfer(account, asset, Decimal(str(values.pop("amount"))))
        self._session.server.flush()
        return await self._ledger(values)

    async def _stop(self, values: Values) -> Any:
        self._session.stop()
        return await self._status(values)

    def _symbol(self, values: Values) -> str:
        symbol = str(values.pop("symbol"))
        self._session.exchange.market(symbol)
        return symbol


def status(session: Session) -> Values:
    """What the rehearsal is doing."""
    clock, server = session.clock, session.server
    sockets = [socket.kind for socket in server.hub.sockets]
    return {
        "market_ms": session.market_ms,
        "end_ms": session.market.end_ms,
        "server_ms": clock.request_ms(),
        "speed": clock.speed,
        "paused": clock.paused,
        "ended": session.ended,
        "lag_ms": session.lag_ms,
        "events": session.events,
        "restarts": session.restarts,
        "symbols": {symbol: spec.status for symbol, spec in session.exchange.specs.items()},
        "sockets": {kind: sockets.count(kind) for kind in ("market", "user", "trading")},
        "injected": len(session.faults.log),
        "http": server.http_url,
        "ws": server.ws_url,
        "ws_api": server.ws_api_url,
    }


def ledger(session: Session) -> Values:
    """Every account as the venue knows it: what a client's books must agree with."""
    accounts = sorted({key.account for key in session.plan.keys})
    if session.plan.market_kind == "spot":
        return {account: spot_ledger(session.spot, account) for account in accounts}
    venue, record = session.venue, session.server.record
    fundings = [settled for symbol in venue.specs for settled in record[symbol].fundings]
    return {account: futures_ledger(venue, account, fundings) for account in accounts}


def _object(text: str) -> Values:
    values = json.loads(text) if text.strip() else {}
    if not isinstance(values, dict):
        raise ValueError("the body must be a JSON object")
    return values


def _no_more(values: Values) -> None:
    if values:
        raise ValueError(f"unknown key {', '.join(sorted(values))}")


def _line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, InvalidOperation):
        return "not a number"
    return " ".join(str(error).split())
