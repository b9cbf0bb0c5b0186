"""Cross-validation for labels that overlap in time: purging, embargo and splits that respect time.

A label lives over the closed interval [label_start, label_end]; two labels that share an instant share
information. **Purging** drops training labels that touch a test span; the **embargo** then drops training
labels that begin within a stretch after it. Source: Lopez de Prado, "Advances in Financial Machine
Learning" (2018), chapters 7 and 12.

Times may be int64, datetime64, pandas or plain numbers, as long as all of one call are alike; the embargo
is in the same unit (a timedelta for datetimes). The splitters follow scikit-learn: `split(X, y=None,
groups=None)` yields (train, test) row numbers, `get_n_splits()` counts them. Rows are in time order.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CombinatorialPurgedCV",
    "PurgedKFold",
    "WalkForward",
    "chronological_parts",
    "purged_train_indices",
]

Rows = NDArray[np.int64]
Split = tuple[Rows, Rows]


def purged_train_indices(
    label_start: ArrayLike, label_end: ArrayLike, test_start: Any, test_end: Any, embargo: Any = 0
) -> Rows:
    """Rows whose label neither touches [test_start, test_end] nor begins within `embargo` after it.

    `label_start`, `label_end` [n] and the test span are closed intervals: a label that ends exactly at
    test_start or begins exactly at test_end is purged, and so is one that begins at test_end + embargo. A
    row whose end is not known (NaT or NaN) is purged too. `embargo` has the unit of a difference of times
    (0 or a timedelta, never negative). Returns ascending row numbers, int64.
    """
    start, end = _times(label_start), _times(label_end)
    if start.shape != end.shape or start.ndim != 1:
        raise ValueError(f"label_start and label_end differ in shape: {start.shape} and {end.shape}")
    first, last, gap = _time(test_start), _time(test_end), _span(embargo)
    if gap < 0 or last < first:
        raise ValueError("needs test_start <= test_end and an embargo that is not negative")
    return _outside(start, end, first, last + gap)


def _outside(start: NDArray[Any], end: NDArray[Any], first: Any, last: Any) -> Rows:
    """Rows whose closed interval misses [first, last]; missing ends compare false and stay out."""
    known = ~(_missing(start) | _missing(end))
    return np.flatnonzero(known & ((end < first) | (start > last)))


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    # datetimes arrive as int64, NaT as their smallest value
    missing = values == np.iinfo(np.int64).min if values.dtype.kind == "i" else np.isnan(values)
    return np.asarray(missing, np.bool_)


def _times(values: ArrayLike) -> NDArray[Any]:
    """Times as int64 nanoseconds where they are datetimes, as they are where they are numbers."""
    array = np.asarray(values) if not isinstance(values, pd.Series | pd.Index) else values
    if pd.api.types.is_numeric_dtype(array.dtype):
        plain = np.asarray(array)
        return plain.astype(np.int64) if plain.dtype.kind in "iu" else plain.astype(np.float64)
    return pd.DatetimeIndex(pd.to_datetime(array, utc=True)).as_unit("ns").asi8


def _time(value: Any) -> Any:
    return _times([value])[0]


def _span(value: Any) -> Any:
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, np.timedelta64):
        return value
    return pd.Timedelta(value).as_unit("ns").value


class _Purged:
    """What the splitters share: the labels' life spans and an embargo."""

    def __init__(self, label_end: ArrayLike, label_start: ArrayLike | None = None, embargo: Any = 0) -> None:
        self.label_end = _times(label_end)
        self.label_start = np.arange(len(self.label_end)) if label_start is None else _times(label_start)
        self.embargo = _span(embargo)
        if self.label_start.shape != self.label_end.shape or self.label_end.ndim != 1:
            raise ValueError(
                f"label_start and label_end differ in shape: {self.label_start.shape}, {self.label_end.shape}"
            )
        if self.embargo < 0:
            raise ValueError("the embargo must not be negative")
        known = ~_missing(self.label_end)
        if (self.label_end < self.label_start)[known].any():
            raise ValueError(
                "a label ends before it starts; give label_start in the unit of label_end "
                "(without it label_end counts rows)"
            )

    def _check(self, x: Any) -> int:
        n = len(self.label_end)
        if x is not None and len(x) != n:
            raise ValueError(f"X has {len(x)} rows, label_end {n}")
        return n

    def _train(self, blocks: list[Rows]) -> Rows:
        """Rows that survive purging and embargo around every test block."""
        keep = ~_missing(self.label_end)
        for block in blocks:
            first, last = self._life(block)
            allowed = np.zeros(len(keep), np.bool_)
            allowed[_outside(self.label_start, self.label_end, first, last + self.embargo)] = True
            allowed[block] = False
            keep &= allowed
        return np.flatnonzero(keep)

    def _life(self, block: Rows) -> tuple[Any, Any]:
        """From the first start to the last known end of a block's labels."""
        ends = self.label_end[block]
        known = ends[~_missing(ends)]
        last = self.label_start[block].max()
        return self.label_start[block].min(), max(last, known.max()) if len(known) else last


class PurgedKFold(_Purged):
    """K consecutive test blocks; each trains on all other rows, purged and embargoed, past and future alike.

    `label_end` [n], one per row of X; `label_start` [n] defaults to the row numbers, so that label_end then
    counts rows too. `embargo` in the same unit: rows, nanoseconds or a timedelta.
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        label_end: ArrayLike,
        label_start: ArrayLike | None = None,
        embargo: Any = 0,
    ) -> None:
        super().__init__(label_end, label_start, embargo)
        if n_splits < 2:
            raise ValueError(f"needs at least 2 splits, got {n_splits}")
        self.n_splits = n_splits

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        """How many splits there are."""
        return self.n_splits

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:  # noqa: N803
        """Yield (train, test) row numbers, test blocks in time order."""
        for test in _blocks(self._check(X), self.n_splits):
            yield self._train([test]), test


class CombinatorialPurgedCV(_Purged):
    """Every choice of `n_test_blocks` out of `n_blocks` consecutive blocks is the test once.

    Arguments as in `PurgedKFold`. `n_paths` complete out-of-sample histories can be pieced together from
    the tests.
    """

    def __init__(
        self,
        n_blocks: int = 6,
        n_test_blocks: int = 2,
        *,
        label_end: ArrayLike,
        label_start: ArrayLike | None = None,
        embargo: Any = 0,
    ) -> None:
        super().__init__(label_end, label_start, embargo)
        if not 1 <= n_test_blocks < n_blocks:
            raise ValueError(f"needs 1 <= n_test_blocks < n_blocks, got {n_test_blocks} and {n_blocks}")
        self.n_blocks, self.n_test_blocks = n_blocks, n_test_blocks

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        """How many splits there are."""
        return sum(1 for _ in combinations(range(self.n_blocks), self.n_test_blocks))

    @property
    def n_paths(self) -> int:
        """How many whole histories the tests cover."""
        return self.get_n_splits() * self.n_test_blocks // self.n_blocks

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:  # noqa: N803
        """Yield (train, test) row numbers; a test is several blocks in time order."""
        blocks = _blocks(self._check(X), self.n_blocks)
        for chosen in combinations(blocks, self.n_test_blocks):
            yield self._train(list(chosen)), np.concatenate(chosen)


class WalkForward(_Purged):
    """Train on the past, test on the next block: the way a model is used.

    The rows are cut into `n_splits` + 1 consecutive blocks (the first one is only trained on) or, with
    `test_size`, into test blocks of that many rows at the end. `max_train_size` rows at most: a rolling
    window; None: all of the past. Other arguments as in `PurgedKFold`; since nothing after the test is
    trained on, the embargo here widens the gap between training labels and the test.
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        label_end: ArrayLike,
        label_start: ArrayLike | None = None,
        embargo: Any = 0,
        test_size: int | None = None,
        max_train_size: int | None = None,
    ) -> None:
        super().__init__(label_end, label_start, embargo)
        if n_splits < 1 or (test_size or 1) < 1 or (max_train_size or 1) < 1:
            raise ValueError("n_splits, test_size and max_train_size must be positive")
        self.n_splits, self.test_size, self.max_train_size = n_splits, test_size, max_train_size

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:  # noqa: N803
        """How many splits there are."""
        return self.n_splits

    def split(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[Split]:  # noqa: N803
        """Yield (train, test) row numbers, test blocks in time order, train before test."""
        for test in self._tests(self._check(X)):
            train = _before(self.label_start, self.label_end, test[0], self.embargo)
            yield train[-self.max_train_size :] if self.max_train_size else train, test

    def _tests(self, n: int) -> list[Rows]:
        if self.test_size is None:
            return _blocks(n, self.n_splits + 1)[1:]
        first = n - self.n_splits * self.test_size
        if first < 1:
            raise ValueError(f"{n} rows are too few for {self.n_splits} tests of {self.test_size} rows")
        return [np.arange(s, s + self.test_size, dtype=np.int64) for s in range(first, n, self.test_size)]


def _before(start: NDArray[Any], end: NDArray[Any], row: Any, embargo: Any) -> Rows:
    """Rows before `row` whose labels ended more than `embargo` before that row's label starts."""
    ends = end[:row]
    return np.flatnonzero(~_missing(ends) & (ends < start[row] - embargo))


def _blocks(n: int, count: int) -> list[Rows]:
    if n < count:
        raise ValueError(f"{n} rows cannot be cut into {count} blocks")
    return [np.asarray(block, np.int64) for block in np.array_split(np.arange(n, dtype=np.int64), count)]


def chronological_parts(
    label_start: ArrayLike, label_end: ArrayLike, shares: dict[str, float], embargo: Any = 0
) -> dict[str, Rows]:
    """Cut the span of the labels into consecutive parts by time, none of whose labels reaches into the next.

    `label_start`, `label_end` [n] in time order; `shares` name the parts in order, each a share of the time
    from the first start to the last (they must sum to 1 at most; the rest is left unused at the end). A row
    belongs to the part its label starts in. A row is left out when its label ends less than `embargo`
    before the next part begins, touches it, or is not known. Returns ascending row numbers for each part; a
    part may be empty.
    """
    start, end, gap = _times(label_start), _times(label_end), _span(embargo)
    if not shares or min(shares.values()) <= 0 or sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"shares must be positive and sum to 1 at most, got {shares}")
    if not len(start):
        return {name: np.empty(0, np.int64) for name in shares}
    offsets = np.cumsum([0.0, *shares.values()]) * float(start[-1] - start[0])
    if start.dtype.kind == "i":
        offsets = np.rint(offsets).astype(np.int64)
    bounds = start[0] + offsets
    if sum(shares.values()) > 1 - 1e-9:
        bounds[-1] = max(start[-1], np.nanmax(end)) + gap + 1  # the last part keeps what is left
    parts = {}
    for name, begin, stop in zip(shares, bounds[:-1], bounds[1:], strict=True):
        inside = (start >= begin) & (start < stop) & ~_missing(end)
        parts[name] = np.flatnonzero(inside & (end + gap < stop))
    return parts
