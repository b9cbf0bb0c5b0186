"""What the engine does with quotes and trades: every statement of backtests/ticks.py, pinned."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nautilus_trader.backtest import BacktestEngine, BacktestEngineConfig
from nautilus_trader.common import DataActor, DataActorConfig, LoggerConfig
from nautilus_trader.execution import MakerTakerFeeModel, StaticLatencyModel
from nautilus_trader.model import (
    AccountType,
    ActorId,
    AggressorSide,
    Bar,
    BarType,
    Money,
    OmsType,
    OrderSide,
    Price,
    Quantity,
    QuoteTick,
    StrategyId,
    TradeId,
    TradeTick,
    TriggerType,
)
from nautilus_trader.trading import Strategy, StrategyConfig

from actors.messages import Observation, observation_topic
from actors.tape import Tape
from backtests.ticks import TICK_VENUE, restated
from backtests.venue import BINANCE
from catalog.store import Catalog, bar_type
from catalog.tick_store import engine_ticks, ingest_streams, read_quotes, read_trades, write_recording
from models.tape import TAPE_FEATURES, tape_matrix
from tests.hand_market import instrument
from tests.providers import shared_data
from tests.tapes import T0, S, make_tape

PERP = instrument()
NAME = str(PERP.id)
SECOND = BarType.from_str(bar_type(NAME, "1s"))
EVER = 2**62
Step = Callable[["Hand"], None]


def ns(secs: float) -> int:
    return T0 + round(secs * 1e6) * 1000


def quote(secs: float, bid: float, ask: float, bid_size: float = 100.0, ask_size: float = 100.0) -> QuoteTick:
    sizes = Quantity(bid_size, 3), Quantity(ask_size, 3)
    return QuoteTick(PERP.id, Price(bid, 1), Price(ask, 1), *sizes, ns(secs), ns(secs))


def trade(secs: float, price: float, size: float, side: int) -> TradeTick:
    taker = AggressorSide.BUY if side > 0 else AggressorSide.SELL
    number = TradeId(f"{secs}-{price}-{size}")
    return TradeTick(PERP.id, Price(price, 1), Quantity(size, 3), taker, number, ns(secs), ns(secs))


def bars(count: int = 8, price: float = 100.0, low: float | None = None) -> list[Bar]:
    prices = (Price(price, 1), Price(price, 1), Price(low or price, 1), Price(low or price, 1))
    return [Bar(SECOND, *prices, Quantity(0.0, 3), ns(k), ns(k)) for k in range(1, count + 1)]


class Hand(Strategy):
    """Sends what `plan[k]` says at the k-th bar and keeps what became of it."""

    def __new__(cls, *_: Any) -> "Hand":
        return super().__new__(cls, StrategyConfig(strategy_id=StrategyId("HAND-001")))

    def __init__(self, plan: Mapping[int, Sequence[Step]]) -> None:
        super().__init__(StrategyConfig(strategy_id=StrategyId("HAND-001")))
        self.plan, self.bar = plan, 0
        self.fills: list[tuple[float, float, float, str, float]] = []
        self.rejected: list[str] = []

    def on_start(self) -> None:
        self.subscribe_bars(SECOND)

    def on_bar(self, _bar: Bar) -> None:
        self.bar += 1
        for step in self.plan.get(self.bar, ()):
            step(self)

    def on_order_filled(self, event: Any) -> None:
        size, price = float(str(event.last_qty)), float(str(event.last_px))
        fee = round(event.commission.as_double(), 8)
        self.fills.append(((event.ts_event - T0) / S, size, price, str(event.liquidity_side), fee))

    def on_order_rejected(self, event: Any) -> None:
        self.rejected.append(str(event.reason))


def order(kind: str, signed: float, price: float = 0.0, **options: Any) -> Step:
    side, size = (OrderSide.BUY if signed > 0 else OrderSide.SELL), Quantity(abs(signed), 3)

    def send(hand: Hand) -> None:
        factory = hand.order_factory
        if kind == "market":
            hand.submit_order(factory.market(PERP.id, side, size, **options))
        elif kind == "stop":
            level = Price(price, 1)
            hand.submit_order(
                factory.stop_market(
                    PERP.id, side, size, level, trigger_type=TriggerType.LAST_PRICE, reduce_only=True
                )
            )
        else:
            hand.submit_order(factory.limit(PERP.id, side, size, Price(price, 1), **options))

    return send


def market(signed: float) -> Step:
    return order("market", signed)


def resting(signed: float, price: float) -> Step:
    return order("limit", signed, price, post_only=True)


def make_engine(latency_ms: int = 0) -> BacktestEngine:
    logging = LoggerConfig(bypass_logging=True)
    engine = BacktestEngine(BacktestEngineConfig(bypass_logging=True, run_analysis=False, logging=logging))
    options: dict[str, Any] = dict(TICK_VENUE)
    if latency_ms:
        options["latency_model"] = StaticLatencyModel(base_latency_nanos=latency_ms * 1_000_000)
    engine.add_venue(
        BINANCE,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money(1_000_000, PERP.quote_currency)],
        fee_model=MakerTakerFeeModel(Decimal("0.0002"), Decimal("0.0005")),
        **options,
    )
    engine.add_instrument(PERP)
    return engine


def play(
    ticks: Sequence[QuoteTick | TradeTick],
    plan: Mapping[int, Sequence[Step]],
    *,
    closes: Sequence[Bar] | None = None,
    restate: bool = True,
    latency_ms: int = 0,
) -> Hand:
    engine = make_engine(latency_ms)
    quotes = [tick for tick in ticks if isinstance(tick, QuoteTick)]
    trades = [tick for tick in ticks if isinstance(tick, TradeTick)]
    for data in (closes or bars(), quotes, trades, restated(quotes, trades) if restate else []):
        if data:
            engine.add_data(list(data))
    hand = Hand(plan)
    engine.add_strategy(hand)
    engine.run()
    engine.dispose()
    return hand


def sizes(hand: Hand) -> list[tuple[float, float, float]]:
    """(second, size, price) of every fill."""
    return [fill[:3] for fill in hand.fills]


BOOK = quote(0.5, 100.0, 100.5)


def test_a_market_order_takes_the_other_side_up_to_its_size_and_the_rest_a_tick_worse():
    hand = play([BOOK], {1: [market(150.0)], 2: [market(-50.0)]})
    assert hand.fills == [
        (1.0, 100.0, 100.5, "TAKER", 5.025),  # 100 x 100.5 x 5 bps
        (1.0, 50.0, 100.6, "TAKER", 2.515),
        (2.0, 50.0, 100.0, "TAKER", 2.5),
    ]


def test_one_order_does_not_use_up_what_the_next_one_finds():
    assert sizes(play([BOOK], {1: [market(80.0), market(80.0)]})) == [(1.0, 80.0, 100.5)] * 2


def test_a_trade_overwrites_the_book_unless_the_quote_is_stated_again():
    """The trap: after a sale at the bid one could buy at the bid. If this changes, `restated` can go."""
    ticks = [BOOK, trade(0.7, 100.0, 70.0, -1)]
    assert sizes(play(ticks, {1: [market(50.0)]}, restate=False)) == [(1.0, 50.0, 100.0)]
    assert sizes(play(ticks, {1: [market(50.0)]})) == [(1.0, 50.0, 100.5)]


def test_no_order_fills_on_a_bar():
    low = play([BOOK], {1: [resting(50.0, 99.0)]}, closes=bars(low=98.0))
    assert (low.fills, low.rejected) == ([], [])


@pytest.mark.parametrize(("signed", "price"), [(50.0, 100.5), (50.0, 101.0), (-50.0, 100.0)])
def test_a_post_only_order_that_would_take_is_rejected(signed: float, price: float):
    hand = play([BOOK], {1: [resting(signed, price)]})
    assert hand.fills == []
    assert len(hand.rejected) == 1
    assert "POST_ONLY" in hand.rejected[0]


def test_a_resting_order_waits_for_the_queue_before_it():
    ticks = [
        quote(0.5, 100.0, 100.1),
        trade(1.5, 100.0, 60.0, -1),
        trade(1.6, 100.0, 35.0, -1),
        trade(1.7, 100.1, 500.0, 1),  # of the other side
        trade(1.8, 100.0, 25.0, -1),
        trade(1.9, 100.0, 500.0, -1),
    ]
    # 100 stood there first: 60 + 35 leave 5, so 20 of the next 25 are ours, the rest of 50 with the last
    hand = play(ticks, {1: [resting(50.0, 100.0)]})
    assert hand.fills == [(1.8, 20.0, 100.0, "MAKER", 0.4), (1.9, 30.0, 100.0, "MAKER", 0.6)]


def test_the_queue_shrinks_when_less_is_shown_and_does_not_grow_when_more_is():
    shrunk = [quote(0.5, 100.0, 100.1), quote(1.4, 100.0, 100.1, 10.0), trade(1.5, 100.0, 30.0, -1)]
    assert sizes(play(shrunk, {1: [resting(50.0, 100.0)]})) == [(1.5, 20.0, 100.0)]
    grown = [quote(0.5, 100.0, 100.1), quote(1.4, 100.0, 100.1, 900.0), trade(1.5, 100.0, 120.0, -1)]
    assert sizes(play(grown, {1: [resting(50.0, 100.0)]})) == [(1.5, 20.0, 100.0)]


def test_an_order_behind_the_best_price_queues_when_its_price_becomes_the_best():
    ticks = [quote(0.5, 100.0, 100.1), quote(1.4, 99.9, 100.0), trade(1.5, 99.9, 90.0, -1)]
    assert sizes(play(ticks, {1: [resting(50.0, 99.9)]})) == []
    assert sizes(play([*ticks, trade(1.6, 99.9, 30.0, -1)], {1: [resting(50.0, 99.9)]})) == [
        (1.6, 20.0, 99.9)
    ]


def test_a_quote_of_the_other_side_fills_up_to_its_size_at_the_orders_price():
    hand = play([quote(0.5, 100.0, 100.1), quote(1.5, 99.8, 99.9, 100.0, 30.0)], {1: [resting(50.0, 100.0)]})
    assert hand.fills == [(1.5, 30.0, 100.0, "MAKER", 0.6)]


def test_a_stop_waits_for_a_trade_and_takes_its_price_and_then_a_tick_less():
    ticks = [BOOK, trade(2.2, 100.0, 1.0, -1), quote(2.5, 98.0, 98.1), trade(2.7, 99.4, 10.0, -1)]
    hand = play(ticks, {1: [market(50.0)], 2: [order("stop", -50.0, 99.5)]})
    assert sizes(hand) == [(1.0, 50.0, 100.5), (2.7, 10.0, 99.4), (2.7, 40.0, 99.3)]
    assert sizes(play(ticks[:3], {1: [market(50.0)], 2: [order("stop", -50.0, 99.5)]})) == [
        (1.0, 50.0, 100.5)
    ]


def test_latency_passes_before_an_order_arrives():
    ticks = [quote(0.5, 100.0, 100.1), quote(1.003, 101.0, 101.1), quote(1.2, 102.0, 102.1)]
    assert sizes(play(ticks, {1: [market(50.0)]}, latency_ms=5)) == [(1.2, 50.0, 102.1)]
    late = play(ticks, {1: [resting(-50.0, 100.1)]}, latency_ms=5)  # the bid has come above it meanwhile
    assert late.fills == []
    assert "POST_ONLY" in late.rejected[0]


# --- the tape in the engine ---


class Ear(DataActor):
    """Keeps the observations and, from the engine's own aggregation, the bars of a second."""

    def __new__(cls) -> "Ear":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("EAR-001")))

    def __init__(self) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("EAR-001")))
        self.heard: list[Observation] = []
        self.aggregated: list[tuple[int, float, float, float, float, float]] = []

    def on_start(self) -> None:
        self.subscribe_topic(observation_topic(NAME), self.hear)
        self.subscribe_bars(BarType.from_str(f"{NAME}-1-SECOND-LAST-INTERNAL"))

    def hear(self, message: object) -> None:
        assert isinstance(message, Observation)
        self.heard.append(message)

    def on_bar(self, bar: Bar) -> None:
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self.aggregated.append((bar.ts_event, *(float(str(value)) for value in values)))


def listen(catalog: Catalog) -> Ear:
    engine = make_engine()
    quotes, trades = engine_ticks(catalog, NAME, 0, EVER)
    for data in (catalog.engine_bars(NAME, "1s", 0, EVER), quotes, trades, restated(quotes, trades)):
        engine.add_data(data)
    tape = Tape(
        "TAPE", bar_type=SECOND, price_precision=PERP.price_precision, size_precision=PERP.size_precision
    )
    ear = Ear()
    engine.add_actor(tape)
    engine.add_actor(ear)
    engine.run()
    engine.dispose()
    assert tape.failure is None
    return ear


def check_tape_and_bars(catalog: Catalog) -> None:
    ear, columns = listen(catalog), catalog.bars(NAME, "1s")
    quotes, trades = read_quotes(catalog, NAME, 0, EVER), read_trades(catalog, NAME, 0, EVER)
    flow = (trades.ts_event, trades.ts_init, trades.size, trades.side)
    matrix = tape_matrix(quotes.columns(), flow, columns.ts_event)
    assert [o.ts_event for o in ear.heard] == columns.ts_event.tolist()
    assert tuple(ear.heard[0].features) == TAPE_FEATURES
    heard = np.array([list(o.features.values()) for o in ear.heard])
    assert np.array_equal(heard, matrix, equal_nan=True)  # bit for bit
    assert not np.isnan(matrix[-1]).any()
    # the engine's own bars of the same trades; it begins and ends where it likes
    own = {row[0]: row[1:] for row in ear.aggregated}
    rows = zip(
        columns.ts_event.tolist(),
        *(getattr(columns, n).tolist() for n in ("open", "high", "low", "close", "volume")),
        strict=True,
    )
    common = [(row[1:], own[row[0]]) for row in rows if row[0] in own]
    assert len(common) >= len(columns) - 3
    differing = [pair for pair in common if pair[0] != pair[1]]
    assert differing == []


def test_the_actor_says_what_the_arrays_say_and_bars_are_those_the_engine_would_build(tmp_path: Path):
    catalog = Catalog.create(tmp_path / "catalog")
    catalog.write_instrument(PERP)
    write_recording(catalog, NAME, make_tape(secs=60))
    check_tape_and_bars(catalog)


def test_so_on_the_real_recording(tmp_path: Path):
    catalog = Catalog.create(tmp_path / "catalog")
    ingest_streams([shared_data("ticks", "hftbacktest", "usdm", "btcusdt_20240808.gz")], catalog=catalog)
    check_tape_and_bars(catalog)
