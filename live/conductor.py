"""How a node ends: a signal, then no new entries, entries under way taken back, then as configured."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId

from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, AuditRecord
from live.signals import Signals
from strategies.base import TradingStrategy

__all__ = ["Conductor"]

_LOOK_NS = 100_000_000
_SETTLE_SECS = 10.0


@fail_loud
class Conductor(DataActor):
    """Ends the node when it is asked to, by a signal or after `secs`; writes the heartbeat until then.

    `stop` is the node handle's, `greet` is called once when everything has started. `outcome` is what it
    left behind: "flat", "protected" or "unsettled".
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

    def on_start(self) -> None:
        """Begin to look at the flag."""
        self._began = time.monotonic()
        self.clock.set_timer_ns("conduct", _LOOK_NS, None, None, self._on_look)

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        now = time.monotonic()
        self._beat()
        if self._greet is not None:  # the strategies have all begun to listen
            self._greet()
            self._greet = None
        if self._is_over:
            return
        if self._ending is None:
            if self._secs is not None and now - self._began >= self._secs:
                self._end(f"after {self._secs:g} s", now)
            elif self._signals.reason is not None:
                self._end(self._signals.reason, now)
        elif all(strategy.is_quiet for strategy in self._strategies) or now - self._ending > _SETTLE_SECS:
            self._finish()

    def _end(self, reason: str, now: float) -> None:
        self._ending = now
        self._audit(what="stopping", reason=reason, at_end=self._at_end)
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
        if held and self._at_end == "flatten":
            self.outcome = "unsettled"
        self._audit(what="stopped", outcome=self.outcome)
        self._stop()

    def _audit(self, **detail: Any) -> None:
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component=self.component_name,
            instrument="",
            kind="node",
            detail=detail,
        )
        self.publish_message(AUDIT_TOPIC, record)
