"""Compiled numba code on disk: built once, published whole, verified before every use.

numba's own cache does not notice an edit in another file than the cached function's and trusts whatever
bytes it finds. Here a generated source gets a folder named by everything its machine code depends on: its
own text, the files it calls into, the versions of Python, numpy and numba, and the processor. The folder is
filled under another name, gets a list of checksums and is renamed into place: several processes may build at
once, the first one wins, and nobody ever sees half of it. A folder that does not match its checksums is
removed and built again.

numba stores its index with pickle, so the folder is as trusted as the source tree it lies in. Where the
project's folder cannot be written, a folder of the same user's (mode 0700) below the system's temporary
folder serves.
"""

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib.abc import ExecutionLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
from numba.core.registry import cpu_target

__all__ = ["KERNEL_ROOT", "load_generated"]

KERNEL_ROOT = Path(__file__).resolve().parents[1] / "artifacts" / "kernels"
SOURCE = "kernel.py"
CHECKSUMS = "CHECKSUMS.json"
KEPT = 8
ABANDONED_SECS = 3600.0


def load_generated(
    name: str, source: str, depends_on: Sequence[Path], root: Path = KERNEL_ROOT
) -> ModuleType:
    """The module of `source`, compiled at import, from the folder of compiled code or built into it.

    Parameters
    ----------
    name
        Stem of the folder's and the module's name.
    source
        Python text whose functions carry explicit signatures and `cache=True`, so that importing it compiles
        it.
    depends_on
        Files whose functions `source` calls; an edit in any of them makes another folder.
    root
        Where the folders lie; when it cannot be written, a private temporary folder is used, and when that
        fails too the code is compiled for this process alone.
    """
    key = _key(source, depends_on)
    folder = f"{name}-{key}"
    module_name = f"sextant_{name}_{key}"
    for place in _places(root):
        target = place / folder
        try:
            if _verified(target, source):
                return _execute(module_name, target / SOURCE, source)
            return _build(target, module_name, source)
        except OSError:
            sys.modules.pop(module_name, None)
    return _execute(module_name, Path(SOURCE), source.replace("cache=True", "cache=False"))


def _key(source: str, depends_on: Sequence[Path]) -> str:
    """A name for everything the machine code depends on."""
    target = cpu_target.target_context.codegen().magic_tuple()
    jit = "plain" if numba.config.DISABLE_JIT else "compiled"
    parts = [sys.version, np.__version__, numba.__version__, repr(target), jit, source]
    parts += [path.read_text(encoding="utf-8") for path in depends_on]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()[:16]


def _places(root: Path) -> Iterator[Path]:
    """The folders to try, in order."""
    yield root
    user = os.getuid() if hasattr(os, "getuid") else 0
    private = Path(tempfile.gettempdir()) / f"sextant-kernels-{user}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        status = private.lstat()
    except OSError:
        return
    if stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o022:
        yield private
    else:
        yield Path(tempfile.mkdtemp(prefix="sextant-kernels-"))


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _verified(folder: Path, source: str) -> bool:
    """Whether `folder` holds exactly what was published for `source`; one that does not is removed."""
    if not folder.is_dir():
        return False
    try:
        listed = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        sound = listed == _checksums(folder) and (folder / SOURCE).read_text(encoding="utf-8") == source
    except (OSError, ValueError):
        sound = False
    if not sound:
        _discard(folder)
    return sound


def _discard(folder: Path) -> None:
    """Remove `folder` so that nobody sees half of it; another process may be doing the same."""
    doomed = folder.with_name(f".discarded-{uuid.uuid4().hex}")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _build(target: Path, module_name: str, source: str) -> ModuleType:
    """Compile in a folder of our own and rename it to `target`, unless somebody was faster."""
    work = target.with_name(f".building-{uuid.uuid4().hex}")
    work.mkdir(parents=True)
    try:
        path = work / SOURCE
        path.write_text(source, encoding="utf-8")
        module = _execute(module_name, path, source)
        (work / CHECKSUMS).write_text(json.dumps(_checksums(work), indent=1), encoding="utf-8")
        if not target.exists():
            _publish(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _prune(target)
    return module


def _publish(work: Path, target: Path) -> None:
    try:
        work.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise another process has published the same code meanwhile
            raise


class _Source(ExecutionLoader):
    """Loads a module from text that also lies in a file; no bytecode file is left behind."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_source(self, fullname: str) -> str:
        return self._source


def _execute(module_name: str, path: Path, source: str) -> ModuleType:
    """Import `source` as `module_name`."""
    loader = _Source(path, source)
    spec = spec_from_loader(module_name, loader)
    if spec is None:
        raise ImportError(f"cannot load {path}")
    module = module_from_spec(spec)
    sys.modules[module_name] = module  # numba looks functions up by module name
    loader.exec_module(module)
    return module


def _prune(target: Path) -> None:
    """Forget all but the newest builds of this name and what killed processes have left."""
    stem = target.name.rpartition("-")[0]
    now = time.time()
    builds: list[tuple[float, Path]] = []
    for folder in target.parent.iterdir():
        try:
            age = now - folder.stat().st_mtime
        except FileNotFoundError:
            continue
        if folder.name.rpartition("-")[0] == stem:
            builds.append((age, folder))
        elif folder.name.startswith((".building-", ".discarded-")) and age > ABANDONED_SECS:
            shutil.rmtree(folder, ignore_errors=True)
    for _, folder in sorted(builds)[KEPT:]:
        if folder != target:
            _discard(folder)
