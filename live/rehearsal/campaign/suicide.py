"""A node that kills itself at a step only it can see: before or after it hands an order to the engine."""

import os
import signal
from typing import Any

from strategies.orders import OrderDesk, Slot

__all__ = ["arm"]


def arm(role: str, nth: int, *, after: bool) -> None:
    """SIGKILL this process at the `nth` order of a role, just before or just after it is submitted."""
    send, seen = OrderDesk._send, 0

    def counted(desk: OrderDesk, order: Any, slot: Slot, *args: Any, **options: Any) -> None:
        nonlocal seen
        seen += slot.role == role
        is_due = slot.role == role and seen == nth
        if is_due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        send(desk, order, slot, *args, **options)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)

    OrderDesk._send = counted  # type: ignore[method-assign, assignment]
