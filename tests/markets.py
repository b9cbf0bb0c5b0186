"""Small hand-made bar markets traded by the assembled strategies in the real engine, forecasts scripted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Bar, BarType, CryptoPerpetual, CurrencyPair

from actors.forecaster import ModelStream, PrecomputedSource
from actors.guard import Guard
from actors.messages import AuditRecord
from backtests.venue import Simulation, build_engine
from catalog.store import BarColumns, bar_type
from configs.schema import RunConfig
from strategies.assembly import Assembly, ModelFeed, assemble
from strategies.base import TradingStrategy
from strategies.values import Intent, View
from tests.hand_market import MINUTE, T0, columns, instrument

__all__ = [
    "DOWN",
    "FLAT",
    "UP",
    "Desk",
    "Fill",
    "Speaker",
    "State",
    "bars_of",
    "deciding",
    "desk",
    "flat_rows",
    "random_rows",
    "random_script",
    "run_config",
]

UP, DOWN = 0.7, 0.3  # full confidence long and short under ml_basic's defaults
FLAT = (100.0, 100.5, 99.5, 100.0)
MODEL = "direction"
Instrument = CryptoPerpetual | CurrencyPair
Row = tuple[float, ...]
# 10 % of 100,000 at a price of 100 is exactly 100 coins
SIZING = {"method": "fraction", "fraction_pct": 10, "max_position_pct": 50, "confidence_weighted": False}
# limits so wide that only what a test asks for binds
WIDE = {
    "max_leverage": 125,
    "liquidation_buffer_pct": 0,
    "position": {"max_risk_per_trade_pct": 100, "price_sanity_pct": 100},
    "day": {"max_loss_pct": None, "loss_streak": None},
    "portfolio": {
        "max_gross_pct": 100_000,
        "max_net_pct": 100_000,
        "max_side_pct": 100_000,
        "max_cluster_risk_pct": 100,
        "drawdown_steps": (),
        "max_drawdown_pct": 100,
    },
    "performance": None,
    "kill_switch": {
        "max_drawdown_pct": None,
        "max_daily_loss_pct": None,
        "stale_data_pause_secs": None,
        "max_rejections": None,
    },
}


@dataclass(frozen=True)
class Fill:
    """One fill as the engine's own order holds it; `bar` counts from 0."""

    bar: int
    role: str
    side: str
    quantity: float
    price: float


@dataclass(frozen=True)
class State:
    """What stood at the venue when a bar was over, after everything that happened at its close.

    `orders` are (role, side, type, open quantity, level, reduce-only) of the working ones, the stop first.
    """

    bar: int
    position: float
    orders: tuple[tuple[str, str, str, float, float, bool], ...]


class Watch(DataActor):
    """Looks at the cache after each bar; the timer comes after the bar and all it caused."""

    def __new__(cls, *_: Any) -> "Watch":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("WATCH-001")))

    def __init__(self, strategies: Sequence[TradingStrategy]) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("WATCH-001")))
        self.strategies = strategies
        self.states: dict[str, list[State]] = {}
        self.error: BaseException | None = None

    def on_start(self) -> None:
        self.clock.set_timer_ns("bar end", MINUTE, T0, None, self.look)

    def look(self, _event: Any) -> None:
        try:
            for strategy in self.strategies:
                name = strategy.component_name
                self.states.setdefault(name, []).append(self._state(strategy))
        except BaseException as error:  # the engine would swallow it
            self.error = error
            raise

    def _state(self, strategy: TradingStrategy) -> State:
        traded = strategy._setup.instrument.id
        working = self.cache.orders_open(instrument_id=traded) + self.cache.orders_inflight(
            instrument_id=traded
        )
        rows = {_order_row(order, strategy.roles) for order in working}
        bar = _bar(self.clock.timestamp_ns())
        position = _position(self.cache.positions_open(instrument_id=traded))
        return State(bar, position, tuple(sorted(rows)))


def _position(positions: Sequence[Any]) -> float:
    """Signed, from the exact quantities: the engine's own signed sum carries binary dust."""
    return sum(float(str(p.quantity)) * (1 if p.is_long else -1) for p in positions)


def _order_row(order: Any, roles: Mapping[str, str]) -> tuple[str, str, str, float, float, bool]:
    level = getattr(order, "trigger_price", None) or getattr(order, "price", None)
    return (
        roles[str(order.client_order_id)],
        str(order.side),
        str(order.order_type),
        float(str(order.leaves_qty)),
        float(str(level)) if level is not None else 0.0,
        bool(order.is_reduce_only),
    )


@dataclass
class Desk:
    """A finished run."""

    simulation: Simulation
    assembly: Assembly
    watch: Watch
    instruments: dict[str, Instrument] = field(default_factory=dict)

    @property
    def strategy(self) -> TradingStrategy:
        return self.assembly.strategies[0]

    @property
    def guard(self) -> Guard:
        return self.assembly.guard

    @property
    def records(self) -> list[AuditRecord]:
        return self.assembly.audit.records

    def fills(self, strategy: TradingStrategy | None = None) -> list[Fill]:
        """Fills in the order they happened, from the engine's orders, not from our audit."""
        strategy = strategy or self.strategy
        found = []
        for order in self.simulation.engine.cache.orders():
            role = strategy.roles.get(str(order.client_order_id))
            for event in order.events() if role is not None else ():
                if type(event).__name__ == "OrderFilled":
                    found.append((event.ts_event, _trade_number(event), role, event))
        return [
            Fill(_bar(ts), role, str(e.order_side), float(str(e.last_qty)), float(str(e.last_px)))
            for ts, _, role, e in sorted(found, key=lambda row: row[:2])
        ]

    def states(self, strategy: TradingStrategy | None = None) -> list[State]:
        return self.watch.states[(strategy or self.strategy).component_name]

    def audit(self, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """(bar, detail) of the records of one kind."""
        return [(_bar(r.ts_event), r.detail) for r in self.records if r.kind == kind]

    def end(self) -> tuple[float, int]:
        """Position and number of open or unanswered orders after the last bar."""
        cache = self.simulation.engine.cache
        return _position(cache.positions_open()), len(cache.orders_open()) + len(cache.orders_inflight())


class Speaker(DataActor):
    """Says `script[k]` at the close of bar k: messages on `topic`, or pairs of a topic and a message."""

    def __new__(cls, *_: Any) -> "Speaker":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("SPEAKER-001")))

    def __init__(self, kind: BarType, topic: str, script: Mapping[int, Sequence[object]]) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("SPEAKER-001")))
        self.kind, self.topic, self.script = kind, topic, script

    def on_start(self) -> None:
        self.subscribe_bars(self.kind)

    def on_bar(self, bar: Bar) -> None:
        for said in self.script.get(_bar(bar.ts_event), ()):
            topic, message = said if isinstance(said, tuple) else (self.topic, said)
            self.publish_message(topic, message)


def _bar(ts: int) -> int:
    return (ts - T0) // MINUTE - 1


def _trade_number(event: Any) -> int:
    return int(str(event.trade_id).rsplit("-", 1)[-1])


def flat_rows(count: int, **changes: Row) -> list[Row]:
    """`count` quiet bars at 100; `b7=(o, h, l, c[, volume])` replaces bar 7."""
    rows: list[Row] = [FLAT] * count
    for name, row in changes.items():
        rows[int(name[1:])] = row
    return rows


def random_rows(seed: int, count: int) -> list[Row]:
    """A jumpy random walk on the 0.1 grid around 100, with thin bars, empty bars and gaps."""
    rng = np.random.default_rng(seed)
    rows, close = [], 1000
    for _ in range(count):
        if rng.random() < 0.03:
            rows.append((close / 10,) * 4 + (0.0,))  # nothing traded, as Binance reports it
            continue
        gap = int(rng.integers(-40, 41)) if rng.random() < 0.02 else int(rng.integers(-1, 2))
        start = max(200, close + gap)
        path = start + np.cumsum(rng.integers(-4, 5, 4))
        close = max(200, int(path[-1]))
        low, high = max(200, min(start, close, *path)), max(start, close, *path)
        volume = float(rng.choice([40.0, 300.0, 5000.0]))
        rows.append((start / 10, high / 10, low / 10, close / 10, volume))
    return rows


def random_script(seed: int, count: int, share: float = 0.15) -> dict[int, float]:
    """Signals on a share of the bars, either way, of any confidence."""
    rng = np.random.default_rng(seed + 1000)
    bars = np.flatnonzero(rng.random(count) < share)
    return {int(bar): float(rng.uniform(0.2, 0.8)) for bar in bars}


def run_config(
    instruments: Sequence[Instrument],
    venue: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    risk: Mapping[str, Any] | None = None,
    **strategy: Any,
) -> RunConfig:
    settings = {"sizing": SIZING, "stop": {"pct": 2}, "targets": {"pct": 4}, **strategy}
    return RunConfig(
        name="desk",
        data={
            "catalog": "none",
            "start": "2023-12-31",
            "test_start": "2024-01-01T07:50",
            "end": "2024-01-02T08:10",
        },
        models=[{"name": MODEL}],
        strategies=[
            {
                "use": "ml_basic",
                "instrument": name,
                "name": (names or {}).get(name),
                "model": MODEL,
                **settings,
            }
            for name in map(str, (i.id for i in instruments))
        ],
        venue=dict(venue),
        risk=_widened(risk or {}),
    )


def _widened(risk: Mapping[str, Any]) -> dict[str, Any]:
    """Wide limits but for what is given, group by group; a group given as None is switched off."""
    merged: dict[str, Any] = dict(WIDE)
    for name, value in risk.items():
        wide = merged.get(name)
        merged[name] = wide | value if isinstance(wide, dict) and isinstance(value, Mapping) else value
    return merged


def bars_of(traded: Instrument, market: BarColumns) -> list[Bar]:
    kind = BarType.from_str(bar_type(str(traded.id), "1m"))
    names = ("open", "high", "low", "close", "volume")
    return [
        Bar(kind, *(traded.make_price(p) for p in prices), traded.make_qty(v), int(ts), int(ts))
        for ts, *prices, v in zip(market.ts_event, *(getattr(market, n) for n in names), strict=True)
    ]


def deciding(decide: Callable[[View, Any], Intent | None]) -> Callable[[Assembly], None]:
    """For `desk(prepare=...)`: the first strategy decides by this function."""

    def prepare(assembly: Assembly) -> None:
        assembly.strategies[0]._setup = replace(assembly.strategies[0]._setup, decide=decide)

    return prepare


def probabilities(count: int, script: Mapping[int, float]) -> np.ndarray:
    values = np.full(count, 0.5)
    for bar, probability in script.items():
        values[bar] = probability
    return values


def desk(
    rows: Sequence[Row] | Mapping[str, Sequence[Row]],
    script: Mapping[int, float] | Mapping[str, Mapping[int, float]],
    *instruments: Instrument,
    venue: Mapping[str, Any] | None = None,
    risk: Mapping[str, Any] | None = None,
    features: Mapping[str, Sequence[float]] | None = None,
    guarded: bool = True,
    forecasters_last: bool = False,
    prepare: Callable[[Assembly], None] | None = None,
    actors: Sequence[DataActor] = (),
    **strategy: Any,
) -> Desk:
    """Trade `rows` on forecasts scripted per bar (0.5 elsewhere; NaN: none).

    Several instruments take both as dicts by instrument id.
    The account's limits are wide but for those in `risk`; `features` are what an observation shows, a value
    a bar. `guarded` False leaves the guard out: the test says its words. `prepare` may change the assembled
    components before they run; `actors` join them, started first.
    """
    instruments = instruments or (instrument(),)
    by_id = {str(i.id): i for i in instruments}
    markets = rows if isinstance(rows, Mapping) else dict.fromkeys(by_id, rows)
    scripts: Any = script if isinstance(rows, Mapping) else dict.fromkeys(by_id, script)
    run = run_config(instruments, venue or {}, risk=risk, **strategy)
    feeds = {}
    for config in run.strategies:
        market = columns(markets[config.instrument])
        values = probabilities(len(market), scripts.get(config.instrument, {}))
        names = tuple(features or ())
        shown = np.array([(features or {})[name] for name in names], dtype=np.float64).T
        source = PrecomputedSource(market.ts_event, values, names, shown if names else None)
        feeds[config.instrument] = ModelFeed((ModelStream(MODEL, 120),), source)
    assembly = assemble(run, by_id, feeds)
    if prepare is not None:
        prepare(assembly)
    simulation = build_engine(run, list(instruments), {})
    for name, traded in by_id.items():
        simulation.engine.add_data(bars_of(traded, columns(markets[name])))
    watch = Watch(assembly.strategies)
    assembly.guard.watch(simulation.engine.portfolio)
    simulation.engine.add_actor(assembly.audit)
    if guarded:
        simulation.engine.add_actor(assembly.guard)
    for actor in actors:
        simulation.engine.add_actor(actor)
    forecasters = [lambda f=f: simulation.engine.add_actor(f) for f in assembly.forecasters]
    traders = [lambda s=s: simulation.engine.add_strategy(s) for s in assembly.strategies]
    for add in (*traders, *forecasters) if forecasters_last else (*forecasters, *traders):
        add()
    simulation.engine.add_actor(watch)
    simulation.engine.run()
    if watch.error is not None:
        raise watch.error
    return Desk(simulation, assembly, watch, by_id)
