"""A halt or a pause is lifted when the guard can do it, and nobody is told so when it cannot."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.control import Request
from live.operate.operations import Operations
from live.operate.roster import Roster


class _Told(list[str]):
    """The guard's word, and what it was told."""

    def __init__(self, *reasons: str) -> None:
        super().__init__()
        self.mode = SimpleNamespace(mode="HALTED", reasons=reasons)

    def tell_guard(self, name: str, reason: str) -> None:
        del reason
        self.append(name)


def _operations(control: _Told, kept: list[Roster]) -> Operations:
    roster = Roster(base="", strategies=(), models=())
    book: Any = SimpleNamespace(roster=roster, keep=kept.append)
    nothing: Any = SimpleNamespace(members={}, traders=())
    told: Any = control
    return Operations(book, nothing, told, nothing, nothing, {})


@pytest.mark.parametrize("name", ["resume", "reset"])
def test_nothing_is_lifted_while_the_equity_is_not_known(name: str) -> None:
    control, kept = _Told("halt_command", "no_equity"), list[Roster]()
    answer = _operations(control, kept).take(Request(id="1", name=name))
    assert answer is not None
    assert not answer.done
    assert "equity is not known" in answer.text
    assert (control, kept) == ([], [])
    control.mode.reasons = ("halt_command",)
    answer = _operations(control, kept).take(Request(id="2", name=name))
    assert answer is not None
    assert answer.done
    assert control == [name]
