"""How a node ends: what is not settled and what could not be written down make it fail, in one line."""

from types import SimpleNamespace
from typing import Any

import pytest

from actors.unkept import Unkept
from configs.errors import RunFailedError
from live.running import _closing, _tell_failed, _unkept

LOST = "3 lines of the audit stream are not in audit: No space left on device"
UNKEPT = "guard: its state is not kept: No space left on device"
UNSETTLED = "the node stopped before everything was settled: look at the venue"


def _records(closed: list[str], lost: str) -> Any:
    return SimpleNamespace(close=lambda: closed.append("records"), lost=lost)


@pytest.mark.parametrize(
    ("outcome", "unkept", "lost", "told"),
    [
        ("protected", "", LOST, LOST),
        ("unsettled", "", "", UNSETTLED),
        ("flat", UNKEPT, "", UNKEPT),
        ("unsettled", UNKEPT, LOST, f"{UNSETTLED}; {UNKEPT}; {LOST}"),
    ],
)
def test_what_is_unsettled_unkept_or_lost_fails_the_node(
    outcome: str, unkept: str, lost: str, told: str
) -> None:
    with pytest.raises(RunFailedError) as caught:
        _tell_failed(outcome, unkept, lost)
    assert str(caught.value) == told


@pytest.mark.parametrize("outcome", ["flat", "protected"])
def test_a_node_that_has_written_all_down_does_not_fail(outcome: str) -> None:
    _tell_failed(outcome, "", "")


def test_a_state_that_the_disk_has_refused_is_told_of_at_the_end() -> None:
    healed, full = Unkept(), Unkept()
    for trouble in (healed, full):
        trouble.refused("no space", 0)
        trouble.refused("still no space", 1)
    healed.taken(5_000_000_000)
    keepers: Any = [
        SimpleNamespace(component_name=name, unkept=trouble)
        for name, trouble in (("guard", full), ("a", healed), ("b", Unkept()), ("c", None))
    ]
    assert _unkept(keepers) == (
        "guard: its state is not kept: no space; a: its state was not kept for a while: no space"
    )
    assert _unkept(keepers[2:]) == ""


def test_what_is_lost_does_not_hide_what_went_wrong_before(capsys: pytest.CaptureFixture[str]) -> None:
    closed: list[str] = []
    client: Any = SimpleNamespace(close=lambda: closed.append("client"))
    with pytest.raises(ZeroDivisionError), _closing(_records(closed, LOST), client):
        raise ZeroDivisionError
    assert closed == ["records", "client"]
    assert LOST in capsys.readouterr().err.replace("\n", " ")
