"""What a campaign plays: the same seed is the same scenario, and every class comes its share of times."""

from math import gcd

import msgspec
import pytest
from pydantic import TypeAdapter

from configs.schema import RunConfig
from live.rehearsal.campaign.fault_classes import FAULT_CLASSES
from live.rehearsal.campaign.generate import COMBINED, FAULT_CYCLE, KILL_CYCLE, NONE, scenario_of, shares
from live.rehearsal.campaign.results import HARNESS, Result, summarise
from live.rehearsal.campaign.scenario import Scenario
from live.rehearsal.campaign.steps import (
    STEPS,
    Phase,
    answer_steps,
    event_steps,
    request_steps,
    role_of,
)
from live.rehearsal.faults.script import KINDS, parse_fault

SEEDS = range(300)
ENTRY, STOP = {"newClientOrderId": "m-mk3x1-1E0"}, {"clientAlgoId": "m-mk3x1-2S0"}


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    return [scenario_of(seed) for seed in SEEDS]


def test_a_seed_is_one_scenario_in_any_order(scenarios: list[Scenario]) -> None:
    again = {seed: scenario_of(seed) for seed in reversed(SEEDS)}
    assert [again[seed] for seed in SEEDS] == scenarios
    assert len({msgspec.json.encode(s.market) for s in scenarios}) > 200


def test_a_scenario_is_plain_data(scenarios: list[Scenario]) -> None:
    for scenario in scenarios:
        assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


def test_a_thousand_seeds_have_every_class_and_every_step() -> None:
    assert gcd(len(FAULT_CYCLE), len(KILL_CYCLE)) == 1
    for first in (0, 12_345):
        faults, kills = shares(range(first, first + 1_000))
        assert set(faults) == {*FAULT_CLASSES, NONE, COMBINED}
        assert set(kills) == {*STEPS, NONE}
        assert min(faults.values()) >= 12
        assert min(kills.values()) >= 22
        assert faults[NONE] >= 200
        assert faults[COMBINED] >= 80


def test_every_kind_of_fault_of_the_venue_is_played() -> None:
    kinds = {fault.values["kind"] for seed in range(500) for fault in scenario_of(seed).faults}
    assert kinds == set(KINDS)


def test_faults_and_run_files_are_valid(scenarios: list[Scenario]) -> None:
    runs = TypeAdapter(RunConfig)
    for scenario in scenarios:
        for fault in scenario.faults:
            assert parse_fault(fault.values).label == fault.values["name"]
        run = scenario.run | {"data": scenario.run["data"] | {"catalog": "nowhere"}}
        loaded = runs.validate_python(run)
        assert {name.split("-")[0] for name in loaded.instruments} == set(scenario.symbols)


def test_what_goes_wrong_lies_within_the_trading(scenarios: list[Scenario]) -> None:
    for scenario in scenarios:
        times = [move.at_secs for move in scenario.moves]
        times += [fault.at_secs or 0.0 for fault in scenario.faults]
        assert 0.0 <= min(times) <= max(times) < scenario.trading_secs
        assert all(kill.step in STEPS and kill.nth >= 1 for kill in scenario.kills)
        assert [kill.step for kill in scenario.kills[:1]] == list(scenario.kill_steps)


def test_roles_are_read_from_client_order_ids() -> None:
    names = ("entry", "add", "stop", "bridge", "target", "exit")
    assert tuple(role_of(f"00-mk3x1-7{letter}0") for letter in "EASBTX") == names
    assert role_of("web_1a2b3c") == ""


def test_the_steps_of_a_life_are_told_apart() -> None:
    phase = Phase()
    assert request_steps(phase, "GET", "/fapi/v1/exchangeInfo", {}) == ("preflight",)
    assert request_steps(phase, "POST", "/fapi/v1/listenKey", {}) == ("connecting",)
    assert request_steps(phase, "GET", "/fapi/v1/openAlgoOrders", {}) == ("reconciling",)
    assert request_steps(phase, "WS", "order.place", ENTRY) == ("entry_received",)
    assert request_steps(phase, "POST", "/fapi/v1/algoOrder", STOP) == ("stop_received",)
    assert request_steps(phase, "DELETE", "/fapi/v1/algoOrder", STOP) == ("cancel_received",)
    assert request_steps(phase, "GET", "/fapi/v1/time", {}) == ()
    assert answer_steps("WS", "order.place", ENTRY, 200) == ("entry_accepted",)
    assert answer_steps("POST", "/fapi/v1/algoOrder", STOP, 400) == ()
    assert event_steps(object()) == ()


def test_the_summary_counts_each_class_and_keeps_the_failed_seeds() -> None:
    failed = Result.of(0, "keep", violations=(("money", "a cent", 0),), kills=("preflight",))
    results = [failed, Result.of(len(FAULT_CYCLE), "keep"), Result.of(1, "keep")]
    summary = summarise(msgspec.convert(msgspec.to_builtins(results), list[Result]))
    assert (summary.scenarios, summary.failed, summary.kills) == (3, 1, 1)
    assert summary.failures == {"money": [0]}
    line = next(line for line in summary.fault_classes if line.name == FAULT_CYCLE[0])
    assert (line.scenarios, line.came_about, line.failed, line.seeds) == (2, 0, 1, (0,))
    assert next(line.came_about for line in summary.kill_steps if line.name == "preflight") == 1
    assert HARNESS not in summary.failures
