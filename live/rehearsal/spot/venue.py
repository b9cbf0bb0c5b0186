"""The spot venue: a Binance spot exchange in one synchronous, deterministic object.

Market events move it, requests change it, and everything that happens is put into one outbox in order. It
reads no clock, file or network: time is the newest event's. Refusals are `VenueError`s. Mark prices and
funding are no part of a spot market and are overlooked.

An order list is done when none of its orders is open: after a partial fill of one order the other has expired
and the rest of the first stays on the book.

Not modelled: icebergs, trailing and pegged orders, OTO lists, self-trade prevention, a queue at a price.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Funding, Kline, MarketEvent, MarkPrice, Trade
from live.rehearsal.errors import VenueError
from live.rehearsal.exchange import ExchangeVenue, Terms
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.account import Balance, SpotAccount
from live.rehearsal.spot.entry import check, place, place_pair
from live.rehearsal.spot.errors import refuse_cancel, refuse_order
from live.rehearsal.spot.events import BalanceUpdate, SpotEvent
from live.rehearsal.spot.matching import end_list, end_order, sweep, trigger
from live.rehearsal.spot.orders import LedgerEntry, OrderList, SpotOrder, SpotRequest, SpotTrade
from live.rehearsal.spot.snapshot import restore_spot, snapshot_spot
from live.rehearsal.spot.state import SpotState

__all__ = ["SpotVenue"]

ZERO = Decimal(0)


class SpotVenue(ExchangeVenue[SpotAccount, SpotOrder, SpotTrade, SpotEvent]):
    """A spot exchange with its accounts; the first is "main" with `balances` (asset to amount).

    Commission is `maker_rate` or `taker_rate` of what is received; with `bnb_rate` (0.75 is a quarter less)
    it is paid out of BNB while there is enough. `seed` goes into the client ids that the venue makes up. Of
    closed orders, fills and ledger entries the last `history` are kept per account.
    """

    _state: SpotState

    def __init__(
        self,
        specs: Iterable[SymbolSpec],
        *,
        balances: Mapping[str, Decimal],
        maker_rate: Decimal = Decimal("0.001"),
        taker_rate: Decimal = Decimal("0.001"),
        bnb_rate: Decimal | None = None,
        seed: int = 0,
        history: int = 10_000,
        now_ms: int = 0,
    ) -> None:
        terms = Terms(maker_rate=maker_rate, taker_rate=taker_rate, seed=seed, now_ms=now_ms)
        self._state = SpotState(specs, terms, bnb_rate=bnb_rate)
        self._history = history
        self.add_account("main", balances)

    # -- the market ---------------------------------------------------------------------------------------

    def average(self, symbol: str) -> tuple[Decimal | None, int]:
        """The average price of five minutes and the time of the last trade."""
        self._state.spec(symbol)
        return self._state.average(symbol), self._state.averages[symbol].closed_ms

    def apply(self, event: MarketEvent) -> None:
        """Take in a market event: tell it, fill and trigger what it reaches."""
        state = self._state
        self.set_time(event.ts_ms)
        if isinstance(event, MarkPrice | Funding):
            return
        state.outbox.append(event)
        state.markets[event.symbol].update(event)
        if isinstance(event, Kline):
            return
        if isinstance(event, Trade):
            state.averages[event.symbol].add(event)
        if state.trades_now(event.symbol):
            sweep(state, event)
            trigger(state, event.symbol)

    # -- orders -------------------------------------------------------------------------------------------

    def place(self, account: str, request: SpotRequest) -> SpotOrder:
        """Enter an order; the order as it is after matching at once."""
        return place(self._state, self._account(account), request)

    def check(self, account: str, request: SpotRequest) -> None:
        """Nothing when the order could be entered now; else what refuses it."""
        check(self._state, self._account(account), request)

    def place_oco(
        self, account: str, above: SpotRequest, below: SpotRequest, list_client_id: str | None = None
    ) -> OrderList:
        """Enter an OCO pair of one side and quantity."""
        return place_pair(self._state, self._account(account), above, below, list_client_id)

    def cancel(
        self,
        account: str,
        symbol: str,
        order_id: int | None = None,
        client_order_id: str | None = None,
        *,
        cancel_id: str | None = None,
    ) -> SpotOrder:
        """Cancel an open order, with it the list it belongs to; -2011 when there is none."""
        owner = self._account(account)
        order = self._find(owner, symbol, order_id, client_order_id)
        if order is None or not order.is_open:
            raise refuse_cancel()
        name = cancel_id or self.new_id("cancel")
        pair = owner.lists.find(order.list_id) if order.list_id >= 0 else None
        if pair is None:
            return end_order(self._state, owner, order, "CANCELED", cancel_id=name)
        end_list(self._state, owner, pair, cancel_id=name)
        return owner.orders.latest(order)

    def cancel_list(
        self,
        account: str,
        symbol: str,
        list_id: int | None = None,
        list_client_id: str | None = None,
        *,
        cancel_id: str | None = None,
    ) -> OrderList:
        """Cancel an order list; -2011 when there is none open."""
        owner = self._account(account)
        self._state.spec(symbol)
        pair = owner.lists.find(list_id, list_client_id)
        if pair is None or pair.symbol != symbol or not pair.is_open:
            raise refuse_cancel()
        return end_list(self._state, owner, pair, cancel_id=cancel_id or self.new_id("cancel"))

    def cancel_all(self, account: str, symbol: str) -> Sequence[SpotOrder | OrderList]:
        """Cancel a symbol's open orders; the ones of a list come as that list."""
        self._state.spec(symbol)
        owner, name = self._account(account), self.new_id("cancel")
        ended: list[SpotOrder | OrderList] = []
        for found in owner.orders.open(symbol):
            order = owner.orders.latest(found)
            if not order.is_open:
                continue
            pair = owner.lists.find(order.list_id) if order.list_id >= 0 else None
            if pair is None:
                ended.append(end_order(self._state, owner, order, "CANCELED", cancel_id=name))
            else:
                ended.append(end_list(self._state, owner, pair, cancel_id=name))
        return ended

    def new_id(self, kind: str) -> str:
        """A client id for a request that came without one."""
        return self._state.client_id(kind, self._state.next_number("execution"))

    def order_list(
        self, account: str, list_id: int | None = None, list_client_id: str | None = None
    ) -> OrderList:
        """One order list, open or done; -2018 when there is none."""
        pair = self._account(account).lists.find(list_id, list_client_id)
        if pair is None:
            raise VenueError(-2018, "Order list does not exist.")
        return pair

    def order_lists(self, account: str, *, only_open: bool = False) -> list[OrderList]:
        """The order lists, oldest first."""
        lists = self._account(account).lists
        return lists.open() if only_open else lists.all()

    def list_orders(self, account: str, pair: OrderList) -> list[SpotOrder]:
        """The orders of a list."""
        found = (self._account(account).orders.find(number) for number in pair.order_ids)
        return [order for order in found if order is not None]

    # -- the account --------------------------------------------------------------------------------------

    def add_account(self, name: str, balances: Mapping[str, Decimal]) -> None:
        """Open an account; assets that are traded and not named start at zero."""
        assets = [asset for spec in self._state.specs.values() for asset in (spec.base, spec.quote)]
        opening = dict.fromkeys(assets, ZERO) | dict(balances)
        self._state.accounts[name] = SpotAccount(name, opening, history=self._history)

    def balances(self, account: str) -> list[Balance]:
        """Every asset's balance, by name."""
        return list(self._account(account).balances())

    def starting(self, account: str) -> Mapping[str, Decimal]:
        """The balances that the account was opened with."""
        return dict(self._account(account).starting)

    def updated_ms(self, account: str) -> int:
        """When a balance changed last."""
        return self._account(account).updated_ms

    def ledger(self, account: str) -> list[LedgerEntry]:
        """The ledger's entries, oldest first."""
        return list(self._account(account).ledger)

    def commission_rates(self, account: str, symbol: str) -> tuple[Decimal, Decimal, Decimal | None]:
        """The maker and taker rates, and what remains of them when they are paid in BNB."""
        self._account(account)
        self._state.spec(symbol)
        return self._state.maker_rate, self._state.taker_rate, self._state.bnb_rate

    def transfer(self, account: str, asset: str, amount: Decimal) -> None:
        """Deposit, or withdraw a negative amount; -2010 when more than is free."""
        owner, state = self._account(account), self._state
        if -amount > owner.free(asset):
            raise refuse_order("balance")
        state.post(owner, asset, "TRANSFER", amount)
        state.outbox.append(BalanceUpdate(account=account, ts_ms=state.now_ms, asset=asset, change=amount))
        state.tell_position(owner, asset)

    # -- memory -------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What the venue remembers, as JSON values."""
        return snapshot_spot(self._state)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take a snapshot's memory for one's own; the market is not part of it."""
        restore_spot(self._state, values, history=self._history)
