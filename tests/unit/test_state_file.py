"""The state file is the old state or the new one, whole, or it is refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from actors.state_file import StateFile
from configs.errors import DataError, RunFailedError

ROOT = Path(__file__).resolve().parents[2]


class Book(msgspec.Struct, forbid_unknown_fields=True):
    number: int
    share: float | None = None
    names: dict[str, int] = {}


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread puts what lies beside a file into it."""
    monkeypatch.setattr("actors.state_file._syncer.ask", lambda _: None)


def stored(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "state.json", Book).read() is None


def test_a_value_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "deep" / "state.json", Book)
    value = Book(2**62 + 1, 0.1 + 0.2, {"BTCUSDT-PERP.BINANCE": -1})
    file.write(value)
    assert StateFile(file.path, Book).read() == value
    assert sorted(p.name for p in file.path.parent.iterdir()) == ["state.json", "state.json.next"]


def test_the_file_says_its_version_and_the_hash_of_its_state(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(7))
    content = stored(file.path)
    assert content["version"] == 1
    assert content["sha256"] == hashlib.sha256(b'{"number":7,"share":null,"names":{}}').hexdigest()


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    return content.replace(b'"number":7', b'"number":8')


def _version(content: bytes) -> bytes:
    return content.replace(b'"version":1', b'"version":2')


def _binary(content: bytes) -> bytes:
    return b"\x00\xff\xfe" + content


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_cut, "damaged"),
        (_flip, "checksum does not match"),
        (_version, "version 2"),
        (_binary, "damaged"),
        (lambda _: b"", "damaged"),
        (lambda _: b"[]", "damaged"),
        (lambda _: b"{}", "damaged"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, damage: object, says: str
) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(7))
    file.path.write_bytes(damage(file.path.read_bytes()))  # type: ignore[operator]
    before = file.path.read_bytes()
    with pytest.raises(DataError, match=says) as refused:
        file.read()
    assert "\n" not in str(refused.value)
    assert str(file.path) in str(refused.value)
    assert "delete it" in str(refused.value)
    assert file.path.read_bytes() == before  # evidence, never mended


@pytest.mark.parametrize("state", [b'{"number":"7"}', b'{"number":7,"more":1}', b"{}"])
def test_a_sound_file_of_another_shape_is_refused(tmp_path: Path, state: bytes) -> None:
    path = tmp_path / "state.json"
    checksum = hashlib.sha256(state).hexdigest()
    path.write_bytes(b'{"version":1,"sha256":"%s","state":%s}' % (checksum.encode(), state))
    with pytest.raises(DataError, match="does not hold what it should"):
        StateFile(path, Book).read()


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        StateFile(tmp_path, Book).read()


def test_what_a_killed_write_left_behind_is_not_read_and_does_not_hinder(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(1))
    (tmp_path / "state.json.tmp").write_bytes(b'{"version":1,"sha')
    assert file.read() == Book(1)
    file.write(Book(2))
    assert file.read() == Book(2)


def test_a_disk_that_refuses_fails_the_run_and_leaves_the_old_state(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(1))
    (tmp_path / "state.json.tmp").mkdir()  # what is to become the file cannot be opened for writing
    with pytest.raises(RunFailedError, match="cannot be written"):
        StateFile(file.path, Book).write(Book(2))
    assert file.read() == Book(1)


def test_a_disk_that_does_not_keep_what_is_waited_for_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(1))
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda _file, content, _at: len(content) // 2)
        with pytest.raises(RunFailedError, match="No space left"):
            file.write(Book(2))
    assert file.read() == Book(1)
    file.write(Book(3))
    assert file.read() == Book(3)


def test_a_write_that_does_not_wait_is_read_at_once(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "deep" / "state.json", Book)
    for number in range(20):
        file.write(Book(number), waits=False)
        assert StateFile(file.path, Book).read() == Book(number)


def test_what_was_not_waited_for_takes_the_files_name_once_it_is_on_the_disk(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(1))
    file.write(Book(2), waits=False)
    file.settle()
    assert stored(file.path)["state"] == {"number": 2, "share": None, "names": {}}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state.json", "state.json.next"]
    file.settle()  # by its thread, which comes later
    assert file.read() == Book(2)


def test_a_write_that_waits_counts_after_one_that_does_not(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(1), waits=False)
    file.write(Book(2), waits=False)
    file.write(Book(3))
    assert file.read() == Book(3)


def test_a_thread_puts_what_was_not_waited_for_on_the_disk(tmp_path: Path) -> None:
    file, deadline = StateFile(tmp_path / "state.json", Book), time.monotonic() + 20.0
    file.write(Book(1))
    file.write(Book(2), waits=False)
    while stored(file.path)["state"] != {"number": 2, "share": None, "names": {}}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert file.read() == Book(2)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("damage", [_cut, _flip, _binary, _version, lambda _: b""])
def test_what_a_power_cut_has_damaged_beside_the_file_counts_for_nothing(
    tmp_path: Path, damage: object
) -> None:
    path = tmp_path / "state.json"
    file, beside = StateFile(path, Book), tmp_path / "state.json.next"
    file.write(Book(1))
    file.write(Book(7), waits=False)
    beside.write_bytes(damage(beside.read_bytes()))  # type: ignore[operator]
    assert StateFile(path, Book).read() in (Book(1), Book(7))  # 7 where its slot is in the half that is left
    beside.unlink()
    assert StateFile(path, Book).read() == Book(1)


def _halved(slot: bytes) -> bytes:
    return slot[: slot.find(b"\n") // 2].ljust(len(slot), b"?")


@pytest.mark.usefixtures("by_hand")
def test_a_write_that_is_cut_off_never_harms_the_one_that_was_waited_for(tmp_path: Path) -> None:
    """Whatever came after it without waiting is lost; it is not, whichever slot the next write went to."""
    path, beside = tmp_path / "state.json", tmp_path / "state.json.next"
    for later in range(12):
        file = StateFile(path, Book)
        file.write(Book(0))
        file.write(Book(7))
        for number in range(later):
            file.write(Book(100 + number), waits=False)
        content = beside.read_bytes()
        size = len(content) // 4
        slots = [content[at : at + size] for at in range(0, len(content), size)]
        kept = [slot if b'"number":7,' in slot else _halved(slot) for slot in slots]
        beside.write_bytes(b"".join(kept))
        assert StateFile(path, Book).read() == Book(7)
        file.remove()


@pytest.mark.usefixtures("by_hand")
def test_what_lies_beside_the_file_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    file = StateFile(path, Book)
    file.write(Book(1))
    copy = path.read_bytes()
    for number in (2, 3):
        file.write(Book(number), waits=False)
        file.settle()
    file.write(Book(4))
    assert file.read() == Book(4)
    path.write_bytes(copy)  # an operator's, of an earlier time
    assert file.read() == Book(1)
    path.unlink()
    assert file.read() is None
    StateFile(path, Book).write(Book(5))
    assert file.read() == Book(5)


def test_a_state_that_grows_out_of_its_place_is_kept_all_the_same(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    for size in (1, 1_000, 2, 5_000):
        value = Book(size, names={str(k): k for k in range(size)})
        file.write(value, waits=False)
        assert StateFile(file.path, Book).read() == value


def test_who_writes_after_somebody_else_has_begun_anew_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first, second = StateFile(path, Book), StateFile(path, Book)
    for number, file in enumerate((first, second, first, first, second)):
        file.write(Book(number), waits=False)
        assert StateFile(path, Book).read() == Book(number)
    first.settle()
    assert StateFile(path, Book).read() == Book(4)


def test_nothing_is_left_of_a_state_that_was_removed(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(1))
    file.write(Book(2), waits=False)
    other = StateFile(file.path, Book)
    other.remove()
    file.settle()
    assert file.read() is None
    deadline = time.monotonic() + 10.0
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)  # the thread that settles may be about to remove what it had begun
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_refuses_later_fails_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    file = StateFile(tmp_path / "state.json", Book)
    file.write(Book(0))
    file.write(Book(1), waits=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        file.settle()
    with pytest.raises(RunFailedError, match="No space left"):
        file.write(Book(2), waits=False)
    assert file.read() == Book(2)  # all the same: it is only not known to be on the disk
    file.write(Book(3), waits=False)
    assert file.read() == Book(3)


WRITER = """
import sys
import time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.unit.test_state_file import Book
from actors.state_file import StateFile
file, number = StateFile(Path({path!r}), Book), 0
while True:
    number += 1
    file.write(Book(number, number / 3, {{str(k): number for k in range(200)}}), waits={waits})
    if number == 3:
        print("writing", flush=True)
"""


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("wait", [0, 40, 200])
def test_kill_9_in_the_middle_of_writing_leaves_a_whole_state(
    tmp_path: Path, wait: int, *, waits: bool
) -> None:
    path = tmp_path / "state.json"
    code = WRITER.format(root=str(ROOT), path=str(path), waits=waits)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        reader, seen, last = StateFile(path, Book), set(), 0
        while len(seen) <= wait:  # whole at every moment, not only after the kill
            value = reader.read()
            assert value is not None
            assert value.number >= last  # and never an older one again
            last = value.number
            seen.add(last)
        os.kill(writer.pid, signal.SIGKILL)
    value = StateFile(path, Book).read()
    assert value is not None
    assert value.number >= last
    assert value.share == value.number / 3
    assert set(value.names.values()) == {value.number}
    StateFile(path, Book).write(Book(0))
    assert StateFile(path, Book).read() == Book(0)
