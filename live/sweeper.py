"""Orders of ours that wait at the venue without the engine knowing: found over REST, and cancelled.

The engine comes to believe that an order is gone when cancelling it was not answered, it is not told at a
start of a closing stop without a position, and an order whose sending was given up may be taken all the same.
Such a stop closes the next position at a level that nobody wants, and forbids it a stop of its own (-4130).
The venue is asked at the start, from time to time, and at once when anything hints at such an order.

With the same answers the account is compared: while positions or the wallet differ from what the engine takes
them for, and while the account's own stream seems to be dead, nothing is entered.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from typing import Any, NamedTuple

from nautilus_trader.adapters.binance import decode_binance_futures_client_order_id
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import AccountId, ActorId, OrderStatus, Venue

from actors.alarms import alarm
from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, ORDER_TOPIC, AuditRecord, OrderTold
from catalog.instruments import symbol_of
from live.agreement import Agreement
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from strategies.base import TradingStrategy
from strategies.lost_orders import Hearing

__all__ = ["Sweeper"]

_LOOK_NS = 200_000_000
_SOON_NS = 100_000_000
_OFTEN_NS = 15_000_000_000
_AGAIN_NS = 1_000_000_000
_UNANSWERED_NS = 2_000_000_000
_RECOVERY_NS = 5_000_000_000
_OURS = re.compile(r"\w+-[0-9a-z]+-\d+[EASBTX]\d+")
_STOP = re.compile(r".*[SB]\d+")
_KNOWN_STOP = ("-4130", "-4116")
_ACCOUNT = AccountId("BINANCE-001")
_VENUE = Venue("BINANCE")
_USER_STREAM = "user-streams"
_DEAF, _AT_ODDS = "user_stream", "account_differs"
_GUESSES = ("OrderCanceled", "OrderRejected", "OrderExpired")
_TELLING = ("OrderAccepted", "OrderFilled")  # of those that are no guess only the stream tells
_DUST = 1e-9
_CENT = Decimal("0.01")


class _Waiting(NamedTuple):
    """An order that waits at the venue; `number` is its algoId if `is_algo`, else its orderId."""

    symbol: str
    client_id: str
    number: int
    is_algo: bool


class _Found(NamedTuple):
    """What the venue has: orders that wait, the amounts held by symbol, and the wallet by asset."""

    waiting: list[_Waiting]
    held: dict[str, Decimal]
    wallet: dict[str, Decimal]


@fail_loud
class Sweeper(DataActor):
    """Cancels what is left of ours, by its own number; an order of anybody else is never touched.

    Of a position that has no stop of its own yet nothing is taken away that may protect it, unless the venue
    has refused the stop because of what is there.
    """

    component_name = "sweeper"

    def __new__(cls, *_: object, **__: object) -> "Sweeper":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("SWEEPER-001")))  # type: ignore[call-arg]

    def __init__(self, strategies: Callable[[], Sequence[TradingStrategy]], client: VenueClient) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("SWEEPER-001")))
        self.failure: BaseException | None = None
        self._strategies = strategies
        self._client = client
        self._pool = ThreadPoolExecutor(1, "sweeper")
        self._asked: Future[_Found | None] | None = None
        self._held: dict[str, Decimal] = {}
        self._known: set[str] = set()
        self._begun = 0
        self._due = 0
        self._clean_since = -1
        self._wanted = 0
        self._in_the_way: set[str] = set()
        self._accounted = 0
        self._hearing = Hearing()
        self._agreement = Agreement()
        self._wallet: Decimal | None = None
        self._heard_at = self._changed_at = 0

    def on_start(self) -> None:
        """Look at once, then again and again."""
        self._changed_at = self._now()  # at a start, too, everything is asked for
        self.subscribe_topic(AUDIT_TOPIC, self._on_audit)
        self.subscribe_topic(ORDER_TOPIC, self._on_order)
        self.clock.set_timer_ns("sweep", _LOOK_NS, None, None, self._on_look)

    def on_stop(self) -> None:
        """Ask nothing more."""
        self.clock.cancel_timer("sweep")
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self) -> None:
        """Look again; `is_clean` tells when that has been done."""
        self._wanted = self._now()
        self._due = min(self._due, self._wanted)

    @property
    def is_clean(self) -> bool:
        """Whether a look that began after the last `ask` or hint has found nothing."""
        return self._clean_since >= self._wanted

    @property
    def left_over(self) -> dict[str, Decimal]:
        """What the newest look has found held of instruments whose strategies take themselves for flat.

        A step that the venue has made coarser leaves such a rest: the engine counts in whole steps.
        """
        flat = {symbol_of(str(s.instrument.id)) for s in self._strategies() if not s.is_holding}
        return {symbol: amount for symbol, amount in self._held.items() if symbol in flat}

    @guarded
    def _on_audit(self, message: object) -> None:
        if not isinstance(message, AuditRecord) or message.kind not in ("order", "trade", "node"):
            return
        detail = message.detail
        is_in_the_way = any(code in str(detail.get("reason", "")) for code in _KNOWN_STOP)
        if is_in_the_way:
            self._in_the_way.add(symbol_of(message.instrument))
        if _USER_STREAM in str(detail.get("endpoint", "")) and detail.get("what") != "connected":
            self._changed_at = self._now()
            self._hear()
        if is_in_the_way or detail.get("what") in ("closed", "reconnected"):
            self._wanted = self._now()
            self._due = min(self._due, self._wanted + _SOON_NS)

    @guarded
    def _on_order(self, message: object) -> None:
        """Everything about an order; `reconciliation`: not told by the venue, but found by asking."""
        if not isinstance(message, OrderTold):
            raise TypeError(f"the order topic carries OrderTold only, got {type(message).__name__}")
        event, name = message.event, type(message.event).__name__
        if not getattr(event, "reconciliation", False):
            if name in _TELLING:
                self._hear()
            return
        self._miss(str(event.client_order_id))
        if name in _GUESSES:
            self._wanted = self._now()
            self._due = min(self._due, self._wanted + _SOON_NS)

    def _hear(self) -> None:
        self._heard_at = self._now()
        if self._hearing.heard():
            for strategy in self._strategies():
                strategy.lift(_DEAF)

    def _miss(self, what: str) -> None:
        now = self._now()
        if now - self._changed_at < _RECOVERY_NS:
            return  # the adapter asks for everything when the stream has come again
        secs = self._hearing.asked(what, now)
        if secs is not None:
            for strategy in self._strategies():
                strategy.pause(_DEAF, secs)
            text = f"the venue does not tell this account's news: no entries for {secs:g} s"
            alarm(self, text, pause_secs=secs)

    @guarded
    def _on_look(self, event: Any) -> None:
        del event
        now = self._now()
        if self._asked is not None:
            if self._asked.done():
                asked, self._asked = self._asked, None  # first: what it raises is raised once
                self._judge(asked.result())
        elif now >= self._due or (self._is_stuck(now) and now - self._begun >= _AGAIN_NS):
            self._known, self._begun, self._due = self._known_ids(), now, now + _OFTEN_NS
            symbols = [symbol_of(str(strategy.instrument.id)) for strategy in self._strategies()]
            self._wallet = self._cash()
            self._asked = self._pool.submit(_waiting, self._client, symbols)
            self._ask_account(now)

    def _ask_account(self, now: int) -> None:
        """The balance too: the venue tells it only with changes, and that may have been lost."""
        strategies = self._strategies()
        if strategies and now - self._accounted >= _AGAIN_NS:
            self._accounted = now
            strategies[0].query_account(_ACCOUNT)

    def _judge(self, found: _Found | None) -> None:
        if found is None:
            self._due = self._now() + _AGAIN_NS
            return
        waiting, self._held, _ = found
        self._compare(found)
        for strategy in self._strategies():
            symbol = symbol_of(str(strategy.instrument.id))
            ids = {order.client_id for order in waiting if order.symbol == symbol}
            strategy.venue_has(float(self._held.get(symbol, 0)), ids, self._begun)
        known = self._known | self._known_ids()
        ours = [order for order in waiting if _OURS.fullmatch(order.client_id)]
        left = [order for order in ours if order.client_id not in known]
        gone = [order for order in left if self._may_go(order)]
        if not left:
            self._clean_since = self._begun
            self._in_the_way.clear()
            return
        self._due = self._now() + (_SOON_NS if gone else _AGAIN_NS)
        for order in gone:
            text = f"{order.client_id} waits at the venue and is not known any more: cancelled"
            alarm(self, text, instrument=order.symbol, number=order.number)
            self._pool.submit(_cancel, self._client, order)

    def _cash(self) -> Decimal | None:
        """What the engine takes the wallet for."""
        account: Any = self.cache.account_for_venue(_VENUE)
        strategies = self._strategies()
        if account is None or not strategies:
            return None
        money = account.balance_total(strategies[0].instrument.quote_currency)
        return None if money is None else money.as_decimal()

    def _compare(self, found: _Found) -> None:
        """Positions and wallet with the engine's; its own balance is asked for with each look as well."""
        strategies, cash = self._strategies(), self._cash()
        differs = [
            str(s.instrument.id)
            for s in strategies
            if abs(self._net(s) - float(found.held.get(symbol_of(str(s.instrument.id)), 0))) > _DUST
        ]
        wallet = found.wallet.get(str(strategies[0].instrument.quote_currency)) if strategies else None
        if wallet is not None and cash is not None and self._wallet is not None:
            was_told = abs(wallet - self._wallet) < _CENT
            if not was_told and self._heard_at < self._begun:
                self._miss(f"wallet {wallet}")
            if not was_told and abs(wallet - cash) >= _CENT:
                differs.append("wallet")
        for name in self._agreement.look(differs):
            text = f"{name}: the venue has another than the engine: nothing is entered until they agree"
            alarm(self, text, instrument="" if name == "wallet" else name)
        for strategy in strategies:
            if self._agreement.at_odds:
                strategy.pause(_AT_ODDS)
            else:
                strategy.lift(_AT_ODDS)

    def _net(self, strategy: TradingStrategy) -> float:
        positions = self.cache.positions_open(instrument_id=strategy.instrument.id)
        return float(sum(position.signed_qty for position in positions))

    def _may_go(self, order: _Waiting) -> bool:
        owners = (s for s in self._strategies() if symbol_of(str(s.instrument.id)) == order.symbol)
        owner = next(owners, None)
        if owner is None:  # it has left the node since the venue was asked
            return False
        is_stop = _STOP.fullmatch(order.client_id) is not None
        return not (is_stop and owner.is_holding and not owner.is_quiet) or order.symbol in self._in_the_way

    def _known_ids(self) -> set[str]:
        """What the engine takes for working; not what it waits for the cancel of for too long already."""
        now = self._now()
        return {
            str(order.client_order_id)
            for order in (*self.cache.orders_open(), *self.cache.orders_inflight())
            if not _is_unanswered(order, now)
        }

    def _is_stuck(self, now: int) -> bool:
        is_late = any(now - order.ts_last > _UNANSWERED_NS for order in self.cache.orders_inflight())
        is_wanted = any(strategy.wants_venue for strategy in self._strategies())
        return is_late or is_wanted or self._agreement.is_doubtful

    def _now(self) -> int:
        return int(self.clock.timestamp_ns())


def _is_unanswered(order: Any, now: int) -> bool:
    """Whether a cancel has been under way for so long that its answer must be lost."""
    return bool(order.status == OrderStatus.PENDING_CANCEL and now - order.ts_last > _UNANSWERED_NS)


def _waiting(client: VenueClient, symbols: Sequence[str]) -> _Found | None:
    """What waits and what is held at the venue; None when it cannot be asked."""
    found = []
    decode = decode_binance_futures_client_order_id
    try:
        for symbol in symbols:
            for algo in client.open_algo_orders(symbol):
                found.append(_Waiting(symbol, decode(algo.client_algo_id), algo.algo_id, is_algo=True))
            for order in client.open_orders(symbol):
                found.append(_Waiting(symbol, decode(order.client_order_id), order.order_id, is_algo=False))
        held = {position.symbol: position.amount for position in client.positions()}
        wallet = {balance.asset: balance.wallet_balance for balance in client.balances().assets}
    except VenueRequestError:
        return None
    return _Found(found, held, wallet)


def _cancel(client: VenueClient, order: _Waiting) -> None:
    """Cancel it; whether that worked shows with the next look."""
    try:
        if order.is_algo:
            client.cancel_algo(order.symbol, order.number)
        else:
            client.cancel(order.symbol, order.number)
    except VenueRequestError:
        return
