"""The rehearsal venue's filters, matching and order life, against hand-worked numbers."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from live.rehearsal.book import Quote
from live.rehearsal.errors import TEXTS, VenueError, refuse
from tests.hand_venue import (
    BTC,
    START_MS,
    buy,
    depth,
    fills,
    hand_venue,
    mark,
    quote,
    refused,
    request,
    sell,
    story,
    trade,
)

D = Decimal


def test_every_text_can_be_filled_with_words_for_its_gaps() -> None:
    for code, text in TEXTS.items():
        assert "{}" not in refuse(code, "a", "b").message
        assert refuse(code, "a", "b").code == code
        assert text


def test_a_refusal_carries_the_http_status_that_binance_answersreplace() -> None:
    assert refuse(-1003, 2400).http_status == 429
    assert refuse(-2015).http_status == 401
    assert refuse(-2019).http_status == 400


@pytest.mark.parametrize(
    ("side", "kind", "quantity", "values", "code"),
    [
        ("LONG", "LIMIT", "0.01", {"price": "50000"}, -1117),
        ("BUY", "OTHER", "0.01", {"price": "50000"}, -1116),
        ("BUY", "STOP_MARKET", "0.01", {"trigger_price": "51000"}, -4120),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "symbol": "DOGEUSDT"}, -1121),
        ("BUY", "LIMIT", None, {"price": "50000"}, -1102),
        ("BUY", "LIMIT", "0.01", {}, -1102),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "time_in_force": None}, -1102),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "time_in_force": "DAY"}, -1115),
        ("BUY", "MARKET", "0.01", {"price": "50000"}, -1106),
        ("BUY", "MARKET", "0.01", {"time_in_force": "GTC"}, -1106),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "client_order_id": "x" * 37}, -4015),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "client_order_id": "a b"}, -1100),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "position_side": "LONG"}, -4061),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "position_side": "UP"}, -4060),
        ("BUY", "LIMIT", "0", {"price": "50000"}, -4003),
        ("BUY", "LIMIT", "0.0105", {"price": "50000"}, -1111),
        ("BUY", "LIMIT", "1000.001", {"price": "50000"}, -4005),
        ("BUY", "MARKET", "120.001", {}, -4005),
        ("BUY", "LIMIT", "0.01", {"price": "-1"}, -4001),
        ("BUY", "LIMIT", "0.01", {"price": "50000.001"}, -1111),
        ("BUY", "LIMIT", "0.01", {"price": "50000.05"}, -4014),
        ("BUY", "LIMIT", "0.01", {"price": "4529764.1"}, -4002),
        ("BUY", "LIMIT", "0.01", {"price": "556.7"}, -4013),
        # 5 % around the mark price of 50,000: a buy at most 52,500, a sell at least 47,500.
        ("BUY", "LIMIT", "0.01", {"price": "52500.1"}, -4016),
        ("SELL", "LIMIT", "0.01", {"price": "47499.9"}, -4024),
        # 0.002 x 49,999.9 is 99.9998 USDT, 0.001 x 50,000 is 50 USDT: both under 100.
        ("BUY", "LIMIT", "0.002", {"price": "49999.9"}, -4164),
        ("BUY", "MARKET", "0.001", {}, -4164),
        ("BUY", "LIMIT", "0.01", {"price": "50000", "time_in_force": "GTD"}, -1102),
        (
            "BUY",
            "LIMIT",
            "0.01",
            {"price": "50000", "time_in_force": "GTD", "good_till_ms": START_MS + 600_000},
            -5040,
        ),
    ],
)
def test_a_request_outside_the_rules_is_refused_with_binances_code(
    side: str, kind: str, quantity: str | None, values: dict[str, Any], code: int
) -> None:
    venue = hand_venue()
    with refused(code):
        venue.place("main", request(side, kind, quantity, **values))
    assert venue.drain() == []
    assert venue.all_orders("main", "BTCUSDT") == []


def test_limits_named_in_a_refusal_are_those_of_the_symbol() -> None:
    venue = hand_venue()
    with pytest.raises(VenueError, match=r"Limit price can't be higher than 52500\.0\."):
        buy(venue, "0.01", "52500.1")
    with pytest.raises(VenueError, match=r"no smaller than 100 \(unless you choose reduce only\)"):
        buy(venue, "0.001", "50000")


def test_the_edges_of_the_filters_are_inside() -> None:
    venue = hand_venue()
    assert buy(venue, "0.002", "50000").status == "NEW"
    assert sell(venue, "0.01", "52500").status == "NEW"
    assert buy(venue, "0.01", "47500").status == "NEW"


def test_a_market_order_pays_the_levels_and_what_the_book_lacks_expires() -> None:
    venue = hand_venue()
    depth(venue, [("49999", "1")], [("50000.1", "0.1"), ("50001", "0.05")])
    order = buy(venue, "0.2")
    assert fills(venue) == [(D("50000.1"), D("0.1"), False), (D("50001"), D("0.05"), False)]
    assert (order.status, order.executed) == ("EXPIRED", D("0.15"))
    # (50,000.1 x 0.1 + 50,001 x 0.05) / 0.15 = 7,500.06 / 0.15
    assert order.average_price == D("50000.4")


def test_size_that_was_taken_is_gone_until_the_next_quote() -> None:
    venue = hand_venue()
    quote(venue, "50000.0", "50000.1", size="0.1")
    assert buy(venue, "0.06").status == "FILLED"
    assert buy(venue, "0.06").executed == D("0.04")
    with refused(-1112):
        buy(venue, "0.06")
    quote(venue, "50000.0", "50000.1", size="0.1")
    assert buy(venue, "0.06").status == "FILLED"


def test_sizes_below_a_step_are_no_size() -> None:
    venue = hand_venue()
    quote(venue, "50000.0", "50000.1", size="0.0109")
    assert buy(venue, "0.02").executed == D("0.010")


def test_a_market_order_stops_five_percent_from_the_mark() -> None:
    venue = hand_venue()
    depth(venue, [("49000", "1")], [("52500", "0.01"), ("52500.1", "1")])
    order = buy(venue, "0.02")
    assert (order.status, order.executed) == ("EXPIRED", D("0.01"))
    depth(venue, [("49000", "1")], [("52500.1", "1")])
    with refused(-4131):
        buy(venue, "0.02")


def test_a_limit_order_takes_what_crosses_and_rests_with_the_remainder() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "1")], [("50000.1", "0.1"), ("50003", "1")])
    order = buy(venue, "0.3", "50001")
    assert (order.status, order.executed) == ("PARTIALLY_FILLED", D("0.1"))
    assert venue.open_orders("main") == [order]
    # What is left is the best bid now: a sell into it at 50,001 fills it as maker.
    trade(venue, "50001", "0.15", sold=True)
    trade(venue, "50001", "0.15", sold=True)
    assert fills(venue) == [
        (D("50000.1"), D("0.1"), False),
        (D(50001), D("0.15"), True),
        (D(50001), D("0.05"), True),
    ]
    assert venue.order("main", "BTCUSDT", order.order_id).status == "FILLED"


def test_a_resting_buy_needs_a_seller_at_its_price_or_any_trade_through_it() -> None:
    venue = hand_venue()
    order = buy(venue, "0.02", "49990")
    trade(venue, "49990", "5", sold=False)
    assert fills(venue) == []
    trade(venue, "49990.1", "5", sold=True)
    assert fills(venue) == []
    trade(venue, "49989.9", "0.005", sold=False)
    assert fills(venue) == [(D(49990), D("0.005"), True)]
    assert venue.order("main", "BTCUSDT", order.order_id).status == "PARTIALLY_FILLED"


def test_a_quote_that_crosses_fills_the_resting_order_at_its_own_price_up_to_the_size() -> None:
    venue = hand_venue()
    sell(venue, "0.3", "50100")
    quote(venue, "50110", "50111", size="0.2")
    assert fills(venue) == [(D(50100), D("0.2"), True)]
    quote(venue, "50099.9", "50100", size="5")
    assert len(fills(venue)) == 1
    quote(venue, "50100", "50100.1", size="5")
    assert fills(venue)[1] == (D(50100), D("0.1"), True)


def test_one_trade_is_shared_best_price_first_then_the_older_order() -> None:
    venue = hand_venue()
    first = buy(venue, "0.02", "49990")
    second = buy(venue, "0.02", "49990")
    better = buy(venue, "0.02", "49995")
    trade(venue, "49980", "0.05")
    executed = [venue.order("main", "BTCUSDT", o.order_id).executed for o in (better, first, second)]
    assert executed == [D("0.02"), D("0.02"), D("0.01")]


def test_orders_of_the_venues_clients_do_not_meet() -> None:
    venue = hand_venue()
    buy(venue, "0.02", "50000")
    quote(venue, "49990", "50010")
    assert sell(venue, "0.02", "49995").status == "NEW"
    assert fills(venue) == []


def test_ioc_takes_and_expires_fok_is_all_or_refused() -> None:
    venue = hand_venue()
    quote(venue, "50000", "50000.1", size="0.1")
    with refused(-5021):
        buy(venue, "0.11", "50000.1", time_in_force="FOK")
    assert buy(venue, "0.05", "50000.1", time_in_force="FOK").status == "FILLED"
    order = buy(venue, "0.11", "50000.1", time_in_force="IOC")
    assert (order.status, order.executed) == ("EXPIRED", D("0.05"))
    assert venue.open_orders("main") == []


def test_a_post_only_order_that_would_take_is_refused_and_forgotten() -> None:
    venue = hand_venue()
    with refused(-5022):
        buy(venue, "0.01", "50000.1", time_in_force="GTX")
    assert venue.all_orders("main", "BTCUSDT") == []
    assert buy(venue, "0.01", "50000", time_in_force="GTX").status == "NEW"


def test_a_gtd_order_expires_when_its_time_has_come() -> None:
    venue = hand_venue()
    till = venue.now_ms + 700_000
    order = buy(venue, "0.01", "49000", time_in_force="GTD", good_till_ms=till)
    venue.set_time(till - 1)
    assert venue.order("main", "BTCUSDT", order.order_id).status == "NEW"
    venue.apply(Quote(till, "BTCUSDT", D(48000), D(1), D(48001), D(1)))
    assert venue.order("main", "BTCUSDT", order.order_id).status == "EXPIRED"
    assert fills(venue) == []
    venue.set_time(0)
    assert venue.now_ms == till


def test_an_order_is_told_from_acceptance_to_the_last_fill_in_order() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "1")], [("50000.1", "0.01"), ("50000.2", "1")])
    venue.drain()
    buy(venue, "0.03")
    assert story(venue) == [
        "OrderUpdate NEW NEW",
        "AccountUpdate ORDER",
        "OrderUpdate TRADE PARTIALLY_FILLED",
        "AccountUpdate ORDER",
        "OrderUpdate TRADE FILLED",
    ]


def test_fills_can_be_cut_into_slices_of_whole_steps() -> None:
    venue = hand_venue()
    venue.set_fill_slices(3)
    order = buy(venue, "0.01")
    # 0.01 / 3 rounded up to the step is 0.004.
    assert [size for _, size, _ in fills(venue)] == [D("0.004"), D("0.004"), D("0.002")]
    assert (order.status, order.executed) == ("FILLED", D("0.01"))


def test_unknown_and_closed_orders_cannot_be_cancelled_and_unknown_ones_not_queried() -> None:
    venue = hand_venue()
    order = buy(venue, "0.01", "49000", client_order_id="one")
    assert venue.cancel("main", "BTCUSDT", client_order_id="one").status == "CANCELED"
    with refused(-2011):
        venue.cancel("main", "BTCUSDT", order.order_id)
    with refused(-2011):
        venue.cancel("main", "ETHUSDT", order.order_id)
    with refused(-2013):
        venue.order("main", "BTCUSDT", 1)
    with refused(-1102):
        venue.order("main", "BTCUSDT")
    assert venue.order("main", "BTCUSDT", client_order_id="one").status == "CANCELED"
    assert story(venue) == ["OrderUpdate NEW NEW", "OrderUpdate CANCELED CANCELED"]


def test_a_client_id_is_unique_among_open_orders_only() -> None:
    venue = hand_venue()
    first = buy(venue, "0.01", "49000", client_order_id="one")
    with refused(-4116):
        buy(venue, "0.01", "49000", client_order_id="one")
    venue.cancel("main", "BTCUSDT", first.order_id)
    second = buy(venue, "0.01", "49000", client_order_id="one")
    assert venue.order("main", "BTCUSDT", client_order_id="one") == second


def test_an_order_without_client_id_gets_one_that_depends_on_seed_and_number_only() -> None:
    ids = [buy(hand_venue(seed=seed), "0.01", "49000").client_order_id for seed in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 22


def test_no_more_open_orders_than_the_symbol_allows() -> None:
    venue = hand_venue()
    venue.replace_spec(replace(BTC, max_orders=2))
    for _ in range(2):
        buy(venue, "0.01", "49000")
    with refused(-2025):
        buy(venue, "0.01", "49000")
    assert buy(venue, "0.01").status == "FILLED"


def test_cancel_all_leaves_other_symbols() -> None:
    venue = hand_venue()
    mark(venue, "3000", symbol="ETHUSDT")
    quote(venue, "3000", "3000.01", symbol="ETHUSDT")
    for price in ("49000", "48000"):
        buy(venue, "0.01", price)
    kept = buy(venue, "0.1", "2900", symbol="ETHUSDT")
    cancelled = venue.cancel_all("main", "BTCUSDT")
    assert [order.status for order in cancelled] == ["CANCELED", "CANCELED"]
    assert venue.open_orders("main") == [kept]


def test_modify_changes_price_and_quantity_and_may_trade_at_once() -> None:
    venue = hand_venue()
    order = buy(venue, "0.02", "49000")
    venue.drain()
    amended = venue.modify("main", "BTCUSDT", order.order_id, side="BUY", quantity=D("0.03"), price=D(49500))
    assert (amended.price, amended.quantity, amended.amendments) == (D(49500), D("0.03"), 1)
    assert story(venue) == ["OrderUpdate AMENDMENT NEW"]
    filled = venue.modify(
        "main", "BTCUSDT", order.order_id, side="BUY", quantity=D("0.03"), price=D("50000.1")
    )
    assert filled.status == "FILLED"
    assert fills(venue) == [(D("50000.1"), D("0.03"), False)]


@pytest.mark.parametrize(
    ("quantity", "price", "side", "code"),
    [
        ("0.02", "49000", "BUY", -5027),
        ("0.02", "49500", "SELL", -1117),
        ("0.02", "49000.05", "BUY", -4014),
        ("0.001", "49000", "BUY", -5029),
        ("9", "49000", "BUY", -2019),
    ],
)
def test_a_modification_is_checked_like_a_new_order(quantity: str, price: str, side: str, code: int) -> None:
    venue = hand_venue()
    order = buy(venue, "0.02", "49000")
    with refused(code):
        venue.modify("main", "BTCUSDT", order.order_id, side=side, quantity=D(quantity), price=D(price))
    assert venue.open_orders("main") == [order]


def test_modify_cancels_what_is_already_filled_and_a_post_only_that_would_take() -> None:
    venue = hand_venue()
    order = buy(venue, "0.02", "49990")
    trade(venue, "49990", "0.01")
    amended = venue.modify("main", "BTCUSDT", order.order_id, side="BUY", quantity=D("0.01"), price=D(49980))
    assert (amended.status, amended.executed) == ("CANCELED", D("0.01"))
    maker = buy(venue, "0.02", "49990", time_in_force="GTX")
    amended = venue.modify("main", "BTCUSDT", maker.order_id, side="BUY", quantity=D("0.02"), price=D(50001))
    assert amended.status == "CANCELED"
    with refused(-2013):
        venue.modify("main", "BTCUSDT", maker.order_id, side="BUY", quantity=D(1), price=D(1))


@pytest.mark.parametrize("enter", [buy, sell])
def test_a_halted_symbol_takes_no_order_and_fills_none(enter: Callable[..., Any]) -> None:
    venue = hand_venue()
    buy(venue, "0.01", "49990")
    venue.set_status("BTCUSDT", "HALT")
    with refused(-4140):
        enter(venue, "0.01")
    trade(venue, "49000", "5")
    assert fills(venue) == []
    venue.set_status("BTCUSDT", "TRADING")
    trade(venue, "49000", "5")
    assert len(fills(venue)) == 1


def test_an_order_cancelled_before_its_time_stays_cancelled() -> None:
    venue = hand_venue()
    till = venue.now_ms + 700_000
    order = buy(venue, "0.01", "49000", time_in_force="GTD", good_till_ms=till)
    venue.cancel("main", "BTCUSDT", order.order_id)
    venue.set_time(till)
    assert venue.order("main", "BTCUSDT", order.order_id).status == "CANCELED"


def test_quantities_are_whole_steps() -> None:
    venue = hand_venue()
    venue.replace_spec(replace(BTC, step=D("0.005"), market_step=D("0.01")))
    with refused(-4023):
        buy(venue, "0.012", "49000")
    assert buy(venue, "0.015", "49000").status == "NEW"
    with refused(-4023):
        buy(venue, "0.015")


def test_rules_can_change_in_flight() -> None:
    venue = hand_venue()
    order = buy(venue, "0.01", "49000.1")
    venue.replace_spec(replace(BTC, tick=D(1)))
    with refused(-4014):
        buy(venue, "0.01", "49000.1")
    assert venue.open_orders("main") == [order]
