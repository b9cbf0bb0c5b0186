"""Live nodes and rehearsal venues as processes, for tests that kill and start them again."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import requests
import yaml

from live.options import EXIT_CODES

__all__ = ["LONG_SECS", "Node", "Rehearsal", "rehearsal", "rehearsal_of", "run_file", "until"]

ROOT = Path(__file__).parents[1]
NODE = (str(ROOT / "live" / "node.py"),)
LONG_SECS = 60.0
SHORT_SECS = 10.0


def until[T](find: Callable[[], T], what: str, within: float = LONG_SECS) -> T:
    """Poll until `find` gives something true."""
    deadline = time.monotonic() + within
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(0.02)
    return found


class Rehearsal:
    """A running venue of synthetic markets; `control` steers it."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def control(self, method: str, path: str, **values: Any) -> Any:
        """The answer of the control endpoint."""
        url = f"{self.facts['control']}/{path}"
        with requests.request(method, url, json=values, timeout=SHORT_SECS) as answer:
            assert answer.status_code == 200, answer.text
            return answer.json()

    def jump(self, percent: float, symbol: str = "BTCUSDT") -> None:
        """Move the price for good."""
        self.control("POST", "jump", symbol=symbol, percent=percent)

    def jump_to_liquidation(self) -> None:
        """Move the price of the one position that is held a little beyond where it is liquidated."""
        (held,) = self.ledger()["positions"]
        mark, end = float(held["mark_price"]), float(held["liquidation_price"])
        beyond = end * (0.9995 if float(held["amount"]) > 0 else 1.0005)
        self.jump((beyond / mark - 1) * 100, held["symbol"])

    def fault(self, kind: str, **values: Any) -> None:
        """Inject a fault."""
        self.control("POST", "faults", kind=kind, **values)

    def clear(self) -> None:
        """Take every fault back."""
        self.control("DELETE", "faults")

    def ledger(self) -> Any:
        """The account as the venue knows it."""
        return self.control("GET", "ledger")["main"]

    def position(self) -> float:
        """The signed amount held."""
        return sum(float(p["amount"]) for p in self.ledger()["positions"])

    def stops(self) -> list[Any]:
        """The conditional orders that work."""
        found: list[Any] = self.ledger()["open_algo_orders"]
        return found

    @property
    def settings(self) -> list[str]:
        """The options that point a node here."""
        names = {"base_url_http": "http", "base_url_ws": "ws", "base_url_ws_trading": "ws_api"}
        return [text for key, name in names.items() for text in ("--set", f"live.{key}={self.facts[name]}")]


@contextmanager
def rehearsal(*, speed: float = 60, history: int = 1500, symbols: str = "BTCUSDT") -> Iterator[Rehearsal]:
    """A venue in a process of its own."""
    options = ["--symbols", symbols, "--speed", str(speed), "--history", str(history)]
    with rehearsal_of(*options, "--balance", "100000") as place:
        yield place


@contextmanager
def rehearsal_of(*options: str) -> Iterator[Rehearsal]:
    """The command with these options, its market shifted to now, until the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "live.rehearsal", "--json", "--times", "now", *options],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        text = b""
        while not text.endswith(b"}\n"):
            assert select.select([process.stdout], [], [], LONG_SECS)[0]
            part = os.read(process.stdout.fileno(), 65_536)
            assert part, "the rehearsal did not start"
            text += part
        yield Rehearsal(json.loads(text))
    finally:
        process.kill()
        process.wait(SHORT_SECS)
        if process.stdout is not None:
            process.stdout.close()


def run_file(folder: Path, *, file: str = "run.yaml", **more: Any) -> Path:
    """A run file: momentum without thresholds, long alone, so that a jump upwards makes an entry."""
    strategy = {
        "use": "momentum_leverage",
        "name": "momentum",
        "instrument": "BTCUSDT-PERP.BINANCE",
        "signal": {
            "min_strength": 0.01,
            "full_strength": 2.0,
            "min_volatility_ratio": 0.01,
            "max_volatility_ratio": 10.0,
            "require_breakout": False,
        },
        "allow_short": False,
        "exit_on_opposite": False,
        "sizing": {"risk_per_trade_pct": 0.2, "confidence_weighted": False, "max_position_pct": 50.0},
        "stop": {"pct": 2.0},
        "targets": {"tranches": [{"pct": 5.0, "close_pct": 50.0}, {"pct": 9.0, "close_pct": 25.0}]},
    }
    run = {
        "name": "live_test",
        "data": {
            "catalog": str(folder / "none"),
            "bar": "1m",
            "start": "2025-01-01T00:00:00Z",
            "test_start": "2025-02-01T00:00:00Z",
            "end": "2025-03-01T00:00:00Z",
        },
        "strategies": [strategy | more],
        # the rehearsal's minutes are shorter than the node's
        "risk": {"kill_switch": {"stale_data_pause_secs": None}},
        "venue": {"starting_balance": 100_000.0, "leverage": 5.0},
    }
    path = folder / file
    path.write_text(yaml.safe_dump(run))
    return path


class Node:
    """A node in a process of its own, a context manager that ends it in any case."""

    def __init__(
        self, run: Path, state: Path, venue: Rehearsal, *options: str, program: Sequence[str] = NODE
    ) -> None:
        self.state = state
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [
                sys.executable,
                *program,
                str(run),
                "--state",
                str(state),
                *venue.settings,
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        self._steps: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._reader.join(SHORT_SECS)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        """kill -9."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SHORT_SECS)

    def end(self, number: int = signal.SIGTERM) -> int:
        """0 for an end in order after a signal: its exit code is that of what it said last. Else the code."""
        self.process.send_signal(number)
        code = self.process.wait(LONG_SECS)
        self._reader.join(SHORT_SECS)
        said = [line.split()[1] for line in self.lines if line.startswith("stopped: ")]
        return 0 if said and EXIT_CODES.get(said[-1]) == code else code

    def audit(self) -> list[dict[str, Any]]:
        """The audit stream so far."""
        text = b"".join(path.read_bytes() for path in sorted(self.state.glob("audit/*.jsonl")))
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]

    def actions(self, name: str) -> list[dict[str, Any]]:
        """What was done under this name."""
        return [
            record["detail"]
            for record in self.audit()
            if record["kind"] == "action" and record["detail"]["action"] == name
        ]

    def until_trading(self) -> None:
        """Wait until bars arrive."""
        known = len(self.audit())
        until(
            lambda: self.process.poll() is not None or any(r["kind"] == "bar" for r in self.audit()[known:]),
            "bars",
        )
        assert self.process.poll() is None, "".join(self.lines)

    def until_bars(self, count: int) -> None:
        """Wait for so many bars more."""
        known = len(self.audit())
        until(lambda: sum(r["kind"] == "bar" for r in self.audit()[known:]) >= count, f"{count} bars")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
