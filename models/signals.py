"""Columns of the feature table that strategies, stops and the regime look at and no model learns from.

They are wired, compiled, gap-filled and tested like all others (models/definitions.py); only
`FeatureSet.default`, the columns of the models, leaves them out. Adding one here makes no model stale.
"""

import math

from models import streaming as stream
from models.definitions import signal
from models.streaming import State

__all__ = ["breakout_20", "return_7", "return_20", "slope_50", "swing_high_20", "swing_low_20"]


@signal
def return_7(state: State, close: float) -> float:
    """Log return over 7 bars."""
    return math.log(close / stream.lag(state, close, 7))


@signal
def return_20(state: State, close: float) -> float:
    """Log return over 20 bars."""
    return math.log(close / stream.lag(state, close, 20))


@signal
def slope_50(state: State, ema_50: float) -> float:
    """Change of the 50-bar EMA in one bar as a share of it."""
    return ema_50 / stream.lag(state, ema_50, 1) - 1.0


@signal
def breakout_20(state: State, close: float, channel_20: tuple[float, float, float]) -> float:
    """How far the close lies outside the channel of the 20 bars before: > 0 over the highest high, < 0 under
    the lowest low, as a share of that price; 0 inside."""
    upper = stream.lag(state, channel_20[0], 1)
    lower = stream.lag(state, channel_20[2], 1)
    if close > upper:
        return close / upper - 1.0
    if close < lower:
        return close / lower - 1.0
    return 0.0 if upper >= lower else math.nan


@signal
def swing_low_20(close: float, channel_20: tuple[float, float, float]) -> float:
    """Close over the lowest low of 20 bars (this one included), less 1: how far down the swing low is."""
    return close / channel_20[2] - 1.0


@signal
def swing_high_20(close: float, channel_20: tuple[float, float, float]) -> float:
    """Highest high of 20 bars (this one included) over the close, less 1: how far up the swing high is."""
    return channel_20[0] / close - 1.0
