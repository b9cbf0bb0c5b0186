"""Which venue a node trades on: its addresses, its keys, and whether orders may go there at all."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nautilus_trader.adapters.binance import BinanceEnvironment
from pydantic import SecretStr

from configs.errors import ConfigError
from configs.load import secrets
from configs.schema import RunConfig
from live.rehearsal.demo_keys import demo_keys

__all__ = ["REHEARSAL_SEED", "Venue", "VenueKind", "check_venue", "find_venue", "named_rehearsal"]

REHEARSAL_SEED = 7
_HTTP = {"testnet": "https://testnet.binancefuture.com", "live": "https://fapi.binance.com"}


class VenueKind(StrEnum):
    """Where a node may be pointed at."""

    REHEARSAL = "rehearsal"
    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Venue:
    """Addresses and keys. `ws` and `ws_trading` None: the adapter's own for `environment`."""

    kind: VenueKind
    http: str
    ws: str | None
    ws_trading: str | None
    key: str
    secret: SecretStr = field(repr=False)
    environment: Any


def find_venue(run: RunConfig, kind: VenueKind) -> Venue:
    """The venue with its keys; `--venue rehearsal` needs the addresses of one that runs (`named_rehearsal`).

    ConfigError for missing keys or addresses, and for what a node does not do.
    """
    check_venue(run, kind)
    live = run.live
    if kind is VenueKind.REHEARSAL:
        if live.base_url_http is None or live.base_url_ws is None or live.base_url_ws_trading is None:
            raise ConfigError(
                "live.base_url_http, base_url_ws and base_url_ws_trading: give all three or none"
            )
        keys = demo_keys(REHEARSAL_SEED)
        return Venue(
            kind,
            live.base_url_http,
            live.base_url_ws,
            live.base_url_ws_trading,
            keys.hmac_key,
            SecretStr(keys.hmac_secret),
            BinanceEnvironment.LIVE,
        )
    key, secret = secrets().require()
    testnet = kind is VenueKind.TESTNET
    return Venue(
        kind,
        live.base_url_http or _HTTP[kind.value],
        live.base_url_ws,
        live.base_url_ws_trading,
        key.get_secret_value(),
        secret,
        BinanceEnvironment.TESTNET if testnet else BinanceEnvironment.LIVE,
    )


def check_venue(run: RunConfig, kind: VenueKind) -> None:
    """ConfigError for what a node does not do."""
    if any("-PERP." not in name for name in run.instruments):
        raise ConfigError("the live node trades USD-M perpetuals only: spot has not been proven safe here")
    if run.data.ticks:
        raise ConfigError(
            "data.bar 1s: bars of a second are made of recorded trades; the node needs 1m or more"
        )
    if kind is VenueKind.PAPER:
        raise ConfigError(
            "--venue paper is not offered: the engine's sandbox accepts orders that the venue denies; "
            "use --venue rehearsal, or testnet with keys"
        )


def named_rehearsal(run: RunConfig) -> bool:
    """Whether the run names a rehearsal that runs already."""
    live = run.live
    return any(url is not None for url in (live.base_url_http, live.base_url_ws, live.base_url_ws_trading))
