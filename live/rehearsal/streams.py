"""Sockets, what they are subscribed to, and the market's and the accounts' events on their way out.

Every socket has a bounded queue and one writer, so messages keep their order and a slow client is cut off
instead of slowing the others. A message is made only when somebody is subscribed, and serialised once.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from live.rehearsal.book import Depth, Kline, Level, MarketEvent, MarkPrice, Quote, Trade
from live.rehearsal.desk import Desk
from live.rehearsal.orders import Order
from live.rehearsal.ports import FaultBox
from live.rehearsal.record import INTERVALS_MS, BookChange
from live.rehearsal.wire import plain
from live.rehearsal.wire_market import (
    agg_trade_event,
    book_ticker_event,
    depth_event,
    kline_event,
    mark_price_event,
    ticker_event,
    ticker_row,
    trade_event,
)

__all__ = ["Hub", "MarketFeed", "Socket", "to_text"]

QUEUE_LIMIT = 100_000
_COMMANDS_A_SECOND = 10
_MOST_STREAMS = 1_024
_SPEEDS = ("", "@0ms", "@100ms", "@250ms", "@500ms")
_PARTIAL_DEPTHS = (5, 10, 20)
_DAY_OF_MINUTES = 1_440


def to_text(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"))


class Socket:
    """One WebSocket connection: `kind` is market, user or trading, `accounts` whose events it hears."""

    def __init__(self, ws: web.WebSocketResponse, request: web.Request, kind: str, *, combined: bool) -> None:
        self.ws = ws
        self.kind = kind
        self.combined = combined
        self.streams: dict[str, None] = {}
        self.accounts: dict[str, str] = {}
        self.idle = True
        self.followed = asyncio.Event()
        self._transport = request.transport
        self._queue: asyncio.Queue[str] = asyncio.Queue(QUEUE_LIMIT)
        self._commands: deque[float] = deque(maxlen=_COMMANDS_A_SECOND)

    def put(self, text: str) -> None:
        """Queue a message; a client that has fallen too far behind is cut off."""
        try:
            self._queue.put_nowait(text)
            self.idle = False
        except asyncio.QueueFull:
            self.abort()

    async def write(self) -> None:
        """Send what is queued until the socket is closed."""
        while not self.ws.closed:
            text = await self._queue.get()
            try:
                await self.ws.send_str(text)
            except ConnectionError:
                return
            self.idle = self._queue.empty()

    async def follow(self) -> None:
        """Wait until the client has read what was sent: it answers a ping behind it."""
        self.followed.clear()
        with suppress(ConnectionError):
            await self.ws.ping()
            await self.followed.wait()

    def too_fast(self, now: float) -> bool:
        """Whether the client sends more commands a second than the venue allows."""
        full = len(self._commands) == _COMMANDS_A_SECOND
        fast = full and now - self._commands[0] < 1
        self._commands.append(now)
        return fast

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        if self._transport is not None:
            self._transport.abort()


class Hub:
    """All sockets and their subscriptions."""

    def __init__(self, faults: FaultBox) -> None:
        self.faults = faults
        self.sockets: dict[Socket, None] = {}
        self._subscribers: dict[str, dict[Socket, None]] = {}

    def add(self, socket: Socket) -> None:
        """Take in a connected socket."""
        self.sockets[socket] = None

    def remove(self, socket: Socket) -> None:
        """Forget a closed one with its subscriptions."""
        self.unsubscribe(socket, list(socket.streams))
        self.sockets.pop(socket, None)

    def subscribe(self, socket: Socket, names: Iterable[str]) -> bool:
        """Add subscriptions; False when a connection would have too many."""
        wanted = socket.streams | dict.fromkeys(names)
        if len(wanted) > _MOST_STREAMS:
            return False
        socket.streams = wanted
        for name in wanted:
            self._subscribers.setdefault(name, {})[socket] = None
        return True

    def unsubscribe(self, socket: Socket, names: Iterable[str]) -> None:
        """End subscriptions; names without one are overlooked."""
        for name in names:
            socket.streams.pop(name, None)
            listeners = self._subscribers.get(name, {})
            listeners.pop(socket, None)
            if not listeners:
                self._subscribers.pop(name, None)

    def wanted(self, name: str) -> bool:
        """Whether anybody is subscribed to a stream."""
        return name in self._subscribers

    def publish(self, name: str, event: Any) -> None:
        """Send a market message to those subscribed to its stream."""
        listeners = self._subscribers.get(name)
        if listeners:
            shared: dict[bool, str] = {}
            for socket in listeners:
                self._send(socket, name, name, event, shared)

    def publish_user(self, account: str, event: Any) -> None:
        """Send an account's event to its user-data sockets."""
        for socket in self.sockets:
            listen_key = socket.accounts.get(account)
            if listen_key is not None:
                self._send(socket, "user", listen_key, event, {})

    async def drained(self, timeout_secs: float) -> bool:
        """Wait until everything queued was sent; False when that takes longer than the timeout."""
        deadline = asyncio.get_running_loop().time() + timeout_secs
        while any(not socket.idle for socket in self.sockets):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0)
        return True

    async def followed(self, timeout_secs: float) -> bool:
        """Wait until every client has read everything that was sent; False when that takes longer."""
        if not await self.drained(timeout_secs):
            return False
        waits = [asyncio.create_task(socket.follow()) for socket in self.sockets if not socket.ws.closed]
        if not waits:
            return True
        _, late = await asyncio.wait(waits, timeout=timeout_secs)
        for wait in late:
            wait.cancel()
        return not late

    def _send(self, socket: Socket, fault_name: str, name: str, event: Any, shared: dict[bool, str]) -> None:
        for delivery in self.faults.on_message(fault_name, event):
            if delivery.event is event:
                text = shared.get(socket.combined) or shared.setdefault(
                    socket.combined, _framed(socket, name, event)
                )
            else:
                text = _framed(socket, name, delivery.event)
            if delivery.delay_ms:
                asyncio.get_running_loop().call_later(delivery.delay_ms / 1000, socket.put, text)
            else:
                socket.put(text)


def _framed(socket: Socket, name: str, event: Any) -> str:
    if socket.kind == "trading":  # spot's user data come over the WebSocket API, named by subscription
        return to_text({"subscriptionId": int(name), "event": event})
    return to_text({"stream": name, "data": event} if socket.combined else event)


class MarketFeed:
    """Turns market events into stream messages, only those that somebody wants."""

    def __init__(self, desk: Desk[Any], hub: Hub) -> None:
        self._desk = desk
        self._hub = hub

    def tell(self, event: MarketEvent) -> None:
        """Publish what an event means to the streams."""
        name = event.symbol.lower()
        if isinstance(event, Quote | Depth):
            self.book(event.symbol, event.ts_ms)
        elif isinstance(event, Trade):
            self._trade(name, event)
        elif isinstance(event, MarkPrice):
            self._mark(name, event)
        elif isinstance(event, Kline):
            self._kline(name, event)

    def book(self, symbol: str, ts_ms: int) -> None:
        """Publish the book if it is not as it was published last."""
        market, spec = self._desk.venue.market(symbol), self._desk.spec(symbol)
        change = self._desk.record.change(symbol, market.bids, market.asks)
        if change is None:
            return
        hub, name = self._hub, symbol.lower()
        for ticker in (f"{name}@bookTicker", "!bookTicker"):
            if hub.wanted(ticker):
                hub.publish(ticker, book_ticker_event(spec, market, change.last_id, ts_ms))
        for speed in _SPEEDS:
            self._publish_depth(f"{name}@depth{speed}", change, symbol, ts_ms)
            for levels in _PARTIAL_DEPTHS:
                if hub.wanted(f"{name}@depth{levels}{speed}"):
                    best = change._replace(bids=_best(market.bids, levels), asks=_best(market.asks, levels))
                    self._publish_depth(f"{name}@depth{levels}{speed}", best, symbol, ts_ms)

    def liquidation(self, order: Order, ts_ms: int) -> None:
        """Publish a liquidation order's fill."""
        message = _force_order(order, ts_ms)
        for name in (f"{order.symbol.lower()}@forceOrder", "!forceOrder@arr"):
            self._hub.publish(name, message)

    def _offer(self, stream: str, make: Callable[[], Any]) -> None:
        """Publish a message that is made only when somebody wants it."""
        if self._hub.wanted(stream):
            self._hub.publish(stream, make())

    def _publish_depth(self, name: str, change: BookChange, symbol: str, ts_ms: int) -> None:
        if self._hub.wanted(name):
            self._hub.publish(name, depth_event(self._desk.spec(symbol), change, ts_ms))

    def _trade(self, name: str, event: Trade) -> None:
        spec = self._desk.spec(event.symbol)
        if self._hub.wanted(f"{name}@aggTrade"):
            self._hub.publish(f"{name}@aggTrade", agg_trade_event(event, spec))
        if self._hub.wanted(f"{name}@trade"):
            self._hub.publish(f"{name}@trade", trade_event(event, spec))

    def _mark(self, name: str, event: MarkPrice) -> None:
        message = mark_price_event(event)
        for speed in ("", "@1s", "@3s"):
            self._hub.publish(f"{name}@markPrice{speed}", message)
            self._hub.publish(f"!markPrice@arr{speed}", [message])

    def _kline(self, name: str, event: Kline) -> None:
        spec, record = self._desk.spec(event.symbol), self._desk.record
        last_id = record[event.symbol].trade_id
        for interval in INTERVALS_MS if event.interval == "1m" else (event.interval,):
            stream = f"{name}@kline_{interval}"
            if self._hub.wanted(stream):
                grown = event if interval == event.interval else record.grown(event, interval)
                self._hub.publish(stream, kline_event(grown, spec, last_id))
        if event.closed and self._hub.wanted(f"{name}@ticker"):
            self._ticker(f"{name}@ticker", event)

    def _ticker(self, stream: str, event: Kline) -> None:
        symbol = self._desk.record[event.symbol]
        day = list(symbol.klines)[-_DAY_OF_MINUTES:]
        row = ticker_row(self._desk.spec(event.symbol), day, symbol.trades[-1] if symbol.trades else None)
        self._hub.publish(stream, ticker_event(row, event.ts_ms))


def stream_names(path_tail: str, query: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The streams named by a connection's address: /ws/NAME, /ws/NAME/NAME, ?streams=NAME/NAME.

    >>> list(stream_names("a@trade", [("streams", "b@trade/c@trade")]))
    ['a@trade', 'b@trade', 'c@trade']
    """
    yield from (name for name in path_tail.split("/") if name)
    for key, value in query:
        if key == "streams":
            yield from (name for name in value.split("/") if name)


def _best(side: list[Level], levels: int) -> tuple[Level, ...]:
    return tuple(side[:levels])


def _force_order(order: Order, ts_ms: int) -> dict[str, Any]:
    return {
        "e": "forceOrder",
        "E": ts_ms,
        "o": {
            "s": order.symbol,
            "S": order.side,
            "o": order.type,
            "f": order.time_in_force,
            "q": plain(order.quantity),
            "p": plain(order.price),
            "ap": plain(order.average_price),
            "X": order.status,
            "l": plain(order.executed),
            "z": plain(order.executed),
            "T": ts_ms,
        },
    }
