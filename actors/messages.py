"""Everything that travels on the bus: frozen, keyword-only values published with `publish_message`."""

from typing import Any

import msgspec

__all__ = ["AUDIT_TOPIC", "AuditRecord", "Forecast", "forecast_topic"]

AUDIT_TOPIC = "sextant.audit"


def forecast_topic(instrument: str) -> str:
    """The topic on which an instrument's forecasts travel."""
    return f"sextant.forecast.{instrument}"


class Forecast(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A model's opinion at one bar's close.

    `probability` is that of the upper barrier being reached first, given that one of the two is, within
    `horizon_bars` after `ts_event` (nanoseconds UTC, the bar's close). It depends on bars closed by then.
    """

    instrument: str
    model: str
    ts_event: int
    horizon_bars: int
    probability: float


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One decision or event, in engine time.

    `kind` is one of forecast, intent, approval, refusal, action, order; `detail` holds plain
    numbers and strings only, so that records hash the same in every run.
    """

    ts_event: int
    component: str
    instrument: str
    kind: str
    detail: dict[str, Any]
