"""A daily index in the catalog: strict on its way in, merged, never contradicted, the same on its way out."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from catalog import ingest, quality
from catalog.ingest import ingest_paths
from catalog.quality import check_catalog
from catalog.sentiment import (
    DAY_NS,
    SentimentColumns,
    find_bad_sentiment,
    read_sentiment_csv,
    sentiment_to_table,
)
from catalog.sources import Hints, find_sources
from catalog.store import Catalog
from configs.console import run_app
from configs.errors import DataError
from tests.catalogs import JUNE, bars, kline_csv
from tests.providers import shared_data

REAL = "sentiment/lukmol_gamlss-btc-VaR"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: str, name: str = "index.csv", header: str = "date,fng") -> Path:
        path = tmp_path / name
        path.write_text("\n".join((header, *lines)) + "\n")
        return path

    return write


def june(*days: int, values: list[float] | None = None) -> SentimentColumns:
    """Days of June 2025, counted from 0."""
    dates = JUNE + np.array(days, np.int64) * DAY_NS
    return SentimentColumns(dates, np.array(values or [50.0 + day for day in days]))


def rows(columns: SentimentColumns) -> list[tuple[int, float]]:
    return list(zip(columns.date.tolist(), columns.value.tolist(), strict=True))


def test_a_day_begins_at_midnight_utc(csv: Callable[..., Path]) -> None:
    columns, repeated = read_sentiment_csv(csv("2025-06-01,30", "2025-06-02,0", "2025-06-03,100.0"))
    # JUNE is 2025-06-01 00:00 UTC
    assert rows(columns) == [(JUNE, 30.0), (JUNE + DAY_NS, 0.0), (JUNE + 2 * DAY_NS, 100.0)]
    assert repeated == 0


def test_order_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    path.write_bytes(b"\xef\xbb\xbfdate,fng\r\n2025-06-02, 31\r\n\r\n2025-06-01,30\r\n2025-06-02,31\r\n")
    columns, repeated = read_sentiment_csv(path)
    assert rows(columns) == [(JUNE, 30.0), (JUNE + DAY_NS, 31.0)]
    assert repeated == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2025-06-02,101", "fng '101' is not a number from 0 to 100"),
        ("2025-06-02,-1", "fng '-1' is not a number"),
        ("2025-06-02,nan", "fng 'nan' is not a number"),
        ("2025-06-02,", "fng '' is not a number"),
        ("2025-06-02,4e1", "fng '4e1' is not a number"),
        ("2025-06-02", "1 columns instead of 2"),
        ("2025-06-02,40,Fear", "3 columns instead of 2"),
        ("2025-06-31,40", "date '2025-06-31' is not a UTC day"),
        ("20250602,40", "date '20250602' is not a UTC day"),
        ("2025-06-02T00:00,40", "is not a UTC day"),
        ("02/06/2025,40", "is not a UTC day"),
        ("1999-06-02,40", "is not a UTC day"),
        ("2199-06-02,40", "2199-06-02 lies in the future"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_stored(
    csv: Callable[..., Path], tmp_path: Path, line: str, reason: str
) -> None:
    path = csv("2025-06-01,30", line, "2025-06-03,50")
    with pytest.raises(DataError) as refusal:
        ingest_paths([path], catalog=Catalog(tmp_path / "c"))
    assert str(refusal.value).startswith(f"{path}, line 3: ")
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "c").exists()


def test_two_values_for_a_day_are_refused_with_both_lines(csv: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"lines 2 and 4 disagree about 2025-06-01: fng 30 and 31"):
        read_sentiment_csv(csv("2025-06-01,30", "2025-06-02,40", "2025-06-01,31"))


def test_todays_value_is_no_future_one(csv: Callable[..., Path]) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert len(read_sentiment_csv(csv(f"{day},30"))[0]) == 1


@pytest.mark.parametrize("content", ["", "date,fng\n", "date,value\n2025-06-01,30\n"])
def test_a_file_without_rows_or_with_another_header_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "index.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"has no rows|instead of the header 'date,fng'"):
        ingest_paths([path], catalog=Catalog(tmp_path / "c"), kind="sentiment")


def test_the_header_tells_what_it_is_and_the_option_says_so_too(csv: Callable[..., Path]) -> None:
    path = csv("2025-06-01,30", name="BTCUSDT-1m.csv")
    for hints in (Hints(), Hints(kind="sentiment")):
        (source,) = find_sources([path], "auto", hints)
        key = source.key
        assert (key.instrument_id, key.kind, key.interval) == ("fear_greed", "sentiment", None)
    (other,) = find_sources([path], "auto", Hints(kind="klines", market="um"))
    assert other.key.kind == "klines"
    with pytest.raises(DataError, match=r"\.feather: a sentiment series is read from a \.csv file"):
        find_sources([csv(name="x.feather")], "auto", Hints(kind="sentiment"))


def test_a_later_file_is_merged_and_the_same_one_changes_nothing(
    csv: Callable[..., Path], tmp_path: Path
) -> None:
    catalog = Catalog.create(tmp_path / "c")
    (first,) = ingest_paths([csv("2025-06-01,30", "2025-06-04,33")], catalog=catalog)
    assert (first.status, first.added, first.kind) == ("written", 2, "sentiment")
    assert first.notes == ("days missing: 2025-06-02 to 2025-06-03",)
    later = csv("2025-06-02,31", "2025-06-04,33", "2025-06-04,33", "2025-06-05,34", name="later.csv")
    (second,) = ingest_paths([later], catalog=catalog)
    assert (second.status, second.added) == ("written", 2)
    assert second.notes == ("1 repeated lines", "days missing: 2025-06-03")
    expected = june(0, 1, 3, 4, values=[30.0, 31.0, 33.0, 34.0])
    assert rows(catalog.sentiment("fear_greed")) == rows(expected)
    assert ingest_paths([later], catalog=catalog)[0].status == "identical"
    assert len(list((tmp_path / "c").rglob("*.parquet"))) == 1


def test_another_value_for_a_stored_day_is_refused_in_one_line_unless_it_is_to_replace(
    csv: Callable[..., Path], tmp_path: Path
) -> None:
    catalog = Catalog.create(tmp_path / "c")
    ingest_paths([csv("2025-06-01,30", "2025-06-02,31")], catalog=catalog)
    changed = csv("2025-06-02,35", "2025-06-03,36")
    with pytest.raises(DataError) as refusal:
        ingest_paths([changed], catalog=catalog)
    message = str(refusal.value)
    assert "2025-06-02 00:00 (value 31 stored, 35 given)" in message
    assert "--replace" in message
    assert "\n" not in message
    assert rows(catalog.sentiment("fear_greed")) == rows(june(0, 1, values=[30.0, 31.0]))
    assert ingest_paths([changed], catalog=catalog, replace=True)[0].status == "replaced"
    assert rows(catalog.sentiment("fear_greed")) == rows(june(0, 1, 2, values=[30.0, 35.0, 36.0]))


def test_two_files_that_disagree_are_refused_before_anything_is_stored(
    csv: Callable[..., Path], tmp_path: Path
) -> None:
    files = [csv("2025-06-01,30", name="a.csv"), csv("2025-06-01,31", name="b.csv")]
    with pytest.raises(DataError, match=r"a\.csv and .*b\.csv disagree about fear_greed sentiment"):
        ingest_paths(files, catalog=Catalog(tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_days_are_chosen_by_their_beginning_half_open(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    assert len(catalog.sentiment("fear_greed")) == 0
    catalog.write_sentiment("fear_greed", june(0, 1, 2, 3))
    chosen = catalog.sentiment("fear_greed", JUNE + DAY_NS, JUNE + 3 * DAY_NS)
    assert rows(chosen) == rows(june(1, 2))
    assert rows(catalog.sentiment("fear_greed", JUNE + 1)) == rows(june(1, 2, 3))


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (SentimentColumns(np.array([JUNE + 1]), np.array([5.0])), "is not the midnight"),
        (june(1, 1), "does not come after"),
        (june(1, 0), "does not come after"),
        (june(1, values=[100.5]), "outside 0 to 100"),
        (june(1, values=[float("nan")]), "outside 0 to 100"),
    ],
)
def test_columns_that_are_wrong_are_not_stored(tmp_path: Path, columns: SentimentColumns, text: str) -> None:
    catalog = Catalog.create(tmp_path)
    with pytest.raises(DataError, match=f"fear_greed values: row .*{text}"):
        catalog.write_sentiment("fear_greed", columns)
    assert find_bad_sentiment(june(0, 1)) is None


def test_the_hash_depends_on_days_and_values_alone(tmp_path: Path) -> None:
    def digest(name: str, *writes: SentimentColumns) -> str:
        catalog = Catalog.create(tmp_path / name)
        for columns in writes:
            catalog.write_sentiment("fear_greed", columns)
        return catalog.sentiment_hash("fear_greed", JUNE, JUNE + 2 * DAY_NS)

    once = digest("once", june(0, 1, 2))
    assert digest("twice", june(1, 2), june(0)) == once
    assert digest("later", june(0, 1, 2, values=[50.0, 51.0, 9.0])) == once
    assert digest("other", june(0, 1, values=[50.0, 51.5])) != once
    assert digest("fewer", june(0)) != once


def test_quality_tells_missing_days_and_calls_a_broken_index_an_error(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    (catalog.path / "sextant" / "sentiment" / "empty").mkdir(parents=True)
    catalog.write_sentiment("fear_greed", june(0, 1, 4, 5, 7))
    (report,) = check_catalog(catalog)
    assert (report.instrument, report.kind, report.rows) == ("fear_greed", "sentiment", 5)
    assert (report.start, report.end) == ("2025-06-01 00:00", "2025-06-08 00:00")
    assert report.dataset_hash == catalog.sentiment_hash("fear_greed")
    (finding,) = report.findings
    assert (finding.check, finding.severity, finding.count) == ("gap", "notice", 2)
    assert finding.places == ("2025-06-03 to 2025-06-04", "2025-06-07")
    bad = june(8, values=[120.0])
    catalog.sentiment_series("fear_greed").write(sentiment_to_table(bad))
    (report,) = check_catalog(catalog)
    assert report.dataset_hash is None
    assert [(f.check, f.severity) for f in report.findings if f.severity == "error"] == [("range", "error")]


def command(module: object, *arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run_app(module.app, [str(argument) for argument in arguments])  # type: ignore[attr-defined]
    return int(ended.value.code or 0)


def test_the_commands_store_it_beside_bars_and_report_it(
    csv: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = tmp_path / "um" / "BTCUSDT-1m.csv"
    prices.parent.mkdir()
    prices.write_text(kline_csv(bars(10)))
    index = csv("2025-06-01,30", "2025-06-03,31")
    catalog = tmp_path / "c"
    assert command(ingest, index, prices, "--catalog", catalog) == 0
    shown = capsys.readouterr().out
    assert "index.csv: 2 rows, 2025-06-01 00:00 to 2025-06-03 00:00" in shown
    assert "index.csv: days missing: 2025-06-02" in shown
    assert "fear_greed  sentiment: files 1, rows 2" in shown
    assert command(ingest, index, "--kind", "sentiment", "--catalog", catalog, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"][0]["notes"] == ["days missing: 2025-06-02"]
    assert answer["series"][0]["status"] == "identical"
    assert command(quality, "--catalog", catalog) == 0
    assert "fear_greed | sentiment | 2 | 2025-06-01 00:00" in capsys.readouterr().out
    index.write_text("date,fng\n2025-06-01,300\n")
    assert command(ingest, index, "--catalog", catalog) == 2
    assert "line 2: fng '300' is not a number from 0 to 100" in capsys.readouterr().err


def test_the_real_index_comes_in_whole(tmp_path: Path) -> None:
    file = shared_data(REAL, "fear_greed_to_2025-06-30.csv")
    catalog = Catalog.create(tmp_path)
    (result,) = ingest_paths([file], catalog=catalog)
    assert (result.rows, result.added) == (2703, 2703)
    # the service's own outage of April 2018, and one day that the recorder missed
    assert result.notes == ("days missing: 2018-04-14 to 2018-04-16, 2024-10-26",)
    stored = catalog.sentiment("fear_greed")
    lines = file.read_text().splitlines()[1:]
    assert stored.value.tolist() == [float(line.split(",")[1]) for line in lines]
    assert str(stored.date[0].astype("datetime64[ns]"))[:10] == lines[0].split(",")[0] == "2018-02-01"
    assert stored.value[:2].tolist() == [30.0, 15.0]
