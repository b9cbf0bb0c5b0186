"""What the engine's sandbox does with orders, tried on a rehearsal's market; prints its findings as JSON.

    python -m tests.sandbox_probe BASE_URL_HTTP BASE_URL_WS FOLDER

Steps wait for the test that started it, which moves the market: it reads a line for each.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nautilus_trader.model import InstrumentId, OrderSide, StrategyId, TriggerType, Venue
from nautilus_trader.trading import Strategy, StrategyConfig

from configs.load import load_run
from live.connect import build_node
from live.venue.client import VenueClient
from live.venues import Venue as Address
from live.venues import VenueKind, find_venue
from tests.live_nodes import run_file

NAME = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
_CONFIG = {"strategy_id": StrategyId("PROBE-001"), "order_id_tag": "00"}
Step = Callable[[], bool] | None


class Probe(Strategy):
    """Runs the script below: each step is awaited, then the next is taken."""

    def __new__(cls, *_: object) -> "Probe":
        return super().__new__(cls, StrategyConfig(**_CONFIG))  # type: ignore[arg-type, call-arg]

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__(StrategyConfig(**_CONFIG))  # type: ignore[arg-type]
        self.stop_node = stop
        self.found: dict[str, Any] = {}
        self.fills: list[Any] = []
        self.refused: list[str] = []
        self._script = script(self)
        self._until: Step = lambda: self.cache.quote(NAME) is not None

    def on_start(self) -> None:
        self.subscribe_quotes(NAME)
        self.subscribe_mark_prices(NAME)
        self.subscribe_funding_rates(NAME)
        self.clock.set_timer_ns("step", 20_000_000, None, None, self.step)

    def step(self, event: Any) -> None:
        del event
        if self._until is None or not self._until():
            return
        self._until = next(self._script, None)
        if self._until is None:
            self.stop_node()

    def on_order_filled(self, event: Any) -> None:
        self.fills.append((str(event.last_qty), str(event.last_px), str(event.liquidity_side)))

    def on_order_rejected(self, event: Any) -> None:
        self.refused.append(str(event.reason))

    on_order_denied = on_order_rejected

    def held(self) -> float:
        return float(self.portfolio.net_position(NAME))

    def bid(self) -> float:
        quote: Any = self.cache.quote(NAME)
        return float(quote.bid_price.as_double())

    def money(self) -> str:
        account: Any = self.cache.account_for_venue(Venue("BINANCE"))
        return str(next(iter(account.balances_total().values())))

    def stays(self, looks: int) -> Callable[[], bool]:
        """True after so many looks."""
        left = [looks]

        def over() -> bool:
            left[0] -= 1
            return left[0] <= 0

        return over


def ask(what: str) -> None:
    """Have the test move the market, and wait until it has."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()
    assert sys.stdin.readline()


def script(self: Probe) -> Iterator[Callable[[], bool]]:
    """The experiments, one after another."""
    found, instrument = self.found, self.cache.instrument(NAME)

    def market(side: OrderSide, size: float, **more: Any) -> None:
        self.submit_order(self.order_factory.market(NAME, side, instrument.make_qty(size), **more))

    def stop(factor: float, size: float) -> Any:
        order = self.order_factory.stop_market(
            NAME,
            OrderSide.SELL,
            instrument.make_qty(size),
            instrument.make_price(self.bid() * factor),
            trigger_type=TriggerType.MARK_PRICE,
            reduce_only=True,
        )
        self.submit_order(order)
        return order

    found["margin"] = str(instrument.margin_init)
    market(OrderSide.BUY, 6.0)
    yield lambda: self.held() == 6.0
    found["large_market"] = list(self.fills)
    first = stop(0.97, 4.0)
    yield lambda: self.cache.order(first.client_order_id).is_open
    market(OrderSide.BUY, 0.001 * 1000)
    yield lambda: self.held() == 7.0
    yield self.stays(10)
    found["stop_resized_to"] = str(self.cache.order(first.client_order_id).quantity)
    ask("mark -6")
    before: Any = self.cache.mark_price(NAME)
    yield lambda: float(self.cache.mark_price(NAME).value) < 0.96 * float(before.value)
    yield self.stays(20)
    found["held_with_the_mark_below_the_stop"] = self.held()
    money = self.money()
    ask("funding")
    yield self.stays(50)
    found["paid_funding"] = money != self.money()
    bracket = self.order_factory.bracket(
        NAME,
        OrderSide.BUY,
        instrument.make_qty(0.1),
        sl_trigger_price=instrument.make_price(self.bid() * 0.9),
        tp_price=instrument.make_price(self.bid() * 1.1),
    )
    self.submit_order_list(bracket)
    far = self.order_factory.limit(
        NAME, OrderSide.SELL, instrument.make_qty(0.1), instrument.make_price(self.bid() * 2.0)
    )
    self.submit_order(far)
    yield lambda: self.cache.order(far.client_order_id).is_open
    yield self.stays(10)
    found["refused"] = list(self.refused)
    self.cancel_order(first.client_order_id)
    for order in self.cache.orders_open(instrument_id=NAME):
        self.cancel_order(order.client_order_id)
    yield lambda: not self.cache.orders_open(instrument_id=NAME)
    ask("jump -40")
    yield self.stays(50)
    found["held_after_minus_40_pct"] = self.held()
    equity: Any = self.portfolio.equity(Venue("BINANCE"))
    found["equity_after_minus_40_pct"] = float(next(iter(equity.values())).as_double())


def main(http: str, ws: str, folder: Path) -> None:
    run = load_run(
        run_file(folder), [f"live.base_url_http={http}", f"live.base_url_ws={ws}", "venue.leverage=10"]
    )
    venue: Address = find_venue(run, VenueKind.PAPER)
    with VenueClient(http, None) as client:
        (folder / "exchange_info.json").write_bytes(client.raw_exchange_info())
    node = build_node(run, venue, folder)
    probe = Probe(node.handle().stop)
    node.add_strategy(probe)
    node.run()
    sys.stdout.write(json.dumps(probe.found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
