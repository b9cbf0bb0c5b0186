"""Whatever lies on the grid comes back exactly, in any order of writing, here and through Nautilus."""

import tempfile
from decimal import Decimal
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nautilus_trader.persistence import ParquetDataCatalog

from catalog.columns import Grid, round_to_grid, to_grid
from catalog.store import BarColumns, bar_type
from tests.catalogs import BTC, HOUR_NS, JUNE, MINUTE_NS, bars, catalog_with

tenths = st.integers(1, 10**12)
thousandths = st.integers(0, 10**12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(tenths, tenths, tenths, tenths, thousandths), min_size=1, max_size=20))
def test_every_decimal_on_the_grid_comes_back_as_its_own_float(rows: list[tuple[int, ...]]) -> None:
    numbers = np.array(rows).T
    columns = BarColumns(
        JUNE + MINUTE_NS * np.arange(1, len(rows) + 1, dtype=np.int64),
        *(np.array([float(Decimal(int(v)).scaleb(-1)) for v in column]) for column in numbers[:4]),
        np.array([float(Decimal(int(v)).scaleb(-3)) for v in numbers[4]]),
    )
    with tempfile.TemporaryDirectory() as folder:
        catalog = catalog_with(Path(folder), columns=columns)
        assert catalog.bars(BTC, "1m").equals(columns)
        found = ParquetDataCatalog(folder).query_bars([bar_type(BTC, "1m")])
        assert [Decimal(str(bar.close)) for bar in found] == [Decimal(row[3]).scaleb(-1) for row in rows]
        assert [Decimal(str(bar.volume)) for bar in found] == [Decimal(row[4]).scaleb(-3) for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=6))
def test_pieces_in_any_order_make_the_union_and_one_hash(pieces: list[tuple[int, int]]) -> None:
    minutes = sorted({minute for first, n in pieces for minute in range(first, first + n)})
    with tempfile.TemporaryDirectory() as folder:
        one = catalog_with(Path(folder) / "one")
        for first, n in pieces:
            one.write_bars(BTC, "1m", bars(n, first=first))
        stored = one.bars(BTC, "1m")
        assert ((stored.ts_event - JUNE) // MINUTE_NS - 1).tolist() == minutes
        whole = bars(60)
        assert np.array_equal(stored.close, whole.close[minutes])
        other = catalog_with(Path(folder) / "other", columns=stored)
        period = (JUNE, JUNE + 2 * HOUR_NS)
        assert one.dataset_hash(BTC, "1m", *period) == other.dataset_hash(BTC, "1m", *period)


@given(st.decimals("0.00000001", "1000", places=8), st.integers(0, 10**6))
def test_multiples_of_any_step_lie_on_its_grid_and_halves_do_not(step: Decimal, count: int) -> None:
    grid = Grid.of(step)
    assume((step * (count + 1)).scaleb(grid.precision) < 2**51)
    units, off = to_grid(np.array([float(step * count)]), grid)
    assert (units[0], len(off)) == (int((step * count).scaleb(grid.precision)), 0)
    between = np.array([float(step * count + step / 2)])
    assert to_grid(between, grid)[1].tolist() == [0]
    rounded, changed = round_to_grid(between, grid)
    assert changed == 1
    assert len(to_grid(rounded, grid)[1]) == 0
