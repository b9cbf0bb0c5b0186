"""One small file that is either the old state or the new one, whole, whatever happens while it is written.

    {"version": 1, "sha256": "<of the bytes of state>", "state": {...}}

A write goes to a neighbour of the file, is forced to the disk, and takes the file's name in one step. A file
that is damaged, of another version or of another shape is refused, never mended and never ignored: what it
said about risk is not known.

Who cannot wait for the disk leaves that to a thread: until it is done the new state is in the neighbour
`<name>.next`, which counts before the file. No kill of the process loses it. A power cut within that tenth of
a second may, then the old state stands: a neighbour that is not whole counts for nothing.
"""

import atexit
import hashlib
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from configs.errors import DataError, RunFailedError

__all__ = ["VERSION", "StateFile"]

VERSION = 1
_GATHER_SECS = 0.1
_END_SECS = 5.0


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    sha256: str
    state: msgspec.Raw

    @property
    def is_sound(self) -> bool:
        return hashlib.sha256(bytes(self.state)).hexdigest() == self.sha256


class _Syncer:
    """The thread that waits for the disk, begun when it is first needed; also in a fork.

    It waits a little first: whoever renames a file while another one is forced to the disk waits as well,
    and what one bar's close brings about comes together.
    """

    def __init__(self) -> None:
        self.renaming = threading.Lock()  # never held while the disk is waited for
        self._asked: deque[StateFile[Any]] = deque()
        self._has_work = threading.Event()
        self._is_ending = threading.Event()
        self._thread: threading.Thread | None = None
        atexit.register(self._end)

    def ask(self, file: "StateFile[Any]") -> None:
        """Have a file's neighbour forced to the disk."""
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
        self._next = path.with_name(path.name + ".next")
        self._fresh = path.with_name(path.name + ".tmp")
        self._decoder = msgspec.json.Decoder(kind, strict=True)
        self._is_waiting = False
        self._missed: OSError | None = None

    def read(self) -> S | None:
        """The stored value; None when there is no file. DataError when the file cannot be trusted."""
        try:
            content = _content(self._next)
            if content is not None and _is_whole(content):
                return self._decoded(self._next, content)
            content = _content(self.path)
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
        """Replace the file; RunFailedError when the disk refuses, the old file then stands unchanged.

        Without `waits` it is not waited for the disk; what the disk refuses later the next write raises.
        """
        state = msgspec.json.encode(value)
        envelope = _Envelope(VERSION, hashlib.sha256(state).hexdigest(), msgspec.Raw(state))
        missed, self._missed = self._missed, None
        try:
            self._put(msgspec.json.encode(envelope), is_synced=waits)
            with _syncer.renaming:
                self._fresh.replace(self._next)
                if waits:  # by way of the neighbour: an older one would count before the file
                    self._next.replace(self.path)
            if waits:
                _sync_folder(self.path.parent)
            elif not self._is_waiting:
                self._is_waiting = True
                _syncer.ask(self)
            if missed is not None and not waits:
                raise missed
        except OSError as error:
            raise RunFailedError(f"state file {self.path} cannot be written: {error.strerror}") from error

    def _put(self, content: bytes, *, is_synced: bool) -> None:
        if not self.path.parent.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._fresh.open("wb") as file:
            file.write(content)
            if is_synced:
                file.flush()
                os.fsync(file.fileno())

    def settle(self) -> None:
        """Force what was written without waiting to the disk, and give it the file's name; on any thread."""
        self._is_waiting = False
        try:
            with self._next.open("rb+") as file:
                os.fsync(file.fileno())
                with _syncer.renaming:
                    # a newer one has been written meanwhile, and has been asked for as well
                    if not os.path.samestat(os.fstat(file.fileno()), self._next.stat()):
                        return
                    self._next.replace(self.path)
            _sync_folder(self.path.parent)
        except FileNotFoundError:
            return  # a write that waited was first, or a removal
        except OSError as error:
            self._missed = error

    def remove(self) -> None:
        """Let there be no state."""
        with _syncer.renaming:
            for path in (self.path, self._next):
                path.unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_whole(content: bytes) -> bool:
    try:
        return msgspec.json.decode(content, type=_Envelope).is_sound
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


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
