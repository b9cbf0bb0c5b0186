"""What a folder remembers is believed on the venue that it was remembered on, and on no other."""

from pathlib import Path

import pytest

from configs.errors import ConfigError, DataError
from live.folder_kind import check_kind, note_kind
from live.venues import VenueKind


def test_a_folder_is_of_the_first_venue_that_was_traded_on_with_it(tmp_path: Path) -> None:
    for kind in VenueKind:
        check_kind(tmp_path, kind)
    note_kind(tmp_path, VenueKind.TESTNET)
    check_kind(tmp_path, VenueKind.TESTNET)
    for kind in set(VenueKind) - {VenueKind.TESTNET}:
        with pytest.raises(ConfigError, match=f"is of a node on testnet, not {kind.value}"):
            check_kind(tmp_path, kind)


def test_a_note_that_a_kill_has_cut_off_is_none_and_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "venue").write_text("te")
    check_kind(tmp_path, VenueKind.LIVE)
    note_kind(tmp_path, VenueKind.LIVE)
    with pytest.raises(ConfigError, match="is of a node on live"):
        check_kind(tmp_path, VenueKind.TESTNET)


def test_a_start_goes_on_where_the_disk_takes_nothing_more(tmp_path: Path) -> None:
    note_kind(tmp_path, VenueKind.LIVE)
    before = (tmp_path / "venue").stat().st_mtime_ns
    note_kind(tmp_path, VenueKind.LIVE)
    assert (tmp_path / "venue").stat().st_mtime_ns == before


def test_a_note_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "venue").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DataError, match="venue cannot be read"):
        check_kind(tmp_path, VenueKind.LIVE)
