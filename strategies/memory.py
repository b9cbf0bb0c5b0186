"""What a live strategy must know again after it was killed; positions and orders come from the venue."""

import msgspec

from strategies.entries import PendingEntry
from strategies.open_trade import OpenTrade

__all__ = ["TradeMemory"]


class TradeMemory(msgspec.Struct):
    """A strategy's trade on `instrument`.

    `held_lots` is the signed position that `trade` was last matched to, `opened` when it was opened by the
    venue's clock (ns UTC, 0 while there is none), `flat_since` when the last trade
    ended and `last_intent` the (time, side) of the last entry that was permitted (ns UTC, None: never).
    """

    instrument: str
    held_lots: int = 0
    trade: OpenTrade | None = None
    pending: PendingEntry | None = None
    opened: int = 0
    flat_since: int | None = None
    last_intent: tuple[int, int] | None = None
