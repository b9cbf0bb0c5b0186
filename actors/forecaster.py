"""From closed bars to `Forecast` and `Observation` messages: one actor an instrument, two sources alike.

`ForecastSpec` says what is wanted of an instrument: several models, features for strategies to look at, the
regime, series from outside the bars. One feature kernel gives the columns of all of them, each computed once.
`StreamingSource` feeds every bar through it as it arrives, the live path. `PrecomputedSource` looks up what
`precompute` made of the run's arrays beforehand, the fast path of a backtest. Both are bit-identical, because
features, models and regime are, bar by bar and over arrays.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Bar, BarType
from numpy.typing import NDArray

from actors.bar_time import closed_at, length_ns
from actors.faults import fail_loud
from actors.messages import Forecast, Observation, forecast_topic, observation_topic
from catalog.columns import BarColumns
from configs.errors import ModelError, RunFailedError
from configs.schema import RegimeConfig
from models.features import FeatureSet, OnlineFeatures
from models.predictor import Predictor
from models.regime import REGIME_FEATURES, OnlineRegime, Regime, as_regime

__all__ = [
    "ForecastSource",
    "ForecastSpec",
    "Forecaster",
    "ModelStream",
    "Precomputed",
    "PrecomputedSource",
    "Reading",
    "StreamingSource",
    "forecast_bars",
    "precompute",
]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

_NONE_LEFT = (-1, float("nan"))
_CHUNK_BARS = 65_536  # what is held at once of columns that only models look at
_KERNEL_NEEDS_ONE = "return_1"


class ModelStream(NamedTuple):
    """A model whose forecasts are published: its name in the run file and how far it looks."""

    name: str
    horizon_bars: int


class Reading(NamedTuple):
    """All that is known at one bar's close.

    `probabilities` one a model (NaN while its features warm up), `features` what the spec asks for by name
    (NaN while warming up), `regime` None while warming up or not asked for.
    """

    probabilities: tuple[float, ...]
    features: Mapping[str, float]
    regime: Regime | None


@dataclass(frozen=True)
class ForecastSpec:
    """What to compute of one instrument's bars.

    Parameters
    ----------
    bar_minutes
        Length of the bars.
    predictors
        The models, in the order of `Reading.probabilities`.
    features
        What strategies look at: columns of the feature table and names of `exogenous`.
    regime
        How to tell the regime; None when nobody asks for it.
    exogenous
        Series from outside the bars: the value known at a time (ns UTC), NaN for none.

    ModelError: a model for bars of another length, a name that neither the table nor `exogenous` has.
    """

    bar_minutes: int
    predictors: tuple[Predictor, ...] = ()
    features: tuple[str, ...] = ()
    regime: RegimeConfig | None = None
    exogenous: Mapping[str, Callable[[int], float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for predictor in self.predictors:
            if predictor.bar_minutes != self.bar_minutes:
                raise ModelError(
                    f"model bundle {predictor.folder} is for {predictor.bar_minutes}-minute bars, not for "
                    f"{self.bar_minutes}-minute ones; train one for these bars"
                )
            for name in predictor.exogenous:
                if name not in self.exogenous:
                    raise ModelError(
                        f"model bundle {predictor.folder} learned from '{name}', which this run has not"
                    )
        known = set(FeatureSet.complete(self.bar_minutes).names) | set(self.exogenous)
        unknown = [name for name in self.features if name not in known]
        if unknown:
            raise ModelError(
                f"a strategy asks for '{unknown[0]}', which is neither a feature of {self.bar_minutes}-minute"
                " bars (models/definitions.py, models/signals.py) nor a series from outside"
            )

    @functools.cached_property
    def feature_set(self) -> FeatureSet:
        """The columns of the feature table that anything here rests on, each once."""
        names = [name for predictor in self.predictors for name in predictor.feature_set.names]
        names += [name for name in self.features if name not in self.exogenous]
        if self.regime is not None:
            names += REGIME_FEATURES
        return FeatureSet(tuple(dict.fromkeys(names)) or (_KERNEL_NEEDS_ONE,), self.bar_minutes)

    @functools.cached_property
    def exogenous_names(self) -> tuple[str, ...]:
        """The outside series that anything here rests on: they follow the features in a row."""
        names = [name for predictor in self.predictors for name in predictor.exogenous]
        names += [name for name in self.features if name in self.exogenous]
        return tuple(dict.fromkeys(names))


class _Layout:
    """Where in a row (the spec's features, then its outside series) each consumer finds its columns."""

    def __init__(self, spec: ForecastSpec) -> None:
        self._columns = (*spec.feature_set.names, *spec.exogenous_names)
        self.lookups = tuple(spec.exogenous[name] for name in spec.exogenous_names)
        self.models = tuple((p, self._places(p.columns)) for p in spec.predictors)
        self.names = spec.features
        self.observed = self._places(spec.features)
        self.regime = None if spec.regime is None else self._places(REGIME_FEATURES)

    def _places(self, names: Sequence[str]) -> Ints | slice:
        """Indices of `names` in a row; where they are the whole row a slice, which copies nothing."""
        if tuple(names) == self._columns:
            return slice(None)
        return np.array([self._columns.index(name) for name in names], dtype=np.int64)

    def join(self, rows: Floats, ts_event: Ints) -> Floats:
        """`rows` [n, features] with the outside series as known at `ts_event` beside them."""
        if not self.lookups:
            return rows
        times = ts_event.tolist()
        outside = [np.fromiter(map(lookup, times), np.float64, len(times)) for lookup in self.lookups]
        return np.column_stack((rows, *outside))


class Precomputed(NamedTuple):
    """What `precompute` makes of n bars: the arguments of `PrecomputedSource`.

    `ts_event` int64 [n]; `probabilities` float64 [n, models]; `features` float64 [n, len(names)]; `regimes`
    int64 [n, 3] as `models.regime.regimes` gives them, None when not asked for.
    """

    ts_event: Ints
    probabilities: Floats
    names: tuple[str, ...]
    features: Floats
    regimes: Ints | None

    def last(self, bars: int) -> "Precomputed":
        """The last `bars` of them, as views."""
        start = len(self.ts_event) - bars
        regimes = None if self.regimes is None else self.regimes[start:]
        return Precomputed(
            self.ts_event[start:], self.probabilities[start:], self.names, self.features[start:], regimes
        )


def precompute(spec: ForecastSpec, bars: BarColumns) -> Precomputed:
    """All readings of consecutive closed bars at once, NaN and no regime during warm-up.

    Row i is what `StreamingSource` reads at bar i after the bars before it, to the last bit. DataError as
    `models.features.feature_matrix`.
    """
    layout, online = _Layout(spec), OnlineFeatures(spec.feature_set)
    regime = None if spec.regime is None else OnlineRegime(spec.regime)
    n = len(bars)
    probabilities = np.empty((n, len(layout.models)))
    features = np.empty((n, len(layout.names)))
    regimes = None if regime is None else np.empty((n, 3), dtype=np.int64)
    for start in range(0, n, _CHUNK_BARS):
        part = slice(start, min(start + _CHUNK_BARS, n))
        rows = layout.join(_extend(online, bars.slice(part.start, part.stop)), bars.ts_event[part])
        for j, (predictor, places) in enumerate(layout.models):
            probabilities[part, j] = predictor.predict(rows[:, places])
        features[part] = rows[:, layout.observed]
        if regimes is not None and regime is not None:
            regimes[part] = regime.extend(*rows[:, layout.regime].T)
    return Precomputed(bars.ts_event, probabilities, layout.names, features, regimes)


def forecast_bars(
    predictor: Predictor, bars: BarColumns, exogenous: Mapping[str, Callable[[int], float]] | None = None
) -> Floats:
    """The probability at each bar's close, float64 [n], NaN during warm-up."""
    spec = ForecastSpec(predictor.bar_minutes, (predictor,), exogenous=exogenous or {})
    return precompute(spec, bars).probabilities[:, 0]


class ForecastSource(Protocol):
    """Where a bar's reading comes from. One forecaster uses one of the two methods, for every bar."""

    def probability(self, bar: Bar) -> float:
        """The first model's probability at this bar's close, and nothing else; NaN during warm-up."""
        ...

    def reading(self, bar: Bar) -> Reading:
        """All that is known at this bar's close."""
        ...


class PrecomputedSource:
    """Readings computed beforehand, handed out in step with the bars they belong to.

    The arguments are the fields of `Precomputed`; `probabilities` may be float64 [n] for one model.
    """

    def __init__(
        self,
        ts_event: Ints,
        probabilities: Floats,
        names: tuple[str, ...] = (),
        features: Floats | None = None,
        regimes: Ints | None = None,
    ) -> None:
        table = probabilities[:, np.newaxis] if probabilities.ndim == 1 else probabilities
        shown = np.empty((len(ts_event), 0)) if features is None else features
        self._forecasts = _forecasts(ts_event, table)
        self._readings = _readings(ts_event, table, names, shown, regimes)

    def probability(self, bar: Bar) -> float:
        """The first model's probability of exactly this bar; RunFailedError when the arrays hold another."""
        ts_event, probability = next(self._forecasts, _NONE_LEFT)
        if ts_event != bar.ts_event:
            raise RunFailedError(f"no precomputed forecast for the bar closing at {bar.ts_event} ns")
        return probability

    def reading(self, bar: Bar) -> Reading:
        """The reading of exactly this bar; RunFailedError when the arrays hold another one."""
        ts_event, reading = next(self._readings, (-1, None))
        if reading is None or ts_event != bar.ts_event:
            raise RunFailedError(f"no precomputed reading for the bar closing at {bar.ts_event} ns")
        return reading


def _parts(n: int) -> Iterator[slice]:
    """Rows to turn into Python numbers at once."""
    return (slice(start, min(start + _CHUNK_BARS, n)) for start in range(0, n, _CHUNK_BARS))


def _forecasts(ts_event: Ints, probabilities: Floats) -> Iterator[tuple[int, float]]:
    parts = _parts(len(ts_event))
    return itertools.chain.from_iterable(
        zip(ts_event[part].tolist(), probabilities[part, 0].tolist(), strict=True) for part in parts
    )


def _readings(
    ts_event: Ints, probabilities: Floats, names: tuple[str, ...], features: Floats, regimes: Ints | None
) -> Iterator[tuple[int, Reading]]:
    for part in _parts(len(ts_event)):
        times = ts_event[part].tolist()
        codes = [(0, 0, -1)] * len(times) if regimes is None else regimes[part].tolist()
        rows = zip(times, probabilities[part].tolist(), features[part].tolist(), codes, strict=True)
        for ts, chances, values, code in rows:
            yield ts, Reading(tuple(chances), dict(zip(names, values, strict=True)), as_regime(*code))


class StreamingSource:
    """Feature kernel, models and regime, one bar at a time."""

    def __init__(self, spec: ForecastSpec, price_precision: int, size_precision: int) -> None:
        self._layout = _Layout(spec)
        self._features = OnlineFeatures(spec.feature_set)
        self._online_regime = None if spec.regime is None else OnlineRegime(spec.regime)
        self._regime: Regime | None = None
        self._last_ts = -1
        self._price_units = 10.0**price_precision
        self._size_units = 10.0**size_precision

    def warm_up(self, bars: BarColumns) -> None:
        """Feed the history before the first live bar."""
        if not len(bars):
            return
        rows = _extend(self._features, bars)
        self._last_ts = int(bars.ts_event[-1])
        if self._online_regime is not None:
            self._regime = as_regime(
                *self._online_regime.extend(*rows[:, self._layout.regime].T)[-1].tolist()
            )

    def probability(self, bar: Bar) -> float:
        """The first model's probability at this bar's close, from this bar and those before it."""
        predictor, places = self._layout.models[0]
        return predictor.predict_one(self._row(bar)[places])

    def reading(self, bar: Bar) -> Reading:
        """All that is known at this bar's close; a bar that came before changes nothing."""
        layout, row = self._layout, self._row(bar)
        if self._online_regime is not None and bar.ts_event > self._last_ts:
            self._regime = self._online_regime.update(*row[layout.regime].tolist())
        self._last_ts = max(self._last_ts, bar.ts_event)
        return Reading(
            tuple(predictor.predict_one(row[places]) for predictor, places in layout.models),
            dict(zip(layout.names, row[layout.observed].tolist(), strict=True)),
            self._regime,
        )

    def _row(self, bar: Bar) -> Floats:
        units = self._price_units
        # as_double() is one ulp off for a quarter of all prices; the same rounding as offline mends it
        row = self._features.update(
            bar.ts_event,
            round(bar.open.as_double() * units) / units,
            round(bar.high.as_double() * units) / units,
            round(bar.low.as_double() * units) / units,
            round(bar.close.as_double() * units) / units,
            round(bar.volume.as_double() * self._size_units) / self._size_units,
        )
        lookups = self._layout.lookups
        return np.concatenate((row, [lookup(bar.ts_event) for lookup in lookups])) if lookups else row


def _extend(online: OnlineFeatures, bars: BarColumns) -> Floats:
    return online.extend(bars.ts_event, bars.open, bars.high, bars.low, bars.close, bars.volume)


@fail_loud
class Forecaster(DataActor):
    """Publishes a `Forecast` a model at a bar's close, once the model is warm, then what strategies look at.

    Parameters
    ----------
    name
        The component's name.
    bar_type
        The instrument's bars.
    models
        Whose forecasts to publish, in the order of the source's probabilities.
    source
        Where readings come from.
    quiet_band
        For one model and no observations: probabilities nearer to one half are kept back. No listener would
        act on them, and that is what a model says on most bars.
    observe
        Whether an `Observation` follows the forecasts of every bar, those of the warm-up included.
    """

    def __new__(cls, name: str, **_: object) -> "Forecaster":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId(name)))  # type: ignore[call-arg]

    def __init__(
        self,
        name: str,
        *,
        bar_type: BarType,
        models: Sequence[ModelStream],
        source: ForecastSource,
        quiet_band: float = 0.0,
        observe: bool = False,
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId(name)))
        self.component_name = name
        self.failure: BaseException | None = None
        self._bar_type = bar_type
        self._bar_ns = length_ns(bar_type)
        self._instrument = str(bar_type.instrument_id)
        self._topic = forecast_topic(self._instrument)
        self._observation_topic = observation_topic(self._instrument)
        self._models = tuple(models)
        self._observe = observe
        self._alone = len(self._models) == 1 and not observe
        self._probability = source.probability
        self._reading = source.reading
        self._quiet_band = quiet_band

    def change_over(self, models: Sequence[ModelStream], source: ForecastSource) -> None:
        """Other models of the same names, and where readings come from, at the next bar; between two bars."""
        self._models = tuple(models)
        self._probability = source.probability
        self._reading = source.reading

    def on_start(self) -> None:
        """Follow the instrument's bars."""
        self.subscribe_bars(self._bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Publish what is known at this bar's close; of a model that has no probability (NaN), nothing."""
        if self._alone:
            probability = self._probability(bar)
            if abs(probability - 0.5) >= self._quiet_band:
                self._publish(self._models[0], closed_at(bar.ts_event, self._bar_ns), probability)
            return
        reading, ts_event = self._reading(bar), closed_at(bar.ts_event, self._bar_ns)
        for model, probability in zip(self._models, reading.probabilities, strict=True):
            if not math.isnan(probability):
                self._publish(model, ts_event, probability)
        if self._observe:
            observation = Observation(
                instrument=self._instrument,
                ts_event=ts_event,
                features=reading.features,
                regime=reading.regime,
            )
            self.publish_message(self._observation_topic, observation)

    def _publish(self, model: ModelStream, ts_event: int, probability: float) -> None:
        self.publish_message(
            self._topic,
            Forecast(
                instrument=self._instrument,
                model=model.name,
                ts_event=ts_event,
                horizon_bars=model.horizon_bars,
                probability=probability,
            ),
        )
