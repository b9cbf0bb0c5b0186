"""What every feature owes: each is found by itself and put through the same battery."""

import inspect
import math

import numpy as np
import pytest

from models import definitions, kernel, signals
from models.definitions import BAR_FIELDS, DEFINITIONS
from models.features import FeatureSet, OnlineFeatures, feature_matrix
from tests.feature_markets import columns, flat_market, tick_market, walk

LENGTHS = sorted(kernel.HIGHER)

# Bar 2987 of tick_market(3000), worked out by the formulas of tests/feature_reference.py, not by the kernel.
EXPECTED_BAR = 2987
EXPECTED = {
    "return_1": 0.000342745788806,
    "return_3": 0.00062682417676,
    "return_10": 0.00223485684079,
    "return_30": 0.0046616013324,
    "return_120": 0.00213673200629,
    "ema_gap_12": 0.00119357234843,
    "ema_gap_26": 0.00209597511309,
    "ema_gap_50": 0.0027466120631,
    "ema_gap_200": 0.00247178733299,
    "ema_cross_12_50": 0.00155118825926,
    "macd_line": 0.000899441758176,
    "macd_signal": 0.000718869827179,
    "macd_hist": 0.000180571930997,
    "adx_14": 53.7407361713,
    "di_diff_14": 36.0753041336,
    "efficiency_20": 0.687635574837,
    "rsi_14": 85.3280322492,
    "rsi_6": 93.143265495,
    "stochastic_k": 94.9575137004,
    "stochastic_d": 94.1014181179,
    "bollinger_position_20": 0.957936237452,
    "bollinger_width_20": 0.00444555490177,
    "donchian_position_20": 0.978609625668,
    "donchian_width_20": 0.00366185599311,
    "minmax_position_240": 0.339084273391,
    "zscore_60": 2.74967711034,
    "atr_pct_14": 0.045779090594,
    "range_ratio_14": 1.26186969205,
    "realized_volatility_20": 0.000250902135257,
    "parkinson_volatility_20": 0.000282639074752,
    "volatility_ratio_20_240": 0.495138065933,
    "return_skew_60": -0.338236573605,
    "obv_slope_20": 0.607493172289,
    "money_flow_20": 0.278937423203,
    "vwap_gap_60": 0.00348542172677,
    "vwap_gap_240": -0.000848434640583,
    "volume_zscore_60": 0.688433213291,
    "volume_ratio_20_240": 0.661070931349,
    "candle_body": 0.593220338983,
    "candle_upper_wick": 0.135593220339,
    "candle_lower_wick": 0.271186440678,
    "day_sin": 0.45399049974,
    "day_cos": 0.891006524188,
    "week_sin": 0.957750816685,
    "week_cos": -0.287599327432,
    "return_3_5m": 0.0027961068964,
    "ema_gap_26_5m": 0.00216504206312,
    "macd_hist_5m": 0.000411715615073,
    "adx_14_5m": 19.176126314,
    "di_diff_14_5m": 12.1508866147,
    "rsi_14_5m": 62.8119108426,
    "bollinger_position_20_5m": 1.16979882446,
    "donchian_position_20_5m": 0.96875,
    "atr_pct_14_5m": 0.117855118068,
    "return_3_15m": 0.0037888872049,
    "ema_gap_26_15m": 0.00177507873056,
    "macd_hist_15m": -0.0003661872457,
    "adx_14_15m": 19.5098167938,
    "di_diff_14_15m": 9.3882554132,
    "rsi_14_15m": 54.6068755151,
    "bollinger_position_20_15m": 0.532722416096,
    "donchian_position_20_15m": 0.384090909091,
    "atr_pct_14_15m": 0.287856320531,
    "return_3_1h": -0.0107013571255,
    "ema_gap_26_1h": 0.0022488127089,
    "macd_hist_1h": -5.03853162595e-05,
    "adx_14_1h": 38.5737600558,
    "di_diff_14_1h": 17.6393651018,
    "rsi_14_1h": 53.1621548707,
    "bollinger_position_20_1h": 0.542525640394,
    "donchian_position_20_1h": 0.448818897638,
    "atr_pct_14_1h": 0.577778290834,
    # What only strategies look at; the last three by hand from the bars' prices.
    "return_7": 0.00164625220913,
    "return_20": 0.00310859231162,
    "slope_50": 0.000112119184122,
    "breakout_20": 1021.34 / 1021.15 - 1.0,
    "swing_low_20": 1021.34 / 1017.68 - 1.0,
    "swing_high_20": 1021.42 / 1021.34 - 1.0,
}
NAMES = FeatureSet.complete(1).names


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return feature_matrix(*columns(tick_market(3000)), FeatureSet.complete(1))


def test_every_feature_has_an_expected_value() -> None:
    assert set(EXPECTED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_feature_has_its_expected_value(name: str, matrix: np.ndarray) -> None:
    value = matrix[EXPECTED_BAR, NAMES.index(name)]
    assert value == pytest.approx(EXPECTED[name], rel=1e-9, abs=1e-11)


def test_the_default_set_has_at_least_forty_features() -> None:
    assert all(len(FeatureSet.default(minutes).names) >= 40 for minutes in LENGTHS)


@pytest.mark.parametrize("minutes", LENGTHS)
def test_models_learn_from_all_but_the_signals_and_in_the_same_order(minutes: int) -> None:
    rest = [name for name in FeatureSet.complete(minutes).names if name not in signals.__all__]
    assert FeatureSet.default(minutes).names == tuple(rest)
    assert set(signals.__all__) == {d.name for d in DEFINITIONS.values() if not d.model}


def test_a_breakout_is_measured_from_the_channel_before_the_bar() -> None:
    bars = flat_market(24, price=100.0)
    # Bar 21 closes 2 % over the flat channel, bar 22 within its range, bar 23 a tenth under the old low.
    bars.loc[21, ["high", "close"]] = [104.0, 102.0]
    bars.loc[22, ["open", "high", "close"]] = [102.0, 103.0, 103.0]
    bars.loc[23, ["open", "low", "close"]] = [103.0, 90.0, 90.0]
    names = ("breakout_20", "swing_low_20", "swing_high_20")
    rows = feature_matrix(*columns(bars), FeatureSet(names))
    assert np.isnan(rows[19, 0])
    assert rows[20].tolist() == [0.0, 0.0, 0.0]
    assert rows[21].tolist() == pytest.approx([0.02, 0.02, 104 / 102 - 1])
    assert rows[22].tolist() == pytest.approx([0.0, 0.03, 104 / 103 - 1])
    assert rows[23].tolist() == pytest.approx([-0.1, 0.0, 104 / 90 - 1])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_definition_says_what_it_is_and_asks_for_known_things(name: str) -> None:
    definition = DEFINITIONS[name]
    assert (inspect.getdoc(definition.function) or "").endswith(".")
    assert set(definition.arguments) <= set(BAR_FIELDS) | set(DEFINITIONS)


@pytest.mark.parametrize("minutes", LENGTHS)
def test_one_bar_at_a_time_gives_the_bits_of_the_arrays(minutes: int) -> None:
    bars = columns(tick_market(3000, bar_minutes=minutes))
    features = FeatureSet.complete(minutes)
    online = OnlineFeatures(features)
    rows = np.array([online.update(*bar) for bar in zip(*(x.tolist() for x in bars), strict=True)])
    offline = feature_matrix(*bars, features)
    differing = [
        n for n, a, b in zip(features.names, rows.T, offline.T, strict=True) if a.tobytes() != b.tobytes()
    ]
    assert differing == []
    assert np.isfinite(offline[-1]).all()


@pytest.mark.parametrize("minutes", LENGTHS)
def test_values_are_missing_during_warm_up_and_only_then(minutes: int) -> None:
    features = FeatureSet.complete(minutes)
    longest = kernel.HIGHER[minutes][-1][1] // minutes
    n = features.warmup_bars + 2 * longest
    missing = []
    for phase in range(longest):
        bars = walk(n, bar_minutes=minutes, start_ns=phase * minutes * kernel.MINUTE_NS)
        row_missing = np.isnan(feature_matrix(*columns(bars), features)).any(axis=1)
        assert not row_missing[features.warmup_bars :].any()
        missing.append(int(row_missing.sum()))
        assert row_missing[: missing[-1]].all()
    assert max(missing) == features.warmup_bars


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_of_a_single_feature_is_exact(name: str) -> None:
    alone = FeatureSet((name,))
    every = {"5m": 5, "15m": 15, "1h": 60}.get(name.rpartition("_")[2], 1)
    # The worst start is one base bar after a higher bar has begun.
    bars = walk(alone.warmup_bars + 10, start_ns=(every > 1) * kernel.MINUTE_NS)
    missing = np.isnan(feature_matrix(*columns(bars), alone)[:, 0])
    assert missing[: alone.warmup_bars].all()
    assert not missing[alone.warmup_bars :].any()


@pytest.mark.parametrize("minutes", LENGTHS)
@pytest.mark.parametrize("volume", [0.0, 3.7])
def test_a_market_that_never_moves_gives_finite_features(minutes: int, volume: float) -> None:
    features = FeatureSet.complete(minutes)
    bars = flat_market(features.warmup_bars + 200, volume=volume, bar_minutes=minutes)
    rows = feature_matrix(*columns(bars), features)
    assert np.isfinite(rows[features.warmup_bars :]).all()
    assert not np.isinf(rows).any()


@pytest.mark.parametrize("volume", [0.0, 3.7])
def test_a_market_that_falls_asleep_and_wakes_up_gives_finite_features(volume: float) -> None:
    bars = tick_market(6000)
    asleep = slice(2600, 4200)
    bars.loc[asleep, ["open", "high", "low", "close"]] = bars.close[2599]
    bars.loc[asleep, "volume"] = volume
    features = FeatureSet.complete(1)
    rows = feature_matrix(*columns(bars), features)
    assert np.isfinite(rows[features.warmup_bars :]).all()
    at_rest = dict(zip(features.names, rows[4200], strict=True))
    for name in ("return_120", "bollinger_width_20", "realized_volatility_20", "parkinson_volatility_20"):
        assert at_rest[name] == 0.0
    assert at_rest["zscore_60"] == at_rest["volume_zscore_60"] == at_rest["return_skew_60"] == 0.0
    assert at_rest["bollinger_position_20"] == at_rest["minmax_position_240"] == 0.5
    assert at_rest["volatility_ratio_20_240"] == at_rest["volume_ratio_20_240"] == 1.0


def test_prices_times_ten_and_volumes_times_seven_leave_every_feature_as_it_was() -> None:
    bars = walk(4000, seed=5)
    scaled = bars.copy()
    scaled[["open", "high", "low", "close"]] *= 10.0
    scaled["volume"] *= 7.0
    features = FeatureSet.complete(1)
    plain = feature_matrix(*columns(bars), features)
    again = feature_matrix(*columns(scaled), features)
    np.testing.assert_allclose(again, plain, rtol=1e-9, atol=1e-9)


def test_the_cursor_ends_where_it_began_on_every_bar() -> None:
    compiled = kernel.kernel()
    state = compiled.new_state(1)
    timeframes = len(kernel.HIGHER[1]) + 1
    ends = set()
    row, none = np.empty(0), np.empty(0, np.int64)
    for bar in zip(*(x.tolist() for x in columns(tick_market(500))), strict=True):
        assert compiled.update(state, none, row, *bar) == kernel.ACCEPTED
        ends.add(tuple(state[kernel.ENDS : kernel.ENDS + timeframes]))
    starts = state[kernel.STARTS : kernel.STARTS + timeframes]
    sizes = [compiled.base_slots] + [compiled.higher_slots] * (timeframes - 1)
    final = tuple(float(x) for x in starts + sizes)
    assert {end for end in ends if not any(math.isnan(x) for x in end)} == {final}
    assert final[-1] == len(state)


def test_inputs_are_left_alone_and_results_repeat() -> None:
    bars = columns(tick_market(800))
    before = [x.copy() for x in bars]
    for x in bars:
        x.flags.writeable = False
    first = feature_matrix(*bars, FeatureSet.complete(1))
    assert first.tobytes() == feature_matrix(*bars, FeatureSet.complete(1)).tobytes()
    assert all(np.array_equal(x, y) for x, y in zip(bars, before, strict=True))
    assert first.flags.c_contiguous
    assert first.dtype == np.float64


def test_the_table_has_no_name_twice_and_none_of_a_bar_field() -> None:
    with pytest.raises(ValueError, match="'rsi_14' is taken"):
        definitions.feature()(DEFINITIONS["rsi_14"].function)
