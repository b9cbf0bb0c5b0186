"""The replayed market: the events of several symbols in one order of time, made anew each time alike.

    quotes and trades   along the bar's path (`path`), or as recorded where ticks are stored
    klines              the minute under way as it grows, then closed; exactly the stored bar
    mark prices         stored ones, else the last trade; each with the next funding's rate and time
    funding             the stored settlements, else 0.01 % at 00, 08 and 16 UTC

Times are the feed's plus `shift_ms`. The same feeds and settings give the same events, whatever their other
symbols, and a replay that starts later has the same minutes.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from catalog.columns import Grid
from configs.errors import ConfigError
from live.rehearsal.book import Depth, Funding, Kline, MarketEvent, MarkPrice, Quote, Trade
from live.rehearsal.market.candles import Candle
from live.rehearsal.market.feeds import Feed, Ticks
from live.rehearsal.market.path import MinuteBar, MinutePath, minute_path, minute_rng

__all__ = ["MarketSettings", "ReplayMarket", "closed_klines", "symbol_events"]

MINUTE_MS = 60_000
_MS_NS = 1_000_000
_MARK_PLACES = Decimal("1e-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSettings:
    """How a bar becomes quotes and trades.

    `spread_bps` between bid and ask (a tick at least); `depth_quote` is the mean size of each of `levels`
    levels in the quote currency; `quotes_a_trade` quotes stand between two trades, of `trades_a_minute` (more
    where the bar needs them). A growing kline is told every `kline_ms` at most, a mark price every `mark_ms`.
    """

    seed: int = 7
    spread_bps: float = 0.5
    depth_quote: float = 100_000.0
    levels: int = 5
    trades_a_minute: int = 12
    quotes_a_trade: int = 1
    kline_ms: int = 1_000
    mark_ms: int = 1_000

    def __post_init__(self) -> None:
        least = {"levels": 1, "trades_a_minute": 1, "quotes_a_trade": 1, "kline_ms": 1, "mark_ms": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} is {getattr(self, name)}; use {bound} or more")
        if not (self.spread_bps >= 0 and self.depth_quote > 0):
            raise ConfigError("spread_bps must not be negative and depth_quote must be above 0")


class ReplayMarket:
    """An iterator over the merged events, with a look at the next one's time."""

    def __init__(self, feeds: Sequence[Feed], settings: MarketSettings, *, shift_ms: int = 0) -> None:
        self.symbols = tuple(feed.symbol for feed in feeds)
        self.start_ms = min(feed.start_ms for feed in feeds) + shift_ms
        self.end_ms = max(feed.end_ms for feed in feeds) + shift_ms
        streams = [symbol_events(feed, settings, shift_ms=shift_ms) for feed in feeds]
        self._events = heapq.merge(*streams, key=_time)
        self._next: MarketEvent | None = next(self._events, None)

    @property
    def next_ms(self) -> int | None:
        """When the next event is due; None at the end."""
        return None if self._next is None else self._next.ts_ms

    def __iter__(self) -> Iterator[MarketEvent]:
        return self

    def __next__(self) -> MarketEvent:
        if self._next is None:
            raise StopIteration
        event, self._next = self._next, next(self._events, None)
        return event

    def next_events(self, until_ms: int, most: int | None = None) -> list[MarketEvent]:
        """The events up to `until_ms`, included; `most` of them, where that is given."""
        events: list[MarketEvent] = []
        while self._next is not None and self._next.ts_ms <= until_ms:
            if most is not None and len(events) >= most:
                break
            events.append(next(self))
        return events


def symbol_events(feed: Feed, settings: MarketSettings, *, shift_ms: int = 0) -> Iterator[MarketEvent]:
    """One symbol's events in order of time."""
    maker = _Maker(feed, settings, shift_ms)
    for minute in range(feed.start_ms // MINUTE_MS, -(-feed.end_ms // MINUTE_MS)):
        yield from maker.minute(minute)


def closed_klines(feed: Feed, settings: MarketSettings, minutes: int, *, shift_ms: int = 0) -> list[Kline]:
    """The closed klines of the `minutes` before the feed's start, oldest first: what a client warms up on.

    Minutes that the feed has nothing of are left out.
    """
    maker = _Maker(feed, settings, shift_ms)
    first = feed.start_ms // MINUTE_MS
    found = (maker.closed(minute) for minute in range(first - minutes, first))
    return [kline for kline in found if kline is not None]


class _Maker:
    """Makes one symbol's minutes."""

    def __init__(self, feed: Feed, settings: MarketSettings, shift_ms: int) -> None:
        self._feed = feed
        self._settings = settings
        self._shift = shift_ms
        self._price = _Numbers(feed.price)
        self._size = _Numbers(feed.size)
        self._step = float(feed.size.step) * float(feed.price.step)

    def closed(self, minute: int) -> Kline | None:
        """The minute's kline when it has closed; None when nothing happened in it."""
        ticks, bar = self._feed.ticks(minute), self._feed.bar(minute)
        open_ms = minute * MINUTE_MS + self._shift
        if ticks is not None:
            trades = self._trades(ticks)
        elif bar is not None:
            trades = self._path_trades(bar)
        else:
            return None
        candle = None if ticks is not None or bar is None else self._candle(open_ms, self._price[bar.open])
        for trade in trades:
            candle = candle or self._candle(open_ms, trade.price)
            candle.trade(trade.price, trade.quantity, bought=not trade.buyer_maker)
        return None if candle is None else self._close(candle, None if ticks is not None else bar)

    def minute(self, minute: int) -> Iterator[MarketEvent]:
        """The minute's events, in order of time."""
        ticks = self._feed.ticks(minute)
        bar = self._feed.bar(minute) if ticks is None else None
        moves: Iterator[Quote | Depth | Trade]
        if ticks is not None:
            moves = self._recorded(ticks)
        elif bar is not None:
            moves = self._along(bar)
        else:
            yield from self._settled(minute)
            return
        yield from self._settled(minute)
        yield from self._told(minute, moves, bar)

    def _settled(self, minute: int) -> Iterator[MarketEvent]:
        due_ms, rate = self._feed.funding(minute)
        if due_ms < (minute + 1) * MINUTE_MS:
            yield Funding(minute * MINUTE_MS + self._shift, self._feed.symbol, rate)

    def _told(
        self, minute: int, moves: Iterator[Quote | Depth | Trade], bar: MinuteBar | None
    ) -> Iterator[MarketEvent]:
        """The moves with mark prices before and the growing kline behind them, then the closed kline."""
        open_ms = minute * MINUTE_MS + self._shift
        candle: Candle | None = None if bar is None else self._candle(open_ms, self._price[bar.open])
        marks = _Marks(self._feed, minute, self._settings.mark_ms, self._shift)
        marks.last = None if bar is None else self._price[bar.open]
        for move in moves:
            yield from marks.until(move.ts_ms)
            yield move
            if not isinstance(move, Trade):
                continue
            marks.last = move.price
            candle = candle or self._candle(open_ms, move.price)
            candle.trade(move.price, move.quantity, bought=not move.buyer_maker)
            if move.ts_ms - candle.told_ms >= self._settings.kline_ms:
                candle.told_ms = move.ts_ms
                yield candle.kline(move.ts_ms)
        yield from marks.until(open_ms + MINUTE_MS - 1)
        if candle is not None:
            yield self._close(candle, bar)

    def _close(self, candle: Candle, bar: MinuteBar | None) -> Kline:
        if bar is not None:
            candle.stretch(self._price[bar.high], self._price[bar.low], self._price[bar.close])
        return candle.kline(candle.open_ms + MINUTE_MS - 1, closed=True)

    def _candle(self, open_ms: int, price: Decimal) -> Candle:
        return Candle(self._feed.symbol, open_ms, price)

    def _along(self, bar: MinuteBar) -> Iterator[Quote | Depth | Trade]:
        """Quotes and trades along the bar's path; a trade takes place at the quote before it."""
        settings, symbol = self._settings, self._feed.symbol
        rng, path = self._path(bar)
        times = (bar.open_ms + self._shift + path.offset_ms).tolist()
        each = settings.quotes_a_trade
        sizes = rng.uniform(0.5, 1.5, (len(times), each, 2, settings.levels))
        lots = np.maximum(1, np.rint(sizes * (settings.depth_quote / (bar.close * self._step)))).astype(int)
        spread = max(1, round(bar.close * settings.spread_bps / 1e4))
        later = [*times[1:], bar.open_ms + self._shift + MINUTE_MS]
        rows = zip(times, later, path.ticks.tolist(), path.lots.tolist(), path.bought.tolist(), strict=True)
        for point, (ts_ms, next_ms, price, traded, bought) in enumerate(rows):
            bid = max(1, price - spread) if bought else price
            ask = price if bought else price + spread
            depths = lots[point].tolist()
            yield self._book(ts_ms, bid, ask, depths[0])
            if traded:
                yield Trade(ts_ms, symbol, self._price[price], self._size[traded], not bought)
            for number in range(1, each):
                at_ms = ts_ms + (next_ms - ts_ms) * number // each
                yield self._book(at_ms, bid, ask, depths[number])

    def _path(self, bar: MinuteBar) -> tuple[np.random.Generator, MinutePath]:
        rng = minute_rng(self._settings.seed, self._feed.symbol, bar.open_ms // MINUTE_MS)
        return rng, minute_path(rng, bar, self._settings.trades_a_minute)

    def _path_trades(self, bar: MinuteBar) -> Iterator[Trade]:
        path, symbol = self._path(bar)[1], self._feed.symbol
        times = (bar.open_ms + self._shift + path.offset_ms).tolist()
        rows = zip(times, path.ticks.tolist(), path.lots.tolist(), path.bought.tolist(), strict=True)
        for ts_ms, price, lots, bought in rows:
            if lots:
                yield Trade(ts_ms, symbol, self._price[price], self._size[lots], not bought)

    def _book(self, ts_ms: int, bid: int, ask: int, lots: list[list[int]]) -> Quote | Depth:
        price, size, symbol = self._price, self._size, self._feed.symbol
        if self._settings.levels == 1:
            return Quote(ts_ms, symbol, price[bid], size[lots[0][0]], price[ask], size[lots[1][0]])
        gap = ask - bid
        bids = ((price[bid - gap * n], size[lot]) for n, lot in enumerate(lots[0]) if bid - gap * n > 0)
        asks = ((price[ask + gap * n], size[lot]) for n, lot in enumerate(lots[1]))
        return Depth(ts_ms, symbol, tuple(bids), tuple(asks))

    def _recorded(self, ticks: Ticks) -> Iterator[Quote | Trade]:
        """Recorded quotes and trades by receipt; of equal times the quote comes first."""
        return heapq.merge(self._quotes(ticks), self._trades(ticks), key=_time)

    def _quotes(self, ticks: Ticks) -> Iterator[Quote]:
        quotes, symbol = ticks.quotes, self._feed.symbol
        times = (quotes.ts_init // _MS_NS + self._shift).tolist()
        bids, asks = self._price.steps(quotes.bid_price), self._price.steps(quotes.ask_price)
        bid_sizes, ask_sizes = self._size.steps(quotes.bid_size), self._size.steps(quotes.ask_size)
        price, size = self._price, self._size
        for ts_ms, bid, bid_size, ask, ask_size in zip(times, bids, bid_sizes, asks, ask_sizes, strict=True):
            yield Quote(ts_ms, symbol, price[bid], size[bid_size], price[ask], size[ask_size])

    def _trades(self, ticks: Ticks) -> Iterator[Trade]:
        trades, symbol = ticks.trades, self._feed.symbol
        times = (trades.ts_init // _MS_NS + self._shift).tolist()
        prices, sizes = self._price.steps(trades.price), self._size.steps(trades.size)
        rows = zip(times, prices, sizes, trades.side.tolist(), trades.trade_id.tolist(), strict=True)
        for ts_ms, price, size, side, number in rows:
            yield Trade(ts_ms, symbol, self._price[price], self._size[size], side < 0, number)


class _Marks:
    """The mark prices of one minute, every `step_ms`; none before there is a price."""

    def __init__(self, feed: Feed, minute: int, step_ms: int, shift_ms: int) -> None:
        self.last: Decimal | None = None
        self._symbol = feed.symbol
        self._step = step_ms
        self._open_ms = minute * MINUTE_MS + shift_ms
        self._next = -(-self._open_ms // step_ms) * step_ms
        self._known = feed.mark(minute)
        due_ms, self._rate = feed.funding(minute + 1)
        self._funding_ms = due_ms + shift_ms

    def until(self, ts_ms: int) -> Iterator[MarkPrice]:
        """The mark prices due up to `ts_ms`, included."""
        while self._next <= ts_ms:
            mark = self._mark(self._next)
            if mark is not None:
                yield MarkPrice(self._next, self._symbol, mark, mark, self._rate, self._funding_ms)
            self._next += self._step

    def _mark(self, ts_ms: int) -> Decimal | None:
        if self._known is None:
            return self.last
        first, last = self._known
        value = first + (last - first) * (ts_ms - self._open_ms) / MINUTE_MS
        return Decimal(repr(value)).quantize(_MARK_PLACES)


class _Numbers(dict[int, Decimal]):
    """Whole steps of a grid as decimals; what was asked for before is remembered."""

    MOST = 50_000

    def __init__(self, grid: Grid) -> None:
        self._grid = grid

    def __missing__(self, steps: int) -> Decimal:
        if len(self) >= self.MOST:
            self.clear()
        value = (Decimal(steps) * self._grid.step).quantize(Decimal(1).scaleb(-self._grid.precision))
        self[steps] = value
        return value

    def steps(self, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[int]:
        """The values in whole steps."""
        found: list[int] = np.rint(values / float(self._grid.step)).astype(np.int64).tolist()
        return found


def _time(event: MarketEvent) -> int:
    return event.ts_ms
