"""Binance's spot REST answers in Simple Binary Encoding (schema 3, version 5), from the JSON answers.

A request whose `Accept` header says `application/sbe` is answered with `answer(path, method, body)`, where
`body` is what the JSON door would have answered. A frame is a header of four 16-bit numbers (block length,
template, schema, version), the block, the groups (block length and count before them) and the data (length
before it), all little-endian. Layouts are in `sbe_schema`.
"""

import struct
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from live.rehearsal.spot.sbe_schema import (
    BITS,
    DECIMALS,
    ENUMS,
    FILTERS,
    INTEGERS,
    MESSAGES,
    SCHEMA_ID,
    SCHEMA_VERSION,
    Data,
    Field,
    Group,
    Message,
)

__all__ = ["CONTENT_TYPE", "answer", "encode", "wanted"]

CONTENT_TYPE = "application/sbe"

_NON_REPRESENTABLE, _NO_ENUM = 254, 255
_LEAST_EXPONENT = -18
_LENGTHS = {"text8": "B", "text16": "H", "frame8": "B", "frame16": "H", "frame32": "I"}
_MILLISECOND_US = 1_000
type _Scales = Mapping[str, int]

# (method, path) of answers with one template; those that depend on the body are in `_template`
_TEMPLATES = {
    ("GET", "/api/v3/ping"): "PingResponse",
    ("GET", "/api/v3/time"): "ServerTimeResponse",
    ("GET", "/api/v3/exchangeInfo"): "ExchangeInfoResponse",
    ("GET", "/api/v3/depth"): "DepthResponse",
    ("GET", "/api/v3/trades"): "TradesResponse",
    ("GET", "/api/v3/historicalTrades"): "TradesResponse",
    ("GET", "/api/v3/aggTrades"): "AggTradesResponse",
    ("GET", "/api/v3/klines"): "KlinesResponse",
    ("GET", "/api/v3/uiKlines"): "KlinesResponse",
    ("GET", "/api/v3/order"): "OrderResponse",
    ("GET", "/api/v3/openOrders"): "OrdersResponse",
    ("GET", "/api/v3/allOrders"): "OrdersResponse",
    ("DELETE", "/api/v3/openOrders"): "CancelOpenOrdersResponse",
    ("POST", "/api/v3/order/cancelReplace"): "CancelReplaceOrderResponse",
    ("DELETE", "/api/v3/orderList"): "CancelOrderListResponse",
    ("GET", "/api/v3/orderList"): "OrderListResponse",
    ("GET", "/api/v3/openOrderList"): "OrderListsResponse",
    ("GET", "/api/v3/allOrderList"): "OrderListsResponse",
    ("GET", "/api/v3/account"): "AccountResponse",
    ("GET", "/api/v3/myTrades"): "AccountTradesResponse",
    ("GET", "/api/v3/rateLimit/order"): "AccountOrderRateLimitResponse",
}
_BY_BODY = {
    ("GET", "/api/v3/ticker/price"): ("PriceTickerSymbolResponse", "PriceTickerResponse"),
    ("GET", "/api/v3/ticker/bookTicker"): ("BookTickerSymbolResponse", "BookTickerResponse"),
}
_NEW_ORDER = frozenset({"/api/v3/order", "/api/v3/sor/order"})
_NEW_LIST = frozenset(f"/api/v3/orderList/{kind}" for kind in ("oco", "oto", "otoco"))


def wanted(headers: Mapping[str, str]) -> bool:
    """Whether a request asks for SBE; the header names as written by the client, any case."""
    accepted = [value for name, value in headers.items() if name.lower() == "accept"]
    return any(CONTENT_TYPE in value.lower() for value in accepted)


def answer(path: str, method: str, body: Any, status: int = 200) -> bytes:
    """The frame of the answer to `method path`, for example "/api/v3/order", whose JSON answer is `body`.

    A status of 400 or more is an ErrorResponse with the body's `code` and `msg`, but a cancelReplace that
    failed in part has its data too. ValueError: the path has no template here, or the body does not fit it.
    """
    method = method.upper()
    if status >= 400:
        return encode("ErrorResponse", body)
    return encode(_template(path, method, body), body)


def encode(template: str, body: Any) -> bytes:
    """One frame, header and all, of a template such as "OrderResponse", from the JSON answer `body`.

    Decimals keep the digits that the answer writes. ValueError for an unknown template, a missing key or a
    value that the template cannot hold, with the name of the field.
    """
    try:
        message = MESSAGES[template]
    except KeyError:
        raise ValueError(f"no SBE template is called {template}") from None
    return _frame(message, body, template)


def _template(path: str, method: str, body: Any) -> str:
    key = (method, path)
    if key in _TEMPLATES:
        return _TEMPLATES[key]
    if key in _BY_BODY:
        one, many = _BY_BODY[key]
        return many if isinstance(body, list) else one
    if path in _NEW_ORDER:
        return _cancelled(body) if method == "DELETE" else _new_order(body)
    if path in _NEW_LIST and method == "POST":
        return _new_list(body)
    raise ValueError(f"{method} {path}: no SBE template is known for the answer")


def _new_order(body: Mapping[str, Any]) -> str:
    if "fills" in body:
        return "NewOrderFullResponse"
    return "NewOrderResultResponse" if "status" in body else "NewOrderAckResponse"


def _new_list(body: Mapping[str, Any]) -> str:
    report: Mapping[str, Any] = next(iter(body.get("orderReports", ())), {})
    if "fills" in report:
        return "NewOrderListFullResponse"
    return "NewOrderListResultResponse" if "status" in report else "NewOrderListAckResponse"


def _cancelled(body: Mapping[str, Any]) -> str:
    return "CancelOrderListResponse" if "contingencyType" in body else "CancelOrderResponse"


def _frame(message: Message, body: Any, where: str) -> bytes:
    scales = _scales(message, body)
    block = _block(message.fields, body, scales, where)
    header = struct.pack("<HHHH", len(block), message.template, SCHEMA_ID, SCHEMA_VERSION)
    return header + block + _tail(message.groups, message.data, body, scales, where)


def _tail(groups: Sequence[Group], data: Sequence[Data], item: Any, scales: _Scales, where: str) -> bytes:
    parts = [_group(group, item, scales, f"{where}.{group.name}") for group in groups]
    parts += [_variable(one, item, f"{where}.{one.name}") for one in data]
    return b"".join(parts)


def _group(group: Group, item: Any, scales: _Scales, where: str) -> bytes:
    rows = _find(item, group.path) or ()
    length = sum(_width(field) for field in group.fields)
    parts = [struct.pack("<HI" if group.wide else "<HH", length, len(rows))]
    for row in rows:
        inner = dict(scales) | _scales(group, row)
        parts.append(_block(group.fields, row, inner, where))
        parts.append(_tail(group.groups, group.data, row, inner, where))
    return b"".join(parts)


def _block(fields: Sequence[Field], item: Any, scales: _Scales, where: str) -> bytes:
    return b"".join(_value(field, item, scales, f"{where}.{field.name}") for field in fields)


def _width(field: Field) -> int:
    if field.kind in DECIMALS:
        return DECIMALS[field.kind][0]
    if field.kind in BITS:
        return struct.calcsize(BITS[field.kind][0])
    return struct.calcsize(INTEGERS[field.kind][0]) if field.kind in INTEGERS else 1


def _value(field: Field, item: Any, scales: _Scales, where: str) -> bytes:
    if field.kind == "exponent":
        return struct.pack("<b", scales[field.name])
    value = _find(item, field.path)
    if value is None:
        value = field.default
    if value is None and not field.optional:
        raise ValueError(f"{where}: the answer has no {'.'.join(field.path)}")
    if field.kind in DECIMALS:
        return _decimal(field, value, scales, where)
    return _plain(field, value, where)


def _plain(field: Field, value: Any, where: str) -> bytes:
    if field.kind in ENUMS:
        number = _NO_ENUM if value is None else ENUMS[field.kind].get(value, _NON_REPRESENTABLE)
        return struct.pack("<B", number)
    if field.kind in BITS:
        code, bits, other = BITS[field.kind]
        return struct.pack(f"<{code}", sum({1 << bits.get(word, other) for word in value}))
    code, none = INTEGERS[field.kind]
    return _packed(code, none if _absent(field, value) else _integer(field.kind, value, where), where)


def _absent(field: Field, value: Any) -> bool:
    """An optional number is -1 in some JSON answers where it does not apply."""
    return value is None or (field.optional and value == -1)


def _integer(kind: str, value: Any, where: str) -> int:
    if kind == "bool":
        return int(value in (True, "True"))
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {value!r} is no whole number") from None
    return number * _MILLISECOND_US if kind == "micros" else number


def _packed(code: str, number: int, where: str) -> bytes:
    try:
        return struct.pack(f"<{code}", number)
    except struct.error:
        raise ValueError(f"{where}: {number} does not fit") from None


def _decimal(field: Field, value: Any, scales: _Scales, where: str) -> bytes:
    size, exponent = DECIMALS[field.kind]
    least = -(1 << (8 * size - 1))
    mantissa = least if value is None else _mantissa(Decimal(str(value)), scales[exponent])
    if value is not None and not least < mantissa < -least:
        raise ValueError(f"{where}: {value} does not fit")
    return mantissa.to_bytes(size, "little", signed=True)


def _mantissa(value: Decimal, exponent: int) -> int:
    """Exact, where the arithmetic of Decimal would round to 28 digits."""
    sign, digits, own = value.as_tuple()
    assert isinstance(own, int), value
    number: int = int("".join(map(str, digits))) * 10 ** (own - exponent)
    return -number if sign else number


def _variable(data: Data, item: Any, where: str) -> bytes:
    value = _find(item, data.path)
    if value is None and not data.optional:
        raise ValueError(f"{where}: the answer has no {'.'.join(data.path)}")
    content = _content(data, value, where)
    return _packed(_LENGTHS[data.kind], len(content), f"{where}: the length") + content


def _content(data: Data, value: Any, where: str) -> bytes:
    if value is None:
        return b""
    if data.kind.startswith("text"):
        return str(value).encode()
    if data.name == "filter":
        kind = value["filterType"]
        return _frame(FILTERS[kind], value, f"{where}.{kind}")
    return encode(_inner(data.name, value), value)


def _inner(name: str, value: Mapping[str, Any]) -> str:
    """The template of a frame within a frame."""
    if "code" in value:
        return "ErrorResponse"
    if name == "newOrderResponse":
        return _new_order(value)
    return "CancelReplaceOrderResponse" if name == "data" else _cancelled(value)


def _find(item: Any, path: Sequence[str]) -> Any:
    """What lies at a path of keys and positions; None where there is nothing."""
    for step in path:
        if isinstance(item, Mapping):
            item = item.get(step)
        elif isinstance(item, Sequence) and not isinstance(item, str) and step.isdigit():
            item = item[int(step)] if int(step) < len(item) else None
        else:
            return None
    return item


def _scales(part: Message | Group, item: Any) -> dict[str, int]:
    """The exponents that this block states: enough digits for every decimal that is measured by them."""
    names = [field.name for field in part.fields if field.kind == "exponent"]
    return {name: _exponent(name, part, item) for name in names}


def _exponent(name: str, part: Message | Group, item: Any) -> int:
    digits = [0]
    for field in part.fields:
        if field.kind in DECIMALS and DECIMALS[field.kind][1] == name:
            digits.append(_digits(_find(item, field.path)))
    for group in part.groups:
        if any(field.name == name for field in group.fields):
            continue
        digits += [_exponent(name, group, row) for row in _find(item, group.path) or ()]
    return min(digits)


def _digits(value: Any) -> int:
    """The exponent that keeps a decimal as it is written."""
    if value is None:
        return 0
    exponent = Decimal(str(value)).as_tuple().exponent
    if not isinstance(exponent, int) or exponent < _LEAST_EXPONENT:
        raise ValueError(f"{value} is no decimal of {-_LEAST_EXPONENT} places")
    return min(exponent, 0)
