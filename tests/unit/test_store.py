import dataclasses
import hashlib
import struct
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from nautilus_trader.model import Bar, BarType, NautilusDataType, Price, Quantity
from nautilus_trader.persistence import ParquetDataCatalog

from catalog.instruments import build_instrument, find_spec
from catalog.store import BarColumns, Catalog, FundingColumns, bar_type
from configs.errors import DataError
from tests.catalogs import BTC, HOUR_NS, JUNE, MINUTE_NS, SPOT, bars, catalog_with, funding

SERIES = "data/bars/BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL"


def test_opening_a_catalog_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no catalog at"):
        Catalog.open(tmp_path / "none")


def test_a_file_in_the_catalogs_place_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("x")
    with pytest.raises(DataError, match="is a file"):
        Catalog.create(place)
    with pytest.raises(DataError, match="no catalog can be made at"):
        Catalog.create(place / "below")


def test_a_damaged_instrument_file_is_named_with_its_catalog(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    (file,) = tmp_path.glob(f"data/crypto_perpetual/{BTC}/*.parquet")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=f"instrument {BTC} in catalog .* cannot be read .* ingest again"):
        catalog.instrument(BTC)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("1m", "1-MINUTE"), ("15m", "15-MINUTE"), ("1h", "1-HOUR"), ("4h", "4-HOUR"), ("1d", "1-DAY")],
)
def test_bar_types_are_nautilus_bar_types(interval: str, expected: str) -> None:
    name = bar_type(BTC, interval)
    assert name == f"{BTC}-{expected}-LAST-EXTERNAL"
    assert str(BarType.from_str(name)) == name


def test_nautilus_reads_exactly_what_was_written(tmp_path: Path) -> None:
    columns = bars(5)
    catalog = catalog_with(tmp_path, columns=columns)
    kind = BarType.from_str(bar_type(BTC, "1m"))
    expected = [
        Bar(
            kind,
            *(
                Price.from_str(f"{getattr(columns, name)[i]:.1f}")
                for name in ("open", "high", "low", "close")
            ),
            Quantity.from_str(f"{columns.volume[i]:.3f}"),
            int(columns.ts_event[i]),
            int(columns.ts_event[i]),
        )
        for i in range(5)
    ]
    assert ParquetDataCatalog(str(tmp_path)).query_bars([str(kind)]) == expected
    assert catalog.engine_bars(BTC, "1m", JUNE, JUNE + HOUR_NS) == expected
    assert expected[0].open.precision == 1
    assert ParquetDataCatalog(str(tmp_path)).get_intervals(NautilusDataType.Bar, str(kind)) == [
        (int(columns.ts_event[0]), int(columns.ts_event[-1]))
    ]


def test_a_catalog_written_by_nautilus_is_read_here(tmp_path: Path) -> None:
    catalog_with(tmp_path)
    kind = BarType.from_str(bar_type(BTC, "1m"))
    prices = [Price.from_str(text) for text in ("100.1", "100.9", "99.7", "100.0")]
    nautilus = ParquetDataCatalog(str(tmp_path))
    for minute in (1, 2):  # two files
        at = JUNE + minute * MINUTE_NS
        nautilus.write_bars([Bar(kind, *prices, Quantity.from_str("2.500"), at, at)])
    read = Catalog.open(tmp_path).bars(BTC, "1m")
    assert read.ts_event.tolist() == [JUNE + MINUTE_NS, JUNE + 2 * MINUTE_NS]
    assert (read.open[0], read.high[1], read.low[0], read.close[1], read.volume[0]) == (
        *(100.1, 100.9, 99.7, 100.0),
        2.5,
    )
    assert Catalog.open(tmp_path).write_bars(BTC, "1m", bars(2, first=2)).rows == 2
    assert len(nautilus.query_bars([str(kind)])) == 4


def test_values_come_back_as_the_floats_that_their_text_gives(tmp_path: Path) -> None:
    texts = ["60000.1", "0.3", "4503599627370.5", "8388607.7", "123456789.9"]
    values = np.array([float(text) for text in texts])
    times = JUNE + MINUTE_NS * np.arange(1, 6)
    catalog = catalog_with(tmp_path)
    catalog.write_bars(BTC, "1m", BarColumns(times, values, values, values, values, np.zeros(5)))
    assert catalog.bars(BTC, "1m").close.tolist() == values.tolist()


def test_bars_are_chosen_by_their_open_half_open(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    chosen = catalog.bars(BTC, "1m", JUNE + 3 * MINUTE_NS, JUNE + 6 * MINUTE_NS)
    assert chosen.equals(bars(3, first=3))
    assert len(catalog.engine_bars(BTC, "1m", JUNE + 3 * MINUTE_NS, JUNE + 6 * MINUTE_NS)) == 3
    assert len(catalog.bars(BTC, "1m", JUNE + 10 * MINUTE_NS)) == 0
    assert catalog.bars(BTC, "1m", end=JUNE + 1).equals(bars(1))


def test_a_period_inside_a_file_of_several_row_groups_is_exact(tmp_path: Path) -> None:
    n = 300_000
    catalog = catalog_with(tmp_path, columns=bars(n))
    for start, count in ((131_000, 200), (0, 3), (n - 5, 5), (131_072, 131_072)):
        chosen = catalog.bars(BTC, "1m", JUNE + start * MINUTE_NS, JUNE + (start + count) * MINUTE_NS)
        assert chosen.equals(bars(count, first=start))


def test_reading_a_series_that_is_not_stored_gives_no_rows(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    assert len(catalog.bars(BTC, "1m")) == 0
    assert catalog.engine_bars(BTC, "1m", 0, JUNE) == []
    assert catalog.intervals(BTC, "1m") == []
    assert len(catalog.funding(BTC)) == 0
    assert len(catalog.mark(BTC, "8h")) == 0


def test_bars_of_an_unknown_instrument_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no instrument ETHUSDT-PERP\.BINANCE .*stored: BTCUSDT-PERP\.BINANCE"
    ):
        catalog_with(tmp_path).write_bars("ETHUSDT-PERP.BINANCE", "1m", bars(2))


def test_writing_the_same_bars_again_touches_nothing(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    (file,) = (tmp_path / SERIES).iterdir()
    before = file.stat().st_mtime_ns
    assert catalog.write_bars(BTC, "1m", bars(10)).status == "identical"
    assert catalog.write_bars(BTC, "1m", bars(4, first=2), replace=True).kept == 0
    assert list((tmp_path / SERIES).iterdir()) == [file]
    assert file.stat().st_mtime_ns == before


def test_other_values_for_stored_bars_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    changed = bars(10)
    changed.close[4] += 0.1
    with pytest.raises(DataError) as caught:
        catalog.write_bars(BTC, "1m", changed)
    message = str(caught.value)
    for part in (SERIES, "2025-06-01 00:04", "close 100000.1 stored, 100000.2 given", "1 rows", "--replace"):
        assert part in message
    assert catalog.bars(BTC, "1m").equals(bars(10))


def test_replace_takes_the_new_values_and_keeps_what_lies_outside(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    changed = bars(3, first=4)
    changed.close[1] = 99_999.9
    result = catalog.write_bars(BTC, "1m", changed, replace=True)
    assert (result.status, result.rows) == ("replaced", 1)
    expected = bars(10)
    expected.close[5] = 99_999.9
    assert catalog.bars(BTC, "1m").equals(expected)


def test_replace_removes_stored_bars_that_the_period_no_longer_has(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(10))
    sparse = BarColumns.join([bars(1, first=2), bars(1, first=5)])
    assert catalog.write_bars(BTC, "1m", sparse).kept == 2  # told, not silent
    assert len(catalog.bars(BTC, "1m")) == 10
    assert catalog.write_bars(BTC, "1m", sparse, replace=True).status == "replaced"
    assert catalog.bars(BTC, "1m").equals(BarColumns.join([bars(3), bars(5, first=5)]))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_overlapping_writes_with_the_same_values_extend(tmp_path: Path, order: tuple[int, ...]) -> None:
    pieces = [bars(6), bars(6, first=4), bars(5, first=8)]
    catalog = catalog_with(tmp_path)
    added = [catalog.write_bars(BTC, "1m", pieces[i]).rows for i in order]
    assert sum(added) == 13
    assert catalog.bars(BTC, "1m").equals(bars(13))
    assert len(list((tmp_path / SERIES).glob("*"))) == 1
    assert len(catalog.engine_bars(BTC, "1m", JUNE, JUNE + HOUR_NS)) == 13


def test_many_small_writes_leave_one_file_named_by_what_it_covers(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    for first in range(0, 20, 2):
        catalog.write_bars(BTC, "1m", bars(2, first=first))
    assert [file.name for file in (tmp_path / SERIES).iterdir()] == [
        "2025-06-01T00-01-00-000000000Z_2025-06-01T00-20-00-000000000Z.parquet"
    ]
    assert catalog.bars(BTC, "1m").equals(bars(20))


def test_a_hole_is_filled_without_touching_its_neighbours(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=BarColumns.join([bars(3), bars(3, first=7)]))
    assert catalog.write_bars(BTC, "1m", bars(4, first=3)).rows == 4
    assert catalog.bars(BTC, "1m").equals(bars(10))


def test_intervals_are_the_unbroken_pieces(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=BarColumns.join([bars(3), bars(1, first=5), bars(2, first=8)]))
    minutes = [((a - JUNE) // MINUTE_NS, (b - JUNE) // MINUTE_NS) for a, b in catalog.intervals(BTC, "1m")]
    assert minutes == [(0, 3), (5, 6), (8, 10)]


def test_required_bars_that_are_there_pass(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=BarColumns.join([bars(60), bars(60, first=65)]))
    catalog.require_bars(BTC, "1m", JUNE, JUNE + 125 * MINUTE_NS, max_gap_minutes=5)


@pytest.mark.parametrize(
    ("start", "end", "limit", "expected"),
    [
        (0, 125, 4, "from 2025-06-01 01:00 to 2025-06-01 01:05 .*choose a period without the gap"),
        (0, 300, 30, "from 2025-06-01 02:05 to 2025-06-01 05:00 .*shorten data.end"),
        (-60, 60, 30, "from 2025-05-31 23:00 to 2025-06-01 00:00 .*move data.start"),
        (1000, 1100, 30, "from 2025-06-01 16:40 to 2025-06-01 18:20 .*choose another period"),
        (1000, 1010, 30, "from 2025-06-01 16:40 to 2025-06-01 16:50"),
    ],
)
def test_missing_bars_name_the_gap_and_what_is_there(
    tmp_path: Path, start: int, end: int, limit: int, expected: str
) -> None:
    catalog = catalog_with(tmp_path, columns=BarColumns.join([bars(60), bars(60, first=65)]))
    with pytest.raises(DataError, match=f"no 1m bars of {BTC} {expected}") as caught:
        catalog.require_bars(
            BTC, "1m", JUNE + start * MINUTE_NS, JUNE + end * MINUTE_NS, max_gap_minutes=limit
        )
    assert "(stored: 2025-06-01 00:00 to 2025-06-01 01:00; 2025-06-01 01:05 to" in str(caught.value)


def _altered(index: int, **values: float) -> BarColumns:
    columns = bars(6)
    for name, value in values.items():
        getattr(columns, name)[index] = value
    return columns


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            _altered(2, ts_event=JUNE),
            "row 3: 2025-06-01 00:00 comes after 2025-06-01 00:02; times must increase",
        ),
        (_altered(2, ts_event=JUNE + 2 * MINUTE_NS), "row 3: 2025-06-01 00:02 appears twice"),
        (_altered(2, ts_event=JUNE + 3 * MINUTE_NS - 1), "row 3: .* is not aligned to 1m"),
        (_altered(3, open=np.nan), "row 4: open nan .*00:04 is not a positive price"),
        (_altered(3, high=np.inf), "row 4: high inf .*is not a positive price"),
        (_altered(3, low=0.0), "row 4: low 0.0 .*is not a positive price"),
        (_altered(3, volume=-1.0), "row 4: volume -1.0 .*is not a volume of zero or more"),
        (_altered(3, volume=np.nan), "row 4: volume nan .*is not a volume"),
        (_altered(5, close=100_000.15), "row 6: close 100000.15 .*no multiple .*step 0.1 .*--exchange-info"),
        (_altered(5, close=100_000.100_02), "row 6: close 100000.10002 .*no multiple .*step 0.1"),
        (_altered(5, volume=1.0005), "row 6: volume 1.0005 .*no multiple .*step 0.001"),
        (_altered(5, high=1e16), "row 6: high 1e\\+16 .*no multiple"),
        (bars(0), "nothing to store, no rows given"),
    ],
)
def test_bars_that_cannot_be_right_are_refused_with_row_and_value(
    tmp_path: Path, columns: BarColumns, expected: str
) -> None:
    catalog = catalog_with(tmp_path)
    with pytest.raises(DataError, match=f"1m bars of {BTC}: {expected}"):
        catalog.write_bars(BTC, "1m", columns)
    assert not (tmp_path / "data" / "bars").exists()


def test_float_noise_of_other_tools_is_not_mistaken_for_another_tick(tmp_path: Path) -> None:
    noisy = dataclasses.replace(bars(3), close=bars(3).close * (1 + 1e-13))
    catalog = catalog_with(tmp_path)
    catalog.write_bars(BTC, "1m", noisy)
    assert catalog.bars(BTC, "1m").equals(bars(3))


def test_spot_volumes_are_rounded_to_the_lot_step_and_counted(tmp_path: Path) -> None:
    columns = dataclasses.replace(bars(3), volume=np.array([1.234567, 2.5, 0.000014]))
    catalog = catalog_with(tmp_path, SPOT)
    result = catalog.write_bars(SPOT, "1m", columns)
    assert (result.status, result.rounded) == ("written", 2)
    assert catalog.bars(SPOT, "1m").volume.tolist() == [1.23457, 2.5, 0.00001]
    assert catalog.write_bars(SPOT, "1m", columns).status == "identical"


def test_an_unknown_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown bar interval '7m'; use one of 1s, 1m"):
        catalog_with(tmp_path).write_bars(BTC, "7m", bars(2))


def test_the_hash_depends_on_the_data_alone(tmp_path: Path) -> None:
    whole = catalog_with(tmp_path / "a", columns=bars(50))
    pieces = catalog_with(tmp_path / "b")
    for piece in (bars(10, first=40), bars(25, first=20), bars(22)):
        pieces.write_bars(BTC, "1m", piece)
    period = (JUNE, JUNE + 50 * MINUTE_NS)
    digest = whole.dataset_hash(BTC, "1m", *period)
    assert pieces.dataset_hash(BTC, "1m", *period) == digest
    assert len(digest) == 64
    assert whole.dataset_hash(BTC, "1m", JUNE, JUNE + 49 * MINUTE_NS) != digest


def test_the_hash_sees_every_column(tmp_path: Path) -> None:
    digests = set()
    for name in ("open", "high", "low", "close", "volume"):
        columns = bars(5)
        getattr(columns, name)[2] += 0.1
        catalog = catalog_with(tmp_path / name, columns=columns)
        digests.add(catalog.dataset_hash(BTC, "1m", JUNE, JUNE + HOUR_NS))
    assert len(digests) == 5


def test_the_hash_is_sha256_over_names_precisions_and_columns(tmp_path: Path) -> None:
    columns = bars(3)
    digest = catalog_with(tmp_path, columns=columns).dataset_hash(BTC, "1m", JUNE, JUNE + HOUR_NS)
    content = b"bars/1|BTCUSDT-PERP.BINANCE|1m|1|3|3" + struct.pack("<3q", *columns.ts_event)
    for name in ("open", "high", "low", "close", "volume"):
        content += struct.pack("<3d", *getattr(columns, name))
    assert digest == hashlib.sha256(content).hexdigest()


def test_funding_is_kept_apart_from_jitter_and_read_half_open(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    assert catalog.write_funding(BTC, funding(6, jitter_ns=15_000_000)).rows == 6
    assert catalog.write_funding(BTC, funding(6)).status == "identical"
    read = catalog.funding(BTC, JUNE + 8 * HOUR_NS, JUNE + 24 * HOUR_NS)
    assert read.ts_event.tolist() == [JUNE + 8 * HOUR_NS, JUNE + 16 * HOUR_NS]
    assert read.rate.tolist() == [2e-05, 3e-05]


def test_funding_that_disagrees_is_refused_unless_replaced(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    catalog.write_funding(BTC, funding(3))
    other = dataclasses.replace(funding(3), rate=np.array([1e-5, 5e-5, 3e-5]))
    with pytest.raises(
        DataError, match=r"funding rates of BTCUSDT-PERP\.BINANCE .*first at 2025-06-01 08:00"
    ):
        catalog.write_funding(BTC, other)
    assert catalog.write_funding(BTC, other, replace=True).status == "replaced"
    assert catalog.funding(BTC).rate.tolist() == [1e-5, 5e-5, 3e-5]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (FundingColumns(np.array([JUNE]), np.array([np.nan])), "row 1: funding rate nan"),
        (FundingColumns(np.array([JUNE]), np.array([1.5])), "row 1: funding rate 1.5 .*not a fraction"),
        (FundingColumns(np.array([JUNE, JUNE + 10**9]), np.zeros(2)), "row 2: .* appears twice"),
        (FundingColumns(np.array([], np.int64), np.array([])), "no rows given"),
    ],
)
def test_funding_that_cannot_be_right_is_refused(
    tmp_path: Path, columns: FundingColumns, expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        catalog_with(tmp_path).write_funding(BTC, columns)


def test_mark_prices_need_no_tick_and_have_no_volume(tmp_path: Path) -> None:
    columns = bars(4, minutes=480)
    exact = columns.close + 0.012345678
    catalog = catalog_with(tmp_path)
    catalog.write_mark(BTC, "8h", dataclasses.replace(columns, close=exact, volume=np.full(4, np.nan)))
    read = catalog.mark(BTC, "8h", JUNE + 8 * HOUR_NS, JUNE + 24 * HOUR_NS)
    assert read.close.tolist() == exact[1:3].tolist()
    assert read.volume.tolist() == [0.0, 0.0]


def test_an_instrument_comes_back_with_all_its_filters(tmp_path: Path) -> None:
    instrument = catalog_with(tmp_path, BTC, SPOT).instrument(BTC)
    assert Catalog.open(tmp_path).instrument_ids() == [BTC, SPOT]
    assert instrument.to_dict() == build_instrument(find_spec("BTCUSDT", "um")).to_dict()


def test_the_same_filters_of_a_later_day_change_nothing(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    later = dataclasses.replace(find_spec("BTCUSDT", "um"), as_of="2026-01-01")
    assert catalog.write_instrument(build_instrument(later)).status == "identical"


def test_other_filters_are_refused_unless_replaced(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    spec = dataclasses.replace(find_spec("BTCUSDT", "um"), min_notional=Decimal(50), as_of="2026-01-01")
    other = build_instrument(spec)
    with pytest.raises(DataError, match=r"min_notional 100\.0+ USDT stored, 50\.0+ USDT given"):
        catalog.write_instrument(other)
    assert catalog.write_instrument(other, replace=True).status == "replaced"
    assert str(catalog.instrument(BTC).min_notional) == "50.00000000 USDT"
    assert len(list((tmp_path / "data/crypto_perpetual" / BTC).iterdir())) == 1


def test_a_precision_that_stored_bars_do_not_have_is_refused(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    finer = build_instrument(dataclasses.replace(find_spec("BTCUSDT", "um"), tick=Decimal("0.01")))
    with pytest.raises(DataError, match=r"has bars at another precision .*use a new catalog folder"):
        catalog.write_instrument(finer, replace=True)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    (file,) = (tmp_path / SERIES).iterdir()
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=f"{file.name} is no readable Parquet file"):
        catalog.bars(BTC, "1m")


def test_files_of_another_writer_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    (file,) = (tmp_path / SERIES).iterdir()
    other = bars(3, first=1)
    other.close[0] += 0.1
    catalog_with(tmp_path / "other", columns=other)
    (second,) = (tmp_path / "other" / SERIES).iterdir()
    second.rename(file.parent / second.name)
    with pytest.raises(DataError, match="hold two different rows at 2025-06-01 00:02"):
        catalog.bars(BTC, "1m")


def test_files_of_another_writer_that_overlap_alike_count_once(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    catalog_with(tmp_path / "other", columns=bars(4, first=1))
    (second,) = (tmp_path / "other" / SERIES).iterdir()
    second.rename(tmp_path / SERIES / second.name)
    assert catalog.bars(BTC, "1m").equals(bars(5))
    catalog.write_bars(BTC, "1m", bars(2, first=5))
    assert len(list((tmp_path / SERIES).iterdir())) == 1
    assert len(catalog.engine_bars(BTC, "1m", JUNE, JUNE + HOUR_NS)) == 7


def test_a_frame_of_bars_has_utc_times_and_leads_back(tmp_path: Path) -> None:
    frame = bars(3).to_frame()
    assert list(frame.columns) == ["ts_event", "open", "high", "low", "close", "volume"]
    assert str(frame["ts_event"].dtype) == "datetime64[ns, UTC]"
    assert frame["ts_event"].iloc[0].isoformat() == "2025-06-01T00:01:00+00:00"
    assert BarColumns.from_frame(frame).equals(bars(3))


def test_the_file_has_the_schema_that_nautilus_writes(tmp_path: Path) -> None:
    catalog_with(tmp_path / "a", columns=bars(2))
    kind = BarType.from_str(bar_type(BTC, "1m"))
    price, at = Price.from_str("1.0"), JUNE + MINUTE_NS
    (tmp_path / "b").mkdir()
    ParquetDataCatalog(str(tmp_path / "b")).write_bars(
        [Bar(kind, price, price, price, price, Quantity.from_str("1.000"), at, at)]
    )
    ours, theirs = (pq.read_schema(next((tmp_path / name / SERIES).iterdir())) for name in "ab")
    assert ours.equals(theirs, check_metadata=True)
