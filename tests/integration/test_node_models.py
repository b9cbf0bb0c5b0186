"""A model changes while the node runs: between two bars, verified, and as if it had been there always."""

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.forecaster import ForecastSpec, forecast_bars
from catalog.columns import MINUTE_NS, BarColumns
from configs.load import load_run
from live.command import send
from live.history import newest_bars
from live.prepare import history_bars
from live.venue.client import VenueClient
from models.predictor import Predictor
from models.train import train_model
from tests.live_nodes import ROOT, Node, Rehearsal, rehearsal, run_file, until
from tests.modelling import INSTRUMENT, SMALL, market

pytestmark = pytest.mark.slow  # processes and sockets against the clock

PATIENCE = 120.0
DYING = str(ROOT / "tests" / "dying_node.py")
CLOSE = (
    1e-4  # a smoothing remembers a little of where the history began: the bar at which a node asked for it
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models of one name, which learned from other bars and look as far as each other."""
    root = tmp_path_factory.mktemp("bundles")
    made = []
    for seed in (1, 2):
        bars = market(6000, seed=seed, reversion=0.05)
        times = bars.ts_event[0] + MINUTE_NS * np.arange(len(bars), dtype=np.int64)
        minutes = BarColumns(times, bars.open, bars.high, bars.low, bars.close, bars.volume)
        made.append(
            train_model(
                minutes,
                instrument=INSTRUMENT,
                config=SMALL.model_copy(update={"name": "direction"}),
                bar_minutes=1,
                seed=seed,
                data_hash=str(seed),
                root=root / str(seed),
            )
        )
    return made[0], made[1]


def _run(folder: Path, bundle: Path) -> Path:
    (folder / "none").mkdir()  # the catalog
    path = run_file(folder, use="ml_basic", model="direction", signal={"threshold": 0.5001})
    model = f"models:\n- name: direction\n  bundle: {bundle}\n"
    label = "  label: {horizon_bars: 6, take_profit_pct: 0.3, stop_loss_pct: 0.3, cost_bps: 2}\n"
    path.write_text(path.read_text() + model + label)
    return path


def _forecasts(node: Node, *, since_change: bool = False) -> dict[int, float]:
    """What was forecast at each bar's close (ns UTC), of all records or of those after the model changed."""
    records = node.audit()
    if since_change:
        changes = [r["kind"] == "command" and r["detail"]["what"] == "model" for r in records]
        records = records[changes.index(True) :]
    return {
        r["ts"]: r["detail"]["probability"]
        for r in records
        if r["kind"] == "forecast" and r["component"] == "forecaster"
    }


def _change(state: Path, bundle: Path | str) -> dict[str, Any]:
    values = {"model": "direction", "bundle": str(bundle)}
    return send(state, "model", None, values, within_secs=PATIENCE)


def _all_bars(venue: Rehearsal) -> BarColumns:
    with VenueClient(venue.facts["http"]) as client:
        return newest_bars(client, "BTCUSDT", "1m", 6000)


def _offline(model: Predictor, bars: BarColumns) -> dict[int, float]:
    """The forecasts of a history as long as a node's, by the close of the bar."""
    count = history_bars(load_run(None), {INSTRUMENT: ForecastSpec(1, (model,))})
    mine = bars.slice(max(0, len(bars) - count), len(bars))
    return dict(zip(mine.ts_event.tolist(), forecast_bars(model, mine).tolist(), strict=True))


def _noted(node: Node) -> list[dict[str, Any]]:
    return [r for r in node.audit() if r["kind"] == "command" and r["detail"]["what"] == "model"]


def test_forecasts_after_the_change_are_those_of_the_new_model_on_the_same_bars(
    tmp_path: Path, bundles: tuple[Path, Path]
) -> None:
    first, second = bundles
    run, state = _run(tmp_path, first), tmp_path / "state"
    with rehearsal(history=6000) as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            until(lambda: len(_forecasts(node)) >= 3, "forecasts")
            answer = _change(state, second)
            assert answer["done"], answer["text"]
            node.until_bars(6)
            noted = _noted(node)[0]
            old, new = (Predictor.load(path) for path in bundles)
            assert (noted["detail"]["old"], noted["detail"]["new"]) == (old.model_hash, new.model_hash)
            said, after = _forecasts(node), _forecasts(node, since_change=True)
            bars = _all_bars(venue)
            by_model = [_offline(model, bars) for model in (old, new)]
            times = sorted(said)
            assert np.diff(times).tolist() == [MINUTE_NS] * (len(times) - 1)  # none was left out
            for ts in times:
                assert said[ts] == pytest.approx(by_model[ts in after][ts], abs=CLOSE)
            assert len(after) >= 5
            node.kill()
        with Node(run, state, venue) as node:  # and it is the new one that a start takes
            before = len(_forecasts(node))
            node.until_trading()
            until(lambda: len(_forecasts(node)) >= before + 2, "forecasts")
            bars = _all_bars(venue)
            expected = _offline(new, bars)
            last = max(_forecasts(node))
            until(lambda: last in expected, "the bar")
            assert _forecasts(node)[last] == pytest.approx(expected[last], abs=CLOSE)


def test_a_bundle_that_does_not_verify_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, bundles: tuple[Path, Path]
) -> None:
    run, state = _run(tmp_path, bundles[0]), tmp_path / "state"
    altered = tmp_path / "altered"
    shutil.copytree(bundles[1], altered)
    model = altered / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with rehearsal(history=6000) as venue, Node(run, state, venue) as node:
        node.until_trading()
        until(lambda: len(_forecasts(node)) >= 2, "forecasts")
        for bundle, why in (
            (altered, "altered"),
            (tmp_path / "nowhere", "no model bundle"),
        ):
            answer = _change(state, bundle)
            assert not answer["done"]
            assert why in answer["text"]
        known = len(_forecasts(node))
        until(lambda: len(_forecasts(node)) >= known + 2, "it goes on")
        assert _noted(node) == []
        assert not (state / "roster.json").exists()
        assert node.end() == 0, "".join(node.lines)


@pytest.mark.parametrize(
    ("step", "is_new"), [("roster_unwritten", False), ("model_unchanged", True), ("model_changed", True)]
)
def test_a_kill_while_the_model_changes_leaves_one_of_the_two(
    tmp_path: Path, bundles: tuple[Path, Path], step: str, is_new: bool
) -> None:
    run, state, flag = _run(tmp_path, bundles[0]), tmp_path / "state", tmp_path / "flag"
    with rehearsal(history=6000) as venue:
        with Node(run, state, venue, program=(DYING, step, str(flag))) as node:
            node.until_trading()
            flag.touch()
            asking = threading.Thread(target=_ignoring, args=(state, bundles[1]))
            asking.start()
            until(lambda: node.process.poll() is not None, "the end", within=PATIENCE)
            asking.join(PATIENCE)
            assert node.process.poll() == -9, "".join(node.lines)
        with Node(run, state, venue) as node:
            node.until_trading()
            told = send(state, "status", None, {}, within_secs=PATIENCE)["detail"]["strategies"][0]
            assert told["models"] == {"direction": Predictor.load(bundles[is_new]).model_hash}


def _ignoring(state: Path, bundle: Path) -> None:
    from configs.errors import RunFailedError  # noqa: PLC0415

    try:
        _change(state, bundle)
    except RunFailedError:
        return
