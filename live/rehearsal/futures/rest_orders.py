"""The trading endpoints: orders, conditional orders, batches, trades."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.futures.desk import FuturesDesk, find_order
from live.rehearsal.futures.orders import AlgoOrder, Order
from live.rehearsal.futures.wire_orders import (
    algo_ack,
    algo_json,
    algo_request,
    batch_params,
    open_algo_json,
    order_json,
    order_request,
    placed_json,
    trade_json,
)
from live.rehearsal.serving.desk import Endpoint, Json, Security
from live.rehearsal.serving.wire import Params, check_places, newest

__all__ = [
    "ENDPOINTS",
    "cancel_algo",
    "cancel_order",
    "modify_order",
    "place_algo",
    "place_order",
    "query_order",
]

_MOST_IN_BATCH = 5
_MOST_CANCELLED = 10
_DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}
_WEEK_MS = 7 * 86_400_000


def place_order(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST order."""
    spec = desk.asked_spec(params)
    request = order_request(params, spec)
    params.finish()
    return placed_json(desk.venue.place(account, request), spec)


def check_order(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST order/test: the parameters are read, nothing is entered."""
    del account
    order_request(params, desk.asked_spec(params))
    return {}


def modify_order(desk: FuturesDesk, account: str, params: Params) -> Json:
    """PUT order."""
    spec = desk.asked_spec(params)
    number, client_id = params.integer("orderId"), params.text("origClientOrderId")
    if number is None and client_id is None:
        raise refuse(-1102, "orderid")
    side = params.need("side")
    if side not in {"BUY", "SELL"}:
        raise refuse(-1117)
    quantity, price = params.decimal("quantity"), params.decimal("price")
    if quantity is None or price is None:
        raise refuse(-1102, "quantity" if quantity is None else "price")
    check_places(quantity, spec.quantity_precision)
    check_places(price, spec.price_precision)
    params.choice("priceMatch", ("NONE",), refuse(-5037))
    params.ignore("positionSide")
    params.finish()
    changed = desk.venue.modify(
        account, spec.symbol, number, client_id, side=side, quantity=quantity, price=price
    )
    return placed_json(changed, spec)


def cancel_order(desk: FuturesDesk, account: str, params: Params) -> Json:
    """DELETE order."""
    spec = desk.asked_spec(params)
    number, client_id = params.integer("orderId"), params.text("origClientOrderId")
    if number is None and client_id is None:
        raise refuse(-1102, "orderid")
    params.finish()
    return placed_json(desk.venue.cancel(account, spec.symbol, number, client_id), spec)


def query_order(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET order."""
    order = find_order(desk, account, params)
    return order_json(order, desk.spec(order.symbol))


def query_open_order(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET openOrder: -2013 for one that is not open."""
    order = find_order(desk, account, params)
    if not order.is_open:
        raise refuse(-2013)
    return order_json(order, desk.spec(order.symbol))


def open_orders(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET openOrders."""
    symbol = params.text("symbol")
    if symbol is not None:
        desk.spec(symbol)
    return [order_json(order, desk.spec(order.symbol)) for order in desk.venue.open_orders(account, symbol)]


def all_orders(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET allOrders: from `orderId` on, or by time, else the newest."""
    spec = desk.asked_spec(params)
    window = params.window("orderId", longest_ms=_WEEK_MS)
    orders: list[Order] = desk.venue.all_orders(account, spec.symbol)
    kept = window.of(orders, lambda order: order.created_ms, lambda order: order.order_id)
    return [order_json(order, spec) for order in kept]


def cancel_all(desk: FuturesDesk, account: str, params: Params) -> Json:
    """DELETE allOpenOrders."""
    spec = desk.asked_spec(params)
    params.finish()
    desk.venue.cancel_all(account, spec.symbol)
    return dict(_DONE)


def place_batch(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST batchOrders: each by itself, answers in the order of the orders."""
    items = _json_list(params, "batchOrders", _MOST_IN_BATCH)
    params.finish()
    return [_one(desk, account, place_order, item) for item in items]


def modify_batch(desk: FuturesDesk, account: str, params: Params) -> Json:
    """PUT batchOrders."""
    items = _json_list(params, "batchOrders", _MOST_IN_BATCH)
    params.finish()
    return [_one(desk, account, modify_order, item) for item in items]


def cancel_batch(desk: FuturesDesk, account: str, params: Params) -> Json:
    """DELETE batchOrders, by `orderIdList` or `origClientOrderIdList`."""
    spec = desk.asked_spec(params)
    name, field = "orderIdList", "orderId"
    if not params.sent(name):
        name, field = "origClientOrderIdList", "origClientOrderId"
    ids = _json_list(params, name, _MOST_CANCELLED)
    params.ignore("orderIdList", "origClientOrderIdList")
    params.finish()
    return [_one(desk, account, cancel_order, {"symbol": spec.symbol, field: each}) for each in ids]


def place_algo(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST algoOrder."""
    spec = desk.asked_spec(params)
    request = algo_request(params, spec)
    params.finish()
    return algo_ack(desk.venue.place_algo(account, request), spec)


def cancel_algo(desk: FuturesDesk, account: str, params: Params) -> Json:
    """DELETE algoOrder: an acknowledgement."""
    number, client_id = _algo_ids(params)
    params.ignore("symbol")
    params.finish()
    cancelled = desk.venue.cancel_algo(account, number, client_id)
    return {
        "algoId": cancelled.algo_id,
        "clientAlgoId": cancelled.client_algo_id,
        "code": "200",
        "msg": "success",
    }


def query_algo(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET algoOrder."""
    order = desk.venue.algo_order(account, *_algo_ids(params))
    params.ignore("symbol")
    return algo_json(order, desk.spec(order.symbol))


def open_algos(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET openAlgoOrders."""
    symbol, number = params.text("symbol"), params.integer("algoId")
    params.choice("algoType", ("CONDITIONAL",))
    if symbol is not None:
        desk.spec(symbol)
    orders = desk.venue.open_algo_orders(account, symbol)
    return [open_algo_json(o, desk.spec(o.symbol)) for o in orders if number in {None, o.algo_id}]


def all_algos(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET allAlgoOrders, page by page."""
    spec = desk.asked_spec(params)
    window = params.window("algoId", longest_ms=_WEEK_MS)
    page, first = params.integer("page", least=1, default=1) or 1, window.first or 0
    orders: Sequence[AlgoOrder] = desk.venue.all_algo_orders(account, spec.symbol)
    chosen = [order for order in orders if window.covers(order.created_ms) and order.algo_id >= first]
    return [algo_json(order, spec) for order in chosen[(page - 1) * window.limit : page * window.limit]]


def cancel_all_algos(desk: FuturesDesk, account: str, params: Params) -> Json:
    """DELETE algoOpenOrders."""
    spec = desk.asked_spec(params)
    params.finish()
    desk.venue.cancel_all_algo(account, spec.symbol)
    return dict(_DONE)


def user_trades(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET userTrades: by order, from an id on, by time, else the newest."""
    spec = desk.asked_spec(params)
    order_id, window = params.integer("orderId"), params.window("fromId", longest_ms=_WEEK_MS)
    fills = [t for t in desk.venue.user_trades(account, spec.symbol) if order_id in {None, t.order_id}]
    kept = window.of(fills, lambda trade: trade.ts_ms, lambda trade: trade.trade_id)
    return [trade_json(trade, spec) for trade in kept]


def forced_orders(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET forceOrders: the account's liquidations and auto-deleveragings, or one kind of them."""
    symbol, window = params.text("symbol"), params.window(default=50, most=100, longest_ms=_WEEK_MS)
    kind = params.choice("autoCloseType", ("LIQUIDATION", "ADL"))
    forced: list[Order] = desk.venue.forced_orders(account, symbol)
    if kind is not None:
        forced = [order for order in forced if order.deleverages == (kind == "ADL")]
    kept = newest((order for order in forced if window.covers(order.created_ms)), window.limit)
    return [order_json(order, desk.spec(order.symbol)) for order in kept]


def set_countdown(desk: FuturesDesk, account: str, params: Params) -> Json:
    """POST countdownCancelAll: cancel a symbol's open orders unless called again in time; 0 stops it."""
    spec = desk.asked_spec(params)
    milliseconds = params.integer("countdownTime", least=0)
    if milliseconds is None:
        raise refuse(-1102, "countdownTime")
    params.finish()
    key = (account, spec.symbol)
    desk.countdowns.pop(key, None)
    if milliseconds:
        desk.countdowns[key] = desk.clock.request_ms() + milliseconds
    return {"symbol": spec.symbol, "countdownTime": str(milliseconds)}


def _one(
    desk: FuturesDesk, account: str, handler: Callable[[FuturesDesk, str, Params], Json], item: dict[str, Any]
) -> Json:
    try:
        return desk.run(handler, account, batch_params(item))
    except VenueError as error:
        return {"code": error.code, "msg": error.message}


def _json_list(params: Params, name: str, most: int) -> list[Any]:
    try:
        items = json.loads(params.need(name))
    except ValueError as error:
        raise refuse(-1130, name) from error
    if not isinstance(items, list) or not items:
        raise refuse(-1130, name)
    if len(items) > most:
        raise refuse(-4082)
    return items


def _algo_ids(params: Params) -> tuple[int | None, str | None]:
    number, client_id = params.integer("algoId"), params.text("clientAlgoId")
    if number is None and client_id is None:
        raise refuse(-1102, "algoid")
    return number, client_id


def _batch_size(params: Any) -> int:
    try:
        items = json.loads(params.get("batchOrders", "[]"))
    except ValueError:
        return 1
    return len(items) if isinstance(items, list) else 1


def _forced_weight(params: Any) -> int:
    return 20 if params.get("symbol") else 50


def _open_weight(params: Any) -> int:
    return 1 if params.get("symbol") else 40


_ORDER = "/fapi/v1/order"
_BATCH = "/fapi/v1/batchOrders"
_ALGO = "/fapi/v1/algoOrder"
ENDPOINTS = (
    Endpoint("POST", _ORDER, Security.TRADE, place_order, 0, 1),
    Endpoint("POST", "/fapi/v1/order/test", Security.TRADE, check_order, 0),
    Endpoint("PUT", _ORDER, Security.TRADE, modify_order, 1, 1),
    Endpoint("DELETE", _ORDER, Security.TRADE, cancel_order),
    Endpoint("GET", _ORDER, Security.READ, query_order),
    Endpoint("POST", _BATCH, Security.TRADE, place_batch, 5, _batch_size),
    Endpoint("PUT", _BATCH, Security.TRADE, modify_batch, 5, _batch_size),
    Endpoint("DELETE", _BATCH, Security.TRADE, cancel_batch),
    Endpoint("GET", "/fapi/v1/openOrder", Security.READ, query_open_order),
    Endpoint("GET", "/fapi/v1/openOrders", Security.READ, open_orders, _open_weight),
    Endpoint("DELETE", "/fapi/v1/allOpenOrders", Security.TRADE, cancel_all),
    Endpoint("GET", "/fapi/v1/allOrders", Security.READ, all_orders, 5),
    Endpoint("POST", _ALGO, Security.TRADE, place_algo, 0, 1),
    Endpoint("DELETE", _ALGO, Security.TRADE, cancel_algo),
    Endpoint("GET", _ALGO, Security.READ, query_algo),
    Endpoint("GET", "/fapi/v1/openAlgoOrders", Security.READ, open_algos, _open_weight),
    Endpoint("GET", "/fapi/v1/allAlgoOrders", Security.READ, all_algos, 5),
    Endpoint("DELETE", "/fapi/v1/algoOpenOrders", Security.TRADE, cancel_all_algos),
    Endpoint("GET", "/fapi/v1/userTrades", Security.READ, user_trades, 5),
    Endpoint("GET", "/fapi/v1/forceOrders", Security.READ, forced_orders, _forced_weight),
    Endpoint("POST", "/fapi/v1/countdownCancelAll", Security.TRADE, set_countdown, 10),
)
