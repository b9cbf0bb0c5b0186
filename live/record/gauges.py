"""The node's metrics: what each is called, and how the audit stream feeds them.

Values are set on the node's thread and read by others; nothing here knows the engine.
"""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from actors.messages import AuditRecord, Mode, OrderTold
from strategies.refusals import remedy

__all__ = ["Gauges", "samples"]

_REFUSING = frozenset({"OrderRejected", "OrderDenied", "OrderCancelRejected", "OrderModifyRejected"})
_MEASURED = frozenset({"covered", "flat"})
_LATENCIES = (
    *(0.0002, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.0075),
    *(0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5),
)


class Gauges:
    """Every metric of one node, in a registry of its own.

    Times are in seconds, sizes in base units (short is negative), money in the currency of the label.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sextant_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sextant_{name}", text, labels, registry=registry)

        self.unprotected_total = counter(
            "unprotected_seconds", "Time a position was held without a working stop, once over", "instrument"
        )
        self.unprotected = gauge(
            "unprotected_now_seconds", "For how long what is held has had no working stop", "instrument"
        )
        self.position = gauge("position", "What is held", "instrument")
        self.equity = gauge("equity", "Balance and unrealised profit", "currency")
        self.risk_mode = gauge("risk_mode", "1 for the mode that holds", "mode")
        self.intents = counter("intents", "Wishes of a strategy", "strategy")
        self.approvals = counter("approvals", "Wishes that became an entry or an addition", "strategy")
        self.refusals = counter("refusals", "Wishes that were refused", "strategy", "check")
        self.orders = counter("order_events", "Events of orders", "role", "event")
        self.rejects = counter("rejects", "Orders, cancels and changes refused", "role", "reason")
        self.commissions = counter("commissions", "Commissions paid, rebates left out", "currency")
        self.tick_to_order = Histogram(
            "sextant_tick_to_order_seconds",
            "From the receipt of a bar to the order it caused",
            buckets=_LATENCIES,
            registry=registry,
        )
        self.depth = gauge("writer_depth", "What waits to be written", "writer")
        self.drops = gauge("writer_drops", "What found no room to wait", "writer")
        self.bars = counter("bars", "Bars received", "instrument")
        self.bar_age = gauge("last_bar_age_seconds", "Since the last bar came", "instrument")
        self.quote_age = gauge("last_quote_age_seconds", "Since the last quote came", "instrument")
        self.sockets = counter("socket_changes", "Connections that came or went", "endpoint", "what")
        self.alarms = counter("alarms", "Alarms raised", "component")
        self.errors = counter("errors", "Handlers that raised", "component")
        self.model_age = gauge("model_age_seconds", "Since the end of what a model learned from", "model")
        self.uptime = gauge("uptime_seconds", "Since the node started")
        self.memory = gauge("memory_bytes", "Resident memory of the process")
        self.set_mode("")

    def hear(self, record: AuditRecord) -> None:
        """Count a record of the audit stream."""
        kind, detail = record.kind, record.detail
        if kind == "action":
            if detail.get("action") in _MEASURED:
                self.unprotected_total.labels(record.instrument).inc(float(detail["unprotected_secs"]))
        elif kind == "intent":
            self.intents.labels(record.component).inc()
        elif kind == "approval":
            self.approvals.labels(record.component).inc()
        elif kind == "refusal":
            self.refusals.labels(record.component, str(detail["check"])).inc(int(detail.get("repeated", 1)))
        elif kind == "risk" and "mode" in detail:
            self.set_mode(str(detail["mode"]))
        elif kind == "node" and "endpoint" in detail:
            self.sockets.labels(str(detail["endpoint"]), str(detail["what"])).inc()
        elif kind == "alarm":
            self.alarms.labels(record.component).inc()
        elif kind == "error":
            self.errors.labels(record.component).inc()

    def told(self, message: OrderTold) -> None:
        """Count an order's event."""
        name, event = type(message.event).__name__, message.event
        self.orders.labels(message.role, name.removeprefix("Order")).inc()
        if name in _REFUSING:
            self.rejects.labels(message.role, remedy(str(event.reason)).kind).inc()
        elif name == "OrderFilled" and event.commission is not None:
            paid = event.commission.as_double()
            if paid > 0:
                self.commissions.labels(event.commission.currency.code).inc(paid)

    def set_mode(self, mode: str) -> None:
        """Show the risk mode that holds."""
        for each in Mode:
            self.risk_mode.labels(each.value).set(each.value == mode)


def samples(registry: CollectorRegistry) -> Mapping[str, Any]:
    """Every value by its name and labels, as the text format writes them; without when counters were made."""
    return {
        _name(sample.name, sample.labels): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def _name(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name
