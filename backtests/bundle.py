"""The result bundle on disk: made beside its place and renamed, so a bundle is whole or not there."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from configs.errors import ConfigError
from configs.load import PROJECT_ROOT, config_hash, dump_config
from configs.schema import RunConfig

__all__ = ["ResultTables", "check_destination", "code_hash", "publish", "write_bundle"]

_PACKAGES = ("configs", "catalog", "models", "actors", "strategies", "backtests")
_LIBRARIES = (
    "nautilus_trader",
    "numba",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "xgboost",
)
_MARK = "manifest.json"


@dataclass(frozen=True, slots=True)
class ResultTables:
    """The bundle's Parquet tables; column lists are in `backtests.ledger` and `actors.audit`."""

    orders: pd.DataFrame
    fills: pd.DataFrame
    positions: pd.DataFrame
    equity: pd.DataFrame
    decisions: pd.DataFrame
    model_test: pd.DataFrame

    def named(self) -> dict[str, pd.DataFrame]:
        """The tables by file stem."""
        return {name: getattr(self, name) for name in self.__slots__}


def check_destination(path: Path) -> None:
    """ConfigError when `path` holds something that is not a result bundle: it would be replaced.

    ConfigError, too, when no folder can be made there. What a killed run left beside it is mended first.
    """
    _recover(path)
    here = Path.cwd()
    if path.resolve() in (here, *here.parents):
        raise ConfigError(f"{path}: the command runs in it and it would be replaced; choose another --out")
    if path.is_dir():
        if any(path.iterdir()) and not (path / _MARK).is_file():
            raise ConfigError(f"{path}: is not a result bundle and not empty; choose another --out")
    elif path.exists():
        raise ConfigError(f"{path}: is a file; choose another --out")
    else:
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise ConfigError(f"{path}: no folder can be made in {above}; choose another --out")


def _recover(path: Path) -> None:
    """Mend what a killed process left beside `path`: the older bundle comes back, unfinished folders go."""
    for left in path.parent.glob(f".{path.name}.*"):
        pid, _, kind = left.name[len(path.name) + 2 :].partition(".")
        if kind not in {"tmp", "old"} or not pid.isdecimal() or _runs(int(pid)):
            continue
        if kind == "old" and not path.exists():
            left.rename(path)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def code_hash(root: Path = PROJECT_ROOT) -> str:
    """SHA-256 over the sources of every package that can change a result."""
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for source in sorted((root / package).rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def write_bundle(
    path: Path,
    *,
    run: RunConfig,
    summary: Mapping[str, Any],
    tables: ResultTables,
    model_hashes: Mapping[str, str],
) -> Path:
    """Write everything but the report into a folder beside `path`; `publish` it once it is complete.

    Returns that folder. Raises OSError (a full disk, say) with nothing left behind.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for name, table in tables.named().items():
            table.to_parquet(folder / f"{name}.parquet", index=False)
        (folder / "config.yaml").write_text(dump_config(run))
        _write_json(folder / "summary.json", summary)
        _write_json(folder / _MARK, _manifest(run, summary, model_hashes))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def publish(folder: Path, path: Path) -> None:
    """Put a finished folder in its place; an older bundle goes only when the new one is there.

    Raises OSError with the older bundle back in its place.
    """
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        path.rename(old)
    try:
        folder.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _manifest(run: RunConfig, summary: Mapping[str, Any], model_hashes: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": run.name,
        "seed": run.seed,
        "data_hash": summary["data_hash"],
        "config_hash": config_hash(run),
        "model_hashes": dict(model_hashes),
        "decisions_hash": summary["decisions_hash"],
        "code_hash": code_hash(),
        "versions": {
            "sextant": importlib.metadata.version("sextant"),
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }


def _write_json(path: Path, payload: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(payload, indent=2, allow_nan=False) + "\n")
