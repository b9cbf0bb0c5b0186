"""What a run file asks for and only the venue or a service can tell: margin, sentiment, targets' sizes."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from configs.trading import TargetsConfig
from live.rehearsal.campaign.evidence import Evidence, Moment, Violation
from live.rehearsal.campaign.exposure import FAULT_GRACE_SECS
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Span,
    dead_spans,
    details,
    fault_spans,
    has_forgotten,
    instrument_symbol,
    overlap_ns,
    states,
)

__all__ = ["margin_as_asked", "sentiment_counts", "targets_follow"]

ZERO = Decimal(0)
_FOLLOWS_NS = 3 * SECOND_NS
_AGAIN_NS = 12 * SECOND_NS  # what was refused again and again is tried again after eight seconds
_REFUSALS = ("OrderRejected", "OrderDenied", "OrderModifyRejected", "OrderCancelRejected")
_WHOLE = 1.0 - 1e-9
_MOODS = ("greed", "fear", "sentiment_neutral")


def margin_as_asked(evidence: Evidence) -> list[Violation]:
    """No position has another margin than the run file's; a venue that lost its memory may have lost that."""
    if evidence.scenario.kind != "um" or has_forgotten(evidence):
        return []
    tolerances = evidence.scenario.run.get("live", {}).get("tolerances", {})
    isolated = tolerances.get("margin_type") == "ISOLATED"
    wrong = {m.symbol: m for m in reversed(evidence.moments) if m.position and m.isolated != isolated}
    word = "crossed" if isolated else "isolated"
    return [
        Violation("margin_as_asked", f"{symbol}: {m.position} is held with {word} margin", m.wall_ns)
        for symbol, m in wrong.items()
    ]


# -- sentiment -----------------------------------------------------------------------------------------------


def sentiment_counts(evidence: Evidence) -> list[Violation]:
    """Every wish looks at the index that counts at its bar: no value sooner than it is due, none too late.

    The bar is that of the forecast before the wish. A wish may be made on the value before for as long as
    no request of its life had been answered well two seconds before.
    """
    mood = evidence.scenario.mood
    if mood is None or has_forgotten(evidence):
        return []
    found, bar_ns, session = [], 0, ""
    for record in evidence.audit:
        if record["session"] != session:
            bar_ns, session = 0, record["session"]
        if record["kind"] == "forecast" and record["component"] == "forecaster":
            bar_ns = int(record["ts"])
        elif record["kind"] == "intent" and bar_ns:
            value = mood.after if bar_ns >= evidence.mood_due_ms * 1_000_000 else mood.before
            due = "greed" if value > 50 else "fear"
            said = [reason for reason in record["detail"]["reasons"] if reason in _MOODS]
            if said and said != [due]:
                text = f"{said[0]} was seen at the bar of {bar_ns}, where {value} counts"
                found.append(Violation("sentiment_counts", text, int(record["wall"])))
    return found


# -- targets -------------------------------------------------------------------------------------------------


def targets_follow(evidence: Evidence) -> list[Violation]:
    """Where the targets' shares are whole, open targets come to close all that is held within three seconds.

    Judged is each time of that length in which nothing of either changed, with a node trading throughout,
    no fault at work, no refusal shortly before and some target open. Not judged are scenarios in which the
    lot step changes: then targets stay as they are.
    """
    if evidence.scenario.kind != "um" or has_forgotten(evidence):
        return []
    if any(fault.values["kind"] == "change_filters" for fault in evidence.scenario.faults):
        return []
    busy = [span for _, span in fault_spans(evidence, round(FAULT_GRACE_SECS * SECOND_NS))]
    busy += dead_spans(evidence, _FOLLOWS_NS)
    found = []
    for strategy in evidence.scenario.run["strategies"]:
        symbol = instrument_symbol(strategy["instrument"])
        ladder = TargetsConfig.model_validate(strategy.get("targets", {})).ladder
        if sum(share for _, share in ladder) < _WHOLE:
            continue
        spans = busy + _refused(evidence, symbol)
        for moment, span in _lasting(evidence, states(evidence).get(symbol, [])):
            if not overlap_ns(span, spans):
                text = f"{symbol}: targets for {moment.targets} stayed open of {abs(moment.position)}"
                found.append(Violation("targets_follow", text, moment.wall_ns))
    return found


def _lasting(evidence: Evidence, moments: list[Moment]) -> Iterator[tuple[Moment, Span]]:
    """Where targets are open for another amount than is held, for long enough."""
    until = evidence.lives[-1].ended_ns if evidence.lives else 0
    changes = [
        b
        for a, b in pairwise([None, *moments])
        if b is not None and (a is None or (a.position, a.targets) != (b.position, b.targets))
    ]
    for moment, after in pairwise([*changes, None]):
        ended = until if after is None else after.wall_ns
        if moment is None or not moment.position or moment.targets in (ZERO, abs(moment.position)):
            continue
        if ended - moment.wall_ns > _FOLLOWS_NS:
            yield moment, Span(moment.wall_ns, ended)


def _refused(evidence: Evidence, symbol: str) -> list[Span]:
    refused = [r for r, d in details(evidence, "order") if d.get("event") in _REFUSALS]
    walls = [int(r["wall"]) for r in refused if instrument_symbol(r["instrument"]) == symbol]
    return [Span(wall, wall + _AGAIN_NS) for wall in walls]
