"""Market data that all markets write alike, but for the decimals: klines, aggregate trades, levels, the day.

Shapes: recorded klines, depth, trades and stream messages.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Kline, Level, Trade
from live.rehearsal.serving.wire import fixed, price_text, quantity_text, quote_text
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "agg_trade_event",
    "agg_trade_row",
    "best_level",
    "kline_event",
    "kline_row",
    "levels",
    "ticker_event",
    "ticker_row",
]

Json = dict[str, Any]
QuoteText = Callable[[SymbolSpec, Decimal], str]


def kline_row(kline: Kline, spec: SymbolSpec, quote: QuoteText = quote_text) -> list[Any]:
    """One kline of GET klines."""
    return [
        kline.open_ms,
        price_text(spec, kline.open),
        price_text(spec, kline.high),
        price_text(spec, kline.low),
        price_text(spec, kline.close),
        quantity_text(spec, kline.volume),
        kline.close_ms,
        quote(spec, kline.quote_volume),
        kline.trades,
        quantity_text(spec, kline.taker_volume),
        quote(spec, kline.taker_quote_volume),
        "0",
    ]


def kline_event(kline: Kline, spec: SymbolSpec, last_trade_id: int, quote: QuoteText = quote_text) -> Json:
    """A kline message; trade ids are those of the last trades, as many as the kline counts."""
    return {
        "e": "kline",
        "E": kline.ts_ms,
        "s": kline.symbol,
        "k": {
            "t": kline.open_ms,
            "T": kline.close_ms,
            "s": kline.symbol,
            "i": kline.interval,
            "f": max(last_trade_id - kline.trades + 1, 0),
            "L": last_trade_id,
            "o": price_text(spec, kline.open),
            "c": price_text(spec, kline.close),
            "h": price_text(spec, kline.high),
            "l": price_text(spec, kline.low),
            "v": quantity_text(spec, kline.volume),
            "n": kline.trades,
            "x": kline.closed,
            "q": quote(spec, kline.quote_volume),
            "V": quantity_text(spec, kline.taker_volume),
            "Q": quote(spec, kline.taker_quote_volume),
            "B": "0",
        },
    }


def agg_trade_row(trade: Trade, spec: SymbolSpec) -> Json:
    """One aggregate trade of GET aggTrades; every trade is its own aggregate."""
    return {
        "a": trade.trade_id,
        "p": price_text(spec, trade.price),
        "q": quantity_text(spec, trade.quantity),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.ts_ms,
        "m": trade.buyer_maker,
    }


def agg_trade_event(trade: Trade, spec: SymbolSpec) -> Json:
    """An aggregate trade message."""
    return {"e": "aggTrade", "E": trade.ts_ms, "s": trade.symbol} | agg_trade_row(trade, spec)


def levels(spec: SymbolSpec, side: Iterable[Level]) -> list[list[str]]:
    """Levels as [price, quantity] pairs."""
    return [[price_text(spec, level.price), quantity_text(spec, level.quantity)] for level in side]


def best_level(side: Sequence[Level]) -> Level:
    """The best level of a side; zeros when it is empty."""
    return side[0] if side else Level(Decimal(0), Decimal(0))


def ticker_row(spec: SymbolSpec, klines: Sequence[Kline], last: Trade | None) -> Json:
    """One symbol of GET ticker/24hr, from a day's one-minute klines (at least one)."""
    first, latest = klines[0], klines[-1]
    volume = sum((k.volume for k in klines), Decimal(0))
    quote_volume = sum((k.quote_volume for k in klines), Decimal(0))
    change = latest.close - first.open
    mean = quote_volume / volume if volume else latest.close
    count = sum(k.trades for k in klines)
    last_id = 0 if last is None else last.trade_id
    return {
        "symbol": spec.symbol,
        "priceChange": price_text(spec, change),
        "priceChangePercent": fixed(change / first.open * 100, 3),
        "weightedAvgPrice": price_text(spec, mean),
        "lastPrice": price_text(spec, latest.close),
        "lastQty": quantity_text(spec, latest.volume if last is None else last.quantity),
        "openPrice": price_text(spec, first.open),
        "highPrice": price_text(spec, max(k.high for k in klines)),
        "lowPrice": price_text(spec, min(k.low for k in klines)),
        "volume": quantity_text(spec, volume),
        "quoteVolume": price_text(spec, quote_volume),
        "openTime": first.open_ms,
        "closeTime": latest.ts_ms,
        "firstId": max(last_id - count + 1, 0),
        "lastId": last_id,
        "count": count,
    }


def ticker_event(row: Json, ts_ms: int) -> Json:
    """A 24-hour ticker message of a row of GET ticker/24hr."""
    names = {
        "s": "symbol",
        "p": "priceChange",
        "P": "priceChangePercent",
        "w": "weightedAvgPrice",
        "c": "lastPrice",
        "Q": "lastQty",
        "o": "openPrice",
        "h": "highPrice",
        "l": "lowPrice",
        "v": "volume",
        "q": "quoteVolume",
        "O": "openTime",
        "C": "closeTime",
        "F": "firstId",
        "L": "lastId",
        "n": "count",
    }
    return {"e": "24hrTicker", "E": ts_ms} | {short: row[name] for short, name in names.items()}
