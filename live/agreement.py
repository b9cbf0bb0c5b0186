"""Whether the engine and the venue agree on what is held and what the account is worth. Pure.

A difference may be news on its way, in either direction, so one look proves nothing; what is found three
times in a row, a second apart at least, is no news any more.
"""

from collections.abc import Iterable

__all__ = ["Agreement"]

_TIMES = 3


class Agreement:
    """Takes note of what differs, look by look; `at_odds` is what stands (by name)."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def look(self, differs: Iterable[str]) -> list[str]:
        """One look's differences, by name; returns those that have just become too many to be news."""
        self._times = {name: self._times.get(name, 0) + 1 for name in differs}
        return [name for name, times in self._times.items() if times == _TIMES]

    @property
    def at_odds(self) -> tuple[str, ...]:
        """What has differed often enough."""
        return tuple(name for name, times in self._times.items() if times >= _TIMES)

    @property
    def is_doubtful(self) -> bool:
        """Whether anything differs: look again soon."""
        return bool(self._times)
