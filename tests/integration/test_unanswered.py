"""What a late or unwilling venue must not bring about: entries that rest for ever, stops that stay behind."""

from dataclasses import replace

import pytest
from nautilus_trader.model import ClientOrderId

from strategies import ml_basic
from strategies.orders import Slot
from tests.hand_market import MINUTE, T0
from tests.markets import UP, Desk, deciding, desk, flat_rows

FREE = {"taker_fee_bps": 0, "slippage_bps": 0, "maker_fee_bps": 0}


def still(price: float) -> tuple[float, ...]:
    return (price, price + 0.2, price - 0.2, price, 100_000.0)


def entries(result: Desk, bar: int) -> int:
    return sum(1 for role, *_ in result.states()[bar].orders if role == "entry")


def test_an_entry_that_timed_out_before_the_venue_had_answered_does_not_rest_for_ever():
    late = {**FREE, "latency_ms": 90_000}
    resting = {"order": "limit", "offset_bps": 100, "timeout_bars": 1, "on_timeout": "market"}
    result = desk([still(100.0)] * 14, {1: UP}, venue=late, entry=resting, targets={"pct": None})
    assert [f.role for f in result.fills()] == ["entry"]
    assert result.fills()[0].price == 100.0  # taken at the market once the cancel was through
    assert entries(result, 13) == 0


def test_scale_ins_are_sent_although_the_stop_moves_at_the_same_close():
    rising = [still(100.0)] * 2 + [still(round(100 * 1.006**k, 1)) for k in range(1, 12)]
    result = desk(
        rising,
        {1: UP},
        venue=FREE,
        scale_in={},
        targets={"pct": None},
        trailing={"activation_pct": 1.0, "distance_pct": 1.0},
    )
    # 2 % is first passed at 102.4 (bar 5), 5 % at 105.5 (bar 10)
    assert [(f.bar, f.quantity) for f in result.fills() if f.role == "add"] == [(5, 25.0), (10, 25.0)]
    for state in result.states()[1:]:
        ((quantity, side),) = [(o[3], o[1]) for o in state.orders if o[0] == "stop"]
        assert (quantity, side) == (state.position, "SELL")


@pytest.mark.parametrize("refusals", [1, 2, 99])
def test_a_stop_whose_move_is_refused_is_moved_in_the_end(refusals):
    """At the next bar; by another order where the venue never lets it move."""
    holder = []

    def decide(view, params):
        if view.ts_event == T0 + 4 * MINUTE:  # another event on the bar of the first refusal
            strategy = holder[0]
            strategy.cancel_order(strategy._orders._by_slot[Slot("target")])
        return ml_basic.decide(view, params)

    def prepare(assembly):
        strategy = assembly.strategies[0]
        holder.append(strategy)
        desk_orders, left = strategy._orders, [refusals]
        willing = desk_orders._modify

        def modify(step, close):
            if step.role == "stop" and left[0] > 0:
                left[0] -= 1
                above = desk_orders._level(step.ticks + 1000)  # a sell stop above the market: refused
                order = ClientOrderId(step.order_id)
                strategy.modify_order(order, quantity=desk_orders.quantity(step.lots), trigger_price=above)
            else:
                willing(step, close)

        desk_orders._modify = modify
        deciding(decide)(assembly)

    rows = [still(100.0)] * 3 + [still(103.0)] * 9
    settings = {"stop": {"pct": 2, "break_even_after_pct": 2}, "targets": {"pct": 10}}
    result = desk(rows, {1: UP, 3: UP}, venue=FREE, prepare=prepare, **settings)
    stops = [level for role, _, _, _, level, _ in result.states()[-1].orders if role == "stop"]
    assert stops == [100.0]
    assert result.states()[-1].position == 100.0


def test_an_entry_moved_up_stays_within_the_notional_that_was_permitted():
    rows = [still(100.0)] * 2 + [still(104.0)] * 2 + [(104.0, 104.1, 100.0, 101.0, 100_000.0)] * 3
    chasing = {
        "order": "limit",
        "offset_bps": 100,
        "timeout_bars": 1,
        "on_timeout": "reprice",
        "max_chase_bps": 900,
    }
    result = desk(
        rows, {1: UP}, venue=FREE, entry=chasing, targets={"pct": None}, risk={"max_notional": 10_000}
    )
    (entry,) = [f for f in result.fills() if f.role == "entry"]
    assert entry.price == 102.9  # 1 % below 104, down to the tick
    assert 9_990 < entry.quantity * entry.price <= 10_000


def test_a_strategy_that_failed_takes_back_what_rests():
    def fail_later(assembly):
        strategy = assembly.strategies[0]

        def decide(view, params):
            if view.ts_event == T0 + 3 * MINUTE:
                strategy.failure = ValueError("later")
            return ml_basic.decide(view, params)

        strategy._setup = replace(strategy._setup, decide=decide)

    resting = {"order": "limit", "offset_bps": 100, "timeout_bars": 50}
    result = desk(flat_rows(8), {1: UP, 2: UP}, entry=resting, prepare=fail_later)
    assert [entries(result, bar) for bar in (1, 2, 3)] == [1, 1, 0]
