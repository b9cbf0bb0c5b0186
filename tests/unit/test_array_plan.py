from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backtests.array_plan import TARGET, PlanSet, refuse_inexact, run_plan, sweep_plan
from configs.errors import ConfigError, DataError
from configs.schema import StrategyConfig, VenueConfig
from strategies.trade import PlanParams
from tests.hand_market import columns
from tests.plan_jobs import array_run, job_of, random_bars

FLAT = (100.0, 100.5, 99.5, 100.0)


def test_a_sweep_adds_up_what_the_trades_earned():
    bars = random_bars(np.random.default_rng(5), 4000)
    signals = np.random.default_rng(6).choice([-1, 0, 0, 1], 4000)
    sets = [
        PlanSet(stop, target, PlanParams(break_even_after=0.001, max_bars=bars_held))
        for stop in (0.001, 0.002)
        for target in (0.0015, None)
        for bars_held in (0, 9)
    ]
    scores = sweep_plan(bars, signals, sets, ticks_per_unit=10, maker=0.0002, taker=0.0006, workers=2)
    for one, score in zip(sets, scores, strict=True):
        trades = run_plan(
            bars,
            signals,
            stop_distance=one.stop_distance,
            target_distance=one.target_distance,
            params=one.params,
            ticks_per_unit=10,
        )
        entry, exit_ = trades["entry_ticks"] / 10, trades["exit_ticks"] / 10
        rate = np.where(trades["reason"] == TARGET, 0.0002, 0.0006)
        net = trades["side"] * (exit_ - entry) - 0.0006 * entry - rate * exit_
        assert (score["trades"], score["wins"]) == (len(trades), (net > 0).sum())
        assert score["net_per_unit"] == pytest.approx(net.sum(), rel=1e-9)
        assert score["net_return"] == pytest.approx((net / entry).sum(), rel=1e-9)
    alone = sweep_plan(bars, signals, sets, ticks_per_unit=10, maker=0.0002, taker=0.0006, workers=1)
    assert np.array_equal(alone, scores)
    assert len(sweep_plan(bars, signals, [], ticks_per_unit=10, maker=0.0, taker=0.0)) == 0


def settings(**changes: Any) -> StrategyConfig:
    return StrategyConfig(use="ml_basic", instrument="BTCUSDT-PERP.BINANCE", **changes)


@pytest.mark.parametrize(
    ("changes", "venue", "named"),
    [
        (
            {"targets": {"tranches": [{"pct": 3, "close_pct": 50}, {"pct": 6, "close_pct": 50}]}},
            {},
            "tranches",
        ),
        ({"targets": {"tranches": [{"pct": 3, "close_pct": 50}]}}, {}, "tranches"),
        ({"scale_in": {}}, {}, "scale_in"),
        ({"entry": {"order": "limit"}}, {}, "entry.order limit"),
        ({"entry": {"order": "post_only"}}, {}, "entry.order post_only"),
        ({}, {"latency_ms": 100}, "latency_ms 100"),
    ],
)
def test_what_is_not_exact_is_refused_by_name(changes, venue, named):
    with pytest.raises(ConfigError, match=named):
        refuse_inexact(settings(**changes), VenueConfig(**venue))


def test_what_is_exact_is_let_through():
    every = {
        "stop": {"method": "structure", "break_even_after_pct": 1},
        "targets": {"tranches": [{"pct": 3, "close_pct": 100}]},
        "trailing": {"activation_pct": 1, "distance_atr": 2},
        "time": {"max_bars": 5, "cool_off_bars": 2, "flat_weekend": True},
    }
    refuse_inexact(settings(**every), VenueConfig(adaptive_high_low=True))


def test_scale_ins_are_refused_by_the_walk_too():
    job = job_of([FLAT] * 3, {1: 1}, PlanParams(add_1=0.02))
    with pytest.raises(ConfigError, match="scale-ins"):
        array_run(job)


def test_an_order_of_more_than_a_quarter_of_the_volume_is_refused():
    rows = [FLAT, (100, 100, 100, 100, 40), (100, 101, 97, 98, 39), FLAT]
    job = job_of(rows, {1: 1}, PlanParams())
    assert len(array_run(replace(job, quantity=9.75))) == 1
    with pytest.raises(ConfigError, match="volume of bar 2"):
        array_run(replace(job, quantity=10.0))
    assert array_run(replace(job, signals=np.zeros(4, np.int8), quantity=1e9)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": np.zeros(2, np.int8)}, "one length"),
        ({"signals": np.array([0, 2, 0])}, "-1, 0 or"),
        ({"signals": np.array([0, 0.5, 0])}, "-1, 0 or"),
        ({"stop": np.array([0.1, 0.2])}, "stop_distance has 2 values for 3 bars"),
        ({"atr": None, "params": PlanParams(trail_activation=0.0, trail_atr=1.0)}, "pass atr"),
        ({"bars": columns([FLAT, (100, 100.53, 99.5, 100), FLAT])}, "high of bar 1"),
        ({"bars": columns([FLAT, (100, 101, 100, 101, 0), FLAT])}, "bar 1 moves without volume"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    job = job_of([FLAT] * 3, {1: 1}, PlanParams())
    with pytest.raises(DataError, match=message):
        array_run(replace(job, **change))
