"""The venue: a Binance USD-M futures exchange in one synchronous, deterministic object.

Market events move it, requests change it, and everything that happens is put into one outbox in order. It
reads no clock, file or network: time is the newest event's. Refusals are `VenueError`s.

Not modelled: automatic adding of margin, multi-assets mode, price match and self-trade prevention, a queue at
a price, who is deleveraged, bracket-wise liquidation, fee discounts.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Depth, Funding, Kline, MarketEvent, MarkPrice, Quote
from live.rehearsal.errors import refuse
from live.rehearsal.exchange import ExchangeVenue, Terms
from live.rehearsal.futures.account import Account, Position, position_sides, round_money
from live.rehearsal.futures.algos import place_algo, trigger
from live.rehearsal.futures.deleveraging import deleverage
from live.rehearsal.futures.entry import amend, place
from live.rehearsal.futures.events import (
    AccountConfigUpdate,
    AccountView,
    AssetView,
    PositionView,
    VenueEvent,
)
from live.rehearsal.futures.isolated import adjust_margin, book_funding, set_margin_type
from live.rehearsal.futures.lifecycle import end_algo, end_order
from live.rehearsal.futures.liquidation import is_liquidating, watch_margin
from live.rehearsal.futures.matching import sweep
from live.rehearsal.futures.orders import AlgoOrder, Income, MarginChange, Order, OrderRequest, UserTrade
from live.rehearsal.futures.snapshot import restore_state, snapshot_state
from live.rehearsal.futures.state import State
from live.rehearsal.specs import SymbolSpec

__all__ = ["Venue"]

ZERO = Decimal(0)
_HIGHEST_LEVERAGE = 125


class Venue(ExchangeVenue[Account, Order, UserTrade, VenueEvent]):
    """An exchange with its accounts; the first is "main" with `balances` (asset to amount).

    `seed` goes into the client ids that the venue makes up. Of closed orders, trades and income the last
    `history` are kept per account; the ledger's totals stay exact.
    """

    _state: State

    def __init__(
        self,
        specs: Iterable[SymbolSpec],
        *,
        balances: Mapping[str, Decimal],
        maker_rate: Decimal = Decimal("0.0002"),
        taker_rate: Decimal = Decimal("0.0005"),
        leverage: int = 20,
        seed: int = 0,
        history: int = 10_000,
        now_ms: int = 0,
    ) -> None:
        terms = Terms(maker_rate=maker_rate, taker_rate=taker_rate, seed=seed, now_ms=now_ms)
        self._state = State(specs, terms)
        self._leverage = leverage
        self._history = history
        self.add_account("main", balances)

    # -- the market ---------------------------------------------------------------------------------------

    def set_time(self, now_ms: int) -> None:
        """Move the clock on (it never goes back) and expire what was good till now."""
        super().set_time(now_ms)
        state = self._state
        for account in state.accounts.values():
            for order in account.orders.due(state.now_ms):
                end_order(state, account, order, "EXPIRED")
            for algo in account.algos.due(state.now_ms):
                end_algo(state, account, algo, "EXPIRED")

    def apply(self, event: MarketEvent) -> None:
        """Take in a market event: tell it, fill and trigger what it reaches, watch the margin."""
        state = self._state
        self.set_time(event.ts_ms)
        state.outbox.append(event)
        state.markets[event.symbol].update(event)
        if isinstance(event, Kline):
            return
        if isinstance(event, Funding):
            self._fund(event)
        elif state.trades_now(event.symbol):
            sweep(state, event)
            trigger(state, event.symbol)
        self._watch(event)

    def settle_funding(self, symbol: str, rate: Decimal, ts_ms: int) -> None:
        """Longs pay `rate` of their notional at the mark price, shorts receive it."""
        self.apply(Funding(ts_ms, symbol, rate))

    # -- orders -------------------------------------------------------------------------------------------

    def place(self, account: str, request: OrderRequest) -> Order:
        """Enter a LIMIT or MARKET order; the order as it is after matching at once."""
        return place(self._state, self._account(account), request)

    def cancel(
        self, account: str, symbol: str, order_id: int | None = None, client_order_id: str | None = None
    ) -> Order:
        """Cancel an open order; -2011 when there is none."""
        owner = self._account(account)
        order = self._find(owner, symbol, order_id, client_order_id)
        if order is None or not order.is_open:
            raise refuse(-2011)
        return end_order(self._state, owner, order, "CANCELED")

    def modify(
        self,
        account: str,
        symbol: str,
        order_id: int | None = None,
        client_order_id: str | None = None,
        *,
        side: str,
        quantity: Decimal,
        price: Decimal,
    ) -> Order:
        """Change an open limit order; -2013 when there is none."""
        owner = self._account(account)
        order = self._find(owner, symbol, order_id, client_order_id)
        if order is None or not order.is_open:
            raise refuse(-2013)
        return amend(self._state, owner, order, side, quantity, price)

    def cancel_all(self, account: str, symbol: str) -> list[Order]:
        """Cancel a symbol's open orders, not its conditional ones."""
        self._state.spec(symbol)
        owner = self._account(account)
        return [end_order(self._state, owner, o, "CANCELED") for o in owner.orders.open(symbol)]

    def forced_orders(self, account: str, symbol: str | None = None) -> list[Order]:
        """The venue's own orders, of liquidations and auto-deleveragings, oldest first."""
        return [o for o in self._account(account).orders.all(symbol) if o.forced]

    def deleverage(
        self, account: str, symbol: str, percent: Decimal, price: Decimal | None = None
    ) -> list[Order]:
        """Take away so much of a symbol's positions, at a price or at the mark; the orders that did it."""
        return deleverage(self._state, self._account(account), symbol, percent, price)

    # -- conditional orders -------------------------------------------------------------------------------

    def place_algo(self, account: str, request: OrderRequest) -> AlgoOrder:
        """Keep a conditional order until its trigger."""
        return place_algo(self._state, self._account(account), request)

    def cancel_algo(
        self, account: str, algo_id: int | None = None, client_algo_id: str | None = None
    ) -> AlgoOrder:
        """Cancel a waiting conditional order; -2011 when there is none."""
        owner = self._account(account)
        algo = owner.algos.find(algo_id, client_algo_id)
        if algo is None or not algo.is_open:
            raise refuse(-2011)
        return end_algo(self._state, owner, algo, "CANCELED")

    def cancel_all_algo(self, account: str, symbol: str) -> list[AlgoOrder]:
        """Cancel a symbol's waiting conditional orders."""
        self._state.spec(symbol)
        owner = self._account(account)
        return [end_algo(self._state, owner, a, "CANCELED") for a in owner.algos.open(symbol)]

    def algo_order(
        self, account: str, algo_id: int | None = None, client_algo_id: str | None = None
    ) -> AlgoOrder:
        """One conditional order; -2013 when there is none."""
        algo = self._account(account).algos.find(algo_id, client_algo_id)
        if algo is None:
            raise refuse(-2013)
        return algo

    def open_algo_orders(self, account: str, symbol: str | None = None) -> list[AlgoOrder]:
        """The waiting conditional orders, oldest first."""
        return self._account(account).algos.open(symbol)

    def all_algo_orders(self, account: str, symbol: str | None = None) -> list[AlgoOrder]:
        """The conditional orders, oldest first."""
        return self._account(account).algos.all(symbol)

    # -- the account --------------------------------------------------------------------------------------

    def add_account(self, name: str, balances: Mapping[str, Decimal]) -> None:
        """Open an account; margin assets that are not named start at zero."""
        opening = self._state.opening(balances)
        self._state.accounts[name] = Account(name, opening, leverage=self._leverage, history=self._history)

    def positions(self, account: str, symbol: str | None = None) -> list[PositionView]:
        """Every position of the mode, flat ones too, by symbol."""
        owner = self._account(account)
        symbols = sorted(self._state.specs) if symbol is None else [self._state.spec(symbol).symbol]
        return [
            self._state.view(owner, owner.position(each, side))
            for each in symbols
            for side in position_sides(owner.hedge)
        ]

    def account_view(self, account: str) -> AccountView:
        """The account's assets at the present marks."""
        owner = self._account(account)
        return AccountView(
            account=account,
            assets=tuple(self._asset(owner, asset) for asset in sorted(owner.wallets)),
            hedge=owner.hedge,
            updated_ms=owner.updated_ms,
        )

    def income(self, account: str, symbol: str | None = None, kind: str | None = None) -> list[Income]:
        """The ledger's entries, oldest first."""
        entries = self._account(account).incomes
        return [i for i in entries if symbol in {None, i.symbol} and kind in {None, i.kind}]

    def income_totals(self, account: str) -> Mapping[str, Decimal]:
        """The sum of all income ever, by asset: wallet = starting balance + this, exactly."""
        return dict(self._account(account).income_totals)

    def transfer(self, account: str, asset: str, amount: Decimal) -> None:
        """Deposit, or withdraw a negative amount; -2018 when more than is available."""
        owner = self._account(account)
        amount = round_money(amount)
        if -amount > self._state.totals(owner, asset).available:
            raise refuse(-2018)
        self._state.post(owner, asset, "TRANSFER", amount, "")
        reason = "DEPOSIT" if amount > 0 else "WITHDRAW"
        self._state.tell_account(owner, reason, asset, change=amount)

    def leverage(self, account: str, symbol: str) -> int:
        """The symbol's leverage."""
        self._state.spec(symbol)
        return self._account(account).leverage(symbol)

    def maximum_notional(self, account: str, symbol: str) -> Decimal:
        """The largest notional that the symbol's leverage allows."""
        return self._state.spec(symbol).maximum_notional(self.leverage(account, symbol))

    def set_leverage(self, account: str, symbol: str, leverage: int) -> int:
        """Change the leverage when position, orders and margin balance allow it.

        With an isolated position it only goes up (-4161).
        """
        state, owner, spec = self._state, self._account(account), self._state.spec(symbol)
        cap = spec.maximum_notional(leverage)
        if not 1 <= leverage <= _HIGHEST_LEVERAGE or not cap:
            raise refuse(-4028, leverage)
        lowered = leverage < owner.leverage(symbol)
        if lowered and symbol in owner.isolated and any(owner.held(symbol)):
            raise refuse(-4161)
        mark = state.mark(owner, symbol)
        notionals = [owner.margin_notional(symbol, s, mark) for s in position_sides(owner.hedge)]
        if max(notionals) > cap:
            raise refuse(-2027)
        total = sum(notionals, ZERO)
        more = total / leverage - total / owner.leverage(symbol)
        totals = state.totals(owner, spec.margin_asset)
        if more > 0 and totals.free < more:
            raise refuse(-2028)
        owner.leverages[symbol] = leverage
        state.outbox.append(
            AccountConfigUpdate(account=account, ts_ms=state.now_ms, symbol=symbol, leverage=leverage)
        )
        return leverage

    def set_margin_type(self, account: str, symbol: str, margin_type: str) -> None:
        """CROSSED or ISOLATED; -4046 for what it is, -4047 and -4048 with open orders and with a position."""
        owner = self._account(account)
        set_margin_type(self._state, owner, self._state.spec(symbol).symbol, margin_type)

    def margin_type(self, account: str, symbol: str) -> str:
        """CROSSED or ISOLATED."""
        self._state.spec(symbol)
        return "ISOLATED" if symbol in self._account(account).isolated else "CROSSED"

    def adjust_margin(self, account: str, symbol: str, amount: Decimal, side: str = "BOTH") -> None:
        """Add margin to an isolated position, or take out a negative amount.

        -4049 with crossed margin, -4054 without a position, -4050 and -4051 beyond what there is.
        """
        owner = self._account(account)
        adjust_margin(self._state, owner, self._state.spec(symbol).symbol, side, round_money(amount))

    def margin_changes(self, account: str, symbol: str) -> list[MarginChange]:
        """Margin added to and taken out of a symbol's isolated positions, oldest first."""
        self._state.spec(symbol)
        return [change for change in self._account(account).margin_changes if change.symbol == symbol]

    def position_mode(self, account: str) -> bool:
        """Whether the account is in hedge mode."""
        return self._account(account).hedge

    def set_position_mode(self, account: str, hedge: bool) -> None:
        """Change between hedge and one-way mode; only without positions and open orders."""
        owner = self._account(account)
        if owner.hedge == hedge:
            raise refuse(-4059)
        if owner.orders.open() or owner.algos.open():
            raise refuse(-4067)
        if any(owner.held()):
            raise refuse(-4068)
        owner.hedge = hedge

    def commission_rates(self, account: str, symbol: str) -> tuple[Decimal, Decimal]:
        """The maker and taker rates."""
        self._account(account)
        self._state.spec(symbol)
        return self._state.maker_rate, self._state.taker_rate

    # -- memory -------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """What the venue remembers, as JSON values."""
        return snapshot_state(self._state)

    def restore(self, values: Mapping[str, Any]) -> None:
        """Remember a snapshot instead of what was; the outbox is emptied, the market stays."""
        restore_state(self._state, values, history=self._history)

    # -- inside -------------------------------------------------------------------------------------------

    def _find(
        self, account: Account, symbol: str, order_id: int | None, client_order_id: str | None
    ) -> Order | None:
        self._state.spec(symbol)
        if order_id is None and not client_order_id:
            raise refuse(-1102, "orderId")
        return super()._find(account, symbol, order_id, client_order_id)

    def _asset(self, account: Account, asset: str) -> AssetView:
        totals = self._state.totals(account, asset)
        cross, every = totals.cross, totals.all
        free = min(totals.available, max(cross.wallet, ZERO))
        return AssetView(
            asset=asset,
            wallet=every.wallet,
            unrealized=round_money(every.unrealized),
            cross_wallet=cross.wallet,
            cross_unrealized=round_money(cross.unrealized),
            margin_balance=round_money(every.balance),
            initial_margin=round_money(totals.initial),
            position_margin=round_money(every.margin),
            order_margin=round_money(totals.initial - every.margin),
            maintenance_margin=round_money(every.maintenance),
            available=round_money(totals.available),
            max_withdraw=round_money(free),
            updated_ms=account.updated_ms,
        )

    def _fund(self, event: Funding) -> None:
        state, asset = self._state, self._state.specs[event.symbol].margin_asset
        for account in state.accounts.values():
            for position in list(account.held(event.symbol)):
                payment = round_money(-position.amount * state.mark_of(position) * event.rate)
                if payment:
                    state.post(account, asset, "FUNDING_FEE", payment, event.symbol)
                    told: tuple[Position, ...] = ()
                    if event.symbol in account.isolated:
                        told = (book_funding(account, position, payment),)
                    state.tell_account(account, "FUNDING_FEE", asset, change=payment, positions=told)

    def _watch(self, event: MarketEvent) -> None:
        """Margin changes with the mark, with funding and with fills; a liquidation goes on with the book."""
        state = self._state
        marks = isinstance(event, MarkPrice | Funding) or state.markets[event.symbol].marked is None
        book = isinstance(event, Quote | Depth)
        asset = state.specs[event.symbol].margin_asset
        for account in state.accounts.values():
            marked = marks and any(account.held(event.symbol))
            if marked or (book and is_liquidating(account, event.symbol, asset)):
                state.moved.add((account.name, asset))
        for name, each in sorted(state.moved):
            watch_margin(state, state.accounts[name], each)
        state.moved.clear()
