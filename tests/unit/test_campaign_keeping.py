"""What a node wrote down and remembered: evidence that violates just one thing, and some that does not."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from live.rehearsal.campaign.evidence import Evidence
from live.rehearsal.campaign.invariants import check
from live.rehearsal.campaign.keeping import audit_complete, money, risk_across_restarts
from live.rehearsal.campaign.scenario import Fault
from tests.campaign_evidence import (
    NAME,
    at,
    at_ms,
    audit_record,
    fault,
    good,
    income,
    killed_once,
    moment,
    order,
    with_audit,
    with_ledger,
    with_run,
)

QUIET: dict[str, Any] = {"mode": "NORMAL", "reasons": [], "equity": 1e5, "day_opening": 1e5, "peak": 1e5}
STREAK: dict[str, Any] = {"mode": "PAUSED", "reasons": ["loss_streak"], "loss_streak.until": at(100)}


def broken(evidence: Evidence) -> set[str]:
    return {violation.invariant for violation in check(evidence)}


def restarted(before: dict[str, Any], after: dict[str, Any]) -> Evidence:
    """The trade, and a session after it whose guard has another word."""
    last = audit_record(10.05, "risk", **QUIET | before)
    first = audit_record(10.1, "risk", "s2", **QUIET | after)
    return with_audit(good(), *good().audit, last, first)


def with_guard(evidence: Evidence, **day: Any) -> Evidence:
    state = {"guard.json": {"state": {"day": {"entries": [], "streak": 0} | day}}}
    return replace(evidence, node_view=replace(evidence.node_view, state=state))


# -- risk ---------------------------------------------------------------------------------------------------


def test_a_pause_that_a_restart_forgets_is_told() -> None:
    assert broken(restarted(STREAK, QUIET)) == {"risk_across_restarts"}
    assert broken(restarted(STREAK, STREAK)) == set()


def test_a_pause_that_was_over_by_then_is_not() -> None:
    assert risk_across_restarts(restarted(STREAK | {"loss_streak.until": at(10.0)}, QUIET)) == []


def test_a_halt_holds_until_it_is_lifted() -> None:
    halted = {"mode": "HALTED", "reasons": ["halt_rejections"]}
    assert len(risk_across_restarts(restarted(halted, QUIET))) == 1
    assert risk_across_restarts(restarted(halted, halted)) == []


def test_what_is_known_anew_at_each_start_is_not_asked_for() -> None:
    assert risk_across_restarts(restarted({"mode": "REDUCED", "reasons": ["drawdown"]}, QUIET)) == []


def test_a_symbol_that_was_blocked_stays_so() -> None:
    blocked = {f"blocked.{NAME}": "stop_out", f"blocked.{NAME}.until": at(100)}
    assert [v.detail for v in risk_across_restarts(restarted(blocked, QUIET))] == [
        f"blocked.{NAME} was forgotten"
    ]


def test_the_days_opening_equity_and_the_peak_outlive_a_restart() -> None:
    assert "opening equity" in risk_across_restarts(restarted(QUIET, {"day_opening": 99_000.0}))[0].detail
    assert "peak" in risk_across_restarts(restarted(QUIET, {"peak": 99_000.0}))[0].detail
    assert risk_across_restarts(restarted(QUIET, {"peak": 101_000.0})) == []


def test_an_entry_that_the_guard_has_not_counted_is_told() -> None:
    limited = with_run(good(), risk={"day": {"max_entries_day": 5}})
    assert broken(limited) == {"risk_across_restarts"}
    assert risk_across_restarts(with_guard(limited, entries=[at(3)])) == []
    assert risk_across_restarts(killed_once(limited, kill=4.0, ready=4.5)) == []


def test_more_entries_than_the_day_allows_are_told() -> None:
    again = [audit_record(8.5 + n / 10, "approval", side=1, quantity=0.1) for n in range(2)]
    limited = with_run(with_audit(good(), *good().audit, *again), risk={"day": {"max_entries_day": 2}})
    counted = with_guard(limited, entries=[at(3), at(8.5), at(8.6)])
    assert [v.detail for v in risk_across_restarts(counted)] == [
        "3 entries were approved where 2 are allowed"
    ]


def test_what_became_of_an_entry_under_way_is_no_entry_of_its_own() -> None:
    repriced = [
        audit_record(3.5, "intent", side=1, reasons=["reprice"]),
        audit_record(3.5, "approval", side=1, quantity=0.1),
    ]
    limited = with_run(with_audit(good(), *good().audit, *repriced), risk={"day": {"max_entries_day": 1}})
    assert risk_across_restarts(with_guard(limited, entries=[at(3)])) == []


def test_a_streak_that_the_fills_do_not_bear_out_is_told() -> None:
    assert [v.detail for v in risk_across_restarts(with_guard(good(), streak=1))] == [
        "the guard counts 1 losses in a row, the venue's fills say 0"
    ]


def test_a_trade_that_a_kill_cut_off_may_count_twice_and_no_more() -> None:
    fills = [*good().ledger["fills"][:2], good().ledger["fills"][2] | {"realized": "-100"}]
    lost = with_ledger(good(), fills=fills)
    for streak, told in ((1, False), (2, False), (3, True), (0, True)):
        evidence = killed_once(with_guard(lost, streak=streak), kill=8.5, ready=9)
        assert bool(risk_across_restarts(evidence)) is told
    long_before = killed_once(with_guard(lost, streak=2), kill=9.1, ready=9.5)
    assert [v.detail for v in risk_across_restarts(long_before)] == [
        "the guard counts 2 losses in a row, the venue's fills say 1"
    ]


def with_target_again(executed: str) -> Evidence:
    """The trade with its target, half of it all, sent a second time."""
    again = order(4, "00-b-1T0", "SELL", "0.03", 7.0, type="LIMIT", price="51000", executed=executed)
    bought, target, sold = good().ledger["orders"]
    strategy = {
        "instrument": NAME,
        "targets": {"tranches": [{"pct": 2.0, "close_pct": 50.0}, {"pct": 4.0, "close_pct": 50.0}]},
    }
    return with_run(with_ledger(good(), orders=[bought, target, again, sold]), strategies=[strategy])


def test_a_target_that_closes_more_than_its_share_is_told() -> None:
    assert [v.detail for v in risk_across_restarts(with_target_again("0.03"))] == [
        "BTCUSDT: 00-a-3T0, 00-b-1T0 closed 0.08 of 0.1, target 0 is 0.5 of it"
    ]


def test_the_rest_of_a_target_may_be_sent_again() -> None:
    assert risk_across_restarts(with_target_again("0")) == []
    assert risk_across_restarts(with_target_again("0.003")) == []  # within two steps and the least notional


def test_a_share_of_a_target_is_rounded_to_the_venues_newest_step() -> None:
    evidence = with_target_again("0.03")
    coarser = Fault(values={"kind": "change_filters", "symbol": "BTCUSDT", "step": "0.02"}, at_secs=2.0)
    evidence = replace(evidence, scenario=msgspec.structs.replace(evidence.scenario, faults=(coarser,)))
    assert risk_across_restarts(evidence) == []


def protected(held_lots: int, stop_ticks: int) -> Evidence:
    """The trade kept open, with what a strategy remembers of it."""
    fills, bookings = good().ledger["fills"][:1], good().ledger["income"][:1]
    held = {"symbol": "BTCUSDT", "side": "BOTH", "amount": "0.1", "entry_price": "50000"}
    stop = good().ledger["algo_orders"][0] | {"status": "NEW"}
    evidence = with_ledger(
        good(),
        fills=fills,
        income=bookings,
        assets=[{"asset": "USDT", "wallet": "99997.5"}],
        positions=[held],
        orders=good().ledger["orders"][:1],
        algo_orders=[stop],
        open_algo_orders=[stop],
    )
    trade = {"plan": [1, 500_000, stop_ticks, 0, 0, 0]}
    memory = {"instrument": NAME, "held_lots": held_lots, "trade": trade}
    view = replace(
        good().node_view,
        positions={NAME: Decimal("0.1")},
        balance=Decimal("99997.5"),
        state={"trade-momentum.json": {"state": memory}},
    )
    life = replace(good().lives[0], outcome="protected", exit_code=3)
    return replace(evidence, moments=good().moments[:3], lives=(life,), node_view=view)


def test_what_a_strategy_remembers_of_its_trade_is_what_the_venue_has() -> None:
    assert check(protected(100, 490_000)) == []
    assert [v.detail for v in check(protected(50, 490_000))] == [
        "the node's file holds 0.050 BTCUSDT, the venue has 0.1"
    ]
    (violation,) = check(protected(100, 489_000))
    assert violation.detail == "the node's file has the stop of BTCUSDT at 48900.0, the venue has it at 49000"


# -- the audit stream ---------------------------------------------------------------------------------------


def test_a_gap_in_the_count_is_told() -> None:
    audit = good().audit
    evidence = replace(good(), audit=(*audit[:6], *audit[7:]))
    assert "7 follows 5" in audit_complete(evidence)[0].detail


def test_a_session_has_to_begin_at_nought_and_come_after_those_before() -> None:
    late = audit_record(10.2, "bar", "s0", close="1.0")
    assert broken(with_audit(good(), *good().audit, late)) == {"audit_complete"}
    cut = replace(good(), audit=good().audit[1:])
    assert [v.detail for v in audit_complete(cut)] == ["session s1: 1 follows nothing"]


def test_time_does_not_go_back_in_a_session() -> None:
    audit = list(good().audit)
    audit[1] = {**audit[1], "wall": at(1.0)}
    assert [v.detail for v in audit_complete(replace(good(), audit=tuple(audit)))] == [
        "session s1: time goes back at 1"
    ]


def test_each_kill_may_cut_one_line() -> None:
    cut = replace(good(), audit_unreadable=1)
    assert broken(cut) == {"audit_complete"}
    assert audit_complete(killed_once(cut, kill=9.5, ready=9.8)) == []


@pytest.mark.parametrize(
    ("client_id", "event", "text"),
    [
        ("00-a-5X0", "OrderFilled", "00-a-5X0 filled 0.05 at the venue, 0 in the audit stream"),
        ("00-a-4S0", "OrderAccepted", "BTCUSDT: stop 00-a-4S0 is not in the audit stream"),
    ],
)
def test_a_fill_or_an_order_that_is_missing_is_told_unless_something_took_it(
    client_id: str, event: str, text: str
) -> None:
    audit = [
        r
        for r in good().audit
        if (r["detail"].get("client_order_id"), r["detail"].get("event")) != (client_id, event)
    ]
    if event == "OrderFilled":  # the order itself is known
        audit.insert(-2, audit_record(8.0005, "order", event="OrderAccepted", client_order_id=client_id))
    evidence = with_audit(good(), *audit)
    assert text in [v.detail for v in audit_complete(evidence)]
    hidden = replace(evidence, faults=(fault("drop_message", 5.0, 7.0, "drop_user-0"),))
    assert bool(audit_complete(hidden)) is (event != "OrderFilled")  # an order the node knows first
    for kind, begun, name in (
        ("stale_quotes", 7.9, "stale_quotes-0"),
        ("drop_message", 7.9, "drop_market-0"),
        ("error_answer", 5.0, "failed_1007-0"),
    ):
        assert audit_complete(replace(evidence, faults=(fault(kind, begun, begun + 0.5, name),)))
    early, late = killed_once(evidence, 3.0, 3.5), killed_once(evidence, 8.9, 9.5)
    assert text in [v.detail for v in audit_complete(early)]
    if event == "OrderFilled":
        assert audit_complete(late) == []


def test_a_fill_after_the_last_word_of_a_node_that_ends_is_not_missing() -> None:
    audit = [r for r in good().audit if r["detail"].get("client_order_id") != "00-a-5X0"]
    audit.insert(-2, audit_record(7.9, "order", event="OrderAccepted", client_order_id="00-a-5X0"))
    for stopped, complaints in ((7.95, 0), (8.05, 1)):
        audit[-2:] = [r | {"wall": at(stopped)} for r in audit[-2:]]
        assert len(audit_complete(with_audit(good(), *audit))) == complaints


def test_a_fill_that_the_node_says_to_have_missed_is_not_missing() -> None:
    audit = [r for r in good().audit if r["detail"].get("client_order_id") != "00-a-5X0"]
    audit.insert(-2, audit_record(8.0005, "order", event="OrderAccepted", client_order_id="00-a-5X0"))
    for believed, complaints in ((0.05, 0), (0.04, 1)):
        said = audit_record(9.0, "action", action="disbelieve", quantity=believed, held=0.0)
        found = audit_complete(with_audit(good(), *audit, said | {"wall": at(10.1)}))
        assert len(found) == complaints


def test_an_order_that_was_adopted_is_not_missing() -> None:
    audit = [r for r in good().audit if r["detail"].get("client_order_id") != "00-a-4S0"]
    adopted = audit_record(6.5, "action", action="adopt", orders={"00-a-4S0": "stop"})
    assert audit_complete(with_audit(good(), *audit, adopted | {"wall": at(10.1)})) == []


# -- money --------------------------------------------------------------------------------------------------


def test_a_balance_that_is_a_cent_away_is_told() -> None:
    view = replace(good().node_view, balance=Decimal("100070.7175"))
    assert broken(replace(good(), node_view=view)) == {"money"}
    close = replace(good().node_view, balance=Decimal("100070.7180"))
    assert money(replace(good(), node_view=close)) == []


def test_what_is_booked_after_the_books_were_written_is_not_their_mistake() -> None:
    ledger = with_ledger(
        good(),
        income=[*good().ledger["income"], income(6, "FUNDING_FEE", "-3", 0, 10.4)],
        assets=[{"asset": "USDT", "wallet": "100067.7275"}],
    )
    evidence = replace(ledger, moments=(*good().moments, moment(10.4, "0", 0)))
    assert money(evidence) == []
    assert at_ms(10.4) == evidence.moments[-1].market_ms


@pytest.mark.parametrize("part", ["commissions", "realized"])
def test_commissions_and_profits_that_are_not_the_venues_are_told(part: str) -> None:
    changes: dict[str, Any] = {part: {NAME: Decimal("4.0")}}
    view = replace(good().node_view, **changes)
    evidence = replace(good(), node_view=view)
    assert broken(evidence) == {"money"}
    assert money(replace(evidence, faults=(fault("drop_message", 4, 5),))) == []
    assert money(killed_once(evidence, kill=6.5, ready=7.0)) == []


def test_a_ledger_that_contradicts_itself_is_told() -> None:
    assert broken(with_ledger(good(), assets=[{"asset": "USDT", "wallet": "100071.7275"}])) == {"money"}
