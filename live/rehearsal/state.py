"""What the venue's parts share: rules, markets, accounts, the clock, numbers and the outbox."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from live.rehearsal.account import Account, Position, position_sides, round_money
from live.rehearsal.book import Market
from live.rehearsal.errors import refuse
from live.rehearsal.events import AccountUpdate, BalanceChange, PositionView, VenueEvent
from live.rehearsal.orders import Income
from live.rehearsal.specs import SymbolSpec

__all__ = ["State", "Totals"]

ZERO = Decimal(0)
_FIRST_ORDER = 8_000_000_000
_FIRST_ALGO = 2_000_000_000_000_000
_BRACKET_STEPS = 10


class Totals(NamedTuple):
    """An account's margin in one asset."""

    wallet: Decimal
    unrealized: Decimal
    initial: Decimal
    position_margin: Decimal
    maintenance: Decimal

    @property
    def balance(self) -> Decimal:
        """Wallet and unrealised profit."""
        return self.wallet + self.unrealized

    @property
    def available(self) -> Decimal:
        """What new orders may use, not negative."""
        return max(ZERO, self.balance - self.initial)


class State:
    """The shared state. Numbers are counters, so equal requests and events give equal ids."""

    def __init__(
        self,
        specs: Iterable[SymbolSpec],
        *,
        maker_rate: Decimal,
        taker_rate: Decimal,
        seed: int,
        now_ms: int,
    ) -> None:
        self.specs = {spec.symbol: spec for spec in specs}
        self.markets = {symbol: Market(symbol, spec.step) for symbol, spec in self.specs.items()}
        self.accounts: dict[str, Account] = {}
        self.outbox: list[VenueEvent] = []
        self.maker_rate = maker_rate
        self.taker_rate = taker_rate
        self.seed = seed
        self.now_ms = now_ms
        self.slices = 1
        self.counters = {"order": _FIRST_ORDER, "algo": _FIRST_ALGO, "trade": 0, "tran": 0}
        self.moved: set[tuple[str, str]] = set()

    def next_number(self, kind: str) -> int:
        """The next order, algo, trade or tran number."""
        self.counters[kind] += 1
        return self.counters[kind]

    def client_id(self, number: int) -> str:
        """A client id for an order sent without one: 22 letters and digits, the same for the same seed."""
        return blake2b(f"{self.seed}:{number}".encode(), digest_size=11).hexdigest()

    def spec(self, symbol: str) -> SymbolSpec:
        """A symbol's rules; -1121 for a symbol that is not traded here."""
        if symbol not in self.specs:
            raise refuse(-1121)
        return self.specs[symbol]

    def mark_of(self, position: Position) -> Decimal:
        """The mark price; the entry price as long as there is no market."""
        mark = self.markets[position.symbol].mark
        return position.entry_price if mark is None else mark

    def mark(self, account: Account, symbol: str) -> Decimal:
        """The mark price for margin; zero only without market and position, where it does not matter."""
        mark = self.markets[symbol].mark
        if mark is None:
            mark = next((position.entry_price for position in account.held(symbol)), ZERO)
        return mark

    def margin_due(self, account: Account, symbol: str, side: str) -> Decimal:
        """The initial margin of a symbol's position side with its open orders."""
        notional = account.margin_notional(symbol, side, self.mark(account, symbol))
        return notional / account.leverage(symbol)

    def totals(self, account: Account, asset: str) -> Totals:
        """The account's margin in one asset at the present marks."""
        unrealized = initial = held_margin = maintenance = ZERO
        for position in account.held():
            spec = self.specs[position.symbol]
            if spec.margin_asset != asset:
                continue
            mark = self.mark_of(position)
            notional = abs(position.amount) * mark
            unrealized += position.unrealized(mark)
            held_margin += notional / account.leverage(position.symbol)
            maintenance += spec.maintenance(notional)
        for symbol in sorted(account.symbols()):
            if self.specs[symbol].margin_asset == asset:
                for side in position_sides(account.hedge):
                    initial += self.margin_due(account, symbol, side)
        return Totals(account.wallets.get(asset, ZERO), unrealized, initial, held_margin, maintenance)

    def post(
        self, account: Account, asset: str, kind: str, amount: Decimal, symbol: str, trade: int = 0
    ) -> None:
        """Book an amount that is already rounded; nothing is booked for zero."""
        if amount:
            account.post(
                Income(
                    tran_id=self.next_number("tran"),
                    ts_ms=self.now_ms,
                    symbol=symbol,
                    kind=kind,
                    amount=amount,
                    asset=asset,
                    info=str(trade) if trade else kind,
                    trade_id=trade,
                )
            )

    def tell_account(
        self,
        account: Account,
        reason: str,
        asset: str,
        *,
        change: Decimal = ZERO,
        positions: tuple[Position, ...] = (),
    ) -> None:
        """Put an ACCOUNT_UPDATE into the outbox."""
        balance = BalanceChange(asset=asset, wallet=account.wallets.get(asset, ZERO), change=change)
        self.outbox.append(
            AccountUpdate(
                account=account.name,
                ts_ms=self.now_ms,
                reason=reason,
                balances=(balance,),
                positions=tuple(self.view(account, position) for position in positions),
            )
        )

    def view(self, account: Account, position: Position) -> PositionView:
        """A position with its margin and liquidation price at the present mark."""
        symbol, spec = position.symbol, self.specs[position.symbol]
        mark, leverage = self.mark(account, symbol), account.leverage(symbol)
        notional = position.amount * mark
        margin = self.margin_due(account, symbol, position.side)
        bids, asks = _open_notionals(account, position)
        return PositionView(
            symbol=symbol,
            side=position.side,
            amount=position.amount,
            entry_price=position.entry_price,
            break_even_price=position.break_even_price,
            mark_price=mark,
            unrealized=round_money(position.unrealized(mark)) if position.amount else ZERO,
            realized=position.realized,
            liquidation_price=self.liquidation_price(account, position),
            leverage=leverage,
            maximum_notional=spec.maximum_notional(leverage),
            notional=notional,
            initial_margin=round_money(margin),
            position_margin=round_money(abs(notional) / leverage),
            order_margin=round_money(margin - abs(notional) / leverage),
            maintenance_margin=round_money(spec.maintenance(abs(notional))),
            bid_notional=bids,
            ask_notional=asks,
            margin_asset=spec.margin_asset,
            updated_ms=position.updated_ms,
        )

    def liquidation_price(self, account: Account, position: Position) -> Decimal:
        """The mark of this symbol, all others standing still, at which the margin balance is the maintenance.

        Zero when no such price exists. The bracket is that of the notional there.
        """
        if not position.amount:
            return ZERO
        spec = self.specs[position.symbol]
        totals = self.totals(account, spec.margin_asset)
        held = list(account.held(position.symbol))
        free = totals.balance - totals.maintenance
        for each in held:
            mark = self.mark_of(each)
            free += spec.maintenance(abs(each.amount) * mark) - each.unrealized(mark)
        price = self.mark_of(position)
        for _ in range(_BRACKET_STEPS):
            solved = _solve(spec, held, free, price)
            if solved <= 0 or solved == price:
                return max(solved, ZERO)
            price = solved
        return price

    def trades_now(self, symbol: str) -> bool:
        """Whether the symbol is not halted."""
        return self.specs[symbol].status == "TRADING"

    def opening(self, balances: Mapping[str, Decimal]) -> dict[str, Decimal]:
        """Starting balances, with a zero for every margin asset that was not named."""
        assets = dict.fromkeys((spec.margin_asset for spec in self.specs.values()), ZERO)
        return assets | dict(balances)


def _open_notionals(account: Account, position: Position) -> tuple[Decimal, Decimal]:
    notionals = {"BUY": ZERO, "SELL": ZERO}
    for order in account.orders.open(position.symbol):
        if order.position_side == position.side and not order.reduce_only:
            notionals[order.side] += order.remaining * order.price
    return notionals["BUY"], notionals["SELL"]


def _solve(spec: SymbolSpec, held: list[Position], free: Decimal, price: Decimal) -> Decimal:
    """Where free + sum(amount (P - entry)) equals the maintenance in the brackets of `price`."""
    slope, constant = ZERO, free
    for each in held:
        bracket = spec.bracket_of(abs(each.amount) * price)
        slope += abs(each.amount) * bracket.maintenance_rate - each.amount
        constant += bracket.cum - each.amount * each.entry_price
    return constant / slope if slope else ZERO
