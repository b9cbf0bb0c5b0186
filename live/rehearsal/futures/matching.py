"""Fills: takers walk the book's levels, resting orders are met by quotes and trades that reach them.

How orders and levels meet is `crossing`'s. A market order stops where the price is `market_take_bound` away
from the mark price; what is left of it, as of an IOC order, expires.

A fill is told as ACCOUNT_UPDATE, then ORDER_TRADE_UPDATE, as Binance does.
"""

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from functools import partial

from live.rehearsal import crossing
from live.rehearsal.book import Level, MarketEvent
from live.rehearsal.crossing import book_levels, crosses, take_levels
from live.rehearsal.futures.account import Account, round_money
from live.rehearsal.futures.isolated import make_good, settle_margin
from live.rehearsal.futures.lifecycle import fit_to_position, update_order
from live.rehearsal.futures.orders import Order, UserTrade
from live.rehearsal.futures.state import State
from live.rehearsal.orders import filled
from live.rehearsal.specs import SymbolSpec

__all__ = ["fill", "fillable", "sweep", "take", "within_bound"]

ZERO = Decimal(0)


def within_bound(spec: SymbolSpec, side: str, level: Decimal, mark: Decimal | None) -> bool:
    """Whether a market order may still trade at a level."""
    if mark is None:
        return True
    if side == "BUY":
        return level <= mark * (1 + spec.market_take_bound)
    return level >= mark * (1 - spec.market_take_bound)


def fillable(state: State, order: Order) -> Decimal:
    """What a taker would get at once."""
    levels = book_levels(state.markets[order.symbol], order.side)
    return sum((level.quantity for level in levels if _acceptable(state, order, level)), ZERO)


def take(state: State, account: Account, order: Order) -> Order:
    """Fill what the book gives now; the order as it is afterwards."""

    def wanted(order: Order, level: Level) -> Decimal:
        return order.remaining if _acceptable(state, order, level) else ZERO

    return take_levels(state.markets[order.symbol], order, wanted, partial(fill, state, account, maker=False))


def sweep(state: State, event: MarketEvent) -> None:
    """Fill the resting orders that a quote, a depth update or a trade reaches."""
    market, accounts = state.markets[event.symbol], state.accounts.values()
    crossing.sweep(event, market, accounts, partial(fill, state, maker=True))


def fill(
    state: State, account: Account, order: Order, price: Decimal, quantity: Decimal, *, maker: bool
) -> Order:
    """Fill a quantity at a price, in as many slices as the venue cuts fills into."""
    for part in _slices(state, order.symbol, quantity):
        order = _fill_once(state, account, order, price, part, maker=maker)
    return order


def _fill_once(
    state: State, account: Account, order: Order, price: Decimal, quantity: Decimal, *, maker: bool
) -> Order:
    spec = state.specs[order.symbol]
    commission = round_money(price * quantity * (state.maker_rate if maker else state.taker_rate))
    before = account.position(order.symbol, order.position_side)
    signed = quantity if order.side == "BUY" else -quantity
    after, realized = before.after_fill(signed, price, commission, state.now_ms)
    account.positions[order.symbol, order.position_side] = after
    state.moved.add((account.name, spec.margin_asset))
    trade = UserTrade(
        trade_id=state.next_number("trade"),
        order_id=order.order_id,
        symbol=order.symbol,
        side=order.side,
        position_side=order.position_side,
        price=price,
        quantity=quantity,
        realized=realized,
        commission=commission,
        asset=spec.margin_asset,
        maker=maker,
        ts_ms=state.now_ms,
    )
    account.trades.append(trade)
    state.post(account, spec.margin_asset, "REALIZED_PNL", realized, order.symbol, trade.trade_id)
    state.post(account, spec.margin_asset, "COMMISSION", -commission, order.symbol, trade.trade_id)
    if order.symbol in account.isolated:
        after = settle_margin(state, account, before, after, trade)
    order = filled(order, price, quantity)
    # Kept before the account is told, so that its view of open orders is already the new one.
    account.orders.put(order)
    state.tell_account(account, "ORDER", spec.margin_asset, positions=(after,))
    order = update_order(state, account, order, "CALCULATED" if order.forced else "TRADE", trade)
    make_good(state, account, after)
    fit_to_position(state, account, before, after)
    return order


def _slices(state: State, symbol: str, quantity: Decimal) -> Iterator[Decimal]:
    step = state.specs[symbol].step
    part = (quantity / state.slices / step).to_integral_value(ROUND_CEILING) * step
    while quantity > 0:
        yield min(part, quantity)
        quantity -= part


def _acceptable(state: State, order: Order, level: Level) -> bool:
    if order.type == "LIMIT":
        return crosses(order.side, order.price, level.price)
    return within_bound(state.specs[order.symbol], order.side, level.price, state.markets[order.symbol].mark)
