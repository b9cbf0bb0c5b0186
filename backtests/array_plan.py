"""The trade plan over arrays: the engine's trades from the same compiled `step`, thousands of times faster.

Entries are given as signals, one per bar: -1, 0 or +1, what `decide` would answer on a flat book. The walk
follows the simulated venue (`backtests.venue`) tick for tick:

1. An entry fills at its bar's close; stop and target act from the next bar on.
2. Inside a bar the price goes open, high, low, close; with `adaptive` the low comes first unless the high is
   nearer to the open. What is touched first fills, touching is enough.
3. A stop fills at its level, or at the open when the bar opens beyond it; a target always at its level.
4. Break-even, trailing and exits are decided on the close by `strategies.trade.step`; a moved stop holds from
   the next bar on, an exit fills at that close and no entry follows on that bar. After a stop or a target the
   same bar may enter again.
5. A bar without volume touches nothing; orders sent at its close fill at the price traded last.

| what | here |
|---|---|
| fixed stop, stop from ATR, swing or volatility | exact: a distance per bar, at each signal's side |
| one target, or none | exact |
| break-even, trailing in per cent or in ATR (`atr` per bar) | exact |
| time exit, end of day, weekend, exit on the opposite signal, cool-off | exact |
| maker fee at the target, taker cost elsewhere; slippage as part of the taker cost | exact |
| sizing, by whatever rule | trades are of one unit; `sweep_plan` adds up per unit and per constant notional |
| orders up to a quarter of the bar's volume | exact; larger ones are refused when `quantity` is given |
| funding | not charged; it changes no trade |
| refusals by limits, risk mode, margin, the venue's minimum | not known here: then there are more trades |
| several targets (a ladder), scale-ins | refused |
| resting entries (limit, post-only), latency | refused |

Refused means ConfigError from `refuse_inexact`.
"""

import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from catalog.columns import BarColumns
from configs.errors import ConfigError, DataError
from configs.schema import StrategyConfig, VenueConfig
from models.kernel_cache import load_generated
from strategies import trade
from strategies.trade import (
    EXIT_SESSION,
    EXIT_TIME,
    PlanParams,
    entries_closed,
    open_plan,
    step,
    target_ticks,
)

__all__ = [
    "OPPOSITE",
    "REASONS",
    "SCORE",
    "SESSION",
    "STOP",
    "TARGET",
    "TIME",
    "TRADE",
    "PlanSet",
    "refuse_inexact",
    "run_plan",
    "sweep_plan",
]

STOP, TARGET, TIME, SESSION, OPPOSITE = 1, 2, 3, 4, 5
REASONS = {STOP: "stop", TARGET: "target", TIME: "time", SESSION: "session", OPPOSITE: "opposite"}
_TRADE_FIELDS = ("entry_bar", "exit_bar", "side", "entry_ticks", "exit_ticks", "reason")
TRADE = np.dtype([(name, np.int64) for name in _TRADE_FIELDS])
SCORE = np.dtype(
    [("trades", np.int64), ("wins", np.int64), ("net_per_unit", np.float64), ("net_return", np.float64)]
)
_FAR = 2**62  # a target that no price reaches
_GRID_TOLERANCE = 1e-4  # of a tick: float noise, never a price between ticks

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PlanSet(NamedTuple):
    """One set of a sweep; distances are fractions of the entry price, None is no target."""

    stop_distance: float
    target_distance: float | None
    params: PlanParams


class _Market(NamedTuple):
    """Bars as the walk reads them, n each: prices in ticks, `price` the closes as the plan's step sees them.

    `next_signal[i]` is the first bar at or after i with a signal, n where there is none.
    """

    ts_event: IntArray
    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    price: FloatArray
    atr: FloatArray
    signals: NDArray[np.int8]
    next_signal: IntArray


class _Rules(NamedTuple):
    ticks_per_unit: float
    adaptive: bool
    exit_on_opposite: bool
    cool_off_bars: int


def run_plan(
    bars: BarColumns,
    signals: NDArray[Any],
    *,
    stop_distance: float | FloatArray,
    target_distance: float | FloatArray | None,
    params: PlanParams,
    ticks_per_unit: float,
    adaptive: bool = False,
    atr: FloatArray | None = None,
    exit_on_opposite: bool = False,
    cool_off_bars: int = 0,
    quantity: float | None = None,
) -> NDArray[Any]:
    """The closed trades that the engine would make, as a `TRADE` array in time order.

    Parameters
    ----------
    bars
        n bars in time order, prices on the tick grid.
    signals
        (n,) of -1, 0, +1: the side wished for at each bar's close, known by then.
    stop_distance, target_distance
        Fractions of the entry price: one for all, or (n,) per bar for that bar's signal. A stop of NaN (a
        feature warms up) or under a tick makes no entry, a target of NaN or None stands for no target.
    params
        The plan's rules; scale-ins are refused.
    ticks_per_unit
        Ticks in one unit of price: 10 for a tick of 0.1.
    adaptive
        The venue's `adaptive_high_low`.
    atr
        (n,) in price units, for a trail by ATR; NaN holds the trail still.
    exit_on_opposite, cool_off_bars
        As in the run file.
    quantity
        Base units of every order. When given, a trade on a bar that has less than four times as much is
        refused: the venue fills the rest a tick worse.

    A position still open after the last bar is no trade yet. Bars where nothing has traded before make no
    entry. ConfigError for what is refused, DataError for arrays that do not fit.
    """
    _refuse_params(params)
    rules = _rules(ticks_per_unit, adaptive, exit_on_opposite, cool_off_bars)
    market = _market(bars, signals, atr, params.trail_atr, rules.ticks_per_unit)
    n = len(market.close)
    stops = _distances(stop_distance, n, "stop_distance")
    targets = _distances(math.nan if target_distance is None else target_distance, n, "target_distance")
    found = np.empty((np.count_nonzero(market.signals), len(_TRADE_FIELDS)), np.int64)
    count = _kernel().walk(market, stops, targets, _typed(params), rules, found)
    trades = found[:count].copy().view(TRADE).reshape(count)
    if quantity is not None:
        _refuse_thin(bars, trades, quantity)
    return trades


def sweep_plan(
    bars: BarColumns,
    signals: NDArray[Any],
    sets: Sequence[PlanSet],
    *,
    ticks_per_unit: float,
    maker: float,
    taker: float,
    adaptive: bool = False,
    atr: FloatArray | None = None,
    exit_on_opposite: bool = False,
    cool_off_bars: int = 0,
    workers: int | None = None,
) -> NDArray[Any]:
    """What each of `sets` earns on the same bars and signals, as a `SCORE` array in their order.

    `maker` and `taker` are costs as fractions of notional, slippage included in `taker`. `net_per_unit` is
    the sum over trades of one unit each, in price units; `net_return` the sum of each trade's net profit
    over its entry notional (constant notional, nothing reinvested). `workers` threads share the sets
    (None: one a core). Everything else is as in `run_plan`.
    """
    for one in sets:
        _refuse_params(one.params)
    rules = _rules(ticks_per_unit, adaptive, exit_on_opposite, cool_off_bars)
    trails = max((one.params.trail_atr for one in sets), default=0.0)
    market = _market(bars, signals, atr, trails, rules.ticks_per_unit)
    table = np.array([_row(one) for one in sets], np.float64).reshape(len(sets), 2 + len(PlanParams()))
    sums, kernel = np.zeros((len(sets), 4), np.float64), _kernel()
    workers = max(1, min(workers or os.process_cpu_count() or 1, len(sets)))
    with ThreadPoolExecutor(workers) as pool:
        work = [
            pool.submit(kernel.score, market, table[i::workers], rules, maker, taker, sums[i::workers])
            for i in range(workers)
        ]
        for share in work:
            share.result()
    return np.array([tuple(row) for row in sums], SCORE)


def refuse_inexact(strategy: StrategyConfig, venue: VenueConfig) -> None:
    """ConfigError when the run file asks for what the arrays cannot do exactly; see the module's table."""
    ladder = strategy.targets.ladder
    reasons = [
        (len(ladder) > 1 or any(share < 1.0 for _, share in ladder), "targets.tranches", "use targets.pct"),
        (strategy.scale_in is not None, "scale_in", "leave it out"),
        (strategy.entry.order != "market", f"entry.order {strategy.entry.order}", "use market"),
        (venue.latency_ms > 0, f"venue.latency_ms {venue.latency_ms}", "set it to 0"),
    ]
    for refused, what, advice in reasons:
        if refused:
            raise ConfigError(
                f"strategy '{strategy.label}': {what} is not exact over arrays; {advice} or run the engine"
            )


def _refuse_params(params: PlanParams) -> None:
    if math.isfinite(params.add_1) or math.isfinite(params.add_2):
        raise ConfigError("scale-ins are not exact over arrays; leave add_1 and add_2 infinite")


def _refuse_thin(bars: BarColumns, trades: NDArray[Any], quantity: float) -> None:
    traded = bars.volume > 0.0
    last = np.maximum.accumulate(np.where(traded, np.arange(len(traded)), -1))
    touched = np.concatenate([trades["entry_bar"], trades["exit_bar"]])
    thin = np.sort(touched[bars.volume[last[touched]] < 4.0 * quantity * (1.0 - 1e-12)])
    if len(thin):
        raise ConfigError(
            f"an order of {quantity:g} is more than a quarter of the volume of bar {thin[0]} "
            f"({bars.volume[thin[0]]:g}); trade less or run the engine"
        )


def _rules(ticks_per_unit: float, adaptive: bool, exit_on_opposite: bool, cool_off_bars: int) -> _Rules:
    return _Rules(float(ticks_per_unit), bool(adaptive), bool(exit_on_opposite), int(cool_off_bars))


def _typed(params: PlanParams) -> PlanParams:
    """The fields in the very types that the kernel was compiled for."""
    pairs = zip(PlanParams(), params, strict=True)
    return PlanParams._make(type(default)(value) for default, value in pairs)


def _row(one: PlanSet) -> tuple[float, ...]:
    target = math.nan if one.target_distance is None else one.target_distance
    return (one.stop_distance, target, *one.params)


def _market(
    bars: BarColumns, signals: NDArray[Any], atr: FloatArray | None, trail_atr: float, ticks_per_unit: float
) -> _Market:
    n = len(bars.close)
    if len(signals) != n or (atr is not None and len(atr) != n):
        raise DataError(f"{n} bars need {n} signals and as many ATR values; give arrays of one length")
    sides = np.sign(np.asarray(signals)).astype(np.int8)
    if not np.array_equal(sides, signals):
        raise DataError("signals must be -1, 0 or +1")
    if atr is None and trail_atr > 0.0:
        raise DataError("a trail by ATR needs the atr of every bar; pass atr")
    prices = {name: getattr(bars, name) for name in ("open", "high", "low", "close")}
    ticks = {name: _to_grid(values, name, ticks_per_unit) for name, values in prices.items()}
    _check_quiet_bars(bars.volume, ticks)
    if not (bars.volume > 0.0).all():  # no market yet: the venue rejects an entry
        sides[: np.argmax(bars.volume > 0.0) if (bars.volume > 0.0).any() else n] = 0
    at = np.where(sides != 0, np.arange(n), n)
    return _Market(
        np.array(bars.ts_event, np.int64),
        **ticks,
        price=ticks["close"] / ticks_per_unit,
        atr=np.full(n, np.nan) if atr is None else np.array(atr, np.float64),
        signals=sides,
        next_signal=np.minimum.accumulate(at[::-1])[::-1].copy(),
    )


def _to_grid(values: FloatArray, name: str, ticks_per_unit: float) -> IntArray:
    scaled = np.asarray(values, np.float64) * ticks_per_unit
    ticks = np.rint(scaled)
    off = np.flatnonzero(~(np.abs(scaled - ticks) <= _GRID_TOLERANCE))
    if len(off):
        raise DataError(f"{name} of bar {off[0]} ({values[off[0]]}) lies on no tick; check ticks_per_unit")
    return ticks.astype(np.int64)


def _check_quiet_bars(volume: FloatArray, ticks: dict[str, IntArray]) -> None:
    """A bar without volume is one price, the last: nothing can have been touched in it."""
    traded = volume > 0.0
    last = np.maximum.accumulate(np.where(traded, np.arange(len(traded)), -1))
    before = np.where(last >= 0, ticks["close"][last], ticks["close"])
    flat = np.logical_and.reduce([ticks[name] == before for name in ticks])
    moved = np.flatnonzero(~traded & (last >= 0) & ~flat)
    if len(moved):
        raise DataError(f"bar {moved[0]} moves without volume, the venue ignores it; ingest that time again")


def _distances(values: float | FloatArray, n: int, name: str) -> FloatArray:
    array = np.array(values, np.float64).reshape(-1)
    if len(array) not in (1, n):
        raise DataError(f"{name} has {len(array)} values for {n} bars; give one, or one for each")
    return array


@functools.cache
def _kernel() -> ModuleType:
    """The compiled walks; built on first use, then taken from disk."""
    return load_generated("array_plan", _SOURCE, [Path(__file__), Path(str(trade.__file__))])


_SOURCE = """\"\"\"The compiled walks of backtests.array_plan.\"\"\"

import numpy as np
from numba import njit, typeof, types

from backtests import array_plan as plan
from strategies.trade import PlanParams

WHOLE, REAL = np.zeros(1, np.int64), np.zeros(1)
MARKET = typeof(plan._Market(*[WHOLE] * 5, REAL, REAL, np.zeros(1, np.int8), WHOLE))
RULES = typeof(plan._Rules(1.0, True, True, 0))
PARAMS = typeof(PlanParams())
F, N, FS = types.float64, types.int64, types.float64[::1]


@njit(N(MARKET, FS, FS, PARAMS, RULES, types.int64[:, ::1]), cache=True, nogil=True)
def walk(market, stops, targets, params, rules, out):
    return plan._walk(market, stops, targets, params, rules, out)


@njit(types.void(MARKET, F[:, :], RULES, F, F, F[:, :]), cache=True, nogil=True)
def score(market, sets, rules, maker, taker, out):
    for i in range(len(sets)):
        plan._score(market, sets[i], rules, maker, taker, out[i])
"""


@njit
def _walk(
    market: _Market,
    stops: FloatArray,
    targets: FloatArray,
    params: PlanParams,
    rules: _Rules,
    out: IntArray,
) -> int:
    """Write all closed trades to `out`, one a row; returns their number."""
    count, bar = 0, _next(market, 0)
    while bar < len(market.close):
        stop = stops[bar] if len(stops) > 1 else stops[0]
        target = targets[bar] if len(targets) > 1 else targets[0]
        if not _enterable(market, bar, stop, target, params, rules):
            bar = _next(market, bar + 1)
            continue
        end, ticks, reason = _hold(market, bar, stop, target, params, rules)
        if reason == 0:
            break
        out[count, 0], out[count, 1], out[count, 2] = bar, end, market.signals[bar]
        out[count, 3], out[count, 4], out[count, 5] = market.close[bar], ticks, reason
        count += 1
        bar = _next(market, _free_from(end, reason, rules))
    return count


@njit
def _score(
    market: _Market, row: FloatArray, rules: _Rules, maker: float, taker: float, out: FloatArray
) -> None:
    """The same walk for one set (`row` as `_row` makes it), added up in `out`, the fields of `SCORE`."""
    stop, target = row[0], row[1]
    params = PlanParams(
        row[2], row[3], row[4], row[5], int(row[6]), int(row[7]), int(row[8]), row[9], row[10]
    )
    bar = _next(market, 0)
    while bar < len(market.close):
        if not _enterable(market, bar, stop, target, params, rules):
            bar = _next(market, bar + 1)
            continue
        end, ticks, reason = _hold(market, bar, stop, target, params, rules)
        if reason == 0:
            break
        entry, side = market.close[bar], market.signals[bar]
        net = side * (ticks - entry) - entry * taker - ticks * (maker if reason == TARGET else taker)
        out[0] += 1.0
        out[1] += net > 0.0
        out[2] += net / rules.ticks_per_unit
        out[3] += net / entry
        bar = _next(market, _free_from(end, reason, rules))


@njit(forceinline=True)
def _next(market: _Market, bar: int) -> int:
    return market.next_signal[bar] if bar < len(market.next_signal) else bar


@njit(forceinline=True)
def _free_from(end: int, reason: int, rules: _Rules) -> int:
    """The first bar that may enter again; one on which an exit was decided may not."""
    return end + max(rules.cool_off_bars, 0 if reason in (STOP, TARGET) else 1)


@njit(forceinline=True)
def _enterable(
    market: _Market, bar: int, stop: float, target: float, params: PlanParams, rules: _Rules
) -> bool:
    """What `strategies.risk.assess` asks of the distances, and the session's rule."""
    price, tick = market.price[bar], 1.0 / rules.ticks_per_unit
    if not (stop * price >= tick and stop < 1.0) or target * price < tick:
        return False
    if market.signals[bar] < 0 and target >= 1.0:
        return False
    return not entries_closed(market.ts_event[bar], params)


@njit(forceinline=True)
def _hold(
    market: _Market, entry: int, stop: float, target: float, params: PlanParams, rules: _Rules
) -> tuple[int, int, int]:
    """Carry the trade entered at bar `entry` to its end: (bar, ticks, reason); reason 0: no end yet."""
    side, price = market.signals[entry], market.price[entry]
    state = open_plan(side, price, stop, rules.ticks_per_unit)
    level = _FAR if side > 0 else 0
    if target > 0.0:
        level = target_ticks(side, price, target, rules.ticks_per_unit)
    for bar in range(entry + 1, len(market.close)):
        reason, ticks = _touched(
            side, state.stop_ticks, level, market.open[bar], market.high[bar], market.low[bar], rules.adaptive
        )
        if reason:
            return bar, ticks, reason
        state, flags = step(
            state, market.ts_event[bar], market.price[bar], market.atr[bar], params, rules.ticks_per_unit
        )
        if flags & EXIT_SESSION:
            return bar, market.close[bar], SESSION
        if flags & EXIT_TIME:
            return bar, market.close[bar], TIME
        if rules.exit_on_opposite and market.signals[bar] == -side:
            return bar, market.close[bar], OPPOSITE
    return len(market.close), 0, 0


@njit(forceinline=True)
def _touched(
    side: int, stop: int, target: int, open_: int, high: int, low: int, adaptive: bool
) -> tuple[int, int]:
    """What fills inside one bar: (STOP or TARGET, ticks), or (0, 0)."""
    high_first = not adaptive or high - open_ < open_ - low
    if side > 0:
        stopped, reached, target_first = low <= stop, high >= target, high_first
        gapped, beyond = open_ <= stop, open_ >= target
    else:
        stopped, reached, target_first = high >= stop, low <= target, not high_first
        gapped, beyond = open_ >= stop, open_ <= target
    if not (stopped or reached):
        return 0, 0
    if gapped:
        return STOP, open_
    if reached and (beyond or target_first or not stopped):
        return TARGET, target
    return STOP, stop
