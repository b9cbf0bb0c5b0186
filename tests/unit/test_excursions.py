from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtests.excursions import excursions
from backtests.trades import trades
from backtests.venue import payments_frame
from tests.hand_market import MINUTE, T0, columns

BTC = "BTCUSDT-PERP.BINANCE"
RESTING = {"stop": "TAKER", "target": "MAKER", "entry": "TAKER", "exit": "TAKER", "add": "TAKER"}


def fills_of(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """(bar, side, quantity, price, role[, liquidity]): a market entry takes and fills at the close."""
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime([T0 + (r[0] + 1) * MINUTE for r in rows], utc=True),
            "strategy": "s",
            "instrument": BTC,
            "side": [r[1] for r in rows],
            "quantity": [float(r[2]) for r in rows],
            "price": [float(r[3]) for r in rows],
            "role": [r[4] for r in rows],
            "liquidity": [r[5] if len(r) > 5 else RESTING[r[4]] for r in rows],
            "fee": 0.0,
            "slippage": 0.0,
        }
    )


QUIET = (100.0, 100.5, 99.5, 100.0)


def found(
    rows: list[tuple[float, ...]], *fills: tuple[Any, ...], adaptive: bool = False
) -> list[list[float]]:
    return excursions(fills_of(*fills), BTC, columns(rows), adaptive=adaptive).round(9).tolist()


def test_the_bar_of_a_market_entry_counts_for_nothing_and_that_of_a_market_exit_whole() -> None:
    rows = [(100, 120, 80, 100), (100, 103, 99, 102), (102, 106, 98, 101)]
    # 2 coins from 100: best 106 -> +12, worst 98 -> -4; the 120 and 80 came before the entry
    assert found(rows, (0, "BUY", 2, 100, "entry"), (2, "SELL", 2, 101, "exit")) == [[12.0, -4.0]]


def test_a_short_gains_where_the_price_falls() -> None:
    rows = [QUIET, (100, 103, 95, 96), QUIET]
    assert found(rows, (0, "SELL", 1, 100, "entry"), (2, "BUY", 1, 100, "exit")) == [[5.0, -3.0]]


def test_what_comes_after_the_stop_inside_its_bar_does_not_count() -> None:
    # adaptive: the low (2 away) is nearer than the high (10 away) and comes first
    rows = [QUIET, (100, 110, 98, 105)]
    trade = (0, "BUY", 1, 100, "entry"), (1, "SELL", 1, 99, "stop")
    assert found(rows, *trade) == [[10.0, -1.0]]  # open, high 110, then down through 99
    assert found(rows, *trade, adaptive=True) == [[0.0, -1.0]]  # straight down


def test_a_target_ends_the_path_at_its_price() -> None:
    rows = [QUIET, (100, 110, 90, 105)]
    assert found(rows, (0, "BUY", 1, 100, "entry"), (1, "SELL", 1, 104, "target")) == [[4.0, 0.0]]


def test_a_stop_through_a_gap_is_where_it_filled() -> None:
    rows = [QUIET, (92, 93, 90, 91)]
    assert found(rows, (0, "BUY", 1, 100, "entry"), (1, "SELL", 1, 92, "stop")) == [[0.0, -8.0]]


def test_two_tranches_in_one_bar_and_the_rest_at_the_stop() -> None:
    # 4 coins from 100. Up: 1 at 103, 1 at 106, on to 108 with 2: 3 + 6 + 2 * 8 = 25. Down to 98: 9 - 4 = 5.
    rows = [QUIET, (100, 108, 97, 99)]
    fills = (
        (0, "BUY", 4, 100, "entry"),
        (1, "SELL", 1, 103, "target"),
        (1, "SELL", 1, 106, "target"),
        (1, "SELL", 2, 98, "stop"),
    )
    assert found(rows, *fills) == [[25.0, 0.0]]


def test_a_resting_entry_begins_where_it_filled_inside_its_bar() -> None:
    rows = [(100, 104, 98, 101), (101, 102, 100, 101)]
    # bought at 99 on the way down: low 98, back up to 101, then 102
    fills = (0, "BUY", 1, 99, "entry", "MAKER"), (1, "SELL", 1, 101, "exit")
    assert found(rows, *fills) == [[3.0, -1.0]]


def test_an_addition_moves_the_average_and_profit_taken_counts() -> None:
    rows = [QUIET, (100, 104, 100, 104), (104, 106, 103, 105), QUIET]
    fills = (0, "BUY", 2, 100, "entry"), (1, "BUY", 2, 104, "add"), (2, "SELL", 4, 105, "exit")
    # after the addition 4 coins at 102: at 106 +16, at 103 +4
    assert found(rows, *fills) == [[16.0, 0.0]]


def test_an_open_trade_is_followed_to_the_last_bar_and_none_gives_none() -> None:
    rows = [QUIET, (100, 101, 96, 97), (97, 99, 95, 98)]
    assert found(rows, (0, "BUY", 1, 100, "entry")) == [[1.0, -5.0]]
    assert excursions(fills_of(), BTC, columns(rows)).shape == (0, 2)


def order(bar: int, role: str, side: str, level: float) -> dict[str, Any]:
    return {
        "ts_init": pd.Timestamp(T0 + (bar + 1) * MINUTE, tz="UTC"),
        "instrument": BTC,
        "role": role,
        "side": side,
        "first_trigger_price": level if role == "stop" else np.nan,
        "first_price": level if role == "target" else np.nan,
    }


def test_r_multiple_and_exit_efficiency_of_a_trade_with_an_addition() -> None:
    rows = [QUIET, (100, 104, 100, 104), (104, 106, 103, 105), QUIET]
    fills = fills_of((0, "BUY", 2, 100, "entry"), (1, "BUY", 2, 104, "add"), (2, "SELL", 4, 105, "exit"))
    orders = pd.DataFrame([order(0, "stop", "SELL", 98.0)])
    row = trades(fills, payments_frame(()), {BTC: columns(rows)}, orders=orders).iloc[0]
    # profit 4 * (105 - 102) = 12; the first 2 coins risked 2 each: 12 / 4 = 3 R; 12 of a possible 16
    assert (row["mfe"], row["mae"]) == (16.0, 0.0)
    assert row["r_multiple"] == pytest.approx(3.0)
    assert row["exit_efficiency"] == pytest.approx(0.75)


def test_without_a_stop_or_a_gain_the_ratios_are_missing() -> None:
    rows = [QUIET, (100, 100, 95, 96)]
    fills = fills_of((0, "BUY", 1, 100, "entry"), (1, "SELL", 1, 96, "exit"))
    row = trades(fills, payments_frame(()), {BTC: columns(rows)}).iloc[0]
    assert (row["mfe"], row["mae"]) == (0.0, -5.0)
    assert np.isnan(row["r_multiple"])
    assert np.isnan(row["exit_efficiency"])
