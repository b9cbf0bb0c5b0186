"""A local stand-in for Binance's archive and REST interface: real HTTP, scripted faults, a log of requests.

Every bar and funding rate is a function of its time alone, so the archive's files and the REST answers agree,
and a test can say what a catalog must hold.
"""

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

__all__ = ["ArchiveServer", "Fault", "archive_server", "csv_of", "day_ms", "kline", "zip_of"]

HOUR_MS = 3_600_000
FUNDING_MS = 8 * HOUR_MS
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"


class Fault(NamedTuple):
    """What to do to one request instead of answering it."""

    status: int = 200  # another status is answered without a body
    retry_after: str | None = None
    body: bytes | None = None  # this instead of the file
    cut: int = 0  # send that many bytes of the file, then break off
    stall_secs: float = 0.0  # wait in the middle of the file, then break off
    trickle_secs: float = 0.0  # wait after every few bytes


def day_ms(text: str) -> int:
    """Midnight UTC of a day in milliseconds."""
    return int(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()) * 1000


def kline(open_ms: int, *, length_ms: int = HOUR_MS, micros: bool = False) -> list[Any]:
    """The 12 fields of the bar that opens then; prices lie on a tick of 0.1, volumes on a step of 0.01."""
    tenths = 600_000 + open_ms // length_ms % 977
    opened, high, low, close = (f"{(tenths + d) / 10:.2f}" for d in (0, 9, -8, 3))
    volume = f"{(10_000 + open_ms // length_ms % 613) / 100:.2f}"
    scale, end = (1000, 999_999) if micros else (1, 999)
    close_time = (open_ms + length_ms - 1000) * scale + end
    return [open_ms * scale, opened, high, low, close, volume, close_time, "1.0", 7, "1.0", "1.0", "0"]


def csv_of(start_ms: int, end_ms: int, *, header: bool = True, micros: bool = False) -> str:
    """An archive CSV with the hourly bars of [start, end)."""
    rows = (kline(t, micros=micros) for t in range(start_ms, end_ms, HOUR_MS))
    lines = [KLINE_HEADER] if header else []
    return "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n"


def funding_csv(start_ms: int, end_ms: int) -> str:
    """An archive CSV with the settlements of [start, end), each some milliseconds late as real ones are."""
    rows = [f"{t + 5},8,{funding_rate(t)}" for t in range(start_ms, end_ms, FUNDING_MS)]
    return "\n".join([FUNDING_HEADER, *rows]) + "\n"


def funding_rate(settled_ms: int) -> str:
    return f"{(100 + settled_ms // FUNDING_MS % 37) / 1e6:.8f}"


def zip_of(name: str, text: str) -> bytes:
    """A zip with one CSV, as the archive has it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name.replace(".zip", ".csv"), (2024, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


class ArchiveServer(ThreadingHTTPServer):
    """Serves `files`; `faults[path]` are used up one a request, the last one for ever if in `lasting`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.lasting: set[str] = set()
        self.requests: list[str] = []
        self.rest_symbols: set[str] = {"BTCUSDT"}
        self.exchange_info: dict[str, Any] | None = None
        self.clock_offset_secs = 0.0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path: str, text: str, *, checksum: str | None = None) -> str:
        """Add an archive file with its CHECKSUM (a wrong one on request); returns the path."""
        name = path.rpartition("/")[2]
        content = zip_of(name, text)
        return self.put_bytes(path, content, checksum=checksum)

    def put_bytes(self, path: str, content: bytes, *, checksum: str | None = None) -> str:
        name = path.rpartition("/")[2]
        self.files[path] = content
        digest = checksum or hashlib.sha256(content).hexdigest()
        self.files[f"{path}.CHECKSUM"] = f"{digest}  {name}\n".encode()
        return path

    def put_month(
        self, month: str, *, market: str = "futures/um", checksum: str | None = None, **how: bool
    ) -> str:
        """The hourly klines of a month such as 2024-01."""
        year, number = map(int, month.split("-"))
        following = f"{year + number // 12}-{number % 12 + 1:02}-01"
        text = csv_of(day_ms(f"{month}-01"), day_ms(following), **how)
        return self.put(
            f"/data/{market}/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-{month}.zip", text, checksum=checksum
        )

    def put_day(self, day: str, *, market: str = "futures/um", **how: bool) -> str:
        """The hourly klines of a day such as 2024-01-31."""
        start = day_ms(day)
        text = csv_of(start, start + 24 * HOUR_MS, **how)
        return self.put(f"/data/{market}/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{day}.zip", text)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    def fault_for(self, path: str) -> Fault | None:
        waiting = self.faults.get(path)
        if not waiting:
            return None
        return waiting[0] if path in self.lasting and len(waiting) == 1 else waiting.pop(0)

    def asked(self, part: str) -> list[str]:
        """The requests whose path has `part`, in order."""
        return [path for path in self.requests if part in path]


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        self.server.requests.append(self.path)
        fault = self.server.fault_for(split.path)
        if fault is not None and fault.status != 200:
            self._send(fault.status, b"", fault.retry_after)
            return
        status, body = self._body(split.path, {k: v[0] for k, v in parse_qs(split.query).items()})
        if fault is None:
            self._send(status, body)
        elif fault.body is not None:
            self._send(status, fault.body)
        else:
            self._break(body, fault)

    def _body(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if path in self.server.files:
            return 200, self.server.files[path]
        if path.endswith("/exchangeInfo"):
            info = self.server.exchange_info
            return (404, b"") if info is None else (200, json.dumps(info).encode())
        if path in {"/fapi/v1/klines", "/api/v3/klines", "/fapi/v1/markPriceKlines", "/fapi/v1/fundingRate"}:
            return self._rest(path, query)
        return 404, b""

    def _rest(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        if query["symbol"] not in self.server.rest_symbols:
            return 400, b'{"code":-1121,"msg":"Invalid symbol."}'
        most = {"/fapi/v1/klines": 1500, "/fapi/v1/markPriceKlines": 1500}.get(path, 1000)
        limit = int(query["limit"])
        if limit > most:
            return 400, b'{"code":-1130,"msg":"Data sent for parameter \'limit\' is not valid."}'
        step = FUNDING_MS if path.endswith("fundingRate") else HOUR_MS
        now = int((time.time() + self.server.clock_offset_secs) * 1000)
        first = -(-int(query["startTime"]) // step) * step
        last = min(int(query["endTime"]), now)
        times = range(first, last + 1, step)[:limit]
        if step == FUNDING_MS:
            fixed = {"symbol": query["symbol"], "markPrice": ""}
            rows: list[Any] = [fixed | {"fundingTime": t + 2, "fundingRate": funding_rate(t)} for t in times]
        else:
            rows = [kline(t) for t in times]
        return 200, json.dumps(rows).encode()

    def _break(self, body: bytes, fault: Fault) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault.trickle_secs:
            for at in range(0, len(body), 50):
                self.wfile.write(body[at : at + 50])
                self.server.closing.wait(fault.trickle_secs)
            return
        self.wfile.write(body[: fault.cut or len(body) // 2])
        if fault.stall_secs:
            self.server.closing.wait(fault.stall_secs)
        self.close_connection = True

    def _send(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        moment = (time.time() if timestamp is None else timestamp) + self.server.clock_offset_secs
        return super().date_time_string(moment)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def archive_server() -> Iterator[ArchiveServer]:
    """A running server; ended, with every connection, when the block ends."""
    with ArchiveServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
