import pytest

from configs.errors import ConfigError
from live.rehearsal.clock import STEPPED, ReplayClock, shift_to_now, wall_ms

START = 1_735_689_600_000


class Wall:
    """A wall clock that a test sets."""

    def __init__(self, ms: int = 1_000_000) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


def test_market_time_stands_still_until_the_clock_runs() -> None:
    wall = Wall()
    clock = ReplayClock(START, 2.0, wall=wall)
    wall.ms += 5_000
    assert clock.paused
    assert clock.now_ms() == START
    clock.run()
    wall.ms += 5_000
    assert clock.now_ms() == START + 10_000  # 5 s of the wall at speed 2


def test_a_pause_keeps_the_time_and_a_new_speed_goes_on_from_it() -> None:
    wall = Wall()
    clock = ReplayClock(START, 60.0, wall=wall)
    clock.run()
    wall.ms += 1_000
    clock.pause()
    wall.ms += 1_000
    assert clock.now_ms() == START + 60_000
    clock.set_speed(1.0)
    assert clock.paused
    clock.run()
    wall.ms += 1_000
    assert clock.now_ms() == START + 61_000
    clock.set_speed(10.0)
    wall.ms += 100
    assert clock.now_ms() == START + 62_000


def test_market_time_never_goes_back_with_the_wall() -> None:
    wall = Wall()
    clock = ReplayClock(START, 1.0, wall=wall)
    clock.run()
    wall.ms += 3_000
    assert clock.now_ms() == START + 3_000
    wall.ms -= 10_000
    assert clock.now_ms() == START + 3_000


def test_a_stepped_clock_moves_by_advance_alone_and_only_forward() -> None:
    wall = Wall()
    clock = ReplayClock(START, STEPPED, wall=wall)
    clock.run()
    wall.ms += 60_000
    assert clock.now_ms() == START
    clock.advance(START + 250)
    clock.advance(START + 100)
    assert clock.now_ms() == START + 250
    assert clock.secs_until(START + 300) is None
    assert clock.secs_until(START + 250) == 0.0


def test_a_running_clock_goes_on_from_where_it_was_advanced_to() -> None:
    wall = Wall()
    clock = ReplayClock(START, 1.0, wall=wall)
    clock.run()
    clock.advance(START + 7_000)
    wall.ms += 500
    assert clock.now_ms() == START + 7_500


def test_the_wait_for_an_event_is_in_wall_seconds() -> None:
    clock = ReplayClock(START, 60.0, wall=Wall())
    assert clock.secs_until(START + 60_000) is None  # it stands still
    clock.run()
    assert clock.secs_until(START + 60_000) == 1.0


def test_server_time_is_the_wall_plus_the_skew_at_any_speed() -> None:
    wall = Wall()
    clock = ReplayClock(START, 60.0, wall=wall)
    clock.run()
    clock.skew_ms = -1_500
    wall.ms += 40
    assert clock.request_ms() == 1_000_000 + 40 - 1_500


def test_the_default_wall_is_the_present() -> None:
    before = wall_ms()
    assert before <= ReplayClock(START).request_ms() <= wall_ms()


def test_a_shift_is_of_whole_minutes_and_ends_in_the_minute_under_way() -> None:
    now = START + 86_400_000 + 12 * 60_000 + 34_567
    shift = shift_to_now(START, now)
    assert shift % 60_000 == 0
    assert 0 <= now - (START + shift) < 60_000


@pytest.mark.parametrize("speed", [-1.0, float("inf"), float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(ConfigError, match="cannot be replayed"):
        ReplayClock(START, speed)
