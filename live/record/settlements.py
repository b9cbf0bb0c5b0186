"""Funding as it was settled, rate and mark price: the venue is asked, for its stream tells neither.

What the stream says is a forecast until the settlement, and its mark price is that of another second. So the
newest settlements are asked for at the start, among them those that came while no node was alive, and each
later one once the stream has gone on to the next.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from catalog.columns import MINUTE_NS
from catalog.instruments import symbol_of
from live.venue.answers import FundingRate
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError

__all__ = ["Settlements", "settled_at"]

_AGAIN_SECS = 30.0  # an address may ask 500 times in five minutes
_MS_NS = 1_000_000


def settled_at(rate: FundingRate) -> int:
    """When it was due (ns UTC): the venue stamps it some milliseconds late.

    >>> settled_at(FundingRate(funding_time=1_700_006_400_007, funding_rate=0))
    1700006400000000000
    """
    return (rate.funding_time * _MS_NS + MINUTE_NS // 2) // MINUTE_NS * MINUTE_NS


class Settlements:
    """Asks on a thread of its own; its methods are for the node's thread and never wait.

    `problems` are lines for an operator, which whoever alarms takes out.
    """

    def __init__(self, client: VenueClient) -> None:
        self.problems: deque[str] = deque()
        self._client = client
        self._pool = ThreadPoolExecutor(1, "settlements")
        self._missing: dict[str, int] = {}
        self._asked: dict[str, Future[tuple[FundingRate, ...]]] = {}
        self._newest: dict[str, FundingRate] = {}
        self._not_before: dict[str, float] = {}
        self._refused: set[str] = set()

    def ask(self, instrument_id: str, ts_event: int = 0) -> None:
        """Ask for an instrument's settlements, again and again until that of a time (ns UTC) is there."""
        self._missing[instrument_id] = max(ts_event, self._missing.get(instrument_id, 0))

    def take(self) -> Iterator[tuple[str, Sequence[FundingRate]]]:
        """What has been answered since, by instrument; to be called about once a second."""
        now = time.monotonic()
        for name in [name for name, asked in self._asked.items() if asked.done()]:
            rates = self._answer(name)
            if rates:
                yield name, rates
            self._not_before[name] = now + _AGAIN_SECS
        for name in self._missing:
            if name not in self._asked and now >= self._not_before.get(name, now):
                newest = self._newest.get(name)
                since_ms = None if newest is None else newest.funding_time + 1
                self._asked[name] = self._pool.submit(self._client.funding_rates, symbol_of(name), since_ms)

    def close(self) -> None:
        """Ask nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, name: str) -> tuple[FundingRate, ...]:
        try:
            rates = self._asked.pop(name).result()
        except VenueRequestError as error:
            if name not in self._refused:
                self._refused.add(name)
                self.problems.append(f"settlements of {name} are asked for again: {error}")
            return ()
        self._refused.discard(name)
        if rates:
            self._newest[name] = rates[-1]
        newest = self._newest.get(name)
        if (0 if newest is None else settled_at(newest)) >= self._missing[name]:
            del self._missing[name]
        return rates
