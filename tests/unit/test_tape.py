"""Every tape feature against a value worked out by hand, and all of them against a plain second writing."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tape import TAPE_FEATURES, TapeState, tape_matrix
from tests.tapes import T0, S, make_tape

MS = 1_000_000


def at(secs: float) -> int:
    return T0 + round(secs * 1000) * MS


def quoted(*rows: tuple[float, float, float, float, float]) -> TapeState:
    """A tape that heard quotes (second, bid, ask, bid size, ask size), each 4 ms after it was sent."""
    state = TapeState()
    for secs, bid, ask, bid_size, ask_size in rows:
        state.quote(at(secs) - 4 * MS, at(secs), bid, ask, bid_size, ask_size)
    return state


def test_the_book_is_that_of_the_newest_quote() -> None:
    got = quoted((0.5, 1.0, 2.0, 9.0, 9.0), (0.75, 99.0, 101.0, 3.0, 1.0)).features(at(1))
    assert got["spread_bps"] == 200.0  # 2 of a mid of 100
    assert (got["bid_depth"], got["ask_depth"]) == (297.0, 101.0)
    assert got["book_imbalance"] == 0.5  # (3 - 1) / 4
    # (99 * 1 + 101 * 3) / 4 = 100.5: 50 bps above the mid
    assert got["microprice_bps"] == pytest.approx(50.0, abs=1e-9)
    assert got["quote_age_ms"] == 250.0


def test_before_anything_is_heard_nothing_is_known() -> None:
    got = TapeState().features(at(1))
    assert tuple(got) == TAPE_FEATURES
    assert all(math.isnan(value) for value in got.values())


def test_trades_alone_tell_of_the_flow_and_the_latency_but_not_of_the_book() -> None:
    state = TapeState()
    state.trade(at(0.0) - 3 * MS, at(0.0), 1.0, 1)
    got = state.features(at(5))
    assert (got["trade_imbalance_5s"], got["feed_latency_ms"]) == (1.0, 0.0)
    rest = set(TAPE_FEATURES) - {"trade_imbalance_5s", "feed_latency_ms"}
    assert all(math.isnan(got[name]) for name in rest)


def test_flow_is_the_signed_share_of_the_volume_inside_the_window() -> None:
    state = quoted((0.0, 99.0, 101.0, 1.0, 1.0))
    for secs, size, side in (
        (26.999, 8.0, 1),
        (27.0, 3.0, 1),
        (29.5, 1.0, -1),
        (31.999, 2.0, 1),
        (32.0, 64.0, -1),
    ):
        if secs < 32.0:
            state.trade(at(secs), at(secs), size, side)
    got = state.features(at(32))
    # within [27, 32): bought 3 + 2, sold 1; within [2, 32): bought 13, sold 1
    assert got["trade_imbalance_5s"] == pytest.approx(4 / 6, abs=1e-15)
    assert got["trade_imbalance_30s"] == pytest.approx(12 / 14, abs=1e-15)
    state.trade(at(32.0), at(32.0), 64.0, -1)  # received at the close: of the next bar
    assert state.features(at(32)) == got
    # within [28, 33): sold 1 + 64, bought 2
    assert state.features(at(33))["trade_imbalance_5s"] == pytest.approx(-63 / 67, abs=1e-15)


def test_a_silent_window_has_no_flow_either_way() -> None:
    state = quoted((0.0, 99.0, 101.0, 1.0, 1.0))
    state.trade(at(0.5), at(0.5), 1.0, 1)
    assert state.features(at(6))["trade_imbalance_5s"] == 0.0
    assert state.features(at(300))["trade_imbalance_30s"] == 0.0


def test_returns_are_of_the_mids_that_stood() -> None:
    state = quoted(
        (0.0, 99.0, 101.0, 1.0, 1.0), (25.5, 100.0, 102.0, 1.0, 1.0), (29.9, 109.0, 111.0, 1.0, 1.0)
    )
    got = state.features(at(30))
    assert got["return_5s"] == pytest.approx(0.10, abs=1e-15)  # 110 now, 100 stood at 25
    assert math.isnan(got["return_30s"])  # nothing stood before 0.0
    state.quote(at(31.2), at(31.2), 119.0, 121.0, 1.0, 1.0)
    later = state.features(at(32))
    assert later["return_5s"] == pytest.approx(120 / 101 - 1, abs=1e-15)  # 101 stood at 27
    assert later["return_30s"] == pytest.approx(0.2, abs=1e-15)  # 120 now, 100 stood at 2


def test_windows_are_known_once_they_were_heard_whole() -> None:
    state = quoted((0.2, 99.0, 101.0, 1.0, 1.0))
    known = {
        name: next(k for k in range(1, 60) if not math.isnan(state.features(at(k))[name]))
        for name in TAPE_FEATURES
    }
    # heard from 0.2 on: the windows [1, 6) and [1, 31) are the first whole ones
    windows = {"trade_imbalance_5s": 6, "return_5s": 6, "trade_imbalance_30s": 31, "return_30s": 31}
    assert known == dict.fromkeys(TAPE_FEATURES, 1) | windows


def test_latency_is_the_delay_beyond_the_least_so_far_whatever_the_clock() -> None:
    for offset in (0, -1_272 * MS, 5_000 * MS):
        state = TapeState()
        heard = []
        for secs, delay_ms in ((0.1, 9), (0.2, 4), (0.3, 7), (0.4, 2), (0.5, 30)):
            received = at(secs) + delay_ms * MS + offset
            state.trade(at(secs), received, 1.0, 1)
            heard.append(state.features(at(1) + offset)["feed_latency_ms"])
        assert heard == [0.0, 0.0, 3.0, 0.0, 28.0]


def test_a_message_without_an_exchange_time_says_nothing_of_the_latency() -> None:
    state = TapeState()
    state.quote(at(0.1), at(0.1), 99.0, 101.0, 1.0, 1.0)
    assert math.isnan(state.features(at(1))["feed_latency_ms"])
    state.trade(at(0.2), at(0.2) + 5 * MS, 1.0, 1)
    state.quote(at(0.3), at(0.3), 99.0, 101.0, 1.0, 1.0)
    assert state.features(at(1))["feed_latency_ms"] == 0.0


def test_the_standing_quote_stated_again_is_no_news() -> None:
    state = quoted((0.5, 99.0, 101.0, 1.0, 2.0))
    before = repr(state.features(at(1)))
    state.quote(at(0.5) - 90 * MS, at(0.9), 99.0, 101.0, 1.0, 2.0)
    assert repr(state.features(at(1))) == before
    state.quote(at(0.9), at(0.9), 99.0, 101.0, 1.0, 2.5)  # another size is
    assert state.features(at(1))["quote_age_ms"] == 100.0


def test_a_question_that_comes_late_is_answered_for_its_time() -> None:
    """Live, a bar may close some moments after the next second's first ticks were heard."""
    state, late = (quoted(*((k, 99.0 + k, 101.0 + k, 1.0, 1.0) for k in range(40))) for _ in range(2))
    on_time = state.features(at(40))
    late.quote(at(41.5), at(41.5), 1.0, 2.0, 1.0, 1.0)
    got = late.features(at(40))
    for name in ("return_5s", "return_30s", "trade_imbalance_5s", "trade_imbalance_30s"):
        assert got[name] == on_time[name]
    assert got["quote_age_ms"] == 0.0


# --- all of it, written a second time from the definitions ---


def plainly(
    quotes: list[tuple[int, int, float, float, float, float]],
    trades: list[tuple[int, int, float, int]],
    ts: int,
) -> dict[str, float]:
    nan = math.nan
    news = [q for k, q in enumerate(quotes) if k == 0 or q[2:] != quotes[k - 1][2:]]
    quotes, trades = [q for q in news if q[1] < ts], [t for t in trades if t[1] < ts]
    since = min([q[1] for q in quotes] + [t[1] for t in trades], default=2**62)
    got = dict.fromkeys(TAPE_FEATURES, nan)

    def mid_at(time: int) -> float:
        stood = [q for q in quotes if q[1] < time]
        return (stood[-1][2] + stood[-1][3]) / 2 if stood else nan

    for secs in (5, 30):
        if ts - secs * S < since:
            continue
        inside = [t for t in trades if t[1] >= ts - secs * S]
        total = sum(t[2] for t in inside)
        got[f"trade_imbalance_{secs}s"] = sum(t[2] * t[3] for t in inside) / total if total else 0.0
        got[f"return_{secs}s"] = mid_at(ts) / mid_at(ts - secs * S) - 1
    if quotes:
        _, received, bid, ask, bid_size, ask_size = quotes[-1]
        got["spread_bps"] = (ask - bid) / ((ask + bid) / 2) * 10_000
        got["bid_depth"], got["ask_depth"] = bid * bid_size, ask * ask_size
        got["book_imbalance"] = (bid_size - ask_size) / (bid_size + ask_size)
        micro = bid * ask_size / (bid_size + ask_size) + ask * bid_size / (bid_size + ask_size)
        got["microprice_bps"] = (micro - (bid + ask) / 2) / ((bid + ask) / 2) * 10_000
        got["quote_age_ms"] = (ts - received) / MS
    told = sorted(
        (r[1], kind, r[1] - r[0]) for kind, rows in ((1, quotes), (2, trades)) for r in rows if r[0] != r[1]
    )
    if told:
        got["feed_latency_ms"] = (told[-1][2] - min(delay for _, _, delay in told)) / MS
    return got


moments = st.integers(0, 80_000)
sizes = st.integers(1, 40)
delays = st.integers(-20, 50)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(moments, delays, st.integers(900, 1100), st.integers(1, 20), sizes, sizes), max_size=30
    ),
    st.lists(st.tuples(moments, delays, sizes, st.sampled_from([1, -1])), max_size=40),
)
def test_every_feature_is_what_its_definition_says(
    quote_rows: list[tuple[int, ...]], trade_rows: list[tuple[int, ...]]
) -> None:
    # receipts differ (quotes at even, trades at odd microseconds), so that the newest message is one
    quotes = sorted(
        {
            T0 + ms * MS + 2_000 * k: (
                T0 + (ms - d) * MS,
                T0 + ms * MS + 2_000 * k,
                b / 10,
                (b + w) / 10,
                p / 8,
                q / 8,
            )
            for k, (ms, d, b, w, p, q) in enumerate(quote_rows)
        }.values(),
        key=lambda row: row[1],
    )
    trades = sorted(
        (
            (T0 + (ms - d) * MS, T0 + ms * MS + 2_000 * k + 1_000, q / 8, side)
            for k, (ms, d, q, side) in enumerate(trade_rows)
        ),
        key=lambda row: row[1],
    )
    closes = T0 + np.arange(1, 82) * S
    columns = [np.array(c) for c in zip(*quotes, strict=True)] or [np.empty(0)] * 6
    flow = [np.array(c) for c in zip(*trades, strict=True)] or [np.empty(0)] * 4
    matrix = tape_matrix(tuple(columns), tuple(flow), closes)
    for ts, row in zip(closes.tolist(), matrix, strict=True):
        expected = list(plainly(quotes, trades, ts).values())
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-9)


def test_the_future_changes_nothing() -> None:
    tape = make_tape(secs=90)
    closes = T0 + np.arange(1, 90) * S
    trades = (tape.trades.ts_event, tape.trades.ts_init, tape.trades.size, tape.trades.side)
    whole = tape_matrix(tape.quotes.columns(), trades, closes)
    assert not np.isnan(whole[40:]).any()
    for cut in (closes[40], closes[63]):
        cut_quotes = tuple(c[tape.quotes.ts_init < cut] for c in tape.quotes.columns())
        cut_trades = tuple(c[tape.trades.ts_init < cut] for c in trades)
        kept = closes <= cut
        np.testing.assert_array_equal(tape_matrix(cut_quotes, cut_trades, closes[kept]), whole[kept])
    assert np.array_equal(whole, tape_matrix(tape.quotes.columns(), trades, closes), equal_nan=True)
