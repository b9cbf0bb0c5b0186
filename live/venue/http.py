"""Requests to a venue's REST interface: signed, limited in time and number, repeated where that is safe.

Requests are signed with HMAC-SHA256 or, when the secret is a PEM, Ed25519. Reads are repeated a few times on
failures that pass; what acts is sent once, for only the caller can find out what became of it. Every
request ends within its deadline. The client keeps to the venue's rate limit, which the node on the same
machine shares: reads stop at a share of it, orders may use the rest, and after 418 or 429 with Retry-After
nothing is sent until the time is over. Timestamps follow the venue's clock once it was found to differ.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal
from urllib.parse import urlencode

import httpx
import msgspec
from pydantic import SecretStr

from configs.errors import ConfigError
from live.venue.answers import ClockReading
from live.venue.errors import VenueRequestError
from live.venue.signing import Signer

__all__ = ["ClientLimits", "Method", "Value", "VenueHttp", "decoded"]

_MOST_BYTES = 64 * 2**20
_TIME_PATH = "/fapi/v1/time"
_USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"
_TIMESTAMP_OFF = -1021
_MINUTE_SECS = 60.0
_DEFAULT_WAIT_SECS = 5.0
Method = Literal["GET", "POST", "DELETE"]
Value = str | int | Decimal | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """How long and how often to try; `tries` counts the first, and only reads are repeated.

    `read_weight` is the used weight of the minute (of all on this address) beyond which reads wait.
    """

    connect_secs: float = 2.0
    read_secs: float = 4.0
    request_secs: float = 8.0
    tries: int = 3
    pause_secs: float = 0.2
    longest_pause_secs: float = 2.0
    window_ms: int = 5_000
    read_weight: int = 1_800


class VenueHttp:
    """One account's requests; without `keys` only public ones. `VenueRequestError` for anything but 200."""

    def __init__(
        self,
        base_url: str,
        keys: tuple[SecretStr, SecretStr] | None,
        limits: ClientLimits,
        *,
        sleep: Callable[[float], None],
        wall: Callable[[], float],
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.limits = limits
        self.used_weight = 0
        self.time_path = _TIME_PATH
        self.clock_offset_ms = 0.0
        self._key = None if keys is None else _header(keys[0].get_secret_value())
        self._sign = None if keys is None else Signer(keys[1].get_secret_value())
        self._sleep = sleep
        self._wall = wall
        self._weighed_minute = 0.0
        self._held_until = 0.0
        timeout = httpx.Timeout(limits.read_secs, connect=limits.connect_secs)
        self._http = httpx.Client(timeout=timeout, headers={"User-Agent": "sextant"}, trust_env=False)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    @property
    def has_keys(self) -> bool:
        """Whether it can sign."""
        return self._key is not None

    @property
    def held_secs(self) -> float:
        """How long the venue asked to be left alone; 0 when it may be asked."""
        return max(0.0, self._held_until - time.monotonic())

    def clock(self) -> ClockReading:
        """Compare the clocks by one request."""
        began, before = self._wall(), time.perf_counter_ns()
        answer = self.get(self.time_path, _Time)
        taken_ms = (time.perf_counter_ns() - before) / 1e6
        return ClockReading(answer.server_time - (began * 1e3 + taken_ms / 2), taken_ms)

    def synchronise(self) -> ClockReading:
        """Stamp requests with the venue's time from now on."""
        reading = self.clock()
        self.clock_offset_ms = reading.offset_ms
        return reading

    def raw(self, path: str) -> bytes:
        """The body of a public read as it came."""
        return self._repeat(lambda: self._send("GET", path, ""))

    def get[T](self, path: str, kind: type[T], params: Mapping[str, Value] | None = None) -> T:
        """A public read."""
        query = urlencode(_plain(params or {}))
        return self._repeat(lambda: decoded(self._send("GET", path, query), kind, f"GET {path}"))

    def ask[T](
        self, path: str, kind: type[T], params: Mapping[str, Value] | None = None, *, base: str | None = None
    ) -> T:
        """A signed read; a timestamp that the venue refuses is set right and tried once more."""
        self._need_keys()

        def attempt() -> T:
            return decoded(
                self._send("GET", path, self._signed(params or {}), base=base), kind, f"GET {path}"
            )

        return self._repeat(lambda: self._in_time(attempt))

    def act(self, method: Method, path: str, params: Mapping[str, Value]) -> bytes:
        """A signed request that acts, sent once (a refused timestamp has done nothing: then twice)."""
        self._need_keys()
        return self._in_time(lambda: self._send(method, path, self._signed(params)))

    def _in_time[T](self, attempt: Callable[[], T]) -> T:
        try:
            return attempt()
        except VenueRequestError as error:
            if error.code != _TIMESTAMP_OFF:
                raise
        self.synchronise()
        return attempt()

    def _repeat[T](self, attempt: Callable[[], T]) -> T:
        for count in range(self.limits.tries - 1):
            try:
                return attempt()
            except VenueRequestError as error:
                pause = max(self.limits.pause_secs * 2**count, error.retry_after_secs)
                if error.kind not in {"network", "venue"} or pause > self.limits.longest_pause_secs:
                    raise
                self._sleep(pause)
        return attempt()

    def _need_keys(self) -> None:
        if self._sign is None:
            raise ConfigError(
                "the venue's account cannot be asked without keys: give BINANCE_API_KEY and _SECRET"
            )

    def _signed(self, params: Mapping[str, Value]) -> str:
        assert self._sign is not None
        stamp = round(self._wall() * 1000 + self.clock_offset_ms)
        query = urlencode(
            _plain(params) | {"recvWindow": str(self.limits.window_ms), "timestamp": str(stamp)}
        )
        return f"{query}&{urlencode({'signature': self._sign(query)})}"

    def _send(self, method: Method, path: str, query: str, *, base: str | None = None) -> bytes:
        """One request and its whole body; `VenueRequestError` for anything but 200."""
        what = f"{method} {path}"
        self._hold_back(method, what)
        headers = {} if self._key is None else {"X-MBX-APIKEY": self._key}
        url = f"{base or self.base_url}{path}" + (f"?{query}" if query else "")
        end = time.monotonic() + self.limits.request_secs
        body = bytearray()
        try:
            with self._http.stream(method, url, headers=headers) as response:
                self._note(response)
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > end or len(body) > _MOST_BYTES:
                        raise VenueRequestError(
                            what, f"no end of the answer in {self.limits.request_secs:g} s"
                        )
                status = response.status_code
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise VenueRequestError(what, _reason(error), sent=not _unsent(error)) from error
        if status != httpx.codes.OK:
            raise _refusal(what, response, bytes(body))
        return bytes(body)

    def _hold_back(self, method: Method, what: str) -> None:
        """Keep to what the venue asked for, and leave orders a part of the weight."""
        now = time.monotonic()
        if now < self._held_until:
            wait = self._held_until - now
            reason = f"the venue asked to be left alone, {wait:.0f} s more; not sent"
            raise VenueRequestError(what, reason, http_status=429, retry_after_secs=wait, sent=False)
        minute = self._wall() // _MINUTE_SECS
        if method == "GET" and self.used_weight > self.limits.read_weight and minute == self._weighed_minute:
            wait = _MINUTE_SECS - self._wall() % _MINUTE_SECS
            reason = (
                f"{self.used_weight} of the minute's request weight are used; the rest is kept for orders"
            )
            raise VenueRequestError(what, reason, http_status=429, retry_after_secs=wait, sent=False)

    def _note(self, response: httpx.Response) -> None:
        used = response.headers.get(_USED_WEIGHT, "")
        if used.isdigit():
            self.used_weight, self._weighed_minute = int(used), self._wall() // _MINUTE_SECS
        if response.status_code in {418, 429}:
            self._held_until = time.monotonic() + (_retry_after(response) or _DEFAULT_WAIT_SECS)


def _plain(params: Mapping[str, Value]) -> dict[str, str]:
    return {name: _text(value) for name, value in params.items()}


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def decoded[T](body: bytes, kind: type[T], what: str) -> T:
    """An answer's JSON as a type; `VenueRequestError` when it is another thing."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise VenueRequestError(what, f"answers what is not its JSON ({error})", http_status=502) from error


def _header(key: str) -> str:
    """A key as it may stand in a header: what sends it would tell another one in the error's text."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError("BINANCE_API_KEY: it has a space, a line's end or a letter that no key has")
    return key


class _Time(msgspec.Struct, rename="camel"):
    server_time: int


class _Refusal(msgspec.Struct):
    code: int
    msg: str = ""


def _refusal(what: str, response: httpx.Response, body: bytes) -> VenueRequestError:
    status, wait = response.status_code, _retry_after(response)
    try:
        told = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        reason = f"answered {status} {response.reason_phrase}"
        return VenueRequestError(what, reason, http_status=status, retry_after_secs=wait)
    reason = f"{told.code} {told.msg}"
    return VenueRequestError(what, reason, code=told.code, http_status=status, retry_after_secs=wait)


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isdigit() else 0.0


def _unsent(error: Exception) -> bool:
    """Whether the request cannot have reached the venue."""
    return isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.InvalidURL)


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "the venue cannot be reached (timed out)"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"the venue cannot be reached ({error})"
    return f"the connection broke off ({error})" if str(error) else "the connection broke off"
