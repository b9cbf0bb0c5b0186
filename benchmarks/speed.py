"""How fast Sextant is, against the bare engine in the same run: `python -m benchmarks.speed [--days 365]`.

One symbol of synthetic 1m bars, the default features, the demo's model (300 trees), protective orders.
Absolute figures depend on the machine; the ratios are what counts. Nothing here is asserted.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.model import Bar, BarType, OrderSide, Price, StrategyId, TriggerType
from nautilus_trader.trading import Strategy, StrategyConfig
from rich.table import Table

from actors.audit import decisions_frame
from backtests.records import fills_from_engine, orders_from_engine
from backtests.session import Inputs, Outcome, execute, prepare
from backtests.trades import trades
from backtests.venue import build_engine
from catalog.columns import utc_ns
from catalog.store import bar_type
from configs.console import out
from configs.load import dump_config, load_run
from configs.schema import RunConfig
from models.features import FeatureSet, feature_matrix

WARM_REPEATS = 3


def benchmark_run(days: int, catalog: Path, forecasts: str) -> RunConfig:
    """The demo's run over `days` traded days after 60 days of training, on its own synthetic market."""
    demo = load_run(None)
    test_start = demo.data.start + timedelta(days=60)
    end = test_start + timedelta(days=days)
    return load_run(
        None,
        [
            f"data.catalog={catalog}",
            f"data.test_start={test_start:%Y-%m-%d}",
            f"data.end={end:%Y-%m-%d}",
            f"data.synthetic.days={60 + days}",
            f"forecasts={forecasts}",
            "name=benchmark",
        ],
    )


class OnlyTrades(Strategy):
    """The trades of another run and nothing else: no features, no model, no sizing, no audit."""

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)

    def prepare(self, instrument: Any, kind: BarType, positions: pd.DataFrame) -> None:
        self.instrument, self.kind = instrument, kind
        entry = positions["entry_time"].astype("int64").tolist()
        self.entries = dict(zip(entry, positions.to_dict("records"), strict=True))
        market = positions[~positions["exit_reason"].isin(["stop", "target", "open"])]
        self.exits = set(market["exit_time"].astype("int64").tolist())
        self.open: dict[str, Any] = {}

    def on_start(self) -> None:
        self.subscribe_bars(self.kind)

    def on_bar(self, bar: Bar) -> None:
        ts = bar.ts_event
        if self.open:
            if ts in self.exits:
                self._market(-self.open["side"], self.open["quantity"], reduce_only=True)
            return
        row = self.entries.get(ts)
        if row is not None:
            side = 1 if row["side"] == "LONG" else -1
            self.open = {"side": side, "quantity": row["quantity"], "row": row}
            self._market(side, row["quantity"], reduce_only=False)

    def on_order_filled(self, event: Any) -> None:
        quantity = self.portfolio.net_position(self.instrument.id)
        if quantity == 0:
            self.cancel_all_orders(self.instrument.id)
            self.open = {}
        elif "orders" not in self.open:
            self.open["orders"] = True
            row, digits = self.open["row"], self.instrument.price_precision
            side = OrderSide.SELL if self.open["side"] > 0 else OrderSide.BUY
            size = self.instrument.make_qty(row["quantity"])
            make = self.order_factory
            stop = Price(row["stop_price"], digits)
            target = Price(row["target_price"], digits)
            last = TriggerType.LAST_PRICE
            self.submit_order(
                make.stop_market(self.instrument.id, side, size, stop, trigger_type=last, reduce_only=True)
            )
            self.submit_order(make.limit(self.instrument.id, side, size, target, reduce_only=True))

    def _market(self, side: int, quantity: float, *, reduce_only: bool) -> None:
        order_side = OrderSide.BUY if side > 0 else OrderSide.SELL
        size = self.instrument.make_qty(quantity)
        self.submit_order(
            self.order_factory.market(self.instrument.id, order_side, size, reduce_only=reduce_only)
        )


def bare_engine(inputs: Inputs, positions: pd.DataFrame | None, *, funded: bool = False) -> float:
    """CPU seconds of an engine with the same bars and `OnlyTrades` (None: no strategy)."""
    run = inputs.run
    name = run.instruments[0]
    instrument = inputs.instruments[name]
    engine = build_engine(run, [instrument], inputs.funding if funded else {}).engine
    start, end = utc_ns(run.data.test_start), utc_ns(run.data.end)
    engine.add_data(inputs.catalog.engine_bars(name, run.data.bar, start, end))
    if positions is not None:
        strategy = OnlyTrades(StrategyConfig(strategy_id=StrategyId("ONLY-1")))
        strategy.prepare(instrument, BarType.from_str(bar_type(name, run.data.bar)), positions)
        engine.add_strategy(strategy)
    began = process_time()
    engine.run()
    spent = process_time() - began
    engine.dispose()
    return spent


def positions_of(inputs: Inputs, outcome: Outcome) -> pd.DataFrame:
    engine = outcome.simulation.engine
    fills = fills_from_engine(engine, outcome.roles, inputs.run.venue)
    orders = orders_from_engine(engine, outcome.roles)
    decisions = decisions_frame(outcome.records)
    return trades(fills, outcome.simulation.payments(), inputs.bars, orders=orders, decisions=decisions)


def best_of(work: Callable[[], float]) -> float:
    """The least of a few repeats: what the machine's other work added is not ours."""
    return min(work() for _ in range(WARM_REPEATS))


def whole_process(run: RunConfig, folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of `backtests/run.py` as its own process, its model already trained."""
    file = folder / "benchmark.yaml"
    file.write_text(dump_config(run))
    command = [sys.executable, "backtests/run.py", str(file), "--out", str(folder / "result"), "--json"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, perf_counter() - began


def feature_rate(inputs: Inputs) -> float:
    bars = next(iter(inputs.bars.values()))
    columns = (bars.ts_event, bars.open, bars.high, bars.low, bars.close, bars.volume)
    features = FeatureSet.default(inputs.run.data.bar_minutes)

    def work() -> float:
        began = process_time()
        feature_matrix(*columns, features)
        return process_time() - began

    return len(bars) / best_of(work)


def one_row_secs(inputs: Inputs) -> float:
    """CPU seconds of one prediction of one row: what the trees cost when streaming."""
    predictor = next(iter(inputs.predictors.values()))
    rows = np.random.default_rng(1).normal(size=(2000, len(predictor.feature_set.names)))
    began = process_time()
    for row in rows:
        predictor.predict_one(row)
    return (process_time() - began) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    days = parser.parse_args().days
    with tempfile.TemporaryDirectory(prefix="sextant-benchmark-") as scratch:
        folder = Path(scratch)
        run = benchmark_run(days, folder / "catalog", "precomputed")
        models = Path("artifacts/models")
        inputs = prepare(run, models_root=models)
        bars = len(next(iter(inputs.bars.values())))
        outcome = execute(inputs)
        positions = positions_of(inputs, outcome)
        outcome.simulation.engine.dispose()
        streaming = prepare(benchmark_run(days, folder / "catalog", "streaming"), models_root=models)

        def engine_secs(of: Inputs) -> float:
            result = execute(of)
            result.simulation.engine.dispose()
            return result.engine_cpu_secs

        alone = best_of(lambda: bare_engine(inputs, None))
        trading = best_of(lambda: bare_engine(inputs, positions))
        funded = best_of(lambda: bare_engine(inputs, positions, funded=True))
        unfunded = best_of(lambda: engine_secs(replace(inputs, funding={})))
        precomputed = best_of(lambda: engine_secs(inputs))
        live_like = min(engine_secs(streaming), engine_secs(streaming))
        row_secs = one_row_secs(inputs)
        cpu, wall = whole_process(run, folder)
        names = len(FeatureSet.default(1).names)
        table = Table(title=f"{bars:,} bars of 1m, {len(positions):,} trades, {names} features, CPU seconds")
        for column in ("what", "bars/s", "CPU s", "against trading only"):
            table.add_column(column, justify="left" if column == "what" else "right")
        for what, secs in (
            ("engine alone", alone),
            ("engine and a strategy that only trades", trading),
            ("the same with funding settled", funded),
            ("Sextant, forecasts precomputed, no funding", unfunded),
            ("Sextant, forecasts precomputed, with funding", precomputed),
            ("Sextant, streaming (one prediction a bar), with funding", live_like),
            ("  of it, the model alone", row_secs * bars),
        ):
            table.add_row(what, f"{bars / secs:,.0f}", f"{secs:.2f}", f"{trading / secs:.2f}")
        out.print(table)
        out.print(f"features offline: {feature_rate(inputs):,.0f} rows/s")
        out.print(f"one prediction of one row: {1e6 * row_secs:.1f} us")
        out.print(f"whole process, model trained before: {cpu:.1f} s CPU, {wall:.1f} s wall")


if __name__ == "__main__":
    main()
