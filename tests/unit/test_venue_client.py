"""The independent REST client against the rehearsal server: signatures, types, limits, faults."""

import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from configs.errors import ConfigError
from live.rehearsal.ports import RequestFault
from live.rehearsal.serving.limits import Limits
from live.rehearsal.serving.server import ServerThread
from live.venue.client import ClientLimits, VenueClient
from live.venue.errors import VenueRequestError, classify
from live.venue.signing import Signer
from tests.rehearsal_server import (
    API,
    ED_KEY,
    HMAC_KEY,
    READ_KEY,
    SECRET,
    FixedClock,
    Script,
    Skewed,
    ed25519_pair,
    kline,
    make_server,
    orders_of,
    running,
    sign_ed25519,
    sign_hmac,
)

D = Decimal
QUICK = ClientLimits(connect_secs=10, read_secs=10, request_secs=20, pause_secs=0.01)
ALGOS = API + "openAlgoOrders"


def client_of(
    thread: ServerThread, key: str = HMAC_KEY, secret: str = SECRET, limits: ClientLimits = QUICK
) -> VenueClient:
    return VenueClient(thread.server.http_url, (SecretStr(key), SecretStr(secret)), limits)


@pytest.fixture
def client(thread: ServerThread) -> Iterator[VenueClient]:
    with client_of(thread) as made:
        yield made


def refused(error: pytest.ExceptionInfo[VenueRequestError]) -> tuple[str, int | None]:
    assert "\n" not in str(error.value)
    return error.value.kind, error.value.code


# -- who asks ------------------------------------------------------------------------------------------------


def test_both_kinds_of_key_sign_what_the_venue_accepts(thread: ServerThread) -> None:
    with client_of(thread) as plain, client_of(thread, ED_KEY, ed25519_pair()[0]) as signing:
        assert plain.balances() == signing.balances()
        assert plain.balances().of("USDT").wallet_balance == D(10_000)
        assert plain.balances().of("BNB").wallet_balance == 0


def test_a_signature_is_the_one_of_the_documentation() -> None:
    query = "symbol=BTCUSDT&timestamp=1"
    assert Signer(SECRET)(query) == sign_hmac(query)
    assert Signer(ed25519_pair()[0])(query) == sign_ed25519(query)


def test_a_pem_that_is_no_ed25519_key_is_refused_in_one_line() -> None:
    pem = generate_private_key(65_537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigError, match="no Ed25519 key"):
        Signer(pem.decode())
    with pytest.raises(ConfigError, match="cannot be read"):
        Signer("-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----")


@pytest.mark.parametrize("key", ["aKeyOfSomebody\n", " aKeyOfSomebody", "aKeyOfSomebod\u0443"])
def test_a_key_that_fits_in_no_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="BINANCE_API_KEY") as error:
        VenueClient("http://127.0.0.1:1", (SecretStr(key), SecretStr(SECRET)))
    assert "aKeyOf" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [(HMAC_KEY, "another-secret", -1022), ("unknownKey0123456789", SECRET, -2015), ("x", SECRET, -2014)],
)
def test_a_wrong_key_is_an_account_error(thread: ServerThread, key: str, secret: str, code: int) -> None:
    with client_of(thread, key, secret) as client, pytest.raises(VenueRequestError) as error:
        client.account_config()
    assert refused(error) == ("account", code)
    assert not error.value.maybe_done


def test_without_keys_only_public_data_can_be_asked_for(thread: ServerThread) -> None:
    with VenueClient(thread.server.http_url) as client:
        assert not client.has_keys
        assert client.exchange_info().symbols["BTCUSDT"].tick == D("0.1")
        with pytest.raises(ConfigError, match="without keys"):
            client.positions()


def test_a_read_only_key_may_not_try_an_order_and_nothing_is_entered(thread: ServerThread) -> None:
    with client_of(thread, READ_KEY) as reader, client_of(thread) as trader:
        with pytest.raises(VenueRequestError) as error:
            reader.try_order("BTCUSDT", "BUY", D("0.01"), D("50000"))
        trader.try_order("BTCUSDT", "BUY", D("0.01"), D("50000"))
    assert refused(error) == ("account", -2015)
    assert orders_of(thread) == 0


# -- what it reads -------------------------------------------------------------------------------------------


def test_rules_settings_and_bars_come_typed(thread: ServerThread, client: VenueClient) -> None:
    thread.call(lambda: thread.server.load([kline(0), kline(1), kline(2)]))
    rules = client.exchange_info()
    assert rules.weight_a_minute == 2_400
    btc = rules.symbols["BTCUSDT"]
    assert (btc.status, btc.min_notional, btc.market_max_quantity) == ("TRADING", D(20), D(120))
    assert client.symbol_config("BTCUSDT").leverage == 20
    assert client.symbol_config("BTCUSDT").margin_type == "CROSSED"
    assert not client.account_config().dual_side_position
    assert client.mark_price("BTCUSDT") == D(60_000)
    bars = client.klines("BTCUSDT", "1m")
    assert [bar.close for bar in bars] == [D(60_010)] * 3
    assert bars[1].open_ms - bars[0].open_ms == 60_000
    later = client.klines("BTCUSDT", "1m", start_ms=bars[1].open_ms, limit=1)
    assert later == bars[1:2]


def test_a_position_is_opened_stopped_and_closed(thread: ServerThread, client: VenueClient) -> None:
    assert client.positions() == ()
    buy(thread)
    (position,) = client.positions()
    assert (position.symbol, position.amount, position.exit_side) == ("BTCUSDT", D("0.01"), "SELL")
    placed = client.place_close_stop("BTCUSDT", "SELL", D(59_000), "mine-1")
    (stop,) = client.open_algo_orders("BTCUSDT")
    assert (stop.algo_id, stop.trigger_price, stop.close_position) == (placed.algo_id, D(59_000), True)
    with pytest.raises(VenueRequestError) as error:
        client.place_close_stop("BTCUSDT", "SELL", D(59_000), "mine-2")
    assert refused(error) == ("logic", -4130)
    client.cancel_algo("BTCUSDT", stop.algo_id)
    client.reduce_at_market("BTCUSDT", "SELL", D("0.01"), "mine-3")
    assert client.positions() == client.open_algo_orders() == ()


def test_orders_in_the_book_are_listed_and_cancelled(thread: ServerThread, client: VenueClient) -> None:
    for price in ("58000", "58001", "58002"):
        place(thread, type="LIMIT", timeInForce="GTC", quantity="0.01", price=price)
    first = client.open_orders("BTCUSDT")[0]
    client.cancel("BTCUSDT", first.order_id)
    assert len(client.open_orders()) == 2
    client.cancel_all("BTCUSDT")
    assert client.open_orders("BTCUSDT") == ()
    with pytest.raises(VenueRequestError) as error:
        client.cancel("BTCUSDT", first.order_id)
    assert refused(error) == ("logic", -2011)


def test_fills_come_after_a_number_or_a_time_with_their_fees(
    thread: ServerThread, client: VenueClient
) -> None:
    buy(thread, "0.02")
    client.reduce_at_market("BTCUSDT", "SELL", D("0.015"), "part")
    client.reduce_at_market("BTCUSDT", "SELL", D("0.005"), "rest")
    fills = client.fills("BTCUSDT")
    assert [fill.signed for fill in fills] == [D("0.02"), D("-0.015"), D("-0.005")]
    assert {fill.commission_asset for fill in fills} == {"USDT"}
    assert all(fill.commission == fill.price * fill.quantity * D("0.0005") for fill in fills)
    assert client.fills("BTCUSDT", after=fills[0].id) == fills[1:]
    assert client.fills("BTCUSDT", since_ns=fills[0].time * 1_000_000) == fills
    assert client.fills("BTCUSDT", since_ns=(fills[-1].time + 1) * 1_000_000) == ()


def test_leverage_and_margin_type_are_set_and_what_is_so_already_is_no_error(client: VenueClient) -> None:
    client.set_leverage("BTCUSDT", 5)
    client.set_margin_type("BTCUSDT", "CROSSED")
    assert client.symbol_config("BTCUSDT").leverage == 5
    with pytest.raises(VenueRequestError) as error:
        client.set_leverage("BTCUSDT", 500)
    assert refused(error) == ("logic", -4028)


# -- clocks --------------------------------------------------------------------------------------------------


def test_the_clocks_difference_is_measured(client: VenueClient, clock: Skewed) -> None:
    clock.skew_ms = 700
    reading = client.clock()
    assert reading.offset_ms == pytest.approx(700, abs=reading.round_trip_ms / 2 + 5)
    assert 0 < reading.round_trip_ms < 10_000


def test_an_answer_without_a_time_is_an_error_of_the_venue(thread: ServerThread, faults: Script) -> None:
    faults.requests["/fapi/v1/time"] = RequestFault("never", "canned", status=200, body="{}")
    once = replace(QUICK, tries=1)
    with client_of(thread, limits=once) as client, pytest.raises(VenueRequestError) as error:
        client.clock()
    assert refused(error) == ("venue", None)


@pytest.mark.parametrize("skew_ms", [-30_000, 30_000])
def test_a_timestamp_that_is_refused_is_set_right_by_the_venues_clock(
    client: VenueClient, clock: Skewed, skew_ms: int
) -> None:
    clock.skew_ms = skew_ms
    assert client.positions() == ()
    assert client.http.clock_offset_ms == pytest.approx(skew_ms, abs=5_000)


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_a_read_is_repeated_and_what_acts_is_not(
    thread: ServerThread, client: VenueClient, faults: Script
) -> None:
    faults.requests[API + "exchangeInfo"] = RequestFault("never", "drop")
    assert client.exchange_info().symbols
    buy(thread)
    faults.requests[API + "algoOrder"] = RequestFault("now", "drop")  # accepted, the answer lost
    with pytest.raises(VenueRequestError) as error:
        client.place_close_stop("BTCUSDT", "SELL", D(59_000), "lost-1")
    assert refused(error) == ("network", None)
    assert error.value.maybe_done
    assert [order.client_algo_id for order in client.open_algo_orders("BTCUSDT")] == ["lost-1"]


@pytest.mark.parametrize(
    ("fault", "kind", "code", "words"),
    [
        (RequestFault("never", "canned", status=502, body="<html>"), "venue", None, "answered 502"),
        (RequestFault("never", "canned", status=403, body="<html>"), "venue", None, "answered 403"),
        (RequestFault("never", "canned", status=200, body="<html>"), "venue", None, "not its JSON"),
        (RequestFault("never", "canned", status=200, body='{"a": 1}'), "venue", None, "not its JSON"),
        (
            RequestFault("now", "canned", status=408, body='{"code": -1007, "msg": "Timeout."}'),
            "venue",
            -1007,
            "-1007 Timeout.",
        ),
        (RequestFault("never", "hang"), "network", None, "no answer in time"),
        (RequestFault("never", "drop"), "network", None, "broke off"),
    ],
)
def test_every_failure_is_one_line_of_its_kind(
    thread: ServerThread, faults: Script, fault: RequestFault, kind: str, code: int | None, words: str
) -> None:
    once = replace(QUICK, read_secs=0.2 if fault.answer == "hang" else 10, tries=1)
    faults.requests[ALGOS] = fault
    with client_of(thread, limits=once) as client, pytest.raises(VenueRequestError, match=words) as error:
        client.open_algo_orders()
    assert refused(error) == (kind, code)
    assert str(error.value).startswith(f"{kind}: GET {ALGOS}: ")


def test_a_venue_that_is_not_there_is_a_network_error_and_nothing_was_sent() -> None:
    keys = SecretStr(HMAC_KEY), SecretStr(SECRET)
    with VenueClient("http://127.0.0.1:9", keys, QUICK) as client, pytest.raises(VenueRequestError) as error:
        client.cancel_all("BTCUSDT")
    assert refused(error) == ("network", None)
    assert not error.value.maybe_done


def test_an_endless_answer_ends_with_the_deadline(thread: ServerThread, faults: Script) -> None:
    faults.requests[ALGOS] = RequestFault("now", "real", answer_delay_ms=5_000)
    slow = ClientLimits(read_secs=0.2, request_secs=0.5, tries=1)
    began = time.monotonic()
    with client_of(thread, limits=slow) as client, pytest.raises(VenueRequestError):
        client.open_algo_orders()
    assert time.monotonic() - began < 4.5


# -- rate limits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [418, 429])
def test_after_a_refusal_nothing_is_sent_until_the_venue_allows_it(
    client: VenueClient, faults: Script, status: int
) -> None:
    body, wait = '{"code": -1003, "msg": "Too many requests."}', {"Retry-After": "30"}
    faults.requests[ALGOS] = RequestFault("never", "canned", status=status, body=body, headers=wait)
    with pytest.raises(VenueRequestError) as error:
        client.open_algo_orders()
    assert refused(error) == ("venue", -1003)
    assert error.value.retry_after_secs == 30
    assert 25 < client.http.held_secs <= 30
    for ask in (client.positions, lambda: client.cancel_all("BTCUSDT")):
        with pytest.raises(VenueRequestError, match="asked to be left alone") as held:
            ask()
        assert not held.value.maybe_done


def test_reads_stop_at_their_share_of_the_weight_and_orders_go_on() -> None:
    clock = FixedClock()  # the venue's count begins anew with the minute
    keys = SecretStr(HMAC_KEY), SecretStr(SECRET)
    with (
        running(make_server(clock=clock)) as thread,
        VenueClient(
            thread.server.http_url, keys, ClientLimits(read_weight=20), wall=lambda: clock.now_ms() / 1000
        ) as client,
    ):
        for _ in range(5):
            client.positions()  # 5 each
        with pytest.raises(VenueRequestError, match="kept for orders") as error:
            client.positions()
        assert error.value.kind == "venue"
        client.cancel_all("BTCUSDT")
        assert client.http.used_weight == 26


def test_the_venues_own_limit_is_reported_with_its_wait(faults: Script) -> None:
    server = make_server(faults=faults, limits=Limits(weight_a_minute=3))
    with running(server) as thread, client_of(thread) as client, pytest.raises(VenueRequestError) as error:
        client.positions()
    assert refused(error) == ("venue", -1003)
    assert 0 < error.value.retry_after_secs <= 60


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (-2019, 400, "account"),
        (-2015, 401, "account"),
        (-4061, 400, "account"),
        (-1003, 429, "venue"),
        (-1008, 503, "venue"),
        (-4140, 400, "venue"),
        (-2021, 400, "logic"),
        (-1111, 400, "logic"),
        (-1021, 400, "logic"),
        (-99, 400, "logic"),
        (-99, 500, "venue"),
        (None, 401, "account"),
        (None, None, "network"),
    ],
)
def test_codes_have_their_kind(code: int | None, status: int | None, kind: str) -> None:
    assert classify(code, status) == kind


def buy(thread: ServerThread, quantity: str = "0.01") -> None:
    place(thread, type="MARKET", quantity=quantity)


def place(thread: ServerThread, **values: str) -> None:
    with client_of(thread) as client:
        client.http.act("POST", API + "order", {"symbol": "BTCUSDT", "side": "BUY"} | values)
