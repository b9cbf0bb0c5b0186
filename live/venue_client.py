"""A small REST client for USD-M futures, independent of the node's adapter: what preflight and watchdog use.

Requests are signed with HMAC-SHA256 or, when the secret is a PEM, Ed25519. Reads are repeated a few times on
failures that pass; what acts is sent once, for only the caller can find out what became of it. Every
request ends within its deadline. The client keeps to the venue's rate limit, which the node on the same
machine shares: reads stop at a share of it, orders may use the rest, and after 418 or 429 with Retry-After
nothing is sent until the time is over. Timestamps follow the venue's clock once `synchronise` was called.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any, Literal, Protocol, Self
from urllib.parse import urlencode

import httpx
import msgspec
from pydantic import SecretStr

from configs.errors import ConfigError
from live.venue_answers import (
    AccountConfig,
    AlgoOrder,
    Balances,
    ClockReading,
    ExchangeInfo,
    Kline,
    OpenOrder,
    Permissions,
    Position,
    SymbolConfig,
    SymbolRules,
)
from live.venue_errors import VenueRequestError
from live.venue_signing import Signer

__all__ = ["SPOT_URL", "Address", "ClientLimits", "VenueClient"]

SPOT_URL = "https://api.binance.com"
_MOST_BYTES = 64 * 2**20
_MOST_KLINES = 1500
_USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"
_TIMESTAMP_OFF = -1021
_NO_CHANGE = {-4046, -4059}
_MINUTE_SECS = 60.0
_DEFAULT_WAIT_SECS = 5.0
Method = Literal["GET", "POST", "DELETE"]
Value = str | int | Decimal | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """How long and how often to try; `tries` counts the first, and only reads are repeated.

    `read_weight` is the used weight of the minute (of all on this address) beyond which reads wait.
    """

    connect_secs: float = 2.0
    read_secs: float = 4.0
    request_secs: float = 8.0
    tries: int = 3
    pause_secs: float = 0.2
    longest_pause_secs: float = 2.0
    window_ms: int = 5_000
    read_weight: int = 1_800


class Address(Protocol):
    """Where a venue is, and the keys for it."""

    @property
    def http(self) -> str:
        """The base URL."""

    @property
    def key(self) -> str:
        """The API key."""

    @property
    def secret(self) -> SecretStr:
        """Its secret."""


class VenueClient:
    """One account's client, as a context manager; without `keys` only public data can be asked for.

    `keys` are the API key and its secret (plain: HMAC; PEM: Ed25519). Every method raises
    `VenueRequestError` when there is no good answer, ConfigError when it needs keys and has none.
    """

    def __init__(
        self,
        base_url: str,
        keys: tuple[SecretStr, SecretStr] | None = None,
        limits: ClientLimits | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.limits = limits or ClientLimits()
        self.used_weight = 0
        self.clock_offset_ms = 0.0
        self._key = None if keys is None else keys[0].get_secret_value()
        self._sign = None if keys is None else Signer(keys[1].get_secret_value())
        self._sleep = sleep
        self._wall = wall
        self._weighed_minute = 0.0
        self._held_until = 0.0
        timeout = httpx.Timeout(self.limits.read_secs, connect=self.limits.connect_secs)
        self._http = httpx.Client(timeout=timeout, headers={"User-Agent": "sextant"}, trust_env=False)

    @classmethod
    def of(cls, venue: Address, limits: ClientLimits | None = None) -> Self:
        """A client with a venue's address and keys."""
        return cls(venue.http, (SecretStr(venue.key), venue.secret), limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    @property
    def has_keys(self) -> bool:
        """Whether it can ask for the account."""
        return self._key is not None

    @property
    def held_secs(self) -> float:
        """How long the venue asked to be left alone; 0 when it may be asked."""
        return max(0.0, self._held_until - time.monotonic())

    # -- public ---------------------------------------------------------------------------------------------

    def clock(self) -> ClockReading:
        """Compare the clocks by one request."""
        began, before = self._wall(), time.perf_counter_ns()
        answer = self._get("/fapi/v1/time", dict[str, int])
        taken_ms = (time.perf_counter_ns() - before) / 1e6
        return ClockReading(answer["serverTime"] - (began * 1e3 + taken_ms / 2), taken_ms)

    def synchronise(self) -> ClockReading:
        """Stamp requests with the venue's time from now on."""
        reading = self.clock()
        self.clock_offset_ms = reading.offset_ms
        return reading

    def exchange_info(self) -> ExchangeInfo:
        """The rules of every symbol; one that cannot be read is left out, as if it were not traded."""
        raw = self._get("/fapi/v1/exchangeInfo", dict[str, Any])
        rules = (_rules(entry) for entry in raw.get("symbols", ()))
        weights = [
            int(limit["limit"])
            for limit in raw.get("rateLimits", ())
            if limit.get("rateLimitType") == "REQUEST_WEIGHT" and limit.get("interval") == "MINUTE"
        ]
        return ExchangeInfo({r.symbol: r for r in rules if r is not None}, min(weights, default=0))

    def klines(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> list[Kline]:
        """Bars that open in [start_ms, end_ms], oldest first, at most 1,500: the first of them when
        `start_ms` is given, else the newest."""
        limit = min(limit, _MOST_KLINES)
        params: dict[str, Value] = {"symbol": symbol, "interval": interval, "limit": limit}
        if start_ms is not None:
            params["startTime"] = start_ms
        if end_ms is not None:
            params["endTime"] = end_ms
        rows = self._get("/fapi/v1/klines", list[list[Any]], params)
        try:
            return [_kline(row) for row in rows]
        except (IndexError, InvalidOperation, TypeError, ValueError) as error:
            raise VenueRequestError(
                "GET /fapi/v1/klines", f"answers what is no kline ({error!r})", http_status=502
            ) from error

    def mark_price(self, symbol: str) -> Decimal:
        """The mark price; 0 before there is one."""
        row = self._get("/fapi/v1/premiumIndex", dict[str, Any], {"symbol": symbol})
        return Decimal(str(row.get("markPrice", "0")))

    # -- the account ----------------------------------------------------------------------------------------

    def account_config(self) -> AccountConfig:
        """Permissions and modes of the account."""
        return self._ask("/fapi/v1/accountConfig", AccountConfig)

    def permissions(self, spot_url: str | None = None) -> Permissions:
        """What the key may do, from the spot host (None: this client's address)."""
        return self._ask("/sapi/v1/account/apiRestrictions", Permissions, base=spot_url)

    def balances(self) -> Balances:
        """The margin assets."""
        return self._ask("/fapi/v3/account", Balances)

    def positions(self) -> tuple[Position, ...]:
        """The positions that are not flat."""
        rows = self._ask("/fapi/v3/positionRisk", tuple[Position, ...])
        return tuple(row for row in rows if row.amount)

    def symbol_config(self, symbol: str) -> SymbolConfig:
        """Leverage and margin type of a symbol."""
        rows = self._ask("/fapi/v1/symbolConfig", tuple[SymbolConfig, ...], {"symbol": symbol})
        if not rows:
            raise VenueRequestError(
                "GET /fapi/v1/symbolConfig", f"does not know {symbol}", code=-1121, http_status=400
            )
        return rows[0]

    def open_orders(self, symbol: str | None = None) -> tuple[OpenOrder, ...]:
        """Orders in the book, of one symbol (weight 1) or all (weight 40)."""
        return self._ask("/fapi/v1/openOrders", tuple[OpenOrder, ...], _symbol(symbol))

    def recent_orders(self, symbol: str, limit: int = 100) -> tuple[OpenOrder, ...]:
        """A symbol's newest orders, open and closed, oldest first."""
        params: dict[str, Value] = {"symbol": symbol, "limit": limit}
        return self._ask("/fapi/v1/allOrders", tuple[OpenOrder, ...], params)

    def open_algo_orders(self, symbol: str | None = None) -> tuple[AlgoOrder, ...]:
        """Conditional orders that wait, of one symbol (weight 1) or all (weight 40)."""
        return self._ask("/fapi/v1/openAlgoOrders", tuple[AlgoOrder, ...], _symbol(symbol))

    # -- what changes something -----------------------------------------------------------------------------

    def try_order(self, symbol: str, side: str, quantity: Decimal, price: Decimal) -> None:
        """Have a limit order checked and not entered: whether the key may trade."""
        values = {"symbol": symbol, "side": side, "type": "LIMIT", "timeInForce": "GTC"}
        self._act("POST", "/fapi/v1/order/test", values | {"quantity": quantity, "price": price})

    def place_close_stop(
        self, symbol: str, side: str, trigger_price: Decimal, client_id: str, *, position_side: str = "BOTH"
    ) -> AlgoOrder:
        """A STOP_MARKET on the mark price that closes the whole position, whatever its size then."""
        values: dict[str, Value] = {
            "algoType": "CONDITIONAL",
            "symbol": symbol,
            "side": side,
            "type": "STOP_MARKET",
            "triggerPrice": trigger_price,
            "closePosition": True,
            "workingType": "MARK_PRICE",
            "clientAlgoId": client_id,
        }
        answer = self._act("POST", "/fapi/v1/algoOrder", values | _hedged(position_side))
        return _decoded(answer, AlgoOrder, "POST /fapi/v1/algoOrder")

    def reduce_at_market(
        self, symbol: str, side: str, quantity: Decimal, client_id: str, *, position_side: str = "BOTH"
    ) -> None:
        """A MARKET order that can only make the position smaller."""
        values: dict[str, Value] = {
            "symbol": symbol,
            "side": side,
            "type": "MARKET",
            "quantity": quantity,
            "newClientOrderId": client_id,
        }
        hedged = _hedged(position_side)
        self._act("POST", "/fapi/v1/order", values | (hedged or {"reduceOnly": True}))

    def cancel(self, symbol: str, order_id: int) -> None:
        """Cancel an order in the book."""
        self._act("DELETE", "/fapi/v1/order", {"symbol": symbol, "orderId": order_id})

    def cancel_algo(self, symbol: str, algo_id: int) -> None:
        """Cancel a conditional order."""
        self._act("DELETE", "/fapi/v1/algoOrder", {"symbol": symbol, "algoId": algo_id})

    def cancel_all(self, symbol: str) -> None:
        """Cancel a symbol's orders in the book, not its conditional ones."""
        self._act("DELETE", "/fapi/v1/allOpenOrders", {"symbol": symbol})

    def set_leverage(self, symbol: str, leverage: int) -> None:
        """Change a symbol's leverage."""
        self._act("POST", "/fapi/v1/leverage", {"symbol": symbol, "leverage": leverage})

    def set_margin_type(self, symbol: str, margin_type: str) -> None:
        """Change a symbol's margin type to CROSSED or ISOLATED; no error when it is that already."""
        try:
            self._act("POST", "/fapi/v1/marginType", {"symbol": symbol, "marginType": margin_type})
        except VenueRequestError as error:
            if error.code not in _NO_CHANGE:
                raise

    # -- inside ---------------------------------------------------------------------------------------------

    def _get[T](self, path: str, kind: type[T], params: Mapping[str, Value] | None = None) -> T:
        query = urlencode(_plain(params or {}))
        return self._repeat(lambda: _decoded(self._send("GET", path, query), kind, f"GET {path}"))

    def _ask[T](
        self, path: str, kind: type[T], params: Mapping[str, Value] | None = None, *, base: str | None = None
    ) -> T:
        """A signed read; a timestamp that the venue refuses is set right and tried once more."""
        self._need_keys()

        def attempt() -> T:
            return _decoded(
                self._send("GET", path, self._signed(params or {}), base=base), kind, f"GET {path}"
            )

        return self._repeat(lambda: self._in_time(attempt))

    def _act(self, method: Method, path: str, params: Mapping[str, Value]) -> bytes:
        """A signed request that acts, sent once (a refused timestamp has done nothing: then twice)."""
        self._need_keys()
        return self._in_time(lambda: self._send(method, path, self._signed(params)))

    def _in_time[T](self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except VenueRequestError as error:
            if error.code != _TIMESTAMP_OFF:
                raise
        self.synchronise()
        return attempt()

    def _repeat[T](self, attempt: Callable[[], T]) -> T:
        for count in range(self.limits.tries - 1):
            try:
                return attempt()
            except VenueRequestError as error:
                pause = max(self.limits.pause_secs * 2**count, error.retry_after_secs)
                if error.kind not in {"network", "venue"} or pause > self.limits.longest_pause_secs:
                    raise
                self._sleep(pause)
        return attempt()

    def _need_keys(self) -> None:
        if self._sign is None:
            raise ConfigError(
                "the venue's account cannot be asked without keys: give BINANCE_API_KEY and _SECRET"
            )

    def _signed(self, params: Mapping[str, Value]) -> str:
        assert self._sign is not None
        stamp = round(self._wall() * 1000 + self.clock_offset_ms)
        query = urlencode(
            _plain(params) | {"recvWindow": str(self.limits.window_ms), "timestamp": str(stamp)}
        )
        return f"{query}&{urlencode({'signature': self._sign(query)})}"

    def _send(self, method: Method, path: str, query: str, *, base: str | None = None) -> bytes:
        """One request and its whole body; `VenueRequestError` for anything but 200."""
        what = f"{method} {path}"
        self._hold_back(method, what)
        headers = {} if self._key is None else {"X-MBX-APIKEY": self._key}
        url = f"{base or self.base_url}{path}" + (f"?{query}" if query else "")
        end = time.monotonic() + self.limits.request_secs
        body = bytearray()
        try:
            with self._http.stream(method, url, headers=headers) as response:
                self._note(response)
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > end or len(body) > _MOST_BYTES:
                        raise VenueRequestError(
                            what, f"no end of the answer in {self.limits.request_secs:g} s"
                        )
                status = response.status_code
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise VenueRequestError(what, _reason(error), sent=not _unsent(error)) from error
        if status != httpx.codes.OK:
            raise _refusal(what, response, bytes(body))
        return bytes(body)

    def _hold_back(self, method: Method, what: str) -> None:
        """Keep to what the venue asked for, and leave orders a part of the weight."""
        now = time.monotonic()
        if now < self._held_until:
            wait = self._held_until - now
            reason = f"the venue asked to be left alone, {wait:.0f} s more; not sent"
            raise VenueRequestError(what, reason, http_status=429, retry_after_secs=wait, sent=False)
        minute = self._wall() // _MINUTE_SECS
        if method == "GET" and self.used_weight > self.limits.read_weight and minute == self._weighed_minute:
            wait = _MINUTE_SECS - self._wall() % _MINUTE_SECS
            reason = (
                f"{self.used_weight} of the minute's request weight are used; the rest is kept for orders"
            )
            raise VenueRequestError(what, reason, http_status=429, retry_after_secs=wait, sent=False)

    def _note(self, response: httpx.Response) -> None:
        used = response.headers.get(_USED_WEIGHT, "")
        if used.isdigit():
            self.used_weight, self._weighed_minute = int(used), self._wall() // _MINUTE_SECS
        if response.status_code in {418, 429}:
            self._held_until = time.monotonic() + (_retry_after(response) or _DEFAULT_WAIT_SECS)


def _plain(params: Mapping[str, Value]) -> dict[str, str]:
    return {name: _text(value) for name, value in params.items()}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _symbol(symbol: str | None) -> dict[str, Value]:
    return {} if symbol is None else {"symbol": symbol}


def _hedged(position_side: str) -> dict[str, Value]:
    return {} if position_side == "BOTH" else {"positionSide": position_side}


def _rules(entry: Any) -> SymbolRules | None:
    try:
        return SymbolRules.parse(entry)
    except (AttributeError, KeyError, TypeError, ValueError, InvalidOperation):
        return None


def _kline(row: list[Any]) -> Kline:
    opened, high, low, close, volume = (Decimal(text) for text in row[1:6])
    return Kline(int(row[0]), opened, high, low, close, volume, int(row[6]))


def _decoded[T](body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VenueRequestError(what, f"answers what is not its JSON ({error})", http_status=502) from error


class _Refusal(msgspec.Struct):
    code: int
    msg: str = ""


def _refusal(what: str, response: httpx.Response, body: bytes) -> VenueRequestError:
    status, wait = response.status_code, _retry_after(response)
    try:
        told = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        reason = f"answered {status} {response.reason_phrase}"
        return VenueRequestError(what, reason, http_status=status, retry_after_secs=wait)
    reason = f"{told.code} {told.msg}"
    return VenueRequestError(what, reason, code=told.code, http_status=status, retry_after_secs=wait)


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isdigit() else 0.0


def _unsent(error: Exception) -> bool:
    """Whether the request cannot have reached the venue."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.InvalidURL)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "the venue cannot be reached (timed out)"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"the venue cannot be reached ({error})"
    return f"the connection broke off ({error})" if str(error) else "the connection broke off"
