"""Features of closed bars: one definition, computed bar by bar or over arrays with the same bits.

The table of features is models/definitions.py, the rules on gaps, repeats and higher timeframes are those of
models/kernel.py. A row at time t depends on bars closed at or before t and on nothing else.

>>> features = FeatureSet(("return_1", "rsi_14", "rsi_14_1h"), bar_minutes=1)
>>> features.warmup_bars
958
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from configs.errors import DataError, ModelError
from models import kernel as k
from models.definitions import DEFINITIONS
from models.fingerprint import definitions_hash

__all__ = ["FeatureSet", "OnlineFeatures", "canonical", "compute_features", "feature_matrix"]

type Floats = NDArray[np.float64]
type Times = NDArray[np.int64]

PRICES = ("open", "high", "low", "close", "volume")
SNAPSHOT_MAGIC = b"sextant-features-1\n"


@dataclass(frozen=True)
class FeatureSet:
    """An ordered choice of features for bars of one length.

    Parameters
    ----------
    names
        Columns in their order: a name of the feature table for the bars themselves, with a suffix (`_5m`,
        `_1h`, ...) for a higher timeframe of `bar_minutes`. A name that does not exist raises ModelError.
    bar_minutes
        Length of the base bars: 1, 3, 5, 15, 30, 60 or 240.
    """

    names: tuple[str, ...]
    bar_minutes: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        available = _columns(self.bar_minutes)
        for name in self.names:
            if name not in available:
                raise ModelError(
                    f"unknown feature '{name}' for {self.bar_minutes}-minute bars; see models/definitions.py"
                )
        if not self.names or len(set(self.names)) != len(self.names):
            raise ModelError("a feature set needs at least one name and no name twice")

    @classmethod
    def default(cls, bar_minutes: int = 1) -> "FeatureSet":
        """What models learn from: every feature for bars of this length, the higher timeframes after the
        base, without those entered with `@signal`."""
        columns = _columns(bar_minutes).items()
        return cls(tuple(c for c, (name, _) in columns if DEFINITIONS[name].model), bar_minutes)

    @classmethod
    def complete(cls, bar_minutes: int = 1) -> "FeatureSet":
        """Every feature there is for bars of this length, those that only strategies look at included."""
        return cls(tuple(_columns(bar_minutes)), bar_minutes)

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Suffixes of the higher timeframes, shortest first."""
        return tuple(suffix for suffix, _ in k.HIGHER[self.bar_minutes])

    @property
    def warmup_bars(self) -> int:
        """Base bars before which some value is NaN, for the worst place on the clock to start history at.

        A higher bar counts once it was seen from its beginning, so the worst start is just after one began.
        """
        return max(_warmup(name, self.bar_minutes) for name in self.names)

    @functools.cached_property
    def schema_hash(self) -> str:
        """SHA-256 (hex) over the names, their order, bar length, timeframes, gap rule and features' code."""
        content = {
            "bar_minutes": self.bar_minutes,
            "names": self.names,
            "timeframes": k.HIGHER[self.bar_minutes],
            "max_fill_minutes": k.MAX_FILL_MINUTES,
            "definitions": definitions_hash(_columns(self.bar_minutes)[name][0] for name in self.names),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready description that `from_dict` reads back."""
        return {"bar_minutes": self.bar_minutes, "names": list(self.names), "schema_hash": self.schema_hash}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FeatureSet":
        """The feature set that `to_dict` described.

        Raises ModelError for an unknown feature and where `schema_hash` is given and this code computes
        another one: the definitions have changed since.
        """
        names, bar_minutes = data.get("names"), data.get("bar_minutes")
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise ModelError("feature schema: 'names' must be a list of feature names")
        if not isinstance(bar_minutes, int):
            raise ModelError("feature schema: 'bar_minutes' must be a whole number")
        unknown = set(data) - {"names", "bar_minutes", "schema_hash"}
        if unknown:
            raise ModelError(f"feature schema: unknown key '{min(unknown)}'")
        features = cls(tuple(names), bar_minutes)
        expected = data.get("schema_hash")
        if expected is not None and expected != features.schema_hash:
            raise ModelError(
                "feature definitions have changed since this schema was written: train the model again"
            )
        return features


class OnlineFeatures:
    """Features bar by bar; `extend` takes whole arrays to the same bits, so history and live bars join.

    Parameters
    ----------
    feature_set
        Which columns to give.
    """

    def __init__(self, feature_set: FeatureSet) -> None:
        self._features = feature_set
        self._kernel = k.kernel()
        self._update = self._kernel.update
        self._state = self._kernel.new_state(feature_set.bar_minutes)
        available = _columns(feature_set.bar_minutes)
        self._columns = np.array([available[name][1] for name in feature_set.names], dtype=np.int64)

    @property
    def feature_set(self) -> FeatureSet:
        """The columns of every row."""
        return self._features

    @property
    def last_ts(self) -> int | None:
        """Close time (ns, UTC) of the last bar fed, None before the first."""
        clock = self._state[k.LAST_CLOCK]
        return None if np.isnan(clock) else (int(clock) + 1) * self._bar_ns

    def update(self, ts_ns: int, open: float, high: float, low: float, close: float, volume: float) -> Floats:
        """Feed one closed bar and return its row, a new array of len(names); NaN during warm-up only.

        `ts_ns` is the bar's close. A bar that is not later than the last one is ignored and gives the last
        row again. DataError: a close time off the bars' grid, a price that is not positive and finite, a
        negative volume.
        """
        row = np.empty(len(self._columns))
        code = self._update(self._state, self._columns, row, ts_ns, open, high, low, close, volume)
        if code > k.IGNORED:
            raise DataError(_complaint(code, "bar", ts_ns, self._features.bar_minutes))
        return row

    def extend(
        self, ts_event: Times, open: Floats, high: Floats, low: Floats, close: Floats, volume: Floats
    ) -> Floats:
        """Feed consecutive closed bars and return their rows, C-contiguous float64[n, len(names)].

        Times are closes in ns (UTC) and must increase, also from the last bar fed before. DataError as in
        `update`, naming the row; bars before that row have been fed.
        """
        arrays = [np.ascontiguousarray(x, dtype=np.float64) for x in (open, high, low, close, volume)]
        times = np.ascontiguousarray(ts_event, dtype=np.int64)
        if any(x.shape != times.shape or x.ndim != 1 for x in arrays):
            raise DataError("bars: ts_event, open, high, low, close and volume must be arrays of one length")
        rows = np.empty((len(times), len(self._columns)))
        done, code = self._kernel.batch(self._state, self._columns, rows, times, *arrays)
        if code != k.ACCEPTED:
            raise DataError(_complaint(code, f"row {done}", int(times[done]), self._features.bar_minutes))
        return rows

    def snapshot(self) -> bytes:
        """All memory as bytes; `restore` goes on from there with the same bits."""
        body = self._identity + self._state.tobytes()
        return SNAPSHOT_MAGIC + hashlib.sha256(body).digest() + body

    def restore(self, snapshot: bytes) -> None:
        """Go on from a snapshot of the same features and code; ModelError for any other, changing nothing."""
        start = len(SNAPSHOT_MAGIC)
        digest, body = snapshot[start : start + 32], snapshot[start + 32 :]
        if not snapshot.startswith(SNAPSHOT_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise ModelError("feature snapshot is damaged or not one: warm up from history instead")
        identity, memory = body[: len(self._identity)], body[len(self._identity) :]
        if identity != self._identity or len(memory) != self._state.nbytes:
            raise ModelError(
                "feature snapshot belongs to other features or definitions: warm up from history instead"
            )
        self._state[:] = np.frombuffer(memory, dtype=np.float64)

    @property
    def _bar_ns(self) -> int:
        return self._features.bar_minutes * k.MINUTE_NS

    @functools.cached_property
    def _identity(self) -> bytes:
        """What a snapshot's memory means: its columns and its layout, which every feature shapes."""
        layout = hashlib.sha256(f"{definitions_hash(k.column_names(higher=False))}".encode())
        return layout.digest() + bytes.fromhex(self._features.schema_hash)


def feature_matrix(
    ts_event: Times,
    open: Floats,
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    feature_set: FeatureSet,
) -> Floats:
    """Features of n consecutive closed bars: C-contiguous float64[n, len(names)], NaN during warm-up only.

    `ts_event` are close times in ns (UTC), strictly increasing; missing bars are filled as models/kernel.py
    says. DataError names the row of a time that does not increase or is off the grid, of a price that is not
    positive and finite and of a negative volume.
    """
    return OnlineFeatures(feature_set).extend(ts_event, open, high, low, close, volume)


def compute_features(bars: pd.DataFrame, feature_set: FeatureSet) -> pd.DataFrame:
    """Features of a frame of consecutive closed bars: one float64 column per name, indexed like `bars`.

    `bars` has the columns open, high, low, close, volume and ts_event (bar close: datetimes, naive ones
    being UTC, or int64 ns), or datetimes for its index instead of ts_event. Input is left alone. DataError
    as in `feature_matrix`.
    """
    missing = [name for name in PRICES if name not in bars.columns]
    if missing:
        raise DataError(f"bars: column '{missing[0]}' is missing; needed are ts_event, {', '.join(PRICES)}")
    columns = [bars[name].to_numpy(dtype=np.float64) for name in PRICES]
    rows = OnlineFeatures(feature_set).extend(_times(bars), *columns)
    return pd.DataFrame(rows, index=bars.index, columns=list(feature_set.names))


def canonical(values: ArrayLike, precision: int) -> Floats:
    """`values` as the floats nearest to their decimals: rint(x * 10^p) / 10^p.

    Prices that reach a feature by different ways (a catalog, an engine's fixed point) differ in the last bit
    unless they pass through this once; do it at the door of every driver.
    """
    scale = 10.0**precision
    return np.asarray(np.rint(np.asarray(values, dtype=np.float64) * scale) / scale)


@functools.cache
def _columns(bar_minutes: int) -> dict[str, tuple[str, int]]:
    """Every column for bars of this length: name -> (feature, index among the kernel's values)."""
    if bar_minutes not in k.HIGHER:
        known = ", ".join(map(str, k.HIGHER))
        raise ModelError(f"no features for {bar_minutes}-minute bars; known lengths in minutes: {known}")
    names = [(name, name) for name in k.column_names(higher=False)]
    for suffix, _ in k.HIGHER[bar_minutes]:
        names += [(f"{name}_{suffix}", name) for name in k.column_names(higher=True)]
    return {column: (name, i) for i, (column, name) in enumerate(names)}


def _warmup(column: str, bar_minutes: int) -> int:
    """Base bars before the first value of `column` when history starts at the worst place on the clock."""
    name = _columns(bar_minutes)[column][0]
    if column == name:
        return k.kernel().base_warmup[name]
    every = dict(k.HIGHER[bar_minutes])[column.rpartition("_")[2]] // bar_minutes
    return (k.kernel().higher_warmup[name] + 2) * every - 2


def _times(bars: pd.DataFrame) -> Times:
    """Close times of `bars` in ns."""
    source = pd.Series(bars.index) if "ts_event" not in bars.columns else bars["ts_event"]
    if pd.api.types.is_datetime64_any_dtype(source):
        return pd.DatetimeIndex(source).as_unit("ns").asi8
    if pd.api.types.is_integer_dtype(source):
        return source.to_numpy(dtype=np.int64)
    raise DataError(f"bars: ts_event must be datetimes or int64 nanoseconds, not {source.dtype}")


def _complaint(code: int, where: str, ts_ns: int, bar_minutes: int) -> str:
    """One line on why a bar was not taken."""
    at = f"{where} closing {pd.Timestamp(ts_ns, tz='UTC'):%Y-%m-%dT%H:%M:%S}"
    if code == k.IGNORED:
        return f"{at}: not later than the bar before it; sort the bars and drop duplicates"
    if code == k.OFF_GRID:
        return f"{at}: not on the grid of {bar_minutes}-minute bars; ts_event must be the bar's exact close"
    return f"{at}: prices must be positive and finite and the volume not negative"
