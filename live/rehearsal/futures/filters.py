"""What a request must satisfy before it may become an order: parameters, filters and limits.

Every function raises the refusal that Binance gives, in the order Binance's answers suggest: symbol and words
first, then precision, ranges and steps, then the price bounds and the least notional.
"""

import re
from decimal import Decimal

from live.rehearsal.book import Market
from live.rehearsal.errors import refuse
from live.rehearsal.futures.account import Account
from live.rehearsal.futures.orders import ALGO_TYPES, OrderRequest
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "check_algo",
    "check_good_till",
    "check_notional",
    "check_percent_price",
    "check_price",
    "check_quantity",
    "check_regular",
    "check_words",
    "reduces_only",
    "resolve_side",
]

ZERO = Decimal(0)
_CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_ID_RANGE = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_TIMES = ("GTC", "IOC", "FOK", "GTX", "GTD")
_MIN_GOOD_TILL_MS = 600_000
_LAST_GOOD_TILL_MS = 253_402_300_799_000
_LOWEST_CALLBACK, _HIGHEST_CALLBACK = Decimal("0.1"), Decimal(10)


def check_words(spec: SymbolSpec, account: Account, request: OrderRequest, kinds: tuple[str, ...]) -> None:
    """Type, side, working type, client id and the symbol's status."""
    if request.side not in {"BUY", "SELL"}:
        raise refuse(-1117)
    if request.type not in kinds:
        raise refuse(-4120 if request.type in ALGO_TYPES else -1116)
    if request.working_type not in {"MARK_PRICE", "CONTRACT_PRICE"}:
        raise refuse(-4031, request.working_type)
    if spec.status != "TRADING":
        raise refuse(-4140)
    if spec.margin_asset in account.liquidating:
        raise refuse(-2023)
    _check_client_id(request.client_order_id)


def resolve_side(account: Account, request: OrderRequest) -> str:
    """The position side an order is for; -4061 when it does not fit the account's mode."""
    side = request.position_side or "BOTH"
    if side not in {"BOTH", "LONG", "SHORT"}:
        raise refuse(-4060)
    if (side == "BOTH") == account.hedge:
        raise refuse(-4061)
    if account.hedge and request.reduce_only is not None:
        raise refuse(-1106, "reduceOnly")
    return side


def reduces_only(request: OrderRequest, position_side: str) -> bool:
    """Whether the order may only reduce: as asked in one-way mode, by its direction in hedge mode."""
    if position_side == "BOTH":
        return bool(request.reduce_only) or request.close_position
    return (request.side == "SELL") == (position_side == "LONG")


def check_regular(spec: SymbolSpec, request: OrderRequest, now_ms: int) -> None:
    """A LIMIT or MARKET request's own parameters."""
    market = request.type == "MARKET"
    if request.quantity is None:
        raise refuse(-1102, "quantity")
    if market:
        _refuse_sent(price=request.price, timeInForce=request.time_in_force)
    elif request.time_in_force is None or request.price is None:
        raise refuse(-1102, "timeInForce" if request.time_in_force is None else "price")
    elif request.time_in_force not in _TIMES:
        raise refuse(-1115)
    if request.close_position:
        raise refuse(-4136, request.type)
    check_quantity(spec, request.quantity, market=market)
    if request.price is not None:
        check_price(spec, request.price)
    check_good_till(request, now_ms)


def check_quantity(spec: SymbolSpec, quantity: Decimal, *, market: bool) -> None:
    """LOT_SIZE, or MARKET_LOT_SIZE for a market order."""
    lowest = spec.market_min_quantity if market else spec.min_quantity
    highest = spec.market_max_quantity if market else spec.max_quantity
    if quantity <= 0:
        raise refuse(-4003)
    if _decimals(quantity) > spec.quantity_precision:
        raise refuse(-1111)
    if quantity < lowest:
        raise refuse(-4004)
    if quantity > highest:
        raise refuse(-4005)
    if quantity % (spec.market_step if market else spec.step):
        raise refuse(-4023)


def check_price(spec: SymbolSpec, price: Decimal, *, trigger: bool = False) -> None:
    """PRICE_FILTER for a limit price, or for a trigger price."""
    if price <= 0:
        raise refuse(-4006 if trigger else -4001)
    if _decimals(price) > spec.price_precision:
        raise refuse(-1111)
    if price > spec.max_price:
        raise refuse(-4007 if trigger else -4002)
    if price < spec.min_price:
        raise refuse(-4013)
    if price % spec.tick:
        raise refuse(-4014)


def check_percent_price(spec: SymbolSpec, side: str, price: Decimal, mark: Decimal | None) -> None:
    """PERCENT_PRICE: a buy not above, a sell not below the mark price's bounds."""
    if mark is None:
        return
    highest, lowest = _bounds(spec, mark)
    if side == "BUY" and price > highest:
        raise refuse(-4016, f"{highest:f}")
    if side == "SELL" and price < lowest:
        raise refuse(-4024, f"{lowest:f}")


def check_notional(spec: SymbolSpec, quantity: Decimal, price: Decimal | None, *, code: int = -4164) -> None:
    """MIN_NOTIONAL at the limit price, or at the mark price for a market order."""
    if price is not None and quantity * price < spec.min_notional:
        raise refuse(code, f"{spec.min_notional:f}")


def check_good_till(request: OrderRequest, now_ms: int) -> None:
    """A GTD order needs a time at least 600 seconds away."""
    if request.time_in_force == "GTD":
        if request.good_till_ms is None:
            raise refuse(-1102, "goodTillDate")
        if not now_ms + _MIN_GOOD_TILL_MS < request.good_till_ms < _LAST_GOOD_TILL_MS:
            raise refuse(-5040)
    elif request.good_till_ms:
        raise refuse(-1106, "goodTillDate")


def check_algo(spec: SymbolSpec, market: Market, request: OrderRequest, now_ms: int) -> None:
    """A conditional request's own parameters, and that it would not trigger at once."""
    if request.time_in_force not in (None, "GTE_GTC", *_TIMES):
        raise refuse(-1115)
    check_good_till(request, now_ms)
    if request.close_position:
        _check_close_position(request)
    elif request.quantity is None:
        raise refuse(-1102, "quantity")
    else:
        check_quantity(spec, request.quantity, market=request.type.endswith("MARKET"))
    if request.type == "TRAILING_STOP_MARKET":
        _check_trailing(spec, market, request)
    else:
        _check_trigger(spec, market, request)


def _check_close_position(request: OrderRequest) -> None:
    if request.type not in {"STOP_MARKET", "TAKE_PROFIT_MARKET"}:
        raise refuse(-4136, request.type)
    if request.quantity is not None:
        raise refuse(-4137)
    if request.reduce_only is not None:
        raise refuse(-1106, "reduceOnly")


def _check_trailing(spec: SymbolSpec, market: Market, request: OrderRequest) -> None:
    if request.callback_rate is None:
        raise refuse(-1102, "callbackRate")
    if not _LOWEST_CALLBACK <= request.callback_rate <= _HIGHEST_CALLBACK or request.callback_rate % Decimal(
        "0.1"
    ):
        raise refuse(-2007)
    _refuse_sent(price=request.price, triggerPrice=request.trigger_price)
    if request.activation_price is None:
        return
    check_price(spec, request.activation_price, trigger=True)
    now = market.working_price(request.working_type)
    if now is not None and _beyond(request.side, request.activation_price, now):
        raise refuse(-2021)


def _check_trigger(spec: SymbolSpec, market: Market, request: OrderRequest) -> None:
    if request.trigger_price is None:
        raise refuse(-1102, "triggerPrice")
    check_price(spec, request.trigger_price, trigger=True)
    if request.type in {"STOP", "TAKE_PROFIT"}:
        if request.price is None:
            raise refuse(-1102, "price")
        check_price(spec, request.price)
        highest, lowest = _bounds(spec, request.trigger_price)
        if request.side == "BUY" and request.price > highest:
            raise refuse(-4183, f"{highest:f}")
        if request.side == "SELL" and request.price < lowest:
            raise refuse(-4184, f"{lowest:f}")
    else:
        _refuse_sent(price=request.price)
    now = market.working_price(request.working_type)
    rising = (request.side == "BUY") == request.type.startswith("STOP")
    if now is not None and (now >= request.trigger_price if rising else now <= request.trigger_price):
        raise refuse(-2021)


def _beyond(side: str, activation: Decimal, now: Decimal) -> bool:
    """A trailing buy starts below the present price, a trailing sell above it."""
    return activation >= now if side == "BUY" else activation <= now


def _bounds(spec: SymbolSpec, price: Decimal) -> tuple[Decimal, Decimal]:
    """The highest and lowest price on the tick within the multipliers of `price`."""
    highest = price * spec.multiplier_up // spec.tick * spec.tick
    lowest = -(-price * spec.multiplier_down // spec.tick) * spec.tick
    return highest, lowest


def _refuse_sent(**parameters: object) -> None:
    for name, value in parameters.items():
        if value is not None:
            raise refuse(-1106, name)


def _check_client_id(client_id: str | None) -> None:
    if client_id is None:
        return
    if len(client_id) > 36:
        raise refuse(-4015)
    if not _CLIENT_ID.fullmatch(client_id):
        raise refuse(-1100, "newClientOrderId", _ID_RANGE)


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
