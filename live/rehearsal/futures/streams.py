"""USD-M futures market events as stream messages."""

from typing import Any

from live.rehearsal.book import Kline, Market, MarkPrice, Trade
from live.rehearsal.futures.events import OrderUpdate
from live.rehearsal.futures.orders import Order
from live.rehearsal.futures.wire_market import (
    book_ticker_event,
    depth_event,
    mark_price_event,
    trade_event,
)
from live.rehearsal.record import BookChange
from live.rehearsal.serving.feed import MarketFeed
from live.rehearsal.serving.market_data import last_day
from live.rehearsal.serving.shapes import agg_trade_event, kline_event, ticker_event, ticker_row
from live.rehearsal.serving.wire import plain
from live.rehearsal.specs import SymbolSpec

__all__ = ["FuturesFeed"]

Json = dict[str, Any]


class FuturesFeed(MarketFeed):
    """Turns futures market events into stream messages; liquidations are told to everybody."""

    speeds = ("", "@0ms", "@100ms", "@250ms", "@500ms")
    every_ticker = ("!bookTicker",)

    def tell_all(self, event: Any) -> None:
        """Publish the fill of a liquidation order."""
        if isinstance(event, OrderUpdate) and _liquidates(event.order) and event.trade is not None:
            message = _force_order(event.order, event.ts_ms)
            for name in (f"{event.order.symbol.lower()}@forceOrder", "!forceOrder@arr"):
                self._hub.publish(name, message)

    def _best(self, spec: SymbolSpec, market: Market, change: BookChange, ts_ms: int) -> Json:
        return book_ticker_event(spec, market, change.last_id, ts_ms)

    def _change(self, spec: SymbolSpec, change: BookChange, ts_ms: int) -> Json:
        return depth_event(spec, change, ts_ms)

    def _partial(self, spec: SymbolSpec, best: BookChange, ts_ms: int) -> Json:
        return depth_event(spec, best, ts_ms)

    def _candle(self, kline: Kline, last_id: int) -> Json:
        return kline_event(kline, self._desk.spec(kline.symbol), last_id)

    def _trade(self, name: str, event: Trade) -> None:
        spec = self._desk.spec(event.symbol)
        self._offer(f"{name}@aggTrade", lambda: agg_trade_event(event, spec))
        self._offer(f"{name}@trade", lambda: trade_event(event, spec))

    def _mark(self, name: str, event: MarkPrice) -> None:
        message = mark_price_event(event)
        for speed in ("", "@1s", "@3s"):
            self._hub.publish(f"{name}@markPrice{speed}", message)
            self._hub.publish(f"!markPrice@arr{speed}", [message])

    def _day(self, name: str, event: Kline) -> None:
        self._offer(f"{name}@ticker", lambda: self._ticker(event))

    def _ticker(self, event: Kline) -> Json:
        row = ticker_row(self._desk.spec(event.symbol), *last_day(self._desk.record[event.symbol]))
        return ticker_event(row, event.ts_ms)


def _liquidates(order: Order) -> bool:
    return order.forced and not order.deleverages


def _force_order(order: Order, ts_ms: int) -> dict[str, Any]:
    return {
        "e": "forceOrder",
        "E": ts_ms,
        "o": {
            "s": order.symbol,
            "S": order.side,
            "o": order.type,
            "f": order.time_in_force,
            "q": plain(order.quantity),
            "p": plain(order.price),
            "ap": plain(order.average_price),
            "X": order.status,
            "l": plain(order.executed),
            "z": plain(order.executed),
            "T": ts_ms,
        },
    }
