"""One small file that is either the old state or the new one, whole, whatever happens while it is written.

    {"version": 1, "sha256": "<of the bytes of state>", "state": {...}}

A write goes to a neighbour of the file, is forced to the disk, and takes the file's name in one step. A file
that is damaged, of another version or of another shape is refused, never mended and never ignored: what it
said about risk is not known.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from configs.errors import DataError, RunFailedError

__all__ = ["VERSION", "StateFile"]

VERSION = 1


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    sha256: str
    state: msgspec.Raw


class StateFile[S: msgspec.Struct]:
    """A value of type `kind` on disk, as JSON with a version and a checksum.

    One process writes; any number may read at any time.
    """

    def __init__(self, path: Path, kind: type[S]) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(kind, strict=True)

    def read(self) -> S | None:
        """The stored value; None when there is no file. DataError when the file cannot be trusted."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"state file {self.path} cannot be read: {error.strerror}") from error
        try:
            envelope = msgspec.json.decode(content, type=_Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._refused(f"is damaged ({error})") from error
        if envelope.version != VERSION:
            raise self._refused(f"has version {envelope.version}, this program writes {VERSION}")
        if hashlib.sha256(bytes(envelope.state)).hexdigest() != envelope.sha256:
            raise self._refused("is damaged (the checksum does not match)")
        try:
            return self._decoder.decode(envelope.state)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._refused(f"does not hold what it should ({error})") from error

    def write(self, value: S) -> None:
        """Replace the file; RunFailedError when the disk refuses, the old file then stands unchanged."""
        state = msgspec.json.encode(value)
        envelope = _Envelope(VERSION, hashlib.sha256(state).hexdigest(), msgspec.Raw(state))
        fresh = self.path.with_name(self.path.name + ".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(msgspec.json.encode(envelope))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
            self._sync_folder()
        except OSError as error:
            raise RunFailedError(f"state file {self.path} cannot be written: {error.strerror}") from error

    def _sync_folder(self) -> None:
        if os.name != "posix":  # elsewhere a folder cannot be opened, and the rename is in the journal
            return
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _refused(self, why: str) -> DataError:
        return DataError(
            f"state file {self.path} {why}: restore it from a copy, or, after checking the account by hand, "
            "delete it to begin anew"
        )
