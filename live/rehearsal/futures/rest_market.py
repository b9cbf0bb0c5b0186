"""The market data endpoints."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from live.rehearsal.errors import VenueError
from live.rehearsal.futures.desk import FuturesDesk
from live.rehearsal.futures.wire_market import (
    book_ticker_row,
    depth_row,
    exchange_info,
    funding_row,
    premium_row,
    trade_row,
)
from live.rehearsal.record import SymbolRecord
from live.rehearsal.serving.desk import Endpoint, Json, Security
from live.rehearsal.serving.market_data import (
    asked_aggregates,
    asked_klines,
    asked_trades,
    by_symbol,
    one_or_all,
    ping,
    server_time,
    with_days,
)
from live.rehearsal.serving.shapes import agg_trade_row, kline_row, ticker_row
from live.rehearsal.serving.wire import Params, price_text, quantity_text
from live.rehearsal.specs import SymbolSpec

__all__ = ["ENDPOINTS", "book_tickers", "depth", "depth_weight", "price_tickers"]

_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_HOUR_MS = 3_600_000
_EIGHT_HOURS_MS = 8 * _HOUR_MS


def info(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET exchangeInfo."""
    del account, params
    return exchange_info(desk.venue.specs.values(), desk.limiter.limits, desk.clock.request_ms())


def klines(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET klines."""
    del account
    spec, chosen = asked_klines(desk, params, most=1500)
    return [kline_row(kline, spec) for kline in chosen]


def depth(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET depth."""
    del account
    spec = desk.asked_spec(params)
    limit = params.integer("limit", default=500) or 500
    if limit not in _DEPTHS:
        raise VenueError(-4021, f"'{limit}' is not valid depth limit")
    market = desk.venue.market(spec.symbol)
    version = desk.record[spec.symbol].version
    return depth_row(spec, market, market.bids[:limit], market.asks[:limit], version)


def trades(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET trades and historicalTrades."""
    del account
    spec, chosen = asked_trades(desk, params)
    return [trade_row(trade, spec) for trade in chosen]


def agg_trades(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET aggTrades."""
    del account
    spec, chosen = asked_aggregates(desk, params, longest_ms=_HOUR_MS)
    return [agg_trade_row(trade, spec) for trade in chosen]


def price_tickers(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET ticker/price: one object for a symbol, else a list; symbols without a price are left out."""
    del account
    rows = []
    for spec in desk.asked_symbols(params):
        market = desk.venue.market(spec.symbol)
        if market.contract is not None:
            price = price_text(spec, market.contract)
            rows.append({"symbol": spec.symbol, "price": price, "time": market.updated_ms})
    return one_or_all(rows, params)


def book_tickers(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET ticker/bookTicker."""
    del account
    rows = [
        book_ticker_row(spec, desk.venue.market(spec.symbol), desk.record[spec.symbol].version)
        for spec in desk.asked_symbols(params)
    ]
    return one_or_all(rows, params)


def day_tickers(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET ticker/24hr."""
    del account
    rows = [ticker_row(*each) for each in with_days(desk, desk.asked_symbols(params))]
    return one_or_all(rows, params)


def premium_index(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET premiumIndex."""
    del account
    rows = [_premium(desk, spec, desk.record[spec.symbol]) for spec in desk.asked_symbols(params)]
    return one_or_all(rows, params)


def funding_rates(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET fundingRate: settled fundings, by time from the oldest, else the newest."""
    del account
    window = params.window(default=100)
    known = [record for spec in desk.asked_symbols(params) for record in desk.record[spec.symbol].fundings]
    known.sort(key=lambda record: record.ts_ms)
    return [funding_row(record) for record in window.of(known, lambda record: record.ts_ms)]


def funding_info(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET fundingInfo: only symbols with adjusted caps are listed, and there are none here."""
    del desk, account, params
    return []


def open_interest(desk: FuturesDesk, account: str, params: Params) -> Json:
    """GET openInterest: what the market's source told last, zero when it tells nothing."""
    del account
    spec = desk.asked_spec(params)
    return {
        "openInterest": quantity_text(spec, desk.record[spec.symbol].open_interest),
        "symbol": spec.symbol,
        "time": desk.venue.now_ms,
    }


def _premium(desk: FuturesDesk, spec: SymbolSpec, record: SymbolRecord) -> Any:
    market = desk.venue.market(spec.symbol)
    now_ms = desk.venue.now_ms
    rate = record.fundings[-1].rate if record.fundings else Decimal(0)
    following = now_ms // _EIGHT_HOURS_MS * _EIGHT_HOURS_MS + _EIGHT_HOURS_MS
    if market.marked is not None:
        rate = market.marked.funding_rate or rate
        following = market.marked.next_funding_ms or following
    return premium_row(spec.symbol, market, rate, following, now_ms)


def klines_weight(params: Mapping[str, str]) -> int:
    """Klines: 1, 2, 5 or 10 by the limit asked for.

    >>> [klines_weight({"limit": n}) for n in ("99", "100", "500", "1000", "1500")]
    [1, 2, 5, 5, 10]
    """
    limit = _number(params.get("limit"), 500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def depth_weight(params: Mapping[str, str]) -> int:
    """Depth: 2 to 20 by the limit asked for.

    >>> [depth_weight({"limit": n}) for n in ("5", "50", "100", "500", "1000")]
    [2, 2, 5, 10, 20]
    """
    limit = _number(params.get("limit"), 500)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() else default


_OPEN, _KEY = Security.NONE, Security.KEY
ENDPOINTS = (
    Endpoint("GET", "/fapi/v1/ping", _OPEN, ping),
    Endpoint("GET", "/fapi/v1/time", _OPEN, server_time),
    Endpoint("GET", "/fapi/v1/exchangeInfo", _OPEN, info),
    Endpoint("GET", "/fapi/v1/klines", _OPEN, klines, klines_weight),
    Endpoint("GET", "/fapi/v1/depth", _OPEN, depth, depth_weight),
    Endpoint("GET", "/fapi/v1/trades", _OPEN, trades, 5),
    Endpoint("GET", "/fapi/v1/historicalTrades", _KEY, trades, 20),
    Endpoint("GET", "/fapi/v1/aggTrades", _OPEN, agg_trades, 20),
    Endpoint("GET", "/fapi/v1/ticker/price", _OPEN, price_tickers, by_symbol(1, 2)),
    Endpoint("GET", "/fapi/v2/ticker/price", _OPEN, price_tickers, by_symbol(1, 2)),
    Endpoint("GET", "/fapi/v1/ticker/bookTicker", _OPEN, book_tickers, by_symbol(2, 5)),
    Endpoint("GET", "/fapi/v1/ticker/24hr", _OPEN, day_tickers, by_symbol(1, 40)),
    Endpoint("GET", "/fapi/v1/premiumIndex", _OPEN, premium_index, by_symbol(1, 10)),
    Endpoint("GET", "/fapi/v1/fundingRate", _OPEN, funding_rates),
    Endpoint("GET", "/fapi/v1/fundingInfo", _OPEN, funding_info),
    Endpoint("GET", "/fapi/v1/openInterest", _OPEN, open_interest),
)
