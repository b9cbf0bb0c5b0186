"""The doors: aiohttp handlers for REST, market and user streams, and the WebSocket API, faults included.

Handlers only wait for faults and for the client. A request takes effect in one step, and its events are on
their way before its answer.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

from live.rehearsal.errors import VenueError
from live.rehearsal.ports import ConnectFault, FaultBox, NoObserver, Observer, RequestFault
from live.rehearsal.serving.auth import Keyring, json_text
from live.rehearsal.serving.desk import Desk
from live.rehearsal.serving.dialect import Dialect
from live.rehearsal.serving.router import Call, Router
from live.rehearsal.serving.sockets import Hub, Socket, stream_names, to_text
from live.rehearsal.serving.ws_api import TradingApi

__all__ = ["Gateway"]

HANG_SECS = 600.0
PING_SECS = 180.0
_JSON = "application/json;charset=UTF-8"
_POLICY = 1008
_MAX_MESSAGE = 1 << 20
_STREAM_PATHS = ("", "/public", "/market", "/private")


class Gateway:
    """The routes. `flush` publishes what a request caused; `down` makes the venue unreachable."""

    def __init__(
        self,
        desk: Desk[Any],
        keyring: Keyring,
        hub: Hub,
        faults: FaultBox,
        flush: Callable[[], None],
        dialect: Dialect,
    ) -> None:
        self.down = False
        self.observer: Observer = NoObserver()
        self._desk = desk
        self._keyring = keyring
        self._hub = hub
        self._faults = faults
        self._flush = flush
        self._dialect = dialect
        self._router = Router(desk, keyring, dialect.endpoints)
        self._later: set[asyncio.TimerHandle] = set()

    def routes(self) -> list[web.RouteDef]:
        """The routes, the most special ones first."""
        sockets = [
            web.get(f"{prefix}{path}", self.stream)
            for prefix in _STREAM_PATHS
            for path in ("/ws", "/ws/{names:.*}", "/stream")
        ]
        path = self._dialect.api_path
        trading = [web.get(each, self.trading) for each in (path, f"{path}/")]
        return [*trading, *sockets, web.route("*", "/{path:.*}", self.rest)]

    def forget_later(self) -> None:
        """Drop what delayed requests would still do."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()

    # -- REST ---------------------------------------------------------------------------------------------

    async def rest(self, request: web.Request) -> web.StreamResponse:
        """Any REST request."""
        call = await _call_of(request)
        if self.down:
            return _cut(request)
        self.observer.on_request(call.method, call.path, call.values)
        fault = self._faults.on_request(call.method, call.path, call.values)
        if fault is None:
            return self._answer(call)
        return await self._spoiled(
            request,
            fault,
            lambda: self._answer(call, faulted=True),
            lambda: _canned(fault, self._headers(call)),
        )

    def _answer(self, call: Call, *, faulted: bool = False) -> web.Response:
        try:
            status, body = 200, self._router.run(call)
        except VenueError as error:
            status, body = error.http_status, {"code": error.code, "msg": error.message}
            if error.data is not None:
                body["data"] = error.data
        self._flush()
        self.observer.on_answer(call.method, call.path, call.values, status, body, faulted=faulted)
        headers = self._headers(call)
        if status in {418, 429}:
            headers["Retry-After"] = str(self._retry_after(call))
        encoded = self._dialect.encoded(call, status, body)
        if encoded is None:
            return web.Response(body=to_text(body).encode(), status=status, headers=headers)
        return web.Response(body=encoded[0], status=status, headers=headers | {"Content-Type": encoded[1]})

    def _headers(self, call: Call) -> dict[str, str]:
        account = self._router.account_of(call.api_key) if call.api_key else None
        counted = account if call.method != "GET" else None
        now_ms = self._desk.clock.request_ms()
        return {"Content-Type": _JSON, **self._desk.limiter.headers(call.address, counted, now_ms)}

    def _retry_after(self, call: Call) -> int:
        account = self._router.account_of(call.api_key)
        return self._desk.limiter.retry_after_secs(call.address, account, self._desk.clock.request_ms())

    async def _spoiled[T](
        self, request: web.Request, fault: RequestFault, real: Callable[[], T], canned: Callable[[], T]
    ) -> T:
        """Carry a request out and answer it as a fault says; both may be late or missing."""
        await asyncio.sleep(fault.delay_ms / 1000)
        answer = real() if fault.effect == "now" else None
        if fault.effect == "later":
            self._run_later(fault.later_ms, real)
        await asyncio.sleep(fault.answer_delay_ms / 1000)
        if fault.answer == "hang":
            await asyncio.sleep(HANG_SECS)
        if fault.answer in {"hang", "drop"} or (fault.answer == "real" and answer is None):
            _abort(request)
        return canned() if answer is None or fault.answer == "canned" else answer

    def _run_later(self, delay_ms: int, real: Callable[[], object]) -> None:
        def run() -> None:
            self._later.discard(handle)
            real()

        handle = asyncio.get_running_loop().call_later(delay_ms / 1000, run)
        self._later.add(handle)

    # -- streams ------------------------------------------------------------------------------------------

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """A market or user-data connection."""
        query = parse_qsl(_query(request))
        names = list(stream_names(request.match_info.get("names", ""), query))
        names += [value for key, value in query if key == "listenKey"]
        now_ms = self._desk.clock.request_ms()
        kind = "user" if any(self._desk.listen_keys.account_of(n, now_ms) for n in names) else "market"
        refused = await self._refused(request, kind)
        if refused is not None:
            return refused
        ws = web.WebSocketResponse(heartbeat=PING_SECS, autoping=False, max_msg_size=_MAX_MESSAGE)
        await ws.prepare(request)
        socket = Socket(ws, request, kind, combined=request.path.endswith("/stream"))
        self._join(socket, names)

        async def on_text(text: str) -> None:
            await self._command(socket, text)

        return await self._serve(socket, on_text)

    def _join(self, socket: Socket, names: list[str]) -> bool:
        """Subscribe to streams; a live listen key among the names is its account's user data."""
        now_ms = self._desk.clock.request_ms()
        for name in names:
            account = self._desk.listen_keys.account_of(name, now_ms)
            if account is not None:
                socket.accounts[account] = name
                socket.kind = "user"
        return self._hub.subscribe(socket, names)

    async def _command(self, socket: Socket, text: str) -> None:
        if socket.too_fast(asyncio.get_running_loop().time()):
            await socket.ws.close(code=_POLICY, message=b"Too many requests")
            return
        socket.put(to_text(self._commanded(socket, text)))

    def _commanded(self, socket: Socket, text: str) -> dict[str, Any]:
        try:
            command = json.loads(text)
        except ValueError:
            return _bad_command(3, "Invalid JSON: expected value")
        if not isinstance(command, dict) or "method" not in command:
            return _bad_command(2, "Invalid request: missing field `method`")
        names = command.get("params", [])
        if not isinstance(names, list):
            return _bad_command(2, "Invalid request: params must be a list") | {"id": command.get("id")}
        answer = self._obeyed(socket, command["method"], [str(name) for name in names])
        return answer | {"id": command.get("id")}

    def _obeyed(self, socket: Socket, method: Any, names: list[str]) -> dict[str, Any]:
        if method == "SUBSCRIBE":
            fits = self._join(socket, names)
            return {"result": None} if fits else _bad_command(2, "Invalid request: too many streams")
        if method == "UNSUBSCRIBE":
            self._hub.unsubscribe(socket, names)
            socket.accounts = {a: key for a, key in socket.accounts.items() if key not in names}
            return {"result": None}
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(socket.streams)}
        if method == "GET_PROPERTY":
            return {"result": socket.combined}
        return _bad_command(2, f"Invalid request: unknown variant `{method}`")

    # -- the WebSocket API --------------------------------------------------------------------------------

    async def trading(self, request: web.Request) -> web.StreamResponse:
        """A connection of the WebSocket API."""
        refused = await self._refused(request, "trading") or self._unfit(request) or self._too_often(request)
        if refused is not None:
            return refused
        ws = web.WebSocketResponse(heartbeat=PING_SECS, autoping=False, max_msg_size=_MAX_MESSAGE)
        await ws.prepare(request)
        socket = Socket(ws, request, "trading", combined=False)
        api = self._dialect.api(self._desk, self._keyring, request.remote or "", socket)
        tasks: set[asyncio.Task[None]] = set()

        async def on_text(text: str) -> None:
            task = asyncio.create_task(self._api_request(request, socket, api, text))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            return await self._serve(socket, on_text)
        finally:
            for task in list(tasks):
                task.cancel()

    def _unfit(self, request: web.Request) -> web.Response | None:
        """The refusal of a connection that asks for SBE answers: there are none on sockets."""
        if "responseFormat=sbe" not in _query(request):
            return None
        body = to_text({"code": -1155, "msg": "SBE is not enabled."})
        return web.Response(status=400, body=body.encode(), headers={"Content-Type": _JSON})

    def _too_often(self, request: web.Request) -> web.Response | None:
        """The refusal of a connection that is beyond the IP's weight; None when it may come in."""
        address, now_ms = request.remote or "", self._desk.clock.request_ms()
        try:
            self._desk.limiter.spend(address, self._desk.limiter.limits.connect_weight, now_ms)
        except VenueError as error:
            wait = self._desk.limiter.retry_after_secs(address, None, now_ms)
            body = to_text({"code": error.code, "msg": error.message})
            headers = {"Content-Type": _JSON, "Retry-After": str(wait)}
            return web.Response(status=error.http_status, body=body.encode(), headers=headers)
        return None

    async def _api_request(self, request: web.Request, socket: Socket, api: TradingApi, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            socket.put(to_text(api.refusal(None, VenueError(-1135, "Invalid JSON"))))
            return
        fields = message if isinstance(message, dict) else {}
        method, params = str(fields.get("method", "")), fields.get("params")
        values = _words(params)

        def real() -> str:
            answer = api.answer(message)
            self._flush()
            body = answer.get("result", answer.get("error"))
            self.observer.on_answer("WS", method, values, answer["status"], body, faulted=fault is not None)
            return to_text(answer)

        self.observer.on_request("WS", method, values)
        fault = self._faults.on_request("WS", method, values)
        if fault is None:
            socket.put(real())
            return
        socket.put(await self._spoiled(request, fault, real, lambda: _canned_text(fields.get("id"), fault)))

    # -- any socket ---------------------------------------------------------------------------------------

    async def _refused(self, request: web.Request, kind: str) -> web.StreamResponse | None:
        if self.down:
            return _cut(request)
        fault: ConnectFault | None = self._faults.on_connect(kind)
        if fault is None:
            return None
        if fault.answer == "hang":
            await asyncio.sleep(HANG_SECS)
            return _cut(request)
        return web.Response(status=fault.status, text="")

    async def _serve(self, socket: Socket, on_text: Callable[[str], Awaitable[None]]) -> web.StreamResponse:
        self._hub.add(socket)
        writer = asyncio.create_task(socket.write())
        try:
            async for message in socket.ws:
                if message.type is WSMsgType.TEXT:
                    await on_text(message.data)
                elif message.type is WSMsgType.PING:
                    await socket.ws.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    socket.followed.set()
        finally:
            self._hub.remove(socket)
            socket.followed.set()
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
        return socket.ws


async def _call_of(request: web.Request) -> Call:
    query, body = _query(request), await request.text()
    form = body if "form" in request.content_type else ""
    values = dict(parse_qsl(form, keep_blank_values=True)) | dict(parse_qsl(query, keep_blank_values=True))
    return Call(
        method=request.method,
        path=request.path,
        values=values,
        query=query,
        body=form,
        api_key=request.headers.get("X-MBX-APIKEY"),
        address=request.remote or "",
        headers=request.headers,
    )


def _query(request: web.Request) -> str:
    """The query exactly as sent: signatures are over those characters."""
    return request.raw_path.partition("?")[2]


def _words(params: Any) -> dict[str, str]:
    return {n: json_text(v) for n, v in params.items()} if isinstance(params, dict) else {}


def _bad_command(code: int, text: str) -> dict[str, Any]:
    return {"error": {"code": code, "msg": text}}


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _cut(request: web.Request) -> web.Response:
    """Cut the connection; the response goes nowhere."""
    _abort(request)
    return web.Response(status=503)


def _canned(fault: RequestFault, headers: dict[str, str]) -> web.Response:
    return web.Response(body=fault.body.encode(), status=fault.status, headers=headers | dict(fault.headers))


def _canned_text(number: Any, fault: RequestFault) -> str:
    """A canned body as the API's answer: the error it holds, or the text as it is when it holds none."""
    try:
        error = json.loads(fault.body)
    except ValueError:
        return fault.body
    return to_text({"id": number, "status": fault.status, "error": error, "rateLimits": []})
