"""History over REST and live bars in one stream: every bar reaches the features once and in order.

A bar that is missing (it closed while the node connected, or the stream was down) is fetched by a thread of
its own; until it is there, nothing is said about the bars after it, and what was said stays right.
"""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from nautilus_trader.model import Bar

from actors.bar_time import closed_at
from actors.forecaster import ForecastSpec, Reading, StreamingSource
from catalog.columns import BarColumns
from configs.errors import SextantError

__all__ = ["JoinedSource"]

type Fetch = Callable[[int, int], BarColumns]


class JoinedSource:
    """A `StreamingSource` that goes on where its history ended.

    `fetch(after_ns, until_ns)` gives the closed bars that close in (after, until]; it runs in `pool`.
    """

    def __init__(
        self,
        source: StreamingSource,
        spec: ForecastSpec,
        *,
        last_ts: int,
        bar_ns: int,
        fetch: Fetch,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.gaps = 0
        self.repeated = 0
        self._source = source
        self._nothing = Reading(
            tuple(math.nan for _ in spec.predictors), dict.fromkeys(spec.features, math.nan), None
        )
        self._last_ts = last_ts
        self._bar_ns = bar_ns
        self._fetch = fetch
        self._pool = pool
        self._fetching: Future[BarColumns] | None = None

    def probability(self, bar: Bar) -> float:
        """The first model's probability at this bar's close; NaN while bars before it are missing."""
        bar = self._on_grid(bar)
        return self._source.probability(bar) if self._joins(bar.ts_event) else math.nan

    def reading(self, bar: Bar) -> Reading:
        """All that is known at this bar's close; nothing while bars before it are missing."""
        bar = self._on_grid(bar)
        return self._source.reading(bar) if self._joins(bar.ts_event) else self._nothing

    @property
    def last_ts(self) -> int:
        """The close of the newest bar that the features have seen, ns UTC."""
        return self._last_ts

    def catch_up(self, bars: Iterable[Bar]) -> bool:
        """Feed bars that closed since the history ended, oldest first; False when one is missing between.

        What the features have seen already is passed over. Call it where the bars' own thread is.
        """
        for bar in map(self._on_grid, bars):
            if bar.ts_event > self._last_ts + self._bar_ns:
                return False
            if bar.ts_event > self._last_ts:
                self._source.reading(bar)
                self._last_ts = bar.ts_event
        return True

    def _on_grid(self, bar: Bar) -> Bar:
        """The bar stamped at its close, as stored bars are."""
        ts = closed_at(bar.ts_event, self._bar_ns)
        return Bar(bar.bar_type, bar.open, bar.high, bar.low, bar.close, bar.volume, ts, bar.ts_init)

    def _joins(self, ts: int) -> bool:
        """Whether the features have seen every bar before the one that closes at `ts`."""
        if ts == self._last_ts:
            self.repeated += 1
            return True
        if self._fetching is not None and self._fetching.done():
            fetched, self._fetching = self._fetching, None  # first: what it raises is raised once
            self._extend(fetched)
        if ts < self._last_ts:  # it came after a newer one: what is known is of that
            self.repeated += 1
            return False
        if self._fetching is None and ts > self._last_ts + self._bar_ns:
            self.gaps += 1
            self._fetching = self._pool.submit(self._fetch, self._last_ts, ts)
        if self._fetching is not None:
            return False
        self._last_ts = max(self._last_ts, ts)
        return True

    def _extend(self, fetched: "Future[BarColumns]") -> None:
        """Feed what was fetched; what could not be fetched is asked for again with the next bar."""
        if isinstance(fetched.exception(), SextantError):
            return
        bars = fetched.result()
        if len(bars):
            self._source.warm_up(bars)
            self._last_ts = int(bars.ts_event[-1])
