"""What is left of coins below a step that the venue has made coarser: no dust, and sold once it can be."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from strategies.coin_keeper import CoinKeeper
from strategies.holdings import CoinFill, Holdings
from strategies.journal import Journal
from tests.desk_bench import NAME, Bench

_CHEAPEST = 5.0  # of an order, in quote currency: five lots at 1000


class Coins:
    """So many coins held, bought at 1000, in lots of 0.001 where the venue's step is now 0.01."""

    def __init__(self, amount: str) -> None:
        self.bench = Bench(step="0.01")
        setup = self.bench.setup
        setup.holds_coins, setup.live = True, None
        setup.instrument.min_notional = SimpleNamespace(as_double=lambda: _CHEAPEST)
        self.holdings = Holdings(NAME, "BTC", "USDT", Decimal("0.001"), None)
        journal = Journal(self.bench.strategy, "a", NAME)
        self.keeper = CoinKeeper(self.bench.strategy, setup, self.bench.desk, journal, self.holdings)
        self.holdings.filled(
            CoinFill("1", True, Decimal(amount), Decimal(1000), Decimal(0), "USDT", 1), Decimal(1000)
        )
        self.bench.desk.renew_rules()

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
