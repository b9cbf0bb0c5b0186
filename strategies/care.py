"""What a strategy's keeper tells of, live."""

from typing import Any, Protocol

from strategies.refusals import Remedy

__all__ = ["Care"]


class Care(Protocol):
    """What is told of every look at the protection and of every refusal."""

    def seen(self) -> None:
        """The orders were matched with the position."""

    def refused(self, role: str, reason: str) -> Remedy:
        """An order, or a change of one, was refused; returns what follows."""

    def withholds(self, role: str, reason: str) -> bool:
        """Whether the guard is not told of a refused order yet: the venue may hold nothing to close."""

    def mirrored(self) -> None:
        """By the engine's word a closing order has opened a position: the venue has none."""

    def ended(self, position_id: Any, pnl: float, side: int, risk: float, reason: str) -> None:
        """A trade is over; the engine makes `pnl` of it."""
