"""Margin calls and forced closing, one pool of margin at a time.

A pool is what stands in for losses together: the positions with crossed margin of one asset and what no
isolated position holds of the wallet, or one isolated position and its own wallet.

When the margin balance falls to the maintenance margin the pool is in liquidation: its open orders are
cancelled and its positions closed by orders named autoclose-..., the one with the largest maintenance margin
first, until the balance is above the maintenance again. A forced order takes the book as it is; what it
leaves is tried again with the next quote. Each pays the taker rate and the symbol's liquidation fee, the
latter at most from what the pool holds. A wallet that ends below zero is made good by the insurance fund.
Binance reduces large positions bracket by bracket and takes over what the book cannot; that is not modelled.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from live.rehearsal.futures.account import Account, Position, round_money
from live.rehearsal.futures.events import MarginCall
from live.rehearsal.futures.lifecycle import end_algo, end_order, update_order
from live.rehearsal.futures.matching import take
from live.rehearsal.futures.orders import AlgoOrder, Order
from live.rehearsal.futures.state import State, Sums

__all__ = ["forced_order", "is_liquidating", "watch_margin"]

ZERO = Decimal(0)
_CALL_RATIO = Decimal("0.8")


class Pool(NamedTuple):
    """The crossed positions of an asset, or with a symbol one isolated position."""

    asset: str
    symbol: str = ""
    side: str = ""

    @property
    def key(self) -> str:
        """Its name among those called or in liquidation."""
        return f"{self.symbol} {self.side}" if self.symbol else self.asset

    def owns(self, account: Account, order: Order | AlgoOrder) -> bool:
        """Whether a liquidation ends the order; of crossed margin also what would open isolated positions."""
        if self.symbol:
            return (order.symbol, order.position_side) == (self.symbol, self.side)
        opens = isinstance(order, Order) and not order.reduce_only
        return opens or order.symbol not in account.isolated


def watch_margin(state: State, account: Account, asset: str) -> None:
    """Call for margin, liquidate, or go on liquidating."""
    isolated = [p for p in account.held() if p.symbol in account.isolated]
    _watch(state, account, Pool(asset))
    for position in isolated:
        if state.specs[position.symbol].margin_asset == asset:
            _watch(state, account, Pool(asset, position.symbol, position.side))


def is_liquidating(account: Account, symbol: str, asset: str) -> bool:
    """Whether a symbol's book matters to a liquidation that goes on."""
    return any(key == asset or key.startswith(f"{symbol} ") for key in account.liquidating)


def _watch(state: State, account: Account, pool: Pool) -> None:
    sums = _sums(state, account, pool)
    if pool.key in account.liquidating:
        _close_out(state, account, pool)
    elif sums.maintenance > 0 and sums.balance <= sums.maintenance:
        _begin(state, account, pool)
    elif sums.maintenance >= sums.balance * _CALL_RATIO and sums.maintenance > 0:
        _call(state, account, pool)
    else:
        account.called.discard(pool.key)


def _call(state: State, account: Account, pool: Pool) -> None:
    if pool.key in account.called:
        return
    account.called.add(pool.key)
    views = tuple(state.view(account, position) for position in _held(state, account, pool))
    wallet = None if pool.symbol else state.cross_wallet(account, pool.asset)
    state.outbox.append(MarginCall(account=account.name, ts_ms=state.now_ms, wallet=wallet, positions=views))


def _begin(state: State, account: Account, pool: Pool) -> None:
    account.liquidating.add(pool.key)
    for order in account.orders.open():
        if state.specs[order.symbol].margin_asset == pool.asset and pool.owns(account, order):
            end_order(state, account, order, "CANCELED")
    for algo in account.algos.open():
        if state.specs[algo.symbol].margin_asset == pool.asset and pool.owns(account, algo):
            end_algo(state, account, algo, "EXPIRED")
    _close_out(state, account, pool)


def _close_out(state: State, account: Account, pool: Pool) -> None:
    for position in _held(state, account, pool):
        if _is_healthy(state, account, pool):
            break
        if state.trades_now(position.symbol):
            _force(state, account, position, pool)
    left = _held(state, account, pool)
    if left and not _is_healthy(state, account, pool):
        return
    account.liquidating.discard(pool.key)
    account.called.discard(pool.key)
    missing = -state.cross_wallet(account, pool.asset)
    if not pool.symbol and not left and missing > 0:
        _clear(state, account, pool.asset, missing, "")


def _is_healthy(state: State, account: Account, pool: Pool) -> bool:
    sums = _sums(state, account, pool)
    return sums.balance > sums.maintenance


def _sums(state: State, account: Account, pool: Pool) -> Sums:
    if pool.symbol:
        return state.sums(account, account.position(pool.symbol, pool.side))
    return state.totals(account, pool.asset).cross


def _held(state: State, account: Account, pool: Pool) -> list[Position]:
    """The pool's positions, the largest maintenance margin first."""

    def maintenance(position: Position) -> Decimal:
        return state.sums(account, position).maintenance

    if pool.symbol:
        return [p for p in account.held(pool.symbol) if p.side == pool.side]
    crossed = [p for p in account.held() if p.symbol not in account.isolated]
    held = [p for p in crossed if state.specs[p.symbol].margin_asset == pool.asset]
    return sorted(held, key=maintenance, reverse=True)


def _force(state: State, account: Account, position: Position, pool: Pool) -> None:
    market, side = state.markets[position.symbol], position.closing_side
    levels = market.asks if side == "BUY" else market.bids
    if not levels:
        return
    before = state.cross_wallet(account, pool.asset)
    number = state.next_number("order")
    order = forced_order(
        state,
        position,
        abs(position.amount),
        _last_price(levels, abs(position.amount)),
        order_id=number,
        client_order_id=f"autoclose-{state.now_ms}{number % 1_000_000:06d}",
        time_in_force="IOC",
        reduce_only=True,
    )
    account.forced.append(order.order_id)
    order = take(state, account, update_order(state, account, order, "CALCULATED"))
    if order.is_open:
        order = end_order(state, account, order, "EXPIRED")
    fee = round_money(order.quote_filled * state.specs[position.symbol].liquidation_fee)
    # Of an isolated position only what has come out of its wallet.
    holds = state.cross_wallet(account, pool.asset) - (before if pool.symbol else ZERO)
    _clear(state, account, pool.asset, -min(fee, max(ZERO, holds)), position.symbol)


def forced_order(state: State, position: Position, quantity: Decimal, price: Decimal, **values: Any) -> Order:
    """The venue's own limit order that closes so much of a position; `values` are the order's others."""
    return Order(
        symbol=position.symbol,
        side=position.closing_side,
        position_side=position.side,
        type="LIMIT",
        original_type="LIMIT",
        price=price,
        quantity=quantity,
        created_ms=state.now_ms,
        updated_ms=state.now_ms,
        forced=True,
        **values,
    )


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
