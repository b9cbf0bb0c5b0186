import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from models import scores


def test_sharpe_ratio_is_mean_over_sample_deviation_per_observation() -> None:
    # mean 0.01, deviations -0.02 0 0.02 0, squares sum 0.0008, variance 0.0008 / 3
    assert scores.sharpe_ratio([-0.01, 0.01, 0.03, 0.01]) == pytest.approx(0.01 / math.sqrt(0.0008 / 3))
    assert scores.sharpe_ratio([0.01, 0.03], periods_per_year=365) == pytest.approx(
        0.02 / math.sqrt(0.0002) * math.sqrt(365)
    )


@pytest.mark.parametrize("returns", [[], [0.01], [0.01] * 7, [0.0, 0.0], [0.1, math.nan, 0.2]])
def test_sharpe_ratio_without_spread_or_with_nan_is_undefined(returns: list[float]) -> None:
    assert math.isnan(scores.sharpe_ratio(returns))


def test_sortino_ratio_divides_by_the_downside_of_all_observations() -> None:
    # mean 0.005; downside squares 0.0004 and 0 over four values -> sqrt(0.0001) = 0.01
    assert scores.sortino_ratio([0.02, -0.02, 0.01, 0.01]) == pytest.approx(0.5)
    assert math.isnan(scores.sortino_ratio([0.01, 0.02]))


def test_max_drawdown_is_a_positive_fraction_of_the_peak() -> None:
    assert scores.max_drawdown([100, 120, 90, 130, 117]) == pytest.approx(0.25)
    assert scores.max_drawdown([100, 101, 102]) == 0.0
    assert math.isnan(scores.max_drawdown([]))
    with pytest.raises(ValueError, match="positive"):
        scores.max_drawdown([0.0, 1.0])


def test_profit_factor_compares_gains_with_losses() -> None:
    assert scores.profit_factor([3.0, -1.0, 1.0, -1.0, 0.0]) == 2.0
    assert scores.profit_factor([1.0]) == math.inf
    assert math.isnan(scores.profit_factor([0.0]))
    assert scores.profit_factor([-1.0]) == 0.0


def test_moments_agree_with_scipy_and_a_normal_has_kurtosis_three() -> None:
    sample = np.random.default_rng(1).gamma(2.0, size=500)
    assert scores.skewness(sample) == pytest.approx(stats.skew(sample))
    assert scores.kurtosis(sample) == pytest.approx(stats.kurtosis(sample, fisher=False))
    assert scores.kurtosis(np.random.default_rng(2).normal(size=200_000)) == pytest.approx(3.0, abs=0.05)


def test_kelly_fraction_of_an_even_bet_is_the_edge() -> None:
    assert scores.kelly_fraction(0.6, 1.0) == pytest.approx(0.2)
    assert scores.kelly_fraction(0.5, 2.0) == pytest.approx(0.25)
    np.testing.assert_allclose(scores.kelly_fraction([0.4, 0.5], 1.0), [-0.2, 0.0], atol=1e-15)
    with pytest.raises(ValueError, match="payoff_ratio"):
        scores.kelly_fraction(0.5, 0.0)


def test_probabilistic_sharpe_ratio_by_the_formula_with_scipys_normal() -> None:
    got = scores.probabilistic_sharpe_ratio(0.458, 0.1, 134, -2.448, 10.164)
    spread = math.sqrt(1 + 2.448 * 0.458 + (10.164 - 1) / 4 * 0.458**2)
    assert got == pytest.approx(stats.norm.cdf(0.358 * math.sqrt(133) / spread))
    assert scores.probabilistic_sharpe_ratio(0.1, 0.1, 50, 0.0, 3.0) == 0.5
    assert math.isnan(scores.probabilistic_sharpe_ratio(0.1, 0.0, 1, 0.0, 3.0))


def test_probabilistic_sharpe_ratio_of_the_papers_example() -> None:
    # Bailey and Lopez de Prado (2012): annual 1.59 over 24 months against 0, normal and with real moments
    sharpe = 1.585 / math.sqrt(12)
    assert scores.probabilistic_sharpe_ratio(sharpe, 0.0, 24, 0.0, 3.0) == pytest.approx(0.982, abs=0.002)
    assert scores.probabilistic_sharpe_ratio(sharpe, 0.0, 24, -2.448, 10.164) == pytest.approx(
        0.913, abs=0.002
    )


def test_expected_max_sharpe_agrees_with_simulated_maxima() -> None:
    draws = np.random.default_rng(3).normal(scale=0.5, size=(20_000, 100)).max(axis=1)
    assert scores.expected_max_sharpe(100, 0.25) == pytest.approx(draws.mean(), rel=0.02)
    assert scores.expected_max_sharpe(1, 0.25) == 0.0
    with pytest.raises(ValueError, match="trial"):
        scores.expected_max_sharpe(0, 0.25)


def test_deflated_sharpe_ratio_of_the_papers_example() -> None:
    # Bailey and Lopez de Prado (2014): annual 2.5 over 1250 days, 100 trials of annual variance 1/2
    sharpe, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert scores.expected_max_sharpe(100, variance) == pytest.approx(0.1132, abs=1e-4)
    assert scores.deflated_sharpe_ratio(sharpe, 1250, -3, 10, 100, variance) == pytest.approx(
        0.9004, abs=1e-4
    )


def test_min_track_record_length_of_the_papers_example() -> None:
    # Bailey and Lopez de Prado (2012): an annual 2 beats 1 at 95 % after 2.73 years of daily returns
    days = scores.min_track_record_length(2 / math.sqrt(252), 1 / math.sqrt(252), 0.0, 3.0, 0.95)
    assert days / 252 == pytest.approx(2.73, abs=0.005)
    assert scores.probabilistic_sharpe_ratio(
        2 / math.sqrt(252), 1 / math.sqrt(252), days, 0.0, 3.0
    ) == pytest.approx(0.95)
    assert scores.min_track_record_length(0.1, 0.1, 0.0, 3.0, 0.95) == math.inf


def test_min_backtest_length_of_the_papers_example() -> None:
    # Bailey et al. (2014): five years of data bear 45 variations before an annual 1 is expected by chance
    assert scores.min_backtest_length(45, 1.0) == pytest.approx(5.0, abs=0.1)
    assert scores.min_backtest_length(45, 2.0) == pytest.approx(scores.min_backtest_length(45, 1.0) / 4)
    assert scores.min_backtest_length(1, 1.0) == 0.0


def test_overfitting_is_certain_where_the_winner_always_reverses() -> None:
    # Bailey et al. (2014): five years of data bear 45 variations before chance alone gives an annual 1
    returns = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])
    assert scores.probability_of_backtest_overfitting(returns, 2, "mean") == 1.0


def test_overfitting_is_absent_where_one_strategy_always_wins() -> None:
    rows = np.tile([[0.0, 1.0, 2.0], [0.5, 1.5, 2.5]], (8, 1))
    assert scores.probability_of_backtest_overfitting(rows, 4, "mean") == 0.0
    assert scores.probability_of_backtest_overfitting(rows, 4, "sharpe") == 0.0


def test_overfitting_counts_ties_and_a_logit_of_zero() -> None:
    same = np.random.default_rng(4).normal(size=(64, 1)).repeat(5, axis=1)
    assert scores.probability_of_backtest_overfitting(same, 8) == 1.0
    # three strategies, either winner is second of three in the other half: 2 / 4 is a logit of 0
    first, second = [3.0, 2.0, 1.0], [1.0, 2.0, 0.0]
    assert scores.probability_of_backtest_overfitting([first, first, second, second], 2, "mean") == 1.0


def test_overfitting_by_blocks_equals_a_plain_recomputation() -> None:
    returns = np.random.default_rng(5).normal(size=(60, 7)) + np.linspace(0, 0.3, 7)
    blocks = returns.reshape(4, 15, 7)
    overfit = 0
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for inside in pairs:
        outside = [b for b in range(4) if b not in inside]
        a, b = (blocks[list(x)].reshape(-1, 7) for x in (inside, outside))
        winner = np.argmax(a.mean(0) / a.std(0, ddof=1))
        place = stats.rankdata(b.mean(0) / b.std(0, ddof=1))[winner] / 8
        overfit += place <= 0.5
    assert scores.probability_of_backtest_overfitting(returns, 4) == overfit / 6


@pytest.mark.parametrize(("blocks", "metric"), [(3, "mean"), (0, "mean"), (22, "mean"), (4, "median")])
def test_overfitting_refuses_bad_arguments(blocks: int, metric: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        scores.probability_of_backtest_overfitting(np.ones((60, 3)), blocks, metric)


def test_probability_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(6)
    p = np.round(rng.uniform(size=2000), 2)
    y = (rng.uniform(size=2000) < p).astype(float)
    got = scores.classification_metrics(y, p)
    chosen = p >= 0.5
    assert got["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, p))
    assert got["brier"] == pytest.approx(metrics.brier_score_loss(y, p))
    assert got["log_loss"] == pytest.approx(metrics.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15)))
    assert got["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, chosen))
    assert got["precision"] == pytest.approx(metrics.precision_score(y, chosen))
    assert got["recall"] == pytest.approx(metrics.recall_score(y, chosen))
    assert (got["n"], got["base_rate"]) == (2000, pytest.approx(y.mean()))


def test_probability_scores_of_one_class_are_undefined_or_zero() -> None:
    got = scores.classification_metrics([1, 1], [0.2, 0.3])
    assert math.isnan(got["roc_auc"])
    assert math.isnan(got["precision"])
    assert (got["mcc"], got["recall"]) == (0.0, 0.0)


def test_probability_scores_refuse_what_is_no_outcome_or_probability() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        scores.brier_score([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="lie in"):
        scores.log_loss([0, 1], [0.1, 1.2])
    with pytest.raises(ValueError, match="length"):
        scores.roc_auc([0, 1], [0.1])


def test_calibration_error_weights_the_distance_of_each_bin_by_its_rows() -> None:
    # bin (0, 0.5]: p 0.2 0.4, y 0 1 -> |0.5 - 0.3| * 2; bin (0.5, 1]: p 0.9, y 1 -> 0.1 * 1; over three rows
    assert scores.expected_calibration_error([0, 1, 1], [0.2, 0.4, 0.9], 2) == pytest.approx(0.5 / 3)
    # 0.5 belongs to the lower bin, 1 and 0 to the outer ones
    assert scores.expected_calibration_error([1, 0], [0.5, 0.3], 2) == pytest.approx(0.1)
    assert scores.expected_calibration_error([0, 1], [0.0, 1.0], 10) == 0.0


def test_stability_index_by_hand() -> None:
    # two bins split at the median 1.5: 1/2 and 1/2 against 3/4 and 1/4
    got = scores.population_stability_index([0, 1, 2, 3], [0, 1, 1, 3], 2)
    assert got == pytest.approx(0.25 * math.log(1.5) - 0.25 * math.log(0.5))
    assert scores.population_stability_index([0, 1, 2, math.nan], [0, 1, 2]) == 0.0
    assert scores.population_stability_index([0, 1, 2, 3], [9, 9]) > 1
    assert math.isnan(scores.population_stability_index([], [1.0]))
