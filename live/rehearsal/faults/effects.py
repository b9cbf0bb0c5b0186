"""What a fault does to a request, a message or a market event: pure functions of its settings."""

import json
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from fnmatch import fnmatchcase
from typing import Any

from live.rehearsal.book import Depth, Kline, MarketEvent, MarkPrice, Quote, Trade
from live.rehearsal.errors import HTTP_STATUS, refuse
from live.rehearsal.faults.script import (
    CrossQuotes,
    DelayRequest,
    DropRequest,
    ErrorAnswer,
    HttpAnswer,
    JumpPrice,
    LateAcceptance,
    LoseAnswer,
    MarketKind,
    MessageMatch,
    MoveMark,
    RequestKind,
    RequestMatch,
    StaleQuotes,
)
from live.rehearsal.ports import RequestFault

__all__ = ["alter", "combine", "matches_message", "matches_request", "request_fault", "touches"]

FUTURES_WEIGHT_LIMIT = 2_400
_HTML = (
    "<html>\n<head><title>{0} {1}</title></head>\n"
    "<body>\n<center><h1>{0} {1}</h1></center>\n</body>\n</html>\n"
)
_REASONS = {
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    418: "I'm a teapot",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
_MARK_PLACES = Decimal("1e-8")
_JSON = "application/json"
_Levels = tuple[tuple[Decimal, Decimal], ...]


def matches_request(match: RequestMatch, method: str, path: str, params: Mapping[str, str]) -> bool:
    """Whether a request is meant. A parameter that was not sent is the empty text."""
    return (
        match.method in {None, method}
        and fnmatchcase(path, match.path)
        and fnmatchcase(params.get("symbol", ""), match.symbol)
        and fnmatchcase(params.get("type", ""), match.order_type)
        and match.side in {None, params.get("side")}
        and fnmatchcase(_client_id(params), match.client_id)
    )


def _client_id(params: Mapping[str, str]) -> str:
    names = ("newClientOrderId", "clientAlgoId", "origClientOrderId")
    return next((params[name] for name in names if name in params), "")


def matches_message(match: MessageMatch, stream: str, event: Any) -> bool:
    """Whether a message is meant; `event` is its JSON object."""
    if not fnmatchcase(stream, match.stream):
        return False
    if match.event == match.symbol == match.status == "*":
        return True
    values = event if isinstance(event, Mapping) else {}
    inner = values.get("o", {})
    order = inner if isinstance(inner, Mapping) else {}
    symbol = values.get("s") or order.get("s") or ""
    return (
        fnmatchcase(str(values.get("e", "")), match.event)
        and fnmatchcase(str(symbol), match.symbol)
        and fnmatchcase(str((order or values).get("X", "")), match.status)
    )


def request_fault(fault: RequestKind, weight_limit: int = FUTURES_WEIGHT_LIMIT) -> RequestFault:
    """What the server shall do; `weight_limit` is the one that the venue's words name."""
    match fault:
        case DelayRequest():
            return RequestFault(delay_ms=fault.delay_ms, answer_delay_ms=fault.answer_delay_ms)
        case DropRequest():
            return RequestFault("never", "hang" if fault.hang else "drop")
        case LoseAnswer():
            return RequestFault("now", "hang" if fault.hang else "drop")
        case LateAcceptance():
            return _late(fault)
        case ErrorAnswer():
            return _error(fault, weight_limit)
        case HttpAnswer():
            return _http(fault)


def combine(first: RequestFault | None, second: RequestFault) -> RequestFault:
    """Two faults of one request: their delays add; the first that does more than delay has the say."""
    if first is None:
        return second
    leading = second if (first.effect, first.answer) == ("now", "real") else first
    return leading._replace(
        delay_ms=first.delay_ms + second.delay_ms,
        answer_delay_ms=first.answer_delay_ms + second.answer_delay_ms,
    )


def touches(fault: MarketKind, event: MarketEvent) -> bool:
    """Whether the fault is about such an event."""
    if fault.symbols and event.symbol not in fault.symbols:
        return False
    match fault:
        case StaleQuotes():
            return isinstance(event, Quote | Depth | Trade | Kline | MarkPrice) and (
                fault.everything or isinstance(event, Quote | Depth)
            )
        case CrossQuotes():
            return isinstance(event, Quote | Depth)
        case MoveMark():
            return isinstance(event, MarkPrice)
        case JumpPrice():
            return isinstance(event, Quote | Depth | Trade | Kline | MarkPrice)


def alter(fault: MarketKind, event: MarketEvent, tick: Decimal) -> MarketEvent | None:
    """The event as the fault leaves it, prices on the tick; None when nothing is left of it."""
    match fault:
        case StaleQuotes():
            return None
        case CrossQuotes():
            return _crossed(event, fault.bps, tick)
        case MoveMark():
            return _moved_mark(event, _factor(fault.percent))
        case JumpPrice():
            return jumped(event, _factor(fault.percent), tick)


def jumped(event: MarketEvent, factor: Decimal, tick: Decimal) -> MarketEvent:
    """The event with all its prices times `factor`."""

    def to(price: Decimal) -> Decimal:
        return _on_tick(price * factor, tick)

    match event:
        case Quote():
            return event._replace(bid=to(event.bid), ask=max(to(event.ask), to(event.bid) + tick))
        case Depth():
            bids = _distinct(tuple((to(price), size) for price, size in event.bids), -tick)
            asks = _distinct(tuple((to(price), size) for price, size in event.asks), tick, bids[:1])
            return event._replace(bids=bids, asks=asks)
        case Trade():
            return event._replace(price=to(event.price))
        case Kline():
            return event._replace(
                open=to(event.open),
                high=to(event.high),
                low=to(event.low),
                close=to(event.close),
                quote_volume=event.quote_volume * factor,
                taker_quote_volume=event.taker_quote_volume * factor,
            )
        case MarkPrice():
            return _moved_mark(event, factor, index=True)
        case _:
            return event


def _late(fault: LateAcceptance) -> RequestFault:
    if fault.answer != "timeout":
        return RequestFault("later", fault.answer, later_ms=fault.later_ms)
    error = refuse(-1007)
    return RequestFault(
        "later",
        "canned",
        later_ms=fault.later_ms,
        status=error.http_status,
        body=json.dumps({"code": error.code, "msg": error.message}),
        headers={"Content-Type": _JSON},
    )


def _error(fault: ErrorAnswer, weight_limit: int) -> RequestFault:
    message = fault.message if fault.message is not None else _text(fault.code, weight_limit)
    status = fault.status or HTTP_STATUS.get(fault.code, 400)
    return RequestFault(
        "now" if fault.carried_out else "never",
        "canned",
        status=status,
        body=json.dumps({"code": fault.code, "msg": message}),
        headers=_headers(_JSON, fault.retry_after_secs),
    )


def _http(fault: HttpAnswer) -> RequestFault:
    reason = _REASONS.get(fault.status, "Error")
    return RequestFault(
        "now" if fault.carried_out else "never",
        "canned",
        status=fault.status,
        body=fault.body if fault.body is not None else _HTML.format(fault.status, reason),
        headers=_headers("text/html", fault.retry_after_secs),
    )


def _text(code: int, weight_limit: int) -> str:
    """The code's text; its gaps, where it has some, filled with the request limit and an empty word."""
    return refuse(code, weight_limit, "").message


def _headers(content_type: str, retry_after_secs: int | None) -> dict[str, str]:
    headers = {"Content-Type": content_type}
    return headers if retry_after_secs is None else headers | {"Retry-After": str(retry_after_secs)}


def _factor(percent: float) -> Decimal:
    return 1 + Decimal(str(percent)) / 100


def _on_tick(price: Decimal, tick: Decimal) -> Decimal:
    return max(tick, (price / tick).quantize(Decimal(1), ROUND_HALF_EVEN) * tick)


def _distinct(levels: _Levels, step: Decimal, below: _Levels = ()) -> _Levels:
    """Levels that rounding put on one price, or on the other side's best, moved a step further each."""
    result: list[tuple[Decimal, Decimal]] = list(below)
    for price, size in levels:
        apart = not result or (price - result[-1][0]) * step > 0
        at = price if apart else result[-1][0] + step
        if at > 0:
            result.append((at, size))
    return tuple(result[len(below) :])


def _crossed(event: MarketEvent, bps: float, tick: Decimal) -> MarketEvent:
    """Both sides moved through each other until the best bid is `bps` above the best ask."""
    if isinstance(event, Quote):
        shift = _shift(event.bid, event.ask, bps, tick)
        return event._replace(bid=event.bid + shift, ask=max(tick, event.ask - shift))
    if isinstance(event, Depth) and event.bids and event.asks:
        shift = _shift(event.bids[0][0], event.asks[0][0], bps, tick)
        bids = tuple((price + shift, size) for price, size in event.bids)
        asks = tuple((price - shift, size) for price, size in event.asks if price > shift)
        return event._replace(bids=bids, asks=asks)
    return event


def _shift(bid: Decimal, ask: Decimal, bps: float, tick: Decimal) -> Decimal:
    wanted = max(tick, bid * Decimal(str(bps)) / 10_000)
    return _on_tick((ask - bid + wanted) / 2 + tick / 2, tick)


def _moved_mark(event: MarketEvent, factor: Decimal, *, index: bool = False) -> MarketEvent:
    if not isinstance(event, MarkPrice):
        return event
    moved = event._replace(mark=(event.mark * factor).quantize(_MARK_PLACES))
    return moved._replace(index_price=(event.index_price * factor).quantize(_MARK_PLACES)) if index else moved
