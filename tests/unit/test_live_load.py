"""The load benchmark's market: closes in one instant, or told one after the other."""

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from benchmarks.live_load import told_late
from live.rehearsal.book import Kline, MarketEvent, Quote

ONE, TWO = Decimal(1), Decimal(2)


def test_klines_are_told_one_symbol_after_the_other_and_everything_else_at_once() -> None:
    session: Any = SimpleNamespace(market_ms=60_070)
    told: list[MarketEvent] = []

    async def play() -> list[MarketEvent]:
        feed = told_late(session, ["BTCUSDT", "ETHUSDT"], 0.02, told.append)
        for symbol in ("ETHUSDT", "BTCUSDT"):
            feed(Kline(60_000, symbol, "1m", 0, 59_999, *(ONE,) * 6, 1, ONE, ONE, closed=True))
            feed(Quote(60_000, symbol, ONE, ONE, TWO, ONE))
        at_once = list(told)
        async with asyncio.timeout(5.0):
            while len(told) < 4:
                await asyncio.sleep(0.001)
        return at_once

    at_once = asyncio.run(play())
    assert [(type(e), e.symbol) for e in at_once] == [
        (Quote, "ETHUSDT"),
        (Kline, "BTCUSDT"),
        (Quote, "BTCUSDT"),
    ]
    assert (told[3].symbol, told[3].ts_ms) == ("ETHUSDT", 60_070)
