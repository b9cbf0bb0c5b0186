"""Files as people have them to columns: Binance archive CSV and zip, REST JSON, freqtrade feather.

Every reader either returns the whole file as columns or raises one DataError that names the file, the line
(or row) and what is wrong with it. Times may be in milliseconds or microseconds (spot archives changed in
2025), row by row. A bar that the exchange had not closed yet when the file was saved cannot be told from a
closed one afterwards; only bars that close after now are dropped.
"""

import csv
import re
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from pyarrow import feather

from catalog.columns import (
    MINUTE_NS,
    PRICE_FIELDS,
    BarColumns,
    FundingColumns,
    Problem,
    find_bad_bar,
    find_bad_funding,
    interval_ns,
)
from configs.errors import DataError

__all__ = ["Kind", "csv_kind", "locate", "read_freqtrade", "read_rest_json", "read_vision_csv"]

Kind = Literal["klines", "funding", "mark", "sentiment"]
KLINE_COLUMNS = (
    *("open_time", *PRICE_FIELDS, "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
FUNDING_COLUMNS = ("calc_time", "funding_interval_hours", "last_funding_rate")
_TIMES = {"open_time", "close_time", "calc_time"}
_KLINE_NEEDED = KLINE_COLUMNS[:7]
_FUNDING_NEEDED = ("calc_time", "last_funding_rate")
_COLUMNS = {"klines": (KLINE_COLUMNS, _KLINE_NEEDED), "funding": (FUNDING_COLUMNS, _FUNDING_NEEDED)}
_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LARGEST_FILE = 2**30
_PEEK = 4096
_MICROSECONDS_FROM = 10**14  # as milliseconds the year 5138, as microseconds 1973
_MILLISECONDS_MOST = 9 * 10**12  # the year 2255; int64 nanoseconds end in 2262
_EARLIEST_NS = 1_230_768_000 * 10**9  # 2009: nothing traded before
_SHARE_OF_OTHER_LENGTH = 0.5


class _FundingEntry(msgspec.Struct):
    fundingTime: int  # noqa: N815 (the venue's name)
    fundingRate: str  # noqa: N815
    symbol: str = ""


class _ErrorAnswer(msgspec.Struct):
    code: int
    msg: str = ""


def read_vision_csv(
    source: Path | bytes, *, interval: str | None = None, kind: Kind = "klines", name: str = ""
) -> BarColumns | FundingColumns:
    """A Binance archive file (CSV, or a zip with one CSV), with or without a header line.

    `source` is a path or the file's bytes (then `name` stands for it in messages). Bars need `interval`; kind
    "mark" returns bars with zero volume, kind "funding" settlements with the times as given.
    """
    name = name or (str(source) if isinstance(source, Path) else "the file")
    content = _csv_bytes(source, name)
    header = _has_header(content)
    wanted, needed = _COLUMNS["funding" if kind == "funding" else "klines"]
    table = _csv_table(content, wanted, needed, header, name)
    if not table.num_rows:
        raise DataError(f"{name} has no rows")
    columns: BarColumns | FundingColumns
    if kind == "funding":
        columns = FundingColumns(_nanoseconds(table["calc_time"]), table["last_funding_rate"].to_numpy())
        problem = find_bad_funding(columns)
    else:
        opens, closes = _nanoseconds(table["open_time"]), _nanoseconds(table["close_time"])
        values = [table[column].to_numpy() for column in (*PRICE_FIELDS, "volume")]
        columns, problem = _bars(opens, values, closes, interval, kind, name)
    problem = _too_early(columns) or problem
    if problem is not None:
        line = _line_of(content, problem.row, header)
        raise DataError(f"{name}, line {line}: {problem.text}")
    return _closed(columns)


def read_rest_json(
    path: Path, *, interval: str | None = None, kind: Kind = "klines"
) -> BarColumns | FundingColumns:
    """A saved answer of Binance's klines, markPriceKlines or fundingRate request."""
    content = _file_bytes(path)
    columns: BarColumns | FundingColumns
    if kind == "funding":
        rates = _decode(content, list[_FundingEntry], path)
        times = np.array([entry.fundingTime for entry in rates], np.int64)
        values = _numbers([entry.fundingRate for entry in rates], "fundingRate", path)
        columns = FundingColumns(_nanoseconds(times), values)
        problem = find_bad_funding(columns)
    else:
        rows = _decode(content, list[tuple[int, str, str, str, str, str, int, Any, Any, Any, Any, Any]], path)
        fields = list(zip(*rows, strict=True)) or [()] * len(KLINE_COLUMNS)
        values_of = [_numbers(fields[i + 1], KLINE_COLUMNS[i + 1], path) for i in range(5)]
        opens, closes = (_nanoseconds(np.array(fields[i], np.int64)) for i in (0, 6))
        columns, problem = _bars(opens, values_of, closes, interval, kind, str(path))
    if not len(columns):
        raise DataError(f"{path} has no rows")
    problem = _too_early(columns) or problem
    if problem is not None:
        raise DataError(f"{path}, row {problem.row + 1}: {problem.text}")
    return _closed(columns)


def read_freqtrade(
    path: Path, *, interval: str | None = None, kind: Kind = "klines"
) -> BarColumns | FundingColumns:
    """A freqtrade feather file: date, open, high, low, close, volume; funding rates stand in `open`."""
    try:
        table = feather.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path} is not a readable feather file ({_first_line(error)})") from error
    missing = {"date", *PRICE_FIELDS, "volume"} - set(table.schema.names)
    if missing:
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}; it is no freqtrade file")
    if not table.num_rows:
        raise DataError(f"{path} has no rows")
    try:
        opens = table["date"].cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
        values = [table[name].cast(pa.float64()).to_numpy() for name in (*PRICE_FIELDS, "volume")]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path}: a column has the wrong type ({_first_line(error)})") from error
    columns: BarColumns | FundingColumns
    if kind == "funding":
        columns = FundingColumns(opens, values[0])
        problem = find_bad_funding(columns)
    else:
        columns, problem = _bars(opens, values, None, interval, kind, str(path))
    problem = _too_early(columns) or problem
    if problem is not None:
        raise DataError(f"{path}, row {problem.row + 1}: {problem.text}")
    return _closed(columns)


def csv_kind(path: Path) -> Kind | None:
    """The kind a CSV or zip shows by its first line: funding by its columns, else None (klines or mark)."""
    with path.open("rb") as file:
        start = file.read(_PEEK)
    if start[:2] == b"PK":
        start = _csv_bytes(path, str(path))[:_PEEK]
    cells = start.decode("utf-8", "replace").strip().partition("\n")[0].split(",")
    return "funding" if len(cells) == len(FUNDING_COLUMNS) else None


def locate(path: Path, row: int) -> str:
    """Where row `row` (from 0) of a parsed file stands: its line in a CSV, else its row, counted from 1."""
    if path.suffix.lower() in {".csv", ".zip"}:
        content = _csv_bytes(path, str(path))
        return f"{path}, line {_line_of(content, row, _has_header(content))}"
    return f"{path}, row {row + 1}"


def _bars(
    opens: NDArray[np.int64],
    values: list[NDArray[np.float64]],
    closes: NDArray[np.int64] | None,
    interval: str | None,
    kind: Kind,
    name: str,
) -> tuple[BarColumns, Problem | None]:
    if interval is None:
        raise DataError(f"{name}: the bars' interval is not in the path; give it with --interval")
    length = interval_ns(interval)
    if kind == "mark":
        values = [*values[:4], np.zeros(len(opens))]
    columns = BarColumns(opens + length, *values)
    # the venue's close is 1 ms or 1 us before the next open
    spans = np.diff(opens) if closes is None else (closes - opens + 10**6) // MINUTE_NS * MINUTE_NS
    found = int(np.median(spans)) if len(spans) else length
    if found != length and np.mean(spans != length) > _SHARE_OF_OTHER_LENGTH and found > 0:
        raise DataError(f"{name}: the bars are {found / MINUTE_NS:g} minutes long, not {interval}")
    return columns, find_bad_bar(columns, interval, with_volume=kind != "mark")


def _closed(columns: BarColumns | FundingColumns) -> BarColumns | FundingColumns:
    """Without the bars that close only after now: they are still changing."""
    if isinstance(columns, FundingColumns):
        return columns
    return columns.slice(0, int(np.searchsorted(columns.ts_event, time.time_ns(), side="right")))


def _too_early(columns: BarColumns | FundingColumns) -> Problem | None:
    early = columns.ts_event < _EARLIEST_NS
    if not early.any():
        return None
    return Problem(
        int(np.argmax(early)), "the time is neither in milliseconds nor in microseconds since 1970"
    )


def _nanoseconds(values: Any) -> NDArray[np.int64]:
    raw = values if isinstance(values, np.ndarray) else values.to_numpy()
    micros = np.where(raw >= _MICROSECONDS_FROM, raw, np.clip(raw, 0, _MILLISECONDS_MOST) * 1000)
    nanos: NDArray[np.int64] = np.minimum(micros, _MILLISECONDS_MOST * 1000) * 1000
    return nanos


def _decode[T](content: bytes, kind: type[T], path: Path) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        text = str(error)
    try:
        answer = msgspec.json.decode(content, type=_ErrorAnswer)
    except msgspec.DecodeError:
        place = re.search(r"\$\[(\d+)\](?:\[(\d+)\])?", text)
        where = "" if place is None else f", row {int(place[1]) + 1}"
        column = "" if place is None or place[2] is None else f" ({KLINE_COLUMNS[int(place[2])]})"
        raise DataError(f"{path}{where}: not Binance's JSON: {text.partition(' - at')[0]}{column}") from None
    raise DataError(f"{path} holds the venue's error answer {answer.code}: {answer.msg}")


def _numbers(values: Any, column: str, path: Path) -> NDArray[np.float64]:
    try:
        return np.array(values, np.float64)
    except (ValueError, TypeError):
        row = next(i for i, value in enumerate(values) if not _NUMBER.fullmatch(str(value)))
        raise DataError(f"{path}, row {row + 1}: {column} '{values[row]}' is not a number") from None


def _file_bytes(path: Path) -> bytes:
    content = path.read_bytes()
    if _blank(content):
        raise DataError(f"{path} is empty")
    return content


def _csv_bytes(source: Path | bytes, name: str) -> bytes:
    content = source if isinstance(source, bytes) else _file_bytes(source)
    if content[:2] == b"PK":
        content = _unzipped(content, name)
    if _blank(content):
        raise DataError(f"{name} is empty")
    return content.removeprefix(b"\xef\xbb\xbf")


def _unzipped(content: bytes, name: str) -> bytes:
    try:
        with zipfile.ZipFile(pa.BufferReader(content)) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) != 1:
                raise DataError(f"{name} holds {len(members)} files; an archive file holds one CSV")
            if members[0].file_size > _LARGEST_FILE:
                size = members[0].file_size / 2**30
                raise DataError(f"{name} unpacks to {size:.1f} GiB; that is no file of the archive")
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{name} is a damaged zip file ({_first_line(error)}); fetch it again") from error


def _has_header(content: bytes) -> bool:
    return content[:_PEEK].lstrip()[:1].isalpha()


def _blank(content: bytes) -> bool:
    # whole files are large: strip copies
    return not content[:_PEEK].strip() and not content.strip()


def _csv_table(
    content: bytes, wanted: tuple[str, ...], needed: tuple[str, ...], header: bool, name: str
) -> pa.Table:
    types = {column: pa.int64() if column in _TIMES else pa.float64() for column in needed}
    try:
        return pacsv.read_csv(
            pa.BufferReader(content),
            read_options=pacsv.ReadOptions(column_names=list(wanted), skip_rows=int(header)),
            convert_options=pacsv.ConvertOptions(
                column_types=types, include_columns=list(needed), null_values=[], check_utf8=False
            ),
        )
    except pa.ArrowInvalid as error:
        problem = _find_bad_line(content, wanted, needed, header) or _first_line(error)
        raise DataError(f"{name}{problem if problem.startswith(',') else ': ' + problem}") from error


def _find_bad_line(
    content: bytes, wanted: tuple[str, ...], needed: tuple[str, ...], header: bool
) -> str | None:
    """The first line that does not hold the columns asked for, in words; None when each does."""
    indices = [(wanted.index(column), column) for column in needed]
    lines = content.decode("utf-8", "replace").splitlines()
    rows = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    for number, line in list(rows)[int(header) :]:
        cells = next(csv.reader([line]))
        if len(cells) != len(wanted):
            return f", line {number}: {len(cells)} columns instead of {len(wanted)}"
        for index, column in indices:
            pattern, what = (_INTEGER, "a time") if column in _TIMES else (_NUMBER, "a number")
            if not pattern.fullmatch(cells[index].strip()):
                return f", line {number}: {column} '{cells[index][:40]}' is not {what}"
    return None


def _line_of(content: bytes, row: int, header: bool) -> int:
    numbers = (number for number, line in enumerate(content.splitlines(), 1) if line.strip())
    return next(number for count, number in enumerate(numbers) if count == row + int(header))


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
