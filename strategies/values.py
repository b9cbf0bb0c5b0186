"""The plain values that pass between deciding, sizing, planning and protecting. No engine types in here."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from configs.trading import RegimeSizing
from models.regime import Regime

__all__ = [
    "Account",
    "Approved",
    "Book",
    "Headroom",
    "Inputs",
    "InstrumentRules",
    "Intent",
    "Limits",
    "Refused",
    "RiskLimits",
    "RiskView",
    "View",
]


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

    `equity` is marked to market, coins held on spot included; `free_margin` is what open positions, working
    orders and entries under way leave; `notional` is that of all positions, of every instrument, long and
    short added up, entries under way included (`Book.gross`).
    """

    equity: float
    free_margin: float
    leverage: float
    notional: float = 0.0


class Book(NamedTuple):
    """What the account holds and has under way, by instrument, in quote currency.

    `positions`: signed notional, entries under way included. `risks`: what is lost when the stop is hit,
    costs included, entries under way included; its sign does not matter, and a position without an entry
    here counts with its whole notional. `entries_pending`: entry orders under way.
    """

    positions: Mapping[str, float] = {}
    risks: Mapping[str, float] = {}
    open_orders: int = 0
    entries_pending: Mapping[str, int] = {}

    @property
    def gross(self) -> float:
        """Long and short notional added up."""
        return sum(abs(notional) for notional in self.positions.values())

    @property
    def net(self) -> float:
        """Long notional less short."""
        return sum(self.positions.values())

    def on_side(self, side: int) -> float:
        """Notional of the long (`side` +1) or the short (-1) positions, not negative; NaN if any is NaN."""
        return sum(side * n for n in self.positions.values() if not side * n < 0.0)

    def risk_of(self, instrument: str) -> float:
        """The amount at risk in one instrument: its whole notional while its stop is not known."""
        return abs(self.risks.get(instrument, self.positions.get(instrument, 0.0)))


class Limits(NamedTuple):
    """Sizing and limits of one strategy, from the run file. Shares are of equity, costs of notional.

    `entry_cost` and `exit_cost` (fee and slippage) are counted into the risk of a trade. `target_volatility`
    is annual; `bars_per_year` scales a one-bar volatility to it.
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
    max_risk_per_trade: float = 0.02
    target_volatility: float = 0.2
    bars_per_year: float = 525_600.0
    kelly_share: float = 0.25
    kelly_cap: float = 0.02
    regime: RegimeSizing | None = None


class RiskLimits(NamedTuple):
    """Limits of the whole account, from the run file. Shares are of equity, times in nanoseconds.

    `symbols` are the instruments that may be traded; a risk mode older than `mode_max_age` counts as PAUSED.
    """

    symbols: frozenset[str]
    max_positions: int
    max_positions_per_symbol: int
    max_open_orders: int
    price_sanity: float
    max_gross: float
    max_net: float
    max_side: float
    max_cluster_risk: float
    mode_max_age: int


class RiskView(NamedTuple):
    """The guard's last word as one instrument sees it.

    `blocked` is why this instrument may not enter (None: it may), `cluster` the instruments that move
    together with it, `reasons` what holds the account's risk down.
    """

    ts_event: int
    mode: str
    multiplier: float
    blocked: str | None = None
    cluster: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class Headroom(NamedTuple):
    """What the account's limits leave to one more entry: an intent that passed the checks has one.

    `multiplier` is the risk mode's. `notional_caps` and `risk_caps` bound the additional notional and the
    additional amount at risk, in quote currency, by name. `held` and `held_risk` are this instrument's
    notional and amount at risk already, which count against the limits of one position.
    """

    multiplier: float = 1.0
    notional_caps: Mapping[str, float] = {}
    risk_caps: Mapping[str, float] = {}
    held: float = 0.0
    held_risk: float = 0.0


class Approved(NamedTuple):
    """Permission to enter: only this reaches the submitter.

    `bound_by` names what fixed the size. `factors` are what the wanted size was multiplied by: confidence,
    mode, regime, correlation. `risk_amount` is lost at the stop, costs included, in quote currency.
    """

    side: int
    quantity: float
    stop_distance: float
    target_distance: float | None
    confidence: float
    risk_amount: float
    bound_by: str
    factors: Mapping[str, float] = {}


class Refused(NamedTuple):
    """No permission: the check that failed, its limit, and the value that broke it."""

    check: str
    limit: float
    value: float
