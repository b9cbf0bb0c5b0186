"""What the venue remembers of its market for the REST endpoints: klines, trades, funding, book versions.

Longer klines are made of the one-minute ones, both as lists and as they grow. Histories are bounded: the
oldest goes first.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from live.rehearsal.book import Funding, Kline, Level, MarketEvent, Trade

__all__ = ["INTERVALS_MS", "BookChange", "FundingRecord", "MarketRecord", "SymbolRecord", "roll_up"]

_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK_OFFSET = 4 * _DAY  # the epoch was a Thursday, weeks begin on Monday
INTERVALS_MS = {
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": _DAY,
    "3d": 3 * _DAY,
    "1w": 7 * _DAY,
}
KLINES_KEPT = 50_000
TRADES_KEPT = 1_000
FUNDINGS_KEPT = 1_000
BASE = "1m"


class FundingRecord(NamedTuple):
    """One settled funding."""

    symbol: str
    ts_ms: int
    rate: Decimal
    mark: Decimal


class BookChange(NamedTuple):
    """The levels that changed (quantity zero: gone) and the version numbers of the change."""

    first_id: int
    last_id: int
    previous_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(slots=True)
class SymbolRecord:
    """One symbol's histories. `version` is the book's update id; `bids`, `asks` were published last.

    `rolls` holds, by interval, the longer kline so far and when the last minute in it opened.
    """

    klines: deque[Kline] = field(default_factory=lambda: deque(maxlen=KLINES_KEPT))
    trades: deque[Trade] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))
    fundings: deque[FundingRecord] = field(default_factory=lambda: deque(maxlen=FUNDINGS_KEPT))
    trade_id: int = 0
    version: int = 1
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    rolls: dict[str, tuple[Kline, int]] = field(default_factory=dict)
    open_interest: Decimal = Decimal(0)


class MarketRecord:
    """The histories of all symbols."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self._symbols = {symbol: SymbolRecord() for symbol in symbols}

    def __getitem__(self, symbol: str) -> SymbolRecord:
        return self._symbols[symbol]

    def load(self, klines: Iterable[Kline]) -> None:
        """Put closed one-minute klines of before the start into the history, oldest first."""
        for kline in klines:
            self.add(kline)

    def add(self, event: MarketEvent, mark: Decimal | None = None) -> MarketEvent:
        """Remember an event; the event back, a trade without a number with the next one."""
        record = self._symbols[event.symbol]
        if isinstance(event, Trade):
            record.trade_id = event.trade_id or record.trade_id + 1
            event = event._replace(trade_id=record.trade_id)
            record.trades.append(event)
        elif isinstance(event, Kline) and event.interval == BASE:
            _put(record.klines, event)
        elif isinstance(event, Funding):
            record.fundings.append(FundingRecord(event.symbol, event.ts_ms, event.rate, mark or Decimal(0)))
        return event

    def klines(self, symbol: str, interval: str) -> list[Kline]:
        """The klines of an interval, oldest first, the last one perhaps under way."""
        base = self._symbols[symbol].klines
        return list(base) if interval == BASE else roll_up(base, interval)

    def grown(self, kline: Kline, interval: str) -> Kline:
        """The kline of a longer interval after a one-minute one grew or closed."""
        record = self._symbols[kline.symbol]
        open_ms = _bucket(kline.open_ms, interval)
        before, last_ms = record.rolls.get(interval, (None, 0))
        if before is None or before.open_ms != open_ms or last_ms >= kline.open_ms:
            parts = [k for k in record.klines if open_ms <= k.open_ms < kline.open_ms]
            before = roll_up(parts, interval)[-1] if parts else None
        whole = _joined(before, kline, interval) if before is not None else _started(kline, interval)
        if kline.closed:
            record.rolls[interval] = (whole, kline.open_ms)
        return whole

    def change(self, symbol: str, bids: Iterable[Level], asks: Iterable[Level]) -> BookChange | None:
        """Publish the book as it is now; what changed since the last time, None when nothing did."""
        record = self._symbols[symbol]
        now_bids, now_asks = tuple(bids), tuple(asks)
        changed_bids = _difference(record.bids, now_bids)
        changed_asks = _difference(record.asks, now_asks)
        if not (changed_bids or changed_asks):
            return None
        previous = record.version
        record.version += len(changed_bids) + len(changed_asks)
        record.bids, record.asks = now_bids, now_asks
        return BookChange(previous + 1, record.version, previous, changed_bids, changed_asks)


def _put(klines: deque[Kline], kline: Kline) -> None:
    """A minute that a newer one follows has closed, also where the market stood still before its end."""
    if klines and klines[-1].open_ms == kline.open_ms:
        klines[-1] = kline
        return
    if klines and not klines[-1].closed:
        klines[-1] = klines[-1]._replace(closed=True)
    klines.append(kline)


def roll_up(klines: Iterable[Kline], interval: str) -> list[Kline]:
    """Klines of a longer interval from one-minute ones, which are in order."""
    rolled: list[Kline] = []
    for kline in klines:
        if rolled and rolled[-1].open_ms == _bucket(kline.open_ms, interval):
            rolled[-1] = _joined(rolled[-1], kline, interval)
        else:
            rolled.append(_started(kline, interval))
    return rolled


def _bucket(open_ms: int, interval: str) -> int:
    length = INTERVALS_MS[interval]
    offset = _WEEK_OFFSET if interval == "1w" else 0
    return (open_ms - offset) // length * length + offset


def _started(kline: Kline, interval: str) -> Kline:
    open_ms = _bucket(kline.open_ms, interval)
    close_ms = open_ms + INTERVALS_MS[interval] - 1
    closed = kline.closed and kline.close_ms == close_ms
    return kline._replace(interval=interval, open_ms=open_ms, close_ms=close_ms, closed=closed)


def _joined(whole: Kline, part: Kline, interval: str) -> Kline:
    end = whole.open_ms + INTERVALS_MS[interval] - 1
    return whole._replace(
        ts_ms=part.ts_ms,
        high=max(whole.high, part.high),
        low=min(whole.low, part.low),
        close=part.close,
        volume=whole.volume + part.volume,
        quote_volume=whole.quote_volume + part.quote_volume,
        trades=whole.trades + part.trades,
        taker_volume=whole.taker_volume + part.taker_volume,
        taker_quote_volume=whole.taker_quote_volume + part.taker_quote_volume,
        closed=part.closed and part.close_ms == end,
    )


def _difference(before: tuple[Level, ...], now: tuple[Level, ...]) -> tuple[Level, ...]:
    if before == now:
        return ()
    old: Mapping[Decimal, Decimal] = dict(before)
    new = dict(now)
    gone = [Level(price, Decimal(0)) for price in old if price not in new]
    return (*gone, *(level for level in now if old.get(level.price) != level.quantity))
