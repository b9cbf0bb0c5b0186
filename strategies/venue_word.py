"""What the venue itself says is held and waits, against what the engine believes: the last line.

The engine can be wrong for many seconds: a fill or a closed stop that it never heard of, an order number that
it takes for another's, a rest smaller than the venue's newest step, which it rounds away. The venue's own
answer, asked over REST (`live.sweeper`), is right. What it says twice in a row is acted on: a stop that is
gone is sent again, a position that nobody knows of gets one, and a rest that no plan can reach is closed.
"""

from collections.abc import Collection

from nautilus_trader.model import ClientOrderId, OrderStatus
from nautilus_trader.trading import Strategy

from actors.alarms import alarm
from strategies.journal import Journal
from strategies.keeper import TradeKeeper
from strategies.orders import EXIT, STOP, OrderDesk
from strategies.venue_stop import BRIDGE

__all__ = ["VenueWord"]


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
        self._answer: tuple[float, Collection[str]] | None = None
        self._missing = ""
        self._times_unheard = 0

    def heard(self, amount: float, waiting: Collection[str]) -> None:
        """The venue holds `amount` (signed) and the orders `waiting` (client ids); noted for `act`."""
        self._answer = (amount, waiting)

    def act(self) -> None:
        """Do what the newest answer asks for, once."""
        if self._answer is None:
            return
        (amount, waiting), self._answer = self._answer, None
        held = self._keeper.held_lots()
        is_stop_missing = self._find_stop(amount, held or self._keeper.unheard, waiting)
        self.is_wanted = self._find_position(amount, held) or is_stop_missing

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
                is_firing = found is not None and found.status == OrderStatus.TRIGGERED
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
