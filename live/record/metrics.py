"""The node's metrics as they are fed and told: an actor that feeds them, a file and a page that tell them.

The actor runs on the node's thread: it hears the audit stream, and looks at the engine once a second. What it
hears it counts then, too: at a bar's close orders wait. The file `metrics.json` and the page for Prometheus
are made by threads of their own, of values alone.
"""

import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Bar, BarType
from nautilus_trader.portfolio import Portfolio
from prometheus_client import start_http_server

from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, ORDER_TOPIC, AuditRecord, OrderTold
from configs.errors import ConfigError
from live.record.gauges import Gauges, samples
from strategies.base import TradingStrategy

__all__ = ["Metrics", "MetricsOut", "Writer", "resident_bytes"]

_LOOK_NS = 1_000_000_000
_CAUSED_NS = 1_000_000_000
_FILE_SECS = 2.0
_END_SECS = 5.0
_CAUSED_ROLES = frozenset({"entry", "add", "exit"})


class Writer(Protocol):
    """What writes behind the node's back, and may fall behind."""

    drops: int

    @property
    def depth(self) -> int:
        """What waits."""


@fail_loud
class Metrics(DataActor):
    """Feeds `gauges`. `models` are the ends (ns UTC) of what each model learned from, by its name."""

    component_name = "metrics"

    def __new__(cls, *_: object, **__: object) -> "Metrics":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("METRICS-001")))  # type: ignore[call-arg]

    def __init__(
        self,
        gauges: Gauges,
        *,
        bar_types: Sequence[BarType],
        strategies: Sequence[TradingStrategy],
        portfolio: Portfolio,
        writers: Mapping[str, Writer],
        models: Mapping[str, int],
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("METRICS-001")))
        self.failure: BaseException | None = None
        self._gauges = gauges
        self._bar_types = {str(kind.instrument_id): kind for kind in bar_types}
        self._strategies = strategies
        self._portfolio = portfolio
        self._writers = writers
        self._models = models
        self._began = 0.0
        self._heard: list[AuditRecord | OrderTold | Bar] = []

    def on_start(self) -> None:
        """Listen, and begin to look."""
        self._began = time.monotonic()
        self.subscribe_topic(AUDIT_TOPIC, self._on_audit)
        self.subscribe_topic(ORDER_TOPIC, self._on_order)
        for name, kind in self._bar_types.items():
            self._gauges.unprotected_total.labels(name)  # shown from the start, as 0
            self.subscribe_bars(kind)
        self.clock.set_timer_ns("measure", _LOOK_NS, None, None, self._on_look)

    def follow(self, kind: BarType, instrument: Any) -> None:
        """One more instrument, while the node runs."""
        del instrument
        name = str(kind.instrument_id)
        if name not in self._bar_types:
            self._bar_types[name] = kind
            self._gauges.unprotected_total.labels(name)
            self.subscribe_bars(kind)

    def on_stop(self) -> None:
        """The last values stay."""
        self._look()

    def on_bar(self, bar: Bar) -> None:
        """It is counted with the next look."""
        self._heard.append(bar)

    @guarded
    def _on_audit(self, message: object) -> None:
        if isinstance(message, AuditRecord):
            self._heard.append(message)

    @guarded
    def _on_order(self, message: object) -> None:
        if not isinstance(message, OrderTold):
            return
        self._heard.append(message)
        event = message.event
        if message.role not in _CAUSED_ROLES or type(event).__name__ != "OrderSubmitted":
            return
        kind = self._bar_types.get(str(event.instrument_id))
        bar = None if kind is None else self.cache.bar(kind)
        if bar is not None and 0 <= event.ts_init - bar.ts_init < _CAUSED_NS:
            self._gauges.tick_to_order.observe((event.ts_init - bar.ts_init) / 1e9)

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        self._look()

    def _count(self) -> None:
        heard, self._heard = self._heard, []
        for message in heard:
            if isinstance(message, AuditRecord):
                self._gauges.hear(message)
            elif isinstance(message, OrderTold):
                self._gauges.told(message)
            else:
                self._gauges.bars.labels(str(message.bar_type.instrument_id)).inc()

    def _look(self) -> None:
        self._count()
        gauges, now = self._gauges, self.clock.timestamp_ns()
        for name, kind in self._bar_types.items():
            bar, quote = self.cache.bar(kind), self.cache.quote(kind.instrument_id)
            gauges.bar_age.labels(name).set(math.nan if bar is None else (now - bar.ts_init) / 1e9)
            gauges.quote_age.labels(name).set(math.nan if quote is None else (now - quote.ts_init) / 1e9)
            gauges.position.labels(name).set(float(self._portfolio.net_position(kind.instrument_id)))
        for strategy in self._strategies:
            if strategy.care is not None:
                gauges.unprotected.labels(str(strategy.instrument.id)).set(strategy.care.bare_secs)
        venue = next(iter(self._bar_types.values())).instrument_id.venue
        for currency, money in self._portfolio.equity(venue).items():
            gauges.equity.labels(currency.code).set(money.as_double())
        for name, writer in self._writers.items():
            gauges.depth.labels(name).set(writer.depth)
            gauges.drops.labels(name).set(writer.drops)
        for model, end_ns in self._models.items():
            gauges.model_age.labels(model).set((now - end_ns) / 1e9)
        gauges.uptime.set(time.monotonic() - self._began)
        gauges.memory.set(resident_bytes())


class MetricsOut:
    """Writes `path` every two seconds and serves the page on loopback when there is a `port`, until `close`.

    ConfigError when the port is taken.
    """

    def __init__(self, gauges: Gauges, path: Path, port: int | None = None) -> None:
        self._gauges = gauges
        self._path = path
        self._ended = threading.Event()
        self._server: Any = None
        if port is not None:
            try:
                self._server, self._served = start_http_server(port, "127.0.0.1", gauges.registry)
            except OSError as error:
                raise ConfigError(f"live.metrics_port {port}: {error.strerror}; choose another") from error
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the last values and stop serving."""
        self._ended.set()
        self._thread.join(_END_SECS)
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._served.join(_END_SECS)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ended.wait(_FILE_SECS)
            with suppress(OSError):  # a full disk is told by the writers that matter
                self._write()

    def _write(self) -> None:
        values = {
            name: value if math.isfinite(value) else None
            for name, value in samples(self._gauges.registry).items()
        }
        told = {"at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "pid": os.getpid(), "values": values}
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        temporary.write_text(json.dumps(told, indent=1), encoding="utf-8")
        temporary.replace(self._path)


def resident_bytes() -> float:
    """Memory of this process that is in RAM; NaN where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return math.nan
    return float(pages * os.sysconf("SC_PAGE_SIZE"))
