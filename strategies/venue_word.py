"""What the venue itself says is held and waits, against what the engine believes: the last line.

The engine can be wrong for many seconds: a fill or a closed stop that it never heard of, an order number that
it takes for another's, a rest smaller than the venue's newest step, which it rounds away, a position of which
only the closing fill was found. The venue's own answer, asked over REST (`live.sweeper`), is right. What it
says twice in a row is acted on: a stop that is gone is sent again, a position that nobody knows of gets one,
a rest that no plan can reach is closed, and for a position that is not there nothing is sent any more. The
last takes three seconds to the second question, as answers may be old ones, unless the venue refuses to close
it; and its stop stays until the engine is flat, too.
"""

from collections.abc import Collection

from nautilus_trader.model import ClientOrderId, OrderStatus
from nautilus_trader.trading import Strategy

from actors.alarms import alarm
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.orders import ADD, ENTRY, EXIT, STOP, OrderDesk
from strategies.refusals import error_code
from strategies.venue_stop import BRIDGE

__all__ = ["VenueWord"]

_NOTHING_TO_CLOSE = (-2022, -4118, -4509)
_PATIENCE_NS = 5_000_000_000
_SURE_NS = 3_000_000_000
_DUST = 1e-9


class VenueWord:
    """Compares, answer by answer; what differs may be news on its way, so it counts from the second time.

    `is_wanted` asks for the next answer soon.
    """

    def __init__(
        self, strategy: Strategy, instrument: str, orders: OrderDesk, journal: Journal, keeper: TradeKeeper
    ) -> None:
        self._strategy = strategy
        self._instrument = instrument
        self._orders = orders
        self._journal = journal
        self._keeper = keeper
        self.is_wanted = False
        self._said: tuple[int, float] | None = None
        self._answer: tuple[float, Collection[str]] | None = None
        self._asked_at = 0
        self._missing = ""
        self._times_unheard = 0
        self._differed: tuple[int, float] | None = None
        self._differs_since = 0
        self._presumed_at: int | None = None
        self._withheld: list[tuple[str, str]] = []
        self._withheld_at = 0

    @property
    def amount(self) -> float | None:
        """What the venue holds where the engine says something else; None where they agree."""
        if self._said is None or self._keeper.believed_lots() != self._said[0]:
            return None
        return self._said[1]

    def heard(self, amount: float, waiting: Collection[str], asked_at: int | None = None) -> None:
        """The venue holds `amount` (signed) and the orders `waiting` (client ids); noted for `act`.

        `asked_at` is when it was asked (ns UTC; None: just now).
        """
        self._answer, self._asked_at = (amount, waiting), self._now() if asked_at is None else asked_at

    def act(self) -> None:
        """Do what the newest answer asks for, once."""
        if self._answer is None:
            self._wait_no_longer()
            return
        (amount, waiting), self._answer = self._answer, None
        self._compare(amount)
        held = self._keeper.held_lots()
        is_stop_missing = self._find_stop(amount, held or self._keeper.unheard, waiting)
        is_position_missing = self._find_position(amount, held)
        self.is_wanted = is_position_missing or is_stop_missing or bool(self._withheld)

    # -- what the engine believes too much -----------------------------------------------------------------

    def presume_over(self) -> None:
        """The engine's position is the mirror of one that was closed: at the venue there is none.

        At a start the engine can find, or be told of, the closing fill and nothing that it could close. What
        it makes of that counts as none until the venue has been asked.
        """
        self._keeper.ghost.see(self._keeper.believed_lots(), 0)
        self._presumed_at, self.is_wanted = self._now(), True

    def withholds(self, role: str, reason: str) -> bool:
        """Whether a refusal may say no more than that there is nothing to close: the next answers tell."""
        if role in (ENTRY, ADD) or error_code(reason) not in _NOTHING_TO_CLOSE:
            return False
        if not self._withheld:
            self._withheld_at = self._now()
        self._withheld.append((role, reason))
        self.is_wanted = True
        return True

    def _compare(self, amount: float) -> None:
        """What the engine believes too much, or cannot count in its steps, is what the venue says."""
        keeper, orders = self._keeper, self._orders
        if self._presumed_at is not None and self._asked_at < self._presumed_at:
            return  # it may tell of what was held before
        believed = keeper.believed_lots()
        is_sure = self._is_sure(believed, amount)
        if believed == 0 and amount == 0.0:
            self._withheld.clear()
            keeper.left = None
        elif amount != 0.0:
            self._count_withheld()
        differs = believed != 0 and (amount == 0.0 or orders.is_rounded(amount, believed))
        if not differs:
            self._trust_engine()
        elif is_sure:
            self._trust_venue(believed, amount)

    def _is_sure(self, believed: int, amount: float) -> bool:
        """Whether that is no news on its way: heard before, and for long, refused, or presumed."""
        was, self._differed = self._differed, (believed, amount)
        is_presumed, self._presumed_at = self._presumed_at is not None, None
        if was != self._differed:
            self._differs_since = self._now()
            return is_presumed
        return bool(self._withheld) or self._asked_at - self._differs_since >= _SURE_NS

    def _trust_venue(self, believed: int, amount: float) -> None:
        keeper, lots = self._keeper, self._orders.lots(amount)
        if amount == 0.0:
            self._withheld.clear()
        held = lots if lots or amount == 0.0 else believed
        is_known = self._said == (believed, amount) and keeper.held_lots() == held
        self._said = believed, amount
        if is_known:
            return
        size = self._orders.size(believed)
        self._journal.action("disbelieve", quantity=size, held=amount)
        if amount == 0.0:
            text = f"the engine takes {size:g} for held and the venue is flat: nothing is sent for it"
            alarm(self._strategy, text, instrument=self._instrument, believed=size)
        if held != believed:
            keeper.ghost.see(believed, held)
            keeper.protect()

    def _trust_engine(self) -> None:
        self._said = None
        if self._keeper.ghost.is_seen:
            self._keeper.ghost.forget()
            self._keeper.protect()

    def _wait_no_longer(self) -> None:
        """The venue cannot be asked: what was put off for its answer is not put off for ever."""
        now = self._now()
        if self._withheld and now - self._withheld_at > _PATIENCE_NS:
            self._count_withheld()
        if self._presumed_at is not None and now - self._presumed_at > _PATIENCE_NS:
            self._presumed_at = None
            self._trust_engine()

    def _count_withheld(self) -> None:
        counted, self._withheld = self._withheld, []
        for role, reason in counted:
            self._journal.order_refused(role, reason)

    def _now(self) -> int:
        return int(self._strategy.clock.timestamp_ns())

    # -- what the engine does not know of ------------------------------------------------------------------

    def _find_stop(self, amount: float, held: int, waiting: Collection[str]) -> bool:
        """The stop that the engine takes for working must wait at the venue."""
        role, order_id = self._cover()
        was_missing, self._missing = self._missing, ""
        if not order_id or order_id in waiting:
            return False
        self._missing = order_id
        if amount * held <= 0.0 or was_missing != order_id:
            return held != 0
        self._missing = ""
        text = f"the {role} {order_id} does not work at the venue: another is sent"
        alarm(self._strategy, text, instrument=self._instrument, order=order_id)
        self._orders.pass_over(role)
        self._keeper.protect()
        return True

    def _cover(self) -> tuple[str, str]:
        """Which order the position relies on, by role and id; one that fires just now is none to look for."""
        for role, order in ((STOP, self._orders.stop()), (BRIDGE, self._orders.bridge())):
            if order is not None and order.settled:
                found = self._strategy.cache.order(ClientOrderId(order.order_id))
                is_firing = (
                    found is not None
                    and found.status == OrderStatus.TRIGGERED
                    and self._now() - found.ts_last <= _PATIENCE_NS  # what it set off may have been refused
                )
                return ("", "") if is_firing else (role, order.order_id)
        return "", ""

    def _find_position(self, amount: float, held: int) -> bool:
        keeper = self._keeper
        if amount == 0.0 or held != 0:
            self._times_unheard = 0
            if keeper.unheard:
                keeper.unheard = 0
                keeper.protect()
            return False
        self._times_unheard += 1
        if self._times_unheard < 2:
            return True
        side = 1 if amount > 0.0 else -1
        if not keeper.unheard:
            text = f"the venue holds {amount:g} that the engine does not know of: a stop is sent"
            alarm(self._strategy, text, instrument=self._instrument, amount=amount)
        keeper.unheard = side * max(1, abs(self._orders.lots(amount)))
        keeper.protect()
        if self._orders.is_crumb(amount):
            self._close_crumb(amount, side)
        return True

    def _close_crumb(self, amount: float, side: int) -> None:
        """Reduce-only, so of the smallest order just what is held is closed."""
        orders, entry = self._orders, self._keeper.entry
        if entry.pending is None and orders.has_price and not orders.is_working(EXIT):
            self._journal.action("close_crumb", quantity=amount)
            orders.market(EXIT, -side, orders.least_lots)
