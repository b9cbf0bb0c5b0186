"""How a node was asked to run: its command line's answers, as the parts of the start need them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from live.venues import VenueKind

__all__ = ["EXIT_CODES", "AtEnd", "NodeOptions"]

# of a node that ended in order, by what it left behind
EXIT_CODES: Mapping[str, int] = {"flat": 0, "protected": 3}


class AtEnd(StrEnum):
    """What becomes of an open position when the node is stopped."""

    KEEP = "keep"
    FLATTEN = "flatten"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """`may_enter`: orders may be sent at all; `asks`: not before somebody has typed the account's name."""

    kind: VenueKind
    folder: Path
    may_enter: bool
    asks: bool
    adopt: bool
    apply: bool
    at_end: AtEnd
    secs: float | None
    speed: float
