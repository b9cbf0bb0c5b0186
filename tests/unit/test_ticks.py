"""Recorded streams: what is read, what is refused, the bars of a second, and the way through the catalog."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from catalog.columns import bar_type, interval_ns
from catalog.ingest import app
from catalog.instruments import build_instrument, shipped_specs
from catalog.store import Catalog
from catalog.tick_store import (
    engine_ticks,
    ingest_streams,
    read_quotes,
    read_trades,
    require_ticks,
    ticks_hash,
    write_recording,
)
from catalog.ticks import QuoteColumns, Recording, TradeColumns, join_recordings, read_stream, second_bars
from configs.console import run_app
from configs.errors import ConfigError, DataError
from configs.schema import DataConfig
from tests.providers import shared_data
from tests.tapes import (
    T0,
    Line,
    S,
    futures_quote,
    futures_trade,
    make_tape,
    spot_quote,
    spot_trade,
    write_stream,
)

PERP, SPOT = "BTCUSDT-PERP.BINANCE", "BTCUSDT.BINANCE"
MS = 1_000_000
T0_MS = T0 // MS
EVER = 2**62


def lines() -> list[Line]:
    """Received 3 ms after it was sent, except the last: 1 ms."""
    return [
        futures_quote(T0 + 3 * MS, T0_MS, 10, "100.0", "100.1", ("2.5", "1.0")),
        (T0 + 4 * MS, {"stream": "btcusdt@depth@0ms", "data": {"e": "depthUpdate", "b": [], "a": []}}),
        (T0 + 5 * MS, {"lastUpdateId": 5, "bids": [], "asks": []}),
        futures_trade(T0 + 13 * MS, T0_MS + 10, 7, "100.1", "0.2"),
        futures_trade(T0 + 21 * MS, T0_MS + 20, 8, "100.0", "0.3", sold=True),
    ]


def test_a_recording_becomes_quotes_and_trades_and_counts_the_rest(tmp_path: Path) -> None:
    (got,) = read_stream(write_stream(tmp_path / "x.gz", lines()))
    assert (got.symbol, got.market, got.clock_shift_ns) == ("BTCUSDT", "um", 0)
    assert got.left_out == {"depth": 1, "other": 1}
    assert [c.tolist() for c in got.quotes.columns()] == [[T0], [T0 + 3 * MS], [100.0], [100.1], [2.5], [1.0]]
    assert [c.tolist() for c in got.trades.columns()] == [
        [T0 + 10 * MS, T0 + 20 * MS],
        [T0 + 13 * MS, T0 + 21 * MS],
        [100.1, 100.0],
        [0.2, 0.3],
        [1, -1],  # the buyer took, then the seller
        [7, 8],
    ]
    assert got.span == (T0 + 3 * MS, T0 + 21 * MS)


def test_a_recording_need_not_be_gzipped(tmp_path: Path) -> None:
    zipped, plain = (read_stream(write_stream(tmp_path / name, lines()))[0] for name in ("x.gz", "x.log"))
    for a, b in zip(zipped.trades.columns(), plain.trades.columns(), strict=True):
        assert np.array_equal(a, b)


def test_a_clock_behind_the_exchange_is_moved_until_nothing_arrives_before_it_was_sent(
    tmp_path: Path,
) -> None:
    late = [(received - 1_200 * MS, message) for received, message in lines()]
    (got,) = read_stream(write_stream(tmp_path / "x.gz", late))
    # the least delay is that of the last trade: 1 ms - 1200 ms
    assert got.clock_shift_ns == 1_199 * MS
    assert got.quotes.ts_init.tolist() == [T0 + 2 * MS]
    assert got.trades.ts_init.tolist() == [T0 + 12 * MS, T0 + 20 * MS]
    assert (got.trades.ts_init >= got.trades.ts_event).all()


def test_spot_quotes_tell_no_time_and_spot_trades_count_from_when_they_happened(tmp_path: Path) -> None:
    rows = [spot_quote(T0, 1, "100.00", "100.01"), spot_trade(T0 - 0, T0_MS + 5, 9, "100.01", "0.5")]
    (got,) = read_stream(write_stream(tmp_path / "x.gz", rows))
    assert got.market == "spot"
    assert got.clock_shift_ns == 5 * MS  # against the time of sending, not of the trade
    assert (got.quotes.ts_event.tolist(), got.quotes.ts_init.tolist()) == ([T0 + 5 * MS], [T0 + 5 * MS])
    assert (got.trades.ts_event.tolist(), got.trades.ts_init.tolist()) == ([T0 + 3 * MS], [T0 + 5 * MS])


def test_times_in_microseconds_are_understood(tmp_path: Path) -> None:
    (got,) = read_stream(
        write_stream(tmp_path / "x.gz", [futures_trade(T0 + 5 * MS, T0 // 1000 + 7, 1, "5", "1")])
    )
    assert got.trades.ts_event.tolist() == [T0 + 7_000]


def test_what_was_seen_before_and_what_is_no_market_trade_is_left_out(tmp_path: Path) -> None:
    rows = [
        futures_trade(T0, T0_MS, 5, "100.0", "1"),
        futures_trade(T0 + 1, T0_MS, 5, "100.0", "1"),
        futures_trade(T0 + 2, T0_MS, 4, "100.0", "1"),
        futures_trade(T0 + 3, T0_MS, 6, "0", "1", kind="INSURANCE_FUND"),
        futures_quote(T0 + 4, T0_MS, 5, "1", "2"),
        futures_quote(T0 + 5, T0_MS, 5, "1", "2"),
    ]
    (got,) = read_stream(write_stream(tmp_path / "x.gz", rows))
    assert (len(got.trades), len(got.quotes)) == (1, 1)
    assert got.left_out == {"seen before": 3, "trade of kind INSURANCE_FUND": 1}


def test_several_symbols_may_share_a_file(tmp_path: Path) -> None:
    rows = lines()
    other = {"stream": "ethusdt@trade", "data": rows[3][1]["data"] | {"s": "ETHUSDT", "t": 1}}
    got = read_stream(write_stream(tmp_path / "x.gz", [*rows, (T0 + 30 * MS, other)]))
    assert [(r.symbol, len(r.quotes), len(r.trades)) for r in got] == [("BTCUSDT", 1, 2), ("ETHUSDT", 0, 1)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (futures_trade(T0 + 50 * MS, T0_MS, 99, "-1", "1"), "no prices and sizes of a market"),
        (futures_trade(T0 + 50 * MS, T0_MS, 99, "1", "0"), "0 at 1"),
        (futures_trade(T0 + 50 * MS, T0_MS, 99, "nan", "1"), "1 at nan"),
        (futures_trade(T0 + 50 * MS, T0_MS, 99, "x", "1"), "could not convert"),
        (futures_quote(T0 + 50 * MS, T0_MS, 99, "100.1", "100.1"), "bid 100.1 x 1, ask 100.1 x 1"),
        (futures_quote(T0 + 50 * MS, T0_MS, 99, "100.0", "100.1", ("0", "1")), "bid 100.0 x 0"),
        (futures_trade(T0 - 2 * S, T0_MS, 99, "1", "1"), "out of order"),
        (
            (T0 + 50 * MS, {"stream": "btcusdt@trade", "data": {"e": "trade", "t": "7"}}),
            r"not '<receipt in ns> \{message\}'",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Line, words: str) -> None:
    path = write_stream(tmp_path / "x.gz", [*lines(), row])
    with pytest.raises(DataError, match=rf"x\.gz:6: .*{words}"):
        read_stream(path)


@pytest.mark.parametrize("text", [b"hello\n", b"12 {\n", b"x {}\n", b"12\n"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x").write_bytes(text)
    with pytest.raises(DataError, match=r"x:1: not '<receipt in ns>"):
        read_stream(tmp_path / "x")


def test_a_cut_file_and_one_without_ticks_are_refused(tmp_path: Path) -> None:
    whole = write_stream(tmp_path / "x.gz", lines())
    (tmp_path / "cut.gz").write_bytes(whole.read_bytes()[:-12])
    with pytest.raises(DataError, match="damaged or cut off"):
        read_stream(tmp_path / "cut.gz")
    (tmp_path / "none.gz").write_bytes(gzip.compress(b"12 {}\n"))
    with pytest.raises(DataError, match="no bookTicker and no trade"):
        read_stream(tmp_path / "none.gz")


# --- bars of a second ---


def recording(trades: list[tuple[float, float, float]], quoted: list[float] | None = None) -> Recording:
    """Trades as (second of receipt, price, size) and quotes at these seconds, from T0."""
    times, price, size = (np.array(values, float) for values in zip(*trades, strict=True))
    at = T0 + np.rint(times * S).astype(np.int64)
    q = T0 + np.rint(np.array(quoted or [], float) * S).astype(np.int64)
    one = np.ones(len(q))
    ids = np.arange(1, len(at) + 1)
    return Recording(
        "BTCUSDT",
        "um",
        QuoteColumns(q, q, one, 2 * one, one, one),
        TradeColumns(at, at, price, size, np.ones(len(at), np.int8), ids),
        0,
        {},
    )


def test_a_bar_holds_the_trades_received_before_its_close_and_an_empty_second_is_flat() -> None:
    bars = second_bars(
        recording(
            [(0.5, 9.0, 1.0), (1.0, 10.0, 0.5), (1.4, 12.0, 0.25), (1.9, 11.0, 0.25), (3.0, 8.0, 2.0)], [4.2]
        )
    )
    # second 0 is not whole (it begins at 0.5); the trade at 3.0 s is of the bar that closes at 4 s
    assert ((bars.ts_event - T0) // S).tolist() == [2, 3, 4]
    rows = list(zip(bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True))
    assert rows == [(10.0, 12.0, 10.0, 11.0, 1.0), (11.0, 11.0, 11.0, 11.0, 0.0), (8.0, 8.0, 8.0, 8.0, 2.0)]


def test_the_price_before_the_first_whole_second_is_carried_into_it() -> None:
    bars = second_bars(recording([(0.5, 9.0, 1.0), (2.5, 10.0, 1.0)], [3.1]))
    assert bars.close.tolist() == [9.0, 10.0]


def test_no_bar_stands_before_the_first_trade() -> None:
    bars = second_bars(recording([(3.5, 9.0, 1.0)], [0.0, 5.5]))
    assert ((bars.ts_event - T0) // S).tolist() == [4, 5]


def test_a_connection_that_was_down_for_more_than_a_minute_leaves_a_hole() -> None:
    bars = second_bars(recording([(0.0, 9.0, 1.0), (1.5, 9.0, 1.0), (62.5, 7.0, 1.0), (64.2, 8.0, 1.0)]))
    assert ((bars.ts_event - T0) // S).tolist() == [1, 64]
    assert bars.open.tolist() == [9.0, 7.0]  # the price of 62.5 s, carried into second 63
    whole = second_bars(recording([(0.0, 9.0, 1.0), (1.5, 9.0, 1.0), (61.5, 7.0, 1.0)]))
    assert len(whole) == 61


def test_too_short_a_recording_has_no_bars() -> None:
    assert len(second_bars(recording([(0.2, 9.0, 1.0), (0.9, 9.0, 1.0)]))) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 12_000), st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=40
    ),
    st.lists(st.integers(0, 12_000), max_size=4),
)
def test_bars_are_those_of_a_plain_loop(rows: list[tuple[int, int, int]], quoted: list[int]) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    made = recording(
        [(ms / 1000, float(p), float(q)) for ms, p, q in rows], [ms / 1000 for ms in sorted(quoted)]
    )
    bars = second_bars(made)
    first = min([rows[0][0], *quoted])
    last = max([rows[-1][0], *quoted])
    expected = []
    for second in range(-(-first // 1000), last // 1000):
        before = [p for ms, p, _ in rows if ms < second * 1000]
        inside = [(p, q) for ms, p, q in rows if second * 1000 <= ms < (second + 1) * 1000]
        prices = [p for p, _ in inside] or before[-1:]
        if prices:
            ohlc = (prices[0], max(prices), min(prices), prices[-1])
            expected.append((T0 + (second + 1) * S, *ohlc, sum(q for _, q in inside)))
    got = zip(bars.ts_event, bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    assert list(got) == expected


# --- recordings that follow each other ---


def test_recordings_that_follow_each_other_join_and_ones_that_overlap_do_not() -> None:
    first, second = make_tape(1, 4), make_tape(2, 4, start=T0 + 5 * S)
    joined = join_recordings([second, first])
    assert joined.span == (first.span[0], second.span[1])
    assert len(joined.trades) == len(first.trades) + len(second.trades)
    assert (np.diff(joined.quotes.ts_init) >= 0).all()
    with pytest.raises(DataError, match="overlap"):
        join_recordings([first, make_tape(2, 4, start=T0 + 2 * S)])


# --- the catalog ---


def stored(path: Path, name: str = PERP) -> Catalog:
    catalog = Catalog.create(path / "catalog")
    catalog.write_instrument(build_instrument(shipped_specs("um" if name == PERP else "spot")["BTCUSDT"]))
    return catalog


def test_ticks_come_back_as_written_and_as_nautilus_reads_them(tmp_path: Path) -> None:
    catalog, tape = stored(tmp_path), make_tape(secs=5)
    write_recording(catalog, PERP, tape)
    quotes, trades = read_quotes(catalog, PERP, 0, EVER), read_trades(catalog, PERP, 0, EVER)
    for got, given_ in zip(
        (*quotes.columns(), *trades.columns()), (*tape.quotes.columns(), *tape.trades.columns()), strict=True
    ):
        assert got.dtype == given_.dtype
        assert np.array_equal(got, given_)
    engine_quotes, engine_trades = engine_ticks(catalog, PERP, 0, EVER)
    assert [
        (q.ts_event, q.ts_init, float(str(q.bid_price)), float(str(q.ask_size))) for q in engine_quotes
    ] == [
        *zip(
            *(c.tolist() for c in (quotes.ts_event, quotes.ts_init, quotes.bid_price, quotes.ask_size)),
            strict=True,
        )
    ]
    assert [(t.ts_init, str(t.aggressor_side), int(str(t.trade_id))) for t in engine_trades] == [
        (ts, "BUY" if side > 0 else "SELL", number)
        for ts, side, number in zip(
            trades.ts_init.tolist(), trades.side.tolist(), trades.trade_id.tolist(), strict=True
        )
    ]
    bars = second_bars(tape)
    got = catalog.bars(PERP, "1s")
    assert [np.array_equal(getattr(got, c), getattr(bars, c)) for c in ("ts_event", "open", "close")] == [
        True
    ] * 3
    assert np.allclose(got.volume, bars.volume, rtol=0, atol=1e-9)  # sums of thousandths, stored exactly
    assert len(catalog.engine_bars(PERP, "1s", 0, EVER)) == len(bars) == 4


def test_a_period_is_half_open_on_the_receipt(tmp_path: Path) -> None:
    catalog, tape = stored(tmp_path), make_tape(secs=5)
    write_recording(catalog, PERP, tape)
    start, end = (int(tape.trades.ts_init[k]) for k in (10, 20))
    assert read_trades(catalog, PERP, start, end).trade_id.tolist() == tape.trades.trade_id[10:20].tolist()
    assert len(engine_ticks(catalog, PERP, start, end)[1]) == 10
    assert len(read_quotes(catalog, SPOT, 0, EVER)) == len(read_trades(catalog, SPOT, 0, EVER)) == 0
    assert engine_ticks(catalog, SPOT, 0, EVER) == ([], [])


def test_the_same_recording_twice_is_identical_and_an_overlap_is_refused_or_replaces(tmp_path: Path) -> None:
    catalog, tape, other = stored(tmp_path), make_tape(secs=5), make_tape(8, secs=4)
    assert write_recording(catalog, PERP, tape)[0].status == "written"
    assert write_recording(catalog, PERP, tape)[0].status == "identical"
    with pytest.raises(DataError, match=r"already holds quotes of BTCUSDT-PERP.*--replace"):
        write_recording(catalog, PERP, other)
    assert len(read_quotes(catalog, PERP, 0, EVER)) == 100
    assert write_recording(catalog, PERP, other, replace=True)[0].status == "replaced"
    assert read_quotes(catalog, PERP, 0, EVER).ask_size.tolist() == other.quotes.ask_size.tolist()


def test_a_later_recording_is_added(tmp_path: Path) -> None:
    catalog, first, later = stored(tmp_path), make_tape(secs=4), make_tape(8, secs=4, start=T0 + 100 * S)
    for tape in (later, first):
        assert write_recording(catalog, PERP, tape)[0].status == "written"
    got = read_quotes(catalog, PERP, 0, EVER)
    assert got.bid_price.tolist() == [*first.quotes.bid_price, *later.quotes.bid_price]
    assert all(a <= b for a, b in pairwise(q.ts_init for q in engine_ticks(catalog, PERP, 0, EVER)[0]))


def test_a_period_without_ticks_is_named(tmp_path: Path) -> None:
    catalog = stored(tmp_path)
    write_recording(catalog, PERP, make_tape(secs=4))
    require_ticks(catalog, PERP, T0, T0 + S)
    with pytest.raises(DataError, match=r"no quotes of BTCUSDT-PERP.BINANCE from 2024-01-01 08:00 .*stream"):
        require_ticks(catalog, PERP, T0 + 600 * S, T0 + 700 * S)
    with pytest.raises(DataError, match="stored: none"):
        require_ticks(catalog, SPOT, T0, T0 + S)


def test_values_off_the_ticks_are_refused_and_spot_sizes_rounded(tmp_path: Path) -> None:
    tape = make_tape(secs=4)
    tape.trades.size[3] = 0.0004
    with pytest.raises(DataError, match=r"size 0.0004 is no multiple of the instrument's step 0.001"):
        write_recording(stored(tmp_path), PERP, tape)
    spot = stored(tmp_path / "spot", SPOT)  # lots of 0.00001
    tape.trades.size[3:5] = 0.000002, 0.123456
    result, _ = write_recording(spot, SPOT, tape)
    assert result.rounded == 2
    assert read_trades(spot, SPOT, 0, EVER).size[3:5].tolist() == [0.00001, 0.12346]


def test_a_recording_without_a_whole_second_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too short"):
        write_recording(stored(tmp_path), PERP, recording([(0.5, 9.0, 1.0)]))


def test_the_hash_knows_every_value() -> None:
    tape = make_tape(secs=4)
    again = make_tape(secs=4)
    seen = {ticks_hash(tape.quotes, tape.trades), ticks_hash(again.quotes, again.trades)}
    assert len(seen) == 1
    for column in (*tape.quotes.columns(), *tape.trades.columns()):
        column[5] += 1
        seen.add(ticks_hash(tape.quotes, tape.trades))
    assert len(seen) == 1 + 6 + 6


def test_files_of_one_symbol_are_stored_as_one_recording(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "catalog")
    later = [(received + 2 * S, message) for received, message in lines()[3:]]
    later[0][1]["data"]["t"], later[1][1]["data"]["t"] = 70, 80
    paths = [write_stream(tmp_path / "a.gz", lines()), write_stream(tmp_path / "b.gz", later)]
    (result,) = ingest_streams(paths, catalog=catalog)
    assert (result.instrument_id, result.status, result.quotes, result.trades) == (PERP, "written", 1, 4)
    assert (result.bars, result.clock_shift_ms) == (1, 0.0)
    assert catalog.bars(PERP, "1s").close.tolist() == [100.0]
    assert ingest_streams(paths, catalog=catalog)[0].status == "identical"
    with pytest.raises(DataError, match="is not there"):
        ingest_streams([tmp_path / "none.gz"], catalog=catalog)


# --- the recordings ---

FIGURES = {
    "usdm": (PERP, 66_089, 21_313, 343, 61_590.3, 61_839.9, 1272.55, 0.0170),
    "spot": (SPOT, 28_040, 9_757, 345, 61_583.22, 61_860.8, 1275.02, 0.0035),
}


@pytest.mark.parametrize("market", FIGURES)
def test_the_real_recordings_are_whole_and_sane(market: str, tmp_path: Path) -> None:
    name, quotes, trades, bars, low, high, shift_ms, spread_bps = FIGURES[market]
    path = shared_data("ticks", "hftbacktest", market, "btcusdt_20240808.gz")
    catalog = Catalog.create(tmp_path / "catalog")
    (result,) = ingest_streams([path], catalog=catalog)
    assert (result.instrument_id, result.quotes, result.trades, result.bars) == (name, quotes, trades, bars)
    assert result.clock_shift_ms == pytest.approx(shift_ms, abs=0.01)
    got = catalog.bars(name, "1s")
    assert (got.low.min(), got.high.max()) == (low, high)
    assert (np.diff(got.ts_event) == S).all()
    assert (got.volume == 0).sum() <= 2
    q, t = read_quotes(catalog, name, 0, EVER), read_trades(catalog, name, 0, EVER)
    for ticks in (q, t):
        assert (ticks.ts_init >= ticks.ts_event).all()
        assert np.median(ticks.ts_init - ticks.ts_event) < 10 * MS
    last = np.searchsorted(q.ts_init, got.ts_event) - 1
    mid = (q.bid_price[last] + q.ask_price[last]) / 2
    assert np.mean(1e4 * (q.ask_price - q.bid_price)[last] / mid) == pytest.approx(spread_bps, abs=1e-3)
    # whoever buys takes the ask: trades lie on the side of the mid of before that their taker says
    before = np.searchsorted(q.ts_init, t.ts_event) - 1
    known = before >= 0
    above = t.price[known] > (q.bid_price[before[known]] + q.ask_price[before[known]]) / 2
    assert np.mean(above == (t.side[known] > 0)) > 0.97


# --- the command, the run file ---


def test_the_command_takes_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "streams"
    folder.mkdir()
    later = futures_trade(T0 + 3 * S, T0_MS + 2_990, 99, "100.2", "0.5")
    write_stream(folder / "a.gz", [*lines(), later])
    where = ["--format", "stream", "--catalog", str(tmp_path / "catalog")]
    with pytest.raises(SystemExit) as ended:
        run_app(app, [str(folder), *where])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "BTCUSDT-PERP.BINANCE: written, 1 quotes, 3 trades, 2 bars of 1s" in said
    assert "left out: 1 depth, 1 other" in said
    with pytest.raises(SystemExit) as ended:
        run_app(app, [str(folder), *where, "--json"])
    (told,) = json.loads(capsys.readouterr().out)["recordings"]
    assert (told["status"], told["trades"]) == ("identical", 3)
    with pytest.raises(SystemExit) as ended:
        run_app(app, [str(tmp_path / "none"), *where])
    assert ended.value.code == 2


def test_a_run_on_bars_of_a_second_is_a_run_on_ticks() -> None:
    period = {"start": "2024-01-01", "test_start": "2024-01-01T00:00:01", "end": "2024-01-02"}
    data = DataConfig.model_validate({"catalog": "x", "bar": "1s", **period})
    assert (data.ticks, data.bar_secs) == (True, 1)
    with pytest.raises(ConfigError, match="1s: features and models need bars of a minute"):
        _ = data.bar_minutes
    minute = DataConfig.model_validate({"catalog": "x", **period, "test_start": "2024-01-01T00:01"})
    assert (minute.ticks, minute.bar_secs, minute.bar_minutes) == (False, 60, 1)
    with pytest.raises(ValidationError, match="has no quotes and trades"):
        DataConfig.model_validate({"catalog": "x", "bar": "1s", **period, "synthetic": {}})
    with pytest.raises(ValidationError, match="opens"):
        DataConfig.model_validate(
            {"catalog": "x", "bar": "1s", **period, "test_start": "2024-01-01T00:00:01.5"}
        )


def test_bars_of_a_second_have_a_name_and_a_length() -> None:
    assert bar_type(PERP, "1s") == "BTCUSDT-PERP.BINANCE-1-SECOND-LAST-EXTERNAL"
    assert interval_ns("1s") == S
