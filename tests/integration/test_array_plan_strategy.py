"""The strategy that trades and the arrays make the same trades: one plan, two drivers."""

from typing import Any

import numpy as np
import pytest

from backtests.array_plan import REASONS, run_plan
from configs.schema import StrategyConfig
from strategies.assembly import assemble
from tests.hand_market import columns, instrument
from tests.markets import Desk, desk, random_rows, run_config
from tests.plan_jobs import recorded_bars

UP, DOWN = 0.7, 0.3
SMALL = {"method": "fraction", "fraction_pct": 0.5, "max_position_pct": 50, "confidence_weighted": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "fixed": {"stop": {"pct": 0.3}, "targets": {"pct": 0.5}},
    "managed": {
        "stop": {"pct": 0.4, "break_even_after_pct": 0.2},
        "targets": {"pct": 0.9},
        "trailing": {"activation_pct": 0.25, "distance_pct": 0.2},
        "time": {"max_bars": 90, "cool_off_bars": 2},
    },
    "session": {
        "stop": {"pct": 0.5},
        "targets": {"pct": None},
        "time": {"max_bars": 240, "flat_before_midnight_minutes": 60, "flat_weekend": True},
    },
    "deaf": {"stop": {"pct": 0.3}, "targets": {"pct": 0.4}, "exit_on_opposite": False},
}


def made(done: Desk) -> list[tuple[int, int, int, float, float]]:
    """(entry bar, exit bar, side, entry price, exit price) of the engine's closed trades."""
    fills = done.fills()
    pairs = zip(fills[::2], fills[1::2], strict=False)
    found = []
    for entry, out in pairs:
        assert entry.role == "entry"
        assert entry.quantity == out.quantity
        found.append((entry.bar, out.bar, 1 if entry.side == "BUY" else -1, entry.price, out.price))
    return found


def compared(rows: list[tuple[float, ...]], seed: int, share: float, settings: dict[str, Any]) -> int:
    """How many trades both made; they must be the same ones."""
    rng = np.random.default_rng(seed)
    signals = np.where(rng.random(len(rows)) < share, rng.choice([-1, 1], len(rows)), 0)
    signals[:3] = 0  # the guard's first word comes with the first bar
    script = {int(i): UP if signals[i] > 0 else DOWN for i in np.flatnonzero(signals)}
    settings = {"sizing": SMALL, **settings}
    done = desk(rows, script, **settings)
    config: StrategyConfig = run_config((instrument(),), {}, **settings).strategies[0]
    plan = (
        assemble(run_config((instrument(),), {}, **settings), done.instruments, {}).strategies[0]._setup.plan
    )
    trades = run_plan(
        columns(rows),
        signals,
        stop_distance=config.stop.pct / 100.0,
        target_distance=None if config.targets.pct is None else config.targets.pct / 100.0,
        params=plan,
        ticks_per_unit=10.0,
        exit_on_opposite=config.exit_on_opposite,
        cool_off_bars=config.time.cool_off_bars,
    )
    expected = [
        (t["entry_bar"], t["exit_bar"], t["side"], t["entry_ticks"] / 10.0, t["exit_ticks"] / 10.0)
        for t in trades
    ]
    assert made(done) == expected
    assert {REASONS[r] for r in trades["reason"]} >= {"stop"}
    return len(trades)


@pytest.mark.parametrize("name", SETTINGS)
def test_on_a_random_market(name: str) -> None:
    settings = dict(SETTINGS[name])
    rows = [(*row[:4], 5_000.0) for row in random_rows(11, 4_000)]
    settings["stop"] = settings["stop"] | {"pct": 5 * settings["stop"]["pct"]}
    assert compared(rows, 1, 0.08, settings) > 20


@pytest.mark.parametrize("name", SETTINGS)
def test_on_recorded_bars(name: str) -> None:
    bars = recorded_bars("BTC").slice(0, 12_000)
    rows = list(
        zip(*(x.tolist() for x in (bars.open, bars.high, bars.low, bars.close, bars.volume)), strict=True)
    )
    assert compared(rows, 2, 0.05, SETTINGS[name]) > 40
