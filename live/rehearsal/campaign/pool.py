"""Plays many seeds on several worker processes, all forked from this one after everything was imported.

This process stays single-threaded and without an event loop, so a worker that dies can be forked again. The
scenario under way is then played once more, to see whether that happens again, and counts as a failure of
the harness in either case; what is left of the worker is kept in `Task.keep`/SEED-died. One that is silent
for far too long is made to tell where it hangs (SIGABRT) and counts as dead.
"""

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator

import msgspec

from live.rehearsal.campaign.deaths import Death, Remains
from live.rehearsal.campaign.evidence import Violation
from live.rehearsal.campaign.results import HARNESS, Result
from live.rehearsal.campaign.worker import LONGEST_SECS, Task, work
from live.rehearsal.campaign.zygote import fork_process

__all__ = ["play_all"]

_PART = 1 << 20
_SILENT_SECS = LONGEST_SECS + 120.0  # a scenario that takes too long says so itself before that


class _Worker:
    def __init__(self, task: Task, others: Iterable[socket.socket]) -> None:
        self.jobs, theirs = socket.socketpair()
        self.remains = Remains()
        self.seed: int | None = None
        self.given = 0.0
        self.text = b""
        mine = task._replace(scratch=self.remains.folder)

        def run() -> int:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the campaign, which ends this
            self.remains.hear()
            return work(theirs, mine)

        self.pid = fork_process(run, close=(self.jobs, *others))
        theirs.close()

    def give(self, seed: int) -> None:
        self.seed, self.given = seed, time.monotonic()
        self.jobs.sendall(b"%d\n" % seed)

    def hear(self) -> Iterator[Result]:
        """What has come in; nothing when it is dead."""
        part = self.jobs.recv(_PART)
        *lines, self.text = (self.text + part).split(b"\n")
        for line in lines:
            self.seed = None
            yield msgspec.json.decode(line, type=Result)

    def end(self, keep: Callable[[int], object]) -> Death | None:
        """Wait for its end; how it died if that was in a scenario, whose remains `keep` is to name."""
        self.jobs.close()
        _, status, usage = os.wait4(self.pid, 0)
        death = None
        if self.seed is not None:
            death = self.remains.read(self.seed, status, usage.ru_maxrss)
            keep(self.seed)
        self.remains.remove()
        return death


def play_all(
    seeds: Iterable[int],
    jobs: int,
    task: Task,
    *,
    idle: Callable[[], None] | None = None,
) -> Generator[Result]:
    """The results as they come; `idle` is called about once a second."""
    playing = _Playing(seeds, task)
    try:
        while playing.is_under_way:
            playing.give_out(jobs)
            yield from playing.listen()
            if idle is not None:
                idle()
    finally:
        playing.close()


class _Playing:
    def __init__(self, seeds: Iterable[int], task: Task) -> None:
        self._left = deque(seeds)
        self._task = task
        self._workers: list[_Worker] = []
        self._dead: dict[int, Death] = {}

    @property
    def is_under_way(self) -> bool:
        return bool(self._left) or any(worker.seed is not None for worker in self._workers)

    def give_out(self, jobs: int) -> None:
        while self._left and len(self._workers) < jobs:
            self._workers.append(_Worker(self._task, [worker.jobs for worker in self._workers]))
        for worker in self._workers:
            if self._left and worker.seed is None:
                worker.give(self._left.popleft())

    def listen(self) -> Iterator[Result]:
        """The results that have come within a second."""
        ready, _, _ = select.select([worker.jobs for worker in self._workers], [], [], 1.0)
        for worker in [worker for worker in self._workers if worker.jobs in ready]:
            results = list(worker.hear())
            for result in results:
                yield self._with_death(result)
            if not results and not worker.text:
                yield from self._bury(worker)
        for worker in self._workers:
            if worker.seed is not None and time.monotonic() - worker.given > _SILENT_SECS:
                os.kill(worker.pid, signal.SIGABRT)
                worker.given = time.monotonic()

    def _bury(self, worker: _Worker) -> Iterator[Result]:
        self._workers.remove(worker)
        death = worker.end(lambda seed: worker.remains.keep(self._task.keep / f"{seed}-died"))
        if death is None:
            return
        before = self._dead.pop(death.seed, None)
        if before is None:
            self._dead[death.seed] = death
            self._left.appendleft(death.seed)
            return
        text = f"{before.text}; played again, {death.text}"
        scenario = self._task.scenario_of(death.seed)
        yield Result.of_scenario(scenario, violations=(Violation(HARNESS, text),))

    def _with_death(self, result: Result) -> Result:
        """The result of a scenario that was played again is a failure, whatever came of it."""
        death = self._dead.pop(result.seed, None)
        if death is None:
            return result
        again = Violation(HARNESS, f"{death.text}; played again, it ended as it should")
        return msgspec.structs.replace(result, violations=(again, *result.violations))

    def close(self) -> None:
        for worker in self._workers:
            if worker.seed is not None:
                os.kill(worker.pid, signal.SIGKILL)
            worker.end(lambda _: None)
