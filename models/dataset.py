"""What a model learns from: features and outcomes of one period, cut into parts that share no information."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from configs.errors import DataError
from configs.schema import LabelConfig, ModelConfig, SplitConfig
from models.cv import chronological_parts
from models.exogenous import ExogenousColumns, exogenous_names
from models.features import FeatureSet, feature_matrix
from models.labels import average_uniqueness, triple_barrier

__all__ = ["PARTS", "Bars", "TrainingSet", "build_training_set", "outcomes"]

PARTS = ("train", "validation", "calibration", "test")
_MIN_ROWS = {"train": 200, "validation": 50, "calibration": 50, "test": 1}
_MINUTE_NS = 60_000_000_000

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Bars(Protocol):
    """Closed bars as columns of one length: `ts_event` int64 ns UTC (close), the others float64."""

    @property
    def ts_event(self) -> Rows: ...  # noqa: D102
    @property
    def open(self) -> Floats: ...  # noqa: D102
    @property
    def high(self) -> Floats: ...  # noqa: D102
    @property
    def low(self) -> Floats: ...  # noqa: D102
    @property
    def close(self) -> Floats: ...  # noqa: D102
    @property
    def volume(self) -> Floats: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Rows in time order, each with its features and its outcome.

    `x` [n, k]; `y` [n] is 1 where the upper barrier came first and 0 for the lower; `uniqueness` [n] in (0,
    1] says how much of an independent observation a row is. `label_start` and `label_end` [n] are int64 ns
    UTC. `parts` holds the row numbers of train, validation, calibration and test; rows between two parts,
    whose labels reach into the next, belong to none. `columns` [k] names the features and after them the
    exogenous columns; `rows_without_exogenous` were left out because those had no value.
    """

    x: Floats
    y: Floats
    uniqueness: Floats
    label_start: Rows
    label_end: Rows
    parts: dict[str, Rows]
    feature_set: FeatureSet
    columns: tuple[str, ...]
    rows_without_exogenous: int = 0


def outcomes(bars: Bars, label: LabelConfig) -> tuple[Floats, Rows]:
    """What came first after each bar, 1 the upper barrier, 0 the lower, NaN neither or not known; and when.

    The last `horizon_bars` are NaN throughout: among them only the quick outcomes could be known. A time
    barrier with a return beyond the cost counts as the side it lies on. Times are int64 ns
    and mean nothing where the outcome is NaN.
    """
    table = triple_barrier(
        pd.DataFrame({name: getattr(bars, name) for name in ("ts_event", "open", "high", "low", "close")}),
        horizon_bars=label.horizon_bars,
        take_profit=label.take_profit_pct / 100,
        stop_loss=label.stop_loss_pct / 100,
        cost=label.cost_bps / 10_000,
    )
    side = table["label"].to_numpy(np.float64)
    outcome = np.where(side > 0, 1.0, np.where(side < 0, 0.0, np.nan))
    outcome[max(0, len(outcome) - label.horizon_bars) :] = np.nan
    return outcome, np.asarray(table["label_end"].astype("int64"))


def build_training_set(
    bars: Bars,
    *,
    instrument: str,
    config: ModelConfig,
    bar_minutes: int,
    exogenous: ExogenousColumns | None = None,
) -> TrainingSet:
    """Features and outcomes of all warm rows of `bars`, in the parts that `config.split` asks for.

    With `config.exogenous` the columns of `exogenous`, as known at each bar's close, follow the features;
    rows for which one of them has no value are left out, since the model gives no forecast there either. The
    embargo counts bars. Raises DataError when the period is too short, a part has too few rows or one outcome
    only, or the exogenous series is not there.
    """
    features = FeatureSet.default(bar_minutes)
    n_bars = len(bars.ts_event)
    if n_bars <= features.warmup_bars + config.label.horizon_bars:
        raise DataError(
            f"{instrument}: {n_bars} bars cannot train model '{config.name}': its features warm up over "
            f"{features.warmup_bars} bars and its labels look {config.label.horizon_bars} ahead; "
            "begin data.start earlier or move data.test_start later"
        )
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    x = feature_matrix(bars.ts_event, *columns, features)
    y, label_end = outcomes(bars, config.label)
    usable = ~np.isnan(y) & ~np.isnan(x).any(axis=1)
    columns_outside = _outside(bars.ts_event, config, exogenous, instrument)
    known = ~np.isnan(columns_outside).any(axis=1)
    without = int((usable & ~known).sum())
    usable &= known
    x = np.hstack([x[usable], columns_outside[usable]])
    y, start, end = y[usable], bars.ts_event[usable], label_end[usable]
    embargo = config.split.embargo_bars * bar_minutes * _MINUTE_NS
    parts = chronological_parts(start, end, _shares(config.split), embargo)
    _check(parts, y, f"{instrument}, model '{config.name}'", without)
    names = features.names + exogenous_names(config.exogenous)
    uniqueness = average_uniqueness(start, end)
    return TrainingSet(x, y, uniqueness, start, end, parts, features, names, without)


def _shares(split: SplitConfig) -> dict[str, float]:
    shares = {"train": split.train, "validation": split.validation, "calibration": split.calibration}
    return shares | {"test": 1.0 - sum(shares.values())}


def _outside(ts: Rows, config: ModelConfig, exogenous: ExogenousColumns | None, instrument: str) -> Floats:
    """The exogenous columns [n, k] at each bar's close, k 0 for a model without any."""
    if not config.exogenous:
        return np.empty((len(ts), 0))
    if exogenous is None or not len(exogenous.series):
        raise DataError(
            f"{instrument}: model '{config.name}' learns from {', '.join(config.exogenous)}, of which there "
            "are no values; ingest them (--kind sentiment) or remove model.exogenous"
        )
    return exogenous.join(ts)


def _check(parts: dict[str, Rows], y: Floats, where: str, without: int) -> None:
    for name, rows in parts.items():
        if len(rows) < _MIN_ROWS[name]:
            raise DataError(
                f"{where}: the {name} part has {len(rows)} labelled rows, needs {_MIN_ROWS[name]}"
                f"{f' ({without} were left out for want of exogenous values)' if without else ''}; "
                "train on a longer period (data.start, data.test_start) or shorten label.horizon_bars and "
                "split.embargo_bars"
            )
        if name != "test" and y[rows].min() == y[rows].max():
            side = "upper" if y[rows[0]] else "lower"
            raise DataError(
                f"{where}: only the {side} barrier is ever reached in the {name} part; "
                "bring label.take_profit_pct and label.stop_loss_pct closer or use a longer period"
            )
