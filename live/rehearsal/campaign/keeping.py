"""What the node wrote down and remembers, held against the venue: risk state, the audit stream, the money."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from configs.trading import RiskConfig, TargetsConfig
from live.rehearsal.campaign.evidence import Evidence, Life, Moment, Violation
from live.rehearsal.campaign.money import Fill, ledger_gaps
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Episode,
    Span,
    covered_by,
    dead_spans,
    details,
    episodes_of,
    fault_spans,
    fill_walls,
    fills_of,
    has_forgotten,
    instrument_symbol,
    is_near_kill,
    sent_at,
    states,
    venue_orders,
)

__all__ = [
    "CENT",
    "audit_complete",
    "balance_agrees",
    "closed_positions",
    "entry_approvals",
    "guard_remembers",
    "has_changed_since",
    "money",
    "risk_across_restarts",
    "trade_states",
]

ZERO = Decimal(0)
CENT = Decimal("0.01")
_LOST_NS = SECOND_NS  # of the audit stream, by a kill
_FOUND_NS = 15 * SECOND_NS  # an event that a fault has eaten is found again by the engine's checks
_DEAFENING = frozenset(
    (
        *("drop_message", "delay_message", "reorder_message", "close_sockets"),
        *("refuse_connection", "expire_listen_key", "restart_venue"),
    )
)
_SPOILING = frozenset(
    (
        *("delay_request", "drop_request", "lose_answer", "late_acceptance"),
        *("error_answer", "http_answer", "skew_clock", "change_filters"),
    )
)
_DAY_NS = 86_400 * SECOND_NS
_HOUR_NS = 3_600 * SECOND_NS
_DUST = 1e-6
_NEVER_EXCUSED = ("no_equity", "stale_data")  # what is known anew at each start
_FOLLOW_UPS = ("reprice", "take_entry", "scale_in")
_COIN = "USDT"


class _Start(NamedTuple):
    """The guard's last word of one session and its first of the next."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]

    @property
    def at_ns(self) -> int:
        return int(self.after["wall"])


# -- risk ------------------------------------------------------------------------------------------------


def risk_across_restarts(evidence: Evidence) -> list[Violation]:
    """Nothing that holds risk down is forgotten by a restart, and no part of a trade's plan is done twice.

    An entry or a trade that a kill cut off within a second may be missing from the guard's counts.
    """
    texts = [*_streak(evidence), *_targets_again(evidence), *_plan(evidence)]
    return guard_remembers(evidence) + [Violation("risk_across_restarts", text) for text in texts]


def guard_remembers(evidence: Evidence) -> list[Violation]:
    """Nothing that holds risk down is forgotten by a restart, and every entry is counted."""
    found = []
    for start in _starts(evidence):
        found += [
            Violation("risk_across_restarts", text, start.at_ns) for text in _forgotten(evidence, start)
        ]
    return found + [Violation("risk_across_restarts", text) for text in _entries_counted(evidence)]


def _starts(evidence: Evidence) -> Iterator[_Start]:
    last: Mapping[str, Any] | None = None
    for record, detail in details(evidence, "risk"):
        if "mode" not in detail or detail.get("equity") is None:
            continue
        if last is not None and last["session"] != record["session"]:
            yield _Start(last, record)
        last = record


def _forgotten(evidence: Evidence, start: _Start) -> Iterator[str]:
    before, after = start.before["detail"], start.after["detail"]
    now = int(start.after["ts"])
    for code in before["reasons"]:
        until = before.get(f"{code}.until")
        holds = code.startswith("halt_") if until is None else int(until) > now
        if holds and code not in after["reasons"] and code not in _NEVER_EXCUSED:
            yield f"{code} (mode {before['mode']}) was forgotten: {after['mode']} {after['reasons']}"
    for name, until in before.items():
        if name.startswith("blocked.") and name.endswith(".until") and int(until) > now and name not in after:
            yield f"{name.removesuffix('.until')} was forgotten"
    day = _day_of(evidence, int(start.before["ts"])) == _day_of(evidence, now)
    opening = before["day_opening"], after["day_opening"]
    if day and None not in opening and abs(opening[0] - opening[1]) > _DUST:
        yield f"the day's opening equity went from {opening[0]} to {opening[1]}"
    if before["peak"] is not None and (after["peak"] is None or after["peak"] < before["peak"] - _DUST):
        yield f"the peak of the equity went from {before['peak']} to {after['peak']}"


def _day_of(evidence: Evidence, ts: int) -> int:
    return (ts - _risk(evidence).day.starts_at_hour * _HOUR_NS) // _DAY_NS


def _risk(evidence: Evidence) -> RiskConfig:
    return RiskConfig.model_validate(evidence.scenario.run.get("risk", {}))


def _guard(evidence: Evidence) -> Mapping[str, Any] | None:
    file = evidence.node_view.state.get("guard.json")
    state = file.get("state") if isinstance(file, dict) else None
    return state if isinstance(state, dict) else None


def _entries_counted(evidence: Evidence) -> Iterator[str]:
    limits, guard = _risk(evidence).day, _guard(evidence)
    if guard is None or (limits.max_entries_hour is None and limits.max_entries_day is None):
        return
    approved = entry_approvals(evidence)
    excused = sum(is_near_kill(evidence, at_ns, _LOST_NS) for at_ns in approved)
    counted = len(guard["day"]["entries"])
    if counted < len(approved) - excused:
        yield f"the guard counts {counted} entries, the audit stream has {len(approved)}"
    most = limits.max_entries_day if limits.max_entries_hour is None else limits.max_entries_hour
    if most is not None and len(approved) > most + excused and evidence.lives:
        lasted = evidence.ended_ns - evidence.lives[0].started_ns
        if lasted < _HOUR_NS and _day_of(evidence, evidence.ended_ns) == _day_of(
            evidence, evidence.lives[0].started_ns
        ):
            yield f"{len(approved)} entries were approved where {most} are allowed"


def entry_approvals(evidence: Evidence) -> list[int]:
    """When entries, not additions nor what became of an entry under way, were approved (ns)."""
    times, reasons = [], dict[str, Sequence[str]]()
    for record in evidence.audit:
        if record["kind"] == "intent":
            reasons[record["component"]] = record["detail"]["reasons"]
        elif record["kind"] == "approval":
            why = reasons.get(record["component"], ())
            if not any(code in _FOLLOW_UPS for code in why):
                times.append(int(record["wall"]))
    return times


def _streak(evidence: Evidence) -> Iterator[str]:
    """The losses in a row that the guard counts are those of the venue's last positions."""
    limits, guard = _risk(evidence).day, _guard(evidence)
    if guard is None or limits.loss_streak is None or not evidence.settled or has_forgotten(evidence):
        return
    walls, streaks = fill_walls(evidence), {0}
    for episode, fills in closed_positions(evidence):
        ended, most = walls.get(episode.last), limits.loss_streak
        is_loss = sum((fill.realized - fill.commission for fill in fills), ZERO) < 0
        once = {_streak_after(streak, most, is_loss=is_loss) for streak in streaks}
        if ended is not None and is_near_kill(evidence, ended, _LOST_NS):
            # counted before the kill, after it, or both: each is the safe side
            once |= {_streak_after(streak, most, is_loss=is_loss) for streak in once}
        streaks = once
    if guard["day"]["streak"] not in streaks:
        text = " or ".join(map(str, sorted(streaks)))
        yield f"the guard counts {guard['day']['streak']} losses in a row, the venue's fills say {text}"


def _streak_after(streak: int, most: int, *, is_loss: bool) -> int:
    return (streak + 1) % most if is_loss else 0


def closed_positions(evidence: Evidence) -> list[tuple[Episode, list[Fill]]]:
    """The positions that are over, in the order of their ends, with their fills."""
    fills = fills_of(evidence)
    ended = (e for e in episodes_of(evidence) if e.ended_ms is not None)
    over = sorted(ended, key=lambda e: (e.ended_ms or 0, e.last))
    return [(e, [f for f in fills if f.symbol == e.symbol and e.first <= f.trade_id <= e.last]) for e in over]


def _coarsest_step(evidence: Evidence, symbol: str, step: Decimal) -> Decimal:
    """A venue that makes its step coarser leaves a share to be rounded to that."""
    values = [f.values for f in evidence.scenario.faults if f.values.get("symbol") == symbol]
    return max([step, *(Decimal(str(v["step"])) for v in values if "step" in v)])


def _targets_again(evidence: Evidence) -> Iterator[str]:
    """No target closes more than its share of what was opened, however often it was sent.

    The last one may close all that is left. What filled while no node was alive is put down to the nearest
    targets first, so such positions are not judged.
    """
    dead, walls = dead_spans(evidence), fill_walls(evidence)
    unheard = {f.order_id for f in fills_of(evidence) if covered_by(walls.get(f.trade_id, 0), dead)}
    ladders = {instrument_symbol(s["instrument"]): _shares(s) for s in evidence.scenario.run["strategies"]}
    orders = [order for order in venue_orders(evidence) if order.executed]
    for episode in episodes_of(evidence):
        mine = [o for o in orders if o.symbol == episode.symbol and episode.has(o.updated_ms)]
        if any(o.number in unheard for o in mine if o.role == "target"):
            continue
        opened = sum((o.executed for o in mine if o.role in ("entry", "add", "")), ZERO)
        added = sum((o.executed for o in mine if o.role in ("add", "")), ZERO)
        ladder = ladders.get(episode.symbol, [])
        for rung, share in enumerate(ladder[:-1]):
            # an addition is spread over the targets that are left, at worst without those before this one
            spread = added * share / max(share, 1 - sum(ladder[:rung], ZERO))
            closed = [o for o in mine if o.role == "target" and o.rung == rung]
            spec, total = evidence.specs[episode.symbol], sum((o.executed for o in closed), ZERO)
            least = max((spec.min_notional / o.price for o in closed if o.price), default=ZERO)
            step = _coarsest_step(evidence, episode.symbol, spec.step)
            if opened and total > (opened - added) * share + spread + least + 2 * step:
                names = ", ".join(o.client_id for o in closed)
                yield f"{episode.symbol}: {names} closed {total} of {opened}, target {rung} is {share} of it"


def _shares(strategy: Mapping[str, Any]) -> list[Decimal]:
    """The shares of a run file's targets, as fractions."""
    targets = TargetsConfig.model_validate(strategy.get("targets", {}))
    return [Decimal(str(t.close_pct)) / 100 for t in targets.tranches] or [Decimal(1)]


def _plan(evidence: Evidence) -> Iterator[str]:
    """What is written down of an open trade is what the venue has."""
    if not evidence.settled or not evidence.lives or evidence.lives[-1].outcome != "protected":
        return
    held = {row["symbol"]: Decimal(row["amount"]) for row in evidence.ledger["positions"]}
    for state in trade_states(evidence):
        symbol = instrument_symbol(state["instrument"])
        spec, amount = evidence.specs[symbol], held.get(symbol, ZERO)
        if not amount or has_changed_since(evidence, symbol, evidence.lives[-1]):
            continue
        step = Decimal(str(state.get("step_size") or spec.step))
        tick = Decimal(str(state.get("tick_size") or spec.tick))
        rounding = ZERO if step <= spec.step else step / 2  # the engine counts in the newest steps
        if abs(state["held_lots"] * step - amount) > rounding:
            yield f"the node's file holds {state['held_lots'] * step} {symbol}, the venue has {amount}"
        stops = [
            Decimal(row["trigger_price"])
            for row in evidence.ledger["open_algo_orders"]
            if row["symbol"] == symbol and row["type"].startswith("STOP")
        ]
        level = None if state["trade"] is None else state["trade"]["plan"][2] * tick
        if stops and level is not None and all(abs(stop - level) > tick for stop in stops):
            yield f"the node's file has the stop of {symbol} at {level}, the venue has it at {stops[0]}"


def trade_states(evidence: Evidence) -> list[Mapping[str, Any]]:
    """What the strategies have last written down of their trades."""
    files = [f for n, f in evidence.node_view.state.items() if n.startswith("trade-") and isinstance(f, dict)]
    return [file["state"] for file in files if isinstance(file.get("state"), dict)]


def has_changed_since(evidence: Evidence, symbol: str, life: Life) -> bool:
    """Whether the venue's state has changed at the very end of a life, or after it."""
    moments = states(evidence).get(symbol, [])
    return bool(moments) and moments[-1].wall_ns > life.ended_ns - 2 * SECOND_NS


# -- the audit stream ------------------------------------------------------------------------------------


def audit_complete(evidence: Evidence) -> list[Violation]:
    """Every session counts without a gap and in order; no order or fill of ours is missing.

    A kill may cut one line, and take what was not yet on disk: what happened within a second before it. An
    order the node knows before the venue does, so nothing else excuses one. A fill while no node was alive is
    found at the next start, as is one after the node's last word of itself, and one that a fault hid some
    time later; all may be there under another name. Only
    what breaks or delays the account's own stream hides so long, a spoiled request for two seconds, and what
    happens to the market hides nothing.
    """
    found = [Violation("audit_complete", text) for text in (*_sequence(evidence), *_unreadable(evidence))]
    return found + list(_orders_missing(evidence)) + list(_fills_missing(evidence))


def _sequence(evidence: Evidence) -> Iterator[str]:
    last: dict[str, tuple[int, int]] = {}
    newest = ""
    for record in evidence.audit:
        session, seq, wall = record["session"], int(record["seq"]), int(record["wall"])
        before = last.get(session)
        if before is None:
            if session < newest:
                yield f"session {session} comes after {newest}"
            newest = max(newest, session)
        if seq != (0 if before is None else before[0] + 1):
            yield f"session {session}: {seq} follows {'nothing' if before is None else before[0]}"
        if before is not None and wall < before[1]:
            yield f"session {session}: time goes back at {seq}"
        last[session] = seq, wall


def _unreadable(evidence: Evidence) -> Iterator[str]:
    kills = sum(life.ended_by in ("kill", "harness") for life in evidence.lives)
    if evidence.audit_unreadable > kills:
        yield f"{evidence.audit_unreadable} lines are unreadable, {kills} lives were killed"


def _excuses(evidence: Evidence) -> list[Span]:
    """When the node may not have been told of a fill: none, one that ends, a fault at work that hides it."""
    spans = dead_spans(evidence, SECOND_NS) + _endings(evidence)
    for fault in evidence.faults:
        if fault.kind in _DEAFENING and not fault.name.rpartition("-")[0].endswith("_market"):
            spans.append(Span(fault.begun_ns, fault.ended_ns + _FOUND_NS))
        elif fault.kind in _SPOILING:
            spans.append(Span(fault.begun_ns, fault.ended_ns + 2 * SECOND_NS))
    return spans


def _endings(evidence: Evidence) -> list[Span]:
    """From each life's word that it has stopped to its end: the engine takes two seconds to go."""
    words = [int(record["wall"]) for record, _ in details(evidence, "node", what="stopped")]
    return [
        Span(at_ns, life.ended_ns)
        for life in evidence.lives
        for at_ns in words
        if life.started_ns < at_ns < life.ended_ns
    ]


def _orders_missing(evidence: Evidence) -> Iterator[Violation]:
    told = {detail["client_order_id"] for _, detail in details(evidence, "order")}
    for what in ("adopt", "first_stop"):
        for _, detail in details(evidence, "action", action=what):
            told |= set(detail["orders"])
    sent = sent_at(evidence)
    for order in venue_orders(evidence):
        if not order.role or order.client_id in told:
            continue
        at_ns = sent.get(order.client_id, 0)
        if not is_near_kill(evidence, at_ns, _LOST_NS):
            text = f"{order.symbol}: {order.role} {order.client_id} is not in the audit stream"
            yield Violation("audit_complete", text, at_ns)


def _fills_missing(evidence: Evidence) -> Iterator[Violation]:
    amounts: dict[str, Decimal] = {}
    for _, detail in details(evidence, "order", event="OrderFilled"):
        name = detail["client_order_id"]
        amounts[name] = amounts.get(name, ZERO) + Decimal(detail["quantity"])
    orders = {order.number: order for order in venue_orders(evidence) if not order.algo}
    venue: dict[tuple[str, str], Decimal] = {}
    walls, excuses = fill_walls(evidence), _excuses(evidence)
    for fill in fills_of(evidence):
        name = orders[fill.order_id].client_id if fill.order_id in orders else ""
        at_ns = walls.get(fill.trade_id, 0)
        if not is_near_kill(evidence, at_ns, _LOST_NS) and not covered_by(at_ns, excuses):
            venue[fill.symbol, name] = venue.get((fill.symbol, name), ZERO) + fill.quantity
    doubted = _doubted(evidence)
    for (symbol, name), quantity in venue.items():
        missing = quantity - amounts.get(name, ZERO)
        if 0 < missing <= doubted.get(symbol, ZERO):
            doubted[symbol] -= missing
        elif missing > 0:
            text = f"{name} filled {quantity} at the venue, {amounts.get(name, ZERO)} in the audit stream"
            yield Violation("audit_complete", text)


def _doubted(evidence: Evidence) -> dict[str, Decimal]:
    """By symbol, what the node has said that the engine has missed: asked for, and told as such."""
    amounts: dict[str, Decimal] = {}
    for record, detail in details(evidence, "action", action="disbelieve"):
        symbol = instrument_symbol(record["instrument"])
        missed = abs(Decimal(str(detail["quantity"])) - Decimal(str(detail["held"])))
        amounts[symbol] = amounts.get(symbol, ZERO) + missed
    return amounts


# -- money -----------------------------------------------------------------------------------------------


def money(evidence: Evidence) -> list[Violation]:
    """The venue's ledger is right by an independent reckoning, and the node's books agree to the cent.

    The node's balance is compared with the venue's wallet when the books were written. Commissions and
    profit, which a process knows of the position it opened itself, are compared for the last position of each
    instrument where the last life saw all of it undisturbed. A venue that lost its memory tells nobody that
    the wallet is another.
    """
    starting = {_COIN: Decimal(evidence.scenario.balance)}
    gaps = ledger_gaps(evidence.ledger, starting, was_flat=partial(_was_flat, states(evidence)))
    found = [Violation("money", str(gap)) for gap in gaps]
    view = evidence.node_view
    if view.wall_ns is None or has_forgotten(evidence):
        return found
    found += balance_agrees(evidence)
    return found + [Violation("money", text, view.wall_ns) for text in _last_positions(evidence)]


def _was_flat(moments: Mapping[str, Sequence[Moment]], symbol: str, market_ms: int) -> bool:
    before = [moment for moment in moments.get(symbol, ()) if moment.market_ms <= market_ms]
    return not before or not before[-1].position


def balance_agrees(evidence: Evidence) -> list[Violation]:
    """The cash that the node believed to have when it last wrote its books is what the venue had then."""
    view = evidence.node_view
    if view.wall_ns is None:
        return []
    wallets = _wallets_at(evidence, view.wall_ns)
    if view.balance is not None and any(abs(view.balance - wallet) < CENT for wallet in wallets):
        return []
    text = f"the node believes to have {view.balance}, the venue says {wallets[-1]}"
    return [Violation("money", text, view.wall_ns)]


def _wallets_at(evidence: Evidence, wall_ns: int) -> list[Decimal]:
    """The wallet a second before a time, and after everything that was booked from then on."""
    before = [m.market_ms for m in evidence.moments if m.wall_ns <= wall_ns - SECOND_NS]
    since = max(before, default=0)
    wallet = Decimal(evidence.scenario.balance)
    wallets = [wallet]
    for row in sorted(evidence.ledger["income"], key=lambda row: int(row["tran_id"])):
        wallet += Decimal(row["amount"])
        if int(row["ts_ms"]) <= since:
            wallets = [wallet]
        else:
            wallets.append(wallet)
    return wallets


def _last_positions(evidence: Evidence) -> Iterator[str]:
    view, last = evidence.node_view, evidence.lives[-1]
    walls, excuses = fill_walls(evidence), [span for _, span in fault_spans(evidence, SECOND_NS)]
    newest: dict[str, tuple[Episode, list[Fill]]] = {}
    for episode, fills in closed_positions(evidence):
        newest[episode.symbol] = episode, fills
    for name, commission in view.commissions.items():
        symbol = instrument_symbol(name)
        if symbol not in newest or view.positions.get(name, ZERO):
            continue
        episode, fills = newest[symbol]
        begun, ended = walls.get(episode.first), walls.get(episode.last)
        if begun is None or ended is None or last.ready_ns is None or begun < last.ready_ns:
            continue
        if ended > (view.wall_ns or 0) - SECOND_NS or any(
            span.begun_ns <= ended and begun <= span.ended_ns for span in excuses
        ):
            continue
        paid = sum((fill.commission for fill in fills), ZERO)
        earned = sum((fill.realized for fill in fills), ZERO) - paid
        if abs(commission - paid) >= CENT:
            yield f"{symbol}: the node reckons {commission} of commissions, the venue took {paid}"
        if abs(view.realized.get(name, ZERO) - earned) >= CENT:
            yield f"{symbol}: the node reckons {view.realized.get(name, ZERO)} of profit, it was {earned}"
