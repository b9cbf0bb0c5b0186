"""What one strategy instance is made of, resolved from the run file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nautilus_trader.model import BarType, CryptoPerpetual, CurrencyPair

from actors.bar_time import length_ns
from actors.state_file import StateFile
from configs.trading import EntryConfig, StopConfig
from strategies.book import UnderWay
from strategies.holdings import CoinBook, CoinSource, Holdings
from strategies.memory import TradeMemory
from strategies.open_trade import Ladder
from strategies.order_budget import OrderBudget
from strategies.results import FillSource
from strategies.trade import PlanParams
from strategies.values import Inputs, InstrumentRules, Intent, Limits, RiskLimits, View

__all__ = ["Instrument", "LiveDuty", "StrategySetup"]

Instrument = CryptoPerpetual | CurrencyPair


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveDuty:
    """What a strategy is given at a real venue: whether it may enter, and where it remembers its trade.

    `may_enter` False: it looks on; no order is sent, changed or cancelled, not for protection either.

    `fills` is whom to ask what its orders have come to (None: nobody knows).
    `closing_stop`: whether the venue knows a stop that closes the whole position, whatever its size (the
    sandbox does not: there the stop is resized). On spot `holdings` says what is held, which the engine does
    not know after a restart, `coin_fills` is whom to ask for own fills, and
    `coins` is the account's book of all that is held. Without a quote for `stale_quote_ns` nothing is entered
    (None: never mind), nor on a bar heard `stale_bar_secs` after its close; the market that a rehearsal
    `replays` may lie in the past. `budget` is the account's, one object for all of its strategies.
    """

    may_enter: bool
    memory: StateFile[TradeMemory] | None
    fills: FillSource | None = None
    closing_stop: bool = True
    holdings: Holdings | None = None
    coin_fills: CoinSource | None = None
    coins: CoinBook | None = None
    stale_quote_ns: int | None = None
    stale_bar_secs: float | None = None
    replays: bool = False
    budget: OrderBudget | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategySetup:
    """Everything one strategy instance needs.

    `model` is the model behind `View.probability`, `models` all that it hears, `inputs` what it looks at
    beside them (its own wishes, those of the stop and of the sizing together). `ladder` holds (distance,
    share) of the targets as fractions. `add_share` is what a scale-in adds, as a share of the first quantity.
    `leverage` is the venue's (1 on spot), `margined` whether positions are held on margin. `order_tag` makes
    its client order ids its own: two characters or so, a venue takes 36 in all. `under_way` is the account's,
    one object for all of its strategies.

    `last_intent` is the time (ns UTC) and side of the last entry sent before a restart, None for none.
    `seat` is the label under which the engine knows it when it has taken over from another (None: its own).

    `reduce_only_targets`: False where the venue resizes the other reduce-only orders when one of several
    targets fills, as the simulated one does (see `strategies.orders`). `live` is None in a backtest.
    """

    label: str
    order_tag: str
    instrument: Instrument
    bar_type: BarType
    decide: Callable[[View, Any], Intent | None]
    params: Any
    model: str | None
    models: tuple[str, ...]
    inputs: Inputs
    allow_short: bool
    margined: bool
    leverage: float
    exit_on_opposite: bool
    cool_off_bars: int
    entry: EntryConfig
    stop: StopConfig
    ladder: Ladder
    reduce_only_targets: bool
    add_share: float
    plan: PlanParams
    limits: Limits
    risk: RiskLimits
    rules: InstrumentRules
    under_way: UnderWay
    last_intent: tuple[int, int] | None = None
    seat: str | None = None
    live: LiveDuty | None = None

    @property
    def may_send(self) -> bool:
        """Whether orders may leave at all."""
        return self.live is None or self.live.may_enter

    @property
    def has_closing_stop(self) -> bool:
        """Whether the stop is the venue's own, which closes the whole position."""
        return self.live is not None and self.live.closing_stop

    @property
    def holds_coins(self) -> bool:
        """Whether it trades on a real spot venue: what is held are coins, and nothing is reduce-only."""
        return self.live is not None and self.live.holdings is not None

    @property
    def bar_ns(self) -> int:
        """Length of a bar."""
        return length_ns(self.bar_type)

    @property
    def priority(self) -> int:
        """Its place among the account's strategies wherever they hear the same word (0 to 255)."""
        return 255 - int(self.order_tag) % 256

    @property
    def observes(self) -> bool:
        """Whether it waits for an `Observation` at each bar: it looks at more than one model's forecast."""
        return bool(self.inputs.features) or self.inputs.regime or len(self.models) > 1

    @property
    def ticks_per_unit(self) -> float:
        """Price ticks in one unit of the quote currency."""
        tick = self.rules.tick_size
        return float(round(1.0 / tick)) if tick < 1.0 else 1.0 / tick
