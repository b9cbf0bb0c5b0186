"""The groups of a run file become limits: per cent fractions, basis points costs, seconds nanoseconds."""

import pytest

from configs.schema import RunConfig
from configs.trading import RegimeSizing, SizingConfig
from strategies.checks import risk_limits_from
from strategies.risk import limits_from, sizing_inputs
from strategies.values import Inputs, Limits, RiskLimits


def run_of(strategy=None, **groups):
    period = {"start": "2023-12-31", "test_start": "2024-01-01", "end": "2024-01-02"}
    strategy = {"use": "ml_basic", "instrument": "BTCUSDT-PERP.BINANCE", **(strategy or {})}
    data = {"catalog": "none", **period, **groups.pop("data", {})}
    return RunConfig(name="r", data=data, strategies=[strategy], **groups)


def test_percentages_basis_points_and_minutes_become_fractions_and_bars_per_year():
    run = run_of(
        {
            "sizing": {
                "method": "kelly",
                "risk_per_trade_pct": 0.5,
                "fraction_pct": 20,
                "target_volatility_pct": 30,
                "kelly_share": 0.5,
                "kelly_cap_pct": 1,
                "confidence_weighted": False,
                "regime": {"high_volatility": 0.6},
                "max_position_pct": 30,
            }
        },
        data={"bar": "15m"},
        risk={
            "max_leverage": 2,
            "max_notional": 50_000,
            "liquidation_buffer_pct": 25,
            "position": {"max_risk_per_trade_pct": 1.5},
        },
        venue={"taker_fee_bps": 5, "slippage_bps": 1},
    )
    assert limits_from(run, run.strategies[0]) == Limits(
        method="kelly",
        risk_per_trade=0.005,
        fraction=0.2,
        confidence_weighted=False,
        max_position=0.3,
        max_leverage=2.0,
        max_notional=50_000.0,
        liquidation_buffer=0.25,
        entry_cost=0.0006,
        exit_cost=0.0006,
        max_risk_per_trade=0.015,
        target_volatility=0.3,
        bars_per_year=35_040.0,
        kelly_share=0.5,
        kelly_cap=0.01,
        regime=RegimeSizing(high_volatility=0.6),
    )


@pytest.mark.parametrize(
    ("order", "maker_fee_bps", "cost"),
    [("market", 2, 0.0006), ("limit", 2, 0.0006), ("post_only", 2, 0.0002), ("post_only", -1, 0.0)],
)
def test_only_a_post_only_entry_counts_the_makers_fee_and_no_rebate(order, maker_fee_bps, cost):
    run = run_of(
        {"entry": {"order": order}},
        venue={"taker_fee_bps": 5, "slippage_bps": 1, "maker_fee_bps": maker_fee_bps},
    )
    limits = limits_from(run, run.strategies[0])
    assert (limits.entry_cost, limits.exit_cost) == (cost, 0.0006)


def test_bars_of_a_second_have_their_own_year():
    run = run_of(data={"bar": "1s"})
    assert limits_from(run, run.strategies[0]).bars_per_year == 31_536_000.0


def test_sizing_asks_to_see_only_what_it_uses():
    assert sizing_inputs(SizingConfig()) == Inputs()
    assert sizing_inputs(SizingConfig(method="volatility")) == Inputs(("realized_volatility_20",))
    assert sizing_inputs(SizingConfig(regime=RegimeSizing())) == Inputs(regime=True)


def test_the_accounts_limits_become_fractions_and_nanoseconds():
    run = run_of(
        data={"bar": "5m"},
        risk={
            "mode_max_age_secs": 90,
            "position": {
                "max_positions": 4,
                "max_positions_per_symbol": 2,
                "max_open_orders": 12,
                "price_sanity_pct": 1.5,
                "symbols": ["ETHUSDT-PERP.BINANCE"],
            },
            "portfolio": {
                "max_gross_pct": 250,
                "max_net_pct": 150,
                "max_side_pct": 120,
                "max_cluster_risk_pct": 8,
            },
        },
    )
    assert risk_limits_from(run) == RiskLimits(
        symbols=frozenset({"ETHUSDT-PERP.BINANCE"}),
        max_positions=4,
        max_positions_per_symbol=2,
        max_open_orders=12,
        price_sanity=0.015,
        max_gross=2.5,
        max_net=1.5,
        max_side=1.2,
        max_cluster_risk=0.08,
        mode_max_age=390 * 10**9,
    )


def test_no_list_of_symbols_allows_the_runs_own_and_no_others():
    assert risk_limits_from(run_of()).symbols == {"BTCUSDT-PERP.BINANCE"}


def test_a_mode_of_a_run_on_seconds_ages_by_seconds():
    assert risk_limits_from(run_of(data={"bar": "1s"})).mode_max_age == 301 * 10**9
