"""When the result of a spot trade is told: at once, or with the venue's own fills; worked out by hand.

0.01 BTC bought at 60,000, the fee 0.00001 of them; 0.00999 sold.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from actors.messages import TradeClosed
from configs.errors import RunFailedError
from strategies.coin_results import CoinResults
from strategies.holdings import CoinFill, Holdings
from strategies.journal import Journal
from strategies.memory import TradeMemory
from strategies.settling import Settling

D = Decimal
SECOND = 1_000_000_000
NAME = "BTCUSDT.BINANCE"
BUY = CoinFill("1", True, D("0.01"), D(60_000), D("0.00001"), "BTC", SECOND, "7")
SALE = CoinFill("2", False, D("0.00999"), D(61_000), D("0.5"), "USDT", 2 * SECOND, "8")
# 0.00999 x 61,000 = 609.39, less 0.5, less 600
EARNED = 8.89
MADE_UP = SALE._replace(trade_id="cee7740e", fee=D(0), fee_asset="")
# less 0.1 % in place of the 0.5
GUESSED = 8.78061

type Answer = Sequence[CoinFill] | Exception


class Desk:
    """A settling of coins with everything around it; `asked` are the orders that were asked for."""

    def __init__(self, *fills: CoinFill, answers: Sequence[Answer] = ()) -> None:
        self.told: list[TradeClosed] = []
        self.alarms: list[str] = []
        self.asked: list[list[str]] = []
        self.paused: set[str] = set()
        self.now = 100 * SECOND
        self.memory = TradeMemory(NAME, since=SECOND, opened=SECOND)
        self.holdings = Holdings(NAME, "BTC", "USDT", D("0.00001"), None)
        for fill in fills:
            self.holdings.filled(fill, D("NaN"))
        self._answers = list(answers)
        strategy: Any = SimpleNamespace(
            clock=SimpleNamespace(timestamp_ns=lambda: self.now),
            publish_message=self._hear,
            component_name="momentum",
        )
        gate: Any = SimpleNamespace(pause=self.paused.add, lift=self.paused.discard)
        self.results = CoinResults(self.holdings, self._fetch if answers else None, lambda: D(61_000))
        self.settling = Settling(strategy, self.results, Journal(strategy, "momentum", NAME), gate, NAME)

    def _hear(self, topic: str, message: Any) -> None:
        if isinstance(message, TradeClosed):
            self.told.append(message)
        elif message.kind == "alarm":
            self.alarms.append(message.detail["text"])

    def _fetch(self, orders: Sequence[str]) -> Future[Sequence[CoinFill]]:
        self.asked.append(list(orders))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        told: Future[Sequence[CoinFill]] = Future()
        if isinstance(answer, Exception):
            told.set_exception(answer)
        else:
            told.set_result(answer)
        return told

    def end(self, reason: str = "target") -> None:
        self.settling.ended(self.memory, None, float(self.holdings.earned(D(61_000))), 1, 5.0, reason)

    def look(self, secs: int = 3) -> int:
        """Four times a second, until told; the seconds that took."""
        begun = self.now
        for _ in range(4 * secs):
            self.settling.look(self.memory, self.now)
            if self.told:
                break
            self.now += SECOND // 4
        return (self.now - begun) // SECOND


def test_what_was_heard_of_in_full_is_told_at_once_and_the_next_trade_begins() -> None:
    desk = Desk(BUY, SALE, answers=[()])
    desk.end()
    assert [(t.pnl, t.last_fill) for t in desk.told] == [(EARNED, 2)]
    assert (desk.asked, desk.paused, desk.memory.unsettled) == ([], set(), None)
    assert (desk.holdings.coins.opened, desk.holdings.coins.cost) == (0, 0)


def test_a_fill_that_was_made_up_is_asked_for_by_its_order_and_told_as_it_was() -> None:
    desk = Desk(BUY, MADE_UP, answers=[[BUY, SALE]])
    desk.end()
    assert (desk.told, desk.paused) == ([], {"result"})
    desk.look()
    assert [(t.pnl, t.exit_reason, t.last_fill) for t in desk.told] == [(EARNED, "target", 2)]
    assert (desk.asked, desk.paused, desk.memory.last_fill, desk.alarms) == ([["8"]], set(), 2, [])
    newest = desk.settling.newest
    # 0.00001 at 60,000, and 0.5
    assert newest is not None
    assert (newest.fee, newest.is_confirmed) == (1.1, True)


def test_trades_that_are_listed_late_or_not_all_at_once_are_waited_for() -> None:
    part = SALE._replace(quantity=D("0.00333"), fee=D("0.2"))
    rest = SALE._replace(trade_id="3", quantity=D("0.00666"), fee=D("0.3"))
    no_answer = RunFailedError("no answer")
    desk = Desk(BUY, MADE_UP, answers=[no_answer, (), [part], [part, rest]])
    desk.end()
    assert 3 <= desk.look(9) < 9
    assert [(t.pnl, t.last_fill) for t in desk.told] == [(EARNED, 3)]


@pytest.mark.parametrize("reckoned", [GUESSED, 5.0])
def test_what_the_venue_does_not_list_counts_as_the_worse_guess_with_an_alarm(reckoned: float) -> None:
    desk = Desk(BUY, MADE_UP, answers=[()])
    desk.end()
    assert desk.memory.unsettled is not None
    assert desk.memory.unsettled.reckoned == GUESSED
    desk.memory.unsettled = msgspec.structs.replace(desk.memory.unsettled, reckoned=reckoned)
    assert desk.look(30) >= 10
    assert [(t.pnl, t.last_fill) for t in desk.told] == [(reckoned, -1)]
    assert len(desk.alarms) == 1
    assert (desk.paused, desk.holdings.guessed) == (set(), [])


def test_a_venue_that_does_not_answer_is_asked_until_it_does() -> None:
    desk = Desk(BUY, MADE_UP, answers=[*[RunFailedError("no answer")] * 20, [SALE]])
    desk.end()
    assert desk.look(40) >= 20
    assert [t.pnl for t in desk.told] == [EARNED]


def test_a_kill_before_the_result_puts_it_off() -> None:
    before = Desk(BUY, MADE_UP, answers=[()])
    before.end()
    kept = msgspec.json.decode(msgspec.json.encode(before.memory), type=TradeMemory)
    after = Desk(BUY, MADE_UP, answers=[[SALE]])
    after.memory = kept
    after.settling.begin(kept)
    assert after.paused == {"result"}
    after.look()
    assert [(t.pnl, t.exit_reason) for t in after.told] == [(EARNED, "target")]


def test_a_trade_that_ended_while_no_node_was_alive_counts_from_its_last_fill() -> None:
    desk = Desk(BUY, SALE, answers=[()])  # counted at the start, from the venue
    desk.settling.away(desk.memory, 1, 5.0, 0.01)
    desk.look()
    told = [(t.pnl, t.exit_reason, t.ended, t.last_fill) for t in desk.told]
    assert told == [(EARNED, "while_away", 2 * SECOND, 2)]


def test_an_entry_that_was_made_up_is_put_right_while_the_trade_is_open() -> None:
    guess = BUY._replace(trade_id="3f1", price=D(59_000), fee=D(0), fee_asset="")
    desk = Desk(guess, answers=[[BUY]])
    assert desk.holdings.average_price == 59_000
    for _ in range(2):
        desk.results.refresh(desk.now)
    assert (desk.holdings.average_price, desk.holdings.guessed) == (60_000, [])
    desk.holdings.filled(SALE, D("NaN"))
    desk.end()
    assert [t.pnl for t in desk.told] == [EARNED]


def test_where_nobody_can_be_asked_the_guess_is_told() -> None:
    desk = Desk(BUY, MADE_UP)
    desk.end()
    assert [t.pnl for t in desk.told] == [GUESSED]
