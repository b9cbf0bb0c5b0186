import json
from pathlib import Path

import pytest

from catalog import ingest, quality
from catalog.store import Catalog
from configs.console import run_app
from tests.catalogs import BTC, bars, catalog_with, kline_csv


def _run(capsys: pytest.CaptureFixture[str], module: object, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run_app(module.app, [str(argument) for argument in arguments])  # type: ignore[attr-defined]
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "BTCUSDT-1m-2025-06.csv"
    path.write_text(kline_csv(bars(10)))
    return path


def test_ingest_makes_the_catalog_and_says_what_is_in_it(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = _run(capsys, ingest, file, "--market", "um", "--catalog", tmp_path / "new" / "catalog")
    assert code == 0
    assert f"{file}: 10 rows, 2025-06-01 00:00 to 2025-06-01 00:10" in shown
    assert f"{BTC} 1m klines: files 1, rows 10," in shown
    assert "status written" in shown
    assert Catalog.open(tmp_path / "new" / "catalog").bars(BTC, "1m").equals(bars(10))


def test_ingest_prints_one_json_object(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, noise = _run(capsys, ingest, file, "--market", "um", "--catalog", tmp_path / "c", "--json")
    answer = json.loads(shown)
    assert (code, noise) == (0, "")
    assert answer["series"][0]["rows"] == 10
    assert answer["files"][0]["instrument_id"] == BTC


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--market", "cm"], "unknown market 'cm'; use um or spot"),
        (["--market", "um", "--kind", "trades"], "unknown kind 'trades'; use klines or funding or mark"),
        (["--market", "um", "--format", "xml"], "unknown format 'xml'"),
        (["--market", "um", "--exchange-info", "none.json"], "no exchangeInfo file at none.json"),
        ([], "give --market um or --market spot"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_no_catalog(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    file = tmp_path / "BTCUSDT-1m.csv"
    file.write_text(kline_csv(bars(10)))
    code, _, error = _run(capsys, ingest, file, "--catalog", tmp_path / "c", *options)
    assert code == 2
    assert error.splitlines()[-1].startswith("error: ")
    assert expected in error.splitlines()[-1]
    assert not (tmp_path / "c").exists()


def test_a_bad_row_exits_with_two_and_names_the_line(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(file.read_text().replace("100000.3,", "oops,", 1))
    code, _, error = _run(capsys, ingest, file, "--market", "um", "--catalog", tmp_path / "c")
    assert code == 2
    assert "2025-06.csv, line 5: open 'oops' is not a number" in error
    assert not (tmp_path / "c").exists()


def test_what_is_left_out_is_named_in_a_line_each_and_the_exit_code_says_so(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for month in ("05", "06"):
        (tmp_path / f"NOBODYUSDT-1m-2025-{month}.csv").write_text(kline_csv(bars(3)))
    (tmp_path / "notes.csv").write_text("a,b\n")
    code, shown, error = _run(capsys, ingest, tmp_path, "--market", "um", "--catalog", tmp_path / "c")
    assert code == 1
    assert f"{BTC} 1m klines: files 1, rows 10," in shown
    first, second, last = [line for line in error.splitlines() if "reading" not in line]
    assert first.startswith(f"skipped: {tmp_path / 'notes.csv'}: the symbol is not in the path")
    assert second.startswith("skipped: NOBODYUSDT-PERP.BINANCE 1m klines: no trading filters are known")
    assert second.endswith(" (2 files)")
    assert last == "1 files are stored, 3 are not"
    assert Catalog.open(tmp_path / "c").stored_bars() == [(BTC, "1m")]
    file.unlink()
    code, shown, _ = _run(
        capsys, ingest, tmp_path, "--market", "um", "--catalog", tmp_path / "none", "--json"
    )
    assert (code, [each["files"] for each in json.loads(shown)["skipped"]]) == (2, [1, 2])
    assert not (tmp_path / "none").exists()


def test_many_files_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(45):
        name = f"BTCUSDT-1m-2025-{number // 28 + 1:02}-{number % 28 + 1:02}.csv"
        (tmp_path / name).write_text(kline_csv(bars(2, first=2 * number)))
    code, shown, _ = _run(capsys, ingest, tmp_path, "--market", "um", "--catalog", tmp_path / "c")
    assert code == 0
    assert "... and 5 more files" in shown
    assert "files 45, rows 90," in shown


def test_quality_exits_with_zero_on_notices_and_one_on_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = catalog_with(tmp_path / "c", columns=bars(10))
    catalog.write_bars(BTC, "1m", bars(10, first=15))
    code, shown, _ = _run(capsys, quality, "--catalog", tmp_path / "c")
    assert code == 0
    assert "notice: gap | 1 | 2025-06-01 00:10 to 2025-06-01 00:15 (5 bars)" in shown
    broken = bars(3, first=40)
    broken.high[1] = broken.low[1]
    catalog.write_bars(BTC, "1m", broken)
    code, shown, noise = _run(capsys, quality, "--catalog", tmp_path / "c", "--json")
    answer = json.loads(shown)
    assert (code, answer["errors"], answer["notices"], noise) == (1, 1, 2, "")
    assert len(answer["series"][0]["dataset_hash"]) == 64


def test_quality_of_a_catalog_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = _run(capsys, quality, "--catalog", tmp_path / "none")
    assert code == 2
    assert "no catalog at" in error
