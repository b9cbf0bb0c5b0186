"""What a strategy tells the others: its audit records, and what the guard counts."""

import math
from collections.abc import Mapping
from typing import Any

from nautilus_trader.trading import Strategy

from actors.messages import (
    AUDIT_TOPIC,
    TRADING_TOPIC,
    AuditRecord,
    EntrySubmitted,
    OrderRefused,
    TradeClosed,
)
from strategies.values import Approved, Intent, Refused

__all__ = ["Journal"]


class Journal:
    """Publishes for one strategy; every decision and event leaves its mark in the audit stream.

    A wish that is refused bar after bar for the same reason is written out once; the next different record,
    or the end, is preceded by a refusal that says how often it was `repeated`.
    """

    def __init__(self, strategy: Strategy, label: str, instrument: str) -> None:
        self._strategy = strategy
        self._label = label
        self._instrument = instrument
        self._refused: tuple[int, str] | None = None
        self._repeated = 0

    def record(self, kind: str, **detail: Any) -> None:
        """One audit record, in engine time."""
        self.catch_up()
        self._publish(kind, detail)

    def catch_up(self) -> None:
        """Write down what was only counted so far."""
        if self._repeated and self._refused is not None:
            side, check = self._refused
            self._publish("refusal", {"check": check, "side": side, "repeated": self._repeated})
        self._refused, self._repeated = None, 0

    def _publish(self, kind: str, detail: dict[str, Any]) -> None:
        record = AuditRecord(
            ts_event=self._strategy.clock.timestamp_ns(),
            component=self._label,
            instrument=self._instrument,
            kind=kind,
            detail=detail,
        )
        self._strategy.publish_message(AUDIT_TOPIC, record)

    def action(self, action: str, **detail: Any) -> None:
        """Something the strategy does with what is open or under way."""
        self.record("action", action=action, **detail)

    def decision(
        self, intent: Intent, forecasts: Mapping[str, float], verdict: Approved | Refused | None = None
    ) -> None:
        """A wish, the forecasts it was made on, and what became of it (None: it needed no permission)."""
        refused = (intent.side, verdict.check) if isinstance(verdict, Refused) else None
        if refused is not None and refused == self._refused:
            self._repeated += 1
            return
        for model, probability in forecasts.items():
            if not math.isnan(probability):
                self.record("forecast", model=model, probability=probability)
        self.record("intent", side=intent.side, confidence=intent.confidence, reasons=list(intent.reasons))
        if isinstance(verdict, Refused):
            self.refusal(verdict)
            self._refused = refused
        elif verdict is not None:
            self._approval(verdict)

    def refusal(self, verdict: Refused) -> None:
        """What was not permitted, with its numbers."""
        self.record("refusal", check=verdict.check, limit=verdict.limit, value=verdict.value)

    def _approval(self, verdict: Approved) -> None:
        self.record(
            "approval",
            side=verdict.side,
            quantity=verdict.quantity,
            bound_by=verdict.bound_by,
            risk_amount=verdict.risk_amount,
            factors=dict(verdict.factors),
        )

    def order(self, event: Any, role: str, **detail: Any) -> None:
        """An order's event."""
        order_id = str(event.client_order_id)
        self.record("order", event=type(event).__name__, role=role, client_order_id=order_id, **detail)

    def entry_submitted(self, side: int) -> None:
        """An entry has been sent."""
        message = EntrySubmitted(
            ts_event=self._now(), strategy=self._label, instrument=self._instrument, side=side
        )
        self._strategy.publish_message(TRADING_TOPIC, message)

    def trade_closed(
        self, side: int, pnl: float, risk: float, exit_reason: str, ended: int = 0, last_fill: int = -1
    ) -> None:
        """A position is flat again: `pnl` net of fees, `risk` what was at stake, in quote currency.

        `ended`: when (ns UTC), of one that is told later. `last_fill` is the venue's number
        of its newest fill: it is counted once although a kill may have it told again (-1: not known).
        """
        message = TradeClosed(
            ts_event=self._now(),
            strategy=self._label,
            instrument=self._instrument,
            side=side,
            pnl=pnl,
            risk=risk,
            exit_reason=exit_reason,
            ended=ended,
            last_fill=last_fill,
        )
        self._strategy.publish_message(TRADING_TOPIC, message)

    def order_refused(self, role: str, reason: str) -> None:
        """The venue rejected or the engine denied an order."""
        message = OrderRefused(
            ts_event=self._now(),
            strategy=self._label,
            instrument=self._instrument,
            role=role,
            reason=reason,
        )
        self._strategy.publish_message(TRADING_TOPIC, message)

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())
