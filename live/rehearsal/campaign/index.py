"""The service of a sentiment index in a scenario: forty days, and the newest day's value, due at its time."""

import asyncio
import json
import time
from contextlib import suppress
from random import Random
from typing import Any

from live.rehearsal.campaign.evidence import Told
from live.rehearsal.campaign.scenario import Mood

__all__ = ["IndexService", "sentiment_of"]

_MINUTE_MS = 60_000
_DAY_SECS = 86_400
_DAYS = 40
_POLL_SECS = 1


class IndexService:
    """Answers as alternative.me's `/fng/` does, or with 500, half a document, or not at all.

    `due_ms` is when the value `after` counts, in the market's time, which was `begin_ms` at the beginning.
    `told` has every answer.
    """

    def __init__(self, mood: Mood, begin_ms: int, seed: int) -> None:
        self.url = ""
        self.told: list[Told] = []
        self._mood = mood
        self._random = Random(f"index {seed}")
        self._day = begin_ms // 1_000 // _DAY_SECS * _DAY_SECS
        self.delay_minutes = (begin_ms - self._day * 1_000) // _MINUTE_MS + mood.due_minutes
        self.due_ms = self._day * 1_000 + self.delay_minutes * _MINUTE_MS
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/fng/"

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, asked: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await asked.readuntil(b"\r\n\r\n")
            fails = self._random.random() < self._mood.failing
            kind = self._random.choice(("error", "half", "silent"))
            self.told.append(Told(time.time_ns(), not fails))
            body = self._document()
            if not fails or kind == "half":
                answer.write(_head(200, len(body)) + (body[: len(body) // 2] if fails else body))
            elif kind == "error":
                answer.write(_head(500, 0))
            await answer.drain()
        answer.close()

    def _document(self) -> bytes:
        values = [self._mood.after] + [self._mood.before] * (_DAYS - 1)
        data = [
            {"value": str(value), "timestamp": str(self._day - age * _DAY_SECS)}
            for age, value in enumerate(values)
        ]
        return json.dumps({"data": data, "metadata": {"error": None}}).encode()


def sentiment_of(service: IndexService) -> dict[str, Any]:
    """The group of a run file that follows a service."""
    return {
        "url": service.url,
        "publication_delay_minutes": service.delay_minutes,
        "poll_secs": _POLL_SECS,
        "timeout_secs": 1,
    }


def _head(status: int, length: int) -> bytes:
    kind = "Content-Type: application/json\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status} X\r\n{kind}Content-Length: {length}\r\n\r\n".encode()
