"""The audit stream on disk: one JSON line a record, a file a day, written by a thread of its own.

    audit-20261121-001.jsonl   a part of the day that has grown too large, the oldest first
    audit-20261121.jsonl       what is written now
    audit-20261119.jsonl.gz    days before yesterday

A killed node loses what was not yet written, less than a fifth of a second; a line that a kill has cut off
ends with the next start, so every other line of a file stays readable. A disk that refuses is tried again
every second; meanwhile the lines wait, and beyond `capacity` they are dropped: their numbers are missing.
"""

import gzip
import itertools
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from live.record.append_file import AppendFile

__all__ = ["EARLY", "AuditFile", "EarlyLines", "audit_files", "tidy"]

EARLY = "-early"  # ends the name of a session of `EarlyLines`

_LOOK_SECS = 0.1
_SYNC_SECS = 0.5
_RETRY_SECS = 1.0
_END_SECS = 5.0
_CAPACITY = 100_000
_MOST_BYTES = 64 * 2**20
_PART_BYTES = 2**20
_COMPRESS_DAYS = 2


class AuditFile:
    """Lines in `folder`; `put` may be called from any thread and never waits.

    Each line has `session` (when the writer was made), `seq` (counted from 0 in it), `wall` (ns UTC when it
    was handed over) and what `put` was given. `error` is what the disk refuses with, None while all is well;
    `drops` counts lines that found no room. Files older than `keep_days` go; None keeps them all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: int | None = None,
        most_bytes: int = _MOST_BYTES,
        capacity: int = _CAPACITY,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.error: OSError | None = None
        self.drops = 0
        self._folder = folder
        self._keep_days = keep_days
        self._most_bytes = most_bytes
        self._capacity = capacity
        self._session = _session_name()
        self._numbers = itertools.count()
        self._lines: deque[tuple[int, int, dict[str, Any]]] = deque()
        self._unwritten: list[tuple[str, bytes]] = []  # day and lines that the disk has refused
        self._ended = threading.Event()
        self._file: AppendFile | None = None
        self._day = ""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, values: dict[str, Any]) -> None:
        """Hand over a line's values: plain ones that nobody changes afterwards."""
        number = next(self._numbers)
        if len(self._lines) < self._capacity:
            self._lines.append((number, time.time_ns(), values))
        else:
            self.drops += 1

    @property
    def depth(self) -> int:
        """Lines that wait to be written."""
        return len(self._lines)

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._ended.set()
        self._thread.join(_END_SECS)

    @property
    def lost(self) -> str:
        """Once it is closed: how many lines are in no file, where and why; empty when all are in one."""
        unwritten = sum(data.count(b"\n") for _, data in tuple(self._unwritten))
        lines = self.drops + unwritten + len(self._lines)
        why = "they found no room to wait" if self.error is None else str(self.error)
        return f"{lines} lines of the audit stream are not in {self._folder}: {why}" if lines else ""

    def _run(self) -> None:
        unsynced_since, not_before = math.inf, 0.0
        while True:
            is_last, now = self._ended.is_set(), time.monotonic()
            if is_last or now >= not_before:
                try:
                    if self._write():
                        unsynced_since = min(unsynced_since, now)
                    # not at once: what is written at a bar's close is there while orders wait for the disk
                    if self._file is not None and (is_last or now - unsynced_since > _SYNC_SECS):
                        self._file.sync()
                        unsynced_since = math.inf
                    self.error = None
                except OSError as error:
                    self.error, not_before = error, now + _RETRY_SECS
                    self._leave_file()
            if is_last:
                self._leave_file()
                return
            self._ended.wait(_LOOK_SECS)

    def _leave_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self) -> bool:
        if not self._unwritten:
            self._unwritten = list(self._encoded())
        wrote = bool(self._unwritten)
        while self._unwritten:
            day, data = self._unwritten[0]
            self._of_day(day).append(data)
            del self._unwritten[0]
        return wrote

    def _encoded(self) -> Iterator[tuple[str, bytes]]:
        """What waits, in pieces of one day and not much more than a megabyte."""
        piece, of_day = bytearray(), ""
        for _ in range(len(self._lines)):
            number, wall, values = self._lines.popleft()
            day = _day(wall)
            if piece and (day != of_day or len(piece) > _PART_BYTES):
                yield of_day, bytes(piece)
                piece.clear()
            of_day = day
            piece += _line(self._session, number, wall, values)
        if piece:
            yield of_day, bytes(piece)

    def _of_day(self, day: str) -> AppendFile:
        path = _path(self._folder, day)
        if self._file is not None and (day != self._day or self._file.length >= self._most_bytes):
            self._leave_file()
        if day != self._day:  # the first line, and every midnight
            threading.Thread(
                target=tidy, args=(self._folder, day, self._keep_days), name="audit-tidy", daemon=True
            ).start()
        if self._file is None:
            if path.exists() and path.stat().st_size >= self._most_bytes:
                path.rename(_part(path))
            self._file, self._day = AppendFile.of_lines(path), day
        return self._file


class EarlyLines:
    """Lines of a node that has no `AuditFile` yet, in a session of their own.

    A line is in its file when `put` returns, so no kill takes it; OSError when the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._session = ""
        self._numbers = itertools.count()

    def put(self, values: dict[str, Any]) -> None:
        """Write a line's values."""
        self._session = self._session or f"{_session_name()}{EARLY}"
        self._folder.mkdir(parents=True, exist_ok=True)
        wall = time.time_ns()
        file = AppendFile.of_lines(_path(self._folder, _day(wall)))
        try:
            file.append(_line(self._session, next(self._numbers), wall, values))
        finally:
            file.close()


def audit_files(folder: Path) -> list[Path]:
    """The stream's files in order, compressed or not; each day's parts before what came after them."""
    plain = {path.name: path for path in folder.glob("audit-*.jsonl")}
    packed = {path.name.removesuffix(".gz"): path for path in folder.glob("audit-*.jsonl.gz")}
    both = packed | plain  # of one that a kill has left in both forms the plain one is whole
    return [both[name] for name in sorted(both)]


def tidy(folder: Path, today: str, keep_days: int | None) -> None:
    """Compress the days before yesterday, remove those older than `keep_days`; `today` is YYYYMMDD.

    What the disk refuses is left for the next day.
    """
    date = datetime.strptime(today, "%Y%m%d").replace(tzinfo=UTC)
    packed_until = f"{date - timedelta(days=_COMPRESS_DAYS):%Y%m%d}"
    gone_until = "" if keep_days is None else f"{date - timedelta(days=keep_days + 1):%Y%m%d}"
    with suppress(OSError):
        for path in folder.glob("*.gz.tmp"):
            path.unlink()
        for path in audit_files(folder):
            day = path.name.removeprefix("audit-")[:8]
            if day <= gone_until:
                path.unlink()
                path.with_name(f"{path.name}.gz").unlink(missing_ok=True)
            elif day <= packed_until and path.suffix != ".gz":
                _compress(path)


def _session_name() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"


def _day(wall_ns: int) -> str:
    return f"{datetime.fromtimestamp(wall_ns / 1e9, UTC):%Y%m%d}"


def _path(folder: Path, day: str) -> Path:
    return folder / f"audit-{day}.jsonl"


def _line(session: str, number: int, wall_ns: int, values: dict[str, Any]) -> bytes:
    line = {"session": session, "seq": number, "wall": wall_ns, **values}
    return msgspec.json.encode(line, enc_hook=str) + b"\n"


def _compress(path: Path) -> None:
    packed = path.with_name(f"{path.name}.gz")
    temporary = packed.with_name(f"{packed.name}.tmp")
    with path.open("rb") as source, gzip.open(temporary, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, _PART_BYTES)
    temporary.replace(packed)
    path.unlink()


def _part(path: Path) -> Path:
    """The next free name for a part of the day."""
    for number in itertools.count(1):
        part = path.with_name(f"{path.stem}-{number:03}.jsonl")
        if not part.exists() and not part.with_name(f"{part.name}.gz").exists():
            return part
    raise AssertionError
