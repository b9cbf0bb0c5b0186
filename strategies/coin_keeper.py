"""Looks after the coins of one live spot strategy: counts fills, covers what is held, sells, starts again.

What a position's keeper does on futures with unlinked orders is done here with one list at a time
(`strategies.coin_cover`): there is nothing reduce-only on spot, and what is on offer is locked.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from nautilus_trader.trading import Strategy

from actors.alarms import alarm
from strategies.coin_cover import Drop, Pair, Reason, Sell, StopAlone, Wanted, cover, least_lots
from strategies.coin_results import CoinResults
from strategies.holdings import CoinFill, Holdings
from strategies.journal import Journal
from strategies.open_trade import OpenTrade
from strategies.orders import EXIT, STOP, TARGET, OrderDesk
from strategies.protect import Place
from strategies.setup import StrategySetup

__all__ = ["CoinKeeper", "LeftOver"]

_OVERDUE_NS = 2_000_000_000
_FRESH_NS = 300_000_000
_AGAIN_NS = 12_000_000_000  # the engine learns in less what has become of an order, if none cancels it
_ACCOUNT_NS = 5_000_000_000
_SETTLED_NS = 3_000_000_000
_FORGIVEN_NS = 60_000_000_000
_LOCKED_NS = 1_000_000_000


class LeftOver(NamedTuple):
    """Coins of an open trade that a coarser step keeps from being sold or covered; `is_all`: all of them."""

    amount: float
    worth: float
    is_all: bool


class CoinKeeper:
    """One strategy's coins; `holdings` is the truth about what is held, `results` tells what trades with them
    have earned."""

    def __init__(
        self,
        strategy: Strategy,
        setup: StrategySetup,
        orders: OrderDesk,
        journal: Journal,
        holdings: Holdings,
    ) -> None:
        self.holdings = holdings
        self.results = _results(setup, holdings, self._mark)
        self._strategy = strategy
        self._setup = setup
        self._orders = orders
        self._journal = journal
        # the venue's own least, where an entry has to be worth more
        self._rules = setup.rules._replace(min_notional=_money(setup.instrument.min_notional))
        self._floor_price = math.nan
        self._adopted: set[str] = set()
        self._refused = 0
        self._refused_at = 0
        self._reason = Reason.FLAT
        self._since = 0
        self._changed_at = 0
        self._asked_at = 0
        self._gone_at = 0
        self._withdrawn: dict[str, int] = {}

    # -- what is held --------------------------------------------------------------------------------------

    def held_lots(self) -> int:
        """Lots of the open trade that the venue would take in an order, by its rules now or as planned.

        0 for dust. What only a step that has become coarser keeps from being sold is held, not dust: the
        trade goes on, and it is covered or sold when the venue's rules are the planned ones again.
        """
        lots = self._sellable
        if self.holdings.coins.opened == 0 or lots < self._planned_least():
            return 0
        return lots

    @property
    def left_over(self) -> LeftOver | None:
        """What no order offers and none could, by the venue's rules now; None without such, and for dust."""
        if not self._orders.has_new_grid or not self.held_lots():
            return None
        stop, lots = self._orders.leg(STOP), self.holdings.lots
        lots -= 0 if self._is_stuck else self._sellable
        if lots <= 0 or (stop is not None and stop.open_lots >= self.holdings.lots):
            return None
        amount = lots * self.holdings.step
        return LeftOver(float(amount), float(amount * self._mark()), self._is_stuck)

    @property
    def _is_stuck(self) -> bool:
        """Whether what is held is less than the venue takes now, and no dust by the planned rules."""
        return self._orders.has_new_grid and self._sellable < self._least() and self.held_lots() > 0

    @property
    def _sellable(self) -> int:
        """Lots in whole steps of the venue, which may have become coarser than a lot."""
        lots, orders = self.holdings.lots, self._orders
        if not orders.has_new_grid or lots < orders.least_lots:
            return lots
        return orders.lots(orders.quantity(lots))

    def _least(self) -> int:
        """The fewest lots that the venue takes now."""
        return max(self._orders.least_lots if self._orders.has_new_grid else 1, self._planned_least())

    def _planned_least(self) -> int:
        """By the plan's stop: what is sold there has to be taken, too."""
        price = self._floor_price
        if not price > 0.0:
            price = self._bid_price()
        return least_lots(self._rules, price) if price > 0.0 else 1

    def filled(self, event: Any) -> bool:
        """Count a fill; False for one that was counted before."""
        fee = event.commission
        fill = CoinFill(
            trade_id=str(event.trade_id),
            is_buy=bool(event.is_buy),
            quantity=event.last_qty.as_decimal(),
            price=event.last_px.as_decimal(),
            fee=Decimal(0) if fee is None else fee.as_decimal(),
            fee_asset="" if fee is None else str(fee.currency),
            ts=int(event.ts_event),
            order=str(event.venue_order_id),
        )
        self._changed_at = self._now()
        if not fill.trade_id.isdigit():
            self._asked_at = 0  # inferred: the balance was not told either
        return self.holdings.filled(fill, self._price_of(event))

    def price(self, event: Any) -> float:
        """What stands for the price of a fill that is not known."""
        return float(self._price_of(event))

    def _price_of(self, event: Any) -> Decimal:
        """A limit order's own price, else the bid, else what the coins have cost."""
        order: Any = self._strategy.cache.order(event.client_order_id)
        limit = getattr(order, "price", None)
        return self._mark() if limit is None else limit.as_decimal()

    def over(self) -> float:
        """The trade is over: what it has earned as far as is known (quote currency), dust at the market."""
        self._floor_price, self._refused = math.nan, 0
        return float(self.holdings.earned(self._mark()))

    # -- start ---------------------------------------------------------------------------------------------

    def catch_up(self) -> int:
        """Count own fills that happened while nobody was there; returns how many there were."""
        live = self._setup.live
        if live is None or live.coin_fills is None:
            return 0
        missed = live.coin_fills.missed(str(self._setup.instrument.id), self.holdings.coins.asked_after)
        return self.holdings.catch_up(missed, self._mark)

    def adopted(self, order_ids: Any) -> None:
        """These orders were found: they are sent anew, the engine may count their fills twice."""
        self._adopted |= set(order_ids)

    # -- cover ---------------------------------------------------------------------------------------------

    def match(self, opened: OpenTrade, *, may_sell: bool) -> None:
        """Bring the cover nearer to the plan; safe to call at any time."""
        stop = self._orders.on_grid(opened.plan.stop_ticks)
        rungs = [rung.ticks for rung in opened.rungs if rung.lots > 0]
        self._floor_price = self._orders.price(stop)
        wanted = Wanted(stop, rungs[0] if rungs else None, opened.exit_reason is not None, self._refused)
        self._step(wanted, may_sell=may_sell)

    def clear(self, *, sells: bool, may_sell: bool) -> None:
        """No trade: nothing may be left on offer, and nothing held."""
        if sells or self._orders.leg(STOP) is not None or self._orders.leg(TARGET) is not None:
            self._step(Wanted(0, None, leaving=True), may_sell=may_sell)

    def last_resort(self, opened: OpenTrade | None, distance: float) -> None:
        """After a failure: a stop for all coins by the shortest way, if nothing is on offer."""
        lots = self.held_lots()
        if lots < self._least():
            return
        if self._orders.leg(STOP) is not None or self._orders.leg(TARGET) is not None:
            return
        if opened is not None:
            ticks = opened.plan.stop_ticks
        else:
            price = self._orders.entry_price() or self._bid_price()
            ticks = math.floor(price * (1.0 - distance) * self._setup.ticks_per_unit)
        self._orders.place(Place(STOP, -1, lots, ticks))

    def gone(self) -> None:
        """An order was cancelled or has expired."""
        self._gone_at = self._now()

    def refused(self, *, is_cover: bool) -> None:
        """The venue has refused a sale: of a cover the next one asks for less, for a minute."""
        self._refused, self._refused_at = self._refused + is_cover, self._now()

    def _step(self, wanted: Wanted, *, may_sell: bool) -> None:
        now, bid = self._now(), self._bid_price()
        if self._is_locked(now):
            self._wait_for_lock(now)
            return
        # nothing could take the place of an order for less than the venue takes now
        is_patient = self._reason is not Reason.WAITING or self._is_stuck
        found = cover(
            self._sellable if self.holdings.coins.opened else 0,
            self._least(),
            wanted,
            self._leg(STOP),
            self._leg(TARGET),
            is_selling=self._orders.is_working(EXIT),
            bid_ticks=math.floor(bid * self._setup.ticks_per_unit + 1e-6) if may_sell and bid > 0.0 else None,
            is_fresh=now - self._gone_at < _FRESH_NS,
            is_overdue=not is_patient and now - self._since > _OVERDUE_NS,
        )
        if found.reason is not self._reason or found.step is not None:
            self._reason, self._since = found.reason, now
        if self._refused and now - self._refused_at > _FORGIVEN_NS:
            self._refused = 0
        self._carry_out(found.step)

    def _is_locked(self, now: int) -> bool:
        """Whether an order that is not the node's (a watchdog's) has the coins, as a refusal hints.

        The engine is not told of such an order; what the account has free says it.
        """
        orders = self._orders
        if not self._refused_at or now - self._refused_at > _FORGIVEN_NS or not self.held_lots():
            return False
        if any(orders.is_working(role) for role in (STOP, TARGET, EXIT)):
            return False
        account: Any = self._strategy.cache.account_for_venue(self._setup.instrument.id.venue)
        free: Any = None if account is None else account.balance_free(self._setup.instrument.base_currency)
        return free is not None and free.as_decimal() < self.held_lots() * self.holdings.step

    def _wait_for_lock(self, now: int) -> None:
        """More refusals would halt the node; what was refused is no reason to ask for less afterwards."""
        self._refused, self._refused_at = 0, now
        self._asked_at = min(self._asked_at, now - _ACCOUNT_NS + _LOCKED_NS)
        if self._reason is not Reason.LOCKED:
            self._reason, self._since = Reason.LOCKED, now
            text = f"{self.holdings.base} that are held are on offer by an order that is not the node's"
            alarm(self._strategy, text, instrument=str(self._setup.instrument.id))

    def _leg(self, role: str) -> Any:
        leg = self._orders.leg(role)
        if leg is None:
            return None
        if self._orders.has_new_grid and self._sellable < leg.open_lots <= self.holdings.lots:
            leg = leg._replace(open_lots=self._sellable)  # more than could be sent again: it stays
        return leg._replace(is_adopted=leg.order_id in self._adopted and self._orders.has_price)

    def _carry_out(self, step: Pair | StopAlone | Sell | Drop | None) -> None:
        orders = self._orders
        if isinstance(step, Pair):
            orders.send_pair(step.lots, step.stop_ticks, step.target_ticks)
        elif isinstance(step, StopAlone):
            orders.place(Place(STOP, -1, step.lots, step.stop_ticks))
        elif isinstance(step, Sell):
            orders.market(EXIT, -1, step.lots)
        elif step is not None:
            if not self._may_withdraw(step.order_id):
                return
            orders.withdraw(step.order_id)
        if step is not None:
            self._journal.action(
                "cover", step=type(step).__name__, reason=str(self._reason), **step._asdict()
            )

    def _may_withdraw(self, order_id: str) -> bool:
        """Whether to cancel it now: after a cancel the engine asks no more whether an order has arrived."""
        now, legs = self._now(), (self._orders.leg(STOP), self._orders.leg(TARGET))
        if any(leg is not None and leg.order_id == order_id and leg.settled for leg in legs):
            return True
        waited = now - self._withdrawn.setdefault(order_id, now)
        if waited >= _AGAIN_NS:
            self._withdrawn = {order_id: now}
        return waited >= _AGAIN_NS

    # -- again and again -----------------------------------------------------------------------------------

    def look(self) -> None:
        """On the timer: ask for the balances, and hold the book against them when all is quiet.

        Lost events are not found by the engine's own checks here. More than the account has cannot be held:
        then someone else has sold, and the book is set right with an alarm.
        """
        now = self._now()
        self.results.refresh(now)
        if now - self._asked_at >= _ACCOUNT_NS:
            self._asked_at = now
            account: Any = self._strategy.cache.account_for_venue(self._setup.instrument.id.venue)
            if account is not None:
                self._strategy.query_account(account.id)
                self._compare(account, now)

    def _compare(self, account: Any, now: int) -> None:
        if now - self._changed_at < _SETTLED_NS + _ACCOUNT_NS or self._orders.is_working(EXIT):
            return
        total = account.balance_total(self._setup.instrument.base_currency)
        missing = self.holdings.clip(Decimal(0) if total is None else total.as_decimal())
        if missing:
            text = f"{missing} {self.holdings.base} are gone that were bought here: the book is set right"
            alarm(self._strategy, text, instrument=str(self._setup.instrument.id))

    # -- market --------------------------------------------------------------------------------------------

    def _bid_price(self) -> float:
        quote: Any = self._strategy.cache.quote(self._setup.instrument.id)
        return math.nan if quote is None else float(quote.bid_price.as_double())

    def _mark(self) -> Decimal:
        bid = self._bid_price()
        if not math.isnan(bid):
            return Decimal(str(bid))
        return Decimal(str(self.holdings.average_price))

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())


def _results(setup: StrategySetup, holdings: Holdings, mark: Callable[[], Decimal]) -> CoinResults:
    source = None if setup.live is None else setup.live.coin_fills
    fetch = None if source is None else partial(source.of_orders, str(setup.instrument.id))
    return CoinResults(holdings, fetch, mark)


def _money(value: Any) -> float:
    return 0.0 if value is None else float(value.as_double())
