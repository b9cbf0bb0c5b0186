"""Sentiment indices at rest: one value a UTC day, read from CSV (`date,fng`), checked, kept as a series.

A row says for which day a value stands, not when it could be known: whoever decides by it must add the
publication delay (`models.exogenous` does).
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.arrow import times_of
from catalog.columns import Problem
from configs.errors import DataError

__all__ = [
    "DAY_NS",
    "FEAR_GREED",
    "SentimentColumns",
    "find_bad_sentiment",
    "is_sentiment_csv",
    "missing_days",
    "read_sentiment_csv",
    "sentiment_from_table",
    "sentiment_to_table",
]

FEAR_GREED = "fear_greed"
DAY_NS = 86_400 * 10**9
SCHEMA = pa.schema(
    [
        pa.field("ts_event", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
_HEADER = "date,fng"
_NUMBER = re.compile(r"\d{1,3}(\.\d{1,6})?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_EARLIEST = date(2009, 1, 1)
_LARGEST_FILE = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class SentimentColumns:
    """A daily index in time order, each column of length n.

    date: int64 ns UTC, the midnight at which the day begins that the value stands for. value: float64, 0
    (extreme fear) to 100 (extreme greed), never NaN.
    """

    date: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.date)

    @property
    def ts_event(self) -> NDArray[np.int64]:
        """The dates under the name that all series in the catalog are ordered by."""
        return self.date


class _Row(NamedTuple):
    day: int
    value: float
    line: int


def is_sentiment_csv(path: Path) -> bool:
    """Whether a file's first line is the header of a Fear & Greed CSV."""
    with path.open("rb") as file:
        start = file.read(64)
    return start.decode("utf-8-sig", "replace").splitlines()[:1] == [_HEADER]


def read_sentiment_csv(path: Path) -> tuple[SentimentColumns, int]:
    """A CSV of `date,fng` in any order, and how many of its lines repeat a day with the same value.

    Raises DataError with the line for a date that is none or lies in the future, a value outside 0 to 100,
    and two values for one day.
    """
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise DataError(f"{path} has {size / 2**20:.0f} MiB; a daily index is a small file, give another one")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    if not lines or lines[0].strip() != _HEADER:
        first = lines[0][:40] if lines else ""
        raise DataError(f"{path}, line 1: '{first}' instead of the header '{_HEADER}'")
    today = time.time_ns() // DAY_NS * DAY_NS
    rows = [_row(text, number, path, today) for number, text in enumerate(lines[1:], 2) if text.strip()]
    if not rows:
        raise DataError(f"{path} has no rows")
    return _merged(sorted(rows), path)


def _row(text: str, number: int, path: Path, today: int) -> _Row:
    where = f"{path}, line {number}"
    cells = [cell.strip() for cell in text.split(",")]
    if len(cells) != 2:
        raise DataError(f"{where}: {len(cells)} columns instead of 2 ({_HEADER})")
    if not _NUMBER.fullmatch(cells[1]) or float(cells[1]) > 100:
        raise DataError(f"{where}: fng '{cells[1][:40]}' is not a number from 0 to 100")
    day = _midnight(cells[0])
    if day is None:
        raise DataError(f"{where}: date '{cells[0][:40]}' is not a UTC day such as 2024-01-31")
    if day > today:
        raise DataError(f"{where}: {cells[0]} lies in the future; no value of it can be known")
    return _Row(day, float(cells[1]), number)


def _midnight(text: str) -> int | None:
    if not _DAY.fullmatch(text):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return None if day < _EARLIEST else (day - date(1970, 1, 1)).days * DAY_NS


def _merged(rows: Sequence[_Row], path: Path) -> tuple[SentimentColumns, int]:
    """Every day once, from rows in order of day; DataError when two lines disagree."""
    kept = [rows[0]]
    for row in rows[1:]:
        last = kept[-1]
        if row.day > last.day:
            kept.append(row)
        elif row.value != last.value:
            raise DataError(
                f"{path}, lines {last.line} and {row.line} disagree about {_day_text(row.day)}: fng "
                f"{last.value:g} and {row.value:g}; remove the wrong one"
            )
    columns = SentimentColumns(
        np.array([row.day for row in kept], np.int64), np.array([row.value for row in kept])
    )
    return columns, len(rows) - len(kept)


def find_bad_sentiment(columns: SentimentColumns) -> Problem | None:
    """The first row off midnight, out of order or outside 0 to 100; None if all are fine."""
    checks = {
        "is not the midnight of a UTC day": columns.date % DAY_NS != 0,
        "does not come after the day before it": np.r_[False, np.diff(columns.date) <= 0],
        "has a value outside 0 to 100": ~((columns.value >= 0) & (columns.value <= 100)),
    }
    for text, bad in checks.items():
        if bad.any():
            row = int(np.argmax(bad))
            return Problem(row, f"{_day_text(int(columns.date[row]))} {text}")
    return None


def missing_days(columns: SentimentColumns) -> list[str]:
    """The stretches of days without a value, in order, such as "2018-04-14 to 2018-04-16"."""
    rows = np.flatnonzero(np.diff(columns.date) > DAY_NS)
    spans = [(int(columns.date[row]) + DAY_NS, int(columns.date[row + 1]) - DAY_NS) for row in rows]
    return [
        _day_text(first) if first == last else f"{_day_text(first)} to {_day_text(last)}"
        for first, last in spans
    ]


def sentiment_to_table(columns: SentimentColumns) -> pa.Table:
    """The table that is stored: ts_event (the day's midnight), value."""
    times = pa.array(columns.date, type=SCHEMA.field("ts_event").type)
    return pa.table([times, pa.array(columns.value)], schema=SCHEMA)


def sentiment_from_table(table: pa.Table) -> SentimentColumns:
    """The inverse of `sentiment_to_table`."""
    return SentimentColumns(times_of(table), table["value"].to_numpy())


def _day_text(day: int) -> str:
    return f"{datetime.fromtimestamp(day // 10**9, UTC):%Y-%m-%d}"
