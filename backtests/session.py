"""From a run file to a finished engine: check the data, get the models, assemble, run, look for failures."""

import gc
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from nautilus_trader.model import CryptoPerpetual, CurrencyPair

from actors.faults import raise_failures
from actors.forecaster import (
    ForecastSource,
    ForecastSpec,
    ModelStream,
    Precomputed,
    PrecomputedSource,
    StreamingSource,
    precompute,
)
from actors.messages import AuditRecord
from backtests.ticks import add_ticks, check_ticks
from backtests.venue import FundingSchedule, Simulation, build_engine, funding_schedule
from catalog.columns import MINUTE_NS, interval_ns, utc_ns
from catalog.store import BarColumns, Catalog, filters
from catalog.synthetic import ensure_synthetic
from configs.console import status
from configs.errors import DataError, RunFailedError
from configs.schema import LabelConfig, ModelConfig, RunConfig, StrategyConfig
from models.dataset import outcomes
from models.exogenous import EXOGENOUS_COLUMNS, ExogenousColumns, exogenous_names
from models.predictor import Predictor
from models.train import ensure_bundle, load_exogenous
from strategies import trade
from strategies.assembly import (
    Assembly,
    ModelFeed,
    assemble,
    check_strategies,
    forecast_spec,
    observed_inputs,
)

__all__ = ["Inputs", "Outcome", "execute", "model_test", "predictor_key", "prepare"]

Instrument = CryptoPerpetual | CurrencyPair
_HOUR_NS = 60 * MINUTE_NS
_LONGEST_FUNDING_STEP_HOURS = 9


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run needs, checked and in memory.

    `history` holds each instrument's bars of [data.start, data.end), `bars` those of [data.test_start,
    data.end) that the engine trades. `predictors` are keyed by strategy label, a strategy's further models by
    label/model; `specs` and `readings` (one a bar of `bars`) by instrument. `exogenous` are the series from
    outside the bars, None when none is used.
    """

    run: RunConfig
    catalog: Catalog
    instruments: Mapping[str, Instrument]
    history: Mapping[str, BarColumns]
    bars: Mapping[str, BarColumns]
    funding: Mapping[str, FundingSchedule]
    predictors: Mapping[str, Predictor]
    specs: Mapping[str, ForecastSpec]
    readings: Mapping[str, Precomputed]
    exogenous: ExogenousColumns | None
    data_hash: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the engine still holds orders, fills and account."""

    simulation: Simulation
    records: list[AuditRecord]
    roles: Mapping[str, str]
    engine_cpu_secs: float


def prepare(run: RunConfig, *, models_root: Path, quiet: bool = False) -> Inputs:
    """Check and load everything before anything runs.

    The synthetic market and missing models are made here. Raises ConfigError, DataError or ModelError with
    the one line a user needs.
    """
    check_strategies(run)
    if run.data.synthetic is not None:
        with status("synthetic market: find, or make once", quiet=quiet):
            ensure_synthetic(run)
    catalog = Catalog.open(run.data.catalog)
    start, test_start, end = (utc_ns(t) for t in (run.data.start, run.data.test_start, run.data.end))
    history, bars = _bars(run, catalog, start, test_start, end)
    predictors = {
        predictor_key(strategy, name): _predictor(run, strategy, name, catalog, models_root, quiet)
        for strategy in run.strategies
        for name in strategy.all_models
    }
    exogenous = _exogenous(run, predictors, catalog, start, end)
    specs = _specs(run, predictors, {} if exogenous is None else exogenous.lookups())
    readings = {name: precompute(spec, history[name]).last(len(bars[name])) for name, spec in specs.items()}
    funding, warnings = _funding(run, catalog, bars, (test_start, end))
    warnings += _stale(exogenous, bars)
    return Inputs(
        run=run,
        catalog=catalog,
        instruments={name: catalog.instrument(name) for name in run.instruments},
        history=history,
        bars=bars,
        funding=funding,
        predictors=predictors,
        specs=specs,
        readings=readings,
        exogenous=exogenous,
        data_hash=_data_hash(run, catalog, history, funding, exogenous),
        warnings=tuple(warnings),
    )


def execute(inputs: Inputs) -> Outcome:
    """Run the engine over the prepared bars. RunFailedError names the component whose handler raised."""
    run = inputs.run
    feeds = {s.instrument: _feed(inputs, s) for s in run.strategies if s.instrument in inputs.specs}
    assembly = assemble(run, inputs.instruments, feeds, exogenous=inputs.exogenous)
    simulation = build_engine(run, list(inputs.instruments.values()), inputs.funding)
    engine = simulation.engine
    last = {}
    for name in run.instruments:
        period = utc_ns(run.data.test_start), utc_ns(run.data.end)
        traded = inputs.catalog.engine_bars(name, run.data.bar, *period)
        engine.add_data(traded)
        last[name] = traded[-1].ts_init
    ticks = add_ticks(engine, run, inputs.catalog, last) if run.data.ticks else 0
    assembly.guard.watch(engine.portfolio)
    for name, bars in inputs.bars.items():
        past = inputs.history[name].slice(0, len(inputs.history[name]) - len(bars))
        assembly.guard.warm_up(name, past.ts_event, past.close)
    for actor in assembly.actors:
        engine.add_actor(actor)
    for strategy in assembly.strategies:
        engine.add_strategy(strategy)
    trade.warm_up()  # compiling is no part of the engine's speed
    gc.collect()
    began = process_time()
    try:
        engine.run()
    except RuntimeError as error:  # a failing on_start or funding module; the rest is swallowed
        raise_failures(assembly.components)
        raise RunFailedError(f"the engine failed: {error}") from error
    spent = process_time() - began
    raise_failures(assembly.components)
    _check_complete(assembly, inputs, engine.iteration - ticks)
    roles = {order: role for strategy in assembly.strategies for order, role in strategy.roles.items()}
    return Outcome(simulation, assembly.audit.records, roles, spent)


def model_test(inputs: Inputs) -> pd.DataFrame:
    """Forecasts of the traded period beside what came: ts_event, instrument, model, probability, outcome.

    `outcome` is what the model was trained to tell (`models.dataset.outcomes`, with the label in its bundle):
    1 when the upper barrier came first, 0 for the lower, NaN when neither did and in the last `horizon_bars`.
    """
    parts = []
    for strategy in inputs.run.strategies:
        bars = inputs.bars[strategy.instrument]
        for place, name in enumerate(strategy.all_models):
            probability = inputs.readings[strategy.instrument].probabilities[:, place]
            predictor = inputs.predictors[predictor_key(strategy, name)]
            label = LabelConfig.model_validate(predictor.metadata["label"])
            frame = bars.to_frame()[["ts_event"]].assign(
                instrument=strategy.instrument,
                model=name,
                probability=probability,
                outcome=outcomes(bars, label)[0],
            )
            parts.append(frame[~np.isnan(probability)])
    if not parts:
        columns = ["ts_event", "instrument", "model", "probability", "outcome"]
        return pd.DataFrame(columns=columns).astype({"ts_event": "datetime64[ns, UTC]"})
    return pd.concat(parts, ignore_index=True)


def _bars(
    run: RunConfig, catalog: Catalog, start: int, test_start: int, end: int
) -> tuple[dict[str, BarColumns], dict[str, BarColumns]]:
    """Each instrument's bars of the whole period, and of those the ones that are traded (never none)."""
    interval, most = run.data.bar, max(run.data.max_gap_minutes, run.data.bar_secs // 60)
    for name in run.instruments:
        for begin in (start, test_start):  # the traded period alone, too: it may lie within the longest hole
            catalog.require_bars(name, interval, begin, end, max_gap_minutes=most)
    history = {name: catalog.bars(name, interval, start, end) for name in run.instruments}
    first_close = test_start + interval_ns(interval)
    return history, {name: _from(columns, first_close) for name, columns in history.items()}


def predictor_key(strategy: StrategyConfig, model: str) -> str:
    """The name of a strategy's predictor: its label, with the model's name for a further one."""
    return strategy.label if model == strategy.model else f"{strategy.label}/{model}"


def _predictor(
    run: RunConfig, strategy: StrategyConfig, name: str, catalog: Catalog, models_root: Path, quiet: bool
) -> Predictor:
    model = _model(run, name)
    with status(f"model {model.name} for {strategy.instrument}: find or train", quiet=quiet):
        bundle = ensure_bundle(run, model, strategy.instrument, catalog, models_root)
    return Predictor.load(bundle, instrument=strategy.instrument)


def _model(run: RunConfig, name: str) -> ModelConfig:
    return next(m for m in run.models if m.name == name)


def _exogenous(
    run: RunConfig, predictors: Mapping[str, Predictor], catalog: Catalog, start: int, end: int
) -> ExogenousColumns | None:
    """The series from outside the bars, when a model or a strategy wants any of them."""
    wanted = {name for predictor in predictors.values() for name in predictor.exogenous}
    wanted.update(name for strategy in run.strategies for name in observed_inputs(strategy).features)
    if wanted.isdisjoint(exogenous_names(EXOGENOUS_COLUMNS)):
        return None
    return load_exogenous(run, catalog, start, end)


def _stale(exogenous: ExogenousColumns | None, bars: Mapping[str, BarColumns]) -> list[str]:
    """A warning for the bars on which a series from outside is missing: there is no forecast on them."""
    if exogenous is None:
        return []
    missing = {name: int(np.isnan(exogenous.join(b.ts_event)).any(axis=1).sum()) for name, b in bars.items()}
    return [
        f"{name}: {', '.join(exogenous.names)} missing or too old on {count} of {len(bars[name])} bars"
        for name, count in missing.items()
        if count
    ]


def _specs(
    run: RunConfig, predictors: Mapping[str, Predictor], lookups: Mapping[str, Callable[[int], float]]
) -> dict[str, ForecastSpec]:
    """What to compute of each instrument's bars; instruments with nothing are left out."""
    specs = {}
    for strategy in run.strategies:
        models = [predictors[predictor_key(strategy, name)] for name in strategy.all_models]
        spec = forecast_spec(run, strategy, models, lookups)
        if spec is not None:
            specs[strategy.instrument] = spec
    return specs


def _feed(inputs: Inputs, strategy: StrategyConfig) -> ModelFeed:
    spec, readings = inputs.specs[strategy.instrument], inputs.readings[strategy.instrument]
    bars, history = inputs.bars[strategy.instrument], inputs.history[strategy.instrument]
    source: ForecastSource
    if inputs.run.forecasts == "precomputed":
        source = PrecomputedSource(*readings)
    else:
        instrument = inputs.instruments[strategy.instrument]
        streaming = StreamingSource(spec, instrument.price_precision, instrument.size_precision)
        streaming.warm_up(history.slice(0, len(history) - len(bars)))
        source = streaming
    horizons = [predictor.horizon_bars for predictor in spec.predictors]
    return ModelFeed(tuple(map(ModelStream, strategy.all_models, horizons)), source)


def _funding(
    run: RunConfig, catalog: Catalog, bars: Mapping[str, BarColumns], period: tuple[int, int]
) -> tuple[dict[str, FundingSchedule], list[str]]:
    """Each perpetual's funding over the traded period; holes are an error or a warning, never silence."""
    schedules: dict[str, FundingSchedule] = {}
    warnings: list[str] = []
    perpetuals = [name for name in run.instruments if "-PERP." in name]
    if perpetuals and run.venue.funding == "off":
        return schedules, ["funding is switched off (venue.funding): it is not charged"]
    for name in perpetuals:
        stored = catalog.funding(name, period[0], period[1] + 1)
        hours = np.diff(np.concatenate(([period[0]], stored.ts_event, [period[1]]))).max() / _HOUR_NS
        if hours > _LONGEST_FUNDING_STEP_HOURS:
            what = f"{name}: no funding rates for up to {hours:.0f} h of the period"
            if run.venue.funding == "required":
                raise DataError(f"{what}; ingest or download them (kind funding), or set venue.funding=off")
            warnings.append(f"{what}: funding of that time is not charged")
        schedules[name] = funding_schedule(stored, bars[name], _marks(catalog, name, period))
    return schedules, warnings


def _marks(catalog: Catalog, name: str, period: tuple[int, int]) -> BarColumns:
    """Mark prices by their time; those by the minute, as a node keeps them of settlements, count first."""
    parts = [catalog.mark(name, "8h"), catalog.mark(name, "1m", period[0] - MINUTE_NS, period[1])]
    both = BarColumns.join(parts)
    order = np.argsort(both.ts_event, kind="stable")
    return BarColumns(*(getattr(both, field)[order] for field in BarColumns.__slots__))


def _data_hash(
    run: RunConfig,
    catalog: Catalog,
    history: Mapping[str, BarColumns],
    funding: Mapping[str, FundingSchedule],
    exogenous: ExogenousColumns | None,
) -> str:
    digest = hashlib.sha256()
    if exogenous is not None:
        digest.update(f"exogenous:{exogenous.digest()}\n".encode())
    ticks = check_ticks(run, catalog) if run.data.ticks else {}
    for name in run.instruments:
        digest.update(f"{ticks[name]}\n".encode() if name in ticks else b"")
        digest.update(f"{name}:{catalog.bars_hash(name, run.data.bar, history[name])}\n".encode())
        digest.update(f"{json.dumps(filters(catalog.instrument(name)), sort_keys=True)}\n".encode())
        schedule = funding.get(name)
        if schedule is not None:
            for values in (schedule.ts_event, schedule.rate, schedule.mark_price):
                digest.update(values.astype("<f8" if values.dtype.kind == "f" else "<i8").tobytes())
    return digest.hexdigest()


def _check_complete(assembly: Assembly, inputs: Inputs, iterations: int) -> None:
    """The engine must have seen every bar: a run that stopped early is not a result."""
    expected = sum(len(b) for b in inputs.bars.values())
    if iterations < expected:
        names = ", ".join(c.component_name for c in assembly.components)
        raise RunFailedError(
            f"the engine stopped after {iterations} of {expected} bars (components: {names})"
        )


def _from(bars: BarColumns, first_close: int) -> BarColumns:
    return bars.slice(int(np.searchsorted(bars.ts_event, first_close)), len(bars))
