"""The trades of a run, one row flat to flat, from its fills, funding, orders and audit stream.

Times are datetime64[ns, UTC]; a fill's time is the close of the bar it happened in. Costs are positive when
paid; funding is a cash flow, negative when paid.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backtests.excursions import excursions
from backtests.legs import Legs, nanoseconds, rows_of, signed_quantity, walk_legs
from backtests.records import table
from catalog.store import BarColumns

__all__ = ["TRADE_COLUMNS", "trades"]

Floats = NDArray[np.float64]

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
    "mfe": "float64",
    "mae": "float64",
    "r_multiple": "float64",
    "exit_efficiency": "float64",
}


def trades(
    fills: pd.DataFrame,
    payments: pd.DataFrame,
    bars: Mapping[str, BarColumns],
    *,
    orders: pd.DataFrame | None = None,
    decisions: pd.DataFrame | None = None,
    adaptive: bool = False,
) -> pd.DataFrame:
    """One row a trade, flat to flat per instrument, ordered by entry (`TRADE_COLUMNS`, `trade` from 1).

    Partial fills and scaling add up; a fill that crosses zero ends one trade (reason `reversal`) and begins
    the next, its costs shared by quantity. A position still open is a last row with reason `open`, marked to
    the last close. Funding belongs to the trade with entry < time <= exit, of an
    entry that rested and filled inside the bar with entry <= time. `bars_held` counts the closes
    after the entry up to the exit. `return_pct` is net profit on entry notional.

    `orders` gives the first stop and target price (else NaN); `decisions` the confidence of the last intent
    up to the entry (else NaN) and the reason of a market exit (else `exit`).

    `mfe` and `mae` are the best and the worst gross profit on the way (`backtests.excursions`; `adaptive` is
    the venue's order of a bar's extremes). `r_multiple` is net profit over what the first entry put at
    risk: the guard's measure, from its approval in `decisions`, costs included; without `decisions` |price -
    stop| times its quantity. `exit_efficiency` is the share of `mfe` that gross profit kept (1: left at the
    best price, below 0: a gain turned into a loss). NaN without a stop or a favourable move.
    """
    parts = [
        _instrument_trades(name, rows_of(fills, name), rows_of(payments, name), bars[name], adaptive)
        for name in dict.fromkeys(fills["instrument"])
    ]
    rows = sorted((row for part in parts for row in part), key=lambda r: (r["entry_time"], r["instrument"]))
    for number, row in enumerate(rows, start=1):
        row["trade"] = number
    frame = table([tuple(row[c] for c in TRADE_COLUMNS) for row in rows], TRADE_COLUMNS)
    first = np.array([row["first_entry"] for row in rows]).reshape(-1, 2)
    if orders is not None and len(frame):
        closing = frame["side"].map({"LONG": "SELL", "SHORT": "BUY"})
        frame["stop_price"] = _first_level(frame, closing, orders, "stop", "first_trigger_price")
        frame["target_price"] = _first_level(frame, closing, orders, "target", "first_price")
        risk = (frame["stop_price"] - first[:, 0]).abs() * first[:, 1]
        frame["r_multiple"] = frame["net_pnl"] / risk.where(risk > 0.0)
    if decisions is not None and len(frame):
        frame["confidence"] = _decided(frame, "entry_time", decisions, "intent", "confidence", np.nan)
        frame["confidence"] = frame["confidence"].astype("float64")
        at_risk = _risk_per_unit(frame, decisions) * first[:, 1]
        frame["r_multiple"] = frame["net_pnl"] / at_risk.where(at_risk > 0.0)
        why = _decided(frame, "exit_time", decisions[_exits(decisions)], "action", "reason", "exit")
        frame["exit_reason"] = frame["exit_reason"].where(frame["exit_reason"] != "exit", why)
    return frame


def _instrument_trades(
    instrument: str, fills: pd.DataFrame, payments: pd.DataFrame, bars: BarColumns, adaptive: bool
) -> list[dict[str, Any]]:
    price = fills["price"].to_numpy(np.float64)
    legs = walk_legs(signed_quantity(fills), price)
    ts, paid_at = nanoseconds(fills["ts_event"]), nanoseconds(payments["ts_event"])
    paid = np.concatenate([[0.0], np.cumsum(payments["amount"].to_numpy(np.float64))])
    bounds = np.searchsorted(legs.trade, np.arange(legs.trade[-1] + 2))
    strategy, roles = fills["strategy"].tolist(), fills["role"].tolist()
    fee, slippage = fills["fee"].to_numpy(np.float64), fills["slippage"].to_numpy(np.float64)
    maker = (fills["liquidity"] == "MAKER").to_numpy(np.bool_)
    path = excursions(fills, instrument, bars, adaptive=adaptive)
    rows = []
    for k, (a, b) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        at, share = legs.fill[a:b], legs.share[a:b]
        opened = bool(legs.position[b - 1])
        entry, exit_ = int(ts[at[0]]), int(bars.ts_event[-1]) if opened else int(ts[at[-1]])
        row = _priced(legs, price, a, b, float(bars.close[-1]))
        # an entry at a close comes after that time's funding, one that filled inside the bar before it
        first = np.searchsorted(paid_at, entry, "left" if maker[at[0]] else "right")
        funding = paid[np.searchsorted(paid_at, exit_, "right")] - paid[first]
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
                "first_entry": _first_entry(legs, a, b, price, roles),
                "mfe": float(path[k, 0]),
                "mae": float(path[k, 1]),
                "r_multiple": np.nan,
                "exit_efficiency": row["gross_pnl"] / path[k, 0] if path[k, 0] > 0.0 else np.nan,
            }
        )
    return rows


def _first_entry(legs: Legs, a: int, b: int, price: Floats, roles: list[str]) -> tuple[float, float]:
    """Average price and quantity of what the entry order bought; additions, a role of their own, aside."""
    mine = [i for i in range(a, b) if legs.opens[i] and roles[legs.fill[i]] == "entry"] or [a]
    quantity = np.abs(legs.quantity[mine])
    return float(quantity @ price[legs.fill[mine]]) / float(quantity.sum()), float(quantity.sum())


def _priced(legs: Legs, price: Floats, a: int, b: int, last_close: float) -> dict[str, Any]:
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
    return {"entry": "reversal", "anchor": "stop"}.get(role, role)


def _risk_per_unit(frame: pd.DataFrame, decisions: pd.DataFrame) -> pd.Series:
    """What the last approval up to the entry put at risk for one unit, in quote currency; NaN without one."""
    risk, quantity = (
        _decided(frame, "entry_time", decisions, "approval", key, np.nan).astype("float64")
        for key in ("risk_amount", "quantity")
    )
    return risk / quantity


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
