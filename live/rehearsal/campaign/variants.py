"""The two campaigns: on USD-M futures, and on spot; what is played there and what must hold."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from live.rehearsal.campaign.evidence import Evidence, Violation
from live.rehearsal.campaign.generate import FAULT_CYCLE, KILL_CYCLE, scenario_of
from live.rehearsal.campaign.invariants import INVARIANTS
from live.rehearsal.campaign.scenario import Kind, Scenario
from live.rehearsal.campaign.spot_generate import SPOT_FAULT_CYCLE, SPOT_KILL_CYCLE, spot_scenario_of
from live.rehearsal.campaign.spot_invariants import SPOT_INVARIANTS

__all__ = ["VARIANTS", "Variant"]


class Variant(NamedTuple):
    """One market's campaign. `scenario_of` is pure, the cycles are what it goes round with.

    `scenarios` is how many of them are played when nothing else is asked for.
    """

    scenario_of: Callable[[int], Scenario]
    fault_cycle: tuple[str, ...]
    kill_cycle: tuple[str, ...]
    invariants: Mapping[str, Callable[[Evidence], list[Violation]]]
    scenarios: int

    def check(self, evidence: Evidence) -> list[Violation]:
        """Every violation of every invariant, in their order."""
        return [violation for holds in self.invariants.values() for violation in holds(evidence)]


VARIANTS: Mapping[Kind, Variant] = {
    "um": Variant(scenario_of, FAULT_CYCLE, KILL_CYCLE, INVARIANTS, 1_000),
    "spot": Variant(spot_scenario_of, SPOT_FAULT_CYCLE, SPOT_KILL_CYCLE, SPOT_INVARIANTS, 150),
}
