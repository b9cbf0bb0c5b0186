"""Which orders trade with what: takers with the book's levels, resting orders with what reaches them.

- A taker pays each level's price for at most the size left there.
- A resting order fills at its own price as maker: when a quote crosses it, for at most the size of the levels
  that cross, and by a trade through its price, or at its price by the right aggressor, for at most what was
  traded. Better prices go first, then older orders. There is no queue: it stands first at its price.
- Orders of the venue's clients do not meet each other and are not part of the book.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Any

from live.rehearsal.book import Depth, Level, Market, MarketEvent, Quote, Trade
from live.rehearsal.exchange import ExchangeAccount
from live.rehearsal.orders import PlacedOrder

__all__ = ["book_levels", "crosses", "sweep", "take_levels"]

ZERO = Decimal(0)


def crosses(side: str, price: Decimal, level: Decimal) -> bool:
    """Whether a limit price reaches a level of the other side."""
    return price >= level if side == "BUY" else price <= level


def book_levels(market: Market, side: str) -> list[Level]:
    """The levels that an order of a side takes, the best first."""
    return market.asks if side == "BUY" else market.bids


def take_levels[O: PlacedOrder](
    market: Market,
    order: O,
    wanted: Callable[[O, Level], Decimal],
    fill: Callable[[O, Decimal, Decimal], O],
    *,
    at_own_price: bool = False,
) -> O:
    """Fill an order level by level, at each what it wants there; the order as it is afterwards.

    `wanted` is zero at a level that does not suit it; `fill` is given the order, a price and a quantity.
    """
    while order.is_open and (levels := book_levels(market, order.side)):
        level = levels[0]
        quantity = min(wanted(order, level), level.quantity)
        if quantity <= 0:
            break
        market.take(order.side, quantity)
        order = fill(order, order.price if at_own_price else level.price, quantity)
    return order


def sweep[A: ExchangeAccount[Any, Any], O: PlacedOrder](
    event: MarketEvent, market: Market, accounts: Iterable[A], fill: Callable[[A, O, Decimal, Decimal], O]
) -> None:
    """Fill the resting orders that a quote, a depth update or a trade reaches, each at its own price."""
    if isinstance(event, Trade):
        _sweep_trade(event, _resting(accounts, market.symbol), fill)
    elif isinstance(event, Quote | Depth):
        _sweep_book(market, _resting(accounts, market.symbol), fill)


def _resting[A: ExchangeAccount[Any, Any]](accounts: Iterable[A], symbol: str) -> list[tuple[A, Any]]:
    """The orders on a symbol's book: buys from the highest, sells from the lowest price, older first."""
    found = [
        (account, order) for account in accounts for order in account.orders.open(symbol) if order.is_resting
    ]
    return sorted(
        found, key=lambda pair: (pair[1].price * (-1 if pair[1].side == "BUY" else 1), pair[1].order_id)
    )


def _sweep_book[A: ExchangeAccount[Any, Any], O: PlacedOrder](
    market: Market, resting: list[tuple[A, O]], fill: Callable[[A, O, Decimal, Decimal], O]
) -> None:
    for account, found in resting:
        # An earlier fill may have shrunk or ended this one.
        order: O = account.orders.latest(found)
        take_levels(market, order, _crossing, partial(fill, account), at_own_price=True)


def _sweep_trade[A: ExchangeAccount[Any, Any], O: PlacedOrder](
    trade: Trade, resting: list[tuple[A, O]], fill: Callable[[A, O, Decimal, Decimal], O]
) -> None:
    left = trade.quantity
    for account, found in resting:
        order: O = account.orders.latest(found)
        if left <= 0:
            return
        if order.is_open and _reached(order, trade):
            quantity = min(order.remaining, left)
            left -= quantity
            fill(account, order, order.price, quantity)


def _crossing(order: PlacedOrder, level: Level) -> Decimal:
    return order.remaining if crosses(order.side, order.price, level.price) else ZERO


def _reached(order: PlacedOrder, trade: Trade) -> bool:
    if order.price == trade.price:
        return trade.buyer_maker == (order.side == "BUY")
    return crosses(order.side, order.price, trade.price)
