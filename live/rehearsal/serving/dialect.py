"""What a market says in its own way: endpoints, limits, methods, streams, events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from live.rehearsal.serving.auth import Keyring
from live.rehearsal.serving.desk import Desk, Endpoint
from live.rehearsal.serving.feed import MarketFeed
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.router import Call
from live.rehearsal.serving.sockets import Hub, Socket
from live.rehearsal.serving.ws_api import TradingApi

__all__ = ["Dialect", "Encoded", "as_json"]

Encoded = tuple[bytes, str] | None


def as_json(call: Call, status: int, body: Any) -> Encoded:
    """No encoding of its own: the answer is sent as JSON."""
    del call, status, body
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A market's protocol.

    `messages` makes the messages of an event that is one of `user_events`; `fills` is the kind that may carry
    a fill. `listen_keys` is whether user data come over listen keys, not over the WebSocket API; `stream_end`
    is the last message of such a stream, of its key and the time. `encoded` is body and content type of an
    answer that is not sent as JSON, None for one that is.
    """

    name: str
    endpoints: Mapping[tuple[str, str], Endpoint]
    api_path: str
    limits: Limits
    listen_keys: bool
    stream_end: Callable[[str, int], dict[str, Any]]
    user_events: tuple[type[Any], ...]
    fills: type[Any]
    messages: Callable[[Any], list[dict[str, Any]]]
    feed: Callable[[Desk[Any], Hub], MarketFeed]
    api: Callable[[Desk[Any], Keyring, str, Socket], TradingApi]
    encoded: Callable[[Call, int, Any], Encoded] = as_json
