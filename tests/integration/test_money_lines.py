"""What an entry, an exit and an addition cost when the venue is late, thin or unwilling: to the coin.

The account has 100,000 and an entry is a tenth of it; a coin costs about 100, nothing is charged, and a limit
entry rests at 99 for 101.01 coins (10,000 / 99), which lose 1.98 each at a stop 2 % away. An order of which
the venue hears 90 s late was sent at a bar's close and is there within the second bar after it.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, BarType, ClientOrderId, OrderSide

from actors.messages import RISK_MODE_TOPIC, TRADING_TOPIC, Mode, RiskMode, TradeClosed
from catalog.store import bar_type
from strategies import ml_basic
from strategies.orders import Slot
from strategies.protect import Modify
from strategies.values import Intent
from tests.hand_market import MINUTE, T0, instrument
from tests.markets import DOWN, UP, Desk, Speaker, deciding, desk, flat_rows

FREE = {"taker_fee_bps": 0, "slippage_bps": 0, "maker_fee_bps": 0}
LATE = {**FREE, "latency_ms": 90_000}
BTC, ETH = instrument(), instrument("ETHUSDT")
NO_TARGET = {"targets": {"pct": None}}


def still(price: float) -> tuple[float, ...]:
    return (price, price + 0.1, price - 0.1, price, 100_000.0)


def resting(**changes: Any) -> dict[str, Any]:
    config = {"order": "limit", "offset_bps": 100, "timeout_bars": 2, "max_chase_bps": 900, **changes}
    return {"entry": config, **NO_TARGET}


def orders(result: Desk, bar: int, role: str) -> list[tuple[float, float]]:
    """(open quantity, level) of the working orders of a role when the bar was over, by level."""
    found = [(q, level) for name, _, _, q, level, _ in result.states()[bar].orders if name == role]
    return sorted(found, key=lambda order: order[1])


def fills(result: Desk) -> list[tuple[int, str, float, float]]:
    return [(f.bar, f.role, f.quantity, f.price) for f in result.fills()]


def saying(words: dict[int, Sequence[tuple[Mode, float]]], bars: int) -> Speaker:
    """The guard's word at every bar's close: NORMAL, or what stands in `words`, one after the other."""
    script = {
        bar: [
            RiskMode(ts_event=T0 + (bar + 1) * MINUTE, mode=mode, multiplier=multiplier)
            for mode, multiplier in words.get(bar, [(Mode.NORMAL, 1.0)])
        ]
        for bar in range(bars)
    }
    return Speaker(BarType.from_str(bar_type(str(BTC.id), "1m")), RISK_MODE_TOPIC, script)


def asked_of_targets(result: Desk, after_bar: int, to_bar: int) -> set[str]:
    """The kinds of events that the targets had after one bar's close up to another's."""
    roles, (after, until) = result.strategy.roles, (T0 + (bar + 1) * MINUTE for bar in (after_bar, to_bar))
    placed = [o for o in result.simulation.engine.cache.orders() if roles[str(o.client_order_id)] == "target"]
    return {type(e).__name__ for order in placed for e in order.events() if after < e.ts_event <= until}


class Ear(DataActor):
    """Keeps the trades that the strategies say were closed."""

    def __new__(cls) -> "Ear":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("EAR-001")))

    def __init__(self) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("EAR-001")))
        self.closed: list[TradeClosed] = []

    def on_start(self) -> None:
        self.subscribe_topic(TRADING_TOPIC, self.hear)

    def hear(self, message: Any) -> None:
        if isinstance(message, TradeClosed):
            self.closed.append(message)


# -- entries -------------------------------------------------------------------------------------------------


def test_a_trade_whose_entry_filled_in_part_had_that_part_s_risk_at_stake():
    # a quarter of 80 is 20 of 101.01 coins; the rest is given up, the stop at 97 closes the 20
    ear = Ear()
    rows = flat_rows(7, b2=(100, 100.2, 98.9, 100, 80), b5=(100, 100, 96, 97))
    result = desk(rows, {1: UP}, venue=FREE, actors=[ear], **resting())
    assert fills(result) == [(2, "entry", 20.0, 99.0), (5, "stop", 20.0, 97.0)]
    (trade,) = ear.closed
    assert (trade.pnl, trade.exit_reason) == (pytest.approx(-40.0), "stop")
    assert trade.risk == pytest.approx(20 * 1.98)


def test_what_takes_the_market_is_only_what_had_not_filled():
    rows = [still(100.0)] * 2 + [(100, 100.2, 98.9, 99.2, 80)] + [still(99.2)] * 4
    result = desk(rows, {1: UP}, venue=FREE, **resting(on_timeout="market"))
    # 81.01 are left; at 99.2 with the stop at 97 a coin loses 2.2, not the 1.98 that were permitted
    assert fills(result) == [(2, "entry", 20.0, 99.0), (3, "entry", 72.909, 99.2)]
    assert orders(result, 3, "stop") == [(92.909, 97.0)]


def test_an_addition_is_not_cut_by_the_mode_that_its_entry_was_cut_by_already():
    # half of 100 coins is entered, and a quarter of those added: 12.5, while the mode is what it was
    rows = flat_rows(6, b3=(102, 102.5, 101.5, 102))
    words = {bar: [(Mode.REDUCED, 0.5)] for bar in range(6)}
    settings = {"scale_in": {}, **NO_TARGET}
    same = desk(rows, {1: UP}, venue=FREE, guarded=False, actors=[saying(words, 6)], **settings)
    assert fills(same) == [(1, "entry", 50.0, 100.0), (3, "add", 12.5, 102.0)]
    # halved once more since: half of the addition
    words |= {bar: [(Mode.REDUCED, 0.25)] for bar in range(2, 6)}
    less = desk(rows, {1: UP}, venue=FREE, guarded=False, actors=[saying(words, 6)], **settings)
    assert fills(less) == [(1, "entry", 50.0, 100.0), (3, "add", 6.25, 102.0)]


@pytest.mark.parametrize("places", [1, 2])
def test_an_entry_takes_no_place_at_the_market_that_is_gone_since_it_rests(places):
    """ETH is bought by hand, past every check, while BTC rests."""

    def prepare(assembly: Any) -> None:
        strategy = assembly.strategies[0]

        def decide(view: Any, params: Any) -> Intent | None:
            if view.ts_event == T0 + 3 * MINUTE:
                by_hand = strategy.order_factory.market(ETH.id, OrderSide.BUY, ETH.make_qty(1.0))
                strategy.submit_order(by_hand)
            return ml_basic.decide(view, params)

        deciding(decide)(assembly)

    names = (str(BTC.id), str(ETH.id))
    risk = {"position": {"max_positions": places}}
    result = desk(
        dict.fromkeys(names, [still(100.0)] * 7),
        {names[0]: {1: UP, 2: UP}},
        BTC,
        ETH,
        venue=FREE,
        risk=risk,
        prepare=prepare,
        **resting(on_timeout="market"),
    )
    bought = [f.bar for f in result.fills() if f.role == "entry"]
    checks = [(bar, d["check"]) for bar, d in result.audit("refusal")]
    assert (bought, checks) == (([3], []) if places == 2 else ([], [(3, "max_positions")]))


def test_an_entry_withdrawn_before_the_venue_had_it_is_cancelled_when_it_has():
    """Sent at bar 1, forbidden at bar 2, at the venue by the end of bar 3; the price comes at bar 7."""
    rows = [still(100.0)] * 7 + [(100, 100, 98, 99, 100_000.0)] + [still(99.0)] * 2
    speaker = saying({2: [(Mode.PAUSED, 1.0)]}, 10)
    waits = resting(timeout_bars=50)
    result = desk(rows, {1: UP}, venue=LATE, guarded=False, actors=[speaker], **waits)
    assert result.audit("action")[0] == (2, {"action": "withdraw_entry", "reason": "paused"})
    assert orders(result, 3, "entry") == [(101.01, 99.0)]
    assert (orders(result, 6, "entry"), result.fills()) == ([], [])


HALTED_AND_RESUMED = {5: [(Mode.HALTED, 1.0), (Mode.NORMAL, 1.0)]}


@pytest.mark.parametrize(
    ("script", "words", "bought"),
    [({1: UP}, {}, [8]), ({1: UP}, HALTED_AND_RESUMED, []), ({1: UP, 5: DOWN}, {}, [])],
)
def test_an_entry_withdrawn_while_it_is_cancelled_to_take_does_not_take(script, words, bought):
    """The cancel goes at bar 4's close, the venue's answer comes after bar 6's."""
    speaker = saying(words, 10)
    waits = resting(on_timeout="market")
    result = desk([still(100.0)] * 10, script, venue=LATE, guarded=False, actors=[speaker], **waits)
    assert result.audit("action")[0] == (3, {"action": "take_entry", "price": 100.0})
    assert [bar for bar, d in result.audit("order") if d["event"] == "OrderCanceled"] == [6]
    assert [f.bar for f in result.fills()] == bought
    assert orders(result, 9, "entry") == []


# -- exits ---------------------------------------------------------------------------------------------------


RISING = [still(100.0)] * 4 + [still(102.0)] * 8  # entered at bar 3, the stop is at the venue at bar 5


def test_an_exit_takes_an_addition_along_that_is_still_on_its_way():
    """Added to at bar 6's close and left at bar 7's; the venue fills in that order, two bars later each."""
    result = desk(RISING, {1: UP, 7: DOWN}, venue=LATE, scale_in={"at_pct": [2]}, **NO_TARGET)
    assert fills(result) == [
        (3, "entry", 100.0, 100.0),
        (8, "add", 25.0, 102.0),
        (9, "exit", 125.0, 102.0),
    ]
    assert [state.position for state in result.states()[7:]] == [100.0, 125.0, 0, 0, 0]


def test_once_an_exit_is_decided_no_target_is_sent_or_moved():
    """The addition that arrives while the exit is under way would have both targets grow."""
    tranches = {"tranches": [{"pct": 10, "close_pct": 50}, {"pct": 20, "close_pct": 50}]}
    script = {1: UP, 7: DOWN}
    result = desk(RISING, script, venue=LATE, scale_in={"at_pct": [2]}, targets=tranches)
    assert fills(result)[1:] == [(8, "add", 25.0, 102.0), (9, "exit", 125.0, 102.0)]
    assert orders(result, 8, "target") == [(50.0, 110.0), (50.0, 120.0)]
    assert asked_of_targets(result, after_bar=6, to_bar=11) == {"OrderPendingCancel", "OrderCanceled"}
    assert result.end() == (0, 0)


# -- moves ---------------------------------------------------------------------------------------------------


def test_a_change_that_was_refused_is_not_asked_for_again_at_the_same_bar():
    """The stop is to go to 100 at bar 3; the target's cancel brings another look at bar 3 and at bar 4."""
    holder = []

    def decide(view: Any, params: Any) -> Intent | None:
        if view.ts_event in (T0 + 4 * MINUTE, T0 + 5 * MINUTE):
            strategy = holder[0]
            strategy.cancel_order(strategy._orders._by_slot[Slot("target")])
        return ml_basic.decide(view, params)

    def prepare(assembly: Any) -> None:
        strategy = assembly.strategies[0]
        holder.append(strategy)

        def unwilling(step: Any, _close: float) -> None:  # a sell stop above the market: the venue refuses
            level, quantity = strategy._orders._level(1200), strategy._orders.quantity(step.lots)
            strategy.modify_order(ClientOrderId(step.order_id), quantity=quantity, trigger_price=level)

        strategy._orders._modify = unwilling
        deciding(decide)(assembly)

    rows = [still(100.0)] * 3 + [still(103.0)] * 4
    settings = {"stop": {"pct": 2, "break_even_after_pct": 2}, "targets": {"pct": 10}}
    result = desk(rows, {1: UP, 3: UP, 4: UP}, venue=FREE, prepare=prepare, **settings)
    refused = [(bar, d["role"]) for bar, d in result.audit("order") if d["event"] == "OrderModifyRejected"]
    # refused a second time it is cancelled, and the event of that places one at the new level
    assert refused == [(3, "stop"), (4, "stop")]
    assert orders(result, 4, "stop") == [(100.0, 100.0)]


def test_a_target_that_the_market_has_reached_is_sent_reduce_only():
    """Filled at 99 on the way down, the last close 100: a plain 99.5 might fill when nothing is held."""
    tranches = {"tranches": [{"pct": 0.5, "close_pct": 50}, {"pct": 6, "close_pct": 50}]}
    rows = [still(100.0)] * 3 + [(100, 100, 98.9, 99, 100_000.0)] * 2
    result = desk(rows, {1: UP}, venue=FREE, **resting(timeout_bars=9) | {"targets": tranches})
    # 99 x 1.005 = 99.495 and x 1.06 = 104.94; the anchor stands for the plain target alone
    sent = [(role, q, level, reduces) for role, _, _, q, level, reduces in result.states()[3].orders]
    assert sent == [
        ("anchor", 50.505, 97.0, True),
        ("stop", 101.01, 97.0, True),
        ("target", 50.505, 99.5, True),
        ("target", 50.505, 104.9, False),
    ]


@pytest.mark.parametrize(("signal", "reached", "short_of_it"), [(UP, 102.0, 101.9), (DOWN, 98.0, 98.1)])
def test_a_plain_target_that_the_market_has_reached_is_left_as_it_is(signal, reached, short_of_it):
    """Ten coins more are asked of the nearer one, at bar 2 with the market there, at bar 3 a tick before."""
    holder = []

    def decide(view: Any, params: Any) -> Intent | None:
        closes = {T0 + 3 * MINUTE: reached, T0 + 4 * MINUTE: short_of_it}
        if view.ts_event in closes:
            sender = holder[0]._orders
            target = sender.targets()[0]
            more = Modify("target", target.order_id, target.open_lots + 10_000, target.ticks)
            sender.carry_out((more,), closes[view.ts_event])
        return ml_basic.decide(view, params)

    def prepare(assembly: Any) -> None:
        holder.append(assembly.strategies[0])
        deciding(decide)(assembly)

    tranches = {"tranches": [{"pct": 2, "close_pct": 50}, {"pct": 8, "close_pct": 50}]}
    script = dict.fromkeys((1, 2, 3), signal)
    result = desk([still(100.0)] * 5, script, venue=FREE, prepare=prepare, targets=tranches)
    assert "OrderPendingUpdate" not in asked_of_targets(result, after_bar=1, to_bar=2)
    assert "OrderPendingUpdate" in asked_of_targets(result, after_bar=2, to_bar=3)


def test_an_entry_is_not_moved_before_the_venue_has_it():
    """To 99.4 (99.495 down to the tick), asked for at every close from bar 2 on, sent once it is there."""
    rows = [still(100.0)] * 2 + [still(100.5)] * 6
    chasing = resting(timeout_bars=1, on_timeout="reprice")
    result = desk(rows, {1: UP}, venue=LATE, **chasing)
    (order,) = result.simulation.engine.cache.orders()
    found = [((event.ts_event - T0) // MINUTE - 1, type(event).__name__) for event in order.events()]
    assert found[:5] == [
        (1, "OrderInitialized"),
        (1, "OrderSubmitted"),
        (3, "OrderAccepted"),
        (4, "OrderPendingUpdate"),
        (6, "OrderUpdated"),
    ]
    # 101.01 at 99 are 9,999.99; at 99.4 a coin costs more: 101.01 / (99.4 / 99) = 100.6035
    assert orders(result, 6, "entry") == [(100.603, 99.4)]


def test_an_entry_that_is_moved_keeps_what_has_filled_of_it():
    """20 at 99, then on to 99.4 for what is left of what 9,999.99 buy there: 100.603 less 20."""
    rows = [still(100.0)] * 2 + [(100, 100.2, 98.9, 100, 80)] + [still(100.5)] * 2
    result = desk(rows, {1: UP}, venue=FREE, **resting(on_timeout="reprice"))
    assert fills(result) == [(2, "entry", 20.0, 99.0)]
    assert [orders(result, bar, "entry") for bar in (2, 3)] == [[(81.01, 99.0)], [(80.603, 99.4)]]


def test_an_entry_that_the_venue_refused_takes_no_place_that_is_gone_when_it_is_sent_again():
    """BTC is refused at bar 2 (99.8 would take at 99), ETH enters there, BTC is sent again at bar 3."""
    names = (str(BTC.id), str(ETH.id))
    late = {**FREE, "latency_ms": 30_000}
    falling = [[still(100.0)] * 2 + [still(price)] * 4 + [still(98.0)] * 4 for price in (99.0, 99.5)]
    result = desk(
        dict(zip(names, falling, strict=True)),
        {names[0]: {1: UP}, names[1]: {2: UP}},
        BTC,
        ETH,
        venue=late,
        risk={"position": {"max_positions": 1}},
        **resting(order="post_only", offset_bps=20, timeout_bars=1, on_timeout="reprice"),
    )
    held = [result.states(strategy)[-1].position != 0 for strategy in result.assembly.strategies]
    assert held == [False, True]
    assert [(bar, d["check"]) for bar, d in result.audit("refusal")] == [(3, "max_positions")]
