"""Keeps one strategy's trade: the entry under way, the plan, the protection, the exit.

Called at every bar, with what the strategy wants, and with every event of its orders. Whatever happens to an
order, the protection is matched to the position again; the position is asked of the engine every time.
"""

import math
from typing import Any, Protocol

from nautilus_trader.trading import Strategy

from strategies import entries, trade
from strategies.entries import PendingEntry, Resting
from strategies.journal import Journal
from strategies.open_trade import OpenTrade, ladder_of, open_trade
from strategies.orders import ADD, ANCHOR, ENTRY, EXIT, STOP, TARGET, OrderDesk
from strategies.permits import Permits
from strategies.protect import Cancel, Modify, Place, Step, match_protection
from strategies.setup import StrategySetup
from strategies.values import Approved, Intent, Refused
from strategies.venue_stop import BRIDGE, match_stop

__all__ = ["Care", "TradeKeeper"]

_STOP_AGAIN_NS = 1_000_000_000
_LAST_RESORT = 0.01  # stop distance of a position that nothing else is known about


class Care(Protocol):
    """What is told of every look at the protection, and of an entry before it is sent."""

    def seen(self) -> None:
        """The orders were matched with the position."""

    def before_entry(self, pending: PendingEntry) -> None:
        """An entry is about to be sent."""


class TradeKeeper:
    """The trade and the orders of one strategy.

    `trade` is what is open (None: flat), `pending` the entry under way. `recheck`: something was refused, so
    the next bar looks again. `closed` is the trade that has just ended, until its result is known.
    """

    def __init__(
        self, strategy: Strategy, setup: StrategySetup, orders: OrderDesk, journal: Journal, permits: Permits
    ) -> None:
        self.trade: OpenTrade | None = None
        self.pending: PendingEntry | None = None
        self.closed: tuple[OpenTrade, float, str] | None = None
        self.recheck = False
        self.care: Care | None = None
        self._strategy = strategy
        self._setup = setup
        self._orders = orders
        self._journal = journal
        self._permits = permits
        self._id = setup.instrument.id
        self._ticks_per_unit = setup.ticks_per_unit
        self._last_fill = ""
        self._anchored_at = -1
        self._refused_changes: dict[str, int] = {}
        self._refused_stops: dict[str, int] = {}
        self._bars = 0
        self._flat_since = -setup.cool_off_bars
        self._ts = 0
        self._close = math.nan

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to look after at a bar's close."""
        return self.trade is not None or self.pending is not None or self.recheck

    @property
    def is_idle(self) -> bool:
        """Nothing open, nothing under way: an order that is not closed could act on the next position."""
        return self.trade is None and self.pending is None and self._orders.is_idle

    @property
    def side(self) -> int:
        """+1 long, -1 short, 0 flat."""
        return 0 if self.trade is None else self.trade.side

    def see_bar(self, bars: int, ts_event: int, close: float) -> None:
        """A bar has closed; everything that follows happens at its close."""
        self._bars, self._ts, self._close = bars, ts_event, close

    # -- entering ------------------------------------------------------------------------------------------

    def refuses(self) -> Refused | None:
        """What of the strategy's own affairs forbids an entry now."""
        waited, cool_off = self._bars - self._flat_since, self._setup.cool_off_bars
        if waited < cool_off:
            return Refused("cool_off_bars", float(cool_off), float(waited))
        held = self.held_lots()
        return Refused("position", 0.0, float(held)) if held else None

    def enter(self, intent: Intent, verdict: Approved, resting: Resting | None) -> None:
        """Send an entry that was approved, at the market or to rest."""
        lots = self._orders.lots(verdict.quantity)
        pending = PendingEntry(verdict, ladder_of(intent, self._setup.ladder), lots, resting)
        self.pending = pending
        if self.care is not None:
            self.care.before_entry(pending)
        if resting is None:
            self._market_entry(pending, lots)
        else:
            self._rest(pending, lots, resting.ticks)
        self._journal.entry_submitted(verdict.side)

    def withdraw_entry(self, reason: str) -> None:
        """Take back what has not filled of an entry."""
        pending = self.pending
        if pending is None or pending.is_withdrawn:
            return
        pending.is_withdrawn = True
        self._journal.action("withdraw_entry", reason=reason)
        self._orders.cancel(ENTRY)
        if not self._orders.is_working(ENTRY):
            self.pending = None

    def attend_entry(self) -> None:
        """Look after an entry under way at a bar's close: it may have to go, to move, or to take."""
        pending, config = self.pending, self._setup.entry
        if pending is None or pending.is_withdrawn:
            return
        if not self._permits.may_rest(self._ts):
            self.withdraw_entry("not_permitted")
        elif pending.is_taking:
            self._orders.cancel(ENTRY)  # it could not be sent yet, or was refused
        elif pending.resting is not None:
            stood = pending.resting
            pending.resting, what = entries.step(
                pending.resting, self._close, config, self._ticks_per_unit, refused=pending.is_refused
            )
            if what == entries.GIVE_UP:
                self.withdraw_entry("timeout")
            elif what == entries.TAKE:
                self._journal.action("take_entry", price=self._close)
                pending.is_taking = True
                self._orders.cancel(ENTRY)
            elif what == entries.REPRICE:
                self._reprice(pending, pending.resting, stood)

    def _reprice(self, pending: PendingEntry, resting: Resting, stood: Resting) -> None:
        ticks = resting.ticks
        self._journal.action("reprice", price=self._orders.price(ticks))
        # what was permitted is a notional and a risk: a dearer price buys fewer
        dearer = max(1.0, ticks / resting.first_ticks)
        lots = math.floor(pending.lots / dearer + 1e-9) - pending.filled_lots
        if lots <= 0:
            self.withdraw_entry("filled")
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
            self.withdraw_entry(verdict.check)
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

    def _take_rest(self, pending: PendingEntry) -> None:
        """What rested in vain goes to the market, if it may: it is held against every limit again."""
        approved, opened = pending.approved, self.trade
        stop = self._close * (1.0 - approved.side * approved.stop_distance)
        if opened is not None:
            stop = self._orders.price(opened.plan.stop_ticks)
        # what was permitted is a risk: with the stop farther away than planned the rest is smaller
        limits = self._setup.limits
        loses = abs(self._close - stop) + (limits.entry_cost + limits.exit_cost) * self._close
        left = (pending.lots - pending.filled_lots) * min(1.0, pending.risk_per_unit / loses)
        verdict = self._more(
            Intent(approved.side, approved.confidence, ("take_entry",)),
            approved,
            self._orders.size(math.floor(left + 1e-9)),
            stop,
            adding=opened is not None,
        )
        pending.is_taking, pending.resting = False, None
        if isinstance(verdict, Approved):
            self._market_entry(pending, self._orders.lots(verdict.quantity))
        else:
            self.pending = None

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

    # -- the plan ------------------------------------------------------------------------------------------

    def carry_on(self, atr: float) -> None:
        """One step of the plan, on the close of the bar seen last."""
        opened = self.trade
        if opened is None:
            return
        flags = opened.carry_on(self._ts, self._close, atr, self._setup.plan, self._ticks_per_unit)
        has_passed = self._has_passed_stop(opened)
        if flags & trade.ADD and not has_passed and opened.exit_reason is None:
            self._add(opened)  # before the stop moves: then it is on its way
        if flags & trade.MOVE_STOP:
            self._journal.action("move_stop", price=self._orders.price(opened.plan.stop_ticks))
        if flags & trade.MOVE_STOP or (self.recheck and not self._orders.is_working(EXIT)):
            self.protect()
        if opened.exit_reason is not None:
            self.exit(opened.exit_reason)  # an exit that was refused is tried again on every bar
        elif flags & trade.EXIT_SESSION:
            self.exit("session")
        elif flags & trade.EXIT_TIME:
            self.exit("time")
        elif has_passed:
            self.exit("stop_passed")

    def _has_passed_stop(self, opened: OpenTrade) -> bool:
        """Whether the market is through the plan's stop while the venue still has an older one."""
        if opened.side * (self._close * self._ticks_per_unit - opened.plan.stop_ticks) > 0.0:
            return False
        stop = self._orders.stop()
        return stop is not None and stop.settled

    def _add(self, opened: OpenTrade) -> None:
        """Ask for a scale-in: a share of what the entry filled, at the market."""
        lots = math.floor(opened.entry_lots * self._setup.add_share + 1e-9)
        if self.pending is not None or not self._orders.is_settled:
            # what is still on its way may close the position before the addition is there
            self._journal.refusal(Refused("orders_under_way", 0.0, 1.0))
            opened.plan = opened.plan._replace(adds=opened.plan.adds - 1)  # asked again at the next close
            return
        verdict = self._more(
            Intent(opened.side, opened.approved.confidence, ("scale_in",)),
            opened.approved,
            self._orders.size(lots),
            self._orders.price(opened.plan.stop_ticks),
            adding=True,
        )
        if isinstance(verdict, Approved):
            risk = verdict.risk_amount / verdict.quantity
            added = self._orders.lots(verdict.quantity)
            self._orders.market(ADD, opened.side, added, price=self._close, risk_per_unit=risk)

    def exit(self, reason: str) -> None:
        """Leave at the market. Stop and targets stay until the position is gone: never naked in between."""
        self.withdraw_entry("exit")
        held, opened = self.held_lots(), self.trade
        if held == 0:
            return
        if opened is not None:
            opened.exit_reason = reason
        if not self._orders.has_price:
            self.recheck = True
        elif not self._orders.is_working(EXIT):
            self._journal.action("exit", reason=reason, price=self._close)
            # an addition sent a moment ago leaves with the rest: the exit is reduce-only, more does no harm
            self._orders.market(EXIT, -1 if held > 0 else 1, abs(held) + self._orders.open_lots(ADD))

    # -- protect -------------------------------------------------------------------------------------------

    def protect(self) -> None:
        """Make the working orders match the position; safe to call at any time."""
        self._match()
        if self.care is not None:
            self.care.seen()

    def _match(self) -> None:
        self.recheck = False
        held, opened = self.held_lots(), self.trade
        if opened is not None and held * opened.side <= 0:
            self._end(opened)
            opened = None
        if self.pending is not None and self.pending.is_withdrawn:
            self._orders.cancel(ENTRY)
        if opened is None:
            self._stand_down(held)
            return
        fewest = 1 if self._setup.reduce_only_targets else opened.min_lots
        stop_ticks = opened.plan.stop_ticks
        steps = match_protection(
            held, stop_ticks, opened.rungs, self._orders.stop(), self._orders.targets(), fewest
        )
        if self._setup.live is not None:
            stop, bridge = self._orders.stop(), self._orders.bridge()
            moves = match_stop(held, stop_ticks, stop, bridge, is_overdue=self._orders.is_stop_overdue)
            steps = moves + tuple(step for step in steps if isinstance(step, Cancel) or step.role != STOP)
        if opened.exit_reason is not None:
            # on its way out: a target sent or moved now could act when nothing is held any more
            steps = tuple(step for step in steps if not isinstance(step, Cancel) and step.role != TARGET)
        wanted = tuple(step for step in steps if not self._was_refused(step))
        self.recheck = len(wanted) < len(steps)  # what was refused at this bar is tried at the next
        self._orders.carry_out(wanted, self._close)
        self._orders.anchor(stop_ticks)

    def _was_refused(self, step: Step) -> bool:
        """Whether the venue has refused to change this order at this bar already."""
        if isinstance(step, Place):
            refused_at = self._refused_stops.get(step.role, 0)  # live: what follows takes a round trip
            return refused_at > 0 and self._now() - refused_at < _STOP_AGAIN_NS
        is_kept = isinstance(step, Modify) or self._setup.live is not None
        return is_kept and self._refused_changes.get(step.order_id) == self._bars

    def _end(self, opened: OpenTrade) -> None:
        # a stop or target ends the trade inside the bar still to come, a decided exit at the last close
        self._flat_since = self._bars + (self._last_fill != EXIT)
        reason = self._last_fill if self._last_fill != EXIT else str(opened.exit_reason)
        self.closed = (opened, self._at_stake(opened), "stop" if reason == ANCHOR else reason)
        self.trade = None
        self._refused_changes.clear()
        self.withdraw_entry("position_closed")

    def _at_stake(self, opened: OpenTrade) -> float:
        approved = opened.approved
        share = min(1.0, opened.entry_lots / self._orders.lots(approved.quantity))
        return approved.risk_amount * share

    def _stand_down(self, held: int) -> None:
        """No trade: nothing may be left at the venue, and nothing held."""
        stop, targets, bridge = self._orders.stop(), self._orders.targets(), None
        if self._setup.live is not None:
            bridge = self._orders.bridge()
            if held:  # whatever it is, it must not be naked on its way out
                stop = bridge = None
                self.last_resort()
        steps = match_protection(0, 0, (), stop, targets) + match_stop(0, 0, None, bridge)
        self._orders.carry_out(tuple(s for s in steps if not self._was_refused(s)), self._close)
        for role in (ANCHOR, ADD):
            self._orders.cancel(role)
        if held:
            self._journal.action("unexpected_position", quantity=self._orders.size(held))
            self.recheck = True
            self.exit("unexpected_position")

    def last_resort(self) -> None:
        """After a failure: a stop for the whole position by the shortest way, if none is working."""
        held, opened, pending = self.held_lots(), self.trade, self.pending
        if held == 0 or self._orders.stop() is not None:
            return
        side = 1 if held > 0 else -1
        if opened is not None and opened.side == side:
            ticks = opened.plan.stop_ticks
        else:
            distance = _LAST_RESORT if pending is None else pending.approved.stop_distance
            price = self._close if self._setup.live is None else self._orders.entry_price()
            ticks = math.floor(price * (1.0 - side * distance) * self._ticks_per_unit + 0.5)
        self._orders.place(Place(STOP, -side, abs(held), ticks))

    # -- events --------------------------------------------------------------------------------------------

    def filled(self, event: Any) -> None:
        """A fill opens the trade, adds to it or closes of it; protection follows at once."""
        slot, lots = self._orders.slot(event.client_order_id), self._orders.lots(event.last_qty)
        price = self._orders.rounded(event.last_px.as_double())
        self._journal.order(event, slot.role, quantity=str(event.last_qty), price=str(event.last_px))
        self._last_fill = slot.role
        opened, pending = self.trade, self.pending
        is_entry = slot.role == ENTRY or (self._setup.live is not None and self._is_lost_entry(slot.role))
        if is_entry and pending is not None:
            pending.filled_lots += lots
            if opened is None:
                self._open(pending, price, lots)
        if slot.role in (ENTRY, ADD) and opened is not None:
            opened.grow(lots, abs(self.held_lots()) - lots, of_entry=slot.role == ENTRY)
        if slot.role == TARGET and opened is not None:
            opened.target_filled(slot.number, lots)
        self._orders.release(event.client_order_id)
        if slot.role == ENTRY and not self._orders.is_working(ENTRY):
            self.pending = None
        self.protect()

    def _open(self, pending: PendingEntry, price: float, lots: int) -> None:
        opened = open_trade(
            pending.approved, pending.ladder, price, lots, self._setup.rules, self._ticks_per_unit
        )
        self.trade = opened
        self._journal.action(
            "open_plan",
            entry=price,
            stop=self._orders.price(opened.plan.stop_ticks),
            targets=[self._orders.price(rung.ticks) for rung in opened.rungs],
            confidence=opened.approved.confidence,
        )

    def changed(self, event: Any, **detail: Any) -> None:
        """An order was accepted, moved, cancelled or has expired; what it protects is looked at again."""
        slot = self._orders.release(event.client_order_id)
        self._journal.order(event, slot.role, **detail)
        pending = self.pending
        if slot.role == ENTRY and pending is not None and not self._orders.is_working(ENTRY):
            if pending.is_taking and not pending.is_withdrawn:
                self._take_rest(pending)
            else:
                self.pending = None
        self.protect()

    def refused(self, event: Any) -> None:
        """An order was refused: without a stop the position goes; all else is tried again on the next bar."""
        slot, reason = self._orders.release(event.client_order_id), str(event.reason)
        self._journal.order(event, slot.role, reason=reason)
        if slot.role == ANCHOR:
            self._anchor_again()
            return
        self.recheck = True
        if slot.role in (STOP, BRIDGE) and self._setup.live is not None:
            self._refused_stops[slot.role] = self._now()
        pending, would_take = self.pending, getattr(event, "due_post_only", False)
        if slot.role == ENTRY and pending is not None:
            pending.is_refused = True
            if pending.is_withdrawn or not would_take:
                self.pending = None
            if would_take:  # nothing is wrong
                return
        self._journal.order_refused(slot.role, reason)
        if slot.role == STOP and (self._setup.live is None or not self._orders.is_covered(self.held_lots())):
            self.exit("stop_refused")

    def _anchor_again(self) -> None:
        """Once a bar at once, for a refused anchor; then at the next."""
        opened = self.trade
        if opened is not None and self._anchored_at != self._bars:
            self._anchored_at = self._bars
            self._orders.anchor(opened.plan.stop_ticks)
        else:
            self.recheck = True

    def unchanged(self, event: Any) -> None:
        """A change or a cancel was refused: the order stands, or is closed; the next bar looks again."""
        slot = self._orders.release(event.client_order_id)
        self._journal.order(event, slot.role, reason=str(event.reason))
        self.recheck = True
        order_id = str(event.client_order_id)
        if self._setup.live is not None:
            self._orders.ask(event.client_order_id)
        if slot.role == STOP and self._refused_changes.get(order_id, self._bars) < self._bars:
            self._orders.cancel(STOP)  # refused twice: the event of its cancel brings a new one
        self._refused_changes[order_id] = self._bars

    def position_closed(self, event: Any) -> None:
        """The result of the trade that has ended is known now."""
        if self.closed is not None:
            opened, risk, reason = self.closed
            self.closed = None
            pnl = event.realized_pnl
            self._journal.trade_closed(opened.side, 0.0 if pnl is None else pnl.as_double(), risk, reason)
        self.protect()

    # -- live ----------------------------------------------------------------------------------------------

    def held_lots(self) -> int:
        """The signed position, asked of the engine."""
        return self._orders.lots(self._strategy.portfolio.net_position(self._id))

    def resume(self, opened: OpenTrade | None, flat_bars: int | None) -> None:
        """Go on after a restart with this trade; `flat_bars` have closed since the last one (None: never)."""
        self.trade, self.pending = opened, None
        if flat_bars is not None:
            self._flat_since = -flat_bars

    def _is_lost_entry(self, role: str) -> bool:
        """Whether a fill without a name, found by comparing positions, is that of the entry under way."""
        pending = self.pending
        return not role and pending is not None and self.held_lots() * pending.approved.side > 0

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())
