"""How a live strategy's orders and its market look in the engine's cache, for who looks for lost news."""

import math
from collections.abc import Iterable
from typing import Any, Literal

from nautilus_trader.model import ClientOrderId, InstrumentId, OrderStatus, OrderType

from strategies.forced import forced_kind
from strategies.lost_orders import Market, Resting
from strategies.orders import EXIT, STOP, TARGET, slot_of
from strategies.venue_stop import BRIDGE

__all__ = ["market_now", "only_closes", "resting", "unanswered_since"]

_CLOSING = (STOP, BRIDGE, TARGET, EXIT)

_UNANSWERED = (OrderStatus.INITIALIZED, OrderStatus.SUBMITTED)
_CHANGING = (OrderStatus.PENDING_UPDATE, OrderStatus.PENDING_CANCEL)
_KINDS: dict[OrderType, Literal["stop", "limit"]] = {
    OrderType.STOP_MARKET: "stop",
    OrderType.LIMIT: "limit",
}


def only_closes(order_id: str) -> bool:
    """Whether the venue fills it until flat and no further: one of ours by its name, or the venue's own."""
    return slot_of(order_id).role in _CLOSING or bool(forced_kind(order_id))


def unanswered_since(cache: Any, ids: Iterable[ClientOrderId]) -> float:
    """When the oldest order was sent that nobody has answered (ns UTC); inf without one."""
    orders = [cache.order(order_id) for order_id in ids]
    sent = [order.ts_init for order in orders if order is not None and order.status in _UNANSWERED]
    return min(sent, default=math.inf)


def resting(cache: Any, ids: Iterable[ClientOrderId]) -> list[Resting]:
    """The orders that were sent and are not closed."""
    found = []
    for order_id in ids:
        order = cache.order(order_id)
        if order is None or order.is_closed or order.status == OrderStatus.INITIALIZED:
            continue
        kind: Literal["stop", "limit", "market", "changing"] = _KINDS.get(order.order_type, "market")
        level = order.trigger_price if kind == "stop" else getattr(order, "price", None)
        if order.status in _CHANGING or (order.status == OrderStatus.SUBMITTED and kind != "market"):
            kind = "changing"
        price = math.nan if level is None else level.as_double()
        since = int(order.ts_init if kind == "market" else order.ts_last)  # of what is accepted: the venue's
        found.append(Resting(str(order_id), kind, bool(order.is_buy), price, since))
    return found


def market_now(cache: Any, instrument: InstrumentId) -> Market:
    """Where the market is by the last quote; without a mark price the middle stands for it."""
    quote = cache.quote(instrument)
    if quote is None:
        return Market(math.nan, math.nan, math.nan)
    bid, ask = quote.bid_price.as_double(), quote.ask_price.as_double()
    mark = cache.mark_price(instrument)
    return Market(bid, ask, (bid + ask) / 2.0 if mark is None else mark.value.as_double())
