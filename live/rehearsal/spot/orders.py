"""What spot clients ask for and what the spot venue keeps: requests, orders, order lists, trades, the ledger.

Words are Binance's wire values. Records are frozen; a change of state makes a new record, so an event always
shows the order as it was at that moment. Money, prices and quantities are Decimal, times milliseconds.
"""

from dataclasses import dataclass
from decimal import Decimal

__all__ = [
    "STOP_TYPES",
    "LedgerEntry",
    "OrderList",
    "SpotOrder",
    "SpotRequest",
    "SpotTrade",
    "triggers_above",
]

ZERO = Decimal(0)
STOP_TYPES = ("STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_OPEN = ("NEW", "PARTIALLY_FILLED")


def triggers_above(side: str, kind: str) -> bool:
    """Whether a conditional order's stop price lies above the market.

    >>> triggers_above("SELL", "STOP_LOSS"), triggers_above("SELL", "TAKE_PROFIT_LIMIT")
    (False, True)
    """
    return (side == "BUY") == kind.startswith("STOP_LOSS")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRequest:
    """An order as a client sent it; None means that the parameter was not sent.

    A MARKET order has a `quantity` in the base asset or a `quote_quantity` to spend or to receive.
    """

    symbol: str
    side: str
    type: str
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str | None = None
    client_order_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotOrder:
    """An order at one moment of its life.

    `status` is NEW, PARTIALLY_FILLED, FILLED, CANCELED or EXPIRED (`expiry_reason` says why). `working` is
    whether it is on the book: a conditional order is not before its trigger (`working_ms` is then -1).
    `list_id` is -1 outside an order list.
    """

    order_id: int
    client_order_id: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal = ZERO
    stop_price: Decimal = ZERO
    executed: Decimal = ZERO
    quote_filled: Decimal = ZERO
    status: str = "NEW"
    working: bool = True
    working_ms: int = -1
    list_id: int = -1
    expiry_reason: str = ""
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
    def good_till_ms(self) -> int:
        """Zero: no spot order ends by itself."""
        return 0

    @property
    def is_open(self) -> bool:
        """Whether it can still be filled."""
        return self.status in _OPEN

    @property
    def is_conditional(self) -> bool:
        """Whether it waits, or waited, for a trigger."""
        return self.type in STOP_TYPES

    @property
    def is_market(self) -> bool:
        """Whether it takes any price: MARKET, STOP_LOSS or TAKE_PROFIT."""
        return self.type in {"MARKET", "STOP_LOSS", "TAKE_PROFIT"}

    @property
    def remaining(self) -> Decimal:
        """What is not filled."""
        return self.quantity - self.executed

    @property
    def held(self) -> Decimal:
        """What it locks: of the base asset when it sells, of the quote asset when it buys.

        A buy locks its price; a conditional market buy has none and locks its stop price.
        """
        if not self.is_open or self.type == "MARKET":
            return ZERO
        if self.side == "SELL":
            return self.remaining
        return self.remaining * (self.stop_price if self.is_market else self.price)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderList:
    """An OCO pair at one moment: EXEC_STARTED and EXECUTING, then ALL_DONE twice."""

    list_id: int
    client_list_id: str
    symbol: str
    order_ids: tuple[int, ...]
    status: str = "EXEC_STARTED"
    order_status: str = "EXECUTING"
    updated_ms: int

    @property
    def number(self) -> int:
        """The id that the venue gave."""
        return self.list_id

    @property
    def client_id(self) -> str:
        """The id that the client gave."""
        return self.client_list_id

    @property
    def good_till_ms(self) -> int:
        """Zero: it ends with its orders only."""
        return 0

    @property
    def is_open(self) -> bool:
        """Whether it still executes."""
        return self.order_status == "EXECUTING"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotTrade:
    """One fill of an order; `commission` is what was paid, positive, in `asset`."""

    trade_id: int
    order_id: int
    list_id: int
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One change of an asset's balance: TRADE, COMMISSION or TRANSFER."""

    entry_id: int
    ts_ms: int
    asset: str
    kind: str
    amount: Decimal
    symbol: str = ""
    trade_id: int = 0
