"""Orders, conditional orders and trades as JSON, and requests as `OrderRequest`.

Shapes: Binance's documented answers and recordings. `selfTradePreventionMode` and `priceMatch` are always the
venue's defaults: one account cannot trade with itself here, and price matching is refused.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from live.rehearsal.errors import refuse
from live.rehearsal.futures.orders import ALGO_TYPES, AlgoOrder, Order, OrderRequest, UserTrade
from live.rehearsal.serving.wire import (
    Params,
    check_places,
    money,
    plain,
    price_text,
    quantity_text,
    quote_text,
    rest_average,
)
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "STP_MODE",
    "algo_ack",
    "algo_json",
    "algo_request",
    "open_algo_json",
    "order_json",
    "order_request",
    "placed_json",
    "trade_json",
    "trigger_shown",
]

Json = dict[str, Any]
STP_MODE = "EXPIRE_MAKER"
_SIDES = ("BUY", "SELL")
_TIMES = ("GTC", "IOC", "FOK", "GTX", "GTD", "GTE_GTC")
_POSITION_SIDES = ("BOTH", "LONG", "SHORT")
_RESPONSES = ("ACK", "RESULT")
_STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_BOTH", "EXPIRE_MAKER")
_STOP_NAMES = ("stopPrice", "activationPrice", "callbackRate", "closePosition", "workingType", "priceProtect")


def order_request(params: Params, spec: SymbolSpec) -> OrderRequest:
    """The request of POST order; what only conditional orders take is refused as the venue refuses it."""
    params.ignore("symbol")
    side, kind = _side(params), params.need("type")
    if kind in ALGO_TYPES:
        raise refuse(-4120)
    if kind not in {"LIMIT", "MARKET"}:
        raise refuse(-1116)
    _take_conditional_defaults(params)
    time_in_force = _time_in_force(params, kind)
    quantity, price = params.decimal("quantity"), params.decimal("price")
    if quantity is None:
        raise refuse(-1102, "quantity")
    if kind == "MARKET":
        params.forbid("price")
    elif price is None:
        raise refuse(-1102, "price")
    check_places(price, spec.price_precision)
    check_places(quantity, spec.quantity_precision)
    _common(params)
    return OrderRequest(
        **_stated(params, spec, side, kind),
        quantity=quantity,
        price=price,
        time_in_force=time_in_force,
        client_order_id=params.text("newClientOrderId"),
    )


def algo_request(params: Params, spec: SymbolSpec) -> OrderRequest:
    """The request of POST algoOrder."""
    params.ignore("symbol")
    params.choice("algoType", ("CONDITIONAL",))
    if not params.sent("algoType"):
        raise refuse(-1102, "algoType")
    side, kind = _side(params), params.need("type")
    if kind not in ALGO_TYPES:
        raise refuse(-1116)
    trigger, price = params.decimal("triggerPrice"), params.decimal("price")
    quantity, closes = params.decimal("quantity"), params.flag("closePosition") or False
    _check_algo(params, kind, trigger is not None, price is not None, quantity is not None or closes)
    for value in (trigger, price):
        check_places(value, spec.price_precision)
    check_places(quantity, spec.quantity_precision)
    _common(params)
    return OrderRequest(
        **_stated(params, spec, side, kind),
        quantity=quantity,
        price=price,
        time_in_force=params.choice("timeInForce", _TIMES, refuse(-1115)),
        close_position=closes,
        client_order_id=params.text("clientAlgoId"),
        trigger_price=trigger,
        activation_price=_activation(params),
        callback_rate=params.decimal("callbackRate"),
        working_type=_working_type(params),
        price_protect=params.flag("priceProtect") or False,
    )


def _stated(params: Params, spec: SymbolSpec, side: str, kind: str) -> dict[str, Any]:
    """What both kinds of request say in the same words."""
    return {
        "symbol": spec.symbol,
        "side": side,
        "type": kind,
        "position_side": _position_side(params),
        "reduce_only": params.flag("reduceOnly"),
        "good_till_ms": params.integer("goodTillDate"),
    }


def placed_json(order: Order, spec: SymbolSpec) -> Json:
    """The answer to placing, changing or cancelling an order."""
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status,
        "clientOrderId": order.client_order_id,
        "price": price_text(spec, order.price),
        "avgPrice": rest_average(spec, order.average_price),
        "origQty": quantity_text(spec, order.quantity),
        "executedQty": quantity_text(spec, order.executed),
        "cumQty": quantity_text(spec, order.executed),
        "cumQuote": quote_text(spec, order.quote_filled),
        "timeInForce": order.time_in_force,
        "type": order.type,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side,
        "positionSide": order.position_side,
        "stopPrice": price_text(spec, order.stop_price),
        "workingType": order.working_type,
        "priceProtect": order.price_protect,
        "origType": order.original_type,
        **_trailing(order),
        "priceMatch": "NONE",
        "selfTradePreventionMode": STP_MODE,
        "goodTillDate": order.good_till_ms,
        "updateTime": order.updated_ms,
    }


def order_json(order: Order, spec: SymbolSpec) -> Json:
    """The answer to asking for an order: as when it was placed, with its time instead of `cumQty`."""
    asked = placed_json(order, spec) | {"time": order.created_ms}
    del asked["cumQty"]
    return asked


def algo_ack(order: AlgoOrder, spec: SymbolSpec) -> Json:
    """The answer to placing or cancelling a conditional order."""
    ack = {
        "algoId": order.algo_id,
        "clientAlgoId": order.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": order.type,
        "symbol": order.symbol,
        "side": order.side,
        "positionSide": order.position_side,
        "timeInForce": order.time_in_force,
        "quantity": quantity_text(spec, order.quantity),
        "algoStatus": order.status,
        "triggerPrice": price_text(spec, trigger_shown(order)),
        "price": price_text(spec, order.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": STP_MODE,
        "workingType": order.working_type,
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": order.price_protect,
        "reduceOnly": order.reduce_only,
        "createTime": order.created_ms,
        "updateTime": order.updated_ms,
        "triggerTime": order.triggered_ms,
        "goodTillDate": order.good_till_ms,
    }
    return ack | _algo_trailing(order)


def open_algo_json(order: AlgoOrder, spec: SymbolSpec) -> Json:
    """A conditional order in the list of the open ones."""
    unset = price_text(spec, order.price * 0)
    return algo_ack(order, spec) | {
        "actualOrderId": str(order.actual_order_id) if order.actual_order_id else "",
        "actualPrice": quote_text(spec, order.actual_price),
        "tpTriggerPrice": unset,
        "tpPrice": unset,
        "slTriggerPrice": unset,
        "slPrice": unset,
        "tpOrderType": "",
    }


def algo_json(order: AlgoOrder, spec: SymbolSpec) -> Json:
    """A conditional order asked for by its id, or in the list of all."""
    return open_algo_json(order, spec) | {
        "actualQty": quantity_text(spec, order.actual_quantity),
        "actualType": order.actual_type,
    }


def trigger_shown(order: AlgoOrder) -> Decimal:
    """The trigger price as it is told: a trailing stop's before it has one is that at its activation price.

    Source: the documented event of a new trailing order (activation 7476.89, rate 5 %, stop price 7103.04).
    """
    start = order.extreme if order.activation_price is None else order.activation_price
    if order.trigger_price or start is None or order.callback_rate is None:
        return order.trigger_price
    away = order.callback_rate / 100
    return start * (1 - away if order.side == "SELL" else 1 + away)


def trade_json(trade: UserTrade, spec: SymbolSpec) -> Json:
    """One of the account's trades."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side,
        "price": price_text(spec, trade.price),
        "qty": quantity_text(spec, trade.quantity),
        "realizedPnl": money(trade.realized) if trade.realized else "0",
        "quoteQty": quote_text(spec, trade.quote_quantity),
        "commission": money(trade.commission),
        "commissionAsset": trade.asset,
        "marginAsset": spec.margin_asset,
        "time": trade.ts_ms,
        "positionSide": trade.position_side,
        "buyer": trade.side == "BUY",
        "maker": trade.maker,
    }


def batch_params(item: Mapping[str, Any]) -> dict[str, str]:
    """One order of a batch as parameters."""
    return {name: _word(value) for name, value in item.items() if value is not None}


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _side(params: Params) -> str:
    params.need("side")
    return params.choice("side", _SIDES, refuse(-1117)) or ""


def _position_side(params: Params) -> str | None:
    return params.choice("positionSide", _POSITION_SIDES, refuse(-4060))


def _time_in_force(params: Params, kind: str) -> str | None:
    if kind == "MARKET":
        params.forbid("timeInForce")
        return None
    value = params.choice("timeInForce", _TIMES, refuse(-1115))
    if value is None:
        raise refuse(-1102, "timeinforce")
    return value


def _take_conditional_defaults(params: Params) -> None:
    """Parameters of conditional orders: refused when they would mean something, else taken."""
    if params.flag("closePosition"):
        raise refuse(-4136, "LIMIT or MARKET")
    params.forbid("stopPrice", "activationPrice", "callbackRate")
    params.ignore(*_STOP_NAMES)


def _common(params: Params) -> None:
    params.choice("newOrderRespType", _RESPONSES, refuse(-1136))
    params.choice("selfTradePreventionMode", _STP_MODES, refuse(-5039))
    if params.choice("priceMatch", ("NONE",), refuse(-5037)) is not None:
        params.ignore("priceMatch")


def _working_type(params: Params) -> str:
    word = params.text("workingType") or "CONTRACT_PRICE"
    if word not in {"MARK_PRICE", "CONTRACT_PRICE"}:
        raise refuse(-4031, word)
    return word


def _activation(params: Params) -> Any:
    """Both names the venue has had for it."""
    first = params.decimal("activatePrice")
    return first if first is not None else params.decimal("activationPrice")


def _check_algo(params: Params, kind: str, has_trigger: bool, has_price: bool, has_size: bool) -> None:
    if kind == "TRAILING_STOP_MARKET":
        params.need("callbackRate")
        params.forbid("triggerPrice")
    else:
        params.forbid("callbackRate", "activatePrice", "activationPrice")
        if not has_trigger:
            raise refuse(-1102, "triggerprice")
    if not has_size:
        raise refuse(-1102, "quantity")
    if kind in {"STOP", "TAKE_PROFIT"} and not has_price:
        raise refuse(-1102, "price")
    if kind not in {"STOP", "TAKE_PROFIT"} and has_price:
        raise refuse(-1106, "price")


def _trailing(order: Order) -> Json:
    if order.original_type != "TRAILING_STOP_MARKET":
        return {}
    return {"activatePrice": plain(order.activation_price), "priceRate": plain(order.callback_rate)}


def _algo_trailing(order: AlgoOrder) -> Json:
    if not order.is_trailing:
        return {}
    values = {"activatePrice": order.activation_price, "callbackRate": order.callback_rate}
    return {name: plain(value) for name, value in values.items() if value is not None}
