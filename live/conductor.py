"""How a node ends: a signal, then no new entries, entries under way taken back, then as configured."""

import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal

from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId

from actors.alarms import alarm
from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, AuditRecord
from live.books import books_of
from live.signals import Signals
from live.standstill import Standstill
from live.sweeper import Sweeper
from strategies.base import TradingStrategy

__all__ = ["Conductor"]

_STANDS = "clock_stands_still"
_LOOK_NS = 100_000_000
_SETTLE_SECS = 4.0  # a result that is not told by then is remembered, and told by the next start
_EXPOSED_SECS = 15.0  # the answer to an entry that the venue has lost is known to be after six


@fail_loud
class Conductor(DataActor):
    """Ends the node when it is asked to, by a signal or after `secs`; until then beats and watches the clock.

    `stop` is the node handle's, `greet` is called once when everything has started. `outcome` is what it
    left behind: "flat", "protected" or "unsettled". `cover` has sent stops before there was a record.
    """

    component_name = "conductor"

    def __new__(cls, *_: object, **__: object) -> "Conductor":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("CONDUCTOR-001")))  # type: ignore[call-arg]

    def __init__(
        self,
        strategies: Sequence[TradingStrategy],
        signals: Signals,
        stop: Callable[[], None],
        *,
        at_end: Literal["keep", "flatten"],
        secs: float | None,
        beat: Callable[[], None],
        greet: Callable[[], None],
        sweeper: Sweeper | None = None,
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("CONDUCTOR-001")))
        self.failure: BaseException | None = None
        self.outcome = "unsettled"
        self._strategies = strategies
        self._signals = signals
        self._stop = stop
        self._at_end = at_end
        self._secs = secs
        self._beat = beat
        self._greet: Callable[[], None] | None = greet
        self._began = 0.0
        self._ending: float | None = None
        self._is_over = False
        self._was_holding = False
        self._sweeper = sweeper
        self._standstill = Standstill()

    def ask(self, reason: str, at_end: Literal["keep", "flatten"] | None = None) -> None:
        """End the node as on a signal, from a handler of the node's thread; None: as it was configured."""
        self._at_end = at_end or self._at_end
        self._signals.reason = self._signals.reason or reason

    def on_start(self) -> None:
        """Begin to look at the flag."""
        self._began = time.monotonic()
        # apart: a disk that takes no heartbeat must not keep the node from ending
        self.clock.set_timer_ns("heartbeat", _LOOK_NS, None, None, self._on_heartbeat)
        self.clock.set_timer_ns("conduct", _LOOK_NS, None, None, self._on_look)

    @guarded
    def _on_heartbeat(self, event: Any) -> None:
        del event
        self._beat()

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        now = time.monotonic()
        if self._greet is not None:  # the strategies have all begun to listen
            self._greet()
            self._greet = None
        self._keep_books()
        self._watch_clock(now)
        if self._is_over:
            return
        if self._ending is None:
            if self._secs is not None and now - self._began >= self._secs:
                self._end(f"after {self._secs:g} s", now)
            elif self._signals.reason is not None:
                self._end(self._signals.reason, now)
        elif self._is_settled or now - self._ending > self._patience_secs:
            self._finish()

    def _watch_clock(self, now: float) -> None:
        """Enter nothing while the engine's clock stands still: what is stale seems to be fresh."""
        clock = self._standstill
        has_changed = clock.look(self.clock.timestamp_ns(), now)
        for strategy in self._strategies if clock.is_on else ():
            strategy.pause(_STANDS)
        if has_changed and clock.is_on:
            text = "this machine's clock was set back: nothing is entered until it has caught up"
            alarm(self, text)
        elif has_changed:
            for strategy in self._strategies:
                strategy.lift(_STANDS)

    @property
    def _is_settled(self) -> bool:
        """Nothing is left to be done: what is held may stay, and no order waits that is not known."""
        if not all(strategy.is_quiet for strategy in self._strategies) or (
            self._holds and self._at_end == "flatten"
        ):
            return False
        if self._sweeper is None or not self._sweeper.is_clean:
            return self._sweeper is None
        if self._left:  # a fill may be on its way: look again
            self._sweeper.ask()
            return False
        return True

    @property
    def _patience_secs(self) -> float:
        """Longer while an end would leave behind what nobody looks after."""
        is_safe = all(strategy.is_safe for strategy in self._strategies)
        return _SETTLE_SECS if is_safe and not self._is_open else _EXPOSED_SECS

    @property
    def _is_open(self) -> bool:
        """Whether something is held that is to be closed, or that no strategy knows."""
        return bool(self._left) or (self._holds and self._at_end == "flatten")

    @property
    def _holds(self) -> bool:
        """Whether something is held that can be covered and closed."""
        stuck = [left.is_all for s in self._strategies if (left := s.left_over) is not None]
        return sum(strategy.is_holding for strategy in self._strategies) > sum(stuck)

    @property
    def _left(self) -> dict[str, Decimal]:
        return {} if self._sweeper is None else self._sweeper.left_over

    def _keep_books(self) -> None:
        """Flat again: the moment at which money is comparable."""
        is_holding = any(strategy.is_holding or strategy.awaits_result for strategy in self._strategies)
        if self._was_holding and not is_holding:
            self._audit_books()
        self._was_holding = is_holding

    def _end(self, reason: str, now: float) -> None:
        self._ending = now
        self._audit(what="stopping", reason=reason, at_end=self._at_end)
        if self._sweeper is not None:
            self._sweeper.ask()
        for strategy in self._strategies:
            strategy.stand_still("node_stopping")
            strategy.withdraw("node_stopping")
            if self._at_end == "flatten":
                strategy.leave("node_stopping")

    def _finish(self) -> None:
        self._is_over = True
        held = self._holds
        is_safe = all(strategy.is_safe for strategy in self._strategies) and not self._is_open
        self.outcome = ("protected" if held else "flat") if is_safe else "unsettled"
        for strategy in self._strategies:
            if strategy.awaits_result:
                text = f"{strategy.instrument.id}: the next start tells the result of its last trade"
                alarm(self, text, instrument=str(strategy.instrument.id))
        self._tell_left_over()
        for symbol, amount in self._left.items():
            text = f"the venue holds {amount:f} {symbol} that no order of this node reaches: close it there"
            alarm(self, text, instrument=symbol, amount=f"{amount:f}")
        self._audit_books()
        self._audit(what="stopped", outcome=self.outcome)
        if self.outcome == "unsettled":
            alarm(self, "the node stops before everything is settled: look at the venue", held=held)
        self._stop()

    def _tell_left_over(self) -> None:
        for strategy in self._strategies:
            left, name = strategy.left_over, str(strategy.instrument.id)
            if left is not None:
                text = (
                    f"{name}: {left.amount:g} coins worth {left.worth:.2f} stay as dust: the venue's step "
                    "has become coarser, so that no order takes them, to sell nor to cover them"
                )
                alarm(self, text, instrument=name, amount=left.amount)

    def _audit_books(self) -> None:
        told = {str(strategy.instrument.id): strategy.result for strategy in self._strategies}
        results = {name: result for name, result in told.items() if result is not None}
        said = {str(strategy.instrument.id): strategy.venue_amount for strategy in self._strategies}
        amounts = {name: amount for name, amount in said.items() if amount is not None}
        self._audit(what="books", **books_of(self.cache, results, amounts))

    def _audit(self, **detail: Any) -> None:
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component=self.component_name,
            instrument="",
            kind="node",
            detail=detail,
        )
        self.publish_message(AUDIT_TOPIC, record)
