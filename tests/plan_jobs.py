"""One plan, two drivers: a strategy that takes `strategies.trade.step` online in the engine, and the arrays.

The strategy is as small as can be: a market entry, then an unlinked reduce-only stop and target, the leftover
cancelled when flat.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.model import Bar, BarType, OrderSide, Price, Quantity, TriggerType
from nautilus_trader.model import StrategyId as Id
from nautilus_trader.trading import Strategy, StrategyConfig

from backtests.array_plan import OPPOSITE, SESSION, STOP, TARGET, TIME, run_plan
from backtests.venue import build_engine
from catalog.columns import BarColumns
from strategies import trade
from strategies.trade import PlanParams
from tests.hand_market import MINUTE, columns, config, instrument
from tests.providers import shared_data

__all__ = [
    "RECORDED",
    "Job",
    "array_run",
    "array_trades",
    "compare",
    "engine_run",
    "job_of",
    "random_bars",
    "random_job",
    "recorded_job",
]

REASON_OF_ROLE = {"stop": STOP, "target": TARGET}
MONDAY = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC


@dataclass
class Job:
    """One comparison: a market, signals and a plan; distances and atr are per bar."""

    bars: BarColumns
    signals: np.ndarray
    stop: np.ndarray
    target: np.ndarray
    params: PlanParams
    atr: np.ndarray
    adaptive: bool = False
    exit_on_opposite: bool = False
    cool_off_bars: int = 0
    symbol: str = "BTCUSDT"
    quantity: float = 5.0


class Online(Strategy):
    """Trades a job's signals bar by bar."""

    job: Job
    traded: Any
    bar_type: BarType

    def on_start(self) -> None:
        self.digits = self.traded.price_precision
        self.ticks = float(10**self.digits)
        self.size = self.traded.make_qty(self.job.quantity)
        self.bar, self.plan, self.exit_reason, self.free_from = -1, None, 0, 0
        self.ids: dict[str, Any] = {}
        self.trades: list[tuple[int, ...]] = []
        self.events: list[str] = []
        self.fees: list[float] = []
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar: Bar) -> None:
        try:
            self.step(bar)
        except Exception as error:  # the engine would swallow it
            self.events.append(repr(error))
            raise

    def step(self, bar: Bar) -> None:
        self.bar += 1
        n, job = self.bar, self.job
        close = round(bar.close.as_double() * self.ticks) / self.ticks
        if self.plan is not None:
            self.plan, flags = trade.step(
                self.plan, bar.ts_event, close, float(job.atr[n]), job.params, self.ticks
            )
            if flags & (trade.EXIT_TIME | trade.EXIT_SESSION):
                self.leave(TIME if flags & trade.EXIT_TIME else SESSION)
            elif job.exit_on_opposite and job.signals[n] == -self.plan.side:
                self.leave(OPPOSITE)
            elif flags & trade.MOVE_STOP:
                self.modify_order(self.ids["stop"], trigger_price=self.price(self.plan.stop_ticks))
        elif job.signals[n] and n >= self.free_from and self.may_enter(bar.ts_event):
            self.send("entry", self.market(int(job.signals[n]), reduce_only=False))

    def may_enter(self, ts_event: int) -> bool:
        return not (math.isnan(self.job.stop[self.bar]) or trade.entries_closed(ts_event, self.job.params))

    def leave(self, reason: int) -> None:
        self.exit_reason = reason
        self.cancel_leftovers()
        self.send("exit", self.market(-self.plan.side, reduce_only=True))

    def on_order_filled(self, event: Any) -> None:
        price = round(event.last_px.as_double() * self.ticks) / self.ticks
        self.fees.append(event.commission.as_double())
        role = next(role for role, i in self.ids.items() if i == event.client_order_id)
        if role == "entry":
            self.protect(price, 1 if event.order_side == OrderSide.BUY else -1)
            return
        # a stop or target fills before this bar's on_bar
        bar = self.bar + (role != "exit")
        reason = REASON_OF_ROLE.get(role, self.exit_reason)
        ticks = trade.to_ticks(price, self.ticks)
        self.trades.append((self.entered, bar, self.plan.side, self.plan.entry_ticks, ticks, reason))
        self.free_from = bar + max(self.job.cool_off_bars, role == "exit")
        self.plan = None
        self.cancel_leftovers()

    def protect(self, price: float, side: int) -> None:
        job, away = self.job, OrderSide.SELL if side > 0 else OrderSide.BUY
        self.entered = self.bar
        self.plan = trade.open_plan(side, price, float(job.stop[self.bar]), self.ticks)
        level, kind = self.price(self.plan.stop_ticks), TriggerType.LAST_PRICE
        make = self.order_factory
        self.send(
            "stop",
            make.stop_market(self.traded.id, away, self.size, level, trigger_type=kind, reduce_only=True),
        )
        distance = float(job.target[self.bar])
        if not math.isnan(distance):
            level = self.price(trade.target_ticks(side, price, distance, self.ticks))
            self.send("target", make.limit(self.traded.id, away, self.size, level, reduce_only=True))

    def cancel_leftovers(self) -> None:
        for role in ("stop", "target"):
            order = self.cache.order(self.ids[role]) if role in self.ids else None
            if order is not None and not order.is_closed:
                self.cancel_order(self.ids[role])

    def market(self, side: int, *, reduce_only: bool) -> Any:
        order_side = OrderSide.BUY if side > 0 else OrderSide.SELL
        return self.order_factory.market(self.traded.id, order_side, self.size, reduce_only=reduce_only)

    def send(self, role: str, order: Any) -> None:
        self.ids[role] = order.client_order_id
        self.submit_order(order)

    def price(self, ticks: int) -> Price:
        return Price(ticks / self.ticks, self.digits)

    def on_order_denied(self, event: Any) -> None:
        self.events.append(f"{self.bar} {event}")

    on_order_rejected = on_order_modify_rejected = on_order_denied


def engine_run(job: Job) -> Online:
    traded = instrument(job.symbol)
    venue = {"adaptive_high_low": job.adaptive, "starting_balance": 1e8}
    simulation = build_engine(config(traded, **venue), [traded])
    kind = BarType.from_str(f"{traded.id}-1-MINUTE-LAST-EXTERNAL")
    digits, lots, bars = traded.price_precision, traded.size_precision, job.bars
    prices = zip(*(getattr(bars, n).tolist() for n in ("open", "high", "low", "close")), strict=True)
    simulation.engine.add_data(
        [
            Bar(kind, *[Price(p, digits) for p in row], Quantity(v, lots), ts, ts)
            for row, v, ts in zip(prices, bars.volume.tolist(), bars.ts_event.tolist(), strict=True)
        ]
    )
    strategy = Online(StrategyConfig(strategy_id=Id("ONLINE-1")))
    strategy.job, strategy.traded, strategy.bar_type = job, traded, kind
    simulation.engine.add_strategy(strategy)
    simulation.engine.run()
    assert strategy.events == []
    simulation.engine.dispose()
    return strategy


def array_trades(job: Job) -> np.ndarray:
    return run_plan(
        job.bars,
        job.signals,
        stop_distance=job.stop,
        target_distance=job.target,
        params=job.params,
        ticks_per_unit=10.0 ** instrument(job.symbol).price_precision,
        adaptive=job.adaptive,
        atr=job.atr,
        exit_on_opposite=job.exit_on_opposite,
        cool_off_bars=job.cool_off_bars,
        quantity=job.quantity,
    )


def array_run(job: Job) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in row) for row in array_trades(job)]


def compare(job: Job) -> list[tuple[int, ...]]:
    online, offline = engine_run(job).trades, array_run(job)
    different = [pair for pair in zip(online, offline, strict=False) if pair[0] != pair[1]]
    assert different[:1] == []
    assert len(online) == len(offline)
    return offline


# -- markets ------------------------------------------------------------------------------------------------


def job_of(rows: list[tuple[float, ...]], signals: dict[int, int], params: PlanParams, **more: Any) -> Job:
    """Hand-made bars from 07:50 UTC on, stop 2 % and target 4 % away unless said otherwise."""
    n, bars = len(rows), columns(rows)
    side = np.zeros(n, np.int8)
    for bar, value in signals.items():
        side[bar] = value
    stop, target = more.pop("stop", 0.02), more.pop("target", 0.04)
    return Job(bars, side, np.full(n, stop), np.full(n, target), params, np.full(n, np.nan), **more)


def random_bars(rng: np.random.Generator, n: int) -> BarColumns:
    """A jumpy walk of a few ticks a bar: ties, gaps, both levels in one bar, empty bars, missing minutes."""
    close = np.empty(n, np.int64)
    start, moves = np.empty(n, np.int64), rng.integers(-4, 5, n)
    gaps = np.where(rng.random(n) < 0.3, rng.integers(-6, 7, n), 0)
    empty = rng.random(n) < 0.02
    price = 10_000
    for i in range(n):
        start[i] = price if empty[i] else max(1000, price + gaps[i])
        price = close[i] = start[i] if empty[i] else max(1000, start[i] + moves[i])
    wick_up, wick_down = (np.where(empty, 0, rng.integers(0, 5, n)) for _ in range(2))
    high, low = np.maximum(start, close) + wick_up, np.minimum(start, close) - wick_down
    minutes = np.cumsum(np.where(rng.random(n) < 0.002, rng.integers(1, 900, n), 1))
    volume = np.where(empty, 0.0, 100.0)
    return BarColumns(MONDAY + MINUTE * minutes, *(x / 10 for x in (start, high, low, close)), volume)


def random_job(seed: int, bars: BarColumns, share: float, scale: float, **more: Any) -> Job:
    """Any plan: `scale` is a typical distance as a fraction of the price."""
    rng, n = np.random.default_rng(seed), len(bars.close)

    def sometimes(low: float, high: float, otherwise: float) -> float:
        return float(scale * rng.uniform(low, high)) if rng.random() < 0.6 else otherwise

    signals = np.where(rng.random(n) < share, rng.choice([-1, 1], n), 0).astype(np.int8)
    by_atr = rng.random() < 0.4
    params = PlanParams(
        break_even_after=sometimes(0.3, 2.0, math.inf),
        trail_activation=sometimes(0.0, 2.0, math.inf),
        trail_distance=0.0 if by_atr else float(scale * rng.uniform(0.0, 2.0)),
        trail_atr=float(rng.uniform(0.5, 3.0)) if by_atr else 0.0,
        max_bars=int(rng.choice([0, 0, 0, 3, 60])),
        flat_before_midnight_minutes=int(rng.choice([0, 0, 1, 45])),
        flat_weekend=int(rng.choice([0, 0, 1])),
    )
    ranges = pd.Series(bars.high - bars.low).rolling(14).mean().to_numpy()
    stop = np.full(n, scale * rng.uniform(0.5, 2.0))
    if rng.random() < 0.4:
        stop = np.maximum(2.0 * ranges / bars.close, 1.1e-4)  # NaN while it warms up
    target = np.full(n, sometimes(0.5, 3.0, math.nan))
    return Job(
        bars,
        signals,
        stop,
        target,
        params,
        ranges,
        adaptive=bool(rng.random() < 0.5),
        exit_on_opposite=bool(rng.random() < 0.25),
        cool_off_bars=int(rng.choice([0, 0, 1, 7])),
        **more,
    )


def recorded_bars(symbol: str) -> BarColumns:
    name = f"{symbol.removesuffix('USDT')}_USDT_USDT-1m-futures.feather"
    frame = pd.read_feather(shared_data("futures_um", "typhonun_DcaTpStrategy", name))
    opened = frame["date"].dt.tz_localize(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    prices = (frame[c].to_numpy(np.float64) for c in ("open", "high", "low", "close", "volume"))
    return BarColumns(opened + MINUTE, *prices)


RECORDED = {"BTCUSDT": 0.002, "ETHUSDT": 0.1, "SOLUSDT": 1.0}


def recorded_job(symbol: str, seed: int) -> Job:
    scale = float(np.random.default_rng(seed).choice([0.001, 0.003, 0.01]))
    return random_job(seed, recorded_bars(symbol), 0.1, scale, symbol=symbol, quantity=RECORDED[symbol])
