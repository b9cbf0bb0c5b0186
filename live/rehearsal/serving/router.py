"""From a request to its handler: which endpoint, who asks, what it weighs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.serving.auth import ApiKey, Keyring, check_time, payload_of
from live.rehearsal.serving.desk import Desk, Endpoint, Json, Security, Weight
from live.rehearsal.serving.wire import Params

__all__ = ["Call", "Router", "weight_of"]

_NO_HEADERS: Mapping[str, str] = {}


class Call(NamedTuple):
    """A request as it came: parameters decoded in `values`, query and body as sent for the signature."""

    method: str
    path: str
    values: Mapping[str, str]
    query: str
    body: str
    api_key: str | None
    address: str
    headers: Mapping[str, str] = _NO_HEADERS


class Router:
    """Finds, admits and runs requests. Order of the checks: endpoint, weight, key, parameters, signature."""

    def __init__(
        self,
        desk: Desk[Any],
        keyring: Keyring,
        endpoints: Mapping[tuple[str, str], Endpoint],
    ) -> None:
        self.desk = desk
        self.keyring = keyring
        self._endpoints = endpoints
        self._paths = {path for _, path in endpoints}

    def endpoint(self, method: str, path: str) -> Endpoint:
        """The endpoint; 404 for an unknown path, 405 for a method it has not."""
        found = self._endpoints.get((method, path))
        if found is not None:
            return found
        if path in self._paths:
            raise VenueError(-1000, f"Request method '{method}' not supported", 405)
        raise VenueError(-5000, f"Path {path}, Method {method} is invalid", 404)

    def run(self, call: Call) -> Json:
        """The answer of a request; VenueError when it is refused."""
        endpoint = self.endpoint(call.method, call.path)
        now_ms = self.desk.clock.request_ms()
        self.desk.limiter.spend(call.address, weight_of(endpoint.weight, call.values), now_ms)
        account = self._admit(endpoint, call, now_ms)
        orders = weight_of(endpoint.orders, call.values)
        if orders:
            self.desk.limiter.count_orders(account, orders, now_ms)
        return self.desk.run(endpoint.handler, account, call.values)

    def account_of(self, api_key: str | None) -> str | None:
        """Whose key it is, None when it is nobody's."""
        try:
            return self.keyring.find(api_key).account
        except VenueError:
            return None

    def _admit(self, endpoint: Endpoint, call: Call, now_ms: int) -> str:
        if endpoint.security is Security.NONE:
            return ""
        key = self.keyring.find(call.api_key)
        payload, signature = payload_of(call.query, call.body)
        if endpoint.security is Security.KEY and signature is None:
            return key.account
        self._check_signature(key, call.values, payload, signature, now_ms)
        if endpoint.security is Security.TRADE and not key.may_trade:
            raise refuse(-2015)
        return key.account

    def _check_signature(
        self, key: ApiKey, values: Mapping[str, str], payload: str, signature: str | None, now_ms: int
    ) -> None:
        params = Params(values)
        timestamp = params.integer("timestamp")
        if timestamp is None:
            raise refuse(-1102, "timestamp")
        if not signature:
            raise refuse(-1102, "signature")
        check_time(timestamp, params.integer("recvWindow"), now_ms)
        self.keyring.verify(key, payload, signature)


def weight_of(weight: Weight, values: Mapping[str, str]) -> int:
    """A weight that may depend on the parameters."""
    return weight if isinstance(weight, int) else weight(values)
