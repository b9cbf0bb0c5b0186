"""A LiveNode with the Binance adapter for tests, run as a module: it trades once and tells each step as JSON.

    python -m tests.nautilus_node HTTP_URL WS_URL WS_API_URL API_KEY SECRET_FILE [watch]

Entry at the market on the first quote; on its fill a STOP_MARKET that closes the position, on the mark price,
and a reduce-only limit target; when flat the stop is cancelled. With `watch` it only tells what position and
orders it found. It runs until SIGTERM.
"""

import sys
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceExecutionClientConfig,
    BinanceProductType,
)
from nautilus_trader.live import LiveExecutionEngineConfig
from nautilus_trader.model import BarType, InstrumentId, OrderSide, Price, Quantity, StrategyId, TriggerType
from nautilus_trader.trading import StrategyConfig

from tests.telling_node import ACCOUNT, TellingStrategy, run_node, tell

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
BARS = BarType.from_str("BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL")


class OneTrade(TellingStrategy):
    """Entry, stop, target."""

    def __init__(self, config: StrategyConfig) -> None:
        del config
        self.watches = False
        self.entry: Any = None
        self.stop_id: Any = None
        self.target: Any = None
        self.quotes = 0

    def on_start(self) -> None:
        tell("started")
        if self.watches:
            orders = self.cache.orders_open(instrument_id=INSTRUMENT)
            tell(
                "found",
                position=self.portfolio.net_position(INSTRUMENT),
                orders=[(order.order_type.name, str(order.quantity)) for order in orders],
            )
        self.subscribe_quotes(INSTRUMENT)
        self.subscribe_bars(BARS)

    def on_quote(self, quote: Any) -> None:
        self.quotes += 1
        if self.quotes == 1:
            tell("quote", bid=quote.bid_price, ask=quote.ask_price, bid_size=quote.bid_size)
        if self.entry is None and not self.watches:
            order = self.order_factory.market(INSTRUMENT, OrderSide.BUY, Quantity.from_str("0.010"))
            self.entry = order.client_order_id
            self.submit_order(order)

    def on_bar(self, bar: Any) -> None:
        tell("bar", close=bar.close, volume=bar.volume, ts_event=bar.ts_event)

    def on_order_filled(self, event: Any) -> None:
        tell(
            "filled",
            id=event.client_order_id,
            price=event.last_px,
            quantity=event.last_qty,
            fee=event.commission,
        )
        if event.client_order_id == self.entry and self.stop_id is None:
            self.protect(event.last_px.as_double())

    def protect(self, price: float) -> None:
        quantity = Quantity.from_str("0.010")
        stop = self.order_factory.stop_market(
            INSTRUMENT,
            OrderSide.SELL,
            quantity,
            Price.from_str(f"{price - 500:.2f}"),
            trigger_type=TriggerType.MARK_PRICE,
            reduce_only=True,
        )
        self.stop_id = stop.client_order_id
        self.submit_order(stop, params={"close_position": True})
        target = self.order_factory.limit(
            INSTRUMENT, OrderSide.SELL, quantity, Price.from_str(f"{price + 300:.1f}0"), reduce_only=True
        )
        self.target = target.client_order_id
        self.submit_order(target)

    def role(self, order_id: Any) -> str:
        names = {self.entry: "entry", self.stop_id: "stop", self.target: "target"}
        return names.get(order_id, "unknown")

    def on_position_closed(self, event: Any) -> None:
        tell("closed", pnl=event.realized_pnl)
        self.cancel_order(self.stop_id)

    def on_stop(self) -> None:
        tell("stopped", quotes=self.quotes)


def main(http_url: str, ws_url: str, ws_api_url: str, api_key: str, secret: str, *, watches: bool) -> None:
    """Build and run the node."""
    places = {"base_url_http": http_url, "base_url_ws": ws_url, "api_key": api_key, "api_secret": secret}
    product = BinanceProductType.USD_M
    strategy = OneTrade(
        StrategyConfig(strategy_id=StrategyId("ONE-001"), external_order_instrument_ids=[INSTRUMENT])
    )
    strategy.watches = watches
    run_node(
        strategy,
        BinanceDataClientConfig(product_type=product, **places),
        BinanceExecutionClientConfig(
            account_id=ACCOUNT, product_type=product, base_url_ws_trading=ws_api_url, **places
        ),
        LiveExecutionEngineConfig(
            open_check_interval_secs=2.0, position_check_interval_secs=2.0, open_check_open_only=False
        ),
    )


if __name__ == "__main__":
    main(*sys.argv[1:5], Path(sys.argv[5]).read_text(), watches=sys.argv[6:] == ["watch"])
