"""The spot market data endpoints, for REST and the WebSocket API.

Source: Binance's spot rest-api.md, its weights too.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from live.rehearsal.book import Kline, Trade
from live.rehearsal.desk import Desk, Endpoint, Json, Security
from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.record import INTERVALS_MS
from live.rehearsal.rest_market import ping, server_time
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.state import AVERAGE_MINUTES
from live.rehearsal.spot.venue import SpotVenue
from live.rehearsal.spot.wire_market import (
    agg_trade_json,
    best_row,
    book_row,
    candle_row,
    day_row,
    spot_exchange_info,
    trade_record,
)
from live.rehearsal.wire import Params, money, newest

__all__ = ["MARKET_ENDPOINTS", "SpotDesk", "depth_weight", "info_weight", "tickers_weight"]

SpotDesk = Desk[SpotVenue]
_DAY_OF_MINUTES = 1_440
_HOUR_MS = 3_600_000
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50))


def info(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET exchangeInfo: all symbols, `symbol` or `symbols`."""
    del account
    params.ignore("permissions", "showPermissionSets", "symbolStatus")
    return spot_exchange_info(_asked(desk, params), desk.limiter.limits, desk.clock.request_ms())


def klines(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET klines: from `startTime` on, else the newest, the last one perhaps under way."""
    del account
    params.ignore("timeZone")
    spec, interval = desk.asked_spec(params), params.need("interval")
    if interval not in INTERVALS_MS:
        raise refuse(-1120)
    limit = params.limit(500, 1000)
    start, end = params.span()
    chosen = [
        kline
        for kline in desk.record.klines(spec.symbol, interval)
        if (start is None or kline.open_ms >= start) and (end is None or kline.open_ms <= end)
    ]
    return [candle_row(kline) for kline in (chosen[:limit] if start is not None else newest(chosen, limit))]


def depth(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET depth."""
    del account
    params.ignore("symbolStatus")
    spec, limit = desk.asked_spec(params), params.limit(100, 5000)
    market = desk.venue.market(spec.symbol)
    return book_row(spec, market.bids[:limit], market.asks[:limit], desk.record[spec.symbol].version)


def trades(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET trades, and historicalTrades from an id on."""
    del account
    spec, limit = desk.asked_spec(params), params.limit(500, 1000)
    first = params.integer("fromId")
    chosen = [t for t in desk.record[spec.symbol].trades if first is None or t.trade_id >= first]
    return [trade_record(t) for t in (newest(chosen, limit) if first is None else chosen[:limit])]


def agg_trades(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET aggTrades: from an id or a time on, else the newest."""
    del account
    spec, limit = desk.asked_spec(params), params.limit(500, 1000)
    first = params.integer("fromId")
    start, end = params.span()

    def fits(trade: Trade) -> bool:
        return (
            (first is None or trade.trade_id >= first)
            and (start is None or trade.ts_ms >= start)
            and (end is None or trade.ts_ms <= end)
        )

    chosen = [trade for trade in desk.record[spec.symbol].trades if fits(trade)]
    ordered = chosen[:limit] if first is not None or start is not None else newest(chosen, limit)
    return [agg_trade_json(trade, spec) for trade in ordered]


def average_price(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET avgPrice."""
    del account
    spec = desk.asked_spec(params)
    price, closed_ms = desk.venue.average(spec.symbol)
    if price is None:
        raise refuse(-1112)
    return {"mins": AVERAGE_MINUTES, "price": money(price), "closeTime": closed_ms}


def price_tickers(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET ticker/price; symbols without a price are left out."""
    del account
    params.ignore("symbolStatus")
    rows = []
    for spec in _asked(desk, params):
        price = desk.venue.market(spec.symbol).contract
        if price is not None:
            rows.append({"symbol": spec.symbol, "price": money(price)})
    return _one_or_all(rows, params)


def book_tickers(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET ticker/bookTicker."""
    del account
    params.ignore("symbolStatus")
    return _one_or_all([best_row(desk.venue.market(s.symbol)) for s in _asked(desk, params)], params)


def day_tickers(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET ticker/24hr, from the last day's one-minute klines; symbols without any are left out."""
    del account
    params.ignore("symbolStatus")
    kind = params.choice("type", ("FULL", "MINI"), VenueError(-1139, "Invalid ticker type."))
    rows = []
    for spec in _asked(desk, params):
        record = desk.record[spec.symbol]
        day: list[Kline] = list(record.klines)[-_DAY_OF_MINUTES:]
        if day:
            last = record.trades[-1] if record.trades else None
            row = day_row(spec, desk.venue.market(spec.symbol), day, last)
            rows.append(_mini(row) if kind == "MINI" else row)
    return _one_or_all(rows, params)


def _mini(row: dict[str, Any]) -> dict[str, Any]:
    names = ("symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume")
    return {n: row[n] for n in (*names, "openTime", "closeTime", "firstId", "lastId", "count")}


def _asked(desk: SpotDesk, params: Params) -> list[SymbolSpec]:
    """The rules of `symbol`, of the `symbols`, or of all."""
    several = params.text("symbols")
    if several is None:
        return desk.asked_symbols(params)
    if params.sent("symbol"):
        raise refuse(-1128)
    try:
        names = json.loads(several)
    except ValueError as error:
        raise refuse(-1100, "symbols", '^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$') from error
    if not isinstance(names, list) or not names:
        raise refuse(-1102, "symbols")
    return [desk.spec(str(name)) for name in names]


def _one_or_all(rows: list[Any], params: Params) -> Json:
    if not params.sent("symbol"):
        return rows
    if not rows:
        raise refuse(-1112)
    return rows[0]


def depth_weight(params: Mapping[str, str]) -> int:
    """5 to 250 by the limit asked for.

    >>> [depth_weight({"limit": n}) for n in ("5", "100", "500", "1000", "5000")]
    [5, 5, 25, 50, 250]
    """
    text = params.get("limit", "100")
    limit = int(text) if text.isdecimal() else 100
    return next((weight for most, weight in _DEPTH_WEIGHTS if limit <= most), 250)


def tickers_weight(one: int, every: int) -> Callable[[Mapping[str, str]], int]:
    """A weight for one symbol and one for more."""
    return lambda params: one if params.get("symbol") else every


def info_weight(params: Mapping[str, str]) -> int:
    """exchangeInfo weighs the same however many symbols are asked for."""
    del params
    return 20


_OPEN, _KEY = Security.NONE, Security.KEY
MARKET_ENDPOINTS = (
    Endpoint("GET", "/api/v3/ping", _OPEN, ping),
    Endpoint("GET", "/api/v3/time", _OPEN, server_time),
    Endpoint("GET", "/api/v3/exchangeInfo", _OPEN, info, info_weight),
    Endpoint("GET", "/api/v3/klines", _OPEN, klines, 2),
    Endpoint("GET", "/api/v3/uiKlines", _OPEN, klines, 2),
    Endpoint("GET", "/api/v3/depth", _OPEN, depth, depth_weight),
    Endpoint("GET", "/api/v3/trades", _OPEN, trades, 25),
    Endpoint("GET", "/api/v3/historicalTrades", _KEY, trades, 25),
    Endpoint("GET", "/api/v3/aggTrades", _OPEN, agg_trades, 4),
    Endpoint("GET", "/api/v3/avgPrice", _OPEN, average_price, 2),
    Endpoint("GET", "/api/v3/ticker/price", _OPEN, price_tickers, tickers_weight(2, 4)),
    Endpoint("GET", "/api/v3/ticker/bookTicker", _OPEN, book_tickers, tickers_weight(2, 4)),
    Endpoint("GET", "/api/v3/ticker/24hr", _OPEN, day_tickers, tickers_weight(2, 80)),
)
