from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtests.ledger import equity_curve, liquidation_breach, reconcile, reconcile_trades
from backtests.records import FILL_COLUMNS, ORDER_COLUMNS, fills_from_engine, orders_from_engine
from backtests.trades import TRADE_COLUMNS, trades
from backtests.venue import FundingPayment, payments_frame
from catalog.store import BarColumns
from configs.errors import RunFailedError
from configs.schema import VenueConfig
from tests.hand_market import MINUTE, T0, columns, config, instrument, run_market

BTC, ETH, SPOT = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE", "BTCUSDT.BINANCE"
NO_PAYMENTS = payments_frame(())
FREE = VenueConfig(maker_fee_bps=0, taker_fee_bps=0, slippage_bps=0)
MARKET = columns(
    [(100, 101, 99, 100), *[(100 + k, 102 + k, 99 + k, 101 + k) for k in range(9)]]
)  # closes 100..109


def _time(bar: int) -> pd.Timestamp:
    return pd.Timestamp(T0 + (bar + 1) * MINUTE, tz="UTC")


def _fills(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """(bar, signed quantity, price, role[, fee, slippage, instrument]) rows as a fills table."""
    table = []
    for number, row in enumerate(rows):
        bar, signed, price, role, fee, slippage, name = (*row, *(0.0, 0.0, BTC)[len(row) - 4 :])
        side = "BUY" if signed > 0 else "SELL"
        ids = (f"O-{number}", f"T-{number}")
        table.append((_time(bar), "S-1", name, *ids, role, side, abs(signed), price, "TAKER", fee, slippage))
    frame = pd.DataFrame(table, columns=list(FILL_COLUMNS))
    return frame.astype({"ts_event": "datetime64[ns, UTC]"})


def _payments(*rows: tuple[int, float], name: str = BTC) -> pd.DataFrame:
    return payments_frame(
        [FundingPayment(T0 + (bar + 1) * MINUTE, name, 1.0, 1.0, 1.0, a) for bar, a in rows]
    )


# --- trades ---


def test_scaling_in_and_out_makes_one_trade_with_average_prices() -> None:
    # in 1 at 100 and 3 at 104 (average 103), out 2 at 105 and 2 at 109: gross 2 x 2 + 2 x 6 = 16
    fills = _fills(
        (0, 1, 100.0, "entry", 0.1, 0.01),
        (1, 3, 104.0, "entry", 0.3, 0.03),
        (2, -2, 105.0, "target", 0.2, 0.0),
        (4, -2, 109.0, "exit", 0.2, 0.02),
    )
    row = trades(fills, NO_PAYMENTS, {BTC: MARKET}).iloc[0]
    assert (row.quantity, row.entry_price, row.exit_price) == (4.0, 103.0, 107.0)
    assert (row.gross_pnl, row.fees, row.slippage) == pytest.approx((16.0, 0.8, 0.06))
    assert row.net_pnl == pytest.approx(15.14)
    assert row.return_pct == pytest.approx(100 * 15.14 / 412)
    assert (row.side, row.exit_reason, row.bars_held, row.trade) == ("LONG", "exit", 4, 1)
    assert (row.entry_time, row.exit_time) == (_time(0), _time(4))


def test_adding_after_a_partial_exit_averages_what_is_left() -> None:
    # short 4 at 100, 2 bought back at 90 (+20), 2 more sold at 110 (average 105), all 4 bought at 100 (+20)
    fills = _fills(
        (0, -4, 100.0, "entry"), (1, 2, 90.0, "target"), (2, -2, 110.0, "entry"), (3, 4, 100.0, "stop")
    )
    row = trades(fills, NO_PAYMENTS, {BTC: MARKET}).iloc[0]
    assert (row.side, row.quantity, row.gross_pnl) == ("SHORT", 4.0, 40.0)
    assert row.entry_price == pytest.approx((400 + 220) / 6)
    assert row.exit_price == pytest.approx((180 + 400) / 6)
    assert row.exit_reason == "stop"


def test_a_fill_that_crosses_zero_ends_one_trade_and_begins_the_next() -> None:
    fills = _fills(
        (0, 1, 100.0, "entry", 0.1), (2, -4, 104.0, "entry", 0.4, 0.04), (3, 3, 103.0, "exit", 0.3)
    )
    table = trades(fills, NO_PAYMENTS, {BTC: MARKET})
    assert table["side"].tolist() == ["LONG", "SHORT"]
    assert table["exit_reason"].tolist() == ["reversal", "exit"]
    assert table["gross_pnl"].tolist() == [4.0, 3.0]
    assert table["fees"].tolist() == pytest.approx([0.1 + 0.1, 0.3 + 0.3])  # a quarter closes, the rest opens
    assert table["slippage"].tolist() == pytest.approx([0.01, 0.03])
    assert table["quantity"].tolist() == [1.0, 3.0]


def test_a_position_open_at_the_end_is_marked_to_the_last_close() -> None:
    fills = _fills((3, 4, 100.0, "entry", 0.4), (5, -1, 106.0, "target", 0.1))
    row = trades(fills, NO_PAYMENTS, {BTC: MARKET}).iloc[0]
    # 1 x 6 taken, 3 x (109 - 100) on paper; out at (106 + 3 x 109) / 4 on average
    assert (row.exit_reason, row.exit_time, row.bars_held) == ("open", _time(9), 6)
    assert row.gross_pnl == pytest.approx(33.0)
    assert row.exit_price == pytest.approx(108.25)
    assert row.net_pnl == pytest.approx(32.5)


def test_funding_belongs_to_the_trade_held_at_its_time() -> None:
    fills = _fills(
        (1, 1, 100.0, "entry"), (4, -1, 100.0, "exit"), (4, 1, 100.0, "entry"), (7, -1, 100.0, "exit")
    )
    payments = pd.concat([_payments((2, -1.0), (4, -2.0), (6, -4.0)), _payments((5, 64.0), name=ETH)])
    table = trades(fills, payments, {BTC: MARKET})
    assert table["funding"].tolist() == [-3.0, -4.0]
    assert table["net_pnl"].tolist() == [-3.0, -4.0]


def test_funding_at_the_bar_of_an_entry_belongs_to_the_trade_only_when_the_entry_rested() -> None:
    """One at the close comes after the funding; one that filled inside the bar held the position by then."""
    fills = _fills((2, 1, 100.0, "entry"), (4, -1, 101.0, "exit"))
    paid = _payments((2, -3.0), (3, -5.0))
    assert trades(fills, paid, {BTC: MARKET})["funding"].tolist() == [-5.0]
    fills.loc[0, "liquidity"] = "MAKER"
    assert trades(fills, paid, {BTC: MARKET})["funding"].tolist() == [-8.0]


def test_trades_that_do_not_add_up_to_the_equity_are_no_result() -> None:
    table = pd.DataFrame({"net_pnl": [5.0, -2.0]})
    curve = pd.DataFrame({"equity": [1000.0, 1003.0]})
    reconcile_trades(table, curve, 1000.0)
    with pytest.raises(RunFailedError, match=r"add up to 3\.0+, the equity changed by 4\.0"):
        reconcile_trades(table, curve, 999.0)


def test_bars_held_counts_closes_and_not_minutes() -> None:
    gapped = BarColumns(*(np.delete(getattr(MARKET, n), [3, 4]) for n in MARKET.__slots__))
    fills = _fills((1, 1, 100.0, "entry"), (6, -1, 100.0, "exit"))
    assert trades(fills, NO_PAYMENTS, {BTC: gapped})["bars_held"].tolist() == [3]


def test_trades_are_ordered_by_entry_across_instruments() -> None:
    fills = _fills(
        (0, 1, 100.0, "entry"),
        (2, 1, 100.0, "entry", 0.0, 0.0, ETH),
        (3, -1, 100.0, "exit"),
        (4, 1, 100.0, "entry"),
    )
    table = trades(fills, NO_PAYMENTS, {BTC: MARKET, ETH: MARKET})
    assert table[["trade", "instrument"]].to_numpy().tolist() == [[1, BTC], [2, ETH], [3, BTC]]


def test_no_fills_make_an_empty_table_with_its_types() -> None:
    orders = pd.DataFrame(columns=list(ORDER_COLUMNS))
    table = trades(_fills(), NO_PAYMENTS, {BTC: MARKET}, orders=orders)
    assert table.empty
    assert list(table.columns) == list(TRADE_COLUMNS)
    assert table["entry_time"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert table["bars_held"].dtype == np.int64


def _order(bar: int, role: str, side: str, level: float, name: str = BTC) -> dict[str, Any]:
    return {
        "ts_init": _time(bar),
        "instrument": name,
        "role": role,
        "side": side,
        "first_trigger_price": level if role == "stop" else np.nan,
        "first_price": level if role == "target" else np.nan,
    }


def test_a_trade_carries_the_first_stop_and_target_made_for_it() -> None:
    fills = _fills(
        (1, 1, 100.0, "entry"), (3, -1, 98.0, "stop"), (3, -2, 98.0, "entry"), (6, 2, 97.0, "exit")
    )
    orders = pd.DataFrame(
        [
            _order(1, "stop", "SELL", 98.0),
            _order(1, "target", "SELL", 105.0),
            _order(2, "stop", "SELL", 99.0),
            _order(1, "stop", "SELL", 1.0, ETH),
            _order(3, "stop", "BUY", 103.0),
        ]
    )
    table = trades(fills, NO_PAYMENTS, {BTC: MARKET}, orders=orders)
    assert table["stop_price"].tolist() == [98.0, 103.0]
    assert table["target_price"].iloc[0] == 105.0
    assert np.isnan(table["target_price"].iloc[1])


def _decision(bar: int, kind: str, detail: str, name: str = BTC) -> tuple[Any, ...]:
    return (_time(bar), name, kind, detail)


def test_confidence_and_exit_reasons_come_from_the_decisions() -> None:
    fills = _fills(
        (1, 1, 100.0, "entry"),
        (3, -1, 98.0, "exit"),
        (5, 1, 98.0, "entry"),
        (7, -1, 97.0, "stop"),
        (8, 1, 97.0, "entry"),
    )
    rows = [
        _decision(1, "intent", '{"confidence":0.25,"side":1}'),
        _decision(1, "action", '{"action":"move_stop","price":3.0}'),
        _decision(3, "action", '{"action":"exit","price":3.0,"reason":"time"}'),
        _decision(4, "intent", '{"confidence":0.5,"side":1}'),
        _decision(5, "intent", '{"confidence":0.75,"side":1}'),
        _decision(5, "intent", '{"confidence":0.99,"side":1}', ETH),
        _decision(7, "intent", '{"confidence":0.125,"side":1}'),
    ]
    decisions = pd.DataFrame(rows, columns=["ts_event", "instrument", "kind", "detail"])
    table = trades(fills, NO_PAYMENTS, {BTC: MARKET}, decisions=decisions)
    assert table["confidence"].tolist() == [0.25, 0.75, 0.125]
    assert table["exit_reason"].tolist() == ["time", "stop", "open"]


def test_a_market_exit_without_a_recorded_reason_is_called_exit_and_confidence_is_missing() -> None:
    fills = _fills((1, 1, 100.0, "entry"), (3, -1, 98.0, "exit"))
    decisions = pd.DataFrame(
        [_decision(3, "intent", '{"confidence":0.5}')], columns=["ts_event", "instrument", "kind", "detail"]
    )
    row = trades(fills, NO_PAYMENTS, {BTC: MARKET}, decisions=decisions).iloc[0]
    assert row.exit_reason == "exit"
    assert np.isnan(row.confidence)


# --- equity ---


def test_equity_of_two_instruments_carries_missing_closes_on() -> None:
    btc = columns([(10, 10, 10, p) for p in (10, 11, 12)])
    eth = columns([(50, 50, 50, p) for p in (50, 40)], start=T0 + MINUTE // 2)  # closes half a minute later
    fills = _fills((0, 2, 10.0, "entry", 1.0, 0.5))
    later = _fills((0, -1, 50.0, "entry", 1.0, 0.0, ETH)).assign(ts_event=_time(0) + pd.Timedelta(seconds=30))
    curve = equity_curve({BTC: btc, ETH: eth}, pd.concat([fills, later]), _payments((1, -3.0)), 1000.0, FREE)
    #      10      10/50   11/50    11/40    12/40
    # btc: -1.5    -1.5    +2 -3    +2       +4
    # eth:         -1      -1       +10 -1
    assert curve["equity"].tolist() == [998.5, 997.5, 996.5, 1006.5, 1008.5]
    assert curve["cash"].tolist() == [998.5, 997.5, 994.5, 994.5, 994.5]
    assert curve["position_notional"].tolist() == [20.0, -30.0, -28.0, -18.0, -16.0]
    # 500 each: 50 coins of the first, 10 of the second from its first close on
    assert curve["benchmark"].tolist() == [1000.0, 1000.0, 1050.0, 950.0, 1000.0]


def test_the_benchmark_pays_the_taker_cost_once() -> None:
    venue = VenueConfig(taker_fee_bps=70, slippage_bps=30)  # 1 %
    curve = equity_curve({BTC: MARKET}, _fills(), NO_PAYMENTS, 1010.0, venue)
    assert curve["benchmark"].iloc[[0, 5, 9]].tolist() == pytest.approx([1000.0, 1050.0, 1090.0])
    assert curve["equity"].tolist() == [1010.0] * 10


def test_spot_cash_is_what_is_not_in_coins() -> None:
    fills = _fills((0, 2, 100.0, "entry", 1.0, 0.0, SPOT), (4, -1, 104.0, "exit", 1.0, 0.0, SPOT))
    curve = equity_curve({SPOT: MARKET}, fills, NO_PAYMENTS, 1000.0, FREE)
    assert curve["cash"].iloc[[0, 4, 9]].tolist() == [799.0, 902.0, 902.0]
    assert curve["equity"].iloc[[0, 4, 9]].tolist() == [999.0, 1006.0, 1011.0]


@pytest.mark.parametrize("seed", range(8))
def test_the_trades_sum_to_the_change_of_the_equity_for_any_fills(seed: int) -> None:
    rng = np.random.default_rng(seed)
    close = np.round(100 + np.cumsum(rng.normal(0, 1, 300)), 1)
    bars = columns([(p, p + 1, p - 1, p) for p in close.tolist()])
    at = np.sort(rng.integers(0, 300, 200)).tolist()
    rows, position = [], 0
    for k in at:
        size = int(rng.integers(1, 40)) * (-1 if position > 0 else 1) * (1 if rng.random() < 0.7 else -1)
        position += size
        rows.append((k, size / 1000, close[k] + 0.5, "entry", *rng.uniform(-1, 1, 2)))
    fills, payments = _fills(*rows), _payments(*((k, float(rng.normal())) for k in at[60:160:20]))
    table = trades(fills, payments, {BTC: bars})
    curve = equity_curve({BTC: bars}, fills, payments, 500.0, FREE)
    assert len(table) > 10
    flows = -np.sum(np.where(fills["side"] == "BUY", 1, -1) * fills["quantity"] * fills["price"])
    position = np.sum(np.where(fills["side"] == "BUY", 1, -1) * fills["quantity"])
    costs = (fills["fee"] + fills["slippage"]).sum()
    direct = 500.0 + flows + position * close[-1] - costs + payments["amount"].sum()
    assert curve["equity"].iloc[-1] == pytest.approx(direct, abs=1e-9)
    assert 500.0 + (table["net_pnl"] - table["funding"]).sum() + payments["amount"].sum() == pytest.approx(
        direct
    )


def test_a_fill_without_bars_is_refused() -> None:
    with pytest.raises(RunFailedError, match="ETHUSDT-PERP"):
        equity_curve({BTC: MARKET}, _fills((0, 1, 1.0, "entry", 0.0, 0.0, ETH)), NO_PAYMENTS, 1.0, FREE)


# --- liquidation ---

PERPETUALS = {BTC: instrument()}  # maintenance margin 2.5 %


def _breach(rows, *fills, balance: float = 100.0, payments: pd.DataFrame = NO_PAYMENTS) -> str | None:
    return liquidation_breach({BTC: columns(rows)}, _fills(*fills), payments, balance, PERPETUALS)


def test_a_long_breaks_where_the_low_takes_equity_under_the_maintenance_margin() -> None:
    # 10 long at 100 with 100: at 92.4 equity is 24 and the margin 23.1; at 92.3 it is 23 and 23.075
    rows = [(100, 100, 100, 100), (100, 100, 92.4, 100), (100, 100, 92.3, 100)]
    assert _breach(rows[:2], (0, 10, 100.0, "entry")) is None
    message = _breach(rows, (0, 10, 100.0, "entry"))
    assert message is not None
    assert "07:53 UTC equity falls to 23.00" in message
    assert "margin of 23.0" in message


def test_a_short_breaks_on_the_high_and_costs_and_funding_count() -> None:
    rows = [(100, 100, 100, 100), (100, 107.0, 100, 100), (100, 107.0, 100, 100)]
    # at 107: 100 - 70 = 30 against 26.75; 4 of costs leave 26
    assert _breach(rows, (0, -10, 100.0, "entry")) is None
    assert "07:52" in str(_breach(rows, (0, -10, 100.0, "entry", 3.0, 1.0)))
    assert "07:53" in str(_breach(rows, (0, -10, 100.0, "entry"), payments=_payments((1, -4.0))))


def test_a_bar_in_which_the_stop_filled_counts_to_the_stop_only() -> None:
    rows = [(100, 100, 100, 100), (99, 100, 50, 60), (60, 60, 1, 1)]
    assert _breach(rows, (0, 10, 100.0, "entry"), (1, -10, 97.0, "stop")) is None
    assert _breach(rows, (0, 10, 100.0, "entry"), (1, -9, 97.0, "stop"), (1, -1, 60.0, "exit")) is not None
    assert _breach(rows, (0, 10, 100.0, "entry"), (1, -10, 60.0, "exit")) is not None


def test_the_bar_of_the_entry_is_not_held_against_it() -> None:
    rows = [(100, 100, 1, 100), (100, 100, 100, 100)]
    assert _breach(rows, (0, 10, 100.0, "entry")) is None


def test_spot_has_no_margin_to_break() -> None:
    bars = {SPOT: columns([(100, 100, 100, 100), (100, 100, 1, 1)])}
    fills = _fills((0, 1, 100.0, "entry", 0.0, 0.0, SPOT))
    assert liquidation_breach(bars, fills, NO_PAYMENTS, 100.0, {SPOT: instrument(market="spot")}) is None


# --- what the engine recorded ---


def test_fees_and_slippage_sum_to_the_engines_commission_exactly() -> None:
    traded = instrument()
    venue = {"taker_fee_bps": 4.7, "slippage_bps": 1.3, "maker_fee_bps": -0.5}
    rows = [(101.3 + k, 104 + k, 99 + k, 101.7 + k) for k in range(9)]
    plan = {k: [lambda s: s.market(1.237), lambda s: s.target(-1.237, 104.9)] for k in range(7)}
    simulation, trace = run_market(rows, plan, traded, **venue)
    fills = fills_from_engine(simulation.engine, trace.roles, config(traded, **venue).venue)
    charged = {
        str(order.client_order_id): sum((m.as_decimal() for m in order.commissions().values()), Decimal(0))
        for order in simulation.engine.cache.orders()
    }
    for row in fills.itertuples():
        fee, slippage = (Decimal(f"{v:.8f}") for v in (row.fee, row.slippage))
        assert fee + slippage == charged[row.client_order_id]
        if row.liquidity == "MAKER":
            assert slippage == 0
            assert fee < 0  # a rebate
        else:
            assert float(slippage) == pytest.approx(row.quantity * row.price * 1.3e-4, abs=2e-8)
    assert set(fills["liquidity"]) == {"MAKER", "TAKER"}


def test_fills_of_one_instant_stay_in_the_order_they_happened_in() -> None:
    rows = [(100, 100, 100, 100)] * 4 + [(100, 103, 100, 101)] + [(101, 101, 101, 101)] * 2
    plan = {
        0: [lambda s: s.market(10), lambda s: s.target(-10, 102)],
        4: [lambda s: s.market(-10), lambda s: s.market(10, "exit")] * 6,
    }
    simulation, trace = run_market(rows, plan, instrument())
    fills = fills_from_engine(simulation.engine, trace.roles, VenueConfig())
    assert fills["side"].tolist() == [side for _, _, side, *_ in trace.fills]
    assert trades(fills, NO_PAYMENTS, {BTC: columns(rows)})["side"].tolist() == ["LONG", *["SHORT"] * 6]


def test_orders_show_first_and_last_levels() -> None:
    def move(strategy: Any) -> None:
        stop = next(o for o in strategy.cache.orders_open() if str(o.order_type) == "STOP_MARKET")
        strategy.modify_order(stop.client_order_id, trigger_price=strategy.instrument.make_price(99))

    rows = [(100, 100, 100, 100)] * 6
    plan = {0: [lambda s: s.market(10), lambda s: s.stop(-10, 95), lambda s: s.target(-10, 110)], 2: [move]}
    simulation, trace = run_market(rows, plan, instrument())
    orders = orders_from_engine(simulation.engine, trace.roles)
    assert list(orders.columns) == list(ORDER_COLUMNS)
    assert orders["role"].tolist() == ["entry", "stop", "target"]
    assert orders["status"].tolist() == ["FILLED", "ACCEPTED", "ACCEPTED"]
    assert orders["first_trigger_price"].iloc[1] == 95.0
    assert orders["trigger_price"].iloc[1] == 99.0
    assert orders["price"].iloc[2] == 110.0
    assert orders["price"].iloc[:2].isna().all()
    assert orders["avg_px"].iloc[0] == 100.0
    assert orders["reduce_only"].tolist() == [False, True, True]


def test_an_order_without_a_role_is_an_error() -> None:
    simulation, trace = run_market([(100, 100, 100, 100)] * 4, {1: [lambda s: s.market(10)]}, instrument())
    trace.roles.clear()
    with pytest.raises(RunFailedError, match="has no role"):
        fills_from_engine(simulation.engine, trace.roles, VenueConfig())
    with pytest.raises(RunFailedError, match="has no role"):
        orders_from_engine(simulation.engine, trace.roles)


def test_an_engine_without_orders_gives_empty_tables_with_their_types() -> None:
    simulation, trace = run_market([(100, 100, 100, 100)] * 4, {}, instrument())
    fills = fills_from_engine(simulation.engine, trace.roles, VenueConfig())
    orders = orders_from_engine(simulation.engine, trace.roles)
    assert list(fills.columns) == list(FILL_COLUMNS)
    assert fills["ts_event"].dtype == orders["ts_init"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert fills["fee"].dtype == np.float64
    assert fills.empty
    assert orders.empty


@pytest.mark.parametrize("column", ["equity", "cash", "position_notional"])
@pytest.mark.parametrize("error", [0.2, -3.0, float("nan")])
def test_a_curve_that_differs_from_the_engines_account_is_refused(column: str, error: float) -> None:
    rows = [(100, 100, 100, 100)] * 6
    simulation, trace = run_market(rows, {1: [lambda s: s.market(10)]}, instrument())
    fills = fills_from_engine(simulation.engine, trace.roles, VenueConfig())
    curve = equity_curve({BTC: columns(rows)}, fills, NO_PAYMENTS, 1000.0 * 100, VenueConfig())
    reconcile(simulation.engine, curve)
    curve.loc[curve.index[-1], column] += error
    with pytest.raises(RunFailedError, match=r"differs from the engine's"):
        reconcile(simulation.engine, curve)
