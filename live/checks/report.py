"""What preflight checks are made of: a row each, the context they share, and the report."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from rich.console import Console
from rich.table import Table

from actors.forecaster import ForecastSpec
from catalog.instruments import symbol_of
from configs.errors import RunFailedError
from configs.schema import RunConfig
from live.outside import Outside
from live.paper import paper_balance
from live.venue.answers import (
    ZERO,
    AccountConfig,
    AlgoOrder,
    AssetBalance,
    Balances,
    ExchangeInfo,
    Kline,
    OpenOrder,
    Position,
    SymbolConfig,
    SymbolRules,
)
from live.venue.client import VenueClient
from live.venues import VenueKind

__all__ = ["Context", "Remembered", "Report", "Row", "Setup", "failed", "ok", "warned"]

Outcome = Literal["ok", "warned", "failed"]
_COLOURS = {"ok": "green", "warned": "yellow", "failed": "red"}
_PAGE = 1500


class Row(NamedTuple):
    """One check: what was found, and how to mend it ("" where there is nothing to mend)."""

    check: str
    outcome: Outcome
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Row:
    """Nothing to mend."""
    return Row(check, "ok", found)


def warned(check: str, found: str, advice: str) -> Row:
    """Something to know; the node may start."""
    return Row(check, "warned", found, advice)


def failed(check: str, found: str, advice: str) -> Row:
    """The node must not start."""
    return Row(check, "failed", found, advice)


class Report(NamedTuple):
    """The rows in the order of the checks."""

    rows: tuple[Row, ...]

    @property
    def may_start(self) -> bool:
        """Whether nothing failed."""
        return all(row.outcome != "failed" for row in self.rows)

    def row(self, check: str) -> Row:
        """The row of a check; KeyError for one that was not made."""
        found = next((row for row in self.rows if row.check == check), None)
        if found is None:
            raise KeyError(check)
        return found

    @property
    def failures(self) -> tuple[str, ...]:
        """The checks that failed."""
        return tuple(row.check for row in self.rows if row.outcome == "failed")

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {"may_start": self.may_start, "checks": [row._asdict() for row in self.rows]}

    def print(self, file: TextIO) -> None:
        """The table, without colours where `file` is no terminal."""
        table = Table(title="Preflight", title_justify="left")
        for title in ("check", "outcome", "found", "how to mend it"):
            table.add_column(title, overflow="fold")
        for row in self.rows:
            table.add_row(row.check, f"[{_COLOURS[row.outcome]}]{row.outcome}[/]", *map(_plain, row[2:]))
        console = Console(file=file)
        if not console.is_terminal:
            console = Console(file=file, width=160)
        console.print(table)


class Remembered(NamedTuple):
    """A position that the state knows, or an entry under way: +1 long, -1 short.

    `most` is the largest amount, unsigned, that it may have become unheard (None: not known), `since_ns` when
    its entry was decided (ns UTC, 0: not known).
    """

    side: int
    most: Decimal | None = None
    since_ns: int = 0

    def explains(self, amount: Decimal) -> bool:
        """Whether a position of a signed amount is that one."""
        return amount * self.side > 0 and (self.most is None or abs(amount) <= self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A node about to start.

    `folder` is its state folder, `specs` finds what is computed of each instrument's bars (models loaded,
    InputError when that fails), `history_bars` how many closed bars a start fetches. `adopt` takes over
    positions and orders that the state does not know, `apply` sets leverage and margin type at the venue.
    `may_trade` False: the node only looks on, so not even a test order is sent.
    `holds_lock` is True when the caller itself holds the state folder's lock. `expected` are positions that
    the state knows, by symbol; others are known by the names of the orders that made them.
    `outside` is the index that they look at, None where the node has it already.
    For `patience_secs` in all, checks that fail on an error which may pass are made again.
    """

    run: RunConfig
    kind: VenueKind
    folder: Path
    specs: Callable[[], Mapping[str, ForecastSpec]]
    history_bars: Callable[[Mapping[str, ForecastSpec]], int]
    outside: Outside | None = None
    adopt: bool = False
    apply: bool = False
    holds_lock: bool = False
    may_trade: bool = True
    expected: Mapping[str, Remembered] = field(default_factory=dict)
    patience_secs: float = 0.0


class Context:
    """What the checks share: the set-up, the client, and each of the venue's answers, asked for once."""

    def __init__(self, setup: Setup, client: VenueClient) -> None:
        self.setup = setup
        self.run = setup.run
        self.tolerances = setup.run.live.tolerances
        self.client = client
        self.symbols = tuple(symbol_of(name) for name in setup.run.instruments)
        self._histories: dict[tuple[str, int], list[Kline]] = {}

    @property
    def is_paper(self) -> bool:
        """Whether nothing is asked of an account."""
        return self.setup.kind is VenueKind.PAPER

    @functools.cached_property
    def specs(self) -> Mapping[str, ForecastSpec]:
        """What is computed of each instrument's bars."""
        return self.setup.specs()

    @functools.cached_property
    def info(self) -> ExchangeInfo:
        """The rules of every symbol."""
        return self.client.exchange_info()

    @functools.cached_property
    def account(self) -> AccountConfig:
        """Permissions and modes."""
        return self.client.account_config()

    @functools.cached_property
    def balances(self) -> Balances:
        """The margin assets; the sandbox's own for paper."""
        if self.is_paper:
            total = paper_balance(self.run, self.setup.folder)
            names = {self.rules(symbol).margin_asset for symbol in self.symbols}
            return Balances(tuple(AssetBalance(n, total, total, total, ZERO, ZERO) for n in sorted(names)))
        return self.client.balances()

    @functools.cached_property
    def positions(self) -> Sequence[Position]:
        """Those that are not flat, of all symbols."""
        return self.client.positions()

    @functools.cached_property
    def orders(self) -> Sequence[OpenOrder]:
        """In the book, of all symbols."""
        return self.client.open_orders()

    @functools.cached_property
    def algo_orders(self) -> Sequence[AlgoOrder]:
        """Waiting for their trigger, of all symbols."""
        return self.client.open_algo_orders()

    @functools.cached_property
    def settings(self) -> dict[str, SymbolConfig]:
        """Leverage and margin type of the run's symbols."""
        return {symbol: self.client.symbol_config(symbol) for symbol in self.symbols}

    def reread_settings(self) -> None:
        """Ask for the settings anew, after they were changed."""
        self.__dict__.pop("settings", None)

    def rules(self, symbol: str) -> SymbolRules:
        """A symbol's rules; RunFailedError when the venue does not list it."""
        found = self.info.symbols.get(symbol)
        if found is None:
            raise RunFailedError(f"the venue does not list {symbol}")
        return found

    def history(self, symbol: str, count: int) -> list[Kline]:
        """The last `count` closed bars, oldest first; fewer where the venue has no more."""
        if (symbol, count) not in self._histories:
            self._histories[symbol, count] = self._fetch(symbol, count)
        return self._histories[symbol, count]

    def _fetch(self, symbol: str, count: int) -> list[Kline]:
        bars: list[Kline] = []
        end_ms = None
        while len(bars) <= count:
            limit = min(_PAGE, count + 1 - len(bars))
            page = self.client.klines(symbol, self.run.data.bar, end_ms=end_ms, limit=limit)
            bars = page + bars
            if len(page) < limit or (end_ms is not None and page[-1].open_ms > end_ms):
                break
            end_ms = page[0].open_ms - 1
        return bars[:-1][-count:] if count else []  # the newest is under way


def _plain(text: str) -> str:
    """Text in which rich finds no markup."""
    return text.replace("[", "\\[")
