"""What Binance's USD-M REST interface answers, typed: money, prices and quantities as Decimal, times in ms.

Fields that nobody here reads are left out; one that is new at the venue disturbs nothing. Values that the
venue writes as an empty text where there is none (a trailing stop's prices) read as zero.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, Self

import msgspec

__all__ = [
    "ZERO",
    "AccountConfig",
    "AlgoOrder",
    "AssetBalance",
    "Balance",
    "Balances",
    "Clearance",
    "ClockReading",
    "ExchangeInfo",
    "Fill",
    "FundingRate",
    "Kline",
    "OpenOrder",
    "Permissions",
    "Position",
    "SymbolConfig",
    "SymbolRules",
    "market_lots",
]

ZERO = Decimal(0)


class _Answer(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A JSON object of the venue; further keys are overlooked."""


class ClockReading(NamedTuple):
    """The venue's clock less this machine's, at the middle of a request that took `round_trip_ms`."""

    offset_ms: float
    round_trip_ms: float


class AccountConfig(_Answer, frozen=True):
    """GET accountConfig. `dual_side_position` is hedge mode."""

    can_trade: bool
    can_withdraw: bool
    dual_side_position: bool
    multi_assets_margin: bool = False


class Permissions(_Answer, frozen=True):
    """GET apiRestrictions of the spot host: what the key itself may do."""

    enable_reading: bool
    enable_withdrawals: bool
    enable_futures: bool
    ip_restrict: bool


class AssetBalance(_Answer, frozen=True):
    """One margin asset. `margin_balance` is the wallet with what open positions have won or lost."""

    asset: str
    wallet_balance: Decimal
    margin_balance: Decimal
    available_balance: Decimal
    initial_margin: Decimal
    maint_margin: Decimal


class Balances(_Answer, frozen=True):
    """GET account, version 3."""

    assets: tuple[AssetBalance, ...]

    def of(self, asset: str) -> AssetBalance:
        """One asset's balance; nothing of it where the venue does not name it."""
        empty = AssetBalance(asset, ZERO, ZERO, ZERO, ZERO, ZERO)
        return next((balance for balance in self.assets if balance.asset == asset), empty)


class Balance(_Answer, frozen=True):
    """One row of GET balance; `account_alias` is the account's name at the venue."""

    asset: str
    account_alias: str = ""


class Fill(_Answer, frozen=True):
    """One row of GET userTrades: what it earned before its fee, the fee and in what it was paid, when."""

    id: int
    order_id: int
    side: str
    price: Decimal
    quantity: Decimal = msgspec.field(name="qty")
    realized_pnl: Decimal
    commission: Decimal
    commission_asset: str
    time: int

    @property
    def signed(self) -> Decimal:
        """What it changed the position by."""
        return self.quantity if self.side == "BUY" else -self.quantity


class Clearance(_Answer, frozen=True):
    """One row of GET income of the type INSURANCE_CLEAR; `symbol` is empty where it is of the account."""

    symbol: str
    income: Decimal
    asset: str
    time: int


class Position(_Answer, frozen=True):
    """One row of GET positionRisk, version 3. `amount` is signed; `side` is BOTH, or LONG or SHORT in hedge
    mode; `liquidation_price` is 0 where there is none."""

    symbol: str
    side: str = msgspec.field(name="positionSide")
    amount: Decimal = msgspec.field(name="positionAmt")
    entry_price: Decimal
    mark_price: Decimal
    liquidation_price: Decimal
    notional: Decimal
    update_time: int

    @property
    def exit_side(self) -> str:
        """The side of an order that closes it."""
        return "SELL" if self.amount > 0 else "BUY"


class SymbolConfig(_Answer, frozen=True):
    """GET symbolConfig: the account's settings of one symbol; `margin_type` is CROSSED or ISOLATED."""

    symbol: str
    margin_type: str
    leverage: int
    maximum_notional: Decimal = msgspec.field(name="maxNotionalValue")


class OpenOrder(_Answer, frozen=True):
    """One row of GET openOrders, allOrders or forceOrders."""

    symbol: str
    order_id: int
    client_order_id: str
    side: str
    type: str
    price: Decimal
    quantity: Decimal = msgspec.field(name="origQty")
    executed: Decimal = msgspec.field(name="executedQty")
    update_time: int = 0
    reduce_only: bool = False
    close_position: bool = False
    position_side: str = "BOTH"


class AlgoOrder(_Answer, frozen=True):
    """One row of GET openAlgoOrders, or what placing one answers: a conditional order that waits."""

    symbol: str
    algo_id: int
    client_algo_id: str
    side: str
    order_type: str
    algo_status: str
    position_side: str = "BOTH"
    quantity_text: str | None = msgspec.field(name="quantity", default=None)
    trigger_text: str | None = msgspec.field(name="triggerPrice", default=None)
    activation_text: str | None = msgspec.field(name="activatePrice", default=None)
    working_type: str = "CONTRACT_PRICE"
    reduce_only: bool = False
    close_position: bool = False

    @property
    def quantity(self) -> Decimal:
        """What it closes or opens; 0 when it closes the position whatever its size."""
        return _number(self.quantity_text)

    @property
    def trigger_price(self) -> Decimal:
        """Where it triggers; 0 where the venue gives none."""
        return _number(self.trigger_text)

    @property
    def activation_price(self) -> Decimal:
        """Where a trailing stop begins to follow; 0 when it follows already."""
        return _number(self.activation_text)


class FundingRate(_Answer, frozen=True):
    """One row of GET fundingRate: what was settled."""

    funding_time: int
    funding_rate: Decimal
    mark_text: str | None = msgspec.field(name="markPrice", default=None)

    @property
    def mark_price(self) -> Decimal:
        """The mark price that it was settled at; 0 where the venue gives none."""
        return _number(self.mark_text)


class SymbolRules(NamedTuple):
    """One symbol of exchangeInfo. Quantities in the base asset, notional in the quote asset."""

    symbol: str
    status: str
    margin_asset: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    market_step: Decimal
    market_min_quantity: Decimal
    market_max_quantity: Decimal
    min_notional: Decimal
    max_algo_orders: int
    order_types: tuple[str, ...]

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Self:
        """One entry of `symbols`; KeyError, TypeError, ValueError or InvalidOperation for another shape."""
        filters = {item["filterType"]: item for item in entry["filters"]}
        lot, market = filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
        market_step, market_most = market_lots(filters)
        return cls(
            symbol=entry["symbol"],
            status=entry["status"],
            margin_asset=entry["marginAsset"],
            tick=Decimal(filters["PRICE_FILTER"]["tickSize"]).normalize(),
            step=Decimal(lot["stepSize"]).normalize(),
            min_quantity=Decimal(lot["minQty"]),
            max_quantity=Decimal(lot["maxQty"]),
            market_step=market_step,
            market_min_quantity=Decimal(market["minQty"]),
            market_max_quantity=market_most,
            min_notional=Decimal(filters["MIN_NOTIONAL"]["notional"]),
            max_algo_orders=int(filters["MAX_NUM_ALGO_ORDERS"]["limit"]),
            order_types=tuple(entry.get("orderTypes", ())),
        )


def market_lots(filters: Mapping[str, Mapping[str, Any]]) -> tuple[Decimal, Decimal]:
    """Step and largest quantity of orders at the market; 0 there means as for all orders."""
    lot, market = filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
    step = Decimal(market["stepSize"]) or Decimal(lot["stepSize"])
    return step.normalize(), Decimal(market["maxQty"]) or Decimal(lot["maxQty"])


class ExchangeInfo(NamedTuple):
    """exchangeInfo: the symbols' rules, and how much request weight an address has a minute."""

    symbols: Mapping[str, SymbolRules]
    weight_a_minute: int


class Kline(NamedTuple):
    """One bar; `close_ms` is its last millisecond. The last one asked for may still be under way."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_ms: int


def _number(text: str | None) -> Decimal:
    try:
        return Decimal(text) if text else ZERO
    except InvalidOperation:
        return ZERO
