"""Exits that were decided, held against a venue's positions by hand."""

from dataclasses import replace

import pytest

from live.rehearsal.campaign.evidence import Evidence, Life, Request
from live.rehearsal.campaign.exits import exits_happen
from tests.campaign_evidence import COIN, at, audit_record, fault, good, killed_once, moment, with_audit


def left(decided: float, until: float, **detail: str) -> Evidence:
    """The trade left at `decided`, with its position held until then at the venue."""
    said = audit_record(decided, "action", **(detail or {"action": "exit", "reason": "time"}))
    moments = (moment(3.001, "0.1", 1), moment(until, "0", 0))
    return with_audit(replace(good(), moments=moments, ended_ns=at(20)), said)


def test_what_is_left_within_three_seconds_is_well() -> None:
    assert exits_happen(left(4.0, 6.9)) == []


def test_a_position_held_long_after_its_exit_was_decided_is_told() -> None:
    (violation,) = exits_happen(left(4.0, 8.0))
    text = f"{COIN}: 0.1 was still held 4.0 s after an exit was decided, 4.0 s without an excuse"
    assert violation == ("exits_happen", text, at(4.0))


def test_it_is_told_once_however_often_it_is_tried() -> None:
    late = left(4.0, 9.0)
    again = audit_record(5.0, "action", action="exit", reason="time")
    assert len(exits_happen(with_audit(late, *late.audit, again))) == 1


def test_on_spot_the_sale_is_the_word() -> None:
    assert exits_happen(left(4.0, 8.0, action="cover", step="Sell")) != []
    assert exits_happen(left(4.0, 8.0, action="cover", step="StopAlone")) == []


def test_nothing_held_is_nothing_to_leave() -> None:
    assert exits_happen(left(2.0, 12.0)) == []


@pytest.mark.parametrize(("kind", "is_excused"), [("halt_symbol", True), ("change_filters", False)])
def test_a_fault_excuses_for_its_time_but_new_rules_are_learnt(kind: str, is_excused: bool) -> None:
    late = replace(left(4.0, 9.0), faults=(fault(kind, 3.5, 6.0),))
    assert (exits_happen(late) == []) is is_excused


def test_a_fault_excuses_no_longer_than_what_it_hides_is_found() -> None:
    short = fault("halt_symbol", 0.5, 1.0)  # its excuse ends at 13 s
    assert exits_happen(replace(left(4.0, 15.9), lives=lasting(20.0), faults=(short,))) == []
    assert exits_happen(replace(left(4.0, 16.1), lives=lasting(20.0), faults=(short,))) != []


def test_nobody_sells_into_an_empty_book() -> None:
    refused = Request(at(4.1), "WS", "order.place", {"symbol": COIN}, 400, -1112)
    late = left(4.0, 8.0)
    assert exits_happen(replace(late, requests=(*late.requests, refused))) == []


def test_no_node_leaves_nothing() -> None:
    late = replace(left(4.0, 10.0), ended_ns=at(11))
    assert exits_happen(killed_once(late, kill=5.5, ready=8.0)) == []
    assert exits_happen(killed_once(late, kill=4.5, ready=4.6)) == []  # the word may have got lost
    assert exits_happen(killed_once(late, kill=8.0, ready=8.1)) != []


def lasting(secs: float) -> tuple[Life, ...]:
    """The one life, until then."""
    return (replace(good().lives[0], ended_ns=at(secs)),)
