"""Conditional orders: they wait outside the book for their trigger and then enter it as ordinary orders.

STOP and TAKE_PROFIT kinds trigger when the working price (last trade or mark price) reaches the trigger
price; with `price_protect` only while mark and last price are near each other. A trailing stop becomes active
when its activation price is reached, follows the best price since, and triggers at `callback_rate` percent
back from it. Margin and what is to be reduced are checked when it triggers, not when it is placed.
"""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.book import Market
from live.rehearsal.errors import TEXTS, VenueError, refuse
from live.rehearsal.futures import filters
from live.rehearsal.futures.account import Account
from live.rehearsal.futures.entry import enter
from live.rehearsal.futures.lifecycle import end_algo, update_algo
from live.rehearsal.futures.orders import ALGO_TYPES, AlgoOrder, Order, OrderRequest
from live.rehearsal.futures.state import State

__all__ = ["place_algo", "trigger"]

ZERO = Decimal(0)
# Binance's own word in ALGO_UPDATE for this one.
_REASONS = {-2022: "Reduce Only reject"}


def place_algo(state: State, account: Account, request: OrderRequest) -> AlgoOrder:
    """Check a conditional request and keep it."""
    spec, market = state.spec(request.symbol), state.markets[request.symbol]
    filters.check_words(spec, account, request, ALGO_TYPES)
    side = filters.resolve_side(account, request)
    filters.check_algo(spec, market, request, state.now_ms)
    known = account.algos.find(client_id=request.client_order_id) if request.client_order_id else None
    if known is not None and known.is_open:
        raise refuse(-4116)
    if account.algos.count_open(request.symbol) >= spec.max_algo_orders:
        raise refuse(-4045)
    reduces = filters.reduces_only(request, side)
    if request.close_position:
        _check_closer(account, request, side, reduces=reduces)
    elif not reduces:
        reference = request.price or request.trigger_price or market.mark
        filters.check_notional(spec, request.quantity or ZERO, reference)
    return update_algo(state, account, _new_algo(state, market, request, side, reduces=reduces))


def trigger(state: State, symbol: str) -> None:
    """Set off the conditional orders that the present prices reach, older ones first."""
    market = state.markets[symbol]
    for account in state.accounts.values():
        for found in account.algos.open(symbol):
            # What an earlier one set off may have ended this one.
            algo = account.algos.latest(found)
            now = market.working_price(algo.working_type)
            if not algo.is_open or now is None:
                continue
            if algo.is_trailing:
                algo = _trail(account, algo, now)
            if _triggers(algo, now) and not _held_back(state, market, algo):
                _set_off(state, account, algo)


def _new_algo(state: State, market: Market, request: OrderRequest, side: str, *, reduces: bool) -> AlgoOrder:
    number = state.next_number("algo")
    trailing = request.type == "TRAILING_STOP_MARKET"
    active = not trailing or request.activation_price is None
    return AlgoOrder(
        algo_id=number,
        client_algo_id=request.client_order_id or state.client_id(number),
        symbol=request.symbol,
        side=request.side,
        position_side=side,
        type=request.type,
        time_in_force=request.time_in_force or "GTC",
        quantity=request.quantity or ZERO,
        price=request.price or ZERO,
        trigger_price=request.trigger_price or ZERO,
        activation_price=request.activation_price,
        callback_rate=request.callback_rate,
        working_type=request.working_type,
        reduce_only=reduces,
        close_position=request.close_position,
        price_protect=request.price_protect,
        good_till_ms=request.good_till_ms or 0,
        created_ms=state.now_ms,
        updated_ms=state.now_ms,
        active=active,
        extreme=market.working_price(request.working_type) if trailing and active else None,
    )


def _check_closer(account: Account, request: OrderRequest, side: str, *, reduces: bool) -> None:
    if not reduces:
        raise refuse(-2022)
    has_position = account.position(request.symbol, side).amount != 0
    if not has_position and not account.orders.count_open(request.symbol):
        raise refuse(-4509)
    family = request.type.startswith("STOP")
    for algo in account.algos.open(request.symbol):
        same = (algo.side, algo.position_side) == (request.side, side)
        if algo.close_position and same and algo.type.startswith("STOP") == family:
            raise refuse(-4130)


def _trail(account: Account, algo: AlgoOrder, now: Decimal) -> AlgoOrder:
    """Activate it, and move its extreme and trigger with the price; told to nobody, as on Binance."""
    sells = algo.side == "SELL"
    active = algo.active or algo.activation_price is None
    if not active and algo.activation_price is not None:
        active = now >= algo.activation_price if sells else now <= algo.activation_price
    if not active:
        return algo
    best = now if algo.extreme is None else (max if sells else min)(algo.extreme, now)
    if best == algo.extreme and algo.trigger_price and algo.active:
        return algo
    back = (algo.callback_rate or ZERO) / 100
    moved = replace(algo, active=True, extreme=best, trigger_price=best * (1 - back if sells else 1 + back))
    account.algos.put(moved)
    return moved


def _triggers(algo: AlgoOrder, now: Decimal) -> bool:
    if algo.is_trailing and not algo.active:
        return False
    stops = algo.is_trailing or algo.type.startswith("STOP")
    rising = (algo.side == "BUY") == stops
    return now >= algo.trigger_price if rising else now <= algo.trigger_price


def _held_back(state: State, market: Market, algo: AlgoOrder) -> bool:
    mark, last = market.mark, market.contract
    if not algo.price_protect or mark is None or last is None:
        return False
    return abs(mark - last) > mark * state.specs[algo.symbol].trigger_protect


def _set_off(state: State, account: Account, algo: AlgoOrder) -> None:
    algo = update_algo(state, account, replace(algo, status="TRIGGERING", triggered_ms=state.now_ms))
    draft = _actual(account, algo)
    try:
        if draft.type == "LIMIT":
            mark = state.markets[algo.symbol].mark
            filters.check_percent_price(state.specs[algo.symbol], draft.side, draft.price, mark)
        enter(state, account, draft, algo)
    except VenueError as error:
        end_algo(state, account, algo, "REJECTED", _REASONS.get(error.code, TEXTS[error.code]))


def _actual(account: Account, algo: AlgoOrder) -> Order:
    held = abs(account.position(algo.symbol, algo.position_side).amount)
    kind = "LIMIT" if algo.type in {"STOP", "TAKE_PROFIT"} else "MARKET"
    return Order(
        order_id=0,
        client_order_id=algo.client_algo_id,
        symbol=algo.symbol,
        side=algo.side,
        position_side=algo.position_side,
        type=kind,
        original_type=algo.type,
        time_in_force=algo.time_in_force if kind == "LIMIT" else "GTC",
        price=algo.price,
        quantity=held if algo.close_position else algo.quantity,
        reduce_only=algo.reduce_only,
        close_position=algo.close_position,
        stop_price=algo.trigger_price,
        activation_price=algo.activation_price or ZERO,
        callback_rate=algo.callback_rate or ZERO,
        working_type=algo.working_type,
        price_protect=algo.price_protect,
        good_till_ms=algo.good_till_ms if kind == "LIMIT" else 0,
        created_ms=0,
        updated_ms=0,
        algo_id=algo.algo_id,
    )
