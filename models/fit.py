"""Fitting: boosted trees and logistic regression, their blend and its calibration, each on its own part.

The same data, settings and seed give the same bits whatever the number of threads: XGBoost's histograms
repeat by themselves, and everything that goes through BLAS runs on one thread.
"""

from dataclasses import replace

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from configs.schema import ModelConfig, TreesConfig
from models.onnx_graph import Calibration, Member, build_graph
from models.predictor import GraphSession
from models.scores import log_loss

__all__ = ["fit_calibration", "fit_member", "importance"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_BLEND_STEPS = 20
_ISOTONIC_KNOTS = 33
_CLOSEST_KNOTS = 1e-4  # the graph's rounding grows with the slope between knots
# Calibration's prior: log odds = level + slope (p - 1/2). Slope 4 is the identity near 1/2; a level of 0.2
# moves an even chance by five points.
_PRIOR_MEAN = np.array([0.0, 4.0])
_PRIOR_PRECISION = 1.0 / np.array([0.2, 2.0]) ** 2
_NEWTON_STEPS = 200


def fit_member(
    x: Floats,
    y: Floats,
    weights: Floats,
    parts: dict[str, Rows],
    config: ModelConfig,
    *,
    seed: int,
    threads: int | None = None,
) -> Member:
    """Fit on `parts["train"]`, choose the blend on "validation" by log loss, calibrate on "calibration".

    `x` [n, k] features (NaN is missing), `y` [n] in {0, 1}; each part has both outcomes. `weights` [n] say
    how much of an independent observation each row is: overlapping labels repeat each other, and counted in
    full they would drown every penalty and prior (so `trees.min_child_weight` counts independent rows).
    `threads` None uses every core; the result does not depend on it.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        train = parts["train"]
        trees = _fit_trees(x[train], y[train], weights[train], config.trees, seed, threads or 0)
        linear = _fit_linear(x[train], y[train], weights[train], config.logistic_c, trees)
        both = GraphSession(build_graph([replace(linear, tree_weight=1.0), replace(linear, tree_weight=0.0)]))
        weight = _blend_weight(both.batch(x[parts["validation"]]), y[parts["validation"]])
        p = both.batch(x[parts["calibration"]])
        blend = p[:, 0] * weight + p[:, 1] * (1.0 - weight)
        rows = parts["calibration"]
        calibration = fit_calibration(config.calibration, blend, y[rows], weights[rows])
        return replace(linear, tree_weight=weight, calibration=calibration)


def _fit_trees(x: Floats, y: Floats, weights: Floats, config: TreesConfig, seed: int, threads: int) -> bytes:
    settings = config.model_dump(exclude={"n_estimators"})
    parameters = settings | {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "seed": seed,
        "nthread": threads,
        "verbosity": 0,
    }
    data = xgb.QuantileDMatrix(x, y, weight=weights, nthread=threads)
    return bytes(xgb.train(parameters, data, config.n_estimators).save_raw("json"))


def _fit_linear(x: Floats, y: Floats, weights: Floats, c: float, trees: bytes) -> Member:
    """Median imputation, standardisation and logistic regression, beside the given trees."""
    empty = np.isnan(x).all(axis=0)
    median = np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, x), axis=0))
    filled = np.where(np.isnan(x), median, x)
    mean, spread = filled.mean(axis=0), filled.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    model = LogisticRegression(C=c, max_iter=2000).fit((filled - mean) / scale, y, sample_weight=weights)
    return Member(trees, median, mean, scale, model.coef_[0], float(model.intercept_[0]), 0.5)


def _blend_weight(p: Floats, y: Floats) -> float:
    """The trees' share on a grid over [0, 1] with the least log loss; `p` [n, 2]: trees, linear part."""
    grid = [step / _BLEND_STEPS for step in range(_BLEND_STEPS + 1)]
    losses = [log_loss(y, np.clip(p[:, 0] * w + p[:, 1] * (1.0 - w), 0.0, 1.0)) for w in grid]
    return grid[int(np.argmin(losses))]


def fit_calibration(kind: str, p: Floats, y: Floats, weights: Floats) -> Calibration:
    """Map blended probabilities `p` [n] to observed frequencies of `y` [n] in {0, 1}, rows weighted.

    "sigmoid" fits log odds = offset + slope p (Platt 1999) with a prior belief that `p` is right as it
    stands, of the strength of some hundred independent rows: overlapping labels of a few days cannot turn a
    model's opinion. A slope below 0 becomes 0, the same probability for every row, never the reverse of the
    model. "isotonic" fits a monotone curve and keeps its values at quantiles of `p`, off 0 and 1 by what n
    rows can tell. "none" leaves `p` alone.
    """
    if kind == "sigmoid":
        return _sigmoid(p, y, weights)
    if kind == "isotonic":
        return _isotonic(p, y, weights)
    return Calibration()


def _sigmoid(p: Floats, y: Floats, weights: Floats) -> Calibration:
    """Maximum a posteriori by Newton's method on log odds = level + slope (p - 1/2)."""
    centred = p - 0.5
    theta = _PRIOR_MEAN.copy()
    free = np.array([True, True])
    for _ in range(_NEWTON_STEPS):
        q = 1.0 / (1.0 + np.exp(-(theta[0] + theta[1] * centred)))
        error, curvature = weights * (q - y), weights * q * (1.0 - q)
        gradient = np.array([error.sum(), (error * centred).sum()]) + (theta - _PRIOR_MEAN) * _PRIOR_PRECISION
        cross = float((curvature * centred).sum())
        hessian = np.array([[curvature.sum(), cross], [cross, (curvature * centred**2).sum()]])
        hessian += np.diag(_PRIOR_PRECISION)
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        theta -= np.clip(step, -1.0, 1.0)
        if theta[1] < 0:
            theta[1], free[1] = 0.0, False
        if np.abs(step).max() < 1e-12:
            break
    level, slope = float(theta[0]), float(theta[1])
    return Calibration("sigmoid", slope=slope, offset=level - slope / 2)


def _isotonic(p: Floats, y: Floats, weights: Floats) -> Calibration:
    curve = IsotonicRegression(out_of_bounds="clip").fit(p, y, sample_weight=weights)
    knots = [float(p.min())]
    for knot in np.quantile(p, np.linspace(0.0, 1.0, _ISOTONIC_KNOTS)):
        if knot - knots[-1] >= _CLOSEST_KNOTS:
            knots.append(float(knot))
    if len(knots) < 3:
        knots, levels = [0.0, 0.5, 1.0], np.full(3, np.average(y, weights=weights))
    else:
        levels = curve.predict(np.array(knots))
    limit = 1.0 / (weights.sum() + 2.0)
    return Calibration(
        "isotonic", knots=tuple(knots), levels=tuple(np.clip(levels, limit, 1.0 - limit).tolist())
    )


def importance(member: Member, names: tuple[str, ...]) -> dict[str, float]:
    """Each feature's share of the trees' total gain, to four decimals; unused ones are left out."""
    booster = xgb.Booster(model_file=bytearray(member.trees))
    gains = booster.get_score(importance_type="total_gain")
    total = sum(gains.values()) or 1.0
    return {names[int(key[1:])]: round(gain / total, 4) for key, gain in gains.items()}
