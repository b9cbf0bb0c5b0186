"""The engine's live node with its Binance adapter, set up as this project trades with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nautilus_trader.adapters.binance import (
    BinanceDataClientConfig,
    BinanceDataClientFactory,
    BinanceExecutionClientConfig,
    BinanceExecutionClientFactory,
    BinanceInstrumentProviderConfig,
    BinanceProductType,
    BinanceSpotMarketDataMode,
)
from nautilus_trader.adapters.sandbox import SandboxExecutionClientFactory
from nautilus_trader.common import Environment, LoggerConfig, LogLevel
from nautilus_trader.live import LiveExecutionEngineConfig, LiveNode, LiveRiskEngineConfig
from nautilus_trader.model import AccountId, OmsType, TraderId

from actors.control import Control, controller_config
from configs.schema import RunConfig
from live.paper import sandbox_config
from live.policy import order_limits
from live.venues import Venue

__all__ = ["build_node"]

_TRADER = "SEXTANT-001"
_SECOND_NS = 1_000_000_000
_ORDERS_SECS, _POSITIONS_SECS = 3.0, 5.0  # orders first: a position's fill has no order's name
_INFLIGHT_LOOK_MS, _INFLIGHT_MS, _INFLIGHT_TRIES = 500, 1_500, 3  # by default a lost order is so for 25 s
_POST_STOP_SECS = 1
_DISCONNECT_SECS = 2  # a venue that does not answer is waited for once more, for ten by default
_CONNECT_SECS = 15  # the engine does not try again by itself, and waits for a minute by default


def build_node(run: RunConfig, venue: Venue, folder: Path, control: Control | None = None) -> LiveNode:
    """A node that is connected to nothing yet; `folder` is its state folder, `control` adds to it as it runs.

    Call it on the thread that will run it, once the venue's rules lie in the folder (`read_instruments`).
    """
    limits = order_limits((folder / "exchange_info.json").read_bytes())
    builder = (
        LiveNode.builder("SEXTANT", TraderId(_TRADER), Environment.LIVE)
        .with_logging(LoggerConfig(stdout_level=LogLevel.WARNING))
        .with_delay_post_stop_secs(_POST_STOP_SECS)
        .with_timeout_connection(_CONNECT_SECS)
        .with_timeout_disconnection_secs(_DISCONNECT_SECS)
        .with_exec_engine_config(_checks(run, venue))
        .with_risk_engine_config(
            LiveRiskEngineConfig(
                # it adds up both orders of a list that sells the same coins once, and denies it
                bypass=venue.is_spot,
                max_order_submit_rate=_rate(limits),
                max_order_modify_rate=_rate(limits),
            )
        )
        .add_data_client(None, BinanceDataClientFactory(), _data(run, venue))
    )
    if control is not None:
        builder = builder.with_controller(controller_config(control))
    if venue.is_paper:
        sandbox = sandbox_config(run, folder)
        return builder.add_simulated_exec_client(None, SandboxExecutionClientFactory(), sandbox).build()
    return builder.add_exec_client(None, BinanceExecutionClientFactory(), _orders(run, venue)).build()


def _rate(limits: Sequence[tuple[int, int]]) -> str:
    """The venue's own limit on orders: the engine denies stops like entries, so no less may bind.

    Entries are held back before that (`strategies.order_budget`).

    >>> _rate(((60_000_000_000, 1200), (10_000_000_000, 300)))
    '300/00:00:10'
    """
    window, orders = min(limits)
    minutes, secs = divmod(window // _SECOND_NS, 60)
    return f"{orders}/{minutes // 60:02d}:{minutes % 60:02d}:{secs:02d}"


def _addresses(run: RunConfig, venue: Venue) -> dict[str, Any]:
    """What both clients are told."""
    keys = {"api_key": venue.key, "api_secret": venue.secret.get_secret_value()} if venue.key else {}
    return {
        "product_type": BinanceProductType.SPOT if venue.is_spot else BinanceProductType.USD_M,
        "environment": venue.environment,
        "base_url_http": venue.http,
        "base_url_ws": venue.ws,
        "instrument_provider": BinanceInstrumentProviderConfig(load_all=True),  # any may be added later
        **keys,
    }


def _data(run: RunConfig, venue: Venue) -> BinanceDataClientConfig:
    if venue.is_spot:  # the other mode has no bars
        mode = BinanceSpotMarketDataMode.Json
        return BinanceDataClientConfig(spot_market_data_mode=mode, **_addresses(run, venue))
    return BinanceDataClientConfig(**_addresses(run, venue))


def _orders(run: RunConfig, venue: Venue) -> BinanceExecutionClientConfig:
    return BinanceExecutionClientConfig(
        account_id=AccountId("BINANCE-001"),
        base_url_ws_trading=venue.ws_trading,
        oms_type=OmsType.NETTING if venue.is_spot else None,
        **_addresses(run, venue),
    )


def _checks(run: RunConfig, venue: Venue) -> LiveExecutionEngineConfig:
    if venue.is_paper:
        return _unchecked()
    return _spot_execution(run.instruments) if venue.is_spot else _execution(run.instruments)


def _spot_execution(instruments: Sequence[str]) -> LiveExecutionEngineConfig:
    """Spot answers for open orders alone, and has no positions; the strategies ask for what has closed."""
    return LiveExecutionEngineConfig(
        reconciliation_instrument_ids=list(instruments),
        inflight_check_interval_ms=_INFLIGHT_LOOK_MS,
        inflight_check_threshold_ms=_INFLIGHT_MS,
        inflight_check_retries=_INFLIGHT_TRIES,
        open_check_interval_secs=_ORDERS_SECS,
        open_check_threshold_ms=1_000,
        open_check_open_only=True,
        allow_overfills=True,
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


def _unchecked() -> LiveExecutionEngineConfig:
    """The sandbox answers every question about orders and positions with nothing: asked, it would take what
    is open for gone."""
    return LiveExecutionEngineConfig(reconciliation=False, inflight_check_interval_ms=0)
