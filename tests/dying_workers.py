"""A campaign whose workers do as they are told and play nothing: `python -m tests.dying_workers DIR HOW...`.

Seed 1 dies in each of the ways in turn (`clean` is none); all other seeds are answered. Prints the results.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from live.rehearsal.campaign import pool
from live.rehearsal.campaign.results import Result
from live.rehearsal.campaign.worker import Task

SEEDS = 6
_DYING = 1


def _die(how: str) -> None:
    if how == "silent":
        time.sleep(60.0)
    if how == "raise":
        raise LookupError("a scenario that nobody can play")
    if how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
    if how.startswith("exit"):
        os._exit(int(how.removeprefix("exit")))


def main(folder: Path, ways: list[str]) -> None:
    tries = folder / "tries"

    def work(jobs: socket.socket, task: Task) -> int:
        assert task.scratch is not None
        while part := jobs.recv(100):
            seed = int(part)
            scene = task.scratch / f"scene-{seed}"
            scene.mkdir()
            if seed == _DYING:
                (scene / "node.log").write_text("what the node said")
                os.write(2, b"seed 1 begins\n")
                number = len(tries.read_text()) if tries.exists() else 0
                tries.write_text("x" * (number + 1))
                _die(ways[min(number, len(ways) - 1)])
            jobs.sendall(msgspec.json.encode(Result.of(seed, "keep")) + b"\n")
        return 0

    setattr(pool, "work", work)  # noqa: B010  it is not the pool's own
    pool._SILENT_SECS = 1.0
    results = pool.play_all(range(SEEDS), 2, Task(folder / "failed", folder))
    sys.stdout.buffer.write(msgspec.json.encode(sorted(results, key=lambda result: result.seed)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
