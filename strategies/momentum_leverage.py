"""momentum_leverage: join a move that all horizons agree on, in a market neither asleep nor wild.

Idea: time-series momentum (Moskowitz, Ooi and Pedersen 2012) on bars. Returns over 3, 7 and 20 bars must
point the same way and the close must have left the channel of the 20 bars before it. A move counts in units
of its own volatility: the strength is the mean of |return over n bars| / (volatility of a bar x sqrt(n)),
about 0.8 for a random walk. `min_strength` is the least that is joined, `full_strength` the strength of full
confidence. Volatility over 20 bars must lie within `min_volatility_ratio` and `max_volatility_ratio` times
that over 240 bars: below, breakouts fail for want of followers, above, the stop is a coin toss.

Size and leverage are the run file's (`sizing: volatility` takes more of a calm market and less of a wild one,
cut at `max_position_pct`). No model is needed.
"""

import math
from typing import Annotated

from pydantic import Field, model_validator

from configs.groups import Group, NonNegative, Positive
from strategies.values import Inputs, Intent, View

__all__ = ["Params", "decide", "inputs"]

_HORIZONS = (3, 7, 20)
_RETURNS = tuple(f"return_{bars}" for bars in _HORIZONS)
_ROOTS = tuple(math.sqrt(bars) for bars in _HORIZONS)
_BREAKOUT, _VOLATILITY, _RATIO = "breakout_20", "realized_volatility_20", "volatility_ratio_20_240"


class Params(Group):
    """The `signal` group of the run file."""

    min_strength: NonNegative = 1.0
    full_strength: Positive = 2.0
    min_volatility_ratio: NonNegative = 0.7
    max_volatility_ratio: Annotated[float, Field(gt=0.0, le=10.0)] = 2.5
    require_breakout: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> "Params":
        if self.full_strength <= self.min_strength:
            raise ValueError(
                f"full_strength ({self.full_strength}) must lie above min_strength ({self.min_strength})"
            )
        if self.max_volatility_ratio <= self.min_volatility_ratio:
            raise ValueError(
                f"max_volatility_ratio ({self.max_volatility_ratio}) must lie above min_volatility_ratio "
                f"({self.min_volatility_ratio})"
            )
        return self


def inputs(params: Params) -> Inputs:
    """Three returns, the breakout, and volatility over 20 bars alone and beside that over 240."""
    return Inputs((*_RETURNS, _BREAKOUT, _VOLATILITY, _RATIO))


def decide(view: View, params: Params) -> Intent | None:
    """Long or short along a confirmed move, else nothing (None); nothing while a value is missing."""
    values = [view.features.get(name, math.nan) for name in (*_RETURNS, _BREAKOUT, _VOLATILITY, _RATIO)]
    if not all(map(math.isfinite, values)):
        return None
    returns, (breakout, volatility, ratio) = values[:3], values[3:]
    if volatility <= 0.0 or not params.min_volatility_ratio <= ratio <= params.max_volatility_ratio:
        return None
    side = _common_side([*returns, breakout] if params.require_breakout else returns)
    if side == 0 or (side < 0 and not view.allow_short and view.side <= 0):
        return None
    moves = [abs(move) / (volatility * root) for move, root in zip(returns, _ROOTS, strict=True)]
    strength = sum(moves) / len(moves)
    if strength < params.min_strength:
        return None
    confidence = min(1.0, strength / params.full_strength)
    return Intent(side, confidence, ("momentum_up" if side > 0 else "momentum_down",))


def _common_side(values: list[float]) -> int:
    """+1 when all are above 0, -1 when all are below, else 0."""
    if all(value > 0.0 for value in values):
        return 1
    return -1 if all(value < 0.0 for value in values) else 0
