"""Entries and exits on hand-made bars in the real engine; every price and quantity is worked out here.

10 % of 100,000 at a close of 100 is 100 coins; the stop is 2 % away, the target 4 %. A signal of 0.7 is long,
of 0.3 short, at full size. Market and stop orders cost 6 bps, targets 2.
"""

from types import SimpleNamespace

import pytest
from nautilus_trader.model import BarType

from actors.audit import decisions_hash
from actors.messages import Forecast, forecast_topic
from backtests.venue import BINANCE
from strategies import ml_basic
from strategies.values import View
from tests.hand_market import MINUTE, T0, instrument
from tests.markets import (
    DOWN,
    UP,
    Desk,
    Fill,
    Speaker,
    State,
    deciding,
    desk,
    flat_rows,
    random_rows,
    random_script,
)

STOP = ("stop", "SELL", "STOP_MARKET", 100.0, 98.0, True)
TARGET = ("target", "SELL", "LIMIT", 100.0, 104.0, True)
ENTRY = Fill(1, "entry", "BUY", 100.0, 100.0)
SHORT_STOP = ("stop", "BUY", "STOP_MARKET", 100.0, 102.0, True)
SHORT_TARGET = ("target", "BUY", "LIMIT", 100.0, 96.0, True)
SHORT_ENTRY = Fill(1, "entry", "SELL", 100.0, 100.0)
BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"


def bars_of_fills(result: Desk, role: str) -> list[int]:
    return [fill.bar for fill in result.fills() if fill.role == role]


def balances(result: Desk) -> dict[str, float]:
    account = result.simulation.engine.portfolio.account(BINANCE)
    return {currency.code: money.as_double() for currency, money in account.balances_total().items()}


# -- entries and protection ---------------------------------------------------------------------------------


def test_a_signal_enters_at_its_bars_close_and_stop_and_target_stand_before_the_next_bar():
    result = desk(flat_rows(4, b1=(98, 101, 97.5, 100), b2=(99, 99.5, 98.5, 99)), {1: UP})
    assert result.fills() == [ENTRY]
    assert result.states()[:2] == [State(0, 0, ()), State(1, 100.0, (STOP, TARGET))]


def test_a_short_mirrors_a_long():
    result = desk(flat_rows(3), {1: DOWN})
    assert result.fills() == [SHORT_ENTRY]
    assert result.states()[1] == State(1, -100.0, (SHORT_STOP, SHORT_TARGET))


def test_levels_are_fractions_of_the_fill_rounded_to_the_tick():
    # 100.3 x 0.98 = 98.294, x 1.04 = 104.312; 10,000 / 100.3 = 99.7008 coins, down to 0.001
    result = desk(flat_rows(3, b1=(100, 101, 99, 100.3)), {1: UP})
    levels = [(role, quantity, level) for role, _, _, quantity, level, _ in result.states()[1].orders]
    assert levels == [("stop", 99.7, 98.3), ("target", 99.7, 104.3)]


def test_without_a_target_only_the_stop_stands():
    assert desk(flat_rows(3), {1: UP}, targets={"pct": None}).states()[1].orders == (STOP,)


def test_signals_of_the_open_side_add_nothing():
    result = desk(flat_rows(6), {1: UP, 2: UP, 3: UP})
    assert result.fills() == [ENTRY]
    assert [bar for bar, _ in result.audit("intent")] == [1]


# -- how a trade ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bar", "exit_fill"),
    [
        ((100, 104.5, 99.5, 104), Fill(3, "target", "SELL", 100.0, 104.0)),
        ((100, 100.5, 97.0, 99), Fill(3, "stop", "SELL", 100.0, 98.0)),
        ((95, 96, 94, 95), Fill(3, "stop", "SELL", 100.0, 95.0)),  # opens beyond the stop: the open
        ((106, 107, 105, 106), Fill(3, "target", "SELL", 100.0, 104.0)),  # a limit is never bettered
        ((100, 105, 97, 100), Fill(3, "target", "SELL", 100.0, 104.0)),  # both: open, high, low, close
    ],
)
def test_a_long_ends_once_and_leaves_nothing_behind(bar, exit_fill):
    result = desk(flat_rows(6, b3=bar), {1: UP})
    assert result.fills() == [ENTRY, exit_fill]
    assert result.states()[2] == State(2, 100.0, (STOP, TARGET))
    assert result.states()[3] == State(3, 0, ())
    assert result.end() == (0, 0)


@pytest.mark.parametrize(
    ("bar", "exit_fill"),
    [
        ((100, 100.5, 95.5, 96), Fill(3, "target", "BUY", 100.0, 96.0)),
        ((100, 103.0, 99.5, 101), Fill(3, "stop", "BUY", 100.0, 102.0)),
        ((103, 104, 102.5, 103), Fill(3, "stop", "BUY", 100.0, 103.0)),
        ((100, 105, 95, 100), Fill(3, "stop", "BUY", 100.0, 102.0)),
    ],
)
def test_a_short_ends_once_and_leaves_nothing_behind(bar, exit_fill):
    result = desk(flat_rows(6, b3=bar), {1: DOWN})
    assert result.fills() == [SHORT_ENTRY, exit_fill]
    assert result.end() == (0, 0)


def test_with_adaptive_ordering_the_nearer_of_two_levels_is_met_first():
    result = desk(flat_rows(6, b3=(100, 105, 97, 100)), {1: UP}, venue={"adaptive_high_low": True})
    assert result.fills() == [ENTRY, Fill(3, "stop", "SELL", 100.0, 98.0)]


def test_an_opposite_signal_closes_and_only_the_next_bar_enters():
    result = desk(flat_rows(6), {1: UP, 3: DOWN, 4: DOWN})
    # the round trip cost 2 x 6: 10 % of 99,988 is 99.988 coins
    assert result.fills() == [
        ENTRY,
        Fill(3, "exit", "SELL", 100.0, 100.0),
        Fill(4, "entry", "SELL", 99.988, 100.0),
    ]
    assert result.states()[3] == State(3, 0, ())


def test_an_opposite_signal_is_ignored_where_the_run_file_says_so():
    result = desk(flat_rows(6), {1: UP, 3: DOWN}, exit_on_opposite=False)
    assert result.fills() == [ENTRY]
    assert result.end() == (100.0, 2)


def test_the_time_exit_fills_at_the_close_and_nothing_enters_on_that_bar():
    signals = dict.fromkeys(range(1, 7), UP)
    result = desk(flat_rows(7, b4=(100, 101, 99, 101)), signals, time={"max_bars": 3})
    # 100 bought at 100, sold at 101: 100,000 + 100 - 6 - 6.06 = 100,087.94; a tenth of it at 100
    assert result.fills() == [
        ENTRY,
        Fill(4, "exit", "SELL", 100.0, 101.0),
        Fill(5, "entry", "BUY", 100.087, 100.0),
    ]
    assert result.states()[4] == State(4, 0, ())
    assert (4, {"action": "exit", "reason": "time", "price": 101.0}) in result.audit("action")


def test_the_close_of_a_bar_that_stopped_out_may_enter_again():
    result = desk(flat_rows(6, b3=(100, 100, 97, 97.5)), {1: UP, 3: UP})
    # 100,000 - 200 - 6 - 5.88 = 99,788.12; a tenth of it at 97.5 is 102.346...
    assert result.fills() == [
        ENTRY,
        Fill(3, "stop", "SELL", 100.0, 98.0),
        Fill(3, "entry", "BUY", 102.346, 97.5),
    ]
    levels = [(role, level) for role, _, _, _, level, _ in result.states()[3].orders]
    assert levels == [("stop", 95.6), ("target", 101.4)]  # 97.5 x 0.98 = 95.55, halves up


# -- what keeps it from entering ----------------------------------------------------------------------------


def test_cool_off_counts_whole_bars_after_a_stop():
    signals = dict.fromkeys(range(1, 7), UP)
    result = desk(flat_rows(7, b3=(100, 100, 97, 98.5)), signals, time={"cool_off_bars": 2})
    assert bars_of_fills(result, "stop") == [3]
    assert bars_of_fills(result, "entry") == [1, 5]  # bar 3 has not passed, bars 4 and 5 have
    assert result.audit("refusal") == [
        (3, {"check": "cool_off_bars", "limit": 2.0, "value": 0.0}),
        (5, {"check": "cool_off_bars", "side": 1, "repeated": 1}),  # that of bar 4, before what came next
    ]


def test_a_refusal_that_repeats_is_written_once_and_counted():
    signals = {1: UP, 3: DOWN, 4: UP, 5: UP, 6: DOWN, 7: DOWN, 8: DOWN}
    result = desk(flat_rows(12), signals, time={"cool_off_bars": 9})
    assert [(bar, d.get("repeated")) for bar, d in result.audit("refusal")] == [
        (4, None),
        (6, 1),  # the one of bar 5, before the other side's
        (6, None),
        (11, 2),  # those of bars 7 and 8, at the end
    ]
    # the opposite signal of bar 3 that ends the trade is an intent, too
    assert [bar for bar, _ in result.audit("intent")] == [1, 3, 4, 6]


def test_cool_off_counts_whole_bars_after_a_market_exit():
    result = desk(flat_rows(8), {1: UP, 3: DOWN, 4: UP, 5: UP}, time={"cool_off_bars": 2})
    assert bars_of_fills(result, "entry") == [1, 5]
    assert result.audit("refusal") == [(4, {"check": "cool_off_bars", "limit": 2.0, "value": 1.0})]


def test_one_bar_of_cool_off_skips_the_close_of_the_bar_that_stopped_out():
    result = desk(flat_rows(6, b3=(100, 100, 97, 99)), {1: UP, 3: UP, 4: UP}, time={"cool_off_bars": 1})
    assert bars_of_fills(result, "entry") == [1, 4]


def test_the_first_entry_needs_no_cool_off():
    assert desk(flat_rows(4), {1: UP}, time={"cool_off_bars": 3}).fills()[0].bar == 1


def test_without_shorting_a_low_probability_enters_nothing():
    result = desk(flat_rows(6), {1: DOWN, 2: UP, 4: DOWN, 5: DOWN}, allow_short=False)
    assert [(fill.bar, fill.role) for fill in result.fills()] == [(2, "entry"), (4, "exit")]


def test_a_strategy_that_wishes_a_forbidden_short_is_refused():
    def stubborn(view, params):
        return ml_basic.decide(View(view.ts_event, view.close, view.probability, view.side, True), params)

    result = desk(flat_rows(4), {1: DOWN}, prepare=deciding(stubborn), allow_short=False)
    assert result.fills() == []
    assert result.audit("refusal") == [(1, {"check": "allow_short", "limit": 0.0, "value": -1.0})]


def test_nothing_is_decided_before_the_first_forecast():
    nothing = float("nan")
    result = desk(flat_rows(5), {0: nothing, 1: nothing, 2: UP})
    assert result.fills() == [Fill(2, "entry", "BUY", 100.0, 100.0)]


# -- bar and forecast ---------------------------------------------------------------------------------------


def test_decisions_do_not_depend_on_whether_bar_or_forecast_comes_first():
    rows, script = random_rows(3, 400), random_script(3, 400)
    first, last = (desk(rows, script, forecasters_last=order) for order in (False, True))
    assert len(first.fills()) > 20
    assert first.fills() == last.fills()
    assert decisions_hash(first.records) == decisions_hash(last.records)


def speaker(script: dict[int, list[Forecast]]) -> Speaker:
    return Speaker(BarType.from_str(f"{BTC}-1-MINUTE-LAST-EXTERNAL"), forecast_topic(BTC), script)


def forecast(of_bar: int, probability: float, model: str = "direction") -> Forecast:
    ts_event = T0 + (of_bar + 1) * MINUTE
    return Forecast(instrument=BTC, model=model, ts_event=ts_event, horizon_bars=120, probability=probability)


SILENT = dict.fromkeys(range(8), float("nan"))


def test_a_stale_forecast_never_decides():
    said = {2: [forecast(0, UP), forecast(1, UP)], 3: [forecast(2, DOWN)]}
    assert desk(flat_rows(8), SILENT, actors=[speaker(said)]).fills() == []


def test_a_late_forecast_does_not_displace_a_newer_one():
    said = {2: [forecast(3, UP), forecast(1, DOWN)]}
    result = desk(flat_rows(8), SILENT, actors=[speaker(said)])
    assert result.fills() == [Fill(3, "entry", "BUY", 100.0, 100.0)]


def test_a_second_forecast_of_one_bar_changes_nothing():
    said = {2: [forecast(2, UP), forecast(2, DOWN)], 3: [forecast(3, 0.5), forecast(3, DOWN)]}
    result = desk(flat_rows(8), SILENT, actors=[speaker(said)])
    assert result.fills() == [Fill(2, "entry", "BUY", 100.0, 100.0)]


def test_forecasts_of_another_model_are_ignored():
    said = {2: [forecast(2, UP, model="other")]}
    assert desk(flat_rows(8), SILENT, actors=[speaker(said)]).fills() == []


def test_a_bar_that_comes_again_or_after_a_newer_one_does_not_count():
    def stutter(assembly):
        strategy, heard = assembly.strategies[0], []
        once = strategy.on_bar

        def on_bar(bar):
            heard.append(bar)
            for each in (bar, *heard[-2:]):
                once(each)

        strategy.on_bar = on_bar

    result = desk(flat_rows(7), {1: UP}, prepare=stutter, time={"max_bars": 3})
    assert result.fills() == [ENTRY, Fill(4, "exit", "SELL", 100.0, 100.0)]


def test_live_every_bar_is_held_against_the_clock_when_it_is_heard():
    closed = []

    def listen(assembly):
        gate = SimpleNamespace(bar_heard=closed.append)
        assembly.strategies[0].care = SimpleNamespace(gate=gate, start=lambda: None, is_quiet=False)

    desk(flat_rows(3), {}, prepare=listen)
    assert closed == [T0 + MINUTE * (bar + 1) for bar in range(3)]


# -- several instruments, spot ------------------------------------------------------------------------------


def test_two_instruments_trade_side_by_side_on_their_own_forecasts():
    btc, eth = instrument("BTCUSDT"), instrument("ETHUSDT")
    result = desk(
        {BTC: flat_rows(8, b4=(100, 105, 99.5, 104)), ETH: flat_rows(8, b5=(100, 103, 99.5, 102))},
        {BTC: {1: UP}, ETH: {3: DOWN}},
        btc,
        eth,
    )
    of_btc, of_eth = (result.fills(strategy) for strategy in result.assembly.strategies)
    assert of_btc == [ENTRY, Fill(4, "target", "SELL", 100.0, 104.0)]
    # equity at bar 3: 100,000 - 6; a tenth of it at 100 is 99.994 coins
    assert of_eth == [Fill(3, "entry", "SELL", 99.994, 100.0), Fill(5, "stop", "BUY", 99.994, 102.0)]
    assert result.end() == (0, 0)
    assert [(r.instrument, r.detail["probability"]) for r in result.records if r.kind == "forecast"] == [
        (BTC, UP),
        (ETH, DOWN),
    ]


def test_names_that_differ_in_punctuation_only_do_not_mix_up_their_orders():
    rows = flat_rows(5, b3=(100, 105, 99.5, 104))
    result = desk(
        {BTC: rows, ETH: rows},
        {BTC: {1: UP}, ETH: {1: UP}},
        instrument("BTCUSDT"),
        instrument("ETHUSDT"),
        names={BTC: "a-b", ETH: "ab"},
    )
    # the second meets an equity of 100,000 - 6
    for strategy, quantity in zip(result.assembly.strategies, (100.0, 99.994), strict=True):
        assert result.fills(strategy) == [
            Fill(1, "entry", "BUY", quantity, 100.0),
            Fill(3, "target", "SELL", quantity, 104.0),
        ]
    assert len(result.simulation.engine.cache.orders()) == 6


def test_the_leverage_limit_counts_the_positions_of_every_instrument():
    wild = {"method": "fraction", "fraction_pct": 1000, "max_position_pct": 200, "confidence_weighted": False}
    rows = [(100, 100.5, 99.5, 100, 100_000)] * 6
    result = desk(
        {BTC: [(50, 50, 50, 50, 100_000)] * 6, ETH: rows},
        {BTC: {1: UP}, ETH: {3: UP}},
        instrument("BTCUSDT"),
        instrument("ETHUSDT"),
        venue={"leverage": 20, "taker_fee_bps": 0, "slippage_bps": 0},
        risk={"max_leverage": 3},
        sizing=wild,
    )
    # BTC: its largest order, 1000 x 50 = 50,000. ETH: at most 2 x 100,000; 3 x 100,000 less BTC's is 250,000
    quantities = [detail["quantity"] for _, detail in result.audit("approval")]
    assert quantities == [1000.0, 2000.0]
    wild["max_position_pct"] = 1000
    result = desk(
        {BTC: [(50, 50, 50, 50, 100_000)] * 6, ETH: rows},
        {BTC: {1: UP}, ETH: {3: UP}},
        instrument("BTCUSDT"),
        instrument("ETHUSDT"),
        venue={"leverage": 20, "taker_fee_bps": 0, "slippage_bps": 0},
        risk={"max_leverage": 3},
        sizing=wild,
    )
    approvals = [(detail["quantity"], detail["bound_by"]) for _, detail in result.audit("approval")]
    assert approvals == [(1000.0, "max_quantity"), (2500.0, "max_leverage")]


@pytest.mark.parametrize(
    ("bar", "exit_fill", "cash"),
    [
        # 100,000 - 10,000 - 6 + 10,400 - 2.08 and + 9,800 - 5.88
        ((100, 105, 99.5, 104), Fill(3, "target", "SELL", 100.0, 104.0), 100_391.92),
        ((100, 100, 97, 97.5), Fill(3, "stop", "SELL", 100.0, 98.0), 99_788.12),
    ],
)
def test_spot_goes_the_same_way_and_ends_without_coins(bar, exit_fill, cash):
    result = desk(flat_rows(6, b3=bar), {1: UP}, instrument("BTCUSDT", "spot"))
    assert result.fills() == [ENTRY, exit_fill]
    assert result.states()[1] == State(1, 100.0, (STOP, TARGET))
    assert result.end() == (0, 0)
    assert balances(result) == pytest.approx({"USDT": cash, "BTC": 0.0}, abs=1e-8)


def test_spot_closes_on_an_opposite_signal_and_never_sells_what_it_does_not_hold():
    result = desk(flat_rows(7), {1: UP, 3: DOWN, 4: DOWN, 5: DOWN}, instrument("BTCUSDT", "spot"))
    assert [(fill.bar, fill.role, fill.side) for fill in result.fills()] == [
        (1, "entry", "BUY"),
        (3, "exit", "SELL"),
    ]
    assert balances(result)["BTC"] == 0.0


def test_spot_never_oversells_on_a_random_market():
    spot = instrument("BTCUSDT", "spot")
    result = desk(random_rows(11, 1500), random_script(11, 1500), spot)
    assert len(bars_of_fills(result, "entry")) > 20
    assert {fill.role for fill in result.fills()} == {"entry", "stop", "target", "exit"}
    assert all(state.position >= 0 for state in result.states())
    held = sum(f.quantity if f.side == "BUY" else -f.quantity for f in result.fills())
    assert balances(result)["BTC"] == pytest.approx(held, abs=1e-9)
    assert result.end()[0] == pytest.approx(held, abs=1e-9)


def test_coins_held_on_spot_count_as_equity():
    btc, eth = instrument("BTCUSDT", "spot"), instrument("ETHUSDT", "spot")
    result = desk(
        {str(btc.id): flat_rows(6, b2=(100, 103, 100, 103)), str(eth.id): flat_rows(6)},
        {str(btc.id): {1: UP}, str(eth.id): {2: UP}},
        btc,
        eth,
        targets={"pct": None},
        venue={"taker_fee_bps": 0, "slippage_bps": 0},
    )
    # 90,000 cash and 100 coins at 103: a tenth of 100,300 at 100
    assert [detail["quantity"] for _, detail in result.audit("approval")] == [100.0, 100.3]
