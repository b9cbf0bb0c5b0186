"""The file by which a node is seen to live: kept fresh while it does, marked by an end that was meant."""

from contextlib import suppress
from pathlib import Path

__all__ = ["HEARTBEAT", "Heartbeat", "has_ended"]

HEARTBEAT = "heartbeat"
_ENDED = "ended"


class Heartbeat:
    """Written by the node alone."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HEARTBEAT

    def begin(self) -> None:
        """From now on silence means that the node is dead or hangs."""
        self._path.write_text("")

    def beat(self) -> None:
        """Say that the node lives; the file is made again where somebody has taken it away."""
        self._path.touch()

    def end(self, outcome: str) -> None:
        """Everything is flat or protected, and nobody is expected to look after it.

        Where the disk refuses that, a watchdog takes the node for dead: the end is as good.
        """
        with suppress(OSError):
            self._path.write_text(f"{_ENDED}: {outcome}\n")


def has_ended(path: Path) -> bool:
    """Whether the node has ended as it should; False while it lives, and after it died."""
    try:
        return path.read_text(errors="replace").startswith(_ENDED)
    except OSError:
        return False
