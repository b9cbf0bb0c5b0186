"""The one component that trades: decide -> authorise -> assess -> plan -> protect.

A strategy module is a pure `decide`; this class is everything around it. It hears bars, what is said about
them and the guard, asks `decide` when all it waits for is there (the bus fixes no order), and passes on what
comes of it: `permits` says whether and how large, `keeper` keeps the trade, `orders` alone sends.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from nautilus_trader.model import Bar, BarType, OmsType, StrategyId
from nautilus_trader.trading import Strategy, StrategyConfig

from actors.bar_time import closed_at, length_ns
from actors.faults import fail_loud
from actors.messages import (
    COMMAND_TOPIC,
    ORDER_TOPIC,
    RISK_MODE_TOPIC,
    Command,
    Forecast,
    Mode,
    Observation,
    OrderTold,
    RiskMode,
    forecast_topic,
    observation_topic,
)
from actors.unkept import Unkept
from models.regime import Regime
from strategies import trade
from strategies.coin_keeper import LeftOver
from strategies.entries import rest
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.live_care import LiveCare
from strategies.orders import EXIT, OrderDesk
from strategies.permits import Permits
from strategies.results import Result
from strategies.setup import Instrument, StrategySetup
from strategies.values import Approved, Intent, View

__all__ = ["StrategySetup", "TradingStrategy"]

_ATR = "atr_pct_14"
_NOTHING: Mapping[str, float] = {}


@fail_loud
class TradingStrategy(Strategy):
    """Trades one instrument by one `decide`."""

    def __new__(cls, setup: StrategySetup) -> "TradingStrategy":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, _engine_config(setup))  # type: ignore[call-arg]

    def __init__(self, setup: StrategySetup) -> None:
        super().__init__(_engine_config(setup))
        self.component_name = setup.label
        self.failure: BaseException | None = None
        self._setup = setup
        self._instrument = str(setup.instrument.id)
        self._units = 10.0**setup.instrument.price_precision
        self._orders = OrderDesk(self, setup)
        self._journal = Journal(self, setup.label, self._instrument)
        self._permits = Permits(self, setup)
        self._keeper = TradeKeeper(self, setup, self._orders, self._journal, self._permits)
        self.care = None if setup.live is None else self._care(setup)
        self._is_deaf = self.care is not None  # until it has adopted what the venue has
        self._observes = setup.observes
        self._models = setup.models
        self._bar_ns = length_ns(setup.bar_type)
        self._bars = 0
        self._ts = 0
        self._bar: Bar | None = None
        self._forecasts: dict[str, float] = {}
        self._forecasts_ts = 0
        self._observation: Observation | None = None
        self._is_step_due = False

    def _care(self, setup: StrategySetup) -> LiveCare:
        assert setup.live is not None
        return LiveCare(self, setup, setup.live, self._orders, self._journal, self._keeper, self._permits)

    @property
    def instrument(self) -> Instrument:
        """What it trades."""
        return self._setup.instrument

    @property
    def may_send(self) -> bool:
        """Whether it may send orders at all."""
        return self._setup.may_send

    @property
    def bar_type(self) -> BarType:
        """The bars it trades on."""
        return self._setup.bar_type

    @property
    def roles(self) -> Mapping[str, str]:
        """What each of its client order ids was for: entry, add, stop, target, exit or anchor."""
        return self._orders.roles

    # -- what it hears -------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Follow bars, the guard, and what is said about the instrument."""
        trade.warm_up()
        self.subscribe_bars(self._setup.bar_type)
        # the bus calls equals in an order that changes from run to run, and a word may make several act
        self.subscribe_topic(RISK_MODE_TOPIC, self.on_risk_mode, priority=self._setup.priority)
        if self._models:
            self.subscribe_topic(forecast_topic(self._instrument), self.on_forecast)
        if self._observes:
            self.subscribe_topic(observation_topic(self._instrument), self.on_observation)
        if self.care is not None:
            self.subscribe_quotes(self._setup.instrument.id)
            if self._setup.margined:
                self.subscribe_mark_prices(self._setup.instrument.id)
            self.subscribe_topic(COMMAND_TOPIC, self.on_command)
            self._is_deaf = False
            self.care.start()

    def on_care(self, event: Any) -> None:
        """Live: look again, whatever event was lost and whatever else has failed."""
        del event
        if self.care is not None:
            self.care.tick()

    def on_instrument(self, instrument: Any) -> None:
        """Live: the venue's rules were asked for anew."""
        del instrument
        if self.care is not None and not self._is_deaf:
            self.care.new_rules()

    def on_historical_trades(self, trades: Any) -> None:
        """Live: a price was asked for, before the first quote."""
        if trades and self.care is not None and not self._is_deaf:
            self.care.priced()

    def on_command(self, message: object) -> None:
        """Live: an operator lets entries in again."""
        if self.care is not None and isinstance(message, Command) and message.name in ("resume", "reset"):
            self.care.gate.resume()

    def on_stop(self) -> None:
        """Leave nothing unsaid; live, begin nothing more that would go unrecorded where all is well."""
        self._journal.catch_up()
        if self.care is not None and self.is_quiet:
            self.clock.cancel_timer("care")

    def on_bar(self, bar: Bar) -> None:
        """Look after what is open, then decide if all that the strategy waits for is already there."""
        ts = closed_at(bar.ts_event, self._bar_ns)
        if ts <= self._ts:
            return  # live: heard before, or after one that is newer
        if self.care is not None:
            self.care.gate.bar_heard(ts)
        if self._is_step_due:
            self._carry_on(math.nan)  # the last bar's observation never came
        self._bars += 1
        self._bar = bar
        self._ts = ts
        if self._keeper.is_needed:
            self._attend()
        if self._observes:
            if self._observation is not None and self._observation.ts_event == self._ts:
                self._observed(self._observation)
        elif not self._models:
            self._decide(_NOTHING, _NOTHING, None)
        elif self._forecasts_ts == self._ts:
            self._decide(self._forecasts, _NOTHING, None)

    def on_forecast(self, message: object) -> None:
        """Keep the newest bar's forecasts, one a model; decide if that is all the strategy waits for."""
        if not isinstance(message, Forecast):
            raise TypeError(f"forecast topic carries Forecast only, got {type(message).__name__}")
        if message.model not in self._models or message.ts_event < self._forecasts_ts:
            return
        if message.ts_event > self._forecasts_ts:
            self._forecasts, self._forecasts_ts = {}, message.ts_event
        elif message.model in self._forecasts:
            return
        self._forecasts[message.model] = message.probability
        if message.ts_event == self._ts and not self._observes:
            self._decide(self._forecasts, _NOTHING, None)

    def on_observation(self, message: object) -> None:
        """Keep the newest bar's observation, one a bar; decide if its bar has already been seen."""
        if not isinstance(message, Observation):
            raise TypeError(f"observation topic carries Observation only, got {type(message).__name__}")
        if self._observation is not None and message.ts_event <= self._observation.ts_event:
            return
        self._observation = message
        if message.ts_event == self._ts:
            self._observed(message)

    def on_risk_mode(self, message: object) -> None:
        """Keep the guard's newest word; one that forbids new risk takes a resting entry back at once."""
        if not isinstance(message, RiskMode):
            raise TypeError(f"risk mode topic carries RiskMode only, got {type(message).__name__}")
        if not self._permits.hear(message) or message.lets_rest:
            return
        self._keeper.entry.withdraw(message.mode.lower())
        is_in = self._keeper.trade is not None or self._keeper.entry.pending is not None
        if message.mode == Mode.HALTED and message.flatten and is_in:
            self._keeper.exit("halted")

    # -- bar by bar ----------------------------------------------------------------------------------------

    def _attend(self) -> None:
        keeper = self._keeper
        keeper.see_bar(self._bars, self._ts, self._close)
        keeper.entry.attend()
        if keeper.trade is None:
            if keeper.recheck:
                keeper.protect()
        elif self._observes and self._setup.plan.trail_atr > 0.0:
            self._is_step_due = True  # the plan needs this bar's ATR
        else:
            keeper.carry_on(math.nan)

    def _carry_on(self, atr: float) -> None:
        self._is_step_due = False
        self._keeper.carry_on(atr)

    def _observed(self, observation: Observation) -> None:
        if self._is_step_due:
            self._carry_on(observation.features.get(_ATR, math.nan) / 100.0 * self._close)
        heard = self._forecasts if self._forecasts_ts == self._ts else _NOTHING
        forecasts = {model: heard.get(model, math.nan) for model in self._models}
        self._decide(forecasts, observation.features, observation.regime)

    def _decide(
        self, forecasts: Mapping[str, float], features: Mapping[str, float], regime: Regime | None
    ) -> None:
        setup, keeper = self._setup, self._keeper
        probability = math.nan if setup.model is None else forecasts.get(setup.model, math.nan)
        side, close = keeper.side, self._close
        view = View(self._ts, close, probability, side, setup.allow_short, forecasts, features, regime)
        intent = setup.decide(view, setup.params)
        if intent is None or self.failure is not None:
            return
        keeper.see_bar(self._bars, self._ts, close)
        if keeper.is_idle:
            self._enter(intent, forecasts, features, regime)
        elif setup.exit_on_opposite:
            self._leave(intent, forecasts)

    def _leave(self, intent: Intent, forecasts: Mapping[str, float]) -> None:
        """An intent against what is open, or against an entry under way, ends it."""
        opened, pending = self._keeper.trade, self._keeper.entry.pending
        if opened is not None:
            if intent.side != opened.side and opened.exit_reason is None:
                self._journal.decision(intent, forecasts)
                self._keeper.exit("opposite")
        elif pending is not None and intent.side != pending.approved.side and not pending.is_withdrawn:
            self._journal.decision(intent, forecasts)
            self._keeper.entry.withdraw("opposite")

    def _enter(
        self,
        intent: Intent,
        forecasts: Mapping[str, float],
        features: Mapping[str, float],
        regime: Regime | None,
    ) -> None:
        setup, price, resting = self._setup, self._close, None
        if setup.entry.order != "market":
            resting = rest(intent.side, price, setup.entry, setup.ticks_per_unit)
            price = self._orders.price(resting.ticks)
        verdict = self._keeper.refuses() or self._permits.entry(
            intent, ts_event=self._ts, close=self._close, price=price, features=features, regime=regime
        )
        self._journal.decision(intent, forecasts, verdict)
        if isinstance(verdict, Approved):
            self._keeper.entry.enter(intent, verdict, resting)

    def stand_still(self, reason: str) -> None:
        """Live: let nothing new in from now on."""
        if self.care is not None:
            self.care.gate.stand_still(reason)

    def pause(self, reason: str, secs: float | None = None) -> None:
        """Live: let nothing new in for so long, or until an operator resumes; only a flag is set."""
        if self.care is not None:
            self.care.gate.pause(reason, secs)

    def lift(self, reason: str) -> None:
        """Live: what a pause was for is over."""
        if self.care is not None:
            self.care.gate.lift(reason)

    def resume(self) -> None:
        """Live: an operator's word: entries may be sent again."""
        if self.care is not None:
            self.care.gate.resume()

    def inherit_pauses(self, other: "TradingStrategy") -> None:
        """Live: enter nothing while the other one, whose place it takes again, would not."""
        if self.care is not None and other.care is not None:
            self.care.gate.inherit(other.care.gate)

    @property
    def is_ready_to_hand_over(self) -> bool:
        """Live: the venue has answered everything, and no entry and no exit is under way."""
        return (
            self._orders.is_settled
            and self._keeper.entry.pending is None
            and not self._orders.is_working(EXIT)
            and not self._is_step_due
        )

    @property
    def standing(self) -> dict[str, Any]:
        """Live: what an operator wants to know of it, as plain values."""
        opened, stop, lots = self._keeper.trade, self._orders.stop(), self._keeper.held_lots()
        return {
            "label": self._setup.label,
            "instrument": self._instrument,
            "quantity": self._orders.size(lots),
            "entry_price": self._orders.entry_price() if lots else None,
            "stop": None if stop is None else self._orders.price(stop.ticks),
            "is_covered": lots == 0 or self._orders.is_covered(lots),
            "targets": [self._orders.price(target.ticks) for target in self._orders.targets().values()],
            "leaving": None if opened is None else opened.exit_reason,
            "entry_under_way": self._keeper.entry.pending is not None,
            "paused": None if self.care is None else self.care.gate.reason,
            "bars": self._bars,
        }

    @property
    def is_safe(self) -> bool:
        """Live: nothing under way, and what is held is protected."""
        return self.care is None or self.care.is_safe

    @property
    def is_quiet(self) -> bool:
        """Live: safe, and every result told."""
        return self.care is None or self.care.is_quiet

    @property
    def unkept(self) -> Unkept | None:
        """Live: whether the disk refuses what must outlive a restart, or has."""
        return None if self.care is None else self.care.unkept

    @property
    def is_holding(self) -> bool:
        """Whether a position is open."""
        return self._keeper.held_lots() != 0

    @property
    def left_over(self) -> LeftOver | None:
        """Live: coins that a coarser step keeps from being covered and sold; None without such."""
        return None if self.care is None else self.care.left_over

    def venue_has(self, amount: float, waiting: Collection[str], asked_at: int | None = None) -> None:
        """Live: what the venue itself says it holds, and which orders wait there; only noted."""
        if self.care is not None:
            self.care.word.heard(amount, waiting, asked_at)

    @property
    def venue_amount(self) -> float | None:
        """Live: what the venue says it holds where the engine says something else; None where they agree."""
        return None if self.care is None else self.care.word.amount

    @property
    def wants_venue(self) -> bool:
        """Live: whether the venue should be asked again soon."""
        return self.care is not None and self.care.word.is_wanted

    @property
    def awaits_result(self) -> bool:
        """Live: whether a trade is over whose result is not known yet."""
        return self.care is not None and self.care.awaits_result

    @property
    def result(self) -> Result | None:
        """Live: what the newest trade has earned, where the venue had to be asked for it."""
        return None if self.care is None else self.care.results.newest

    def withdraw(self, reason: str) -> None:
        """Live: take back an entry under way."""
        self._keeper.entry.withdraw(reason)

    def leave(self, reason: str) -> None:
        """Live: close the position at the market; what protects it stays until it is gone."""
        self._keeper.exit(reason)

    @property
    def _close(self) -> float:
        if self._bar is None:
            return math.nan
        # as_double() is one ulp off for a quarter of all prices
        return round(self._bar.close.as_double() * self._units) / self._units

    # -- events of its orders ------------------------------------------------------------------------------

    def on_order_event(self, event: Any) -> None:
        """Live: every event, after the handler that is its own, for those who keep the record."""
        if self.care is not None:
            role = self.roles.get(str(event.client_order_id), "")
            told = OrderTold(strategy=self._setup.label, role=role, event=event)
            self.publish_message(ORDER_TOPIC, told)

    def on_order_filled(self, event: Any) -> None:
        """A fill changes the position: protection follows at once, whatever else fails."""
        if self._is_deaf:
            return
        try:
            self._keeper.filled(event)
        except BaseException:
            self._keeper.last_resort()
            raise
        if self.care is not None:
            self.care.results.filled(str(event.client_order_id))

    def on_order_accepted(self, event: Any) -> None:
        """What happened to the position while the venue had not answered is made good now."""
        if not self._is_deaf:
            self._keeper.changed(event)

    def on_order_updated(self, event: Any) -> None:
        """A moved or resized order counts from now."""
        if not self._is_deaf:
            self._keeper.changed(event)

    def on_order_canceled(self, event: Any) -> None:
        """Protection that is gone while the position is not is placed again."""
        if not self._is_deaf:
            self._keeper.changed(event)
            if self.care is not None:
                self.care.closed(event.client_order_id)

    def on_order_expired(self, event: Any) -> None:
        """As a cancel."""
        self.on_order_canceled(event)

    def on_order_rejected(self, event: Any) -> None:
        """A refused stop flattens the position; a refused target or exit is tried again on the next bar."""
        if not self._is_deaf:
            self._keeper.refused(event)

    def on_order_denied(self, event: Any) -> None:
        """As a reject, from the engine itself."""
        if not self._is_deaf:
            self._keeper.refused(event)

    def on_order_modify_rejected(self, event: Any) -> None:
        """The old level stands; it is tried again on the next bar."""
        if not self._is_deaf:
            self._keeper.unchanged(event)

    def on_order_cancel_rejected(self, event: Any) -> None:
        """The order is closed or will be; the next event settles it."""
        if not self._is_deaf:
            self._keeper.unchanged(event)

    def on_position_closed(self, event: Any) -> None:
        """Withdraw what protected it, and say how it ended."""
        if not self._is_deaf:
            self._keeper.position_closed(event)


def _engine_config(setup: StrategySetup) -> StrategyConfig:
    # venues take client order ids of 36 characters: 22 are the engine's, the rest the tag and a count
    return StrategyConfig(
        strategy_id=StrategyId(f"{setup.seat or setup.label}-001"),
        order_id_tag=setup.order_tag,
        oms_type=OmsType.NETTING if setup.holds_coins else None,  # else each sale opens a short position
        # live: orders and the position found at the start are this strategy's
        external_order_instrument_ids=None if setup.live is None else [setup.instrument.id],
    )
