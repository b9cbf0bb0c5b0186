"""A small REST client for USD-M futures, independent of the node's adapter: what preflight, watchdog and the
node's own preparations ask the venue with. `live.venue.http` sends, signs, repeats and holds back."""

import time
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from types import TracebackType
from typing import Any, Protocol, Self

from pydantic import SecretStr

from live.venue.answers import (
    AccountConfig,
    AlgoOrder,
    Balance,
    Balances,
    Clearance,
    ClockReading,
    ExchangeInfo,
    Fill,
    FundingRate,
    Kline,
    OpenOrder,
    Permissions,
    Position,
    SymbolConfig,
    SymbolRules,
)
from live.venue.errors import VenueRequestError
from live.venue.http import ClientLimits, Value, VenueHttp, decoded

__all__ = ["SPOT_URL", "Address", "ClientLimits", "VenueClient"]

SPOT_URL = "https://api.binance.com"
_MOST_KLINES = 1500
_MOST_FILLS = 1000
_MOST_RATES = 1000
_MOST_FORCED = 100
_NO_CHANGE = {-4046, -4059}
_MS_NS = 1_000_000


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
        self.http = VenueHttp(base_url, keys, limits or ClientLimits(), sleep=sleep, wall=wall)

    @classmethod
    def of(cls, venue: Address, limits: ClientLimits | None = None) -> Self:
        """A client with a venue's address and keys; without keys where the venue has none."""
        return cls(venue.http, (SecretStr(venue.key), venue.secret) if venue.key else None, limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self.http.close()

    @property
    def base_url(self) -> str:
        """Where the venue is."""
        return self.http.base_url

    @property
    def has_keys(self) -> bool:
        """Whether it can ask for the account."""
        return self.http.has_keys

    # -- public ---------------------------------------------------------------------------------------------

    def clock(self) -> ClockReading:
        """Compare the clocks by one request."""
        return self.http.clock()

    def raw_exchange_info(self) -> bytes:
        """exchangeInfo as it came."""
        return self.http.raw("/fapi/v1/exchangeInfo")

    def exchange_info(self) -> ExchangeInfo:
        """The rules of every symbol; one that cannot be read is left out, as if it were not traded."""
        raw = self.http.get("/fapi/v1/exchangeInfo", dict[str, Any])
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
        rows = self.http.get("/fapi/v1/klines", list[list[Any]], params)
        try:
            return [_kline(row) for row in rows]
        except (IndexError, InvalidOperation, TypeError, ValueError) as error:
            raise VenueRequestError(
                "GET /fapi/v1/klines", f"answers what is no kline ({error!r})", http_status=502
            ) from error

    def mark_price(self, symbol: str) -> Decimal:
        """The mark price; 0 before there is one."""
        row = self.http.get("/fapi/v1/premiumIndex", dict[str, Any], {"symbol": symbol})
        return Decimal(str(row.get("markPrice", "0")))

    def funding_rates(self, symbol: str, since_ms: int | None = None) -> tuple[FundingRate, ...]:
        """Settlements at or after a time, else the newest; oldest first, at most 1,000."""
        params: dict[str, Value] = {"symbol": symbol, "limit": _MOST_RATES}
        if since_ms is not None:
            params["startTime"] = since_ms
        return self.http.get("/fapi/v1/fundingRate", tuple[FundingRate, ...], params)

    # -- the account ----------------------------------------------------------------------------------------

    def account_config(self) -> AccountConfig:
        """Permissions and modes of the account."""
        return self.http.ask("/fapi/v1/accountConfig", AccountConfig)

    def permissions(self, spot_url: str | None = None) -> Permissions:
        """What the key may do, from the spot host (None: this client's address)."""
        return self.http.ask("/sapi/v1/account/apiRestrictions", Permissions, base=spot_url)

    def balances(self) -> Balances:
        """The margin assets."""
        return self.http.ask("/fapi/v3/account", Balances)

    def positions(self) -> tuple[Position, ...]:
        """The positions that are not flat."""
        rows = self.http.ask("/fapi/v3/positionRisk", tuple[Position, ...])
        return tuple(row for row in rows if row.amount)

    def symbol_config(self, symbol: str) -> SymbolConfig:
        """Leverage and margin type of a symbol."""
        rows = self.http.ask("/fapi/v1/symbolConfig", tuple[SymbolConfig, ...], {"symbol": symbol})
        if not rows:
            raise VenueRequestError(
                "GET /fapi/v1/symbolConfig", f"does not know {symbol}", code=-1121, http_status=400
            )
        return rows[0]

    def account_name(self, asset: str) -> str:
        """What the venue calls the account: the alias of its balances; "" where it tells none."""
        rows = self.http.ask("/fapi/v2/balance", tuple[Balance, ...])
        return next((row.account_alias for row in rows if row.asset == asset), "")

    def fills(self, symbol: str, after: int = -1, since_ns: int = 0) -> tuple[Fill, ...]:
        """A symbol's fills after a number, else at or after a time, else the newest page; oldest first.

        From a time on the venue looks at a week, and no farther.
        """
        params: dict[str, Value] = {"symbol": symbol, "limit": _MOST_FILLS}
        begin: dict[str, Value] = {"startTime": since_ns // _MS_NS} if since_ns > 0 else {}
        if after >= 0:
            begin = {"fromId": after + 1}
        page = self.http.ask("/fapi/v1/userTrades", tuple[Fill, ...], params | begin)
        fills = list(page)
        while begin and len(page) == _MOST_FILLS:
            page = self.http.ask(
                "/fapi/v1/userTrades", tuple[Fill, ...], params | {"fromId": fills[-1].id + 1}
            )
            fills += page
        return tuple(fills)

    def open_orders(self, symbol: str | None = None) -> tuple[OpenOrder, ...]:
        """Orders in the book, of one symbol (weight 1) or all (weight 40)."""
        return self.http.ask("/fapi/v1/openOrders", tuple[OpenOrder, ...], _symbol(symbol))

    def recent_orders(self, symbol: str, limit: int = 100) -> tuple[OpenOrder, ...]:
        """A symbol's newest orders, open and closed, oldest first."""
        params: dict[str, Value] = {"symbol": symbol, "limit": limit}
        return self.http.ask("/fapi/v1/allOrders", tuple[OpenOrder, ...], params)

    def forced_orders(self, symbol: str | None = None) -> tuple[OpenOrder, ...]:
        """The venue's own orders on the account, of a symbol (weight 20) or all (weight 50), of a week."""
        params: dict[str, Value] = {"limit": _MOST_FORCED}
        return self.http.ask("/fapi/v1/forceOrders", tuple[OpenOrder, ...], params | _symbol(symbol))

    def clearances(self, since_ns: int) -> tuple[Clearance, ...]:
        """What the insurance fund has taken and given since a time, oldest first (weight 30)."""
        params: dict[str, Value] = {"incomeType": "INSURANCE_CLEAR", "startTime": since_ns // _MS_NS}
        return self.http.ask("/fapi/v1/income", tuple[Clearance, ...], params | {"limit": _MOST_FILLS})

    def open_algo_orders(self, symbol: str | None = None) -> tuple[AlgoOrder, ...]:
        """Conditional orders that wait, of one symbol (weight 1) or all (weight 40)."""
        return self.http.ask("/fapi/v1/openAlgoOrders", tuple[AlgoOrder, ...], _symbol(symbol))

    # -- what changes something -----------------------------------------------------------------------------

    def try_order(self, symbol: str, side: str, quantity: Decimal, price: Decimal) -> None:
        """Have a limit order checked and not entered: whether the key may trade."""
        values = {"symbol": symbol, "side": side, "type": "LIMIT", "timeInForce": "GTC"}
        self.http.act("POST", "/fapi/v1/order/test", values | {"quantity": quantity, "price": price})

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
        answer = self.http.act("POST", "/fapi/v1/algoOrder", values | _hedged(position_side))
        return decoded(answer, AlgoOrder, "POST /fapi/v1/algoOrder")

    def place_reduce_stop(
        self,
        symbol: str,
        side: str,
        quantity: Decimal,
        trigger_price: Decimal,
        client_id: str,
        *,
        position_side: str = "BOTH",
    ) -> AlgoOrder:
        """A STOP_MARKET on the mark price that closes up to `quantity` of the position."""
        values: dict[str, Value] = {
            "algoType": "CONDITIONAL",
            "symbol": symbol,
            "side": side,
            "type": "STOP_MARKET",
            "triggerPrice": trigger_price,
            "quantity": quantity,
            "workingType": "MARK_PRICE",
            "clientAlgoId": client_id,
        }
        hedged = _hedged(position_side)
        answer = self.http.act("POST", "/fapi/v1/algoOrder", values | (hedged or {"reduceOnly": True}))
        return decoded(answer, AlgoOrder, "POST /fapi/v1/algoOrder")

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
        self.http.act("POST", "/fapi/v1/order", values | (hedged or {"reduceOnly": True}))

    def cancel(self, symbol: str, order_id: int) -> None:
        """Cancel an order in the book."""
        self.http.act("DELETE", "/fapi/v1/order", {"symbol": symbol, "orderId": order_id})

    def cancel_algo(self, symbol: str, algo_id: int) -> None:
        """Cancel a conditional order."""
        self.http.act("DELETE", "/fapi/v1/algoOrder", {"symbol": symbol, "algoId": algo_id})

    def cancel_all(self, symbol: str) -> None:
        """Cancel a symbol's orders in the book, not its conditional ones."""
        self.http.act("DELETE", "/fapi/v1/allOpenOrders", {"symbol": symbol})

    def set_leverage(self, symbol: str, leverage: int) -> None:
        """Change a symbol's leverage."""
        self.http.act("POST", "/fapi/v1/leverage", {"symbol": symbol, "leverage": leverage})

    def set_margin_type(self, symbol: str, margin_type: str) -> None:
        """Change a symbol's margin type to CROSSED or ISOLATED; no error when it is that already."""
        try:
            self.http.act("POST", "/fapi/v1/marginType", {"symbol": symbol, "marginType": margin_type})
        except VenueRequestError as error:
            if error.code not in _NO_CHANGE:
                raise


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
