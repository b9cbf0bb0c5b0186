"""An operator in a campaign: what must hold by the answers he gets, and that he asks until it is done."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.errors import RunFailedError
from live.rehearsal.campaign import commanding
from live.rehearsal.campaign.commanding import Operator, commands_hold
from live.rehearsal.campaign.evidence import Commanded, Evidence
from live.rehearsal.campaign.scenario import Command
from tests.campaign_evidence import at, audit_record, good, killed_once, with_audit


def asked(name: str, secs: float, done: float | None) -> Commanded:
    return Commanded(name, at(secs), None if done is None else at(done))


def told(evidence: Evidence, *commands: Commanded) -> list[str]:
    found = commands_hold(replace(evidence, commands=commands))
    assert {violation.invariant for violation in found} <= {"commands_hold"}
    return [violation.detail for violation in found]


# the trade's entry is approved at 3 s
def test_an_entry_after_a_halt_that_was_answered_is_told() -> None:
    for name in ("halt", "flatten"):
        assert told(good(), asked(name, 1.0, 1.2)) == [
            f"1 entries were approved after '{name}' had been answered"
        ]
    assert told(good(), asked("halt", 3.2, 3.4)) == []


def test_nobody_is_bound_by_a_halt_without_an_answer() -> None:
    assert told(good(), asked("halt", 1.0, None)) == []
    assert len(told(good(), asked("halt", 1.0, None), asked("halt", 2.0, 2.1))) == 1


def test_a_halt_ends_when_a_lift_is_asked_for() -> None:
    halt = asked("halt", 1.0, 1.2)
    for done in (None, 2.2, 3.5):
        assert told(good(), halt, asked("reset", 2.0, done)) == []
    assert len(told(good(), halt, asked("resume", 3.2, 3.3))) == 1


def test_a_lift_that_was_answered_lifts_until_the_next_halt() -> None:
    halted = audit_record(9.0, "risk", mode="HALTED", reasons=["halt_command"], equity=1e5)
    evidence = with_audit(good(), *good().audit[:-2], halted, *good().audit[-2:])
    halt = asked("halt", 3.2, 3.4)
    assert told(evidence, halt) == []
    assert told(evidence, halt, asked("reset", 6.0, None)) == []
    assert told(evidence, halt, asked("reset", 6.0, 6.2)) == [
        "the guard still named the halt after 'reset' had been answered"
    ]
    assert told(evidence, halt, asked("reset", 6.0, 6.2), asked("halt", 8.8, 9.1)) == []


def test_a_word_of_the_guard_holds_until_its_next_one() -> None:
    halted = audit_record(3.3, "risk", mode="HALTED", reasons=["halt_command"], equity=1e5)
    lifted = audit_record(6.1, "risk", mode="NORMAL", reasons=[], equity=1e5)
    audit = good().audit
    silent = with_audit(good(), *audit[:8], halted, *audit[8:])
    commands = asked("halt", 3.2, 3.4), asked("reset", 6.0, 6.2)
    assert len(told(silent, *commands)) == 1
    assert told(killed_once(silent, kill=6.3, ready=7.0), *commands) == []  # its word may be lost
    assert told(with_audit(good(), *audit[:8], halted, *audit[8:-3], lifted, *audit[-3:]), *commands) == []


def test_an_operator_asks_again_until_it_is_done_and_waits_for_a_life_that_trades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: Iterator[bool | None] = iter((None, False, True, True))
    sent = []

    def send(state: Path, name: str, *_: Any, **__: Any) -> dict[str, Any]:
        sent.append((state, name))
        done = next(answers)
        if done is None:
            raise RunFailedError("the node ended")
        return {"done": done}

    ages = iter((None, (0, 0.5), (0, 1.0), (1, 0.0), (1, 0.1), (1, 0.2), (2, 0.0), (2, 0.4)))
    monkeypatch.setattr(commanding, "send", send)
    operator = Operator(tmp_path)
    commands = (Command(name="halt", life=0, at_secs=1.0), Command(name="reset", life=2, at_secs=0.3))
    asyncio.run(operator.follow(commands, lambda: next(ages)))
    assert sent == [(tmp_path, name) for name in ("halt", "halt", "halt", "reset")]
    assert [command.done_ns is not None for command in operator.commanded] == [False, False, True, True]
    assert next(ages, "all asked for") == "all asked for"
