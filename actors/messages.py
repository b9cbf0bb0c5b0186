"""Everything that travels on the bus: frozen, keyword-only values published with `publish_message`."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from models.regime import Regime

__all__ = [
    "AUDIT_TOPIC",
    "COMMAND_TOPIC",
    "ENTRY_QUOTAS",
    "ORDER_TOPIC",
    "RISK_MODE_TOPIC",
    "SENTIMENT_TOPIC",
    "TRADING_TOPIC",
    "WHILE_AWAY",
    "AuditRecord",
    "Command",
    "EntrySubmitted",
    "Forecast",
    "Mode",
    "Observation",
    "OrderRefused",
    "OrderTold",
    "RiskMode",
    "Sentiment",
    "TradeClosed",
    "forecast_topic",
    "observation_topic",
]

AUDIT_TOPIC = "sextant.audit"
COMMAND_TOPIC = "sextant.command"
WHILE_AWAY = "while_away"  # why a trade ended that did so while no node was alive
ORDER_TOPIC = "sextant.order"  # OrderTold, live only
RISK_MODE_TOPIC = "sextant.risk_mode"
SENTIMENT_TOPIC = "sextant.sentiment"
ENTRY_QUOTAS = frozenset({"entries_hour", "entries_day"})
TRADING_TOPIC = "sextant.trading"  # EntrySubmitted, TradeClosed, OrderRefused: what the guard counts


def forecast_topic(instrument: str) -> str:
    """The topic on which an instrument's forecasts travel."""
    return f"sextant.forecast.{instrument}"


def observation_topic(instrument: str) -> str:
    """The topic on which an instrument's observations travel."""
    return f"sextant.observation.{instrument}"


class Forecast(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model's opinion at one bar's close.

    `probability` is that of the upper barrier being reached first, given that one of the two is, within
    `horizon_bars` after `ts_event` (nanoseconds UTC, the bar's close). It depends on bars closed by then.
    """

    instrument: str
    model: str
    ts_event: int
    horizon_bars: int
    probability: float


class Observation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the strategies on an instrument asked to see at one bar's close, after that bar's forecasts.

    `features` by name, NaN while warming up; `regime` is None while warming up or not asked for.
    """

    instrument: str
    ts_event: int
    features: Mapping[str, float]
    regime: Regime | None = None


class Sentiment(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a sentiment series (`fear_greed`, 0 to 100), known from `ts_event` on (ns UTC)."""

    series: str
    ts_event: int
    value: float


class Mode(StrEnum):
    """How much risk may be taken: as sized, less, no new entries, none until a command."""

    NORMAL = "NORMAL"
    REDUCED = "REDUCED"
    PAUSED = "PAUSED"
    HALTED = "HALTED"


class RiskMode(msgspec.Struct, frozen=True, kw_only=True):
    """The guard's word on new risk, at `ts_event` (ns UTC); exits and protection never need it.

    `multiplier` scales sizes (0 to 3), `reasons` say what holds it down. `flatten` asks for open positions to
    be closed. `blocked` names instruments that may not enter and why, `clusters` those that move together.
    """

    ts_event: int
    mode: Mode
    multiplier: float
    reasons: tuple[str, ...] = ()
    flatten: bool = False
    blocked: Mapping[str, str] = {}
    clusters: tuple[tuple[str, ...], ...] = ()

    @property
    def lets_rest(self) -> bool:
        """Whether an entry sent before may go on: also when it was itself the last that a quota allowed."""
        return self.mode in (Mode.NORMAL, Mode.REDUCED) or (
            self.mode is Mode.PAUSED and bool(self.reasons) and ENTRY_QUOTAS.issuperset(self.reasons)
        )


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """An order from outside: `pause` (no entries), `halt` (with the configured action), `flatten` (halt and
    close), `resume` (both over), `reset` (that, and the pauses, cool-downs and records of losses)."""

    ts_event: int
    name: Literal["pause", "halt", "flatten", "resume", "reset"]
    reason: str = ""


class EntrySubmitted(msgspec.Struct, frozen=True, kw_only=True):
    """A strategy has sent an entry."""

    ts_event: int
    strategy: str
    instrument: str
    side: int


class TradeClosed(msgspec.Struct, frozen=True, kw_only=True):
    """A position is flat again. `pnl` is realised, net of fees, `risk` was at stake; quote currency.

    `ended` is when (ns UTC), where it is told later than that: by the venue's clock of one that closed while
    no node was alive; 0 otherwise.
    `last_fill` is the venue's number of its newest fill: one that is told twice counts once (-1: none).
    """

    ts_event: int
    strategy: str
    instrument: str
    side: int
    pnl: float
    risk: float
    exit_reason: str
    ended: int = 0
    last_fill: int = -1


class OrderRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The venue rejected or the engine denied an order."""

    ts_event: int
    strategy: str
    instrument: str
    role: str
    reason: str


class OrderTold(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's own event of a strategy's order, after the strategy's handler for it; live only."""

    strategy: str
    role: str
    event: Any


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One decision or event, in engine time.

    `kind` is one of forecast, intent, approval, refusal, action, order, risk, sentiment; `detail` holds plain
    numbers and strings only, so that records hash the same in every run.
    """

    ts_event: int
    component: str
    instrument: str
    kind: str
    detail: dict[str, Any]
