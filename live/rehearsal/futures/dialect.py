"""The protocol of USD-M futures."""

from typing import Any

from live.rehearsal.futures import rest_account, rest_market, rest_orders
from live.rehearsal.futures.events import (
    AccountConfigUpdate,
    AccountUpdate,
    AlgoUpdate,
    MarginCall,
    OrderUpdate,
)
from live.rehearsal.futures.streams import FuturesFeed
from live.rehearsal.futures.wire_events import listen_key_expired, user_messages
from live.rehearsal.futures.ws_api import METHODS
from live.rehearsal.serving.auth import Keyring
from live.rehearsal.serving.desk import Desk
from live.rehearsal.serving.dialect import Dialect
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.sockets import Socket
from live.rehearsal.serving.ws_api import TradingApi

__all__ = ["USD_M"]


def _api(desk: Desk[Any], keyring: Keyring, address: str, socket: Socket) -> TradingApi:
    del socket
    return TradingApi(desk, keyring, address, METHODS)


USD_M = Dialect(
    name="um",
    endpoints={
        (endpoint.method, endpoint.path): endpoint
        for group in (rest_market.ENDPOINTS, rest_account.ENDPOINTS, rest_orders.ENDPOINTS)
        for endpoint in group
    },
    api_path="/ws-fapi/v1",
    limits=Limits(),
    listen_keys=True,
    stream_end=listen_key_expired,
    user_events=(OrderUpdate, AlgoUpdate, AccountUpdate, MarginCall, AccountConfigUpdate),
    fills=OrderUpdate,
    messages=user_messages,
    feed=FuturesFeed,
    api=_api,
)
