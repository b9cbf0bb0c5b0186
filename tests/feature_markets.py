"""Bars for the feature tests: a seeded market of whole ticks, degenerate markets and real recordings."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.providers import shared_data

__all__ = ["MINUTE_NS", "START_NS", "columns", "flat_market", "read_bars", "tick_market", "walk"]

MINUTE_NS = 60_000_000_000
START_NS = 1_704_067_200_000_000_000  # 2024-01-01T00:00 UTC, a Monday
VALUES = ["open", "high", "low", "close", "volume"]


def tick_market(n: int, *, seed: int = 1, bar_minutes: int = 1, start_ns: int = START_NS) -> pd.DataFrame:
    """`n` bars of whole cents with quiet and wild spells, bars without range and bars without volume.

    A linear congruential generator in integers: the same bits on every machine and with every numpy.
    """
    state = seed

    def draw(bound: int) -> int:
        nonlocal state
        state = (1_103_515_245 * state + 12_345) % 2**31
        return (state >> 8) % bound

    rows, close = [], 100_000
    for i in range(n):
        wild = 4 if i % 700 > 500 else 1
        opened, close = close, max(close + (draw(81) - 40) * wild, 50_000)
        if draw(40) == 0:
            close = opened
            rows.append((opened, opened, opened, opened, 0 if draw(2) else draw(5000)))
            continue
        high = max(opened, close) + draw(25) * wild
        low = min(opened, close) - draw(25) * wild
        rows.append((opened, high, low, close, draw(5000) * wild))
    frame = pd.DataFrame(np.array(rows, dtype=np.float64) / 100.0, columns=VALUES)
    frame.insert(0, "ts_event", _closes(n, bar_minutes, start_ns))
    return frame


def walk(n: int, *, seed: int = 0, bar_minutes: int = 1, start_ns: int = START_NS) -> pd.DataFrame:
    """`n` bars of a random walk; its prices are not rounded, so no two movements are equal by chance."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 1e-3, n)))
    opened = np.concatenate([[100.0], close[:-1]])
    spread = 1.0 + 1e-3 * random.random((2, n))
    return pd.DataFrame(
        {
            "ts_event": _closes(n, bar_minutes, start_ns),
            "open": opened,
            "high": np.maximum(opened, close) * spread[0],
            "low": np.minimum(opened, close) / spread[1],
            "close": close,
            "volume": random.lognormal(0.0, 1.0, n),
        }
    )


def flat_market(n: int, *, price: float = 0.1, volume: float = 0.0, bar_minutes: int = 1) -> pd.DataFrame:
    """`n` bars that never move."""
    frame = pd.DataFrame({name: np.full(n, price) for name in VALUES[:4]})
    frame["volume"] = volume
    frame.insert(0, "ts_event", _closes(n, bar_minutes, START_NS))
    return frame


def read_bars(*parts: str, bar_minutes: int) -> pd.DataFrame:
    """A recorded feather file as bars by their close."""
    path: Path = shared_data(*parts)
    frame = pd.read_feather(path)
    frame["ts_event"] = pd.DatetimeIndex(frame["date"]).as_unit("ns").asi8 + bar_minutes * MINUTE_NS
    return frame[["ts_event", *VALUES]]


def columns(frame: pd.DataFrame) -> list[NDArray[np.float64]]:
    """ts_event (int64 ns), open, high, low, close, volume as arrays."""
    return [frame["ts_event"].to_numpy(np.int64), *(frame[name].to_numpy(np.float64) for name in VALUES)]


def _closes(n: int, bar_minutes: int, start_ns: int) -> NDArray[np.int64]:
    return start_ns + (np.arange(n, dtype=np.int64) + 1) * bar_minutes * MINUTE_NS
