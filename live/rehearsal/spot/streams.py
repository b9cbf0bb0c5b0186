"""Spot market events as stream messages: the shapes that differ from the futures ones.

    SYMBOL@trade @aggTrade @kline_INTERVAL @bookTicker @depth @depth5|10|20 @ticker @miniTicker @avgPrice

and !miniTicker@arr; the speeds of depth streams make no difference, every change is told.
"""

from typing import Any

from live.rehearsal.book import Kline, MarkPrice, Trade
from live.rehearsal.record import INTERVALS_MS
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
from live.rehearsal.streams import MarketFeed
from live.rehearsal.wire import money

__all__ = ["SpotFeed"]

_SPEEDS = ("", "@100ms", "@1000ms")
_PARTIAL_DEPTHS = (5, 10, 20)
_DAY_OF_MINUTES = 1_440


class SpotFeed(MarketFeed):
    """Turns spot market events into stream messages, only those that somebody wants."""

    def book(self, symbol: str, ts_ms: int) -> None:
        """Publish the book if it is not as it was published last."""
        desk, name = self._desk, symbol.lower()
        market, spec = desk.venue.market(symbol), desk.spec(symbol)
        change = desk.record.change(symbol, market.bids, market.asks)
        if change is None:
            return
        self._offer(f"{name}@bookTicker", lambda: best_event(market, change.last_id))
        for speed in _SPEEDS:
            self._offer(f"{name}@depth{speed}", lambda: change_event(spec, change, ts_ms))
            for count in _PARTIAL_DEPTHS:
                stream = f"{name}@depth{count}{speed}"
                if self._hub.wanted(stream):
                    best = book_row(spec, market.bids[:count], market.asks[:count], change.last_id)
                    self._hub.publish(stream, best)

    def _trade(self, name: str, event: Trade) -> None:
        spec = self._desk.spec(event.symbol)
        self._offer(f"{name}@aggTrade", lambda: aggregate_event(event, spec))
        self._offer(f"{name}@trade", lambda: trade_message(event))
        self._offer(f"{name}@avgPrice", lambda: self._average(event))

    def _mark(self, name: str, event: MarkPrice) -> None:
        """Nothing: a spot market has no mark price."""

    def _kline(self, name: str, event: Kline) -> None:
        record = self._desk.record
        last_id = record[event.symbol].trade_id
        for interval in INTERVALS_MS if event.interval == "1m" else (event.interval,):
            stream = f"{name}@kline_{interval}"
            if self._hub.wanted(stream):
                grown = event if interval == event.interval else record.grown(event, interval)
                self._hub.publish(stream, candle_event(grown, last_id))
        if event.closed:
            self._day(name, event)

    def _day(self, name: str, event: Kline) -> None:
        streams = (f"{name}@ticker", f"{name}@miniTicker", "!miniTicker@arr")
        if not any(self._hub.wanted(stream) for stream in streams):
            return
        record, market = self._desk.record[event.symbol], self._desk.venue.market(event.symbol)
        day = list(record.klines)[-_DAY_OF_MINUTES:]
        row = day_row(
            self._desk.spec(event.symbol), market, day, record.trades[-1] if record.trades else None
        )
        mini = mini_event(row, event.ts_ms)
        for stream, message in zip(streams, (day_event(row, event.ts_ms), mini, [mini]), strict=True):
            self._hub.publish(stream, message)

    def _average(self, event: Trade) -> dict[str, Any]:
        price, closed_ms = self._desk.venue.average(event.symbol)
        return {
            "e": "avgPrice",
            "E": event.ts_ms,
            "s": event.symbol,
            "i": "5m",
            "w": money(event.price if price is None else price),
            "T": closed_ms,
        }
