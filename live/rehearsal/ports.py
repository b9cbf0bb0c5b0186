"""What the server needs from outside: a clock, and a fault box that may spoil requests and messages.

The defaults do nothing: wall time and no faults.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

__all__ = [
    "Clock",
    "ConnectFault",
    "Delivery",
    "FaultBox",
    "NoFaults",
    "RequestFault",
    "WallClock",
]

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class RequestFault(NamedTuple):
    """What goes wrong with one request.

    `effect` says when the request is carried out: now, never, or later (after `later_ms`, unanswered until
    then is up to `answer`). `answer` is the real one, a canned one (`status`, `body`, `headers`), none as
    the connection is cut (drop), or none while the connection stays open (hang). `delay_ms` passes before the
    request is looked at, `answer_delay_ms` between its effect and its answer.
    """

    effect: Literal["now", "never", "later"] = "now"
    answer: Literal["real", "canned", "drop", "hang"] = "real"
    delay_ms: int = 0
    answer_delay_ms: int = 0
    later_ms: int = 0
    status: int = 500
    body: str = ""
    headers: Mapping[str, str] = _NO_HEADERS


class ConnectFault(NamedTuple):
    """A WebSocket handshake that is refused with `status`, or that hangs."""

    answer: Literal["refuse", "hang"] = "refuse"
    status: int = 503


class Delivery(NamedTuple):
    """One message that is sent, after `delay_ms`."""

    event: Any
    delay_ms: int = 0


class FaultBox(Protocol):
    """Decides what goes wrong. Each call is made once per request, message and socket, or connection."""

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> RequestFault | None:
        """The fault of a request; `method` is GET, POST, PUT, DELETE, or WS with the API method as `path`."""

    def on_message(self, stream: str, event: Any) -> list[Delivery]:
        """What is sent in place of `event`: nothing, itself, copies, or others held back before.

        `stream` is a market stream's name, or `user` for the user-data stream.
        """

    def on_connect(self, kind: str) -> ConnectFault | None:
        """The fault of a WebSocket handshake; `kind` is market, user or trading."""


class Clock(Protocol):
    """The venue's two times, in milliseconds."""

    def now_ms(self) -> int:
        """Market time: stamps events and orders."""

    def request_ms(self) -> int:
        """The server's own time: answers /time, checks timestamps and counts limits. It follows the client's
        wall clock, but for skew, however fast the market is replayed."""


class NoFaults:
    """Everything arrives once, in order, at once."""

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> RequestFault | None:
        """No fault."""
        del method, path, params
        return None

    def on_message(self, stream: str, event: Any) -> list[Delivery]:
        """The message itself."""
        del stream
        return [Delivery(event)]

    def on_connect(self, kind: str) -> ConnectFault | None:
        """No fault."""
        del kind
        return None


class WallClock:
    """Market time and server time are the wall clock."""

    def now_ms(self) -> int:
        """Wall time."""
        return time.time_ns() // 1_000_000

    def request_ms(self) -> int:
        """Wall time."""
        return time.time_ns() // 1_000_000
