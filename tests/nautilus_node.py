"""A LiveNode with the Binance adapter for tests, run as a script: it trades once and tells each step as JSON.

    python nautilus_node.py HTTP_URL WS_URL WS_API_URL API_KEY SECRET_FILE [watch]

Entry at the market on the first quote; on its fill a STOP_MARKET that closes the position, on the mark price,
and a reduce-only limit target; when flat the stop is cancelled. With `watch` it only tells what position and
orders it found. It runs until SIGTERM.
"""

import json
import sys
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceDataClientFactory,
    BinanceExecutionClientConfig,
    BinanceExecutionClientFactory,
    BinanceProductType,
)
from nautilus_trader.common import Environment, LoggerConfig, LogLevel
from nautilus_trader.live import LiveExecutionEngineConfig, LiveNode
from nautilus_trader.model import (
    AccountId,
    BarType,
    InstrumentId,
    OrderSide,
    Price,
    Quantity,
    StrategyId,
    TraderId,
    TriggerType,
)
from nautilus_trader.trading import Strategy, StrategyConfig

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
BARS = BarType.from_str("BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL")


def tell(step: str, **values: Any) -> None:
    """One line for the parent process."""
    sys.stdout.write("@" + json.dumps({"step": step, **values}, default=str) + "\n")
    sys.stdout.flush()


class OneTrade(Strategy):
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

    def on_order_accepted(self, event: Any) -> None:
        tell("accepted", role=self.role(event.client_order_id), venue_id=event.venue_order_id)

    def on_order_rejected(self, event: Any) -> None:
        tell("rejected", role=self.role(event.client_order_id), reason=event.reason)

    def on_order_denied(self, event: Any) -> None:
        tell("denied", role=self.role(event.client_order_id), reason=event.reason)

    def on_order_canceled(self, event: Any) -> None:
        tell("canceled", role=self.role(event.client_order_id))

    def on_order_cancel_rejected(self, event: Any) -> None:
        tell("cancel_rejected", role=self.role(event.client_order_id), reason=event.reason)

    def on_position_closed(self, event: Any) -> None:
        tell("closed", pnl=event.realized_pnl)
        self.cancel_order(self.stop_id)

    def on_stop(self) -> None:
        tell("stopped", quotes=self.quotes)


def main(http_url: str, ws_url: str, ws_api_url: str, api_key: str, secret: str, *, watches: bool) -> None:
    """Build and run the node."""
    account = AccountId("BINANCE-001")
    places = {"base_url_http": http_url, "base_url_ws": ws_url, "api_key": api_key, "api_secret": secret}
    builder = (
        LiveNode.builder("TEST-1", TraderId("TEST-001"), Environment.LIVE)
        .with_logging(LoggerConfig(stdout_level=LogLevel.WARNING))
        .with_delay_post_stop_secs(0)
        .with_exec_engine_config(
            LiveExecutionEngineConfig(
                open_check_interval_secs=2.0, position_check_interval_secs=2.0, open_check_open_only=False
            )
        )
        .add_data_client(
            None,
            BinanceDataClientFactory(),
            BinanceDataClientConfig(product_type=BinanceProductType.USD_M, **places),
        )
        .add_exec_client(
            None,
            BinanceExecutionClientFactory(),
            BinanceExecutionClientConfig(
                account_id=account,
                product_type=BinanceProductType.USD_M,
                base_url_ws_trading=ws_api_url,
                **places,
            ),
        )
    )
    node = builder.build()
    config = StrategyConfig(strategy_id=StrategyId("ONE-001"), external_order_instrument_ids=[INSTRUMENT])
    strategy = OneTrade(config)
    strategy.watches = watches
    node.add_strategy(strategy)
    node.run()
    tell("ended")


if __name__ == "__main__":
    main(*sys.argv[1:5], Path(sys.argv[5]).read_text(), watches=sys.argv[6:] == ["watch"])
