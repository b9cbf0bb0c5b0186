"""Everything a node needs before it connects: instruments, models, history, components."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nautilus_trader.adapters.binance import decode_binance_futures_client_order_id

from actors.forecaster import ForecastSource, ForecastSpec, ModelStream, StreamingSource
from actors.state_file import StateFile
from catalog.columns import BarColumns, interval_ns, utc_text
from catalog.instruments import build_instrument, market_of, read_exchange_info, symbol_of
from catalog.store import Catalog
from configs.console import status
from configs.errors import ConfigError, DataError
from configs.schema import ModelConfig, RunConfig, StrategyConfig
from live.history import bars_between, newest_bars
from live.joined import JoinedSource
from live.operate.roster import Bundles
from live.policy import order_limits
from live.venue.client import VenueClient
from live.venue.spot_client import SpotClient
from models.predictor import Predictor
from models.train import ensure_bundle
from strategies import trade
from strategies.assembly import (
    Assembly,
    ModelFeed,
    assemble,
    forecast_spec,
    observed_inputs,
    trade_file,
)
from strategies.holdings import CoinFill
from strategies.memory import TradeMemory
from strategies.setup import Instrument, Since

__all__ = [
    "GUARD_FILE",
    "Parts",
    "Warmer",
    "history_bars",
    "load_specs",
    "make_parts",
    "model_feed",
    "read_instruments",
    "remembered_sides",
    "spec_of",
]

_SPARE_BARS = 500  # beyond what warming up takes: smoothings forget where they began,
_SPARE_WARM_UPS = 4  # those of longer bars later: five times their warm-up leaves some 1e-6 of it
GUARD_FILE = "guard.json"
_HOURS = "1h"


@dataclass(frozen=True, slots=True)
class Parts:
    """The components, and what feeds them."""

    assembly: Assembly
    feeds: Mapping[str, ModelFeed]
    pool: ThreadPoolExecutor


def load_specs(
    run: RunConfig, models_root: Path, bundles: Bundles = MappingProxyType({})
) -> dict[str, ForecastSpec]:
    """What to compute of each instrument's bars: models of `bundles` (folders by strategy and model), the
    others found or trained.

    ConfigError for what live has not.
    """
    specs = {}
    for strategy in run.strategies:
        given = bundles.get(strategy.label, {})
        spec = spec_of(run, strategy, partial(_bundle, run, strategy, models_root), given)
        if spec is not None:
            specs[strategy.instrument] = spec
    return specs


def spec_of(
    run: RunConfig, strategy: StrategyConfig, find: Callable[[str], Path], bundles: Mapping[str, str]
) -> ForecastSpec | None:
    """What to compute of one instrument's bars; `find` is asked for models that `bundles` has not.

    None for nothing. ConfigError for what live has not, ModelError for a bundle that cannot be trusted.
    """
    _refuse_outside(run, strategy)
    models = []
    for name in strategy.all_models:
        folder = Path(bundles[name]) if name in bundles else find(name)
        models.append(Predictor.load(folder, instrument=strategy.instrument))
    return forecast_spec(run, strategy, models, {})


def _refuse_outside(run: RunConfig, strategy: StrategyConfig) -> None:
    learned = {name for model in run.models for name in model.exogenous}
    if learned or any(name.startswith("fear_greed") for name in observed_inputs(strategy).features):
        raise ConfigError(f"{strategy.label} looks at a sentiment index: the live node does not feed one yet")


def _bundle(run: RunConfig, strategy: StrategyConfig, models_root: Path, name: str) -> Path:
    model: ModelConfig = next(m for m in run.models if m.name == name)
    with status(f"model {name} for {strategy.instrument}: find or train"):
        catalog = Catalog.open(run.data.catalog)
        return ensure_bundle(run, model, strategy.instrument, catalog, models_root)


def history_bars(run: RunConfig, specs: Mapping[str, ForecastSpec]) -> int:
    """How many closed bars the features of every instrument need before the first decision."""
    bars = 0
    for spec in specs.values():
        regime = 0 if spec.regime is None else run.regime.volatility_window + run.regime.min_bars
        warm_up = spec.feature_set.warmup_bars
        bars = max(bars, warm_up + regime + max(_SPARE_BARS, _SPARE_WARM_UPS * warm_up))
    return bars


def remembered_sides(run: RunConfig, folder: Path) -> dict[str, int]:
    """The sides of the trades that were open, or being opened, when a node last used the state folder."""
    sides = {}
    for strategy in run.strategies:
        memory = StateFile(trade_file(folder / GUARD_FILE, strategy), TradeMemory).read()
        approved = None if memory is None else memory.trade or memory.pending
        if approved is not None:
            sides[symbol_of(strategy.instrument)] = approved.approved.side
    return sides


def make_parts(
    run: RunConfig,
    specs: Mapping[str, ForecastSpec],
    client: VenueClient,
    state: Path,
    *,
    may_enter: bool,
    is_paper: bool = False,
    keep: Callable[[str, BarColumns], None] = lambda *_: None,
) -> Parts:
    """Fetch instruments and history, warm everything up, and assemble the components.

    `is_paper`: nobody can be asked what a trade has earned, and no stop closes a whole position. `keep` is
    told of bars that are fetched: to warm up on, and to fill gaps, then from another thread.
    """
    trade.warm_up()
    instruments = read_instruments(run, client, state)
    pool = ThreadPoolExecutor(1, "bars")
    warmer = Warmer(run, client, pool, keep)
    sources = {
        name: warmer.source(name, spec, instruments[name], history_bars(run, specs))
        for name, spec in specs.items()
    }
    feeds = {
        s.instrument: model_feed(s, specs[s.instrument], sources[s.instrument])
        for s in run.strategies
        if s.instrument in specs
    }
    assembly = assemble(
        run,
        instruments,
        feeds,
        state_path=state / GUARD_FILE,
        live=True,
        may_enter=may_enter,
        # on spot the book of coins knows
        earned_since=None if is_paper or isinstance(client, SpotClient) else partial(_earned_since, client),
        closing_stop=not is_paper,
        order_limits=order_limits((state / "exchange_info.json").read_bytes()),
        missed=_missed_fills(run, client),
    )
    if len(run.instruments) > 1:
        for name in run.instruments:
            hours = warmer.hours(name)
            assembly.guard.warm_up(name, hours.ts_event, hours.close)
    return Parts(assembly, feeds, pool)


def model_feed(strategy: StrategyConfig, spec: ForecastSpec, source: ForecastSource) -> ModelFeed:
    """The strategy's models in the order of the spec's, and where their readings come from."""
    named = zip(strategy.all_models, spec.predictors, strict=True)
    return ModelFeed(tuple(ModelStream(name, model.horizon_bars) for name, model in named), source)


_MS_NS = 1_000_000


def _earned_since(client: VenueClient, name: str, since_ns: int) -> Since:
    symbol = symbol_of(name)
    fills = client.fills_since(symbol, since_ns)
    executed = {
        decode_binance_futures_client_order_id(order.client_order_id): float(order.executed)
        for order in client.recent_orders(symbol)
        if order.executed and order.update_time * _MS_NS >= since_ns - _MS_NS
    }
    pnl = sum((fill.realized_pnl - fill.commission for fill in fills), Decimal(0))
    return Since(float(pnl), max((fill.time * _MS_NS for fill in fills), default=0), executed)


def _missed_fills(run: RunConfig, client: VenueClient) -> Callable[[str, int], list[CoinFill]] | None:
    """On spot: what has filled since a trade id of the orders of this run's strategies."""
    if not isinstance(client, SpotClient):
        return None
    tags = [f"{index:02d}" for index in range(len(run.strategies))]
    return lambda name, after: client.own_fills(symbol_of(name), after, tags)


def read_instruments(run: RunConfig, client: VenueClient, state: Path) -> dict[str, Instrument]:
    """The venue's own rules, as they are now; kept in the state folder. ConfigError for what it has not."""
    path = state / "exchange_info.json"
    fresh = state / "exchange_info.tmp"
    fresh.write_bytes(client.raw_exchange_info())
    fresh.replace(path)
    known = read_exchange_info(path, market_of(run.instruments[0]))
    missing = [name for name in run.instruments if symbol_of(name) not in known]
    if missing:
        raise ConfigError(f"{missing[0]}: the venue does not trade it")
    return {name: build_instrument(known[symbol_of(name)]) for name in run.instruments}


@dataclass(frozen=True, slots=True)
class Warmer:
    """Fetches history, and makes sources that are warm; what is missing later is fetched in `pool`."""

    run: RunConfig
    client: VenueClient
    pool: ThreadPoolExecutor
    keep: Callable[[str, BarColumns], None]

    def source(self, name: str, spec: ForecastSpec, instrument: Instrument, bars: int) -> JoinedSource:
        """An instrument's source, warmed up on so many bars; DataError where the venue has too few."""
        interval = self.run.data.bar
        with status(f"{bars} bars of {name} to warm up on"):
            history = newest_bars(self.client, symbol_of(name), interval, bars)
        _check_history(history, name, interval, spec.feature_set.warmup_bars, self.run.data.max_gap_minutes)
        source = StreamingSource(spec, instrument.price_precision, instrument.size_precision)
        source.warm_up(history)
        self.keep(name, history)
        return JoinedSource(
            source,
            spec,
            last_ts=int(history.ts_event[-1]),
            bar_ns=interval_ns(interval),
            fetch=partial(self._missed, name),
            pool=self.pool,
        )

    def hours(self, name: str) -> BarColumns:
        """What the correlations of an instrument begin with."""
        count = 24 * self.run.risk.portfolio.correlation_days
        return newest_bars(self.client, symbol_of(name), _HOURS, count)

    def _missed(self, name: str, after_ns: int, until_ns: int) -> BarColumns:
        missed = bars_between(self.client, symbol_of(name), self.run.data.bar, after_ns, until_ns)
        if len(missed):
            self.keep(name, missed)
        return missed


def _check_history(bars: BarColumns, name: str, interval: str, least: int, max_gap_minutes: int) -> None:
    if len(bars) <= least:
        raise DataError(
            f"{name}: the venue has {len(bars)} closed {interval} bars, warming up takes {least + 1}"
        )
    steps: Any = (bars.ts_event[1:] - bars.ts_event[:-1]) // 60_000_000_000
    if int(steps.max()) > max(max_gap_minutes, interval_ns(interval) // 60_000_000_000):
        at = utc_text(int(bars.ts_event[int(steps.argmax())]))
        raise DataError(
            f"{name}: no bars for {int(steps.max())} minutes after {at}; see data.max_gap_minutes"
        )
