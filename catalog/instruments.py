"""Binance instruments with the exchange's own filters: tick, lot, least notional, margin.

The filters come from exchangeInfo, either a file the user names or the dated table that ships with the
package (`symbols.json`, from recorded exchangeInfo answers; each symbol says of which day). They are never
guessed: a symbol without filters is refused. Fees are not part of exchangeInfo; the venue's fee model owns
them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from nautilus_trader.model import (
    CryptoPerpetual,
    Currency,
    CurrencyPair,
    InstrumentId,
    Money,
    Price,
    Quantity,
    Symbol,
)

from catalog.columns import Grid
from configs.errors import DataError

__all__ = [
    "Market",
    "SymbolSpec",
    "build_instrument",
    "find_spec",
    "instrument_name",
    "market_of",
    "read_exchange_info",
    "shipped_specs",
    "symbol_of",
]

Market = Literal["um", "spot"]
_ROUTES = {"um": "/fapi/v1/exchangeInfo", "spot": "/api/v3/exchangeInfo"}
_RECORDED_LINE = re.compile(r"^(?P<url>https?://\S+) -> [\d.]+: (?P<body>\{.*\})\s*$")
_MARGINS = {"margin_init": "requiredMarginPercent", "margin_maint": "maintMarginPercent"}
_TABLE = Path(__file__).with_name("symbols.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSpec:
    """One symbol's filters as the exchange published them on the day `as_of`.

    Margins are fractions of the notional (0.05 is 5 %), zero on spot; quantities are in the base asset,
    `min_notional` in the quote asset.
    """

    symbol: str
    market: Market
    base: str
    quote: str
    settlement: str
    tick: Decimal
    step: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    margin_init: Decimal
    margin_maint: Decimal
    as_of: str
    source: str

    @property
    def instrument_id(self) -> str:
        """Nautilus's id, such as BTCUSDT-PERP.BINANCE."""
        return instrument_name(self.symbol, self.market)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        numbers = {name: Decimal(values[name]) for name in _DECIMALS}
        return cls(**{**values, **numbers})

    def to_dict(self) -> dict[str, str]:
        """Plain strings, ready for JSON."""
        return {
            name: f"{value:f}" if isinstance(value, Decimal) else value
            for name, value in asdict(self).items()
        }


_DECIMALS = ("tick", "step", "min_quantity", "max_quantity", "min_notional", "margin_init", "margin_maint")


def instrument_name(symbol: str, market: str) -> str:
    """The instrument id of a symbol on a market ("um" USD-M perpetual, "spot").

    >>> instrument_name("BTCUSDT", "um"), instrument_name("BTCUSDT", "spot")
    ('BTCUSDT-PERP.BINANCE', 'BTCUSDT.BINANCE')
    """
    if market not in _ROUTES:
        raise DataError(f"unknown market '{market}'; use um or spot")
    return f"{symbol}-PERP.BINANCE" if market == "um" else f"{symbol}.BINANCE"


def market_of(instrument_id: str) -> Market:
    """The market an instrument id belongs to."""
    return "um" if "-PERP." in instrument_id else "spot"


def symbol_of(instrument_id: str) -> str:
    """Binance's symbol of an instrument id."""
    return instrument_id.partition(".")[0].removesuffix("-PERP")


@cache
def shipped_specs(market: str) -> dict[str, SymbolSpec]:
    """The table that ships with the package, by symbol."""
    instrument_name("", market)
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    return {symbol: SymbolSpec.from_dict(values) for symbol, values in table[market].items()}


def find_spec(symbol: str, market: str, exchange_info: Path | None = None) -> SymbolSpec:
    """A symbol's filters from an exchangeInfo file, else from the shipped table; DataError when not there."""
    specs = shipped_specs(market) if exchange_info is None else read_exchange_info(exchange_info, market)
    if symbol in specs:
        return specs[symbol]
    if exchange_info is None:
        raise DataError(
            f"no trading filters are known for {symbol} on market {market}; save Binance's answer to "
            f"{_ROUTES[market]} and pass it with --exchange-info FILE"
        )
    raise DataError(f"{exchange_info} has no symbol {symbol} for market {market}")


def read_exchange_info(path: Path, market: str) -> dict[str, SymbolSpec]:
    """Every usable symbol of an exchangeInfo file: Binance's answer itself, or a recording that contains one.

    Recordings are JSON {"routes": {path: {"GET": [{"data": ...}]}}} and text lines `url -> time: {...}`. On
    market um only perpetual contracts are taken. DataError when the file has none for the market.
    """
    instrument_name("", market)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file with an exchangeInfo answer") from error
    body = _find_body(text, market, path)
    server_time = body.get("serverTime")
    as_of = datetime.fromtimestamp(server_time / 1000, UTC).date() if isinstance(server_time, int) else None
    if as_of is None:
        raise DataError(f"{path}: the exchangeInfo answer has no serverTime, so its filters cannot be dated")
    specs = {}
    for entry in body["symbols"]:
        spec = _parse_symbol(entry, market, as_of, path)
        if spec is not None:
            specs[spec.symbol] = spec
    if not specs:
        raise DataError(f"{path} lists no tradable symbol for market {market}")
    return specs


def build_instrument(spec: SymbolSpec) -> CryptoPerpetual | CurrencyPair:
    """The Nautilus instrument with the spec's filters; prices and sizes carry the decimals of tick and step.

    Price limits (PRICE_FILTER's minPrice and maxPrice) are left out on purpose: the backtest engine silently
    drops fills outside them. Fees are left at none.
    """
    price, size = Grid.of(spec.tick), Grid.of(spec.step)
    taken = int(datetime.fromisoformat(spec.as_of).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    step = Quantity.from_str(f"{spec.step:.{size.precision}f}")
    quote = Currency.from_str(spec.quote)
    shared: dict[str, Any] = {
        "instrument_id": InstrumentId.from_str(spec.instrument_id),
        "raw_symbol": Symbol(spec.symbol),
        "base_currency": Currency.from_str(spec.base),
        "quote_currency": quote,
        "price_precision": price.precision,
        "size_precision": size.precision,
        "price_increment": Price.from_str(f"{spec.tick:.{price.precision}f}"),
        "size_increment": step,
        "lot_size": step,
        "ts_event": taken,
        "ts_init": taken,
        "min_quantity": Quantity.from_str(f"{spec.min_quantity:.{size.precision}f}"),
        "max_quantity": Quantity.from_str(f"{spec.max_quantity:.{size.precision}f}"),
        "min_notional": Money.from_str(f"{spec.min_notional:f} {spec.quote}"),
        "info": {"as_of": spec.as_of, "source": spec.source},
    }
    if spec.market == "spot":
        return CurrencyPair(**shared)
    return CryptoPerpetual(
        **shared,
        settlement_currency=Currency.from_str(spec.settlement),
        is_inverse=False,
        margin_init=spec.margin_init,
        margin_maint=spec.margin_maint,
    )


def _find_body(text: str, market: str, path: Path) -> dict[str, Any]:
    route = _ROUTES[market]
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = _recorded(text, route)
    if isinstance(document, dict) and isinstance(document.get("routes"), dict):
        answers = document["routes"].get(route, {}).get("GET", [])
        document = next((answer.get("data") for answer in answers if isinstance(answer, dict)), None)
    if not isinstance(document, dict) or not isinstance(document.get("symbols"), list):
        raise DataError(f"{path} holds no exchangeInfo answer for market {market} (the JSON of {route})")
    return document


def _recorded(text: str, route: str) -> Any:
    for line in text.splitlines():
        match = _RECORDED_LINE.match(line)
        if match and match["url"].endswith(route):
            try:
                return json.loads(match["body"])
            except json.JSONDecodeError:
                return None
    return None


def _parse_symbol(entry: Any, market: str, as_of: date, path: Path) -> SymbolSpec | None:
    """The filters of one entry; None for what is not this market's (delivery contracts, the other market)."""
    try:
        if market == "um" and entry.get("contractType") != "PERPETUAL":
            return None
        if market == "spot" and "contractType" in entry:
            return None
        filters = {item["filterType"]: item for item in entry["filters"]}
        notional = filters.get("NOTIONAL") or filters["MIN_NOTIONAL"]
        margins = {
            name: Decimal(str(entry[key])) / 100 if market == "um" else Decimal(0)
            for name, key in _MARGINS.items()
        }
        spec = SymbolSpec(
            symbol=entry["symbol"],
            market="um" if market == "um" else "spot",
            base=entry["baseAsset"],
            quote=entry["quoteAsset"],
            settlement=entry.get("marginAsset", entry["quoteAsset"]),
            tick=_plain(filters["PRICE_FILTER"]["tickSize"]),
            step=_plain(filters["LOT_SIZE"]["stepSize"]),
            min_quantity=_plain(filters["LOT_SIZE"]["minQty"]),
            max_quantity=_plain(filters["LOT_SIZE"]["maxQty"]),
            min_notional=_plain(notional["notional" if "notional" in notional else "minNotional"]),
            as_of=as_of.isoformat(),
            source=_ROUTES[market],
            **{name: _plain(str(value)) for name, value in margins.items()},
        )
    except (KeyError, TypeError, AttributeError, InvalidOperation) as error:
        name = entry.get("symbol", "?") if isinstance(entry, dict) else "?"
        raise DataError(f"{path}: the exchangeInfo entry of {name} lacks or misstates {error}") from error
    if spec.tick <= 0 or spec.step <= 0:
        raise DataError(f"{path}: {spec.symbol} has tick {spec.tick} and step {spec.step}; no step is zero")
    return spec


def _plain(text: str) -> Decimal:
    """A decimal without trailing zeros and without an exponent."""
    value = Decimal(text).normalize()
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value
