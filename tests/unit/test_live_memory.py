"""A disk that takes no memory: nothing new is entered, and what is held is looked after as before."""

from types import SimpleNamespace
from typing import Any

from nautilus_trader.model import OrderStatus

from configs.errors import RunFailedError
from strategies.entries import PendingEntry
from strategies.journal import Journal
from strategies.live_care import LiveCare
from strategies.memory import TradeMemory
from strategies.setup import LiveDuty
from strategies.values import Approved
from tests.desk_bench import NAME, Bench

SECOND = 1_000_000_000
PENDING = PendingEntry(Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {}), (), 75)


class Disk:
    """A file for the memory; `is_full`: it refuses. `kept` is what it holds."""

    def __init__(self, kept: TradeMemory) -> None:
        self.is_full = False
        self.kept = kept

    def read(self) -> TradeMemory:
        return self.kept

    def write(self, memory: TradeMemory, *, waits: bool) -> None:
        del waits
        if self.is_full:
            raise RunFailedError("state file trade-a.json cannot be written: No space left on device")
        self.kept = memory


class Book:
    """Coins in a file; `is_refused`: the disk does not take them."""

    is_refused = False

    def keep(self) -> None:
        if self.is_refused:
            raise RunFailedError("coins.json cannot be written: No space left on device")


def _caring(bench: Bench) -> tuple[LiveCare, Disk]:
    """A node that has begun with the bench's position and its stop."""
    trade = Bench().open() if bench.held else None
    lots = round(bench.held * 1000)
    disk: Any = Disk(TradeMemory(NAME, held_lots=lots, trade=trade, tick_size=0.1, step_size=0.001))
    permits: Any = SimpleNamespace(remember=lambda _: None, last_intent=None, gate=None)
    journal = Journal(bench.strategy, "a", NAME)
    duty = LiveDuty(may_enter=True, memory=disk)
    bench.setup.live = duty
    care = LiveCare(bench.strategy, bench.setup, duty, bench.desk, journal, bench.keeper, permits)
    care.start()
    for order in bench.sent:
        bench.answer(order)
    return care, disk


def _tick(bench: Bench, care: LiveCare, secs: float = 1.0) -> None:
    bench.now += round(secs * SECOND)
    care.tick()


def test_on_a_full_disk_protection_and_the_venues_word_go_on() -> None:
    bench = Bench()
    care, disk = _caring(bench)
    (stop,) = bench.sent
    disk.is_full = True
    assert bench.keeper.trade is not None
    bench.keeper.trade.plan = bench.keeper.trade.plan._replace(stop_ticks=9850)
    _tick(bench, care)
    bridge = bench.sent[1]
    assert bridge.trigger_price.as_double() == 985.0, "the stop moves"
    bench.answer(bridge)
    assert bench.cancelled == [str(stop.client_order_id)]
    bench.answer(stop, OrderStatus.CANCELED)
    moved = bench.sent[2]
    assert moved.closes
    bench.answer(moved)
    for _ in range(2):
        care.word.heard(0.075, {str(bridge.client_order_id)})  # the closing stop is gone
        _tick(bench, care)
    assert [order.closes for order in bench.sent[3:]] == [True]
    assert ["does not work at the venue" in text for text in bench.alarms()] == [False, True]


def test_on_a_full_disk_nothing_is_entered_and_one_alarm_says_so() -> None:
    bench = Bench(held=0.0)
    care, disk = _caring(bench)
    disk.is_full = True
    assert not care.before_entry(PENDING)
    for _ in range(8):
        _tick(bench, care, 0.25)
    assert care.gate.reason == "memory"
    care.gate.resume()  # an operator cannot talk it away
    _tick(bench, care, 0.25)
    refused = care.gate.refuses()
    assert refused is not None
    assert refused.check == "memory"
    assert ["No space left" in text for text in bench.alarms()] == [True]


def test_with_room_again_the_memory_is_written_and_entries_are_let_in() -> None:
    bench = Bench()
    care, disk = _caring(bench)
    disk.is_full = True
    bench.keeper.exit("time")
    bench.held = 0.0
    bench.fill(bench.sent[-1], 0.075)  # the fill is heard of, whatever the disk says
    care.ended("id", 1.0, 1, 5.0, "time")
    assert care.gate.reason == "memory"
    disk.is_full, disk.kept = False, TradeMemory(NAME)
    _tick(bench, care)
    assert disk.kept.flat_since is not None
    assert care.gate.reason is None
    assert care.before_entry(PENDING)
    assert disk.kept.pending == PENDING


def test_a_state_that_the_disk_refuses_afterwards_keeps_entries_out_without_a_gap() -> None:
    """Every second write tells of the one before it."""
    bench = Bench(held=0.0)
    care, disk = _caring(bench)
    reasons = set()
    disk.is_full = True
    assert not care.before_entry(PENDING)
    for number in range(12):
        disk.is_full = number % 2 == 1
        _tick(bench, care, 0.25)
        reasons.add(care.gate.reason)
    assert reasons == {"memory"}
    assert len(bench.alarms()) == 1


def test_coins_that_the_disk_refuses_keep_entries_out_until_it_takes_them() -> None:
    bench = Bench(held=0.0)
    care, _ = _caring(bench)
    book = Book()
    coins: Any = SimpleNamespace(holdings=book, look=lambda: None, held_lots=lambda: 0)
    bench.keeper.coins = coins
    book.is_refused = True
    for _ in range(8):
        _tick(bench, care, 0.25)
    assert care.gate.reason == "memory"
    assert not care.before_entry(PENDING)
    assert ["No space left" in text for text in bench.alarms()] == [True]
    book.is_refused = False
    _tick(bench, care)
    assert care.gate.reason is None
    assert care.unkept.error.startswith("coins.json")


def test_a_position_on_its_way_out_is_not_quiet_however_well_its_stop_works() -> None:
    bench = Bench()
    care, _ = _caring(bench)
    assert (care.is_safe, care.is_quiet) == (True, True)
    opened: Any = bench.keeper.trade
    opened.exit_reason = "time"  # it was refused, say, and is sent again in a moment
    assert (care.is_safe, care.is_quiet) == (True, False)
