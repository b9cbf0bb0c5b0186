"""The plain values that pass between deciding, sizing, planning and protecting. No engine types in here."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from models.regime import Regime

__all__ = ["Account", "Approved", "Inputs", "InstrumentRules", "Intent", "Limits", "Refused", "View"]


class Inputs(NamedTuple):
    """What a strategy wants to see in its `View` beside the close and its model's probability.

    `features` are names of the feature table (models/definitions.py) or of an exogenous series
    ("fear_greed"); `regime` asks for the regime.
    """

    features: tuple[str, ...] = ()
    regime: bool = False

    def __or__(self, other: "Inputs") -> "Inputs":
        return Inputs(tuple(dict.fromkeys(self.features + other.features)), self.regime or other.regime)


class View(msgspec.Struct, frozen=True, gc=False):
    """What a strategy may look at when it decides, at one bar's close (`ts_event`, ns UTC).

    Everything in it was known by `ts_event`. `probability` is the model's (NaN while there is none),
    `side` the open position (+1 long, -1 short, 0 flat). `forecasts` holds the probabilities of all the
    strategy's models by name, `features` the values its `inputs` ask for (NaN while warming up), `regime` the
    market's state (None while warming up or not asked for).
    """

    ts_event: int
    close: float
    probability: float
    side: int
    allow_short: bool
    forecasts: Mapping[str, float] = {}
    features: Mapping[str, float] = {}
    regime: Regime | None = None


class Intent(NamedTuple):
    """A wish to hold a position; nothing in it is permission to trade.

    `side` is +1 or -1, `confidence` in [0, 1]. Distances are fractions of the entry price; None takes the
    run file's, which `stop_scale` and `target_scale` stretch. `probability` is the chance of the target
    before the stop, for sizing by Kelly (NaN: unknown). `reasons` are short codes for the audit.
    """

    side: int
    confidence: float
    reasons: tuple[str, ...]
    stop_distance: float | None = None
    target_distance: float | None = None
    stop_scale: float = 1.0
    target_scale: float = 1.0
    probability: float = math.nan


class InstrumentRules(NamedTuple):
    """What the venue demands of an order. Sizes in base units, prices and notionals in quote currency."""

    tick_size: float
    step_size: float
    min_quantity: float
    max_quantity: float
    min_notional: float


class Account(NamedTuple):
    """The account at the moment of the decision, in quote currency.

    `equity` is marked to market, coins held on spot included; `notional` is that of all open positions, of
    every instrument, long and short added up.
    """

    equity: float
    free_margin: float
    leverage: float
    notional: float = 0.0


class Limits(NamedTuple):
    """Sizing and limits, resolved from the run file. Shares are fractions of equity, costs of notional.

    `entry_cost` and `exit_cost` are the taker costs (fee and slippage) counted into the risk of a trade.
    """

    method: str
    risk_per_trade: float
    fraction: float
    confidence_weighted: bool
    max_position: float
    max_leverage: float
    max_notional: float | None
    liquidation_buffer: float
    entry_cost: float
    exit_cost: float


class Approved(NamedTuple):
    """Permission to enter: only this reaches the submitter. `bound_by` names what fixed the size."""

    side: int
    quantity: float
    stop_distance: float
    target_distance: float | None
    confidence: float
    risk_amount: float
    bound_by: str


class Refused(NamedTuple):
    """No permission: the check that failed, its limit, and the value that broke it."""

    check: str
    limit: float
    value: float
