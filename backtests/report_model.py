"""The report's model section: scores per split against a baseline, and calibration out of sample."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from backtests import charts
from backtests.report_html import Cell, Column, count, note, number, pair, plot, section, table, text
from backtests.tables import ResultBundle
from models.scores import classification_metrics

__all__ = ["model_section"]

_SPLIT_ORDER = ("train", "validation", "calibration", "test")
_LABELS = {
    "n": "Rows",
    "base_rate": "Base rate",
    "mcc": "MCC",
    "precision": "Precision",
    "recall": "Recall",
    "roc_auc": "ROC AUC",
    "brier": "Brier",
    "log_loss": "Log loss",
    "ece": "ECE (10 bins)",
}
_BASELINE = "baseline"
_ALIKE = ("n", "base_rate")  # properties of the rows, the same for any model


def model_section(bundle: ResultBundle) -> str:
    """Metrics of every model and split, and how its probabilities held up over the backtest period."""
    metrics = bundle.summary.get("model_metrics") or {}
    if not metrics and bundle.model_test.empty:
        return section("model", "Model", note("This run used no model."))
    body = _metrics(metrics)
    groups = bundle.model_test.groupby(["model", "instrument"], sort=True)
    for place, ((model, instrument), rows) in enumerate(groups):
        body += f"<h3>Out of sample: {text(model)} on {text(instrument)}</h3>\n"
        body += _calibration(rows, place, _training_rate(metrics, str(model), str(instrument)))
    return section("model", "Model", body)


def _metrics(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return note("The bundle holds no metrics from training.")
    body = note(
        "From training, in the order of time. Each value stands above that of the naive baseline, which "
        "always says the base rate of the training part. Lower is better for Brier, log loss and ECE."
    )
    parts = [
        f"<article><h3>{text(name)}</h3>\n{_splits_table(splits)}</article>"
        for name, splits in metrics.items()
    ]
    return f'{body}<div class="pairs">{"".join(parts)}</div>\n'


def _splits_table(splits: Mapping[str, Mapping[str, Any]]) -> str:
    names = sorted(
        splits, key=lambda s: (_SPLIT_ORDER.index(s) if s in _SPLIT_ORDER else len(_SPLIT_ORDER), s)
    )
    keys = [key for key in _LABELS if any(key in splits[name] for name in names)]
    rows: list[list[str | Cell]] = []
    for key in keys:
        rows.append([Cell(_LABELS[key], "strong"), *(_score(key, splits[name].get(key)) for name in names)])
        baseline = [_baseline(splits[name], key) for name in names]
        if key not in _ALIKE and any(value is not None for value in baseline):
            rows.append([Cell("baseline", "sub"), *(Cell(_score(key, value), "sub") for value in baseline)])
    return table([Column("", False), *(Column(name) for name in names)], rows)


def _baseline(split: Mapping[str, Any], key: str) -> Any:
    """A baseline's score, stored as a group of its own or beside the model's with a prefix."""
    group = split.get(_BASELINE)
    return group.get(key) if isinstance(group, Mapping) else split.get(f"{_BASELINE}_{key}")


def _training_rate(metrics: Mapping[str, Any], model: str, instrument: str) -> float | None:
    splits = metrics.get(f"{model}/{instrument}") or {}
    rate = (splits.get("train") or {}).get("base_rate")
    return None if rate is None else float(rate)


def _calibration(rows: pd.DataFrame, place: int, training_rate: float | None) -> str:
    known = rows[["probability", "outcome"]].dropna()
    counts = f"{len(rows):,} forecasts, {len(known):,} with an outcome."
    if known.empty:
        return note(f"{counts} Nothing to score: neither barrier was reached inside the period.")
    body = note(
        f"{counts} Points near the dashed line mean that a stated probability comes true that often. "
        "Outcomes of neighbouring bars overlap, so the 95 % intervals are too narrow."
    )
    chart = plot(f"plot-calibration-{place}", charts.calibration_figure(rows), "Reliability diagram")
    return body + pair(chart, _scores_table(known, training_rate))


def _scores_table(known: pd.DataFrame, training_rate: float | None) -> str:
    outcome = known["outcome"].to_numpy()
    guess = 0.5 if training_rate is None else training_rate
    what = "0.5" if training_rate is None else "the training part's base rate"
    model = classification_metrics(outcome, known["probability"].to_numpy())
    naive = classification_metrics(outcome, [guess] * len(outcome))
    columns = [Column("Backtest period", False), Column("Model"), Column("Baseline")]
    rows = [[_LABELS[key], _score(key, model[key]), _score(key, naive[key])] for key in _LABELS]
    return table(columns, rows) + note(f"The baseline always says {what} ({guess:.4f}).")


def _score(key: str, value: Any) -> str:
    return count(value) if key == "n" else number(value, 4)
