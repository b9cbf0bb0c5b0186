"""Spot orders, order lists, trades and accounts as JSON, and parameters as requests.

Shapes: Binance's spot rest-api.md and recordings. Prices and quantities have eight decimals on the wire.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.serving.wire import Params, money
from live.rehearsal.spot.account import Balance
from live.rehearsal.spot.orders import OrderList, SpotOrder, SpotRequest, SpotTrade

__all__ = [
    "STP_MODE",
    "STP_MODES",
    "account_json",
    "cancelled_json",
    "commission_json",
    "leg_request",
    "legacy_requests",
    "list_json",
    "order_json",
    "order_request",
    "placed_json",
    "response_kind",
    "trade_json",
]

Json = dict[str, Any]
STP_MODE = "EXPIRE_MAKER"
STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT")
_RESPONSES = ("ACK", "RESULT", "FULL")
_NOT_MODELLED = ("icebergQty", "trailingDelta", "pegPriceType", "pegOffsetType", "pegOffsetValue")
_BASIS = 10_000
_UID = 354_937_868


def order_request(params: Params, symbol: str) -> SpotRequest:
    """The request of POST order, of its test and of cancelReplace."""
    _common(params)
    return SpotRequest(
        symbol=symbol,
        side=params.need("side"),
        type=params.need("type"),
        quantity=params.decimal("quantity"),
        quote_quantity=params.decimal("quoteOrderQty"),
        price=params.decimal("price"),
        stop_price=params.decimal("stopPrice"),
        time_in_force=params.text("timeInForce"),
        client_order_id=params.text("newClientOrderId"),
    )


def leg_request(params: Params, symbol: str, leg: str) -> SpotRequest:
    """The `above` or `below` order of POST orderList/oco."""
    _refuse_unmodelled(params, *(f"{leg}{name[0].upper()}{name[1:]}" for name in _NOT_MODELLED))
    params.ignore(f"{leg}StrategyId", f"{leg}StrategyType")
    kind = params.need(f"{leg}Type")
    return SpotRequest(
        symbol=symbol,
        side=params.need("side"),
        type=kind,
        quantity=params.decimal("quantity"),
        price=params.decimal(f"{leg}Price"),
        stop_price=params.decimal(f"{leg}StopPrice"),
        time_in_force=params.text(f"{leg}TimeInForce"),
        client_order_id=params.text(f"{leg}ClientOrderId"),
    )


def legacy_requests(params: Params, symbol: str) -> tuple[SpotRequest, SpotRequest]:
    """The orders above and below the market of the older POST order/oco."""
    _refuse_unmodelled(params, "limitIcebergQty", "stopIcebergQty", "trailingDelta")
    params.ignore("limitStrategyId", "limitStrategyType", "stopStrategyId", "stopStrategyType")
    side, quantity = params.need("side"), params.decimal("quantity")
    stop_limit = params.decimal("stopLimitPrice")
    limit = SpotRequest(
        symbol=symbol,
        side=side,
        type="LIMIT_MAKER",
        quantity=quantity,
        price=params.decimal("price"),
        client_order_id=params.text("limitClientOrderId"),
    )
    stop = SpotRequest(
        symbol=symbol,
        side=side,
        type="STOP_LOSS" if stop_limit is None else "STOP_LOSS_LIMIT",
        quantity=quantity,
        price=stop_limit,
        stop_price=params.decimal("stopPrice"),
        time_in_force=params.text("stopLimitTimeInForce"),
        client_order_id=params.text("stopClientOrderId"),
    )
    return (limit, stop) if side == "SELL" else (stop, limit)


def response_kind(params: Params, kind: str) -> str:
    """The answer asked for by `newOrderRespType`: FULL for limit and market orders unless said otherwise."""
    asked = params.choice("newOrderRespType", _RESPONSES, refuse(-1136))
    return asked or ("FULL" if kind in {"LIMIT", "MARKET"} else "ACK")


def placed_json(order: SpotOrder, trades: Iterable[SpotTrade], response: str) -> Json:
    """The answer to placing an order."""
    ack = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
        "transactTime": order.updated_ms,
    }
    if response == "ACK":
        return ack
    result = ack | _state(order) | {"workingTime": order.working_ms} | _expiry(order)
    if response == "FULL":
        result["fills"] = [_fill(trade) for trade in trades if trade.order_id == order.order_id]
    return result


def cancelled_json(order: SpotOrder, cancel_id: str) -> Json:
    """The answer to cancelling an order."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_order_id,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": cancel_id,
        "transactTime": order.updated_ms,
    } | _state(order)


def order_json(order: SpotOrder) -> Json:
    """The answer to asking for an order."""
    named = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_order_id,
    }
    times = {
        "stopPrice": money(order.stop_price),
        "icebergQty": money(Decimal(0)),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.working or order.status == "FILLED",
        "workingTime": order.working_ms,
    }
    return named | _state(order) | times | _expiry(order)


def list_json(pair: OrderList, orders: Iterable[SpotOrder], reports: list[Json] | None = None) -> Json:
    """An order list; with `reports` as the answer to placing or cancelling it."""
    answer: Json = {
        "orderListId": pair.list_id,
        "contingencyType": "OCO",
        "listStatusType": pair.status,
        "listOrderStatus": pair.order_status,
        "listClientOrderId": pair.client_list_id,
        "transactionTime": pair.updated_ms,
        "symbol": pair.symbol,
        "orders": [
            {"symbol": order.symbol, "orderId": order.order_id, "clientOrderId": order.client_order_id}
            for order in orders
        ],
    }
    return answer if reports is None else answer | {"orderReports": reports}


def trade_json(trade: SpotTrade) -> Json:
    """One of the account's trades."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": trade.list_id,
        "price": money(trade.price),
        "qty": money(trade.quantity),
        "quoteQty": money(trade.quote_quantity),
        "commission": money(trade.commission),
        "commissionAsset": trade.asset,
        "time": trade.ts_ms,
        "isBuyer": trade.side == "BUY",
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def account_json(
    balances: Iterable[Balance], rates: tuple[Decimal, Decimal], updated_ms: int, *, can_withdraw: bool
) -> Json:
    """GET account."""
    maker, taker = rates
    return {
        "makerCommission": int(maker * _BASIS),
        "takerCommission": int(taker * _BASIS),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": _rates(maker, taker),
        "canTrade": True,
        "canWithdraw": can_withdraw,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": updated_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": each.asset, "free": money(each.free), "locked": money(each.locked)} for each in balances
        ],
        "permissions": ["SPOT"],
        "uid": _UID,
    }


def commission_json(symbol: str, maker: Decimal, taker: Decimal, bnb_rate: Decimal | None) -> Json:
    """GET account/commission."""
    none = _rates(Decimal(0), Decimal(0))
    return {
        "symbol": symbol,
        "standardCommission": _rates(maker, taker),
        "specialCommission": none,
        "taxCommission": none,
        "discount": {
            "enabledForAccount": bnb_rate is not None,
            "enabledForSymbol": True,
            "discountAsset": "BNB",
            "discount": money(Decimal("0.75") if bnb_rate is None else bnb_rate),
        },
    }


def _rates(maker: Decimal, taker: Decimal) -> Json:
    zero = money(Decimal(0))
    return {"maker": money(maker), "taker": money(taker), "buyer": zero, "seller": zero}


def _state(order: SpotOrder) -> Json:
    state: Json = {
        "price": money(order.price),
        "origQty": money(order.quantity),
        "executedQty": money(order.executed),
        "origQuoteOrderQty": money(order.quote_quantity),
        "cummulativeQuoteQty": money(order.quote_filled),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.type,
        "side": order.side,
        "selfTradePreventionMode": STP_MODE,
    }
    return state | ({"stopPrice": money(order.stop_price)} if order.stop_price else {})


def _expiry(order: SpotOrder) -> Json:
    return {"expiryReason": order.expiry_reason} if order.expiry_reason else {}


def _fill(trade: SpotTrade) -> Json:
    return {
        "price": money(trade.price),
        "qty": money(trade.quantity),
        "commission": money(trade.commission),
        "commissionAsset": trade.asset,
        "tradeId": trade.trade_id,
    }


def _common(params: Params) -> None:
    params.choice("selfTradePreventionMode", STP_MODES, VenueError(-1130, "Invalid selfTradePreventionMode."))
    params.ignore("strategyId", "strategyType")
    _refuse_unmodelled(params, *_NOT_MODELLED)


def _refuse_unmodelled(params: Params, *names: str) -> None:
    """Icebergs, trailing and pegged orders are refused: taken without effect they would mislead."""
    if any(params.sent(name) for name in names):
        raise refuse(-1014)
