"""Which coins are covered, judged by the venue's open orders alone."""

from decimal import Decimal
from typing import Any

import pytest

from live.venue.spot_client import Order, SpotRules
from live.watching.coin_cover import CoinCover, Held, coin_cover

D = Decimal
PRICE = D(50_000)
RULES = SpotRules(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick=D("0.01"),
    step=D("0.00001"),
    min_quantity=D("0.00001"),
    max_quantity=D(9_000),
    market_step=D("0.00001"),
    market_max_quantity=D(100),
    min_notional=D(5),
)


def order(quantity: str, kind: str = "STOP_LOSS", name: str = "00-mwq7m77i-3S0", **more: Any) -> Order:
    values: dict[str, Any] = {"side": "SELL", "status": "NEW", "is_working": False} | more
    return Order(
        symbol="BTCUSDT", order_id=1, client_order_id=name, type=kind, quantity=D(quantity), **values
    )


def held(amount: str, others: str = "0") -> Held:
    return Held(D(amount), D(49_000), D(others), D(amount))


def cover(orders: list[Order], amount: str = "0.01", others: str = "0") -> CoinCover:
    found = coin_cover(held(amount, others), RULES, PRICE, orders)
    assert found is not None
    return found


def test_what_the_venue_takes_in_no_order_is_not_held() -> None:
    assert coin_cover(held("0.00009999"), RULES, PRICE, []) is None  # 0.00009 are 4.5 USDT
    assert coin_cover(held("0.0001"), RULES, PRICE, []) is not None


def test_whole_steps_are_held_and_a_rest_below_the_least_need_not_be_covered() -> None:
    found = cover([order("0.00991")], "0.010009")
    assert (found.amount, found.covered, found.is_whole) == (D("0.01"), D("0.00991"), True)
    assert not cover([order("0.0099")]).is_whole


@pytest.mark.parametrize(
    ("orders", "covered"),
    [
        ([], "0"),
        ([order("0.01")], "0.01"),
        ([order("0.01", "STOP_LOSS_LIMIT")], "0.01"),
        ([order("0.01", "STOP_LOSS_LIMIT", is_working=True)], "0"),
        ([order("0.01", "LIMIT_MAKER", "00-mwq7m77i-2T0", is_working=True)], "0"),
        ([order("0.01", side="BUY")], "0"),
        ([order("0.01", executed=D("0.004"))], "0.006"),
        ([order("0.004"), order("0.006", name="watchdog-1763-1")], "0.010"),
        ([order("0.02")], "0.01"),
    ],
    ids=["none", "stop", "limit", "passed", "target", "buys", "filled", "two", "more"],
)
def test_a_stop_of_ours_that_waits_covers_what_it_still_offers(orders: list[Order], covered: str) -> None:
    assert cover(orders).covered == D(covered)


@pytest.mark.parametrize(("offered", "covered"), [("2", "0"), ("2.004", "0.004"), ("3", "0.01")])
def test_a_strangers_stop_sells_the_strangers_coins_first(offered: str, covered: str) -> None:
    found = cover([order(offered, name="web_4711")], others="2")
    assert found.covered == D(covered)
    assert found.orders == ()


def test_what_protects_nothing_is_told_with_the_reason() -> None:
    target = order("0.01", "LIMIT_MAKER", "00-mwq7m77i-2T0", is_working=True)
    assert cover([target]).text == ("0.01 held, bought at 49000, no stop; order 00-mwq7m77i-2T0 is no stop")
