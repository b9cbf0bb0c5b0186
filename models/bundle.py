"""A model bundle on disk: four files, each under the hash the manifest gives it.

    model.onnx            the graph (models.onnx_graph)
    metadata.json         where it comes from, what it predicts, how well, and rows to check it with
    feature_schema.json   the features it wants, with the hash of their definitions
    MANIFEST.sha256       SHA-256 of the other three, in the format of `sha256sum`

The SHA-256 of the manifest is the model's hash, its first 12 digits the version. Nothing in a bundle
depends on when, where or with how many threads it was made.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import ModelError

__all__ = [
    "FILES",
    "INPUT",
    "MANIFEST",
    "METADATA",
    "MODEL",
    "OUTPUT",
    "SCHEMA",
    "canonical_json",
    "model_hash",
    "pack",
    "read_bundle",
    "read_json",
    "verify_bundle",
    "version_of",
]

MODEL, METADATA, SCHEMA, MANIFEST = "model.onnx", "metadata.json", "feature_schema.json", "MANIFEST.sha256"
FILES = (SCHEMA, METADATA, MODEL)  # in the manifest's order
INPUT, OUTPUT = "x", "p"  # the graph's own names
_VERSION_DIGITS = 12
_ADVICE = "train again, and delete this folder if it is a damaged bundle"


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, the same for the same values; numbers that are not finite become null."""
    return (json.dumps(_finite(value), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def pack(model: bytes, metadata: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, bytes]:
    """The bundle's files by name, manifest included."""
    files = {SCHEMA: canonical_json(schema), METADATA: canonical_json(metadata), MODEL: model}
    return files | {MANIFEST: _manifest(files)}


def _manifest(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in FILES).encode()


def model_hash(files: Mapping[str, bytes]) -> str:
    """The hash (64 hex digits) that stands for the whole bundle."""
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def version_of(files: Mapping[str, bytes]) -> str:
    """The name of the bundle's folder."""
    return model_hash(files)[:_VERSION_DIGITS]


def read_bundle(folder: Path) -> dict[str, bytes]:
    """Read a bundle's files and check them; ModelError says what is missing or altered."""
    if not folder.is_dir():
        raise ModelError(f"no model bundle at {folder}; train one with models/train.py or correct the path")
    files = {}
    for name in (*FILES, MANIFEST):
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            reason = f"{name} cannot be read ({error.strerror})"
            raise ModelError(f"model bundle {folder}: {reason}; {_ADVICE}") from error
    verify_bundle(files, str(folder))
    return files


def verify_bundle(files: Mapping[str, bytes], where: str) -> None:
    """ModelError unless every file has the hash that the manifest gives."""
    if files[MANIFEST] == _manifest(files):
        return
    text = files[MANIFEST].decode("utf-8", errors="replace")
    for name in FILES:
        if f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" not in text:
            reason = f"{name} does not have the hash that {MANIFEST} gives, one of them was altered"
            raise ModelError(f"model bundle {where}: {reason}; {_ADVICE}")
    raise ModelError(f"model bundle {where}: {MANIFEST} was altered; {_ADVICE}")


def read_json(files: Mapping[str, bytes], name: str, where: str) -> dict[str, Any]:
    """One of the bundle's JSON files as a dict; ModelError when it is none."""
    try:
        value = json.loads(files[name])
    except ValueError as error:
        raise ModelError(f"model bundle {where}: {name} is no JSON; train the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"model bundle {where}: {name} holds no object; train the model again")
    return value
