"""A live node without market data whose every answer comes over REST in SBE; it tells what it read, as JSON.

    python -m tests.spot_reader HTTP_URL WS_API_URL SECRET_FILE

It tells the account and the open order that it found, places a limit order, asks for it and cancels it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceExecutionClientConfig,
    BinanceProductType,
    BinanceSpotMarketDataMode,
    load_binance_instruments,
)
from nautilus_trader.common import LogLevel
from nautilus_trader.live import LiveExecutionEngineConfig
from nautilus_trader.model import (
    InstrumentId,
    OmsType,
    OrderSide,
    Price,
    Quantity,
    StrategyId,
)
from nautilus_trader.trading import Strategy, StrategyConfig

from tests.telling_node import ACCOUNT, run_node, tell

INSTRUMENT = InstrumentId.from_str("BTCUSDT.BINANCE")


class Reader(Strategy):
    """One order, asked for and cancelled."""

    def __init__(self, config: StrategyConfig) -> None:
        del config
        self.order: Any = None

    def on_start(self) -> None:
        account: Any = self.cache.account(ACCOUNT)
        balances = {
            str(currency): [str(balance.free), str(balance.locked)]
            for currency, balance in account.balances().items()
        }
        tell("account", balances=balances)
        for order in self.cache.orders_open(instrument_id=INSTRUMENT):
            tell(
                "found",
                id=order.client_order_id,
                kind=order.order_type.name,
                quantity=order.quantity,
                filled=order.filled_qty,
                price=order.price,
                average=order.avg_px,
            )
        order = self.order_factory.limit(
            INSTRUMENT, OrderSide.BUY, Quantity.from_str("0.01"), Price.from_str("50000.00")
        )
        self.order = order
        self.submit_order(order)

    def on_order_submitted(self, event: Any) -> None:
        del event
        now = self.clock.timestamp_ns()
        self.clock.set_time_alert_ns("ask", now + 200_000_000, lambda _: self.query_order(self.order))
        self.clock.set_time_alert_ns("cancel", now + 600_000_000, self.on_alert)

    def on_order_accepted(self, event: Any) -> None:
        tell("accepted", id=event.client_order_id, venue_id=event.venue_order_id, at=event.ts_event)

    def on_alert(self, event: Any) -> None:
        del event
        self.cancel_order(self.order.client_order_id)

    def on_order_rejected(self, event: Any) -> None:
        tell("rejected", reason=event.reason)

    def on_order_filled(self, event: Any) -> None:
        tell("filled", id=event.client_order_id, price=event.last_px, quantity=event.last_qty)

    def on_order_cancel_rejected(self, event: Any) -> None:
        tell("cancel_rejected", reason=event.reason)

    def on_order_canceled(self, event: Any) -> None:
        tell("canceled", id=event.client_order_id)


def main(url: str, ws_api: str, secret: str) -> None:
    """Instruments first, then the node until SIGTERM."""
    places: dict[str, Any] = {
        "product_type": BinanceProductType.SPOT,
        "base_url_http": url,
        "api_key": "key",
        "api_secret": secret,
    }
    instruments: list[Any] = asyncio.run(load_binance_instruments(BinanceDataClientConfig(**places)))
    for instrument in instruments:
        tell(
            "instrument",
            id=instrument.id,
            tick=instrument.price_increment,
            lot=instrument.size_increment,
            least=instrument.min_quantity,
            notional=instrument.min_notional,
        )
    run_node(
        Reader(
            StrategyConfig(
                strategy_id=StrategyId("READ-001"),
                oms_type=OmsType.NETTING,
                external_order_instrument_ids=[INSTRUMENT],
            )
        ),
        BinanceDataClientConfig(
            spot_market_data_mode=BinanceSpotMarketDataMode.Json, base_url_ws=ws_api, **places
        ),
        BinanceExecutionClientConfig(
            account_id=ACCOUNT, base_url_ws_trading=ws_api, use_ws_trading=False, **places
        ),
        LiveExecutionEngineConfig(open_check_interval_secs=None),
        bypasses_risk=True,
        log_level=LogLevel.ERROR,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_text())
