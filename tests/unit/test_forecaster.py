"""Several models, features, regime and outside series on one kernel: streaming and precomputed alike."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.common import DataActor, DataActorConfig
from nautilus_trader.model import ActorId, Bar, BarType

from actors import forecaster
from actors.faults import raise_failures
from actors.forecaster import (
    Forecaster,
    ForecastSource,
    ForecastSpec,
    ModelStream,
    Precomputed,
    PrecomputedSource,
    Reading,
    StreamingSource,
    forecast_bars,
    precompute,
)
from actors.messages import Forecast, Observation, forecast_topic, observation_topic
from backtests.venue import build_engine
from catalog.columns import BarColumns, bar_type
from configs.errors import DataError, ModelError, RunFailedError
from configs.schema import RegimeConfig
from models.features import FeatureSet, feature_matrix
from models.predictor import Predictor
from models.regime import REGIME_FEATURES, Regime, regimes
from models.train import train_model
from tests.feature_markets import columns, read_bars
from tests.hand_market import config, instrument
from tests.modelling import BAR_MINUTES, INSTRUMENT, SMALL, market

HOUR = 3_600_000_000_000
BTC = instrument()
FIVE_MINUTES = BarType.from_str(bar_type(str(BTC.id), "5m"))
REGIME = RegimeConfig(volatility_window=100, min_bars=5)
FEATURES = ("atr_pct_14", "swing_low_20", "mood", "return_7", "rsi_14_1h")
WARM_BARS = 1300


class Linear:
    """A model that can be checked by hand: one half and a little of a feature and of an outside series."""

    feature_set = FeatureSet(("return_20", "rsi_14"), BAR_MINUTES)
    exogenous = ("mood", "greed")
    columns = ("return_20", "rsi_14", "mood", "greed")
    bar_minutes = BAR_MINUTES
    folder = Path("linear")

    def predict(self, x: np.ndarray) -> np.ndarray:
        return 0.5 + x[:, 0] + x[:, 1] / 1000 + x[:, 2] / 100 + x[:, 3] / 10_000

    def predict_one(self, row: np.ndarray) -> float:
        return float(self.predict(row[np.newaxis])[0])


def mood(ts: int) -> float:
    """Changes on the hour, counts from that very nanosecond, and is missing in every eleventh hour."""
    hour = ts // HOUR
    return float("nan") if hour % 11 == 0 else float(hour % 7)


EXOGENOUS: Mapping[str, Callable[[int], float]] = {"mood": mood, "greed": lambda ts: float(ts // HOUR % 100)}


@pytest.fixture(scope="module")
def predictors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, ...]:
    """Two trained models that look six and twelve bars ahead, and the linear one."""
    train = partial(
        train_model,
        market(2000),
        instrument=INSTRUMENT,
        bar_minutes=BAR_MINUTES,
        data_hash="d" * 64,
        root=tmp_path_factory.mktemp("models"),
    )
    far = SMALL.model_copy(update={"label": SMALL.label.model_copy(update={"horizon_bars": 12})})
    folders = [train(config=SMALL, seed=7), train(config=far, seed=8)]
    linear: Any = Linear()
    return (*(Predictor.load(folder) for folder in folders), linear)


@pytest.fixture(scope="module")
def spec(predictors: tuple[Predictor, ...]) -> ForecastSpec:
    return ForecastSpec(BAR_MINUTES, predictors, FEATURES, REGIME, EXOGENOUS)


def bars_of(bars: BarColumns) -> list[Bar]:
    """As the engine holds them: a quarter of its prices come back one bit off."""
    names = ("open", "high", "low", "close", "volume")
    return [
        Bar(FIVE_MINUTES, *map(BTC.make_price, prices), BTC.make_qty(volume), ts, ts)
        for ts, *prices, volume in zip(
            bars.ts_event.tolist(), *(getattr(bars, n).tolist() for n in names), strict=True
        )
    ]


def some(bars: BarColumns, kept: np.ndarray) -> BarColumns:
    return BarColumns(*(np.ascontiguousarray(getattr(bars, name)[kept]) for name in BarColumns.__slots__))


def readings(source: ForecastSource, bars: BarColumns) -> list[Reading]:
    return [source.reading(bar) for bar in bars_of(bars)]


def check_same(ours: Sequence[Reading], theirs: Sequence[Reading]) -> None:
    """Equal to the last bit, NaN for NaN."""
    assert [r.regime for r in ours] == [r.regime for r in theirs]
    assert {tuple(r.features) for r in (*ours, *theirs)} == {tuple(ours[0].features)}
    for values in (lambda r: r.probabilities, lambda r: tuple(r.features.values())):
        left, right = (np.array([values(r) for r in readings]) for readings in (ours, theirs))
        assert left.tobytes() == right.tobytes()


def streaming(spec: ForecastSpec) -> StreamingSource:
    return StreamingSource(spec, BTC.price_precision, BTC.size_precision)


# -- streaming and precomputed ---------------------------------------------------------------------------


@pytest.mark.parametrize("history", [0, 500])
def test_streaming_reads_the_bits_of_the_arrays(spec: ForecastSpec, history: int) -> None:
    bars = market(WARM_BARS + 300, seed=3)
    live = bars.slice(history, len(bars))
    source = streaming(spec)
    source.warm_up(bars.slice(0, history))
    found = readings(source, live)
    check_same(found, readings(PrecomputedSource(*precompute(spec, bars).last(len(live))), live))
    last = found[-1]
    assert tuple(last.features) == FEATURES
    assert last.regime is not None
    assert len(set(last.probabilities)) == 3
    assert all(0 < p < 1 for p in last.probabilities[:2])
    assert {r.regime.volatility for r in found if r.regime is not None} == {-1, 0, 1}


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), history=st.integers(0, 700), data=st.data())
def test_streaming_reads_the_bits_of_the_arrays_across_gaps(
    spec: ForecastSpec, seed: int, history: int, data: st.DataObject
) -> None:
    bars = market(800, seed=seed)
    kept = np.random.default_rng(seed).random(800) > 0.05
    start = data.draw(st.integers(0, 700))
    kept[start : start + data.draw(st.integers(0, 90))] = False
    if data.draw(st.booleans()):  # longer than the features remember
        bars.ts_event[start:] += 26 * HOUR
    bars = some(bars, kept)
    live = bars.slice(history, len(bars))
    source = streaming(spec)
    source.warm_up(bars.slice(0, history))
    expected = PrecomputedSource(*precompute(spec, bars).last(len(live)))
    if len(live):
        check_same(readings(source, live), readings(expected, live))


def test_recorded_bars_are_read_alike(spec: ForecastSpec) -> None:
    frame = read_bars(
        "futures_um", "typhonun_DcaTpStrategy", "BTC_USDT_USDT-5m-futures.feather", bar_minutes=5
    )
    bars = BarColumns(*columns(frame.iloc[:2500]))
    live = bars.slice(1000, 2500)
    source = streaming(spec)
    source.warm_up(bars.slice(0, 1000))
    found = readings(source, live)
    check_same(found, readings(PrecomputedSource(*precompute(spec, bars).last(1500)), live))
    assert {r.regime.trending for r in found if r.regime is not None} == {True, False}


def test_a_model_alone_streams_the_bits_of_the_arrays(predictors: tuple[Predictor, ...]) -> None:
    bars = market(WARM_BARS, seed=5)
    for predictor in predictors:
        alone = ForecastSpec(BAR_MINUTES, (predictor,), exogenous=EXOGENOUS)
        source, other = streaming(alone), PrecomputedSource(*precompute(alone, bars))
        found = np.array([source.probability(bar) for bar in bars_of(bars)])
        assert found.tobytes() == np.array([other.probability(bar) for bar in bars_of(bars)]).tobytes()
        assert found.tobytes() == forecast_bars(predictor, bars, EXOGENOUS).tobytes()
        assert np.isfinite(found[-12:]).any()


def test_each_part_is_what_it_is_alone(spec: ForecastSpec, predictors: tuple[Predictor, ...]) -> None:
    bars = market(WARM_BARS, seed=6)
    arrays = [getattr(bars, name) for name in BarColumns.__slots__]
    made = precompute(spec, bars)
    for j, predictor in enumerate(predictors):
        alone = forecast_bars(predictor, bars, EXOGENOUS)
        assert made.probabilities[:, j].tobytes() == alone.tobytes()
    for j, name in enumerate(FEATURES):
        if name == "mood":
            expected = np.array([mood(ts) for ts in bars.ts_event.tolist()])
        else:
            expected = feature_matrix(*arrays, FeatureSet((name,), BAR_MINUTES))[:, 0]
        assert made.features[:, j].tobytes() == expected.tobytes()
    inputs = feature_matrix(*arrays, FeatureSet(REGIME_FEATURES, BAR_MINUTES))
    assert np.array_equal(made.regimes, regimes(REGIME, *inputs.T))


def test_an_outside_value_follows_the_features_and_counts_from_the_moment_it_is_known(
    predictors: tuple[Predictor, ...],
) -> None:
    bars = market(60, seed=1)
    # The history begins at 00:00: bar 23 closes at 02:00, when the mood is that of the second hour.
    lookups = {"mood": lambda ts: float((ts // HOUR) % 24), "greed": lambda _: 7.0}
    spec = ForecastSpec(BAR_MINUTES, predictors[2:], ("rsi_14", "return_20", "mood"), None, lookups)
    made = precompute(spec, bars)
    rsi, back, outside = made.features.T
    assert outside[22:25].tolist() == [1.0, 2.0, 2.0]
    np.testing.assert_allclose(
        made.probabilities[23:, 0], (0.5 + back + rsi / 1000 + outside / 100 + 0.0007)[23:], rtol=1e-12
    )


def test_a_stale_outside_value_silences_the_models_that_learned_from_it_only(spec: ForecastSpec) -> None:
    bars = market(WARM_BARS, seed=2)
    made = precompute(spec, bars)
    stale = np.isnan(made.features[:, FEATURES.index("mood")])
    stale[: WARM_BARS - 300] = False  # the warm-up
    assert stale.any()
    assert np.isnan(made.probabilities[stale, 2]).all()
    assert np.isfinite(made.probabilities[stale, :2]).all()


# -- causality -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 150, 1100])
def test_another_future_changes_no_past_reading(spec: ForecastSpec, cut: int) -> None:
    bars, other = market(WARM_BARS, seed=1), market(WARM_BARS, seed=2)
    joined = BarColumns(
        *(np.r_[getattr(bars, n)[:cut], getattr(other, n)[cut:]] for n in BarColumns.__slots__)
    )
    whole = precompute(spec, bars)
    for changed in (precompute(spec, joined), precompute(spec, bars.slice(0, cut))):
        assert changed.probabilities[:cut].tobytes() == whole.probabilities[:cut].tobytes()
        assert changed.features[:cut].tobytes() == whole.features[:cut].tobytes()
        assert np.array_equal(changed.regimes[:cut], whole.regimes[:cut])


def test_how_the_arrays_are_cut_changes_nothing(spec: ForecastSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = market(WARM_BARS, seed=4)
    whole = precompute(spec, bars)
    expected = readings(PrecomputedSource(*whole), bars)
    monkeypatch.setattr(forecaster, "_CHUNK_BARS", 97)
    parts = precompute(spec, bars)
    assert parts.probabilities.tobytes() == whole.probabilities.tobytes()
    check_same(readings(PrecomputedSource(*parts), bars), expected)


def test_a_repeated_or_late_bar_changes_nothing(spec: ForecastSpec) -> None:
    bars = market(400, seed=8)
    expected = readings(PrecomputedSource(*precompute(spec, bars)), bars)
    source, found, engine_bars = streaming(spec), [], bars_of(bars)
    for i, bar in enumerate(engine_bars):
        found.append(source.reading(bar))
        check_same([source.reading(bar)], found[-1:])
        assert source.reading(engine_bars[max(0, i - 3)]).regime == found[-1].regime
    check_same(found, expected)


def test_history_that_holds_the_first_live_bar_already_is_no_harm(spec: ForecastSpec) -> None:
    bars = market(WARM_BARS, seed=9)
    source = streaming(spec)
    source.warm_up(bars)
    last = bars.slice(WARM_BARS - 1, WARM_BARS)
    check_same(readings(source, last), readings(PrecomputedSource(*precompute(spec, bars).last(1)), last))


# -- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["probability", "reading"])
@pytest.mark.parametrize("missing", [0, 3, 9])
def test_a_bar_without_its_row_is_refused(spec: ForecastSpec, method: str, missing: int) -> None:
    bars = market(10)
    source = PrecomputedSource(*precompute(spec, some(bars, np.arange(10) != missing)))
    engine_bars = bars_of(bars)
    for bar in engine_bars[:missing]:
        getattr(source, method)(bar)
    with pytest.raises(RunFailedError, match=f"no precomputed .* closing at {bars.ts_event[missing]} ns"):
        getattr(source, method)(engine_bars[missing])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": ("rsi_14", "sharpness_9")}, "asks for 'sharpness_9', which is neither a feature of 5-"),
        ({"features": ("spread_14",)}, "asks for 'spread_14'"),
        ({"features": ("rsi_14_5m",)}, "asks for 'rsi_14_5m'"),
        ({"exogenous": {"mood": mood}}, "bundle linear learned from 'greed', which this run has not"),
        ({"bar_minutes": 15}, "is for 5-minute bars, not for 15-minute ones"),
    ],
)
def test_a_spec_that_cannot_be_met_is_refused(
    predictors: tuple[Predictor, ...], changes: dict[str, Any], message: str
) -> None:
    given = {"bar_minutes": BAR_MINUTES, "predictors": predictors, "exogenous": EXOGENOUS} | changes
    with pytest.raises(ModelError, match=message):
        ForecastSpec(**given)


def test_bars_out_of_order_are_refused(spec: ForecastSpec) -> None:
    bars = market(10)
    bars.ts_event[5] = bars.ts_event[4]
    with pytest.raises(DataError, match=r"row 5 closing .* not later than the bar before it"):
        precompute(spec, bars)


def test_a_spec_without_models_gives_what_strategies_look_at() -> None:
    bars = market(300)
    for features, regime in (((), None), (("mood",), None), (("rsi_14",), REGIME), ((), REGIME)):
        spec = ForecastSpec(BAR_MINUTES, (), features, regime, EXOGENOUS)
        found = readings(PrecomputedSource(*precompute(spec, bars)), bars)
        check_same(readings(streaming(spec), bars), found)
        assert found[-1].probabilities == ()
        assert tuple(found[-1].features) == features
        assert (found[-1].regime is None) == (regime is None)


def test_no_bars_give_no_readings(spec: ForecastSpec) -> None:
    made = precompute(spec, market(5).slice(0, 0))
    assert made.probabilities.shape == (0, 3)
    with pytest.raises(RunFailedError):
        PrecomputedSource(*made).reading(bars_of(market(1))[0])


# -- on the bus ------------------------------------------------------------------------------------------


class Listener(DataActor):
    """Keeps what is said about the instrument, in order."""

    def __new__(cls) -> "Listener":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("LISTENER-001")))

    def __init__(self) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("LISTENER-001")))
        self.heard: list[object] = []

    def on_start(self) -> None:
        self.subscribe_topic(forecast_topic(str(BTC.id)), self.heard.append)
        self.subscribe_topic(observation_topic(str(BTC.id)), self.heard.append)


def said(bars: BarColumns, models: Sequence[ModelStream], source: ForecastSource, **options: Any) -> list:
    """What a forecaster publishes on these bars."""
    engine = build_engine(config(BTC), [BTC], {}).engine
    engine.add_data(bars_of(bars))
    actor = Forecaster("FORECASTER-1", bar_type=FIVE_MINUTES, models=models, source=source, **options)
    listener = Listener()
    for each in (listener, actor):
        engine.add_actor(each)
    engine.run()
    engine.dispose()
    raise_failures([actor])
    return listener.heard


ONE, TWO = ModelStream("near", 6), ModelStream("far", 30)
NAN = float("nan")


def test_every_forecast_of_a_bar_comes_before_its_observation() -> None:
    bars = market(3)
    made = Precomputed(
        bars.ts_event,
        np.array([[NAN, NAN], [NAN, 0.5], [0.7, 0.4]]),
        ("rsi_14", "mood"),
        np.array([[NAN, 3.0], [50.0, NAN], [60.0, 4.0]]),
        np.array([[0, 0, -1], [1, -1, 0], [1, -1, 1]]),
    )
    heard = said(bars, [ONE, TWO], PrecomputedSource(*made), observe=True, quiet_band=0.3)
    name, (first, second, third) = str(BTC.id), bars.ts_event.tolist()
    assert [type(m) for m in heard] == [Observation, Forecast, Observation, Forecast, Forecast, Observation]
    assert [heard[i] for i in (1, 3, 4)] == [
        Forecast(instrument=name, model="far", ts_event=second, horizon_bars=30, probability=0.5),
        Forecast(instrument=name, model="near", ts_event=third, horizon_bars=6, probability=0.7),
        Forecast(instrument=name, model="far", ts_event=third, horizon_bars=30, probability=0.4),
    ]
    warming, middle, last = (heard[i] for i in (0, 2, 5))
    assert [m.ts_event for m in (warming, middle, last)] == [first, second, third]
    assert [m.regime for m in (warming, middle, last)] == [
        None,
        Regime(True, 1, -1, 0),
        Regime(True, 1, -1, 1),
    ]
    assert last.features == {"rsi_14": 60.0, "mood": 4.0}
    assert np.isnan(warming.features["rsi_14"])


def test_a_model_alone_keeps_its_quiet_forecasts_back() -> None:
    bars = market(6)
    values = np.array([0.5, 0.56, 0.44, 0.549, 0.451, NAN])
    heard = said(bars, [ONE], PrecomputedSource(bars.ts_event, values), quiet_band=0.05)
    assert [(m.ts_event, m.model, m.probability) for m in heard] == [
        (bars.ts_event[1], "near", 0.56),
        (bars.ts_event[2], "near", 0.44),
    ]


def test_several_models_without_observation_say_nothing_more() -> None:
    bars = market(2)
    made = Precomputed(bars.ts_event, np.full((2, 2), 0.5), (), np.empty((2, 0)), None)
    heard = said(bars, [ONE, TWO], PrecomputedSource(*made), quiet_band=0.1)
    assert [m.model for m in heard] == ["near", "far", "near", "far"]


def test_observations_alone_need_no_model() -> None:
    bars = market(120)
    spec = ForecastSpec(BAR_MINUTES, (), ("rsi_14",))
    heard = said(bars, [], streaming(spec), observe=True)
    assert [m.ts_event for m in heard] == bars.ts_event.tolist()
    assert {m.regime for m in heard} == {None}
    expected = precompute(spec, bars).features[:, 0]
    assert np.array([m.features["rsi_14"] for m in heard]).tobytes() == expected.tobytes()


def test_a_source_with_other_models_than_the_forecaster_stops_the_run() -> None:
    bars = market(2)
    made = Precomputed(bars.ts_event, np.full((2, 2), 0.5), (), np.empty((2, 0)), None)
    with pytest.raises(RunFailedError, match=r"FORECASTER-1 failed: ValueError: zip\(\)"):
        said(bars, [ONE], PrecomputedSource(*made), observe=True)
