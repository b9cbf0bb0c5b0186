"""The watchdog as a process beside a node as a process: a node that dies, one that hangs, one that lives."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from live.rehearsal.serving.demo_keys import demo_keys
from live.venue.client import VenueClient
from live.venue.spot_client import SpotClient
from tests.live_nodes import ROOT, SHORT_SECS, Node, Rehearsal, rehearsal, run_file, until
from tests.spot_nodes import assets, open_orders, spot_rehearsal, spot_run_file

pytestmark = pytest.mark.slow
INTERVAL_SECS = 0.2
_DUST = Decimal("0.0001")


class Dog:
    """A watchdog's process; `lines` is what it says on stderr."""

    def __init__(self, run: Path, state: Path, venue: Rehearsal, *options: str) -> None:
        command = [sys.executable, str(ROOT / "live" / "watchdog.py"), str(run), *venue.settings]
        command += ["--interval", str(INTERVAL_SECS), "--heartbeat", str(state / "heartbeat"), *options]
        self._status = state / "watchdog.json"
        command += ["--status-file", str(self._status)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self._heard: queue.SimpleQueue[tuple[float, str]] = queue.SimpleQueue()
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(SHORT_SECS)
        self._reader.join(SHORT_SECS)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def until_it_looks(self) -> None:
        until(self._status.exists, "a look")

    def said(self, what: str) -> float | None:
        """When it said so."""
        while not self._heard.empty():
            self.lines.append(self._heard.get())
        return next((at for at, line in self.lines if what in line), None)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._heard.put((time.monotonic(), line))


@contextmanager
def dog(*arguments: Any) -> Iterator[Dog]:
    made = Dog(*arguments)
    try:
        yield made
    finally:
        made.close()


def holding(node: Node, venue: Rehearsal, jump: float = 1.0) -> None:
    node.until_trading()
    venue.jump(jump)
    until(lambda: venue.position() and any(stop["close_position"] for stop in venue.stops()), "protected")


def test_a_killed_nodes_position_is_closed_when_its_time_is_over(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue) as node:
        holding(node, venue)
        with dog(run, state, venue, "--flatten-after", "5") as watchdog:
            watchdog.until_it_looks()
            node.kill()
            killed = time.monotonic()
            until(lambda: not venue.position(), "closed")
            took = time.monotonic() - killed
            until(lambda: not venue.stops() and not venue.ledger()["open_orders"], "nothing left behind")
            assert watchdog.said("closed at the market") is not None
        sys.stderr.write(f"killed to flat: {took:.2f} s, 5 s of them the time that a node has\n")
        assert took >= 4.0


def test_a_node_that_hangs_without_its_stop_gets_one_and_replaces_it_when_it_wakes(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue) as node:
        holding(node, venue)
        os.kill(node.process.pid, signal.SIGSTOP)
        try:
            with dog(run, state, venue, "--protect", "--grace", "1") as watchdog:
                watchdog.until_it_looks()
                _cancel_stops(venue)
                naked = time.monotonic()
                until(lambda: _of_the_dog(venue), "a stop")
                took = time.monotonic() - naked
                os.kill(node.process.pid, signal.SIGCONT)
                until(lambda: venue.stops() and not _of_the_dog(venue), "the node's own stop alone")
                assert watchdog.said("stop placed") is not None
        finally:
            os.kill(node.process.pid, signal.SIGCONT)
        assert venue.position()  # nobody closed it
        sys.stderr.write(f"naked to a stop of the watchdog's: {took:.2f} s, 1 s of them grace\n")


def _of_the_dog(venue: Rehearsal) -> list[Any]:
    return [stop for stop in venue.stops() if "watchdog-" in stop["client_algo_id"]]


def _cancel_stops(venue: Rehearsal) -> None:
    """As if by hand, at the venue."""
    keys = demo_keys(7)
    pair = SecretStr(keys.hmac_key), SecretStr(keys.hmac_secret)
    with VenueClient(venue.facts["http"], pair) as client:
        for stop in client.open_algo_orders("BTCUSDT"):
            client.cancel_algo("BTCUSDT", stop.algo_id)


def test_a_node_that_lives_is_left_alone_through_entries_moved_stops_and_exits(tmp_path: Path) -> None:
    trailing = {"activation_pct": 0.1, "distance_pct": 0.5}
    run, state = run_file(tmp_path, trailing=trailing), tmp_path / "state"
    with rehearsal() as venue, Node(run, state, venue) as node:
        node.until_trading()
        options = ("--protect", "--grace", "1", "--flatten-after", "10")
        with dog(run, state, venue, *options) as watchdog:
            watchdog.until_it_looks()
            for _ in range(3):
                venue.jump(5.0)
                until(lambda: venue.position() > 0, "an entry")
                before = len(node.actions("move_stop"))
                for _ in range(3):
                    venue.jump(0.4)
                    node.until_bars(1)
                venue.jump(-4.0)
                until(lambda: venue.position() <= 0, "stopped out")
                assert len(node.actions("move_stop")) > before
            assert watchdog.said("watchdog done") is None, watchdog.lines
            watchdog.process.send_signal(signal.SIGTERM)
            watchdog.process.wait(SHORT_SECS)
            assert watchdog.said("unprotected") is None, watchdog.lines


# -- on spot -----------------------------------------------------------------------------------------------


def _coins(venue: Rehearsal) -> Any:
    return sum(assets(venue).get("BTC", (0, 0)))


def _listed(node: Node, venue: Rehearsal) -> None:
    node.until_trading()
    venue.jump(1.0)
    until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the list")


def test_a_killed_nodes_coins_are_sold_and_its_next_start_knows(tmp_path: Path) -> None:
    run, state = spot_run_file(tmp_path), tmp_path / "state"
    with spot_rehearsal() as venue:
        with Node(run, state, venue) as node:
            _listed(node, venue)
            with dog(run, state, venue, "--flatten-after", "5", "--grace", "1") as watchdog:
                watchdog.until_it_looks()
                node.kill()
                killed = time.monotonic()
                until(lambda: not open_orders(venue) and _coins(venue) < _DUST, "sold")
                took = time.monotonic() - killed
                until(lambda: watchdog.said("closed at the market"), "its word")
        sys.stderr.write(f"killed to flat on spot: {took:.2f} s, 5 s of them the time that a node has\n")
        assert took >= 4.0
        with Node(run, state, venue, "--set", "strategies.0.time.cool_off_bars=500") as node:
            node.until_trading()
            assert node.actions("closed_while_away")
            assert node.end() == 0, "".join(node.lines)


def test_a_node_that_hangs_without_its_list_gets_a_stop_and_sends_its_own_when_it_wakes(
    tmp_path: Path,
) -> None:
    run, state = spot_run_file(tmp_path), tmp_path / "state"
    with spot_rehearsal() as venue, Node(run, state, venue) as node:
        _listed(node, venue)
        held = _coins(venue)
        os.kill(node.process.pid, signal.SIGSTOP)
        try:
            with dog(run, state, venue, "--protect", "--grace", "3") as watchdog:
                watchdog.until_it_looks()
                _cancel_list(venue)
                bare = time.monotonic()
                until(lambda: set(open_orders(venue)) == {"STOP_LOSS"}, "a stop")
                took = time.monotonic() - bare
                os.kill(node.process.pid, signal.SIGCONT)
                until(lambda: set(open_orders(venue)) == {"LIMIT_MAKER", "STOP_LOSS"}, "the node's own list")
                until(lambda: watchdog.said("stop placed"), "its word")
                assert node.process.poll() is None
        finally:
            os.kill(node.process.pid, signal.SIGCONT)
        assert _coins(venue) == held  # nobody sold them
        sys.stderr.write(f"bare coins to a stop of the watchdog's: {took:.2f} s, 3 s of them grace\n")


def _cancel_list(venue: Rehearsal) -> None:
    keys = demo_keys(7)
    pair = SecretStr(keys.ed25519_key), SecretStr(keys.ed25519_private_pem)
    with SpotClient(venue.facts["http"], pair) as client:
        client.cancel("BTCUSDT", client.orders_open("BTCUSDT")[0].order_id)
