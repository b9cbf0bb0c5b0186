"""Training with series from outside the bars: joined as known, left out where missing, part of the key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nautilus_trader.model import Bar, BarType, Price, Quantity

from actors.forecaster import ForecastSpec, StreamingSource, precompute
from catalog.columns import BarColumns
from catalog.sentiment import SentimentColumns
from catalog.store import bar_type
from configs.errors import DataError, ModelError
from configs.schema import ModelConfig, SentimentConfig
from models.dataset import build_training_set
from models.exogenous import ExogenousColumns, exogenous_names
from models.features import feature_matrix
from models.predictor import Predictor
from models.train import ensure_bundle, training_key
from tests.modelling import BAR_MINUTES, INSTRUMENT, QUICK, SMALL, market
from tests.unit.test_train import StoredBars, a_run, run_training

DAY_NS = 86_400 * 10**9
NEW_YEAR = 1_704_067_200 * 10**9  # 2024-01-01, where `market` begins
LISTENING = SMALL.model_copy(update={"exogenous": ("fear_greed",)})


def fear_greed(first: int = -40, last: int = 60, **changes: Any) -> ExogenousColumns:
    """An index from `first` to `last` days after the new year, of sines, so that it says something."""
    days = np.arange(first, last)
    values = np.round(50 + 40 * np.sin(days * 1.7))
    return ExogenousColumns.of_days(NEW_YEAR + days * DAY_NS, values, SentimentConfig(**changes))


def test_exogenous_columns_follow_the_features_as_known_at_each_close(tmp_path: Path) -> None:
    bars, index = market(2500), fear_greed()
    data = build_training_set(
        bars, instrument=INSTRUMENT, config=LISTENING, bar_minutes=BAR_MINUTES, exogenous=index
    )
    plain = build_training_set(bars, instrument=INSTRUMENT, config=SMALL, bar_minutes=BAR_MINUTES)
    assert data.columns == plain.columns + exogenous_names(["fear_greed"])
    np.testing.assert_array_equal(data.x[:, :-3], plain.x)
    np.testing.assert_array_equal(data.x[:, -3:], [index.at(ts) for ts in data.label_start.tolist()])
    assert data.rows_without_exogenous == 0
    predictor = Predictor.load(run_training(bars, tmp_path, LISTENING, exogenous=index))
    assert predictor.columns == data.columns
    assert predictor.exogenous == index.names
    assert predictor.metadata["rows_without_exogenous"] == 0


def test_rows_without_a_value_are_left_out_of_training_and_get_no_forecast(tmp_path: Path) -> None:
    # the value of day 1 is known on day 1 at 01:00 for 24 hours; there is none until day 4
    bars, days = market(2500), np.r_[np.arange(-40, 2), np.arange(4, 20)]
    settings = SentimentConfig(max_age_hours=24)
    index = ExogenousColumns.of_days(NEW_YEAR + days * DAY_NS, np.full(len(days), 40.0), settings)
    data = build_training_set(
        bars, instrument=INSTRUMENT, config=LISTENING, bar_minutes=BAR_MINUTES, exogenous=index
    )
    plain = build_training_set(bars, instrument=INSTRUMENT, config=SMALL, bar_minutes=BAR_MINUTES)
    hour = DAY_NS // 24
    gone = (plain.label_start > NEW_YEAR + 2 * DAY_NS + hour) & (
        plain.label_start < NEW_YEAR + 4 * DAY_NS + hour
    )
    assert 400 < gone.sum() < 576
    assert data.rows_without_exogenous == gone.sum()
    assert not np.isnan(data.x).any()
    np.testing.assert_array_equal(data.label_start, plain.label_start[~gone])
    predictor = Predictor.load(run_training(bars, tmp_path, LISTENING, exogenous=index))
    assert predictor.metadata["rows_without_exogenous"] == gone.sum()
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    x = feature_matrix(bars.ts_event, *columns, predictor.feature_set)
    p = predictor.predict(np.hstack([x, index.join(bars.ts_event)]))
    warm = ~np.isnan(x).any(axis=1)
    stale = np.isnan([index.at(ts)[0] for ts in bars.ts_event.tolist()])
    np.testing.assert_array_equal(np.isnan(p), ~warm | stale)


def test_the_index_is_learned_where_it_tells_the_outcome_and_hardly_where_it_does_not(
    tmp_path: Path,
) -> None:
    bars, rng = market(6000, seed=5), np.random.default_rng(11)
    days = np.arange(-40, 30)
    values = rng.integers(10, 90, len(days)).astype(float)
    index = ExogenousColumns.of_days(NEW_YEAR + days * DAY_NS, values, SentimentConfig())
    drift = (index.join(bars.ts_event)[:, 0] - 50) * 4e-5
    prices = (getattr(bars, name) * np.exp(np.cumsum(drift)) for name in ("open", "high", "low", "close"))
    driven = BarColumns(bars.ts_event, *prices, bars.volume)
    config = QUICK.model_copy(update={"exogenous": ("fear_greed",)})
    shares = []
    for given in (driven, bars):
        folder = run_training(given, tmp_path, config, exogenous=index)
        shares.append(Predictor.load(folder).metadata["importance"].get("fear_greed", 0.0))
    assert shares[0] > max(0.3, 5 * shares[1])


def test_a_model_that_wants_a_series_does_not_train_without_it() -> None:
    arguments: dict[str, Any] = {"instrument": INSTRUMENT, "bar_minutes": BAR_MINUTES}
    for missing in (None, fear_greed(0, 0)):
        with pytest.raises(DataError, match=r"learns from fear_greed.*--kind sentiment"):
            build_training_set(market(2500), config=LISTENING, exogenous=missing, **arguments)
    with pytest.raises(DataError, match=r"train part has 0 .* left out for want of exogenous values"):
        build_training_set(market(2500), config=LISTENING, exogenous=fear_greed(50, 60), **arguments)


def test_the_key_follows_the_series_its_delay_and_its_greatest_age() -> None:
    def key(index: ExogenousColumns | None, config: ModelConfig = LISTENING) -> str:
        return training_key(
            INSTRUMENT, config, bar_minutes=BAR_MINUTES, seed=7, data_hash="d", exogenous=index
        )

    others = [
        key(None),
        key(fear_greed(-39)),
        key(fear_greed(publication_delay_minutes=61)),
        key(fear_greed(max_age_hours=47)),
        key(None, SMALL),
    ]
    assert len({key(fear_greed()), *others}) == len(others) + 1
    assert key(fear_greed()) == key(fear_greed(url="http://elsewhere", poll_secs=5))
    assert key(fear_greed(), SMALL) == key(None, SMALL)


def test_a_run_learns_from_the_values_known_in_its_training_period_alone(tmp_path: Path) -> None:
    def catalog(**changes: float) -> StoredBars:
        days = np.arange(-80, 60)
        values = np.array([changes.get(f"d{day}", 50.0 + day % 7) for day in days.tolist()])
        return StoredBars(market(4000), index=SentimentColumns(NEW_YEAR + days * DAY_NS, values))

    run = a_run(LISTENING)
    first = ensure_bundle(run, LISTENING, INSTRUMENT, catalog(), tmp_path)
    again = catalog()
    assert ensure_bundle(run, LISTENING, INSTRUMENT, again, tmp_path) == first
    assert again.reads == []
    # trained until 2024-01-08: that day's value is known at 01:00, an hour too late, and day -33 too old
    for elsewhere in ({"d7": 99.0}, {"d-34": 99.0}):
        assert ensure_bundle(run, LISTENING, INSTRUMENT, catalog(**elsewhere), tmp_path) == first
    assert ensure_bundle(run, LISTENING, INSTRUMENT, catalog(d6=99.0), tmp_path) != first
    with pytest.raises(DataError, match=r"holds no fear_greed values from 2024-01-01 00:00 to 2024-01-08"):
        ensure_bundle(run, LISTENING, INSTRUMENT, StoredBars(market(4000)), tmp_path)


def test_a_named_bundle_meets_its_series_under_the_delay_it_learned_with(tmp_path: Path) -> None:
    days = np.arange(-80, 60)
    index = SentimentColumns(NEW_YEAR + days * DAY_NS, 50.0 + days % 7)
    catalog = StoredBars(market(4000), index=index)
    folder = ensure_bundle(a_run(LISTENING), LISTENING, INSTRUMENT, catalog, tmp_path)
    named = LISTENING.model_copy(update={"bundle": folder})
    assert ensure_bundle(a_run(named), named, INSTRUMENT, catalog, tmp_path) == folder
    for setting, value in (("publication_delay_minutes", 0), ("max_age_hours", 12)):
        run = a_run(named).model_copy(update={"sentiment": SentimentConfig(**{setting: value})})
        with pytest.raises(ModelError, match=f"trained with sentiment.{setting}"):
            ensure_bundle(run, named, INSTRUMENT, catalog, tmp_path)


def test_a_forecaster_gives_the_same_bits_bar_by_bar_and_over_arrays(tmp_path: Path) -> None:
    bars = market(2500)
    # day 5 is missing: from day 5, 13:00 on, when day 4 is 36 hours old, there is no value until day 6, 01:00
    days = np.setdiff1d(np.arange(-40, 30), [5])
    settings = SentimentConfig(max_age_hours=36)
    index = ExogenousColumns.of_days(NEW_YEAR + days * DAY_NS, 50.0 + days % 7, settings)
    predictor = Predictor.load(run_training(bars, tmp_path, LISTENING, exogenous=index))
    names = ("fear_greed_change_7d", "fear_greed")
    spec = ForecastSpec(BAR_MINUTES, (predictor,), names, None, index.lookups())
    whole = precompute(spec, bars)
    source = StreamingSource(spec, 1, 3)
    source.warm_up(bars.slice(0, 1000))
    kind = BarType.from_str(bar_type(INSTRUMENT, "5m"))
    stale = 0
    for i in range(1000, 2500):
        prices = (Price(float(getattr(bars, name)[i]), 1) for name in ("open", "high", "low", "close"))
        ts = int(bars.ts_event[i])
        reading = source.reading(Bar(kind, *prices, Quantity(float(bars.volume[i]), 3), ts, ts))
        np.testing.assert_array_equal(reading.probabilities, whole.probabilities[i])
        np.testing.assert_array_equal([reading.features[name] for name in names], whole.features[i])
        assert np.isnan(reading.probabilities[0]) == np.isnan(reading.features["fear_greed"])
        stale += int(np.isnan(reading.probabilities[0]))
    assert stale == 12 * 12 - 1  # closes after 13:00 and before 01:00
