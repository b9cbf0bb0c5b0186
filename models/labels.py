"""Triple-barrier labels: which of profit, loss and time a position meets first, net of costs."""

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError

__all__ = ["BARRIERS", "average_uniqueness", "triple_barrier"]

BARRIERS = ("take_profit", "stop_loss", "time")

Floats = NDArray[np.float64]

_TAKE_PROFIT, _STOP_LOSS, _TIME, _OPEN = 0, 1, 2, -1
# A barrier is a product of floats: 100 * 1.1 is 110.00000000000001, and a high of 110 does touch it.
_ROUNDING = 1e-12


def triple_barrier(
    bars: pd.DataFrame, *, horizon_bars: int, take_profit: ArrayLike, stop_loss: ArrayLike, cost: float
) -> pd.DataFrame:
    """Label every bar with the outcome of a long position entered at its close.

    `bars` [n]: `open high low close` without NaN and `ts_event` (bar close, UTC; a column or the index), in
    time order. `take_profit` and `stop_loss` are positive fractions of the entry price, one number or one
    per bar (NaN leaves that bar unlabelled); `cost` is what the round trip costs as a fraction of the
    notional.

    Barriers act from the next bar on. A bar is walked open, high, low, close and the first touch wins; an
    open beyond a barrier exits there, a touch exits at the barrier, and the close of bar i + horizon_bars
    ends it.

    Returns one row per bar, on the index of `bars`:
        label      1 upper barrier first, -1 lower first; at the time barrier the sign of the gross return
                   when it exceeds `cost` in size, else 0. NaN while the outcome is not known.
        label_end  datetime64[ns, UTC], close of the bar that decided; NaT while not known.
        return     of the long position, net of `cost`; NaN while not known.
        barrier    take_profit, stop_loss or time; missing while not known.

    A label depends on bars up to `label_end` only: cutting off later bars does not change it. Near the end
    only touched barriers are known; who trains on these rows should leave out the last `horizon_bars`, or
    quick outcomes are over-represented there. Raises DataError for NaN prices or unordered times,
    ValueError for bad arguments. Source: Lopez de Prado, "Advances in Financial Machine Learning" (2018),
    chapter 3.
    """
    if horizon_bars < 1 or not cost >= 0:
        raise ValueError(f"needs horizon_bars >= 1 and cost >= 0, got {horizon_bars} and {cost}")
    times = _times(bars)
    prices = [np.ascontiguousarray(bars[name], dtype=np.float64) for name in ("open", "high", "low", "close")]
    if not all(np.isfinite(p).all() and (p > 0).all() for p in prices):
        raise DataError("labels need positive, finite prices in every bar; see catalog/quality.py")
    above, below = (
        _widths(w, len(bars), n) for w, n in ((take_profit, "take_profit"), (stop_loss, "stop_loss"))
    )
    label, end, net, barrier = _walk(*prices, above, below, horizon_bars, cost)
    known = barrier != _OPEN
    label_end = pd.Series(pd.NaT, index=bars.index, dtype="datetime64[ns, UTC]")
    label_end.array[known] = times[end[known]]
    return pd.DataFrame(
        {
            "label": label,
            "label_end": label_end,
            "return": net,
            "barrier": pd.Categorical.from_codes(barrier, categories=pd.Index(BARRIERS)),
        },
        index=bars.index,
    )


def average_uniqueness(label_start: ArrayLike, label_end: ArrayLike) -> Floats:
    """How much of an independent observation each label is: the mean of 1 / (labels alive) over its life.

    float64 [n] in (0, 1]. `label_start`, `label_end` [n] are int64 times, the label living over (start,
    end] with end > start. Labels that overlap fully share one observation between them. Source: Lopez de
    Prado (2018), chapter 4.
    """
    start, end = np.asarray(label_start, np.int64), np.asarray(label_end, np.int64)
    if (end <= start).any():
        raise ValueError("every label must end after it starts")
    moments = np.unique(np.concatenate([start, end]))
    born, gone = np.searchsorted(moments, start), np.searchsorted(moments, end)
    change = np.bincount(born, minlength=len(moments)) - np.bincount(gone, minlength=len(moments))
    alive = np.cumsum(change)[:-1]  # over (moments[j], moments[j + 1]]
    lengths = np.diff(moments).astype(np.float64)
    shared = np.concatenate([[0.0], np.cumsum(np.where(alive > 0, lengths / np.maximum(alive, 1), 0.0))])
    return np.asarray((shared[gone] - shared[born]) / (end - start))


def _times(bars: pd.DataFrame) -> pd.DatetimeIndex:
    raw = bars.get("ts_event", bars.index)
    times = pd.DatetimeIndex(pd.to_datetime(raw, unit="ns", utc=True)).as_unit("ns")
    if not (times.is_monotonic_increasing and times.is_unique):
        raise DataError("labels need bars in time order without duplicates; see catalog/quality.py")
    return times


def _widths(value: ArrayLike, n: int, name: str) -> Floats:
    widths = np.asarray(value, dtype=np.float64)
    if widths.ndim > 1 or (widths.ndim == 1 and widths.shape[0] != n):
        raise ValueError(f"{name} must be one number or one per bar ({n}), got shape {widths.shape}")
    if (widths <= 0).any():
        raise ValueError(f"{name} must be positive")
    return np.ascontiguousarray(np.broadcast_to(widths, (n,)))


@njit(cache=True, nogil=True)
def _walk(  # type: ignore[no-untyped-def]
    open_, high, low, close, above, below, horizon, cost
):
    n = len(close)
    label, net = np.full(n, np.nan), np.full(n, np.nan)
    end, barrier = np.zeros(n, np.int64), np.full(n, _OPEN, np.int8)
    for i in range(n):
        if np.isnan(above[i]) or np.isnan(below[i]):
            continue
        entry = close[i]
        upper = entry * (1.0 + above[i]) * (1.0 - _ROUNDING)
        lower = entry * (1.0 - below[i]) * (1.0 + _ROUNDING)
        for j in range(i + 1, min(i + horizon, n - 1) + 1):
            if high[j] >= upper or low[j] <= lower or open_[j] >= upper or open_[j] <= lower:
                up = open_[j] >= upper or (open_[j] > lower and high[j] >= upper)
                gap = open_[j] >= upper or open_[j] <= lower
                gross = open_[j] / entry - 1.0 if gap else (above[i] if up else -below[i])
                label[i], barrier[i] = (1.0, _TAKE_PROFIT) if up else (-1.0, _STOP_LOSS)
                net[i], end[i] = gross - cost, j
                break
        if barrier[i] == _OPEN and i + horizon < n:
            gross = close[i + horizon] / entry - 1.0
            label[i] = 1.0 if gross > cost else (-1.0 if gross < -cost else 0.0)
            net[i], end[i], barrier[i] = gross - cost, i + horizon, _TIME
    return label, end, net, barrier
