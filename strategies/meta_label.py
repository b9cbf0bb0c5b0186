"""meta_label: a rule says which side, the model says whether to take the trade and how large.

Idea: meta-labelling (Lopez de Prado, "Advances in Financial Machine Learning", 2018, chapter 3). The side
comes from a simple primary rule that trades too often (`primary`: ema_cross, breakout or mean_reversion, see
primary.py). The model then says how likely that trade is right; below `min_probability` it is not taken, at
`full_probability` it has full confidence, and the probability itself goes to sizing by Kelly.

What the model is here, plainly: the direction model, which learned on every bar which barrier comes first and
knows nothing of the rule. A long is right when the upper barrier comes first, so its chance is p, a short's
1 - p. That holds for the trade when its stop and target are the label's barriers and its longest life the
label's horizon: write `stop.pct` = `label.stop_loss_pct`, `targets.pct` = `label.take_profit_pct` and
`time.max_bars` = `label.horizon_bars` into the run file, the two distances equal, or a short is another trade
than the one that was learned. A model trained on the rule's own trades could know more: when the rule fails.
"""

from typing import Annotated

from pydantic import Field, model_validator

from configs.groups import Group
from strategies.primary import EmaCross, PrimaryRule, primary_features, primary_side
from strategies.values import Inputs, Intent, View

__all__ = ["NEEDS_MODEL", "Params", "decide", "inputs"]

NEEDS_MODEL = True


class Params(Group):
    """The `signal` group of the run file. Probabilities are of the side taken."""

    primary: PrimaryRule = EmaCross()
    min_probability: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.52
    full_probability: Annotated[float, Field(gt=0.5, le=1.0)] = 0.60

    @model_validator(mode="after")
    def _ordered(self) -> "Params":
        if self.full_probability <= self.min_probability:
            raise ValueError(
                f"full_probability ({self.full_probability}) must lie above min_probability "
                f"({self.min_probability})"
            )
        return self


def inputs(params: Params) -> Inputs:
    """What the primary rule reads."""
    return Inputs(primary_features(params.primary))


def decide(view: View, params: Params) -> Intent | None:
    """The primary rule's side where the model finds it likely enough, else nothing (None)."""
    side = primary_side(params.primary, view.features)
    if side == 0 or (side < 0 and not view.allow_short and view.side <= 0):
        return None
    right = view.probability if side > 0 else 1.0 - view.probability
    if not right >= params.min_probability:  # NaN, too: no forecast, no trade
        return None
    confidence = min(1.0, max(0.0, (right - 0.5) / (params.full_probability - 0.5)))
    return Intent(side, confidence, (params.primary.rule, "model_agrees"), probability=right)
