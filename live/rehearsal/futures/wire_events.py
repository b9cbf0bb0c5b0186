"""The events of the user-data stream as JSON.

Shapes: Binance's documented events and recordings. `E` is when the event is sent, `T` when it happened; both
are market time here.
"""

from typing import Any

from live.rehearsal.futures.events import (
    AccountConfigUpdate,
    AccountUpdate,
    AlgoUpdate,
    MarginCall,
    OrderUpdate,
    PositionView,
    UserEvent,
)
from live.rehearsal.futures.orders import Order, UserTrade
from live.rehearsal.futures.wire_orders import STP_MODE, trigger_shown
from live.rehearsal.serving.wire import average, money, plain, solid

__all__ = ["listen_key_expired", "user_messages"]

Json = dict[str, Any]


def user_messages(event: UserEvent) -> list[Json]:
    """What is sent for an event: a fill comes as TRADE_LITE, too, before its ORDER_TRADE_UPDATE."""
    if isinstance(event, OrderUpdate):
        lite = [_trade_lite(event, event.trade)] if event.execution == "TRADE" and event.trade else []
        return [*lite, _order_update(event)]
    if isinstance(event, AlgoUpdate):
        return [_algo_update(event)]
    if isinstance(event, AccountUpdate):
        return [_account_update(event)]
    if isinstance(event, MarginCall):
        return [_margin_call(event)]
    return [_config_update(event)]


def listen_key_expired(listen_key: str, ts_ms: int) -> Json:
    """The last message of a listen key's stream."""
    return {"e": "listenKeyExpired", "E": ts_ms, "listenKey": listen_key}


def _order_update(event: OrderUpdate) -> Json:
    order, trade = event.order, event.trade
    fields: Json = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": average(order.average_price),
        "sp": plain(order.stop_price),
        "x": event.execution,
        "X": order.status,
        "i": order.order_id,
        **_fill(order, trade),
        "T": event.ts_ms,
        "t": 0 if trade is None else trade.trade_id,
        "b": _notional(order, "BUY"),
        "a": _notional(order, "SELL"),
        "m": trade is not None and trade.maker,
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.original_type,
        "ps": order.position_side,
        "cp": order.close_position,
        "pP": order.price_protect,
        "si": 0,
        "ss": 0,
        "rp": "0" if trade is None else plain(trade.realized),
        "V": STP_MODE,
        "pm": "NONE",
        "gtd": order.good_till_ms,
    }
    if order.original_type == "TRAILING_STOP_MARKET":
        fields |= {"AP": plain(order.activation_price), "cr": plain(order.callback_rate)}
    return {"e": "ORDER_TRADE_UPDATE", "T": event.ts_ms, "E": event.ts_ms, "o": fields}


def _fill(order: Order, trade: UserTrade | None) -> Json:
    """The last fill; the commission's fields are only there with one."""
    if trade is None:
        return {"l": "0", "z": plain(order.executed), "L": "0"}
    return {
        "l": plain(trade.quantity),
        "z": plain(order.executed),
        "L": plain(trade.price),
        "n": money(trade.commission),
        "N": trade.asset,
    }


def _notional(order: Order, side: str) -> str:
    """The notional of the order's open part on its own side, zero on the other and for market orders."""
    return plain(order.remaining * order.price) if order.is_open and order.side == side else "0"


def _trade_lite(event: OrderUpdate, trade: UserTrade) -> Json:
    order = event.order
    return {
        "e": "TRADE_LITE",
        "E": event.ts_ms,
        "T": event.ts_ms,
        "s": order.symbol,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "m": trade.maker,
        "c": order.client_order_id,
        "S": order.side,
        "L": plain(trade.price),
        "l": plain(trade.quantity),
        "t": trade.trade_id,
        "i": order.order_id,
    }


def _algo_update(event: AlgoUpdate) -> Json:
    order = event.order
    fields: Json = {
        "caid": order.client_algo_id,
        "aid": order.algo_id,
        "at": "CONDITIONAL",
        "o": order.type,
        "s": order.symbol,
        "S": order.side,
        "ps": order.position_side,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "X": order.status,
        "ai": str(order.actual_order_id) if order.actual_order_id else "",
        "tp": average(trigger_shown(order)),
        "p": plain(order.price),
        "V": STP_MODE,
        "wt": order.working_type,
        "pm": "NONE",
        "cp": order.close_position,
        "pP": order.price_protect,
        "R": order.reduce_only,
        "tt": order.triggered_ms,
        "gtd": order.good_till_ms,
    }
    if order.status != "TRIGGERING":
        fields |= {
            "ap": average(order.actual_price),
            "aq": plain(order.actual_quantity),
            "act": order.actual_type or "0",
        }
    if order.is_trailing:
        fields |= _trailing(order.activation_price, order.callback_rate)
    if order.reason:
        fields["rm"] = order.reason
    return {"e": "ALGO_UPDATE", "T": event.ts_ms, "E": event.ts_ms, "o": fields}


def _trailing(activation: Any, rate: Any) -> Json:
    return {name: plain(value) for name, value in (("AP", activation), ("cr", rate)) if value is not None}


def _account_update(event: AccountUpdate) -> Json:
    return {
        "e": "ACCOUNT_UPDATE",
        "T": event.ts_ms,
        "E": event.ts_ms,
        "a": {
            "B": [
                {"a": b.asset, "wb": money(b.wallet), "cw": money(b.cross), "bc": plain(b.change)}
                for b in event.balances
            ],
            "P": [_position(view) for view in event.positions],
            "m": event.reason,
        },
    }


def _position(view: PositionView) -> Json:
    return {
        "s": view.symbol,
        "pa": plain(view.amount),
        "ep": _entry(view),
        "cr": plain(view.realized),
        "up": plain(view.unrealized),
        "mt": "isolated" if view.isolated else "cross",
        "iw": money(view.isolated_wallet) if view.isolated else "0",
        "ps": view.side,
        "ma": view.margin_asset,
        "bep": solid(view.break_even_price) if view.amount else "0",
    }


def _entry(view: PositionView) -> str:
    return solid(view.entry_price) if view.amount else "0"


def _margin_call(event: MarginCall) -> Json:
    wallet = {} if event.wallet is None else {"cw": money(event.wallet)}
    return {
        "e": "MARGIN_CALL",
        "E": event.ts_ms,
        **wallet,
        "p": [
            {
                "s": view.symbol,
                "ps": view.side,
                "pa": plain(view.amount),
                "mt": "ISOLATED" if view.isolated else "CROSSED",
                "iw": money(view.isolated_wallet) if view.isolated else "0",
                "mp": plain(view.mark_price),
                "up": plain(view.unrealized),
                "mm": plain(view.maintenance_margin),
            }
            for view in event.positions
        ],
    }


def _config_update(event: AccountConfigUpdate) -> Json:
    return {
        "e": "ACCOUNT_CONFIG_UPDATE",
        "E": event.ts_ms,
        "T": event.ts_ms,
        "ac": {"s": event.symbol, "l": event.leverage},
    }
