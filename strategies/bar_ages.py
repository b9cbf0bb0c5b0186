"""How late bars are heard, by the clock that they are heard by. Pure."""

__all__ = ["BarAges"]

_SECOND_NS = 1_000_000_000


class BarAges:
    """Whether the newest bar was heard later than `limit_secs` after its close (None: never mind).

    A rehearsal `replays` a market of any time: there lateness counts from the least there was, and a market
    that runs faster than the clock is never late. Times are ns UTC.

    >>> ages = BarAges(15.0)
    >>> ages.hear(closed=0, now=90 * _SECOND_NS), ages.is_late, ages.late_secs
    (True, True, 90.0)
    """

    def __init__(self, limit_secs: float | None, *, replays: bool = False) -> None:
        self.limit_secs = limit_secs
        self.late_secs = 0.0
        self._replays = replays
        self._behind_ns: int | None = None  # how far the market lies in the past

    def hear(self, closed: int, now: int) -> bool:
        """A bar that closed at `closed` is heard; True when it is late and the one before was not."""
        was_late, age = self.is_late, now - closed
        if self._replays:
            least = age if self._behind_ns is None else min(self._behind_ns, age)
            self._behind_ns = max(0, least)
        self.late_secs = (age - (self._behind_ns or 0)) / _SECOND_NS
        return self.is_late and not was_late

    @property
    def is_late(self) -> bool:
        """Whether nothing should be entered on the newest bar."""
        return self.limit_secs is not None and self.late_secs > self.limit_secs
