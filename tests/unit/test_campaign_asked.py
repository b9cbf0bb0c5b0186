"""What a run file asks for besides orders: margin, the sentiment index, targets that follow the position."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from live.rehearsal.campaign.asked import margin_as_asked, sentiment_counts, targets_follow
from live.rehearsal.campaign.evidence import Evidence
from live.rehearsal.campaign.scenario import Mood
from tests.campaign_evidence import (
    COIN,
    at,
    at_ms,
    audit_record,
    fault,
    good,
    killed_once,
    with_audit,
    with_run,
)

ISOLATED = {"tolerances": {"margin_type": "ISOLATED"}}
TARGETS = {"pct": 2.0}


# -- margin -------------------------------------------------------------------------------------------------


def test_a_position_with_another_margin_than_asked_for_is_told() -> None:
    crossed = with_run(good(), live=ISOLATED)
    (violation,) = margin_as_asked(crossed)
    assert violation == ("margin_as_asked", f"{COIN}: 0.1 is held with crossed margin", at(3.001))
    isolated = replace(good(), moments=tuple(m._replace(isolated=bool(m.position)) for m in good().moments))
    assert margin_as_asked(with_run(isolated, live=ISOLATED)) == []
    assert len(margin_as_asked(isolated)) == 1
    assert margin_as_asked(good()) == []


# -- sentiment ----------------------------------------------------------------------------------------------


def moody(due: float, *wishes: tuple[float, str]) -> Evidence:
    """Greed until some time, fear after it, and wishes on what was seen at the bars of some times."""
    records = []
    for secs, seen in wishes:
        records.append(audit_record(secs, "forecast", probability=0.6) | {"component": "forecaster"})
        records.append(audit_record(secs, "intent", side=1, reasons=["probability_high", seen]))
    mood = Mood(before=65, after=35, due_minutes=1)
    evidence = with_audit(good(), *records)
    scenario = msgspec.structs.replace(evidence.scenario, mood=mood)
    return replace(evidence, scenario=scenario, mood_due_ms=at_ms(due))


def test_a_value_counts_from_when_it_is_due_and_no_sooner() -> None:
    assert sentiment_counts(moody(5.0, (4.0, "greed"), (4.9, "greed"), (5.0, "fear"), (8.0, "fear"))) == []
    (early,) = sentiment_counts(moody(5.0, (4.0, "greed"), (4.9, "fear")))
    assert early.detail == f"fear was seen at the bar of {at(4.9)}, where 65 counts"
    (late,) = sentiment_counts(moody(5.0, (5.0, "greed")))
    assert late.detail == f"greed was seen at the bar of {at(5.0)}, where 35 counts"


def test_a_wish_without_an_index_says_nothing_of_it() -> None:
    assert sentiment_counts(moody(5.0, (6.0, "sentiment_unknown"))) == []
    assert sentiment_counts(good()) == []


# -- targets ------------------------------------------------------------------------------------------------


def followed(targets: str, **targets_of_run: Any) -> Evidence:
    """The trade with so much of its 0.1 in open targets from 3.007 s on; half is closed at 5 s."""
    moments = [
        m._replace(targets=Decimal(targets) if at(3.007) <= m.wall_ns < at(5.0) else Decimal(0))
        for m in good().moments
    ]
    moments = [m for m in moments if not at(5.0) <= m.wall_ns < at(8.0)]  # held as it is until 8 s
    strategy = good().scenario.run["strategies"][0] | {"targets": targets_of_run or TARGETS}
    return with_run(replace(good(), moments=tuple(moments)), strategies=[strategy])


def test_targets_that_stay_at_another_amount_than_is_held_are_told() -> None:
    (violation,) = targets_follow(followed("0.06"))
    assert violation == ("targets_follow", f"{COIN}: targets for 0.06 stayed open of 0.1", at(3.007))
    assert targets_follow(followed("0.1")) == []
    assert targets_follow(followed("0")) == []  # whether there are any is judged elsewhere


def test_targets_need_not_follow_while_something_hinders_them() -> None:
    stuck = followed("0.06")
    assert targets_follow(replace(stuck, faults=(fault("drop_message", 2.0, 2.1),))) == []
    assert targets_follow(killed_once(stuck, kill=4.0, ready=5.0)) == []
    refusal = audit_record(2.5, "order", event="OrderModifyRejected", client_order_id="00-a-3T0")
    assert targets_follow(with_audit(stuck, *stuck.audit, refusal)) == []


def test_a_ladder_that_leaves_a_rest_is_not_judged() -> None:
    assert targets_follow(followed("0.06", tranches=[{"pct": 1.0, "close_pct": 60.0}])) == []
