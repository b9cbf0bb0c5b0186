import os
import subprocess
import sys
from pathlib import Path

import pytest

from backtests.bundle import check_destination, publish
from configs.errors import ConfigError


def test_a_bundle_never_takes_the_place_of_the_folder_a_command_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for path in (Path(), Path(".."), inside, tmp_path):
        with pytest.raises(ConfigError, match="the command runs in it"):
            check_destination(path)
    check_destination(Path("new"))


def test_a_bundle_that_cannot_be_published_leaves_the_older_one(tmp_path: Path) -> None:
    path, gone = tmp_path / "runs", tmp_path / "gone"
    path.mkdir()
    (path / "summary.json").write_text("old")
    with pytest.raises(FileNotFoundError):
        publish(gone, path)
    assert (path / "summary.json").read_text() == "old"
    gone.mkdir()
    (gone / "summary.json").write_text("new")
    publish(gone, path)
    assert (path / "summary.json").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_a_destination_below_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="no folder can be made in"):
        check_destination(tmp_path / "file" / "deep" / "bundle")


def test_what_a_killed_run_left_is_mended(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path, old, alive = (
        tmp_path / "runs",
        tmp_path / f".runs.{ended.pid}.old",
        tmp_path / f".runs.{os.getpid()}.tmp",
    )
    for folder in (old, tmp_path / f".runs.{ended.pid}.tmp", alive):
        folder.mkdir()
        (folder / "manifest.json").write_text(folder.name)
    check_destination(path)
    assert (path / "manifest.json").read_text() == old.name
    assert {entry.name for entry in tmp_path.iterdir()} == {"runs", alive.name}
