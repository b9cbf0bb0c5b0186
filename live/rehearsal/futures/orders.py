"""What clients ask for and what the venue keeps: requests, orders, conditional orders, trades and income.

Words are Binance's wire values. Records are frozen; a change of state makes a new record, so an event always
shows the order as it was at that moment. Money, prices and quantities are Decimal, times milliseconds.
"""

from dataclasses import dataclass
from decimal import Decimal

from live.rehearsal.orders import Fill, PlacedOrder

__all__ = [
    "ADL_ID",
    "ALGO_TYPES",
    "AlgoOrder",
    "Income",
    "MarginChange",
    "Order",
    "OrderRequest",
    "UserTrade",
    "opposite",
]

ZERO = Decimal(0)
ADL_ID = "adl_autoclose"
ALGO_TYPES = ("STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET")


def opposite(side: str) -> str:
    """The other side.

    >>> opposite("BUY")
    'SELL'
    """
    return "SELL" if side == "BUY" else "BUY"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order as a client sent it; None means that the parameter was not sent.

    `type` is LIMIT or MARKET for `Venue.place`, one of ALGO_TYPES for `Venue.place_algo`. `callback_rate` is
    in percent (1 is 1 %), as on the wire.
    """

    symbol: str
    side: str
    type: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    time_in_force: str | None = None
    position_side: str | None = None
    reduce_only: bool | None = None
    close_position: bool = False
    client_order_id: str | None = None
    good_till_ms: int | None = None
    trigger_price: Decimal | None = None
    activation_price: Decimal | None = None
    callback_rate: Decimal | None = None
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(PlacedOrder):
    """An order in the matching engine at one moment of its life.

    `original_type` is the conditional type for an order that one set off (`algo_id` is then not zero).
    `forced` marks an order that is the venue's own, of a liquidation or an auto-deleveraging.
    """

    position_side: str
    original_type: str
    reduce_only: bool = False
    close_position: bool = False
    activation_price: Decimal = ZERO
    callback_rate: Decimal = ZERO
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    amendments: int = 0
    algo_id: int = 0
    forced: bool = False

    @property
    def deleverages(self) -> bool:
        """Whether it is of an auto-deleveraging."""
        return self.forced and self.client_order_id == ADL_ID

    @property
    def average_price(self) -> Decimal:
        """The mean fill price, zero before the first fill."""
        return self.quote_filled / self.executed if self.executed else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoOrder:
    """A conditional order at one moment of its life.

    `status` is NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, EXPIRED or REJECTED (`reason` says why).
    `actual_*` describe the order it set off: id (0 before), type, mean price and filled quantity. For a
    trailing stop `extreme` is the best price since it is `active`, and `trigger_price` where it would fire.
    """

    algo_id: int
    client_algo_id: str
    symbol: str
    side: str
    position_side: str
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal = ZERO
    trigger_price: Decimal = ZERO
    activation_price: Decimal | None = None
    callback_rate: Decimal | None = None
    working_type: str = "CONTRACT_PRICE"
    reduce_only: bool = False
    close_position: bool = False
    price_protect: bool = False
    good_till_ms: int = 0
    status: str = "NEW"
    created_ms: int
    updated_ms: int
    triggered_ms: int = 0
    actual_order_id: int = 0
    actual_type: str = ""
    actual_price: Decimal = ZERO
    actual_quantity: Decimal = ZERO
    reason: str = ""
    active: bool = True
    extreme: Decimal | None = None

    @property
    def number(self) -> int:
        """The id that the venue gave."""
        return self.algo_id

    @property
    def client_id(self) -> str:
        """The id that the client gave."""
        return self.client_algo_id

    @property
    def is_open(self) -> bool:
        """Whether it waits for its trigger (cancellable)."""
        return self.status == "NEW"

    @property
    def is_trailing(self) -> bool:
        """Whether its trigger follows the price."""
        return self.type == "TRAILING_STOP_MARKET"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTrade(Fill):
    """One fill of an order. `realized` is before commission."""

    position_side: str
    realized: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """One change of the wallet: REALIZED_PNL, COMMISSION, FUNDING_FEE, INSURANCE_CLEAR or TRANSFER."""

    tran_id: int
    ts_ms: int
    symbol: str
    kind: str
    amount: Decimal
    asset: str
    info: str = ""
    trade_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginChange:
    """Margin that was added to an isolated position by request; negative where it was taken out."""

    symbol: str
    position_side: str
    amount: Decimal
    asset: str
    ts_ms: int
