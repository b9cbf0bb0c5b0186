"""What a node says it has, where the engine and the venue do not say the same."""

from types import SimpleNamespace
from typing import Any

import pytest

from live.books import books_of

NAME = "BTCUSDT-PERP.BINANCE"


def _cache() -> Any:
    position = SimpleNamespace(
        instrument_id=NAME,
        is_open=True,
        is_closed=False,
        is_short=True,
        quantity="0.31",
        realized_pnl=None,
        commissions=list,
    )
    return SimpleNamespace(
        account_for_venue=lambda _: None,
        positions=lambda: [position],
        orders_open=list,
        orders_inflight=list,
    )


@pytest.mark.parametrize(
    ("amounts", "positions"),
    [({}, {NAME: "-0.31"}), ({NAME: -0.306}, {NAME: "-0.306"}), ({NAME: 0.0}, {})],
)
def test_of_what_is_held_the_venues_word_counts(amounts: dict[str, float], positions: dict[str, str]) -> None:
    assert books_of(_cache(), {}, amounts)["positions"] == positions
