"""ml_sentiment: trade a probability, ask more of it where the crowd agrees, and shut the door at extremes.

Idea: the Fear & Greed index (0 extreme fear, 100 extreme greed) says what is already in the price. The model
has it among its columns (`model.exogenous`); the rules here bound what the model may do with it:
- from `extreme_greed` up no long is opened, from `extreme_fear` down no short (an opposite position may still
  be left);
- between them the threshold follows the index: at 100 a long needs `threshold_shift` more than `threshold`
  and a short as much less, at 0 the other way round, at 50 both need `threshold`;
- without a value of the index (none yet, or too old) there is no opinion, unless `require_sentiment` is off:
  then gates and shift rest.
"""

import math
from typing import Annotated

from pydantic import Field, model_validator

from configs.groups import Group
from models.exogenous import FEAR_GREED
from strategies.values import Inputs, Intent, View

__all__ = ["NEEDS_MODEL", "Params", "decide", "inputs"]

NEEDS_MODEL = True

_NEUTRAL = 50.0


class Params(Group):
    """The `signal` group of the run file. Fear & Greed in its own points, 0 to 100."""

    threshold: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.55
    full_confidence: Annotated[float, Field(gt=0.5, le=1.0)] = 0.65
    threshold_shift: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.02
    extreme_greed: Annotated[float, Field(gt=50, le=101)] = 80.0  # 101 never closes
    extreme_fear: Annotated[float, Field(ge=-1, lt=50)] = 20.0  # -1 never closes
    require_sentiment: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> "Params":
        if self.full_confidence <= self.threshold + self.threshold_shift:
            raise ValueError(
                f"full_confidence ({self.full_confidence}) must lie above threshold + threshold_shift "
                f"({self.threshold + self.threshold_shift:g})"
            )
        if self.threshold - self.threshold_shift < 0.5:
            raise ValueError("threshold - threshold_shift must not lie below 0.5")
        return self


def inputs(params: Params) -> Inputs:
    """The index itself, whatever the parameters."""
    return Inputs((FEAR_GREED,))


def decide(view: View, params: Params) -> Intent | None:
    """Long, short, or nothing (None) at this bar's close; nothing without a forecast."""
    index = view.features.get(FEAR_GREED, math.nan)
    if math.isnan(index) and params.require_sentiment:
        return None
    edge = view.probability - 0.5
    side = 1 if edge > 0 else -1
    shift = 0.0 if math.isnan(index) else params.threshold_shift * (index - _NEUTRAL) / _NEUTRAL
    needed = params.threshold - 0.5 + side * shift
    if not abs(edge) >= needed or edge == 0.0:  # NaN, too: no forecast, no opinion
        return None
    if view.side != -side and (_closed(side, index, params) or (side < 0 and not view.allow_short)):
        return None
    confidence = min(1.0, abs(edge) / (params.full_confidence - 0.5))
    probability = view.probability if side > 0 else 1.0 - view.probability
    reasons = ("probability_high" if side > 0 else "probability_low", _mood(index))
    return Intent(side, confidence, reasons, probability=probability)


def _closed(side: int, index: float, params: Params) -> bool:
    """Whether the crowd is too far on that side already."""
    return index >= params.extreme_greed if side > 0 else index <= params.extreme_fear


def _mood(index: float) -> str:
    if math.isnan(index):
        return "sentiment_unknown"
    return "greed" if index > _NEUTRAL else "fear" if index < _NEUTRAL else "sentiment_neutral"
