"""Which instruments move together: rolling Pearson correlation of hourly returns, and clusters by union-find.

The question behind it is how many bets an account really holds. Whatever leaves it open is answered with
"the same bet": too little common history, a price without movement. And a correlation counts by its size:
an instrument that moves against another is the same bet on its other side. So clusters only ever take room
away that they might have left, never the reverse.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError

__all__ = ["MIN_OBSERVATIONS", "CorrelationTracker", "clusters", "correlation_matrix"]

MIN_OBSERVATIONS = 72  # common returns of a pair: three days of hours
_NS_PER_SEC = 1_000_000_000
_HOUR_SECS, _DAY_SECS = 3600, 86_400
_STILL = 1e-12  # a standard deviation of returns below this is rounding and not movement
_ROUNDING = 1e-9  # a correlation this little under the threshold has reached it

Floats = NDArray[np.float64]


def correlation_matrix(returns: ArrayLike, min_observations: int = 2) -> Floats:
    """Pearson's correlation [N, N] of every two columns of `returns` [T, N], over the rows both have.

    NaN is a missing return. A pair with fewer than `min_observations` common rows, or one of them without
    movement there, has NaN; the diagonal is 1. Symmetric, and a pair's value depends on its two columns only.
    Source: Pearson (1896).
    """
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"returns must be [T, N], got shape {table.shape}")
    count = table.shape[1]
    matrix = np.eye(count)
    there = np.isfinite(table)
    for i in range(count):
        for j in range(i):
            both = there[:, i] & there[:, j]
            matrix[i, j] = matrix[j, i] = _pearson(table[both, i], table[both, j], min_observations)
    return matrix


def _pearson(x: Floats, y: Floats, min_observations: int) -> float:
    if x.size < max(min_observations, 2):
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    spread_x, spread_y = math.sqrt((x * x).mean()), math.sqrt((y * y).mean())
    if not (spread_x > _STILL and spread_y > _STILL):
        return math.nan
    return min(1.0, max(-1.0, float((x * y).mean()) / (spread_x * spread_y)))


def clusters(matrix: ArrayLike, names: Sequence[str], threshold: float) -> tuple[tuple[str, ...], ...]:
    """Groups of `names` [N] linked by correlations of `threshold` or more in size, or by unknown ones (NaN).

    Links carry on: a with b and b with c makes one group of three. Every name is in exactly one group, alone
    if need be; names within groups and groups are sorted, so the order of the names changes nothing.
    """
    table = np.asarray(matrix, dtype=np.float64)
    if table.shape != (len(names), len(names)) or len(set(names)) != len(names):
        raise ValueError(f"needs one row and column a name, names once each: {table.shape} for {list(names)}")
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}")
    apart = np.abs(table) < threshold - _ROUNDING  # False for NaN
    parents = list(range(len(names)))
    for i, j in zip(*np.nonzero(~apart), strict=True):
        parents[_root(parents, int(i))] = _root(parents, int(j))
    groups: dict[int, list[str]] = {}
    for index, name in enumerate(names):
        groups.setdefault(_root(parents, index), []).append(name)
    return tuple(sorted(tuple(sorted(group)) for group in groups.values()))


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


class CorrelationTracker:
    """Clusters of instruments, kept up to date bar by bar in bounded memory.

    `days` of returns from one full hour to the next; with bars longer than an hour (`bar_secs`) from bar
    to bar. The close of an hour is the last one in it, up to and including its end; an hour without a bar has
    none, and neither have the two returns beside it. Only hours that ended before the newest bar count, so
    that bars of one time may come in any order, instrument by instrument or mixed, late ones included.

    A pair needs `MIN_OBSERVATIONS` common returns, or half of a window shorter than twice that; until then
    it counts as moving together, so without history all instruments are one cluster. One instrument without
    history therefore links all others as well.
    """

    def __init__(self, instruments: Sequence[str], days: int, *, bar_secs: int = 60) -> None:
        if days < 1 or bar_secs < 1 or not instruments:
            raise ValueError(f"needs instruments, days >= 1 and bar_secs >= 1, got {days} and {bar_secs}")
        self._names = sorted(set(instruments))
        self._columns = {name: column for column, name in enumerate(self._names)}
        step_secs = max(_HOUR_SECS, bar_secs)
        self._step = step_secs * _NS_PER_SEC
        returns = max(2, days * _DAY_SECS // step_secs)
        self._needed = min(MIN_OBSERVATIONS, returns // 2)
        # rows by hour, modulo: one more close than returns, and the hour under way
        self._closes = np.full((returns + 2, len(self._names)), math.nan)
        self._times = np.zeros(self._closes.shape, dtype=np.int64)
        self._newest: int | None = None
        self._known: dict[float, tuple[tuple[str, ...], ...]] = {}

    def update(self, ts_event: int, instrument: str, close: float) -> None:
        """Take one bar's close, `ts_event` its end in ns UTC. Closes older than the window change nothing.

        DataError for a close that is no positive number or an instrument that is not followed.
        """
        if instrument not in self._columns or not 0.0 < close < math.inf:
            raise DataError(
                f"correlation: {instrument} close {close} at {ts_event}: needs a positive price of one of "
                f"{', '.join(self._names)}"
            )
        hour = -(-ts_event // self._step)
        if self._newest is None or hour > self._newest:
            self._advance(hour)
        newest = hour if self._newest is None else self._newest
        rows = len(self._closes)
        if hour <= newest - rows:
            return
        row, column = hour % rows, self._columns[instrument]
        if ts_event >= self._times[row, column]:
            self._closes[row, column] = close
            self._times[row, column] = ts_event
            if hour < newest:
                self._known.clear()

    def _advance(self, hour: int) -> None:
        """Open a new hour: the rows it and the hours left out take over are emptied."""
        rows = len(self._closes)
        first = hour if self._newest is None else max(self._newest + 1, hour - rows + 1)
        for passed in range(first, hour + 1):
            self._closes[passed % rows] = math.nan
        self._newest = hour
        self._known.clear()

    def extend(self, instrument: str, ts_event: ArrayLike, close: ArrayLike) -> None:
        """Take many bars of one instrument: ascending times [n] (ns UTC), closes [n]; `update` for each."""
        times = np.asarray(ts_event, dtype=np.int64)
        prices = np.asarray(close, dtype=np.float64)
        if times.ndim != 1 or times.shape != prices.shape or np.any(np.diff(times) <= 0):
            raise DataError(f"correlation: {instrument}: needs ascending times and as many closes")
        if not np.all((prices > 0.0) & (prices < math.inf)):
            raise DataError(f"correlation: {instrument}: every close must be a positive number")
        hours = -(-times // self._step)
        for index in np.flatnonzero(np.append(hours[1:] != hours[:-1], True))[: len(hours)]:
            self.update(int(times[index]), instrument, float(prices[index]))

    def matrix(self) -> Floats:
        """The correlations [N, N] as known now, instruments sorted by name; NaN where unknown."""
        if self._newest is None:
            return np.where(np.eye(len(self._names)) == 1.0, 1.0, math.nan)
        rows = len(self._closes)
        ended = np.arange(self._newest - rows + 1, self._newest) % rows
        return correlation_matrix(np.diff(np.log(self._closes[ended]), axis=0), self._needed)

    def clusters(self, threshold: float) -> tuple[tuple[str, ...], ...]:
        """The clusters as known now; every instrument in exactly one. Recomputed when an hour has ended."""
        if threshold not in self._known:
            self._known[threshold] = clusters(self.matrix(), self._names, threshold)
        return self._known[threshold]
