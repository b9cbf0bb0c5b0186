"""Fetching over HTTP with an end to everything: bounded retries, bounded waits, verified files.

A try that times out, breaks off, or is answered with 408, 418, 429 or 5xx is repeated after a growing
pause, or after the pause the server asks for (Retry-After), a fixed number of times. 404 means "not there"
and is told apart from failures. A file is written beside its place and takes its name only once its
checksum fits.
"""

import hashlib
import os
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from configs.errors import RunFailedError

__all__ = ["Answer", "Fetcher", "Limits", "NotThereError", "RefusedError", "StoppedError", "UnreachableError"]

_AGAIN = {408, 418, 429}
_MOST_BYTES = 2**30
_CHECKSUM = re.compile(r"([0-9a-fA-F]{64})(\s|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how often to try. All in seconds but `tries`, which counts the first one too."""

    connect_secs: float = 10.0
    read_secs: float = 20.0
    file_secs: float = 900.0
    tries: int = 5
    pause_secs: float = 1.0
    longest_pause_secs: float = 60.0
    rest_pause_secs: float = 0.25  # between REST requests: a page of klines weighs 10 of 2,400 a minute


class NotThereError(Exception):
    """The server answered 404."""


class StoppedError(Exception):
    """Given up because something else failed or the user interrupted."""


class UnreachableError(RunFailedError):
    """No usable answer after all tries; the server is not worth asking further."""


class RefusedError(RunFailedError):
    """One file or request was refused: by the server, or because what came is not what it should be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, and when the server said it gave it (ns UTC, the second rounded down)."""

    status: int
    body: bytes
    served_ns: int


class _TryAgainError(Exception):
    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class Fetcher:
    """An HTTP client for several threads; `stop()` ends every wait and every transfer soon."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._stopped = threading.Event()
        timeout = httpx.Timeout(limits.read_secs, connect=limits.connect_secs, pool=None)
        self._client = httpx.Client(timeout=timeout, follow_redirects=True, headers={"User-Agent": "sextant"})

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Make every running and later request end with StoppedError."""
        self._stopped.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond a stop."""
        if self._stopped.wait(seconds):
            raise StoppedError

    def get(
        self, url: str, params: Mapping[str, str | int] | None = None, *, tries: int | None = None
    ) -> Answer:
        """One answer below 500, other than 404, whole in memory.

        NotThereError on 404; UnreachableError when no try gave an answer.
        """

        def attempt() -> Answer:
            with self._stream(url, params) as response:
                return Answer(response.status_code, b"".join(self._chunks(response)), _served_ns(response))

        return self._repeat(url, attempt, tries or self.limits.tries)

    def verified(self, url: str, path: Path) -> Path:
        """The file at `url` as `path`, its sha256 equal to the one published at `url`.CHECKSUM.

        A file that is there already with its checksum is not fetched again. A mismatch is tried once more;
        then RefusedError, and nothing is left at `path`. NotThereError when the server has no such file.
        """
        proof = path.with_name(path.name + ".CHECKSUM")
        if _is_verified(path, proof):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            for _ in range(2):
                digest = self._save(url, temporary)
                published = self._checksum(url)
                if digest == published:
                    _check_zip(temporary, url)
                    temporary.replace(path)
                    temporary.write_text(f"{published}  {path.name}\n", encoding="ascii")
                    temporary.replace(proof)
                    return path
        finally:
            temporary.unlink(missing_ok=True)
        raise RefusedError(f"{url} does not match its CHECKSUM (twice): the file is not used")

    def _save(self, url: str, path: Path) -> str:
        def attempt() -> str:
            digest = hashlib.sha256()
            with self._stream(url, None) as response, path.open("wb") as file:
                if response.status_code != httpx.codes.OK:
                    raise RefusedError(f"{url} was refused: {_status_text(response)}")
                for chunk in self._chunks(response):
                    digest.update(chunk)
                    file.write(chunk)
            return digest.hexdigest()

        return self._repeat(url, attempt, self.limits.tries)

    def _checksum(self, url: str) -> str:
        try:
            answer = self.get(f"{url}.CHECKSUM")
        except NotThereError as error:
            raise RefusedError(f"{url} has no CHECKSUM beside it: the file is not used") from error
        match = _CHECKSUM.match(answer.body.decode("ascii", "replace"))
        if answer.status != httpx.codes.OK or match is None:
            raise RefusedError(f"{url}.CHECKSUM holds no sha256: the file is not used")
        return match[1].lower()

    @contextmanager
    def _stream(self, url: str, params: Mapping[str, str | int] | None) -> Iterator[httpx.Response]:
        with self._client.stream("GET", url, params=params) as response:
            status = response.status_code
            if status == httpx.codes.NOT_FOUND:
                raise NotThereError(url)
            if status in _AGAIN or status >= httpx.codes.INTERNAL_SERVER_ERROR:
                raise _TryAgainError(f"answered {_status_text(response)}", _retry_after(response))
            yield response

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        end, size = time.monotonic() + self.limits.file_secs, 0
        for chunk in response.iter_bytes():  # as they come: a fixed size would wait for a slow server
            size += len(chunk)
            if self._stopped.is_set():
                raise StoppedError
            if time.monotonic() > end:
                raise _TryAgainError(f"took longer than {self.limits.file_secs:g} s")
            if size > _MOST_BYTES:
                raise RefusedError(f"{response.url} is larger than 1 GiB")
            yield chunk

    def _repeat[T](self, url: str, attempt: Callable[[], T], tries: int) -> T:
        reason = ""
        for count in range(tries):
            if self._stopped.is_set():
                raise StoppedError
            pause = min(self.limits.pause_secs * 2**count, self.limits.longest_pause_secs)
            try:
                return attempt()
            except _TryAgainError as error:
                reason, pause = str(error), max(pause, error.pause)
            except httpx.RequestError as error:
                reason = _reason(error)
            if pause > self.limits.longest_pause_secs and count < tries - 1:
                reason += f" and asks to wait {pause:g} s"
                break
            if count < tries - 1:
                self.wait(pause)
        times = f" ({tries} tries)" if tries > 1 else ""
        raise UnreachableError(f"{url} {reason}{times}")


def _is_verified(path: Path, proof: Path) -> bool:
    if not (path.is_file() and proof.is_file()):
        return False
    match = _CHECKSUM.match(proof.read_text(encoding="ascii", errors="replace"))
    return match is not None and hashlib.sha256(path.read_bytes()).hexdigest() == match[1].lower()


def _check_zip(path: Path, url: str) -> None:
    """A file can be damaged and its checksum be that of the damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise RefusedError(f"{url} is no whole zip file although its CHECKSUM fits: not used") from error
    if bad is not None:
        raise RefusedError(f"{url} is damaged ({bad}) although its CHECKSUM fits: not used")


def _retry_after(response: httpx.Response) -> float:
    """Seconds to wait by the Retry-After header: a number or a date; 0 without one that can be read."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _served_ns(response: httpx.Response) -> int:
    try:
        served = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (ValueError, TypeError):
        return time.time_ns()
    return min(int(served) * 10**9, time.time_ns())


def _status_text(response: httpx.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "cannot be reached (timed out)"
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    if isinstance(error, httpx.ConnectError):
        return f"cannot be reached ({error})"
    return f"broke off ({error})" if str(error) else "broke off"
