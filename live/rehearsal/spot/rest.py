"""The spot market data endpoints, for REST and the WebSocket API.

Source: Binance's spot rest-api.md, its weights too.
"""

import json
from collections.abc import Mapping
from typing import Any

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.serving.desk import Desk, Endpoint, Json, Security
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
from live.rehearsal.serving.wire import Params, money
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

__all__ = ["MARKET_ENDPOINTS", "SpotDesk", "depth_weight", "info_weight"]

SpotDesk = Desk[SpotVenue]
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1_000, 50))


def info(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET exchangeInfo: all symbols, `symbol` or `symbols`."""
    del account
    params.ignore("permissions", "showPermissionSets", "symbolStatus")
    return spot_exchange_info(_asked(desk, params), desk.limiter.limits, desk.clock.request_ms())


def klines(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET klines."""
    del account
    params.ignore("timeZone")
    spec, chosen = asked_klines(desk, params, most=1000)
    return [candle_row(kline, spec) for kline in chosen]


def depth(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET depth."""
    del account
    params.ignore("symbolStatus")
    spec, limit = desk.asked_spec(params), params.limit(100, 5000)
    market = desk.venue.market(spec.symbol)
    return book_row(spec, market.bids[:limit], market.asks[:limit], desk.record[spec.symbol].version)


def trades(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET trades and historicalTrades."""
    del account
    _, chosen = asked_trades(desk, params)
    return [trade_record(trade) for trade in chosen]


def agg_trades(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET aggTrades."""
    del account
    spec, chosen = asked_aggregates(desk, params)
    return [agg_trade_json(trade, spec) for trade in chosen]


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
    return one_or_all(rows, params)


def book_tickers(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET ticker/bookTicker."""
    del account
    params.ignore("symbolStatus")
    return one_or_all([best_row(desk.venue.market(s.symbol)) for s in _asked(desk, params)], params)


def day_tickers(desk: SpotDesk, account: str, params: Params) -> Json:
    """GET ticker/24hr."""
    del account
    params.ignore("symbolStatus")
    kind = params.choice("type", ("FULL", "MINI"), VenueError(-1139, "Invalid ticker type."))
    rows = [
        day_row(spec, desk.venue.market(spec.symbol), day, last)
        for spec, day, last in with_days(desk, _asked(desk, params))
    ]
    return one_or_all([_mini(row) for row in rows] if kind == "MINI" else rows, params)


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


def depth_weight(params: Mapping[str, str]) -> int:
    """5 to 250 by the limit asked for.

    >>> [depth_weight({"limit": n}) for n in ("5", "100", "500", "1000", "5000")]
    [5, 5, 25, 50, 250]
    """
    text = params.get("limit", "100")
    limit = int(text) if text.isdecimal() else 100
    return next((weight for most, weight in _DEPTH_WEIGHTS if limit <= most), 250)


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
    Endpoint("GET", "/api/v3/ticker/price", _OPEN, price_tickers, by_symbol(2, 4)),
    Endpoint("GET", "/api/v3/ticker/bookTicker", _OPEN, book_tickers, by_symbol(2, 4)),
    Endpoint("GET", "/api/v3/ticker/24hr", _OPEN, day_tickers, by_symbol(2, 80)),
)
