"""Bars longer than a minute, cut into minutes that make them again: a run on 5m bars needs no 1m data.

What happened inside a bar nobody knows. The cut takes the way that a minute's own path takes, open, low,
high, close in a rising bar and open, high, low, close in a falling one, in three straight parts, and spreads
the volume evenly. The minutes together have the bar's open, high, low, close and volume to the last digit.
"""

from collections.abc import Iterator

import numpy as np

from live.rehearsal.market.path import MinuteBar

__all__ = ["minutes_of"]

_MINUTE_MS = 60_000
_PARTS = 3


def minutes_of(bar: MinuteBar, length: int) -> Iterator[MinuteBar]:
    """The `length` minutes of a bar that opens at `bar.open_ms` and is so many minutes long."""
    if length == 1:
        yield bar
        return
    extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    turns = (bar.open, *extremes, bar.close)
    turned = np.linspace(0.0, length, _PARTS + 1)
    prices = np.rint(np.interp(np.arange(length + 1), turned, turns)).astype(np.int64).tolist()
    each, rest = divmod(bar.lots, length)
    for minute in range(length):
        inside = [turn for turn, at in zip(turns, turned, strict=True) if minute <= at <= minute + 1]
        points = (prices[minute], *inside, prices[minute + 1])
        yield MinuteBar(
            bar.open_ms + minute * _MINUTE_MS,
            prices[minute],
            max(points),
            min(points),
            prices[minute + 1],
            each + (minute < rest),
        )
