"""The market of a scenario: a seeded random walk of minute bars, just as long as it is needed."""

from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from catalog.columns import Grid
from catalog.instruments import Market, find_spec
from live.rehearsal.market.feeds import Ticks
from live.rehearsal.market.path import MinuteBar, minute_rng

__all__ = ["WalkFeed"]

MINUTE_MS = 60_000
_START_PRICES = {"BTCUSDT": 60_000.0, "ETHUSDT": 3_000.0}
_FUNDING_MS = 7 * MINUTE_MS  # far more often than the real one's eight hours: some is held through it
_SPREAD_OF_RANGE = 0.6
_MEAN_NOTIONAL = 2_000_000.0


@dataclass(slots=True)
class WalkFeed:
    """`minutes` of one symbol from `start_ms` on, and `history` before it; log returns are normal.

    It stays within a factor of two of where it began, however long it is.
    """

    symbol: str
    start_ms: int
    minutes: int
    history: int
    seed: int
    volatility_bps: float
    kind: Market = "um"
    price: Grid = field(init=False)
    size: Grid = field(init=False)
    end_ms: int = field(init=False)
    _bars: dict[int, MinuteBar] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        spec = find_spec(self.symbol, self.kind)
        self.price, self.size = Grid.of(spec.tick), Grid.of(spec.step)
        self.end_ms = self.start_ms + self.minutes * MINUTE_MS
        self._bars = self._walk(float(spec.tick), float(spec.step))

    def bar(self, minute: int) -> MinuteBar | None:
        """The bar of a minute."""
        return self._bars.get(minute)

    def ticks(self, minute: int) -> Ticks | None:
        """None: nothing is recorded of a market that never was."""
        del minute
        return None

    def mark(self, minute: int) -> tuple[float, float] | None:
        """None: the mark price follows the last trade."""
        del minute
        return None

    def funding(self, minute: int) -> tuple[int, Decimal]:
        """Every seven minutes, at the base rate."""
        return -(-minute * MINUTE_MS // _FUNDING_MS) * _FUNDING_MS, Decimal("0.0001")

    def _walk(self, tick: float, step: float) -> dict[int, MinuteBar]:
        count, first = self.history + self.minutes, self.start_ms // MINUTE_MS - self.history
        rng = minute_rng(self.seed, self.symbol, 0)
        scale = self.volatility_bps / 1e4
        path = np.cumsum(rng.standard_normal(count) * scale)
        close = _START_PRICES[self.symbol] * np.exp(np.clip(path, -np.log(2), np.log(2)))
        opens = np.concatenate(([_START_PRICES[self.symbol]], close[:-1]))
        reach = np.abs(rng.standard_normal((2, count))) * scale * _SPREAD_OF_RANGE
        high = np.maximum(opens, close) * (1.0 + reach[0])
        low = np.minimum(opens, close) * (1.0 - reach[1])
        lots = np.maximum(1, np.rint(_MEAN_NOTIONAL * rng.exponential(1.0, count) / (close * step)))
        ticks = [np.rint(values / tick).astype(np.int64) for values in (opens, high, low, close)]
        rows = zip(*(column.tolist() for column in (*ticks, lots.astype(np.int64))), strict=True)
        return {first + n: MinuteBar((first + n) * MINUTE_MS, *values) for n, values in enumerate(rows)}
