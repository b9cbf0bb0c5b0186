"""Which files of the archive a period needs, and what they are called."""

from datetime import date
from typing import Any

import pytest

from catalog.archive import ArchiveSeries, Period, split_period


@pytest.mark.parametrize(
    ("first", "last", "months", "days"),
    [
        ("2024-01-01", "2024-01-31", ["2024-01"], 0),
        ("2024-01-02", "2024-01-31", [], 30),
        ("2023-12-31", "2024-03-01", ["2024-01", "2024-02"], 2),
        ("2024-02-01", "2024-02-28", [], 28),  # a leap year's February has one more
        ("2024-05-01", "2024-06-15", ["2024-05"], 15),
        ("2024-06-01", "2024-06-30", [], 30),  # not over yet on June 30th
    ],
)
def test_a_period_splits_into_whole_months_and_single_days(
    first: str, last: str, months: list[str], days: int
) -> None:
    series = ArchiveSeries(market="um", symbol="BTCUSDT", kind="klines", interval="1m")
    period = Period(date.fromisoformat(first), date.fromisoformat(last))
    whole, single = split_period(series, period, date(2024, 6, 30))
    assert [f"{month:%Y-%m}" for month in whole] == months
    assert len(single) == len(set(single)) == days


def test_paths_are_those_of_the_archive() -> None:
    def series(market: str, kind: Any) -> ArchiveSeries:
        return ArchiveSeries(market=market, symbol="ETHUSDT", kind=kind, interval="5m")

    day = date(2024, 2, 1)
    assert (
        series("um", "klines").month_path(day)
        == "data/futures/um/monthly/klines/ETHUSDT/5m/ETHUSDT-5m-2024-02.zip"
    )
    assert (
        series("um", "mark").day_path(day)
        == "data/futures/um/daily/markPriceKlines/ETHUSDT/5m/ETHUSDT-5m-2024-02-01.zip"
    )
    assert (
        series("um", "funding").month_path(day)
        == "data/futures/um/monthly/fundingRate/ETHUSDT/ETHUSDT-fundingRate-2024-02.zip"
    )
    assert (
        series("spot", "klines").day_path(day)
        == "data/spot/daily/klines/ETHUSDT/5m/ETHUSDT-5m-2024-02-01.zip"
    )
