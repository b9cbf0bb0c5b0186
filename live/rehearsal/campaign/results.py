"""What is kept of every scenario of a campaign, and the sums over all of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from live.rehearsal.campaign.evidence import Bare, Violation
from live.rehearsal.campaign.figures import Row, rows
from live.rehearsal.campaign.generate import COMBINED, NONE
from live.rehearsal.campaign.scenario import Kind
from live.rehearsal.campaign.variants import VARIANTS

__all__ = ["HARNESS", "Line", "Result", "Summary", "summarise"]

HARNESS = "harness"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One scenario that was played.

    `fault_class` and `kill_step` are what it was made for, `kills` the kill points that came about, `faults`
    the kinds that hit anything. Of the harness itself a violation is called `harness`.
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


class Line(NamedTuple):
    """One class: its scenarios, those in which it came about, those that failed, and the failed seeds."""

    name: str
    scenarios: int
    came_about: int
    failed: int
    seeds: tuple[int, ...]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The sums. `failures` are the seeds by invariant, `unprotected` the quantiles by class."""

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
    )


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
