from hypothesis import given
from hypothesis import strategies as st

from strategies.protect import Cancel, Modify, Place, WorkingOrder, match_protection, within_reach
from strategies.trade import Rung

ONE = (Rung(10_400, 20),)
THREE = (Rung(10_300, 5), Rung(10_600, 5), Rung(11_000, 10))


def order(ticks, lots, *, settled=True, order_id="x"):
    return WorkingOrder(order_id, ticks, lots, settled)


def test_an_unprotected_long_gets_a_stop_first_and_then_its_targets():
    assert match_protection(20, 9800, THREE, None, {}) == (
        Place("stop", -1, 20, 9800),
        Place("target", -1, 5, 10_300, 0),
        Place("target", -1, 5, 10_600, 1),
        Place("target", -1, 10, 11_000, 2),
    )


def test_a_target_that_the_market_has_passed_is_sent_within_one_per_cent_of_it():
    assert within_reach(-1, 10_400, 12_000.0) == 11_880
    assert within_reach(1, 10_400, 9_000.0) == 9_090
    assert within_reach(-1, 10_400, 10_450.0) == 10_400
    assert within_reach(-1, 10_400, 10_000.0) == 10_400
    assert within_reach(1, 10_400, 11_000.0) == 10_400


def test_a_short_is_protected_by_buys():
    assert match_protection(-20, 10_200, (), None, {}) == (Place("stop", 1, 20, 10_200),)


def test_matching_orders_are_left_alone():
    assert match_protection(20, 9800, ONE, order(9800, 20), {0: order(10_400, 20)}) == ()


def test_a_grown_position_resizes_both():
    grown = (Rung(10_400, 30),)
    working = order(9800, 20, order_id="s"), {0: order(10_400, 20, order_id="t")}
    assert match_protection(30, 9800, grown, *working) == (
        Modify("stop", "s", 30, 9800),
        Modify("target", "t", 30, 10_400),
    )


def test_a_moved_stop_is_modified():
    assert match_protection(20, 10_000, ONE, order(9800, 20), {0: order(10_400, 20)}) == (
        Modify("stop", "x", 20, 10_000),
    )


def test_leftovers_are_cancelled_when_flat():
    working = order(9800, 2, order_id="s"), {0: order(1, 1, order_id="t"), 2: order(1, 1, order_id="u")}
    assert match_protection(0, 9800, THREE, *working) == (Cancel("s"), Cancel("t"), Cancel("u"))


def test_without_a_plan_everything_is_a_leftover():
    assert match_protection(20, 0, (), order(9800, 20, order_id="s"), {}) == (Cancel("s"),)


def test_an_unanswered_order_is_not_touched_again():
    waiting = order(9800, 10, settled=False)
    assert match_protection(20, 9800, ONE, waiting, {0: order(10_400, 20)}) == ()
    assert match_protection(20, 9800, ONE, order(9800, 20), {0: order(1, 1, settled=False)}) == ()
    assert match_protection(0, 9800, ONE, waiting, {0: waiting}) == ()


def test_a_target_the_plan_does_not_want_is_withdrawn():
    stop = order(9800, 20)
    assert match_protection(20, 9800, (), stop, {0: order(1, 1, order_id="t")}) == (Cancel("t"),)
    empty = (Rung(10_400, 0),)
    assert match_protection(20, 9800, empty, stop, {0: order(10_400, 1, order_id="t")}) == (Cancel("t"),)


def test_targets_never_close_more_than_is_held():
    # 12 held: the farthest gives way, 5 + 5 + 2
    steps = match_protection(12, 9800, THREE, order(9800, 12), {})
    assert [step.lots for step in steps] == [5, 5, 2]


def test_a_target_too_small_for_the_venue_is_not_sent_but_a_working_one_may_shrink_to_it():
    rungs = (Rung(10_300, 2), Rung(10_600, 18))
    stop = order(9800, 20)
    assert match_protection(20, 9800, rungs, stop, {}, 3) == (Place("target", -1, 18, 10_600, 1),)
    working = {0: order(10_300, 5, order_id="t"), 1: order(10_600, 18)}
    assert match_protection(20, 9800, rungs, stop, working, 3) == (Modify("target", "t", 2, 10_300),)


orders = st.none() | st.builds(
    WorkingOrder,
    order_id=st.just("x"),
    ticks=st.integers(9000, 11_000),
    open_lots=st.integers(1, 50),
    settled=st.just(True),
)
ladders = st.lists(st.builds(Rung, st.integers(9000, 11_000), st.integers(0, 20)), max_size=5).map(tuple)


@given(
    quantity=st.integers(-40, 40),
    rungs=ladders,
    stop=orders,
    targets=st.dictionaries(st.integers(0, 5), orders.filter(lambda o: o is not None), max_size=5),
    fewest=st.integers(1, 4),
)
def test_carrying_out_the_steps_leaves_nothing_to_do(quantity, rungs, stop, targets, fewest):
    keyed = {rung: found._replace(order_id=f"t{rung}") for rung, found in targets.items()}
    working = {"s": None if stop is None else stop._replace(order_id="s")}
    working |= {found.order_id: found for found in keyed.values()}

    def of_rungs():
        return {int(name[1:]): o for name, o in working.items() if name != "s" and o is not None}

    for step in match_protection(quantity, 9500, rungs, working["s"], of_rungs(), fewest):
        if isinstance(step, Cancel):
            working[step.order_id] = None
        elif isinstance(step, Modify):
            working[step.order_id] = WorkingOrder(step.order_id, step.ticks, step.lots, True)
        else:
            name = "s" if step.role == "stop" else f"t{step.rung}"
            working[name] = WorkingOrder(name, step.ticks, step.lots, True)
    assert match_protection(quantity, 9500, rungs, working["s"], of_rungs(), fewest) == ()
    left = of_rungs()
    if quantity == 0:
        assert working["s"] is None
        assert left == {}
    else:
        assert (working["s"].ticks, working["s"].open_lots) == (9500, abs(quantity))
        assert sum(found.open_lots for found in left.values()) <= abs(quantity)
