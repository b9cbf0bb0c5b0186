"""An account: wallets with their ledger, positions, orders; and the margin that all of it needs.

The ledger is exact: every change of a wallet is one `Income` record of the same amount, rounded to eight
decimals before either sees it, so wallet = starting + sum of income to the last digit.

Margin is Binance's cross margin in single-asset mode, one pool a margin asset. A symbol's initial margin is
max(|position + bids|, |position - asks|) / leverage with the position at the mark price and the open orders
that do not reduce at theirs; in hedge mode LONG and SHORT are reckoned apart. Positions of isolated symbols
have wallets of their own, parts of the asset's wallet; `isolated` moves money between them and the rest.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from live.rehearsal.exchange import ExchangeAccount
from live.rehearsal.futures.orders import AlgoOrder, Income, MarginChange, Order, UserTrade
from live.rehearsal.store import Store

__all__ = ["Account", "Position", "position_sides", "round_money"]

ZERO = Decimal(0)
_CENT = Decimal("1e-8")


def round_money(amount: Decimal) -> Decimal:
    """To eight decimals, half to even, as amounts are booked.

    >>> round_money(Decimal("0.0000000251"))
    Decimal('3E-8')
    """
    return amount.quantize(_CENT)


def position_sides(hedge: bool) -> tuple[str, ...]:
    """The positions that a symbol has in hedge or one-way mode."""
    return ("LONG", "SHORT") if hedge else ("BOTH",)


class Filled(NamedTuple):
    """A position after a fill, and the profit that the fill realised before commission."""

    position: "Position"
    realized: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A position of one symbol and side; a short's amount is negative.

    `fees` is the commission paid for what is open, `realized` all profit realised so far, `isolated_wallet`
    the part of the asset's wallet that is its own margin (zero with crossed margin).
    """

    symbol: str
    side: str
    amount: Decimal = ZERO
    entry_price: Decimal = ZERO
    fees: Decimal = ZERO
    realized: Decimal = ZERO
    isolated_wallet: Decimal = ZERO
    updated_ms: int = 0

    @property
    def key(self) -> str:
        """Symbol and side as one word."""
        return f"{self.symbol} {self.side}"

    @property
    def closing_side(self) -> str:
        """The order side that reduces it; empty when flat."""
        if self.amount == 0:
            return ""
        return "SELL" if self.amount > 0 else "BUY"

    @property
    def break_even_price(self) -> Decimal:
        """The price at which the open amount has earned its entry commission; zero when flat."""
        return self.entry_price + self.fees / self.amount if self.amount else ZERO

    def unrealized(self, mark: Decimal) -> Decimal:
        """The profit at a mark price."""
        return self.amount * (mark - self.entry_price)

    def after_fill(self, signed: Decimal, price: Decimal, commission: Decimal, ts_ms: int) -> Filled:
        """The position after `signed` more (negative: less) at a price; beyond zero it is the other way."""
        amount = self.amount + signed
        if self.amount * signed >= 0:
            entry = (self.amount * self.entry_price + signed * price) / amount
            opened = replace(
                self, amount=amount, entry_price=entry, fees=self.fees + commission, updated_ms=ts_ms
            )
            return Filled(opened, ZERO)
        closed = min(abs(signed), abs(self.amount)).copy_sign(self.amount)
        realized = round_money(closed * (price - self.entry_price))
        if amount * self.amount > 0:
            entry, fees = self.entry_price, self.fees * amount / self.amount
        else:
            entry, fees = (price, commission * amount / signed) if amount else (ZERO, ZERO)
        after = replace(
            self,
            amount=amount,
            entry_price=entry,
            fees=fees,
            realized=self.realized + realized,
            updated_ms=ts_ms,
        )
        return Filled(after, realized)


class Account(ExchangeAccount[Order, UserTrade]):
    """One account's state.

    `wallets` and `income_totals` are by asset, isolated wallets included; of orders closed, trades, income
    and margin changes the last `history` stay. `isolated` are the symbols with that margin type. `called` and
    `liquidating` name margin assets (crossed margin) and the keys of isolated positions.
    """

    def __init__(self, name: str, balances: Mapping[str, Decimal], *, leverage: int, history: int) -> None:
        super().__init__(name, balances, history=history)
        self.wallets = dict(balances)
        self.income_totals = dict.fromkeys(balances, ZERO)
        self.default_leverage = leverage
        self.leverages: dict[str, int] = {}
        self.isolated: set[str] = set()
        self.hedge = False
        self.positions: dict[tuple[str, str], Position] = {}
        self.algos: Store[AlgoOrder] = Store(history)
        self.incomes: deque[Income] = deque(maxlen=history)
        self.margin_changes: deque[MarginChange] = deque(maxlen=history)
        self.forced: deque[int] = deque(maxlen=history)
        self.called: set[str] = set()
        self.liquidating: set[str] = set()

    def leverage(self, symbol: str) -> int:
        """The leverage set for a symbol, else the account's default."""
        return self.leverages.get(symbol, self.default_leverage)

    def position(self, symbol: str, side: str) -> Position:
        """The position, flat when there never was one."""
        return self.positions.get((symbol, side)) or Position(symbol=symbol, side=side)

    def held(self, symbol: str | None = None) -> Iterator[Position]:
        """The positions that are not flat, of one symbol or of all."""
        for position in self.positions.values():
            if position.amount and symbol in {None, position.symbol}:
                yield position

    def symbols(self) -> set[str]:
        """The symbols with a position or an open order."""
        return {position.symbol for position in self.held()} | set(self.orders.symbols())

    def post(self, income: Income) -> None:
        """Book one change of a wallet."""
        self.wallets[income.asset] = self.wallets.get(income.asset, ZERO) + income.amount
        self.income_totals[income.asset] = self.income_totals.get(income.asset, ZERO) + income.amount
        self.incomes.append(income)
        self.updated_ms = income.ts_ms

    def margin_notional(
        self,
        symbol: str,
        side: str,
        mark: Decimal,
        *,
        added: tuple[str, Decimal] | None = None,
        without: int = 0,
    ) -> Decimal:
        """The notional that margin is due for on a position side.

        `added` is the side and notional of one more order, `without` the number of an order left out.
        """
        open_notional = {"BUY": ZERO, "SELL": ZERO}
        for order in self.orders.open(symbol):
            if order.position_side == side and not order.reduce_only and order.order_id != without:
                open_notional[order.side] += order.remaining * order.price
        if added is not None:
            open_notional[added[0]] += added[1]
        held = self.position(symbol, side).amount * mark
        return max(abs(held + open_notional["BUY"]), abs(held - open_notional["SELL"]))
