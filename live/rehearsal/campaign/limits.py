"""The account's limits reckoned from the venue's fills alone, through every kill: not by the node's word.

And what the node says that a trade has earned, which is what its own limits are reckoned from.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from configs.trading import RiskConfig
from live.rehearsal.campaign.evidence import Evidence, Violation
from live.rehearsal.campaign.exposure import FAULT_GRACE_SECS
from live.rehearsal.campaign.keeping import CENT, closed_positions, entry_approvals
from live.rehearsal.campaign.looks import losses_due
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Episode,
    Span,
    covered_by,
    details,
    fault_spans,
    fill_walls,
    has_forgotten,
    instrument_symbol,
    is_near_kill,
    overlap_ns,
)

__all__ = ["limits_kept", "profits_told"]

ZERO = Decimal(0)
_HEARD_NS = 2 * SECOND_NS  # what the venue did has come into force at the node by then
_TOLD_NS = 5 * SECOND_NS
_LOST_NS = SECOND_NS  # of the audit stream, by a kill
_DAY_NS = 86_400 * SECOND_NS
_MINUTE_NS = 60 * SECOND_NS


class _Over(NamedTuple):
    """A position that is over: when (ns), and what it earned after commission."""

    episode: Episode
    begun_ns: int
    ended_ns: int
    earned: Decimal


# -- limits --------------------------------------------------------------------------------------------------


def limits_kept(evidence: Evidence) -> list[Violation]:
    """Nothing is entered after a loss, a drawdown or a streak of losses has closed the account for entries.

    A loss counts from when the guard next looks at the equity, which is every minute and when it starts
    (`looks`), with two seconds for what was under way. A streak is judged up to the first trade whose result
    a fault may have hidden: its sign may be another to the node, which does not know the fees of what it has
    inferred.
    """
    if has_forgotten(evidence) or not evidence.lives or _spans_days(evidence):
        return []
    risk = RiskConfig.model_validate(evidence.scenario.run.get("risk", {}))
    found = []
    approved = entry_approvals(evidence)
    for begun_ns, ended_ns, why in (*losses_due(evidence, risk), *_streaks(evidence, risk)):
        late = [at_ns for at_ns in approved if begun_ns < at_ns < ended_ns]
        if late:
            found.append(Violation("limits_kept", f"{len(late)} entries were approved after {why}", late[0]))
    return found


def _spans_days(evidence: Evidence) -> bool:
    return evidence.lives[0].started_ns // _DAY_NS != evidence.ended_ns // _DAY_NS


def _streaks(evidence: Evidence, risk: RiskConfig) -> Iterator[tuple[int, int, str]]:
    most, streak, spans = risk.day.loss_streak, 0, _hiding(evidence)
    for over in _overs(evidence) if most is not None else ():
        if overlap_ns(Span(over.begun_ns, over.ended_ns), spans):
            return
        streak = streak + 1 if over.earned < 0 else 0
        if most is not None and streak >= most:
            pause_ns = round(risk.day.loss_streak_pause_minutes * _MINUTE_NS)
            yield over.ended_ns + _HEARD_NS, over.ended_ns + pause_ns, f"{streak} losses in a row"
            streak = 0


def _hiding(evidence: Evidence) -> list[Span]:
    return [span for _, span in fault_spans(evidence, round(FAULT_GRACE_SECS * SECOND_NS))]


def _overs(evidence: Evidence) -> list[_Over]:
    """The positions that are over in the order of their last fills, but for those with no known wall time."""
    walls, overs = fill_walls(evidence), []
    for episode, fills in sorted(closed_positions(evidence), key=lambda over: over[0].last):
        begun_ns, ended_ns = walls.get(episode.first), walls.get(episode.last)
        if begun_ns is not None and ended_ns is not None:
            earned = sum((fill.realized - fill.commission for fill in fills), ZERO)
            overs.append(_Over(episode, begun_ns, ended_ns, earned))
    return overs


# -- profits -------------------------------------------------------------------------------------------------


def profits_told(evidence: Evidence) -> Iterator[str]:
    """Where the node says another profit of a trade than the venue's fills have, or none at all.

    Judged: trades that one process saw from its first fill to its last, or that ended while none was alive
    (then the venue tells), with no fault at work from the beginning to when it is told.
    """
    spans, dead = _hiding(evidence), _absences(evidence)
    told = [(record, detail) for record, detail in details(evidence, "trade", what="closed")]
    for over in _overs(evidence):
        away = next((span for span in dead if covered_by(over.ended_ns, [span])), None)
        until = _TOLD_NS + (over.ended_ns if away is None else _ready_after(evidence, away))
        is_whole = any(
            life.ready_ns is not None and life.ready_ns < over.begun_ns and over.ended_ns < life.ended_ns
            for life in evidence.lives
        )
        if overlap_ns(Span(over.begun_ns, until), spans) or until > evidence.ended_ns:
            continue
        if away is None and (not is_whole or is_near_kill(evidence, over.ended_ns, _TOLD_NS)):
            continue
        mine = [d for r, d in told if _is_of(r, over, until)]
        if not mine:
            yield f"{over.episode.symbol}: the node never said what a trade earned, it was {over.earned}"
        elif all(abs(Decimal(repr(detail["pnl"])) - over.earned) >= CENT for detail in mine):
            text = f"the node says a trade earned {mine[0]['pnl']}, it was {over.earned}"
            yield f"{over.episode.symbol}: {text}"


def _absences(evidence: Evidence) -> list[Span]:
    """From the end of each life to the beginning of the next one, where that came to trade."""
    lives = pairwise(evidence.lives)
    return [Span(one.ended_ns, other.started_ns) for one, other in lives if other.ready_ns is not None]


def _ready_after(evidence: Evidence, away: Span) -> int:
    return next(life.ready_ns or 0 for life in evidence.lives if life.started_ns == away.ended_ns)


def _is_of(record: Mapping[str, Any], over: _Over, until: int) -> bool:
    is_mine = instrument_symbol(record["instrument"]) == over.episode.symbol
    return is_mine and over.ended_ns - SECOND_NS // 10 <= int(record["wall"]) <= until
