"""Margin calls and forced closing, one margin asset of an account at a time.

When the margin balance falls to the maintenance margin the account is in liquidation: its open orders are
cancelled and its positions closed by orders named autoclose-..., the one with the largest maintenance margin
first, until the balance is above the maintenance again. A forced order takes the book as it is; what it
leaves is tried again with the next quote. Each pays the taker rate and the symbol's liquidation fee, the
latter at most from what the wallet holds. A wallet that ends below zero is made good by the insurance fund.
Binance reduces large positions bracket by bracket and takes over what the book cannot; that is not modelled.
"""

from collections.abc import Iterable
from decimal import Decimal

from live.rehearsal.account import Account, Position, round_money
from live.rehearsal.events import MarginCall
from live.rehearsal.lifecycle import end_algo, end_order, update_order
from live.rehearsal.matching import take
from live.rehearsal.orders import Order
from live.rehearsal.state import State

__all__ = ["watch_margin"]

ZERO = Decimal(0)
_CALL_RATIO = Decimal("0.8")


def watch_margin(state: State, account: Account, asset: str) -> None:
    """Call for margin, liquidate, or go on liquidating."""
    totals = state.totals(account, asset)
    if asset in account.liquidating:
        _close_out(state, account, asset)
    elif totals.maintenance > 0 and totals.balance <= totals.maintenance:
        _begin(state, account, asset)
    elif totals.maintenance >= totals.balance * _CALL_RATIO and totals.maintenance > 0:
        _call(state, account, asset)
    else:
        account.called.discard(asset)


def _call(state: State, account: Account, asset: str) -> None:
    if asset in account.called:
        return
    account.called.add(asset)
    views = tuple(state.view(account, position) for position in _held(state, account, asset))
    state.outbox.append(
        MarginCall(account=account.name, ts_ms=state.now_ms, wallet=account.wallets[asset], positions=views)
    )


def _begin(state: State, account: Account, asset: str) -> None:
    account.liquidating.add(asset)
    for order in account.orders.open():
        if state.specs[order.symbol].margin_asset == asset:
            end_order(state, account, order, "CANCELED")
    for algo in account.algos.open():
        if state.specs[algo.symbol].margin_asset == asset:
            end_algo(state, account, algo, "EXPIRED")
    _close_out(state, account, asset)


def _close_out(state: State, account: Account, asset: str) -> None:
    for position in _held(state, account, asset):
        if _is_healthy(state, account, asset):
            break
        if state.trades_now(position.symbol):
            _force(state, account, position)
    left = _held(state, account, asset)
    if left and not _is_healthy(state, account, asset):
        return
    account.liquidating.discard(asset)
    account.called.discard(asset)
    if not left and account.wallets[asset] < 0:
        _clear(state, account, asset, -account.wallets[asset], "")


def _is_healthy(state: State, account: Account, asset: str) -> bool:
    totals = state.totals(account, asset)
    return totals.balance > totals.maintenance


def _held(state: State, account: Account, asset: str) -> list[Position]:
    """The asset's positions, the largest maintenance margin first."""

    def maintenance(position: Position) -> Decimal:
        return state.specs[position.symbol].maintenance(abs(position.amount) * state.mark_of(position))

    held = [p for p in account.held() if state.specs[p.symbol].margin_asset == asset]
    return sorted(held, key=maintenance, reverse=True)


def _force(state: State, account: Account, position: Position) -> None:
    market, side = state.markets[position.symbol], position.closing_side
    levels = market.asks if side == "BUY" else market.bids
    if not levels:
        return
    number = state.next_number("order")
    order = Order(
        order_id=number,
        client_order_id=f"autoclose-{state.now_ms}{number % 1_000_000:06d}",
        symbol=position.symbol,
        side=side,
        position_side=position.side,
        type="LIMIT",
        original_type="LIMIT",
        time_in_force="IOC",
        price=_last_price(levels, abs(position.amount)),
        quantity=abs(position.amount),
        reduce_only=True,
        created_ms=state.now_ms,
        updated_ms=state.now_ms,
        forced=True,
    )
    account.forced.append(number)
    order = take(state, account, update_order(state, account, order, "CALCULATED"))
    if order.is_open:
        order = end_order(state, account, order, "EXPIRED")
    spec = state.specs[position.symbol]
    fee = round_money(order.quote_filled * spec.liquidation_fee)
    fee = min(fee, max(ZERO, account.wallets[spec.margin_asset]))
    _clear(state, account, spec.margin_asset, -fee, position.symbol)


def _last_price(levels: Iterable[tuple[Decimal, Decimal]], quantity: Decimal) -> Decimal:
    """The price of the level that fills the last of a quantity, or of the last level."""
    price = ZERO
    for level, size in levels:
        price = level
        quantity -= size
        if quantity <= 0:
            break
    return price


def _clear(state: State, account: Account, asset: str, amount: Decimal, symbol: str) -> None:
    if amount:
        state.post(account, asset, "INSURANCE_CLEAR", amount, symbol)
        state.tell_account(account, "INSURANCE_CLEAR", asset, change=amount)
