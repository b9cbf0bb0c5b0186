"""The simulated venue: an engine that charges, funds and limits as Binance does.

What is modelled, and where:

- **Fees**: maker for resting limit fills, taker for everything that takes liquidity (market and stop orders).
- **Slippage**: part of the taker rate. A fill model that moves the price would fill touched stops near the
  bar's extreme, so the cost is charged instead; `backtests.ledger` splits each taker commission back into fee
  and slippage.
- **Latency**: on bars a delayed market order fills at the next bar's CLOSE, never inside it.
- **Initial margin** is notional / `venue.leverage`, Binance's own rule. The engine divides the instrument's
  `margin_init` by the leverage it is given, so it is given `venue.leverage * margin_init`.
- **Funding**: `FundingModule`.
- **Liquidation** is not simulated (the engine liquidates on quotes only, a bar run has none): leverage is
  limited before each entry in `strategies.risk`, and `backtests.ledger.liquidation_breach` finds a run that
  went past it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig, SimulationModule
from nautilus_trader.common import Cache, LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel, StaticLatencyModel
from nautilus_trader.model import (
    AccountType,
    CryptoPerpetual,
    Currency,
    CurrencyPair,
    InstrumentId,
    Money,
    OmsType,
    OrderSide,
    OrderType,
    Venue,
)

from backtests.ticks import TICK_VENUE
from catalog.columns import MINUTE_NS
from catalog.store import BarColumns, FundingColumns
from configs.errors import ConfigError, DataError, RunFailedError
from configs.schema import RunConfig, VenueConfig
from strategies.second_line import second_line

__all__ = [
    "BINANCE",
    "FundingModule",
    "FundingPayment",
    "FundingSchedule",
    "Simulation",
    "build_engine",
    "funding_schedule",
    "payments_frame",
]

BINANCE = Venue("BINANCE")
_NEVER = 2**63 - 1
_PAYMENT_COLUMNS = ["ts_event", "instrument", "quantity", "mark_price", "rate", "amount"]


@dataclass(frozen=True, slots=True)
class FundingSchedule:
    """One instrument's funding times (int64 ns UTC, whole minutes, increasing), rates and mark prices."""

    ts_event: np.ndarray
    rate: np.ndarray
    mark_price: np.ndarray

    def __len__(self) -> int:
        return len(self.ts_event)


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """One funding settlement; `amount` is the cash flow in quote currency, negative when paid.

    `quantity` is signed (long positive) and `ts_event` is the funding time in ns UTC.
    """

    ts_event: int
    instrument: str
    quantity: float
    mark_price: float
    rate: float
    amount: float


@dataclass(frozen=True, slots=True)
class Simulation:
    """An engine ready for data and strategies; `funding` is None when nothing is funded."""

    engine: BacktestEngine
    funding: "FundingModule | None"

    def payments(self) -> pd.DataFrame:
        """The funding settled so far, as `payments_frame` gives it (empty without funding)."""
        return payments_frame(() if self.funding is None else self.funding.payments)


def payments_frame(payments: Sequence[FundingPayment]) -> pd.DataFrame:
    """Funding payments as a table: ts_event (UTC), instrument, signed quantity, mark_price, rate, amount."""
    rows = [(p.ts_event, p.instrument, p.quantity, p.mark_price, p.rate, p.amount) for p in payments]
    frame = pd.DataFrame(rows, columns=_PAYMENT_COLUMNS)
    numbers = dict.fromkeys(["quantity", "mark_price", "rate", "amount"], "float64")
    frame = frame.astype({"instrument": "str", **numbers})
    frame["ts_event"] = pd.to_datetime(frame["ts_event"].astype("int64"), unit="ns", utc=True)
    return frame


def funding_schedule(
    funding: FundingColumns, bars: BarColumns, mark: BarColumns | None = None
) -> FundingSchedule:
    """The funding a run over `bars` meets, with the price each settlement uses.

    Venues stamp funding some milliseconds late; times are rounded to the minute. The price at a funding time
    is the newest close known then: of the mark klines where those are at least as new as the bars, else of
    the bars. Kept are times from the first bar's close (nothing can be held before it) to the last one's.

    Raises DataError when a rate or a price is not a finite number, or one time carries two different rates.
    """
    ts = (np.asarray(funding.ts_event, np.int64) + MINUTE_NS // 2) // MINUTE_NS * MINUTE_NS
    rate = np.asarray(funding.rate, np.float64)
    if len(bars) == 0 or len(ts) == 0:
        return FundingSchedule(np.empty(0, np.int64), np.empty(0), np.empty(0))
    order = np.argsort(ts, kind="stable")
    ts, rate = ts[order], rate[order]
    inside = (ts >= bars.ts_event[0]) & (ts <= bars.ts_event[-1])
    ts, rate = ts[inside], rate[inside]
    again = np.flatnonzero(ts[1:] == ts[:-1]) + 1
    if np.any(rate[again] != rate[again - 1]):
        raise DataError(f"funding at {_stamp(ts[again[0]])} has two different rates; ingest one source only")
    ts, rate = np.delete(ts, again), np.delete(rate, again)
    price = _newest_close(ts, bars, mark)
    bad = np.flatnonzero(~(np.isfinite(rate) & np.isfinite(price)))
    if len(bad):
        raise DataError(
            f"funding at {_stamp(ts[bad[0]])} has no finite rate or price; ingest that period again"
        )
    return FundingSchedule(ts, rate, price)


def _newest_close(ts: np.ndarray, bars: BarColumns, mark: BarColumns | None) -> np.ndarray:
    at = np.searchsorted(bars.ts_event, ts, side="right") - 1
    price = np.asarray(bars.close, np.float64)[at]
    if mark is None or len(mark) == 0:
        return price
    mark_at = np.searchsorted(mark.ts_event, ts, side="right") - 1
    fresh = (mark_at >= 0) & (mark.ts_event[mark_at] >= bars.ts_event[at])
    return np.where(fresh, mark.close[mark_at], price)


def _stamp(ts_ns: int) -> str:
    return f"{pd.Timestamp(int(ts_ns), tz='UTC'):%Y-%m-%d %H:%M}"


class FundingModule(SimulationModule):
    """Settles perpetual funding into the account: amount = -signed quantity * mark price * rate.

    The funding instant comes just before anything decided at the same instant:

    - a position held when the funding time comes pays or receives, even if a market order closes it at that
      bar's close (the order is decided at the close, so it fills after the funding);
    - an entry at that bar's close does not;
    - a stop or target that filled inside the bar ending at the funding time closed its position before it;
    - a funding time between two bars' closes settles what was held at the earlier close.

    The engine calls `process` once per timestamp, after that time's bars, handlers and fills; the position
    held at the funding instant is therefore rebuilt from the fills in the cache, at funding times only. It
    changes the account's balance, not a position's realized PnL. Exceptions end the run.
    """

    def __init__(self, schedules: Mapping[str, FundingSchedule], currency: Currency, cache: Cache) -> None:
        self.payments: list[FundingPayment] = []
        self._currency = currency
        self._cache = cache
        events = [
            (int(ts), instrument, float(rate), float(price))
            for instrument, schedule in schedules.items()
            for ts, rate, price in zip(schedule.ts_event, schedule.rate, schedule.mark_price, strict=True)
        ]
        self._events = sorted(events)
        self._at = 0
        self._next_ts = self._events[0][0] if self._events else _NEVER

    def process(self, ts_now: int, _context: Any) -> list[Money] | None:
        """Cash flows due by `ts_now` (ns UTC); None at all other times, which costs one comparison."""
        if ts_now < self._next_ts:
            return None
        flows = []
        while self._at < len(self._events) and self._events[self._at][0] <= ts_now:
            flow = self._settle(*self._events[self._at])
            if flow is not None:
                flows.append(flow)
            self._at += 1
        self._next_ts = self._events[self._at][0] if self._at < len(self._events) else _NEVER
        return flows or None

    def acknowledge(self, outcomes: Any) -> None:
        """Raise RunFailedError when the account refused a payment: the books would no longer agree."""
        for outcome in outcomes:
            if not outcome.applied:
                raise RunFailedError(f"the simulated account refused a funding payment: {outcome.error}")

    def pre_process(self, _data: Any) -> None:
        """Nothing: the schedule and its prices are known before the run."""

    def log_diagnostics(self) -> None:
        """Nothing: `payments` is the record."""

    def reset(self) -> None:
        """Forget all payments and begin the schedule again."""
        self.payments.clear()
        self._at = 0
        self._next_ts = self._events[0][0] if self._events else _NEVER

    def _settle(self, ts: int, instrument: str, rate: float, price: float) -> Money | None:
        quantity = float(self._held(InstrumentId.from_str(instrument), ts))
        if quantity == 0.0:
            return None
        flow = Money(-quantity * price * rate, self._currency)
        self.payments.append(FundingPayment(ts, instrument, quantity, price, rate, flow.as_double()))
        return flow

    def _held(self, instrument_id: InstrumentId, ts: int) -> Decimal:
        held = Decimal(0)
        for position in self._cache.positions(instrument_id=instrument_id):
            if position.is_closed and position.ts_closed < ts:
                continue
            cycles = [position]
            if position.ts_opened >= ts:  # an earlier life of this position may have ended at this very time
                cycles += [p for p in self._cache.position_snapshots(position.id) if p.ts_closed >= ts]
            held += sum(
                (_signed(fill) for p in cycles for fill in p.events() if self._before(fill, ts)), Decimal(0)
            )
        return held

    def _before(self, fill: Any, ts: int) -> bool:
        if fill.ts_event != ts:
            return bool(fill.ts_event < ts)
        if fill.order_type == OrderType.MARKET:
            return False
        order: Any = self._cache.order(fill.client_order_id)
        return bool(order.ts_init < ts)


def _signed(fill: Any) -> Decimal:
    quantity: Decimal = fill.last_qty.as_decimal()
    return quantity if fill.order_side == OrderSide.BUY else -quantity


def build_engine(
    run: RunConfig,
    instruments: Sequence[CryptoPerpetual | CurrencyPair],
    funding: Mapping[str, FundingSchedule] | None = None,
) -> Simulation:
    """An engine with one BINANCE venue, its instruments and its costs; data and strategies are the caller's.

    Perpetuals trade in a MARGIN account, spot in a CASH account; both net positions, start with
    `run.venue.starting_balance` of the quote currency, and are charged in it. `funding` maps instrument ids
    to schedules and is ignored when `run.venue.funding` is `off` or the market is spot. Logging is bypassed.

    Raises ConfigError when there is no instrument, perpetuals and spot are mixed, quote currencies differ, or
    a funding schedule names an instrument that is not there.
    """
    currency, margin = _account_kind(instruments)
    engine = BacktestEngine(
        BacktestEngineConfig(
            bypass_logging=True,
            run_analysis=False,
            logging=LoggerConfig(bypass_logging=True),
            risk_engine=second_line(run, [str(i.id) for i in instruments]),
        )
    )
    module = None
    if margin and run.venue.funding != "off" and funding:
        _check_schedules(funding, instruments)
        module = FundingModule(funding, currency, engine.cache)
    options: dict[str, Any] = {} if not margin else {"leverages": _leverages(run.venue, instruments)}
    if run.venue.latency_ms:
        options["latency_model"] = StaticLatencyModel(base_latency_nanos=run.venue.latency_ms * 1_000_000)
    if run.data.ticks:
        options |= TICK_VENUE
    engine.add_venue(
        BINANCE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN if margin else AccountType.CASH,
        starting_balances=[Money(run.venue.starting_balance, currency)],
        fee_model=MakerTakerFeeModel(run.venue.maker_rate, run.venue.taker_cost),
        modules=[] if module is None else [module],
        bar_adaptive_high_low_ordering=run.venue.adaptive_high_low,
        **options,
    )
    for instrument in instruments:
        engine.add_instrument(instrument)
    return Simulation(engine, module)


def _account_kind(instruments: Sequence[CryptoPerpetual | CurrencyPair]) -> tuple[Currency, bool]:
    if not instruments:
        raise ConfigError("the simulated venue needs at least one instrument")
    currencies = {i.quote_currency for i in instruments}
    kinds = {isinstance(i, CryptoPerpetual) for i in instruments}
    names = ", ".join(str(i.id) for i in instruments)
    if len(kinds) > 1:
        raise ConfigError(f"perpetuals and spot cannot share one account ({names}); use two run files")
    if len(currencies) > 1:
        raise ConfigError(f"one account holds one quote currency, these differ: {names}; use two run files")
    return currencies.pop(), kinds.pop()


def _leverages(
    venue: VenueConfig, instruments: Sequence[CryptoPerpetual | CurrencyPair]
) -> dict[InstrumentId, Decimal]:
    leverage = Decimal(str(venue.leverage))
    return {i.id: leverage * i.margin_init if i.margin_init else leverage for i in instruments}


def _check_schedules(
    funding: Mapping[str, FundingSchedule], instruments: Sequence[CryptoPerpetual | CurrencyPair]
) -> None:
    known = {str(i.id) for i in instruments}
    for name in funding:
        if name not in known:
            raise ConfigError(f"funding for {name}, which is not traded; known: {', '.join(sorted(known))}")
