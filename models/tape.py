"""The tape: what quotes and trades of the last half minute say at one moment. Pure: numbers in, numbers out.

| feature | meaning |
|---|---|
| spread_bps | ask - bid, in basis points of the mid price (half of bid + ask) |
| bid_depth, ask_depth | price times size at the best bid and ask, in the quote currency |
| book_imbalance | (bid size - ask size) / (bid size + ask size), in [-1, 1]: positive, more wait to buy |
| microprice_bps | (bid * ask size + ask * bid size) / (bid size + ask size) against the mid |
| trade_imbalance_5s, _30s | (bought - sold) / (bought + sold) by the side that took; 0 without trades |
| return_5s, return_30s | the mid against the one that stood so long ago, as a fraction |
| quote_age_ms | time since a change of the best prices or sizes was received |
| feed_latency_ms | receipt less exchange time of the newest message with one, above the least so far |

The microprice is the weighted mid of Gatheral and Oomen (2010), "Zero-intelligence realized variance
estimation"; with one quote level it says the same as spread and book imbalance together.

**Latency is relative.** A local clock that is wrong by a constant shifts every difference of the two times by
it (the recordings used in the tests are 1.27 s behind, which gives negative ones). Measured against the least
difference seen so far the constant cancels, and with it the base delay of the line, which only synchronised
clocks would tell. A clock that drifts shows as latency that grows: keep it disciplined (NTP).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["TAPE_FEATURES", "TapeState", "tape_matrix"]

TAPE_FEATURES: Final = (
    *("spread_bps", "bid_depth", "ask_depth", "book_imbalance", "microprice_bps"),
    *("trade_imbalance_5s", "trade_imbalance_30s", "return_5s", "return_30s"),
    *("quote_age_ms", "feed_latency_ms"),
)
_NAN = float("nan")
_SECOND_NS = 1_000_000_000
_SLOTS = 64  # seconds kept; a power of two above the longest window and what may come before a late question
_NEVER = -(2**62)


class TapeState:
    """Hears quotes and trades one at a time in the order of receipt and answers with the features at a time.

    Times are int64 ns UTC: `ts_event` the exchange's, `ts_init` the receipt. Volumes and mids are kept by
    whole second of receipt, so that a window is summed anew each time and nothing drifts; windows end at the
    whole second of the question. A message that tells no exchange time has ts_event == ts_init.
    """

    def __init__(self) -> None:
        self._bought = [0.0] * _SLOTS
        self._sold = [0.0] * _SLOTS
        self._mids = [_NAN] * _SLOTS
        self._second = _NEVER  # the newest second in the slots
        self._since = -_NEVER
        self._quote: tuple[float, float, float, float] | None = None
        self._quoted_at = 0
        self._least_delay = -_NEVER
        self._delay = -1

    def quote(
        self, ts_event: int, ts_init: int, bid: float, ask: float, bid_size: float, ask_size: float
    ) -> None:
        """Take the best bid and ask and their sizes, all positive.

        The quote that stands, stated again, is no news and changes nothing: streams of the best prices tell
        changes, and a replay states quotes again (backtests/ticks.py).
        """
        quote = (bid, ask, bid_size, ask_size)
        if quote == self._quote:
            return
        self._hear(ts_event, ts_init)
        self._quote = quote
        self._quoted_at = ts_init
        self._mids[self._second % _SLOTS] = 0.5 * (bid + ask)

    def trade(self, ts_event: int, ts_init: int, size: float, side: int) -> None:
        """Take a trade of `size`, `side` +1 when the buyer took and -1 when the seller did."""
        self._hear(ts_event, ts_init)
        volumes = self._bought if side > 0 else self._sold
        volumes[self._second % _SLOTS] += size

    def features(self, ts: int) -> dict[str, float]:
        """`TAPE_FEATURES` at `ts`, a bar's close, from everything heard so far.

        NaN without what a feature needs: a quote, a whole window heard, a message with an exchange time.
        """
        end = ts // _SECOND_NS
        self._advance(end - 1)
        return {
            **self._book(),
            "trade_imbalance_5s": self._imbalance(end, 5),
            "trade_imbalance_30s": self._imbalance(end, 30),
            "return_5s": self._return(end, 5),
            "return_30s": self._return(end, 30),
            "quote_age_ms": _NAN if self._quote is None else max(0, ts - self._quoted_at) / 1e6,
            "feed_latency_ms": _NAN if self._delay < 0 else self._delay / 1e6,
        }

    def _hear(self, ts_event: int, ts_init: int) -> None:
        self._advance(ts_init // _SECOND_NS)
        self._since = min(self._since, ts_init)
        if ts_event != ts_init:
            difference = ts_init - ts_event
            self._least_delay = min(self._least_delay, difference)
            self._delay = difference - self._least_delay

    def _advance(self, second: int) -> None:
        """Open the slots up to `second`: no volume yet, the mid that stands."""
        mid = self._mids[self._second % _SLOTS]
        for fresh in range(max(self._second + 1, second - _SLOTS + 1), second + 1):
            slot = fresh % _SLOTS
            self._bought[slot] = self._sold[slot] = 0.0
            self._mids[slot] = mid
        self._second = max(self._second, second)

    def _book(self) -> dict[str, float]:
        if self._quote is None:
            return dict.fromkeys(TAPE_FEATURES[:5], _NAN)
        bid, ask, bid_size, ask_size = self._quote
        mid, both = 0.5 * (bid + ask), bid_size + ask_size
        micro = (bid * ask_size + ask * bid_size) / both
        return {
            "spread_bps": 1e4 * (ask - bid) / mid,
            "bid_depth": bid * bid_size,
            "ask_depth": ask * ask_size,
            "book_imbalance": (bid_size - ask_size) / both,
            "microprice_bps": 1e4 * (micro / mid - 1.0),
        }

    def _imbalance(self, end: int, secs: int) -> float:
        if (end - secs) * _SECOND_NS < self._since:
            return _NAN
        slots = [second % _SLOTS for second in range(end - secs, end)]
        bought = sum([self._bought[slot] for slot in slots])
        sold = sum([self._sold[slot] for slot in slots])
        return (bought - sold) / (bought + sold) if bought + sold > 0.0 else 0.0

    def _return(self, end: int, secs: int) -> float:
        if (end - secs) * _SECOND_NS < self._since:
            return _NAN
        return self._mids[(end - 1) % _SLOTS] / self._mids[(end - secs - 1) % _SLOTS] - 1.0


def tape_matrix(
    quotes: tuple[NDArray[np.generic], ...],
    trades: tuple[NDArray[np.generic], ...],
    closes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The features at each of `closes` (ns UTC, increasing), float64 [len(closes), len(TAPE_FEATURES)].

    `quotes` are the arrays ts_event, ts_init, bid, ask, bid_size, ask_size, `trades` ts_event, ts_init, size,
    side, each in the order of receipt. The same state as online goes through both: at equal times quotes
    before trades, and what is received at a close or later belongs to the next one.
    """
    state = TapeState()
    received = np.concatenate([quotes[1], trades[1], closes])
    kind = np.repeat([1, 2, 0], [len(quotes[1]), len(trades[1]), len(closes)])
    row = np.concatenate([np.arange(len(part)) for part in (quotes[1], trades[1], closes)])
    order = np.lexsort((kind, received))
    quote_rows = list(zip(*(values.tolist() for values in quotes), strict=True))
    trade_rows = list(zip(*(values.tolist() for values in trades), strict=True))
    result = np.empty((len(closes), len(TAPE_FEATURES)))
    for what, at in zip(kind[order].tolist(), row[order].tolist(), strict=True):
        if what == 1:
            state.quote(*quote_rows[at])
        elif what == 2:
            state.trade(*trade_rows[at])
        else:
            result[at] = list(state.features(int(closes[at])).values())
    return result
