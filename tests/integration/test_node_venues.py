"""Nodes on paper, testnet and live, all at a rehearsal: what reaches the venue, who is asked, what stays."""

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from live.rehearsal.serving.demo_keys import demo_keys
from tests.live_nodes import LONG_SECS, ROOT, Node, Rehearsal, rehearsal, run_file, until

pytestmark = pytest.mark.slow
KEYS = demo_keys(7)
PAIRS = {
    "hmac": (KEYS.hmac_key, KEYS.hmac_secret),
    "ed25519": (KEYS.ed25519_key, KEYS.ed25519_private_pem),
}


@pytest.fixture(scope="module")
def shared_venue() -> Iterator[Rehearsal]:
    with rehearsal() as venue:
        yield venue


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> tuple[str, str]:
    """The environment of a node that has keys."""
    key, secret = PAIRS[getattr(request, "param", "hmac")]
    monkeypatch.setenv("BINANCE_API_KEY", key)
    monkeypatch.setenv("BINANCE_API_SECRET", secret)
    return key, secret


def watch_orders(venue: Rehearsal) -> None:
    """From now on the venue's log names every request that places, changes or cancels an order."""
    for method in ("POST", "PUT", "DELETE", "WS"):
        match = {"method": method, "path": "*rder*"}
        venue.fault("delay_request", name="orders", match=match)


def order_requests(venue: Rehearsal) -> list[str]:
    return [entry["target"] for entry in venue.control("GET", "log") if entry["name"] == "orders"]


def orders_of(node: Node, event: str, role: str) -> list[dict[str, Any]]:
    return [
        r["detail"]
        for r in node.audit()
        if r["kind"] == "order" and r["detail"]["event"] == event and r["detail"]["role"] == role
    ]


# -- paper -------------------------------------------------------------------------------------------------


def test_paper_trades_the_live_market_and_the_venue_hears_nothing(
    shared_venue: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue, run, state = shared_venue, run_file(tmp_path), tmp_path / "state"
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    watch_orders(venue)
    before = venue.ledger()
    with Node(run, state, venue, "--venue", "paper") as node:
        node.until_trading()
        venue.jump(1.0)
        plan = until(lambda: node.actions("open_plan"), "an entry")[0]
        until(lambda: len(orders_of(node, "OrderAccepted", "target")) == 2, "its targets")
        size = float(orders_of(node, "OrderFilled", "entry")[0]["quantity"])
        # the half that the first target takes: the sandbox makes every other reduce-only order as large as
        # what is left, and the node makes the second target small again
        venue.jump(6.0)
        until(lambda: orders_of(node, "OrderFilled", "target"), "the first target")
        left = size - float(orders_of(node, "OrderFilled", "target")[0]["quantity"])
        until(lambda: orders_of(node, "OrderUpdated", "target"), "the second target")
        until(
            lambda: float(orders_of(node, "OrderUpdated", "target")[-1]["quantity"]) < left,
            "the second target is small again",
        )
        assert float(orders_of(node, "OrderUpdated", "stop")[-1]["quantity"]) == pytest.approx(left)
        assert plan["targets"][0] > plan["entry"] > plan["stop"]
        said = "".join(node.lines)
        assert "no delay, no lost answer" in said
        balance = until(lambda: _paper_total(state, above=100_000.0), "a balance with the target's gain")
        node.kill()
    known = len(_audit(state))
    with Node(run, state, venue, "--venue", "paper") as node:
        node.until_trading()
        closed = node.actions("closed_while_away")
        assert [(c["pnl"], c["quantity"]) for c in closed] == [(None, pytest.approx(left))]
        risk = next(r["detail"] for r in node.audit()[known:] if r["kind"] == "risk")
        assert risk["equity"] == pytest.approx(balance)  # nothing invented, nothing forgotten
        assert node.end() == 0
        assert "warning: open: remembered, but not there any more: BTCUSDT long" in "".join(node.lines)
    assert order_requests(venue) == []
    assert venue.ledger() == before


def _paper_total(state: Path, *, above: float) -> float:
    total = float(json.loads((state / "paper.json").read_text())["state"]["total"])
    return total if total > above else 0.0


def _audit(state: Path) -> list[str]:
    return [line for path in state.glob("audit/*.jsonl") for line in path.read_text().splitlines()]


def test_a_paper_state_is_no_other_nodes_and_the_reverse(shared_venue: Rehearsal, tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    for kinds in (("paper", "rehearsal"), ("rehearsal", "paper")):
        folder = state / kinds[0]
        with Node(run, folder, shared_venue, "--venue", kinds[0], "--secs", "3") as node:
            assert node.process.wait(LONG_SECS) == 0, "".join(node.lines)
        with Node(run, folder, shared_venue, "--venue", kinds[1]) as node:
            assert node.process.wait(LONG_SECS) == 2
        assert "give each venue its own --state DIR" in "".join(node.lines)


# -- testnet and live --------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ["hmac", "ed25519"], indirect=True)
def test_without_the_word_no_order_request_reaches_the_venue(tmp_path: Path, keys: tuple[str, str]) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        with Node(run, state, venue, "--venue", "testnet", "--trade", "--apply") as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: venue.position() and len(venue.stops()) == 1, "a protected position")
            until(lambda: len(venue.ledger()["open_orders"]) == 2, "its targets")
            node.kill()
        left = venue.ledger()
        watch_orders(venue)
        with Node(run, state, venue, "--venue", "testnet") as node:  # --trade is not given
            node.until_trading()
            venue.jump(-1.0)
            node.until_bars(5)
            assert [c["plan"] for c in node.actions("adopt")][-1] == "remembered"
            assert node.end() == 0
            said = "".join(node.lines)
        assert order_requests(venue) == []
        for what in ("positions", "open_orders", "open_algo_orders"):
            assert [_name(o) for o in venue.ledger()[what]] == [_name(o) for o in left[what]]
        assert "alarm" in said
        assert "its stop works" in said
        assert "without --trade nothing is sent" in said
        assert _leaks(tmp_path, said, keys) == []


def _name(order: Any) -> Any:
    return order.get("client_order_id") or order.get("client_algo_id") or (order["symbol"], order["amount"])


def _leaks(folder: Path, said: str, keys: tuple[str, str]) -> list[str]:
    """Where a secret, or more of the key than its end, can be read."""
    secrets = [keys[0], *(line for line in keys[1].splitlines() if len(line) > 20 and "---" not in line)]
    texts = {"terminal": said} | {
        str(path): path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()
    }
    return [name for name, text in texts.items() if any(secret in text for secret in secrets)]


def test_a_naked_position_is_told_and_not_touched_without_the_word(tmp_path: Path, keys: Any) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue:
        venue.fault("error_answer", match={"path": "*algoOrder*", "method": "POST"}, code=-4120)
        exits = {"path": "*order*", "side": "SELL", "order_type": "MARKET"}
        venue.fault("error_answer", name="exits", match=exits, code=-2019)
        with Node(run, state, venue, "--venue", "testnet", "--trade", "--apply") as node:
            node.until_trading()
            venue.jump(1.0)
            until(venue.position, "a position")
            node.kill()
        assert venue.position()
        assert not venue.stops()
        venue.clear()
        watch_orders(venue)
        with Node(run, state, venue, "--venue", "testnet") as node:
            until(lambda: "NO STOP COVERS IT" in "".join(node.lines), "the alarm")
            assert node.end() == 1  # a position without a stop is not settled
        assert order_requests(venue) == []


def test_live_asks_for_the_accounts_name_on_a_terminal(tmp_path: Path, keys: tuple[str, str]) -> None:
    run = run_file(tmp_path)
    with rehearsal() as venue:
        for typed, code in (("another\n", 2), (None, 0)):
            state = tmp_path / str(code)
            said, ended = _on_a_terminal(venue, run, state, typed)
            assert ended == code, said
            assert "REAL MONEY: account " in said
            assert "100000.00 USDT" in said
            assert ("not confirmed: nothing was traded" in said) == (code == 2)
            assert ("trading BTCUSDT-PERP.BINANCE" in said) == (code == 0)
            assert _leaks(tmp_path, said, keys) == []


def _on_a_terminal(venue: Rehearsal, run: Path, state: Path, typed: str | None) -> tuple[str, int]:
    """What a node says on a terminal when `typed` (None: the name it asks for) is the answer, and its end."""
    node, terminal = pty.openpty()
    options = ["--venue", "live", "--trade", "--apply", "--secs", "3", "--state", str(state)]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "live" / "node.py"), str(run), *options, *venue.settings],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(terminal)
    said, answered = "", False
    try:
        while select.select([node], [], [], LONG_SECS)[0]:
            try:
                part = os.read(node, 65_536)
            except OSError:  # the other end has closed
                break
            said += part.decode()
            if not answered and ") to trade it: " in said:
                name = said.split("account's name (")[1].split(")")[0]
                os.write(node, (f"{name}\n" if typed is None else typed).encode())
                answered = True
        return said, process.wait(LONG_SECS)
    finally:
        process.kill()
        os.close(node)


def test_live_without_a_terminal_needs_yes(
    shared_venue: Rehearsal, tmp_path: Path, keys: tuple[str, str]
) -> None:
    run = run_file(tmp_path)
    command = [sys.executable, str(ROOT / "live" / "node.py"), str(run), "--state", str(tmp_path / "state")]
    command += ["--venue", "live", "--trade", "--apply", "--secs", "3", *shared_venue.settings]
    refused = _ended(command)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "give --yes" in refused.stderr
    told = _ended([*command, "--yes"])
    assert told.returncode == 0, told.stderr
    assert "REAL MONEY" in told.stdout
    assert _leaks(tmp_path, refused.stderr + told.stdout + told.stderr, keys) == []


def _ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT
    )
