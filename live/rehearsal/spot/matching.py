"""Spot fills: takers walk the book's levels, resting orders are met by what reaches them, stops trigger.

How orders and levels meet is `crossing`'s; what is left of a market or IOC order expires.

- A conditional order triggers on the last trade (before the first on the quote's middle). Of an order list
  the other order expires before the first fill, or when the conditional one triggers.
- Commission is taken out of what is received: coins when buying, money when selling; or, with `bnb_rate`, at
  a discount out of BNB as long as there is enough and BNB has a price in the quote asset. It is cut to eight
  decimals.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from functools import partial

from live.rehearsal import crossing
from live.rehearsal.book import Level, MarketEvent, Trade
from live.rehearsal.crossing import book_levels, crosses, take_levels
from live.rehearsal.orders import filled
from live.rehearsal.spot.account import SpotAccount
from live.rehearsal.spot.orders import OrderList, SpotOrder, SpotTrade, triggers_above
from live.rehearsal.spot.state import SpotState

__all__ = ["end_list", "end_order", "fillable", "sweep", "take", "trigger"]

ZERO = Decimal(0)
_PLACES = Decimal("1e-8")


def fillable(state: SpotState, order: SpotOrder) -> Decimal:
    """What a taker would get at once, if it could pay for it."""
    levels = book_levels(state.markets[order.symbol], order.side)
    return sum((level.quantity for level in levels if _acceptable(order, level)), ZERO)


def take(state: SpotState, account: SpotAccount, order: SpotOrder) -> SpotOrder:
    """Fill what the book gives now; the order as it is afterwards."""

    def wanted(order: SpotOrder, level: Level) -> Decimal:
        if not _acceptable(order, level):
            return ZERO
        return min(order.remaining, _affordable(state, account, order, level.price))

    market = state.markets[order.symbol]
    order = take_levels(market, order, wanted, partial(_fill, state, account, maker=False))
    if not order.is_open:
        return order
    if order.is_market:
        return end_order(state, account, order, "EXPIRED", reason="INSUFFICIENT_LIQUIDITY")
    if order.time_in_force == "IOC":
        return end_order(state, account, order, "EXPIRED", reason="UNFILLED_IOC_QUANTITY_EXPIRED")
    return order


def sweep(state: SpotState, event: MarketEvent) -> None:
    """Fill the resting orders that a quote, a depth update or a trade reaches; a trade in whole steps."""
    market, accounts = state.markets[event.symbol], state.accounts.values()
    if isinstance(event, Trade):
        event = event._replace(quantity=event.quantity // market.step * market.step)
    crossing.sweep(event, market, accounts, partial(_fill, state, maker=True))


def trigger(state: SpotState, symbol: str) -> None:
    """Set off the conditional orders whose stop price the market has reached, oldest first."""
    price = state.markets[symbol].contract
    if price is None:
        return
    for account in state.accounts.values():
        for found in account.orders.open(symbol):
            order = account.orders.latest(found)
            if order.is_open and not order.working and _triggered(order, price):
                _set_off(state, account, order)


def end_order(
    state: SpotState,
    account: SpotAccount,
    order: SpotOrder,
    status: str,
    *,
    reason: str = "",
    cancel_id: str = "",
) -> SpotOrder:
    """CANCELED or EXPIRED: the order takes no more fills; a list without an open order is done."""
    ended = replace(order, status=status, expiry_reason=reason, working=False)
    ended = state.report(account, ended, status, cancel_id=cancel_id)
    _finish_list(state, account, ended)
    spec = state.specs[order.symbol]
    state.tell_position(account, spec.base, spec.quote)
    return ended


def end_list(state: SpotState, account: SpotAccount, pair: OrderList, *, cancel_id: str = "") -> OrderList:
    """Cancel what is open of a list."""
    for number in pair.order_ids:
        order = account.orders.find(number)
        if order is not None and order.is_open:
            end_order(state, account, order, "CANCELED", cancel_id=cancel_id)
    return account.lists.latest(pair)


def _set_off(state: SpotState, account: SpotAccount, order: SpotOrder) -> None:
    _expire_sibling(state, account, order)
    order = replace(order, working=True, working_ms=state.now_ms)
    if order.is_market:
        account.orders.put(order)
    else:
        order = state.report(account, order, "NEW")
    if order.time_in_force == "FOK" and fillable(state, order) < order.remaining:
        end_order(state, account, order, "EXPIRED", reason="UNFILLED_FOK_ORDER_EXPIRED")
        return
    order = take(state, account, order)
    if order.is_open:
        spec = state.specs[order.symbol]
        state.tell_position(account, spec.base, spec.quote)


def _fill(
    state: SpotState,
    account: SpotAccount,
    order: SpotOrder,
    price: Decimal,
    quantity: Decimal,
    *,
    maker: bool,
) -> SpotOrder:
    _expire_sibling(state, account, order)
    for part in _slices(state, order.symbol, quantity):
        order = _fill_once(state, account, order, price, part, maker=maker)
    return order


def _fill_once(
    state: SpotState,
    account: SpotAccount,
    order: SpotOrder,
    price: Decimal,
    quantity: Decimal,
    *,
    maker: bool,
) -> SpotOrder:
    spec = state.specs[order.symbol]
    asset, commission = _commission(state, account, order, price, quantity, maker=maker)
    trade = SpotTrade(
        trade_id=state.next_number("trade"),
        order_id=order.order_id,
        list_id=order.list_id,
        symbol=order.symbol,
        side=order.side,
        price=price,
        quantity=quantity,
        commission=commission,
        asset=asset,
        maker=maker,
        ts_ms=state.now_ms,
    )
    sign = 1 if order.side == "BUY" else -1
    state.post(account, spec.base, "TRADE", sign * quantity, order.symbol, trade.trade_id)
    state.post(account, spec.quote, "TRADE", -sign * price * quantity, order.symbol, trade.trade_id)
    state.post(account, asset, "COMMISSION", -commission, order.symbol, trade.trade_id)
    account.trades.append(trade)
    order = filled(order, price, quantity)
    order = state.report(account, replace(order, working=order.is_open), "TRADE", trade)
    _finish_list(state, account, order)
    state.tell_position(account, spec.base, spec.quote, asset)
    return order


def _commission(
    state: SpotState,
    account: SpotAccount,
    order: SpotOrder,
    price: Decimal,
    quantity: Decimal,
    *,
    maker: bool,
) -> tuple[str, Decimal]:
    """The asset that pays and how much of it."""
    spec = state.specs[order.symbol]
    rate = state.maker_rate if maker else state.taker_rate
    bnb = state.markets.get(f"BNB{spec.quote}")
    if state.bnb_rate is not None and bnb is not None and bnb.contract:
        paid = _cut(price * quantity * rate * state.bnb_rate / bnb.contract)
        if account.free("BNB") >= paid:
            return "BNB", paid
    if order.side == "BUY":
        return spec.base, _cut(quantity * rate)
    return spec.quote, _cut(price * quantity * rate)


def _cut(amount: Decimal) -> Decimal:
    return amount.quantize(_PLACES, rounding=ROUND_DOWN)


def _affordable(state: SpotState, account: SpotAccount, order: SpotOrder, price: Decimal) -> Decimal:
    """What a buyer can pay at a price, in whole steps: with what it holds locked and with what is free."""
    if order.side == "SELL" or not order.is_market:
        return order.remaining
    spec = state.specs[order.symbol]
    return (account.free(spec.quote) + order.held) / price // spec.step * spec.step


def _expire_sibling(state: SpotState, account: SpotAccount, order: SpotOrder) -> None:
    for other in account.members(order):
        if other.order_id != order.order_id and other.is_open:
            ended = replace(other, status="EXPIRED", expiry_reason="OCO_TRIGGER", working=False)
            state.report(account, ended, "EXPIRED")


def _finish_list(state: SpotState, account: SpotAccount, order: SpotOrder) -> None:
    pair = account.lists.find(order.list_id) if order.list_id >= 0 else None
    if pair is None or not pair.is_open or any(each.is_open for each in account.members(order)):
        return
    state.report_list(account, replace(pair, status="ALL_DONE", order_status="ALL_DONE"))


def _triggered(order: SpotOrder, price: Decimal) -> bool:
    if not order.is_conditional:
        return False
    above = triggers_above(order.side, order.type)
    return price >= order.stop_price if above else price <= order.stop_price


def _acceptable(order: SpotOrder, level: Level) -> bool:
    return order.is_market or crosses(order.side, order.price, level.price)


def _slices(state: SpotState, symbol: str, quantity: Decimal) -> Iterator[Decimal]:
    """The quantity in as many whole-step parts as the venue cuts fills into."""
    step = state.specs[symbol].step
    steps = int(quantity / step)
    count = min(state.slices, steps) or 1
    part, left = steps // count * step, quantity
    for _ in range(count - 1):
        yield part
        left -= part
    yield left
