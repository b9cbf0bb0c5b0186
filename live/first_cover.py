"""A stop for a position of ours that has none, before a start takes long.

A node that was killed between a fill and its stop leaves a position bare, and a start takes seconds:
libraries, preflight, history, the engine's connection. This asks the venue with the independent client as
soon as the state folder is locked, and again between the parts of the start; it needs no library that loads
long. Only what the state remembers is covered, at the level that it remembers, by a closing stop with a name
as the strategy itself would give it: the strategy finds it as its own, keeps or moves it, and the sweeper
knows it. What the venue refuses is left to the strategy's start. Each stop is in the audit stream before it
is sent, so no kill and no lost answer makes it a stranger there.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from actors.state_file import StateFile
from catalog.instruments import symbol_of
from configs.console import out_line
from configs.errors import DataError
from configs.schema import RunConfig
from live.operate.roster import trade_path
from live.record.audit_file import EarlyLines
from live.venue.answers import Position
from live.venue.client import Address, ClientLimits, VenueClient
from live.venue.errors import VenueRequestError
from live.venue.stop_cover import cover_of

__all__ = ["FirstCover"]

_LIMITS = ClientLimits(read_secs=2.0, request_secs=3.0, tries=2)  # the next look is soon
_MARK = "x-aHRE4BCj-R"  # the adapter's, before every name: without it the engine could not cancel the stop
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class _Plan(msgspec.Struct, array_like=True):
    """The beginning of `strategies.trade.PlanState`, whose module takes long to load."""

    side: int
    entry_ticks: int
    stop_ticks: int


class _Approved(msgspec.Struct, array_like=True):
    """The beginning of `strategies.values.Approved`."""

    side: int
    quantity: float
    stop_distance: float


class _Trade(msgspec.Struct):
    plan: _Plan


class _Pending(msgspec.Struct):
    approved: _Approved


class _Memory(msgspec.Struct):
    """What is needed here of `strategies.memory.TradeMemory`."""

    trade: _Trade | None = None
    pending: _Pending | None = None
    tick_size: float = 0.0


class _Remembered(NamedTuple):
    """A trade, or an entry under way: whose by order tag, and where its stop belongs."""

    tag: str
    instrument: str
    memory: _Memory

    @property
    def symbol(self) -> str:
        """As the venue calls it."""
        return symbol_of(self.instrument)

    def level(self, position: Position) -> Decimal | None:
        """The stop's price for the position that was found; None when it is not of this trade."""
        memory, side = self.memory, 1 if position.amount > 0 else -1
        tick = Decimal(str(memory.tick_size))
        if memory.trade is not None and memory.trade.plan.side == side:
            return memory.trade.plan.stop_ticks * tick
        if memory.pending is None or memory.pending.approved.side != side:
            return None
        distance = memory.pending.approved.stop_distance
        price = float(position.entry_price) * (1.0 - side * distance)
        return max(1, math.floor(price / memory.tick_size + 0.5)) * tick


class FirstCover:
    """Looks whether what a run's strategies remember is covered; a context manager.

    Without a trade in the state's memory, or without a `venue`, nothing is asked and `look` returns at once.
    """

    def __init__(self, run: RunConfig, venue: Address | None, folder: Path) -> None:
        self._put: Callable[[dict[str, Any]], None] = EarlyLines(folder / "audit").put
        self._remembered = () if venue is None else tuple(_remembered(run, folder))
        self._client = VenueClient.of(venue, _LIMITS) if venue is not None and self._remembered else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()

    def look(self) -> None:
        """Cover what is bare. Raises nothing for what the venue does: whoever goes on asks it again."""
        if self._client is None:
            return
        with suppress(VenueRequestError):
            held = {p.symbol: p for p in self._client.positions() if p.side == "BOTH"}
            for trade in self._remembered:
                if trade.symbol in held:
                    with suppress(VenueRequestError):
                        self._cover(self._client, trade, held[trade.symbol])

    def tell_to(self, put: Callable[[dict[str, Any]], None]) -> None:
        """From now on the audit stream has a writer, which takes a line's values."""
        self._put = put

    def _cover(self, client: VenueClient, trade: _Remembered, position: Position) -> None:
        level = trade.level(position)
        if level is None:
            return
        cover = cover_of(position, client.open_algo_orders(trade.symbol))
        if cover.is_whole:
            return
        name = _name(trade.tag)
        self._note(trade, action="first_stop", orders={name: "stop"}, price=float(level))
        try:
            client.place_close_stop(trade.symbol, position.exit_side, level, f"{_MARK}{name}")
        except VenueRequestError as error:
            self._note(trade, action="first_stop_failed", order=name, reason=str(error))
            raise
        text = f"{trade.symbol}: {cover.text}: a stop placed at {level:f} before the start goes on"
        out_line(text)

    def _note(self, trade: _Remembered, **detail: Any) -> None:
        line = {"ts": time.time_ns(), "component": "first_cover", "instrument": trade.instrument}
        with suppress(OSError):  # protection does not wait for a disk
            self._put({**line, "kind": "action", "detail": detail})


def _remembered(run: RunConfig, folder: Path) -> Iterator[_Remembered]:
    for index, strategy in enumerate(run.strategies):
        try:
            memory = StateFile(trade_path(folder, strategy.label), _Memory).read()
        except DataError:  # the start will refuse it; the others' positions have no part in that
            continue
        if memory is None or memory.tick_size <= 0.0 or (memory.trade is None and memory.pending is None):
            continue
        yield _Remembered(f"{index:02d}", strategy.instrument, memory)


def _name(tag: str) -> str:
    """As `strategies.orders` names a stop, which begins to count at 1: strategy, time, number, role."""
    number, stamp = time.time_ns() // 1_000_000, ""
    while number:
        number, digit = divmod(number, 36)
        stamp = _DIGITS[digit] + stamp
    return f"{tag}-{stamp}-0S0"
