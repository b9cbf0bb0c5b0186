"""How the watchdog is heard: lines on stderr, one JSON file that is always whole, and a webhook.

A line when an alarm begins, when it has lasted another `remind_secs`, and when it is over; a line for
everything that was done. The file is the latest look. The webhook gets the same lines as JSON, from a thread
of its own: a slow one keeps nothing waiting, and one that fails is a line on stderr.
"""

import json
import queue
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from configs.console import err_line
from live.watching.looking import Action, Alarm, Look

__all__ = ["Reporter", "status_of"]

_WEBHOOK_SECS = 5.0
_MOST_WAITING = 100


class Reporter:
    """Tells what looks bring, as a context manager. `active` are the alarms of the latest look by key."""

    def __init__(
        self, *, status_file: Path | None = None, webhook: str | None = None, remind_secs: float = 60.0
    ) -> None:
        self.active: dict[str, Alarm] = {}
        self.raised = 0
        self._status_file = status_file
        self._remind_secs = remind_secs
        self._told: dict[str, float] = {}
        self._began: dict[str, float] = {}
        self._hook = None if webhook is None else _Webhook(webhook)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is not None:
            self._hook.close()

    def tell(self, look: Look, unprotected_secs: dict[str, float]) -> None:
        """Tell what is new in a look, and write the file."""
        now = time.monotonic()
        for action in look.actions:
            if not action.problem:
                late = f", {action.after_secs:.2f} s after its cause" if action.after_secs else ""
                self._say("done", f"{action.symbol}: {action.what}{late}")
        present = {alarm.key: alarm for alarm in look.alarms}
        for key, alarm in present.items():
            if key not in self.active:
                self.raised += 1
                self._began[key] = now
            if key not in self.active or now - self._told[key] >= self._remind_secs:
                self._told[key] = now
                self._say("alarm", alarm.text)
        for key in self.active.keys() - present.keys():
            self._say("over", f"{self.active[key].text} (after {now - self._began[key]:.1f} s)")
        self.active = present
        self._write(look, unprotected_secs)

    def _say(self, kind: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        err_line(f"{stamp} watchdog {kind}: {text}")
        if self._hook is not None:
            self._hook.send({"time": stamp, "kind": kind, "text": text})

    def _write(self, look: Look, unprotected_secs: dict[str, float]) -> None:
        if self._status_file is None:
            return
        values = status_of(look, unprotected_secs) | {"raised": self.raised}
        fresh = self._status_file.with_name(self._status_file.name + ".tmp")
        try:
            self._status_file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            fresh.replace(self._status_file)
        except OSError as error:
            err_line(f"watchdog: {self._status_file} cannot be written: {error.strerror}")


def status_of(look: Look, unprotected_secs: dict[str, float]) -> dict[str, Any]:
    """A look as JSON values; decimals are text."""
    return {
        "ts_ns": time.time_ns(),
        "venue_seen": look.covers is not None,
        "node_silent_secs": look.node_silent_secs,
        "positions": [
            {
                "symbol": cover.symbol,
                "side": cover.side,
                "amount": str(cover.amount),
                "covered": str(cover.covered),
                "is_covered": cover.is_whole,
            }
            for cover in look.covers or ()
        ],
        "alarms": [alarm._asdict() for alarm in look.alarms],
        "actions": [_action(action) for action in look.actions],
        "unprotected_secs": unprotected_secs,
    }


def _action(action: Action) -> dict[str, Any]:
    return action._asdict()


class _Webhook:
    """Posts from a thread; what does not fit into the queue is dropped."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, values: dict[str, Any]) -> None:
        """Queue one message."""
        try:
            self._waiting.put_nowait(values)
        except queue.Full:
            err_line("watchdog: the webhook is too slow; a message was dropped")

    def close(self) -> None:
        """Send what waits, for a while."""
        try:
            self._waiting.put(None, timeout=_WEBHOOK_SECS)
        except queue.Full:
            return
        self._thread.join(_WEBHOOK_SECS)

    def _work(self) -> None:
        with httpx.Client(timeout=_WEBHOOK_SECS) as client:
            while (values := self._waiting.get()) is not None:
                try:
                    client.post(self._url, json=values).raise_for_status()
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    err_line(f"watchdog: the webhook failed: {type(error).__name__}")
