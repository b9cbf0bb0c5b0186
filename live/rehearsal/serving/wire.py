"""Between the wire and the venue: parameters read and checked, numbers written with the venue's decimals.

REST answers pad prices and quantities to the symbol's precision, user events strip their zeros, amounts of
money have eight decimals. Source: recorded answers and events of the exchange.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from live.rehearsal.errors import VenueError, refuse
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "Params",
    "Window",
    "average",
    "check_places",
    "fixed",
    "funding_text",
    "money",
    "newest",
    "plain",
    "price_text",
    "quantity_text",
    "quote_text",
    "rest_average",
    "solid",
]

_SECURITY_NAMES = ("timestamp", "recvWindow", "signature", "apiKey")
_LARGEST_DIGITS = 20


class Window(NamedTuple):
    """Which items of a list are asked for: from a number on, within a span of time, at most `limit`."""

    first: int | None
    start_ms: int | None
    end_ms: int | None
    limit: int

    def of[T](
        self, items: Iterable[T], time_of: Callable[[T], int], number_of: Callable[[T], int] | None = None
    ) -> list[T]:
        """The oldest of them when a first number or a start was given, else the newest."""
        chosen = [
            item
            for item in items
            if self.covers(time_of(item))
            and (self.first is None or number_of is None or number_of(item) >= self.first)
        ]
        if self.first is not None or self.start_ms is not None:
            return chosen[: self.limit]
        return newest(chosen, self.limit)

    def covers(self, ts_ms: int) -> bool:
        """Whether a time is in the span."""
        return (self.start_ms is None or ts_ms >= self.start_ms) and (
            self.end_ms is None or ts_ms <= self.end_ms
        )


class Params:
    """A request's parameters. Each is read by a typed getter; what nobody read is refused by `finish`."""

    def __init__(self, values: Mapping[str, str], *, strict: bool = True) -> None:
        self._values = dict(values)
        self._strict = strict
        self._read: set[str] = set(_SECURITY_NAMES)

    def sent(self, name: str) -> bool:
        """Whether the parameter was sent with a value."""
        self._read.add(name)
        return self._values.get(name, "") != ""

    def text(self, name: str) -> str | None:
        """The value, None when it was not sent; -1105 when it was sent empty."""
        self._read.add(name)
        value = self._values.get(name)
        if value == "":
            raise refuse(-1105, name)
        return value

    def need(self, name: str) -> str:
        """The value; -1102 when it was not sent."""
        self._read.add(name)
        value = self._values.get(name, "")
        if value == "":
            raise refuse(-1102, name)
        return value

    def symbol(self) -> str:
        """The mandatory symbol, in capitals as it was sent."""
        return self.need("symbol")

    def decimal(self, name: str) -> Decimal | None:
        """A decimal number without exponent; -1100 for anything else, -1111 beyond twenty digits."""
        value = self.text(name)
        if value is None:
            return None
        if not (value.isascii() and value.replace(".", "", 1).removeprefix("-").isdecimal()):
            raise refuse(-1100, name, "^([0-9]{1,20})(\\.[0-9]{1,20})?$")
        try:
            number = Decimal(value)
        except InvalidOperation as error:
            raise refuse(-1102, name) from error
        if max(len(part) for part in value.lstrip("-").split(".")) > _LARGEST_DIGITS:
            raise refuse(-1111)
        return number

    def integer(
        self, name: str, *, least: int | None = None, most: int | None = None, default: int | None = None
    ) -> int | None:
        """A whole number; -1102 when it is none, -1130 outside [least, most]."""
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.removeprefix("-").isdecimal()):
            raise refuse(-1102, name)
        number = int(value)
        if (least is not None and number < least) or (most is not None and number > most):
            raise refuse(-1130, name)
        return number

    def limit(self, default: int, most: int) -> int:
        """The `limit`: at least 1, cut to `most` as the venue does for its lists."""
        value = self.integer("limit", least=1)
        return default if value is None else min(value, most)

    def flag(self, name: str) -> bool | None:
        """true or false in any case; -1102 for anything else."""
        value = self.text(name)
        if value is None:
            return None
        if value.lower() not in {"true", "false"}:
            raise refuse(-1102, name)
        return value.lower() == "true"

    def choice(self, name: str, allowed: Collection[str], error: VenueError | None = None) -> str | None:
        """One of the allowed words; `error`, else -1130, for another."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise error or refuse(-1130, name)
        return value

    def span(self, *, longest_ms: int | None = None) -> tuple[int | None, int | None]:
        """`startTime` and `endTime`; -1023 when they are the wrong way round, -1127 when too far apart."""
        start, end = self.integer("startTime", least=0), self.integer("endTime", least=0)
        if start is not None and end is not None:
            if start > end:
                raise refuse(-1023)
            if longest_ms is not None and end - start > longest_ms:
                raise refuse(-1127)
        return start, end

    def window(
        self,
        number: str | None = None,
        *,
        default: int = 500,
        most: int = 1000,
        longest_ms: int | None = None,
    ) -> "Window":
        """`limit`, `startTime`, `endTime` and, where `number` names it, the first id asked for."""
        first = None if number is None else self.integer(number)
        return Window(first, *self.span(longest_ms=longest_ms), self.limit(default, most))

    def forbid(self, *names: str) -> None:
        """-1106 when one of these was sent."""
        for name in names:
            if self.sent(name):
                raise refuse(-1106, name)

    def ignore(self, *names: str) -> None:
        """Parameters that are taken and make no difference here."""
        self._read.update(names)

    def finish(self) -> None:
        """-1104 when something was sent that nobody read (nothing when not strict)."""
        if not self._strict:
            return
        sent, read = set(self._values), self._read & set(self._values)
        if sent != read:
            raise VenueError(
                -1104,
                f"Not all sent parameters were read; read '{len(read)}' parameter(s) but was sent "
                f"'{len(sent)}'.",
            )


def check_places(value: Decimal | None, places: int) -> None:
    """-1111 when a value has more decimals than the symbol's precision."""
    if value is None:
        return
    exponent = value.as_tuple().exponent
    if (
        isinstance(exponent, int)
        and -exponent > places
        and value != value.quantize(Decimal(1).scaleb(-places))
    ):
        raise refuse(-1111)


def fixed(value: Decimal, places: int) -> str:
    """With exactly so many decimals.

    >>> fixed(Decimal("0.1"), 3), fixed(Decimal("-2"), 2)
    ('0.100', '-2.00')
    """
    return f"{value:.{places}f}" if value else f"{Decimal(0):.{places}f}"


def plain(value: Decimal) -> str:
    """Without trailing zeros and exponent.

    >>> plain(Decimal("7100.50")), plain(Decimal("0E-8")), plain(Decimal("1E+2"))
    ('7100.5', '0', '100')
    """
    return f"{value.normalize():f}" if value else "0"


def money(value: Decimal) -> str:
    """An amount, with eight decimals."""
    return fixed(value, 8)


def funding_text(rate: Decimal) -> str:
    """A funding rate, with eight decimals."""
    return fixed(rate, 8)


def solid(value: Decimal) -> str:
    """A mean price: plain with at least one decimal and at most ten.

    >>> solid(Decimal("50000")), solid(Decimal("22185.25")), solid(Decimal(0))
    ('50000.0', '22185.25', '0.0')
    """
    text = plain(value.quantize(Decimal("1e-10"))) if value else "0"
    return text if "." in text else f"{text}.0"


def price_text(spec: SymbolSpec, price: Decimal) -> str:
    """A price, padded to the symbol's price precision."""
    return fixed(price, spec.price_precision)


def quantity_text(spec: SymbolSpec, quantity: Decimal) -> str:
    """A quantity, padded to the symbol's quantity precision."""
    return fixed(quantity, spec.quantity_precision)


def quote_text(spec: SymbolSpec, notional: Decimal) -> str:
    """Price times quantity, padded to the sum of both precisions."""
    return fixed(notional, spec.price_precision + spec.quantity_precision)


def rest_average(spec: SymbolSpec, price: Decimal) -> str:
    """A mean fill price in an answer: 0.00 before the first fill."""
    if not price:
        return price_text(spec, price)
    return fixed(price, spec.price_precision + spec.quantity_precision)


def average(price: Decimal) -> str:
    """A mean fill price in a user event."""
    return plain(price.quantize(Decimal("1e-8"))) if price else "0"


def newest[T](items: Iterable[T], limit: int) -> list[T]:
    """The last `limit` of the items, oldest first."""
    kept = list(items)
    return kept[-limit:]
