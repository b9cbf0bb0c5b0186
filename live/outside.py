"""The Fear & Greed index for a node: whether anything rests on it, its history, where new values come from.

On a venue of today the history is the catalog's until now, and `sentiment.url` is polled for what comes after
it (actors.sentiment). A rehearsal that a node makes for itself replays the catalog's market at other times,
and the catalog's index with it, each value moved by as much: every bar meets the value that a backtest of it
meets. With a URL the rehearsal, too, has the index of today.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actors.forecaster import ForecastSpec
from catalog.columns import MINUTE_NS, utc_ns
from catalog.sentiment import FEAR_GREED, SentimentColumns
from catalog.store import Catalog
from configs.errors import DataError
from configs.schema import RunConfig
from models.exogenous import ExogenousColumns, KnownSeries, look_back_ns
from models.train import load_exogenous

__all__ = ["Outside", "catalog_history", "names_used", "no_columns"]


def no_columns(run: RunConfig) -> ExogenousColumns:
    """The columns of a series that has no value yet."""
    return ExogenousColumns(KnownSeries([], []), run.sentiment)


def names_used(specs: Iterable[ForecastSpec]) -> tuple[str, ...]:
    """The columns from outside that models or strategies look at, each once."""
    return tuple(dict.fromkeys(name for spec in specs for name in spec.exogenous_names))


@dataclass(slots=True)
class Outside:
    """The columns of one node, which grow with their series.

    `used` are those that something rests on when the node starts. `replayed`: all values there will ever be
    are in the series already, each with the time from which it counts.
    """

    columns: ExogenousColumns
    used: tuple[str, ...] = ()
    replayed: bool = False

    @property
    def is_followed(self) -> bool:
        """Whether values come: from a service, or because they are replayed."""
        return self.replayed or self.columns.config.url is not None

    def begin(self, run: RunConfig, specs: Mapping[str, ForecastSpec], now_ns: int | None = None) -> None:
        """What the catalog knows until now; a catalog without the index is no error, the service has some."""
        self.used = names_used(specs.values())
        if self.is_followed:
            history = catalog_history(run, time.time_ns() if now_ns is None else now_ns)
            _extend(self.columns.series, history, run.sentiment.publication_delay_minutes * MINUTE_NS)

    def replay(self, run: RunConfig, specs: Mapping[str, ForecastSpec], shift_ns: int) -> None:
        """The catalog's index of the traded period, `shift_ns` later; DataError where there is none."""
        self.used = names_used(specs.values())
        if not self.used:
            return
        stored = load_exogenous(
            run, Catalog.open(run.data.catalog), utc_ns(run.data.test_start), utc_ns(run.data.end)
        )
        for index in range(len(stored.series)):
            known_at, value, due = stored.series.row(index)
            self.columns.series.append(known_at + shift_ns, value, due + shift_ns)
        self.replayed = True


def catalog_history(run: RunConfig, now_ns: int) -> SentimentColumns | None:
    """The days of the catalog that count at `now_ns`; None where the catalog has none of them."""
    delay_ns = run.sentiment.publication_delay_minutes * MINUTE_NS
    first_ns = now_ns - delay_ns - look_back_ns(run.sentiment)
    try:
        stored = Catalog.open(run.data.catalog).sentiment(FEAR_GREED, first_ns, now_ns - delay_ns + 1)
    except DataError:
        return None
    return stored if len(stored) else None


def _extend(series: KnownSeries, history: SentimentColumns | None, delay_ns: int) -> None:
    if history is None:
        return
    for day, value in zip(history.date.tolist(), history.value.tolist(), strict=True):
        series.append(day + delay_ns, value)
