"""The coins that a spot strategy holds, counted by its own fills, and the file that keeps them.

After a restart the engine knows the account's balances and open orders, and no position: what of a balance
is the strategy's, only its own book can say. Every fill is counted once, by its trade id; a fee in the base
asset shrinks what is held; and what is held is never more whole lots than the coins make.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec

from actors.state_file import StateFile
from configs.errors import RunFailedError

__all__ = ["Change", "CoinBook", "CoinFill", "CoinSource", "Coins", "Guess", "Holdings"]

_REMEMBERED = 512
_NOTHING, _ONE = Decimal(0), Decimal(1)


class CoinFill(NamedTuple):
    """A fill of an own order. `fee` is in `fee_asset`; `price` 0 says that nobody knows it.

    `trade_id` is the venue's, or one that the engine made for a fill that it inferred; `order` is the venue's
    id of the order. `ts` in ns UTC.
    """

    trade_id: str
    is_buy: bool
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    ts: int
    order: str = ""


class CoinSource(NamedTuple):
    """Whom to ask for own fills: `missed(instrument, trade)` for those after a trade id, at once, and
    `of_orders(instrument, orders)` for those of some orders, by the venue's ids, elsewhere."""

    missed: Callable[[str, int], Sequence[CoinFill]]
    of_orders: Callable[[str, Sequence[str]], Future[Sequence[CoinFill]]]


class Change(msgspec.Struct):
    """What fills have changed of a book; see `Coins`."""

    amount: Decimal = _NOTHING
    cost: Decimal = _NOTHING
    paid: Decimal = _NOTHING
    bought: Decimal = _NOTHING
    fees: Decimal = _NOTHING


class Guess(msgspec.Struct):
    """What fills of an order that the engine made up have changed of the book, until the venue's are known.

    `price` is what they were counted at. `is_told`: a result was told by it, and no money is corrected any
    more.
    """

    is_buy: bool
    price: Decimal
    quantity: Decimal
    change: Change
    is_told: bool = False


class Coins(msgspec.Struct):
    """What is held of an instrument's base asset, and what it has cost.

    `cost` is quote currency paid for the open trade less what sales brought, fees in either asset counted,
    and `fees` what of it they were; `opened` when it was opened and `filled` when it was last filled (ns UTC,
    0: flat). `last_trade` is the newest venue trade counted, `settled` which that was when the trade before
    was told (None: not known), `is_clipped` whether coins of this one went unheard, `seen` the ids of the
    newest ones; `guesses` are by order what was counted without the venue's trades.
    """

    instrument: str
    amount: Decimal = _NOTHING
    cost: Decimal = _NOTHING
    paid: Decimal = _NOTHING
    bought: Decimal = _NOTHING
    fees: Decimal = _NOTHING
    opened: int = 0
    filled: int = 0
    last_trade: int = -1
    settled: int | None = None
    is_clipped: bool = False
    seen: list[str] = []
    guesses: dict[str, Guess] = {}

    @property
    def asked_after(self) -> int:
        """After which of the venue's trades to ask for more: one before the newest may be unheard of.

        Never before the oldest whose id is remembered: no trade must be counted twice.
        """
        known = self.settled
        if known is None or (
            len(self.seen) >= _REMEMBERED and not any(i.isdigit() and int(i) <= known for i in self.seen)
        ):
            return self.last_trade
        return known


class Holdings:
    """One instrument's coins. `base` and `quote` are asset codes, `step` the venue's quantity step.

    `file` None keeps nothing. Written whenever it changes, before anything is sent because of it; what the
    disk refuses is written by `keep`.
    """

    def __init__(
        self,
        instrument: str,
        base: str,
        quote: str,
        step: Decimal,
        file: StateFile[Coins] | None,
        fee_rate: Decimal = Decimal("0.001"),
    ) -> None:
        self.base, self.quote, self.step = base, quote, step
        self._file = file
        self._is_kept = True
        self._fee_rate = fee_rate
        kept = None if file is None else file.read()
        if kept is not None and kept.instrument != instrument:
            raise RunFailedError(
                f"{file.path if file else ''} is of {kept.instrument}, not {instrument}: use another folder"
            )
        self.coins = kept or Coins(instrument)

    @property
    def amount(self) -> Decimal:
        """Coins held, dust included."""
        return self.coins.amount

    @property
    def lots(self) -> int:
        """Whole lots of them, rounded down."""
        return int((self.coins.amount / self.step).to_integral_value(rounding=ROUND_FLOOR))

    @property
    def average_price(self) -> float:
        """What a coin of the open trade has cost on average; 0.0 when none was bought."""
        coins = self.coins
        return float(coins.paid / coins.bought) if coins.bought else 0.0

    @property
    def guessed(self) -> list[str]:
        """The orders, by the venue's ids, of which the open trade's money rests on guesses."""
        return [order for order, guess in self.coins.guesses.items() if not guess.is_told]

    def filled(self, fill: CoinFill, mark: Decimal) -> bool:
        """Count a fill; False for one that was counted before. `mark` stands for a price nobody knows.

        The venue's own trade takes the place of what was guessed of its order.
        """
        coins, is_known = self.coins, fill.trade_id.isdigit()
        if fill.trade_id in coins.seen:
            return False
        is_new = not is_known or self._guessed_of(fill.order) < fill.quantity
        if is_known:
            self._book_known(fill)
            coins.last_trade = max(coins.last_trade, int(fill.trade_id))
        else:
            self._guess(fill, fill.price if fill.price > 0 else mark)
        coins.filled = max(coins.filled, fill.ts)
        coins.seen = [*coins.seen, fill.trade_id][-_REMEMBERED:]
        self._save()
        return is_new

    def _guessed_of(self, order: str) -> Decimal:
        guess = self.coins.guesses.get(order)
        return _NOTHING if guess is None else guess.quantity

    def _book_known(self, fill: CoinFill) -> None:
        """In place of what was guessed; what of the guess is left is guessed anew."""
        coins, guess = self.coins, self.coins.guesses.pop(fill.order, None)
        if guess is None:
            self._book(fill, fill.price)
            return
        money = coins.cost, coins.paid, coins.bought, coins.fees, coins.opened
        _add(coins, guess.change, -1)
        self._book(fill, fill.price)
        if (left := guess.quantity - fill.quantity) > 0:
            self._guess(fill._replace(quantity=left, fee=_NOTHING), guess.price, guess)
        if guess.is_told:  # the coins are counted right, the money is told
            coins.cost, coins.paid, coins.bought, coins.fees, coins.opened = money

    def _guess(self, fill: CoinFill, price: Decimal, before: Guess | None = None) -> None:
        """The fee of a fill that was made up is not known: the dearer guess is safe."""
        coins, order = self.coins, fill.order
        is_told = before is not None and before.is_told
        if fill.fee == 0:
            fee, asset = (_ONE, self.base) if fill.is_buy else (price, self.quote)
            fill = fill._replace(fee=fill.quantity * fee * self._fee_rate, fee_asset=asset)
        change, quantity = self._book(fill, price), fill.quantity
        if (known := coins.guesses.get(order)) is not None:
            _add(change, known.change, 1)
            quantity += known.quantity
        coins.guesses[order] = Guess(fill.is_buy, price, quantity, change, is_told)

    def _book(self, fill: CoinFill, price: Decimal) -> Change:
        """Count it at a price; returns what has changed."""
        coins, worth = self.coins, fill.quantity * price
        in_base = fill.fee if fill.fee_asset == self.base else _NOTHING
        in_quote = fill.fee if fill.fee_asset == self.quote else _NOTHING
        fees = in_quote + in_base * price
        if fill.is_buy:
            coins.opened = coins.opened or fill.ts
            change = Change(fill.quantity - in_base, worth + in_quote, worth, fill.quantity, fees)
        else:
            left = max(_NOTHING, coins.amount - fill.quantity - in_base)
            change = Change(left - coins.amount)
            if coins.opened:  # else it is of a trade whose result is told
                change.cost, change.fees = in_quote - worth, fees
        _add(coins, change, 1)
        return change

    def clip(self, total: Decimal) -> Decimal:
        """No more can be held than the account has; returns what was missing (0: nothing)."""
        missing = max(_NOTHING, self.coins.amount - total)
        if missing:
            self.coins.amount = total
            self.coins.settled, self.coins.is_clipped = None, True  # who sold them must not count again
            self._save()
        return missing

    def earned(self, mark: Decimal) -> Decimal:
        """What the trade has earned in quote currency, what is left of the coins at `mark`."""
        return self.coins.amount * mark - self.coins.cost

    def close(self, mark: Decimal) -> None:
        """The trade is over and its result told; what stays of the coins is the next one's, at `mark`."""
        coins = self.coins
        dust = coins.amount * mark
        coins.cost, coins.opened, coins.fees = dust, 0, _NOTHING
        coins.settled, coins.is_clipped = None if coins.is_clipped else coins.last_trade, False
        coins.paid, coins.bought = dust, coins.amount
        for guess in coins.guesses.values():
            guess.is_told = True
        self._save()

    def catch_up(self, fills: Iterable[CoinFill], mark: Callable[[], Decimal]) -> int:
        """Count fills that happened while nobody was there, oldest first; returns how many were new."""
        return sum(self.filled(fill, mark()) for fill in sorted(fills, key=lambda fill: fill.ts))

    def keep(self) -> None:
        """Write what the disk has refused so far; RunFailedError when it does again."""
        if self._file is not None and not self._is_kept:
            self._file.write(self.coins)
        self._is_kept = True

    def _save(self) -> None:
        self._is_kept = False
        with suppress(RunFailedError):  # protection does not wait for a disk; who calls `keep` is told
            self.keep()


def _add(book: Coins | Change, change: Change, times: int) -> None:
    book.amount += change.amount * times
    book.cost += change.cost * times
    book.paid += change.paid * times
    book.bought += change.bought * times
    book.fees += change.fees * times


class CoinBook:
    """What all strategies of a spot account hold, by instrument id."""

    def __init__(self) -> None:
        self._holdings: dict[str, Holdings] = {}

    def add(self, instrument: str, holdings: Holdings) -> Holdings:
        """Take one up; returns it."""
        self._holdings[instrument] = holdings
        return holdings

    def open(self) -> dict[str, Holdings]:
        """Those of open trades."""
        return {name: held for name, held in self._holdings.items() if held.coins.opened}

    def amounts(self) -> dict[str, float]:
        """The coins of open trades."""
        return {name: float(held.amount) for name, held in self.open().items()}
