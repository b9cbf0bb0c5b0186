from hypothesis import given
from hypothesis import strategies as st

from strategies.protect import Cancel, Modify, Place, WorkingOrder, match_protection
from strategies.trade import open_plan

PLAN = open_plan(1, 1000.0, 0.02, 0.04, 10)


def order(ticks, quantity, *, settled=True, order_id="x"):
    return WorkingOrder(order_id, ticks, quantity, settled)


def test_an_unprotected_long_gets_a_stop_first_and_then_its_target():
    assert match_protection(2.0, PLAN, None, None) == (
        Place("stop", -1, 2.0, 9800),
        Place("target", -1, 2.0, 10_400),
    )


def test_a_short_is_protected_by_buys():
    plan = open_plan(-1, 1000.0, 0.02, None, 10)
    assert match_protection(-2.0, plan, None, None) == (Place("stop", 1, 2.0, 10_200),)


def test_matching_orders_are_left_alone():
    assert match_protection(2.0, PLAN, order(9800, 2.0), order(10_400, 2.0)) == ()


def test_a_grown_position_resizes_both():
    assert match_protection(3.0, PLAN, order(9800, 2.0, order_id="s"), order(10_400, 2.0, order_id="t")) == (
        Modify("stop", "s", 3.0, 9800),
        Modify("target", "t", 3.0, 10_400),
    )


def test_a_moved_stop_is_modified():
    assert match_protection(2.0, PLAN._replace(stop_ticks=10_000), order(9800, 2.0), order(10_400, 2.0)) == (
        Modify("stop", "x", 2.0, 10_000),
    )


def test_leftovers_are_cancelled_when_flat():
    assert match_protection(0.0, PLAN, order(9800, 2.0, order_id="s"), order(1, 1.0, order_id="t")) == (
        Cancel("s"),
        Cancel("t"),
    )


def test_an_unanswered_order_is_not_touched_again():
    waiting = order(9800, 1.0, settled=False)
    assert match_protection(2.0, PLAN, waiting, order(10_400, 2.0)) == ()
    assert match_protection(0.0, PLAN, waiting, None) == ()


def test_a_target_the_plan_does_not_want_is_withdrawn():
    plan = PLAN._replace(target_ticks=0)
    assert match_protection(2.0, plan, order(9800, 2.0), order(10_400, 2.0, order_id="t")) == (Cancel("t"),)


orders = st.none() | st.builds(
    WorkingOrder,
    order_id=st.just("x"),
    ticks=st.integers(9000, 11_000),
    open_quantity=st.floats(0.001, 10),
    settled=st.just(True),
)


@given(quantity=st.floats(-10, 10), stop=orders, target=orders)
def test_carrying_out_the_steps_leaves_nothing_to_do(quantity, stop, target):
    working = {"stop": stop, "target": target}
    for action in match_protection(quantity, PLAN, stop, target):
        if isinstance(action, Cancel):
            working = dict.fromkeys(working)
        else:
            order_id = action.order_id if isinstance(action, Modify) else action.role
            working[action.role] = WorkingOrder(order_id, action.ticks, action.quantity, True)
    assert match_protection(quantity, PLAN, working["stop"], working["target"]) == ()
    if quantity != 0.0:
        assert working["stop"].open_quantity == abs(quantity)
