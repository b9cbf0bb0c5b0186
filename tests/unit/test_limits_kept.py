"""Limits that a restart, a reconnection or a lost message must not lift."""

from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import RunFailedError
from strategies.entry_keeper import EntryKeeper
from strategies.memory import TradeMemory
from strategies.open_trade import open_trade
from strategies.values import Approved, Refused
from tests.desk_bench import NAME, Bench
from tests.risk_states import BTC, at, closed, state

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
APPROVED = Approved(1, 0.075, 0.02, None, 0.5, 100.0, "risk", {})


def _memory(**more: Any) -> TradeMemory:
    return TradeMemory(NAME, tick_size=0.1, step_size=0.001, **more)


def _held_trade() -> Any:
    return open_trade(APPROVED, (), 1000.0, 75, Bench().setup.rules, 10.0)


# -- pauses ------------------------------------------------------------------------------------------------


def test_quotes_that_have_come_back_lift_no_other_pause() -> None:
    bench = Bench(held=0.0)
    care = bench.start(stale_quote_ns=5 * SECOND)
    quote = SimpleNamespace(ts_init=bench.now, bid_price=None, ask_price=None)
    bench.strategy.cache.quote = lambda _: quote
    bench.now += 6 * SECOND
    care.gate.watch()
    care.gate.pause("operator:lunch")
    care.gate.pause("refused:network", 60.0)
    assert care.gate.reason == "stale_quotes"
    quote.ts_init = bench.now  # and the bar after it asks before the timer looks
    assert care.gate.refuses() == Refused("operator:lunch", 0.0, 1.0)
    care.gate.lift("operator:lunch")
    assert care.gate.refuses() == Refused("refused:network", 0.0, 1.0)
    care.gate.lift("refused:network")
    assert care.gate.refuses() is None


# -- bars flat before the next entry -----------------------------------------------------------------------


def _refusals(bench: Bench, bars: int) -> list[int | None]:
    """How many bars are said to be over at each close, None where an entry may be sent."""
    bench.setup.cool_off_bars = 2
    found: list[int | None] = []
    for bar in range(1, bars + 1):
        bench.keeper.see_bar(bar, bench.now, 1000.0)
        refused = bench.keeper.refuses()
        found.append(None if refused is None else round(refused.value))
    return found


def test_bars_of_then_or_a_clock_of_then_hold_no_entry_up_for_longer_than_the_cool_off() -> None:
    bench = Bench(held=0.0)
    bench.start(_memory(flat_since=bench.now // MINUTE * MINUTE + 50 * MINUTE))  # on bars of an hour
    assert _refusals(bench, 4) == [0, 1, None, None]


@pytest.mark.parametrize("flat_since", [None, 0])
def test_a_trade_that_ended_while_no_node_was_alive_has_its_bars_flat_to_come(flat_since: int | None) -> None:
    bench = Bench(held=0.0)
    bench.start(_memory(trade=_held_trade(), held_lots=75, flat_since=flat_since))
    assert _refusals(bench, 4) == [0, 1, None, None]


@pytest.mark.parametrize(("reason", "expected"), [(None, [1, None]), ("time", [None, None])])
def test_bars_flat_are_counted_alike_with_and_without_a_restart(
    reason: str | None, expected: list[int | None]
) -> None:
    bench = Bench()
    bench.now = bench.now // MINUTE * MINUTE + 30 * SECOND
    care = bench.start(_memory())
    opened = bench.open()
    opened.exit_reason = reason
    bench.held = 0.0
    bench.keeper.protect()  # ended by the stop inside the bar, or by an exit decided at its beginning
    after = Bench(held=0.0)
    after.now = bench.now + 70 * SECOND  # 100 s after a close: one has passed since
    after.start(care._memory)
    assert _refusals(after, 2) == expected


# -- additions ---------------------------------------------------------------------------------------------


def _adding(*, is_kept: bool) -> tuple[Bench, list[str]]:
    """A scale-in that is permitted is asked for; what happened, in order."""
    bench, steps = Bench(), []
    granted: Any = SimpleNamespace(more=lambda *_, **__: APPROVED._replace(quantity=0.02))
    bench.setup.add_share = 0.25
    journal: Any = SimpleNamespace(
        decision=lambda *_: None, refusal=lambda verdict: steps.append(f"refused {verdict.check}")
    )
    entry = EntryKeeper(bench.setup, bench.desk, journal, granted)

    def before_add() -> bool:
        steps.append("written down" if is_kept else "disk full")
        return is_kept

    def submit(order: Any, **_: Any) -> None:
        steps.append("sent")
        bench.sent.append(order)

    care: Any = SimpleNamespace(before_add=before_add)
    entry.care, bench.strategy.submit_order = care, submit
    entry.add(APPROVED, 75, 9800)
    return bench, steps


def test_an_addition_is_written_down_before_it_is_sent() -> None:
    assert _adding(is_kept=True)[1] == ["written down", "sent"]
    bench, steps = _adding(is_kept=False)
    assert steps == ["disk full", "refused memory"]
    assert bench.sent == []


def test_what_is_written_before_an_addition_has_counted_it() -> None:
    kept: list[int] = []

    def write(memory: TradeMemory, *, waits: bool) -> None:
        assert memory.trade is not None
        kept.append(memory.trade.plan.adds if waits else -1)

    bench = Bench()
    care = bench.start(_memory(trade=_held_trade(), held_lots=75))
    opened = bench.keeper.trade
    assert opened is not None
    care._file = SimpleNamespace(write=write)  # type: ignore[assignment]
    opened.plan = opened.plan._replace(adds=1)
    assert care.before_add()
    assert kept == [1]


def test_a_disk_that_refuses_lets_no_addition_through() -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RunFailedError("state file trade-a.json cannot be written: No space left on device")

    bench = Bench()
    care = bench.start(_memory(trade=_held_trade(), held_lots=75))
    care._file = SimpleNamespace(write=refuse)  # type: ignore[assignment]
    assert bench.keeper.trade is not None
    bench.keeper.trade.plan = bench.keeper.trade.plan._replace(adds=1)
    assert not care.before_add()
    assert care.gate.reason == "memory"


def test_no_second_addition_goes_while_the_first_has_not_filled() -> None:
    bench = Bench()
    opened = bench.open()
    bench.desk.market("add", 1, 20)
    bench.answer(bench.sent[-1])  # accepted, and its fill unheard
    opened.plan = opened.plan._replace(adds=2)
    bench.keeper._add(opened)
    assert len(bench.sent) == 2
    assert opened.plan.adds == 1, "it is asked again at the next close"


# -- cool-downs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["while_away", "stop_refused", "liquidation", ""])
def test_a_loss_that_nobody_decided_on_is_a_stop_out(reason: str) -> None:
    risk = state(day={"stop_out_pause_minutes": 30})
    risk.mark(at(1), 1e5)
    risk.trade_closed(closed(at(2), -100.0, reason=reason))
    assert risk.mode(0).blocked == {BTC: "stop_out"}
    risk = state(day={"stop_out_pause_minutes": 30})
    risk.mark(at(1), 1e5)
    risk.trade_closed(closed(at(2), 100.0, reason=reason))
    assert risk.mode(0).blocked == {}
