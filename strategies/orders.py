"""One strategy's orders: the only place that sends, moves and cancels, and the index of those still working.

An order's slot says what it is for: its role (entry, add, stop, target, exit, anchor) and, of targets, the
rung. Orders themselves are read from the engine's cache, never kept here a second time.

Anchors: when one reduce-only order fills, the simulated venue resizes every other one to the whole remaining
position, up as well as down, so several targets cannot be reduce-only there. Plain targets alone would open a
reverse position when the stop fills first inside a bar: cancels reach the venue when the bar is over. So each
batch of plain targets brings an anchor, a reduce-only stop at the stop's level that names them as OCO. When
the position closes, by whatever order, the venue itself cancels what is reduce-only, and with the anchor, at
that very instant, its targets. The anchor is never moved or resized, a resize would be handed on to them. It
is refused when one of its targets filled on arrival; `anchor` then sends another for those that are left.
A target that the price has reached already would fill on arrival, when what it is for may be gone: that one
is sent reduce-only after all, it does not stay long enough to be resized, and a working one is not touched.

Live there are no anchors. The stop is the venue's own closing one, triggered by the mark price
(`strategies.venue_stop`), and every client order id ends with its role, so that after a restart the venue's
orders say themselves what they are for.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from nautilus_trader.core import UUID4
from nautilus_trader.model import (
    ClientOrderId,
    ContingencyType,
    OrderSide,
    OrderStatus,
    StopMarketOrder,
    TimeInForce,
    TriggerType,
)
from nautilus_trader.trading import Strategy

from strategies.amends import Amends, was_found
from strategies.coin_cover import Leg
from strategies.coin_orders import one_list
from strategies.forced import forced_kind
from strategies.protect import Modify, Place, Step, WorkingOrder, within_reach
from strategies.setup import StrategySetup
from strategies.switch import way_out
from strategies.trade import to_ticks
from strategies.venue_grid import VenueGrid
from strategies.venue_stop import BRIDGE

__all__ = ["ADD", "ANCHOR", "ENTRY", "EXIT", "STOP", "TARGET", "OrderDesk", "Slot", "slot_of"]

ENTRY, ADD, STOP, TARGET, EXIT, ANCHOR = "entry", "add", "stop", "target", "exit", "anchor"
_OPENING = (ENTRY, ADD)
_STOPS = (STOP, BRIDGE)
_OVERDUE_NS = 1_000_000_000
_MOST_DOUBLINGS = 1
_FOREIGN = "foreign"
_LETTERS = {ENTRY: "E", ADD: "A", STOP: "S", BRIDGE: "B", TARGET: "T", EXIT: "X"}
_ROLES = {letter: role for role, letter in _LETTERS.items()}
_LIVE_ID = re.compile(r".*-\d+([EASBTX])(\d+)")
_SETTLED = (OrderStatus.ACCEPTED, OrderStatus.PARTIALLY_FILLED, OrderStatus.TRIGGERED)


class Slot(NamedTuple):
    """What an order is for; `number` is a target's rung or an anchor's count."""

    role: str
    number: int = 0


class OrderDesk(VenueGrid):
    """Sends one strategy's orders and knows which are not closed. `roles` keeps all there ever were."""

    def __init__(self, strategy: Strategy, setup: StrategySetup) -> None:
        super().__init__(strategy, setup)
        self.roles: dict[str, str] = {}
        self._out = way_out(strategy, setup)
        self._amends = Amends()  # live
        self._by_slot: dict[Slot, ClientOrderId] = {}
        self._slots: dict[ClientOrderId, Slot] = {}
        self._anchors = 0
        self._strangers = 0
        self._stop_sent = 0
        self._stamp = ""
        self._named = 0

    # -- what works ----------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: even a cancelled order could still act on the next position."""
        return not self._by_slot

    def slot(self, order_id: ClientOrderId) -> Slot:
        """What a working order, or one that an event is just about, is for; of the venue's own, why it is."""
        return self._slots.get(order_id, Slot(self.roles.get(str(order_id)) or forced_kind(str(order_id))))

    def is_working(self, role: str) -> bool:
        """Whether an order of this role is not closed."""
        return any(slot.role == role for slot in self._by_slot)

    def stop(self) -> WorkingOrder | None:
        """The stop."""
        return self._working(Slot(STOP))

    def bridge(self) -> WorkingOrder | None:
        """The stop that stands in while the closing one is moved."""
        return self._working(Slot(BRIDGE))

    def is_covered(self, held_lots: int) -> bool:
        """Whether a stop for the whole position works at the venue."""
        closing, bridge = self.stop(), self.bridge()
        if closing is not None and closing.settled:
            return self._setup.has_closing_stop or closing.open_lots >= abs(held_lots)
        return bridge is not None and bridge.settled and bridge.open_lots >= abs(held_lots)

    @property
    def is_stop_overdue(self) -> bool:
        """Whether the closing stop was sent so long ago that its answer must be lost."""
        return int(self._strategy.clock.timestamp_ns()) - self._stop_sent > _OVERDUE_NS

    def is_unheard(self, role: str) -> bool:
        """Whether the answer about a role's only order must be lost; later where more are lost already."""
        order_id = self._by_slot.get(Slot(role))
        order: Any = None if order_id is None else self._strategy.cache.order(order_id)
        if order is None or order.is_closed or order.status in _SETTLED:
            return False
        strangers = sum(slot.role == _FOREIGN for slot in self._by_slot)
        waited = int(self._strategy.clock.timestamp_ns()) - int(max(order.ts_init, order.ts_last))
        return waited > _OVERDUE_NS << min(strangers, _MOST_DOUBLINGS)

    @property
    def has_price(self) -> bool:
        """Whether the engine would let a market order pass: live it denies one without a cached quote."""
        cache = self._strategy.cache
        if self._setup.live is None or cache.quote(self._id) is not None:
            return True
        return self._setup.margined and cache.trade(self._id) is not None

    def targets(self) -> dict[int, WorkingOrder]:
        """The targets by rung."""
        found = {slot.number: self._working(slot) for slot in self._by_slot if slot.role == TARGET}
        return {rung: order for rung, order in found.items() if order is not None}

    def open_lots(self, role: str) -> int:
        """What is still open of a role's only order, 0 without one."""
        order = self._working(Slot(role))
        return 0 if order is None else order.open_lots

    @property
    def is_settled(self) -> bool:
        """Whether the venue has answered everything that was sent."""
        orders: list[Any] = [self._strategy.cache.order(order_id) for order_id in self._by_slot.values()]
        return all(order is not None and order.status in _SETTLED for order in orders)

    def release(self, order_id: ClientOrderId) -> Slot:
        """Take note of an event: an order that is closed is forgotten. Returns what the order is for."""
        slot = self.slot(order_id)
        order: Any = self._strategy.cache.order(order_id)
        if order is None or order.is_closed:
            self._slots.pop(order_id, None)
            self._setup.under_way.discard(order_id)
            if self._by_slot.get(slot) == order_id:
                del self._by_slot[slot]
        return slot

    def _working(self, slot: Slot) -> WorkingOrder | None:
        order_id = self._by_slot.get(slot)
        order: Any = None if order_id is None else self._strategy.cache.order(order_id)
        if order is None or order.is_closed:
            return None
        level = order.trigger_price if slot.role in _STOPS else getattr(order, "price", None)
        return WorkingOrder(
            order_id=str(order_id),
            ticks=0 if level is None else to_ticks(level.as_double(), self._ticks_per_unit),
            open_lots=self.lots(order.leaves_qty),
            settled=order.status in _SETTLED,
        )

    # -- entries and exits ---------------------------------------------------------------------------------

    def market(
        self, role: str, side: int, lots: int, *, price: float = 0.0, risk_per_unit: float = 0.0
    ) -> None:
        """An order at the market; an exit is reduce-only, the others open or add at about `price`."""
        slot = Slot(role)
        order = self._strategy.order_factory.market(
            self._id,
            _side(side),
            self.quantity(self.at_once(lots)),
            reduce_only=role == EXIT and not self._setup.holds_coins,
            client_order_id=self._name(slot),
        )
        self._send(order, slot, price, risk_per_unit)

    def limit_entry(self, side: int, lots: int, ticks: int, *, post_only: bool, risk_per_unit: float) -> None:
        """An entry that rests at `ticks`."""
        order = self._strategy.order_factory.limit(
            self._id,
            _side(side),
            self.quantity(lots),
            self._level(ticks),
            post_only=post_only,
            client_order_id=self._name(Slot(ENTRY)),
        )
        self._send(order, Slot(ENTRY), self.price(ticks), risk_per_unit)

    def move_entry(self, ticks: int, lots: int, *, risk_per_unit: float) -> bool:
        """Move a resting entry and leave `lots` of it open; False while the venue has not taken it up."""
        order = self._working(Slot(ENTRY))
        if order is None or not order.settled or order.ticks == ticks:
            return False
        order_id = ClientOrderId(order.order_id)
        entry: Any = self._strategy.cache.order(order_id)
        filled = self.lots(entry.filled_qty)
        self._setup.under_way.add(order_id, self.price(ticks), risk_per_unit)
        self._count()
        self._out.modify_order(order_id, quantity=self.quantity(lots + filled), price=self._level(ticks))
        return True

    def cancel(self, role: str) -> None:
        """Cancel what works of a role; what the venue has not answered yet is left to the next event."""
        for slot, order_id in tuple(self._by_slot.items()):
            order: Any = self._strategy.cache.order(order_id)
            if slot.role == role and order is not None and order.status in _SETTLED:
                self._out.cancel_order(order_id)

    # -- protection ----------------------------------------------------------------------------------------

    def carry_out(self, steps: Sequence[Step], close: float) -> None:
        """Send protective steps; `close` is the last price seen."""
        for step in steps:
            if isinstance(step, Place) and step.role == TARGET and self._setup.live is not None:
                self._place_target(step)
            elif isinstance(step, Place):
                self.place(step, is_reached=self._reaches(close, step.side, step.ticks))
            elif isinstance(step, Modify):
                self._modify(step, close)
            else:
                self._out.cancel_order(ClientOrderId(step.order_id))

    def _place_target(self, step: Place) -> None:
        """Live: where the market is not known it waits for the next look."""
        quote: Any = self._strategy.cache.quote(self._id)
        if quote is not None:
            market = (quote.ask_price if step.side > 0 else quote.bid_price).as_double()
            ticks = within_reach(step.side, step.ticks, market * self._ticks_per_unit)
            self.place(step._replace(ticks=ticks))

    def _reaches(self, close: float, exit_side: int, ticks: int) -> bool:
        return exit_side * (close * self._ticks_per_unit - ticks) <= 0.0

    def place(self, step: Place, *, is_reached: bool = False) -> None:
        """Send a new protective order; `is_reached`: the market is at or beyond its level."""
        factory, side, quantity = self._strategy.order_factory, _side(step.side), self.quantity(step.lots)
        level, slot = self._level(step.ticks), Slot(step.role, step.rung)
        has_mark = self._setup.live is not None and self._setup.margined
        if step.role in _STOPS:
            order = factory.stop_market(
                self._id,
                side,
                quantity,
                level,
                trigger_type=TriggerType.MARK_PRICE if has_mark else TriggerType.LAST_PRICE,
                reduce_only=not self._setup.holds_coins,
                client_order_id=self._name(slot),
            )
        else:
            order = factory.limit(
                self._id,
                side,
                quantity,
                level,
                reduce_only=self._setup.reduce_only_targets or is_reached,
                client_order_id=self._name(slot),
            )
        self._send(order, slot, closes=self._setup.has_closing_stop and step.role == STOP)

    def _modify(self, step: Modify, close: float) -> None:
        order_id = ClientOrderId(step.order_id)
        order: Any = self._strategy.cache.order(order_id)
        if self._setup.live is not None and was_found(order):
            if self._strategy.cache.quote(self._id) is not None:  # or nothing could take its place
                self._out.cancel_order(order_id)
            return
        plain = step.role == TARGET and not order.is_reduce_only
        if plain and self._reaches(close, 1 if order.is_buy else -1, step.ticks):
            return
        now = int(self._strategy.clock.timestamp_ns())
        if self._setup.live is not None and not self._amends.asks(step, now):
            return
        filled = self.lots(order.filled_qty)
        quantity, level = self.quantity(step.lots + filled), self._level(step.ticks)
        if step.role == STOP:
            self._out.modify_order(order_id, quantity=quantity, trigger_price=level)
        else:
            self._out.modify_order(order_id, quantity=quantity, price=level)

    def anchor(self, stop_ticks: int) -> None:
        """Send an anchor for the plain targets that have none."""
        if self._setup.reduce_only_targets:
            return
        strategy, working = self._strategy, self._targets_and_anchors()
        named = {target for order in working[ANCHOR] for target in order.linked_order_ids}
        free = [o for o in working[TARGET] if not (o.is_reduce_only or o.client_order_id in named)]
        if not free:
            return
        self._anchors += 1
        order = StopMarketOrder(
            strategy.order_factory.trader_id,
            strategy.strategy_id,
            self._id,
            strategy.order_factory.generate_client_order_id(),
            free[0].side,
            self.quantity(sum(self.lots(order.leaves_qty) for order in free)),
            self._level(stop_ticks),
            TriggerType.LAST_PRICE,
            TimeInForce.GTC,
            True,  # reduce-only
            False,
            UUID4(),
            strategy.clock.timestamp_ns(),
            contingency_type=ContingencyType.OCO,
            linked_order_ids=[order.client_order_id for order in free],
        )
        self._send(order, Slot(ANCHOR, self._anchors))

    def _targets_and_anchors(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {TARGET: [], ANCHOR: []}
        for slot, order_id in self._by_slot.items():
            order: Any = self._strategy.cache.order(order_id) if slot.role in found else None
            if order is not None and not order.is_closed:
                found[slot.role].append(order)
        return found

    def _name(self, slot: Slot) -> ClientOrderId | None:
        """Live an id that tells the role, None (the engine's own) otherwise."""
        if self._setup.live is None:
            return None
        if not self._stamp:
            self._stamp = _base36(self._strategy.clock.timestamp_ns() // 1_000_000)
        self._named += 1
        # 25 characters at most, or the adapter cannot put its mark before it
        role = f"{_LETTERS[slot.role]}{slot.number}"
        return ClientOrderId(f"{self._setup.order_tag}-{self._stamp}-{self._named}{role}")

    def _send(
        self, order: Any, slot: Slot, price: float = 0.0, risk_per_unit: float = 0.0, *, closes: bool = False
    ) -> None:
        if not self._setup.may_send:
            return
        self._know(order, slot)
        if slot.role in _OPENING:
            self._setup.under_way.add(order.client_order_id, price, risk_per_unit)
        self._count()
        if closes:
            self._stop_sent = int(self._strategy.clock.timestamp_ns())
        try:
            self._out.submit_order(order, params={"close_position": True} if closes else None)
        except Exception:
            self.release(order.client_order_id)  # what never left must not be waited for
            raise

    def _know(self, order: Any, slot: Slot) -> None:
        # before it is sent: its events may arrive inside the call
        order_id: ClientOrderId = order.client_order_id
        self._by_slot[slot] = order_id
        self._slots[order_id] = slot
        self.roles[str(order_id)] = slot.role

    def send_pair(self, lots: int, stop_ticks: int, target_ticks: int) -> None:
        """Send a stop and a target for the same coins as one list."""
        if self._setup.may_send:
            slots = (Slot(TARGET), Slot(STOP))
            names = [ClientOrderId(str(self._name(slot))) for slot in slots]
            levels = (self._level(target_ticks), self._level(stop_ticks))
            orders = one_list(self._strategy, self._id, self.quantity(lots), names, levels)
            for slot, order in zip(slots, orders, strict=True):
                self._know(order, slot)
            self._count()
            self._out.submit_order_list(orders)

    def leg(self, role: str) -> Leg | None:
        """The stop or the first target as a part of the coins' cover."""
        order_id, found = self._by_slot.get(Slot(role)), self._working(Slot(role))
        order: Any = None if order_id is None else self._strategy.cache.order(order_id)
        if found is None:
            return None
        return Leg(found.order_id, found.ticks, found.open_lots, found.settled, float(order.filled_qty) > 0.0)

    def withdraw(self, order_id: str) -> None:
        """Cancel one order, answered or not."""
        self._out.cancel_order(ClientOrderId(order_id))

    def _count(self) -> None:
        live = self._setup.live
        if live is not None and live.budget is not None:
            live.budget.note(int(self._strategy.clock.timestamp_ns()))

    # -- live ----------------------------------------------------------------------------------------------

    def adopt(self) -> dict[str, str]:
        """Take up orders of this instrument that are not known yet; returns what each is for, by id.

        What carries no role of ours, or one that is taken, is cancelled.
        """
        adopted = {}
        orders: list[Any] = self._strategy.cache.orders_open(instrument_id=self._id)
        for order in orders:
            order_id = order.client_order_id
            if order_id in self._slots:
                continue
            slot = slot_of(str(order_id))
            if slot in self._by_slot or slot.role in (_FOREIGN, ENTRY, ADD):
                slot = self._stranger()
                self._out.cancel_order(order_id)
            self._by_slot[slot] = order_id
            self._slots[order_id] = slot
            adopted[str(order_id)] = self.roles[str(order_id)] = slot.role
        return adopted

    def pass_over(self, role: str) -> str:
        """Let another order take the place of a role's only one, which goes as soon as it is known of.

        Returns the id of the one passed over.
        """
        order_id, slot = self._by_slot.pop(Slot(role)), self._stranger()
        self._by_slot[slot] = order_id
        self._slots[order_id] = slot
        return str(order_id)

    def _stranger(self) -> Slot:
        self._strangers += 1
        return Slot(_FOREIGN, self._strangers)

    def working_ids(self) -> tuple[ClientOrderId, ...]:
        """Every order that is not known to be closed."""
        return tuple(self._by_slot.values())

    def give_up(self, held_lots: int) -> None:
        """When all else fails: close what is held at the market; once flat, cancel whatever works."""
        if held_lots and self.has_price and not self.is_working(EXIT) and not self.is_covered(held_lots):
            self.market(EXIT, -1 if held_lots > 0 else 1, abs(held_lots))
        for slot in () if held_lots else tuple(self._by_slot):
            self.cancel(slot.role)

    def sweep(self) -> None:
        """Cancel again what was nobody's when it was found: its first cancel may have been refused."""
        self.cancel(_FOREIGN)

    def ask(self, order_id: ClientOrderId) -> None:
        """Ask the venue what has become of an order."""
        order: Any = self._strategy.cache.order(order_id)
        if order is not None:
            self._strategy.query_order(order)

    def opened_at(self) -> int:
        """When the open position was opened, by the venue's clock (ns UTC); 0 without one."""
        if self._setup.live is not None and self._setup.live.holdings is not None:
            return self._setup.live.holdings.coins.opened
        positions: list[Any] = self._strategy.cache.positions_open(instrument_id=self._id)
        return int(positions[0].ts_opened) if positions else 0

    def entry_price(self) -> float:
        """The average price of the open position; the middle of the quote, or NaN, where there is none."""
        if self._setup.live is not None and self._setup.live.holdings is not None:
            return self.rounded(self._setup.live.holdings.average_price)
        positions: list[Any] = self._strategy.cache.positions_open(instrument_id=self._id)
        if positions:
            return self.rounded(float(positions[0].avg_px_open))
        quote: Any = self._strategy.cache.quote(self._id)
        return (
            math.nan if quote is None else (quote.bid_price.as_double() + quote.ask_price.as_double()) / 2.0
        )


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def slot_of(order_id: str) -> Slot:
    """What a live order is for, by its id; the role `foreign` for an id that is not ours."""
    match = _LIVE_ID.fullmatch(order_id)
    return Slot(_FOREIGN) if match is None else Slot(_ROLES[match[1]], int(match[2]))


def _side(side: int) -> OrderSide:
    return OrderSide.BUY if side > 0 else OrderSide.SELL
