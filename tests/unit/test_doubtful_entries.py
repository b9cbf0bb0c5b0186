"""An entry that was under way when the node died, at a venue that does not say what has filled of it."""

from collections.abc import Mapping
from concurrent.futures import Future
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.messages import TradeClosed
from actors.state_file import StateFile
from live.prepare import GUARD_FILE, _executed
from live.venue.errors import VenueRequestError
from strategies.entries import PendingEntry
from strategies.journal import Journal
from strategies.live_care import LiveCare
from strategies.memory import TradeMemory
from strategies.results import FillSource, Statement, VenueFill
from strategies.setup import LiveDuty
from strategies.values import Approved
from tests.desk_bench import NAME, Bench

SECOND = 1_000_000_000
DECIDED = 1_699_999_900 * SECOND
PENDING = PendingEntry(Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {}), (), 75)
FILLS = [
    VenueFill(7, Decimal("0.075"), Decimal(0), Decimal(1), DECIDED + SECOND),
    VenueFill(8, Decimal("-0.075"), Decimal(-20), Decimal(1), DECIDED + 5 * SECOND),
]


def memory() -> TradeMemory:
    return TradeMemory(
        NAME, pending=PENDING, since=DECIDED, last_intent=(DECIDED, 1), tick_size=0.1, step_size=0.001
    )


def caring(bench: Bench, executed: Mapping[str, Mapping[str, float]], fills: list[VenueFill]) -> LiveCare:
    """A node that has begun flat, with an entry remembered; `executed` is what the venue said of orders."""

    def fetch(_: str, after: int, since: int) -> Future[Statement]:
        del after, since
        told: Future[Statement] = Future()
        told.set_result(Statement(fills))
        return told

    file: Any = SimpleNamespace(read=memory, write=lambda *_, **__: None)
    permits: Any = SimpleNamespace(remember=lambda _: None, last_intent=None, gate=None)
    duty = LiveDuty(may_enter=True, memory=file, fills=FillSource(fetch, executed))
    bench.setup.live = duty
    journal = Journal(bench.strategy, "a", NAME)
    care = LiveCare(bench.strategy, bench.setup, duty, bench.desk, journal, bench.keeper, permits)
    care.start()
    return care


def told(bench: Bench, care: LiveCare, secs: int) -> list[TradeClosed]:
    """The trades that are told within so many seconds."""
    for _ in range(4 * secs):
        bench.now += SECOND // 4
        care.tick()
    return [message for _, message in bench.told if isinstance(message, TradeClosed)]


def test_its_loss_is_told_though_the_venue_did_not_say_what_had_filled() -> None:
    bench = Bench(held=0.0)
    care = caring(bench, {}, FILLS)
    trades = told(bench, care, 2)
    assert [(t.side, t.pnl, t.risk, t.last_fill) for t in trades] == [(1, -22.0, 100.0, 8)]
    assert trades[0].ended == DECIDED + 5 * SECOND
    assert not care.awaits_result


def test_nothing_is_entered_until_the_venue_has_had_time_to_list_a_fill() -> None:
    bench = Bench(held=0.0)
    care = caring(bench, {}, [])
    assert told(bench, care, 8) == []
    assert (care.awaits_result, care.gate.reason) == (True, "result")
    assert told(bench, care, 4) == []
    assert (care.awaits_result, care.gate.reason) == (False, None)


@pytest.mark.parametrize(("executed", "waits"), [({}, False), ({"00-a-1E0": 0.075}, True)])
def test_where_the_venue_has_said_it_that_counts(executed: Mapping[str, float], *, waits: bool) -> None:
    bench = Bench(held=0.0)
    care = caring(bench, {NAME: executed}, FILLS)
    assert care.awaits_result is waits


@pytest.mark.parametrize("answers", [True, False])
def test_no_answer_is_not_taken_for_nothing_filled(tmp_path: Path, *, answers: bool) -> None:
    def recent_orders(_: str) -> tuple[Any, ...]:
        if answers:
            return ()
        raise VenueRequestError("GET /fapi/v1/allOrders", "Timestamp for this request", code=-1021)

    StateFile((tmp_path / GUARD_FILE).with_name("trade-a.json"), TradeMemory).write(memory())
    run: Any = SimpleNamespace(strategies=[SimpleNamespace(label="a", instrument=NAME)])
    client: Any = SimpleNamespace(recent_orders=recent_orders)
    assert _executed(run, client, tmp_path) == ({NAME: {}} if answers else {})
