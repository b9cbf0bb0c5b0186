"""The rehearsal venue's money: fees, profit, margin, funding, liquidation and modes, worked out by hand."""

from dataclasses import replace
from decimal import Decimal

from live.rehearsal.futures.account import Position
from live.rehearsal.futures.events import AccountUpdate, MarginCall
from live.rehearsal.specs import BRACKETS
from tests.hand_venue import (
    BTC,
    ETH,
    algo,
    buy,
    depth,
    fills,
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


def test_a_taker_pays_the_taker_rate_and_a_maker_the_maker_rate() -> None:
    venue = hand_venue()
    buy(venue, "0.1")
    # 0.1 x 50,000.1 x 0.05 % = 2.500005
    assert wallet(venue) == D("9997.499995")
    sell(venue, "0.1", "50100")
    trade(venue, "50100", sold=False)
    # Maker fee 0.1 x 50,100 x 0.02 % = 1.002; profit 0.1 x (50,100 - 50,000.1) = 9.99
    assert wallet(venue) == D("9997.499995") + D("9.99") - D("1.002")
    entries = [(income.kind, income.amount) for income in venue.income("main")]
    assert entries == [
        ("COMMISSION", D("-2.500005")),
        ("REALIZED_PNL", D("9.99")),
        ("COMMISSION", D("-1.002")),
    ]
    closing = venue.user_trades("main")[1]
    assert (closing.realized, closing.commission, closing.maker) == (D("9.99"), D("1.002"), True)
    assert closing.quote_quantity == D(5010)


def test_the_entry_price_is_the_mean_of_what_was_added_and_stays_when_reducing() -> None:
    flat = Position(symbol="BTCUSDT", side="BOTH")
    one = flat.after_fill(D(1), D(100), D("0.05"), 1).position
    two = one.after_fill(D(3), D(104), D("0.15"), 2).position
    # (1 x 100 + 3 x 104) / 4 = 103; the fees add up, 0.20 over 4 puts the break-even at 103.05.
    assert (two.amount, two.entry_price, two.break_even_price) == (D(4), D(103), D("103.05"))
    three, realized = two.after_fill(D(-1), D(105), D("0.05"), 3)
    assert (three.amount, three.entry_price, realized) == (D(3), D(103), D(2))
    assert three.break_even_price == D("103.05")
    flipped, realized = three.after_fill(D(-5), D(101), D("0.25"), 4)
    # Three are closed at 2 less each; two are opened short with two fifths of the fee: 101 - 0.10 / 2.
    assert (flipped.amount, flipped.entry_price, realized) == (D(-2), D(101), D(-6))
    assert flipped.break_even_price == D("100.95")
    closed, realized = flipped.after_fill(D(2), D(100), D("0.1"), 5)
    assert (closed.amount, closed.entry_price, closed.break_even_price) == (0, 0, 0)
    assert (realized, closed.realized) == (D(2), D(2 - 6 + 2))


def test_a_fill_is_told_with_wallet_and_position_after_it() -> None:
    venue = hand_venue()
    sell(venue, "0.1")
    told = next(event for event in venue.drain() if isinstance(event, AccountUpdate))
    assert (told.reason, told.balances[0].wallet, told.balances[0].change) == ("ORDER", D("9997.5"), 0)
    (view,) = told.positions
    assert (view.amount, view.entry_price, view.unrealized) == (D("-0.1"), D(50000), 0)


def test_a_position_is_valued_at_the_mark() -> None:
    venue = hand_venue()
    buy(venue, "0.1")
    mark(venue, "51000")
    view = position(venue)
    # 0.1 x (51,000 - 50,000.1); 5,100 / 20; 5,100 x 0.4 %
    assert (view.unrealized, view.position_margin, view.maintenance_margin) == (
        D("99.99"),
        D(255),
        D("20.4"),
    )
    (asset,) = venue.account_view("main").assets
    assert asset.margin_balance == D("9997.499995") + D("99.99")
    assert asset.available == asset.margin_balance - 255
    # Unrealised profit cannot be withdrawn.
    assert asset.max_withdraw == min(asset.available, asset.wallet)


def test_open_orders_hold_margin_for_the_larger_side_only() -> None:
    venue = hand_venue()
    buy(venue, "2", "49000")
    assert position(venue).initial_margin == D(4900)
    sell(venue, "2", "51000")
    view = position(venue)
    # max(98,000, 102,000) / 20
    assert (view.initial_margin, view.bid_notional, view.ask_notional) == (D(5100), D(98000), D(102000))


def test_reduce_only_orders_hold_no_margin() -> None:
    venue = hand_venue()
    buy(venue, "0.1")
    held = position(venue).initial_margin
    sell(venue, "0.1", "52000", reduce_only=True)
    sell(venue, "0.1", "51000", reduce_only=True)
    sell(venue, "0.1", "51500", reduce_only=True)
    view = position(venue)
    assert (view.initial_margin, view.ask_notional) == (held, 0)
    assert held == D(250)


def test_a_limit_order_may_use_all_margin_and_not_a_step_more() -> None:
    # 2,450 a BTC at 49,000 and 20x: 4.081 cost 9,998.45, 4.082 cost 10,000.90.
    with refused(-2019):
        buy(hand_venue(), "4.082", "49000")
    assert buy(hand_venue(), "4.081", "49000").status == "NEW"
    # A sell below the bid is reckoned at the bid: 2,500 a BTC.
    with refused(-2019):
        sell(hand_venue(), "4.001", "49900")
    assert sell(hand_venue(), "4", "49900").executed == 1


def test_a_limit_order_away_from_the_mark_pays_for_the_loss_it_opens_with() -> None:
    # 51,000 / 20 + (51,000 - 50,000) = 3,550 a BTC: 2.816 cost 9,996.8, 2.817 cost 10,000.35.
    with refused(-2019):
        buy(hand_venue(), "2.817", "51000")
    assert buy(hand_venue(), "2.816", "51000").executed == 1


def test_a_market_order_is_reckoned_half_a_permille_above_the_ask() -> None:
    # 50,000.1 x 1.0005 = 50,025.10005; / 20 + 25.10005 = 2,526.3550525 a BTC: 3.958 cost 9,999.31.
    for quantity, passes in (("3.958", True), ("3.959", False)):
        venue = hand_venue()
        quote(venue, "50000", "50000.1", size="10")
        if passes:
            assert buy(venue, quantity).status == "FILLED"
        else:
            with refused(-2019):
                buy(venue, quantity)
            assert wallet(venue) == D(10000)


def test_what_reduces_needs_no_margin() -> None:
    venue = hand_venue()
    quote(venue, "50000", "50000.1", size="10")
    buy(venue, "3.9")
    with refused(-2019):
        buy(venue, "0.1")
    assert sell(venue, "3.9", "52000").status == "NEW"
    assert sell(venue, "3.9", reduce_only=True).status == "FILLED"


def test_the_leverage_caps_the_notional() -> None:
    venue = hand_venue()
    assert venue.set_leverage("main", "BTCUSDT", 125) == 125
    assert venue.maximum_notional("main", "BTCUSDT") == D(50000)
    with refused(-2027):
        buy(venue, "1.001", "50000")
    buy(venue, "1", "50000")
    with refused(-2027):
        buy(venue, "0.003", "49000")
    assert sell(venue, "0.5", "51000").status == "NEW"


def test_leverage_changes_are_checked_and_told() -> None:
    venue = hand_venue()
    for wrong in (0, 126):
        with refused(-4028):
            venue.set_leverage("main", "BTCUSDT", wrong)
    venue.set_leverage("main", "BTCUSDT", 10)
    assert story(venue) == ["AccountConfigUpdate"]
    assert (venue.leverage("main", "BTCUSDT"), venue.leverage("main", "ETHUSDT")) == (10, 20)
    buy(venue, "1.9", "49000")
    # 93,100 of notional: too much for 125x (50,000), and at 9x 10,344 of margin for 10,000.
    with refused(-2027):
        venue.set_leverage("main", "BTCUSDT", 125)
    with refused(-2028):
        venue.set_leverage("main", "BTCUSDT", 9)
    venue.set_leverage("main", "BTCUSDT", 20)
    assert position(venue).initial_margin == D(4655)


def test_a_symbol_without_high_brackets_refuses_high_leverage() -> None:
    venue = hand_venue(specs=(BTC, replace(ETH, brackets=BRACKETS["other"])))
    with refused(-4028):
        venue.set_leverage("main", "ETHUSDT", 100)


def test_funding_moves_the_notional_at_the_mark_from_longs_to_shorts() -> None:
    venue = hand_venue()
    buy(venue, "0.1")
    before = wallet(venue)
    venue.drain()
    venue.settle_funding("BTCUSDT", D("0.0001"), venue.now_ms + 1)
    # 0.1 x 50,000 x 0.01 %
    assert wallet(venue) == before - D("0.5")
    assert story(venue) == ["AccountUpdate FUNDING_FEE"]
    sell(venue, "0.3")
    mark(venue, "49000")
    before = wallet(venue)
    venue.settle_funding("BTCUSDT", D("0.0002"), venue.now_ms + 1)
    assert wallet(venue) == before + D("1.96")
    venue.settle_funding("BTCUSDT", D("-0.0002"), venue.now_ms + 1)
    assert wallet(venue) == before
    amounts = [income.amount for income in venue.income("main", kind="FUNDING_FEE")]
    assert amounts == [D("-0.5"), D("1.96"), D("-1.96")]


def test_brackets_make_the_maintenance_continuous() -> None:
    # 50,000 x 0.4 % = 200 = 50,000 x 0.5 % - 50; 195,000.39 x 0.5 % - 50 = 925.00195
    assert BTC.maintenance(D(50000)) == D(200)
    assert BTC.maintenance(D("195000.39")) == D("925.00195")
    for low, high in zip(BTC.brackets, BTC.brackets[1:], strict=False):
        cap = low.notional_cap
        assert cap * low.maintenance_rate - low.cum == cap * high.maintenance_rate - high.cum


def test_the_liquidation_price_is_where_the_margin_balance_meets_the_maintenance() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    # Wallet 10,000 - 97.500195; 9,902.499805 + 3.9 (P - 50,000.1) = 3.9 P x 0.5 % - 50,
    # so P = 185,047.890195 / 3.8805.
    assert round(position(venue).liquidation_price, 2) == D("47686.61")
    mark(venue, "47686.7")
    assert position(venue).amount == D("3.9")
    mark(venue, "47686.6")
    assert position(venue).amount == 0


def test_a_short_is_liquidated_above_its_entry() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    sell(venue, "3.9")
    # Wallet 9,902.5; 9,902.5 - 3.9 (P - 50,000) = 3.9 P x 0.5 % - 50: P = 204,952.5 / 3.9195
    assert round(position(venue).liquidation_price, 2) == D("52290.47")
    assert position(venue, symbol="ETHUSDT").liquidation_price == 0


def test_liquidation_cancels_everything_and_closes_with_forced_orders() -> None:
    venue = hand_venue(specs=(replace(BTC, liquidation_fee=D("0.001")), ETH))
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    target = sell(venue, "1", "52000", reduce_only=True)
    stop = algo(venue, "SELL", "STOP_MARKET", close_position=True, trigger_price="45000")
    depth(venue, [("47600", "10")], [("47600.1", "10")])
    venue.drain()
    mark(venue, "47600")
    assert story(venue) == [
        "OrderUpdate CANCELED CANCELED",
        "AlgoUpdate EXPIRED",
        "OrderUpdate CALCULATED NEW",
        "AccountUpdate ORDER",
        "OrderUpdate CALCULATED FILLED",
        "AccountUpdate INSURANCE_CLEAR",
    ]
    (forced,) = venue.forced_orders("main")
    assert forced.client_order_id.startswith("autoclose-")
    assert (forced.time_in_force, forced.price, forced.executed) == ("IOC", D(47600), D("3.9"))
    assert venue.order("main", "BTCUSDT", target.order_id).status == "CANCELED"
    assert venue.algo_order("main", stop.algo_id).status == "EXPIRED"
    # 9,902.499805 - 3.9 x 2,400.1 - 185,640 x 0.05 % - 185,640 x 0.1 %
    assert wallet(venue) == D("9902.499805") - D("9360.39") - D("92.82") - D("185.64")
    assert buy(venue, "0.01").status == "FILLED"


def test_the_liquidation_fee_takes_at_most_the_wallet() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    depth(venue, [("47600", "10")], [("47600.1", "10")])
    mark(venue, "47600")
    # 1.25 % of 185,640 would be 2,320.50; 449.289805 are left.
    assert wallet(venue) == 0
    cleared = [income.amount for income in venue.income("main", kind="INSURANCE_CLEAR")]
    assert cleared == [D("-449.289805")]


def test_the_insurance_fund_makes_a_bankrupt_wallet_good() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    depth(venue, [("47000", "10")], [("47000.1", "10")])
    mark(venue, "47600")
    # 9,902.499805 - 3.9 x 3,000.1 - 183,300 x 0.05 %
    cleared = [income.amount for income in venue.income("main", kind="INSURANCE_CLEAR")]
    assert cleared == [D("1889.540195")]
    assert wallet(venue) == 0
    assert venue.income_totals("main")["USDT"] == D(-10000)


def test_a_liquidation_goes_on_with_the_next_quotes_and_refuses_orders_meanwhile() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    depth(venue, [("47600", "1")], [("47600.1", "10")])
    mark(venue, "47600")
    assert position(venue).amount == D("2.9")
    assert venue.forced_orders("main")[0].status == "EXPIRED"
    with refused(-2023):
        buy(venue, "0.01")
    trade(venue, "47600")
    assert position(venue).amount == D("2.9")
    quote(venue, "47600", "47600.1", size="10")
    assert position(venue).amount == 0
    assert [order.executed for order in venue.forced_orders("main")] == [D(1), D("2.9")]
    with refused(-2019):
        buy(venue, "0.01")


def test_liquidation_stops_as_soon_as_the_rest_is_covered() -> None:
    venue = hand_venue(specs=(replace(BTC, liquidation_fee=D(0)), ETH))
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    mark(venue, "3000", symbol="ETHUSDT")
    quote(venue, "3000", "3000.01", size="10", symbol="ETHUSDT")
    buy(venue, "3.7")
    buy(venue, "1", symbol="ETHUSDT")
    depth(venue, [("47600", "10")], [("47600.1", "10")])
    mark(venue, "47500")
    assert position(venue).amount == 0
    assert position(venue, symbol="ETHUSDT").amount == 1


def test_a_margin_call_is_made_once_until_the_margin_recovers() -> None:
    venue = hand_venue()
    depth(venue, [("50000", "10")], [("50000.1", "10")])
    buy(venue, "3.9")
    venue.drain()
    # At 47,750: balance 9,902.499805 - 8,775.39 = 1,127.109805, maintenance 881.125: 78 %; at 47,740 81 %.
    mark(venue, "47750")
    assert story(venue) == []
    mark(venue, "47740")
    (call,) = [event for event in venue.drain() if isinstance(event, MarginCall)]
    assert call.positions[0].maintenance_margin == D("880.93")
    mark(venue, "47739")
    assert story(venue) == []
    mark(venue, "48500")
    mark(venue, "47740")
    assert story(venue) == ["MarginCall"]


def test_hedge_mode_keeps_long_and_short_apart() -> None:
    venue = hand_venue()
    venue.set_position_mode("main", True)
    assert venue.position_mode("main")
    with refused(-4061):
        buy(venue, "0.1")
    with refused(-1106):
        buy(venue, "0.1", position_side="LONG", reduce_only=True)
    buy(venue, "0.1", position_side="LONG")
    sell(venue, "0.2", position_side="SHORT")
    assert (position(venue, "LONG").amount, position(venue, "SHORT").amount) == (D("0.1"), D("-0.2"))
    # 0.1 x 50,000 / 20 and 0.2 x 50,000 / 20
    assert venue.account_view("main").assets[0].initial_margin == D(750)
    closing = sell(venue, "5", position_side="LONG")
    assert (closing.executed, closing.reduce_only) == (D("0.1"), True)
    with refused(-2022):
        sell(venue, "0.1", position_side="LONG")
    assert position(venue, "SHORT").amount == D("-0.2")


def test_modes_change_only_without_orders_and_positions() -> None:
    venue = hand_venue()
    with refused(-4059):
        venue.set_position_mode("main", False)
    order = buy(venue, "0.01", "49000")
    with refused(-4067):
        venue.set_position_mode("main", True)
    venue.cancel("main", "BTCUSDT", order.order_id)
    buy(venue, "0.01")
    with refused(-4068):
        venue.set_position_mode("main", True)


def test_transfers_are_income_and_at_most_what_is_available() -> None:
    venue = hand_venue()
    venue.transfer("main", "USDT", D(500))
    buy(venue, "1", "49000")
    with refused(-2018):
        venue.transfer("main", "USDT", D("-8050.01"))
    venue.transfer("main", "USDT", D(-8050))
    assert wallet(venue) == D(2450)
    assert venue.income_totals("main") == {"USDT": D(-7550)}
    told = [event for event in venue.drain() if isinstance(event, AccountUpdate)]
    assert [(event.reason, event.balances[0].change) for event in told] == [
        ("DEPOSIT", D(500)),
        ("WITHDRAW", D(-8050)),
    ]


def test_rates_are_the_venues() -> None:
    venue = hand_venue(maker_rate=D(0), taker_rate=D("0.0004"))
    assert venue.commission_rates("main", "BTCUSDT") == (0, D("0.0004"))
    buy(venue, "0.1")
    assert venue.user_trades("main")[0].commission == D("2.000004")
    assert fills(venue) == [(D("50000.1"), D("0.1"), False)]
