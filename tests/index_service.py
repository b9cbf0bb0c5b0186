"""A loopback service of the Fear & Greed index that answers as it is told to, for tests."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.hand_market import MINUTE

__all__ = [
    "DAY",
    "HOUR",
    "PATIENCE_SECS",
    "TODAY",
    "Service",
    "Turn",
    "document",
    "dribble",
    "entry",
    "good",
    "hang_up",
    "reply",
    "service",
    "silent",
]

HOUR = 60 * MINUTE
DAY = 24 * HOUR
TODAY = time.time_ns() // DAY * DAY
PATIENCE_SECS = 20.0

type Turn = Callable[[Any], None]


@dataclass
class Service:
    """A loopback HTTP server; each request takes the next of `script`, the last one again and again."""

    script: list[Turn]
    asked: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)


class Asked(BaseHTTPRequestHandler):
    """A request in the hands of a script; it may wait until the service is `released`."""

    said: Service


@contextmanager
def service(*script: Turn) -> Iterator[Service]:
    said = Service(list(script))

    class Handler(Asked):
        def do_GET(self) -> None:
            turn = said.script[min(said.asked, len(said.script) - 1)]
            said.asked += 1
            try:
                turn(self)
            except OSError:  # the other side has hung up
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Silence."""

    Handler.said = said
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    said.url = f"http://127.0.0.1:{server.server_port}/fng/"
    try:
        yield said
    finally:
        said.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def reply(
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Turn:
    def turn(handler: Asked) -> None:
        handler.send_response(status)
        fields = {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return turn


def entry(value: object, day: int = TODAY) -> dict[str, object]:
    return {
        "value": value,
        "value_classification": "Fear",
        "timestamp": str(day // 10**9),
        "time_until_update": "68499",
    }


def document(*entries: Mapping[str, object], error: object = None) -> bytes:
    content = {"name": "Fear and Greed Index", "data": list(entries), "metadata": {"error": error}}
    return json.dumps(content).encode()


def good(value: int, day: int = TODAY) -> Turn:
    return reply(document(entry(str(value), day)))


def hang_up(handler: Asked) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def dribble(handler: Asked) -> None:
    """A byte every few milliseconds: no single read is slow, the whole never ends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    for _ in range(2_000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        if handler.said.released.wait(0.01):
            return


def silent(handler: Asked) -> None:
    """No answer while anybody waits for it."""
    handler.said.released.wait(PATIENCE_SECS)
