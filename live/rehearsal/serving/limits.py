"""Request weights and order counts: what a client used, the headers that say so, and 429 and 418.

Windows are the exchange's fixed ones: weights count by IP and minute, orders by account in ten seconds and in
a minute (on spot in a day). Whoever goes on after a 429 is banned with 418, each time for longer.
Source: Binance's limits in exchangeInfo and its general information on IP limits.
"""

from dataclasses import dataclass
from typing import Any

from live.rehearsal.errors import VenueError, refuse

__all__ = ["Limits", "RateLimiter"]

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
TEN_SECONDS_MS = 10_000
BAN_AFTER_REFUSALS = 10
BANS_SECS = (120, 600, 3_600, 21_600, 86_400, 259_200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A market's limits as its exchangeInfo states them, and what a WebSocket API connection weighs.

    The defaults are those of USD-M futures.
    """

    weight_a_minute: int = 2_400
    orders_a_minute: int = 1_200
    orders_in_ten_seconds: int = 300
    orders_a_day: int | None = None
    connect_weight: int = 5

    def as_json(self) -> list[dict[str, Any]]:
        """The `rateLimits` of exchangeInfo."""
        return [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, self.weight_a_minute),
            _limit("ORDERS", self.long_interval, 1, self.orders_at_length),
            _limit("ORDERS", "SECOND", 10, self.orders_in_ten_seconds),
        ]

    @property
    def long_interval(self) -> str:
        """The longer interval in which orders count: a day where that is limited, else a minute."""
        return "MINUTE" if self.orders_a_day is None else "DAY"

    @property
    def orders_at_length(self) -> int:
        """The orders that the longer interval allows."""
        return self.orders_a_minute if self.orders_a_day is None else self.orders_a_day


@dataclass(slots=True)
class _Window:
    length_ms: int
    start: int = -1
    used: int = 0

    def add(self, amount: int, now_ms: int) -> int:
        start = now_ms // self.length_ms
        if start != self.start:
            self.start, self.used = start, 0
        self.used += amount
        return self.used

    def left_secs(self, now_ms: int) -> int:
        return -((now_ms % self.length_ms - self.length_ms) // 1000)


@dataclass(slots=True)
class _Client:
    weight: _Window
    refusals: int = 0
    bans: int = 0
    banned_until_ms: int = 0


@dataclass(slots=True)
class _Orders:
    long: _Window
    ten_seconds: _Window


class RateLimiter:
    """Counts and refuses; `now_ms` is the server's time (never the replayed market's)."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._clients: dict[str, _Client] = {}
        self._orders: dict[str, _Orders] = {}

    def spend(self, address: str, weight: int, now_ms: int) -> int:
        """Count `weight` for an IP; the weight used this minute.

        Raises -1003: with 429 beyond the limit, with 418 when banned for going on regardless.
        """
        client = self._client(address)
        if now_ms < client.banned_until_ms:
            raise _banned(address, client.banned_until_ms)
        used = client.weight.add(weight, now_ms)
        if used <= self.limits.weight_a_minute:
            client.refusals = 0 if client.weight.used == weight else client.refusals
            return used
        client.refusals += 1
        if client.refusals > BAN_AFTER_REFUSALS:
            client.banned_until_ms = now_ms + 1000 * BANS_SECS[min(client.bans, len(BANS_SECS) - 1)]
            client.bans, client.refusals = client.bans + 1, 0
            raise _banned(address, client.banned_until_ms)
        raise refuse(-1003, self.limits.weight_a_minute)

    def count_orders(self, account: str, orders: int, now_ms: int) -> None:
        """Count new orders of an account; -1015 with 429 beyond a limit (the refused ones count too)."""
        windows = self._account(account)
        long = windows.long.add(orders, now_ms)
        ten_seconds = windows.ten_seconds.add(orders, now_ms)
        if ten_seconds > self.limits.orders_in_ten_seconds:
            raise refuse(-1015, self.limits.orders_in_ten_seconds, "10 SECOND")
        if long > self.limits.orders_at_length:
            raise refuse(-1015, self.limits.orders_at_length, f"1 {self.limits.long_interval}")

    def headers(self, address: str, account: str | None, now_ms: int) -> dict[str, str]:
        """The headers of an answer; with the account's order counts when `account` is given."""
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._client(address).weight.add(0, now_ms))}
        if account is not None:
            windows = self._account(account)
            headers["X-MBX-ORDER-COUNT-10S"] = str(windows.ten_seconds.add(0, now_ms))
            name = f"X-MBX-ORDER-COUNT-1{self.limits.long_interval[0]}"
            headers[name] = str(windows.long.add(0, now_ms))
        return headers

    def counts(self, address: str, account: str | None, now_ms: int) -> list[dict[str, Any]]:
        """The `rateLimits` of a WebSocket API answer: each limit with what is used of it."""
        limits = self.limits
        weight = _limit("REQUEST_WEIGHT", "MINUTE", 1, limits.weight_a_minute)
        weight["count"] = self._client(address).weight.add(0, now_ms)
        if account is None:
            return [weight]
        windows = self._account(account)
        return [
            _limit("ORDERS", "SECOND", 10, limits.orders_in_ten_seconds)
            | {"count": windows.ten_seconds.add(0, now_ms)},
            _limit("ORDERS", limits.long_interval, 1, limits.orders_at_length)
            | {"count": windows.long.add(0, now_ms)},
            weight,
        ]

    def retry_after_secs(self, address: str, account: str | None, now_ms: int) -> int:
        """How long a refused client should wait: to the end of the ban, or of the window it filled."""
        client = self._client(address)
        if now_ms < client.banned_until_ms:
            return -((now_ms - client.banned_until_ms) // 1000)
        if client.weight.add(0, now_ms) > self.limits.weight_a_minute or account is None:
            return client.weight.left_secs(now_ms)
        windows = self._account(account)
        if windows.ten_seconds.add(0, now_ms) > self.limits.orders_in_ten_seconds:
            return windows.ten_seconds.left_secs(now_ms)
        return windows.long.left_secs(now_ms)

    def _client(self, address: str) -> _Client:
        return self._clients.setdefault(address, _Client(_Window(MINUTE_MS)))

    def _account(self, account: str) -> _Orders:
        length_ms = MINUTE_MS if self.limits.orders_a_day is None else DAY_MS
        return self._orders.setdefault(account, _Orders(_Window(length_ms), _Window(TEN_SECONDS_MS)))


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _banned(address: str, until_ms: int) -> VenueError:
    return VenueError(
        -1003,
        f"Way too many requests; IP({address}) banned until {until_ms}. Please use the websocket for live "
        "updates to avoid bans.",
        418,
    )
