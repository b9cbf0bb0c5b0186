"""Market data as plain columns, and the checks every column passes before it is stored.

Times are int64 nanoseconds since 1970 in UTC. A bar's `ts_event` is its close: open time plus the
interval, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.schema import BAR_MINUTES, BAR_SECS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "INTERVAL_MINUTES",
    "INTERVAL_SECS",
    "MINUTE_NS",
    "PRICE_FIELDS",
    "SECOND_NS",
    "BarColumns",
    "FundingColumns",
    "Grid",
    "Problem",
    "bar_type",
    "find_bad_bar",
    "find_bad_funding",
    "find_off_grid",
    "interval_ns",
    "live_bar_type",
    "off_grid",
    "round_to_grid",
    "snap_funding",
    "to_grid",
    "utc_ns",
    "utc_text",
]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

INTERVAL_MINUTES = BAR_MINUTES | {"2h": 120, "6h": 360, "8h": 480, "12h": 720, "1d": 1440}
INTERVAL_SECS = BAR_SECS | {name: 60 * minutes for name, minutes in INTERVAL_MINUTES.items()}
PRICE_FIELDS = ("open", "high", "low", "close")
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RELATIVE_TOLERANCE = 1e-9  # float noise of other tools; never a whole step
_STEP_TOLERANCE = 1e-4
_EXACT_UNITS = 2.0**51  # beyond it a float64 times a power of ten may round to the next unit


@dataclass(frozen=True, slots=True, eq=False)
class BarColumns:
    """Bars of one series in time order, each column of length n.

    ts_event: int64 ns UTC, the bar's close. open, high, low, close: float64 in the quote currency. volume:
    float64 in the base currency. No value is NaN.
    """

    ts_event: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.ts_event)

    def slice(self, start: int, stop: int) -> Self:
        """Rows [start, stop) as views, without copying."""
        return type(self)(*(getattr(self, name)[start:stop] for name in self.__slots__))

    def equals(self, other: "BarColumns") -> bool:
        """Whether every column has the same values."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)

    def to_frame(self) -> "pd.DataFrame":
        """A DataFrame with ts_event as datetime64[ns, UTC] and float64 open, high, low, close, volume."""
        import pandas as pd  # noqa: PLC0415  loads for a second and more, and a node needs no frame

        times = pd.to_datetime(self.ts_event, unit="ns", utc=True)
        columns = {name: getattr(self, name) for name in (*PRICE_FIELDS, "volume")}
        return pd.DataFrame({"ts_event": times, **columns})

    @classmethod
    def from_frame(cls, frame: "pd.DataFrame") -> Self:
        """The inverse of `to_frame`: ts_event as datetime64 with a zone, and the five value columns."""
        import pandas as pd  # noqa: PLC0415  as above

        times = pd.DatetimeIndex(frame["ts_event"]).as_unit("ns").asi8
        values = (frame[name].to_numpy(np.float64) for name in (*PRICE_FIELDS, "volume"))
        return cls(np.asarray(times, np.int64), *values)

    @classmethod
    def join(cls, parts: Sequence["BarColumns"]) -> Self:
        """The parts one after another; they must already follow each other in time."""
        if not parts:
            return cls(np.empty(0, np.int64), *(np.empty(0) for _ in range(5)))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class FundingColumns:
    """Funding settlements: ts_event int64 ns UTC, rate float64 as a fraction (0.0001 is one basis point)."""

    ts_event: IntArray
    rate: FloatArray

    def __len__(self) -> int:
        return len(self.ts_event)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a row (counted from 0)."""

    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Grid:
    """The values a number may take: multiples of `step`, written with `precision` decimals."""

    step: Decimal
    precision: int

    @classmethod
    def of(cls, step: Decimal) -> Self:
        """The grid of a positive step; trailing zeros carry no precision (0.10 has one decimal)."""
        exponent = step.normalize().as_tuple().exponent
        return cls(step, max(0, -int(exponent)))

    @property
    def units(self) -> int:
        """The step as a multiple of 10**-precision."""
        return int(self.step.scaleb(self.precision))


def interval_ns(interval: str) -> int:
    """Length of a bar such as "1m" in nanoseconds; DataError for an interval that is not known."""
    if interval not in INTERVAL_SECS:
        raise DataError(f"unknown bar interval '{interval}'; use one of {', '.join(INTERVAL_SECS)}")
    return INTERVAL_SECS[interval] * SECOND_NS


def bar_type(instrument_id: str, interval: str) -> str:
    """Nautilus's name of a bar series.

    >>> bar_type("BTCUSDT-PERP.BINANCE", "1m")
    'BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL'
    """
    secs = interval_ns(interval) // SECOND_NS
    minutes = secs // 60
    if secs < 60:
        spec = f"{secs}-SECOND"
    elif minutes % 1440 == 0:
        spec = f"{minutes // 1440}-DAY"
    elif minutes % 60 == 0:
        spec = f"{minutes // 60}-HOUR"
    else:
        spec = f"{minutes}-MINUTE"
    return f"{instrument_id}-{spec}-LAST-EXTERNAL"


def live_bar_type(instrument_id: str, interval: str) -> str:
    """The series that a live node follows: the venue's, but bars of a second the engine makes of the trades.

    >>> live_bar_type("BTCUSDT-PERP.BINANCE", "1s")
    'BTCUSDT-PERP.BINANCE-1-SECOND-LAST-INTERNAL'
    """
    name = bar_type(instrument_id, interval)
    return name.replace("-EXTERNAL", "-INTERNAL") if interval_ns(interval) < MINUTE_NS else name


def utc_ns(moment: datetime) -> int:
    """A time with a zone in whole nanoseconds since 1970, exact to its microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def utc_text(ns: int) -> str:
    """A UTC time for messages: to the minute, or as far as seconds or nanoseconds where they are not zero."""
    seconds, rest = divmod(int(ns), 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{ns} ns"
    text = f"{moment:%Y-%m-%d %H:%M}" if seconds % 60 == 0 and not rest else f"{moment:%Y-%m-%d %H:%M:%S}"
    return f"{text}.{rest:09d}" if rest else text


def to_grid(values: FloatArray, grid: Grid) -> tuple[IntArray, IntArray]:
    """The values in units of 10**-precision (int64[n]), and the rows that do not lie on the grid.

    A row lies on the grid when it is a multiple of the step within float noise (1e-9 of itself and 1e-4 of
    a step) and can be told apart from its neighbours in float64. Nothing is meant to be rounded away: callers
    refuse data with rows off the grid.
    """
    scaled = values * 10.0**grid.precision
    units = np.rint(scaled)
    tolerance = np.minimum(np.abs(scaled) * _RELATIVE_TOLERANCE, _STEP_TOLERANCE * grid.units)
    off = ~(np.abs(scaled - units) <= tolerance) | ~(np.abs(scaled) < _EXACT_UNITS)
    if grid.units > 1:
        off |= np.mod(units, grid.units) != 0
    return np.where(off, 0.0, units).astype(np.int64), np.flatnonzero(off)


def round_to_grid(values: FloatArray, grid: Grid) -> tuple[FloatArray, int]:
    """The values rounded to the nearest multiple of the step, and how many of them were off the grid."""
    off = to_grid(values, grid)[1]
    units = np.rint(values[off] * 10.0**grid.precision / grid.units) * grid.units
    rounded = values.copy()
    rounded[off] = units / 10.0**grid.precision
    return rounded, len(off)


def find_off_grid(bars: BarColumns, price: Grid, size: Grid | None) -> Problem | None:
    """The first price or volume off its grid, or None; volumes are free when `size` is None."""
    for name in PRICE_FIELDS if size is None else (*PRICE_FIELDS, "volume"):
        grid = size if size is not None and name == "volume" else price
        rows = to_grid(getattr(bars, name), grid)[1]
        if len(rows):
            return off_grid(bars, name, grid, rows)
    return None


def off_grid(bars: BarColumns, name: str, grid: Grid, rows: IntArray) -> Problem:
    """The words for values of a column that are off the grid in `rows`."""
    row = int(rows[0])
    return Problem(
        row,
        f"{name} {float(getattr(bars, name)[row])!r} of the bar closing {utc_text(bars.ts_event[row])} is no "
        f"multiple of the instrument's step {grid.step:f} ({len(rows)} such values); "
        "give filters that cover the data with --exchange-info FILE",
    )


def find_bad_bar(bars: BarColumns, interval: str, *, with_volume: bool = True) -> Problem | None:
    """The first bar out of order, unaligned, not finite or without positive prices; None if all are fine.

    Whether high and low enclose open and close is left to `catalog.quality`: exchanges do publish such bars.
    """
    found = _find_disorder(bars.ts_event)
    if found is not None:
        return found
    off = np.flatnonzero(bars.ts_event % interval_ns(interval))
    if len(off):
        text = f"the bar closing {utc_text(bars.ts_event[off[0]])} is not aligned to {interval}"
        return Problem(int(off[0]), text)
    wanted = dict.fromkeys(PRICE_FIELDS, "a positive price")
    if with_volume:
        wanted["volume"] = "a volume of zero or more"
    for name, what in wanted.items():
        values = getattr(bars, name)
        fine = (values >= 0 if name == "volume" else values > 0) & (values < np.inf)
        if not fine.all():
            row = int(np.argmin(fine))
            text = f"{name} {values[row]} of the bar closing {utc_text(bars.ts_event[row])} is not {what}"
            return Problem(row, text)
    return None


def find_bad_funding(funding: FundingColumns) -> Problem | None:
    """The first settlement out of order or whose rate is no fraction below 1; None if fine."""
    found = _find_disorder(funding.ts_event)
    fine = np.abs(funding.rate) < 1
    if found is None and not fine.all():
        row = int(np.argmin(fine))
        when = utc_text(funding.ts_event[row])
        return Problem(row, f"funding rate {funding.rate[row]} at {when} is not a fraction below 1")
    return found


def snap_funding(funding: FundingColumns) -> FundingColumns:
    """The settlements with their times rounded to the minute.

    Venues stamp settlements some milliseconds late, differently in each source; unsnapped, one settlement
    read from two sources would be charged twice.
    """
    times = (funding.ts_event + MINUTE_NS // 2) // MINUTE_NS * MINUTE_NS
    return FundingColumns(times, np.asarray(funding.rate, np.float64))


def _find_disorder(times: IntArray) -> Problem | None:
    back = np.flatnonzero(times[1:] <= times[:-1])
    if not len(back):
        return None
    row = int(back[0]) + 1
    if times[row] == times[row - 1]:
        return Problem(row, f"{utc_text(times[row])} appears twice")
    return Problem(row, f"{utc_text(times[row])} comes after {utc_text(times[row - 1])}; times must increase")
