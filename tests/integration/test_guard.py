"""The guard in the real engine: what it hears, when it speaks, and what it leaves behind for a restart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, BarType, StrategyId
from nautilus_trader.trading import StrategyConfig

from actors.audit import AuditActor, decisions_frame, decisions_hash
from actors.faults import raise_failures
from actors.guard import Guard
from actors.messages import (
    COMMAND_TOPIC,
    RISK_MODE_TOPIC,
    TRADING_TOPIC,
    Command,
    EntrySubmitted,
    Mode,
    OrderRefused,
    RiskMode,
    TradeClosed,
)
from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from backtests.venue import BINANCE, build_engine
from catalog.store import bar_type
from configs.errors import ConfigError, DataError, RunFailedError
from configs.trading import RiskConfig
from tests.hand_market import MINUTE, T0, Scripted, Trace, columns, config, instrument, schedule
from tests.markets import FLAT, Speaker, bars_of, flat_rows, random_rows

BTC = instrument()
ETH = instrument("ETHUSDT")
NAME, OTHER = str(BTC.id), str(ETH.id)
HOUR = 60 * MINUTE


class Ear(DataActor):
    """Writes every word down; may answer one with a message of its own."""

    def __new__(cls, *_: Any) -> "Ear":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("EAR-001")))

    def __init__(self, answer: Callable[["Ear", RiskMode], None] | None = None) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("EAR-001")))
        self.words: list[RiskMode] = []
        self.answer = answer

    def on_start(self) -> None:
        self.subscribe_topic(RISK_MODE_TOPIC, self.hear)

    def hear(self, word: Any) -> None:
        self.words.append(word)
        if self.answer is not None:
            self.answer(self, word)


@dataclass
class Outcome:
    guard: Guard
    ear: Ear
    audit: AuditActor

    @property
    def words(self) -> list[tuple[int, str]]:
        """(bar, mode) of all words; the one at the start carries the first bar's time in a backtest."""
        return [(bar_of(w.ts_event), str(w.mode)) for w in self.ear.words]

    def changes(self) -> list[tuple[int, str, dict[str, Any]]]:
        return [
            (r.ts_event, r.detail["mode"], r.detail)
            for r in self.audit.records
            if r.kind == "risk" and "mode" in r.detail
        ]


def close_of(bar: int) -> int:
    return T0 + MINUTE * (bar + 1)


def bar_of(ts: int) -> int:
    return (ts - T0) // MINUTE - 1


def run(
    rows: Mapping[Any, Sequence[tuple[float, ...]]] | Sequence[tuple[float, ...]],
    said: Mapping[int, Sequence[object]] | None = None,
    commands: Mapping[int, Sequence[object]] | None = None,
    plan: Mapping[int, Sequence[Any]] | None = None,
    *,
    risk: Mapping[str, Any] | None = None,
    state_path: Path | None = None,
    answer: Any = None,
    keep: Callable[[str, int], bool] = lambda instrument, bar: True,
    prepare: Callable[[Guard], None] = lambda guard: None,
    guard_class: type[Guard] = Guard,
    funding: Any = None,
    traded: Any = BTC,
) -> Outcome:
    """One engine with a guard, an ear, and somebody who trades by plan and speaks by script."""
    by_instrument = rows if isinstance(rows, Mapping) else {traded: rows}
    instruments = list(by_instrument)
    engine = build_engine(config(*instruments), instruments, funding).engine
    kinds = [BarType.from_str(bar_type(str(i.id), "1m")) for i in instruments]
    for each, market in by_instrument.items():
        bars = bars_of(each, columns(market))
        engine.add_data([bar for bar in bars if keep(str(each.id), bar_of(bar.ts_event))])
    guard = guard_class(
        risk=RiskConfig(**(risk or {})),
        bar_types=kinds,
        venue=BINANCE,
        quote_currency=instruments[0].quote_currency,
        margined=traded is BTC,
        state_path=state_path,
    )
    guard.watch(engine.portfolio)
    prepare(guard)
    outcome = Outcome(guard, Ear(answer), AuditActor())
    trader = Scripted(StrategyConfig(strategy_id=StrategyId("HAND-0"), order_id_tag="0"))
    trader.bar_type, trader.instrument, trader.trace, trader.plan = kinds[0], traded, Trace(), plan or {}
    engine.add_strategy(trader)
    for actor in (outcome.audit, outcome.ear, guard):
        engine.add_actor(actor)
    if said:
        engine.add_actor(Speaker(kinds[0], TRADING_TOPIC, said))
    elif commands:
        engine.add_actor(Speaker(kinds[0], COMMAND_TOPIC, commands))
    try:
        engine.run()
        raise_failures([guard, outcome.audit])
    finally:
        engine.dispose()
    return outcome


def entry(bar: int) -> EntrySubmitted:
    return EntrySubmitted(ts_event=close_of(bar), strategy="s", instrument=NAME, side=1)


def closed(bar: int, pnl: float, reason: str = "stop") -> TradeClosed:
    return TradeClosed(
        ts_event=close_of(bar),
        strategy="s",
        instrument=NAME,
        side=1,
        pnl=pnl,
        risk=100.0,
        exit_reason=reason,
    )


def buy(quantity: float, role: str = "entry") -> Callable[[Scripted], None]:
    return lambda strategy: strategy.market(quantity, role)


def test_it_speaks_at_the_start_and_once_a_bar() -> None:
    outcome = run(flat_rows(5))
    assert outcome.words == [(0, "NORMAL"), *((bar, "NORMAL") for bar in range(5))]
    assert [detail["equity"] for _, _, detail in outcome.changes()] == [
        100_000.0
    ]  # one change: known at last


def test_it_speaks_once_a_bar_time_with_several_instruments() -> None:
    outcome = run({BTC: flat_rows(4), ETH: flat_rows(4)})
    assert outcome.words == [(0, "NORMAL"), *((bar, "NORMAL") for bar in range(4))]
    assert outcome.ear.words[-1].clusters == ((NAME, OTHER),)  # no history: taken to move together


def test_a_day_of_too_many_entries_pauses_at_once_and_frees_on_the_minute() -> None:
    said = {3: [entry(3)], 5: [entry(5)]}
    outcome = run(flat_rows(70), said, risk={"day": {"max_entries_hour": 2}})
    paused = [bar for bar, mode in outcome.words if mode == "PAUSED"]
    assert paused[0] == 5
    assert paused[-1] == 62  # the entry at bar 3's close counts until bar 63's
    assert outcome.words[-1] == (69, "NORMAL")
    (begin, _, detail), (end, mode, _) = outcome.changes()[1:]
    assert (begin, end, mode) == (close_of(5), close_of(63), "NORMAL")
    assert (detail["entries_hour.value"], detail["entries_hour.limit"]) == (2.0, 2)
    assert detail["entries_hour.until"] == close_of(63)


def test_equity_is_marked_at_the_close_of_every_bar_while_something_is_held() -> None:
    # 250 held from 100 on: at 90 the account has lost 2,500 and the fees, at 80 twice as much
    rows = flat_rows(
        8, b4=(100.0, 100.0, 90.0, 90.0), b5=(90.0, 90.0, 80.0, 80.0), b6=(80.0, 100.0, 80.0, 100.0)
    )
    outcome = run(rows, plan={1: [buy(250.0)]})
    fee = 250.0 * 100.0 * 0.0006
    (start, first, _), (second, _, fallen), (third, _, back) = outcome.changes()
    assert (first, start, second, third) == ("NORMAL", close_of(0), close_of(5), close_of(6))
    assert fallen["equity"] == pytest.approx(100_000.0 - fee - 5_000.0, abs=1e-9)
    assert fallen["drawdown_pct"] == pytest.approx((fee + 5_000.0) / 1_000.0)
    assert (fallen["mode"], fallen["multiplier"]) == ("PAUSED", 0.8)
    assert fallen["reasons"] == ["drawdown", "daily_loss"]
    assert (back["mode"], back["multiplier"], back["reasons"]) == ("PAUSED", 1.0, ["daily_loss"])


class Always(Guard):
    """Asks for the equity at every bar."""

    def _measure(self, ts: int) -> float | None:
        self._refresh = 0
        return super()._measure(ts)


class Noting(Guard):
    def _measure(self, ts: int) -> float | None:
        equity = super()._measure(ts)
        noted.append(equity)
        return equity


class NotingAlways(Noting, Always):
    pass


noted: list[float | None] = []


def test_the_equity_is_never_out_of_date_although_it_is_not_asked_for_while_flat() -> None:
    rng = np.random.default_rng(5)
    rows, plan, open_size = random_rows(5, 400), {}, 0.0
    for bar in range(5, 395):
        if rng.random() < 0.1:
            plan[bar] = [buy(-open_size, "exit")] if open_size else [buy(100.0)]
            open_size = 0.0 if open_size else 100.0
    funding = {NAME: schedule(rows, *range(10, 390, 20), rate=0.001)}  # often at a bar that closes a trade
    series = []
    for guard_class in (Noting, NotingAlways):
        noted.clear()
        run(
            rows,
            plan=plan,
            funding=funding,
            guard_class=guard_class,
            risk={"kill_switch": {"max_drawdown_pct": None}},
        )
        series.append(list(noted))
    assert series[0] == series[1]
    assert len(set(series[0])) > 100


def test_coins_count_on_spot() -> None:
    spot = instrument("BTCUSDT", "spot")
    rows = flat_rows(5, b3=(100.0, 110.0, 100.0, 110.0))
    noted.clear()
    run(rows, plan={1: [buy(100.0)]}, traded=spot, guard_class=Noting)
    fee = 100.0 * 100.0 * 0.0006
    assert noted[-2:] == [pytest.approx(100_000.0 - fee + 1_000.0), pytest.approx(100_000.0 - fee)]


def test_silence_pauses_to_the_second_and_the_next_bar_ends_it() -> None:
    outcome = run(flat_rows(40), keep=lambda _, bar: not 10 <= bar < 30)
    changes = [(ts, mode, detail["reasons"]) for ts, mode, detail in outcome.changes()[1:]]
    assert changes == [
        (close_of(9) + 11 * MINUTE, "PAUSED", ["stale_data"]),  # a minute for the bar, ten more
        (close_of(30), "NORMAL", []),
    ]
    assert outcome.changes()[1][2]["stale_data.value"] == 600.0


def test_silence_of_one_instrument_blocks_it_and_its_first_bar_frees_it() -> None:
    def keep(instrument: str, bar: int) -> bool:
        return instrument == NAME or not 10 <= bar < 40

    outcome = run({BTC: flat_rows(60), ETH: flat_rows(60)}, keep=keep)
    blocks = [(bar_of(ts), detail.get(f"blocked.{OTHER}")) for ts, _, detail in outcome.changes()[1:]]
    assert blocks == [(20, "stale_data"), (40, None)]
    assert {mode for _, mode in outcome.words} == {"NORMAL"}
    assert outcome.ear.words[30].blocked == {OTHER: "stale_data"}


@pytest.mark.parametrize("together", [True, False])
def test_history_tells_from_the_first_word_on_who_moves_together(together: bool) -> None:
    noise = np.random.default_rng(2).normal(0, 0.01, (2, 80))
    closes = 100.0 * np.exp(np.cumsum(noise, axis=1))
    times = T0 + 10 * MINUTE + HOUR * np.arange(-80, 0)  # full hours, to 07:00

    def prepare(guard: Guard) -> None:
        guard.warm_up(NAME, times, closes[0])
        guard.warm_up(OTHER, times, closes[0] ** 1.5 if together else closes[1])

    clusters = ((NAME, OTHER),) if together else ((NAME,), (OTHER,))
    outcome = run({BTC: flat_rows(5), ETH: flat_rows(5)}, prepare=prepare)
    assert {word.clusters for word in outcome.ear.words} == {clusters}


def test_correlations_go_on_during_the_run() -> None:
    # a warm-up of 71 returns is one short of what a pair needs; the hour that ends at bar 9 brings the last
    noise = np.random.default_rng(2).normal(0, 0.01, (2, 72))
    closes = 100.0 * np.exp(np.cumsum(noise, axis=1))
    times = T0 + 10 * MINUTE + HOUR * np.arange(-72, 0)

    def prepare(guard: Guard) -> None:
        guard.warm_up(NAME, times, closes[0])
        guard.warm_up(OTHER, times, closes[1])

    outcome = run({BTC: flat_rows(75), ETH: flat_rows(75)}, prepare=prepare)
    found = [len(word.clusters) for word in outcome.ear.words[1:]]
    assert found == [1] * 10 + [2] * 65  # told at the bar after the hour's last one


def test_commands_halt_flatten_and_resume() -> None:
    commands = {
        2: [Command(ts_event=close_of(2), name="halt", reason="drill")],
        4: [Command(ts_event=close_of(4), name="flatten")],
        6: [Command(ts_event=close_of(6), name="resume", reason="over")],
    }
    outcome = run(flat_rows(9), commands=commands)
    last = {bar_of(w.ts_event): (w.mode, w.flatten) for w in outcome.ear.words}
    assert last[1] == (Mode.NORMAL, False)
    assert last[2] == last[3] == (Mode.HALTED, False)
    assert last[4] == last[5] == (Mode.HALTED, True)
    assert last[6] == last[8] == (Mode.NORMAL, False)
    told = [r.detail for r in outcome.audit.records if "command" in r.detail]
    assert told == [
        {"command": "halt", "reason": "drill"},
        {"command": "flatten", "reason": ""},
        {"command": "resume", "reason": "over"},
    ]


def test_repeated_rejections_halt_at_once() -> None:
    no = OrderRefused(ts_event=close_of(3), strategy="s", instrument=NAME, role="stop", reason="-2021")
    outcome = run(flat_rows(6), {3: [no] * 5})
    assert [w.mode for w in outcome.ear.words if w.ts_event == close_of(3)][-1] is Mode.HALTED
    assert outcome.words[-1] == (5, "HALTED")


def test_the_last_word_is_the_last_heard_even_if_a_listener_answers() -> None:
    def answer(ear: Ear, word: RiskMode) -> None:
        if word.mode is Mode.NORMAL and bar_of(word.ts_event) == 2 and len(ear.words) == 4:
            ear.publish_message(COMMAND_TOPIC, Command(ts_event=word.ts_event, name="halt"))

    outcome = run(flat_rows(5), answer=answer)
    assert outcome.words == [
        (0, "NORMAL"),
        (0, "NORMAL"),
        (1, "NORMAL"),
        (2, "NORMAL"),
        (2, "HALTED"),
        (3, "HALTED"),
        (4, "HALTED"),
    ]


def test_the_same_run_leaves_the_same_records() -> None:
    def once() -> Outcome:
        said = {bar: [entry(bar), closed(bar, -50.0)] for bar in range(5, 60, 6)}
        return run(random_rows(3, 120), said, plan={4: [buy(300.0)]}, risk={"day": {"max_entries_hour": 5}})

    first, second = once(), once()
    assert {"NORMAL", "PAUSED"} <= {mode for _, mode, _ in first.changes()}
    assert decisions_hash(first.audit.records) == decisions_hash(second.audit.records)
    assert first.ear.words == second.ear.words
    assert set(decisions_frame(first.audit.records)["kind"]) == {"risk"}


def test_a_halt_survives_a_restart_and_the_file_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    commands = {
        8: [Command(ts_event=close_of(8), name="flatten", reason="enough")]
    }  # after the last bar's word
    run(flat_rows(9), commands=commands, state_path=path)
    outcome = run(flat_rows(5), state_path=path)
    assert {mode for _, mode in outcome.words} == {"HALTED"}
    assert outcome.ear.words[0].flatten
    assert outcome.changes()[0][2]["halt_command.reason"] == "enough"
    resumed = run(flat_rows(5), commands={1: [Command(ts_event=close_of(1), name="resume")]}, state_path=path)
    assert resumed.words[-1] == (4, "NORMAL")
    assert run(flat_rows(3), state_path=path).words[0] == (0, "NORMAL")


def test_what_is_marked_at_the_start_is_on_disk_before_the_first_beat(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    seen: list[bool] = []
    run(flat_rows(2), state_path=path, answer=lambda ear, word: seen.append(path.exists()))
    assert seen[:2] == [False, True]


def test_entries_and_last_intents_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    risk = {"day": {"max_entries_day": 2}}
    run(flat_rows(6), {3: [entry(3)], 5: [entry(5)]}, risk=risk, state_path=path)
    outcome = run(flat_rows(6), risk=risk, state_path=path)
    assert {mode for _, mode in outcome.words} == {"PAUSED"}
    assert outcome.guard.last_intents == {NAME: (close_of(5), 1)}


def test_on_a_full_disk_the_guard_hears_everything_says_paused_and_writes_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "state.json", StateFile.write
    guards: list[Guard] = []

    def write_or_not(file: StateFile[Any], value: Any, **how: Any) -> None:
        if close_of(2) <= guards[0].clock.timestamp_ns() < close_of(5) + 10**9:
            raise RunFailedError("state.json cannot be written: No space left on device")
        write(file, value, **how)

    monkeypatch.setattr(StateFile, "write", write_or_not)
    said = {2: [entry(2)], 3: [entry(3)], 4: [closed(4, -50.0)]}
    outcome = run(flat_rows(9), said, state_path=path, prepare=guards.append)
    last = {bar_of(w.ts_event): (str(w.mode), w.reasons) for w in outcome.ear.words}
    assert last[1] == ("NORMAL", ())
    assert {last[bar] for bar in (2, 3, 4)} == {("PAUSED", ("memory",))}
    assert last[6] == last[8] == ("NORMAL", ())
    alarms = [r.detail["text"] for r in outcome.audit.records if r.kind == "alarm"]
    assert ["No space left" in text for text in alarms] == [True]
    over = [ts for ts, mode, _ in outcome.changes() if mode == "NORMAL"][-1]
    assert over - close_of(5) <= 2_500_000_000  # not only with the next bar
    kept = StateFile(path, RiskMemory).read()
    assert kept is not None
    assert (kept.last_intents, kept.day.streak) == ({NAME: (close_of(3), 1)}, 1)
    assert not outcome.guard.unkept.is_on


def test_a_guard_that_cannot_write_at_all_goes_on_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RunFailedError("no space")

    monkeypatch.setattr(StateFile, "write", refuse)
    commands = {2: [Command(ts_event=close_of(2), name="halt", reason="drill")]}
    outcome = run(flat_rows(5), commands=commands, state_path=tmp_path / "state.json")
    assert [mode for _, mode, _ in outcome.changes()][-1] == "HALTED"
    assert outcome.guard.unkept.is_on
    assert outcome.guard.unkept.error == "no space"


def test_a_backtest_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(flat_rows(5), {2: [entry(2)]})
    assert list(tmp_path.iterdir()) == []


def bare_guard(path: Path | None = None, currency: Any = None) -> Guard:
    kind = BarType.from_str(bar_type(NAME, "1m"))
    quote = currency or BTC.quote_currency
    return Guard(
        risk=RiskConfig(),
        bar_types=[kind],
        venue=BINANCE,
        quote_currency=quote,
        margined=True,
        state_path=path,
    )


def test_a_damaged_state_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    run(flat_rows(3), state_path=path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        bare_guard(path)


def test_the_state_of_another_account_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    run(flat_rows(3), state_path=path)
    with pytest.raises(DataError, match=r"belongs to account 'BINANCE USDT', this run trades 'BINANCE BTC'"):
        bare_guard(path, BTC.base_currency)


def test_two_bar_types_of_one_instrument_are_refused() -> None:
    kinds = [BarType.from_str(bar_type(NAME, bar)) for bar in ("1m", "5m")]
    with pytest.raises(ConfigError, match="one bar type per instrument"):
        Guard(
            risk=RiskConfig(),
            bar_types=kinds,
            venue=BINANCE,
            quote_currency=BTC.quote_currency,
            margined=True,
        )


def test_without_a_portfolio_the_run_does_not_start() -> None:
    engine = build_engine(config(BTC), [BTC]).engine
    engine.add_data(bars_of(BTC, columns([FLAT] * 3)))
    guard = bare_guard()
    engine.add_actor(guard)
    with pytest.raises(RuntimeError, match="knows no portfolio"):
        engine.run()
    assert isinstance(guard.failure, ConfigError)
    engine.dispose()


def test_a_message_that_does_not_belong_there_fails_the_run() -> None:
    with pytest.raises(RunFailedError, match="guard failed"):
        run(flat_rows(5), {2: ["a word"]})
