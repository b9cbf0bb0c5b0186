"""The REST client for spot: the questions of `live.venue.client` that spot answers elsewhere, and its own."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any, NamedTuple, Self

import msgspec
from nautilus_trader.adapters.binance import decode_binance_spot_client_order_id

from live.venue.answers import Kline, market_lots
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from live.venue.http import Value
from live.venues import Venue
from strategies.holdings import CoinFill

__all__ = ["WATCHDOG", "Order", "SpotAccount", "SpotClient", "SpotRules", "client_of"]

_PAGE = 1000
WATCHDOG = "watchdog"
# What the client order ids of nodes and watchdogs begin with: a strategy's number changes when others go, and
# a symbol is traded by one of them only.
TAGS = frozenset({WATCHDOG, *(f"{number:02d}" for number in range(100))})
_TIME = "/api/v3/time"
_MS_NS = 1_000_000


class _Coin(msgspec.Struct, frozen=True):
    asset: str
    free: Decimal
    locked: Decimal


class SpotAccount(msgspec.Struct, frozen=True, rename="camel"):
    """GET account."""

    can_trade: bool
    balances: tuple[_Coin, ...] = ()

    def free(self, asset: str) -> Decimal:
        """What no order offers."""
        return sum((coin.free for coin in self.balances if coin.asset == asset), Decimal(0))

    def total(self, asset: str) -> Decimal:
        """Free and locked."""
        return sum((coin.free + coin.locked for coin in self.balances if coin.asset == asset), Decimal(0))


class Order(msgspec.Struct, frozen=True, rename="camel"):
    """One order, open or not."""

    symbol: str
    order_id: int
    client_order_id: str
    side: str
    status: str
    type: str = ""
    quantity: Decimal = msgspec.field(name="origQty", default=Decimal(0))
    executed: Decimal = msgspec.field(name="executedQty", default=Decimal(0))
    stop_price: Decimal = Decimal(0)
    is_working: bool = True

    @property
    def own_id(self) -> str:
        """The client order id as the node gave it."""
        return decode_binance_spot_client_order_id(self.client_order_id)

    @property
    def is_ours(self) -> bool:
        """Whether a node or a watchdog has sent it."""
        return self.own_id.split("-")[0] in TAGS

    @property
    def is_watchdogs(self) -> bool:
        """Whether a watchdog has sent it."""
        return self.own_id.startswith(f"{WATCHDOG}-")

    @property
    def left(self) -> Decimal:
        """What it still offers or asks for."""
        return self.quantity - self.executed


class SpotRules(NamedTuple):
    """One symbol's rules; quantities in the base asset, `min_notional` in the quote asset."""

    symbol: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    market_step: Decimal
    market_max_quantity: Decimal
    min_notional: Decimal

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Self:
        """One entry of `symbols`; KeyError, TypeError or InvalidOperation for another shape."""
        filters = {item["filterType"]: item for item in entry["filters"]}
        lot, (market_step, market_most) = filters["LOT_SIZE"], market_lots(filters)
        notional = filters.get("NOTIONAL") or filters["MIN_NOTIONAL"]
        return cls(
            symbol=entry["symbol"],
            base=entry["baseAsset"],
            quote=entry["quoteAsset"],
            tick=Decimal(filters["PRICE_FILTER"]["tickSize"]).normalize(),
            step=Decimal(lot["stepSize"]).normalize(),
            min_quantity=Decimal(lot["minQty"]),
            max_quantity=Decimal(lot["maxQty"]),
            market_step=market_step,
            market_max_quantity=market_most,
            min_notional=Decimal(notional["minNotional"]),
        )

    def least(self, price: Decimal) -> Decimal:
        """The smallest quantity that the venue takes at a price; less is dust."""
        steps = (self.min_notional / (price * self.step)).to_integral_value(ROUND_CEILING)
        return max(self.min_quantity, steps * self.step)


class _Trade(msgspec.Struct, frozen=True, rename="camel"):
    id: int
    order_id: int
    price: Decimal
    quantity: Decimal = msgspec.field(name="qty")
    commission: Decimal
    commission_asset: str
    time: int
    is_buyer: bool


class SpotClient(VenueClient):
    """One spot account's client; only what is defined here, `permissions` and the connection is for spot."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.http.time_path = _TIME
        self._ours: dict[int, bool] = {}  # by order: whose it is never changes

    def raw_exchange_info(self) -> bytes:
        """exchangeInfo as it came."""
        return self.http.raw("/api/v3/exchangeInfo")

    def klines(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> list[Kline]:
        """As of futures; spot gives fewer at a time, so in several requests."""
        found: list[Kline] = []
        while len(found) < limit:
            count = min(_PAGE, limit - len(found))
            params: dict[str, Value] = {"symbol": symbol, "interval": interval, "limit": count}
            if start_ms is not None:
                params["startTime"] = start_ms
            if end_ms is not None:
                params["endTime"] = end_ms
            rows = self.http.get("/api/v3/klines", list[list[Any]], params)
            page = [_kline(row) for row in rows]
            found = found + page if start_ms is not None else page + found
            if len(page) < count:
                break
            if start_ms is None:
                end_ms = page[0].open_ms - 1
            else:
                start_ms = page[-1].open_ms + 1
        return found

    def account(self) -> SpotAccount:
        """Balances, and whether it may trade."""
        return self.http.ask("/api/v3/account", SpotAccount)

    def rules(self, symbol: str) -> SpotRules:
        """A symbol's rules."""
        path = "/api/v3/exchangeInfo"
        told = self.http.get(path, dict[str, Any], {"symbol": symbol})
        try:
            return SpotRules.parse(next(iter(told["symbols"])))
        except (KeyError, TypeError, InvalidOperation, StopIteration) as error:
            what = f"tells no rules of {symbol} ({error!r})"
            raise VenueRequestError(f"GET {path}", what, http_status=502) from error

    def last_price(self, symbol: str) -> Decimal:
        """What it was last traded at."""
        path = "/api/v3/ticker/price"
        row = self.http.get(path, dict[str, Any], {"symbol": symbol})
        price = Decimal(str(row.get("price", "0")))
        if price <= 0:
            raise VenueRequestError(f"GET {path}", f"tells no price of {symbol}", http_status=502)
        return price

    def orders_open(self, symbol: str) -> tuple[Order, ...]:
        """A symbol's open orders."""
        return self.http.ask("/api/v3/openOrders", tuple[Order, ...], {"symbol": symbol})

    def order_fills(self, symbol: str, orders: Sequence[str]) -> list[CoinFill]:
        """All fills of some orders, by the venue's ids; of an id that is no number there are none."""
        found: list[CoinFill] = []
        for order in filter(str.isdigit, orders):
            params: dict[str, Value] = {"symbol": symbol, "orderId": int(order), "limit": _PAGE}
            found += map(_fill, self.http.ask("/api/v3/myTrades", tuple[_Trade, ...], params))
        return found

    def newest_trade(self, symbol: str) -> int:
        """The account's newest trade of a symbol; -1 when there is none."""
        params: dict[str, Value] = {"symbol": symbol, "limit": 1}
        page = self.http.ask("/api/v3/myTrades", tuple[_Trade, ...], params)
        return page[-1].id if page else -1

    def own_fills(self, symbol: str, after: int) -> list[CoinFill]:
        """Fills after a trade id of the orders of nodes and watchdogs, oldest first.

        `after` -1: the newest page (a book that never counted a fill has nothing older).
        """
        params: dict[str, Value] = {"symbol": symbol, "limit": _PAGE}
        ours, found = self._ours, list[CoinFill]()
        while True:
            if after >= 0:
                params["fromId"] = after + 1
            page = self.http.ask("/api/v3/myTrades", tuple[_Trade, ...], params)
            for trade in page:
                if trade.order_id not in ours:
                    asked: dict[str, Value] = {"symbol": symbol, "orderId": trade.order_id}
                    ours[trade.order_id] = self.http.ask("/api/v3/order", Order, asked).is_ours
                if ours[trade.order_id]:
                    found.append(_fill(trade))
            if after < 0 or len(page) < _PAGE:
                return found
            after = page[-1].id

    # -- what changes something -----------------------------------------------------------------------------

    def place_stop(self, symbol: str, quantity: Decimal, trigger: Decimal, client_id: str) -> None:
        """Sell so much at the market once the price has fallen to `trigger`."""
        values = {"symbol": symbol, "side": "SELL", "type": "STOP_LOSS", "newClientOrderId": client_id}
        self.http.act("POST", "/api/v3/order", values | {"quantity": quantity, "stopPrice": trigger})

    def sell(self, symbol: str, quantity: Decimal, client_id: str) -> None:
        """Sell at the market."""
        values = {"symbol": symbol, "side": "SELL", "type": "MARKET", "newClientOrderId": client_id}
        self.http.act("POST", "/api/v3/order", values | {"quantity": quantity})

    def cancel(self, symbol: str, order_id: int) -> None:
        """Cancel an order, and with it the others of its list."""
        self.http.act("DELETE", "/api/v3/order", {"symbol": symbol, "orderId": order_id})


def _kline(row: list[Any]) -> Kline:
    first, high, low, last, volume = map(Decimal, row[1:6])
    return Kline(int(row[0]), first, high, low, last, volume, int(row[6]))


def client_of(venue: Venue) -> VenueClient:
    """The client for a venue's market."""
    return SpotClient.of(venue) if venue.market == "spot" else VenueClient.of(venue)


def _fill(trade: _Trade) -> CoinFill:
    return CoinFill(
        trade_id=str(trade.id),
        is_buy=trade.is_buyer,
        quantity=trade.quantity,
        price=trade.price,
        fee=trade.commission,
        fee_asset=trade.commission_asset,
        ts=trade.time * _MS_NS,
        order=str(trade.order_id),
    )
