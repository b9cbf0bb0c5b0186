"""Whatever happens on the spot venue, money is neither made nor lost, and locked is what orders hold."""

from collections import defaultdict
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from live.rehearsal.errors import VenueError
from live.rehearsal.spot.orders import SpotRequest
from live.rehearsal.spot.venue import SpotVenue
from tests.rehearsal_server import D
from tests.spot_server import make_venue, quote, trade

SIDES = st.sampled_from(["BUY", "SELL"])
TYPES = st.sampled_from(
    [
        "MARKET",
        "LIMIT",
        "LIMIT_MAKER",
        "STOP_LOSS",
        "STOP_LOSS_LIMIT",
        "TAKE_PROFIT",
        "TAKE_PROFIT_LIMIT",
    ]
)
CENTS = st.integers(-300_00, 300_00)  # away from 50,000, in cents
LOTS = st.integers(10, 8_000)
TIMES = st.sampled_from(["GTC", "IOC", "FOK"])
ORDERS = st.tuples(st.just("order"), SIDES, TYPES, CENTS, CENTS, LOTS, TIMES)
PAIRS = st.tuples(st.just("pair"), SIDES, st.booleans(), CENTS, CENTS, LOTS, TIMES)
MOVES = st.tuples(st.just("move"), st.booleans(), CENTS, LOTS)
CANCELS = st.tuples(st.just("cancel"), st.integers(0, 9))
SLICES = st.tuples(st.just("slices"), st.integers(1, 4))
STEPS = st.lists(st.one_of(ORDERS, PAIRS, MOVES, MOVES, CANCELS, SLICES), max_size=40)


def price(cents: int) -> Decimal:
    return D(50_000) + D(cents) / 100


def request(side: str, kind: str, limit: int, stop: int, lots: int, time: str) -> SpotRequest:
    limited = kind.endswith("LIMIT")
    return SpotRequest(
        symbol="BTCUSDT",
        side=side,
        type=kind,
        quantity=D(lots) / 100_000,
        price=price(limit) if limited or kind == "LIMIT_MAKER" else None,
        stop_price=price(stop) if kind.startswith(("STOP", "TAKE")) else None,
        time_in_force=time if limited else None,
    )


def do(venue: SpotVenue, step: tuple, at: int) -> None:  # type: ignore[type-arg]
    match step:
        case ("order", *values):
            venue.place("main", request(*values))
        case ("pair", side, limited, high, low, lots, time):
            stop = "STOP_LOSS_LIMIT" if limited else "STOP_LOSS"
            kinds = ("LIMIT_MAKER", stop) if side == "SELL" else (stop, "LIMIT_MAKER")
            above, below = (
                request(side, kind, cents, cents, lots, time)
                for kind, cents in zip(kinds, (abs(high), -abs(low)), strict=True)
            )
            venue.place_oco("main", above, below)
        case ("move", quotes, cents, lots):
            text = f"{price(cents):.2f}"
            size = f"{D(lots) / 100_000:.5f}"
            above = f"{price(cents) + D('0.01'):.2f}"
            venue.apply(quote(text, above, size, at=at) if quotes else trade(text, size, at=at))
        case ("cancel", number):
            orders = venue.open_orders("main")
            if orders:
                venue.cancel("main", "BTCUSDT", orders[number % len(orders)].order_id)
        case ("slices", count):
            venue.set_fill_slices(count)


def held(venue: SpotVenue) -> dict[str, Decimal]:
    """What the open orders must lock by asset: each list as much as its dearer order."""
    groups: dict[tuple[str, int], Decimal] = {}
    for order in venue.open_orders("main"):
        asset = "BTC" if order.side == "SELL" else "USDT"
        left = order.quantity - order.executed
        if order.side == "BUY":
            left *= order.price or order.stop_price
        key = asset, order.list_id if order.list_id >= 0 else -order.order_id
        groups[key] = max(groups.get(key, D(0)), left)
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for (asset, _), amount in groups.items():
        totals[asset] += amount
    return totals


@given(steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_balances_follow_from_the_fills_and_locks_from_the_orders(steps: list) -> None:  # type: ignore[type-arg]
    venue = make_venue(usdt="5000", btc="0.1")
    for number, step in enumerate(steps, 1):
        tried(venue, step, number)
        check(venue)


def check(venue: SpotVenue) -> None:
    expected = {"USDT": D(5000), "BTC": D("0.1")}
    for fill in venue.user_trades("main"):
        sign = 1 if fill.side == "BUY" else -1
        expected["BTC"] += sign * fill.quantity
        expected["USDT"] -= sign * fill.price * fill.quantity
        expected[fill.asset] -= fill.commission
    locked = held(venue)
    for each in venue.balances("main"):
        assert each.total == expected[each.asset]
        assert each.locked == locked[each.asset]
        assert each.free >= 0
    booked = defaultdict(Decimal, venue.starting("main"))
    for entry in venue.ledger("main"):
        booked[entry.asset] += entry.amount
    assert booked == expected
    for pair in venue.order_lists("main"):
        orders = venue.list_orders("main", pair)
        assert sum(order.executed > 0 for order in orders) <= 1
        assert pair.is_open == any(order.is_open for order in orders)
        if any(order.executed or order.status == "CANCELED" for order in orders):
            assert not all(order.is_open for order in orders)


@given(steps=STEPS)
@settings(max_examples=30, deadline=None)
def test_a_restored_venue_goes_on_as_the_first_would(steps: list) -> None:  # type: ignore[type-arg]
    first, second = make_venue(usdt="5000", btc="0.1"), make_venue(usdt="5000", btc="0.1")
    half = len(steps) // 2
    for number, step in enumerate(steps[:half], 1):
        tried(first, step, number)
    kept = first.snapshot()
    for venue in (first, second):
        venue.restore(kept)
        venue.set_fill_slices(1)
        venue.apply(quote("50000.00", "50000.01", at=half))
        venue.apply(trade("50000.00", at=half))
        for number, step in enumerate(steps[half:], half + 1):
            tried(venue, step, number)
    assert first.snapshot() == second.snapshot()


def tried(venue: SpotVenue, step: tuple, at: int) -> None:  # type: ignore[type-arg]
    try:
        do(venue, step, at)
    except VenueError:
        return
