"""Streaming indicators: one bar in, one value out, the same compiled code online and over arrays.

All memory of an indicator lies in one flat float64 array, `state`. `state[CURSOR]` hands out slots: an
indicator takes what it needs and moves the cursor on, so indicators nest freely. `state[CLOCK]` is the index
of the current bar on a gapless clock. One rule follows: **call indicators unconditionally and in the same
order every bar**, or the cursor hands out other slots than the bar before.

Rules shared by all functions here
    warm-up     NaN until the indicator has all the values it is made of; fresh state is NaN everywhere.
    causality   a value depends on the current and earlier bars only.
    NaN input   a window gives NaN while it holds one; a smoothing gives NaN for that bar and goes on after.
    windows     a ring is addressed by `clock % n`: a window's bits do not depend on where history starts.
    flat input  zero ranges and zero volumes give a defined value, never NaN or infinity.

Smoothing constants, seeds and formulas are those of J. Welles Wilder, "New Concepts in Technical Trading
Systems" (1978), and of TA-Lib, save where a docstring says otherwise.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "CLOCK",
    "CURSOR",
    "adx",
    "atr",
    "bollinger",
    "change",
    "compiled",
    "donchian",
    "ema",
    "keltner",
    "lag",
    "macd",
    "moments",
    "obv",
    "position",
    "rma",
    "roc",
    "rolling_max",
    "rolling_min",
    "root",
    "rsi",
    "sma",
    "smooth",
    "stochastic",
    "take",
    "true_range",
    "vwap",
    "zscore",
]

type State = NDArray[np.float64]


def compiled[F: Callable[..., Any]](function: F) -> F:
    """numba's njit for functions of the kernel; the function's types are kept.

    Such functions are called from compiled code only and allocate nothing: without wrappers and reference
    counts they compile in half the time and run half as fast again.
    """
    result: F = njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
    return result


CURSOR = 0
CLOCK = 1
NAN = math.nan
# Rolling sums are rebuilt when subtraction has cancelled more than three digits of the variance.
CANCELLATION = 1e-3


@compiled
def take(state: State, n: int) -> int:
    """Reserve the next `n` slots for the caller and return the index of the first."""
    first = int(state[CURSOR])
    if first + n > len(state):
        raise IndexError("streaming state is too small")
    state[CURSOR] = first + n
    return first


@compiled
def lag(state: State, x: float, n: int) -> float:
    """`x` as it was `n` bars ago."""
    slot = take(state, n) + int(state[CLOCK]) % n
    before: float = state[slot]
    state[slot] = x
    return before


@compiled
def change(state: State, x: float) -> float:
    """`x` less its value one bar ago."""
    return x - lag(state, x, 1)


@compiled
def smooth(state: State, x: float, n: int, weight: float) -> float:
    """Exponential smoothing whose first value is the simple mean of the first `n` valid inputs."""
    slot = take(state, 2)
    if math.isnan(x):
        return NAN
    seen = state[slot]
    if math.isnan(seen):
        seen = 0.0
        state[slot + 1] = 0.0
    if seen < n:
        state[slot] = seen + 1.0
        state[slot + 1] += x
        if seen + 1.0 < n:
            return NAN
        state[slot + 1] /= n
    else:
        state[slot + 1] += weight * (x - state[slot + 1])
    average: float = state[slot + 1]
    return average


@compiled
def ema(state: State, x: float, n: int) -> float:
    """Exponential moving average, weight 2 / (n + 1)."""
    return smooth(state, x, n, 2.0 / (n + 1))


@compiled
def rma(state: State, x: float, n: int) -> float:
    """Wilder's moving average, weight 1 / n."""
    return smooth(state, x, n, 1.0 / n)


@compiled
def _rebuild_sums(state: State, first: int, x: float, n: int) -> None:
    """Sums of powers about the window's mean, from the ring: what sliding updates start from."""
    ring = first + 5
    offset = 0.0
    for k in range(ring, ring + n):
        offset += state[k] - x
    mean = x + offset / n
    s1 = 0.0
    s2 = 0.0
    s3 = 0.0
    for k in range(ring, ring + n):
        d = state[k] - mean
        s1 += d
        s2 += d * d
        s3 += d * d * d
    state[first] = mean
    state[first + 1] = s1
    state[first + 2] = s2
    state[first + 3] = s3
    state[first + 4] = s2


@compiled
def _slide_sums(state: State, first: int, x: float, old: float, n: int) -> bool:
    """Let `x` in and `old` out; True when cancellation has spoilt the sums.

    Slot 4 remembers the largest sum of squares since the last rebuild.
    """
    d = x - state[first]
    e = old - state[first]
    state[first + 1] += d - e
    state[first + 2] += d * d - e * e
    state[first + 3] += d * d * d - e * e * e
    state[first + 4] = max(state[first + 4], state[first + 2])
    s1 = state[first + 1]
    return not state[first + 2] - s1 * s1 / n >= CANCELLATION * state[first + 4]


@compiled
def moments(state: State, x: float, n: int) -> tuple[float, float, float]:
    """Mean, population standard deviation (ddof 0) and third central moment of the last `n` values.

    Sliding sums about a reference, rebuilt from the window every `n` bars at a fixed place on the clock and
    whenever cancellation has spoilt them: no drift over any length of history, and a flat window has
    deviation exactly 0.
    """
    first = take(state, n + 5)
    turn = int(state[CLOCK]) % n
    old = state[first + 5 + turn]
    state[first + 5 + turn] = x
    if turn == n - 1 or math.isnan(old) or _slide_sums(state, first, x, old, n):
        _rebuild_sums(state, first, x, n)
    m1 = state[first + 1] / n
    m2 = state[first + 2] / n
    m3 = state[first + 3] / n
    return state[first] + m1, root(m2 - m1 * m1), m3 - 3.0 * m1 * m2 + 2.0 * m1 * m1 * m1


@compiled
def sma(state: State, x: float, n: int) -> float:
    """Mean of the last `n` values."""
    return moments(state, x, n)[0]


@compiled
def rolling_max(state: State, x: float, n: int) -> float:
    """Largest of the last `n` values: a ring, searched again only when the largest leaves it."""
    first = take(state, n + 1)
    ring = first + 1
    slot = ring + int(state[CLOCK]) % n
    old = state[slot]
    state[slot] = x
    best: float = state[first]
    if x >= best:
        best = x
    elif old == best or math.isnan(best) or math.isnan(x):
        best = state[ring]
        for k in range(ring + 1, ring + n):
            if math.isnan(best):
                break
            if not state[k] <= best:
                best = state[k]
    state[first] = best
    return best


@compiled
def rolling_min(state: State, x: float, n: int) -> float:
    """Smallest of the last `n` values."""
    return -rolling_max(state, -x, n)


@compiled
def position(x: float, low: float, high: float, flat: float) -> float:
    """Where `x` lies between `low` (0) and `high` (1); `flat` when the two are one."""
    if high > low:
        return (x - low) / (high - low)
    return flat if high == low else NAN


@compiled
def root(x: float) -> float:
    """Square root; rounding that has made a sum of squares negative counts as 0."""
    return math.sqrt(x) if x > 0.0 else x * 0.0


@compiled
def true_range(state: State, high: float, low: float, close: float) -> float:
    """Range of the bar including the gap from the previous close; NaN on the first bar."""
    before = lag(state, close, 1)
    if math.isnan(before):
        return NAN
    return max(high, before) - min(low, before)


@compiled
def atr(state: State, high: float, low: float, close: float, n: int) -> float:
    """Average true range, Wilder's smoothing."""
    return rma(state, true_range(state, high, low, close), n)


@compiled
def rsi(state: State, close: float, n: int) -> float:
    """Relative strength index, 0 to 100; 50 when nothing has moved."""
    move = change(state, close)
    gain = rma(state, move if move > 0.0 else move * 0.0, n)
    loss = rma(state, -move if move < 0.0 else move * 0.0, n)
    return 100.0 * position(gain, 0.0, gain + loss, 0.5)


@compiled
def macd(state: State, close: float, fast: int, slow: int, signal: int) -> tuple[float, float, float]:
    """Line (fast less slow EMA), its EMA and the difference of the two.

    TA-Lib starts the fast EMA later, so that both begin on one bar; the two converge.
    """
    quick = ema(state, close, fast)
    line = quick - ema(state, close, slow)
    average = ema(state, line, signal)
    return line, average, line - average


@compiled
def adx(state: State, high: float, low: float, close: float, n: int) -> tuple[float, float, float]:
    """Average directional index, +DI and -DI, 0 to 100; 0 when nothing has moved.

    Every average is seeded with the simple mean of its first `n` values, as Wilder's worksheets are; TA-Lib
    seeds ranges and movements with one value fewer; the two converge.
    """
    up = change(state, high)
    down = -change(state, low)
    span = rma(state, true_range(state, high, low, close), n)
    rise = rma(state, up if up > down and up > 0.0 else up * 0.0, n)
    fall = rma(state, down if down > up and down > 0.0 else down * 0.0, n)
    plus = 100.0 * position(rise, 0.0, span, 0.0)
    minus = 100.0 * position(fall, 0.0, span, 0.0)
    index = 100.0 * position(abs(plus - minus), 0.0, plus + minus, 0.0)
    return rma(state, index, n), plus, minus


@compiled
def bollinger(state: State, close: float, n: int, k: float) -> tuple[float, float, float]:
    """Upper band, mean and lower band, `k` population standard deviations (ddof 0) apart."""
    mean, deviation, _ = moments(state, close, n)
    return mean + k * deviation, mean, mean - k * deviation


@compiled
def donchian(state: State, high: float, low: float, n: int) -> tuple[float, float, float]:
    """Highest high, middle and lowest low of the last `n` bars, the current one included."""
    upper = rolling_max(state, high, n)
    lower = rolling_min(state, low, n)
    return upper, 0.5 * (upper + lower), lower


@compiled
def keltner(
    state: State, high: float, low: float, close: float, n: int, n_atr: int, multiplier: float
) -> tuple[float, float, float]:
    """Upper band, EMA of the close and lower band, `multiplier` average true ranges apart."""
    middle = ema(state, close, n)
    width = multiplier * atr(state, high, low, close, n_atr)
    return middle + width, middle, middle - width


@compiled
def stochastic(
    state: State, high: float, low: float, close: float, n: int, n_smooth: int, n_signal: int
) -> tuple[float, float]:
    """Slow %K and %D, 0 to 100, simple means; a window without range counts as 50."""
    upper = rolling_max(state, high, n)
    lower = rolling_min(state, low, n)
    k = sma(state, 100.0 * position(close, lower, upper, 0.5), n_smooth)
    return k, sma(state, k, n_signal)


@compiled
def obv(state: State, close: float, volume: float) -> float:
    """On-balance volume, beginning with the first bar's volume as in TA-Lib."""
    before = lag(state, close, 1)
    slot = take(state, 1)
    total: float = state[slot]
    if math.isnan(total):
        total = volume
    elif close > before:
        total += volume
    elif close < before:
        total -= volume
    elif close != before:
        return NAN
    state[slot] = total
    return total


@compiled
def vwap(state: State, high: float, low: float, close: float, volume: float, n: int) -> float:
    """Mean of the typical price over the last `n` bars weighted by volume; unweighted when none traded."""
    typical = (high + low + close) / 3.0
    plain = sma(state, typical, n)
    weight = sma(state, volume, n)
    value = sma(state, typical * volume, n)
    if weight > 0.0:
        return value / weight
    return plain if weight == 0.0 else NAN


@compiled
def roc(state: State, x: float, n: int) -> float:
    """Rate of change over `n` bars in per cent."""
    before = lag(state, x, n)
    return 100.0 * (x / before - 1.0) if before != 0.0 else NAN


@compiled
def zscore(state: State, x: float, n: int) -> float:
    """Distance from the mean of the last `n` values in population standard deviations; 0 when all are
    equal."""
    mean, deviation, _ = moments(state, x, n)
    if deviation > 0.0:
        return (x - mean) / deviation
    return 0.0 if deviation == 0.0 else NAN
