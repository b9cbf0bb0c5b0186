from pathlib import Path

import pytest

from configs.errors import ModelError
from models import bundle
from models.registry import Registry

INSTRUMENT, KIND = "BTCUSDT-PERP.BINANCE", "direction"


def files(key: str = "k1", model: bytes = b"graph") -> dict[str, bytes]:
    return bundle.pack(model, {"training_key": key, "instrument": INSTRUMENT}, {"names": ["a"]})


def test_a_bundle_is_stored_under_symbol_kind_and_version(tmp_path: Path) -> None:
    folder = Registry(tmp_path).store(files(), INSTRUMENT, KIND)
    assert folder == tmp_path / "BTCUSDT-PERP" / KIND / bundle.version_of(files())
    assert sorted(p.name for p in folder.iterdir()) == sorted([*bundle.FILES, bundle.MANIFEST])
    assert bundle.read_bundle(folder) == files()


def test_the_manifest_can_be_checked_with_sha256sum(tmp_path: Path) -> None:
    import hashlib  # noqa: PLC0415

    folder = Registry(tmp_path).store(files(), INSTRUMENT, KIND)
    for line in (folder / bundle.MANIFEST).read_text().splitlines():
        digest, name = line.split("  ")
        assert digest == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_the_same_bundle_twice_is_stored_once(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.store(files(), INSTRUMENT, KIND) == registry.store(files(), INSTRUMENT, KIND)
    assert len(registry.versions(INSTRUMENT, KIND)) == 1


def test_a_bundle_is_found_by_what_it_was_trained_on(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "not" / "there" / "yet")
    assert registry.find(INSTRUMENT, KIND, "k1") is None
    first = registry.store(files("k1"), INSTRUMENT, KIND)
    second = registry.store(files("k2"), INSTRUMENT, KIND)
    assert registry.find(INSTRUMENT, KIND, "k1") == first
    assert registry.find(INSTRUMENT, KIND, "k2") == second
    assert registry.find(INSTRUMENT, KIND, "k3") is None
    assert registry.find("ETHUSDT-PERP.BINANCE", KIND, "k1") is None
    assert registry.versions(INSTRUMENT, KIND) == sorted([first, second])


def test_a_damaged_bundle_is_named_not_passed_over(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    folder = registry.store(files(), INSTRUMENT, KIND)
    (folder / bundle.METADATA).write_text("{}")
    with pytest.raises(ModelError, match=r"metadata\.json .*altered"):
        registry.find(INSTRUMENT, KIND, "k1")
    with pytest.raises(ModelError, match="altered"):
        registry.store(files(), INSTRUMENT, KIND)


class Killed(BaseException):
    """Stands for a process that ends at once, without any clean-up of ours."""


def test_a_process_killed_while_it_writes_leaves_the_registry_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    before = registry.store(files("k1"), INSTRUMENT, KIND)
    write = Path.write_bytes

    def die(self: Path, content: bytes) -> int:
        if self.name == bundle.MODEL:
            write(self, content[:2])
            raise Killed
        return write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", die)
        with pytest.raises(Killed):
            registry.store(files("k2"), INSTRUMENT, KIND)
    assert registry.versions(INSTRUMENT, KIND) == [before]
    assert registry.find(INSTRUMENT, KIND, "k2") is None
    after = registry.store(files("k2"), INSTRUMENT, KIND)
    assert bundle.read_bundle(after) == files("k2")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        Registry(tmp_path).store(files(), INSTRUMENT, KIND)
    assert list((tmp_path / "BTCUSDT-PERP" / KIND).iterdir()) == []


def test_two_processes_that_store_the_same_bundle_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        other = target.with_name("other")
        rename(self, other)
        self.mkdir()
        (self / "x").touch()
        rename(other, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert bundle.read_bundle(registry.store(files(), INSTRUMENT, KIND)) == files()
    assert [p.name for p in registry.folder(INSTRUMENT, KIND).iterdir()] == [bundle.version_of(files())]


def test_pointers_name_a_version_and_move_in_one_step(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.pointed("champion", INSTRUMENT, KIND) is None
    first, second = (registry.store(files(key), INSTRUMENT, KIND) for key in ("k1", "k2"))
    for folder in (first, second):
        registry.point("champion", folder)
        assert registry.pointed("champion", INSTRUMENT, KIND) == folder
    assert registry.pointed("candidate", INSTRUMENT, KIND) is None
    assert (registry.folder(INSTRUMENT, KIND) / "champion").read_text() == second.name + "\n"
    assert registry.versions(INSTRUMENT, KIND) == sorted([first, second])


def test_pointers_to_nothing_are_refused(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    folder = registry.store(files(), INSTRUMENT, KIND)
    with pytest.raises(ModelError, match="no model bundle"):
        registry.point("champion", folder.with_name("missing"))
    for text in ("missing\n", ""):
        (folder.parent / "champion").write_text(text)
        with pytest.raises(ModelError, match="names a bundle that is not there"):
            registry.pointed("champion", INSTRUMENT, KIND)
