"""What protects a position, order by order: what it is for, where it stands, that it follows, that it fits.

Futures only. How long a position was without a stop is measured in `exposure`; here is judged whether what
stands at the venue is the right thing. Levels come from the run file and the venue's fills, not from the
node, but for the moves of a stop, of which only the node knows where to.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from configs.trading import StopConfig, TargetsConfig
from live.rehearsal.campaign.evidence import Evidence, Moment, Violation
from live.rehearsal.campaign.exposure import FAULT_GRACE_SECS, excuses
from live.rehearsal.campaign.keeping import has_changed_since, trade_states
from live.rehearsal.campaign.steps import own_id, role_of
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
    overlap_ns,
    sent_at,
    state_at,
    states,
    venue_orders,
)

__all__ = [
    "orders_serve",
    "plans_survive",
    "positions_within",
    "stop_never_loosened",
    "stops_stand_right",
    "targets_fit",
]

ZERO = Decimal(0)
_CLOSING = ("stop", "bridge", "target", "exit")
_STOPS = ("stop", "bridge")
_SLACK = Decimal("0.0005")  # of the price: the node may know a fill by the average of its parts
_LAST_RESORT = Decimal("0.01")  # the node's distance for a position that nothing is known of
_FOLLOWS_NS = 600_000_000
_TOLD_NS = SECOND_NS
_AGAIN_NS = 12 * SECOND_NS  # what was refused again and again is tried again after eight seconds
_REFUSALS = ("OrderRejected", "OrderDenied", "OrderModifyRejected", "OrderCancelRejected")
_WHOLE = 1.0 - 1e-9


# -- what an order is for ------------------------------------------------------------------------------------


def orders_serve(evidence: Evidence) -> list[Violation]:
    """What is sent to close can only close, on the side that does, and a stop is set off by the mark price.

    And no entry can only close. The side is judged of every request, refused ones as well, and held against
    the last second's positions.
    """
    if evidence.scenario.kind != "um":
        return []
    sent, found = sent_at(evidence), []
    for order in venue_orders(evidence):
        if not order.set_off and order.role and order.closes != (order.role in _CLOSING):
            what = "can do more than close" if order.role in _CLOSING else "can only close"
            text = f"{order.symbol}: {order.role} {order.client_id} {what}"
            found.append(Violation("orders_serve", text, sent.get(order.client_id, 0)))
    return [*found, *_on_wrong_side(evidence), *_off_the_mark(evidence)]


def _on_wrong_side(evidence: Evidence) -> Iterator[Violation]:
    of_symbol = states(evidence)
    for request in evidence.requests:
        names = [
            request.params[name] for name in ("newClientOrderId", "clientAlgoId") if name in request.params
        ]
        side, symbol = request.params.get("side"), request.params.get("symbol", "")
        if (
            not names
            or side is None
            or request.method not in ("POST", "WS")
            or role_of(names[0]) not in _CLOSING
        ):
            continue
        held = positions_within(of_symbol.get(symbol, []), request.wall_ns, _TOLD_NS)
        if held[-1] and all((amount > 0) != (side == "SELL") for amount in held if amount):
            text = f"{symbol}: {role_of(names[0])} {own_id(names[0])} is a {side} for {held[-1]}"
            yield Violation("orders_serve", text, request.wall_ns)


def _off_the_mark(evidence: Evidence) -> Iterator[Violation]:
    for row in evidence.ledger["algo_orders"]:
        if row.get("working_type", "MARK_PRICE") != "MARK_PRICE":
            text = f"{row['symbol']}: {row['client_algo_id']} is set off by {row['working_type']}"
            yield Violation("orders_serve", text)


def positions_within(moments: Sequence[Moment], wall_ns: int, within_ns: int) -> list[Decimal]:
    """What a symbol held at a time and in the time before it, oldest first; zero before the first moment."""
    before = state_at(list(moments), wall_ns - within_ns)
    recent = [m.position for m in moments if wall_ns - within_ns < m.wall_ns <= wall_ns]
    return [ZERO if before is None else before.position, *recent]


# -- where a stop stands -------------------------------------------------------------------------------------


def stop_never_loosened(evidence: Evidence) -> list[Violation]:
    """From stop to stop of one position the trigger only ever comes nearer, through restarts as well.

    Not judged: the stop of last resort of a rest smaller than a step that the venue has made coarser. The
    engine, which counts in whole steps, took the position for closed, and its plan with it.
    """
    found = []
    spans, moments = episodes_of(evidence), states(evidence)
    last: dict[Episode, VenueOrder] = {}
    for order in venue_orders(evidence):
        if not (order.algo or order.type == "STOP_LOSS") or order.role != "stop":
            continue
        episode = next((e for e in spans if e.symbol == order.symbol and e.has(order.created_ms)), None)
        if episode is None or (episode.side > 0) != (order.side == "SELL"):
            continue
        before, tick = last.get(episode), evidence.specs[order.symbol].tick
        if before is not None and (before.trigger - order.trigger) * episode.side > tick:
            if _is_of_rest(evidence, order, moments.get(order.symbol, [])):
                continue
            text = (
                f"{order.symbol}: stop {before.client_id} at {before.trigger} was followed by "
                f"{order.client_id} at {order.trigger}"
            )
            found.append(Violation("stop_never_loosened", text))
        last[episode] = order
    return found


def _is_of_rest(evidence: Evidence, order: VenueOrder, moments: Sequence[Moment]) -> bool:
    """Whether it covers less than a step that a fault has set, no farther than the last resort is.

    That is counted from the mark that the node knew, which lies between those of the moments around it.
    """
    sent_ns = sent_at(evidence).get(order.client_id)
    moment = None if sent_ns is None else state_at(list(moments), sent_ns)
    if sent_ns is None or moment is None or not moment.position:
        return False
    after = next((m for m in moments if m.wall_ns > sent_ns), moment)
    steps = [
        Decimal(fault.values["step"])
        for fault in evidence.scenario.faults
        if fault.values["kind"] == "change_filters" and fault.values.get("symbol") == order.symbol
    ]
    side = 1 if moment.position > 0 else -1
    is_near = any(
        (mark * (1 - side * (_LAST_RESORT + _SLACK)) - order.trigger) * side <= 0
        for mark in (moment.mark, after.mark)
    )
    return abs(moment.position) < max(steps, default=ZERO) and is_near


def stops_stand_right(evidence: Evidence) -> list[Violation]:
    """No stop is farther than the run file says from the worst of the entry's fills, and a moved one moves.

    A position that was not opened by an entry, and one that the node says it knows nothing of, may have the
    stop of last resort. A move is done when a stop at least as near is sent within 0.6 s; it is excused
    when the position was gone, left or no node there by then, and for the time that a fault was at work. A
    venue that has lost its memory has no record of the moves before.
    """
    if evidence.scenario.kind != "um":
        return []
    moves = () if has_forgotten(evidence) else _not_moved(evidence)
    return [*_too_far(evidence), *moves]


def _too_far(evidence: Evidence) -> Iterator[Violation]:
    distances = {
        instrument_symbol(s["instrument"]): StopConfig.model_validate(s.get("stop", {}))
        for s in evidence.scenario.run["strategies"]
    }
    names = {order.number: order for order in venue_orders(evidence) if not order.algo}
    unknown = {
        instrument_symbol(record["instrument"])
        for record, _ in details(evidence, "action", action="unexpected_position")
    }
    fills, moments = fills_of(evidence), states(evidence)
    for episode in episodes_of(evidence):
        config = distances.get(episode.symbol)
        mine = [
            f for f in fills if f.symbol == episode.symbol and episode.first <= f.trade_id <= episode.last
        ]
        if episode.ended_ms is None:
            mine = [f for f in fills if f.symbol == episode.symbol and f.trade_id >= episode.first]
        entries = [f.price for f in mine if f.order_id in names and names[f.order_id].role == "entry"]
        if config is None or config.method != "percent" or not entries:
            continue
        distance = Decimal(str(config.pct)) / 100
        if episode.symbol in unknown:
            distance = max(distance, _LAST_RESORT)
        price = min(entries) if episode.side > 0 else max(entries)
        farthest = price * (1 - episode.side * (distance + _SLACK))
        for order in _stops_of(evidence, episode):
            is_farther = (farthest - order.trigger) * episode.side > evidence.specs[order.symbol].tick
            if is_farther and not _is_of_rest(evidence, order, moments.get(order.symbol, [])):
                text = (
                    f"{order.symbol}: {order.role} {order.client_id} at {order.trigger}, {config.pct} % from "
                    f"{price} is planned"
                )
                yield Violation("stops_stand_right", text)


def _stops_of(evidence: Evidence, episode: Episode) -> list[VenueOrder]:
    return [
        order
        for order in venue_orders(evidence)
        if order.algo
        and order.role in _STOPS
        and order.symbol == episode.symbol
        and (order.side == "SELL") == (episode.side > 0)
        and episode.has(order.created_ms)
    ]


def _not_moved(evidence: Evidence) -> Iterator[Violation]:
    sent, moments, spans = sent_at(evidence), states(evidence), excuses(evidence)
    stops = [o for o in venue_orders(evidence) if o.algo and o.role in _STOPS]
    left = {
        (record["instrument"], int(record["wall"]))
        for record, _ in details(evidence, "action", action="exit")
    }
    for record, detail in details(evidence, "action", action="move_stop"):
        at_ns, symbol = int(record["wall"]), instrument_symbol(record["instrument"])
        until = at_ns + _FOLLOWS_NS
        mine = moments.get(symbol, [])
        held = state_at(mine, at_ns)
        if held is None or any(not m.position for m in (held, *mine) if at_ns <= m.wall_ns <= until):
            continue
        is_leaving = any(name == record["instrument"] and at_ns <= wall <= until for name, wall in left)
        if not held.position or is_leaving or overlap_ns(Span(at_ns, until), spans):
            continue
        side, tick = (1 if held.position > 0 else -1), evidence.specs[symbol].tick
        level = Decimal(repr(detail["price"])) - side * tick
        if not any(
            o.symbol == symbol
            and sent.get(o.client_id, until + 1) <= until
            and (o.trigger - level) * side >= 0
            for o in stops
            if (o.side == "SELL") == (side > 0)
        ):
            text = f"{symbol}: the stop was to move to {detail['price']}, none was sent there"
            yield Violation("stops_stand_right", text, at_ns)


# -- targets -------------------------------------------------------------------------------------------------


def targets_fit(evidence: Evidence) -> list[Violation]:
    """At the end the open targets are what the ladder has left: all that is held where its shares are whole.

    Not judged: a position that has changed in the last seconds or is on its way out, one whose targets a
    fault or the venue refused shortly before (they are tried again after eight seconds at most), and those of
    a scenario in which the lot step changes: then targets stay as they are.
    """
    lives = evidence.lives
    if (
        not evidence.settled
        or not lives
        or lives[-1].outcome != "protected"
        or evidence.scenario.kind != "um"
    ):
        return []
    if any(fault.kind == "change_filters" for fault in evidence.faults):
        return []
    held = {row["symbol"]: abs(Decimal(row["amount"])) for row in evidence.ledger["positions"]}
    found = []
    for strategy in evidence.scenario.run["strategies"]:
        symbol = instrument_symbol(strategy["instrument"])
        ladder = TargetsConfig.model_validate(strategy.get("targets", {})).ladder
        if not held.get(symbol) or not ladder or not _is_at_rest(evidence, symbol):
            continue
        mine = [o for o in venue_orders(evidence) if o.symbol == symbol and o.role == "target"]
        is_open = ("NEW", "PARTIALLY_FILLED")
        left = sum((o.quantity - o.executed for o in mine if o.status in is_open), ZERO)
        wanted = _wanted(evidence, symbol, held[symbol], sum(share for _, share in ladder))
        if wanted is not None and left != wanted:
            text = f"{symbol}: targets for {left} are open, {wanted} of {held[symbol]} are to be"
            found.append(Violation("targets_fit", text, lives[-1].ended_ns))
    return found


def _is_at_rest(evidence: Evidence, symbol: str) -> bool:
    ended_ns = evidence.lives[-1].ended_ns
    if has_changed_since(evidence, symbol, evidence.lives[-1]):
        return False
    refused = (r for r, d in details(evidence, "order") if d.get("event") in _REFUSALS)
    walls = [int(r["wall"]) for r in refused if instrument_symbol(r["instrument"]) == symbol]
    walls += [fault.ended_ns for fault in evidence.faults]
    return all(wall < ended_ns - _AGAIN_NS for wall in walls)


def _wanted(evidence: Evidence, symbol: str, held: Decimal, shares: float) -> Decimal | None:
    """What targets are to close; of a ladder that leaves a rest only the node's plan tells."""
    for state in trade_states(evidence):
        trade = state["trade"]
        if instrument_symbol(state["instrument"]) != symbol or trade is None or trade["exit_reason"]:
            continue
        if shares > _WHOLE:
            return held
        lots = sum(int(rung[1]) for rung in trade["rungs"])
        return min(held, lots * evidence.specs[symbol].step)
    return None


# -- plans ---------------------------------------------------------------------------------------------------


def plans_survive(evidence: Evidence) -> list[Violation]:
    """No position is ever a stranger to the node that opened it, killed or not.

    Excused: from a fault that may have hidden it on, for as long as the engine needs to find what it lost;
    and what a venue without its memory has.
    """
    if has_forgotten(evidence) or evidence.scenario.kind != "um":
        return []
    spans = [span for _, span in fault_spans(evidence, round(FAULT_GRACE_SECS * SECOND_NS))]
    found = []
    for record, detail in details(evidence, "action"):
        is_stranger = detail["action"] == "unexpected_position" or (
            detail["action"] == "adopt" and detail["quantity"] and detail.get("plan") == "none"
        )
        if is_stranger and not covered_by(int(record["wall"]), spans):
            symbol = instrument_symbol(record["instrument"])
            text = f"{symbol}: {detail['action']} of {detail['quantity']}: its plan is not known"
            found.append(Violation("plans_survive", text, int(record["wall"])))
    return found
