"""The stop at a real venue: one that closes the whole position, moved without a moment unprotected. Pure.

The venue's closing stop covers the position whatever its size, but it cannot be changed, and a second one of
the same direction is refused. So it is moved over a bridge: a reduce-only stop of the position's size at the
new level; when the venue has accepted that, the old closing stop is cancelled, the new one is placed, and the
bridge goes when that is accepted. At every moment one of them works. An answer that does not come holds up
no move: another order takes the place, the one passed over goes as soon as it is heard of.
"""

from strategies.protect import Cancel, Place, Step, WorkingOrder

__all__ = ["BRIDGE", "match_stop"]

BRIDGE = "bridge"


def match_stop(
    quantity_lots: int,
    stop_ticks: int,
    closing: WorkingOrder | None,
    bridge: WorkingOrder | None,
    *,
    is_overdue: bool = False,
) -> tuple[Step, ...]:
    """The next steps towards one closing stop at `stop_ticks` for a signed position of `quantity_lots`.

    Idempotent: asked again before the venue has answered, it asks for nothing twice. A position without a
    plan (`stop_ticks` 0) keeps what it has; what protects nothing is cancelled. `is_overdue`: the closing
    stop's answer should have come long ago, so a bridge stands in until it does.
    """
    if quantity_lots == 0:
        return tuple(Cancel(o.order_id) for o in (closing, bridge) if o is not None and o.settled)
    if stop_ticks == 0:
        return ()
    exit_side, size = (-1 if quantity_lots > 0 else 1), abs(quantity_lots)
    if closing is None:
        return (Place("stop", exit_side, size, stop_ticks),)
    if bridge is None:
        is_wanted = is_overdue if not closing.settled else closing.ticks != stop_ticks
        return (Place(BRIDGE, exit_side, size, stop_ticks),) if is_wanted else ()
    return _over(closing, bridge, size, stop_ticks)


def _over(closing: WorkingOrder, bridge: WorkingOrder, size: int, stop_ticks: int) -> tuple[Step, ...]:
    """While both are there: which of them goes."""
    if not (closing.settled and bridge.settled):
        return ()
    is_there = closing.ticks == stop_ticks or bridge.open_lots < size
    return (Cancel(bridge.order_id if is_there else closing.order_id),)
