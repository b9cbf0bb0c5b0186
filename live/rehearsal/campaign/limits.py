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
from live.rehearsal.campaign.money import Fill
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Episode,
    Span,
    covered_by,
    details,
    fault_spans,
    fill_walls,
    fills_of,
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
_SURE = Decimal("1.02")  # a loss so far beyond its limit is one by any reckoning


class _Over(NamedTuple):
    """A position that is over: when (ns), what it earned after commission, and if nothing is held then."""

    episode: Episode
    begun_ns: int
    ended_ns: int
    earned: Decimal
    wallet: Decimal
    is_flat: bool


# -- limits --------------------------------------------------------------------------------------------------


def limits_kept(evidence: Evidence) -> list[Violation]:
    """Nothing is entered after the day's loss or a streak of losses has closed the account for entries.

    A loss counts from when the guard next looks at the equity, which is every minute and when it starts; the
    node has two seconds for that, and as long as the engine takes to find it where a fault was at work. A
    streak is judged up to the first trade whose result a fault may have hidden: its sign may be
    another to the node, which does not know the fees of what it has inferred.
    """
    if has_forgotten(evidence) or not evidence.lives or _spans_days(evidence):
        return []
    risk = RiskConfig.model_validate(evidence.scenario.run.get("risk", {}))
    found = []
    approved = entry_approvals(evidence)
    for begun_ns, ended_ns, why in (*_lost_days(evidence, risk), *_streaks(evidence, risk)):
        late = [at_ns for at_ns in approved if begun_ns < at_ns < ended_ns]
        if late:
            found.append(Violation("limits_kept", f"{len(late)} entries were approved after {why}", late[0]))
    return found


def _spans_days(evidence: Evidence) -> bool:
    return evidence.lives[0].started_ns // _DAY_NS != evidence.ended_ns // _DAY_NS


def _lost_days(evidence: Evidence, risk: RiskConfig) -> Iterator[tuple[int, int, str]]:
    limits = [pct for pct in (risk.day.max_loss_pct, risk.kill_switch.max_daily_loss_pct) if pct is not None]
    if not limits:
        return
    opening, limit = Decimal(evidence.scenario.balance), Decimal(str(min(limits)))
    spans = _hiding(evidence)
    for over in _overs(evidence):
        lost = (opening - over.wallet) / opening * 100
        if over.is_flat and lost > limit * _SURE:
            heard_ns = round(FAULT_GRACE_SECS * SECOND_NS) if covered_by(over.ended_ns, spans) else _HEARD_NS
            why = f"the day had lost {lost:.3f} % of {limit} %"
            yield _next_look(evidence, over.ended_ns) + heard_ns, evidence.ended_ns, why
            return


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


def _next_look(evidence: Evidence, wall_ns: int) -> int:
    starts = [
        life.ready_ns for life in evidence.lives if life.ready_ns is not None and life.ready_ns > wall_ns
    ]
    return min([-(-wall_ns // _MINUTE_NS) * _MINUTE_NS, *starts])


def _hiding(evidence: Evidence) -> list[Span]:
    return [span for _, span in fault_spans(evidence, round(FAULT_GRACE_SECS * SECOND_NS))]


def _overs(evidence: Evidence) -> list[_Over]:
    """The positions that are over in the order of their last fills, but for those with no known wall time."""
    walls, last = fill_walls(evidence), dict[int, tuple[Episode, list[Fill]]]()
    for episode, fills in closed_positions(evidence):
        last[episode.last] = episode, fills
    held, wallet, overs = dict[str, Decimal](), Decimal(evidence.scenario.balance), []
    funding = [row for row in evidence.ledger["income"] if row["kind"] == "FUNDING_FEE"]
    for fill in fills_of(evidence):
        held[fill.symbol] = held.get(fill.symbol, ZERO) + fill.signed
        wallet += fill.realized - fill.commission
        if fill.trade_id not in last:
            continue
        episode, fills = last[fill.trade_id]
        begun_ns, ended_ns = walls.get(episode.first), walls.get(episode.last)
        if begun_ns is None or ended_ns is None:
            continue
        earned = sum((f.realized - f.commission for f in fills), ZERO)
        paid = sum((Decimal(r["amount"]) for r in funding if int(r["ts_ms"]) <= fill.ts_ms), ZERO)
        overs.append(_Over(episode, begun_ns, ended_ns, earned, wallet + paid, not any(held.values())))
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
