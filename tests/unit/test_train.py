import ast
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score

from catalog.columns import BarColumns
from catalog.sentiment import SentimentColumns
from configs.console import run_app
from configs.errors import DataError, ModelError
from configs.schema import DataConfig, ModelConfig, RunConfig, StrategyConfig
from models import bundle, train
from models.cv import PurgedKFold
from models.dataset import build_training_set, outcomes
from models.fit import fit_calibration, fit_member
from models.labels import average_uniqueness
from models.predictor import Predictor
from models.scores import brier_score, classification_metrics, log_loss
from models.train import ensure_bundle, train_model, training_key
from tests.modelling import BAR_MINUTES, INSTRUMENT, QUICK, SMALL, market

MINUTE_NS = 60_000_000_000
NO_INDEX = SentimentColumns(np.empty(0, np.int64), np.empty(0))


def run_training(bars: BarColumns, root: Path, config: ModelConfig = SMALL, **changes: Any) -> Path:
    arguments = {
        "instrument": INSTRUMENT,
        "bar_minutes": BAR_MINUTES,
        "seed": 7,
        "data_hash": "d" * 64,
        "threads": 1,
    }
    return train_model(bars, config=config, root=root, **arguments | changes)


def metrics(folder: Path) -> dict[str, dict[str, float]]:
    return Predictor.load(folder).metadata["metrics"]


def test_what_can_be_learned_is_learned_and_beats_the_base_rate(tmp_path: Path) -> None:
    scores = metrics(run_training(market(6000, reversion=0.08), tmp_path, QUICK))
    assert list(scores) == sorted(["train", "validation", "calibration", "test"])
    assert scores["test"]["roc_auc"] > 0.6
    assert scores["test"]["mcc"] > 0.1
    assert scores["test"]["brier"] < scores["test"]["baseline_brier"] - 0.005
    assert scores["test"]["log_loss"] < scores["test"]["baseline_log_loss"] - 0.01


def test_noise_shows_no_skill(tmp_path: Path) -> None:
    scores = metrics(run_training(market(6000, seed=5), tmp_path, QUICK))
    assert abs(scores["test"]["roc_auc"] - 0.5) < 0.06
    assert abs(scores["test"]["brier"] - scores["test"]["baseline_brier"]) < 0.01


def test_metrics_are_those_of_the_stored_graph_on_the_parts(tmp_path: Path) -> None:
    bars = market(2500, reversion=0.05)
    folder = run_training(bars, tmp_path)
    predictor = Predictor.load(folder)
    data = build_training_set(bars, instrument=INSTRUMENT, config=SMALL, bar_minutes=BAR_MINUTES)
    base = data.y[data.parts["train"]].mean()
    for name, rows in data.parts.items():
        y = data.y[rows]
        expected = classification_metrics(y, predictor.predict(data.x[rows]))
        expected |= {
            "baseline_brier": brier_score(y, np.full(len(y), base)),
            "baseline_log_loss": log_loss(y, np.full(len(y), base)),
        }
        assert predictor.metadata["metrics"][name] == pytest.approx(expected)
        assert predictor.metadata["parts"][name]["rows"] == len(rows)


def test_training_again_elsewhere_with_other_threads_gives_the_same_bundle(tmp_path: Path) -> None:
    here = run_training(market(2500), tmp_path / "here", QUICK, threads=2)
    code = (
        "from pathlib import Path; from tests.modelling import QUICK, market; "
        "from tests.unit.test_train import run_training; "
        f"run_training(market(2500), Path({str(tmp_path / 'there')!r}), QUICK, threads=1)"
    )
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], env=os.environ | threads, cwd=root, check=True, timeout=220)
    (there,) = (tmp_path / "there").glob("*/*/*")
    assert there.name == here.name
    for name in (*bundle.FILES, bundle.MANIFEST):
        assert (there / name).read_bytes() == (here / name).read_bytes()


def test_a_bundle_names_neither_place_nor_time(tmp_path: Path) -> None:
    folder = run_training(market(2000), tmp_path)
    text = (folder / bundle.METADATA).read_text()
    assert str(tmp_path) not in text
    first = market(2000).ts_event[0] - BAR_MINUTES * MINUTE_NS
    assert json.loads(text)["training_period"] == {"start_ns": first, "end_ns": market(2000).ts_event[-1]}


def test_the_parts_share_no_information_and_no_row_is_cold_or_undecided() -> None:
    bars = market(3000)
    data = build_training_set(bars, instrument=INSTRUMENT, config=QUICK, bar_minutes=BAR_MINUTES)
    embargo = QUICK.split.embargo_bars * BAR_MINUTES * MINUTE_NS
    names = list(data.parts)
    assert names == ["train", "validation", "calibration", "test"]
    for earlier, later in pairwise(names):
        gap = data.label_start[data.parts[later]].min() - data.label_end[data.parts[earlier]].max()
        assert gap > embargo
    assert not np.isnan(data.x).any()
    assert set(data.y) == {0.0, 1.0}
    assert data.label_start.min() >= bars.ts_event[300]
    assert data.label_end.max() <= bars.ts_event[-1]
    assert 0 < data.uniqueness.min() <= data.uniqueness.max() <= 1


@pytest.mark.parametrize(
    ("part", "stays"),
    [
        ("train", set()),
        ("validation", {"trees", "coefficients"}),
        ("calibration", {"trees", "coefficients", "tree_weight"}),
        ("test", {"trees", "coefficients", "tree_weight", "calibration"}),
    ],
)
def test_each_part_decides_its_own_step_and_none_before_it(part: str, stays: set[str]) -> None:
    data = build_training_set(
        market(2500, reversion=0.05), instrument=INSTRUMENT, config=QUICK, bar_minutes=BAR_MINUTES
    )

    def fitted(y: NDArray[np.float64]) -> dict[str, Any]:
        member = fit_member(data.x, y, data.uniqueness, data.parts, QUICK, seed=7, threads=1)
        return {**asdict(member), "coefficients": member.coefficients.tolist()}

    turned = data.y.copy()
    turned[data.parts[part]] = 1.0 - turned[data.parts[part]]
    before, after = fitted(data.y), fitted(turned)
    steps = ("trees", "coefficients", "tree_weight", "calibration")
    assert {step for step in steps if before[step] == after[step]} == stays


def test_outcomes_leave_out_the_end_and_what_stayed_between_the_barriers() -> None:
    # bar 6 touches the upper barrier at once, but of the last two only such quick outcomes could be known
    close = np.array([100.0, 101, 101, 101.05, 99, 99, 99, 101])
    bars = BarColumns(np.arange(1, 9) * MINUTE_NS, close, close, close, close, close)
    config = ModelConfig.model_validate(
        {"label": {"horizon_bars": 2, "take_profit_pct": 0.9, "stop_loss_pct": 0.9, "cost_bps": 10}}
    )
    outcome, end = outcomes(bars, config.label)
    np.testing.assert_array_equal(outcome, [1, np.nan, 0, 0, np.nan, 1, np.nan, np.nan])
    assert end[[0, 2, 3]].tolist() == [2 * MINUTE_NS, 5 * MINUTE_NS, 5 * MINUTE_NS]


def test_uniqueness_shares_an_observation_between_overlapping_labels() -> None:
    # (0, 2], (1, 3] and (5, 6]: half of each of the first two is shared
    np.testing.assert_allclose(average_uniqueness([0, 1, 5], [2, 3, 6]), [0.75, 0.75, 1.0])
    np.testing.assert_allclose(average_uniqueness([0, 0, 0, 0], [4, 4, 4, 4]), 0.25)
    with pytest.raises(ValueError, match="after it starts"):
        average_uniqueness([1], [1])


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_calibration_mends_planted_miscalibration(kind: str) -> None:
    rng = np.random.default_rng(8)
    truth = rng.uniform(0.3, 0.7, 8000)
    y = (rng.uniform(size=8000) < truth).astype(float)
    stated = np.clip(0.5 + 2.4 * (truth - 0.55), 0.0, 1.0)  # far too sure, and too low
    calibration = fit_calibration(kind, stated[:4000], y[:4000], np.ones(4000))
    mended, unseen = calibration.apply(stated[4000:]), y[4000:]
    assert brier_score(unseen, mended) < brier_score(unseen, stated[4000:]) - 0.03
    assert np.abs(mended - truth[4000:]).mean() < 0.03


def test_calibration_leaves_a_calibrated_model_nearly_as_it_is() -> None:
    rng = np.random.default_rng(9)
    truth = rng.uniform(0.35, 0.65, 4000)
    y = (rng.uniform(size=4000) < truth).astype(float)
    mended = fit_calibration("sigmoid", truth, y, np.ones(4000)).apply(truth)
    assert np.abs(mended - truth).max() < 0.03
    assert fit_calibration("none", truth, y, np.ones(4000)).apply(truth) is truth


def test_calibration_is_not_turned_by_few_independent_rows_and_never_reverses_a_model() -> None:
    p = np.tile([0.45, 0.55], 2000)
    y = np.tile([1.0, 1.0, 1.0, 0.0], 1000)  # ranked the wrong way, and more ones than stated
    few = fit_calibration("sigmoid", p, y, np.full(4000, 0.01))
    assert few.slope > 1
    assert 0.5 < few.apply(0.5) < 0.58
    many = fit_calibration("sigmoid", p, y, np.ones(4000))
    assert many.slope == 0.0
    assert many.apply([0.45, 0.55]) == pytest.approx([0.75, 0.75], abs=0.01)


def test_isotonic_calibration_of_one_single_value_is_the_base_rate() -> None:
    calibration = fit_calibration("isotonic", np.full(100, 0.4), np.tile([1.0, 1, 1, 0], 25), np.ones(100))
    np.testing.assert_allclose(calibration.apply([0.1, 0.4, 0.9]), 0.75)


def test_periods_that_cannot_train_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"400 bars cannot train model 'direction'.*warm up over 418 bars"):
        run_training(market(400), tmp_path)
    with pytest.raises(DataError, match=r"the train part has \d+ labelled rows, needs 200"):
        run_training(market(650), tmp_path)
    rising = market(1500)
    steady = np.round(60_000 * 1.002 ** np.arange(1500.0), 1)
    one_way = BarColumns(rising.ts_event, steady, steady, steady, steady, rising.volume)
    with pytest.raises(DataError, match="only the upper barrier is ever reached in the train part"):
        run_training(one_way, tmp_path)
    assert not list(tmp_path.rglob("*.onnx"))


def test_the_key_follows_everything_a_training_depends_on() -> None:
    def key(config: ModelConfig = SMALL, instrument: str = INSTRUMENT, **changes: Any) -> str:
        same = {"bar_minutes": BAR_MINUTES, "seed": 7, "data_hash": "d"}
        return training_key(instrument, config, **same | changes)

    others = [
        key(seed=8),
        key(data_hash="e"),
        key(bar_minutes=15),
        key(instrument="ETHUSDT-PERP.BINANCE"),
        key(SMALL.model_copy(update={"logistic_c": 0.5})),
        key(SMALL.model_copy(update={"calibration": "none"})),
    ]
    assert len({key(), *others}) == len(others) + 1
    assert key(SMALL.model_copy(update={"bundle": Path("somewhere")})) == key()


def test_the_key_covers_every_module_that_training_uses() -> None:
    covered = set(train._DEFINING_MODULES)
    # in the schema's hash; names of files and of the graph's ends
    elsewhere = {"features", "fingerprint", "bundle"}
    for name in sorted(covered):
        tree = ast.parse(Path(train.__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        used = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        ours = {str(module).removeprefix("models.") for module in used if str(module).startswith("models.")}
        assert ours <= covered | elsewhere, name


@dataclass
class StoredBars:
    """A catalog of one market that counts how often bars are read."""

    bars_stored: BarColumns
    reads: list[tuple[int, int]] = field(default_factory=list)
    index: SentimentColumns = NO_INDEX
    path: Path = Path("the catalog")

    def sentiment(self, name: str, start: int, end: int) -> SentimentColumns:
        assert name == "fear_greed"
        rows = (self.index.date >= start) & (self.index.date < end)
        return SentimentColumns(self.index.date[rows], self.index.value[rows])

    def require_bars(self, *period: object, max_gap_minutes: int) -> None:
        assert max_gap_minutes == 180

    def dataset_hash(self, instrument: str, interval: str, start: int, end: int) -> str:
        return f"{instrument} {interval} {start} {end}"

    def bars(self, instrument: str, interval: str, start: int, end: int) -> BarColumns:
        self.reads.append((start, end))
        opens = self.bars_stored.ts_event - BAR_MINUTES * MINUTE_NS
        return self.bars_stored.slice(int(np.searchsorted(opens, start)), int(np.searchsorted(opens, end)))


def a_run(model: ModelConfig = SMALL, test_start: str = "2024-01-08", bar: str = "5m") -> RunConfig:
    data = {
        "catalog": "unused",
        "bar": bar,
        "start": "2024-01-01",
        "test_start": test_start,
        "end": "2024-02-01",
    }
    strategy = StrategyConfig(use="ml_basic", instrument=INSTRUMENT, model=model.name)
    return RunConfig(name="t", data=DataConfig.model_validate(data), models=(model,), strategies=(strategy,))


def test_a_run_trains_once_on_its_own_period_and_then_finds_its_bundle(tmp_path: Path) -> None:
    catalog = StoredBars(market(4000))
    first = ensure_bundle(a_run(), SMALL, INSTRUMENT, catalog, tmp_path)
    assert ensure_bundle(a_run(), SMALL, INSTRUMENT, catalog, tmp_path) == first
    start, end = (int(datetime(2024, 1, day, tzinfo=UTC).timestamp()) * 10**9 for day in (1, 8))
    assert catalog.reads == [(start, end)]
    assert Predictor.load(first).metadata["training_period"] == {"start_ns": start, "end_ns": end}
    later = ensure_bundle(a_run(test_start="2024-01-09"), SMALL, INSTRUMENT, catalog, tmp_path)
    assert later != first


def test_a_named_bundle_is_taken_or_refused_with_the_reason(tmp_path: Path) -> None:
    catalog = StoredBars(market(4000))
    folder = ensure_bundle(a_run(), SMALL, INSTRUMENT, catalog, tmp_path)
    named = SMALL.model_copy(update={"bundle": folder})

    def use(**changes: str) -> Path:
        return ensure_bundle(a_run(**changes), named, INSTRUMENT, catalog, tmp_path / "unused")

    assert use() == use(test_start="2024-01-20") == folder
    with pytest.raises(ModelError, match="the run would trade bars it has learned"):
        use(test_start="2024-01-07")
    with pytest.raises(ModelError, match="trained on 5-minute bars, the run uses 15m"):
        use(bar="15m")
    with pytest.raises(ModelError, match="not ETHUSDT"):
        ensure_bundle(a_run(), named, "ETHUSDT-PERP.BINANCE", catalog, tmp_path)


RUN_FILE = """
name: small
data: {catalog: CATALOG, bar: 5m, start: 2025-01-01, test_start: 2025-01-12, end: 2025-01-14,
  synthetic: {days: 13}}
models:
  - {name: direction, label: {horizon_bars: 6, take_profit_pct: 0.2, stop_loss_pct: 0.2, cost_bps: 2},
     trees: {n_estimators: 5, max_depth: 2, min_child_weight: 2}}
strategies:
  - {use: ml_basic, instrument: BTCUSDT-PERP.BINANCE, model: direction}
"""


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_app(train.app, list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_trains_shows_metrics_and_names_the_candidate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file, models = tmp_path / "run.yaml", tmp_path / "models"
    run_file.write_text(RUN_FILE.replace("CATALOG", str(tmp_path / "catalog")))
    assert command(str(run_file), "--out", str(models), "--json") == 0
    (report,) = json.loads(capsys.readouterr().out)["models"]
    assert set(report["metrics"]) == {"train", "validation", "calibration", "test"}
    folder = Path(report["bundle"])
    assert Predictor.load(models / "BTCUSDT-PERP" / "direction" / "candidate").folder == folder
    assert command(str(run_file), "--out", str(models)) == 0
    shown = capsys.readouterr().out
    assert "direction on BTCUSDT-PERP.BINANCE" in shown
    assert f"{report['metrics']['test']['roc_auc']:.4f}" in shown
    assert "…" not in shown
    assert folder.name in shown.replace("\n", "")
    (folder / bundle.MODEL).write_bytes(b"")
    assert command(str(run_file), "--out", str(models)) == 2
    assert "model.onnx" in capsys.readouterr().err


def test_the_command_refuses_a_run_without_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file = tmp_path / "run.yaml"
    run_file.write_text(RUN_FILE.replace("CATALOG", "x").replace(", model: direction", ""))
    assert command(str(run_file)) == 2
    assert "no strategy names a model" in capsys.readouterr().err


def test_splitters_serve_scikit_learn() -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    cv = PurgedKFold(3, label_end=np.arange(60) + 4)
    assert cross_val_score(Ridge(), x, x @ [1.0, 2.0], cv=cv).min() > 0.9
