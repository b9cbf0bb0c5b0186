"""What is left of coins below a step that the venue has made coarser: no dust, and sold once it can be."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.model import OrderStatus

from strategies.coin_keeper import CoinKeeper, LeftOver
from strategies.holdings import CoinFill, Holdings
from strategies.journal import Journal
from strategies.live_care import LiveCare
from strategies.memory import TradeMemory
from tests.desk_bench import NAME, Bench

_CHEAPEST = 5.0  # of an order, in quote currency: five lots at 1000


class Coins:
    """So many coins held, bought at 1000, in lots of 0.001 where the venue's step is now 0.01."""

    def __init__(self, amount: str) -> None:
        self.bench = Bench(step="0.01")
        setup = self.bench.setup
        setup.holds_coins, setup.has_closing_stop = True, False
        setup.live = SimpleNamespace(holdings=None, budget=None, coin_fills=None)
        setup.instrument.min_notional = SimpleNamespace(as_double=lambda: _CHEAPEST)
        self.holdings = Holdings(NAME, "BTC", "USDT", Decimal("0.001"), None)
        journal = Journal(self.bench.strategy, "a", NAME)
        self.keeper = CoinKeeper(self.bench.strategy, setup, self.bench.desk, journal, self.holdings)
        self.holdings.filled(
            CoinFill("1", True, Decimal(amount), Decimal(1000), Decimal(0), "USDT", 1), Decimal(1000)
        )
        self.bench.desk.renew_rules()

    def coarser(self) -> None:
        """The venue makes its step coarser."""
        self.bench.instrument = Bench(step="0.01").instrument
        self.bench.desk.renew_rules()

    def wait(self, secs: float, stop: float, *, leaves: str | None = None) -> None:
        """Looks once a second."""
        for _ in range(round(secs)):
            self.bench.now += 1_000_000_000
            self.match(stop, leaves=leaves)

    def accept(self) -> None:
        """The venue takes what was sent last."""
        self.bench.sent[-1].status = OrderStatus.ACCEPTED

    def plan_again(self) -> None:
        """The venue has its old step again."""
        self.bench.instrument = Bench().instrument
        self.bench.desk.renew_rules()

    def match(self, stop: float, *, leaves: str | None = None) -> None:
        opened: Any = SimpleNamespace(
            plan=SimpleNamespace(stop_ticks=round(stop * 10)), rungs=(), exit_reason=leaves
        )
        self.keeper.match(opened, may_sell=True)


def test_whole_steps_are_held_of_more() -> None:
    assert Coins("0.027").keeper.held_lots() == 20


def test_a_rest_below_the_new_step_is_held_if_the_planned_rules_take_it() -> None:
    assert Coins("0.007").keeper.held_lots() == 7
    assert Coins("0.004").keeper.held_lots() == 0  # worth less than any order, then as now


def test_nothing_is_sent_for_a_rest_that_the_venue_does_not_take() -> None:
    coins = Coins("0.007")
    coins.match(990.0)
    coins.match(990.0, leaves="time")
    coins.keeper.last_resort(None, 0.01)
    assert coins.bench.sent == []


def test_a_rest_is_covered_when_the_planned_rules_are_back() -> None:
    coins = Coins("0.007")
    coins.plan_again()
    coins.match(990.0)
    (stop,) = coins.bench.sent
    assert (stop.quantity.as_double(), stop.trigger_price.as_double()) == (0.007, 990.0)


def test_a_rest_whose_stop_the_market_has_passed_is_sold_then() -> None:
    coins = Coins("0.007")
    coins.match(1010.0)
    coins.plan_again()
    coins.match(1010.0)
    (sale,) = coins.bench.sent
    assert (sale.is_buy, sale.quantity.as_double()) == (False, 0.007)


def _covered_before(amount: str) -> Coins:
    """So many coins, covered by a stop at 990 when the step becomes coarser."""
    coins = Coins(amount)
    coins.plan_again()
    coins.match(990.0)
    coins.accept()
    coins.coarser()
    return coins


def test_a_stop_for_less_than_the_new_step_is_never_taken_back() -> None:
    coins = _covered_before("0.007")
    coins.wait(30, 990.0)
    coins.wait(30, 995.0)
    coins.wait(30, 995.0, leaves="time")
    assert (len(coins.bench.sent), coins.bench.cancelled) == (1, [])
    assert coins.keeper.left_over is None


def test_a_stop_for_more_than_whole_new_steps_stays_while_its_level_does() -> None:
    coins = _covered_before("0.027")
    coins.wait(30, 990.0)
    assert coins.bench.cancelled == []
    assert coins.keeper.left_over is None
    coins.wait(1, 995.0)
    assert coins.bench.cancelled == [str(coins.bench.sent[0].client_order_id)]


def test_what_no_order_takes_is_told_with_its_worth() -> None:
    coins = Coins("0.007")
    coins.match(990.0)
    assert coins.keeper.left_over == LeftOver(0.007, pytest.approx(0.007 * 999.9), is_all=True)
    some = Coins("0.027")
    some.match(990.0)
    some.accept()
    assert some.keeper.left_over == LeftOver(0.007, pytest.approx(0.007 * 999.9), is_all=False)


def test_dust_and_what_can_be_sold_are_not_left_over() -> None:
    assert Coins("0.004").keeper.left_over is None
    coins = Coins("0.027")
    coins.plan_again()
    assert coins.keeper.left_over is None


def _care(coins: Coins, leaves: str | None = None) -> LiveCare:
    """What the strategy tells of them as the node ends."""
    keeper: Any = SimpleNamespace(
        coins=coins.keeper,
        held_lots=coins.keeper.held_lots,
        entry=SimpleNamespace(pending=None),
        trade=SimpleNamespace(exit_reason=leaves),
    )
    care = LiveCare.__new__(LiveCare)
    vars(care).update(_keeper=keeper, _orders=coins.bench.desk, _setup=coins.bench.setup)
    care._memory = TradeMemory(NAME)
    return care


@pytest.mark.parametrize("leaves", [None, "time"])
def test_an_end_does_not_wait_for_what_no_order_takes(leaves: str | None) -> None:
    care = _care(Coins("0.007"), leaves)
    assert (care.is_safe, care.is_quiet) == (True, True)


def test_an_end_waits_for_what_can_be_covered() -> None:
    coins = Coins("0.027")
    assert not _care(coins).is_safe
    coins.match(990.0)
    assert not _care(coins).is_safe
    coins.accept()
    care = _care(coins, "time")
    assert (care.is_safe, care.is_quiet) == (True, False)  # its sale is under way


def test_the_planned_rules_are_made_use_of_as_soon_as_they_are_back() -> None:
    bench, looks = Bench(), list[int]()
    care = bench.start()
    bench.instrument = Bench(step="0.01").instrument
    care.new_rules()
    bench.keeper.protect = lambda: looks.append(bench.now)  # type: ignore[method-assign]
    bench.instrument = Bench().instrument
    care.new_rules()
    assert looks == [bench.now]
    care.new_rules()
    assert len(looks) == 1  # nothing has changed since
