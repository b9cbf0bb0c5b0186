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
