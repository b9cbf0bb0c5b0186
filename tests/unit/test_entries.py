"""A resting entry, bar by bar. Ticks of 0.1, so ten a unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.trading import EntryConfig
from strategies.entries import GIVE_UP, REPRICE, TAKE, WAIT, Resting, entry_ticks, rest, step

TPU = 10.0


def config(**changes) -> EntryConfig:
    return EntryConfig(**{"order": "limit", "offset_bps": 10, "timeout_bars": 2, **changes})


@pytest.mark.parametrize(
    ("side", "close", "offset_bps", "ticks"),
    [
        (1, 100.0, 0, 1000),
        (-1, 100.0, 0, 1000),
        (1, 100.3, 0, 1003),  # 100.3 x 10 is 1002.9999999999999 in binary
        (1, 100.0, 10, 999),
        (-1, 100.0, 10, 1001),
        (1, 100.0, 1, 999),  # 99.99 is no tick: away from the market
        (-1, 100.0, 1, 1001),
        (1, 0.1, 10_000, 1),  # never at or below zero
    ],
)
def test_it_is_sent_behind_the_close_on_the_tick_away_from_the_market(side, close, offset_bps, ticks):
    assert entry_ticks(side, close, config(offset_bps=offset_bps), TPU) == ticks


def test_it_waits_and_is_given_up():
    resting = rest(1, 100.0, config(), TPU)
    assert resting == Resting(1, 999, 999)
    resting, what = step(resting, 100.0, config(), TPU)
    assert (resting.waited, what) == (1, WAIT)
    assert step(resting, 100.0, config(), TPU)[1] == GIVE_UP


def test_it_moves_with_the_price_and_waits_anew():
    chasing = config(on_timeout="reprice", timeout_bars=1, max_reprices=2, max_chase_bps=100)
    resting, what = step(rest(1, 100.0, chasing, TPU), 100.5, chasing, TPU)
    assert (resting, what) == (Resting(1, 1003, 999, 0, 1), REPRICE)  # 100.5 x 0.999 = 100.3995
    resting, what = step(resting, 100.5, chasing, TPU)
    assert (resting, what) == (Resting(1, 1003, 999, 0, 2), WAIT)  # the same price: nothing to send
    assert step(resting, 100.5, chasing, TPU)[1] == GIVE_UP


@pytest.mark.parametrize(("side", "close", "what"), [(1, 100.2, REPRICE), (1, 100.3, GIVE_UP)])
def test_it_does_not_chase_further_than_it_may(side, close, what):
    # from 99.9: 100.0998 -> 100.0 is 10 bps away, 100.1997 -> 100.1 is 20
    chasing = config(on_timeout="reprice", timeout_bars=1, max_chase_bps=15)
    assert step(rest(side, 100.0, chasing, TPU), close, chasing, TPU)[1] == what


def test_a_price_that_comes_nearer_is_no_chase():
    chasing = config(on_timeout="reprice", timeout_bars=1, max_chase_bps=1)
    resting, what = step(rest(-1, 100.0, chasing, TPU), 103.0, chasing, TPU)
    assert (resting.ticks, what) == (1032, REPRICE)  # 103 x 1.001 = 103.103


def test_it_takes_the_market_unless_that_has_run_away():
    taking = config(on_timeout="market", timeout_bars=1, max_chase_bps=20)
    resting = rest(1, 100.0, taking, TPU)
    assert step(resting, 100.1, taking, TPU)[1] == TAKE
    assert step(resting, 100.4, taking, TPU)[1] == GIVE_UP


def test_a_refused_one_does_not_wait_for_its_timeout():
    resting = rest(1, 100.0, config(timeout_bars=9), TPU)
    assert step(resting, 100.0, config(timeout_bars=9), TPU, refused=True)[1] == GIVE_UP
    again = config(timeout_bars=9, on_timeout="reprice")
    moved, what = step(resting, 100.0, again, TPU, refused=True)
    assert (moved.reprices, what) == (1, REPRICE)  # at the same price, but it has to be sent


@given(
    side=st.sampled_from([1, -1]),
    closes=st.lists(st.floats(50, 200), min_size=1, max_size=60),
    on_timeout=st.sampled_from(["cancel", "reprice", "market"]),
    timeout_bars=st.integers(1, 5),
    max_reprices=st.integers(1, 4),
    chase=st.floats(1, 500),
)
def test_it_ends_in_time_and_keeps_to_its_limits(side, closes, on_timeout, timeout_bars, max_reprices, chase):
    rules = config(
        on_timeout=on_timeout, timeout_bars=timeout_bars, max_reprices=max_reprices, max_chase_bps=chase
    )
    resting, bars = rest(side, closes[0], rules, TPU), 0
    for close in closes:
        resting, what = step(resting, close, rules, TPU)
        bars += 1
        assert resting.reprices <= max_reprices
        assert side * (resting.ticks / resting.first_ticks - 1.0) * 1e4 <= chase
        if what in (GIVE_UP, TAKE):
            break
    assert bars <= timeout_bars * (1 + max_reprices)
