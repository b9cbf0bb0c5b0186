"""Plays every broken node in its seeds until something accuses it: the proof that a campaign can fail."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from rich.table import Table

from configs.console import out
from live.rehearsal.campaign.mutants import MUTANTS
from live.rehearsal.campaign.pool import play_all
from live.rehearsal.campaign.results import shortfalls
from live.rehearsal.campaign.worker import Task

__all__ = ["Killed", "kill_table", "print_kills"]


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """One mutant: what was to accuse it, what did (all of it), and the seeds that were played."""

    mutant: str
    accused_by: tuple[str, ...]
    accusers: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def is_dead(self) -> bool:
        """Whether one of those that were to accuse it did."""
        return bool(set(self.accused_by) & set(self.accusers))


def kill_table(folder: Path, models: Path, names: Iterable[str] = tuple(MUTANTS)) -> Iterator[Killed]:
    """Each mutant as it is found out, or was not in any of its seeds."""
    for name in names:
        mutant, results, accusers = MUTANTS[name], [], dict[str, None]()
        wanted = set(mutant.accused_by)
        task = Task(folder / name, models, mutant=name, stage=mutant.stage)
        playing = play_all(mutant.seeds, 1, task)
        for result in playing:
            results.append(result)
            accusers |= dict.fromkeys(violation.invariant for violation in result.violations)
            accusers |= dict.fromkeys(["shortfalls"] if shortfalls(results) else [])
            if wanted & set(accusers):
                playing.close()
                break
        yield Killed(
            mutant=name,
            accused_by=mutant.accused_by,
            accusers=tuple(accusers),
            seeds=tuple(result.seed for result in results),
        )


def print_kills(kills: Iterable[Killed]) -> None:
    """The table."""
    table = Table("broken node", "to be accused by", "accused by", "seeds played")
    for kill in kills:
        accusers = ", ".join(kill.accusers) or "nothing: it survives"
        table.add_row(kill.mutant, " or ".join(kill.accused_by), accusers, " ".join(map(str, kill.seeds)))
    out.print(table)
