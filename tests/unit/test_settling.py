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
from strategies.forced import DELEVERAGED
from strategies.journal import Journal
from strategies.memory import TradeMemory
from strategies.results import FetchFills, FillSource, Statement, VenueFill
from strategies.settling import STRAY, Settling, position_results
from tests.desk_bench import Bench
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
        self.alarms: list[dict[str, Any]] = []
        self.paused: set[str] = set()
        self.position = position = SimpleNamespace(events=lambda: list(events), is_closed=True)
        strategy: Any = SimpleNamespace(
            clock=SimpleNamespace(timestamp_ns=lambda: 9 * SECOND),
            cache=SimpleNamespace(position=lambda _: position),
            publish_message=self._hear,
            component_name="momentum",
        )
        gate: Any = SimpleNamespace(pause=self.paused.add, lift=self.paused.discard)
        journal = Journal(strategy, "momentum", NAME)
        fetch = self._fetch(fills)
        source = None if fetch is None else FillSource(lambda _, after, since: fetch(after, since), {})
        self.settling = Settling(strategy, position_results(strategy, source, NAME), journal, gate, NAME)

    def _hear(self, topic: str, message: Any) -> None:
        if isinstance(message, TradeClosed):
            self.told.append(message)
        elif message.kind == "alarm":
            self.alarms.append(message.detail)
        elif message.kind == "action":
            self.actions.append(message.detail)

    def _fetch(self, fills: Sequence[VenueFill] | None) -> FetchFills | None:
        def fetch(after: int, since: int) -> Future[Statement]:
            del after, since
            answer: Future[Statement] = Future()
            answer.set_result(Statement(fills or ()))
            return answer

        return None if fills is None else fetch

    def look(self, memory: TradeMemory) -> None:
        """Twice: asked, and heard."""
        for secs in (10, 11):
            self.settling.look(memory, secs * SECOND)

    def end(self, memory: TradeMemory, pnl: float = 10.0, reason: str = "stop") -> None:
        self.settling.ended(memory, "id", pnl, 1, 5.0, reason)


def heard(number: int, order_id: str = "00-abc-1E0") -> SimpleNamespace:
    return SimpleNamespace(trade_id=str(number), client_order_id=order_id, **HEARD)


def guessed(order_id: str = "00-abc-2S0") -> SimpleNamespace:
    unknown = {"trade_id": "8bff9d7a", "client_order_id": order_id}
    return SimpleNamespace(**unknown | HEARD | {"commission": None, "reconciliation": True})


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


def test_what_the_venue_has_said_before_the_engine_saw_the_end_is_told_once() -> None:
    desk, memory = Desk(guessed()), remembering()
    for _ in range(2):  # the next trade's result is told all the same
        desk.told.clear()
        desk.settling.closing(memory, 1, 5.0, "stop")
        desk.look(memory)
        assert [t.pnl for t in desk.told] == [6.0]
        desk.end(memory, 9.0)
        desk.look(memory)
        assert [t.pnl for t in desk.told] == [6.0]
        memory.last_fill = 6
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 9.0)
    desk.look(memory)
    assert [t.pnl for t in desk.told] == [6.0, 6.0]


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
    desk, memory = Desk(guessed("00-abc-1E0")), remembering()
    desk.end(memory, 9.0)
    desk.position.events = lambda: [heard(9, "00-abc-3E0"), guessed("00-abc-4X0")]
    desk.end(memory, -1.0, STRAY)
    desk.look(memory)
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(-1.0, "stray"), (6.0, "stop")]


# What the engine makes of a position of which a late fill made it take back others: closed by a guess.
AGAIN = [heard(7), guessed()]


def test_a_trade_that_comes_back_after_it_was_told_is_not_told_again() -> None:
    desk, memory = Desk(heard(7), guessed()), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 9.0)
    desk.look(memory)
    desk.end(memory, 8.0, STRAY)
    desk.look(memory)
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(6.0, "stop")]
    assert (memory.unsettled, memory.last_fill, desk.paused) == (None, 8, set())
    assert desk.actions[-1] == {"action": "phantom_over", "pnl": 8.0}
    assert desk.settling.newest is not None
    assert (desk.settling.newest.pnl, desk.settling.newest.fee) == (6.0, 4.0)


def test_of_one_that_was_heard_of_in_full_the_books_keep_what_was_told() -> None:
    desk, memory = Desk(heard(7), heard(8, "00-abc-2S0")), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 6.0)
    assert desk.settling.newest is None  # the engine's own books are right
    desk.position.events = lambda: AGAIN
    desk.end(memory, 7.0, STRAY)
    desk.look(memory)
    assert [t.pnl for t in desk.told] == [6.0]
    assert desk.settling.newest is not None
    assert desk.settling.newest.fee == 2.0  # of the two fills that were heard of


def test_a_trade_that_comes_back_before_its_result_is_known_is_told_once() -> None:
    desk, memory = Desk(heard(7), guessed()), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 9.0)
    desk.end(memory, 8.0, STRAY)
    assert memory.unsettled is not None
    assert memory.unsettled.reckoned == 8.0  # all of it, not what was added
    desk.look(memory)
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(6.0, "stop")]


def test_one_that_the_venue_has_closed_since_is_told() -> None:
    """The engine was right to take the fills back: what closes the position has a newer number."""
    desk, memory = Desk(heard(7), guessed()), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.end(memory, 9.0)
    desk.look(memory)
    desk.position.events = lambda: [heard(7), heard(9, "00-abc-5X0")]
    desk.end(memory, -3.0, STRAY)
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(6.0, "stop"), (-3.0, "stray")]


# -- an entry of which the venue did not say whether it has filled ------------------------------------------


def doubtful(desk: Desk) -> TradeMemory:
    memory = TradeMemory(NAME, since=4 * SECOND)
    desk.settling.away(memory, 1, 5.0, 2.0, is_doubtful=True)
    assert desk.paused == {"result"}
    return memory


def test_an_entry_that_had_filled_and_was_closed_is_told_though_nobody_said_so_at_the_start() -> None:
    desk = Desk()
    memory = doubtful(desk)
    desk.look(memory)
    assert [(t.pnl, t.exit_reason, t.last_fill) for t in desk.told] == [(6.0, "while_away", 8)]
    assert (memory.unsettled, desk.paused) == (None, set())


@pytest.mark.parametrize("fills", [[], [f._replace(ts=f.ts - 4 * SECOND) for f in FILLS]])
def test_an_entry_that_had_not_filled_is_no_trade(fills: list[VenueFill]) -> None:
    """Nor are fills from before it was decided."""
    desk = Desk(fills=fills)
    memory = doubtful(desk)
    for secs in range(10, 32):
        desk.settling.look(memory, secs * SECOND)
    assert (desk.told, desk.alarms) == ([], [])
    assert (memory.unsettled, memory.last_fill, desk.paused) == (None, -1, set())


def test_an_entry_that_fills_after_all_has_the_result_of_its_own_trade() -> None:
    desk = Desk(fills=FILLS[:1])
    memory = doubtful(desk)
    memory.trade = Bench().open()
    desk.look(memory)
    assert (desk.told, memory.unsettled, desk.paused) == ([], None, set())


@pytest.mark.parametrize("is_heard", [True, False])
def test_one_that_fills_when_it_is_not_wanted_any_more_is_told_once(is_heard: bool) -> None:
    desk = Desk(heard(7), heard(8, "00-abc-2X0") if is_heard else guessed())
    memory = doubtful(desk)
    desk.end(memory, 6.0, STRAY)
    desk.look(memory)
    assert [t.pnl for t in desk.told] == [6.0]
    assert (memory.unsettled, memory.last_fill, desk.paused) == (None, 8, set())


@pytest.mark.parametrize("opener", ["00-abc-2S0", "00-abc-2B0", "00-abc-2T1", "00-abc-2X0", "autoclose-17"])
def test_what_a_closing_order_has_opened_belongs_to_the_trade_before(opener: str) -> None:
    """An addition whose fill was lost: the stop closes it as well, and for the engine that is too much."""
    desk, memory = Desk(heard(8, opener), guessed()), remembering()
    desk.settling.closing(memory, 1, 5.0, "stop")
    desk.position.is_closed = False  # by its id the engine finds the next position already
    desk.end(memory, 9.0)
    assert (desk.told, desk.paused) == ([], {"result"})
    desk.position.is_closed = True
    desk.end(memory, -4.0, STRAY)
    assert memory.unsettled is not None
    assert memory.unsettled.reckoned == 5.0
    desk.look(memory)
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(6.0, "stop")]
    assert desk.actions[0] == {"action": "phantom_over", "pnl": -4.0}


def test_a_phantom_that_goes_after_the_venues_word_is_not_told_either() -> None:
    desk, memory = Desk(heard(8, "00-abc-2S0"), guessed()), remembering()
    desk.position.is_closed = False
    desk.end(memory, 9.0)
    desk.look(memory)
    desk.position.is_closed = True
    desk.end(memory, -4.0, STRAY)
    desk.look(memory)
    assert [t.pnl for t in desk.told] == [6.0]
    assert (memory.unsettled, desk.paused) == (None, set())


def test_the_guard_counts_a_trade_once_that_a_kill_has_told_again() -> None:
    risk = state(day={"loss_streak": 3})
    trade = msgspec.structs.replace(closed(at(1), -5.0), last_fill=8)
    for hours in (1, 2):
        risk.trade_closed(msgspec.structs.replace(trade, ts_event=at(hours)))
    assert risk.memory.day.streak == 1
    risk.trade_closed(msgspec.structs.replace(trade, last_fill=9))
    risk.trade_closed(msgspec.structs.replace(trade, last_fill=-1))  # not known: always counted
    assert risk.memory.day.streak == 0  # three: the pause has begun


def test_an_order_of_the_venues_own_is_alarmed_once_a_trade_and_the_venue_asked_for_the_result() -> None:
    taken = FILLS[1]._replace(forced=DELEVERAGED)
    desk, memory = Desk(heard(7), heard(8, "adl_autoclose"), fills=[FILLS[0], taken]), remembering()
    for order_id in ("00-abc-1E0", "adl_autoclose", "adl_autoclose"):
        desk.settling.filled(order_id)
    desk.settling.closing(memory, 1, 5.0, DELEVERAGED)
    desk.end(memory, 9.0, DELEVERAGED)
    assert desk.told == []
    desk.look(memory)
    # 10 earned, 1 + 3 of fees
    assert [(t.pnl, t.exit_reason) for t in desk.told] == [(6.0, DELEVERAGED)]
    assert [(a["forced"], a["text"][:4]) for a in desk.alarms] == [(DELEVERAGED, "ADL:")]
    desk.settling.filled("adl_autoclose")
    assert len(desk.alarms) == 2


def test_one_that_nobody_heard_of_is_alarmed_with_the_result() -> None:
    desk, memory = Desk(fills=[FILLS[0], FILLS[1]._replace(forced=DELEVERAGED)]), remembering()
    desk.settling.away(memory, 1, 5.0, 2.0)
    desk.look(memory)
    assert [a["forced"] for a in desk.alarms] == [DELEVERAGED]
