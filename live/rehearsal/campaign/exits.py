"""An exit that was decided has to happen: judged at the venue, on the node's own word that it leaves."""

from collections.abc import Iterator

from live.rehearsal.campaign.evidence import Evidence, Violation
from live.rehearsal.campaign.exposure import FAULT_GRACE_SECS, RESTART_GRACE_SECS
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Span,
    dead_spans,
    details,
    instrument_symbol,
    is_near_kill,
    overlap_ns,
    states,
)

__all__ = ["EXIT_SECS", "exits_happen"]

EXIT_SECS = 3.0  # refused once, tried again a second later, by rules that were read anew meanwhile
_EMPTY_BOOK = -1112
_LOST_NS = SECOND_NS  # of what was decided, by a kill


def exits_happen(evidence: Evidence) -> list[Violation]:
    """Nothing but dust is held `EXIT_SECS` after the first word that a position is left at the market.

    Excused is the time in which no node trades, or has only just begun to, and that of a fault with what it
    has hidden (`FAULT_GRACE_SECS`), or of an empty book. New rules of the venue excuse nothing: they are
    known after one refusal. An exit of the last second before a kill may be forgotten.
    """
    found = list[Violation]()
    for symbol, moments in states(evidence).items():
        spans, over_ns = _excuses(evidence, symbol), 0
        for decided_ns in _decided(evidence, symbol):
            if decided_ns < over_ns or is_near_kill(evidence, decided_ns, _LOST_NS):
                continue
            before = [m for m in moments if m.wall_ns <= decided_ns]
            later = (m.wall_ns for m in moments if m.wall_ns > decided_ns and not m.position)
            is_held = bool(before) and bool(before[-1].position)
            over_ns = next(later, evidence.ended_ns) if is_held else decided_ns
            span = Span(decided_ns, over_ns)
            blame = (over_ns - decided_ns - overlap_ns(span, spans)) / SECOND_NS
            if blame > EXIT_SECS:
                held = (
                    f"{before[-1].position} was still held {(over_ns - decided_ns) / SECOND_NS:.1f} s after"
                )
                text = f"{symbol}: {held} an exit was decided, {blame:.1f} s without an excuse"
                found.append(Violation("exits_happen", text, decided_ns))
    return found


def _decided(evidence: Evidence, symbol: str) -> Iterator[int]:
    """When it was said that everything goes (ns): on spot that is said with the sale itself."""
    for record, detail in details(evidence, "action"):
        leaves = detail["action"] == "exit" or (detail["action"] == "cover" and detail["step"] == "Sell")
        if leaves and instrument_symbol(record["instrument"]) == symbol:
            yield int(record["wall"])


def _excuses(evidence: Evidence, symbol: str) -> list[Span]:
    grace_ns = round(FAULT_GRACE_SECS * SECOND_NS)
    spans = [Span(f.begun_ns, f.ended_ns + grace_ns) for f in evidence.faults if f.kind != "change_filters"]
    empty = [r for r in evidence.requests if r.code == _EMPTY_BOOK and r.params.get("symbol") == symbol]
    spans += [Span(request.wall_ns, request.wall_ns + grace_ns) for request in empty]
    return spans + dead_spans(evidence, round(RESTART_GRACE_SECS * SECOND_NS))
