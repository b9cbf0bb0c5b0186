"""The report's sections on what was done and what it cost: trades, costs, decisions."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from backtests import charts
from backtests.report_html import (
    Cell,
    Column,
    count,
    in_percent,
    note,
    number,
    pair,
    percent,
    plot,
    quantity,
    section,
    table,
    tone,
    utc,
)
from backtests.tables import (
    ResultBundle,
    cost_steps,
    costs_by_role,
    decision_counts,
    exits_by_reason,
    largest_trades,
)

__all__ = ["costs_section", "decisions_section", "trades_section"]

MAX_TRADE_ROWS = 500


def trades_section(bundle: ResultBundle) -> str:
    """How trades ended, and every trade (at most 500) with its reason."""
    positions, currency = bundle.positions, bundle.currency
    if positions.empty:
        return section("trades", "Trades", note("No trades were made in this run."))
    body = _exits_table(positions, currency) + _instruments_table(bundle.summary, currency)
    shown = largest_trades(positions, MAX_TRADE_ROWS)
    message = f"All {len(positions):,} trades." if len(positions) > 1 else "One trade."
    if len(shown) < len(positions):
        message = (
            f"{len(shown):,} of {len(positions):,} trades: those with the largest profit or loss, by "
            "time. positions.parquet has all of them."
        )
    body += note(
        f"{message} Amounts in {currency}, times UTC; funding is negative when paid. MFE and MAE: best and "
        "worst gross profit on the way; R: net profit over the first stop's risk; exit efficiency: gross "
        "profit over MFE. Click a heading to sort."
    )
    return section("trades", "Trades", body + _trades_table(shown))


def _exits_table(positions: pd.DataFrame, currency: str) -> str:
    columns = [
        Column("Side", False),
        Column("Left by", False),
        Column("Trades"),
        Column("Won"),
        Column("Win rate"),
    ]
    columns += [Column(f"Net PnL ({currency})"), Column(f"Average ({currency})")]
    rows = []
    for row in _rows(exits_by_reason(positions)):
        strong = "strong" if row.reason == "All" else ""
        cells = [str(row.side).capitalize(), str(row.reason), count(row.trades), count(row.wins)]
        cells.append(percent(100.0 * row.wins / row.trades, 1))
        amounts = [row.net_pnl, row.net_pnl / row.trades]
        toned = [Cell(number(v, sign=True), f"{tone(v)} {strong}".strip()) for v in amounts]
        rows.append([*(Cell(value, strong) for value in cells), *toned])
    return table(columns, rows)


def _instruments_table(summary: Mapping[str, Any], currency: str) -> str:
    """Per instrument, when there are several."""
    parts: Mapping[str, Mapping[str, Any]] = summary.get("per_instrument") or {}
    if len(parts) < 2:
        return ""
    columns = [Column("Instrument", False), Column("Trades"), Column("Win rate"), Column("Profit factor")]
    columns += [Column(f"{name} ({currency})") for name in ("Gross", "Fees", "Slippage", "Funding", "Net")]
    rows: list[list[str | Cell]] = []
    for name, s in parts.items():
        net = s.get("net_pnl")
        row = [name, count(s.get("trades")), percent(in_percent(s.get("win_rate")), 1)]
        row += [number(s.get("profit_factor")), number(s.get("gross_pnl"), sign=True)]
        row += [number(s.get("fees")), number(s.get("slippage")), number(s.get("funding"), sign=True)]
        rows.append([*row, Cell(number(net, sign=True), tone(net))])
    return table(columns, rows)


_TRADE_COLUMNS = (
    *(Column("#"), Column("Instrument", False), Column("Strategy", False), Column("Side", False)),
    *(Column("Entry", False), Column("Exit", False), Column("Reason", False), Column("Net"), Column("Net %")),
    *(Column("Bars"), Column("Quantity"), Column("Entry price"), Column("Exit price"), Column("Stop")),
    *(
        Column("Target"),
        Column("Gross"),
        Column("Fees"),
        Column("Slippage"),
        Column("Funding"),
        Column("Conf."),
        Column("MFE"),
        Column("MAE"),
        Column("R"),
        Column("Exit eff."),
    ),
)
_OMITTED_WHEN_ALIKE = {1: "instrument", 2: "strategy"}


def _trades_table(positions: pd.DataFrame) -> str:
    """All columns, but instrument and strategy only where they differ (the header names them)."""
    decimals = {name: _price_decimals(rows) for name, rows in positions.groupby("instrument")}
    omitted = {place for place, name in _OMITTED_WHEN_ALIKE.items() if positions[name].nunique() == 1}
    shown = [place for place in range(len(_TRADE_COLUMNS)) if place not in omitted]
    rows = [_trade_row(trade, decimals[trade.instrument]) for trade in _rows(positions)]
    columns = [_TRADE_COLUMNS[place] for place in shown]
    return table(columns, ([row[place] for place in shown] for row in rows), sortable=True)


def _trade_row(trade: Any, decimals: int) -> list[str | Cell]:
    prices = [trade.entry_price, trade.exit_price, trade.stop_price, trade.target_price]
    return [
        str(trade.trade),
        str(trade.instrument),
        str(trade.strategy),
        str(trade.side).capitalize(),
        utc(trade.entry_time),
        utc(trade.exit_time),
        str(trade.exit_reason),
        Cell(number(trade.net_pnl, sign=True), f"{tone(trade.net_pnl)} strong".strip()),
        Cell(number(trade.return_pct, sign=True), tone(trade.return_pct)),
        count(trade.bars_held),
        quantity(trade.quantity),
        *(number(value, decimals) for value in prices),
        number(trade.gross_pnl, sign=True),
        number(trade.fees),
        number(trade.slippage),
        number(trade.funding, sign=True),
        number(trade.confidence),
        number(trade.mfe, sign=True),
        number(trade.mae, sign=True),
        number(trade.r_multiple, sign=True),
        number(trade.exit_efficiency),
    ]


def _price_decimals(positions: pd.DataFrame) -> int:
    """Decimals that show the stops and targets (which lie on the tick) in full: 2 to 8."""
    columns = [c for c in ("stop_price", "target_price") if positions[c].notna().any()] or ["entry_price"]
    values = positions[columns].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    return next((d for d in range(2, 8) if np.allclose(values, np.round(values, d), rtol=0, atol=1e-9)), 8)


def costs_section(bundle: ResultBundle) -> str:
    """From gross to net, and which orders cost what."""
    if bundle.fills.empty:
        return section("costs", "Costs", note("Nothing was traded, so nothing was paid."))
    currency, summary = bundle.currency, bundle.summary
    steps = cost_steps(summary)
    traded = float((bundle.fills["quantity"] * bundle.fills["price"]).sum())
    start, trades = summary.get("starting_balance"), max(len(bundle.positions), 1)
    columns = [Column("", False), Column(f"Amount ({currency})"), Column("% of starting balance")]
    columns += [Column("Bps of traded notional"), Column(f"Per trade ({currency})")]
    rows: list[list[str | Cell]] = []
    for name, value in [*steps, ("Net PnL", sum(v for _, v in steps))]:
        in_start = 100.0 * value / start if start else None
        in_traded = 1e4 * value / traded if traded else None
        amounts = (value, in_start, in_traded, value / trades)
        rows.append([name, *(Cell(number(v, sign=True), tone(v)) for v in amounts)])
    body = note(
        "Gross PnL is what the fills' prices made. Slippage is charged on market and stop orders only, apart "
        "from the fee. Funding is shown as a change of the balance: negative when paid."
    )
    figure = charts.costs_figure(steps, currency=currency)
    body += plot("plot-costs", figure, "Waterfall from gross PnL to net PnL") + table(columns, rows)
    return section("costs", "Costs", body + "<h3>By order</h3>\n" + _roles_table(bundle.fills, currency))


def _roles_table(fills: pd.DataFrame, currency: str) -> str:
    columns = [
        Column("Order", False),
        Column("Liquidity", False),
        Column("Fills"),
        Column(f"Notional ({currency})"),
    ]
    columns += [Column(f"Fees ({currency})"), Column(f"Slippage ({currency})")]
    rows = [
        [
            str(r.role),
            str(r.liquidity).lower(),
            count(r.fills),
            number(r.notional, 0),
            number(r.fee),
            number(r.slippage),
        ]
        for r in _rows(costs_by_role(fills))
    ]
    return table(columns, rows)


def decisions_section(bundle: ResultBundle) -> str:
    """From forecasts to exits: how often each decision was taken and why."""
    counts = decision_counts(bundle.decisions, bundle.positions)
    if not counts["count"].any():
        message = (
            "No strategy wanted to trade: there is no intent, no refusal and no exit in the audit stream."
        )
        return section("decisions", "Decisions", note(message))
    figure = charts.decisions_figure(bundle.decisions, bundle.positions)
    body = note(
        "Counted from the audit stream (decisions.parquet): intents are wishes to enter, refusals name the "
        "check that failed, exits what ended the trade."
    )
    chart = plot("plot-decisions", figure, "Counts of intents, approvals, refusals and exits")
    columns = [Column("Stage", False), Column("Reason", False), Column("Count")]
    rows = [[r.stage, r.reason, count(r.count)] for r in _rows(counts)]
    return section("decisions", "Decisions", body + pair(chart, table(columns, rows)))


def _rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows as named tuples."""
    return iter(frame.itertuples(index=False))
