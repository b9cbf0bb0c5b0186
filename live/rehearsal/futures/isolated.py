"""Isolated margin: a position's own wallet, filled and emptied with its fills, by funding and by request.

The isolated wallet is a part of the asset's wallet, so moving margin is no income. A fill that opens moves
notional / leverage at its price out of the cross wallet, which pays the commission. One that reduces gives
the same share of the isolated wallet back as it closes of the position, with profit, loss and commission in
it; a loss beyond the share is taken from what stays, and beyond that the insurance fund makes it good: the
rest of the account never pays. Funding is the isolated wallet's (Binance tells it with the position).

Margin never makes the cross wallet negative: where commission has used it up, the position gets what is left.
Raising the leverage leaves the isolated wallet as it is; the excess may be taken out. Margin may be taken out
down to the initial margin at the mark price, unrealised profit not counted. Whether Binance draws that line
to the cent is not known. There is no automatic adding of margin.
"""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.errors import refuse
from live.rehearsal.futures.account import Account, Position, position_sides, round_money
from live.rehearsal.futures.events import AccountUpdate
from live.rehearsal.futures.orders import MarginChange, UserTrade
from live.rehearsal.futures.state import State

__all__ = ["adjust_margin", "book_funding", "make_good", "set_margin_type", "settle_margin"]

ZERO = Decimal(0)
_TYPES = ("CROSSED", "ISOLATED")


def settle_margin(
    state: State, account: Account, before: Position, after: Position, trade: UserTrade
) -> Position:
    """Keep the position after a fill with its isolated wallet; profit and commission are booked already.

    The wallet is negative after a loss that it could not pay.
    """
    wallet, opened = before.isolated_wallet, abs(after.amount)
    if before.amount * after.amount > 0:
        opened = max(ZERO, opened - abs(before.amount))
    closed = trade.quantity - opened
    if closed:
        wallet -= _released(before, closed, trade)
    after = _keep(account, after, wallet)
    if opened:
        if closed:
            after = make_good(state, account, after)  # what is opened has no part in that loss
        asset = state.specs[after.symbol].margin_asset
        margin = round_money(opened * trade.price / account.leverage(after.symbol))
        margin = min(margin, max(ZERO, state.cross_wallet(account, asset)))
        after = _keep(account, after, after.isolated_wallet + margin)
    if before.amount * after.amount <= 0:
        account.called.discard(after.key)
        account.liquidating.discard(after.key)
    return after


def make_good(state: State, account: Account, position: Position) -> Position:
    """Let the insurance fund fill up an isolated wallet that a loss has left negative."""
    missing = -position.isolated_wallet
    if missing <= 0:
        return position
    asset = state.specs[position.symbol].margin_asset
    kept = _keep(account, position, ZERO)
    state.post(account, asset, "INSURANCE_CLEAR", missing, position.symbol)
    state.tell_account(account, "INSURANCE_CLEAR", asset, change=missing, positions=(kept,))
    return kept


def _released(before: Position, closed: Decimal, trade: UserTrade) -> Decimal:
    """What leaves the isolated wallet: the closed share, more where its loss is larger than that."""
    share = round_money(before.isolated_wallet * closed / abs(before.amount))
    result = trade.realized - round_money(trade.commission * closed / trade.quantity)
    return max(share, -result)


def book_funding(account: Account, position: Position, payment: Decimal) -> Position:
    """Put a funding payment that is booked already into the isolated wallet."""
    return _keep(account, position, position.isolated_wallet + payment)


def set_margin_type(state: State, account: Account, symbol: str, margin_type: str) -> None:
    """Change a symbol's margin type; only without open orders (-4047) and without a position (-4048)."""
    if margin_type not in _TYPES:
        raise refuse(-1130, "marginType")
    isolated = margin_type == "ISOLATED"
    if isolated == (symbol in account.isolated):
        raise refuse(-4046)
    if account.orders.open(symbol) or account.algos.open(symbol):
        raise refuse(-4047)
    if any(account.held(symbol)):
        raise refuse(-4048)
    if isolated:
        account.isolated.add(symbol)
    else:
        account.isolated.remove(symbol)
    sides = position_sides(account.hedge)
    state.outbox.append(
        AccountUpdate(
            account=account.name,
            ts_ms=state.now_ms,
            reason="MARGIN_TYPE_CHANGE",
            balances=(),
            positions=tuple(state.view(account, account.position(symbol, side)) for side in sides),
        )
    )


def adjust_margin(state: State, account: Account, symbol: str, side: str, amount: Decimal) -> None:
    """Add margin to an isolated position, or take out a negative amount."""
    if side not in position_sides(account.hedge):
        raise refuse(-4061)
    if symbol not in account.isolated:
        raise refuse(-4049)
    position, asset = account.position(symbol, side), state.specs[symbol].margin_asset
    if not position.amount:
        raise refuse(-4054)
    if amount > state.totals(account, asset).transferable:
        raise refuse(-4050)
    if -amount > _removable(state, account, position):
        raise refuse(-4051)
    changed = _keep(account, position, position.isolated_wallet + amount)
    account.margin_changes.append(
        MarginChange(symbol=symbol, position_side=side, amount=amount, asset=asset, ts_ms=state.now_ms)
    )
    state.moved.add((account.name, asset))
    state.tell_account(account, "MARGIN_TRANSFER", asset, positions=(changed,))


def _removable(state: State, account: Account, position: Position) -> Decimal:
    sums = state.sums(account, position)
    return max(ZERO, min(sums.wallet, sums.balance) - sums.margin)


def _keep(account: Account, position: Position, wallet: Decimal) -> Position:
    position = replace(position, isolated_wallet=wallet)
    account.positions[position.symbol, position.side] = position
    return position
