"""The venue's memory as JSON values, and a venue's memory made of them.

Held are accounts with their ledgers, positions, orders and histories, the clock and the numbers given out.
Rules and fees come from the venue's construction, the market from the next quotes.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from live.rehearsal.account import Account, Position
from live.rehearsal.orders import AlgoOrder, Income, Order, UserTrade
from live.rehearsal.state import State
from live.rehearsal.store import decode, encode

__all__ = ["restore_state", "snapshot_state"]


def snapshot_state(state: State) -> dict[str, Any]:
    """All that a venue needs to go on after a restart."""
    return {
        "now_ms": state.now_ms,
        "counters": dict(state.counters),
        "accounts": [_account_values(account) for account in state.accounts.values()],
    }


def restore_state(state: State, values: Mapping[str, Any], *, history: int) -> None:
    """Put a snapshot in place of everything that the venue remembers; the outbox is emptied."""
    state.now_ms = max(state.now_ms, values["now_ms"])
    state.counters = dict(values["counters"])
    state.accounts = {each["name"]: _account(each, history) for each in values["accounts"]}
    state.outbox = []
    state.moved = {(a.name, asset) for a in state.accounts.values() for asset in a.wallets}


def _account_values(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "starting": _texts(account.starting),
        "wallets": _texts(account.wallets),
        "income_totals": _texts(account.income_totals),
        "default_leverage": account.default_leverage,
        "leverages": dict(account.leverages),
        "hedge": account.hedge,
        "positions": [encode(position) for position in account.positions.values()],
        "orders": [encode(order) for order in account.orders.all()],
        "algos": [encode(algo) for algo in account.algos.all()],
        "trades": [encode(trade) for trade in account.trades],
        "incomes": [encode(income) for income in account.incomes],
        "forced": list(account.forced),
        "called": sorted(account.called),
        "liquidating": sorted(account.liquidating),
        "updated_ms": account.updated_ms,
    }


def _account(values: Mapping[str, Any], history: int) -> Account:
    account = Account(
        values["name"],
        _amounts(values["starting"]),
        leverage=values["default_leverage"],
        history=history,
    )
    account.wallets = _amounts(values["wallets"])
    account.income_totals = _amounts(values["income_totals"])
    account.leverages = dict(values["leverages"])
    account.hedge = values["hedge"]
    for position in _records(Position, values["positions"]):
        account.positions[position.symbol, position.side] = position
    for order in _records(Order, values["orders"]):
        account.orders.put(order)
    for algo in _records(AlgoOrder, values["algos"]):
        account.algos.put(algo)
    account.trades = deque(_records(UserTrade, values["trades"]), maxlen=history)
    account.incomes = deque(_records(Income, values["incomes"]), maxlen=history)
    account.forced = deque(values["forced"], maxlen=history)
    account.called, account.liquidating = set(values["called"]), set(values["liquidating"])
    account.updated_ms = values["updated_ms"]
    return account


def _records[T](kind: type[T], values: Iterable[Mapping[str, Any]]) -> list[T]:
    return [decode(kind, each) for each in values]


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {asset: str(amount) for asset, amount in amounts.items()}


def _amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {asset: Decimal(text) for asset, text in texts.items()}
