"""Columns to Arrow tables and back, in the schemas that Nautilus's Parquet catalog reads.

Prices and sizes are Decimal128(38, 16) there. Both ways are vectorised and exact: a value is an integer
count of 10**-precision on its way in, and on its way out the float64 that parsing its decimal text gives.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from catalog.columns import PRICE_FIELDS, BarColumns, FundingColumns, Grid, off_grid, to_grid
from configs.errors import DataError

__all__ = [
    "FUNDING_SCHEMA",
    "MARK_SCHEMA",
    "TIME_TYPE",
    "bars_from_table",
    "bars_to_table",
    "decimal_column",
    "float_column",
    "funding_from_table",
    "funding_to_table",
    "mark_from_table",
    "mark_to_table",
    "times_of",
]

_SCALE = 16
_DECIMAL = pa.decimal128(38, _SCALE)
TIME_TYPE = pa.timestamp("ns", tz="UTC")
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_EXACT_UNITS = 2.0**52

FUNDING_SCHEMA = pa.schema(
    [pa.field("ts_event", TIME_TYPE, nullable=False), pa.field("rate", pa.float64(), nullable=False)]
)
MARK_SCHEMA = pa.schema(
    [pa.field("ts_event", TIME_TYPE, nullable=False)]
    + [pa.field(name, pa.float64(), nullable=False) for name in PRICE_FIELDS]
)


def bars_to_table(
    bars: BarColumns,
    name: str,
    instrument_id: str,
    price: Grid,
    size: Grid,
    received: NDArray[np.int64] | None = None,
) -> pa.Table:
    """A table in Nautilus's bar schema; DataError when a price or volume is off its grid.

    `received` (ns UTC) is when each bar was there, by default at its close.
    """
    fields = [pa.field(column, _DECIMAL, nullable=False) for column in (*PRICE_FIELDS, "volume")]
    fields += [pa.field(column, TIME_TYPE, nullable=False) for column in ("ts_event", "ts_init")]
    metadata = {
        "bar_type": name,
        "instrument_id": instrument_id,
        "price_precision": str(price.precision),
        "size_precision": str(size.precision),
        "type_name": "Bar",
    }
    arrays = []
    for column in (*PRICE_FIELDS, "volume"):
        grid = size if column == "volume" else price
        units, off = to_grid(getattr(bars, column), grid)
        if len(off):
            problem = off_grid(bars, column, grid, off)
            raise DataError(f"row {problem.row + 1}: {problem.text}")
        arrays.append(decimal_column(units, grid.precision))
    times = pa.array(bars.ts_event, type=TIME_TYPE)
    heard = times if received is None else pa.array(received, type=TIME_TYPE)
    return pa.table([*arrays, times, heard], schema=pa.schema(fields, metadata=metadata))


def bars_from_table(table: pa.Table) -> BarColumns:
    """The bars of a table in Nautilus's bar schema, each value as parsing its decimal text gives it."""
    metadata = table.schema.metadata or {}
    try:
        price, size = (int(metadata[key]) for key in (b"price_precision", b"size_precision"))
    except (KeyError, ValueError) as error:
        raise DataError(
            "the bar file names no price and size precision; it was not written as a bar file"
        ) from error
    opens, high, low, close = (float_column(table[column], price) for column in PRICE_FIELDS)
    return BarColumns(times_of(table), opens, high, low, close, float_column(table["volume"], size))


def funding_to_table(funding: FundingColumns) -> pa.Table:
    """A table in FUNDING_SCHEMA."""
    return pa.table(
        [pa.array(funding.ts_event, type=TIME_TYPE), pa.array(funding.rate)], schema=FUNDING_SCHEMA
    )


def funding_from_table(table: pa.Table) -> FundingColumns:
    """The inverse of `funding_to_table`."""
    return FundingColumns(times_of(table), _column(table["rate"]))


def mark_to_table(bars: BarColumns) -> pa.Table:
    """A table in MARK_SCHEMA: mark prices are averages and lie on no tick grid, so they stay floats."""
    prices = [pa.array(getattr(bars, name)) for name in PRICE_FIELDS]
    return pa.table([pa.array(bars.ts_event, type=TIME_TYPE), *prices], schema=MARK_SCHEMA)


def mark_from_table(table: pa.Table) -> BarColumns:
    """The inverse of `mark_to_table`, with zero volume."""
    opens, high, low, close = (_column(table[name]) for name in PRICE_FIELDS)
    return BarColumns(times_of(table), opens, high, low, close, np.zeros(table.num_rows))


def times_of(table: pa.Table) -> NDArray[np.int64]:
    """The table's ts_event as int64 ns."""
    times: NDArray[np.int64] = table["ts_event"].cast(pa.int64()).to_numpy()
    return times


def _column(values: pa.ChunkedArray) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.to_numpy()
    return array


def decimal_column(units: NDArray[np.int64], precision: int) -> pa.Array:
    """Counts of 10**-precision (0 <= units < 2**53) as Nautilus's decimals.

    units * 10**(16 - precision) in 128 bits, from the products of the 32-bit halves.
    """
    if precision > _SCALE:
        raise DataError(f"a precision of {precision} decimals is more than the {_SCALE} that can be stored")
    factor = 10 ** (_SCALE - precision)
    high_factor, low_factor = np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    unsigned = units.view(np.uint64)
    high, low = unsigned >> _HALF, unsigned & _LOW
    lowest = low * low_factor
    middle = high * low_factor + low * high_factor + (lowest >> _HALF)
    words = np.empty((len(units), 2), np.uint64)  # little endian: low word first
    words[:, 0] = (middle << _HALF) | (lowest & _LOW)
    words[:, 1] = high * high_factor + (middle >> _HALF)
    return pa.Array.from_buffers(_DECIMAL, len(units), [None, pa.py_buffer(words)])


def float_column(values: pa.ChunkedArray, precision: int) -> NDArray[np.float64]:
    """Decimals as float64, each what parsing its text gives; the inverse of `decimal_column`."""
    # Arrow's cast may miss the nearest float64 by one unit in the last place; counting units of
    # 10**-precision and dividing once is correctly rounded.
    floats = _column(values.cast(pa.float64()))
    units = np.rint(floats * 10.0**precision)
    exact: NDArray[np.float64] = np.where(np.abs(units) < _EXACT_UNITS, units / 10.0**precision, floats)
    return exact
