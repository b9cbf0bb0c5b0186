"""Figures over a result bundle's tables: the HTML report and the notebook draw the same ones.

Every builder takes plain tables (the parquet files of a bundle) and returns a plotly figure. Times are UTC,
money is in the quote currency. Blue and vermillion differ for colour-blind readers too, and shapes and words
carry the same meaning as the colours do.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from backtests.tables import (
    daily_returns,
    decision_counts,
    largest_trades,
    reliability_table,
    resample_bars,
    stop_path,
    thin_indices,
)
from catalog.store import BarColumns

Floats = NDArray[np.float64]

__all__ = [
    "calibration_figure",
    "candles_figure",
    "costs_figure",
    "daily_returns_figure",
    "decisions_figure",
    "equity_figure",
    "theme",
    "trade_figure",
]

GAIN, LOSS = "#2b83ba", "#d7621b"
MUTED, TARGET, ENTRY = "#8b95a1", "#009e73", "#f0b90b"
CANDLE_UP, CANDLE_DOWN = "#4f9fd2", "#e08c52"
MAX_CANDLES = 2_000
MAX_TRADE_CANDLES = 400
MAX_MARKED_TRADES = 2_000
MAX_LINE_POINTS = 2_000

_EXIT_STYLE = {
    "stop": ("x", LOSS),
    "target": ("circle", TARGET),
    "time": ("square", MUTED),
    "open": ("circle-open", MUTED),
}
_FLAT_BESIDE = 4  # times the strategy's own range
_OWN_LINE = {"color": GAIN, "width": 2}
_HOLD_LINE = {"color": MUTED, "width": 1.4}
_STOP_LINE = {"color": LOSS, "dash": "dot", "width": 1.3}
_TARGET_LINE = {"color": TARGET, "dash": "dash", "width": 1.3}
_MARKER_SIZES = ((20, 10), (100, 8), (500, 6))  # up to so many trades: pixels
_OTHER_EXIT_STYLE = ("diamond", "#b07aa1")
_DAY_MS = 86_400_000
_DAYS_LABELLED = 12
_WAITING = "Buy-and-hold (click to show)"
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
_TIME_HOVER = "%Y-%m-%d %H:%M"
_THEMES = {
    "light": {"paper": "#ffffff", "text": "#2d3640", "grid": "#e6eaee", "line": "#c3cad2"},
    "dark": {"paper": "#171d26", "text": "#cdd5de", "grid": "#29323d", "line": "#465260"},
}


def theme(mode: Literal["light", "dark"]) -> dict[str, Any]:
    """The plotly template of the report's light or dark appearance, as a plain dictionary."""
    colour = _THEMES[mode]
    axis = {
        "gridcolor": colour["grid"],
        "linecolor": colour["line"],
        "zerolinecolor": colour["line"],
        "tickcolor": colour["line"],
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout = {
        "paper_bgcolor": colour["paper"],
        "plot_bgcolor": colour["paper"],
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', sans-serif",
            "size": 12,
            "color": colour["text"],
        },
        "colorway": [GAIN, LOSS, TARGET, ENTRY, "#b07aa1", MUTED],
        "xaxis": axis,
        "yaxis": axis,
        "hoverlabel": {"bgcolor": colour["paper"], "font": {"color": colour["text"]}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        "margin": {"l": 64, "r": 16, "t": 54, "b": 40},
        "separators": ".,",
    }
    return {"layout": layout}


def equity_figure(equity: pd.DataFrame, *, currency: str = "") -> go.Figure:
    """Equity against buy-and-hold, the drawdown of both, and the position as a share of equity.

    `equity` is the bundle's equity table. Where buy-and-hold moved so much more that the strategy would look
    flat beside it, a panel shows the strategy at its own scale, and the drawdown is its own only. Long runs
    are thinned to about 2,000 points a line, keeping each stretch's lowest and highest value, so no drawdown
    is smoothed away.
    """
    alone = _range(equity["benchmark"]) > _FLAT_BESIDE * _range(equity["equity"]) > 0
    heights = [0.36, 0.26, 0.22, 0.16] if alone else [0.56, 0.24, 0.20]
    figure = _subplots(len(heights), heights=heights)
    times, unit = _epoch_ms(equity["ts_event"]), f" ({currency})" if currency else ""
    for name, column, line in (("Buy-and-hold", "benchmark", _HOLD_LINE), ("Strategy", "equity", _OWN_LINE)):
        values = equity[column].to_numpy(dtype=np.float64)
        group: dict[str, Any] = {"name": name, "legendgroup": column, "line": line}
        figure.add_trace(_line(times, values, hover=",.2f", **group), row=1, col=1)
        if column == "equity" or not alone:
            fill = "tozeroy" if column == "equity" else None
            drawdown = _line(times, _drawdown_pct(values), hover=".2f", fill=fill, showlegend=False, **group)
            figure.add_trace(drawdown, row=len(heights) - 1, col=1)
        if alone and column == "equity":
            figure.add_trace(_line(times, values, hover=",.2f", showlegend=False, **group), row=2, col=1)
            figure.update_yaxes(title_text=f"Strategy{unit}", row=2, col=1)
    share = 100.0 * equity["position_notional"].to_numpy(dtype=np.float64) / _positive(equity["equity"])
    line = {"color": GAIN, "width": 1}
    position = _line(times, share, line=line, hover=".1f", name="Position", showlegend=False)
    figure.add_trace(position, row=len(heights), col=1)
    figure.update_xaxes(type="date")
    figure.update_xaxes(title_text="Time (UTC)", row=len(heights), col=1)
    figure.update_yaxes(title_text=f"Equity{unit}", row=1, col=1)
    figure.update_yaxes(title_text="Drawdown (%)", rangemode="tozero", row=len(heights) - 1, col=1)
    figure.update_yaxes(title_text="Position (%)", row=len(heights), col=1)
    height = 740 if alone else 620
    return figure.update_layout(height=height, hovermode="x unified", legend={"traceorder": "reversed"})


def daily_returns_figure(equity: pd.DataFrame, starting_balance: float | None = None) -> go.Figure:
    """Return of each UTC day in per cent; the outer days may be partial. Buy-and-hold waits in the legend."""
    figure = _figure()
    returns = daily_returns(equity, starting_balance)
    days = [f"{day:%Y-%m-%d}" for day in returns.index]
    figure.add_bar(x=days, y=_rounded(returns["strategy"], 4), name="Strategy", marker_color=GAIN)
    figure.add_bar(x=days, y=_rounded(returns["benchmark"], 4), name=_WAITING, marker_color=MUTED)
    figure.update_traces(hovertemplate="%{y:.2f} %")
    figure.update_traces(visible="legendonly", selector={"name": _WAITING})
    figure.update_yaxes(title_text="Return (%)", zeroline=True)
    figure.update_xaxes(title_text="Day (UTC)", type="date")
    if len(days) <= _DAYS_LABELLED:
        figure.update_xaxes(dtick=_DAY_MS, tickformat="%b %-d")
    return figure.update_layout(height=300, hovermode="x unified", bargap=0.25, showlegend=True)


def candles_figure(bars: BarColumns, positions: pd.DataFrame, *, max_candles: int = MAX_CANDLES) -> go.Figure:
    """One instrument's whole period with its trades' entries, exits, stops and targets.

    `bars` are the instrument's, `positions` its rows of the positions table. Bars are merged to at most
    `max_candles` candles on UTC-aligned steps; of more than 2,000 trades the largest by net PnL are marked.
    """
    figure = _figure()
    candles, candle_ns = resample_bars(bars, max_candles)
    figure.add_trace(_candlestick(candles, candle_ns))
    if len(bars):
        trades = largest_trades(positions, MAX_MARKED_TRADES)
        last_ms = bars.ts_event[-1] / 1e6
        _add_levels(figure, trades, last_ms)
        _add_entries(figure, trades)
        _add_exits(figure, trades, last_ms)
    _price_axes(figure, candles)
    return figure.update_layout(height=520)


def trade_figure(bars: BarColumns, trade: pd.Series, decisions: pd.DataFrame | None = None) -> go.Figure:
    """One trade at the original bar length (merged beyond 400 bars) with some bars before and after it.

    `trade` is one row of the positions table, `bars` those of its instrument. With the audit's `decisions`
    the stop is drawn where it stood at each time, else where it stood first.
    """
    figure = _figure()
    window = _window(bars, trade)
    candles, candle_ns = resample_bars(window, MAX_TRADE_CANDLES)
    figure.add_trace(_candlestick(candles, candle_ns))
    trades = trade.to_frame().T
    last_ms = window.ts_event[-1] / 1e6 if len(window) else float("nan")
    if decisions is None:
        _add_levels(figure, trades, last_ms)
    else:
        stop = stop_path(trade, decisions)
        figure.add_scatter(
            x=_epoch_ms(stop["ts_event"]),
            y=stop["price"].to_numpy(),
            mode="lines",
            name="Stop",
            line={**_STOP_LINE, "shape": "hv"},
            xhoverformat=_TIME_HOVER,
        )
        _add_levels(figure, trades.assign(stop_price=np.nan), last_ms)
    _add_entries(figure, trades)
    _add_exits(figure, trades, last_ms)
    _price_axes(figure, candles)
    return figure.update_layout(height=380)


def costs_figure(steps: Sequence[tuple[str, float]], *, currency: str = "") -> go.Figure:
    """A waterfall from gross to net: `steps` are (name, signed change), gross PnL first; net is their sum."""
    names = [name for name, _ in steps] + ["Net PnL"]
    values = [float(value) for _, value in steps] + [float(sum(value for _, value in steps))]
    figure = _figure()
    figure.add_waterfall(
        x=names,
        y=values,
        measure=["absolute", *["relative"] * (len(steps) - 1), "total"],
        text=[f"{value:+,.2f}".replace("-", "\u2212") if value else "0" for value in values],
        textposition="outside",
        cliponaxis=False,
        increasing={"marker": {"color": TARGET}},
        decreasing={"marker": {"color": LOSS}},
        totals={"marker": {"color": MUTED}},
        connector={"line": {"color": MUTED, "width": 1}},
        hovertemplate="%{x}: %{y:,.2f}<extra></extra>",
    )
    figure.update_yaxes(title_text=currency or "PnL", zeroline=True)
    return figure.update_layout(height=340, showlegend=False)


def calibration_figure(model_test: pd.DataFrame, *, n_bins: int = 10) -> go.Figure:
    """Reliability diagram with counts, out of sample: observed frequency against predicted probability.

    `model_test` holds one model's rows on one instrument; rows without an outcome are left out. Bins hold
    equally many forecasts; bars are Wilson 95 % intervals (too narrow, as outcomes overlap in time).
    """
    table = reliability_table(model_test, n_bins)
    figure = _subplots(2, heights=[0.74, 0.26])
    low, high = _probability_range(table)
    ideal = {"color": MUTED, "dash": "dash", "width": 1.5}
    figure.add_trace(
        go.Scatter(x=[low, high], y=[low, high], mode="lines", line=ideal, name="Perfect"), row=1, col=1
    )
    above, below = table["high"] - table["observed"], table["observed"] - table["low"]
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.2}
    figure.add_trace(
        go.Scatter(
            x=table["predicted"],
            y=table["observed"],
            error_y=error,
            customdata=table["count"],
            mode="lines+markers",
            marker={"color": GAIN, "size": 8},
            line={"color": GAIN},
            name="Model",
            hovertemplate="said %{x:.3f}<br>came %{y:.3f}<br>%{customdata:,} forecasts<extra></extra>",
        ),
        row=1,
        col=1,
    )
    figure.add_trace(_probability_histogram(model_test), row=2, col=1)
    figure.update_xaxes(title_text="Predicted probability", row=2, col=1)
    figure.update_yaxes(title_text="Observed frequency", row=1, col=1)
    figure.update_yaxes(title_text="Forecasts", row=2, col=1)
    return figure.update_layout(height=460)


def decisions_figure(decisions: pd.DataFrame, positions: pd.DataFrame) -> go.Figure:
    """Horizontal bars: how many intents, approvals, refusals (by check) and exits (by reason) there were."""
    counts = decision_counts(decisions, positions)
    colour = {"Intent": GAIN, "Approval": TARGET, "Refusal": LOSS, "Exit": MUTED, "Failure": "#b07aa1"}
    figure = _figure()
    for stage in dict.fromkeys(counts["stage"]):
        rows = counts[counts["stage"] == stage]
        figure.add_bar(
            y=[f"{stage}: {reason}" if reason else stage for reason in rows["reason"]],
            x=rows["count"].tolist(),
            orientation="h",
            marker_color=colour[stage],
            text=[f"{count:,}" for count in rows["count"]],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:,}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="Count", rangemode="tozero")
    return figure.update_layout(
        height=110 + 30 * max(len(counts), 1), showlegend=False, margin={"r": 70, "t": 30}
    )


def _figure() -> go.Figure:
    return go.Figure(layout={"template": theme("light")})


def _subplots(rows: int, *, heights: list[float]) -> go.Figure:
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.05)
    return figure.update_layout(template=theme("light"))


def _epoch_ms(times: Any) -> Floats:
    """UTC times as milliseconds since 1970, NaN for a missing one: what a plotly date axis shows as UTC."""
    index = pd.DatetimeIndex(times).as_unit("ns")
    return np.where(index.isna(), np.nan, index.asi8 / 1e6)


def _rounded(values: Any, decimals: int) -> Floats:
    return np.round(np.asarray(values, dtype=np.float64), decimals)


def _positive(values: pd.Series) -> Floats:
    array = values.to_numpy(dtype=np.float64)
    return np.where(array > 0, array, np.nan)


def _range(values: pd.Series) -> float:
    return float(values.max() - values.min())


def _drawdown_pct(values: Floats) -> Floats:
    return 100.0 * (values / np.maximum.accumulate(values) - 1.0) if len(values) else values


def _line(times: Floats, values: Floats, *, hover: str, **options: Any) -> go.Scatter:
    keep = thin_indices(values, MAX_LINE_POINTS)
    return go.Scatter(
        x=times[keep],
        y=_rounded(values[keep], 4),
        mode="lines",
        xhoverformat=_TIME_HOVER,
        yhoverformat=hover,
        **options,
    )


def _candlestick(candles: BarColumns, candle_ns: int) -> go.Candlestick:
    """Candles drawn at the middle of their span, so that fills at a bar's close fall between two of them."""
    return go.Candlestick(
        x=(candles.ts_event - candle_ns / 2) / 1e6,
        open=candles.open,
        high=candles.high,
        low=candles.low,
        close=candles.close,
        name="Price",
        increasing={"line": {"color": CANDLE_UP, "width": 1}, "fillcolor": CANDLE_UP},
        decreasing={"line": {"color": CANDLE_DOWN, "width": 1}, "fillcolor": CANDLE_DOWN},
        showlegend=False,
        xhoverformat=_TIME_HOVER,
        yhoverformat=",",
    )


def _window(bars: BarColumns, trade: pd.Series) -> BarColumns:
    """The trade's bars with a third of their number, at least 20, on either side."""
    if not len(bars):
        return bars
    entry, exit_ = _epoch_ms([trade["entry_time"], trade["exit_time"]]) * 1e6
    first = int(np.searchsorted(bars.ts_event, entry))
    last = len(bars) if np.isnan(exit_) else int(np.searchsorted(bars.ts_event, exit_, side="right"))
    margin = max(20, (last - first) // 3)
    return bars.slice(max(0, first - margin), min(len(bars), last + margin))


def _segments(starts: Any, ends: Any, values: Any) -> tuple[Floats, Floats]:
    """x and y of one level line a trade, with NaN between them so that they do not connect."""
    gap = np.full(len(starts), np.nan)
    level = np.asarray(values, dtype=np.float64)
    return np.column_stack([starts, ends, gap]).ravel(), np.column_stack([level, level, gap]).ravel()


def _add_levels(figure: go.Figure, trades: pd.DataFrame, last_ms: float) -> None:
    starts = _epoch_ms(trades["entry_time"])
    ends = _exit_ms(trades, last_ms)
    levels = (("Stop", "stop_price", _STOP_LINE), ("Target", "target_price", _TARGET_LINE))
    for name, column, line in levels:
        known = trades[column].notna().to_numpy()
        if known.any():
            x, y = _segments(starts[known], ends[known], trades.loc[known, column])
            figure.add_scatter(
                x=x, y=y, mode="lines", name=name, line=line, xhoverformat=_TIME_HOVER, yhoverformat=",.8~f"
            )
    _add_paths(figure, trades, starts, ends)


def _add_paths(figure: go.Figure, trades: pd.DataFrame, starts: Floats, ends: Floats) -> None:
    """A straight line from each entry to its exit, winners and losers apart."""
    won = (trades["net_pnl"] > 0).to_numpy()
    gap = np.full(len(trades), np.nan)
    prices = [trades[c].to_numpy(dtype=np.float64) for c in ("entry_price", "exit_price")]
    x, y = np.column_stack([starts, ends, gap]), np.column_stack([*prices, gap])
    for name, mask, colour in (("Won", won, GAIN), ("Lost", ~won, LOSS)):
        if mask.any():
            figure.add_scatter(
                x=x[mask].ravel(),
                y=y[mask].ravel(),
                mode="lines",
                name=name,
                line={"color": colour, "width": 1.6},
                opacity=0.75,
                hoverinfo="skip",
            )


def _exit_ms(trades: pd.DataFrame, last_ms: float) -> Floats:
    ends = _epoch_ms(trades["exit_time"])
    return np.where(np.isnan(ends), last_ms, ends)


def _add_entries(figure: go.Figure, trades: pd.DataFrame) -> None:
    marker = {"size": _marker_size(trades) + 1, "color": ENTRY, "line": {"color": "#3a3200", "width": 1}}
    for side, symbol in (("LONG", "triangle-up"), ("SHORT", "triangle-down")):
        rows = trades[trades["side"] == side]
        if len(rows):
            figure.add_scatter(
                x=_epoch_ms(rows["entry_time"]),
                y=rows["entry_price"].to_numpy(dtype=np.float64),
                mode="markers",
                name=f"{side.capitalize()} entry",
                marker={**marker, "symbol": symbol},
                customdata=rows[["trade"]].to_numpy(dtype=np.float32),
                hovertemplate=f"trade %{{customdata[0]}}, {side.lower()} entry<br>%{{x|{_TIME_HOVER}}} UTC"
                "<br>at %{y:,}<extra></extra>",
            )


def _add_exits(figure: go.Figure, trades: pd.DataFrame, last_ms: float) -> None:
    ends = _exit_ms(trades, last_ms)
    marker = {"size": _marker_size(trades), "line": {"color": "#ffffff", "width": 0.8}}
    for reason in sorted(set(trades["exit_reason"].astype(str))):
        mask = (trades["exit_reason"].astype(str) == reason).to_numpy()
        symbol, colour = _EXIT_STYLE.get(reason, _OTHER_EXIT_STYLE)
        label = _plotly_text(f"Exit: {reason}")
        figure.add_scatter(
            x=ends[mask],
            y=trades.loc[mask, "exit_price"].to_numpy(dtype=np.float64),
            mode="markers",
            name=label,
            marker={**marker, "symbol": symbol, "color": colour},
            customdata=_rounded(trades.loc[mask, ["trade", "net_pnl", "return_pct"]], 4),
            hovertemplate=f"trade %{{customdata[0]}}, {label}<br>%{{x|{_TIME_HOVER}}} UTC<br>at %{{y:,}}"
            "<br>net %{customdata[1]:+,.2f} (%{customdata[2]:+.2f} %)<extra></extra>",
        )


def _marker_size(trades: pd.DataFrame) -> int:
    """Smaller marks where there are many of them."""
    return next((size for most, size in _MARKER_SIZES if len(trades) <= most), 4)


def _plotly_text(value: str) -> str:
    """Text that plotly shows as it is: its labels understand some HTML and its hover templates braces."""
    return value.replace("&", "&amp;").replace("<", "&lt;").replace("{", "(").replace("}", ")")


def _price_axes(figure: go.Figure, candles: BarColumns) -> None:
    figure.update_xaxes(type="date", rangeslider_visible=False, title_text="Time (UTC)")
    figure.update_yaxes(title_text="Price", tickformat=",.8~f")
    if len(candles) > 1:
        first, last = candles.ts_event[[0, -1]] / 1e6
        margin = (last - first) / 60
        figure.update_xaxes(range=[first - margin, last + margin])


def _probability_range(table: pd.DataFrame) -> tuple[float, float]:
    if table.empty:
        return 0.0, 1.0
    values = table[["predicted", "observed"]].to_numpy()
    return max(0.0, float(values.min()) - 0.02), min(1.0, float(values.max()) + 0.02)


def _probability_histogram(model_test: pd.DataFrame, n_bins: int = 40) -> go.Bar:
    values = model_test["probability"].dropna().to_numpy(dtype=np.float64)
    counts, edges = np.histogram(values, bins=n_bins)
    centres = (edges[:-1] + edges[1:]) / 2
    return go.Bar(
        x=centres.round(5),
        y=counts.astype(np.int32),
        marker_color=MUTED,
        showlegend=False,
        hovertemplate="%{x:.3f}: %{y:,} forecasts<extra></extra>",
    )
