"""Who trades, as commands have changed it: what goes together, what is kept, and what a start makes of it."""

from pathlib import Path
from typing import Any

import pytest

from actors.state_file import StateFile
from configs.errors import ConfigError
from configs.load import load_run
from configs.schema import RunConfig
from live.operate.roster import ROSTER_FILE, Roster, RosterBook
from strategies.memory import TradeMemory
from strategies.open_trade import OpenTrade
from strategies.trade import PlanState
from strategies.values import Approved
from tests.live_nodes import run_file

BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"


def _run(folder: Path, **more: Any) -> RunConfig:
    return load_run(run_file(folder, **more))


def _two(folder: Path) -> tuple[RunConfig, Roster]:
    run, other = _run(folder), _run(folder, name="second", instrument=ETH)
    return run, Roster.of(run).add(other.strategies, (), {"second": {"m": "/bundles/1"}})


def _labels(run: RunConfig) -> list[str]:
    return [strategy.label for strategy in run.strategies]


def test_without_commands_the_run_file_holds_and_nothing_is_written(tmp_path: Path) -> None:
    run = _run(tmp_path)
    book = RosterBook(tmp_path, run)
    assert book.run == run
    assert not book.is_changed
    book.keep(book.roster)
    assert not (tmp_path / ROSTER_FILE).exists()


def test_a_start_takes_what_commands_have_left(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    RosterBook(tmp_path, run).keep(roster.pause("second", "news").leave("momentum"))
    book = RosterBook(tmp_path, run)
    assert book.is_changed
    assert _labels(book.run) == ["momentum", "second"]
    assert book.roster.bundles == {"second": {"m": "/bundles/1"}}
    assert book.roster.paused == {"second": "news"}
    assert book.roster.leaving == ("momentum",)


def test_only_who_trades_is_kept_everything_else_is_the_run_files(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    RosterBook(tmp_path, run).keep(roster)
    moved = run.model_copy(
        update={"live": run.live.model_copy(update={"base_url_http": "http://127.0.0.1:1"})}
    )
    book = RosterBook(tmp_path, moved)
    assert book.run.live == moved.live
    assert book.run.risk == run.risk
    assert _labels(book.run) == ["momentum", "second"]


def test_with_another_run_file_the_start_is_refused_or_begins_anew(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    RosterBook(tmp_path, run).keep(roster)
    edited = _run(tmp_path, stop={"pct": 3.0})
    with pytest.raises(ConfigError, match="--forget-roster"):
        RosterBook(tmp_path, edited)
    assert RosterBook(tmp_path, edited, forget=True).run == edited
    assert not (tmp_path / ROSTER_FILE).exists()


def test_a_strategy_takes_the_place_of_the_one_on_its_instrument(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    heir = _run(tmp_path, name="heir", stop={"pct": 3.0})
    after = roster.pause("momentum", "x").leave("momentum").add(heir.strategies, (), {})
    assert _labels(after.applied(run)) == ["heir", "second"]
    assert after.paused == {}
    assert after.leaving == ()
    assert after.bundles == {"second": {"m": "/bundles/1"}}


def test_a_successor_may_bear_the_same_name(tmp_path: Path) -> None:
    run = _run(tmp_path)
    same = _run(tmp_path, stop={"pct": 3.0})
    after = Roster.of(run).add(same.strategies, (), {}).applied(run)
    assert [strategy.stop.pct for strategy in after.strategies] == [3.0]


def test_the_last_strategy_cannot_go(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    left = roster.remove("momentum")
    assert _labels(left.applied(run)) == ["second"]
    for change in (left.remove, left.leave):
        with pytest.raises(ConfigError, match="stop the node"):
            change("second")


def test_two_strategies_of_one_name_do_not_go_together(tmp_path: Path) -> None:
    run = _run(tmp_path)
    other = _run(tmp_path, instrument=ETH)
    with pytest.raises(ConfigError, match="names must differ"):
        Roster.of(run).add(other.strategies, (), {}).applied(run)


def test_another_model_of_a_known_name_is_refused(tmp_path: Path) -> None:
    run = load_run(Path("configs/runs/btc_ml_basic.yaml"))
    other = load_run(Path("configs/runs/eth_ml_basic.yaml"), ["models.0.label.horizon_bars=7"])
    with pytest.raises(ConfigError, match="another one in this node"):
        Roster.of(run).add(other.strategies, other.models, {})
    same = load_run(Path("configs/runs/btc_ml_basic.yaml"), ["models.0.bundle=/elsewhere"])
    assert Roster.of(run).add(same.strategies, same.models, {}).models == Roster.of(run).models


def test_resuming_one_or_all(tmp_path: Path) -> None:
    _, roster = _two(tmp_path)
    both = roster.pause("momentum", "a").pause("second", "b")
    assert both.resume("second").paused == {"momentum": "a"}
    assert both.resume().paused == {}


def test_what_cannot_be_is_not_written(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    book = RosterBook(tmp_path, run)
    book.keep(roster)
    before = (tmp_path / ROSTER_FILE).read_bytes()
    bad = Roster(base=roster.base, strategies=(*roster.strategies, roster.strategies[0]), models=())
    with pytest.raises(ConfigError):
        book.keep(bad)
    assert (tmp_path / ROSTER_FILE).read_bytes() == before
    assert book.roster == roster


def _remember(folder: Path, label: str, **more: Any) -> Path:
    path = folder / f"trade-{label}.json"
    StateFile(path, TradeMemory).write(TradeMemory(ETH, **more))
    return path


def test_the_roster_is_not_forgotten_while_one_that_would_be_gone_has_a_trade(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    RosterBook(tmp_path, run).keep(roster)
    plan = PlanState(1, 600_000, 588_000)
    approved = Approved(1, 0.5, 0.02, None, 0.5, 100.0, "risk", {})
    _remember(tmp_path, "second", trade=OpenTrade(approved, plan, (), 1, 5))
    with pytest.raises(ConfigError, match="second has a trade open"):
        RosterBook(tmp_path, run, forget=True)
    assert _labels(RosterBook(tmp_path, run).run) == ["momentum", "second"]
    _remember(tmp_path, "second", flat_since=1)
    book = RosterBook(tmp_path, run, forget=True)
    assert _labels(book.run) == ["momentum"]
    assert not book.is_changed


def test_a_start_forgets_what_those_remembered_who_trade_no_more(tmp_path: Path) -> None:
    run, roster = _two(tmp_path)
    own, stray = _remember(tmp_path, "momentum"), _remember(tmp_path, "heir")
    RosterBook(tmp_path, run)
    assert stray.exists()  # without a roster it may be another run file that knows it
    RosterBook(tmp_path, run).keep(roster)
    RosterBook(tmp_path, run)
    assert own.exists()
    assert not stray.exists()
