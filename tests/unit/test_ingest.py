import dataclasses
import io
import json
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from catalog.ingest import Skipped, ingest_paths, read_vision_csv
from catalog.sources import Hints, find_sources
from catalog.store import BarColumns, Catalog
from configs.errors import DataError
from tests.catalogs import BTC, HOUR_NS, JUNE, MINUTE_NS, SPOT, bars, kline_csv

NAME = "BTCUSDT-1m-2025-06.csv"


def _csv(path: Path, text: str | bytes, name: str = NAME) -> Path:
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def _zip(text: str, name: str = "inside.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def _feather(file: Path, columns: BarColumns, *, minutes: int = 1, unit: str = "ns") -> Path:
    opens = pa.array(columns.ts_event - minutes * MINUTE_NS).cast(pa.timestamp("ns", tz="UTC"))
    values = {name: getattr(columns, name) for name in ("open", "high", "low", "close", "volume")}
    feather.write_feather(pa.table({"date": opens.cast(pa.timestamp(unit, tz="UTC")), **values}), file)
    return file


def _rest(columns: BarColumns, *, minutes: int = 1) -> list[list[object]]:
    rows = kline_csv(columns, header=False, minutes=minutes).splitlines()
    numbers = {0, 6, 8}
    return [[int(v) if i in numbers else v for i, v in enumerate(row.split(","))] for row in rows]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "catalog")


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("unit_ns", [1_000_000, 1_000])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_archive_csv_is_read_with_and_without_header_in_both_time_units(
    tmp_path: Path, catalog: Catalog, header: bool, unit_ns: int, line_end: str
) -> None:
    text = kline_csv(bars(30), header=header, unit_ns=unit_ns).replace("\n", line_end)
    (result,) = ingest_paths([_csv(tmp_path, text)], catalog=catalog, market="um")
    assert (result.rows, result.status, result.filters_as_of) == (30, "written", "2025-08-07")
    assert (result.start, result.end) == (JUNE, JUNE + 30 * MINUTE_NS)
    assert catalog.bars(BTC, "1m").equals(bars(30))


def test_a_file_that_changes_from_milliseconds_to_microseconds_is_read(
    tmp_path: Path, catalog: Catalog
) -> None:
    later = kline_csv(bars(5, first=5), header=False, unit_ns=1_000)
    file = _csv(tmp_path, kline_csv(bars(5)) + later)
    ingest_paths([file], catalog=catalog, market="um")
    assert catalog.bars(BTC, "1m").equals(bars(10))


def test_a_zip_with_one_csv_is_read(tmp_path: Path, catalog: Catalog) -> None:
    file = _csv(tmp_path, _zip(kline_csv(bars(5))), "BTCUSDT-1m-2025-06.zip")
    ingest_paths([file], catalog=catalog, market="um")
    assert catalog.bars(BTC, "1m").equals(bars(5))
    columns = read_vision_csv(file.read_bytes(), interval="1m")
    assert isinstance(columns, BarColumns)
    assert columns.equals(bars(5))


def test_a_byte_order_mark_and_blank_lines_at_the_end_do_no_harm(tmp_path: Path, catalog: Catalog) -> None:
    for header in (True, False):
        text = b"\xef\xbb\xbf" + kline_csv(bars(5), header=header).encode() + b"\n\n"
        assert ingest_paths([_csv(tmp_path, text)], catalog=catalog, market="um")[0].rows == 5


def _broken(line: int, cell: int, value: str) -> str:
    lines = kline_csv(bars(20)).splitlines()
    cells = lines[line - 1].split(",")
    cells[cell] = value
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines) + "\n"


def _lines(change: str) -> str:
    lines = kline_csv(bars(20)).splitlines()
    if change == "twice":
        lines.insert(7, lines[6])
    elif change == "swapped":
        lines[6], lines[7] = lines[7], lines[6]
    elif change == "short":
        lines[9] = ",".join(lines[9].split(",")[:11])
    elif change == "header inside":
        lines[9] = lines[0]
    elif change == "cut off":
        lines[-1] = lines[-1][:25]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_broken(5, 1, "abc"), "line 5: open 'abc' is not a number"),
        (_broken(5, 1, ""), "line 5: open '' is not a number"),
        (_broken(7, 0, "17x"), "line 7: open_time '17x' is not a time"),
        (_broken(7, 0, "1748736300.5"), "line 7: open_time '1748736300.5' is not a time"),
        (_broken(8, 4, "nan"), "line 8: close nan .*is not a positive price"),
        (_broken(8, 4, "-5"), "line 8: close -5.0 .*is not a positive price"),
        (_broken(9, 5, "-1"), "line 9: volume -1.0"),
        (_broken(9, 5, "inf"), "line 9: volume inf"),
        (_broken(10, 0, "1748736480001"), "line 10: .*is not aligned to 1m"),
        (_broken(2, 0, "1748736000"), "line 2: the time is neither in milliseconds nor in microseconds"),
        (_broken(6, 0, "-5"), "line 6: the time is neither"),
        (_broken(6, 0, "99999999999999999"), "line 7: .*comes after"),
        (
            _broken(11, 2, "100000.15"),
            "line 11: high 100000.15 .*step 0.1 .*BTCUSDT-PERP.BINANCE as of 2025-08-07",
        ),
        (_lines("twice"), "line 8: 2025-06-01 00:06 appears twice"),
        (_lines("swapped"), "line 8: 2025-06-01 00:06 comes after 2025-06-01 00:07"),
        (_lines("short"), "line 10: 11 columns instead of 12"),
        (_lines("header inside"), "line 10: open_time 'open_time' is not a time"),
        (_lines("cut off"), "line 21: 3 columns instead of 12"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        (kline_csv(bars(0)), "has no rows"),
        (kline_csv(bars(20, minutes=5), minutes=5), "the bars are 5 minutes long, not 1m"),
    ],
)
def test_a_bad_csv_is_reported_with_its_line_and_nothing_is_kept(
    tmp_path: Path, catalog: Catalog, text: str, expected: str
) -> None:
    file = _csv(tmp_path, text)
    with pytest.raises(DataError, match=f"{NAME}.*{expected}"):
        ingest_paths([file], catalog=catalog, market="um")
    assert list(catalog.path.rglob("*")) == []


def test_the_line_counts_lines_that_are_blank(tmp_path: Path, catalog: Catalog) -> None:
    lines = _broken(8, 4, "-5").splitlines()
    file = _csv(tmp_path, "\n".join([*lines[:3], "", "", *lines[3:]]))
    with pytest.raises(DataError, match=r"line 10: close -5\.0"):
        ingest_paths([file], catalog=catalog, market="um")


def _zip_cases() -> dict[str, tuple[bytes, str]]:
    whole = _zip(kline_csv(bars(200)))
    wrong_sum = bytearray(whole)
    place = whole.index(b"PK\x01\x02") + 16  # the central directory's CRC-32
    wrong_sum[place : place + 4] = b"\0\0\0\0"
    huge = bytearray(whole)
    place = whole.index(b"PK\x01\x02") + 24  # uncompressed size
    huge[place : place + 4] = struct.pack("<I", 3_000_000_000)
    two = io.BytesIO()
    with zipfile.ZipFile(two, "w") as archive:
        archive.writestr("a.csv", "x")
        archive.writestr("b.csv", "y")
    return {
        "cut off": (whole[:-40], "damaged zip file"),
        "wrong sum": (bytes(wrong_sum), "damaged zip file .*CRC"),
        "huge": (bytes(huge), "unpacks to 2.8 GiB"),
        "two files": (two.getvalue(), "holds 2 files"),
        "empty inside": (_zip(""), "is empty"),
    }


@pytest.mark.parametrize("case", sorted(_zip_cases()))
def test_a_bad_zip_is_refused(tmp_path: Path, catalog: Catalog, case: str) -> None:
    content, expected = _zip_cases()[case]
    file = _csv(tmp_path, content, "BTCUSDT-1m-2025-06.zip")
    with pytest.raises(DataError, match=f"BTCUSDT-1m-2025-06.zip.*{expected}"):
        ingest_paths([file], catalog=catalog, market="um", kind="klines")
    assert list(catalog.path.rglob("*")) == []


def test_funding_archives_are_known_by_their_columns(tmp_path: Path, catalog: Catalog) -> None:
    text = "calc_time,funding_interval_hours,last_funding_rate\n"
    text += f"{JUNE // 10**6 + 3},8,0.00010000\n{(JUNE + 8 * HOUR_NS) // 10**6},8,-0.00002\n"
    (result,) = ingest_paths(
        [_csv(tmp_path, text, "BTCUSDT-fundingRate-2025-06.csv")], catalog=catalog, market="um"
    )
    assert (result.kind, result.interval, result.rows) == ("funding", None, 2)
    assert catalog.funding(BTC).ts_event.tolist() == [JUNE, JUNE + 8 * HOUR_NS]
    assert catalog.funding(BTC).rate.tolist() == [0.0001, -0.00002]


def test_mark_price_archives_are_known_by_their_folder(tmp_path: Path, catalog: Catalog) -> None:
    name = "futures/um/monthly/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2025-06.csv"
    columns = bars(3, minutes=60)
    columns.close[1] = 100_000.123456
    file = _csv(tmp_path, kline_csv(columns, minutes=60), name)
    (result,) = ingest_paths([file], catalog=catalog)
    assert (result.kind, result.instrument_id, result.interval) == ("mark", BTC, "1h")
    assert catalog.mark(BTC, "1h").close[1] == 100_000.123456
    assert catalog.stored_bars() == []


def test_rest_answers_in_a_folder_are_one_series(tmp_path: Path, catalog: Catalog) -> None:
    folder = tmp_path / "klines_spot" / "BTCUSDT" / "15m"
    folder.mkdir(parents=True)
    for first in (0, 96, 192):
        rows = _rest(bars(100, first=first, minutes=15), minutes=15)  # neighbours share four bars
        (folder / f"2025-06-{first:03}.json").write_text(json.dumps(rows))
    results = ingest_paths([tmp_path], catalog=catalog)
    assert [(r.instrument_id, r.interval, r.rows, r.added) for r in results] == [(SPOT, "15m", 100, 292)] * 3
    assert catalog.bars(SPOT, "15m").equals(bars(292, minutes=15))


def test_rest_funding_names_its_symbol_itself(tmp_path: Path, catalog: Catalog) -> None:
    rows = [
        {"symbol": "BTCUSDT", "fundingTime": JUNE // 10**6 + 1, "fundingRate": "0.0001", "markPrice": "1.5"},
        {"symbol": "BTCUSDT", "fundingTime": (JUNE + 8 * HOUR_NS) // 10**6, "fundingRate": "-0.0003"},
    ]
    (tmp_path / "rates.json").write_text(json.dumps(rows))
    ingest_paths([tmp_path / "rates.json"], catalog=catalog, market="um")
    assert catalog.funding(BTC).rate.tolist() == [0.0001, -0.0003]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[3].pop(), "row 4: not Binance's JSON"),
        (
            lambda rows: rows[3].__setitem__(0, "x"),
            "row 4: not Binance's JSON: Expected `int`, got `str` .open_time.",
        ),
        (lambda rows: rows[3].__setitem__(1, "x"), "row 4: open 'x' is not a number"),
        (lambda rows: rows[3].__setitem__(5, "-1"), "row 4: volume -1.0"),
        (lambda rows: rows.append(rows[0]), "row 11: .*comes after"),
        (lambda rows: rows.clear(), "has no rows"),
    ],
)
def test_a_bad_rest_answer_is_reported_with_its_row(
    tmp_path: Path, catalog: Catalog, change: object, expected: str
) -> None:
    rows = _rest(bars(10))
    assert callable(change)
    change(rows)
    file = tmp_path / "BTCUSDT-1m.json"
    file.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=f"BTCUSDT-1m.json.*{expected}"):
        ingest_paths([file], catalog=catalog, market="um")
    assert list(catalog.path.rglob("*")) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"code": -1121, "msg": "Invalid symbol."}', "the venue's error answer -1121: Invalid symbol."),
        ("<html>", "not Binance's JSON"),
        ('[[1,"2"', "not Binance's JSON"),
        ("", "is empty"),
    ],
)
def test_what_is_no_rest_answer_is_refused(
    tmp_path: Path, catalog: Catalog, text: str, expected: str
) -> None:
    file = tmp_path / "BTCUSDT-1m.json"
    file.write_text(text)
    with pytest.raises(DataError, match=expected):
        ingest_paths([file], catalog=catalog, market="um")


def test_a_bar_that_has_not_closed_yet_is_left_out(tmp_path: Path, catalog: Catalog) -> None:
    this_minute = time.time_ns() // MINUTE_NS * MINUTE_NS
    recent = dataclasses.replace(
        bars(10), ts_event=this_minute + MINUTE_NS * np.arange(-8, 2, dtype=np.int64)
    )
    file = tmp_path / "BTCUSDT-1m.json"
    file.write_text(json.dumps(_rest(recent)))
    (result,) = ingest_paths([file], catalog=catalog, market="um")
    assert result.rows in {9, 10}  # ten when a minute ended since
    assert catalog.bars(BTC, "1m").ts_event[-1] <= time.time_ns()


@pytest.mark.parametrize("unit", ["ns", "ms"])
def test_freqtrade_files_say_everything_in_their_names(tmp_path: Path, catalog: Catalog, unit: str) -> None:
    _feather(tmp_path / "BTC_USDT_USDT-1m-futures.feather", bars(5), unit=unit)
    _feather(tmp_path / "BTC_USDT-5m.feather", bars(5, minutes=5), minutes=5, unit=unit)
    rates = bars(3, minutes=480)
    zero = np.zeros(3)
    rates = dataclasses.replace(
        rates, open=np.array([1e-4, 0.0, -1e-4]), high=zero, low=zero, close=zero, volume=zero
    )
    _feather(tmp_path / "BTC_USDT_USDT-8h-funding_rate.feather", rates, minutes=480, unit=unit)
    _feather(tmp_path / "BTC_USDT_USDT-8h-mark.feather", bars(3, minutes=480), minutes=480, unit=unit)
    (tmp_path / "LICENSE").write_text("not data")
    results = ingest_paths([tmp_path], catalog=catalog)
    assert {(r.instrument_id, r.kind, r.interval) for r in results} == {
        (BTC, "klines", "1m"),
        (SPOT, "klines", "5m"),
        (BTC, "funding", None),
        (BTC, "mark", "8h"),
    }
    assert catalog.bars(BTC, "1m").equals(bars(5))
    assert catalog.bars(SPOT, "5m").equals(bars(5, minutes=5))
    assert catalog.funding(BTC).rate.tolist() == [1e-4, 0.0, -1e-4]
    assert catalog.funding(BTC).ts_event.tolist() == [JUNE, JUNE + 8 * HOUR_NS, JUNE + 16 * HOUR_NS]
    assert catalog.mark(BTC, "8h").close.tolist() == bars(3, minutes=480).close.tolist()


def test_a_bad_freqtrade_file_is_reported_with_its_row(tmp_path: Path, catalog: Catalog) -> None:
    columns = bars(9)
    columns.low[6] = np.nan
    file = _feather(tmp_path / "BTC_USDT_USDT-1m-futures.feather", columns)
    with pytest.raises(DataError, match=r"futures.feather, row 7: low nan .*00:07"):
        ingest_paths([file], catalog=catalog)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="not a readable feather file"):
        ingest_paths([file], catalog=catalog)
    feather.write_feather(pa.table({"date": [1], "open": [1.0]}), file)
    with pytest.raises(DataError, match="has no column close, high, low, volume"):
        ingest_paths([file], catalog=catalog)


def test_files_of_one_series_that_contradict_each_other_are_refused(tmp_path: Path, catalog: Catalog) -> None:
    other = bars(10, first=5)
    other.close[2] += 0.1
    first = _csv(tmp_path, kline_csv(bars(10)), "BTCUSDT-1m-2025-05.csv")
    second = _csv(tmp_path, kline_csv(other), "BTCUSDT-1m-2025-06.csv")
    with pytest.raises(DataError) as caught:
        ingest_paths([second, first], catalog=catalog, market="um")
    for part in (str(first), str(second), "disagree", "2025-06-01 00:08", "close 100001.0 and 100001.1"):
        assert part in str(caught.value)
    assert list(catalog.path.rglob("*")) == []


def test_a_bad_file_stops_the_work_and_the_files_before_it_are_stored(
    tmp_path: Path, catalog: Catalog
) -> None:
    good = _csv(tmp_path, kline_csv(bars(10)), "a/BTCUSDT-1m-2025-05.csv")
    bad = _csv(tmp_path, _broken(5, 1, "abc"), "a/BTCUSDT-1m-2025-06.csv")
    after = _csv(tmp_path, kline_csv(bars(5, first=90)), "b/BTCUSDT-1m-2025-07.csv")
    with pytest.raises(DataError, match=r"2025-06.csv, line 5: open 'abc' .*\[1 of 3 files are stored\]"):
        ingest_paths([good, bad, after], catalog=catalog, market="um")
    assert catalog.bars(BTC, "1m").equals(bars(10))


def test_what_cannot_be_stored_is_left_out_with_its_reason_and_all_else_is_stored(
    tmp_path: Path, catalog: Catalog
) -> None:
    _csv(tmp_path, kline_csv(bars(10)), "um/BTCUSDT-1m-2025-05.csv")
    _csv(tmp_path, _broken(5, 1, "abc"), "um/BTCUSDT-1m-2025-06.csv")
    _csv(tmp_path, kline_csv(bars(5, first=90)), "um/BTCUSDT-1m-2025-07.csv")
    for month in ("05", "06"):
        _csv(tmp_path, kline_csv(bars(3)), f"um/NOBODYUSDT-1m-2025-{month}.csv")
    _csv(tmp_path, b"a,b", "um/MANIFEST.csv")
    other = bars(3, first=1)
    other.close[0] += 0.1
    for number, columns in enumerate((bars(3), other)):
        _csv(tmp_path, kline_csv(columns), f"um/ETHUSDT-1m-{number}.csv")
    skipped: list[Skipped] = []
    results = ingest_paths([tmp_path], catalog=catalog, skip=skipped.append)
    assert [result.path.name[-6:-4] for result in results] == ["05", "07"]
    assert catalog.bars(BTC, "1m").equals(BarColumns.join([bars(10), bars(5, first=90)]))
    assert catalog.instrument_ids() == [BTC]
    told = {each.reason: each.files for each in skipped}
    for words, files in {
        "MANIFEST.csv: ": 1,
        "2025-06.csv, line 5: open 'abc'": 1,
        "NOBODYUSDT-PERP.BINANCE 1m klines: no trading filters are known": 2,
        "disagree about ETHUSDT-PERP.BINANCE 1m klines": 2,
    }.items():
        assert [count for reason, count in told.items() if words in reason] == [files]
    assert len(skipped) == 4


def test_ingesting_again_changes_nothing_and_other_values_need_replace(
    tmp_path: Path, catalog: Catalog
) -> None:
    file = _csv(tmp_path, kline_csv(bars(10)))
    ingest_paths([file], catalog=catalog, market="um")
    assert ingest_paths([file], catalog=catalog, market="um")[0].status == "identical"
    other = bars(10)
    other.close[3] += 0.1
    _csv(tmp_path, kline_csv(other))
    with pytest.raises(DataError, match=r"already holds other values .*--replace"):
        ingest_paths([file], catalog=catalog, market="um")
    assert ingest_paths([file], catalog=catalog, market="um", replace=True)[0].status == "replaced"
    assert catalog.bars(BTC, "1m").close[3] == 100_000.7


def test_stored_filters_are_kept_and_a_file_of_filters_overrides_the_shipped_ones(
    tmp_path: Path, catalog: Catalog
) -> None:
    info = {
        "serverTime": JUNE // 10**6,
        "symbols": [
            {
                **{
                    "symbol": "BTCUSDT",
                    "contractType": "PERPETUAL",
                    "baseAsset": "BTC",
                    "quoteAsset": "USDT",
                },
                **{"marginAsset": "USDT", "requiredMarginPercent": "5", "maintMarginPercent": "2.5"},
                "filters": [
                    {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                    {"filterType": "MIN_NOTIONAL", "notional": "5"},
                ],
            }
        ],
    }
    exchange_info = tmp_path / "info.json"
    exchange_info.write_text(json.dumps(info))
    finer = bars(5)
    finer.close[2] += 0.01
    file = _csv(tmp_path, kline_csv(finer))
    with pytest.raises(DataError, match=r"line 4: close .*--exchange-info"):
        ingest_paths([file], catalog=catalog, market="um")
    (result,) = ingest_paths([file], catalog=catalog, market="um", exchange_info=exchange_info)
    assert result.filters_as_of == "2025-06-01"
    assert ingest_paths([file], catalog=catalog, market="um")[0].filters_as_of == "2025-06-01"
    assert catalog.instrument(BTC).price_precision == 2


@pytest.mark.parametrize(
    ("name", "hints", "expected"),
    [
        ("BTCUSDT-1m.csv", Hints(), "does not say which market; give --market"),
        ("data.csv", Hints(market="um"), "the symbol is not in the path; give it with --symbol"),
        (
            "BTCUSDT.csv",
            Hints(market="um", symbol="BTCUSDT"),
            "interval is not in the path; give it with --interval",
        ),
        ("spot/BTCUSDT-7m.csv", Hints(), "unknown bar interval '7m'"),
        (
            "um/BTCUSDT-aggTrades-2025-06.csv",
            Hints(),
            "holds aggTrades; klines, markPriceKlines and fundingRate",
        ),
        ("cm/BTCUSD-1m.csv", Hints(), "holds cm"),
        ("odd.feather", Hints(), "not named as freqtrade names files"),
        ("notes.txt", Hints(), "unknown kind of file"),
    ],
)
def test_a_file_whose_series_cannot_be_told_is_refused(
    tmp_path: Path, name: str, hints: Hints, expected: str
) -> None:
    file = _csv(tmp_path, kline_csv(bars(3)), name)
    with pytest.raises(DataError, match=f"{file.name}.*{expected}|{expected}"):
        find_sources([file], "auto", hints)


def test_files_are_found_in_folders_and_by_pattern_each_once(tmp_path: Path) -> None:
    for month in ("05", "06"):
        _csv(tmp_path, kline_csv(bars(3)), f"um/x/BTCUSDT-1m-2025-{month}.csv")
    _csv(tmp_path, b"sum", "um/x/BTCUSDT-1m-2025-06.zip.CHECKSUM")
    given = [tmp_path, tmp_path / "um/*/*-06.csv", tmp_path / "um/x/BTCUSDT-1m-2025-05.csv"]
    sources = find_sources(given, "auto", Hints())
    assert [source.path.name for source in sources] == ["BTCUSDT-1m-2025-05.csv", "BTCUSDT-1m-2025-06.csv"]
    assert {source.key.instrument_id for source in sources} == {BTC}


@pytest.mark.parametrize(
    ("given", "file_format", "expected"),
    [
        ("none.csv", "auto", "none.csv is not there"),
        ("none/*.csv", "auto", "is not there"),
        (".", "auto", "has no data files"),
        (".", "parquet", "unknown format 'parquet'"),
    ],
)
def test_paths_that_lead_to_no_file_are_refused(
    tmp_path: Path, given: str, file_format: str, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        find_sources([tmp_path / given], file_format, Hints())
