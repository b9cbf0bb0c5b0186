"""Makes the orders at the venue match the position: a stop always, a target when the plan has one.

Pure: the position and the working orders in, the steps to take out. It is idempotent, so it may be asked at
any time (on start, on every order event, on a timer): when everything matches, it answers with nothing.
Stop and target are two unlinked reduce-only orders; the venue's own contingencies leave positions naked in
corner cases, this does not.
"""

from typing import NamedTuple

from strategies.trade import PlanState

__all__ = ["Cancel", "Modify", "Place", "WorkingOrder", "match_protection"]

QUANTITY_TOLERANCE = 1e-12


class WorkingOrder(NamedTuple):
    """A protective order that is not closed. `settled` is False while the venue has yet to answer."""

    order_id: str
    ticks: int
    open_quantity: float
    settled: bool


class Place(NamedTuple):
    """Send a new protective order. `role` is "stop" or "target"."""

    role: str
    side: int
    quantity: float
    ticks: int


class Modify(NamedTuple):
    """Move or resize a working protective order; `quantity` is what shall remain open."""

    role: str
    order_id: str
    quantity: float
    ticks: int


class Cancel(NamedTuple):
    """Withdraw an order that protects nothing."""

    order_id: str


Step = Place | Modify | Cancel


def match_protection(
    quantity: float, plan: PlanState | None, stop: WorkingOrder | None, target: WorkingOrder | None
) -> tuple[Step, ...]:
    """The steps that make the working stop and target match a signed position `quantity` (base units).

    Flat (or no plan): every leftover is cancelled. An order the venue has not answered yet is left alone; the
    next event asks again. The stop comes first: a position without a target is a nuisance, without a stop a
    danger.
    """
    if quantity == 0.0 or plan is None:
        return tuple(
            Cancel(order.order_id) for order in (stop, target) if order is not None and order.settled
        )
    size = abs(quantity)
    exit_side = -1 if quantity > 0 else 1
    steps = _match("stop", stop, size, plan.stop_ticks, exit_side)
    if plan.target_ticks:
        steps += _match("target", target, size, plan.target_ticks, exit_side)
    elif target is not None and target.settled:
        steps += (Cancel(target.order_id),)
    return steps


def _match(role: str, order: WorkingOrder | None, size: float, ticks: int, side: int) -> tuple[Step, ...]:
    if order is None:
        return (Place(role, side, size, ticks),)
    same = order.ticks == ticks and abs(order.open_quantity - size) <= QUANTITY_TOLERANCE * size
    if same or not order.settled:
        return ()
    return (Modify(role, order.order_id, size, ticks),)
