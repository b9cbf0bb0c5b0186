"""The WebSocket trading API: the REST handlers behind method names, signatures over sorted parameters.

A request is `{"id", "method", "params"}`, an answer `{"id", "status", "result" or "error", "rateLimits"}`.
`session.logon` needs an Ed25519 key; after it requests need neither key nor signature.
Source: Binance's WebSocket API general information.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.serving.auth import ApiKey, Keyring, check_time, json_text, signed_text
from live.rehearsal.serving.desk import Desk, Endpoint, Json, Security
from live.rehearsal.serving.router import weight_of
from live.rehearsal.serving.wire import Params

__all__ = ["Session", "TradingApi"]


class Session(NamedTuple):
    """Who a connection is logged on as, and since when (server time)."""

    key: ApiKey
    since_ms: int


class TradingApi:
    """One connection of the WebSocket API."""

    session_methods: frozenset[str] = frozenset({"session.logon", "session.status", "session.logout"})

    def __init__(
        self,
        desk: Desk[Any],
        keyring: Keyring,
        address: str,
        methods: Mapping[str, Endpoint],
    ) -> None:
        self._desk = desk
        self._keyring = keyring
        self._address = address
        self._methods = methods
        self._session: Session | None = None
        self._connected_ms = desk.clock.request_ms()

    def answer(self, request: Any) -> dict[str, Any]:
        """The answer to a decoded request."""
        fields = request if isinstance(request, dict) else {}
        number, method, raw = fields.get("id"), fields.get("method"), fields.get("params") or {}
        try:
            if not isinstance(method, str) or not isinstance(raw, dict):
                raise refuse(-1102, "method")
            result, account = self._run(method, raw)
        except VenueError as error:
            return self.refusal(number, error, self._named(raw))
        return {"id": number, "status": 200, "result": result, "rateLimits": self._counts(account)}

    def refusal(self, number: Any, error: VenueError, account: str | None = None) -> dict[str, Any]:
        """The answer that says no."""
        body: dict[str, Any] = {"code": error.code, "msg": error.message}
        if error.data is not None:
            body["data"] = error.data
        if error.http_status in {418, 429}:
            now_ms = self._desk.clock.request_ms()
            wait = self._desk.limiter.retry_after_secs(self._address, account, now_ms)
            body["data"] = {"serverTime": now_ms, "retryAfter": now_ms + 1000 * wait}
        return {"id": number, "status": error.http_status, "error": body, "rateLimits": self._counts(account)}

    def _run(self, method: str, raw: dict[str, Any]) -> tuple[Json, str | None]:
        now_ms = self._desk.clock.request_ms()
        if method in self.session_methods:
            self._desk.limiter.spend(self._address, 2, now_ms)
            return self._change_session(method, raw, now_ms), None
        endpoint = self._methods.get(method)
        if endpoint is None:
            raise refuse(-1020)
        values = {name: json_text(value) for name, value in raw.items() if value is not None}
        values.pop("returnRateLimits", None)
        self._desk.limiter.spend(self._address, weight_of(endpoint.weight, values), now_ms)
        account = self._admit(endpoint, raw, now_ms)
        orders = weight_of(endpoint.orders, values)
        if orders:
            self._desk.limiter.count_orders(account, orders, now_ms)
        return self._desk.run(endpoint.handler, account, values), account if orders else None

    def _admit(self, endpoint: Endpoint, raw: Mapping[str, Any], now_ms: int) -> str:
        if endpoint.security is Security.NONE:
            return ""
        if self._session is not None and "apiKey" not in raw:
            key = self._session.key
            if endpoint.security is not Security.KEY:
                _check_time(raw, now_ms)
        else:
            key = self._keyring.find(_word(raw, "apiKey"))
            if endpoint.security is not Security.KEY:
                self._check_signature(key, raw, now_ms)
        if endpoint.security is Security.TRADE and not key.may_trade:
            raise refuse(-2015)
        return key.account

    def _check_signature(self, key: ApiKey, raw: Mapping[str, Any], now_ms: int) -> None:
        """Clients sign the sorted parameters plain or percent-encoded: either will do."""
        _check_time(raw, now_ms)
        signature = _word(raw, "signature")
        if not signature:
            raise refuse(-1102, "signature")
        text, encoded = signed_text(raw)
        try:
            self._keyring.verify(key, text, signature)
        except VenueError:
            self._keyring.verify(key, encoded, signature)

    def _change_session(self, method: str, raw: Mapping[str, Any], now_ms: int) -> Json:
        if method == "session.logon":
            key = self._keyring.find(_word(raw, "apiKey"))
            if not key.is_ed25519:
                raise VenueError(-4056, "HMAC_SHA256 API key is not supported.")
            self._check_signature(key, raw, now_ms)
            self._session = Session(key, now_ms)
        elif method == "session.logout":
            self._session = None
        session = self._session
        return {
            "apiKey": None if session is None else session.key.key,
            "authorizedSince": None if session is None else session.since_ms,
            "connectedSince": self._connected_ms,
            "returnRateLimits": True,
            "serverTime": now_ms,
        }

    def _named(self, raw: Any) -> str | None:
        """The account a request names, for the answer's counts."""
        if not isinstance(raw, dict) or "apiKey" not in raw:
            return None if self._session is None else self._session.key.account
        try:
            return self._keyring.find(_word(raw, "apiKey")).account
        except VenueError:
            return None

    def _counts(self, account: str | None) -> list[dict[str, Any]]:
        return self._desk.limiter.counts(self._address, account, self._desk.clock.request_ms())


def _check_time(raw: Mapping[str, Any], now_ms: int) -> None:
    params = Params({name: json_text(raw[name]) for name in ("timestamp", "recvWindow") if name in raw})
    timestamp = params.integer("timestamp")
    if timestamp is None:
        raise refuse(-1102, "timestamp")
    check_time(timestamp, params.integer("recvWindow"), now_ms)


def _word(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    return value if isinstance(value, str) else None
