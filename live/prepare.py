"""Everything a node needs before it connects: instruments, models, history, components."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.forecaster import ForecastSpec, ModelStream, StreamingSource
from actors.state_file import StateFile
from catalog.columns import BarColumns, interval_ns, utc_text
from catalog.instruments import build_instrument, read_exchange_info, symbol_of
from catalog.store import Catalog
from configs.console import status
from configs.errors import ConfigError, DataError
from configs.schema import ModelConfig, RunConfig, StrategyConfig
from live.joined import JoinedSource
from live.rest import FuturesRest
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
from strategies.memory import TradeMemory
from strategies.setup import Instrument

__all__ = ["Parts", "history_bars", "load_specs", "make_parts", "remembered_sides"]

_SPARE_BARS = 500  # beyond what warming up takes: smoothings forget where they began
GUARD_FILE = "guard.json"
_HOURS = "1h"


@dataclass(frozen=True, slots=True)
class Parts:
    """The components, and what feeds them."""

    assembly: Assembly
    sources: Mapping[str, JoinedSource]
    pool: ThreadPoolExecutor


def load_specs(run: RunConfig, models_root: Path) -> dict[str, ForecastSpec]:
    """What to compute of each instrument's bars, models found or trained.

    ConfigError for what live has not.
    """
    catalog = Catalog.open(run.data.catalog) if run.models else None
    specs = {}
    for strategy in run.strategies:
        _refuse_outside(run, strategy)
        models = [_predictor(run, strategy, name, catalog, models_root) for name in strategy.all_models]
        spec = forecast_spec(run, strategy, models, {})
        if spec is not None:
            specs[strategy.instrument] = spec
    return specs


def _refuse_outside(run: RunConfig, strategy: StrategyConfig) -> None:
    learned = {name for model in run.models for name in model.exogenous}
    if learned or any(name.startswith("fear_greed") for name in observed_inputs(strategy).features):
        raise ConfigError(f"{strategy.label} looks at a sentiment index: the live node does not feed one yet")


def _predictor(
    run: RunConfig, strategy: StrategyConfig, name: str, catalog: Catalog | None, models_root: Path
) -> Predictor:
    model: ModelConfig = next(m for m in run.models if m.name == name)
    assert catalog is not None
    with status(f"model {name} for {strategy.instrument}: find or train"):
        bundle = ensure_bundle(run, model, strategy.instrument, catalog, models_root)
    return Predictor.load(bundle, instrument=strategy.instrument)


def history_bars(run: RunConfig, specs: Mapping[str, ForecastSpec]) -> int:
    """How many closed bars the features of every instrument need before the first decision."""
    bars = 0
    for spec in specs.values():
        regime = 0 if spec.regime is None else run.regime.volatility_window + run.regime.min_bars
        bars = max(bars, spec.feature_set.warmup_bars + regime)
    return bars + _SPARE_BARS if specs else 0


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
    rest: FuturesRest,
    state: Path,
    *,
    may_enter: bool,
) -> Parts:
    """Fetch instruments and history, warm everything up, and assemble the components."""
    trade.warm_up()
    instruments = _instruments(run, rest, state)
    pool = ThreadPoolExecutor(1, "bars")
    sources = {
        name: _source(run, name, spec, instruments[name], rest, pool, history_bars(run, specs))
        for name, spec in specs.items()
    }
    feeds = {
        s.instrument: ModelFeed(
            tuple(
                ModelStream(name, predictor.horizon_bars)
                for name, predictor in zip(s.all_models, specs[s.instrument].predictors, strict=True)
            ),
            sources[s.instrument],
        )
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
        earned_since=lambda name, since_ns: rest.earned_since(symbol_of(name), since_ns),
    )
    if len(run.instruments) > 1:
        for name in run.instruments:
            hours = rest.klines(symbol_of(name), _HOURS, 24 * run.risk.portfolio.correlation_days)
            assembly.guard.warm_up(name, hours.ts_event, hours.close)
    return Parts(assembly, sources, pool)


def _instruments(run: RunConfig, rest: FuturesRest, state: Path) -> dict[str, Instrument]:
    """The venue's own rules, as they are now; kept in the state folder."""
    path = state / "exchange_info.json"
    path.write_bytes(rest.raw("/fapi/v1/exchangeInfo"))
    known = read_exchange_info(path, "um")
    missing = [name for name in run.instruments if symbol_of(name) not in known]
    if missing:
        raise ConfigError(f"{missing[0]}: the venue does not trade it")
    return {name: build_instrument(known[symbol_of(name)]) for name in run.instruments}


def _source(
    run: RunConfig,
    name: str,
    spec: ForecastSpec,
    instrument: Instrument,
    rest: FuturesRest,
    pool: ThreadPoolExecutor,
    bars: int,
) -> JoinedSource:
    symbol, interval = symbol_of(name), run.data.bar

    def fetch(after_ns: int, until_ns: int) -> BarColumns:
        return rest.klines_between(symbol, interval, after_ns, until_ns)

    with status(f"{bars} bars of {name} to warm up on"):
        history = rest.klines(symbol, interval, bars)
    _check_history(history, name, interval, spec.feature_set.warmup_bars, run.data.max_gap_minutes)
    source = StreamingSource(spec, instrument.price_precision, instrument.size_precision)
    source.warm_up(history)
    last = int(history.ts_event[-1])
    return JoinedSource(source, spec, last_ts=last, bar_ns=interval_ns(interval), fetch=fetch, pool=pool)


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
