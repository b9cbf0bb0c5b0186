"""The coins that a spot strategy holds, counted by its own fills, and the file that keeps them.

After a restart the engine knows the account's balances and open orders, and no position: what of a balance
is the strategy's, only its own book can say. Every fill is counted once, by its trade id; a fee in the base
asset shrinks what is held; and what is held is never more whole lots than the coins make.
"""

from collections.abc import Callable, Iterable
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec

from actors.state_file import StateFile
from configs.errors import RunFailedError

__all__ = ["CoinBook", "CoinFill", "Coins", "Holdings"]

_REMEMBERED = 512
_NOTHING = Decimal(0)


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


class Coins(msgspec.Struct):
    """What is held of an instrument's base asset, and what it has cost.

    `cost` is quote currency paid for the open trade less what sales brought, fees in either asset counted;
    `opened` when it was opened (ns UTC, 0: flat). `last_trade` is the newest venue trade counted, `seen` the
    ids of the newest ones; `inferred` is by order what was counted without the venue's trade.
    """

    instrument: str
    amount: Decimal = _NOTHING
    cost: Decimal = _NOTHING
    paid: Decimal = _NOTHING
    bought: Decimal = _NOTHING
    opened: int = 0
    last_trade: int = -1
    seen: list[str] = []
    inferred: dict[str, Decimal] = {}


class Holdings:
    """One instrument's coins. `base` and `quote` are asset codes, `step` the venue's quantity step.

    `file` None keeps nothing. Written whenever it changes, before anything is sent because of it.
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

    def filled(self, fill: CoinFill, mark: Decimal) -> bool:
        """Count a fill; False for one that was counted before. `mark` stands for a price nobody knows."""
        coins = self.coins
        if fill.trade_id in coins.seen:
            return False
        is_new = not self._was_inferred(fill)
        if is_new:
            self._book(fill, fill.price if fill.price > 0 else mark)
        coins.seen = [*coins.seen, fill.trade_id][-_REMEMBERED:]
        if fill.trade_id.isdigit():
            coins.last_trade = max(coins.last_trade, int(fill.trade_id))
        self._save()
        return is_new

    def _was_inferred(self, fill: CoinFill) -> bool:
        """Whether the engine has made up a fill of this order before, which this trade is."""
        known = self.coins.inferred
        if not fill.trade_id.isdigit():
            known[fill.order] = known.get(fill.order, _NOTHING) + fill.quantity
            return False
        if fill.order not in known or known[fill.order] < fill.quantity:
            return False
        known[fill.order] -= fill.quantity
        if not known[fill.order]:
            del known[fill.order]
        return True

    def _book(self, fill: CoinFill, price: Decimal) -> None:
        coins, fee = self.coins, fill.fee
        if fill.is_buy and not fill.trade_id.isdigit() and fee == 0:
            fee = fill.quantity * self._fee_rate  # inferred, the fee is not known: the dearer guess is safe
            fill = fill._replace(fee_asset=self.base)
        in_base = fee if fill.fee_asset == self.base else _NOTHING
        in_quote = fee if fill.fee_asset == self.quote else _NOTHING
        if fill.is_buy:
            if coins.opened == 0:
                coins.opened = fill.ts
            coins.amount += fill.quantity - in_base
            coins.cost += fill.quantity * price + in_quote
            coins.paid += fill.quantity * price
            coins.bought += fill.quantity
        else:
            coins.amount = max(_NOTHING, coins.amount - fill.quantity - in_base)
            coins.cost -= fill.quantity * price - in_quote

    def clip(self, total: Decimal) -> Decimal:
        """No more can be held than the account has; returns what was missing (0: nothing)."""
        missing = max(_NOTHING, self.coins.amount - total)
        if missing:
            self.coins.amount = total
            self._save()
        return missing

    def close(self, mark: Decimal) -> Decimal:
        """The trade is over: what it has earned in quote currency, with the dust that stays at `mark`.

        The dust stays held, at that price, for the next trade.
        """
        coins = self.coins
        dust = coins.amount * mark
        earned = dust - coins.cost
        coins.cost, coins.opened = dust, 0
        coins.paid, coins.bought = dust, coins.amount
        self._save()
        return earned

    def catch_up(self, fills: Iterable[CoinFill], mark: Callable[[], Decimal]) -> int:
        """Count fills that happened while nobody was there, oldest first; returns how many were new."""
        return sum(self.filled(fill, mark()) for fill in sorted(fills, key=lambda fill: fill.ts))

    def _save(self) -> None:
        if self._file is not None:
            self._file.write(self.coins)


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
