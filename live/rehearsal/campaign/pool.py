"""Plays many seeds on several worker processes, all forked from this one after everything was imported.

This process stays single-threaded and without an event loop, so a worker that dies can be forked again: the
scenario under way then counts as a failure of the harness.
"""

import os
import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator

import msgspec

from live.rehearsal.campaign.evidence import Violation
from live.rehearsal.campaign.results import HARNESS, Result
from live.rehearsal.campaign.variants import VARIANTS
from live.rehearsal.campaign.worker import Task, work
from live.rehearsal.campaign.zygote import fork_process

__all__ = ["play_all"]

_PART = 1 << 20


class _Worker:
    def __init__(self, task: Task, others: Iterable[socket.socket]) -> None:
        self.jobs, theirs = socket.socketpair()
        self.kind = task.kind
        self.seed: int | None = None
        self.text = b""

        def run() -> int:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the campaign, which ends this
            return work(theirs, task)

        self.pid = fork_process(run, close=(self.jobs, *others))
        theirs.close()

    def give(self, seed: int) -> None:
        self.seed = seed
        self.jobs.sendall(b"%d\n" % seed)

    def end(self) -> None:
        self.jobs.close()
        os.waitpid(self.pid, 0)


def play_all(
    seeds: Iterable[int],
    jobs: int,
    task: Task,
    *,
    idle: Callable[[], None] | None = None,
) -> Generator[Result]:
    """The results as they come; `idle` is called about once a second."""
    left = deque(seeds)
    workers: list[_Worker] = []
    try:
        while left or any(worker.seed is not None for worker in workers):
            while left and len(workers) < jobs:
                workers.append(_Worker(task, [worker.jobs for worker in workers]))
            for worker in workers:
                if left and worker.seed is None:
                    worker.give(left.popleft())
            ready, _, _ = select.select([worker.jobs for worker in workers], [], [], 1.0)
            for worker in [worker for worker in workers if worker.jobs in ready]:
                yield from _received(worker, workers)
            if idle is not None:
                idle()
    finally:
        for worker in workers:
            if worker.seed is not None:
                os.kill(worker.pid, signal.SIGKILL)
            worker.end()


def _received(worker: _Worker, workers: list[_Worker]) -> Iterator[Result]:
    part = worker.jobs.recv(_PART)
    if not part:
        workers.remove(worker)
        worker.end()
        if worker.seed is not None:
            text = "the worker died; its traceback is above"
            ending = VARIANTS[worker.kind].scenario_of(worker.seed).ending
            yield Result.of(worker.seed, ending, worker.kind, violations=(Violation(HARNESS, text),))
        return
    *lines, worker.text = (worker.text + part).split(b"\n")
    for line in lines:
        worker.seed = None
        yield msgspec.json.decode(line, type=Result)
