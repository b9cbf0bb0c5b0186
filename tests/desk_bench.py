"""A live strategy's orders and keeper against a venue by hand: what is sent waits until a test answers."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from nautilus_trader.model import (
    ClientOrderId,
    InstrumentId,
    OrderSide,
    OrderStatus,
    OrderType,
    Price,
    Quantity,
)

from strategies.entries import PendingEntry
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.live_care import LiveCare
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade, open_trade
from strategies.orders import OrderDesk
from strategies.refusals import remedy
from strategies.setup import LiveDuty
from strategies.trade import PlanParams
from strategies.values import Approved, InstrumentRules
from strategies.venue_word import VenueWord

__all__ = ["BUY", "NAME", "Bench"]

NAME = "BTCUSDT-PERP.BINANCE"
BUY = OrderSide.BUY
_SECOND = 1_000_000_000
_BEGIN = 1_700_000_000 * _SECOND
_APPROVED = Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {})


class _Order(SimpleNamespace):
    """As the engine's order: its status is what the venue was last heard to say."""

    @property
    def is_closed(self) -> bool:
        return self.status in (OrderStatus.CANCELED, OrderStatus.FILLED, OrderStatus.REJECTED)


class _Event(NamedTuple):
    """What is heard of an order."""

    client_order_id: ClientOrderId
    reason: str = ""
    ts_event: int = _BEGIN


class Bench:
    """One strategy long `held` of BTC, in steps of 0.001 and ticks of 0.1; prices of about 1000."""

    def __init__(self, held: float = 0.075, step: str = "0.001") -> None:
        self.now = _BEGIN
        self.held = held
        self.sent: list[Any] = []
        self.cancelled: list[str] = []
        self.changed: list[tuple[str, float]] = []
        self.found: list[Any] = []
        self.told: list[Any] = []
        self._orders: dict[str, Any] = {}
        self.instrument = _instrument(step)
        self.strategy = self._strategy()
        self.setup = self._setup()
        self.desk = OrderDesk(self.strategy, self.setup)
        journal = Journal(self.strategy, "a", NAME)
        self.keeper = TradeKeeper(self.strategy, self.setup, self.desk, journal, SimpleNamespace())  # type: ignore[arg-type]
        self.word = VenueWord(self.strategy, NAME, self.desk, journal, self.keeper)

    def _strategy(self) -> Any:
        cache = SimpleNamespace(
            order=lambda order_id: self._orders.get(str(order_id)),
            instrument=lambda _: self.instrument,
            quote=lambda _: SimpleNamespace(
                bid_price=Price(999.9, 1), ask_price=Price(1000.1, 1), ts_init=self.now
            ),
            mark_price=lambda _: None,
            positions_open=lambda **_: [],
            orders_open=lambda **_: self.found,
        )
        return SimpleNamespace(
            cache=cache,
            clock=SimpleNamespace(timestamp_ns=lambda: self.now, set_timer_ns=lambda *_: None),
            on_care=lambda _: None,
            portfolio=SimpleNamespace(net_position=lambda _: self.held),
            order_factory=SimpleNamespace(stop_market=self._stop, market=self._market, limit=self._market),
            submit_order=self._submit,
            cancel_order=self._cancel,
            modify_order=self._change,
            query_order=lambda _: None,
            publish_message=lambda topic, message: self.told.append((topic, message)),
            component_name="a",
        )

    def _setup(self) -> Any:
        return SimpleNamespace(
            instrument=_instrument("0.001"),
            rules=InstrumentRules(0.1, 0.001, 0.001, 1000.0, 5.0),
            ticks_per_unit=10.0,
            live=SimpleNamespace(holdings=None, budget=None),
            may_send=True,
            margined=True,
            holds_coins=False,
            has_closing_stop=True,
            reduce_only_targets=True,
            order_tag="00",
            cool_off_bars=0,
            bar_ns=60 * _SECOND,
            under_way=SimpleNamespace(discard=lambda _: None, add=lambda *_: None),
            plan=PlanParams(),
            entry=None,
        )

    # -- what the strategy sends ---------------------------------------------------------------------------

    def _stop(self, _: Any, side: Any, quantity: Any, level: Any, **more: Any) -> Any:
        return self._made(side, quantity, OrderType.STOP_MARKET, trigger_price=level, **more)

    def _market(self, _: Any, side: Any, quantity: Any, *level: Any, **more: Any) -> Any:
        kind = OrderType.LIMIT if level else OrderType.MARKET
        return self._made(side, quantity, kind, price=level[0] if level else None, **more)

    def _made(
        self, side: Any, quantity: Any, kind: Any, *, client_order_id: Any, reduce_only: bool, **more: Any
    ) -> Any:
        return _Order(
            client_order_id=client_order_id,
            order_type=kind,
            side=side,
            is_buy=side == BUY,
            quantity=quantity,
            leaves_qty=quantity,
            filled_qty=Quantity(0, 3),
            is_reduce_only=reduce_only,
            status=OrderStatus.INITIALIZED,
            ts_init=self.now,
            ts_last=self.now,
            ts_submitted=None,
            **more,
        )

    def _submit(self, order: Any, params: Any = None) -> None:
        order.status, order.closes = OrderStatus.SUBMITTED, params == {"close_position": True}
        order.ts_submitted = self.now
        self._orders[str(order.client_order_id)] = order
        self.sent.append(order)

    def _cancel(self, order_id: Any) -> None:
        self._orders[str(order_id)].status = OrderStatus.PENDING_CANCEL
        self._orders[str(order_id)].ts_last = self.now
        self.cancelled.append(str(order_id))

    def _change(self, order_id: Any, *, quantity: Any, price: Any) -> None:
        order = self._orders[str(order_id)]
        order.status, order.quantity, order.price = OrderStatus.PENDING_UPDATE, quantity, price
        self.changed.append((str(order_id), quantity.as_double()))

    # -- what the venue answers ----------------------------------------------------------------------------

    def answer(self, order: Any, status: OrderStatus = OrderStatus.ACCEPTED) -> None:
        """The venue says so, and the strategy hears it."""
        order.status, order.ts_last = status, self.now
        self.keeper.changed(_Event(order.client_order_id))

    def fill(self, order: Any, quantity: float, status: OrderStatus = OrderStatus.FILLED) -> None:
        """The venue has filled so much of it, and the strategy hears it; other than FILLED: a part."""
        order.status, order.ts_last = status, self.now
        event = SimpleNamespace(
            client_order_id=order.client_order_id,
            last_qty=Quantity(quantity, 3),
            last_px=Price(1000.0, 1),
            is_buy=order.is_buy,
        )
        self.keeper.filled(event)

    def refuse(self, order: Any, reason: str) -> None:
        """The venue refuses it, and the strategy hears it."""
        order.status, order.ts_last = OrderStatus.REJECTED, self.now
        self.keeper.care = SimpleNamespace(
            seen=lambda: None, refused=lambda _, why: remedy(why), withholds=self.word.withholds
        )
        self.keeper.refused(_Event(order.client_order_id, reason))

    def refuse_change(self, order: Any, reason: str) -> None:
        """The venue refuses to cancel or move it, and the strategy hears it."""
        order.status, order.ts_last = OrderStatus.ACCEPTED, self.now
        self.keeper.care = SimpleNamespace(seen=lambda: None, refused=lambda _, why: remedy(why))
        self.keeper.unchanged(_Event(order.client_order_id, reason))

    def wait(self, secs: float) -> None:
        """Time goes by; the timer looks again."""
        self.now += round(secs * _SECOND)
        self.desk.sweep()
        self.keeper.protect()

    def start(self, memory: TradeMemory | None = None, **duties: Any) -> LiveCare:
        """The node has begun: what the venue has is adopted and protected; `memory` was written down."""
        file: Any = SimpleNamespace(read=lambda: memory, write=lambda *_, **__: None)
        duty = LiveDuty(may_enter=True, memory=None if memory is None else file, **duties)
        permits: Any = SimpleNamespace(remember=lambda _: None, last_intent=None, gate=None)
        journal = Journal(self.strategy, "a", NAME)
        care = LiveCare(self.strategy, self.setup, duty, self.desk, journal, self.keeper, permits)
        care.start()
        return care

    def hear(self, amount: float, *waiting: Any) -> None:
        """The venue was asked: it holds `amount`, and these orders wait."""
        self.word.heard(amount, {str(order.client_order_id) for order in waiting})
        self.word.act()

    def find(self, name: str, quantity: float, price: float) -> Any:
        """A target that the engine has found at its start."""
        order = self._made(
            OrderSide.SELL,
            Quantity(quantity, 3),
            OrderType.LIMIT,
            client_order_id=ClientOrderId(name),
            reduce_only=False,
            price=Price(price, 1),
        )
        order.status = OrderStatus.ACCEPTED
        self._orders[name] = order
        self.found.append(order)
        return order

    def open(self) -> OpenTrade:
        """A trade whose closing stop works at 980."""
        self.keeper.trade = opened = open_trade(_APPROVED, (), 1000.0, 75, self.setup.rules, 10.0)
        self.keeper.protect()
        self.answer(self.sent[0])
        return opened

    def enter(self, lots: int) -> None:
        """An entry at the market is under way."""
        self.keeper.entry.pending = PendingEntry(_APPROVED, (), lots)
        self.desk.market("entry", 1, lots)

    def move(self, ticks: int) -> None:
        """The plan's stop goes to that level."""
        opened = self.keeper.trade
        assert opened is not None
        opened.plan = opened.plan._replace(stop_ticks=ticks)
        self.keeper.protect()

    @property
    def is_covered(self) -> bool:
        """Whether a stop for all that is held works at the venue, as far as it has been heard."""
        return self.desk.is_covered(self.keeper.held_lots())

    def alarms(self) -> list[str]:
        """What an operator was told."""
        return [m.detail["text"] for _, m in self.told if getattr(m, "kind", "") == "alarm"]

    def status(self, order_id: str) -> OrderStatus:
        """What is known of an order."""
        found: OrderStatus = self._orders[str(ClientOrderId(order_id))].status
        return found


def _instrument(step: str) -> Any:
    digits = len(step.split(".")[1])
    return SimpleNamespace(
        id=InstrumentId.from_str(NAME),
        price_precision=1,
        size_precision=digits,
        price_increment=Price(0.1, 1),
        size_increment=Quantity(float(step), digits),
        min_quantity=Quantity(float(step), digits),
        make_qty=lambda size: Quantity(size, digits),
    )
