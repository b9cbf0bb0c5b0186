"""When the watchdog takes a node for dead: by what it has seen itself, not by anybody's clock."""

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from live.heartbeat import Heartbeat, has_ended
from live.venue.errors import VenueRequestError
from live.venues import VenueKind
from live.watchdog import main
from live.watching.looking import Looker, WatchSettings

_HOUR_NS = 3_600_000_000_000


class Clock:
    """Moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Flat(Looker[Any, Any]):
    """Looks at an account without anything in it, or at none."""

    blind = False

    def _see(self, now: float, *, dead: bool) -> tuple[()]:
        del now, dead
        if self.blind:
            raise VenueRequestError("GET /", "no answer in time")
        return ()

    def _clear_book(self, now: float, symbol: str) -> None:
        del now, symbol

    def _place_stop(self, cover: Any, *, closes: bool) -> None: ...

    def _sell_out(self, cover: Any) -> None: ...


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    """One of an hour ago."""
    path = tmp_path / "heartbeat"
    path.touch()
    before = time.time_ns() - _HOUR_NS
    os.utime(path, ns=(before, before))
    return path


def looker(beat: Path, **settings: Any) -> tuple[Flat, Clock]:
    clock = Clock()
    return Flat(None, WatchSettings(symbols=frozenset(), heartbeat=beat, **settings), clock=clock), clock


def test_a_heartbeat_of_before_the_first_look_counts_from_then(beat: Path) -> None:
    dog, clock = looker(beat, flatten_after_secs=30.0)
    assert dog.look().node_silent_secs == 0.0
    clock.now += 29.0
    assert dog._dead_secs(dog.look().node_silent_secs) is None
    clock.now += 2.0
    assert dog._dead_secs(dog.look().node_silent_secs) == 1.0


def test_a_single_look_takes_the_files_age(beat: Path) -> None:
    dog, _ = looker(beat, looks_once=True)
    look = dog.look()
    assert look.node_silent_secs == pytest.approx(3_600, abs=60)
    assert [alarm.key for alarm in look.alarms] == ["node"]
    beat.touch()
    assert looker(beat, looks_once=True)[0].look().alarms == ()


def test_a_node_that_was_ended_is_not_dead_and_one_that_starts_again_can_die(beat: Path) -> None:
    node = Heartbeat(beat.parent)
    node.begin()
    dog, clock = looker(beat, flatten_after_secs=30.0)
    assert dog.look().node_silent_secs == 0.0
    node.end("protected")
    clock.now += 3_600.0
    look = dog.look()
    assert look.node_silent_secs is None
    assert look.alarms == ()
    node.begin()
    assert dog.look().node_silent_secs == 0.0
    clock.now += 31.0
    assert dog._dead_secs(dog.look().node_silent_secs) == 1.0


def test_the_silence_after_an_end_that_was_meant_is_none(beat: Path) -> None:
    node = Heartbeat(beat.parent)
    node.begin()
    dog, clock = looker(beat, flatten_after_secs=60.0)
    dog.look()
    node.end("protected")
    clock.now += 3_600.0
    dog.look()
    beat.unlink()
    clock.now += 1.0
    assert dog._dead_secs(dog.look().node_silent_secs) is None


def test_a_full_disk_keeps_no_end_from_being_told(beat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    Heartbeat(beat.parent).end("protected")


@pytest.mark.parametrize("text", ["", "end", "\x00\x00\x00"])
def test_only_a_whole_word_is_an_end(beat: Path, text: str) -> None:
    beat.write_text(text)
    assert not has_ended(beat)


def test_a_single_look_that_sees_no_venue_says_so_at_once(beat: Path) -> None:
    beat.touch()
    for once in (True, False):
        dog, _ = looker(beat, looks_once=once)
        dog.blind = True
        assert [alarm.key for alarm in dog.look().alarms] == (["venue"] if once else [])


def test_a_heartbeat_that_is_not_there_flattens_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "hartbeat"
    with pytest.raises(ConfigError, match="no such file"):
        main(Path("configs/runs/demo.yaml"), VenueKind.REHEARSAL, heartbeat=missing, flatten_after=60.0)
    with pytest.raises(ConfigError, match="no such file"):
        main(Path("configs/runs/demo.yaml"), VenueKind.REHEARSAL, heartbeat=missing, once=True)
