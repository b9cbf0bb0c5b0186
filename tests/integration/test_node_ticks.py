"""Bars of a second live: the engine makes them of the trades, and the scalper trades on them."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceDataClientFactory,
    BinanceEnvironment,
    BinanceInstrumentProviderConfig,
    BinanceProductType,
)
from nautilus_trader.common import DataActor, DataActorConfig, Environment, LoggerConfig
from nautilus_trader.live import LiveNode
from nautilus_trader.model import ActorId, Bar, BarType, InstrumentId, TraderId, TradeTick

from catalog.columns import SECOND_NS, live_bar_type
from tests.live_nodes import Node, Rehearsal, rehearsal_of, until
from tests.modelling import INSTRUMENT

pytestmark = pytest.mark.slow  # processes and sockets against the clock

PROBE_SECS = 12.0
RUN = {
    "name": "ticks_test",
    "data": {
        "catalog": "none",
        "bar": "1s",
        "start": "2025-01-01T00:00:00Z",
        "test_start": "2025-02-01T00:00:00Z",
        "end": "2025-03-01T00:00:00Z",
    },
    "strategies": [
        {
            "use": "scalper",
            "name": "scalper",
            "instrument": INSTRUMENT,
            "signal": {
                "continuation_30s": 0.5,
                "flow_bps": 3,
                "book_bps": 1,
                "cost_bps": 0,
                "min_edge_bps": 0.01,
                "min_book_imbalance": 0.01,
                "min_flow_imbalance": 0.01,
                "max_quote_age_ms": 5000,
            },
            "sizing": {"method": "fraction", "fraction_pct": 5, "max_position_pct": 5},
            "stop": {"pct": 0.3},
            "targets": {"pct": 0.5},
            "time": {"max_bars": 5},
        }
    ],
    "risk": {"day": {"max_entries_hour": 60, "loss_streak": None}},
    "venue": {"starting_balance": 100_000.0, "leverage": 5.0},
}


class Listener(DataActor):
    """Trades and bars in the order in which the node sees them."""

    def __new__(cls, name: str) -> "Listener":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId(name)))

    def __init__(self, name: str) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId(name)))
        self.heard: list[TradeTick | Bar] = []

    def on_start(self) -> None:
        self.subscribe_trades(InstrumentId.from_str(INSTRUMENT))
        self.subscribe_bars(BarType.from_str(live_bar_type(INSTRUMENT, "1s")))

    def on_trade(self, trade: TradeTick) -> None:
        self.heard.append(trade)

    def on_bar(self, bar: Bar) -> None:
        self.heard.append(bar)


def _listened(venue: Rehearsal) -> list[Listener]:
    """What two actors of one node hear."""
    config = BinanceDataClientConfig(
        product_type=BinanceProductType.USD_M,
        environment=BinanceEnvironment.LIVE,
        base_url_http=venue.facts["http"],
        base_url_ws=venue.facts["ws"],
        instrument_provider=BinanceInstrumentProviderConfig(load_all=True),
    )
    node = (
        LiveNode.builder("test", TraderId("T-001"), Environment.LIVE)
        .with_logging(LoggerConfig(bypass_logging=True))
        .with_delay_post_stop_secs(0)
        .add_data_client(None, BinanceDataClientFactory(), config)
        .build()
    )
    listeners = [Listener("FIRST-001"), Listener("SECOND-001")]
    for listener in listeners:
        node.add_actor(listener)
    timer = threading.Timer(PROBE_SECS, node.handle().stop)
    timer.start()
    node.run()
    timer.join()
    node.dispose()
    return listeners


@pytest.mark.parametrize("trades_a_minute", [12, 3000])
def test_a_bar_of_a_second_is_the_trades_heard_since_the_one_before(trades_a_minute: int) -> None:
    with rehearsal_of("--symbols", "BTCUSDT", "--speed", "1", "--trades", str(trades_a_minute)) as venue:
        heard, again = (listener.heard for listener in _listened(venue))
    bars = [each for each in heard if isinstance(each, Bar)]
    assert len(bars) >= PROBE_SECS - 8
    assert [b.ts_event for b in again if isinstance(b, Bar)] == [b.ts_event for b in bars]
    assert all(after.ts_event - before.ts_event == SECOND_NS for before, after in pairwise(bars))
    assert all(bar.ts_event % SECOND_NS == 0 for bar in bars)
    first = next(i for i, each in enumerate(heard) if isinstance(each, Bar))
    last, since, empty = bars[0].close, list[TradeTick](), 0
    for each in heard[first + 1 :]:
        if isinstance(each, TradeTick):
            since.append(each)
            continue
        prices = [trade.price for trade in since] or [last]
        assert (each.open, each.high, each.low, each.close) == (
            *(prices[0], max(prices), min(prices), prices[-1]),
        )
        assert each.volume.as_decimal() == sum(trade.size.as_decimal() for trade in since)
        # a bar is made some ms after its second: what came meanwhile is in it, and nothing older is missing
        assert all(trade.ts_init >= each.ts_event - SECOND_NS for trade in since[:1])
        last, since, empty = each.close, [], empty + (not since)
    assert (empty > 0) == (trades_a_minute < 60)


def _run(folder: Path, **changes: Any) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(RUN | {"data": RUN["data"] | {"catalog": str(folder)}} | changes))  # type: ignore[operator]
    return path


def test_the_scalper_enters_is_covered_and_leaves_on_bars_of_a_second(tmp_path: Path) -> None:
    state = tmp_path / "state"
    options = ("--symbols", "BTCUSDT", "--speed", "1", "--trades", "900", "--balance", "100000")
    with rehearsal_of(*options) as venue, Node(_run(tmp_path), state, venue, "--at-end", "flatten") as node:
        node.until_trading()
        until(lambda: node.actions("covered"), "a covered entry", within=150)
        until(lambda: node.actions("position_over"), "its end", within=60)
        assert node.end() == 0, "".join(node.lines)
        assert venue.position() == 0.0
        closes = [r["detail"]["closed"] for r in node.audit() if r["kind"] == "bar"]
        assert {after - before for before, after in pairwise(closes)} == {SECOND_NS}
        assert not [r for r in node.audit() if r["kind"] in ("alarm", "error")]


class _Nowhere(Rehearsal):
    """No venue is named: the node makes a rehearsal for itself."""

    settings: ClassVar[list[str]] = []  # type: ignore[misc,assignment]


def test_a_rehearsal_of_its_own_plays_bars_of_a_second_at_the_speed_of_the_clock(tmp_path: Path) -> None:
    with Node(_run(tmp_path), tmp_path / "state", _Nowhere({}), "--speed", "10") as node:
        assert node.process.wait(60) == 2
        node._reader.join(10)
        assert "rehearse them at 1" in " ".join("".join(node.lines).split())
