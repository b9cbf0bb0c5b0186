import json
import math

import numpy as np
import pandas as pd
import pytest

from backtests import charts, tables
from catalog.store import BarColumns

MINUTE = 60_000_000_000


def equity(times: list[str], values: list[float], benchmark: list[float]) -> pd.DataFrame:
    ts = pd.to_datetime(times, utc=True)
    notional = np.zeros(len(values))
    return pd.DataFrame(
        {
            "ts_event": ts,
            "equity": values,
            "cash": values,
            "position_notional": notional,
            "benchmark": benchmark,
        }
    )


def bars(closes: list[float], *, first_open: int = 0, step: int = MINUTE) -> BarColumns:
    close = np.array(closes)
    times = first_open + step * np.arange(1, len(close) + 1, dtype=np.int64)
    return BarColumns(times, close - 1, close + 2, close - 3, close, np.full(len(close), 5.0))


def trades(**columns: list) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    base = {
        "trade": list(range(1, n + 1)),
        "strategy": ["s"] * n,
        "instrument": ["BTCUSDT-PERP.BINANCE"] * n,
        "side": ["LONG"] * n,
        "entry_time": pd.to_datetime([MINUTE * 5] * n, utc=True),
        "exit_time": pd.to_datetime([MINUTE * 8] * n, utc=True),
        "entry_price": [100.0] * n,
        "exit_price": [101.0] * n,
        "stop_price": [98.0] * n,
        "target_price": [104.0] * n,
        "exit_reason": ["time"] * n,
        "bars_held": [3] * n,
        "net_pnl": [1.0] * n,
        "return_pct": [1.0] * n,
    }
    return pd.DataFrame(base | columns)


def decisions(*rows: tuple[int, str, dict]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime([ts for ts, _, _ in rows], utc=True),
            "component": ["strategy"] * len(rows),
            "instrument": ["BTCUSDT-PERP.BINANCE"] * len(rows),
            "kind": [kind for _, kind, _ in rows],
            "detail": [json.dumps(detail, separators=(",", ":")) for _, _, detail in rows],
        }
    )


def test_months_run_from_balance_to_midnight_close_and_compound_to_the_whole() -> None:
    table = equity(
        ["2024-01-30T12:00", "2024-02-01T00:00", "2024-02-10T00:00", "2024-03-01T00:01"],
        [100.0, 110.0, 121.0, 60.5],
        [99.0, 99.0, 198.0, 99.0],
    )
    months = tables.monthly_returns(table, 100.0)
    assert [f"{month:%Y-%m}" for month in months.index] == ["2024-01", "2024-02", "2024-03"]
    np.testing.assert_allclose(months["strategy"], [10.0, 10.0, -50.0])  # midnight's close ends January
    np.testing.assert_allclose(months["benchmark"], [-1.0, 100.0, -50.0])
    whole = (1 + months / 100).prod() - 1
    np.testing.assert_allclose(whole, [60.5 / 100 - 1, 99.0 / 100 - 1])


def test_days_without_a_balance_begin_at_the_first_row() -> None:
    table = equity(
        ["2024-01-01T12:00", "2024-01-02T00:00", "2024-01-02T01:00"], [50.0, 55.0, 66.0], [1, 1, 1]
    )
    days = tables.daily_returns(table)
    np.testing.assert_allclose(days["strategy"], [10.0, 20.0])
    assert tables.daily_returns(table.iloc[:0]).empty


def test_thinning_keeps_ends_and_extremes() -> None:
    values = np.zeros(10_000)
    values[[1_234, 5_678]] = 7.0, -7.0
    keep = tables.thin_indices(values, 400)
    assert len(keep) <= 400
    assert {0, 1_234, 5_678, 9_999} <= set(keep.tolist())
    assert (np.diff(keep) > 0).all()
    np.testing.assert_array_equal(tables.thin_indices(values[:400], 400), np.arange(400))


def test_candles_merge_on_aligned_steps_and_leave_gaps() -> None:
    source = bars([10, 11, 12, 13, 14, 15, 16, 17, 18], first_open=MINUTE)  # opens 00:01 .. 00:09
    holed = BarColumns.join([source.slice(0, 3), source.slice(8, 9)])  # opens 1, 2, 3 and 9
    merged, step = tables.resample_bars(holed, 3)
    assert step == 3 * MINUTE
    np.testing.assert_array_equal(merged.ts_event, np.array([3, 6, 12]) * MINUTE)
    np.testing.assert_array_equal(merged.open, [9, 11, 17])
    np.testing.assert_array_equal(merged.high, [13, 14, 20])
    np.testing.assert_array_equal(merged.low, [7, 9, 15])
    np.testing.assert_array_equal(merged.close, [11, 12, 18])
    np.testing.assert_array_equal(merged.volume, [10, 5, 5])
    same, step = tables.resample_bars(source, 9)
    assert same is source
    assert step == MINUTE


def test_reliability_bins_hold_equally_many_with_wilson_intervals() -> None:
    frame = pd.DataFrame(
        {"probability": [0.2, 0.1, 0.8, 0.9, math.nan, 0.5], "outcome": [0.0, 1.0, 1.0, 1.0, 1.0, math.nan]}
    )
    table = tables.reliability_table(frame, 2)
    np.testing.assert_allclose(table["predicted"], [0.15, 0.85])
    np.testing.assert_allclose(table["observed"], [0.5, 1.0])
    assert table["count"].tolist() == [2, 2]
    # Wilson for 1 of 2 and 2 of 2 at z = 1.959964: (p + z2/2n +- z sqrt(pq/n + z2/4n2)) / (1 + z2/n)
    np.testing.assert_allclose(table["low"], [0.094531, 0.342380], atol=1e-6)
    np.testing.assert_allclose(table["high"], [0.905469, 1.0], atol=1e-6)
    assert tables.reliability_table(frame.iloc[:0], 10).empty


def test_gross_less_costs_plus_funding_is_net() -> None:
    steps = tables.cost_steps({"net_pnl": 50.0, "fees": 10.0, "slippage": 2.0, "funding": -3.0})
    assert steps == [("Gross PnL", 65.0), ("Fees", -10.0), ("Slippage", -2.0), ("Funding", -3.0)]
    assert sum(value for _, value in steps) == 50.0
    bar = charts.costs_figure(steps).data[0]
    assert list(bar.y) == [65.0, -10.0, -2.0, -3.0, 50.0]


def test_costs_add_up_by_role_and_liquidity() -> None:
    fills = pd.DataFrame(
        {
            "role": ["entry", "entry", "target"],
            "liquidity": ["TAKER", "TAKER", "MAKER"],
            "quantity": [1.0, 2.0, 3.0],
            "price": [10.0, 20.0, 30.0],
            "fee": [0.1, 0.2, 0.3],
            "slippage": [0.01, 0.02, 0.0],
        }
    )
    by_role = tables.costs_by_role(fills).set_index("role")
    assert by_role.loc["entry", ["fills", "notional"]].tolist() == [2, 50.0]
    assert by_role.loc["entry", "fee"] == pytest.approx(0.3)
    assert by_role.loc["target", ["fills", "notional", "slippage"]].tolist() == [1, 90.0, 0.0]


def test_decisions_are_counted_by_stage_and_reason() -> None:
    audit = decisions(
        (1, "forecast", {}),
        *[(2, "intent", {"side": 1})] * 4,
        (3, "approval", {}),
        *[(4, "refusal", {"check": "free_margin"})] * 2,
        (5, "refusal", {"check": "equity"}),
    )
    counts = tables.decision_counts(audit, trades(exit_reason=["stop", "time", "stop"]))
    assert counts.to_numpy().tolist() == [
        ["Intent", "", 4],
        ["Approval", "", 1],
        ["Refusal", "free_margin", 2],
        ["Refusal", "equity", 1],
        ["Exit", "stop", 2],
        ["Exit", "time", 1],
    ]
    figure = charts.decisions_figure(audit, trades(exit_reason=["stop"]))
    assert [label for bar in figure.data for label in bar.y][2:4] == [
        "Refusal: free_margin",
        "Refusal: equity",
    ]


def test_exits_are_summed_by_side_and_reason() -> None:
    table = tables.exits_by_reason(
        trades(side=["LONG", "SHORT", "LONG"], exit_reason=["stop", "time", "stop"], net_pnl=[-2.0, 3.0, 1.0])
    )
    assert table.to_numpy().tolist() == [
        ["LONG", "stop", 2, 1, -1.0],
        ["LONG", "All", 2, 1, -1.0],
        ["SHORT", "time", 1, 1, 3.0],
        ["SHORT", "All", 1, 1, 3.0],
    ]


def test_notable_trades_are_named_once_each() -> None:
    frame = trades(net_pnl=[1.0, -5.0, 9.0, 2.0], bars_held=[3, 1, 2, 8])
    picks = tables.notable_trades(frame)
    assert picks == [("Best", 2), ("Worst", 1), ("Longest, median, last", 3), ("First", 0)]
    assert tables.notable_trades(frame.iloc[:1]) == [("The only trade", 0)]
    assert tables.notable_trades(frame.iloc[:0]) == []


def test_the_largest_trades_keep_their_order() -> None:
    frame = trades(net_pnl=[1.0, -9.0, 3.0, -2.0])
    assert tables.largest_trades(frame, 2)["trade"].tolist() == [2, 3]
    assert tables.largest_trades(frame, 4) is frame


def test_a_moved_stop_is_drawn_where_it_stood() -> None:
    trade = trades(net_pnl=[1.0]).iloc[0]
    audit = decisions(
        (MINUTE * 4, "action", {"action": "move_stop", "price": 1.0}),  # before the trade
        (MINUTE * 6, "action", {"action": "move_stop", "price": 99.0}),
        (MINUTE * 7, "action", {"action": "exit", "reason": "time"}),
    )
    path = tables.stop_path(trade, audit)
    assert path["price"].tolist() == [98.0, 99.0, 99.0]
    assert [t.value // MINUTE for t in path["ts_event"]] == [5, 6, 8]
    figure = charts.trade_figure(bars([100.0] * 20), trade, audit)
    (stop,) = [trace for trace in figure.data if trace.name == "Stop"]
    assert stop.line.shape == "hv"
    assert list(stop.y) == [98.0, 99.0, 99.0]
    assert tables.stop_path(trade.replace(98.0, math.nan), audit).empty


def test_a_trade_is_shown_at_the_original_bar_length_with_its_levels() -> None:
    figure = charts.trade_figure(bars([100.0] * 100), trades(net_pnl=[1.0]).iloc[0])
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["Price"].x[:2]) == [30_000.0, 90_000.0]  # the middle of the first two minutes
    assert len(traces["Price"].x) == 5 - 1 + 4 + 20  # from the first bar to 20 after the exit
    assert traces["Stop"].y[:2].tolist() == [98.0, 98.0]
    assert traces["Target"].y[:2].tolist() == [104.0, 104.0]
    assert traces["Stop"].x[:2].tolist() == [300_000.0, 480_000.0]
    assert traces["Long entry"].y.tolist() == [100.0]
    assert traces["Exit: time"].x.tolist() == [480_000.0]
    assert "Won" in traces
    assert "Lost" not in traces


def test_all_trades_of_a_long_run_are_marked_on_merged_candles() -> None:
    frame = trades(net_pnl=[1.0, -1.0], side=["LONG", "SHORT"], exit_reason=["stop", "target"])
    figure = charts.candles_figure(bars([100.0] * 5_000), frame)
    traces = {trace.name: trace for trace in figure.data}
    assert len(traces["Price"].x) == 1_667  # three minutes each
    assert {"Stop", "Target", "Won", "Lost", "Long entry", "Short entry", "Exit: stop", "Exit: target"} < set(
        traces
    )


def test_the_strategy_gets_its_own_panel_only_beside_a_wilder_benchmark() -> None:
    times = ["2024-01-01T01:00", "2024-01-01T02:00", "2024-01-01T03:00"]
    calm = charts.equity_figure(equity(times, [100.0, 101.0, 100.5], [100.0, 90.0, 110.0]))
    even = charts.equity_figure(equity(times, [100.0, 101.0, 100.5], [100.0, 99.0, 101.0]))
    titles = [[f.layout[f"yaxis{n}"].title.text for n in ("", 2)] for f in (calm, even)]
    assert titles == [["Equity", "Strategy"], ["Equity", "Drawdown (%)"]]
    underwater = [trace for trace in even.data if trace.yaxis == "y2" and trace.name == "Strategy"]
    np.testing.assert_allclose(underwater[0].y, [0.0, 0.0, 100 * (100.5 / 101 - 1)], atol=1e-4)
