"""Where the replayed market comes from: a catalog's bars, recorded ticks, funding and mark prices, or a seed.

A feed answers minute by minute in whole ticks and lots. A recorded minute is taken as it was recorded; other
minutes have their bar, and a minute with neither is a gap in which nothing happens. Where the period has no
1m bars, the shortest longer ones are cut into minutes.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from catalog.columns import MINUTE_NS, BarColumns, FundingColumns, Grid, interval_ns, utc_ns, utc_text
from catalog.instruments import Market, find_spec, instrument_name
from catalog.store import Catalog, grids
from catalog.synthetic import make_market
from catalog.tick_store import read_quotes, read_trades
from catalog.ticks import QuoteColumns, TradeColumns
from configs.errors import DataError
from configs.schema import SyntheticConfig
from live.rehearsal.market.path import MinuteBar
from live.rehearsal.market.splitting import minutes_of

__all__ = ["CatalogFeed", "Feed", "SyntheticFeed", "Ticks"]

MS_NS = 1_000_000
DAY_MINUTES = 1440
_HOUR_NS = 60 * MINUTE_NS
_DAY_NS = 24 * _HOUR_NS
_START_PRICES = {"BTC": 60_000.0, "ETH": 3_000.0, "BNB": 600.0, "SOL": 150.0, "XRP": 0.6, "DOGE": 0.15}
_START_TICKS = 20_000
_HISTORY_DAYS = 3
_NEARLY = 0.9


class Ticks(NamedTuple):
    """The quotes and trades recorded in one minute, in order of their receipt."""

    quotes: QuoteColumns
    trades: TradeColumns


class Feed(Protocol):
    """One symbol's market, recorded times throughout."""

    symbol: str
    price: Grid
    size: Grid
    start_ms: int
    end_ms: int

    def bar(self, minute: int) -> MinuteBar | None:
        """The bar of a minute (counted from 1970); None in a gap."""

    def ticks(self, minute: int) -> Ticks | None:
        """What was recorded in a minute; None when nothing was."""

    def mark(self, minute: int) -> tuple[float, float] | None:
        """The mark price at the minute's open and close; None when it is not known."""

    def funding(self, minute: int) -> tuple[int, Decimal]:
        """The next settlement at or after the minute's open: its time in ms and its rate."""


_NO_TICKS: dict[int, Ticks] = {}
_NO_MARKS: dict[int, tuple[float, float]] = {}


@dataclass(slots=True)
class _Day:
    """The bars and mark prices of one day, by minute (counted from 1970)."""

    day: int
    bars: dict[int, MinuteBar]
    marks: dict[int, tuple[float, float]]


class _Settlements:
    """Funding times and rates; eight-hourly ones at the base rate where the catalog has none."""

    INTERVAL_MS = 8 * 3_600_000
    BASE = Decimal("0.0001")

    def __init__(self, columns: FundingColumns) -> None:
        self._times = columns.ts_event // MS_NS
        self._rates = columns.rate

    def after(self, ts_ms: int) -> tuple[int, Decimal]:
        row = int(np.searchsorted(self._times, ts_ms))
        if row < len(self._times):
            return int(self._times[row]), Decimal(str(round(float(self._rates[row]), 8)))
        return -(-ts_ms // self.INTERVAL_MS) * self.INTERVAL_MS, self.BASE


class CatalogFeed:
    """A symbol's market out of a catalog, of the minutes from `start_ms` to `end_ms`; read day by day."""

    def __init__(
        self,
        catalog: Catalog,
        symbol: str,
        start_ms: int | None,
        end_ms: int | None,
        market: Market = "um",
    ) -> None:
        self.symbol = symbol
        self._catalog = catalog
        self._id = instrument_name(symbol, market)
        self.price, self.size = grids(catalog.instrument(self._id))
        self._recorded = _recorded_spans(catalog, self._id)
        self.start_ms, self.end_ms, self.interval = self._period(start_ms, end_ms)
        self._day: _Day | None = None
        self._hour_read: tuple[int, Ticks] | None = None
        self._settlements = _Settlements(catalog.funding(self._id, self.start_ms * MS_NS))

    def bar(self, minute: int) -> MinuteBar | None:
        """The stored bar of a minute."""
        return self._day_of(minute).bars.get(minute)

    def ticks(self, minute: int) -> Ticks | None:
        """The recorded quotes and trades of a minute that lies in a recording."""
        first, last = minute * MINUTE_NS, (minute + 1) * MINUTE_NS
        if not any(start < last and end >= first for start, end in self._recorded):
            return None
        whole = any(start <= first and end >= last - 1 for start, end in self._recorded)
        if not whole and self.bar(minute) is not None:
            return None
        quotes, trades = self._hour(first)
        inside = Ticks(quotes.between(first, last), trades.between(first, last))
        return inside if len(inside.quotes) or len(inside.trades) else None

    def mark(self, minute: int) -> tuple[float, float] | None:
        """The stored mark price of a minute, where minute bars of it are stored."""
        return self._day_of(minute).marks.get(minute)

    def funding(self, minute: int) -> tuple[int, Decimal]:
        """The stored settlement at or after the minute's open."""
        return self._settlements.after(minute * 60_000)

    def _day_of(self, minute: int) -> _Day:
        """The day of a minute, kept until another day is asked for."""
        day = minute // DAY_MINUTES
        if self._day is None or self._day.day != day:
            first, last = day * DAY_MINUTES * MINUTE_NS, (day + 1) * DAY_MINUTES * MINUTE_NS
            bars = self._catalog.bars(self._id, self.interval, first, last)
            marks = self._catalog.mark(self._id, "1m", first, last)
            pairs = zip(marks.open.tolist(), marks.close.tolist(), strict=True)
            opened = (marks.ts_event // MINUTE_NS - 1).tolist()
            minutes = _whole(bars, self.price, self.size, interval_ns(self.interval) // MINUTE_NS)
            self._day = _Day(day, minutes, dict(zip(opened, pairs, strict=True)))
        return self._day

    def _hour(self, first: int) -> Ticks:
        """The ticks of the hour that `first` lies in, kept until another hour is asked for."""
        hour = first // _HOUR_NS
        if self._hour_read is None or self._hour_read[0] != hour:
            begin, end = hour * _HOUR_NS, (hour + 1) * _HOUR_NS
            quotes = read_quotes(self._catalog, self._id, begin, end)
            self._hour_read = hour, Ticks(quotes, read_trades(self._catalog, self._id, begin, end))
        return self._hour_read[1]

    def _period(self, start_ms: int | None, end_ms: int | None) -> tuple[int, int, str]:
        """Start, end and the bars to replay: the shortest that cover nearly as much as any."""
        stored = {
            name: self._catalog.intervals(self._id, name) + self._recorded
            for name in self._catalog.bar_intervals(self._id)
            if MINUTE_NS <= interval_ns(name) <= _DAY_NS
        }
        if not stored and not self._recorded:
            raise DataError(
                f"neither bars of 1m to 1d nor ticks of {self._id} in catalog {self._catalog.path}; "
                "download or ingest them first"
            )
        found = stored or {"1m": self._recorded}
        every = [edge for spans in found.values() for span in spans for edge in span]
        start = min(every) // MS_NS if start_ms is None else start_ms - start_ms % 60_000
        end = max(every) // MS_NS + 1 if end_ms is None else end_ms
        covered = {name: _overlap(spans, start * MS_NS, end * MS_NS) for name, spans in found.items()}
        most = max(covered.values())
        if most <= 0:
            texts = (f"{name} {utc_text(min(s)[0])} to {utc_text(max(s)[1])}" for name, s in found.items())
            raise DataError(
                f"nothing of {self._id} to replay from {utc_text(start * MS_NS)} to {utc_text(end * MS_NS)} "
                f"(stored: {', '.join(texts)}); choose another period"
            )
        return start, end, next(name for name, ns in covered.items() if ns >= _NEARLY * most)


@dataclass(slots=True)
class SyntheticFeed:
    """A symbol's market out of a seed: `days` days from `start_ms` on, and three before it as history."""

    symbol: str
    start_ms: int
    days: int
    seed: int
    market: Market = "um"
    price: Grid = field(init=False)
    size: Grid = field(init=False)
    end_ms: int = field(init=False)
    _bars: dict[int, MinuteBar] = field(init=False, repr=False)
    _settlements: _Settlements = field(init=False, repr=False)

    def __post_init__(self) -> None:
        spec = find_spec(self.symbol, self.market)
        self.price, self.size = Grid.of(spec.tick), Grid.of(spec.step)
        self.end_ms = self.start_ms + self.days * DAY_MINUTES * 60_000
        digest = blake2b(f"{self.seed}|{self.symbol}".encode(), digest_size=4).digest()
        config = SyntheticConfig(
            seed=int.from_bytes(digest) >> 1,
            days=_HISTORY_DAYS + self.days,
            start_price=_START_PRICES.get(spec.base, _START_TICKS * float(spec.tick)),
        )
        made = make_market(
            config,
            start_ns=(self.start_ms - _HISTORY_DAYS * DAY_MINUTES * 60_000) * MS_NS,
            bar_minutes=1,
            tick=float(spec.tick),
            step=float(spec.step),
        )
        self._bars = _whole(made.bars, self.price, self.size)
        self._settlements = _Settlements(made.funding)

    def bar(self, minute: int) -> MinuteBar | None:
        """The simulated bar of a minute."""
        return self._bars.get(minute)

    def ticks(self, minute: int) -> Ticks | None:
        """None: nothing is recorded of a market that never was."""
        return _NO_TICKS.get(minute)

    def mark(self, minute: int) -> tuple[float, float] | None:
        """None: the mark price follows the last trade."""
        return _NO_MARKS.get(minute)

    def funding(self, minute: int) -> tuple[int, Decimal]:
        """The simulated settlement at or after the minute's open."""
        return self._settlements.after(minute * 60_000)


def _overlap(spans: list[tuple[int, int]], start: int, end: int) -> int:
    """How much of [start, end) the spans cover, ns."""
    return sum(max(0, min(last, end) - max(first, start)) for first, last in spans)


def _whole(columns: BarColumns, price: Grid, size: Grid, length: int = 1) -> dict[int, MinuteBar]:
    """Bars of `length` minutes by minute, in ticks and lots; an extreme that does not enclose open and close
    is widened."""
    opens, high, low, close = (_steps(getattr(columns, n), price) for n in ("open", "high", "low", "close"))
    lots = _steps(columns.volume, size)
    high = np.maximum(high, np.maximum(opens, close))
    low = np.minimum(low, np.minimum(opens, close))
    opened = (columns.ts_event // MINUTE_NS - length) * 60_000
    rows = zip(*(v.tolist() for v in (opened, opens, high, low, close, lots)), strict=True)
    bars = (MinuteBar(*row) for row in rows)
    return {minute.open_ms // 60_000: minute for bar in bars for minute in minutes_of(bar, length)}


def _steps(values: NDArray[np.float64], grid: Grid) -> NDArray[np.int64]:
    return np.rint(values / float(grid.step)).astype(np.int64)


def _recorded_spans(catalog: Catalog, name: str) -> list[tuple[int, int]]:
    """First and last receipt of each recording's quotes and trades, in ns, as their files are named."""
    folders = (catalog.path / "data" / kind / name for kind in ("quotes", "trades"))
    stems = sorted(path.stem for folder in folders for path in folder.glob("*.parquet"))
    pairs = [stem.split("_") for stem in stems]
    return [(_stamp_ns(pair[0]), _stamp_ns(pair[1])) for pair in pairs if len(pair) == 2]


def _stamp_ns(text: str) -> int:
    """A time as `catalog.series.span_name` writes it: 2024-08-08T23-54-14-087891268Z."""
    seconds, _, rest = text.removesuffix("Z").rpartition("-")
    return utc_ns(datetime.strptime(seconds, "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC)) + int(rest)
