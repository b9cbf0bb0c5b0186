"""Live bars go on where the history ended: with a bar missing or repeated, or a venue that is silent."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from nautilus_trader.model import Bar, BarType, Price, Quantity

from actors.forecaster import ForecastSpec, StreamingSource, precompute
from catalog.columns import MINUTE_NS, BarColumns
from configs.errors import RunFailedError
from live.joined import JoinedSource

KIND = BarType.from_str("BTCUSDT-PERP.BINANCE-1-MINUTE-LAST-EXTERNAL")
START = 1_735_689_600_000_000_000
NAMES = ("return_3", "realized_volatility_20", "rsi_14")
SPEC = ForecastSpec(1, features=NAMES)
PAST = 150


class Pool(ThreadPoolExecutor):
    """Runs what it is given at once."""

    def __init__(self) -> None:
        super().__init__(1)

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args))
        except (RunFailedError, ArithmeticError) as error:
            done.set_exception(error)
        return done


def _bars(n: int = 200) -> BarColumns:
    rng = np.random.default_rng(3)
    close = np.round(60_000 + np.cumsum(rng.normal(0, 20, n)), 1)
    spread = np.round(rng.uniform(1, 9, n), 1)
    times = START + MINUTE_NS * np.arange(1, n + 1)
    volume = np.round(rng.uniform(1, 50, n), 3)
    return BarColumns(times, close, np.round(close + spread, 1), np.round(close - spread, 1), close, volume)


def _live(bars: BarColumns, i: int) -> Bar:
    """As the adapter gives it: stamped a millisecond before the close."""
    prices = [Price(float(x[i]), 1) for x in (bars.open, bars.high, bars.low, bars.close)]
    ts = int(bars.ts_event[i]) - 1_000_000
    return Bar(KIND, *prices, Quantity(float(bars.volume[i]), 3), ts, ts)


class Joined:
    """A source on the first bars, and how its fetches end."""

    def __init__(self) -> None:
        self.bars = _bars()
        self.fetched: list[tuple[int, int]] = []
        self.fails = False
        self.error: Exception = RunFailedError("no answer")
        streaming = StreamingSource(SPEC, 1, 3)
        streaming.warm_up(self.bars.slice(0, PAST))
        self.source = JoinedSource(
            streaming,
            SPEC,
            last_ts=int(self.bars.ts_event[PAST - 1]),
            bar_ns=MINUTE_NS,
            fetch=self.fetch,
            pool=Pool(),
        )

    def fetch(self, after: int, until: int) -> BarColumns:
        self.fetched.append((after, until))
        if self.fails:
            raise self.error
        first, last = (int(np.searchsorted(self.bars.ts_event, t, side="right")) for t in (after, until))
        return self.bars.slice(first, last)

    def hear(self, i: int) -> list[float]:
        return list(self.source.reading(_live(self.bars, i)).features.values())


@pytest.fixture
def joined() -> Joined:
    return Joined()


EXPECTED = precompute(SPEC, _bars()).features


def test_live_bars_read_to_the_last_bit_as_one_history(joined: Joined) -> None:
    heard = [joined.hear(i) for i in range(PAST, 200)]
    assert np.array_equal(np.array(heard), EXPECTED[PAST:])
    assert joined.fetched == []


def test_a_missing_bar_is_fetched_and_nothing_is_said_until_it_is_there(joined: Joined) -> None:
    joined.hear(PAST)
    assert np.isnan(joined.hear(PAST + 3)).all()  # two are missing
    assert joined.fetched == [tuple(joined.bars.ts_event[[PAST, PAST + 3]])]
    assert joined.hear(PAST + 4) == EXPECTED[PAST + 4].tolist()
    assert joined.source.gaps == 1


def test_a_repeated_bar_changes_nothing(joined: Joined) -> None:
    joined.hear(PAST)
    assert joined.hear(PAST) == EXPECTED[PAST].tolist()
    assert joined.hear(PAST + 1) == EXPECTED[PAST + 1].tolist()
    assert joined.source.repeated == 1


def test_a_bar_that_comes_after_a_newer_one_says_nothing_of_its_own(joined: Joined) -> None:
    assert np.isnan(joined.hear(PAST + 1)).all()  # the one before is missing, and fetched
    assert np.isnan(joined.hear(PAST)).all()
    assert joined.hear(PAST + 2) == EXPECTED[PAST + 2].tolist()


def test_a_venue_that_does_not_answer_is_asked_again_with_every_bar(joined: Joined) -> None:
    joined.fails = True
    assert np.isnan(joined.hear(PAST + 1)).all()
    assert np.isnan(joined.hear(PAST + 2)).all()
    joined.fails = False
    assert np.isnan(joined.hear(PAST + 3)).all()
    assert joined.hear(PAST + 4) == EXPECTED[PAST + 4].tolist()
    assert len(joined.fetched) == 3


def test_a_fetch_that_fails_for_a_mistake_of_ours_is_told_once_and_made_again(joined: Joined) -> None:
    joined.fails, joined.error = True, ArithmeticError("a price that is none")
    joined.hear(PAST + 1)
    with pytest.raises(ArithmeticError):
        joined.hear(PAST + 2)
    joined.fails = False
    joined.hear(PAST + 3)
    assert joined.hear(PAST + 4) == EXPECTED[PAST + 4].tolist()


OTHER = ForecastSpec(1, features=("return_7", "atr_pct_14"))


def _successor(joined: Joined, past: int) -> JoinedSource:
    """A source of other features whose history ends somewhere before now."""
    streaming = StreamingSource(OTHER, 1, 3)
    streaming.warm_up(joined.bars.slice(0, past))
    last = int(joined.bars.ts_event[past - 1])
    return JoinedSource(streaming, OTHER, last_ts=last, bar_ns=MINUTE_NS, fetch=joined.fetch, pool=Pool())


def test_a_successor_reads_to_the_last_bit_as_one_that_was_there_from_the_start(joined: Joined) -> None:
    expected = precompute(OTHER, joined.bars).features
    successor = _successor(joined, PAST)
    lately = [_live(joined.bars, i) for i in range(PAST - 5, PAST + 10)]  # some of them it knows
    assert successor.catch_up(lately)
    assert successor.last_ts == joined.bars.ts_event[PAST + 9]
    heard = [
        list(successor.reading(_live(joined.bars, i)).features.values()) for i in range(PAST + 10, PAST + 40)
    ]
    assert np.array_equal(np.array(heard), expected[PAST + 10 : PAST + 40])
    assert joined.fetched == []


def test_a_successor_that_misses_a_bar_fetches_it_as_any_other(joined: Joined) -> None:
    successor = _successor(joined, PAST)
    assert not successor.catch_up([_live(joined.bars, i) for i in (PAST + 2, PAST + 3)])
    assert successor.last_ts == joined.bars.ts_event[PAST - 1]
    successor.reading(_live(joined.bars, PAST + 4))
    read = successor.reading(_live(joined.bars, PAST + 5))
    assert list(read.features.values()) == precompute(OTHER, joined.bars).features[PAST + 5].tolist()
