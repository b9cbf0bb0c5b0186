"""Auto-deleveraging at the rehearsal venue: what is taken away, at what price, and what is told; by hand.

BTCUSDT is at 50,000.0 x 50,000.1 at the entry. The market buy of 0.1 costs a commission of 2.500005.
"""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.futures.events import AccountUpdate
from live.rehearsal.futures.venue import Venue
from tests.hand_venue import (
    BTC,
    ETH,
    algo,
    buy,
    hand_venue,
    mark,
    position,
    quote,
    refused,
    sell,
    story,
    wallet,
)

D = Decimal


def winning(*, is_isolated: bool = False) -> Venue:
    """With 0.1 BTC bought at 50,000.1, a target, a stop, and the market at 52,000."""
    venue = hand_venue()
    if is_isolated:
        venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    buy(venue, "0.1")
    sell(venue, "0.08", "54000", reduce_only=True)
    algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="49000")
    quote(venue, "52000.0", "52000.1")
    mark(venue, "52000")
    venue.drain()
    return venue


def test_a_part_goes_at_the_mark_and_what_reduces_shrinks_with_it() -> None:
    venue = winning()
    before = wallet(venue)
    (order,) = venue.deleverage("main", "BTCUSDT", D(50))
    assert story(venue) == [
        "OrderUpdate NEW NEW",
        "AccountUpdate ORDER",
        "OrderUpdate CALCULATED FILLED",
        "OrderUpdate AMENDMENT NEW",
    ]
    assert (order.client_order_id, order.side, order.type, order.time_in_force) == (
        "adl_autoclose",
        "SELL",
        "LIMIT",
        "GTC",
    )
    assert (order.executed, order.average_price, order.status) == (D("0.05"), D(52000), "FILLED")
    assert position(venue).amount == D("0.05")
    assert [o.quantity for o in venue.open_orders("main")] == [D("0.05")]
    assert len(venue.open_algo_orders("main")) == 1
    # 0.05 x (52,000 - 50,000.1) = 99.995, less 2,600 x 0.05 %
    assert wallet(venue) - before == D("99.995") - D("1.3")


def test_all_of_it_goes_at_a_price_that_is_given_past_the_book() -> None:
    venue = winning()
    before = wallet(venue)
    (order,) = venue.deleverage("main", "BTCUSDT", D(100), D("52500"))
    assert (order.executed, order.average_price, position(venue).amount) == (D("0.1"), D(52500), 0)
    # 0.1 x (52,500 - 50,000.1) = 249.99, less 5,250 x 0.05 %
    assert wallet(venue) - before == D("249.99") - D("2.625")
    assert venue.open_orders("main") == []  # nothing is left for it to reduce
    assert len(venue.open_algo_orders("main")) == 1  # an orphan, as on the exchange
    assert venue.deleverage("main", "BTCUSDT", D(100)) == []


def test_a_part_is_of_whole_steps_and_never_none() -> None:
    venue = winning()
    (order,) = venue.deleverage("main", "BTCUSDT", D("0.1"))
    assert order.executed == D("0.001")


def test_an_isolated_position_gives_its_share_of_the_margin_back() -> None:
    venue = winning(is_isolated=True)
    assert position(venue).isolated_wallet == D("250.0005")
    venue.drain()
    venue.deleverage("main", "BTCUSDT", D(50))
    assert position(venue).isolated_wallet == D("125.00025")
    (told,) = [event for event in venue.drain() if isinstance(event, AccountUpdate)]
    # 9,747.499495 outside, half of the margin, and 99.995 - 1.3
    assert told.balances[0].cross == D("9747.499495") + D("125.00025") + D("98.695")


def test_a_short_is_bought_back_and_other_symbols_are_left_alone() -> None:
    venue = hand_venue(specs=(replace(BTC, liquidation_fee=D(0)), ETH))
    mark(venue, "3000", symbol="ETHUSDT")
    quote(venue, "3000", "3000.01", size="10", symbol="ETHUSDT")
    sell(venue, "0.1")
    buy(venue, "1", symbol="ETHUSDT")
    (order,) = venue.deleverage("main", "BTCUSDT", D(100))
    assert (order.side, position(venue).amount) == ("BUY", 0)
    assert position(venue, symbol="ETHUSDT").amount == 1


def test_it_is_one_of_the_venues_own_orders_and_survives_a_restart() -> None:
    venue = winning()
    (order,) = venue.deleverage("main", "BTCUSDT", D(50))
    assert venue.forced_orders("main") == [order]
    assert order.deleverages
    again = hand_venue()
    again.restore(venue.snapshot())
    assert again.forced_orders("main") == [order]
    with refused(-1121):
        venue.deleverage("main", "NONEUSDT", D(50))


def test_one_after_the_other_has_the_same_client_id_and_another_number() -> None:
    venue = winning()
    orders = [venue.deleverage("main", "BTCUSDT", D(10))[0] for _ in range(2)]
    assert {o.client_order_id for o in orders} == {"adl_autoclose"}
    assert len({o.order_id for o in orders}) == 2
    assert position(venue).amount == D("0.081")  # 0.010 of 0.1, 0.009 of 0.09
