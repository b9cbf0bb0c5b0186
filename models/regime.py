"""The market's state: trend, direction and volatility, with persistence so that labels do not flicker."""

from typing import NamedTuple

__all__ = ["Regime"]


class Regime(NamedTuple):
    """The state at one bar's close.

    `trending` by ADX; `direction` the sign of the slope (+1, -1, 0 while ranging); `volatility` -1 low, 0
    normal, +1 high; `bars` since the last change of any of the three.
    """

    trending: bool
    direction: int
    volatility: int
    bars: int
