"""The audit stream: every decision and event as one record, in order, under a hash that repeats."""

import hashlib
import json
import math

import pandas as pd
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId

from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, AuditRecord

__all__ = ["AuditActor", "decisions_frame", "decisions_hash"]


@fail_loud
class AuditActor(DataActor):
    """Collects what is published on the audit topic."""

    component_name = "audit"

    def __new__(cls) -> "AuditActor":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("AUDIT-001")))  # type: ignore[call-arg]

    def __init__(self) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("AUDIT-001")))
        self.failure: BaseException | None = None
        self.records: list[AuditRecord] = []

    def on_start(self) -> None:
        """Listen to every component's records."""
        self.subscribe_topic(AUDIT_TOPIC, self._record)

    @guarded
    def _record(self, message: object) -> None:
        if not isinstance(message, AuditRecord):
            raise TypeError(f"the audit topic carries AuditRecord only, got {type(message).__name__}")
        self.records.append(message)


def decisions_frame(records: list[AuditRecord]) -> pd.DataFrame:
    """The records as a table: seq, ts_event (UTC), component, instrument, kind, detail (canonical JSON)."""
    return pd.DataFrame(
        {
            "seq": pd.Series(range(len(records)), dtype="int64"),
            "ts_event": pd.to_datetime([r.ts_event for r in records], utc=True).astype("datetime64[ns, UTC]"),
            "component": pd.Series([r.component for r in records], dtype="str"),
            "instrument": pd.Series([r.instrument for r in records], dtype="str"),
            "kind": pd.Series([r.kind for r in records], dtype="str"),
            "detail": pd.Series([_canonical(r) for r in records], dtype="str"),
        }
    )


def decisions_hash(records: list[AuditRecord]) -> str:
    """SHA-256 over the records in order; floats count to their last bit (shortest round-trip form)."""
    digest = hashlib.sha256()
    for r in records:
        digest.update(f"{r.ts_event}|{r.component}|{r.instrument}|{r.kind}|{_canonical(r)}\n".encode())
    return digest.hexdigest()


def _canonical(record: AuditRecord) -> str:
    """Floats that JSON does not know (a refused NaN, say) become words: nan, inf, -inf."""
    detail = {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.detail.items()
    }
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), allow_nan=False)
