"""Keys, signatures and the receive window, each against signatures made apart from the code under test."""

import pytest

from configs.errors import ConfigError
from live.rehearsal.errors import VenueError
from live.rehearsal.serving.auth import ApiKey, Keyring, check_time, payload_of, signed_text
from tests.rehearsal_server import ED_KEY, HMAC_KEY, READ_KEY, ed25519_pair, keys, sign_ed25519

# The example of Binance's documentation on signed endpoints.
DOCUMENTED_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
DOCUMENTED_KEY = "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83"
DOCUMENTED_PAYLOAD = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
    "&timestamp=1591702613943"
)
DOCUMENTED_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"


def code_of(call: object, *args: object) -> int:
    with pytest.raises(VenueError) as refused:
        call(*args)  # type: ignore[operator]
    return refused.value.code


def test_the_documented_example_is_valid_and_one_changed_digit_is_not() -> None:
    key = ApiKey(key=DOCUMENTED_KEY, secret=DOCUMENTED_SECRET)
    ring = Keyring.of(key)
    ring.verify(key, DOCUMENTED_PAYLOAD, DOCUMENTED_SIGNATURE)
    assert (
        code_of(ring.verify, key, DOCUMENTED_PAYLOAD.replace("9000", "9001"), DOCUMENTED_SIGNATURE) == -1022
    )
    assert code_of(ring.verify, key, DOCUMENTED_PAYLOAD, DOCUMENTED_SIGNATURE[:-1] + "8") == -1022


def test_an_ed25519_signature_is_checked_with_the_public_key() -> None:
    ring = Keyring.of(*keys())
    key = ring.find(ED_KEY)
    ring.verify(key, "a=1&b=2", sign_ed25519("a=1&b=2"))
    assert code_of(ring.verify, key, "a=1&b=3", sign_ed25519("a=1&b=2")) == -1022
    assert code_of(ring.verify, key, "a=1&b=2", "not base64!") == -1022


@pytest.mark.parametrize(
    ("key", "code"),
    [(None, -2014), ("", -2014), ("short", -2014), ("with spaces in it", -2014), ("nobodysKey1234", -2015)],
)
def test_keys_without_shape_and_unknown_keys_are_told_apart(key: str | None, code: int) -> None:
    assert code_of(Keyring.of(*keys()).find, key) == code


def test_a_key_is_found_with_its_rights() -> None:
    ring = Keyring.of(*keys())
    assert ring.find(HMAC_KEY).may_trade
    assert not ring.find(READ_KEY).may_trade


@pytest.mark.parametrize(
    ("query", "body", "payload"),
    [
        ("a=1&b=2&signature=xy", "", "a=1&b=2"),
        ("signature=xy&a=1", "", "&a=1"),
        ("a=1", "b=2&signature=xy", "a=1b=2"),
        ("a=1&signature=xy", "b=2", "a=1b=2"),
    ],
)
def test_the_payload_is_everything_but_the_signature_as_it_was_sent(
    query: str, body: str, payload: str
) -> None:
    assert payload_of(query, body) == (payload, "xy")


def test_base64_signatures_survive_with_and_without_percent_encoding() -> None:
    assert payload_of("a=1&signature=x%2By%2Fz%3D%3D", "")[1] == "x+y/z=="
    assert payload_of("a=1&signature=x+y/z==", "")[1] == "x+y/z=="
    assert payload_of("a=1", "") == ("a=1", None)


def test_the_websocket_text_is_sorted_and_without_the_signature() -> None:
    plain, encoded = signed_text({"b": "x y", "apiKey": "k", "signature": "s", "flag": False, "n": 5})
    assert plain == "apiKey=k&b=x y&flag=false&n=5"
    assert encoded == "apiKey=k&b=x+y&flag=false&n=5"


@pytest.mark.parametrize(
    ("timestamp", "window", "code"),
    [
        (10_000, None, 0),
        (5_000, None, 0),
        (4_999, None, -1021),
        (9_000, 1_000, 0),
        (8_999, 1_000, -1021),
        (10_999, None, 0),
        (11_000, None, -1021),
        (10_000, 60_000, 0),
        (10_000, 60_001, -1131),
    ],
)
def test_the_receive_window_is_inclusive_behind_and_a_second_ahead(
    timestamp: int, window: int | None, code: int
) -> None:
    if code:
        assert code_of(check_time, timestamp, window, 10_000) == code
    else:
        check_time(timestamp, window, 10_000)


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "abc", "secret": "s"},
        {"key": HMAC_KEY},
        {"key": HMAC_KEY, "secret": "s", "public_pem": "p"},
    ],
)
def test_keys_that_cannot_be_used_are_refused_when_they_are_made(fields: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        ApiKey(**fields)


def test_a_private_key_or_rubbish_is_not_a_public_key() -> None:
    for pem in (ed25519_pair()[0], "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(ConfigError, match=ED_KEY):
            Keyring.of(ApiKey(key=ED_KEY, public_pem=pem))


def test_a_secret_is_not_in_the_keys_text() -> None:
    assert "hidden-secret" not in repr(ApiKey(key=HMAC_KEY, secret="hidden-secret"))
