"""What spot clients ask for and what the spot venue keeps: requests, orders, order lists, trades, the ledger.

Words are Binance's wire values. Records are frozen; a change of state makes a new record, so an event always
shows the order as it was at that moment. Money, prices and quantities are Decimal, times milliseconds.
"""

from dataclasses import dataclass
from decimal import Decimal

from live.rehearsal.orders import Fill, PlacedOrder

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
class SpotOrder(PlacedOrder):
    """An order at one moment of its life.

    `working` is whether it is on the book: a conditional order is not before its trigger (`working_ms` is
    then -1). `list_id` is -1 outside an order list. `expiry_reason` says why it expired.
    """

    quote_quantity: Decimal = ZERO
    working: bool = True
    working_ms: int = -1
    list_id: int = -1
    expiry_reason: str = ""

    @property
    def is_resting(self) -> bool:
        """Whether it stands on the book as long as it is open."""
        return self.working

    @property
    def is_conditional(self) -> bool:
        """Whether it waits, or waited, for a trigger."""
        return self.type in STOP_TYPES

    @property
    def is_market(self) -> bool:
        """Whether it takes any price: MARKET, STOP_LOSS or TAKE_PROFIT."""
        return self.type in {"MARKET", "STOP_LOSS", "TAKE_PROFIT"}

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
class SpotTrade(Fill):
    """One fill of an order; `list_id` is -1 outside an order list."""

    list_id: int


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
