"""Brings the files of many series into a cache folder: months, else days, else REST.

Files lie in the cache as they do in the archive, so that their paths say what they hold. What is there and
verified is not asked for again.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from catalog.archive import ArchiveSeries, Period, days_of, join_days, split_period
from catalog.fetch import Fetcher, NotThereError, RefusedError, StoppedError, UnreachableError
from catalog.rest import RestSource
from configs.errors import DataError, SextantError

__all__ = ["Gathered", "Gathering"]

ONE_DAY = timedelta(days=1)
Item = tuple[ArchiveSeries, date]


@dataclass(slots=True)
class Gathered:
    """What came of it: whole files by series, periods that nobody has, and what went wrong."""

    files: dict[ArchiveSeries, list[Path]] = field(default_factory=dict)
    missing: list[tuple[ArchiveSeries, Period]] = field(default_factory=list)
    failures: list[SextantError] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Gathering:
    """One gathering of a period's files; `today` is the day in UTC that has not ended yet.

    `report(text)` hears of every file that has come, `expect(n)` of n more to come.
    """

    archive: Fetcher
    archive_url: str
    rest: RestSource
    cache: Path
    jobs: int
    today: date
    report: Callable[[str], None]
    expect: Callable[[int], None]
    result: Gathered = field(default_factory=Gathered)
    given_up: list[Fetcher] = field(default_factory=list)

    def run(self, wanted: Sequence[ArchiveSeries], period: Period) -> Gathered:
        """Gather every series' files for the period; failures are collected, not raised."""
        months: list[Item] = []
        days: list[Item] = []
        for series in wanted:
            self.result.files[series] = []
            whole, single = split_period(series, period, self.today)
            for month in whole:
                if self._has_every_day(series, month, period):
                    single += days_of(month, period)
                else:
                    months.append((series, month))
            days += [(series, day) for day in single]
        for series, month in self._fetch(months, ArchiveSeries.month_path):
            days += [(series, day) for day in days_of(month, period)]
        archived = [item for item in days if item[0].by_day and item[1] < self.today]
        asked = set(days) - set(archived) | set(self._fetch(archived, ArchiveSeries.day_path))
        for series in wanted:
            self._ask_rest(series, {day for other, day in asked if other == series})
        return self.result

    def _has_every_day(self, series: ArchiveSeries, month: date, period: Period) -> bool:
        """Whether an earlier run fetched the month day by day, and whole."""
        if not series.by_day or (self.cache / series.month_path(month)).is_file():
            return False
        return all((self.cache / series.day_path(day)).is_file() for day in days_of(month, period))

    def _fetch(self, items: Sequence[Item], path_of: Callable[[ArchiveSeries, date], str]) -> list[Item]:
        """Fetch the items' files in parallel; returns, in order, the items the archive does not have."""
        self.expect(len(items))
        absent: set[Item] = set()
        with ThreadPoolExecutor(self.jobs) as pool:
            paths = {item: path_of(*item) for item in items}
            futures = {pool.submit(self._verified, path): item for item, path in paths.items()}
            try:
                for future in as_completed(futures):
                    item = futures[future]
                    try:
                        self.result.files[item[0]].append(future.result())
                    except NotThereError:
                        absent.add(item)
                        self.report(f"{Path(paths[item]).name}: not in the archive")
                    except (RefusedError, UnreachableError) as error:
                        self._failed(error, self.archive)
                    except StoppedError:
                        continue
            except (
                BaseException
            ):  # an interrupt or a full disk: end the transfers before the pool is waited for
                self.archive.stop()
                raise
        return [item for item in items if item in absent]

    def _verified(self, path: str) -> Path:
        try:
            file = self.archive.verified(f"{self.archive_url}/{path}", self.cache / path)
        except UnreachableError:
            self.archive.stop()  # here, before this thread takes up the next file
            raise
        self.report(f"{file.name}: verified")
        return file

    def _ask_rest(self, series: ArchiveSeries, days: set[date]) -> None:
        """Days that have ended are kept in the cache; the running day is asked for anew each time."""
        ended = {day for day in days if day < self.today}
        periods = [*join_days(ended), *join_days(days - ended)]
        self.expect(len(periods))
        for period in periods:
            has_ended = period.last < self.today
            path = self.cache / series.rest_path(period, ended=has_ended)
            try:
                kept = has_ended and path.is_file()
                found = kept or self.rest.save(series, period, path)
            except StoppedError:
                return
            except (RefusedError, UnreachableError, DataError) as error:
                self._failed(error, self.rest.fetcher)
                continue
            if found:
                self.result.files[series].append(path)
            else:
                self.result.missing.append((series, period))
            self.report(f"{path.name}: {'from REST' if found else 'nothing there'}")

    def _failed(self, error: SextantError, source: Fetcher) -> None:
        if isinstance(error, UnreachableError):
            source.stop()
            if source in self.given_up:
                return  # several transfers met the same end; one line is enough
            self.given_up.append(source)
        self.result.failures.append(error)
