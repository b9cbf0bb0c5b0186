"""What a live node does about failures and limits: who pauses when what has failed, what the venue allows."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from actors.faults import CarryOn
from strategies.assembly import Assembly
from strategies.order_budget import FUTURES_LIMITS

__all__ = ["carry_on", "largest_at_market", "order_limits"]

_SECOND_NS = 1_000_000_000
_INTERVAL_SECS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400}


def carry_on(assembly: Assembly, components: Iterable[Any]) -> CarryOn:
    """The failure policy of a node's components, given to each; it belongs into `raise_failures` as well.

    A strategy pauses for its own failures and its forecaster's, all of them for those of the others (the
    guard, the recorder).
    """
    policy = CarryOn()
    forecasters = {forecaster.component_name: forecaster for forecaster in assembly.forecasters}
    served = set()
    for strategy in assembly.strategies:
        name = f"FORECASTER-{strategy.component_name}"
        parts = [forecasters[name]] if name in forecasters else []
        served |= {strategy.component_name, name}
        policy.cover_strategy(strategy, *parts)
    for component in components:
        if component.component_name not in served:
            policy.cover(component)
    return policy


class _Limit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class _Filter(msgspec.Struct, rename="camel"):
    filter_type: str
    max_qty: str = "0"


class _Symbol(msgspec.Struct):
    symbol: str
    filters: list[_Filter] = []


class _ExchangeInfo(msgspec.Struct, rename="camel"):
    rate_limits: list[_Limit] = []
    symbols: list[_Symbol] = []


def order_limits(exchange_info: bytes) -> tuple[tuple[int, int], ...]:
    """The venue's limits on new orders (window in ns, orders in it); those of USD-M futures if it names none.

    >>> order_limits(b'{"rateLimits": [{"rateLimitType": "ORDERS", "interval": "SECOND", '
    ...              b'"intervalNum": 10, "limit": 50}]}')
    ((10000000000, 50),)
    """
    told = msgspec.json.decode(exchange_info, type=_ExchangeInfo).rate_limits
    found = tuple(
        (_INTERVAL_SECS[limit.interval] * limit.interval_num * _SECOND_NS, limit.limit)
        for limit in told
        if limit.rate_limit_type == "ORDERS" and limit.interval in _INTERVAL_SECS
    )
    return found or FUTURES_LIMITS


def largest_at_market(exchange_info: bytes) -> dict[str, Decimal]:
    """The most that one order at the market may have, by symbol: a tenth, say, of what may rest in the book.

    >>> largest_at_market(b'{"symbols": [{"symbol": "BTCUSDT", "filters": [{"filterType": "MARKET_LOT_SIZE", '
    ...                   b'"maxQty": "120"}, {"filterType": "LOT_SIZE", "maxQty": "1000"}]}]}')
    {'BTCUSDT': Decimal('120')}
    """
    told = msgspec.json.decode(exchange_info, type=_ExchangeInfo).symbols
    found = {
        entry.symbol: Decimal(each.max_qty)
        for entry in told
        for each in entry.filters
        if each.filter_type == "MARKET_LOT_SIZE"
    }
    return {symbol: most for symbol, most in found.items() if most > 0}
