"""Forks nodes: a process that has imported everything once, and gives each node a copy of itself.

A node is a real process with its own lock, threads and end; it only does not pay seconds of imports. The
parent of the forks never begins anything that a fork would break: no event loop, no engine, no pool, no model
session. What the libraries start when they are loaded (OpenBLAS, jemalloc) is made for forks.

    request   {"number": 1, "args": [...], "output": "FILE", "before": {...} or null}
    answers   {"number": 1, "pid": 4711}, later {"number": 1, "code": 0, "cpu_secs": 5.2}
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import live.running  # noqa: F401  what a node loads after its first look at the venue
from configs.console import run_app
from live.node import app
from live.rehearsal.campaign.mutants import apply_mutant
from live.rehearsal.campaign.suicide import arm
from live.signals import block_signals
from models.features import FeatureSet
from models.settling import settling_bars
from strategies import trade

__all__ = ["fork_process", "fork_zygote", "prepare", "run_apart"]

_FILE_MODE = 0o644
_PART = 65_536
_FAILED = 70  # EX_SOFTWARE


def prepare() -> None:
    """What every node would do first, done once: compiled functions loaded, garbage kept out of sight."""
    trade.warm_up()
    settling_bars(FeatureSet.default(), 1.0)
    gc.collect()
    gc.freeze()


def fork_zygote(mutant: str | None = None) -> tuple[socket.socket, int]:
    """Start the zygote; its socket and process id. It ends when the socket does, and its nodes with it.

    With a `mutant` (`mutants.MUTANTS`) every node is broken in that way.
    """
    ours, theirs = socket.socketpair()

    def run() -> int:
        if mutant is not None:
            apply_mutant(mutant)
        return _serve(theirs)

    pid = fork_process(run, close=(ours,))
    theirs.close()
    return ours, pid


def fork_process(run: Callable[[], int], close: tuple[socket.socket, ...] = ()) -> int:
    """The process id of a child that closes some sockets, runs a function and exits with its result.

    An exception is told on the child's standard error before it ends.
    """
    with warnings.catch_warnings():
        # the threads that are there belong to libraries that expect a fork
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    code = _FAILED
    try:
        for each in close:
            each.close()
        code = run()
    finally:
        with suppress(OSError, ValueError):
            if sys.exception() is not None:  # nobody else does: the process ends here
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run_apart(run: Callable[[], int]) -> int:
    """Run a function in a process of its own; its result, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(fork_process(run), 0)[1])


def _serve(orders: socket.socket) -> int:
    """Fork on request and tell of each end, until the other side is gone."""
    ends, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nodes: dict[int, int] = {}
    text = b""
    while True:
        ready, _, _ = select.select([orders.fileno(), ends], [], [])
        if ends in ready:
            os.read(ends, _PART)
        _reap(orders, nodes)
        if orders.fileno() not in ready:
            continue
        part = orders.recv(_PART)
        if not part:
            break
        *lines, text = (text + part).split(b"\n")
        for line in lines:
            _start(json.loads(line), orders, nodes, (ends, told))
    for pid in nodes:
        os.kill(pid, signal.SIGKILL)
    return 0


def _start(
    request: Mapping[str, Any], orders: socket.socket, nodes: dict[int, int], pipe: tuple[int, int]
) -> None:
    def run() -> NoReturn:
        for descriptor in pipe:
            os.close(descriptor)
        _be_node(request)

    pid = fork_process(run, close=(orders,))
    nodes[pid] = request["number"]
    _tell(orders, number=request["number"], pid=pid)


def _reap(orders: socket.socket, nodes: dict[int, int]) -> None:
    for pid, number in tuple(nodes.items()):
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            del nodes[pid]
            cpu_secs = usage.ru_utime + usage.ru_stime
            _tell(orders, number=number, code=os.waitstatus_to_exitcode(status), cpu_secs=cpu_secs)


def _tell(orders: socket.socket, **values: Any) -> None:
    with suppress(BrokenPipeError):
        orders.sendall(json.dumps(values).encode() + b"\n")


def _be_node(request: Mapping[str, Any]) -> NoReturn:
    """What `python live/node.py ARGS > OUTPUT 2>&1` does, from here on."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    block_signals()
    output = os.open(Path(request["output"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, _FILE_MODE)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    if request["before"] is not None:
        arm(**request["before"])
    try:
        run_app(app, list(request["args"]))
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    raise AssertionError("a command ends with an exit")
