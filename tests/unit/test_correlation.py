"""Correlations worked out by hand, clusters as drawn on paper, and a tracker that agrees with both."""

import math

import numpy as np
import pandas as pd
import pytest

from configs.errors import DataError
from models.correlation import MIN_OBSERVATIONS, CorrelationTracker, clusters, correlation_matrix
from tests.providers import shared_data

HOUR = 3600 * 10**9
MINUTE = 60 * 10**9
START = 1_700_002_800 * 10**9  # a full hour
NAN = math.nan


# --- the matrix ---


def test_a_correlation_worked_out_by_hand():
    # x = 1 2 3 4, y = 2 1 4 3: deviations -1.5 -.5 .5 1.5 and -.5 -1.5 1.5 .5 -> 3 / 5
    assert correlation_matrix([[1, 2], [2, 1], [3, 4], [4, 3]])[0, 1] == pytest.approx(0.6)


def test_only_rows_that_both_have_count():
    # without the second and the last row: x = 1 3 4, y = 2 6 8
    matrix = correlation_matrix([[1, 2], [NAN, 50], [3, 6], [4, 8], [9, NAN]])
    assert matrix[0, 1] == pytest.approx(1.0)
    assert matrix[1, 0] == matrix[0, 1]


@pytest.mark.parametrize(
    "returns",
    [
        [[1, 1], [2, 1], [3, 1]],  # no movement
        [[1, 1], [1, 2], [1, 3]],
        [[1, 0], [2, NAN], [3, NAN]],  # one common row
        [[0, 0], [0, 0], [1e-15, 1e-15]],  # rounding is no movement
        [[NAN, 1], [1, NAN]],
    ],
)
def test_what_cannot_be_known_is_nan(returns):
    assert math.isnan(correlation_matrix(returns)[0, 1])


def test_too_few_common_rows_are_not_enough():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(10, 2))
    assert math.isfinite(correlation_matrix(table, 10)[0, 1])
    assert math.isnan(correlation_matrix(table, 11)[0, 1])


def test_the_matrix_is_numpys():
    table = np.random.default_rng(2).normal(size=(500, 4)) @ np.random.default_rng(3).normal(size=(4, 4))
    np.testing.assert_allclose(correlation_matrix(table), np.corrcoef(table.T), atol=1e-12)


def test_a_matrix_needs_a_table():
    with pytest.raises(ValueError, match=r"\[T, N\]"):
        correlation_matrix([1.0, 2.0])


# --- clusters ---


def matrix_of(size, links):
    matrix = np.eye(size)
    for i, j, value in links:
        matrix[i, j] = matrix[j, i] = value
    return matrix


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([], (("a",), ("b",), ("c",), ("d",))),
        ([(0, 1, 0.7)], (("a", "b"), ("c",), ("d",))),  # at the threshold
        ([(0, 1, 0.69)], (("a",), ("b",), ("c",), ("d",))),
        ([(0, 3, 0.9), (3, 1, 0.8)], (("a", "b", "d"), ("c",))),  # links carry on
        ([(0, 1, 0.9), (2, 3, 0.9)], (("a", "b"), ("c", "d"))),
        ([(0, 2, -0.8)], (("a", "c"), ("b",), ("d",))),  # the same bet on its other side
        ([(1, 2, NAN)], (("a",), ("b", "c"), ("d",))),  # unknown counts as together
    ],
)
def test_clusters_are_what_is_linked(links, expected):
    assert clusters(matrix_of(4, links), "abcd", 0.7) == expected


def test_a_perfect_correlation_reaches_a_threshold_of_one_in_spite_of_rounding():
    returns = np.random.default_rng(4).normal(size=100)
    matrix = correlation_matrix(np.column_stack([returns, returns / 3.0 + 0.1]))
    assert clusters(matrix, "ab", 1.0) == (("a", "b"),)


@pytest.mark.parametrize(
    ("matrix", "names", "threshold"),
    [
        (np.eye(2), "abc", 0.7),
        (np.eye(2), "aa", 0.7),
        (np.eye(2), "ab", 0.0),
        (np.eye(2), "ab", 1.1),
        (np.eye(2), "ab", NAN),
    ],
)
def test_clusters_of_nonsense_are_an_error(matrix, names, threshold):
    with pytest.raises(ValueError, match=r"needs one row|threshold"):
        clusters(matrix, names, threshold)


# --- the tracker ---


def hourly(seed, hours, loadings):
    """Hourly closes of instruments that share one movement to the given extent; [hours, N]."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(hours, 1)), rng.normal(size=(hours, len(loadings)))
    share = np.array(loadings)
    return 100.0 * np.exp(np.cumsum(0.01 * (share * common + np.sqrt(1.0 - share**2) * own), axis=0))


def feed(tracker, names, closes, *, start=START, step=HOUR):
    for row, prices in enumerate(closes):
        for name, price in zip(names, prices, strict=True):
            tracker.update(start + row * step, name, float(price))


def test_without_history_everything_is_one_cluster():
    tracker = CorrelationTracker(["b", "a", "c"], 30)
    assert tracker.clusters(0.7) == (("a", "b", "c"),)
    closes = hourly(5, MIN_OBSERVATIONS + 1, [0.0, 0.0, 0.0])
    feed(tracker, "abc", closes)
    assert tracker.clusters(0.7) == (("a", "b", "c"),)  # one return too few: the last hour is under way
    tracker.update(START + (MIN_OBSERVATIONS + 1) * HOUR, "a", 1.0)
    assert tracker.clusters(0.7) == (("a",), ("b",), ("c",))


def test_one_newcomer_links_all_until_it_is_known():
    tracker = CorrelationTracker("abc", 30)
    closes = hourly(6, 200, [0.0, 0.0])
    feed(tracker, "ab", closes)
    assert tracker.clusters(0.7) == (("a", "b", "c"),)
    feed(tracker, "c", hourly(7, 200, [0.0]))
    assert tracker.clusters(0.7) == (("a",), ("b",), ("c",))


def test_what_moves_together_is_found_and_what_does_not_stays_apart():
    tracker = CorrelationTracker(["btc", "eth", "gold"], 30)
    feed(tracker, ["btc", "eth", "gold"], hourly(8, 400, [0.95, 0.95, 0.0]))
    assert tracker.clusters(0.7) == (("btc", "eth"), ("gold",))
    assert tracker.clusters(0.99) == (("btc",), ("eth",), ("gold",))


def test_old_hours_leave_the_window():
    # ten days together, then ten apart: a window of five days sees only the latter
    names = ["a", "b"]
    together = hourly(9, 240, [1.0, 1.0])
    apart = hourly(10, 240, [0.0, 0.0])
    tracker = CorrelationTracker(names, 5)
    feed(tracker, names, together)
    assert tracker.clusters(0.7) == (("a", "b"),)
    feed(tracker, names, apart, start=START + 240 * HOUR)
    assert tracker.clusters(0.7) == (("a",), ("b",))


def test_the_tracker_equals_the_matrix_of_the_hourly_returns_of_its_window():
    closes = hourly(11, 200, [0.9, 0.8, 0.1])
    tracker = CorrelationTracker("abc", 5)
    feed(tracker, "abc", closes)
    window = np.diff(np.log(closes[:-1][-121:]), axis=0)  # 120 returns; the last hour is not over
    np.testing.assert_array_equal(tracker.matrix(), correlation_matrix(window))


def test_an_hours_close_is_the_last_one_up_to_its_end():
    # bars of 15 minutes; only those at :45 and :00 of hour 2 differ. A bar at the full hour belongs to it.
    tracker, reference = CorrelationTracker("ab", 1), CorrelationTracker("ab", 1)
    closes = hourly(12, 30, [0.5, 0.5])
    for hour, row in enumerate(closes):
        for name, close in zip("ab", row, strict=True):
            end = START + hour * HOUR
            tracker.update(end - 45 * MINUTE, name, 1.0)
            tracker.update(end - 15 * MINUTE, name, 2.0 if hour != 7 else close)
            if hour != 7:  # the bar at the full hour itself is missing: the one before stands for it
                tracker.update(end, name, close)
            reference.update(end, name, close)
    np.testing.assert_array_equal(tracker.matrix(), reference.matrix())
    assert math.isfinite(tracker.matrix()[0, 1])


def test_an_hour_without_a_bar_has_no_close_and_no_return_spans_it():
    closes = hourly(13, 60, [0.9, 0.9])
    tracker = CorrelationTracker("ab", 2)
    for row, (first, second) in enumerate(closes):
        if row != 30:
            tracker.update(START + row * HOUR, "a", first)
        tracker.update(START + row * HOUR, "b", second)
    holed = closes[:-1][-49:].copy()
    holed[30 - 10, 0] = NAN
    returns = np.diff(np.log(holed), axis=0)
    assert np.isnan(returns[:, 0]).sum() == 2
    np.testing.assert_array_equal(tracker.matrix(), correlation_matrix(returns))


def test_a_long_silence_empties_the_window():
    tracker = CorrelationTracker("ab", 5)
    feed(tracker, "ab", hourly(14, 200, [0.0, 0.0]))
    assert tracker.clusters(0.7) == (("a",), ("b",))
    feed(tracker, "ab", [[100.0, 100.0]], start=START + 2_000 * HOUR)
    assert tracker.clusters(0.7) == (("a", "b"),)


def test_the_order_of_bars_and_instruments_changes_nothing():
    closes = hourly(15, 300, [0.9, 0.9, 0.2])
    bars = [
        (START + row * HOUR // 2, name, float(close))
        for row, prices in enumerate(closes)
        for name, close in zip("abc", prices, strict=True)
    ]
    ordered, shuffled = CorrelationTracker("abc", 30), CorrelationTracker("cba", 30)
    for bar in bars:
        ordered.update(*bar)
    for index in np.random.default_rng(16).permutation(len(bars)):
        shuffled.update(*bars[index])
    np.testing.assert_array_equal(ordered.matrix(), shuffled.matrix())
    assert ordered.clusters(0.7) == shuffled.clusters(0.7) == (("a", "b"), ("c",))


def test_between_two_bars_of_one_time_the_answer_is_that_of_before():
    closes = hourly(17, 150, [0.3, 0.3])
    one, other = CorrelationTracker("ab", 30), CorrelationTracker("ab", 30)
    for row, (first, second) in enumerate(closes):
        ts = START + row * HOUR
        one.update(ts, "a", first)
        other.update(ts, "b", second)
        np.testing.assert_array_equal(one.matrix(), other.matrix())
        one.update(ts, "b", second)
        other.update(ts, "a", first)


def test_a_late_bar_of_an_hour_that_ended_is_not_lost():
    closes = hourly(18, 150, [0.9, 0.9])
    tracker, reference = CorrelationTracker("ab", 30), CorrelationTracker("ab", 30)
    feed(reference, "ab", closes)
    for row, (first, second) in enumerate(closes):
        tracker.update(START + row * HOUR, "a", first)
        if row != 100:
            tracker.update(START + row * HOUR, "b", second)
    before = tracker.clusters(0.5)
    tracker.update(START + 100 * HOUR, "b", closes[100, 1])
    np.testing.assert_array_equal(tracker.matrix(), reference.matrix())
    assert tracker.clusters(0.5) == reference.clusters(0.5) == before
    tracker.update(START - 10_000 * HOUR, "b", 1.0)  # far too late
    np.testing.assert_array_equal(tracker.matrix(), reference.matrix())


def test_history_at_once_equals_history_bar_by_bar():
    rng = np.random.default_rng(19)
    minutes = 60 * 24 * 5
    times = START + np.sort(rng.choice(minutes * 2, minutes, replace=False)) * MINUTE
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, (minutes, 2)), axis=0))
    single, whole = CorrelationTracker("ab", 5), CorrelationTracker("ab", 5)
    for column, name in enumerate("ab"):
        whole.extend(name, times, closes[:, column])
        for ts, close in zip(times, closes[:, column], strict=True):
            single.update(int(ts), name, float(close))
    np.testing.assert_array_equal(single.matrix(), whole.matrix())
    whole.extend("a", [], [])
    assert math.isfinite(whole.matrix()[0, 1])


def test_bars_longer_than_an_hour_give_returns_from_bar_to_bar():
    closes = hourly(20, 181, [0.9, 0.9])
    tracker = CorrelationTracker("ab", 30, bar_secs=4 * 3600)
    feed(tracker, "ab", closes, start=START - START % (4 * HOUR), step=4 * HOUR)
    window = np.diff(np.log(closes[:-1]), axis=0)
    np.testing.assert_array_equal(tracker.matrix(), correlation_matrix(window))
    # taken for shorter bars there would be no hour with a neighbour: unknown, hence one cluster
    wrong = CorrelationTracker("ab", 30)
    feed(wrong, "ab", closes, step=4 * HOUR)
    assert wrong.clusters(0.99) == (("a", "b"),)


@pytest.mark.parametrize(
    ("instrument", "close"), [("x", 1.0), ("a", 0.0), ("a", -1.0), ("a", NAN), ("a", math.inf)]
)
def test_a_close_that_is_none_is_refused_in_one_line(instrument, close):
    with pytest.raises(DataError, match=rf"correlation: {instrument} close {close} at 1: needs a positive"):
        CorrelationTracker("a", 1).update(1, instrument, close)


@pytest.mark.parametrize(
    ("times", "closes"),
    [([1, 1], [1.0, 1.0]), ([2, 1], [1.0, 1.0]), ([1], [1.0, 2.0]), ([1, 2], [1.0, NAN])],
)
def test_a_history_that_is_none_is_refused(times, closes):
    with pytest.raises(DataError, match="correlation: a: "):
        CorrelationTracker("a", 1).extend("a", times, closes)


def test_a_tracker_of_nothing_is_an_error():
    for arguments in (([], 30), (["a"], 0)):
        with pytest.raises(ValueError, match="needs instruments"):
            CorrelationTracker(*arguments)
    with pytest.raises(ValueError, match="bar_secs"):
        CorrelationTracker(["a"], 1, bar_secs=0)


def test_real_perpetuals_move_together_as_pandas_says():
    names = ["BTC", "ETH", "SOL", "XRP", "LTC", "LINK"]
    folder = shared_data("futures_um", "typhonun_DcaTpStrategy")
    frames = {}
    tracker = CorrelationTracker(names, 30)
    for name in names:
        table = pd.read_feather(folder / f"{name}_USDT_USDT-1m-futures.feather")
        ends = pd.to_datetime(table["date"], utc=True) + pd.Timedelta(minutes=1)
        frames[name] = pd.Series(table["close"].to_numpy(), index=ends)
        tracker.extend(name, ends.dt.as_unit("ns").astype("int64").to_numpy(), table["close"].to_numpy())
    closes = pd.DataFrame(frames).resample("1h", closed="right", label="right").last().iloc[:-1]
    returns = np.log(closes).diff().iloc[-720:]
    expected = returns[sorted(names)].corr().to_numpy()
    np.testing.assert_allclose(tracker.matrix(), expected, atol=1e-12)
    grouped = tracker.clusters(0.7)
    assert any({"BTC", "ETH"} <= set(group) for group in grouped)
