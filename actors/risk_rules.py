"""The rules of the guard, one class a layer: each keeps a small memory and says what it finds. Pure.

Times are ns UTC and never fall from call to call; equity is in quote currency. A rule's memory is a plain
struct, whole in the state file, so that a restart changes nothing. Amounts sit exactly on a limit often
enough (a round loss of a round account) that comparisons allow for binary dust.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from actors.messages import Mode
from configs.trading import DayLimits, KillSwitch, PortfolioLimits

__all__ = [
    "DayMemory",
    "DayRules",
    "DrawdownMemory",
    "DrawdownRules",
    "Finding",
    "Halt",
    "KillMemory",
    "KillRules",
    "SymbolMemory",
    "SymbolRules",
]

MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
_DUST = 1e-9
_MOST_CLOSINGS = 16  # so many can still be put in order


class Finding(NamedTuple):
    """A rule that holds risk down: its code, how far, the number that broke it and the limit it broke.

    `until` is when it ends by the clock alone (0: not by the clock).
    """

    code: str
    mode: Mode
    value: float
    limit: float
    multiplier: float = 1.0
    until: int = 0


def _fall_pct(top: float, equity: float) -> float:
    return (top - equity) / top * 100.0 if top > 0.0 else 0.0


def _reached(value: float, limit: float | None) -> bool:
    return limit is not None and value >= limit - _DUST


# -- the day -------------------------------------------------------------------------------------------------


class DayMemory(msgspec.Struct, forbid_unknown_fields=True):
    """`opening` is the day's opening equity, `loss_pct` the loss that closed the day for entries."""

    start: int | None = None
    opening: float | None = None
    loss_pct: float | None = None
    entries: list[int] = []
    streak: int = 0
    streak_until: int = 0


class _Closing(NamedTuple):
    """A trade's end and when it was heard of (ns UTC), its profit, and streak and pause before it.

    `at` begins with 0 under the node before, 1 while none was alive, 2 since the start.
    """

    at: tuple[int, int]
    heard: int
    pnl: float
    before: tuple[int, int]


class DayRules:
    """Loss against the day's opening equity, entries an hour and a day, streaks of losses.

    A day begins at `starts_at_hour` UTC. It opens with the equity marked at that very moment, which closes
    the day before it as well, else with the last one marked before: what is lost over a gap counts for the
    day after it. The daily loss, once reached, closes the day even if the equity comes back. An hour is the
    last 60 minutes; an entry counts until 60 minutes have passed. The streak counts again from zero after its
    cool-down has begun.
    """

    def __init__(self, limits: DayLimits, memory: DayMemory) -> None:
        self.memory = memory
        self._limits = limits
        self._offset = limits.starts_at_hour * HOUR_NS
        self._opening_before: float | None = None
        self._began = 0  # when it first heard the time
        self._closings: deque[_Closing] = deque(maxlen=_MOST_CLOSINGS)

    @property
    def ends(self) -> int:
        """When the next day begins; long ago before the first."""
        return self._offset - DAY_NS if self.memory.start is None else self.memory.start + DAY_NS

    def loss_pct(self, equity: float) -> float:
        """Loss against the opening equity in per cent, negative for a gain."""
        return 0.0 if self.memory.opening is None else _fall_pct(self.memory.opening, equity)

    def advance(self, now: int, equity: float | None) -> None:
        """Begin a new day when its time has come; `equity` is the last one known."""
        memory = self.memory
        self._began = self._began or now
        if now < self.ends:
            return
        self._opening_before = memory.opening
        memory.start = (now - self._offset) // DAY_NS * DAY_NS + self._offset
        memory.opening, memory.loss_pct = equity, None
        memory.entries = [t for t in memory.entries if t > now - HOUR_NS]

    def mark(self, now: int, equity: float) -> float:
        """The equity at `now`, after `advance`; the loss in per cent of the day that it marks.

        At the very beginning of a day that is the day that ends.
        """
        memory = self.memory
        if now == memory.start and self._opening_before is not None:
            memory.opening = equity
            return _fall_pct(self._opening_before, equity)
        if memory.opening is None:
            memory.opening = equity
        loss = self.loss_pct(equity)
        if memory.loss_pct is None and _reached(loss, self._limits.max_loss_pct):
            memory.loss_pct = loss
        return loss

    def rebase(self, equity: float) -> None:
        """Let the day open again with this equity."""
        self.memory.opening, self.memory.loss_pct = equity, None

    def reset(self) -> None:
        """Forget the streak of losses and its pause."""
        self.memory.streak, self.memory.streak_until = 0, 0
        self._closings.clear()

    def entry(self, now: int) -> None:
        """An entry was sent."""
        if self._limits.max_entries_hour is not None or self._limits.max_entries_day is not None:
            first = min(self.memory.start or 0, now - HOUR_NS)
            self.memory.entries = [*(t for t in self.memory.entries if t >= first), now]

    def closed(self, now: int, pnl: float, ended: int = 0, *, away: bool = False) -> None:
        """A trade was closed; one that made exactly nothing neither lengthens nor ends a streak.

        Results come in any order where the venue has to be asked for them: of trades that closed while
        no node was alive, or whose fills came without their fees. With `ended` (ns UTC, 0: now) they count in
        the order in which they ended: by the clock here those from before the start and those after it,
        between them those of `away`, by the venue's.
        """
        memory = self.memory
        is_older = 0 < ended < self._began  # its result was still asked for when the node before ended
        at = (1, ended) if away else (0 if is_older else 2, min(ended or now, now))
        later: list[_Closing] = []
        while self._closings and self._closings[-1].at > at:
            later.append(self._closings.pop())
        if later:
            memory.streak, memory.streak_until = later[-1].before
        for closing in (_Closing(at, now, pnl, (0, 0)), *reversed(later)):
            before = memory.streak, memory.streak_until
            self._closings.append(closing._replace(before=before))
            self._count(closing.heard, closing.pnl)

    def _count(self, now: int, pnl: float) -> None:
        memory, most = self.memory, self._limits.loss_streak
        if pnl == 0.0 or most is None:
            return
        memory.streak = memory.streak + 1 if pnl < 0.0 else 0
        if memory.streak >= most:
            memory.streak = 0
            memory.streak_until = now + round(self._limits.loss_streak_pause_minutes * MINUTE_NS)

    def findings(self, now: int) -> Iterator[Finding]:
        """What holds at `now`."""
        memory, limits = self.memory, self._limits
        if memory.loss_pct is not None and limits.max_loss_pct is not None:
            yield Finding("daily_loss", Mode.PAUSED, memory.loss_pct, limits.max_loss_pct, until=self.ends)
        yield from self._entry_findings(now)
        if now < memory.streak_until and limits.loss_streak is not None:
            streak = float(limits.loss_streak)
            yield Finding("loss_streak", Mode.PAUSED, streak, streak, until=memory.streak_until)

    def _entry_findings(self, now: int) -> Iterator[Finding]:
        limits, entries = self._limits, self.memory.entries
        most = limits.max_entries_hour
        if most is not None and len(entries) >= most and entries[-most] > now - HOUR_NS:
            within = float(sum(t > now - HOUR_NS for t in entries))
            yield Finding("entries_hour", Mode.PAUSED, within, most, until=entries[-most] + HOUR_NS)
        most = limits.max_entries_day
        today = sum(t >= (self.memory.start or 0) for t in entries)
        if most is not None and today >= most:
            yield Finding("entries_day", Mode.PAUSED, float(today), most, until=self.ends)


# -- symbols -------------------------------------------------------------------------------------------------


class SymbolMemory(msgspec.Struct, forbid_unknown_fields=True):
    """Ends of cool-downs, and the profits of the last trades, by instrument."""

    stop_out_until: dict[str, int] = {}
    low_profit_until: dict[str, int] = {}
    profits: dict[str, list[float]] = {}


class SymbolRules:
    """Cool-downs of single instruments: after a stop-out, and after trades that brought too little.

    A stop-out is a loss closed by the stop, or by what nobody decided on: a trailing stop that kept a profit
    is none. An instrument whose low profit was punished is judged anew on the trades after.
    """

    def __init__(self, limits: DayLimits, memory: SymbolMemory) -> None:
        self.memory = memory
        self._limits = limits
        self._stop_out_ns = round(limits.stop_out_pause_minutes * MINUTE_NS)

    def closed(self, now: int, instrument: str, pnl: float, *, by_stop: bool, equity: float | None) -> None:
        """A trade was closed."""
        memory, low = self.memory, self._limits.low_profit
        if by_stop and pnl < 0.0 and self._stop_out_ns:
            memory.stop_out_until[instrument] = now + self._stop_out_ns
        if low is None or equity is None:
            return
        profits = [*memory.profits.get(instrument, ()), pnl][-low.trades :]
        if len(profits) == low.trades and sum(profits) < equity * low.min_pnl_pct / 100.0 - _DUST:
            memory.low_profit_until[instrument] = now + round(low.pause_hours * HOUR_NS)
            profits = []
        memory.profits[instrument] = profits

    def advance(self, now: int) -> None:
        """Forget the cool-downs that are over."""
        for ends in (self.memory.stop_out_until, self.memory.low_profit_until):
            for instrument in [name for name, until in ends.items() if until <= now]:
                del ends[instrument]

    def reset(self) -> None:
        """Forget all cool-downs, and the profits they are judged by."""
        for memory in (self.memory.stop_out_until, self.memory.low_profit_until, self.memory.profits):
            memory.clear()

    def blocked(self) -> dict[str, tuple[str, int]]:
        """(code, end) of every instrument in a cool-down after `advance`; the later end of two."""
        found: dict[str, tuple[str, int]] = {}
        for code, ends in (
            ("stop_out", self.memory.stop_out_until),
            ("low_profit", self.memory.low_profit_until),
        ):
            for instrument, until in ends.items():
                if until > found.get(instrument, ("", 0))[1]:
                    found[instrument] = (code, until)
        return found


# -- the portfolio -------------------------------------------------------------------------------------------


class DrawdownMemory(msgspec.Struct, forbid_unknown_fields=True):
    """The highest equity marked."""

    peak: float | None = None


class DrawdownRules:
    """Smaller sizes the deeper the equity lies under its peak, and no entries from a limit on.

    The pause lasts as long as the drawdown does: until the equity comes back, or the command `resume`.
    """

    def __init__(self, limits: PortfolioLimits, memory: DrawdownMemory) -> None:
        self.memory = memory
        self._limits = limits

    def drawdown_pct(self, equity: float) -> float:
        """How far `equity` lies under the peak, in per cent of it."""
        return 0.0 if self.memory.peak is None else _fall_pct(self.memory.peak, equity)

    def mark(self, equity: float) -> None:
        """The equity now."""
        if self.memory.peak is None or equity > self.memory.peak:
            self.memory.peak = equity

    def rebase(self, equity: float) -> None:
        """Let this equity be the peak."""
        self.memory.peak = equity

    def is_pausing(self, equity: float) -> bool:
        """Whether the drawdown forbids entries."""
        return _reached(self.drawdown_pct(equity), self._limits.max_drawdown_pct)

    def findings(self, equity: float) -> Iterator[Finding]:
        """What holds at this equity."""
        depth = self.drawdown_pct(equity)
        reached = [step for step in self._limits.drawdown_steps if _reached(depth, step[0])]
        if reached:
            limit, multiplier = reached[-1]
            yield Finding("drawdown", Mode.REDUCED, depth, limit, multiplier)
        if self.is_pausing(equity):
            yield Finding("max_drawdown", Mode.PAUSED, depth, self._limits.max_drawdown_pct)


# -- the kill switch -----------------------------------------------------------------------------------------


class Halt(msgspec.Struct, forbid_unknown_fields=True):
    """What tripped the kill switch: when, the number and its limit, or a command's reason."""

    ts_event: int
    value: float = 0.0
    limit: float = 0.0
    reason: str = ""


class KillMemory(msgspec.Struct, forbid_unknown_fields=True):
    """What tripped it, by code; halted while there is any."""

    halts: dict[str, Halt] = {}
    flatten: bool = False
    rejections: list[int] = []
    paused: str | None = None  # somebody's reason


class KillRules:
    """HALTED, or PAUSED by somebody, until `resume`; what else trips meanwhile is recorded, too."""

    def __init__(self, config: KillSwitch, memory: KillMemory) -> None:
        self.memory = memory
        self._config = config
        self._window_ns = round(config.rejection_window_minutes * MINUTE_NS)

    def mark(self, now: int, drawdown_pct: float, day_loss_pct: float) -> None:
        """Drawdown from the peak and loss of the day, in per cent."""
        self._check("halt_drawdown", now, drawdown_pct, self._config.max_drawdown_pct)
        self._check("halt_daily_loss", now, day_loss_pct, self._config.max_daily_loss_pct)

    def stale(self, now: int, silent_secs: float) -> None:
        """Market data have been silent so long beyond the bar that was due."""
        self._check("halt_stale_data", now, silent_secs, self._config.stale_data_halt_secs)

    def refused(self, now: int) -> None:
        """An order was refused; one counts until `rejection_window_minutes` have passed."""
        if self._config.max_rejections is None:
            return
        kept = [t for t in self.memory.rejections if t > now - self._window_ns]
        self.memory.rejections = [*kept, now]
        self._check("halt_rejections", now, float(len(kept) + 1), float(self._config.max_rejections))

    def command(self, now: int, reason: str, *, flatten: bool) -> None:
        """Halt because somebody says so."""
        self._halt("halt_command", Halt(now, reason=reason))
        self.memory.flatten = self.memory.flatten or flatten

    def pause(self, reason: str) -> None:
        """No entries because somebody says so."""
        self.memory.paused = reason

    def resume(self) -> frozenset[str]:
        """Leave HALTED and the pause; the codes of what had tripped. Rejections count from zero again."""
        codes = frozenset(self.memory.halts)
        self.memory.halts = {}
        self.memory.paused = None
        self.memory.flatten = False
        self.memory.rejections = []
        return codes

    def findings(self) -> Iterator[Finding]:
        """What has tripped."""
        for code, halt in self.memory.halts.items():
            yield Finding(code, Mode.HALTED, halt.value, halt.limit)
        if self.memory.paused is not None:
            yield Finding("pause_command", Mode.PAUSED, 0.0, 0.0)

    def _check(self, code: str, now: int, value: float, limit: float | None) -> None:
        if limit is not None and _reached(value, limit):
            self._halt(code, Halt(now, value, limit))

    def _halt(self, code: str, halt: Halt) -> None:
        if code not in self.memory.halts:
            self.memory.halts[code] = halt
            self.memory.flatten = self.memory.flatten or self._config.action == "flatten"
