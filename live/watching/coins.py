"""The watchdog of spot: are the node's coins covered, does the node live, and what is done.

What of a balance is the node's say its book of coins, which lies beside the heartbeat, and the account's own
list of trades since; without a book the newest thousand of those alone. Coins and orders of anybody else are
never touched: no more is sold or offered than the node has bought and not sold.

- uncovered, and `protect`: a stop that sells at the market, at the configured distance. Sell orders of the
  node that are no stops, and keep the coins locked, are cancelled for it. Refused `stop_tries` times: the
  coins are sold, for they can be neither held nor protected.
- the node's heartbeat is older than `flatten_after_secs`: its orders are cancelled, its coins sold. What the
  venue takes in no order stays. Where the sale fails a stop is placed again.
- a stop of the watchdog's locks the coins. So it steps back when the coins are gone or fewer, and for a node
  that beats again, which then covers them itself; each time it had to come back it waits longer for that.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

from actors.state_file import StateFile
from catalog.instruments import symbol_of
from configs.errors import DataError
from live.venue.errors import VenueRequestError
from live.venue.spot_client import Order, SpotAccount, SpotClient, SpotRules
from live.watching.coin_cover import CoinCover, Held, coin_cover
from live.watching.looking import Alarm, Looker
from strategies.holdings import Coins, Holdings

__all__ = ["CoinWatchdog"]

_RULES_SECS = 3_600.0
_YIELD_SECS, _MORE = 2.0, 8.0


@dataclass(slots=True)
class _Book:
    """What was counted of a symbol, and of which state of file and account that is the result."""

    coins: Coins
    known: Any = None
    problem: str = ""


@dataclass(slots=True)
class _Yield:
    """A stop of the watchdog's: when it was placed, and how long it waits for the node from then on."""

    placed: float
    wait_secs: float = field(default=_YIELD_SECS)


class CoinWatchdog(Looker[SpotClient, CoinCover]):
    """Looks at the coins that a node has bought."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rules: dict[str, tuple[float, SpotRules]] = {}
        self._books: dict[str, _Book] = {}
        self._orders: dict[str, tuple[Order, ...]] = {}
        self._yields: dict[str, _Yield] = {}

    def _see(self, now: float, *, dead: bool) -> Sequence[CoinCover]:
        del dead
        found = {symbol: self._seen(now, symbol) for symbol in sorted(self.settings.symbols)}
        covers = [cover for cover in found.values() if cover is not None]
        self._seen_venue = now
        self._remember(now, covers)
        for symbol, cover in found.items():
            self._step_back(now, symbol, cover)
        return covers

    def _seen(self, now: float, symbol: str) -> CoinCover | None:
        """Orders first: what fills between the questions is then held too few, never too many."""
        rules, client = self._rules_of(now, symbol), self.client
        orders = self._orders[symbol] = client.orders_open(symbol)
        account = client.account()
        coins = self._counted(symbol, rules, account)
        if not coins.opened or coins.amount <= 0:
            return None
        total, free = account.total(rules.base), account.free(rules.base)
        amount = min(coins.amount, total)
        cost = coins.paid / coins.bought if coins.bought else Decimal(0)
        held = Held(amount, cost.quantize(rules.tick), total - amount, free)
        return coin_cover(held, rules, client.last_price(symbol), orders)

    # -- what is held ---------------------------------------------------------------------------------------

    def _counted(self, symbol: str, rules: SpotRules, account: SpotAccount) -> Coins:
        """The node's coins; the list of trades is asked for only when a balance or the book has changed."""
        book = self._books.setdefault(symbol, _Book(Coins(symbol)))
        written = self._written(symbol, book)
        state = None if written is None else (written.amount, written.last_trade, len(written.seen))
        known = (state, account.total(rules.base), account.total(rules.quote))
        if known == book.known:
            return book.coins
        holdings = Holdings(symbol, rules.base, rules.quote, rules.step, None)
        holdings.coins = book.coins if written is None else written
        fills = self.client.own_fills(symbol, holdings.coins.asked_after)
        holdings.catch_up(fills, lambda: self.client.last_price(symbol))
        book.coins, book.known = holdings.coins, known
        if written is None and book.coins.opened and holdings.lots * rules.step < self._least(rules):
            holdings.close(self.client.last_price(symbol))  # dust is no trade, whatever it is worth later
        return book.coins

    def _least(self, rules: SpotRules) -> Decimal:
        return rules.least(self.client.last_price(rules.symbol))

    def _written(self, symbol: str, book: _Book) -> Coins | None:
        """The node's own book; None where there is none to be read."""
        book.problem, found = "", list[Coins]()
        for path in () if self.settings.heartbeat is None else _book_files(self.settings.heartbeat.parent):
            try:
                coins = StateFile(path, Coins).read()
            except DataError as error:
                book.problem = f"{error}; the venue's list of trades alone is counted"
                continue
            if coins is not None and symbol_of(coins.instrument) == symbol:
                found.append(coins)
        return max(found, key=lambda coins: coins.last_trade, default=None)

    def _notices(self) -> list[Alarm]:
        return [
            Alarm(f"book {symbol}", f"{symbol}: {book.problem}")
            for symbol, book in self._books.items()
            if book.problem
        ]

    # -- what is done ---------------------------------------------------------------------------------------

    def _place_stop(self, cover: CoinCover, *, closes: bool) -> None:
        del closes
        rules = self._rules_of(self._clock(), cover.symbol)
        if cover.free < cover.amount - cover.covered:
            for order, _ in cover.useless:
                self._take_back(order)
            cover = self._again(cover)
        self._stop(cover, rules)

    def _stop(self, cover: CoinCover, rules: SpotRules) -> None:
        """What the venue would refuse is sent all the same: its answer says why."""
        lacking = cover.amount - cover.covered
        free = (cover.free / rules.step).to_integral_value(ROUND_FLOOR) * rules.step
        quantity = min(lacking, free if free >= cover.least else lacking, rules.max_quantity)
        away = cover.price * Decimal(str(self.settings.stop_distance_pct)) / 100
        trigger = ((cover.price - away) / rules.tick).to_integral_value(ROUND_FLOOR) * rules.tick
        waits = self._yields.setdefault(cover.symbol, _Yield(0.0))
        waits.placed = self._clock()
        self.client.place_stop(cover.symbol, quantity, trigger, self._name())

    def _sell_out(self, cover: CoinCover) -> None:
        """The coins are locked while an order offers them; no longer bare than between two requests."""
        for order in cover.orders:
            self._take_back(order)
        rules = self._rules_of(self._clock(), cover.symbol)
        left = self._seen(self._clock(), cover.symbol)
        if left is None:  # sold meanwhile
            return
        quantity = min(left.amount, left.free, rules.market_max_quantity) // rules.market_step
        try:
            self.client.sell(cover.symbol, quantity * rules.market_step, self._name())
        except VenueRequestError:
            with suppress(VenueRequestError):
                after = self._seen(self._clock(), cover.symbol)
                if after is not None and not after.is_whole:
                    self._stop(after, rules)
            raise

    def _again(self, cover: CoinCover) -> CoinCover:
        return self._seen(self._clock(), cover.symbol) or cover

    def _take_back(self, order: Order) -> None:
        """One that is gone by now, perhaps as the other of a list, is as good as cancelled."""
        try:
            self.client.cancel(order.symbol, order.order_id)
        except VenueRequestError as error:
            if error.code not in {-2011, -2013}:
                raise

    def _clear_book(self, now: float, symbol: str) -> None:
        """Of one that holds nothing all, else the entries: its sell orders are stops as long as it holds."""
        holds = any(key[0] == symbol for key in self._cases)
        for order in self._orders.get(symbol, ()):
            if order.is_ours and (order.side == "BUY" or not holds) and self._may_act(now):
                self._do("order of the node cancelled", symbol, None, lambda o=order: self._take_back(o))  # type: ignore[misc]

    def _step_back(self, now: float, symbol: str, cover: CoinCover | None) -> None:
        own = [order for order in self._orders[symbol] if order.is_watchdogs]
        if not own:
            if cover is None or cover.is_whole:
                self._yields.pop(symbol, None)  # the node's own order covers, or nothing is held
            return
        waits = self._yields.setdefault(symbol, _Yield(now))
        offered = sum((order.left for order in self._orders[symbol] if _sells(order)), Decimal(0))
        is_too_much = cover is None or offered > cover.amount
        lives = self._beat.stamp is not None and self._beat.since > waits.placed + waits.wait_secs
        if not (is_too_much or lives):
            return
        if not is_too_much:
            waits.wait_secs *= _MORE
        for order in own:
            if self._may_act(now):
                self._do("left-over stop cancelled", symbol, None, lambda o=order: self._take_back(o))  # type: ignore[misc]

    def _rules_of(self, now: float, symbol: str) -> SpotRules:
        """Old ones do where new ones cannot be had."""
        known = self._rules.get(symbol)
        if known is not None and now - known[0] < _RULES_SECS:
            return known[1]
        try:
            fresh = self.client.rules(symbol)
        except VenueRequestError:
            if known is None:
                raise
            fresh = known[1]
        self._rules[symbol] = now, fresh
        return fresh


def _sells(order: Order) -> bool:
    return order.side == "SELL" and order.is_ours and order.type.startswith("STOP_LOSS")


def _book_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("coins-*.json"))
