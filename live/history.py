"""The venue's closed bars as columns: history to warm up on, and what the stream has missed."""

from pathlib import Path

import numpy as np

from catalog.columns import MINUTE_NS, BarColumns, interval_ns
from catalog.store import Catalog
from configs.errors import DataError
from live.venue.answers import Kline
from live.venue.client import VenueClient

__all__ = ["bars_between", "closed_bars", "newest_bars", "stored_before"]

_PAGE = 1500
_MS_NS = 1_000_000


def newest_bars(client: VenueClient, symbol: str, interval: str, count: int) -> BarColumns:
    """The last `count` closed bars, oldest first; fewer where the venue has no more."""
    bars: list[Kline] = []
    end_ms = None
    while len(bars) <= count:
        page = client.klines(symbol, interval, end_ms=end_ms, limit=_PAGE)
        bars = page + bars
        if len(page) < _PAGE:
            break
        end_ms = page[0].open_ms - 1
    closed = bars[:-1]  # the newest is under way
    return closed_bars(closed[max(0, len(closed) - count) :], interval)


def bars_between(client: VenueClient, symbol: str, interval: str, after_ns: int, until_ns: int) -> BarColumns:
    """The bars that close in (after_ns, until_ns] (ns UTC), all of which have closed."""
    length, parts = interval_ns(interval), []
    while after_ns < until_ns:
        page = client.klines(
            symbol,
            interval,
            start_ms=after_ns // _MS_NS,
            end_ms=(until_ns - length) // _MS_NS,
            limit=_PAGE,
        )
        if not page:
            break
        parts.append(closed_bars(page, interval))
        after_ns = int(parts[-1].ts_event[-1])
    return BarColumns.join(parts) if parts else closed_bars([], interval)


def stored_before(
    catalog: Path, instrument: str, interval: str, first_ns: int, count: int, *, max_gap_minutes: int
) -> BarColumns:
    """The last `count` bars of a catalog that close before `first_ns`, where the venue's own begin (ns UTC).

    None of them where the catalog has none, or where more than `max_gap_minutes` are missing between.
    """
    length = interval_ns(interval)
    none = BarColumns.join([])
    try:
        stored = Catalog.open(catalog).bars(
            instrument, interval, first_ns - (count + 1) * length, first_ns - length
        )
    except DataError:
        return none
    gap_ns = first_ns - int(stored.ts_event[-1]) if len(stored) else 0
    if not 0 < gap_ns <= max(max_gap_minutes * MINUTE_NS, length):
        return none
    return stored.slice(max(0, len(stored) - count), len(stored))


def closed_bars(bars: list[Kline], interval: str) -> BarColumns:
    """Klines as bars stamped at their close (ns UTC); DataError where they are out of order or off grid."""
    opens = np.array([bar.open_ms for bar in bars], np.int64) * _MS_NS
    columns = [np.array([float(bar[i]) for bar in bars], np.float64) for i in range(1, 6)]
    if len(opens) and np.any(np.diff(opens) <= 0):
        raise DataError("the venue's klines are not in order")
    if len(opens) and np.any(opens % MINUTE_NS):
        raise DataError("the venue's klines do not begin on whole minutes")
    return BarColumns(opens + interval_ns(interval), *columns)
