"""The trade plan: where the stop and target of an open position stand, bar by bar.

Pure state in, state and action out, over plain numbers. Prices are integer ticks, so that every driver rounds
the same way and a level never drifts by a binary fraction.
"""

import math
from typing import NamedTuple

__all__ = ["EXIT_TIME", "HOLD", "MOVE_STOP", "PlanParams", "PlanState", "open_plan", "step", "to_ticks"]

HOLD = 0
MOVE_STOP = 1
EXIT_TIME = 2


class PlanParams(NamedTuple):
    """The plan's rules. Gains and distances are fractions of a price; an infinite trigger never fires.

    `max_bars` 0 means no time exit.
    """

    break_even_after: float = math.inf
    trail_activation: float = math.inf
    trail_distance: float = 0.0
    max_bars: int = 0


class PlanState(NamedTuple):
    """An open trade. `side` is +1 or -1; levels are in ticks; `target_ticks` 0 means no target."""

    side: int
    entry_ticks: int
    stop_ticks: int
    target_ticks: int
    bars_held: int


def to_ticks(price: float, ticks_per_unit: float) -> int:
    """The nearest tick, halves up: the one rounding of prices in the plan."""
    return math.floor(price * ticks_per_unit + 0.5)


def open_plan(
    side: int, entry_price: float, stop_distance: float, target_distance: float | None, ticks_per_unit: float
) -> PlanState:
    """The plan of a position just entered at `entry_price`; distances are fractions of it.

    The levels act from the next bar on: a bar that was over when the entry filled cannot touch them.
    """
    target = 0
    if target_distance is not None:
        target = to_ticks(entry_price * (1.0 + side * target_distance), ticks_per_unit)
    return PlanState(
        side=side,
        entry_ticks=to_ticks(entry_price, ticks_per_unit),
        stop_ticks=to_ticks(entry_price * (1.0 - side * stop_distance), ticks_per_unit),
        target_ticks=target,
        bars_held=0,
    )


def step(state: PlanState, close: float, params: PlanParams, ticks_per_unit: float) -> tuple[PlanState, int]:
    """Carry an open trade over one more closed bar; returns the new state and HOLD, MOVE_STOP or EXIT_TIME.

    Decided on the bar's close, in force from the next bar on. A stop only ever moves in the trade's favour.
    """
    held, side = state.bars_held + 1, state.side
    if params.max_bars and held >= params.max_bars:
        return PlanState(side, state.entry_ticks, state.stop_ticks, state.target_ticks, held), EXIT_TIME
    gain = side * (close * ticks_per_unit / state.entry_ticks - 1.0)
    stop = state.stop_ticks
    if gain >= params.break_even_after:
        stop = _tighter(side, stop, state.entry_ticks)
    if gain >= params.trail_activation:
        stop = _tighter(side, stop, _behind(side, close, params.trail_distance, ticks_per_unit))
    action = HOLD if stop == state.stop_ticks else MOVE_STOP
    return PlanState(side, state.entry_ticks, stop, state.target_ticks, held), action


def _behind(side: int, close: float, distance: float, ticks_per_unit: float) -> int:
    """A level `distance` behind the close and a tick at least: the venue refuses a stop at the market."""
    level = to_ticks(close * (1.0 - side * distance), ticks_per_unit)
    nearest = to_ticks(close, ticks_per_unit) - side
    return min(level, nearest) if side > 0 else max(level, nearest)


def _tighter(side: int, stop_ticks: int, other_ticks: int) -> int:
    return max(stop_ticks, other_ticks) if side > 0 else min(stop_ticks, other_ticks)
