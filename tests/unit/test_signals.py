"""What ends a node in order, and what does not."""

import signal
import subprocess
import sys

import pytest

_NODE = """
from live.signals import Signals, block_signals
block_signals()
signals = Signals()
signals.arm()
print("armed", flush=True)
import time
deadline = time.monotonic() + {secs}
while signals.reason is None and time.monotonic() < deadline:
    time.sleep(0.01)
print(signals.reason, flush=True)
"""
_START = """
import time
from live.signals import Signals, block_signals
block_signals()
Signals()
print("starting", flush=True)
time.sleep(20)
"""


def _ended_by(number: int, *, secs: float = 20.0, ignoring: bool = False) -> str:
    # in any case: who runs the tests may have started them under nohup
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_{'IGN' if ignoring else 'DFL'})"
    with subprocess.Popen(
        [sys.executable, "-c", code + _NODE.format(secs=secs)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "armed\n"
        process.send_signal(number)
        return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_and_a_closed_terminal_end_the_node_in_order(number: int) -> None:
    assert _ended_by(number) == signal.Signals(number).name


def test_under_nohup_a_closed_terminal_does_not_end_the_node() -> None:
    assert _ended_by(signal.SIGHUP, secs=0.3, ignoring=True) == "None"


def test_a_signal_during_the_start_ends_it_though_nobody_reads_what_it_says() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _START], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"starting\n"
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 130
