"""What a live strategy must know again after it was killed; positions and orders come from the venue."""

import math

import msgspec

from strategies.entries import PendingEntry
from strategies.open_trade import OpenTrade
from strategies.results import Closed
from strategies.trade import Rung

__all__ = ["TradeMemory"]


class TradeMemory(msgspec.Struct):
    """A strategy's trade on `instrument`.

    `held_lots` is the signed position that `trade` was last matched to, `opened` when it was opened by the
    venue's clock (ns UTC, 0 while there is none), `flat_since` when the last trade
    ended and `last_intent` the (time, side) of the last entry that was permitted (ns UTC, None: never).
    `since` is when the last entry was decided, `unsettled` a trade whose result is not told yet, and
    `last_fill` the venue's number of the newest fill of those that are (-1: none).
    Lots and ticks are those of `step_size` and `tick_size` (0: not written down).
    """

    instrument: str
    held_lots: int = 0
    trade: OpenTrade | None = None
    pending: PendingEntry | None = None
    opened: int = 0
    flat_since: int | None = None
    last_intent: tuple[int, int] | None = None
    tick_size: float = 0.0
    step_size: float = 0.0
    since: int = 0
    unsettled: Closed | None = None
    last_fill: int = -1

    @property
    def began(self) -> int:
        """When the trade that is open or under way began, by the venue's clock (ns UTC); 0 without one."""
        if self.trade is not None:
            return self.opened
        return 0 if self.pending is None or self.last_intent is None else self.last_intent[0]

    @property
    def most_lots(self) -> int:
        """The largest position, unsigned, that this may have become unheard: all of the entry has filled."""
        pending = self.pending
        coming = 0 if pending is None else max(0, pending.lots - pending.filled_lots)
        return abs(self.held_lots) + coming

    def on_grid(self, tick_size: float, step_size: float) -> "TradeMemory":
        """The same in another tick and step: the venue may have changed them while the node was dead.

        Prices go to the nearest tick; of a lot that is not whole nothing is left, but for what a target has
        closed already, which is rounded.
        """
        by_tick, by_step = self.tick_size / tick_size, self.step_size / step_size
        if 0.0 in (by_tick, by_step) or (by_tick, by_step) == (1.0, 1.0):
            return msgspec.structs.replace(self, tick_size=tick_size, step_size=step_size)

        def ticks(number: int) -> int:
            return round(number * by_tick)

        def lots(number: int) -> int:
            return int(math.copysign(math.floor(abs(number) * by_step + 1e-9), number))

        trade, pending = self.trade, self.pending
        if trade is not None:
            plan = trade.plan
            trade = msgspec.structs.replace(
                trade,
                plan=plan._replace(entry_ticks=ticks(plan.entry_ticks), stop_ticks=ticks(plan.stop_ticks)),
                rungs=tuple(
                    Rung(ticks(r.ticks), lots(r.lots), r.share, round(r.closed * by_step))
                    for r in trade.rungs
                ),
                min_lots=max(1, math.ceil(trade.min_lots * by_step - 1e-9)),
                entry_lots=lots(trade.entry_lots),
            )
        if pending is not None:
            rests = pending.resting
            pending = msgspec.structs.replace(
                pending,
                lots=lots(pending.lots),
                filled_lots=lots(pending.filled_lots),
                resting=rests
                and rests._replace(ticks=ticks(rests.ticks), first_ticks=ticks(rests.first_ticks)),
            )
        return msgspec.structs.replace(
            self,
            held_lots=lots(self.held_lots),
            trade=trade,
            pending=pending,
            tick_size=tick_size,
            step_size=step_size,
        )
