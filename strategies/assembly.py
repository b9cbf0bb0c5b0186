"""The one place where a run file becomes components: backtest and live node both call it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

from nautilus_trader.model import BarType, CryptoPerpetual, CurrencyPair

from actors.audit import AuditActor
from actors.forecaster import Forecaster, ForecastSource
from catalog.store import bar_type
from configs.schema import RunConfig, StrategyConfig
from strategies.base import StrategySetup, TradingStrategy
from strategies.discovery import strategy_and_params
from strategies.trade import PlanParams
from strategies.values import InstrumentRules, Limits

__all__ = ["Assembly", "ModelFeed", "assemble", "check_strategies"]

Instrument = CryptoPerpetual | CurrencyPair


@dataclass(frozen=True, slots=True)
class ModelFeed:
    """A strategy's forecasts: the model's name, its horizon, and where the probabilities come from."""

    model: str
    horizon_bars: int
    source: ForecastSource


@dataclass(frozen=True, slots=True)
class Assembly:
    """The components of one run, in the order the engine should get them."""

    audit: AuditActor
    forecasters: tuple[Forecaster, ...]
    strategies: tuple[TradingStrategy, ...]

    @property
    def components(self) -> tuple[AuditActor | Forecaster | TradingStrategy, ...]:
        """All of them: what to look through for failures."""
        return (self.audit, *self.forecasters, *self.strategies)


def check_strategies(run: RunConfig) -> None:
    """ConfigError when a strategy is unknown or its `signal` group does not fit; nothing is built."""
    for index, strategy in enumerate(run.strategies):
        strategy_and_params(strategy.use, strategy.signal, f"strategies.{index}")


def assemble(
    run: RunConfig, instruments: Mapping[str, Instrument], feeds: Mapping[str, ModelFeed]
) -> Assembly:
    """Build a run's components; `instruments` by id, `feeds` by strategy label (only those with a model)."""
    forecasters = []
    traders = []
    for index, config in enumerate(run.strategies):
        module, params = strategy_and_params(config.use, config.signal, f"strategies.{index}")
        instrument = instruments[config.instrument]
        kind = BarType.from_str(bar_type(config.instrument, run.data.bar))
        feed = feeds.get(config.label)
        if feed is not None:
            forecasters.append(
                Forecaster(
                    f"FORECASTER-{config.label}",
                    bar_type=kind,
                    model=feed.model,
                    horizon_bars=feed.horizon_bars,
                    source=feed.source,
                    quiet_band=_quiet_band(module, params),
                )
            )
        traders.append(TradingStrategy(_setup(run, config, module, params, instrument, kind)))
    return Assembly(AuditActor(), tuple(forecasters), tuple(traders))


def _setup(
    run: RunConfig,
    config: StrategyConfig,
    module: ModuleType,
    params: object,
    instrument: Instrument,
    kind: BarType,
) -> StrategySetup:
    margined = isinstance(instrument, CryptoPerpetual)
    return StrategySetup(
        label=config.label,
        instrument=instrument,
        bar_type=kind,
        decide=module.decide,
        params=params,
        model=config.model,
        allow_short=config.allow_short and margined,
        margined=margined,
        leverage=run.venue.leverage if margined else 1.0,
        exit_on_opposite=config.exit_on_opposite,
        cool_off_bars=config.time.cool_off_bars,
        stop_distance=config.stop.pct / 100.0,
        target_distance=None if config.targets.pct is None else config.targets.pct / 100.0,
        plan=_plan(config),
        limits=_limits(run, config),
        rules=_rules(instrument),
    )


def _quiet_band(module: ModuleType, params: object) -> float:
    """How near to one half a probability may be before the strategy cares: 0 unless the module says so."""
    return float(module.quiet_band(params)) if hasattr(module, "quiet_band") else 0.0


def _plan(config: StrategyConfig) -> PlanParams:
    trailing = config.trailing
    break_even = config.stop.break_even_after_pct
    return PlanParams(
        break_even_after=math.inf if break_even is None else break_even / 100.0,
        trail_activation=math.inf if trailing is None else trailing.activation_pct / 100.0,
        trail_distance=0.0 if trailing is None else (trailing.distance_pct or 0.0) / 100.0,
        max_bars=config.time.max_bars or 0,
    )


def _limits(run: RunConfig, config: StrategyConfig) -> Limits:
    cost = float(run.venue.taker_cost)
    return Limits(
        method=config.sizing.method,
        risk_per_trade=config.sizing.risk_per_trade_pct / 100.0,
        fraction=config.sizing.fraction_pct / 100.0,
        confidence_weighted=config.sizing.confidence_weighted,
        max_position=config.sizing.max_position_pct / 100.0,
        max_leverage=run.risk.max_leverage,
        max_notional=run.risk.max_notional,
        liquidation_buffer=run.risk.liquidation_buffer_pct / 100.0,
        entry_cost=cost,
        exit_cost=cost,
    )


def _rules(instrument: Instrument) -> InstrumentRules:
    def number(value: object, default: float) -> float:
        return default if value is None else float(str(value).split(" ")[0].replace("_", ""))

    return InstrumentRules(
        tick_size=number(instrument.price_increment, 0.0),
        step_size=number(instrument.size_increment, 0.0),
        min_quantity=number(instrument.min_quantity, 0.0),
        max_quantity=number(instrument.max_quantity, math.inf),
        min_notional=number(instrument.min_notional, 0.0),
    )
