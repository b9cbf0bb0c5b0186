"""What the account has at risk, what it may still take, and what the guard keeps when it is killed."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, BarType, OrderSide, QuoteTick

from actors.faults import raise_failures
from actors.guard import Guard
from actors.messages import RISK_MODE_TOPIC, TRADING_TOPIC, RiskMode, TradeClosed
from actors.risk_state import RiskMemory, RiskState
from actors.state_file import StateFile
from backtests.venue import BINANCE, build_engine
from catalog.store import bar_type
from configs.trading import RiskConfig
from strategies.book import AccountReader, Costs, UnderWay
from strategies.values import Account, Approved, Book, Intent, Refused
from tests.hand_market import MINUTE, T0, Scripted, columns, config, instrument, run_market
from tests.markets import FLAT, UP, bars_of, deciding, desk, flat_rows

TRADED = instrument()
BTC = str(TRADED.id)
FREE = {"taker_fee_bps": 0, "slippage_bps": 0, "maker_fee_bps": 0}
KIND = BarType.from_str(bar_type(BTC, "1m"))

# -- what is at risk ----------------------------------------------------------------------------------------


def booked(*steps: Callable[[Scripted, UnderWay], None], side: int = 1, price: float = 100.0) -> Any:
    """Account and book of 100 coins held from 100 at leverage 10, one bar after these steps at `price`.

    Costs are a thousandth of the entry and two of the exit.
    """
    seen: list[tuple[Account, Book]] = []
    under_way = UnderWay()

    def look(strategy: Scripted) -> None:
        reader = AccountReader(
            strategy,
            under_way,
            venue=TRADED.id.venue,
            currency=TRADED.quote_currency,
            margined=True,
            leverage=10.0,
            costs=Costs(0.001, 0.002),
        )
        seen.append(reader.read([str(TRADED.id)]))

    plan = {
        1: [lambda strategy: strategy.market(side * 100.0)],
        3: [lambda strategy, step=step: step(strategy, under_way) for step in steps],
        4: [look],
    }
    rows = [FLAT, FLAT, *[(price, price, price, price)] * 4]
    run_market(rows, plan, TRADED, leverage=10.0, **FREE)
    return seen[0]


def stop(level: float, quantity: float = -100.0) -> Callable[[Scripted, UnderWay], None]:
    return lambda strategy, _: strategy.stop(quantity, level)


def target(level: float) -> Callable[[Scripted, UnderWay], None]:
    return lambda strategy, _: strategy.target(-100.0, level)


def limit(side: OrderSide, quantity: float, level: float, risk: float | None = None) -> Any:
    """A plain limit order; with `risk` (of a coin) it is an entry under way."""

    def step(strategy: Scripted, under_way: UnderWay) -> None:
        size, price = TRADED.make_qty(quantity), TRADED.make_price(level)
        order = strategy.order_factory.limit(TRADED.id, side, size, price)
        if risk is not None:
            under_way.add(order.client_order_id, level, risk)
        strategy._send("entry", order)

    return step


@pytest.mark.parametrize(
    ("side", "levels", "nearest"), [(1, (97.0, 98.0), 98.0), (-1, (102.0, 103.0), 102.0)]
)
@pytest.mark.parametrize("order", [1, -1])
def test_of_two_stops_the_nearer_one_says_what_is_at_risk(side, levels, nearest, order):
    """As of a stop that has moved and an anchor that stays."""
    _, book = booked(*(stop(level, -side * 100.0) for level in levels[::order]), side=side)
    # a coin loses 2, and costs 0.1 on the way in and 0.002 of the stop's price on the way out
    assert book.risks == {BTC: pytest.approx(100 * (2.0 + 0.1 + 0.002 * nearest))}


def test_a_target_is_no_stop():
    _, book = booked(target(104.0), stop(98.0))
    assert book.risks == {BTC: pytest.approx(100 * (2.0 + 0.1 + 0.196))}


def test_a_stop_beyond_the_entry_has_the_costs_at_risk_and_no_gain_to_set_against_them():
    _, book = booked(stop(102.0), price=105.0)
    # the stop would win 2 a coin: 0.1 in and 0.204 out are what there is to lose
    assert book.risks == {BTC: pytest.approx(100 * (0.1 + 0.204))}


def test_without_a_stop_the_whole_notional_is_at_risk():
    _, book = booked()
    assert (book.risks, book.risk_of(BTC)) == ({}, 10_000.0)


def test_an_entry_under_way_does_not_hide_that_what_is_held_has_no_stop():
    _, book = booked(limit(OrderSide.BUY, 25.0, 99.0, risk=2.0))
    assert book.entries_pending == {BTC: 1}
    assert book.risk_of(BTC) == pytest.approx(10_000.0 + 25 * 99.0)


def test_an_entry_under_way_adds_its_risk_to_that_of_what_is_held():
    _, book = booked(stop(98.0), limit(OrderSide.BUY, 25.0, 99.0, risk=2.0))
    assert book.risks == {BTC: pytest.approx(100 * (2.0 + 0.1 + 0.196) + 25 * 2.0)}


# -- what is free -------------------------------------------------------------------------------------------


def test_what_is_held_ties_its_initial_margin_although_the_engine_holds_back_less():
    # 10,000 at leverage 10 are 1,000; the engine's maintenance margin is a fraction of that
    account, _ = booked(stop(98.0))
    assert account == Account(100_000.0, pytest.approx(99_000.0), 10.0, pytest.approx(10_000.0))


def test_where_the_engine_holds_back_more_that_is_what_is_tied():
    # a plain order of 300 coins at 110 takes 3,300 at least
    account, _ = booked(stop(98.0), limit(OrderSide.SELL, 300.0, 110.0))
    assert account.free_margin <= 100_000.0 - 3_300.0


# -- what is permitted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "entered"), [(1, 2), (-1, 1)])
def test_the_entry_of_before_a_restart_is_not_permitted_a_second_time(side, entered):
    """The last one sent was at bar 1; the same bar delivered again is none, its opposite and the next are."""
    at_bar_1 = (T0 + 2 * MINUTE, side)
    result = desk(
        flat_rows(5),
        {1: UP, 2: UP},
        prepare=lambda assembly: assembly.strategies[0]._permits.remember(at_bar_1),
    )
    assert [f.bar for f in result.fills() if f.role == "entry"] == [entered]
    refused = [(bar, d["check"]) for bar, d in result.audit("refusal")]
    assert refused == ([(1, "duplicate_intent")] if side == 1 else [])


@pytest.mark.parametrize(
    ("bid", "ask", "refused"),
    [
        (92.0, 108.0, []),  # the middle is 100, which is what the order is sent at
        (100.0, 108.0, ["price_sanity"]),  # 100 is 3.8 % from 104
        (92.0, 100.0, ["price_sanity"]),  # and 4.2 % from 96
    ],
)
def test_a_price_is_held_against_the_middle_of_the_quote(monkeypatch, bid, ask, refused):
    def quoted(run: Any, instruments: Any, funding: Any) -> Any:
        simulation = build_engine(run, instruments, funding)
        (one,) = instruments
        ts, size = T0 + 2 * MINUTE - 1, one.make_qty(1000.0)
        quote = QuoteTick(one.id, one.make_price(bid), one.make_price(ask), size, size, ts, ts)
        simulation.engine.add_data([quote])
        return simulation

    monkeypatch.setattr("tests.markets.build_engine", quoted)
    risk = {"position": {"price_sanity_pct": 3}}
    result = desk(flat_rows(4), {1: UP}, venue=FREE, risk=risk)
    assert [d["check"] for _, d in result.audit("refusal")] == refused
    assert len(result.audit("approval")) == (not refused)


@pytest.mark.parametrize(
    ("side", "stop_price", "check"),
    [(1, 98.0, None), (1, 101.0, "stop_distance"), (-1, 99.0, "stop_distance")],
)
def test_nothing_more_is_bought_beyond_the_stop(side, stop_price, check):
    """An addition that would be stopped out on arrival: its distance is negative, and not the other way."""
    verdicts = []

    def prepare(assembly: Any) -> None:
        permits = assembly.strategies[0]._permits

        def decide(view: Any, params: Any) -> Intent | None:
            verdict = permits.more(
                Intent(side, 1.0, ("scale_in",)),
                10.0,
                ts_event=view.ts_event,
                close=view.close,
                stop_price=stop_price,
                mode_at_entry=1.0,
                adding=True,
            )
            verdicts.append(verdict)
            return None

        deciding(decide)(assembly)

    desk(flat_rows(3), {1: UP}, venue=FREE, prepare=prepare)
    (verdict,) = verdicts
    if check is None:
        assert isinstance(verdict, Approved)
        assert verdict.risk_amount == pytest.approx(10 * 2.0)
    else:
        assert isinstance(verdict, Refused)
        assert verdict.check == check


# -- the guard ----------------------------------------------------------------------------------------------


class Witness(DataActor):
    """Hears the guard's words, says one thing at bar 3, and looks at what is on disk the moment after."""

    def __new__(cls, *_: Any) -> "Witness":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("WITNESS-001")))

    def __init__(self, message: object, look: Callable[[], None]) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("WITNESS-001")))
        self.message, self.look = message, look
        self.words: list[RiskMode] = []

    def on_start(self) -> None:
        self.subscribe_bars(KIND)
        self.subscribe_topic(RISK_MODE_TOPIC, self.words.append)

    def on_bar(self, bar: Any) -> None:
        if self.message is not None and bar.ts_event == T0 + 4 * MINUTE:
            self.publish_message(TRADING_TOPIC, self.message)
            self.look()


def guarded_run(
    witness: Witness,
    risk: RiskConfig,
    state_path: Path | None = None,
    watched: Callable[[Any], Any] = lambda portfolio: portfolio,
) -> None:
    engine = build_engine(config(TRADED), [TRADED], None).engine
    engine.add_data(bars_of(TRADED, columns(flat_rows(6))))
    guard = Guard(
        risk=risk,
        bar_types=[KIND],
        venue=BINANCE,
        quote_currency=TRADED.quote_currency,
        margined=True,
        state_path=state_path,
    )
    guard.watch(watched(engine.portfolio))
    for actor in (witness, guard):  # in this order they start: the witness hears the first word
        engine.add_actor(actor)
    try:
        engine.run()
        raise_failures([guard])
    finally:
        engine.dispose()


def test_a_kill_right_after_a_stop_out_does_not_forget_its_cool_down(tmp_path):
    path, risk = tmp_path / "risk.json", RiskConfig(day={"stop_out_pause_minutes": 60.0})
    found: list[RiskMemory] = []

    def look() -> None:
        memory = StateFile(path, RiskMemory).read()
        assert memory is not None
        found.append(memory)

    stopped = TradeClosed(
        ts_event=T0 + 4 * MINUTE,
        strategy="s",
        instrument=BTC,
        side=1,
        pnl=-100.0,
        risk=100.0,
        exit_reason="stop",
    )
    guarded_run(Witness(stopped, look), risk, path)
    (memory,) = found
    assert memory.symbols.stop_out_until == {BTC: T0 + 64 * MINUTE}
    after_the_kill = RiskState(risk, {BTC: MINUTE}, memory)
    assert after_the_kill.mode(0).blocked == {BTC: "stop_out"}


class LatePortfolio:
    """The engine's portfolio, whose account is not there yet when it is first asked."""

    def __init__(self, portfolio: Any, times: int = 1) -> None:
        self._portfolio = portfolio
        self._times = times
        self.asked = 0

    def equity(self, venue: Any) -> Any:
        self.asked += 1
        return {} if self.asked <= self._times else self._portfolio.equity(venue)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._portfolio, name)


def test_an_equity_that_is_not_known_at_the_start_is_looked_up_again_soon():
    witness = Witness(None, lambda: None)
    guarded_run(witness, RiskConfig(), watched=LatePortfolio)
    said = [(word.ts_event - T0, str(word.mode), word.reasons) for word in witness.words]
    soon = said[1][0] - said[0][0]
    assert [word[1:] for word in said[:2]] == [("PAUSED", ("no_equity",)), ("NORMAL", ())]
    assert 0 <= soon <= 250_000_000


def test_an_equity_that_was_known_late_is_written_down_before_the_next_beat(tmp_path):
    path, openings = tmp_path / "risk.json", list[float | None]()

    class Soon(Witness):
        def on_start(self) -> None:
            self.clock.set_timer_ns("look", 1_000_000_000, None, None, self.on_look)

        def on_look(self, _: Any) -> None:
            memory = StateFile(path, RiskMemory).read()
            openings.append(None if memory is None else memory.day.opening)

    late = partial(LatePortfolio, times=2)  # at the start, and at the beat that is due then
    guarded_run(Soon(None, lambda: None), RiskConfig(), path, late)
    assert openings[0] is not None
