"""A LiveNode with the Binance spot adapter for tests, run as a module: it trades once, telling steps as JSON.

    python -m tests.nautilus_spot_node HTTP_URL WS_URL WS_API_URL API_KEY SECRET_FILE [watch]

It buys at the market on the first quote, and on the fill protects what it received with an OCO list built by
hand: a post-only limit target above and a stop market below. With `watch` it only tells what it found. It
runs until SIGTERM.
"""

import sys
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceExecutionClientConfig,
    BinanceProductType,
    BinanceSpotMarketDataMode,
)
from nautilus_trader.core import UUID4
from nautilus_trader.live import LiveExecutionEngineConfig
from nautilus_trader.model import (
    BarType,
    ClientOrderId,
    ContingencyType,
    InstrumentId,
    LimitOrder,
    OmsType,
    OrderListId,
    OrderSide,
    Price,
    Quantity,
    StopMarketOrder,
    StrategyId,
    TimeInForce,
    TriggerType,
)
from nautilus_trader.trading import StrategyConfig

from tests.telling_node import ACCOUNT, TRADER, TellingStrategy, run_node, tell

INSTRUMENT = InstrumentId.from_str("BTCUSDT.BINANCE")
BARS = BarType.from_str("BTCUSDT.BINANCE-1-MINUTE-LAST-EXTERNAL")
NAME = StrategyId("ONE-001")


class OneTrade(TellingStrategy):
    """Entry, then an OCO list."""

    def __init__(self, config: StrategyConfig) -> None:
        del config
        self.watches = False
        self.entry: Any = None
        self.roles: dict[Any, str] = {}
        self.quotes = 0
        self.trades = 0
        self.bars = 0

    def on_start(self) -> None:
        tell("started")
        if self.watches:
            orders = self.cache.orders_open(instrument_id=INSTRUMENT)
            tell("found", orders=[(order.order_type.name, str(order.quantity)) for order in orders])
        self.subscribe_quotes(INSTRUMENT)
        self.subscribe_trades(INSTRUMENT)
        self.subscribe_bars(BARS)

    def on_quote(self, quote: Any) -> None:
        self.quotes += 1
        if self.quotes == 1:
            tell("quote", bid=quote.bid_price, ask=quote.ask_price, bid_size=quote.bid_size)
        if self.entry is None and not self.watches:
            order = self.order_factory.market(INSTRUMENT, OrderSide.BUY, Quantity.from_str("0.01000"))
            self.entry = order.client_order_id
            self.roles[self.entry] = "entry"
            self.submit_order(order)

    def on_trade(self, trade: Any) -> None:
        self.trades += 1
        if self.trades == 1:
            tell("trade", price=trade.price, size=trade.size)

    def on_bar(self, bar: Any) -> None:
        self.bars += 1
        if self.bars == 1:
            tell("bar", close=bar.close, volume=bar.volume, ts_event=bar.ts_event)

    def on_order_filled(self, event: Any) -> None:
        tell(
            "filled",
            role=self.role(event.client_order_id),
            price=event.last_px,
            quantity=event.last_qty,
            fee=event.commission,
        )
        if event.client_order_id == self.entry:
            received = event.last_qty.as_decimal() - event.commission.as_decimal()
            self.protect(
                received.quantize(Decimal("0.00001"), rounding=ROUND_DOWN), event.last_px.as_double()
            )

    def protect(self, quantity: Decimal, price: float) -> None:
        """The OCO list; the ids say which leg is which."""
        ids = {role: ClientOrderId(f"O-{role}") for role in ("target", "stop")}
        self.roles |= {number: role for role, number in ids.items()}
        shared = {
            "trader_id": TRADER,
            "strategy_id": NAME,
            "instrument_id": INSTRUMENT,
            "order_side": OrderSide.SELL,
            "quantity": Quantity.from_str(f"{quantity:.5f}"),
            "time_in_force": TimeInForce.GTC,
            "reduce_only": False,
            "quote_quantity": False,
            "ts_init": self.clock.timestamp_ns(),
            "contingency_type": ContingencyType.OCO,
            "order_list_id": OrderListId("OL-1"),
        }
        target = LimitOrder(
            client_order_id=ids["target"],
            price=Price.from_str(f"{price + 300:.2f}"),
            post_only=True,
            init_id=UUID4(),
            linked_order_ids=[ids["stop"]],
            **shared,
        )
        stop = StopMarketOrder(
            client_order_id=ids["stop"],
            trigger_price=Price.from_str(f"{price - 500:.2f}"),
            trigger_type=TriggerType.DEFAULT,
            init_id=UUID4(),
            linked_order_ids=[ids["target"]],
            **shared,
        )
        self.submit_order_list([target, stop])

    def role(self, order_id: Any) -> str:
        return self.roles.get(order_id, "unknown")

    def on_order_expired(self, event: Any) -> None:
        tell("expired", role=self.role(event.client_order_id))

    def on_order_updated(self, event: Any) -> None:
        tell("updated", role=self.role(event.client_order_id), price=event.price)

    def on_position_closed(self, event: Any) -> None:
        tell("closed", pnl=event.realized_pnl)

    def on_stop(self) -> None:
        account = self.cache.account_for_venue(INSTRUMENT.venue)
        tell("stopped", quotes=self.quotes, balances={str(k): str(v) for k, v in account.balances().items()})


def main(http_url: str, ws_url: str, ws_api_url: str, api_key: str, secret: str, *, watches: bool) -> None:
    """Build and run the node."""
    places = {"base_url_http": http_url, "base_url_ws": ws_url, "api_key": api_key, "api_secret": secret}
    product = BinanceProductType.SPOT
    strategy = OneTrade(
        StrategyConfig(strategy_id=NAME, oms_type=OmsType.NETTING, external_order_instrument_ids=[INSTRUMENT])
    )
    strategy.watches = watches
    run_node(
        strategy,
        BinanceDataClientConfig(
            product_type=product, spot_market_data_mode=BinanceSpotMarketDataMode.Json, **places
        ),
        BinanceExecutionClientConfig(
            account_id=ACCOUNT,
            product_type=product,
            base_url_ws_trading=ws_api_url,
            oms_type=OmsType.NETTING,
            **places,
        ),
        # The adapter answers only for open orders: with open_check_open_only=False every check fails.
        LiveExecutionEngineConfig(open_check_interval_secs=2.0, open_check_open_only=True),
        bypasses_risk=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:5], Path(sys.argv[5]).read_text(), watches=sys.argv[6:] == ["watch"])
