"""Preflight's checks of models, history and this machine, each broken on purpose."""

import fcntl
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.forecaster import ForecastSpec
from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from configs.load import load_run
from live.checks.report import Setup
from live.preflight import preflight
from live.venues import VenueKind
from models.predictor import Predictor
from models.train import train_model
from tests.catalogs import MINUTE_NS, bars, catalog_with
from tests.modelling import BAR_MINUTES, INSTRUMENT, SMALL, market
from tests.preflight_bench import Bench, Command
from tests.rehearsal_server import API, START_MS

D = Decimal


# -- models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_model(
        market(2000),
        instrument=INSTRUMENT,
        config=SMALL,
        bar_minutes=BAR_MINUTES,
        seed=7,
        data_hash="d" * 64,
        root=tmp_path_factory.mktemp("models"),
    )


def with_model(bench: Bench, bundle: Path) -> None:
    catalog_with(bench.folder / "catalog")
    bench.run["data"] |= {"bar": "5m"}
    bench.run["models"] = [{"name": "direction", "bundle": str(bundle)}]
    bench.run["strategies"][0] |= {"use": "ml_basic", "model": "direction"}


def test_an_altered_bundle_is_refused(check: Command, bench: Bench, trained: Path) -> None:
    copy = bench.folder / trained.name
    copy.mkdir()
    for file in trained.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "model.onnx").write_bytes(b"altered")
    with_model(bench, copy)
    result = check()
    assert result.code == 2
    assert {"models", "warm-up", "sentiment"} == set(result.failures)
    assert "one of them was altered" in result.rows["models"].found


def test_an_old_model_is_refused_and_on_a_rehearsal_told(check: Command, bench: Bench, trained: Path) -> None:
    with_model(bench, trained)
    assert check().rows["models"].outcome == "warned"
    result = check(venue="testnet")
    assert result.code == 2
    assert result.rows["models"].outcome == "failed"
    assert "train it again" in result.rows["models"].advice
    patient = check("--set", "live.tolerances.model_age_days=10000", venue="testnet")
    assert patient.rows["models"].outcome == "ok"


def test_a_models_age_counts_from_the_end_of_what_it_learned(bench: Bench, trained: Path) -> None:
    predictor = Predictor.load(trained)
    setup = Setup(
        run=load_run(bench.path),
        kind=VenueKind.REHEARSAL,
        folder=bench.state,
        specs=lambda: {INSTRUMENT: ForecastSpec(BAR_MINUTES, (predictor,))},
        history_bars=lambda _: 10,
    )
    # learned until 2024-01-07 22:40; the newest closed minute of the replay is 2025-08-07 20:58 or so
    end_ns = predictor.metadata["training_period"]["end_ns"]
    days = (START_MS * 1_000_000 - end_ns) / (1440 * MINUTE_NS)
    assert f"until {days:.1f} days ago" in preflight(setup, bench.trader).row("models").found


# -- warm-up -----------------------------------------------------------------------------------------------


def test_too_short_a_history_is_refused_unless_the_catalog_has_the_rest(check: Command, bench: Bench) -> None:
    bench.fault(API + "klines", [row(minute) for minute in range(-100, 0)])
    result = check()
    assert (result.code, result.failures) == (2, ["warm-up"])
    assert "99 1m bars over REST; features need 241" in result.rows["warm-up"].found
    first_ns = (START_MS - 100 * 60_000) * 1_000_000
    earlier = bars(300)
    shifted = earlier.slice(0, 300)
    shifted.ts_event[:] += first_ns - int(shifted.ts_event[-1])
    catalog_with(bench.folder / "catalog", columns=shifted)
    bench.fault(API + "klines", [row(minute) for minute in range(-100, 0)])
    result = check()
    assert (result.code, result.rows["warm-up"].outcome) == (0, "warned")
    assert "300 before them in the catalog" in result.rows["warm-up"].found


def test_a_hole_in_the_history_is_refused_when_it_is_long_and_told_when_short(
    check: Command, bench: Bench
) -> None:
    def with_hole(minutes: int) -> list[Any]:
        return [row(minute) for minute in range(-400, 0) if not -200 <= minute < minutes - 200]

    bench.fault(API + "klines", with_hole(30))
    result = check("--set", "data.max_gap_minutes=30")
    assert (result.code, result.failures) == (2, ["warm-up"])
    assert "none for 31 minutes after" in result.rows["warm-up"].found
    bench.fault(API + "klines", with_hole(29))
    result = check("--set", "data.max_gap_minutes=30")
    assert (result.code, result.rows["warm-up"].outcome) == (0, "warned")
    assert "29 bars are missing" in result.rows["warm-up"].found


def test_a_history_that_ended_long_ago_is_refused(check: Command) -> None:
    result = check(venue="testnet")
    assert result.failures == ["warm-up"]
    assert "minutes ago" in result.rows["warm-up"].found


def row(minute: int) -> list[Any]:
    opened = START_MS + minute * 60_000
    return [opened, "60000", "60020", "59990", "60010", "2", opened + 59_999, "0", 1, "1", "1", "0"]


# -- this machine ------------------------------------------------------------------------------------------


def test_a_full_disk_is_refused(check: Command) -> None:
    result = check("--set", "live.tolerances.free_gib=1e9")
    assert (result.code, result.failures) == (2, ["disk"])
    assert "make room" in result.rows["disk"].advice


def test_a_damaged_state_file_is_refused(check: Command, bench: Bench) -> None:
    bench.state.mkdir()
    (bench.state / "guard.json").write_text('{"version": 1')
    result = check()
    assert (result.code, result.failures) == (2, ["state"])
    assert "is damaged" in result.rows["state"].found
    assert "restore the file from a copy" in result.rows["state"].advice


def test_another_accounts_state_is_refused(check: Command, bench: Bench) -> None:
    file = StateFile(bench.state / "guard.json", RiskMemory)
    file.write(RiskMemory(account="BINANCE USDT"))
    assert check().rows["state"].outcome == "ok"
    file.write(RiskMemory(account="BINANCE USDC"))
    result = check()
    assert (result.code, result.failures) == (2, ["state"])
    assert "its own state folder" in result.rows["state"].advice


def test_another_node_with_the_same_state_is_found(check: Command, bench: Bench) -> None:
    bench.state.mkdir()
    with (bench.state / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = check()
        assert (result.code, result.failures) == (2, ["lock"])
        assert "stop that node" in result.rows["lock"].advice
    assert check().rows["lock"].outcome == "ok"  # a lock ends with its process
