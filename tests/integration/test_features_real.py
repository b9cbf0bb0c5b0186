"""Features on recorded Binance markets: the drivers agree bit for bit, and with TA-Lib; all is finite."""

import numpy as np
import pandas as pd
import pytest
import talib

from models.features import FeatureSet, OnlineFeatures, canonical, feature_matrix
from tests.feature_markets import columns, read_bars

RECORDED = "typhonun_DcaTpStrategy"
FILES = {
    "1m": ("BTC_USDT_USDT-1m-futures.feather", 1),
    "3m": ("BTC_USDT_USDT-3m-futures.feather", 3),
    "5m": ("BTC_USDT_USDT-5m-futures.feather", 5),
    "15m": ("ETH_USDT_USDT-15m-futures.feather", 15),
    "30m": ("BTC_USDT_USDT-30m-futures.feather", 30),
    "1h": ("ETH_USDT_USDT-1h-futures.feather", 60),
}


@pytest.fixture(scope="module")
def bitcoin() -> pd.DataFrame:
    return read_bars("futures_um", RECORDED, FILES["1m"][0], bar_minutes=1)


def online_rows(bars: pd.DataFrame, features: FeatureSet) -> np.ndarray:
    online = OnlineFeatures(features)
    return np.array([online.update(*bar) for bar in zip(*(x.tolist() for x in columns(bars)), strict=True)])


@pytest.mark.parametrize("interval", FILES)
def test_recorded_bars_give_the_same_bits_online_and_offline_and_finite_values(interval: str) -> None:
    file, minutes = FILES[interval]
    bars = read_bars("futures_um", RECORDED, file, bar_minutes=minutes)
    # The recordings of an hour's bars are too short for a day's features.
    features = FeatureSet(
        tuple(n for n in FeatureSet.complete(minutes).names if not n.endswith("_1d")), minutes
    )
    offline = feature_matrix(*columns(bars), features)
    online = online_rows(bars, features)
    differing = [
        n for n, a, b in zip(features.names, online.T, offline.T, strict=True) if a.tobytes() != b.tobytes()
    ]
    assert differing == []
    assert len(bars) > features.warmup_bars + 100
    assert np.isfinite(offline[features.warmup_bars :]).all()


def test_gaps_repeats_and_a_restart_in_recorded_bars_change_no_bit(bitcoin: pd.DataFrame) -> None:
    random = np.random.default_rng(4)
    bars = bitcoin.iloc[:6000]
    kept = bars[random.random(len(bars)) > 0.02]
    features = FeatureSet.complete(1)
    offline = feature_matrix(*columns(kept), features)
    online = OnlineFeatures(features)
    rows = []
    for i, bar in enumerate(zip(*(x.tolist() for x in columns(kept)), strict=True)):
        rows.append(online.update(*bar))
        if i % 97 == 0:
            assert online.update(*bar).tobytes() == rows[-1].tobytes()
        if i == 3333:
            resumed = OnlineFeatures(features)
            resumed.restore(online.snapshot())
            online = resumed
    assert np.array(rows).tobytes() == offline.tobytes()


def test_recorded_bars_agree_with_talib(bitcoin: pd.DataFrame) -> None:
    _, _, high, low, close, _ = columns(bitcoin)
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    k, d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    expected = {
        "rsi_14": talib.RSI(close, 14),
        "atr_pct_14": 100.0 * talib.ATR(high, low, close, 14) / close,
        "bollinger_position_20": (close - lower) / (upper - lower),
        "bollinger_width_20": (upper - lower) / middle,
        "stochastic_k": k,
        "stochastic_d": d,
        "ema_gap_200": close / talib.EMA(close, 200) - 1.0,
        "macd_line": line / close,
        "macd_signal": signal / close,
        "macd_hist": histogram / close,
        "adx_14": talib.ADX(high, low, close, 14),
        "di_diff_14": talib.PLUS_DI(high, low, close, 14) - talib.MINUS_DI(high, low, close, 14),
    }
    rows = feature_matrix(*columns(bitcoin), FeatureSet(tuple(expected)))
    for name, ours in zip(expected, rows.T, strict=True):
        # MACD, ADX and DI start differently and converge.
        np.testing.assert_allclose(ours[1000:], expected[name][1000:], rtol=1e-9, atol=1e-9, err_msg=name)


def test_recorded_prices_times_ten_leave_the_features_as_they_were(bitcoin: pd.DataFrame) -> None:
    bars = bitcoin.iloc[:8000]
    scaled = bars.copy()
    scaled[["open", "high", "low", "close"]] *= 10.0
    # Whole ticks make equal up and down movements; scaled and rounded they may differ: no ADX here.
    names = tuple(n for n in FeatureSet.complete(1).names if "adx" not in n and "di_diff" not in n)
    features = FeatureSet(names)
    plain, again = feature_matrix(*columns(bars), features), feature_matrix(*columns(scaled), features)
    np.testing.assert_allclose(again, plain, rtol=1e-9, atol=1e-9)


def test_recorded_prices_times_eight_leave_every_bit_as_it_was(bitcoin: pd.DataFrame) -> None:
    bars = bitcoin.iloc[:8000]
    scaled = bars.copy()
    scaled[["open", "high", "low", "close"]] *= 8.0
    features = FeatureSet.complete(1)
    assert (
        feature_matrix(*columns(scaled), features).tobytes()
        == feature_matrix(*columns(bars), features).tobytes()
    )


def test_prices_one_bit_off_give_the_same_features_once_canonical(bitcoin: pd.DataFrame) -> None:
    bars = bitcoin.iloc[:3000]
    off = bars.copy()
    for name in ("open", "high", "low", "close"):
        off[name] = np.nextafter(off[name].to_numpy(), np.inf)
    features = FeatureSet.complete(1)
    rows = []
    for frame in (bars, off):
        times, *prices, volume = columns(frame)
        rows.append(feature_matrix(times, *(canonical(x, 1) for x in prices), volume, features))
    assert rows[0].tobytes() == rows[1].tobytes()
