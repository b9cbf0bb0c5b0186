"""A resting entry, bar by bar: where it is sent, how long it may wait, how far it may chase. Pure."""

import math
from typing import NamedTuple

import msgspec

from configs.trading import EntryConfig
from strategies.open_trade import Ladder
from strategies.values import Approved

__all__ = ["GIVE_UP", "REPRICE", "TAKE", "WAIT", "PendingEntry", "Resting", "entry_ticks", "rest", "step"]

WAIT = "wait"
REPRICE = "reprice"
TAKE = "take"
GIVE_UP = "give_up"

_GRID_DUST = 1e-6  # of a tick: a close that lies on the grid is not pushed off it by its binary rounding


class Resting(NamedTuple):
    """An entry that rests, or that the venue refused to let rest.

    Prices are in ticks; `waited` counts the bars closed since it was sent or moved.
    """

    side: int
    ticks: int
    first_ticks: int
    waited: int = 0
    reprices: int = 0


class PendingEntry(msgspec.Struct):
    """An entry under way, from its permission until its last order is closed.

    `resting` is None for one at the market. `is_refused`: the venue would not let it rest. `is_taking`: what
    is left goes to the market once its cancel is confirmed. `is_withdrawn`: what is left is not wanted.
    `leaves` is why what it fills all the same has to go at once (None: it may stay).
    """

    approved: Approved
    ladder: Ladder
    lots: int
    resting: Resting | None = None
    filled_lots: int = 0
    is_refused: bool = False
    is_taking: bool = False
    is_withdrawn: bool = False
    leaves: str | None = None

    @property
    def risk_per_unit(self) -> float:
        """What one unit loses at the stop, in quote currency."""
        return self.approved.risk_amount / self.approved.quantity


def entry_ticks(side: int, close: float, config: EntryConfig, ticks_per_unit: float) -> int:
    """Where an entry decided at `close` is sent: `offset_bps` behind it, rounded away from the market."""
    level = close * (1.0 - side * config.offset_bps / 1e4) * ticks_per_unit
    behind = math.floor(level + _GRID_DUST) if side > 0 else math.ceil(level - _GRID_DUST)
    return max(1, behind)


def rest(side: int, close: float, config: EntryConfig, ticks_per_unit: float) -> Resting:
    """A resting entry decided at `close`."""
    ticks = entry_ticks(side, close, config, ticks_per_unit)
    return Resting(side, ticks, ticks)


def step(
    resting: Resting, close: float, config: EntryConfig, ticks_per_unit: float, *, refused: bool = False
) -> tuple[Resting, str]:
    """Carry a resting entry over one more closed bar; returns its new state and what to do.

    After `timeout_bars`, or at once when the venue `refused` it because it would have taken, it is given up,
    moved to where it would be sent now or taken at the market, as configured: given up as well when the place
    where it would be sent has moved more than `max_chase_bps` since the decision, or it was moved
    `max_reprices` times.
    """
    waited = resting.waited + 1
    if not refused and waited < config.timeout_bars:
        return resting._replace(waited=waited), WAIT
    if config.on_timeout == "cancel":
        return resting, GIVE_UP
    ticks = entry_ticks(resting.side, close, config, ticks_per_unit)
    chased_bps = resting.side * (ticks / resting.first_ticks - 1.0) * 1e4
    if chased_bps > config.max_chase_bps:
        return resting, GIVE_UP
    if config.on_timeout == "market":
        return resting, TAKE
    if resting.reprices >= config.max_reprices:
        return resting, GIVE_UP
    moved = resting._replace(ticks=ticks, waited=0, reprices=resting.reprices + 1)
    return moved, WAIT if ticks == resting.ticks and not refused else REPRICE
