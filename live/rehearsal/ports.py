"""What the server needs from outside: a clock, a fault box that may spoil requests and messages, an observer.

The defaults do nothing: wall time, no faults, nobody who looks.
"""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from live.rehearsal.book import Market, MarketEvent
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "Clock",
    "ConnectFault",
    "Delivery",
    "Exchange",
    "FaultBox",
    "NoFaults",
    "NoObserver",
    "Observer",
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

    def on_silence(self, stream: str) -> None:
        """Nobody hears a stream any more: who connects next is told nothing that was held back before."""

    def on_connect(self, kind: str) -> ConnectFault | None:
        """The fault of a WebSocket handshake; `kind` is market, user or trading."""


class Exchange(Protocol):
    """What server and session need of a venue, whatever its market: time, rules, market, outbox, memory."""

    @property
    def now_ms(self) -> int:
        """The venue's time."""

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """The rules by symbol."""

    def market(self, symbol: str) -> Market:
        """A symbol's market state."""

    def set_time(self, now_ms: int) -> None:
        """Move the clock on."""

    def apply(self, event: MarketEvent) -> None:
        """Take in a market event."""

    def drain(self) -> Sequence[Any]:
        """What happened since the last call, in order."""

    def replace_spec(self, spec: SymbolSpec) -> None:
        """Change a symbol's rules in flight."""

    def set_fill_slices(self, count: int) -> None:
        """Cut every fill into up to `count` fills."""

    def cancel_all(self, account: str, symbol: str) -> Sequence[Any]:
        """Cancel a symbol's open orders."""

    def transfer(self, account: str, asset: str, amount: Decimal) -> None:
        """Deposit, or withdraw a negative amount."""

    def snapshot(self) -> dict[str, Any]:
        """What the venue remembers, as JSON values."""

    def restore(self, values: Mapping[str, Any]) -> None:
        """Remember a snapshot instead."""


class Clock(Protocol):
    """The venue's two times, in milliseconds."""

    def now_ms(self) -> int:
        """Market time: stamps events and orders."""

    def request_ms(self) -> int:
        """The server's own time: answers /time, checks timestamps and counts limits. It follows the client's
        wall clock, but for skew, however fast the market is replayed."""


class Observer(Protocol):
    """Is told of everything that passes, on the server's loop, before anything goes on."""

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> None:
        """A request has come in; nothing has been done with it, and no fault has been asked."""

    def on_answer(
        self, method: str, path: str, params: Mapping[str, str], status: int, body: Any, *, faulted: bool
    ) -> None:
        """A request has taken effect or was refused; nothing of it has been sent.

        `body` is the answer as JSON. `faulted`: the client may be told something else, late, or nothing.
        """

    def on_event(self, event: Any) -> None:
        """A user event (`live.rehearsal.futures.events`) is about to be sent."""


class NoObserver:
    """Looks away."""

    def on_request(self, method: str, path: str, params: Mapping[str, str]) -> None:
        """Nothing."""

    def on_answer(
        self, method: str, path: str, params: Mapping[str, str], status: int, body: Any, *, faulted: bool
    ) -> None:
        """Nothing."""

    def on_event(self, event: Any) -> None:
        """Nothing."""


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

    def on_silence(self, stream: str) -> None:
        """Nothing was held back."""

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
