"""Spot market data as JSON: the REST answers and the streams' messages.

Shapes: Binance's spot rest-api.md and web-socket-streams.md, and recordings of both.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Kline, Level, Market, Trade
from live.rehearsal.record import BookChange
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.shapes import (
    agg_trade_row,
    best_level,
    kline_event,
    kline_row,
    levels,
    ticker_event,
    ticker_row,
)
from live.rehearsal.serving.wire import fixed, money, plain
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.spot.filters import MAX_NOTIONAL, MAX_ORDER_LISTS, TYPES
from live.rehearsal.spot.state import AVERAGE_MINUTES
from live.rehearsal.spot.wire import STP_MODE, STP_MODES

__all__ = [
    "agg_trade_json",
    "aggregate_event",
    "best_event",
    "best_row",
    "book_row",
    "candle_event",
    "candle_row",
    "change_event",
    "day_event",
    "day_row",
    "mini_event",
    "spot_exchange_info",
    "trade_message",
    "trade_record",
]

Json = dict[str, Any]


def spot_exchange_info(specs: Iterable[SymbolSpec], limits: Limits, now_ms: int) -> Json:
    """GET /api/v3/exchangeInfo."""
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": limits.as_json(),
        "exchangeFilters": [],
        "symbols": [_symbol(spec) for spec in specs],
    }


def candle_row(kline: Kline, spec: SymbolSpec) -> list[Any]:
    """One kline of GET klines."""
    return kline_row(kline, spec, _amount)


def candle_event(kline: Kline, spec: SymbolSpec, last_trade_id: int) -> Json:
    """A kline message; trade ids are those of the last trades, as many as the kline counts."""
    return kline_event(kline, spec, last_trade_id, _amount)


def trade_record(trade: Trade) -> Json:
    """One trade of GET trades."""
    return {
        "id": trade.trade_id,
        "price": money(trade.price),
        "qty": money(trade.quantity),
        "quoteQty": money(trade.price * trade.quantity),
        "time": trade.ts_ms,
        "isBuyerMaker": trade.buyer_maker,
        "isBestMatch": True,
    }


def trade_message(trade: Trade) -> Json:
    """A trade message."""
    return {
        "e": "trade",
        "E": trade.ts_ms,
        "s": trade.symbol,
        "t": trade.trade_id,
        "p": money(trade.price),
        "q": money(trade.quantity),
        "T": trade.ts_ms,
        "m": trade.buyer_maker,
        "M": True,
    }


def agg_trade_json(trade: Trade, spec: SymbolSpec) -> Json:
    """One aggregate trade of GET aggTrades; every trade is its own aggregate."""
    return agg_trade_row(trade, spec) | {"M": True}


def aggregate_event(trade: Trade, spec: SymbolSpec) -> Json:
    """An aggregate trade message."""
    return {"e": "aggTrade", "E": trade.ts_ms, "s": trade.symbol} | agg_trade_json(trade, spec)


def book_row(spec: SymbolSpec, bids: Sequence[Level], asks: Sequence[Level], version: int) -> Json:
    """GET depth, and a partial depth message."""
    return {"lastUpdateId": version, "bids": levels(spec, bids), "asks": levels(spec, asks)}


def change_event(spec: SymbolSpec, change: BookChange, ts_ms: int) -> Json:
    """A depth message: what changed."""
    return {
        "e": "depthUpdate",
        "E": ts_ms,
        "s": spec.symbol,
        "U": change.first_id,
        "u": change.last_id,
        "b": levels(spec, change.bids),
        "a": levels(spec, change.asks),
    }


def best_row(market: Market) -> Json:
    """One symbol of GET ticker/bookTicker; zeros for a side that is empty."""
    bid, ask = best_level(market.bids), best_level(market.asks)
    return {
        "symbol": market.symbol,
        "bidPrice": money(bid.price),
        "bidQty": money(bid.quantity),
        "askPrice": money(ask.price),
        "askQty": money(ask.quantity),
    }


def best_event(market: Market, version: int) -> Json:
    """A best bid and ask message: the only one without event type and time."""
    row = best_row(market)
    return {
        "u": version,
        "s": market.symbol,
        "b": row["bidPrice"],
        "B": row["bidQty"],
        "a": row["askPrice"],
        "A": row["askQty"],
    }


def day_row(spec: SymbolSpec, market: Market, klines: Sequence[Kline], last: Trade | None) -> Json:
    """One symbol of GET ticker/24hr, from a day's one-minute klines (at least one)."""
    best = best_row(market)
    del best["symbol"]
    return ticker_row(spec, klines, last) | {"prevClosePrice": money(klines[0].open)} | best


def day_event(row: Json, ts_ms: int) -> Json:
    """A 24-hour ticker message of a row of GET ticker/24hr."""
    names = {"x": "prevClosePrice", "b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty"}
    return ticker_event(row, ts_ms) | {short: row[name] for short, name in names.items()}


def mini_event(row: Json, ts_ms: int) -> Json:
    """A 24-hour mini ticker message of a row of GET ticker/24hr."""
    whole = day_event(row, ts_ms)
    return {"e": "24hrMiniTicker"} | {name: whole[name] for name in ("E", "s", "c", "o", "h", "l", "v", "q")}


def _amount(spec: SymbolSpec, notional: Decimal) -> str:
    del spec
    return money(notional)


def _symbol(spec: SymbolSpec) -> Json:
    return {
        "symbol": spec.symbol,
        "status": spec.status,
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(TYPES),
        "icebergAllowed": False,
        "ocoAllowed": True,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(spec),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": STP_MODE,
        "allowedSelfTradePreventionModes": list(STP_MODES[1:]),
    }


def _filters(spec: SymbolSpec) -> list[Json]:
    up, down = fixed(spec.multiplier_up, 4), fixed(spec.multiplier_down, 4)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": money(spec.min_price),
            "maxPrice": money(spec.max_price),
            "tickSize": money(spec.tick),
        },
        _lot("LOT_SIZE", spec.min_quantity, spec.max_quantity, spec.step),
        _lot("MARKET_LOT_SIZE", spec.market_min_quantity, spec.market_max_quantity, spec.market_step),
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": plain(Decimal(up)),
            "bidMultiplierDown": plain(Decimal(down)),
            "askMultiplierUp": plain(Decimal(up)),
            "askMultiplierDown": plain(Decimal(down)),
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": money(spec.min_notional),
            "applyMinToMarket": True,
            "maxNotional": money(MAX_NOTIONAL),
            "applyMaxToMarket": False,
            "avgPriceMins": AVERAGE_MINUTES,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": spec.max_orders},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": MAX_ORDER_LISTS},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": spec.max_algo_orders},
    ]


def _lot(kind: str, least: Decimal, most: Decimal, step: Decimal) -> Json:
    return {"filterType": kind, "minQty": money(least), "maxQty": money(most), "stepSize": money(step)}
