"""Spot rules by symbol: a `SymbolSpec` out of the catalog or of an exchangeInfo entry.

Prices and quantities may have eight decimals on the wire, whatever tick and step are. What a catalog's spec
does not know (price limits, market lots, percent price) is wide, as it is on the major pairs.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from catalog.instruments import SymbolSpec as CatalogSpec
from configs.errors import DataError
from live.rehearsal.specs import SymbolSpec, catalog_rules, entry_rules, reading_entry

__all__ = ["spot_spec", "spot_spec_of_entry"]

_PLACES = 8
_HIGHEST_PRICE = Decimal(1_000_000)
_UP, _DOWN = Decimal(5), Decimal("0.2")


def spot_spec(spec: CatalogSpec) -> SymbolSpec:
    """The rules of a catalog spec of market spot; DataError for another market's."""
    if spec.market != "spot":
        raise DataError(f"{spec.symbol}: market spot is rehearsed, the spec is of market {spec.market}")
    return SymbolSpec(
        **catalog_rules(spec),
        margin_asset=spec.quote,
        max_price=_HIGHEST_PRICE,
        price_precision=_PLACES,
        market_min_quantity=Decimal(0),
        quantity_precision=_PLACES,
        multiplier_up=_UP,
        multiplier_down=_DOWN,
        max_orders=200,
        max_algo_orders=5,
        brackets=(),
    )


def spot_spec_of_entry(entry: Mapping[str, Any]) -> SymbolSpec:
    """The rules of one entry of spot exchangeInfo's `symbols`; DataError when the entry lacks one.

    Percent price has one pair of multipliers here: the sides' are the same on every pair that matters.
    """
    with reading_entry("spot exchangeInfo", entry):
        filters = {item["filterType"]: item for item in entry["filters"]}
        sides = filters["PERCENT_PRICE_BY_SIDE"]
        return SymbolSpec(
            **entry_rules(entry, filters, Decimal),
            margin_asset=entry["quoteAsset"],
            price_precision=_PLACES,
            quantity_precision=_PLACES,
            min_notional=Decimal(filters["NOTIONAL"]["minNotional"]),
            multiplier_up=Decimal(sides["bidMultiplierUp"]),
            multiplier_down=Decimal(sides["bidMultiplierDown"]),
            max_orders=int(filters["MAX_NUM_ORDERS"]["maxNumOrders"]),
            max_algo_orders=int(filters["MAX_NUM_ALGO_ORDERS"]["maxNumAlgoOrders"]),
            brackets=(),
        )
