"""What the spot venue tells an account: orders, order lists and balances.

Source: Binance's spot user data stream events.
"""

from dataclasses import dataclass
from decimal import Decimal

from live.rehearsal.book import MarketEvent
from live.rehearsal.spot.account import Balance
from live.rehearsal.spot.orders import OrderList, SpotOrder, SpotTrade

__all__ = [
    "BalanceUpdate",
    "ExecutionReport",
    "ListStatus",
    "Position",
    "SpotEvent",
    "SpotUserEvent",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionReport:
    """executionReport: `execution` is NEW, TRADE, CANCELED or EXPIRED.

    `cancel_id` is the client id of the request that cancelled the order, empty for any other execution.
    """

    account: str
    ts_ms: int
    execution_id: int
    execution: str
    order: SpotOrder
    trade: SpotTrade | None = None
    cancel_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListStatus:
    """listStatus: the list as it is now, with its orders' numbers and client ids."""

    account: str
    ts_ms: int
    order_list: OrderList
    orders: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """outboundAccountPosition: the balances that an event may have changed."""

    account: str
    ts_ms: int
    updated_ms: int
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceUpdate:
    """balanceUpdate: a deposit, or a withdrawal (negative)."""

    account: str
    ts_ms: int
    asset: str
    change: Decimal


SpotUserEvent = ExecutionReport | ListStatus | Position | BalanceUpdate
SpotEvent = SpotUserEvent | MarketEvent
