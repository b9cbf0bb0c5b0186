"""The rehearsal server: a `Venue` behind Binance's USD-M futures protocol on 127.0.0.1, or a `SpotVenue`
behind the spot one.

    REST            {http_url}/fapi/..., on spot {http_url}/api/v3/...
    streams         {ws_url}, {ws_url}/NAME, .../stream?streams=..., also under /public, /market, /private
    user data       {ws_url}/LISTENKEY or {ws_url}?listenKey=LISTENKEY; on spot over the WebSocket API
    WebSocket API   {ws_api_url}

Whoever moves the market calls `feed`; the server publishes what follows in the order in which it happened.
Everything runs on one event loop; `ServerThread` runs it on a thread of its own for clients that block.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from live.rehearsal.book import Funding, Kline, MarketEvent
from live.rehearsal.dialects import dialect_of
from live.rehearsal.futures.venue import Venue
from live.rehearsal.ports import Clock, Exchange, FaultBox, NoFaults, Observer, WallClock
from live.rehearsal.record import MarketRecord
from live.rehearsal.serving.auth import ApiKey, Keyring
from live.rehearsal.serving.desk import Desk
from live.rehearsal.serving.gateway import Gateway
from live.rehearsal.serving.limits import Limits, RateLimiter
from live.rehearsal.serving.sockets import Hub, Socket

__all__ = ["RehearsalServer", "ServerThread"]

TICK_SECS = 0.05
STOP_SECS = 5.0
_GOING_AWAY = 1001


class RehearsalServer[V: Exchange = Venue]:
    """The server. `keys` are the API keys that may trade; `strict` refuses unknown parameters (-1104)."""

    def __init__(
        self,
        venue: V,
        keys: Iterable[ApiKey],
        *,
        faults: FaultBox | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        strict: bool = True,
    ) -> None:
        known = tuple(keys)
        self.venue = venue
        self._dialect = dialect_of(venue)
        self.faults: FaultBox = faults or NoFaults()
        self.clock: Clock = clock or WallClock()
        self.record = MarketRecord(venue.specs)
        self.desk = Desk(
            venue=venue,
            clock=self.clock,
            record=self.record,
            limiter=RateLimiter(limits or self._dialect.limits),
            withdrawing={key.account for key in known if key.may_withdraw},
            strict=strict,
        )
        self.hub = Hub(self.faults)
        self._market = self._dialect.feed(self.desk, self.hub)
        self._gateway = Gateway(
            self.desk, Keyring.of(*known), self.hub, self.faults, self.flush, self._dialect
        )
        self._runner: web.AppRunner | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._address = ("", 0)

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        app = web.Application(client_max_size=1 << 20)
        app.add_routes(self._gateway.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self._address = (host, self._runner.addresses[0][1])
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Close every socket and stop listening."""
        self._gateway.forget_later()
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None
        await self.close_sockets()
        if self._runner is not None:
            await asyncio.wait_for(self._runner.cleanup(), STOP_SECS)
            self._runner = None

    @property
    def http_url(self) -> str:
        """The base URL for REST."""
        return f"http://{self._address[0]}:{self._address[1]}"

    @property
    def ws_url(self) -> str:
        """The base URL for streams."""
        return f"ws://{self._address[0]}:{self._address[1]}/ws"

    @property
    def ws_api_url(self) -> str:
        """The URL of the WebSocket API."""
        return f"ws://{self._address[0]}:{self._address[1]}{self._dialect.api_path}"

    # -- the market ---------------------------------------------------------------------------------------

    def load(self, klines: Iterable[Kline]) -> None:
        """Give the REST endpoint klines of before the start, oldest first."""
        self.record.load(klines)

    def feed(self, event: MarketEvent) -> None:
        """Move the market by one event and publish what follows."""
        mark = self.venue.market(event.symbol).mark if isinstance(event, Funding) else None
        self.venue.apply(self.record.add(event, mark))
        self.flush()

    def watch(self, observer: Observer) -> None:
        """Let somebody look at requests, answers and user events as they pass."""
        self._gateway.observer = observer

    async def drained(self, timeout_secs: float) -> bool:
        """Wait until clients were sent everything; False when that takes longer."""
        return await self.hub.drained(timeout_secs)

    def flush(self) -> None:
        """Publish what the venue has to tell."""
        traded: dict[str, int] = {}
        for event in self.venue.drain():
            self._tell(event)
            if isinstance(event, self._dialect.fills) and event.trade is not None:
                traded[event.order.symbol] = event.ts_ms
        for symbol, ts_ms in traded.items():
            self._market.book(symbol, ts_ms)

    # -- what a fault script or an operator does ----------------------------------------------------------

    async def close_sockets(
        self, kind: str | None = None, *, code: int = _GOING_AWAY, abrupt: bool = False
    ) -> int:
        """Close the sockets of a kind (market, user, trading; None: all), with or without a close frame."""
        chosen = [socket for socket in self.hub.sockets if kind in {None, socket.kind}]
        for socket in chosen:
            if abrupt:
                socket.abort()
        if not abrupt:
            await asyncio.gather(*(_closed(socket, code) for socket in chosen))
        return len(chosen)

    async def set_down(self, down: bool) -> None:
        """Make the venue unreachable, every connection cut, or reachable again."""
        self._gateway.down = down
        if down:
            self._gateway.forget_later()
            await self.close_sockets(abrupt=True)

    def expire_listen_key(self, account: str = "main", *, notify: bool = True) -> None:
        """Let an account's listen key expire now, told to its sockets or not; on spot its subscriptions."""
        if not self._dialect.listen_keys:
            self._end_subscriptions(account, notify)
            return
        key = self.desk.listen_keys.close(account)
        if key is not None:
            self._end_user_stream(account, key, notify)

    # -- inside -------------------------------------------------------------------------------------------

    def _tell(self, event: Any) -> None:
        if not isinstance(event, self._dialect.user_events):
            self._market.tell(event)
            return
        self._gateway.observer.on_event(event)
        for message in self._dialect.messages(event):
            self.hub.publish_user(event.account, message)
        self._market.tell_all(event)

    def _end_subscriptions(self, account: str, notify: bool) -> None:
        if notify:
            self.hub.publish_user(account, self._dialect.stream_end("", self.clock.now_ms()))
        for socket in self.hub.sockets:
            socket.accounts.pop(account, None)

    def _end_user_stream(self, account: str, key: str, notify: bool) -> None:
        if notify:
            self.hub.publish_user(account, self._dialect.stream_end(key, self.clock.now_ms()))
        for socket in self.hub.sockets:
            if socket.accounts.get(account) == key:
                del socket.accounts[account]

    async def _tick(self) -> None:
        """What time alone brings about: expiries and dead-man's switches."""
        while True:
            await asyncio.sleep(TICK_SECS)
            self.venue.set_time(self.clock.now_ms())
            now_ms = self.clock.request_ms()
            for account, key in self.desk.listen_keys.expired(now_ms):
                self._end_user_stream(account, key, notify=True)
            due = [key for key, at_ms in self.desk.countdowns.items() if at_ms <= now_ms]
            for account, symbol in due:
                del self.desk.countdowns[account, symbol]
                self.venue.cancel_all(account, symbol)
            self.flush()


class ServerThread:
    """A server on a thread with its own event loop, as a context manager; `call` runs a function there."""

    def __init__(self, server: RehearsalServer[Any]) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rehearsal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait(self.server.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait(self.server.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_SECS)
            self._loop.close()

    def call[T](self, function: Callable[[], T], timeout_secs: float = 10.0) -> T:
        """The result of a function run on the server's loop."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout_secs)

    def wait[T](self, coroutine: Coroutine[Any, Any, T], timeout_secs: float = 10.0) -> T:
        """The result of a coroutine run on the server's loop."""
        return self.submit(coroutine).result(timeout_secs)

    def submit[T](self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def feed(self, events: Iterable[MarketEvent]) -> None:
        """Move the market."""

        def run() -> None:
            for event in events:
                self.server.feed(event)

        self.call(run)


async def _closed(socket: Socket, code: int) -> None:
    try:
        await asyncio.wait_for(socket.ws.close(code=code), 1.0)
    except (TimeoutError, ConnectionError):
        socket.abort()
