"""A process that plays scenarios one after the other and judges what is left of each."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from live.rehearsal.campaign.evidence import Evidence
from live.rehearsal.campaign.exposure import unprotected
from live.rehearsal.campaign.generate import scenario_of
from live.rehearsal.campaign.looks import bounds_of
from live.rehearsal.campaign.nodes import Nodes
from live.rehearsal.campaign.play import Played, play
from live.rehearsal.campaign.results import Result
from live.rehearsal.campaign.scenario import Kind, Scenario
from live.rehearsal.campaign.timeline import episodes_of
from live.rehearsal.campaign.variants import VARIANTS
from live.rehearsal.campaign.zygote import fork_zygote

__all__ = ["LONGEST_SECS", "Task", "judge", "play_seed", "work"]

LONGEST_SECS = 400.0


class Task(NamedTuple):
    """What is played: failures go to `keep`, `models` has the nodes' models, `mutant` breaks every node.

    All are played on one `stage` (None: each on its own; futures only).

    Scenarios are played in folders of `scratch` (None: of the system's), which stay if that breaks off.
    """

    keep: Path
    models: Path
    kind: Kind = "um"
    mutant: str | None = None
    scratch: Path | None = None
    stage: str | None = None

    def scenario_of(self, seed: int) -> Scenario:
        """What is played for a seed."""
        if self.stage is None:
            return VARIANTS[self.kind].scenario_of(seed)
        return scenario_of(seed, self.stage)


def work(jobs: socket.socket, task: Task) -> int:
    """Play the seeds that come in, one a line, and answer each with its result; until the socket ends."""
    zygote, _ = fork_zygote(task.mutant)
    asyncio.run(_work(jobs, zygote, task))
    return 0


async def _work(jobs: socket.socket, zygote: socket.socket, task: Task) -> None:
    jobs.setblocking(False)
    nodes, loop = Nodes(zygote, task.models), asyncio.get_running_loop()
    async for seed in _seeds(jobs):
        result = await play_seed(seed, nodes, task)
        await loop.sock_sendall(jobs, msgspec.json.encode(result) + b"\n")
    nodes.close()


async def _seeds(jobs: socket.socket) -> AsyncIterator[int]:
    text = b""
    while part := await asyncio.get_running_loop().sock_recv(jobs, 4096):
        *lines, text = (text + part).split(b"\n")
        for line in lines:
            yield int(line)


async def play_seed(seed: int, nodes: Nodes, task: Task, *, keep_all: bool = False) -> Result:
    """Play and judge one seed; what failed is kept in `task.keep`/SEED, with everything the node wrote."""
    scenario = task.scenario_of(seed)
    folder = Path(tempfile.mkdtemp(prefix=f"campaign-{seed}-", dir=task.scratch))
    async with asyncio.timeout(LONGEST_SECS):
        played = await play(scenario, nodes, folder)
    result = await asyncio.to_thread(judge, played)
    if result.violations or keep_all:
        kept = task.keep / str(seed)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder, kept)
        (kept / "evidence.json").write_bytes(_encoded(played.evidence))
        (kept / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    shutil.rmtree(folder, ignore_errors=True)
    return result


def judge(played: Played) -> Result:
    """The result of a scenario that was played."""
    evidence = played.evidence
    return Result.of_scenario(
        evidence.scenario,
        kills=tuple(kill.step for kill in evidence.kills),
        faults=tuple(span.kind for span in evidence.faults),
        lives=len(evidence.lives),
        positions=len(episodes_of(evidence)),
        violations=tuple(VARIANTS[evidence.scenario.kind].check(evidence)),
        bare=tuple(unprotected(evidence)),
        node_cpu_secs=played.node_cpu_secs,
        venue_cpu_secs=played.venue_cpu_secs,
        wall_secs=played.wall_secs,
        steps=dict(played.steps),
        bounds=bounds_of(evidence),
    )


def _encoded(evidence: Evidence) -> bytes:
    def plain(value: Any) -> Any:
        return str(value)

    return msgspec.json.format(msgspec.json.encode(evidence, enc_hook=plain))
