"""Whether a live strategy may enter now: pauses, stale market data, unanswered orders, the venue's limits.

Exits and protection never ask here. What a refused order brings about is looked up in `strategies.refusals`.
"""

from typing import Any

from nautilus_trader.trading import Strategy

from actors.alarms import alarm
from strategies.bar_ages import BarAges
from strategies.journal import Journal
from strategies.order_views import unanswered_since
from strategies.orders import STOP, OrderDesk
from strategies.pauses import Pauses
from strategies.refusals import Remedy, remedy
from strategies.setup import LiveDuty, StrategySetup
from strategies.values import Refused
from strategies.venue_stop import BRIDGE

__all__ = ["LiveGate"]

_SECOND_NS = 1_000_000_000
_UNANSWERED_NS = 2 * _SECOND_NS
_UNANSWERED_PAUSE_NS = 15 * _SECOND_NS
_STALE = "stale_quotes"


class LiveGate:
    """One strategy's gate for entries; `refuses` is asked before each, `watch` again and again."""

    def __init__(
        self, strategy: Strategy, setup: StrategySetup, duty: LiveDuty, orders: OrderDesk, journal: Journal
    ) -> None:
        self._strategy = strategy
        self._id = setup.instrument.id
        self._instrument = str(setup.instrument.id)
        self._stale_ns = duty.stale_quote_ns
        self._bar_ages = BarAges(duty.stale_bar_secs, replays=duty.replays)
        self._budget = duty.budget
        self._orders = orders
        self._journal = journal
        self._pauses = Pauses()
        self._told: str | None = None
        self._began = 0
        if not duty.may_enter:
            self.stand_still("trade_switch")

    # -- asked ---------------------------------------------------------------------------------------------

    def refuses(self) -> Refused | None:
        """Why no entry may be sent now; None when one may."""
        now = self._now()
        reason = self._pauses.reason(now, besides=_STALE)  # quotes may have come since the last look
        if reason is not None:
            return Refused(reason, 0.0, 1.0)
        age = self._quote_age(now)
        if self._stale_ns is not None and age > self._stale_ns:
            return Refused(_STALE, self._stale_ns / _SECOND_NS, age / _SECOND_NS)
        if self._bar_ages.is_late:
            return Refused("stale_bar", self._bar_ages.limit_secs or 0.0, self._bar_ages.late_secs)
        if not self._orders.has_price:
            return Refused("no_quote", 1.0, 0.0)
        return None if self._budget is None else self._budget.refuses(now)

    @property
    def is_paused(self) -> bool:
        """Whether an entry that rests has to go."""
        return self.reason is not None

    @property
    def reason(self) -> str | None:
        """What pauses entries now, None when nothing does."""
        return self._pauses.reason(self._now())

    # -- told ----------------------------------------------------------------------------------------------

    def stand_still(self, reason: str) -> None:
        """Let nothing new in from now on."""
        self._pauses.stand_still(reason)

    def pause(self, reason: str, secs: float | None = None) -> None:
        """Let nothing new in for so long, or until an operator resumes; only a flag is set."""
        self._pauses.add(reason, None if secs is None else self._now() + round(secs * _SECOND_NS))

    def lift(self, reason: str) -> None:
        """Take a pause back: what it was for is over."""
        self._pauses.lift(reason)

    def resume(self) -> None:
        """An operator's word."""
        self._pauses.resume()

    def bar_heard(self, closed: int) -> None:
        """A bar has come that closed at `closed` (ns UTC); on one that is late nothing is entered."""
        if self._bar_ages.hear(closed, self._now()):
            late = self._bar_ages.late_secs
            self._alarm(f"a bar came {late:.1f} s after its close: nothing is entered on bars as old as that")

    def inherit(self, other: "LiveGate") -> None:
        """Pause for what the other one does: it stands in for that one."""
        self._pauses = other._pauses

    def refused(self, role: str, reason: str) -> Remedy:
        """An order was refused; returns what follows, the pause is set."""
        answer = remedy(reason)
        if answer.pause_secs != 0.0:
            self.pause(f"refused:{answer.kind}", answer.pause_secs)
        if answer.is_alarming or role in (STOP, BRIDGE):
            self._alarm(f"{role} refused ({answer.kind}): {reason}", role=role, kind=answer.kind)
        return answer

    # -- again and again -----------------------------------------------------------------------------------

    def start(self) -> None:
        """The node has begun; from now on quotes are waited for."""
        self._began = self._now()

    def watch(self) -> None:
        """On the timer: what is over is lifted, what is new is told."""
        now = self._now()
        self._pauses.expire(now)
        self._watch_quotes(now)
        self._watch_answers(now)
        reason = self._pauses.reason(now)
        if reason != self._told:
            self._journal.action("entries_resumed" if reason is None else "entries_paused", reason=reason)
            self._told = reason

    def _watch_quotes(self, now: int) -> None:
        if self._stale_ns is None:
            return
        age = self._quote_age(now)
        if age <= self._stale_ns:
            self._pauses.lift(_STALE)
        elif self._pauses.add(_STALE):
            self._alarm(f"no quote for {age / _SECOND_NS:.1f} s: nothing is entered until one comes")

    def _quote_age(self, now: int) -> int:
        """By when the last one arrived; by the start while there was none."""
        quote: Any = self._strategy.cache.quote(self._id)
        return now - max(self._began, 0 if quote is None else int(quote.ts_init))

    def _watch_answers(self, now: int) -> None:
        if unanswered_since(self._strategy.cache, self._orders.working_ids()) < now - _UNANSWERED_NS:
            is_new = self._pauses.add("unanswered", now + _UNANSWERED_PAUSE_NS)
            if is_new:
                self._alarm("the venue has not answered an order for 2 s: nothing is entered for a while")

    def _alarm(self, text: str, **detail: Any) -> None:
        alarm(self._strategy, text, instrument=self._instrument, **detail)

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())
