"""Orders by number, by client id and, the open ones, by symbol; and records as plain JSON values and back."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal
from functools import cache
from types import NoneType
from typing import Any, Protocol, get_args, get_type_hints

__all__ = ["Record", "Store", "amounts_of", "decode", "encode", "texts_of"]


class Record(Protocol):
    """What a store needs to know of an order."""

    @property
    def symbol(self) -> str:
        """The symbol it is on."""
        ...

    @property
    def good_till_ms(self) -> int:
        """When it ends by itself; 0 for never."""
        ...

    @property
    def number(self) -> int:
        """The id that the venue gave."""
        ...

    @property
    def client_id(self) -> str:
        """The id that the client gave."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it still waits."""
        ...


class Store[T: Record]:
    """The latest record of every order; of the closed ones the last `history`, the oldest forgotten first."""

    def __init__(self, history: int) -> None:
        self._history = history
        self._records: dict[int, T] = {}
        self._open: dict[str, dict[int, None]] = {}
        self._clients: dict[str, int] = {}
        self._closed: dict[int, None] = {}
        self._timed: dict[int, int] = {}

    def put(self, record: T) -> None:
        """Insert a record or replace the one with its number."""
        number = record.number
        self._records[number] = record
        self._clients[record.client_id] = max(number, self._clients.get(record.client_id, number))
        if record.is_open:
            self._open.setdefault(record.symbol, {})[number] = None
            if record.good_till_ms:
                self._timed[number] = record.good_till_ms
            return
        self._open.get(record.symbol, {}).pop(number, None)
        self._timed.pop(number, None)
        self._closed[number] = None
        if len(self._closed) > self._history:
            self._forget(next(iter(self._closed)))

    def latest(self, record: T) -> T:
        """The record as it is now; itself when it was forgotten."""
        return self._records.get(record.number, record)

    def find(self, number: int | None = None, client_id: str | None = None) -> T | None:
        """By number when one is given, else the newest with the client id; None when there is none."""
        if number is None:
            number = self._clients.get(client_id) if client_id is not None else None
        return self._records.get(number) if number is not None else None

    def open(self, symbol: str | None = None) -> list[T]:
        """The open ones in the order of their numbers, of one symbol or of all."""
        groups = self._open.values() if symbol is None else [self._open.get(symbol, {})]
        return [self._records[number] for number in sorted(n for group in groups for n in group)]

    def symbols(self) -> Iterator[str]:
        """The symbols that have open ones."""
        return (symbol for symbol, group in self._open.items() if group)

    def count_open(self, symbol: str) -> int:
        """How many are open on a symbol."""
        return len(self._open.get(symbol, {}))

    def due(self, now_ms: int) -> list[T]:
        """The open ones whose good-till time has come."""
        if not self._timed:
            return []
        return [self._records[number] for number, till in sorted(self._timed.items()) if till <= now_ms]

    def all(self, symbol: str | None = None) -> list[T]:
        """Every record kept, in the order of their numbers."""
        return [r for _, r in sorted(self._records.items()) if symbol is None or r.symbol == symbol]

    def _forget(self, number: int) -> None:
        del self._closed[number]
        record = self._records.pop(number)
        if self._clients.get(record.client_id) == number:
            del self._clients[record.client_id]


def encode(record: Any) -> dict[str, Any]:
    """A frozen record of numbers and words as JSON values: decimals become strings."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def decode[T](kind: type[T], values: Mapping[str, Any]) -> T:
    """The inverse of `encode` for a record of class `kind`."""
    key: Any = kind
    hints = _hints(key)
    return kind(**{name: _decoded(hints[name], value) for name, value in values.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _decoded(hint: Any, value: Any) -> Any:
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
    return Decimal(value) if Decimal in kinds and value is not None else value


def texts_of(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    """Amounts by name as JSON values."""
    return {name: str(amount) for name, amount in amounts.items()}


def amounts_of(texts: Mapping[str, str]) -> dict[str, Decimal]:
    """The inverse of `texts_of`."""
    return {name: Decimal(text) for name, text in texts.items()}
