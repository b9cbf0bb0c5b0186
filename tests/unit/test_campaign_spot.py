"""The campaign on spot: what it plays, how a spot venue is read, and what each invariant finds."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from math import gcd

import msgspec
import pytest
from pydantic import TypeAdapter

from catalog.instruments import find_spec
from configs.schema import RunConfig
from live.rehearsal.campaign.evidence import Evidence, FaultSpan, NodeView, Request, Violation
from live.rehearsal.campaign.fault_classes import SPOT_FAULT_CLASSES
from live.rehearsal.campaign.generate import COMBINED, NONE
from live.rehearsal.campaign.results import Result
from live.rehearsal.campaign.scenario import Scenario
from live.rehearsal.campaign.spot_evidence import sellable, spot_ledger_of
from live.rehearsal.campaign.spot_generate import spot_scenario_of
from live.rehearsal.campaign.spot_invariants import holdings_agree, spot_money, within_share
from live.rehearsal.campaign.steps import SPOT_STEPS, Phase, answer_steps, event_steps, in_node, request_steps
from live.rehearsal.campaign.timeline import episodes_of, sent_at, venue_orders
from live.rehearsal.campaign.variants import VARIANTS
from live.rehearsal.faults.script import parse_fault
from live.rehearsal.spot.specs import spot_spec
from live.spot_limits import check_spot
from tests.campaign_evidence import at, at_ms, audit_record, good, killed_once, moment, with_audit

SEEDS = range(300)
SPOT = VARIANTS["spot"]
SPEC = spot_spec(find_spec("BTCUSDT", "spot"))
ENTRY, STOP, TARGET = "x-TD67BGP9-R00-a-1E0", "x-TD67BGP9-R00-a-2S0", "x-TD67BGP9-R00-a-3T0"
LIST = {"belowClientOrderId": STOP, "aboveClientOrderId": TARGET}


# -- what is played --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    return [spot_scenario_of(seed) for seed in SEEDS]


def test_a_spot_seed_is_one_scenario_of_plain_data(scenarios: list[Scenario]) -> None:
    assert [spot_scenario_of(seed) for seed in SEEDS] == scenarios
    for scenario in scenarios:
        assert scenario.kind == "spot"
        assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


def test_a_hundred_and_fifty_spot_seeds_have_every_class_and_every_step() -> None:
    faults, kills = SPOT.fault_cycle, SPOT.kill_cycle
    assert gcd(len(faults), len(kills)) == 1
    assert {faults[seed % len(faults)] for seed in range(SPOT.scenarios)} == {
        *SPOT_FAULT_CLASSES,
        NONE,
        COMBINED,
    }
    assert {kills[seed % len(kills)] for seed in range(SPOT.scenarios)} == {*SPOT_STEPS, NONE}
    result = Result.of(7, "keep", "spot")
    assert (result.fault_class, result.kill_step) == (faults[7], kills[7])


def test_spot_runs_are_what_a_node_trades_on_spot(scenarios: list[Scenario]) -> None:
    runs = TypeAdapter(RunConfig)
    for scenario in scenarios:
        run = scenario.run | {"data": scenario.run["data"] | {"catalog": "nowhere"}}
        loaded = runs.validate_python(run)
        check_spot(loaded, "rehearsal")
        assert {name.split(".")[0] for name in loaded.instruments} == set(scenario.symbols)
        assert not any(strategy.allow_short for strategy in loaded.strategies)
        for fault in scenario.faults:
            assert parse_fault(fault.values).label == fault.values["name"]
        assert all(kill.step in SPOT_STEPS for kill in scenario.kills)


def test_the_steps_of_a_spot_life_are_told_apart() -> None:
    phase = Phase()
    assert request_steps(phase, "GET", "/api/v3/account", {}) == ("preflight",)
    assert request_steps(phase, "WS", "session.logon", {}) == ("connecting",)
    assert request_steps(phase, "GET", "/api/v3/openOrders", {}) == ("reconciling",)
    assert request_steps(phase, "POST", "/api/v3/order", {"newClientOrderId": ENTRY}) == ("entry_received",)
    assert request_steps(phase, "POST", "/api/v3/orderList/oco", LIST) == ("list_received",)
    assert answer_steps("POST", "/api/v3/orderList/oco", LIST, 200) == ("list_accepted",)
    assert answer_steps("POST", "/api/v3/orderList/oco", LIST, 400) == ()
    assert answer_steps("DELETE", "/api/v3/orderList", LIST, 200) == ("cancel_accepted",)
    assert event_steps(object()) == ()
    assert in_node("before_list") == ("list", False)
    assert in_node("list_received") is None


# -- how the venue is read -------------------------------------------------------------------------------


def test_what_cannot_be_sold_is_no_position() -> None:
    price = Decimal(50_000)
    assert sellable(Decimal("0.1000057"), price, SPEC) == Decimal("0.10000")
    assert sellable(Decimal("0.00010"), price, SPEC) == 0  # worth 5.00, the least is taken at a lower stop
    assert sellable(Decimal("0.00011"), price, SPEC) == Decimal("0.00011")
    assert sellable(Decimal("0.000005"), Decimal(0), SPEC) == 0


def test_orders_of_a_list_are_known_by_their_roles_and_times() -> None:
    evidence = spot()
    orders = {order.client_id: order for order in venue_orders(evidence)}
    assert orders["00-a-2S0"].role == "stop"
    assert orders["00-a-2S0"].trigger == 49_000
    assert orders["00-a-3T0"].closes
    assert not orders["00-a-1E0"].closes
    assert sent_at(evidence)["00-a-2S0"] == sent_at(evidence)["00-a-3T0"] == at(3.006)


def test_a_trade_ends_when_only_dust_is_left() -> None:
    (episode,) = episodes_of(spot())
    assert (episode.first, episode.last, episode.ended_ms) == (1, 2, at_ms(8.0))


# -- invariants ------------------------------------------------------------------------------------------


def spot() -> Evidence:
    """0.10006 BTC bought at 50,000 (fee 0.00010006), a list for 0.09995, all of it sold at 51,000.

    Cash: -5,003.00 and +5,097.45 less a fee of 5.09745; dust of 0.00000994 BTC, at 51,000 worth 0.50694. So
    89.35255 came in, and the node has earned that and the dust.
    """
    evidence = good()
    values = msgspec.structs.asdict(evidence.scenario)
    strategy = {**values["run"]["strategies"][0], "instrument": "BTCUSDT.BINANCE"}
    specs = {"BTCUSDT": SPEC}
    sold = {"asset": "USDT", "commission": "5.09745", "price": "51000"}
    records = [
        {**record, "instrument": "BTCUSDT.BINANCE" if record["instrument"] else ""}
        for record in (
            audit_record(2.0, "risk", mode="NORMAL", reasons=[], equity=1e5, day_opening=1e5, peak=1e5),
            audit_record(2.9, "bar", close="50000.0"),
            audit_record(3.0, "intent", side=1, reasons=["momentum_up"]),
            audit_record(3.0, "approval", side=1, quantity=0.10006),
            *(
                audit_record(3.01, "order", event="OrderAccepted", client_order_id=f"00-a-{name}")
                for name in ("1E0", "2S0", "3T0")
            ),
            filled(3.02, "1E0", "0.10006", "50000.0"),
            filled(8.01, "3T0", "0.09995", "51000.0"),
            audit_record(8.02, "trade", what="closed", side=1, pnl=89.85949, exit_reason="target"),
            audit_record(10.0, "node", what="books"),
            audit_record(10.0, "node", what="stopped", outcome="flat"),
        )
    ]
    evidence = replace(
        evidence,
        scenario=Scenario(**values | {"kind": "spot", "run": {"strategies": [strategy]}}),
        specs=specs,
        moments=(
            moment(0, "0", 0),
            moment(3.001, "0.09995", 0, covers=False),
            moment(3.006, "0.09995", 2),
            moment(8.0, "0", 0, mark="51000"),
        ),
        ledger=spot_ledger_of(
            {
                "assets": [
                    {"asset": "BTC", "free": "0.00000994", "locked": "0"},
                    {"asset": "USDT", "free": "100089.35255", "locked": "0"},
                ],
                "starting": {"BTC": "0", "USDT": "100000"},
                "orders": [
                    order(1, ENTRY, "BUY", "MARKET", "0.10006", 3.001, quote_filled="5003"),
                    order(2, STOP, "SELL", "STOP_LOSS", "0.09995", 3.006, stop_price="49000", executed="0"),
                    order(3, TARGET, "SELL", "LIMIT_MAKER", "0.09995", 3.006, price="51000"),
                ],
                "fills": [
                    fill(1, 1, "BUY", "0.10006", 3.001),
                    fill(2, 3, "SELL", "0.09995", 8.0) | sold,
                ],
                "ledger": [
                    entry(1, "BTC", "0.10006", 3.001),
                    entry(2, "USDT", "-5003", 3.001),
                    entry(3, "BTC", "-0.00010006", 3.001),
                    entry(4, "BTC", "-0.09995", 8.0),
                    entry(5, "USDT", "5097.45", 8.0),
                    entry(6, "USDT", "-5.09745", 8.0),
                ],
            },
            specs,
        ),
        requests=(
            Request(at(3.001), "POST", "/api/v3/order", {"newClientOrderId": ENTRY}, 200, 0),
            Request(at(3.006), "POST", "/api/v3/orderList/oco", LIST, 200, 0),
        ),
        node_view=NodeView(
            wall_ns=at(10.0),
            balance=Decimal("100089.35255"),
            state={"coins-momentum.json": {"state": coins("0.00000994", "0.50694")}},
        ),
        trade_walls={1: at(3.001), 2: at(8.0)},
    )
    return with_audit(evidence, *records)


def filled(secs: float, name: str, quantity: str, price: str) -> dict[str, object]:
    return audit_record(
        secs, "order", event="OrderFilled", client_order_id=f"00-a-{name}", quantity=quantity, price=price
    )


def coins(amount: str, cost: str) -> dict[str, str]:
    return {"instrument": "BTCUSDT.BINANCE", "amount": amount, "cost": cost}


def order(
    number: int, name: str, side: str, kind: str, quantity: str, secs: float, **values: str
) -> dict[str, object]:
    row = {"price": "0", "stop_price": "0", "executed": quantity, "quote_filled": "0", "status": "FILLED"}
    ended = at_ms(secs) if side == "BUY" else at_ms(8.0)
    times = {"created_ms": at_ms(secs), "updated_ms": ended}
    return {"order_id": number, "client_order_id": name, "symbol": "BTCUSDT", "side": side, "type": kind} | (
        row | {"quantity": quantity} | values | times
    )


def fill(number: int, order_id: int, side: str, quantity: str, secs: float) -> dict[str, object]:
    return {
        "trade_id": number,
        "order_id": order_id,
        "symbol": "BTCUSDT",
        "side": side,
        "price": "50000",
        "quantity": quantity,
        "commission": "0.00010006",
        "asset": "BTC",
        "maker": False,
        "ts_ms": at_ms(secs),
    }


def entry(number: int, asset: str, amount: str, secs: float) -> dict[str, object]:
    return {"entry_id": number, "ts_ms": at_ms(secs), "asset": asset, "kind": "TRADE", "amount": amount}


def with_coins(evidence: Evidence, amount: str, cost: str) -> Evidence:
    state = {"coins-momentum.json": {"state": coins(amount, cost)}}
    return replace(evidence, node_view=replace(evidence.node_view, state=state))


def with_records(evidence: Evidence, change: Callable[[dict[str, object]], None]) -> Evidence:
    records = [{**record, "detail": {**record["detail"]}} for record in evidence.audit]
    for record in records:
        change(record)
    return with_audit(evidence, *records)


def the(found: list[Violation]) -> str:
    (violation,) = found
    return violation.detail


def test_nothing_is_wrong_with_a_good_trade() -> None:
    assert SPOT.check(spot()) == []


def test_a_book_that_holds_other_coins_than_the_account_is_found() -> None:
    assert "the book holds 0.00000995, the account 0.00000994 BTC" in the(
        holdings_agree(with_coins(spot(), "0.00000995", "0.50694"))
    )
    assert "the book holds 0, the account" in the(
        holdings_agree(replace(spot(), node_view=NodeView(wall_ns=at(10.0))))
    )


def test_a_fee_that_nobody_told_may_be_guessed() -> None:
    def unprice(record: dict[str, object]) -> None:
        detail = record["detail"]
        assert isinstance(detail, dict)
        if detail.get("event") == "OrderFilled" and detail["client_order_id"] == "00-a-1E0":
            detail["price"] = "0.00"

    guessed = with_records(spot(), unprice)
    assert holdings_agree(with_coins(guessed, "0.00010994", "0.50694")) == []
    assert holdings_agree(with_coins(guessed, "0.00020994", "0.50694"))
    assert spot_money(with_coins(guessed, "0.00000994", "10")) == []


def test_earnings_that_did_not_come_in_are_found_to_the_cent() -> None:
    assert spot_money(with_coins(spot(), "0.00000994", "0.51593")) == []
    text = the(spot_money(with_coins(spot(), "0.00000994", "0.51695")))
    assert text == "the node says that 89.3425 came in, the venue's cash has changed by 89.3526"


def test_a_trade_that_a_kill_has_cut_from_the_audit_is_excused() -> None:
    def cut(record: dict[str, object]) -> None:
        if record["kind"] == "trade":
            record["kind"] = "cut"

    lost = with_records(spot(), cut)
    assert len(spot_money(lost)) == 1
    assert spot_money(killed_once(lost, kill=8.5, ready=9.0)) == []


def test_balances_that_are_not_their_entries_are_found() -> None:
    ledger = spot().ledger
    cash = {"asset": "USDT", "free": "100089.35255", "locked": "0"}
    wrong = {**ledger, "assets": [{"asset": "BTC", "free": "0.00000993", "locked": "0"}, cash]}
    assert {v.detail for v in spot_money(replace(spot(), ledger=wrong))} == {
        "BTC: the venue says 0.00000993, reckoned 0.00000994"
    }


def test_the_cash_that_the_node_believes_to_have_is_the_venues() -> None:
    view = replace(spot().node_view, balance=Decimal("100089.37"))
    assert "the node believes to have 100089.37" in the(spot_money(replace(spot(), node_view=view)))


def test_a_holding_beyond_its_share_is_found() -> None:
    evidence = spot()
    assert within_share(evidence) == []
    moments = [*evidence.moments[:1], moment(3.001, "0.13", 2), *evidence.moments[3:]]
    assert "BTCUSDT holds 0.13 worth 6500.00, more than" in the(
        within_share(replace(evidence, moments=tuple(moments)))
    )


def test_coins_without_a_stop_and_orders_left_behind_are_found() -> None:
    evidence = spot()
    bare = replace(evidence, moments=(*evidence.moments[:2], evidence.moments[3]))
    assert [v.invariant for v in SPOT.check(bare)] == ["covered"]
    left = replace(evidence, moments=(*evidence.moments[:3], moment(8.0, "0", 1)))
    assert "no_orphans" in {v.invariant for v in SPOT.check(left)}


def test_a_stop_of_a_list_that_was_lowered_is_found() -> None:
    evidence = spot()
    lower = order(4, "00-a-4S0", "SELL", "STOP_LOSS", "0.09995", 5.0, stop_price="48000", executed="0")
    spare = {"close_position": False, "algo_id": 0, "forced": False, "reduce_only": True}
    ledger = {**evidence.ledger, "orders": [*evidence.ledger["orders"], lower | spare]}
    found = {v.invariant for v in SPOT.check(replace(evidence, ledger=ledger))}
    assert "stop_never_loosened" in found


@pytest.mark.parametrize(
    ("code", "message", "is_wrong"),
    [
        (-1013, "Filter failure: LOT_SIZE", True),
        (-2010, "Account has insufficient balance for requested action.", True),
        (-2010, "Order would trigger immediately.", False),
        (-2011, "Unknown order sent.", False),
    ],
)
def test_refusals_for_filters_and_for_want_of_coins_are_found(
    code: int, message: str, *, is_wrong: bool
) -> None:
    refused = Request(at(4), "POST", "/api/v3/order", {}, 400, code, message=message)
    evidence = replace(spot(), requests=(*spot().requests, refused))
    assert [v.invariant for v in SPOT.check(evidence)] == ["within_filters"] * is_wrong
    faulted = replace(evidence, requests=(*spot().requests, refused._replace(faulted=True)))
    assert SPOT.check(faulted) == []


def test_a_closed_market_excuses_a_filter_refusal() -> None:
    refused = Request(at(4), "POST", "/api/v3/order", {}, 400, -1013, message="Market is closed.")
    halted = FaultSpan("halt_symbol", at(3.5), at(4.5))
    evidence = replace(spot(), requests=(*spot().requests, refused), faults=(halted,))
    assert SPOT.check(evidence) == []
