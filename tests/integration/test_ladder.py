"""Several targets in the real engine: each closes its own quantity at its own price, nothing is left over.

100 coins from 100 (a tenth of 100,000), stop 2 % away at 98, targets at 103, 106 and 110 that close 25, 25
and 50 of them. The engine fills a quarter of a bar's volume at a level. The engine's path through a bar is
open, high, low, close.
"""

import pytest

from strategies.values import Intent
from tests.hand_market import instrument
from tests.markets import DOWN, UP, Desk, Fill, State, deciding, desk, flat_rows

TRANCHES = [{"pct": 3, "close_pct": 25}, {"pct": 6, "close_pct": 25}, {"pct": 10, "close_pct": 50}]
LADDER = {"targets": {"tranches": TRANCHES}}
ENTRY = Fill(1, "entry", "BUY", 100.0, 100.0)
SHORT_ENTRY = Fill(1, "entry", "SELL", 100.0, 100.0)
RISEN = (104.0, 104.5, 103.5, 104.0)


def working(result: Desk, bar: int) -> list[tuple[str, float, float]]:
    """(role, open quantity, level) of what works at a bar's end, by level, but for anchors."""
    orders = result.states()[bar].orders
    rows = [(role, quantity, level) for role, _, _, quantity, level, _ in orders if role != "anchor"]
    return sorted(rows, key=lambda row: row[2])


def exits(result: Desk) -> list[tuple[int, str, float, float]]:
    return [(f.bar, f.role, f.quantity, f.price) for f in result.fills() if f.role != "entry"]


def test_the_ladder_and_one_stop_for_everything_stand_before_the_next_bar():
    result = desk(flat_rows(4), {1: UP}, **LADDER)
    assert working(result, 1) == [
        ("stop", 100.0, 98.0),
        ("target", 25.0, 103.0),
        ("target", 25.0, 106.0),
        ("target", 50.0, 110.0),
    ]


def test_each_target_closes_its_part_and_the_stop_shrinks_with_it():
    rows = flat_rows(
        8,
        b2=(100, 103.5, 100, 103),
        b3=(103, 106, 102.5, 105),
        b4=(105, 109, 104, 108),
        b5=(108, 110.2, 107, 109),
    )
    result = desk(rows, {1: UP}, **LADDER)
    assert exits(result) == [
        (2, "target", 25.0, 103.0),
        (3, "target", 25.0, 106.0),
        (5, "target", 50.0, 110.0),
    ]
    assert working(result, 2) == [("stop", 75.0, 98.0), ("target", 25.0, 106.0), ("target", 50.0, 110.0)]
    assert working(result, 3) == working(result, 4) == [("stop", 50.0, 98.0), ("target", 50.0, 110.0)]
    assert result.states()[5] == State(5, 0, ())
    assert result.end() == (0, 0)


@pytest.mark.parametrize("opening", [100.0, 104.0, 112.0])
def test_all_three_in_one_bar_fill_at_their_own_prices_even_through_a_gap(opening):
    result = desk(flat_rows(6, b3=(opening, 113, 99.5, 111)), {1: UP}, **LADDER)
    assert exits(result) == [
        (3, "target", 25.0, 103.0),
        (3, "target", 25.0, 106.0),
        (3, "target", 50.0, 110.0),
    ]
    assert result.states()[3] == State(3, 0, ())


def test_two_in_one_bar_and_then_the_stop_for_the_rest_in_the_same_bar():
    result = desk(flat_rows(6, b3=(100, 107, 97, 98.5)), {1: UP}, **LADDER)
    assert exits(result) == [
        (3, "target", 25.0, 103.0),
        (3, "target", 25.0, 106.0),
        (3, "stop", 50.0, 98.0),
    ]
    assert result.states()[3] == State(3, 0, ())
    assert result.end() == (0, 0)


@pytest.mark.parametrize(
    ("signal", "bar", "venue", "stop"),
    [
        (DOWN, (100, 103, 85, 95), {}, 102.0),  # a short meets the high first
        (UP, (100, 115, 97, 100), {"adaptive_high_low": True}, 98.0),  # the low is nearer
        (DOWN, (103, 104, 85, 95), {}, 103.0),  # opens beyond the stop
    ],
)
@pytest.mark.parametrize("volume", [1000.0, 60.0])
def test_after_the_stop_no_target_of_the_same_bar_fills(signal, bar, venue, stop, volume):
    result = desk(flat_rows(6, b3=(*bar, volume)), {1: signal}, venue=venue, **LADDER)
    first = min(100.0, volume / 4)
    side = -1 if signal == UP else 1
    parts = [(3, "stop", first, stop)]
    if first < 100.0:  # the rest of a stop goes one tick worse
        parts.append((3, "stop", 100.0 - first, round(stop + 0.1 * side, 1)))
    assert exits(result) == parts
    assert result.states()[3] == State(3, 0, ())
    assert result.audit("action")[-1][1]["action"] != "unexpected_position"


def test_after_a_market_exit_nothing_of_the_ladder_is_left():
    rows = flat_rows(7, b5=(100, 115, 99, 100))
    result = desk(rows, {1: UP, 4: DOWN}, **LADDER)
    assert exits(result) == [(4, "exit", 100.0, 100.0)]
    assert result.states()[4] == State(4, 0, ())


def test_a_target_filled_in_part_leaves_its_rest_working_and_the_stop_for_all_that_is_held():
    # a quarter of 80: 20 of the first 25
    rows = flat_rows(7, b3=(100, 103.5, 99.8, 102, 80), b4=(103, 103, 97, 98))
    result = desk(rows, {1: UP}, **LADDER)
    assert working(result, 3) == [
        ("stop", 80.0, 98.0),
        ("target", 5.0, 103.0),
        ("target", 25.0, 106.0),
        ("target", 50.0, 110.0),
    ]
    assert exits(result)[1:] == [(4, "target", 5.0, 103.0), (4, "stop", 75.0, 98.0)]
    assert result.end() == (0, 0)


def test_tranches_that_close_less_than_all_leave_the_rest_to_the_stop():
    rows = flat_rows(8, b3=(100, 104, 100, 103.5), b5=(100, 100, 97, 97.5))
    result = desk(rows, {1: UP}, targets={"tranches": [{"pct": 3, "close_pct": 40}]})
    assert working(result, 1) == [("stop", 100.0, 98.0), ("target", 40.0, 103.0)]
    assert working(result, 3) == [("stop", 60.0, 98.0)]
    assert exits(result) == [(3, "target", 40.0, 103.0), (5, "stop", 60.0, 98.0)]


def test_a_trailing_stop_moves_and_leaves_the_targets_as_they_are():
    rows = flat_rows(8, b2=(100, 102, 100, 102), b3=(102, 102.5, 101.5, 102), b4=(102, 102, 100, 100.5))
    result = desk(rows, {1: UP}, trailing={"activation_pct": 2, "distance_pct": 1}, **LADDER)
    # 102 x 0.99 = 100.98
    ladder = [("target", 25.0, 103.0), ("target", 25.0, 106.0), ("target", 50.0, 110.0)]
    assert working(result, 2) == working(result, 3) == [("stop", 100.0, 101.0), *ladder]
    assert exits(result) == [(4, "stop", 100.0, 101.0)]


def test_rungs_too_small_for_the_venue_go_with_the_next():
    # 400 of notional: 4 coins. A fifth is 0.8 (80 of notional, under 100), it goes with the second: 2.4
    sizing = {"method": "fraction", "fraction_pct": 0.4, "confidence_weighted": False, "max_position_pct": 50}
    tranches = [{"pct": 3, "close_pct": 20}, {"pct": 6, "close_pct": 40}, {"pct": 10, "close_pct": 40}]
    result = desk(flat_rows(6), {1: UP}, sizing=sizing, targets={"tranches": tranches})
    assert working(result, 1) == [("stop", 4.0, 98.0), ("target", 2.4, 106.0), ("target", 1.6, 110.0)]
    assert all(detail["event"] == "OrderAccepted" for _, detail in result.audit("order")[1:])


def test_an_intents_own_target_replaces_the_ladder_and_its_scales_stretch_it():
    def wish(**changes):
        return deciding(lambda view, _: Intent(1, 1.0, ("now",), **changes) if view.side == 0 else None)

    own = desk(flat_rows(4), {1: UP}, prepare=wish(target_distance=0.05, stop_distance=0.01), **LADDER)
    assert working(own, 1) == [("stop", 100.0, 99.0), ("target", 100.0, 105.0)]
    stretched = desk(flat_rows(4), {1: UP}, prepare=wish(target_scale=2.0, stop_scale=1.5), **LADDER)
    assert working(stretched, 1) == [
        ("stop", 100.0, 97.0),
        ("target", 25.0, 106.0),
        ("target", 25.0, 112.0),
        ("target", 50.0, 120.0),
    ]


def test_spot_closes_in_parts_too():
    rows = flat_rows(7, b3=(100, 107, 100, 106), b4=(106, 106, 97, 98))
    result = desk(rows, {1: UP}, instrument("BTCUSDT", "spot"), **LADDER)
    assert exits(result) == [
        (3, "target", 25.0, 103.0),
        (3, "target", 25.0, 106.0),
        (4, "stop", 50.0, 98.0),
    ]
    assert result.end() == (0, 0)
    closed = desk(flat_rows(7), {1: UP, 4: DOWN}, instrument("BTCUSDT", "spot"), **LADDER)
    assert exits(closed) == [(4, "exit", 100.0, 100.0)]
    assert closed.end() == (0, 0)


@pytest.mark.parametrize("gap", [1, 2, 3])
@pytest.mark.parametrize("signal", [UP, DOWN])
def test_with_delays_too_no_target_outlives_the_position(signal, gap):
    """The stop fills at bar 5; bars after it reach every target while cancels would still be under way."""
    wild = (100, 115, 85, 100)
    down, up = (100, 100.5, 97, 98), (100, 103, 99.5, 102)
    rows = flat_rows(12, b5=down if signal == UP else up, **{f"b{5 + gap}": wild})
    result = desk(rows, {1: signal}, venue={"latency_ms": 1000}, **LADDER)
    assert [(bar, role) for bar, role, *_ in exits(result)] == [(5, "stop")]
    assert result.end() == (0, 0)


def test_what_plain_targets_tie_up_bounds_the_next_entry_instead_of_having_it_denied():
    """The engine counts margin for every target that is not reduce-only, beside that of the position.

    Leverage 1, 60,000 of BTC held: the engine ties up half of that as maintenance margin (2.5 % of 5 %) and
    the targets' notional, 150 x 103 + 150 x 106 + 300 x 110 = 64,350, in all 94,350 of 100,000.
    """
    btc, eth = instrument("BTCUSDT"), instrument("ETHUSDT")
    rows = [(100.0, 100.5, 99.5, 100.0, 100_000.0)] * 6
    sizing = {"method": "fraction", "fraction_pct": 60, "max_position_pct": 100, "confidence_weighted": False}
    result = desk(
        {str(btc.id): rows, str(eth.id): rows},
        {str(btc.id): {1: UP}, str(eth.id): {3: UP}},
        btc,
        eth,
        venue={"leverage": 1, "taker_fee_bps": 0, "slippage_bps": 0},
        sizing=sizing,
        **LADDER,
    )
    approvals = [(detail["quantity"], detail["bound_by"]) for _, detail in result.audit("approval")]
    assert approvals == [(600.0, "fraction"), (56.5, "free_margin")]
    assert not [d for _, d in result.audit("order") if d["event"] in ("OrderDenied", "OrderRejected")]
