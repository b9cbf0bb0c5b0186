"""The trade plan: where the stop and the targets of an open position stand, bar by bar.

Pure state in, state and flags out, over plain numbers. Prices are integer ticks and quantities integer lots,
so that every driver rounds the same way and a level never drifts by a binary fraction. `step` is compiled:
the strategy calls it once a bar, `backtests.array_plan` runs the same machine code over arrays.

The compiled functions call nothing outside this file: numba's cache notices edits of this file only.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import njit, typeof

__all__ = [
    "ADD",
    "EXIT_SESSION",
    "EXIT_TIME",
    "HOLD",
    "MOVE_STOP",
    "PlanParams",
    "PlanState",
    "Rung",
    "entries_closed",
    "fill_rung",
    "fit_ladder",
    "grow_ladder",
    "open_ladder",
    "open_plan",
    "step",
    "target_ticks",
    "to_ticks",
    "warm_up",
]

# Bits of `step`'s answer; an exit excludes everything else.
HOLD = 0
MOVE_STOP = 1
EXIT_TIME = 2
EXIT_SESSION = 4
ADD = 8

_MINUTE_NS = 60_000_000_000
_DAY_NS = 1440 * _MINUTE_NS
_MONDAY = 3  # 1970-01-01 was a Thursday: three days after a Monday
_WHOLE = 1.0 - 1e-9  # shares that add up to this close the whole position


class PlanParams(NamedTuple):
    """The plan's rules. Gains and distances are fractions of a price; an infinite trigger never fires.

    `trail_distance` is a fraction of the close (0 when the trail is by ATR), `trail_atr` a multiple of the
    ATR (0 when it is by percent). `max_bars` 0 means no time exit, `flat_before_midnight_minutes` 0 no exit
    at the day's end, `flat_weekend` 1 flat from Saturday 00:00 to Monday 00:00 UTC. `add_1` and `add_2` are
    the gains of the first entry price at which the position is added to; negative ones add into a loss.
    """

    break_even_after: float = math.inf
    trail_activation: float = math.inf
    trail_distance: float = 0.0
    trail_atr: float = 0.0
    max_bars: int = 0
    flat_before_midnight_minutes: int = 0
    flat_weekend: int = 0
    add_1: float = math.inf
    add_2: float = math.inf


class PlanState(NamedTuple):
    """An open trade. `side` is +1 or -1, `entry_ticks` the first entry price; levels are in ticks.

    `adds` counts the scale-ins asked for, `ts_last` is the last bar seen (ns UTC, 0 before the first).
    """

    side: int
    entry_ticks: int
    stop_ticks: int
    bars_held: int = 0
    adds: int = 0
    ts_last: int = 0


class Rung(NamedTuple):
    """A target: `lots` still to close at `ticks`.

    `share` is what it was given of the position, `closed` the lots it has closed. It is done when it has
    closed some and has none left; a done rung keeps its place, so that an index means the same rung for ever.
    """

    ticks: int
    lots: int
    share: float = 0.0
    closed: int = 0


def _compiled[F: Callable[..., Any]](function: F) -> F:
    """numba's njit, kept on disk where a place for it can be written; the function's types are kept."""
    try:
        result: F = njit(function, cache=True)
    except RuntimeError:  # numba finds no folder to write to: this process compiles for itself
        result = njit(function)
    return result


@_compiled
def to_ticks(price: float, ticks_per_unit: float) -> int:
    """The nearest tick, halves up: the one rounding of prices in the plan. `price` must be finite."""
    return math.floor(price * ticks_per_unit + 0.5)


@_compiled
def open_plan(side: int, entry_price: float, stop_distance: float, ticks_per_unit: float) -> PlanState:
    """The plan of a position just entered at `entry_price`; `stop_distance` is a fraction of it.

    The stop stands a tick behind the entry at least, and on a price above 0. It acts from the next bar on:
    a bar that was over when the entry filled cannot touch it.
    """
    entry = to_ticks(entry_price, ticks_per_unit)
    stop = to_ticks(entry_price * (1.0 - side * stop_distance), ticks_per_unit)
    stop = max(min(stop, entry - 1), 1) if side > 0 else max(stop, entry + 1)
    return PlanState(side, entry, stop, 0, 0, 0)


@_compiled
def target_ticks(side: int, entry_price: float, distance: float, ticks_per_unit: float) -> int:
    """The level of a target `distance` (a fraction) beyond the entry: a tick at least, on a price above 0."""
    entry = to_ticks(entry_price, ticks_per_unit)
    level = to_ticks(entry_price * (1.0 + side * distance), ticks_per_unit)
    return max(level, entry + 1) if side > 0 else max(min(level, entry - 1), 1)


@_compiled
def step(
    state: PlanState, ts_event: int, close: float, atr: float, params: PlanParams, ticks_per_unit: float
) -> tuple[PlanState, int]:
    """Carry an open trade over one more closed bar; returns the new state and the flags.

    `ts_event` is the bar's close (ns UTC), `atr` in price units; where it is NaN a trail by ATR holds still.
    Everything is decided on the bar's close and holds from the next bar on. A stop only ever moves in the
    trade's favour, and never nearer to the close than a tick: the venue refuses a stop at the market.
    """
    side, held = state.side, state.bars_held + 1
    flags = _exit(ts_event, state.ts_last, held, params)
    if flags:
        return PlanState(side, state.entry_ticks, state.stop_ticks, held, state.adds, ts_event), flags
    gain = side * (close * ticks_per_unit / state.entry_ticks - 1.0)
    stop = state.stop_ticks
    if gain >= params.break_even_after:
        stop = _tightened(side, stop, state.entry_ticks, close, ticks_per_unit)
    if gain >= params.trail_activation:
        distance = params.trail_atr * atr if params.trail_atr > 0.0 else params.trail_distance * close
        if math.isfinite(distance):
            level = to_ticks(close - side * distance, ticks_per_unit)
            stop = _tightened(side, stop, level, close, ticks_per_unit)
    if stop != state.stop_ticks:
        flags = MOVE_STOP
    adds = state.adds
    if _reached(gain, params.add_1 if adds == 0 else params.add_2) and adds < 2:
        flags |= ADD
        adds += 1
    return PlanState(side, state.entry_ticks, stop, held, adds, ts_event), flags


@_compiled
def entries_closed(ts_event: int, params: PlanParams) -> bool:
    """Whether the session rules forbid an entry at the close `ts_event` (ns UTC).

    The last `flat_before_midnight_minutes` of a UTC day include its midnight: a bar that closes then belongs
    to the day that ends. The weekend begins with Saturday's 00:00 and ends before Monday's.
    """
    return _session_over(ts_event, 0, params)


@_compiled
def _exit(ts_event: int, ts_last: int, bars_held: int, params: PlanParams) -> int:
    if _session_over(ts_event, ts_last, params):
        return EXIT_SESSION
    return EXIT_TIME if 0 < params.max_bars <= bars_held else HOLD


@_compiled
def _session_over(ts_event: int, ts_last: int, params: PlanParams) -> bool:
    """Whether a time to be flat is now or, where bars are missing, has passed since `ts_last`."""
    if params.flat_before_midnight_minutes > 0:
        early = params.flat_before_midnight_minutes * _MINUTE_NS
        midnight = (ts_event + early) // _DAY_NS * _DAY_NS  # of the newest such time that has begun
        if midnight >= ts_event or 0 < ts_last < midnight:
            return True
    if params.flat_weekend:
        day = ts_event // _DAY_NS
        since_saturday = (day + _MONDAY + 2) % 7  # whole days
        if since_saturday < 2 or 0 < ts_last < (day - since_saturday) * _DAY_NS:
            return True
    return False


@_compiled
def _tightened(side: int, stop_ticks: int, level: int, close: float, ticks_per_unit: float) -> int:
    """The stop moved to `level`, but a tick behind the close at least and never back."""
    nearest = to_ticks(close, ticks_per_unit) - side
    if side > 0:
        return max(stop_ticks, min(level, nearest))
    return min(stop_ticks, max(level, nearest))


@_compiled
def _reached(gain: float, level: float) -> bool:
    if not math.isfinite(level):
        return False
    return gain >= level if level > 0.0 else gain <= level


def open_ladder(
    side: int,
    entry_price: float,
    ladder: tuple[tuple[float, float], ...],
    lots: int,
    min_lots: int,
    ticks_per_unit: float,
) -> tuple[Rung, ...]:
    """The targets of a position of `lots` entered at `entry_price`, one rung for each of `ladder`.

    `ladder` holds (distance, share), both fractions, nearest first; shares below 1 in sum leave a rest to the
    stop. See `grow_ladder` for how lots are shared out.
    """
    rungs = tuple(
        Rung(target_ticks(side, entry_price, distance, ticks_per_unit), 0, share)
        for distance, share in ladder
    )
    return grow_ladder(rungs, lots, 0, min_lots)


def grow_ladder(rungs: tuple[Rung, ...], added_lots: int, held_lots: int, min_lots: int) -> tuple[Rung, ...]:
    """The ladder after `added_lots` joined `held_lots`: the whole position shared out anew by the shares.

    Done rungs get nothing; the others and the rest that no rung closes keep their proportions, so that an
    entry filled in many parts ends with the ladder of one filled at once. Lots are rounded cumulatively:
    their sum is exact. No rung gets fewer than `min_lots`: it leaves them to the next, the last to the one
    before, and a rest as small goes with the last rung. A ladder of fewer in all closes nothing, unless the
    whole position is that small.
    """
    lots = held_lots + added_lots
    weights = _weights(rungs)
    rest = max(0.0, 1.0 - sum(rung.share for rung in rungs))
    whole = sum(weights) + (rest if rest > 1.0 - _WHOLE else 0.0)
    if lots <= 0 or sum(weights) <= 0.0:
        return tuple(rung._replace(lots=0) for rung in rungs)
    last = max(index for index, weight in enumerate(weights) if weight > 0.0)
    wanted = _merged(_shared(weights, whole, lots), last, lots, min_lots)
    return tuple(rung._replace(lots=n) for rung, n in zip(rungs, wanted, strict=True))


def fill_rung(rungs: tuple[Rung, ...], index: int, lots: int) -> tuple[Rung, ...]:
    """The ladder after `lots` were closed at rung `index`; more than it had leaves it at 0."""
    rung = rungs[index]
    filled = rung._replace(lots=max(0, rung.lots - lots), closed=rung.closed + lots)
    return (*rungs[:index], filled, *rungs[index + 1 :])


def fit_ladder(rungs: tuple[Rung, ...], position_lots: int, min_lots: int = 1) -> tuple[Rung, ...]:
    """The ladder cut to a position of `position_lots`: the farthest rungs give way first.

    A rung that the cut leaves with fewer than `min_lots` hands them to the one before it.
    """
    if sum(rung.lots for rung in rungs) <= position_lots:
        return rungs
    left, fitted = max(0, position_lots), []
    for rung in rungs:
        fitted.append(min(rung.lots, left))
        left -= fitted[-1]
    last = max((i for i, n in enumerate(fitted) if n), default=0)
    before = max((i for i in range(last) if fitted[i]), default=-1)
    if before >= 0 and fitted[last] < min(min_lots, rungs[last].lots):
        fitted[before] += fitted[last]
        fitted[last] = 0
    return tuple(rung._replace(lots=n) for rung, n in zip(rungs, fitted, strict=True))


def _weights(rungs: tuple[Rung, ...]) -> list[float]:
    """What of its share each rung has still to close; nothing where the price has been beyond it."""
    reached = max((index for index, rung in enumerate(rungs) if rung.closed), default=-1)
    weights = []
    for index, rung in enumerate(rungs):
        if rung.lots == 0 and index <= reached:
            weights.append(0.0)
        else:
            weights.append(rung.share * rung.lots / (rung.lots + rung.closed) if rung.closed else rung.share)
    return weights


def _shared(weights: list[float], whole: float, lots: int) -> list[int]:
    """`lots` in proportion to `weights`, rounded cumulatively; what `whole` has beyond them is left over."""
    shares, given, cumulative = [], 0, 0.0
    for weight in weights:
        cumulative += weight / whole
        upto = lots if cumulative >= _WHOLE else min(lots, math.floor(lots * cumulative + 0.5))
        shares.append(upto - given if weight > 0.0 else 0)
        given += shares[-1]
    return shares


def _merged(wanted: list[int], last: int, lots: int, min_lots: int) -> list[int]:
    """`wanted` of `lots` without a part below `min_lots`; `last` is the farthest rung that may have some."""
    rest = lots - sum(wanted)
    if rest < min_lots:
        wanted[last] += rest
    merged, carried, kept = [0] * len(wanted), 0, -1
    for index, share in enumerate(wanted):
        carried += share
        if share and (carried >= min_lots or carried == lots):
            merged[index], carried, kept = carried, 0, index
    if kept >= 0:
        merged[kept] += carried
    return merged


def warm_up() -> None:
    """Compile for the types that a strategy uses, or take that from disk, so that no bar has to wait for it.

    Half a second in a process that has not used numba yet. Other types (a whole number for a price) compile
    when they are met.
    """
    state, params = typeof(PlanState(1, 1, 1)), typeof(PlanParams())
    integer, number = typeof(1), typeof(1.0)
    signatures: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (to_ticks, (number, number)),
        (open_plan, (integer, number, number, number)),
        (target_ticks, (integer, number, number, number)),
        (step, (state, integer, number, number, params, number)),
        (entries_closed, (integer, params)),
    )
    for function, signature in signatures:
        function.compile(signature)
