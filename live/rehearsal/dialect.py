"""What the server says differently on spot and on USD-M futures: endpoints, methods, streams, events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from live.rehearsal import rest, wire_events
from live.rehearsal.auth import Keyring
from live.rehearsal.desk import Desk, Endpoint
from live.rehearsal.events import (
    AccountConfigUpdate,
    AccountUpdate,
    AlgoUpdate,
    MarginCall,
    OrderUpdate,
)
from live.rehearsal.limits import Limits
from live.rehearsal.ports import Exchange
from live.rehearsal.rest import Call
from live.rehearsal.spot import sbe
from live.rehearsal.spot.events import BalanceUpdate, ExecutionReport, ListStatus, Position
from live.rehearsal.spot.rest import MARKET_ENDPOINTS
from live.rehearsal.spot.rest_account import ACCOUNT_ENDPOINTS
from live.rehearsal.spot.rest_orders import ORDER_ENDPOINTS
from live.rehearsal.spot.streams import SpotFeed
from live.rehearsal.spot.venue import SpotVenue
from live.rehearsal.spot.wire_events import spot_messages
from live.rehearsal.spot.ws_api import SpotApi
from live.rehearsal.streams import Hub, MarketFeed, Socket
from live.rehearsal.ws_api import TradingApi

__all__ = ["SPOT", "USD_M", "Dialect", "dialect_of"]

_Encoded = tuple[bytes, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A market's protocol.

    `listen_keys` is whether user data come over listen keys; on spot they come over the WebSocket API.
    `messages` makes the messages of an event that is one of `user_events`; `encoded` is body and content type
    of an answer that is not sent as JSON, None for one that is.
    """

    name: str
    endpoints: Mapping[tuple[str, str], Endpoint]
    api_path: str
    limits: Limits
    listen_keys: bool
    user_events: tuple[type[Any], ...]
    messages: Callable[[Any], list[dict[str, Any]]]
    feed: Callable[[Desk[Any], Hub], MarketFeed]
    api: Callable[[Desk[Any], Keyring, str, Socket], TradingApi]
    encoded: Callable[[Call, int, Any], _Encoded]


def _as_json(call: Call, status: int, body: Any) -> _Encoded:
    del call, status, body
    return None


def _as_sbe(call: Call, status: int, body: Any) -> _Encoded:
    """In SBE when the request asks for it and there is an encoding of the answer."""
    if not sbe.wanted(call.headers):
        return None
    encoded = sbe.answer(call.path, call.method, body, status)
    return None if encoded is None else (encoded, sbe.CONTENT_TYPE)


def _trading_api(desk: Desk[Any], keyring: Keyring, address: str, socket: Socket) -> TradingApi:
    del socket
    return TradingApi(desk, keyring, address)


USD_M = Dialect(
    name="um",
    endpoints=rest.ENDPOINTS,
    api_path="/ws-fapi/v1",
    limits=Limits(),
    listen_keys=True,
    user_events=(OrderUpdate, AlgoUpdate, AccountUpdate, MarginCall, AccountConfigUpdate),
    messages=wire_events.user_messages,
    feed=MarketFeed,
    api=_trading_api,
    encoded=_as_json,
)
SPOT = Dialect(
    name="spot",
    endpoints={(e.method, e.path): e for e in (*MARKET_ENDPOINTS, *ACCOUNT_ENDPOINTS, *ORDER_ENDPOINTS)},
    api_path="/ws-api/v3",
    limits=Limits(weight_a_minute=6_000, orders_in_ten_seconds=100, orders_a_day=200_000),
    listen_keys=False,
    user_events=(ExecutionReport, ListStatus, Position, BalanceUpdate),
    messages=spot_messages,
    feed=SpotFeed,
    api=SpotApi,
    encoded=_as_sbe,
)


def dialect_of(venue: Exchange) -> Dialect:
    """The protocol that a venue speaks."""
    return SPOT if isinstance(venue, SpotVenue) else USD_M
