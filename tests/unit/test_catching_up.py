"""What happened while no node was alive: of an open trade, and of trades that are over."""

from actors.risk_rules import DayMemory, DayRules
from configs.trading import DayLimits
from strategies.open_trade import OpenTrade
from strategies.orders import slot_of
from strategies.trade import PlanState, Rung
from strategies.values import Approved

LADDER = (Rung(110, 30, 0.3), Rung(120, 30, 0.3), Rung(130, 40, 0.4))


def trade_of(lots: int, rungs: tuple[Rung, ...] = LADDER) -> OpenTrade:
    approved = Approved(1, 1.0, 0.01, float(lots), 10.0, "risk", {})
    return OpenTrade(approved, PlanState(1, 100, 90), rungs, 1, lots)


def test_targets_that_filled_unheard_are_done() -> None:
    trade = trade_of(100)
    trade.catch_up(40, 100, 100, {0: 30, 1: 30})
    assert [(rung.lots, rung.closed) for rung in trade.rungs] == [(0, 30), (0, 30), (40, 0)]


def test_an_entry_that_grew_before_its_targets_filled_leaves_them_what_is_left_of_their_shares() -> None:
    trade = trade_of(100)
    trade.catch_up(140, 100, 200, {0: 60})
    assert trade.entry_lots == 200
    assert [(rung.lots, rung.closed) for rung in trade.rungs] == [(0, 60), (60, 0), (80, 0)]


def test_an_addition_found_after_a_kill_is_no_entry() -> None:
    trade = trade_of(100)
    trade.catch_up(150, 100, 100, {})
    assert trade.entry_lots == 100
    assert [rung.lots for rung in trade.rungs] == [45, 45, 60]


def test_without_a_venue_to_ask_the_nearest_targets_filled_first() -> None:
    trade = trade_of(100)
    trade.catch_up(55, 100, 0, {})
    assert [(rung.lots, rung.closed) for rung in trade.rungs] == [(0, 30), (15, 15), (40, 0)]


def test_an_order_id_says_what_it_was_for() -> None:
    assert slot_of("00-mwpwd4v3-4T1") == ("target", 1)
    assert slot_of("00-mwpwd4v3-1E0") == ("entry", 0)
    assert slot_of("315b6614-e6bb-55c8-b86b-1eac3411aa54").role == "foreign"


def test_trades_that_closed_while_no_node_was_alive_count_in_the_order_of_their_ends() -> None:
    limits = DayLimits(loss_streak=3)
    gain_last, loss_last = DayRules(limits, DayMemory(streak=1)), DayRules(limits, DayMemory(streak=1))
    gain_last.closed(9, 5.0, 4)
    gain_last.closed(9, -5.0, 3)
    loss_last.closed(9, 5.0, 3)
    loss_last.closed(9, -5.0, 4)
    assert (gain_last.memory.streak, loss_last.memory.streak) == (0, 1)
