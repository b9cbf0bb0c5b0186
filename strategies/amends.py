"""Changing a working order live: not every one can be, and the same change is not asked for again at once.

The engine hears what an order was changed to only of orders that it has sent itself. Of one that it found at
its start it takes the venue's word for a second acceptance: the old quantity stands, the order counts as
filled once that much is, and what fills beyond it is never heard of. So such an order is not changed; it is
cancelled, and the event of that sends another. And a venue may confirm a change and cut the order to what it
holds, which is less than the engine believes: asked again with every confirmation, that has no end.
"""

from typing import Any

from strategies.protect import Modify

__all__ = ["Amends", "was_found"]

_AGAIN_NS = 1_000_000_000


def was_found(order: Any) -> bool:
    """Whether the engine has found this order at its start instead of sending it."""
    return order.ts_submitted is None


class Amends:
    """What was asked for last of each order. Times in ns."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[Modify, int]] = {}

    def asks(self, step: Modify, now: int) -> bool:
        """Take note of a change to be asked for; False where it is the same as within the last second."""
        recent = {name: asked for name, asked in self._asked.items() if now - asked[1] < _AGAIN_NS}
        is_new = step.order_id not in recent or recent[step.order_id][0] != step
        self._asked = recent | {step.order_id: (step, now)} if is_new else recent
        return is_new
