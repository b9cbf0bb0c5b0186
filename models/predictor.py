"""A verified model that turns feature rows into probabilities, one row or many with the same bits."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray

from configs.errors import ModelError
from models import bundle
from models.bundle import INPUT, OUTPUT
from models.exogenous import EXOGENOUS_COLUMNS, exogenous_definitions, exogenous_names
from models.features import FeatureSet

__all__ = ["GraphSession", "Predictor"]

Floats = NDArray[np.float64]

_CHUNK_ROWS = 8192
# Bits repeat on the machine that trained; on another CPU the last bits of a float32 sigmoid may differ.
_CHECK_TOLERANCE = 1e-6
_LONGEST_VERSION = 64


class GraphSession:
    """A graph of `models.onnx_graph` ready to run; one thread inside, so that batches repeat single rows."""

    def __init__(self, model: bytes) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.n_features: int = self._session.get_inputs()[0].shape[1]

    def one(self, row: Floats) -> Floats:
        """Probabilities [h] of one row [k] float64."""
        result: Floats = self._session.run([OUTPUT], {INPUT: row.reshape(1, -1)})[0][0]
        return result

    def batch(self, x: ArrayLike) -> Floats:
        """Probabilities [n, h] of rows [n, k]; rows with a NaN are predicted too (the graph fills them)."""
        rows = np.ascontiguousarray(x, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ModelError(f"the model wants rows of {self.n_features} features, got shape {rows.shape}")
        chunks = [rows[i : i + _CHUNK_ROWS] for i in range(0, len(rows), _CHUNK_ROWS)] or [rows]
        if len(chunks) == 1:
            return self._run(chunks[0])
        with ThreadPoolExecutor(max_workers=min(len(chunks), os.process_cpu_count() or 1)) as pool:
            return np.concatenate(list(pool.map(self._run, chunks)))

    def _run(self, rows: Floats) -> Floats:
        result: Floats = self._session.run([OUTPUT], {INPUT: rows})[0]
        return result


class Predictor:
    """One loaded bundle. `Predictor.load` is the way to get one.

    `columns` are what it wants, in order: the features of `feature_set`, then `exogenous`, the columns of
    series from outside the bars (models.exogenous; none for most models).
    """

    def __init__(
        self,
        session: GraphSession,
        feature_set: FeatureSet,
        metadata: dict[str, Any],
        model_hash: str,
        folder: Path,
        exogenous: tuple[str, ...] = (),
    ) -> None:
        self._session = session
        self.feature_set = feature_set
        self.metadata = metadata
        self.model_hash = model_hash
        self.repeats_bits = False
        self.folder = folder
        self.exogenous = exogenous
        self.columns = feature_set.names + exogenous
        self.instrument: str = metadata["instrument"]
        self.horizon_bars: int = metadata["label"]["horizon_bars"]
        self.bar_minutes: int = metadata["bar_minutes"]

    @classmethod
    def load(cls, folder: Path, *, instrument: str | None = None, schema_hash: str | None = None) -> Self:
        """Open a bundle, or the bundle a `champion` or `candidate` file names, and verify all of it.

        Checked are every file's hash, the features' definitions against the present ones, the instrument
        and the schema hash where they are given, and the check rows: they must repeat the probabilities
        noted at training within 1e-6 (`repeats_bits` tells whether to the last bit) and give the same bits
        alone and together. Raises ModelError with the reason and what to do.
        """
        folder = _resolve(folder)
        files = bundle.read_bundle(folder)
        metadata = bundle.read_json(files, bundle.METADATA, str(folder))
        schema = bundle.read_json(files, bundle.SCHEMA, str(folder))
        exogenous = _exogenous(schema.pop("exogenous", None), folder)
        feature_set = _features(schema, schema_hash, folder)
        try:
            session, digest = GraphSession(files[bundle.MODEL]), bundle.model_hash(files)
            predictor = cls(session, feature_set, metadata, digest, folder, exogenous)
            rows = np.array(metadata["check"]["rows"], dtype=np.float64)
            stated = np.array(metadata["check"]["probabilities"], dtype=np.float64)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"model bundle {folder}: cannot be used ({error!r}); train again") from error
        if instrument is not None and predictor.instrument != instrument:
            raise ModelError(
                f"model bundle {folder} was trained on {predictor.instrument}, not {instrument}; "
                "name a bundle of that instrument or none"
            )
        predictor._check(rows, stated, folder)
        return predictor

    def _check(self, rows: Floats, stated: Floats, folder: Path) -> None:
        wanted, named = self._session.n_features, len(self.columns)
        if wanted != named:
            reason = f"the graph wants {wanted} columns, its schema names {named}; train again"
            raise ModelError(f"model bundle {folder}: {reason}")
        if rows.ndim != 2 or not len(rows) or stated.shape != (len(rows),):
            raise ModelError(f"model bundle {folder}: it has no check rows; train again")
        got = self.predict(rows)
        if not np.abs(got - stated).max() <= _CHECK_TOLERANCE:
            reason = (
                "its check rows give other probabilities here than at training; train again on this machine"
            )
            raise ModelError(f"model bundle {folder}: {reason}")
        if not np.array_equal(got, [self.predict_one(row) for row in rows]):
            reason = "single rows and batches differ on this machine; install the pinned onnxruntime"
            raise ModelError(f"model bundle {folder}: {reason}")
        self.repeats_bits = bool(np.array_equal(got, stated))

    def predict(self, x: ArrayLike) -> Floats:
        """Probability [n] that the upper barrier comes first for each row of `x` [n, k], in the order of
        `columns`.

        NaN for a row with any NaN: while features warm up, and where an exogenous series is stale. Row by row
        the same bits as `predict_one`.
        """
        rows = np.ascontiguousarray(x, dtype=np.float64)
        p = self._session.batch(rows)[:, 0]
        p[np.isnan(rows).any(axis=1)] = np.nan
        return p

    def predict_one(self, row: Floats) -> float:
        """Probability for one row [k] float64; NaN when it holds any NaN."""
        if np.isnan(row).any():
            return float("nan")
        return float(self._session.one(row)[0])


def _resolve(path: Path) -> Path:
    """A bundle's folder from its path or from a pointer file beside the versions."""
    if not path.is_file():
        return path
    name = path.read_bytes()[:_LONGEST_VERSION].decode("utf-8", errors="replace").strip()
    folder = path.parent / name
    if not name.isalnum() or not folder.is_dir():
        raise ModelError(f"{path} names no model bundle; give a bundle's folder")
    return folder


def _exogenous(described: Any, folder: Path) -> tuple[str, ...]:
    """The exogenous columns a schema names, () where it names none.

    What `ExogenousColumns.describe` wrote must still be what the columns are.
    """
    if described is None:
        return ()
    columns = described.get("columns") if isinstance(described, dict) else None
    known = exogenous_names(EXOGENOUS_COLUMNS)
    if not isinstance(columns, list) or not columns or not set(columns) <= set(known):
        raise ModelError(f"model bundle {folder}: its exogenous columns are not known here; train again")
    if described.get("definitions") != exogenous_definitions():
        raise ModelError(
            f"model bundle {folder}: its exogenous columns' definitions have changed since; train again"
        )
    return tuple(columns)


def _features(schema: dict[str, Any], schema_hash: str | None, folder: Path) -> FeatureSet:
    try:
        feature_set = FeatureSet.from_dict(schema)
    except ModelError as error:
        raise ModelError(f"model bundle {folder}: {error}") from error
    if "schema_hash" not in schema or (schema_hash is not None and schema_hash != feature_set.schema_hash):
        raise ModelError(
            f"model bundle {folder}: its features are not those asked for (schema hash differs); train again"
        )
    return feature_set
