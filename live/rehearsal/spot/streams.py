"""Spot market events as stream messages: the shapes that differ from the futures ones.

    SYMBOL@trade @aggTrade @kline_INTERVAL @bookTicker @depth @depth5|10|20 @ticker @miniTicker @avgPrice

and !miniTicker@arr; the speeds of depth streams make no difference, every change is told.
"""

from typing import Any

from live.rehearsal.book import Kline, Market, MarkPrice, Trade
from live.rehearsal.record import BookChange
from live.rehearsal.serving.feed import MarketFeed
from live.rehearsal.serving.market_data import last_day
from live.rehearsal.serving.wire import money
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.wire_market import (
    aggregate_event,
    best_event,
    book_row,
    candle_event,
    change_event,
    day_event,
    day_row,
    mini_event,
    trade_message,
)

__all__ = ["SpotFeed"]

Json = dict[str, Any]


class SpotFeed(MarketFeed):
    """Turns spot market events into stream messages."""

    speeds = ("", "@100ms", "@1000ms")

    def tell_all(self, event: Any) -> None:
        """Nothing: what accounts do is their own matter."""

    def _best(self, spec: SymbolSpec, market: Market, change: BookChange, ts_ms: int) -> Json:
        del spec, ts_ms
        return best_event(market, change.last_id)

    def _change(self, spec: SymbolSpec, change: BookChange, ts_ms: int) -> Json:
        return change_event(spec, change, ts_ms)

    def _partial(self, spec: SymbolSpec, best: BookChange, ts_ms: int) -> Json:
        del ts_ms
        return book_row(spec, best.bids, best.asks, best.last_id)

    def _candle(self, kline: Kline, last_id: int) -> Json:
        return candle_event(kline, self._desk.spec(kline.symbol), last_id)

    def _trade(self, name: str, event: Trade) -> None:
        spec = self._desk.spec(event.symbol)
        self._offer(f"{name}@aggTrade", lambda: aggregate_event(event, spec))
        self._offer(f"{name}@trade", lambda: trade_message(event))
        self._offer(f"{name}@avgPrice", lambda: self._average(event))

    def _mark(self, name: str, event: MarkPrice) -> None:
        """Nothing: a spot market has no mark price."""

    def _day(self, name: str, event: Kline) -> None:
        streams = (f"{name}@ticker", f"{name}@miniTicker", "!miniTicker@arr")
        if not any(self._hub.wanted(stream) for stream in streams):
            return
        market = self._desk.venue.market(event.symbol)
        day, last = last_day(self._desk.record[event.symbol])
        row = day_row(self._desk.spec(event.symbol), market, day, last)
        mini = mini_event(row, event.ts_ms)
        for stream, message in zip(streams, (day_event(row, event.ts_ms), mini, [mini]), strict=True):
            self._hub.publish(stream, message)

    def _average(self, event: Trade) -> Json:
        price, closed_ms = self._desk.venue.average(event.symbol)
        return {
            "e": "avgPrice",
            "E": event.ts_ms,
            "s": event.symbol,
            "i": "5m",
            "w": money(event.price if price is None else price),
            "T": closed_ms,
        }
