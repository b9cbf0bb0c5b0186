"""ensemble_weighted: several opinions, weighed and counted, make one.

Idea: errors of different strategies and horizons partly cancel. Two kinds of voters: `members` are other
strategies, asked through their own `decide`; `models` are forecasts of the run's models (say at horizons of
1, 5 and 30 bars), read straight as votes. A vote is side x confidence, between -1 and 1. Who has no opinion
abstains: that does not dilute the vote, but voters holding at least `quorum` of all weight must have voted.
The weighted mean of the votes cast is the outcome; below `threshold` in size nothing is done, else its size
is the confidence.

A model abstains while its probability is within `band` of one half or missing, and casts its full vote at
`full_confidence`. Members vote as if shorts were allowed (their bearish votes count against longs); whether
one may be opened is asked of the outcome. Their wishes on exits do not count: those are the run file's.
Without `members` and `models` the voters are ml_basic and momentum_leverage.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from msgspec.structs import replace
from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from configs.errors import ConfigError
from configs.groups import Group, Slug
from strategies.discovery import strategy_and_params
from strategies.values import Inputs, Intent, View

__all__ = ["Member", "Params", "decide", "inputs", "models_read"]

Weight = Annotated[float, Field(gt=0.0, le=1000.0)]


class Member(Group):
    """Another strategy as a voter: `use` and `signal` as in the run file's strategies.

    `model` names the model whose probability it sees; None: that of the ensemble's own `model`.
    """

    use: Slug
    weight: Weight = 1.0
    signal: dict[str, Any] = Field(default_factory=dict)
    model: Slug | None = None
    _decide: Callable[[View, Any], Intent | None] = PrivateAttr()
    _inputs: Inputs = PrivateAttr()
    _params: Group = PrivateAttr()

    @model_validator(mode="after")
    def _resolve(self) -> "Member":
        if self.use == __name__.rpartition(".")[2]:
            raise PydanticCustomError("ensemble_member", "an ensemble cannot be a member of an ensemble")
        try:
            module, self._params = strategy_and_params(self.use, self.signal, self.use)
        except ConfigError as error:
            raise PydanticCustomError("ensemble_member", "{problem}", {"problem": str(error)}) from error
        self._decide = module.decide
        self._inputs = module.inputs(self._params) if hasattr(module, "inputs") else Inputs()
        return self

    def vote(self, view: View) -> float | None:
        """Side x confidence of the member's intent on the ensemble's `view`; None: it abstains."""
        known = view.probability if self.model is None else view.forecasts.get(self.model, math.nan)
        intent = self._decide(replace(view, probability=known, allow_short=True), self._params)
        return None if intent is None else intent.side * intent.confidence

    @property
    def inputs(self) -> Inputs:
        """What the member wants to see."""
        return self._inputs


class Params(Group):
    """The `signal` group of the run file; `models` are name: weight."""

    members: tuple[Member, ...] = ()
    models: dict[Slug, Weight] = Field(default_factory=dict)
    quorum: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    threshold: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    band: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.02
    full_confidence: Annotated[float, Field(gt=0.5, le=1.0)] = 0.60

    @model_validator(mode="before")
    @classmethod
    def _default_voters(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "members" not in data and "models" not in data:
            return {**data, "members": ({"use": "ml_basic"}, {"use": "momentum_leverage"})}
        return data

    @model_validator(mode="after")
    def _somebody_votes(self) -> "Params":
        if not self.members and not self.models:
            raise ValueError("an ensemble needs voters: give members, models or both")
        if self.full_confidence - 0.5 <= self.band:
            raise ValueError(
                f"full_confidence ({self.full_confidence}) must lie above one half + band ({self.band})"
            )
        return self


def inputs(params: Params) -> Inputs:
    """Everything that any member wants to see."""
    wanted = Inputs()
    for member in params.members:
        wanted |= member.inputs
    return wanted


def models_read(params: Params) -> tuple[str, ...]:
    """Names of the models whose forecasts are read from `View.forecasts`; the run must name them."""
    named = (member.model for member in params.members if member.model is not None)
    return tuple(dict.fromkeys((*params.models, *named)))


def decide(view: View, params: Params) -> Intent | None:
    """The side of the weighted vote, or nothing (None) without a quorum or a clear outcome."""
    total = cast = outcome = 0.0
    voters = []
    for name, weight, vote in _votes(view, params):
        total += weight
        if vote is not None:
            cast += weight
            outcome += weight * vote
            voters.append((name, vote))
    if cast == 0.0 or cast < params.quorum * total:
        return None
    outcome /= cast
    side = 1 if outcome > 0.0 else -1
    if abs(outcome) < params.threshold or (side < 0 and not view.allow_short and view.side <= 0):
        return None
    agreeing = (name for name, vote in voters if vote * side > 0.0)
    return Intent(side, min(1.0, abs(outcome)), ("vote_long" if side > 0 else "vote_short", *agreeing))


def _votes(view: View, params: Params) -> Iterator[tuple[str, float, float | None]]:
    """(name, weight, vote) of every voter, the members first."""
    for member in params.members:
        yield member.use, member.weight, member.vote(view)
    for name, weight in params.models.items():
        yield name, weight, _model_vote(view.forecasts.get(name, math.nan), params)


def _model_vote(probability: float, params: Params) -> float | None:
    edge = probability - 0.5
    if not abs(edge) > params.band:  # NaN, too
        return None
    return max(-1.0, min(1.0, edge / (params.full_confidence - 0.5)))
