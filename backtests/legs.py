"""One instrument's fills as legs: what each did to the position, with average-price accounting."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["RESTING_ROLES", "Legs", "nanoseconds", "rows_of", "signed_quantity", "walk_legs"]

RESTING_ROLES = ("stop", "target", "anchor")  # orders that fill inside a bar, not at its close

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_SIZE_DECIMALS = 9  # Binance's steps have at most eight; what float sums leave beyond is noise


@dataclass(frozen=True, slots=True)
class Legs:
    """One instrument's fills in order, a fill that crosses zero cut in two.

    `fill` is the fill's row, `share` the part of it, `trade` counts from 0, flat to flat. `position` and
    `average` (entry price) are those after the leg; `realized` is the profit it took, before costs.
    """

    fill: Ints
    share: Floats
    trade: Ints
    quantity: Floats
    opens: NDArray[np.bool_]
    position: Floats
    average: Floats
    realized: Floats


def walk_legs(quantity: Floats, price: Floats) -> Legs:
    """Walk the signed fills of one instrument with average-price accounting."""
    rows: list[tuple[int, float, int, float, bool, float, float, float]] = []
    position, average, trade = 0.0, 0.0, -1
    for i, (q, px) in enumerate(zip(quantity.tolist(), price.tolist(), strict=True)):
        rest = q
        if position * q < 0:
            closing = -position if abs(q) > abs(position) else q
            realized = (average - px) * closing
            position = round(position + closing, _SIZE_DECIMALS)
            rest = round(q - closing, _SIZE_DECIMALS)
            rows.append((i, closing / q, trade, closing, False, position, average, realized))
        if rest:
            trade += position == 0.0
            after = round(position + rest, _SIZE_DECIMALS)
            average = (average * position + px * rest) / after
            position = after
            rows.append((i, rest / q, trade, rest, True, position, average, 0.0))
    columns = list(zip(*rows, strict=True)) or [()] * 8
    kinds = (np.int64, np.float64, np.int64, np.float64, np.bool_, np.float64, np.float64, np.float64)
    return Legs(*(np.array(c, dtype=k) for c, k in zip(columns, kinds, strict=True)))


def signed_quantity(fills: pd.DataFrame) -> Floats:
    """Quantities of fills, bought positive."""
    quantity = fills["quantity"].to_numpy(np.float64)
    return np.where(fills["side"].to_numpy() == "BUY", quantity, -quantity)


def nanoseconds(times: pd.Series) -> Ints:
    """UTC times as int64 ns."""
    return np.asarray(pd.DatetimeIndex(times).as_unit("ns").asi8, np.int64)


def rows_of(frame: pd.DataFrame, instrument: str) -> pd.DataFrame:
    """The rows of one instrument."""
    return frame[frame["instrument"] == instrument]
