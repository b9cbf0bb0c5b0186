"""The engine's own risk limits: far behind ours, in the way of a broken size, never of an exit."""

from decimal import Decimal
from typing import Any

from nautilus_trader.model import BarType, OrderSide, StrategyId
from nautilus_trader.trading import Strategy, StrategyConfig

from backtests.venue import build_engine
from configs.schema import RunConfig
from strategies.second_line import NOTIONAL_ROOM, second_line
from tests.hand_market import columns, config, instrument
from tests.markets import bars_of, flat_rows

BTC = "BTCUSDT-PERP.BINANCE"


class Sends(Strategy):
    """Buys `quantity` on the first bar and closes it on the sixth."""

    quantity = 0.0

    def on_start(self) -> None:
        self.bars, self.denied, self.filled = 0, list[str](), list[float]()
        self.traded = instrument()
        self.subscribe_bars(BarType.from_str(f"{BTC}-1-MINUTE-LAST-EXTERNAL"))

    def on_bar(self, _bar: Any) -> None:
        self.bars += 1
        if self.bars in (1, 6):
            side, reduce = (OrderSide.BUY, False) if self.bars == 1 else (OrderSide.SELL, True)
            quantity = self.traded.make_qty(self.quantity)
            self.submit_order(self.order_factory.market(self.traded.id, side, quantity, reduce_only=reduce))

    def on_order_denied(self, event: Any) -> None:
        self.denied.append(str(event.reason).split(":", maxsplit=1)[0])

    def on_order_filled(self, event: Any) -> None:
        self.filled.append(event.last_qty.as_double())


def risky(**risk: Any) -> RunConfig:
    run = config(instrument(), starting_balance=1_000.0, leverage=100.0)
    return RunConfig.model_validate(run.model_dump() | {"risk": risk})


def sent(quantity: float, last_price: float) -> Sends:
    run = risky(max_notional=3_000)
    simulation = build_engine(run, [instrument()], {})
    high = (last_price, last_price, last_price, last_price, 100_000.0)
    rows = flat_rows(8, b4=high, b5=high, b6=high, b7=high)
    rows[0] = (100.0, 100.5, 99.5, 100.0, 100_000.0)
    simulation.engine.add_data(bars_of(instrument(), columns(rows)))
    strategy = Sends(StrategyConfig(strategy_id=StrategyId("SENDS-1")))
    strategy.quantity = quantity
    simulation.engine.add_strategy(strategy)
    simulation.engine.run()
    return strategy


def test_a_size_beyond_any_permitted_position_is_denied_by_the_engine() -> None:
    # at most 3,000 in all positions, fivefold 15,000
    assert sent(151.0, 100.0).denied == ["NOTIONAL_EXCEEDS_MAX_PER_ORDER"] * 2


def test_a_position_at_our_limit_can_still_be_closed_when_it_has_grown_fourfold() -> None:
    strategy = sent(30.0, 400.0)  # 3,000 at the entry, 12,000 at the exit
    assert (strategy.denied, strategy.filled) == ([], [30.0, 30.0])


def test_the_limit_follows_the_run_file_and_without_one_there_is_none() -> None:
    run = risky(max_notional=500)
    limits = second_line(run, [BTC])
    assert Decimal(limits.max_notional_per_order[BTC]) == Decimal(str(NOTIONAL_ROOM)) * 500
    assert limits.max_order_submit_rate == "1000000/00:00:01", "stops of a whole market at one close"
    assert second_line(risky(), [BTC]).max_notional_per_order == {}
