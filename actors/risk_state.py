"""The account's state of risk: what happened goes in, one word on new risk comes out. Pure, no engine.

Mode is the worst that any rule asks for, the multiplier the product of all; `reasons` are the codes of the
rules that hold. Everything that must outlive a restart is in `memory`. Calls carry engine times (ns UTC); an
earlier one than the last counts as the last, so that no window ever runs backwards.

| code | rule | ends |
|---|---|---|
| no_equity | the account's equity is not known or not positive | when it is |
| daily_loss | loss against the day's opening equity | with the day |
| entries_hour, entries_day | entries sent | when the window frees, with the day |
| loss_streak | consecutive losses | after its minutes |
| drawdown, max_drawdown | fall from the peak: smaller sizes, no entries | when it is made good, or `resume` |
| performance_reduced, performance_paused, probation | the last trades | see `actors.performance` |
| stale_data | all instruments silent, or one that is held | with a bar |
| memory | the disk refuses what must outlive a restart | when it takes it |
| pause_command | somebody has paused | `resume` only |
| halt_* | the kill switch | `resume` only |

Of single instruments (`blocked`): stop_out, low_profit, stale_data.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import msgspec

from actors.messages import (
    WHILE_AWAY,
    Command,
    EntrySubmitted,
    Mode,
    OrderRefused,
    RiskMode,
    TradeClosed,
)
from actors.performance import Level, Performance, PerformanceMemory
from actors.risk_rules import (
    DayMemory,
    DayRules,
    DrawdownMemory,
    DrawdownRules,
    Finding,
    KillMemory,
    KillRules,
    SymbolMemory,
    SymbolRules,
)
from configs.errors import RunFailedError
from configs.trading import RiskConfig

__all__ = ["RiskMemory", "RiskState"]

SECOND_NS = 1_000_000_000
# by the order, by hand where the market was through it, or unheard: what nobody decided on was the stop
_STOPPED_OUT = ("stop", "stop_passed", "stop_refused", "liquidation", WHILE_AWAY, "")
_ORDER = {mode: rank for rank, mode in enumerate((Mode.NORMAL, Mode.REDUCED, Mode.PAUSED, Mode.HALTED))}
_LEVELS = {
    Level.REDUCED: ("performance_reduced", Mode.REDUCED),
    Level.PAUSED: ("performance_paused", Mode.PAUSED),
    Level.PROBATION: ("probation", Mode.REDUCED),
}


class RiskMemory(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that must outlive a restart.

    `account` names whose it is. `equity` is the last one known, `last_intents` the time and side of the last
    entry sent per instrument, `counted` the newest fill of the last trade counted per instrument.
    """

    account: str
    ts_event: int = 0
    equity: float | None = None
    day: DayMemory = msgspec.field(default_factory=DayMemory)
    symbols: SymbolMemory = msgspec.field(default_factory=SymbolMemory)
    drawdown: DrawdownMemory = msgspec.field(default_factory=DrawdownMemory)
    performance: PerformanceMemory = msgspec.field(default_factory=PerformanceMemory)
    kill: KillMemory = msgspec.field(default_factory=KillMemory)
    last_intents: dict[str, tuple[int, int]] = {}
    counted: dict[str, int] = {}


class _Verdict(NamedTuple):
    mode: Mode
    multiplier: float
    reasons: tuple[str, ...]
    flatten: bool
    blocked: dict[str, str]
    clusters: tuple[tuple[str, ...], ...]


class RiskState:
    """The machine. `bar_ns` holds the length of every instrument's bars; `memory` is carried on, not copied.

    Every method that takes an event returns whether the word on new risk has changed by it.
    """

    def __init__(self, risk: RiskConfig, bar_ns: Mapping[str, int], memory: RiskMemory) -> None:
        self.memory = memory
        self.has_news = False  # something in `memory` has changed since this was last set to False
        self._bar_ns = dict(bar_ns)
        kill, portfolio = risk.kill_switch, risk.portfolio
        self._pause_ns = round((kill.stale_data_pause_secs or 0.0) * SECOND_NS)
        self._halt_ns = round((kill.stale_data_halt_secs or 0.0) * SECOND_NS)
        depths = (0.0, *(depth for depth, _ in portfolio.drawdown_steps), portfolio.max_drawdown_pct)
        self._depths = tuple(pct for pct in (*depths, kill.max_drawdown_pct) if pct is not None)
        self._losses = tuple(
            pct for pct in (risk.day.max_loss_pct, kill.max_daily_loss_pct) if pct is not None
        )
        self._day = DayRules(risk.day, memory.day)
        self._symbols = SymbolRules(risk.day, memory.symbols)
        self._drawdown = DrawdownRules(risk.portfolio, memory.drawdown)
        guard = risk.performance
        self._performance = None if guard is None else Performance(guard, memory.performance)
        self._kill = KillRules(risk.kill_switch, memory.kill)
        self._now = memory.ts_event
        self._equity: float | None = None  # not known before it is marked, whatever memory says
        self._silent: list[str] = []
        self._silence: Finding | None = None
        self._is_kept = True
        self._resumed = 0
        self._clusters: tuple[tuple[str, ...], ...] = ()
        self._next = 0
        self._low, self._high = math.inf, -math.inf
        self._verdict = _Verdict(Mode.PAUSED, 1.0, ("no_equity",), False, {}, ())
        self._judge()

    # -- what happens ----------------------------------------------------------------------------------------

    def mark(self, now: int, equity: float | None) -> bool:
        """The account's equity in quote currency (None: not known) at one time; call it once per bar time."""
        if equity is not None and self._now <= now < self._next and self._low < equity <= self._high:
            self._now = now  # nothing is due and no level is crossed: most bars
            if equity != self._equity:
                self._equity = self.memory.equity = equity
                self.memory.ts_event = now
                self.has_news = True
            return False
        now = self._advance(now)
        known = equity is not None and math.isfinite(equity) and equity > 0.0
        self._equity = equity if known else None
        if equity is not None and known:
            self.memory.equity = equity
            self._drawdown.mark(equity)
            self._kill.mark(now, self._drawdown.drawdown_pct(equity), self._day.mark(now, equity))
        elif equity is not None and math.isfinite(equity):  # nothing is left: that is known, and all is lost
            self._kill.mark(now, self._drawdown.drawdown_pct(equity), self._day.loss_pct(equity))
        return self._judge()

    def entry_submitted(self, message: EntrySubmitted) -> bool:
        """An entry was sent."""
        now = self._advance(message.ts_event)
        self._day.entry(now)
        self.memory.last_intents[message.instrument] = (message.ts_event, message.side)
        return self._judge()

    def trade_closed(self, message: TradeClosed) -> bool:
        """A position is flat again. RunFailedError when its profit is not a number."""
        if not math.isfinite(message.pnl):
            raise RunFailedError(f"a trade of {message.strategy} closed with a profit of {message.pnl}")
        now = self._advance(message.ts_event)
        if message.last_fill >= 0:
            if self.memory.counted.get(message.instrument) == message.last_fill:
                return self._judge()  # counted before a kill that came before the strategy wrote it down
            self.memory.counted[message.instrument] = message.last_fill
        self._day.closed(now, message.pnl, message.ended, away=message.exit_reason == WHILE_AWAY)
        self._symbols.closed(
            now,
            message.instrument,
            message.pnl,
            by_stop=message.exit_reason in _STOPPED_OUT,
            equity=self.memory.equity,
        )
        if self._performance is not None:
            self._performance.closed(now, message.pnl, message.risk)
        return self._judge()

    def order_refused(self, message: OrderRefused) -> bool:
        """An order was rejected or denied."""
        self._kill.refused(self._advance(message.ts_event))
        return self._judge()

    def command(self, message: Command) -> bool:
        """Pause, halt, flatten, resume or reset.

        `resume` forgets the rejections and takes the equity now as the base of what it was tripped by: as the
        day's opening equity after a daily loss, as the peak after a drawdown, and of a pause by drawdown as
        well. Silent data must be silent anew for as long to halt again. Pauses of the day, cool-downs and
        the performance guard stand. While the equity is not known a halt stays.

        `reset` is `resume` and forgets those as well: the day's loss, the streak, cool-downs, drawdown and
        the record of trades. What has been entered in the hour and the day still counts.
        """
        now = self._advance(message.ts_event)
        if message.name == "resume":
            self._resume(now)
        elif message.name == "reset":
            self._reset(now)
        elif message.name == "pause":
            self._kill.pause(message.reason)
        else:
            self._kill.command(now, message.reason, flatten=message.name == "flatten")
        return self._judge()

    def listen(
        self, now: int, last_bar: Mapping[str, int], is_held: Callable[[str], bool]
    ) -> tuple[bool, int]:
        """Look for silent market data: the newest bar's close of every instrument, and where a position is.

        Silent instruments are blocked; the account pauses, or halts, when all are silent or one of them is
        held: its position cannot be valued. Returns whether the word on new risk has changed, and when to
        look again if no bar comes (0: need not).
        """
        pause, halt = self._pause_ns, self._halt_ns
        if not pause and not halt:
            return False, 0
        silent = {name: now - last_bar[name] - bar_ns for name, bar_ns in self._bar_ns.items()}
        longest = max(silent.values())
        if longest < min(ns for ns in (pause, halt) if ns) and not self._silent:
            return False, now - longest + min(ns for ns in (pause, halt) if ns)  # nothing: most times
        now = self._advance(now)
        self._silent = [name for name, ns in silent.items() if pause and ns >= pause]
        self._silence = None
        if self._is_account_silent(self._silent, is_held):
            self._silence = Finding("stale_data", Mode.PAUSED, longest / SECOND_NS, pause / SECOND_NS)
        if halt:
            since = now - self._resumed  # after a resume it must be silent anew for as long
            if self._is_account_silent([i for i, ns in silent.items() if min(ns, since) >= halt], is_held):
                self._kill.stale(now, longest / SECOND_NS)
        due = [now - ns + limit for ns in silent.values() for limit in (pause, halt) if limit]
        due.append(self._resumed + halt)
        return self._judge(), min((at for at in due if at > now), default=0)

    def keep(self, *, is_kept: bool) -> bool:
        """Whether `memory` can be written down: what a restart would not know of must not be entered."""
        self._is_kept = is_kept
        return self._judge()

    def group(self, clusters: tuple[tuple[str, ...], ...]) -> bool:
        """Take over the clusters of correlated instruments."""
        self._clusters = clusters
        return self._judge()

    # -- what is said ----------------------------------------------------------------------------------------

    @property
    def is_anyone_silent(self) -> bool:
        """Whether an instrument's data were stale when last looked at."""
        return bool(self._silent)

    @property
    def is_halted(self) -> bool:
        """Whether the kill switch is thrown."""
        return self._verdict.mode is Mode.HALTED

    def mode(self, ts_event: int) -> RiskMode:
        """The word on new risk, stamped."""
        mode, multiplier, reasons, flatten, blocked, clusters = self._verdict
        return RiskMode(
            ts_event=ts_event,
            mode=mode,
            multiplier=multiplier,
            reasons=reasons,
            flatten=flatten,
            blocked=blocked,
            clusters=clusters,
        )

    def explain(self) -> dict[str, Any]:
        """The word on new risk with all its numbers, flat, for the audit. Losses are in per cent."""
        verdict, memory = self._verdict, self.memory
        detail: dict[str, Any] = {
            "mode": str(verdict.mode),
            "multiplier": verdict.multiplier,
            "reasons": list(verdict.reasons),
            "flatten": verdict.flatten,
            "equity": self._equity,
            "day_opening": memory.day.opening,
            "peak": memory.drawdown.peak,
        }
        if self._equity is not None:
            detail["day_loss_pct"] = self._day.loss_pct(self._equity)
            detail["drawdown_pct"] = self._drawdown.drawdown_pct(self._equity)
        if self._performance is not None and memory.performance.level is not Level.NORMAL:
            found = self._performance.measures._asdict()
            detail |= {"trades": len(memory.performance.trades), **found}
        for finding in self._find():
            detail |= {f"{finding.code}.value": finding.value, f"{finding.code}.limit": finding.limit}
            if finding.until:
                detail[f"{finding.code}.until"] = finding.until
        detail |= {f"{code}.reason": halt.reason for code, halt in memory.kill.halts.items() if halt.reason}
        if memory.kill.paused:
            detail["pause_command.reason"] = memory.kill.paused
        ends = self._symbols.blocked()
        for name, code in verdict.blocked.items():
            detail[f"blocked.{name}"] = code
            if name in ends and ends[name][0] == code:
                detail[f"blocked.{name}.until"] = ends[name][1]
        if verdict.clusters:
            detail["clusters"] = [list(cluster) for cluster in verdict.clusters]
        return detail

    # -- how it is found -------------------------------------------------------------------------------------

    def _advance(self, ts_event: int) -> int:
        now = self._now = max(ts_event, self._now)
        self.memory.ts_event = now
        self.has_news = True
        self._day.advance(now, self.memory.equity)
        self._symbols.advance(now)
        if self._performance is not None:
            self._performance.advance(now)
        return now

    def _resume(self, now: int) -> None:
        if self._equity is None:
            return
        codes = self._kill.resume()
        self._resumed = now
        if "halt_daily_loss" in codes:
            self._day.rebase(self._equity)
        if "halt_drawdown" in codes or self._drawdown.is_pausing(self._equity):
            self._drawdown.rebase(self._equity)

    def _reset(self, now: int) -> None:
        if self._equity is None:
            return
        self._resume(now)
        self._day.rebase(self._equity)
        self._day.reset()
        self._drawdown.rebase(self._equity)
        self._symbols.reset()
        if self._performance is not None:
            self._performance.reset()

    def follow(self, bar_ns: Mapping[str, int]) -> bool:
        """Other instruments from now on, with the lengths of their bars."""
        self._bar_ns = dict(bar_ns)
        self._silent = [name for name in self._silent if name in self._bar_ns]
        return self._judge()

    def _is_account_silent(self, silent: Collection[str], is_held: Callable[[str], bool]) -> bool:
        return bool(silent) and (len(silent) == len(self._bar_ns) or any(map(is_held, silent)))

    def _judge(self) -> bool:
        findings = self._find()
        ends = self._symbols.blocked()
        blocked = dict.fromkeys(self._silent, "stale_data") | {i: code for i, (code, _) in ends.items()}
        due = [f.until for f in findings if f.until] + [until for _, until in ends.values()]
        self._next = min((self._day.ends, *due))
        self._low, self._high = self._band()
        verdict = _Verdict(
            mode=max((f.mode for f in findings), key=_ORDER.__getitem__, default=Mode.NORMAL),
            multiplier=math.prod((f.multiplier for f in findings), start=1.0),
            reasons=tuple(f.code for f in findings),
            flatten=self.memory.kill.flatten,
            blocked={name: blocked[name] for name in sorted(blocked)},
            clusters=self._clusters,
        )
        changed = verdict != self._verdict
        self._verdict = verdict
        return changed

    def _band(self) -> tuple[float, float]:
        """The equities, low < equity <= high, at which every rule finds what it finds now."""
        equity = self._equity
        if equity is None or self._now == self.memory.day.start:  # a mark then opens the day
            return math.inf, -math.inf
        drawdown, day = self.memory.drawdown.peak, self.memory.day.opening
        levels = [(drawdown or 0.0) * (1.0 - pct / 100.0) for pct in self._depths]
        levels += [(day or 0.0) * (1.0 - pct / 100.0) for pct in self._losses]
        low = max((level for level in levels if level < equity), default=0.0)
        return max(low, 0.0) * (1.0 + 1e-9), min((level for level in levels if level >= equity), default=0.0)

    def _find(self) -> list[Finding]:
        now, equity = self._now, self._equity
        findings = list(self._kill.findings())
        if equity is None:
            findings.append(Finding("no_equity", Mode.PAUSED, 0.0, 0.0))
        else:
            findings += self._drawdown.findings(equity)
        findings += self._day.findings(now)
        if self._silence is not None:
            findings.append(self._silence)
        if not self._is_kept:
            findings.append(Finding("memory", Mode.PAUSED, 0.0, 1.0))
        level = self.memory.performance.level
        guard = self._performance
        if guard is not None and level is not Level.NORMAL:
            code, mode = _LEVELS[level]
            trades, until = float(len(guard.memory.trades)), guard.memory.until
            findings.append(Finding(code, mode, trades, guard.needed, guard.multiplier, until))
        return findings
