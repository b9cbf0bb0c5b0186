"""An operator who commands the node while it trades, and what must hold by the answers he gets."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from configs.errors import RunFailedError
from live.command import send
from live.rehearsal.campaign.evidence import Commanded, Evidence, Violation
from live.rehearsal.campaign.scenario import Command
from live.rehearsal.campaign.timeline import SECOND_NS, details, is_near_kill, records

__all__ = ["Operator", "commands_hold"]

_HALTS, _LIFTS = ("halt", "flatten"), ("resume", "reset")
_CODE = "halt_command"
_ANSWER_SECS = 20.0
_LOOK_SECS = 0.02
_LOST_NS = SECOND_NS  # of the audit stream, by a kill


class Operator:
    """Sends commands to whatever node uses a state folder, by the way of `live/command.py`."""

    def __init__(self, state: Path) -> None:
        self.commanded: list[Commanded] = []
        self._state = state

    async def follow(
        self, commands: tuple[Command, ...], age: Callable[[], tuple[int, float] | None]
    ) -> None:
        """Each when it is due; `age` tells the number of the life that trades and how long it has (s)."""
        for command in commands:
            while not _is_due(command, age()) or not await self._ask(command.name):
                await asyncio.sleep(_LOOK_SECS)

    async def _ask(self, name: str) -> bool:
        number, asked = len(self.commanded), Commanded(name, time.time_ns())
        self.commanded.append(asked)
        values = {"reason": "the campaign"}
        try:
            answer = await asyncio.to_thread(send, self._state, name, None, values, within_secs=_ANSWER_SECS)
        except RunFailedError:  # the node was killed before it had answered
            return False
        if answer["done"]:
            self.commanded[number] = asked._replace(done_ns=time.time_ns())
        return bool(answer["done"])


def _is_due(command: Command, age: tuple[int, float] | None) -> bool:
    return age is not None and age >= (command.life, command.at_secs)


def commands_hold(evidence: Evidence) -> list[Violation]:
    """Nothing is approved from a halt's answer until it is lifted, whoever was killed in between.

    And from a lift's answer on the guard's word names the halt no more, until the next one is asked for; the
    word of the last second before a kill may be lost. A command that nobody has answered may hold or not.
    """
    return [Violation("commands_hold", *told) for told in (*_entered(evidence), *_unlifted(evidence))]


def _entered(evidence: Evidence) -> Iterator[tuple[str, int]]:
    approved = [int(record["wall"]) for record in records(evidence, "approval")]
    for name, begun_ns, ended_ns in _spans(evidence, _HALTS, _LIFTS):
        late = [at_ns for at_ns in approved if begun_ns < at_ns < ended_ns]
        if late:
            yield f"{len(late)} entries were approved after '{name}' had been answered", late[0]


def _unlifted(evidence: Evidence) -> Iterator[tuple[str, int]]:
    words = [(int(r["wall"]), d["reasons"]) for r, d in details(evidence, "risk") if "reasons" in d]
    for name, begun_ns, ended_ns in _spans(evidence, _LIFTS, _HALTS):
        in_force = [at_ns for at_ns, _ in words if at_ns <= begun_ns][-1:]
        if not in_force or is_near_kill(evidence, begun_ns, _LOST_NS):
            in_force = [begun_ns]
        named = [at_ns for at_ns, reasons in words if in_force[0] <= at_ns < ended_ns and _CODE in reasons]
        if named:
            yield f"the guard still named the halt after '{name}' had been answered", named[0]


def _spans(
    evidence: Evidence, begins: tuple[str, ...], ends: tuple[str, ...]
) -> Iterator[tuple[str, int, int]]:
    """Each command of the one kind that was done, until the first of the other kind was asked for."""
    for number, command in enumerate(evidence.commands):
        if command.name in begins and command.done_ns is not None:
            later = (c.asked_ns for c in evidence.commands[number + 1 :] if c.name in ends)
            yield command.name, command.done_ns, next(later, evidence.ended_ns)
