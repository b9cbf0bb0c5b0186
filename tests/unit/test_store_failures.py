"""A write that dies leaves the last good catalog."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.persistence import ParquetDataCatalog

from catalog import series
from catalog.store import Catalog, bar_type
from configs.errors import DataError
from tests.catalogs import BTC, HOUR_NS, JUNE, bars, catalog_with, funding

FOLDER = "data/bars/BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL"
ROOT = Path(__file__).resolve().parents[2]


def _content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def _full_disk(table: Any, where: Path, **_: Any) -> None:
    Path(where).write_bytes(b"PAR1 half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(where))


def test_a_full_disk_leaves_the_stored_series_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    before = _content(tmp_path)
    monkeypatch.setattr(series.pq, "write_table", _full_disk)
    with pytest.raises(OSError, match="No space left"):
        catalog.write_bars(BTC, "1m", bars(10, first=10))
    with pytest.raises(OSError, match="No space left"):
        catalog.write_funding(BTC, funding(3))
    assert _content(tmp_path) == before


def _dying_replace(steps_done: int) -> Callable[[Path, Path], Path]:
    """Path.replace that works so many times and then fails, as if the process ended there."""
    original, left = Path.replace, [steps_done]

    def replace(self: Path, target: Path) -> Path:
        if not left[0]:
            raise OSError(errno.EIO, "killed here")
        left[0] -= 1
        return original(self, target)

    return replace


@pytest.mark.parametrize(("steps_done", "expected"), [(0, 10), (1, 20)])
def test_a_kill_between_two_renames_shows_the_old_series_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_done: int, expected: int
) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _dying_replace(steps_done))
        with pytest.raises(OSError, match="killed here"):
            catalog.write_bars(BTC, "1m", bars(10, first=10))
    assert catalog.bars(BTC, "1m").equals(bars(expected))
    assert len(ParquetDataCatalog(str(tmp_path)).query_bars([bar_type(BTC, "1m")])) == expected
    catalog.write_bars(BTC, "1m", bars(25))
    assert len(catalog.engine_bars(BTC, "1m", JUNE, JUNE + HOUR_NS)) == 25


def test_a_process_killed_in_the_middle_of_a_write_leaves_the_last_good_catalog(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from catalog import series
        from catalog.store import Catalog
        from tests.catalogs import BTC, bars

        def killed(table, where, **_):
            Path(where).write_bytes(b"PAR1 half of a file")
            os.kill(os.getpid(), signal.SIGKILL)

        series.pq.write_table = killed
        Catalog.open(sys.argv[1]).write_bars(BTC, "1m", bars(10, first=10))
        """
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, timeout=220, check=False)
    assert ended.returncode == -signal.SIGKILL
    litter = [file for file in (tmp_path / FOLDER).iterdir() if file.name.endswith(".tmp")]
    assert len(litter) == 1
    assert catalog.bars(BTC, "1m").equals(bars(10))
    assert len(ParquetDataCatalog(str(tmp_path)).query_bars([bar_type(BTC, "1m")])) == 10
    os.utime(litter[0], (0, 0))  # long ago
    catalog.write_bars(BTC, "1m", bars(10, first=10))
    assert catalog.bars(BTC, "1m").equals(bars(20))
    assert not litter[0].exists()


def test_two_writers_at_once_lose_nothing_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    original = series.pq.write_table

    def interrupted(table: Any, where: Path, **options: Any) -> None:
        monkeypatch.setattr(series.pq, "write_table", original)
        Catalog.open(tmp_path).write_bars(BTC, "1m", bars(5, first=10))  # another process comes between
        original(table, where, **options)

    monkeypatch.setattr(series.pq, "write_table", interrupted)
    with pytest.raises(DataError, match="changed by another process meanwhile; run it again"):
        catalog.write_bars(BTC, "1m", bars(5, first=20))
    assert catalog.bars(BTC, "1m").equals(bars(15))


def test_a_reader_that_meets_a_rename_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    original, misses = series._read_file, [2]

    def renamed_meanwhile(path: Path, *rest: Any) -> Any:
        if misses[0]:
            misses[0] -= 1
            raise FileNotFoundError(path)
        return original(path, *rest)

    monkeypatch.setattr(series, "_read_file", renamed_meanwhile)
    assert len(catalog.bars(BTC, "1m")) == 10
    misses[0] = 1000
    with pytest.raises(DataError, match="changes while it is read"):
        catalog.bars(BTC, "1m")


def test_an_instrument_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = catalog_with(tmp_path)
    before = _content(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _dying_replace(0))
        with pytest.raises(OSError, match="killed here"):
            catalog_with(tmp_path, "ETHUSDT-PERP.BINANCE")
    assert _content(tmp_path) == before
    assert catalog.instrument_ids() == [BTC]


ETH = "ETHUSDT-PERP.BINANCE"


def test_another_instruments_file_among_the_bars_is_named(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, BTC, ETH, columns=bars(10))
    catalog.write_bars(ETH, "1m", bars(10, price=2_000.0))
    (theirs,) = (tmp_path / FOLDER).glob("*.parquet")
    (mine,) = (tmp_path / FOLDER.replace("BTC", "ETH")).glob("*.parquet")
    shutil.copy(theirs, mine)
    with pytest.raises(DataError, match=r"among the bars of ETHUSDT.* lie some of BTCUSDT"):
        catalog.engine_bars(ETH, "1m", JUNE, JUNE + HOUR_NS)


def test_an_instruments_file_without_anything_in_it_is_one_line(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    (file,) = (tmp_path / "data").rglob(f"{BTC}/*.parquet")
    file.write_bytes(b"")
    with pytest.raises(DataError, match=f"instrument {BTC}.*delete"):
        catalog.instrument(BTC)
