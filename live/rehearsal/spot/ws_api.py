"""The spot WebSocket API: the REST handlers behind method names, and the user data over the same connection.

After `session.logon` (Ed25519) `userDataStream.subscribe` sends the account's events on the connection, each
as `{"subscriptionId", "event"}`; `userDataStream.subscribe.signature` does so for any key that signs.
Source: Binance's spot web-socket-api.md.
"""

from collections.abc import Mapping
from typing import Any

from live.rehearsal.errors import VenueError
from live.rehearsal.serving.auth import Keyring, json_text
from live.rehearsal.serving.desk import Desk, Endpoint, Json, Security
from live.rehearsal.serving.market_data import ping, server_time
from live.rehearsal.serving.sockets import Socket, to_text
from live.rehearsal.serving.wire import Params
from live.rehearsal.serving.ws_api import TradingApi
from live.rehearsal.spot import rest, rest_account, rest_orders
from live.rehearsal.spot.wire_events import stream_terminated

__all__ = ["SPOT_METHODS", "SpotApi"]

_OPEN, _READ, _TRADE = Security.NONE, Security.READ, Security.TRADE
_REST_OF = {
    "depth": "/api/v3/depth",
    "trades.recent": "/api/v3/trades",
    "trades.aggregate": "/api/v3/aggTrades",
    "klines": "/api/v3/klines",
    "uiKlines": "/api/v3/uiKlines",
    "avgPrice": "/api/v3/avgPrice",
    "ticker.24hr": "/api/v3/ticker/24hr",
    "ticker.price": "/api/v3/ticker/price",
    "ticker.book": "/api/v3/ticker/bookTicker",
    "exchangeInfo": "/api/v3/exchangeInfo",
    "account.status": "/api/v3/account",
    "account.commission": "/api/v3/account/commission",
    "account.rateLimits.orders": "/api/v3/rateLimit/order",
    "myTrades": "/api/v3/myTrades",
}
_BY_PATH = {endpoint.path: endpoint for endpoint in (*rest.MARKET_ENDPOINTS, *rest_account.ACCOUNT_ENDPOINTS)}


def _open_weight(params: Mapping[str, str]) -> int:
    return 6 if params.get("symbol") else 80


SPOT_METHODS: dict[str, Endpoint] = {
    name: _BY_PATH[path]._replace(method="WS", path=name) for name, path in _REST_OF.items()
} | {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint("WS", "ping", _OPEN, ping),
        Endpoint("WS", "time", _OPEN, server_time),
        Endpoint("WS", "order.place", _TRADE, rest_orders.place_order, 1, 1),
        Endpoint("WS", "order.test", _TRADE, rest_orders.test_order),
        Endpoint("WS", "order.status", _READ, rest_orders.query_order, 4),
        Endpoint("WS", "order.cancel", _TRADE, rest_orders.cancel_order),
        Endpoint("WS", "order.cancelReplace", _TRADE, rest_orders.replace_order, 1, 1),
        Endpoint("WS", "openOrders.status", _READ, rest_orders.open_orders, _open_weight),
        Endpoint("WS", "openOrders.cancelAll", _TRADE, rest_orders.cancel_all),
        Endpoint("WS", "allOrders", _READ, rest_orders.all_orders, 20),
        Endpoint("WS", "orderList.place.oco", _TRADE, rest_orders.place_oco, 1, 2),
        Endpoint("WS", "orderList.cancel", _TRADE, rest_orders.cancel_list),
        Endpoint("WS", "orderList.status", _READ, rest_orders.query_list, 4),
        Endpoint("WS", "openOrderLists.status", _READ, rest_orders.open_lists, 6),
        Endpoint("WS", "allOrderLists", _READ, rest_orders.all_lists, 20),
    )
}
_SUBSCRIBE, _BY_SIGNATURE = "userDataStream.subscribe", "userDataStream.subscribe.signature"
_UNSUBSCRIBE, _LISTED = "userDataStream.unsubscribe", "session.subscriptions"


class SpotApi(TradingApi):
    """One connection of the spot WebSocket API; `socket` is where its accounts' events go."""

    session_methods = TradingApi.session_methods | {_SUBSCRIBE, _BY_SIGNATURE, _UNSUBSCRIBE, _LISTED}

    def __init__(self, desk: Desk[Any], keyring: Keyring, address: str, socket: Socket) -> None:
        super().__init__(desk, keyring, address, SPOT_METHODS)
        self._socket = socket
        self._given = 0
        self._logged_on: str | None = None

    def _change_session(self, method: str, raw: Mapping[str, Any], now_ms: int) -> Json:
        match method:
            case "userDataStream.subscribe":
                if self._session is None:
                    raise VenueError(-1002, "You are not authorized to execute this request.", 401)
                self._logged_on = self._session.key.account
                return self._subscribed(self._logged_on)
            case "userDataStream.subscribe.signature":
                key = self._keyring.find(json_text(raw.get("apiKey", "")))
                self._check_signature(key, raw, now_ms)
                return self._subscribed(key.account)
            case "userDataStream.unsubscribe":
                return self._unsubscribed(raw)
            case "session.subscriptions":
                return [{"subscriptionId": int(number)} for number in self._socket.accounts.values()]
        if method == "session.logout" and self._logged_on is not None:
            self._end(self._logged_on)
            self._logged_on = None
        answer = super()._change_session(method, raw, now_ms)
        return answer | {"returnRateLimits": False, "userDataStream": bool(self._socket.accounts)}

    def _subscribed(self, account: str) -> Json:
        if account in self._socket.accounts:
            raise VenueError(-2035, "User Data Stream subscription already active.")
        number, self._given = self._given, self._given + 1
        self._socket.accounts[account] = str(number)
        return {"subscriptionId": number}

    def _unsubscribed(self, raw: Mapping[str, Any]) -> Json:
        params = Params({name: json_text(value) for name, value in raw.items()})
        asked = params.integer("subscriptionId")
        wanted = [a for a, number in self._socket.accounts.items() if asked in {None, int(number)}]
        if not wanted:
            raise VenueError(-2036, "User Data Stream subscription not active.")
        for account in wanted:
            self._end(account)
        return {}

    def _end(self, account: str) -> None:
        number = self._socket.accounts.pop(account, None)
        if number is not None:
            event = stream_terminated(self._desk.clock.now_ms())
            self._socket.put(to_text({"subscriptionId": int(number), "event": event}))
