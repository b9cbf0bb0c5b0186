import json
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtests.bundle import ResultTables
from backtests.records import FILL_COLUMNS, ORDER_COLUMNS
from backtests.summary import daily_returns, summarise
from configs.schema import RunConfig

BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"
DESIGN_KEYS = (
    "strategy instruments start end bars bars_per_sec orders trades net_pnl fees funding slippage return_pct "
    "sharpe sortino calmar max_drawdown_pct win_rate profit_factor exposure_pct turnover psr data_hash "
    "config_hash model_hash decisions_hash seed"
)
MORE_KEYS = (
    "currency starting_balance benchmark_return_pct synthetic warnings per_instrument model_metrics "
    "trades_per_day final_equity"
)


def _run(days: int = 4) -> RunConfig:
    end = pd.Timestamp("2024-01-02") + pd.Timedelta(days=days)
    return RunConfig(
        name="sums",
        seed=11,
        data={"catalog": "none", "start": "2024-01-01", "test_start": "2024-01-02", "end": end.isoformat()},
        strategies=[{"use": "ml_basic", "instrument": BTC}, {"use": "ml_basic", "instrument": ETH}],
        venue={"starting_balance": 1000.0},
    )


def _equity(*rows: tuple[str, float], notional: tuple[float, ...] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime([t for t, _ in rows], utc=True).astype("datetime64[ns, UTC]"),
            "equity": [e for _, e in rows],
            "cash": [e for _, e in rows],
            "position_notional": notional or (0.0,) * len(rows),
            "benchmark": np.linspace(999.0, 1200.0, len(rows)),
        }
    )


def _positions(*rows: tuple[Any, ...]) -> pd.DataFrame:
    names = ["instrument", "gross_pnl", "fees", "slippage", "funding", "exit_reason", "r_multiple", "mfe"]
    table = pd.DataFrame(rows, columns=names)
    table["net_pnl"] = table["gross_pnl"] - table["fees"] - table["slippage"] + table["funding"]
    return table


def _fills(*rows: tuple[float, float]) -> pd.DataFrame:
    frame = pd.DataFrame(columns=list(FILL_COLUMNS)).astype({"quantity": "float64", "price": "float64"})
    return frame if not rows else pd.DataFrame(rows, columns=["quantity", "price"])


def _summarise(
    equity: pd.DataFrame, positions: pd.DataFrame, fills: pd.DataFrame, **more: Any
) -> dict[str, Any]:
    orders, nothing = pd.DataFrame(columns=list(ORDER_COLUMNS), index=range(6)), pd.DataFrame()
    decisions = pd.DataFrame(
        {
            "ts_event": pd.to_datetime(["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-04"], utc=True),
            "kind": ["risk", "refusal", "risk", "refusal"],
            "detail": [
                '{"mode":"NORMAL","reasons":[]}',
                '{"check":"gross"}',
                '{"mode":"PAUSED","reasons":["daily_loss"]}',
                '{"check":"risk_mode","repeated":2}',
            ],
        }
    )
    facts: dict[str, Any] = {
        "bars": 5760,
        "engine_cpu_secs": 2.0,
        "currency": "USDT",
        "data_hash": "d",
        "config_hash": "c",
        "model_hashes": {"a": "m"},
        "decisions_hash": "x",
    }
    tables = ResultTables(orders, fills, positions, equity, decisions, nothing)
    return summarise(_run(), tables=tables, **(facts | more))


FOUR_DAYS = _equity(
    ("2024-01-02T12:00", 1050.0),
    ("2024-01-03T00:00", 1100.0),  # day 1: +10 %
    ("2024-01-04T00:00", 990.0),  # day 2: -10 %
    ("2024-01-05T00:00", 990.0),  # day 3: 0 %
    ("2024-01-05T12:00", 1000.0),
    ("2024-01-06T00:00", 1188.0),  # day 4: +20 %
    notional=(500.0, 0.0, -200.0, 0.0, 0.0, 100.0),
)
FOUR_TRADES = _positions(
    (BTC, 120.0, 5.0, 1.0, -4.0, "target", 2.0, 160.0),  # net 110
    (BTC, -100.0, 6.0, 2.0, 0.0, "stop", -1.0, 0.0),  # net -108
    (ETH, 40.0, 1.0, 0.5, 1.5, "time", math.nan, 40.0),  # net 40
    (ETH, 150.0, 3.0, 1.0, 0.0, "open", 0.5, 200.0),  # net 146
)
WHOLE = _summarise(FOUR_DAYS, FOUR_TRADES, _fills((2.0, 500.0), (4.0, 250.0), (1.0, 3000.0)))


def test_a_summary_has_every_fixed_key_and_survives_strict_json() -> None:
    assert set(DESIGN_KEYS.split()) | set(MORE_KEYS.split()) <= set(WHOLE)
    assert json.loads(json.dumps(WHOLE, allow_nan=False)) == WHOLE


def test_amounts_add_up() -> None:
    assert (WHOLE["final_equity"], WHOLE["net_pnl"], WHOLE["return_pct"]) == pytest.approx(
        (1188.0, 188.0, 18.8)
    )
    assert (WHOLE["gross_pnl"], WHOLE["fees"], WHOLE["slippage"], WHOLE["funding"]) == (
        210.0,
        15.0,
        4.5,
        -2.5,
    )
    assert WHOLE["gross_pnl"] - WHOLE["fees"] - WHOLE["slippage"] + WHOLE["funding"] == WHOLE["net_pnl"]
    assert WHOLE["benchmark_return_pct"] == pytest.approx(20.0)
    assert sum(part["net_pnl"] for part in WHOLE["per_instrument"].values()) == WHOLE["net_pnl"]
    assert WHOLE["per_instrument"][ETH]["trades"] == 2
    assert WHOLE["per_instrument"][BTC]["fees"] == 11.0


def test_refusals_are_counted_by_check_and_the_trades_judged_by_risk_and_path() -> None:
    assert WHOLE["refusals"] == {"risk_mode": 2, "gross": 1}
    # two days until the pause, two more until the period's end at midnight of the 6th
    assert WHOLE["mode_hours"] == {"NORMAL": 48.0, "PAUSED:daily_loss": 48.0}
    assert WHOLE["expectancy_r"] == pytest.approx((2.0 - 1.0 + 0.5) / 3)
    # of the trades with a favourable move: (120 + 40 + 150) / (160 + 40 + 200)
    assert WHOLE["exit_efficiency"] == pytest.approx(0.775)


def test_ratios_are_those_of_the_daily_returns_over_365_days() -> None:
    # returns 0.1, -0.1, 0, 0.2: mean 0.05; deviations 0.05, -0.15, -0.05, 0.15, squares sum to 0.05
    sharpe = 0.05 / math.sqrt(0.05 / 3)
    assert WHOLE["sharpe"] == pytest.approx(sharpe * math.sqrt(365))
    # downside: sqrt(0.01 / 4) = 0.05
    assert WHOLE["sortino"] == pytest.approx(1.0 * math.sqrt(365))
    # moments about the mean: m2 0.0125, m3 0 (symmetric), m4 (2 x 0.05^4 + 2 x 0.15^4) / 4 = 0.00025625
    kurtosis = 0.00025625 / 0.0125**2
    psr = NormalDist().cdf(sharpe * math.sqrt(3) / math.sqrt(1 + (kurtosis - 1) / 4 * sharpe**2))
    assert WHOLE["psr"] == pytest.approx(psr)
    # 1100 to 990
    assert WHOLE["max_drawdown_pct"] == pytest.approx(10.0)
    assert WHOLE["calmar"] == pytest.approx((1.188 ** (365 / 4) - 1) / 0.1)


def test_trading_figures() -> None:
    assert (WHOLE["trades"], WHOLE["open_trades"], WHOLE["orders"]) == (4, 1, 6)
    assert WHOLE["win_rate"] == 0.75
    assert WHOLE["profit_factor"] == pytest.approx((110 + 40 + 146) / 108)
    assert WHOLE["exposure_pct"] == 50.0
    assert WHOLE["turnover"] == 5.0  # 1000 + 1000 + 3000 over 1000
    assert WHOLE["trades_per_day"] == 1.0
    assert WHOLE["bars_per_sec"] == 2880.0


def test_facts_are_passed_on() -> None:
    assert (WHOLE["strategy"], WHOLE["instruments"], WHOLE["seed"]) == ("ml_basic", [BTC, ETH], 11)
    assert (WHOLE["start"], WHOLE["end"]) == ("2024-01-02T00:00:00+00:00", "2024-01-06T00:00:00+00:00")
    assert (WHOLE["model_hash"], WHOLE["synthetic"], WHOLE["currency"]) == ("m", False, "USDT")
    several = _summarise(
        FOUR_DAYS,
        FOUR_TRADES,
        _fills(),
        model_hashes={"a": "m", "b": "n"},
        warnings=("low data",),
        model_metrics={"direction/BTC": {"test": {"roc_auc": float("nan"), "rows": np.int64(3)}}},
    )
    assert several["model_hash"] == {"a": "m", "b": "n"}
    assert several["warnings"] == ["low data"]
    assert several["model_metrics"] == {"direction/BTC": {"test": {"roc_auc": None, "rows": 3}}}
    assert _summarise(FOUR_DAYS, FOUR_TRADES, _fills(), model_hashes={})["model_hash"] is None


def test_a_run_without_trades_has_no_ratios_and_no_rates() -> None:
    flat = _equity(("2024-01-03T00:00", 1000.0), ("2024-01-04T00:00", 1000.0), ("2024-01-05T00:00", 1000.0))
    summary = _summarise(flat, FOUR_TRADES.iloc[:0], _fills())
    undefined = ("sharpe", "sortino", "calmar", "psr", "win_rate", "profit_factor")
    assert [summary[key] for key in undefined] == [None] * 6
    zero = (
        "net_pnl",
        "fees",
        "slippage",
        "funding",
        "return_pct",
        "max_drawdown_pct",
        "exposure_pct",
        "turnover",
    )
    assert [summary[key] for key in zero] == [0.0] * 8
    assert json.dumps(summary, allow_nan=False)


def test_one_day_gives_no_ratio() -> None:
    summary = _summarise(
        _equity(("2024-01-02T10:00", 1010.0), ("2024-01-02T11:00", 990.0)), FOUR_TRADES, _fills()
    )
    assert [summary[key] for key in ("sharpe", "sortino", "calmar", "psr")] == [None] * 4
    assert summary["max_drawdown_pct"] == pytest.approx(100 * 20 / 1010)


def test_a_run_that_only_wins_has_no_profit_factor() -> None:
    assert _summarise(FOUR_DAYS, FOUR_TRADES.iloc[[0, 2]], _fills())["profit_factor"] is None


def test_an_empty_run_can_be_summed_up() -> None:
    summary = _summarise(_equity(), FOUR_TRADES.iloc[:0], _fills(), bars=0, engine_cpu_secs=0.0)
    assert summary["final_equity"] == 1000.0
    assert [summary[key] for key in ("benchmark_return_pct", "exposure_pct", "bars_per_sec")] == [None] * 3


def test_a_loss_at_the_first_close_counts_as_drawdown_from_the_starting_balance() -> None:
    summary = _summarise(
        _equity(("2024-01-03T00:00", 900.0), ("2024-01-04T00:00", 950.0)), FOUR_TRADES, _fills()
    )
    assert summary["max_drawdown_pct"] == pytest.approx(10.0)


def test_midnights_close_belongs_to_the_day_before_and_a_day_without_bars_returns_nothing() -> None:
    equity = _equity(
        ("2024-01-02T23:59", 1010.0),
        ("2024-01-03T00:00", 1020.0),
        ("2024-01-03T00:01", 1500.0),
        ("2024-01-04T00:00", 1530.0),
        ("2024-01-05T00:01", 1377.0),  # nothing on the 4th
    )
    assert daily_returns(equity, 1000.0).tolist() == pytest.approx([0.02, 0.5, 0.0, -0.1])


def test_an_account_that_is_gone_loses_everything_once() -> None:
    days = [(f"2024-01-0{d}T00:00", e) for d, e in ((3, 1100.0), (4, -50.0), (5, 20.0), (6, -10.0))]
    assert daily_returns(_equity(*days), 1000.0).tolist() == pytest.approx([0.1, -1.0, 0.0, 0.0])
    summary = _summarise(_equity(*days), FOUR_TRADES, _fills())
    assert summary["calmar"] == pytest.approx(-1.0 / (1150 / 1100))
    assert json.dumps(summary, allow_nan=False)
