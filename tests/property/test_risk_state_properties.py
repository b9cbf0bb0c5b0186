"""After any history at all: the guard's word is sound, there is a way back, a restart changes nothing."""

import math
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Command, EntrySubmitted, Mode, OrderRefused, RiskMode, TradeClosed
from actors.performance import Level, Performance, PerformanceMemory, measure
from actors.risk_state import RiskMemory, RiskState
from configs.trading import PerformanceGuard, RiskConfig

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC
NAMES = ("BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE")
RANKS = [Mode.NORMAL, Mode.REDUCED, Mode.PAUSED, Mode.HALTED]

risks = st.builds(
    lambda hour, entries, streak, cool, low, performance, rejections, halt: RiskConfig(
        day={
            "starts_at_hour": hour,
            "max_entries_hour": entries,
            "max_entries_day": entries and 2 * entries,
            "loss_streak": streak,
            "stop_out_pause_minutes": cool,
            "low_profit": low,
        },
        performance=performance,
        kill_switch={
            "max_rejections": rejections,
            "max_drawdown_pct": 30.0 if halt else None,
            "max_daily_loss_pct": 8.0 if halt else None,
            "stale_data_halt_secs": 3600.0 if halt else None,
        },
    ),
    hour=st.sampled_from([0, 8, 23]),
    entries=st.sampled_from([None, 1, 3]),
    streak=st.sampled_from([None, 1, 3]),
    cool=st.sampled_from([0.0, 30.0]),
    low=st.sampled_from([None, {"trades": 2}]),
    performance=st.sampled_from(
        [
            None,
            {},
            {"window": 3, "min_trades": 2, "probation_trades": 1},
            {"window": 2, "min_trades": 5, "probation_trades": 4, "pause_hours": 300.0},
        ]
    ),
    rejections=st.sampled_from([None, 2]),
    halt=st.booleans(),
)
waits = st.sampled_from([0, 1, MINUTE, 7 * MINUTE, HOUR, 5 * HOUR, 26 * HOUR])
amounts = st.sampled_from([-900.0, -100.0, -1.0, 0.0, 1.0, 50.0, 700.0])
actions = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from([0.7, 0.91, 0.95, 0.97, 0.999, 1.0, 1.001, 1.04, 1.3])),
    st.tuples(st.just("entry"), st.sampled_from(NAMES)),
    st.tuples(
        st.just("closed"), st.tuples(st.sampled_from(NAMES), amounts, st.sampled_from(["stop", "time"]))
    ),
    st.tuples(st.just("refused"), st.none()),
    st.tuples(
        st.just("listen"), st.tuples(st.integers(0, 90), st.integers(0, 90), st.sets(st.sampled_from(NAMES)))
    ),
    st.tuples(st.just("command"), st.sampled_from(["halt", "flatten", "resume"])),
)
cents = st.integers(-(10**8), 10**8).map(lambda amount: amount / 100)
histories = st.lists(st.tuples(waits, actions), max_size=40)


class Replay:
    """One state driven through a history; equities are multiples of the one before."""

    def __init__(self, risk: RiskConfig, after: "Replay | None" = None) -> None:
        memory = RiskMemory(account="A")
        if after is not None:  # a restart: through the file's form
            memory = msgspec.json.decode(msgspec.json.encode(after.state.memory), type=RiskMemory)
            assert memory == after.state.memory
        self.state = RiskState(risk, dict.fromkeys(NAMES, MINUTE), memory)
        self.now, self.equity = (T0, 100_000.0) if after is None else (after.now, after.equity)
        self.state.mark(self.now, self.equity)

    def step(self, wait: int, action: tuple[str, Any]) -> RiskMode:
        self.now += wait
        kind, what = action
        now, state = self.now, self.state
        if kind == "mark":
            self.equity *= what
            state.mark(now, self.equity)
        elif kind == "entry":
            state.entry_submitted(EntrySubmitted(ts_event=now, strategy="s", instrument=what, side=1))
        elif kind == "closed":
            name, pnl, reason = what
            state.trade_closed(
                TradeClosed(
                    ts_event=now,
                    strategy="s",
                    instrument=name,
                    side=1,
                    pnl=pnl,
                    risk=100.0,
                    exit_reason=reason,
                )
            )
        elif kind == "refused":
            state.order_refused(
                OrderRefused(ts_event=now, strategy="s", instrument=NAMES[0], role="stop", reason="no")
            )
        elif kind == "listen":
            first, second, held = what
            state.mark(now, self.equity)  # as the guard does before it looks
            last = {NAMES[0]: now - first * MINUTE, NAMES[1]: now - second * MINUTE}
            state.listen(now, last, held.__contains__)
        else:
            state.command(Command(ts_event=now, name=what))
        return state.mode(now)


def fresh_data(replay: Replay) -> None:
    replay.state.listen(replay.now, dict.fromkeys(NAMES, replay.now), lambda _: False)


@given(risks, histories)
def test_the_word_is_sound_after_every_event(risk: RiskConfig, history: list[Any]) -> None:
    replay = Replay(risk)
    for wait, action in history:
        before = replay.state.mode(0).mode
        word = replay.step(wait, action)
        assert 0.0 < word.multiplier <= 1.0
        assert (word.mode is Mode.NORMAL) == (word.reasons == ())
        assert word.mode is not Mode.NORMAL or word.multiplier == 1.0
        assert (word.mode is Mode.HALTED) == any(code.startswith("halt_") for code in word.reasons)
        assert not word.flatten or word.mode is Mode.HALTED
        assert set(word.blocked) <= set(NAMES)
        if before is Mode.HALTED and action != ("command", "resume"):
            assert word.mode is Mode.HALTED  # nothing else leaves it
        memory = replay.state.memory
        assert memory.drawdown.peak is not None
        assert memory.drawdown.peak >= replay.equity * (1 - 1e-12)
        detail = replay.state.explain()
        assert set(word.reasons) <= {key.removesuffix(".value") for key in detail}
        assert not any(isinstance(value, dict) for value in detail.values())


@given(risks, histories)
def test_time_alone_reopens_entries_unless_halted_or_deep_in_drawdown(
    risk: RiskConfig, history: list[Any]
) -> None:
    replay = Replay(risk)
    for wait, action in history:
        replay.step(wait, action)
    fresh_data(replay)
    longest = max(DAY, round(HOUR * (0.0 if risk.performance is None else risk.performance.pause_hours)))
    replay.now += longest
    replay.state.mark(replay.now, replay.equity)  # the same account, not one more trade
    word = replay.state.mode(replay.now)
    if word.mode is Mode.PAUSED:
        assert set(word.reasons) - {"performance_reduced", "probation"} == {"drawdown", "max_drawdown"}
    if word.mode in (Mode.HALTED, Mode.PAUSED):
        replay.step(0, ("command", "resume"))
        word = replay.state.mode(replay.now)
    assert word.mode in (Mode.NORMAL, Mode.REDUCED)
    assert word.multiplier > 0.0
    assert word.blocked == {}


@given(risks, histories, st.lists(st.tuples(waits, actions), max_size=15))
def test_a_restart_at_any_point_changes_nothing(
    risk: RiskConfig, history: list[Any], future: list[Any]
) -> None:
    running = Replay(risk)
    for wait, action in history:
        running.step(wait, action)
    fresh_data(running)  # silence is looked at anew after a start, and so is what a resume forgave
    running.state._resumed = 0
    restarted = Replay(risk, after=running)
    for wait, action in [(0, ("mark", 1.0)), *future]:
        assert restarted.step(wait, action) == running.step(wait, action)
        assert restarted.state.explain() == running.state.explain()
    for each in (running, restarted):
        each.state.memory.ts_event = 0
    assert restarted.state.memory == running.state.memory


@given(risks, histories)
def test_the_short_cut_of_quiet_bars_changes_no_word(risk: RiskConfig, history: list[Any]) -> None:
    quick, slow = Replay(risk), Replay(risk)
    for wait, action in history:
        slow.state._next = 0  # every mark goes through all rules
        assert quick.step(wait, action) == slow.step(wait, action)
        assert quick.state.explain() == slow.state.explain()
        assert quick.state.memory.day == slow.state.memory.day
        assert quick.state.memory.drawdown == slow.state.memory.drawdown
        assert quick.state.memory.kill == slow.state.memory.kill


@given(risks, histories, st.integers(0, 40))
def test_more_marks_between_events_change_no_word(risk: RiskConfig, history: list[Any], extra: int) -> None:
    """A guard that is asked more often finds the same at the same times."""
    often, seldom = Replay(risk), Replay(risk)
    for wait, action in history:
        for part in range(extra if wait >= MINUTE else 0):
            often.state.mark(often.now + wait * part // extra, often.equity)
        assert often.step(wait, action) == seldom.step(wait, action)


@given(st.lists(st.tuples(cents, st.none() | st.floats(-50, 50)), max_size=60))
def test_measures_equal_their_definitions_over_arrays(trades: list[tuple[float, float | None]]) -> None:
    found = measure(trades)
    pnl = np.array([p for p, _ in trades])
    multiples = np.array([r for _, r in trades if r is not None], dtype=np.float64)
    if not trades:
        assert all(math.isnan(value) for value in found)
        return
    assert found.win_rate == np.mean(pnl > 0)
    gains, losses = pnl[pnl > 0].sum(), -pnl[pnl < 0].sum()
    if losses > 0:
        np.testing.assert_allclose(found.profit_factor, gains / losses, rtol=1e-9)
    if len(multiples):
        curve = np.concatenate([[0.0], np.cumsum(multiples)])
        fall = np.max(np.maximum.accumulate(curve) - curve)
        np.testing.assert_allclose(found.drawdown_r, fall, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.expectancy_r, multiples.mean(), rtol=1e-9, atol=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.floats(-3, 3)), min_size=1, max_size=120),
    st.integers(2, 8),
    st.integers(2, 8),
    st.integers(1, 8),
)
def test_a_performance_pause_always_ends_after_its_hours(
    trades: list[tuple[int, float]], window: int, least: int, probation: int
) -> None:
    config = PerformanceGuard(window=window, min_trades=least, probation_trades=probation, pause_hours=24.0)
    performance = Performance(config, PerformanceMemory())
    now, paused_at = 0, None
    for hours, multiple in trades:
        now += hours * HOUR
        performance.closed(now, 100.0 * multiple, 100.0)
        level = performance.memory.level
        if level is not Level.PAUSED:
            paused_at = None
        elif paused_at is None or now >= paused_at + 24 * HOUR:  # paused again out of probation
            paused_at = now
        if paused_at is not None:
            assert performance.memory.until == paused_at + 24 * HOUR
        assert len(performance.memory.trades) <= max(window, least, probation)
    performance.advance(now + 24 * HOUR)
    assert performance.memory.level is not Level.PAUSED
