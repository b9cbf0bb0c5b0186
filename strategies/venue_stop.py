"""The stop at a real venue: one that closes the whole position, moved without a moment unprotected. Pure.

The venue's closing stop covers the position whatever its size, but it cannot be changed, and a second one of
the same direction is refused. So it is moved over a bridge: a reduce-only stop of the position's size at the
new level; when the venue has accepted that, the old closing stop is cancelled, the new one is placed, and the
bridge goes when that is accepted. At every moment one of them works.
"""

from strategies.protect import Cancel, Place, Step, WorkingOrder

__all__ = ["BRIDGE", "match_stop"]

BRIDGE = "bridge"


def match_stop(
    quantity_lots: int, stop_ticks: int, closing: WorkingOrder | None, bridge: WorkingOrder | None
) -> tuple[Step, ...]:
    """The next steps towards one closing stop at `stop_ticks` for a signed position of `quantity_lots`.

    Idempotent: asked again before the venue has answered, it asks for nothing twice. A position without a
    plan (`stop_ticks` 0) keeps what it has; what protects nothing is cancelled.
    """
    if quantity_lots == 0:
        return tuple(
            Cancel(order.order_id) for order in (closing, bridge) if order is not None and order.settled
        )
    if stop_ticks == 0:
        return ()
    exit_side, size = (-1 if quantity_lots > 0 else 1), abs(quantity_lots)
    if closing is None:
        return (Place("stop", exit_side, size, stop_ticks),)
    if not closing.settled:
        return ()
    if closing.ticks == stop_ticks:
        return (Cancel(bridge.order_id),) if bridge is not None and bridge.settled else ()
    if bridge is None:
        return (Place(BRIDGE, exit_side, size, stop_ticks),)
    if not bridge.settled:
        return ()
    return (Cancel(closing.order_id if bridge.open_lots >= size else bridge.order_id),)
