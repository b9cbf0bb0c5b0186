"""Orders that protect, limits, forecasts: evidence that violates one thing, and some that nearly does."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from live.rehearsal.campaign.evidence import Bare, Evidence, Mark, Request
from live.rehearsal.campaign.forecasting import forecasts_agree
from live.rehearsal.campaign.generate import plain_scenario_of
from live.rehearsal.campaign.invariants import INVARIANTS, check
from live.rehearsal.campaign.kill_table import Killed
from live.rehearsal.campaign.limits import limits_kept, profits_told
from live.rehearsal.campaign.looks import Bound, bounds_of
from live.rehearsal.campaign.mutants import MUTANTS
from live.rehearsal.campaign.protection import orders_serve, plans_survive, stops_stand_right, targets_fit
from live.rehearsal.campaign.results import Result, shortfalls
from live.rehearsal.campaign.scenario import Fault
from tests.campaign_evidence import (
    COIN,
    NAME,
    algo,
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

STRATEGY: dict[str, Any] = {"instrument": NAME, "allow_short": False, "sizing": {"max_position_pct": 6.0}}


def broken(evidence: Evidence) -> set[str]:
    return {violation.invariant for violation in check(evidence)}


# -- what orders are for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 3])
def test_a_target_or_an_exit_that_can_do_more_than_close_is_told(number: int) -> None:
    orders = [
        row | {"reduce_only": row["reduce_only"] and row["order_id"] != number}
        for row in good().ledger["orders"]
    ]
    assert broken(with_ledger(good(), orders=orders)) == {"orders_serve"}


def test_an_entry_that_can_only_close_is_told() -> None:
    entry, *others = good().ledger["orders"]
    evidence = with_ledger(good(), orders=[entry | {"reduce_only": True}, *others])
    assert "orders_serve" in broken(evidence)


def test_a_stop_on_the_wrong_side_is_told_though_the_venue_refuses_it() -> None:
    params = {"clientAlgoId": "00-a-9S0", "symbol": COIN, "side": "BUY"}
    wrong = Request(at(4.5), "POST", "/fapi/v1/algoOrder", params, 400, -2021)
    evidence = replace(good(), requests=(*good().requests, wrong))
    assert [v.at_ns for v in orders_serve(evidence)] == [at(4.5)]
    right = wrong._replace(params=params | {"side": "SELL"})
    assert orders_serve(replace(good(), requests=(*good().requests, right))) == []
    short = moment(3.9, "-0.1", 1)  # what it was for may have been another position a moment ago
    turned = replace(evidence, moments=tuple(sorted([*good().moments, short, moment(3.95, "0.1", 1)])))
    assert [v for v in orders_serve(turned) if v.at_ns == at(4.5)] == []


def test_a_stop_that_the_last_price_sets_off_is_told() -> None:
    stop, raised = good().ledger["algo_orders"]
    by_last = stop | {"working_type": "CONTRACT_PRICE"}
    assert broken(with_ledger(good(), algo_orders=[by_last, raised])) == {"orders_serve"}


# -- where stops stand --------------------------------------------------------------------------------------


def planned(pct: float) -> Evidence:
    return with_run(good(), strategies=[STRATEGY | {"stop": {"pct": pct}}])


def test_a_stop_farther_than_planned_from_the_worst_fill_is_told() -> None:
    assert stops_stand_right(planned(2.0)) == []  # 49,000 of 50,000
    assert broken(planned(1.9)) == {"stops_stand_right"}
    assert stops_stand_right(planned(1.96)) == []  # a twentieth of a per cent: parts of a fill
    stray = audit_record(4.0, "action", action="unexpected_position", quantity=0.1)
    near = [algo(11, "00-a-2S0", "49510", 3.006)]
    last_resort = with_ledger(planned(0.5), algo_orders=near)
    assert len(stops_stand_right(last_resort)) == 1
    assert stops_stand_right(with_audit(last_resort, *good().audit, stray)) == []


def moved(**values: Any) -> Evidence:
    """The trade, whose stop was also to move at 7 s."""
    action = audit_record(7.0, "action", action="move_stop", price=values.get("price", 49_800.0))
    return with_audit(good(), *good().audit[:-3], action, *good().audit[-3:])


def test_a_stop_that_does_not_move_where_it_was_to_is_told() -> None:
    assert broken(moved()) == {"stops_stand_right"}
    assert stops_stand_right(moved(price=49_500.0)) == []  # there already
    assert stops_stand_right(moved(price=49_500.1)) == []  # within a tick


def test_a_venue_that_has_forgotten_its_orders_accuses_of_no_move() -> None:
    lost = Fault(values={"kind": "restart_venue", "memory": False}, at_secs=8.0)
    evidence = replace(moved(), scenario=msgspec.structs.replace(moved().scenario, faults=(lost,)))
    assert stops_stand_right(evidence) == []


def test_a_move_is_excused_only_by_what_was_at_work_then() -> None:
    for begun, excused in ((6.9, True), (7.5, True), (7.7, False), (-6.0, False)):
        evidence = replace(moved(), faults=(fault("error_answer", begun, begun + 0.05, "failed_1007-0"),))
        assert (stops_stand_right(evidence) == []) is excused
    leaving = audit_record(7.5, "action", action="exit", reason="time")
    late = audit_record(7.7, "action", action="exit", reason="time")
    audit = moved().audit
    assert stops_stand_right(with_audit(moved(), *audit, leaving)) == []
    assert len(stops_stand_right(with_audit(moved(), *audit, late))) == 1


# -- targets and plans --------------------------------------------------------------------------------------


def held(open_lots: str, rungs: list[list[float]] | None = None, *, shares: float = 50.0) -> Evidence:
    """The trade kept open with 0.1 held, with a target of `open_lots` and a ladder that closes all of it."""
    tranches = [{"pct": 2.0, "close_pct": 50.0}, {"pct": 4.0, "close_pct": shares}]
    target = order(2, "00-a-3T0", "SELL", open_lots, 3.007, type="LIMIT", price="51000", reduce_only=True)
    evidence = with_ledger(
        good(),
        orders=[good().ledger["orders"][0], target | {"executed": "0", "status": "NEW"}],
        positions=[{"symbol": COIN, "amount": "0.1"}],
    )
    trade = {"rungs": rungs or [[1, 50, 0.5, 0]], "exit_reason": None}
    files = {"trade-m.json": {"state": {"instrument": NAME, "held_lots": 100, "trade": trade}}}
    view = replace(evidence.node_view, state=files)
    life = replace(evidence.lives[0], outcome="protected")
    evidence = replace(evidence, moments=good().moments[:4], lives=(life,), node_view=view)
    return with_run(evidence, strategies=[STRATEGY | {"targets": {"tranches": tranches}}])


def test_targets_that_do_not_close_all_that_their_shares_say_are_told() -> None:
    assert targets_fit(held("0.1")) == []
    assert [v.detail for v in targets_fit(held("0.05"))] == [
        "BTCUSDT: targets for 0.05 are open, 0.1 of 0.1 are to be"
    ]
    assert len(targets_fit(held("0.12"))) == 1


def test_of_a_ladder_that_leaves_a_rest_the_nodes_plan_tells() -> None:
    rungs = [[1, 50, 0.5, 0], [2, 25, 0.25, 0]]
    assert targets_fit(held("0.075", rungs, shares=25.0)) == []
    assert len(targets_fit(held("0.05", rungs, shares=25.0))) == 1


def test_targets_are_not_judged_while_a_fault_may_have_kept_them_away() -> None:
    assert targets_fit(replace(held("0.05"), faults=(fault("error_answer", 5, 6),))) == []
    long_ago = replace(held("0.05"), faults=(fault("error_answer", -8, -2),))
    assert len(targets_fit(long_ago)) == 1


@pytest.mark.parametrize(
    "detail",
    [{"action": "unexpected_position"}, {"action": "adopt", "plan": "none", "orders": {}}],
)
def test_a_position_whose_plan_is_not_known_is_told(detail: dict[str, Any]) -> None:
    record = audit_record(4.0, "action", quantity=0.1, **detail)
    evidence = with_audit(good(), *good().audit, record)
    assert "plans_survive" in broken(evidence)
    assert plans_survive(replace(evidence, faults=(fault("drop_message", 3.0, 3.5),))) == []
    assert len(plans_survive(replace(evidence, faults=(fault("drop_message", 4.5, 5.0),)))) == 1
    assert len(plans_survive(killed_once(evidence, 3.5, 3.9))) == 1  # a kill is no excuse
    known = audit_record(4.0, "action", quantity=0.1, action="adopt", plan="remembered", orders={})
    assert plans_survive(with_audit(good(), *good().audit, known)) == []


# -- limits and profits -------------------------------------------------------------------------------------


def lost(limit: dict[str, Any], approved: float, *, mark: str = "50500") -> Evidence:
    """The trade with a loss of 100 at 8 s, the account limited, and an entry approved at some time after."""
    target, sold = good().ledger["fills"][1:]
    fills = [good().ledger["fills"][0], target | {"realized": "0"}, sold | {"realized": "-95.7275"}]
    rows = [r for r in good().ledger["income"] if r["kind"] == "COMMISSION"]
    rows.append(income(4, "REALIZED_PNL", "-95.7275", 3, 8.0))
    again = audit_record(approved, "approval", side=1, quantity=0.1)
    evidence = with_audit(with_ledger(good(), fills=fills, income=rows), *good().audit, again)
    marks = tuple(Mark(at(secs), at_ms(secs), COIN, Decimal(mark)) for secs in range(1, 200))
    (life,) = evidence.lives
    evidence = replace(evidence, marks=marks, lives=(replace(life, ended_ns=at(200)),), ended_ns=at(200))
    return with_run(evidence, risk=limit)


def test_an_entry_after_a_streak_of_losses_is_told() -> None:
    one = {"day": {"loss_streak": 1, "loss_streak_pause_minutes": 1.0}}
    assert [v.at_ns for v in limits_kept(lost(one, 10.5))] == [at(10.5)]
    assert limits_kept(lost(one, 9.5)) == []  # what the venue did is heard of within two seconds
    assert limits_kept(lost(one, 69.0)) == []  # the pause is over
    assert limits_kept(lost({"day": {"loss_streak": 2}}, 10.5)) == []
    hidden = replace(lost(one, 10.5), faults=(fault("drop_message", 6.0, 6.1),))
    assert limits_kept(hidden) == []
    elsewhere = replace(lost(one, 10.5), faults=(fault("drop_message", 9.0, 9.1),))
    assert len(limits_kept(elsewhere)) == 1


def test_an_entry_after_the_days_loss_is_told_once_the_guard_has_looked() -> None:
    limit = {"day": {"max_loss_pct": 0.05}}
    minute = -(-at(8.0) // 60_000_000_000) * 60_000_000_000
    after = (minute - at(0)) / 1e9 + 1.0  # a timer may be late
    assert limits_kept(lost(limit, after + 1.9)) == []
    assert len(limits_kept(lost(limit, after + 2.1))) == 1
    assert limits_kept(lost({"day": {"max_loss_pct": 0.1}}, after + 2.1)) == []
    soon = killed_once(replace(lost(limit, 13.0), ended_ns=at(20)), kill=9.0, ready=10.5)
    assert len(limits_kept(soon)) == 1  # a start looks at once
    hidden = replace(soon, faults=(fault("drop_message", 7.0, 7.1),))
    assert limits_kept(hidden) == []


@pytest.mark.parametrize(
    "limit",
    [
        {"portfolio": {"max_drawdown_pct": 0.05}},
        {"kill_switch": {"max_daily_loss_pct": 0.05}},
        {"kill_switch": {"max_drawdown_pct": 0.05}},
    ],
)
def test_an_entry_after_any_other_loss_is_told_as_well(limit: dict[str, Any]) -> None:
    soon = killed_once(replace(lost(limit, 13.0), ended_ns=at(20)), kill=9.0, ready=10.5)
    assert [violation.at_ns for violation in limits_kept(soon)] == [at(13)]


def test_what_is_held_at_the_look_may_have_made_the_loss_good() -> None:
    """0.1 are held from 8.5 s on: 110 of gain at the mark, and nothing is lost."""
    limit = {"day": {"max_loss_pct": 0.05}}

    def holding(mark: str) -> Evidence:
        evidence = lost(limit, 13.0, mark=mark)
        evidence = replace(evidence, moments=(*evidence.moments, moment(8.5, "0.1", 1, mark=mark)))
        return killed_once(replace(evidence, ended_ns=at(20)), kill=9.0, ready=10.5)

    assert limits_kept(holding("51100")) == []
    assert len(limits_kept(holding("50100"))) == 1


def test_the_limits_that_bound_are_counted_with_those_that_did_across_a_kill() -> None:
    def said(*secs: float) -> Evidence:
        words = [audit_record(s, "risk", mode="PAUSED", reasons=["daily_loss"]) for s in secs]
        return with_audit(killed_once(good(), kill=6.0, ready=7.0), *good().audit, *words)

    assert bounds_of(said()) == ()
    assert bounds_of(said(5.0)) == bounds_of(said(7.5)) == (Bound("daily_loss", False),)
    assert bounds_of(said(5.0, 7.5)) == (Bound("daily_loss", True),)


def told(pnl: float, secs: float = 8.01) -> Evidence:
    closed = audit_record(secs, "trade", what="closed", pnl=pnl)
    return replace(with_audit(good(), *good().audit[:-2], closed, *good().audit[-2:]), ended_ns=at(20))


def test_a_profit_without_its_fees_is_told() -> None:
    assert list(profits_told(told(70.7275))) == []
    assert broken(told(75.0)) == {"money"}
    assert list(profits_told(told(70.7275, secs=14.0))) == [
        "BTCUSDT: the node never said what a trade earned, it was 70.727500"
    ]


def test_a_profit_is_not_judged_where_a_fault_or_a_kill_hid_a_part_of_it() -> None:
    assert list(profits_told(replace(told(75.0), faults=(fault("drop_message", 4, 5),)))) == []
    assert len(list(profits_told(replace(told(75.0), faults=(fault("drop_message", 14, 15),))))) == 1
    assert list(profits_told(killed_once(told(75.0), kill=4.0, ready=4.5))) == []


# -- forecasts ----------------------------------------------------------------------------------------------


def forecasting(live: float, offline: float | None, **values: Any) -> Evidence:
    record = audit_record(3.0035, "forecast", probability=live) | {"component": "forecaster"}
    scenario = msgspec.structs.replace(good().scenario, has_model=True)
    known = {} if offline is None else {record["ts"]: offline}
    evidence = with_audit(good(), *good().audit[:6], record, *good().audit[6:])
    return replace(evidence, scenario=scenario, forecasts={COIN: known}, **values)


def test_a_forecast_that_is_not_the_offline_one_is_told() -> None:
    assert forecasts_agree(forecasting(0.6, 0.60009)) == []
    assert broken(forecasting(0.6, 0.6002)) == {"forecasts_agree"}
    assert len(forecasts_agree(forecasting(0.6, None))) == 1  # of a bar that the venue never had
    assert len(forecasts_agree(forecasting(0.6, float("nan")))) == 1


def test_a_life_that_trades_and_never_forecasts_is_told() -> None:
    silent = replace(forecasting(0.6, 0.6), audit=good().audit)
    assert [v.detail for v in forecasts_agree(silent)] == ["life 1 traded for 7.0 s without a forecast"]
    assert forecasts_agree(replace(silent, faults=(fault("stale_market", 3, 8),))) == []
    assert forecasts_agree(replace(silent, faults_cleared_ns=at(5))) == []


# -- the campaign as a whole --------------------------------------------------------------------------------


def test_a_node_that_does_nothing_is_short_of_what_is_expected() -> None:
    calm = [seed for seed in range(400) if _is_calm(seed)][:3]
    idle = [Result.of(seed, "keep") for seed in calm]
    busy = [Result.of(seed, "keep", positions=2) for seed in calm]
    assert shortfalls(idle) == ["3 of 3 scenarios without fault and kill opened no position"]
    assert shortfalls(busy) == shortfalls(idle[:2]) == []
    assert shortfalls([*busy, *busy, idle[0]]) == []


def _is_calm(seed: int) -> bool:
    scenario = plain_scenario_of(seed)
    return not scenario.fault_classes and not scenario.kill_steps


def test_stops_that_come_late_too_often_are_told_and_by_chance_are_not() -> None:
    def with_times(late: int, count: int) -> list[Result]:
        bare = tuple(Bare(COIN, 0, 0.3 if n < late else 0.02, (), False) for n in range(count))
        return [Result.of(1, "keep", positions=1, bare=bare)]

    assert shortfalls(with_times(3, 12)) == ["3 of 12 faultless times without a stop took 250 ms and more"]
    assert shortfalls(with_times(1, 12)) == []
    assert shortfalls(with_times(5, 5)) == []  # too few to say
    assert shortfalls(with_times(17, 862)) == []
    assert len(shortfalls(with_times(18, 862))) == 1


def test_limits_that_are_met_do_not_change_what_else_a_seed_plays() -> None:
    kinds = set()
    for seed in range(200):
        scenario = plain_scenario_of(seed)
        kinds |= set(scenario.run["risk"].get("day", {}))
        kinds |= {"halt"} & {"halt" if "max_rejections" in scenario.run["risk"]["kill_switch"] else ""}
        kinds |= {"share"} if scenario.run["strategies"][0]["sizing"]["max_position_pct"] < 50 else set()
        assert len(scenario.run["strategies"]) == len(scenario.symbols)
    assert kinds == {"loss_streak", "max_loss_pct", "max_entries_hour", "halt", "share"}


def test_some_scenarios_ask_a_model_that_the_run_does_not_name_the_bundle_of() -> None:
    asked = [scenario for scenario in map(plain_scenario_of, range(300)) if scenario.has_model]
    assert 15 < len(asked) < 60
    for scenario in asked:
        assert len(scenario.symbols) == 1
        assert "bundle" not in scenario.run["models"][0]
        assert scenario.run["strategies"][0]["use"] == "ml_basic"


def test_every_mutant_says_what_must_accuse_it_and_where() -> None:
    for name, mutant in MUTANTS.items():
        assert mutant.seeds, name
        assert set(mutant.accused_by) <= {*INVARIANTS, "shortfalls"}, name


def test_a_mutant_is_dead_only_when_the_right_one_accuses_it() -> None:
    killed = Killed(mutant="m", accused_by=("covered", "money"), accusers=("money",), seeds=(1,))
    assert killed.is_dead
    assert not msgspec.structs.replace(killed, accusers=("settles",)).is_dead
    assert not msgspec.structs.replace(killed, accusers=()).is_dead
