"""Running the downloader against the local archive, and looking at what it stored."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from catalog.archive import Period
from catalog.download import DownloadReport, DownloadRequest, app, download
from catalog.fetch import Limits
from catalog.store import Catalog
from configs.console import run_app
from tests.archive_server import ArchiveServer, day_ms, kline

BTC = "BTCUSDT-PERP.BINANCE"
HOUR_NS, DAY_NS = 3_600 * 10**9, 86_400 * 10**9
QUICK = Limits(connect_secs=20, read_secs=20, tries=3, pause_secs=0.01, rest_pause_secs=0)
MONTHS = ("2024-01", "2024-02", "2024-03")


def request(server: ArchiveServer, folder: Path, first: str, last: str, **changes: Any) -> DownloadRequest:
    settings: dict[str, Any] = {
        "market": "um",
        "symbols": ("BTCUSDT",),
        "kinds": ("klines",),
        "interval": "1h",
        "period": Period(date.fromisoformat(first), date.fromisoformat(last)),
        "catalog": folder / "catalog",
        "cache": folder / "cache",
        "archive_url": server.url,
        "rest_url": server.url,
        "limits": QUICK,
    }
    return DownloadRequest(**(settings | changes))


def fetch(server: ArchiveServer, folder: Path, first: str, last: str, **changes: Any) -> DownloadReport:
    return download(request(server, folder, first, last, **changes))


def run(server: ArchiveServer, folder: Path, *options: str) -> int:
    """The command's exit code."""
    defaults = {
        "--interval": "1h",
        "--start": "2024-01-01",
        "--end": "2024-03-31",
        "--catalog": str(folder / "catalog"),
        "--cache": str(folder / "cache"),
        "--base-url": server.url,
        "--rest-url": server.url,
        "--tries": "1",
    }
    given = list(options)
    if "--symbols" not in given:
        given += ["--symbols", "BTCUSDT"]
    missing = [part for name, value in defaults.items() if name not in given for part in (name, value)]
    with pytest.raises(SystemExit) as exit_:
        run_app(app, [*given, *missing])
    return int(exit_.value.code or 0)


def stored_days(folder: Path, instrument_id: str = BTC) -> dict[str, int]:
    """Number of stored hourly bars by the day they open on."""
    bars = Catalog.open(folder / "catalog").bars(instrument_id, "1h")
    days, counts = np.unique((bars.ts_event - HOUR_NS) // DAY_NS, return_counts=True)
    return {str(np.datetime64(int(day), "D")): int(n) for day, n in zip(days, counts, strict=True)}


def days_between(first: str, last: str) -> list[str]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [str(start + timedelta(days=i)) for i in range((end - start).days + 1)]


def assert_holds(folder: Path, first: str, last: str, instrument_id: str = BTC) -> None:
    """The catalog has exactly the hourly bars of these days, each with the values of its time."""
    assert stored_days(folder, instrument_id) == dict.fromkeys(days_between(first, last), 24)
    bars = Catalog.open(folder / "catalog").bars(instrument_id, "1h")
    opens = (bars.ts_event - HOUR_NS) // 1_000_000
    for row in (0, 17, len(bars) - 1):
        _, opened, high, low, close, volume, *_ = kline(int(opens[row]))
        stored = [getattr(bars, name)[row] for name in ("open", "high", "low", "close", "volume")]
        assert stored == [float(text) for text in (opened, high, low, close, volume)]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*.part")]


def exchange_info(max_quantity: str) -> dict[str, Any]:
    symbol = {
        "symbol": "BTCUSDT",
        "contractType": "PERPETUAL",
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "requiredMarginPercent": "5.0000",
        "maintMarginPercent": "2.5000",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "556.80", "maxPrice": "4529764"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": max_quantity},
            {"filterType": "MIN_NOTIONAL", "notional": "100"},
        ],
    }
    return {"serverTime": day_ms("2024-06-01"), "symbols": [symbol]}
