"""The kill switch and silent data, how they are left, and a restart in every mode."""

from pathlib import Path
from typing import Any

import pytest

from actors.messages import Mode
from actors.risk_state import RiskMemory, RiskState
from actors.state_file import StateFile
from tests.risk_states import (
    BTC,
    ETH,
    GUARD,
    MINUTE,
    NORMAL,
    at,
    closed,
    command,
    entry,
    refused,
    state,
    word,
)

# -- the kill switch -----------------------------------------------------------------------------------------


def test_a_drawdown_halts_and_only_resume_leaves() -> None:
    risk = state(kill_switch={"max_drawdown_pct": 30.0})
    risk.mark(at(1), 1e5)
    risk.mark(at(2), 70_000.0)
    assert word(risk) == ("HALTED", 0.4, ("halt_drawdown", "drawdown", "max_drawdown"))
    risk.mark(at(240), 100_000.0)
    assert word(risk) == ("HALTED", 1.0, ("halt_drawdown",))
    risk.mark(at(250), 80_000.0)
    assert risk.command(command(at(251), "resume"))
    assert word(risk) == NORMAL
    assert risk.memory.drawdown.peak == 80_000.0  # the drawdown counts from here
    risk.mark(at(252), 76_000.0)
    assert word(risk) == ("REDUCED", 0.8, ("drawdown",))


def test_a_daily_loss_halts_and_resume_opens_the_day_again() -> None:
    risk = state(day={"max_loss_pct": 3.0}, kill_switch={"max_daily_loss_pct": 8.0})
    risk.mark(at(1), 1e5)
    risk.mark(at(2), 92_000.0)
    assert word(risk) == ("HALTED", 0.8, ("halt_daily_loss", "drawdown", "daily_loss"))
    risk.mark(at(30), 92_000.0)
    assert risk.mode(0).mode is Mode.HALTED  # a new day does not leave it
    risk.mark(at(31), 92_000.0 * 0.98)
    risk.command(command(at(32), "resume"))
    assert risk.memory.day.opening == 92_000.0 * 0.98
    assert word(risk) == ("REDUCED", 0.8, ("drawdown",))  # the peak is not what tripped it
    assert risk.memory.drawdown.peak == 1e5


def test_resume_lifts_a_pause_by_drawdown_that_a_flat_account_could_never_leave() -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    risk.mark(at(2), 79_000.0)
    assert risk.mode(0).mode is Mode.PAUSED
    risk.command(command(at(3), "resume"))
    assert word(risk) == NORMAL


def test_resume_leaves_pauses_of_the_day_alone() -> None:
    risk = state(day={"max_loss_pct": 3.0, "loss_streak": 1})
    risk.mark(at(1), 1e5)
    risk.trade_closed(closed(at(2), -4_000.0))
    risk.mark(at(2), 96_000.0)
    before = word(risk)
    assert before == ("PAUSED", 1.0, ("daily_loss", "loss_streak"))
    risk.command(command(at(3), "resume"))
    assert word(risk) == before


def test_repeated_rejections_within_the_window_halt() -> None:
    risk = state(kill_switch={"max_rejections": 3, "rejection_window_minutes": 10})
    risk.mark(at(1), 1e5)
    for minute in (0, 5, 10):  # the first is out of the window when the third comes
        risk.order_refused(refused(at(2) + minute * MINUTE))
    assert word(risk) == NORMAL
    risk.order_refused(refused(at(2) + 15 * MINUTE - 1))
    assert word(risk) == ("HALTED", 1.0, ("halt_rejections",))
    assert risk.explain()["halt_rejections.value"] == 3.0
    risk.command(command(at(3), "resume"))
    risk.order_refused(refused(at(3)))
    risk.order_refused(refused(at(3)))
    assert word(risk) == NORMAL  # forgotten by the resume
    risk.order_refused(refused(at(3)))
    assert risk.mode(0).mode is Mode.HALTED


@pytest.mark.parametrize(
    ("action", "name", "flatten"),
    [("freeze", "halt", False), ("flatten", "halt", True), ("freeze", "flatten", True)],
)
def test_a_command_halts_with_the_configured_action_or_flattens(
    action: str, name: str, flatten: bool
) -> None:
    risk = state(kill_switch={"action": action})
    risk.mark(at(1), 1e5)
    risk.command(command(at(2), name, reason="fire drill"))
    assert word(risk) == ("HALTED", 1.0, ("halt_command",))
    assert risk.mode(0).flatten is flatten
    assert risk.explain()["halt_command.reason"] == "fire drill"
    risk.command(command(at(3), "resume"))
    assert (word(risk), risk.mode(0).flatten) == (NORMAL, False)


def test_flatten_after_a_freeze_flattens() -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    risk.command(command(at(2), "halt"))
    assert risk.command(command(at(3), "flatten"))
    assert risk.mode(0).flatten


def test_what_trips_during_a_halt_is_rebased_by_the_same_resume() -> None:
    risk = state(kill_switch={"max_drawdown_pct": 30.0, "max_daily_loss_pct": 20.0})
    risk.mark(at(1), 1e5)
    risk.command(command(at(2), "halt"))
    risk.mark(at(3), 65_000.0)
    assert risk.mode(0).reasons[:3] == ("halt_command", "halt_drawdown", "halt_daily_loss")
    risk.command(command(at(4), "resume"))
    risk.mark(at(5), 65_000.0)
    assert word(risk) == NORMAL


def test_without_a_known_equity_a_halt_stays() -> None:
    risk = state()
    risk.command(command(at(1), "halt"))
    risk.command(command(at(2), "resume"))
    assert risk.mode(0).mode is Mode.HALTED
    risk.mark(at(3), 1e5)
    risk.command(command(at(4), "resume"))
    assert word(risk) == NORMAL


# -- silent data ---------------------------------------------------------------------------------------------

STALE = {"stale_data_pause_secs": 600.0}  # 11 minutes after the last bar's close


def listen(risk: RiskState, now: int, btc: int, eth: int, *held: str) -> tuple[bool, int]:
    return risk.listen(now, {BTC: btc, ETH: eth}, lambda name: name in held)


def test_one_silent_symbol_is_blocked_and_all_silent_pause() -> None:
    risk = state(kill_switch=STALE)
    risk.mark(at(1), 1e5)
    assert listen(risk, at(1), at(1), at(1)) == (False, at(1) + 11 * MINUTE)
    eleven, twelve = at(1) + 11 * MINUTE, at(1) + 12 * MINUTE
    assert listen(risk, eleven - 1, at(1), at(1) + MINUTE) == (False, eleven)
    assert listen(risk, eleven, at(1), at(1) + MINUTE) == (True, twelve)
    assert (word(risk), risk.mode(0).blocked) == (NORMAL, {BTC: "stale_data"})
    assert listen(risk, twelve, at(1), at(1) + MINUTE) == (True, 0)  # nothing more can happen by silence
    assert word(risk) == ("PAUSED", 1.0, ("stale_data",))
    assert risk.explain()["stale_data.value"] == 660.0
    assert listen(risk, twelve + MINUTE, twelve + MINUTE, at(1) + MINUTE)[0]
    assert (word(risk), risk.mode(0).blocked) == (NORMAL, {ETH: "stale_data"})
    listen(risk, twelve + MINUTE, twelve + MINUTE, twelve + MINUTE)
    assert risk.mode(0).blocked == {}


def test_a_silent_symbol_that_is_held_pauses_the_account() -> None:
    risk = state(kill_switch=STALE)
    risk.mark(at(1), 1e5)
    listen(risk, at(1.5), at(1), at(1.5), BTC)
    assert word(risk) == ("PAUSED", 1.0, ("stale_data",))
    listen(risk, at(1.5) + MINUTE, at(1), at(1.5) + MINUTE)  # closed meanwhile
    assert (word(risk), risk.mode(0).blocked) == (NORMAL, {BTC: "stale_data"})


def test_longer_silence_halts_where_asked_for_and_must_last_as_long_again_after_resume() -> None:
    risk = state(kill_switch=STALE | {"stale_data_halt_secs": 1800.0})
    risk.mark(at(1), 1e5)
    assert listen(risk, at(1) + 11 * MINUTE, at(1), at(1)) == (True, at(1) + 31 * MINUTE)
    listen(risk, at(1) + 31 * MINUTE, at(1), at(1))
    assert word(risk) == ("HALTED", 1.0, ("halt_stale_data", "stale_data"))
    risk.command(command(at(2), "resume"))
    assert listen(risk, at(2), at(1), at(1)) == (False, at(2.5))
    assert word(risk) == ("PAUSED", 1.0, ("stale_data",))
    listen(risk, at(2.5), at(1), at(1))
    assert risk.mode(0).mode is Mode.HALTED


def test_silence_switched_off_is_never_looked_for() -> None:
    risk = state()
    assert listen(risk, at(100), at(1), at(1)) == (False, 0)


# -- restart ----------------------------------------------------------------------------------------------


EVERYTHING: dict[str, Any] = {
    "day": {
        "max_loss_pct": 3.0,
        "max_entries_hour": 3,
        "max_entries_day": 5,
        "loss_streak": 3,
        "stop_out_pause_minutes": 300,
        "low_profit": {"trades": 2, "min_pnl_pct": -0.1, "pause_hours": 20.0},
    },
    "performance": GUARD,
    "kill_switch": {"max_drawdown_pct": 30.0, "max_daily_loss_pct": 25.0, "max_rejections": 2},
}


def _to(risk: RiskState, name: str) -> RiskState:
    """Bring a fresh state into a mode."""
    risk.mark(at(1), 1e5)
    steps: dict[str, list[Any]] = {
        "NORMAL": [lambda: risk.entry_submitted(entry(at(2)))],
        "drawdown": [lambda: risk.mark(at(2), 1.3e5), lambda: risk.mark(at(3), 1.2e5)],
        "daily_loss": [lambda: risk.mark(at(2), 9.6e4), lambda: risk.mark(at(3), 9.9e4)],
        "entries_hour": [lambda: [risk.entry_submitted(entry(at(2) + k)) for k in range(3)]],
        "loss_streak": [lambda: [risk.trade_closed(closed(at(2), p)) for p in (9.0, -1.0, 9.0, *[-1.0] * 3)]],
        "performance_paused": [lambda: [risk.trade_closed(closed(at(2), -1.0)) for _ in range(2)]],
        "probation": [
            lambda: [risk.trade_closed(closed(at(2), -1.0)) for _ in range(2)],
            lambda: risk.mark(at(27), 1e5),
            lambda: risk.trade_closed(closed(at(28), -1.0)),
        ],
        "blocked": [lambda: risk.trade_closed(closed(at(2), -200.0, reason="stop"))],
        "halt_drawdown": [lambda: risk.mark(at(2), 1.5e5), lambda: risk.mark(at(3), 1e5)],
        "halt_rejections": [lambda: [risk.order_refused(refused(at(2))) for _ in range(2)]],
        "halt_command": [lambda: risk.command(command(at(2), "flatten", "drill"))],
    }
    for step in steps[name]:
        step()
    return risk


@pytest.mark.parametrize(
    "name",
    [
        "NORMAL",
        "drawdown",
        "daily_loss",
        "entries_hour",
        "loss_streak",
        "performance_paused",
        "probation",
        "blocked",
        "halt_drawdown",
        "halt_rejections",
        "halt_command",
    ],
)
def test_a_restart_in_any_mode_goes_on_as_if_there_had_been_none(name: str, tmp_path: Path) -> None:
    running = _to(state(**EVERYTHING), name)
    said = running.mode(0)
    assert name in (*said.reasons, str(said.mode), "blocked" if said.blocked else "")
    StateFile(tmp_path / "state.json", RiskMemory).write(running.memory)
    memory = StateFile(tmp_path / "state.json", RiskMemory).read()
    assert memory is not None
    restarted = state(memory, **EVERYTHING)
    expected = "HALTED" if name.startswith("halt") else "PAUSED"
    assert str(restarted.mode(0).mode) == expected  # before the equity is known
    equity = running.memory.equity
    restarted.mark(at(29), equity)
    running.mark(at(29), equity)
    assert restarted.mode(0) == running.mode(0)
    assert restarted.explain() == running.explain()
    for hours in (30, 40, 49, 60, 90):  # and every time limit passes at the same time
        for each in (running, restarted):
            each.mark(at(hours), equity)
            each.trade_closed(closed(at(hours), -1.0))
        assert restarted.explain() == running.explain()
        assert restarted.memory == running.memory
