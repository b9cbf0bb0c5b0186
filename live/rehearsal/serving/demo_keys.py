"""The API keys that a rehearsal hands out: made of the seed, the same for the same seed, worth nothing."""

from hashlib import blake2b
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from live.rehearsal.serving.auth import ApiKey

__all__ = ["DemoKeys", "demo_keys"]


class DemoKeys(NamedTuple):
    """An HMAC key with its secret, and an Ed25519 key with its private key (PEM); both of account "main"."""

    hmac_key: str
    hmac_secret: str
    ed25519_key: str
    ed25519_private_pem: str
    ring: tuple[ApiKey, ...]


def demo_keys(seed: int) -> DemoKeys:
    """The keys of a seed."""
    private = Ed25519PrivateKey.from_private_bytes(_bytes(seed, "private"))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    plain, secret, signing = (_bytes(seed, name).hex() for name in ("hmac", "secret", "ed25519"))
    ring = (ApiKey(key=plain, secret=secret), ApiKey(key=signing, public_pem=public))
    return DemoKeys(plain, secret, signing, pem, ring)


def _bytes(seed: int, name: str) -> bytes:
    return blake2b(f"rehearsal|{seed}|{name}".encode(), digest_size=32).digest()
