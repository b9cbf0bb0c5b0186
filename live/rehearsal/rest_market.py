"""The market data endpoints."""

from decimal import Decimal
from typing import Any

from live.rehearsal.book import Kline
from live.rehearsal.desk import Desk, Endpoint, Json, Security
from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.limits import depth_weight, klines_weight
from live.rehearsal.record import INTERVALS_MS, SymbolRecord
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.wire import Params, newest, price_text, quantity_text
from live.rehearsal.wire_market import (
    agg_trade_row,
    book_ticker_row,
    depth_row,
    exchange_info,
    funding_row,
    kline_row,
    premium_row,
    ticker_row,
    trade_row,
)

__all__ = ["ENDPOINTS", "book_tickers", "depth", "ping", "price_tickers", "server_time"]

_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_DAY_OF_MINUTES = 1_440
_HOUR_MS = 3_600_000
_EIGHT_HOURS_MS = 8 * _HOUR_MS


def ping(desk: Desk, account: str, params: Params) -> Json:
    """GET ping."""
    del desk, account, params
    return {}


def server_time(desk: Desk, account: str, params: Params) -> Json:
    """GET time."""
    del account, params
    return {"serverTime": desk.clock.request_ms()}


def info(desk: Desk, account: str, params: Params) -> Json:
    """GET exchangeInfo."""
    del account, params
    return exchange_info(desk.venue.specs.values(), desk.limiter.limits, desk.clock.request_ms())


def klines(desk: Desk, account: str, params: Params) -> Json:
    """GET klines: from `startTime` on, else the newest, the last one perhaps under way."""
    del account
    spec, interval = desk.asked_spec(params), params.need("interval")
    if interval not in INTERVALS_MS:
        raise refuse(-1120)
    limit = params.limit(500, 1500)
    start, end = params.span()
    chosen = [
        kline
        for kline in desk.record.klines(spec.symbol, interval)
        if (start is None or kline.open_ms >= start) and (end is None or kline.open_ms <= end)
    ]
    return [kline_row(k, spec) for k in (chosen[:limit] if start is not None else newest(chosen, limit))]


def depth(desk: Desk, account: str, params: Params) -> Json:
    """GET depth."""
    del account
    spec = desk.asked_spec(params)
    limit = params.integer("limit", default=500) or 500
    if limit not in _DEPTHS:
        raise VenueError(-4021, f"'{limit}' is not valid depth limit")
    market = desk.venue.market(spec.symbol)
    version = desk.record[spec.symbol].version
    return depth_row(spec, market, market.bids[:limit], market.asks[:limit], version)


def trades(desk: Desk, account: str, params: Params) -> Json:
    """GET trades, and historicalTrades from an id on."""
    del account
    spec, limit = desk.asked_spec(params), params.limit(500, 1000)
    first = params.integer("fromId")
    chosen = [t for t in desk.record[spec.symbol].trades if first is None or t.trade_id >= first]
    return [trade_row(t, spec) for t in (newest(chosen, limit) if first is None else chosen[:limit])]


def agg_trades(desk: Desk, account: str, params: Params) -> Json:
    """GET aggTrades: from an id or a time on, else the newest."""
    del account
    spec, limit = desk.asked_spec(params), params.limit(500, 1000)
    first = params.integer("fromId")
    start, end = params.span(longest_ms=_HOUR_MS)
    chosen = [
        trade
        for trade in desk.record[spec.symbol].trades
        if (first is None or trade.trade_id >= first)
        and (start is None or trade.ts_ms >= start)
        and (end is None or trade.ts_ms <= end)
    ]
    ordered = chosen[:limit] if first is not None or start is not None else newest(chosen, limit)
    return [agg_trade_row(trade, spec) for trade in ordered]


def price_tickers(desk: Desk, account: str, params: Params) -> Json:
    """GET ticker/price: one object for a symbol, else a list; symbols without a price are left out."""
    del account
    rows = []
    for spec in desk.asked_symbols(params):
        market = desk.venue.market(spec.symbol)
        if market.contract is not None:
            price = price_text(spec, market.contract)
            rows.append({"symbol": spec.symbol, "price": price, "time": market.updated_ms})
    return _one_or_all(rows, params)


def book_tickers(desk: Desk, account: str, params: Params) -> Json:
    """GET ticker/bookTicker."""
    del account
    rows = [
        book_ticker_row(spec, desk.venue.market(spec.symbol), desk.record[spec.symbol].version)
        for spec in desk.asked_symbols(params)
    ]
    return _one_or_all(rows, params)


def day_tickers(desk: Desk, account: str, params: Params) -> Json:
    """GET ticker/24hr, from the last day's one-minute klines; symbols without any are left out."""
    del account
    rows = []
    for spec in desk.asked_symbols(params):
        record = desk.record[spec.symbol]
        day: list[Kline] = list(record.klines)[-_DAY_OF_MINUTES:]
        if day:
            rows.append(ticker_row(spec, day, record.trades[-1] if record.trades else None))
    return _one_or_all(rows, params)


def premium_index(desk: Desk, account: str, params: Params) -> Json:
    """GET premiumIndex."""
    del account
    rows = [_premium(desk, spec, desk.record[spec.symbol]) for spec in desk.asked_symbols(params)]
    return _one_or_all(rows, params)


def funding_rates(desk: Desk, account: str, params: Params) -> Json:
    """GET fundingRate: settled fundings, by time from the oldest, else the newest."""
    del account
    limit = params.limit(100, 1000)
    start, end = params.span()
    chosen = [
        record
        for spec in desk.asked_symbols(params)
        for record in desk.record[spec.symbol].fundings
        if (start is None or record.ts_ms >= start) and (end is None or record.ts_ms <= end)
    ]
    chosen.sort(key=lambda record: record.ts_ms)
    kept = chosen[:limit] if start is not None else newest(chosen, limit)
    return [funding_row(record) for record in kept]


def funding_info(desk: Desk, account: str, params: Params) -> Json:
    """GET fundingInfo: only symbols with adjusted caps are listed, and there are none here."""
    del desk, account, params
    return []


def open_interest(desk: Desk, account: str, params: Params) -> Json:
    """GET openInterest: what the market's source told last, zero when it tells nothing."""
    del account
    spec = desk.asked_spec(params)
    return {
        "openInterest": quantity_text(spec, desk.record[spec.symbol].open_interest),
        "symbol": spec.symbol,
        "time": desk.venue.now_ms,
    }


def _premium(desk: Desk, spec: SymbolSpec, record: SymbolRecord) -> Any:
    market = desk.venue.market(spec.symbol)
    now_ms = desk.venue.now_ms
    rate = record.fundings[-1].rate if record.fundings else Decimal(0)
    following = now_ms // _EIGHT_HOURS_MS * _EIGHT_HOURS_MS + _EIGHT_HOURS_MS
    if market.marked is not None:
        rate = market.marked.funding_rate or rate
        following = market.marked.next_funding_ms or following
    return premium_row(spec.symbol, market, rate, following, now_ms)


def _one_or_all(rows: list[Any], params: Params) -> Json:
    if not params.sent("symbol"):
        return rows
    if not rows:
        raise refuse(-1112)
    return rows[0]


def _by_symbol(one: int, all_symbols: int) -> Any:
    return lambda params: one if params.get("symbol") else all_symbols


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
    Endpoint("GET", "/fapi/v1/ticker/price", _OPEN, price_tickers, _by_symbol(1, 2)),
    Endpoint("GET", "/fapi/v2/ticker/price", _OPEN, price_tickers, _by_symbol(1, 2)),
    Endpoint("GET", "/fapi/v1/ticker/bookTicker", _OPEN, book_tickers, _by_symbol(2, 5)),
    Endpoint("GET", "/fapi/v1/ticker/24hr", _OPEN, day_tickers, _by_symbol(1, 40)),
    Endpoint("GET", "/fapi/v1/premiumIndex", _OPEN, premium_index, _by_symbol(1, 10)),
    Endpoint("GET", "/fapi/v1/fundingRate", _OPEN, funding_rates),
    Endpoint("GET", "/fapi/v1/fundingInfo", _OPEN, funding_info),
    Endpoint("GET", "/fapi/v1/openInterest", _OPEN, open_interest),
)
