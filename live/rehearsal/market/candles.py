"""The kline under way: a minute's bar as the trades of the replay make it."""

from decimal import Decimal

from live.rehearsal.book import Kline

__all__ = ["Candle"]

ZERO = Decimal(0)
_MINUTE_MS = 60_000


class Candle:
    """The bar of the minute that opened at `open_ms` and at `price`; `told_ms` is when it was last told."""

    def __init__(self, symbol: str, open_ms: int, price: Decimal) -> None:
        self.symbol = symbol
        self.open_ms = open_ms
        self.told_ms = 0
        self._open = self._high = self._low = self._close = price
        self._volume = self._quote = self._taker = self._taker_quote = ZERO
        self._trades = 0

    def trade(self, price: Decimal, quantity: Decimal, *, bought: bool) -> None:
        """Add a trade; `bought` when the buyer was the aggressor."""
        self.stretch(price, price, price)
        notional = price * quantity
        self._volume += quantity
        self._quote += notional
        self._trades += 1
        if bought:
            self._taker += quantity
            self._taker_quote += notional

    def stretch(self, high: Decimal, low: Decimal, close: Decimal) -> None:
        """Take in prices that no trade shows: a bar's own, where its volume is too small for its extremes."""
        self._high = max(self._high, high)
        self._low = min(self._low, low)
        self._close = close

    def kline(self, ts_ms: int, *, closed: bool = False) -> Kline:
        """The bar as it is now."""
        return Kline(
            ts_ms,
            self.symbol,
            "1m",
            self.open_ms,
            self.open_ms + _MINUTE_MS - 1,
            self._open,
            self._high,
            self._low,
            self._close,
            self._volume,
            self._quote,
            self._trades,
            self._taker,
            self._taker_quote,
            closed,
        )
