"""What a node has seen becomes a catalog: whole after any kill, never twice, kept for a time."""

import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nautilus_trader.model import (
    AggressorSide,
    Bar,
    BarType,
    InstrumentId,
    Price,
    Quantity,
    QuoteTick,
    TradeId,
    TradeTick,
)

from catalog.columns import bar_type
from catalog.instruments import build_instrument, find_spec
from catalog.known import KnownColumns, append_known, read_known
from catalog.store import BarColumns, Catalog, Instrument
from catalog.tick_store import engine_ticks, read_quotes, read_trades, remove_ticks
from configs.schema import RecordConfig
from live.record import folding
from live.record.append_file import AppendFile
from live.record.folding import fold_journal
from live.record.recording import MarketWriter
from live.record.rows import RowFile
from tests.catalogs import BTC, JUNE, MINUTE_NS, bars, catalog_with
from tests.live_nodes import until
from tests.unit.test_rows import file_size_limit

EVER = 2**62
KIND = BarType.from_str(bar_type(BTC, "1m"))
SECOND = 1_000_000_000
MS = 1_000_000


def instrument(**changes: Any) -> Instrument:
    return build_instrument(replace(find_spec("BTCUSDT", "um"), **changes))


def writer(folder: Path, *, given: Instrument | None = None, **options: Any) -> MarketWriter:
    config = RecordConfig(quotes=True, **options.pop("config", {}))
    return MarketWriter(folder, {BTC: given or instrument()}, "1m", config, **options)


def live_bars(columns: BarColumns) -> list[Bar]:
    """As the live adapter gives them: stamped a millisecond before the close."""
    made = []
    for row in range(len(columns)):
        prices = [Price(float(getattr(columns, name)[row]), 1) for name in ("open", "high", "low", "close")]
        stamp = int(columns.ts_event[row]) - MS
        made.append(Bar(KIND, *prices, Quantity(float(columns.volume[row]), 3), stamp, stamp + 5 * MS))
    return made


def quote(event: int, received: int, bid: float = 100.1, ask: float = 100.2, size: float = 1.5) -> QuoteTick:
    prices, sizes = [Price(value, 1) for value in (bid, ask)], [Quantity(size, 3), Quantity(2.0, 3)]
    return QuoteTick(InstrumentId.from_str(BTC), *prices, *sizes, event, received)


def record(folder: Path, ticks: Sequence[Bar | QuoteTick | TradeTick], **options: Any) -> MarketWriter:
    made = writer(folder, **options)
    for tick in ticks:
        made.put(tick)
    made.close()
    return made


def journal(folder: Path) -> list[Path]:
    return sorted((folder / "journal").rglob("*.rows"))


def test_recorded_bars_are_the_venues_and_stamped_at_their_close(tmp_path: Path) -> None:
    columns = bars(200)
    made = record(tmp_path, live_bars(columns))
    catalog = Catalog.open(tmp_path)
    assert catalog.bars(BTC, "1m").equals(columns)
    assert len(catalog.engine_bars(BTC, "1m", 0, EVER)) == 200
    assert journal(tmp_path) == []
    assert (made.drops, list(made.problems)) == (0, [])


def test_history_and_stream_are_one_series_and_of_a_bar_that_came_twice_the_first_counts(
    tmp_path: Path,
) -> None:
    columns = bars(30)
    other = replace(columns.slice(19, 20), close=np.array([columns.high[19]]))
    made = writer(tmp_path)
    made.keep(BTC, columns.slice(0, 20))
    for bar in live_bars(other) + live_bars(columns.slice(15, 30)):
        made.put(bar)
    made.close()
    record(tmp_path, live_bars(other))
    assert Catalog.open(tmp_path).bars(BTC, "1m").equals(columns)


def test_the_disk_is_asked_to_keep_rows_a_while_after_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    sync = AppendFile.sync
    monkeypatch.setattr(AppendFile, "sync", lambda file: (kept.append(time.monotonic()), sync(file)))
    recorder = writer(tmp_path)
    came = time.monotonic()
    recorder.put(live_bars(bars(1))[0])
    until(lambda: kept, "the disk's turn")
    recorder.close()
    assert kept[0] - came > 0.9


def test_a_second_session_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    columns = bars(50)
    record(tmp_path, live_bars(columns.slice(0, 20)))
    record(tmp_path, live_bars(columns.slice(20, 50)))
    assert Catalog.open(tmp_path).bars(BTC, "1m").equals(columns)


def test_quotes_come_back_in_the_order_in_which_they_were_heard_by_the_nodes_clock(tmp_path: Path) -> None:
    ticks = [
        quote(JUNE, JUNE + 2 * MS),
        quote(JUNE + 10 * MS, JUNE + 7 * MS, 100.3, 100.4),  # the node's clock lags behind the venue's
        quote(JUNE + 8 * MS, JUNE + 6 * MS, 100.5, 100.6),  # and was set back
        quote(JUNE + 20 * MS, JUNE + 21 * MS, 100.7, 100.7),  # crossed or locked: no market
    ]
    made = record(tmp_path, ticks)
    found = read_quotes(Catalog.open(tmp_path), BTC, 0, EVER)
    np.testing.assert_array_equal(found.ts_event - JUNE, [0, 10 * MS, 8 * MS])
    np.testing.assert_array_equal(found.ts_init - JUNE, [2 * MS, 7 * MS, 7 * MS + 1])
    np.testing.assert_array_equal(found.bid_price, [100.1, 100.3, 100.5])
    np.testing.assert_array_equal(found.bid_size, [1.5, 1.5, 1.5])
    assert list(made.problems) == [
        f"1 recorded quotes of {BTC} were left out: no market, or not after the stored"
    ]
    quotes, _ = engine_ticks(Catalog.open(tmp_path), BTC, 0, EVER)
    assert [str(tick.ask_price) for tick in quotes] == ["100.2", "100.4", "100.6"]


def trade(event: int, received: int, number: str, side: AggressorSide = AggressorSide.BUY) -> TradeTick:
    price, size = Price(100.1, 1), Quantity(0.25, 3)
    return TradeTick(InstrumentId.from_str(BTC), price, size, side, TradeId(number), event, received)


def second_bar(closed: int, received: int) -> Bar:
    kind, price = BarType.from_str(bar_type(BTC, "1s").replace("EXTERNAL", "INTERNAL")), Price(100.1, 1)
    return Bar(kind, price, price, price, price, Quantity(0.25, 3), closed, received)


def test_ticks_and_bars_of_a_second_are_replayed_in_the_order_in_which_the_node_heard_them(
    tmp_path: Path,
) -> None:
    """The bar of a second is made after it, of what came until then."""
    closed = JUNE + SECOND
    heard = [
        trade(JUNE, JUNE + 2 * MS, "1"),
        quote(JUNE + MS, JUNE + 3 * MS),
        trade(closed - MS, closed + 2 * MS, "2", AggressorSide.SELL),
        quote(closed - MS, closed + 2 * MS, 100.3, 100.4),
        second_bar(closed, closed),
        trade(closed, closed + MS, "3"),  # stamped before the one ahead of it: two sockets
        trade(closed, closed + 4 * MS, "4", AggressorSide.NO_AGGRESSOR),
        second_bar(closed + SECOND, closed + SECOND),
    ]
    made = MarketWriter(tmp_path, {BTC: instrument()}, "1s", RecordConfig())
    for tick in heard:
        made.put(tick)
    made.close()
    catalog = Catalog.open(tmp_path)
    bars_there = catalog.engine_bars(BTC, "1s", JUNE, JUNE + 2 * SECOND)
    quotes, trades = engine_ticks(catalog, BTC, 0, EVER)
    ticks: list[Any] = [*bars_there, *quotes, *trades]
    order = [type(tick).__name__[0] for tick in sorted(ticks, key=lambda tick: tick.ts_init)]
    assert "".join(order) == "TQTQBTB"
    assert [tick.ts_init - closed for tick in bars_there] == [2 * MS + 2, SECOND]
    assert [tick.ts_event - closed for tick in bars_there] == [0, SECOND]
    assert len({tick.ts_init for tick in ticks}) == len(ticks)
    assert catalog.bars(BTC, "1s").ts_event.tolist() == [closed, closed + SECOND]
    found = read_trades(catalog, BTC, 0, EVER)
    assert (found.trade_id.tolist(), found.side.tolist()) == ([1, 2, 3], [1, -1, 1])
    assert (found.price.tolist(), found.size.tolist()) == ([100.1] * 3, [0.25] * 3)
    assert list(made.problems) == [
        f"1 recorded trades of {BTC} were left out: no market, or not after the stored"
    ]
    assert len(catalog.engine_bars(BTC, "1s", JUNE, JUNE + SECOND)) == 1


def test_an_index_is_stored_as_it_came_to_be_known(tmp_path: Path) -> None:
    day = 1440 * MINUTE_NS
    first = writer(tmp_path)
    for known_at, value, due in [(9, 40.0, 0), (9, 50.0, 1), (12, 55.0, 1)]:  # a correction
        first.learn("fear_greed", JUNE + known_at * day, value, JUNE + due * day)
    first.close()
    second = writer(tmp_path)  # learns it all again, and one day more
    for due, value in enumerate((40.0, 55.0, 60.0)):
        second.learn("fear_greed", JUNE + 20 * day, value, JUNE + due * day)
    second.close()
    known = read_known(Catalog.open(tmp_path), "fear_greed")
    assert ((known.known_at - JUNE) // day).tolist() == [9, 9, 12, 20]
    assert ((known.published_at - JUNE) // day).tolist() == [0, 1, 1, 2]
    assert known.value.tolist() == [40.0, 50.0, 55.0, 60.0]
    assert list(second.problems) == []


def test_values_of_an_index_that_are_stored_already_change_nothing(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    columns = KnownColumns(np.array([5, 7]), np.array([1, 1]), np.array([40.0, 35.0]))
    assert append_known(catalog, "fear_greed", columns) == 2
    assert append_known(catalog, "fear_greed", columns) == 0  # folded twice: the correction stays the last
    assert read_known(catalog, "fear_greed").value.tolist() == [40.0, 35.0]


def test_a_journal_folded_twice_is_stored_once(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path)
    for kind, row in (
        ("quotes", (JUNE, JUNE, 100.0, 100.1, 1.0, 1.0)),
        ("bars", (JUNE, JUNE, 100.0, 100.2, 99.9, 100.1, 1.0)),
    ):
        stem = "quotes" if kind == "quotes" else "bars-1m"
        for begun in (1, 2):
            file = RowFile(tmp_path / "journal" / BTC / f"{stem}-{begun}.rows", kind)  # type: ignore[arg-type]
            file.append([row])
            file.close()
            told = fold_journal(catalog)
            assert bool(told) == (stem == "quotes" and begun == 2)
    assert len(read_quotes(catalog, BTC, 0, EVER)) == 1
    assert len(catalog.bars(BTC, "1m")) == 1
    assert journal(tmp_path) == []


@settings(max_examples=20, deadline=None)
@given(data=st.data(), kept=st.integers(0, 12))
def test_a_journal_cut_at_any_byte_is_folded_up_to_the_cut(
    data: st.DataObject, kept: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, columns = tmp_path_factory.mktemp("cut"), bars(12)
    catalog = catalog_with(folder, columns=columns.slice(0, kept) if kept else None)
    path = folder / "journal" / BTC / "bars-1m-1.rows"
    file = RowFile(path, "bars")
    for row in range(kept, 12):
        at = columns.slice(row, row + 1)
        ts = int(at.ts_event[0])
        values = (float(getattr(at, n)[0]) for n in ("open", "high", "low", "close", "volume"))
        file.append([(ts, ts, *values)])
    file.close()
    cut = data.draw(st.integers(0, path.stat().st_size))
    path.write_bytes(path.read_bytes()[:cut])
    assert fold_journal(catalog) == []
    whole = kept + max(0, cut - 32) // 56
    assert catalog.bars(BTC, "1m").equals(columns.slice(0, whole))


def test_what_a_kill_left_is_folded_when_the_next_session_begins(tmp_path: Path) -> None:
    columns = bars(9)
    first = writer(tmp_path)
    for bar in live_bars(columns.slice(0, 6)):
        first.put(bar)
    until(lambda: journal(tmp_path) and journal(tmp_path)[0].stat().st_size == 32 + 6 * 56, "the journal")
    left = journal(tmp_path)[0].read_bytes()
    first.close()
    killed = tmp_path / "killed"
    catalog_with(killed)
    (killed / "journal" / BTC).mkdir(parents=True)
    (killed / "journal" / BTC / "bars-1m-5.rows").write_bytes(left[:-1])
    (killed / "data" / ".half.parquet.1.tmp").write_bytes(b"half")
    (killed / ".5-scratch.tmp").mkdir()
    record(killed, live_bars(columns.slice(6, 9)))
    found = Catalog.open(killed).bars(BTC, "1m")
    assert found.equals(BarColumns.join([columns.slice(0, 5), columns.slice(6, 9)]))
    assert not list(killed.rglob("*.tmp"))


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("no folder")
    made = writer(tmp_path / "catalog", capacity=10)
    until(lambda: made.problems, "the refusal")
    for bar in live_bars(bars(25)):
        made.put(bar)
    assert (made.drops, made.depth) == (15, 10)
    made.close()
    assert "is a file; a catalog is a folder" in made.problems[0]


def test_a_full_disk_loses_nothing_that_has_room_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.record.recording._RETRY_SECS", 0.1)
    made, columns = writer(tmp_path), bars(40)
    made.put(live_bars(columns)[0])
    until(lambda: journal(tmp_path), "the journal")
    with file_size_limit(32 + 56 * 3):
        for bar in live_bars(columns)[1:]:
            made.put(bar)
        until(lambda: made.problems, "the refusal")
    made.close()
    assert made.drops == 0
    assert Catalog.open(tmp_path).bars(BTC, "1m").equals(columns)


def test_rows_that_no_catalog_takes_are_put_aside_and_told(tmp_path: Path) -> None:
    off_tick = replace(bars(3), close=np.array([100.0, 100.05, 100.0]))
    catalog = catalog_with(tmp_path)
    file = RowFile(tmp_path / "journal" / BTC / "bars-1m-1.rows", "bars")
    for row in range(3):
        at = off_tick.slice(row, row + 1)
        values = (float(getattr(at, n)[0]) for n in ("open", "high", "low", "close", "volume"))
        file.append([(int(at.ts_event[0]), 1, *values)])
    file.close()
    (told,) = fold_journal(catalog)
    assert "bars-1m-1.refused" in told
    assert "no multiple of the instrument's step" in told
    assert [path.name for path in (tmp_path / "journal" / BTC).iterdir()] == ["bars-1m-1.refused"]


def test_with_other_decimals_the_recording_begins_anew_beside_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, create = tmp_path / "catalog", Catalog.create
    record(folder, live_bars(bars(5)))

    def create_late(at: Path) -> Catalog:
        time.sleep(0.1)  # nothing may open the folder meanwhile
        return create(at)

    monkeypatch.setattr(Catalog, "create", create_late)
    finer = instrument(tick=Decimal("0.01"))
    made = record(folder, [], given=finer)
    (told,) = made.problems
    (aside,) = tmp_path.glob("catalog-until-*")
    assert str(aside) in told
    assert len(Catalog.open(aside).bars(BTC, "1m")) == 5
    assert Catalog.open(folder).instrument(BTC).price_precision == 2


def test_bars_and_quotes_are_kept_for_the_configured_days(tmp_path: Path) -> None:
    day = 1440
    columns = BarColumns.join([bars(2), bars(3, first=3 * day)])
    ticks: list[Bar | QuoteTick] = list(live_bars(columns))
    record(tmp_path, [quote(JUNE, JUNE), *ticks], config={"keep_days": 1})
    newest = JUNE + 3 * day * MINUTE_NS
    record(tmp_path, [quote(newest, newest)], config={"keep_days": 1})
    catalog = Catalog.open(tmp_path)
    assert catalog.bars(BTC, "1m").equals(columns.slice(2, 5))
    assert read_quotes(catalog, BTC, 0, EVER).ts_init.tolist() == [newest]
    assert remove_ticks(catalog, "quotes", BTC, 0) == 0  # the newest file always stays


def test_files_are_begun_in_turn_while_the_node_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, made = bars(4), writer(tmp_path, config={"rotate_minutes": 1})
    made.put(live_bars(columns)[0])
    until(lambda: journal(tmp_path), "the journal")
    monkeypatch.setattr(made, "_rotates_at", 0.0)
    until(lambda: not journal(tmp_path), "the fold")
    assert len(Catalog.open(tmp_path).bars(BTC, "1m")) == 1
    for bar in live_bars(columns)[1:]:
        made.put(bar)
    made.close()
    assert Catalog.open(tmp_path).bars(BTC, "1m").equals(columns)


def test_an_instrument_that_comes_later_is_recorded_as_the_first_ones(tmp_path: Path) -> None:
    made = writer(tmp_path)
    made.put(live_bars(bars(1))[0])
    until(lambda: journal(tmp_path), "the journal")
    made.add(build_instrument(find_spec("ETHUSDT", "um")))
    kind = BarType.from_str(bar_type("ETHUSDT-PERP.BINANCE", "1m"))
    price, size = Price(3000.5, 2), Quantity(1.0, 3)
    made.put(Bar(kind, price, price, price, price, size, JUNE + MINUTE_NS, JUNE + MINUTE_NS))
    made.close()
    assert list(made.problems) == []
    assert [name for name, _ in Catalog.open(tmp_path).stored_bars()] == [BTC, "ETHUSDT-PERP.BINANCE"]


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_kill_in_the_middle_of_a_fold_loses_and_doubles_nothing_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    columns, folder, killed = bars(9), tmp_path / "catalog", tmp_path / "killed"
    catalog_with(folder)
    left = RowFile(folder / "journal" / BTC / "bars-1m-1.rows", "bars")
    for row in range(4):
        at = columns.slice(row, row + 1)
        values = (float(getattr(at, n)[0]) for n in ("open", "high", "low", "close", "volume"))
        left.append([(int(at.ts_event[0]), int(at.ts_event[0]), *values)])
    left.close()
    reached, released, fold_bars = threading.Event(), threading.Event(), folding._fold_bars

    def held(*args: Any) -> int:
        count = fold_bars(*args) if is_stored else 0
        reached.set()
        assert released.wait(30.0)
        return count if is_stored else fold_bars(*args)

    monkeypatch.setitem(folding._FOLDS, "bars", held)
    made = writer(folder)
    assert reached.wait(30.0)
    for bar in live_bars(columns.slice(4, 7)):
        made.put(bar)
    whole = 32 + 3 * 56
    until(lambda: [p.stat().st_size for p in journal(folder)[1:]] == [whole], "the rows heard meanwhile")
    shutil.copytree(folder, killed)
    released.set()
    made.close()
    assert Catalog.open(folder).bars(BTC, "1m").equals(columns.slice(0, 7))
    monkeypatch.undo()
    record(killed, live_bars(columns.slice(7, 9)))
    assert Catalog.open(killed).bars(BTC, "1m").equals(columns)
    assert (journal(folder), journal(killed), made.lost) == ([], [], "")


def test_what_the_disk_would_not_take_to_the_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "catalog").write_text("no folder")
    made = writer(tmp_path / "catalog", capacity=10)
    for bar in live_bars(bars(25)):
        made.put(bar)
    made.close()
    assert made.lost.startswith(f"25 rows of the recorded market are not in {tmp_path / 'catalog'}: ")
