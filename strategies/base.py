"""The one component that trades: decide -> assess -> plan -> protect, and the sole submitter of orders.

A strategy module is a pure `decide`; this class is everything around it. On each closed bar an open trade's
plan is carried on; when the bar's forecast is there too (the bus fixes no order between the two) `decide` is
asked. Orders and positions are read from the engine's cache, never kept here a second time. Whatever happens
to an order, the protection is matched to the position again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nautilus_trader.model import (
    Bar,
    BarType,
    ClientOrderId,
    CryptoPerpetual,
    CurrencyPair,
    OrderSide,
    OrderStatus,
    Price,
    StrategyId,
    TriggerType,
)
from nautilus_trader.trading import Strategy, StrategyConfig

from actors.faults import fail_loud
from actors.messages import AUDIT_TOPIC, AuditRecord, Forecast, forecast_topic
from strategies import trade
from strategies.protect import Cancel, Modify, Place, WorkingOrder, match_protection
from strategies.risk import assess
from strategies.values import Account, Approved, InstrumentRules, Intent, Limits, Refused, View

__all__ = ["StrategySetup", "TradingStrategy"]

_SETTLED = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.TRIGGERED)


@dataclass(frozen=True, kw_only=True, slots=True)
class StrategySetup:
    """Everything one strategy instance needs, resolved from the run file.

    `stop_distance` and `target_distance` are fractions of the entry price (None: no target), `model` the
    forecasts it waits for (None: it decides on bars alone). `leverage` is the venue's (1 on
    spot), `margined` whether positions are held on margin.
    """

    label: str
    instrument: CryptoPerpetual | CurrencyPair
    bar_type: BarType
    decide: Callable[[View, Any], Intent | None]
    params: Any
    model: str | None
    allow_short: bool
    margined: bool
    leverage: float
    exit_on_opposite: bool
    cool_off_bars: int
    stop_distance: float
    target_distance: float | None
    plan: trade.PlanParams
    limits: Limits
    rules: InstrumentRules


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
        self.roles: dict[str, str] = {}
        self._setup = setup
        self._id = setup.instrument.id
        self._instrument = str(setup.instrument.id)
        self._digits = setup.instrument.price_precision
        self._size_digits = setup.instrument.size_precision
        self._tick = setup.rules.tick_size
        self._ticks_per_unit = round(1.0 / self._tick) if self._tick < 1.0 else 1.0 / self._tick
        self._units = 10.0**self._digits
        self._bars = 0
        self._ts = 0
        self._bar: Bar | None = None
        self._forecast: Forecast | None = None
        self._plan: trade.PlanState | None = None
        self._approved: Approved | None = None
        self._orders: dict[str, ClientOrderId] = {}
        self._exit_reason: str | None = None
        self._flat_since = -setup.cool_off_bars
        self._recheck = False

    # -- market data ---------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Follow bars and forecasts."""
        self.subscribe_bars(self._setup.bar_type)
        if self._setup.model is not None:
            self.subscribe_topic(forecast_topic(self._instrument), self.on_forecast)

    def on_bar(self, bar: Bar) -> None:
        """Carry an open trade on, then decide if the bar's forecast is already there."""
        self._bars += 1
        self._bar = bar
        self._ts = bar.ts_event
        if self._plan is not None:
            self._carry_on(self._plan)
        elif self._recheck:
            self._protect()
        if self._setup.model is None:
            self._decide(math.nan)
        elif self._forecast is not None and self._forecast.ts_event == self._ts:
            self._decide(self._forecast.probability)

    def on_forecast(self, message: object) -> None:
        """Keep the newest forecast of our model, one a bar; decide if its bar has already been seen."""
        if not isinstance(message, Forecast):
            raise TypeError(f"forecast topic carries Forecast only, got {type(message).__name__}")
        known = self._forecast
        if message.model != self._setup.model or (known is not None and message.ts_event <= known.ts_event):
            return
        self._forecast = message
        if message.ts_event == self._ts:
            self._decide(message.probability)

    # -- decide and assess ---------------------------------------------------------------------------------

    def _decide(self, probability: float) -> None:
        side = self._plan.side if self._plan is not None else 0
        view = View(self._ts, self._close, probability, side, self._setup.allow_short)
        intent = self._setup.decide(view, self._setup.params)
        if intent is None or self.failure is not None:
            return
        if self._plan is not None:
            if intent.side != side and self._setup.exit_on_opposite and self._exit_reason is None:
                self._audit_intent(intent, probability)
                self._exit("opposite")
        elif not any(self._working(role) for role in self._orders):
            # an order still under way, even a cancelled one, could act on the next position
            self._audit_intent(intent, probability)
            self._enter(intent)

    def _enter(self, intent: Intent) -> None:
        verdict = self._assess(intent)
        if isinstance(verdict, Refused):
            self._audit("refusal", check=verdict.check, limit=verdict.limit, value=verdict.value)
            return
        self._audit(
            "approval",
            side=verdict.side,
            quantity=verdict.quantity,
            bound_by=verdict.bound_by,
            risk_amount=verdict.risk_amount,
        )
        self._approved = verdict
        self._submit_market("entry", verdict.side, verdict.quantity, reduce_only=False)

    def _assess(self, intent: Intent) -> Approved | Refused:
        setup = self._setup
        waited = self._bars - self._flat_since
        if waited < setup.cool_off_bars:
            return Refused("cool_off_bars", float(setup.cool_off_bars), float(waited))
        if intent.side < 0 and not setup.allow_short:
            return Refused("allow_short", 0.0, float(intent.side))
        return assess(
            intent,
            price=self._close,
            stop_distance=setup.stop_distance,
            target_distance=setup.target_distance,
            account=self._account(),
            limits=setup.limits,
            rules=setup.rules,
        )

    def _account(self) -> Account:
        # not portfolio.account(): it copies the account's whole history, ever slower as a run goes on
        venue = self._id.venue
        quote = self._setup.instrument.quote_currency
        equity = self.portfolio.equity(venue).get(quote)
        exposures = self.portfolio.net_exposures(venue)
        reserved = self._reserved()
        if equity is None or exposures is None or reserved is None:
            return Account(0.0, 0.0, 1.0)  # no account or no prices, no entry: an equity of 0 is refused
        held = exposures[quote].as_double() if quote in exposures else 0.0
        free = equity.as_double() - reserved
        # on spot the engine's equity in the quote currency is the cash alone; the coins count, too
        coins = 0.0 if self._setup.margined else held
        return Account(equity.as_double() + coins, free, self._setup.leverage, held)

    def _reserved(self) -> float | None:
        """Quote currency that open positions and orders tie up; None while there is no account."""
        venue = self._id.venue
        if self._setup.margined:
            margins = self.portfolio.instrument_initial_margins(venue)
            return None if margins is None else sum(m.as_double() for m in margins.values())
        locked = self.portfolio.balances_locked(venue)
        quote = self._setup.instrument.quote_currency
        return None if locked is None else sum(m.as_double() for c, m in locked.items() if c == quote)

    # -- the plan ------------------------------------------------------------------------------------------

    def _carry_on(self, plan: trade.PlanState) -> None:
        self._plan, action = trade.step(plan, self._close, self._setup.plan, self._ticks_per_unit)
        if action == trade.MOVE_STOP:
            self._audit("action", action="move_stop", price=self._price(self._plan.stop_ticks))
            self._protect()
        elif self._recheck and self._working("exit") is None:
            self._protect()
        if self._exit_reason is not None:
            self._exit(self._exit_reason)  # an exit that was refused is tried again on every bar
        elif action == trade.EXIT_TIME:
            self._exit("time")

    def _exit(self, reason: str) -> None:
        """Leave at the market. Stop and target stay until the position is gone: never naked in between."""
        quantity = self._position()
        if quantity == 0.0:
            return
        self._exit_reason = reason
        if self._working("exit") is None:
            self._audit("action", action="exit", reason=reason, price=self._close)
            self._submit_market("exit", -1 if quantity > 0 else 1, abs(quantity), reduce_only=True)

    # -- protect -------------------------------------------------------------------------------------------

    def _protect(self) -> None:
        """Make the working orders match the position; safe to call at any time."""
        self._recheck = False
        quantity = self._position()
        stop, target = self._working("stop"), self._working("target")
        for action in match_protection(quantity, self._plan, stop, target):
            if isinstance(action, Place):
                self._place(action)
            elif isinstance(action, Modify):
                self._modify(action)
            elif isinstance(action, Cancel):
                self.cancel_order(ClientOrderId(action.order_id))
        if quantity == 0.0 and self._plan is not None and "entry" not in self._orders:
            self._closed()

    def _closed(self) -> None:
        # a stop or target ends the trade inside the bar still to come, a decided exit at the last close
        self._flat_since = self._bars + (self._exit_reason is None)
        self._plan = None
        self._approved = None
        self._exit_reason = None

    def _place(self, action: Place) -> None:
        side = OrderSide.BUY if action.side > 0 else OrderSide.SELL
        quantity = self._setup.instrument.make_qty(action.quantity)
        price = self._engine_price(action.ticks)
        if action.role == "stop":
            order = self.order_factory.stop_market(
                self._id, side, quantity, price, trigger_type=TriggerType.LAST_PRICE, reduce_only=True
            )
        else:
            order = self.order_factory.limit(self._id, side, quantity, price, reduce_only=True)
        self._submit(order, action.role)

    def _modify(self, action: Modify) -> None:
        order = self.cache.order(ClientOrderId(action.order_id))
        filled = order.filled_qty.as_double() if order is not None else 0.0
        quantity = self._setup.instrument.make_qty(action.quantity + filled)
        price = self._engine_price(action.ticks)
        if action.role == "stop":
            self.modify_order(ClientOrderId(action.order_id), quantity=quantity, trigger_price=price)
        else:
            self.modify_order(ClientOrderId(action.order_id), quantity=quantity, price=price)

    # -- orders --------------------------------------------------------------------------------------------

    def _submit_market(self, role: str, side: int, quantity: float, *, reduce_only: bool) -> None:
        order_side = OrderSide.BUY if side > 0 else OrderSide.SELL
        made = self._setup.instrument.make_qty(quantity)
        order = self.order_factory.market(self._id, order_side, made, reduce_only=reduce_only)
        self._submit(order, role)

    def _submit(self, order: Any, role: str) -> None:
        # known before it is sent: its events may arrive inside the call
        self._orders[role] = order.client_order_id
        self.roles[str(order.client_order_id)] = role
        self.submit_order(order)

    def on_order_filled(self, event: Any) -> None:
        """A fill opens the plan or changes the position; protection follows at once."""
        role = self._audit_order(event, quantity=str(event.last_qty), price=str(event.last_px))
        if role == "entry":
            self._entered(event)
        self._release(event)
        self._protect()

    def _entered(self, event: Any) -> None:
        if self._plan is None and self._approved is not None:
            entry = round(event.last_px.as_double() * self._units) / self._units
            self._plan = trade.open_plan(
                self._approved.side,
                entry,
                self._approved.stop_distance,
                self._approved.target_distance,
                self._ticks_per_unit,
            )
            self._audit(
                "action",
                action="open_plan",
                entry=entry,
                stop=self._price(self._plan.stop_ticks),
                target=self._price(self._plan.target_ticks) if self._plan.target_ticks else None,
                confidence=self._approved.confidence,
            )

    def on_order_accepted(self, event: Any) -> None:
        """What happened to the position while the venue had not answered is made good now."""
        self._audit_order(event)
        self._protect()

    def on_order_updated(self, event: Any) -> None:
        """A moved or resized order counts from now."""
        self._audit_order(event)
        self._protect()

    def on_order_canceled(self, event: Any) -> None:
        """Protection that is gone while the position is not is placed again."""
        self._audit_order(event)
        self._release(event)
        self._protect()

    def on_order_expired(self, event: Any) -> None:
        """As a cancel."""
        self.on_order_canceled(event)

    def on_order_rejected(self, event: Any) -> None:
        """A refused stop flattens the position; a refused target or exit is tried again on the next bar."""
        self._refused_order(event)

    def on_order_denied(self, event: Any) -> None:
        """As a reject, from the engine itself."""
        self._refused_order(event)

    def on_order_modify_rejected(self, event: Any) -> None:
        """The old level stands; it is tried again on the next bar."""
        self._audit_order(event, reason=str(event.reason))
        self._recheck = True

    def on_order_cancel_rejected(self, event: Any) -> None:
        """The order is closed or will be; the next event settles it."""
        self._audit_order(event, reason=str(event.reason))
        self._recheck = True

    def on_position_closed(self, event: Any) -> None:
        """Withdraw what protected it."""
        self._protect()

    def _refused_order(self, event: Any) -> None:
        role = self._audit_order(event, reason=str(event.reason))
        self._release(event)
        self._recheck = True
        if role == "stop":
            entry = self._orders.get("entry")
            if entry is not None:
                self.cancel_order(entry)
            self._exit("stop_refused")

    def _release(self, event: Any) -> None:
        """Forget the role of an order that is closed."""
        order = self.cache.order(event.client_order_id)
        role = self.roles.get(str(event.client_order_id))
        closed = order is None or order.is_closed
        if role is not None and closed and self._orders.get(role) == event.client_order_id:
            del self._orders[role]

    # -- what the engine knows -----------------------------------------------------------------------------

    @property
    def _close(self) -> float:
        if self._bar is None:
            return math.nan
        # as_double() is one ulp off for a quarter of all prices
        return round(self._bar.close.as_double() * self._units) / self._units

    def _position(self) -> float:
        # the engine adds positions up in binary; without the dust equal sizes are equal
        return round(float(self.portfolio.net_position(self._id)), self._size_digits)

    def _working(self, role: str) -> WorkingOrder | None:
        client_order_id = self._orders.get(role)
        order = self.cache.order(client_order_id) if client_order_id is not None else None
        if order is None or order.is_closed:
            return None
        level = order.trigger_price if role == "stop" else getattr(order, "price", None)
        return WorkingOrder(
            order_id=str(client_order_id),
            ticks=trade.to_ticks(level.as_double(), self._ticks_per_unit) if level is not None else 0,
            open_quantity=order.leaves_qty.as_double(),
            settled=order.status in _SETTLED,
        )

    def _price(self, ticks: int) -> float:
        return round(ticks * self._tick, self._digits)

    def _engine_price(self, ticks: int) -> Price:
        return Price(self._price(ticks), self._digits)

    # -- audit ---------------------------------------------------------------------------------------------

    def _audit_intent(self, intent: Intent, probability: float) -> None:
        if not math.isnan(probability):
            self._audit("forecast", model=self._setup.model, probability=probability)
        self._audit("intent", side=intent.side, confidence=intent.confidence, reasons=list(intent.reasons))

    def _audit_order(self, event: Any, **detail: Any) -> str | None:
        role = self.roles.get(str(event.client_order_id))
        name = type(event).__name__
        self._audit("order", event=name, role=role, client_order_id=str(event.client_order_id), **detail)
        return role

    def _audit(self, kind: str, **detail: Any) -> None:
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component=self.component_name,
            instrument=self._instrument,
            kind=kind,
            detail=detail,
        )
        self.publish_message(AUDIT_TOPIC, record)


def _engine_config(setup: StrategySetup) -> StrategyConfig:
    # one strategy per instrument: its symbol makes client order ids that are short and never clash
    tag = str(setup.instrument.id.symbol).replace("-", "")
    return StrategyConfig(strategy_id=StrategyId(f"{setup.label}-001"), order_id_tag=tag)
