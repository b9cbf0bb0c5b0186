"""The rehearsal venue's conditional orders: triggers, trailing, closing, and how their life is told."""

from decimal import Decimal
from typing import Any

import pytest

from live.rehearsal.book import Quote
from live.rehearsal.futures.venue import Venue
from tests.hand_venue import (
    algo,
    buy,
    depth,
    fills,
    hand_venue,
    mark,
    position,
    quote,
    refused,
    request,
    sell,
    story,
    trade,
)

D = Decimal
GOES: dict[str, Any] = {"close_position": True, "time_in_force": "GTE_GTC"}


def status(venue: Venue, algo_id: int) -> str:
    return venue.algo_order("main", algo_id).status


@pytest.mark.parametrize(
    ("side", "kind", "quantity", "values", "code"),
    [
        ("BUY", "LIMIT", "0.01", {"price": "50000"}, -1116),
        ("SELL", "STOP_MARKET", "0.01", {}, -1102),
        ("SELL", "STOP_MARKET", None, {"trigger_price": "49000"}, -1102),
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "49000.05"}, -4014),
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "0"}, -4006),
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "9999999"}, -4007),
        ("SELL", "STOP_MARKET", "0.0005", {"trigger_price": "49000"}, -1111),
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "49000", "price": "49000"}, -1106),
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "49000", "working_type": "INDEX"}, -4031),
        ("SELL", "STOP_MARKET", "0.002", {"trigger_price": "49000"}, -4164),
        ("SELL", "STOP", "0.01", {"trigger_price": "49000"}, -1102),
        # 5 % around the trigger: a sell at least 46,550, a buy at most 53,550.
        ("SELL", "STOP", "0.01", {"trigger_price": "49000", "price": "46549.9"}, -4184),
        ("BUY", "STOP", "0.01", {"trigger_price": "51000", "price": "53550.1"}, -4183),
        # Last trade and mark are 50,000.
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "50000"}, -2021),
        ("BUY", "STOP_MARKET", "0.01", {"trigger_price": "50000"}, -2021),
        ("SELL", "TAKE_PROFIT_MARKET", "0.01", {"trigger_price": "50000"}, -2021),
        ("BUY", "TAKE_PROFIT_MARKET", "0.01", {"trigger_price": "50000"}, -2021),
        ("SELL", "TRAILING_STOP_MARKET", "0.01", {}, -1102),
        ("SELL", "TRAILING_STOP_MARKET", "0.01", {"callback_rate": "0.05"}, -2007),
        ("SELL", "TRAILING_STOP_MARKET", "0.01", {"callback_rate": "10.1"}, -2007),
        ("SELL", "TRAILING_STOP_MARKET", "0.01", {"callback_rate": "1", "activation_price": "50000"}, -2021),
        ("BUY", "TRAILING_STOP_MARKET", "0.01", {"callback_rate": "1", "activation_price": "50000"}, -2021),
        ("SELL", "STOP_MARKET", "0.01", {"trigger_price": "49000", "close_position": True}, -4137),
        (
            "SELL",
            "STOP_MARKET",
            None,
            {"trigger_price": "49000", "close_position": True, "reduce_only": True},
            -1106,
        ),
        ("SELL", "TRAILING_STOP_MARKET", None, {"callback_rate": "1", "close_position": True}, -4136),
        ("SELL", "STOP_MARKET", None, {"trigger_price": "49000", "close_position": True}, -4509),
    ],
)
def test_a_conditional_request_outside_the_rules_is_refused(
    side: str, kind: str, quantity: str | None, values: dict[str, Any], code: int
) -> None:
    venue = hand_venue()
    with refused(code):
        venue.place_algo("main", request(side, kind, quantity, **values))
    assert venue.drain() == []


@pytest.mark.parametrize(
    ("side", "kind", "trigger", "short_of", "reaches"),
    [
        ("SELL", "STOP_MARKET", "49000", "49000.1", "49000"),
        ("BUY", "STOP_MARKET", "51000", "50999.9", "51000"),
        ("SELL", "TAKE_PROFIT_MARKET", "51000", "50999.9", "51000"),
        ("BUY", "TAKE_PROFIT_MARKET", "49000", "49000.1", "49000"),
    ],
)
@pytest.mark.parametrize("working_type", ["CONTRACT_PRICE", "MARK_PRICE"])
def test_stops_and_targets_trigger_at_their_price_of_the_working_type(
    side: str, kind: str, trigger: str, short_of: str, reaches: str, working_type: str
) -> None:
    venue = hand_venue()
    order = algo(venue, side, kind, "0.01", trigger_price=trigger, working_type=working_type)
    move, other = (trade, mark) if working_type == "CONTRACT_PRICE" else (mark, trade)
    other(venue, reaches)
    move(venue, short_of)
    assert status(venue, order.algo_id) == "NEW"
    move(venue, reaches)
    assert status(venue, order.algo_id) == "FINISHED"
    assert position(venue).amount == (D("0.01") if side == "BUY" else D("-0.01"))


def test_a_triggered_stop_is_told_step_by_step_with_the_order_it_set_off() -> None:
    venue = hand_venue()
    buy(venue, "0.1")
    stop = algo(
        venue, "SELL", "STOP_MARKET", "0.1", trigger_price="49000", reduce_only=True, client_order_id="s1"
    )
    depth(venue, [("48990", "0.06"), ("48980", "1")], [("49001", "1")])
    venue.drain()
    trade(venue, "48999")
    assert story(venue) == [
        "AlgoUpdate TRIGGERING",
        "OrderUpdate NEW NEW",
        "AlgoUpdate TRIGGERED",
        "AccountUpdate ORDER",
        "OrderUpdate TRADE PARTIALLY_FILLED",
        "AccountUpdate ORDER",
        "OrderUpdate TRADE FILLED",
        "AlgoUpdate FINISHED",
    ]
    done = venue.algo_order("main", client_algo_id="s1")
    # (48,990 x 0.06 + 48,980 x 0.04) / 0.1
    assert (done.actual_price, done.actual_quantity, done.actual_type) == (D(48986), D("0.1"), "MARKET")
    order = venue.order("main", "BTCUSDT", done.actual_order_id)
    assert (order.client_order_id, order.type, order.original_type) == ("s1", "MARKET", "STOP_MARKET")
    assert (order.stop_price, order.algo_id) == (D(49000), stop.algo_id)
    with refused(-2011):
        venue.cancel_algo("main", stop.algo_id)


def test_a_stop_limit_rests_in_the_book_after_its_trigger() -> None:
    venue = hand_venue()
    order = algo(venue, "BUY", "STOP", "0.01", trigger_price="51000", price="50900")
    quote(venue, "50990", "51000")
    trade(venue, "51000")
    found = venue.algo_order("main", order.algo_id)
    assert found.status == "TRIGGERED"
    (resting,) = venue.open_orders("main")
    assert (resting.order_id, resting.type, resting.price) == (found.actual_order_id, "LIMIT", D(50900))
    venue.cancel("main", "BTCUSDT", resting.order_id)
    finished = venue.algo_order("main", order.algo_id)
    assert (finished.status, finished.actual_quantity) == ("FINISHED", 0)


def test_a_trailing_sell_follows_the_highest_price() -> None:
    venue = hand_venue()
    buy(venue, "0.1")
    order = algo(venue, "SELL", "TRAILING_STOP_MARKET", "0.1", callback_rate="1", reduce_only=True)
    trade(venue, "51000")
    trade(venue, "50500")
    # One percent under 51,000.
    assert venue.algo_order("main", order.algo_id).trigger_price == D(50490)
    trade(venue, "50490.1")
    assert status(venue, order.algo_id) == "NEW"
    trade(venue, "50490")
    assert status(venue, order.algo_id) == "FINISHED"
    assert position(venue).amount == 0


def test_a_trailing_buy_waits_for_its_activation_and_follows_the_lowest_price() -> None:
    venue = hand_venue()
    order = algo(
        venue,
        "BUY",
        "TRAILING_STOP_MARKET",
        "0.01",
        callback_rate="2",
        activation_price="49000",
        working_type="MARK_PRICE",
    )
    for price in ("49500", "51000", "49000.1"):
        mark(venue, price)
    assert not venue.algo_order("main", order.algo_id).active
    for price in ("49000", "48000", "48900"):
        mark(venue, price)
    found = venue.algo_order("main", order.algo_id)
    assert (found.active, found.extreme, found.trigger_price) == (True, D(48000), D(48960))
    mark(venue, "48960")
    assert status(venue, order.algo_id) == "FINISHED"


def test_price_protection_holds_a_trigger_back_while_mark_and_last_are_apart() -> None:
    venue = hand_venue()
    order = algo(venue, "SELL", "STOP_MARKET", "0.01", trigger_price="49000", price_protect=True)
    # 52,000 - 49,000 is more than 5 % of 52,000, 51,500 - 49,000 is not.
    mark(venue, "52000")
    trade(venue, "49000")
    assert status(venue, order.algo_id) == "NEW"
    mark(venue, "51500")
    assert status(venue, order.algo_id) == "FINISHED"


def test_a_close_position_stop_closes_what_is_there_whatever_its_size() -> None:
    venue = hand_venue()
    buy(venue, "0.02")
    stop = algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="49000")
    buy(venue, "0.05")
    trade(venue, "48000")
    assert position(venue).amount == 0
    assert fills(venue)[-1] == (D(50000), D("0.07"), False)
    order = venue.order("main", "BTCUSDT", venue.algo_order("main", stop.algo_id).actual_order_id)
    assert order.close_position
    assert order.reduce_only


def test_a_close_position_stop_expires_with_its_position_and_a_reduce_only_one_stays() -> None:
    venue = hand_venue()
    buy(venue, "0.02")
    closing = algo(
        venue, "SELL", "STOP_MARKET", close_position=True, time_in_force="GTE_GTC", trigger_price="49000"
    )
    plain = algo(venue, "SELL", "STOP_MARKET", "0.02", trigger_price="49000", reduce_only=True)
    sell(venue, "0.01")
    assert status(venue, closing.algo_id) == "NEW"
    sell(venue, "0.01", reduce_only=True)
    assert status(venue, closing.algo_id) == "EXPIRED"
    assert venue.open_algo_orders("main") == [plain]
    trade(venue, "48000")
    rejected = venue.algo_order("main", plain.algo_id)
    assert (rejected.status, rejected.reason) == ("REJECTED", "Reduce Only reject")
    assert position(venue).amount == 0


def test_a_close_position_stop_may_come_before_the_entry_and_goes_with_it() -> None:
    venue = hand_venue()
    entry = buy(venue, "0.02", "49500")
    stop = algo(
        venue, "SELL", "STOP_MARKET", close_position=True, time_in_force="GTE_GTC", trigger_price="49000"
    )
    venue.cancel("main", "BTCUSDT", entry.order_id)
    assert status(venue, stop.algo_id) == "EXPIRED"
    buy(venue, "0.02", "49500")
    stop = algo(
        venue, "SELL", "STOP_MARKET", close_position=True, time_in_force="GTE_GTC", trigger_price="49000"
    )
    trade(venue, "49499")
    assert status(venue, stop.algo_id) == "NEW"
    sell(venue, "0.05")
    assert position(venue).amount == D("-0.03")
    assert status(venue, stop.algo_id) == "EXPIRED"


def test_a_close_position_stop_expires_with_its_position_even_while_an_entry_waits() -> None:
    venue = hand_venue()
    buy(venue, "0.02")
    stop = algo(
        venue, "SELL", "STOP_MARKET", close_position=True, time_in_force="GTE_GTC", trigger_price="49000"
    )
    buy(venue, "0.02", "49500")
    sell(venue, "0.02")
    assert status(venue, stop.algo_id) == "EXPIRED"


def test_a_plain_close_position_stop_outlives_its_position_and_does_nothing_when_it_triggers() -> None:
    venue = hand_venue()
    buy(venue, "0.02")
    stop = algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="49000")
    sell(venue, "0.02")
    assert status(venue, stop.algo_id) == "NEW"  # an orphan: whoever placed it has to take it away
    trade(venue, "48000")
    assert status(venue, stop.algo_id) in ("EXPIRED", "REJECTED")
    assert position(venue).amount == 0


def test_one_close_position_stop_and_one_target_a_direction() -> None:
    venue = hand_venue()
    buy(venue, "0.02")
    algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="49000")
    algo(venue, "SELL", "TAKE_PROFIT_MARKET", close_position=True, trigger_price="51000")
    with refused(-4130):
        algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="48000")
    with refused(-4130):
        algo(venue, "SELL", "TAKE_PROFIT_MARKET", close_position=True, trigger_price="52000")
    assert algo(venue, "SELL", "STOP_MARKET", "0.02", trigger_price="48000").status == "NEW"


def test_margin_is_checked_at_the_trigger() -> None:
    venue = hand_venue()
    order = algo(venue, "BUY", "STOP_MARKET", "5", trigger_price="51000")
    venue.drain()
    trade(venue, "51000")
    found = venue.algo_order("main", order.algo_id)
    assert (found.status, found.reason) == ("REJECTED", "Margin is insufficient.")
    assert story(venue) == ["AlgoUpdate TRIGGERING", "AlgoUpdate REJECTED"]
    assert venue.all_orders("main", "BTCUSDT") == []


def test_conditional_orders_are_cancelled_counted_and_unique_by_client_id() -> None:
    venue = hand_venue()
    first = algo(venue, "SELL", "STOP_MARKET", "0.01", trigger_price="49000", client_order_id="a")
    with refused(-4116):
        algo(venue, "SELL", "STOP_MARKET", "0.01", trigger_price="49000", client_order_id="a")
    assert venue.cancel_algo("main", client_algo_id="a").status == "CANCELED"
    with refused(-2011):
        venue.cancel_algo("main", first.algo_id)
    with refused(-2013):
        venue.algo_order("main", client_algo_id="b")
    for _ in range(10):
        algo(venue, "SELL", "STOP_MARKET", "0.01", trigger_price="49000")
    with refused(-4045):
        algo(venue, "SELL", "STOP_MARKET", "0.01", trigger_price="49000")
    assert len(venue.cancel_all_algo("main", "BTCUSDT")) == 10
    assert venue.open_algo_orders("main") == []
    assert len(venue.all_algo_orders("main", "BTCUSDT")) == 11


def test_a_gtd_conditional_order_expires() -> None:
    venue = hand_venue()
    till = venue.now_ms + 700_000
    values = {"trigger_price": "49000", "time_in_force": "GTD", "good_till_ms": till}
    order = algo(venue, "SELL", "STOP_MARKET", "0.01", **values)
    venue.set_time(till)
    assert status(venue, order.algo_id) == "EXPIRED"


def test_two_stops_on_one_position_fire_once_each_and_reduce_no_more_than_there_is() -> None:
    venue = hand_venue()
    buy(venue, "0.02")
    for _ in range(2):
        algo(venue, "SELL", "STOP_MARKET", "0.02", trigger_price="49000", reduce_only=True)
    trade(venue, "49000")
    assert [order.status for order in venue.all_algo_orders("main")] == ["FINISHED", "REJECTED"]
    assert position(venue).amount == 0


def test_before_any_trade_or_mark_the_middle_of_the_quote_triggers() -> None:
    venue = Venue(hand_venue().specs.values(), balances={"USDT": D(1000)})
    venue.apply(Quote(1, "BTCUSDT", D(50000), D(1), D(50000) + 1, D(1)))
    order = algo(venue, "SELL", "STOP_MARKET", "0.01", trigger_price="49000")
    venue.apply(Quote(2, "BTCUSDT", D(48999), D(1), D(49001), D(1)))
    assert status(venue, order.algo_id) == "FINISHED"


def test_hedge_mode_closes_by_the_position_side() -> None:
    venue = hand_venue()
    venue.set_position_mode("main", True)
    buy(venue, "0.02", position_side="LONG")
    sell(venue, "0.02", position_side="SHORT")
    with refused(-2022):
        algo(venue, "BUY", "STOP_MARKET", close_position=True, trigger_price="51000", position_side="LONG")
    algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="49000", position_side="LONG")
    algo(venue, "BUY", "STOP_MARKET", close_position=True, trigger_price="51000", position_side="SHORT")
    trade(venue, "49000")
    assert (position(venue, "LONG").amount, position(venue, "SHORT").amount) == (0, D("-0.02"))
    assert [order.side for order in venue.open_algo_orders("main")] == ["BUY"]
