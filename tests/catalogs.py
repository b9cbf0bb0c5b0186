"""Small catalogs, bars and data files for the tests of the catalog package."""

from decimal import Decimal
from pathlib import Path

import numpy as np

from catalog.instruments import build_instrument, find_spec
from catalog.store import BarColumns, Catalog, FundingColumns

__all__ = ["BTC", "HOUR_NS", "JUNE", "MINUTE_NS", "SPOT", "bars", "catalog_with", "funding", "kline_csv"]

BTC = "BTCUSDT-PERP.BINANCE"
SPOT = "BTCUSDT.BINANCE"
MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
JUNE = 1_748_736_000_000_000_000  # 2025-06-01 00:00 UTC
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)


def bars(n: int, first: int = 0, *, minutes: int = 1, price: float = 100_000.0) -> BarColumns:
    """Bars `first` to `first + n - 1` after JUNE; bar i opens at price + i/10, the same in every call."""
    number = np.arange(first, first + n)
    opens = np.round(price + number / 10, 1)
    close = np.round(opens + np.where(number % 2, 0.3, -0.3), 1)
    return BarColumns(
        ts_event=JUNE + (number + 1) * minutes * MINUTE_NS,
        open=opens,
        high=np.round(np.maximum(opens, close) + 0.5, 1),
        low=np.round(np.minimum(opens, close) - 0.5, 1),
        close=close,
        volume=np.round(1 + (number % 7) / 1000, 3),
    )


def funding(n: int, *, jitter_ns: int = 0) -> FundingColumns:
    """Settlements every eight hours from JUNE."""
    times = JUNE + np.arange(n, dtype=np.int64) * 8 * HOUR_NS + jitter_ns
    return FundingColumns(times, np.round(np.arange(1, n + 1) * 1e-5, 8))


def catalog_with(path: Path, *instruments: str, columns: BarColumns | None = None) -> Catalog:
    """A catalog with instruments of the shipped table (BTC's perpetual if none is named), and BTC 1m bars."""
    catalog = Catalog.create(path)
    for name in instruments or (BTC,):
        market = "um" if "-PERP" in name else "spot"
        symbol = name.split(".", maxsplit=1)[0].removesuffix("-PERP")
        catalog.write_instrument(build_instrument(find_spec(symbol, market)))
    if columns is not None:
        catalog.write_bars(BTC, "1m", columns)
    return catalog


def kline_csv(columns: BarColumns, *, header: bool = True, unit_ns: int = 1_000_000, minutes: int = 1) -> str:
    """The bars as the Binance archive writes them, times in units of `unit_ns`."""
    length = minutes * MINUTE_NS
    lines = [HEADER] if header else []
    for i in range(len(columns)):
        opened = (int(columns.ts_event[i]) - length) // unit_ns
        closed = int(columns.ts_event[i]) // unit_ns - 1
        values = [
            Decimal(str(getattr(columns, name)[i])) for name in ("open", "high", "low", "close", "volume")
        ]
        lines.append(",".join(map(str, [opened, *values, closed, "1000.5", 12, "0.5", "500.2", 0])))
    return "\n".join(lines) + "\n"
