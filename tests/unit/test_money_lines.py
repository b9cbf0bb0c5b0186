"""Money that pure code alone answers for: Kelly's cap, a ruined account, a report's stops."""

import math

import numpy as np
import pandas as pd
import pytest

from actors.risk_state import RiskMemory
from backtests.records import FILL_COLUMNS, ORDER_COLUMNS, table
from backtests.trades import trades
from catalog.store import BarColumns
from strategies.risk import assess, assess_add
from strategies.values import Account, Approved, Headroom, InstrumentRules, Intent, Limits, Refused
from tests.hand_market import MINUTE, T0, columns
from tests.risk_states import BTC, at, closed, state, word

RULES = InstrumentRules(
    tick_size=0.1, step_size=0.001, min_quantity=0.001, max_quantity=1e6, min_notional=5.0
)
KELLY = Limits(
    method="kelly",
    risk_per_trade=0.01,
    fraction=0.1,
    confidence_weighted=False,
    max_position=10.0,
    max_leverage=10.0,
    max_notional=None,
    liquidation_buffer=0.0,
    entry_cost=0.0,
    exit_cost=0.0,
    max_risk_per_trade=1.0,
    kelly_share=1.0,
    kelly_cap=0.02,
)
ACCOUNT = Account(equity=10_000.0, free_margin=10_000.0, leverage=10.0)

# -- the cap on a Kelly bet ---------------------------------------------------------------------------------


def bet(held_risk: float) -> Approved | Refused:
    """Kelly at even odds and 60 % bets a fifth, capped at 2 %: 200, where a coin of 100 loses 2."""
    return assess(
        Intent(1, 1.0, ("test",), probability=0.6),
        price=100.0,
        stop_distance=0.02,
        target_distance=0.02,
        account=ACCOUNT,
        limits=KELLY,
        rules=RULES,
        headroom=Headroom(held_risk=held_risk),
    )


def add(held_risk: float) -> Approved | Refused:
    """90 coins more, each of which loses 2 at the stop."""
    return assess_add(
        1,
        90.0,
        price=100.0,
        stop_distance=0.02,
        account=ACCOUNT,
        limits=KELLY,
        rules=RULES,
        headroom=Headroom(held_risk=held_risk),
    )


@pytest.mark.parametrize(("held_risk", "quantity"), [(0.0, 100.0), (50.0, 75.0), (199.0, 0.5)])
def test_what_an_instrument_has_at_risk_already_counts_against_kelly_s_cap(held_risk, quantity):
    verdict = bet(held_risk)
    assert isinstance(verdict, Approved)
    assert verdict.quantity == pytest.approx(quantity)  # (200 - held) / 2


def test_an_addition_is_held_to_kelly_s_cap_together_with_what_is_held():
    verdict = add(100.0)
    assert isinstance(verdict, Approved)
    assert (verdict.quantity, verdict.bound_by) == (pytest.approx(50.0), "kelly_cap")


@pytest.mark.parametrize("asked", [bet, add])
def test_with_kelly_s_cap_at_risk_already_nothing_more_is_bet(asked):
    assert asked(200.0) == Refused("kelly_cap", pytest.approx(200.0), 200.0)


# -- the guard's state --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "fall_pct"), [(0.0, 100.0), (-5_000.0, 105.0)])
@pytest.mark.parametrize(("action", "flattens"), [("freeze", False), ("flatten", True)])
def test_an_account_with_nothing_left_halts_by_its_drawdown(left, fall_pct, action, flattens):
    risk = state(kill_switch={"max_drawdown_pct": 30.0, "action": action})
    risk.mark(at(1), 100_000.0)
    assert risk.mark(at(2), left)
    assert word(risk) == ("HALTED", 1.0, ("halt_drawdown", "no_equity"))
    assert risk.mode(at(2)).flatten is flattens
    halt = risk.memory.kill.halts["halt_drawdown"]
    assert (halt.ts_event, halt.value, halt.limit) == (at(2), pytest.approx(fall_pct), 30.0)
    assert risk.memory.equity == 100_000.0  # the last one that can be reckoned with


def test_an_account_with_nothing_left_halts_by_the_loss_of_its_day():
    risk = state(kill_switch={"max_daily_loss_pct": 50.0})
    risk.mark(at(1), 100_000.0)
    risk.mark(at(2), 0.0)
    assert word(risk) == ("HALTED", 1.0, ("halt_daily_loss", "no_equity"))


@pytest.mark.parametrize("unknown", [None, math.nan, -math.inf])
def test_an_equity_that_is_not_known_trips_nothing(unknown):
    risk = state(kill_switch={"max_drawdown_pct": 30.0, "max_daily_loss_pct": 30.0})
    risk.mark(at(1), 100_000.0)
    risk.mark(at(2), unknown)
    assert word(risk) == ("PAUSED", 1.0, ("no_equity",))


def test_an_exit_by_hand_because_the_market_was_through_the_stop_is_a_stop_out():
    memory = RiskMemory(account="A")
    risk = state(memory, day={"stop_out_pause_minutes": 60.0})
    risk.mark(at(1), 100_000.0)
    risk.trade_closed(closed(at(2), -100.0, reason="stop_passed"))
    assert memory.symbols.stop_out_until == {BTC: at(3)}
    assert risk.mode(at(2)).blocked == {BTC: "stop_out"}


# -- the report's trades ------------------------------------------------------------------------------------

Fill = tuple[int, str, str, float]  # bar, role, side, price; always ten coins


def when(bar: int) -> int:
    return T0 + (bar + 1) * MINUTE


def reported(fills: list[Fill], stops: list[tuple[int, float]]) -> pd.DataFrame:
    """The trades of these fills; `stops` are (bar, level) of the sell stops that were made."""
    filled = [
        (when(bar), "S", BTC, str(k), str(k), role, side, 10.0, price, "TAKER", 0.0, 0.0)
        for k, (bar, role, side, price) in enumerate(fills)
    ]
    made = [(when(bar), BTC, "stop", "SELL", math.nan, level) for bar, level in stops]
    bars: BarColumns = columns([(100.0, 101.0, 96.0, 100.0)] * 12)
    payments = table([], {"ts_event": "time", "instrument": "str", "amount": "float64"})
    asked = ("ts_init", "instrument", "role", "side", "first_price", "first_trigger_price")
    orders = table(made, {name: ORDER_COLUMNS[name] for name in asked})
    return trades(table(filled, FILL_COLUMNS), payments, {BTC: bars}, orders=orders)


def test_a_trade_that_an_anchor_closed_was_stopped_out():
    found = reported([(1, "entry", "BUY", 100.0), (3, "anchor", "SELL", 97.0)], [(1, 97.0)])
    assert found["exit_reason"].tolist() == ["stop"]


def test_a_trade_has_the_first_stop_made_while_it_lived_and_not_another_trade_s():
    """The first leaves before it has one; the third gets its own two bars late, after the second's last."""
    fills = [
        *[(1, "entry", "BUY", 100.0), (2, "exit", "SELL", 101.0)],
        *[(4, "entry", "BUY", 100.0), (6, "exit", "SELL", 102.0)],
        *[(7, "entry", "BUY", 100.0), (10, "exit", "SELL", 103.0)],
    ]
    found = reported(fills, [(4, 98.0), (5, 99.0), (6, 99.5), (9, 97.5)])
    assert found["net_pnl"].tolist() == [10.0, 20.0, 30.0]
    assert np.array_equal(found["stop_price"], [math.nan, 98.0, 97.5], equal_nan=True)
    # what was won over what was at risk: ten coins from 100 to 98, and to 97.5
    assert np.array_equal(found["r_multiple"], [math.nan, 1.0, 1.2], equal_nan=True)
