"""What an operator must see: one line on stderr, and a record of kind "alarm" in the audit stream."""

from typing import Any

from actors.messages import AUDIT_TOPIC, AuditRecord
from configs.console import err_line

__all__ = ["alarm", "say"]


def alarm(component: Any, text: str, *, instrument: str = "", **detail: Any) -> None:
    """Raise an alarm of a component that the engine has registered; `detail` holds plain values.

    Call it on the node's thread. The line is `alarm: <component>: <text>`.
    """
    name = component.component_name
    say(f"{name}: {text}")
    record = AuditRecord(
        ts_event=component.clock.timestamp_ns(),
        component=name,
        instrument=instrument,
        kind="alarm",
        detail={"text": text, **detail},
    )
    component.publish_message(AUDIT_TOPIC, record)


def say(text: str) -> None:
    """The line alone; nobody's reading is waited for."""
    err_line(f"alarm: {text}", style="red")
