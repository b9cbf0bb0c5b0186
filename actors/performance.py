"""The performance guard: less risk after bad trades, none after very bad ones, and always a way back.

    NORMAL <-> REDUCED -> PAUSED -> PROBATION -> NORMAL | REDUCED | PAUSED

NORMAL and REDUCED are judged at every closed trade on the last `window` trades, from `min_trades` on. PAUSED
ends by the clock alone, so that nothing can keep it; probation begins with no trades on record and is judged
once, on its own first `probation_trades`, which become the new record. Pure: no engine, no clock.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from configs.trading import PerformanceGuard, Thresholds

__all__ = ["Level", "Measures", "Performance", "PerformanceMemory", "measure"]

HOUR_NS = 3_600_000_000_000


class Level(StrEnum):
    """Where the guard stands."""

    NORMAL = "NORMAL"
    REDUCED = "REDUCED"
    PAUSED = "PAUSED"
    PROBATION = "PROBATION"


class PerformanceMemory(msgspec.Struct, forbid_unknown_fields=True):
    """What must outlive a restart. `trades` are (pnl in quote currency, R multiple or None), oldest first."""

    level: Level = Level.NORMAL
    until: int = 0  # ns UTC, the end of PAUSED
    trades: list[tuple[float, float | None]] = []


class Measures(NamedTuple):
    """What trades are judged by; NaN where nothing can be said, and NaN is never worse than a threshold.

    `win_rate` is the share with a profit, `expectancy_r` the mean R multiple (profit over what was at risk),
    `profit_factor` profits over losses (inf without losses), `drawdown_r` the deepest fall of the sum of R
    multiples from its highest point so far, the start included.
    """

    win_rate: float
    expectancy_r: float
    profit_factor: float
    drawdown_r: float


def measure(trades: Sequence[tuple[float, float | None]]) -> Measures:
    """Measures of (pnl, R multiple) pairs, oldest first; pairs without an R count in the others only."""
    multiples = [r for _, r in trades if r is not None]
    profits = sum(pnl for pnl, _ in trades if pnl > 0.0)
    losses = -sum(pnl for pnl, _ in trades if pnl < 0.0)
    total = peak = deepest = 0.0
    for multiple in multiples:
        total += multiple
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
    return Measures(
        win_rate=sum(pnl > 0.0 for pnl, _ in trades) / len(trades) if trades else math.nan,
        expectancy_r=math.fsum(multiples) / len(multiples) if multiples else math.nan,
        profit_factor=profits / losses if losses else (math.inf if profits else math.nan),
        drawdown_r=deepest if multiples else math.nan,
    )


class Performance:
    """The machine. `closed` and `advance` take times in ns UTC that never fall."""

    def __init__(self, config: PerformanceGuard, memory: PerformanceMemory) -> None:
        self.memory = memory
        self._config = config
        self._kept = max(config.window, config.min_trades, config.probation_trades)

    @property
    def multiplier(self) -> float:
        """What sizes are multiplied by."""
        if self.memory.level is Level.REDUCED:
            return self._config.reduced_multiplier
        return self._config.probation_multiplier if self.memory.level is Level.PROBATION else 1.0

    @property
    def needed(self) -> int:
        """How many trades the next judgement needs."""
        on_probation = self.memory.level is Level.PROBATION
        return self._config.probation_trades if on_probation else self._config.min_trades

    @property
    def measures(self) -> Measures:
        """Of the trades that the next judgement would rest on."""
        return measure(self.memory.trades[-self._judged :])

    def reset(self) -> None:
        """Begin anew: no trades on record, no pause."""
        self.memory.level, self.memory.until = Level.NORMAL, 0
        self.memory.trades.clear()

    def advance(self, now: int) -> None:
        """End a pause whose time is over."""
        memory = self.memory
        if memory.level is Level.PAUSED and now >= memory.until:
            memory.level = Level.PROBATION
            memory.until = 0
            memory.trades = []

    def closed(self, now: int, pnl: float, risk: float) -> None:
        """Record a closed trade and judge. `risk` not above 0, or not finite, gives no R multiple."""
        self.advance(now)
        memory = self.memory
        known = math.isfinite(risk) and risk > 0.0
        memory.trades = [*memory.trades, (pnl, pnl / risk if known else None)][-self._kept :]
        if memory.level is Level.PAUSED:
            return  # a position from before the pause: time alone ends it
        if len(memory.trades) >= self.needed:
            self._judge(now)

    @property
    def _judged(self) -> int:
        if self.memory.level is Level.PROBATION:
            return self._config.probation_trades
        return max(self._config.window, self._config.min_trades)

    def _judge(self, now: int) -> None:
        memory, config, found = self.memory, self._config, self.measures
        if _worse(found, config.paused):
            memory.level = Level.PAUSED
            memory.until = now + round(config.pause_hours * HOUR_NS)
        elif memory.level is Level.NORMAL:
            memory.level = Level.REDUCED if _worse(found, config.reduced) else Level.NORMAL
        else:
            memory.level = Level.NORMAL if _clear(found, config.reduced, config.hysteresis) else Level.REDUCED


def _worse(found: Measures, limit: Thresholds) -> bool:
    return (
        found.win_rate < limit.min_win_rate
        or found.expectancy_r < limit.min_expectancy_r
        or found.profit_factor < limit.min_profit_factor
        or found.drawdown_r > limit.max_drawdown_r
    )


def _clear(found: Measures, limit: Thresholds, margin: float) -> bool:
    """Every measure better than its threshold by `margin` of it (a win rate cannot pass 1)."""
    return not (
        found.win_rate < min(limit.min_win_rate * (1.0 + margin), 1.0)
        or found.expectancy_r < limit.min_expectancy_r + margin * abs(limit.min_expectancy_r)
        or found.profit_factor < limit.min_profit_factor * (1.0 + margin)
        or found.drawdown_r > limit.max_drawdown_r * (1.0 - margin)
    )
