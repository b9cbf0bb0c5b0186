"""A node that kills itself at a step only it can see: before or after it hands an order to the engine."""

import os
import signal
from typing import Any

from strategies.orders import OrderDesk, Slot

__all__ = ["arm"]


def arm(role: str, nth: int, *, after: bool) -> None:
    """SIGKILL this process at the `nth` order of a role, just before or just after it is submitted.

    The role `list` is a target and a stop that are sent as one.
    """
    send, send_pair, seen = OrderDesk._send, OrderDesk.send_pair, 0

    def counted(desk: OrderDesk, order: Any, slot: Slot, *args: Any, **options: Any) -> None:
        nonlocal seen
        seen += slot.role == role
        is_due = slot.role == role and seen == nth
        if is_due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        send(desk, order, slot, *args, **options)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)

    def paired(desk: OrderDesk, *args: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        send_pair(desk, *args)
        if seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    if role == "list":
        OrderDesk.send_pair = paired  # type: ignore[method-assign, assignment]
        return
    OrderDesk._send = counted  # type: ignore[method-assign, assignment]
