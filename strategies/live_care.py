"""What a strategy does at a real venue and not in a backtest: adopt, watch, try again, remember.

After a start the venue's position and orders are matched with what the strategy remembers. A timer asks
for the protection again, whatever event was lost. The time a position is held without a working stop is
measured, and what must outlive a kill is written down: an entry before it is sent, the rest as it changes.
"""

from typing import Any

import msgspec
from nautilus_trader.model import ClientOrderId
from nautilus_trader.trading import Strategy

from actors.alarms import alarm
from actors.unkept import Unkept
from configs.errors import RunFailedError
from strategies.coin_keeper import LeftOver
from strategies.entries import PendingEntry
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.live_gate import LiveGate
from strategies.lost_orders import Suspects
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade, open_trade
from strategies.order_views import market_now, resting
from strategies.orders import ADD, ENTRY, EXIT, TARGET, OrderDesk, slot_of
from strategies.permits import Permits
from strategies.refusals import Remedy
from strategies.settling import Settling, position_results
from strategies.setup import LiveDuty, StrategySetup
from strategies.venue_word import VenueWord

__all__ = ["LiveCare"]

_LOOK_NS = 250_000_000
_RETRY_NS = 1_000_000_000
_RULES_NS, _STUCK_RULES_NS = 8_000_000_000, 2_000_000_000
_MOST_FAILED_LOOKS, _FLATTEN_EVERY = 5, 4
_MEMORY = "memory"
_FILLING = (ENTRY, ADD, EXIT)


class LiveCare:
    """One strategy's live duties; `gate` says whether entries may be sent, `word` hears the venue."""

    def __init__(
        self,
        strategy: Strategy,
        setup: StrategySetup,
        duty: LiveDuty,
        orders: OrderDesk,
        journal: Journal,
        keeper: TradeKeeper,
        permits: Permits,
    ) -> None:
        self.gate = permits.gate = LiveGate(strategy, setup, duty, orders, journal)
        self._strategy = strategy
        self._setup = setup
        self._file = duty.memory
        self._fills = duty.fills
        self._orders = orders
        self._journal = journal
        self._keeper = keeper
        self._permits = permits
        self._rules = setup.rules
        self._rules_at = 0  # when the venue's were last asked for, or came
        self._memory = TradeMemory(
            str(setup.instrument.id), tick_size=setup.rules.tick_size, step_size=setup.rules.step_size
        )
        self._saved = b""
        self.unkept = Unkept()
        self._bare_since: int | None = None
        self._bare_ns = 0
        self._was_held = False
        self._tried_at = 0
        self._suspects = Suspects()
        self._asks_all = False
        self._failed_looks = 0
        name = self._memory.instrument
        coins = None if keeper.coins is None else keeper.coins.results
        source = coins or position_results(strategy, duty.fills, name)
        self.results = Settling(strategy, source, journal, self.gate, name)
        self.word = VenueWord(strategy, name, orders, journal, keeper)
        keeper.care = keeper.entry.care = self

    # -- start ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Adopt what the venue has, protect it, and begin to look again and again."""
        self.new_rules()  # changed since the checks, they do not keep a position from its protection
        self.gate.start()
        remembered = None if self._file is None else self._file.read()
        if remembered is not None and remembered.instrument == self._memory.instrument:
            self._memory = remembered.on_grid(self._rules.tick_size, self._rules.step_size)
        self._permits.remember(self._memory.last_intent)
        self.results.begin(self._memory)
        self._ask_price()
        self._adopt()
        self._strategy.clock.set_timer_ns("care", _LOOK_NS, None, None, self._strategy.on_care)  # type: ignore[attr-defined]
        self._keeper.protect()
        held = self._keeper.held_lots()
        if held and not self._setup.may_send:
            stop = "its stop works" if self._orders.is_covered(held) else "NO STOP COVERS IT"
            text = f"a position is open ({stop}), and without --trade nothing is sent: it is only watched"
            alarm(self._strategy, text, instrument=self._memory.instrument, held_lots=held)

    def _ask_price(self) -> None:
        """The engine denies a market order while it knows no price; the first quote may take seconds."""
        if self._setup.margined and not self._orders.has_price:
            self._strategy.request_trades(self._setup.instrument.id, limit=1)

    def priced(self) -> None:
        """A price has been fetched: an exit that waited for one goes now."""
        opened = self._keeper.trade
        if opened is None:
            self._keeper.protect()
        elif opened.exit_reason is not None and not self._orders.is_working(EXIT):
            self._keeper.exit(opened.exit_reason)

    def _adopt(self) -> None:
        found = self._orders.adopt()
        if self._keeper.coins is None and self._keeper.believed_lots() * self._left_side() < 0:
            self.word.presume_over()
        coins, missed = self._keeper.coins, 0
        # who takes another's place in a node that runs finds what the engine has counted all along
        if coins is not None and self._setup.seat is None:
            coins.adopted(found)
            missed = coins.catch_up()
        held, memory = self._keeper.held_lots(), self._memory
        trade = None if held == 0 else self._trade_of(held)
        if held == 0 and memory.trade is not None:
            memory.flat_since = self._flat_from(is_inside=True)  # in this bar at the latest
        unheard = memory.pending if held == 0 and memory.trade is None and coins is None else None
        if unheard is not None:
            self._over_before_heard_of(unheard)
        self._keeper.resume(trade, self._flat_bars())
        if unheard is not None:
            # its fill may be heard of in a moment; the next look forgets it
            self._keeper.entry.pending = msgspec.structs.replace(
                unheard, is_withdrawn=True, is_refused=False, is_taking=False
            )
        if held or found or memory.trade is not None:
            self._journal.action(
                "adopt",
                quantity=self._orders.size(held),
                orders=found,
                plan="none" if trade is None else "remembered" if memory.trade is not None else "made",
                remembered=self._orders.size(memory.held_lots),
                missed_fills=missed,
            )
        if held == 0 and memory.trade is not None:
            self._closed_while_away(memory.trade)

    def _flat_bars(self) -> int | None:
        """How many bars have closed since the last trade ended, -1 in its last one; None: there was none."""
        since = self._memory.flat_since
        return None if since is None else max(-1, (self._now() - since) // self._setup.bar_ns)

    def _flat_from(self, *, is_inside: bool) -> int:
        """The close from which bars count as flat after a trade that ends now: the last one, or the next of a
        trade that ends inside a bar."""
        return (self._now() // self._setup.bar_ns + is_inside) * self._setup.bar_ns

    def _left_side(self) -> int:
        """The side of what was open or under way when it was last written down; 0 without that."""
        trade, pending = self._memory.trade, self._memory.pending
        if trade is not None:
            return trade.side
        return 0 if pending is None else pending.approved.side

    def _over_before_heard_of(self, pending: PendingEntry) -> None:
        """An entry filled as the node died, and its stop, perhaps the one that this start sent first, too.

        Where the venue did not say what has filled, it is asked as for a result.
        """
        entered, _ = self._executed()
        is_unknown = self._fills is not None and self._memory.instrument not in self._fills.executed
        if entered or is_unknown:
            approved, size = pending.approved, self._orders.size(entered or pending.lots)
            risk = approved.risk_amount
            self._memory.flat_since = self._flat_from(is_inside=True)
            self.results.away(self._memory, approved.side, risk, size, is_doubtful=is_unknown)

    def _closed_while_away(self, trade: OpenTrade) -> None:
        """The guard has to know how it ended: only the venue does."""
        size = self._orders.size(self._memory.held_lots)
        self.results.away(self._memory, trade.side, trade.approved.risk_amount, size)

    def _trade_of(self, held: int) -> OpenTrade | None:
        """The trade behind a position that was found: remembered, or of the entry that was under way."""
        memory, side = self._memory, 1 if held > 0 else -1
        trade, pending = memory.trade, memory.pending
        if trade is not None and trade.side == side:
            if held != memory.held_lots:
                trade.catch_up(abs(held), abs(memory.held_lots), *self._executed())
            return trade
        if pending is not None and pending.approved.side == side:
            entered, closed = self._executed()
            trade = self._made(pending, max(entered, abs(held)))
            trade.catch_up(abs(held), trade.entry_lots, trade.entry_lots, closed)
            return trade
        return None

    def _executed(self) -> tuple[int, dict[int, int]]:
        """What entries had opened and targets closed when the node was prepared, by rung, in lots."""
        entered, closed, step = 0, dict[int, int](), self._setup.rules.step_size
        if self._fills is None:
            return entered, closed
        for name, quantity in self._fills.executed.get(self._memory.instrument, {}).items():
            slot, lots = slot_of(name), round(quantity / step)
            if slot.role == ENTRY:
                entered += lots
            elif slot.role == TARGET:
                closed[slot.number] = closed.get(slot.number, 0) + lots
        return entered, closed

    def _made(self, pending: PendingEntry, lots: int) -> OpenTrade:
        price, rules = self._orders.entry_price(), self._setup.rules
        trade = open_trade(pending.approved, pending.ladder, price, lots, rules, self._setup.ticks_per_unit)
        trade.exit_reason = pending.leaves
        return trade

    # -- again and again -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """On the timer: protection first, then what has got lost, then whether entries are paused.

        When the looks fail again and again (an exception each) with a position that no stop covers, it is
        closed by the shortest way.
        """
        try:
            is_due = self._now() - self._tried_at >= _RETRY_NS
            self._look(is_due=is_due)
            self.word.act()
            self._ask()
            self._settle()
            self.gate.watch()
            if self.gate.is_paused:
                self._keeper.entry.withdraw(str(self.gate.reason))
        except Exception:
            self._failed_looks += 1
            self._tried_at = 0  # again with the next tick
            if self._failed_looks >= _MOST_FAILED_LOOKS:
                self._give_up()
            raise
        if is_due:
            self._failed_looks = 0

    def _give_up(self) -> None:
        held = self._keeper.held_lots()
        if self._failed_looks == _MOST_FAILED_LOOKS:
            text = f"protection failed {self._failed_looks} times in a row"
            alarm(self._strategy, text, instrument=self._memory.instrument, held_lots=held)
        if (self._failed_looks - _MOST_FAILED_LOOKS) % _FLATTEN_EVERY == 0:
            self._orders.give_up(held)

    def _ask(self) -> None:
        """Ask the venue about orders whose news must have been lost."""
        cache, orders = self._strategy.cache, self._orders
        asked = self._suspects.look(
            resting(cache, orders.working_ids()),
            market_now(cache, self._setup.instrument.id),
            self._now(),
            is_at_odds=self._asks_all,
        )
        self._asks_all = False
        for order_id in asked:
            orders.ask(ClientOrderId(order_id))
        if asked:
            self._journal.action("ask_venue", orders={name: orders.roles[name] for name in asked})

    def _settle(self) -> None:
        self.results.look(self._memory, self._now())
        self._keep()

    def ended(self, position_id: Any, pnl: float, side: int, risk: float, reason: str) -> None:
        """A trade is over; the engine makes `pnl` of it."""
        self.results.ended(self._memory, position_id, pnl, side, risk, reason)
        self._keep()

    def refused(self, role: str, reason: str) -> Remedy:
        """An order, or a change of one, was refused; returns what follows."""
        answer = self.gate.refused(role, reason)
        self._asks_all = self._asks_all or answer.asks
        if answer.reads_rules:
            self._strategy.request_instrument(self._setup.instrument.id)
        return answer

    def withholds(self, role: str, reason: str) -> bool:
        """Whether the guard is not told of a refused order yet: the venue may hold nothing to close."""
        return self.word.withholds(role, reason)

    def mirrored(self) -> None:
        """By the engine's word a closing order has opened a position: the venue has none."""
        self.word.presume_over()

    def closed(self, order_id: ClientOrderId) -> None:
        """An order was cancelled or has expired. What it filled unheard nobody finds for many seconds: the
        engine's own checks leave a closed order alone, asked about this one it takes the fill in."""
        order: Any = self._strategy.cache.order(order_id)
        if self._keeper.coins is not None or order is None or not order.is_closed:
            return
        if self._orders.roles.get(str(order_id)) in _FILLING and order.filled_qty < order.quantity:
            self._orders.ask(order_id)
            self._suspects.over(str(order_id), self._now())

    def new_rules(self) -> None:
        """The venue's instrument has come again: with another tick or step a restart has to plan anew."""
        was_new, self._rules_at = self._orders.has_new_grid, self._now()
        if self._orders.renew_rules():
            if was_new:
                self._journal.action("rules_as_planned")
                self._keeper.protect()  # what the venue would not take waits for this
            return
        if was_new:
            return
        self.gate.stand_still("rules_changed")
        text = "the venue trades in another tick or step than planned: start the node again once flat"
        alarm(self._strategy, text, instrument=self._memory.instrument)

    def _ask_rules(self) -> None:
        """Rules that changed may change back, which nothing else tells: what is held is served by them."""
        now = self._now()
        pause = _RULES_NS if self.left_over is None else _STUCK_RULES_NS
        if self._orders.has_new_grid and now - self._rules_at >= pause:
            self._rules_at = now
            self._strategy.request_instrument(self._setup.instrument.id)

    def _look(self, *, is_due: bool) -> None:
        """What was refused or lost is tried again, once a second at most."""
        now, keeper = self._now(), self._keeper
        if keeper.coins is not None:
            keeper.coins.look()
        held, opened = keeper.held_lots(), keeper.trade
        keeper.entry.forget_unsent()
        if not is_due or (held == 0 and opened is None and self._orders.is_idle):
            return
        self._tried_at = now
        self._ask_price()
        self._ask_rules()
        self._orders.sweep()
        found = self._orders.adopt()
        if found:
            self._journal.action("adopt", quantity=self._orders.size(held), orders=found, plan="running")
        keeper.protect()
        if opened is not None and opened.exit_reason is not None and not self._orders.is_working(EXIT):
            keeper.exit(opened.exit_reason)

    def seen(self) -> None:
        """After every look at the protection: measure, and write down what has changed."""
        held = self._keeper.held_lots()
        self._measure(held)
        memory, keeper = self._memory, self._keeper
        if memory.trade is not None and keeper.trade is None:
            is_inside = keeper.left is None or keeper.left.exit_reason is None
            memory.flat_since = self._flat_from(is_inside=is_inside)
            if keeper.closed is not None:
                closed, risk, reason = keeper.closed
                self.results.closing(memory, closed.side, risk, reason)
        if keeper.trade is None:
            memory.opened = 0
        elif memory.opened == 0:
            memory.opened = self._orders.opened_at()
        memory.held_lots, memory.trade, memory.pending = held, keeper.trade, keeper.entry.pending
        memory.last_intent = self._permits.last_intent
        self._keep()

    def save(self, *, waits: bool = False) -> None:
        """Write the memory if it has changed; a kill loses nothing, and a power cut only what waits not.

        So are coins that the disk has refused. RunFailedError when it refuses.
        """
        if self._keeper.coins is not None:
            self._keeper.coins.holdings.keep()
        if self._file is None:
            return
        encoded = msgspec.json.encode(self._memory)
        if encoded != self._saved or self.unkept.is_on:
            self._saved = b""
            self._file.write(self._memory, waits=waits)  # orders wait for this
            self._saved = encoded

    def _keep(self) -> None:
        """As `save`, where protection must not wait for a disk: one that refuses lets nothing new in."""
        try:
            self.save()
        except RunFailedError as error:
            self._not_kept(error)
        else:
            self._kept()

    def _not_kept(self, error: RunFailedError) -> None:
        if self.unkept.refused(str(error), self._now()):
            text = f"nothing is entered until the trade can be written down: {error}"
            alarm(self._strategy, text, instrument=self._memory.instrument)
        self.gate.pause(_MEMORY)

    def _kept(self) -> None:
        if self.unkept.taken(self._now()):
            self.gate.lift(_MEMORY)

    def before_entry(self, pending: PendingEntry) -> bool:
        """An entry is about to be sent: neither kill nor power cut after that must make it a stranger.

        False when it could not be written down: then it must not be sent.
        """
        memory, intent = self._memory, self._permits.last_intent
        memory.pending, memory.last_intent = pending, intent
        memory.since = 0 if intent is None else intent[0]
        is_kept = self.before_add()
        if not is_kept:
            memory.pending = None
        return is_kept

    def before_add(self) -> bool:
        """An addition is about to be sent, and the plan has counted it: after a kill it must not be asked for
        again. False when that could not be written down: then it must not be sent."""
        try:
            self.save(waits=True)
        except RunFailedError as error:
            self._not_kept(error)
            return False
        return True

    def _measure(self, held: int) -> None:
        now, is_bare = self._now(), held != 0 and not self._orders.is_covered(held)
        if is_bare and self._bare_since is None:
            self._bare_since = now
        elif not is_bare and self._bare_since is not None:
            bare_ns, self._bare_since = now - self._bare_since, None
            self._bare_ns += bare_ns
            self._journal.action(
                "covered" if held else "flat",
                unprotected_secs=bare_ns / 1e9,
                quantity=self._orders.size(held),
            )
        if self._was_held and held == 0:
            self._journal.action("position_over", unprotected_secs=self._bare_ns / 1e9)
            self.word.is_wanted = True  # its stop is going: is the venue flat, too?
            self._bare_ns = 0
        self._was_held = held != 0

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())

    @property
    def bare_secs(self) -> float:
        """For how long what is held has had no working stop; 0 while it has one or nothing is held."""
        return 0.0 if self._bare_since is None else (self._now() - self._bare_since) / 1e9

    @property
    def awaits_result(self) -> bool:
        """Whether a trade is over whose result is not told yet."""
        return self._memory.unsettled is not None

    @property
    def left_over(self) -> LeftOver | None:
        """On spot: what of the coins can neither be covered nor sold."""
        return None if self._keeper.coins is None else self._keeper.coins.left_over

    @property
    def _is_stuck(self) -> bool:
        left = self.left_over
        return left is not None and left.is_all

    @property
    def is_safe(self) -> bool:
        """Whether no entry is under way and nothing held that can be covered is without a working stop."""
        held = self._keeper.held_lots()
        is_looked_after = self._orders.is_covered(held) if held else self._orders.is_idle
        if not is_looked_after and self._is_stuck:
            is_looked_after = self._orders.is_settled
        return self._keeper.entry.pending is None and is_looked_after

    @property
    def is_quiet(self) -> bool:
        """Whether it is safe, nothing is on its way out, and the result of what is over is told."""
        held, opened = self._keeper.held_lots(), self._keeper.trade
        is_leaving = opened is not None and opened.exit_reason is not None
        if held and is_leaving and self._setup.may_send and not self._is_stuck:
            return False  # an exit sent at the very end would leave its stop behind
        return self.is_safe and (held != 0 or not self.awaits_result)
