"""A scripted market and a scripted strategy: what happens at which bar is written in the test itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nautilus_trader.model import Bar, BarType, CryptoPerpetual, CurrencyPair, OrderSide, TriggerType
from nautilus_trader.model import StrategyId as Id
from nautilus_trader.trading import Strategy, StrategyConfig

from backtests.venue import FundingSchedule, Simulation, build_engine
from catalog.instruments import build_instrument, shipped_specs
from catalog.store import BarColumns
from configs.schema import RunConfig

__all__ = ["MINUTE", "T0", "Scripted", "columns", "config", "instrument", "run_market", "schedule"]

MINUTE = 60_000_000_000
T0 = 1_704_095_400_000_000_000  # 2024-01-01 07:50 UTC: the open of the first bar; bar 9 closes at 08:00

Instrument = CryptoPerpetual | CurrencyPair
Step = Callable[["Scripted"], None]


def instrument(symbol: str = "BTCUSDT", market: str = "um") -> Instrument:
    return build_instrument(shipped_specs(market)[symbol])


def config(*instruments: Instrument, **venue: Any) -> RunConfig:
    return RunConfig(
        name="hand",
        data={
            "catalog": "none",
            "start": "2023-12-31",
            "test_start": "2024-01-01T07:50",
            "end": "2024-01-01T08:10",
        },
        strategies=[{"use": "scripted", "instrument": str(i.id)} for i in instruments],
        venue=venue,
    )


def columns(rows: Sequence[tuple[float, ...]], start: int = T0) -> BarColumns:
    """Bars from (open, high, low, close) or (open, high, low, close, volume) rows, one a minute."""
    table = np.array([(*row, 1000.0)[:5] for row in rows], dtype=np.float64)
    ts = start + MINUTE * np.arange(1, len(table) + 1, dtype=np.int64)
    return BarColumns(ts, *(np.ascontiguousarray(table[:, k]) for k in range(5)))


def schedule(rows: Sequence[tuple[float, ...]], *bars: int, rate: float = 0.001) -> FundingSchedule:
    """Funding at the closes of these bars, at those closes' prices."""
    at, market = list(bars), columns(rows)
    return FundingSchedule(market.ts_event[at], np.full(len(at), rate), market.close[at])


@dataclass
class Trace:
    """What the scripted strategy saw: fills as (bar, type, side, price, quantity, commission, liquidity)."""

    fills: list[tuple[int, str, str, float, float, float, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)


class Scripted(Strategy):
    """Does `plan[k]` at the close of the k-th bar of its instrument."""

    bar_type: BarType
    instrument: Instrument
    plan: Mapping[int, Sequence[Step]]
    trace: Trace

    def on_start(self) -> None:
        self.bar = -1
        self.subscribe_bars(self.bar_type)

    def on_bar(self, _bar: Bar) -> None:
        self.bar += 1
        for step in self.plan.get(self.bar, ()):
            step(self)

    def on_order_filled(self, event: Any) -> None:
        commission = event.commission.as_double()
        what = (
            str(event.order_type),
            str(event.order_side),
            float(str(event.last_px)),
            float(str(event.last_qty)),
        )
        bar = (event.ts_event - T0) // MINUTE - 1
        self.trace.fills.append((bar, *what, commission, str(event.liquidity_side)))

    def on_order_denied(self, event: Any) -> None:
        self.trace.refused.append(str(event.reason))

    def on_order_rejected(self, event: Any) -> None:
        self.trace.refused.append(str(event.reason))

    def market(self, signed_quantity: float, role: str = "entry") -> None:
        side, size = self._order(signed_quantity)
        reduce_only = role == "exit"
        self._send(role, self.order_factory.market(self.instrument.id, side, size, reduce_only=reduce_only))

    def stop(self, signed_quantity: float, price: float) -> None:
        side, size = self._order(signed_quantity)
        level = self.instrument.make_price(price)
        kind = TriggerType.LAST_PRICE
        order = self.order_factory.stop_market(
            self.instrument.id, side, size, level, trigger_type=kind, reduce_only=True
        )
        self._send("stop", order)

    def target(self, signed_quantity: float, price: float) -> None:
        side, size = self._order(signed_quantity)
        level = self.instrument.make_price(price)
        self._send(
            "target", self.order_factory.limit(self.instrument.id, side, size, level, reduce_only=True)
        )

    def _order(self, signed_quantity: float) -> tuple[OrderSide, Any]:
        side = OrderSide.BUY if signed_quantity > 0 else OrderSide.SELL
        return side, self.instrument.make_qty(abs(signed_quantity))

    def _send(self, role: str, order: Any) -> None:
        self.trace.roles[str(order.client_order_id)] = role
        self.submit_order(order)


def run_market(
    rows: Sequence[tuple[float, ...]] | Mapping[str, Sequence[tuple[float, ...]]],
    plan: Mapping[int, Sequence[Step]] | Mapping[str, Mapping[int, Sequence[Step]]],
    *instruments: Instrument,
    funding: Mapping[str, FundingSchedule] | None = None,
    funding_mode: str | None = None,
    **venue: Any,
) -> tuple[Simulation, Trace]:
    """Run scripted strategies in `build_engine`'s engine; several take `rows` and `plan` by instrument id."""
    names = [str(i.id) for i in instruments]
    all_rows = rows if isinstance(rows, Mapping) else {names[0]: rows}
    plans = plan if len(names) > 1 else {names[0]: plan}
    if funding_mode is not None:
        venue["funding"] = funding_mode
    simulation, trace = build_engine(config(*instruments, **venue), instruments, funding), Trace()
    for number, traded in enumerate(instruments):
        kind = BarType.from_str(f"{traded.id}-1-MINUTE-LAST-EXTERNAL")
        simulation.engine.add_data(_bars(traded, kind, columns(all_rows[str(traded.id)])))
        strategy = Scripted(StrategyConfig(strategy_id=Id(f"HAND-{number}"), order_id_tag=str(number)))
        strategy.bar_type, strategy.instrument, strategy.trace = kind, traded, trace
        strategy.plan = plans[str(traded.id)]
        simulation.engine.add_strategy(strategy)
    simulation.engine.run()
    return simulation, trace


def _bars(traded: Instrument, kind: BarType, market: BarColumns) -> list[Bar]:
    frame = zip(
        *(getattr(market, n).tolist() for n in ("open", "high", "low", "close", "volume")), strict=True
    )
    return [
        Bar(kind, *(traded.make_price(p) for p in (o, h, lo, c)), traded.make_qty(v), int(ts), int(ts))
        for ts, (o, h, lo, c, v) in zip(market.ts_event, frame, strict=True)
    ]
