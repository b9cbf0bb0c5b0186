"""What orders shall cover coins held on spot: one list of a target and a stop, or a stop alone. Pure.

A spot venue locks what a sell order offers, knows no reduce-only order, and takes a stop and a target on the
same coins only as one list (OCO): when one fills, the other goes. Such a list cannot be changed, it is
cancelled and sent again. So there is at most one cover at a time, for everything that is held, and what is
to be sold at the market is sold when the cover is gone. `cover` is idempotent: when all is as it should be,
it answers with nothing. Quantities are in lots, prices in ticks, both whole numbers; positions are long.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from strategies.values import InstrumentRules

__all__ = ["Cover", "Drop", "Leg", "Pair", "Reason", "Sell", "StopAlone", "Wanted", "cover", "least_lots"]


class Leg(NamedTuple):
    """A sell order that is not closed. `settled`: the venue has answered; `has_filled`: some of it is sold.

    `is_adopted`: found after a restart; the engine may count what it sold twice, so it is sent anew.
    """

    order_id: str
    ticks: int
    open_lots: int
    settled: bool
    has_filled: bool = False
    is_adopted: bool = False


class Wanted(NamedTuple):
    """The plan. `target_ticks` None: no target; `leaving`: everything is to be sold at the market.

    `refused` counts how often the venue has refused the cover of this plan: the next attempt asks for less.
    """

    stop_ticks: int
    target_ticks: int | None
    leaving: bool = False
    refused: int = 0


class Pair(NamedTuple):
    """Send one list: a post-only limit at the target, a stop that sells at the market below."""

    lots: int
    stop_ticks: int
    target_ticks: int


class StopAlone(NamedTuple):
    """Send a stop that sells at the market."""

    lots: int
    stop_ticks: int


class Sell(NamedTuple):
    """Sell at the market; nothing else is on offer."""

    lots: int


class Drop(NamedTuple):
    """Cancel an order; of a list one is enough."""

    order_id: str


class Reason(StrEnum):
    """How things stand."""

    FLAT = "flat"
    DUST = "dust"  # less than the venue takes: it cannot be sold, nor covered
    COVERED = "covered"
    WAITING = "waiting"  # an order is unanswered, or is filling
    CHANGING = "changing"  # the cover goes, and is sent again or sold instead
    COVERING = "covering"
    SELLING = "selling"
    LOCKED = "locked"  # somebody else's order has the coins on offer


class Cover(NamedTuple):
    """What to do now (one step at most) and how things stand."""

    step: Pair | StopAlone | Sell | Drop | None
    reason: Reason


def cover(
    held_lots: int,
    least: int,
    wanted: Wanted,
    stop: Leg | None,
    target: Leg | None,
    *,
    is_selling: bool = False,
    bid_ticks: int | None = None,
    is_overdue: bool = False,
    is_fresh: bool = False,
) -> Cover:
    """The step that brings the cover of `held_lots` nearer to what is `wanted`.

    `least` are the fewest lots that the venue takes. `is_selling`: a sale at the market is under way.
    `bid_ticks` is the best bid (None: not known, then nothing can be sold at the market). `is_overdue`: what
    was waited for should long have come, so orders that seem to be unanswered or to be going are cancelled.
    `is_fresh`: an order has just gone; the other of its list, whole, is then about to fill, or to go as well.
    """
    legs = [leg for leg in (stop, target) if leg is not None]
    if is_selling or (any(not leg.settled for leg in legs) and not is_overdue):
        return Cover(None, Reason.WAITING)
    if held_lots < least:
        return _too_little(held_lots, legs, is_overdue=is_overdue)
    if stop is not None and stop.has_filled and not is_overdue:
        return Cover(None, Reason.WAITING)  # it sells at the market: the rest comes at once
    if is_fresh and len(legs) == 1 and not legs[0].has_filled and legs[0].open_lots == held_lots:
        return Cover(None, Reason.WAITING)
    what = _best(held_lots, wanted, bid_ticks)
    return _change(what, stop, target, bid_ticks) if legs else _send(what, bid_ticks)


def _too_little(held_lots: int, legs: Sequence[Leg], *, is_overdue: bool) -> Cover:
    """Of a list that has filled the venue takes back the rest itself: only what stays is cancelled."""
    if legs:
        return Cover(Drop(legs[0].order_id) if is_overdue else None, Reason.WAITING)
    return Cover(None, Reason.DUST if held_lots > 0 else Reason.FLAT)


def _change(
    what: Pair | StopAlone | Sell, stop: Leg | None, target: Leg | None, bid_ticks: int | None
) -> Cover:
    if isinstance(what, Sell) and bid_ticks is None:
        return Cover(None, Reason.COVERED if stop is not None else Reason.WAITING)  # cannot be sold yet
    if _is_as(what, stop, target):
        return Cover(None, Reason.COVERED)
    leg = stop or target
    assert leg is not None
    return Cover(Drop(leg.order_id), Reason.CHANGING)


def _best(lots: int, wanted: Wanted, bid_ticks: int | None) -> Pair | StopAlone | Sell:
    """The fullest cover that the market and the venue's refusals allow."""
    stop, target = wanted.stop_ticks, wanted.target_ticks
    passed = bid_ticks is not None and (
        bid_ticks <= stop or (target is not None and wanted.refused == 0 and bid_ticks >= target)
    )
    if wanted.leaving or passed or wanted.refused > 1:
        return Sell(lots)
    if target is None or wanted.refused:
        return StopAlone(lots, stop)
    return Pair(lots, stop, target)


def _send(what: Pair | StopAlone | Sell, bid_ticks: int | None) -> Cover:
    if not isinstance(what, Sell):
        return Cover(what, Reason.COVERING)
    return Cover(None, Reason.WAITING) if bid_ticks is None else Cover(what, Reason.SELLING)


def _is_as(what: Pair | StopAlone | Sell, stop: Leg | None, target: Leg | None) -> bool:
    if isinstance(what, Sell) or stop is None:
        return False
    wanted_target = what.target_ticks if isinstance(what, Pair) else None
    return _fits(stop, what.lots, what.stop_ticks) and (
        target is None
        if wanted_target is None
        else target is not None and _fits(target, what.lots, wanted_target)
    )


def _fits(leg: Leg, lots: int, ticks: int) -> bool:
    return leg.settled and not leg.is_adopted and leg.open_lots == lots and leg.ticks == ticks


def least_lots(rules: InstrumentRules, lowest_price: float) -> int:
    """The fewest lots that the venue takes in an order at `lowest_price` or above (quote currency)."""
    by_notional = rules.min_notional / (lowest_price * rules.step_size) if lowest_price > 0.0 else math.inf
    by_quantity = rules.min_quantity / rules.step_size
    least = max(by_notional, by_quantity, 1.0)
    return math.ceil(least - 1e-9) if math.isfinite(least) else 2**62
