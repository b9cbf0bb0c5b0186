"""Scenarios out of seeds. `scenario_of` is pure: the same seed is the same scenario, whatever else is played.

What a scenario is made for goes round with the seed: the fault classes and the kill steps are two cycles of
coprime lengths, so any run of consecutive seeds has each of them almost equally often (`shares`), and each
pair comes before any pair comes again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from live.rehearsal.campaign.fault_classes import FAULT_CLASSES, make_faults
from live.rehearsal.campaign.scenario import Ending, Kill, Market, Move, Scenario, Toward
from live.rehearsal.campaign.stages import stage_of, staged
from live.rehearsal.campaign.steps import STEPS

__all__ = [
    "COMBINED",
    "FAULT_CYCLE",
    "KILL_CYCLE",
    "MODEL",
    "NONE",
    "SIGNAL",
    "make_ending",
    "make_kills",
    "make_market",
    "make_moves",
    "plain_scenario_of",
    "run_file",
    "scenario_of",
    "shares",
    "with_limits",
]

NONE = "none"
COMBINED = "combined"
FAULT_CYCLE = tuple(FAULT_CLASSES) + (NONE,) * 17 + (COMBINED,) * 7
KILL_CYCLE = STEPS + (NONE,) * 12
_SYMBOLS = ("BTCUSDT", "ETHUSDT")
_DECIMALS = 2
# no thresholds: a jump of the price makes an entry
SIGNAL = {
    "min_strength": 0.01,
    "full_strength": 2.0,
    "min_volatility_ratio": 0.01,
    "max_volatility_ratio": 10.0,
    "require_breakout": False,
}
# a model that nothing holds back: every forecast is an opinion
_WITH_MODEL = {
    "use": "ml_basic",
    "model": "direction",
    "signal": {"threshold": 0.5001, "full_confidence": 0.51},
}
MODEL: dict[str, Any] = {
    "name": "direction",
    "label": {"horizon_bars": 6, "take_profit_pct": 0.3, "stop_loss_pct": 0.3, "cost_bps": 2},
}
_MODEL_SHARE = 0.15
_MOST = {"preflight": 12, "connecting": 1, "reconciling": 3, "cancel_received": 3}


def shares(seeds: Iterable[int]) -> tuple[Counter[str], Counter[str]]:
    """How often each fault class and each kill step comes in the scenarios of some seeds."""
    faults: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    for seed in seeds:
        faults[FAULT_CYCLE[seed % len(FAULT_CYCLE)]] += 1
        kills[KILL_CYCLE[seed % len(KILL_CYCLE)]] += 1
    return faults, kills


def scenario_of(seed: int, stage: str | None = None) -> Scenario:
    """The scenario of a seed, on its own stage (`stages.stage_of`) or another."""
    scenario = plain_scenario_of(seed)
    if stage is None:
        stage = stage_of(seed, has_fault=bool(scenario.faults), has_model=scenario.has_model)
    return staged(scenario, stage)


def plain_scenario_of(seed: int) -> Scenario:
    """The scenario of a seed before it is put on a stage."""
    random = Random(seed)
    fault, step = FAULT_CYCLE[seed % len(FAULT_CYCLE)], KILL_CYCLE[seed % len(KILL_CYCLE)]
    symbols = _SYMBOLS if random.random() < 0.25 else random.sample(_SYMBOLS, 1)
    has_model = len(symbols) == 1 and Random(f"model {seed}").random() < _MODEL_SHARE
    trading_secs = round(random.uniform(5.0, 9.0), 1)
    market = make_market(random, step)
    classes: tuple[str, ...] = () if fault == NONE else (fault,)
    if fault == COMBINED:
        classes = tuple(random.sample(sorted(set(FAULT_CLASSES) - {"amnesia"}), random.randint(2, 4)))
    return Scenario(
        seed=seed,
        symbols=tuple(symbols),
        balance="100000",
        leverage=5,
        market=market,
        run=with_limits(_run(random, tuple(symbols), step, has_model=has_model), seed),
        moves=make_moves(random, tuple(symbols), trading_secs, step),
        faults=make_faults(
            classes, random, speed=market.speed, symbols=tuple(symbols), trading_secs=trading_secs
        ),
        kills=make_kills(random, step, trading_secs),
        trading_secs=trading_secs,
        ending=make_ending(random, step),
        fault_classes=classes,
        kill_steps=() if step == NONE else (step,),
        has_model=has_model,
    )


def make_ending(random: Random, step: str) -> Ending:
    """How it ends: flattened where the step is of the exit."""
    if step.startswith(("exit", "before_exit")):
        return "flatten"
    endings: tuple[Ending, ...] = ("keep", "flatten", "kill")
    return random.choices(endings, (5, 4, 1))[0]


def make_market(random: Random, step: str) -> Market:
    """The market: thin where the entry is to fill in parts."""
    thin = step == "entry_partial" or random.random() < 0.2
    return Market(
        minute_volatility_bps=round(random.choice((3.0, 8.0, 15.0, 30.0)) * random.uniform(0.8, 1.2), 1),
        spread_bps=round(random.uniform(0.2, 4.0), 1),
        depth_quote=round(random.uniform(2_000, 6_000) if thin else random.uniform(20_000, 200_000)),
        trades_a_minute=random.choice((10, 14)),
        speed=float(random.choice((60, 75, 90, 120))),
        start_speed=float(random.choice((5, 15, 40))),
    )


def make_kills(
    random: Random, step: str, trading_secs: float, steps: Sequence[str] = STEPS
) -> tuple[Kill, ...]:
    """A kill at a step, and sometimes more of them at any of the `steps`; none for the step `none`."""
    kills = []
    if step != NONE:
        kills.append(_kill(random, step, trading_secs))
        while step != "shutdown" and len(kills) < 3 and random.random() < 0.2:
            more = random.choice([name for name in steps if name != "shutdown"])
            kills.append(_kill(random, more, trading_secs))
    return tuple(kills)


def _kill(random: Random, step: str, trading_secs: float) -> Kill:
    most = _MOST.get(step, 2)
    longest = 1.2 if step == "shutdown" else trading_secs * 0.8
    return Kill(
        step=step,
        nth=random.randint(1, most) if most > 2 or random.random() < 0.4 else 1,
        at_secs=round(random.uniform(0.0, longest), _DECIMALS),
        dead_secs=round(random.choice((0.0, random.uniform(0.0, 2.0))), _DECIMALS),
    )


# -- the run file -------------------------------------------------------------------------------------------


def _run(random: Random, symbols: tuple[str, ...], step: str, *, has_model: bool) -> dict[str, Any]:
    strategies = [_strategy(random, symbol, step) for symbol in symbols]
    if has_model:
        strategies = [strategy | _WITH_MODEL for strategy in strategies]
    run = run_file(strategies, {"starting_balance": 100_000.0, "leverage": 5.0})
    return run | {"models": [MODEL]} if has_model else run


def run_file(strategies: list[dict[str, Any]], venue: dict[str, float]) -> dict[str, Any]:
    """A run file but for its catalog."""
    return {
        "name": "campaign",
        "data": {
            "bar": "1m",
            "start": "2025-01-01T00:00:00Z",
            "test_start": "2025-02-01T00:00:00Z",
            "end": "2025-03-01T00:00:00Z",
        },
        "strategies": strategies,
        # the rehearsal's minutes are shorter than the node's
        "risk": {"kill_switch": {"stale_data_pause_secs": None}},
        "venue": venue,
    }


def with_limits(run: dict[str, Any], seed: int) -> dict[str, Any]:
    """The run with limits so tight that they are met, for a third of the seeds.

    They have random numbers of their own: what else a seed plays does not depend on them.
    """
    random = Random(f"limits {seed}")
    kind = random.choice(("share", "streak", "day_loss", "halt", "entries", *(NONE,) * 10))
    if kind == "share":
        share = round(random.uniform(2.0, 6.0), _DECIMALS)
        sized = [s | {"sizing": s["sizing"] | {"max_position_pct": share}} for s in run["strategies"]]
        return run | {"strategies": sized}
    lost = round(random.uniform(0.05, 0.25), _DECIMALS)
    day: dict[str, dict[str, Any]] = {
        "streak": {"loss_streak": random.randint(2, 3)},
        "day_loss": {"max_loss_pct": lost},
        "entries": {"max_entries_hour": random.randint(2, 3)},
    }
    risk = run["risk"]
    if kind in day:
        return run | {"risk": risk | {"day": day[kind]}}
    if kind == "halt":
        tight = {"max_daily_loss_pct": lost, "max_rejections": 1}
        return run | {"risk": risk | {"kill_switch": risk["kill_switch"] | tight}}
    return run


def _strategy(random: Random, symbol: str, step: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "use": "momentum_leverage",
        "name": f"momentum_{symbol[:3].lower()}",
        "instrument": f"{symbol}-PERP.BINANCE",
        "signal": dict(SIGNAL),
        "exit_on_opposite": step.startswith("exit") or random.random() < 0.4,
        "allow_short": random.random() < 0.85,
        "sizing": {
            "risk_per_trade_pct": round(random.uniform(0.1, 0.4), _DECIMALS),
            "confidence_weighted": False,
            "max_position_pct": 50.0,
        },
        "stop": {"pct": round(random.uniform(0.8, 3.0), _DECIMALS)},
    }
    if random.random() < 0.8 or step.startswith("target"):
        values["targets"] = _targets(random)
    if random.random() < 0.5 or step.startswith(("bridge", "cancel")):
        values["trailing"] = {
            "activation_pct": round(random.uniform(0.1, 0.8), _DECIMALS),
            "distance_pct": round(random.uniform(0.4, 1.2), _DECIMALS),
        }
    if random.random() < 0.25 or step.startswith("add"):
        values["scale_in"] = {"at_pct": sorted(round(random.uniform(0.1, 2.0), 1) + n for n in (0, 2))}
    _add_entry_and_time(random, values, step)
    return values


def _targets(random: Random) -> dict[str, Any]:
    if random.random() < 0.4:
        return {"pct": round(random.uniform(0.8, 4.0), _DECIMALS)}
    first = round(random.uniform(0.6, 2.0), _DECIMALS)
    shares = random.choice(((50.0, 25.0), (40.0, 60.0), (30.0, 30.0, 40.0)))
    gains = [round(first * (1.0 + 0.8 * rung), _DECIMALS) for rung in range(len(shares))]
    return {
        "tranches": [{"pct": gain, "close_pct": share} for gain, share in zip(gains, shares, strict=True)]
    }


def _add_entry_and_time(random: Random, values: dict[str, Any], step: str) -> None:
    if random.random() < 0.25:
        order = random.choice(("limit", "post_only"))
        values["entry"] = {
            "order": order,
            "offset_bps": round(random.uniform(0.0, 4.0), 1),
            "timeout_bars": random.randint(1, 3),
            "on_timeout": random.choice(("cancel", "reprice") + (("market",) if order == "limit" else ())),
        }
    time: dict[str, Any] = {}
    if random.random() < 0.4 or step.startswith("exit"):
        time["max_bars"] = random.randint(2, 6)
    if random.random() < 0.3:
        time["cool_off_bars"] = random.randint(1, 3)
    if time:
        values["time"] = time


def make_moves(
    random: Random,
    symbols: tuple[str, ...],
    trading_secs: float,
    step: str,
    first: tuple[Toward, ...] = ("up", "down"),
) -> tuple[Move, ...]:
    """A jump that makes an entry, then others to where the kill step needs them."""
    moves = []
    for symbol in symbols:
        at_secs = random.uniform(0.2, 1.0)
        toward: Toward = random.choice(first)
        moves.append(Move(at_secs=round(at_secs, 2), symbol=symbol, percent=_percent(random), toward=toward))
        while (at_secs := at_secs + random.uniform(0.8, 2.5)) < trading_secs - 0.5:
            toward = random.choice(("gain", "gain", "loss"))
            if step.startswith(("stop_t", "stop_f")):
                toward = "loss"
            elif step.startswith(("target", "bridge", "add")):
                toward = "gain"
            moves.append(
                Move(at_secs=round(at_secs, 2), symbol=symbol, percent=_percent(random), toward=toward)
            )
    return tuple(moves)


def _percent(random: Random) -> float:
    return round(random.choice((0.5, 1.0, 2.0, 3.5, 6.0)) * random.uniform(0.8, 1.3), _DECIMALS)
