"""Where Binance's public archive keeps what, and how a period splits into its files.

    data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip
    data/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-01-31.zip
    data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip
    data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip

Beside each file lies the same name with .CHECKSUM, its sha256. Funding rates come by month only. A day's file
appears on the next day, a month's in the first days of the next month. All days are UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from catalog.parse import Kind

__all__ = ["ArchiveSeries", "Period", "days_of", "join_days", "month_end", "split_period"]

ONE_DAY = timedelta(days=1)
_FOLDERS: dict[Kind, str] = {"klines": "klines", "mark": "markPriceKlines", "funding": "fundingRate"}
_ROOTS = {"um": "futures/um", "spot": "spot"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSeries:
    """One symbol's klines, mark prices or funding rates on one market."""

    market: str
    symbol: str
    kind: Kind
    interval: str

    @property
    def by_day(self) -> bool:
        """Whether the archive has files of single days."""
        return self.kind != "funding"

    @property
    def label(self) -> str:
        """The series in words, for messages."""
        return (
            f"{self.symbol} {self.kind}"
            if self.kind == "funding"
            else f"{self.symbol} {self.interval} {self.kind}"
        )

    def month_path(self, month: date) -> str:
        """The month's file, relative to the archive's address."""
        return self._path("data", "monthly", f"{month:%Y-%m}.zip")

    def day_path(self, day: date) -> str:
        """The day's file, relative to the archive's address."""
        return self._path("data", "daily", f"{day:%Y-%m-%d}.zip")

    def rest_path(self, period: "Period", *, ended: bool) -> str:
        """Where the answers of REST for a period are kept, named like an archive file."""
        ending = f"{period.last:%Y-%m-%d}" if ended else "running"
        return self._path("rest", "range", f"{period.first:%Y-%m-%d}_{ending}.json")

    def _path(self, top: str, span: str, ending: str) -> str:
        what = "fundingRate" if self.kind == "funding" else self.interval
        folder = f"{top}/{_ROOTS[self.market]}/{span}/{_FOLDERS[self.kind]}/{self.symbol}"
        return f"{folder if self.kind == 'funding' else f'{folder}/{what}'}/{self.symbol}-{what}-{ending}"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """Whole days in UTC, both included."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"


def split_period(series: ArchiveSeries, period: Period, today: date) -> tuple[list[date], list[date]]:
    """First days of the months to ask for as a whole, and the single days beside them.

    A month is asked for when it has ended and lies inside the period; funding has no daily files, so every
    month that the period touches is asked for. Days that have not ended are never in the archive: they are
    single days.
    """
    months: list[date] = []
    days: list[date] = []
    month = period.first.replace(day=1)
    while month <= period.last:
        last = month_end(month)
        inside = period.first <= month and last <= period.last
        if last < today and (inside or not series.by_day):
            months.append(month)
        else:
            days += days_of(month, period)
        month = last + ONE_DAY
    return months, days


def month_end(month: date) -> date:
    """The last day of the month that begins on `month`."""
    return (month + timedelta(days=31)).replace(day=1) - ONE_DAY


def days_of(month: date, period: Period) -> list[date]:
    """The days of a month that lie inside the period."""
    first, last = max(month, period.first), min(month_end(month), period.last)
    return [first + ONE_DAY * i for i in range((last - first).days + 1)]


def join_days(days: Iterable[date]) -> list[Period]:
    """Days that follow each other as periods.

    >>> [str(p) for p in join_days([date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 5)])]
    ['2024-01-01 to 2024-01-02', '2024-01-05']
    """
    periods: list[Period] = []
    for day in sorted(days):
        if periods and periods[-1].last + ONE_DAY == day:
            periods[-1] = Period(periods[-1].first, day)
        else:
            periods.append(Period(day, day))
    return periods
