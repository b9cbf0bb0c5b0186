"""What the downloader does when files are wrong, servers fail and connections stall."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.fetch import Limits, RefusedError, UnreachableError
from tests.archive_server import (
    ArchiveServer,
    Fault,
    archive_server,
    day_ms,
    kline,
)
from tests.downloads import (
    MONTHS,
    QUICK,
    assert_holds,
    days_between,
    fetch,
    leftovers,
    run,
    stored_days,
)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with archive_server() as running:
        yield running


def test_a_wrong_checksum_refuses_that_file_and_keeps_the_others(
    server: ArchiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put_month("2024-01")
    bad = server.put_month("2024-02", checksum="0" * 64)
    server.put_month("2024-03")
    assert run(server, tmp_path) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "BTCUSDT-1h-2024-02.zip does not match its CHECKSUM" in error
    assert len([path for path in server.requests if path == bad]) == 2
    held = stored_days(tmp_path)
    assert set(held) == {*days_between("2024-01-01", "2024-01-31"), *days_between("2024-03-01", "2024-03-31")}
    assert not list((tmp_path / "cache").rglob("*2024-02*"))
    assert leftovers(tmp_path) == []


def test_a_checksum_that_is_wrong_once_is_forgiven(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(body=b"an older copy that something on the way still had")]
    report = fetch(server, tmp_path, "2024-01-01", "2024-01-31")
    assert report.failures == []
    assert_holds(tmp_path, "2024-01-01", "2024-01-31")


@pytest.mark.parametrize("content", [b"", b"not a checksum\n", b"\xff\xfe\n"])
def test_a_checksum_file_without_a_sha256_refuses_the_file(
    server: ArchiveServer, tmp_path: Path, content: bytes
) -> None:
    server.files[server.put_month("2024-01") + ".CHECKSUM"] = content
    (failure,) = fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures
    assert isinstance(failure, RefusedError)
    assert "2024-01.zip.CHECKSUM holds no sha256" in str(failure)


def test_a_file_without_a_checksum_is_refused(server: ArchiveServer, tmp_path: Path) -> None:
    del server.files[server.put_month("2024-01") + ".CHECKSUM"]
    (failure,) = fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures
    assert "has no CHECKSUM" in str(failure)
    assert not (tmp_path / "catalog").exists()


def test_a_zip_cut_short_on_the_way_is_fetched_again(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(cut=200), Fault(cut=900)]
    assert fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures == []
    assert_holds(tmp_path, "2024-01-01", "2024-01-31")
    assert len([asked for asked in server.requests if asked == path]) == 3


def test_a_zip_that_is_truncated_on_the_server_is_refused(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.put_month("2024-02")
    server.put_bytes(path, server.files[path][:-50])  # with the CHECKSUM of what is left
    (failure,) = fetch(server, tmp_path, "2024-01-01", "2024-02-29").failures
    assert isinstance(failure, RefusedError)
    assert "2024-01.zip is no whole zip file" in str(failure)
    assert_holds(tmp_path, "2024-02-01", "2024-02-29")


def test_a_503_is_tried_again(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(503), Fault(502)]
    server.faults[f"{path}.CHECKSUM"] = [Fault(503)]
    assert fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures == []
    assert_holds(tmp_path, "2024-01-01", "2024-01-31")


def test_a_503_for_ever_ends_after_the_tries(
    server: ArchiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(503)]
    server.lasting.add(path)
    assert run(server, tmp_path, "--end", "2024-01-31") == 1
    assert "answered 503 Service Unavailable" in capsys.readouterr().err.splitlines()[-1]
    server.requests.clear()
    (failure,) = fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures
    assert isinstance(failure, UnreachableError)
    assert server.requests == [path] * QUICK.tries
    assert not (tmp_path / "catalog").exists()


def test_after_one_file_is_given_up_the_server_is_left_alone(server: ArchiveServer, tmp_path: Path) -> None:
    paths = [server.put_month(month) for month in MONTHS]
    server.faults[paths[1]] = [Fault(503)]
    server.lasting.add(paths[1])
    report = fetch(server, tmp_path, "2024-01-01", "2024-03-31", jobs=1)
    assert len(report.failures) == 1
    assert not server.asked("2024-03")
    assert_holds(tmp_path, "2024-01-01", "2024-01-31")  # what was complete is kept


def test_the_pause_the_server_asks_for_is_kept(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(429, retry_after="1")]
    started = time.monotonic()
    assert fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures == []
    assert time.monotonic() - started >= 1.0


def test_a_pause_beyond_reason_ends_the_run(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(418, retry_after="7200")]
    (failure,) = fetch(server, tmp_path, "2024-01-01", "2024-01-31").failures
    assert "asks to wait 7200 s" in str(failure)


def test_a_stalled_connection_times_out_and_is_tried_again(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(stall_secs=30)]
    limits = Limits(connect_secs=2, read_secs=0.3, tries=5, pause_secs=0.01)  # a busy machine stalls too
    started = time.monotonic()
    assert fetch(server, tmp_path, "2024-01-01", "2024-01-31", limits=limits).failures == []
    assert 0.3 <= time.monotonic() - started < 25
    assert_holds(tmp_path, "2024-01-01", "2024-01-31")


def test_a_connection_that_stalls_every_time_ends_with_one_line(
    server: ArchiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(stall_secs=30)]
    server.lasting.add(path)
    started = time.monotonic()
    assert run(server, tmp_path, "--end", "2024-01-31", "--timeout", "0.3") == 1
    assert time.monotonic() - started < 25
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "2024-01.zip timed out" in error
    assert leftovers(tmp_path) == []


def test_a_body_that_trickles_for_too_long_is_given_up(server: ArchiveServer, tmp_path: Path) -> None:
    path = server.put_month("2024-01")
    server.faults[path] = [Fault(trickle_secs=0.05)]
    limits = Limits(connect_secs=20, read_secs=20, file_secs=0.2, tries=1)
    started = time.monotonic()
    (failure,) = fetch(server, tmp_path, "2024-01-01", "2024-01-31", limits=limits).failures
    assert time.monotonic() - started < 10
    assert "took longer than 0.2 s" in str(failure)


def test_nothing_listening_gives_one_line_and_exit_1(
    server: ArchiveServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    assert run(server, tmp_path, "--base-url", url, "--rest-url", url) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in line
    assert not (tmp_path / "catalog").exists()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(451), "refused the request: 451"),
        (Fault(503), "answered 503"),
        (Fault(404), "is --rest-url right?"),
        (Fault(body=b"<html>"), "not its JSON"),
        (Fault(body=b'[[1, "2"]]'), "not its JSON"),
        (Fault(cut=10), "broke off"),
    ],
)
def test_rest_that_fails_is_named_and_the_archives_files_are_kept(
    server: ArchiveServer, tmp_path: Path, fault: Fault, said: str
) -> None:
    server.put_day("2024-01-10")
    server.faults["/fapi/v1/klines"] = [fault]
    server.lasting.add("/fapi/v1/klines")
    (failure,) = fetch(server, tmp_path, "2024-01-10", "2024-01-12").failures
    assert "/fapi/v1/klines" in str(failure)
    assert said in str(failure)
    assert_holds(tmp_path, "2024-01-10", "2024-01-10")


def test_rest_that_repeats_old_rows_ends(server: ArchiveServer, tmp_path: Path) -> None:
    rows = [kline(day_ms("2023-01-01") + i * 3_600_000) for i in range(1500)]
    server.faults["/fapi/v1/klines"] = [Fault(body=json.dumps(rows).encode())]
    server.lasting.add("/fapi/v1/klines")
    (failure,) = fetch(server, tmp_path, "2024-01-10", "2024-01-12").failures
    assert "rows before the time asked for" in str(failure)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell that runs the tests in its background has them ignore Ctrl-C, and what they start would too."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_run_goes_on_where_it_stopped(server: ArchiveServer, tmp_path: Path) -> None:
    paths = [server.put_month(month) for month in MONTHS]
    server.faults[paths[2]] = [Fault(stall_secs=60)]
    server.lasting.add(paths[2])  # every try stalls: a busy machine may interrupt a later one
    command = [
        *(sys.executable, "catalog/download.py", "--symbols", "BTCUSDT", "--interval", "1h"),
        *("--start", "2024-01-01", "--end", "2024-03-31", "--jobs", "1", "--timeout", "1"),
        *("--catalog", str(tmp_path / "catalog"), "--cache", str(tmp_path / "cache")),
        *("--base-url", server.url, "--rest-url", server.url),
    ]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while paths[2] not in server.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=100)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "error: interrupted; nothing half-written is kept"
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "catalog").exists()
    server.lasting.clear()
    server.faults.clear()
    server.requests.clear()
    assert fetch(server, tmp_path, "2024-01-01", "2024-03-31").failures == []
    assert server.requests == [paths[2], f"{paths[2]}.CHECKSUM", "/fapi/v1/exchangeInfo"]
    assert_holds(tmp_path, "2024-01-01", "2024-03-31")
