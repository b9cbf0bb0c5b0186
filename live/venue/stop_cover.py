"""Whether a position is covered by stops that wait at the venue. Pure: what the venue says in, a verdict out.

A stop counts when it is for this position, can only make it smaller, lies on the losing side of the mark
price, triggers before the liquidation price, and is sure to be executed: STOP_MARKET, or a trailing stop
that follows already. A stop limit may be jumped over and does not count.
"""

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from live.venue.answers import AlgoOrder, Position

__all__ = ["Cover", "cover_of", "stop_price"]

ZERO = Decimal(0)
_TRAILING = "TRAILING_STOP_MARKET"
_STOPS = ("STOP_MARKET", _TRAILING)


class Cover(NamedTuple):
    """A position and what protects it.

    `covered` is in the base asset, at most the position's size. `useless` are orders that close it but do
    not count, each with the reason.
    """

    position: Position
    covered: Decimal
    stops: tuple[AlgoOrder, ...]
    useless: tuple[tuple[AlgoOrder, str], ...] = ()

    @property
    def symbol(self) -> str:
        """Of what."""
        return self.position.symbol

    @property
    def side(self) -> str:
        """The position's, as the venue calls it."""
        return self.position.side

    @property
    def amount(self) -> Decimal:
        """The position's size, signed."""
        return self.position.amount

    @property
    def name(self) -> str:
        """How a person tells it from others."""
        return self.symbol if self.side == "BOTH" else f"{self.symbol} {self.side}"

    @property
    def key(self) -> tuple[str, str, bool]:
        """Which position this is: another one when it changes sides."""
        return self.symbol, self.side, self.amount > 0

    @property
    def is_whole(self) -> bool:
        """Whether every part of the position has a stop."""
        return self.covered >= abs(self.position.amount)

    @property
    def text(self) -> str:
        """The position and its cover in words."""
        position = self.position
        side = "long" if position.amount > 0 else "short"
        size = f"{side} {abs(position.amount):f} at {position.entry_price:f}"
        if self.is_whole:
            return f"{size}, covered"
        lacking = "no stop" if not self.covered else f"a stop for {self.covered:f} only"
        why = "".join(f"; order {order.client_algo_id} {reason}" for order, reason in self.useless)
        return f"{size}, {lacking}{why}"


def cover_of(position: Position, orders: Iterable[AlgoOrder]) -> Cover:
    """What of a position the waiting orders protect."""
    stops: list[AlgoOrder] = []
    useless: list[tuple[AlgoOrder, str]] = []
    for order in orders:
        if order.symbol != position.symbol or order.position_side != position.side:
            continue
        if order.order_type not in _STOPS:
            continue
        reason = _why_not(position, order)
        if reason is None:
            stops.append(order)
        else:
            useless.append((order, reason))
    size = abs(position.amount)
    whole = any(order.close_position for order in stops)
    covered = size if whole else min(size, sum((order.quantity for order in stops), ZERO))
    return Cover(position, covered, tuple(stops), tuple(useless))


def stop_price(position: Position, distance_pct: float, tick: Decimal) -> Decimal:
    """A trigger `distance_pct` of the mark price away on the losing side, on the tick.

    Nearer where the liquidation price would be reached first: then half-way to it.
    """
    mark, liquidation = position.mark_price, position.liquidation_price
    away = mark * Decimal(str(distance_pct)) / 100
    if position.amount > 0:
        price = mark - away
        price = (mark + liquidation) / 2 if ZERO < liquidation < mark and price <= liquidation else price
        return (price / tick).to_integral_value(ROUND_FLOOR) * tick
    price = mark + away
    price = (mark + liquidation) / 2 if liquidation > mark and price >= liquidation else price
    return (price / tick).to_integral_value(ROUND_CEILING) * tick


def _why_not(position: Position, order: AlgoOrder) -> str | None:
    """Why an order of a stop's type does not protect the position; None when it does."""
    if order.side != position.exit_side:
        return "is on the wrong side: it would add to the position"
    if not (order.reduce_only or order.close_position or position.side != "BOTH"):
        return "is not reduce-only"
    if order.order_type == _TRAILING:
        return "trails only from its activation price on" if order.activation_price else None
    trigger, mark, liquidation = order.trigger_price, position.mark_price, position.liquidation_price
    long = position.amount > 0
    if not trigger or (mark and (trigger > mark if long else trigger < mark)):
        return f"triggers at {trigger:f}, on the winning side of the mark price {mark:f}"
    if liquidation and (trigger <= liquidation if long else trigger >= liquidation):
        return f"triggers at {trigger:f}, beyond the liquidation price {liquidation:f}"
    return None
