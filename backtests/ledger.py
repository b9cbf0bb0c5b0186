"""The books of a run: fills, orders, trades and the equity curve, from what the engine recorded.

Nothing here is a second truth: quantities, prices and commissions are the engine's own, and `reconcile`
refuses a curve whose end differs from the engine's account. Tables carry times as datetime64[ns, UTC]; a
fill's time is the close of the bar it happened in. Costs are positive when paid; funding is a cash flow,
negative when paid.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import CryptoPerpetual, CurrencyPair
from numpy.typing import NDArray

from backtests.records import FILL_COLUMNS, ORDER_COLUMNS, fills_from_engine, orders_from_engine, table
from backtests.venue import BINANCE
from catalog.store import BarColumns
from configs.errors import RunFailedError
from configs.schema import VenueConfig

__all__ = [
    "FILL_COLUMNS",
    "ORDER_COLUMNS",
    "TRADE_COLUMNS",
    "equity_curve",
    "fills_from_engine",
    "liquidation_breach",
    "orders_from_engine",
    "reconcile",
    "trades",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRADE_COLUMNS = {
    "trade": "int64",
    "strategy": "str",
    "instrument": "str",
    "side": "str",
    "entry_time": "time",
    "exit_time": "time",
    "quantity": "float64",
    "entry_price": "float64",
    "exit_price": "float64",
    "stop_price": "float64",
    "target_price": "float64",
    "exit_reason": "str",
    "bars_held": "int64",
    "gross_pnl": "float64",
    "fees": "float64",
    "slippage": "float64",
    "funding": "float64",
    "net_pnl": "float64",
    "return_pct": "float64",
    "confidence": "float64",
}
_SIZE_DECIMALS = 9  # Binance's steps have at most eight; what float sums leave beyond is noise


# --- positions, fill by fill ---


@dataclass(frozen=True, slots=True)
class _Legs:
    """One instrument's fills in order, a fill that crosses zero cut in two.

    `fill` is the fill's row, `share` the part of it, `trade` counts from 0, flat to flat. `position` and
    `average` (entry price) are those after the leg; `realized` is the profit it took, before costs.
    """

    fill: Ints
    share: Floats
    trade: Ints
    quantity: Floats
    opens: NDArray[np.bool_]
    position: Floats
    average: Floats
    realized: Floats


def _legs(quantity: Floats, price: Floats) -> _Legs:
    """Walk the signed fills of one instrument with average-price accounting."""
    rows: list[tuple[int, float, int, float, bool, float, float, float]] = []
    position, average, trade = 0.0, 0.0, -1
    for i, (q, px) in enumerate(zip(quantity.tolist(), price.tolist(), strict=True)):
        rest = q
        if position * q < 0:
            closing = -position if abs(q) > abs(position) else q
            realized = (average - px) * closing
            position = round(position + closing, _SIZE_DECIMALS)
            rest = round(q - closing, _SIZE_DECIMALS)
            rows.append((i, closing / q, trade, closing, False, position, average, realized))
        if rest:
            trade += position == 0.0
            after = round(position + rest, _SIZE_DECIMALS)
            average = (average * position + px * rest) / after
            position = after
            rows.append((i, rest / q, trade, rest, True, position, average, 0.0))
    columns = list(zip(*rows, strict=True)) or [()] * 8
    kinds = (np.int64, np.float64, np.int64, np.float64, np.bool_, np.float64, np.float64, np.float64)
    return _Legs(*(np.array(c, dtype=k) for c, k in zip(columns, kinds, strict=True)))


def _signed(fills: pd.DataFrame) -> Floats:
    quantity = fills["quantity"].to_numpy(np.float64)
    return np.where(fills["side"].to_numpy() == "BUY", quantity, -quantity)


def _ns(times: pd.Series) -> Ints:
    return np.asarray(pd.DatetimeIndex(times).as_unit("ns").asi8, np.int64)


def _of(frame: pd.DataFrame, instrument: str) -> pd.DataFrame:
    return frame[frame["instrument"] == instrument]


# --- trades ---


def trades(
    fills: pd.DataFrame,
    payments: pd.DataFrame,
    bars: Mapping[str, BarColumns],
    *,
    orders: pd.DataFrame | None = None,
    decisions: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a trade, flat to flat per instrument, ordered by entry (`TRADE_COLUMNS`, `trade` from 1).

    Partial fills and scaling add up; a fill that crosses zero ends one trade (reason `reversal`) and begins
    the next, its costs shared by quantity. A position still open is a last row with reason `open`, marked to
    the last close. Funding belongs to the trade with entry < time <= exit. `bars_held` counts the closes
    after the entry up to the exit. `return_pct` is net profit on entry notional.

    `orders` gives the first stop and target price (else NaN); `decisions` the confidence of the last intent
    up to the entry (else NaN) and the reason of a market exit (else `exit`).
    """
    parts = [
        _instrument_trades(name, _of(fills, name), _of(payments, name), bars[name])
        for name in dict.fromkeys(fills["instrument"])
    ]
    rows = sorted((row for part in parts for row in part), key=lambda r: (r["entry_time"], r["instrument"]))
    for number, row in enumerate(rows, start=1):
        row["trade"] = number
    frame = table([tuple(row[c] for c in TRADE_COLUMNS) for row in rows], TRADE_COLUMNS)
    if orders is not None and len(frame):
        closing = frame["side"].map({"LONG": "SELL", "SHORT": "BUY"})
        frame["stop_price"] = _first_level(frame, closing, orders, "stop", "first_trigger_price")
        frame["target_price"] = _first_level(frame, closing, orders, "target", "first_price")
    if decisions is not None and len(frame):
        frame["confidence"] = _decided(frame, "entry_time", decisions, "intent", "confidence", np.nan)
        frame["confidence"] = frame["confidence"].astype("float64")
        why = _decided(frame, "exit_time", decisions[_exits(decisions)], "action", "reason", "exit")
        frame["exit_reason"] = frame["exit_reason"].where(frame["exit_reason"] != "exit", why)
    return frame


def _instrument_trades(
    instrument: str, fills: pd.DataFrame, payments: pd.DataFrame, bars: BarColumns
) -> list[dict[str, Any]]:
    price = fills["price"].to_numpy(np.float64)
    legs = _legs(_signed(fills), price)
    ts, paid_at = _ns(fills["ts_event"]), _ns(payments["ts_event"])
    paid = np.concatenate([[0.0], np.cumsum(payments["amount"].to_numpy(np.float64))])
    bounds = np.searchsorted(legs.trade, np.arange(legs.trade[-1] + 2))
    strategy, roles = fills["strategy"].tolist(), fills["role"].tolist()
    fee, slippage = fills["fee"].to_numpy(np.float64), fills["slippage"].to_numpy(np.float64)
    rows = []
    for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        at, share = legs.fill[a:b], legs.share[a:b]
        opened = bool(legs.position[b - 1])
        entry, exit_ = int(ts[at[0]]), int(bars.ts_event[-1]) if opened else int(ts[at[-1]])
        row = _priced(legs, price, a, b, float(bars.close[-1]))
        funding = (
            paid[np.searchsorted(paid_at, exit_, "right")] - paid[np.searchsorted(paid_at, entry, "right")]
        )
        fees, slipped = float(fee[at] @ share), float(slippage[at] @ share)
        net = row["gross_pnl"] - fees - slipped + float(funding)
        held = np.searchsorted(bars.ts_event, [entry, exit_], "right")
        rows.append(
            row
            | {
                "strategy": strategy[at[0]],
                "instrument": instrument,
                "entry_time": entry,
                "exit_time": exit_,
                "exit_reason": "open" if opened else _closing_reason(roles[at[-1]]),
                "bars_held": int(held[1] - held[0]),
                "fees": fees,
                "slippage": slipped,
                "funding": float(funding),
                "net_pnl": net,
                "return_pct": 100.0 * net / row.pop("notional"),
                "stop_price": np.nan,
                "target_price": np.nan,
                "confidence": np.nan,
            }
        )
    return rows


def _priced(legs: _Legs, price: Floats, a: int, b: int, last_close: float) -> dict[str, Any]:
    """Side, size, average prices, entry notional and profit before costs of legs [a, b)."""
    quantity, px, opens = legs.quantity[a:b], price[legs.fill[a:b]], legs.opens[a:b]
    left = float(legs.position[b - 1])
    bought_in, taken_out = quantity[opens], -quantity[~opens]
    notional = float(np.abs(bought_in) @ px[opens])
    out_value = float(taken_out @ px[~opens]) + left * last_close
    entered = float(bought_in.sum())
    return {
        "side": "LONG" if entered > 0 else "SHORT",
        "quantity": float(np.abs(legs.position[a:b]).max()),
        "entry_price": notional / abs(entered),
        "exit_price": out_value / entered,
        "notional": notional,
        "gross_pnl": float(legs.realized[a:b].sum()) + left * (last_close - float(legs.average[b - 1])),
    }


def _closing_reason(role: str) -> str:
    return "reversal" if role == "entry" else role


def _first_level(
    frame: pd.DataFrame, closing: pd.Series, orders: pd.DataFrame, role: str, level: str
) -> pd.Series:
    """The level of the first order of this role made between a trade's entry and exit."""
    made = orders.loc[orders["role"] == role, ["ts_init", "instrument", "side", level]].sort_values("ts_init")
    asked = frame[["entry_time", "exit_time", "instrument"]].assign(side=closing)
    found = pd.merge_asof(
        asked, made, left_on="entry_time", right_on="ts_init", by=["instrument", "side"], direction="forward"
    )
    return found[level].where(found["ts_init"] <= found["exit_time"])


def _exits(decisions: pd.DataFrame) -> pd.Series:
    return (decisions["kind"] != "action") | decisions["detail"].str.contains('"reason"', regex=False)


def _decided(
    frame: pd.DataFrame, time: str, decisions: pd.DataFrame, kind: str, key: str, default: Any
) -> pd.Series:
    """`key` of the instrument's last decision of this kind up to `time`, in the order of `frame`."""
    taken = decisions.loc[decisions["kind"] == kind, ["ts_event", "instrument", "detail"]]
    values = [json.loads(detail).get(key, default) for detail in taken["detail"]]
    taken = taken.assign(value=pd.Series(values, index=taken.index, dtype="object")).sort_values(
        "ts_event", kind="stable"
    )
    asked = frame[[time, "instrument"]].assign(row=range(len(frame))).sort_values(time, kind="stable")
    found = pd.merge_asof(asked, taken, left_on=time, right_on="ts_event", by="instrument")
    values_found = found.set_index("row").sort_index()["value"]
    return values_found.where(values_found.notna(), default).set_axis(frame.index)


# --- equity ---


@dataclass(frozen=True, slots=True)
class _Book:
    """One instrument's running state; entry k of each array holds after k legs (or k payments)."""

    ts: Ints
    flow: Floats  # realized profit less costs, cumulated
    position: Floats
    average: Floats
    paid_at: Ints
    paid: Floats  # funding, cumulated

    @classmethod
    def of(cls, instrument: str, fills: pd.DataFrame, payments: pd.DataFrame) -> "_Book":
        fills, payments = _of(fills, instrument), _of(payments, instrument)
        legs = _legs(_signed(fills), fills["price"].to_numpy(np.float64))
        cost = fills["fee"].to_numpy(np.float64) + fills["slippage"].to_numpy(np.float64)
        return cls(
            ts=_ns(fills["ts_event"])[legs.fill],
            flow=_cumulated(legs.realized - cost[legs.fill] * legs.share),
            position=np.concatenate([[0.0], legs.position]),
            average=np.concatenate([[0.0], legs.average]),
            paid_at=_ns(payments["ts_event"]),
            paid=_cumulated(payments["amount"].to_numpy(np.float64)),
        )

    def at(self, times: Ints) -> tuple[Floats, Floats, Floats]:
        """Cash gained, signed position and average entry price at these times, their own fills included."""
        k = np.searchsorted(self.ts, times, "right")
        cash = self.flow[k] + self.paid[np.searchsorted(self.paid_at, times, "right")]
        return cash, self.position[k], self.average[k]


def _cumulated(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])


def equity_curve(
    bars: Mapping[str, BarColumns],
    fills: pd.DataFrame,
    payments: pd.DataFrame,
    starting_balance: float,
    venue: VenueConfig,
) -> pd.DataFrame:
    """The account at each bar's close, over the union of all instruments' closes (missing closes carried on).

    Columns: ts_event; equity: cash and positions marked to the close, after costs and funding; cash: what the
    account holds in the quote currency (perpetuals: the balance with realized profit, spot: without what is
    held in coins); position_notional: signed value of all positions; benchmark: equal shares of the starting
    balance put into each instrument at its first close, paying the venue's taker cost once, and kept,
    without funding. A value at t depends on fills, payments and closes up to t.

    Raises RunFailedError for a fill of an instrument without bars.
    """
    unknown = set(fills["instrument"]) - set(bars)
    if unknown:
        raise RunFailedError(f"fills without bars to value them: {', '.join(sorted(unknown))}")
    times = _union(bars)
    entry_cost = float(venue.taker_cost)
    cash = np.full(len(times), float(starting_balance))
    equity, notional, benchmark = cash.copy(), np.zeros(len(times)), np.zeros(len(times))
    for name, columns in bars.items():
        gained, position, average = _Book.of(name, fills, payments).at(times)
        close = _carried(columns, times)
        value = np.where(position != 0.0, position * close, 0.0)
        equity += gained + value - position * average
        cash += gained - (0.0 if _is_margined(name) else position * average)
        notional += value
        share = starting_balance / len(bars)
        held = share / (columns.close[0] * (1.0 + entry_cost))
        benchmark += np.where(np.isnan(close), share, held * close)
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime(times, unit="ns", utc=True),
            "equity": equity,
            "cash": cash,
            "position_notional": notional,
            "benchmark": benchmark,
        }
    )


def _union(bars: Mapping[str, BarColumns]) -> Ints:
    series = [columns.ts_event for columns in bars.values()]
    return series[0] if len(series) == 1 else np.unique(np.concatenate(series))


def _carried(columns: BarColumns, times: Ints) -> Floats:
    """The newest close at each time; NaN before the first."""
    at = np.searchsorted(columns.ts_event, times, "right") - 1
    return np.where(at >= 0, columns.close[np.maximum(at, 0)], np.nan)


def _is_margined(instrument: str) -> bool:
    return "-PERP." in instrument


# --- checks ---


def liquidation_breach(
    bars: Mapping[str, BarColumns],
    fills: pd.DataFrame,
    payments: pd.DataFrame,
    starting_balance: float,
    instruments: Mapping[str, CryptoPerpetual | CurrencyPair],
) -> str | None:
    """A warning naming the first bar inside which the whole account would have been liquidated, or None.

    The engine does not liquidate on bars, so a run that went past this point promises what no venue keeps.
    Positions held at a bar's open are valued at its worst price (low for longs, high for shorts, of all
    instruments at once); one that a stop or target closed inside the bar at the worse of the open and that
    fill. The account breaks when its equity is then below the sum of notional times `margin_maint`.
    """
    times = _union(bars)
    before = np.concatenate([[times[0] - 1], times[:-1]])
    equity, margin = np.full(len(times), float(starting_balance)), np.zeros(len(times))
    held = np.zeros(len(times), np.bool_)
    for name, columns in bars.items():
        gained, position, average = _Book.of(name, fills, payments).at(before)
        worst = _worst_prices(columns, times, position, _of(fills, name))
        value = np.where(position != 0.0, position * worst, 0.0)
        equity += gained + value - position * average
        margin += np.abs(value) * _maintenance_rate(instruments[name])
        held |= position != 0.0
    broken = np.flatnonzero(held & (equity < margin))
    if not len(broken):
        return None
    k = int(broken[0])
    when = f"{pd.Timestamp(int(times[k]), tz='UTC'):%Y-%m-%d %H:%M}"
    return (
        f"liquidation: in the bar closing {when} UTC equity falls to {equity[k]:.2f}, below the maintenance "
        f"margin of {margin[k]:.2f}; a venue would have closed the account, so lower the leverage"
    )


def _maintenance_rate(instrument: CryptoPerpetual | CurrencyPair) -> float:
    return float(instrument.margin_maint) if isinstance(instrument, CryptoPerpetual) else 0.0


def _worst_prices(columns: BarColumns, times: Ints, position: Floats, fills: pd.DataFrame) -> Floats:
    worst = _carried(columns, times)
    rows = np.searchsorted(times, columns.ts_event)
    long = position[rows] > 0
    worst[rows] = np.where(long, columns.low, columns.high)
    legs = _legs(_signed(fills), fills["price"].to_numpy(np.float64))
    resting = fills["role"].isin(["stop", "target"]).to_numpy()[legs.fill]
    ended = legs.fill[resting & ~legs.opens & (legs.position == 0.0)]
    at = np.searchsorted(columns.ts_event, _ns(fills["ts_event"])[ended])
    left = fills["price"].to_numpy(np.float64)[ended]
    worse = np.where(long[at], np.minimum(columns.open[at], left), np.maximum(columns.open[at], left))
    worst[rows[at]] = worse
    return worst


def reconcile(engine: BacktestEngine, equity: pd.DataFrame) -> None:
    """Check the curve's end against the engine's own account: one truth, or no result.

    Cash, position value and equity must agree to 0.01 of the quote currency or one part in a million. Raises
    RunFailedError naming what differs, with both numbers.
    """
    portfolio, last = engine.portfolio, equity.iloc[-1]
    currency = engine.cache.instruments(BINANCE)[0].quote_currency
    account: Any = portfolio.account(BINANCE)
    marked = portfolio.mark_values(BINANCE).get(currency)
    value = 0.0 if marked is None else marked.as_double()
    whole = portfolio.equity(BINANCE)[currency].as_double() + (value if account.is_cash_account() else 0.0)
    checks = (
        ("cash", last["cash"], account.balance_total(currency).as_double()),
        ("position value", last["position_notional"], value),
        ("equity", last["equity"], whole),
    )
    for what, ours, theirs in checks:
        if not abs(ours - theirs) <= max(0.01, 1e-6 * abs(theirs)):
            raise RunFailedError(
                f"ledger's final {what} {ours:.8f} differs from the engine's {theirs:.8f} {currency.code}; "
                "no result is written"
            )
