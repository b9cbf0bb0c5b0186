"""The fault script: what goes wrong, when, and with what, as frozen values read from YAML.

    seed: 7
    faults:
      - kind: lose_answer                         the order is accepted, its answer never comes
        match: {path: "*order*", order_type: MARKET}
        when: {at_secs: 60, count: 1}
      - kind: close_sockets
        sockets: [user]
        frame: false
        timing: {at_secs: 120, repeat_secs: 300}

Seconds are market time since the replay began. Faults that answer to something (a request, a message, a
connection, a market event) have `match` and `when`: from `at_secs` for `for_secs`, without the first `skip`
matches, every `every`-th of the rest, each with `probability`, `count` times in all. Faults that happen by
themselves have `timing`: at `at_secs`, again each `repeat_secs`, each time with `probability`, `count` times
in all; where they last, for `for_secs`. Several faults may hit the same thing: their delays add, and of two
that answer a request the first in the script does. `KINDS` lists the kinds.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import ErrorDetails

from configs.errors import ConfigError
from configs.groups import Group, NonNegative, Positive, Seed
from live.rehearsal.errors import TEXTS

__all__ = [
    "KINDS",
    "AnyFault",
    "ChangeFilters",
    "CloseSockets",
    "CrossQuotes",
    "DelayMessage",
    "DelayRequest",
    "Deleverage",
    "DropMessage",
    "DropRequest",
    "DuplicateMessage",
    "ErrorAnswer",
    "ExpireListenKey",
    "FaultScript",
    "HaltSymbol",
    "HttpAnswer",
    "JumpPrice",
    "LateAcceptance",
    "LoseAnswer",
    "MoveMark",
    "RefuseConnection",
    "ReorderMessage",
    "RestartVenue",
    "SkewClock",
    "SliceFills",
    "StaleQuotes",
    "Timing",
    "When",
    "load_faults",
    "parse_fault",
    "parse_faults",
]

Chance = Annotated[float, Field(gt=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0, le=3_600_000)]
Socket = Literal["market", "user", "trading"]
Pattern = Annotated[str, Field(min_length=1)]
Percentage = Annotated[float, Field(gt=-100, le=1_000)]


class When(Group):
    """Which of the matching requests, messages, connections or market events are hit."""

    at_secs: NonNegative = 0.0
    for_secs: Positive | None = None
    skip: int = Field(default=0, ge=0)
    every: int = Field(default=1, ge=1)
    count: int | None = Field(default=None, ge=1)
    probability: Chance = 1.0


class Timing(Group):
    """When something happens by itself."""

    at_secs: NonNegative = 0.0
    for_secs: Positive | None = None
    repeat_secs: Positive | None = None
    count: int | None = Field(default=None, ge=1)
    probability: Chance = 1.0

    @model_validator(mode="after")
    def _lasting(self) -> "Timing":
        if self.for_secs is not None and self.repeat_secs is not None and self.for_secs >= self.repeat_secs:
            raise ValueError("for_secs must be shorter than repeat_secs")
        return self


class RequestMatch(Group):
    """Which requests. Patterns are shell globs; what is not given matches everything.

    `path` is a REST path, or the method of the WebSocket API (such as order.place), for which `method` is WS.
    """

    method: Literal["GET", "POST", "PUT", "DELETE", "WS"] | None = None
    path: Pattern = "*"
    symbol: Pattern = "*"
    order_type: Pattern = "*"
    side: Literal["BUY", "SELL"] | None = None
    client_id: Pattern = "*"


class MessageMatch(Group):
    """Which messages: of which stream (`user` for user data), event type, symbol and order status."""

    stream: Pattern = "*"
    event: Pattern = "*"
    symbol: Pattern = "*"
    status: Pattern = "*"


class SocketMatch(Group):
    """Which WebSocket handshakes."""

    sockets: tuple[Socket, ...] = Field(default=("market", "user", "trading"), min_length=1)


class _Fault(Group):
    name: str = ""

    @property
    def label(self) -> str:
        """The name, or the kind where none was given."""
        return self.name or str(getattr(self, "kind", ""))


# -- requests -----------------------------------------------------------------------------------------------


class _OnRequest(_Fault):
    match: RequestMatch = RequestMatch()
    when: When = When()


class DelayRequest(_OnRequest):
    """The request is looked at late, or answered late after its effect."""

    kind: Literal["delay_request"]
    delay_ms: Milliseconds = 0
    answer_delay_ms: Milliseconds = 0


class DropRequest(_OnRequest):
    """The connection is cut before the request is looked at, or stays open without an answer (`hang`)."""

    kind: Literal["drop_request"]
    hang: bool = False


class LoseAnswer(_OnRequest):
    """The request takes effect, its answer never comes: the connection is cut, or hangs."""

    kind: Literal["lose_answer"]
    hang: bool = False


class LateAcceptance(_OnRequest):
    """The request takes effect `later_ms` after its answer was lost, or after it was answered with -1007."""

    kind: Literal["late_acceptance"]
    later_ms: Milliseconds = 1_000
    answer: Literal["timeout", "drop", "hang"] = "timeout"


class ErrorAnswer(_OnRequest):
    """The venue's error `code` in its own words; with `carried_out` the request took effect all the same."""

    kind: Literal["error_answer"]
    code: int
    message: str | None = None
    status: int | None = Field(default=None, ge=400, le=599)
    retry_after_secs: int | None = Field(default=None, ge=0)
    carried_out: bool = False

    @model_validator(mode="after")
    def _known(self) -> "ErrorAnswer":
        if self.message is None and self.code not in TEXTS:
            raise ValueError(f"error code {self.code} has no known text; give a message")
        return self


class HttpAnswer(_OnRequest):
    """A bare HTTP status with a page of HTML or any other body, as gateways and firewalls answer."""

    kind: Literal["http_answer"]
    status: int = Field(default=503, ge=400, le=599)
    body: str | None = None
    retry_after_secs: int | None = Field(default=None, ge=0)
    carried_out: bool = False


# -- messages and connections -------------------------------------------------------------------------------


class _OnMessage(_Fault):
    match: MessageMatch = MessageMatch()
    when: When = When()


class DropMessage(_OnMessage):
    """The message never arrives."""

    kind: Literal["drop_message"]


class DelayMessage(_OnMessage):
    """The message is sent later (real time), behind others that are not delayed."""

    kind: Literal["delay_message"]
    delay_ms: Milliseconds = 1_000
    jitter_ms: Milliseconds = 0


class DuplicateMessage(_OnMessage):
    """The message arrives again, `copies` times, each `delay_ms` after the one before."""

    kind: Literal["duplicate_message"]
    copies: int = Field(default=1, ge=1, le=100)
    delay_ms: Milliseconds = 0


class ReorderMessage(_OnMessage):
    """The message is held back until `by` later ones of its stream have passed."""

    kind: Literal["reorder_message"]
    by: int = Field(default=1, ge=1, le=1_000)


class RefuseConnection(_Fault):
    """A WebSocket handshake is refused with `status`, or hangs."""

    kind: Literal["refuse_connection"]
    match: SocketMatch = SocketMatch()
    when: When = When()
    status: int = Field(default=503, ge=400, le=599)
    hang: bool = False


# -- the market ---------------------------------------------------------------------------------------------


class _OnMarket(_Fault):
    symbols: tuple[str, ...] = ()
    when: When = When()


class StaleQuotes(_OnMarket):
    """No new quotes; with `everything` no trades, klines and mark prices either."""

    kind: Literal["stale_quotes"]
    everything: bool = False


class CrossQuotes(_OnMarket):
    """Quotes whose bid lies `bps` above the ask."""

    kind: Literal["cross_quotes"]
    bps: Positive = 5.0


class MoveMark(_OnMarket):
    """The mark price is `percent` away from where it would be, from the moment on that the fault begins."""

    kind: Literal["move_mark"]
    percent: Percentage


class JumpPrice(_OnMarket):
    """All prices are `percent` away from where they would be, from the moment on that it begins: first the
    book, then the mark price."""

    kind: Literal["jump_price"]
    percent: Percentage


# -- what happens by itself ---------------------------------------------------------------------------------


class _Timed(_Fault):
    timing: Timing = Timing()


class _Once(_Timed):
    @model_validator(mode="after")
    def _no_length(self) -> "_Once":
        if self.timing.for_secs is not None:
            raise ValueError("this kind happens at once; for_secs has no meaning")
        return self


class CloseSockets(_Once):
    """WebSockets are closed, with a close frame of `code` or without one (`frame: false`)."""

    kind: Literal["close_sockets"]
    sockets: tuple[Socket, ...] = Field(default=("market", "user", "trading"), min_length=1)
    frame: bool = True
    code: int = Field(default=1001, ge=1000, le=4999)


class ExpireListenKey(_Once):
    """Every listen key ends, with listenKeyExpired or without a word (`told: false`)."""

    kind: Literal["expire_listen_key"]
    told: bool = True


class RestartVenue(_Once):
    """The venue goes down for `down_secs` (real time) and comes back with or without its memory."""

    kind: Literal["restart_venue"]
    memory: bool = True
    down_secs: NonNegative = 0.0


class Deleverage(_Once):
    """The venue closes so much of each position in a symbol, at the mark price: adl_autoclose (futures)."""

    kind: Literal["deleverage"]
    symbol: str
    percent: Annotated[float, Field(gt=0, le=100)] = 100.0


class HaltSymbol(_Timed):
    """A symbol is not in trading status; nothing is filled or triggered."""

    kind: Literal["halt_symbol"]
    symbol: str
    status: str = "BREAK"

    @model_validator(mode="after")
    def _halted(self) -> "HaltSymbol":
        if self.status == "TRADING":
            raise ValueError("status TRADING is no halt; use BREAK, HALT or SETTLING")
        return self


class ChangeFilters(_Timed):
    """A symbol's rules change, in exchangeInfo and at the matching engine."""

    kind: Literal["change_filters"]
    symbol: str
    tick: Annotated[Decimal, Field(gt=0)] | None = None
    step: Annotated[Decimal, Field(gt=0)] | None = None
    min_quantity: Annotated[Decimal, Field(gt=0)] | None = None
    max_quantity: Annotated[Decimal, Field(gt=0)] | None = None
    min_notional: Annotated[Decimal, Field(ge=0)] | None = None

    @property
    def changes(self) -> dict[str, Decimal]:
        """The rules that change."""
        names = ("tick", "step", "min_quantity", "max_quantity", "min_notional")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _some(self) -> "ChangeFilters":
        if not self.changes:
            raise ValueError("give at least one of tick, step, min_quantity, max_quantity, min_notional")
        return self


class SliceFills(_Timed):
    """Every fill comes in up to `slices` parts."""

    kind: Literal["slice_fills"]
    slices: int = Field(default=3, ge=2, le=100)


class SkewClock(_Timed):
    """The server's time runs `skew_ms` ahead of the wall clock (behind, when negative)."""

    kind: Literal["skew_clock"]
    skew_ms: int


RequestKind = DelayRequest | DropRequest | LoseAnswer | LateAcceptance | ErrorAnswer | HttpAnswer
MessageKind = DropMessage | DelayMessage | DuplicateMessage | ReorderMessage
ShiftKind = MoveMark | JumpPrice
MarketKind = StaleQuotes | CrossQuotes | ShiftKind
InstantKind = CloseSockets | Deleverage | ExpireListenKey | RestartVenue
LastingKind = HaltSymbol | ChangeFilters | SliceFills | SkewClock
AnyKind = RequestKind | MessageKind | RefuseConnection | MarketKind | InstantKind | LastingKind
AnyFault = Annotated[AnyKind, Field(discriminator="kind")]
KINDS = tuple(sorted(str(get_args(k.model_fields["kind"].annotation)[0]) for k in get_args(AnyKind)))
_ONE: TypeAdapter[AnyKind] = TypeAdapter(AnyFault)


class FaultScript(Group):
    """The whole script; `seed` decides everything that has a probability."""

    seed: Seed = 7
    faults: tuple[AnyFault, ...] = ()


def load_faults(path: Path) -> FaultScript:
    """Read a script from a YAML file; ConfigError in one line, whatever is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such fault script; examples are in configs/faults") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse_faults(text, str(path))


def parse_faults(text: str, where: str) -> FaultScript:
    """A script from YAML text; `where` names it in a ConfigError."""
    try:
        raw = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: broken YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: the top level must be a mapping with seed and faults")
    try:
        # Strict JSON rules: a number is not text, true is not 1.
        return FaultScript.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first(error)}") from None


def parse_fault(values: Mapping[str, Any]) -> AnyKind:
    """One fault from plain values, as the control endpoint takes it; ConfigError in one line."""
    try:
        return _ONE.validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise ConfigError(_first(error)) from None


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, which YAML would take the last of."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{twice}' is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _first(error: ValidationError) -> str:
    """The first mistake; an unknown key before what it may have caused."""
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{_told(details[0])}{more}"


def _told(detail: ErrorDetails) -> str:
    # The discriminator stands in the path as if it were a key.
    path = ".".join(str(part) for part in detail["loc"] if part not in KINDS)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {path}"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        got = detail["input"].get("kind") if isinstance(detail["input"], dict) else detail["input"]
        return f"{path or 'fault'}: unknown kind {got!r}; use one of {', '.join(KINDS)}"
    if detail["type"] == "missing":
        return f"{path}: missing; add it"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{path}: {message[:1].lower()}{message[1:]}, got {str(detail['input'])[:60]!r}"
