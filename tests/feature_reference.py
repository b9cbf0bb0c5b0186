"""The base features written a second time, in pandas over whole series, to check the kernel against."""

from collections.abc import Callable

import numpy as np
import pandas as pd

__all__ = ["REFERENCE", "higher_reference"]

Series = pd.Series
TAU = 2.0 * np.pi


def seeded(x: Series, n: int, alpha: float) -> Series:
    """Exponential smoothing seeded with the mean of the first n valid values."""
    valid = x.dropna()
    if len(valid) < n:
        return x * np.nan
    start = pd.concat([Series([valid.iloc[:n].mean()], index=[valid.index[n - 1]]), valid.iloc[n:]])
    return start.ewm(alpha=alpha, adjust=False).mean().reindex(x.index)


def ema(x: Series, n: int) -> Series:
    return seeded(x, n, 2.0 / (n + 1))


def rma(x: Series, n: int) -> Series:
    return seeded(x, n, 1.0 / n)


def ratio(a: Series, b: Series, otherwise: float) -> Series:
    """a / b, `otherwise` where b is 0."""
    return (a / b.where(b != 0.0)).where(b != 0.0, otherwise).where(a.notna() & b.notna())


def std(x: Series, n: int) -> Series:
    return x.rolling(n).apply(lambda w: float(np.std(w)), raw=True)


def log_return(b: pd.DataFrame) -> Series:
    return np.log(b.close).diff()


def back(n: int) -> Callable[[pd.DataFrame], Series]:
    return lambda b: np.log(b.close / b.close.shift(n))


def ema_gap(n: int) -> Callable[[pd.DataFrame], Series]:
    return lambda b: b.close / ema(b.close, n) - 1.0


def macd(b: pd.DataFrame) -> tuple[Series, Series]:
    line = ema(b.close, 12) - ema(b.close, 26)
    return line / b.close, ema(line, 9) / b.close


def true_range(b: pd.DataFrame) -> Series:
    before = b.close.shift()
    spans = pd.concat([b.high - b.low, (b.high - before).abs(), (b.low - before).abs()], axis=1)
    return spans.max(axis=1).where(before.notna())


def directional(b: pd.DataFrame) -> tuple[Series, Series]:
    up, down = b.high.diff(), -b.low.diff()
    plus = up.where((up > down) & (up > 0), 0.0).where(up.notna())
    minus = down.where((down > up) & (down > 0), 0.0).where(up.notna())
    span = rma(true_range(b), 14)
    plus_di, minus_di = 100 * rma(plus, 14) / span, 100 * rma(minus, 14) / span
    return plus_di - minus_di, rma(100 * ratio((plus_di - minus_di).abs(), plus_di + minus_di, 0.0), 14)


def rsi(n: int) -> Callable[[pd.DataFrame], Series]:
    def series(b: pd.DataFrame) -> Series:
        move = b.close.diff()
        gain, loss = rma(move.clip(lower=0), n), rma(-move.clip(upper=0), n)
        return 100.0 - 100.0 / (1.0 + gain / loss)

    return series


def stochastic(b: pd.DataFrame) -> Series:
    low, high = b.low.rolling(14).min(), b.high.rolling(14).max()
    return (100.0 * ratio(b.close - low, high - low, 0.5)).rolling(3).mean()


def bollinger_position(b: pd.DataFrame) -> Series:
    mean, deviation = b.close.rolling(20).mean(), std(b.close, 20)
    return ratio(b.close - (mean - 2 * deviation), 4 * deviation, 0.5)


def donchian_position(b: pd.DataFrame) -> Series:
    low, high = b.low.rolling(20).min(), b.high.rolling(20).max()
    return ratio(b.close - low, high - low, 0.5)


def breakout(b: pd.DataFrame) -> Series:
    upper, lower = b.high.shift().rolling(20).max(), b.low.shift().rolling(20).min()
    outside = (b.close / upper - 1.0).clip(lower=0.0) + (b.close / lower - 1.0).clip(upper=0.0)
    return outside.where(upper.notna() & lower.notna())


def minmax_position(b: pd.DataFrame) -> Series:
    low, high = b.close.rolling(240).min(), b.close.rolling(240).max()
    return ratio(b.close - low, high - low, 0.5)


def efficiency(b: pd.DataFrame) -> Series:
    return ratio(b.close - b.close.shift(20), b.close.diff().abs().rolling(20).sum(), 0.0)


def volatility(b: pd.DataFrame, n: int) -> Series:
    return (log_return(b) ** 2).rolling(n).apply(lambda w: float(np.sqrt(np.mean(w))), raw=True)


def skew(b: pd.DataFrame) -> Series:
    def population(w: np.ndarray) -> float:
        d = w - w.mean()
        return float(np.mean(d**3) / np.mean(d**2) ** 1.5)

    return log_return(b).rolling(60).apply(population, raw=True)


def zscore(x: Series, n: int) -> Series:
    return ratio(x - x.rolling(n).mean(), std(x, n), 0.0)


def flow(b: pd.DataFrame, weight: Series) -> Series:
    return ratio((b.volume * weight).rolling(20).sum(), b.volume.rolling(20).sum(), 0.0)


def vwap_gap(n: int) -> Callable[[pd.DataFrame], Series]:
    def series(b: pd.DataFrame) -> Series:
        typical = (b.high + b.low + b.close) / 3.0
        return b.close * b.volume.rolling(n).sum() / (typical * b.volume).rolling(n).sum() - 1.0

    return series


def of_range(b: pd.DataFrame, part: Series) -> Series:
    return ratio(part, b.high - b.low, 0.0)


def angle(b: pd.DataFrame, *, week: bool) -> Series:
    time = pd.Series(pd.to_datetime(b.ts_event.to_numpy(), unit="ns"), index=b.index)
    day = (time.dt.hour * 60 + time.dt.minute) / 1440.0
    return TAU * ((time.dt.day_of_week + day) / 7.0 if week else day)


REFERENCE: dict[str, Callable[[pd.DataFrame], Series]] = {
    "return_1": back(1),
    "return_3": back(3),
    "return_7": back(7),
    "return_10": back(10),
    "return_20": back(20),
    "return_30": back(30),
    "return_120": back(120),
    "ema_gap_12": ema_gap(12),
    "ema_gap_26": ema_gap(26),
    "ema_gap_50": ema_gap(50),
    "ema_gap_200": ema_gap(200),
    "ema_cross_12_50": lambda b: ema(b.close, 12) / ema(b.close, 50) - 1.0,
    "slope_50": lambda b: ema(b.close, 50).pct_change(),
    "macd_line": lambda b: macd(b)[0],
    "macd_signal": lambda b: macd(b)[1],
    "macd_hist": lambda b: macd(b)[0] - macd(b)[1],
    "adx_14": lambda b: directional(b)[1],
    "di_diff_14": lambda b: directional(b)[0],
    "efficiency_20": efficiency,
    "rsi_14": rsi(14),
    "rsi_6": rsi(6),
    "stochastic_k": stochastic,
    "stochastic_d": lambda b: stochastic(b).rolling(3).mean(),
    "bollinger_position_20": bollinger_position,
    "bollinger_width_20": lambda b: 4 * std(b.close, 20) / b.close.rolling(20).mean(),
    "donchian_position_20": donchian_position,
    "donchian_width_20": lambda b: (b.high.rolling(20).max() - b.low.rolling(20).min()) / b.close,
    "breakout_20": breakout,
    "swing_low_20": lambda b: b.close / b.low.rolling(20).min() - 1.0,
    "swing_high_20": lambda b: b.high.rolling(20).max() / b.close - 1.0,
    "minmax_position_240": minmax_position,
    "zscore_60": lambda b: zscore(b.close, 60),
    "atr_pct_14": lambda b: 100.0 * rma(true_range(b), 14) / b.close,
    "range_ratio_14": lambda b: true_range(b) / rma(true_range(b), 14),
    "realized_volatility_20": lambda b: volatility(b, 20),
    "parkinson_volatility_20": lambda b: np.sqrt(
        (np.log(b.high / b.low) ** 2).rolling(20).mean() / np.log(16.0)
    ),
    "volatility_ratio_20_240": lambda b: volatility(b, 20) / volatility(b, 240),
    "return_skew_60": skew,
    "obv_slope_20": lambda b: flow(b, np.sign(b.close.diff())),
    "money_flow_20": lambda b: flow(b, 2.0 * ratio(b.close - b.low, b.high - b.low, 0.5) - 1.0),
    "vwap_gap_60": vwap_gap(60),
    "vwap_gap_240": vwap_gap(240),
    "volume_zscore_60": lambda b: zscore(b.volume, 60),
    "volume_ratio_20_240": lambda b: b.volume.rolling(20).mean() / b.volume.rolling(240).mean(),
    "candle_body": lambda b: of_range(b, b.close - b.open),
    "candle_upper_wick": lambda b: of_range(b, b.high - b[["open", "close"]].max(axis=1)),
    "candle_lower_wick": lambda b: of_range(b, b[["open", "close"]].min(axis=1) - b.low),
    "day_sin": lambda b: np.sin(angle(b, week=False)),
    "day_cos": lambda b: np.cos(angle(b, week=False)),
    "week_sin": lambda b: np.sin(angle(b, week=True)),
    "week_cos": lambda b: np.cos(angle(b, week=True)),
}


def higher_reference(bars: pd.DataFrame, name: str, minutes: int) -> Series:
    """Feature `name` of the bars of `minutes` that are closed and whole, as seen from each base bar."""
    length = minutes * 60_000_000_000
    base = bars.ts_event.iloc[1] - bars.ts_event.iloc[0]
    bucket = (bars.ts_event - 1) // length
    grouped = bars.groupby(bucket.to_numpy())
    higher = grouped.agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        bars=("close", "size"),
    )
    higher.insert(0, "ts_event", (higher.index + 1) * length)
    values = REFERENCE[name](higher[higher.bars == length // base].reset_index(drop=True))
    closes = higher.ts_event[higher.bars == length // base]
    seen = np.searchsorted(closes.to_numpy(), bars.ts_event.to_numpy(), side="right") - 1
    return pd.Series(np.where(seen >= 0, values.to_numpy()[seen], np.nan), index=bars.index)
