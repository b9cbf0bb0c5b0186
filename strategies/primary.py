"""Primary rules: simple, well-known ways to get a side from features; `meta_label` decides on taking them.

A rule looks at one bar's features and keeps no memory. Each is a group of settings told apart by `rule`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.groups import Group, NonNegative, Positive

__all__ = ["Breakout", "EmaCross", "MeanReversion", "PrimaryRule", "primary_features", "primary_side"]


class EmaCross(Group):
    """Along a fresh crossing of the averages over 12 and 50 bars.

    Their gap must lie between `min_gap_atr` and `max_gap_atr` in units of ATR(14) (beyond it the crossing is
    old), and the last 7 bars must have moved its way (else the averages are on their way back).
    """

    rule: Literal["ema_cross"] = "ema_cross"
    min_gap_atr: NonNegative = 0.1
    max_gap_atr: Positive = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> "EmaCross":
        if self.max_gap_atr <= self.min_gap_atr:
            raise ValueError(
                f"max_gap_atr ({self.max_gap_atr}) must lie above min_gap_atr ({self.min_gap_atr})"
            )
        return self


class Breakout(Group):
    """Along a close outside the channel of the 20 bars before, reached without detours.

    `min_efficiency`: least share of the path over 20 bars that was net movement (Kaufman's ratio).
    """

    rule: Literal["breakout"] = "breakout"
    min_efficiency: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3


class MeanReversion(Group):
    """Against a close `entry_zscore` standard deviations from its mean of 60 bars, without a trend.

    `max_adx`: an ADX(14) at or above it is a trend, which is not stood against.
    """

    rule: Literal["mean_reversion"] = "mean_reversion"
    entry_zscore: Positive = 2.0
    max_adx: Annotated[float, Field(gt=0.0, le=100.0)] = 25.0


type PrimaryRule = Annotated[EmaCross | Breakout | MeanReversion, Field(discriminator="rule")]

_FEATURES = {
    "ema_cross": ("ema_cross_12_50", "atr_pct_14", "return_7"),
    "breakout": ("breakout_20", "efficiency_20"),
    "mean_reversion": ("zscore_60", "adx_14"),
}


def primary_features(rule: PrimaryRule) -> tuple[str, ...]:
    """Names of the features that the rule reads."""
    return _FEATURES[rule.rule]


def primary_side(rule: PrimaryRule, features: Mapping[str, float]) -> int:
    """+1 long, -1 short, 0 no trade at one bar's close; 0 while a feature is missing, NaN or infinite."""
    first, *others = (features.get(name, math.nan) for name in primary_features(rule))
    if first == 0.0 or not all(map(math.isfinite, (first, *others))):
        return 0
    side = 1 if first > 0.0 else -1
    match rule:
        case EmaCross():
            atr_pct, recent = others
            low, high = (gap * atr_pct / 100.0 for gap in (rule.min_gap_atr, rule.max_gap_atr))
            return side if low <= abs(first) <= high and recent * side > 0.0 else 0
        case Breakout():
            return side if others[0] * side >= rule.min_efficiency else 0
        case MeanReversion():
            return -side if abs(first) >= rule.entry_zscore and others[0] < rule.max_adx else 0
