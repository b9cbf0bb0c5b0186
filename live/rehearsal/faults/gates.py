"""When a fault acts: the counting, the chance and the timetable behind `When` and `Timing`.

Each gate has its own random numbers, from the script's seed and the fault's place and name, and draws one
for each match (or turn) that gets that far. So one fault's chances do not depend on the others.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from live.rehearsal.faults.script import Timing, When

__all__ = ["Gate", "Turn", "make_random", "turns"]


def make_random(seed: int, place: int, label: str) -> Random:
    """The random numbers of one fault, the same on every machine."""
    return Random(f"{seed}|{place}|{label}")


class Gate:
    """Lets through what `When` says; `start_ms` is when its seconds begin.

    It is open from `first_ms` until `last_ms` (None: for ever).
    """

    def __init__(self, when: When, random: Random, start_ms: int) -> None:
        self._when = when
        self._random = random
        self.first_ms = start_ms + round(when.at_secs * 1000)
        self.last_ms = None if when.for_secs is None else self.first_ms + round(when.for_secs * 1000)
        self.matched = 0
        self.passed = 0

    @property
    def spent(self) -> bool:
        """Whether it will never let anything through again."""
        return self._when.count is not None and self.passed >= self._when.count

    def open_at(self, now_ms: int) -> bool:
        """Whether its time has come and not gone."""
        return now_ms >= self.first_ms and (self.last_ms is None or now_ms < self.last_ms)

    def passes(self, now_ms: int) -> bool:
        """Whether this match is hit; every call counts as a match while the gate is open."""
        when = self._when
        if self.spent or not self.open_at(now_ms):
            return False
        self.matched += 1
        turn = self.matched - when.skip - 1
        if turn < 0 or turn % when.every:
            return False
        if when.probability < 1 and self._random.random() >= when.probability:
            return False
        self.passed += 1
        return True


class Turn(NamedTuple):
    """One time that a timed fault begins, and when it ends (None: never, or at once)."""

    begin_ms: int
    end_ms: int | None


def turns(timing: Timing, random: Random, start_ms: int) -> Iterator[Turn]:
    """Its turns in order; without end where it repeats without a count."""
    begin_ms = start_ms + round(timing.at_secs * 1000)
    done = 0
    while timing.count is None or done < timing.count:
        if timing.probability >= 1 or random.random() < timing.probability:
            done += 1
            end_ms = None if timing.for_secs is None else begin_ms + round(timing.for_secs * 1000)
            yield Turn(begin_ms, end_ms)
        if timing.repeat_secs is None:
            return
        begin_ms += max(1, round(timing.repeat_secs * 1000))
