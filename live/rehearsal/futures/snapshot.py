"""The venue's memory as JSON values, and a venue's memory made of them.

Held are accounts with their ledgers, positions, orders and histories, the clock and the numbers given out.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from live.rehearsal.exchange import recall, remember
from live.rehearsal.futures.account import Account, Position
from live.rehearsal.futures.orders import AlgoOrder, Income, MarginChange, Order, UserTrade
from live.rehearsal.futures.state import State
from live.rehearsal.store import amounts_of, decode, encode, texts_of

__all__ = ["restore_state", "snapshot_state"]


def snapshot_state(state: State) -> dict[str, Any]:
    """All that a venue needs to go on after a restart."""
    return remember(state, _account_values)


def restore_state(state: State, values: Mapping[str, Any], *, history: int) -> None:
    """Put a snapshot in place of everything that the venue remembers; the outbox is emptied."""
    recall(state, values, lambda each: _account(each, history))
    state.moved = {(a.name, asset) for a in state.accounts.values() for asset in a.wallets}


def _account_values(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "starting": texts_of(account.starting),
        "wallets": texts_of(account.wallets),
        "income_totals": texts_of(account.income_totals),
        "default_leverage": account.default_leverage,
        "leverages": dict(account.leverages),
        "isolated": sorted(account.isolated),
        "hedge": account.hedge,
        "positions": [encode(position) for position in account.positions.values()],
        "orders": [encode(order) for order in account.orders.all()],
        "algos": [encode(algo) for algo in account.algos.all()],
        "trades": [encode(trade) for trade in account.trades],
        "incomes": [encode(income) for income in account.incomes],
        "margin_changes": [encode(change) for change in account.margin_changes],
        "forced": list(account.forced),
        "called": sorted(account.called),
        "liquidating": sorted(account.liquidating),
        "updated_ms": account.updated_ms,
    }


def _account(values: Mapping[str, Any], history: int) -> Account:
    account = Account(
        values["name"],
        amounts_of(values["starting"]),
        leverage=values["default_leverage"],
        history=history,
    )
    account.wallets = amounts_of(values["wallets"])
    account.income_totals = amounts_of(values["income_totals"])
    account.leverages = dict(values["leverages"])
    account.isolated = set(values["isolated"])
    account.hedge = values["hedge"]
    for position in _records(Position, values["positions"]):
        account.positions[position.symbol, position.side] = position
    for order in _records(Order, values["orders"]):
        account.orders.put(order)
    for algo in _records(AlgoOrder, values["algos"]):
        account.algos.put(algo)
    account.trades = deque(_records(UserTrade, values["trades"]), maxlen=history)
    account.incomes = deque(_records(Income, values["incomes"]), maxlen=history)
    account.margin_changes = deque(_records(MarginChange, values["margin_changes"]), maxlen=history)
    account.forced = deque(values["forced"], maxlen=history)
    account.called, account.liquidating = set(values["called"]), set(values["liquidating"])
    account.updated_ms = values["updated_ms"]
    return account


def _records[T](kind: type[T], values: Iterable[Mapping[str, Any]]) -> list[T]:
    return [decode(kind, each) for each in values]
