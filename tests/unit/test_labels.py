import numpy as np
import pandas as pd
import pytest

from configs.errors import DataError
from models.labels import triple_barrier

START = pd.Timestamp("2024-01-01 00:01", tz="UTC")
Row = tuple[float, float, float, float]


def frame(rows: list[Row]) -> pd.DataFrame:
    times = pd.date_range(START, periods=len(rows), freq="1min").as_unit("ns")
    return pd.DataFrame(rows, columns=["open", "high", "low", "close"]).assign(ts_event=times)


def first(
    rows: list[Row], *, horizon: int = 3, up: float = 0.02, down: float = 0.01, cost: float = 0.0
) -> pd.Series:
    """The label of a position entered at the close of the first row, 100."""
    bars = frame([(100.0, 200.0, 1.0, 100.0), *rows])
    return triple_barrier(bars, horizon_bars=horizon, take_profit=up, stop_loss=down, cost=cost).iloc[0]


FLAT: Row = (100.0, 100.5, 99.5, 100.0)


def outcome(row: pd.Series) -> tuple[float, str, int, float]:
    bars_later = round((row["label_end"] - START) / pd.Timedelta(minutes=1))
    return row["label"], row["barrier"], bars_later, round(row["return"], 12)


def test_the_barrier_touched_first_decides_and_costs_are_taken_off() -> None:
    assert outcome(first([FLAT, (100, 102, 99.5, 101)], cost=0.001)) == (1, "take_profit", 2, 0.019)
    assert outcome(first([FLAT, FLAT, (100, 101, 99, 100)], cost=0.001)) == (-1, "stop_loss", 3, -0.011)


def test_the_entry_bars_own_range_touches_nothing() -> None:
    # frame() gives the entry bar a range from 1 to 200
    assert outcome(first([FLAT, FLAT, FLAT])) == (0, "time", 3, 0.0)


def test_a_touch_to_the_tick_counts_despite_float_rounding() -> None:
    # 100 * 1.1 is 110.00000000000001 in floats
    assert outcome(first([(100, 110.0, 99.5, 109)], up=0.1)) == (1, "take_profit", 1, 0.1)
    assert outcome(first([(100, 101, 70.0, 71)], down=0.3)) == (-1, "stop_loss", 1, -0.3)
    assert outcome(first([(100, 101.999, 99.001, 100)] * 3))[1] == "time"


def test_both_barriers_in_one_bar_go_to_the_high() -> None:
    assert outcome(first([(100, 103, 98, 98.5)])) == (1, "take_profit", 1, 0.02)


def test_an_open_beyond_a_barrier_exits_at_the_open() -> None:
    assert outcome(first([(104, 105, 98, 100)], cost=0.001)) == (1, "take_profit", 1, 0.039)
    assert outcome(first([(97, 103, 96, 102)], cost=0.001)) == (-1, "stop_loss", 1, -0.031)
    assert outcome(first([(99.0, 103, 98, 102)])) == (-1, "stop_loss", 1, -0.01)


def test_at_the_time_barrier_only_a_move_beyond_the_cost_has_a_sign() -> None:
    def last_close(price: float) -> tuple[float, str, int, float]:
        return outcome(first([FLAT, FLAT, (100, 101.0, 99.5, price)], cost=0.002))

    assert last_close(100.3) == (1, "time", 3, 0.001)
    assert last_close(100.1) == (0, "time", 3, -0.001)
    assert last_close(99.9) == (0, "time", 3, -0.003)
    assert last_close(99.6) == (-1, "time", 3, -0.006)


def test_an_outcome_that_is_not_known_yet_is_missing() -> None:
    open_end = first([FLAT, FLAT])
    assert np.isnan(open_end["label"])
    assert np.isnan(open_end["return"])
    assert open_end["label_end"] is pd.NaT
    assert pd.isna(open_end["barrier"])
    assert first([FLAT, (100, 103, 100, 102)])["label"] == 1  # known although the horizon is not complete


def test_barriers_may_differ_from_bar_to_bar() -> None:
    bars = frame([(100.0, 100, 100, 100), (100, 101, 99.8, 100), (100, 101, 99.8, 100)])
    labels = triple_barrier(
        bars, horizon_bars=1, take_profit=np.array([0.01, 0.02, np.nan]), stop_loss=0.5, cost=0.0
    )
    assert labels["barrier"].iloc[:2].tolist() == ["take_profit", "time"]
    assert np.isnan(labels["label"].iloc[2])


def test_the_result_is_aligned_with_the_bars_and_leaves_them_alone() -> None:
    bars = frame([FLAT] * 5).set_index("ts_event")
    before = bars.copy()
    labels = triple_barrier(bars, horizon_bars=2, take_profit=0.01, stop_loss=0.01, cost=0.001)
    pd.testing.assert_frame_equal(bars, before)
    assert labels.index.equals(bars.index)
    assert labels["label_end"].iloc[0] == bars.index[2]
    assert str(labels["label_end"].dtype) == "datetime64[ns, UTC]"
    assert labels.columns.tolist() == ["label", "label_end", "return", "barrier"]


def test_no_bars_give_no_labels() -> None:
    labels = triple_barrier(frame([FLAT]).iloc[:0], horizon_bars=2, take_profit=0.01, stop_loss=0.01, cost=0)
    assert labels.empty


def test_bad_bars_and_arguments_are_refused() -> None:
    good = frame([FLAT] * 4)
    with pytest.raises(DataError, match="positive, finite"):
        triple_barrier(good.assign(low=np.nan), horizon_bars=2, take_profit=0.01, stop_loss=0.01, cost=0.0)
    with pytest.raises(DataError, match="time order"):
        triple_barrier(good.iloc[::-1], horizon_bars=2, take_profit=0.01, stop_loss=0.01, cost=0.0)
    with pytest.raises(ValueError, match="horizon_bars"):
        triple_barrier(good, horizon_bars=0, take_profit=0.01, stop_loss=0.01, cost=0.0)
    with pytest.raises(ValueError, match="take_profit must be positive"):
        triple_barrier(good, horizon_bars=2, take_profit=0.0, stop_loss=0.01, cost=0.0)
    with pytest.raises(ValueError, match="one per bar"):
        triple_barrier(good, horizon_bars=2, take_profit=[0.1, 0.1], stop_loss=0.01, cost=0.0)
