"""Who asks: API keys, signatures and the receive window, checked as the exchange checks them.

HMAC-SHA256 signatures are hexadecimal, Ed25519 ones base64, both over the parameters exactly as they were
sent, without the signature itself. The WebSocket API signs the parameters sorted by name.
Source: Binance's general information on signed endpoints and on request timing.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlencode

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from configs.errors import ConfigError
from live.rehearsal.errors import VenueError, refuse

__all__ = [
    "ApiKey",
    "Keyring",
    "check_time",
    "json_text",
    "payload_of",
    "signed_text",
]

DEFAULT_WINDOW_MS = 5_000
LONGEST_WINDOW_MS = 60_000
AHEAD_MS = 1_000
_SIGNATURE = re.compile(r"(?:^|&)signature=([^&]*)")
_KEY_SHAPE = re.compile(r"[A-Za-z0-9]{8,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key of an account: `secret` for HMAC, or `public_pem` for Ed25519 (exactly one of them).

    `may_trade` false makes a read-only key, `may_withdraw` what the key's permissions report.
    """

    key: str
    account: str = "main"
    secret: str = field(default="", repr=False)
    public_pem: str = ""
    may_trade: bool = True
    may_withdraw: bool = False

    def __post_init__(self) -> None:
        if not _KEY_SHAPE.fullmatch(self.key):
            raise ConfigError(f"API key {self.key!r}: 8 to 128 letters and digits are needed")
        if bool(self.secret) == bool(self.public_pem):
            raise ConfigError(f"API key {self.key}: give either a secret or a public key, not both or none")

    @property
    def is_ed25519(self) -> bool:
        """Whether it signs with Ed25519."""
        return bool(self.public_pem)


class Keyring:
    """The keys that the venue knows."""

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        self._keys = dict(keys)
        self._public = {key.key: _load(key) for key in keys.values() if key.is_ed25519}

    @classmethod
    def of(cls, *keys: ApiKey) -> "Keyring":
        """A ring of these keys."""
        return cls({key.key: key for key in keys})

    def find(self, key: str | None) -> ApiKey:
        """The key of a request; -2014 when it has no key's shape, -2015 when nobody has it."""
        if not key or not _KEY_SHAPE.fullmatch(key):
            raise refuse(-2014)
        known = self._keys.get(key)
        if known is None:
            raise refuse(-2015)
        return known

    def verify(self, key: ApiKey, payload: str, signature: str) -> None:
        """Nothing when `signature` is the key's for `payload`; -1022 when it is not."""
        if not (self._ed25519(key, payload, signature) if key.is_ed25519 else _hmac(key, payload, signature)):
            raise refuse(-1022)

    def _ed25519(self, key: ApiKey, payload: str, signature: str) -> bool:
        try:
            self._public[key.key].verify(base64.b64decode(signature, validate=True), payload.encode())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


def payload_of(query: str, body: str) -> tuple[str, str | None]:
    """What was signed and the signature (None if there is none): query and body, joined without a sign.

    >>> payload_of("symbol=BTCUSDT&timestamp=1&signature=ab", "")
    ('symbol=BTCUSDT&timestamp=1', 'ab')
    >>> payload_of("symbol=BTCUSDT", "timestamp=1&signature=a%2Fb")
    ('symbol=BTCUSDTtimestamp=1', 'a/b')
    """
    found = _SIGNATURE.search(query) or _SIGNATURE.search(body)
    signature = None if found is None else _unquote(found.group(1))
    return _SIGNATURE.sub("", query) + _SIGNATURE.sub("", body), signature


def signed_text(params: Mapping[str, Any]) -> tuple[str, str]:
    """The WebSocket API's signed text of `params`, plain and percent-encoded, sorted by name.

    >>> signed_text({"timestamp": 1, "apiKey": "k", "reduceOnly": True, "signature": "x"})[0]
    'apiKey=k&reduceOnly=true&timestamp=1'
    """
    pairs = [(name, json_text(params[name])) for name in sorted(params) if name != "signature"]
    return "&".join(f"{name}={value}" for name, value in pairs), urlencode(pairs)


def check_time(timestamp: int, window_ms: int | None, now_ms: int) -> None:
    """-1021 when `timestamp` is not within the receive window of the server's `now_ms`.

    >>> check_time(1_000, None, 5_900)
    >>> check_time(10_000, None, 9_001)
    """
    window = DEFAULT_WINDOW_MS if window_ms is None else window_ms
    if window > LONGEST_WINDOW_MS:
        raise VenueError(-1131, "recvWindow must be less than 60000.")
    if timestamp - now_ms >= AHEAD_MS:
        raise VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - timestamp > window:
        raise refuse(-1021)


def json_text(value: Any) -> str:
    """A JSON value as a parameter's text.

    >>> json_text(True), json_text(2.5), json_text("a")
    ('true', '2.5', 'a')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _hmac(key: ApiKey, payload: str, signature: str) -> bool:
    right = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(right.encode(), signature.lower().encode())


def _unquote(text: str) -> str:
    """A signature as it was before percent-encoding; a bare + is base64's, not a space."""
    return unquote_plus(text.replace("+", "%2B"))


def _load(key: ApiKey) -> Ed25519PublicKey:
    try:
        loaded = load_pem_public_key(key.public_pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"API key {key.key}: its public key is not a PEM: {error}") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise ConfigError(f"API key {key.key}: its public key is not an Ed25519 key")
    return loaded
