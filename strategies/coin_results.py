"""What a spot strategy's trades have earned: by its book of coins, once no fill in it is a guess.

Fills that only a query or the balance has found are made up by the engine, without the fee and sometimes
without the price. Then the venue is asked for the trades of these orders, again and again, and each takes the
place of what was guessed.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

from configs.errors import RunFailedError
from strategies.holdings import CoinFill, Holdings
from strategies.results import PATIENCE_NS, Closed, Result

__all__ = ["CoinResults", "FetchCoinFills"]

_SECOND_NS = 1_000_000_000

type FetchCoinFills = Callable[[Sequence[str]], Future[Sequence[CoinFill]]]


class CoinResults:
    """One strategy's. `fetch(orders)` asks elsewhere for the fills of orders, by the venue's ids, without
    blocking (None: nobody can be asked, a guess is the result); `mark` is what coins left over count at.
    """

    def __init__(self, holdings: Holdings, fetch: FetchCoinFills | None, mark: Callable[[], Decimal]) -> None:
        self._holdings = holdings
        self._fetch = fetch
        self._mark = mark
        self._told_at = Decimal(0)
        self._asked: Future[Sequence[CoinFill]] | None = None
        self._again = 0
        self._first = 0

    def known(self, position_id: Any, pnl: float) -> Result | None:
        """The result of a trade that is over; None where a fill of it is a guess."""
        del position_id, pnl
        is_guessed = bool(self._holdings.guessed)
        return None if is_guessed and self._fetch is not None else self._result(is_confirmed=not is_guessed)

    def look(self, closed: Closed, now: int) -> Result | None:
        """The result, once it is known; call it again and again with the time (ns UTC)."""
        self.refresh(now)
        if not self._holdings.guessed:
            return self._result(is_confirmed=True)
        if not self._first or now - self._first < PATIENCE_NS:
            return None
        found = self._result(is_confirmed=False)
        return found if closed.reckoned is None else found._replace(pnl=min(found.pnl, closed.reckoned))

    def refresh(self, now: int) -> None:
        """Ask for what is only guessed, and count what has come (time in ns UTC)."""
        held = self._holdings
        if not held.guessed:
            self._first = 0
        if self._asked is None:
            if held.guessed and self._fetch is not None and now >= self._again:
                self._asked = self._fetch(held.guessed)
            return
        if not self._asked.done():
            return
        asked, self._asked, self._again = self._asked, None, now + _SECOND_NS
        if isinstance(asked.exception(), RunFailedError):  # no answer: no entry until there is one
            return
        held.catch_up(asked.result(), self._mark)
        self._first = self._first or now

    def told(self) -> None:
        """The result is told: the next trade begins."""
        self._holdings.close(self._told_at)
        self._first = 0

    def _result(self, *, is_confirmed: bool) -> Result:
        coins, self._told_at = self._holdings.coins, self._mark()
        earned = float(self._holdings.earned(self._told_at))
        # a trade of which nothing is known has no number of its own
        last = coins.last_trade if is_confirmed else -1
        return Result(earned, float(coins.fees), coins.filled, last, is_confirmed)
