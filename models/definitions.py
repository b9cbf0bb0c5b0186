"""The feature table: one small function per feature, wired by the names of its arguments.

An argument is `state` (for the streaming indicators), a field of the current bar (`open high low close
volume`, and `minute`: the bar's close in minutes since 1970, UTC) or the name of another feature of the same
timeframe. `@feature(higher=True)` also makes the feature on the higher timeframes (`rsi_14` and
`rsi_14_1h`); `hidden=True` makes an intermediate value that others may ask for and that is no column.

To add one: write the function here, add its name and an expected value to
tests/contract/test_feature_contract.py. One that strategies look at and models do not learn from is entered
with `@signal` in models/signals.py.

Every column is free of scale (prices times ten give the same value), is NaN during its warm-up and only
then, and is finite for any positive prices and non-negative volumes, a flat market included. Windows and
periods are in bars.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from models import streaming as stream
from models.streaming import State, compiled

__all__ = ["BAR_FIELDS", "DEFINITIONS", "Definition", "feature", "signal"]

BAR_FIELDS = ("state", "minute", "open", "high", "low", "close", "volume")
TAU = 2.0 * math.pi
DAY = 1440
WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-05 was the first Monday
# Below this a spread of log returns is rounding and not movement.
STILL = 1e-12


@dataclass(frozen=True, slots=True)
class Definition:
    """One row of the feature table: `function` is compiled, `arguments` are the names it is wired by.

    `model` is False for a column that no model learns from.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    higher: bool
    hidden: bool
    model: bool = True


DEFINITIONS: dict[str, Definition] = {}


def feature[F: Callable[..., Any]](*, higher: bool = False, hidden: bool = False) -> Callable[[F], F]:
    """Enter the decorated function into the feature table under its own name."""

    def enter(function: F) -> F:
        name = function.__name__
        if name in DEFINITIONS or name in BAR_FIELDS:
            raise ValueError(f"feature name '{name}' is taken")
        arguments = tuple(inspect.signature(function).parameters)
        function = compiled(function)
        DEFINITIONS[name] = Definition(name, function, arguments, higher, hidden)
        return function

    return enter


def signal[F: Callable[..., Any]](function: F) -> F:
    """Enter the decorated function as a column of the bars themselves that no model learns from."""
    entered = feature()(function)
    name = function.__name__
    DEFINITIONS[name] = replace(DEFINITIONS[name], model=False)
    return entered


# Intermediate values ---


@feature(hidden=True)
def log_return(state: State, close: float) -> float:
    """Logarithm of close over the previous close."""
    return math.log(close / stream.lag(state, close, 1))


@feature(hidden=True)
def spread(state: State, high: float, low: float, close: float) -> float:
    """True range in price."""
    return stream.true_range(state, high, low, close)


@feature(hidden=True)
def spread_14(state: State, spread: float) -> float:
    """Average true range in price, Wilder 14."""
    return stream.rma(state, spread, 14)


@feature(hidden=True)
def band_20(state: State, close: float) -> tuple[float, float, float]:
    """Moments of the close over 20 bars."""
    return stream.moments(state, close, 20)


@feature(hidden=True)
def direction_14(state: State, high: float, low: float, close: float) -> tuple[float, float, float]:
    """ADX, +DI and -DI, Wilder 14."""
    return stream.adx(state, high, low, close, 14)


@feature(hidden=True)
def channel_20(state: State, high: float, low: float) -> tuple[float, float, float]:
    """Donchian channel of 20 bars."""
    return stream.donchian(state, high, low, 20)


@feature(hidden=True)
def macd_12_26(state: State, close: float) -> tuple[float, float, float]:
    """MACD line, signal and histogram in price."""
    return stream.macd(state, close, 12, 26, 9)


@feature(hidden=True)
def ema_12(state: State, close: float) -> float:
    """EMA of the close over 12 bars."""
    return stream.ema(state, close, 12)


@feature(hidden=True)
def ema_50(state: State, close: float) -> float:
    """EMA of the close over 50 bars."""
    return stream.ema(state, close, 50)


@feature(hidden=True)
def stochastic_14(state: State, high: float, low: float, close: float) -> tuple[float, float]:
    """Slow stochastic 14, 3, 3."""
    return stream.stochastic(state, high, low, close, 14, 3, 3)


@feature(hidden=True)
def volume_20(state: State, volume: float) -> float:
    """Mean volume over 20 bars."""
    return stream.sma(state, volume, 20)


@feature(hidden=True)
def volatility_20(state: State, log_return: float) -> float:
    """Root mean square of log returns over 20 bars."""
    return stream.root(stream.sma(state, log_return * log_return, 20))


@feature(hidden=True)
def volatility_240(state: State, log_return: float) -> float:
    """Root mean square of log returns over 240 bars."""
    return stream.root(stream.sma(state, log_return * log_return, 240))


# Returns and trend ---


@feature()
def return_1(log_return: float) -> float:
    """Log return over 1 bar."""
    return log_return


@feature(higher=True)
def return_3(state: State, close: float) -> float:
    """Log return over 3 bars."""
    return math.log(close / stream.lag(state, close, 3))


@feature()
def return_10(state: State, close: float) -> float:
    """Log return over 10 bars."""
    return math.log(close / stream.lag(state, close, 10))


@feature()
def return_30(state: State, close: float) -> float:
    """Log return over 30 bars."""
    return math.log(close / stream.lag(state, close, 30))


@feature()
def return_120(state: State, close: float) -> float:
    """Log return over 120 bars."""
    return math.log(close / stream.lag(state, close, 120))


@feature()
def ema_gap_12(close: float, ema_12: float) -> float:
    """Close over its 12-bar EMA, less 1."""
    return close / ema_12 - 1.0


@feature(higher=True)
def ema_gap_26(state: State, close: float) -> float:
    """Close over its 26-bar EMA, less 1."""
    return close / stream.ema(state, close, 26) - 1.0


@feature()
def ema_gap_50(close: float, ema_50: float) -> float:
    """Close over its 50-bar EMA, less 1."""
    return close / ema_50 - 1.0


@feature()
def ema_gap_200(state: State, close: float) -> float:
    """Close over its 200-bar EMA, less 1."""
    return close / stream.ema(state, close, 200) - 1.0


@feature()
def ema_cross_12_50(ema_12: float, ema_50: float) -> float:
    """12-bar EMA over 50-bar EMA, less 1."""
    return ema_12 / ema_50 - 1.0


@feature()
def macd_line(close: float, macd_12_26: tuple[float, float, float]) -> float:
    """MACD line (12, 26) as a share of the close."""
    return macd_12_26[0] / close


@feature()
def macd_signal(close: float, macd_12_26: tuple[float, float, float]) -> float:
    """MACD signal (9) as a share of the close."""
    return macd_12_26[1] / close


@feature(higher=True)
def macd_hist(close: float, macd_12_26: tuple[float, float, float]) -> float:
    """MACD histogram (12, 26, 9) as a share of the close."""
    return macd_12_26[2] / close


@feature(higher=True)
def adx_14(direction_14: tuple[float, float, float]) -> float:
    """Average directional index, 0 to 100."""
    return direction_14[0]


@feature(higher=True)
def di_diff_14(direction_14: tuple[float, float, float]) -> float:
    """+DI less -DI, -100 to 100."""
    return direction_14[1] - direction_14[2]


@feature()
def efficiency_20(state: State, close: float) -> float:
    """Kaufman's efficiency ratio with a sign: net move over the path's length in 20 bars, -1 to 1."""
    path = 20.0 * stream.sma(state, abs(stream.change(state, close)), 20)
    move = close - stream.lag(state, close, 20)
    if path > 0.0:
        return move / path
    return 0.0 if path == 0.0 else math.nan


# Oscillators and places in a range ---


@feature(higher=True)
def rsi_14(state: State, close: float) -> float:
    """Relative strength index, Wilder 14, 0 to 100."""
    return stream.rsi(state, close, 14)


@feature()
def rsi_6(state: State, close: float) -> float:
    """Relative strength index, Wilder 6, 0 to 100."""
    return stream.rsi(state, close, 6)


@feature()
def stochastic_k(stochastic_14: tuple[float, float]) -> float:
    """Slow stochastic %K (14, 3), 0 to 100."""
    return stochastic_14[0]


@feature()
def stochastic_d(stochastic_14: tuple[float, float]) -> float:
    """Slow stochastic %D (3), 0 to 100."""
    return stochastic_14[1]


@feature(higher=True)
def bollinger_position_20(close: float, band_20: tuple[float, float, float]) -> float:
    """Place of the close between the Bollinger bands (20, 2): 0 lower, 1 upper, 0.5 when they are one."""
    return stream.position(close, band_20[0] - 2.0 * band_20[1], band_20[0] + 2.0 * band_20[1], 0.5)


@feature()
def bollinger_width_20(band_20: tuple[float, float, float]) -> float:
    """Distance of the Bollinger bands (20, 2) as a share of their middle."""
    return 4.0 * band_20[1] / band_20[0]


@feature(higher=True)
def donchian_position_20(close: float, channel_20: tuple[float, float, float]) -> float:
    """Place of the close in the 20-bar channel of highs and lows: 0 to 1, 0.5 when it has no height."""
    return stream.position(close, channel_20[2], channel_20[0], 0.5)


@feature()
def donchian_width_20(close: float, channel_20: tuple[float, float, float]) -> float:
    """Height of the 20-bar channel as a share of the close."""
    return (channel_20[0] - channel_20[2]) / close


@feature()
def minmax_position_240(state: State, close: float) -> float:
    """Place of the close between the lowest and highest close of 240 bars: 0 to 1, 0.5 when they are one."""
    upper = stream.rolling_max(state, close, 240)
    lower = stream.rolling_min(state, close, 240)
    return stream.position(close, lower, upper, 0.5)


@feature()
def zscore_60(state: State, close: float) -> float:
    """Distance of the close from its 60-bar mean in standard deviations."""
    return stream.zscore(state, close, 60)


# Volatility ---


@feature(higher=True)
def atr_pct_14(close: float, spread_14: float) -> float:
    """Average true range (Wilder 14) in per cent of the close."""
    return 100.0 * spread_14 / close


@feature()
def range_ratio_14(spread: float, spread_14: float) -> float:
    """The bar's true range over its average; 0 for a bar without range."""
    if spread_14 > 0.0:
        return spread / spread_14
    return 0.0 if spread_14 == 0.0 else math.nan


@feature()
def realized_volatility_20(volatility_20: float) -> float:
    """Root mean square of log returns over 20 bars, per bar."""
    return volatility_20


@feature()
def parkinson_volatility_20(state: State, high: float, low: float) -> float:
    """Parkinson (1980): root of the mean squared log range over 4 ln 2, 20 bars, per bar."""
    height = math.log(high / low)
    return stream.root(stream.sma(state, height * height, 20) / (4.0 * math.log(2.0)))


@feature()
def volatility_ratio_20_240(volatility_20: float, volatility_240: float) -> float:
    """Realised volatility of 20 bars over that of 240; 1 when neither moved."""
    if volatility_240 > 0.0:
        return volatility_20 / volatility_240
    return 1.0 if volatility_240 == 0.0 else math.nan


@feature()
def return_skew_60(state: State, log_return: float) -> float:
    """Skewness (population) of log returns over 60 bars; 0 when they do not differ."""
    _, deviation, third = stream.moments(state, log_return, 60)
    if deviation > STILL:
        return third / (deviation * deviation * deviation)
    return 0.0 if deviation <= STILL else math.nan


# Volume ---


@feature()
def obv_slope_20(state: State, close: float, volume: float, volume_20: float) -> float:
    """Rise of on-balance volume over 20 bars as a share of the volume traded, -1 to 1; 0 without trade."""
    move = stream.change(state, close)
    signed = volume if move > 0.0 else (-volume if move < 0.0 else move)
    rise = stream.sma(state, signed, 20)
    if volume_20 > 0.0:
        return rise / volume_20
    return 0.0 if volume_20 == 0.0 else math.nan


@feature()
def money_flow_20(
    state: State, high: float, low: float, close: float, volume: float, volume_20: float
) -> float:
    """Chaikin money flow over 20 bars, -1 to 1; 0 without trade."""
    flow = stream.sma(state, volume * (2.0 * stream.position(close, low, high, 0.5) - 1.0), 20)
    if volume_20 > 0.0:
        return flow / volume_20
    return 0.0 if volume_20 == 0.0 else math.nan


@feature()
def vwap_gap_60(state: State, high: float, low: float, close: float, volume: float) -> float:
    """Close over the rolling 60-bar volume-weighted typical price, less 1."""
    return close / stream.vwap(state, high, low, close, volume, 60) - 1.0


@feature()
def vwap_gap_240(state: State, high: float, low: float, close: float, volume: float) -> float:
    """Close over the rolling 240-bar volume-weighted typical price, less 1."""
    return close / stream.vwap(state, high, low, close, volume, 240) - 1.0


@feature()
def volume_zscore_60(state: State, volume: float) -> float:
    """Distance of the volume from its 60-bar mean in standard deviations; 0 when all are equal."""
    return stream.zscore(state, volume, 60)


@feature()
def volume_ratio_20_240(state: State, volume: float, volume_20: float) -> float:
    """Mean volume of 20 bars over that of 240; 1 when nothing was traded."""
    mean = stream.sma(state, volume, 240)
    if mean > 0.0:
        return volume_20 / mean
    return 1.0 if mean == 0.0 else math.nan


# The candle and the clock ---


@feature()
def candle_body(open: float, high: float, low: float, close: float) -> float:
    """Close less open as a share of the bar's range, -1 to 1; 0 without range."""
    return (close - open) / (high - low) if high > low else 0.0


@feature()
def candle_upper_wick(open: float, high: float, low: float, close: float) -> float:
    """High less the body's top as a share of the bar's range, 0 to 1; 0 without range."""
    return (high - max(open, close)) / (high - low) if high > low else 0.0


@feature()
def candle_lower_wick(open: float, high: float, low: float, close: float) -> float:
    """The body's bottom less low as a share of the bar's range, 0 to 1; 0 without range."""
    return (min(open, close) - low) / (high - low) if high > low else 0.0


@feature()
def day_sin(minute: int) -> float:
    """Sine of the time of day (UTC) at the bar's close."""
    return math.sin(TAU * (minute % DAY) / DAY)


@feature()
def day_cos(minute: int) -> float:
    """Cosine of the time of day (UTC) at the bar's close."""
    return math.cos(TAU * (minute % DAY) / DAY)


@feature()
def week_sin(minute: int) -> float:
    """Sine of the time of week (UTC, from Monday 00:00) at the bar's close."""
    return math.sin(TAU * ((minute - MONDAY) % WEEK) / WEEK)


@feature()
def week_cos(minute: int) -> float:
    """Cosine of the time of week (UTC, from Monday 00:00) at the bar's close."""
    return math.cos(TAU * ((minute - MONDAY) % WEEK) / WEEK)
