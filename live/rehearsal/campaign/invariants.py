"""What must hold of every scenario, whatever went wrong in it: pure functions of the evidence.

Each returns its violations, none when it holds; `check` asks all of them. What is excused is said where it
is, with its measure, and nothing is excused silently.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

from configs.trading import RiskConfig, SizingConfig
from live.options import EXIT_CODES
from live.rehearsal.campaign.asked import margin_as_asked, sentiment_counts, targets_follow
from live.rehearsal.campaign.commanding import commands_hold
from live.rehearsal.campaign.evidence import Evidence, Life, Moment, Request, Violation
from live.rehearsal.campaign.exits import exits_happen
from live.rehearsal.campaign.exposure import FAULT_GRACE_SECS, covered, no_orphans
from live.rehearsal.campaign.forecasting import forecasts_agree
from live.rehearsal.campaign.keeping import audit_complete, money, risk_across_restarts
from live.rehearsal.campaign.limits import limits_kept, profits_told
from live.rehearsal.campaign.protection import (
    orders_serve,
    plans_survive,
    positions_within,
    stop_never_loosened,
    stops_stand_right,
    targets_fit,
)
from live.rehearsal.campaign.timeline import (
    SECOND_NS,
    Episode,
    Span,
    VenueOrder,
    covered_by,
    details,
    episodes_of,
    fault_spans,
    fills_of,
    has_forgotten,
    instrument_symbol,
    is_near_kill,
    opening_orders,
    records,
    sent_at,
    state_at,
    states,
    venue_orders,
)
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "INVARIANTS",
    "beyond_share",
    "check",
    "exit_code_truthful",
    "never_reversed",
    "one_entry_per_intent",
    "positions_agree",
    "settles",
    "stop_never_loosened",
    "within_filters",
    "within_limit",
]

ZERO = Decimal(0)
_TOLD_NS = SECOND_NS  # what the venue did may be so long under way to the node
_LOST_NS = SECOND_NS  # of the audit stream, by a kill
_APPROVED_NS = 5 * SECOND_NS
_EQUITY_SLACK = Decimal("1.005")
_BARS_BACK = 10
_NOTIONAL_SLACK = Decimal("0.95")
_LIMIT_CODES = frozenset(
    -code
    for code in (
        *(1003, 1013, 1015, 1021, 1022, 1111, 2010, 2019, 2025, 2027),
        *(4001, 4002, 4003, 4004, 4005, 4006, 4007, 4013, 4014, 4015, 4016, 4023, 4024),
        *(4028, 4045, 4061, 4116, 4136, 4137, 4138, 4164, 4183, 4184),
    )
)
_SPOT_LIMIT_CODES = frozenset((-1003, -1013, -1015, -1021, -1022, -1111))
_POOR = "insufficient balance"  # on spot, where one code has many reasons
_FAR_CODES = (-4016, -4024)
_MALFORMED = frozenset(range(-1130, -1099)) - {-1112}  # that one is an empty book
_CLOCK_CODES = (-1021, -1022)
_TOO_MANY = (418, 429)
_LASTING = {
    "halt_symbol": frozenset((-1013,)),  # on spot the market is closed
    "restart_venue": frozenset((-1013,)),
    "skew_clock": frozenset(_CLOCK_CODES),
}
_RULE_CODES = frozenset((-1013, -1111, -4003, -4004, -4005, -4013, -4014, -4023, -4164))
_LEARNT_NS = 3 * SECOND_NS
_MOVING = ("jump_price", "move_mark")


def check(evidence: Evidence) -> list[Violation]:
    """Every violation of every invariant, in the order of `INVARIANTS`."""
    return [violation for holds in INVARIANTS.values() for violation in holds(evidence)]


# -- positions -------------------------------------------------------------------------------------------


def settles(evidence: Evidence) -> list[Violation]:
    """With all faults taken back the node comes to rest in the time allowed."""
    if evidence.settled:
        return []
    return [Violation("settles", "the node did not come to rest", evidence.faults_cleared_ns)]


def positions_agree(evidence: Evidence) -> list[Violation]:
    """What the node last believed to hold is what the venue had then, or up to a second before.

    A node that was stopped while the engine's checks had not yet found what a fault hid, and that said it was
    unsettled, is excused of the symbols whose position last changed while a fault was at work.
    """
    view = evidence.node_view
    hidden = set[str]()
    if evidence.lives and evidence.lives[-1].outcome == "unsettled" and view.wall_ns is not None:
        hidden = set(_hidden_by_faults(evidence, view.wall_ns))
    if view.wall_ns is None:
        traded = any(
            life.ready_ns is not None and life.exit_code in EXIT_CODES.values() for life in evidence.lives
        )
        return [Violation("positions_agree", "the node never wrote its books")] if traded else []
    believed = {instrument_symbol(name): amount for name, amount in view.positions.items()}
    found = []
    for symbol, moments in states(evidence).items():
        had = positions_within(moments, view.wall_ns, _TOLD_NS)
        if symbol not in hidden and believed.get(symbol, ZERO) not in had:
            text = f"{symbol}: the node believes {believed.get(symbol, ZERO)}, the venue has {had[-1]}"
            found.append(Violation("positions_agree", text, view.wall_ns))
    return found


def _hidden_by_faults(evidence: Evidence, wall_ns: int) -> Iterator[str]:
    """The symbols whose newest change the node cannot have been told of, and not found out since."""
    for symbol, moments in states(evidence).items():
        changes = [b.wall_ns for a, b in pairwise(moments) if a.position != b.position]
        newest = max((at_ns for at_ns in changes if at_ns <= wall_ns), default=0)
        is_hidden = covered_by(newest, [span for _, span in fault_spans(evidence, SECOND_NS)])
        if is_hidden and wall_ns - newest <= FAULT_GRACE_SECS * SECOND_NS:
            yield symbol


def never_reversed(evidence: Evidence) -> list[Violation]:
    """No fill takes a position through zero, and nothing is ever short that may not be."""
    found = []
    shorts = {
        instrument_symbol(strategy["instrument"])
        for strategy in evidence.scenario.run["strategies"]
        if strategy.get("allow_short", True)
    }
    held: dict[str, Decimal] = {}
    for fill in fills_of(evidence):
        before = held.get(fill.symbol, ZERO)
        after = held[fill.symbol] = before + fill.signed
        if before * after < 0:
            text = f"{fill.symbol}: fill {fill.trade_id} took the position from {before} to {after}"
            found.append(Violation("never_reversed", text))
        if after < 0 <= before and fill.symbol not in shorts:
            text = f"{fill.symbol}: fill {fill.trade_id} went short ({after}), which the run forbids"
            found.append(Violation("never_reversed", text))
    for symbol, moments in states(evidence).items():
        for earlier, later in pairwise(moments):
            if earlier.position * later.position < 0:
                text = f"{symbol} went from {earlier.position} to {later.position} ({later.what})"
                found.append(Violation("never_reversed", text, later.wall_ns))
    return found


def within_limit(evidence: Evidence) -> list[Violation]:
    """No position grows beyond its share of the equity, nor all of them beyond the account's leverage.

    A size is fixed at a bar's close and filled a moment later at another price, so units are judged at the
    lowest of the last closes that the node had seen. The equity is the highest that the account ever had.
    """
    run, equity = evidence.scenario.run, _highest_equity(evidence) * _EQUITY_SLACK
    found, all_moments = list[Violation](), states(evidence)
    for strategy in run["strategies"]:
        share = Decimal(str(SizingConfig.model_validate(strategy.get("sizing", {})).max_position_pct)) / 100
        found += beyond_share(evidence, strategy["instrument"], equity * share)
    risk = RiskConfig.model_validate(run.get("risk", {}))
    most = equity * min(Decimal(str(risk.max_leverage)), Decimal(evidence.scenario.leverage))
    growths = sorted((g for moments in all_moments.values() for g in _growths(moments)), key=_when)
    for moment in growths:
        now = [state_at(moments, moment.wall_ns) for moments in all_moments.values()]
        gross = sum((abs(m.position) * min(m.entry_price, m.mark) for m in now if m is not None), ZERO)
        if gross > most:
            text = f"all positions are worth {gross:.2f}, more than {most:.2f}"
            found.append(Violation("within_limit", text, moment.wall_ns))
    return found


def beyond_share(evidence: Evidence, instrument: str, most: Decimal) -> Iterator[Violation]:
    """Where a position has grown to more than `most` (quote currency)."""
    symbol, closes = instrument_symbol(instrument), _closes(evidence, instrument)
    for moment in _growths(states(evidence).get(symbol, [])):
        notional = abs(moment.position) * _lowest_close(closes, moment)
        if notional > most:
            text = f"{symbol} holds {moment.position} worth {notional:.2f}, more than {most:.2f}"
            yield Violation("within_limit", text, moment.wall_ns)


def _highest_equity(evidence: Evidence) -> Decimal:
    wallet = highest = Decimal(evidence.scenario.balance)
    for row in sorted(evidence.ledger["income"], key=lambda row: int(row["tran_id"])):
        wallet += Decimal(row["amount"])
        highest = max(highest, wallet)
    gains = (m.position * (m.mark - m.entry_price) for m in evidence.moments if m.position and m.mark)
    return highest + max(gains, default=ZERO).max(ZERO)


def _closes(evidence: Evidence, instrument: str) -> list[tuple[int, Decimal]]:
    bars = (record for record in records(evidence, "bar") if record["instrument"] == instrument)
    return sorted((int(bar["wall"]), Decimal(bar["detail"]["close"])) for bar in bars)


def _lowest_close(closes: list[tuple[int, Decimal]], moment: Moment) -> Decimal:
    index = bisect_right(closes, moment.wall_ns, key=lambda close: close[0])
    seen = [close for _, close in closes[max(0, index - _BARS_BACK) : index]]
    return min([*seen, moment.entry_price or moment.mark])


def _growths(moments: list[Moment]) -> Iterator[Moment]:
    before = ZERO
    for moment in moments:
        if abs(moment.position) > abs(before):
            yield moment
        before = moment.position


def _when(moment: Moment) -> int:
    return moment.wall_ns


# -- orders ----------------------------------------------------------------------------------------------


def one_entry_per_intent(evidence: Evidence) -> list[Violation]:
    """Every entry and addition that the venue took has an approval of its own, and is no larger than that.

    And a position's entries together never fill more than the largest approval among them: a second entry for
    one wish is found even where it was approved. An order whose approval a kill has cut from the audit
    stream is excused.
    """
    sent, used = sent_at(evidence), set[int]()
    approvals = list(records(evidence, "approval"))
    approved: dict[int, Decimal] = {}
    found = []
    seen: dict[str, int] = {}
    for order in opening_orders(evidence):
        if order.client_id in seen and order.executed:
            numbers = f"{seen[order.client_id]} and {order.number}"
            text = f"{order.symbol}: orders {numbers} are both {order.client_id}"
            found.append(Violation("one_entry_per_intent", text, sent.get(order.client_id, 0)))
        seen[order.client_id] = order.number
        at_ns = sent.get(order.client_id, 0)
        index = _approval_of(order, at_ns, approvals, used, evidence.specs[order.symbol])
        if index is not None:
            used.add(index)
            approved[order.number] = Decimal(str(approvals[index]["detail"]["quantity"]))
        elif not is_near_kill(evidence, at_ns, _LOST_NS):
            text = f"{order.symbol}: {order.role} {order.client_id} of {order.quantity} has no approval"
            found.append(Violation("one_entry_per_intent", text, at_ns))
    return [*found, *_doubled(evidence, approved)]


def _approval_of(
    order: VenueOrder, at_ns: int, approvals: list[Mapping[str, Any]], used: set[int], spec: SymbolSpec
) -> int | None:
    """The newest approval before an order that fits it and no other order has."""
    side = 1 if order.side == "BUY" else -1
    for index in range(len(approvals) - 1, -1, -1):
        record = approvals[index]
        if not at_ns - _APPROVED_NS <= int(record["wall"]) <= at_ns + SECOND_NS // 10:
            continue
        fits = order.quantity <= Decimal(str(record["detail"]["quantity"])) + spec.step
        is_its = instrument_symbol(record["instrument"]) == order.symbol and record["detail"]["side"] == side
        if index not in used and fits and is_its:
            return index
    return None


def _doubled(evidence: Evidence, approved: Mapping[int, Decimal]) -> Iterator[Violation]:
    entries = [order for order in opening_orders(evidence) if order.role == "entry"]
    for episode in episodes_of(evidence):
        mine = [o for o in entries if o.symbol == episode.symbol and o.executed and _is_in(episode, o)]
        most = max((approved.get(order.number, order.quantity) for order in mine), default=ZERO)
        total = sum((order.executed for order in mine), ZERO)
        if total > most + evidence.specs[episode.symbol].step:
            names = ", ".join(order.client_id for order in mine)
            text = f"{episode.symbol}: {names} filled {total} together, {most} was approved"
            yield Violation("one_entry_per_intent", text)


def _is_in(episode: Episode, order: VenueOrder) -> bool:
    """Whether what an entry filled belongs to a position: it was sent in it, or just before it began."""
    return episode.begun_ms <= order.updated_ms and (
        episode.ended_ms is None or order.created_ms < episode.ended_ms
    )


def within_filters(evidence: Evidence) -> list[Violation]:
    """No request is refused for a filter, a limit or its form, or too many, and no order taken is outside.

    A refusal that a fault made is not the node's doing; nor is one by rules that a fault has changed in
    flight, for three seconds from the first (then the node knows them), or of a time stamp while the clock is
    skewed and for three seconds from the first after it, at each address. A price too far from the mark is
    the mark's doing within three seconds of a jump, once a price.
    """
    excuses = fault_spans(evidence, SECOND_NS)
    codes = _LIMIT_CODES if evidence.scenario.kind == "um" else _SPOT_LIMIT_CODES
    refused = [r for r in evidence.requests if _is_refused(r, codes) and not _is_excused(r, excuses)]
    refused = _unlearned(refused, excuses)
    times, jumps = Counter(_wish(r) for r in refused), _jumps(evidence)
    found = [
        Violation("within_filters", f"{r.method} {r.path} was refused with {r.code} ({r.status})", r.wall_ns)
        for r in refused
        if r.code not in _FAR_CODES or times[_wish(r)] > 1 or not covered_by(r.wall_ns, jumps)
    ]
    for order in venue_orders(evidence):
        what = None if order.forced or order.set_off else _outside(order, evidence.specs[order.symbol])
        if what is not None:
            found.append(Violation("within_filters", f"{order.symbol}: {order.client_id} {what}"))
    return found


def _unlearned(refused: list[Request], excuses: list[tuple[str, Span]]) -> list[Request]:
    """Without those by rules, or a clock, that have just changed: the node learns them from a refusal."""
    for kind, span in excuses:
        if kind == "skew_clock":
            refused = _untimed(refused, span)
        if kind == "change_filters":
            by_rule = [r for r in refused if r.code in _RULE_CODES and covered_by(r.wall_ns, [span])]
            until = min((r.wall_ns for r in by_rule), default=0) + _LEARNT_NS
            refused = [r for r in refused if r not in by_rule or r.wall_ns > until]
    return refused


def _untimed(refused: list[Request], span: Span) -> list[Request]:
    first: dict[str, int] = {}
    left = []
    for request in sorted(refused, key=lambda r: r.wall_ns):
        if (
            request.code not in _CLOCK_CODES
            or request.wall_ns < span.ended_ns
            or request.wall_ns - first.setdefault(request.path, request.wall_ns) > _LEARNT_NS
        ):
            left.append(request)
    return left


def _jumps(evidence: Evidence) -> list[Span]:
    """When a mark was far from where it had just been: after a move of the scenario, and by a fault."""
    begun = next((life.ready_ns for life in evidence.lives if life.ready_ns is not None), 0)
    moves = (begun + round(move.at_secs * SECOND_NS) for move in evidence.scenario.moves)
    spans = [Span(at_ns - SECOND_NS, at_ns + _LEARNT_NS) for at_ns in moves]
    return spans + [span for kind, span in fault_spans(evidence, _LEARNT_NS) if kind in _MOVING]


def _wish(request: Request) -> tuple[str | None, ...]:
    return tuple(request.params.get(name) for name in ("symbol", "side", "price"))


def _is_refused(request: Request, codes: frozenset[int]) -> bool:
    if request.faulted:
        return False
    code = request.code or 0
    return request.status in _TOO_MANY or code in codes or code in _MALFORMED or _POOR in request.message


def _is_excused(request: Request, excuses: list[tuple[str, Span]]) -> bool:
    return any(
        kind in _LASTING and request.code in _LASTING[kind] and covered_by(request.wall_ns, [span])
        for kind, span in excuses
    )


def _outside(order: VenueOrder, spec: SymbolSpec) -> str | None:
    if order.price % spec.tick or order.trigger % spec.tick:
        return f"is off the tick {spec.tick}: price {order.price}, trigger {order.trigger}"
    if order.quantity % spec.step:
        return f"is off the step {spec.step}: {order.quantity}"
    highest = spec.max_quantity if order.price else spec.market_max_quantity
    is_whole = order.algo and order.closes and not order.quantity  # closes all there is
    if not is_whole and not spec.min_quantity <= order.quantity <= highest:
        return f"has a quantity of {order.quantity} outside [{spec.min_quantity}, {highest}]"
    notional = order.quantity * order.price if order.price else _paid(order) / _NOTIONAL_SLACK
    if notional and notional < spec.min_notional and not order.closes:
        return f"has a notional of {notional:.2f} below {spec.min_notional}"
    return None


def _paid(order: VenueOrder) -> Decimal:
    """What a market order of this size cost at the price of what it filled; zero before that."""
    return order.quote_filled / order.executed * order.quantity if order.executed else ZERO


# -- lives -----------------------------------------------------------------------------------------------


def exit_code_truthful(evidence: Evidence) -> list[Violation]:
    """A life says how it ended: 0 flat, 3 protected, and the venue agrees; else 1; nothing hangs."""
    stops = [int(record["wall"]) for record, _ in details(evidence, "node", what="stopped")]
    found = []
    for number, life in enumerate(evidence.lives, 1):
        what = None
        if life.ended_by == "harness":
            what = "did not end in time"
        elif life.ended_by in ("end", "itself"):
            what = _untrue(life) or _contradicted(evidence, life, stops)
        if what is not None:
            found.append(Violation("exit_code_truthful", f"life {number} {what}", life.ended_ns))
    return found


def _untrue(life: Life) -> str | None:
    if life.exit_code in EXIT_CODES.values():
        is_true = EXIT_CODES.get(life.outcome or "") == life.exit_code
        return None if is_true else f"ended with {life.exit_code} and said {life.outcome}"
    if life.exit_code not in (1, 2):
        return f"ended with {life.exit_code}"
    return f"ended with {life.exit_code} and said {life.outcome}" if life.outcome in EXIT_CODES else None


def _contradicted(evidence: Evidence, life: Life, stops: list[int]) -> str | None:
    """What the venue had otherwise, both when the node said that it stopped and when its process ended."""
    if life.outcome is None or EXIT_CODES.get(life.outcome) != life.exit_code:
        return None
    said = [at_ns for at_ns in stops if life.started_ns <= at_ns <= life.ended_ns]
    times = [*said[-1:], life.ended_ns]
    now = [[state_at(moments, at_ns) for moments in states(evidence).values()] for at_ns in times]
    if any(_is_as_said(life.outcome, [m for m in at if m is not None]) for at in now):
        return None
    held = ", ".join(f"{m.symbol} {m.position} with {m.orders_open} orders" for m in now[0] if m is not None)
    return f"said {life.outcome}, the venue has {held or 'nothing'}"


def _is_as_said(outcome: str, now: list[Moment]) -> bool:
    if outcome == "flat":
        return not any(m.position or m.orders_open for m in now)
    return any(m.position for m in now) and all(m.stop_covers and not m.entry_orders_open for m in now)


def money_and_profits(evidence: Evidence) -> list[Violation]:
    """The ledger is right, the node's books agree to the cent, and so does what it says of each trade."""
    told = [] if has_forgotten(evidence) else profits_told(evidence)
    return [*money(evidence), *(Violation("money", text) for text in told)]


INVARIANTS: Mapping[str, Callable[[Evidence], list[Violation]]] = {
    "settles": settles,
    "positions_agree": positions_agree,
    "within_limit": within_limit,
    "one_entry_per_intent": one_entry_per_intent,
    "no_orphans": no_orphans,
    "covered": covered,
    "within_filters": within_filters,
    "risk_across_restarts": risk_across_restarts,
    "audit_complete": audit_complete,
    "money": money_and_profits,
    "stop_never_loosened": stop_never_loosened,
    "exit_code_truthful": exit_code_truthful,
    "never_reversed": never_reversed,
    "orders_serve": orders_serve,
    "stops_stand_right": stops_stand_right,
    "targets_fit": targets_fit,
    "plans_survive": plans_survive,
    "limits_kept": limits_kept,
    "commands_hold": commands_hold,
    "forecasts_agree": forecasts_agree,
    "margin_as_asked": margin_as_asked,
    "sentiment_counts": sentiment_counts,
    "targets_follow": targets_follow,
    "exits_happen": exits_happen,
}
