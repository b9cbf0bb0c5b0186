"""Recorded streams for the tests: hand-made messages, and a seeded market of quotes and trades."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catalog.ticks import QuoteColumns, Recording, TradeColumns

__all__ = [
    "T0",
    "S",
    "futures_quote",
    "futures_trade",
    "make_tape",
    "spot_quote",
    "spot_trade",
    "write_stream",
]

S = 1_000_000_000
T0 = 1_704_095_400 * S  # 2024-01-01 07:50 UTC
_MS = 1_000_000

Line = tuple[int, dict[str, Any]]


def futures_quote(
    received: int, sent_ms: int, update: int, bid: str, ask: str, sizes: tuple[str, str] = ("1", "1")
) -> Line:
    """A line of the futures' bookTicker; `sent_ms` is both of its exchange times."""
    data = {"e": "bookTicker", "u": update, "s": "BTCUSDT", "b": bid, "B": sizes[0], "a": ask, "A": sizes[1]}
    return received, {"stream": "btcusdt@bookTicker", "data": data | {"T": sent_ms, "E": sent_ms}}


def futures_trade(
    received: int,
    sent_ms: int,
    number: int,
    price: str,
    size: str,
    *,
    sold: bool = False,
    kind: str = "MARKET",
) -> Line:
    """A line of the futures' trade stream; `sold`: the seller took."""
    data = {"e": "trade", "E": sent_ms, "T": sent_ms, "s": "BTCUSDT", "t": number, "p": price, "q": size}
    return received, {"stream": "btcusdt@trade", "data": data | {"X": kind, "m": sold}}


def spot_quote(received: int, update: int, bid: str, ask: str) -> Line:
    """A line of spot's bookTicker, which tells no time."""
    data = {"u": update, "s": "BTCUSDT", "b": bid, "B": "1.50000000", "a": ask, "A": "2.00000000"}
    return received, {"stream": "btcusdt@bookTicker", "data": data}


def spot_trade(received: int, sent_ms: int, number: int, price: str, size: str) -> Line:
    """A line of spot's trade stream: the trade happened 2 ms before it was sent."""
    data = {"e": "trade", "E": sent_ms, "s": "BTCUSDT", "t": number, "p": price, "q": size, "T": sent_ms - 2}
    return received, {"stream": "btcusdt@trade", "data": data | {"m": False, "M": True}}


def write_stream(path: Path, lines: Sequence[Line]) -> Path:
    """Write a recording, gzipped when its name says so."""
    text = "".join(
        f"{received} {json.dumps(message, separators=(',', ':'))}\n" for received, message in lines
    )
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def make_tape(seed: int = 7, secs: int = 240, *, start: int = T0, price: float = 60_000.0) -> Recording:
    """Quotes and trades of a perpetual on ticks of 0.1, in trends of half a minute that flow and book show.

    Twenty times a second the mid drifts and jitters, the quote follows it, and on most of these times a trade
    takes the bid or the ask, mostly in the trend's direction. Receipt is 2 to 10 ms after the exchange.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    n = 20 * secs
    trend = np.repeat(rng.choice([-1.0, 1.0], secs // 30 + 1), 600)[:n]
    ticks = np.rint(np.cumsum(trend * 1.0 + rng.normal(0.0, 2.0, n))) + round(price * 10)
    lean = 0.5 * trend + rng.uniform(-0.4, 0.4, n)  # in (-1, 1)
    event = start + np.arange(1, n + 1) * (S // 20)
    received = np.maximum.accumulate(event + rng.integers(2, 11, n) * _MS)
    quotes = QuoteColumns(
        event,
        received,
        (ticks - 1) / 10,
        ticks / 10,
        np.rint(2000 * (1 + lean)) / 1000,
        np.rint(2000 * (1 - lean)) / 1000,
    )
    traded = np.flatnonzero(rng.random(n) < 0.9)
    side = np.where(rng.random(len(traded)) < 0.5 + 0.45 * trend[traded], 1, -1).astype(np.int8)
    trades = TradeColumns(
        event[traded],
        received[traded],
        np.where(side > 0, ticks[traded], ticks[traded] - 1) / 10,
        rng.integers(1, 3000, len(traded)) / 1000,
        side,
        np.arange(1, len(traded) + 1),
    )
    return Recording("BTCUSDT", "um", quotes, trades, 0, {})
