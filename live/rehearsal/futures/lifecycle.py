"""An order's states: every change is recorded and told in one place, with what follows from it.

What follows: a conditional order finishes with the order it set off; reduce-only orders shrink to the
position and expire without one; a closePosition order with GTE_GTC expires with its position, or when neither
position nor open order is left on its symbol, one without outlives it: an orphan.
"""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.futures.account import Account, Position
from live.rehearsal.futures.events import AlgoUpdate, OrderUpdate
from live.rehearsal.futures.orders import AlgoOrder, Order, UserTrade
from live.rehearsal.futures.state import State

__all__ = ["end_algo", "end_order", "fit_to_position", "update_algo", "update_order"]


def update_order(
    state: State, account: Account, order: Order, execution: str, trade: UserTrade | None = None
) -> Order:
    """Keep an order's new state and tell it as ORDER_TRADE_UPDATE."""
    order = replace(order, updated_ms=state.now_ms)
    account.orders.put(order)
    state.outbox.append(
        OrderUpdate(account=account.name, ts_ms=state.now_ms, execution=execution, order=order, trade=trade)
    )
    if not order.is_open:
        _finish_algo(state, account, order)
        _drop_idle_closers(state, account, order)
    return order


def end_order(state: State, account: Account, order: Order, status: str) -> Order:
    """CANCELED or EXPIRED: the order takes no more fills."""
    return update_order(state, account, replace(order, status=status), status)


def update_algo(state: State, account: Account, algo: AlgoOrder) -> AlgoOrder:
    """Keep a conditional order's new state and tell it as ALGO_UPDATE."""
    algo = replace(algo, updated_ms=state.now_ms)
    account.algos.put(algo)
    state.outbox.append(AlgoUpdate(account=account.name, ts_ms=state.now_ms, order=algo))
    return algo


def end_algo(state: State, account: Account, algo: AlgoOrder, status: str, reason: str = "") -> AlgoOrder:
    """CANCELED, EXPIRED or REJECTED."""
    return update_algo(state, account, replace(algo, status=status, reason=reason))


def fit_to_position(state: State, account: Account, before: Position, after: Position) -> None:
    """Make reduce-only and closePosition orders fit a position that changed."""
    for order in account.orders.open(after.symbol):
        if order.reduce_only and order.position_side == after.side:
            _fit_order(state, account, order, after)
    if before.amount and before.amount * after.amount <= 0:
        for algo in account.algos.open(after.symbol):
            if _goes_with_position(algo) and (algo.position_side, algo.side) == (
                after.side,
                before.closing_side,
            ):
                end_algo(state, account, algo, "EXPIRED")


def _fit_order(state: State, account: Account, order: Order, position: Position) -> None:
    if order.side != position.closing_side:
        end_order(state, account, order, "EXPIRED")
    elif order.remaining > abs(position.amount):
        shrunk = replace(order, quantity=order.executed + abs(position.amount))
        update_order(state, account, shrunk, "AMENDMENT")


def _finish_algo(state: State, account: Account, order: Order) -> None:
    algo = account.algos.find(order.algo_id) if order.algo_id else None
    if algo is not None and algo.status == "TRIGGERED":
        finished = replace(
            algo, status="FINISHED", actual_price=order.average_price, actual_quantity=order.executed
        )
        update_algo(state, account, finished)


def _drop_idle_closers(state: State, account: Account, order: Order) -> None:
    symbol, side = order.symbol, order.position_side
    if account.orders.count_open(symbol) or account.position(symbol, side).amount != Decimal(0):
        return
    for algo in account.algos.open(symbol):
        if _goes_with_position(algo) and algo.position_side == side:
            end_algo(state, account, algo, "EXPIRED")


def _goes_with_position(algo: AlgoOrder) -> bool:
    """Whether the venue itself ends it with the position: a plain closePosition order stays, an orphan."""
    return algo.close_position and algo.time_in_force == "GTE_GTC"
