"""Makes the orders at the venue match the position: a stop always, targets where the plan has them.

Pure: the position and the working orders in, the steps to take out. It is idempotent, so it may be asked at
any time (on start, on every order event, on a timer): when everything matches, it answers with nothing.
Stop and targets are unlinked orders; the venue's own contingencies leave positions naked in corner cases,
this does not. Quantities are in lots, prices in ticks, both whole numbers.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from strategies.trade import Rung, fit_ladder

__all__ = ["Cancel", "Modify", "Place", "WorkingOrder", "match_protection", "within_reach"]

_BEYOND = 0.01  # venues refuse a limit some per cent on the wrong side of the market


class WorkingOrder(NamedTuple):
    """A protective order that is not closed. `settled` is False while the venue has yet to answer."""

    order_id: str
    ticks: int
    open_lots: int
    settled: bool


class Place(NamedTuple):
    """Send a new protective order. `role` is "stop" or "target", `rung` the target's place in the ladder."""

    role: str
    side: int
    lots: int
    ticks: int
    rung: int = 0


class Modify(NamedTuple):
    """Move or resize a working protective order; `lots` is what shall remain open."""

    role: str
    order_id: str
    lots: int
    ticks: int


class Cancel(NamedTuple):
    """Withdraw an order that protects nothing."""

    order_id: str


Step = Place | Modify | Cancel


def within_reach(side: int, ticks: int, market_ticks: float) -> int:
    """The level of a target to be sent, at most one per cent beyond a market that has passed it already.

    It fills at the market all the same; `market_ticks` is the best price of the other side.

    >>> within_reach(-1, 9_000, 10_000.0), within_reach(-1, 11_000, 10_000.0)
    (9900, 11000)
    """
    if side < 0:
        return max(ticks, math.floor(market_ticks * (1.0 - _BEYOND)))
    return min(ticks, math.ceil(market_ticks * (1.0 + _BEYOND)))


def match_protection(
    quantity_lots: int,
    stop_ticks: int,
    rungs: tuple[Rung, ...],
    stop: WorkingOrder | None,
    targets: Mapping[int, WorkingOrder],
    min_lots: int = 1,
) -> tuple[Step, ...]:
    """The steps that make the working stop and targets match a signed position of `quantity_lots`.

    `stop_ticks` 0 says that there is no plan. Flat or without a plan every leftover is cancelled. An order
    that the venue has not answered yet is left alone; the next event asks again. The stop comes first: a
    position without a target is a nuisance, without a stop a danger. `targets` are by rung; a rung of fewer
    than `min_lots` is not sent anew, the venue would refuse it.
    """
    working = [order for order in (stop, *targets.values()) if order is not None]
    if quantity_lots == 0 or stop_ticks == 0:
        return tuple(Cancel(order.order_id) for order in working if order.settled)
    size, exit_side = abs(quantity_lots), -1 if quantity_lots > 0 else 1
    steps = _match(stop, Place("stop", exit_side, size, stop_ticks))
    for index, rung in enumerate(fit_ladder(rungs, size, min_lots)):
        steps += _match_target(
            targets.get(index), Place("target", exit_side, rung.lots, rung.ticks, index), min_lots
        )
    gone = [order for index, order in targets.items() if index >= len(rungs) and order.settled]
    return steps + tuple(Cancel(order.order_id) for order in gone)


def _match_target(order: WorkingOrder | None, wanted: Place, min_lots: int) -> tuple[Step, ...]:
    if wanted.lots == 0:
        return (Cancel(order.order_id),) if order is not None and order.settled else ()
    if order is None and wanted.lots < min_lots:
        return ()
    return _match(order, wanted)


def _match(order: WorkingOrder | None, wanted: Place) -> tuple[Step, ...]:
    if order is None:
        return (wanted,)
    same = order.ticks == wanted.ticks and order.open_lots == wanted.lots
    if same or not order.settled:
        return ()
    return (Modify(wanted.role, order.order_id, wanted.lots, wanted.ticks),)
