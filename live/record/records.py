"""Everything a node keeps of itself: the audit stream, the recorded market, the metrics.

audit/          the stream, see `live.record.audit_file`
catalog/        what the node has seen, see `live.record.recording`
metrics.json    see `live.record.metrics`
"""

import os
import platform
from collections import deque
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nautilus_trader.model import BarType
from nautilus_trader.portfolio import Portfolio

from actors.forecaster import ForecastSpec
from catalog.columns import BarColumns, live_bar_type
from configs.load import config_hash
from configs.schema import RunConfig
from live.record.audit_file import AuditFile
from live.record.gauges import Gauges
from live.record.metrics import Metrics, MetricsOut, Writer
from live.record.recorder import Recorder
from live.record.recording import MarketWriter
from live.record.settlements import Settlements
from live.venue.client import VenueClient
from models.exogenous import KnownSeries
from strategies.base import TradingStrategy

__all__ = ["Records"]


class Records:
    """The files of one session in `folder`, from before the node is built until it has stopped.

    `client` is asked for funding, from another thread. ConfigError when the metrics' port is taken.
    """

    def __init__(self, run: RunConfig, folder: Path, client: VenueClient) -> None:
        self._run = run
        self._folder = folder
        self._settlements = Settlements(client)
        self._market: MarketWriter | None = None
        self._early: deque[tuple[str, BarColumns]] = deque()
        self._gauges = Gauges()
        self._out = MetricsOut(self._gauges, folder / "metrics.json", run.live.metrics_port)
        record = run.live.record
        self._audit = AuditFile(folder / "audit", keep_days=None if record is None else record.keep_days)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, values: dict[str, Any]) -> None:
        """Write one line of the audit stream before the node's own begin."""
        self._audit.put(values)

    def keep(self, instrument_id: str, bars: BarColumns) -> None:
        """Record bars that did not come over the stream; from any thread."""
        if self._market is None:
            self._early.append((instrument_id, bars))
        else:
            self._market.keep(instrument_id, bars)

    def components(
        self,
        strategies: Sequence[TradingStrategy],
        portfolio: Portfolio,
        specs: Mapping[str, ForecastSpec],
        *,
        index: KnownSeries | None = None,
        **facts: Any,
    ) -> tuple[Recorder, Metrics]:
        """The actors that feed the files, to be added to the node before all others.

        `index` is what comes from outside the bars; `facts` are plain values that are told with the start.
        """
        run, record = self._run, self._run.live.record
        kinds = tuple(BarType.from_str(live_bar_type(name, run.data.bar)) for name in run.instruments)
        writers: dict[str, Writer] = {"audit": self._audit}
        if record is not None:
            instruments = {str(s.instrument.id): s.instrument for s in strategies}
            market = MarketWriter(self._folder / "catalog", instruments, run.data.bar, record)
            self._market = writers["catalog"] = market
            while self._early:
                market.keep(*self._early.popleft())
        recorder = Recorder(
            self._audit,
            kinds,
            market=self._market,
            keeps_quotes=run.data.ticks or (record is not None and record.quotes),
            keeps_trades=run.data.ticks,
            index=index,
            settlements=self._settlements,
            facts=self._facts() | facts,
        )
        metrics = Metrics(
            self._gauges,
            bar_types=kinds,
            strategies=strategies,
            portfolio=portfolio,
            writers=writers,
            models=_learned_until(specs),
        )
        return recorder, metrics

    def close(self) -> None:
        """Write what is left; the last of the three knows what became of the others."""
        self._settlements.close()
        if self._market is not None:
            self._market.close()
        self._audit.close()
        self._out.close()

    @property
    def lost(self) -> str:
        """Once they are closed: what could not be kept, in one line; empty when nothing is missing."""
        market = "" if self._market is None else self._market.lost
        return "; ".join(part for part in (self._audit.lost, market) if part)

    def _facts(self) -> dict[str, Any]:
        run = self._run
        return {
            "run": run.name,
            "config_hash": config_hash(run),
            "instruments": list(run.instruments),
            "strategies": [s.label for s in run.strategies],
            "pid": os.getpid(),
            "host": platform.node(),
            "nautilus_trader": version("nautilus_trader"),
        }


def _learned_until(specs: Mapping[str, ForecastSpec]) -> dict[str, int]:
    """The end (ns UTC) of what each model learned from, by the name of its bundle."""
    ends = {}
    for spec in specs.values():
        for predictor in spec.predictors:
            period = predictor.metadata.get("training_period")
            end = period.get("end_ns") if isinstance(period, dict) else None
            if isinstance(end, int):
                ends[f"{predictor.instrument}/{predictor.folder.name}"] = end
    return ends
