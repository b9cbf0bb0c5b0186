"""A node in which something goes wrong goes on: entries pause, protection works, an operator is told."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live_nodes import ROOT, Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow  # processes and sockets against the clock

# only a jump of the price makes an entry, and only the first does
CALM = {
    "min_strength": 1.3,
    "full_strength": 2.0,
    "min_volatility_ratio": 0.01,
    "max_volatility_ratio": 10.0,
    "require_breakout": False,
}
ALGO = {"path": "*algoOrder*", "method": "POST"}
ENTRIES = {"path": "order.place", "order_type": "MARKET"}


@contextmanager
def scene(
    folder: Path, breaks: str | None = None, faults: Sequence[dict[str, Any]] = (), **more: Any
) -> Iterator[tuple[Rehearsal, Node, Path]]:
    """A venue with `faults`, a node that trades on it, and the file that breaks the node's part `breaks`."""
    flag = folder / "broken"
    program = {} if breaks is None else {"program": (str(ROOT / "tests/failing_node.py"), breaks, str(flag))}
    run = run_file(folder, **more)
    with rehearsal() as venue:
        for fault in faults:
            venue.fault(**fault)
        with Node(run, folder / "state", venue, **program) as node:
            node.until_trading()
            yield venue, node, flag


def set_in(run: Path, path: str, value: Any) -> None:
    """Change one value of a run file."""
    whole = yaml.safe_load(run.read_text())
    *groups, key = path.split(".")
    at = whole
    for group in groups:
        at = at.setdefault(group, {})
    at[key] = value
    run.write_text(yaml.safe_dump(whole))


def alarms(node: Node, text: str) -> list[str]:
    found = [r["detail"]["text"] for r in node.audit() if r["kind"] == "alarm"]
    return [line for line in found if text in line]


def told(node: Node, text: str) -> bool:
    return any(line.startswith("alarm: ") and text in line for line in node.lines)


def errors(node: Node) -> list[dict[str, Any]]:
    return [r["detail"] for r in node.audit() if r["kind"] == "error"]


def paused(node: Node) -> list[str]:
    return [action["reason"] for action in node.actions("entries_paused")]


def refusals(node: Node) -> set[str]:
    return {r["detail"]["check"] for r in node.audit() if r["kind"] == "refusal"}


def refused(node: Node, role: str) -> list[str]:
    return [
        r["detail"]["reason"]
        for r in node.audit()
        if r["kind"] == "order" and r["detail"]["role"] == role and "Rejected" in r["detail"]["event"]
    ]


def protected(venue: Rehearsal) -> bool:
    return len(venue.stops()) == 1 and venue.position() != 0.0


def enter(venue: Rehearsal) -> float:
    venue.jump(1.0)
    until(lambda: protected(venue), "a protected position")
    return venue.position()


# -- a handler that raises --------------------------------------------------------------------------------


def test_a_decision_that_raises_pauses_entries_and_the_stop_goes_on_moving(tmp_path: Path) -> None:
    trailing = {"activation_pct": 0.5, "distance_pct": 0.8}
    with scene(tmp_path, "decide", trailing=trailing) as (venue, node, flag):
        enter(venue)
        flag.touch()
        until(lambda: paused(node), "a pause")
        assert paused(node) == ["failure:momentum"]
        assert told(node, "momentum: on_observation failed: ZeroDivisionError: broken on purpose")
        assert errors(node)[0]["handler"] == "on_observation"
        assert "broken on purpose" in errors(node)[0]["trace"]
        moves = len(node.actions("move_stop"))
        venue.jump(0.9)
        until(lambda: len(node.actions("move_stop")) > moves, "the stop moves")
        until(lambda: len(venue.stops()) == 1, "one stop")
        flag.unlink()
        venue.jump(-6.0)
        until(lambda: venue.position() == 0.0, "the stop fires")
        until(lambda: node.actions("position_over"), "flat")
        venue.jump(1.0)
        until(lambda: "failure:momentum" in refusals(node), "a refusal")
        assert venue.position() == 0.0
        assert node.end() == 1
        assert "momentum failed: ZeroDivisionError: broken on purpose" in "".join(node.lines)


@pytest.mark.parametrize("part", ["guard", "recorder"])
def test_a_part_that_all_depend_on_pauses_all_and_keeps_protection(tmp_path: Path, part: str) -> None:
    with scene(tmp_path, part) as (venue, node, flag):
        held = enter(venue)
        flag.touch()
        until(lambda: told(node, f"{part}: "), "an alarm")
        assert venue.position() == held
        assert protected(venue)
        venue.jump(-4.0)
        until(lambda: venue.position() == 0.0 and not venue.ledger()["open_orders"], "stopped, and swept")
        flag.unlink()
        venue.jump(1.0)
        until(lambda: f"failure:{part}" in refusals(node), "a refusal")
        assert venue.position() == 0.0
        assert node.end() == 1
        assert f"{part} failed: ZeroDivisionError" in "".join(node.lines)


def test_a_fill_whose_handler_raises_is_protected_all_the_same(tmp_path: Path) -> None:
    with scene(tmp_path, "fill", signal=CALM) as (venue, node, flag):
        flag.touch()
        venue.jump(1.0)
        until(lambda: told(node, "on_order_filled failed"), "an alarm")
        flag.unlink()
        until(lambda: node.actions("position_over") or protected(venue), "protection, or flat")
        until(lambda: node.actions("position_over"), "what nothing is known about is closed")
        assert node.actions("position_over")[0]["unprotected_secs"] < 5.0
        assert venue.ledger()["open_algo_orders"] == []


def test_protection_that_fails_again_and_again_ends_with_the_position_closed(tmp_path: Path) -> None:
    with scene(tmp_path, "protect", signal=CALM) as (venue, node, flag):
        flag.touch()
        venue.jump(1.0)
        until(lambda: venue.position() != 0.0, "an entry")
        until(lambda: venue.position() == 0.0, "closed by the shortest way")
        until(lambda: alarms(node, "protection failed 5 times in a row"), "an alarm")
        flag.unlink()
        until(lambda: venue.ledger()["open_orders"] == venue.stops() == [], "nothing is left")
        assert node.end() == 1


# -- what the venue refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "pause"), [(-2019, "refused:account"), (-1111, "refused:filter")])
def test_a_refused_entry_pauses_entries_and_alarms(tmp_path: Path, code: int, pause: str) -> None:
    fault = {"kind": "error_answer", "code": code, "match": ENTRIES, "when": {"count": 1}}
    with scene(tmp_path, faults=[fault]) as (venue, node, _):
        venue.jump(1.0)
        until(lambda: pause in paused(node), "a pause")
        assert told(node, f"entry refused ({pause.split(':')[1]}): code={code}")
        venue.jump(1.0)
        until(lambda: pause in refusals(node), "a refusal")
        assert venue.position() == 0.0
        assert node.end() == 0


def test_keys_that_are_refused_pause_entries_until_an_operator_resumes(tmp_path: Path) -> None:
    fault = {"kind": "error_answer", "code": -2015, "match": ENTRIES, "when": {"count": 1}}
    with scene(tmp_path, faults=[fault]) as (venue, node, _):
        venue.jump(1.0)
        until(lambda: "refused:account" in refusals(node), "a refusal")
        command = [sys.executable, str(ROOT / "live/command.py"), str(node.state), "resume"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        until(lambda: node.actions("entries_resumed"), "entries again")
        enter(venue)


def test_an_unanswered_entry_pauses_entries_until_answers_come(tmp_path: Path) -> None:
    fault = {"kind": "http_answer", "status": 429, "match": {"path": "*order*", "order_type": "MARKET"}}
    with scene(tmp_path, faults=[fault]) as (venue, node, _):
        venue.jump(1.0)
        until(lambda: "unanswered" in paused(node), "a pause")
        until(lambda: refused(node, "entry"), "the engine gives it up")
        assert refused(node, "entry") == ["INFLIGHT_TIMEOUT"]
        venue.clear()
        until(lambda: node.actions("entries_resumed"), "entries again")
        enter(venue)


def test_when_the_venue_changes_its_tick_the_stop_still_moves_and_nothing_is_entered(tmp_path: Path) -> None:
    with scene(tmp_path, trailing={"activation_pct": 0.5, "distance_pct": 0.8}) as (venue, node, _):
        enter(venue)
        first = float(venue.stops()[0]["trigger_price"])
        venue.fault("change_filters", symbol="BTCUSDT", tick=5.0)
        venue.jump(0.9)
        until(lambda: alarms(node, "another tick or step"), "an alarm")
        until(
            lambda: (
                venue.position() == 0.0
                or (len(venue.stops()) == 1 and float(venue.stops()[0]["trigger_price"]) > first)
            ),
            "the stop at its new level, on the new tick",
        )
        assert all(float(stop["trigger_price"]) % 5.0 == 0.0 for stop in venue.stops())
        assert "rules_changed" in paused(node)
        assert not node.actions("exit") or node.actions("exit")[0]["reason"] != "stop_refused"


def test_a_stop_that_is_refused_for_the_moment_is_tried_once_more(tmp_path: Path) -> None:
    fault = {"kind": "error_answer", "code": -4130, "match": ALGO, "when": {"count": 1}}
    with scene(tmp_path, faults=[fault]) as (venue, node, _):
        enter(venue)
        until(lambda: len(refused(node, "stop")) == 1, "a refusal")
        assert node.actions("exit") == []
        assert until(lambda: node.actions("covered"), "covered")[0]["unprotected_secs"] < 5.0


def test_a_storm_of_refusals_halts(tmp_path: Path) -> None:
    targets = {"path": "order.place", "order_type": "LIMIT"}
    fault = {"kind": "error_answer", "code": -4003, "match": targets}
    with scene(tmp_path, faults=[fault]) as (venue, node, _):
        enter(venue)
        until(
            lambda: any(
                r["kind"] == "risk" and "HALTED" in str(r["detail"].get("mode")) for r in node.audit()
            ),
            "the guard halts",
        )
        assert protected(venue)


# -- what is not heard -------------------------------------------------------------------------------------


def test_without_quotes_nothing_is_entered_until_they_come_again(tmp_path: Path) -> None:
    run = run_file(tmp_path)
    set_in(run, "live.stale_quote_secs", 1.0)
    with rehearsal() as venue, Node(run, tmp_path / "state", venue) as node:
        venue.fault("stale_quotes")
        node.until_trading()
        until(lambda: "stale_quotes" in paused(node), "a pause")
        assert len(alarms(node, "no quote for")) == 1
        venue.jump(1.0)
        until(lambda: "stale_quotes" in refusals(node), "a refusal")
        assert venue.position() == 0.0
        venue.clear()
        until(lambda: node.actions("entries_resumed"), "entries again")
        enter(venue)


def test_with_its_budget_of_orders_used_up_nothing_is_entered(tmp_path: Path) -> None:
    run = run_file(tmp_path)
    set_in(run, "live.protection_budget_pct", 60.0)
    program = (str(ROOT / "tests/failing_node.py"), "limits", str(tmp_path / "none"))
    with rehearsal() as venue, Node(run, tmp_path / "state", venue, program=program) as node:
        node.until_trading()
        enter(venue)  # entry, stop, two targets: 4 of 10, which is all that entries may use
        venue.jump(-4.0)
        until(lambda: node.actions("position_over"), "flat")
        venue.jump(1.0)
        until(lambda: "order_budget" in refusals(node), "a refusal")


@pytest.mark.parametrize(("what", "jump"), [("stop", -4.0), ("target", 6.0), ("exit", -1.8)])
def test_a_fill_that_nobody_told_of_is_found_in_a_moment(tmp_path: Path, what: str, jump: float) -> None:
    more: dict[str, Any] = {"targets": {"pct": 3.0}, "exit_on_opposite": what == "exit"}
    with scene(tmp_path, **more) as (venue, node, _):
        venue.jump(1.0)
        until(lambda: protected(venue) and venue.ledger()["open_orders"], "protection")
        until(lambda: node.actions("covered"), "the node knows")
        venue.fault("drop_message", match={"stream": "user"})
        venue.jump(jump)
        until(lambda: venue.position() == 0.0, "the venue is flat")
        until(lambda: node.actions("position_over"), "the node knows", within=5.0)
        venue.clear()
        until(lambda: venue.ledger()["open_orders"] == venue.stops() == [], "nothing is left")
        assert "unexpected_position" not in [r["detail"].get("action") for r in node.audit()]


# -- restart and end ---------------------------------------------------------------------------------------


def test_a_node_killed_while_its_stop_moves_ends_with_one_stop_at_the_new_level(tmp_path: Path) -> None:
    run = run_file(tmp_path, trailing={"activation_pct": 0.5, "distance_pct": 0.8})
    with rehearsal() as venue:
        venue.fault("drop_request", match={"path": "*algoOrder*", "method": "DELETE"}, hang=True)
        with Node(run, tmp_path / "state", venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(venue.stops, "a stop")
            held, first = venue.position(), min(float(stop["trigger_price"]) for stop in venue.stops())
            venue.jump(1.5)
            until(lambda: len(venue.stops()) == 2, "the bridge")
            venue.control("POST", "pause")  # the market may not close the position meanwhile
            node.kill()
        venue.control("DELETE", "faults/drop_request")
        with Node(run, tmp_path / "state", venue) as node:
            adopted = until(lambda: node.actions("adopt"), "adoption")[0]
            assert {"stop", "bridge"} <= set(adopted["orders"].values())
            until(
                lambda: (
                    [s["close_position"] for s in venue.stops()] == [True]
                    and float(venue.stops()[0]["trigger_price"]) > first
                ),
                "one closing stop at the new level",
            )
            assert venue.position() == held
            assert len(node.actions("covered")) == 1  # by the first node
            venue.control("POST", "resume")
            assert node.end() == 0, "".join(node.lines)


def test_an_end_with_a_naked_position_alarms_and_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    with scene(tmp_path, "stop", signal=CALM) as (venue, node, flag):
        exits = {"path": "order.place", "side": "SELL"}
        flag.touch()
        venue.fault("error_answer", code=-2019, match=exits)
        venue.jump(1.0)
        until(lambda: venue.position() != 0.0, "a naked position")
        node.process.send_signal(signal.SIGTERM)
        assert node.end(signal.SIGINT) == 1
        assert told(node, "stops before everything is settled")
