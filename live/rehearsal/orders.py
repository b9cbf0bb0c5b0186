"""What orders and fills are on every market; each market's own add what only they have.

Words are Binance's wire values. Records are frozen; a change of state makes a new record, so an event always
shows the order as it was at that moment. Money, prices and quantities are Decimal, times milliseconds.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

__all__ = ["Fill", "PlacedOrder", "filled"]

ZERO = Decimal(0)
_OPEN = ("NEW", "PARTIALLY_FILLED")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder:
    """An order in the matching engine.

    `status` is NEW, PARTIALLY_FILLED, FILLED, CANCELED or EXPIRED; `good_till_ms` is when it ends by itself,
    0 for never.
    """

    order_id: int
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    executed: Decimal = ZERO
    quote_filled: Decimal = ZERO
    status: str = "NEW"
    stop_price: Decimal = ZERO
    good_till_ms: int = 0
    created_ms: int
    updated_ms: int

    @property
    def number(self) -> int:
        """The id that the venue gave."""
        return self.order_id

    @property
    def client_id(self) -> str:
        """The id that the client gave."""
        return self.client_order_id

    @property
    def is_open(self) -> bool:
        """Whether it can still be filled."""
        return self.status in _OPEN

    @property
    def is_resting(self) -> bool:
        """Whether it stands on the book as long as it is open."""
        return True

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return self.quantity - self.executed


def filled[O: PlacedOrder](order: O, price: Decimal, quantity: Decimal) -> O:
    """The order after a fill."""
    executed = order.executed + quantity
    return replace(
        order,
        executed=executed,
        quote_filled=order.quote_filled + price * quantity,
        status="FILLED" if executed == order.quantity else "PARTIALLY_FILLED",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One fill of an order; `commission` is what was paid, positive, in `asset`."""

    trade_id: int
    order_id: int
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    commission: Decimal
    asset: str
    maker: bool
    ts_ms: int

    @property
    def quote_quantity(self) -> Decimal:
        """Price times quantity."""
        return self.price * self.quantity
