"""Twenty hand-made bars through the real engine: every fill, fee, funding payment and profit by hand.

Maker 2 bps, taker 5 bps + 1 bp slippage, so market and stop orders pay 6 bps of notional, targets 2 bps.
All positions are 10 coins. Bar k closes at 07:51 + k minutes; bar 9 closes at 08:00.
"""

import json

import pandas as pd
import pytest

from backtests.bundle import ResultTables
from backtests.ledger import equity_curve, liquidation_breach, reconcile
from backtests.records import fills_from_engine, orders_from_engine
from backtests.summary import summarise
from backtests.trades import trades
from backtests.venue import BINANCE, Simulation, funding_schedule
from catalog.store import FundingColumns
from tests.hand_market import MINUTE, T0, Scripted, Trace, columns, config, instrument, run_market

# (open, high, low, close)
MARKET = [
    (100, 101, 99, 100),
    (100, 101, 99, 100),  # 1: A long at 100, stop 97, target 104
    (100, 102, 99, 101),
    (101, 105, 100, 104),  # 3: A's target
    (104, 105, 103, 104),  # 4: B short at 104, stop 107, target 100
    (104, 106, 103, 105),
    (105, 108, 104, 106),  # 6: B's stop
    (106, 107, 105, 106),  # 7: C long at 106, stop 103, target 112
    (106, 107, 105, 106),
    (106, 107, 105, 106),  # 9: funding 0.1 % at 106
    (101, 102, 100, 101),  # 10: opens below C's stop
    (101, 102, 100, 101),  # 11: D short at 101, stop 104, target 96
    (101, 102, 100, 101),
    (101, 102, 100, 101),
    (101, 102, 100, 101),
    (101, 102, 100, 101),  # 15: funding 0.1 % at 101
    (99, 105, 95, 100),  # 16: D's stop and target in one bar; 95 is nearer to the open
    (100, 101, 99, 100),  # 17: E long at 100, stop 90, target 110
    (100, 102, 99, 101),
    (101, 103, 100, 102),  # 19: E still open, marked to 102
]


def _enter(quantity: float, stop: float, target: float):
    def step(strategy: Scripted) -> None:
        strategy.market(quantity)
        strategy.stop(-quantity, stop)
        strategy.target(-quantity, target)

    return [step]


LONGS = {1: _enter(10, 97, 104), 7: _enter(10, 103, 112), 17: _enter(10, 90, 110)}
PLAN = {**LONGS, 4: _enter(-10, 107, 100), 11: _enter(-10, 104, 96)}


def _close(bar: int) -> pd.Timestamp:
    return pd.Timestamp(T0 + (bar + 1) * MINUTE, tz="UTC")


def _run_perpetual(
    *, adaptive: bool
) -> tuple[Simulation, Trace, dict, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    traded = instrument()
    late = [T0 + 10 * MINUTE + 3_000_000, T0 + 16 * MINUTE + 1_000_000]  # the venue's stamps, some ms late
    rates = FundingColumns(pd.Series(late).to_numpy("int64"), pd.Series([0.001, 0.001]).to_numpy())
    funding = {str(traded.id): funding_schedule(rates, columns(MARKET))}
    simulation, trace = run_market(MARKET, PLAN, traded, funding=funding, adaptive_high_low=adaptive)
    return _books(simulation, trace, traded)


def _books(simulation, trace, traded):
    venue, bars = config(traded).venue, {str(traded.id): columns(MARKET)}
    fills = fills_from_engine(simulation.engine, trace.roles, venue)
    orders = orders_from_engine(simulation.engine, trace.roles)
    positions = trades(fills, simulation.payments(), bars, orders=orders)
    equity = equity_curve(bars, fills, simulation.payments(), 100_000.0, venue)
    assert trace.refused == []
    return simulation, bars, fills, orders, positions, equity


def _balance(simulation: Simulation) -> float:
    account = simulation.engine.portfolio.account(BINANCE)
    return next(m.as_double() for c, m in account.balances_total().items() if c.code == "USDT")


def test_perpetual_fills_fees_and_slippage_are_those_worked_out_by_hand() -> None:
    _, _, fills, _, _, _ = _run_perpetual(adaptive=False)
    expected = [
        # bar, role, side, price, liquidity, fee, slippage
        (1, "entry", "BUY", 100.0, "TAKER", 0.50, 0.10),  # 1000 x 5 bps, x 1 bp
        (3, "target", "SELL", 104.0, "MAKER", 0.208, 0.0),  # 1040 x 2 bps
        (4, "entry", "SELL", 104.0, "TAKER", 0.52, 0.104),
        (6, "stop", "BUY", 107.0, "TAKER", 0.535, 0.107),  # touched: fills at its trigger
        (7, "entry", "BUY", 106.0, "TAKER", 0.53, 0.106),
        (10, "stop", "SELL", 101.0, "TAKER", 0.505, 0.101),  # gap: fills at the open
        (11, "entry", "SELL", 101.0, "TAKER", 0.505, 0.101),
        (16, "stop", "BUY", 104.0, "TAKER", 0.52, 0.104),  # high before low
        (17, "entry", "BUY", 100.0, "TAKER", 0.50, 0.10),
    ]
    got = fills[["ts_event", "role", "side", "price", "liquidity", "fee", "slippage"]].to_numpy().tolist()
    assert got == [[_close(bar), *rest] for bar, *rest in expected]
    assert (fills["quantity"] == 10.0).all()
    assert (fills["instrument"] == "BTCUSDT-PERP.BINANCE").all()


def test_perpetual_funding_is_paid_while_long_and_received_while_short() -> None:
    simulation, *_ = _run_perpetual(adaptive=False)
    got = simulation.payments()[["ts_event", "quantity", "mark_price", "rate", "amount"]].to_numpy().tolist()
    assert got == [
        [_close(9), 10.0, 106.0, 0.001, -1.06],  # long 1060: pays 0.1 %
        [_close(15), -10.0, 101.0, 0.001, 1.01],  # short 1010: receives 0.1 %
    ]


def test_perpetual_trades_profits_and_balance_are_those_worked_out_by_hand() -> None:
    simulation, bars, fills, _, positions, equity = _run_perpetual(adaptive=False)
    expected = [
        # entry bar, exit bar, side, entry, exit, stop, target, reason, gross, fees, slippage, funding, net
        # A: 10 x 4 = 40; fees 0.5 + 0.208; net 40 - 0.708 - 0.1
        (1, 3, "LONG", 100.0, 104.0, 97.0, 104.0, "target", 40.0, 0.708, 0.1, 0.0, 39.192),
        # B: -10 x 3; fees 0.52 + 0.535, slippage 0.104 + 0.107
        (4, 6, "SHORT", 104.0, 107.0, 107.0, 100.0, "stop", -30.0, 1.055, 0.211, 0.0, -31.266),
        # C: 10 x (101 - 106); fees 0.53 + 0.505, slippage 0.106 + 0.101; funding -1.06
        (7, 10, "LONG", 106.0, 101.0, 103.0, 112.0, "stop", -50.0, 1.035, 0.207, -1.06, -52.302),
        # D: -10 x 3; fees 0.505 + 0.52, slippage 0.101 + 0.104; funding +1.01
        (11, 16, "SHORT", 101.0, 104.0, 104.0, 96.0, "stop", -30.0, 1.025, 0.205, 1.01, -30.22),
        # E: 10 x 2 on paper; fees 0.5, slippage 0.1
        (17, 19, "LONG", 100.0, 102.0, 90.0, 110.0, "open", 20.0, 0.5, 0.1, 0.0, 19.4),
    ]
    assert len(positions) == len(expected)
    for row, want in zip(positions.itertuples(), expected, strict=True):
        assert (row.entry_time, row.exit_time, row.bars_held) == (
            _close(want[0]),
            _close(want[1]),
            want[1] - want[0],
        )
        assert (row.side, row.entry_price, row.exit_price) == want[2:5]
        assert (row.stop_price, row.target_price, row.exit_reason) == want[5:8]
        costs = (row.gross_pnl, row.fees, row.slippage, row.funding, row.net_pnl)
        assert costs == pytest.approx(want[8:], abs=1e-9)
        assert row.return_pct == pytest.approx(100 * row.net_pnl / (10 * row.entry_price))
    # 39.192 - 31.266 - 52.302 - 30.22 + 19.4 = -55.196; 20 of it is still on paper
    assert equity["equity"].iloc[-1] == pytest.approx(100_000 - 55.196, abs=1e-8)
    assert equity["cash"].iloc[-1] == pytest.approx(100_000 - 75.196, abs=1e-8)
    assert equity["position_notional"].iloc[-1] == 1020.0
    assert _balance(simulation) == pytest.approx(99_924.804, abs=1e-8)
    reconcile(simulation.engine, equity)
    assert (
        liquidation_breach(bars, fills, simulation.payments(), 100_000.0, {next(iter(bars)): instrument()})
        is None
    )


def test_perpetual_equity_is_marked_at_every_close() -> None:
    _, _, _, _, _, equity = _run_perpetual(adaptive=False)
    # entry costs 0.6; bar 2: 10 x 1 on paper; bar 3: A closed, +39.192; bar 4: B's entry -0.624;
    # bar 5: 10 x -1 on paper; bar 6: B closed, 39.192 - 31.266 = 7.926
    assert equity["equity"].iloc[:7].tolist() == pytest.approx(
        [100_000, 99_999.4, 100_009.4, 100_039.192, 100_038.568, 100_028.568, 100_007.926], abs=1e-8
    )
    assert equity["ts_event"].tolist() == [_close(bar) for bar in range(20)]
    # buy and hold: 100,000 buys 100,000 / (100 x 1.0006) coins at the first close
    assert equity["benchmark"].iloc[0] == pytest.approx(100_000 / 1.0006)
    assert equity["benchmark"].iloc[-1] == pytest.approx(100_000 / 1.0006 * 1.02)


def test_adaptive_ordering_visits_the_nearer_extreme_first() -> None:
    simulation, _, fills, _, positions, equity = _run_perpetual(adaptive=True)
    both = fills[fills["ts_event"] == _close(16)]
    assert both[["role", "price", "liquidity", "fee", "slippage"]].to_numpy().tolist() == [
        ["target", 96.0, "MAKER", 0.192, 0.0]  # 960 x 2 bps
    ]
    # D: 10 x 5; fees 0.505 + 0.192, slippage 0.101, funding +1.01: 50.212 instead of -30.22
    assert positions["net_pnl"].iloc[3] == pytest.approx(50.212, abs=1e-9)
    assert positions["exit_reason"].iloc[3] == "target"
    assert equity["equity"].iloc[-1] == pytest.approx(100_000 - 55.196 + 30.22 + 50.212, abs=1e-8)
    reconcile(simulation.engine, equity)


def test_spot_trades_coins_for_cash_without_funding() -> None:
    traded = instrument(market="spot")
    simulation, trace = run_market(MARKET, LONGS, traded)
    simulation, _, fills, _, positions, equity = _books(simulation, trace, traded)
    assert simulation.funding is None
    assert fills[["role", "price", "liquidity"]].to_numpy().tolist() == [
        ["entry", 100.0, "TAKER"],
        ["target", 104.0, "MAKER"],
        ["entry", 106.0, "TAKER"],
        ["stop", 101.0, "TAKER"],
        ["entry", 100.0, "TAKER"],
    ]
    # A 39.192; C 10 x -5 - 0.636 - 0.606 = -51.242; E 10 x 2 - 0.6 = 19.4
    assert positions["net_pnl"].tolist() == pytest.approx([39.192, -51.242, 19.4], abs=1e-9)
    assert equity["equity"].iloc[-1] == pytest.approx(100_007.35, abs=1e-8)
    # cash: 100,000 + 39.192 - 51.242 - 1000 for the coins - 0.6
    assert equity["cash"].iloc[-1] == pytest.approx(98_987.35, abs=1e-8)
    assert equity["position_notional"].iloc[-1] == 1020.0
    assert _balance(simulation) == pytest.approx(98_987.35, abs=1e-8)
    reconcile(simulation.engine, equity)


def test_two_runs_of_the_hand_market_give_identical_books() -> None:
    first, second = (_run_perpetual(adaptive=False) for _ in range(2))
    assert len(first[2]) == 9
    for ours, theirs in zip(first[2:], second[2:], strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_the_summary_adds_up_to_the_hand_made_result() -> None:
    simulation, _, fills, orders, positions, equity = _run_perpetual(adaptive=False)
    empty = pd.DataFrame(columns=["ts_event", "kind", "detail"]).astype({"detail": "str"})
    tables = ResultTables(orders, fills, positions, equity, decisions=empty, model_test=empty)
    summary = summarise(
        config(instrument()),
        tables=tables,
        bars=20,
        engine_cpu_secs=0.5,
        currency="USDT",
        data_hash="d",
        config_hash="c",
        model_hashes={},
        decisions_hash="a",
    )
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    # fees 0.708 + 1.055 + 1.035 + 1.025 + 0.5; slippage 0.1 + 0.211 + 0.207 + 0.205 + 0.1
    assert (summary["fees"], summary["slippage"]) == pytest.approx((4.323, 0.823), abs=1e-9)
    assert summary["funding"] == pytest.approx(-0.05, abs=1e-9)
    assert summary["gross_pnl"] == pytest.approx(-50.0, abs=1e-9)
    assert summary["net_pnl"] == pytest.approx(-50.0 - 4.323 - 0.823 - 0.05, abs=1e-8)
    assert (summary["trades"], summary["open_trades"], summary["win_rate"]) == (5, 1, 0.4)
    assert summary["profit_factor"] == pytest.approx((39.192 + 19.4) / (31.266 + 52.302 + 30.22))
    # 1000 + 1040 + 1040 + 1070 + 1060 + 1010 + 1010 + 1040 + 1000 = 9270 traded
    assert summary["turnover"] == pytest.approx(0.0927)
    # held at the closes of bars 1-2, 4-5, 7-9, 11-15, 17-19
    assert summary["exposure_pct"] == pytest.approx(100 * 15 / 20)
    assert summary["orders"] == 15
    assert summary["bars_per_sec"] == 40.0
    # one UTC day only: no ratio
    assert [summary[k] for k in ("sharpe", "sortino", "calmar", "psr")] == [None] * 4
    # the peak is bar 3's 100,039.192, the lowest close after it bar 17: -74.596 realized, -0.6 for E's entry
    assert summary["max_drawdown_pct"] == pytest.approx(100 * (39.192 + 75.196) / 100_039.192)
    assert simulation.funding is not None
