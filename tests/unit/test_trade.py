import math
from datetime import UTC, datetime

import pytest

from strategies.trade import (
    ADD,
    EXIT_SESSION,
    EXIT_TIME,
    HOLD,
    MOVE_STOP,
    PlanParams,
    PlanState,
    Rung,
    entries_closed,
    fill_rung,
    fit_ladder,
    grow_ladder,
    open_ladder,
    open_plan,
    step,
    target_ticks,
    to_ticks,
    warm_up,
)

NAN = math.nan
NOON = 1_704_369_600_000_000_000  # Thursday 2024-01-04 12:00 UTC
DEFAULT = ((0.03, 0.25), (0.06, 0.25), (0.10, 0.50))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def walk(plan, closes, params, atr=NAN):
    """(flags, stop) after each close, on the 0.1 grid."""
    seen = []
    for close in closes:
        plan, flags = step(plan, NOON, close, atr, params, 10.0)
        seen.append((flags, plan.stop_ticks))
    return seen


def lots(rungs):
    return [rung.lots for rung in rungs]


# -- levels -------------------------------------------------------------------------------------------------


def test_halves_round_up_to_the_tick():
    assert to_ticks(100.25, 10.0) == 1003
    assert to_ticks(100.24, 10.0) == 1002
    assert to_ticks(12_345.0, 0.2) == 2469  # a tick of 5


def test_a_plan_opens_with_its_stop_behind_the_entry():
    assert open_plan(1, 50_000.0, 0.02, 10.0) == PlanState(1, 500_000, 490_000, 0, 0, 0)
    assert open_plan(-1, 50_000.0, 0.02, 10.0) == PlanState(-1, 500_000, 510_000, 0, 0, 0)


def test_levels_stand_a_tick_from_the_entry_at_least():
    # 0.1 % of 1.00 is a tenth of the tick of 0.01
    assert open_plan(1, 1.0, 0.001, 100.0).stop_ticks == 99
    assert open_plan(-1, 1.0, 0.001, 100.0).stop_ticks == 101
    assert target_ticks(1, 1.0, 0.001, 100.0) == 101
    assert target_ticks(-1, 1.0, 0.001, 100.0) == 99


def test_levels_stay_above_zero():
    assert open_plan(1, 1.0, 0.999, 100.0).stop_ticks == 1
    assert target_ticks(-1, 1.0, 1.5, 100.0) == 1


def test_a_target_stands_beyond_the_entry():
    assert target_ticks(1, 50_000.0, 0.04, 10.0) == 520_000
    assert target_ticks(-1, 50_000.0, 0.04, 10.0) == 480_000


# -- the stop -----------------------------------------------------------------------------------------------


def test_break_even_moves_the_stop_to_the_entry_once_the_gain_is_there():
    # 1 % of 1000 is reached at 1010; falling back never widens it
    seen = walk(open_plan(1, 1000.0, 0.02, 10.0), [1009.9, 1010.0, 990.0], PlanParams(break_even_after=0.01))
    assert seen == [(HOLD, 9800), (MOVE_STOP, 10_000), (HOLD, 10_000)]


def test_a_trailing_stop_follows_the_close_from_its_activation_on():
    # 1020 x 0.99 = 1009.8, 1100 x 0.99 = 1089
    params = PlanParams(trail_activation=0.02, trail_distance=0.01)
    seen = walk(open_plan(1, 1000.0, 0.05, 10.0), [1019.0, 1020.0, 1100.0, 1090.0], params)
    assert seen == [(HOLD, 9500), (MOVE_STOP, 10_098), (MOVE_STOP, 10_890), (HOLD, 10_890)]


def test_a_short_trailing_stop_follows_downwards():
    # 980 x 1.01 = 989.8
    params = PlanParams(trail_activation=0.02, trail_distance=0.01)
    assert walk(open_plan(-1, 1000.0, 0.05, 10.0), [980.0], params) == [(MOVE_STOP, 9898)]


def test_a_trail_by_atr_stands_its_multiple_behind_the_close():
    # 1020 - 2.5 x 4 = 1010, short: 980 + 10 = 990
    params = PlanParams(trail_activation=0.02, trail_atr=2.5)
    assert walk(open_plan(1, 1000.0, 0.05, 10.0), [1020.0], params, atr=4.0) == [(MOVE_STOP, 10_100)]
    assert walk(open_plan(-1, 1000.0, 0.05, 10.0), [980.0], params, atr=4.0) == [(MOVE_STOP, 9900)]


@pytest.mark.parametrize("atr", [NAN, math.inf])
def test_a_trail_by_atr_holds_still_without_an_atr(atr):
    params = PlanParams(trail_activation=0.02, trail_atr=2.5)
    assert walk(open_plan(1, 1000.0, 0.05, 10.0), [1020.0], params, atr=atr) == [(HOLD, 9500)]


def test_a_stop_is_never_nearer_to_the_close_than_a_tick():
    params = PlanParams(trail_activation=0.0005, trail_distance=0.00001)
    assert walk(open_plan(1, 1000.0, 0.05, 10.0), [1001.0], params) == [(MOVE_STOP, 10_009)]
    assert walk(open_plan(-1, 1000.0, 0.05, 10.0), [999.0], params) == [(MOVE_STOP, 9991)]


def test_break_even_and_trail_together_take_the_tighter():
    params = PlanParams(break_even_after=0.01, trail_activation=0.01, trail_distance=0.02)
    # at 1010 the trail would be 989.8, break-even is 1000; at 1050 the trail is 1029
    seen = walk(open_plan(1, 1000.0, 0.05, 10.0), [1010.0, 1050.0], params)
    assert seen == [(MOVE_STOP, 10_000), (MOVE_STOP, 10_290)]


# -- exits --------------------------------------------------------------------------------------------------


def test_the_time_exit_comes_after_max_bars_and_alone():
    params = PlanParams(max_bars=2, break_even_after=0.01, add_1=0.01)
    plan, first = step(open_plan(1, 100.0, 0.1, 10.0), NOON, 100.0, NAN, params, 10.0)
    plan, second = step(plan, NOON, 110.0, NAN, params, 10.0)
    assert (first, second) == (HOLD, EXIT_TIME)
    assert (plan.bars_held, plan.adds, plan.stop_ticks) == (2, 0, 900)


SESSION = PlanParams(flat_before_midnight_minutes=30)
WEEKEND = PlanParams(flat_weekend=1)


@pytest.mark.parametrize(
    ("params", "time", "over"),
    [
        (SESSION, "2024-01-04T23:29", False),
        (SESSION, "2024-01-04T23:30", True),
        (SESSION, "2024-01-04T23:59", True),
        (SESSION, "2024-01-05T00:00", True),  # this bar belongs to the day that ends
        (SESSION, "2024-01-05T00:01", False),
        (WEEKEND, "2024-01-05T23:59", False),
        (WEEKEND, "2024-01-06T00:00", True),
        (WEEKEND, "2024-01-07T23:59", True),
        (WEEKEND, "2024-01-08T00:00", False),
        (PlanParams(), "2024-01-06T23:59", False),
    ],
)
def test_a_session_s_end_closes_the_trade_and_the_door(params, time, over):
    plan, flags = step(open_plan(1, 100.0, 0.1, 10.0), at(time), 100.0, NAN, params, 10.0)
    assert flags == (EXIT_SESSION if over else HOLD)
    assert entries_closed(at(time), params) is over
    assert plan.ts_last == at(time)


@pytest.mark.parametrize(
    ("params", "last", "now", "over"),
    [
        (SESSION, "2024-01-04T23:29", "2024-01-05T00:31", True),  # the bars between are missing
        (SESSION, "2024-01-05T00:00", "2024-01-05T00:01", False),
        (SESSION, "2024-01-05T00:01", "2024-01-05T23:29", False),
        (WEEKEND, "2024-01-05T23:59", "2024-01-08T00:01", True),
        (WEEKEND, "2024-01-05T12:00", "2024-01-11T00:00", True),
        (WEEKEND, "2024-01-08T00:00", "2024-01-08T00:01", False),
    ],
)
def test_a_session_s_end_in_missing_bars_counts_on_the_next(params, last, now, over):
    plan = open_plan(1, 100.0, 0.1, 10.0)._replace(ts_last=at(last))
    assert step(plan, at(now), 100.0, NAN, params, 10.0)[1] == (EXIT_SESSION if over else HOLD)


def test_the_session_s_end_goes_before_the_time_exit():
    params = SESSION._replace(max_bars=1)
    assert step(open_plan(1, 100.0, 0.1, 10.0), at("2024-01-04T23:45"), 1.0, NAN, params, 10.0)[1] == 4


# -- scale-ins ----------------------------------------------------------------------------------------------


def adds(plan, closes, params):
    return [bool(flags & ADD) for flags, _ in walk(plan, closes, params)]


def test_scale_ins_come_once_each_in_order_on_the_close():
    params = PlanParams(add_1=0.02, add_2=0.05)
    closes = [1019.9, 1020.0, 1030.0, 1050.0, 1070.0]
    assert adds(open_plan(1, 1000.0, 0.02, 10.0), closes, params) == [False, True, False, True, False]
    # a jump over both: one a bar
    assert adds(open_plan(-1, 1000.0, 0.02, 10.0), [940.0, 940.0, 930.0], params) == [True, True, False]


def test_a_scale_in_into_a_loss_waits_for_the_loss():
    params = PlanParams(add_1=-0.01, add_2=-0.02)
    assert adds(open_plan(1, 1000.0, 0.1, 10.0), [1050.0, 990.0, 980.0], params) == [False, True, True]


def test_a_bar_may_move_the_stop_and_add():
    params = PlanParams(break_even_after=0.02, add_1=0.02)
    assert walk(open_plan(1, 1000.0, 0.1, 10.0), [1020.0], params) == [(MOVE_STOP | ADD, 10_000)]


def test_without_levels_nothing_is_added():
    assert adds(open_plan(1, 1000.0, 0.1, 10.0), [2000.0, 500.0], PlanParams()) == [False, False]
    assert adds(open_plan(1, 1000.0, 0.1, 10.0), [2000.0] * 3, PlanParams(add_1=0.5)) == [True, False, False]


# -- the ladder ---------------------------------------------------------------------------------------------


def test_a_ladder_closes_its_shares_at_its_own_prices():
    assert open_ladder(1, 1000.0, DEFAULT, 100, 1, 10.0) == (
        Rung(10_300, 25, 0.25),
        Rung(10_600, 25, 0.25),
        Rung(11_000, 50, 0.5),
    )
    assert [rung.ticks for rung in open_ladder(-1, 1000.0, DEFAULT, 100, 1, 10.0)] == [9700, 9400, 9000]


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (10, [3, 2, 5]),  # 2.5 and 5 cumulatively, halves up
        (7, [2, 2, 3]),  # 1.75, 3.5
        (3, [1, 1, 1]),  # 0.75, 1.5
        (2, [1, 0, 1]),  # 0.5, 1.0
        (1, [0, 1, 0]),  # 0.25, 0.5
        (0, [0, 0, 0]),
    ],
)
def test_lots_are_whole_and_add_up(total, expected):
    assert lots(open_ladder(1, 1000.0, DEFAULT, total, 1, 10.0)) == expected


def test_shares_below_the_whole_leave_a_rest_to_the_stop():
    assert lots(open_ladder(1, 1000.0, ((0.03, 0.25), (0.06, 0.25)), 100, 1, 10.0)) == [25, 25]
    assert open_ladder(1, 1000.0, (), 100, 1, 10.0) == ()


@pytest.mark.parametrize(
    ("shares", "total", "min_lots", "expected"),
    [
        ((0.25, 0.25, 0.5), 40, 15, [0, 20, 20]),  # 10 is too small: to the next
        ((0.6, 0.3, 0.1), 40, 15, [24, 0, 16]),  # 12 to the next 4
        ((0.8, 0.1, 0.1), 40, 15, [40, 0, 0]),  # 4 + 4: to the one before
        ((0.5, 0.3), 40, 15, [20, 20]),  # a rest of 8 would be dust
        ((0.1, 0.1), 40, 15, [0, 0]),  # 8 in all: nothing, the rest is no dust
        ((0.25, 0.25, 0.5), 10, 15, [0, 0, 10]),  # the position itself is that small
        ((0.3,), 10, 15, [10]),
    ],
)
def test_no_rung_is_smaller_than_the_venue_takes(shares, total, min_lots, expected):
    ladder = tuple((0.01 * (i + 1), share) for i, share in enumerate(shares))
    assert lots(open_ladder(1, 1000.0, ladder, total, min_lots, 10.0)) == expected


def test_a_filled_rung_keeps_its_place():
    rungs = open_ladder(1, 1000.0, DEFAULT, 100, 1, 10.0)
    rungs = fill_rung(fill_rung(rungs, 0, 10), 0, 15)
    assert rungs[0] == Rung(10_300, 0, 0.25, 25)
    assert lots(rungs) == [0, 25, 50]
    assert fill_rung(rungs, 1, 99)[1] == Rung(10_600, 0, 0.25, 99)


def test_added_lots_are_shared_by_the_rungs_that_are_not_done():
    rungs = fill_rung(open_ladder(1, 1000.0, DEFAULT, 100, 1, 10.0), 0, 25)
    assert lots(grow_ladder(rungs, 30, 75, 1)) == [0, 35, 70]  # 105 as 1 to 2


def test_added_lots_leave_the_rest_its_part():
    # 25 of 100 filled; rung and rest stand 25 to 50: 99 is 33 and 66
    rungs = fill_rung(open_ladder(1, 1000.0, ((0.03, 0.25), (0.06, 0.25)), 100, 1, 10.0), 0, 25)
    assert lots(grow_ladder(rungs, 24, 75, 1)) == [0, 33]


def test_a_rung_filled_in_part_grows_by_what_it_has_left():
    # 5 of the first 25 are left, a fifth of its share: weights 0.05, 0.25, 0.5; 160 is 10, 50, 100
    rungs = fill_rung(open_ladder(1, 1000.0, DEFAULT, 100, 1, 10.0), 0, 20)
    assert lots(grow_ladder(rungs, 80, 80, 1)) == [10, 50, 100]


def test_a_rung_that_the_price_has_passed_gets_nothing():
    # of 40 with at least 15 each the first rung has none; the second is done: all to the third
    rungs = fill_rung(open_ladder(1, 1000.0, DEFAULT, 40, 15, 10.0), 1, 20)
    assert lots(grow_ladder(rungs, 10, 20, 1)) == [0, 0, 30]


def test_a_ladder_that_is_done_stays_done():
    rungs = fill_rung(open_ladder(1, 1000.0, ((0.03, 0.5),), 100, 1, 10.0), 0, 50)
    assert lots(grow_ladder(rungs, 25, 50, 1)) == [0]


def test_an_entry_filled_in_parts_has_the_ladder_of_one_filled_at_once():
    rungs = open_ladder(1, 1000.0, DEFAULT, 1, 1, 10.0)
    rungs = grow_ladder(rungs, 6, 1, 1)
    assert grow_ladder(rungs, 93, 7, 1) == open_ladder(1, 1000.0, DEFAULT, 100, 1, 10.0)


@pytest.mark.parametrize(
    ("position", "min_lots", "expected"),
    [
        (100, 1, [25, 25, 50]),
        (60, 1, [25, 25, 10]),
        (60, 15, [25, 35, 0]),
        (20, 1, [20, 0, 0]),
        (10, 15, [10, 0, 0]),
        (0, 1, [0, 0, 0]),
        (-5, 1, [0, 0, 0]),
    ],
)
def test_a_smaller_position_cuts_the_farthest_rungs_first(position, min_lots, expected):
    rungs = open_ladder(1, 1000.0, DEFAULT, 100, 1, 10.0)
    assert lots(fit_ladder(rungs, position, min_lots)) == expected


def test_a_ladder_within_the_position_is_left_alone():
    rungs = open_ladder(1, 1000.0, ((0.03, 0.5),), 100, 1, 10.0)
    assert fit_ladder(rungs, 60) is rungs


# -- compiled -----------------------------------------------------------------------------------------------


def test_compiling_ahead_serves_every_ordinary_call():
    warm_up()
    before = [len(f.signatures) for f in (to_ticks, open_plan, target_ticks, step, entries_closed)]
    step(open_plan(1, 100.0, 0.1, 10.0), NOON, 100.0, NAN, PlanParams(), 10.0)
    entries_closed(NOON, PlanParams(max_bars=3))
    assert [len(f.signatures) for f in (to_ticks, open_plan, target_ticks, step, entries_closed)] == before
