"""A state's newest versions in one file of a few slots, each written in place.

Writing in place asks nothing of the file system: no new file, no new name, and the disk is waited for once
and not three times. A slot that a kill or a power cut has caught half written counts for nothing; the one
that the disk has for certain is never the next to be written, so one whole state is left whatever happens.
"""

import os
import weakref
from errno import ENOSPC
from pathlib import Path

__all__ = ["Ring", "slot_bytes", "slots", "zeros"]

_SLOTS = 4
_LEAST_BYTES = 16_384  # the guard of twenty instruments has 4 to 8 kB: to begin anew would hold up orders
_sync_data = getattr(os, "fdatasync", os.fsync)


class Ring:
    """Slots of `size` bytes in the file at `path`, which `zeros` has made; one thread writes."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._file = os.open(path, os.O_WRONLY)
        weakref.finalize(self, os.close, self._file)
        self._inode = os.fstat(self._file).st_ino
        self._last = 0
        self._kept = 0

    @property
    def is_there(self) -> bool:
        """Whether the file still has its name: another writer, or a removal, takes it away."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def has_room(self, content: bytes) -> bool:
        """Whether a slot takes that."""
        return len(content) < self._size

    def put(self, content: bytes, *, is_synced: bool) -> None:
        """Write one line into the oldest slot but the one that is kept; OSError when the disk refuses.

        With `is_synced` the disk has it on return, and it is the one that is kept.
        """
        slot = (self._last + 1) % _SLOTS
        if slot == self._kept:
            slot = (slot + 1) % _SLOTS
        if os.pwrite(self._file, content + b"\n", slot * self._size) <= len(content):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        if is_synced:
            _sync_data(self._file)
            self._kept = slot
        self._last = slot


def slot_bytes(longest: int) -> int:
    """How long slots have to be for lines of about `longest` bytes."""
    size = _LEAST_BYTES
    while size < 2 * longest:
        size *= 2
    return size


def zeros(size: int) -> bytes:
    """An empty ring with slots of that length; what is only reserved would have to be found when written."""
    return bytes(_SLOTS * size)


def slots(content: bytes) -> list[bytes]:
    """The lines in a ring's content, in no order, whole or not."""
    size = len(content) // _SLOTS
    lines = (content[i * size : (i + 1) * size].partition(b"\n")[0] for i in range(_SLOTS))
    return [line for line in lines if line and line[0]]
