"""ml_adaptive: a probability is judged by the market it is said in.

Idea: the same forecast is worth more along a trend than in a range, and least against a trend. The regime
therefore sets the probability that is asked for: `with_trend_threshold` along the trend, `ranging_threshold`
where there is none, `against_trend_threshold` against it (None: never against it). Volatility sets the exits:
stop and targets are stretched by `stop_scale` and `target_scale` so that noise alone does not reach them, and
the confidence is taken down where forecasts are worth less. Until the regime is known nothing is done.

`full_confidence` is the probability of full size. The exits stretched are those of the run file (`stop`,
`targets`); the stretched stop also makes a position that risks a fixed share smaller.
"""

from typing import Annotated

from pydantic import Field, model_validator

from configs.groups import Group, Positive
from models.regime import Regime
from strategies.values import Inputs, Intent, View

__all__ = ["NEEDS_MODEL", "Exits", "Params", "decide", "inputs"]

NEEDS_MODEL = True

Threshold = Annotated[float, Field(ge=0.5, lt=1.0)]


class Exits(Group):
    """What one state of volatility does to stop and targets (factors) and to the confidence (a factor)."""

    stop_scale: Positive = 1.0
    target_scale: Positive = 1.0
    confidence: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class Params(Group):
    """The `signal` group of the run file. Thresholds are probabilities of the side taken."""

    with_trend_threshold: Threshold = 0.53
    ranging_threshold: Threshold = 0.55
    against_trend_threshold: Threshold | None = 0.62
    full_confidence: Annotated[float, Field(gt=0.5, le=1.0)] = 0.65
    high_volatility: Exits = Exits(stop_scale=1.5, target_scale=1.5, confidence=0.7)
    normal_volatility: Exits = Exits()
    low_volatility: Exits = Exits(stop_scale=0.8, target_scale=0.8)

    @model_validator(mode="after")
    def _ordered(self) -> "Params":
        against = self.against_trend_threshold
        asked = [self.with_trend_threshold, self.ranging_threshold, *([] if against is None else [against])]
        if asked != sorted(asked):
            raise ValueError(
                "thresholds must not fall from with_trend_threshold over ranging_threshold to "
                f"against_trend_threshold, got {asked}"
            )
        if self.full_confidence <= asked[-1]:
            raise ValueError(
                f"full_confidence ({self.full_confidence}) must lie above every threshold ({asked[-1]})"
            )
        return self


def inputs(params: Params) -> Inputs:
    """The regime, and no feature beside the model's own."""
    return Inputs(regime=True)


def decide(view: View, params: Params) -> Intent | None:
    """Long, short, or nothing (None) at this bar's close; nothing without a forecast and a regime."""
    edge = view.probability - 0.5
    if view.regime is None or not abs(edge) > 0.0:  # NaN, too
        return None
    side = 1 if edge > 0.0 else -1
    code, threshold = _asked(view.regime, side, params)
    if threshold is None or abs(edge) < threshold - 0.5:
        return None
    if side < 0 and not view.allow_short and view.side <= 0:
        return None
    exits = _exits(view.regime, params)
    confidence = min(1.0, abs(edge) / (params.full_confidence - 0.5)) * exits.confidence
    reasons = ("probability_high" if side > 0 else "probability_low", code)
    return Intent(side, confidence, reasons, stop_scale=exits.stop_scale, target_scale=exits.target_scale)


def _asked(regime: Regime, side: int, params: Params) -> tuple[str, float | None]:
    """How the side lies to the regime, as a reason code, and the probability asked for there."""
    if not regime.trending or regime.direction == 0:
        return "ranging", params.ranging_threshold
    if regime.direction == side:
        return "with_trend", params.with_trend_threshold
    return "against_trend", params.against_trend_threshold


def _exits(regime: Regime, params: Params) -> Exits:
    if regime.volatility > 0:
        return params.high_volatility
    return params.low_volatility if regime.volatility < 0 else params.normal_volatility
