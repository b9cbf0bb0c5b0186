"""The spot trading endpoints: orders, cancel and replace, order lists; for REST and the WebSocket API."""

from typing import Any

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.serving.desk import Endpoint, Json, Security
from live.rehearsal.serving.wire import Params
from live.rehearsal.spot.errors import refuse_cancel
from live.rehearsal.spot.orders import OrderList, SpotOrder, SpotRequest
from live.rehearsal.spot.rest import SpotDesk
from live.rehearsal.spot.wire import (
    STP_MODES,
    cancelled_json,
    commission_json,
    leg_request,
    legacy_requests,
    list_json,
    order_json,
    order_request,
    placed_json,
    response_kind,
)

__all__ = [
    "ORDER_ENDPOINTS",
    "all_lists",
    "all_orders",
    "cancel_all",
    "cancel_list",
    "cancel_order",
    "open_lists",
    "open_orders",
    "place_oco",
    "place_order",
    "query_list",
    "query_order",
    "replace_order",
    "test_order",
]

_DAY_MS = 86_400_000
_RESTRICTIONS = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}
_MODES = ("STOP_ON_FAILURE", "ALLOW_FAILURE")


def place_order(desk: SpotDesk, account: str, params: Params) -> Json:
    """POST order."""
    spec = desk.asked_spec(params)
    request = order_request(params, spec.symbol)
    response = response_kind(params, request.type)
    params.finish()
    return _placed(desk, account, desk.venue.place(account, request), response)


def test_order(desk: SpotDesk, account: str, params: Params) -> Json:
    """POST order/test: everything is checked, nothing is entered."""
    spec = desk.asked_spec(params)
    request = order_request(params, spec.symbol)
    response_kind(params, request.type)
    rates = params.flag("computeCommissionRates")
    params.finish()
    desk.venue.check(account, request)
    if not rates:
        return {}
    whole = commission_json(spec.symbol, *desk.venue.commission_rates(account, spec.symbol))
    names = ("standardCommission", "specialCommission", "taxCommission")
    sides = {f"{n}ForOrder": {s: whole[n][s] for s in ("maker", "taker")} for n in names}
    return sides | {"discount": whole["discount"]}


def cancel_order(desk: SpotDesk, account: str, params: Params) -> Json:
    """DELETE order."""
    spec = desk.asked_spec(params)
    number, client_id = _order_ids(params, "orderId", "origClientOrderId")
    cancel_id = params.text("newClientOrderId") or desk.venue.new_id("cancel")
    restriction = _restriction(params)
    params.finish()
    return _cancel(desk, account, spec.symbol, number, client_id, cancel_id, restriction)


def query_order(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET order."""
    spec = desk.asked_spec(params)
    number, client_id = _order_ids(params, "orderId", "origClientOrderId")
    return order_json(desk.venue.order(account, spec.symbol, number, client_id))


def open_orders(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET openOrders."""
    symbol = params.text("symbol")
    if symbol is not None:
        desk.spec(symbol)
    return [order_json(order) for order in desk.venue.open_orders(account, symbol)]


def all_orders(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET allOrders: from `orderId` on, or by time, else the newest."""
    spec = desk.asked_spec(params)
    window = params.window("orderId", longest_ms=_DAY_MS)
    orders = desk.venue.all_orders(account, spec.symbol)
    kept = window.of(orders, lambda order: order.created_ms, lambda order: order.order_id)
    return [order_json(order) for order in kept]


def cancel_all(desk: SpotDesk, account: str, params: Params) -> Json:
    """DELETE openOrders: -2011 when there is none."""
    spec = desk.asked_spec(params)
    params.finish()
    ended = desk.venue.cancel_all(account, spec.symbol)
    if not ended:
        raise refuse_cancel()
    return [_ended(desk, account, each) for each in ended]


def replace_order(desk: SpotDesk, account: str, params: Params) -> Json:
    """POST order/cancelReplace: -2022 when the cancel failed, -2021 when one of both did."""
    spec = desk.asked_spec(params)
    mode = params.need("cancelReplaceMode")
    if mode not in _MODES:
        raise refuse(-1130, "cancelReplaceMode")
    number, client_id = _order_ids(params, "cancelOrderId", "cancelOrigClientOrderId")
    cancel_id = params.text("cancelNewClientOrderId") or desk.venue.new_id("cancel")
    restriction = _restriction(params)
    params.choice("orderRateLimitExceededMode", ("DO_NOTHING", "CANCEL_ONLY"))
    request = order_request(params, spec.symbol)
    response = response_kind(params, request.type)
    params.finish()
    cancelled: Any
    try:
        cancelled, gone = (
            _cancel(desk, account, spec.symbol, number, client_id, cancel_id, restriction),
            True,
        )
    except VenueError as error:
        cancelled, gone = _refused(error), False
        if mode == "STOP_ON_FAILURE":
            raise _replace_failed(-2022, cancelled, None, gone=False, entered=None) from error
    return _entered_after(desk, account, request, response, cancelled, gone=gone)


def place_oco(desk: SpotDesk, account: str, params: Params) -> Json:
    """POST orderList/oco."""
    spec = desk.asked_spec(params)
    above, below = (leg_request(params, spec.symbol, leg) for leg in ("above", "below"))
    return _place_pair(desk, account, params, above, below)


def place_legacy_oco(desk: SpotDesk, account: str, params: Params) -> Json:
    """POST order/oco, the older form."""
    spec = desk.asked_spec(params)
    return _place_pair(desk, account, params, *legacy_requests(params, spec.symbol))


def cancel_list(desk: SpotDesk, account: str, params: Params) -> Json:
    """DELETE orderList."""
    spec = desk.asked_spec(params)
    number, client_id = _order_ids(params, "orderListId", "listClientOrderId")
    cancel_id = params.text("newClientOrderId") or desk.venue.new_id("cancel")
    params.finish()
    pair = desk.venue.cancel_list(account, spec.symbol, number, client_id, cancel_id=cancel_id)
    return _list_ended(desk, account, pair, cancel_id)


def query_list(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET orderList."""
    number, client_id = _order_ids(params, "orderListId", "origClientOrderId")
    pair = desk.venue.order_list(account, number, client_id)
    return list_json(pair, desk.venue.list_orders(account, pair))


def all_lists(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET allOrderList: from an id on, or by time, else the newest."""
    window = params.window("fromId", longest_ms=_DAY_MS)
    lists = desk.venue.order_lists(account)
    kept = window.of(lists, lambda pair: pair.updated_ms, lambda pair: pair.list_id)
    return [list_json(pair, desk.venue.list_orders(account, pair)) for pair in kept]


def open_lists(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET openOrderList."""
    del params
    found = desk.venue.order_lists(account, only_open=True)
    return [list_json(pair, desk.venue.list_orders(account, pair)) for pair in found]


def _placed(desk: SpotDesk, account: str, order: SpotOrder, response: str) -> Json:
    return placed_json(order, desk.venue.user_trades(account, order.symbol), response)


def _place_pair(desk: SpotDesk, account: str, params: Params, above: SpotRequest, below: SpotRequest) -> Json:
    list_id = params.text("listClientOrderId")
    params.choice("selfTradePreventionMode", STP_MODES)
    response = params.choice("newOrderRespType", ("ACK", "RESULT", "FULL"), refuse(-1136)) or "RESULT"
    params.finish()
    pair = desk.venue.place_oco(account, above, below, list_id)
    orders = desk.venue.list_orders(account, pair)
    reports = [_placed(desk, account, order, response) for order in orders]
    return list_json(pair, orders, reports)


def _entered_after(
    desk: SpotDesk, account: str, request: SpotRequest, response: str, cancelled: Any, *, gone: bool
) -> Json:
    """Enter the new order after the cancel, and tell how both went."""
    try:
        entered = _placed(desk, account, desk.venue.place(account, request), response)
    except VenueError as error:
        code = -2021 if gone else -2022
        raise _replace_failed(code, cancelled, _refused(error), gone=gone, entered=False) from error
    if not gone:
        raise _replace_failed(-2021, cancelled, entered, gone=False, entered=True)
    return {
        "cancelResult": "SUCCESS",
        "newOrderResult": "SUCCESS",
        "cancelResponse": cancelled,
        "newOrderResponse": entered,
    }


def _replace_failed(
    code: int, cancelled: Any, answer: Any, *, gone: bool, entered: bool | None
) -> VenueError:
    """-2021 partly, -2022 wholly; `entered` is None when the new order was not tried."""
    results = {True: "SUCCESS", False: "FAILURE", None: "NOT_ATTEMPTED"}
    text = "Order cancel-replace partially failed." if code == -2021 else "Order cancel-replace failed."
    return VenueError(
        code,
        text,
        409 if code == -2021 else 400,
        data={
            "cancelResult": results[gone],
            "newOrderResult": results[entered],
            "cancelResponse": cancelled,
            "newOrderResponse": answer,
        },
    )


def _refused(error: VenueError) -> Json:
    return {"code": error.code, "msg": error.message}


def _cancel(
    desk: SpotDesk,
    account: str,
    symbol: str,
    number: int | None,
    client_id: str | None,
    cancel_id: str,
    restriction: str | None,
) -> Json:
    if restriction is not None:
        order = desk.venue.order(account, symbol, number, client_id)
        if order.is_open and order.status != restriction:
            raise refuse_cancel("Order was not canceled due to cancel restrictions.")
    order = desk.venue.cancel(account, symbol, number, client_id, cancel_id=cancel_id)
    return cancelled_json(order, cancel_id)


def _restriction(params: Params) -> str | None:
    text = "Invalid cancelRestrictions value."
    asked = params.choice("cancelRestrictions", _RESTRICTIONS, VenueError(-1145, text))
    return None if asked is None else _RESTRICTIONS[asked]


def _ended(desk: SpotDesk, account: str, ended: SpotOrder | OrderList) -> Json:
    cancel_id = desk.venue.new_id("cancel")
    if isinstance(ended, OrderList):
        return _list_ended(desk, account, ended, cancel_id)
    return cancelled_json(ended, cancel_id)


def _list_ended(desk: SpotDesk, account: str, pair: OrderList, cancel_id: str) -> Json:
    orders = desk.venue.list_orders(account, pair)
    return list_json(pair, orders, [cancelled_json(order, cancel_id) for order in orders])


def _order_ids(params: Params, number_name: str, id_name: str) -> tuple[int | None, str | None]:
    number, client_id = params.integer(number_name), params.text(id_name)
    if number is None and client_id is None:
        raise VenueError(
            -1102, f"Param '{id_name}' or '{number_name}' must be sent, but both were empty/null!"
        )
    return number, client_id


def _open_weight(params: Any) -> int:
    return 6 if params.get("symbol") else 80


_ORDER = "/api/v3/order"
_LIST = "/api/v3/orderList"
ORDER_ENDPOINTS = (
    Endpoint("POST", _ORDER, Security.TRADE, place_order, 1, 1),
    Endpoint("POST", "/api/v3/order/test", Security.TRADE, test_order),
    Endpoint("DELETE", _ORDER, Security.TRADE, cancel_order),
    Endpoint("GET", _ORDER, Security.READ, query_order, 4),
    Endpoint("POST", "/api/v3/order/cancelReplace", Security.TRADE, replace_order, 1, 1),
    Endpoint("GET", "/api/v3/openOrders", Security.READ, open_orders, _open_weight),
    Endpoint("DELETE", "/api/v3/openOrders", Security.TRADE, cancel_all),
    Endpoint("GET", "/api/v3/allOrders", Security.READ, all_orders, 20),
    Endpoint("POST", f"{_LIST}/oco", Security.TRADE, place_oco, 1, 2),
    Endpoint("POST", "/api/v3/order/oco", Security.TRADE, place_legacy_oco, 1, 2),
    Endpoint("DELETE", _LIST, Security.TRADE, cancel_list),
    Endpoint("GET", _LIST, Security.READ, query_list, 4),
    Endpoint("GET", "/api/v3/allOrderList", Security.READ, all_lists, 20),
    Endpoint("GET", "/api/v3/openOrderList", Security.READ, open_lists, 6),
)
