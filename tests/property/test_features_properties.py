"""What holds for features whatever the history, the cut, the gaps and the order of calls."""

import itertools

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from models import indicators, kernel
from models.features import FeatureSet, OnlineFeatures, feature_matrix
from tests.feature_markets import MINUTE_NS, columns, tick_market

FEATURES = FeatureSet.complete(1)
MARKET = tick_market(2600, seed=9)
MATRIX = feature_matrix(*columns(MARKET), FEATURES)
PRICE = st.floats(min_value=1e-6, max_value=1e7, allow_nan=False)
VOLUME = st.one_of(st.just(0.0), st.floats(min_value=1e-6, max_value=1e9))


def rows_of(bars: pd.DataFrame, features: FeatureSet = FEATURES) -> np.ndarray:
    return feature_matrix(*columns(bars), features)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, len(MARKET)))
def test_truncating_the_future_changes_no_past_value(cut: int) -> None:
    assert rows_of(MARKET.iloc[:cut]).tobytes() == MATRIX[:cut].tobytes()


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, len(MARKET) - 1), seed=st.integers(0, 10**6))
def test_another_future_changes_no_past_value(cut: int, seed: int) -> None:
    other = tick_market(len(MARKET), seed=seed)
    other.iloc[:cut] = MARKET.iloc[:cut]
    assert rows_of(other)[:cut].tobytes() == MATRIX[:cut].tobytes()


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_cutting_history_into_calls_changes_nothing_not_even_across_gaps(data: st.DataObject) -> None:
    minutes = data.draw(st.sampled_from(sorted(kernel.HIGHER)))
    features = FeatureSet.complete(minutes)
    bars = tick_market(900, seed=data.draw(st.integers(0, 999)), bar_minutes=minutes)
    for _ in range(data.draw(st.integers(0, 4))):
        first = data.draw(st.integers(1, 899))
        missing = data.draw(st.one_of(st.integers(1, 50), st.integers(1430 // minutes, 1450 // minutes)))
        bars.loc[first:, "ts_event"] += missing * minutes * MINUTE_NS
    whole = rows_of(bars, features)
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, 899), max_size=5))), 900]
    online = OnlineFeatures(features)
    parts = []
    for a, b in itertools.pairwise(cuts):
        arrays = [x[a:b] for x in columns(bars)]
        if data.draw(st.booleans()):
            parts.append(online.extend(*arrays))
        else:
            parts.append(np.array([online.update(*(x[i].item() for x in arrays)) for i in range(b - a)]))
        resumed = OnlineFeatures(features)
        resumed.restore(online.snapshot())
        online = resumed
    assert np.vstack(parts).tobytes() == whole.tobytes()


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_positive_prices_give_finite_values_after_warm_up(data: st.DataObject) -> None:
    features = FeatureSet(tuple(n for n in FEATURES.names if not n.endswith("m") and not n.endswith("h")))
    levels = data.draw(st.lists(st.tuples(PRICE, PRICE, PRICE, PRICE, VOLUME), min_size=1, max_size=40))
    runs = data.draw(st.lists(st.integers(1, 60), min_size=len(levels), max_size=len(levels)))
    table = np.repeat(np.array(levels), runs, axis=0)
    table = np.tile(table, (-(-600 // len(table)), 1))
    table[:, 1] = table[:, :4].max(axis=1)
    table[:, 2] = table[:, :4].min(axis=1)
    times = (np.arange(len(table)) + 1) * MINUTE_NS
    rows = feature_matrix(times, *table.T, features)
    assert np.isfinite(rows[features.warmup_bars :]).all()
    assert not np.isinf(rows).any()


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 400))
def test_windows_have_the_same_bits_wherever_history_starts(start: int) -> None:
    windows = ("bollinger_width_20", "zscore_60", "return_skew_60", "vwap_gap_240", "minmax_position_240")
    features = FeatureSet(windows)
    late = rows_of(MARKET.iloc[start:], features)
    # From the first rebuild at a fixed place on the clock, at most two windows on.
    settled = 2 * 240
    assert late[settled:].tobytes() == rows_of(MARKET, features)[start + settled :].tobytes()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=120),
    period=st.integers(1, 30),
)
def test_rolling_indicators_equal_plain_numpy_windows(values: list[float], period: int) -> None:
    x = np.array(values)
    mean, zscore = indicators.sma(x, period), indicators.zscore(x, period)
    upper, middle, lower = indicators.donchian(x, x, period)
    for i in range(len(x)):
        if i < period - 1:
            assert np.isnan([mean[i], zscore[i], upper[i], lower[i]]).all()
            continue
        window = x[i - period + 1 : i + 1]
        scale = np.abs(window).max() + np.abs(x).max() * 1e-3
        np.testing.assert_allclose(mean[i], window.mean(), rtol=1e-9, atol=1e-9 * scale)
        assert (upper[i], lower[i]) == (window.max(), window.min())
        assert middle[i] == (upper[i] + lower[i]) / 2
        if window.std() > 1e-6 * scale:
            np.testing.assert_allclose(
                zscore[i], (window[-1] - window.mean()) / window.std(), rtol=1e-6, atol=1e-6
            )
