"""The rehearsal venue's reduce-only orders, history and memory, against hand-worked numbers."""

import json
from decimal import Decimal

import pytest

from catalog.instruments import shipped_specs
from live.rehearsal.book import Kline
from live.rehearsal.futures.events import OrderUpdate
from live.rehearsal.futures.venue import Venue
from live.rehearsal.specs import SymbolSpec
from tests.hand_venue import (
    BTC,
    ETH,
    buy,
    depth,
    hand_venue,
    mark,
    position,
    quote,
    refused,
    request,
    sell,
    story,
    trade,
    wallet,
)
from tests.providers import shared_data

D = Decimal


def test_reduce_only_needs_a_position_to_reduce() -> None:
    venue = hand_venue()
    with refused(-2022):
        sell(venue, "0.01", reduce_only=True)
    buy(venue, "0.05")
    with refused(-2022):
        buy(venue, "0.01", reduce_only=True)
    assert sell(venue, "0.001", reduce_only=True).status == "FILLED"


def test_a_reduce_only_order_is_cut_to_the_position_and_exempt_from_the_least_notional() -> None:
    venue = hand_venue()
    buy(venue, "0.05")
    order = sell(venue, "9", "51000", reduce_only=True)
    assert order.quantity == D("0.05")
    assert sell(venue, "9", reduce_only=True).executed == D("0.05")
    assert position(venue).amount == 0


def test_resting_reduce_only_orders_shrink_and_expire_with_the_position() -> None:
    venue = hand_venue()
    buy(venue, "0.05")
    near = sell(venue, "0.03", "50100", reduce_only=True)
    far = sell(venue, "0.05", "50200", reduce_only=True)
    venue.drain()
    sell(venue, "0.03")
    assert [o.quantity for o in venue.open_orders("main")] == [D("0.02"), D("0.02")]
    assert story(venue) == [
        "OrderUpdate NEW NEW",
        "AccountUpdate ORDER",
        "OrderUpdate TRADE FILLED",
        "OrderUpdate AMENDMENT NEW",
        "OrderUpdate AMENDMENT NEW",
    ]
    trade(venue, "50100", "1", sold=False)
    assert position(venue).amount == 0
    assert venue.order("main", "BTCUSDT", near.order_id).status == "FILLED"
    assert venue.order("main", "BTCUSDT", far.order_id).status == "EXPIRED"


def test_a_flip_expires_reduce_only_orders_of_the_old_side() -> None:
    venue = hand_venue()
    buy(venue, "0.05")
    order = sell(venue, "0.05", "50200", reduce_only=True)
    sell(venue, "0.08")
    assert position(venue).amount == D("-0.03")
    assert venue.order("main", "BTCUSDT", order.order_id).status == "EXPIRED"


def test_market_events_come_out_before_what_they_caused_and_klines_pass_through() -> None:
    venue = hand_venue()
    buy(venue, "0.01", "49990")
    venue.drain()
    bar = Kline(venue.now_ms + 1, "BTCUSDT", "1m", 0, 59_999, *(D(1),) * 6, 1, D(1), D(1), closed=True)
    venue.apply(bar)
    trade(venue, "49000")
    events = venue.drain()
    assert [type(event).__name__ for event in events] == [
        "Kline",
        "Trade",
        "AccountUpdate",
        "OrderUpdate",
    ]
    assert events[0] == bar


def test_the_history_is_bounded_and_the_ledger_stays_exact() -> None:
    venue = hand_venue(history=3)
    for _ in range(4):
        quote(venue, "50000", "50000.1")
        buy(venue, "0.01")
        sell(venue, "0.01")
    assert len(venue.all_orders("main", "BTCUSDT")) == 3
    assert len(venue.user_trades("main")) == len(venue.income("main")) == 3
    assert wallet(venue) == D(10000) + venue.income_totals("main")["USDT"]


def test_a_venue_restored_from_its_snapshot_goes_on_like_the_one_it_was_taken_from() -> None:
    venue = hand_venue(seed=3)
    buy(venue, "0.05")
    sell(venue, "0.02", "50100", reduce_only=True)
    buy(venue, "0.02", "49990", time_in_force="GTD", good_till_ms=venue.now_ms + 10**6)
    venue.place_algo("main", request("SELL", "STOP_MARKET", close_position=True, trigger_price="49000"))
    trailing = request("SELL", "TRAILING_STOP_MARKET", "0.01", callback_rate="1", reduce_only=True)
    venue.place_algo("main", trailing)
    venue.set_leverage("main", "BTCUSDT", 10)
    twin = hand_venue(seed=99)
    twin.restore(json.loads(json.dumps(venue.snapshot())))
    assert twin.snapshot() == venue.snapshot()
    assert twin.drain() == []
    venue.drain()
    for each in (venue, twin):
        # The taken size of the quote is not part of the memory: a fresh one for both.
        quote(each, "50000", "50000.1")
        trade(each, "50100", "0.01", sold=False)
        buy(each, "0.01", client_order_id="again")
        trade(each, "49989", "0.01")
        trade(each, "48999", "0.01")
    told = [[e for e in each.drain() if isinstance(e, OrderUpdate)] for each in (venue, twin)]
    numbered = [[(e.execution, e.order.order_id, e.order.executed) for e in each] for each in told]
    assert numbered[0] == numbered[1]
    assert len(numbered[0]) > 5
    assert twin.account_view("main") == venue.account_view("main")


def test_a_snapshot_keeps_mode_leverage_liquidation_and_several_accounts() -> None:
    venue = hand_venue()
    venue.add_account("other", {"USDT": D(500)})
    venue.set_position_mode("other", True)
    venue.set_leverage("other", "BTCUSDT", 7)
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    depth(venue, [("47600", "1")], [("47600.1", "10")])
    mark(venue, "47600")
    twin = hand_venue()
    quote(twin, "47600", "47600.1", size="0.001")
    mark(twin, "47600")
    twin.restore(json.loads(json.dumps(venue.snapshot())))
    assert (twin.position_mode("other"), twin.leverage("other", "BTCUSDT")) == (True, 7)
    with refused(-2023):
        buy(twin, "0.01")
    quote(twin, "47600", "47600.1", size="10")
    assert position(twin).amount == 0


def test_an_account_must_have_been_added_and_sees_only_its_own_orders() -> None:
    venue = hand_venue()
    with pytest.raises(KeyError):
        venue.open_orders("other")
    venue.add_account("other", {"USDT": D(500)})
    buy(venue, "0.02", "49990")
    other = venue.place("other", request("BUY", "LIMIT", "0.02", price="49990"))
    assert venue.open_orders("other") == [other]
    # One trade is shared by both: the older order is first.
    trade(venue, "49990", "0.03")
    assert venue.order("other", "BTCUSDT", other.order_id).executed == D("0.01")


def test_rules_of_a_recorded_exchange_info_are_read() -> None:
    path = shared_data(
        "fixtures/gocryptotrader/exchanges/binance/testdata/http.headers_and_signatures_removed.json"
    )
    answers = json.loads(path.read_text(encoding="utf-8"))["routes"]["/fapi/v1/exchangeInfo"]["GET"]
    entries = {entry["symbol"]: entry for entry in answers[0]["data"]["symbols"]}
    assert SymbolSpec.from_exchange_info(entries["BTCUSDT"]) == BTC
    assert SymbolSpec.from_exchange_info(entries["ETHUSDT"]) == ETH


def test_rules_from_the_catalogs_table_are_enough_to_trade() -> None:
    spec = SymbolSpec.from_catalog(shipped_specs("um")["BTCUSDT"])
    venue = Venue([spec], balances={"USDT": D(1000)})
    quote(venue, "50000", "50000.1")
    assert buy(venue, "0.002").status == "FILLED"
