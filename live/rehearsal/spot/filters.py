"""What a spot request must satisfy before it may become an order: parameters, then the symbol's filters.

The order of the checks: words, mandatory and forbidden parameters, decimals, the symbol's status, then the
filters as exchangeInfo lists them. Source: Binance's spot filters.md and errors.md.
"""

import re
from decimal import Decimal

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.account import SpotAccount
from live.rehearsal.spot.errors import filter_failure, refuse_places
from live.rehearsal.spot.orders import STOP_TYPES, SpotRequest

__all__ = ["MAX_NOTIONAL", "MAX_ORDER_LISTS", "TYPES", "check_counts", "check_filters", "check_request"]

TYPES = ("LIMIT", "MARKET", "LIMIT_MAKER", *STOP_TYPES)
MAX_ORDER_LISTS = 20
MAX_NOTIONAL = Decimal(9_000_000)
_TIMES = ("GTC", "IOC", "FOK")
_PLACES = 8
_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_ID_RANGE = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_NUMBERS = {
    "quantity": "quantity",
    "quote_quantity": "quoteOrderQty",
    "price": "price",
    "stop_price": "stopPrice",
}
# What each type needs and what else it may have.
_NEEDS = {
    "LIMIT": {"quantity", "price", "time_in_force"},
    "MARKET": set[str](),
    "LIMIT_MAKER": {"quantity", "price"},
    "STOP_LOSS": {"quantity", "stop_price"},
    "TAKE_PROFIT": {"quantity", "stop_price"},
    "STOP_LOSS_LIMIT": {"quantity", "price", "stop_price", "time_in_force"},
    "TAKE_PROFIT_LIMIT": {"quantity", "price", "stop_price", "time_in_force"},
}
_MAY = {"MARKET": {"quantity", "quote_quantity"}}
_WIRE = _NUMBERS | {"time_in_force": "timeInForce"}


def check_request(request: SpotRequest) -> None:
    """Side, type, time in force, client id, and which parameters were sent with which type."""
    if request.side not in {"BUY", "SELL"}:
        raise refuse(-1117)
    if request.type not in TYPES:
        raise refuse(-1116)
    if request.time_in_force is not None and request.time_in_force not in _TIMES:
        raise refuse(-1115)
    if request.client_order_id is not None and not _CLIENT_ID.fullmatch(request.client_order_id):
        raise refuse(-1100, "newClientOrderId", _ID_RANGE)
    _check_sent(request)
    for name, wire in _NUMBERS.items():
        value = getattr(request, name)
        if value is None:
            continue
        if _decimals(value) > _PLACES:
            raise refuse_places(wire)
        if value <= 0:
            raise VenueError(-1013, f"Invalid {wire}.")


def check_filters(spec: SymbolSpec, request: SpotRequest, average: Decimal | None) -> None:
    """The symbol's status and its filters; `average` stands in for a market order's price."""
    if spec.status != "TRADING":
        raise VenueError(-1013, "Market is closed.")
    for price in (request.price, request.stop_price):
        _check_price(spec, price)
    if request.price is not None and average is not None:
        lowest, highest = average * spec.multiplier_down, average * spec.multiplier_up
        if not lowest <= request.price <= highest:
            raise filter_failure("PERCENT_PRICE_BY_SIDE")
    if request.quantity is not None:
        _check_lot(spec, request)
    _check_notional(spec, request, average)


def check_counts(
    spec: SymbolSpec, account: SpotAccount, *, orders: int, conditional: int, lists: int
) -> None:
    """The filters on the number of open orders, with so many more."""
    mine = account.orders.open(spec.symbol)
    if len(mine) + orders > spec.max_orders:
        raise filter_failure("MAX_NUM_ORDERS")
    if conditional and sum(o.is_conditional for o in mine) + conditional > spec.max_algo_orders:
        raise filter_failure("MAX_NUM_ALGO_ORDERS")
    if lists and account.lists.count_open(spec.symbol) + lists > MAX_ORDER_LISTS:
        raise filter_failure("MAX_NUM_ORDER_LISTS")


def _check_sent(request: SpotRequest) -> None:
    needs = _NEEDS[request.type]
    may = needs | _MAY.get(request.type, set())
    for name, wire in _WIRE.items():
        sent = getattr(request, name) is not None
        if name in needs and not sent:
            raise refuse(-1102, wire)
        if sent and name not in may:
            raise refuse(-1106, wire)
    if request.type == "MARKET" and (request.quantity is None) == (request.quote_quantity is None):
        if request.quantity is None:
            raise VenueError(
                -1102, "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!"
            )
        raise refuse(-1106, "quoteOrderQty")


def _check_price(spec: SymbolSpec, price: Decimal | None) -> None:
    if price is not None and (not spec.min_price <= price <= spec.max_price or price % spec.tick):
        raise filter_failure("PRICE_FILTER")


def _check_lot(spec: SymbolSpec, request: SpotRequest) -> None:
    quantity = request.quantity
    assert quantity is not None
    if not spec.min_quantity <= quantity <= spec.max_quantity or quantity % spec.step:
        raise filter_failure("LOT_SIZE")
    if request.type == "MARKET" and (
        not spec.market_min_quantity <= quantity <= spec.market_max_quantity or quantity % spec.market_step
    ):
        raise filter_failure("MARKET_LOT_SIZE")


def _check_notional(spec: SymbolSpec, request: SpotRequest, average: Decimal | None) -> None:
    """The least notional of every order, the greatest of those with a price."""
    price = average if request.price is None else request.price
    notional = request.quote_quantity
    if notional is None and price is not None and request.quantity is not None:
        notional = price * request.quantity
    if notional is None:
        return
    if notional < spec.min_notional or (request.price is not None and notional > MAX_NOTIONAL):
        raise filter_failure("NOTIONAL")


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
