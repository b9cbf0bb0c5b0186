"""The report's head and its sections on equity, returns, candles and provenance: bundle in, HTML out."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from backtests import charts
from backtests.report_html import (
    Column,
    Tile,
    count,
    in_percent,
    money,
    note,
    number,
    percent,
    plot,
    section,
    table,
    text,
    tiles,
    tone,
    utc,
)
from backtests.tables import (
    ResultBundle,
    daily_returns,
    monthly_returns,
    notable_trades,
)
from catalog.store import BarColumns

__all__ = [
    "banners",
    "candles_section",
    "equity_section",
    "header",
    "key_figures",
    "provenance_section",
    "returns_section",
]

MAX_TRADE_ROWS = 500
MAX_DAYS_SHOWN = 92
SYNTHETIC = (
    "Synthetic market with {planted}: these results say nothing about real markets. "
    "They show that the parts work together, no more."
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def header(bundle: ResultBundle) -> str:
    """What was traded, when, and with how much."""
    summary = bundle.summary
    traded = f"{_listed(summary.get('strategy'))} on {_listed(summary.get('instruments'))}"
    period = f"{utc(summary.get('start'))} to {utc(summary.get('end'))} UTC"
    balance = f"starting with {money(summary.get('starting_balance'), bundle.currency)}"
    bars = f"{count(summary.get('bars'))} bars of {_listed(summary.get('bar'))}"
    facts = " \u00b7 ".join([period, bars, balance])
    return (
        f"<h1>{text(bundle.name)}</h1>\n"
        f'<p class="traded">{text(traded)}</p>\n<p class="facts">{text(facts)}</p>\n'
    )


def banners(bundle: ResultBundle) -> str:
    """What a reader has to know first: synthetic data, the run's warnings, a run without trades."""
    parts = []
    if bundle.summary.get("synthetic"):
        planted = "a weak planted signal" if bundle.summary.get("planted_signal") else "no signal to learn"
        said = text(SYNTHETIC.format(planted=planted))
        message = f"<strong>Not a real market.</strong> {said}"
        parts.append(f'<p class="banner synthetic" role="note">{message}</p>')
    for warning in bundle.summary.get("warnings") or ():
        parts.append(f'<p class="banner" role="note"><strong>Warning:</strong> {text(warning)}</p>')
    if bundle.positions.empty:
        parts.append('<p class="banner" role="note">No trades were made in this run.</p>')
    return "\n".join(parts) + "\n"


def key_figures(bundle: ResultBundle) -> str:
    """The tiles: result against buy-and-hold, risk, costs, trades."""
    return tiles([*_result_tiles(bundle), *_trade_tiles(bundle), *_cost_tiles(bundle)])


def _result_tiles(bundle: ResultBundle) -> list[Tile]:
    s, currency = bundle.summary, bundle.currency
    made, held = s.get("return_pct"), s.get("benchmark_return_pct")
    grown = f"{money(s.get('starting_balance'), '')} to {money(s.get('final_equity'), currency)}"
    daily = "daily returns, 365 days a year"
    return [
        Tile("Return", percent(made, sign=True), f"buy-and-hold {percent(held, sign=True)}", tone(made)),
        Tile("Net PnL", money(s.get("net_pnl"), currency, sign=True), grown, tone(s.get("net_pnl"))),
        Tile("Sharpe", number(s.get("sharpe")), daily, tone(s.get("sharpe"))),
        Tile("Sortino", number(s.get("sortino")), daily, tone(s.get("sortino"))),
        Tile("Calmar", number(s.get("calmar")), "annual return / max drawdown", tone(s.get("calmar"))),
        Tile("Max drawdown", percent(s.get("max_drawdown_pct")), "from the highest equity so far"),
        Tile("PSR", percent(in_percent(s.get("psr")), 1), "P(true Sharpe > 0)"),
    ]


def _trade_tiles(bundle: ResultBundle) -> list[Tile]:
    s = bundle.summary
    won = int((bundle.positions["net_pnl"] > 0).sum())
    rate = f"{number(s.get('trades_per_day'))} a day, {count(s.get('orders'))} orders"
    still_open = f", {count(s.get('open_trades'))} still open" if s.get("open_trades") else ""
    return [
        Tile("Trades", count(s.get("trades")), rate + still_open),
        Tile("Win rate", percent(in_percent(s.get("win_rate")), 1), f"{count(won)} won after costs"),
        Tile("Profit factor", number(s.get("profit_factor")), "won / lost, after costs"),
    ]


def _cost_tiles(bundle: ResultBundle) -> list[Tile]:
    s, currency = bundle.summary, bundle.currency
    funding = s.get("funding")
    side = {"loss": "paid", "gain": "received"}.get(tone(funding), "nothing due")
    return [
        Tile("Fees", money(s.get("fees"), currency), _of_start(s, "fees")),
        Tile("Slippage", money(s.get("slippage"), currency), _of_start(s, "slippage")),
        Tile("Funding", money(abs(funding) if funding else funding, currency), side),
        Tile("Exposure", percent(s.get("exposure_pct"), 1), "of the time in a position"),
        Tile("Turnover", number(s.get("turnover"), 1), "traded / starting balance"),
    ]


def equity_section(bundle: ResultBundle) -> str:
    """Equity against buy-and-hold and how far both were under water."""
    if bundle.equity.empty:
        return section(
            "equity", "Equity and drawdown", note("The run has no bars, so there is no equity to show.")
        )
    body = note(
        "Marked to market at every bar's close, costs and funding included. Buy-and-hold starts with the "
        "same balance, pays the taker cost once and no funding. Drawdown is from each line's own peak."
    )
    figure = charts.equity_figure(bundle.equity, currency=bundle.currency)
    body += plot("plot-equity", figure, "Equity, drawdown and position over time")
    return section("equity", "Equity and drawdown", body)


def returns_section(bundle: ResultBundle) -> str:
    """Monthly returns as a table, daily ones as bars when the run is short."""
    if bundle.equity.empty:
        return section("returns", "Returns", note("The run has no bars, so there are no returns to show."))
    start = bundle.summary.get("starting_balance")
    months = monthly_returns(bundle.equity, start)
    days = daily_returns(bundle.equity, start)
    body = note(
        "Per cent of each UTC month; buy-and-hold below. The first and the last month may be partial."
    )
    body += _months_table(months)
    if len(days) == 1:
        body += note("The run covers a single day: ratios from daily returns need more of them.")
    elif len(days) <= MAX_DAYS_SHOWN:
        figure = charts.daily_returns_figure(bundle.equity, start)
        body += "<h3>Day by day</h3>\n" + plot("plot-days", figure, "Daily returns in per cent")
    return section("returns", "Returns", body)


def _months_table(months: pd.DataFrame) -> str:
    largest = max(float(months["strategy"].abs().max()), 1e-9)
    index = pd.DatetimeIndex(months.index)
    heads = "".join(f'<th scope="col" class="n">{m}</th>' for m in (*_MONTHS, "Year"))
    rows = []
    for year in sorted(set(index.year)):
        inside = months[index.year == year]
        by_month = dict(
            zip(pd.DatetimeIndex(inside.index).month, inside.itertuples(index=False), strict=True)
        )
        cells = [_month_cell(by_month.get(m), largest) for m in range(1, 13)]
        whole = 100.0 * ((1.0 + inside / 100.0).prod() - 1.0)
        cells.append(_month_cell((whole["strategy"], whole["benchmark"]), None))
        rows.append(f'<tr><th scope="row">{year}</th>{"".join(cells)}</tr>')
    head = f'<thead><tr><th scope="col">Year</th>{heads}</tr></thead>'
    return f'<div class="scroll"><table class="months">{head}<tbody>{"".join(rows)}</tbody></table></div>\n'


def _month_cell(returns: Any, largest: float | None) -> str:
    if returns is None:
        return '<td class="n"></td>'
    made, held = returns
    shade = "" if largest is None else f' style="--strength:{min(abs(made) / largest, 1.0) * 0.6:.2f}"'
    kind = f"n strong {tone(made)}" if largest is None else f"n heat {tone(made)}"
    return (
        f'<td class="{kind.strip()}"{shade}>{number(made, sign=True)}'
        f"<small>{number(held, sign=True)}</small></td>"
    )


def candles_section(bundle: ResultBundle, bars: Mapping[str, BarColumns], missing: str) -> str:
    """Candles with all trades per instrument, then some trades up close; `missing` says why bars lack."""
    body = note(missing) if missing else ""
    positions = bundle.positions
    for place, (instrument, columns) in enumerate(bars.items()):
        trades = positions[positions["instrument"] == instrument]
        body += f"<h3>{text(instrument)}</h3>\n"
        if not len(columns):
            body += note("No bars of this instrument in the run's period.")
            continue
        body += note(_candles_note(len(columns), len(trades)))
        body += plot(
            f"plot-candles-{place}", charts.candles_figure(columns, trades), f"Candles of {instrument}"
        )
    if bars:
        body += _closer_look(bundle, bars)
    return section("candles", "Candles and trades", body)


def _candles_note(n_bars: int, n_trades: int) -> str:
    parts = []
    if n_bars > charts.MAX_CANDLES:
        parts.append(f"{n_bars:,} bars merged to at most {charts.MAX_CANDLES:,} candles.")
    if not n_trades:
        parts.append("No trades here.")
    else:
        parts.append("Lines are each trade's first stop and first target while it was open.")
    if n_trades > charts.MAX_MARKED_TRADES:
        parts.append(
            f"Of {n_trades:,} trades the {charts.MAX_MARKED_TRADES:,} largest by net PnL are marked."
        )
    return " ".join(parts) + " Drag to zoom, double-click to zoom out, click a legend entry to hide it."


def _closer_look(bundle: ResultBundle, bars: Mapping[str, BarColumns]) -> str:
    parts = []
    for place, (why, row) in enumerate(notable_trades(bundle.positions)):
        trade = bundle.positions.iloc[row]
        columns = bars.get(str(trade["instrument"]))
        if columns is None or not len(columns):
            continue
        figure = charts.trade_figure(columns, trade, bundle.decisions)
        title = f"{why}: trade {trade['trade']}"
        parts.append(
            f"<article><h4>{text(title)}</h4>\n{note(_trade_line(trade, bundle.currency))}"
            f"{plot(f'plot-trade-{place}', figure, title)}</article>\n"
        )
    if not parts:
        return ""
    intro = note("At the original bar length where it fits (merged to at most 400 candles otherwise).")
    return f'<h3>A closer look</h3>\n{intro}<div class="pairs">{"".join(parts)}</div>\n'


def _trade_line(trade: pd.Series, currency: str) -> str:
    parts = [
        f"{str(trade['side']).capitalize()} {trade['instrument']}",
        f"{utc(trade['entry_time'])} to {utc(trade['exit_time'])} UTC, {count(trade['bars_held'])} bars",
        f"left by {trade['exit_reason']}",
        f"net {money(trade['net_pnl'], currency, sign=True)} ({percent(trade['return_pct'], sign=True)})",
    ]
    return " \u00b7 ".join(parts)


def provenance_section(bundle: ResultBundle) -> str:
    """Hashes, versions and seed from summary and manifest, and the resolved configuration."""
    hashes = {k: v for k, v in bundle.summary.items() if k.endswith("_hash") or k == "seed"}
    rows = [[name, _plain(value)] for name, value in _flat({**bundle.manifest, **hashes})]
    body = (
        table([Column("What", False), Column("Value", False)], sorted(rows)) if rows else note("No manifest.")
    )
    config = (
        f"<details><summary>Configuration (YAML)</summary><pre>{text(bundle.config_text)}</pre></details>\n"
    )
    return section("provenance", "Configuration and hashes", f'<div class="hashes">{body}</div>{config}')


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _plain(value: Any) -> str:
    return _listed(value) if isinstance(value, list | tuple) else str(value)


def _listed(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(item) for item in value)
    return "n/a" if value is None else str(value)


def _of_start(summary: Mapping[str, Any], key: str) -> str:
    value, start = summary.get(key), summary.get("starting_balance")
    return f"{percent(100.0 * value / start)} of the start" if value is not None and start else ""
