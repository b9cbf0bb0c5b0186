"""What covers a position: pure verdicts over the venue's own rows."""

from decimal import Decimal
from typing import Any

import pytest

from live.venue.answers import AlgoOrder, Position
from live.venue.stop_cover import cover_of, stop_price

D = Decimal


def position(amount: str = "1", *, mark_price: str = "100", liquidation: str = "0") -> Position:
    return Position(
        symbol="BTCUSDT",
        side="BOTH",
        amount=D(amount),
        entry_price=D(100),
        mark_price=D(mark_price),
        liquidation_price=D(liquidation),
        notional=D(amount) * 100,
        update_time=0,
    )


def order(trigger: str = "95", side: str = "SELL", kind: str = "STOP_MARKET", **values: Any) -> AlgoOrder:
    fields: dict[str, Any] = {"symbol": "BTCUSDT", "algo_id": 1, "client_algo_id": "a", "algo_status": "NEW"}
    fields |= {"side": side, "order_type": kind, "trigger_text": trigger}
    return AlgoOrder(**(fields | (values or {"close_position": True})))


@pytest.mark.parametrize(
    ("held", "waiting", "covered"),
    [
        ("1", [], "0"),
        ("1", [order()], "1"),
        ("-1", [order("105", "BUY")], "1"),
        ("1", [order(quantity_text="0.4", reduce_only=True)], "0.4"),
        (
            "1",
            [order(quantity_text="0.4", reduce_only=True), order(quantity_text="0.7", reduce_only=True)],
            "1",
        ),
        ("1", [order("105")], "0"),  # above the mark price
        ("-1", [order("95", "BUY")], "0"),
        ("1", [order(side="BUY")], "0"),
        ("-1", [order("95")], "0"),
        ("1", [order(kind="TAKE_PROFIT_MARKET")], "0"),
        ("1", [order(kind="STOP")], "0"),
        ("1", [order(quantity_text="1")], "0"),  # not reduce-only: may be an entry
        ("1", [order(trigger_text="")], "0"),
        ("1", [order(symbol="ETHUSDT", close_position=True)], "0"),
        ("1", [order(position_side="LONG", close_position=True)], "0"),
        ("1", [order("", kind="TRAILING_STOP_MARKET", quantity_text="1", reduce_only=True)], "1"),
        (
            "1",
            [
                order(
                    "",
                    kind="TRAILING_STOP_MARKET",
                    quantity_text="1",
                    reduce_only=True,
                    activation_text="110",
                )
            ],
            "0",
        ),
    ],
)
def test_only_a_stop_that_is_sure_to_close_the_position_covers_it(
    held: str, waiting: list[AlgoOrder], covered: str
) -> None:
    assert cover_of(position(held), waiting).covered == D(covered)


def test_a_stop_beyond_the_liquidation_price_covers_nothing() -> None:
    assert not cover_of(position(liquidation="96"), [order("95")]).is_whole
    assert cover_of(position(liquidation="94"), [order("95")]).is_whole
    assert "beyond the liquidation price 96" in cover_of(position(liquidation="96"), [order("95")]).text


@pytest.mark.parametrize(
    ("amount", "liquidation", "price"),
    [
        ("1", "0", "97.0"),  # 3 % below 100
        ("-1", "0", "103.0"),
        ("1", "98", "99.0"),  # half-way to the liquidation price
        ("-1", "102", "101.0"),
        ("1", "50", "97.0"),
        ("1", "98.05", "99.0"),  # 99.025, down to the tick
        ("-1", "101.95", "101.0"),  # 100.975, up to it
    ],
)
def test_the_stop_lies_at_the_distance_or_before_the_liquidation_price(
    amount: str, liquidation: str, price: str
) -> None:
    assert stop_price(position(amount, liquidation=liquidation), 3.0, D("0.1")) == D(price)
