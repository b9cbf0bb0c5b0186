"""What the venue's parts share: rules, markets, accounts, the clock, numbers and the outbox."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from live.rehearsal.exchange import ExchangeState, Terms
from live.rehearsal.futures.account import Account, Position, position_sides, round_money
from live.rehearsal.futures.events import AccountUpdate, BalanceChange, PositionView, VenueEvent
from live.rehearsal.futures.orders import Income
from live.rehearsal.specs import SymbolSpec

__all__ = ["State", "Totals"]

ZERO = Decimal(0)
_FIRST_ORDER = 8_000_000_000
_FIRST_ALGO = 2_000_000_000_000_000
_BRACKET_STEPS = 10


class Sums(NamedTuple):
    """What positions add up to at the present marks; `margin` is their initial margin."""

    wallet: Decimal = ZERO
    unrealized: Decimal = ZERO
    margin: Decimal = ZERO
    maintenance: Decimal = ZERO

    def plus(self, other: "Sums") -> "Sums":
        """Each sum with the other's."""
        return Sums(*(mine + its for mine, its in zip(self, other, strict=True)))

    @property
    def balance(self) -> Decimal:
        """Wallet and unrealised profit."""
        return self.wallet + self.unrealized


class Totals(NamedTuple):
    """An account's margin in one asset, of its positions with crossed and with isolated margin.

    `cross.wallet` is what the isolated positions do not hold, `initial` the margin of everything.
    """

    cross: Sums
    isolated: Sums
    initial: Decimal

    @property
    def all(self) -> Sums:
        """Both kinds of positions together."""
        return self.cross.plus(self.isolated)

    @property
    def free(self) -> Decimal:
        """What new orders may use; negative when orders and crossed positions need more than there is."""
        return self.cross.balance - (self.initial - self.isolated.margin)

    @property
    def available(self) -> Decimal:
        """What new orders may use, not negative."""
        return max(ZERO, self.free)

    @property
    def transferable(self) -> Decimal:
        """What may leave the cross wallet: no unrealised profit, not negative."""
        return max(ZERO, min(self.free, self.free - self.cross.unrealized))


class State(ExchangeState[Account, VenueEvent]):
    """The shared state; `moved` are the accounts and margin assets whose margin is to be looked at."""

    def __init__(self, specs: Iterable[SymbolSpec], terms: Terms) -> None:
        super().__init__(specs, terms, {"order": _FIRST_ORDER, "algo": _FIRST_ALGO, "trade": 0, "tran": 0})
        self.moved: set[tuple[str, str]] = set()

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
        cross, isolated, initial = Sums(), Sums(), ZERO
        for position in account.held():
            if self.specs[position.symbol].margin_asset != asset:
                continue
            if position.symbol in account.isolated:
                isolated = isolated.plus(self.sums(account, position))
            else:
                cross = cross.plus(self.sums(account, position))
        for symbol in sorted(account.symbols()):
            if self.specs[symbol].margin_asset == asset:
                for side in position_sides(account.hedge):
                    initial += self.margin_due(account, symbol, side)
        wallet = account.wallets.get(asset, ZERO) - isolated.wallet
        return Totals(cross._replace(wallet=wallet), isolated, initial)

    def sums(self, account: Account, position: Position) -> Sums:
        """One position's margin at the present mark; `wallet` is its isolated wallet."""
        mark = self.mark_of(position)
        notional = abs(position.amount) * mark
        return Sums(
            position.isolated_wallet,
            position.unrealized(mark),
            notional / account.leverage(position.symbol),
            self.specs[position.symbol].maintenance(notional),
        )

    def cross_wallet(self, account: Account, asset: str) -> Decimal:
        """The asset's wallet without what isolated positions hold."""
        known = account.positions.values()
        held = (p.isolated_wallet for p in known if self.specs[p.symbol].margin_asset == asset)
        return account.wallets.get(asset, ZERO) - sum(held, ZERO)

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
        balance = BalanceChange(
            asset=asset,
            wallet=account.wallets.get(asset, ZERO),
            cross=self.cross_wallet(account, asset),
            change=change,
        )
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
            isolated=symbol in account.isolated,
            isolated_wallet=position.isolated_wallet,
            updated_ms=position.updated_ms,
        )

    def liquidation_price(self, account: Account, position: Position) -> Decimal:
        """The mark of this symbol, all others standing still, at which the margin balance is the maintenance.

        Zero when no such price exists. The bracket is that of the notional there. An isolated position has
        its own wallet as the balance.
        """
        if not position.amount:
            return ZERO
        spec = self.specs[position.symbol]
        if position.symbol in account.isolated:
            held, free = [position], position.isolated_wallet
        else:
            cross = self.totals(account, spec.margin_asset).cross
            held = list(account.held(position.symbol))
            free = cross.balance - cross.maintenance
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
