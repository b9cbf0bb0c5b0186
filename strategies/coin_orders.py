"""A target and a stop for the same coins as one list, as a spot venue takes it."""

from collections.abc import Sequence
from typing import Any

from nautilus_trader.core import UUID4
from nautilus_trader.model import (
    ClientOrderId,
    ContingencyType,
    InstrumentId,
    LimitOrder,
    OrderListId,
    OrderSide,
    Price,
    Quantity,
    StopMarketOrder,
    TimeInForce,
    TriggerType,
)
from nautilus_trader.trading import Strategy

__all__ = ["one_list"]


def one_list(
    strategy: Strategy,
    instrument: InstrumentId,
    quantity: Quantity,
    names: Sequence[ClientOrderId],
    levels: Sequence[Price],
) -> list[LimitOrder | StopMarketOrder]:
    """The orders of a list that sells, target and stop; `names` and `levels` in that order.

    When one of them fills, the venue takes the other back.
    """
    target_id, stop_id = names
    shared: dict[str, Any] = {
        "trader_id": strategy.order_factory.trader_id,
        "strategy_id": strategy.strategy_id,
        "instrument_id": instrument,
        "order_side": OrderSide.SELL,
        "quantity": quantity,
        "time_in_force": TimeInForce.GTC,
        "reduce_only": False,
        "quote_quantity": False,
        "ts_init": strategy.clock.timestamp_ns(),
        "contingency_type": ContingencyType.OCO,
        "order_list_id": OrderListId(f"L-{target_id}"),
    }
    target = LimitOrder(
        client_order_id=target_id,
        price=levels[0],
        post_only=True,
        init_id=UUID4(),
        linked_order_ids=[stop_id],
        **shared,
    )
    stop = StopMarketOrder(
        client_order_id=stop_id,
        trigger_price=levels[1],
        trigger_type=TriggerType.LAST_PRICE,
        init_id=UUID4(),
        linked_order_ids=[target_id],
        **shared,
    )
    return [target, stop]
