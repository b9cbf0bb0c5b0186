"""The downloader against a real HTTP server on loopback that has the archive's layout."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.store import Catalog
from configs.errors import DataError
from tests.archive_server import (
    ArchiveServer,
    archive_server,
    csv_of,
    day_ms,
    funding_csv,
    funding_rate,
)
from tests.downloads import (
    BTC,
    HOUR_NS,
    MONTHS,
    assert_holds,
    days_between,
    exchange_info,
    fetch,
    leftovers,
    run,
)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with archive_server() as running:
        yield running


def test_whole_months_come_as_monthly_files_and_end_in_the_catalog(
    server: ArchiveServer, tmp_path: Path
) -> None:
    paths = [server.put_month(month) for month in MONTHS]
    report = fetch(server, tmp_path, "2024-01-01", "2024-03-31")
    assert report.failures == report.missing == []
    assert_holds(tmp_path, "2024-01-01", "2024-03-31")
    wanted = {*paths, *(f"{path}.CHECKSUM" for path in paths), "/fapi/v1/exchangeInfo"}
    assert set(server.requests) == wanted
    assert len(server.requests) == len(wanted)
    assert leftovers(tmp_path) == []


def test_days_outside_whole_months_come_as_daily_files(server: ArchiveServer, tmp_path: Path) -> None:
    for day in ("2024-01-30", "2024-01-31", "2024-03-01"):
        server.put_day(day)
    server.put_month("2024-02")
    report = fetch(server, tmp_path, "2024-01-30", "2024-03-01")
    assert report.failures == []
    assert_holds(tmp_path, "2024-01-30", "2024-03-01")
    assert not server.asked("2024-01.zip")
    assert not server.asked("klines?")


def test_a_second_run_fetches_nothing_again(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    server.put_day("2024-02-01")
    fetch(server, tmp_path, "2024-01-01", "2024-02-01")
    server.requests.clear()
    report = fetch(server, tmp_path, "2024-01-01", "2024-02-01")
    assert server.requests == []
    assert {result.status for result in report.results} == {"identical"}
    assert_holds(tmp_path, "2024-01-01", "2024-02-01")


def test_a_cached_file_that_was_altered_is_fetched_again(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    fetch(server, tmp_path, "2024-01-01", "2024-01-31")
    (cached,) = (tmp_path / "cache").rglob("*.zip")
    cached.write_bytes(cached.read_bytes()[:-1])
    report = fetch(server, tmp_path, "2024-01-01", "2024-01-31")
    assert report.failures == []
    assert len(server.asked("2024-01.zip")) == 4


def test_a_month_that_is_not_there_yet_comes_by_days_and_the_rest_over_rest(
    server: ArchiveServer, tmp_path: Path
) -> None:
    server.put_month("2024-01")
    for day in days_between("2024-02-01", "2024-02-25"):
        server.put_day(day)
    report = fetch(server, tmp_path, "2024-01-01", "2024-02-29")
    assert report.failures == report.missing == []
    assert_holds(tmp_path, "2024-01-01", "2024-02-29")
    (asked,) = server.asked("klines?")
    assert f"startTime={day_ms('2024-02-26')}&endTime={day_ms('2024-03-01') - 1}" in asked
    server.requests.clear()
    fetch(server, tmp_path, "2024-01-01", "2024-02-29")
    assert not server.asked("klines?")  # what REST gave for days that have ended is kept too


def test_rest_pages_are_put_together(server: ArchiveServer, tmp_path: Path) -> None:
    report = fetch(server, tmp_path, "2024-01-01", "2024-03-31")  # 2,184 hours, 1,500 a page
    assert report.failures == []
    assert_holds(tmp_path, "2024-01-01", "2024-03-31")
    assert len(server.asked("klines?")) == 2


def test_spot_pages_hold_a_thousand(server: ArchiveServer, tmp_path: Path) -> None:
    report = fetch(server, tmp_path, "2024-01-01", "2024-03-31", market="spot")
    assert report.failures == []
    assert_holds(tmp_path, "2024-01-01", "2024-03-31", "BTCUSDT.BINANCE")
    assert len(server.asked("/api/v3/klines?")) == 3


def test_the_bar_that_is_still_open_is_dropped(server: ArchiveServer, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    first = str(before.date() - timedelta(days=2))
    report = fetch(server, tmp_path, first, str(before.date()))
    after = datetime.now(UTC)
    assert report.failures == []
    last_close = int(Catalog.open(tmp_path / "catalog").bars(BTC, "1h").ts_event[-1])
    hours = {int(moment.timestamp()) // 3600 * HOUR_NS for moment in (before, after)}
    assert last_close in hours


def test_the_servers_clock_decides_what_is_closed(server: ArchiveServer, tmp_path: Path) -> None:
    server.clock_offset_secs = -3 * 3600.0
    before = datetime.now(UTC) - timedelta(hours=3)
    first = str(before.date() - timedelta(days=2))
    fetch(server, tmp_path, first, str(datetime.now(UTC).date()))
    last_close = int(Catalog.open(tmp_path / "catalog").bars(BTC, "1h").ts_event[-1])
    hour = int(before.timestamp()) // 3600 * HOUR_NS
    assert last_close in {hour, hour + HOUR_NS}


def test_the_running_day_is_asked_for_anew_each_time(server: ArchiveServer, tmp_path: Path) -> None:
    today = str(datetime.now(UTC).date() - timedelta(days=1)), str(datetime.now(UTC).date())
    fetch(server, tmp_path, *today)
    asked = len(server.asked("klines?"))
    fetch(server, tmp_path, *today)
    assert len(server.asked("klines?")) > asked


def test_microseconds_of_the_newer_spot_archive_are_understood(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-12", market="spot", header=False)
    server.put_month("2025-01", market="spot", header=False, micros=True)
    report = fetch(server, tmp_path, "2024-12-01", "2025-01-31", market="spot")
    assert report.failures == []
    assert_holds(tmp_path, "2024-12-01", "2025-01-31", "BTCUSDT.BINANCE")


def test_files_without_a_header_line_lose_no_row(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01", header=False)
    server.put_month("2024-02", header=True)
    assert fetch(server, tmp_path, "2024-01-01", "2024-02-29").failures == []
    assert_holds(tmp_path, "2024-01-01", "2024-02-29")


def test_funding_and_mark_prices_are_stored_beside_the_bars(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    start, end = day_ms("2024-01-01"), day_ms("2024-02-01")
    root = "/data/futures/um/monthly"
    server.put(f"{root}/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip", csv_of(start, end))
    server.put(f"{root}/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip", funding_csv(start, end))
    kinds = ("klines", "funding", "mark")
    assert fetch(server, tmp_path, "2024-01-01", "2024-01-31", kinds=kinds).failures == []
    catalog = Catalog.open(tmp_path / "catalog")
    funding = catalog.funding(BTC)
    times = list(range(start, end, 8 * 3_600_000))
    assert (funding.ts_event // 1_000_000).tolist() == times
    assert funding.rate.tolist() == [float(funding_rate(t)) for t in times]
    assert len(catalog.mark(BTC, "1h")) == 31 * 24


def test_funding_that_the_archive_does_not_have_comes_over_rest(
    server: ArchiveServer, tmp_path: Path
) -> None:
    assert fetch(server, tmp_path, "2024-01-10", "2024-01-12", kinds=("funding",)).failures == []
    funding = Catalog.open(tmp_path / "catalog").funding(BTC)
    assert len(funding) == 9
    assert not server.asked("/daily/")


def test_filters_come_from_exchange_info_when_it_can_be_had(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    server.exchange_info = exchange_info(max_quantity="123")
    report = fetch(server, tmp_path, "2024-01-01", "2024-01-31")
    assert report.filters == {BTC: f"exchangeInfo of {server.url}"}
    assert str(Catalog.open(tmp_path / "catalog").instrument(BTC).max_quantity) == "123.000"


def test_filters_come_from_the_shipped_table_when_rest_fails_and_the_report_says_so(
    server: ArchiveServer, tmp_path: Path
) -> None:
    server.put_month("2024-01")
    report = fetch(server, tmp_path, "2024-01-01", "2024-01-31")
    assert report.filters[BTC].startswith("the shipped table (")
    assert report.failures == []


def test_filters_of_a_stored_instrument_are_left_as_they_are(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    fetch(server, tmp_path, "2024-01-01", "2024-01-31")
    server.exchange_info = exchange_info(max_quantity="123")
    server.put_month("2024-02")
    report = fetch(server, tmp_path, "2024-02-01", "2024-02-29")
    assert report.filters == {BTC: "as stored"}
    assert report.failures == []


def test_an_exchange_info_file_overrides_the_venue(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    (tmp_path / "info.json").write_text(json.dumps(exchange_info(max_quantity="77")))
    assert run(server, tmp_path, "--end", "2024-01-31", "--exchange-info", str(tmp_path / "info.json")) == 0
    assert not server.asked("exchangeInfo")
    assert str(Catalog.open(tmp_path / "catalog").instrument(BTC).max_quantity) == "77.000"


def test_an_unknown_symbol_is_bad_input(
    server: ArchiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, tmp_path, "--symbols", "NOSUCHUSDT", "--end", "2024-01-02") == 2
    assert "does not know the symbol" in capsys.readouterr().err.splitlines()[-1]


def test_a_period_nobody_has_is_bad_input(server: ArchiveServer, tmp_path: Path) -> None:
    later = str(datetime.now(UTC).date())
    server.clock_offset_secs = -5 * 86_400.0  # for this venue today has not come yet
    (failure,) = fetch(server, tmp_path, later, later).failures
    assert isinstance(failure, DataError)
    assert f"BTCUSDT 1h klines on market um for {later}" in str(failure)


def test_one_bad_symbol_does_not_stop_the_others(server: ArchiveServer, tmp_path: Path) -> None:
    server.put_month("2024-01")
    report = fetch(server, tmp_path, "2024-01-01", "2024-01-31", symbols=("NOSUCHUSDT", "BTCUSDT"))
    assert len(report.failures) == 1
    assert_holds(tmp_path, "2024-01-01", "2024-01-31")


def test_json_says_what_was_stored_and_from_where(
    server: ArchiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put_month("2024-01")
    assert run(server, tmp_path, "--end", "2024-01-31", "--json") == 0
    captured = capsys.readouterr()
    payload = json.loads(captured.out)
    assert captured.err == ""
    (series,) = payload["series"]
    assert series | {"instrument": BTC, "rows": 744, "files": 1, "added": 744} == series
    assert (series["start"], series["end"]) == ("2024-01-01 00:00", "2024-02-01 00:00")
    assert payload["failures"] == payload["missing"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--market", "cm"), "use um or spot"),
        (("--interval", "7m"), "unknown interval '7m'"),
        (("--kinds", "trades"), "unknown kind 'trades'"),
        (("--kinds", "klines", "funding"), "--kinds klines,funding"),
        (("--kinds", "klines,funding", "--market", "spot"), "spot has klines only"),
        (("--start", "yesterday"), "--start 'yesterday' is no day"),
        (("--start", "2024-05-01"), "lies before --start"),
        (("--start", "2999-01-01", "--end", "2999-01-02"), "in the future"),
        (("--start", "1999-01-01"), "did not exist"),
        (("--base-url", "ftp://example"), "http:// or https://"),
        (("--rest-url", "nowhere"), "http:// or https://"),
        (("--symbols", "btc/usdt"), "is no symbol"),
        (("--symbols", ","), "no symbol given"),
        (("--jobs", "0"), "--jobs"),
        (("--exchange-info", "none.json"), "no exchangeInfo file at none.json"),
    ],
)
def test_bad_options_exit_2_with_one_line_and_ask_nobody(
    server: ArchiveServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    assert run(server, tmp_path, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert server.requests == []


def test_several_symbols_may_follow_one_option(server: ArchiveServer, tmp_path: Path) -> None:
    server.rest_symbols |= {"ETHUSDT", "BNBUSDT"}
    options = ("--symbols", "BTCUSDT", "ETHUSDT,bnbusdt", "--start", "2024-01-01", "--end", "2024-01-02")
    assert run(server, tmp_path, *options) == 0
    asked = {path.split("/")[6] for path in server.asked("/data/")}
    assert asked == {"BTCUSDT", "ETHUSDT", "BNBUSDT"}
    assert len(Catalog.open(tmp_path / "catalog").instrument_ids()) == 3


def test_a_catalog_that_is_a_file_is_refused_before_anything_is_fetched(
    server: ArchiveServer, tmp_path: Path
) -> None:
    (tmp_path / "catalog").write_text("")
    assert run(server, tmp_path) == 2
    assert server.requests == []
