"""What a refused order means, by the reason that came with it, and what follows. Pure: one table.

| kind | what it is | entries | a refused stop |
|---|---|---|---|
| network | no answer came | wait for a while | again, then the position goes |
| venue | overloaded, halted, in trouble | wait for a while | again, then the position goes |
| rate_limit | too many requests or orders | wait for a minute | again, then the position goes |
| filter | price, size or step against the rules | wait, the rules are read anew | the position goes |
| account | margin, limits of the account | wait for minutes | the position goes |
| account, keys | signature, permissions, mode | until an operator resumes | the position goes |
| logic | wrong or too late | the guard counts them | the position goes |

A reason is the text of Binance's error (`code=-2019: ...`, `Binance error -2021 (HTTP 400): ...`), or the
word of the engine (`INFLIGHT_TIMEOUT`, `RATE_LIMIT_EXCEEDED` ...): it hands on no answer that might mean that
the order was taken all the same (-1003, -1007, -1008, HTTP 429 and 5xx), those all end as `INFLIGHT_TIMEOUT`.
"""

import re
from typing import Literal, NamedTuple

__all__ = ["Kind", "Remedy", "code_kind", "error_code", "remedy"]

Kind = Literal["network", "venue", "rate_limit", "filter", "account", "logic"]


class Remedy(NamedTuple):
    """What follows when an order was refused.

    `pause_secs`: how long nothing is entered, None until an operator resumes, 0 not at all. `is_alarming`:
    an operator must see it. `stop_again`: a stop refused for this is tried once more before the position is
    closed. `asks`: the venue is asked about every order that works. `reads_rules`: the instrument is asked
    for anew.
    """

    kind: Kind
    pause_secs: float | None = 0.0
    is_alarming: bool = False
    stop_again: bool = False
    asks: bool = False
    reads_rules: bool = False


_NETWORK = Remedy("network", 15.0, stop_again=True, asks=True)
_VENUE = Remedy("venue", 30.0, is_alarming=True, stop_again=True, asks=True)
_RATE = Remedy("rate_limit", 60.0, is_alarming=True, stop_again=True)
_FILTER = Remedy("filter", 60.0, is_alarming=True, reads_rules=True)
_MARGIN = Remedy("account", 300.0, is_alarming=True)
_KEYS = Remedy("account", None, is_alarming=True)
_LOGIC = Remedy("logic")
_CLOCK = Remedy("network", 15.0, is_alarming=True, stop_again=True, asks=True)
_GONE = Remedy("logic", asks=True)
_KNOWN_STOP = Remedy("logic", stop_again=True, asks=True)
_LOST = Remedy("venue", 15.0, is_alarming=True, stop_again=True, asks=True)
_NO_PRICE = Remedy("venue", 5.0, stop_again=True)

_CODES: dict[Remedy, tuple[int, ...]] = {
    _VENUE: (-1000, -1001, -1006, -1007, -1008, -1016, -1034, -4131, -4140, -4141, -4400),
    _RATE: (-1003, -1015),
    _KEYS: (
        *(-1002, -1022, -1109, -2014, -2015, -2017, -4061, -4067, -4068, -4087, -4088, -4109, -4168, -4402),
        *(-4056, -4057, -4059, -4192, -4403),
    ),
    _MARGIN: (-2010, -2018, -2019, -2023, -2025, -2027, -2028, -4045, -4050, -4051),
    _FILTER: (
        *(-1013, -1111, -1112, -1121, -1122, -4001, -4002, -4003, -4004, -4005, -4006, -4007, -4013, -4014),
        *(-4016, -4023, -4024, -4164, -4183, -4184, -5029),
    ),
    _CLOCK: (-1021, -5028),
    _GONE: (-2011, -2013, -2022, -2024, -4118, -4509),
    _KNOWN_STOP: (-4116, -4130),
}
_BY_CODE = {code: answer for answer, codes in _CODES.items() for code in codes}
_BY_WORD = {
    "INFLIGHT_TIMEOUT": _NETWORK,
    "NOT_FOUND_AT_VENUE": _LOST,  # it was accepted, or seemed to be
    "RATE_LIMIT_EXCEEDED": _RATE,
    "MAX_ORDER": _RATE,
    "MARKET_PRICE_UNAVAILABLE": _NO_PRICE,
    "TRADING_HALTED": _VENUE,
    "EXCEEDS_FREE_BALANCE": _MARGIN,
    "EXCEEDS_MAX": _FILTER,
    "BELOW_MIN": _FILTER,
    "PRECISION": _FILTER,
    "REDUCE_ONLY_WOULD_INCREASE": _GONE,
    "timed out": _NETWORK,
    "connection": _NETWORK,
}
_CODE = re.compile(r"(?:code=|error )(-\d{3,5})\b")
_STATUS = re.compile(r"\b(?:HTTP|status)\W{0,3}(\d{3})\b")
_WAIT, _BANNED, _SERVER_ERROR = 429, 418, 500


def error_code(reason: str) -> int | None:
    """Binance's code in a reason, None without one.

    >>> error_code("submit-order-error: Binance error -2021 (HTTP 400): Order would immediately trigger.")
    -2021
    >>> error_code("code=-2019: Margin is insufficient."), error_code("INFLIGHT_TIMEOUT")
    (-2019, None)
    """
    found = _CODE.search(reason)
    return None if found is None else int(found[1])


def code_kind(code: int) -> Kind:
    """What a code of the venue means for an order; one that is not known is a mistake of our own.

    >>> code_kind(-2019), code_kind(-1007), code_kind(-2021)
    ('account', 'venue', 'logic')
    """
    return _BY_CODE.get(code, _LOGIC).kind


def remedy(reason: str) -> Remedy:
    """What follows a refusal for this reason; one that says nothing known is a mistake of our own.

    >>> remedy("code=-2015: Invalid API-key, IP, or permissions for action.").pause_secs is None
    True
    >>> remedy("INFLIGHT_TIMEOUT").kind, remedy("code=-2021: Order would immediately trigger.").kind
    ('network', 'logic')
    """
    code = error_code(reason)
    if code is not None:
        return _BY_CODE.get(code, _LOGIC)
    for word, answer in _BY_WORD.items():
        if word in reason:
            return answer
    status = _STATUS.search(reason)
    if status is None:
        return _LOGIC
    number = int(status[1])
    if number in (_WAIT, _BANNED):
        return _RATE
    return _VENUE if number >= _SERVER_ERROR else _LOGIC
