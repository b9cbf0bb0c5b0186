"""Readings of the evidence that several invariants need: orders by their purpose, spans, episodes.

Nothing in here judges. What an order is for is read from its id, not asked of the node.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from live.rehearsal.campaign.evidence import Evidence, Moment
from live.rehearsal.campaign.money import Fill
from live.rehearsal.campaign.steps import own_id
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "SECOND_NS",
    "Episode",
    "Span",
    "VenueOrder",
    "class_spans",
    "covered_by",
    "dead_spans",
    "details",
    "episodes",
    "episodes_of",
    "fault_spans",
    "fill_walls",
    "fills_of",
    "has_forgotten",
    "instrument_symbol",
    "is_near_kill",
    "kill_times",
    "least_worth",
    "opening_orders",
    "overlap_ns",
    "records",
    "sent_at",
    "state_at",
    "states",
    "venue_orders",
]

SECOND_NS = 1_000_000_000
_ID_FIELDS = ("newClientOrderId", "clientAlgoId", "aboveClientOrderId", "belowClientOrderId")
_LEAST = Decimal("1.05")  # of what the venue takes: a node reckons at its stop, which is lower
_ROLE = re.compile(r".*-\d+([EASBTX])(\d+)")
_NAMES = {"E": "entry", "A": "add", "S": "stop", "B": "bridge", "T": "target", "X": "exit"}


class Span(NamedTuple):
    """A time from begin to end, both of the wall clock (ns)."""

    begun_ns: int
    ended_ns: int


class VenueOrder(NamedTuple):
    """An order or a conditional order of the ledger. `role` is empty for one that the node did not name.

    `trigger` is zero for an order without one, `price` zero for one at the market; `algo` says which of the
    two lists it is from, `set_off` that a conditional order brought it about.
    """

    number: int
    client_id: str
    role: str
    rung: int
    symbol: str
    side: str
    type: str
    quantity: Decimal
    executed: Decimal
    quote_filled: Decimal
    price: Decimal
    trigger: Decimal
    status: str
    created_ms: int
    updated_ms: int
    closes: bool
    algo: bool
    set_off: bool
    forced: bool


class Episode(NamedTuple):
    """A position from flat to flat, in market time; `ended_ms` is None for the one still open.

    `first` and `last` are the trade ids of its first and of its last fill.
    """

    symbol: str
    side: int
    begun_ms: int
    ended_ms: int | None
    first: int
    last: int

    def has(self, ts_ms: int) -> bool:
        """Whether it was open at a time."""
        return self.begun_ms <= ts_ms and (self.ended_ms is None or ts_ms <= self.ended_ms)


def has_forgotten(evidence: Evidence) -> bool:
    """Whether the venue itself lost its memory: then its ledger begins anew in the middle."""
    return any(fault.values.get("memory") is False for fault in evidence.scenario.faults)


# -- orders --------------------------------------------------------------------------------------------------


def venue_orders(evidence: Evidence) -> list[VenueOrder]:
    """Every order that the venue took, in the order of their times."""
    ledger = evidence.ledger
    found = [_order(row) for row in ledger["orders"]] + [_algo(row) for row in ledger["algo_orders"]]
    return sorted(found, key=lambda order: (order.created_ms, order.number))


def opening_orders(evidence: Evidence) -> list[VenueOrder]:
    """The entries and additions that the venue took."""
    return [order for order in venue_orders(evidence) if order.role in ("entry", "add")]


def _order(row: Mapping[str, Any]) -> VenueOrder:
    return VenueOrder(
        **_stated(row, row["client_order_id"]),
        number=int(row["order_id"]),
        executed=Decimal(row["executed"]),
        quote_filled=Decimal(row["quote_filled"]),
        trigger=Decimal(row["stop_price"]),
        algo=False,
        set_off=bool(row["algo_id"]),
        forced=bool(row["forced"]),
    )


def _algo(row: Mapping[str, Any]) -> VenueOrder:
    executed = Decimal(row["actual_quantity"])
    return VenueOrder(
        **_stated(row, row["client_algo_id"]),
        number=int(row["algo_id"]),
        executed=executed,
        quote_filled=executed * Decimal(row["actual_price"]),
        trigger=Decimal(row["trigger_price"]),
        algo=True,
        set_off=False,
        forced=False,
    )


def _stated(row: Mapping[str, Any], told_id: str) -> dict[str, Any]:
    """What both kinds of order say in the same words."""
    client_id = own_id(told_id)
    role, rung = _role(client_id)
    return {
        "client_id": client_id,
        "role": role,
        "rung": rung,
        "symbol": row["symbol"],
        "side": row["side"],
        "type": row["type"],
        "quantity": Decimal(row["quantity"]),
        "price": Decimal(row["price"]),
        "status": row["status"],
        "created_ms": int(row["created_ms"]),
        "updated_ms": int(row["updated_ms"]),
        "closes": bool(row["reduce_only"] or row["close_position"]),
    }


def _role(client_id: str) -> tuple[str, int]:
    match = _ROLE.fullmatch(client_id)
    return ("", 0) if match is None else (_NAMES[match[1]], int(match[2]))


def sent_at(evidence: Evidence) -> dict[str, int]:
    """When the first request with a client id reached the venue (ns), by client id."""
    times: dict[str, int] = {}
    for request in evidence.requests:
        named = [request.params[name] for name in _ID_FIELDS if request.params.get(name)]
        for client_id in named if request.method in ("POST", "WS") else ():
            times.setdefault(own_id(client_id), request.wall_ns)
    return times


def instrument_symbol(instrument: str) -> str:
    """The venue's symbol of an instrument id.

    >>> instrument_symbol("BTCUSDT-PERP.BINANCE")
    'BTCUSDT'
    """
    return instrument.split(".", maxsplit=1)[0].removesuffix("-PERP")


# -- fills and positions -------------------------------------------------------------------------------------


def fills_of(evidence: Evidence) -> list[Fill]:
    """The venue's fills in their order."""
    fills = [Fill.from_ledger(row) for row in evidence.ledger["fills"]]
    return sorted(fills, key=lambda fill: fill.trade_id)


def episodes_of(evidence: Evidence) -> list[Episode]:
    """The positions that a scenario's fills made; on spot what cannot be sold is none."""
    if evidence.scenario.kind == "um":
        return episodes(fills_of(evidence))
    return episodes(fills_of(evidence), {name: least_worth(spec) for name, spec in evidence.specs.items()})


def least_worth(spec: SymbolSpec) -> Decimal:
    """What coins are worth that can be sold at all, in quote currency; anything below is dust."""
    return spec.min_notional * _LEAST


def episodes(fills: Iterable[Fill], least: Mapping[str, Decimal] | None = None) -> list[Episode]:
    """The positions from flat to flat; a fill beyond zero ends one and begins the next.

    What is worth no more than `least` of its symbol (quote currency; nothing by default) counts as flat.
    """
    held: dict[str, Decimal] = {}
    under_way: dict[str, Episode] = {}
    done = []
    for fill in fills:
        before = held.get(fill.symbol, Decimal(0))
        after = held[fill.symbol] = before + fill.signed
        is_flat = abs(after) * fill.price <= (least or {}).get(fill.symbol, Decimal(0))
        is_through = before * after < 0
        if fill.symbol in under_way and (is_flat or is_through):
            done.append(under_way.pop(fill.symbol)._replace(ended_ms=fill.ts_ms, last=fill.trade_id))
        if not is_flat and fill.symbol not in under_way:
            side, number = 1 if after > 0 else -1, fill.trade_id
            under_way[fill.symbol] = Episode(fill.symbol, side, fill.ts_ms, None, number, number)
    return sorted([*done, *under_way.values()], key=lambda episode: episode.begun_ms)


def states(evidence: Evidence) -> dict[str, list[Moment]]:
    """The moments of each symbol in the order of their times."""
    found: dict[str, list[Moment]] = {}
    for moment in sorted(evidence.moments, key=lambda moment: moment.wall_ns):
        found.setdefault(moment.symbol, []).append(moment)
    return found


def state_at(moments: list[Moment], wall_ns: int) -> Moment | None:
    """The state in force at a time; None before the first."""
    index = bisect_right(moments, wall_ns, key=lambda moment: moment.wall_ns)
    return moments[index - 1] if index else None


def fill_walls(evidence: Evidence) -> dict[int, int]:
    """When each fill was seen at the venue (ns), by trade id: at the moment whose position it explains.

    The market's time runs apart from the wall clock's, so it cannot tell. A fill that no moment explains, of
    before the venue lost its memory, is not there.
    """
    if evidence.trade_walls:
        return dict(evidence.trade_walls)
    walls: dict[int, int] = {}
    moments = states(evidence)
    for symbol in moments:
        fills = [fill for fill in fills_of(evidence) if fill.symbol == symbol]
        held, levels = Decimal(0), []
        for fill in fills:
            held += fill.signed
            levels.append(held)
        begun, before = 0, Decimal(0)
        for moment in moments[symbol]:
            if moment.position != before and moment.position in levels[begun:]:
                ended = levels.index(moment.position, begun) + 1
                walls |= dict.fromkeys((fill.trade_id for fill in fills[begun:ended]), moment.wall_ns)
                begun = ended
            before = moment.position
    return walls


# -- spans ---------------------------------------------------------------------------------------------------


def kill_times(evidence: Evidence) -> list[int]:
    """When lives ended by a kill (ns)."""
    return [kill.at_ns for kill in evidence.kills] + [
        life.ended_ns for life in evidence.lives if life.ended_by == "kill"
    ]


def is_near_kill(evidence: Evidence, wall_ns: int, within_ns: int) -> bool:
    """Whether a life was killed within a time after `wall_ns`."""
    return any(
        wall_ns <= at_ns + SECOND_NS // 10 and at_ns <= wall_ns + within_ns for at_ns in kill_times(evidence)
    )


def dead_spans(evidence: Evidence, grace_ns: int = 0) -> list[Span]:
    """When no node traded: from a life's end until the next is ready and `grace_ns` after that."""
    spans = []
    for index, life in enumerate(evidence.lives):
        begun = min(
            [life.ended_ns, *(k.at_ns for k in evidence.kills if life.started_ns <= k.at_ns <= life.ended_ns)]
        )
        ready = [
            later.ready_ns + grace_ns for later in evidence.lives[index + 1 :] if later.ready_ns is not None
        ]
        spans.append(Span(begun, ready[0] if ready else evidence.ended_ns))
    return spans


def fault_spans(evidence: Evidence, grace_ns: int = 0) -> list[tuple[str, Span]]:
    """The kinds of faults with when they were at work, and `grace_ns` after that."""
    return [(fault.kind, Span(fault.begun_ns, fault.ended_ns + grace_ns)) for fault in evidence.faults]


def class_spans(evidence: Evidence, grace_ns: int = 0) -> list[tuple[str, Span]]:
    """The same by the class that a fault was made for, which its name begins with, instead of its kind."""
    return [
        (fault.name.rpartition("-")[0] or fault.kind, span)
        for fault, (_, span) in zip(evidence.faults, fault_spans(evidence, grace_ns), strict=True)
    ]


def overlap_ns(span: Span, others: Iterable[Span]) -> int:
    """How much of a span lies within any of the others."""
    total, reached = 0, span.begun_ns
    for other in sorted(others):
        begun, ended = max(other.begun_ns, reached), min(other.ended_ns, span.ended_ns)
        if ended > begun:
            total += ended - begun
            reached = ended
    return total


def covered_by(at_ns: int, spans: Iterable[Span]) -> bool:
    """Whether a time lies within any of the spans."""
    return any(span.begun_ns <= at_ns <= span.ended_ns for span in spans)


# -- the audit stream ----------------------------------------------------------------------------------------


def records(evidence: Evidence, kind: str) -> Iterator[Mapping[str, Any]]:
    """The audit records of a kind, in order."""
    return (record for record in evidence.audit if record.get("kind") == kind)


def details(
    evidence: Evidence, kind: str, **values: Any
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(record, detail) of a kind whose detail has these values."""
    for record in records(evidence, kind):
        detail = record["detail"]
        if all(detail.get(name) == value for name, value in values.items()):
            yield record, detail
