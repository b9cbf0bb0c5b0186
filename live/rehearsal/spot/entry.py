"""How a spot request becomes an order, and two of them an OCO list.

Everything is checked before anything changes: parameters, filters, the book, the stop prices, the balance.
"""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.crossing import crosses
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.account import SpotAccount
from live.rehearsal.spot.errors import refuse_order, refuse_pair
from live.rehearsal.spot.filters import check_counts, check_filters, check_request
from live.rehearsal.spot.matching import end_order, fillable, take
from live.rehearsal.spot.orders import OrderList, SpotOrder, SpotRequest, triggers_above
from live.rehearsal.spot.state import SpotState

__all__ = ["check", "check_words", "place", "place_pair"]

ZERO = Decimal(0)
_LIMITS = ("LIMIT_MAKER",)


def check_words(state: SpotState, request: SpotRequest) -> SymbolSpec:
    """The symbol's rules, once the request's own parameters are right."""
    spec = state.spec(request.symbol)
    check_request(request)
    return spec


def check(state: SpotState, account: SpotAccount, request: SpotRequest) -> SpotOrder:
    """The order that a request would make; raises what refuses it. Nothing changes."""
    spec = check_words(state, request)
    check_filters(spec, request, state.average(request.symbol))
    draft = _draft(state, request)
    check_counts(spec, account, orders=1, conditional=draft.is_conditional, lists=0)
    _refuse_duplicates(account, request.client_order_id)
    _check_market(state, draft)
    _check_funds(state, account, draft)
    return draft


def place(state: SpotState, account: SpotAccount, request: SpotRequest) -> SpotOrder:
    """Enter an order; the order as it is after matching at once."""
    order = _enter(state, account, check(state, account, request))
    if not order.working:
        return order
    if order.time_in_force == "FOK" and not order.is_market and fillable(state, order) < order.quantity:
        return end_order(state, account, order, "EXPIRED", reason="UNFILLED_FOK_ORDER_EXPIRED")
    return take(state, account, order)


def place_pair(
    state: SpotState,
    account: SpotAccount,
    above: SpotRequest,
    below: SpotRequest,
    list_client_id: str | None,
) -> OrderList:
    """Enter an OCO list of an order above and one below the market; they have side and quantity in common."""
    spec = check_words(state, above)
    check_words(state, below)
    _check_types(above, below)
    drafts = []
    for request in (above, below):
        check_filters(spec, request, state.average(request.symbol))
        drafts.append(_draft(state, request))
    conditional = sum(draft.is_conditional for draft in drafts)
    check_counts(spec, account, orders=2, conditional=conditional, lists=1)
    _refuse_duplicates(account, above.client_order_id, below.client_order_id)
    if list_client_id is not None and _is_open(account.lists.find(client_id=list_client_id)):
        raise refuse_order("duplicate")
    _check_relation(state, *drafts)
    for draft in drafts:
        _check_market(state, draft)
    _check_funds(state, account, max(drafts, key=lambda draft: draft.held))
    return _enter_pair(state, account, drafts, list_client_id)


def _enter(state: SpotState, account: SpotAccount, draft: SpotOrder) -> SpotOrder:
    order = state.report(account, _numbered(state, draft), "NEW")
    spec = state.specs[order.symbol]
    if order.held:
        state.tell_position(account, spec.base, spec.quote)
    return order


def _enter_pair(
    state: SpotState, account: SpotAccount, drafts: list[SpotOrder], list_client_id: str | None
) -> OrderList:
    number = state.next_number("list")
    # The stop comes first, as in the venue's own answers.
    ordered = sorted(drafts, key=lambda draft: not draft.type.startswith("STOP_LOSS"))
    orders = [replace(_numbered(state, draft), list_id=number) for draft in ordered]
    pair = OrderList(
        list_id=number,
        client_list_id=list_client_id or state.client_id("list", number),
        symbol=orders[0].symbol,
        order_ids=tuple(order.order_id for order in orders),
        updated_ms=state.now_ms,
    )
    account.lists.put(pair)
    for order in orders:
        account.orders.put(order)
    pair = state.report_list(account, pair)
    for order in orders:
        state.report(account, order, "NEW")
    spec = state.specs[pair.symbol]
    state.tell_position(account, spec.base, spec.quote)
    return pair


def _draft(state: SpotState, request: SpotRequest) -> SpotOrder:
    draft = SpotOrder(
        order_id=0,
        client_order_id=request.client_order_id or "",
        symbol=request.symbol,
        side=request.side,
        type=request.type,
        time_in_force=request.time_in_force or "GTC",
        price=request.price or ZERO,
        quantity=request.quantity or ZERO,
        quote_quantity=request.quote_quantity or ZERO,
        stop_price=request.stop_price or ZERO,
        working=request.stop_price is None,
        created_ms=0,
        updated_ms=0,
    )
    if request.quote_quantity is not None:
        return replace(draft, quantity=_quantity_for(state, draft))
    return draft


def _numbered(state: SpotState, draft: SpotOrder) -> SpotOrder:
    number = state.next_number("order")
    return replace(
        draft,
        order_id=number,
        client_order_id=draft.client_order_id or state.client_id("order", number),
        created_ms=state.now_ms,
        updated_ms=state.now_ms,
        working_ms=state.now_ms if draft.working else -1,
    )


def _quantity_for(state: SpotState, draft: SpotOrder) -> Decimal:
    """How much the book gives for a quote quantity, in whole steps: all of it when the book is too thin."""
    market, step = state.markets[draft.symbol], state.specs[draft.symbol].step
    left, quantity = draft.quote_quantity, ZERO
    for level in market.asks if draft.side == "BUY" else market.bids:
        part = min(level.quantity, left / level.price // step * step)
        quantity += part
        left -= part * level.price
        if part < level.quantity:
            break
    return quantity


def _check_types(above: SpotRequest, below: SpotRequest) -> None:
    """Which orders may stand above and which below, by Binance's codes."""
    stops = ("STOP_LOSS", "STOP_LOSS_LIMIT")
    takes = ("TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
    for request in (above, below):
        if request.type not in (*_LIMITS, *stops, *takes):
            raise refuse_pair(-1158)
    if above.type in _LIMITS and below.type in _LIMITS:
        raise refuse_pair(-1168)
    sells = above.side == "SELL"
    wrong_limit, wrong_stop, wrong_take = (below, above, below) if sells else (above, below, above)
    if wrong_limit.type in _LIMITS:
        raise refuse_pair(-1166 if sells else -1165)
    if wrong_stop.type in stops:
        raise refuse_pair(-1197 if sells else -1196)
    if wrong_take.type in takes:
        raise refuse_pair(-1199 if sells else -1198)


def _check_relation(state: SpotState, above: SpotOrder, below: SpotOrder) -> None:
    """-2010 unless the last price lies between both orders."""
    last = state.markets[above.symbol].contract
    if last is None:
        return
    high, low = (order.stop_price or order.price for order in (above, below))
    if not low < last < high:
        raise refuse_order("relation")


def _check_market(state: SpotState, draft: SpotOrder) -> None:
    """A post-only order must not trade at once, a conditional one not trigger at once."""
    market = state.markets[draft.symbol]
    best = market.ask if draft.side == "BUY" else market.bid
    if draft.type == "LIMIT_MAKER" and best is not None and crosses(draft.side, draft.price, best):
        raise refuse_order("match")
    last = market.contract
    if draft.is_conditional and last is not None:
        above = triggers_above(draft.side, draft.type)
        if last >= draft.stop_price if above else last <= draft.stop_price:
            raise refuse_order("trigger")


def _check_funds(state: SpotState, account: SpotAccount, draft: SpotOrder) -> None:
    spec = state.specs[draft.symbol]
    asset = spec.quote if draft.side == "BUY" else spec.base
    needed = draft.held
    if draft.type == "MARKET":
        needed = draft.quantity if draft.side == "SELL" else _cost(state, draft)
    if account.free(asset) < needed:
        raise refuse_order("balance")


def _cost(state: SpotState, draft: SpotOrder) -> Decimal:
    """What a market buy pays for what the book gives."""
    left, cost = draft.quantity, ZERO
    for level in state.markets[draft.symbol].asks:
        part = min(left, level.quantity)
        cost, left = cost + part * level.price, left - part
    return cost


def _refuse_duplicates(account: SpotAccount, *client_ids: str | None) -> None:
    given = [client_id for client_id in client_ids if client_id is not None]
    taken = any(_is_open(account.orders.find(client_id=client_id)) for client_id in given)
    if taken or len(set(given)) < len(given):
        raise refuse_order("duplicate")


def _is_open(found: SpotOrder | OrderList | None) -> bool:
    return found is not None and found.is_open
