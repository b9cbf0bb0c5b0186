"""Prepares what joins a node that runs, on a thread of its own: models, history, correlations, checks.

Nothing in here touches the engine. What comes out are plain values and warm sources; the node's thread makes
components of them.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from actors.forecaster import ForecastSpec
from catalog.columns import BarColumns
from configs.errors import ConfigError, ModelError
from configs.schema import RunConfig, StrategyConfig
from live.checks.report import Remembered
from live.joined import JoinedSource
from live.operate.coin_books import newest_trade
from live.outside import Outside
from live.preflight import Setup, preflight
from live.prepare import Warmer, history_bars, model_feed, read_instruments, spec_of
from live.venue.spot_client import client_of
from live.venues import Venue, check_venue
from models.correlation import CorrelationTracker
from models.predictor import Predictor
from models.registry import Registry
from strategies import trade
from strategies.assembly import ModelFeed, check_strategies
from strategies.setup import Instrument

__all__ = ["Newcomer", "Workshop", "find_bundle", "named_predictors"]

LATEST = "latest"
_UNFOLLOWED = "this node does not follow: start it with sentiment.url in its run file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """A strategy ready to be built: what it trades, and its warm feed (None: it looks at bars alone).

    On spot `newest_trade` is where a book of what it holds begins (`live.operate.coin_books`).
    """

    config: StrategyConfig
    instrument: Instrument
    spec: ForecastSpec | None
    feed: ModelFeed | None
    source: JoinedSource | None
    bundles: Mapping[str, Predictor]
    newest_trade: int | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """Of its models, by name."""
        return {name: predictor.model_hash for name, predictor in self.bundles.items()}


class Workshop:
    """One thread, and a client of its own.

    `keep` is told of the bars that are fetched, `outside` is the node's.
    `may_trade`: orders may be sent at all; `sets_account`: leverage and margin type of new instruments are
    set at the venue. Everything but `submit` and `close` runs on the thread. ConfigError, ModelError or
    DataError say what cannot be, RunFailedError that the venue does not answer.
    """

    def __init__(
        self,
        venue: Venue,
        folder: Path,
        models_root: Path,
        keep: Callable[[str, BarColumns], None],
        outside: Outside,
        *,
        may_trade: bool,
        sets_account: bool,
    ) -> None:
        self._venue = venue
        self._folder = folder
        self._models_root = models_root
        self._keep = keep
        self._outside = outside
        self._may_trade = may_trade
        self._sets_account = sets_account
        self._pool = ThreadPoolExecutor(1, "commands")
        self._client = client_of(venue)

    def submit[R](self, work: Callable[[], R]) -> "Future[R]":
        """Do it on the thread."""
        return self._pool.submit(work)

    def close(self) -> None:
        """Begin nothing more; nobody waits for what is under way, which may be a request that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def newcomers(
        self, run: RunConfig, labels: tuple[str, ...], bundles: Mapping[str, Mapping[str, str]]
    ) -> list[Newcomer]:
        """The strategies of `run` with these labels, with warm sources."""
        check_venue(run, self._venue.kind)
        check_strategies(run)
        trade.warm_up()
        instruments = read_instruments(run, self._client, self._folder)
        chosen = [s for s in run.strategies if s.label in labels]
        return [self._newcomer(run, s, instruments[s.instrument], bundles.get(s.label, {})) for s in chosen]

    def _newcomer(
        self, run: RunConfig, config: StrategyConfig, instrument: Instrument, bundles: Mapping[str, str]
    ) -> Newcomer:
        spec = spec_of(run, config, _nowhere, bundles, self._outside.columns)
        if spec is not None and spec.exogenous_names and not self._outside.is_followed:
            raise ConfigError(f"{config.label} looks at {spec.exogenous_names[0]}, which {_UNFOLLOWED}")
        if spec is None:
            return Newcomer(
                config=config,
                instrument=instrument,
                spec=None,
                feed=None,
                source=None,
                bundles={},
                newest_trade=newest_trade(self._client, config.instrument),
            )
        name = config.instrument
        warmer = Warmer(run, self._client, self._pool, self._keep)
        source = warmer.source(name, spec, instrument, history_bars(run, {name: spec}))
        return Newcomer(
            config=config,
            instrument=instrument,
            spec=spec,
            feed=model_feed(config, spec, source),
            source=source,
            bundles=named_predictors(config, spec),
            newest_trade=newest_trade(self._client, name),
        )

    def tracker(self, run: RunConfig) -> CorrelationTracker | None:
        """The correlations of the run's instruments, with their history; None for a single one."""
        if len(run.instruments) < 2:
            return None
        warmer = Warmer(run, self._client, self._pool, self._keep)
        days = run.risk.portfolio.correlation_days
        tracker = CorrelationTracker(list(run.instruments), days, bar_secs=run.data.bar_secs)
        for name in run.instruments:
            hours = warmer.hours(name)
            tracker.extend(name, hours.ts_event, hours.close)
        return tracker

    def check(self, run: RunConfig, news: Iterable[Newcomer], sides: Mapping[str, int]) -> None:
        """Preflight with the strategies of `run`, among them `news`, as the one who starts with them would.

        `sides` are of the positions that are known, by symbol.
        """
        specs = {new.config.instrument: new.spec for new in news if new.spec is not None}
        setup = Setup(
            run=run,
            kind=self._venue.kind,
            folder=self._folder,
            specs=lambda: specs,
            history_bars=lambda found: history_bars(run, found),
            may_trade=self._may_trade,
            apply=self._sets_account,
            holds_lock=True,
            expected={symbol: Remembered(side) for symbol, side in sides.items()},
        )
        report = preflight(setup, self._client)
        if not report.may_start:
            row = report.row(report.failures[0])
            raise ConfigError(f"preflight: {row.check}: {row.found}; {row.advice}")

    def bundle(self, instrument: str, model: str, wish: str) -> str:
        """The folder of the bundle that is wished for: a path, or `latest`."""
        return str(find_bundle(self._models_root, instrument, model, wish))


def named_predictors(config: StrategyConfig, spec: ForecastSpec | None) -> dict[str, Predictor]:
    """The strategy's models by their names in the run file."""
    return {} if spec is None else dict(zip(config.all_models, spec.predictors, strict=True))


def find_bundle(root: Path, instrument: str, model: str, wish: str) -> Path:
    """A bundle's folder; `latest` is the one made last. ModelError when there is none."""
    if wish != LATEST:
        return Path(wish)
    found = Registry(root).versions(instrument, model)
    if not found:
        raise ModelError(f"no bundle of model '{model}' for {instrument} in {root}; name its folder")
    return max(found, key=lambda folder: folder.stat().st_mtime_ns)


def _nowhere(name: str) -> Path:
    raise ModelError(f"model '{name}': the command names no bundle; a node that runs trains none")
