"""The contract of every module of `strategies` with `decide` and `Params`; a new one is found by itself."""

import copy
import inspect
import math
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from configs.groups import Group
from strategies.discovery import known_strategies
from strategies.values import Intent, View

MODULES = known_strategies()
each_strategy = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)

views = st.builds(
    View,
    st.integers(0, 2**62),
    st.floats(1e-8, 1e8),
    st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0, math.nan]),
    st.sampled_from([-1, 0, 1]),
    st.booleans(),
)


def test_there_are_strategies_to_check():
    assert "ml_basic" in MODULES


@each_strategy
def test_it_says_what_it_does_and_exports_its_two_names(module: ModuleType):
    assert len((module.__doc__ or "").split()) > 10
    assert {"Params", "decide"} <= set(module.__all__)
    assert (module.decide.__doc__ or "").strip()
    assert list(inspect.signature(module.decide).parameters) == ["view", "params"]


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
@given(view=views)
def test_its_decision_is_pure_and_an_intent_or_nothing(module: ModuleType, view: View):
    params = module.Params()
    before = copy.deepcopy((view, params))
    first, again = module.decide(view, params), module.decide(copy.deepcopy(view), copy.deepcopy(params))
    assert first == again
    # NaN differs from itself: compare what is written
    assert repr((view, params)) == repr(before)
    if first is not None:
        check_intent(first)


def check_intent(intent: object) -> None:
    assert isinstance(intent, Intent)
    assert intent.side in (1, -1)
    assert 0.0 <= intent.confidence <= 1.0
    assert isinstance(intent.reasons, tuple)
    assert intent.reasons
    assert all(isinstance(reason, str) and reason for reason in intent.reasons)
    for distance in (intent.stop_distance, intent.target_distance):
        assert distance is None or 0.0 < distance < math.inf


@each_strategy
@given(view=views)
def test_without_a_forecast_it_has_no_opinion(module: ModuleType, view: View):
    blind = View(view.ts_event, view.close, math.nan, view.side, view.allow_short)
    assert module.decide(blind, module.Params()) is None


@each_strategy
@given(view=views)
def test_where_shorting_is_forbidden_it_never_wishes_to_open_one(module: ModuleType, view: View):
    flat = View(view.ts_event, view.close, view.probability, 0, False)
    intent = module.decide(flat, module.Params())
    assert intent is None or intent.side == 1


@each_strategy
@given(view=views)
def test_forecasts_it_calls_quiet_never_lead_to_an_intent(module: ModuleType, view: View):
    """The forecaster keeps them back: were one of them acted on, it would be lost."""
    if not hasattr(module, "quiet_band"):
        return
    params = module.Params()
    band = module.quiet_band(params)
    assert 0.0 <= band <= 0.5
    if abs(view.probability - 0.5) < band:
        assert module.decide(view, params) is None
