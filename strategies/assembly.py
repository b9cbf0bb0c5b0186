"""The one place where a run file becomes components: backtest and live node both call it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from nautilus_trader.model import BarType, CryptoPerpetual

from actors.audit import AuditActor
from actors.forecaster import Forecaster, ForecastSource, ForecastSpec, ModelStream
from actors.guard import Guard
from actors.sentiment import SentimentActor
from actors.state_file import StateFile
from actors.tape import Tape
from catalog.columns import bar_type, live_bar_type
from configs.errors import ConfigError
from configs.schema import BAR_MINUTES, RunConfig, StrategyConfig
from models.exogenous import ExogenousColumns
from models.predictor import Predictor
from models.tape import TAPE_FEATURES
from strategies.base import TradingStrategy
from strategies.book import UnderWay
from strategies.checks import risk_limits_from
from strategies.discovery import strategy_and_params
from strategies.holdings import CoinBook, Coins, CoinSource, Holdings
from strategies.memory import TradeMemory
from strategies.order_budget import FUTURES_LIMITS, OrderBudget
from strategies.results import FillSource
from strategies.risk import limits_from, sizing_inputs
from strategies.setup import Instrument, LiveDuty, StrategySetup
from strategies.stops import stop_inputs
from strategies.trade import PlanParams
from strategies.values import Inputs, InstrumentRules

__all__ = [
    "Assembly",
    "Builder",
    "ModelFeed",
    "assemble",
    "check_strategies",
    "coins_file",
    "forecast_spec",
    "observed_inputs",
    "trade_file",
]


_SPARE_NOTIONAL = 1.5

Actor = AuditActor | Guard | SentimentActor | Forecaster | Tape


@dataclass(frozen=True, slots=True)
class ModelFeed:
    """An instrument's forecasts: the models, in the order of the readings, and where readings come from."""

    models: tuple[ModelStream, ...]
    source: ForecastSource


@dataclass(frozen=True, slots=True)
class Assembly:
    """The components of one run, in the order the engine should get them."""

    audit: AuditActor
    guard: Guard
    sentiment: SentimentActor | None
    forecasters: tuple[Forecaster, ...]
    tapes: tuple[Tape, ...]
    strategies: tuple[TradingStrategy, ...]
    builder: "Builder"

    @property
    def actors(self) -> tuple[Actor, ...]:
        """Everything but the strategies."""
        sentiment = () if self.sentiment is None else (self.sentiment,)
        return (self.audit, self.guard, *sentiment, *self.forecasters, *self.tapes)

    @property
    def bar_types(self) -> tuple[BarType, ...]:
        """The bars that the strategies trade on."""
        return tuple(strategy.bar_type for strategy in self.strategies)

    @property
    def components(self) -> tuple[Actor | TradingStrategy, ...]:
        """All of them: what to look through for failures."""
        return (*self.actors, *self.strategies)


def check_strategies(run: RunConfig) -> None:
    """ConfigError when a strategy is unknown or its `signal` group does not fit; nothing is built."""
    for index, strategy in enumerate(run.strategies):
        module, params = strategy_and_params(strategy.use, strategy.signal, f"strategies.{index}")
        _check_models(getattr(module, "models_read", lambda _: ())(params), strategy, f"strategies.{index}")
        if strategy.model is None and getattr(module, "NEEDS_MODEL", False):
            raise ConfigError(
                f"strategies.{index}.model: {strategy.use} lives on a probability; name one of `models`"
            )
        _check_kelly(run, strategy, f"strategies.{index}")
        if run.data.ticks:
            _check_tape(_inputs(module, params, strategy), strategy, f"strategies.{index}")


def _check_models(read: Iterable[str], strategy: StrategyConfig, where: str) -> None:
    """A model that a strategy reads and nobody publishes would abstain for ever, without a word."""
    for name in read:
        if name not in strategy.all_models:
            raise ConfigError(
                f"{where}.signal: reads model '{name}', which is neither `model` nor in `extra_models`"
            )


def _check_kelly(run: RunConfig, strategy: StrategyConfig, where: str) -> None:
    """A probability is that of its label's barriers; with another stop and target Kelly bets on nothing."""
    label = next((m.label for m in run.models if m.name == strategy.model), None)
    if strategy.sizing.method != "kelly" or label is None:
        return
    barriers = (label.stop_loss_pct, label.take_profit_pct)
    asked = (strategy.stop.pct if strategy.stop.method == "percent" else None, strategy.targets.pct)
    if asked != barriers or barriers[0] != barriers[1]:
        raise ConfigError(
            f"{where}.sizing.method kelly: the model's probability holds for its label's barriers "
            f"({barriers[1]} % up, {barriers[0]} % down): make them equal, stop.pct and targets.pct as well"
        )


def _check_tape(wanted: Inputs, strategy: StrategyConfig, where: str) -> None:
    """Bars of a second come with the tape's features and nothing else."""
    missing = [name for name in wanted.features if name not in TAPE_FEATURES]
    if wanted.regime:
        missing.append("the regime")
    missing += [f"model '{name}'" for name in strategy.all_models]
    if missing:
        raise ConfigError(
            f"{where}: on bars of a second there is no {missing[0]}, only the tape "
            f"({', '.join(TAPE_FEATURES)}); use longer bars, or other inputs, stop or sizing"
        )


def assemble(
    run: RunConfig,
    instruments: Mapping[str, Instrument],
    feeds: Mapping[str, ModelFeed],
    *,
    exogenous: ExogenousColumns | None = None,
    state_path: Path | None = None,
    live: bool = False,
    may_enter: bool = True,
    fills: FillSource | None = None,
    closing_stop: bool = True,
    replays: bool = False,
    order_limits: Sequence[tuple[int, int]] = FUTURES_LIMITS,
    coin_fills: CoinSource | None = None,
) -> Assembly:
    """Build a run's components; `guard.watch` is the caller's, once there is a portfolio.

    `instruments` and `feeds` are by instrument id (feeds only where there is a model or something to
    observe), `exogenous` are the series from outside the bars when any is used. `state_path` is where the
    guard keeps what must outlive a restart (None: a backtest, nothing does); live strategies keep theirs in
    files beside it. The others are those of `strategies.setup.LiveDuty`; `order_limits` are the venue's
    (window in ns, orders in it).
    """
    guard = _guard(run, instruments, state_path, live=live)
    coins = CoinBook() if live and not isinstance(next(iter(instruments.values())), CryptoPerpetual) else None
    if coins is not None:
        guard.count_coins(coins.amounts)

    usual = LiveDuty(
        may_enter=may_enter,
        memory=None,
        closing_stop=closing_stop,
        fills=fills,
        stale_quote_ns=None if run.live.stale_quote_secs is None else round(run.live.stale_quote_secs * 1e9),
        stale_bar_secs=run.live.stale_bar_secs,
        replays=replays,
        budget=OrderBudget(order_limits, run.live.protection_budget_pct, run.risk.max_order_rate_per_sec),
    )

    def duty_of(config: StrategyConfig, traded: Instrument) -> LiveDuty | None:
        if not live:
            return None
        duty = _duty(usual, config, state_path)
        return duty if coins is None else _with_coins(duty, config, traded, coins, coin_fills)

    builder = Builder(run, instruments, guard, duty_of)
    parts = [
        builder.build(config, f"{index:02d}", feeds.get(config.instrument), where=f"strategies.{index}")
        for index, config in enumerate(run.strategies)
    ]
    return Assembly(
        audit=AuditActor(),
        guard=guard,
        sentiment=None if exogenous is None else SentimentActor(exogenous, poll=live and _polls(run)),
        forecasters=tuple(forecaster for _, forecaster in parts if forecaster is not None),
        tapes=_tapes(run, instruments, live=live),
        strategies=tuple(trader for trader, _ in parts),
        builder=builder,
    )


class Builder:
    """Makes a run's strategies and their forecasters: all of them at its start, live more of them later.

    `instruments` may grow, and `run` be another one of the same account. What all of an account's strategies
    share is made once, here.
    """

    def __init__(
        self,
        run: RunConfig,
        instruments: Mapping[str, Instrument],
        guard: Guard,
        duty_of: Callable[[StrategyConfig, Instrument], LiveDuty | None],
    ) -> None:
        self.instruments = dict(instruments)
        self.run = run
        self._guard = guard
        self._duty_of = duty_of
        self._under_way = UnderWay()

    def build(
        self,
        config: StrategyConfig,
        order_tag: str,
        feed: ModelFeed | None,
        *,
        where: str,
        seat: str | None = None,
    ) -> tuple[TradingStrategy, Forecaster | None]:
        """A strategy and its forecaster (None without a feed); ConfigError says `where` something is wrong.

        `seat` is the strategy whose place in the engine it takes, which had the same `order_tag`: then the
        position and the orders of that one are its own.
        """
        module, params = strategy_and_params(config.use, config.signal, where)
        instrument, run = self.instruments[config.instrument], self.run
        duty = self._duty_of(config, instrument)
        kind = _kind(run, config.instrument, live=duty is not None)
        setup = _setup(
            run,
            config,
            module,
            params,
            instrument,
            kind,
            self._under_way,
            duty,
            where,
        )
        setup = replace(
            setup,
            order_tag=order_tag,
            seat=seat,
            last_intent=self._guard.last_intents.get(config.instrument),
        )
        forecaster = None
        if feed is not None:
            forecaster = Forecaster(
                f"FORECASTER-{config.label}",
                bar_type=kind,
                models=feed.models,
                source=feed.source,
                # live, what nobody acts on is written down all the same: it tells a model that drifts
                quiet_band=_quiet_band(module, params) if duty is None else 0.0,
                observe=setup.observes,
            )
        return TradingStrategy(setup), forecaster


def _duty(usual: LiveDuty, config: StrategyConfig, state_path: Path | None) -> LiveDuty:
    memory = None if state_path is None else StateFile(trade_file(state_path, config), TradeMemory)
    return replace(usual, memory=memory)


def _with_coins(
    duty: LiveDuty,
    config: StrategyConfig,
    instrument: Instrument,
    coins: CoinBook,
    coin_fills: CoinSource | None,
) -> LiveDuty:
    """On a spot venue: a book of what is held, in a file beside the trade's."""
    file = None
    if duty.memory is not None:
        file = StateFile(coins_file(duty.memory.path), Coins)
    holdings = Holdings(
        config.instrument,
        str(instrument.base_currency),
        str(instrument.quote_currency),
        instrument.size_increment.as_decimal(),
        file,
    )
    return replace(
        duty,
        closing_stop=False,
        holdings=coins.add(config.instrument, holdings),
        coins=coins,
        coin_fills=coin_fills,
    )


def coins_file(trade_file: Path) -> Path:
    """Where a live strategy on spot keeps the book of what it holds: beside its trade's file."""
    return trade_file.with_name(trade_file.name.replace("trade-", "coins-", 1))


def trade_file(state_path: Path, strategy: StrategyConfig) -> Path:
    """Where a live strategy remembers its trade: beside the guard's file."""
    return state_path.with_name(f"trade-{strategy.label}.json")


def _polls(run: RunConfig) -> bool:
    return run.sentiment.url is not None


def _guard(
    run: RunConfig, instruments: Mapping[str, Instrument], state_path: Path | None, *, live: bool
) -> Guard:
    traded = [instruments[name] for name in run.instruments]
    return Guard(
        risk=run.risk,
        bar_types=[_kind(run, name, live=live) for name in run.instruments],
        venue=traded[0].id.venue,
        quote_currency=traded[0].quote_currency,
        margined=isinstance(traded[0], CryptoPerpetual),
        state_path=state_path,
    )


def _kind(run: RunConfig, instrument: str, *, live: bool) -> BarType:
    name = live_bar_type if live else bar_type
    return BarType.from_str(name(instrument, run.data.bar))


def _tapes(run: RunConfig, instruments: Mapping[str, Instrument], *, live: bool) -> tuple[Tape, ...]:
    """On ticks every instrument's tape, which says what forecasters say on longer bars."""
    if not run.data.ticks:
        return ()
    return tuple(
        Tape(
            f"TAPE-{name.split('.')[0]}",
            bar_type=_kind(run, name, live=live),
            price_precision=instruments[name].price_precision,
            size_precision=instruments[name].size_precision,
        )
        for name in run.instruments
    )


def observed_inputs(config: StrategyConfig) -> Inputs:
    """What a strategy, its stop and its sizing look at beside the bar and its models' forecasts."""
    module, params = strategy_and_params(config.use, config.signal, config.label)
    return _inputs(module, params, config)


def forecast_spec(
    run: RunConfig,
    config: StrategyConfig,
    predictors: Sequence[Predictor],
    exogenous: Mapping[str, Callable[[int], float]],
) -> ForecastSpec | None:
    """What to compute of the instrument's bars; `predictors` are those of `config.all_models`, in order.

    None when there is nothing, and for bars shorter than a minute, which have no features. ModelError for an
    input that nobody provides.
    """
    wanted = observed_inputs(config)
    if run.data.bar not in BAR_MINUTES or not (predictors or wanted != Inputs()):
        return None
    regime = run.regime if wanted.regime else None
    return ForecastSpec(run.data.bar_minutes, tuple(predictors), wanted.features, regime, exogenous)


def _setup(
    run: RunConfig,
    config: StrategyConfig,
    module: ModuleType,
    params: object,
    instrument: Instrument,
    kind: BarType,
    under_way: UnderWay,
    duty: LiveDuty | None,
    where: str,
) -> StrategySetup:
    live = duty is not None
    margined = isinstance(instrument, CryptoPerpetual)
    ladder = config.targets.ladder
    if len(ladder) > 1 and not margined and run.venue.latency_ms and not live:
        raise ConfigError(
            f"{where}.targets: with venue.latency_ms a target on spot may sell what an exit has "
            "just sold, and the simulated account cannot owe coins; use one target, or no latency"
        )
    return StrategySetup(
        label=config.label,
        order_tag="00",
        instrument=instrument,
        bar_type=kind,
        decide=module.decide,
        params=params,
        model=config.model,
        models=config.all_models,
        inputs=_inputs(module, params, config),
        allow_short=config.allow_short and margined,
        margined=margined,
        leverage=run.venue.leverage if margined else 1.0,
        exit_on_opposite=config.exit_on_opposite,
        cool_off_bars=config.time.cool_off_bars,
        entry=config.entry,
        stop=config.stop,
        ladder=ladder,
        # a single target for everything is right as the simulated venue resizes it
        reduce_only_targets=live or len(ladder) == 0 or (len(ladder) == 1 and ladder[0][1] >= 1.0),
        add_share=0.0 if config.scale_in is None else config.scale_in.add_pct / 100.0,
        plan=_plan(config, run.data.bar_secs),
        limits=limits_from(run, config),
        risk=risk_limits_from(run),
        rules=_rules(instrument) if margined or not live else _spot_rules(instrument),
        under_way=under_way,
        live=duty,
    )


def _inputs(module: ModuleType, params: object, config: StrategyConfig) -> Inputs:
    """What a strategy looks at: its own wishes, and what its stop and its sizing need."""
    wished: Inputs = module.inputs(params) if hasattr(module, "inputs") else Inputs()
    return wished | stop_inputs(config.stop, config.trailing) | sizing_inputs(config.sizing)


def _quiet_band(module: ModuleType, params: object) -> float:
    """How near to one half a probability may be before the strategy cares: 0 unless the module says so."""
    return float(module.quiet_band(params)) if hasattr(module, "quiet_band") else 0.0


def _whole_bars(minutes: int, bar_secs: int) -> int:
    """Minutes up to whole bars: a window shorter than a bar would be over before its first close."""
    bar_minutes = max(1, bar_secs // 60)
    return -(-minutes // bar_minutes) * bar_minutes


def _plan(config: StrategyConfig, bar_secs: int) -> PlanParams:
    trailing, time, scale_in = config.trailing, config.time, config.scale_in
    break_even = config.stop.break_even_after_pct
    longest = [] if time.max_bars is None else [time.max_bars]
    if time.max_hours is not None:
        longest.append(max(1, math.ceil(time.max_hours * 3600.0 / bar_secs)))
    gains = () if scale_in is None else tuple(gain / 100.0 for gain in scale_in.at_pct)
    first, second = (*gains, math.inf, math.inf)[:2]
    return PlanParams(
        break_even_after=math.inf if break_even is None else break_even / 100.0,
        trail_activation=math.inf if trailing is None else trailing.activation_pct / 100.0,
        trail_distance=0.0 if trailing is None else (trailing.distance_pct or 0.0) / 100.0,
        trail_atr=0.0 if trailing is None else trailing.distance_atr or 0.0,
        max_bars=min(longest, default=0),
        flat_before_midnight_minutes=_whole_bars(time.flat_before_midnight_minutes or 0, bar_secs),
        flat_weekend=int(time.flat_weekend),
        add_1=first,
        add_2=second,
    )


def _spot_rules(instrument: Instrument) -> InstrumentRules:
    """What is bought has to be worth selling at the stop as well, fees taken: more than the venue asks."""
    rules = _rules(instrument)
    return rules._replace(min_notional=rules.min_notional * _SPARE_NOTIONAL)


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
