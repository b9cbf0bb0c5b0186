"""An operator's commands to a node that runs: protected through every change of who trades, and a kill."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from live.command import send
from tests.live_nodes import ROOT, Node, rehearsal, run_file, until
from tests.operating import ETH, PATIENCE, ask, members, opened, run_of, sampled, stop_names

pytestmark = pytest.mark.slow  # processes and sockets against the clock


def _command(state: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of the operator's command."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "live" / "command.py"), str(state), *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_node_does_what_the_command_says_and_says_what_came_of_it(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    assert _command(state, "status")[0] == 2
    with rehearsal() as venue, Node(run, state, venue) as node:
        opened(venue, node)
        code, text = _command(state, "status")
        assert code == 0
        assert "momentum (momentum_leverage) BTCUSDT-PERP.BINANCE" in text
        assert _command(state, "pause", "--reason", "lunch") == (
            0,
            "nothing is entered until resumed: PAUSED pause_command\n",
        )
        assert _command(state, "pause", "--strategy", "nobody")[0] == 1
        assert _command(state, "swap", "momentum")[0] == 2
        assert _command(state, "resume") == (0, "resumed: NORMAL\n")
        code, text = _command(state, "flatten", "--strategy", "momentum")
        assert (code, venue.position()) == (0, 0.0), text
        ledger = venue.ledger()
        assert ledger["open_orders"] == ledger["open_algo_orders"] == []
        assert members(state)["momentum"]["paused"] == "operator:flatten"
        assert _command(state, "halt")[1] == "halted until resumed: HALTED halt_command\n"
        assert _command(state, "reset") == (0, "limits begin anew: NORMAL\n")
        assert members(state)["momentum"]["paused"] is None
        assert _command(state, "stop", "--positions", "flatten") == (0, "stopped\n")
        assert node.process.wait(PATIENCE) == 0, "".join(node.lines)
        code, text = _command(state, "resume")
        assert (code, "no node runs" in text) == (2, True)
        assert not list((state / "commands").glob("*.json"))


def test_a_pause_outlives_a_kill(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            ask(state, "pause", "momentum", reason="news")
            node.kill()
        with Node(run, state, venue) as node:
            node.until_trading()
            assert members(state)["momentum"]["paused"] == "operator:news"
            ask(state, "resume", "momentum")
            assert members(state)["momentum"]["paused"] is None


def test_a_successor_takes_the_position_its_orders_and_its_plan(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    heir = run_file(
        tmp_path, file="heir.yaml", name="heir", trailing={"activation_pct": 1.2, "distance_pct": 0.8}
    )
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            opened(venue, node)
            before, names, fills = venue.position(), stop_names(venue), len(venue.ledger()["fills"])
            old = members(state)["momentum"]
            with sampled(venue) as samples:
                ask(state, "swap", "momentum", run=run_of(heir), positions="handover")
                node.until_bars(2)
            assert samples.naked == []
            assert samples.held > 5
            assert samples.amounts == {before}
            assert stop_names(venue) == names
            assert len(venue.ledger()["fills"]) == fills
            new = members(state)
            assert list(new) == ["heir"]
            assert {k: new["heir"][k] for k in ("quantity", "stop", "targets")} == {
                k: old[k] for k in ("quantity", "stop", "targets")
            }
            assert not (state / "trade-momentum.json").exists()
            # it trails, which the other one did not
            moves = len(node.actions("move_stop"))
            venue.jump(2.5)
            until(lambda: len(node.actions("move_stop")) > moves, "the successor's own plan")
            until(lambda: len(venue.stops()) == 1 and stop_names(venue) != names, "the stop moves")
            node.kill()
        with Node(run, state, venue) as node:
            adopted = until(lambda: node.actions("adopt"), "adoption")[-1]
            assert adopted["plan"] == "remembered"
            node.until_trading()
            assert list(members(state)) == ["heir"]
            assert venue.position() == before
            assert len(venue.stops()) == 1
            venue.jump(-4.0)
            until(lambda: venue.position() != before, "the stop fires")


def test_strategies_follow_one_another_and_nothing_of_the_engine_ends_on_another_thread(
    tmp_path: Path,
) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    other = run_file(tmp_path, file="other.yaml", name="other")
    with rehearsal() as venue, Node(run, state, venue) as node:
        opened(venue, node)
        held, names, fills = venue.position(), stop_names(venue), len(venue.ledger()["fills"])
        with sampled(venue) as samples:
            for old, path in 3 * (("momentum", other), ("other", run)):
                ask(state, "swap", old, run=run_of(path), positions="handover")
        assert samples.naked == []
        assert samples.amounts == {held}
        assert (stop_names(venue), len(venue.ledger()["fills"])) == (names, fills)
        assert node.end() == 0
        assert "unsendable" not in "".join(node.lines)


def test_a_successor_may_begin_flat_and_bear_the_same_name(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    heir = run_file(tmp_path, file="heir.yaml", stop={"pct": 3.0})
    with rehearsal() as venue, Node(run, state, venue) as node:
        opened(venue, node)
        with sampled(venue) as samples:
            ask(state, "swap", "momentum", run=run_of(heir), positions="close")
        assert samples.naked == []
        node.until_bars(1)
        assert node.end() == 0, "".join(node.lines)
        assert [r["detail"]["action"] for r in node.audit() if r["kind"] == "action"].count("exit") == 1


def test_a_refused_command_changes_nothing(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    eth = run_file(tmp_path, file="eth.yaml", name="eth", instrument=ETH)
    other = run_file(tmp_path, file="other.yaml", name="other")
    with rehearsal() as venue, Node(run, state, venue) as node:
        node.until_trading()
        cases = {
            ("swap", "momentum"): {"run": run_of(eth), "positions": "handover"},
            ("add", None): {"run": run_of(other)},
            ("swap", "nobody"): {"run": run_of(other), "positions": "handover"},
            ("remove", "momentum"): {"positions": "keep"},
            ("model", None): {"model": "direction", "bundle": "latest"},
            ("dance", None): {},
        }
        for (name, label), values in cases.items():
            answer = send(state, name, label, values, within_secs=PATIENCE)
            assert not answer["done"], name
        missing = send(state, "add", None, {"run": run_of(eth)}, within_secs=PATIENCE)
        assert not missing["done"]  # this venue does not trade it
        assert not (state / "roster.json").exists()
        assert list(members(state)) == ["momentum"]
        assert node.end() == 0, "".join(node.lines)


def test_a_strategy_joins_trades_and_leaves_while_the_other_goes_on(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    eth = run_file(tmp_path, file="eth.yaml", name="eth", instrument=ETH)
    with rehearsal(symbols="BTCUSDT,ETHUSDT") as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            ask(state, "add", run=run_of(eth))
            assert list(members(state)) == ["momentum", "eth"]
            until(lambda: members(state)["eth"]["bars"] >= 2, "its bars")
            venue.jump(1.0, "ETHUSDT")
            until(lambda: any(s["symbol"] == "ETHUSDT" for s in venue.stops()), "its stop")
            node.kill()
        with Node(run, state, venue) as node:
            node.until_trading()
            until(lambda: "eth" in members(state) and members(state)["eth"]["quantity"], "both again")
            until(lambda: any(s["symbol"] == "ETHUSDT" for s in venue.stops()), "its stop")
            ask(state, "remove", "eth", positions="keep")
            assert members(state)["eth"]["leaves_when_flat"]
            assert any(s["symbol"] == "ETHUSDT" for s in venue.stops())
            node.kill()
        with Node(run, state, venue) as node:
            node.until_trading()
            member = members(state)["eth"]
            assert member["leaves_when_flat"]
            assert member["is_covered"]
            venue.jump(-6.0, "ETHUSDT")
            until(lambda: "eth" not in members(state), "it goes when it is flat")
            ledger = venue.ledger()
            assert [o for o in ledger["open_orders"] if o["symbol"] == "ETHUSDT"] == []
            assert [o for o in ledger["open_algo_orders"] if o["symbol"] == "ETHUSDT"] == []
            node.until_bars(2)
            assert node.end() == 0, "".join(node.lines)


@pytest.mark.parametrize("moment", ["at once", "taken", "written", "answered"])
def test_a_kill_in_the_middle_of_a_swap_leaves_one_strategy_one_position_and_its_stop(
    tmp_path: Path, moment: str
) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    heir = run_file(tmp_path, file="heir.yaml", name="heir")
    with rehearsal() as venue:
        with Node(run, state, venue) as node:
            opened(venue, node)
            held, names, fills = venue.position(), stop_names(venue), len(venue.ledger()["fills"])
            values = {"run": run_of(heir), "positions": "handover"}
            asking = threading.Thread(target=_send_and_forget, args=(state, values))
            asking.start()
            _wait_for(state, moment)
            node.kill()
            asking.join(PATIENCE)
        assert venue.position() == held
        assert stop_names(venue) == names
        expected = "heir" if (state / "roster.json").exists() else "momentum"
        with Node(run, state, venue) as node:
            node.until_trading()
            assert list(members(state)) == [expected]
            assert until(lambda: node.actions("adopt"), "adoption")[-1]["plan"] == "remembered"
            node.until_bars(2)
            assert venue.position() == held
            assert stop_names(venue) == names
            assert len(venue.ledger()["fills"]) == fills
            assert list(members(state)) == [expected]  # the command is not carried out again
            assert node.end() == 0, "".join(node.lines)


def _send_and_forget(state: Path, values: dict[str, str]) -> None:
    from configs.errors import RunFailedError  # noqa: PLC0415

    try:
        send(state, "swap", "momentum", values, within_secs=PATIENCE)
    except RunFailedError:
        return


def _wait_for(state: Path, moment: str) -> None:
    commands = state / "commands"
    seen = {
        "at once": lambda: True,
        "taken": lambda: any(commands.glob("done/*.json")),
        "written": (state / "roster.json").exists,
        "answered": lambda: any(commands.glob("done/*.answer.json")),
    }
    until(seen[moment], moment, within=PATIENCE)
