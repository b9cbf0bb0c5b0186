import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from nautilus_trader.model import Bar, BarType, Price, Quantity
from nautilus_trader.persistence import ParquetDataCatalog

from catalog.quality import Finding, check_bar_columns, check_catalog
from catalog.store import BarColumns, Catalog, bar_type
from configs.errors import DataError
from tests.catalogs import BTC, HOUR_NS, JUNE, MINUTE_NS, bars, catalog_with, funding


def _found(columns: BarColumns, **limits: float) -> dict[str, Finding]:
    return {finding.check: finding for finding in check_bar_columns(columns, "1m", **limits)}  # type: ignore[arg-type]


def _walk(n: int, seed: int = 3) -> BarColumns:
    """A random walk with returns of about 0.1 %, high and low around the body."""
    close = 100_000 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 1e-3, n)))
    opens = np.concatenate([[100_000.0], close[:-1]])
    high, low = np.maximum(opens, close) * 1.001, np.minimum(opens, close) * 0.999
    times = JUNE + MINUTE_NS * np.arange(1, n + 1, dtype=np.int64)
    return BarColumns(times, opens, high, low, close, np.ones(n))


def test_clean_bars_have_no_findings() -> None:
    assert _found(bars(500)) == {}
    assert _found(_walk(3000)) == {}


def test_gaps_are_told_longest_first_with_the_bars_they_lack() -> None:
    columns = BarColumns.join([bars(5), bars(5, first=7), bars(5, first=30)])
    assert _found(columns)["gap"] == Finding(
        check="gap",
        severity="notice",
        count=2,
        places=(
            "2025-06-01 00:12 to 2025-06-01 00:30 (18 bars)",
            "2025-06-01 00:05 to 2025-06-01 00:07 (2 bars)",
        ),
    )


@pytest.mark.parametrize(
    ("column", "value"), [("high", 1.0), ("low", 200_000.0), ("open", 200_000.0), ("close", 1.0)]
)
def test_a_bar_whose_range_leaves_out_its_body_is_an_error(column: str, value: float) -> None:
    columns = bars(20)
    getattr(columns, column)[7] = value
    finding = _found(columns)["ohlc"]
    assert (finding.severity, finding.count) == ("error", 1)
    assert finding.places[0].startswith("2025-06-01 00:07: open ")


def test_runs_without_volume_are_told_from_their_least_length() -> None:
    columns = bars(40)
    for start, length in ((3, 2), (10, 5), (37, 3)):
        columns.volume[start : start + length] = 0
    assert _found(columns)["zero volume"].places == (
        "2025-06-01 00:10 to 2025-06-01 00:15 (5 bars)",
        "2025-06-01 00:37 to 2025-06-01 00:40 (3 bars)",
    )
    assert _found(columns, zero_run_bars=2)["zero volume"].count == 3
    assert "zero volume" not in _found(columns, zero_run_bars=6)


def test_a_gap_ends_a_run_without_volume() -> None:
    columns = BarColumns.join([bars(4), bars(4, first=6)])
    columns.volume[2:6] = 0
    assert "zero volume" not in _found(columns)
    assert _found(columns, zero_run_bars=2)["zero volume"].count == 2


def test_planted_jumps_are_found_and_ordinary_returns_are_not() -> None:
    columns = _walk(3000)
    for row, factor in ((500, 1.05), (2500, 0.90)):
        for name in ("open", "high", "low", "close"):
            getattr(columns, name)[row + (name == "open") :] *= factor
    places = _found(columns)["jump"].places
    assert [place.partition(" (")[0][:16] for place in places] == ["2025-06-02 17:40", "2025-06-01 08:20"]
    assert places[0].startswith("2025-06-02 17:40: -9.96% (")
    assert "jump" not in _found(columns, jump_sigmas=200.0)


def test_a_price_change_across_a_gap_is_no_jump() -> None:
    columns = _walk(1000)
    keep = np.ones(1000, bool)
    keep[400:500] = False
    columns = BarColumns(*(getattr(columns, name)[keep] for name in columns.__slots__))
    for name in ("open", "high", "low", "close"):
        getattr(columns, name)[400:] *= 1.5
    assert set(_found(columns)) == {"gap"}


def test_a_market_that_hardly_moves_has_no_infinite_jumps() -> None:
    columns = dataclasses.replace(bars(300), close=np.full(300, 100.0))
    columns.close[150:] = 100.1
    found = check_bar_columns(
        dataclasses.replace(columns, high=columns.close * 2, low=columns.close / 2), "1m"
    )
    jumps = [finding for finding in found if finding.check == "jump"]
    assert all("inf" not in place and "nan" not in place for finding in jumps for place in finding.places)


def test_a_catalog_is_reported_series_by_series(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    catalog.write_funding(BTC, funding(4))
    catalog.write_mark(BTC, "8h", bars(3, minutes=480))
    reports = check_catalog(catalog)
    assert [(r.instrument, r.kind, r.interval, r.rows, r.findings) for r in reports] == [
        (BTC, "klines", "1m", 10, ()),
        (BTC, "funding", None, 4, ()),
        (BTC, "mark", "8h", 3, ()),
    ]
    assert reports[0].dataset_hash == catalog.dataset_hash(BTC, "1m", JUNE, JUNE + HOUR_NS)
    assert (reports[0].start, reports[0].end) == ("2025-06-01 00:00", "2025-06-01 00:10")


def test_missing_settlements_and_mark_prices_are_gaps(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    rates = funding(10)
    keep = np.array([0, 1, 2, 5, 6])
    catalog.write_funding(
        BTC, dataclasses.replace(rates, ts_event=rates.ts_event[keep], rate=rates.rate[keep])
    )
    catalog.write_mark(BTC, "8h", BarColumns.join([bars(2, minutes=480), bars(2, first=4, minutes=480)]))
    found = [finding for report in check_catalog(catalog) for finding in report.findings]
    assert found == [
        Finding("gap", "notice", 1, ("2025-06-01 16:00 to 2025-06-02 16:00",)),
        Finding("gap", "notice", 1, ("2025-06-01 16:00 to 2025-06-02 08:00 (2 bars)",)),
    ]


def _bar(minute: int) -> Bar:
    prices = [Price.from_str(text) for text in ("100.1", "100.9", "99.7", "100.0")]
    at = JUNE + minute * MINUTE_NS
    return Bar(BarType.from_str(bar_type(BTC, "1m")), *prices, Quantity.from_str("2.500"), at, at)


def test_duplicates_of_another_writer_are_errors(tmp_path: Path) -> None:
    catalog_with(tmp_path)
    nautilus = ParquetDataCatalog(str(tmp_path))
    nautilus.write_bars([_bar(1), _bar(2), _bar(3)])
    nautilus.write_bars([_bar(2), _bar(3), _bar(4)], skip_disjoint_check=True)
    (report,) = check_catalog(Catalog.open(tmp_path))
    assert report.dataset_hash is None
    assert report.rows == 4
    duplicates = [finding for finding in report.findings if finding.check == "duplicate"]
    assert duplicates == [Finding("duplicate", "error", 2, ("2025-06-01 00:01", "2025-06-01 00:02"))]


def test_bars_out_of_order_or_unaligned_in_a_file_are_errors(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(6))
    (file,) = catalog.bar_series(BTC, "1m").files()
    table = pq.read_table(file)
    pq.write_table(table.take([0, 1, 3, 2, 4, 5]), file)
    (report,) = check_catalog(catalog)
    assert report.findings == (Finding("order", "error", 1, ("2025-06-01 00:02",)),)


def test_decimals_that_differ_from_the_instruments_are_an_error(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    (file,) = catalog.bar_series(BTC, "1m").files()
    table = pq.read_table(file)
    metadata = {**table.schema.metadata, b"size_precision": b"5"}
    pq.write_table(table.replace_schema_metadata(metadata), file)
    (report,) = check_catalog(catalog)
    assert [finding.check for finding in report.findings] == ["precision"]
    assert "(1, 5) in the bars, (1, 3) in the instrument" in report.findings[0].places[0]


def test_bars_without_their_instrument_are_an_error(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    for file in (tmp_path / "data" / "crypto_perpetual").rglob("*.parquet"):
        file.unlink()
    (report,) = check_catalog(catalog)
    assert report.findings == (Finding("precision", "error", 1, ("the catalog has no such instrument",)),)


def test_a_folder_without_market_data_is_no_clean_catalog(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no market data"):
        check_catalog(Catalog.open(tmp_path))
