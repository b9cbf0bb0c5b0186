"""What `live/node.py` is asked for and cannot be is refused before anything takes long."""

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.load import load_run
from live.node import _check_asked, _locked
from live.options import AtEnd, NodeOptions
from live.venues import VenueKind

RUN = Path("configs/runs/demo.yaml")


def asked(folder: Path, kind: VenueKind, *, speed: float) -> NodeOptions:
    return NodeOptions(
        kind=kind,
        folder=folder,
        may_enter=True,
        asks=False,
        adopt=False,
        apply=False,
        at_end=AtEnd.KEEP,
        secs=None,
        speed=speed,
    )


def test_only_a_rehearsal_of_its_own_has_a_speed(tmp_path: Path) -> None:
    run = load_run(RUN, [])
    _check_asked(run, asked(tmp_path, VenueKind.REHEARSAL, speed=60.0))
    _check_asked(run, asked(tmp_path, VenueKind.PAPER, speed=1.0))
    with pytest.raises(ConfigError, match="--speed is of a rehearsal that the node starts itself"):
        _check_asked(run, asked(tmp_path, VenueKind.PAPER, speed=60.0))


def test_a_file_in_the_folders_way_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    for folder in (tmp_path / "state", tmp_path / "state" / "deeper"):
        with pytest.raises(ConfigError, match="there is a file in the way"), _locked(folder):
            pass
    assert (tmp_path / "state").read_text() == "mine"
