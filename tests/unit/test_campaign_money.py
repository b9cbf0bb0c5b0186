"""The own reckoning of money: worked out by hand, by conservation, and against what the venue books."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.rehearsal.campaign.money import Fill, Gap, Held, Rates, ledger_gaps, reckon
from live.rehearsal.futures.account import Position
from tests.campaign_evidence import at_ms, fill, good, income

START = {"USDT": Decimal(100_000)}
UNIT = Fraction(1, 10**8)
LEDGER = good().ledger

quantities = st.decimals("0.001", "9.999", places=3)
prices = st.decimals("1.0", "99999.9", places=1)
trades = st.lists(st.tuples(st.sampled_from(("BUY", "SELL")), quantities, prices), max_size=30)


def fills_of(rows: list[tuple[str, Decimal, Decimal]]) -> list[Fill]:
    return [
        Fill.from_ledger(fill(number, number, side, str(quantity), str(price), 0.0))
        for number, (side, quantity, price) in enumerate(rows, 1)
    ]


def gaps(**changes: Any) -> list[str]:
    return [gap.what for gap in ledger_gaps({**LEDGER, **changes}, START)]


def test_averages_and_profits_are_those_worked_out_by_hand() -> None:
    books = reckon(
        fills_of(
            [
                ("BUY", Decimal(1), Decimal(100)),
                ("BUY", Decimal(3), Decimal(120)),  # 4 at 115
                ("SELL", Decimal(2), Decimal(130)),  # earns 30
                ("SELL", Decimal(5), Decimal(110)),  # loses 10, 3 short at 110
                ("BUY", Decimal(3), Decimal(105)),  # earns 15
            ]
        )
    )
    assert list(map(int, books.realized)) == [0, 0, 30, -10, 15]
    assert books.total == 35
    assert books.positions[("BTCUSDT", "BOTH")] == Held(Fraction(0), Fraction(0))


def test_an_average_that_no_decimal_can_hold_is_exact() -> None:
    books = reckon(fills_of([("BUY", Decimal(1), Decimal(1)), ("BUY", Decimal(2), Decimal(2))]))
    assert books.positions[("BTCUSDT", "BOTH")].entry_price == Fraction(5, 3)


@given(trades, prices)
def test_profit_and_what_is_still_held_are_what_came_in_less_what_went_out(
    rows: list[tuple[str, Decimal, Decimal]], last: Decimal
) -> None:
    fills = fills_of(rows)
    books = reckon(fills)
    received = -sum((Fraction(f.signed) * Fraction(f.price) for f in fills), Fraction(0))
    held = books.positions.get(("BTCUSDT", "BOTH"), Held())
    unrealized = held.amount * (Fraction(last) - held.entry_price)
    assert books.total + unrealized == received + held.amount * Fraction(last)
    assert held.amount == sum((Fraction(f.signed) for f in fills), Fraction(0))


@given(trades)
def test_sides_swapped_make_the_opposite_of_every_profit(rows: list[tuple[str, Decimal, Decimal]]) -> None:
    swapped = [("SELL" if side == "BUY" else "BUY", quantity, price) for side, quantity, price in rows]
    assert reckon(fills_of(swapped)).realized == tuple(-x for x in reckon(fills_of(rows)).realized)


@given(trades)
def test_the_venue_books_the_same_profit_to_the_last_of_its_decimals(
    rows: list[tuple[str, Decimal, Decimal]],
) -> None:
    position, fills = Position(symbol="BTCUSDT", side="BOTH"), fills_of(rows)
    for row, own in zip(fills, reckon(fills).realized, strict=True):
        position, realized = position.after_fill(row.signed, row.price, Decimal(0), 0)
        assert abs(Fraction(realized) - own) <= UNIT


# -- the ledger ---------------------------------------------------------------------------------------------


def test_a_right_ledger_has_no_gaps() -> None:
    assert ledger_gaps(LEDGER, START) == []


def test_a_wallet_that_is_not_its_start_and_all_income_is_told() -> None:
    assert ledger_gaps({**LEDGER, "assets": [{"asset": "USDT", "wallet": "100070.7276"}]}, START) == [
        Gap("wallet USDT", Decimal("100070.7276"), Decimal("100070.7275"))
    ]
    assert str(Gap("wallet USDT", Decimal(2), Decimal(1))) == "wallet USDT: the venue says 2, reckoned 1"
    assert gaps(assets=[]) == ["wallet USDT"]


@pytest.mark.parametrize(
    ("number", "changes", "told"),
    [
        (2, {"realized": "25.00000002"}, {"realised profit of fill 3", "REALIZED_PNL booked for fill 3"}),
        (2, {"commission": "1.27"}, {"commission of fill 3", "COMMISSION booked for fill 3"}),
        (1, {"maker": False}, {"commission of fill 2"}),
    ],
)
def test_a_fill_with_another_profit_or_commission_than_its_prices_make_is_told(
    number: int, changes: dict[str, Any], told: set[str]
) -> None:
    rows = list(LEDGER["fills"])
    rows[number] = rows[number] | changes
    assert set(gaps(fills=rows)) == told


def test_rates_other_than_the_usual_are_reckoned_with() -> None:
    doubled = [row | {"commission": str(2 * Decimal(row["commission"]))} for row in LEDGER["fills"]]
    booked = [
        row | {"amount": str(2 * Decimal(row["amount"]))} if row["kind"] == "COMMISSION" else row
        for row in LEDGER["income"]
    ]
    ledger = {
        **LEDGER,
        "fills": doubled,
        "income": booked,
        "assets": [{"asset": "USDT", "wallet": "100066.455"}],
    }
    assert ledger_gaps(ledger, START, Rates(Decimal("0.0004"), Decimal("0.001"))) == []


def test_a_booking_without_a_fill_is_told() -> None:
    rows = [
        *LEDGER["income"],
        income(6, "REALIZED_PNL", "1", 99, 9.0),
        income(7, "COMMISSION", "-1", 98, 9.0),
    ]
    assert gaps(income=rows) == [
        "REALIZED_PNL booked for fill 99, which is not there",
        "COMMISSION booked for fill 98, which is not there",
    ]


def test_a_position_that_the_fills_do_not_make_is_told() -> None:
    held = {"symbol": "BTCUSDT", "side": "BOTH", "amount": "0.01", "entry_price": "50000"}
    assert gaps(positions=[held]) == ["position BTCUSDT"]
    open_fills, booked = LEDGER["fills"][:1], LEDGER["income"][:1]
    half = {"fills": open_fills, "income": booked, "assets": [{"asset": "USDT", "wallet": "99997.5"}]}
    assert gaps(**half) == ["position BTCUSDT"]
    right = held | {"amount": "0.1"}
    assert gaps(**half, positions=[right]) == []
    assert gaps(**half, positions=[right | {"entry_price": "50001"}]) == ["entry price BTCUSDT"]


def funded(amount: str, number: int, secs: float, fundings: tuple[float, ...]) -> list[str]:
    """The gaps with one payment, the `number`th of all bookings, whose numbers go 10, 20, 30, 40, 50."""
    numbered = [row | {"tran_id": 10 * row["tran_id"]} for row in LEDGER["income"]]
    settled = [
        {"symbol": "BTCUSDT", "ts_ms": at_ms(each), "rate": "0.0001", "mark": "50000"} for each in fundings
    ]
    return gaps(
        income=[*numbered, income(number, "FUNDING_FEE", amount, 0, secs)],
        fundings=settled,
        assets=[{"asset": "USDT", "wallet": str(Decimal("100070.7275") + Decimal(amount))}],
    )


def test_funding_is_the_position_when_it_was_booked_at_the_mark_and_the_rate() -> None:
    assert funded("-0.5", 15, 4.0, (4.0,)) == []  # 0.1 long
    assert funded("-0.25", 35, 5.0, (5.0,)) == []  # half of it was sold just before
    assert funded("-0.5", 15, 4.1, (4.0,)) == []  # booked a moment later
    assert funded("0.5", 15, 4.0, (4.0,)) == [f"funding of BTCUSDT at {at_ms(4.0)}"]
    assert funded("-0.5", 15, 4.0, ()) == [f"funding of BTCUSDT at {at_ms(4.0)}, which is not there"]


def test_a_funding_that_nobody_booked_is_told() -> None:
    open_only = {
        "fills": LEDGER["fills"][:1],
        "income": LEDGER["income"][:1],
        "assets": [{"asset": "USDT", "wallet": "99997.5"}],
        "positions": [{"symbol": "BTCUSDT", "side": "BOTH", "amount": "0.1", "entry_price": "50000"}],
    }
    settled = {"symbol": "BTCUSDT", "rate": "0.0001", "mark": "50000"}
    for near in (4.0, 8.0):  # of a fill at 3 s: too near to say which came first
        assert gaps(**open_only, fundings=[settled | {"ts_ms": at_ms(near)}]) == []
    for far in (8.1, 400.0):
        assert gaps(**open_only, fundings=[settled | {"ts_ms": at_ms(far)}]) == [
            f"funding of BTCUSDT at {at_ms(far)}"
        ]


def test_a_funding_of_a_time_at_which_the_venue_held_nothing_is_due_to_nobody() -> None:
    """The venue's clock, which stamps fills, may be ahead of a market that is behind."""
    open_only = {
        "fills": LEDGER["fills"][:1],
        "income": LEDGER["income"][:1],
        "assets": [{"asset": "USDT", "wallet": "99997.5"}],
        "positions": [{"symbol": "BTCUSDT", "side": "BOTH", "amount": "0.1", "entry_price": "50000"}],
        "fundings": [{"symbol": "BTCUSDT", "ts_ms": at_ms(400.0), "rate": "0.0001", "mark": "50000"}],
    }
    ledger = {**LEDGER, **open_only}

    def told(*, was_flat: bool) -> list[str]:
        return [gap.what for gap in ledger_gaps(ledger, START, was_flat=lambda *_: was_flat)]

    assert told(was_flat=False) == [f"funding of BTCUSDT at {at_ms(400.0)}"]
    assert told(was_flat=True) == []
