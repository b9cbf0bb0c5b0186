"""The array driver gives the engine's trades: same bars, sides, prices and reasons, one by one."""

from dataclasses import replace

import numpy as np
import pytest

from backtests.array_plan import OPPOSITE, SESSION, STOP, TARGET, TIME
from strategies.trade import PlanParams
from tests.plan_jobs import (
    RECORDED,
    Job,
    array_run,
    array_trades,
    compare,
    engine_run,
    job_of,
    random_bars,
    random_job,
    recorded_job,
)

FLAT = (100.0, 100.5, 99.5, 100.0)


@pytest.mark.parametrize(
    ("bar", "more", "exit_"),
    [
        ((100, 101, 98, 100), {}, (980, STOP)),  # touching is enough
        ((97, 98.5, 96, 98), {}, (970, STOP)),  # opens beyond the stop: at the open
        ((100, 104, 99.5, 100), {}, (1040, TARGET)),
        ((105, 106, 104.5, 105), {}, (1040, TARGET)),  # opens beyond the target: at its level all the same
        ((100, 105, 97, 100), {}, (1040, TARGET)),  # both in one bar: the high comes first
        ((100, 105, 97, 100), {"adaptive": True}, (980, STOP)),  # 5 up, 3 down: the low is nearer
        ((100, 104, 96, 100), {"adaptive": True}, (980, STOP)),  # a tie goes to the low
        ((101, 104, 97, 100), {"adaptive": True}, (1040, TARGET)),  # 3 up, 4 down
        ((105, 115, 97, 100), {"adaptive": True}, (1040, TARGET)),  # the open comes before the low
    ],
)
def test_what_one_bar_does_to_a_long_trade(bar, more, exit_):
    job = job_of([FLAT, FLAT, FLAT, bar, FLAT], {1: 1}, PlanParams(), **more)
    assert compare(job) == [(1, 3, 1, 1000, *exit_)]


@pytest.mark.parametrize(
    ("bar", "more", "exit_"),
    [
        ((100, 102, 99, 100), {}, (1020, STOP)),
        ((103, 104, 101, 102), {}, (1030, STOP)),
        ((100, 101, 96, 100), {}, (960, TARGET)),
        ((95, 96, 94, 95), {}, (960, TARGET)),
        ((100, 103, 95, 100), {}, (1020, STOP)),
        ((100, 105, 96, 100), {"adaptive": True}, (960, TARGET)),
        ((95, 103, 94, 100), {}, (960, TARGET)),  # the open comes before the high
    ],
)
def test_what_one_bar_does_to_a_short_trade(bar, more, exit_):
    job = job_of([FLAT, FLAT, FLAT, bar, FLAT], {1: -1}, PlanParams(), **more)
    assert compare(job) == [(1, 3, -1, 1000, *exit_)]


def test_a_time_exit_fills_at_its_close_and_nothing_enters_there():
    rows = [FLAT] * 4 + [(100, 101, 99.5, 100.7)] + [FLAT] * 6
    job = job_of(rows, dict.fromkeys(range(1, 11), 1), PlanParams(max_bars=3))
    assert compare(job) == [(1, 4, 1, 1000, 1007, TIME), (5, 8, 1, 1000, 1000, TIME)]


def test_after_a_stop_the_same_bar_may_enter_again_unless_it_cools_off():
    down = (100, 100, 97, 98)
    rows = [FLAT, FLAT, down, FLAT, FLAT, FLAT, (100, 106, 100, 105), FLAT]
    job = job_of(rows, {1: 1, 2: 1, 4: 1}, PlanParams())
    # 98 x 1.04 = 101.92; bar 4 is still in the second trade
    assert compare(job) == [(1, 2, 1, 1000, 980, STOP), (2, 6, 1, 980, 1019, TARGET)]
    assert compare(replace(job, cool_off_bars=2)) == [
        (1, 2, 1, 1000, 980, STOP),
        (4, 6, 1, 1000, 1040, TARGET),
    ]


def test_an_opposite_signal_closes_and_does_not_turn_round():
    job = job_of([FLAT] * 8, {1: 1, 3: -1, 4: -1, 6: 1}, PlanParams(), exit_on_opposite=True)
    assert compare(job) == [(1, 3, 1, 1000, 1000, OPPOSITE), (4, 6, -1, 1000, 1000, OPPOSITE)]


def test_the_day_ends_flat_and_begins_after_midnight():
    # bars close from 07:51 on: bar k at 07:51 + k, 23:30 is k = 939, 00:00 is k = 969
    job = job_of(
        [FLAT] * 980,
        {930: 1, 950: 1, 969: 1, 970: 1},
        PlanParams(max_bars=5, flat_before_midnight_minutes=30),
    )
    job = replace(job, params=job.params._replace(max_bars=0))
    assert compare(job) == [(930, 939, 1, 1000, 1000, SESSION)]
    job = replace(job, params=job.params._replace(max_bars=5))
    assert compare(job) == [(930, 935, 1, 1000, 1000, TIME), (970, 975, 1, 1000, 1000, TIME)]


def test_break_even_and_trailing_hold_from_the_next_bar_on():
    rows = [FLAT, FLAT, (100, 102, 99, 101), (101, 101.2, 100, 101), FLAT]
    assert compare(job_of(rows, {1: 1}, PlanParams(break_even_after=0.01))) == [(1, 3, 1, 1000, 1000, STOP)]
    # armed at 101: 101 x 0.99 = 99.99, so 100.0, which the next low touches
    trail = PlanParams(trail_activation=0.005, trail_distance=0.01)
    assert compare(job_of(rows, {1: 1}, trail)) == [(1, 3, 1, 1000, 1000, STOP)]
    # an ATR of 0.4 twice behind 101 is 100.2
    job = job_of(rows, {1: 1}, PlanParams(trail_activation=0.005, trail_atr=2.0))
    assert compare(job)[:1] == []
    assert compare(replace(job, atr=np.full(5, 0.4))) == [(1, 3, 1, 1000, 1002, STOP)]


def test_a_bar_without_volume_touches_nothing_and_enters_at_the_last_price():
    empty = (100, 100, 100, 100, 0)
    rows = [empty, FLAT, empty, empty, (100, 104, 100, 100), FLAT]
    assert compare(job_of(rows, {2: 1}, PlanParams())) == [(2, 4, 1, 1000, 1040, TARGET)]
    offline = array_run(job_of(rows, {0: 1}, PlanParams()))  # the venue rejects it: nothing has traded yet
    assert offline == []


# -- at random ----------------------------------------------------------------------------------------------


def campaign(jobs: list[Job]) -> np.ndarray:
    """The trades of all jobs, each job equal on both sides; every reason and both sides are among them."""
    rows = np.array([row for job in jobs for row in compare(job)])
    assert set(rows[:, 5]) == {STOP, TARGET, TIME, SESSION, OPPOSITE}
    assert set(rows[:, 2]) == {1, -1}
    return rows


def test_random_markets_give_the_engine_s_trades():
    rngs = [np.random.default_rng(seed) for seed in range(24)]
    jobs = [random_job(seed, random_bars(rng, 2500), 0.5, 0.0015) for seed, rng in enumerate(rngs)]
    assert len(campaign(jobs)) > 2500


def test_recorded_markets_give_the_engine_s_trades():
    assert len(campaign([recorded_job(symbol, seed) for symbol in RECORDED for seed in (1, 2)])) > 2000


@pytest.mark.slow
def test_a_long_campaign_gives_the_engine_s_trades():
    jobs = [recorded_job(symbol, seed) for symbol in RECORDED for seed in range(10, 20)]
    rngs = [np.random.default_rng(seed) for seed in range(100, 120)]
    jobs += [random_job(seed, random_bars(rng, 20_000), 0.5, 0.0015) for seed, rng in enumerate(rngs, 100)]
    assert len(campaign(jobs)) > 50_000


# -- sums and fees ------------------------------------------------------------------------------------------


def test_the_engine_charges_the_fees_that_the_sweep_counts():
    job = random_job(3, random_bars(np.random.default_rng(3), 2500), 0.5, 0.0015)
    strategy, trades = engine_run(job), array_trades(job)
    rate = np.where(trades["reason"] == TARGET, 0.0002, 0.0006)
    expected = np.column_stack([trades["entry_ticks"] * 0.0006, trades["exit_ticks"] * rate]).ravel()
    charged = np.array(strategy.fees[: len(expected)])
    assert len(expected) > 100
    assert np.abs(charged - expected / 10 * job.quantity).max() < 1e-8
