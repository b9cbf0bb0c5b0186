"""The market's events on their way to the streams; each market's own feed gives the messages their shape.

A message is made only when somebody is subscribed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from live.rehearsal.book import Depth, Kline, Market, MarketEvent, MarkPrice, Quote, Trade
from live.rehearsal.record import INTERVALS_MS, BookChange
from live.rehearsal.serving.desk import Desk
from live.rehearsal.serving.sockets import Hub
from live.rehearsal.specs import SymbolSpec

__all__ = ["MarketFeed"]

Json = dict[str, Any]
_PARTIAL_DEPTHS = (5, 10, 20)


class MarketFeed(ABC):
    """Turns market events into stream messages, only those that somebody wants."""

    speeds: ClassVar[tuple[str, ...]]
    every_ticker: ClassVar[tuple[str, ...]] = ()

    def __init__(self, desk: Desk[Any], hub: Hub) -> None:
        self._desk = desk
        self._hub = hub

    def tell(self, event: MarketEvent) -> None:
        """Publish what an event means to the streams."""
        name = event.symbol.lower()
        if isinstance(event, Quote | Depth):
            self.book(event.symbol, event.ts_ms)
        elif isinstance(event, Trade):
            self._trade(name, event)
        elif isinstance(event, MarkPrice):
            self._mark(name, event)
        elif isinstance(event, Kline):
            self._kline(name, event)

    @abstractmethod
    def tell_all(self, event: Any) -> None:
        """Publish what everybody is told of an account's event."""

    def book(self, symbol: str, ts_ms: int) -> None:
        """Publish the book if it is not as it was published last. The speeds make no difference."""
        market, spec = self._desk.venue.market(symbol), self._desk.spec(symbol)
        change = self._desk.record.change(symbol, market.bids, market.asks)
        if change is None:
            return
        name = symbol.lower()
        for ticker in (f"{name}@bookTicker", *self.every_ticker):
            self._offer(ticker, lambda: self._best(spec, market, change, ts_ms))
        for speed in self.speeds:
            self._offer(f"{name}@depth{speed}", lambda: self._change(spec, change, ts_ms))
            for count in _PARTIAL_DEPTHS:
                stream = f"{name}@depth{count}{speed}"
                if self._hub.wanted(stream):
                    best = change._replace(bids=tuple(market.bids[:count]), asks=tuple(market.asks[:count]))
                    self._hub.publish(stream, self._partial(spec, best, ts_ms))

    def _offer(self, stream: str, make: Callable[[], Any]) -> None:
        """Publish a message that is made only when somebody wants it."""
        if self._hub.wanted(stream):
            self._hub.publish(stream, make())

    def _kline(self, name: str, event: Kline) -> None:
        record = self._desk.record
        last_id = record[event.symbol].trade_id
        for interval in INTERVALS_MS if event.interval == "1m" else (event.interval,):
            stream = f"{name}@kline_{interval}"
            if self._hub.wanted(stream):
                grown = event if interval == event.interval else record.grown(event, interval)
                self._hub.publish(stream, self._candle(grown, last_id))
        if event.closed:
            self._day(name, event)

    @abstractmethod
    def _best(self, spec: SymbolSpec, market: Market, change: BookChange, ts_ms: int) -> Json:
        """The best bid and ask."""

    @abstractmethod
    def _change(self, spec: SymbolSpec, change: BookChange, ts_ms: int) -> Json:
        """What changed in the book."""

    @abstractmethod
    def _partial(self, spec: SymbolSpec, best: BookChange, ts_ms: int) -> Json:
        """The best levels of the book."""

    @abstractmethod
    def _candle(self, kline: Kline, last_id: int) -> Json:
        """A kline."""

    @abstractmethod
    def _trade(self, name: str, event: Trade) -> None:
        """Publish a trade."""

    @abstractmethod
    def _mark(self, name: str, event: MarkPrice) -> None:
        """Publish a mark price."""

    @abstractmethod
    def _day(self, name: str, event: Kline) -> None:
        """Publish the day's figures when a minute has closed."""
