"""A live position keeps a working stop, whatever answer is lost and whatever the engine believes."""

from typing import Any

import pytest
from nautilus_trader.model import OrderStatus

from configs.errors import RunFailedError
from strategies.trade import Rung
from tests.desk_bench import BUY, Bench

# -- answers that do not come ------------------------------------------------------------------------------


def test_a_move_whose_bridge_is_not_answered_goes_on_by_another() -> None:
    bench = Bench()
    bench.open()
    bench.move(9_900)
    closing, lost = bench.sent
    bench.wait(0.5)
    bench.move(9_910)
    assert bench.sent == [closing, lost]
    bench.wait(0.6)
    other = bench.sent[2]
    assert other.trigger_price.as_double() == 991.0  # the plan has gone on meanwhile
    assert other.client_order_id != lost.client_order_id
    assert not bench.cancelled
    bench.answer(other)
    assert bench.cancelled == [str(closing.client_order_id)]
    assert bench.is_covered
    bench.answer(closing, OrderStatus.CANCELED)
    bench.answer(bench.sent[3])
    assert bench.sent[3].closes
    assert bench.is_covered


def test_a_bridge_passed_over_goes_when_its_answer_comes_after_all() -> None:
    bench = Bench()
    bench.open()
    bench.move(9_900)
    lost = bench.sent[1]
    bench.wait(1.1)
    bench.answer(lost)
    assert bench.cancelled == []
    bench.wait(0.1)
    assert bench.cancelled == [str(lost.client_order_id)]
    assert not bench.desk.is_idle
    assert bench.is_covered


def test_where_answers_are_lost_again_and_again_the_next_tries_wait_longer() -> None:
    bench = Bench()
    bench.open()
    bench.move(9_900)
    sent = []
    for _ in range(80):
        bench.wait(0.1)
        sent.append(len(bench.sent))
    assert [sent.index(count) + 1 for count in (3, 4, 5)] == [11, 32, 53]
    assert bench.is_covered


def test_a_closing_stop_that_is_not_answered_holds_up_no_further_move() -> None:
    bench = Bench()
    bench.open()
    bench.move(9_900)
    closing, bridge = bench.sent
    bench.answer(bridge)
    bench.answer(closing, OrderStatus.CANCELED)
    lost = bench.sent[2]
    bench.wait(1.1)
    assert bench.sent[3:] == []  # the bridge stands where the stop should be
    bench.move(9_950)
    moved = bench.sent[3]
    assert moved.closes
    assert moved.trigger_price.as_double() == 995.0
    assert bench.is_covered
    bench.answer(moved)
    assert bench.cancelled == [str(closing.client_order_id), str(bridge.client_order_id)]
    bench.answer(lost)
    bench.wait(0.1)
    assert bench.cancelled[2:] == [str(lost.client_order_id)]


def _moving() -> tuple[Bench, Any]:
    """A stop on its way: the bridge stands, the closing stop is being cancelled."""
    bench = Bench()
    bench.open()
    bench.move(9_900)
    closing, bridge = bench.sent
    bench.answer(bridge)
    return bench, closing


def _refused(bench: Bench, closing: Any, reason: str) -> list[float]:
    """When (seconds) its cancel was sent within a quarter of a minute, refused with each bar."""
    tries = []
    for step in range(60):
        if bench.status(str(closing.client_order_id)) == OrderStatus.PENDING_CANCEL:
            tries.append(step / 4)
            bench.keeper.see_bar(step, bench.now, 1000.0)
            bench.refuse_change(closing, reason)
        bench.wait(0.25)
    return tries


@pytest.mark.parametrize("code", [-2013, -2011])
def test_a_cancel_that_is_refused_again_and_again_is_tried_every_two_seconds(code: int) -> None:
    """Neither at once, whatever bar it is, nor ever later: the move of the stop waits for it."""
    bench, closing = _moving()
    tries = _refused(bench, closing, f"cancel-order-error: Binance error {code} (HTTP 400): Unknown")
    assert tries == [0.0, *(1.0 + 2.0 * times for times in range(7))]
    assert bench.is_covered
    bench.move(9_950)
    bench.wait(2.0)
    bench.answer(closing, OrderStatus.CANCELED)
    assert bench.sent[2].closes
    assert bench.sent[2].trigger_price.as_double() == 995.0


def test_a_cancel_that_is_one_request_too_many_is_tried_ever_later() -> None:
    bench, closing = _moving()
    tries = _refused(bench, closing, "cancel-order-error: Binance error -1003 (HTTP 429): Too many")
    assert tries == [0.0, 1.0, 3.0, 7.0]


def test_the_stop_of_a_position_without_a_plan_has_a_stand_in_when_it_is_not_answered() -> None:
    bench = Bench()
    bench.keeper.protect()
    lost, leaving = bench.sent
    assert (lost.closes, leaving.is_reduce_only) == (True, True)
    bench.wait(1.1)
    stand_in = next(order for order in bench.sent[2:] if hasattr(order, "trigger_price"))
    assert (stand_in.closes, stand_in.quantity.as_double()) == (False, 0.075)
    assert stand_in.trigger_price == lost.trigger_price
    bench.answer(stand_in)
    assert bench.is_covered


def test_targets_that_keep_an_exit_from_being_taken_make_way_for_it() -> None:
    """Binance counts orders that wait to reduce against what a new one may close."""
    bench = Bench()
    opened = bench.open()
    opened.rungs = (Rung(10_200, 75, 1.0),)
    bench.keeper.protect()
    target = bench.sent[1]
    bench.answer(target)
    bench.keeper.exit("time")
    bench.refuse(bench.sent[2], "code=-4118: ReduceOnly Order Failed. Please check your existing position")
    assert bench.cancelled == [str(target.client_order_id)]
    bench.answer(target, OrderStatus.CANCELED)
    bench.wait(1.1)
    bench.keeper.exit("time")
    assert [order.quantity.as_double() for order in bench.sent[3:]] == [0.075]  # the exit, and no target
    assert bench.is_covered


@pytest.mark.parametrize(
    ("reason", "is_sent"),
    [("code=-1008: Request throttled by system-level protection", True), ("code=-1003: Too many", False)],
)
def test_a_bare_position_asks_for_its_stop_soon_again_unless_it_asks_too_often(
    reason: str, *, is_sent: bool
) -> None:
    bench = Bench()
    bench.open()
    bench.hear(0.075)
    bench.hear(0.075)  # gone
    stops = [order for order in bench.sent if order.closes]
    for _ in range(3):
        bench.refuse(stops[-1], reason)
        before = len(stops)
        bench.wait(2.1)
        stops = [order for order in bench.sent if order.closes]
    assert (len(stops) > before) is is_sent


def test_a_stop_stays_while_the_engine_may_be_right_that_something_is_held() -> None:
    bench = Bench()
    bench.open()
    bench.keeper._doubles.found(75, bench.now)
    bench.keeper._doubles.told(75, bench.now - 1, bench.now)
    bench.keeper.protect()
    assert (bench.keeper.trade, bench.keeper.held_lots()) == (None, 0)
    assert bench.cancelled == []
    bench.held = 0.0
    bench.wait(13.0)
    assert bench.cancelled == [str(bench.sent[0].client_order_id)]


# -- the venue's own word ----------------------------------------------------------------------------------


def test_a_stop_that_the_venue_does_not_have_is_sent_again() -> None:
    bench = Bench()
    bench.open()
    (gone,) = bench.sent
    bench.hear(0.075)
    assert bench.word.is_wanted
    assert bench.sent == [gone]  # its news may be on their way
    bench.hear(0.075)
    assert bench.sent[1].closes
    assert bench.sent[1].trigger_price == gone.trigger_price
    assert "does not work at the venue" in bench.alarms()[0]


def test_a_stop_that_waits_or_has_closed_all_or_fires_just_now_is_left_alone() -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    bench.hear(0.075)
    bench.hear(0.075, stop)
    bench.hear(0.075)
    bench.hear(0.0)
    stop.status = OrderStatus.TRIGGERED
    bench.hear(0.075)
    bench.hear(0.075)
    assert bench.sent == [stop]
    assert bench.alarms() == []


def test_a_stop_that_fired_and_closed_nothing_is_sent_again() -> None:
    bench = Bench()
    bench.open()
    (stop,) = bench.sent
    stop.status = OrderStatus.TRIGGERED
    bench.now += 6_000_000_000
    bench.hear(0.075)
    bench.hear(0.075)
    assert [order.closes for order in bench.sent] == [True, True]


@pytest.mark.parametrize(("amount", "level"), [(0.075, 990.0), (-0.075, 1010.0)])
def test_a_position_that_the_engine_does_not_know_of_gets_a_stop(amount: float, level: float) -> None:
    bench = Bench(held=0.0)
    bench.hear(amount)
    assert (bench.sent, bench.word.is_wanted) == ([], True)
    bench.hear(amount)
    (stop,) = bench.sent
    assert (stop.closes, stop.is_buy, stop.trigger_price.as_double()) == (True, amount < 0.0, level)
    bench.answer(stop)
    bench.hear(amount, stop)
    assert bench.cancelled == []
    bench.hear(0.0, stop)
    assert bench.cancelled == [str(stop.client_order_id)]


def test_the_stop_of_an_unknown_position_stays_when_the_engine_hears_of_it() -> None:
    bench = Bench(held=0.0)
    bench.hear(0.075)
    bench.hear(0.075)
    (stop,) = bench.sent
    bench.answer(stop)
    bench.held = 0.075
    bench.keeper.protect()
    assert bench.keeper.unheard == 0
    assert bench.is_covered
    assert bench.cancelled == []


def test_a_rest_below_the_venues_step_is_closed_by_its_smallest_order() -> None:
    bench = Bench(held=0.0, step="0.01")
    assert not bench.desk.renew_rules()
    bench.hear(0.005)
    bench.hear(0.005)
    stop, leaving = bench.sent
    assert stop.closes
    assert (leaving.is_reduce_only, leaving.side == BUY, leaving.quantity.as_double()) == (True, False, 0.01)
    bench.hear(0.005, stop)
    assert bench.sent == [stop, leaving]  # it is on its way


def test_a_whole_position_is_covered_but_left_to_the_engine() -> None:
    bench = Bench(held=0.0, step="0.01")
    bench.desk.renew_rules()
    for _ in range(4):
        bench.hear(0.02)
    assert [order.closes for order in bench.sent] == [True]


# -- rules that change -------------------------------------------------------------------------------------


def test_a_coarser_step_rounds_what_closes_up_and_is_told() -> None:
    bench = Bench(step="0.01")
    assert not bench.desk.renew_rules()
    assert bench.desk.has_new_grid
    assert bench.desk.quantity(75).as_double() == 0.08
    assert bench.desk.least_lots == 10


def test_coins_are_rounded_down_no_more_can_be_sold_than_there_are() -> None:
    bench = Bench(step="0.01")
    bench.setup.holds_coins = True
    bench.desk.renew_rules()
    assert bench.desk.quantity(75).as_double() == 0.07
    assert bench.desk.quantity(4).as_double() == 0.01


def test_a_step_changed_before_the_start_keeps_no_position_from_its_stop() -> None:
    bench = Bench(held=0.08, step="0.01")
    care = bench.start()
    stop = bench.sent[0]
    assert stop.closes
    assert stop.trigger_price.as_double() == 990.0
    assert care.gate.reason == "rules_changed"
    assert "start the node again once flat" in bench.alarms()[0]


def test_rules_that_change_back_are_asked_for_and_taken() -> None:
    bench, asked = Bench(held=0.08, step="0.01"), list[object]()
    bench.strategy.request_instrument = asked.append
    care = bench.start()
    bench.answer(bench.sent[0])
    bench.now += 2_000_000_000
    care.tick()
    assert asked == []
    bench.now += 6_000_000_000
    care.tick()
    assert asked == [bench.setup.instrument.id]
    bench.instrument = Bench().instrument
    care.new_rules()
    assert not bench.desk.has_new_grid
    assert care.gate.reason == "rules_changed"  # entries wait for the restart that was asked for


def test_a_second_change_of_the_step_is_taken_and_told_once() -> None:
    bench = Bench(step="0.01")
    care = bench.start()
    bench.instrument = Bench(step="0.1").instrument
    care.new_rules()
    assert bench.desk.least_lots == 100
    assert len(bench.alarms()) == 1


def test_an_instrument_that_the_venue_does_not_have_is_one_clear_line() -> None:
    bench = Bench()
    bench.instrument = None
    with pytest.raises(RunFailedError, match=r"BTCUSDT-PERP\.BINANCE: the venue has no such instrument"):
        bench.desk.renew_rules()


# -- leaving -----------------------------------------------------------------------------------------------


def test_a_position_beyond_one_market_order_is_closed_in_several() -> None:
    bench = Bench()
    bench.setup.rules = bench.setup.rules._replace(max_quantity=0.05)
    bench.open()
    bench.keeper.exit("halted")
    first = bench.sent[-1]
    assert float(first.quantity) == 0.05
    bench.held = 0.025
    bench.answer(first, OrderStatus.FILLED)
    bench.keeper.exit("halted")
    assert [float(order.quantity) for order in bench.sent[1:]] == [0.05, 0.025]


def test_an_exit_that_could_not_even_be_sent_is_tried_again() -> None:
    bench = Bench()
    bench.open()
    willing = bench.strategy.submit_order

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("not sent")

    bench.strategy.submit_order = fail
    with pytest.raises(RuntimeError, match="not sent"):
        bench.keeper.exit("session")
    bench.strategy.submit_order = willing
    bench.keeper.exit("session")
    assert [float(order.quantity) for order in bench.sent[1:]] == [0.075]


def test_an_exit_whose_fill_could_not_be_dealt_with_does_not_keep_the_next_one_back() -> None:
    bench = Bench()
    bench.open()
    bench.keeper.exit("session")
    exit_order = bench.sent[-1]
    publish = bench.strategy.publish_message

    def fail(*_: object) -> None:
        raise RuntimeError("no room")

    bench.strategy.publish_message = fail
    bench.held = 0.025
    with pytest.raises(RuntimeError, match="no room"):
        bench.fill(exit_order, 0.05)
    bench.strategy.publish_message = publish
    bench.keeper.exit("session")
    assert float(bench.sent[-1].quantity) == 0.025


def test_what_an_entry_under_way_still_fills_after_the_order_to_leave_leaves_as_well() -> None:
    bench = Bench(held=0.0)
    bench.enter(75)
    (entry,) = bench.sent
    bench.keeper.exit("halted")
    bench.held = 0.075
    bench.fill(entry, 0.075)
    assert bench.keeper.trade is not None
    assert bench.keeper.trade.exit_reason == "halted"  # the next look sends the exit
    assert bench.sent[1].closes  # and until then it is covered
