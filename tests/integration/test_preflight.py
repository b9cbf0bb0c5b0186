"""Preflight against the rehearsal server: every check is broken on purpose, and says how to mend it."""

import fcntl
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.forecaster import ForecastSpec
from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from configs.load import load_run
from live.checks.report import Setup
from live.preflight import preflight
from live.rehearsal.auth import ApiKey
from live.rehearsal.ports import RequestFault
from live.venues import VenueKind
from models.predictor import Predictor
from models.train import train_model
from tests.catalogs import MINUTE_NS, bars, catalog_with
from tests.modelling import BAR_MINUTES, INSTRUMENT, SMALL, market
from tests.preflight_bench import KEYS, OWN, Bench, Command, bench_at, command_of
from tests.rehearsal_server import API, START_MS, orders_of, spec

D = Decimal


@pytest.fixture
def ring() -> tuple[ApiKey, ...]:
    return KEYS.ring


@pytest.fixture
def bench(tmp_path: Path, ring: tuple[ApiKey, ...]) -> Iterator[Bench]:
    with bench_at(tmp_path, ring) as made:
        yield made


@pytest.fixture
def check(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return command_of(bench, capsys, monkeypatch)


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


def test_isolated_margin_is_refused_or_set(check: Command, bench: Bench) -> None:
    isolated = [{"symbol": "BTCUSDT", "marginType": "ISOLATED", "leverage": 5, "maxNotionalValue": "1000000"}]
    bench.fault(API + "symbolConfig", isolated)
    result = check()
    assert (result.code, result.failures) == (2, ["margin type"])
    assert "set CROSSED" in result.rows["margin type"].advice
    bench.fault(API + "symbolConfig", isolated)
    assert check("--apply").code == 0


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


def test_what_this_program_left_behind_is_known_by_its_name(check: Command, bench: Bench) -> None:
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
    assert preflight(Setup(**setup, expected={"BTCUSDT": 1}), bench.trader).failures == ()
    assert preflight(Setup(**setup, expected={"BTCUSDT": -1}), bench.trader).failures == ("open",)


def test_a_position_that_a_coarser_step_cannot_close_is_told(check: Command, bench: Bench) -> None:
    bench.place(side="BUY", type="MARKET", quantity="0.015", newClientOrderId=OWN)
    rules = replace(spec("BTCUSDT"), step=D("0.01"), min_quantity=D("0.01"))
    bench.thread.call(lambda: bench.venue.replace_spec(rules))
    row = check().rows["open"]
    assert row.outcome == "warned"
    assert "no multiple of the venue's step: BTCUSDT position 0.015" in row.found
    assert "close position" in row.advice


# -- models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_model(
        market(2000),
        instrument=INSTRUMENT,
        config=SMALL,
        bar_minutes=BAR_MINUTES,
        seed=7,
        data_hash="d" * 64,
        root=tmp_path_factory.mktemp("models"),
    )


def with_model(bench: Bench, bundle: Path) -> None:
    catalog_with(bench.folder / "catalog")
    bench.run["data"] |= {"bar": "5m"}
    bench.run["models"] = [{"name": "direction", "bundle": str(bundle)}]
    bench.run["strategies"][0] |= {"use": "ml_basic", "model": "direction"}


def test_an_altered_bundle_is_refused(check: Command, bench: Bench, trained: Path) -> None:
    copy = bench.folder / trained.name
    copy.mkdir()
    for file in trained.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "model.onnx").write_bytes(b"altered")
    with_model(bench, copy)
    result = check()
    assert result.code == 2
    assert {"models", "warm-up"} == set(result.failures)
    assert "one of them was altered" in result.rows["models"].found


def test_an_old_model_is_refused_and_on_a_rehearsal_told(check: Command, bench: Bench, trained: Path) -> None:
    with_model(bench, trained)
    assert check().rows["models"].outcome == "warned"
    result = check(venue="testnet")
    assert result.code == 2
    assert result.rows["models"].outcome == "failed"
    assert "train it again" in result.rows["models"].advice
    patient = check("--set", "live.tolerances.model_age_days=10000", venue="testnet")
    assert patient.rows["models"].outcome == "ok"


def test_a_models_age_counts_from_the_end_of_what_it_learned(bench: Bench, trained: Path) -> None:
    predictor = Predictor.load(trained)
    setup = Setup(
        run=load_run(bench.path),
        kind=VenueKind.REHEARSAL,
        folder=bench.state,
        specs=lambda: {INSTRUMENT: ForecastSpec(BAR_MINUTES, (predictor,))},
        history_bars=lambda _: 10,
    )
    # learned until 2024-01-07 22:40; the newest closed minute of the replay is 2025-08-07 20:58 or so
    end_ns = predictor.metadata["training_period"]["end_ns"]
    days = (START_MS * 1_000_000 - end_ns) / (1440 * MINUTE_NS)
    assert f"until {days:.1f} days ago" in preflight(setup, bench.trader).row("models").found


# -- warm-up -----------------------------------------------------------------------------------------------


def test_too_short_a_history_is_refused_unless_the_catalog_has_the_rest(check: Command, bench: Bench) -> None:
    bench.fault(API + "klines", [row(minute) for minute in range(-100, 0)])
    result = check()
    assert (result.code, result.failures) == (2, ["warm-up"])
    assert "99 1m bars over REST; features need 241" in result.rows["warm-up"].found
    first_ns = (START_MS - 100 * 60_000) * 1_000_000
    earlier = bars(300)
    shifted = earlier.slice(0, 300)
    shifted.ts_event[:] += first_ns - int(shifted.ts_event[-1])
    catalog_with(bench.folder / "catalog", columns=shifted)
    bench.fault(API + "klines", [row(minute) for minute in range(-100, 0)])
    result = check()
    assert (result.code, result.rows["warm-up"].outcome) == (0, "warned")
    assert "142 before them in the catalog" in result.rows["warm-up"].found


def test_a_hole_in_the_history_is_refused_when_it_is_long_and_told_when_short(
    check: Command, bench: Bench
) -> None:
    def with_hole(minutes: int) -> list[Any]:
        return [row(minute) for minute in range(-400, 0) if not -200 <= minute < minutes - 200]

    bench.fault(API + "klines", with_hole(30))
    result = check("--set", "data.max_gap_minutes=30")
    assert (result.code, result.failures) == (2, ["warm-up"])
    assert "none for 31 minutes after" in result.rows["warm-up"].found
    bench.fault(API + "klines", with_hole(29))
    result = check("--set", "data.max_gap_minutes=30")
    assert (result.code, result.rows["warm-up"].outcome) == (0, "warned")
    assert "29 bars are missing" in result.rows["warm-up"].found


def test_a_history_that_ended_long_ago_is_refused(check: Command) -> None:
    result = check(venue="testnet")
    assert result.failures == ["warm-up"]
    assert "minutes ago" in result.rows["warm-up"].found


def row(minute: int) -> list[Any]:
    opened = START_MS + minute * 60_000
    return [opened, "60000", "60020", "59990", "60010", "2", opened + 59_999, "0", 1, "1", "1", "0"]


# -- this machine ------------------------------------------------------------------------------------------


def test_a_full_disk_is_refused(check: Command) -> None:
    result = check("--set", "live.tolerances.free_gib=1e9")
    assert (result.code, result.failures) == (2, ["disk"])
    assert "make room" in result.rows["disk"].advice


def test_a_damaged_state_file_is_refused(check: Command, bench: Bench) -> None:
    bench.state.mkdir()
    (bench.state / "guard.json").write_text('{"version": 1')
    result = check()
    assert (result.code, result.failures) == (2, ["state"])
    assert "is damaged" in result.rows["state"].found
    assert "restore the file from a copy" in result.rows["state"].advice


def test_another_accounts_state_is_refused(check: Command, bench: Bench) -> None:
    file = StateFile(bench.state / "guard.json", RiskMemory)
    file.write(RiskMemory(account="BINANCE USDT"))
    assert check().rows["state"].outcome == "ok"
    file.write(RiskMemory(account="BINANCE USDC"))
    result = check()
    assert (result.code, result.failures) == (2, ["state"])
    assert "its own state folder" in result.rows["state"].advice


def test_another_node_with_the_same_state_is_found(check: Command, bench: Bench) -> None:
    bench.state.mkdir()
    with (bench.state / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = check()
        assert (result.code, result.failures) == (2, ["lock"])
        assert "stop that node" in result.rows["lock"].advice
    assert check().rows["lock"].outcome == "ok"  # a lock ends with its process


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
