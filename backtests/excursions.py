"""How far a trade went for and against its owner before it ended, from its path through the bars.

The path is the engine's own: open, high, low, close (with `adaptive`, the nearer extreme first). A position
that a stop, a target or a resting entry changed inside a bar is followed price by price up to that fill, so
nothing counts that came after it. Market orders fill at the close and see the whole bar.

Profit here is gross and of the whole trade: what was realised so far plus what is open, in quote currency.
Source of the measures: Sweeney, Maximum Adverse Excursion (1996).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtests.legs import RESTING_ROLES, Legs, nanoseconds, rows_of, signed_quantity, walk_legs
from catalog.store import BarColumns

__all__ = ["excursions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class _Trade:
    """A trade being followed: position, its average price, profit taken so far, best and worst profit."""

    position: float = 0.0
    average: float = 0.0
    realized: float = 0.0
    best: float = 0.0
    worst: float = 0.0

    def see(self, prices: Iterable[float]) -> None:
        """Mark the open position to prices that the market visited."""
        for price in prices:
            profit = self.realized + self.position * (price - self.average)
            self.best = max(self.best, profit)
            self.worst = min(self.worst, profit)


def excursions(fills: pd.DataFrame, instrument: str, bars: BarColumns, *, adaptive: bool = False) -> Floats:
    """Best and worst gross profit of each of the instrument's trades on its way, float64 [trades, 2].

    The best is at least 0 and the worst at most 0 (the moment of entry). Rows are in the order of the trades,
    flat to flat; a trade still open is followed to the last bar. Depends on bars from entry to exit only.
    """
    mine = rows_of(fills, instrument)
    price = mine["price"].to_numpy(np.float64)
    legs = walk_legs(signed_quantity(mine), price)
    ts = nanoseconds(mine["ts_event"])[legs.fill]
    bar = np.searchsorted(bars.ts_event, ts)
    resting = mine["role"].isin(RESTING_ROLES) | (mine["liquidity"] == "MAKER")
    inside = resting.to_numpy(np.bool_)[legs.fill]
    count = int(legs.trade[-1]) + 1 if len(legs.trade) else 0
    bounds = np.searchsorted(legs.trade, np.arange(count + 1))
    found = np.zeros((count, 2))
    for k, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        trade = _follow(legs, a, b, price[legs.fill], bar, inside, bars, adaptive)
        found[k] = trade.best, trade.worst
    return found


def _follow(
    legs: Legs,
    a: int,
    b: int,
    price: Floats,
    bar: Ints,
    inside: NDArray[np.bool_],
    bars: BarColumns,
    adaptive: bool,
) -> _Trade:
    """Carry one trade, legs [a, b), over its bars with fills one by one and the quiet ones at once."""
    trade = _Trade()
    last = a
    for at in dict.fromkeys(bar[a:b].tolist()):
        stop = int(np.searchsorted(bar[a:b], at, "right")) + a
        if last > a:
            _quiet(trade, bars, int(bar[last - 1]) + 1, at)
        _busy(trade, legs, range(last, stop), price, inside, _path(bars, at, adaptive))
        last = stop
    if trade.position != 0.0:
        _quiet(trade, bars, int(bar[b - 1]) + 1, len(bars))
    return trade


def _quiet(trade: _Trade, bars: BarColumns, first: int, end: int) -> None:
    """Bars [first, end) without a fill: only their extremes matter."""
    if end > first and trade.position != 0.0:
        trade.see((float(bars.high[first:end].max()), float(bars.low[first:end].min())))


def _busy(
    trade: _Trade, legs: Legs, moves: range, price: Floats, inside: NDArray[np.bool_], path: list[float]
) -> None:
    """A bar with fills: those inside it as the path meets them, the rest of it, those at its close."""
    for i in moves:
        if inside[i]:
            path = _walk_to(trade, path, float(price[i]))
            _apply(trade, legs, i)
    if trade.position != 0.0:
        trade.see(path)
    for i in moves:
        if not inside[i]:
            trade.see((float(price[i]),) if trade.position != 0.0 else ())
            _apply(trade, legs, i)


def _walk_to(trade: _Trade, path: list[float], price: float) -> list[float]:
    """Follow the path up to where it meets `price`; returns what is left of it, from there on."""
    for k in range(len(path) - 1):
        low, high = sorted(path[k : k + 2])
        if low <= price <= high:
            trade.see((*path[: k + 1], price))
            return [price, *path[k + 1 :]]
    trade.see((path[0], price))  # the part of a large order that filled a tick beyond the bar, or a gap
    return path


def _apply(trade: _Trade, legs: Legs, i: int) -> None:
    trade.position = float(legs.position[i])
    trade.average = float(legs.average[i])
    trade.realized += float(legs.realized[i])


def _path(bars: BarColumns, at: int, adaptive: bool) -> list[float]:
    opened, high, low, close = (float(x[at]) for x in (bars.open, bars.high, bars.low, bars.close))
    high_first = not adaptive or abs(high - opened) < abs(opened - low)
    return [opened, high, low, close] if high_first else [opened, low, high, close]
