"""What the venue of every market has: its rules, markets, accounts, clock, numbers and outbox.

A market's venue adds its orders and its account to this.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from live.rehearsal.book import Market
from live.rehearsal.errors import refuse
from live.rehearsal.orders import Fill, PlacedOrder
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.store import Store, encode

__all__ = [
    "ExchangeAccount",
    "ExchangeState",
    "ExchangeVenue",
    "Terms",
    "orders_and_fills",
    "recall",
    "remember",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a venue takes of a maker and of a taker, what its made-up ids are made of, and when it opens."""

    maker_rate: Decimal
    taker_rate: Decimal
    seed: int = 0
    now_ms: int = 0


class ExchangeAccount[O: PlacedOrder, F: Fill]:
    """What an account has everywhere; of closed orders and of fills the last `history` stay."""

    def __init__(self, name: str, starting: Mapping[str, Decimal], *, history: int) -> None:
        self.name = name
        self.starting = dict(starting)
        self.orders: Store[O] = Store(history)
        self.trades: deque[F] = deque(maxlen=history)
        self.updated_ms = 0


class ExchangeState[A: ExchangeAccount[Any, Any], E]:
    """What a venue's parts share. Numbers are counters, so equal requests and events give equal ids."""

    def __init__(
        self,
        specs: Iterable[SymbolSpec],
        terms: Terms,
        counters: Mapping[str, int],
    ) -> None:
        self.specs = {spec.symbol: spec for spec in specs}
        self.markets = {symbol: Market(symbol, spec.step) for symbol, spec in self.specs.items()}
        self.accounts: dict[str, A] = {}
        self.outbox: list[E] = []
        self.maker_rate = terms.maker_rate
        self.taker_rate = terms.taker_rate
        self.seed = terms.seed
        self.now_ms = terms.now_ms
        self.slices = 1
        self.counters = dict(counters)

    def next_number(self, kind: str) -> int:
        """The next number of a kind that has a counter."""
        self.counters[kind] += 1
        return self.counters[kind]

    def client_id(self, *parts: str | int) -> str:
        """A client id for what was sent without one: 22 letters and digits, the same for the same seed."""
        return blake2b(":".join(map(str, (self.seed, *parts))).encode(), digest_size=11).hexdigest()

    def spec(self, symbol: str) -> SymbolSpec:
        """A symbol's rules; -1121 for a symbol that is not traded here."""
        if symbol not in self.specs:
            raise refuse(-1121)
        return self.specs[symbol]

    def trades_now(self, symbol: str) -> bool:
        """Whether the symbol is not halted."""
        return self.specs[symbol].status == "TRADING"


class ExchangeVenue[A: ExchangeAccount[Any, Any], O: PlacedOrder, F: Fill, E]:
    """The face that venues have in common; an account that was never added is a KeyError."""

    _state: ExchangeState[A, E]

    # -- the market ---------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The venue's time."""
        return self._state.now_ms

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """The rules by symbol."""
        return self._state.specs

    def market(self, symbol: str) -> Market:
        """A symbol's market state; -1121 for an unknown symbol."""
        self._state.spec(symbol)
        return self._state.markets[symbol]

    def set_time(self, now_ms: int) -> None:
        """Move the clock on; it never goes back."""
        self._state.now_ms = max(self._state.now_ms, now_ms)

    def drain(self) -> list[E]:
        """What happened since the last call, in order."""
        events, self._state.outbox = self._state.outbox, []
        return events

    def replace_spec(self, spec: SymbolSpec) -> None:
        """Change a symbol's rules in flight; orders already there stay as they are."""
        self._state.spec(spec.symbol)
        self._state.specs[spec.symbol] = spec
        self._state.markets[spec.symbol].step = spec.step

    def set_status(self, symbol: str, status: str) -> None:
        """Halt a symbol (anything but TRADING: no orders, no fills, no triggers) or let it trade again."""
        self.replace_spec(replace(self._state.spec(symbol), status=status))

    def set_fill_slices(self, count: int) -> None:
        """Cut every fill into up to `count` fills of whole steps."""
        self._state.slices = max(1, count)

    # -- orders and fills ---------------------------------------------------------------------------------

    def order(
        self, account: str, symbol: str, order_id: int | None = None, client_order_id: str | None = None
    ) -> O:
        """One order, open or closed; -2013 when there is none."""
        order = self._find(self._account(account), symbol, order_id, client_order_id)
        if order is None:
            raise refuse(-2013)
        return order

    def open_orders(self, account: str, symbol: str | None = None) -> list[O]:
        """The open orders, oldest first."""
        return self._account(account).orders.open(symbol)

    def all_orders(self, account: str, symbol: str) -> list[O]:
        """A symbol's orders, oldest first."""
        return self._account(account).orders.all(symbol)

    def user_trades(self, account: str, symbol: str | None = None) -> list[F]:
        """The fills, oldest first."""
        return [t for t in self._account(account).trades if symbol in {None, t.symbol}]

    # -- inside -------------------------------------------------------------------------------------------

    def _account(self, name: str) -> A:
        return self._state.accounts[name]

    def _find(self, account: A, symbol: str, order_id: int | None, client_order_id: str | None) -> O | None:
        self._state.spec(symbol)
        order: O | None = account.orders.find(order_id, client_order_id)
        return order if order is not None and order.symbol == symbol else None


def remember[A: ExchangeAccount[Any, Any]](
    state: ExchangeState[A, Any], account_values: Callable[[A], dict[str, Any]]
) -> dict[str, Any]:
    """All that a venue needs to go on after a restart, as JSON values.

    Rules and fees come from the venue's construction, the market from the next quotes.
    """
    return {
        "now_ms": state.now_ms,
        "counters": dict(state.counters),
        "accounts": [account_values(account) for account in state.accounts.values()],
    }


def recall[A: ExchangeAccount[Any, Any]](
    state: ExchangeState[A, Any], values: Mapping[str, Any], make_account: Callable[[Mapping[str, Any]], A]
) -> None:
    """Put what was remembered in place of everything that the venue knows; the outbox is emptied."""
    state.now_ms = max(state.now_ms, values["now_ms"])
    state.counters = dict(values["counters"])
    state.accounts = {each["name"]: make_account(each) for each in values["accounts"]}
    state.outbox = []


def orders_and_fills(venue: ExchangeVenue[Any, Any, Any, Any], account: str) -> dict[str, Any]:
    """An account's orders, the open ones by themselves too, and its fills, as JSON values."""
    return {
        "open_orders": [encode(order) for order in venue.open_orders(account)],
        "orders": [encode(order) for symbol in venue.specs for order in venue.all_orders(account, symbol)],
        "fills": [encode(trade) for trade in venue.user_trades(account)],
    }
