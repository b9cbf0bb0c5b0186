"""An open trade as values: the permission, the plan and the ladder, and how fills change them. Pure.

Everything a restart needs to go on with a trade is in here; what is held and what works at the venue is not:
that is the engine's to know.
"""

import math
from collections.abc import Mapping

import msgspec

from strategies.trade import (
    PlanParams,
    PlanState,
    Rung,
    fill_rung,
    grow_ladder,
    open_ladder,
    open_plan,
)
from strategies.trade import step as plan_step
from strategies.values import Approved, InstrumentRules, Intent

__all__ = ["Ladder", "OpenTrade", "ladder_of", "min_lots", "open_trade"]

Ladder = tuple[tuple[float, float], ...]


class OpenTrade(msgspec.Struct):
    """A trade from its first fill until the position is flat.

    `entry_lots` is what the entry has filled so far, without additions; `exit_reason` is set from the moment
    it is to be closed at the market.
    """

    approved: Approved
    plan: PlanState
    rungs: tuple[Rung, ...]
    min_lots: int
    entry_lots: int
    exit_reason: str | None = None

    @property
    def side(self) -> int:
        """+1 long, -1 short."""
        return self.plan.side

    def carry_on(
        self, ts_event: int, close: float, atr: float, params: PlanParams, ticks_per_unit: float
    ) -> int:
        """Step the plan over a closed bar; returns its flags (`strategies.trade`)."""
        self.plan, flags = plan_step(self.plan, ts_event, close, atr, params, ticks_per_unit)
        return flags

    def grow(self, lots: int, held_lots: int, *, of_entry: bool) -> None:
        """`lots` more were filled on top of `held_lots`, by the entry or by an addition."""
        self.entry_lots += lots if of_entry else 0
        self.rungs = grow_ladder(self.rungs, lots, held_lots, self.min_lots)

    def catch_up(self, held: int, held_before: int, entered: int, closed: Mapping[int, int]) -> None:
        """Take in what happened unheard between a position of `held_before` lots and one of `held`, unsigned.

        `entered` is what the entry has filled in all and `closed` what the targets have, by rung; what they
        leave unexplained was an addition, or closed the nearest targets.
        """
        more = max(0, entered - self.entry_lots)
        gone = {
            rung: max(0, closed.get(rung, 0) - known.closed)
            for rung, known in enumerate(self.rungs)
            if closed.get(rung, 0) > known.closed
        }
        if more:
            self.grow(more, held_before, of_entry=True)
        left = held - held_before - more + sum(gone.values())
        if left > 0:
            self.grow(left, held_before + more, of_entry=False)
        for rung, lots in gone.items():
            self.target_filled(rung, lots)
        for rung, known in enumerate(self.rungs):
            near = min(max(0, -left), known.lots)
            if near:
                self.target_filled(rung, near)
                left += near

    def target_filled(self, rung: int, lots: int) -> None:
        """A target closed `lots`."""
        if rung < len(self.rungs):
            self.rungs = fill_rung(self.rungs, rung, lots)


def ladder_of(intent: Intent, ladder: Ladder) -> Ladder:
    """The targets of an intent: its own distance for the whole position, or the run file's, stretched."""
    if intent.target_distance is not None:
        return ((intent.target_distance, 1.0),)
    return tuple((distance * intent.target_scale, share) for distance, share in ladder)


def open_trade(
    approved: Approved,
    ladder: Ladder,
    entry_price: float,
    lots: int,
    rules: InstrumentRules,
    ticks_per_unit: float,
) -> OpenTrade:
    """The trade that begins with a fill of `lots` at `entry_price`."""
    smallest = min_lots(approved.side, entry_price, ladder, rules)
    rungs = open_ladder(approved.side, entry_price, ladder, lots, smallest, ticks_per_unit)
    plan = open_plan(approved.side, entry_price, approved.stop_distance, ticks_per_unit)
    return OpenTrade(approved, plan, rungs, smallest, lots)


def min_lots(side: int, entry_price: float, ladder: Ladder, rules: InstrumentRules) -> int:
    """The fewest lots that the venue takes at any of the targets' prices."""
    farthest = max((distance for distance, _ in ladder), default=0.0)
    lowest = entry_price * (1.0 - farthest) if side < 0 else entry_price
    by_notional = rules.min_notional / (lowest * rules.step_size) if lowest > 0.0 else 0.0
    by_quantity = rules.min_quantity / rules.step_size
    return max(1, math.ceil(max(by_notional, by_quantity) - 1e-9))
