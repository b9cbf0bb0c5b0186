"""What is left of one scenario: everything the venue saw, and everything the node wrote down.

The invariants judge nothing else. Times ending in `_ns` are wall-clock nanoseconds since 1970, UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from live.rehearsal.campaign.scenario import Scenario
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "Bare",
    "Commanded",
    "Evidence",
    "FaultSpan",
    "KillDone",
    "Life",
    "Mark",
    "Moment",
    "NodeView",
    "Request",
    "Told",
    "Violation",
]


class Moment(NamedTuple):
    """One symbol at the venue after a change of its position or its orders.

    `what` names the change: the request's path, or the event's type and status. `position` is signed. Entry
    orders are open ones that may make a position larger; `orders_open` counts all, conditional ones included.
    `stop_covers`: conditional stops that work at the venue close the whole position (true without one).
    On spot a position is the whole lots of the coins, free and locked, zero for what cannot be sold.
    `entry_price` is zero without a position, `mark` is zero before there is one. `targets` is what open
    reduce-only limits may still close; `isolated` whether the position has a margin of its own.
    """

    wall_ns: int
    market_ms: int
    what: str
    symbol: str
    position: Decimal
    entry_orders_open: int
    stop_covers: bool
    orders_open: int
    mark: Decimal
    entry_price: Decimal
    targets: Decimal = Decimal(0)
    isolated: bool = False


class Mark(NamedTuple):
    """The mark price of a symbol at a time, and what time it was in the market."""

    wall_ns: int
    market_ms: int
    symbol: str
    price: Decimal


class Told(NamedTuple):
    """A request to the sentiment index was answered, well or not."""

    wall_ns: int
    well: bool


class Commanded(NamedTuple):
    """An operator's command was sent; `done_ns` is when its answer was read that it is carried out."""

    name: str
    asked_ns: int
    done_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One process of the node.

    `ready_ns` is when it had subscribed to its market and was trading, None when it never was. `ended_by` is
    `kill` (by a kill point), `end` (the scenario's ending), `itself`, or `harness` (it did not end in time).
    `exit_code` is negative for a signal. `outcome` is what it said last: flat, protected or unsettled.
    """

    started_ns: int
    ready_ns: int | None
    ended_ns: int
    ended_by: str
    exit_code: int | None
    outcome: str | None


class KillDone(NamedTuple):
    """A kill point that came about."""

    step: str
    at_ns: int


class FaultSpan(NamedTuple):
    """From the first thing that a fault spoiled, or its beginning where it lasts, to its last or its end.

    `hits` counts what it did, `name` is its class and a number. A fault that never met anything has no span;
    the scenario's moves of the price are no faults.
    """

    kind: str
    begun_ns: int
    ended_ns: int
    hits: int = 1
    name: str = ""


class Request(NamedTuple):
    """A request that reached the venue, and its answer.

    `method` is GET, POST, PUT, DELETE, or WS with the API method as `path`. `status` is the HTTP status, and
    `code` the venue's error code (0: carried out). Both are None when the request was never looked at.
    `faulted`: a fault spoiled the request or its answer, so the client may have been told something else.
    `message` is the venue's text of an error.
    """

    wall_ns: int
    method: str
    path: str
    params: Mapping[str, str]
    status: int | None
    code: int | None
    faulted: bool = False
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What the node believed when it last wrote its books (audit kind `node`, what `books`).

    By instrument, such as BTCUSDT-PERP.BINANCE. None (empty) when it never wrote any. `state` has the state
    folder's JSON files by name, each decoded, or a string that says why it cannot be.
    """

    wall_ns: int | None = None
    positions: Mapping[str, Decimal] = field(default_factory=dict)
    open_orders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    balance: Decimal | None = None
    commissions: Mapping[str, Decimal] = field(default_factory=dict)
    realized: Mapping[str, Decimal] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A scenario that was played.

    `ledger` is the account of `live.rehearsal.control.ledger` at the end, after settling, when the last life
    had ended or, if the ending is a kill, after one more start that ended with a signal. `audit` has every
    readable line in the order of the files; `audit_unreadable` counts the others. `settled` is whether the
    node came to rest within the time allowed after all faults were taken back: holding with a stop and
    nothing else open but targets, or flat with nothing open. On spot the ledger is that of
    `spot_evidence.spot_ledger_of`, and `trade_walls` has when each trade was told (ns), by trade id.
    `forecasts` is what the scenario's model says offline of the venue's bars: by symbol and close (ns UTC).
    `marks` are looked at many times a second, `told` are the answers of the sentiment index, whose second
    value counts from `mood_due_ms` on (the market's time). `commands` are the operator's, in their order.
    """

    scenario: Scenario
    specs: Mapping[str, SymbolSpec]
    lives: tuple[Life, ...]
    kills: tuple[KillDone, ...]
    moments: tuple[Moment, ...]
    faults: tuple[FaultSpan, ...]
    faults_cleared_ns: int
    ended_ns: int
    settled: bool
    ledger: Mapping[str, Any]
    requests: tuple[Request, ...]
    audit: tuple[Mapping[str, Any], ...]
    audit_unreadable: int
    node_view: NodeView
    trade_walls: Mapping[int, int] = field(default_factory=dict)
    forecasts: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    told: tuple[Told, ...] = ()
    mood_due_ms: int = 0
    commands: tuple[Commanded, ...] = ()


class Violation(NamedTuple):
    """An invariant that did not hold, what was seen, and when (0: not at one moment)."""

    invariant: str
    detail: str
    at_ns: int = 0


class Bare(NamedTuple):
    """A time in which a position had no stop at the venue for all of it.

    `fault_kinds` are those of the faults at work at some moment of it, or shortly before; `had_kill` says
    whether no node was alive, or one was starting, at some moment of it.
    """

    symbol: str
    begun_ns: int
    secs: float
    fault_kinds: tuple[str, ...]
    had_kill: bool
