"""Fills and orders of a run as tables: what the engine recorded, without its random ids.

Times are datetime64[ns, UTC]; a fill's time is the close of the bar it happened in. Costs are positive when
paid.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import OrderFilled

from configs.errors import RunFailedError
from configs.schema import VenueConfig

__all__ = ["FILL_COLUMNS", "ORDER_COLUMNS", "fills_from_engine", "orders_from_engine", "table"]

FILL_COLUMNS = {
    "ts_event": "time",
    "strategy": "str",
    "instrument": "str",
    "client_order_id": "str",
    "trade_id": "str",
    "role": "str",
    "side": "str",
    "quantity": "float64",
    "price": "float64",
    "liquidity": "str",
    "fee": "float64",
    "slippage": "float64",
}
ORDER_COLUMNS = {
    "ts_init": "time",
    "ts_last": "time",
    "strategy": "str",
    "instrument": "str",
    "client_order_id": "str",
    "role": "str",
    "order_type": "str",
    "side": "str",
    "quantity": "float64",
    "price": "float64",
    "trigger_price": "float64",
    "filled_qty": "float64",
    "avg_px": "float64",
    "status": "str",
    "reduce_only": "bool",
    "first_price": "float64",
    "first_trigger_price": "float64",
}


def fills_from_engine(engine: BacktestEngine, roles: Mapping[str, str], venue: VenueConfig) -> pd.DataFrame:
    """Every fill of the run in the order it happened (`FILL_COLUMNS`), without the engine's random ids.

    `roles` maps client order ids to entry, stop, target or exit. The engine charges one commission per fill;
    a taker's is split into fee and slippage in the proportion `build_engine` added them, so that the two sum
    to the commission exactly (in the currency's decimals).

    Raises RunFailedError for a fill whose order has no role.
    """
    slippage_share = _slippage_share(venue)
    rows = []
    for order in engine.cache.orders():
        if not order.filled_qty.as_decimal():
            continue
        for event in order.events():
            if isinstance(event, OrderFilled):
                rows.append(_fill_row(event, _role(roles, order), slippage_share))
    # The venue numbers its trades, which puts those of one instant into the order they happened in.
    rows.sort(key=lambda row: (row[0], row[2], _trade_number(row[4])))
    return table(rows, FILL_COLUMNS)


def _slippage_share(venue: VenueConfig) -> Decimal:
    return venue.slippage_rate / venue.taker_cost if venue.taker_cost else Decimal(0)


def _fill_row(event: OrderFilled, role: str, slippage_share: Decimal) -> tuple[Any, ...]:
    commission = Decimal(0) if event.commission is None else event.commission.as_decimal()
    liquidity = str(event.liquidity_side)
    slippage = Decimal(0)
    if liquidity == "TAKER":
        slippage = (commission * slippage_share).quantize(Decimal(1).scaleb(-event.currency.precision))
    return (
        event.ts_event,
        str(event.strategy_id),
        str(event.instrument_id),
        str(event.client_order_id),
        str(event.trade_id),
        role,
        str(event.order_side),
        float(str(event.last_qty)),
        float(str(event.last_px)),  # through text: the engine's own conversion is an ulp off for many prices
        liquidity,
        float(commission - slippage),
        float(slippage),
    )


def _trade_number(trade_id: str) -> int:
    return int(trade_id.rsplit("-", 1)[1])


def _role(roles: Mapping[str, str], order: Any) -> str:
    role = roles.get(str(order.client_order_id))
    if role is None:
        raise RunFailedError(
            f"order {order.client_order_id} of {order.strategy_id} has no role in the ledger"
        )
    return role


def orders_from_engine(engine: BacktestEngine, roles: Mapping[str, str]) -> pd.DataFrame:
    """Every order of the run by creation time (`ORDER_COLUMNS`); a price an order does not have is NaN.

    `price` and `trigger_price` are the last ones, `first_price` and `first_trigger_price` those it was made
    with. Raises RunFailedError for an order without a role.
    """
    rows = [_order_row(order, _role(roles, order)) for order in engine.cache.orders()]
    rows.sort(key=lambda row: (row[0], row[2], len(row[4]), row[4]))
    return table(rows, ORDER_COLUMNS)


def _order_row(order: Any, role: str) -> tuple[Any, ...]:
    first = order.init_event
    return (
        order.ts_init,
        order.ts_last,
        str(order.strategy_id),
        str(order.instrument_id),
        str(order.client_order_id),
        role,
        str(order.order_type),
        str(order.side),
        float(str(order.quantity)),
        _number(getattr(order, "price", None)),
        _number(getattr(order, "trigger_price", None)),
        float(str(order.filled_qty)),
        _number(order.avg_px),
        str(order.status),
        bool(order.is_reduce_only),
        _number(first.price),
        _number(first.trigger_price),
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(str(value))


def table(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a frame with these columns and types (`time` takes ns UTC); also when there are none."""
    frame = pd.DataFrame(rows, columns=list(columns))
    for name, kind in columns.items():
        if kind == "time":
            frame[name] = pd.to_datetime(frame[name].astype("int64"), unit="ns", utc=True)
        else:
            frame[name] = frame[name].astype(kind)  # type: ignore[call-overload]
    return frame
