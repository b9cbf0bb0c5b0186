"""The model as one ONNX graph, built node by node: trees and logistic regression, blended and calibrated.

    x [n, k] float64 ── float32 ── trees ─────────────── sigmoid ──┐
         └── NaN to median ── standardise ── dot ── sigmoid ────────┴── weighted mean ── calibration ── p
         [n, h]

No converter is used: they are float32 throughout and their isotonic step is wrong between knots. One row
gives the same bits alone and in a batch as long as a session runs single-threaded and no float64 Sigmoid,
Exp, Tanh or ReduceSum appears (their vectorised body and scalar tail differ), so every sigmoid is taken in
float32.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from configs.errors import ModelError
from models.bundle import INPUT, OUTPUT

__all__ = ["Calibration", "Member", "build_graph"]

_OPSET, _ML_OPSET, _IR_VERSION = 18, 3, 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """How a blended probability becomes the stated one.

    kind "none": unchanged. "sigmoid": 1 / (1 + exp(-(slope p + offset))). "isotonic": linear between the
    knots (strictly increasing `knots`, three at least, with `levels` of the same length), constant beyond
    them.
    """

    kind: str = "none"
    slope: float = 1.0
    offset: float = 0.0
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("none", "sigmoid", "isotonic"):
            raise ValueError(f"unknown calibration '{self.kind}'")
        if self.kind == "isotonic" and (
            len(self.knots) < 3 or len(self.knots) != len(self.levels) or not (np.diff(self.knots) > 0).all()
        ):
            raise ValueError("isotonic calibration needs three or more increasing knots and their levels")

    def apply(self, p: ArrayLike) -> Floats:
        """The calibrated probabilities of `p` [n] in float64, as reference for the graph."""
        values = np.asarray(p, dtype=np.float64)
        if self.kind == "sigmoid":
            return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * values + self.offset))))
        return np.interp(values, self.knots, self.levels) if self.kind == "isotonic" else values

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready parameters of the kind in use."""
        if self.kind == "sigmoid":
            return {"kind": self.kind, "slope": self.slope, "offset": self.offset}
        if self.kind == "isotonic":
            return {"kind": self.kind, "knots": list(self.knots), "levels": list(self.levels)}
        return {"kind": self.kind}


@dataclass(frozen=True)
class Member:
    """Everything fitted for one horizon; vectors have one value per feature.

    `trees` is an XGBoost booster (objective binary:logistic) as JSON bytes. A missing feature takes the
    trees' default branch and, in the linear part, its `median`. `tree_weight` in [0, 1] is the trees' share
    of the blend.
    """

    trees: bytes
    median: Floats
    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: float
    tree_weight: float
    calibration: Calibration = Calibration()


class _Graph:
    """Collects nodes and constants under running names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: ArrayLike, dtype: type = np.float64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        name = out or f"t{len(self.nodes)}"
        label = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=label, domain=domain, **attributes))
        return name

    def sigmoid(self, value: str) -> str:
        narrow = self.add("Cast", value, to=TensorProto.FLOAT)
        return self.add("Cast", self.add("Sigmoid", narrow), to=TensorProto.DOUBLE)

    def affine(self, value: str, factor: float, offset: float) -> str:
        scaled = self.add("Mul", value, self.constant([[factor]]))
        return self.add("Add", scaled, self.constant([[offset]]))


def build_graph(members: Sequence[Member]) -> bytes:
    """Serialise one graph for all members: input x float64 [n, k], output p float64 [n, len(members)].

    The bytes depend on the members alone. Raises ModelError for trees it cannot express, ValueError for
    vectors of different lengths.
    """
    lengths = {len(v) for m in members for v in (m.median, m.mean, m.scale, m.coefficients)}
    if len(lengths) != 1:
        raise ValueError(f"members need vectors of one length, got {sorted(lengths)}")
    graph = _Graph()
    narrow = graph.add("Cast", INPUT, to=TensorProto.FLOAT)
    missing = graph.add("IsNaN", INPUT)
    columns = [_member(graph, member, narrow, missing) for member in members]
    graph.add("Concat", *columns, out=OUTPUT, axis=1)
    shape_in, shape_out = ["n", lengths.pop()], ["n", len(members)]
    body = helper.make_graph(
        graph.nodes,
        "sextant",
        [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, shape_in)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, shape_out)],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(body, opset_imports=opsets, producer_name="sextant", ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _member(graph: _Graph, member: Member, narrow: str, missing: str) -> str:
    attributes, base = _tree_attributes(member.trees)
    trees = graph.add(
        "TreeEnsembleRegressor",
        narrow,
        domain="ai.onnx.ml",
        n_targets=1,
        post_transform="NONE",
        aggregate_function="SUM",
        base_values=[base],
        **attributes,
    )
    filled = graph.add("Where", missing, graph.constant(member.median[None]), INPUT)
    centred = graph.add("Sub", filled, graph.constant(member.mean[None]))
    scaled = graph.add("Div", centred, graph.constant(member.scale[None]))
    linear = graph.add("MatMul", scaled, graph.constant(member.coefficients[:, None]))
    linear = graph.add("Add", linear, graph.constant([[member.intercept]]))
    share_trees = graph.add("Mul", graph.sigmoid(trees), graph.constant([[member.tree_weight]]))
    share_linear = graph.add("Mul", graph.sigmoid(linear), graph.constant([[1.0 - member.tree_weight]]))
    return _calibrate(graph, member.calibration, graph.add("Add", share_trees, share_linear))


def _calibrate(graph: _Graph, calibration: Calibration, p: str) -> str:
    if calibration.kind == "sigmoid":
        return graph.sigmoid(graph.affine(p, calibration.slope, calibration.offset))
    if calibration.kind == "none":
        return p
    knots, levels = np.array(calibration.knots), np.array(calibration.levels)
    lowest, highest = graph.constant([[knots[0]]]), graph.constant([[knots[-1]]])
    clipped = graph.add("Min", graph.add("Max", p, lowest), highest)
    passed = graph.add("GreaterOrEqual", clipped, graph.constant(knots[None, 1:-1]))
    count = graph.add("Cast", passed, to=TensorProto.INT32)
    segment = graph.add("ReduceSum", count, graph.constant([1], np.int64), keepdims=1)
    slopes = graph.constant(np.diff(levels) / np.diff(knots))
    beyond = graph.add("Sub", clipped, graph.add("Gather", graph.constant(knots[:-1]), segment))
    rise = graph.add("Mul", graph.add("Gather", slopes, segment), beyond)
    return graph.add("Add", rise, graph.add("Gather", graph.constant(levels[:-1]), segment))


def _tree_attributes(trees: bytes) -> tuple[dict[str, Any], float]:
    """The operator's arrays from XGBoost's JSON, and the ensemble's constant as a margin (log odds)."""
    learner = json.loads(trees)["learner"]
    objective = learner["objective"]["name"]
    if objective != "binary:logistic":
        raise ModelError(f"cannot export trees with objective '{objective}'; train with binary:logistic")
    base = float(np.ravel(json.loads(learner["learner_model_param"]["base_score"]))[0])
    parts = [_one_tree(i, tree) for i, tree in enumerate(learner["gradient_booster"]["model"]["trees"])]
    if not parts:
        raise ModelError("the booster holds no trees")
    attributes: dict[str, Any] = {k: [value for part in parts for value in part[k]] for k in parts[0]}
    return attributes, math.log(base / (1.0 - base))


def _one_tree(index: int, tree: dict[str, Any]) -> dict[str, list[Any]]:
    if any(tree["split_type"]):
        raise ModelError("cannot export trees with categorical splits")
    nodes = range(len(tree["left_children"]))
    leaf = [left < 0 for left in tree["left_children"]]

    def inner(values: list[Any], at_leaf: Any) -> list[Any]:
        return [at_leaf if leaf[i] else values[i] for i in nodes]

    leaves = [i for i in nodes if leaf[i]]
    return {
        "nodes_treeids": [index for _ in nodes],
        "nodes_nodeids": list(nodes),
        "nodes_featureids": inner(tree["split_indices"], 0),
        "nodes_values": inner(tree["split_conditions"], 0.0),
        "nodes_modes": inner(["BRANCH_LT" for _ in nodes], "LEAF"),
        "nodes_truenodeids": inner(tree["left_children"], 0),
        "nodes_falsenodeids": inner(tree["right_children"], 0),
        "nodes_missing_value_tracks_true": inner([int(d) for d in tree["default_left"]], 0),
        "target_treeids": [index for _ in leaves],
        "target_nodeids": leaves,
        "target_ids": [0 for _ in leaves],
        "target_weights": [tree["split_conditions"][i] for i in leaves],
    }
