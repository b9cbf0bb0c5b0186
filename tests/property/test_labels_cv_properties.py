from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cv import (
    CombinatorialPurgedCV,
    PurgedKFold,
    WalkForward,
    chronological_parts,
    purged_train_indices,
)
from models.labels import triple_barrier

seeds = st.integers(0, 2**32 - 1)


def market(seed: int, n: int) -> pd.DataFrame:
    """Bars on a coarse grid of prices, so that ties, gaps and bars touching both barriers are frequent."""
    rng = np.random.default_rng(seed)
    close = 100.0 + rng.integers(-3, 4, n).cumsum() % 17
    open_ = np.r_[close[0], close[:-1]] + rng.integers(-1, 2, n) * (rng.uniform(size=n) < 0.3)
    high = np.maximum(open_, close) + rng.integers(0, 3, n)
    low = np.minimum(open_, close) - rng.integers(0, 3, n)
    times = pd.date_range("2024-01-01", periods=n, freq="5min", tz="UTC").as_unit("ns")
    return pd.DataFrame({"ts_event": times, "open": open_, "high": high, "low": low, "close": close})


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 12), st.integers(20, 80), st.data())
def test_cutting_the_future_changes_no_label_that_had_ended(
    seed: int, horizon: int, n: int, data: st.DataObject
) -> None:
    bars, cut = market(seed, n), data.draw(st.integers(1, n))
    arguments = {"horizon_bars": horizon, "take_profit": 0.03, "stop_loss": 0.02, "cost": 0.001}
    whole = triple_barrier(bars, **arguments)
    part = triple_barrier(bars.iloc[:cut], **arguments)
    ended = (whole["label_end"] <= bars["ts_event"].iloc[cut - 1]).to_numpy()[:cut]
    pd.testing.assert_frame_equal(part[ended], whole.iloc[:cut][ended])
    assert part[~ended]["label"].isna().all()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 12))
def test_every_label_follows_from_the_bars_it_spans(seed: int, horizon: int) -> None:
    bars = market(seed, 50)
    labels = triple_barrier(bars, horizon_bars=horizon, take_profit=0.03, stop_loss=0.02, cost=0.001)
    for i in range(50):
        entry = bars["close"].iloc[i]
        expected = (np.nan, None)
        for j in range(i + 1, min(i + horizon, 49) + 1):
            path = bars.loc[j, ["open", "high", "low", "close"]] / entry - 1
            side = next(
                (1 if x >= 0.03 - 1e-9 else -1 for x in path if x >= 0.03 - 1e-9 or x <= -0.02 + 1e-9), 0
            )
            if side:
                expected = (side, bars["ts_event"].iloc[j])
                break
            if j == i + horizon:
                expected = (np.sign(path["close"]) * (abs(path["close"]) > 0.001), bars["ts_event"].iloc[j])
        np.testing.assert_equal(labels["label"].iloc[i], expected[0])
        if expected[1] is not None:
            assert labels["label_end"].iloc[i] == expected[1]


@st.composite
def lives(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Starts in order with repeats, ends at or after them."""
    n = draw(st.integers(12, 60))
    rng = np.random.default_rng(draw(seeds))
    start = np.sort(rng.integers(0, 2 * n, n))
    return start, start + rng.integers(0, 8, n)


def touches(start: np.ndarray, end: np.ndarray, first: int, last: int) -> np.ndarray:
    return (start <= last) & (end >= first)


@given(lives(), st.integers(0, 100), st.integers(0, 20), st.integers(0, 10))
def test_purging_keeps_exactly_the_labels_off_the_test_span(
    life: tuple[np.ndarray, np.ndarray], first: int, length: int, embargo: int
) -> None:
    start, end = life
    kept = purged_train_indices(start, end, first, first + length, embargo)
    late = (start > first + length) & (start <= first + length + embargo)
    np.testing.assert_array_equal(kept, np.flatnonzero(~touches(start, end, first, first + length) & ~late))


@given(lives(), st.integers(0, 5))
def test_no_training_label_meets_a_test_label(life: tuple[np.ndarray, np.ndarray], embargo: int) -> None:
    start, end = life
    common = {"label_start": start, "label_end": end, "embargo": embargo}
    splitters = [
        PurgedKFold(4, **common),
        CombinatorialPurgedCV(4, 2, **common),
        WalkForward(3, **common),
        WalkForward(2, test_size=4, max_train_size=5, **common),
    ]
    for splitter in splitters:
        splits = list(splitter.split(start))
        assert len(splits) == splitter.get_n_splits()
        for train, test in splits:
            assert not set(train) & set(test)
            assert (np.diff(train) > 0).all()
            assert (np.diff(test) > 0).all()
            for row in test:
                assert not touches(start[train], end[train], start[row], end[row]).any()


@given(lives(), st.integers(0, 5))
def test_purged_k_fold_tests_every_row_once(life: tuple[np.ndarray, np.ndarray], embargo: int) -> None:
    start, end = life
    tests = [test for _, test in PurgedKFold(5, label_end=end, label_start=start, embargo=embargo).split()]
    assert np.concatenate(tests).tolist() == list(range(len(start)))


@given(lives(), st.integers(0, 5))
def test_walk_forward_trains_before_it_tests(life: tuple[np.ndarray, np.ndarray], embargo: int) -> None:
    start, end = life
    for train, test in WalkForward(4, label_end=end, label_start=start, embargo=embargo).split():
        assert (end[train] + embargo < start[test].min()).all()


@given(lives(), st.integers(0, 5), st.sampled_from([{"a": 0.5, "b": 0.5}, {"a": 0.4, "b": 0.3, "c": 0.2}]))
def test_parts_follow_each_other_with_their_labels_apart(
    life: tuple[np.ndarray, np.ndarray], embargo: int, shares: dict[str, float]
) -> None:
    start, end = life
    parts = [rows for rows in chronological_parts(start, end, shares, embargo).values() if len(rows)]
    for earlier, later in pairwise(parts):
        assert end[earlier].max() + embargo < start[later].min()
