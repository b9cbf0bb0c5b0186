"""The spot venue's memory as JSON values, and a venue's memory made of them.

Held are accounts with balances, orders, order lists and histories, the clock and the numbers given out.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from live.rehearsal.exchange import recall, remember
from live.rehearsal.spot.account import SpotAccount
from live.rehearsal.spot.orders import LedgerEntry, OrderList, SpotOrder, SpotTrade
from live.rehearsal.spot.state import SpotState
from live.rehearsal.store import amounts_of, decode, encode, texts_of

__all__ = ["restore_spot", "snapshot_spot"]


def snapshot_spot(state: SpotState) -> dict[str, Any]:
    """All that a spot venue needs to go on after a restart."""
    return remember(state, _account_values)


def restore_spot(state: SpotState, values: Mapping[str, Any], *, history: int) -> None:
    """Put a snapshot in place of everything that the venue remembers; the outbox is emptied."""
    recall(state, values, lambda each: _account(state, each, history))


def _account_values(account: SpotAccount) -> dict[str, Any]:
    return {
        "name": account.name,
        "starting": texts_of(account.starting),
        "totals": texts_of(account.totals),
        "orders": [encode(order) for order in account.orders.all()],
        "lists": [encode(pair) for pair in account.lists.all()],
        "trades": [encode(trade) for trade in account.trades],
        "ledger": [encode(entry) for entry in account.ledger],
        "updated_ms": account.updated_ms,
    }


def _account(state: SpotState, values: Mapping[str, Any], history: int) -> SpotAccount:
    account = SpotAccount(values["name"], amounts_of(values["starting"]), history=history)
    account.totals = amounts_of(values["totals"])
    for each in values["lists"]:
        pair = decode(OrderList, each)
        account.lists.put(replace(pair, order_ids=tuple(pair.order_ids)))
    for each in values["orders"]:
        account.orders.put(decode(SpotOrder, each))
    for order in account.orders.open():
        account.hold(order, state.specs[order.symbol])
    account.trades = deque((decode(SpotTrade, each) for each in values["trades"]), maxlen=history)
    account.ledger = deque((decode(LedgerEntry, each) for each in values["ledger"]), maxlen=history)
    account.updated_ms = values["updated_ms"]
    return account
