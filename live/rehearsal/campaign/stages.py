"""Stages: scenarios bent so that what is rarely met comes about, each by a share of the seeds or by name.

A stage changes a scenario that is made already and has random numbers of its own: what else a seed plays
stays as it is, but for what the stage says.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

import msgspec

from live.rehearsal.campaign.scenario import Command, Fault, Kill, Mood, Move, Scenario, Toward

__all__ = ["PLAIN", "STAGES", "Stage", "stage_of", "staged"]

PLAIN = "plain"
_EITHER: tuple[Toward, ...] = ("up", "down")
Bend = Callable[[Random, Scenario], Scenario | None]


class Stage(NamedTuple):
    """`bend` makes a scenario into one of the stage, or None of one that cannot be.

    The shares are of the seeds with a fault, and of those without.
    """

    bend: Bend
    share: float
    calm_share: float


def stage_of(seed: int, *, has_fault: bool, has_model: bool) -> str:
    """The stage on which a seed is played when nothing else is asked for.

    A market that somebody else moves and a model do not go together: models are played plain, or with moods.
    """
    random = Random(f"stage {seed}")
    if has_model:
        return "sentiment" if random.random() < _MOODY_SHARE else PLAIN
    left = random.random()
    for name, stage in STAGES.items():
        left -= stage.share if has_fault else stage.calm_share
        if left < 0.0:
            return name
    return PLAIN


def staged(scenario: Scenario, name: str) -> Scenario:
    """A scenario as it is played on a stage, as it was where it cannot be; KeyError for no stage's name."""
    bent = None if name == PLAIN else STAGES[name].bend(Random(f"{name} {scenario.seed}"), scenario)
    if bent is None:
        return scenario
    return msgspec.structs.replace(bent, stage=name)


# -- limits --------------------------------------------------------------------------------------------------


def _tight(random: Random, scenario: Scenario) -> Scenario:
    """A loss at every turn, and a limit of the account that one to three of them reach.

    The guard looks at the equity when it starts and every minute: of losses a kill tells it, and the kill
    after that is the one through which the limit must hold.
    """
    secs = round(random.uniform(11.0, 14.0), 1)
    strategies = [_bold(random, strategy) for strategy in scenario.run["strategies"]]
    kills = scenario.kills[:1] if random.random() < 0.3 else ()
    if not any(kill.step == "shutdown" for kill in kills):
        kills += (_blow(random, 2.5, 4.0), _blow(random, 1.2, 2.0), _blow(random, 1.0, 1.5))
    return msgspec.structs.replace(
        scenario,
        run=scenario.run | {"strategies": strategies, "risk": _limit(random, scenario.run["risk"])},
        market=msgspec.structs.replace(
            scenario.market,
            minute_volatility_bps=round(random.uniform(15.0, 30.0), 1),
            depth_quote=round(random.uniform(100_000, 200_000)),
        ),
        moves=_losses(random, scenario.symbols, secs),
        kills=kills,
        kill_steps=tuple(kill.step for kill in kills[:1]),
        trading_secs=secs,
    )


def _limit(random: Random, risk: Mapping[str, Any]) -> dict[str, Any]:
    """One of the account's limits, in per cent of the equity or as a count."""
    pct = round(random.uniform(0.1, 0.4), 2)
    switch = risk["kill_switch"]
    kinds: tuple[dict[str, Any], ...] = (
        {"day": {"max_loss_pct": pct}},
        {"day": {"loss_streak": random.randint(1, 2)}},
        {"portfolio": {"max_drawdown_pct": pct}},
        {"kill_switch": switch | {"max_daily_loss_pct": pct}},
        {"kill_switch": switch | {"max_drawdown_pct": pct, "action": random.choice(("freeze", "flatten"))}},
    )
    return {**risk, **random.choice(kinds)}


def _bold(random: Random, strategy: Mapping[str, Any]) -> dict[str, Any]:
    """In at the market on every turn, out by a near stop."""
    kept = {name: value for name, value in strategy.items() if name not in ("entry", "time", "trailing")}
    sizing = {"risk_per_trade_pct": round(random.uniform(0.3, 0.5), 2), "max_position_pct": 80.0}
    return kept | {
        "allow_short": True,
        "exit_on_opposite": False,
        "sizing": {**strategy["sizing"], **sizing},
        "stop": {"pct": round(random.uniform(0.8, 1.3), 2)},
    }


def _losses(random: Random, symbols: tuple[str, ...], secs: float) -> tuple[Move, ...]:
    moves = []
    for symbol in symbols:
        at_secs, toward = round(random.uniform(0.2, 0.8), 2), random.choice(_EITHER)
        moves.append(Move(at_secs=at_secs, symbol=symbol, percent=2.0, toward=toward))
        while (at_secs := round(at_secs + random.uniform(0.9, 1.6), 2)) < secs - 0.5:
            percent = round(random.uniform(1.6, 3.0), 2)
            moves.append(Move(at_secs=at_secs, symbol=symbol, percent=percent, toward="loss"))
    return tuple(moves)


def _blow(random: Random, least: float, most: float) -> Kill:
    return Kill(step="random", at_secs=round(random.uniform(least, most), 2))


# -- margin --------------------------------------------------------------------------------------------------


def _isolated(random: Random, scenario: Scenario) -> Scenario:
    """Each position has a wallet of its own, in half of the scenarios a smaller one than usual."""
    leverage = random.choice((5, 5, 10, 20))
    live = {**scenario.run.get("live", {}), "tolerances": {"margin_type": "ISOLATED"}}
    venue = scenario.run["venue"] | {"leverage": float(leverage)}
    return msgspec.structs.replace(
        scenario, leverage=leverage, run=scenario.run | {"live": live, "venue": venue}
    )


# -- sentiment -----------------------------------------------------------------------------------------------

_MOODY_SHARE = 0.4
_MOODS = (15, 35, 65, 85)  # the outermost shut a door
_MOODY = {
    "use": "ml_sentiment",
    "signal": {
        "threshold": 0.5002,
        "full_confidence": 0.51,
        "threshold_shift": 0.0001,
        "require_sentiment": True,
    },
}


def _sentiment(random: Random, scenario: Scenario) -> Scenario | None:
    """The strategy, one with a model, looks at an index whose value changes while it trades."""
    if not scenario.has_model:
        return None
    before = random.choice(_MOODS)
    after = random.choice([mood for mood in _MOODS if (mood < 50) != (before < 50)])
    strategies = [strategy | _MOODY for strategy in scenario.run["strategies"]]
    mood = Mood(
        before=before,
        after=after,
        due_minutes=random.randint(5, 9),
        failing=random.choice((0.0, 0.0, 0.5)),
    )
    return msgspec.structs.replace(scenario, run=scenario.run | {"strategies": strategies}, mood=mood)


# -- commands ------------------------------------------------------------------------------------------------


def _commanded(random: Random, scenario: Scenario) -> Scenario:
    """An operator halts the account, or has everything closed, through two kills; then he lets it go again.

    Nothing but his word closes it for entries: a halt for what was lost is found again after a restart, his
    is only remembered. The first kill comes at any time around the halt, the second one when it holds.
    """
    secs = round(random.uniform(12.0, 14.0), 1)
    halt_secs = round(random.uniform(1.5, 3.5), 2)
    name = random.choice(("halt", "halt", "flatten"))
    commands: tuple[Command, ...] = (Command(name=name, life=0, at_secs=halt_secs),)
    if random.random() < 0.75:
        at_secs = round(random.uniform(0.1, 0.8), 2)
        commands += (Command(name=random.choice(("reset", "resume")), life=2, at_secs=at_secs),)
    action = {"action": random.choice(("freeze", "flatten")), "max_daily_loss_pct": None}
    switch = scenario.run["risk"]["kill_switch"] | action
    risk = {"day": {"max_loss_pct": None, "loss_streak": None}, "kill_switch": switch}
    strategies = [_bold(random, strategy) for strategy in scenario.run["strategies"]]
    return msgspec.structs.replace(
        scenario,
        run=scenario.run | {"strategies": strategies, "risk": risk},
        moves=_losses(random, scenario.symbols, secs),
        kills=(_blow(random, halt_secs, halt_secs + 1.0), _blow(random, 0.8, 1.8)),
        kill_steps=("random",),
        commands=commands,
        trading_secs=secs,
    )


# -- what follows --------------------------------------------------------------------------------------------


def _coarse(random: Random, scenario: Scenario) -> Scenario:
    """The venue makes its lots coarser while a position is held, which has to go some bars later.

    Nothing else goes wrong: a node that does not learn the new rules is refused again and again.
    """
    fault = {"kind": "change_filters", "timing": {"for_secs": round(scenario.market.speed * 60.0, 1)}}
    rules = {"step": "0.01", "min_quantity": "0.01"}
    moves = [
        Move(at_secs=0.4, symbol=name, percent=2.0, toward=random.choice(_EITHER))
        for name in scenario.symbols
    ]
    return msgspec.structs.replace(
        scenario,
        run=scenario.run
        | {"strategies": [_held_run(s) | {"time": {"max_bars": 5}} for s in scenario.run["strategies"]]},
        faults=tuple(
            Fault(values={"name": f"change_filters-{n}", "symbol": name, **fault, **rules}, at_secs=2.2)
            for n, name in enumerate(scenario.symbols)
        ),
        fault_classes=("change_filters",),
        moves=tuple(moves),
        kills=(),
        kill_steps=(),
        trading_secs=round(random.uniform(9.0, 10.0), 1),
        ending="flatten",
    )


def _held_run(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """In at the market, and nothing but a far stop from then on."""
    dropped = ("entry", "time", "trailing", "targets", "scale_in")
    kept = {name: value for name, value in strategy.items() if name not in dropped}
    return kept | {"allow_short": True, "exit_on_opposite": False, "stop": {"pct": 6.0}}


def _growing(random: Random, scenario: Scenario) -> Scenario:
    """Positions grow while they have targets, which are too far away to be met; nothing goes wrong."""
    moves = []
    for symbol in scenario.symbols:
        toward = random.choice(_EITHER)
        moves.append(Move(at_secs=0.4, symbol=symbol, percent=2.0, toward=toward))
        for at_secs in (2.0, 3.5):
            moves.append(Move(at_secs=at_secs, symbol=symbol, percent=1.2, toward="gain"))
    return msgspec.structs.replace(
        scenario,
        run=scenario.run | {"strategies": [_growing_run(random, s) for s in scenario.run["strategies"]]},
        moves=tuple(moves),
        faults=(),
        fault_classes=(),
        kills=(),
        kill_steps=(),
        trading_secs=9.0,
        ending="keep",
    )


def _growing_run(random: Random, strategy: Mapping[str, Any]) -> dict[str, Any]:
    return _held_run(strategy) | {
        "targets": {"pct": round(random.uniform(15.0, 25.0), 1)},
        "scale_in": {"at_pct": [0.4, 1.2], "add_pct": round(random.uniform(30.0, 50.0), 1)},
    }


STAGES: Mapping[str, Stage] = {
    "limits": Stage(_tight, 0.06, 0.35),
    "isolated": Stage(_isolated, 0.08, 0.10),
    "coarse": Stage(_coarse, 0.0, 0.06),
    "growing": Stage(_growing, 0.0, 0.06),
    "sentiment": Stage(_sentiment, 0.0, 0.0),
    "commanded": Stage(_commanded, 0.03, 0.08),
}
