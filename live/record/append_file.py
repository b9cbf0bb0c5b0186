"""A file that only grows, and only by whole pieces: what the disk refuses leaves no part behind."""

import os
from pathlib import Path
from typing import Self

__all__ = ["AppendFile"]


class AppendFile:
    """What was appended survives a kill of the process, and after `sync` a crash of the machine."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        self.path = path
        self._file = path.open("xb" if is_new else "ab", buffering=0)
        self.length = self._file.seek(0, os.SEEK_END)
        self._synced = -1

    @classmethod
    def of_lines(cls, path: Path) -> Self:
        """A file of lines, at the beginning of one: a line that a kill has cut off is ended."""
        file = cls(path)
        if file.length:
            with path.open("rb") as reader:
                reader.seek(-1, os.SEEK_END)
                is_cut = reader.read(1) != b"\n"
            if is_cut:
                file.append(b"\n")
        return file

    def append(self, data: bytes) -> None:
        """Write all of it or nothing; OSError when the disk refuses."""
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._file.truncate(self.length)
            self._file.seek(self.length)
            raise
        self.length += len(data)

    def sync(self) -> None:
        """Have the disk keep what was written; it is left alone when that is nothing."""
        length = self.length
        if length != self._synced:
            os.fsync(self._file.fileno())
            self._synced = length

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()
