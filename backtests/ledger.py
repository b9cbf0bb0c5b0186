"""The books of a run: the equity curve from what the engine recorded, and the checks on it.

Nothing here is a second truth: quantities, prices and commissions are the engine's own, and `reconcile`
refuses a curve whose end differs from the engine's account. Tables carry times as datetime64[ns, UTC]; a
fill's time is the close of the bar it happened in. Costs are positive when paid; funding is a cash flow,
negative when paid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import CryptoPerpetual, CurrencyPair, InstrumentId
from numpy.typing import NDArray

from backtests.legs import RESTING_ROLES, nanoseconds, rows_of, signed_quantity, walk_legs
from backtests.venue import BINANCE
from catalog.store import BarColumns
from configs.errors import RunFailedError
from configs.schema import VenueConfig

__all__ = [
    "equity_curve",
    "liquidation_breach",
    "reconcile",
    "reconcile_trades",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        fills, payments = rows_of(fills, instrument), rows_of(payments, instrument)
        legs = walk_legs(signed_quantity(fills), fills["price"].to_numpy(np.float64))
        cost = fills["fee"].to_numpy(np.float64) + fills["slippage"].to_numpy(np.float64)
        return cls(
            ts=nanoseconds(fills["ts_event"])[legs.fill],
            flow=_cumulated(legs.realized - cost[legs.fill] * legs.share),
            position=np.concatenate([[0.0], legs.position]),
            average=np.concatenate([[0.0], legs.average]),
            paid_at=nanoseconds(payments["ts_event"]),
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
        worst = _worst_prices(columns, times, position, rows_of(fills, name))
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
    legs = walk_legs(signed_quantity(fills), fills["price"].to_numpy(np.float64))
    resting = fills["role"].isin(RESTING_ROLES).to_numpy()[legs.fill]
    ended = legs.fill[resting & ~legs.opens & (legs.position == 0.0)]
    at = np.searchsorted(columns.ts_event, nanoseconds(fills["ts_event"])[ended])
    left = fills["price"].to_numpy(np.float64)[ended]
    worse = np.where(long[at], np.minimum(columns.open[at], left), np.maximum(columns.open[at], left))
    worst[rows[at]] = worse
    return worst


def reconcile(
    engine: BacktestEngine, equity: pd.DataFrame, closes: Mapping[str, float] | None = None
) -> None:
    """Check the curve's end against the engine's own account: one truth, or no result.

    Cash, position value and equity must agree to 0.01 of the quote currency or one part in a million. Where
    there are quotes the engine marks positions to bid and ask, the curve marks them to the last trade: with
    the last `closes` the engine's own quantities are valued at these. Raises RunFailedError naming what
    differs, with both numbers.
    """
    portfolio, last = engine.portfolio, equity.iloc[-1]
    currency = engine.cache.instruments(BINANCE)[0].quote_currency
    account: Any = portfolio.account(BINANCE)
    marked = portfolio.mark_values(BINANCE).get(currency)
    value = 0.0 if marked is None else marked.as_double()
    whole = portfolio.equity(BINANCE)[currency].as_double() + (value if account.is_cash_account() else 0.0)
    if closes is not None:
        at_closes = sum(
            float(portfolio.net_position(InstrumentId.from_str(name))) * close
            for name, close in closes.items()
        )
        value, whole = at_closes, whole + at_closes - value
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


def reconcile_trades(positions: pd.DataFrame, equity: pd.DataFrame, starting_balance: float) -> None:
    """Check that the trades' net profits add up to the change of the equity: no cost and no funding is lost.

    To 0.01 of the quote currency or one part in a million. RunFailedError with both numbers.
    """
    ours, whole = float(positions["net_pnl"].sum()), float(equity["equity"].iloc[-1]) - starting_balance
    if not abs(ours - whole) <= max(0.01, 1e-6 * abs(starting_balance)):
        raise RunFailedError(
            f"the trades' net profits add up to {ours:.8f}, the equity changed by {whole:.8f}; "
            "no result is written"
        )
