"""A position that the engine believes in and the venue does not have, and one that it cannot count."""

from typing import Any

import pytest
from nautilus_trader.model import OrderStatus

from actors.messages import OrderRefused
from strategies.entries import PendingEntry
from strategies.ghost import Ghost
from strategies.live_care import LiveCare
from strategies.memory import TradeMemory
from strategies.values import Approved
from tests.desk_bench import NAME, Bench

NO_POSITION = "submit-order-error: Binance error -4509 (HTTP 400): can only be used with open positions"
NOTHING_TO_REDUCE = "code=-2022: ReduceOnly Order is rejected."


def _counted(bench: Bench) -> list[str]:
    """The refusals that the guard was told of, by role."""
    return [message.role for _, message in bench.told if isinstance(message, OrderRefused)]


def _actions(bench: Bench, name: str) -> list[Any]:
    details = [getattr(message, "detail", {}) for _, message in bench.told]
    return [detail for detail in details if detail.get("action") == name]


def _hear_for_long(bench: Bench, amount: float, *waiting: Any) -> None:
    bench.hear(amount, *waiting)
    bench.now += 3_000_000_000
    bench.hear(amount, *waiting)


def test_a_position_that_the_venue_denies_for_three_seconds_is_none_and_nothing_is_sent_for_it() -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    bench.hear(0.0)
    bench.now += 2_900_000_000
    bench.hear(0.0)
    assert bench.keeper.held_lots() == 75, "it may be news on its way, or an old answer"
    bench.now += 100_000_000
    bench.hear(0.0)
    assert (bench.keeper.held_lots(), bench.keeper.trade) == (0, None)
    bench.keeper.exit("time")
    bench.wait(2.0)
    assert bench.sent == [stop]
    assert bench.cancelled == [], "the stop costs nothing, and the venue may be wrong"
    bench.keeper.see_bar(10, 0, 1000.0)
    refused = bench.keeper.refuses()
    assert refused is not None
    assert refused.check == "position", "no entry before the engine has seen it"
    assert ["venue is flat" in text for text in bench.alarms()] == [True]


def test_the_engine_is_right_again_once_it_is_flat() -> None:
    bench = Bench()
    bench.open()
    _hear_for_long(bench, 0.0)
    bench.held = 0.030  # it hears of it bit by bit
    assert bench.keeper.held_lots() == 0
    bench.held = 0.0
    bench.keeper.protect()
    bench.held = 0.020
    assert bench.keeper.held_lots() == 20
    assert bench.word.amount is None


def test_a_denied_position_that_is_there_after_all_is_protected_again() -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    _hear_for_long(bench, 0.0)
    assert bench.word.amount == 0.0
    stop.status = OrderStatus.CANCELED
    bench.desk.release(stop.client_order_id)
    bench.hear(0.075)
    assert bench.keeper.held_lots() == 75
    assert bench.sent[1].closes
    assert bench.word.amount is None


def test_an_answer_that_was_long_on_its_way_is_no_new_one() -> None:
    bench = Bench()
    bench.open()
    bench.hear(0.0)
    asked_at = bench.now + 1_000_000_000
    bench.now += 3_500_000_000
    bench.word.heard(0.0, (), asked_at)
    bench.word.act()
    assert bench.keeper.held_lots() == 75
    bench.hear(0.0)
    assert bench.keeper.held_lots() == 0


def test_a_venue_that_was_wrong_has_cost_no_position_its_stop() -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    _hear_for_long(bench, 0.0, stop)
    assert bench.keeper.held_lots() == 0
    bench.hear(0.075, stop)
    assert bench.cancelled == []
    assert bench.is_covered
    assert bench.status(str(stop.client_order_id)) == OrderStatus.ACCEPTED


def test_the_stop_of_what_is_not_there_goes_once_the_engine_has_seen_it() -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    _hear_for_long(bench, 0.0, stop)
    bench.held = 0.0
    bench.keeper.protect()
    assert bench.cancelled == [str(stop.client_order_id)]


def test_what_is_bought_beside_a_ghost_is_there_when_the_ghost_has_gone() -> None:
    ghost = Ghost()
    ghost.see(70, 0)
    assert ghost.true_lots(100) == 100
    assert ghost.true_lots(30) == 30


@pytest.mark.parametrize("amounts", [(0.0, 0.075, 0.0), (0.0, 0.025)])
def test_once_is_not_twice_and_a_part_is_left_to_the_engine(amounts: tuple[float, ...]) -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    for amount in amounts:
        bench.hear(amount, stop)
        bench.now += 3_000_000_000
    bench.hear(amounts[-1] or 0.075, stop)
    assert bench.keeper.held_lots() == 75


# -- refusals ----------------------------------------------------------------------------------------------


def test_refusals_of_what_has_nothing_to_close_do_not_count() -> None:
    bench = Bench()
    bench.open()
    bench.hear(0.075)
    bench.hear(0.075)  # its stop is gone: another is sent
    bench.refuse(bench.sent[1], NO_POSITION)
    bench.refuse(bench.sent[2], NOTHING_TO_REDUCE)
    assert bench.word.is_wanted
    assert _counted(bench) == []
    bench.hear(0.0)
    assert bench.keeper.held_lots() == 75
    bench.hear(0.0)  # and it will not close it either
    assert bench.keeper.held_lots() == 0
    assert _counted(bench) == []
    assert not bench.word.is_wanted
    bench.hear(0.075)
    assert _counted(bench) == []


def test_they_count_when_there_is_something_to_close() -> None:
    bench = Bench()
    bench.open()
    bench.hear(0.075)
    bench.hear(0.075)
    bench.refuse(bench.sent[1], NO_POSITION)
    bench.hear(0.0)  # asked before the position was there
    bench.hear(0.075)
    assert _counted(bench) == ["stop"]


def test_they_count_when_nobody_answers() -> None:
    bench = Bench()
    bench.open()
    bench.keeper.exit("time")
    bench.refuse(bench.sent[1], NOTHING_TO_REDUCE)
    bench.now += 5_100_000_000
    bench.word.act()
    assert _counted(bench) == ["exit"]


def test_every_other_refusal_counts_at_once() -> None:
    bench = Bench()
    bench.open()
    bench.keeper.exit("time")
    bench.refuse(bench.sent[1], "code=-2019: Margin is insufficient.")
    assert _counted(bench) == ["exit"]
    assert not bench.word.withholds("entry", NOTHING_TO_REDUCE)


# -- a start -----------------------------------------------------------------------------------------------


def _left_behind() -> TradeMemory:
    return TradeMemory(NAME, held_lots=75, trade=Bench().open(), tick_size=0.1, step_size=0.001)


def _heard(care: LiveCare, amount: float) -> None:
    care.word.heard(amount, ())
    care.word.act()


def test_the_mirror_of_what_was_left_behind_is_no_position() -> None:
    """Its stop fired between two questions of the engine's, which knows of the closing fill alone."""
    bench = Bench(held=-0.075)
    care = bench.start(_left_behind())
    assert care.word.is_wanted
    assert bench.sent == []
    assert [adopted["quantity"] for adopted in _actions(bench, "adopt")] == [0.0]
    assert len(_actions(bench, "closed_while_away")) == 1
    assert _actions(bench, "unexpected_position") == []
    _heard(care, 0.0)
    assert care.word.amount == 0.0
    bench.now += 60_000_000_000
    care.word.act()
    assert bench.keeper.held_lots() == 0
    assert bench.sent == []


def test_the_mirror_of_an_entry_that_was_under_way_is_no_position_either() -> None:
    pending = PendingEntry(Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {}), (), 75)
    bench = Bench(held=-0.075)
    bench.start(TradeMemory(NAME, pending=pending, tick_size=0.1, step_size=0.001))
    assert (bench.keeper.held_lots(), bench.sent) == (0, [])


def test_a_mirror_that_the_venue_has_is_covered_and_closed() -> None:
    bench = Bench(held=-0.075)
    care = bench.start(_left_behind())
    _heard(care, -0.075)
    assert [order.closes for order in bench.sent] == [True, False]
    assert all(order.is_buy for order in bench.sent)


def test_a_mirror_that_nobody_can_be_asked_about_is_believed_after_a_while() -> None:
    bench = Bench(held=-0.075)
    care = bench.start(_left_behind())
    bench.now += 4_000_000_000
    care.word.act()
    assert bench.sent == []
    bench.now += 1_100_000_000
    care.word.act()
    assert bench.keeper.held_lots() == -75
    assert bench.sent[0].closes


def test_a_position_of_the_side_that_was_left_behind_is_believed_at_once() -> None:
    bench = Bench()
    bench.start(_left_behind())
    assert [order.closes for order in bench.sent] == [True]
    assert bench.keeper.trade is not None


# -- steps -------------------------------------------------------------------------------------------------


def test_of_a_position_between_two_coarser_steps_the_venue_knows_how_much_it_is() -> None:
    bench = Bench(held=0.31, step="0.01")
    bench.desk.renew_rules()
    bench.open()
    (stop,) = bench.sent
    _hear_for_long(bench, 0.306, stop)
    assert (bench.keeper.held_lots(), bench.word.amount) == (306, 0.306)
    assert bench.keeper.trade is not None
    assert bench.sent == [stop]
    bench.keeper.exit("time")
    assert [order.quantity.as_double() for order in bench.sent[1:]] == [0.31], "reduce-only, in whole steps"


def test_half_a_step_that_is_left_of_it_is_not_there() -> None:
    bench = Bench(held=0.01, step="0.01")
    bench.desk.renew_rules()
    bench.open()
    _hear_for_long(bench, 0.0)
    assert (bench.keeper.held_lots(), bench.keeper.trade) == (0, None)


def test_a_difference_of_a_whole_step_is_left_to_the_engine() -> None:
    bench = Bench(held=0.31, step="0.01")
    bench.desk.renew_rules()
    bench.open()
    for _ in range(2):
        _hear_for_long(bench, 0.3, bench.sent[0])
    assert (bench.keeper.held_lots(), bench.word.amount) == (310, None)
