import math

from hypothesis import given
from hypothesis import strategies as st

from strategies.trade import EXIT_TIME, HOLD, MOVE_STOP, PlanParams, open_plan, step, to_ticks


def test_a_long_plan_has_its_stop_below_and_its_target_above():
    plan = open_plan(1, 50_000.0, 0.02, 0.04, 10)
    assert (plan.entry_ticks, plan.stop_ticks, plan.target_ticks) == (500_000, 490_000, 520_000)


def test_a_short_plan_mirrors_it():
    plan = open_plan(-1, 50_000.0, 0.02, 0.04, 10)
    assert (plan.stop_ticks, plan.target_ticks) == (510_000, 480_000)


def test_no_target_is_zero_ticks():
    assert open_plan(1, 100.0, 0.1, None, 100).target_ticks == 0


def test_halves_round_up_to_the_tick():
    assert to_ticks(100.25, 10) == 1003
    assert to_ticks(100.24, 10) == 1002


def test_break_even_moves_the_stop_to_the_entry_once_the_gain_is_there():
    params = PlanParams(break_even_after=0.01)
    plan = open_plan(1, 1000.0, 0.02, 0.04, 10)
    plan, action = step(plan, 1009.9, params, 10)
    assert (action, plan.stop_ticks) == (HOLD, 9800)
    plan, action = step(plan, 1010.0, params, 10)
    assert (action, plan.stop_ticks) == (MOVE_STOP, 10_000)
    plan, action = step(plan, 990.0, params, 10)  # falling back never widens it
    assert (action, plan.stop_ticks) == (HOLD, 10_000)


def test_a_trailing_stop_follows_the_close_from_its_activation_on():
    params = PlanParams(trail_activation=0.02, trail_distance=0.01)
    plan = open_plan(1, 1000.0, 0.05, None, 10)
    plan, action = step(plan, 1019.0, params, 10)
    assert action == HOLD
    plan, action = step(plan, 1020.0, params, 10)  # 1020 x 0.99 = 1009.8
    assert (action, plan.stop_ticks) == (MOVE_STOP, 10_098)
    plan, action = step(plan, 1100.0, params, 10)  # 1089.0
    assert (action, plan.stop_ticks) == (MOVE_STOP, 10_890)


def test_a_short_trailing_stop_follows_downwards():
    params = PlanParams(trail_activation=0.02, trail_distance=0.01)
    plan, action = step(open_plan(-1, 1000.0, 0.05, None, 10), 980.0, params, 10)
    assert (action, plan.stop_ticks) == (MOVE_STOP, 9898)  # 980 x 1.01 = 989.8


def test_the_time_exit_comes_after_max_bars():
    params = PlanParams(max_bars=2)
    plan, first = step(open_plan(1, 100.0, 0.1, None, 10), 100.0, params, 10)
    plan, second = step(plan, 100.0, params, 10)
    assert (first, second, plan.bars_held) == (HOLD, EXIT_TIME, 2)


@given(
    side=st.sampled_from([1, -1]),
    closes=st.lists(st.floats(500, 2000), min_size=1, max_size=60),
    break_even=st.floats(0.001, 0.1) | st.just(math.inf),
    activation=st.floats(0.001, 0.1),
    distance=st.floats(0.001, 0.2),
)
def test_a_stop_never_widens_and_never_reaches_the_close(side, closes, break_even, activation, distance):
    params = PlanParams(break_even_after=break_even, trail_activation=activation, trail_distance=distance)
    plan = open_plan(side, 1000.0, 0.05, 0.1, 10)
    for close in closes:
        before = plan.stop_ticks
        plan, action = step(plan, close, params, 10)
        assert side * (plan.stop_ticks - before) >= 0
        assert (action == MOVE_STOP) == (plan.stop_ticks != before)
        if action == MOVE_STOP:  # a stop at or beyond the market would fire, or be refused, at once
            assert side * (close * 10 - plan.stop_ticks) > 0
