"""Whether a position at the venue is this program's: what the state remembers, as it may have become since.

While no node is alive a target or the stop makes it smaller, an entry under way larger. For anything else the
program's own orders since the trade began have to account; what they leave open is somebody else's.
A folder that never traded a symbol knows nothing of it: what is there with this program's names belongs to
a node with another folder, which may be alive.
"""

import re
from collections.abc import Iterable
from decimal import Decimal

from live.checks.report import Context, Remembered
from live.prepare import traded
from live.venue.answers import AlgoOrder, OpenOrder, Position
from live.watching.looking import OWN_PREFIX

__all__ = ["is_known", "stranger"]

# the live names of strategies/orders.py, behind the adapter's mark: strategy, time, number, role
_OWN_NAME = re.compile(r"(?:^|-)[A-Z]?\d{2}-[0-9a-z]{6,10}-\d+[EASBTX]\d+$", re.IGNORECASE)
_MS_NS = 1_000_000


def _is_own(order: OpenOrder | AlgoOrder) -> bool:
    """Whether an order has one of this program's names."""
    name = order.client_order_id if isinstance(order, OpenOrder) else order.client_algo_id
    return name.startswith(OWN_PREFIX) or _OWN_NAME.search(name) is not None


def is_known(context: Context, order: OpenOrder | AlgoOrder) -> bool:
    """Whether an order that waits was sent by a node with this folder."""
    return _is_own(order) and _has_traded(context, order.symbol)


def stranger(context: Context, position: Position) -> str:
    """What of a position nobody here can explain, in words; "" where all of it is this program's.

    Where the folder has traded the symbol and remembers no position, the newest order that opened it says
    whose it is.
    """
    told = f"{position.symbol} position {position.amount:f}"
    if position.symbol not in context.symbols:
        return told
    known = context.setup.expected.get(position.symbol)
    if known is not None and known.explains(position.amount):
        return ""
    opening = "BUY" if position.amount > 0 else "SELL"
    orders = context.client.recent_orders(position.symbol)
    opened = [o for o in orders if o.side == opening and o.executed and not o.reduce_only]
    if known is None:
        is_ours = _has_traded(context, position.symbol) and bool(opened)
        is_ours = is_ours and _is_own(max(opened, key=lambda o: (o.update_time, o.order_id)))
        return "" if is_ours else told
    explained = _own_since(opened, known.since_ns)
    return "" if explained >= abs(position.amount) else f"{told} ({_at_most(known, explained)})"


def _has_traded(context: Context, symbol: str) -> bool:
    setup = context.setup
    return symbol in setup.expected or symbol in traded(setup.run, setup.folder)


def _own_since(opened: Iterable[OpenOrder], since_ns: int) -> Decimal:
    """How much this program's own orders have opened since a time."""
    own = (o.executed for o in opened if _is_own(o) and (o.update_time + 1) * _MS_NS >= since_ns)
    return sum(own, Decimal(0))


def _at_most(known: Remembered, explained: Decimal) -> str:
    side = "long" if known.side > 0 else "short"
    size = "" if known.most is None else f" of at most {max(known.most, explained):f}"
    return f"the state remembers a {side} one{size}"
