"""Spot scenarios out of seeds: long only, one target and a stop, entries at the market.

As for futures a seed is one scenario, and faults and kill steps are two cycles of coprime lengths.
"""

from random import Random
from typing import Any

from live.rehearsal.campaign.fault_classes import SPOT_FAULT_CLASSES, make_faults
from live.rehearsal.campaign.generate import (
    COMBINED,
    NONE,
    SIGNAL,
    make_ending,
    make_kills,
    make_market,
    make_moves,
    run_file,
)
from live.rehearsal.campaign.scenario import Scenario
from live.rehearsal.campaign.steps import SPOT_STEPS

__all__ = ["SPOT_FAULT_CYCLE", "SPOT_KILL_CYCLE", "spot_scenario_of"]

SPOT_FAULT_CYCLE = tuple(SPOT_FAULT_CLASSES) + (NONE,) * 13 + (COMBINED,) * 5
SPOT_KILL_CYCLE = SPOT_STEPS + (NONE,) * 10
_SYMBOLS = ("BTCUSDT", "ETHUSDT")
_DECIMALS = 2


def spot_scenario_of(seed: int) -> Scenario:
    """The scenario of a seed."""
    random = Random(seed)
    fault, step = SPOT_FAULT_CYCLE[seed % len(SPOT_FAULT_CYCLE)], SPOT_KILL_CYCLE[seed % len(SPOT_KILL_CYCLE)]
    symbols = tuple(_SYMBOLS if random.random() < 0.25 else random.sample(_SYMBOLS, 1))
    trading_secs = round(random.uniform(5.0, 9.0), 1)
    market = make_market(random, step)
    classes: tuple[str, ...] = () if fault == NONE else (fault,)
    if fault == COMBINED:
        classes = tuple(random.sample(sorted(SPOT_FAULT_CLASSES), random.randint(2, 4)))
    strategies = [_strategy(random, symbol, step) for symbol in symbols]
    return Scenario(
        seed=seed,
        symbols=symbols,
        balance="100000",
        leverage=1,
        market=market,
        run=run_file(strategies, {"starting_balance": 100_000.0}),
        moves=make_moves(random, symbols, trading_secs, step, first=("up",)),
        faults=make_faults(
            classes,
            random,
            speed=market.speed,
            symbols=symbols,
            trading_secs=trading_secs,
            table=SPOT_FAULT_CLASSES,
        ),
        kills=make_kills(random, step, trading_secs, SPOT_STEPS),
        trading_secs=trading_secs,
        ending=make_ending(random, step),
        fault_classes=classes,
        kill_steps=() if step == NONE else (step,),
        kind="spot",
    )


def _strategy(random: Random, symbol: str, step: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "use": "momentum_leverage",
        "name": f"momentum_{symbol[:3].lower()}",
        "instrument": f"{symbol}.BINANCE",
        "signal": dict(SIGNAL),
        "exit_on_opposite": step.startswith("exit") or random.random() < 0.4,
        "allow_short": False,
        "sizing": {
            "risk_per_trade_pct": round(random.uniform(0.1, 0.4), _DECIMALS),
            "confidence_weighted": False,
            "max_position_pct": 40.0,
        },
        "stop": {"pct": round(random.uniform(0.8, 3.0), _DECIMALS)},
    }
    if random.random() < 0.85 or step.startswith(("target", "list", "before_list", "after_list")):
        values["targets"] = {"pct": round(random.uniform(0.8, 4.0), _DECIMALS)}
    if random.random() < 0.3 or step.startswith("cancel"):
        values["trailing"] = {
            "activation_pct": round(random.uniform(0.1, 0.8), _DECIMALS),
            "distance_pct": round(random.uniform(0.4, 1.2), _DECIMALS),
        }
    time: dict[str, Any] = {}
    if random.random() < 0.4 or step.startswith("exit"):
        time["max_bars"] = random.randint(2, 6)
    if random.random() < 0.3:
        time["cool_off_bars"] = random.randint(1, 3)
    if time:
        values["time"] = time
    return values
