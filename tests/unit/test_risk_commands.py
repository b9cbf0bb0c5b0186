"""An operator's pause and reset, and instruments that come and go while the guard is at work."""

from pathlib import Path

from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from tests.risk_states import BTC, ETH, GUARD, MINUTE, NORMAL, at, closed, command, entry, state, word

SOL = "SOLUSDT-PERP.BINANCE"
PAUSED = ("PAUSED", 1.0, ("pause_command",))


def test_a_pause_lasts_until_it_is_resumed_whatever_the_equity_does() -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    assert risk.command(command(at(2), "pause", "lunch"))
    assert word(risk) == PAUSED
    assert not risk.mode(0).lets_rest
    assert risk.explain()["pause_command.reason"] == "lunch"
    risk.mark(at(30), 101_000.0)
    assert word(risk) == PAUSED
    assert risk.command(command(at(31), "resume"))
    assert word(risk) == NORMAL


def test_a_pause_is_kept_over_a_restart(tmp_path: Path) -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    risk.command(command(at(2), "pause", "lunch"))
    file = StateFile(tmp_path / "guard.json", RiskMemory)
    file.write(risk.memory)
    again = state(file.read())
    again.mark(at(3), 1e5)
    assert word(again) == PAUSED


def test_a_state_from_before_there_was_a_pause_is_read(tmp_path: Path) -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    path = tmp_path / "guard.json"
    StateFile(path, RiskMemory).write(risk.memory)
    assert b'"paused":null' in path.read_bytes()
    before = RiskMemory(account="A")
    assert before.kill.paused is None


def test_a_halt_and_a_pause_end_together() -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    risk.command(command(at(2), "pause"))
    risk.command(command(at(2), "halt"))
    assert word(risk) == ("HALTED", 1.0, ("halt_command", "pause_command"))
    risk.command(command(at(3), "resume"))
    assert word(risk) == NORMAL


def test_a_reset_ends_what_a_resume_leaves_alone() -> None:
    risk = state(
        day={
            "max_loss_pct": 3.0,
            "loss_streak": 2,
            "loss_streak_pause_minutes": 600,
            "stop_out_pause_minutes": 600,
        },
        performance=GUARD,
    )
    risk.mark(at(1), 1e5)
    for hours in (2, 3):
        risk.trade_closed(closed(at(hours), -50.0, reason="stop"))
    risk.mark(at(4), 96_000.0)
    mode, _, reasons = word(risk)
    assert mode == "PAUSED"
    assert {"daily_loss", "loss_streak", "performance_paused"} <= set(reasons)
    assert risk.mode(0).blocked == {BTC: "stop_out"}
    risk.command(command(at(5), "resume"))
    assert {"daily_loss", "loss_streak", "performance_paused"} <= set(word(risk)[2])
    assert risk.command(command(at(5), "reset"))
    assert word(risk) == NORMAL
    assert risk.mode(0).blocked == {}
    risk.mark(at(6), 96_000.0)
    assert word(risk) == NORMAL


def test_a_reset_leaves_the_quota_of_entries_alone() -> None:
    risk = state(day={"max_entries_hour": 1})
    risk.mark(at(1), 1e5)
    risk.entry_submitted(entry(at(2)))
    risk.command(command(at(2), "reset"))
    assert word(risk) == ("PAUSED", 1.0, ("entries_hour",))


def test_an_instrument_that_has_gone_is_silent_for_nobody() -> None:
    risk = state(kill_switch={"stale_data_pause_secs": 300.0})
    risk.mark(at(1), 1e5)
    fresh = {BTC: at(2), ETH: at(1)}
    risk.listen(at(2), fresh, lambda _: False)
    assert risk.mode(0).blocked == {ETH: "stale_data"}
    assert risk.follow({BTC: MINUTE, SOL: MINUTE})
    assert risk.mode(0).blocked == {}
    risk.listen(at(2), {BTC: at(2), SOL: at(2)}, lambda _: False)
    assert word(risk) == NORMAL
