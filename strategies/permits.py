"""New risk is asked for here: the account as it is now, the guard's word, the checks and the size.

Nothing in here knows an order; what comes out is `Approved` or `Refused`, and only the first can be sent.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from nautilus_trader.trading import Strategy

from actors.messages import RiskMode
from models.regime import Regime
from strategies.book import AccountReader, Costs
from strategies.checks import authorise
from strategies.risk import assess, assess_add
from strategies.setup import StrategySetup
from strategies.stops import stop_distance
from strategies.trade import entries_closed
from strategies.values import Account, Approved, Headroom, Intent, Refused, RiskView

__all__ = ["Gate", "Permits"]

_VOLATILITY = "realized_volatility_20"


class Gate(Protocol):
    """What a live node may have against an entry beside the account's limits."""

    def refuses(self) -> Refused | None:
        """Why no entry may be sent now; None when one may."""

    @property
    def is_paused(self) -> bool:
        """Whether an entry that rests has to go."""


class Permits:
    """One strategy's questions to the account's limits. `mode` is the guard's newest word, None before.

    `gate` is the live node's own, None in a backtest.
    """

    def __init__(self, strategy: Strategy, setup: StrategySetup) -> None:
        self.mode: RiskMode | None = None
        self.gate: Gate | None = None
        self._strategy = strategy
        self._setup = setup
        self._id = setup.instrument.id
        self._instrument = str(setup.instrument.id)
        self._last_intent = setup.last_intent
        self._reader = AccountReader(
            strategy,
            setup.under_way,
            venue=setup.instrument.id.venue,
            currency=setup.instrument.quote_currency,
            margined=setup.margined,
            leverage=setup.leverage,
            costs=Costs(setup.limits.entry_cost, setup.limits.exit_cost),
            coins=None if setup.live is None else setup.live.coins,
        )

    @property
    def last_intent(self) -> tuple[int, int] | None:
        """Time (ns UTC) and side of the last entry that was permitted."""
        return self._last_intent

    def remember(self, last_intent: tuple[int, int] | None) -> None:
        """Go on after a restart: an entry of then, or before, is not permitted again."""
        known = self._last_intent
        if last_intent is not None and (known is None or last_intent[0] > known[0]):
            self._last_intent = last_intent

    def hear(self, message: RiskMode) -> bool:
        """Keep the guard's newest word; False for one that is older than the one known."""
        if self.mode is not None and message.ts_event < self.mode.ts_event:
            return False
        self.mode = message
        return True

    def entry(
        self,
        intent: Intent,
        *,
        ts_event: int,
        close: float,
        price: float,
        features: Mapping[str, float],
        regime: Regime | None,
    ) -> Approved | Refused:
        """Whether and how large to enter at `price`; `close` is that of the bar it was decided on."""
        setup = self._setup
        if intent.side < 0 and not setup.allow_short:
            return Refused("allow_short", 0.0, float(intent.side))
        if entries_closed(ts_event, setup.plan):
            return Refused("session", 0.0, 1.0)
        account, headroom = self._authorise(intent, ts_event, close, price, adding=False)
        if isinstance(headroom, Refused):
            return headroom
        verdict = assess(
            intent,
            price=price,
            stop_distance=stop_distance(setup.stop, intent.side, features, intent.stop_scale),
            target_distance=setup.ladder[0][0] if setup.ladder else None,
            account=account,
            limits=setup.limits,
            rules=setup.rules,
            headroom=headroom,
            volatility=features.get(_VOLATILITY, math.nan),
            regime=regime,
        )
        if isinstance(verdict, Approved):
            self._last_intent = (ts_event, intent.side)
        return verdict

    def more(
        self,
        intent: Intent,
        quantity: float,
        *,
        ts_event: int,
        close: float,
        stop_price: float,
        mode_at_entry: float,
        adding: bool,
    ) -> Approved | Refused:
        """Whether `quantity` may be bought or sold at the market for a trade that was approved before.

        A scale-in of an open position (`adding`), or what is left of an entry.
        """
        setup = self._setup
        if entries_closed(ts_event, setup.plan):
            return Refused("session", 0.0, 1.0)
        account, headroom = self._authorise(intent, ts_event, close, close, adding=adding)
        if isinstance(headroom, Refused):
            return headroom
        return assess_add(
            intent.side,
            quantity,
            price=close,
            stop_distance=intent.side * (close - stop_price) / close,
            account=account,
            limits=setup.limits,
            rules=setup.rules,
            headroom=headroom,
            mode_at_entry=mode_at_entry,
        )

    def barred(self) -> Refused | None:
        """What the live node has against sending or moving an entry now; None in a backtest."""
        return None if self.gate is None else self.gate.refuses()

    def may_rest(self, ts_event: int) -> bool:
        """Whether an entry that rests may go on resting: under what would forbid it anew it may not."""
        mode, setup = self.mode, self._setup
        return (
            getattr(self._strategy, "failure", None) is None
            and (self.gate is None or not self.gate.is_paused)
            and mode is not None
            and self._age_ns(mode) <= setup.risk.mode_max_age
            and mode.lets_rest
            and self._instrument not in mode.blocked
            and not entries_closed(ts_event, setup.plan)
        )

    def _authorise(
        self, intent: Intent, ts_event: int, close: float, price: float, *, adding: bool
    ) -> tuple[Account, Headroom | Refused]:
        account, book = self._reader.read(self._near())
        if getattr(self._strategy, "failure", None) is not None:
            return account, Refused("failure", 0.0, 1.0)
        barred = self.barred()
        if barred is not None:
            return account, barred
        answer = authorise(
            intent,
            instrument=self._instrument,
            ts_event=ts_event,
            price=price,
            last_price=self._last_price(close),
            account=account,
            book=book,
            mode=self._view(ts_event),
            limits=self._setup.risk,
            last_intent=None if adding else self._last_intent,
            adding=adding,
        )
        return account, answer

    def _near(self) -> tuple[str, ...]:
        """The instruments whose risk counts for this one's entry."""
        return (self._instrument, *(() if self.mode is None else self._cluster(self.mode)))

    def _cluster(self, mode: RiskMode) -> tuple[str, ...]:
        return next((c for c in mode.clusters if self._instrument in c), ())

    def _last_price(self, close: float) -> float:
        """The middle of the last quote, or the close where there are no quotes."""
        quote: Any = self._strategy.cache.quote(self._id)
        return close if quote is None else (quote.bid_price.as_double() + quote.ask_price.as_double()) / 2.0

    def _age_ns(self, mode: RiskMode) -> int:
        """How old the guard's word is, on the clock that it was said by: a rehearsal's market runs ahead."""
        return int(self._strategy.clock.timestamp_ns()) - mode.ts_event

    def _view(self, ts_event: int) -> RiskView | None:
        mode = self.mode
        if mode is None:
            return None
        cluster = self._cluster(mode)
        blocked = mode.blocked.get(self._instrument)
        said = ts_event - self._age_ns(mode)
        return RiskView(said, str(mode.mode), mode.multiplier, blocked, cluster, mode.reasons)
