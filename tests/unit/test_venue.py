import numpy as np
import pandas as pd
import pytest
from nautilus_trader.model import Money

from backtests.venue import (
    BINANCE,
    FundingModule,
    FundingSchedule,
    build_engine,
    funding_schedule,
    payments_frame,
)
from catalog.store import BarColumns, FundingColumns
from configs.errors import ConfigError, DataError, RunFailedError
from configs.schema import VenueConfig
from tests.hand_market import MINUTE, T0, Scripted, columns, config, instrument, run_market, schedule

PERPETUAL = instrument()
NAME = str(PERPETUAL.id)
FLAT = [(100, 100, 100, 100)] * 8


def _buy(strategy: Scripted) -> None:
    strategy.market(10)


def _sell(strategy: Scripted) -> None:
    strategy.market(-10, "exit")


def _flip(strategy: Scripted) -> None:
    strategy.market(-20)


def _funded(rows, plan, *bars, **venue):
    """(bar, signed quantity, amount) of every payment of a run on one perpetual."""
    simulation, trace = run_market(rows, plan, PERPETUAL, funding={NAME: schedule(rows, *bars)}, **venue)
    assert trace.refused == []
    return [((p.ts_event - T0) // MINUTE - 1, p.quantity, p.amount) for p in simulation.funding.payments]


# --- who pays funding ---


def test_a_position_pays_at_each_funding_time_it_is_held_and_only_then() -> None:
    assert _funded(FLAT, {2: [_buy], 5: [_sell]}, 0, 1, 3, 4, 6) == [(3, 10.0, -1.0), (4, 10.0, -1.0)]


def test_an_entry_at_the_funding_bars_close_does_not_pay() -> None:
    assert _funded(FLAT, {3: [_buy]}, 3) == []


def test_a_market_exit_at_the_funding_bars_close_still_pays() -> None:
    assert _funded(FLAT, {1: [_buy], 3: [_sell]}, 3) == [(3, 10.0, -1.0)]


def test_a_stop_inside_the_bar_that_ends_at_the_funding_time_comes_before_it() -> None:
    rows = [*FLAT[:3], (100, 100, 95, 97), *FLAT[:2]]
    assert _funded(rows, {1: [_buy, lambda s: s.stop(-10, 98)]}, 3) == []


def test_a_new_entry_after_that_stop_does_not_pay_either() -> None:
    rows = [*FLAT[:3], (100, 100, 95, 97), *FLAT[:2]]
    plan = {1: [_buy, lambda s: s.stop(-10, 98)], 3: [lambda s: s.market(20)]}
    assert _funded(rows, plan, 3, 4) == [(4, 20.0, -2.0)]


def test_a_flip_at_the_funding_bars_close_pays_for_the_old_side() -> None:
    assert _funded(FLAT, {1: [_buy], 3: [_flip]}, 3, 4) == [(3, 10.0, -1.0), (4, -10.0, 1.0)]


def test_an_exit_and_a_new_entry_at_the_funding_bars_close_pay_once() -> None:
    assert _funded(FLAT, {1: [_buy], 3: [_sell, _buy]}, 3) == [(3, 10.0, -1.0)]


def test_what_is_added_at_the_funding_bars_close_does_not_pay() -> None:
    assert _funded(FLAT, {1: [_buy], 3: [_buy]}, 3, 4) == [(3, 10.0, -1.0), (4, 20.0, -2.0)]


def test_a_delayed_entry_that_fills_at_the_funding_bars_close_does_not_pay() -> None:
    assert _funded(FLAT, {2: [_buy]}, 3, 4, latency_ms=500) == [(4, 10.0, -1.0)]


def test_funding_between_two_closes_settles_what_was_held_at_the_earlier_one() -> None:
    between = FundingSchedule(np.array([T0 + 4 * MINUTE + MINUTE // 2]), np.array([0.001]), np.array([100.0]))
    rows = [*FLAT[:4], (100, 100, 95, 97), *FLAT[:2]]
    plan = {1: [_buy, lambda s: s.stop(-10, 98)]}
    simulation, _ = run_market(rows, plan, PERPETUAL, funding={NAME: between})
    assert [p.quantity for p in simulation.funding.payments] == [10.0]


def test_two_instruments_at_one_funding_time_each_settle_their_own_position() -> None:
    other = instrument("ETHUSDT")
    rows = {NAME: FLAT, str(other.id): [(50, 50, 50, 50)] * 8}
    plan = {NAME: {1: [_buy]}, str(other.id): {2: [lambda s: s.market(-20)]}}
    funding = {name: schedule(rows[name], 4) for name in rows}
    simulation, _ = run_market(rows, plan, PERPETUAL, other, funding=funding)
    assert {(p.instrument, p.quantity, p.amount) for p in simulation.funding.payments} == {
        (NAME, 10.0, -1.0),
        (str(other.id), -20.0, 1.0),
    }
    balance = simulation.engine.portfolio.account(BINANCE).balance_total(PERPETUAL.quote_currency)
    assert balance.as_double() == pytest.approx(100_000 - 0.6 - 0.6)


def test_funding_that_is_switched_off_or_absent_is_not_charged() -> None:
    off, _ = run_market(FLAT, {1: [_buy]}, PERPETUAL, funding={NAME: schedule(FLAT, 4)}, funding_mode="off")
    absent, _ = run_market(FLAT, {1: [_buy]}, PERPETUAL)
    assert off.funding is None
    assert absent.funding is None
    assert absent.payments().empty


def test_an_engine_that_is_reset_settles_the_same_payments_again() -> None:
    simulation, _ = run_market(FLAT, {1: [_buy]}, PERPETUAL, funding={NAME: schedule(FLAT, 3, 5)})
    first = list(simulation.funding.payments)
    simulation.engine.reset()
    assert simulation.funding.payments == []
    simulation.engine.run()
    assert simulation.funding.payments == first
    assert len(first) == 2


def test_an_error_inside_the_funding_module_ends_the_run() -> None:
    broken = FundingSchedule(np.array([T0 + 4 * MINUTE]), np.array([np.nan]), np.array([100.0]))
    with pytest.raises(RuntimeError, match="process failed"):
        run_market(FLAT, {1: [_buy]}, PERPETUAL, funding={NAME: broken})


def test_a_payment_the_account_refuses_is_an_error() -> None:
    class Refused:
        applied, error = False, "no account"

    module = FundingModule(
        {}, PERPETUAL.quote_currency, build_engine(config(PERPETUAL), [PERPETUAL]).engine.cache
    )
    with pytest.raises(RunFailedError, match="no account"):
        module.acknowledge([Refused()])


# --- what a venue charges and allows ---


def test_market_and_stop_orders_pay_the_taker_rate_with_slippage_and_limits_the_maker_rate() -> None:
    rows = [*FLAT[:3], (100, 103, 99, 102), (102, 102, 96, 97), *FLAT[:2]]
    plan = {1: [_buy, lambda s: s.target(-5, 103)], 3: [lambda s: s.stop(-5, 98)]}
    _, trace = run_market(rows, plan, PERPETUAL, maker_fee_bps=1, taker_fee_bps=4, slippage_bps=3)
    assert trace.fills == [
        (1, "MARKET", "BUY", 100.0, 10.0, 0.7, "TAKER"),
        (3, "LIMIT", "SELL", 103.0, 5.0, 0.0515, "MAKER"),
        (4, "STOP_MARKET", "SELL", 98.0, 5.0, 0.343, "TAKER"),
    ]


def test_latency_moves_a_market_fill_to_the_next_bars_close() -> None:
    rows = [*FLAT[:3], (101, 103, 99, 102), *FLAT[:2]]
    _, trace = run_market(rows, {2: [_buy]}, PERPETUAL, latency_ms=1000)
    assert [(bar, price) for bar, _, _, price, *_ in trace.fills] == [(3, 102.0)]


@pytest.mark.parametrize(("leverage", "limit"), [(1, 10), (2.5, 25), (5, 50), (20, 200)])
def test_initial_margin_is_notional_over_leverage(leverage: float, limit: int) -> None:
    rows = [(100, 100, 100, 100, 1e6)] * 3
    venue = {"leverage": leverage, "starting_balance": 1000.0}
    _, inside = run_market(rows, {1: [lambda s: s.market(limit)]}, PERPETUAL, **venue)
    _, beyond = run_market(rows, {1: [lambda s: s.market(limit + 1)]}, PERPETUAL, **venue)
    assert len(inside.fills) == 1
    assert inside.refused == []
    assert beyond.fills == []
    assert "INITIAL_MARGIN_EXCEEDS_FREE_BALANCE" in beyond.refused[0]


def test_protective_orders_of_a_fully_margined_position_are_accepted() -> None:
    rows = [(100, 100, 100, 100, 1e6)] * 3
    plan = {1: [lambda s: s.market(49), lambda s: s.stop(-49, 95), lambda s: s.target(-49, 105)]}
    simulation, trace = run_market(rows, plan, PERPETUAL, leverage=5, starting_balance=1000.0)
    assert trace.refused == []
    assert [str(o.status) for o in simulation.engine.cache.orders()] == ["FILLED", "ACCEPTED", "ACCEPTED"]


def test_many_orders_in_one_instant_are_not_denied_by_a_rate_limit() -> None:
    plan = {1: [_buy] * 150}
    _, trace = run_market([(100, 100, 100, 100, 1e6)] * 3, plan, PERPETUAL)
    assert len(trace.fills) == 150


def test_spot_cannot_sell_what_it_does_not_hold() -> None:
    _, trace = run_market(FLAT, {1: [lambda s: s.market(-1)]}, instrument(market="spot"))
    assert trace.fills == []
    assert "EXCEEDS_FREE_BALANCE" in trace.refused[0]


def test_the_taker_cost_is_exact_in_decimal() -> None:
    assert str(VenueConfig(taker_fee_bps=4.5, slippage_bps=0.7).taker_cost) == "0.00052"


def test_an_engine_refuses_what_one_account_cannot_hold() -> None:
    spot, other_quote = instrument(market="spot"), instrument("BTCUSDT")
    with pytest.raises(ConfigError, match="at least one instrument"):
        build_engine(config(PERPETUAL), [])
    with pytest.raises(ConfigError, match="cannot share one account"):
        build_engine(config(PERPETUAL), [PERPETUAL, spot])
    with pytest.raises(ConfigError, match="not traded"):
        build_engine(config(PERPETUAL), [other_quote], {"ETHUSDT-PERP.BINANCE": schedule(FLAT, 3)})


# --- schedules ---

_BARS = columns([(100, 101, 99, 100 + k) for k in range(20)])  # bar k closes at 100 + k


def _rates(*minutes: float, rates: list[float] | None = None) -> FundingColumns:
    ts = np.array([T0 + int(m * MINUTE) for m in minutes], dtype=np.int64)
    return FundingColumns(ts, np.array(rates if rates is not None else [0.001] * len(ts)))


def test_a_schedule_rounds_the_venues_late_stamps_to_the_minute_and_takes_the_close_known_then() -> None:
    got = funding_schedule(_rates(10.0001, 15.00005), _BARS)
    assert got.ts_event.tolist() == [T0 + 10 * MINUTE, T0 + 15 * MINUTE]
    assert got.mark_price.tolist() == [109.0, 114.0]


def test_a_schedule_keeps_only_times_with_a_known_price() -> None:
    got = funding_schedule(_rates(-480, 0, 1, 20, 21), _BARS)
    assert ((got.ts_event - T0) // MINUTE).tolist() == [1, 20]


def test_a_schedule_prefers_a_mark_price_that_is_not_older_than_the_bar() -> None:
    ts = np.array([T0 + 10 * MINUTE, T0 + 14 * MINUTE])
    price = np.array([500.0, 600.0])
    mark = BarColumns(ts, price, price, price, price, np.zeros(2))
    got = funding_schedule(_rates(5, 10, 15), _BARS, mark)
    assert got.mark_price.tolist() == [104.0, 500.0, 114.0]


def test_a_schedule_is_sorted_and_without_repeats() -> None:
    got = funding_schedule(_rates(15, 10, 10.0001, rates=[0.2, 0.1, 0.1]), _BARS)
    assert got.rate.tolist() == [0.1, 0.2]


def test_a_schedule_refuses_contradictions_and_missing_numbers() -> None:
    with pytest.raises(DataError, match="2024-01-01 08:00 has two different rates"):
        funding_schedule(_rates(10, 10.0001, rates=[0.1, 0.2]), _BARS)
    with pytest.raises(DataError, match="no finite rate"):
        funding_schedule(_rates(10, rates=[np.nan]), _BARS)


def test_a_schedule_of_nothing_is_empty() -> None:
    assert len(funding_schedule(_rates(), _BARS)) == 0
    assert len(funding_schedule(_rates(10), _BARS.slice(0, 0))) == 0


def test_no_payments_make_an_empty_table_with_its_types() -> None:
    frame = payments_frame(())
    assert frame.empty
    assert frame["ts_event"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert frame["amount"].dtype == np.float64


def test_a_payment_is_rounded_to_the_currencys_decimals_as_the_account_is() -> None:
    odd = FundingSchedule(np.array([T0 + 4 * MINUTE]), np.array([1 / 3e4]), np.array([100.1]))
    simulation, _ = run_market(FLAT, {1: [_buy]}, PERPETUAL, funding={NAME: odd})
    expected = Money(-10 * 100.1 / 3e4, PERPETUAL.quote_currency).as_double()
    assert [p.amount for p in simulation.funding.payments] == [expected] == [-0.03336667]
