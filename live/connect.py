"""The engine's live node with its Binance adapter, set up as this project trades with it."""

from collections.abc import Sequence
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceDataClientFactory,
    BinanceExecutionClientConfig,
    BinanceExecutionClientFactory,
    BinanceInstrumentProviderConfig,
    BinanceProductType,
)
from nautilus_trader.common import Environment, LoggerConfig, LogLevel
from nautilus_trader.live import LiveExecutionEngineConfig, LiveNode, LiveRiskEngineConfig
from nautilus_trader.model import AccountId, TraderId

from configs.schema import RunConfig
from live.venues import Venue

__all__ = ["build_node"]

_TRADER = "SEXTANT-001"
_ORDERS_SECS, _POSITIONS_SECS = 3.0, 5.0  # orders first: a position's fill has no order's name
_INFLIGHT_LOOK_MS, _INFLIGHT_MS, _INFLIGHT_TRIES = 500, 1_500, 3  # by default a lost order is so for 25 s
_POST_STOP_SECS = 1


def build_node(run: RunConfig, venue: Venue) -> LiveNode:
    """A node that is connected to nothing yet. Call it on the thread that will run it."""
    addresses: dict[str, Any] = {
        "base_url_http": venue.http,
        "base_url_ws": venue.ws,
        "api_key": venue.key,
        "api_secret": venue.secret.get_secret_value(),
    }
    instruments = BinanceInstrumentProviderConfig(load_all=False, load_ids=list(run.instruments))
    data = BinanceDataClientConfig(
        product_type=BinanceProductType.USD_M,
        environment=venue.environment,
        instrument_provider=instruments,
        **addresses,
    )
    execution = BinanceExecutionClientConfig(
        account_id=AccountId("BINANCE-001"),
        product_type=BinanceProductType.USD_M,
        environment=venue.environment,
        base_url_ws_trading=venue.ws_trading,
        instrument_provider=instruments,
        **addresses,
    )
    return (
        LiveNode.builder("SEXTANT", TraderId(_TRADER), Environment.LIVE)
        .with_logging(LoggerConfig(stdout_level=LogLevel.WARNING))
        .with_delay_post_stop_secs(_POST_STOP_SECS)
        .with_exec_engine_config(_execution(run.instruments))
        .with_risk_engine_config(
            LiveRiskEngineConfig(max_order_submit_rate=f"{run.risk.max_order_rate_per_sec}/00:00:01")
        )
        .add_data_client(None, BinanceDataClientFactory(), data)
        .add_exec_client(None, BinanceExecutionClientFactory(), execution)
        .build()
    )


def _execution(instruments: Sequence[str]) -> LiveExecutionEngineConfig:
    """Without the two checks a lost event is never found; only they ask for closed orders as well.

    Overfills are let through: a closing stop closes what is held, which may be more than when it was sent.
    """
    return LiveExecutionEngineConfig(
        reconciliation_instrument_ids=list(instruments),
        inflight_check_interval_ms=_INFLIGHT_LOOK_MS,
        inflight_check_threshold_ms=_INFLIGHT_MS,
        inflight_check_retries=_INFLIGHT_TRIES,
        open_check_interval_secs=_ORDERS_SECS,
        open_check_threshold_ms=1_000,
        open_check_open_only=False,
        position_check_interval_secs=_POSITIONS_SECS,
        position_check_threshold_ms=4_000,
        allow_overfills=True,
    )
