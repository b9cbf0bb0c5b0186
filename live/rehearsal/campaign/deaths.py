"""What is kept of a worker that died in the middle of a scenario: how, what it said last, and its folder.

Everything a worker and its zygote write on standard output and error goes to a file, with a dump of all
threads for a signal that can be heard (`faulthandler`); the scenarios' folders lie beside it.
"""

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["Death", "Remains", "name_of"]

_MODE = 0o644
_TOLD = 2_000  # characters of the last words


class Death(NamedTuple):
    """How a process ended while it played a seed.

    `code` is negative for a signal, `peak_mib` the most memory that it, or a child it waited for, ever had;
    `words` are the last of what it said.
    """

    seed: int
    code: int
    peak_mib: float
    words: str

    @property
    def text(self) -> str:
        """One line."""
        last = self.words.strip().rpartition("\n")[2] or "nothing"
        how = f"{name_of(self.code)}, {self.peak_mib:.0f} MiB at its peak"
        return f"the worker died with {how}; it said last: {last[:200]}"


def name_of(code: int) -> str:
    """An exit code, or the signal of a negative one.

    >>> name_of(-9), name_of(3)
    ('signal 9 (SIGKILL)', 'exit code 3')
    """
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"signal {-code} ({known.get(-code, 'unknown')})"


class Remains:
    """The folder of one worker, which its parent reads after its death and removes after its end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="campaign-worker-"))
        self._words = self.folder / "worker.log"

    def hear(self) -> None:
        """From here on what this process says goes to the folder, and what kills it as well."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        output = os.open(self._words, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.close(output)
        faulthandler.enable(file=2, all_threads=True)

    def read(self, seed: int, status: int, peak_kib: int) -> Death:
        """What a process that ended with a wait status leaves."""
        words = self._words.read_text(errors="replace") if self._words.exists() else ""
        return Death(seed, os.waitstatus_to_exitcode(status), peak_kib / 1024, words[-_TOLD:])

    def keep(self, folder: Path) -> None:
        """Copy everything that is left to a fresh folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)

    def remove(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self.folder, ignore_errors=True)
