"""ml_basic: trade a calibrated probability, stay out while it is near one half.

Idea: the model says how likely the upper barrier is to come first. Above `threshold` go long, below
1 - `threshold` go short, in between do nothing: most bars carry no edge that pays for the costs. The further
from one half, the larger the position, full size at `full_confidence`.
"""

from typing import Annotated

from pydantic import Field, model_validator

from configs.groups import Group
from strategies.values import Intent, View

__all__ = ["NEEDS_MODEL", "Params", "decide", "quiet_band"]

NEEDS_MODEL = True


class Params(Group):
    """The `signal` group of the run file."""

    threshold: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.55
    full_confidence: Annotated[float, Field(gt=0.5, le=1.0)] = 0.65

    @model_validator(mode="after")
    def _ordered(self) -> "Params":
        if self.full_confidence <= self.threshold:
            raise ValueError(
                f"full_confidence ({self.full_confidence}) must lie above threshold ({self.threshold})"
            )
        return self


def quiet_band(params: Params) -> float:
    """Forecasts nearer to one half than this never lead to an intent, so they need not travel."""
    return params.threshold - 0.5


def decide(view: View, params: Params) -> Intent | None:
    """Long, short, or nothing (None) at this bar's close; nothing while there is no forecast."""
    edge = view.probability - 0.5
    if not abs(edge) >= quiet_band(params):  # NaN, too: no forecast, no opinion
        return None
    side = 1 if edge > 0 else -1
    if edge == 0.0 or (side < 0 and not view.allow_short and view.side <= 0):
        return None
    confidence = min(1.0, abs(edge) / (params.full_confidence - 0.5))
    return Intent(side, confidence, ("probability_high" if side > 0 else "probability_low",))
