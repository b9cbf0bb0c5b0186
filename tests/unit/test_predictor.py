import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ModelError
from configs.schema import SentimentConfig
from models import bundle
from models.exogenous import ExogenousColumns, exogenous_definitions
from models.features import FeatureSet, feature_matrix
from models.predictor import Predictor
from models.train import train_model
from tests.modelling import BAR_MINUTES, INSTRUMENT, SMALL, market


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_model(
        market(2000),
        instrument=INSTRUMENT,
        config=SMALL,
        bar_minutes=BAR_MINUTES,
        seed=7,
        data_hash="d" * 64,
        root=tmp_path_factory.mktemp("models"),
    )


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    folder = tmp_path / trained.name
    folder.mkdir()
    for file in trained.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def repack(folder: Path, **changes: object) -> None:
    """Change metadata or schema and make the hashes fit again."""
    files = bundle.read_bundle(folder)
    metadata, schema = (json.loads(files[name]) for name in (bundle.METADATA, bundle.SCHEMA))
    for key, value in changes.items():
        (schema if key in schema else metadata)[key] = value
    for name, content in bundle.pack(files[bundle.MODEL], metadata, schema).items():
        (folder / name).write_bytes(content)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the Fear & Greed index as well."""
    days = np.arange(-40, 20) * 86_400 * 10**9 + 1_704_067_200 * 10**9
    return train_model(
        market(2000),
        instrument=INSTRUMENT,
        config=SMALL.model_copy(update={"exogenous": ("fear_greed",)}),
        bar_minutes=BAR_MINUTES,
        seed=7,
        data_hash="d" * 64,
        root=tmp_path_factory.mktemp("listening"),
        exogenous=ExogenousColumns.of_days(days, np.arange(60.0), SentimentConfig()),
    )


def test_a_bundle_says_what_it_is(trained: Path) -> None:
    predictor = Predictor.load(trained, instrument=INSTRUMENT)
    assert predictor.feature_set == FeatureSet.default(BAR_MINUTES)
    assert (predictor.instrument, predictor.horizon_bars, predictor.bar_minutes) == (INSTRUMENT, 6, 5)
    assert len(predictor.model_hash) == 64
    assert trained.name == predictor.model_hash[:12]
    assert predictor.repeats_bits
    assert len(predictor.metadata["check"]["rows"]) == 64


def test_single_rows_and_batches_give_the_same_bits_and_warm_up_gives_nan(trained: Path) -> None:
    predictor, bars = Predictor.load(trained), market(1200, seed=3)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    x = feature_matrix(bars.ts_event, *columns, predictor.feature_set)
    p = predictor.predict(x)
    warm = ~np.isnan(x).any(axis=1)
    assert 0 < warm.sum() < len(x)
    assert np.array_equal(np.isnan(p), ~warm)
    assert ((p[warm] > 0) & (p[warm] < 1)).all()
    assert np.array_equal(p, [predictor.predict_one(row) for row in x], equal_nan=True)


def test_predicting_leaves_its_input_alone(trained: Path) -> None:
    predictor = Predictor.load(trained)
    x = np.array(predictor.metadata["check"]["rows"])
    x[0, 0] = np.nan
    before = x.copy()
    predictor.predict(x)
    assert np.array_equal(x, before, equal_nan=True)


@pytest.mark.parametrize("name", [*bundle.FILES, bundle.MANIFEST])
def test_an_altered_byte_in_any_file_is_refused_by_name(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"altered.*train again") as refusal:
        Predictor.load(copy)
    assert name in str(refusal.value)


@pytest.mark.parametrize("name", [*bundle.FILES, bundle.MANIFEST])
def test_a_missing_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        Predictor.load(copy)


def test_a_manifest_with_anything_added_is_refused(copy: Path) -> None:
    with (copy / bundle.MANIFEST).open("a") as file:
        file.write("\n")
    with pytest.raises(ModelError, match=r"MANIFEST\.sha256 was altered"):
        Predictor.load(copy)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model bundle at"):
        Predictor.load(tmp_path / "nothing")


def test_another_instrument_is_refused(trained: Path) -> None:
    with pytest.raises(ModelError, match=r"trained on BTCUSDT-PERP\.BINANCE, not ETHUSDT"):
        Predictor.load(trained, instrument="ETHUSDT-PERP.BINANCE")


def test_features_that_are_defined_otherwise_now_are_refused(copy: Path) -> None:
    repack(copy, schema_hash="0" * 64)
    with pytest.raises(ModelError, match="definitions have changed"):
        Predictor.load(copy)


def test_another_schema_than_the_one_asked_for_is_refused(trained: Path) -> None:
    Predictor.load(trained, schema_hash=FeatureSet.default(BAR_MINUTES).schema_hash)
    with pytest.raises(ModelError, match="schema hash differs"):
        Predictor.load(trained, schema_hash=FeatureSet.default(1).schema_hash)


def test_a_schema_of_other_length_than_the_graph_is_refused(copy: Path) -> None:
    fewer = FeatureSet(FeatureSet.default(BAR_MINUTES).names[:-1], BAR_MINUTES).to_dict()
    repack(copy, **fewer)
    with pytest.raises(ModelError, match="the graph wants"):
        Predictor.load(copy)


def test_check_rows_that_come_out_otherwise_are_refused(copy: Path) -> None:
    check = json.loads((copy / bundle.METADATA).read_text())["check"]
    nudged = [p + 1e-9 for p in check["probabilities"]]
    repack(copy, check=check | {"probabilities": nudged})
    assert not Predictor.load(copy).repeats_bits
    repack(copy, check=check | {"probabilities": [p + 1e-5 for p in check["probabilities"]]})
    with pytest.raises(ModelError, match="check rows give other probabilities"):
        Predictor.load(copy)
    repack(copy, check={"rows": [], "probabilities": []})
    with pytest.raises(ModelError, match="no check rows"):
        Predictor.load(copy)


def test_metadata_without_what_is_needed_is_refused(copy: Path) -> None:
    repack(copy, label={})
    with pytest.raises(ModelError, match="horizon_bars"):
        Predictor.load(copy)


def test_a_bundle_names_the_columns_from_outside_the_bars_after_its_features(
    trained: Path, listening: Path
) -> None:
    predictor = Predictor.load(listening)
    assert predictor.exogenous == ("fear_greed", "fear_greed_change_7d", "fear_greed_mean_30d")
    assert predictor.columns == predictor.feature_set.names + predictor.exogenous
    assert len(predictor.metadata["check"]["rows"][0]) == len(predictor.columns)
    described = json.loads((listening / bundle.SCHEMA).read_text())["exogenous"]
    assert (described["publication_delay_minutes"], described["max_age_hours"]) == (60, 48.0)
    plain = Predictor.load(trained)
    assert (plain.exogenous, plain.columns) == ((), plain.feature_set.names)


def test_a_bundle_of_before_there_were_such_columns_loads_without_any(copy: Path) -> None:
    assert "exogenous" not in json.loads((copy / bundle.SCHEMA).read_text())
    metadata = json.loads((copy / bundle.METADATA).read_text())
    del metadata["exogenous"], metadata["rows_without_exogenous"]
    schema = json.loads((copy / bundle.SCHEMA).read_text())
    for name, content in bundle.pack((copy / bundle.MODEL).read_bytes(), metadata, schema).items():
        (copy / name).write_bytes(content)
    assert Predictor.load(copy).exogenous == ()


def test_a_missing_exogenous_value_is_no_forecast(listening: Path) -> None:
    predictor = Predictor.load(listening)
    rows = np.array(predictor.metadata["check"]["rows"])
    rows[3, -1] = np.nan
    p = predictor.predict(rows)
    assert np.isnan(p).tolist() == [row == 3 for row in range(len(rows))]
    assert np.isnan(predictor.predict_one(rows[3]))


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({"columns": ["moon"]}, "not known here"),
        ({"columns": []}, "not known here"),
        (["fear_greed"], "not known here"),
        ({"columns": ["fear_greed"], "definitions": "0" * 64}, "definitions have changed"),
        ({"columns": ["fear_greed"], "definitions": exogenous_definitions()}, "the graph wants"),
    ],
)
def test_a_schema_of_other_exogenous_columns_is_refused(
    listening: Path, tmp_path: Path, described: object, reason: str
) -> None:
    folder = tmp_path / listening.name
    folder.mkdir()
    for file in listening.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    files = bundle.read_bundle(folder)
    schema = json.loads(files[bundle.SCHEMA]) | {"exogenous": described}
    metadata = json.loads(files[bundle.METADATA])
    for name, content in bundle.pack(files[bundle.MODEL], metadata, schema).items():
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        Predictor.load(folder)


def test_a_pointer_file_leads_to_its_bundle(trained: Path) -> None:
    pointer = trained.parent / "champion"
    pointer.write_text(trained.name + "\n")
    assert Predictor.load(pointer).folder == trained


def test_a_file_that_is_no_pointer_is_refused(trained: Path) -> None:
    for text in ("# Notes\n" + 500 * "words ", "../..", "", "0123456789ab"):
        other = trained.parent / "other"
        other.write_text(text)
        with pytest.raises(ModelError, match="names no model bundle"):
            Predictor.load(other)
