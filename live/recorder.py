"""The audit stream on disk: one JSON line a record, a file a day, written by a thread of its own.

A killed node loses what was not yet written, less than half a second; a line that a kill has cut off ends
with the next start, so every other line of a file stays readable.
"""

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import msgspec
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Bar, BarType

from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, AuditRecord, Forecast, forecast_topic

__all__ = ["AuditFile", "Recorder"]

_LOOK_SECS = 0.1
_SYNC_SECS = 0.5
_END_SECS = 5.0


class AuditFile:
    """Lines in `folder`/audit-YYYYMMDD.jsonl; `put` may be called from any thread and never waits.

    Each line has `session` (when the writer was made), `seq` (counted from 0 in it), `wall` (ns UTC when it
    was handed over) and what `put` was given. `error` is what the disk refused with, None while all is well.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.error: OSError | None = None
        self._folder = folder
        self._session = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
        self._lines: SimpleQueue[tuple[int, dict[str, Any]]] = SimpleQueue()
        self._ended = threading.Event()
        self._seq = 0
        self._file: BinaryIO | None = None
        self._day = ""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def put(self, values: dict[str, Any]) -> None:
        """Hand over a line's values: plain ones that nobody changes afterwards."""
        self._lines.put((time.time_ns(), values))

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._ended.set()
        self._thread.join(_END_SECS)

    def _run(self) -> None:
        synced = time.monotonic()
        while True:
            is_last = self._ended.is_set()
            try:
                wrote = self._drain()
                if self._file is not None and wrote:
                    self._file.flush()
                    if time.monotonic() - synced > _SYNC_SECS or is_last:
                        os.fsync(self._file.fileno())
                        synced = time.monotonic()
            except OSError as error:
                self.error = error
                return
            if is_last:
                break
            self._ended.wait(_LOOK_SECS)
        if self._file is not None:
            self._file.close()

    def _drain(self) -> bool:
        wrote = False
        while True:
            try:
                wall, values = self._lines.get_nowait()
            except Empty:
                return wrote
            line = {"session": self._session, "seq": self._seq, "wall": wall, **values}
            self._seq += 1
            self._of_day(wall).write(msgspec.json.encode(line, enc_hook=str) + b"\n")
            wrote = True

    def _of_day(self, wall: int) -> BinaryIO:
        day = f"{datetime.fromtimestamp(wall / 1e9, UTC):%Y%m%d}"
        if self._file is None or day != self._day:
            if self._file is not None:
                self._file.close()
            self._day = day
            self._file = _appended(self._folder / f"audit-{day}.jsonl")
        return self._file


def _appended(path: Path) -> BinaryIO:
    """The file, at the beginning of a new line."""
    file = path.open("ab+")
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


@fail_loud
class Recorder(DataActor):
    """Writes down what is decided (the audit topic) and what it was decided on (bars and forecasts)."""

    component_name = "recorder"

    def __new__(cls, *_: object, **__: object) -> "Recorder":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("RECORDER-001")))  # type: ignore[call-arg]

    def __init__(self, file: AuditFile, bar_types: tuple[BarType, ...]) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("RECORDER-001")))
        self.failure: BaseException | None = None
        self._file = file
        self._bar_types = bar_types

    def on_start(self) -> None:
        """Listen."""
        self.subscribe_topic(AUDIT_TOPIC, self._on_audit)
        for kind in self._bar_types:
            self.subscribe_bars(kind)
            self.subscribe_topic(forecast_topic(str(kind.instrument_id)), self._on_forecast)

    def on_bar(self, bar: Bar) -> None:
        """A bar as it came."""
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        detail = dict(zip(("open", "high", "low", "close", "volume"), map(str, values), strict=True))
        self._put(bar.ts_event, "market", str(bar.bar_type.instrument_id), "bar", detail)

    @guarded
    def _on_audit(self, message: object) -> None:
        if not isinstance(message, AuditRecord):
            raise TypeError(f"the audit topic carries AuditRecord only, got {type(message).__name__}")
        self._put(message.ts_event, message.component, message.instrument, message.kind, message.detail)

    @guarded
    def _on_forecast(self, message: object) -> None:
        if isinstance(message, Forecast):
            detail = {"model": message.model, "probability": message.probability}
            self._put(message.ts_event, "forecaster", message.instrument, "forecast", detail)

    def _put(self, ts_event: int, component: str, instrument: str, kind: str, detail: dict[str, Any]) -> None:
        if self._file.error is not None:
            raise self._file.error
        self._file.put(
            {"ts": ts_event, "component": component, "instrument": instrument, "kind": kind, "detail": detail}
        )
