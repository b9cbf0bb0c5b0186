"""What happened inside a bar: a seeded path of prices and sizes that agrees with the bar to the last digit.

A bar says four prices and a volume. The path goes open, low, high, close in a rising bar and open, high, low,
close in a falling one, touches each exactly, and its trades sum to the volume. It depends on the bar, the
seed, the symbol and the minute alone, so a replay that starts elsewhere sees the same minute.
"""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MinuteBar", "MinutePath", "minute_path", "minute_rng"]

MINUTE_MS = 60_000
_NOISE_OF_RANGE = 0.04
_BUSIEST = MINUTE_MS // 4

Ints = NDArray[np.int64]


class MinuteBar(NamedTuple):
    """A bar of one minute in whole ticks and lots. `high` and `low` enclose open and close."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    lots: int


class MinutePath(NamedTuple):
    """Points in order of time, int64[n] each.

    offset_ms: since the minute's open, from zero, increasing, below 60,000. ticks: the price. lots: the
    trade's size, zero for a point at which only the quotes move. bought: 1 when the buyer is the aggressor,
    else 0.
    """

    offset_ms: Ints
    ticks: Ints
    lots: Ints
    bought: Ints


def minute_rng(seed: int, symbol: str, minute: int) -> np.random.Generator:
    """The random numbers of one symbol's minute (counted from 1970), the same on every machine."""
    digest = blake2b(f"{seed}|{symbol}|{minute}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest)))


def minute_path(rng: np.random.Generator, bar: MinuteBar, trades: int) -> MinutePath:
    """`trades` points, or more where the bar's four prices need them.

    Every point trades at least a lot when the volume has that many. With fewer lots the extremes come first,
    and with fewer than there are extremes the last of them; a bar without volume only moves the quotes.
    """
    turns = _turns(bar)
    count = min(max(trades, len(turns)), _BUSIEST)
    places = _places(rng, len(turns), count)
    ticks = _prices(rng, bar, turns, places, count)
    lots = _sizes(rng, bar.lots, places, count)
    width = MINUTE_MS // count
    offsets = width * np.arange(count, dtype=np.int64) + rng.integers(0, width, count)
    offsets[0] = 0
    return MinutePath(offsets, ticks, lots, _aggressors(rng, ticks))


def _turns(bar: MinuteBar) -> list[int]:
    """The prices that the path must touch, in order, none twice in a row."""
    extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    turns = [bar.open]
    for price in (*extremes, bar.close):
        if price != turns[-1]:
            turns.append(price)
    return turns


def _places(rng: np.random.Generator, turns: int, count: int) -> Ints:
    """Which points the turns are: the first, the last and seeded ones between; all at the first if flat."""
    if turns == 1:
        return np.array([0], dtype=np.int64)
    inner = rng.choice(count - 2, turns - 2, replace=False) + 1 if turns > 2 else np.empty(0, np.int64)
    return np.concatenate(([0], np.sort(inner), [count - 1])).astype(np.int64)


def _prices(rng: np.random.Generator, bar: MinuteBar, turns: list[int], places: Ints, count: int) -> Ints:
    line = np.interp(np.arange(count), places, turns)
    noise = rng.standard_normal(count) * (_NOISE_OF_RANGE * (bar.high - bar.low))
    ticks = np.clip(np.rint(line + noise), bar.low, bar.high).astype(np.int64)
    ticks[places] = turns
    ticks[-1] = bar.close
    return ticks


def _sizes(rng: np.random.Generator, lots: int, places: Ints, count: int) -> Ints:
    sizes = np.zeros(count, np.int64)
    if lots >= count:
        return 1 + rng.multinomial(lots - count, rng.dirichlet(np.ones(count))).astype(np.int64)
    if lots <= len(places):
        sizes[places[len(places) - lots :]] = 1
        return sizes
    others = np.setdiff1d(np.arange(count), places)
    sizes[places] = 1
    sizes[rng.choice(others, lots - len(places), replace=False)] = 1
    return sizes


def _aggressors(rng: np.random.Generator, ticks: Ints) -> Ints:
    """Whoever moved the price was the aggressor; where it stood still a coin decides."""
    moves = np.sign(np.diff(ticks, prepend=ticks[0]))
    coin = rng.integers(0, 2, len(ticks))
    return np.where(moves == 0, coin, moves > 0).astype(np.int64)
