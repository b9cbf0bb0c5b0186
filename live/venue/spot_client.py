"""The REST client for spot: the questions of `live.venue.client` that spot answers elsewhere, and its own."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from nautilus_trader.adapters.binance import decode_binance_spot_client_order_id

from live.venue.answers import Kline
from live.venue.client import VenueClient
from live.venue.http import Value
from live.venues import Venue
from strategies.holdings import CoinFill

__all__ = ["Order", "SpotAccount", "SpotClient", "client_of"]

_PAGE = 1000
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

    @property
    def own_id(self) -> str:
        """The client order id as the node gave it."""
        return decode_binance_spot_client_order_id(self.client_order_id)


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

    def orders_open(self, symbol: str) -> tuple[Order, ...]:
        """A symbol's open orders."""
        return self.http.ask("/api/v3/openOrders", tuple[Order, ...], {"symbol": symbol})

    def own_fills(self, symbol: str, after: int, tags: Sequence[str]) -> list[CoinFill]:
        """Fills after a trade id of orders whose client order id begins with one of these tags, oldest first.

        `after` -1: the newest page (a book that never counted a fill has nothing older).
        """
        params: dict[str, Value] = {"symbol": symbol, "limit": _PAGE}
        names: dict[int, str] = {}
        found: list[CoinFill] = []
        while True:
            if after >= 0:
                params["fromId"] = after + 1
            page = self.http.ask("/api/v3/myTrades", tuple[_Trade, ...], params)
            for trade in page:
                if trade.order_id not in names:
                    asked: dict[str, Value] = {"symbol": symbol, "orderId": trade.order_id}
                    names[trade.order_id] = self.http.ask("/api/v3/order", Order, asked).own_id
                if names[trade.order_id].split("-")[0] in tags:
                    found.append(_fill(trade))
            if after < 0 or len(page) < _PAGE:
                return found
            after = page[-1].id


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
