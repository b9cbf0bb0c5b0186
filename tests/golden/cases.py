"""Fixed runs whose whole result is pinned: integer random walks and scripted forecasts, no trained model.

`python -m tests.golden.cases` writes the files anew; look at the difference before you commit it.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from actors.audit import decisions_frame, decisions_hash
from backtests.bundle import ResultTables
from backtests.ledger import equity_curve, reconcile
from backtests.records import fills_from_engine, orders_from_engine
from backtests.summary import summarise
from backtests.trades import trades
from tests.markets import columns, desk, random_rows, random_script, run_config

__all__ = ["CASES", "FOLDER", "golden_summary"]

FOLDER = Path(__file__).parent
BARS = 1440
CASES: dict[str, dict[str, Any]] = {
    "plain": {"seed": 1},
    "managed": {
        "seed": 2,
        "stop": {"pct": 2, "break_even_after_pct": 1},
        "trailing": {"activation_pct": 1.5, "distance_pct": 1},
        "time": {"max_bars": 45, "cool_off_bars": 3},
    },
    "costly": {
        "seed": 3,
        "venue": {"taker_fee_bps": 10, "maker_fee_bps": 4, "slippage_bps": 5, "adaptive_high_low": True},
        "targets": {"pct": None},
    },
}


def golden_summary(name: str) -> dict[str, Any]:
    """The summary of one case, with the shape of every table; numbers that depend on the machine left out."""
    case = dict(CASES[name])
    seed = case.pop("seed")
    rows = random_rows(seed, BARS)
    done = desk(rows, random_script(seed, BARS, share=0.05), **case)
    engine, run = done.simulation.engine, run_config(tuple(done.instruments.values()), **_settings(case))
    bars = {key: columns(rows) for key in done.instruments}
    fills = fills_from_engine(engine, done.strategy.roles, run.venue)
    orders = orders_from_engine(engine, done.strategy.roles)
    payments, decisions = done.simulation.payments(), decisions_frame(done.records)
    equity = equity_curve(bars, fills, payments, run.venue.starting_balance, run.venue)
    reconcile(engine, equity)
    adaptive = run.venue.adaptive_high_low
    positions = trades(fills, payments, bars, orders=orders, decisions=decisions, adaptive=adaptive)
    tables = ResultTables(
        orders=orders,
        fills=fills,
        positions=positions,
        equity=equity,
        decisions=decisions,
        model_test=pd.DataFrame(),
    )
    summary = summarise(
        run,
        tables=tables,
        bars=BARS,
        engine_cpu_secs=1.0,
        currency="USDT",
        data_hash="",
        config_hash="",
        model_hashes={},
        decisions_hash=decisions_hash(done.records),
    )
    reasons = positions["exit_reason"].value_counts().sort_index()
    return {**summary, "exits": {str(k): int(v) for k, v in reasons.items()}, "fills": len(fills)}


def _settings(case: dict[str, Any]) -> dict[str, Any]:
    return {"venue": case.get("venue", {}), **{k: v for k, v in case.items() if k != "venue"}}


if __name__ == "__main__":
    for case_name in CASES:
        text = json.dumps(golden_summary(case_name), indent=2, sort_keys=True)
        (FOLDER / f"{case_name}.json").write_text(text + "\n")
