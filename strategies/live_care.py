"""What a strategy does at a real venue and not in a backtest: adopt, watch, try again, remember.

After a start the venue's position and orders are matched with what the strategy remembers. A timer asks
for the protection again, whatever event was lost. The time a position is held without a working stop is
measured, and what must outlive a kill is written down: an entry before it is sent, the rest as it changes.
"""

import msgspec
from nautilus_trader.trading import Strategy

from strategies.entries import PendingEntry
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade, open_trade
from strategies.orders import EXIT, OrderDesk
from strategies.permits import Permits
from strategies.setup import LiveDuty, StrategySetup

__all__ = ["LiveCare"]

_LOOK_NS = 250_000_000
_RETRY_NS = 1_000_000_000


class LiveCare:
    """One strategy's live duties; `stands_still` says why no entry is sent, None when entries may be."""

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
        self.stands_still: str | None = None if duty.may_enter else "trade_switch"
        self._strategy = strategy
        self._setup = setup
        self._file = duty.memory
        self._earned_since = duty.earned_since
        self._orders = orders
        self._journal = journal
        self._keeper = keeper
        self._permits = permits
        self._memory = TradeMemory(str(setup.instrument.id))
        self._saved = b""
        self._bare_since: int | None = None
        self._bare_ns = 0
        self._was_held = False
        self._tried_at = 0
        keeper.care = self

    # -- start ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Adopt what the venue has, protect it, and begin to look again and again."""
        self._orders.take_rules()
        remembered = None if self._file is None else self._file.read()
        if remembered is not None and remembered.instrument == self._memory.instrument:
            self._memory = remembered
        self._permits.remember(self._memory.last_intent)
        self._adopt()
        self._strategy.clock.set_timer_ns("care", _LOOK_NS, None, None, self._strategy.on_care)  # type: ignore[attr-defined]
        self._keeper.protect()

    def _adopt(self) -> None:
        found = self._orders.adopt()
        held, memory = self._keeper.held_lots(), self._memory
        flat_bars = None
        if memory.flat_since is not None:
            flat_bars = max(0, self._now() - memory.flat_since) // self._setup.bar_ns
        trade = None if held == 0 else self._trade_of(held)
        self._keeper.resume(trade, flat_bars)
        if held or found or memory.trade is not None:
            self._journal.action(
                "adopt",
                quantity=self._orders.size(held),
                orders=found,
                plan="none" if trade is None else "remembered" if memory.trade is not None else "made",
                remembered=self._orders.size(memory.held_lots),
            )
        if held == 0 and memory.trade is not None:
            self._closed_while_away(memory.trade)

    def _closed_while_away(self, trade: OpenTrade) -> None:
        """The guard has to know how it ended: only the venue does."""
        pnl = None
        if self._earned_since is not None and self._memory.opened:
            pnl = self._earned_since(self._memory.opened)
            self._journal.trade_closed(trade.side, pnl, trade.approved.risk_amount, "while_away")
        size = self._orders.size(self._memory.held_lots)
        self._journal.action("closed_while_away", quantity=size, pnl=pnl)

    def _trade_of(self, held: int) -> OpenTrade | None:
        """The trade behind a position that was found: remembered, or of the entry that was under way."""
        memory, side = self._memory, 1 if held > 0 else -1
        trade, pending = memory.trade, memory.pending
        if trade is not None and trade.side == side:
            changed = abs(held) - abs(memory.held_lots)
            if changed > 0:
                trade.grow(changed, abs(memory.held_lots), of_entry=True)
            for rung in range(len(trade.rungs)):  # the nearest targets filled first
                gone = min(max(0, -changed), trade.rungs[rung].lots)
                if gone:
                    trade.target_filled(rung, gone)
                    changed += gone
            return trade
        if pending is not None and pending.approved.side == side:
            return self._made(pending, abs(held))
        return None

    def _made(self, pending: PendingEntry, lots: int) -> OpenTrade:
        price = self._orders.entry_price()
        return open_trade(
            pending.approved, pending.ladder, price, lots, self._setup.rules, self._setup.ticks_per_unit
        )

    # -- again and again -----------------------------------------------------------------------------------

    def look(self) -> None:
        """On the timer: what was refused or lost is tried again, once a second at most."""
        now, keeper = self._now(), self._keeper
        held, opened = keeper.held_lots(), keeper.trade
        if now - self._tried_at < _RETRY_NS or (held == 0 and opened is None and self._orders.is_idle):
            return
        self._tried_at = now
        self._orders.ask_overdue()
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
            memory.flat_since = self._now()
        if keeper.trade is None:
            memory.opened = 0
        elif memory.opened == 0:
            memory.opened = self._orders.opened_at()
        memory.held_lots, memory.trade, memory.pending = held, keeper.trade, keeper.pending
        memory.last_intent = self._permits.last_intent
        self.save()

    def save(self) -> None:
        """Write the memory if it has changed."""
        if self._file is None:
            return
        encoded = msgspec.json.encode(self._memory)
        if encoded != self._saved:
            self._file.write(self._memory)
            self._saved = encoded

    def before_entry(self, pending: PendingEntry) -> None:
        """An entry is about to be sent: a kill right after that must not make it a stranger."""
        self._memory.pending, self._memory.last_intent = pending, self._permits.last_intent
        self.save()

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
            self._bare_ns = 0
        self._was_held = held != 0

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())

    @property
    def is_quiet(self) -> bool:
        """Whether no entry is under way and nothing held is without a working stop."""
        held = self._keeper.held_lots()
        if held == 0:
            return self._keeper.pending is None and self._orders.is_idle
        return self._keeper.pending is None and self._orders.is_covered(held)
