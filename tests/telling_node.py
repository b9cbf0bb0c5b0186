"""What the trading scripts of the tests share: each step told as a line of JSON, and the node around it."""

import json
import sys
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceDataClientFactory,
    BinanceExecutionClientConfig,
    BinanceExecutionClientFactory,
)
from nautilus_trader.common import Environment, LoggerConfig, LogLevel
from nautilus_trader.live import LiveExecutionEngineConfig, LiveNode, LiveRiskEngineConfig
from nautilus_trader.model import AccountId, TraderId
from nautilus_trader.trading import Strategy

__all__ = ["ACCOUNT", "TRADER", "TellingStrategy", "run_node", "tell"]

TRADER, ACCOUNT = TraderId("TEST-001"), AccountId("BINANCE-001")


def tell(step: str, **values: Any) -> None:
    """One line for the parent process."""
    sys.stdout.write("@" + json.dumps({"step": step, **values}, default=str) + "\n")
    sys.stdout.flush()


class TellingStrategy(Strategy):
    """Tells what becomes of its orders, by the role that it knows them in."""

    def role(self, order_id: Any) -> str:
        del order_id
        return "unknown"

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


def run_node(
    strategy: Strategy,
    data: BinanceDataClientConfig,
    execution: BinanceExecutionClientConfig,
    checks: LiveExecutionEngineConfig,
    *,
    bypasses_risk: bool = False,
    log_level: LogLevel = LogLevel.WARNING,
) -> None:
    """A node with these two clients, until SIGTERM."""
    builder = (
        LiveNode.builder("TEST-1", TRADER, Environment.LIVE)
        .with_logging(LoggerConfig(stdout_level=log_level))
        .with_delay_post_stop_secs(0)
        .with_exec_engine_config(checks)
        .with_risk_engine_config(LiveRiskEngineConfig(bypass=bypasses_risk))
        .add_data_client(None, BinanceDataClientFactory(), data)
        .add_exec_client(None, BinanceExecutionClientFactory(), execution)
    )
    node = builder.build()
    node.add_strategy(strategy)
    node.run()
    tell("ended")
