"""When to try again what was refused: after a second, then ever later. Pure."""

__all__ = ["Backoff"]

_FIRST_NS = 1_000_000_000
_LONGEST_NS = 8_000_000_000
_URGENT_NS = 2_000_000_000


class Backoff:
    """Refusals by key (a role, an order): each in a row doubles the wait, from 1 s to 8 s. Times in ns.

    What is urgent waits for 2 s at most.
    """

    def __init__(self) -> None:
        self._refused: dict[str, tuple[int, int, int]] = {}

    def refused(self, key: str, now: int, *, is_urgent: bool = False) -> int:
        """It was refused at `now`; returns how often in a row."""
        times = self.count(key) + 1
        wait = min(_FIRST_NS << (times - 1), _URGENT_NS if is_urgent else _LONGEST_NS)
        self._refused[key] = (now, times, wait)
        return times

    def count(self, key: str) -> int:
        """How often in a row it was refused."""
        return self._refused.get(key, (0, 0, 0))[1]

    def is_waiting(self, key: str, now: int) -> bool:
        """Whether it is too early to try again at `now`."""
        if key not in self._refused:
            return False
        at, _, wait = self._refused[key]
        return now - at < wait

    def forget(self, key: str) -> None:
        """It went well."""
        self._refused.pop(key, None)

    def clear(self) -> None:
        """Begin anew."""
        self._refused.clear()
