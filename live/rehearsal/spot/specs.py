"""Spot rules by symbol: a `SymbolSpec` out of the catalog or of an exchangeInfo entry.

Prices and quantities may have eight decimals on the wire, whatever tick and step are. What a catalog's spec
does not know (price limits, market lots, percent price) is wide, as it is on the major pairs.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from catalog.instruments import SymbolSpec as CatalogSpec
from configs.errors import DataError
from live.rehearsal.specs import SymbolSpec

__all__ = ["spot_spec", "spot_spec_of_entry"]

_PLACES = 8
_HIGHEST_PRICE = Decimal(1_000_000)
_UP, _DOWN = Decimal(5), Decimal("0.2")


def spot_spec(spec: CatalogSpec) -> SymbolSpec:
    """The rules of a catalog spec of market spot; DataError for another market's."""
    if spec.market != "spot":
        raise DataError(f"{spec.symbol}: market spot is rehearsed, the spec is of market {spec.market}")
    return SymbolSpec(
        symbol=spec.symbol,
        base=spec.base,
        quote=spec.quote,
        margin_asset=spec.quote,
        tick=spec.tick,
        min_price=spec.tick,
        max_price=_HIGHEST_PRICE,
        price_precision=_PLACES,
        step=spec.step,
        min_quantity=spec.min_quantity,
        max_quantity=spec.max_quantity,
        market_step=spec.step,
        market_min_quantity=Decimal(0),
        market_max_quantity=spec.max_quantity,
        quantity_precision=_PLACES,
        min_notional=spec.min_notional,
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
    try:
        filters = {item["filterType"]: item for item in entry["filters"]}
        price, lot, market = (filters[n] for n in ("PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE"))
        sides = filters["PERCENT_PRICE_BY_SIDE"]
        return SymbolSpec(
            symbol=entry["symbol"],
            base=entry["baseAsset"],
            quote=entry["quoteAsset"],
            margin_asset=entry["quoteAsset"],
            tick=Decimal(price["tickSize"]),
            min_price=Decimal(price["minPrice"]),
            max_price=Decimal(price["maxPrice"]),
            price_precision=_PLACES,
            step=Decimal(lot["stepSize"]),
            min_quantity=Decimal(lot["minQty"]),
            max_quantity=Decimal(lot["maxQty"]),
            market_step=Decimal(market["stepSize"]) or Decimal(lot["stepSize"]),
            market_min_quantity=Decimal(market["minQty"]),
            market_max_quantity=Decimal(market["maxQty"]),
            quantity_precision=_PLACES,
            min_notional=Decimal(filters["NOTIONAL"]["minNotional"]),
            multiplier_up=Decimal(sides["bidMultiplierUp"]),
            multiplier_down=Decimal(sides["bidMultiplierDown"]),
            max_orders=int(filters["MAX_NUM_ORDERS"]["maxNumOrders"]),
            max_algo_orders=int(filters["MAX_NUM_ALGO_ORDERS"]["maxNumAlgoOrders"]),
            brackets=(),
            status=entry["status"],
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        name = entry.get("symbol", "?")
        raise DataError(f"the spot exchangeInfo entry of {name} lacks or misstates {error}") from error
