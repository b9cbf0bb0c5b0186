"""What a node asks a venue over REST before it trades, and when bars are missing: USD-M futures."""

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np

from catalog.columns import MINUTE_NS, BarColumns, interval_ns
from configs.errors import DataError, RunFailedError
from live.venues import Venue

__all__ = ["FuturesRest", "closed_bars"]

_TIMEOUT_SECS = 5.0
_TRIES = 3
_PAUSE_SECS = 0.5
_KLINES_PAGE = 1500
_MS_NS = 1_000_000


class FuturesRest:
    """A small client; each call is one request with a timeout, GETs are tried again. Use from one thread.

    RunFailedError when the venue cannot be reached or refuses.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._http = httpx.Client(base_url=venue.http, timeout=_TIMEOUT_SECS)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The body of a public GET."""
        return self._ask(path, lambda: urlencode(params)).json()

    def raw(self, path: str) -> bytes:
        """The body of a public GET as it came."""
        return self._ask(path, str).content

    def signed(self, path: str, **params: Any) -> Any:
        """The body of a signed GET."""
        return self._ask(path, lambda: self._sign(params)).json()

    def earned_since(self, symbol: str, since_ns: int) -> float:
        """What the symbol's fills at or after `since_ns` have earned, in quote currency net of fees."""
        fills = self.signed("/fapi/v1/userTrades", symbol=symbol, startTime=since_ns // _MS_NS, limit=1000)
        return sum(float(fill["realizedPnl"]) - float(fill["commission"]) for fill in fills)

    def klines(self, symbol: str, interval: str, count: int) -> BarColumns:
        """The last `count` closed bars, oldest first; fewer where the venue has no more."""
        rows: list[list[Any]] = []
        params: dict[str, Any] = {"symbol": symbol, "interval": interval, "limit": _KLINES_PAGE}
        while len(rows) <= count:
            page = self.get("/fapi/v1/klines", **params)
            rows = page + rows
            if len(page) < _KLINES_PAGE:
                break
            params["endTime"] = page[0][0] - 1
        return closed_bars(rows[:-1], interval).slice(max(0, len(rows) - 1 - count), len(rows) - 1)

    def klines_between(self, symbol: str, interval: str, after_ns: int, until_ns: int) -> BarColumns:
        """The bars that close in (after_ns, until_ns], all of which have closed."""
        length, parts = interval_ns(interval), []
        while after_ns < until_ns:
            rows = self.get(
                "/fapi/v1/klines",
                symbol=symbol,
                interval=interval,
                startTime=after_ns // _MS_NS,
                endTime=(until_ns - length) // _MS_NS,
                limit=_KLINES_PAGE,
            )
            if not rows:
                break
            parts.append(closed_bars(rows, interval))
            after_ns = int(parts[-1].ts_event[-1])
        return BarColumns.join(parts) if parts else closed_bars([], interval)

    def _sign(self, params: dict[str, Any]) -> str:
        query = urlencode({**params, "timestamp": time.time_ns() // _MS_NS, "recvWindow": 5000})
        secret = self._venue.secret.get_secret_value()
        return f"{query}&signature={hmac.new(secret.encode(), query.encode(), hashlib.sha256).hexdigest()}"

    def _ask(self, path: str, query: Callable[[], str]) -> httpx.Response:
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE_SECS * attempt)
            try:
                answer = self._http.get(f"{path}?{query()}", headers={"X-MBX-APIKEY": self._venue.key})
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code == httpx.codes.OK:
                return answer
            problem = f"{answer.status_code}: {answer.text[:200]}"
            if answer.status_code < 500 and answer.status_code != 408:
                break
        raise RunFailedError(f"{self._venue.http}{path} does not answer as it should ({problem})")


def closed_bars(rows: list[list[Any]], interval: str) -> BarColumns:
    """Klines as the venue gives them, as bars stamped at their close (ns UTC)."""
    opens = np.array([row[0] for row in rows], np.int64) * _MS_NS
    columns = [np.array([float(row[i]) for row in rows], np.float64) for i in range(1, 6)]
    if len(opens) and np.any(np.diff(opens) <= 0):
        raise DataError("the venue's klines are not in order")
    if len(opens) and np.any(opens % MINUTE_NS):
        raise DataError("the venue's klines do not begin on whole minutes")
    return BarColumns(opens + interval_ns(interval), *columns)
