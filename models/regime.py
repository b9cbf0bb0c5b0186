"""The market's state: trend, direction and volatility, with persistence so that labels do not flicker.

Two labels are kept, each with hysteresis and a shortest stay of `min_bars` bars:
    trend       ranging, up or down. Trending begins where the ADX reaches `adx_trending` and ends where it
                falls under `adx_ranging`; while it lasts, the slope's sign is the direction. A slope of
                exactly 0 begins no trend and turns none.
    volatility  low, normal or high. High begins where the rank of the volatility exceeds
                `high_volatility_above` and ends `hysteresis` below it; low is the mirror image.

The rank is the share of the last `volatility_window` values that lie below the present one, itself among
them and equal ones counted half (the mean percentile rank): 0.5 in a market that never changes.

One compiled step is fed bar by bar or over arrays, hence the same bits. A bar with a NaN among its inputs, or
before the window is full, has no regime; it leaves the labels and how long they have stood as they are, so
that a state outlives a gap.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError
from configs.schema import RegimeConfig

__all__ = ["REGIME_FEATURES", "OnlineRegime", "Regime", "as_regime", "regimes"]

type Floats = NDArray[np.float64]
type Codes = NDArray[np.int64]

# The columns of the feature table that `update`, `extend` and `regimes` take, in this order.
REGIME_FEATURES = ("adx_14", "slope_50", "realized_volatility_20")
# Layout of the memory: two labels with the bars each has stood, how many volatilities came, their ring.
TREND, LEVEL, SEEN, RING = 0, 2, 4, 5


class Regime(NamedTuple):
    """The state at one bar's close.

    `trending` by ADX; `direction` the sign of the slope (+1, -1, 0 while ranging); `volatility` -1 low, 0
    normal, +1 high; `bars` since the last change of any of the three.
    """

    trending: bool
    direction: int
    volatility: int
    bars: int


class OnlineRegime:
    """The regime bar by bar; `extend` takes whole arrays to the same bits, so history and live bars join.

    Parameters
    ----------
    config
        Thresholds, window and shortest stay.
    """

    def __init__(self, config: RegimeConfig) -> None:
        self._state = np.full(RING + config.volatility_window, np.nan)
        self._state[SEEN] = 0.0
        self._settings = np.array(
            [
                config.adx_trending,
                config.adx_ranging,
                config.high_volatility_above,
                config.low_volatility_below,
                config.hysteresis,
                config.min_bars,
            ]
        )

    def update(self, adx: float, slope: float, volatility: float) -> Regime | None:
        """The regime at this bar's close; None while warming up and where an input is NaN.

        `adx` 0 to 100, `slope` and `volatility` in any unit, of this bar and those before it.
        """
        return as_regime(*_step(self._state, self._settings, adx, slope, volatility))

    def extend(self, adx: ArrayLike, slope: ArrayLike, volatility: ArrayLike) -> Codes:
        """Feed n consecutive bars; int64 [n, 3] of direction, volatility and bars (-1: no regime), each row
        what `as_regime` reads."""
        inputs = [np.ascontiguousarray(x, dtype=np.float64) for x in (adx, slope, volatility)]
        if any(x.ndim != 1 or x.shape != inputs[0].shape for x in inputs):
            raise DataError("regime: adx, slope and volatility must be arrays of one length")
        codes = np.empty((len(inputs[0]), 3), dtype=np.int64)
        _walk(self._state, self._settings, *inputs, codes)
        return codes


def regimes(config: RegimeConfig, adx: ArrayLike, slope: ArrayLike, volatility: ArrayLike) -> Codes:
    """The regimes of n bars, int64 [n, 3] as `OnlineRegime.extend` gives them; inputs are left alone."""
    return OnlineRegime(config).extend(adx, slope, volatility)


def as_regime(direction: int, volatility: int, bars: int) -> Regime | None:
    """One row of `regimes` as a value; None where there is no regime."""
    return None if bars < 0 else Regime(direction != 0, direction, volatility, bars)


@njit(cache=True)
def _rank(ring: Floats, x: float) -> float:
    below = 0
    equal = 0
    for value in ring:
        below += value < x
        equal += value == x
    return (below + 0.5 * equal) / len(ring)


@njit(cache=True)
def _next_trend(now: float, adx: float, slope: float, trending: float, ranging: float) -> float:
    """The trend that the measures speak for; `now` is NaN at the very first."""
    in_trend = abs(now) == 1.0
    if adx < (ranging if in_trend else trending):
        return 0.0
    if slope == 0.0:
        return now if in_trend else 0.0
    return math.copysign(1.0, slope)


@njit(cache=True)
def _next_level(now: float, rank: float, high: float, low: float, hysteresis: float) -> float:
    if rank > high or (now == 1.0 and rank >= high - hysteresis):
        return 1.0
    if rank < low or (now == -1.0 and rank <= low + hysteresis):
        return -1.0
    return 0.0


@njit(cache=True)
def _settle(state: Floats, label: int, wanted: float, min_bars: float) -> None:
    """Let the label become `wanted` unless the present one is younger than `min_bars`."""
    first = math.isnan(state[label])
    age = 0.0 if first else state[label + 1] + 1.0
    if first or (state[label] != wanted and age >= min_bars):
        state[label] = wanted
        age = 0.0
    state[label + 1] = age


@njit(cache=True)
def _step(
    state: Floats, settings: Floats, adx: float, slope: float, volatility: float
) -> tuple[int, int, int]:
    """One bar: direction, volatility, bars; bars -1 when there is no regime."""
    ring = state[RING:]
    if not math.isnan(volatility):
        ring[int(state[SEEN]) % len(ring)] = volatility
        state[SEEN] += 1.0
    if state[SEEN] < len(ring) or math.isnan(adx + slope + volatility):
        return 0, 0, -1
    trend = _next_trend(state[TREND], adx, slope, settings[0], settings[1])
    _settle(state, TREND, trend, settings[5])
    level = _next_level(state[LEVEL], _rank(ring, volatility), settings[2], settings[3], settings[4])
    _settle(state, LEVEL, level, settings[5])
    return int(state[TREND]), int(state[LEVEL]), int(min(state[TREND + 1], state[LEVEL + 1]))


@njit(cache=True, nogil=True)
def _walk(
    state: Floats, settings: Floats, adx: Floats, slope: Floats, volatility: Floats, codes: Codes
) -> None:
    for i in range(len(adx)):
        codes[i, 0], codes[i, 1], codes[i, 2] = _step(state, settings, adx[i], slope[i], volatility[i])
