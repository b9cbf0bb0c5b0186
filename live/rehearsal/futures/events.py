"""What the venue tells: the user-data events in the order they happened, and the market events themselves.

`Venue.drain()` hands them out. Market events pass through unchanged, each before what it caused.
"""

from dataclasses import dataclass
from decimal import Decimal

from live.rehearsal.book import MarketEvent
from live.rehearsal.futures.orders import AlgoOrder, Order, UserTrade

__all__ = [
    "AccountConfigUpdate",
    "AccountUpdate",
    "AccountView",
    "AlgoUpdate",
    "AssetView",
    "BalanceChange",
    "MarginCall",
    "OrderUpdate",
    "PositionView",
    "UserEvent",
    "VenueEvent",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionView:
    """A position with what the venue computes from the mark price; a short's amount is negative.

    `side` is BOTH, LONG or SHORT. `liquidation_price` is zero when there is none. `maximum_notional` is what
    the leverage allows; `bid_notional` and `ask_notional` are the open orders that are not reduce-only.
    `realized` is the sum of realised profit before commission since the account began. `isolated_wallet` is
    zero with crossed margin.
    """

    symbol: str
    side: str
    amount: Decimal
    entry_price: Decimal
    break_even_price: Decimal
    mark_price: Decimal
    unrealized: Decimal
    realized: Decimal
    liquidation_price: Decimal
    leverage: int
    maximum_notional: Decimal
    notional: Decimal
    initial_margin: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance_margin: Decimal
    bid_notional: Decimal
    ask_notional: Decimal
    margin_asset: str
    isolated: bool
    isolated_wallet: Decimal
    updated_ms: int

    @property
    def isolated_margin(self) -> Decimal:
        """The isolated wallet with what the position has won or lost; zero with crossed margin."""
        return self.isolated_wallet + self.unrealized if self.isolated else Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetView:
    """A margin asset of an account: the wallet, what positions and orders hold of it, what is free.

    `position_margin` is at the present mark; `order_margin` is the rest of `initial_margin`. The numbers are
    of all positions, but for those named `cross_`, which leave the isolated ones out.
    """

    asset: str
    wallet: Decimal
    unrealized: Decimal
    cross_wallet: Decimal
    cross_unrealized: Decimal
    margin_balance: Decimal
    initial_margin: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance_margin: Decimal
    available: Decimal
    max_withdraw: Decimal
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """An account: its assets, and whether it is in hedge mode."""

    account: str
    assets: tuple[AssetView, ...]
    hedge: bool
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceChange:
    """An asset's wallet balance after the event, and the change that is neither profit nor commission.

    `cross` is the wallet without what isolated positions hold.
    """

    asset: str
    wallet: Decimal
    cross: Decimal
    change: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """ORDER_TRADE_UPDATE: `execution` is NEW, TRADE, CANCELED, EXPIRED, AMENDMENT or CALCULATED."""

    account: str
    ts_ms: int
    execution: str
    order: Order
    trade: UserTrade | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoUpdate:
    """ALGO_UPDATE: the conditional order as it is now."""

    account: str
    ts_ms: int
    order: AlgoOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate:
    """ACCOUNT_UPDATE.

    `reason` is ORDER, FUNDING_FEE, INSURANCE_CLEAR, DEPOSIT, WITHDRAW, MARGIN_TRANSFER or MARGIN_TYPE_CHANGE.
    """

    account: str
    ts_ms: int
    reason: str
    balances: tuple[BalanceChange, ...]
    positions: tuple[PositionView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginCall:
    """MARGIN_CALL: the maintenance margin came near the margin balance.

    `wallet` is the cross balance, None in the call of an isolated position.
    """

    account: str
    ts_ms: int
    wallet: Decimal | None
    positions: tuple[PositionView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfigUpdate:
    """ACCOUNT_CONFIG_UPDATE: a symbol's leverage changed."""

    account: str
    ts_ms: int
    symbol: str
    leverage: int


UserEvent = OrderUpdate | AlgoUpdate | AccountUpdate | MarginCall | AccountConfigUpdate
VenueEvent = UserEvent | MarketEvent
