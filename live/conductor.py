"""How a node ends: a signal, then no new entries, entries under way taken back, then as configured."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId

from actors.alarms import alarm
from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, AuditRecord
from live.books import books_of
from live.first_cover import FirstCover, FirstStop
from live.signals import Signals
from live.sweeper import Sweeper
from strategies.base import TradingStrategy

__all__ = ["Conductor"]

_LOOK_NS = 100_000_000
_SETTLE_SECS = 15.0  # a result that the venue's fills do not confirm is told after ten


@fail_loud
class Conductor(DataActor):
    """Ends the node when it is asked to, by a signal or after `secs`; writes the heartbeat until then.

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
        cover: FirstCover | None = None,
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
        self._cover = cover

    def ask(self, reason: str, at_end: Literal["keep", "flatten"] | None = None) -> None:
        """End the node as on a signal, from a handler of the node's thread; None: as it was configured."""
        self._at_end = at_end or self._at_end
        self._signals.reason = self._signals.reason or reason

    def on_start(self) -> None:
        """Begin to look at the flag."""
        self._began = time.monotonic()
        if self._cover is not None:
            for stop in self._cover.placed:
                self._note_stop(stop)
            self._cover.told()
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
        if self._is_over:
            return
        if self._ending is None:
            if self._secs is not None and now - self._began >= self._secs:
                self._end(f"after {self._secs:g} s", now)
            elif self._signals.reason is not None:
                self._end(self._signals.reason, now)
        elif self._is_settled or now - self._ending > _SETTLE_SECS:
            self._finish()

    @property
    def _is_settled(self) -> bool:
        """Nothing is left to be done: what is held may stay, and no order waits that is not known."""
        is_held = any(strategy.is_holding for strategy in self._strategies)
        if not all(strategy.is_quiet for strategy in self._strategies) or (
            is_held and self._at_end == "flatten"
        ):
            return False
        if self._sweeper is None or not self._sweeper.is_clean:
            return self._sweeper is None
        if self._sweeper.left_over:  # a fill may be on its way: look again
            self._sweeper.ask()
            return False
        return True

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
        quiet = all(strategy.is_quiet for strategy in self._strategies)
        held = any(strategy.is_holding for strategy in self._strategies)
        self.outcome = ("protected" if held else "flat") if quiet else "unsettled"
        left = {} if self._sweeper is None else self._sweeper.left_over
        if left or (held and self._at_end == "flatten"):
            self.outcome = "unsettled"
        for symbol, amount in left.items():
            text = f"the venue holds {amount:f} {symbol} that no order of this node reaches: close it there"
            alarm(self, text, instrument=symbol, amount=f"{amount:f}")
        self._audit_books()
        self._audit(what="stopped", outcome=self.outcome)
        if self.outcome == "unsettled":
            alarm(self, "the node stops before everything is settled: look at the venue", held=held)
        self._stop()

    def _note_stop(self, stop: FirstStop) -> None:
        """What was sent before there was a record to keep."""
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component=self.component_name,
            instrument=stop.instrument,
            kind="action",
            detail={"action": "first_stop", "orders": {stop.name: "stop"}, "price": float(stop.price)},
        )
        self.publish_message(AUDIT_TOPIC, record)

    def _audit_books(self) -> None:
        told = {str(strategy.instrument.id): strategy.result for strategy in self._strategies}
        results = {name: result for name, result in told.items() if result is not None}
        self._audit(what="books", **books_of(self.cache, results))

    def _audit(self, **detail: Any) -> None:
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component=self.component_name,
            instrument="",
            kind="node",
            detail=detail,
        )
        self.publish_message(AUDIT_TOPIC, record)
