"""What is kept of every scenario of a campaign, and the sums over all of them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from live.rehearsal.campaign.evidence import Bare, Violation
from live.rehearsal.campaign.figures import NO_FAULT, TARGET_SECS, Row, by_class, rows
from live.rehearsal.campaign.generate import COMBINED, NONE
from live.rehearsal.campaign.looks import LIMITS, Bound
from live.rehearsal.campaign.scenario import Kind, Scenario
from live.rehearsal.campaign.stages import PLAIN
from live.rehearsal.campaign.variants import VARIANTS

__all__ = ["HARNESS", "LimitLine", "Line", "Result", "Summary", "shortfalls", "summarise"]

HARNESS = "harness"
_LATE, _FEW_TIMES = 0.01, 6
_IDLE, _FEW_SCENARIOS = 0.1, 3


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario that was played.

    `fault_class` and `kill_step` are what it was made for, `kills` the kill points that came about, `faults`
    the kinds that hit anything. `stage` is empty for a plain one, `bounds` are the limits that it reached. Of
    the harness itself a violation is called `harness`.
    """

    seed: int
    fault_class: str
    kill_step: str
    ending: str
    kills: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    lives: int = 0
    positions: int = 0
    violations: tuple[Violation, ...] = ()
    bare: tuple[Bare, ...] = ()
    node_cpu_secs: float = 0.0
    venue_cpu_secs: float = 0.0
    wall_secs: float = 0.0
    steps: dict[str, int] = {}
    stage: str = ""
    bounds: tuple[Bound, ...] = ()

    @classmethod
    def of(cls, seed: int, ending: str, kind: Kind = "um", **values: Any) -> "Result":
        """With the classes of the seed in the campaign of a market."""
        faults, kills = VARIANTS[kind].fault_cycle, VARIANTS[kind].kill_cycle
        return cls(
            seed=seed,
            fault_class=faults[seed % len(faults)],
            kill_step=kills[seed % len(kills)],
            ending=ending,
            **values,
        )

    @classmethod
    def of_scenario(cls, scenario: Scenario, **values: Any) -> "Result":
        """With the classes of a scenario."""
        faults = scenario.fault_classes
        return cls(
            seed=scenario.seed,
            fault_class=NONE if not faults else faults[0] if len(faults) == 1 else COMBINED,
            kill_step=scenario.kill_steps[0] if scenario.kill_steps else NONE,
            ending=scenario.ending,
            stage=scenario.stage,
            **values,
        )


class Line(NamedTuple):
    """One class: its scenarios, those in which it came about, those that failed, and the failed seeds."""

    name: str
    scenarios: int
    came_about: int
    failed: int
    seeds: tuple[int, ...]


class LimitLine(NamedTuple):
    """A limit: in how many scenarios it closed the account for entries, and in how many across a kill.

    `any` is for those of a loss, a drawdown or a streak together. Once of all scenarios, once of those on the
    stage that is made for it, with how many those are.
    """

    name: str
    bound: int
    across_kill: int
    staged: int
    staged_bound: int
    staged_across_kill: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The sums. `failures` are the seeds by invariant, `unprotected` the quantiles by class.

    `shortfalls` are what no scenario can be accused of alone and all of them together can (`shortfalls`).
    """

    scenarios: int
    failed: int
    positions: int
    kills: int
    node_cpu_secs: float
    venue_cpu_secs: float
    failures: dict[str, list[int]]
    fault_classes: list[Line]
    kill_steps: list[Line]
    unprotected: list[Row]
    stages: list[Line] = []
    limits: list[LimitLine] = []
    shortfalls: list[str] = []


def summarise(results: Sequence[Result]) -> Summary:
    """The sums over scenarios."""
    failures: dict[str, list[int]] = {}
    for result in results:
        for invariant in dict.fromkeys(violation.invariant for violation in result.violations):
            failures.setdefault(invariant, []).append(result.seed)
    count = max(1, len(results))
    return Summary(
        scenarios=len(results),
        failed=sum(bool(result.violations) for result in results),
        positions=sum(result.positions for result in results),
        kills=sum(len(result.kills) for result in results),
        node_cpu_secs=sum(result.node_cpu_secs for result in results) / count,
        venue_cpu_secs=sum(result.venue_cpu_secs for result in results) / count,
        failures=failures,
        fault_classes=_lines(((r.fault_class, _has_hit(r)), r) for r in results),
        kill_steps=_lines(((r.kill_step, r.kill_step in (NONE, *r.kills)), r) for r in results),
        unprotected=rows([bare for result in results for bare in result.bare]),
        stages=_lines(((r.stage or PLAIN, bool(r.positions)), r) for r in results),
        limits=_limits(results),
        shortfalls=shortfalls(results),
    )


def shortfalls(results: Sequence[Result]) -> list[str]:
    """Targets that the scenarios together miss, by more than chance explains (three standard deviations).

    Of the times without a stop in which nothing was at fault 99 % are under 250 ms, from six times on; and of
    the scenarios with neither fault nor kill nine in ten open a position, from three on: a node that does
    nothing does nothing wrong.
    """
    texts = []
    faultless = by_class(bare for result in results for bare in result.bare)[NO_FAULT]
    late = sum(secs >= TARGET_SECS for secs in faultless)
    if len(faultless) >= _FEW_TIMES and late > _most_by_chance(len(faultless), _LATE):
        texts.append(f"{late} of {len(faultless)} faultless times without a stop took 250 ms and more")
    calm = [r for r in results if r.fault_class == NONE and r.kill_step == NONE]
    idle = sum(not result.positions for result in calm)
    if len(calm) >= _FEW_SCENARIOS and idle > _most_by_chance(len(calm), _IDLE):
        texts.append(f"{idle} of {len(calm)} scenarios without fault and kill opened no position")
    return texts


def _limits(results: Sequence[Result]) -> list[LimitLine]:
    staged = [result for result in results if result.stage == "limits"]
    names = sorted({bound.limit for result in results for bound in result.bounds})
    return [
        LimitLine(name, *_bound(results, wanted), len(staged), *_bound(staged, wanted))
        for name, wanted in (("any", LIMITS), *((name, (name,)) for name in names))
    ]


def _bound(results: Iterable[Result], wanted: Sequence[str]) -> tuple[int, int]:
    """How many reached one of the limits, and how many across a kill."""
    found = [[bound for bound in result.bounds if bound.limit in wanted] for result in results]
    return sum(map(bool, found)), sum(any(bound.across_kill for bound in bounds) for bounds in found)


def _most_by_chance(count: int, share: float) -> float:
    return max(1.0, count * share + 3.0 * math.sqrt(count * share * (1.0 - share)))


def _has_hit(result: Result) -> bool:
    return result.fault_class == NONE or bool(result.faults)


def _lines(pairs: Iterable[tuple[tuple[str, bool], Result]]) -> list[Line]:
    scenarios: Counter[str] = Counter()
    came: Counter[str] = Counter()
    failed: dict[str, list[int]] = {}
    for (name, came_about), result in pairs:
        scenarios[name] += 1
        came[name] += came_about
        if result.violations:
            failed.setdefault(name, []).append(result.seed)
    order = sorted(scenarios, key=lambda name: (name != NONE, name == COMBINED, name))
    return [
        Line(name, scenarios[name], came[name], len(failed.get(name, ())), tuple(failed.get(name, ())))
        for name in order
    ]
