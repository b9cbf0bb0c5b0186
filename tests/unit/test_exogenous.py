"""Series from outside the bars: known when they are known, never before, never too old, everywhere alike."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import SentimentConfig
from models.exogenous import (
    EXOGENOUS_COLUMNS,
    ExogenousColumns,
    KnownSeries,
    exogenous_definitions,
    exogenous_names,
    look_back_ns,
)

HOUR = 3_600 * 10**9
DAY = 24 * HOUR
CONFIG = SentimentConfig(publication_delay_minutes=60, max_age_hours=48)
NAN = math.nan


def history(days: int, **gone: float) -> ExogenousColumns:
    """Day i has the value i; `d7=50` gives day 7 another one, NaN leaves it out."""
    values = {i: float(gone.get(f"d{i}", i)) for i in range(days)}
    kept = {i: v for i, v in values.items() if not math.isnan(v)}
    return ExogenousColumns.of_days([i * DAY for i in kept], list(kept.values()), CONFIG)


def test_a_value_counts_from_its_publication_on_and_not_a_nanosecond_before() -> None:
    series = KnownSeries.of_days([0, DAY], [40.0, 55.0], delay_ns=HOUR)
    # day 0 is known at 01:00, day 1 at 25:00
    times = [HOUR - 1, HOUR, 25 * HOUR - 1, 25 * HOUR, 73 * HOUR, 73 * HOUR + 1]
    expected = [NAN, 40.0, 40.0, 55.0, 55.0, NAN]
    np.testing.assert_array_equal([series.at(ts, 2 * DAY) for ts in times], expected)
    np.testing.assert_array_equal(series.join(times, 2 * DAY), expected)


def test_an_empty_series_has_no_value() -> None:
    columns = ExogenousColumns(KnownSeries([], []), CONFIG)
    assert math.isnan(columns.series.at(5, 10))
    assert np.isnan(columns.at(5)).all()
    assert columns.join([1, 2]).shape == (2, 3)
    assert np.isnan(columns.join([1, 2])).all()
    assert columns.join([]).shape == (0, 3)


def test_the_age_of_a_late_value_counts_from_when_it_was_due() -> None:
    series = KnownSeries([], [])
    series.append(5 * DAY, 30.0, published_at=3 * DAY)
    assert math.isnan(series.at(5 * DAY - 1, 2 * DAY))
    assert series.at(5 * DAY, 2 * DAY) == 30.0
    assert math.isnan(series.at(5 * DAY + 1, 2 * DAY))


@pytest.mark.parametrize("row", [(9, 1.0, 9), (10, 1.0, 8), (11, NAN, 11), (11, math.inf, 11)])
def test_a_series_only_grows_at_its_end_and_by_numbers(row: tuple[int, float, int]) -> None:
    series = KnownSeries([10], [1.0], [9])
    with pytest.raises(ValueError, match=r"before the last value|finite"):
        series.append(*row)
    assert len(series) == 1


def test_the_columns_of_a_day_are_level_weekly_change_and_monthly_mean() -> None:
    columns = history(40, d39=90)
    assert columns.names == exogenous_names(["fear_greed"]) == EXOGENOUS_COLUMNS["fear_greed"]
    # day 38: 38 - 31, mean of 9..38 = 23.5; day 39: 90 - 32, (sum of 10..38 = 29 * 24) + 90 over 30
    assert columns.at(38 * DAY + HOUR) == (38.0, 7.0, 23.5)
    assert columns.at(39 * DAY + HOUR) == (90.0, 58.0, (29 * 24 + 90) / 30)
    # known an hour into the day: until then the day before
    assert columns.at(39 * DAY + HOUR - 1) == (38.0, 7.0, 23.5)


def test_change_and_mean_wait_for_a_week_and_for_twenty_five_days() -> None:
    columns = history(26)
    table = columns.join(np.arange(26) * DAY + HOUR)
    np.testing.assert_array_equal(np.isnan(table[:, 1]), np.arange(26) < 7)
    np.testing.assert_array_equal(np.isnan(table[:, 2]), np.arange(26) < 24)
    assert table[24].tolist() == [24.0, 7.0, 12.0]


def test_missing_days_are_bridged_by_three_days_at_most_and_never_by_age() -> None:
    columns = history(40, d30=NAN, d31=NAN, d32=NAN)
    # day 37 looks for day 30, finds 29; day 39 looks for 32 and finds 29, ten days before
    assert columns.at(37 * DAY + HOUR)[1] == 37.0 - 29.0
    assert columns.at(39 * DAY + HOUR)[1] == 39.0 - 29.0
    assert math.isnan(history(40, d29=NAN, d30=NAN, d31=NAN, d32=NAN).at(39 * DAY + HOUR)[1])
    # day 29 is known at day 29, 01:00 and counts for 48 hours
    assert columns.at(31 * DAY + HOUR)[0] == 29.0
    assert np.isnan(columns.at(31 * DAY + HOUR + 1)).all()


def test_a_corrected_day_counts_once_with_its_newest_value() -> None:
    columns = history(30)
    columns.series.append(29 * DAY + 3 * HOUR, 59.0, published_at=29 * DAY + HOUR)
    assert columns.at(29 * DAY + 2 * HOUR) == (29.0, 7.0, 14.5)
    # sum of 0..28 = 406, and 59, over 30
    assert columns.at(29 * DAY + 3 * HOUR) == (59.0, 37.0, (406 + 59) / 30)


def test_columns_follow_a_series_that_grows() -> None:
    columns = history(30)
    level = columns.lookups()["fear_greed"]
    assert level(30 * DAY + HOUR) == 29.0
    columns.series.append(30 * DAY + HOUR // 2, 12.0, published_at=30 * DAY + HOUR)
    assert level(30 * DAY + HOUR // 2 - 1) == 29.0
    assert level(30 * DAY + HOUR // 2) == 12.0
    assert columns.at(30 * DAY + HOUR) == (12.0, 12.0 - 23.0, (sum(range(1, 30)) + 12) / 30)


rows = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 100), st.integers(0, 30)), min_size=0, max_size=60
)


def grown(drawn: list[tuple[int, int, int]]) -> KnownSeries:
    """Days with gaps, values of two decimals, known some hours after they were due and in order."""
    series, day, known = KnownSeries([], []), 0, 0
    for step, value, late in drawn:
        day += step * DAY
        known = max(known, day + late * HOUR)
        series.append(known, value / 3, published_at=day)
    return series


@given(rows, st.lists(st.integers(-DAY, 250 * DAY), max_size=30))
def test_one_time_and_many_times_give_the_same_bits(
    drawn: list[tuple[int, int, int]], times: list[int]
) -> None:
    columns = ExogenousColumns(grown(drawn), CONFIG)
    joined = columns.join(times)
    assert joined.tobytes() == np.array([columns.at(ts) for ts in times]).reshape(-1, 3).tobytes()
    lookups = columns.lookups()
    for row, ts in zip(joined, times, strict=True):
        assert np.array([lookups[name](ts) for name in columns.names]).tobytes() == row.tobytes()
    level = columns.series.join(times, columns.max_age_ns)
    assert level.tobytes() == np.ascontiguousarray(joined[:, 0]).tobytes()


@given(rows, st.integers(0, 250 * DAY))
def test_what_is_known_later_changes_nothing_before(drawn: list[tuple[int, int, int]], ts: int) -> None:
    full = grown(drawn)
    cut = KnownSeries([], [])
    for index in range(len(full)):
        known, value, due = full.row(index)
        if known <= ts:
            cut.append(known, value, due)
    np.testing.assert_array_equal(ExogenousColumns(full, CONFIG).at(ts), ExogenousColumns(cut, CONFIG).at(ts))


@given(rows, st.integers(0, 250 * DAY))
def test_what_lies_further_back_than_the_look_back_changes_nothing(
    drawn: list[tuple[int, int, int]], ts: int
) -> None:
    full = grown(drawn)
    cut = KnownSeries([], [])
    for index in range(len(full)):
        known, value, due = full.row(index)
        if due >= ts - look_back_ns(CONFIG):
            cut.append(known, value, due)
    np.testing.assert_array_equal(ExogenousColumns(full, CONFIG).at(ts), ExogenousColumns(cut, CONFIG).at(ts))


def test_the_hash_follows_values_and_times_of_the_series() -> None:
    base = KnownSeries([1, 2], [3.0, 4.0])
    others = [
        KnownSeries([1, 2], [3.0, 4.0000001]),
        KnownSeries([1, 3], [3.0, 4.0]),
        KnownSeries([1, 2], [3.0, 4.0], [0, 2]),
        KnownSeries([1], [3.0]),
    ]
    assert len({base.digest(), *(other.digest() for other in others)}) == 5
    assert base.digest() == KnownSeries(np.array([1, 2]), [3, 4]).digest()


def test_the_description_says_names_delay_age_and_definitions() -> None:
    assert history(1).describe() == {
        "columns": ["fear_greed", "fear_greed_change_7d", "fear_greed_mean_30d"],
        "publication_delay_minutes": 60,
        "max_age_hours": 48.0,
        "definitions": exogenous_definitions(),
    }
