"""The rehearsal venue's isolated margin: wallets, funding, liquidation and changes, worked out by hand.

BTCUSDT is at 50,000.0 x 50,000.1, mark 50,000, at 20x with 10,000 USDT. A market buy of 0.1 costs a
commission of 2.500005 and takes 5,000.01 / 20 = 250.0005 into the position's own wallet; 9,747.499495 stay
outside.
"""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from live.rehearsal.book import Funding
from live.rehearsal.futures.events import AccountUpdate, AssetView, MarginCall
from live.rehearsal.futures.venue import Venue
from tests.hand_venue import (
    BTC,
    algo,
    buy,
    depth,
    hand_venue,
    mark,
    position,
    quote,
    refused,
    sell,
    story,
    trade,
    wallet,
)

D = Decimal
OUTSIDE = D("9747.499495")


def isolated(**options: str) -> Venue:
    venue = hand_venue(**{name: {"USDT": D(text)} for name, text in options.items()})
    venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    venue.drain()
    return venue


def holding() -> Venue:
    """With 0.1 BTC bought at 50,000.1."""
    venue = isolated()
    buy(venue, "0.1")
    venue.drain()
    return venue


def assets(venue: Venue) -> AssetView:
    (asset,) = venue.account_view("main").assets
    return asset


def updates(venue: Venue) -> list[AccountUpdate]:
    return [event for event in venue.drain() if isinstance(event, AccountUpdate)]


# -- the margin type ---------------------------------------------------------------------------------------


def test_the_margin_type_changes_only_without_orders_and_position() -> None:
    venue = hand_venue()
    with refused(-1130):
        venue.set_margin_type("main", "BTCUSDT", "OTHER")
    with refused(-4046):
        venue.set_margin_type("main", "BTCUSDT", "CROSSED")
    order = buy(venue, "0.01", "49000")
    with refused(-4047):
        venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    venue.cancel("main", "BTCUSDT", order.order_id)
    waiting = algo(venue, "BUY", "STOP_MARKET", "0.01", trigger_price="51000")
    with refused(-4047):
        venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    venue.cancel_algo("main", waiting.algo_id)
    buy(venue, "0.01")
    with refused(-4048):
        venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    sell(venue, "0.01")
    venue.drain()
    venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    (told,) = updates(venue)
    assert (told.reason, told.balances) == ("MARGIN_TYPE_CHANGE", ())
    assert [(p.symbol, p.isolated, p.isolated_wallet) for p in told.positions] == [("BTCUSDT", True, 0)]
    assert [venue.margin_type("main", s) for s in ("BTCUSDT", "ETHUSDT")] == ["ISOLATED", "CROSSED"]
    with refused(-4046):
        venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    venue.set_margin_type("main", "BTCUSDT", "CROSSED")
    assert not position(venue).isolated


# -- fills -------------------------------------------------------------------------------------------------


def test_opening_takes_the_initial_margin_at_the_fill_price_and_the_rest_pays_the_commission() -> None:
    venue = isolated()
    buy(venue, "0.1")
    (told,) = updates(venue)
    assert (told.balances[0].wallet, told.balances[0].cross) == (D("9997.499995"), OUTSIDE)
    assert told.positions[0].isolated_wallet == D("250.0005")
    view, asset = position(venue), assets(venue)
    # 0.1 x (50,000 - 50,000.1)
    assert (view.isolated_margin, view.unrealized) == (D("249.9905"), D("-0.01"))
    assert (asset.wallet, asset.cross_wallet, asset.available) == (D("9997.499995"), OUTSIDE, OUTSIDE)
    assert (asset.unrealized, asset.cross_unrealized, asset.margin_balance) == (
        D("-0.01"),
        0,
        D("9997.489995"),
    )
    # 5,000 / 20 and 5,000 x 0.4 % at the mark
    assert (asset.initial_margin, asset.maintenance_margin) == (D(250), D(20))


def test_adding_takes_the_added_part_and_reducing_gives_its_share_back() -> None:
    venue = holding()
    quote(venue, "51000.0", "51000.1")
    mark(venue, "51000")
    buy(venue, "0.1")
    # 5,100.01 / 20 more; entry (50,000.1 + 51,000.1) / 2
    assert (position(venue).isolated_wallet, position(venue).entry_price) == (D("505.001"), D("50500.1"))
    # less 5,100.01 x 0.05 % = 2.550005 and 255.0005
    assert assets(venue).cross_wallet == D("9489.94899")
    sell(venue, "0.05")
    # a quarter of 505.001 back; 0.05 x (51,000 - 50,500.1) = 24.995 won, 2,550 x 0.05 % = 1.275 paid
    assert position(venue).isolated_wallet == D("378.75075")
    assert assets(venue).cross_wallet == D("9489.94899") + D("126.25025") + D("24.995") - D("1.275")
    sell(venue, "0.15")
    assert (position(venue).amount, position(venue).isolated_wallet) == (0, 0)
    assert assets(venue).cross_wallet == assets(venue).wallet == wallet(venue)


def test_a_fill_through_zero_gives_all_back_and_takes_the_new_sides_margin() -> None:
    venue = holding()
    sell(venue, "0.3")
    # 0.2 x 50,000 / 20
    assert (position(venue).amount, position(venue).isolated_wallet) == (D("-0.2"), D(500))
    # 0.1 x 0.1 lost, 15,000 x 0.05 % paid
    assert wallet(venue) == D("9997.499995") - D("0.01") - D("7.5")


def test_where_commission_has_used_the_wallet_up_the_position_gets_what_is_left() -> None:
    venue = isolated(balances="251")
    buy(venue, "0.1", "50000.1")
    assert (position(venue).isolated_wallet, assets(venue).cross_wallet) == (D("248.499995"), 0)


def test_long_and_short_have_wallets_of_their_own_in_hedge_mode() -> None:
    venue = isolated()
    venue.set_position_mode("main", True)
    buy(venue, "0.1", position_side="LONG")
    sell(venue, "0.2", position_side="SHORT")
    assert position(venue, "LONG").isolated_wallet == D("250.0005")
    assert position(venue, "SHORT").isolated_wallet == D(500)
    with refused(-4061):
        venue.adjust_margin("main", "BTCUSDT", D(10))
    venue.adjust_margin("main", "BTCUSDT", D(10), "SHORT")
    assert position(venue, "SHORT").isolated_wallet == D(510)


# -- what orders may use -----------------------------------------------------------------------------------


def test_isolated_profit_is_no_margin_for_others_and_crossed_profit_none_for_isolated() -> None:
    venue = holding()
    mark(venue, "60000")
    assert assets(venue).available == OUTSIDE
    mark(venue, "2000", "ETHUSDT")
    depth(venue, [("2000.00", "100")], [("2000.00", "100")], "ETHUSDT")
    buy(venue, "1", symbol="ETHUSDT")
    mark(venue, "2100", "ETHUSDT")
    # 2,000 x 0.05 % paid; 2,100 / 20 held, 100 won
    assert assets(venue).available == OUTSIDE - 1 - 105 + 100
    mark(venue, "50000")
    quote(venue, "50000.0", "50000.1", "100")
    # at 49,000 one costs 2,450: three 7,350; what is left without the profit is 2,291.499495
    buy(venue, "3", "49000")
    with refused(-2019):
        buy(venue, "0.94", "49000")
    buy(venue, "0.93", "49000")


# -- funding -----------------------------------------------------------------------------------------------


def test_funding_is_the_positions_own_and_told_with_it() -> None:
    venue = holding()
    venue.apply(Funding(venue.now_ms + 1, "BTCUSDT", D("0.0001")))
    (told,) = updates(venue)
    # 5,000 x 0.01 %
    assert (told.reason, told.balances[0].change, told.balances[0].cross) == (
        "FUNDING_FEE",
        D("-0.5"),
        OUTSIDE,
    )
    assert [p.isolated_wallet for p in told.positions] == [D("249.5005")]
    assert (wallet(venue), assets(venue).cross_wallet) == (D("9996.999995"), OUTSIDE)


# -- liquidation -------------------------------------------------------------------------------------------


def test_the_liquidation_price_is_the_positions_own() -> None:
    venue = holding()
    # 250.0005 + 0.1 (P - 50,000.1) = 0.1 P x 0.4 %
    assert position(venue).liquidation_price == pytest.approx(D("4750.0095") / D("0.0996"))
    venue.adjust_margin("main", "BTCUSDT", D(100))
    assert position(venue).liquidation_price == pytest.approx(D("4650.0095") / D("0.0996"))


def test_margin_and_liquidation_price_are_those_of_the_documented_example() -> None:
    """Binance's answer of positionRisk: 20 BTC from 6,563.665 at 10x, mark 6,679.50671178."""
    spec = replace(BTC, tick=D("0.001"), price_precision=3)
    venue = Venue([spec], balances={"USDT": D(100_000)}, leverage=10)
    venue.set_margin_type("main", "BTCUSDT", "ISOLATED")
    mark(venue, "6563.665")
    quote(venue, "6563.664", "6563.665", "20")
    buy(venue, "20", "6563.665")
    # 131,273.3 / 10; the rest of the example's isolated wallet came from elsewhere
    assert position(venue).isolated_wallet == D("13127.33")
    venue.adjust_margin("main", "BTCUSDT", D("13200.70726908") - D("13127.33"))
    mark(venue, "6679.50671178")
    view = position(venue)
    assert (view.unrealized, view.isolated_margin) == (D("2316.83423560"), D("15517.54150468"))
    assert round(view.liquidation_price, 2) == D("5930.78")


def test_an_isolated_position_is_liquidated_alone_at_its_own_maintenance_margin() -> None:
    venue = holding()
    mark(venue, "2000", "ETHUSDT")
    depth(venue, [("2000.00", "100")], [("2000.00", "100")], "ETHUSDT")
    buy(venue, "1", symbol="ETHUSDT")
    resting = buy(venue, "1", "1990", symbol="ETHUSDT")
    stop = algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="40000")
    quote(venue, "47700.0", "47700.1")
    venue.drain()
    # At 47,691 19.0905 are left of 250.0005 and 19.0764 are needed, at 47,690 18.9905 and 19.076.
    mark(venue, "47691")
    assert story(venue) == ["MarginCall"]
    mark(venue, "47690")
    assert story(venue) == [
        "AlgoUpdate EXPIRED",
        "OrderUpdate CALCULATED NEW",
        "AccountUpdate ORDER",
        "OrderUpdate CALCULATED FILLED",
        "AccountUpdate INSURANCE_CLEAR",
    ]
    assert (position(venue).amount, position(venue).isolated_wallet) == (0, 0)
    assert venue.algo_order("main", stop.algo_id).status == "EXPIRED"
    # 250.0005 - 230.01 - 2.385: the fee of 59.625 gets the 17.6055 that are left; the rest is untouched
    assert [i.amount for i in venue.income("main", kind="INSURANCE_CLEAR")] == [D("-17.6055")]
    assert assets(venue).cross_wallet == OUTSIDE - 1
    assert position(venue, symbol="ETHUSDT").amount == 1
    assert venue.open_orders("main", "ETHUSDT") == [resting]


@pytest.mark.parametrize(
    ("bid", "cleared", "returned"),
    [
        # 250.0005 - 300.01 - 2.35: the insurance fund bears what the position lost beyond its own
        ("47000.0", "52.3595", "0"),
        # 250.0005 - 150.01 - 2.425 = 97.5655: after the full fee of 4,850 x 1.25 % 36.9405 come back
        ("48500.0", "-60.625", "36.9405"),
    ],
)
def test_a_liquidation_loses_no_more_than_the_isolated_wallet(bid: str, cleared: str, returned: str) -> None:
    venue = holding()
    quote(venue, bid, f"{bid[:-1]}1")
    mark(venue, "47690")
    assert position(venue).amount == 0
    assert [i.amount for i in venue.income("main", kind="INSURANCE_CLEAR")] == [D(cleared)]
    assert assets(venue).cross_wallet == OUTSIDE + D(returned)


def test_a_liquidation_goes_on_with_the_book_and_the_rest_bears_the_first_parts_loss() -> None:
    venue = holding()
    quote(venue, "47000.0", "47000.1", "0.04")
    mark(venue, "47690")
    # 250.0005 less 0.04 x 3,000.1 lost and 0.94 paid; two fifths were 100.0002
    assert (position(venue).amount, position(venue).isolated_wallet) == (D("0.06"), D("129.0565"))
    assert assets(venue).cross_wallet == OUTSIDE
    quote(venue, "46900.0", "46900.1", "1")
    assert position(venue).amount == 0
    # 129.0565 - 0.06 x 3,100.1 - 1.407
    cleared = [i.amount for i in venue.income("main", kind="INSURANCE_CLEAR")]
    assert cleared == [D("58.3565")]
    assert assets(venue).cross_wallet == OUTSIDE
    assert len(venue.forced_orders("main")) == 2


def test_an_own_stop_beyond_the_isolated_wallet_costs_no_more_than_that() -> None:
    venue = isolated()
    venue.set_leverage("main", "BTCUSDT", 40)
    buy(venue, "0.1")
    # less 2.500005 and 5,000.01 / 40
    outside = D("9872.499745")
    algo(venue, "SELL", "STOP_MARKET", "0.1", trigger_price="49000", reduce_only=True)
    quote(venue, "48500.0", "48500.1")
    venue.drain()
    trade(venue, "48500.0", "0.01")
    # 125.00025 - 150.01 - 2.425; the mark is still where it was
    told = [(u.reason, u.positions[0].isolated_wallet, u.balances[0].cross) for u in updates(venue)]
    assert told == [("ORDER", D("-27.43475"), outside), ("INSURANCE_CLEAR", D(0), outside)]
    assert (position(venue).amount, assets(venue).cross_wallet, wallet(venue)) == (0, outside, outside)


def test_a_fill_through_zero_does_not_pay_the_old_sides_loss_with_new_margin() -> None:
    venue = isolated()
    venue.set_leverage("main", "BTCUSDT", 40)
    buy(venue, "0.1")
    quote(venue, "48500.0", "48500.1")
    sell(venue, "0.3")
    # 27.43475 as above for 0.1; 0.2 x 48,500 / 40 of new margin and 9,700 x 0.05 % outside
    assert [i.amount for i in venue.income("main", kind="INSURANCE_CLEAR")] == [D("27.43475")]
    assert position(venue).isolated_wallet == D("242.5")
    assert assets(venue).cross_wallet == D("9872.499745") - D("242.5") - D("4.85")


def test_a_margin_call_of_an_isolated_position_names_its_wallet_and_no_other() -> None:
    venue = holding()
    # Of 250.0005 29.9905 are left at 47,800, 19.12 is 64 % of them; at 47,730 22.9905 and 19.092: 83 %.
    mark(venue, "47800")
    assert story(venue) == []
    mark(venue, "47730")
    (call,) = [event for event in venue.drain() if isinstance(event, MarginCall)]
    assert (call.wallet, call.positions[0].isolated_wallet) == (None, D("250.0005"))
    mark(venue, "47729")
    assert story(venue) == []


def test_a_liquidation_of_crossed_margin_leaves_isolated_positions_and_their_stops() -> None:
    venue = holding()
    stop = algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="40000")
    adding = buy(venue, "0.01", "45000")
    mark(venue, "2000", "ETHUSDT")
    depth(venue, [("2000.00", "100")], [("2000.00", "100")], "ETHUSDT")
    buy(venue, "80", symbol="ETHUSDT")
    # 9,747.50 - 80 paid; at 1,885 9,200 are lost and 150,800 x 0.5 % - 50 = 704 needed
    mark(venue, "1885", "ETHUSDT")
    assert position(venue, symbol="ETHUSDT").amount == 0
    assert (position(venue).amount, position(venue).isolated_wallet) == (D("0.1"), D("250.0005"))
    assert [a.algo_id for a in venue.open_algo_orders("main")] == [stop.algo_id]
    assert venue.order("main", "BTCUSDT", adding.order_id).status == "CANCELED"


# -- margin by request -------------------------------------------------------------------------------------


def test_margin_is_added_and_taken_out_within_its_limits() -> None:
    venue = holding()
    venue.adjust_margin("main", "BTCUSDT", D(100))
    (told,) = updates(venue)
    assert (told.reason, told.balances[0].change) == ("MARGIN_TRANSFER", 0)
    assert (told.balances[0].wallet, told.balances[0].cross) == (D("9997.499995"), OUTSIDE - 100)
    assert told.positions[0].isolated_wallet == D("350.0005")
    # 350.0005 - 0.01 unrealised - 250 of initial margin at the mark
    with refused(-4051):
        venue.adjust_margin("main", "BTCUSDT", D("-99.9906"))
    venue.adjust_margin("main", "BTCUSDT", D("-99.9905"))
    assert position(venue).isolated_wallet == D("250.01")
    with refused(-4050):
        venue.adjust_margin("main", "BTCUSDT", D("9747.49"))
    assert [(c.amount, c.position_side) for c in venue.margin_changes("main", "BTCUSDT")] == [
        (D(100), "BOTH"),
        (D("-99.9905"), "BOTH"),
    ]
    assert [i.kind for i in venue.income("main")] == ["COMMISSION"]
    with refused(-4049):
        venue.adjust_margin("main", "ETHUSDT", D(1))
    sell(venue, "0.1")
    with refused(-4054):
        venue.adjust_margin("main", "BTCUSDT", D(1))


def test_the_leverage_of_an_isolated_position_only_goes_up_and_frees_margin() -> None:
    venue = holding()
    with refused(-4161):
        venue.set_leverage("main", "BTCUSDT", 19)
    with refused(-4051):
        venue.adjust_margin("main", "BTCUSDT", D(-1))
    venue.set_leverage("main", "BTCUSDT", 40)
    assert (position(venue).isolated_wallet, position(venue).position_margin) == (D("250.0005"), D(125))
    # 249.9905 - 125
    venue.adjust_margin("main", "BTCUSDT", D("-124.9905"))
    sell(venue, "0.1")
    venue.set_leverage("main", "BTCUSDT", 19)


# -- memory ------------------------------------------------------------------------------------------------


def test_isolated_margin_survives_a_restart() -> None:
    venue = holding()
    venue.adjust_margin("main", "BTCUSDT", D(100))
    quote(venue, "46000.0", "46000.1", "0.04")
    mark(venue, "46600")
    twin = hand_venue()
    mark(twin, "46600")
    twin.restore(json.loads(json.dumps(venue.snapshot())))
    assert twin.snapshot() == venue.snapshot()
    for each in (venue, twin):
        # The liquidation that had begun goes on.
        quote(each, "46000.0", "46000.1")
    assert position(twin) == position(venue)
    assert (position(twin).amount, position(twin).isolated) == (0, True)
    assert twin.account_view("main") == venue.account_view("main")
    assert twin.margin_changes("main", "BTCUSDT") == venue.margin_changes("main", "BTCUSDT")
