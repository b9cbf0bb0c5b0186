"""A run file becomes components; what it gets wrong is said in one line that names the key."""

import math

import numpy as np
import pytest

from actors.audit import AuditActor
from actors.forecaster import Forecaster, ModelStream, PrecomputedSource
from actors.guard import Guard
from configs.errors import ConfigError
from configs.schema import RunConfig
from strategies import ml_basic
from strategies.assembly import ModelFeed, assemble, check_strategies
from strategies.base import TradingStrategy
from strategies.discovery import known_strategies
from strategies.trade import PlanParams
from strategies.values import InstrumentRules, Limits
from tests.hand_market import columns, instrument
from tests.markets import flat_rows

BTC, ETH, SPOT = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE", "BTCUSDT.BINANCE"


def run(*strategies: dict, **groups: dict) -> RunConfig:
    period = {"start": "2023-12-31", "test_start": "2024-01-01", "end": "2024-01-02"}
    return RunConfig(
        name="r",
        data={"catalog": "none", **period, **groups.pop("data", {})},
        models=[{"name": "direction"}],
        strategies=list(strategies) or [strategy()],
        **groups,
    )


def strategy(instrument_id: str = BTC, **changes: object) -> dict:
    return {"use": "ml_basic", "instrument": instrument_id, **changes}


def built(config: RunConfig, *, feeds: dict | None = None):
    symbols = {BTC: instrument("BTCUSDT"), ETH: instrument("ETHUSDT"), SPOT: instrument("BTCUSDT", "spot")}
    return assemble(config, {name: symbols[name] for name in config.instruments}, feeds or {})


def setup(config: RunConfig):
    return built(config).strategies[0]._setup


# -- mistakes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"use": "ml_basik"},
            "strategies.0.use: there is no strategy 'ml_basik'; did you mean 'ml_basic'?",
        ),
        (
            {"use": "zzz"},
            f"strategies.0.use: there is no strategy 'zzz'; known: {', '.join(sorted(known_strategies()))}",
        ),
        (
            {"signal": {"treshold": 0.6}},
            "strategies.0.signal.treshold: unknown key; did you mean 'threshold'?",
        ),
        (
            {"signal": {"zzz": 1}},
            "strategies.0.signal.zzz: unknown key; known: full_confidence, threshold",
        ),
        (
            {"signal": {"threshold": 2}},
            "strategies.0.signal.threshold: Input should be less than 1 (got 2)",
        ),
        (
            {"signal": {"threshold": [0.6]}},
            "strategies.0.signal.threshold: Input should be a valid number (got [0.6])",
        ),
    ],
)
def test_a_wrong_strategy_or_key_is_named_with_the_nearest_right_one(changes, message):
    config = run(strategy(**changes))
    for use in (check_strategies, built):
        with pytest.raises(ConfigError) as raised:
            use(config)
        assert str(raised.value) == message


def test_values_that_do_not_fit_together_are_one_line():
    with pytest.raises(ConfigError, match=r"^strategies\.0\.signal: .*must lie above threshold") as raised:
        check_strategies(run(strategy(signal={"threshold": 0.7, "full_confidence": 0.6})))
    assert "\n" not in str(raised.value)


def test_the_second_strategy_is_counted_as_such():
    with pytest.raises(ConfigError, match=r"^strategies\.1\.use: "):
        check_strategies(run(strategy(model="direction"), strategy(ETH, use="nothing")))


def test_check_strategies_is_content_with_a_right_run():
    first = strategy(model="direction", signal={"threshold": 0.6})
    check_strategies(run(first, strategy(ETH, use="momentum_leverage")))


def test_a_strategy_that_lives_on_a_model_must_be_given_one():
    with pytest.raises(ConfigError, match=r"strategies\.0\.model: ml_basic lives on a probability"):
        check_strategies(run(strategy()))


@pytest.mark.parametrize("name", ["base", "risk", "trade", "protect", "assembly", "values"])
def test_modules_without_a_decision_are_not_strategies(name):
    assert name not in known_strategies()
    assert known_strategies()["ml_basic"] is ml_basic


# -- what is built ------------------------------------------------------------------------------------------


def test_percentages_and_basis_points_become_fractions():
    config = run(
        strategy(
            signal={"threshold": 0.6},
            exit_on_opposite=False,
            sizing={"risk_per_trade_pct": 0.5, "fraction_pct": 20, "max_position_pct": 30},
            stop={"pct": 2, "break_even_after_pct": 1},
            targets={"pct": 4},
            trailing={"activation_pct": 3, "distance_pct": 1.5},
            time={"max_bars": 60, "cool_off_bars": 5},
        ),
        risk={"max_leverage": 2, "max_notional": 50_000, "liquidation_buffer_pct": 25},
        venue={"taker_fee_bps": 5, "slippage_bps": 1},
    )
    made = setup(config)
    assert (made.stop.pct, made.ladder) == (2.0, ((0.04, 1.0),))
    assert made.plan == PlanParams(
        break_even_after=0.01, trail_activation=0.03, trail_distance=0.015, max_bars=60
    )
    assert made.limits == Limits(
        method="risk",
        risk_per_trade=0.005,
        fraction=0.2,
        confidence_weighted=True,
        max_position=0.3,
        max_leverage=2.0,
        max_notional=50_000.0,
        liquidation_buffer=0.25,
        entry_cost=0.0006,
        exit_cost=0.0006,
        max_risk_per_trade=0.02,
        bars_per_year=365 * 1440.0,
    )
    assert made.params == ml_basic.Params(threshold=0.6)
    assert (made.exit_on_opposite, made.cool_off_bars, made.model) == (False, 5, None)


def test_absent_groups_mean_absent_rules():
    made = setup(run(strategy(targets={"pct": None})))
    assert made.ladder == ()
    assert made.plan == PlanParams(
        break_even_after=math.inf, trail_activation=math.inf, trail_distance=0.0, max_bars=0
    )
    assert made.limits.max_notional is None


def test_hours_become_bars_and_the_earlier_limit_counts():
    hours = {"time": {"max_hours": 2.5, "max_bars": 200}, "scale_in": {"at_pct": [2, 5]}}
    made = setup(run(strategy(**hours)))
    assert (made.plan.max_bars, made.plan.add_1, made.plan.add_2, made.add_share) == (150, 0.02, 0.05, 0.25)
    assert setup(run(strategy(time={"max_hours": 10, "max_bars": 200}))).plan.max_bars == 200


def test_a_window_before_midnight_is_whole_bars():
    """Five minutes before midnight no bar of fifteen closes: the window is widened to the last one."""
    late = strategy(time={"flat_before_midnight_minutes": 5})
    assert setup(run(late)).plan.flat_before_midnight_minutes == 5
    config = run(late)
    quarter = config.model_copy(update={"data": config.data.model_copy(update={"bar": "15m"})})
    assert setup(quarter).plan.flat_before_midnight_minutes == 15


def test_a_model_that_a_strategy_reads_but_the_run_does_not_give_it_is_named():
    wrong = strategy(use="ensemble_weighted", signal={"models": {"nxt": 1.0}})
    with pytest.raises(ConfigError, match=r"strategies\.0\.signal: reads model 'nxt'"):
        check_strategies(run(wrong))


def test_the_rules_are_the_venues_filters():
    assert setup(run(strategy())).rules == InstrumentRules(0.1, 0.001, 0.001, 1000.0, 100.0)
    assert setup(run(strategy(SPOT))).rules == InstrumentRules(0.01, 0.00001, 0.00001, 9000.0, 5.0)


def test_spot_never_shorts_whatever_the_run_file_says():
    assert setup(run(strategy(allow_short=True))).allow_short is True
    assert setup(run(strategy(allow_short=False))).allow_short is False
    assert setup(run(strategy(SPOT, allow_short=True))).allow_short is False


def test_each_strategy_with_a_feed_gets_its_forecaster_and_all_are_components():
    market = columns(flat_rows(3))
    source = PrecomputedSource(market.ts_event, market.close * 0)
    feed = ModelFeed((ModelStream("direction", 120),), source)
    config = run(strategy(model="direction", name="first"), strategy(ETH, name="second"))
    assembly = built(config, feeds={BTC: feed})
    assert [type(c) for c in assembly.components] == [
        AuditActor,
        Guard,
        Forecaster,
        TradingStrategy,
        TradingStrategy,
    ]
    assert [c.component_name for c in assembly.components] == [
        "audit",
        "guard",
        "FORECASTER-first",
        "first",
        "second",
    ]
    assert [s._setup.model for s in assembly.strategies] == ["direction", None]
    assert all(c.failure is None for c in assembly.components)


def test_the_bar_type_is_that_of_the_run():
    assert str(setup(run(strategy(), data={"bar": "5m"})).bar_type) == f"{BTC}-5-MINUTE-LAST-EXTERNAL"


LABEL = {"horizon_bars": 60, "take_profit_pct": 1.0, "stop_loss_pct": 1.0}


def kelly(label: dict[str, float], **strategy_groups: object) -> RunConfig:
    config = run(strategy(model="direction", sizing={"method": "kelly"}, **strategy_groups))
    named = config.model_dump() | {"models": [{"name": "direction", "label": label}]}
    return RunConfig.model_validate(named)


def test_kelly_bets_only_on_the_barriers_that_the_probability_is_of():
    check_strategies(kelly(LABEL, stop={"pct": 1.0}, targets={"pct": 1.0}))
    for label, stop, targets in (
        (LABEL, {"pct": 2.0}, {"pct": 1.0}),
        (LABEL, {"pct": 1.0}, {"pct": 4.0}),
        (LABEL, {"method": "atr"}, {"pct": 1.0}),
        (LABEL, {"pct": 1.0}, {"tranches": [{"pct": 1.0, "close_pct": 50}]}),
        (LABEL | {"take_profit_pct": 2.0}, {"pct": 1.0}, {"pct": 2.0}),
    ):
        with pytest.raises(ConfigError, match=r"strategies\.0\.sizing\.method kelly"):
            check_strategies(kelly(label, stop=stop, targets=targets))


def test_the_guards_limits_on_what_moves_together_come_from_the_run_file():
    config = run(
        strategy(), strategy(ETH), risk={"portfolio": {"correlation_days": 9, "cluster_correlation": 0.4}}
    )
    guard = built(config).guard
    assert guard._threshold == 0.4
    hours = np.arange(24 * 20) * 3_600_000_000_000
    rng = np.random.default_rng(1)
    shared, own = rng.normal(0, 0.01, len(hours)), rng.normal(0, 0.01, len(hours))
    old = np.arange(len(hours)) < 24 * 10  # ten days alike, then ten days apart: nine are looked at
    guard.warm_up(BTC, hours, 100 * np.exp(np.cumsum(shared)))
    guard.warm_up(ETH, hours, 100 * np.exp(np.cumsum(np.where(old, shared, own))))
    assert guard._tracker.clusters(0.4) in ((), ((BTC,), (ETH,)))
    assert abs(guard._tracker.matrix()[0, 1]) < 0.3
