"""What the market data endpoints of all markets share: which rows are asked for, not how they look."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from live.rehearsal.book import Kline, Trade
from live.rehearsal.errors import refuse
from live.rehearsal.record import INTERVALS_MS, SymbolRecord
from live.rehearsal.serving.desk import Desk, Json
from live.rehearsal.serving.wire import Params, Window
from live.rehearsal.specs import SymbolSpec

__all__ = [
    "asked_aggregates",
    "asked_klines",
    "asked_trades",
    "by_symbol",
    "last_day",
    "one_or_all",
    "ping",
    "server_time",
    "with_days",
]

_DAY_OF_MINUTES = 1_440


def ping(desk: Desk[Any], account: str, params: Params) -> Json:
    """GET ping."""
    del desk, account, params
    return {}


def server_time(desk: Desk[Any], account: str, params: Params) -> Json:
    """GET time."""
    del account, params
    return {"serverTime": desk.clock.request_ms()}


def asked_klines(desk: Desk[Any], params: Params, *, most: int) -> tuple[SymbolSpec, list[Kline]]:
    """GET klines: from `startTime` on, else the newest, the last one perhaps under way."""
    spec, interval = desk.asked_spec(params), params.need("interval")
    if interval not in INTERVALS_MS:
        raise refuse(-1120)
    window = params.window(most=most)
    return spec, window.of(desk.record.klines(spec.symbol, interval), lambda kline: kline.open_ms)


def asked_trades(desk: Desk[Any], params: Params) -> tuple[SymbolSpec, list[Trade]]:
    """GET trades, and historicalTrades from an id on."""
    spec, limit = desk.asked_spec(params), params.limit(500, 1000)
    window = Window(params.integer("fromId"), None, None, limit)
    return spec, _trades_in(window, desk.record[spec.symbol].trades)


def asked_aggregates(
    desk: Desk[Any], params: Params, *, longest_ms: int | None = None
) -> tuple[SymbolSpec, list[Trade]]:
    """GET aggTrades: from an id or a time on, else the newest."""
    spec, window = desk.asked_spec(params), params.window("fromId", longest_ms=longest_ms)
    return spec, _trades_in(window, desk.record[spec.symbol].trades)


def with_days(
    desk: Desk[Any], specs: Iterable[SymbolSpec]
) -> Iterator[tuple[SymbolSpec, list[Kline], Trade | None]]:
    """Symbols with their last day and last trade; those without any klines are left out."""
    for spec in specs:
        day, last = last_day(desk.record[spec.symbol])
        if day:
            yield spec, day, last


def last_day(record: SymbolRecord) -> tuple[list[Kline], Trade | None]:
    """The last day's one-minute klines, and the last trade."""
    return list(record.klines)[-_DAY_OF_MINUTES:], record.trades[-1] if record.trades else None


def one_or_all(rows: list[Any], params: Params) -> Json:
    """One object for a symbol, else a list; -1112 when the symbol has no row."""
    if not params.sent("symbol"):
        return rows
    if not rows:
        raise refuse(-1112)
    return rows[0]


def by_symbol(one: int, every: int) -> Callable[[Mapping[str, str]], int]:
    """A weight for one symbol and one for more."""
    return lambda params: one if params.get("symbol") else every


def _trades_in(window: Window, trades: Iterable[Trade]) -> list[Trade]:
    return window.of(trades, lambda trade: trade.ts_ms, lambda trade: trade.trade_id)
