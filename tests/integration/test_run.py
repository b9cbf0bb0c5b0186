"""The whole road, as a user walks it: run file to result bundle."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

import strategies.ml_basic
from backtests.run import app, run_backtest
from backtests.session import model_test, prepare
from catalog.instruments import build_instrument, shipped_specs
from catalog.store import Catalog
from configs.console import run_app
from configs.errors import ConfigError, DataError, RunFailedError
from configs.load import PROJECT_ROOT, load_run
from tests.providers import shared_data

TABLES = ("orders", "fills", "positions", "equity", "decisions", "model_test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


def small_run(folder: Path, *more: str):
    """Twelve synthetic days, small trees, and a model that is listened to often."""
    return load_run(
        None,
        [
            f"data.catalog={folder / 'catalog'}",
            "data.test_start=2025-01-09",
            "data.end=2025-01-12",
            "data.synthetic.days=12",
            "data.synthetic.signal_strength=3",
            "models.0.trees.n_estimators=20",
            "models.0.label.take_profit_pct=0.5",
            "models.0.label.stop_loss_pct=0.5",
            "strategies.0.signal.threshold=0.51",
            "strategies.0.stop.pct=0.6",
            "strategies.0.targets.pct=0.8",
            *more,
        ],
    )


@pytest.fixture(scope="module")
def result(folder):
    """One run, whole: (bundle, summary)."""
    path = folder / "first"
    return path, run_backtest(small_run(folder), path, models_root=folder / "models", quiet=True)


def read(path: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(path / f"{name}.parquet")


def test_a_run_trades_and_leaves_a_whole_bundle(result):
    path, summary = result
    files = {f"{name}.parquet" for name in TABLES}
    assert files | {"summary.json", "config.yaml", "manifest.json", "report.html"} == {
        f.name for f in path.iterdir()
    }
    assert summary == json.loads((path / "summary.json").read_text())
    assert summary["trades"] > 5
    assert summary["fees"] > 0
    assert summary["bars"] == 3 * 1440
    assert summary["synthetic"] is True


def test_the_books_add_up(result):
    path, summary = result
    positions, fills, equity = read(path, "positions"), read(path, "fills"), read(path, "equity")
    assert summary["net_pnl"] == pytest.approx(positions["net_pnl"].sum(), abs=1e-6)
    assert summary["fees"] == pytest.approx(fills["fee"].sum())
    assert equity["equity"].iloc[-1] == pytest.approx(summary["starting_balance"] + summary["net_pnl"])
    takers = fills[fills["liquidity"] == "TAKER"]
    notional = (takers["quantity"] * takers["price"]).sum()
    assert takers["fee"].sum() == pytest.approx(notional * 5e-4, rel=1e-6)
    assert takers["slippage"].sum() == pytest.approx(notional * 1e-4, rel=1e-6)
    assert set(fills[fills["role"] == "target"]["liquidity"]) <= {"MAKER"}
    assert set(fills[fills["role"] != "target"]["liquidity"]) == {"TAKER"}


def test_no_position_is_larger_than_its_limit(result):
    path, _ = result
    equity = read(path, "equity")
    assert (equity["position_notional"].abs() <= 0.11 * equity["equity"]).all()


def test_the_same_run_gives_the_same_result_and_model(folder, result):
    path, first = result
    again = folder / "again"
    second = run_backtest(small_run(folder), again, models_root=folder / "models2", quiet=True)
    moving = {"bars_per_sec"}
    assert {k: v for k, v in first.items() if k not in moving} == {
        k: v for k, v in second.items() if k not in moving
    }
    for name in TABLES:
        pd.testing.assert_frame_equal(read(path, name), read(again, name), check_exact=True)
    assert first["trades"] > 5


def test_streaming_and_precomputed_forecasts_make_the_same_decisions(folder, result):
    path, first = result
    streamed = folder / "streamed"
    run = small_run(folder, "forecasts=streaming")
    second = run_backtest(run, streamed, models_root=folder / "models", quiet=True)
    assert second["decisions_hash"] == first["decisions_hash"]
    for name in ("orders", "fills", "positions", "decisions"):
        pd.testing.assert_frame_equal(read(path, name), read(streamed, name), check_exact=True)


def test_the_future_changes_no_decision(folder, result):
    """A run that ends a day earlier, with the same model, decides the same until then."""
    path, _ = result
    model = next((folder / "models").rglob("MANIFEST.sha256")).parent
    run = small_run(folder, "data.end=2025-01-11", f"models.0.bundle={model}")
    short = folder / "short"
    run_backtest(run, short, models_root=folder / "models", quiet=True)
    whole, cut = read(path, "decisions"), read(short, "decisions")
    # what is known at the last bar's close may be acted on; nothing of the cut day may differ before it
    assert len(cut) > 20
    pd.testing.assert_frame_equal(whole.iloc[: len(cut)], cut, check_exact=True)


def test_a_strategy_that_raises_fails_the_run_and_is_named(folder, result, monkeypatch):
    path, _ = result
    before = (path / "summary.json").read_bytes()

    def decide(view, params):
        raise ZeroDivisionError("a bug in the idea")

    monkeypatch.setattr(strategies.ml_basic, "decide", decide)
    with pytest.raises(RunFailedError, match=r"ml_basic-BTCUSDT-PERP failed: ZeroDivisionError: a bug"):
        run_backtest(small_run(folder), path, models_root=folder / "models", quiet=True)
    assert (path / "summary.json").read_bytes() == before


def test_a_missing_period_is_named(folder, result):
    run = small_run(folder, "data.end=2025-01-15", "data.synthetic=null")
    with pytest.raises(DataError, match=r"2025-01-13 00:00 to 2025-01-15 00:00"):
        run_backtest(run, folder / "never", models_root=folder / "models", quiet=True)
    assert not (folder / "never").exists()


def test_a_traded_period_without_bars_is_named_however_short_it_is(folder, result):
    times = ("data.test_start=2025-01-13", "data.end=2025-01-13T02:00")  # within data.max_gap_minutes
    run = small_run(folder, *times, "data.synthetic=null")
    with pytest.raises(DataError, match=r"from 2025-01-13 00:00 to 2025-01-13 02:00"):
        run_backtest(run, folder / "never", models_root=folder / "models", quiet=True)


def test_the_models_test_asks_what_the_model_was_trained_for(folder, result):
    path, _ = result
    model = next((folder / "models").rglob("MANIFEST.sha256")).parent
    first = read(path, "model_test")
    assert set(first["outcome"].iloc[:-120].dropna()) == {0.0, 1.0}
    assert first["outcome"].iloc[-120:].isna().all()  # of these only quick outcomes could be known
    other = small_run(folder, f"models.0.bundle={model}", "models.0.label.take_profit_pct=3")
    again = model_test(prepare(other, models_root=folder / "models", quiet=True))
    pd.testing.assert_series_equal(first["outcome"], again["outcome"])


def test_the_data_hash_follows_the_instruments_filters(folder, result, tmp_path):
    _, summary = result
    shutil.copytree(folder / "catalog", tmp_path / "catalog")
    spec = shipped_specs("um")["BTCUSDT"]
    stricter = build_instrument(dataclasses.replace(spec, min_notional=spec.min_notional * 2))
    Catalog.open(tmp_path / "catalog").write_instrument(stricter, replace=True)
    run = small_run(tmp_path, "data.synthetic=null")
    assert prepare(run, models_root=folder / "models", quiet=True).data_hash != summary["data_hash"]
    Catalog.open(tmp_path / "catalog").write_instrument(build_instrument(spec), replace=True)
    assert prepare(run, models_root=folder / "models", quiet=True).data_hash == summary["data_hash"]


def test_a_failing_report_leaves_the_last_good_bundle_and_no_rest(folder, result, monkeypatch):
    path, _ = result
    before = {f.name: f.read_bytes() for f in path.iterdir()}

    def full(bundle, bars):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backtests.run.write_report", full)
    with pytest.raises(OSError, match="No space left"):
        run_backtest(small_run(folder), path, models_root=folder / "models", quiet=True)
    assert {f.name: f.read_bytes() for f in path.iterdir()} == before
    assert [p for p in path.parent.iterdir() if p.name.endswith(".tmp")] == []


def test_a_folder_that_is_no_bundle_is_not_replaced(folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not a result bundle"):
        run_backtest(small_run(folder), tmp_path, models_root=folder / "models", quiet=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_leaves_the_last_good_bundle(folder, result, monkeypatch):
    path, _ = result
    before = {f.name: f.read_bytes() for f in path.iterdir()}

    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="No space left"):
        run_backtest(small_run(folder), path, models_root=folder / "models", quiet=True)
    assert {f.name: f.read_bytes() for f in path.iterdir()} == before
    assert [p for p in path.parent.iterdir() if p.name.endswith(".tmp")] == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["missing.yaml"], "missing.yaml"),
        (["--set", "strategies.0.use=ml_basix"], "did you mean 'ml_basic'?"),
        (["--set", "strategies.0.signal.treshold=0.6"], "did you mean 'threshold'?"),
        (["--set", "data.end=2024-01-01"], "start < test_start < end"),
        (["--set", "venue.leverage=lots"], "venue.leverage"),
        (["--set", "models.0.bundle=nowhere"], "nowhere"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(args, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_app(app, args)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert says in lines[-1]
    assert lines[-1].startswith("error: ")


def test_the_script_itself_exits_2_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "backtests/run.py"), "missing.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "missing.yaml" in done.stderr


def test_a_killed_run_leaves_the_last_good_bundle(folder, result, tmp_path):
    path, _ = result
    config = tmp_path / "run.yaml"
    raw = yaml.safe_load((path / "config.yaml").read_text())
    config.write_text(yaml.safe_dump(raw))
    before = {f.name: f.read_bytes() for f in path.iterdir()}
    process = subprocess.Popen(
        [sys.executable, str(PROJECT_ROOT / "backtests/run.py"), str(config), "--out", str(path), "--json"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    assert process.stderr is not None
    while time.monotonic() < deadline and process.poll() is None:
        if list(path.parent.glob(f".{path.name}.*.tmp")):
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert {f.name: f.read_bytes() for f in path.iterdir()}.keys() == before.keys()
    assert json.loads((path / "summary.json").read_text())["trades"] > 5


def test_a_real_month_of_bitcoin_trains_and_trades(tmp_path):
    source = shared_data("futures_um", "typhonun_DcaTpStrategy")
    from catalog.ingest import ingest_paths  # noqa: PLC0415 - only where the data is

    catalog = Catalog.create(tmp_path / "catalog")
    names = ("1m-futures", "8h-mark", "8h-funding_rate")
    ingest_paths([source / f"BTC_USDT_USDT-{name}.feather" for name in names], catalog=catalog)
    run = load_run(
        PROJECT_ROOT / "configs/runs/btc_ml_basic.yaml",
        [f"data.catalog={tmp_path / 'catalog'}", "models.0.trees.n_estimators=30"],
    )
    summary = run_backtest(run, tmp_path / "result", models_root=tmp_path / "models", quiet=True)
    assert summary["bars"] == 15_332  # 2025-05-24 00:00 to 2025-06-03 15:32
    assert summary["trades"] > 10
    assert summary["fees"] > 0
    assert abs(summary["return_pct"]) < 10  # at most a tenth of equity is ever at work
    assert summary["funding"] != 0
