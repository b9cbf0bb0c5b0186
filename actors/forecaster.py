"""From closed bars to `Forecast` messages: one actor, two interchangeable sources of the probability.

`StreamingSource` feeds every bar through the feature kernel and the model as it arrives, the live path.
`PrecomputedSource` looks up what the same kernel and the same model gave over the run's arrays beforehand,
the fast path of a backtest. Both are bit-identical (features and model are, row by row and in a batch).
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Bar, BarType
from numpy.typing import NDArray

from actors.faults import fail_loud
from actors.messages import Forecast, forecast_topic
from catalog.store import BarColumns
from configs.errors import RunFailedError
from models.features import OnlineFeatures, feature_matrix
from models.predictor import Predictor

__all__ = ["ForecastSource", "Forecaster", "PrecomputedSource", "StreamingSource", "forecast_bars"]


_NONE_LEFT = (-1, float("nan"))


class ForecastSource(Protocol):
    """Where a bar's probability comes from."""

    def probability(self, bar: Bar) -> float:
        """The model's probability at this bar's close; NaN while the features warm up."""
        ...


def forecast_bars(predictor: Predictor, bars: BarColumns) -> NDArray[np.float64]:
    """The probability at each bar's close, float64 [n], NaN during warm-up."""
    matrix = feature_matrix(
        bars.ts_event, bars.open, bars.high, bars.low, bars.close, bars.volume, predictor.feature_set
    )
    return predictor.predict(matrix)


class PrecomputedSource:
    """Probabilities computed beforehand, handed out in step with the bars they belong to."""

    def __init__(self, ts_event: NDArray[np.int64], probability: NDArray[np.float64]) -> None:
        self._forecasts: Iterator[tuple[int, float]] = zip(
            ts_event.tolist(), probability.tolist(), strict=True
        )

    def probability(self, bar: Bar) -> float:
        """The probability of exactly this bar; RunFailedError when the arrays hold another one."""
        ts_event, probability = next(self._forecasts, _NONE_LEFT)
        if ts_event != bar.ts_event:
            raise RunFailedError(f"no precomputed forecast for the bar closing at {bar.ts_event} ns")
        return probability


class StreamingSource:
    """Feature kernel and model, one bar at a time."""

    def __init__(self, predictor: Predictor, price_precision: int, size_precision: int) -> None:
        self._predictor = predictor
        self._features = OnlineFeatures(predictor.feature_set)
        self._price_units = 10.0**price_precision
        self._size_units = 10.0**size_precision

    def warm_up(self, bars: BarColumns) -> None:
        """Feed the history before the first live bar."""
        columns = (bars.ts_event, bars.open, bars.high, bars.low, bars.close, bars.volume)
        for row in zip(*(c.tolist() for c in columns), strict=True):
            self._features.update(*row)

    def probability(self, bar: Bar) -> float:
        """The probability at this bar's close, from this bar and those before it."""
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
        return self._predictor.predict_one(row)


@fail_loud
class Forecaster(DataActor):
    """Publishes a `Forecast` at a bar's close, once the model is warm.

    Probabilities nearer to one half than `quiet_band` are kept back: no listener would act on them, and that
    is what a model says on most bars.
    """

    def __new__(cls, name: str, **_: object) -> "Forecaster":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId(name)))  # type: ignore[call-arg]

    def __init__(
        self,
        name: str,
        *,
        bar_type: BarType,
        model: str,
        horizon_bars: int,
        source: ForecastSource,
        quiet_band: float = 0.0,
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId(name)))
        self.component_name = name
        self.failure: BaseException | None = None
        self._bar_type = bar_type
        self._instrument = str(bar_type.instrument_id)
        self._topic = forecast_topic(self._instrument)
        self._model = model
        self._horizon_bars = horizon_bars
        self._probability = source.probability
        self._quiet_band = quiet_band

    def on_start(self) -> None:
        """Follow the instrument's bars."""
        self.subscribe_bars(self._bar_type)

    def on_bar(self, bar: Bar) -> None:
        """Publish the probability at this bar's close, or nothing while there is none (NaN)."""
        probability = self._probability(bar)
        if abs(probability - 0.5) >= self._quiet_band:
            self.publish_message(
                self._topic,
                Forecast(
                    instrument=self._instrument,
                    model=self._model,
                    ts_event=bar.ts_event,
                    horizon_bars=self._horizon_bars,
                    probability=probability,
                ),
            )
