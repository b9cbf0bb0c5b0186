"""Each invariant of a campaign, with evidence that violates just it and evidence in which it holds."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from live.rehearsal.campaign.evidence import Bare, Evidence, Request
from live.rehearsal.campaign.exposure import covered, no_orphans, orphaned, unprotected
from live.rehearsal.campaign.invariants import (
    INVARIANTS,
    check,
    exit_code_truthful,
    never_reversed,
    one_entry_per_intent,
    positions_agree,
    within_filters,
    within_limit,
)
from live.rehearsal.campaign.protection import stop_never_loosened
from live.rehearsal.campaign.scenario import Fault
from tests.campaign_evidence import (
    COIN,
    NAME,
    algo,
    at,
    at_ms,
    audit_record,
    fault,
    fill,
    good,
    killed_once,
    moment,
    order,
    with_audit,
    with_ledger,
    with_run,
)

PLACED = {"symbol": COIN}


def broken(evidence: Evidence) -> set[str]:
    return {violation.invariant for violation in check(evidence)}


def bare_from(begun: float, ended: float) -> Evidence:
    """The trade with its first stop there only at `ended`."""
    moments = (moment(0, "0", 0), moment(begun, "0.1", 0, covers=False), moment(ended, "0.1", 1))
    return replace(good(), moments=(*moments, *(m for m in good().moments if m.wall_ns > at(ended))))


def test_a_good_trade_violates_nothing() -> None:
    assert check(good()) == []


def test_violations_are_named_after_their_invariants() -> None:
    assert list(INVARIANTS) == [
        "settles",
        "positions_agree",
        "within_limit",
        "one_entry_per_intent",
        "no_orphans",
        "covered",
        "within_filters",
        "risk_across_restarts",
        "audit_complete",
        "money",
        "stop_never_loosened",
        "exit_code_truthful",
        "never_reversed",
        "orders_serve",
        "stops_stand_right",
        "targets_fit",
        "plans_survive",
        "limits_kept",
        "commands_hold",
        "forecasts_agree",
        "margin_as_asked",
        "sentiment_counts",
        "targets_follow",
        "exits_happen",
    ]


def test_a_node_that_does_not_come_to_rest_is_told() -> None:
    assert broken(replace(good(), settled=False)) == {"settles"}


# -- positions -------------------------------------------------------------------------------------------


def test_a_position_that_the_node_believes_in_and_the_venue_has_not_is_told() -> None:
    view = replace(good().node_view, positions={NAME: Decimal("0.05")})
    assert broken(replace(good(), node_view=view)) == {"positions_agree"}


def test_a_position_that_the_node_does_not_know_is_told() -> None:
    view = replace(good().node_view, wall_ns=at(7.5))
    (violation,) = positions_agree(replace(good(), node_view=view))
    assert violation.detail == f"{COIN}: the node believes 0, the venue has 0.05"


def test_news_may_be_a_second_under_way_and_no_longer() -> None:
    view = replace(good().node_view, positions={NAME: Decimal("0.05")})
    assert positions_agree(replace(good(), node_view=replace(view, wall_ns=at(8.9)))) == []
    assert positions_agree(replace(good(), node_view=replace(view, wall_ns=at(9.1)))) != []


def test_a_node_that_said_it_was_unsettled_may_not_have_found_yet_what_a_fault_hid() -> None:
    view = replace(good().node_view, positions={NAME: Decimal("0.05")})
    life = replace(good().lives[0], outcome="unsettled", exit_code=1)
    evidence = replace(good(), node_view=view, lives=(life,), faults=(fault("drop_message", 7.9, 8.0),))
    assert positions_agree(evidence) == []
    assert len(positions_agree(replace(evidence, lives=good().lives))) == 1
    assert len(positions_agree(replace(evidence, faults=()))) == 1
    elsewhere = replace(evidence, faults=(fault("drop_message", 8.3, 9.9),))  # nothing happened in it
    assert len(positions_agree(elsewhere)) == 1


def test_a_node_that_ended_well_and_never_wrote_its_books_is_told() -> None:
    view = replace(good().node_view, wall_ns=None)
    assert broken(replace(good(), node_view=view)) == {"positions_agree"}


def test_a_fill_through_zero_is_told() -> None:
    fills = [fill(1, 1, "BUY", "0.1", "50000", 3.001), fill(2, 2, "SELL", "0.15", "50000", 5.0)]
    evidence = with_run(with_ledger(good(), fills=fills), strategies=[{"instrument": NAME}])
    assert [v.detail for v in never_reversed(evidence)] == [
        f"{COIN}: fill 2 took the position from 0.1 to -0.05"
    ]


def test_a_position_that_changes_its_sign_from_one_look_to_the_next_is_told() -> None:
    moments = (*good().moments[:3], moment(4.0, "-0.1", 1), moment(4.1, "0", 0))
    assert len(never_reversed(replace(good(), moments=moments))) == 1


def test_a_short_is_told_where_none_is_allowed() -> None:
    fills = [fill(1, 1, "SELL", "0.1", "50000", 3.0), fill(2, 2, "BUY", "0.1", "50000", 5.0)]
    forbidden = with_ledger(good(), fills=fills)
    assert "went short (-0.1)" in never_reversed(forbidden)[0].detail
    assert never_reversed(with_run(forbidden, strategies=[{"instrument": NAME}])) == []


def test_a_position_beyond_its_share_of_the_equity_is_told() -> None:
    strategy = {"instrument": NAME, "allow_short": False, "sizing": {"max_position_pct": 4.9}}
    small = with_run(good(), strategies=[strategy])
    assert broken(small) == {"within_limit"}
    assert "holds 0.1 worth 5000.00, more than 4928.05" in within_limit(small)[0].detail


def test_a_price_that_moved_between_close_and_fill_does_not_make_a_position_too_large() -> None:
    strategy = {"instrument": NAME, "allow_short": False, "sizing": {"max_position_pct": 5.0}}
    grown = good().moments[1]._replace(entry_price=Decimal(53_000), mark=Decimal(53_000))
    moments = (good().moments[0], grown, *good().moments[2:])
    assert within_limit(with_run(replace(good(), moments=moments), strategies=[strategy])) == []


def test_all_positions_together_keep_to_the_leverage() -> None:
    many = with_run(good(), risk={"max_leverage": 0.04})
    assert broken(many) == {"within_limit"}


# -- orders ----------------------------------------------------------------------------------------------


def second_entry(evidence: Evidence, client_id: str, number: int = 4) -> Evidence:
    """The trade with 0.1 bought a second time at 4 s, and all of it sold at 8 s."""
    twice = order(number, client_id, "BUY", "0.1", 4.0)
    fills = list(evidence.ledger["fills"])
    fills.insert(1, fill(4, number, "BUY", "0.1", "50000", 4.0))
    sent = Request(at(4.0), "WS", "order.place", {"newClientOrderId": client_id, "symbol": COIN}, 200, 0)
    changed = with_ledger(evidence, orders=[*evidence.ledger["orders"], twice], fills=fills)
    return replace(changed, requests=(*evidence.requests, sent))


def test_an_entry_without_an_approval_is_told() -> None:
    found = one_entry_per_intent(second_entry(good(), "00-a-9E0"))
    assert any("entry 00-a-9E0 of 0.1 has no approval" in v.detail for v in found)


def test_a_second_entry_in_one_position_is_told_though_it_was_approved() -> None:
    approvals = [
        audit_record(3.9, "intent", side=1, reasons=["momentum_up"]),
        audit_record(3.9, "approval", side=1, quantity=0.1),
    ]
    evidence = second_entry(good(), "00-a-9E0")
    (violation,) = one_entry_per_intent(with_audit(evidence, *evidence.audit, *approvals))
    assert violation.detail == f"{COIN}: 00-a-1E0, 00-a-9E0 filled 0.2 together, 0.1 was approved"


def test_one_client_id_that_was_carried_out_twice_is_told() -> None:
    found = one_entry_per_intent(second_entry(good(), "00-a-1E0"))
    assert any("orders 1 and 4 are both 00-a-1E0" in v.detail for v in found)


def test_an_entry_larger_than_its_approval_is_told() -> None:
    audit = [
        {**r, "detail": {"side": 1, "quantity": 0.09}} if r["kind"] == "approval" else r for r in good().audit
    ]
    assert broken(with_audit(good(), *audit)) == {"one_entry_per_intent"}


def test_an_approval_that_a_kill_has_cut_off_is_excused() -> None:
    audit = [record for record in good().audit if record["kind"] != "approval"]
    evidence = with_audit(good(), *audit)
    assert len(one_entry_per_intent(evidence)) == 1
    assert one_entry_per_intent(killed_once(evidence, kill=4.0, ready=4.5)) == []
    assert len(one_entry_per_intent(killed_once(evidence, kill=4.2, ready=6.0))) == 1


def test_an_old_approval_is_not_the_one_of_a_later_entry() -> None:
    audit = [r | {"wall": at(-2.5)} if r["kind"] == "approval" else r for r in good().audit]
    assert len(one_entry_per_intent(replace(good(), audit=tuple(audit)))) == 1
    audit = [r | {"wall": at(-1.5)} if r["kind"] == "approval" else r for r in good().audit]
    assert one_entry_per_intent(replace(good(), audit=tuple(audit))) == []


def test_a_stop_farther_away_than_the_one_before_is_told() -> None:
    algos = [algo(11, "00-a-2S0", "49000", 3.006), algo(12, "00-a-4S0", "48990", 6.0)]
    assert broken(with_ledger(good(), algo_orders=algos)) == {"stop_never_loosened"}


@pytest.mark.parametrize(
    ("trigger", "step", "count"),
    [
        ("49500", "0.1", 0),
        ("49400", "0.1", 1),  # farther than the last resort
        ("49500", "0.01", 1),  # more than a step is held
        ("49500", None, 1),
    ],
)
def test_only_of_a_rest_below_a_step_that_was_made_coarser_a_stop_of_last_resort_may_follow(
    trigger: str, step: str | None, count: int
) -> None:
    algos = [algo(11, "00-a-2S0", "49900", 3.006), algo(12, "00-a-4S0", trigger, 6.0)]
    changed = Fault(values={"kind": "change_filters", "symbol": COIN, "step": step}, at_secs=1.0)
    faults = () if step is None else (changed,)
    scenario = msgspec.structs.replace(good().scenario, faults=faults)
    evidence = replace(with_ledger(good(), algo_orders=algos), scenario=scenario)
    assert len(stop_never_loosened(evidence)) == count


def test_the_last_resort_is_counted_from_where_the_market_was_by_then() -> None:
    algos = [algo(11, "00-a-2S0", "49900", 3.006), algo(12, "00-a-4S0", "49400", 6.0)]
    changed = Fault(values={"kind": "change_filters", "symbol": COIN, "step": "0.1"}, at_secs=1.0)
    scenario = msgspec.structs.replace(good().scenario, faults=(changed,))
    evidence = replace(with_ledger(good(), algo_orders=algos), scenario=scenario)
    fallen = [m._replace(mark=Decimal(49_850)) if m.wall_ns > at(6.0) else m for m in evidence.moments]
    assert len(stop_never_loosened(evidence)) == 1
    assert stop_never_loosened(replace(evidence, moments=tuple(fallen))) == []


def test_the_stop_of_the_next_position_may_be_farther_away() -> None:
    algos = [algo(11, "00-a-2S0", "49500", 3.006), algo(12, "00-a-4S0", "48000", 9.1)]
    fills = [
        *good().ledger["fills"],
        fill(4, 4, "BUY", "0.1", "50000", 9.0),
    ]
    assert stop_never_loosened(with_ledger(good(), algo_orders=algos, fills=fills)) == []


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, -1111, True),
        (400, -4164, True),
        (400, -2019, True),
        (400, -1102, True),
        (429, -1003, True),
        (418, -1003, True),
        (400, -2021, False),  # the price was faster
        (400, -2022, False),  # the position was gone first
        (400, -2011, False),
        (200, 0, False),
        (None, None, False),
    ],
)
def test_a_refusal_that_the_node_could_have_known_of_is_told(
    status: int | None, code: int | None, told: bool
) -> None:
    request = Request(at(4), "POST", "/fapi/v1/order", PLACED, status, code)
    evidence = replace(good(), requests=(*good().requests, request))
    assert broken(evidence) == ({"within_filters"} if told else set())
    faulted = replace(good(), requests=(*good().requests, request._replace(faulted=True)))
    assert broken(faulted) == set()


def test_a_price_too_far_from_a_mark_that_jumped_is_told_only_where_it_is_sent_again() -> None:
    request = Request(at(4), "WS", "order.place", PLACED | {"side": "BUY", "price": "60000"}, 400, -4016)
    jumped = replace(good(), faults=(fault("jump_price", 1.5, 2.0),))
    once = replace(jumped, requests=(*good().requests, request))
    assert within_filters(once) == []
    assert len(within_filters(replace(once, faults=()))) == 1
    assert len(within_filters(replace(once, faults=(fault("jump_price", 0.5, 0.9),)))) == 1
    elsewhere = request._replace(params=PLACED | {"side": "BUY", "price": "59000"})
    assert within_filters(replace(once, requests=(*once.requests, elsewhere))) == []
    assert len(within_filters(replace(once, requests=(*once.requests, request)))) == 2


def test_rules_that_a_fault_changes_in_flight_excuse_a_refusal_by_them() -> None:
    request = Request(at(4), "POST", "/fapi/v1/order", PLACED, 400, -4023)
    evidence = replace(good(), requests=(*good().requests, request))
    assert within_filters(replace(evidence, faults=(fault("change_filters", 3.5, 5),))) == []
    assert len(within_filters(replace(evidence, faults=(fault("change_filters", 5, 6),)))) == 1
    assert len(within_filters(replace(evidence, faults=(fault("drop_message", 3.5, 5),)))) == 1


def test_a_clock_that_is_right_again_is_learnt_from_one_refusal_at_each_address() -> None:
    first = Request(at(6), "GET", "/fapi/v1/openAlgoOrders", {}, 400, -1021)
    skewed = replace(good(), faults=(fault("skew_clock", 1.5, 3.0),))
    learnt = (
        first,
        first._replace(wall_ns=at(8.9)),
        first._replace(path="/fapi/v3/account", wall_ns=at(9.5)),
    )
    assert within_filters(replace(skewed, requests=(*good().requests, *learnt))) == []
    again = first._replace(wall_ns=at(9.1))
    told = within_filters(replace(skewed, requests=(*good().requests, *learnt, again)))
    assert [v.at_ns for v in told] == [at(9.1)]
    assert len(within_filters(replace(good(), requests=(*good().requests, first)))) == 1


def test_changed_rules_are_known_three_seconds_after_the_first_refusal_by_them() -> None:
    first = Request(at(4), "POST", "/fapi/v1/order", PLACED, 400, -4023)
    changed = replace(good(), faults=(fault("change_filters", 3.5, 9.5),))
    soon = replace(changed, requests=(*good().requests, first, first._replace(wall_ns=at(6.9))))
    assert within_filters(soon) == []
    late = replace(soon, requests=(*soon.requests, first._replace(wall_ns=at(7.1))))
    assert [v.at_ns for v in within_filters(late)] == [at(7.1)]
    other = replace(changed, requests=(*good().requests, first._replace(code=-2019)))
    assert len(within_filters(other)) == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"price": "51000.05"}, "is off the tick 0.1"),
        ({"quantity": "0.0505"}, "is off the step 0.001"),
        ({"quantity": "0"}, "has a quantity of 0 outside"),
        ({"reduce_only": False, "quantity": "0.001"}, "has a notional of 51.00 below 100"),
    ],
)
def test_an_order_that_the_venue_took_outside_its_own_filters_is_told(
    changes: dict[str, Any], text: str
) -> None:
    bought, target, sold = good().ledger["orders"]
    (violation,) = within_filters(with_ledger(good(), orders=[bought, target | changes, sold]))
    assert text in violation.detail


def test_what_only_closes_may_be_below_the_least_notional() -> None:
    bought, target, sold = good().ledger["orders"]
    small = target | {"quantity": "0.001", "executed": "0.001"}
    assert within_filters(with_ledger(good(), orders=[bought, small, sold])) == []


# -- protection ------------------------------------------------------------------------------------------


def test_the_time_without_a_stop_is_measured_at_the_venue() -> None:
    assert unprotected(good()) == [Bare(COIN, at(3.001), 0.005, (), False)]


def test_a_position_that_is_bare_for_too_long_is_told() -> None:
    assert broken(bare_from(3.001, 5.002)) == {"covered"}
    assert broken(bare_from(3.001, 5.0)) == set()


def test_a_fault_excuses_its_own_time_and_some_after_it() -> None:
    named = replace(bare_from(3.001, 9.0), faults=(fault("error_answer", 3.0, 3.5, "stop_4xxx-0"),))
    assert covered(named) == []
    assert unprotected(named)[0].fault_kinds == ("stop_4xxx",)
    long_over = replace(named, faults=(fault("error_answer", -20.0, -9.5, "stop_4xxx-0"),))
    assert [v.invariant for v in covered(long_over)] == ["covered"]
    assert unprotected(long_over)[0].fault_kinds == ()


def test_a_fault_that_hides_nothing_excuses_two_seconds_after_it_and_not_twelve() -> None:
    quotes = replace(bare_from(3.001, 7.4), faults=(fault("stale_quotes", 3.0, 3.5, "stale_quotes-0"),))
    assert covered(quotes) == []
    assert len(covered(replace(quotes, moments=bare_from(3.001, 7.6).moments))) == 1
    market = replace(bare_from(3.001, 7.6), faults=(fault("drop_message", 3.0, 3.5, "drop_market-0"),))
    assert len(covered(market)) == 1
    own = replace(market, faults=(fault("drop_message", 3.0, 3.5, "drop_user-0"),))
    assert covered(own) == []


def test_a_stop_that_was_there_is_not_given_up_for_a_moment() -> None:
    gap = (moment(6.0, "0.05", 0, covers=False), moment(6.001, "0.05", 1))
    kept = [m for m in good().moments if m.wall_ns not in (at(6.0), at(6.001))]
    evidence = replace(good(), moments=tuple(sorted([*kept, *gap], key=lambda m: m.wall_ns)))
    assert [v.at_ns for v in covered(evidence)] == [at(6.0)]
    assert covered(replace(evidence, faults=(fault("drop_request", 5.9, 6.1),))) == []
    filled = replace(
        evidence,
        moments=tuple(
            m._replace(position=Decimal("0.03")) if m.wall_ns == at(6.0) else m for m in evidence.moments
        ),
    )  # the position itself has changed
    assert covered(filled) == []


def test_a_position_cannot_be_covered_while_no_node_is_alive() -> None:
    evidence = killed_once(bare_from(3.001, 6.5), kill=3.002, ready=5.0)
    assert covered(evidence) == []
    (bare,) = unprotected(evidence)
    assert bare.had_kill
    assert bare.secs == pytest.approx(3.499)
    late = killed_once(bare_from(3.001, 9.5), kill=3.002, ready=5.0)
    assert "2.501 s without an excuse (no fault, a kill)" in covered(late)[0].detail


def test_a_position_without_a_stop_at_the_end_is_told_whatever_happened() -> None:
    evidence = replace(good(), moments=(*good().moments, moment(10.9, "0.1", 0, covers=False)))
    assert [v.detail for v in covered(replace(evidence, faults=(fault("drop_request", 10, 11),)))] == [
        f"{COIN} holds 0.1 without a stop at the end"
    ]


def test_orders_left_when_flat_are_measured_and_told() -> None:
    (orphan,) = orphaned(good())
    assert (orphan.secs, orphan.orders) == (0.002, 1)
    moments = (*good().moments[:-1], moment(10.1, "0", 0))
    assert broken(replace(good(), moments=moments)) == {"no_orphans", "exit_code_truthful"} - {
        "exit_code_truthful"
    }
    assert no_orphans(replace(good(), moments=(*good().moments[:-1], moment(9.9, "0", 0)))) == []


def test_orders_left_when_flat_at_the_end_are_told() -> None:
    lingering = replace(good(), moments=(*good().moments, moment(10.2, "0", 1)))
    assert "no_orphans" in broken(lingering)


def test_what_a_stop_leaves_that_fired_after_the_node_had_ended_is_not_the_nodes() -> None:
    later = (moment(10.6, "0", 1),)
    assert no_orphans(replace(good(), moments=(*good().moments, *later))) == []


def test_an_entry_that_rests_is_no_orphan() -> None:
    resting = (moment(0, "0", 0), moment(1, "0", 1, entries=1), moment(6, "0", 0))
    assert orphaned(replace(good(), moments=resting)) == []


# -- lives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended_by", "code", "outcome", "text"),
    [
        ("end", 0, "unsettled", "ended with 0 and said unsettled"),
        ("end", 0, None, "ended with 0 and said None"),
        ("end", 1, "flat", "ended with 1 and said flat"),
        ("end", -6, None, "ended with -6"),
        ("itself", -11, None, "ended with -11"),
        ("end", 3, "protected", f"said protected, the venue has {COIN} 0 with 0 orders"),
        ("end", 0, "protected", "ended with 0 and said protected"),
        ("end", 3, "flat", "ended with 3 and said flat"),
        ("harness", None, None, "did not end in time"),
        ("end", 1, "unsettled", None),
        ("itself", 2, None, None),
        ("kill", -9, None, None),
    ],
)
def test_a_life_says_truly_how_it_ended(
    ended_by: str, code: int | None, outcome: str | None, text: str | None
) -> None:
    life = replace(good().lives[0], ended_by=ended_by, exit_code=code, outcome=outcome)
    found = exit_code_truthful(replace(good(), lives=(life,)))
    assert [v.detail for v in found] == ([] if text is None else [f"life 1 {text}"])


def test_a_stop_that_fires_while_the_process_ends_does_not_make_protected_untrue() -> None:
    life = replace(good().lives[0], outcome="protected", exit_code=3)
    moments = (*good().moments[:3], moment(10.2, "0", 0))
    assert exit_code_truthful(replace(good(), lives=(life,), moments=moments)) == []


def test_times_of_market_and_wall_are_the_same_in_this_evidence() -> None:
    assert {m.market_ms for m in good().moments} == {at_ms((m.wall_ns - at(0)) / 1e9) for m in good().moments}
