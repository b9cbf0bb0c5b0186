"""What the archive does not have yet, from Binance's REST interface, page by page."""

import os
import threading
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec

from catalog.archive import ArchiveSeries, Period
from catalog.columns import interval_ns
from catalog.fetch import Answer, Fetcher, NotThereError, RefusedError
from configs.errors import DataError

__all__ = ["REST_URLS", "RestSource"]

REST_URLS = {"um": "https://fapi.binance.com", "spot": "https://api.binance.com"}
_ROUTES = {
    ("um", "klines"): ("/fapi/v1/klines", 1500),
    ("um", "mark"): ("/fapi/v1/markPriceKlines", 1500),
    ("um", "funding"): ("/fapi/v1/fundingRate", 1000),
    ("spot", "klines"): ("/api/v3/klines", 1000),
}
_EXCHANGE_INFO = {"um": "/fapi/v1/exchangeInfo", "spot": "/api/v3/exchangeInfo"}
_INVALID_SYMBOL = -1121
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MS = timedelta(milliseconds=1)
NS_PER_MS = 1_000_000
_Kline = tuple[int, str, str, str, str, str, int, Any, Any, Any, Any, Any]


class _Funding(msgspec.Struct):
    symbol: str
    fundingTime: int  # noqa: N815 (the venue's name)
    fundingRate: str  # noqa: N815


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


class RestSource:
    """One market's REST interface; requests go out one at a time, with a pause between them."""

    def __init__(self, fetcher: Fetcher, market: str, url: str) -> None:
        self.url = url
        self.fetcher = fetcher
        self._market = market
        self._one_at_a_time = threading.Lock()

    def save(self, series: ArchiveSeries, period: Period, path: Path) -> bool:
        """Save a period's rows as one JSON list at `path`; False, and no file, when the venue has none.

        Only bars closed by the server's own clock are kept. DataError for a symbol the venue does not know.
        """
        rows = self._rows(series, period)
        if not rows:
            return False
        _write(path, msgspec.json.encode(rows))
        return True

    def save_exchange_info(self, path: Path) -> None:
        """Save the market's exchangeInfo; one retry only, since there is a shipped table to fall back on."""
        url = self.url + _EXCHANGE_INFO[self._market]
        answer = self._get(url, {}, tries=2)
        _decode(answer, dict[str, Any], url)
        _write(path, answer.body)

    def _rows(self, series: ArchiveSeries, period: Period) -> list[Any]:
        start, end = _milliseconds(period)
        route, limit = _ROUTES[series.market, series.kind]
        params: dict[str, str | int] = {"symbol": series.symbol, "limit": limit}
        if series.kind != "funding":
            params["interval"] = series.interval
        rows: list[Any] = []
        while start < end:
            url = self.url + route
            answer = self._get(url, params | {"startTime": start, "endTime": end - 1})
            page, size, last = _page(answer, series, url)
            if size and last < start:
                raise RefusedError(f"{url} answers with rows before the time asked for")
            rows += page
            if size < limit:
                break
            start = last + 1
        return rows

    def _get(self, url: str, params: dict[str, str | int], tries: int | None = None) -> Answer:
        with self._one_at_a_time:
            self.fetcher.wait(self.fetcher.limits.rest_pause_secs)
            try:
                return self.fetcher.get(url, params, tries=tries)
            except NotThereError as error:
                raise RefusedError(f"{url} is not there (404); is --rest-url right?") from error


def _page(answer: Answer, series: ArchiveSeries, url: str) -> tuple[list[Any], int, int]:
    """The rows to keep, how many came, and the time (ms) of the last that came."""
    if series.kind == "funding":
        rates = _decode(answer, list[_Funding], url)
        return rates, len(rates), rates[-1].fundingTime if rates else 0
    rows = _decode(answer, list[_Kline], url)
    length = interval_ns(series.interval)
    closed = [row for row in rows if row[0] * NS_PER_MS + length <= answer.served_ns]
    return closed, len(rows), rows[-1][0] if rows else 0


def _decode[T](answer: Answer, kind: type[T], url: str) -> T:
    try:
        if answer.status == httpx.codes.OK:
            return msgspec.json.decode(answer.body, type=kind)
        error = msgspec.json.decode(answer.body, type=_Error)
    except msgspec.DecodeError as problem:
        what = f"answered with something that is not its JSON ({problem})"
        if answer.status != httpx.codes.OK:
            what = f"refused the request: {answer.status}"
        raise RefusedError(f"{url} {what}") from problem
    if error.code == _INVALID_SYMBOL:
        raise DataError(f"{url} does not know the symbol: {error.msg}")
    raise RefusedError(f"{url} refused the request: {answer.status}, {error.code} {error.msg}")


def _milliseconds(period: Period) -> tuple[int, int]:
    """Half-open bounds in milliseconds."""
    first = datetime.combine(period.first, time.min, UTC)
    last = datetime.combine(period.last, time.min, UTC) + timedelta(days=1)
    return (first - _EPOCH) // _ONE_MS, (last - _EPOCH) // _ONE_MS


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
