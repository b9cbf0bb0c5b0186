"""The only definitions of Sharpe, drawdown, overfitting odds, Brier and the other scores of this project.

Sharpe ratios are per observation unless `periods_per_year` says otherwise; kurtosis is not excess (a normal
has 3). A score that its input leaves undefined (too few values, no spread, one class only) is NaN, never a
guess; a NaN in the input gives NaN. Arguments outside their domain raise ValueError.

Sources: Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier" (2012) and "The Deflated Sharpe
Ratio" (2014); Bailey, Borwein, Lopez de Prado and Zhu, "Pseudo-Mathematics and Financial Charlatanism"
(2014) and "The Probability of Backtest Overfitting" (2015).
"""

import math
from collections.abc import Callable
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "brier_score",
    "classification_metrics",
    "deflated_sharpe_ratio",
    "expected_calibration_error",
    "expected_max_sharpe",
    "kelly_fraction",
    "kurtosis",
    "log_loss",
    "matthews_correlation",
    "max_drawdown",
    "min_backtest_length",
    "min_track_record_length",
    "population_stability_index",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "profit_factor",
    "roc_auc",
    "sharpe_ratio",
    "skewness",
    "sortino_ratio",
]

Floats = NDArray[np.float64]

_NORMAL = NormalDist()
_NO_SPREAD = 1e-14  # a standard deviation below this share of the values' size is rounding, not spread
_LOG_LOSS_FLOOR = 1e-15
_MAX_BLOCKS = 20  # 184,756 splits
_PSI_FLOOR = 1e-4  # share given to an empty bin, so that the index stays finite


def _vector(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    return array


def _spread(values: Floats) -> float:
    """Sample standard deviation; 0 where the values differ by rounding only."""
    deviation = float(np.std(values, ddof=1))
    return 0.0 if deviation <= _NO_SPREAD * float(np.max(np.abs(values))) else deviation


# --- returns and equity ---


def sharpe_ratio(returns: ArrayLike, *, periods_per_year: float = 1.0) -> float:
    """Mean over sample standard deviation (n - 1) of the excess returns [n], times sqrt(periods_per_year).

    NaN for fewer than two returns or returns without spread.
    """
    values = _vector(returns, "returns")
    if values.size < 2 or not (spread := _spread(values)):
        return math.nan
    return float(np.mean(values)) / spread * math.sqrt(periods_per_year)


def sortino_ratio(returns: ArrayLike, *, target: float = 0.0, periods_per_year: float = 1.0) -> float:
    """Mean excess over `target` over the downside deviation sqrt(mean(min(r - target, 0)^2)).

    The mean under the root is over all n returns. NaN for fewer than two returns or without any return
    below the target. Source: Sortino and Price (1994).
    """
    values = _vector(returns, "returns") - target
    if values.size < 2:
        return math.nan
    downside = math.sqrt(float(np.mean(np.minimum(values, 0.0) ** 2)))
    return float(np.mean(values)) / downside * math.sqrt(periods_per_year) if downside else math.nan


def max_drawdown(equity: ArrayLike) -> float:
    """Largest fall from a running peak as a positive fraction of that peak (0.25 is 25 %).

    Above 1 where equity turns negative. `equity` [n] is the account's value over time and begins positive
    (ValueError otherwise). NaN when it is empty.
    """
    values = _vector(equity, "equity")
    if not values.size:
        return math.nan
    if values[0] <= 0:
        raise ValueError(f"equity must begin positive, got {values[0]}")
    peaks = np.maximum.accumulate(values)
    return float(np.max((peaks - values) / peaks))


def profit_factor(pnl: ArrayLike) -> float:
    """Sum of the gains over the sum of the losses of `pnl` [n] (trades or returns).

    Infinite with gains and no loss, NaN with neither.
    """
    values = _vector(pnl, "pnl")
    if np.isnan(values).any():
        return math.nan
    gains, losses = float(values[values > 0].sum()), float(-values[values < 0].sum())
    if losses:
        return gains / losses
    return math.inf if gains else math.nan


def skewness(values: ArrayLike) -> float:
    """Third standardised moment (population moments) of `values` [n]; NaN without spread."""
    return _standardised_moment(values, 3)


def kurtosis(values: ArrayLike) -> float:
    """Fourth standardised moment (population moments; a normal has 3) of `values` [n]; NaN without spread."""
    return _standardised_moment(values, 4)


def _standardised_moment(values: ArrayLike, order: int) -> float:
    array = _vector(values, "values")
    if array.size < 2 or not _spread(array):
        return math.nan
    centred = array - np.mean(array)
    return float(np.mean(centred**order) / np.mean(centred**2) ** (order / 2))


def kelly_fraction(win_probability: ArrayLike, payoff_ratio: ArrayLike) -> float | Floats:
    """Share of capital that maximises log growth: p - (1 - p) / b; negative means no edge, no bet.

    `win_probability` p in [0, 1]; `payoff_ratio` b > 0 is the average win over the average loss. Scalars
    give a float, arrays broadcast. Source: Kelly (1956).
    """
    p, b = np.asarray(win_probability, dtype=np.float64), np.asarray(payoff_ratio, dtype=np.float64)
    if np.any((p < 0) | (p > 1)) or np.any(b <= 0):
        raise ValueError("needs 0 <= win_probability <= 1 and payoff_ratio > 0")
    fraction = p - (1.0 - p) / b
    return float(fraction) if fraction.ndim == 0 else fraction


# --- how much of a Sharpe ratio to believe ---


def _sharpe_variance(sharpe: float, skew: float, kurt: float) -> float:
    """(n - 1) times the variance of an estimated Sharpe ratio; never negative for moments that can exist."""
    return max(0.0, 1.0 - skew * sharpe + (kurt - 1.0) / 4.0 * sharpe**2)


def probabilistic_sharpe_ratio(
    sharpe: float, benchmark: float, n_obs: float, skewness: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark` after `n_obs` returns showed `sharpe`.

    Both ratios per observation. NaN for fewer than two observations or a NaN argument.
    PSR = Phi((SR - SR*) sqrt(n - 1) / sqrt(1 - skew SR + (kurt - 1) / 4 SR^2)).
    """
    if n_obs < 2 or any(map(math.isnan, (sharpe, benchmark, n_obs, skewness, kurtosis))):
        return math.nan
    distance = (sharpe - benchmark) * math.sqrt(n_obs - 1)
    variance = _sharpe_variance(sharpe, skewness, kurtosis)
    if not variance:
        return 0.5 if not distance else float(distance > 0)
    return _NORMAL.cdf(distance / math.sqrt(variance))


def _expected_max_normal(n_trials: float) -> float:
    """Expected maximum of n independent standard normals (extreme-value approximation); 0 for one."""
    if n_trials < 1:
        raise ValueError(f"needs at least one trial, got {n_trials}")
    if n_trials == 1:
        return 0.0
    first = _NORMAL.inv_cdf(1.0 - 1.0 / n_trials)
    second = _NORMAL.inv_cdf(1.0 - 1.0 / (n_trials * math.e))
    return (1.0 - np.euler_gamma) * first + np.euler_gamma * second


def expected_max_sharpe(n_trials: float, variance: float) -> float:
    """Sharpe ratio to expect from the best of `n_trials` strategies without skill.

    `variance` is that of the trials' Sharpe ratios (per observation). One trial gives 0.
    sqrt(V) ((1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e))), g = Euler-Mascheroni, Z = the normal quantile.
    """
    if variance < 0:
        raise ValueError(f"variance must not be negative, got {variance}")
    return math.sqrt(variance) * _expected_max_normal(n_trials)


def deflated_sharpe_ratio(
    sharpe: float, n_obs: float, skewness: float, kurtosis: float, n_trials: float, variance: float
) -> float:
    """Probability that the true Sharpe ratio exceeds what the best of `n_trials` without skill would show.

    The probabilistic Sharpe ratio against `expected_max_sharpe(n_trials, variance)`.
    """
    return probabilistic_sharpe_ratio(
        sharpe, expected_max_sharpe(n_trials, variance), n_obs, skewness, kurtosis
    )


def min_track_record_length(
    sharpe: float, benchmark: float, skewness: float = 0.0, kurtosis: float = 3.0, confidence: float = 0.95
) -> float:
    """Observations needed before `sharpe` beats `benchmark` with `confidence`; infinite if it does not.

    1 + (1 - skew SR + (kurt - 1) / 4 SR^2) (Z(confidence) / (SR - SR*))^2.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if sharpe <= benchmark:
        return math.inf
    z = _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)
    return 1.0 + _sharpe_variance(sharpe, skewness, kurtosis) * z**2


def min_backtest_length(n_trials: float, max_sharpe: float) -> float:
    """Length below which the best of `n_trials` strategies without skill is expected to reach `max_sharpe`.

    In observations for a ratio per observation, in years for an annual one.
    """
    if max_sharpe <= 0:
        raise ValueError(f"max_sharpe must be positive, got {max_sharpe}")
    return (_expected_max_normal(n_trials) / max_sharpe) ** 2


def probability_of_backtest_overfitting(
    returns_matrix: ArrayLike, n_blocks: int = 16, metric: str = "sharpe"
) -> float:
    """Share of the symmetric splits whose in-sample best strategy is no better than the median out of sample.

    `returns_matrix` [T, N]: one column per strategy tried, rows in time order, cut into `n_blocks` (even)
    consecutive blocks as equal as T allows; every choice of half of them is in-sample once (CSCV).
    `metric`: "sharpe" or "mean". The winner's out-of-sample place is rank / (N + 1), rank 1 the worst; ties
    take the lowest rank, several winners the worst of theirs, and a logit of exactly 0 counts as overfit. A
    NaN gives NaN.
    """
    returns = np.asarray(returns_matrix, dtype=np.float64)
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise ValueError(f"returns_matrix must be [T, N] with N >= 2, got shape {returns.shape}")
    if metric not in ("sharpe", "mean"):
        raise ValueError(f"metric must be 'sharpe' or 'mean', got '{metric}'")
    needed = max(n_blocks, 4) if metric == "sharpe" else n_blocks
    if n_blocks % 2 or not 2 <= n_blocks <= _MAX_BLOCKS or returns.shape[0] < needed:
        raise ValueError(
            f"n_blocks must be even, from 2 to {_MAX_BLOCKS} and at most the rows, "
            f"got {n_blocks} for {returns.shape[0]} rows"
        )
    if np.isnan(returns).any():
        return math.nan
    performance = _block_performance(np.array_split(np.ascontiguousarray(returns), n_blocks), metric)
    everything = frozenset(range(n_blocks))
    overfit = sum(
        _overfit(performance(list(inside)), performance(sorted(everything.difference(inside))))
        for inside in combinations(range(n_blocks), n_blocks // 2)
    )
    return overfit / math.comb(n_blocks, n_blocks // 2)


def _block_performance(blocks: list[Floats], metric: str) -> Callable[[list[int]], Floats]:
    """The strategies' performance over chosen blocks, from sums per block."""
    counts, sums = np.array([len(b) for b in blocks]), np.array([b.sum(axis=0) for b in blocks])
    centre = sums.sum(axis=0) / counts.sum()
    centred = np.array([(b - centre).sum(axis=0) for b in blocks])
    squares = np.array([((b - centre) ** 2).sum(axis=0) for b in blocks])

    def performance(chosen: list[int]) -> Floats:
        n = int(counts[chosen].sum())
        mean: Floats = sums[chosen].sum(axis=0) / n
        if metric == "mean":
            return mean
        deviations = squares[chosen].sum(axis=0) - centred[chosen].sum(axis=0) ** 2 / n
        spread = np.sqrt(np.maximum(deviations, 0.0) / (n - 1))
        flat = spread <= 1e-7 * (np.abs(mean) + np.abs(centre))  # without spread only the sign ranks
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(flat, np.where(mean == 0, 0.0, np.sign(mean) * np.inf), mean / spread)

    return performance


def _overfit(inside: Floats, outside: Floats) -> bool:
    best = inside >= inside.max() - _tie_width(inside)
    winner = outside[best].min()
    rank = 1 + int((outside < winner - _tie_width(outside)).sum())
    return 2 * rank <= len(outside) + 1


def _tie_width(values: Floats) -> float:
    """Differences below this are rounding: equal strategies summed in another order must stay ties."""
    return 1e-12 * float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


# --- probabilities ---


def _outcomes(y: ArrayLike, p: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    outcome, probability = _vector(y, "y"), _vector(p, "p")
    if len(outcome) != len(probability):
        raise ValueError(f"y and p differ in length: {len(outcome)} and {len(probability)}")
    if not np.isin(outcome, (0.0, 1.0)).all():
        raise ValueError("y must hold 0 and 1 only")
    if ((probability < 0) | (probability > 1)).any():
        raise ValueError("p must lie in [0, 1]")
    return outcome.astype(np.bool_), probability


def brier_score(y: ArrayLike, p: ArrayLike) -> float:
    """Mean squared difference of the probabilities `p` [n] from the outcomes `y` [n]; NaN when empty."""
    outcome, probability = _outcomes(y, p)
    return float(np.mean((probability - outcome) ** 2)) if outcome.size else math.nan


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """Mean negative log likelihood (nats) of outcomes `y` [n]; `p` [n] is kept 1e-15 off 0 and 1."""
    outcome, probability = _outcomes(y, p)
    if not outcome.size:
        return math.nan
    clipped = np.clip(probability, _LOG_LOSS_FLOOR, 1 - _LOG_LOSS_FLOOR)
    return float(-np.mean(np.where(outcome, np.log(clipped), np.log1p(-clipped))))


def roc_auc(y: ArrayLike, p: ArrayLike) -> float:
    """Probability that a random 1 of `y` [n] has a higher `p` than a random 0; NaN for one class."""
    outcome, probability = _outcomes(y, p)
    positives = int(outcome.sum())
    negatives = outcome.size - positives
    if not positives or not negatives or np.isnan(probability).any():
        return math.nan
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mid_ranks[place[outcome]].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _confusion(outcome: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    true_positive, false_positive = int((outcome & chosen).sum()), int((~outcome & chosen).sum())
    false_negative = int(outcome.sum()) - true_positive
    return true_positive, false_positive, false_negative, int((~outcome & ~chosen).sum())


def matthews_correlation(y: ArrayLike, p: ArrayLike, *, threshold: float = 0.5) -> float:
    """Correlation of outcomes with `p >= threshold`; 0 where either is constant, NaN when empty."""
    outcome, probability = _outcomes(y, p)
    if not outcome.size or np.isnan(probability).any():
        return math.nan
    tp, fp, fn, tn = _confusion(outcome, probability >= threshold)
    scale = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return (tp * tn - fp * fn) / scale if scale else 0.0


def classification_metrics(y: ArrayLike, p: ArrayLike, *, threshold: float = 0.5) -> dict[str, float]:
    """Scores of a forecast: n, base_rate, mcc, precision, recall, roc_auc, brier, log_loss, ece.

    `y` [n] in {0, 1}, `p` [n] in [0, 1]; `threshold` decides for mcc, precision and recall. NaN where
    undefined (precision when nothing was chosen).
    """
    outcome, probability = _outcomes(y, p)
    tp, fp, fn, _ = _confusion(outcome, probability >= threshold)
    return {
        "n": float(outcome.size),
        "base_rate": float(outcome.mean()) if outcome.size else math.nan,
        "mcc": matthews_correlation(y, p, threshold=threshold),
        "precision": tp / (tp + fp) if tp + fp else math.nan,
        "recall": tp / (tp + fn) if tp + fn else math.nan,
        "roc_auc": roc_auc(y, p),
        "brier": brier_score(y, p),
        "log_loss": log_loss(y, p),
        "ece": expected_calibration_error(y, p),
    }


def expected_calibration_error(y: ArrayLike, p: ArrayLike, n_bins: int = 10) -> float:
    """Mean distance between stated probability and observed frequency over equal-width bins, by rows.

    Bins are (a, b], the first one [0, b]. NaN when empty. Source: Naeini, Cooper and Hauskrecht (2015).
    """
    outcome, probability = _outcomes(y, p)
    if n_bins < 1:
        raise ValueError(f"n_bins must be positive, got {n_bins}")
    if not outcome.size or np.isnan(probability).any():
        return math.nan
    place = np.searchsorted(np.linspace(0.0, 1.0, n_bins + 1)[1:-1], probability, side="left")
    surplus = np.bincount(place, weights=outcome - probability, minlength=n_bins)
    return float(np.abs(surplus).sum() / outcome.size)


def population_stability_index(expected: ArrayLike, actual: ArrayLike, n_bins: int = 10) -> float:
    """How far `actual` [m] has drifted from `expected` [n]: sum of (a - e) ln(a / e) over quantile bins.

    The bins are quantiles of `expected`. NaNs are left out; an empty bin counts as a share of 1e-4. Below
    0.1 is commonly read as stable, above 0.25 as shifted. NaN when either side is empty.
    """
    if n_bins < 2:
        raise ValueError(f"n_bins must be at least 2, got {n_bins}")
    before, after = (_vector(v, n) for v, n in ((expected, "expected"), (actual, "actual")))
    before, after = before[~np.isnan(before)], after[~np.isnan(after)]
    if not before.size or not after.size:
        return math.nan
    edges = np.unique(np.quantile(before, np.linspace(0.0, 1.0, n_bins + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, v), minlength=edges.size + 1) / v.size, _PSI_FLOOR)
        for v in (before, after)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
