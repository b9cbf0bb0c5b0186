"""New and amended orders: what they may reduce, what margin they need, and their way into the book.

Margin at entry follows Binance's order cost: initial margin at the assumed price (a limit buy's own price,
a limit sell's price or the bid if that is higher, 0.05 % above the ask for a market buy, the higher of bid
and mark for a market sell) plus the loss that the order would open with at the mark price. Only what raises
the symbol's initial margin is checked. What is unrealised of crossed positions is no margin for an isolated
one.
"""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.book import Market
from live.rehearsal.crossing import crosses
from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.futures import filters
from live.rehearsal.futures.account import Account
from live.rehearsal.futures.lifecycle import end_order, update_algo, update_order
from live.rehearsal.futures.matching import fillable, take
from live.rehearsal.futures.orders import AlgoOrder, Order, OrderRequest
from live.rehearsal.futures.state import State

__all__ = ["amend", "enter", "place"]

ZERO = Decimal(0)
_MARKET_BUY_MARKUP = Decimal("1.0005")
_MOST_AMENDMENTS = 10_000


def place(state: State, account: Account, request: OrderRequest) -> Order:
    """Check a LIMIT or MARKET request and enter it; the order as it is after matching at once."""
    spec = state.spec(request.symbol)
    filters.check_words(spec, account, request, ("LIMIT", "MARKET"))
    side = filters.resolve_side(account, request)
    filters.check_regular(spec, request, state.now_ms)
    if request.client_order_id is not None:
        _refuse_duplicate(account, request.client_order_id)
    draft = _draft(request, side)
    mark = state.markets[request.symbol].mark
    if draft.type == "LIMIT":
        filters.check_percent_price(spec, draft.side, draft.price, mark)
    if not draft.reduce_only:
        filters.check_notional(spec, draft.quantity, draft.price if draft.type == "LIMIT" else mark)
    return enter(state, account, draft)


def enter(state: State, account: Account, draft: Order, algo: AlgoOrder | None = None) -> Order:
    """Enter an order that passed the filters, with a conditional order behind it or not."""
    spec, market = state.specs[draft.symbol], state.markets[draft.symbol]
    if draft.type == "LIMIT" and account.orders.count_open(draft.symbol) >= spec.max_orders:
        raise refuse(-2025)
    if draft.reduce_only:
        draft = replace(draft, quantity=min(draft.quantity, closable(account, draft)))
    _check_book(state, market, draft)
    _check_margin(state, account, draft)
    number = state.next_number("order")
    draft = replace(
        draft,
        order_id=number,
        client_order_id=draft.client_order_id or state.client_id(number),
        created_ms=state.now_ms,
    )
    order = update_order(state, account, draft, "NEW")
    if algo is not None:
        started = replace(algo, status="TRIGGERED", actual_order_id=number, actual_type=order.type)
        update_algo(state, account, started)
    order = take(state, account, order)
    if order.is_open and (order.type == "MARKET" or order.time_in_force in {"IOC", "FOK"}):
        order = end_order(state, account, order, "EXPIRED")
    return order


def closable(account: Account, draft: Order) -> Decimal:
    """How much a reduce-only order may close; -2022 when there is nothing that its side would reduce."""
    position = account.position(draft.symbol, draft.position_side)
    if draft.side != position.closing_side:
        raise refuse(-2022)
    return abs(position.amount)


def amend(
    state: State, account: Account, order: Order, side: str, quantity: Decimal, price: Decimal
) -> Order:
    """Change an open limit order's price and quantity.

    It may trade at once. As on Binance it is cancelled when the new quantity is already filled, or when it is
    post-only and would trade.
    """
    spec = state.specs[order.symbol]
    _check_amendable(state, order, side, quantity, price)
    filters.check_quantity(spec, quantity, market=False)
    filters.check_price(spec, price)
    filters.check_percent_price(spec, order.side, price, state.markets[order.symbol].mark)
    if order.reduce_only:
        quantity = min(quantity, order.executed + closable(account, order))
    else:
        filters.check_notional(spec, quantity, price, code=-5029)
    amended = replace(order, quantity=quantity, price=price, amendments=order.amendments + 1)
    if quantity <= order.executed:
        return end_order(state, account, order, "CANCELED")
    try:
        _check_book(state, state.markets[order.symbol], amended)
    except VenueError:
        return end_order(state, account, order, "CANCELED")
    _check_margin(state, account, amended)
    return take(state, account, update_order(state, account, amended, "AMENDMENT"))


def _check_amendable(state: State, order: Order, side: str, quantity: Decimal, price: Decimal) -> None:
    if not state.trades_now(order.symbol):
        raise refuse(-5024)
    if order.type != "LIMIT":
        raise refuse(-5025)
    if side != order.side:
        raise refuse(-1117)
    if (quantity, price) == (order.quantity, order.price):
        raise refuse(-5027)
    if order.amendments >= _MOST_AMENDMENTS:
        raise refuse(-5026)


def _draft(request: OrderRequest, position_side: str) -> Order:
    return Order(
        order_id=0,
        client_order_id=request.client_order_id or "",
        symbol=request.symbol,
        side=request.side,
        position_side=position_side,
        type=request.type,
        original_type=request.type,
        time_in_force=request.time_in_force or "GTC",
        price=request.price or ZERO,
        quantity=request.quantity or ZERO,
        reduce_only=filters.reduces_only(request, position_side),
        working_type=request.working_type,
        price_protect=request.price_protect,
        good_till_ms=request.good_till_ms or 0,
        created_ms=0,
        updated_ms=0,
    )


def _refuse_duplicate(account: Account, client_id: str) -> None:
    known = account.orders.find(client_id=client_id)
    if known is not None and known.is_open:
        raise refuse(-4116)


def _check_book(state: State, market: Market, draft: Order) -> None:
    """What the book must allow: a price for a market order, none for post-only, enough for fill-or-kill."""
    best = market.ask if draft.side == "BUY" else market.bid
    if draft.type == "MARKET":
        if best is None:
            raise refuse(-1112)
        _check_counterparty(state, draft, best, market.mark)
    elif draft.time_in_force == "GTX" and best is not None and crosses(draft.side, draft.price, best):
        raise refuse(-5022)
    elif draft.time_in_force == "FOK" and fillable(state, draft) < draft.quantity:
        raise refuse(-5021)


def _check_counterparty(state: State, draft: Order, best: Decimal, mark: Decimal | None) -> None:
    try:
        filters.check_percent_price(state.specs[draft.symbol], draft.side, best, mark)
    except VenueError as error:
        raise refuse(-4131) from error


def _assumed_price(market: Market, order: Order) -> Decimal:
    bid, ask, mark = market.bid or ZERO, market.ask or ZERO, market.mark or ZERO
    if order.type == "LIMIT":
        return order.price if order.side == "BUY" else max(bid, order.price)
    return ask * _MARKET_BUY_MARKUP if order.side == "BUY" else max(bid, mark)


def _check_margin(state: State, account: Account, order: Order) -> None:
    """-2027 beyond what the leverage allows, -2019 when the margin balance does not cover the order."""
    if order.reduce_only:
        return
    spec, market = state.specs[order.symbol], state.markets[order.symbol]
    price, mark = _assumed_price(market, order), state.mark(account, order.symbol)
    leverage = account.leverage(order.symbol)
    held = account.margin_notional(order.symbol, order.position_side, mark)
    wanted = account.margin_notional(
        order.symbol,
        order.position_side,
        mark,
        added=(order.side, order.remaining * price),
        without=order.order_id,
    )
    if wanted <= held:
        return
    if wanted > spec.maximum_notional(leverage):
        raise refuse(-2027)
    gap = mark - price if order.side == "BUY" else price - mark
    loss = order.remaining * max(ZERO, -gap) if market.mark is not None else ZERO
    totals = state.totals(account, spec.margin_asset)
    free = totals.transferable if order.symbol in account.isolated else totals.free
    if free - (wanted - held) / leverage - loss < 0:
        raise refuse(-2019)
