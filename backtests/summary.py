"""`summary.json`: one run in numbers, every one defined here and computed from the bundle's own tables.

Amounts are in `currency`. What the numbers mean:

- `final_equity` is marked to the last close; `net_pnl` is it less `starting_balance`, after all costs.
- `fees` and `slippage` are costs (positive = paid); `funding` is a cash flow (negative = paid). Gross
  profit of the trades - fees - slippage + funding = net_pnl.
- `return_pct`, `benchmark_return_pct`: per cent of the starting balance; the benchmark, from
  `backtests.ledger.equity_curve`, buys and holds.
- `sharpe`, `sortino`: from `daily_returns`, times sqrt(365); `psr`: chance that the true daily Sharpe
  ratio is above 0. None below two days or without spread (`sortino`: without a losing day).
- `calmar`: compound annual return over the maximum drawdown; None below two days or without drawdown.
- `max_drawdown_pct`: largest fall from a peak of the equity at bar closes, in per cent of that peak.
- `trades` counts the rows of the positions table, one still open at the end included (`open_trades`);
  `win_rate` is the share (0 to 1) of them with a net profit above 0; `profit_factor` their net gains over
  their net losses, None without a loss.
- `expectancy_r`: mean R multiple of the trades that had a stop; `exit_efficiency`: gross profit of the
  trades with a favourable move over their summed `mfe` (`backtests.trades`).
- `refusals`: intents and additions that were refused, one a bar, counted by check, the commonest first.
- `mode_hours`: hours of the traded period under each word of the guard: mode and its first reason.
- `exposure_pct`: share of bar closes with an open position; `turnover`: traded notional over the starting
  balance; `trades_per_day`: per 24 hours of the traded period.
- `bars` counts all instruments' bars, `bars_per_sec` them per CPU second of the engine run alone.
- `model_hash` is one model's hash, or strategy label to hash where they differ; None without a model.
- `per_instrument` has the trades' own numbers by instrument id; its `net_pnl` sums to the run's.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtests.bundle import ResultTables
from configs.schema import RunConfig
from models import scores

__all__ = ["daily_returns", "idle_strategies", "last_word", "summarise"]

Floats = NDArray[np.float64]

_DAYS_A_YEAR = 365
_ENGINE_SUFFIX = r"-001(-\d+)?$"  # what the engine makes of a strategy's label
_MOSTLY = 0.8  # refused beyond this share is worth a word
_DAY_NS = 86_400_000_000_000


def summarise(
    run: RunConfig,
    *,
    tables: ResultTables,
    bars: int,
    engine_cpu_secs: float,
    currency: str,
    data_hash: str,
    config_hash: str,
    model_hashes: Mapping[str, str],
    decisions_hash: str,
    warnings: Sequence[str] = (),
    model_metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The summary of a finished run, ready for JSON: never NaN or infinite, None where a number is undefined.

    The module's docstring defines each number; `model_metrics` is passed on as it is.
    """
    days = (run.data.end - run.data.test_start).total_seconds() / 86_400
    positions = tables.positions
    summary: dict[str, Any] = {
        "name": run.name,
        "strategy": ", ".join(dict.fromkeys(s.use for s in run.strategies)),
        "instruments": list(run.instruments),
        "start": run.data.test_start.isoformat(),
        "end": run.data.end.isoformat(),
        "bar": run.data.bar,
        "bars": bars,
        "bars_per_sec": bars / engine_cpu_secs if engine_cpu_secs > 0 else None,
        "synthetic": run.data.synthetic is not None,
        "planted_signal": None if run.data.synthetic is None else run.data.synthetic.signal_strength,
        "currency": currency,
        **_trading(positions),
        **_quality(positions),
        "refusals": _refusals(tables.decisions),
        "mode_hours": _mode_hours(tables.decisions, run.data.end),
        **_account(tables, run.venue.starting_balance),
        **_risk(tables.equity, run.venue.starting_balance, days),
        "orders": len(tables.orders),
        "trades_per_day": len(positions) / days,
        "per_instrument": {
            name: _trading(positions[positions["instrument"] == name]) for name in run.instruments
        },
        "model_metrics": dict(model_metrics or {}),
        "data_hash": data_hash,
        "config_hash": config_hash,
        "model_hash": _model_hash(model_hashes),
        "decisions_hash": decisions_hash,
        "seed": run.seed,
        "warnings": list(warnings),
    }
    return {key: _finite(value) for key, value in summary.items()}


def daily_returns(equity: pd.DataFrame, starting_balance: float) -> Floats:
    """The equity's return over each UTC day of the run [days], as fractions.

    The first day's starts from `starting_balance`. A day ends with its midnight close, so a bar counts for
    the day it opened in. A day without bars is a return of 0. Once the equity is gone (0 or less) the day's
    return is -1 and later ones are 0.
    """
    if equity.empty:
        return np.empty(0)
    ts = pd.DatetimeIndex(equity["ts_event"]).as_unit("ns").asi8
    day = (ts - 1) // _DAY_NS
    days = np.arange(day[0], day[-1] + 1)
    values = equity["equity"].to_numpy(np.float64)[np.searchsorted(day, days, "right") - 1]
    values = np.where(np.minimum.accumulate(values) > 0.0, values, 0.0)
    before = np.concatenate([[starting_balance], values[:-1]])
    growth: Floats = np.divide(values, before, out=np.ones_like(values), where=before > 0.0)
    return growth - 1.0


def _account(tables: ResultTables, start: float) -> dict[str, Any]:
    equity, fills = tables.equity, tables.fills
    final, benchmark = (
        float(equity[name].iloc[-1]) if len(equity) else None for name in ("equity", "benchmark")
    )
    final = start if final is None else final
    traded = float(fills["quantity"].to_numpy(np.float64) @ fills["price"].to_numpy(np.float64))
    return {
        "starting_balance": start,
        "final_equity": final,
        "net_pnl": final - start,
        "return_pct": 100.0 * (final / start - 1.0),
        "benchmark_return_pct": None if benchmark is None else 100.0 * (benchmark / start - 1.0),
        "exposure_pct": _percent(equity["position_notional"] != 0.0),
        "turnover": traded / start,
    }


def _risk(equity: pd.DataFrame, start: float, days: float) -> dict[str, Any]:
    returns = daily_returns(equity, start)
    curve = np.concatenate([[start], equity["equity"].to_numpy(np.float64)])
    drawdown = scores.max_drawdown(curve)
    growth = max(curve[-1] / start, 0.0) ** (_DAYS_A_YEAR / days) - 1.0
    daily_sharpe = scores.sharpe_ratio(returns)
    return {
        "sharpe": daily_sharpe * math.sqrt(_DAYS_A_YEAR),
        "sortino": scores.sortino_ratio(returns, periods_per_year=_DAYS_A_YEAR),
        "calmar": growth / drawdown if drawdown > 0.0 and len(returns) >= 2 else None,
        "max_drawdown_pct": 100.0 * drawdown,
        "psr": scores.probabilistic_sharpe_ratio(
            daily_sharpe, 0.0, len(returns), scores.skewness(returns), scores.kurtosis(returns)
        ),
    }


def _trading(positions: pd.DataFrame) -> dict[str, Any]:
    net = positions["net_pnl"].to_numpy(np.float64)
    return {
        "trades": len(positions),
        "open_trades": int((positions["exit_reason"] == "open").sum()),
        "gross_pnl": float(positions["gross_pnl"].sum()),
        "fees": float(positions["fees"].sum()),
        "slippage": float(positions["slippage"].sum()),
        "funding": float(positions["funding"].sum()),
        "net_pnl": float(net.sum()),
        "win_rate": float(np.mean(net > 0.0)) if len(net) else None,
        "profit_factor": scores.profit_factor(net),
    }


def _quality(positions: pd.DataFrame) -> dict[str, Any]:
    r_multiple = positions["r_multiple"].dropna()
    moved = positions[positions["mfe"] > 0.0]
    return {
        "expectancy_r": float(r_multiple.mean()) if len(r_multiple) else None,
        "exit_efficiency": float(moved["gross_pnl"].sum() / moved["mfe"].sum()) if len(moved) else None,
    }


def last_word(decisions: pd.DataFrame) -> list[str]:
    """A line when entries were forbidden until the end for a reason that time alone does not end."""
    words = _words(decisions)
    if not words or words[-1][1] not in ("PAUSED", "HALTED"):
        return []
    lasting = [code for code in words[-1][2] if code == "max_drawdown" or code.startswith("halt_")]
    if not lasting:
        return []
    free = [i for i, word in enumerate(words) if lasting[0] not in word[2]]
    began = words[free[-1] + 1 if free else 0]
    when = f"{began[0]:%Y-%m-%d %H:%M}"
    return [
        f"no entries since {when} UTC ({', '.join(lasting)}): only a command `resume` would have ended it"
    ]


def _words(decisions: pd.DataFrame) -> list[tuple[pd.Timestamp, str, list[str]]]:
    """The guard's words in order: time, mode, reasons."""
    said = decisions[(decisions["kind"] == "risk") & decisions["detail"].str.contains('"mode"', regex=False)]
    details = map(json.loads, said["detail"])
    return [(ts, d["mode"], d.get("reasons", [])) for ts, d in zip(said["ts_event"], details, strict=True)]


def _mode_hours(decisions: pd.DataFrame, end: datetime) -> dict[str, float]:
    words = _words(decisions)
    until = [ts for ts, _, _ in words[1:]] + [pd.Timestamp(end)] * bool(words)
    hours: dict[str, float] = {}
    for (since, mode, reasons), ended in zip(words, until, strict=True):
        name = ":".join((mode, *reasons[:1]))
        hours[name] = hours.get(name, 0.0) + (ended - since).total_seconds() / 3600.0
    return dict(sorted(hours.items(), key=lambda item: -item[1]))


def idle_strategies(run: RunConfig, positions: pd.DataFrame, decisions: pd.DataFrame) -> list[str]:
    """A line for each strategy that made no trade, or whose wishes were mostly refused: how many and why."""
    lines = []
    labels = positions["strategy"].str.replace(_ENGINE_SUFFIX, "", regex=True)
    for strategy in run.strategies:
        mine = decisions[decisions["component"] == strategy.label]
        refusals = _refusals(mine)
        refused = sum(refusals.values())
        approved = int((mine["kind"] == "approval").sum())
        trades = int((labels == strategy.label).sum())
        if trades and refused <= _MOSTLY * (refused + approved):
            continue
        why = "; ".join(f"{check} {count:,}" for check, count in list(refusals.items())[:3])
        wished = f"wished to enter on {refused + approved:,} bars, {approved:,} were approved"
        lines.append(f"{strategy.label}: {trades} trades; {wished}" + (f"; refused: {why}" if why else ""))
    return lines


def _refusals(decisions: pd.DataFrame) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for detail in map(json.loads, decisions.loc[decisions["kind"] == "refusal", "detail"]):
        counts[str(detail["check"])] += detail.get("repeated", 1)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _percent(which: pd.Series) -> float | None:
    return 100.0 * float(which.mean()) if len(which) else None


def _model_hash(hashes: Mapping[str, str]) -> Any:
    different = set(hashes.values())
    return dict(hashes) if len(different) > 1 else next(iter(different), None)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become None, at any depth."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
