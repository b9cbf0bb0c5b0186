"""The venue's money reckoned a second time, from its fills alone, and held against its own ledger.

Nothing here shares code with the venue: positions are kept as an amount and what it cost, in exact fractions,
so that an average price never rounds. The venue rounds each amount that it books to eight decimals; a
difference of one unit of the last decimal a booking is its right, more is an error.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, Self

__all__ = ["Books", "Fill", "Gap", "Held", "Rates", "ledger_gaps", "reckon"]

ZERO = Decimal(0)
_UNIT = Fraction(1, 10**8)
_PLACES = Decimal("1e-8")
_CLOSE_MS = 5_000  # what nothing was booked for: fills so near may have come before it or after


class Rates(NamedTuple):
    """Commission as a share of the notional, by whether the fill took from the book or rested in it."""

    maker: Decimal = Decimal("0.0002")
    taker: Decimal = Decimal("0.0005")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One fill as the venue reported it; `realized` is before commission, `commission` what was paid.

    `coins_paid` is what was paid of the coins that were bought, on spot.
    """

    trade_id: int
    order_id: int
    symbol: str
    position_side: str
    side: str
    price: Decimal
    quantity: Decimal
    realized: Decimal
    commission: Decimal
    maker: bool
    ts_ms: int
    coins_paid: Decimal = ZERO

    @classmethod
    def from_ledger(cls, row: Mapping[str, Any]) -> Self:
        """A fill of the control endpoint's ledger; KeyError for a row that lacks a field."""
        return cls(
            trade_id=int(row["trade_id"]),
            order_id=int(row["order_id"]),
            symbol=str(row["symbol"]),
            position_side=str(row["position_side"]),
            side=str(row["side"]),
            price=Decimal(row["price"]),
            quantity=Decimal(row["quantity"]),
            realized=Decimal(row["realized"]),
            commission=Decimal(row["commission"]),
            maker=bool(row["maker"]),
            ts_ms=int(row["ts_ms"]),
            coins_paid=Decimal(row.get("coins_paid", "0")),
        )

    @property
    def signed(self) -> Decimal:
        """What it changes a position by: the quantity, negative for a sale."""
        return (self.quantity if self.side == "BUY" else -self.quantity) - self.coins_paid


class Held(NamedTuple):
    """A position: the signed amount, and the signed quote amount that it cost."""

    amount: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)

    @property
    def entry_price(self) -> Fraction:
        """What one unit cost on average; zero when flat."""
        return self.cost / self.amount if self.amount else Fraction(0)

    def after(self, signed: Fraction, price: Fraction) -> tuple["Held", Fraction]:
        """The position after a fill, and the profit that the fill realised.

        What closes leaves at the average cost; what goes beyond zero opens at the fill's price.
        """
        if self.amount * signed >= 0:
            return Held(self.amount + signed, self.cost + signed * price), Fraction(0)
        closing = -signed if abs(signed) <= abs(self.amount) else self.amount
        gave_up = self.entry_price * closing
        opening = signed + closing
        left = Held(self.amount - closing + opening, self.cost - gave_up + opening * price)
        return left, closing * price - gave_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What fills amount to. `realized` is per fill, in their order; positions are by symbol and side."""

    positions: Mapping[tuple[str, str], Held]
    realized: tuple[Fraction, ...]

    @property
    def total(self) -> Fraction:
        """All profit realised, before commission."""
        return sum(self.realized, Fraction(0))


class Gap(NamedTuple):
    """Two numbers that should be one: what the venue says and what was reckoned."""

    what: str
    venue: Decimal
    reckoned: Decimal

    def __str__(self) -> str:
        return f"{self.what}: the venue says {self.venue}, reckoned {self.reckoned}"


def reckon(fills: Iterable[Fill]) -> Books:
    """Positions and realised profit from fills in the order in which they happened."""
    positions: dict[tuple[str, str], Held] = {}
    realized = []
    for fill in fills:
        key = fill.symbol, fill.position_side
        held = positions.get(key, Held())
        positions[key], profit = held.after(Fraction(fill.signed), Fraction(fill.price))
        realized.append(profit)
    return Books(positions=positions, realized=tuple(realized))


def ledger_gaps(
    ledger: Mapping[str, Any],
    starting: Mapping[str, Decimal],
    rates: Rates | None = None,
    *,
    was_flat: Callable[[str, int], bool] | None = None,
) -> list[Gap]:
    """Where one account's ledger contradicts itself or its fills; empty when it is right.

    `ledger` is the control endpoint's, `starting` the balances the account began with, by asset. Checked:
    each wallet is its start and all income; each fill's profit and commission; that both were booked; the
    positions; and each funding, where the ledger names the `fundings` (symbol, ts_ms, rate, mark). A fill is
    stamped by the venue's clock, which a busy market lags behind: `was_flat` says of a symbol and a time of
    the market (ms) whether nothing was held then, for fundings of which nothing was booked.
    """
    fills = sorted((Fill.from_ledger(row) for row in ledger["fills"]), key=lambda fill: fill.trade_id)
    books = reckon(fills)
    return [
        *_wallets(ledger, starting),
        *_fills(fills, books, rates or Rates()),
        *_booked(ledger["income"], fills),
        *_positions(ledger["positions"], books),
        *_fundings(ledger, fills, was_flat or (lambda *_: False)),
    ]


def _wallets(ledger: Mapping[str, Any], starting: Mapping[str, Decimal]) -> Iterable[Gap]:
    booked: dict[str, Decimal] = dict(starting)
    for row in ledger["income"]:
        booked[row["asset"]] = booked.get(row["asset"], ZERO) + Decimal(row["amount"])
    for row in ledger["assets"]:
        wallet, own = Decimal(row["wallet"]), booked.pop(row["asset"], ZERO)
        if wallet != own:
            yield Gap(f"wallet {row['asset']}", wallet, own)
    for asset, own in booked.items():
        if own:
            yield Gap(f"wallet {asset}", ZERO, own)


def _fills(fills: Sequence[Fill], books: Books, rates: Rates) -> Iterable[Gap]:
    for fill, realized in zip(fills, books.realized, strict=True):
        if abs(Fraction(fill.realized) - realized) > _UNIT:
            yield Gap(f"realised profit of fill {fill.trade_id}", fill.realized, _decimal(realized))
        rate = rates.maker if fill.maker else rates.taker
        commission = Fraction(fill.price) * Fraction(fill.quantity) * Fraction(rate)
        if abs(Fraction(fill.commission) - commission) > _UNIT:
            yield Gap(f"commission of fill {fill.trade_id}", fill.commission, _decimal(commission))


def _booked(income: Iterable[Mapping[str, Any]], fills: Iterable[Fill]) -> Iterable[Gap]:
    booked: dict[tuple[str, int], Decimal] = {}
    for row in income:
        if row["kind"] in ("REALIZED_PNL", "COMMISSION"):
            key = row["kind"], int(row["trade_id"])
            booked[key] = booked.get(key, ZERO) + Decimal(row["amount"])
    for fill in fills:
        for kind, due in (("REALIZED_PNL", fill.realized), ("COMMISSION", -fill.commission)):
            amount = booked.pop((kind, fill.trade_id), ZERO)
            if amount != due:
                yield Gap(f"{kind} booked for fill {fill.trade_id}", amount, due)
    for (kind, trade_id), amount in booked.items():
        if amount:
            yield Gap(f"{kind} booked for fill {trade_id}, which is not there", amount, ZERO)


def _positions(rows: Iterable[Mapping[str, Any]], books: Books) -> Iterable[Gap]:
    left = dict(books.positions)
    for row in rows:
        held = left.pop((str(row["symbol"]), str(row["side"])), Held())
        amount, entry = Decimal(row["amount"]), Decimal(row["entry_price"])
        if Fraction(amount) != held.amount:
            yield Gap(f"position {row['symbol']}", amount, _decimal(held.amount))
        elif abs(Fraction(entry) - held.entry_price) > _UNIT:
            yield Gap(f"entry price {row['symbol']}", entry, _decimal(held.entry_price))
    for (symbol, _), held in left.items():
        if held.amount:
            yield Gap(f"position {symbol}", ZERO, _decimal(held.amount))


def _fundings(
    ledger: Mapping[str, Any], fills: Sequence[Fill], was_flat: Callable[[str, int], bool]
) -> Iterable[Gap]:
    """Each funding against what was booked between it and the next one of its symbol.

    Bookings are numbered, so the position is that of the fills whose commission was booked before.
    """
    if "fundings" not in ledger:
        return
    booked = [row for row in ledger["income"] if row["kind"] == "FUNDING_FEE"]
    numbers = {int(r["trade_id"]): int(r["tran_id"]) for r in ledger["income"] if r["kind"] == "COMMISSION"}
    rows = sorted(ledger["fundings"], key=lambda row: int(row["ts_ms"]))
    for index, row in enumerate(rows):
        symbol, ts_ms = str(row["symbol"]), int(row["ts_ms"])
        later = [int(r["ts_ms"]) for r in rows[index + 1 :] if r["symbol"] == symbol]
        until = min(later, default=None)
        paid = [r for r in booked if r["symbol"] == symbol and _is_between(int(r["ts_ms"]), ts_ms, until)]
        booked = [r for r in booked if r not in paid]
        amount = sum((Decimal(r["amount"]) for r in paid), ZERO)
        mine = [fill for fill in fills if fill.symbol == symbol]
        if paid:
            first = min(int(r["tran_id"]) for r in paid)
            before = [fill for fill in mine if numbers.get(fill.trade_id, first) < first]
        else:
            before = [fill for fill in mine if fill.ts_ms <= ts_ms]
        held = sum((Fraction(fill.signed) for fill in before), Fraction(0))
        due = -held * Fraction(Decimal(row["mark"])) * Fraction(Decimal(row["rate"]))
        is_close = not paid and any(abs(fill.ts_ms - ts_ms) < _CLOSE_MS for fill in mine)
        is_close = is_close or (not paid and was_flat(symbol, ts_ms))
        if not is_close and abs(Fraction(amount) - due) > _UNIT:
            yield Gap(f"funding of {symbol} at {ts_ms}", amount, _decimal(due))
    for row in booked:
        yield Gap(
            f"funding of {row['symbol']} at {row['ts_ms']}, which is not there", Decimal(row["amount"]), ZERO
        )


def _is_between(ts_ms: int, begun_ms: int, ended_ms: int | None) -> bool:
    return begun_ms <= ts_ms and (ended_ms is None or ts_ms < ended_ms)


def _decimal(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / Decimal(value.denominator)).quantize(_PLACES)
