"""Everything a node needs before it connects: instruments, models, history, components."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nautilus_trader.adapters.binance import decode_binance_futures_client_order_id

from actors.alarms import say
from actors.forecaster import ForecastSource, ForecastSpec, ModelStream, StreamingSource
from actors.state_file import StateFile
from catalog.columns import BarColumns, interval_ns, utc_text
from catalog.instruments import build_instrument, market_of, read_exchange_info, symbol_of
from catalog.store import Catalog
from configs.console import status
from configs.errors import ConfigError, DataError
from configs.schema import ModelConfig, RunConfig, StrategyConfig
from live.checks.report import Remembered
from live.history import bars_between, newest_bars, stored_before
from live.joined import JoinedSource
from live.operate.coin_books import begin_books
from live.operate.roster import Bundles
from live.outside import Outside, no_columns
from live.policy import largest_at_market, order_limits
from live.statements import clearing_rates, statements
from live.venue.answers import OpenOrder
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from live.venue.spot_client import SpotClient
from models.exogenous import ExogenousColumns
from models.predictor import Predictor
from models.settling import settling_bars
from models.train import check_delay, ensure_bundle
from strategies import trade
from strategies.assembly import (
    Assembly,
    ModelFeed,
    assemble,
    forecast_spec,
    trade_file,
)
from strategies.holdings import CoinFill, CoinSource
from strategies.memory import TradeMemory
from strategies.results import FillSource
from strategies.setup import Instrument

__all__ = [
    "GUARD_FILE",
    "Parts",
    "Warmer",
    "history_bars",
    "load_specs",
    "make_parts",
    "model_feed",
    "read_instruments",
    "remembered",
    "spec_of",
    "traded",
]

_SPARE_BARS = 500  # beyond what warming up takes, for the rank of the regime and what else has a memory
_SETTLED = 1e-4  # of a feature's standard deviation: what is left of where its history began
GUARD_FILE = "guard.json"
_HOURS = "1h"


@dataclass(frozen=True, slots=True)
class Parts:
    """The components, and what feeds them."""

    assembly: Assembly
    feeds: Mapping[str, ModelFeed]
    pool: ThreadPoolExecutor


def load_specs(
    run: RunConfig,
    models_root: Path,
    bundles: Bundles = MappingProxyType({}),
    columns: ExogenousColumns | None = None,
) -> dict[str, ForecastSpec]:
    """What to compute of each instrument's bars: models of `bundles` (folders by strategy and model), the
    others found or trained. `columns` are from outside the bars; by default they have no values.

    ConfigError for what live has not.
    """
    columns, specs = columns or no_columns(run), {}
    for strategy in run.strategies:
        given = bundles.get(strategy.label, {})
        spec = spec_of(run, strategy, partial(_bundle, run, strategy, models_root), given, columns)
        if spec is not None:
            specs[strategy.instrument] = spec
    return specs


def spec_of(
    run: RunConfig,
    strategy: StrategyConfig,
    find: Callable[[str], Path],
    bundles: Mapping[str, str],
    columns: ExogenousColumns,
) -> ForecastSpec | None:
    """What to compute of one instrument's bars; `find` is asked for models that `bundles` has not.

    None for nothing. ConfigError for what live has not, ModelError for a bundle that cannot be trusted, or
    that learned from outside columns under another delay than the run's.
    """
    models = []
    for name in strategy.all_models:
        folder = Path(bundles[name]) if name in bundles else find(name)
        predictor = Predictor.load(folder, instrument=strategy.instrument)
        check_delay(run, predictor, folder)
        models.append(predictor)
    return forecast_spec(run, strategy, models, columns.lookups())


def _bundle(run: RunConfig, strategy: StrategyConfig, models_root: Path, name: str) -> Path:
    model: ModelConfig = next(m for m in run.models if m.name == name)
    with status(f"model {name} for {strategy.instrument}: find or train"):
        catalog = Catalog.open(run.data.catalog)
        return ensure_bundle(run, model, strategy.instrument, catalog, models_root)


def history_bars(run: RunConfig, specs: Mapping[str, ForecastSpec]) -> int:
    """How many closed bars a start fetches: after as many no feature knows any more where they began."""
    bars = 0
    for spec in specs.values():
        regime = 0 if spec.regime is None else run.regime.volatility_window + run.regime.min_bars
        settled = settling_bars(spec.feature_set, _SETTLED)
        bars = max(bars, regime + max(spec.feature_set.warmup_bars + _SPARE_BARS, settled))
    return bars


def remembered(run: RunConfig, folder: Path) -> dict[str, Remembered]:
    """The trades that were open, or being opened, when a node last used the state folder, by symbol."""
    found = {}
    for symbol, memory in _memories(run, folder):
        if (trade := memory.trade or memory.pending) is not None:
            step = Decimal(str(memory.step_size))
            most = memory.most_lots * step if step else None  # written by a node that knew no step
            found[symbol] = Remembered(trade.approved.side, most, memory.since)
    return found


def traded(run: RunConfig, folder: Path) -> frozenset[str]:
    """The symbols that a node with this state folder has entered at least once."""
    return frozenset(symbol for symbol, _ in _memories(run, folder))


def _memories(run: RunConfig, folder: Path) -> Iterator[tuple[str, TradeMemory]]:
    for strategy in run.strategies:
        memory = StateFile(trade_file(folder / GUARD_FILE, strategy), TradeMemory).read()
        if memory is not None:
            yield symbol_of(strategy.instrument), memory


def make_parts(
    run: RunConfig,
    specs: Mapping[str, ForecastSpec],
    client: VenueClient,
    state: Path,
    outside: Outside,
    *,
    may_enter: bool,
    is_paper: bool = False,
    replays: bool = False,
    keep: Callable[[str, BarColumns], None] = lambda *_: None,
) -> Parts:
    """Fetch instruments and history, warm everything up, and assemble the components.

    The specs look at the columns of `outside`, which a component of its own follows where values come.
    `is_paper`: nobody can be asked what a trade has earned, and no stop closes a whole position. `replays`:
    the venue is a rehearsal, whose market may lie in the past. `keep` is told of bars that are fetched: to
    warm up on, and to fill gaps, then from another thread.
    """
    is_alone = is_paper or isinstance(client, SpotClient)  # on spot the book of coins knows
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
    begin_books(run, client, state)
    assembly = assemble(
        run,
        instruments,
        feeds,
        exogenous=outside.columns if outside.is_followed else None,
        state_path=state / GUARD_FILE,
        live=True,
        may_enter=may_enter,
        fills=None if is_alone else _fill_source(run, client, state, pool),
        closing_stop=not is_paper,
        replays=replays,
        order_limits=order_limits((state / "exchange_info.json").read_bytes()),
        coin_fills=_coin_source(client, pool),
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


def _fill_source(run: RunConfig, client: VenueClient, state: Path, pool: ThreadPoolExecutor) -> FillSource:
    """What trades have come to at the venue; asked in `pool`."""
    taker = Decimal(str(run.venue.taker_fee_bps)) / 10_000
    rates = clearing_rates((state / "exchange_info.json").read_bytes())
    return FillSource(statements(client, pool, taker, rates), _executed(run, client, state))


def _executed(run: RunConfig, client: VenueClient, state: Path) -> dict[str, dict[str, float]]:
    """What has filled of the orders of trades that the state folder remembers, by instrument and order.

    Nothing of an instrument for which nobody answers: what is held comes first, it is protected by what is
    remembered.
    """
    found = {}
    for strategy in run.strategies:
        memory = StateFile(trade_file(state / GUARD_FILE, strategy), TradeMemory).read()
        if memory is None or memory.instrument != strategy.instrument:
            continue
        if since := memory.began:
            orders = _recent_orders(client, strategy.instrument)
            if orders is None:
                continue
            found[strategy.instrument] = {
                decode_binance_futures_client_order_id(order.client_order_id): float(order.executed)
                for order in orders
                if order.executed and order.update_time * _MS_NS >= since - _MS_NS
            }
    return found


def _recent_orders(client: VenueClient, name: str) -> Sequence[OpenOrder] | None:
    try:
        return client.recent_orders(symbol_of(name))
    except VenueRequestError as error:
        say(f"{name}: {error}")
        return None


def _coin_source(client: VenueClient, pool: ThreadPoolExecutor) -> CoinSource | None:
    """On spot: own fills, since a trade id or in `pool` of orders."""
    if not isinstance(client, SpotClient):
        return None

    def of_orders(name: str, orders: Sequence[str]) -> Future[Sequence[CoinFill]]:
        return pool.submit(client.order_fills, symbol_of(name), orders)

    return CoinSource(lambda name, after: client.own_fills(symbol_of(name), after), of_orders)


def read_instruments(run: RunConfig, client: VenueClient, state: Path) -> dict[str, Instrument]:
    """The venue's own rules, as they are now; kept in the state folder. ConfigError for what it has not.

    What may be entered is what one order at the market may close.
    """
    path = state / "exchange_info.json"
    fresh = state / "exchange_info.tmp"
    fresh.write_bytes(client.raw_exchange_info())
    fresh.replace(path)
    known = read_exchange_info(path, market_of(run.instruments[0]))
    missing = [name for name in run.instruments if symbol_of(name) not in known]
    if missing:
        raise ConfigError(f"{missing[0]}: the venue does not trade it")
    largest, made = largest_at_market(path.read_bytes()), {}
    for name in run.instruments:
        spec = known[symbol_of(name)]
        most = min(spec.max_quantity, largest.get(spec.symbol, spec.max_quantity))
        made[name] = build_instrument(replace(spec, max_quantity=most))
    return made


@dataclass(frozen=True, slots=True)
class Warmer:
    """Fetches history, and makes sources that are warm; what is missing later is fetched in `pool`."""

    run: RunConfig
    client: VenueClient
    pool: ThreadPoolExecutor
    keep: Callable[[str, BarColumns], None]

    def source(self, name: str, spec: ForecastSpec, instrument: Instrument, bars: int) -> JoinedSource:
        """An instrument's source, warmed up on so many bars, those of the catalog where the venue has fewer.

        DataError where there are too few.
        """
        interval = self.run.data.bar
        with status(f"{bars} bars of {name} to warm up on"):
            history = self._history(name, interval, bars)
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

    def _history(self, name: str, interval: str, bars: int) -> BarColumns:
        own, data = newest_bars(self.client, symbol_of(name), interval, bars), self.run.data
        if not 0 < len(own) < bars:
            return own
        first_ns, most = int(own.ts_event[0]), data.max_gap_minutes
        before = stored_before(data.catalog, name, interval, first_ns, bars - len(own), max_gap_minutes=most)
        return BarColumns.join([before, own]) if len(before) else own

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
            f"{name}: {len(bars)} closed {interval} bars of venue and catalog, warming up takes {least + 1}"
        )
    steps: Any = (bars.ts_event[1:] - bars.ts_event[:-1]) // 60_000_000_000
    if int(steps.max()) > max(max_gap_minutes, interval_ns(interval) // 60_000_000_000):
        at = utc_text(int(bars.ts_event[int(steps.argmax())]))
        raise DataError(
            f"{name}: no bars for {int(steps.max())} minutes after {at}; see data.max_gap_minutes"
        )
