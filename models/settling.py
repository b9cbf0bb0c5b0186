"""How much history features need until where it began no longer matters.

Smoothings (averages that forget exponentially) have a value after their warm-up, and one that is still far
off: `macd_hist` after its 33 bars by most of its own spread. How far is measured here, once a process, on a
random walk: each column with all of its history against the same column with the last n bars of it. "Off" is
in shares of the column's standard deviation, the largest seen from bar n on.
"""

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.definitions import DEFINITIONS
from models.features import FeatureSet, OnlineFeatures
from models.kernel import HIGHER

__all__ = ["Unsettled", "settling_bars", "unsettled"]

type Floats = NDArray[np.float64]

_MINUTE_NS = 60 * 10**9
_SUFFIX, _EVERY = HIGHER[1][0]  # what a higher timeframe of any length forgets, in its own bars
_OWN_BARS = 2400
_STARTS = (3600, 4175)  # where a higher bar begins
_SEEDS = (0, 1)
_STEP, _WICK = 1e-3, 5e-4


class Unsettled(NamedTuple):
    """The column that is furthest off, and by what share of its standard deviation."""

    column: str
    off: float


def settling_bars(features: FeatureSet, tolerance: float) -> int:
    """Bars after which no column of `features` is off by more than `tolerance` (of its standard deviation).

    For the worst place on the clock to start history at, as `FeatureSet.warmup_bars`, and never less.

    >>> settling_bars(FeatureSet(("return_3",)), 1e-4)
    3
    >>> settling_bars(FeatureSet(("rsi_14",)), 1e-2) < settling_bars(FeatureSet(("rsi_14_1h",)), 1e-2) // 50
    True
    """
    return max(_bars_of(name, features.bar_minutes, tolerance) for name in features.names)


def unsettled(features: FeatureSet, bars: int) -> Unsettled:
    """Which column of `features` is furthest off after so many bars; infinitely without a value."""
    found = (Unsettled(name, _off(name, features.bar_minutes, bars)) for name in features.names)
    return max(found, key=lambda each: each.off)


def _bars_of(column: str, bar_minutes: int, tolerance: float) -> int:
    curve, every = _curve_of(column, bar_minutes)
    own = int(np.argmax(curve <= tolerance)) if curve[-1] <= tolerance else len(curve)
    return own if every == 0 else (own + 2) * every - 2


def _off(column: str, bar_minutes: int, bars: int) -> float:
    curve, every = _curve_of(column, bar_minutes)
    own = bars if every == 0 else (bars + 2) // every - 2
    return float(curve[min(own, len(curve) - 1)]) if own >= 0 else float("inf")


def _curve_of(column: str, bar_minutes: int) -> tuple[Floats, int]:
    """How far it is off after 0, 1, 2 ... of its own bars, and how many bars one lasts (0: the same ones)."""
    if column in DEFINITIONS:
        return _curves()[column], 0
    name, _, suffix = column.rpartition("_")
    return _curves()[f"{name}_{_SUFFIX}"], dict(HIGHER[bar_minutes])[suffix] // bar_minutes


@functools.cache
def _curves() -> dict[str, Floats]:
    """Of every column of minutes and of one higher timeframe: the largest share it is off from bar n on."""
    suffix = f"_{_SUFFIX}"
    names = [n for n in FeatureSet.complete(1).names if n in DEFINITIONS or n.endswith(suffix)]
    features = FeatureSet(tuple(names), 1)
    higher = np.array([name not in DEFINITIONS for name in names])
    worst = np.zeros((_OWN_BARS, len(names)))
    for seed in _SEEDS:
        times, market = _walk(seed)
        whole = OnlineFeatures(features).extend(times, *market)
        spread = np.std(whole[_STARTS[0] :], axis=0)
        for start in _STARTS:
            late = OnlineFeatures(features).extend(times[start:], *market[:, start:])
            off = _share(late, whole[start:], spread)
            closing = (start + np.arange(len(off)) + 1) % _EVERY == 0
            worst[:, ~higher] = np.maximum(worst[:, ~higher], _from_each_on(off[:, ~higher]))
            worst[:, higher] = np.maximum(worst[:, higher], _from_each_on(off[closing][:, higher]))
    return {name: worst[:, place] for place, name in enumerate(names)}


def _walk(seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Minutes of a market without memory: times [n], and open, high, low, close, volume [5, n]."""
    rng, n = np.random.default_rng(seed), _STARTS[-1] + _EVERY * (_OWN_BARS + 2)
    close = np.exp(np.cumsum(rng.normal(0.0, _STEP, n)))
    opened = np.r_[1.0, close[:-1]]
    high = np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, _WICK, n)))
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, _WICK, n)))
    volume = np.exp(rng.normal(0.0, 1.0, n))
    times = _MINUTE_NS * np.arange(1, n + 1, dtype=np.int64)
    return times, np.stack((opened, high, low, close, volume))


def _share(late: Floats, whole: Floats, spread: Floats) -> Floats:
    """|late - whole| / spread; without a value infinite, and 0 where the two are the same."""
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(late - whole) / spread
    off[late == whole] = 0.0
    off[np.isnan(off)] = np.inf
    return off


def _from_each_on(off: Floats) -> Floats:
    return np.maximum.accumulate(off[::-1], axis=0)[::-1][:_OWN_BARS]
