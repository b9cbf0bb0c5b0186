"""Runs on recorded quotes and trades: what the engine gets beside the bars, and how its venue fills then.

Bars of one second are the clock of decisions; no order fills on them. What the engine does instead, as tests
pin it:

- a market order takes the best price, up to the size that stands there; what is left fills one tick worse.
  One order does not use up what the next one finds;
- a stop is triggered by a trade at its price, not by a quote; it fills at that trade's price, up to its size,
  and with the rest one tick worse;
- a resting limit fills as maker when a quote of the other side reaches it, up to the size quoted, or when
  trades at its price have used up the queue before it. The queue is the size shown there when the order came
  or when its price first was the best one; it shrinks with the size shown and with every trade, so that a
  trade whose quote was received first counts twice, which is a little kind;
- a post-only order that would take is rejected;
- `venue.latency_ms` passes between sending and arrival. Feeds are late, too: with less latency than theirs an
  order can fill on a trade that happened before it.

**A trade overwrites the engine's book**: until the next quote both sides stand at its price, and a market
order pays no spread. Every trade is therefore followed by the quote that stands, stated again.

In what a node has recorded (`live.record`) each quote, trade and bar has the place in which the node heard
it, so that at each bar as much is known as the node knew. There a bar of a second is the engine's own, made
some ms after its second; made of a recording of the streams it holds what came before the second was over.

Positions are marked to the side they would be closed at (bid for a long one), not to the last trade. Orders
and quotes meet as recorded: nothing here moves the market.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import QuoteTick, TradeTick

from catalog.columns import utc_ns
from catalog.store import Catalog
from catalog.tick_store import engine_ticks, read_quotes, read_trades, require_ticks, ticks_hash
from configs.schema import RunConfig

__all__ = ["TICK_VENUE", "add_ticks", "check_ticks", "restated"]

TICK_VENUE: Final[Mapping[str, Any]] = {
    "bar_execution": False,
    "trade_execution": True,
    "queue_position": True,
}


def check_ticks(run: RunConfig, catalog: Catalog) -> dict[str, str]:
    """The hash of each instrument's quotes and trades of the run's period; DataError where there are none.

    Ticks count from `data.start` on: what comes before the traded period warms the tape up.
    """
    start, test_start, end = (utc_ns(t) for t in (run.data.start, run.data.test_start, run.data.end))
    hashes = {}
    for name in run.instruments:
        require_ticks(catalog, name, test_start, end)
        hashes[name] = ticks_hash(
            read_quotes(catalog, name, start, end), read_trades(catalog, name, start, end)
        )
    return hashes


def add_ticks(
    engine: BacktestEngine, run: RunConfig, catalog: Catalog, until: Mapping[str, int] | None = None
) -> int:
    """Give the engine every instrument's quotes and trades; how many data the engine gets.

    Call it after the bars are added: at equal times the engine keeps the order of adding, and a tick received
    at a bar's close belongs to the next bar. `until` (ns UTC, by instrument) is when the last bar was there,
    where that was after the end: what was heard before it counts.
    """
    count, last = 0, until or {}
    for name in run.instruments:
        end = max(utc_ns(run.data.end), last.get(name, 0))
        quotes, trades = engine_ticks(catalog, name, utc_ns(run.data.start), end)
        for ticks in (quotes, trades, restated(quotes, trades)):
            if ticks:
                engine.add_data(ticks)
            count += len(ticks)
    return count


def restated(quotes: Sequence[QuoteTick], trades: Sequence[TradeTick]) -> list[QuoteTick]:
    """After each trade the quote that stands, with the trade's times (the engine drops an older `ts_event`).

    One for each trade from the first quote on. Who keeps track of quotes knows such a copy by its values,
    which are those of the quote before; recorded quotes are changes.
    """
    received = np.array([quote.ts_init for quote in quotes], np.int64)
    standing = np.searchsorted(received, [trade.ts_init for trade in trades], side="right") - 1
    copies = []
    for at, trade in zip(standing.tolist(), trades, strict=True):
        if at >= 0:
            q = quotes[at]
            copies.append(
                QuoteTick(
                    q.instrument_id,
                    q.bid_price,
                    q.ask_price,
                    q.bid_size,
                    q.ask_size,
                    max(q.ts_event, trade.ts_event),
                    trade.ts_init,
                )
            )
    return copies
