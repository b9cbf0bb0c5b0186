"""FeatureSet, the three drivers and what they refuse."""

import doctest
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from configs.errors import DataError, ModelError
from models import features as features_module
from models import fingerprint, kernel
from models.definitions import DEFINITIONS, feature
from models.features import FeatureSet, OnlineFeatures, canonical, compute_features, feature_matrix
from tests.feature_markets import MINUTE_NS, START_NS, columns, flat_market, tick_market
from tests.feature_reference import REFERENCE, higher_reference

SMALL = FeatureSet(("return_1", "rsi_14", "rsi_14_5m", "day_sin"))


def matrix(bars: pd.DataFrame, features: FeatureSet = SMALL) -> np.ndarray:
    return feature_matrix(*columns(bars), features)


def test_docstring_examples_hold() -> None:
    assert doctest.testmod(features_module).failed == 0


# Values ---


@pytest.mark.parametrize("name", REFERENCE)
def test_feature_equals_its_formula_in_pandas_over_a_whole_series(name: str) -> None:
    bars = tick_market(1500, seed=3)
    got = compute_features(bars, FeatureSet((name,)))[name]
    np.testing.assert_allclose(got, REFERENCE[name](bars), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("bar_minutes", sorted(kernel.HIGHER))
def test_higher_features_are_those_of_the_last_whole_closed_bar(bar_minutes: int) -> None:
    suffix, minutes = kernel.HIGHER[bar_minutes][0]
    # History begins seven base bars into the day, so the first higher bar is not whole.
    start = START_NS + 7 * bar_minutes * MINUTE_NS
    bars = tick_market(45 * minutes // bar_minutes, seed=4, bar_minutes=bar_minutes, start_ns=start)
    for name in kernel.column_names(higher=True):
        column = f"{name}_{suffix}"
        got = compute_features(bars, FeatureSet((column,), bar_minutes))[column]
        assert got.notna().any()
        np.testing.assert_allclose(got, higher_reference(bars, name, minutes), rtol=1e-9, atol=1e-11)


def test_returns_and_candle_worked_by_hand() -> None:
    bars = flat_market(2, price=100.0)
    bars.loc[1, ["open", "high", "low", "close"]] = [101.0, 104.0, 100.0, 103.0]
    names = ("return_1", "candle_body", "candle_upper_wick", "candle_lower_wick")
    row = matrix(bars, FeatureSet(names))[1]
    assert row.tolist() == pytest.approx([0.0295588022, 0.5, 0.25, 0.25])


def test_the_clock_is_that_of_the_close_in_utc_and_weeks_begin_on_monday() -> None:
    # The bar that closes on Monday 2024-01-01 at 06:00.
    bars = flat_market(360, price=1.0)
    names = ("day_sin", "day_cos", "week_sin", "week_cos")
    row = dict(zip(names, matrix(bars, FeatureSet(names))[-1], strict=True))
    assert row["day_sin"] == pytest.approx(1.0)
    assert row["day_cos"] == pytest.approx(0.0, abs=1e-12)
    assert row["week_sin"] == pytest.approx(np.sin(np.pi / 14))
    assert row["week_cos"] == pytest.approx(np.cos(np.pi / 14))


# Drivers ---


def test_columns_come_in_the_order_asked_for() -> None:
    bars = tick_market(2200)
    everything = compute_features(bars, FeatureSet.default(1))
    some = ("rsi_14_1h", "return_1", "zscore_60")
    pd.testing.assert_frame_equal(compute_features(bars, FeatureSet(some)), everything[list(some)])


def test_frame_keeps_the_index_of_the_bars_and_leaves_them_alone() -> None:
    bars = tick_market(30)
    bars.index = pd.Index(range(100, 130), name="row")
    before = bars.copy(deep=True)
    assert compute_features(bars, SMALL).index.equals(bars.index)
    pd.testing.assert_frame_equal(bars, before)


@pytest.mark.parametrize("unit", ["ns", "ms", "s"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_times_may_be_datetimes_of_any_unit_and_zone(unit: str, zone: str | None) -> None:
    bars = tick_market(30)
    expected = compute_features(bars, SMALL)
    stamps = pd.to_datetime(bars["ts_event"], unit="ns", utc=True).dt.as_unit(unit).dt.tz_convert(zone)
    bars["ts_event"] = stamps
    pd.testing.assert_frame_equal(compute_features(bars, SMALL), expected)
    indexed = compute_features(bars.set_index("ts_event"), SMALL)
    np.testing.assert_array_equal(indexed.to_numpy(), expected.to_numpy())


def test_missing_bars_are_flat_bars_without_volume_at_the_last_close() -> None:
    bars = tick_market(2300)
    kept = bars.drop(index=range(1000, 1010))
    filled = bars.copy()
    filled.loc[1000:1009, ["open", "high", "low", "close"]] = bars.close[999]
    filled.loc[1000:1009, "volume"] = 0.0
    features = FeatureSet.default(1)
    expected = np.delete(matrix(filled, features), range(1000, 1010), axis=0)
    assert matrix(kept, features).tobytes() == expected.tobytes()


def test_a_gap_of_one_day_is_filled_and_a_longer_one_begins_anew() -> None:
    bars = tick_market(4000)
    features = FeatureSet.default(1)
    late = bars.iloc[2500:].copy()
    for extra, forgets in ((0, False), (1, True)):
        late["ts_event"] = bars.ts_event[2500:] + (1440 + extra) * MINUTE_NS
        joined = matrix(pd.concat([bars.iloc[:2500], late]), features)[2500:]
        assert (joined.tobytes() == matrix(late, features).tobytes()) is forgets
        assert np.isnan(joined[0]).any() == forgets


def test_online_ignores_repeated_and_late_bars() -> None:
    bars = [list(bar) for bar in zip(*(x.tolist() for x in columns(tick_market(300))), strict=True)]
    clean, noisy = OnlineFeatures(SMALL), OnlineFeatures(SMALL)
    for i, bar in enumerate(bars):
        expected = clean.update(*bar)
        got = noisy.update(*bar)
        again = noisy.update(bar[0], 1.0, 1.0, 1.0, 1.0, 1.0)
        late = noisy.update(bars[max(i - 3, 0)][0], 2.0, 2.0, 2.0, 2.0, 2.0)
        assert expected.tobytes() == got.tobytes() == again.tobytes() == late.tobytes()
        assert got is not again


def test_history_and_live_bars_join() -> None:
    bars = columns(tick_market(2500))
    online = OnlineFeatures(FeatureSet.default(1))
    assert online.last_ts is None
    history = online.extend(*(x[:1700] for x in bars))
    live = [online.update(*(x[i] for x in bars)) for i in range(1700, 2500)]
    assert online.last_ts == bars[0][-1]
    whole = feature_matrix(*bars, FeatureSet.default(1))
    assert np.vstack([history, live]).tobytes() == whole.tobytes()


def test_strided_and_integer_columns_are_taken() -> None:
    bars = tick_market(60)
    table = np.column_stack([x.astype(np.float64) for x in columns(bars)[1:]])
    got = feature_matrix(bars.ts_event.to_numpy(), *table.T, SMALL)
    assert got.tobytes() == matrix(bars).tobytes()


def test_no_bars_give_no_rows() -> None:
    assert matrix(tick_market(5).iloc[:0]).shape == (0, 4)


def test_plain_python_gives_the_bits_of_the_compiled_code() -> None:
    code = (
        "import hashlib, numba\n"
        "from models.features import FeatureSet, feature_matrix\n"
        "from tests.feature_markets import columns, tick_market\n"
        "rows = feature_matrix(*columns(tick_market(400)), FeatureSet.default(1))\n"
        "print(hashlib.sha256(rows.tobytes()).hexdigest(), numba.config.DISABLE_JIT)"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-c", code]
    plain = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=220, check=True)
    compiled = matrix(tick_market(400), FeatureSet.default(1))
    assert plain.stdout.split() == [hashlib.sha256(compiled.tobytes()).hexdigest(), "1"]


# What is refused ---


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("open", 0.0),
        ("high", np.nan),
        ("low", -1.0),
        ("close", np.inf),
        ("volume", -0.1),
        ("volume", np.nan),
        ("volume", np.inf),
    ],
)
def test_bad_values_are_refused_with_their_row(column: str, value: float) -> None:
    bars = tick_market(20)
    bars.loc[13, column] = value
    with pytest.raises(DataError, match=r"row 13 closing 2024-01-01T00:14:00: prices must be positive"):
        compute_features(bars, SMALL)
    online = OnlineFeatures(SMALL)
    with pytest.raises(DataError, match="2024-01-01T00:14:00: prices must be positive"):
        online.update(*(x[13].item() for x in columns(bars)))
    assert online.last_ts is None


@pytest.mark.parametrize("step_bars", [0, -1, -5])
def test_times_that_do_not_increase_are_refused_with_their_row(step_bars: int) -> None:
    bars = tick_market(20)
    bars.loc[9, "ts_event"] = bars.ts_event[8] + step_bars * MINUTE_NS
    with pytest.raises(DataError, match=r"row 9 closing .* not later than the bar before it"):
        compute_features(bars, SMALL)


def test_times_off_the_grid_are_refused() -> None:
    bars = tick_market(20)
    bars["ts_event"] -= 1_000_000  # Binance's ...999 close
    with pytest.raises(DataError, match=r"row 0 closing .* not on the grid of 1-minute bars"):
        compute_features(bars, SMALL)
    with pytest.raises(DataError, match="not on the grid of 5-minute bars"):
        OnlineFeatures(FeatureSet(("return_1",), 5)).update(START_NS + MINUTE_NS, 1.0, 1.0, 1.0, 1.0, 0.0)


def test_frames_without_a_column_or_with_other_times_are_refused() -> None:
    bars = tick_market(5)
    with pytest.raises(DataError, match="column 'close' is missing"):
        compute_features(bars.drop(columns="close"), SMALL)
    with pytest.raises(DataError, match="ts_event must be datetimes or int64"):
        compute_features(bars.assign(ts_event="2024"), SMALL)
    with pytest.raises(DataError, match="arrays of one length"):
        feature_matrix(*columns(bars)[:5], np.ones(4), SMALL)


# FeatureSet ---


def test_feature_set_goes_through_json_and_back() -> None:
    for minutes in kernel.HIGHER:
        features = FeatureSet.default(minutes)
        assert FeatureSet.from_dict(json.loads(json.dumps(features.to_dict()))) == features


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["return_1", "sharpness_9"]}, "unknown feature 'sharpness_9' for 1-minute bars"),
        ({"names": ["rsi_14_4h"]}, "unknown feature 'rsi_14_4h'"),
        ({"names": ["spread_14"]}, "unknown feature 'spread_14'"),
        ({"names": []}, "at least one name"),
        ({"names": ["return_1", "return_1"]}, "no name twice"),
        ({"names": "return_1"}, "'names' must be a list"),
        ({"names": None}, "'names' must be a list"),
        (
            {"bar_minutes": 7},
            "no features for 7-minute bars; known lengths in minutes: 1, 3, 5, 15, 30, 60, 240",
        ),
        ({"bar_minutes": "1"}, "'bar_minutes' must be a whole number"),
        ({"period": 14}, "unknown key 'period'"),
        ({"schema_hash": "00"}, "definitions have changed"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        FeatureSet.from_dict(SMALL.to_dict() | change)


def test_timeframes_are_longer_than_the_bars_and_multiples_of_them() -> None:
    assert FeatureSet.default(1).timeframes == ("5m", "15m", "1h")
    assert FeatureSet.default(5).timeframes == ("15m", "1h")
    assert FeatureSet.default(240).timeframes == ("1d",)
    for minutes, higher in kernel.HIGHER.items():
        assert all(length > minutes and length % minutes == 0 for _, length in higher)


def test_schema_hash_covers_names_order_and_bar_length() -> None:
    sets = [
        FeatureSet(("return_1", "rsi_14")),
        FeatureSet(("rsi_14", "return_1")),
        FeatureSet(("return_1", "rsi_14"), 5),
        FeatureSet(("return_1", "rsi_6")),
        FeatureSet(("return_1",)),
    ]
    assert len({s.schema_hash for s in sets}) == len(sets)
    assert all(len(s.schema_hash) == 64 for s in sets)
    assert sets[0].schema_hash == FeatureSet(("return_1", "rsi_14")).schema_hash


def test_schema_hash_covers_how_far_gaps_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    before = FeatureSet(("return_1",)).schema_hash
    monkeypatch.setattr(kernel, "MAX_FILL_MINUTES", kernel.MAX_FILL_MINUTES + 1)
    assert FeatureSet(("return_1",)).schema_hash != before


def test_fingerprint_follows_the_code_a_feature_rests_on_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("adx_14", "breakout_20", "macd_hist", "return_skew_60", "rsi_14")
    before = {name: fingerprint.definitions_hash([name]) for name in names}
    tables = fingerprint._tables()

    def changed(module: str, source: str) -> set[str]:
        edited = tables | {module: tables[module] | fingerprint.syntax_of(source)}
        monkeypatch.setattr(fingerprint, "_tables", lambda: edited)
        return {name for name in names if fingerprint.definitions_hash([name]) != before[name]}

    assert changed("streaming", "def rma(state, x, n):\n    return smooth(state, x, n, 2.0 / n)") == {
        "adx_14",
        "rsi_14",
    }
    assert changed("definitions", "STILL = 1e-9") == {"return_skew_60"}
    assert changed("definitions", "def direction_14(state, close):\n    return 0.0") == {"adx_14"}
    assert changed("definitions", "def breakout_20(state, close):\n    return 0.0") == {"breakout_20"}
    assert changed("definitions", "def brand_new(state, close):\n    return 0.0") == set()


def test_fingerprint_ignores_comments_layout_and_docstrings() -> None:
    terse = fingerprint.syntax_of("def f(x):\n    return x + 1")
    wordy = fingerprint.syntax_of('def f(x):\n    """Add one."""\n    # plainly\n    return (x\n        + 1)')
    assert fingerprint.ast.unparse(terse["f"]) == fingerprint.ast.unparse(wordy["f"])


# Wiring ---


@pytest.fixture
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the feature table that a test may add to."""
    table = DEFINITIONS.copy()
    monkeypatch.setattr("models.definitions.DEFINITIONS", table)
    monkeypatch.setattr("models.kernel.DEFINITIONS", table)


@pytest.mark.usefixtures("own_table")
def test_a_feature_that_asks_for_something_unknown_is_refused() -> None:
    def lost(moon: float) -> float:
        return moon

    feature()(lost)
    with pytest.raises(ValueError, match="feature 'lost' asks for 'moon'"):
        kernel.ordered(["lost"])


@pytest.mark.usefixtures("own_table")
def test_features_that_ask_for_each_other_are_refused() -> None:
    def hen(egg: float) -> float:
        return egg

    def egg(hen: float) -> float:
        return hen

    feature()(hen)
    feature()(egg)
    with pytest.raises(ValueError, match="circle: hen -> egg -> hen"):
        kernel.ordered(["hen"])


# Snapshots ---


def test_a_snapshot_goes_on_with_the_same_bits() -> None:
    bars = columns(tick_market(2600))
    whole = feature_matrix(*bars, FeatureSet.default(1))
    first = OnlineFeatures(FeatureSet.default(1))
    first.extend(*(x[:1234] for x in bars))
    second = OnlineFeatures(FeatureSet.default(1))
    second.restore(first.snapshot())
    assert second.last_ts == first.last_ts
    assert second.extend(*(x[1234:] for x in bars)).tobytes() == whole[1234:].tobytes()


def test_a_damaged_or_foreign_snapshot_is_refused_and_changes_nothing() -> None:
    bars = columns(tick_market(100))
    online = OnlineFeatures(SMALL)
    online.extend(*bars)
    good = online.snapshot()
    other = OnlineFeatures(FeatureSet(("return_1",))).snapshot()
    flipped = good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]
    for bad, message in (
        (flipped, "damaged"),
        (good[:-1], "damaged"),
        (b"", "damaged"),
        (other, "other features"),
    ):
        with pytest.raises(ModelError, match=message):
            online.restore(bad)
    assert online.snapshot() == good


# Canonical prices ---


def test_canonical_removes_the_last_bit_of_an_engine_price() -> None:
    assert canonical([95505.40000000001, 0.1 + 0.2], 1).tolist() == [95505.4, 0.3]
    assert float(canonical(1.005, 3)) == 1.005
    values = np.random.default_rng(0).integers(1, 10**7, 1000)
    exact = np.array([float(f"{v // 100}.{v % 100:02d}") for v in values])
    assert canonical(np.nextafter(exact, np.inf), 2).tobytes() == exact.tobytes()
