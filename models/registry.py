"""Where bundles live: `<root>/<SYMBOL>/<kind>/<version>/`, beside them the files `champion` and `candidate`.

Either names a version. A bundle is written under a passing name and renamed when it is whole; a pointer is
replaced in one step. Whoever is killed in between leaves the registry as it was.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from configs.errors import ModelError
from models import bundle

__all__ = ["Registry", "Role"]

Role = Literal["champion", "candidate"]


class Registry:
    """The bundles below one root folder, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, instrument: str, kind: str) -> Path:
        """Where the versions of one kind for one instrument lie (BTCUSDT-PERP.BINANCE under BTCUSDT-PERP)."""
        return self.root / instrument.partition(".")[0] / kind

    def versions(self, instrument: str, kind: str) -> list[Path]:
        """The bundles' folders by name; what a killed process left behind is not among them."""
        folder = self.folder(instrument, kind)
        if not folder.is_dir():
            return []
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))

    def find(self, instrument: str, kind: str, training_key: str) -> Path | None:
        """The bundle made by exactly the training that `training_key` stands for, or None.

        Every bundle looked at is verified: an altered one raises ModelError, wherever it is, for what it
        says of itself cannot be trusted.
        """
        for folder in self.versions(instrument, kind):
            files = bundle.read_bundle(folder)
            metadata = bundle.read_json(files, bundle.METADATA, str(folder))
            if metadata.get("training_key") == training_key and metadata.get("instrument") == instrument:
                return folder
        return None

    def store(self, files: Mapping[str, bytes], instrument: str, kind: str) -> Path:
        """Write a bundle (`bundle.pack`) and return its folder; the same bundle twice is written once."""
        target = self.folder(instrument, kind) / bundle.version_of(files)
        if target.exists():
            bundle.read_bundle(target)
            return target
        partial = target.with_name(f".{target.name}-{os.getpid()}")
        try:
            partial.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (partial / name).write_bytes(content)
            partial.rename(target)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            if target.exists():  # another process has just stored the same bundle
                bundle.read_bundle(target)
                return target
            raise
        return target

    def point(self, role: Role, folder: Path) -> None:
        """Make `champion` or `candidate` name the bundle at `folder`, in one step."""
        bundle.read_bundle(folder)
        pointer = folder.parent / role
        partial = folder.parent / f".{role}-{os.getpid()}"
        partial.write_text(folder.name + "\n", encoding="utf-8")
        partial.replace(pointer)

    def pointed(self, role: Role, instrument: str, kind: str) -> Path | None:
        """The bundle that `champion` or `candidate` names, None where there is no such file.

        Raises ModelError when it names a bundle that is not there.
        """
        pointer = self.folder(instrument, kind) / role
        if not pointer.is_file():
            return None
        folder = pointer.parent / pointer.read_text(encoding="utf-8").strip()
        if folder == pointer.parent or not folder.is_dir():
            raise ModelError(
                f"{pointer} names a bundle that is not there; write one of the versions beside it"
            )
        return folder
