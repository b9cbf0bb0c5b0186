"""The rehearsal venue in a process of its own, for a node that was given none.

`python -m live.stage ...` is `python -m live.rehearsal ...` that also ends when its standard input does: so
it ends with the node that started it, whatever ends that one.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from catalog.instruments import market_of, symbol_of
from configs.console import run_app
from configs.errors import RunFailedError
from configs.load import PROJECT_ROOT
from configs.schema import LiveConfig, RunConfig
from live.rehearsal.record import KLINES_KEPT
from live.signals import unblock_signals
from live.venues import REHEARSAL_SEED

__all__ = ["Staged", "staged"]

_START_SECS = 120.0
_STOP_SECS = 10.0


class Staged(NamedTuple):
    """A rehearsal that runs: settings with its addresses, and by how much recorded times are moved."""

    live: LiveConfig
    shift_ns: int


@contextmanager
def staged(run: RunConfig, *, history_minutes: int, speed: float) -> Iterator[Staged]:
    """A rehearsal that replays the traded part of the run's catalog from now on.

    RunFailedError when it does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "live.stage", *_options(run, history_minutes, speed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PROJECT_ROOT,
        start_new_session=True,  # Ctrl-C is for the node, which still has orders to cancel
    )
    try:
        facts = _introduction(process)
        yield Staged(_placed(run.live, facts), facts["shift_ms"] * 1_000_000)
    finally:
        _end(process)


def _options(run: RunConfig, history_minutes: int, speed: float) -> list[str]:
    def moment(when: datetime) -> str:
        return when.isoformat()

    symbols = [symbol_of(name) for name in run.instruments]
    values: dict[str, Any] = {
        "--catalog": run.data.catalog.resolve(),
        "--market": market_of(run.instruments[0]),
        "--start": moment(run.data.test_start),
        "--end": moment(run.data.end),
        "--speed": speed,
        "--times": "now",
        "--history": min(history_minutes, KLINES_KEPT),
        "--balance": f"{run.venue.starting_balance:.2f}",
        "--seed": REHEARSAL_SEED,
    }
    options = [text for name, value in values.items() for text in (name, str(value))]
    return ["--json", *options, "--symbols", ",".join(symbols)]


def _placed(live: LiveConfig, facts: Mapping[str, Any]) -> LiveConfig:
    """The addresses of the venue that was started; what else the run file says of a node stays."""
    addresses = {
        "base_url_http": facts["http"],
        "base_url_ws": facts["ws"],
        "base_url_ws_trading": facts["ws_api"],
    }
    return live.model_copy(update=addresses)


def _introduction(process: "subprocess.Popen[bytes]") -> Any:
    """The object that it prints when it is ready."""
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"}\n"):
        ready, _, _ = select.select([process.stdout], [], [], _START_SECS)
        part = os.read(process.stdout.fileno(), 65_536) if ready else b""
        if not part:
            raise RunFailedError("the rehearsal venue did not start; see what it said above")
        text += part
    return json.loads(text)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_STOP_SECS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from live.rehearsal.__main__ import app  # the venue's libraries are not the node's

    unblock_signals()
    threading.Thread(target=_end_with_input, daemon=True).start()
    run_app(app)
