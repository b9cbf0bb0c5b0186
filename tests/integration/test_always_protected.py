"""Random markets, random run files: at no bar's end is any of a position without a stop, and none reverses.

The markets are jumpy and thin, with gaps and empty bars; every group of a run file that manages a trade is
drawn. What must hold is the same for all of them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.hand_market import instrument
from tests.markets import Desk, State, desk, random_rows, random_script

COUNT = 900
SEEDS = range(16)
LATENCY = {"latency_ms": 1000}


def settings(seed: int) -> dict[str, Any]:
    """A run file's strategy, drawn."""
    rng = np.random.default_rng(seed)

    def percent(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 2)

    def maybe(value: Any, chance: float = 0.5) -> Any:
        return value if rng.random() < chance else None

    gains = np.sort(rng.choice(np.arange(30, 400), 3, replace=False)) / 100
    shares = rng.choice([(25, 25, 50), (30, 30, 20), (50, 25, 25), (10, 10, 80)])
    tranches = [{"pct": float(g), "close_pct": float(s)} for g, s in zip(gains, shares, strict=True)]
    order = rng.choice(["market", "limit", "post_only"])
    on_timeout = "cancel" if rng.random() < 0.3 else "market" if order == "limit" else "reprice"
    trailing = {"activation_pct": percent(0.3, 2), "distance_pct": percent(0.3, 1.5)}
    scale_in = {"at_pct": [percent(0.2, 1), percent(1.1, 2)], "add_pct": percent(10, 60)}
    return {
        "stop": {"pct": percent(0.6, 3), "break_even_after_pct": maybe(percent(0.3, 1.5))},
        "targets": {"tranches": tranches} if rng.random() < 0.75 else {"pct": percent(0.5, 4)},
        "trailing": maybe(trailing),
        "scale_in": maybe(scale_in),
        "time": {"max_bars": maybe(int(rng.integers(5, 60)), 0.3), "cool_off_bars": int(rng.integers(0, 3))},
        "entry": {
            "order": str(order),
            "offset_bps": percent(0, 40),
            "timeout_bars": int(rng.integers(1, 5)),
            "on_timeout": str(on_timeout),
            "max_chase_bps": percent(10, 200),
        },
    }


def trade(seed: int, venue: Mapping[str, Any] | None = None) -> Desk:
    spot = seed % 5 == 4
    traded = instrument("BTCUSDT", "spot" if spot else "um")
    rows, script = random_rows(seed, COUNT), random_script(seed, COUNT)
    return desk(rows, script, traded, venue=venue or {}, **settings(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_at_every_bars_end_one_stop_covers_all_that_is_held(seed):
    result = trade(seed)
    assert sum(fill.role == "entry" for fill in result.fills()) > 5
    assert len(result.states()) == COUNT
    for state in result.states():
        check_state(state)
    check_fills(result)
    assert result.strategy.failure is None
    assert "unexpected_position" not in {detail["action"] for _, detail in result.audit("action")}


def check_state(state: State) -> None:
    by_role: dict[str, list[tuple[str, float, bool]]] = {}
    for role, side, _, quantity, _, reduce_only in state.orders:
        by_role.setdefault(role, []).append((side, quantity, reduce_only))
    if state.position == 0:
        assert set(by_role) <= {"entry"}
        return
    exit_side = "SELL" if state.position > 0 else "BUY"
    assert by_role["stop"] == [(exit_side, abs(state.position), True)]
    targets = by_role.get("target", [])
    assert {side for side, _, _ in targets} <= {exit_side}
    assert sum(quantity for _, quantity, _ in targets) <= abs(state.position) + 1e-9
    assert all(side != exit_side for side, _, _ in by_role.get("entry", []))


def check_fills(result: Desk) -> None:
    """What closes never goes beyond flat, and after a stop nothing else closes in that bar."""
    held, stopped = 0.0, -1
    for fill in result.fills():
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        if fill.role in ("entry", "add"):
            assert held * signed >= 0
        else:
            assert held * signed < 0
            assert abs(signed) <= abs(held) + 1e-9
            assert fill.role != "target" or fill.bar != stopped
        if fill.role == "stop":
            stopped = fill.bar
        held = round(held + signed, 5)
    assert held == result.end()[0]


def test_the_drawn_run_files_cover_every_way_to_trade():
    drawn = [settings(seed) for seed in SEEDS]
    assert {d["entry"]["order"] for d in drawn} == {"market", "limit", "post_only"}
    assert {d["entry"]["on_timeout"] for d in drawn} == {"cancel", "reprice", "market"}
    for group in ("trailing", "scale_in"):
        assert {d[group] is None for d in drawn} == {True, False}
    roles = {fill.role for seed in (0, 1, 2, 3) for fill in trade(seed).fills()}
    assert {"entry", "stop", "target", "exit"} <= roles


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 6])
def test_with_delays_whatever_goes_wrong_is_flat_again_soon(seed):
    """Orders act a bar late: an unforeseen position may come, it may not stay, and it is written down."""
    result = trade(seed, LATENCY)
    assert sum(fill.role == "entry" for fill in result.fills()) > 5
    naked = 0
    for state in result.states():
        covered = sum(quantity for role, _, _, quantity, _, _ in state.orders if role == "stop")
        naked = naked + 1 if state.position != 0 and covered == 0 else 0
        assert naked <= 3
    assert result.strategy.failure is None
