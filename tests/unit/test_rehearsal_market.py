"""The replayed market against its bars: prices, volumes, order, and the same events every time."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.columns import BarColumns
from catalog.instruments import build_instrument, find_spec
from catalog.store import Catalog
from catalog.tick_store import write_recording
from configs.errors import ConfigError, DataError
from live.rehearsal.book import Depth, Funding, Kline, MarketEvent, MarkPrice, Quote, Trade
from live.rehearsal.market.feeds import CatalogFeed, SyntheticFeed
from live.rehearsal.market.path import MinuteBar, minute_path, minute_rng
from live.rehearsal.market.replay import MarketSettings, ReplayMarket, closed_klines, symbol_events
from tests.catalogs import BTC, JUNE, MINUTE_NS, bars, catalog_with, funding
from tests.tapes import T0, make_tape

JUNE_MS = JUNE // 1_000_000
MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
D = Decimal


@st.composite
def minute_bars(draw: st.DrawFn) -> MinuteBar:
    low = draw(st.integers(1, 10**6))
    high = low + draw(st.integers(0, 500))
    price = st.integers(low, high)
    return MinuteBar(0, draw(price), high, low, draw(price), draw(st.integers(0, 400)))


@given(minute_bars(), st.integers(1, 60), st.integers(0, 2**31 - 1))
def test_a_path_agrees_with_its_bar_to_the_last_digit(bar: MinuteBar, trades: int, seed: int) -> None:
    path = minute_path(np.random.default_rng(seed), bar, trades)
    assert int(path.lots.sum()) == bar.lots
    assert path.ticks[0] == bar.open
    assert path.ticks[-1] == bar.close
    assert path.ticks.max() == bar.high
    assert path.ticks.min() == bar.low
    assert path.offset_ms[0] == 0
    assert np.all(np.diff(path.offset_ms) > 0)
    assert path.offset_ms[-1] < MINUTE_MS
    assert (path.lots >= 0).all()
    traded = path.ticks[path.lots > 0]
    if bar.lots >= len(path.ticks):
        assert len(traded) == len(path.ticks)
    if bar.lots >= 4:  # never more than four prices to touch
        assert traded.max() == bar.high
        assert traded.min() == bar.low
    if bar.lots:
        assert traded[-1] == bar.close


@given(minute_bars(), st.integers(0, 2**31 - 1))
def test_a_rising_bar_sees_its_low_first_and_a_falling_one_its_high(bar: MinuteBar, seed: int) -> None:
    ticks = minute_path(np.random.default_rng(seed), bar, 24).ticks
    low, high = int(np.argmin(ticks)), int(np.argmax(ticks))
    if bar.close >= bar.open and bar.low < bar.open:
        assert low < len(ticks) - int(np.argmax(ticks[::-1]))
    if bar.close < bar.open and bar.high > bar.open:
        assert high < len(ticks) - int(np.argmin(ticks[::-1]))


def test_a_minute_has_the_same_random_numbers_everywhere() -> None:
    # blake2b-128 of "7|BTCUSDT|29200000" seeds PCG64: a change here changes every replay.
    assert minute_rng(7, "BTCUSDT", 29_200_000).integers(0, 1000, 3).tolist() == [214, 685, 291]
    assert minute_rng(7, "ETHUSDT", 29_200_000).integers(0, 2**62) != minute_rng(
        7, "BTCUSDT", 29_200_000
    ).integers(0, 2**62)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Twenty hours of bars and three settlements from June 2025."""
    catalog = catalog_with(tmp_path_factory.mktemp("catalog"), columns=bars(1200))
    catalog.write_funding(BTC, funding(3))
    return catalog


def feed(catalog: Catalog, first: int = 0, minutes: int = 30) -> CatalogFeed:
    start = JUNE_MS + first * MINUTE_MS
    return CatalogFeed(catalog, "BTCUSDT", start, start + minutes * MINUTE_MS)


def of[T](kind: type[T], events: Iterable[object]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def test_closed_klines_are_the_stored_bars(stored: Catalog) -> None:
    klines = [k for k in of(Kline, symbol_events(feed(stored), MarketSettings())) if k.closed]
    expected = bars(30)
    assert len(klines) == 30
    for number, kline in enumerate(klines):
        assert kline.open_ms == JUNE_MS + number * MINUTE_MS
        assert kline.close_ms == kline.ts_ms == kline.open_ms + MINUTE_MS - 1
        values = (kline.open, kline.high, kline.low, kline.close, kline.volume)
        names = ("open", "high", "low", "close", "volume")
        assert values == tuple(D(str(getattr(expected, name)[number])) for name in names)


def test_the_trades_of_a_minute_make_its_kline(stored: Catalog) -> None:
    events = list(symbol_events(feed(stored, minutes=1), MarketSettings(trades_a_minute=40)))
    trades, kline = of(Trade, events), of(Kline, events)[-1]
    assert len(trades) == kline.trades == 40
    assert sum(t.quantity for t in trades) == kline.volume == D("1.000")
    assert sum(t.price * t.quantity for t in trades) == kline.quote_volume
    assert sum(t.quantity for t in trades if not t.buyer_maker) == kline.taker_volume
    assert (max(t.price for t in trades), min(t.price for t in trades)) == (kline.high, kline.low)
    assert (trades[0].price, trades[-1].price) == (kline.open, kline.close)


def test_a_growing_kline_is_told_at_most_every_so_often_and_ends_closed(stored: Catalog) -> None:
    events = symbol_events(feed(stored, minutes=1), MarketSettings(kline_ms=10_000, trades_a_minute=60))
    klines = of(Kline, events)
    assert [k.closed for k in klines] == [False] * (len(klines) - 1) + [True]
    assert 3 <= len(klines) <= 7  # at once, at most every ten seconds, and at the end
    growing = klines[:-1]
    assert all(b.ts_ms - a.ts_ms >= 10_000 for a, b in pairwise(growing))
    assert all(a.volume < b.volume for a, b in pairwise(growing))


@given(st.integers(0, 1100), st.integers(1, 5), st.floats(0, 30), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_every_trade_takes_place_at_the_quote_before_it(
    stored: Catalog, first: int, levels: int, spread_bps: float, quotes: int
) -> None:
    asked = MarketSettings(levels=levels, spread_bps=spread_bps, quotes_a_trade=quotes)
    bid = ask = D(0)
    times = [0]
    for event in symbol_events(feed(stored, first, 3), asked):
        times.append(event.ts_ms)
        if isinstance(event, Quote):
            bid, ask = event.bid, event.ask
        elif isinstance(event, Depth):
            bid, ask = event.bids[0][0], event.asks[0][0]
            assert len(event.asks) == levels
            assert sorted(event.bids, reverse=True) == list(event.bids)
            assert sorted(event.asks) == list(event.asks)
        elif isinstance(event, Trade):
            assert event.price == (bid if event.buyer_maker else ask)
        assert bid == 0 or bid < ask
    assert times == sorted(times)


def test_the_spread_is_what_was_asked_for(stored: Catalog) -> None:
    quotes = of(Quote, symbol_events(feed(stored, minutes=1), MarketSettings(levels=1, spread_bps=2)))
    # 2 bps of 100,000 are 20; of closes a few ticks beside it, 20 to the tick
    assert {quote.ask - quote.bid for quote in quotes} == {D("20.0")}
    narrow = of(Quote, symbol_events(feed(stored, minutes=1), MarketSettings(levels=1, spread_bps=0)))
    assert {quote.ask - quote.bid for quote in narrow} == {D("0.1")}


def test_mark_prices_come_every_second_with_the_next_funding(stored: Catalog) -> None:
    marks = of(MarkPrice, symbol_events(feed(stored, minutes=2), MarketSettings()))
    assert [m.ts_ms for m in marks] == [JUNE_MS + second * 1000 for second in range(120)]
    # the settlement at 00:00 is under way, the next is the second one: 2e-05 at 08:00
    assert {(m.next_funding_ms, m.funding_rate) for m in marks} == {(JUNE_MS + 8 * 3_600_000, D("0.00002"))}


def test_stored_mark_prices_are_followed(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(3))
    opens = np.array([100_000.0, 100_060.0, 100_000.0])
    columns = BarColumns(bars(3).ts_event, opens, opens + 90, opens - 90, opens + 60, np.zeros(3))
    catalog.write_mark(BTC, "1m", columns)
    marks = of(MarkPrice, symbol_events(feed(catalog, minutes=3), MarketSettings(mark_ms=15_000)))
    # open to close in a line: 100,000 + 60 * 15/60 = 100,015 after 15 s
    assert [m.mark for m in marks[:5]] == [D(p) for p in ("100000", "100015", "100030", "100045", "100060")]


def test_funding_is_settled_when_the_catalog_says(stored: Catalog) -> None:
    settled = of(Funding, symbol_events(feed(stored, minutes=1200), MarketSettings(trades_a_minute=4)))
    eight_hours = 8 * 3_600_000
    assert settled == [Funding(JUNE_MS + n * eight_hours, "BTCUSDT", D(n + 1).scaleb(-5)) for n in range(3)]


def test_a_catalog_without_funding_settles_the_base_rate(tmp_path: Path) -> None:
    catalog = catalog_with(tmp_path, columns=bars(500))
    settled = of(Funding, symbol_events(feed(catalog, minutes=500), MarketSettings(trades_a_minute=4)))
    assert [(f.ts_ms - JUNE_MS, f.rate) for f in settled] == [(0, D("0.0001")), (28_800_000, D("0.0001"))]


def test_a_replay_that_starts_later_has_the_same_minutes(stored: Catalog) -> None:
    early = list(symbol_events(feed(stored, 0, 20), MarketSettings()))
    late = list(symbol_events(feed(stored, 10, 10), MarketSettings()))
    assert len(late) > 100
    assert early[-len(late) :] == late


def test_another_seed_is_another_market(stored: Catalog) -> None:
    one, other = (of(Trade, symbol_events(feed(stored), MarketSettings(seed=s))) for s in (1, 2))
    assert one != other
    assert sum(t.quantity for t in one) == sum(t.quantity for t in other)


def test_a_shift_moves_times_and_nothing_else(stored: Catalog) -> None:
    plain = list(symbol_events(feed(stored), MarketSettings()))
    shift = 123 * MINUTE_MS
    shifted = list(symbol_events(feed(stored), MarketSettings(), shift_ms=shift))

    def back(event: MarketEvent) -> MarketEvent:
        moved = event._replace(ts_ms=event.ts_ms - shift)
        if isinstance(moved, Kline):
            return moved._replace(open_ms=moved.open_ms - shift, close_ms=moved.close_ms - shift)
        if isinstance(moved, MarkPrice):
            return moved._replace(next_funding_ms=moved.next_funding_ms - shift)
        return moved

    assert [back(event) for event in shifted] == plain


def test_a_gap_in_the_bars_is_silence(tmp_path: Path) -> None:
    columns = bars(30)
    catalog = catalog_with(tmp_path, columns=BarColumns.join([columns.slice(0, 5), columns.slice(9, 30)]))
    minutes = {(e.ts_ms - JUNE_MS) // MINUTE_MS for e in symbol_events(feed(catalog), MarketSettings())}
    assert minutes == set(range(30)) - {5, 6, 7, 8}


def test_a_bar_without_volume_moves_quotes_alone(tmp_path: Path) -> None:
    columns = bars(2)
    still = replace(columns, volume=np.array([0.0, 1.0]))
    catalog = catalog_with(tmp_path, columns=still)
    events = list(symbol_events(feed(catalog, minutes=1), MarketSettings()))
    assert not of(Trade, events)
    assert len(of(Depth, events)) == 12
    (kline,) = of(Kline, events)
    assert (kline.high, kline.volume, kline.trades) == (D(str(columns.high[0])), D(0), 0)


def test_symbols_are_merged_by_time_and_do_not_change_each_other() -> None:
    start = 1_735_689_600_000
    feeds = [SyntheticFeed(symbol, start, 1, 7) for symbol in ("BTCUSDT", "ETHUSDT")]
    merged = ReplayMarket(feeds, MarketSettings()).next_events(start + 10 * MINUTE_MS)
    assert [e.ts_ms for e in merged] == sorted(e.ts_ms for e in merged)
    alone = ReplayMarket(feeds[1:], MarketSettings()).next_events(start + 10 * MINUTE_MS)
    assert [e for e in merged if e.symbol == "ETHUSDT"] == alone
    assert len(of(Trade, alone)) >= 120


def test_events_are_handed_out_up_to_a_time_or_a_number() -> None:
    start = 1_735_689_600_000
    market = ReplayMarket([SyntheticFeed("BTCUSDT", start, 1, 7)], MarketSettings())
    assert market.next_ms == start
    first = market.next_events(start + MINUTE_MS, most=5)
    assert len(first) == 5
    rest = market.next_events(start + MINUTE_MS)
    again = ReplayMarket([SyntheticFeed("BTCUSDT", start, 1, 7)], MarketSettings())
    assert [*first, *rest] == again.next_events(start + MINUTE_MS)
    assert market.next_ms is not None
    assert market.next_ms > start + MINUTE_MS


def test_the_market_ends_at_its_end() -> None:
    start = 1_735_689_600_000
    feed_ = SyntheticFeed("BTCUSDT", start, 1, 7)
    feed_.end_ms = start + 2 * MINUTE_MS
    market = ReplayMarket([feed_], MarketSettings())
    events = list(market)
    assert market.next_ms is None
    assert isinstance(events[-1], Kline)
    assert events[-1].close_ms == start + 2 * MINUTE_MS - 1


def test_history_is_the_klines_that_the_replay_would_have_told(stored: Catalog) -> None:
    told = [k for k in of(Kline, symbol_events(feed(stored, 0, 60), MarketSettings())) if k.closed]
    assert closed_klines(feed(stored, 60, 1), MarketSettings(), 60) == told
    # nothing is stored before June: those minutes are left out
    assert closed_klines(feed(stored, 20, 1), MarketSettings(), 60) == told[:20]


def test_a_synthetic_market_has_history_before_its_start() -> None:
    start = 1_735_689_600_000
    klines = closed_klines(SyntheticFeed("BTCUSDT", start, 1, 7), MarketSettings(), 1500)
    assert len(klines) == 1500
    assert klines[-1].close_ms == start - 1


def test_recorded_ticks_are_replayed_as_they_were(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)
    catalog.write_instrument(build_instrument(find_spec("BTCUSDT", "um")))
    tape = make_tape(secs=90)
    write_recording(catalog, BTC, tape)
    events = list(symbol_events(CatalogFeed(catalog, "BTCUSDT", None, None), MarketSettings()))
    quotes, trades = of(Quote, events), of(Trade, events)
    assert [t.trade_id for t in trades] == tape.trades.trade_id.tolist()
    assert [float(t.price) for t in trades] == tape.trades.price.tolist()
    assert [t.ts_ms for t in trades] == (tape.trades.ts_init // 1_000_000).tolist()
    assert [float(q.ask_quantity) for q in quotes] == tape.quotes.ask_size.tolist()
    assert [e.ts_ms for e in events] == sorted(e.ts_ms for e in events)
    closed = [k for k in of(Kline, events) if k.closed]
    assert sum(k.volume for k in closed) == sum(t.quantity for t in trades)


def test_bars_stand_in_where_no_whole_minute_was_recorded(tmp_path: Path) -> None:
    # T0 is a minute's start; the recording ends 30 s into the third minute
    first = T0 // MINUTE_NS
    columns = bars(6)
    columns = BarColumns(
        (first + np.arange(1, 7)) * MINUTE_NS, *(getattr(columns, n) for n in BarColumns.__slots__[1:])
    )
    catalog = catalog_with(tmp_path, columns=columns)
    write_recording(catalog, BTC, make_tape(secs=150, start=T0 - 1_000_000_000))
    start = T0 // 1_000_000
    events = symbol_events(CatalogFeed(catalog, "BTCUSDT", start, start + 6 * MINUTE_MS), MarketSettings())
    kinds: dict[int, set[type]] = {}
    for event in events:
        kinds.setdefault((event.ts_ms - start) // MINUTE_MS, set()).add(type(event))
    assert [Quote in kinds[m] for m in range(6)] == [True, True, False, False, False, False]
    assert [Depth in kinds[m] for m in range(6)] == [False, False, True, True, True, True]


def test_a_period_with_nothing_in_it_is_refused(stored: Catalog) -> None:
    with pytest.raises(DataError, match="nothing of BTCUSDT-PERP"):
        CatalogFeed(stored, "BTCUSDT", JUNE_MS - 3 * DAY_MS, JUNE_MS - 2 * DAY_MS)
    with pytest.raises(DataError, match="no instrument ETHUSDT-PERP"):
        CatalogFeed(stored, "ETHUSDT", None, None)


@pytest.mark.parametrize("wrong", [{"levels": 0}, {"spread_bps": -1.0}, {"depth_quote": 0.0}, {"mark_ms": 0}])
def test_settings_that_make_no_market_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        MarketSettings(**wrong)  # type: ignore[arg-type]


def test_sizes_stand_around_the_depth_asked_for() -> None:
    start = 1_735_689_600_000
    asked = MarketSettings(depth_quote=50_000, levels=3)
    books = of(Depth, islice(symbol_events(SyntheticFeed("BTCUSDT", start, 1, 7), asked), 20_000))
    sizes = [float(price * size) for book in books for price, size in (*book.bids, *book.asks)]
    assert 0.97 < np.mean(sizes) / 50_000 < 1.03
    assert min(sizes) / 50_000 > 0.45
    assert max(sizes) / 50_000 < 1.55
