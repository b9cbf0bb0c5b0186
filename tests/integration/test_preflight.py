"""Preflight against the rehearsal server: every check is broken on purpose, and says how to mend it."""

import sys
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from configs.load import load_run
from live.checks.report import Remembered, Setup
from live.preflight import preflight
from live.rehearsal.ports import RequestFault
from live.rehearsal.serving.auth import ApiKey
from live.venues import VenueKind
from tests.catalogs import catalog_with
from tests.preflight_bench import ADDED, KEYS, OWN, Bench, Command
from tests.rehearsal_server import API, orders_of, spec

D = Decimal
LATER_NS = 4 * 10**18  # than any order of these tests


def test_a_node_may_start_when_everything_is_right(check: Command) -> None:
    result = check()
    assert {name: row for name, row in result.rows.items() if row.outcome != "ok"} == {}
    assert result.code == 0
    # 0.5 % of 10,000 at risk; a unit loses 60,000 x (2 % + 2 x 6 bp) = 1,272 at the stop: 0.0393
    assert "at most 0.039 BTCUSDT (2340.00)" in result.rows["sizes"].found


def test_the_table_says_all_of_it(bench: Bench, check: Command, capsys: pytest.CaptureFixture[str]) -> None:
    bench.thread.call(lambda: bench.venue.set_position_mode("main", True))
    setup = Setup(
        run=load_run(bench.path),
        kind=VenueKind.REHEARSAL,
        folder=bench.state,
        specs=dict,
        history_bars=lambda _: 0,
    )
    report = preflight(setup, bench.trader)
    report.print(sys.stdout)
    table = capsys.readouterr().out
    assert "position mode" in table
    assert "the account is in hedge mode" in table
    assert "switch the account to one-way mode" in table
    assert "\x1b" not in table
    assert report.failures == ("position mode",)
    with pytest.raises(KeyError):
        report.row("no such check")


# -- clock, keys, permissions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew_ms", "outcome"),
    [(0, "ok"), (400, "warned"), (-400, "warned"), (5_000, "failed"), (-5_000, "failed")],
)
def test_a_clock_that_is_off(check: Command, bench: Bench, skew_ms: int, outcome: str) -> None:
    bench.clock.skew_ms = skew_ms
    result = check()
    assert result.rows["clock"].outcome == outcome
    if outcome == "failed":
        assert "NTP" in result.rows["clock"].advice
        assert (result.code, result.failures) == (2, ["clock"])


@pytest.mark.parametrize("ring", [(ApiKey(key=KEYS.hmac_key, secret="another"),)])
def test_a_secret_of_another_key(check: Command) -> None:
    result = check()
    assert result.code == 2
    assert "-1022" in result.rows["keys"].found
    assert "does not belong to the key" in result.rows["keys"].advice
    # what rests on the account counts as failed, the rest is checked all the same
    assert {"permissions", "position mode", "leverage", "balance", "open"} <= set(result.failures)
    assert result.rows["symbols"].outcome == result.rows["warm-up"].outcome == "ok"


@pytest.mark.parametrize("ring", [(ApiKey(key="another0123456789", secret="s"),)])
def test_a_key_that_nobody_knows(check: Command) -> None:
    row = check().rows["keys"]
    assert row.outcome == "failed"
    assert "IP restriction" in row.advice


@pytest.mark.parametrize("ring", [(ApiKey(key=KEYS.hmac_key, secret=KEYS.hmac_secret, may_withdraw=True),)])
def test_a_key_that_may_withdraw_is_refused(check: Command) -> None:
    result = check()
    assert (result.code, result.failures) == (2, ["permissions"])
    assert result.rows["permissions"].found == "the key may withdraw"
    assert "take the withdrawal permission" in result.rows["permissions"].advice


@pytest.mark.parametrize("ring", [(ApiKey(key=KEYS.hmac_key, secret=KEYS.hmac_secret, may_trade=False),)])
def test_a_key_that_may_only_read_is_refused(check: Command) -> None:
    result = check()
    assert (result.code, result.failures) == (2, ["permissions"])
    assert "read only" in result.rows["permissions"].found


@pytest.mark.parametrize("least", ["20", "60", "60.01", "100", "1000"])
def test_the_order_that_is_tried_and_not_entered_is_large_enough(
    check: Command, bench: Bench, least: str
) -> None:
    rules = replace(spec("BTCUSDT"), min_notional=D(least))
    bench.thread.call(lambda: bench.venue.replace_spec(rules))
    assert check().rows["permissions"].outcome == "ok"
    assert bench.trader.open_orders() == ()


@pytest.mark.parametrize("ring", [(ApiKey(key=KEYS.hmac_key, secret=KEYS.hmac_secret, may_trade=False),)])
def test_a_node_that_only_looks_on_may_have_a_key_that_only_reads(bench: Bench) -> None:
    setup = Setup(
        run=load_run(bench.path, ["live.tolerances.free_gib=0"]),
        kind=VenueKind.TESTNET,
        folder=bench.state,
        specs=dict,
        history_bars=lambda _: 0,
        may_trade=False,
    )
    assert preflight(setup, bench.trader).failures == ()
    assert orders_of(bench.thread) == 0


# -- the account's settings --------------------------------------------------------------------------------


def test_hedge_mode_is_refused(check: Command, bench: Bench) -> None:
    bench.thread.call(lambda: bench.venue.set_position_mode("main", True))
    result = check()
    assert (result.code, result.failures) == (2, ["position mode"])
    assert "one-way mode" in result.rows["position mode"].advice


def test_a_leverage_that_differs_is_refused_or_set(check: Command, bench: Bench) -> None:
    bench.trader.set_leverage("BTCUSDT", 7)
    result = check()
    assert (result.code, result.failures) == (2, ["leverage"])
    assert result.rows["leverage"].found == "BTCUSDT has 7, the run wants 5"
    assert "--apply" in result.rows["leverage"].advice
    assert bench.trader.symbol_config("BTCUSDT").leverage == 7  # nothing was touched
    assert check("--apply").code == 0
    assert bench.trader.symbol_config("BTCUSDT").leverage == 5


def test_a_leverage_that_is_no_whole_number_is_refused(check: Command) -> None:
    result = check("--set", "venue.leverage=2.5")
    assert (result.code, result.failures) == (2, ["leverage"])
    assert "whole numbers" in result.rows["leverage"].advice


@pytest.mark.parametrize(("found", "wanted"), [("ISOLATED", "CROSSED"), ("CROSSED", "ISOLATED")])
def test_a_margin_type_that_differs_is_refused_or_set(
    check: Command, bench: Bench, found: str, wanted: str
) -> None:
    bench.trader.set_margin_type("BTCUSDT", found)
    options = ("--set", f"live.tolerances.margin_type={wanted}")
    result = check(*options)
    assert (result.code, result.failures) == (2, ["margin type"])
    assert result.rows["margin type"].found == f"BTCUSDT {found}"
    assert f"set {wanted}" in result.rows["margin type"].advice
    assert bench.trader.symbol_config("BTCUSDT").margin_type == found  # nothing was touched
    assert check(*options, "--apply").code == 0
    assert bench.trader.symbol_config("BTCUSDT").margin_type == wanted
    assert check(*options).code == 0


def test_a_stop_beyond_the_liquidation_of_an_isolated_position_is_refused(
    check: Command, bench: Bench
) -> None:
    bench.trader.set_margin_type("BTCUSDT", "ISOLATED")
    isolated = ("--set", "live.tolerances.margin_type=ISOLATED", "--set")
    # at 5x its margin is 20 % of it, its maintenance margin 1 %; of the 19 % between a fifth is kept
    assert check(*isolated, "strategies.0.stop.pct=15.2").code == 0
    result = check(*isolated, "strategies.0.stop.pct=15.3")
    assert (result.code, result.failures) == (2, ["margin type"])
    assert "may be 15.3 % away" in result.rows["margin type"].found
    assert "no more than 15.2 % is safe" in result.rows["margin type"].found
    wide = check(*isolated, "strategies.0.stop.method=atr")  # up to stop.max_pct, 50
    assert (wide.code, wide.failures) == (2, ["margin type"])
    assert "stop.max_pct" in wide.rows["margin type"].advice


def test_a_margin_type_cannot_be_set_with_a_position(check: Command, bench: Bench) -> None:
    bench.remember_nothing_open()
    bench.buy(OWN)
    result = check("--set", "live.tolerances.margin_type=ISOLATED", "--apply")
    assert result.code == 2
    assert result.failures == ["margin type"]
    assert "-4048" in result.rows["margin type"].found
    assert bench.trader.symbol_config("BTCUSDT").margin_type == "CROSSED"


def test_the_leverage_of_an_isolated_position_cannot_be_lowered(check: Command, bench: Bench) -> None:
    bench.trader.set_margin_type("BTCUSDT", "ISOLATED")
    bench.trader.set_leverage("BTCUSDT", 7)
    bench.remember_nothing_open()
    bench.buy(OWN)
    result = check("--set", "live.tolerances.margin_type=ISOLATED", "--apply")
    assert (result.code, result.failures) == (2, ["leverage"])
    assert "-4161" in result.rows["leverage"].found


# -- the market --------------------------------------------------------------------------------------------


def test_a_halted_symbol_is_refused(check: Command, bench: Bench) -> None:
    bench.thread.call(lambda: bench.venue.set_status("BTCUSDT", "SETTLING"))
    result = check()
    assert result.code == 2
    assert result.rows["symbols"].found == "BTCUSDT is SETTLING"
    assert "wait until it trades again" in result.rows["symbols"].advice


def test_a_symbol_that_is_not_listed_is_refused(check: Command) -> None:
    result = check("--set", "strategies.0.instrument=SOLUSDT-PERP.BINANCE")
    assert result.code == 2
    assert "does not list SOLUSDT" in result.rows["symbols"].found


def test_a_sizing_that_never_reaches_the_least_order_is_refused(check: Command) -> None:
    # 0.1 % of 10,000 is 10, the least notional 20, the least lot 0.001 = 60
    result = check("--set", "strategies.0.sizing.max_position_pct=0.1")
    assert (result.code, result.failures) == (2, ["sizes"])
    assert "min_quantity" in result.rows["sizes"].found
    assert "raise the sizing or the balance" in result.rows["sizes"].advice


def test_a_sizing_that_a_drawdown_makes_too_small_is_told(check: Command) -> None:
    # 1 % of 10,000 is 100; at the last drawdown step, 0.4 of it, 40 is under 0.001 at 60,000
    result = check("--set", "strategies.0.sizing.max_position_pct=1")
    assert (result.code, result.rows["sizes"].outcome) == (0, "warned")
    assert "in a drawdown" in result.rows["sizes"].advice


def test_rules_that_differ_from_the_catalogs_are_told(check: Command, bench: Bench) -> None:
    catalog_with(bench.folder / "catalog")
    assert check().rows["sizes"].outcome == "ok"
    rules = replace(spec("BTCUSDT"), tick=D("0.5"))
    bench.thread.call(lambda: bench.venue.replace_spec(rules))
    row = check().rows["sizes"]
    assert row.outcome == "warned"
    assert "tick is 0.5 here and 0.1 in the catalog" in row.found


# -- money -------------------------------------------------------------------------------------------------


def test_an_empty_account_is_refused(check: Command, bench: Bench) -> None:
    bench.thread.call(lambda: bench.venue.transfer("main", "USDT", D(-10_000)))
    result = check()
    assert result.code == 2
    assert "transfer USDT" in result.rows["balance"].advice


def test_a_largest_notional_that_the_balance_does_not_carry_is_refused(check: Command) -> None:
    # 10,000 at leverage 5 with 20 % kept free carries 40,000
    assert check("--set", "risk.max_notional=40000").code == 0
    result = check("--set", "risk.max_notional=40001")
    assert (result.code, result.failures) == (2, ["balance"])
    assert "it carries" in result.rows["balance"].found


def test_a_position_beyond_the_venues_bracket_is_refused(check: Command, bench: Bench) -> None:
    small = [{"symbol": "BTCUSDT", "marginType": "CROSSED", "leverage": 5, "maxNotionalValue": "4000"}]
    bench.fault(API + "symbolConfig", small)
    result = check()
    assert (result.code, result.failures) == (2, ["balance"])
    assert "the venue allows 4000" in result.rows["balance"].found


# -- what is open ------------------------------------------------------------------------------------------


def test_a_strange_position_is_refused_or_adopted(check: Command, bench: Bench) -> None:
    bench.buy()
    result = check()
    assert (result.code, result.failures) == (2, ["open"])
    assert "BTCUSDT position 0.010" in result.rows["open"].found
    assert "--adopt" in result.rows["open"].advice
    adopted = check("--adopt")
    assert (adopted.code, adopted.rows["open"].outcome) == (0, "warned")


def test_a_strange_order_is_refused_or_adopted(check: Command, bench: Bench) -> None:
    bench.place(side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="58000")
    assert check().failures == ["open"]
    assert check("--adopt").code == 0


def test_what_a_node_with_another_folder_left_is_a_strangers(check: Command, bench: Bench) -> None:
    bench.buy(OWN)
    bench.stop(OWN[:-3] + "3S0")
    result = check()
    assert (result.code, result.failures) == (2, ["open"])
    assert "BTCUSDT position 0.010" in result.rows["open"].found
    assert OWN[:-3] + "3S0" in result.rows["open"].found
    assert check("--adopt").code == 0


def test_what_this_program_left_behind_is_known_by_its_name(check: Command, bench: Bench) -> None:
    bench.remember_nothing_open()
    bench.buy(OWN)
    bench.place(
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.01",
        price="58000",
        newClientOrderId=OWN[:-3] + "2E0",
    )
    naked = check()
    assert (naked.code, naked.rows["open"].outcome) == (0, "warned")
    assert "no stop covers BTCUSDT" in naked.rows["open"].found
    bench.stop(OWN[:-3] + "3S0")
    assert check().rows["open"].outcome == "ok"
    bench.buy()  # somebody added to it by hand
    assert check().failures == ["open"]


def test_a_position_that_the_state_expects_is_known(bench: Bench) -> None:
    bench.buy()
    setup = {"run": load_run(bench.path), "kind": VenueKind.REHEARSAL, "folder": bench.state, "specs": dict}
    setup |= {"history_bars": lambda _: 0}
    for known, failures in (
        (Remembered(1), ()),
        (Remembered(1, D("0.010")), ()),
        (Remembered(1, D("0.030")), ()),  # a target has filled
        (Remembered(1, D("0.009")), ("open",)),
        (Remembered(-1), ("open",)),
        (Remembered(-1, D("0.010")), ("open",)),
    ):
        report = preflight(Setup(**setup, expected={"BTCUSDT": known}), bench.trader)
        assert report.failures == failures, known


def test_a_position_that_is_larger_than_the_state_remembers_is_refused_or_adopted(
    check: Command, bench: Bench
) -> None:
    bench.remember(held=10, lots=15)
    bench.buy(OWN)
    assert check().code == 0
    bench.place(side="BUY", type="MARKET", quantity="0.005", newClientOrderId=OWN)  # the entry's rest
    assert check().code == 0
    bench.place(side="BUY", type="MARKET", quantity="0.006", newClientOrderId="web_1")
    bench.place(side="BUY", type="MARKET", quantity="0.004", newClientOrderId=ADDED)
    result = check()
    assert (result.code, result.failures) == (2, ["open"])
    said = "BTCUSDT position 0.025 (the state remembers a long one of at most 0.019)"
    assert said in result.rows["open"].found
    assert "--adopt" in result.rows["open"].advice
    assert check("--adopt").code == 0


def test_a_position_against_the_one_remembered_is_refused_though_an_order_of_ours_once_opened_one(
    check: Command, bench: Bench
) -> None:
    bench.remember_nothing_open()
    bench.place(side="SELL", type="MARKET", quantity="0.010", newClientOrderId=OWN)
    assert check().code == 0
    bench.remember(held=10, lots=10, since_ns=LATER_NS)
    assert check().failures == ["open"]
    assert "the state remembers a long one of at most 0.010" in check().rows["open"].found
    adopted = check("--adopt")
    assert (adopted.code, adopted.rows["open"].outcome) == (0, "warned")
    assert "covered, then closed" in adopted.rows["open"].advice


def test_an_addition_that_was_not_written_down_any_more_is_ours(check: Command, bench: Bench) -> None:
    bench.remember(held=10, lots=10)
    bench.buy(OWN)
    bench.place(side="BUY", type="MARKET", quantity="0.004", newClientOrderId=ADDED)
    assert check().code == 0


def test_a_position_that_a_coarser_step_cannot_close_is_told(check: Command, bench: Bench) -> None:
    bench.remember_nothing_open()
    bench.place(side="BUY", type="MARKET", quantity="0.015", newClientOrderId=OWN)
    rules = replace(spec("BTCUSDT"), step=D("0.01"), min_quantity=D("0.01"))
    bench.thread.call(lambda: bench.venue.replace_spec(rules))
    row = check().rows["open"]
    assert row.outcome == "warned"
    assert "no multiple of the venue's step: BTCUSDT position 0.015" in row.found
    assert "close position" in row.advice


# -- a venue that is not there -----------------------------------------------------------------------------


def test_a_venue_that_cannot_be_reached_fails_every_check_of_it_and_none_of_this_machine(
    check: Command,
) -> None:
    result = check(base="http://127.0.0.1:9")
    assert result.code == 2
    assert "cannot be reached" in result.rows["clock"].found
    assert "check the network" in result.rows["clock"].advice
    assert {"disk", "lock"}.isdisjoint(result.failures)


def test_a_venue_that_answers_nonsense_once_is_asked_again(check: Command, bench: Bench) -> None:
    bench.faults.requests[API + "exchangeInfo"] = RequestFault("never", "canned", status=502, body="<html>")
    assert check().code == 0


@pytest.mark.parametrize("code", [-2010, -1001, -1003])
def test_an_error_that_may_pass_is_waited_for_where_there_is_patience(bench: Bench, code: int) -> None:
    setup = {"run": load_run(bench.path), "kind": VenueKind.REHEARSAL, "folder": bench.state, "specs": dict}
    setup |= {"history_bars": lambda _: 0, "patience_secs": 5.0}
    bench.fault(API + "openOrders", {"code": code, "msg": "not now"}, status=400)
    assert preflight(Setup(**setup), bench.trader).failures == ()


def test_without_patience_a_refused_question_fails_at_once(bench: Bench) -> None:
    setup = {"run": load_run(bench.path), "kind": VenueKind.REHEARSAL, "folder": bench.state, "specs": dict}
    setup |= {"history_bars": lambda _: 0}
    bench.fault(API + "openOrders", {"code": -2010, "msg": "not now"}, status=400)
    assert preflight(Setup(**setup), bench.trader).failures == ("open",)


def test_what_does_not_pass_is_not_waited_for(bench: Bench) -> None:
    setup = {"run": load_run(bench.path), "kind": VenueKind.REHEARSAL, "folder": bench.state, "specs": dict}
    setup |= {"history_bars": lambda _: 0, "patience_secs": 60.0}
    bench.fault(API + "openOrders", {"code": -2015, "msg": "no permission"}, status=400)
    began = time.monotonic()
    assert preflight(Setup(**setup), bench.trader).failures == ("open",)
    assert time.monotonic() - began < 30.0
