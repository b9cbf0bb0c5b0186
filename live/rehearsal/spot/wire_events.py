"""The spot user-data events as JSON, as they lie in the `event` of a WebSocket API message.

Shapes: Binance's spot user-data-stream.md. `E` is when the event is sent, `T` when it happened; both are
market time here.
"""

from decimal import Decimal
from typing import Any

from live.rehearsal.serving.wire import money
from live.rehearsal.spot.events import BalanceUpdate, ExecutionReport, ListStatus, Position, SpotUserEvent
from live.rehearsal.spot.orders import SpotTrade
from live.rehearsal.spot.wire import STP_MODE

__all__ = ["spot_messages", "stream_terminated"]

Json = dict[str, Any]
_ZERO = money(Decimal(0))


def spot_messages(event: SpotUserEvent) -> list[Json]:
    """What is sent for an event."""
    if isinstance(event, ExecutionReport):
        return [_report(event)]
    if isinstance(event, ListStatus):
        return [_list_status(event)]
    if isinstance(event, Position):
        return [_position(event)]
    return [_balance_update(event)]


def stream_terminated(ts_ms: int) -> Json:
    """The last message of a subscription."""
    return {"e": "eventStreamTerminated", "E": ts_ms}


def _report(event: ExecutionReport) -> Json:
    order, cancelled = event.order, bool(event.cancel_id)
    report: Json = {
        "e": "executionReport",
        "E": event.ts_ms,
        "s": order.symbol,
        "c": event.cancel_id or order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": money(order.quantity),
        "p": money(order.price),
        "P": money(order.stop_price),
        "F": _ZERO,
        "g": order.list_id,
        "C": order.client_order_id if cancelled else "",
        "x": event.execution,
        "X": order.status,
        "r": "NONE",
        "i": order.order_id,
        **_filled(event.trade),
        "z": money(order.executed),
        "T": event.ts_ms,
        "I": event.execution_id,
        "w": order.working,
        "M": False,
        "O": order.created_ms,
        "Z": money(order.quote_filled),
        "Q": money(order.quote_quantity),
        "V": STP_MODE,
    }
    if order.working_ms >= 0:
        report["W"] = order.working_ms
    if order.expiry_reason:
        report["eR"] = order.expiry_reason
    return report


def _filled(trade: SpotTrade | None) -> Json:
    """The fields of the fill; those of none for any other execution."""
    if trade is None:
        return {"l": _ZERO, "L": _ZERO, "n": "0", "N": None, "t": -1, "m": False, "Y": _ZERO}
    return {
        "l": money(trade.quantity),
        "L": money(trade.price),
        "n": money(trade.commission),
        "N": trade.asset,
        "t": trade.trade_id,
        "m": trade.maker,
        "Y": money(trade.quote_quantity),
    }


def _list_status(event: ListStatus) -> Json:
    pair = event.order_list
    return {
        "e": "listStatus",
        "E": event.ts_ms,
        "s": pair.symbol,
        "g": pair.list_id,
        "c": "OCO",
        "l": pair.status,
        "L": pair.order_status,
        "r": "NONE",
        "C": pair.client_list_id,
        "T": event.ts_ms,
        "O": [{"s": pair.symbol, "i": number, "c": client_id} for number, client_id in event.orders],
    }


def _position(event: Position) -> Json:
    return {
        "e": "outboundAccountPosition",
        "E": event.ts_ms,
        "u": event.updated_ms,
        "B": [{"a": b.asset, "f": money(b.free), "l": money(b.locked)} for b in event.balances],
    }


def _balance_update(event: BalanceUpdate) -> Json:
    return {
        "e": "balanceUpdate",
        "E": event.ts_ms,
        "a": event.asset,
        "d": money(event.change),
        "T": event.ts_ms,
    }
