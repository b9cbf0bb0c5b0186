"""From the feature table to one compiled kernel: ordering, code generation, state and the names of columns.

The generated source has one step function for the base timeframe and one for the higher timeframes, and the
driver below, which feeds them. `update` (one bar) and `batch` (arrays) call the very same driver, hence the
same bits.

Rules of the driver
    clock       bar `i` of length L opens at i * L since 1970 (UTC); bars off that grid are refused.
    gaps        up to a day of missing bars is fed as flat bars without volume at the last close; after a
                longer gap all memory is cleared and the warm-up begins anew. Both depend on neighbouring bars
                only, so how a history is cut into calls changes nothing.
    repeats     a bar that is not later than the last one is ignored.
    higher bars a higher bar closes with its last base bar, in the same step and before the base features; one
                whose beginning was not seen is not used.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import definitions, signals, streaming
from models.definitions import BAR_FIELDS, DEFINITIONS
from models.kernel_cache import load_generated
from models.streaming import State

__all__ = [
    "ACCEPTED",
    "BAD_VALUE",
    "DRIVER",
    "HIGHER",
    "IGNORED",
    "LAST_CLOCK",
    "OFF_GRID",
    "Kernel",
    "column_names",
    "kernel",
    "kernel_source",
]

# Base bar length in minutes -> its higher timeframes as (suffix, minutes).
HIGHER: dict[int, tuple[tuple[str, int], ...]] = {
    1: (("5m", 5), ("15m", 15), ("1h", 60)),
    3: (("15m", 15), ("1h", 60)),
    5: (("15m", 15), ("1h", 60)),
    15: (("1h", 60), ("4h", 240)),
    30: (("1h", 60), ("4h", 240)),
    60: (("4h", 240), ("1d", 1440)),
    240: (("1d", 1440),),
}
# What `update` returns for a bar.
ACCEPTED, IGNORED, BAD_VALUE, OFF_GRID = 0, 1, 2, 3
# Layout of the state's head; streaming's CURSOR and CLOCK are slots 0 and 1.
BAR_NS, BAR_MINUTES, MAX_FILL, LAST_CLOCK, LAST_CLOSE, N_HIGHER = 2, 3, 4, 5, 6, 7
EVERY, STARTS, ENDS, BUCKETS, VALUES = 8, 12, 16, 20, 40
MAX_HIGHER = 3
MINUTE_NS = 60_000_000_000
MAX_FILL_MINUTES = 1440

DRIVER = f'''
@compiled
def base_bar(state, clock, o, h, l, c, v):
    """One base bar: higher bars that close with it first, then the base features."""
    for j in range(int(state[{N_HIGHER}])):
        every = int(state[{EVERY} + j])
        bucket = {BUCKETS} + 6 * j
        phase = clock % every
        if phase == 0:
            state[bucket] = 1.0
            state[bucket + 1] = o
            state[bucket + 2] = h
            state[bucket + 3] = l
            state[bucket + 5] = 0.0
        if state[bucket] == 1.0:
            state[bucket + 2] = max(state[bucket + 2], h)
            state[bucket + 3] = min(state[bucket + 3], l)
            state[bucket + 4] = c
            state[bucket + 5] += v
            if phase == every - 1:
                minute = (clock + 1) * int(state[{BAR_MINUTES}])
                state[0] = state[{STARTS + 1} + j]
                state[1] = clock // every
                step_higher(
                    state, {VALUES} + N_BASE + N_HIGH * j, minute, state[bucket + 1], state[bucket + 2],
                    state[bucket + 3], state[bucket + 4], state[bucket + 5],
                )
                state[{ENDS + 1} + j] = state[0]
                state[bucket] = 0.0
    state[0] = state[{STARTS}]
    state[1] = clock
    step_base(state, {VALUES}, (clock + 1) * int(state[{BAR_MINUTES}]), o, h, l, c, v)
    state[{ENDS}] = state[0]


@compiled
def valid(price):
    return 0.0 < price < INF


@compiled
def accept(state, ts, o, h, l, c, v):
    """Check a bar, fill the gap before it and feed it."""
    bar_ns = int(state[{BAR_NS}])
    if ts % bar_ns != 0:
        return {OFF_GRID}
    if not (valid(o) and valid(h) and valid(l) and valid(c) and 0.0 <= v < INF):
        return {BAD_VALUE}
    clock = ts // bar_ns - 1
    if state[{LAST_CLOCK}] == state[{LAST_CLOCK}]:
        last = int(state[{LAST_CLOCK}])
        if clock <= last:
            return {IGNORED}
        if clock - last - 1 > state[{MAX_FILL}]:
            for slot in range({BUCKETS}, len(state)):
                state[slot] = NAN
        else:
            p = state[{LAST_CLOSE}]
            for missing in range(last + 1, clock):
                base_bar(state, missing, p, p, p, p, 0.0)
    base_bar(state, clock, o, h, l, c, v)
    state[{LAST_CLOCK}] = clock
    state[{LAST_CLOSE}] = c
    return {ACCEPTED}


@njit(UPDATE, cache=True)
def update(state, columns, row, ts, o, h, l, c, v):
    """Feed one bar and write the asked columns into `row`."""
    code = accept(state, ts, o, h, l, c, v)
    for j in range(len(columns)):
        row[j] = state[{VALUES} + columns[j]]
    return code


@njit(BATCH, cache=True, nogil=True)
def batch(state, columns, rows, ts, o, h, l, c, v):
    """Feed bars until one is not accepted; return its index and why, or the length and ACCEPTED."""
    for i in range(len(ts)):
        code = accept(state, ts[i], o[i], h[i], l[i], c[i], v[i])
        if code != {ACCEPTED}:
            return i, code
        for j in range(len(columns)):
            rows[i, j] = state[{VALUES} + columns[j]]
    return len(ts), {ACCEPTED}
'''

PREAMBLE = '''"""Generated by models/kernel.py from the feature table; not meant for editing."""
import math

from numba import njit, types

from models import definitions as d
from models import signals as s
from models.streaming import compiled

NAN = math.nan
INF = math.inf
READ_I8 = types.Array(types.int64, 1, "C", readonly=True)
READ_F8 = types.Array(types.float64, 1, "C", readonly=True)
STATE = types.float64[::1]
PAIR = types.UniTuple(types.int64, 2)
F8 = types.float64
UPDATE = types.int64(STATE, READ_I8, STATE, types.int64, F8, F8, F8, F8, F8)
BATCH = PAIR(STATE, READ_I8, types.float64[:, ::1], READ_I8, READ_F8, READ_F8, READ_F8, READ_F8, READ_F8)
'''


def column_names(*, higher: bool) -> tuple[str, ...]:
    """The features that are columns, in the table's order; `higher`: those of the higher timeframes."""
    return tuple(d.name for d in DEFINITIONS.values() if not d.hidden and (d.higher or not higher))


def ordered(columns: Iterable[str]) -> list[str]:
    """`columns` and everything they are wired to, each after what it asks for."""
    order: list[str] = []
    path: list[str] = []

    def visit(name: str) -> None:
        if name in BAR_FIELDS or name in order:
            return
        if name not in DEFINITIONS:
            raise ValueError(
                f"feature '{path[-1]}' asks for '{name}', which is neither a bar field nor a feature"
            )
        if name in path:
            raise ValueError(f"features ask for each other in a circle: {' -> '.join([*path, name])}")
        path.append(name)
        for argument in DEFINITIONS[name].arguments:
            visit(argument)
        order.append(path.pop())

    for column in columns:
        visit(column)
    return order


def _step_source(function: str, columns: tuple[str, ...]) -> str:
    """The step function that computes `columns` of one timeframe's closed bar."""
    lines = ["@compiled", f"def {function}(state, values, minute, open, high, low, close, volume):"]
    for name in ordered(columns):
        module = "d" if DEFINITIONS[name].model else "s"
        lines.append(f"    {name} = {module}.{name}({', '.join(DEFINITIONS[name].arguments)})")
    for i, name in enumerate(columns):
        lines.append(f"    state[values + {i}] = {name}")
    return "\n".join(lines)


def kernel_source() -> str:
    """The whole generated module."""
    base, higher = column_names(higher=False), column_names(higher=True)
    return "\n\n".join(
        [
            f"{PREAMBLE}N_BASE = {len(base)}\nN_HIGH = {len(higher)}\n",
            _step_source("step_base", base),
            _step_source("step_higher", higher) + "\n",
            DRIVER,
        ]
    )


@dataclass(frozen=True, slots=True)
class Kernel:
    """The compiled kernel with what is known about it.

    `update` and `batch` are the generated functions; `base_slots` and `higher_slots` the sizes of one
    timeframe's memory; the warm-ups count the bars of a column's own timeframe before its first value.
    """

    update: Callable[..., int]
    batch: Callable[..., tuple[int, int]]
    base_slots: int
    higher_slots: int
    base_warmup: dict[str, int]
    higher_warmup: dict[str, int]

    def new_state(self, bar_minutes: int) -> State:
        """Fresh memory for bars of `bar_minutes`."""
        every = [minutes // bar_minutes for _, minutes in HIGHER[bar_minutes]]
        return _new_state(bar_minutes, every, self.base_slots, self.higher_slots)


@functools.cache
def kernel() -> Kernel:
    """The kernel of the feature table as it stands; compiled on first use, then taken from disk."""
    files = [Path(str(module.__file__)) for module in (definitions, signals, streaming)]
    module = load_generated("features", kernel_source(), files)
    base_slots, higher_slots = _measure_slots(module.update)
    base_warmup, higher_warmup = _measure_warmup(module.batch, base_slots, higher_slots)
    return Kernel(module.update, module.batch, base_slots, higher_slots, base_warmup, higher_warmup)


def _new_state(bar_minutes: int, every: list[int], base_slots: int, higher_slots: int) -> State:
    """State with its head filled in: where each timeframe's memory lies and how long its bars are."""
    n_values = len(column_names(higher=False)) + len(column_names(higher=True)) * len(every)
    starts = np.cumsum([VALUES + n_values, base_slots] + [higher_slots] * len(every))
    state = np.full(int(starts[-1]), np.nan)
    state[[0, 1, BAR_NS, BAR_MINUTES]] = 0.0, 0.0, bar_minutes * MINUTE_NS, bar_minutes
    state[MAX_FILL] = MAX_FILL_MINUTES // bar_minutes
    state[N_HIGHER] = len(every)
    state[EVERY : EVERY + len(every)] = every
    state[STARTS : STARTS + len(every) + 1] = starts[:-1]
    return state


def _measure_slots(update: Callable[..., int]) -> tuple[int, int]:
    """How much memory the base features and those of one higher timeframe take, from one bar of each."""
    roomy = 1 << 18
    state = _new_state(1, [1], roomy, roomy)
    update(state, np.empty(0, np.int64), np.empty(0), 0, 1.0, 1.0, 1.0, 1.0, 1.0)
    used = state[ENDS : ENDS + 2] - state[STARTS : STARTS + 2]
    if used.max() > roomy:
        raise ValueError(
            f"the features of one timeframe take {used.max():.0f} slots of memory, at most {roomy}"
        )
    return int(used[0]), int(used[1])


def _measure_warmup(
    batch: Callable[..., tuple[int, int]], base_slots: int, higher_slots: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Bars before each column's first value, seen on a random walk whose higher bars last one base bar."""
    base, higher = column_names(higher=False), column_names(higher=True)
    for n in (512, 4096, 32768):
        missing = _missing_on_a_walk(batch, _new_state(1, [1], base_slots, higher_slots), n)
        if not missing[-1].any():
            break
    else:
        raise ValueError(f"a feature has no value after {n} bars")
    counts = [int(count) for count in missing.sum(axis=0)]
    return dict(zip(base, counts, strict=False)), dict(zip(higher, counts[len(base) :], strict=True))


def _missing_on_a_walk(batch: Callable[..., tuple[int, int]], state: State, n: int) -> NDArray[np.bool_]:
    """Which of all values are NaN on `n` bars of a random walk."""
    close = np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 1e-3, n)))
    columns = np.arange(int(state[STARTS]) - VALUES)
    rows = np.empty((n, len(columns)))
    batch(state, columns, rows, np.arange(n) * MINUTE_NS, close, 1.001 * close, 0.999 * close, close, close)
    return np.isnan(rows)
