"""Additions to a position in the real engine: when, how much, and what they do to stop and targets.

100 coins from 100 (a tenth of 100,000), stop 2 % away at 98. By default 25 are added at gains of 2 and 5 %.
"""

import pytest

from tests.markets import DOWN, UP, Desk, Fill, desk, flat_rows

NO_TARGET = {"targets": {"pct": None}, "scale_in": {}}
UP_TWO, UP_FIVE = (102, 102.5, 101.5, 102), (105, 105.5, 104.5, 105)


def stop(result: Desk, bar: int) -> tuple[float, float]:
    ((quantity, level),) = [(q, p) for role, _, _, q, p, _ in result.states()[bar].orders if role == "stop"]
    return quantity, level


def adds(result: Desk) -> list[tuple[int, float, float]]:
    return [(f.bar, f.quantity, f.price) for f in result.fills() if f.role == "add"]


def test_it_adds_at_each_gain_once_and_the_stop_covers_all_at_once():
    rows = flat_rows(9, b2=UP_TWO, b3=UP_TWO, b4=UP_FIVE, b5=UP_FIVE, b6=UP_FIVE, b7=(100, 100, 97, 97))
    result = desk(rows, {1: UP}, **NO_TARGET)
    assert adds(result) == [(2, 25.0, 102.0), (4, 25.0, 105.0)]
    assert [stop(result, bar) for bar in (1, 2, 3, 4)] == [
        (100.0, 98.0),
        (125.0, 98.0),
        (125.0, 98.0),
        (150.0, 98.0),
    ]
    assert result.fills()[-1] == Fill(7, "stop", "SELL", 150.0, 98.0)
    assert result.end() == (0, 0)


def test_a_short_adds_as_it_falls():
    rows = flat_rows(6, b2=(98, 98.5, 97.5, 98))
    result = desk(rows, {1: DOWN}, **NO_TARGET)
    assert adds(result) == [(2, 25.0, 98.0)]
    assert stop(result, 2) == (125.0, 102.0)


def test_each_addition_is_wished_held_against_the_limits_and_written_down():
    rows = flat_rows(5, b2=UP_TWO)
    result = desk(rows, {1: UP}, **NO_TARGET)
    at_add = [(bar, r) for bar, r in result.audit("intent") if bar == 2]
    assert at_add == [(2, {"side": 1, "confidence": 1.0, "reasons": ["scale_in"]})]
    (approval,) = [detail for bar, detail in result.audit("approval") if bar == 2]
    # to the stop at 98: 4 a coin, and 6 bps of 102 for the way in and out
    assert approval["quantity"] == 25.0
    assert approval["risk_amount"] == pytest.approx(25 * (4 + 2 * 0.0006 * 102))


def test_additions_keep_to_the_limits_of_one_position():
    # the position may be 11 % of equity, 100 coins are worth 10,200 of 100,194 at 102: 8.06 more
    sizing = {"method": "fraction", "fraction_pct": 10, "max_position_pct": 11, "confidence_weighted": False}
    result = desk(flat_rows(5, b2=UP_TWO), {1: UP}, sizing=sizing, **NO_TARGET)
    ((bar, quantity, price),) = adds(result)
    assert (bar, price) == (2, 102.0)
    assert quantity == pytest.approx((0.11 * 100_194 - 10_200) / 102, abs=0.001)


def test_the_ladder_grows_with_an_addition():
    tranches = [{"pct": 4, "close_pct": 50}, {"pct": 8, "close_pct": 50}]
    settings = {"targets": {"tranches": tranches}, "scale_in": {}}
    rows = flat_rows(8, b2=UP_TWO, b3=(103, 104.5, 103, 104), b4=(105, 108.5, 105, 108))
    result = desk(rows, {1: UP}, **settings)
    targets = [
        sorted((level, quantity) for role, _, _, quantity, level, _ in state.orders if role == "target")
        for state in result.states()
    ]
    assert targets[1:4] == [
        [(104.0, 50.0), (108.0, 50.0)],
        [(104.0, 62.5), (108.0, 62.5)],
        [(108.0, 62.5)],
    ]
    assert [(f.role, f.quantity, f.price) for f in result.fills()] == [
        ("entry", 100.0, 100.0),
        ("add", 25.0, 102.0),
        ("target", 62.5, 104.0),
        ("target", 62.5, 108.0),
    ]


def test_a_single_target_grows_with_an_addition():
    result = desk(flat_rows(6, b2=UP_TWO), {1: UP}, targets={"pct": 4}, scale_in={})
    orders = {role: (quantity, level) for role, _, _, quantity, level, _ in result.states()[2].orders}
    assert orders == {"stop": (125.0, 98.0), "target": (125.0, 104.0)}


def test_a_target_that_filled_in_part_keeps_that_when_an_addition_resizes_it():
    """20 of 50 at 102 are closed when 25 are added: what is open grows, the order's quantity is both."""
    tranches = [{"pct": 2, "close_pct": 50}, {"pct": 8, "close_pct": 50}]
    settings = {"targets": {"tranches": tranches}, "scale_in": {"at_pct": [1], "add_pct": 25}}
    rows = flat_rows(8, b2=(100, 102, 99.8, 100.5, 80), b3=(101, 101.5, 100.5, 101))
    result = desk(rows, {1: UP}, **settings)
    fills = [(f.bar, f.role, f.quantity) for f in result.fills()]
    assert fills == [(1, "entry", 100.0), (2, "target", 20.0), (3, "add", 25.0)]
    state = result.states()[3]
    open_targets = sorted((level, q) for role, _, _, q, level, _ in state.orders if role == "target")
    assert stop(result, 3) == (105.0, 98.0)
    # 80 were left: 30 of the first half, 50 of the second; 105 in the same proportion
    assert open_targets == [(102.0, pytest.approx(39.375)), (108.0, pytest.approx(65.625))]
    held = {str(o.client_order_id): o for o in result.simulation.engine.cache.orders_open()}
    partly = [o for o in held.values() if float(str(o.filled_qty)) == 20.0]
    assert [float(str(o.quantity)) for o in partly] == [pytest.approx(20.0 + 39.375)]


def test_nothing_is_added_when_the_risk_mode_forbids_new_risk():
    # a loss of the day is measured at its opening: 6 of fees are more than 0.001 %
    risk = {"day": {"max_loss_pct": 0.001, "loss_streak": None}}
    result = desk(flat_rows(6, b3=UP_TWO), {1: UP}, risk=risk, **NO_TARGET)
    assert adds(result) == []
    assert [(bar, d["check"]) for bar, d in result.audit("refusal")] == [(3, "mode_paused:daily_loss")]


def test_into_a_loss_only_when_asked():
    falling = flat_rows(6, b2=(99, 99.5, 98.5, 99))
    assert adds(desk(falling, {1: UP}, **NO_TARGET)) == []
    asked = {"targets": {"pct": None}, "scale_in": {"at_pct": [-1], "into_loss": True}}
    assert adds(desk(falling, {1: UP}, **asked)) == [(2, 25.0, 99.0)]
