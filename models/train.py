"""Train the models of a run: features, labels, fit, metrics, bundle.

    python models/train.py RUN.yaml [--set key=value]... [--out DIR] [--json]

The period is [data.start, data.test_start) alone; what the backtest trades is never looked at.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import ast
import hashlib
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from catalog.columns import MINUTE_NS, utc_ns, utc_text
from catalog.known import KnownColumns, read_known
from catalog.store import BarColumns, Catalog
from catalog.synthetic import ensure_synthetic
from configs.console import command_app, emit_json, out, run_app, status
from configs.errors import ConfigError, DataError, ModelError
from configs.load import load_run
from configs.schema import ModelConfig, RunConfig
from models import bundle
from models.dataset import PARTS, TrainingSet, build_training_set
from models.exogenous import FEAR_GREED, ExogenousColumns, KnownSeries, look_back_ns
from models.features import FeatureSet
from models.predictor import GraphSession, Predictor
from models.registry import Registry
from models.scores import brier_score, classification_metrics, log_loss

__all__ = ["ARTIFACTS", "check_delay", "ensure_bundle", "load_exogenous", "train_model", "training_key"]

ARTIFACTS = Path("artifacts", "models")
_CHECK_ROWS = 64
_LIBRARIES = ("numba", "numpy", "onnx", "onnxruntime", "scikit-learn", "scipy", "xgboost")
_DEFINING_MODULES = ("cv", "dataset", "exogenous", "fit", "labels", "onnx_graph", "predictor", "scores")
_DEFINITION = (
    "probability that the price rises by take_profit_pct before it falls by stop_loss_pct; at the end of "
    "horizon_bars a move beyond cost_bps counts for its side, bars after which nothing happens are left out"
)
_COLUMNS = {
    "base rate": "base_rate",
    "MCC": "mcc",
    "precision": "precision",
    "recall": "recall",
    "ROC AUC": "roc_auc",
    "Brier": "brier",
    "naive Brier": "baseline_brier",
    "log loss": "log_loss",
    "naive log loss": "baseline_log_loss",
}

Floats = NDArray[np.float64]


def train_model(
    bars: BarColumns,
    *,
    instrument: str,
    config: ModelConfig,
    bar_minutes: int,
    seed: int,
    data_hash: str,
    root: Path,
    exogenous: ExogenousColumns | None = None,
    threads: int | None = None,
) -> Path:
    """Train one model on all of `bars` and store its bundle below `root`; returns the bundle's folder.

    The same arguments give the same bundle, byte for byte, whatever `threads` (None: every core). The
    metrics stored are those of the exported graph on rows whose outcome was a side. Raises DataError when
    the bars are too few or show one outcome only, or `exogenous` lacks what `config.exogenous` asks for.
    """
    # scikit-learn and XGBoost take seconds to import; a run that finds its bundle does without them
    from models.fit import fit_member, importance  # noqa: PLC0415
    from models.onnx_graph import build_graph  # noqa: PLC0415

    data = build_training_set(
        bars, instrument=instrument, config=config, bar_minutes=bar_minutes, exogenous=exogenous
    )
    member = fit_member(data.x, data.y, data.uniqueness, data.parts, config, seed=seed, threads=threads)
    graph = build_graph([member])
    p = GraphSession(graph).batch(data.x)[:, 0]
    first_open = int(bars.ts_event[0]) - bar_minutes * MINUTE_NS
    origin = _origin(instrument, config, data.feature_set, seed, data_hash, exogenous)
    metadata = origin | {
        "training_key": _digest(origin),
        "training_period": {"start_ns": first_open, "end_ns": int(bars.ts_event[-1])},
        "bars": len(bars),
        "blend": {"trees": member.tree_weight, "logistic": round(1.0 - member.tree_weight, 12)},
        "calibration": member.calibration.to_dict(),
        "importance": importance(member, data.columns),
        "rows_without_exogenous": data.rows_without_exogenous,
        **_findings(data, p),
    }
    files = bundle.pack(graph, metadata, _schema(data, exogenous))
    return Registry(root).store(files, instrument, config.name)


def training_key(
    instrument: str,
    config: ModelConfig,
    *,
    bar_minutes: int,
    seed: int,
    data_hash: str,
    exogenous: ExogenousColumns | None = None,
) -> str:
    """SHA-256 (hex) over everything a training depends on: data, settings, features, code, libraries.

    Of `exogenous` every row counts: give it those of the training period (`load_exogenous`) alone.
    """
    return _digest(_origin(instrument, config, FeatureSet.default(bar_minutes), seed, data_hash, exogenous))


def ensure_bundle(run: RunConfig, model: ModelConfig, instrument: str, catalog: Catalog, root: Path) -> Path:
    """The folder of the bundle made for exactly this training, which is done first when there is none.

    With `model.bundle` that bundle is taken instead, or refused (ModelError) when it belongs to another
    instrument or bar length or has seen bars that the backtest trades. Raises DataError when the catalog
    lacks bars of the period.
    """
    if model.bundle is not None:
        return _given_bundle(run, model.bundle, instrument)
    start, end = utc_ns(run.data.start), utc_ns(run.data.test_start)
    catalog.require_bars(instrument, run.data.bar, start, end, max_gap_minutes=run.data.max_gap_minutes)
    data_hash = catalog.dataset_hash(instrument, run.data.bar, start, end)
    same: dict[str, Any] = {"bar_minutes": run.data.bar_minutes, "seed": run.seed, "data_hash": data_hash}
    if model.exogenous:
        same["exogenous"] = load_exogenous(run, catalog, start, end)
    found = Registry(root).find(instrument, model.name, training_key(instrument, model, **same))
    if found is not None:
        return found
    bars = catalog.bars(instrument, run.data.bar, start, end)
    return train_model(bars, instrument=instrument, config=model, root=root, **same)


def load_exogenous(run: RunConfig, catalog: Catalog, start: int, end: int) -> ExogenousColumns:
    """The Fear & Greed index of a catalog as it matters at times in [start, end] (ns UTC), and no more of it.

    Each value is known `run.sentiment.publication_delay_minutes` after its day began; in what a node has
    recorded, from when it counted there. Raises DataError when the catalog holds none for that period.
    """
    recorded = read_known(catalog, FEAR_GREED)
    if len(recorded):
        return _as_known(run, catalog, recorded, start, end)
    delay = run.sentiment.publication_delay_minutes * MINUTE_NS
    stored = catalog.sentiment(FEAR_GREED, start - delay - look_back_ns(run.sentiment), end - delay + 1)
    if not len(stored):
        raise DataError(
            f"catalog {catalog.path} holds no {FEAR_GREED} values from {utc_text(start)} to {utc_text(end)}; "
            "get a CSV of date,fng and run: "
            f"python catalog/ingest.py FILE --kind sentiment --catalog {catalog.path}"
        )
    return ExogenousColumns.of_days(stored.date, stored.value, run.sentiment)


def _as_known(
    run: RunConfig, catalog: Catalog, recorded: KnownColumns, start: int, end: int
) -> ExogenousColumns:
    """What a node has recorded, as far as it matters in [start, end]."""
    first = int(np.searchsorted(recorded.published_at, start - look_back_ns(run.sentiment)))
    last = int(np.searchsorted(recorded.known_at, end, side="right"))
    if first >= last:
        raise DataError(
            f"catalog {catalog.path}: the node that recorded it knew no {FEAR_GREED} value from "
            f"{utc_text(start)} to {utc_text(end)}; choose a period after {utc_text(recorded.known_at[0])}"
        )
    columns = (values[first:last] for values in (recorded.known_at, recorded.value, recorded.published_at))
    return ExogenousColumns(KnownSeries(*columns), run.sentiment)


def _given_bundle(run: RunConfig, path: Path, instrument: str) -> Path:
    predictor = Predictor.load(path, instrument=instrument)
    if predictor.bar_minutes != run.data.bar_minutes:
        raise ModelError(
            f"{path}: trained on {predictor.bar_minutes}-minute bars, the run uses {run.data.bar}"
        )
    seen = predictor.metadata["training_period"]["end_ns"]
    if seen > utc_ns(run.data.test_start):
        until = datetime.fromtimestamp(seen / 1e9, UTC)
        raise ModelError(
            f"{path}: trained on data until {until:%Y-%m-%dT%H:%M}, the run would trade bars it has learned; "
            "move data.test_start there or later"
        )
    check_delay(run, predictor, path)
    return predictor.folder


def check_delay(run: RunConfig, predictor: Predictor, path: Path) -> None:
    """A bundle that learned from a series must meet it under the same delay and greatest age."""
    learned = predictor.metadata.get("exogenous") or {}
    for setting in ("publication_delay_minutes", "max_age_hours"):
        wanted = getattr(run.sentiment, setting)
        if learned and learned.get(setting) != wanted:
            raise ModelError(
                f"{path}: trained with sentiment.{setting} {learned.get(setting)}, the run has {wanted}; "
                "set it to the bundle's or train again"
            )


def _origin(
    instrument: str,
    config: ModelConfig,
    features: FeatureSet,
    seed: int,
    data_hash: str,
    exogenous: ExogenousColumns | None,
) -> dict[str, Any]:
    """Everything a training depends on."""
    settings = config.model_dump(mode="json", exclude={"bundle"})
    return {
        "format": 1,
        "instrument": instrument,
        "kind": config.name,
        "bar_minutes": features.bar_minutes,
        "data_hash": data_hash,
        "exogenous": _described(exogenous) if config.exogenous else None,
        "schema_hash": features.schema_hash,
        "code_revision": _code_revision(),
        "config": settings,
        "config_hash": _digest(settings),
        "label": settings["label"],
        "seed": seed,
        "libraries": {name: library_version(name) for name in _LIBRARIES},
    }


def _schema(data: TrainingSet, exogenous: ExogenousColumns | None) -> dict[str, Any]:
    """What the model wants to be fed: features, and after them exogenous columns where it has any."""
    schema = data.feature_set.to_dict()
    if exogenous is not None and len(data.columns) > len(data.feature_set.names):
        schema |= {"exogenous": exogenous.describe()}
    return schema


def _described(exogenous: ExogenousColumns | None) -> dict[str, Any] | None:
    return None if exogenous is None else exogenous.describe() | {"data_hash": exogenous.digest()}


@cache
def _code_revision() -> str:
    """SHA-256 over the modules that define labels, splits, fit, graph and scores; comments and docstrings
    aside."""
    digest = hashlib.sha256()
    for name in _DEFINING_MODULES:
        tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and ast.get_docstring(node) is not None
            ):
                node.body = node.body[1:]
        digest.update(f"{name}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(bundle.canonical_json(value)).hexdigest()


def _findings(data: TrainingSet, p: Floats) -> dict[str, Any]:
    """What the finished graph's probabilities `p` [n] are and are worth."""
    return {
        "definition": _DEFINITION,
        "trials": 1,
        "parts": {name: _part(data, rows) for name, rows in data.parts.items()},
        "metrics": _metrics(data, p),
        "check": _check_rows(data, p),
    }


def _part(data: TrainingSet, rows: NDArray[np.int64]) -> dict[str, int]:
    """Rows of a part and the span its labels live over (ns)."""
    return {
        "rows": len(rows),
        "start_ns": int(data.label_start[rows[0]]),
        "end_ns": int(data.label_end[rows].max()),
    }


def _metrics(data: TrainingSet, p: Floats) -> dict[str, dict[str, float]]:
    """Scores of each part beside those of always stating the training part's base rate."""
    base = float(data.y[data.parts["train"]].mean())
    table = {}
    for name, rows in data.parts.items():
        y, flat = data.y[rows], np.full(len(rows), base)
        baseline = {"baseline_brier": brier_score(y, flat), "baseline_log_loss": log_loss(y, flat)}
        table[name] = classification_metrics(y, p[rows]) | baseline
    return table


def _check_rows(data: TrainingSet, p: Floats) -> dict[str, Any]:
    """Rows spread over the whole period with the probabilities the graph gave here."""
    rows = np.unique(np.linspace(0, len(p) - 1, _CHECK_ROWS).astype(np.int64))
    return {"rows": data.x[rows].tolist(), "probabilities": p[rows].tolist()}


app = command_app("Train every model that the strategies of a run use, one per instrument.")


@app.command()
def main(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")
    ] = None,
    root: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where bundles are kept.")] = ARTIFACTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Train on [data.start, data.test_start) and make each new bundle the candidate of its kind."""
    run = load_run(run_file, overrides or ())
    wanted = _wanted(run)
    ensure_synthetic(run)
    catalog = Catalog.open(run.data.catalog)
    reports = []
    for model, instrument in wanted:
        with status(f"training {model.name} on {instrument}", quiet=as_json):
            folder = ensure_bundle(run, model, instrument, catalog, root)
        predictor = Predictor.load(folder, instrument=instrument)
        if model.bundle is None:
            Registry(root).point("candidate", folder)
        reports.append(_report(predictor, folder))
    if as_json:
        emit_json({"run": run.name, "models": reports})
        return
    for report in reports:
        _print(report)


def _wanted(run: RunConfig) -> list[tuple[ModelConfig, str]]:
    """The models the strategies ask for, with their instruments, each pair once."""
    models = {model.name: model for model in run.models}
    pairs = dict.fromkeys((model, s.instrument) for s in run.strategies for model in s.all_models)
    if not pairs:
        raise ConfigError(f"run '{run.name}': no strategy names a model, there is nothing to train")
    return [(models[name], instrument) for name, instrument in pairs]


def _report(predictor: Predictor, folder: Path) -> dict[str, Any]:
    metadata = predictor.metadata
    return {
        "model": metadata["kind"],
        "instrument": predictor.instrument,
        "bundle": str(folder),
        "model_hash": predictor.model_hash,
        "data_hash": metadata["data_hash"],
        "blend": metadata["blend"],
        "calibration": metadata["calibration"],
        "metrics": metadata["metrics"],
    }


def _print(report: dict[str, Any]) -> None:
    # parts side by side: ten columns of figures do not fit into the 80 characters of a pipe
    table = Table("", *PARTS, title=f"{report['model']} on {report['instrument']}")
    scores = [report["metrics"][name] for name in PARTS]
    table.add_row("rows", *(f"{part['n']:,.0f}" for part in scores))
    for title, key in _COLUMNS.items():
        table.add_row(title, *(_figure(part[key]) for part in scores))
    out.print(table)
    out.print("naive: states the training part's base rate for every bar", highlight=False)
    out.print(
        f"blend: {report['blend']['trees']:.2f} trees, {report['blend']['logistic']:.2f} logistic",
        highlight=False,
    )
    out.print(f"bundle: {report['bundle']}", highlight=False)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    run_app(app)
