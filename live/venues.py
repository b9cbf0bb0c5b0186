"""Which venue a node trades on: its addresses, its keys, and whether orders may go there at all."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from nautilus_trader.adapters.binance import BinanceEnvironment
from pydantic import SecretStr

from catalog.instruments import Market, market_of
from configs.errors import ConfigError
from configs.load import secrets
from configs.schema import LiveConfig, RunConfig
from live.rehearsal.serving.demo_keys import demo_keys
from live.spot_limits import check_spot

__all__ = ["REHEARSAL_SEED", "Venue", "VenueKind", "check_venue", "find_venue", "is_there", "named_rehearsal"]

REHEARSAL_SEED = 7
# REST as Binance publishes it, given to the adapter as well. The adapter's own stream and trading sockets
# belong to the same systems: fstream.binance.com and ws-fapi.binance.com, fstream.binancefuture.com and
# testnet.binancefuture.com.
_HTTP = {"testnet": "https://demo-fapi.binance.com", "live": "https://fapi.binance.com"}
_NOT_REAL = ("demo-", "testnet.")  # of Binance's hosts; the others of the testnet are another domain's
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class VenueKind(StrEnum):
    """Where a node may be pointed at."""

    REHEARSAL = "rehearsal"
    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Venue:
    """Addresses and keys. `ws` and `ws_trading` None: the adapter's own for `environment`; `key` "": none."""

    kind: VenueKind
    http: str
    ws: str | None
    ws_trading: str | None
    key: str
    secret: SecretStr = field(repr=False)
    environment: Any
    market: Market = "um"

    @property
    def is_spot(self) -> bool:
        """Whether coins are traded, not perpetuals."""
        return self.market == "spot"

    @property
    def is_paper(self) -> bool:
        """Whether orders are filled by the engine's sandbox and none leaves this machine."""
        return self.kind is VenueKind.PAPER


def find_venue(run: RunConfig, kind: VenueKind) -> Venue:
    """The venue with its keys; `--venue rehearsal` needs the addresses of one that runs (`named_rehearsal`).

    Paper needs no keys and takes the market's addresses. ConfigError for missing keys or addresses, for
    addresses that are given in part, and for what a node does not do.
    """
    check_venue(run, kind)
    http, ws, ws_trading = _addresses(run.live, kind)
    environment = BinanceEnvironment.TESTNET if kind is VenueKind.TESTNET else BinanceEnvironment.LIVE
    market = market_of(run.instruments[0])
    key, secret = _keys(kind, market)
    return Venue(kind, http, ws, ws_trading, key, secret, environment, market)


def _addresses(live: LiveConfig, kind: VenueKind) -> tuple[str, str | None, str | None]:
    """All of them from the run file, or none: parts of two venues would make a node that sees one and
    trades on the other."""
    http, ws, ws_trading = live.base_url_http, live.base_url_ws, live.base_url_ws_trading
    wanted = (http, ws) if kind is VenueKind.PAPER else (http, ws, ws_trading)
    if http is not None and None not in wanted:
        for address in (http, ws, ws_trading):
            _refuse_in_clear(address)
            if kind is VenueKind.TESTNET:
                _refuse_real(address)
        return http, ws, ws_trading
    names = "base_url_http and base_url_ws" + (", base_url_ws_trading" if len(wanted) > 2 else "")
    if any(url is not None for url in (http, ws, ws_trading)):
        raise ConfigError(f"live.{names}: give all of them or none")
    if kind is VenueKind.REHEARSAL:
        raise ConfigError(f"which rehearsal? give live.{names} as it printed them, or another --venue")
    return _HTTP.get(kind.value, _HTTP["live"]), None, None


def _refuse_in_clear(address: str | None) -> None:
    """Keys and orders cross no network unencrypted."""
    if address is None:
        return
    parts = _split(address)
    if parts.scheme not in {"http", "https", "ws", "wss"} or not parts.hostname:
        raise _no_address(address)
    if parts.scheme in {"http", "ws"} and parts.hostname not in _LOOPBACK:
        raise ConfigError(f"live: {address} is not encrypted; only this machine's own may be so")


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        raise _no_address(address) from None


def _no_address(address: str) -> ConfigError:
    return ConfigError(f"live: '{address}' is no address; write it like https://host or wss://host")


def _refuse_real(address: str | None) -> None:
    """`--venue testnet` asks nobody before it trades, so it must not come to the real market."""
    host = "" if address is None else _split(address).hostname or ""
    if host.endswith(".binance.com") and not host.startswith(_NOT_REAL):
        raise ConfigError(f"live: {address} is Binance's real market: --venue live trades there")


def _keys(kind: VenueKind, market: Market) -> tuple[str, SecretStr]:
    if kind is VenueKind.PAPER:
        return "", SecretStr("")
    if kind is VenueKind.REHEARSAL:
        keys = demo_keys(REHEARSAL_SEED)
        if market == "spot":  # the engine's spot client signs with no other
            return keys.ed25519_key, SecretStr(keys.ed25519_private_pem)
        return keys.hmac_key, SecretStr(keys.hmac_secret)
    key, secret = secrets().require()
    return key.get_secret_value(), secret


def check_venue(run: RunConfig, kind: VenueKind) -> None:
    """ConfigError for what a node does not do on any venue of this kind."""
    if market_of(run.instruments[0]) == "spot":
        check_spot(run, kind.value)
        if run.data.ticks:
            raise ConfigError("data.bar 1s: on spot nothing is proven on bars of a second; use 1m or longer")


def named_rehearsal(run: RunConfig) -> bool:
    """Whether the run names a rehearsal that runs already."""
    live = run.live
    return any(url is not None for url in (live.base_url_http, live.base_url_ws, live.base_url_ws_trading))


def is_there(run: RunConfig, kind: VenueKind) -> bool:
    """Whether there is a venue to trade on; a rehearsal that none names is made."""
    return kind is not VenueKind.REHEARSAL or named_rehearsal(run)
