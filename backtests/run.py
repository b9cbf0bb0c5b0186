"""`python backtests/run.py [RUN.yaml]`: data to model to backtest to report, in one command."""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import shutil
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from rich.table import Table

from actors.audit import decisions_frame, decisions_hash
from backtests.bundle import ResultTables, check_destination, publish, write_bundle
from backtests.ledger import equity_curve, liquidation_breach, reconcile, reconcile_trades
from backtests.records import fills_from_engine, orders_from_engine
from backtests.report import write_report
from backtests.session import Inputs, Outcome, execute, model_test, predictor_key, prepare
from backtests.summary import idle_strategies, last_word, summarise
from backtests.trades import trades
from configs.console import command_app, emit_json, err, out, run_app, status
from configs.load import config_hash, load_run
from configs.schema import RunConfig

__all__ = ["app", "main", "run_backtest"]

app = command_app(
    "Backtest a run file: check its data, get its model, run the engine, write the result bundle."
)
MODELS_ROOT = Path("artifacts/models")
_FEW_DAYS = 30
_HARDLY_RANKS = 0.53


@app.command()
def main(
    run_file: Annotated[
        Path | None, typer.Argument(metavar="[RUN.yaml]", help="Default: configs/runs/demo.yaml")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value; repeatable.")
    ] = None,
    destination: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The bundle's folder. Default: runs/<name>")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of the table.")] = False,
) -> None:
    """Run one backtest and write its result bundle."""
    began = perf_counter()
    run = load_run(run_file, overrides or ())
    path = Path("runs") / run.name if destination is None else destination
    summary = run_backtest(run, path, quiet=as_json)
    if as_json:
        emit_json(summary)
    else:
        _print_summary(run, summary, path, perf_counter() - began)


def run_backtest(
    run: RunConfig, path: Path, *, models_root: Path = MODELS_ROOT, quiet: bool = False
) -> dict[str, Any]:
    """Run `run` and write its result bundle to `path`; returns the summary.

    Raises the errors of `configs.errors`; `path` then still holds whatever bundle it held before.
    """
    check_destination(path)
    inputs = prepare(run, models_root=models_root, quiet=quiet)
    with status("backtest", quiet=quiet):
        outcome = execute(inputs)
    with status("result bundle and report", quiet=quiet):
        tables, summary = _results(inputs, outcome)
        folder = write_bundle(
            path, run=run, summary=summary, tables=tables, model_hashes=_model_hashes(inputs)
        )
        try:
            write_report(folder, inputs.bars)
            publish(folder, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # there only when something failed
    outcome.simulation.engine.dispose()
    return summary


def _results(inputs: Inputs, outcome: Outcome) -> tuple[ResultTables, dict[str, Any]]:
    run, engine = inputs.run, outcome.simulation.engine
    fills = fills_from_engine(engine, outcome.roles, run.venue)
    orders = orders_from_engine(engine, outcome.roles)
    payments = outcome.simulation.payments()
    decisions = decisions_frame(outcome.records)
    equity = equity_curve(inputs.bars, fills, payments, run.venue.starting_balance, run.venue)
    closes = {name: float(bars.close[-1]) for name, bars in inputs.bars.items()}
    reconcile(engine, equity, closes if run.data.ticks else None)
    positions = trades(
        fills,
        payments,
        inputs.bars,
        orders=orders,
        decisions=decisions,
        adaptive=run.venue.adaptive_high_low,
    )
    reconcile_trades(positions, equity, run.venue.starting_balance)
    tables = ResultTables(
        orders=orders,
        fills=fills,
        positions=positions,
        equity=equity,
        decisions=decisions,
        model_test=model_test(inputs),
    )
    breach = liquidation_breach(inputs.bars, fills, payments, run.venue.starting_balance, inputs.instruments)
    warnings = [
        *inputs.warnings,
        *_cautions(inputs),
        *idle_strategies(run, positions, decisions),
        *last_word(decisions),
        *([breach] if breach else []),
    ]
    summary = summarise(
        run,
        tables=tables,
        bars=sum(len(b) for b in inputs.bars.values()),
        engine_cpu_secs=outcome.engine_cpu_secs,
        currency=str(inputs.instruments[run.instruments[0]].quote_currency),
        data_hash=inputs.data_hash,
        config_hash=config_hash(run),
        model_hashes=_model_hashes(inputs),
        decisions_hash=decisions_hash(outcome.records),
        warnings=warnings,
        model_metrics={
            f"{name}/{s.instrument}": inputs.predictors[predictor_key(s, name)].metadata["metrics"]
            for s in run.strategies
            for name in s.all_models
        },
    )
    return tables, summary


def _model_hashes(inputs: Inputs) -> dict[str, str]:
    return {label: predictor.model_hash for label, predictor in inputs.predictors.items()}


def _cautions(inputs: Inputs) -> list[str]:
    """What a reader of the numbers must know before believing them."""
    run = inputs.run
    cautions = []
    days = (run.data.end - run.data.test_start).total_seconds() / 86_400
    if days < _FEW_DAYS:
        cautions.append(
            f"only {days:.0f} days were traded: annualised ratios of so short a period mean little"
        )
    for strategy, model in [(s, name) for s in run.strategies for name in s.all_models]:
        test = inputs.predictors[predictor_key(strategy, model)].metadata["metrics"]["test"]
        if test and (test["brier"] >= test["baseline_brier"] or test["roc_auc"] < _HARDLY_RANKS):
            cautions.append(
                f"{strategy.instrument}: model {model} shows no skill on its own test part (ROC AUC "
                f"{test['roc_auc']:.3f}; Brier {test['brier']:.4f}, saying the base rate scores "
                f"{test['baseline_brier']:.4f}): a profit is luck until shown otherwise"
            )
    return cautions


def _print_summary(run: RunConfig, summary: dict[str, Any], path: Path, wall_secs: float) -> None:
    if run.data.synthetic is not None:
        planted = "a weak planted signal" if run.data.synthetic.signal_strength else "no signal to learn"
        out.print(
            f"This market is SYNTHETIC and contains {planted}: "
            "the result shows that the machinery works and says nothing about real markets.",
            style="bold yellow",
        )
    table = Table(title=f"{run.name}: {summary['start']} to {summary['end']} (UTC)", title_justify="left")
    table.add_column("")
    table.add_column("strategy", justify="right")
    table.add_column("buy and hold", justify="right")
    for row in _rows(summary):
        table.add_row(*row)
    out.print(table)
    for warning in summary["warnings"]:
        err.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    out.print(f"report: {path / 'report.html'}   ({wall_secs:.1f} s)", highlight=False, markup=False)


def _rows(summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    currency = summary["currency"]

    def show(value: float | None, unit: str = "", digits: int = 2) -> str:
        return "-" if value is None else f"{value:,.{digits}f}{unit}"

    return [
        ("traded", ", ".join(summary["instruments"]), ""),
        ("return", show(summary["return_pct"], " %"), show(summary["benchmark_return_pct"], " %")),
        ("net profit", show(summary["net_pnl"], f" {currency}"), ""),
        ("Sharpe (daily, annualised)", show(summary["sharpe"]), ""),
        ("max drawdown", show(summary["max_drawdown_pct"], " %"), ""),
        ("trades", f"{summary['trades']:,}", ""),
        ("win rate", show(None if summary["win_rate"] is None else 100 * summary["win_rate"], " %"), ""),
        ("profit factor", show(summary["profit_factor"]), ""),
        ("fees", show(summary["fees"], f" {currency}"), ""),
        ("slippage", show(summary["slippage"], f" {currency}"), ""),
        ("funding", show(summary["funding"], f" {currency}"), ""),
        ("time in the market", show(summary["exposure_pct"], " %", 1), ""),
        ("bars", f"{summary['bars']:,} at {summary['bars_per_sec']:,.0f}/s", ""),
    ]


if __name__ == "__main__":
    run_app(app)
