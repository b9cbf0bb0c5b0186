"""Nautilus's LiveNode trades on the rehearsal venue through its Binance adapter, only its URLs changed.

The node runs in a process of its own: whatever becomes of it, the other tests go on.
"""

import json
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

from live.rehearsal.book import Kline, MarkPrice, Quote
from live.rehearsal.orders import OrderRequest
from live.rehearsal.server import ServerThread
from tests.rehearsal_server import (
    ED_KEY,
    HMAC_KEY,
    SECRET,
    D,
    ed25519_pair,
    kline,
    make_server,
)

pytestmark = pytest.mark.slow  # processes and sockets against the clock

SCRIPT = Path(__file__).parents[1] / "nautilus_node.py"
START_SECS = 60.0
STEP_SECS = 15.0
EIGHT_HOURS_MS = 28_800_000


class Node:
    """A running node: its steps as they are told."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._steps: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def expect(self, step: str, *, within: float = STEP_SECS, **fields: Any) -> dict[str, Any]:
        """The next step of this name with these fields; the others are passed over."""
        deadline = time.monotonic() + within
        while True:
            try:
                told = self._steps.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                told = None
            if told is None:
                raise AssertionError(f"no {step} {fields} within {within} s:\n" + "".join(self.lines))
            if told["step"] == step and fields.items() <= told.items():
                return told

    def end(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_SECS)

    def close(self) -> None:
        """End it in any case."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STEP_SECS)
        self._reader.join(STEP_SECS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("@"):
                self._steps.put(json.loads(line[1:]))
        self._steps.put(None)


class Mover:
    """Moves the market from a thread: a quote and a mark price every 20 ms, a closed kline every 100 ms."""

    def __init__(self, thread: ServerThread) -> None:
        self.bid = Decimal(60_000)
        self._thread = thread
        self._ended = threading.Event()
        self._worker = threading.Thread(target=self._run)
        self._worker.start()

    def close(self) -> None:
        """Stand still."""
        self._ended.set()
        self._worker.join(STEP_SECS)

    def _run(self) -> None:
        turn = 0
        while not self._ended.wait(0.02):
            turn += 1
            now_ms, bid = time.time_ns() // 1_000_000, self.bid + D("0.1") * (turn % 2)
            funding_ms = now_ms // EIGHT_HOURS_MS * EIGHT_HOURS_MS + EIGHT_HOURS_MS
            self._thread.feed(
                [
                    Quote(now_ms, "BTCUSDT", bid, D(5), bid + D("0.2"), D(5)),
                    MarkPrice(now_ms, "BTCUSDT", bid, bid, D("0.0001"), funding_ms),
                ]
            )
            if turn % 5 == 0:
                self._thread.feed([_minute(now_ms)])


def _minute(now_ms: int) -> Kline:
    open_ms = now_ms // 60_000 * 60_000
    return kline(0)._replace(ts_ms=now_ms, open_ms=open_ms - 60_000, close_ms=open_ms - 1)


@contextmanager
def node_on(
    thread: ServerThread, folder: Path, key: str, secret: str, *mode: str, script: Path = SCRIPT
) -> Iterator[Node]:
    """A node on the server, ended whatever happens."""
    secret_file = folder / "secret"
    secret_file.write_text(secret)
    server = thread.server
    urls = (server.http_url, server.ws_url, server.ws_api_url)
    process = subprocess.Popen(
        [sys.executable, str(script), *urls, key, str(secret_file), *mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    node = Node(process)
    try:
        yield node
    finally:
        node.close()


@pytest.fixture
def thread() -> Iterator[ServerThread]:
    with ServerThread(make_server()) as server:
        yield server


@pytest.fixture
def mover(thread: ServerThread) -> Iterator[Mover]:
    moving = Mover(thread)
    try:
        yield moving
    finally:
        moving.close()


@pytest.mark.parametrize(
    ("key", "secret"), [(HMAC_KEY, SECRET), (ED_KEY, ed25519_pair()[0])], ids=["hmac", "ed25519"]
)
def test_a_node_enters_protects_and_leaves(
    thread: ServerThread, mover: Mover, tmp_path: Path, key: str, secret: str
) -> None:
    with node_on(thread, tmp_path, key, secret) as node:
        node.expect("started", within=START_SECS)
        assert node.expect("quote")["bid_size"] == "5.000"
        entry = Decimal(node.expect("filled")["price"])
        node.expect("accepted", role="stop")
        node.expect("accepted", role="target")
        stops = thread.call(lambda: thread.server.venue.open_algo_orders("main"))
        assert [(s.close_position, s.working_type, s.trigger_price) for s in stops] == [
            (True, "MARK_PRICE", entry - 500)
        ]
        assert node.expect("bar")["volume"] == "2.000"
        mover.bid = Decimal(60_400)
        target = Decimal(node.expect("filled")["price"])
        assert target == entry + 300
        # 0.01 bought at the taker's 0.05 %, sold 300 higher at the maker's 0.02 %.
        fees = D("0.01") * (entry * D("0.0005") + target * D("0.0002"))
        assert node.expect("closed")["pnl"] == f"{3 - fees:.8f} USDT"
        node.expect("canceled", role="stop")
        assert node.end() == 0
        node.expect("stopped")
    venue = thread.server.venue
    assert venue.account_view("main").assets[0].wallet == D("10003") - fees
    assert not venue.open_orders("main")
    assert not venue.open_algo_orders("main")
    assert "ERROR" not in "".join(node.lines)


def test_a_node_finds_position_and_orders_that_were_there(
    thread: ServerThread, mover: Mover, tmp_path: Path
) -> None:
    assert mover.bid == 60_000
    venue = thread.server.venue

    def prepare() -> None:
        thread.server.feed(Quote(0, "BTCUSDT", D("60000"), D(5), D("60000.1"), D(5)))
        order = OrderRequest(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=D("0.02"))
        venue.place("main", order)
        leave = {"symbol": "BTCUSDT", "side": "SELL"}
        limit = OrderRequest(
            **leave, type="LIMIT", quantity=D("0.02"), price=D("61000"), time_in_force="GTC", reduce_only=True
        )
        venue.place("main", limit)
        stop = OrderRequest(
            **leave,
            type="STOP_MARKET",
            trigger_price=D("59000"),
            close_position=True,
            working_type="MARK_PRICE",
        )
        venue.place_algo("main", stop)
        trail = OrderRequest(
            **leave,
            type="TRAILING_STOP_MARKET",
            quantity=D("0.01"),
            callback_rate=D(1),
            reduce_only=True,
            activation_price=D("60500"),
        )
        venue.place_algo("main", trail)
        thread.server.flush()

    thread.call(prepare)
    with node_on(thread, tmp_path, HMAC_KEY, SECRET, "watch") as node:
        node.expect("started", within=START_SECS)
        found = node.expect("found")
        assert Decimal(found["position"]) == D("0.02")
        assert sorted(found["orders"]) == [
            ["LIMIT", "0.020"],
            ["STOP_MARKET", "0.020"],
            ["TRAILING_STOP_MARKET", "0.010"],
        ]
        # A signal that comes while the node still starts ends the process at once.
        node.expect("quote")
        assert node.end() == 0
