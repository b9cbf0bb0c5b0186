"""The node as the README starts it: no run file, no keys, no venue but the one that it starts itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors.forecaster import forecast_bars
from catalog.store import Catalog
from configs.load import load_run
from live.prepare import load_specs
from tests.live_nodes import ROOT, until

pytestmark = pytest.mark.slow
SECS = 240.0
BTC = "BTCUSDT-PERP.BINANCE"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def default_node(state: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "live/node.py", "--state", str(state), "--speed", "60", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def records(state: Path, kind: str) -> list[dict[str, Any]]:
    lines = b"".join(path.read_bytes() for path in sorted((state / "audit").glob("*.jsonl"))).splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def wait_for(what: Callable[[], Any], name: str, process: "subprocess.Popen[str]") -> Any:
    def look() -> Any:
        assert process.poll() is None, process.stdout and process.stdout.read()
        return what()

    return until(look, name, SECS)


def offline_forecasts(state: Path, closes: list[int]) -> dict[int, float]:
    """What the backtest's forecasts are at these closes, over the bars that the node has recorded."""
    run = load_run(None, ())
    spec = load_specs(run, ROOT / "artifacts" / "models")[BTC]
    bars = Catalog.open(state / "catalog").bars(BTC, run.data.bar)
    values = forecast_bars(spec.predictors[0], bars)
    rows = dict(zip(bars.ts_event.tolist(), values.tolist(), strict=True))
    return {ts: rows[ts] for ts in closes}


def test_the_default_node_forecasts_every_bar_serves_metrics_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    state, port = tmp_path / "state", free_port()
    eager = ("--set", "strategies.0.signal.threshold=0.501")
    with default_node(state, "--set", f"live.metrics_port={port}", *eager) as node:
        wait_for(lambda: len(records(state, "forecast")) >= 5, "forecasts", node)
        # also where the market's clock runs far ahead of the node's
        wait_for(
            lambda: [r for r in records(state, "action") if "covered" in str(r["detail"])], "a stop", node
        )
        children = psutil.Process(node.pid).children(recursive=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            assert b"sextant_bars_total" in page.read()
        node.send_signal(signal.SIGTERM)
        said, _ = node.communicate(timeout=60)
    assert node.returncode == 3, said
    assert "stopped: protected" in said
    assert children, "the rehearsal venue runs in a process of its own"
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    closed = [record["detail"]["closed"] for record in records(state, "bar")]
    heard = [r for r in records(state, "forecast") if r["component"] == "forecaster"]
    forecast = [record["ts"] for record in heard]
    joined = closed.index(forecast[0])  # bars before it closed while the node connected
    assert joined <= 3
    assert forecast == closed[joined:], "one forecast a bar, none missing, none twice"
    told = {record["ts"]: record["detail"]["probability"] for record in heard}
    assert told == offline_forecasts(state, list(told))


def test_the_venue_that_a_node_started_ends_when_the_node_is_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with default_node(state) as node:
        wait_for(lambda: records(state, "bar"), "a bar", node)
        children = psutil.Process(node.pid).children(recursive=True)
        os.kill(node.pid, signal.SIGKILL)
        assert children
        deadline = time.monotonic() + 30.0
        while any(child.is_running() for child in children) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(child.is_running() for child in children)
