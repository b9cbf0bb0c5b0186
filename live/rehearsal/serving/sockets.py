"""Sockets, and what they are subscribed to.

Every socket has a bounded queue and one writer, so messages keep their order and a slow client is cut off
instead of slowing the others. A message is serialised once.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from aiohttp import web

from live.rehearsal.ports import FaultBox

__all__ = ["Hub", "Socket", "stream_names", "to_text"]

QUEUE_LIMIT = 100_000
_COMMANDS_A_SECOND = 10
_MOST_STREAMS = 1_024


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
        if socket.accounts and not any(other.accounts for other in self.sockets):
            self.faults.on_silence("user")

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
                self.faults.on_silence(name)

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


def stream_names(path_tail: str, query: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The streams named by a connection's address: /ws/NAME, /ws/NAME/NAME, ?streams=NAME/NAME.

    >>> list(stream_names("a@trade", [("streams", "b@trade/c@trade")]))
    ['a@trade', 'b@trade', 'c@trade']
    """
    yield from (name for name in path_tail.split("/") if name)
    for key, value in query:
        if key == "streams":
            yield from (name for name in value.split("/") if name)
