"""An operator's requests are carried out at most once, wherever a node is killed, and by no other node."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.control import Answer, Inbox, Request


class _Killed(BaseException):
    """The process is gone."""


def _ask(folder: Path, request_id: str, name: str = "pause") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{request_id}.json"
    path.write_bytes(msgspec.json.encode(Request(id=request_id, name=name)))
    return path


def _answer(folder: Path, request_id: str) -> Answer:
    return msgspec.json.decode((folder / "done" / f"{request_id}.answer.json").read_bytes(), type=Answer)


def test_requests_are_taken_once_in_the_order_of_their_ids(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    for name in ("003", "001", "002"):
        _ask(tmp_path, name)
    assert [request.id for request in inbox.take()] == ["001", "002", "003"]
    assert list(inbox.take()) == []
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["001.json", "002.json", "003.json"]


def test_an_answer_is_there_whole(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    _ask(tmp_path, "1")
    list(inbox.take())
    inbox.answer("1", Answer(done=True, text="paused", detail={"of": Path("x")}))
    assert _answer(tmp_path, "1") == Answer(done=True, text="paused", detail={"of": "x"})
    assert not list(tmp_path.glob("**/.*"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"id": "1"}', b'{"id": "2", "name": "halt"}', b"\xff"]
)
def test_what_is_no_request_is_refused_and_gone(tmp_path: Path, content: bytes) -> None:
    inbox = Inbox(tmp_path)
    (tmp_path / "1.json").write_bytes(content)
    assert list(inbox.take()) == []
    assert not _answer(tmp_path, "1").done
    assert list(inbox.take()) == []


def test_half_written_requests_are_not_looked_at(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    (tmp_path / ".1.tmp").write_bytes(b"{")
    (tmp_path / ".2.json").write_bytes(b"{")
    assert list(inbox.take()) == []
    assert not list((tmp_path / "done").iterdir())


def test_a_request_that_was_taken_back_is_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox(tmp_path)
    path = _ask(tmp_path, "1")
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        path.unlink()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    assert list(inbox.take()) == []


def test_what_lies_there_as_a_node_starts_is_refused(tmp_path: Path) -> None:
    _ask(tmp_path, "1", "flatten")
    inbox = Inbox(tmp_path)
    assert inbox.refuse_old() == 1
    assert list(inbox.take()) == []
    assert not _answer(tmp_path, "1").done


def test_a_request_that_a_killed_node_had_taken_is_answered_and_not_carried_out_again(tmp_path: Path) -> None:
    _ask(tmp_path, "1", "flatten")
    assert next(Inbox(tmp_path).take()).id == "1"  # killed here
    after = Inbox(tmp_path)
    assert after.refuse_old() == 0
    assert list(after.take()) == []
    assert "ended before it had answered" in _answer(tmp_path, "1").text


def test_old_answers_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.control._KEPT_ANSWERS", 3)
    inbox = Inbox(tmp_path)
    for number in range(5):
        _ask(tmp_path, str(number))
    for request in inbox.take():
        inbox.answer(request.id, Answer(done=True, text=""))
    Inbox(tmp_path).refuse_old()
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == [
        f"{number}{end}" for number in (2, 3, 4) for end in (".answer.json", ".json")
    ]


@given(steps=st.integers(0, 20), requests=st.integers(1, 4))
def test_whatever_step_a_node_is_killed_at_nothing_is_carried_out_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: int, requests: int
) -> None:
    """Every change of the disk is a step; the kill comes before one of them, and three nodes in a row."""
    folder = tmp_path_factory.mktemp("inbox")
    for number in range(requests):
        _ask(folder, str(number))
    carried_out: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(3):
            left = steps
            for name in ("rename", "replace", "write_bytes"):
                real = getattr(Path, name)

                def step(self: Path, *args: object, real: object = real) -> object:
                    nonlocal left
                    if left == 0:
                        raise _Killed
                    left -= 1
                    return real(self, *args)  # type: ignore[operator]

                patch.setattr(Path, name, step)
            try:
                inbox = Inbox(folder)
                for request in inbox.take():
                    carried_out.append(request.id)
                    inbox.answer(request.id, Answer(done=True, text=""))
            except _Killed:
                pass
            patch.undo()
    assert len(carried_out) == len(set(carried_out))
    Inbox(folder).refuse_old()
    assert all((folder / "done" / f"{number}.answer.json").exists() for number in range(requests))
    assert not list(folder.glob("*.json"))


def test_a_folder_or_a_pipe_of_that_name_is_no_request_and_keeps_nothing_waiting(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    (tmp_path / "1.json").mkdir()
    os.mkfifo(tmp_path / "2.json")
    _ask(tmp_path, "3", "halt")
    assert [request.name for request in inbox.take()] == ["halt"]
    assert not _answer(tmp_path, "1").done
    assert not _answer(tmp_path, "2").done


def test_a_request_that_breaks_the_node_does_not_take_those_behind_it_along(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    _ask(tmp_path, "1", "status")
    _ask(tmp_path, "2", "flatten")
    assert next(inbox.take()).name == "status"  # whoever carries it out raises
    assert [request.name for request in inbox.take()] == ["flatten"]
