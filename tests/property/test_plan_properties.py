"""What holds for every plan, ladder and stop, whatever the numbers."""

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backtests.array_plan import STOP, TARGET, run_plan
from catalog.columns import BarColumns
from configs.trading import StopConfig
from strategies import trade
from strategies.stops import stop_distance
from strategies.trade import (
    ADD,
    EXIT_SESSION,
    EXIT_TIME,
    MOVE_STOP,
    PlanParams,
    PlanState,
    entries_closed,
    fill_rung,
    fit_ladder,
    grow_ladder,
    open_ladder,
    open_plan,
    step,
    target_ticks,
)

DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000

sides = st.sampled_from([1, -1])
prices = st.floats(1.0, 100_000.0)
fractions = st.floats(1e-5, 0.3)
triggers = fractions | st.just(math.inf)
atrs = st.floats(0.0, 1e4) | st.sampled_from([math.nan, math.inf])
times = st.integers(0, 40_000 * 1440).map(lambda minute: minute * MINUTE_NS)
params_of_any_kind = st.builds(
    PlanParams,
    break_even_after=triggers,
    trail_activation=triggers,
    trail_distance=st.floats(0.0, 0.3),
    trail_atr=st.just(0.0) | st.floats(0.1, 5.0),
    max_bars=st.integers(0, 30),
    flat_before_midnight_minutes=st.integers(0, 1380),
    flat_weekend=st.integers(0, 1),
    add_1=triggers | fractions.map(float.__neg__),
    add_2=triggers | fractions.map(float.__neg__),
)
closes_of_a_trade = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=50)


def on_grid(price: float) -> float:
    return max(1, round(price * 10)) / 10


@settings(deadline=None)
@given(sides, prices, fractions, closes_of_a_trade, params_of_any_kind, atrs, times)
def test_a_stop_never_widens_and_never_reaches_the_close(side, entry, stop, moves, params, atr, start):
    plan = open_plan(side, on_grid(entry), stop, 10.0)
    adds = 0
    for number, move in enumerate(moves, 1):
        before, close = plan, on_grid(entry * move)
        plan, flags = step(plan, start + number * MINUTE_NS, close, atr, params, 10.0)
        assert side * (plan.stop_ticks - before.stop_ticks) >= 0
        assert bool(flags & MOVE_STOP) == (plan.stop_ticks != before.stop_ticks)
        if flags & MOVE_STOP:
            assert side * (round(close * 10) - plan.stop_ticks) >= 1
        if flags & (EXIT_TIME | EXIT_SESSION):
            assert flags in (EXIT_TIME, EXIT_SESSION)
        adds += bool(flags & ADD)
        assert (plan.bars_held, plan.adds) == (number, adds)
        assert (plan.side, plan.entry_ticks) == (side, before.entry_ticks)
    assert adds <= 2


@settings(deadline=None)
@given(times, params_of_any_kind)
def test_no_entry_where_an_open_trade_would_be_closed(now, params):
    params = params._replace(max_bars=0)
    flags = step(PlanState(1, 1000, 900), now, 100.0, math.nan, params, 10.0)[1]
    assert entries_closed(now, params) == bool(flags & EXIT_SESSION)


@settings(deadline=None)
@given(times, st.integers(1, 3 * 1440), st.integers(1, 1380), st.integers(0, 1))
def test_no_session_s_end_is_slept_through(start, missing_minutes, early, weekend):
    params = PlanParams(flat_before_midnight_minutes=early, flat_weekend=weekend)
    minutes = range(1, missing_minutes + 1)
    assume(not entries_closed(start, params))
    slept = any(entries_closed(start + m * MINUTE_NS, params) for m in minutes)
    plan = PlanState(1, 1000, 900, ts_last=max(start, 1))
    flags = step(plan, start + missing_minutes * MINUTE_NS, 100.0, math.nan, params, 10.0)[1]
    assert bool(flags & EXIT_SESSION) == slept


@settings(deadline=None)
@given(sides, prices, fractions, st.floats(0.5, 2.0), params_of_any_kind, atrs, times, st.integers(0, 3))
def test_compiled_and_plain_python_agree_to_the_bit(side, entry, stop, move, params, atr, now, adds):
    entry = on_grid(entry)
    plan = open_plan(side, entry, stop, 10.0)
    assert plan == open_plan.py_func(side, entry, stop, 10.0)
    distance = min(stop, 0.29)
    assert target_ticks(side, entry, distance, 10.0) == target_ticks.py_func(side, entry, distance, 10.0)
    plan = plan._replace(adds=adds, ts_last=max(0, now - DAY_NS))
    given_plan, given_params = tuple(plan), tuple(params)
    compiled = step(plan, now, on_grid(entry * move), atr, params, 10.0)
    plain = _plain_step(plan, now, on_grid(entry * move), atr, params, 10.0)
    assert compiled == plain == step(plan, now, on_grid(entry * move), atr, params, 10.0)
    assert type(compiled[0]) is PlanState
    assert (tuple(plan), tuple(params)) == (given_plan, given_params)


def _plain_step(*arguments):
    """`step` with nothing compiled underneath it either."""
    names = ("to_ticks", "_exit", "_session_over", "_tightened", "_reached")
    compiled = {name: getattr(trade, name) for name in names}
    try:
        for name, function in compiled.items():
            setattr(trade, name, function.py_func)
        return step.py_func(*arguments)
    finally:
        for name, function in compiled.items():
            setattr(trade, name, function)


# -- ladders ------------------------------------------------------------------------------------------------


@st.composite
def ladders(draw):
    shares = draw(st.lists(st.floats(0.02, 1.0), min_size=1, max_size=5))
    total = draw(st.sampled_from([sum(shares), sum(shares) / draw(st.floats(0.1, 1.0))]))
    return tuple((0.01 * (i + 1), share / total) for i, share in enumerate(shares))


whole_lots = st.integers(1, 10_000)
small_lots = st.integers(1, 60)


def open_at(ladder, lots, min_lots):
    return open_ladder(1, 1000.0, ladder, lots, min_lots, 10.0)


def no_rung_too_small(rungs, position, min_lots):
    sizes = [rung.lots for rung in rungs if rung.lots]
    return all(size >= min_lots for size in sizes) or sizes == [position]


@settings(deadline=None)
@given(ladders(), whole_lots, small_lots)
def test_a_ladder_never_exceeds_the_position_nor_breaks_into_dust(ladder, lots, min_lots):
    rungs = open_at(ladder, lots, min_lots)
    total, share = sum(r.lots for r in rungs), sum(share for _, share in ladder)
    assert all(rung.lots >= 0 for rung in rungs)
    assert total <= lots
    assert no_rung_too_small(rungs, lots, min_lots)
    assert total == lots or lots - total >= min_lots
    if share > 1.0 - 1e-9:
        assert total == lots
    if total and min_lots == 1:
        assert abs(total - share * lots) <= 0.5 + 1e-6
    assert [rung.ticks for rung in rungs] == sorted(rung.ticks for rung in rungs)


@settings(deadline=None)
@given(ladders(), st.lists(st.integers(1, 500), min_size=1, max_size=6), small_lots)
def test_parts_of_an_entry_make_the_ladder_of_the_whole(ladder, parts, min_lots):
    rungs, held = open_at(ladder, parts[0], min_lots), parts[0]
    for part in parts[1:]:
        rungs, held = grow_ladder(rungs, part, held, min_lots), held + part
    assert rungs == open_at(ladder, held, min_lots)


events = st.lists(
    st.tuples(st.sampled_from(["fill", "grow", "fit"]), st.integers(0, 4), st.integers(1, 300)), max_size=12
)


@settings(deadline=None)
@given(ladders(), whole_lots, small_lots, events)
def test_whatever_happens_the_rungs_and_the_position_agree(ladder, lots, min_lots, happenings):
    rungs, position, entered, closed = open_at(ladder, lots, min_lots), lots, lots, 0
    for what, index, amount in happenings:
        if what == "fill":
            number = index % len(rungs)
            part = min(amount, rungs[number].lots)
            rungs = fill_rung(rungs, number, part)
            position, closed = position - part, closed + part
        elif what == "grow" and position:
            rungs = grow_ladder(rungs, amount, position, min_lots)
            position, entered = position + amount, entered + amount
            assert no_rung_too_small(rungs, position, min_lots)
        elif what == "fit":
            position = max(0, position - amount)
            before = [rung.lots for rung in rungs]
            rungs = fit_ladder(rungs, position)
            assert all(rung.lots <= n for rung, n in zip(rungs, before, strict=True))
            assert sum(r.lots for r in rungs) == min(sum(before), position)
        assert all(rung.lots >= 0 for rung in rungs)
        assert sum(rung.lots for rung in rungs) <= position
        assert sum(rung.closed for rung in rungs) == closed <= entered
        assert len(rungs) == len(ladder)


@settings(deadline=None)
@given(ladders(), whole_lots, st.integers(0, 10_000), small_lots)
def test_a_cut_ladder_keeps_its_sum(ladder, lots, position, min_lots):
    rungs = open_at(ladder, lots, min_lots)
    before = sum(r.lots for r in rungs)
    fitted = fit_ladder(rungs, position, min_lots)
    assert sum(r.lots for r in fitted) == min(before, position)
    assert no_rung_too_small(fitted, position, min_lots) or sum(1 for r in fitted if r.lots) == 1


# -- stops and walks ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.sampled_from(["percent", "atr", "structure", "volatility"]),
    sides,
    st.floats(0.0, 10.0) | st.just(math.nan),
    st.floats(0.01, 1.0),
    st.floats(1.0, 50.0),
)
def test_a_stop_distance_is_within_its_bounds_or_nothing(method, side, value, low, high):
    config = StopConfig(method=method, min_pct=low, max_pct=high)
    names = ("atr_pct_14", "realized_volatility_20", "swing_low_20", "swing_high_20")
    distance = stop_distance(config, side, dict.fromkeys(names, value))
    if method == "percent":
        assert distance == config.pct / 100
    elif math.isnan(value):
        assert math.isnan(distance)
    else:
        assert low / 100 <= distance <= high / 100


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), params_of_any_kind, fractions, triggers)
def test_trades_follow_each_other_and_end_within_their_bars(seed, adaptive, params, stop, target):
    rng = np.random.default_rng(seed)
    close = 10_000 + np.cumsum(rng.integers(-30, 31, 300))
    start = close + rng.integers(-20, 21, 300)
    high, low = np.maximum(start, close) + 5, np.minimum(start, close) - 5
    ts = (1 + np.arange(300)) * MINUTE_NS
    bars = BarColumns(ts, *(x / 10 for x in (start, high, low, close)), np.ones(300))
    trades = run_plan(
        bars,
        rng.choice([-1, 0, 1], 300),
        stop_distance=stop,
        target_distance=None if math.isinf(target) else target,
        params=params._replace(add_1=math.inf, add_2=math.inf, trail_atr=0.0),
        ticks_per_unit=10,
        adaptive=adaptive,
    )
    assert np.all(trades["exit_bar"] > trades["entry_bar"])
    assert np.all(trades["entry_bar"][1:] >= trades["exit_bar"][:-1])
    assert np.array_equal(trades["entry_ticks"], close[trades["entry_bar"]])
    hit = np.isin(trades["reason"], [STOP, TARGET])
    inside = (trades["exit_ticks"] <= high[trades["exit_bar"]]) & (
        trades["exit_ticks"] >= low[trades["exit_bar"]]
    )
    assert np.all(inside | (hit & (trades["reason"] == TARGET)))  # a gap fills the target at its level
    assert np.array_equal(trades["exit_ticks"][~hit], close[trades["exit_bar"]][~hit])
