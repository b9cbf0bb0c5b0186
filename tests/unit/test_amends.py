"""Targets that another size is wanted of: those found at a start are replaced, the others changed, once."""

from typing import Any

from nautilus_trader.model import OrderStatus, OrderType

from strategies.amends import Amends
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade, open_trade
from strategies.protect import Modify
from strategies.values import Approved
from tests.desk_bench import NAME, Bench

APPROVED = Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {})
LADDER = ((0.02, 0.4), (0.04, 0.6))  # 30 lots at 1020, 45 at 1040
SECOND = 1_000_000_000


def _trade(bench: Bench) -> OpenTrade:
    return open_trade(APPROVED, LADDER, 1000.0, 75, bench.setup.rules, 10.0)


def _started(*found: tuple[str, float, float], held: float = 0.075) -> Bench:
    """A node that has begun with a position of 75 lots remembered, and these targets found."""
    bench = Bench(held=held)
    for name, quantity, price in found:
        bench.find(name, quantity, price)
    bench.start(TradeMemory(NAME, 75, _trade(bench), tick_size=0.1, step_size=0.001))
    return bench


def _targets(bench: Bench) -> list[tuple[float, float]]:
    """The targets that were sent: quantity and price."""
    sent = [order for order in bench.sent if order.order_type == OrderType.LIMIT]
    return [(order.quantity.as_double(), order.price.as_double()) for order in sent]


def test_a_found_target_of_another_size_is_cancelled_and_sent_anew_not_changed() -> None:
    bench = _started(("00-a-3T0", 0.008, 1020.0), ("00-a-4T1", 0.045, 1040.0))
    assert bench.changed == []
    assert bench.cancelled == ["00-a-3T0"]
    assert _targets(bench) == []  # not before the old one is known to be gone
    bench.answer(bench.found[0], OrderStatus.CANCELED)
    assert _targets(bench) == [(0.03, 1020.0)]
    assert bench.cancelled == ["00-a-3T0"]


def test_a_found_target_stays_until_the_market_is_known_in_which_another_takes_its_place() -> None:
    bench = Bench()
    target = bench.find("00-a-3T0", 0.008, 1020.0)
    bench.find("00-a-4T1", 0.045, 1040.0)
    quote, bench.strategy.cache.quote = bench.strategy.cache.quote, lambda _: None
    bench.strategy.request_trades = lambda *_, **__: None
    bench.strategy.cache.trade = lambda _: None
    bench.start(TradeMemory(NAME, 75, _trade(bench), tick_size=0.1, step_size=0.001))
    assert bench.cancelled == []
    bench.strategy.cache.quote = quote
    bench.wait(0.25)
    assert bench.cancelled == ["00-a-3T0"]
    bench.answer(target, OrderStatus.CANCELED)
    assert _targets(bench) == [(0.03, 1020.0)]


def test_a_found_target_of_the_right_size_is_left_alone() -> None:
    bench = _started(("00-a-3T0", 0.03, 1020.0), ("00-a-4T1", 0.045, 1040.0))
    assert (bench.changed, bench.cancelled, _targets(bench)) == ([], [], [])


def test_a_found_target_that_fills_before_its_cancel_leaves_only_the_rest_of_its_share() -> None:
    bench = _started(("00-a-3T0", 0.008, 1020.0), ("00-a-4T1", 0.045, 1040.0))
    bench.held = 0.067
    bench.fill(bench.found[0], 0.008)
    assert _targets(bench) == [(0.022, 1020.0)]


def test_a_part_that_fills_before_the_cancel_is_not_sent_again() -> None:
    bench = _started(("00-a-3T0", 0.008, 1020.0), ("00-a-4T1", 0.045, 1040.0))
    bench.held = 0.07
    bench.fill(bench.found[0], 0.005, OrderStatus.PENDING_CANCEL)
    assert _targets(bench) == []
    bench.answer(bench.found[0], OrderStatus.CANCELED)
    assert _targets(bench) == [(0.025, 1020.0)]


def test_a_cancel_of_a_found_target_that_is_confirmed_late_is_not_sent_twice() -> None:
    bench = _started(("00-a-3T0", 0.008, 1020.0), ("00-a-4T1", 0.045, 1040.0))
    bench.wait(5.0)
    assert bench.cancelled == ["00-a-3T0"]
    assert _targets(bench) == []


def test_what_a_target_closed_while_nobody_was_there_is_not_closed_again() -> None:
    bench = _started(("00-a-4T1", 0.045, 1040.0), held=0.045)
    assert (bench.changed, bench.cancelled, _targets(bench)) == ([], [], [])


def test_a_target_that_filled_in_part_while_nobody_was_there_keeps_its_rest() -> None:
    bench = Bench(held=0.055)
    target = bench.find("00-a-3T0", 0.03, 1020.0)
    target.leaves_qty, target.filled_qty = bench.instrument.make_qty(0.01), bench.instrument.make_qty(0.02)
    bench.find("00-a-4T1", 0.045, 1040.0)
    bench.start(TradeMemory(NAME, 75, _trade(bench), tick_size=0.1, step_size=0.001))
    assert (bench.changed, bench.cancelled, _targets(bench)) == ([], [], [])
    bench.held = 0.045
    bench.fill(target, 0.01)
    assert _targets(bench) == []


def test_a_target_sent_by_this_node_is_changed_by_whoever_takes_it_over() -> None:
    bench = Bench()
    bench.find("00-a-3T0", 0.008, 1020.0).ts_submitted = bench.now
    bench.find("00-a-4T1", 0.045, 1040.0).ts_submitted = bench.now
    bench.start(TradeMemory(NAME, 75, _trade(bench), tick_size=0.1, step_size=0.001))
    assert bench.changed == [("00-a-3T0", 0.03)]
    assert bench.cancelled == []


def test_a_venue_that_cuts_what_it_confirms_is_asked_again_after_a_second() -> None:
    """It holds less than the engine believes: each confirmation would bring the next request."""
    bench = Bench()
    target: Any = bench.find("00-a-3T0", 0.008, 1020.0)
    target.ts_submitted = bench.now
    bench.find("00-a-4T1", 0.045, 1040.0).ts_submitted = bench.now
    bench.start(TradeMemory(NAME, 75, _trade(bench), tick_size=0.1, step_size=0.001))
    for _ in range(5):
        target.leaves_qty = bench.instrument.make_qty(0.008)
        bench.answer(target)
    assert bench.changed == [("00-a-3T0", 0.03)]
    bench.wait(1.0)
    assert bench.changed == [("00-a-3T0", 0.03)] * 2


def test_another_change_of_the_same_order_is_asked_for_at_once() -> None:
    amends, step = Amends(), Modify("target", "00-a-3T0", 30, 10_200)
    assert amends.asks(step, 0)
    assert amends.asks(step._replace(lots=20), 1)
    assert amends.asks(step, 2)
    assert not amends.asks(step, 2 + SECOND - 1)
    assert amends.asks(step._replace(order_id="00-a-4T1"), 3)
    assert amends.asks(step, 2 + SECOND)
