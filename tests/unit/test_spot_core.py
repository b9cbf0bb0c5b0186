"""The spot venue's core: balances, fees and orders, worked out by hand."""

import pytest

from live.rehearsal.errors import VenueError
from live.rehearsal.spot.venue import SpotVenue
from tests.rehearsal_server import D, depth
from tests.spot_server import ask, balance, make_venue, quote, told, trade


def refusal(venue: SpotVenue, *args: str, **more: str) -> tuple[int, str]:
    with pytest.raises(VenueError) as refused:
        venue.place("main", ask(*args, **more))
    return refused.value.code, refused.value.message


# -- fees and balances ---------------------------------------------------------------------------------------


def test_a_buy_pays_its_fee_in_coins() -> None:
    venue = make_venue()
    order = venue.place("main", ask("BUY", "MARKET", "0.01"))
    assert (order.status, order.executed, order.quote_filled) == ("FILLED", D("0.01"), D("500.0001"))
    assert balance(venue, "BTC") == (D("0.00999"), 0)
    assert balance(venue, "USDT") == (D("9499.9999"), 0)
    assert [(t.commission, t.asset, t.maker) for t in venue.user_trades("main")] == [
        (D("0.00001"), "BTC", False)
    ]


def test_a_sale_pays_its_fee_in_money() -> None:
    venue = make_venue(btc="0.5")
    venue.place("main", ask("SELL", "MARKET", "0.5"))
    # 0.5 x 50000 = 25000, less 0.1 %
    assert balance(venue, "USDT") == (D("34975"), 0)
    assert balance(venue, "BTC") == (0, 0)


def test_fees_are_cut_to_eight_decimals() -> None:
    venue = make_venue(taker_rate=D("0.00033333"))
    venue.place("main", ask("BUY", "MARKET", "0.00123"))
    # 0.00123 x 0.00033333 = 0.0000004099959
    assert venue.user_trades("main")[0].commission == D("0.00000040")


def test_fees_in_bnb_cost_less_while_there_is_some() -> None:
    options = {"symbols": ("BTCUSDT", "BNBUSDT"), "balances": {"BNB": D("0.001")}, "bnb_rate": D("0.75")}
    venue = make_venue(**options)
    venue.apply(quote("600.00", "600.00", symbol="BNBUSDT"))
    venue.place("main", ask("BUY", "MARKET", "0.01"))
    # 500.0001 x 0.1 % x 0.75 = 0.375000075 USDT at 600 a BNB
    assert balance(venue, "BNB") == (D("0.001") - D("0.00062500"), 0)
    assert balance(venue, "BTC") == (D("0.01"), 0)
    venue.place("main", ask("BUY", "MARKET", "0.01"))  # the rest of the BNB no longer covers it
    assert balance(venue, "BTC") == (D("0.01999"), 0)


def test_a_resting_buy_locks_its_price_and_frees_what_it_saves() -> None:
    venue = make_venue()
    order = venue.place("main", ask("BUY", "LIMIT", "0.1", price="49000"))
    assert balance(venue, "USDT") == (D("5100"), D("4900"))
    venue.apply(trade("48999.99", "0.04", at=1))
    assert venue.order("main", "BTCUSDT", order.order_id).executed == D("0.04")
    assert balance(venue, "USDT") == (D("5100"), D("2940"))
    assert balance(venue, "BTC") == (D("0.03996"), 0)
    venue.cancel("main", "BTCUSDT", order.order_id)
    assert balance(venue, "USDT") == (D("8040"), 0)


def test_a_limit_that_crosses_pays_the_books_prices() -> None:
    venue = make_venue()
    venue.apply(depth([("49999", "1")], [("50000", "0.05"), ("50010", "0.02")]))
    order = venue.place("main", ask("BUY", "LIMIT", "0.1", price="50010"))
    # 0.05 x 50000 + 0.02 x 50010 = 3500.2; the rest of 0.03 rests at 50010
    assert (order.status, order.quote_filled) == ("PARTIALLY_FILLED", D("3500.2"))
    assert balance(venue, "USDT") == (D("10000") - D("3500.2") - D("1500.3"), D("1500.3"))


def test_a_market_buy_by_money_spends_at_most_that() -> None:
    venue = make_venue()
    order = venue.place("main", ask("BUY", "MARKET", quote_quantity="1000"))
    # 1000 / 50000.01 = 0.0199999..., in steps of 0.00001
    assert (order.status, order.executed) == ("FILLED", D("0.01999"))
    assert balance(venue, "USDT")[0] == D("10000") - D("0.01999") * D("50000.01")


def test_what_the_book_does_not_have_expires() -> None:
    venue = make_venue(usdt="1000000")
    order = venue.place("main", ask("BUY", "MARKET", "6"))
    assert (order.status, order.executed, order.expiry_reason) == (
        "EXPIRED",
        D("5"),
        "INSUFFICIENT_LIQUIDITY",
    )
    venue.apply(quote("50000.00", "50000.01", at=1))
    part = venue.place("main", ask("BUY", "LIMIT", "6", price="50001", time_in_force="IOC"))
    assert (part.executed, part.expiry_reason) == (D("5"), "UNFILLED_IOC_QUANTITY_EXPIRED")
    venue.apply(quote("50000.00", "50000.01", at=2))
    none = venue.place("main", ask("BUY", "LIMIT", "6", price="50001", time_in_force="FOK"))
    assert (none.executed, none.expiry_reason) == (D(0), "UNFILLED_FOK_ORDER_EXPIRED")
    assert balance(venue, "USDT")[1] == 0


# -- refusals ------------------------------------------------------------------------------------------------


def test_nobody_sells_what_they_do_not_have() -> None:
    lack = (-2010, "Account has insufficient balance for requested action.")
    venue = make_venue(btc="0.01")
    assert refusal(venue, "SELL", "MARKET", "0.01001") == lack
    assert refusal(venue, "BUY", "LIMIT", "1", price="49000") == lack
    assert refusal(venue, "BUY", "MARKET", "0.2") == lack
    venue.place("main", ask("SELL", "LIMIT", "0.01", price="51000"))
    assert refusal(venue, "SELL", "STOP_LOSS", "0.01", stop_price="49000") == lack
    assert venue.ledger("main") == []


@pytest.mark.parametrize(
    ("kind", "quantity", "more", "name"),
    [
        ("LIMIT", "0.01", {"price": "49000.001"}, "PRICE_FILTER"),
        ("LIMIT", "0.01", {"price": "9999.99"}, "PERCENT_PRICE_BY_SIDE"),
        ("LIMIT", "0.010001", {"price": "49000"}, "LOT_SIZE"),
        ("LIMIT", "0.0001", {"price": "49000"}, "NOTIONAL"),
        ("MARKET", "0.00009", {}, "NOTIONAL"),
        ("MARKET", "101", {}, "MARKET_LOT_SIZE"),
        ("STOP_LOSS", "0.01", {"stop_price": "51000.005"}, "PRICE_FILTER"),
    ],
)
def test_a_filter_is_named_in_its_refusal(kind: str, quantity: str, more: dict[str, str], name: str) -> None:
    assert refusal(make_venue(usdt="100000000"), "BUY", kind, quantity, **more) == (
        -1013,
        f"Filter failure: {name}",
    )


def test_open_orders_are_counted() -> None:
    venue = make_venue(btc="1")
    for _ in range(2):
        venue.place("main", ask("SELL", "STOP_LOSS", "0.01", stop_price="40000"))
    assert refusal(venue, "SELL", "TAKE_PROFIT", "0.01", stop_price="60000")[1].endswith(
        "MAX_NUM_ALGO_ORDERS"
    )
    for _ in range(4):
        venue.place("main", ask("SELL", "LIMIT", "0.01", price="60000"))
    assert refusal(venue, "SELL", "LIMIT", "0.01", price="60000")[1].endswith("MAX_NUM_ORDERS")


@pytest.mark.parametrize(
    ("request_", "refused"),
    [
        (("BUY", "LIMIT_MAKER", "0.01", {"price": "50000.01"}), "Order would immediately match and take."),
        (("SELL", "STOP_LOSS", "0.01", {"stop_price": "50000.00"}), "Order would trigger immediately."),
        (("BUY", "TAKE_PROFIT", "0.01", {"stop_price": "50000.00"}), "Order would trigger immediately."),
    ],
)
def test_an_order_that_would_act_at_once_is_refused(request_: tuple, refused: str) -> None:  # type: ignore[type-arg]
    side, kind, quantity, more = request_
    assert refusal(make_venue(btc="1"), side, kind, quantity, **more) == (-2010, refused)


def test_parameters_must_fit_the_type() -> None:
    venue = make_venue()
    assert refusal(venue, "BUY", "LIMIT", "0.01")[0] == -1102
    assert refusal(venue, "BUY", "MARKET", "0.01", price="49000")[0] == -1106
    assert refusal(venue, "BUY", "MARKET")[0] == -1102
    assert refusal(venue, "BUY", "TRAILING", "0.01")[0] == -1116
    assert refusal(venue, "BUY", "LIMIT", "0.000000001", price="49000")[0] == -1111


def test_a_halted_symbol_neither_takes_nor_fills_orders() -> None:
    venue = make_venue()
    order = venue.place("main", ask("BUY", "LIMIT", "0.1", price="49000"))
    venue.set_status("BTCUSDT", "BREAK")
    assert refusal(venue, "BUY", "MARKET", "0.01") == (-1013, "Market is closed.")
    venue.apply(trade("48000", at=1))
    assert venue.order("main", "BTCUSDT", order.order_id).status == "NEW"


def test_a_client_id_is_used_once_at_a_time() -> None:
    venue = make_venue()
    venue.place("main", ask("BUY", "LIMIT", "0.01", price="49000", client_order_id="mine"))
    assert refusal(venue, "BUY", "LIMIT", "0.01", price="49000", client_order_id="mine") == (
        -2010,
        "Duplicate order sent.",
    )
    venue.cancel("main", "BTCUSDT", client_order_id="mine")
    assert venue.place("main", ask("BUY", "LIMIT", "0.01", price="49000", client_order_id="mine")).is_open


# -- conditional orders --------------------------------------------------------------------------------------


def test_a_stop_sells_at_the_market_when_the_last_trade_reaches_it() -> None:
    venue = make_venue(btc="0.1")
    venue.place("main", ask("SELL", "STOP_LOSS", "0.1", stop_price="49000"))
    venue.apply(quote("48900.00", "48900.01", at=1))
    assert told(venue)[-1] != "TRADE STOP_LOSS FILLED"  # a quote triggers nothing
    venue.apply(trade("49000.00", at=2))
    assert told(venue) == ["TRADE STOP_LOSS FILLED", "balances"]
    assert venue.user_trades("main")[0].price == D("48900.00")


def test_a_stop_limit_rests_after_its_trigger() -> None:
    venue = make_venue(btc="0.1")
    order = venue.place("main", ask("SELL", "STOP_LOSS_LIMIT", "0.1", stop_price="49000", price="48950"))
    assert not order.working
    venue.apply(quote("48900.00", "48900.01", at=1))
    venue.apply(trade("49000.00", at=2))
    order = venue.order("main", "BTCUSDT", order.order_id)
    assert (order.status, order.working, order.executed) == ("NEW", True, 0)
    venue.apply(quote("48950.00", "48950.01", at=3))
    assert venue.order("main", "BTCUSDT", order.order_id).status == "FILLED"


def test_a_stop_buy_spends_no_more_than_there_is() -> None:
    venue = make_venue(usdt="5100")
    venue.place("main", ask("BUY", "STOP_LOSS", "0.1", stop_price="51000"))
    assert balance(venue, "USDT") == (0, D("5100"))
    venue.apply(quote("52000.00", "52000.00", at=1))
    venue.apply(trade("51000.00", at=2))
    order = venue.all_orders("main", "BTCUSDT")[0]
    # 5100 / 52000 = 0.098076..., in steps of 0.00001
    assert (order.status, order.executed) == ("EXPIRED", D("0.09807"))
    assert balance(venue, "USDT") == (D("5100") - D("0.09807") * 52000, 0)


def test_fills_come_in_slices_when_asked() -> None:
    venue = make_venue()
    venue.set_fill_slices(3)
    venue.place("main", ask("BUY", "MARKET", "0.01"))
    assert [t.quantity for t in venue.user_trades("main")] == [D("0.00333"), D("0.00333"), D("0.00334")]


# -- time, memory, transfers ---------------------------------------------------------------------------------


def test_the_average_price_is_that_of_five_minutes() -> None:
    venue = make_venue()  # 1 at 50000
    venue.apply(trade("50300", "2", at=60_000))
    assert venue.average("BTCUSDT")[0] == D("50200")
    venue.apply(trade("50300", "1", at=301_000))
    assert venue.average("BTCUSDT")[0] == D("50300")


def test_a_snapshot_brings_everything_back() -> None:
    venue = make_venue(btc="1")
    venue.place("main", ask("BUY", "MARKET", "0.01"))
    pair = venue.place_oco(
        "main",
        ask("SELL", "LIMIT_MAKER", "0.5", price="51000"),
        ask("SELL", "STOP_LOSS", "0.5", stop_price="49000"),
    )
    kept, before = venue.snapshot(), venue.balances("main")
    venue.cancel_list("main", "BTCUSDT", pair.list_id)
    venue.restore(kept)
    assert venue.balances("main") == before
    assert venue.order_lists("main", only_open=True) == [pair]
    assert venue.snapshot() == kept
    venue.cancel_list("main", "BTCUSDT", pair.list_id)
    assert balance(venue, "BTC")[1] == 0


def test_a_withdrawal_takes_only_what_is_free() -> None:
    venue = make_venue()
    venue.place("main", ask("BUY", "LIMIT", "0.1", price="49000"))
    with pytest.raises(VenueError):
        venue.transfer("main", "USDT", D("-5100.01"))
    venue.transfer("main", "USDT", D("-5100"))
    assert balance(venue, "USDT") == (0, D("4900"))
