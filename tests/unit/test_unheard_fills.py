"""Fills whose news was lost, or that the engine hears of without what they closed."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from nautilus_trader.model import ClientOrderId, OrderStatus, Price, Quantity

from strategies.base import TradingStrategy
from strategies.entries import PendingEntry
from strategies.live_care import LiveCare
from strategies.lost_orders import Market, Suspects
from strategies.memory import TradeMemory
from strategies.order_views import only_closes
from strategies.values import Approved
from tests.desk_bench import NAME, Bench

SECOND = 1_000_000_000
NOWHERE = Market(100.0, 101.0, 100.5)
APPROVED = Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {})


def _actions(bench: Bench, name: str) -> list[Any]:
    details = [getattr(message, "detail", {}) for _, message in bench.told]
    return [detail for detail in details if detail.get("action") == name]


def _begun(bench: Bench, memory: TradeMemory | None = None) -> tuple[LiveCare, list[str]]:
    """The node has begun; what the venue is asked about is written down."""
    asked: list[str] = []
    bench.strategy.query_order = lambda order: asked.append(str(order.client_order_id))
    return bench.start(memory), asked


def _open(bench: Bench) -> None:
    bench.held = 0.075
    bench.open()


def _over(bench: Bench, care: LiveCare, order: Any, handler: str, filled: float) -> None:
    """The venue says that the order is over, `filled` of it as far as has been heard."""
    order.filled_qty, order.status = Quantity(filled, 3), OrderStatus.CANCELED
    handlers: Any = TradingStrategy
    strategy = SimpleNamespace(_is_deaf=False, _keeper=bench.keeper, care=care)
    strategy.on_order_canceled = partial(handlers.on_order_canceled, strategy)
    event = SimpleNamespace(client_order_id=order.client_order_id, reason="", ts_event=bench.now)
    getattr(handlers, handler)(strategy, event)


# -- an order that was closed with a part unfilled ---------------------------------------------------------


@pytest.mark.parametrize("handler", ["on_order_expired", "on_order_canceled"])
def test_an_entry_that_ends_with_a_part_unfilled_is_asked_about(handler: str) -> None:
    bench = Bench(held=0.0)
    care, asked = _begun(bench)
    bench.enter(75)
    (entry,) = bench.sent
    bench.held = 0.05
    bench.fill(entry, 0.05, OrderStatus.PARTIALLY_FILLED)
    _over(bench, care, entry, handler, 0.05)
    assert asked == [str(entry.client_order_id)]


def test_a_stop_or_an_order_that_filled_to_the_end_is_not() -> None:
    bench = Bench(held=0.0)
    care, asked = _begun(bench)
    _open(bench)
    (stop,) = bench.sent
    _over(bench, care, stop, "on_order_canceled", 0.0)
    bench.enter(75)
    _over(bench, care, bench.sent[-1], "on_order_canceled", 0.075)
    assert asked == []


def test_it_is_asked_about_once_more_as_the_answer_may_be_lost() -> None:
    suspects = Suspects()
    suspects.over("a", 0)
    looks = [suspects.look([], NOWHERE, k * SECOND // 4) for k in range(40)]
    assert [k for k, found in enumerate(looks) if found == ["a"]] == [4]


def test_a_fill_that_is_found_then_belongs_to_the_trade() -> None:
    bench = Bench(held=0.0)
    care, _ = _begun(bench)
    bench.enter(75)
    (entry,) = bench.sent
    bench.held = 0.05
    bench.fill(entry, 0.05, OrderStatus.PARTIALLY_FILLED)
    _over(bench, care, entry, "on_order_expired", 0.05)
    bench.held = 0.07
    bench.fill(entry, 0.02, OrderStatus.CANCELED)
    assert bench.keeper.trade is not None
    assert bench.keeper.trade.entry_lots == 70


def test_of_an_entry_that_seemed_to_have_filled_nothing_it_opens_the_trade_as_planned() -> None:
    bench = Bench(held=0.0)
    care, asked = _begun(bench)
    bench.enter(75)
    (entry,) = bench.sent
    _over(bench, care, entry, "on_order_canceled", 0.0)
    assert asked == [str(entry.client_order_id)]
    assert bench.keeper.entry.pending is None
    bench.held = 0.02
    bench.fill(entry, 0.02, OrderStatus.CANCELED)
    assert bench.keeper.trade is not None
    assert _actions(bench, "unexpected_position") == []
    # 2 % below the fill at 1000, as was permitted, not the 1 % of a position that nobody knows
    assert [(order.closes, order.trigger_price.as_double()) for order in bench.sent[1:]] == [(True, 980.0)]


def _found(bench: Bench, quantity: float, *, is_buy: bool) -> None:
    """The engine has compared positions: a fill without an order's name."""
    nameless: Any = SimpleNamespace(client_order_id=ClientOrderId("nobody-knows"), is_buy=is_buy)
    bench.held = round(bench.held + (quantity if is_buy else -quantity), 3)
    bench.fill(nameless, quantity, OrderStatus.PARTIALLY_FILLED)


def test_a_later_part_of_an_entry_that_only_the_positions_show_is_in_its_targets() -> None:
    bench = Bench(held=0.0)
    _begun(bench)
    bench.keeper.entry.pending = PendingEntry(APPROVED, ((0.02, 0.6),), 75)
    bench.desk.market("entry", 1, 75)
    (entry,) = bench.sent
    bench.held = 0.05
    bench.fill(entry, 0.05, OrderStatus.PARTIALLY_FILLED)
    opened = bench.keeper.trade
    assert opened is not None
    _found(bench, 0.025, is_buy=True)
    assert (opened.entry_lots, [rung.lots for rung in opened.rungs]) == (75, [45])
    bench.fill(entry, 0.025)  # told after all
    assert (opened.entry_lots, [rung.lots for rung in opened.rungs]) == (75, [45])


def test_what_the_positions_show_to_be_sold_is_no_part_of_an_entry() -> None:
    bench = Bench(held=0.0)
    _begun(bench)
    bench.enter(75)
    (entry,) = bench.sent
    bench.held = 0.05
    bench.fill(entry, 0.05, OrderStatus.PARTIALLY_FILLED)
    _found(bench, 0.02, is_buy=False)
    opened, pending = bench.keeper.trade, bench.keeper.entry.pending
    assert opened is not None
    assert pending is not None
    assert (opened.entry_lots, pending.filled_lots) == (50, 50)


# -- the end of a position ---------------------------------------------------------------------------------


def test_when_a_position_is_over_the_venue_is_asked_whether_it_is() -> None:
    bench = Bench(held=0.0)
    care, _ = _begun(bench)
    _open(bench)
    assert not care.word.is_wanted
    bench.held = 0.0
    bench.keeper.protect()
    assert care.word.is_wanted


@pytest.mark.parametrize(
    ("mark", "level"),
    [(1000.0, 995.0), (994.0, 990.0)],  # 1 % below the quote; the plan's is passed by then
)
def test_the_rest_of_a_trade_has_its_stop_no_farther_away_than_the_trade_had(
    mark: float, level: float
) -> None:
    bench = Bench(held=0.0)
    care, _ = _begun(bench)
    _open(bench)
    bench.move(9_950)
    bench.held = 0.0
    bench.keeper.protect()
    for order in tuple(bench.sent):
        bench.answer(order, OrderStatus.CANCELED)
    bench.strategy.cache.mark_price = lambda _: SimpleNamespace(value=Price(mark, 1))
    for _ in range(2):
        care.word.heard(0.02, ())
        care.word.act()
    assert bench.keeper.unheard == 20
    stops = [
        order.trigger_price.as_double() for order in bench.sent if order.order_type.name == "STOP_MARKET"
    ]
    assert stops[-1] == level


def test_a_trade_that_the_venue_knows_to_be_over_says_nothing_of_the_next_position() -> None:
    bench = Bench(held=0.0)
    care, _ = _begun(bench)
    _open(bench)
    bench.held = 0.0
    bench.keeper.protect()
    assert bench.keeper.left is not None
    care.word.heard(0.0, ())
    care.word.act()
    assert bench.keeper.left is None


# -- a closing order that seems to open --------------------------------------------------------------------


def _left_behind() -> TradeMemory:
    return TradeMemory(NAME, held_lots=75, trade=Bench().open(), tick_size=0.1, step_size=0.001)


def _entering() -> TradeMemory:
    return TradeMemory(NAME, pending=PendingEntry(APPROVED, (), 75), tick_size=0.1, step_size=0.001)


def _fire(bench: Bench, name: str, *parts: float) -> None:
    """A sale is told part by part, and the engine knows nothing that it could close."""
    order = SimpleNamespace(client_order_id=ClientOrderId(name), is_buy=False)
    for part in parts:
        bench.held = round(bench.held - part, 3)
        bench.fill(order, part, OrderStatus.PARTIALLY_FILLED)


@pytest.mark.parametrize("memory", [_left_behind(), _entering()], ids=["trade", "entry"])
def test_a_stop_that_fired_while_the_node_connected_and_is_told_afterwards_opens_nothing(
    memory: TradeMemory,
) -> None:
    bench = Bench(held=0.0)
    care, _ = _begun(bench, memory)
    asked_at = bench.now
    bench.now += SECOND // 100
    _fire(bench, "00-mwqcnqru-0S0", 0.046, 0.029)
    assert (bench.keeper.held_lots(), bench.sent) == (0, [])
    assert _actions(bench, "unexpected_position") == []
    assert care.word.is_wanted
    care.word.heard(0.075, (), asked_at)  # an answer about the time before it fired
    care.word.act()
    assert (bench.keeper.held_lots(), bench.sent) == (0, [])
    care.word.heard(0.0, (), bench.now)
    care.word.act()
    assert care.word.amount == 0.0
    bench.now += 60 * SECOND
    care.word.act()
    assert (bench.keeper.held_lots(), bench.sent) == (0, [])


def test_what_the_venue_has_of_it_after_all_is_covered_and_closed() -> None:
    bench = Bench(held=0.0)
    care, _ = _begun(bench, _left_behind())
    _fire(bench, "00-mwqcnqru-0S0", 0.075)
    care.word.heard(-0.075, (), bench.now)
    care.word.act()
    assert [order.closes for order in bench.sent] == [True, False]
    assert all(order.is_buy for order in bench.sent)


def test_a_fill_without_a_name_is_a_position_as_ever() -> None:
    bench = Bench(held=0.0)
    _begun(bench)
    _fire(bench, "5589c707-7be9-54b8-b7e7-c969372bdb94", 0.075)
    assert bench.keeper.held_lots() == -75
    assert len(_actions(bench, "unexpected_position")) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("00-abc-1S0", True),
        ("00-abc-2B0", True),
        ("00-abc-3T1", True),
        ("00-abc-4X0", True),
        ("autoclose-1700000000", True),
        ("00-abc-5E0", False),
        ("00-abc-6A0", False),
        ("5589c707-7be9-54b8", False),
    ],
)
def test_stops_targets_exits_and_the_venues_own_orders_only_close(name: str, expected: bool) -> None:
    assert only_closes(name) is expected
