"""How long positions had no stop at the venue, and flat symbols had orders left: measured and judged.

Measured at the venue, on the wall clock, from the change that began it to the change that ended it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from live.rehearsal.campaign.evidence import Bare, Evidence, Moment, Violation
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Span,
    class_spans,
    covered_by,
    dead_spans,
    overlap_ns,
    states,
)

__all__ = [
    "BARE_SECS",
    "FAULT_GRACE_SECS",
    "NEAR_GRACE_SECS",
    "ORPHAN_SECS",
    "RESTART_GRACE_SECS",
    "Orphaned",
    "covered",
    "excuses",
    "no_orphans",
    "orphaned",
    "unprotected",
]

BARE_SECS = 2.0  # the longest that a position may be bare with neither a fault nor a kill to blame
ORPHAN_SECS = 2.0  # the same, of orders left when flat
FAULT_GRACE_SECS = 12.0  # lost events are found again by the engine's checks, some ten seconds later
NEAR_GRACE_SECS = 2.0  # of a fault that hides nothing from the node
_HIDES_NOTHING = frozenset(
    ("stale_quotes", "cross_quotes", "move_mark", "jump_price", "slice_fills", "skew_clock", "halt_symbol")
)
_MARKET_CLASSES = frozenset(
    ("drop_market", "delay_market", "duplicate_market", "reorder_market", "close_market", "duplicate_user")
)
RESTART_GRACE_SECS = 2.0


class Orphaned(NamedTuple):
    """A time in which a flat symbol had orders that were no entries."""

    symbol: str
    begun_ns: int
    secs: float
    orders: int


def unprotected(evidence: Evidence) -> list[Bare]:
    """Every time in which a position had no stop for all of it; one that never ended ends with the evidence.

    A fault is named that was at work within it or up to `FAULT_GRACE_SECS` before it; `had_kill` says that no
    node was trading for some of it, or that one had been for less than `RESTART_GRACE_SECS`.
    """
    faults = class_spans(evidence, round(FAULT_GRACE_SECS * SECOND_NS))
    dead = dead_spans(evidence, round(RESTART_GRACE_SECS * SECOND_NS))
    found = []
    for symbol, moments in states(evidence).items():
        for span in _spans(moments, _is_bare, evidence.ended_ns):
            kinds = {kind for kind, other in faults if _touch(span, other)}
            found.append(
                Bare(
                    symbol,
                    span.begun_ns,
                    _secs(span),
                    tuple(sorted(kinds)),
                    any(_touch(span, other) for other in dead),
                )
            )
    return sorted(found, key=lambda bare: bare.begun_ns)


def orphaned(evidence: Evidence) -> list[Orphaned]:
    """Every time in which a flat symbol had open orders and no entry among them."""
    found = []
    for symbol, moments in states(evidence).items():
        for span in _spans(moments, _is_orphaned, evidence.ended_ns):
            most = max(m.orders_open for m in moments if span.begun_ns <= m.wall_ns <= span.ended_ns)
            found.append(Orphaned(symbol, span.begun_ns, _secs(span), most))
    return sorted(found, key=lambda orphan: orphan.begun_ns)


def covered(evidence: Evidence) -> list[Violation]:
    """No position is bare for more than `BARE_SECS` without fault or kill to blame, and none at the end.

    And on futures a stop that is there is not given up: a position that has not changed is never bare again,
    however shortly.
    """
    found = []
    spans = excuses(evidence)
    for bare in unprotected(evidence):
        span = _span(bare.begun_ns, bare.secs)
        blame = (span.ended_ns - span.begun_ns - overlap_ns(span, spans)) / SECOND_NS
        if blame > BARE_SECS:
            why = f"{', '.join(bare.fault_kinds) or 'no fault'}{', a kill' if bare.had_kill else ''}"
            text = f"{bare.symbol} was bare for {bare.secs:.3f} s, {blame:.3f} s without an excuse ({why})"
            found.append(Violation("covered", text, bare.begun_ns))
    for symbol, moments in states(evidence).items():
        if _is_bare(moments[-1]):
            text = f"{symbol} holds {moments[-1].position} without a stop at the end"
            found.append(Violation("covered", text, moments[-1].wall_ns))
    return [*found, *_given_up(evidence, spans)]


def _given_up(evidence: Evidence, spans: Sequence[Span]) -> Iterator[Violation]:
    if evidence.scenario.kind != "um":  # on spot a list that moves is cancelled first
        return
    for symbol, moments in states(evidence).items():
        for before, now in pairwise(moments):
            is_same = before.position == now.position != 0
            if is_same and before.stop_covers and not now.stop_covers and not covered_by(now.wall_ns, spans):
                text = f"{symbol}: the stop of {now.position} was given up ({now.what})"
                yield Violation("covered", text, now.wall_ns)


def no_orphans(evidence: Evidence) -> list[Violation]:
    """A flat symbol has no orders left longer than `ORPHAN_SECS` without an excuse, and none at the end.

    What a stop leaves behind that fired when no node was alive any more is not the node's to sweep: only the
    orders at the end of a life that said it was flat are.
    """
    found = []
    spans = excuses(evidence)
    for orphan in orphaned(evidence):
        span = _span(orphan.begun_ns, orphan.secs)
        blame = (span.ended_ns - span.begun_ns - overlap_ns(span, spans)) / SECOND_NS
        if blame > ORPHAN_SECS:
            text = f"{orphan.symbol} was flat with {orphan.orders} orders left for {orphan.secs:.3f} s"
            found.append(Violation("no_orphans", text, orphan.begun_ns))
    last = evidence.lives[-1] if evidence.lives else None
    for symbol, moments in states(evidence).items():
        state = moments[-1]
        is_the_nodes = last is not None and state.wall_ns <= last.ended_ns
        if is_the_nodes and not state.position and state.orders_open:
            text = f"{symbol} is flat with {state.orders_open} orders open at the end ({state.what})"
            found.append(Violation("no_orphans", text, state.wall_ns))
    return found


def _is_bare(moment: Moment) -> bool:
    return bool(moment.position) and not moment.stop_covers


def _is_orphaned(moment: Moment) -> bool:
    return not moment.position and moment.orders_open > 0 and not moment.entry_orders_open


def _spans(moments: Sequence[Moment], holds: Callable[[Moment], bool], end_ns: int) -> list[Span]:
    spans, begun = [], None
    for moment in moments:
        if holds(moment):
            begun = moment.wall_ns if begun is None else begun
        elif begun is not None:
            spans.append(Span(begun, moment.wall_ns))
            begun = None
    if begun is not None:
        spans.append(Span(begun, max(begun, end_ns)))
    return spans


def excuses(evidence: Evidence) -> list[Span]:
    """When something was to blame: no node, one just started, a fault at work or what it has hidden.

    What a fault of the market or its data has done is over with it; only what keeps requests, answers or the
    account's own events from the node is found as late as `FAULT_GRACE_SECS`.
    """
    spans = dead_spans(evidence, round(RESTART_GRACE_SECS * SECOND_NS))
    for fault in evidence.faults:
        is_near = fault.kind in _HIDES_NOTHING or fault.name.rpartition("-")[0] in _MARKET_CLASSES
        grace_ns = round((NEAR_GRACE_SECS if is_near else FAULT_GRACE_SECS) * SECOND_NS)
        spans.append(Span(fault.begun_ns, fault.ended_ns + grace_ns))
    return spans


def _touch(one: Span, other: Span) -> bool:
    return one.begun_ns <= other.ended_ns and other.begun_ns <= one.ended_ns


def _span(begun_ns: int, secs: float) -> Span:
    return Span(begun_ns, begun_ns + round(secs * SECOND_NS))


def _secs(span: Span) -> float:
    return (span.ended_ns - span.begun_ns) / SECOND_NS
