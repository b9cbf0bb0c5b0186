"""Whatever happens to an order, the working stop matches the position: parts, refusals, moved levels.

100 coins long from 100 (a tenth of 100,000), stop 2 % away at 98, target 4 % away at 104. The engine fills a
quarter of a bar's volume at its price and the rest one tick (0.1) worse.
"""

from collections import defaultdict

import pytest
from nautilus_trader.model import OrderSide

from actors.audit import decisions_frame
from strategies import ml_basic
from strategies.orders import Slot
from strategies.values import Intent
from tests.hand_market import MINUTE, T0
from tests.markets import DOWN, UP, Desk, Fill, State, deciding, desk, flat_rows, random_rows, random_script

ENTRY = Fill(1, "entry", "BUY", 100.0, 100.0)
PLAIN = {"targets": {"pct": None}}
LATENCY = {"latency_ms": 1000}


def levels(result: Desk, bar: int) -> dict[str, tuple[float, float]]:
    """Open quantity and level of the working orders by role; never two of one role."""
    orders = result.states()[bar].orders
    assert len({role for role, *_ in orders}) == len(orders)
    return {role: (quantity, level) for role, _, _, quantity, level, _ in orders}


def events(result: Desk, role: str) -> list[tuple[int, str]]:
    return [(bar, detail["event"]) for bar, detail in result.audit("order") if detail["role"] == role]


# -- moving the stop ----------------------------------------------------------------------------------------


def test_break_even_moves_the_stop_at_the_venue_and_it_fills_there():
    rows = flat_rows(7, b2=(100, 101, 100, 101), b3=(101, 101.2, 100.4, 101), b4=(100.5, 100.5, 99.5, 100))
    result = desk(rows, {1: UP}, stop={"pct": 2, "break_even_after_pct": 1}, **PLAIN)
    assert [levels(result, bar) for bar in (1, 2, 3)] == [
        {"stop": (100.0, 98.0)},
        {"stop": (100.0, 100.0)},  # the close is 1 % up
        {"stop": (100.0, 100.0)},
    ]
    assert result.fills() == [ENTRY, Fill(4, "stop", "SELL", 100.0, 100.0)]
    assert result.end() == (0, 0)


def test_a_trailing_stop_moves_at_the_venue_and_it_fills_there():
    rows = flat_rows(7, b2=(100, 102, 100, 102), b3=(102, 104.5, 102, 104), b4=(104, 104, 102, 102.5))
    result = desk(rows, {1: UP}, trailing={"activation_pct": 2, "distance_pct": 1}, **PLAIN)
    # 102 x 0.99 = 100.98, 104 x 0.99 = 102.96
    assert [levels(result, bar) for bar in (1, 2, 3)] == [
        {"stop": (100.0, 98.0)},
        {"stop": (100.0, 101.0)},
        {"stop": (100.0, 103.0)},
    ]
    assert result.fills() == [ENTRY, Fill(4, "stop", "SELL", 100.0, 103.0)]
    assert [detail["price"] for _, detail in result.audit("action") if detail["action"] == "move_stop"] == [
        101.0,
        103.0,
    ]


def test_a_short_trailing_stop_moves_down():
    rows = flat_rows(7, b2=(100, 100, 97.5, 97.8), b3=(97.8, 98.9, 97.5, 98.5))
    result = desk(rows, {1: DOWN}, trailing={"activation_pct": 2, "distance_pct": 1}, **PLAIN)
    # 97.8 x 1.01 = 98.778
    assert levels(result, 2) == {"stop": (100.0, 98.8)}
    assert result.fills()[1:] == [Fill(3, "stop", "BUY", 100.0, 98.8)]


def test_a_trailing_stop_nearer_than_a_tick_stays_a_tick_behind():
    # 0.05 % of 99.9 is not half a tick: rounded, the stop would stand at the market and be refused
    rows = flat_rows(6, b1=(99, 99.5, 98.5, 99), b2=(99, 100, 99, 99.9), b3=(99.9, 100.5, 99.85, 100.4))
    result = desk(rows, {1: UP}, trailing={"activation_pct": 0.5, "distance_pct": 0.05}, **PLAIN)
    assert result.states()[2].orders[0][4] == 99.8
    assert [event for _, event in events(result, "stop")][:2] == ["OrderAccepted", "OrderUpdated"]


def test_a_bar_that_moves_the_stop_is_not_stopped_by_its_own_low():
    # the low of 99.5 came before the close that armed break-even at 100
    rows = flat_rows(5, b2=(100, 102, 99.5, 101), b3=(101, 102, 100.5, 101), b4=(101, 102, 100.5, 101))
    result = desk(rows, {1: UP}, stop={"pct": 2, "break_even_after_pct": 1}, **PLAIN)
    assert result.fills() == [ENTRY]


# -- fills in parts -----------------------------------------------------------------------------------------


def test_an_entry_filled_in_two_parts_is_protected_whole():
    result = desk(flat_rows(5, b1=(100, 100.5, 99.5, 100, 240), b3=(100, 100, 97, 99)), {1: UP})
    assert result.fills() == [
        Fill(1, "entry", "BUY", 60.0, 100.0),
        Fill(1, "entry", "BUY", 40.0, 100.1),
        Fill(3, "stop", "SELL", 100.0, 98.0),
    ]
    assert levels(result, 1) == {"stop": (100.0, 98.0), "target": (100.0, 104.0)}
    assert result.end() == (0, 0)


def test_a_target_filled_in_part_leaves_a_stop_for_the_rest():
    rows = flat_rows(6, b3=(100, 104.5, 99.8, 103.5, 200), b4=(103, 103, 97, 98))
    result = desk(rows, {1: UP})
    assert levels(result, 3) == {"stop": (50.0, 98.0), "target": (50.0, 104.0)}
    assert result.fills()[1:] == [
        Fill(3, "target", "SELL", 50.0, 104.0),
        Fill(4, "stop", "SELL", 50.0, 98.0),
    ]
    assert result.end() == (0, 0)


def test_a_rest_of_one_lot_is_protected_too():
    # 100.391 - 100.390 is not 0.001 in binary
    sizing = {"method": "fraction", "fraction_pct": 10.0391, "confidence_weighted": False}
    sizing["max_position_pct"] = 50
    result = desk(flat_rows(6, b3=(100, 104.5, 99.8, 103.5, 401.56)), {1: UP}, sizing=sizing)
    assert [(fill.role, fill.quantity) for fill in result.fills()] == [("entry", 100.391), ("target", 100.39)]
    assert levels(result, 3) == {"stop": (0.001, 98.0), "target": (0.001, 104.0)}
    assert len(result.states()) == 6
    assert len(result.audit("order")) < 10  # nothing is sent again and again


def test_a_stop_filled_in_two_parts_ends_flat():
    result = desk(flat_rows(6, b3=(100, 100.5, 97.5, 98.5, 200)), {1: UP})
    assert result.fills()[1:] == [
        Fill(3, "stop", "SELL", 50.0, 98.0),
        Fill(3, "stop", "SELL", 50.0, 97.9),
    ]
    assert result.states()[3] == State(3, 0, ())


def test_an_exit_filled_in_two_parts_ends_flat():
    result = desk(flat_rows(6, b4=(100, 100.5, 99.5, 100, 200)), {1: UP, 4: DOWN})
    assert result.fills()[1:] == [
        Fill(4, "exit", "SELL", 50.0, 100.0),
        Fill(4, "exit", "SELL", 50.0, 99.9),
    ]
    assert result.states()[4] == State(4, 0, ())


def test_a_target_filled_in_part_shrinks_with_what_an_exit_takes():
    # 50 of 100 go at the target; of the exit's 50 the first 10 leave 40 and shrink the target to 90 in all
    rows = flat_rows(7, b3=(100, 104.5, 99.8, 103.5, 200), b5=(100, 100.5, 99.5, 100, 40))
    result = desk(rows, {1: UP, 5: DOWN})
    assert [(fill.role, fill.quantity) for fill in result.fills()] == [
        ("entry", 100.0),
        ("target", 50.0),
        ("exit", 10.0),
        ("exit", 40.0),
    ]
    assert [event for _, event in events(result, "target")] == [
        "OrderAccepted",
        "OrderFilled",
        "OrderUpdated",
        "OrderCanceled",
    ]
    assert result.states()[5] == State(5, 0, ())


# -- refusals -----------------------------------------------------------------------------------------------


def test_an_entry_without_a_market_is_rejected_and_the_strategy_lives_on():
    # nothing has traded yet: the engine has no price to fill at
    empty = (100, 100, 100, 100, 0)
    result = desk(flat_rows(5, b0=empty, b1=empty), {1: UP, 2: UP})
    assert events(result, "entry") == [(1, "OrderRejected"), (2, "OrderFilled")]
    assert result.fills() == [Fill(2, "entry", "BUY", 100.0, 100.0)]
    assert levels(result, 2) == {"stop": (100.0, 98.0), "target": (100.0, 104.0)}
    assert [s.position for s in result.states()[:2]] == [0, 0]


@pytest.mark.parametrize(
    ("wrong", "event"), [({"side": 1}, "OrderRejected"), ({"lots": 100_000_000}, "OrderDenied")]
)
def test_a_refused_exit_keeps_the_stop_and_is_tried_again_on_the_next_bar(wrong, event):
    """A reduce-only buy is refused by the venue while long, more than the largest order by the engine."""

    def spoil_first_exit(assembly):
        strategy = assembly.strategies[0]
        market, exits = strategy._orders.market, []

        def spoiled(role, side, lots, **more):
            order = {"side": side, "lots": lots}
            if role == "exit":
                exits.append(order)
                order = order | wrong if len(exits) == 1 else order
            market(role, order["side"], order["lots"], **more)

        strategy._orders.market = spoiled
        strategy._orders.at_once = lambda lots: lots  # which cuts it to what may be sent at once

    result = desk(flat_rows(8), {1: UP, 3: DOWN}, prepare=spoil_first_exit)
    assert events(result, "exit") == [(3, event), (4, "OrderFilled")]
    assert result.states()[3].position == 100.0
    assert levels(result, 3) == {"stop": (100.0, 98.0), "target": (100.0, 104.0)}
    assert result.fills() == [ENTRY, Fill(4, "exit", "SELL", 100.0, 100.0)]
    assert result.end() == (0, 0)


def test_a_stop_the_market_has_already_passed_is_refused_and_the_position_closed():
    """A second of delay: the entry fills at bar 2, the stop arrives at bar 3, the market is 3 below it."""
    down = (95, 95.5, 94.5, 95)
    rows = flat_rows(8, b3=(100, 100, 94, 95), b4=down, b5=down, b6=down, b7=down)
    result = desk(rows, {1: UP}, venue=LATENCY)
    assert events(result, "stop")[0] == (3, "OrderRejected")
    assert result.fills() == [Fill(2, "entry", "BUY", 100.0, 100.0), Fill(4, "exit", "SELL", 100.0, 95.0)]
    assert (3, {"action": "exit", "reason": "stop_refused", "price": 95.0}) in result.audit("action")
    assert result.states()[4] == State(4, 0, ())


def test_a_refused_target_is_placed_again_on_the_next_bar():
    def spoil_first_target(assembly):
        orders = assembly.strategies[0]._orders
        place, targets = orders.place, []

        def place_wrongly(action, **more):
            if action.role == "target":
                targets.append(action)
                action = action._replace(side=action.side * (1 if len(targets) > 1 else -1))
            return place(action, **more)

        orders.place = place_wrongly

    result = desk(flat_rows(5), {1: UP}, prepare=spoil_first_target)
    assert events(result, "target") == [(1, "OrderRejected"), (2, "OrderAccepted")]
    assert levels(result, 1) == {"stop": (100.0, 98.0)}
    assert levels(result, 2) == {"stop": (100.0, 98.0), "target": (100.0, 104.0)}


@pytest.mark.parametrize("role", ["stop", "target"])
def test_an_order_cancelled_from_outside_is_placed_again_at_once(role):
    holder = []

    def cancelling(view, params):
        if view.ts_event == T0 + 4 * MINUTE:  # the close of bar 3
            holder[0].cancel_order(holder[0]._orders._by_slot[Slot(role)])
        return ml_basic.decide(view, params)

    def prepare(assembly):
        holder.append(assembly.strategies[0])
        deciding(cancelling)(assembly)

    result = desk(flat_rows(6), {1: UP, 3: UP}, prepare=prepare)
    assert events(result, role) == [(1, "OrderAccepted"), (3, "OrderCanceled"), (3, "OrderAccepted")]
    assert levels(result, 3) == {"stop": (100.0, 98.0), "target": (100.0, 104.0)}


def test_after_a_refused_stop_it_trades_again():
    down = (95, 95.5, 94.5, 95)
    rows = flat_rows(10, b3=(100, 100, 94, 95), **{f"b{bar}": down for bar in range(4, 10)})
    result = desk(rows, {1: UP, 5: DOWN}, venue=LATENCY)
    assert [(f.bar, f.role, f.side) for f in result.fills()] == [
        (2, "entry", "BUY"),
        (4, "exit", "SELL"),
        (6, "entry", "SELL"),
    ]
    assert set(levels(result, 7)) == {"stop", "target"}


def test_a_stop_below_the_last_tick_is_refused_before_anything_is_sent():
    # 0.05 % of 100 is half a tick
    result = desk(flat_rows(4), {1: UP}, stop={"pct": 0.05})
    assert result.fills() == []
    ((bar, detail),) = result.audit("refusal")
    assert (bar, detail["check"], detail["limit"]) == (1, "stop_distance", 0.1)


def test_a_confidence_that_is_no_number_is_refused_and_written_down():
    def unsure(_view, _params):
        return Intent(1, float("nan"), ())

    result = desk(flat_rows(3), {1: UP}, prepare=deciding(unsure))
    assert result.fills() == []
    assert [(bar, detail["check"]) for bar, detail in result.audit("refusal")] == [(1, "confidence")]
    last = decisions_frame(result.records)["detail"].iloc[-1]
    assert last == '{"check":"confidence","limit":1.0,"value":"nan"}'


# -- failures and surprises ---------------------------------------------------------------------------------


def breaking(method: str):
    def prepare(assembly):
        def failing(*_):
            raise ZeroDivisionError("broken on purpose")

        setattr(assembly.strategies[0]._keeper, method, failing)

    return prepare


def test_when_the_trade_cannot_be_opened_the_position_is_stopped_and_closed():
    result = desk(flat_rows(6), {1: UP}, prepare=breaking("_open"))
    assert isinstance(result.strategy.failure, ZeroDivisionError)
    assert events(result, "stop")[0] == (1, "OrderAccepted")
    assert result.fills() == [ENTRY, Fill(1, "exit", "SELL", 100.0, 100.0)]
    assert result.end() == (0, 0)


def test_when_protecting_fails_a_stop_stands_nevertheless():
    result = desk(flat_rows(6), {1: UP}, prepare=breaking("protect"))
    assert isinstance(result.strategy.failure, ZeroDivisionError)
    (stop,) = result.simulation.engine.cache.orders_open()
    assert (str(stop.side), float(str(stop.quantity)), float(str(stop.trigger_price))) == (
        "SELL",
        100.0,
        98.0,
    )
    assert stop.is_reduce_only


def test_a_position_that_nobody_planned_is_closed_at_once_and_written_down():
    holder = []

    def meddling(view, params):
        if view.ts_event == T0 + 4 * MINUTE:  # the close of bar 3
            strategy, traded = holder[0], holder[0]._setup.instrument
            order = strategy.order_factory.market(traded.id, OrderSide.SELL, traded.make_qty(7))
            strategy.submit_order(order)

    def prepare(assembly):
        holder.append(assembly.strategies[0])
        deciding(meddling)(assembly)

    result = desk(flat_rows(6), {3: UP}, prepare=prepare)
    assert [state.position for state in result.states()] == [0] * 6
    assert (3, {"action": "unexpected_position", "quantity": -7.0}) in result.audit("action")
    assert [(f.role, f.side, f.quantity) for f in result.fills()] == [("exit", "BUY", 7.0)]
    assert result.end() == (0, 0)


def test_a_stop_that_could_not_follow_in_time_ends_the_trade():
    """A second of delay: moved to 101.0 at bar 4, but bar 5 is below that when the venue hears of it."""
    rows = flat_rows(10, b3=(100, 101, 100, 101), b4=(101, 102, 101, 102), b5=(102, 102, 100.5, 100.5))
    rows[6:] = [(100.5, 100.6, 100.4, 100.5)] * 4
    result = desk(rows, {1: UP}, venue=LATENCY, trailing={"activation_pct": 2, "distance_pct": 1}, **PLAIN)
    assert (5, "OrderModifyRejected") in events(result, "stop")
    assert (6, {"action": "exit", "reason": "stop_passed", "price": 100.5}) in result.audit("action")
    assert result.fills()[1:] == [Fill(7, "exit", "SELL", 100.0, 100.5)]


def test_client_order_ids_fit_the_venue_and_are_all_different():
    rows, script = random_rows(4, 600), random_script(4, 600)
    names = {"BTCUSDT-PERP.BINANCE": "a-strategy-with-a-really-long-name"}
    result = desk(rows, script, names=names)
    ids = [str(order.client_order_id) for order in result.simulation.engine.cache.orders()]
    assert len(ids) == len(set(ids)) > 100
    assert max(map(len, ids)) <= 36


# -- orders under way ---------------------------------------------------------------------------------------


def test_an_exit_under_way_when_the_stop_fills_cannot_touch_the_next_position():
    rows = flat_rows(12, b5=(100, 100, 97, 99), b6=(99, 99.5, 98.5, 99))
    result = desk(rows, {1: UP, 4: DOWN, 5: UP, 6: UP, 7: UP}, venue=LATENCY)
    assert [(f.bar, f.role, f.side) for f in result.fills()] == [
        (2, "entry", "BUY"),
        (5, "stop", "SELL"),
        (7, "entry", "BUY"),
    ]
    assert events(result, "exit") == [(5, "OrderRejected")]  # reduce-only, and nothing left to reduce
    assert set(levels(result, 11)) == {"stop", "target"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_with_delays_the_stop_covers_the_position_two_bars_after_it_changed(seed):
    # the first bar after a fill takes the first stop to the venue, the second what a later part adds
    result = desk(random_rows(seed, 1500), random_script(seed, 1500), venue=LATENCY)
    states, checked = result.states(), 0
    assert sum(fill.role == "entry" for fill in result.fills()) > 20
    for bar in range(2, len(states)):
        working = levels(result, bar)
        held = {state.position for state in states[bar - 2 : bar + 1]}
        if len(held) == 1 and held != {0} and "exit" not in working:
            assert working["stop"][0] == abs(states[bar].position)
            checked += 1
    assert checked > 200


# -- always -------------------------------------------------------------------------------------------------

SETTINGS = {
    "plain": {"stop": {"pct": 2}, "targets": {"pct": 4}},
    "trailing": {
        "stop": {"pct": 1.5, "break_even_after_pct": 0.7},
        "targets": {"pct": None},
        "trailing": {"activation_pct": 1, "distance_pct": 0.8},
    },
    "all": {
        "stop": {"pct": 1, "break_even_after_pct": 0.5},
        "targets": {"pct": 1.5},
        "trailing": {"activation_pct": 0.6, "distance_pct": 0.5},
        "time": {"max_bars": 15, "cool_off_bars": 2},
        "sizing": {"method": "risk", "risk_per_trade_pct": 1, "max_position_pct": 50},
    },
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS)
def test_at_every_bars_end_one_stop_covers_the_position_and_nothing_else_works(settings, seed):
    count = 2000
    rows = random_rows(seed, count)
    result = desk(rows, random_script(seed, count), **SETTINGS[settings])
    assert [state.bar for state in result.states()] == list(range(count))
    assert sum(fill.role == "entry" for fill in result.fills()) > 30
    for state in result.states():
        _check_protected(state, rows[state.bar][3], SETTINGS[settings]["targets"]["pct"] is not None)
    _check_trades(result, rows)


def _check_protected(state: State, close: float, with_target: bool) -> None:
    if state.position == 0:
        assert state.orders == ()
        return
    side, size = (1 if state.position > 0 else -1), abs(state.position)
    exit_side = "SELL" if side > 0 else "BUY"
    roles = [role for role, *_ in state.orders]
    assert roles == (["stop", "target"] if with_target else ["stop"])
    for role, order_side, kind, quantity, level, reduce_only in state.orders:
        assert (order_side, reduce_only, quantity) == (exit_side, True, size)
        assert kind == ("STOP_MARKET" if role == "stop" else "LIMIT")
        assert side * (close - level) * (1 if role == "stop" else -1) > 0


def _check_trades(result: Desk, rows: list[tuple[float, ...]]) -> None:
    """Fills net to zero trade by trade, and each entry keeps to half of the equity it met."""
    cash, position, entered = 100_000.0, 0.0, defaultdict(float)
    for fill in result.fills():
        signed = fill.quantity if fill.side == "BUY" else -fill.quantity
        if fill.role == "entry":
            if fill.bar not in entered:
                assert position == 0.0
                equity = cash
            entered[fill.bar] += fill.quantity
            assert entered[fill.bar] * rows[fill.bar][3] <= 0.5 * equity * (1 + 1e-12)
        else:
            assert position * signed < 0
            assert abs(signed) <= abs(position) + 1e-9
        rate = 0.0002 if fill.role == "target" else 0.0006
        cash -= signed * fill.price + rate * fill.quantity * fill.price
        position = round(position + signed, 3)
    assert position == result.end()[0]
