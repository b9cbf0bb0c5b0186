"""Reads the account: what it is worth, what it holds and what is under way, of all its strategies.

Everything comes from the engine's cache and portfolio at the moment it is asked. Beside them stands only
`UnderWay`, which knows what they do not: an entry's risk, and that it exists, from before it is sent (the
cache lists an order as in flight only when the engine has taken it up; a second strategy that decides in
between must see it).
"""

import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from nautilus_trader.model import ClientOrderId, Currency, InstrumentId, Venue
from nautilus_trader.trading import Strategy

from strategies.holdings import CoinBook
from strategies.values import Account, Book

__all__ = ["AccountReader", "Costs", "UnderWay"]

_NO_ACCOUNT = Account(0.0, 0.0, 1.0)  # no account or no prices, no entry: an equity of 0 is refused


class Costs(NamedTuple):
    """Taker costs of entry and exit, as shares of notional."""

    entry: float
    exit: float


class _Sent(NamedTuple):
    price: float
    risk_per_unit: float


class UnderWay:
    """Entries and additions that were sent and are not closed, of every strategy of one account."""

    def __init__(self) -> None:
        self._sent: dict[ClientOrderId, _Sent] = {}

    def add(self, order_id: ClientOrderId, price: float, risk_per_unit: float) -> None:
        """An order that opens or adds is about to go, at about `price`; a unit loses `risk_per_unit`."""
        self._sent[order_id] = _Sent(price, risk_per_unit)

    def discard(self, order_id: ClientOrderId) -> None:
        """The order is closed; one that is not known is ignored."""
        self._sent.pop(order_id, None)

    def __iter__(self) -> Iterator[tuple[ClientOrderId, _Sent]]:
        return iter(tuple(self._sent.items()))


class AccountReader:
    """The account behind one venue, in one quote currency."""

    def __init__(
        self,
        strategy: Strategy,
        under_way: UnderWay,
        *,
        venue: Venue,
        currency: Currency,
        margined: bool,
        leverage: float,
        costs: Costs,
        coins: CoinBook | None = None,
    ) -> None:
        self._strategy = strategy
        self._under_way = under_way
        self._venue = venue
        self._currency = currency
        self._margined = margined
        self._leverage = leverage
        self._costs = costs
        self._coins = coins

    def read(self, near: Collection[str]) -> tuple[Account, Book]:
        """The account and its book; an account without equity where the engine knows none.

        Of the risks only those of the instruments in `near`: looking up a stop takes long.
        """
        held, risks = self._held(near)
        entering, pending = self._entering(risks, held)
        positions = {name: held.get(name, 0.0) + entering.get(name, 0.0) for name in {**held, **entering}}
        cache, venue = self._strategy.cache, self._venue  # known to a strategy only once it is registered
        orders = cache.orders_open_count(venue=venue) + cache.orders_inflight_count(venue=venue)
        book = Book(positions, risks, orders, pending)
        return self._account(book, sum(held.values()), sum(abs(n) for n in entering.values())), book

    def _held(self, near: Collection[str]) -> tuple[dict[str, float], dict[str, float]]:
        """Signed notional of the open positions and what those near risk; no risk where no stop works."""
        if self._coins is not None:
            return self._held_coins(self._coins)
        notionals: dict[str, float] = {}
        risks: dict[str, float] = {}
        for position in self._strategy.cache.positions_open(venue=self._venue):
            name, side = str(position.instrument_id), 1 if position.is_long else -1
            exposure = self._strategy.portfolio.net_exposure(position.instrument_id)
            notionals[name] = side * (math.nan if exposure is None else abs(exposure.as_double()))
            stop = self._stop_price(position.instrument_id, side) if name in near else None
            if stop is not None:
                risks[name] = self._risk(float(position.quantity), side, position.avg_px_open, stop)
        return notionals, risks

    def _held_coins(self, coins: CoinBook) -> tuple[dict[str, float], dict[str, float]]:
        """On a live spot venue the own book says what is held, and the lowest stop is what is risked."""
        notionals, risks = {}, {}
        for name, held in coins.open().items():
            instrument, amount = InstrumentId.from_str(name), float(held.amount)
            quote: Any = self._strategy.cache.quote(instrument)
            notionals[name] = math.nan if quote is None else amount * quote.bid_price.as_double()
            orders: list[Any] = self._strategy.cache.orders_open(instrument_id=instrument)
            stops = [o.trigger_price.as_double() for o in orders if getattr(o, "trigger_price", None)]
            if stops:
                risks[name] = self._risk(amount, 1, held.average_price, min(stops))
        return notionals, risks

    def _stop_price(self, instrument: InstrumentId, side: int) -> float | None:
        """The level of the nearest reduce-only stop against a position of `side`."""
        orders: list[Any] = self._strategy.cache.orders_open(instrument_id=instrument)
        orders += self._strategy.cache.orders_inflight(instrument_id=instrument)
        levels = [
            o.trigger_price.as_double()
            for o in orders
            if o.is_reduce_only and getattr(o, "trigger_price", None) is not None
        ]
        return None if not levels else max(levels) if side > 0 else min(levels)

    def _risk(self, quantity: float, side: int, entry: float, stop: float) -> float:
        """What is lost from entry to stop, not below nothing, and the costs of both."""
        lost = max(0.0, side * (entry - stop)) + self._costs.entry * entry + self._costs.exit * stop
        return quantity * lost

    def _entering(
        self, risks: dict[str, float], held: dict[str, float]
    ) -> tuple[dict[str, float], dict[str, int]]:
        """Signed notional and number of the orders under way that open or add; their risk goes to `risks`."""
        notionals: dict[str, float] = {}
        counts: dict[str, int] = {}
        for order_id, sent in self._under_way:
            order: Any = self._strategy.cache.order(order_id)
            if order is None or order.is_closed:
                continue
            name, quantity = str(order.instrument_id), order.leaves_qty.as_double()
            side = 1 if order.is_buy else -1
            notionals[name] = notionals.get(name, 0.0) + side * quantity * sent.price
            counts[name] = counts.get(name, 0) + 1
            if name in risks or name not in held:
                risks[name] = risks.get(name, 0.0) + quantity * sent.risk_per_unit
        return notionals, counts

    def _account(self, book: Book, held: float, entering: float) -> Account:
        # not portfolio.account(): it copies the account's whole history, ever slower as a run goes on
        cash = self._strategy.portfolio.equity(self._venue).get(self._currency)
        if cash is None:
            return _NO_ACCOUNT
        # on spot the engine's equity in the quote currency is the cash alone; the coins count, too
        equity = cash.as_double() + (0.0 if self._margined else held)
        tied = self._tied()
        if tied is None:
            return _NO_ACCOUNT
        ours = book.gross / self._leverage if self._margined else entering
        return Account(equity, cash.as_double() - max(ours, tied), self._leverage, book.gross)

    def _tied(self) -> float | None:
        """Quote currency that the engine holds back; None while there is no account.

        On margin the engine holds maintenance margin for positions and initial margin for working orders that
        are not reduce-only. That is less than the initial margin of positions, which is what `read` counts,
        but for plain targets: it would deny an entry that goes beyond what they leave.
        """
        if not self._margined:
            locked = self._strategy.portfolio.balances_locked(self._venue)
            return None if locked is None else _sum(m for c, m in locked.items() if c == self._currency)
        initial = self._strategy.portfolio.instrument_initial_margins(self._venue)
        maintenance = self._strategy.portfolio.instrument_maintenance_margins(self._venue)
        if initial is None or maintenance is None:
            return None
        return _sum(initial.values()) + _sum(maintenance.values())


def _sum(amounts: Any) -> float:
    return float(sum(money.as_double() for money in amounts))
