"""A spot account: balances free and locked, orders and order lists, fills, and the ledger behind it all.

The ledger is exact: an asset's free and locked balance together are its starting balance plus the sum of its
entries. What is locked is what the open orders hold; the two orders of a list hold the larger of both.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from live.rehearsal.exchange import ExchangeAccount
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.orders import LedgerEntry, OrderList, SpotOrder, SpotTrade
from live.rehearsal.store import Store

__all__ = ["Balance", "SpotAccount"]

ZERO = Decimal(0)


class Balance(NamedTuple):
    """What an account has of an asset."""

    asset: str
    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        """Free and locked."""
        return self.free + self.locked


class SpotAccount(ExchangeAccount[SpotOrder, SpotTrade]):
    """An account with its starting balances; of closed orders, fills and entries the last `history` stay."""

    def __init__(self, name: str, starting: Mapping[str, Decimal], *, history: int) -> None:
        super().__init__(name, starting, history=history)
        self.totals = dict(starting)
        self.locked: dict[str, Decimal] = {}
        self.lists: Store[OrderList] = Store(history)
        self.ledger: deque[LedgerEntry] = deque(maxlen=history)
        self._holds: dict[tuple[str, int], tuple[str, Decimal]] = {}

    def free(self, asset: str) -> Decimal:
        """What new orders may use."""
        return self.totals.get(asset, ZERO) - self.locked.get(asset, ZERO)

    def balance(self, asset: str) -> Balance:
        """One asset's balance."""
        return Balance(asset, self.free(asset), self.locked.get(asset, ZERO))

    def balances(self) -> Iterator[Balance]:
        """Every asset that the account ever had, by name."""
        return (self.balance(asset) for asset in sorted(self.totals))

    def post(self, entry: LedgerEntry) -> None:
        """Book an entry; nothing is booked for zero."""
        if entry.amount:
            self.totals[entry.asset] = self.totals.get(entry.asset, ZERO) + entry.amount
            self.ledger.append(entry)
            self.updated_ms = entry.ts_ms

    def members(self, order: SpotOrder) -> list[SpotOrder]:
        """The orders that hold the same coins as this one: those of its list, else itself."""
        pair = self.lists.find(order.list_id) if order.list_id >= 0 else None
        if pair is None:
            return [self.orders.latest(order)]
        found = (self.orders.find(number) for number in pair.order_ids)
        return [each for each in found if each is not None]

    def hold(self, order: SpotOrder, spec: SymbolSpec) -> bool:
        """Lock what the order's group holds now; whether that changed anything."""
        key = ("list", order.list_id) if order.list_id >= 0 else ("order", order.order_id)
        asset = spec.base if order.side == "SELL" else spec.quote
        wanted = max((each.held for each in self.members(order)), default=ZERO)
        _, before = self._holds.pop(key, (asset, ZERO))
        if wanted:
            self._holds[key] = asset, wanted
        if wanted == before:
            return False
        self.locked[asset] = self.locked.get(asset, ZERO) + wanted - before
        return True

    def lists_of(self, symbol: str | None = None) -> list[OrderList]:
        """Every order list kept, oldest first."""
        return self.lists.all(symbol)
