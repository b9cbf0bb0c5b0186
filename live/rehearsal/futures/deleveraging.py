"""Auto-deleveraging: the venue closes of a winner's position what a bankrupt account leaves behind.

It happens to the account, not by it: an order named adl_autoclose is there and filled in the same moment, at
the mark price or one that is given, past the book. Whose turn it is, Binance decides by profit and leverage;
here whoever steers the rehearsal does. What the position keeps is reduced as by any fill, so reduce-only
orders shrink with it, and a closePosition stop without GTE_GTC outlives it. The taker's commission is paid:
whether Binance takes one is not documented.
"""

from decimal import ROUND_CEILING, Decimal

from live.rehearsal.futures.account import Account
from live.rehearsal.futures.lifecycle import update_order
from live.rehearsal.futures.liquidation import forced_order
from live.rehearsal.futures.matching import fill
from live.rehearsal.futures.orders import ADL_ID, Order
from live.rehearsal.futures.state import State

__all__ = ["deleverage"]


def deleverage(
    state: State, account: Account, symbol: str, percent: Decimal, price: Decimal | None = None
) -> list[Order]:
    """Close so much of each of a symbol's positions, in whole steps; the orders that did it."""
    step, done = state.spec(symbol).step, []
    for position in list(account.held(symbol)):
        held = abs(position.amount)
        quantity = min(held, (held * percent / 100 / step).to_integral_value(ROUND_CEILING) * step)
        at = state.mark_of(position) if price is None else price
        number = state.next_number("order")
        identity = {"order_id": number, "client_order_id": ADL_ID}
        order = forced_order(state, position, quantity, at, **identity, time_in_force="GTC")
        account.forced.append(order.order_id)
        order = update_order(state, account, order, "NEW")
        done.append(fill(state, account, order, at, quantity, maker=False))
    return done
