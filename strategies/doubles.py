"""Fills that the engine counts twice: found by comparing positions, then told by their order. Pure.

When a fill's message is lost or late, the engine's position check may come before the order's own report: it
makes up a fill without an order's name, and counts the real one on top of it. Its next position check takes
that back, some seconds later. Until then what it says is held is too much by so many lots. A real fill that
comes after its position was closed by the made-up one it may pass over instead: then it was right all along.
"""

from typing import NamedTuple

__all__ = ["Doubles"]

_MATCH_NS = 15_000_000_000  # an order's report is not later than that
_HEAL_NS = 12_000_000_000  # two position checks: after that the engine is right again


class _Found(NamedTuple):
    """Signed lots without an order's name, and when they were found (ns)."""

    lots: int
    at: int


class Doubles:
    """One strategy's. Lots are signed: above 0 bought. Times in ns."""

    def __init__(self) -> None:
        self._found: list[_Found] = []
        self._excess = _Found(0, 0)

    def found(self, lots: int, now: int) -> None:
        """The position check has made up a fill; one that takes back an excess is no news."""
        excess = self.excess(now)
        if excess * lots < 0:
            healed = min(abs(excess), abs(lots))
            self._excess = _Found(excess - healed if excess > 0 else excess + healed, self._excess.at)
            lots += healed if lots < 0 else -healed
        if lots:
            self._found.append(_Found(lots, now))

    def told(self, lots: int, sent: int, now: int, *, is_counted: bool = True) -> int:
        """An order that was sent at `sent` has filled so many; returns how many of them were found before.

        `is_counted`: the engine's position has moved by this fill.
        """
        known, self._found = self._found, []
        excess, side = self.excess(now), 1 if lots > 0 else -1
        left = abs(lots)
        for each in known:
            taken = 0
            if each.lots * side > 0 and sent <= each.at and now - each.at <= _MATCH_NS:
                taken = min(left, abs(each.lots))
            left -= taken
            if taken < abs(each.lots) and now - each.at <= _MATCH_NS:
                self._found.append(_Found(each.lots - side * taken, each.at))
        twice = abs(lots) - left
        if twice and is_counted:
            self._excess = _Found(excess + side * twice, now)
        return twice

    def excess(self, now: int) -> int:
        """By how many lots the engine's position is off now."""
        return self._excess.lots if now - self._excess.at <= _HEAL_NS else 0
