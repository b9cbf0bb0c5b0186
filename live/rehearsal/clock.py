"""The venue's two times: market time, which follows the replay, and server time, which follows the wall.

Market time stamps events and orders. It runs at `speed` times the wall clock, or, stepped, jumps from event
to event as fast as the client follows. Server time answers /time and checks `recvWindow`; it is the wall
clock plus the skew that a fault adds, at any speed, for clients sign with their own clocks.

At speed 1 a replay is usually shifted so that its start is now (`shift_to_now`): then both times agree and a
client cannot tell the replay from a market of today. At other speeds events keep their recorded times.
"""

import time
from collections.abc import Callable

from configs.errors import ConfigError

__all__ = ["MINUTE_MS", "STEPPED", "ReplayClock", "shift_to_now", "wall_ms"]

MINUTE_MS = 60_000
STEPPED = 0.0


def wall_ms() -> int:
    """The wall clock in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def shift_to_now(start_ms: int, now_ms: int) -> int:
    """What to add to recorded times so that `start_ms` falls on the minute under way at `now_ms`.

    Whole minutes, so that bars of a minute stay bars of a minute; what lies between the minute's start and
    `now_ms` is due at once.

    >>> shift_to_now(120_000, 3_661_500)
    3540000
    """
    return (now_ms - start_ms) // MINUTE_MS * MINUTE_MS


class ReplayClock:
    """A clock that starts at `start_ms` and stands still until `run`.

    `speed` is market seconds a wall second; `STEPPED` (zero) means that only `advance` moves it. `wall` is
    the wall clock in milliseconds; it may step back without harm, market time never does.
    """

    def __init__(self, start_ms: int, speed: float = 1.0, *, wall: Callable[[], int] = wall_ms) -> None:
        self._wall = wall
        self._anchor_market = start_ms
        self._anchor_wall: int | None = None
        self._latest = start_ms
        self._speed = _checked(speed)
        self.skew_ms = 0

    @property
    def speed(self) -> float:
        """Market seconds a wall second; zero when stepped."""
        return self._speed

    @property
    def stepped(self) -> bool:
        """Whether only `advance` moves market time."""
        return self._speed == STEPPED

    @property
    def paused(self) -> bool:
        """Whether market time stands still until `run`."""
        return self._anchor_wall is None

    def now_ms(self) -> int:
        """Market time; it never goes back."""
        if self._anchor_wall is not None and not self.stepped:
            passed = (self._wall() - self._anchor_wall) * self._speed
            self._latest = max(self._latest, self._anchor_market + int(passed))
        return self._latest

    def request_ms(self) -> int:
        """Server time: the wall clock plus the skew."""
        return self._wall() + self.skew_ms

    def run(self) -> None:
        """Start, or go on after a pause."""
        if self._anchor_wall is None:
            self._anchor_market, self._anchor_wall = self._latest, self._wall()

    def pause(self) -> None:
        """Stand still at the present market time."""
        self._latest, self._anchor_wall = self.now_ms(), None

    def set_speed(self, speed: float) -> None:
        """Go on from here at another speed; ConfigError when it is negative or not finite."""
        speed = _checked(speed)
        self._latest = self._anchor_market = self.now_ms()
        self._anchor_wall = None if self._anchor_wall is None else self._wall()
        self._speed = speed

    def advance(self, ts_ms: int) -> None:
        """Put market time forward to `ts_ms`; an earlier time changes nothing."""
        if ts_ms > self.now_ms():
            self._latest = self._anchor_market = ts_ms
            self._anchor_wall = None if self._anchor_wall is None else self._wall()

    def secs_until(self, ts_ms: int) -> float | None:
        """Wall seconds until market time reaches `ts_ms`: zero when it has, None when it stands still."""
        left = ts_ms - self.now_ms()
        if left <= 0:
            return 0.0
        if self.paused or self.stepped:
            return None
        return left / self._speed / 1000


def _checked(speed: float) -> float:
    if not 0 <= speed < float("inf"):
        raise ConfigError(f"speed {speed} cannot be replayed; use a number above 0, or 0 for stepped")
    return float(speed)
