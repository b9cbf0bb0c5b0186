"""Market data as JSON: the REST answers and the streams' messages.

Shapes: recorded exchangeInfo (August 2025), klines, depth, trades and stream messages.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Kline, Level, Market, MarkPrice, Trade
from live.rehearsal.limits import Limits
from live.rehearsal.record import BookChange, FundingRecord
from live.rehearsal.specs import SymbolSpec
from live.rehearsal.wire import fixed, funding_text, money, plain, price_text, quantity_text, quote_text

__all__ = [
    "agg_trade_event",
    "agg_trade_row",
    "book_ticker_event",
    "book_ticker_row",
    "depth_event",
    "depth_row",
    "exchange_info",
    "funding_row",
    "kline_event",
    "kline_row",
    "levels",
    "mark_price_event",
    "premium_row",
    "ticker_event",
    "ticker_row",
    "trade_event",
    "trade_row",
]

Json = dict[str, Any]
_DELIVERY_MS = 4_133_404_800_000
_ONBOARD_MS = 1_569_398_400_000
_INTEREST = Decimal("0.0001")
_LAST_UNKNOWN = Decimal(0)


def exchange_info(specs: Iterable[SymbolSpec], limits: Limits, now_ms: int) -> Json:
    """GET /fapi/v1/exchangeInfo."""
    known = list(specs)
    assets = sorted({spec.margin_asset for spec in known})
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": limits.as_json(),
        "exchangeFilters": [],
        "assets": [
            {"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"} for asset in assets
        ],
        "symbols": [_symbol(spec) for spec in known],
    }


def kline_row(kline: Kline, spec: SymbolSpec) -> list[Any]:
    """One kline of GET klines."""
    return [
        kline.open_ms,
        price_text(spec, kline.open),
        price_text(spec, kline.high),
        price_text(spec, kline.low),
        price_text(spec, kline.close),
        quantity_text(spec, kline.volume),
        kline.close_ms,
        quote_text(spec, kline.quote_volume),
        kline.trades,
        quantity_text(spec, kline.taker_volume),
        quote_text(spec, kline.taker_quote_volume),
        "0",
    ]


def kline_event(kline: Kline, spec: SymbolSpec, last_trade_id: int) -> Json:
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
            "q": quote_text(spec, kline.quote_volume),
            "V": quantity_text(spec, kline.taker_volume),
            "Q": quote_text(spec, kline.taker_quote_volume),
            "B": "0",
        },
    }


def trade_row(trade: Trade, spec: SymbolSpec) -> Json:
    """One trade of GET trades."""
    return {
        "id": trade.trade_id,
        "price": price_text(spec, trade.price),
        "qty": quantity_text(spec, trade.quantity),
        "quoteQty": price_text(spec, trade.price * trade.quantity),
        "time": trade.ts_ms,
        "isBuyerMaker": trade.buyer_maker,
    }


def trade_event(trade: Trade, spec: SymbolSpec) -> Json:
    """A trade message."""
    return {
        "e": "trade",
        "E": trade.ts_ms,
        "T": trade.ts_ms,
        "s": trade.symbol,
        "t": trade.trade_id,
        "p": price_text(spec, trade.price),
        "q": quantity_text(spec, trade.quantity),
        "X": "MARKET",
        "m": trade.buyer_maker,
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


def depth_row(
    spec: SymbolSpec, market: Market, bids: Sequence[Level], asks: Sequence[Level], version: int
) -> Json:
    """GET depth."""
    return {
        "lastUpdateId": version,
        "E": market.updated_ms,
        "T": market.updated_ms,
        "bids": levels(spec, bids),
        "asks": levels(spec, asks),
    }


def depth_event(spec: SymbolSpec, change: BookChange, ts_ms: int) -> Json:
    """A depth message: what changed, or for partial depth the best levels."""
    return {
        "e": "depthUpdate",
        "E": ts_ms,
        "T": ts_ms,
        "s": spec.symbol,
        "U": change.first_id,
        "u": change.last_id,
        "pu": change.previous_id,
        "b": levels(spec, change.bids),
        "a": levels(spec, change.asks),
    }


def book_ticker_row(spec: SymbolSpec, market: Market, version: int) -> Json:
    """One symbol of GET ticker/bookTicker; zeros for a side that is empty."""
    bid, ask = _best(market.bids), _best(market.asks)
    return {
        "lastUpdateId": version,
        "symbol": spec.symbol,
        "bidPrice": price_text(spec, bid.price),
        "bidQty": quantity_text(spec, bid.quantity),
        "askPrice": price_text(spec, ask.price),
        "askQty": quantity_text(spec, ask.quantity),
        "time": market.updated_ms,
    }


def book_ticker_event(spec: SymbolSpec, market: Market, version: int, ts_ms: int) -> Json:
    """A best bid and ask message."""
    bid, ask = _best(market.bids), _best(market.asks)
    return {
        "e": "bookTicker",
        "u": version,
        "s": spec.symbol,
        "b": price_text(spec, bid.price),
        "B": quantity_text(spec, bid.quantity),
        "a": price_text(spec, ask.price),
        "A": quantity_text(spec, ask.quantity),
        "T": ts_ms,
        "E": ts_ms,
    }


def premium_row(symbol: str, market: Market, rate: Decimal, next_funding_ms: int, now_ms: int) -> Json:
    """One symbol of GET premiumIndex."""
    mark = market.mark or _LAST_UNKNOWN
    index = _index(market.marked) if market.marked is not None else mark
    return {
        "symbol": symbol,
        "markPrice": money(mark),
        "indexPrice": money(index),
        "estimatedSettlePrice": money(index),
        "lastFundingRate": funding_text(rate),
        "interestRate": funding_text(_INTEREST),
        "nextFundingTime": next_funding_ms,
        "time": now_ms,
    }


def mark_price_event(event: MarkPrice) -> Json:
    """A mark price message."""
    return {
        "e": "markPriceUpdate",
        "E": event.ts_ms,
        "s": event.symbol,
        "p": money(event.mark),
        "P": money(_index(event)),
        "i": money(_index(event)),
        "r": funding_text(event.funding_rate),
        "T": event.next_funding_ms,
    }


def funding_row(record: FundingRecord) -> Json:
    """One settled funding of GET fundingRate."""
    return {
        "symbol": record.symbol,
        "fundingTime": record.ts_ms,
        "fundingRate": funding_text(record.rate),
        "markPrice": money(record.mark),
    }


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


def _index(event: MarkPrice) -> Decimal:
    """The index price; by position, for type checkers see tuple's method in its name."""
    return event[3]


def _best(side: Sequence[Level]) -> Level:
    return side[0] if side else Level(Decimal(0), Decimal(0))


def _symbol(spec: SymbolSpec) -> Json:
    return {
        "symbol": spec.symbol,
        "pair": spec.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _DELIVERY_MS,
        "onboardDate": _ONBOARD_MS,
        "status": spec.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base,
        "quoteAsset": spec.quote,
        "marginAsset": spec.margin_asset,
        "pricePrecision": spec.price_precision,
        "quantityPrecision": spec.quantity_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": fixed(spec.trigger_protect, 4),
        "liquidationFee": fixed(spec.liquidation_fee, 6),
        "marketTakeBound": plain(spec.market_take_bound),
        "maxMoveOrderLimit": 10_000,
        "filters": _filters(spec),
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY"],
    }


def _filters(spec: SymbolSpec) -> list[Json]:
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": plain(spec.min_price),
            "maxPrice": plain(spec.max_price),
            "tickSize": price_text(spec, spec.tick),
        },
        _lot("LOT_SIZE", spec.min_quantity, spec.max_quantity, spec.step),
        _lot("MARKET_LOT_SIZE", spec.market_min_quantity, spec.market_max_quantity, spec.market_step),
        {"filterType": "MAX_NUM_ORDERS", "limit": spec.max_orders},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": spec.max_algo_orders},
        {"filterType": "MIN_NOTIONAL", "notional": plain(spec.min_notional)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": fixed(spec.multiplier_up, 4),
            "multiplierDown": fixed(spec.multiplier_down, 4),
            "multiplierDecimal": "4",
        },
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]


def _lot(kind: str, least: Decimal, most: Decimal, step: Decimal) -> Json:
    return {"filterType": kind, "minQty": plain(least), "maxQty": plain(most), "stepSize": plain(step)}
