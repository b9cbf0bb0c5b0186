"""Risk states with single rules, and the events they hear, for the tests of the guard."""

from typing import Any

from actors.messages import Command, EntrySubmitted, OrderRefused, TradeClosed
from actors.risk_state import RiskMemory, RiskState
from configs.trading import RiskConfig

__all__ = [
    "BTC",
    "DAY",
    "ETH",
    "GUARD",
    "HOUR",
    "MINUTE",
    "NORMAL",
    "OFF",
    "T0",
    "at",
    "closed",
    "command",
    "entry",
    "refused",
    "state",
    "word",
]

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
T0 = 1_704_067_200_000_000_000  # 2024-01-01 00:00 UTC
BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"
OFF: dict[str, Any] = {
    "day": {"max_loss_pct": None, "loss_streak": None},
    "performance": None,
    "kill_switch": {
        "max_drawdown_pct": None,
        "max_daily_loss_pct": None,
        "stale_data_pause_secs": None,
        "max_rejections": None,
    },
}

NORMAL = ("NORMAL", 1.0, ())
BAD = {"min_win_rate": 0.5, "min_expectancy_r": -9.0, "min_profit_factor": 0.0, "max_drawdown_r": 99.0}
GUARD: dict[str, Any] = {
    "window": 2,
    "min_trades": 2,
    "reduced": BAD,
    "paused": BAD,
    "pause_hours": 24.0,
    "probation_trades": 2,
    "probation_multiplier": 0.25,
}


def at(hours: float, day: int = 1) -> int:
    return T0 + (day - 1) * DAY + round(hours * 60) * MINUTE


def state(memory: RiskMemory | None = None, **groups: dict[str, Any] | None) -> RiskState:
    """A state with one rule, the rest switched off as far as it goes."""
    settings: dict[str, Any] = dict(OFF)
    for name, group in groups.items():
        settings[name] = None if group is None else (settings.get(name) or {}) | group
    return RiskState(RiskConfig(**settings), {BTC: MINUTE, ETH: MINUTE}, memory or RiskMemory(account="A"))


def word(of: RiskState) -> tuple[str, float, tuple[str, ...]]:
    said = of.mode(0)
    return str(said.mode), said.multiplier, said.reasons


def entry(ts: int, instrument: str = BTC, side: int = 1) -> EntrySubmitted:
    return EntrySubmitted(ts_event=ts, strategy="s", instrument=instrument, side=side)


def closed(
    ts: int, pnl: float, *, reason: str = "time", instrument: str = BTC, risk: float = 100.0
) -> TradeClosed:
    return TradeClosed(
        ts_event=ts,
        strategy="s",
        instrument=instrument,
        side=1,
        pnl=pnl,
        risk=risk,
        exit_reason=reason,
    )


def refused(ts: int) -> OrderRefused:
    return OrderRefused(ts_event=ts, strategy="s", instrument=BTC, role="entry", reason="no")


def command(ts: int, name: Any, reason: str = "") -> Command:
    return Command(ts_event=ts, name=name, reason=reason)
