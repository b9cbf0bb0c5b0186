"""Stages: what they make of a scenario, how many seeds have which, and that the others stay as they were."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from pydantic import TypeAdapter

from configs.errors import RunFailedError
from configs.schema import RunConfig
from live.rehearsal.campaign import __main__ as command
from live.rehearsal.campaign.generate import plain_scenario_of, scenario_of
from live.rehearsal.campaign.results import Result, summarise
from live.rehearsal.campaign.scenario import Scenario
from live.rehearsal.campaign.stages import PLAIN, STAGES

SEEDS = range(400)


def on(stage: str) -> list[Scenario]:
    found = [scenario_of(seed, stage) for seed in SEEDS]
    return [scenario for scenario in found if scenario.stage == stage]


def test_each_stage_has_a_share_of_the_seeds_and_most_are_plain() -> None:
    counts = Counter(scenario_of(seed).stage for seed in range(2_000))
    assert set(counts) == {"", *STAGES}
    assert 180 <= counts["limits"] <= 300
    assert 110 <= counts["isolated"] <= 220
    assert 50 <= counts["commanded"] <= 130
    assert min(counts[name] for name in ("sentiment", "coarse", "growing")) >= 15
    assert counts[""] > 1_200


def test_a_stage_is_a_function_of_the_seed_and_plain_is_what_it_was_before() -> None:
    assert [scenario_of(seed, "limits") for seed in SEEDS] == [scenario_of(seed, "limits") for seed in SEEDS]
    assert all(scenario_of(seed, PLAIN) == plain_scenario_of(seed) for seed in SEEDS)
    with pytest.raises(KeyError):
        scenario_of(1, "nowhere")


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_makes_can_be_played(stage: str) -> None:
    scenarios, runs = on(stage), TypeAdapter(RunConfig)
    assert len(scenarios) > 20
    for scenario in scenarios:
        run = scenario.run | {"data": scenario.run["data"] | {"catalog": "nowhere"}}
        runs.validate_python(run)
        times = [move.at_secs for move in scenario.moves] + [f.at_secs or 0.0 for f in scenario.faults]
        assert 0.0 <= min(times) <= max(times) < scenario.trading_secs
        assert [kill.step for kill in scenario.kills[:1]] == list(scenario.kill_steps)
        assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


def test_limits_are_tight_of_every_kind_and_through_several_kills() -> None:
    kinds = Counter[str]()
    for scenario in on("limits"):
        risk = scenario.run["risk"]
        tight = {name for group in ("day", "portfolio") for name in risk.get(group, {})}
        tight |= {f"halt_{name}" for name, limit in risk["kill_switch"].items() if isinstance(limit, float)}
        kinds.update(tight)
        assert tight
        assert len(scenario.kills) >= 3 or scenario.kill_steps == ("shutdown",)
        assert all(move.toward == "loss" for move in scenario.moves[1:] if len(scenario.symbols) == 1)
    wanted = {"max_loss_pct", "loss_streak", "max_drawdown_pct"}
    assert {*wanted, "halt_max_daily_loss_pct", "halt_max_drawdown_pct"} <= set(kinds)


def test_isolated_margin_is_asked_for_at_the_leverage_of_the_venue() -> None:
    for scenario in on("isolated"):
        assert scenario.run["live"]["tolerances"] == {"margin_type": "ISOLATED"}
        assert scenario.run["venue"]["leverage"] == scenario.leverage


def test_a_halt_is_ordered_before_two_kills_and_lifted_after_them() -> None:
    orders = Counter[str]()
    for scenario in on("commanded"):
        halt, *lift = scenario.commands
        orders.update(command.name for command in scenario.commands)
        assert (halt.name in ("halt", "flatten"), halt.life) == (True, 0)
        assert halt.at_secs <= scenario.kills[0].at_secs
        assert [kill.step for kill in scenario.kills] == ["random", "random"]
        assert all(c.name in ("reset", "resume") and c.life == len(scenario.kills) for c in lift)
        assert scenario.run["risk"]["kill_switch"]["max_daily_loss_pct"] is None  # nothing else halts
    assert min(orders.values()) > 80
    assert orders["halt"] + orders["flatten"] > orders["reset"] + orders["resume"]


def test_a_mood_turns_while_a_model_trades() -> None:
    for scenario in on("sentiment"):
        assert scenario.has_model
        assert scenario.mood is not None
        assert (scenario.mood.before < 50) != (scenario.mood.after < 50)
        assert scenario.run["strategies"][0]["use"] == "ml_sentiment"
    assert all(scenario_of(s, "sentiment").stage == "" for s in SEEDS if not plain_scenario_of(s).has_model)


def test_the_summary_tells_of_each_stage_and_of_each_limit() -> None:
    def result(seed: int, stage: str, *bounds: tuple[str, bool]) -> Result:
        made = Result.of_scenario(scenario_of(seed, stage), bounds=bounds, positions=1)
        return msgspec.convert(msgspec.to_builtins(made), Result)

    results = [
        result(1, "limits", ("daily_loss", True)),
        result(2, "limits", ("daily_loss", False)),
        result(3, "limits"),
        result(4, PLAIN, ("halt_rejections", False)),
    ]
    summary = summarise(results)
    assert [(line.name, line.scenarios) for line in summary.stages] == [("limits", 3), ("plain", 1)]
    assert [tuple(line) for line in summary.limits] == [
        ("any", 2, 1, 3, 2, 1),
        ("daily_loss", 2, 1, 3, 2, 1),
        ("halt_rejections", 1, 0, 3, 0, 0),
    ]


def test_a_campaign_too_short_for_quantiles_is_told_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Result.of_scenario(scenario_of(1, PLAIN), positions=1)
    monkeypatch.setattr(command, "prepare", lambda: None)
    monkeypatch.setattr(command, "make_models", lambda *_: None)
    monkeypatch.setattr(command, "_play_many", lambda *_: [result])
    with suppress(RunFailedError):  # of what did not come about in one scenario
        command.main(count=1, folder=tmp_path, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["scenarios"] == 1
    assert told == json.loads((tmp_path / "results.json").read_text())["summary"]
