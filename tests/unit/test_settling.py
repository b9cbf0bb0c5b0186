"""When and how often the result of a trade is told: once, whatever was lost, and through a kill."""

from collections.abc import Sequence
from concurrent.futures import Future
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from nautilus_trader.model import Currency, Money

from actors.messages import TradeClosed
from strategies.journal import Journal
from strategies.memory import TradeMemory
from strategies.results import FetchFills, VenueFill
from strategies.settling import STRAY, Settling
from tests.risk_states import at, closed, state

SECOND = 1_000_000_000
NAME = "BTCUSDT-PERP.BINANCE"
USDT = Currency.from_str("USDT")
HEARD = {"commission": Money(1.0, USDT), "currency": USDT, "reconciliation": False, "ts_event": SECOND}
FILLS = [
    VenueFill(7, Decimal(2), Decimal(0), Decimal(1), 5 * SECOND),
    VenueFill(8, Decimal(-2), Decimal(10), Decimal(3), 6 * SECOND),
]


class Desk:
    """A settling with everything around it; `told` are the trades that were told, `paused` what pauses."""

    def __init__(self, *events: SimpleNamespace, fills: Sequence[VenueFill] | None = FILLS) -> None:
        self.told: list[TradeClosed] = []
        self.actions: list[dict[str, Any]] = []
        self.paused: set[str] = set()
        position = SimpleNamespace(events=lambda: list(events))
        strategy: Any = SimpleNamespace(
            clock=SimpleNamespace(timestamp_ns=lambda: 9 * SECOND),
            cache=SimpleNamespace(position=lambda _: position),
            publish_message=self._hear,
            component_name="momentum",
        )
        gate: Any = SimpleNamespace(pause=self.paused.add, lift=self.paused.discard)
        journal = Journal(strategy, "momentum", NAME)
        self.settling = Settling(strategy, self._fetch(fills), journal, gate, NAME)

    def _hear(self, topic: str, message: Any) -> None:
        if isinstance(message, TradeClosed):
            self.told.append(message)
        elif message.kind == "action":
            self.actions.append(message.detail)

    def _fetch(self, fills: Sequence[VenueFill] | None) -> FetchFills | None:
        def fetch(after: int, since: int) -> Future[Sequence[VenueFill]]:
            del after, since
            answer: Future[Sequence[VenueFill]] = Future()
            answer.set_result(fills or ())
            return answer

        return None if fills is None else fetch

    def look(self, memory: TradeMemory) -> None:
        """Twice: asked, and heard."""
        for secs in (10, 11):
            self.settling.look(memory, secs * SECOND)

    def end(self, memory: TradeMemory, pnl: float = 10.0, reason: str = "stop") -> None:
        self.settling.ended(memory, "id", pnl, 1, 5.0, reason)


def heard(number: int) -> SimpleNamespace:
    return SimpleNamespace(trade_id=str(number), **HEARD)


def guessed() -> SimpleNamespace:
    return SimpleNamespace(trade_id="8bff9d7a", **HEARD | {"commission": None, "reconciliation": True})


def remembering() -> TradeMemory:
    return TradeMemory(NAME, since=SECOND, opened=2 * SECOND)


def test_what_was_heard_of_in_full_is_told_at_once() -> None:
    desk, memory = Desk(heard(7), heard(8)), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 6.0)
    desk.look(memory)
    assert [(t.pnl, t.last_fill, t.ended) for t in desk.told] == [(6.0, 8, 0)]
    assert (memory.unsettled, memory.last_fill, desk.paused) == (None, 8, set())
    assert desk.settling.newest is None


def test_what_was_guessed_is_told_with_the_fees_that_were_paid_and_nothing_is_entered_before() -> None:
    desk, memory = Desk(heard(7), guessed()), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 9.0)
    assert (desk.told, desk.paused) == ([], {"result"})
    desk.look(memory)
    desk.look(memory)
    assert [(t.pnl, t.risk, t.exit_reason, t.last_fill) for t in desk.told] == [(6.0, 5.0, "stop", 8)]
    assert (memory.unsettled, memory.last_fill, desk.paused) == (None, 8, set())
    assert desk.settling.newest is not None
    assert desk.settling.newest.fee == 4.0
    assert desk.actions[-1]["reckoned"] == 9.0


@pytest.mark.parametrize("is_reckoned", [False, True])
def test_a_kill_before_the_result_puts_it_off(is_reckoned: bool) -> None:
    """Between the last fill and the engine's word of it, or while the venue was asked."""
    before, memory = Desk(guessed()), remembering()
    before.settling.closing(memory, 1, 5.0, "stop")
    if is_reckoned:
        before.end(memory, 9.0)
    kept = msgspec.json.decode(msgspec.json.encode(memory), type=TradeMemory)
    after = Desk()
    after.settling.begin(kept)
    assert after.paused == {"result"}
    after.look(kept)
    assert [(t.pnl, t.exit_reason, t.last_fill) for t in after.told] == [(6.0, "stop", 8)]


def test_a_trade_that_ended_while_no_node_was_alive_counts_from_when_it_ended() -> None:
    desk, memory = Desk(), remembering()
    desk.settling.away(memory, 1, 5.0, 2.0)
    desk.look(memory)
    assert [(t.pnl, t.exit_reason, t.ended) for t in desk.told] == [(6.0, "while_away", 6 * SECOND)]
    assert desk.actions[0] == {"action": "closed_while_away", "quantity": 2.0, "pnl": 6.0}


def test_where_nobody_can_be_asked_the_engine_is_believed_and_what_it_missed_has_no_result() -> None:
    desk, memory = Desk(guessed(), fills=None), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    assert memory.unsettled is None
    desk.end(memory, 9.0)
    desk.settling.away(memory, 1, 5.0, 2.0)
    assert [(t.pnl, t.last_fill) for t in desk.told] == [(9.0, -1)]
    assert desk.actions == [{"action": "closed_while_away", "quantity": 2.0, "pnl": None}]


def test_a_position_that_was_no_trade_does_not_push_out_the_one_that_is_waited_for() -> None:
    desk, memory = Desk(guessed()), remembering()
    desk.end(memory, 9.0)
    desk.end(memory, -1.0, STRAY)
    desk.look(memory)
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(-1.0, "stray"), (6.0, "stop")]


def test_the_guard_counts_a_trade_once_that_a_kill_has_told_again() -> None:
    risk = state(day={"loss_streak": 3})
    trade = msgspec.structs.replace(closed(at(1), -5.0), last_fill=8)
    for hours in (1, 2):
        risk.trade_closed(msgspec.structs.replace(trade, ts_event=at(hours)))
    assert risk.memory.day.streak == 1
    risk.trade_closed(msgspec.structs.replace(trade, last_fill=9))
    risk.trade_closed(msgspec.structs.replace(trade, last_fill=-1))  # not known: always counted
    assert risk.memory.day.streak == 0  # three: the pause has begun
