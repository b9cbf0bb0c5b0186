"""Series from outside the bars, joined to them by when each value became known, and the columns made of them.

One rule, online and offline: a value counts for every bar that closes at or after the moment it became known,
until a newer one is known or it is too old; then there is none (NaN). Nothing is ever filled in.

>>> day = 86_400 * 10**9
>>> series = KnownSeries.of_days([0, day], [40.0, 55.0], delay_ns=3_600 * 10**9)
>>> series.at(day + 3_599 * 10**9, max_age_ns=2 * day), series.at(day + 3_600 * 10**9, max_age_ns=2 * day)
(40.0, 55.0)
"""

import ast
import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.schema import SentimentConfig
from models.fingerprint import syntax_of

__all__ = [
    "EXOGENOUS_COLUMNS",
    "FEAR_GREED",
    "ExogenousColumns",
    "KnownSeries",
    "exogenous_definitions",
    "exogenous_names",
    "look_back_ns",
]

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

FEAR_GREED = "fear_greed"
EXOGENOUS_COLUMNS: Mapping[str, tuple[str, ...]] = {
    FEAR_GREED: ("fear_greed", "fear_greed_change_7d", "fear_greed_mean_30d")
}
_MINUTE_NS = 60 * 10**9
_DAY_NS = 1_440 * _MINUTE_NS
_CHANGE_NS = 7 * _DAY_NS
_OLDEST_BASE_NS = 10 * _DAY_NS  # where the day a week before is missing, up to three days earlier will do
_MEAN_NS = 30 * _DAY_NS
_LEAST_IN_MEAN = 25
_DEFINING = ("_level_change_mean", "_CHANGE_NS", "_OLDEST_BASE_NS", "_MEAN_NS", "_LEAST_IN_MEAN")


def exogenous_names(series: Iterable[str]) -> tuple[str, ...]:
    """The columns of the named series, each once, in the order in which they follow the features."""
    return tuple(column for name in dict.fromkeys(series) for column in EXOGENOUS_COLUMNS[name])


class KnownSeries:
    """Values with the moment from which each may be used, oldest first; grows only at its end.

    `known_at` int64[n] ns UTC, never decreasing; `value` float64[n], finite. `published_at` int64[n] is when
    a value was due, which its age is counted from (by default `known_at`): one that was received late is no
    fresher for that. ValueError for anything else.
    """

    def __init__(self, known_at: ArrayLike, value: ArrayLike, published_at: ArrayLike | None = None) -> None:
        due = known_at if published_at is None else published_at
        self._known: list[int] = []
        self._due: list[int] = []
        self._value: list[float] = []
        columns = (np.asarray(known_at, np.int64), np.asarray(value, np.float64), np.asarray(due, np.int64))
        for row in zip(*(column.tolist() for column in columns), strict=True):
            self.append(*row)

    @classmethod
    def of_days(cls, days: ArrayLike, values: ArrayLike, *, delay_ns: int) -> Self:
        """A daily history: each value known and due `delay_ns` after its UTC day (ns of midnight) began."""
        return cls(np.asarray(days, np.int64) + delay_ns, values)

    def __len__(self) -> int:
        return len(self._known)

    def append(self, known_at: int, value: float, published_at: int | None = None) -> None:
        """Add the newest value; ValueError when it is not finite or older than the last one."""
        due = known_at if published_at is None else published_at
        if not math.isfinite(value):
            raise ValueError(f"a value must be a finite number, not {value}")
        if self._known and (known_at < self._known[-1] or due < self._due[-1]):
            raise ValueError(f"{known_at} ns (due {due} ns) comes before the last value of the series")
        self._known.append(int(known_at))
        self._due.append(int(due))
        self._value.append(float(value))

    def row(self, index: int) -> tuple[int, float, int]:
        """(known_at, value, published_at) of one row; negative indices count from the newest."""
        return self._known[index], self._value[index], self._due[index]

    def next_known(self, ts: int) -> int | None:
        """When the next value after `ts` becomes known; None when there is none yet."""
        index = bisect_right(self._known, ts)
        return self._known[index] if index < len(self._known) else None

    def find(self, ts: int, max_age_ns: float) -> int:
        """The index of the newest value known at `ts` (a value known at `ts` is); -1 for none or too old."""
        index = bisect_right(self._known, ts) - 1
        return index if index >= 0 and ts - self._due[index] <= max_age_ns else -1

    def at(self, ts: int, max_age_ns: float) -> float:
        """The newest value known at `ts`; NaN when there is none or it is older than `max_age_ns`."""
        index = self.find(ts, max_age_ns)
        return math.nan if index < 0 else self._value[index]

    def join(self, ts: ArrayLike, max_age_ns: float) -> Floats:
        """`at` for each of `ts` int64[n]: float64[n], the same bits."""
        index = self.find_all(ts, max_age_ns)
        return np.array([*self._value, math.nan])[index]

    def find_all(self, ts: ArrayLike, max_age_ns: float) -> Times:
        """`find` for each of `ts` int64[n]."""
        times = np.asarray(ts, np.int64)
        index = np.searchsorted(np.array(self._known, np.int64), times, side="right") - 1
        due = np.array([*self._due, 0], np.int64)[index]
        return np.where((index >= 0) & (times - due <= max_age_ns), index, -1)

    def derived(self, index: int) -> tuple[float, float, float]:
        """Of one row: its value, the change over a week, the mean of thirty days; NaN where days are missing.

        Both look back from when the value was due, at this row and older ones: the change to the newest value
        due a week earlier (at most ten days), the mean over the days of the last thirty, 25 at least. A day
        that was corrected counts with its last value.
        """
        first = bisect_left(self._due, self._due[index] - _MEAN_NS)
        return _level_change_mean(self._due[first : index + 1], self._value[first : index + 1])

    def digest(self) -> str:
        """SHA-256 (hex) over every row."""
        digest = hashlib.sha256(f"known series/1|{len(self)}".encode())
        for rows, kind in ((self._known, "<i8"), (self._due, "<i8"), (self._value, "<f8")):
            digest.update(np.array(rows, kind).tobytes())
        return digest.hexdigest()


class ExogenousColumns:
    """The columns of one series as models and strategies see them, following the series as it grows.

    fear_greed: the index in its own points, 0 (extreme fear) to 100 (extreme greed). fear_greed_change_7d:
    points gained within a week. fear_greed_mean_30d: mean of thirty days. All three are those of the newest
    value known (`KnownSeries.derived`), and NaN together once that is older than `config.max_age_hours`.
    """

    def __init__(self, series: KnownSeries, config: SentimentConfig) -> None:
        self.names = exogenous_names([FEAR_GREED])
        self.series = series
        self.config = config
        self.max_age_ns = _max_age_ns(config)
        self._rows: list[tuple[float, ...]] = []
        self._none = (math.nan,) * len(self.names)

    @classmethod
    def of_days(cls, days: ArrayLike, values: ArrayLike, config: SentimentConfig) -> Self:
        """From a daily history (ns of each day's midnight), known `publication_delay_minutes` later."""
        delay = config.publication_delay_minutes * _MINUTE_NS
        return cls(KnownSeries.of_days(days, values, delay_ns=delay), config)

    def at(self, ts: int) -> tuple[float, ...]:
        """The columns in the order of `names`, as known at `ts` (ns UTC, a bar's close)."""
        index = self.series.find(ts, self.max_age_ns)
        return self._none if index < 0 else self._derived()[index]

    def join(self, ts: ArrayLike) -> Floats:
        """`at` for each of `ts` int64[n]: float64[n, k], the same bits."""
        index = self.series.find_all(ts, self.max_age_ns)
        return np.array([*self._derived(), self._none])[index]

    def lookups(self) -> dict[str, Callable[[int], float]]:
        """Each column alone as a function of the time, by name."""

        def lookup(place: int) -> Callable[[int], float]:
            return lambda ts: self.at(ts)[place]

        return {name: lookup(place) for place, name in enumerate(self.names)}

    def describe(self) -> dict[str, Any]:
        """What the columns mean, JSON-ready: names, delay, greatest age and a hash of the definitions."""
        return {
            "columns": list(self.names),
            "publication_delay_minutes": self.config.publication_delay_minutes,
            "max_age_hours": self.config.max_age_hours,
            "definitions": exogenous_definitions(),
        }

    def digest(self) -> str:
        """SHA-256 (hex) over the series."""
        return self.series.digest()

    def _derived(self) -> list[tuple[float, ...]]:
        rows = self._rows
        while len(rows) < len(self.series):
            rows.append(self.series.derived(len(rows)))
        return rows


def look_back_ns(config: SentimentConfig) -> int:
    """How long before a time a value may have been due for the columns at that time to depend on it."""
    return _max_age_ns(config) + _MEAN_NS


def exogenous_definitions() -> str:
    """SHA-256 (hex) over the code that makes columns of a series."""
    table = syntax_of(Path(__file__).read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(ast.unparse(table[name]) for name in _DEFINING).encode()).hexdigest()


def _max_age_ns(config: SentimentConfig) -> int:
    return round(config.max_age_hours * 3600) * 10**9


def _level_change_mean(due: Sequence[int], value: Sequence[float]) -> tuple[float, float, float]:
    base = bisect_right(due, due[-1] - _CHANGE_NS) - 1
    known = base >= 0 and due[base] >= due[-1] - _OLDEST_BASE_NS
    change = value[-1] - value[base] if known else math.nan
    days = [v for day, v in dict(zip(due, value, strict=True)).items() if day > due[-1] - _MEAN_NS]
    mean = math.fsum(days) / len(days) if len(days) >= _LEAST_IN_MEAN else math.nan
    return value[-1], change, mean
