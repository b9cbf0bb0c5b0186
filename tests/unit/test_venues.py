"""Where a node connects and with whose keys: whole sets of addresses, encrypted, or none."""

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.load import load_run
from configs.schema import RunConfig
from live.venues import VenueKind, find_venue
from tests.live_nodes import run_file

HTTP, WS, TRADING = "http://127.0.0.1:1", "ws://127.0.0.1:1/ws", "ws://127.0.0.1:1/ws-fapi/v1"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "a-key")
    monkeypatch.setenv("BINANCE_API_SECRET", "a-secret")


def run_at(folder: Path, **addresses: str) -> RunConfig:
    return load_run(run_file(folder), [f"live.base_url_{name}={url}" for name, url in addresses.items()])


@pytest.mark.parametrize(
    ("kind", "http"),
    [("live", "https://fapi.binance.com"), ("testnet", "https://demo-fapi.binance.com")],
)
def test_without_addresses_it_is_binance_itself(tmp_path: Path, kind: str, http: str) -> None:
    venue = find_venue(run_at(tmp_path), VenueKind(kind))
    assert (venue.http, venue.ws, venue.ws_trading) == (http, None, None)
    assert str(venue.environment).upper().endswith(kind.upper())
    assert "a-secret" not in repr(venue)


@pytest.mark.parametrize("kind", ["rehearsal", "testnet", "live"])
@pytest.mark.parametrize(
    "given", [{"http": HTTP}, {"ws": WS}, {"http": HTTP, "ws": WS}, {"ws_trading": TRADING}]
)
def test_a_part_of_the_addresses_is_refused(tmp_path: Path, kind: str, given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="give all of them or none"):
        find_venue(run_at(tmp_path, **given), VenueKind(kind))


def test_a_rehearsal_that_nobody_names_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which rehearsal"):
        find_venue(run_at(tmp_path), VenueKind.REHEARSAL)


def test_all_addresses_together_are_taken(tmp_path: Path) -> None:
    venue = find_venue(run_at(tmp_path, http=HTTP, ws=WS, ws_trading=TRADING), VenueKind.LIVE)
    assert (venue.http, venue.ws, venue.ws_trading) == (HTTP, WS, TRADING)


def test_keys_do_not_cross_a_network_in_clear(tmp_path: Path) -> None:
    for bad in ("http://example.com", "ftp://127.0.0.1", "127.0.0.1:80", "http://[::1"):
        with pytest.raises(ConfigError, match="live: "):
            find_venue(run_at(tmp_path, http=bad, ws=WS, ws_trading=TRADING), VenueKind.LIVE)


def test_the_testnet_is_never_the_real_market(tmp_path: Path) -> None:
    https, wss, trading = "https://demo-fapi.binance.com", "wss://fstream.binancefuture.com", "wss://a.test"
    assert find_venue(run_at(tmp_path, http=https, ws=wss, ws_trading=trading), VenueKind.TESTNET)
    for real in (
        {"http": "https://fapi.binance.com", "ws": wss, "ws_trading": trading},
        {"http": https, "ws": "wss://fstream.binance.com", "ws_trading": trading},
        {"http": https, "ws": wss, "ws_trading": "wss://WS-FAPI.binance.com/ws-fapi/v1"},
    ):
        with pytest.raises(ConfigError, match="--venue live trades there"):
            find_venue(run_at(tmp_path, **real), VenueKind.TESTNET)
        assert find_venue(run_at(tmp_path, **real), VenueKind.LIVE)


def test_paper_has_no_keys_and_wants_only_the_markets_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET"):
        monkeypatch.delenv(name)
    venue = find_venue(run_at(tmp_path), VenueKind.PAPER)
    assert (venue.http, venue.key, venue.is_paper) == ("https://fapi.binance.com", "", True)
    assert find_venue(run_at(tmp_path, http=HTTP, ws=WS), VenueKind.PAPER).http == HTTP
    with pytest.raises(ConfigError, match="give all of them or none"):
        find_venue(run_at(tmp_path, http=HTTP), VenueKind.PAPER)
    with pytest.raises(ConfigError, match="BINANCE_API_KEY is not set"):
        find_venue(run_at(tmp_path), VenueKind.LIVE)
