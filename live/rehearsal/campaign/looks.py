"""When the guard looks at the equity, what that must have been at least and at most, and which limits bound.

The equity is reckoned from the venue's bookings, positions and mark prices, not by the node's word.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from configs.trading import RiskConfig
from live.rehearsal.campaign.evidence import Evidence, Life, Mark
from live.rehearsal.campaign.exposure import FAULT_GRACE_SECS
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Span,
    details,
    fault_spans,
    has_forgotten,
    overlap_ns,
    state_at,
    states,
)

__all__ = ["LIMITS", "Bound", "Look", "bounds_of", "looks_of", "losses_due"]

ZERO = Decimal(0)
LIMITS = ("daily_loss", "loss_streak", "max_drawdown", "halt_daily_loss", "halt_drawdown")
_COUNTED = ("entries_hour", "entries_day", "halt_rejections", "halt_command")
_MINUTE_NS = 60 * SECOND_NS
_HEARD_NS = 2 * SECOND_NS
_EARLY_NS = SECOND_NS // 5  # before the minute: what the node has heard may be so old
_LATE_NS = SECOND_NS  # after it: the timer may be so late
_SURE = Decimal("1.02")  # a loss so far beyond its limit is one by any reckoning


class Look(NamedTuple):
    """The guard looked at the equity in this time; `most` is the highest that it can have seen."""

    span: Span
    most: Decimal
    is_flat: bool


class Bound(NamedTuple):
    """A limit that closed the account for entries, and whether it did so before and after a kill."""

    limit: str
    across_kill: bool


def losses_due(evidence: Evidence, risk: RiskConfig) -> Iterator[tuple[int, int, str]]:
    """(begin, end, why) of the times in which nothing may be entered for what was lost.

    A loss counts from a look at which it is sure, and two seconds for what had been decided. What is lost
    of the day, and what trips the kill switch, closes the account for good; the deepest drawdown only while
    it lasts, which is for good where nothing is held.
    """
    drawdowns = risk.kill_switch.max_drawdown_pct, risk.portfolio.max_drawdown_pct
    lasting = [risk.day.max_loss_pct, risk.kill_switch.max_daily_loss_pct, drawdowns[0]]
    least = min((pct for pct in lasting if pct is not None), default=None)
    opening = Decimal(evidence.scenario.balance)
    for look in looks_of(evidence):
        lost = (opening - look.most) / opening * 100
        for limit in (least, drawdowns[1] if look.is_flat else None):
            if limit is not None and lost > Decimal(str(limit)) * _SURE:
                why = f"{lost:.3f} % were lost of {limit} %"
                yield look.span.ended_ns + _HEARD_NS, evidence.ended_ns, why
                return


def looks_of(evidence: Evidence) -> Iterator[Look]:
    """The looks of each life, at its start and every minute, but for those near a fault."""
    hiding = [span for _, span in fault_spans(evidence, round(FAULT_GRACE_SECS * SECOND_NS))]
    for life in evidence.lives:
        for span in _spans(life):
            if not overlap_ns(span, hiding) and (look := _look(evidence, span)) is not None:
                yield look


def _spans(life: Life) -> Iterator[Span]:
    if life.ready_ns is None:
        return
    yield Span(life.started_ns, life.ready_ns)
    minute = -(-life.ready_ns // _MINUTE_NS) * _MINUTE_NS
    while minute + _LATE_NS < life.ended_ns:
        if minute - _EARLY_NS > life.ready_ns:
            yield Span(minute - _EARLY_NS, minute + _LATE_NS)
        minute += _MINUTE_NS


def _look(evidence: Evidence, span: Span) -> Look | None:
    """The highest equity of a time, at all marks in it and the last before; None without any."""
    first = bisect_right(evidence.marks, span.begun_ns, key=lambda mark: mark.wall_ns)
    last = bisect_right(evidence.marks, span.ended_ns, key=lambda mark: mark.wall_ns)
    begin = max(0, first - len(evidence.scenario.symbols))
    marks = evidence.marks[begin:last]
    if not marks:
        return None
    wallet, gain, is_flat = _highest_wallet(evidence, marks), ZERO, True
    for symbol, moments in states(evidence).items():
        prices = [mark.price for mark in marks if mark.symbol == symbol]
        within = [m for m in moments if span.begun_ns < m.wall_ns <= span.ended_ns]
        held = [m for m in (state_at(moments, span.begun_ns), *within) if m is not None and m.position]
        is_flat = is_flat and not held
        worths = [m.position * (price - m.entry_price) for m in held for price in (*prices, m.mark)]
        gain += max(worths, default=ZERO).max(ZERO)
    return Look(span, wallet + gain, is_flat)


def _highest_wallet(evidence: Evidence, marks: tuple[Mark, ...]) -> Decimal:
    wallet, wallets = Decimal(evidence.scenario.balance), list[Decimal]()
    begun_ms, ended_ms = marks[0].market_ms, marks[-1].market_ms
    rows = sorted(evidence.ledger["income"], key=lambda row: int(row["tran_id"]))
    before = wallet
    for row in rows:
        wallet += Decimal(row["amount"])
        if int(row["ts_ms"]) <= begun_ms:
            before = wallet
        elif int(row["ts_ms"]) <= ended_ms:
            wallets.append(wallet)
    return max([before, *wallets])


# -- what bound ----------------------------------------------------------------------------------------------


def bounds_of(evidence: Evidence) -> tuple[Bound, ...]:
    """The limits that the node said to have reached, each once, and which it said before and after a kill."""
    if has_forgotten(evidence):
        return ()
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for record, detail in details(evidence, "risk"):
        for code in _codes(detail):
            wall = int(record["wall"])
            first.setdefault(code, wall)
            last[code] = wall
    ends = [life.ended_ns for life in evidence.lives[:-1] if life.ended_by == "kill"]
    return tuple(
        Bound(code, any(first[code] < end < last[code] for end in ends))
        for code in (*LIMITS, *_COUNTED)
        if code in first
    )


def _codes(detail: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(detail.get("reasons") or ())
