"""How a request is signed: HMAC-SHA256 with a plain secret, Ed25519 with a PEM."""

import base64
import hashlib
import hmac

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from configs.errors import ConfigError

__all__ = ["Signer"]


class Signer:
    """Signs with one secret; ConfigError for a PEM that holds no Ed25519 key."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._private = _private_key(secret) if "-----BEGIN" in secret else None

    def __call__(self, query: str) -> str:
        """The signature of a query as it will be sent: hexadecimal, or base64 for Ed25519."""
        if self._private is None:
            return hmac.new(self._secret, query.encode(), hashlib.sha256).hexdigest()
        return base64.b64encode(self._private.sign(query.encode())).decode()


def _private_key(pem: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("BINANCE_API_SECRET: the PEM cannot be read as a private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError("BINANCE_API_SECRET: the PEM is no Ed25519 key; RSA is not supported, make another")
    return key
