"""The market as the venue sees it: the events that move it and each symbol's book, last and mark price.

Prices and quantities are Decimal, times integer milliseconds. A `Quote` replaces the whole book by one level
a side, a `Depth` by several; what the venue's takers ate from a level is gone until the next of either.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

__all__ = [
    "Depth",
    "Funding",
    "Kline",
    "Level",
    "MarkPrice",
    "Market",
    "MarketEvent",
    "Quote",
    "Trade",
]


class Quote(NamedTuple):
    """The best bid and ask with their sizes."""

    ts_ms: int
    symbol: str
    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal


class Depth(NamedTuple):
    """The best levels of both sides, best first: (price, quantity) pairs."""

    ts_ms: int
    symbol: str
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


class Trade(NamedTuple):
    """A trade of the market; `buyer_maker` means that the seller was the aggressor."""

    ts_ms: int
    symbol: str
    price: Decimal
    quantity: Decimal
    buyer_maker: bool
    trade_id: int = 0


class MarkPrice(NamedTuple):
    """Mark and index price, with the funding rate expected at `next_funding_ms`."""

    ts_ms: int
    symbol: str
    mark: Decimal
    index_price: Decimal
    funding_rate: Decimal = Decimal(0)
    next_funding_ms: int = 0


class Kline(NamedTuple):
    """A bar under way or closed. It is passed on to the streams and moves nothing."""

    ts_ms: int
    symbol: str
    interval: str
    open_ms: int
    close_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_volume: Decimal
    taker_quote_volume: Decimal
    closed: bool


class Funding(NamedTuple):
    """Funding is settled now: longs pay `rate` of their notional at the mark price, shorts receive it."""

    ts_ms: int
    symbol: str
    rate: Decimal


MarketEvent = Quote | Depth | Trade | MarkPrice | Kline | Funding


class Level(NamedTuple):
    """One price of the book and what is left there."""

    price: Decimal
    quantity: Decimal


class Market:
    """One symbol's market state: book levels left, last trade, mark and index price.

    Sizes count in whole `step`s; a rest below one is no size.
    """

    def __init__(self, symbol: str, step: Decimal) -> None:
        self.symbol = symbol
        self.step = step
        self.bids: list[Level] = []
        self.asks: list[Level] = []
        self.last: Decimal | None = None
        self.marked: MarkPrice | None = None
        self.quote: Quote | None = None
        self.updated_ms = 0

    @property
    def bid(self) -> Decimal | None:
        """The best bid; None before the first quote or when that side is eaten up."""
        return self.bids[0].price if self.bids else None

    @property
    def ask(self) -> Decimal | None:
        """The best ask; None before the first quote or when that side is eaten up."""
        return self.asks[0].price if self.asks else None

    @property
    def mark(self) -> Decimal | None:
        """The mark price; before the first one the last trade, before that the quote's middle."""
        return self.marked.mark if self.marked is not None else self._traded_or_middle()

    @property
    def contract(self) -> Decimal | None:
        """The last traded price; before the first trade the quote's middle."""
        return self._traded_or_middle()

    def working_price(self, working_type: str) -> Decimal | None:
        """The price that triggers: of the mark (MARK_PRICE) or of the contract (CONTRACT_PRICE)."""
        return self.mark if working_type == "MARK_PRICE" else self.contract

    def update(self, event: MarketEvent) -> None:
        """Take in one event; klines and funding change nothing here."""
        self.updated_ms = max(self.updated_ms, event.ts_ms)
        if isinstance(event, Quote):
            self.quote = event
            self.bids = self._levels([(event.bid, event.bid_quantity)])
            self.asks = self._levels([(event.ask, event.ask_quantity)])
        elif isinstance(event, Depth):
            self.bids, self.asks = self._levels(event.bids), self._levels(event.asks)
            self.quote = self._best(event)
        elif isinstance(event, Trade):
            self.last = event.price
        elif isinstance(event, MarkPrice):
            self.marked = event

    def take(self, side: str, quantity: Decimal) -> None:
        """Remove `quantity` from the best level that a `side` taker hits."""
        levels = self.asks if side == "BUY" else self.bids
        left = levels[0].quantity - quantity
        if left < 0:
            raise ValueError(f"{self.symbol}: {quantity} taken from a level that holds {levels[0].quantity}")
        levels[:1] = [Level(levels[0].price, left)] if left > 0 else []

    def _traded_or_middle(self) -> Decimal | None:
        if self.last is not None:
            return self.last
        return None if self.quote is None else (self.quote.bid + self.quote.ask) / 2

    def _best(self, depth: Depth) -> Quote | None:
        if not (depth.bids and depth.asks):
            return self.quote
        return Quote(depth.ts_ms, depth.symbol, *depth.bids[0], *depth.asks[0])

    def _levels(self, pairs: Iterable[tuple[Decimal, Decimal]]) -> list[Level]:
        levels = [Level(price, quantity // self.step * self.step) for price, quantity in pairs]
        return [level for level in levels if level.quantity > 0]
