"""One small file that is either the old state or the new one, whole, whatever happens while it is written.

    {"version": 1, "sha256": "<of the bytes of state>", "count": 7, "after": 5, "state": {...}}

Orders wait for a write, so it goes into a slot beside the file (`actors.state_ring`): one call, two where it
is waited for the disk. A thread gives the newest one the file's name a moment later. The higher `count`
counts. A file that is damaged, of another version or of another shape is refused, never mended and never
ignored: what it said about risk is not known.

No kill of the process loses a state, and no power cut one that was waited for; of the others it may lose
those of the last tenth of a second. What lies beside the file belongs to it: without the file, or with an
older one put in its place (`after` says which it had), it counts for nothing.
"""

import atexit
import hashlib
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from actors.state_ring import Ring, slot_bytes, slots, zeros
from configs.errors import DataError, RunFailedError

__all__ = ["VERSION", "StateFile", "newest"]

VERSION = 1
_GATHER_SECS = 0.1
_END_SECS = 5.0


class _Envelope(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: int
    sha256: str
    count: int = 0
    after: int = 0
    state: msgspec.Raw

    @property
    def is_sound(self) -> bool:
        return hashlib.sha256(bytes(self.state)).hexdigest() == self.sha256


class _Syncer:
    """The thread that waits for the disk, begun when it is first needed; also in a fork.

    It waits a little first: what one bar's close brings about comes together.
    """

    def __init__(self) -> None:
        self.renaming = threading.Lock()  # not held by the thread while it waits for the disk
        self._asked: deque[StateFile[Any]] = deque()
        self._has_work = threading.Event()
        self._is_ending = threading.Event()
        self._thread: threading.Thread | None = None
        atexit.register(self._end)

    def ask(self, file: "StateFile[Any]") -> None:
        """Have what lies beside a file put into it."""
        self._asked.append(file)
        self._has_work.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="state", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._is_ending.is_set():
            self._has_work.wait()
            self._has_work.clear()
            self._is_ending.wait(_GATHER_SECS)
            while self._asked:
                self._asked.popleft().settle()

    def _end(self) -> None:
        self._is_ending.set()
        self._has_work.set()
        if self._thread is not None:
            self._thread.join(_END_SECS)


_syncer = _Syncer()


class StateFile[S: msgspec.Struct]:
    """A value of type `kind` on disk, as JSON with a version and a checksum.

    One process writes, on one thread; any number may read at any time.
    """

    def __init__(self, path: Path, kind: type[S]) -> None:
        self.path = path
        self._beside = _beside(path)
        self._fresh, self._coming = (path.with_name(path.name + end) for end in (".tmp", ".disk.tmp"))
        self._decoder = msgspec.json.Decoder(kind, strict=True)
        self._ring: Ring | None = None
        self._count = self._settled = 0
        self._latest: tuple[int, bytes] | None = None
        self._is_waiting = False
        self._missed: OSError | None = None

    def read(self) -> S | None:
        """The stored value; None when there is no file. DataError when the file cannot be trusted."""
        try:
            content = newest(self.path)
        except OSError as error:
            raise DataError(f"state file {self.path} cannot be read: {error.strerror}") from error
        return None if content is None else self._decoded(self.path, content)

    def _decoded(self, path: Path, content: bytes) -> S:
        try:
            envelope = msgspec.json.decode(content, type=_Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(path, f"is damaged ({error})") from error
        if envelope.version != VERSION:
            raise _refused(path, f"has version {envelope.version}, this program writes {VERSION}")
        if not envelope.is_sound:
            raise _refused(path, "is damaged (the checksum does not match)")
        try:
            return self._decoder.decode(envelope.state)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(path, f"does not hold what it should ({error})") from error

    def write(self, value: S, *, waits: bool = True) -> None:
        """Replace the state; RunFailedError when the disk refuses, the old one then stands unchanged.

        Without `waits` it is not waited for the disk; what the disk refuses later the next write raises.
        """
        state = msgspec.json.encode(value)
        content = self._enveloped(state, self._count + 1)
        ring, missed = self._ring, self._missed
        self._missed = None
        try:
            if ring is None or not ring.has_room(content) or not ring.is_there:
                self._begin(state)
            else:
                ring.put(content, is_synced=waits)
                self._count += 1
                self._latest = (self._count, content)
                self._ask()
            if missed is not None and not waits:
                raise missed
        except OSError as error:
            raise RunFailedError(f"state file {self.path} cannot be written: {error.strerror}") from error

    def _enveloped(self, state: bytes, count: int) -> bytes:
        return msgspec.json.encode(
            _Envelope(
                version=VERSION,
                sha256=hashlib.sha256(state).hexdigest(),
                count=count,
                after=self._settled,
                state=msgspec.Raw(state),
            )
        )

    def _begin(self, state: bytes) -> None:
        """Write the file itself and an empty ring: the first time, and where the old ring is too small."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        count = max(self._count, *_counts(self.path)) + 1
        content = self._enveloped(state, count)
        size, ring = slot_bytes(len(content)), self._beside.with_name(self._beside.name + ".tmp")
        _put(self._fresh, content)
        _put(ring, zeros(size))
        with _syncer.renaming:
            self._latest = None
            self._fresh.replace(self.path)
            _sync_folder(self.path.parent)  # what is in the old ring is newer than the old file
            ring.replace(self._beside)
        _sync_folder(self.path.parent)
        self._ring = Ring(self._beside, size)
        self._count = self._settled = count

    def _ask(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            _syncer.ask(self)

    def settle(self) -> None:
        """Put the newest state into the file itself, on the disk; on any thread."""
        self._is_waiting = False
        latest, ring = self._latest, self._ring
        if latest is None or ring is None or latest[0] <= self._settled:
            return
        try:
            _put(self._coming, latest[1])
            with _syncer.renaming:
                if self._latest is None or not ring.is_there:  # removed, or somebody else has begun
                    self._coming.unlink()
                    return
                self._coming.replace(self.path)
            _sync_folder(self.path.parent)
            self._settled = latest[0]
        except FileNotFoundError:
            return  # the folder has gone
        except OSError as error:
            self._missed = error

    def remove(self) -> None:
        """Let there be no state."""
        with _syncer.renaming:
            self._latest = self._ring = None
            for path in (self.path, self._beside):  # in this order: alone the second counts for nothing
                path.unlink(missing_ok=True)


def newest(path: Path) -> bytes | None:
    """What counts of the state file at `path`: its content, or a newer one beside it; None without a file.

    Nothing beside a damaged one is looked at.
    """
    beside = [found for line in slots(_content(_beside(path)) or b"") if (found := _sound(line))]
    content = _content(path)  # after what is beside it, so that nobody ever sees an older state again
    own = None if content is None else _sound(content)
    if own is None:
        return content
    last = max(beside, key=lambda found: found.count, default=own)
    return msgspec.json.encode(last) if last.count > own.count >= last.after else content


def _counts(path: Path) -> tuple[int, int]:
    """The highest count in the file and beside it, as far as they can be read."""
    found = [_sound(line) for line in slots(_content(_beside(path)) or b"")]
    own = _sound(_content(path) or b"")
    return max((each.count for each in found if each), default=0), own.count if own else 0


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _sound(content: bytes) -> _Envelope | None:
    """The envelope, if it is whole and of this version."""
    try:
        found = msgspec.json.decode(content, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.version == VERSION and found.is_sound else None


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the rename is in the journal
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refused(path: Path, why: str) -> DataError:
    return DataError(
        f"state file {path} {why}: restore it from a copy, or, after checking the account by hand, "
        "delete it to begin anew"
    )
