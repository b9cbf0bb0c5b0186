"""A successor that cannot begin: the one before it goes on, with its position, its stop and its plan."""

from pathlib import Path

import pytest

from live.command import send
from tests.live_nodes import ROOT, Node, rehearsal, run_file, until
from tests.operating import ETH, PATIENCE, members, opened, run_of, sampled, stop_names

pytestmark = pytest.mark.slow  # processes and sockets against the clock

FAILING = str(ROOT / "tests" / "failing_node.py")


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("build", "heir"),
        ("add", "momentum"),
        ("begin", "heir"),
        ("adopt", "momentum"),
        ("first_look", "heir"),
        ("first_look", "momentum"),
    ],
)
def test_a_successor_that_fails_as_it_begins_leaves_the_old_one_with_its_position(
    tmp_path: Path, what: str, name: str
) -> None:
    run, state, flag = run_file(tmp_path), tmp_path / "state", tmp_path / "flag"
    heir = run_file(tmp_path, file="heir.yaml", name=name, stop={"pct": 3.0})
    with rehearsal() as venue:
        with Node(run, state, venue, program=(FAILING, what, str(flag))) as node:
            opened(venue, node)
            held, names, fills = venue.position(), stop_names(venue), len(venue.ledger()["fills"])
            before = members(state)["momentum"]
            flag.touch()
            values = {"run": run_of(heir), "positions": "handover"}
            with sampled(venue) as samples:
                answer = send(state, "swap", "momentum", values, within_secs=PATIENCE)
                assert not answer["done"]
                assert f"{name} did not start" in answer["text"]
                assert "momentum goes on" in answer["text"]
                assert not flag.exists()
                node.until_bars(2)
            assert samples.naked == []
            assert samples.amounts == {held}
            assert (stop_names(venue), len(venue.ledger()["fills"])) == (names, fills)
            after = members(state)
            assert list(after) == ["momentum"]
            kept = ("quantity", "stop", "targets", "paused", "leaving")
            assert {k: after["momentum"][k] for k in kept} == {k: before[k] for k in kept}
            assert not (state / "trade-heir.json").exists()
            node.kill()
        with Node(run, state, venue) as node:
            assert until(lambda: node.actions("adopt"), "adoption")[-1]["plan"] == "remembered"
            node.until_trading()
            assert list(members(state)) == ["momentum"]
            assert (venue.position(), stop_names(venue)) == (held, names)
            # the second time it succeeds
            answer = send(state, "swap", "momentum", values, within_secs=PATIENCE)
            assert answer["done"], answer["text"]
            assert list(members(state)) == [name]
            assert node.end() == 0, "".join(node.lines)


def test_an_old_one_that_cannot_go_on_either_is_tried_again_until_it_does(tmp_path: Path) -> None:
    run, state, flag = run_file(tmp_path), tmp_path / "state", tmp_path / "flag"
    heir = run_file(tmp_path, file="heir.yaml", name="heir", stop={"pct": 3.0})
    program = (FAILING, "build_each_time", str(flag))
    with rehearsal() as venue, Node(run, state, venue, program=program) as node:
        opened(venue, node)
        held, names = venue.position(), stop_names(venue)
        before = members(state)["momentum"]
        flag.touch()
        values = {"run": run_of(heir), "positions": "handover"}
        with sampled(venue) as samples:
            answer = send(state, "swap", "momentum", values, within_secs=PATIENCE)
            assert "momentum is not back" in answer["text"]
            assert members(state) == {}
            refused = send(state, "add", None, {"run": run_of(heir)}, within_secs=PATIENCE)
            assert "momentum" in refused["text"]
            flag.unlink()
            until(lambda: members(state), "somebody who looks after it")
        assert samples.naked == []
        after = members(state)["momentum"]
        kept = ("quantity", "stop", "targets", "paused", "leaving")
        assert {k: after[k] for k in kept} == {k: before[k] for k in kept}
        assert (venue.position(), stop_names(venue)) == (held, names)
        assert node.end() == 1  # something has failed
        assert "stopped: protected" not in "".join(node.lines)
        assert "broken on purpose" in node.lines[-1]


def test_a_newcomer_that_fails_as_it_begins_is_not_there(tmp_path: Path) -> None:
    run, state, flag = run_file(tmp_path), tmp_path / "state", tmp_path / "flag"
    eth = run_file(tmp_path, file="eth.yaml", name="eth", instrument=ETH)
    with rehearsal(symbols="BTCUSDT,ETHUSDT") as venue:
        with Node(run, state, venue, program=(FAILING, "begin", str(flag))) as node:
            node.until_trading()
            flag.touch()
            answer = send(state, "add", None, {"run": run_of(eth)}, within_secs=PATIENCE)
            assert not answer["done"]
            assert "eth did not start" in answer["text"]
            assert list(members(state)) == ["momentum"]
            assert members(state)["momentum"]["paused"] is None
            assert send(state, "add", None, {"run": run_of(eth)}, within_secs=PATIENCE)["done"]
            until(lambda: members(state)["eth"]["bars"] >= 2, "its bars")
            node.kill()
        with Node(run, state, venue) as node:
            node.until_trading()
            assert list(members(state)) == ["momentum", "eth"]


def test_a_pause_outlives_a_swap_that_fails(tmp_path: Path) -> None:
    run, state, flag = run_file(tmp_path), tmp_path / "state", tmp_path / "flag"
    heir = run_file(tmp_path, file="heir.yaml", name="heir")
    with rehearsal() as venue, Node(run, state, venue, program=(FAILING, "begin", str(flag))) as node:
        opened(venue, node)
        assert send(state, "pause", "momentum", {"reason": "news"}, within_secs=PATIENCE)["done"]
        flag.touch()
        values = {"run": run_of(heir), "positions": "close"}
        answer = send(state, "swap", "momentum", values, within_secs=PATIENCE)
        assert not answer["done"]
        assert "enters nothing until resumed" in answer["text"]
        member = members(state)["momentum"]
        assert member["quantity"] == 0.0
        assert member["paused"] == "operator:news"
        assert send(state, "resume", "momentum", {}, within_secs=PATIENCE)["done"]
        assert members(state)["momentum"]["paused"] is None


def test_what_cannot_be_prepared_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    (tmp_path / "none").mkdir()
    learned = run_file(
        tmp_path, file="ml.yaml", name="ml", use="ml_basic", model="direction", signal={"threshold": 0.6}
    )
    model = f"models:\n- name: direction\n  bundle: {tmp_path / 'bundle'}\n"
    learned.write_text(learned.read_text() + model)
    sizing = {"method": "fraction", "fraction_pct": 0.001}
    tight = run_file(tmp_path, file="tight.yaml", name="tight", sizing=sizing)
    with rehearsal() as venue, Node(run, state, venue) as node:
        opened(venue, node)
        held, names = venue.position(), stop_names(venue)
        for path, why in ((learned, "bundle"), (tight, "preflight")):
            values = {"run": run_of(path), "positions": "handover"}
            answer = send(state, "swap", "momentum", values, within_secs=PATIENCE)
            assert not answer["done"]
            assert why in answer["text"]
        assert list(members(state)) == ["momentum"]
        assert members(state)["momentum"]["paused"] is None
        assert not (state / "roster.json").exists()
        assert (venue.position(), stop_names(venue)) == (held, names)
        assert node.end() == 0, "".join(node.lines)
