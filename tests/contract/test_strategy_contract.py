"""The contract of every module of `strategies` with `decide` and `Params`; a new one is found by itself."""

import copy
import inspect
import math
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from configs.groups import Group
from models.exogenous import EXOGENOUS_COLUMNS
from models.features import FeatureSet, feature_matrix
from models.kernel import HIGHER
from models.regime import Regime
from models.tape import TAPE_FEATURES
from strategies.discovery import known_strategies, strategy_and_params
from strategies.values import Inputs, Intent, View

MODULES = known_strategies()
BAR_FEATURES = set(FeatureSet.complete(1).names)
each_strategy = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)

# Every size of number there is, and those at which rules usually turn; a broken source may say inf.
VALUES = (
    st.floats(-5.0, 5.0)
    | st.floats(-0.05, 0.05)
    | st.floats(0.0, 100.0)
    | st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324])
)
PROBABILITIES = st.floats(0.0, 1.0) | st.sampled_from([0.0, 0.5, 1.0, math.nan])
REGIMES = st.none() | st.builds(
    Regime,
    st.booleans(),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([-1, 0, 1]),
    st.integers(0, 10_000),
)


def inputs_of(module: ModuleType) -> Inputs:
    return module.inputs(module.Params()) if hasattr(module, "inputs") else Inputs()


def models_of(module: ModuleType) -> tuple[str, ...]:
    return module.models_read(module.Params()) if hasattr(module, "models_read") else ()


def views(module: ModuleType) -> st.SearchStrategy[View]:
    """Views as the engine could hand them to the module: the values it asks for, whatever they are."""
    wanted = inputs_of(module)
    return st.builds(
        View,
        st.integers(0, 2**62),
        st.floats(1e-8, 1e8),
        PROBABILITIES,
        st.sampled_from([-1, 0, 1]),
        st.booleans(),
        st.fixed_dictionaries({}, optional=dict.fromkeys(models_of(module), PROBABILITIES)),
        st.fixed_dictionaries(dict.fromkeys(wanted.features, VALUES)),
        REGIMES if wanted.regime else st.none(),
    )


def known_names() -> set[str]:
    """Everything a strategy may ask for: features of bars of any length, the tape, series from outside."""
    of_bars = {name for minutes in HIGHER for name in FeatureSet.complete(minutes).names}
    return of_bars.union(TAPE_FEATURES, *EXOGENOUS_COLUMNS.values())


def test_there_are_strategies_to_check():
    learned = {"ml_basic", "ml_adaptive", "ml_sentiment", "meta_label"}
    assert learned | {"ensemble_weighted", "momentum_leverage", "scalper"} <= set(MODULES)


@each_strategy
def test_it_says_what_it_does_and_exports_its_names(module: ModuleType):
    assert len((module.__doc__ or "").split()) > 10
    hooks = {"inputs", "models_read", "quiet_band"} & set(vars(module))
    assert {"Params", "decide"} | hooks <= set(module.__all__)
    assert (module.decide.__doc__ or "").strip()
    assert list(inspect.signature(module.decide).parameters) == ["view", "params"]
    for hook in hooks:
        assert list(inspect.signature(getattr(module, hook)).parameters) == ["params"]


@each_strategy
def test_its_default_parameters_are_valid_and_frozen(module: ModuleType):
    params = module.Params()
    assert isinstance(params, Group)
    assert module.Params(**params.model_dump()) == params
    for name in type(params).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(params, name, getattr(params, name))


@each_strategy
def test_it_refuses_parameters_that_it_does_not_know(module: ModuleType):
    with pytest.raises(ValidationError, match="no_such_key"):
        module.Params(no_such_key=1)


@each_strategy
def test_its_default_parameters_come_through_a_run_file(module: ModuleType):
    name = module.__name__.rpartition(".")[2]
    as_read = module.Params().model_dump(mode="json")
    assert strategy_and_params(name, as_read, "strategies.0") == (module, module.Params())


@each_strategy
def test_everything_it_wants_to_see_exists(module: ModuleType):
    wanted = inputs_of(module)
    assert isinstance(wanted, Inputs)
    assert len(set(wanted.features)) == len(wanted.features)
    assert set(wanted.features) - known_names() == set()


@each_strategy
@given(data=st.data())
def test_its_decision_is_pure_and_an_intent_or_nothing(module: ModuleType, data: st.DataObject):
    view = data.draw(views(module))
    params = module.Params()
    before = copy.deepcopy((view, params))
    first, again = module.decide(view, params), module.decide(copy.deepcopy(view), copy.deepcopy(params))
    # NaN differs from itself: compare what is written
    assert repr(first) == repr(again)
    assert repr((view, params)) == repr(before)
    if first is not None:
        check_intent(first)


def outside_the_bars(rng: np.random.Generator) -> dict[str, float]:
    """A value for every name that no bar gives: a calm book with a hurried crowd, a moody index."""
    imbalances = {name: float(rng.uniform(-1.0, 1.0)) for name in TAPE_FEATURES if "imbalance" in name}
    returns = {name: float(rng.normal(0.0, 1e-3)) for name in TAPE_FEATURES if "return" in name}
    book = {
        "spread_bps": 0.2,
        "bid_depth": 1e5,
        "ask_depth": 1e5,
        "quote_age_ms": 9.0,
        "feed_latency_ms": 3.0,
    }
    columns = [name for columns in EXOGENOUS_COLUMNS.values() for name in columns]
    return imbalances | returns | book | {name: float(rng.uniform(0.0, 100.0)) for name in columns}


def market_views(module: ModuleType) -> Iterator[View]:
    """The views of a seeded market that trends both ways, warm-up included, with random forecasts."""
    rng = np.random.default_rng(7)
    drift = np.repeat(rng.choice([-0.0006, 0.0, 0.0006], 100), 40)
    close = 100.0 * np.exp(np.cumsum(drift + rng.normal(0.0, 0.001, len(drift))))
    open_ = np.concatenate([[100.0], close[:-1]])
    spread = 1.0 + np.abs(rng.normal(0.0, 0.0005, len(close)))
    high, low = np.maximum(open_, close) * spread, np.minimum(open_, close) / spread
    times = np.arange(1, len(close) + 1) * 60_000_000_000
    wanted = inputs_of(module).features
    of_bars = FeatureSet(tuple(name for name in wanted if name in BAR_FEATURES) or ("return_1",))
    rows = feature_matrix(times, open_, high, low, close, np.ones(len(close)), of_bars)
    for i in range(len(close)):
        seen = outside_the_bars(rng) | dict(zip(of_bars.names, rows[i].tolist(), strict=True))
        yield View(
            int(times[i]),
            float(close[i]),
            probability=float(rng.uniform(0.2, 0.8)),
            side=0,
            allow_short=True,
            forecasts={name: float(rng.uniform(0.2, 0.8)) for name in models_of(module)},
            features={name: seen[name] for name in wanted},
            regime=Regime(i % 80 < 40, int(np.sign(drift[i])), i % 3 - 1, i % 40),
        )


@each_strategy
def test_it_goes_long_and_short_and_sometimes_waits(module: ModuleType):
    """The other rules would be kept by a strategy that never trades."""
    params = module.Params()
    intents = [module.decide(view, params) for view in market_views(module)]
    sides = [intent.side for intent in intents if intent is not None]
    assert min(sides.count(1), sides.count(-1)) >= 5
    assert len(sides) < len(intents)


def check_intent(intent: object) -> None:
    assert isinstance(intent, Intent)
    assert intent.side in (1, -1)
    assert 0.0 <= intent.confidence <= 1.0
    assert isinstance(intent.reasons, tuple)
    assert intent.reasons
    assert all(isinstance(reason, str) and reason for reason in intent.reasons)
    for distance in (intent.stop_distance, intent.target_distance):
        assert distance is None or 0.0 < distance < math.inf
    for scale in (intent.stop_scale, intent.target_scale):
        assert 0.0 < scale < math.inf
    assert math.isnan(intent.probability) or 0.0 <= intent.probability <= 1.0


@each_strategy
@given(data=st.data())
def test_without_a_forecast_and_without_features_it_has_no_opinion(module: ModuleType, data: st.DataObject):
    view = data.draw(views(module))
    warming_up = dict.fromkeys(view.features, math.nan)
    blind = replace(view, probability=math.nan, forecasts={}, features=warming_up)
    assert module.decide(blind, module.Params()) is None
    nothing_at_all = View(view.ts_event, view.close, math.nan, view.side, view.allow_short)
    assert module.decide(nothing_at_all, module.Params()) is None


@each_strategy
@given(data=st.data())
def test_where_shorting_is_forbidden_it_never_wishes_to_open_one(module: ModuleType, data: st.DataObject):
    flat = replace(data.draw(views(module)), side=0, allow_short=False)
    intent = module.decide(flat, module.Params())
    assert intent is None or intent.side == 1


@each_strategy
def test_where_shorting_is_forbidden_no_bar_of_a_market_makes_it_wish_for_one(module: ModuleType):
    params = module.Params()
    flat = [replace(view, side=0, allow_short=False) for view in market_views(module)]
    intents = [module.decide(view, params) for view in flat]
    assert {intent.side for intent in intents if intent is not None} == {1}


@each_strategy
@given(data=st.data())
def test_forecasts_it_calls_quiet_never_lead_to_an_intent(module: ModuleType, data: st.DataObject):
    """The forecaster keeps them back: were one of them acted on, it would be lost."""
    if not hasattr(module, "quiet_band"):
        return
    view = data.draw(views(module))
    params = module.Params()
    band = module.quiet_band(params)
    assert 0.0 <= band <= 0.5
    if abs(view.probability - 0.5) < band:
        assert module.decide(view, params) is None
