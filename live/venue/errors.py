"""What goes wrong between this program and the venue, in four kinds that each have their own answer.

| kind | what it is | what to do |
|---|---|---|
| network | no whole answer came: refused, timed out, cut | ask again; find out what became of an order |
| venue | the venue will not now: overload, rate limit, halt, outage | wait as long as it asks, then go on |
| logic | the request is wrong or comes too late | do not repeat it; correct it |
| account | keys, permissions, margin, mode of the account | no new orders until a person has looked |
"""

from typing import Literal

from configs.errors import RunFailedError
from strategies.refusals import Kind, code_kind

__all__ = ["ErrorKind", "VenueRequestError", "classify"]

ErrorKind = Literal["network", "venue", "logic", "account"]

# Read otherwise than of an order: whoever asks corrects the one, and must look at the account for the other.
_OF_REQUESTS: dict[int, Kind] = {-4045: "logic", -2026: "account"}
_WAITING = {408, 418, 429}
_UNAUTHORISED = 401
_FORBIDDEN = 403
_SERVER_ERROR = 500
_MAYBE_DONE = {-1006, -1007}
_ODD_FOR_READS = {-1021, -2010}  # a clock or an order that is refused says nothing lasting about a question


def classify(code: int | None, http_status: int | None = None) -> ErrorKind:
    """The kind of a venue's error code, or of a bare HTTP status where there is no code.

    The codes are those of `strategies.refusals`. 403 without a code is the venue's firewall. No code and no
    status: nothing came back.

    >>> classify(-2019), classify(-1007), classify(-2021), classify(None, 502), classify(None)
    ('account', 'venue', 'logic', 'venue', 'network')
    """
    known = None if code is None else _OF_REQUESTS.get(code, code_kind(code))
    if known == "account":
        return "account"
    if known in ("venue", "rate_limit"):
        return "venue"
    if http_status is None and code is None:
        return "network"
    if http_status is not None and (http_status >= _SERVER_ERROR or http_status in _WAITING):
        return "venue"
    if code is None and http_status in {_UNAUTHORISED, _FORBIDDEN}:
        return "account" if http_status == _UNAUTHORISED else "venue"
    return "logic"


class VenueRequestError(RunFailedError):
    """A request that came to nothing, or to nobody knows what, in one line.

    `kind` says whose fault it is (`classify`), `code` is the venue's own, None where there is none.
    `retry_after_secs` is how long the venue asks to be left alone, 0 when it does not say. `maybe_done` is
    True when the request may have taken effect all the same.
    """

    def __init__(
        self,
        what: str,
        reason: str,
        *,
        code: int | None = None,
        http_status: int | None = None,
        retry_after_secs: float = 0.0,
        sent: bool = True,
    ) -> None:
        self.kind: ErrorKind = classify(code, http_status)
        self.code = code
        self.http_status = http_status
        self.retry_after_secs = retry_after_secs
        no_answer = code is None and (http_status is None or http_status >= _SERVER_ERROR)
        self.maybe_done = sent and (no_answer or code in _MAYBE_DONE)
        super().__init__(f"{self.kind}: {what}: {' '.join(reason.split())}")

    @property
    def may_pass(self) -> bool:
        """Whether the same question may well be answered a little later."""
        return self.kind in ("network", "venue") or self.code in _ODD_FOR_READS
