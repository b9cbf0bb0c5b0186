"""Keeps one strategy's entry under way: sent, resting, moved, taken at the market, withdrawn.

From its permission until its last order is closed; what has filled of it is the trade (`strategies.keeper`).
"""

import math
from typing import Any, Protocol

from strategies import entries
from strategies.entries import PendingEntry, Resting
from strategies.journal import Journal
from strategies.open_trade import ladder_of
from strategies.orders import ADD, ENTRY, OrderDesk
from strategies.permits import Permits
from strategies.setup import StrategySetup
from strategies.values import Approved, Intent, Refused

__all__ = ["EntryCare", "EntryKeeper"]


class EntryCare(Protocol):
    """What is told of an entry before it is sent."""

    def before_entry(self, pending: PendingEntry) -> bool:
        """An entry is about to be sent; False when it must not be."""

    def before_add(self) -> bool:
        """An addition is about to be sent; False when it must not be."""


class EntryKeeper:
    """The entry under way of one strategy: `pending`, None when there is none. `gone` is the one whose order
    was closed last: what it has filled may be heard of later."""

    def __init__(self, setup: StrategySetup, orders: OrderDesk, journal: Journal, permits: Permits) -> None:
        self.pending: PendingEntry | None = None
        self.gone: PendingEntry | None = None
        self.care: EntryCare | None = None
        self._setup = setup
        self._orders = orders
        self._journal = journal
        self._permits = permits
        self._ticks_per_unit = setup.ticks_per_unit
        self._ts = 0
        self._close = math.nan

    def see_bar(self, ts_event: int, close: float) -> None:
        """A bar has closed; everything that follows happens at its close."""
        self._ts, self._close = ts_event, close

    # -- entering ------------------------------------------------------------------------------------------

    def enter(self, intent: Intent, verdict: Approved, resting: Resting | None) -> None:
        """Send an entry that was approved, at the market or to rest."""
        lots = self._orders.lots(verdict.quantity)
        pending = PendingEntry(verdict, ladder_of(intent, self._setup.ladder), lots, resting)
        if self.care is not None and not self.care.before_entry(pending):
            self._journal.refusal(Refused("memory", 0.0, 1.0))
            return
        self.pending = pending
        if resting is None:
            self._market_entry(pending, lots)
        else:
            self._rest(pending, lots, resting.ticks)
        self._journal.entry_submitted(verdict.side)

    def withdraw(self, reason: str) -> None:
        """Take back what has not filled of an entry."""
        pending = self.pending
        if pending is None or pending.is_withdrawn:
            return
        pending.is_withdrawn = True
        self._journal.action("withdraw_entry", reason=reason)
        self._orders.cancel(ENTRY)
        if not self._orders.is_working(ENTRY):
            self.pending = None

    def withdraw_again(self) -> None:
        """Cancel what an entry that was taken back has left: its first cancel may have been refused."""
        if self.pending is not None and self.pending.is_withdrawn:
            self._orders.cancel(ENTRY)

    def forget_unsent(self) -> None:
        """Live: an entry that never left, since something failed on the way, is not waited for."""
        pending = self.pending
        if pending is None or pending.is_refused or pending.is_taking or self._orders.is_working(ENTRY):
            return
        self.pending = None
        self._journal.action("entry_unsent")

    def attend(self) -> None:
        """Look after an entry under way at a bar's close: it may have to go, to move, or to take."""
        pending, config = self.pending, self._setup.entry
        if pending is None or pending.is_withdrawn:
            return
        if not self._permits.may_rest(self._ts):
            self.withdraw("not_permitted")
        elif pending.is_taking:
            self._orders.cancel(ENTRY)  # it could not be sent yet, or was refused
        elif pending.resting is not None:
            stood = pending.resting
            pending.resting, what = entries.step(
                pending.resting, self._close, config, self._ticks_per_unit, refused=pending.is_refused
            )
            if what == entries.GIVE_UP:
                self.withdraw("timeout")
            elif what == entries.TAKE:
                self._journal.action("take_entry", price=self._close)
                pending.is_taking = True
                self._orders.cancel(ENTRY)
            elif what == entries.REPRICE:
                self._reprice(pending, pending.resting, stood)

    def _reprice(self, pending: PendingEntry, resting: Resting, stood: Resting) -> None:
        ticks, barred = resting.ticks, self._permits.barred()
        if barred is not None:
            self._journal.refusal(barred)
            pending.resting = stood  # asked again at the next close
            return
        self._journal.action("reprice", price=self._orders.price(ticks))
        # what was permitted is a notional and a risk: a dearer price buys fewer
        dearer = max(1.0, ticks / resting.first_ticks)
        lots = math.floor(pending.lots / dearer + 1e-9) - pending.filled_lots
        if lots <= 0:
            self.withdraw("filled")
        elif pending.is_refused:
            self._rest_again(pending, lots, ticks)
        elif not self._orders.move_entry(ticks, lots, risk_per_unit=pending.risk_per_unit * dearer):
            pending.resting = stood  # the venue has yet to answer: asked again at the next close

    def _rest_again(self, pending: PendingEntry, lots: int, ticks: int) -> None:
        """What the venue refused was not under way meanwhile: it is held against every limit again."""
        approved = pending.approved
        stop = self._close * (1.0 - approved.side * approved.stop_distance)
        wish = Intent(approved.side, approved.confidence, ("reprice",))
        verdict = self._more(wish, approved, self._orders.size(lots), stop, adding=False)
        if isinstance(verdict, Refused):
            self.withdraw(verdict.check)
            return
        lots, pending.is_refused = self._orders.lots(verdict.quantity), False
        pending.lots = pending.filled_lots + lots
        self._rest(pending, lots, ticks)

    def _rest(self, pending: PendingEntry, lots: int, ticks: int) -> None:
        post_only = self._setup.entry.order == "post_only"
        side, risk = pending.approved.side, pending.risk_per_unit
        self._orders.limit_entry(side, lots, ticks, post_only=post_only, risk_per_unit=risk)

    def _market_entry(self, pending: PendingEntry, lots: int) -> None:
        side, risk = pending.approved.side, pending.risk_per_unit
        self._orders.market(ENTRY, side, lots, price=self._close, risk_per_unit=risk)

    def _take_rest(self, pending: PendingEntry, stop_ticks: int | None) -> None:
        """What rested in vain goes to the market, if it may: it is held against every limit again."""
        approved = pending.approved
        stop = self._close * (1.0 - approved.side * approved.stop_distance)
        if stop_ticks is not None:
            stop = self._orders.price(stop_ticks)
        # what was permitted is a risk: with the stop farther away than planned the rest is smaller
        limits = self._setup.limits
        loses = abs(self._close - stop) + (limits.entry_cost + limits.exit_cost) * self._close
        left = (pending.lots - pending.filled_lots) * min(1.0, pending.risk_per_unit / loses)
        verdict = self._more(
            Intent(approved.side, approved.confidence, ("take_entry",)),
            approved,
            self._orders.size(math.floor(left + 1e-9)),
            stop,
            adding=stop_ticks is not None,
        )
        pending.is_taking, pending.resting = False, None
        if isinstance(verdict, Approved):
            self._market_entry(pending, self._orders.lots(verdict.quantity))
        else:
            self.pending = None

    def add(self, approved: Approved, entry_lots: int, stop_ticks: int) -> None:
        """Ask for a scale-in of a trade whose entry filled `entry_lots`, and send it at the market."""
        lots = math.floor(entry_lots * self._setup.add_share + 1e-9)
        verdict = self._more(
            Intent(approved.side, approved.confidence, ("scale_in",)),
            approved,
            self._orders.size(lots),
            self._orders.price(stop_ticks),
            adding=True,
        )
        if isinstance(verdict, Refused):
            return
        if self.care is not None and not self.care.before_add():
            self._journal.refusal(Refused("memory", 0.0, 1.0))
        else:
            risk = verdict.risk_amount / verdict.quantity
            added = self._orders.lots(verdict.quantity)
            self._orders.market(ADD, approved.side, added, price=self._close, risk_per_unit=risk)

    def _more(
        self, intent: Intent, approved: Approved, quantity: float, stop_price: float, *, adding: bool
    ) -> Approved | Refused:
        verdict = self._permits.more(
            intent,
            quantity,
            ts_event=self._ts,
            close=self._close,
            stop_price=stop_price,
            mode_at_entry=approved.factors.get("mode", 1.0),
            adding=adding,
        )
        self._journal.decision(intent, {}, verdict)
        return verdict

    # -- events --------------------------------------------------------------------------------------------

    def filled(self) -> None:
        """One of its orders has filled: without another it is over."""
        if not self._orders.is_working(ENTRY):
            self.pending = None

    def closed(self, stop_ticks: int | None) -> None:
        """One of its orders is closed without a fill; `stop_ticks` is the trade's stop, None without one."""
        pending = self.pending
        if pending is None or self._orders.is_working(ENTRY):
            return
        if pending.is_taking and not pending.is_withdrawn:
            self._take_rest(pending, stop_ticks)
        else:
            self.gone, self.pending = pending, None

    def refused(self, event: Any) -> bool:
        """The venue or the engine refused one of its orders; True when nothing is wrong with that."""
        pending, would_take = self.pending, bool(getattr(event, "due_post_only", False))
        if pending is None:
            return False
        pending.is_refused = True
        if pending.is_withdrawn or not would_take:
            self.pending = None
        return would_take
