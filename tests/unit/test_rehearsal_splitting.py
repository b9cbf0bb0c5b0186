"""Longer bars cut into minutes: these make the bar again, and a run on 5m bars is replayed from them."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from live.rehearsal.book import Kline
from live.rehearsal.market.feeds import CatalogFeed
from live.rehearsal.market.path import MinuteBar
from live.rehearsal.market.replay import MarketSettings, symbol_events
from live.rehearsal.market.splitting import minutes_of
from tests.catalogs import BTC, JUNE, bars, catalog_with

JUNE_MS = JUNE // 1_000_000
MINUTE_MS = 60_000
D = Decimal


@st.composite
def long_bars(draw: st.DrawFn) -> MinuteBar:
    low = draw(st.integers(1, 10**6))
    high = low + draw(st.integers(0, 500))
    price = st.integers(low, high)
    return MinuteBar(600_000, draw(price), high, low, draw(price), draw(st.integers(0, 400)))


@given(long_bars(), st.sampled_from([1, 2, 3, 5, 15, 30, 60, 240, 1440]))
def test_the_minutes_make_the_bar_again(bar: MinuteBar, length: int) -> None:
    minutes = list(minutes_of(bar, length))
    assert [minute.open_ms for minute in minutes] == [600_000 + i * MINUTE_MS for i in range(length)]
    assert (minutes[0].open, minutes[-1].close) == (bar.open, bar.close)
    assert (max(m.high for m in minutes), min(m.low for m in minutes)) == (bar.high, bar.low)
    assert sum(m.lots for m in minutes) == bar.lots
    assert all(a.close == b.open for a, b in pairwise(minutes)), "no jump that the bar does not show"
    assert all(m.low <= min(m.open, m.close) <= max(m.open, m.close) <= m.high for m in minutes)


def test_a_bar_of_three_minutes_goes_straight_from_turn_to_turn() -> None:
    # rising: open 10, low 4, high 22, close 16, one turn a minute; eight lots are three, three and two
    assert list(minutes_of(MinuteBar(0, 10, 22, 4, 16, 8), 3)) == [
        MinuteBar(0, 10, 10, 4, 4, 3),
        MinuteBar(60_000, 4, 22, 4, 22, 3),
        MinuteBar(120_000, 22, 22, 16, 16, 2),
    ]


def test_a_catalog_of_5m_bars_is_replayed_and_its_klines_make_them_again(tmp_path: Path) -> None:
    stored = bars(4, minutes=5)
    catalog = catalog_with(tmp_path)
    catalog.write_bars(BTC, "5m", stored)
    feed = CatalogFeed(catalog, "BTCUSDT", JUNE_MS, JUNE_MS + 20 * MINUTE_MS)
    assert feed.interval == "5m"
    klines = [k for k in symbol_events(feed, MarketSettings()) if isinstance(k, Kline) and k.closed]
    assert len(klines) == 20
    for number in range(4):
        five = klines[5 * number : 5 * number + 5]
        assert five[0].open_ms == JUNE_MS + number * 5 * MINUTE_MS
        made = (
            five[0].open,
            max(k.high for k in five),
            min(k.low for k in five),
            five[-1].close,
            sum((k.volume for k in five), D(0)),
        )
        names = ("open", "high", "low", "close", "volume")
        assert made == tuple(D(str(getattr(stored, name)[number])) for name in names)


def test_minute_bars_are_taken_where_they_cover_the_period_and_longer_ones_where_they_do_not(
    tmp_path: Path,
) -> None:
    catalog = catalog_with(tmp_path, columns=bars(60))
    catalog.write_bars(BTC, "5m", bars(48, minutes=5))
    hour = 60 * MINUTE_MS
    assert CatalogFeed(catalog, "BTCUSDT", JUNE_MS, JUNE_MS + hour).interval == "1m"
    assert CatalogFeed(catalog, "BTCUSDT", JUNE_MS + hour, JUNE_MS + 2 * hour).interval == "5m"
    half = CatalogFeed(catalog, "BTCUSDT", JUNE_MS + hour // 2, JUNE_MS + 4 * hour)
    assert half.interval == "5m", "minute bars end after half an hour of it"
    assert half.bar(JUNE_MS // MINUTE_MS) is not None, "what was before the period serves as history"
