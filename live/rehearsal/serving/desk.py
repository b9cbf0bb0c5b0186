"""What the request handlers share: the venue with everything around it that is not trading.

Handlers are plain functions of a desk, the account that asks, and the parameters; they return the answer as
JSON values or raise `VenueError`. The REST server and the WebSocket API call the same ones.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from live.rehearsal.errors import refuse
from live.rehearsal.ports import Clock, Exchange
from live.rehearsal.record import MarketRecord
from live.rehearsal.serving.limits import RateLimiter
from live.rehearsal.serving.wire import Params
from live.rehearsal.specs import SymbolSpec

__all__ = ["Desk", "Endpoint", "ListenKeys", "Security"]

LISTEN_KEY_MS = 60 * 60_000
Json = Any
Handler = Callable[["Desk[Any]", str, Params], Json]
Weight = int | Callable[[Mapping[str, str]], int]


class Security(Enum):
    """What an endpoint asks of the client."""

    NONE = "none"
    KEY = "key"
    READ = "read"
    TRADE = "trade"


class Endpoint(NamedTuple):
    """One method and path: who may call it, what it weighs, how many orders it counts as, and its handler."""

    method: str
    path: str
    security: Security
    handler: Handler
    weight: Weight = 1
    orders: Weight = 0


class ListenKeys:
    """The listen keys of the accounts: one each, an hour from the last sign of life."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, int]] = {}

    def issue(self, account: str, now_ms: int) -> str:
        """The account's key, made or made last longer."""
        held = self._keys.get(account)
        key = held[0] if held is not None and now_ms < held[1] else secrets.token_hex(32)
        self._keys[account] = (key, now_ms + LISTEN_KEY_MS)
        return key

    def renew(self, account: str, now_ms: int) -> str:
        """Make the account's key last longer; -1125 when it has none."""
        held = self._keys.get(account)
        if held is None or now_ms >= held[1]:
            raise refuse(-1125)
        self._keys[account] = (held[0], now_ms + LISTEN_KEY_MS)
        return held[0]

    def close(self, account: str) -> str | None:
        """Forget the account's key; the key it had."""
        held = self._keys.pop(account, None)
        return None if held is None else held[0]

    def account_of(self, key: str, now_ms: int) -> str | None:
        """Whose key it is; None when it is nobody's or has expired."""
        return next((a for a, held in self._keys.items() if held[0] == key and now_ms < held[1]), None)

    def expired(self, now_ms: int) -> list[tuple[str, str]]:
        """(account, key) of the keys that have just expired; they are forgotten."""
        gone = [(account, held[0]) for account, held in self._keys.items() if now_ms >= held[1]]
        for account, _ in gone:
            del self._keys[account]
        return gone


@dataclass(slots=True)
class Desk[V: Exchange]:
    """The venue, its market's history, its clock and limits, listen keys and dead-man's switches.

    `countdowns` holds, by account and symbol, the server time at which all open orders are cancelled.
    `strict` refuses parameters that nobody read (-1104), as the real venue does on spot; without it they are
    overlooked. `withdrawing` are the accounts whose keys report permission to withdraw.
    """

    venue: V
    clock: Clock
    record: MarketRecord
    limiter: RateLimiter
    listen_keys: ListenKeys = field(default_factory=ListenKeys)
    countdowns: dict[tuple[str, str], int] = field(default_factory=dict)
    withdrawing: set[str] = field(default_factory=set)
    strict: bool = True

    def spec(self, symbol: str) -> SymbolSpec:
        """A symbol's rules; -1121 for one that is not traded here."""
        spec = self.venue.specs.get(symbol)
        if spec is None:
            raise refuse(-1121)
        return spec

    def asked_spec(self, params: Params) -> SymbolSpec:
        """The rules of the mandatory symbol."""
        return self.spec(params.symbol())

    def asked_symbols(self, params: Params) -> list[SymbolSpec]:
        """The rules of the symbol asked for, or all."""
        symbol = params.text("symbol")
        return list(self.venue.specs.values()) if symbol is None else [self.spec(symbol)]

    def run(self, handler: Handler, account: str, values: Mapping[str, str]) -> Json:
        """A handler's answer; -1104 when it left parameters unread (handlers that act check before)."""
        self.venue.set_time(self.clock.now_ms())
        params = Params(values, strict=self.strict)
        answer = handler(self, account, params)
        params.finish()
        return answer
