"""The cover of coins on spot: the table of what follows from what, and a venue that does anything it may."""

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.coin_cover import (
    Cover,
    Drop,
    Leg,
    Pair,
    Reason,
    Sell,
    StopAlone,
    Wanted,
    cover,
    least_lots,
)
from strategies.values import InstrumentRules

PLAN = Wanted(stop_ticks=90, target_ticks=110)
STOP = Leg("s", 90, 50, settled=True)
TARGET = Leg("t", 110, 50, settled=True)


def test_coins_without_a_cover_get_one_list_for_all_of_them() -> None:
    assert cover(50, 5, PLAN, None, None, bid_ticks=100) == Cover(Pair(50, 90, 110), Reason.COVERING)


def test_without_a_target_the_stop_is_sent_alone() -> None:
    plan = Wanted(90, None)
    assert cover(50, 5, plan, None, None, bid_ticks=100) == Cover(StopAlone(50, 90), Reason.COVERING)


def test_a_cover_that_is_as_planned_is_left_alone() -> None:
    assert cover(50, 5, PLAN, STOP, TARGET, bid_ticks=100) == Cover(None, Reason.COVERED)
    assert cover(50, 5, Wanted(90, None), STOP, None) == Cover(None, Reason.COVERED)


@pytest.mark.parametrize(
    ("held", "plan", "stop", "target"),
    [
        (50, Wanted(92, 110), STOP, TARGET),  # the stop moves
        (50, Wanted(90, 112), STOP, TARGET),
        (60, PLAN, STOP, TARGET),  # more is held
        (40, PLAN, None, TARGET._replace(open_lots=40, has_filled=True)),  # the target filled in part
        (50, PLAN, STOP, None),
        (50, Wanted(90, None), STOP, TARGET),
        (50, PLAN, STOP._replace(is_adopted=True), TARGET),
        (50, PLAN._replace(leaving=True), STOP, TARGET),
    ],
)
def test_a_cover_that_is_not_as_planned_is_cancelled_by_one_of_its_orders(
    held: int, plan: Wanted, stop: Leg | None, target: Leg | None
) -> None:
    step, reason = cover(held, 5, plan, stop, target, bid_ticks=100)
    assert reason is Reason.CHANGING
    assert isinstance(step, Drop)
    assert step.order_id == ("t" if stop is None else "s")


def test_what_is_unanswered_or_selling_is_waited_for_until_it_is_overdue() -> None:
    sent = STOP._replace(settled=False)
    assert cover(60, 5, PLAN, sent, TARGET, bid_ticks=100) == Cover(None, Reason.WAITING)
    assert cover(60, 5, PLAN, sent, TARGET, bid_ticks=100, is_overdue=True).step == Drop("s")
    assert cover(50, 5, PLAN, None, None, is_selling=True, bid_ticks=100).reason is Reason.WAITING
    triggered = STOP._replace(has_filled=True, open_lots=20)
    assert cover(20, 5, PLAN, triggered, None, bid_ticks=100) == Cover(None, Reason.WAITING)


def test_the_other_of_a_list_is_given_a_moment_to_fill_or_to_go() -> None:
    for stop, target in ((STOP, None), (None, TARGET)):
        assert cover(50, 5, PLAN, stop, target, bid_ticks=100, is_fresh=True) == Cover(None, Reason.WAITING)
        assert cover(50, 5, PLAN, stop, target, bid_ticks=100).reason is Reason.CHANGING
    part = TARGET._replace(open_lots=40, has_filled=True)
    assert cover(40, 5, PLAN, None, part, bid_ticks=100, is_fresh=True).step == Drop("t")


def test_what_is_left_of_a_list_that_has_filled_is_the_venues_to_take_back() -> None:
    assert cover(0, 5, PLAN, STOP, None, bid_ticks=100) == Cover(None, Reason.WAITING)
    assert cover(0, 5, PLAN, STOP, None, bid_ticks=100, is_overdue=True).step == Drop("s")


def test_less_than_the_venue_takes_is_dust() -> None:
    assert cover(4, 5, PLAN, None, None, bid_ticks=100) == Cover(None, Reason.DUST)
    assert cover(0, 5, PLAN, None, None, bid_ticks=100) == Cover(None, Reason.FLAT)


@pytest.mark.parametrize("bid", [90, 80, 110, 120])
def test_a_level_that_the_market_has_passed_is_sold_at_once(bid: int) -> None:
    assert cover(50, 5, PLAN, None, None, bid_ticks=bid) == Cover(Sell(50), Reason.SELLING)


def test_a_refused_list_becomes_a_stop_alone_and_a_refused_stop_a_sale() -> None:
    once, twice = PLAN._replace(refused=1), PLAN._replace(refused=2)
    assert cover(50, 5, once, None, None, bid_ticks=100).step == StopAlone(50, 90)
    assert cover(50, 5, once, STOP, None, bid_ticks=100).reason is Reason.COVERED
    assert cover(50, 5, once, None, None, bid_ticks=115).step == StopAlone(50, 90)
    assert cover(50, 5, twice, None, None, bid_ticks=100).step == Sell(50)


def test_without_a_quote_nothing_is_sold_and_no_cover_given_up_for_it() -> None:
    leaving = PLAN._replace(leaving=True)
    assert cover(50, 5, leaving, STOP, TARGET).reason is Reason.COVERED
    assert cover(50, 5, leaving, None, None) == Cover(None, Reason.WAITING)


def test_the_fewest_lots_are_by_quantity_and_by_notional() -> None:
    rules = InstrumentRules(0.01, 0.00001, 0.00001, 9000.0, 5.0)
    assert least_lots(rules, 50_000.0) == 10  # 0.0001 BTC are 5 USDT
    assert least_lots(rules, 60_000.0) == 9  # 0.00009 are 5.4, 0.00008 only 4.8
    assert least_lots(InstrumentRules(0.01, 0.1, 0.5, 9000.0, 0.0), 1.0) == 5
    assert least_lots(rules, math.nan) == 2**62


@dataclass
class Exchange:
    """Coins of an account with a venue that answers when it likes, and cancels lists as one."""

    free: int
    orders: dict[str, Leg] = field(default_factory=dict)
    pair: bool = False
    going: set[str] = field(default_factory=set)
    selling: int = 0
    count: int = 0

    @property
    def offered(self) -> int:
        """What is on offer; a list offers its coins once."""
        legs = [leg.open_lots for leg in self.orders.values()]
        return (max(legs, default=0) if self.pair else sum(legs)) + self.selling

    def carry_out(self, step: Pair | StopAlone | Sell | Drop | None) -> None:
        self.count += 1
        if isinstance(step, Drop):
            assert step.order_id in self.orders
            self.going.add(step.order_id)
        elif isinstance(step, Sell):
            assert not self.orders
            self.selling = step.lots
        elif step is not None:
            assert not self.orders
            assert not self.selling
            self.pair = isinstance(step, Pair)
            self.orders[f"s{self.count}"] = Leg(f"s{self.count}", step.stop_ticks, step.lots, settled=False)
            if isinstance(step, Pair):
                self.orders[f"t{self.count}"] = Leg(
                    f"t{self.count}", step.target_ticks, step.lots, settled=False
                )
        assert self.offered <= self.free

    def leg(self, letter: str) -> Leg | None:
        return next((leg for name, leg in self.orders.items() if name[0] == letter), None)

    def accept(self) -> None:
        self.orders = {name: leg._replace(settled=True) for name, leg in self.orders.items()}

    def refuse(self) -> bool:
        fresh = bool(self.orders) and not any(leg.settled for leg in self.orders.values())
        if fresh:
            self.orders, self.going = {}, set()
        return fresh

    def cancel(self) -> None:
        if self.going:
            self.orders, self.going = {}, set()

    def sell(self, lots: int) -> None:
        lots = min(lots, self.selling)
        self.free, self.selling = self.free - lots, self.selling - lots

    def happens(self, event: str, lots: int) -> bool:
        """Whether a cover was refused."""
        if event == "refuse":
            return self.refuse()
        if event == "buy":
            self.free += lots
        elif event in ("stop", "target"):
            self.fill(event[0], lots)
        elif event == "sell":
            self.sell(lots)
        elif event == "accept":
            self.accept()
        elif event == "cancel":
            self.cancel()
        return False

    def fill(self, letter: str, lots: int) -> None:
        leg = self.leg(letter)
        if leg is None or not leg.settled:
            return
        lots = min(lots, leg.open_lots)
        self.free -= lots
        if lots < leg.open_lots:
            self.orders = {leg.order_id: leg._replace(open_lots=leg.open_lots - lots, has_filled=True)}
        else:
            self.orders, self.going = {}, set()
        self.pair = False


EVENT = st.sampled_from(
    ["accept", "refuse", "cancel", "sell", "stop", "target", "buy", "look", "leave", "move"]
)


@settings(max_examples=300, deadline=None)
@given(
    first=st.integers(0, 60),
    events=st.lists(st.tuples(EVENT, st.integers(1, 30), st.integers(80, 120)), max_size=40),
)
def test_never_more_is_offered_than_is_held_and_in_the_end_all_is_covered_sold_or_dust(
    first: int, events: list[tuple[str, int, int]]
) -> None:
    least, plan, bid = 5, PLAN, 100
    exchange = Exchange(first)

    def look(*, is_overdue: bool = False) -> Reason:
        found = cover(
            exchange.free,
            least,
            plan,
            exchange.leg("s"),
            exchange.leg("t"),
            is_selling=exchange.selling > 0,
            bid_ticks=bid,
            is_overdue=is_overdue,
        )
        exchange.carry_out(found.step)
        return found.reason

    for event, lots, ticks in events:
        if event == "leave":
            plan = plan._replace(leaving=True)
        elif event == "move":
            plan, bid = plan._replace(stop_ticks=min(ticks, 109)), ticks
        else:
            plan = plan._replace(refused=plan.refused + exchange.happens(event, lots))
        look()
        assert exchange.offered <= exchange.free
    for _ in range(6):  # a venue that answers everything
        exchange.accept()
        exchange.cancel()
        exchange.sell(exchange.selling)
        reason = look(is_overdue=True)
    assert reason in (Reason.COVERED, Reason.DUST, Reason.FLAT)
    if reason is Reason.COVERED:
        stop = exchange.leg("s")
        assert stop is not None
        assert (stop.open_lots, stop.ticks) == (exchange.free, plan.stop_ticks)
    else:
        assert exchange.free < least
        assert exchange.offered == 0
