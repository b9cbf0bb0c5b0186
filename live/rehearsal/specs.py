"""A symbol's trading rules: filters, limits and leverage brackets.

Filters come from an exchangeInfo entry or from the catalog's dated table. Leverage brackets are not part of
exchangeInfo; `BRACKETS` are stand-ins with the shape of Binance's own (their `leverageBracket` answer needs a
key), of the majors and of the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from catalog.instruments import SymbolSpec as CatalogSpec
from configs.errors import DataError

__all__ = [
    "BRACKETS",
    "LeverageBracket",
    "SymbolSpec",
    "catalog_rules",
    "entry_rules",
    "make_brackets",
    "reading_entry",
]

_MAJORS = ("BTC", "ETH")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageBracket:
    """One step of the ladder: notionals in (floor, cap] pay `maintenance_rate` less the constant `cum`."""

    bracket: int
    initial_leverage: int
    notional_floor: Decimal
    notional_cap: Decimal
    maintenance_rate: Decimal
    cum: Decimal


def make_brackets(rows: Iterable[tuple[int, str, str]]) -> tuple[LeverageBracket, ...]:
    """Brackets from (leverage, notional cap, maintenance rate) rows in rising order of the cap.

    `cum` makes the maintenance margin continuous where the rate changes.

    >>> [bracket.cum for bracket in make_brackets([(125, "50000", "0.004"), (100, "600000", "0.005")])]
    [Decimal('0'), Decimal('50.000')]
    """
    brackets: list[LeverageBracket] = []
    floor, cum, before = Decimal(0), Decimal(0), Decimal(0)
    for number, (leverage, cap, rate) in enumerate(rows, 1):
        cum += floor * (Decimal(rate) - before)
        brackets.append(
            LeverageBracket(
                bracket=number,
                initial_leverage=leverage,
                notional_floor=floor,
                notional_cap=Decimal(cap),
                maintenance_rate=Decimal(rate),
                cum=cum if number > 1 else Decimal(0),
            )
        )
        floor, before = Decimal(cap), Decimal(rate)
    return tuple(brackets)


BRACKETS = {
    "major": make_brackets(
        [
            (125, "50000", "0.004"),
            (100, "600000", "0.005"),
            (75, "3000000", "0.0065"),
            (50, "12000000", "0.01"),
            (25, "70000000", "0.02"),
            (20, "100000000", "0.025"),
            (10, "230000000", "0.05"),
            (5, "480000000", "0.1"),
            (2, "1000000000", "0.25"),
            (1, "3000000000", "0.5"),
        ]
    ),
    "other": make_brackets(
        [
            (75, "10000", "0.01"),
            (50, "50000", "0.015"),
            (25, "250000", "0.02"),
            (20, "1000000", "0.025"),
            (10, "5000000", "0.05"),
            (5, "12500000", "0.1"),
            (2, "25000000", "0.25"),
            (1, "50000000", "0.5"),
        ]
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSpec:
    """One symbol's rules. Quantities are in the base asset, notionals in the quote asset.

    `price_precision` and `quantity_precision` are the most decimals a parameter may have (-1111 beyond),
    which can be more than the tick and the step need. `status` is TRADING unless the symbol is halted.
    """

    symbol: str
    base: str
    quote: str
    margin_asset: str
    tick: Decimal
    min_price: Decimal
    max_price: Decimal
    price_precision: int
    step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    market_step: Decimal
    market_min_quantity: Decimal
    market_max_quantity: Decimal
    quantity_precision: int
    min_notional: Decimal
    multiplier_up: Decimal
    multiplier_down: Decimal
    max_orders: int = 200
    max_algo_orders: int = 10
    market_take_bound: Decimal = Decimal("0.05")
    trigger_protect: Decimal = Decimal("0.05")
    liquidation_fee: Decimal = Decimal("0.0125")
    brackets: tuple[LeverageBracket, ...] = BRACKETS["other"]
    status: str = "TRADING"

    @classmethod
    def from_catalog(cls, spec: CatalogSpec) -> Self:
        """The rules of a catalog spec; market lots and price limits, not in it, are wide."""
        if spec.market != "um":
            raise DataError(f"{spec.symbol}: the rehearsal venue trades market um, not {spec.market}")
        return cls(
            **catalog_rules(spec),
            margin_asset=spec.settlement,
            max_price=Decimal(10) ** 7,
            price_precision=_decimals(spec.tick),
            market_min_quantity=spec.min_quantity,
            quantity_precision=_decimals(spec.step),
            multiplier_up=Decimal("1.05"),
            multiplier_down=Decimal("0.95"),
            brackets=_brackets_of(spec.base),
        )

    @classmethod
    def from_exchange_info(cls, entry: Mapping[str, Any]) -> Self:
        """The rules of one entry of exchangeInfo's `symbols`; DataError when the entry lacks one."""
        with reading_entry("exchangeInfo", entry):
            filters = {item["filterType"]: item for item in entry["filters"]}
            return cls(
                **entry_rules(entry, filters, _plain),
                margin_asset=entry["marginAsset"],
                price_precision=int(entry["pricePrecision"]),
                quantity_precision=int(entry["quantityPrecision"]),
                min_notional=_plain(filters["MIN_NOTIONAL"]["notional"]),
                multiplier_up=_plain(filters["PERCENT_PRICE"]["multiplierUp"]),
                multiplier_down=_plain(filters["PERCENT_PRICE"]["multiplierDown"]),
                max_orders=int(filters["MAX_NUM_ORDERS"]["limit"]),
                max_algo_orders=int(filters["MAX_NUM_ALGO_ORDERS"]["limit"]),
                market_take_bound=_plain(entry["marketTakeBound"]),
                trigger_protect=_plain(entry["triggerProtect"]),
                liquidation_fee=_plain(entry["liquidationFee"]),
                brackets=_brackets_of(entry["baseAsset"]),
            )

    def bracket_of(self, notional: Decimal) -> LeverageBracket:
        """The bracket of a notional; the last one beyond every cap."""
        return next((b for b in self.brackets if notional <= b.notional_cap), self.brackets[-1])

    def maintenance(self, notional: Decimal) -> Decimal:
        """The maintenance margin of a notional (not negative)."""
        bracket = self.bracket_of(notional)
        return notional * bracket.maintenance_rate - bracket.cum

    def maximum_notional(self, leverage: int) -> Decimal:
        """The largest notional that a leverage allows; zero beyond the highest leverage."""
        caps = [b.notional_cap for b in self.brackets if b.initial_leverage >= leverage]
        return max(caps, default=Decimal(0))


def catalog_rules(spec: CatalogSpec) -> dict[str, Any]:
    """What a catalog spec tells, and the same lots for market orders; the rest is each market's own."""
    return {
        "symbol": spec.symbol,
        "base": spec.base,
        "quote": spec.quote,
        "tick": spec.tick,
        "min_price": spec.tick,
        "step": spec.step,
        "min_quantity": spec.min_quantity,
        "max_quantity": spec.max_quantity,
        "market_step": spec.step,
        "market_max_quantity": spec.max_quantity,
        "min_notional": spec.min_notional,
    }


def entry_rules(
    entry: Mapping[str, Any], filters: Mapping[str, Any], read: Callable[[str], Decimal]
) -> dict[str, Any]:
    """What the exchangeInfo entries of all markets state alike: names, status, prices and lots."""
    price, lot, market = (filters[n] for n in ("PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE"))
    return {
        "symbol": entry["symbol"],
        "base": entry["baseAsset"],
        "quote": entry["quoteAsset"],
        "status": entry["status"],
        "tick": read(price["tickSize"]),
        "min_price": read(price["minPrice"]),
        "max_price": read(price["maxPrice"]),
        "step": read(lot["stepSize"]),
        "min_quantity": read(lot["minQty"]),
        "max_quantity": read(lot["maxQty"]),
        "market_step": read(market["stepSize"]) or read(lot["stepSize"]),
        "market_min_quantity": read(market["minQty"]),
        "market_max_quantity": read(market["maxQty"]),
    }


@contextmanager
def reading_entry(what: str, entry: Mapping[str, Any]) -> Iterator[None]:
    """DataError, with the symbol's name, when the entry lacks something or states it wrongly."""
    try:
        yield
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        name = entry.get("symbol", "?")
        raise DataError(f"the {what} entry of {name} lacks or misstates {error}") from error


def _brackets_of(base: str) -> tuple[LeverageBracket, ...]:
    return BRACKETS["major" if base in _MAJORS else "other"]


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _plain(text: str) -> Decimal:
    """A decimal without trailing zeros and without an exponent."""
    value = Decimal(text).normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value
