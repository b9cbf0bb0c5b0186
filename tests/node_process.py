"""A trading script in a process of its own that tells its steps, and a market that moves beside it."""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from live.rehearsal.book import Kline, MarketEvent, Quote
from live.rehearsal.serving.server import ServerThread
from tests.rehearsal_server import D, kline

__all__ = ["START_SECS", "STEP_SECS", "Mover", "Node", "moving", "node_on"]

ROOT = Path(__file__).parents[1]
START_SECS = 60.0
STEP_SECS = 15.0


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


@contextmanager
def node_on(
    thread: ServerThread, folder: Path, key: str, secret: str, *mode: str, script: str
) -> Iterator[Node]:
    """The script (a module) on the server, ended whatever happens."""
    secret_file = folder / "secret"
    secret_file.write_text(secret)
    server = thread.server
    urls = (server.http_url, server.ws_url, server.ws_api_url)
    process = subprocess.Popen(
        [sys.executable, "-m", script, *urls, key, str(secret_file), *mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )
    node = Node(process)
    try:
        yield node
    finally:
        node.close()


class Mover:
    """Moves the market from a thread: a quote and what `beside` makes of time and bid every 20 ms, a closed
    kline every 100 ms."""

    def __init__(self, thread: ServerThread, beside: Callable[[int, Decimal], MarketEvent]) -> None:
        self.bid = Decimal(60_000)
        self._thread = thread
        self._beside = beside
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
            self._thread.feed(
                [Quote(now_ms, "BTCUSDT", bid, D(5), bid + D("0.2"), D(5)), self._beside(now_ms, bid)]
            )
            if turn % 5 == 0:
                self._thread.feed([_minute(now_ms)])


@contextmanager
def moving(thread: ServerThread, beside: Callable[[int, Decimal], MarketEvent]) -> Iterator[Mover]:
    """A market that moves until the end."""
    mover = Mover(thread, beside)
    try:
        yield mover
    finally:
        mover.close()


def _minute(now_ms: int) -> Kline:
    open_ms = now_ms // 60_000 * 60_000
    return kline(0)._replace(ts_ms=now_ms, open_ms=open_ms - 60_000, close_ms=open_ms - 1)
