"""What the spot venue's parts share: rules, markets with their average prices, accounts, the outbox.

Every change of an order goes through `report`, every change of a balance is told by `tell_position`.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal

from live.rehearsal.book import Trade
from live.rehearsal.exchange import ExchangeState, Terms
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.account import SpotAccount
from live.rehearsal.spot.events import ExecutionReport, ListStatus, Position, SpotEvent
from live.rehearsal.spot.orders import LedgerEntry, OrderList, SpotOrder, SpotTrade

__all__ = ["AVERAGE_MINUTES", "AveragePrice", "SpotState"]

ZERO = Decimal(0)
AVERAGE_MINUTES = 5
_AVERAGE_MS = AVERAGE_MINUTES * 60_000
_FIRST_ORDER = 12_000_000_000
_PLACES = Decimal("1e-8")


class AveragePrice:
    """The volume-weighted price of the trades of the last five minutes."""

    def __init__(self) -> None:
        self._trades: deque[tuple[int, Decimal, Decimal]] = deque()
        self._notional = ZERO
        self._quantity = ZERO
        self.closed_ms = 0

    def add(self, trade: Trade) -> None:
        """Take in a trade."""
        self._trades.append((trade.ts_ms, trade.price * trade.quantity, trade.quantity))
        self._notional += trade.price * trade.quantity
        self._quantity += trade.quantity
        self.closed_ms = trade.ts_ms

    def price(self, now_ms: int) -> Decimal | None:
        """The average, to eight decimals; None without a trade in that time."""
        while self._trades and self._trades[0][0] < now_ms - _AVERAGE_MS:
            _, notional, quantity = self._trades.popleft()
            self._notional -= notional
            self._quantity -= quantity
        if not self._quantity:
            return None
        return (self._notional / self._quantity).quantize(_PLACES, rounding=ROUND_DOWN)


class SpotState(ExchangeState[SpotAccount, SpotEvent]):
    """The shared state: with average prices, and a rate for commission paid in BNB."""

    def __init__(self, specs: Iterable[SymbolSpec], terms: Terms, *, bnb_rate: Decimal | None) -> None:
        super().__init__(
            specs, terms, {"order": _FIRST_ORDER, "list": 0, "trade": 0, "entry": 0, "execution": 0}
        )
        self.averages = {symbol: AveragePrice() for symbol in self.specs}
        self.bnb_rate = bnb_rate

    def average(self, symbol: str) -> Decimal | None:
        """The average price of five minutes, without a trade the last one or the quote's middle."""
        return self.averages[symbol].price(self.now_ms) or self.markets[symbol].contract

    def post(
        self, account: SpotAccount, asset: str, kind: str, amount: Decimal, symbol: str = "", trade: int = 0
    ) -> None:
        """Book a change of a balance."""
        account.post(
            LedgerEntry(
                entry_id=self.next_number("entry"),
                ts_ms=self.now_ms,
                asset=asset,
                kind=kind,
                amount=amount,
                symbol=symbol,
                trade_id=trade,
            )
        )

    def report(
        self,
        account: SpotAccount,
        order: SpotOrder,
        execution: str,
        trade: SpotTrade | None = None,
        cancel_id: str = "",
    ) -> SpotOrder:
        """Keep an order's new state, lock what it holds now, and tell it."""
        order = replace(order, updated_ms=self.now_ms)
        account.orders.put(order)
        if account.hold(order, self.specs[order.symbol]):
            account.updated_ms = self.now_ms
        self.outbox.append(
            ExecutionReport(
                account=account.name,
                ts_ms=self.now_ms,
                execution_id=self.next_number("execution"),
                execution=execution,
                order=order,
                trade=trade,
                cancel_id=cancel_id,
            )
        )
        return order

    def report_list(self, account: SpotAccount, pair: OrderList) -> OrderList:
        """Keep an order list's new state and tell it."""
        pair = replace(pair, updated_ms=self.now_ms)
        account.lists.put(pair)
        found = [account.orders.find(number) for number in pair.order_ids]
        orders = tuple((each.order_id, each.client_order_id) for each in found if each is not None)
        self.outbox.append(
            ListStatus(account=account.name, ts_ms=self.now_ms, order_list=pair, orders=orders)
        )
        return pair

    def tell_position(self, account: SpotAccount, *assets: str) -> None:
        """Tell the balances of these assets."""
        self.outbox.append(
            Position(
                account=account.name,
                ts_ms=self.now_ms,
                updated_ms=account.updated_ms,
                balances=tuple(account.balance(asset) for asset in dict.fromkeys(assets)),
            )
        )
