"""Result bundles for tests: a seeded market, trades simulated on it, and every file of a real bundle."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from backtests.bundle import ResultTables, publish
from backtests.bundle import write_bundle as write_files
from backtests.summary import summarise
from catalog.store import BarColumns
from configs.load import config_hash
from configs.schema import RunConfig
from models.scores import brier_score, classification_metrics, log_loss

__all__ = ["BTC", "ETH", "random_bars", "write_bundle"]

BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"
BALANCE = 100_000.0
MAKER, TAKER, SLIPPAGE, FUNDING_RATE = 2e-4, 5e-4, 1e-4, 1e-4
STOP, TARGET, MAX_BARS = 0.006, 0.012, 480
MINUTE_NS = 60_000_000_000
FUNDING_NS = 480 * MINUTE_NS
NS_TIME = "datetime64[ns, UTC]"
POSITION_COLUMNS = [
    "trade",
    "strategy",
    "instrument",
    "side",
    "entry_time",
    "exit_time",
    "quantity",
    "entry_price",
    "exit_price",
    "stop_price",
    "target_price",
    "exit_reason",
    "bars_held",
    "gross_pnl",
    "fees",
    "slippage",
    "funding",
    "net_pnl",
    "return_pct",
    "confidence",
    "mfe",
    "mae",
    "r_multiple",
    "exit_efficiency",
]
FILL_COLUMNS = [
    "ts_event",
    "strategy",
    "instrument",
    "client_order_id",
    "trade_id",
    "role",
    "side",
    "quantity",
    "price",
    "liquidity",
    "fee",
    "slippage",
]
ORDER_COLUMNS = [
    "ts_init",
    "ts_last",
    "strategy",
    "instrument",
    "client_order_id",
    "role",
    "order_type",
    "side",
    "quantity",
    "price",
    "trigger_price",
    "filled_qty",
    "avg_px",
    "status",
    "reduce_only",
    "first_price",
    "first_trigger_price",
]
DECISION_COLUMNS = ["ts_event", "component", "instrument", "kind", "detail"]


class _Trade(NamedTuple):
    instrument: str
    strategy: str
    side: int
    entry: int  # row of the bar at whose close it was entered
    exit: int
    entry_price: float
    exit_price: float
    quantity: float
    reason: str
    confidence: float

    @property
    def maker_exit(self) -> bool:
        return self.reason == "target"

    def costs(self) -> tuple[float, float]:
        """Fees and slippage; an open trade has paid for its entry only."""
        into, out = self.quantity * self.entry_price, self.quantity * self.exit_price
        if self.reason == "open":
            return TAKER * into, SLIPPAGE * into
        if self.maker_exit:
            return TAKER * into + MAKER * out, SLIPPAGE * into
        return TAKER * (into + out), SLIPPAGE * (into + out)


def random_bars(days: float, *, seed: int = 7, start: str = "2025-05-20", minutes: int = 1) -> BarColumns:
    """A seeded random walk with one-tick (0.10) prices."""
    rng = np.random.default_rng(seed)
    n = max(int(days * 1440 / minutes), 1)
    close = np.round(60_000 * np.exp(np.cumsum(rng.standard_t(4, n)) * 4e-4 * np.sqrt(minutes)), 1)
    open_ = np.concatenate([[60_000.0], close[:-1]])
    spread = np.round(np.abs(rng.standard_normal((2, n))) * close * 2e-4, 1)
    first = pd.Timestamp(start, tz="UTC").as_unit("ns").value
    return BarColumns(
        ts_event=first + np.arange(1, n + 1, dtype=np.int64) * minutes * MINUTE_NS,
        open=open_,
        high=np.round(np.maximum(open_, close) + spread[0], 1),
        low=np.round(np.minimum(open_, close) - spread[1], 1),
        close=close,
        volume=np.round(rng.gamma(2.0, 20.0, n), 3),
    )


def write_bundle(
    path: Path,
    bars: Mapping[str, BarColumns],
    *,
    trades_per_day: float = 4.0,
    max_trades: int | None = None,
    model: bool = True,
    synthetic: bool = False,
    warnings: Sequence[str] = (),
    strategy: str = "ml_basic",
    catalog: Path = Path("data/catalog"),
    seed: int = 7,
) -> Path:
    """Write a whole bundle over `bars` (a series an instrument, all of the same times); return its path."""
    rng = np.random.default_rng(seed)
    trades = [
        t for name, columns in bars.items() for t in _trade(name, columns, rng, trades_per_day, strategy)
    ]
    trades = sorted(trades, key=lambda t: (t.entry, t.instrument))[:max_trades]
    tables = _tables(trades, bars, rng, model)
    run = _run_config(path.name, bars, catalog, synthetic)
    summary = summarise(
        run,
        tables=tables,
        bars=sum(len(columns) for columns in bars.values()),
        engine_cpu_secs=2.0,
        currency="USDT",
        data_hash="d" * 64,
        config_hash=config_hash(run),
        model_hashes={"ml_basic": "e" * 64} if model else {},
        decisions_hash="f" * 64,
        warnings=warnings,
        model_metrics=_metrics(tables.model_test),
    )
    summary["strategy"] = strategy
    path.parent.mkdir(parents=True, exist_ok=True)
    publish(write_files(path, run=run, summary=summary, tables=tables, model_hashes={}), path)
    return path


def _tables(
    trades: Sequence[_Trade], bars: Mapping[str, BarColumns], rng: np.random.Generator, model: bool
) -> ResultTables:
    positions = pd.DataFrame(
        [_position(i, t, bars) for i, t in enumerate(trades, 1)], columns=POSITION_COLUMNS
    )
    fills, orders = _orders(trades, bars)
    return ResultTables(
        positions=_typed(
            positions, ("entry_time", "exit_time"), ("strategy", "instrument", "side", "exit_reason")
        ),
        fills=fills,
        orders=orders,
        equity=_equity(trades, bars),
        decisions=_decisions(trades, bars, rng),
        model_test=_model_test(bars, rng, model),
    )


def _trade(
    name: str, bars: BarColumns, rng: np.random.Generator, per_day: float, strategy: str
) -> list[_Trade]:
    """Random entries; stop, target or time ends each, whichever comes first on the bars."""
    if not per_day:
        return []
    gap = 1440 / per_day * MINUTE_NS / _bar_ns(bars)
    at, trades = int(rng.exponential(gap) * 0.5) + 1, []
    while at < len(bars) - 1:
        side = 1 if rng.random() < 0.6 else -1
        price, last = bars.close[at], min(at + MAX_BARS, len(bars) - 1)
        stop, target = np.round(price * (1 - side * STOP), 1), np.round(price * (1 + side * TARGET), 1)
        ahead = bars.slice(at + 1, last + 1)
        against, along = (ahead.low, ahead.high) if side > 0 else (-ahead.high, -ahead.low)
        stopped, won = (against <= side * stop), (along >= side * target)
        hit = np.flatnonzero(stopped | won)
        if len(hit):
            leave = at + 1 + int(hit[0])
            reason, out = ("stop", stop) if stopped[hit[0]] else ("target", target)
        else:
            leave, out = last, bars.close[last]
            reason = "time" if last == at + MAX_BARS else "open"
        confidence = round(float(rng.uniform(0.1, 0.9)), 3)
        quantity = max(np.floor(BALANCE * 0.1 * confidence / price * 1000) / 1000, 0.001)
        trades.append(_Trade(name, strategy, side, at, leave, price, out, quantity, reason, confidence))
        at = leave + int(rng.exponential(gap)) + 1
    return trades


def _bar_ns(bars: BarColumns) -> int:
    return int(np.diff(bars.ts_event).min()) if len(bars) > 1 else MINUTE_NS


def _funding(trade: _Trade, bars: BarColumns) -> np.ndarray:
    """Funding by each bar from the trade's entry to its exit, cumulated (negative = paid)."""
    times, close = bars.ts_event[trade.entry : trade.exit + 1], bars.close[trade.entry : trade.exit + 1]
    due = (times % FUNDING_NS == 0) & (np.arange(len(times)) > 0)
    return np.cumsum(np.where(due, -trade.side * trade.quantity * close * FUNDING_RATE, 0.0))


def _position(number: int, t: _Trade, bars: Mapping[str, BarColumns]) -> list[Any]:
    times = bars[t.instrument].ts_event
    gross = t.side * t.quantity * (t.exit_price - t.entry_price)
    fees, slippage = t.costs()
    funding = float(_funding(t, bars[t.instrument])[-1])
    net = gross - fees - slippage + funding
    stop, target = (np.round(t.entry_price * (1 + way * t.side), 1) for way in (-STOP, TARGET))
    side = "LONG" if t.side > 0 else "SHORT"
    row = [number, t.strategy, t.instrument, side, times[t.entry], times[t.exit], t.quantity, t.entry_price]
    row += [t.exit_price, stop, target, t.reason, t.exit - t.entry, gross, fees, slippage, funding, net]
    inside = slice(t.entry + 1, t.exit + 1)
    high, low = bars[t.instrument].high[inside], bars[t.instrument].low[inside]
    moves = t.side * t.quantity * (np.concatenate([high, low]) - t.entry_price)
    best, worst = max(0.0, float(moves.max())), min(0.0, float(moves.min()))
    risk = abs(t.entry_price - stop) * t.quantity
    quality = [best, worst, net / risk, gross / best if best else np.nan]
    return [*row, 100 * net / (t.quantity * t.entry_price), t.confidence, *quality]


def _orders(trades: Sequence[_Trade], bars: Mapping[str, BarColumns]) -> tuple[pd.DataFrame, pd.DataFrame]:
    fills, orders = [], []
    for number, t in enumerate(trades, 1):
        times, (buy, sell) = bars[t.instrument].ts_event, ("BUY", "SELL") if t.side > 0 else ("SELL", "BUY")
        legs = [("entry", buy, t.entry, t.entry_price, "MARKET")]
        if t.reason != "open":
            role = t.reason if t.reason in ("stop", "target") else "exit"
            kind = {"stop": "STOP_MARKET", "target": "LIMIT", "exit": "MARKET"}[role]
            legs.append((role, sell, t.exit, t.exit_price, kind))
        for role, side, row, px, kind in legs:
            maker, order_id, value = role == "target", f"O-{number}-{role}", t.quantity * px
            costs = [(MAKER if maker else TAKER) * value, 0.0 if maker else SLIPPAGE * value]
            liquidity = "MAKER" if maker else "TAKER"
            who = [t.strategy, t.instrument, order_id]
            fills.append(
                [times[row], *who, f"T-{len(fills) + 1}", role, side, t.quantity, px, liquidity, *costs]
            )
            levels = [px if kind == "LIMIT" else np.nan, px if kind == "STOP_MARKET" else np.nan]
            done = [t.quantity, *levels, t.quantity, px, "FILLED", role != "entry", *levels]
            orders.append([times[t.entry], times[row], *who, role, kind, side, *done])
    text = ("strategy", "instrument", "client_order_id", "role", "side")
    fill_frame = _typed(
        pd.DataFrame(fills, columns=FILL_COLUMNS), ("ts_event",), (*text, "trade_id", "liquidity")
    )
    fill_frame = fill_frame.sort_values("ts_event", kind="stable", ignore_index=True)
    order_frame = pd.DataFrame(orders, columns=ORDER_COLUMNS)
    return fill_frame, _typed(order_frame, ("ts_init", "ts_last"), (*text, "order_type", "status"))


def _equity(trades: Sequence[_Trade], bars: Mapping[str, BarColumns]) -> pd.DataFrame:
    first = next(iter(bars.values()))
    n = len(first)
    equity, cash, notional = np.full(n, BALANCE), np.full(n, BALANCE), np.zeros(n)
    for t in trades:
        columns, held = bars[t.instrument], slice(t.entry, t.exit + (t.reason == "open"))
        value = t.side * t.quantity * columns.close[held]
        paid = (TAKER + SLIPPAGE) * t.quantity * t.entry_price
        funding = _funding(t, columns)
        paid = paid - funding[: len(value)]
        equity[held] += value - t.side * t.quantity * t.entry_price - paid
        cash[held] -= paid
        notional[held] += value
        net = t.side * t.quantity * (t.exit_price - t.entry_price) - sum(t.costs()) + funding[-1]
        equity[held.stop :] += net
        cash[held.stop :] += net
    growth = np.mean([c.close / c.close[0] for c in bars.values()], axis=0)
    benchmark = BALANCE * (growth - (TAKER + SLIPPAGE))
    columns = {"equity": equity, "cash": cash, "position_notional": notional, "benchmark": benchmark}
    return pd.DataFrame({"ts_event": pd.to_datetime(first.ts_event, utc=True).astype(NS_TIME), **columns})


def _decisions(
    trades: Sequence[_Trade], bars: Mapping[str, BarColumns], rng: np.random.Generator
) -> pd.DataFrame:
    rows = []
    for t in trades:
        times = bars[t.instrument].ts_event
        common = (f"strategy:{t.strategy}", t.instrument)
        probability = round(0.5 + t.side * t.confidence / 10, 6)
        rows.append([times[t.entry], "forecaster", t.instrument, "forecast", {"probability": probability}])
        rows.append([times[t.entry], *common, "intent", {"side": t.side, "reasons": ["probability"]}])
        rows.append([times[t.entry], *common, "approval", {"quantity": t.quantity, "bound_by": "risk"}])
        if rng.random() < 0.3:
            check = ("min_notional", "free_margin", "max_position")[int(rng.integers(3))]
            rows.append([times[t.exit], *common, "intent", {"side": t.side, "reasons": ["probability"]}])
            rows.append([times[t.exit], *common, "refusal", {"check": check, "limit": 5.0, "value": 4.2}])
    rows.sort(key=lambda row: row[0])
    frame = pd.DataFrame(rows, columns=DECISION_COLUMNS)
    frame["detail"] = [json.dumps(d, sort_keys=True, separators=(",", ":")) for d in frame["detail"]]
    frame = _typed(frame, ("ts_event",), ("component", "instrument", "kind", "detail"))
    frame.insert(0, "seq", np.arange(len(frame), dtype=np.int64))
    return frame


def _model_test(bars: Mapping[str, BarColumns], rng: np.random.Generator, model: bool) -> pd.DataFrame:
    parts = []
    for name, columns in bars.items():
        n = len(columns) if model else 0
        logit = np.convolve(rng.standard_normal(n + 59), np.ones(60) / 60, "valid")[:n] if n else np.empty(0)
        probability = 1 / (1 + np.exp(-2.0 * logit))
        outcome = (rng.random(n) < 0.5 + 0.6 * (probability - 0.5)).astype(np.float64)
        outcome[rng.random(n) < 0.2] = np.nan
        times = pd.to_datetime(columns.ts_event[:n], utc=True).astype(NS_TIME)
        values = {"probability": probability, "outcome": outcome}
        parts.append(pd.DataFrame({"ts_event": times, "instrument": name, "model": "direction", **values}))
    return pd.concat(parts, ignore_index=True).astype({"instrument": "str", "model": "str"})


def _metrics(tests: pd.DataFrame) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for (model, instrument), rows in tests.dropna().groupby(["model", "instrument"]):
        cuts = np.linspace(0, len(rows), 5).astype(int)
        parts = [rows.iloc[a:b] for a, b in pairwise(cuts)]
        splits = zip(("train", "validation", "calibration", "test"), parts, strict=True)
        metrics[f"{model}/{instrument}"] = {name: _split_metrics(part) for name, part in splits if len(part)}
    return metrics


def _split_metrics(part: pd.DataFrame) -> dict[str, float]:
    outcome, flat = part["outcome"].to_numpy(), np.full(len(part), 0.5)
    baseline = {"baseline_brier": brier_score(outcome, flat), "baseline_log_loss": log_loss(outcome, flat)}
    return classification_metrics(outcome, part["probability"].to_numpy()) | baseline


def _run_config(name: str, bars: Mapping[str, BarColumns], catalog: Path, synthetic: bool) -> RunConfig:
    first = next(iter(bars.values()))
    start, end = int(first.ts_event[0]) - _bar_ns(first), int(first.ts_event[-1])
    times = {"start": start - 86_400_000_000_000, "test_start": start, "end": end}
    period = {key: pd.Timestamp(ns, tz="UTC").isoformat() for key, ns in times.items()}
    data = {"catalog": str(catalog), "bar": f"{_bar_ns(first) // MINUTE_NS}m", **period}
    strategies = [{"use": "ml_basic", "instrument": i} for i in bars]
    market = {"synthetic": {"signal_strength": 1}} if synthetic else {}
    return RunConfig.model_validate({"name": name, "data": data | market, "strategies": strategies})


def _typed(frame: pd.DataFrame, times: Sequence[str], text: Sequence[str]) -> pd.DataFrame:
    for name in frame.columns:
        if name in times:
            frame[name] = pd.to_datetime(frame[name].astype("int64"), utc=True).astype(NS_TIME)
        elif name in text:
            frame[name] = frame[name].astype("str")
        elif frame.empty:
            frame[name] = frame[name].astype("float64")
    return frame
