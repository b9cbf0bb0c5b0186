import json
from dataclasses import replace

import numpy as np
import pytest
import xgboost as xgb
from sklearn.linear_model import LogisticRegression

from configs.errors import ModelError
from models.onnx_graph import Calibration, Member, build_graph
from models.predictor import GraphSession

FEATURES = 7
SIGMOID = Calibration("sigmoid", slope=5.0, offset=-2.2)
ISOTONIC = Calibration("isotonic", knots=(0.2, 0.35, 0.36, 0.7), levels=(0.1, 0.3, 0.45, 0.9))


def rows(n: int, seed: int) -> np.ndarray:
    """Ordinary rows, then ones with missing, huge and tiny values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, FEATURES)) * np.logspace(-4, 3, FEATURES)
    x[n // 2 :][rng.uniform(size=(n - n // 2, FEATURES)) < 0.2] = np.nan
    x[-3:] = [[1e30] * FEATURES, [-1e30] * FEATURES, [1e-30] * FEATURES]
    return x


@pytest.fixture(scope="module")
def fitted() -> tuple[Member, xgb.Booster, LogisticRegression]:
    x = rows(3000, 1)[:1500]
    y = (np.nan_to_num(x[:, 0] / 1e-4 + x[:, 3]) + np.random.default_rng(2).normal(size=1500) > 0).astype(
        float
    )
    booster = xgb.train(
        {"objective": "binary:logistic", "max_depth": 5, "seed": 1, "nthread": 1}, xgb.DMatrix(x, y), 40
    )
    median, mean, scale = np.median(x, axis=0), x.mean(axis=0), x.std(axis=0)
    linear = LogisticRegression(C=1.0).fit((x - mean) / scale, y)
    raw = bytes(booster.save_raw("json"))
    member = Member(raw, median, mean, scale, linear.coef_[0], float(linear.intercept_[0]), 0.6)
    return member, booster, linear


def native(member: Member, booster: xgb.Booster, linear: LogisticRegression, x: np.ndarray) -> np.ndarray:
    filled = np.where(np.isnan(x), member.median, x)
    trees = booster.predict(xgb.DMatrix(x)).astype(float)
    with np.errstate(over="ignore"):
        flat = linear.predict_proba((filled - member.mean) / member.scale)[:, 1]
    return member.tree_weight * trees + (1 - member.tree_weight) * flat


@pytest.mark.parametrize("calibration", [Calibration(), SIGMOID, ISOTONIC], ids=lambda c: c.kind)
def test_the_graph_equals_the_native_models(fitted, calibration: Calibration) -> None:
    member, booster, linear = fitted
    x = rows(2000, 3)
    expected = calibration.apply(native(member, booster, linear, x))
    got = GraphSession(build_graph([replace(member, calibration=calibration)])).batch(x)
    assert got.shape == (2000, 1)
    np.testing.assert_allclose(got[:, 0], expected, atol=1e-5 if calibration.kind == "isotonic" else 5e-7)


def test_isotonic_calibration_interpolates_between_its_knots_and_is_flat_beyond() -> None:
    np.testing.assert_allclose(
        ISOTONIC.apply([0.0, 0.2, 0.275, 0.355, 0.53, 0.99]), [0.1, 0.1, 0.2, 0.375, 0.675, 0.9]
    )


@pytest.mark.parametrize("calibration", [Calibration(), SIGMOID, ISOTONIC], ids=lambda c: c.kind)
def test_single_rows_and_batches_give_the_same_bits(fitted, calibration: Calibration) -> None:
    session = GraphSession(build_graph([replace(fitted[0], calibration=calibration)]))
    x = rows(1001, 4)
    whole = session.batch(x)
    assert np.array_equal(whole, [session.one(row) for row in x])
    for width in (2, 3, 5, 8, 17):
        assert np.array_equal(whole[:width], session.batch(x[:width]))


def test_a_batch_of_many_chunks_gives_the_same_bits_in_the_same_order(fitted) -> None:
    session = GraphSession(build_graph([fitted[0]]))
    x = rows(20_000, 5)
    assert np.array_equal(
        session.batch(x), np.vstack([session.batch(x[i : i + 700]) for i in range(0, 20_000, 700)])
    )
    assert session.batch(x[:0]).shape == (0, 1)


def test_values_at_a_split_go_the_way_xgboost_sends_them(fitted) -> None:
    member, booster, _ = fitted
    trees = json.loads(member.trees)["learner"]["gradient_booster"]["model"]["trees"]
    cuts = [
        (f, c)
        for t in trees
        for f, c, left in zip(t["split_indices"], t["split_conditions"], t["left_children"], strict=True)
        if left >= 0
    ]
    x = np.zeros((len(cuts), FEATURES))
    for row, (feature, cut) in zip(x, cuts, strict=True):
        row[feature] = np.float32(cut)
    got = GraphSession(build_graph([replace(member, tree_weight=1.0)])).batch(x)[:, 0]
    np.testing.assert_allclose(got, booster.predict(xgb.DMatrix(x)), atol=5e-7)


def test_several_horizons_share_one_graph(fitted) -> None:
    members = [fitted[0], replace(fitted[0], tree_weight=0.0, calibration=SIGMOID)]
    x = rows(50, 6)
    both = GraphSession(build_graph(members)).batch(x)
    alone = [GraphSession(build_graph([m])).batch(x)[:, 0] for m in members]
    assert np.array_equal(both, np.transpose(alone))


def test_trees_without_a_split_are_a_constant(fitted) -> None:
    member = fitted[0]
    x, y = rows(40, 7)[:10], np.array([0, 1, 1, 1, 1] * 2)
    settings = {"objective": "binary:logistic", "min_child_weight": 1e6, "nthread": 1}
    booster = xgb.train(settings, xgb.DMatrix(x, y), 3)
    flat = replace(member, trees=bytes(booster.save_raw("json")), tree_weight=1.0)
    np.testing.assert_allclose(
        GraphSession(build_graph([flat])).batch(x)[:, 0], booster.predict(xgb.DMatrix(x)), atol=5e-7
    )


def test_the_bytes_depend_on_the_members_alone(fitted) -> None:
    assert build_graph([fitted[0]]) == build_graph([replace(fitted[0])])


def test_what_the_graph_cannot_express_is_refused(fitted) -> None:
    member = fitted[0]
    squared = xgb.train(
        {"objective": "reg:squarederror"}, xgb.DMatrix(np.eye(FEATURES), np.arange(FEATURES)), 2
    )
    with pytest.raises(ModelError, match="reg:squarederror"):
        build_graph([replace(member, trees=bytes(squared.save_raw("json")))])
    with pytest.raises(ValueError, match="one length"):
        build_graph([replace(member, mean=member.mean[:-1])])
    with pytest.raises(ValueError, match="knots"):
        Calibration("isotonic", knots=(0.0, 0.0, 1.0), levels=(0.0, 0.5, 1.0))
    with pytest.raises(ValueError, match="unknown"):
        Calibration("beta")


def test_rows_of_another_width_are_refused(fitted) -> None:
    with pytest.raises(ModelError, match="7 features"):
        GraphSession(build_graph([fitted[0]])).batch(np.zeros((2, 3)))
