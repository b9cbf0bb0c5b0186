"""Compiled code on disk: published whole, verified, rebuilt when damaged, shared between processes."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from models import kernel_cache

SOURCE = """
from numba import njit, types


@njit(types.int64(types.int64), cache=True)
def triple(x):
    return 3 * x
"""


def load(root: Path, source: str = SOURCE, depends_on: tuple[Path, ...] = ()) -> ModuleType:
    return kernel_cache.load_generated("triple", source, depends_on, root)


def folders(root: Path) -> list[Path]:
    return sorted(root.iterdir())


def compiled_anew(module: ModuleType) -> bool:
    return not module.triple.stats.cache_hits


def test_code_is_compiled_once_and_then_read(tmp_path: Path) -> None:
    first, second = load(tmp_path), load(tmp_path)
    assert (first.triple(14), second.triple(14)) == (42, 42)
    assert (compiled_anew(first), compiled_anew(second)) == (True, False)
    (folder,) = folders(tmp_path)
    listed = json.loads((folder / "CHECKSUMS.json").read_text())
    assert {Path(name).suffix for name in listed} == {".py", ".nbi", ".nbc"}


def test_an_edit_in_a_file_it_rests_on_compiles_anew(tmp_path: Path) -> None:
    below = tmp_path / "below.py"
    below.write_text("a = 1")
    load(tmp_path / "kernels", depends_on=(below,))
    below.write_text("a = 2")
    assert compiled_anew(load(tmp_path / "kernels", depends_on=(below,)))
    assert len(folders(tmp_path / "kernels")) == 2


@pytest.mark.parametrize("pattern", ["**/*.nbc", "**/*.nbi", "kernel.py", "CHECKSUMS.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_folder_is_built_again(tmp_path: Path, pattern: str, damage: str) -> None:
    load(tmp_path)
    (folder,) = folders(tmp_path)
    (victim,) = folder.glob(pattern)
    content = victim.read_bytes()
    if damage == "remove":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    assert load(tmp_path).triple(14) == 42
    assert folders(tmp_path) == [folder]
    assert not compiled_anew(load(tmp_path))


def test_a_root_that_cannot_be_written_gives_way_to_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert load(blocked).triple(14) == 42
    (private,) = temporary.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    assert not compiled_anew(load(blocked))


def test_a_private_folder_that_others_may_write_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    temporary = tmp_path / "temporary"
    (temporary / f"sextant-kernels-{os.getuid()}").mkdir(parents=True)
    (temporary / f"sextant-kernels-{os.getuid()}").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert load(blocked).triple(14) == 42
    assert not any((temporary / f"sextant-kernels-{os.getuid()}").iterdir())


def test_with_nowhere_to_write_the_code_is_compiled_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(blocked))
    assert load(blocked).triple(14) == 42
    assert blocked.read_text() == ""


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError):
        load(tmp_path, "def broken(:")
    assert folders(tmp_path) == []


def test_only_the_newest_builds_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    for i in range(kernel_cache.KEPT + 3):
        old = tmp_path / f"triple-{i:016x}"
        old.mkdir()
        os.utime(old, (i, i))
    (tmp_path / ".building-dead").mkdir()
    os.utime(tmp_path / ".building-dead", (0, 0))
    (tmp_path / ".building-alive").mkdir()
    (tmp_path / "other-0").mkdir()
    load(tmp_path)
    names = [folder.name for folder in folders(tmp_path)]
    assert sum(name.startswith("triple-") for name in names) == kernel_cache.KEPT
    assert f"triple-{kernel_cache.KEPT + 2:016x}" in names
    assert f"triple-{0:016x}" not in names
    assert {".building-alive", "other-0"} < set(names)
    assert ".building-dead" not in names


def test_several_processes_may_build_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.kernel_cache import load_generated\n"
        "source, root = sys.stdin.read(), Path(sys.argv[1])\n"
        "print(load_generated('triple', source, (), root).triple(14))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        # All three wait here for their source, so that they build together.
        assert process.stdin is not None
        process.stdin.write(SOURCE)
        process.stdin.flush()
    answers = [process.communicate(timeout=220) for process in running]
    assert answers == [("42\n", "")] * 3
    (folder,) = folders(tmp_path)
    assert folder.name.startswith("triple-")
    assert not compiled_anew(load(tmp_path))
