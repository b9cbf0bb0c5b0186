import numpy as np
import pandas as pd
import pytest

from models.cv import (
    CombinatorialPurgedCV,
    PurgedKFold,
    WalkForward,
    chronological_parts,
    purged_train_indices,
)

START = np.array([0, 2, 4, 6, 8, 10, 12, 14])
END = np.array([3, 5, 7, 9, 11, 13, 15, 17])


def test_labels_touching_the_test_span_are_purged_at_both_ends() -> None:
    # row 1 ends exactly at 5, row 4 begins exactly at 8
    assert purged_train_indices(START, END, 5, 8, 0).tolist() == [0, 5, 6, 7]


def test_the_embargo_drops_labels_that_begin_within_it_after_the_test() -> None:
    assert purged_train_indices(START, END, 5, 8, 2).tolist() == [0, 6, 7]
    assert purged_train_indices(START, END, 5, 8, 3).tolist() == [0, 6, 7]
    assert purged_train_indices(START, END, 5, 8, 4).tolist() == [0, 7]


def test_purging_takes_datetimes_with_a_timedelta() -> None:
    day = pd.date_range("2024-01-01", periods=8, freq="D", tz="UTC")
    got = purged_train_indices(day, day + pd.Timedelta("1D"), day[3], day[4], pd.Timedelta("1D"))
    assert got.tolist() == [0, 1, 6, 7]
    series = purged_train_indices(
        pd.Series(day), pd.Series(day + pd.Timedelta("1D")), day[3], day[4], np.timedelta64(24, "h")
    )
    assert series.tolist() == [0, 1, 6, 7]


def test_a_label_without_a_known_end_is_never_trained_on() -> None:
    end = END.astype(float)
    end[0] = np.nan
    assert purged_train_indices(START.astype(float), end, 5, 8, 0).tolist() == [5, 6, 7]
    times = pd.to_datetime(START, unit="D", utc=True)
    late = pd.Series(pd.to_datetime(END, unit="D", utc=True))
    late[0] = pd.NaT
    assert purged_train_indices(times, late, times[3], times[3], pd.Timedelta(0)).tolist() == [1, 4, 5, 6, 7]


def test_purging_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="test_start"):
        purged_train_indices(START, END, 8, 5, 0)
    with pytest.raises(ValueError, match="embargo"):
        purged_train_indices(START, END, 5, 8, -1)
    with pytest.raises(ValueError, match="shape"):
        purged_train_indices(START, END[:-1], 5, 8, 0)


def test_purged_k_fold_by_hand() -> None:
    # labels live from their row to two rows later; without label_start rows are the clock
    folds = list(PurgedKFold(4, label_end=np.arange(8) + 2, embargo=1).split(np.zeros((8, 1))))
    assert [test.tolist() for _, test in folds] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    # the second test block lives over [2, 5]: rows 0 and 1 touch it, 6 is embargoed
    assert [train.tolist() for train, _ in folds] == [[5, 6, 7], [7], [0, 1], [0, 1, 2, 3]]


def test_combinatorial_cv_tests_every_pair_of_blocks() -> None:
    cv = CombinatorialPurgedCV(4, 2, label_end=np.arange(8))
    splits = list(cv.split())
    assert (len(splits), cv.get_n_splits(), cv.n_paths) == (6, 6, 3)
    assert splits[1][1].tolist() == [0, 1, 4, 5]
    assert splits[1][0].tolist() == [2, 3, 6, 7]


def test_walk_forward_trains_on_the_past_only() -> None:
    splits = list(WalkForward(3, label_end=np.arange(8) + 1).split())
    assert [test.tolist() for _, test in splits] == [[2, 3], [4, 5], [6, 7]]
    assert [train.tolist() for train, _ in splits] == [[0], [0, 1, 2], [0, 1, 2, 3, 4]]


def test_walk_forward_may_roll_over_a_window() -> None:
    cv = WalkForward(2, label_end=np.arange(9), embargo=1, test_size=2, max_train_size=3)
    assert [(a.tolist(), b.tolist()) for a, b in cv.split()] == [([1, 2, 3], [5, 6]), ([3, 4, 5], [7, 8])]


def test_splitters_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="rows"):
        next(PurgedKFold(2, label_end=END, label_start=START).split(np.zeros((3, 1))))
    with pytest.raises(ValueError, match="2 splits"):
        PurgedKFold(1, label_end=END)
    with pytest.raises(ValueError, match="ends before"):
        PurgedKFold(2, label_end=START, label_start=END)
    with pytest.raises(ValueError, match="n_test_blocks"):
        CombinatorialPurgedCV(3, 3, label_end=END)
    with pytest.raises(ValueError, match="too few"):
        list(WalkForward(4, label_end=END, label_start=START, test_size=2).split())
    with pytest.raises(ValueError, match="cut into"):
        list(PurgedKFold(9, label_end=END, label_start=START).split())


def test_chronological_parts_keep_a_gap_before_the_next_part() -> None:
    # ten rows a minute apart, labels two minutes long, parts of six and three minutes
    parts = chronological_parts(np.arange(11), np.arange(11) + 2, {"train": 0.6, "test": 0.4}, embargo=1)
    # the test part begins at 6: a label of the train part must end before 5
    assert parts["train"].tolist() == [0, 1, 2]
    assert parts["test"].tolist() == [6, 7, 8, 9, 10]


def test_chronological_parts_may_leave_a_rest_unused_and_refuse_bad_shares() -> None:
    parts = chronological_parts(np.arange(11), np.arange(11), {"train": 0.5, "test": 0.3})
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "train": [0, 1, 2, 3, 4],
        "test": [5, 6, 7],
    }
    assert chronological_parts([], [], {"train": 1.0})["train"].size == 0
    with pytest.raises(ValueError, match="shares"):
        chronological_parts(START, END, {"train": 0.8, "test": 0.4})
