"""The guard: hears every trade, refusal and command of the run, and says how much new risk may be taken.

The rules are in `actors.risk_state`; this is their edge to the engine. `RiskMode` is published when the run
starts, at each bar time, and at once when an entry, a closed trade, a refused order or a command changes it;
a strategy that hears none for too long treats that as PAUSED.

The word of a bar time is said by a timer, and that is what makes a run repeat: the engine calls the handlers
of one bar in an order that changes from run to run, but a timer after the bars of its time, of every
instrument, and all that they caused. So a decision at a bar's close rests on the word of the bar before and
what was said at once since, and the equity of a bar time is marked with all its closes. (Live a timer comes
before the bar that it belongs to, and its word is there for that bar's decisions.)

With a `state_path` everything that must outlive a restart is in one small file: read when the guard is made
(a file that cannot be trusted is refused then), written at a bar time if anything changed since, and at once
on trading and commands. Trading and bar times do not wait for the disk, the kill switch does. While the disk
refuses it, it is tried again and again, and the word is PAUSED. A backtest has none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, BarType, Currency, Venue
from nautilus_trader.portfolio import Portfolio
from numpy.typing import ArrayLike

from actors.alarms import alarm
from actors.faults import fail_loud, guarded
from actors.messages import (
    AUDIT_TOPIC,
    COMMAND_TOPIC,
    RISK_MODE_TOPIC,
    TRADING_TOPIC,
    AuditRecord,
    Command,
    EntrySubmitted,
    OrderRefused,
    TradeClosed,
)
from actors.risk_state import RiskMemory, RiskState
from actors.state_file import StateFile
from actors.unkept import RETRY_NS, Unkept
from configs.errors import ConfigError, DataError, RunFailedError
from configs.trading import RiskConfig
from models.correlation import CorrelationTracker

__all__ = ["Guard"]

HOUR_NS = 3_600_000_000_000
LONGEST_BEAT_NS = 300_000_000_000  # of long bars, so that silence is found out in time
_NEVER = 2**63 - 1
_SOON_NS = 250_000_000
_RETRY = "state"


@fail_loud
class Guard(DataActor):
    """Publishes `RiskMode`. One per account; `watch` gives it the portfolio before the run.

    `bar_types` are those of the run, one per instrument; others subscribe to them, the guard looks into the
    cache. Equity is that of `venue` in `quote_currency`; on spot (`margined` False) the coins held are added
    to the cash.
    """

    def __new__(cls, *, name: str = "guard", **_: object) -> "Guard":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId(f"{name.upper()}-001")))  # type: ignore[call-arg]

    def __init__(
        self,
        *,
        risk: RiskConfig,
        bar_types: Sequence[BarType],
        venue: Venue,
        quote_currency: Currency,
        margined: bool,
        state_path: Path | None = None,
        name: str = "guard",
    ) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId(f"{name.upper()}-001")))
        self.component_name = name
        self.failure: BaseException | None = None
        self._bar_types = {str(kind.instrument_id): kind for kind in bar_types}
        if not bar_types or len(self._bar_types) != len(bar_types):
            raise ConfigError(f"the guard needs one bar type per instrument, got {len(bar_types)}")
        bar_ns = {name: _length_ns(kind) for name, kind in self._bar_types.items()}
        self._beat_ns = min(LONGEST_BEAT_NS, *bar_ns.values())
        self._venue = venue
        self._currency = quote_currency
        self._margined = margined
        self._portfolio: Portfolio | None = None
        self._coins: Callable[[], Mapping[str, float]] | None = None
        self._file = None if state_path is None else StateFile(state_path, RiskMemory)
        self.unkept = Unkept()
        self.risk = RiskState(risk, bar_ns, self._remembered(f"{venue} {quote_currency.code}"))
        self._threshold = risk.portfolio.cluster_correlation
        self._tracker = None
        if len(bar_ns) > 1:
            bar_secs = min(bar_ns.values()) // 10**9
            days = risk.portfolio.correlation_days
            self._tracker = CorrelationTracker(list(bar_ns), days, bar_secs=bar_secs)
        self._started = 0
        self._since: dict[str, int] = {}  # of instruments that came later
        self._equity: float | None = None
        self._settling = 0
        self._refresh = 0
        self._look_at = 0
        self._hour_ends = 0
        self._said = 0
        self._is_saying = False
        self._unsaid: tuple[int, bool] | None = None

    def _remembered(self, account: str) -> RiskMemory:
        memory = None if self._file is None else self._file.read()
        if memory is not None and self._file is not None and memory.account != account:
            raise DataError(
                f"state file {self._file.path} belongs to account '{memory.account}', this run trades "
                f"'{account}': give each account its own file"
            )
        return RiskMemory(account=account) if memory is None else memory

    # -- before the run ------------------------------------------------------------------------------------

    def watch(self, portfolio: Portfolio) -> None:
        """Take the engine's or node's portfolio, which is where the equity comes from."""
        self._portfolio = portfolio

    def warm_up(self, instrument: str, ts_event: ArrayLike, close: ArrayLike) -> None:
        """Feed an instrument's history to the correlations: ascending times [n] (ns UTC), closes [n]."""
        if self._tracker is not None:
            self._tracker.extend(instrument, ts_event, close)

    @property
    def last_intents(self) -> Mapping[str, tuple[int, int]]:
        """Time (ns UTC) and side of the last entry sent, by instrument; from before a restart as well."""
        return self.risk.memory.last_intents

    # -- what it hears -------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Follow trading and commands, set the timer, and say the first word."""
        if self._portfolio is None:
            raise ConfigError("the guard knows no portfolio: call watch() before the run")
        self.subscribe_topic(TRADING_TOPIC, self._on_trading)
        self.subscribe_topic(COMMAND_TOPIC, self._on_command)
        now = self._started = self.clock.timestamp_ns()
        self._hour_ends = -(-now // HOUR_NS) * HOUR_NS
        self._group()
        self.risk.mark(now, self._measure(now))
        self._listen(now)
        self._say(now)
        self._save()  # what was marked and said outlives a kill before the first beat
        before = (now - 1) // self._beat_ns * self._beat_ns  # the first beat may be now
        self.clock.set_timer_ns("beat", self._beat_ns, before, None, self._on_beat, allow_past=True)
        if self._equity is None:
            self.clock.set_timer_ns("value", _SOON_NS, None, None, self._on_value)

    def repeat(self) -> None:
        """Say the newest word once more, for who has begun to listen since."""
        self._say(self.clock.timestamp_ns(), changed=False)

    @property
    def tracker(self) -> CorrelationTracker | None:
        """What knows the correlations; None with a single instrument."""
        return self._tracker

    def follow(self, bar_types: Sequence[BarType], tracker: CorrelationTracker | None) -> None:
        """Live: other instruments from now on; `tracker` knows the history of all (None: only one)."""
        known, now = self._bar_types, self.clock.timestamp_ns()
        self._bar_types = {str(kind.instrument_id): kind for kind in bar_types}
        self._since |= {name: now for name in self._bar_types if name not in known}
        self._tracker = tracker
        changed = self.risk.follow({name: _length_ns(kind) for name, kind in self._bar_types.items()})
        changed |= self._group()
        self._look_at = now
        self._say(now, changed)

    def on_stop(self) -> None:
        """Leave the state as it is now."""
        self._save()

    @guarded
    def _on_value(self, event: Any) -> None:
        """Live: what is held can be valued once a price has come."""
        del event
        now = self.clock.timestamp_ns()
        equity = self._measure(now)
        if equity is not None:
            self.clock.cancel_timer("value")
            self._say(now, self.risk.mark(now, equity))
            self._save(waits=False)  # the next beat may be a kill away

    @guarded
    def _on_beat(self, event: Any) -> None:
        ts = event.ts_event
        changed = self.risk.mark(ts, self._measure(ts))
        if ts >= self._look_at:
            changed |= self._listen(ts)
        if ts > self._hour_ends:
            changed |= self._close_hour(ts)
        self._say(ts, changed)
        if self._file is not None:
            self._save(waits=False)

    @guarded
    def _on_trading(self, message: object) -> None:
        state = self.risk
        if isinstance(message, EntrySubmitted):
            changed = state.entry_submitted(message)
        elif isinstance(message, TradeClosed):
            changed = state.trade_closed(message)
        elif isinstance(message, OrderRefused):
            changed = state.order_refused(message)
        else:
            raise TypeError(f"the trading topic carries no {type(message).__name__}")
        self._settling = 2
        if changed:
            self._say(self.clock.timestamp_ns())
        self._save(waits=False)  # the next order may be waiting

    @guarded
    def _on_command(self, message: object) -> None:
        if not isinstance(message, Command):
            raise TypeError(f"the command topic carries Command only, got {type(message).__name__}")
        changed = self.risk.command(message)
        now = self.clock.timestamp_ns()
        self._audit(now, {"command": message.name, "reason": message.reason})
        changed |= self._listen(now)
        if changed:
            self._say(now)
        self._save()

    # -- what it looks up ----------------------------------------------------------------------------------

    def _measure(self, ts: int) -> float | None:
        """The equity; the one known stands while nothing is held and nothing was traded."""
        portfolio = self._portfolio
        if portfolio is None or not portfolio.is_completely_net_flat() or (self._coins and self._coins()):
            self._settling = 2  # fees and funding of the last bar held may be booked after this
        elif self._settling == 0 and ts < self._refresh and self._equity is not None:
            return self._equity
        else:
            self._settling = max(0, self._settling - 1)
        self._refresh = ts + HOUR_NS
        self._equity = None if portfolio is None else self._marked(portfolio)
        return self._equity

    def _marked(self, portfolio: Portfolio) -> float | None:
        cash = portfolio.equity(self._venue).get(self._currency)
        # after a start, until a quote comes, the engine leaves out what it cannot value
        if cash is None or portfolio.missing_price_instruments(self._venue):
            return None
        if self._margined:
            return float(cash.as_double())
        if self._coins is not None:
            return float(cash.as_double()) + self._worth(self._coins())
        exposures = portfolio.net_exposures(self._venue)
        if exposures is None:
            return None
        coins = exposures.get(self._currency)
        return float(cash.as_double()) + (0.0 if coins is None else float(coins.as_double()))

    def _close_hour(self, now: int) -> bool:
        """Give the correlations the closes of the hour that is over; True when the clusters changed."""
        self._hour_ends = -(-now // HOUR_NS) * HOUR_NS
        if self._tracker is None:
            return False
        for name, kind in self._bar_types.items():
            for index in (1, 0):  # the hour's last bar, and one after it, which ends the hour
                bar = self.cache.bar(kind, index)
                if bar is not None:
                    units = 10.0**bar.close.precision
                    close = round(bar.close.as_double() * units) / units  # as_double() is an ulp off
                    self._tracker.update(bar.ts_event, name, close)
        return self._group()

    def _group(self) -> bool:
        return self._tracker is not None and self.risk.group(self._tracker.clusters(self._threshold))

    def _listen(self, now: int) -> bool:
        """Look for silent data; True when the word changed."""
        last = {}
        for name, kind in self._bar_types.items():
            bar = self.cache.bar(kind)
            since = self._since.get(name, self._started)
            last[name] = since if bar is None else max(bar.ts_event, since)
        changed, due = self.risk.listen(now, last, self._is_held)
        self._look_at = now if self.risk.is_anyone_silent else due or _NEVER
        return changed

    def count_coins(self, held: Callable[[], Mapping[str, float]]) -> None:
        """On a live spot venue: what is held, by instrument; after a restart the engine knows no position."""
        self._coins = held

    def _worth(self, coins: Mapping[str, float]) -> float:
        worth = 0.0
        for name, amount in coins.items():
            quote = self.cache.quote(self._bar_types[name].instrument_id)
            bar = self.cache.bar(self._bar_types[name])
            price = None if bar is None else bar.close
            price = price if quote is None else quote.bid_price
            worth += math.nan if price is None else amount * price.as_double()
        return worth

    def _is_held(self, instrument: str) -> bool:
        if self._coins is not None:
            return instrument in self._coins()
        kind = self._bar_types[instrument]
        return self._portfolio is not None and not self._portfolio.is_net_flat(kind.instrument_id)

    # -- what it says --------------------------------------------------------------------------------------

    def _say(self, ts: int, changed: bool = True) -> None:
        """Publish; what listeners bring about meanwhile is said afterwards, so that the last word is last."""
        if self._is_saying:
            self._unsaid = (ts, changed or (self._unsaid is not None and self._unsaid[1]))
            return
        self._is_saying = True
        self._said = ts = max(ts, self._said)  # live a timer may come late: words never go back in time
        try:
            if changed:
                self._record(ts)
            self.publish_message(RISK_MODE_TOPIC, self.risk.mode(ts))
        finally:
            self._is_saying = False
        if self._unsaid is not None:
            unsaid, self._unsaid = self._unsaid, None
            self._say(*unsaid)

    def _record(self, ts: int) -> None:
        self._audit(ts, self.risk.explain())
        if self.risk.is_halted:
            self._save()

    def _audit(self, ts: int, detail: dict[str, Any]) -> None:
        record = AuditRecord(
            ts_event=ts, component=self.component_name, instrument="", kind="risk", detail=detail
        )
        self.publish_message(AUDIT_TOPIC, record)

    def _save(self, *, waits: bool = True) -> None:
        if self._file is None or not (self.risk.has_news or self.unkept.is_on):
            return
        try:
            self._file.write(self.risk.memory, waits=waits)
        except RunFailedError as error:
            self._not_kept(error)
            return
        self.risk.has_news = False
        now = self.clock.timestamp_ns()
        if self.unkept.taken(now):
            self.clock.cancel_timer(_RETRY)
            self._say(now, self.risk.keep(is_kept=True))

    def _not_kept(self, error: RunFailedError) -> None:
        """Go on without: positions need what the guard says and hears more than the disk."""
        now = self.clock.timestamp_ns()
        if self.unkept.refused(str(error), now):
            alarm(self, f"nothing is entered until the state of risk can be written down: {error}")
            self.clock.set_timer_ns(_RETRY, RETRY_NS, None, None, self._on_retry)
            self._say(now, self.risk.keep(is_kept=False))

    @guarded
    def _on_retry(self, event: Any) -> None:
        del event
        self._save(waits=False)


def _length_ns(kind: BarType) -> int:
    return round(kind.spec.timedelta.total_seconds()) * 10**9
