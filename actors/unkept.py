"""A state that its disk refuses: told once, tried again, and not trusted at once when it is taken. Pure."""

__all__ = ["RETRY_NS", "Unkept"]

RETRY_NS = 250_000_000
_HEALED_NS = 1_000_000_000  # a disk may refuse a state some time after it was handed over


class Unkept:
    """Whether a state is not kept (`is_on`); `error` is the first refusal, "" while there was none.

    Times are ns UTC.

    >>> trouble = Unkept()
    >>> trouble.refused("no space", 0), trouble.refused("no space", 10)
    (True, False)
    >>> trouble.taken(20), trouble.taken(2_000_000_000), trouble.is_on, trouble.error
    (False, True, False, 'no space')
    """

    def __init__(self) -> None:
        self.error = ""
        self._at: int | None = None

    @property
    def is_on(self) -> bool:
        """Whether the newest state may be lost."""
        return self._at is not None

    def refused(self, error: str, now: int) -> bool:
        """The disk has refused a state; True when that is new."""
        is_new = self._at is None
        self._at = now
        self.error = self.error or error
        return is_new

    def taken(self, now: int) -> bool:
        """The disk has taken a state; True when the trouble is over with it."""
        if self._at is None or 0 <= now - self._at < _HEALED_NS:
            return False
        self._at = None
        return True
