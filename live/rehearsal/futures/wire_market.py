"""Market data as JSON: the REST answers and the streams' messages.

Shapes: recorded exchangeInfo (August 2025), klines, depth, trades and stream messages.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.book import Level, Market, MarkPrice, Trade
from live.rehearsal.record import BookChange, FundingRecord
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.shapes import best_level, levels
from live.rehearsal.serving.wire import (
    fixed,
    funding_text,
    money,
    plain,
    price_text,
    quantity_text,
)
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "book_ticker_event",
    "book_ticker_row",
    "depth_event",
    "depth_row",
    "exchange_info",
    "funding_row",
    "mark_price_event",
    "premium_row",
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
    bid, ask = best_level(market.bids), best_level(market.asks)
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
    bid, ask = best_level(market.bids), best_level(market.asks)
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


def _index(event: MarkPrice) -> Decimal:
    """The index price; by position, for type checkers see tuple's method in its name."""
    return event[3]


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
