"""Indicators against values worked by hand, against TA-Lib and against Nautilus's own."""

import doctest
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import talib
from nautilus_trader import indicators as nautilus
from numpy.typing import NDArray

from models import indicators
from models.indicators import (
    adx,
    atr,
    bollinger,
    donchian,
    ema,
    keltner,
    macd,
    obv,
    rma,
    roc,
    rsi,
    sma,
    stochastic,
    vwap,
    zscore,
)
from tests.feature_markets import tick_market

Floats = NDArray[np.float64]
NAN = np.nan
BARS = tick_market(3000, seed=11)
H, L, C, V = (BARS[name].to_numpy() for name in ("high", "low", "close", "volume"))

# Every indicator on the market above with short parameters, for what all of them share.
CALLS: dict[str, Callable[..., object]] = {
    "adx": lambda h, lo, c, v: adx(h, lo, c, 5),
    "atr": lambda h, lo, c, v: atr(h, lo, c, 5),
    "bollinger": lambda h, lo, c, v: bollinger(c, 5, 2.0),
    "donchian": lambda h, lo, c, v: donchian(h, lo, 5),
    "ema": lambda h, lo, c, v: ema(c, 5),
    "keltner": lambda h, lo, c, v: keltner(h, lo, c, 5, 4, 2.0),
    "macd": lambda h, lo, c, v: macd(c, 3, 5, 2),
    "obv": lambda h, lo, c, v: obv(c, v),
    "rma": lambda h, lo, c, v: rma(c, 5),
    "roc": lambda h, lo, c, v: roc(c, 5),
    "rsi": lambda h, lo, c, v: rsi(c, 5),
    "sma": lambda h, lo, c, v: sma(c, 5),
    "stochastic": lambda h, lo, c, v: stochastic(h, lo, c, 5, 2, 2),
    "vwap": lambda h, lo, c, v: vwap(h, lo, c, v, 5),
    "zscore": lambda h, lo, c, v: zscore(c, 5),
}
FIRST = {  # index of the first value of each result of CALLS
    "adx": (9, 5, 5),
    "atr": (5,),
    "bollinger": (4, 4, 4),
    "donchian": (4, 4, 4),
    "ema": (4,),
    "keltner": (4, 4, 4),
    "macd": (4, 5, 5),
    "obv": (0,),
    "rma": (4,),
    "roc": (5,),
    "rsi": (5,),
    "sma": (4,),
    "stochastic": (5, 6),
    "vwap": (4,),
    "zscore": (4,),
}


def results(name: str, *arrays: Floats) -> tuple[Floats, ...]:
    got = CALLS[name](*arrays)
    return got if isinstance(got, tuple) else (got,)  # type: ignore[return-value]


def near(got: Floats, expected: Sequence[float] | Floats, rel: float = 1e-12) -> None:
    np.testing.assert_allclose(got, expected, rtol=rel, atol=1e-12)


def test_every_fixed_name_is_there_and_in_the_battery() -> None:
    fixed = [
        "sma",
        "ema",
        "rma",
        "rsi",
        "macd",
        "atr",
        "adx",
        "bollinger",
        "donchian",
        "keltner",
        "stochastic",
        "obv",
        "vwap",
        "roc",
        "zscore",
    ]
    assert sorted(fixed) == indicators.__all__ == sorted(CALLS) == sorted(FIRST)


def test_docstring_examples_hold() -> None:
    assert doctest.testmod(indicators).failed == 0


# By hand ---


def test_averages_by_hand() -> None:
    near(sma([1, 2, 3, 5, 8], 3), [NAN, NAN, 2, 10 / 3, 16 / 3])
    near(ema([2, 4, 6, 8, 12], 3), [NAN, NAN, 4, 6, 9])
    near(rma([3, 6, 9, 15], 3), [NAN, NAN, 6, 9])


def test_rsi_by_hand() -> None:
    # moves +1 -0.5 +1.5: gain 0.5 then 1.0, loss 0.25 then 0.125
    near(rsi([10, 11, 10.5, 12], 2), [NAN, NAN, 200 / 3, 800 / 9])
    near(rsi([10, 11, 12], 2), [NAN, NAN, 100])
    near(rsi([12, 11, 10], 2), [NAN, NAN, 0])


def test_macd_by_hand() -> None:
    line, signal, histogram = macd([1, 3, 2, 6], 1, 2, 2)
    near(line, [NAN, 1, 0, 4 / 3])
    near(signal, [NAN, NAN, 0.5, 0.5 + 2 / 3 * (4 / 3 - 0.5)])
    near(histogram, [NAN, NAN, -0.5, (4 / 3 - 0.5) / 3])


def test_true_range_and_direction_by_hand() -> None:
    high, low, close = [10, 12, 11, 13], [8, 9, 7, 9], [9, 11, 8, 12]
    # true ranges 3, 4, 5; +DM 2, 0, 2; -DM 0, 2, 0
    near(atr(high, low, close, 2), [NAN, NAN, 3.5, 4.25])
    index, plus, minus = adx(high, low, close, 2)
    near(plus, [NAN, NAN, 100 / 3.5, 150 / 4.25])
    near(minus, [NAN, NAN, 100 / 3.5, 50 / 4.25])
    near(index, [NAN, NAN, NAN, 25])


def test_bands_by_hand() -> None:
    upper, middle, lower = bollinger([2, 4, 4, 4, 5, 5, 7, 9], 8, 2)
    assert (upper[-1], middle[-1], lower[-1]) == (9, 5, 1)
    upper, middle, lower = donchian([3, 5, 4, 2], [1, 2, 0, 1], 2)
    near(upper, [NAN, 5, 5, 4])
    near(middle, [NAN, 3, 2.5, 2])
    near(lower, [NAN, 1, 0, 0])
    high, low, close = [10, 12, 11, 13], [8, 9, 7, 9], [9, 11, 8, 12]
    upper, middle, lower = keltner(high, low, close, 3, 2, 2.0)
    near(middle, [NAN, NAN, 28 / 3, 32 / 3])
    near(upper, [NAN, NAN, 28 / 3 + 7, 32 / 3 + 8.5])
    near(lower, [NAN, NAN, 28 / 3 - 7, 32 / 3 - 8.5])


def test_stochastic_by_hand() -> None:
    high, low, close = [4, 6, 8, 8], [2, 3, 4, 6], [3, 5, 7, 6]
    # raw %K over 2 bars: 75, 80, 50
    k, d = stochastic(high, low, close, 2, 2, 2)
    near(k, [NAN, NAN, 77.5, 65])
    near(d, [NAN, NAN, NAN, 71.25])


def test_volume_indicators_by_hand() -> None:
    near(obv([5, 6, 6, 4], [10, 20, 30, 40]), [10, 30, 30, -10])
    near(vwap([3, 6, 9], [1, 2, 3], [2, 4, 6], [1, 3, 2], 2), [NAN, (2 + 12) / 4, (12 + 12) / 5])


def test_change_and_zscore_by_hand() -> None:
    near(roc([10, 11, 15], 2), [NAN, NAN, 50])
    near(zscore([1, 3, 5], 2), [NAN, 1, 1])


# Against TA-Lib ---


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (sma(C, 20), talib.SMA(C, 20)),
        (ema(C, 20), talib.EMA(C, 20)),
        (rsi(C, 14), talib.RSI(C, 14)),
        (atr(H, L, C, 14), talib.ATR(H, L, C, 14)),
        (bollinger(C, 20, 2.0)[0], talib.BBANDS(C, 20, 2.0, 2.0)[0]),
        (bollinger(C, 20, 2.0)[2], talib.BBANDS(C, 20, 2.0, 2.0)[2]),
        (donchian(H, L, 20)[0], talib.MAX(H, 20)),
        (donchian(H, L, 20)[2], talib.MIN(L, 20)),
        (stochastic(H, L, C, 14, 3, 3)[1], talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[1]),
        (obv(C, V), talib.OBV(C, V)),
        (roc(C, 10), talib.ROC(C, 10)),
    ],
    ids=[
        "sma",
        "ema",
        "rsi",
        "atr",
        "bollinger-upper",
        "bollinger-lower",
        "donchian-upper",
        "donchian-lower",
        "stochastic-d",
        "obv",
        "roc",
    ],
)
def test_agrees_with_talib_from_the_first_value(got: Floats, expected: Floats) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (macd(C, 12, 26, 9)[0], talib.MACD(C, 12, 26, 9)[0]),
        (macd(C, 12, 26, 9)[1], talib.MACD(C, 12, 26, 9)[1]),
        (macd(C, 12, 26, 9)[2], talib.MACD(C, 12, 26, 9)[2]),
        (adx(H, L, C, 14)[0], talib.ADX(H, L, C, 14)),
        (adx(H, L, C, 14)[1], talib.PLUS_DI(H, L, C, 14)),
        (adx(H, L, C, 14)[2], talib.MINUS_DI(H, L, C, 14)),
    ],
    ids=["macd-line", "macd-signal", "macd-histogram", "adx", "plus-di", "minus-di"],
)
def test_converges_to_talib_where_it_starts_otherwise(got: Floats, expected: Floats) -> None:
    assert not np.allclose(got[33:40], expected[33:40], rtol=1e-9, atol=0.0)
    np.testing.assert_allclose(got[800:], expected[800:], rtol=1e-9, atol=1e-9)


# Against Nautilus ---

WILDER = nautilus.MovingAverageType.Wilder
EXPONENTIAL = nautilus.MovingAverageType.Exponential
SIMPLE = nautilus.MovingAverageType.Simple
MEAN_OF_K = nautilus.StochasticsDMethod.MovingAverage


def drive(indicator: object, columns: Sequence[Floats], fields: str) -> Floats:
    """Values of a Nautilus indicator fed with rows of `columns`."""
    rows = []
    for row in zip(*columns, strict=True):
        indicator.update_raw(*row)  # type: ignore[attr-defined]
        rows.append([getattr(indicator, field) for field in fields.split()])
    return np.array(rows).T


@pytest.mark.parametrize(
    ("got", "indicator", "columns", "fields"),
    [
        ((sma(C, 20),), nautilus.SimpleMovingAverage(20), (C,), "value"),
        ((ema(C, 20),), nautilus.ExponentialMovingAverage(20), (C,), "value"),
        ((rma(C, 20),), nautilus.WilderMovingAverage(20), (C,), "value"),
        ((rsi(C, 14),), nautilus.RelativeStrengthIndex(14, WILDER), (C,), "value"),
        (bollinger(C, 20, 2.0), nautilus.BollingerBands(20, 2.0), (C,), "upper middle lower"),
        (donchian(H, L, 20), nautilus.DonchianChannel(20), (H, L), "upper middle lower"),
        (
            stochastic(H, L, C, 14, 3, 3)[1:],
            nautilus.Stochastics(14, 3, 3, SIMPLE, MEAN_OF_K),
            (H, L, C),
            "value_d",
        ),
        ((zscore(C, 20),), nautilus.ZScore(20), (C,), "value"),
    ],
    ids=["sma", "ema", "rma", "rsi", "bollinger", "donchian", "stochastic", "zscore"],
)
def test_agrees_with_nautilus_from_the_first_value(
    got: tuple[Floats, ...], indicator: object, columns: Sequence[Floats], fields: str
) -> None:
    for ours, theirs in zip(got, drive(indicator, columns, fields), strict=True):
        first = np.flatnonzero(~np.isnan(ours))[0]
        np.testing.assert_allclose(ours[first:], theirs[first:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("got", "indicator", "columns", "fields"),
    [
        ((atr(H, L, C, 14),), nautilus.AverageTrueRange(14, WILDER, True), (H, L, C), "value"),
        (
            macd(C, 12, 26, 9),
            nautilus.MovingAverageConvergenceDivergence(12, 26, 9),
            (C,),
            "value signal histogram",
        ),
        (
            keltner(C, C, C, 20, 10, 2.0),
            nautilus.KeltnerChannel(20, 2.0, 10, EXPONENTIAL, WILDER, True),
            (C, C, C),
            "upper middle lower",
        ),
    ],
    ids=["atr", "macd", "keltner"],
)
def test_converges_to_nautilus_where_it_starts_otherwise(
    got: tuple[Floats, ...], indicator: object, columns: Sequence[Floats], fields: str
) -> None:
    for ours, theirs in zip(got, drive(indicator, columns, fields), strict=True):
        np.testing.assert_allclose(ours[1000:], theirs[1000:], rtol=1e-9, atol=1e-9)


def test_directional_movement_has_the_proportions_of_nautilus() -> None:
    # Nautilus gives smoothed movements without dividing by the range.
    up, down = drive(nautilus.DirectionalMovement(14), (H, L), "pos neg")
    _, plus, minus = adx(H, L, C, 14)
    np.testing.assert_allclose((plus[1000:] / minus[1000:]), up[1000:] / down[1000:], rtol=1e-9)


def test_on_balance_volume_rises_as_nautilus_does_after_the_first_bar() -> None:
    indicator = nautilus.OnBalanceVolume()
    theirs = drive(indicator, (C, V), "value")[0]
    np.testing.assert_allclose(np.diff(obv(C, V)), np.diff(theirs), rtol=1e-9, atol=1e-6)


# What all share ---


@pytest.mark.parametrize("name", CALLS)
def test_values_are_missing_before_the_first_and_finite_from_then_on(name: str) -> None:
    for series, first in zip(results(name, H, L, C, V), FIRST[name], strict=True):
        assert series.shape == C.shape
        assert series.dtype == np.float64
        assert np.isnan(series[:first]).all()
        assert np.isfinite(series[first:]).all()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("length", [0, 1, 4])
def test_arrays_shorter_than_the_period_give_only_missing_values(name: str, length: int) -> None:
    if name == "obv":
        assert results(name, H[:length], L[:length], C[:length], V[:length])[0].shape == (length,)
        return
    for series in results(name, H[:length], L[:length], C[:length], V[:length]):
        assert series.shape == (length,)
        assert np.isnan(series).all()


@pytest.mark.parametrize("name", CALLS)
def test_the_future_changes_no_past_value(name: str) -> None:
    whole = results(name, H, L, C, V)
    for cut in (1, 7, 1234):
        part = results(name, H[:cut], L[:cut], C[:cut], V[:cut])
        for a, b in zip(part, whole, strict=True):
            assert a.tobytes() == b[:cut].tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_inputs_are_left_alone(name: str) -> None:
    arrays = [x.copy() for x in (H, L, C, V)]
    for x in arrays:
        x.flags.writeable = False
    results(name, *arrays)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, (H, L, C, V), strict=True))


@pytest.mark.parametrize("name", CALLS)
def test_a_missing_input_passes_through_and_values_come_back(name: str) -> None:
    arrays = [x[:400].copy() for x in (H, L, C, V)]
    for x in arrays:
        x[200] = NAN
    for got, clean in zip(
        results(name, *arrays), results(name, H[:400], L[:400], C[:400], V[:400]), strict=True
    ):
        assert np.isnan(got[200])
        np.testing.assert_array_equal(got[:200], clean[:200])
        assert np.isfinite(got[220:]).all()


@pytest.mark.parametrize("name", ["bollinger", "donchian", "roc", "sma", "stochastic", "vwap", "zscore"])
def test_a_window_forgets_a_missing_input_when_it_leaves(name: str) -> None:
    arrays = [x[:400].copy() for x in (H, L, C, V)]
    for x in arrays:
        x[200] = NAN
    for got, clean in zip(
        results(name, *arrays), results(name, H[:400], L[:400], C[:400], V[:400]), strict=True
    ):
        np.testing.assert_allclose(got[208:], clean[208:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CALLS)
def test_a_flat_market_gives_defined_values(name: str) -> None:
    flat, still = np.full(60, 0.1), np.zeros(60)
    expected = {
        "rsi": 50.0,
        "adx": 0.0,
        "atr": 0.0,
        "zscore": 0.0,
        "roc": 0.0,
        "macd": 0.0,
        "stochastic": 50.0,
    }
    expected |= {"obv": 0.0}
    for series in results(name, flat, flat, flat, still):
        assert series[-1] == pytest.approx(expected.get(name, 0.1), abs=1e-15)


@pytest.mark.parametrize("period", [0, -3, 2.0, True, "5", None])
def test_a_period_that_is_no_positive_whole_number_is_refused(period: object) -> None:
    with pytest.raises(ValueError, match="sma: a period must be a whole number of at least 1"):
        sma(C, period)  # type: ignore[arg-type]
    if period is not None:  # None stands for the period itself
        with pytest.raises(ValueError, match="keltner: a period"):
            keltner(H, L, C, 5, period, 2.0)  # type: ignore[arg-type]


def test_factors_and_shapes_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(ValueError, match="bollinger: a factor must be a finite number"):
        bollinger(C, 5, NAN)
    with pytest.raises(ValueError, match="atr: needs one-dimensional arrays of one length"):
        atr(H, L[1:], C, 5)
    with pytest.raises(ValueError, match="sma: needs one-dimensional arrays"):
        sma(np.ones((3, 3)), 2)


@pytest.mark.parametrize("period", [1, 2, 500, 2999])
def test_any_period_finds_room(period: int) -> None:
    near(sma(C, period)[period - 1 :], np.convolve(C, np.ones(period) / period, "valid"), rel=1e-9)
    assert np.isfinite(stochastic(H, L, C, period, period, 1)[0][2 * period - 2 :]).all()
    assert np.isfinite(vwap(H, L, C, V, period)[period - 1 :]).all()
    assert np.isfinite(adx(H, L, C, period)[1][period:]).all()


def test_sums_do_not_drift_over_a_long_history() -> None:
    random = np.random.default_rng(0)
    x = 1e5 + np.cumsum(random.normal(0, 1, 300_000))
    x[100_000] = 1e9  # an outlier spoils plain sliding sums for good
    got = bollinger(x, 50, 1.0)
    tail = np.lib.stride_tricks.sliding_window_view(x[-1000:], 50)
    near(got[1][-len(tail) :], tail.mean(axis=1))
    near(got[0][-len(tail) :] - got[1][-len(tail) :], tail.std(axis=1), rel=1e-8)
