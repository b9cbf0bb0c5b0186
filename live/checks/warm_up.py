"""Preflight's check of the bars to warm up on: whether features begin as they would be in a backtest."""

import time

import numpy as np
from numpy.typing import NDArray

from actors.forecaster import ForecastSpec
from catalog.columns import MINUTE_NS, interval_ns, utc_text
from catalog.instruments import symbol_of
from live.checks.report import Context, Row, failed, ok, warned
from live.history import stored_before
from live.venues import VenueKind
from models.settling import settling_bars, unsettled

__all__ = ["check_warm_up"]

type Times = NDArray[np.int64]

_CHECK = "warm-up"
_MS_NS = 1_000_000
_TOLD_PART = 10  # a tenth of what is let pass is worth a word


def check_warm_up(context: Context) -> Row:
    """Enough closed bars up to now, without a hole, over REST, or there with the catalog's."""
    if not context.specs:
        return ok(_CHECK, "no strategy looks at features")
    count = context.setup.history_bars(context.specs)
    rows = [_history_row(context, name, count) for name in context.specs]
    for outcome in ("failed", "warned"):
        first = next((row for row in rows if row.outcome == outcome), None)
        if first is not None:
            return first
    return ok(_CHECK, "; ".join(row.found for row in rows))


def _history_row(context: Context, instrument: str, count: int) -> Row:
    run, spec = context.run, context.specs[instrument]
    length = interval_ns(run.data.bar)
    regime = 0 if spec.regime is None else run.regime.volatility_window + run.regime.min_bars
    least = spec.feature_set.warmup_bars + regime + 1
    bars = context.history(symbol_of(instrument), count)
    times = np.array([bar.open_ms * _MS_NS + length for bar in bars], np.int64)
    own = len(times)
    times = _with_catalog(context, instrument, times, count)
    found = f"{instrument}: {own} {run.data.bar} bars over REST"
    if len(times) > own:
        found += f", {len(times) - own} before them in the catalog"
    if len(times) < least:
        advice = "wait until the venue has more bars, or download the history into the catalog"
        return failed(_CHECK, f"{found}; features need {least}", advice)
    problem = _hole(context, times, length)
    if problem:
        return failed(_CHECK, f"{found}; {problem}", "wait for the venue, or raise data.max_gap_minutes")
    short = _short(context, spec, found, len(times) - regime)
    if short is not None:
        return short
    if own < least:
        text = f"{found}; REST alone has not the {least} needed"
        return warned(_CHECK, text, "keep the catalog where it is: a start without it fails")
    missing = int((times[-1] - times[0]) // length) + 1 - len(times)
    if missing:
        text = f"{found}; {missing} bars are missing in it"
        return warned(_CHECK, text, "nothing to do: features carry on over holes this short")
    return ok(_CHECK, f"{found}, {least} needed, no hole")


def _short(context: Context, spec: ForecastSpec, found: str, bars: int) -> Row | None:
    """Features that still know where their history began are others than those of a backtest."""
    column, off = unsettled(spec.feature_set, bars)
    off_pct, most_pct = 100.0 * off, context.tolerances.feature_error_pct
    if off_pct <= most_pct / _TOLD_PART:
        return None
    wanted = settling_bars(spec.feature_set, most_pct / 100.0 / _TOLD_PART)
    found = f"{found}; {column} may be off by {off_pct:.2g} % of its spread, with {wanted} bars it is not"
    if off_pct <= most_pct:
        advice = f"decisions may differ a little from a backtest's until then; {most_pct:g} % are let pass"
        return warned(_CHECK, found, advice)
    advice = (
        "get the earlier bars into the catalog, wait for the venue to have them, or raise "
        f"live.tolerances.feature_error_pct ({most_pct:g})"
    )
    if context.setup.kind is VenueKind.REHEARSAL:
        return warned(_CHECK, found, "more --history at the rehearsal; any other venue is refused for this")
    return failed(_CHECK, found, advice)


def _with_catalog(context: Context, instrument: str, times: Times, count: int) -> Times:
    """The closes over REST with those of the catalog before them, where REST has too few."""
    if len(times) >= count or not len(times):
        return times
    data = context.run.data
    earlier = stored_before(
        data.catalog,
        instrument,
        data.bar,
        int(times[0]),
        count - len(times),
        max_gap_minutes=data.max_gap_minutes,
    )
    return np.concatenate((earlier.ts_event, times))


def _hole(context: Context, times: Times, length: int) -> str:
    """The longest stretch without bars, or between the last bar and now, when it is too long."""
    most = max(context.run.data.max_gap_minutes * MINUTE_NS, length)
    steps = np.diff(times)
    if np.any(steps <= 0):
        return "they are not in order"
    if len(steps) and int(steps.max()) > most:
        at = int(times[int(steps.argmax())])
        return f"none for {int(steps.max()) // MINUTE_NS} minutes after {utc_text(at)}"
    if context.setup.kind is VenueKind.REHEARSAL:
        return ""  # a replay may show any time
    now_ns = time.time_ns() + round(context.client.clock().offset_ms * _MS_NS)
    age = now_ns - int(times[-1])
    return f"the newest closed {age // MINUTE_NS} minutes ago" if age > 2 * length + MINUTE_NS else ""
