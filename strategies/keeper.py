"""Keeps one strategy's trade: the plan, the protection, the exit. `entry` keeps the entry under way.

Called at every bar, with what the strategy wants, and with every event of its orders. Whatever happens to an
order, the protection is matched to the position again; the position is asked of the engine every time.
"""

import math
from typing import Any

from nautilus_trader.trading import Strategy

from strategies import trade
from strategies.backoff import Backoff
from strategies.care import Care
from strategies.coin_keeper import CoinKeeper
from strategies.doubles import Doubles
from strategies.entries import PendingEntry
from strategies.entry_keeper import EntryKeeper
from strategies.ghost import Ghost
from strategies.journal import Journal
from strategies.open_trade import OpenTrade, open_trade
from strategies.order_views import only_closes
from strategies.orders import ADD, ANCHOR, ENTRY, EXIT, STOP, TARGET, OrderDesk, Slot
from strategies.permits import Permits
from strategies.protect import Cancel, Modify, Place, Step, match_protection
from strategies.setup import StrategySetup
from strategies.values import Refused
from strategies.venue_stop import BRIDGE, match_stop

__all__ = ["TradeKeeper"]

_LAST_RESORT = 0.01  # stop distance of a position that nothing else is known about


class TradeKeeper:
    """The trade and the orders of one strategy.

    `trade` is what is open (None: flat), `entry` keeps what is under way to it. `recheck`: something was
    refused, so the next bar looks again. `closed` is the trade that has just ended, until its result is
    known. `unheard`, live: the lots that the venue holds while the engine knows of none, 0 else; `ghost`,
    live: what the engine takes for held and the venue does not have; `left`, live: the trade that has ended,
    until the venue has said that it is flat.
    """

    def __init__(
        self, strategy: Strategy, setup: StrategySetup, orders: OrderDesk, journal: Journal, permits: Permits
    ) -> None:
        self.trade: OpenTrade | None = None
        self.entry = EntryKeeper(setup, orders, journal, permits)
        self.closed: tuple[OpenTrade, float, str] | None = None
        self.recheck = False
        self.left: OpenTrade | None = None
        self.unheard = 0
        self.ghost = Ghost()
        self.care: Care | None = None
        held = None if setup.live is None else setup.live.holdings
        self.coins = None if held is None else CoinKeeper(strategy, setup, orders, journal, held)
        self._strategy = strategy
        self._setup = setup
        self._orders = orders
        self._journal = journal
        self._id = setup.instrument.id
        self._ticks_per_unit = setup.ticks_per_unit
        self._last_fill = ""
        self._stray = 0  # side of a position without a trade, on its way out
        self._anchored_at = -1
        self._refused_changes: dict[str, int] = {}
        self._waits = Backoff()  # live
        self._doubles = Doubles()  # live
        self._agreed = 0  # what the engine held when it had compared positions
        self._bars = 0
        self._flat_since = -setup.cool_off_bars
        self._ts = 0
        self._close = math.nan

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to look after at a bar's close."""
        return self.trade is not None or self.entry.pending is not None or self.recheck

    @property
    def is_idle(self) -> bool:
        """Nothing open, nothing under way: an order that is not closed could act on the next position."""
        return self.trade is None and self.entry.pending is None and self._orders.is_idle

    @property
    def side(self) -> int:
        """+1 long, -1 short, 0 flat."""
        return 0 if self.trade is None else self.trade.side

    def see_bar(self, bars: int, ts_event: int, close: float) -> None:
        """A bar has closed; everything that follows happens at its close."""
        self._bars, self._ts, self._close = bars, ts_event, close
        self.entry.see_bar(ts_event, close)

    # -- entering ------------------------------------------------------------------------------------------

    def refuses(self) -> Refused | None:
        """What of the strategy's own affairs forbids an entry now."""
        waited, cool_off = self._bars - self._flat_since, self._setup.cool_off_bars
        if waited < cool_off:
            return Refused("cool_off_bars", float(cool_off), float(waited))
        # the engine rounds the dust of coins up to a lot
        held = self.held_lots() or (0 if self.coins is not None else self._engine_lots())
        return Refused("position", 0.0, float(held)) if held else None

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
        if self.entry.pending is not None or self._orders.is_working(ADD) or not self._orders.is_settled:
            # what is still on its way may close the position before the addition is there
            self._journal.refusal(Refused("orders_under_way", 0.0, 1.0))
            opened.plan = opened.plan._replace(adds=opened.plan.adds - 1)  # asked again at the next close
        else:
            self.entry.add(opened.approved, opened.entry_lots, opened.plan.stop_ticks)

    def exit(self, reason: str) -> None:
        """Leave at the market. Stop and targets stay until the position is gone: never naked in between."""
        self.entry.withdraw("exit")
        if self.entry.pending is not None:  # it may fill all the same
            self.entry.pending.leaves = reason
        held, opened = self.held_lots(), self.trade
        if held == 0:
            return
        if opened is not None:
            opened.exit_reason = reason
        if not self._setup.may_send:
            return
        if self.coins is not None:
            self._match_coins(self.coins, opened, held)
        elif not self._orders.has_price or self._waits.is_waiting(EXIT, self._now()):
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
        self.unheard = 0 if held else self.unheard
        if opened is not None and held * opened.side <= 0:
            self._end(opened)
            opened = None
        self.entry.withdraw_again()
        if self.coins is not None:
            self._match_coins(self.coins, opened, held)
            return
        if opened is None:
            self._stand_down(held)
            return
        fewest = 1 if self._setup.reduce_only_targets else opened.min_lots
        stop_ticks = self._orders.on_grid(opened.plan.stop_ticks)
        steps = match_protection(
            held, stop_ticks, opened.rungs, self._orders.stop(), self._orders.targets(), fewest
        )
        if self._setup.has_closing_stop:
            self._pass_over_unheard(stop_ticks)
            stop, bridge = self._orders.stop(), self._orders.bridge()
            coming = opened.side * self._orders.open_lots(ADD)  # covered when it fills
            is_overdue = self._orders.is_stop_overdue
            moves = match_stop(held + coming, stop_ticks, stop, bridge, is_overdue=is_overdue)
            steps = moves + tuple(step for step in steps if isinstance(step, Cancel) or step.role != STOP)
        if self._orders.has_new_grid:  # targets stay as they are: their sizes may not fit any more
            steps = tuple(step for step in steps if isinstance(step, Cancel) or step.role != TARGET)
        if opened.exit_reason is not None:
            # on its way out: a target sent or moved now could act when nothing is held any more
            steps = tuple(step for step in steps if not isinstance(step, Cancel) and step.role != TARGET)
        wanted = tuple(step for step in steps if not self._was_refused(step))
        self.recheck = len(wanted) < len(steps)  # what was refused at this bar is tried at the next
        self._orders.carry_out(wanted, self._close)
        self._orders.anchor(stop_ticks)

    def _pass_over_unheard(self, stop_ticks: int) -> None:
        """Live: an answer that does not come holds up no move of the stop: another order takes the place."""
        bridge = self._orders.bridge()
        is_behind = bridge is not None and bridge.settled and bridge.ticks != stop_ticks
        for role, is_in_the_way in ((BRIDGE, True), (STOP, is_behind)):
            if is_in_the_way and self._orders.is_unheard(role):
                self._journal.action("pass_over", role=role, order=self._orders.pass_over(role))
                return

    def _match_coins(self, coins: CoinKeeper, opened: OpenTrade | None, held: int) -> None:
        """On spot one list covers what is held, and what is sold at the market is sold without it."""
        self.recheck = True  # at every close: the market may have passed what was sent
        may_sell = not self._waits.is_waiting(EXIT, self._now())
        if opened is not None:
            coins.match(opened, may_sell=may_sell)
            return
        coins.clear(sells=held != 0, may_sell=may_sell)
        self._orders.cancel(ADD)
        if held:
            self._journal.action("unexpected_position", quantity=self._orders.size(held))

    def _was_refused(self, step: Step) -> bool:
        """Whether the venue has refused that at this bar already; live, whether it is too early again."""
        if isinstance(step, Place):
            return self._waits.is_waiting(f"{step.role}{step.rung}", self._now())
        if self._setup.live is not None:
            return self._waits.is_waiting(step.order_id, self._now())
        return isinstance(step, Modify) and self._refused_changes.get(step.order_id) == self._bars

    def _end(self, opened: OpenTrade) -> None:
        # a stop or target ends the trade inside the bar still to come, a decided exit at the last close
        self._flat_since = self._bars + (self._last_fill != EXIT)
        fill = EXIT if self.ghost.is_seen else self._last_fill  # nobody has heard of the fill of a ghost
        reason = fill if fill != EXIT else opened.exit_reason or ""
        self.closed = (opened, self._at_stake(opened), "stop" if reason in (ANCHOR, BRIDGE) else reason)
        if self.coins is not None:  # with dust the engine's position never closes
            self._tell(None, self.coins.over(), opened.side, *self.closed[1:])
            self.closed = None
        self.trade, self.left = None, opened
        self._refused_changes.clear()
        self._waits.clear()
        self.entry.withdraw("position_closed")

    def _at_stake(self, opened: OpenTrade) -> float:
        approved = opened.approved
        share = min(1.0, opened.entry_lots / self._orders.lots(approved.quantity))
        return approved.risk_amount * share

    def _stand_down(self, held: int) -> None:
        """No trade: nothing may be left at the venue, and nothing held."""
        stop, targets, bridge = self._orders.stop(), self._orders.targets(), None
        was_here = not self.ghost.is_seen or self.closed is not None or self._stray != 0
        if self._setup.live is not None:
            bridge = self._orders.bridge()
            if held or self.unheard:  # whatever it is, it must not be naked on its way out
                self.last_resort()
            if held or self.unheard or (was_here and self._engine_lots()):  # or it may be there after all
                stop = bridge = None
        steps = match_protection(0, 0, (), stop, targets) + match_stop(0, 0, None, bridge)
        self._orders.carry_out(tuple(s for s in steps if not self._was_refused(s)), self._close)
        for role in (ANCHOR, ADD):
            self._orders.cancel(role)
        if held:
            self._stray = 1 if held > 0 else -1
            self._journal.action("unexpected_position", quantity=self._orders.size(held))
            self.recheck = True
            self.exit("unexpected_position")

    def last_resort(self) -> None:
        """After a failure: a stop for the whole position by the shortest way, if none is working."""
        held, opened, pending = self.held_lots() or self.unheard, self.trade, self.entry.pending
        if self.coins is not None:
            distance = _LAST_RESORT if pending is None else pending.approved.stop_distance
            self.coins.last_resort(opened, distance)
            return
        stop = self._orders.stop()
        if held == 0 or stop is not None:
            overdue = self._setup.has_closing_stop and self._orders.is_stop_overdue
            if held and stop is not None and not stop.settled and overdue and not self._orders.bridge():
                self._orders.place(Place(BRIDGE, -1 if held > 0 else 1, abs(held), stop.ticks))
            return
        side = 1 if held > 0 else -1
        ticks = 0 if opened is None or opened.side != side else opened.plan.stop_ticks
        if not ticks:
            distance = _LAST_RESORT if pending is None else pending.approved.stop_distance
            price = self._close if self._setup.live is None else self._orders.entry_price()
            if math.isnan(price):  # no position and no quote: the next look has one
                return
            ticks = math.floor(price * (1.0 - side * distance) * self._ticks_per_unit + 0.5)
            if self.left is not None and self.left.side == side:  # this may be the rest of it
                ticks = self._orders.nearer_stop(side, ticks, self.left.plan.stop_ticks)
        self._orders.place(Place(STOP, -side, abs(held), ticks))

    # -- events --------------------------------------------------------------------------------------------

    def filled(self, event: Any) -> None:
        """A fill opens the trade, adds to it or closes of it; protection follows at once."""
        if self.coins is not None and not self.coins.filled(event):
            return
        # first of all: whatever fails below, an order that is closed is in nobody's way
        slot, lots = self._orders.release(event.client_order_id), self._orders.lots(event.last_qty)
        price = self._orders.rounded(event.last_px.as_double())
        if self.coins is not None and price <= 0.0:  # inferred, and nobody knows at what price
            price = self._orders.rounded(self.coins.price(event))
        self._journal.order(event, slot.role, quantity=str(event.last_qty), price=str(event.last_px))
        self._last_fill = self._orders.roles.get(str(event.client_order_id), slot.role)
        opened, pending = self.trade, self.entry.pending
        if pending is None and slot.role == ENTRY:
            pending = self.entry.gone
        is_counted = self._setup.live is not None and self.coins is None
        twice = self._found_before(event, slot.role, lots) if is_counted else 0
        lots -= twice if slot.role == ENTRY else 0  # an entry's lots were taken for its own then
        is_entry = slot.role == ENTRY or self._is_lost_entry(slot.role, event)
        if is_entry and pending is not None:
            pending.filled_lots += lots
            if opened is None:
                self._open(pending, price, lots)
        if (is_entry or slot.role == ADD) and opened is not None and lots:
            opened.grow(lots, abs(self.held_lots()) - lots, of_entry=is_entry)
        if slot.role == TARGET and opened is not None:
            opened.target_filled(slot.number, lots)
        if slot.role == ENTRY:
            self.entry.filled()
        if is_counted and opened is None and self._is_mirror(event) and self.care is not None:
            self._stray = 1 if event.is_buy else -1
            self.care.mirrored()
        self.protect()

    def _is_mirror(self, event: Any) -> bool:
        """Whether a closing order has opened a position: the engine has missed what it closed."""
        side = 1 if event.is_buy else -1
        return only_closes(str(event.client_order_id)) and self.believed_lots() * side > 0

    def _open(self, pending: PendingEntry, price: float, lots: int) -> None:
        opened = open_trade(
            pending.approved, pending.ladder, price, lots, self._setup.rules, self._ticks_per_unit
        )
        opened.exit_reason = pending.leaves
        self.trade, self._stray = opened, 0
        self._waits.clear()  # what was refused before this trade is no reason to wait
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
        self._waits.forget(_key(slot))
        if self.coins is not None and not self._orders.is_working(slot.role):
            self.coins.gone()
        if slot.role == ENTRY:
            self.entry.closed(None if self.trade is None else self.trade.plan.stop_ticks)
        self.protect()

    def refused(self, event: Any) -> None:
        """An order was refused: without a stop the position goes; all else is tried again on the next bar."""
        slot, reason = self._orders.release(event.client_order_id), str(event.reason)
        self._journal.order(event, slot.role, reason=reason)
        if slot.role == ANCHOR:
            self._anchor_again()
            return
        self.recheck = True
        if slot.role == ENTRY and self.entry.refused(event):
            return
        self._count_refusal(slot.role, reason)
        if self.care is None:
            if slot.role == STOP:
                self.exit("stop_refused")
            return
        remedy, protects = self.care.refused(slot.role, reason), slot.role in (STOP, BRIDGE)
        is_bare = self.coins is None and not self._orders.is_covered(self.held_lots())
        is_urgent = is_bare and (protects or slot.role == EXIT) and remedy.kind != "rate_limit"
        times = self._waits.refused(_key(slot), self._now(), is_urgent=is_urgent)
        if slot.role == EXIT and remedy.kind == "logic" and self.coins is None:
            self._orders.cancel(TARGET)  # a venue may count what waits to reduce against the position
        if self.coins is not None:
            self.coins.refused(is_cover=slot.role == STOP)
            self.protect()
            return
        # the bridge as well: it is sent alone where the stop's own answer does not come
        if protects and is_bare:
            self.entry.withdraw("stop_refused")
            if times > 1 or not remedy.stop_again:
                self.exit("stop_refused")

    def _count_refusal(self, role: str, reason: str) -> None:
        if self.care is None or not self.care.withholds(role, reason):
            self._journal.order_refused(role, reason)

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
        if self.care is not None:
            remedy = self.care.refused(slot.role, str(event.reason))
            is_urgent = slot.role in (STOP, BRIDGE) and remedy.kind != "rate_limit"
            self._waits.refused(order_id, self._now(), is_urgent=is_urgent)
            self._orders.ask(event.client_order_id)
        is_again = self._refused_changes.get(order_id, self._bars) < self._bars
        if slot.role == STOP and is_again and not self._setup.has_closing_stop:
            self._orders.cancel(STOP)  # refused twice: the event of its cancel brings a new one
        self._refused_changes[order_id] = self._bars

    def position_closed(self, event: Any) -> None:
        """The result of the trade that has ended, or of a position that was none, is known now."""
        pnl = 0.0 if event.realized_pnl is None else event.realized_pnl.as_double()
        if self.closed is not None:
            opened, risk, reason = self.closed
            self.closed = None
            self._tell(event.position_id, pnl, opened.side, risk, reason)
        elif self._stray and self.coins is None:
            self._tell(event.position_id, pnl, self._stray, 0.0, "stray")
            self._stray = 0
        self.protect()

    def _tell(self, position_id: Any, pnl: float, side: int, risk: float, reason: str) -> None:
        if self.care is None:
            self._journal.trade_closed(side, pnl, risk, reason)
        else:
            self.care.ended(position_id, pnl, side, risk, reason)

    # -- live ----------------------------------------------------------------------------------------------

    def held_lots(self) -> int:
        """The signed position, asked of the engine; on a spot venue what the own book says."""
        if self.coins is not None:
            return self.coins.held_lots()
        return self.ghost.true_lots(self.believed_lots())

    def believed_lots(self) -> int:
        """What the engine says is held, live without what it counts twice."""
        lots = self._engine_lots()
        return lots if self._setup.live is None else lots - self._doubles.excess(self._now())

    def _engine_lots(self) -> int:
        return self._orders.lots(self._strategy.portfolio.net_position(self._id))

    def _found_before(self, event: Any, role: str, lots: int) -> int:
        """How many lots of a fill the engine has counted already, when it compared positions."""
        signed, now = lots if event.is_buy else -lots, self._now()
        if not role:
            self._doubles.found(signed, now)
            self._agreed = self._engine_lots()
            return 0
        order: Any = self._strategy.cache.order(event.client_order_id)
        moved = self._engine_lots() != self._agreed
        sent = now if order is None else int(order.ts_init)
        twice = self._doubles.told(signed, sent, now, is_counted=moved)
        if twice:
            self._journal.action("counted_twice", quantity=self._orders.size(twice), role=role)
        return twice

    def resume(self, opened: OpenTrade | None, flat_bars: int | None) -> None:
        """Go on after a restart with this trade; `flat_bars` have closed since the last one (None: never)."""
        self.trade, self.entry.pending = opened, None
        if flat_bars is not None:
            self._flat_since = -flat_bars

    def _is_lost_entry(self, role: str, event: Any) -> bool:
        """Whether a fill without a name, found by comparing positions, is that of the entry under way."""
        pending, side = self.entry.pending, 1 if event.is_buy else -1
        if role or pending is None or pending.approved.side != side:
            return False
        return self._setup.live is not None and self.held_lots() * side > 0

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())


def _key(slot: Slot) -> str:
    """What a refusal counts for: the place, not the order in it."""
    return slot.role if slot.role == EXIT else f"{slot.role}{slot.number}"
