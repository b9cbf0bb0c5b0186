"""Entries that rest, in the real engine: where they stand, how long, how far they follow, what they leave.

100 coins (a tenth of 100,000) at a close of 100, unless the limit is lower. The engine fills a quarter of a
bar's volume at a level that is touched.
"""

import pytest

from strategies import ml_basic
from strategies.values import Intent
from tests.markets import DOWN, UP, Desk, Fill, State, deciding, desk, flat_rows

QUIET = (100.0, 100.2, 99.8, 100.0)
PLAIN = {"targets": {"pct": None}}


def entry(**changes) -> dict:
    return {"entry": {"order": "limit", "offset_bps": 100, "timeout_bars": 2, **changes}, **PLAIN}


def resting(result: Desk, bar: int) -> list[tuple[float, float]]:
    return [
        (quantity, level) for role, _, _, quantity, level, _ in result.states()[bar].orders if role == "entry"
    ]


def quiet(count: int, **changes) -> list:
    rows = [QUIET] * count
    for name, row in changes.items():
        rows[int(name[1:])] = row
    return rows


def test_a_limit_entry_rests_behind_the_close_and_fills_there():
    # 1 % below 100 is 99; 10,000 / 99 = 101.01
    result = desk(quiet(6, b3=(100, 100, 98.9, 99.5)), {1: UP}, **entry(timeout_bars=5))
    assert resting(result, 1) == resting(result, 2) == [(101.01, 99.0)]
    assert result.fills() == [Fill(3, "entry", "BUY", 101.01, 99.0)]
    # 99 x 0.98 = 97.02
    assert result.states()[3].orders == (("stop", "SELL", "STOP_MARKET", 101.01, 97.0, True),)


def test_a_short_rests_above():
    result = desk(quiet(6, b3=(100, 101.1, 100, 100.5)), {1: DOWN}, **entry(timeout_bars=5))
    assert result.fills() == [Fill(3, "entry", "SELL", 99.009, 101.0)]


def test_an_entry_that_waited_long_enough_is_given_up():
    result = desk(quiet(8, b4=(100, 100, 98, 99)), {1: UP}, **entry())
    assert resting(result, 2) == [(101.01, 99.0)]
    assert result.states()[3] == State(3, 0, ())  # two bars have closed since
    assert result.fills() == []
    assert result.audit("action") == [(3, {"action": "withdraw_entry", "reason": "timeout"})]


def test_after_giving_up_it_may_try_again():
    result = desk(quiet(9, b6=(100, 100, 98.9, 99)), {1: UP, 2: UP, 3: UP, 4: UP}, **entry())
    assert [bar for bar, _ in result.audit("intent")] == [1, 4]
    assert result.fills() == [Fill(6, "entry", "BUY", 101.01, 99.0)]


def test_an_entry_follows_the_price_as_often_as_it_may():
    rising = [(p, p + 0.1, p - 0.1, p) for p in (100.0, 100.0, 100.1, 100.2, 100.3, 100.4, 100.5)]
    result = desk(
        rising, {1: UP}, **entry(offset_bps=10, timeout_bars=1, on_timeout="reprice", max_reprices=2)
    )
    # a tenth of a per cent below 100, 100.1, 100.2: 99.9, 99.9999 and 100.0998, down to the tick
    assert [resting(result, bar)[0][1] for bar in (1, 2, 3)] == [99.9, 99.9, 100.0]
    assert resting(result, 4) == []
    assert [detail["action"] for _, detail in result.audit("action")] == ["reprice", "withdraw_entry"]


def test_an_entry_does_not_chase_beyond_its_limit():
    rows = quiet(7, b2=(100, 100.2, 100, 100.1), b3=(100.2, 100.5, 100.2, 100.4))
    result = desk(
        rows, {1: UP}, **entry(offset_bps=1, timeout_bars=1, on_timeout="reprice", max_chase_bps=20)
    )
    # first at 99.9 (99.99 down to the tick), then 100.0; 100.3 would be 40 bps from the first
    # 10,000 were permitted: 100.1 of them at 99.9, at 100.0 a tick's worth fewer
    assert [resting(result, bar) for bar in (1, 2, 3)] == [[(100.1, 99.9)], [(99.999, 100.0)], []]


def test_an_entry_that_waited_in_vain_takes_the_market():
    result = desk(quiet(7), {1: UP}, **entry(on_timeout="market"))
    # 101.01 rested at 99, for a loss of 2.0988 each at the stop; at 100 each loses 2.12: a hundredth fewer
    assert result.fills() == [Fill(3, "entry", "BUY", 99.999, 100.0)]
    assert result.states()[3].position == 99.999
    assert [(role, level) for role, _, _, _, level, _ in result.states()[3].orders] == [("stop", 98.0)]
    assert [detail["reasons"] for _, detail in result.audit("intent")] == [
        ["probability_high"],
        ["take_entry"],
    ]


def test_a_part_that_filled_is_protected_at_once_and_the_rest_goes_on_working():
    # a quarter of 80 is 20 at the low of bar 2, a quarter of 120 is 30 at that of bar 3
    rows = quiet(9, b2=(100, 100.2, 98.9, 100, 80), b3=(100, 100.2, 98.9, 100, 120), b6=(100, 100, 96, 97))
    result = desk(rows, {1: UP}, **entry(timeout_bars=3))
    assert [(f.bar, f.role, f.quantity) for f in result.fills()] == [
        (2, "entry", 20.0),
        (3, "entry", 30.0),
        (6, "stop", 50.0),
    ]
    stops = [
        [(quantity, level) for role, _, _, quantity, level, _ in state.orders if role == "stop"]
        for state in result.states()
    ]
    assert stops[2:5] == [[(20.0, 97.0)], [(50.0, 97.0)], [(50.0, 97.0)]]
    assert [resting(result, bar) for bar in (2, 3, 4)] == [[(81.01, 99.0)], [(51.01, 99.0)], []]
    assert result.end() == (0, 0)


def test_the_ladder_grows_with_every_part_that_fills():
    tranches = [{"pct": 3, "close_pct": 50}, {"pct": 6, "close_pct": 50}]
    rows = quiet(8, b2=(100, 100.2, 98.9, 100, 80), b3=(100, 100.2, 98.9, 100, 120))
    result = desk(rows, {1: UP}, **entry(timeout_bars=4) | {"targets": {"tranches": tranches}})
    targets = [
        sorted((level, quantity) for role, _, _, quantity, level, _ in state.orders if role == "target")
        for state in result.states()
    ]
    # 99 x 1.03 = 101.97, x 1.06 = 104.94
    assert targets[2] == [(102.0, 10.0), (104.9, 10.0)]
    assert targets[3] == [(102.0, 25.0), (104.9, 25.0)]


def test_what_is_left_of_an_entry_goes_when_the_stop_closes_what_filled():
    # filled in part at 99, stopped at 97 in the same fall; bar 4 would have filled the rest
    rows = quiet(8, b2=(100, 100.2, 98.9, 99.5, 80), b3=(99, 99, 99, 99, 0), b4=(98, 98.5, 96.5, 97, 40))
    result = desk(rows, {1: UP}, **entry(timeout_bars=9))
    assert result.states()[-1] == State(7, 0, ())
    held = sum(f.quantity if f.side == "BUY" else -f.quantity for f in result.fills())
    assert held == pytest.approx(0.0)


def test_an_opposite_signal_takes_back_what_rests_and_closes_what_filled():
    rows = quiet(8, b2=(100, 100.2, 98.9, 100, 80))
    result = desk(rows, {1: UP, 3: DOWN}, **entry(timeout_bars=9))
    assert [(f.bar, f.role, f.quantity) for f in result.fills()] == [(2, "entry", 20.0), (3, "exit", 20.0)]
    assert result.states()[3] == State(3, 0, ())
    untouched = desk(quiet(8), {1: UP, 3: DOWN}, **entry(timeout_bars=9))
    assert untouched.states()[3] == State(3, 0, ())


def test_a_post_only_entry_that_would_take_is_refused_and_given_up():
    result = desk(quiet(6), {1: UP}, **entry(order="post_only", offset_bps=0))
    assert result.fills() == []
    assert [(bar, d["event"]) for bar, d in result.audit("order")] == [(1, "OrderRejected")]
    assert result.audit("action") == [(2, {"action": "withdraw_entry", "reason": "timeout"})]
    assert result.guard.risk.explain()["mode"] == "NORMAL"


def test_a_post_only_entry_that_would_take_is_sent_again_at_the_next_price():
    rows = quiet(8, b2=(100, 100, 99.7, 99.7), b3=(99.7, 99.8, 99.4, 99.4), b4=(99.5, 99.5, 99.2, 99.2))
    config = entry(order="post_only", offset_bps=0, timeout_bars=1, on_timeout="reprice", max_reprices=2)
    result = desk(rows, {1: UP}, **config)
    # always at the close: refused at 100, 99.7 and 99.4, then given up
    assert [(bar, d["event"]) for bar, d in result.audit("order")] == [
        (1, "OrderRejected"),
        (2, "OrderRejected"),
        (3, "OrderRejected"),
    ]
    assert [(bar, d["action"]) for bar, d in result.audit("action")] == [
        (2, "reprice"),
        (3, "reprice"),
        (4, "withdraw_entry"),
    ]


def test_a_post_only_entry_behind_the_market_makes():
    result = desk(quiet(6, b3=(100, 100, 98.9, 99.5)), {1: UP}, **entry(order="post_only", timeout_bars=5))
    assert result.fills() == [Fill(3, "entry", "BUY", 101.01, 99.0)]


def test_only_a_new_intent_enters_while_one_rests():
    result = desk(quiet(8), {1: UP, 2: UP, 3: UP}, **entry(timeout_bars=9))
    assert len(result.audit("intent")) == 1
    assert [bar for bar, d in result.audit("order") if d["event"] == "OrderAccepted"] == [1]


def test_the_decision_sees_no_position_while_an_entry_rests():
    seen = []

    def watching(view, params):
        seen.append(view.side)
        return ml_basic.decide(view, params)

    desk(flat_rows(4), {1: UP, 2: UP}, prepare=deciding(watching), **entry())
    assert seen == [0, 0]


def test_a_limit_that_would_take_fills_at_the_market():
    def wish(view, _params):
        return Intent(1, 1.0, ("now",)) if view.side == 0 else None

    result = desk(quiet(4), {1: UP}, prepare=deciding(wish), **entry(offset_bps=0))
    assert result.fills()[0] == Fill(1, "entry", "BUY", 100.0, 100.0)
