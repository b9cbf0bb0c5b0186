"""Quotes and trades as columns, read from recordings of Binance's WebSocket streams.

A recording is a text file, gzipped or not, with one message a line: the receipt time by the recorder's clock
in ns, a blank, and the message as it came in a combined stream.

    1723161254087891268 {"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.6...
    1723161254087896568 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT", ...

`bookTicker` becomes quotes and `trade` trades; depth, snapshots and everything else is counted and left out.

**Two clocks.** `ts_event` is the exchange's time of a message, `ts_init` its receipt: the engine replays in
the order of receipt, so that nothing is known before it had come. A recorder's clock may lag behind the
exchange's (the recordings used in the tests lag by 1.27 s): then messages would arrive before they were sent.
Such a recording's receipt times are all moved forward by the same amount, the smallest at which none arrives
before it was sent (`clock_shift_ns`). What is left is the delay beyond that of the fastest message; the
base delay of the line cannot be told from an error of the clock. Spot quotes carry no exchange time: their
`ts_event` is their receipt.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.columns import SECOND_NS, BarColumns
from catalog.instruments import Market
from configs.errors import DataError

__all__ = ["QuoteColumns", "Recording", "TradeColumns", "join_recordings", "read_stream", "second_bars"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MICROSECONDS_FROM = 10**14  # as milliseconds the year 5138, as microseconds 1973
_CLOCK_STEP_NS = SECOND_NS  # a receipt clock may be set back a little; further back lines are out of order
_SILENCE_NS = 60 * SECOND_NS  # longer without any message: the connection was down
_MARKET_TRADES = ("", "MARKET")  # futures also report what the insurance fund and auto-deleveraging took


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Ticks in the order of receipt, each column of length n; no value is NaN.

    ts_event: int64 ns UTC, the exchange's time. ts_init: int64 ns UTC, the receipt, never going back, and
    never before ts_event unless a node recorded it by a clock that lags (`live.record`). Prices are
    float64 in the quote currency, sizes in the base currency.
    """

    ts_event: IntArray
    ts_init: IntArray

    def __len__(self) -> int:
        return len(self.ts_init)

    def between(self, start: int, end: int) -> Self:
        """Ticks received in [start, end), without copying."""
        low, high = np.searchsorted(self.ts_init, [start, end])
        return type(self)(*(values[low:high] for values in self.columns()))

    def columns(self) -> tuple[NDArray[Any], ...]:
        """Every column in the order of the fields."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The parts (at least one) one after another; times of receipt that go back are held."""
        joined = [np.concatenate(values) for values in zip(*(part.columns() for part in parts), strict=True)]
        joined[1] = np.maximum.accumulate(joined[1])
        return cls(*joined)


@dataclass(frozen=True, slots=True, eq=False)
class QuoteColumns(_Columns):
    """Best bid and ask with the sizes that stand there, all positive."""

    bid_price: FloatArray
    ask_price: FloatArray
    bid_size: FloatArray
    ask_size: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class TradeColumns(_Columns):
    """Trades: price, size, the side that took liquidity (+1 bought, -1 sold), the exchange's trade id."""

    price: FloatArray
    size: FloatArray
    side: NDArray[np.int8]
    trade_id: IntArray


@dataclass(frozen=True, slots=True)
class Recording:
    """One symbol's quotes and trades.

    `market` is told by the messages: only the futures' carry `E` in quotes and `X` in trades.
    `clock_shift_ns` was added to the receipt times (see the module's text). `left_out` counts what was not
    taken, by stream or reason.
    """

    symbol: str
    market: Market
    quotes: QuoteColumns
    trades: TradeColumns
    clock_shift_ns: int
    left_out: Mapping[str, int]

    @property
    def span(self) -> tuple[int, int]:
        """Receipt of the first and of the last tick, ns UTC."""
        times = [t for t in (self.quotes.ts_init, self.trades.ts_init) if len(t)]
        return int(min(t[0] for t in times)), int(max(t[-1] for t in times))


class _Message(msgspec.Struct):
    """One of the streams' events with the venue's one-letter names; what an event has not stays 0 or ''."""

    e: str = "bookTicker"
    s: str = ""
    E: int = 0
    T: int = 0
    u: int | float = 0
    t: int = 0
    b: Any = ""
    a: Any = ""
    B: str = ""
    A: str = ""
    p: str = ""
    q: str = ""
    m: bool = False
    X: str = ""


class _Line(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


@dataclass(slots=True)
class _Rows:
    """What was read of one symbol: receipt, exchange's time, time of sending, values."""

    quotes: list[tuple[Any, ...]] = field(default_factory=list)
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    market: Market = "spot"
    last_quote: float = 0
    last_trade: int = 0


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_message = msgspec.json.Decoder(_Message).decode


def read_stream(path: Path) -> list[Recording]:
    """The recordings of every symbol in a file, by name; several symbols may share one connection.

    A quote or trade seen already (its id is not above the last one's: two connections, a reconnect) is left
    out. DataError names the file, the line and what is wrong: no such message, a price or size that is not
    positive, bid not below ask, receipt times that go back by more than a second.
    """
    books: dict[str, _Rows] = {}
    left_out: Counter[str] = Counter()
    latest = 0
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}:{number}"
        received, kind, message = _parse(where, line)
        if received < latest - _CLOCK_STEP_NS:
            raise DataError(f"{where}: received before the line above; the recording is out of order")
        latest = max(latest, received)
        if message is None:
            left_out[kind] += 1
            continue
        rows = books.setdefault(message.s, _Rows())
        reason = _take(rows, latest, message, where)
        if reason:
            left_out[reason] += 1
    if not books:
        raise DataError(f"{path} holds no bookTicker and no trade message")
    return [_recording(symbol, books[symbol], left_out) for symbol in sorted(books)]


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut off ({error}); copy it again") from error


def _parse(where: str, line: bytes) -> tuple[int, str, _Message | None]:
    """Receipt in ns, the name of the stream, and the message if it is a quote or a trade."""
    stamp, _, text = line.partition(b" ")
    try:
        received = int(stamp)
        outer = _decode_line(text)
        kind = outer.stream.partition("@")[2].partition("@")[0] or "other"
        if kind not in {"bookTicker", "trade"}:
            return received, kind, None
        return received, kind, _decode_message(outer.data)
    except (ValueError, msgspec.DecodeError) as error:
        raise DataError(f"{where}: not '<receipt in ns> {{message}}' ({error})") from error


def _take(rows: _Rows, received: int, message: _Message, where: str) -> str:
    """Keep a message; the reason when it is left out."""
    if message.X or (message.e == "bookTicker" and message.E):
        rows.market = "um"
    try:
        if message.e == "trade":
            return _take_trade(rows, received, message)
        if message.u <= rows.last_quote:
            return "seen before"
        values = tuple(float(text) for text in (message.b, message.a, message.B, message.A))
        if not (0 < values[0] < values[1] and min(values) > 0 and max(values) < np.inf):
            raise ValueError(f"bid {message.b} x {message.B}, ask {message.a} x {message.A}")
        rows.last_quote = message.u
        rows.quotes.append((received, message.T or message.E, message.E or message.T, *values))
    except ValueError as error:
        raise DataError(f"{where}: no prices and sizes of a market ({error})") from error
    return ""


def _take_trade(rows: _Rows, received: int, message: _Message) -> str:
    if message.X not in _MARKET_TRADES:
        return f"trade of kind {message.X}"
    if message.t <= rows.last_trade:
        return "seen before"
    price, size = float(message.p), float(message.q)
    if not (0 < price < np.inf and 0 < size < np.inf):
        raise ValueError(f"{message.q} at {message.p}")
    rows.last_trade = message.t
    side = -1 if message.m else 1  # the buyer is the maker: the seller took
    rows.trades.append((received, message.T, message.E or message.T, price, size, side, message.t))
    return ""


def _recording(symbol: str, rows: _Rows, left_out: Mapping[str, int]) -> Recording:
    quotes, trades = _table(rows.quotes, 7), _table(rows.trades, 7)
    shift = max([0, *(_lag(table) for table in (quotes, trades))])
    bid, ask, bid_size, ask_size = (np.array(values, np.float64) for values in quotes[3:])
    price, size = (np.array(values, np.float64) for values in trades[3:5])
    side, trade_id = np.array(trades[5], np.int8), np.array(trades[6], np.int64)
    return Recording(
        symbol,
        rows.market,
        QuoteColumns(*_times(quotes, shift), bid, ask, bid_size, ask_size),
        TradeColumns(*_times(trades, shift), price, size, side, trade_id),
        shift,
        dict(left_out),
    )


def _table(rows: list[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) or [()] * width


def _lag(table: list[tuple[Any, ...]]) -> int:
    """By how much the receipt clock lags behind at least: the most a message came before it was sent."""
    received, sent = np.array(table[0], np.int64), _exchange_ns(table[2])
    told = sent > 0
    return int((sent[told] - received[told]).max(initial=0))


def _times(table: list[tuple[Any, ...]], shift: int) -> tuple[IntArray, IntArray]:
    received = np.array(table[0], np.int64) + shift
    event = _exchange_ns(table[1])
    return np.where(event > 0, event, received), received


def _exchange_ns(values: Sequence[int]) -> IntArray:
    """The exchange's milliseconds or microseconds in ns; 0 where it gave none."""
    times = np.array(values, np.int64)
    return np.where(times >= _MICROSECONDS_FROM, times * 1000, times * 1_000_000)


def join_recordings(recordings: Sequence[Recording]) -> Recording:
    """Recordings of one symbol that follow each other, as one; DataError when two overlap by over a second.

    Each keeps the shift of its own clock; `clock_shift_ns` is the largest.
    """
    ordered = sorted(recordings, key=lambda recording: recording.span)
    for before, after in pairwise(ordered):
        if after.span[0] < before.span[1] - _CLOCK_STEP_NS:
            raise DataError(f"two recordings of {after.symbol} overlap in time; give one of them")
    counts: Counter[str] = Counter()
    for recording in ordered:
        counts.update(recording.left_out)
    return Recording(
        ordered[0].symbol,
        ordered[0].market,
        QuoteColumns.join([recording.quotes for recording in ordered]),
        TradeColumns.join([recording.trades for recording in ordered]),
        max(recording.clock_shift_ns for recording in ordered),
        dict(counts),
    )


def second_bars(recording: Recording) -> BarColumns:
    """Bars of one second by receipt: the bar closing at S holds the trades received in [S - 1 s, S).

    By receipt, not by the exchange's time, because a live aggregator knows no more at S. A second without a
    trade is a flat bar at the last price with volume 0. Only whole seconds become bars, none before the first
    trade, and none where no quote and no trade came for more than a minute.
    """
    trades = recording.trades
    heard = np.sort(np.concatenate([recording.quotes.ts_init, trades.ts_init]))
    cuts = np.flatnonzero(np.diff(heard) > _SILENCE_NS) + 1
    pieces = [_piece_of_bars(trades, int(part[0]), int(part[-1])) for part in np.split(heard, cuts)]
    return BarColumns.join(pieces)


def _piece_of_bars(trades: TradeColumns, first: int, last: int) -> BarColumns:
    """Bars of the whole seconds inside [first, last], both ns."""
    low, high = np.searchsorted(trades.ts_init, [first, last + 1])
    trades = trades.between(first, last + 1)
    if low == high:
        return BarColumns.join([])
    begin = max(-(-first // SECOND_NS), int(trades.ts_init[0]) // SECOND_NS)
    seconds = np.arange(begin, last // SECOND_NS, dtype=np.int64)
    edges = np.searchsorted(trades.ts_init, np.append(seconds, last // SECOND_NS) * SECOND_NS)
    start, stop = edges[:-1], edges[1:]
    close = trades.price[np.maximum(stop - 1, 0)]
    busy = np.flatnonzero(stop > start)
    opens, high_, low_ = close.copy(), close.copy(), close.copy()
    volume = np.zeros(len(seconds))
    if len(busy):
        inside = slice(start[busy[0]], stop[busy[-1]])
        at = start[busy] - start[busy[0]]  # busy seconds follow each other without trades between them
        opens[busy] = trades.price[start[busy]]
        high_[busy] = np.maximum.reduceat(trades.price[inside], at)
        low_[busy] = np.minimum.reduceat(trades.price[inside], at)
        volume[busy] = np.add.reduceat(trades.size[inside], at)
    return BarColumns((seconds + 1) * SECOND_NS, opens, high_, low_, close, volume)
