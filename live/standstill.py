"""Whether the engine's clock stands still. Pure.

It never goes back: set the machine's clock back by a minute, and the engine's waits for a minute until that
has caught up. Timers go on, for they count by another clock, but whatever is told by age (quotes, the guard's
word, an answer that is due) seems to be fresh for so long.
"""

__all__ = ["Standstill"]

_SECOND_NS = 1_000_000_000
_WINDOW_SECS = 1.0


class Standstill:
    """Holds one clock against another that nobody sets: `is_on` while it runs at less than half its speed.

    >>> clock = Standstill()
    >>> [clock.look(ns, secs) for ns, secs in ((0, 0.0), (_SECOND_NS, 1.0), (_SECOND_NS + 1, 2.0))]
    [False, False, True]
    """

    def __init__(self) -> None:
        self.is_on = False
        self._since: tuple[int, float] | None = None

    def look(self, clock_ns: int, steady_secs: float) -> bool:
        """Look at both, again and again; True when `is_on` has changed."""
        if self._since is None:
            self._since = clock_ns, steady_secs
        passed, really = clock_ns - self._since[0], steady_secs - self._since[1]
        if really < _WINDOW_SECS:
            return False
        was_on, self._since = self.is_on, (clock_ns, steady_secs)
        self.is_on = passed < really * _SECOND_NS / 2.0
        return self.is_on != was_on
