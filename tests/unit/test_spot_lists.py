"""The life of a spot OCO list: one order's fill or trigger ends the other, and one cancel ends both."""

import pytest

from live.rehearsal.errors import VenueError
from live.rehearsal.spot.orders import OrderList
from live.rehearsal.spot.venue import SpotVenue
from tests.rehearsal_server import D
from tests.spot_server import ask, balance, make_venue, quote, told, trade

TARGET = ask("SELL", "LIMIT_MAKER", "0.1", price="51000")
STOP = ask("SELL", "STOP_LOSS", "0.1", stop_price="49000")


def protected(**options: str) -> tuple[SpotVenue, OrderList]:
    """A venue where 0.1 BTC are protected."""
    venue = make_venue(btc="0.1", **options)
    return venue, venue.place_oco("main", TARGET, STOP, "pair")


def statuses(venue: SpotVenue, pair: OrderList) -> dict[str, tuple[str, str]]:
    orders = venue.list_orders("main", pair)
    return {order.type: (order.status, order.expiry_reason) for order in orders}


def test_both_orders_lock_the_same_coins() -> None:
    venue, pair = protected()
    assert balance(venue, "BTC") == (0, D("0.1"))
    assert told(venue) == [
        "list EXECUTING",
        "NEW STOP_LOSS NEW",
        "NEW LIMIT_MAKER NEW",
        "balances",
    ]
    assert [o.working for o in venue.list_orders("main", pair)] == [False, True]


def test_a_buy_list_locks_the_dearer_order() -> None:
    venue = make_venue()
    venue.place_oco(
        "main",
        ask("BUY", "STOP_LOSS_LIMIT", "0.1", stop_price="51000", price="51100"),
        ask("BUY", "LIMIT_MAKER", "0.1", price="49000"),
    )
    assert balance(venue, "USDT") == (D("4890"), D("5110"))
    venue.apply(trade("48000", at=1, size="5"))
    assert balance(venue, "USDT") == (D("5100"), 0)


def test_the_targets_fill_ends_the_stop() -> None:
    venue, pair = protected()
    venue.drain()
    venue.apply(quote("51000.00", "51000.01", at=1))
    assert statuses(venue, pair) == {
        "LIMIT_MAKER": ("FILLED", ""),
        "STOP_LOSS": ("EXPIRED", "OCO_TRIGGER"),
    }
    assert told(venue) == [
        "EXPIRED STOP_LOSS EXPIRED",
        "TRADE LIMIT_MAKER FILLED",
        "list ALL_DONE",
        "balances",
    ]
    # 0.1 x 51000 less the maker's 0.1 %
    assert balance(venue, "USDT")[0] == D("10000") + D("5094.9")


def test_a_part_of_the_target_ends_the_stop_and_leaves_the_rest() -> None:
    venue, pair = protected()
    venue.apply(trade("51000.01", "0.04", at=1))
    assert statuses(venue, pair)["LIMIT_MAKER"][0] == "PARTIALLY_FILLED"
    assert statuses(venue, pair)["STOP_LOSS"] == ("EXPIRED", "OCO_TRIGGER")
    assert balance(venue, "BTC") == (0, D("0.06"))
    assert venue.order_list("main", pair.list_id).is_open
    venue.apply(trade("40000", at=2))  # nothing is left to stop it
    assert balance(venue, "BTC") == (0, D("0.06"))
    venue.cancel_list("main", "BTCUSDT", pair.list_id)
    assert balance(venue, "BTC") == (D("0.06"), 0)


def test_the_stops_trigger_ends_the_target() -> None:
    venue, pair = protected()
    venue.drain()
    venue.apply(quote("48900.00", "48900.01", at=1))
    venue.apply(trade("48999.99", at=2))
    assert told(venue) == [
        "EXPIRED LIMIT_MAKER EXPIRED",
        "TRADE STOP_LOSS FILLED",
        "list ALL_DONE",
        "balances",
    ]
    assert statuses(venue, pair)["LIMIT_MAKER"] == ("EXPIRED", "OCO_TRIGGER")
    assert balance(venue, "BTC") == (0, 0)


def test_one_orders_cancel_cancels_both() -> None:
    venue, pair = protected()
    stop = venue.list_orders("main", pair)[0]
    venue.drain()
    assert venue.cancel("main", "BTCUSDT", stop.order_id).status == "CANCELED"
    assert {status for status, _ in statuses(venue, pair).values()} == {"CANCELED"}
    assert told(venue)[-2:] == ["list ALL_DONE", "balances"]
    assert balance(venue, "BTC") == (D("0.1"), 0)
    with pytest.raises(VenueError) as refused:
        venue.cancel_list("main", "BTCUSDT", pair.list_id)
    assert refused.value.code == -2011


def test_cancel_all_gives_a_list_as_one() -> None:
    venue, pair = protected()
    venue.place("main", ask("BUY", "LIMIT", "0.01", price="49000"))
    ended = venue.cancel_all("main", "BTCUSDT")
    assert [type(each).__name__ for each in ended] == ["OrderList", "SpotOrder"]
    assert venue.order_list("main", pair.list_id).order_status == "ALL_DONE"
    assert venue.open_orders("main") == []


@pytest.mark.parametrize(
    ("above", "below", "code"),
    [
        (TARGET, ask("SELL", "LIMIT_MAKER", "0.1", price="49000"), -1168),
        (ask("SELL", "STOP_LOSS", "0.1", stop_price="51000"), STOP, -1197),
        (ask("SELL", "TAKE_PROFIT", "0.1", stop_price="51000"), TARGET, -1166),
        (ask("SELL", "LIMIT", "0.1", price="51000"), STOP, -1158),
        (TARGET, ask("SELL", "STOP_LOSS", "0.1", stop_price="50000"), -2010),
        (ask("SELL", "LIMIT_MAKER", "0.1", price="50000"), STOP, -2010),
        (ask("SELL", "LIMIT_MAKER", "0.10001", price="51000"), STOP, -2010),
    ],
)
def test_a_pair_must_be_one(above: object, below: object, code: int) -> None:
    venue = make_venue(btc="0.1")
    with pytest.raises(VenueError) as refused:
        venue.place_oco("main", above, below)  # type: ignore[arg-type]
    assert refused.value.code == code
    assert venue.open_orders("main") == []
    assert balance(venue, "BTC") == (D("0.1"), 0)


def test_a_list_id_is_used_once_at_a_time() -> None:
    venue = make_venue(btc="0.3")
    venue.place_oco("main", TARGET, STOP, "pair")
    with pytest.raises(VenueError, match="Duplicate"):
        venue.place_oco("main", TARGET, STOP, "pair")
