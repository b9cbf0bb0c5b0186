"""What a symbol's rules say of orders at the market where the venue leaves it to those of all orders."""

from decimal import Decimal
from typing import Any

from live.venue.answers import SymbolRules
from live.venue.spot_client import SpotRules

FILTERS: list[dict[str, Any]] = [
    {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
    {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
    {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.000", "minQty": "0.000", "maxQty": "0.000"},
    {"filterType": "MIN_NOTIONAL", "notional": "5", "minNotional": "5"},
    {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 100},
]


def test_zeros_leave_orders_at_the_market_to_the_rule_of_all_orders() -> None:
    futures = SymbolRules.parse(
        {"symbol": "BTCUSDT", "status": "TRADING", "marginAsset": "USDT", "filters": FILTERS}
    )
    spot = SpotRules.parse(
        {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": FILTERS}
    )
    for rules in (futures, spot):
        assert (rules.market_step, rules.market_max_quantity) == (Decimal("0.001"), Decimal(1000))
