"""Real files, as other people recorded them, through the importers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nautilus_trader.persistence import ParquetDataCatalog

from catalog.ingest import ingest_paths
from catalog.quality import check_catalog
from catalog.store import Catalog, bar_type
from configs.errors import DataError
from tests.catalogs import BTC, SPOT
from tests.providers import shared_data

FUTURES = "futures_um/typhonun_DcaTpStrategy"
OLDER = "futures_um/murphyhoops_freqtradeOne/commit_7b3a1d66/binanceusdm/futures"
ETH = "ETHUSDT-PERP.BINANCE"


@pytest.mark.parametrize(("base", "name"), [("BTC", BTC), ("ETH", ETH)])
@pytest.mark.parametrize(("interval", "rows"), [("1m", 43_199), ("5m", 10_906)])
def test_perpetual_feather_files_come_back_to_the_last_digit(
    tmp_path: Path, base: str, name: str, interval: str, rows: int
) -> None:
    file = shared_data(FUTURES, f"{base}_USDT_USDT-{interval}-futures.feather")
    catalog = Catalog.create(tmp_path)
    (result,) = ingest_paths([file], catalog=catalog)
    assert result.rows >= rows
    frame = pd.read_feather(file)
    stored = catalog.bars(name, interval)
    for column in ("open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(stored, column), frame[column].to_numpy())
    opens = stored.ts_event - int(interval[:-1]) * 60 * 10**9
    assert np.array_equal(opens, frame["date"].astype("datetime64[ns, UTC]").astype("int64").to_numpy())
    assert len(catalog.engine_bars(name, interval, result.start, result.end)) == result.rows
    assert ingest_paths([file], catalog=catalog)[0].status == "identical"


def test_two_recordings_of_one_series_become_one_with_its_gap(tmp_path: Path) -> None:
    files = [shared_data(folder, "BTC_USDT_USDT-5m-futures.feather") for folder in (FUTURES, OLDER)]
    catalog = Catalog.create(tmp_path)
    results = ingest_paths(files, catalog=catalog)
    assert [result.rows for result in results] == [10_906, 17_568]
    assert [end - start for start, end in catalog.intervals(BTC, "5m")] == [
        17_568 * 300 * 10**9,
        10_906 * 300 * 10**9,
    ]
    with pytest.raises(DataError, match=f"no 5m bars of {BTC} from 2024-01-31 00:00 to 2025-03-06 10:30"):
        catalog.require_bars(BTC, "5m", results[1].start, results[0].end, max_gap_minutes=60)


def test_spot_rest_answers_show_the_outage_of_march_2023(tmp_path: Path) -> None:
    folder = shared_data("klines_spot/finom_static-klines/BTCUSDT/15m")
    catalog = Catalog.create(tmp_path)
    results = ingest_paths([folder], catalog=catalog)
    assert (len(results), sum(result.rows for result in results)) == (129, 86_683)
    assert results[0].rounded == 71
    assert len(ParquetDataCatalog(str(tmp_path)).query_bars([bar_type(SPOT, "15m")])) == 86_683
    (report,) = check_catalog(catalog)
    found = {finding.check: finding for finding in report.findings}
    assert found["gap"].places == ("2023-03-24 12:45 to 2023-03-24 14:00 (5 bars)",)
    assert found["zero volume"].places == ("2023-03-24 11:30 to 2023-03-24 12:45 (5 bars)",)
    assert not any(finding.severity == "error" for finding in report.findings)


def test_funding_of_two_sources_is_one_series_on_the_hour(tmp_path: Path) -> None:
    name = "BTC_USDT_USDT-8h-funding_rate.feather"
    catalog = Catalog.create(tmp_path)
    results = ingest_paths([shared_data(FUTURES, name), shared_data(OLDER, name)], catalog=catalog)
    assert {(result.kind, result.added) for result in results} == {("funding", 266 + 999)}
    rates = catalog.funding(BTC)
    assert (rates.ts_event % (3600 * 10**9) == 0).all()
    assert np.abs(rates.rate).max() == 0.00088148


def test_mark_prices_are_stored_beside_the_bars(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    ingest_paths([shared_data(OLDER, "ETH_USDT_USDT-8h-mark.feather")], catalog=catalog)
    marks = catalog.mark(ETH, "8h")
    assert len(marks) == 1_499
    assert not marks.volume.any()


def test_data_that_an_old_record_of_filters_does_not_fit_asks_for_newer_ones(tmp_path: Path) -> None:
    file = shared_data(FUTURES, "SOL_USDT_USDT-1m-futures.feather")
    with pytest.raises(DataError, match=r"SOLUSDT-PERP\.BINANCE as of 2021-07-21") as caught:
        ingest_paths([file], catalog=Catalog.create(tmp_path))
    assert "--exchange-info FILE" in str(caught.value)
    with pytest.raises(DataError, match="no trading filters are known for ENAUSDT"):
        ingest_paths(
            [shared_data(FUTURES, "ENA_USDT_USDT-1m-futures.feather")], catalog=Catalog.create(tmp_path)
        )
    assert list(tmp_path.rglob("*.parquet")) == []


def test_every_perpetual_with_recent_filters_fits_them(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    for base in ("BTC", "ETH", "BNB", "XRP", "ADA", "LTC", "LINK", "BCH", "ETC"):
        (result,) = ingest_paths(
            [shared_data(FUTURES, f"{base}_USDT_USDT-1m-futures.feather")], catalog=catalog
        )
        assert (result.status, result.rounded) == ("written", 0)
