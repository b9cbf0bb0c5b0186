"""What the report and the notebook show, as plain tables computed from a result bundle's files.

Times are UTC throughout: days and months are UTC days and months. Inputs are never changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from catalog.columns import MINUTE_NS
from catalog.store import BarColumns
from configs.errors import DataError

__all__ = [
    "ResultBundle",
    "cost_steps",
    "costs_by_role",
    "daily_returns",
    "decision_counts",
    "exits_by_reason",
    "largest_trades",
    "monthly_returns",
    "notable_trades",
    "read_bundle",
    "reliability_table",
    "resample_bars",
    "stop_path",
    "thin_indices",
]

_REQUIRED = ("config.yaml", *(f"{name}.parquet" for name in ("equity", "positions", "fills", "decisions")))
_CANDLE_MINUTES = (1, 2, 3, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 2880, 4320, 10_080)
_WILSON_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class ResultBundle:
    """The files of one run; `model_test` is empty for a run without a model, `manifest` if there is none."""

    path: Path
    summary: Mapping[str, Any]
    manifest: Mapping[str, Any]
    config_text: str
    equity: pd.DataFrame
    positions: pd.DataFrame
    fills: pd.DataFrame
    decisions: pd.DataFrame
    model_test: pd.DataFrame

    @property
    def name(self) -> str:
        """The run's own name; the folder's may be another."""
        return str(self.summary.get("name") or self.path.name)

    @property
    def currency(self) -> str:
        """The currency of all amounts."""
        return str(self.summary.get("currency") or "")


def read_bundle(path: Path) -> ResultBundle:
    """Read a result bundle's files.

    Raises:
        DataError: the folder is no result bundle, or one of its files is missing or cannot be read.
    """
    if not (path / "summary.json").is_file():
        raise DataError(f"{path} is no result bundle (no summary.json there); make one with backtests/run.py")
    missing = [name for name in _REQUIRED if not (path / name).is_file()]
    if missing:
        raise DataError(f"{path}: the bundle lacks {', '.join(missing)}; run the backtest again")
    try:
        return ResultBundle(
            path=path,
            summary=_read_json(path / "summary.json"),
            manifest=_read_json(path / "manifest.json") if (path / "manifest.json").is_file() else {},
            config_text=(path / "config.yaml").read_text(encoding="utf-8"),
            equity=pd.read_parquet(path / "equity.parquet"),
            positions=pd.read_parquet(path / "positions.parquet"),
            fills=pd.read_parquet(path / "fills.parquet"),
            decisions=pd.read_parquet(path / "decisions.parquet"),
            model_test=_read_model_test(path / "model_test.parquet"),
        )
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise DataError(f"{path}: a file of the bundle cannot be read ({what}); run it again") from None


def thin_indices(values: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    """Sorted indices of about `limit` points: first, last, lowest and highest of each of equal stretches."""
    n = len(values)
    if n <= limit:
        return np.arange(n)
    edges = np.linspace(0, n, max(limit // 4, 1) + 1).astype(np.int64)
    keep = [edges[:-1], edges[1:] - 1]
    stretches = list(pairwise(edges))
    for extreme in (np.argmin, np.argmax):
        keep.append(np.array([a + extreme(values[a:b]) for a, b in stretches], dtype=np.int64))
    return np.unique(np.concatenate(keep))


def resample_bars(bars: BarColumns, max_candles: int) -> tuple[BarColumns, int]:
    """Bars merged into about `max_candles` candles or less on UTC-aligned steps, and a candle's length in ns.

    Stays as it is when there are few enough. Gaps stay gaps. A candle's `ts_event` is the close of its step.
    """
    bar_ns = _bar_length(bars)
    if len(bars) <= max_candles:
        return bars, bar_ns
    span = int(bars.ts_event[-1] - bars.ts_event[0]) + bar_ns
    wanted = -(-span // max_candles)
    steps = [m * MINUTE_NS for m in _CANDLE_MINUTES if m * MINUTE_NS % bar_ns == 0]
    step = next((s for s in steps if s >= wanted), -(-wanted // bar_ns) * bar_ns)
    bucket = (bars.ts_event - bar_ns) // step
    first = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    last = np.append(first[1:], len(bucket)) - 1
    merged = BarColumns(
        ts_event=(bucket[first] + 1) * step,
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=np.add.reduceat(bars.volume, first),
    )
    return merged, step


def daily_returns(equity: pd.DataFrame, starting_balance: float | None = None) -> pd.DataFrame:
    """Per cent return of each UTC day, columns `strategy` and `benchmark`; bounds as in `monthly_returns`."""
    return _period_returns(equity, "D", starting_balance)


def monthly_returns(equity: pd.DataFrame, starting_balance: float | None = None) -> pd.DataFrame:
    """Per cent return of each UTC month, columns `strategy` and `benchmark`, indexed by its first day.

    A month's return runs from the last value of the month before to its own last value; the first one starts
    from `starting_balance`, or from the table's first row when that is None. A bar belongs to the month in
    which it opened, so midnight's close is the month's before. The returns compound to that of the run.
    """
    return _period_returns(equity, "M", starting_balance)


def stop_path(trade: pd.Series, decisions: pd.DataFrame) -> pd.DataFrame:
    """Where a trade's stop stood: rows of `ts_event, price`, each from that time on, the last at the exit.

    `trade` is a row of the positions table; moves are the audit's `move_stop` actions. Empty without a stop.
    """
    if pd.isna(trade["stop_price"]):
        return pd.DataFrame({"ts_event": pd.DatetimeIndex([], tz="UTC"), "price": pd.Series(dtype="float64")})
    inside = decisions["ts_event"].between(trade["entry_time"], trade["exit_time"])
    mine = inside & (decisions["kind"] == "action") & (decisions["instrument"] == trade["instrument"])
    moves = decisions[mine & decisions["detail"].str.contains('"move_stop"', regex=False)]
    prices = [float(trade["stop_price"]), *(float(json.loads(detail)["price"]) for detail in moves["detail"])]
    times = [trade["entry_time"], *moves["ts_event"], trade["exit_time"]]
    return pd.DataFrame({"ts_event": pd.DatetimeIndex(times), "price": [*prices, prices[-1]]})


def largest_trades(positions: pd.DataFrame, limit: int) -> pd.DataFrame:
    """At most `limit` trades, those with the largest absolute net PnL, in their original order."""
    if len(positions) <= limit:
        return positions
    order = positions["net_pnl"].abs().to_numpy().argsort(kind="stable")[::-1][:limit]
    return positions.iloc[np.sort(order)]


def notable_trades(positions: pd.DataFrame) -> list[tuple[str, int]]:
    """Trades worth a close look: (what makes it so, row number), each row once.

    The best, the worst, the longest, the one with the median net PnL, the first and the last.
    """
    if positions.empty:
        return []
    net = positions["net_pnl"].to_numpy(dtype=np.float64)
    ranked = net.argsort(kind="stable")
    picks = {
        "Best": int(ranked[-1]),
        "Worst": int(ranked[0]),
        "Longest": int(positions["bars_held"].to_numpy().argmax()),
        "Median": int(ranked[len(ranked) // 2]),
        "First": 0,
        "Last": len(positions) - 1,
    }
    rows: dict[int, list[str]] = {}
    for why, row in picks.items():
        rows.setdefault(row, []).append(why)
    if len(rows) == 1:
        return [("The only trade" if len(positions) == 1 else "All of these", next(iter(rows)))]
    return [(", ".join([whys[0], *(w.lower() for w in whys[1:])]), row) for row, whys in rows.items()]


def exits_by_reason(positions: pd.DataFrame) -> pd.DataFrame:
    """Trades by side and exit reason: `side, reason, trades, wins, net_pnl`, then one `All` row a side."""
    columns = ["side", "reason", "trades", "wins", "net_pnl"]
    if positions.empty:
        return pd.DataFrame(columns=columns)
    trades = positions.assign(reason=positions["exit_reason"].astype(str), wins=positions["net_pnl"] > 0)
    parts = []
    for side, rows in trades.groupby("side", sort=True):
        table = rows.groupby("reason", sort=True).agg(
            trades=("wins", "size"), wins=("wins", "sum"), net_pnl=("net_pnl", "sum")
        )
        table.loc["All"] = table.sum()
        parts.append(table.reset_index().assign(side=side))
    return pd.concat(parts, ignore_index=True)[columns].astype({"trades": "int64", "wins": "int64"})


def cost_steps(summary: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The changes that lead from gross to net PnL: gross, then fees, slippage, funding; negative when paid.

    They add up to the summary's `net_pnl`. Fees and slippage are costs there (positive when paid), funding is
    a cash flow (negative when paid).
    """
    fees, slippage, funding, net = (
        float(summary.get(k) or 0.0) for k in ("fees", "slippage", "funding", "net_pnl")
    )
    gross = net + fees + slippage - funding
    return [("Gross PnL", gross), ("Fees", -fees), ("Slippage", -slippage), ("Funding", funding)]


def costs_by_role(fills: pd.DataFrame) -> pd.DataFrame:
    """Fills by order role and liquidity: `role, liquidity, fills, notional, fee, slippage`."""
    priced = fills.assign(notional=fills["quantity"] * fills["price"])
    grouped = priced.groupby(["role", "liquidity"], sort=True)
    sums = grouped[["notional", "fee", "slippage"]].sum()
    sums.insert(0, "fills", grouped.size())
    return sums.reset_index()


def decision_counts(decisions: pd.DataFrame, positions: pd.DataFrame) -> pd.DataFrame:
    """Counts by stage and reason: `stage, reason, count` for Intent, Approval, Refusal, Exit and Failure.

    Refusals are told apart by their check, failures by component, exits by the positions' exit reason. A
    record of repeated refusals counts as that many, and as that many intents. Stages that never happened are
    there with a count of 0, failures excepted.
    """
    kinds = decisions["kind"].astype(str)
    refused = [json.loads(text) for text in decisions.loc[kinds == "refusal", "detail"]]
    again = sum(detail.get("repeated", 0) for detail in refused)
    rows = [("Intent", "", int((kinds == "intent").sum()) + again)]
    rows.append(("Approval", "", int((kinds == "approval").sum())))
    checks = [str(d.get("check", "unnamed")) for d in refused for _ in range(d.get("repeated", 1))]
    rows += _counted("Refusal", pd.Series(checks, dtype="str"), keep_empty=True)
    rows += _counted("Exit", positions["exit_reason"].astype("str"), keep_empty=True)
    rows += _counted(
        "Failure", decisions.loc[kinds == "failure", "component"].astype("str"), keep_empty=False
    )
    return pd.DataFrame(rows, columns=["stage", "reason", "count"])


def reliability_table(model_test: pd.DataFrame, n_bins: int) -> pd.DataFrame:
    """Calibration by equally filled bins: `predicted, observed, low, high, count`, empty without any outcome.

    `predicted` is the bin's mean probability, `observed` its share of outcomes 1, `low` and `high` its
    Wilson 95 % interval. Rows without probability or outcome are left out.
    """
    known = model_test[["probability", "outcome"]].dropna().sort_values("probability", kind="stable")
    parts = [p for p in np.array_split(known.to_numpy(dtype=np.float64), n_bins) if len(p)]
    rows = [(p[:, 0].mean(), p[:, 1].mean(), len(p)) for p in parts]
    table = pd.DataFrame(rows, columns=["predicted", "observed", "count"])
    share, n, z2 = table["observed"], table["count"], _WILSON_Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _WILSON_Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return table.assign(low=centre - half, high=centre + half)


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return value


def _read_model_test(path: Path) -> pd.DataFrame:
    if path.is_file():
        return pd.read_parquet(path)
    return pd.DataFrame(columns=["ts_event", "instrument", "model", "probability", "outcome"])


def _bar_length(bars: BarColumns) -> int:
    """The shortest step between closes: gaps only make steps longer."""
    return int(np.diff(bars.ts_event).min()) if len(bars) > 1 else MINUTE_NS


def _period_returns(equity: pd.DataFrame, period: str, starting_balance: float | None) -> pd.DataFrame:
    times = pd.DatetimeIndex(equity["ts_event"]).tz_convert("UTC").tz_localize(None)
    opened_in = (times - pd.Timedelta(1, "ns")).to_period(period)
    values = equity[["equity", "benchmark"]].set_axis(["strategy", "benchmark"], axis=1)
    last = values.groupby(opened_in).last()
    start = last.shift(1)
    if len(start):
        start.iloc[0] = values.iloc[0] if starting_balance is None else starting_balance
    returns = 100.0 * (last / start - 1.0)
    return returns.set_axis(pd.PeriodIndex(returns.index).to_timestamp(), axis=0)


def _counted(stage: str, reasons: pd.Series, *, keep_empty: bool) -> list[tuple[str, str, int]]:
    if reasons.empty:
        return [(stage, "", 0)] if keep_empty else []
    counts = reasons.value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    return [(stage, str(reason), int(count)) for reason, count in counts.items()]
