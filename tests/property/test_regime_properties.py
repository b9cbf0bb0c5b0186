"""The regime against a plain reading of its rules, and what must hold of any market."""

import itertools

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import percentileofscore

from configs.schema import RegimeConfig
from models.features import FeatureSet, feature_matrix
from models.regime import REGIME_FEATURES, OnlineRegime, Regime, as_regime, regimes
from tests.feature_markets import columns, tick_market

CONFIGS = st.builds(
    RegimeConfig,
    adx_trending=st.floats(25, 40),
    adx_ranging=st.floats(10, 25),
    volatility_window=st.integers(20, 40),
    high_volatility_above=st.floats(0.65, 0.95),
    low_volatility_below=st.floats(0.05, 0.35),
    hysteresis=st.floats(0, 0.1),
    min_bars=st.integers(1, 12),
)
SEEDS = st.integers(0, 10**6)


def market(seed: int, n: int, *, holes: bool = True) -> list[np.ndarray]:
    """ADX, slope and volatility that wander about the thresholds; volatilities repeat, some inputs miss."""
    random = np.random.default_rng(seed)
    adx = 25.0 + 15.0 * np.sin(np.cumsum(random.normal(0.0, 0.3, n)))
    slope = np.round(np.cumsum(random.normal(0.0, 1.0, n)))
    volatility = np.round(np.exp(np.cumsum(random.normal(0.0, 0.2, n))), 1)
    if holes:
        for array in (adx, slope, volatility):
            array[random.random(n) < 0.03] = np.nan
    return [adx, slope, volatility]


def plainly(config: RegimeConfig, inputs: list[np.ndarray]) -> list[Regime | None]:
    """The rules once more, in lists and with scipy's percentile rank."""
    seen: list[float] = []
    trend, level, trend_age, level_age = None, None, 0, 0
    found: list[Regime | None] = []
    for adx, slope, volatility in zip(*(x.tolist() for x in inputs), strict=True):
        seen += [volatility] if not np.isnan(volatility) else []
        window = seen[-config.volatility_window :]
        if np.isnan([adx, slope, volatility]).any() or len(window) < config.volatility_window:
            found.append(None)
            continue
        rank = percentileofscore(window, volatility, kind="mean") / 100.0
        high, low, margin = config.high_volatility_above, config.low_volatility_below, config.hysteresis
        over, under = rank > high, rank < low
        over = over or (level == 1 and rank >= high - margin)
        under = under or (level == -1 and rank <= low + margin)
        wanted_level = 1 if over else (-1 if under else 0)
        if trend in (1, -1):
            wanted_trend = 0 if adx < config.adx_ranging else (int(np.sign(slope)) or trend)
        else:
            wanted_trend = 0 if adx < config.adx_trending else int(np.sign(slope))
        trend_age, level_age = trend_age + 1, level_age + 1
        if trend is None or (wanted_trend != trend and trend_age >= config.min_bars):
            trend, trend_age = wanted_trend, 0
        if level is None or (wanted_level != level and level_age >= config.min_bars):
            level, level_age = wanted_level, 0
        found.append(Regime(trend != 0, trend, level, min(trend_age, level_age)))
    return found


def near_a_threshold(config: RegimeConfig) -> bool:
    """Whether a rank (a multiple of half a window's share) may meet a threshold but for rounding."""
    high, low, margin = config.high_volatility_above, config.low_volatility_below, config.hysteresis
    steps = np.array([high, high - margin, low, low + margin]) * 2 * config.volatility_window
    return bool((np.abs(steps - np.round(steps)) < 1e-6).any())


@settings(max_examples=80, deadline=None)
@given(config=CONFIGS, seed=SEEDS)
def test_the_compiled_step_follows_the_rules_as_written_plainly(config: RegimeConfig, seed: int) -> None:
    assume(not near_a_threshold(config))
    inputs = market(seed, 250)
    assert [as_regime(*row) for row in regimes(config, *inputs).tolist()] == plainly(config, inputs)


@settings(max_examples=80, deadline=None)
@given(config=CONFIGS, seed=SEEDS)
def test_no_label_changes_sooner_than_min_bars(config: RegimeConfig, seed: int) -> None:
    codes = regimes(config, *market(seed, 400))
    known = codes[codes[:, 2] >= 0]
    for labels in (known[:, 0] != 0, known[:, 0], known[:, 1]):
        runs = [len(list(group)) for _, group in itertools.groupby(labels.tolist())]
        # The last one may still grow.
        assert all(length >= config.min_bars for length in runs[:-1])


@settings(max_examples=50, deadline=None)
@given(config=CONFIGS, seed=SEEDS)
def test_bars_count_from_the_last_change(config: RegimeConfig, seed: int) -> None:
    codes = regimes(config, *market(seed, 300, holes=False))
    known = codes[codes[:, 2] >= 0].tolist()
    assert known[0][2] == 0
    for before, now in itertools.pairwise(known):
        assert now[2] == (0 if now[:2] != before[:2] else before[2] + 1)


@settings(max_examples=50, deadline=None)
@given(config=CONFIGS, seed=SEEDS, other=SEEDS, cut=st.integers(0, 300))
def test_another_future_changes_no_past_regime(config: RegimeConfig, seed: int, other: int, cut: int) -> None:
    inputs, changed = market(seed, 300), market(other, 300)
    joined = [np.concatenate((a[:cut], b[cut:])) for a, b in zip(inputs, changed, strict=True)]
    whole = regimes(config, *inputs)[:cut]
    assert np.array_equal(regimes(config, *joined)[:cut], whole)
    assert np.array_equal(regimes(config, *(a[:cut] for a in inputs)), whole)


@settings(max_examples=50, deadline=None)
@given(config=CONFIGS, seed=SEEDS, cuts=st.sets(st.integers(0, 300), max_size=4), data=st.data())
def test_single_bars_and_parts_of_any_length_give_the_regimes_of_the_whole(
    config: RegimeConfig, seed: int, cuts: set[int], data: st.DataObject
) -> None:
    inputs = market(seed, 300)
    online, found = OnlineRegime(config), []
    for start, stop in itertools.pairwise([0, *sorted(cuts), 300]):
        part = [x[start:stop] for x in inputs]
        if data.draw(st.booleans()):
            found += [as_regime(*row) for row in online.extend(*part).tolist()]
        else:
            found += [online.update(*row) for row in zip(*(x.tolist() for x in part), strict=True)]
    assert found == [as_regime(*row) for row in regimes(config, *inputs).tolist()]


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_a_market_times_eight_has_the_same_regimes(seed: int) -> None:
    bars = columns(tick_market(900, seed=seed))
    config = RegimeConfig(volatility_window=240)
    features = FeatureSet(REGIME_FEATURES)
    plain = regimes(config, *feature_matrix(*bars, features).T)
    scaled = regimes(config, *feature_matrix(bars[0], *(8.0 * x for x in bars[1:5]), bars[5], features).T)
    assert np.array_equal(plain, scaled)
    assert (plain[:, 2] >= 0).any()
