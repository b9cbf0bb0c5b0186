"""SIGTERM, SIGINT and SIGHUP, waited for by a thread of its own that only sets a flag.

They are blocked in every thread: the engine's own handler would stop the node before anything is settled,
and a second signal would end it half way. Block them before the libraries load, which start threads. A
terminal that is closed (SIGHUP) is an end like the others, for an entry would be left resting with nobody to
protect what it fills; under `nohup` the node goes on.
"""

import os
import select
import signal
import threading
from contextlib import suppress

__all__ = ["Signals", "block_signals", "unblock_signals"]

_HANGUP = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
_STOPPING = (signal.SIGTERM, signal.SIGINT, *_HANGUP)
_INTERRUPTED = 130
_STDERR = 2


def block_signals() -> None:
    """On the main thread, before any other is made: threads inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


def unblock_signals() -> None:
    """In a child process, which inherits it as well."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


class Signals:
    """`reason` is the first signal that came, None before; until `arm` it ends the process at once."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._is_armed = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="signals", daemon=True)
        self._thread.start()

    def arm(self) -> None:
        """From now on there are orders to look after."""
        self._is_armed.set()

    def _wait(self) -> None:
        while True:
            number = signal.sigwait(_STOPPING)
            if not self._is_armed.is_set():
                _say(b"error: interrupted before anything was traded\n")
                os._exit(_INTERRUPTED)
            self.reason = self.reason or signal.Signals(number).name


def _say(line: bytes) -> None:
    """On stderr, where somebody reads it: without this thread no signal would ever be heard again."""
    with suppress(OSError):
        if select.select([], [_STDERR], [], 0)[1]:
            os.write(_STDERR, line)
