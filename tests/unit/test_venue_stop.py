"""The closing stop moves over a bridge: at every moment a stop works, and in the end it is one."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from strategies.protect import Cancel, Place, Step, WorkingOrder
from strategies.venue_stop import BRIDGE, match_stop


def _order(order_id: str, ticks: int, lots: int = 5, *, settled: bool = True) -> WorkingOrder:
    return WorkingOrder(order_id, ticks, lots, settled)


def test_a_naked_position_gets_a_closing_stop_of_its_size() -> None:
    assert match_stop(5, 900, None, None) == (Place("stop", -1, 5, 900),)
    assert match_stop(-5, 1100, None, None) == (Place("stop", 1, 5, 1100),)


def test_nothing_is_done_while_the_venue_has_not_answered() -> None:
    assert match_stop(5, 950, _order("a", 900, settled=False), None) == ()
    assert match_stop(5, 950, _order("a", 900), _order("b", 950, settled=False)) == ()


def test_a_stop_moves_by_a_bridge_then_its_cancel_then_anew() -> None:
    closing, bridge = _order("a", 900), _order("b", 950)
    assert match_stop(5, 950, closing, None) == (Place(BRIDGE, -1, 5, 950),)
    assert match_stop(5, 950, closing, bridge) == (Cancel("a"),)
    assert match_stop(5, 950, None, bridge) == (Place("stop", -1, 5, 950),)
    assert match_stop(5, 950, _order("c", 950), bridge) == (Cancel("b"),)
    assert match_stop(5, 950, _order("c", 950), None) == ()


def test_a_bridge_that_no_longer_covers_the_position_goes_first() -> None:
    assert match_stop(7, 950, _order("a", 900), _order("b", 950, lots=5)) == (Cancel("b"),)


def test_flat_cancels_both_and_no_plan_keeps_what_there_is() -> None:
    closing, bridge = _order("a", 900), _order("b", 950)
    assert match_stop(0, 950, closing, bridge) == (Cancel("a"), Cancel("b"))
    assert match_stop(0, 950, _order("a", 900, settled=False), None) == ()
    assert match_stop(5, 0, closing, bridge) == ()


class _Venue:
    """Two slots; answers one step at a time and refuses a second closing stop."""

    def __init__(self) -> None:
        self.closing: WorkingOrder | None = None
        self.bridge: WorkingOrder | None = None
        self.count = 0

    def take(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Place):
                self.count += 1
                order = WorkingOrder(str(self.count), step.ticks, step.lots, settled=False)
                if step.role == "stop":
                    assert self.closing is None
                    self.closing = order
                else:
                    assert self.bridge is None
                    self.bridge = order
            elif isinstance(step, Cancel):
                if self.closing is not None and self.closing.order_id == step.order_id:
                    self.closing = None
                else:
                    assert self.bridge is not None
                    assert self.bridge.order_id == step.order_id
                    self.bridge = None

    def answer(self) -> None:
        if self.closing is not None:
            self.closing = self.closing._replace(settled=True)
        if self.bridge is not None:
            self.bridge = self.bridge._replace(settled=True)

    @property
    def is_covered(self) -> bool:
        return any(order is not None and order.settled for order in (self.closing, self.bridge))


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 4)), min_size=1, max_size=12))
def test_however_often_the_level_changes_a_stop_works_and_the_last_level_wins(
    changes: list[tuple[int, int]],
) -> None:
    venue = _Venue()
    venue.take(match_stop(5, changes[0][0], None, None))
    venue.answer()
    for ticks, looks in changes:
        for _ in range(looks):
            venue.take(match_stop(5, ticks, venue.closing, venue.bridge))
            assert venue.is_covered
            venue.answer()
    for _ in range(8):
        venue.take(match_stop(5, changes[-1][0], venue.closing, venue.bridge))
        assert venue.is_covered
        venue.answer()
    assert venue.closing is not None
    assert venue.closing.ticks == changes[-1][0]
    assert venue.bridge is None
