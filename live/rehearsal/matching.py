"""Fills: takers walk the book's levels, resting orders are met by quotes and trades that reach them.

- A taker pays each level's price for at most the size left there. A market order stops where the price is
  `market_take_bound` away from the mark price; what is left of it, as of an IOC order, expires.
- A resting order fills at its own price as maker: when a quote crosses it, for at most the size of the levels
  that cross, and by a trade through its price, or at its price by the right aggressor, for at most what was
  traded. Better prices go first, then older orders. There is no queue: it stands first at its price.
- Orders of the venue's clients do not meet each other and are not part of the book.

A fill is told as ACCOUNT_UPDATE, then ORDER_TRADE_UPDATE, as Binance does.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

from live.rehearsal.account import Account, round_money
from live.rehearsal.book import Depth, Level, Market, MarketEvent, Quote, Trade
from live.rehearsal.lifecycle import fit_to_position, update_order
from live.rehearsal.orders import Order, UserTrade
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.state import State

__all__ = ["crosses", "fill", "fillable", "sweep", "take", "within_bound"]

ZERO = Decimal(0)


def crosses(side: str, price: Decimal, level: Decimal) -> bool:
    """Whether a limit price reaches a level of the other side."""
    return price >= level if side == "BUY" else price <= level


def within_bound(spec: SymbolSpec, side: str, level: Decimal, mark: Decimal | None) -> bool:
    """Whether a market order may still trade at a level."""
    if mark is None:
        return True
    if side == "BUY":
        return level <= mark * (1 + spec.market_take_bound)
    return level >= mark * (1 - spec.market_take_bound)


def fillable(state: State, order: Order) -> Decimal:
    """What a taker would get at once."""
    levels = _levels(state.markets[order.symbol], order.side)
    return sum((level.quantity for level in levels if _acceptable(state, order, level)), ZERO)


def take(state: State, account: Account, order: Order) -> Order:
    """Fill what the book gives now; the order as it is afterwards."""
    market = state.markets[order.symbol]
    levels = _levels(market, order.side)
    while order.is_open and levels and _acceptable(state, order, levels[0]):
        price = levels[0].price
        quantity = min(order.remaining, levels[0].quantity)
        market.take(order.side, quantity)
        order = fill(state, account, order, price, quantity, maker=False)
        levels = _levels(market, order.side)
    return order


def sweep(state: State, event: MarketEvent) -> None:
    """Fill the resting orders that a quote, a depth update or a trade reaches."""
    if isinstance(event, Trade):
        _sweep_trade(state, event)
    elif isinstance(event, Quote | Depth):
        _sweep_book(state, state.markets[event.symbol])


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
    executed = order.executed + quantity
    filled = replace(
        order,
        executed=executed,
        quote_filled=order.quote_filled + price * quantity,
        status="FILLED" if executed == order.quantity else "PARTIALLY_FILLED",
    )
    # Kept before the account is told, so that its view of open orders is already the new one.
    account.orders.put(filled)
    state.tell_account(account, "ORDER", spec.margin_asset, positions=(after,))
    filled = update_order(state, account, filled, "CALCULATED" if order.forced else "TRADE", trade)
    fit_to_position(state, account, before, after)
    return filled


def _slices(state: State, symbol: str, quantity: Decimal) -> Iterator[Decimal]:
    step = state.specs[symbol].step
    part = (quantity / state.slices / step).to_integral_value(ROUND_CEILING) * step
    while quantity > 0:
        yield min(part, quantity)
        quantity -= part


def _levels(market: Market, side: str) -> list[Level]:
    return market.asks if side == "BUY" else market.bids


def _acceptable(state: State, order: Order, level: Level) -> bool:
    if order.type == "LIMIT":
        return crosses(order.side, order.price, level.price)
    return within_bound(state.specs[order.symbol], order.side, level.price, state.markets[order.symbol].mark)


def _resting(state: State, symbol: str) -> list[tuple[Account, Order]]:
    """All open orders of a symbol: buys from the highest, sells from the lowest price, older first."""
    found = [(account, order) for account in state.accounts.values() for order in account.orders.open(symbol)]
    return sorted(
        found, key=lambda pair: (pair[1].price * (-1 if pair[1].side == "BUY" else 1), pair[1].order_id)
    )


def _sweep_book(state: State, market: Market) -> None:
    for account, found in _resting(state, market.symbol):
        # An earlier fill may have shrunk or ended this one.
        order = account.orders.latest(found)
        levels = _levels(market, order.side)
        while order.is_open and levels and crosses(order.side, order.price, levels[0].price):
            quantity = min(order.remaining, levels[0].quantity)
            market.take(order.side, quantity)
            order = fill(state, account, order, order.price, quantity, maker=True)
            levels = _levels(market, order.side)


def _sweep_trade(state: State, trade: Trade) -> None:
    left = trade.quantity
    for account, found in _resting(state, trade.symbol):
        order = account.orders.latest(found)
        if left <= 0:
            return
        if order.is_open and _reached(order, trade):
            quantity = min(order.remaining, left)
            left -= quantity
            fill(state, account, order, order.price, quantity, maker=True)


def _reached(order: Order, trade: Trade) -> bool:
    if order.price == trade.price:
        return trade.buyer_maker == (order.side == "BUY")
    return crosses(order.side, order.price, trade.price)
