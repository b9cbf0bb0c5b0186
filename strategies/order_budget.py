"""The venue's order limits: what entries may use of them, the rest is kept for protection. Pure."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from strategies.values import Refused

__all__ = ["FUTURES_LIMITS", "OrderBudget"]

_SECOND_NS = 1_000_000_000
FUTURES_LIMITS = ((10 * _SECOND_NS, 300), (60 * _SECOND_NS, 1200))


class OrderBudget:
    """Counts an account's own orders, new and moved; one object for all of its strategies.

    `limits` are the venue's (window in ns, orders in it). Entries may be sent while less than
    100 - `protection_pct` percent of each is used, by orders of any kind, and fewer than `per_sec` orders
    have gone in the last second; protective orders never ask.
    """

    def __init__(
        self,
        limits: Sequence[tuple[int, int]] = FUTURES_LIMITS,
        protection_pct: float = 50.0,
        per_sec: float = math.inf,
    ) -> None:
        share = 1.0 - protection_pct / 100.0
        shares = ((window, orders * share) for window, orders in limits)
        self._limits = ((_SECOND_NS, per_sec), *shares)
        self._longest = max(window for window, _ in self._limits)
        self._sent: list[int] = []

    def note(self, now: int) -> None:
        """An order was sent or moved at `now` (ns UTC, never before the last one)."""
        sent = self._sent
        sent.append(now)
        if now - sent[0] > 2 * self._longest:  # cut off now and then, not each time
            del sent[: bisect_right(sent, now - self._longest)]

    def used(self, window: int, now: int) -> int:
        """How many orders went in the last `window` ns before `now`."""
        return len(self._sent) - bisect_right(self._sent, now - window)

    def refuses(self, now: int) -> Refused | None:
        """Why no entry may be sent at `now`; None when one may."""
        for window, allowed in self._limits:
            used = self.used(window, now)
            if not used + 1 <= allowed:
                return Refused("order_budget", allowed, float(used))
        return None
