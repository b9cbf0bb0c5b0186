"""The watchdog and a venue that is down, slow, restarted, of another time, or does not know the key."""

import time
from collections.abc import Iterator

import pytest

from live.rehearsal.ports import RequestFault
from live.watching.looking import WatchSettings
from live.watching.watch import Watchdog
from tests.watchdog_scene import BTC, POSITIONS, Scene, client_of, deeds, keys, scene_at

pytestmark = pytest.mark.slow


@pytest.fixture
def scene() -> Iterator[Scene]:
    with scene_at() as made:
        yield made


@pytest.mark.parametrize(
    "fault",
    [
        RequestFault("never", "canned", status=503, body="<html>"),
        RequestFault("never", "drop"),
        RequestFault("never", "hang"),
        RequestFault("never", "canned", status=429, body="{}", headers={"Retry-After": "60"}),
    ],
    ids=["503", "cut", "hang", "429"],
)
def test_a_venue_that_cannot_be_seen_is_an_alarm_in_time(scene: Scene, fault: RequestFault) -> None:
    scene.watching(protect=True, blind_after_secs=10.0)
    scene.buy()
    scene.look()
    scene.faults.requests[POSITIONS] = fault
    began = time.monotonic()
    look = scene.look(6)
    assert time.monotonic() - began < 30.0  # a venue that hangs cannot hold it up for long (4 s when idle)
    assert (look.covers, look.alarms) == (None, ())
    scene.faults.requests[POSITIONS] = fault
    look = scene.look(6)
    assert keys(look) == ["venue"]
    if fault.status != 429:  # there it keeps away for a minute, as it was asked to
        assert deeds(scene.look(1)) == ["stop placed"]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_venue_that_was_down_is_seen_again_as_it_is_then(scene: Scene, forgets: bool) -> None:
    scene.watching(protect=True, blind_after_secs=10.0)
    scene.buy()
    scene.look()
    scene.thread.wait(scene.thread.server.set_down(True))
    assert scene.look(4).alarms == ()
    look = scene.look(7)
    assert (keys(look), look.covers, look.actions) == (["venue"], None, ())
    if forgets:
        scene.thread.call(lambda: scene.thread.server.venue.restore(scene.blank))
    scene.thread.wait(scene.thread.server.set_down(False))
    look = scene.look(1)
    assert deeds(look) == ([] if forgets else ["stop placed"])
    assert len(scene.stops) == (0 if forgets else 1)
    assert scene.look(1).alarms == ()


@pytest.mark.parametrize("skew_ms", [-20_000, 20_000])
def test_a_venues_clock_that_steps_away_neither_blinds_nor_stops_it(scene: Scene, skew_ms: int) -> None:
    scene.watching(protect=True)
    scene.buy()
    assert scene.look().alarms == ()
    scene.wall.skew_ms = skew_ms
    look = scene.look(5)
    assert look.covers is not None
    assert deeds(look) == ["stop placed"]
    scene.wall.skew_ms = 0
    assert scene.look(5).alarms == ()


def test_an_expired_key_is_told_at_once(scene: Scene) -> None:
    scene.dog = Watchdog(
        client_of(scene.thread, "expiredKey0123456789"), WatchSettings(symbols=BTC), clock=scene.clock
    )
    look = scene.look()
    assert keys(look) == ["keys"]
    assert "-2015 Invalid API-key" in look.alarms[0].text
